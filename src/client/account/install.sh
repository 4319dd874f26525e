# Puts a key into authorized_keys. Says what it found and did, a line each; "done" is the last one.
say() { printf 'nas-sync-setup %s\n' "$*"; }
fail() { say failed "$*"; exit 0; }
say ready
umask 077
home=${HOME-}
say home "$home"
say uid "$(id -u 2>/dev/null)"
[ -n "$home" ] && cd -P "$home" 2>/dev/null || { say no-home; exit 0; }
if [ -n "$locked" ]; then
    own=$(pwd -P)
    there=$(cd -P "$folder" 2>/dev/null && pwd -P) || { say no-folder; exit 0; }
    case $own/.ssh/ in "${there%/}"/*) fail "the folder holds the user's own ~/.ssh, so that a key held to it could free itself" ;; esac
fi
[ -d .ssh ] || mkdir .ssh || fail "~/.ssh cannot be made"
keys=.ssh/authorized_keys
new=$keys.nas-sync
for file in .ssh "$keys"; do
    [ -e "$file" ] || continue
    case $(ls -ldL "$file") in
    ?????w* | ????????w*) chmod g-w,o-w "$file" && say closed "$file" ;;
    esac
done
if [ -n "$locked" ]; then
    printf '%s\n' "$locked" >".ssh/$only.new" && mv -f ".ssh/$only.new" ".ssh/$only" || fail "~/.ssh/$only cannot be written"
fi
if [ -f "$keys" ] && grep -qxF -e "$line" "$keys"; then
    say there
else
    if [ -e "$keys" ]; then
        # A status above 1 is an error, and what others put there must not be lost.
        grep -vF -e "$key" "$keys" >"$new"
        [ $? -le 1 ] || fail "~/$keys cannot be read"
    else
        : >"$new" || fail "~/$new cannot be written"
    fi
    printf '%s\n' "$line" >>"$new" && grep -qxF -e "$line" "$new" || fail "~/$new cannot be written"
    if [ -h "$keys" ]; then cat "$new" >"$keys" && rm -f "$new"; else mv -f "$new" "$keys"; fi || fail "~/$keys cannot be written"
    say added
fi
for file in . .ssh "$keys"; do say mode "$file" "$(ls -ldnL "$file")"; done
say done
