# Says what kind of system this is and what the folder lies on. Changes nothing.
say() { printf 'nas-sync-survey %s\n' "$*"; }
say ready
@vendors@
say clock "$(date +%s 2>/dev/null)"
if cd @folder@ 2>/dev/null; then
    say longest "$(stat -f -c %l . 2>/dev/null || getconf NAME_MAX . 2>/dev/null)"
    say kind "$(stat -f -c %T . 2>/dev/null)"
    say changed "$(stat -c %y . 2>/dev/null)"
    ls -f 2>/dev/null | head -n 50 | while IFS= read -r name; do say name "$name"; done
fi
say done
