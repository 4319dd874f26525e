# Lists folders that this user can write to, below the roots that NAS use.
say() { printf 'nas-sync-setup %s\n' "$*"; }
say ready
for root in /volume[0-9]* /volumeUSB[0-9]* /share /shares /srv /mnt /mnt/* /data /export /media /media/* /storage /pool; do
    for folder in "$root" "$root"/*; do
        case ${folder##*/} in [@#]* | lost+found) continue ;; esac
        if [ -d "$folder" ] && [ -w "$folder" ] && [ -x "$folder" ]; then say folder "$folder"; fi
    done
done
[ -n "${HOME-}" ] && [ -d "$HOME" ] && [ -w "$HOME" ] && say home "$HOME"
say done
