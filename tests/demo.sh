#!/usr/bin/env bash
# Shows nas-sync at work: a throwaway sshd on loopback stands in for the NAS, and everything it leaves is removed.
# Usage: tests/demo.sh BINARY. `make demo` builds the binary and installs what is missing first.
set -euo pipefail

export LC_ALL=C.UTF-8
readonly nas_sync=$(realpath "$1")
readonly sshd=$(PATH="$PATH:/usr/sbin:/sbin" command -v sshd)
readonly home=$(mktemp -d "${TMPDIR:-/tmp}/nas-sync-demo.XXXXXX")
server=

if [[ -t 1 && -z "${NO_COLOR:-}" ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
# With an empty PATH there is no ssh and no rsync that nas-sync could start.
run() { printf '%s$ nas-sync%s%s\n' "$dim" "$(printf ' %q' "$@")" "$plain"; PATH='' "$nas_sync" "$@"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

clean_up() {
    local status=$?
    if [[ -n "$server" ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [[ $status -ne 0 && -f "$home/sshd.log" ]]; then tail -n 5 "$home/sshd.log" >&2; fi
    rm -rf "$home"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A configuration of the caller's own must not lead this demonstration to a real NAS.
unset "${!NAS_@}" UPLOAD_DIR
cd "$home"
mkdir home nas uploads

# --- the stand-in for the NAS -----------------------------------------------------------------------------------------

start_nas() {
    ssh-keygen -q -t ed25519 -N '' -C demo -f "$home/host_key"
    ssh-keygen -q -t ed25519 -N '' -C demo -f "$home/user_key"
    cp "$home/user_key.pub" "$home/authorized_keys"
    chmod 600 "$home/authorized_keys"
    # The start-up files of this user's shell may be slow or say things: commands get an empty home folder (SetEnv below).
    # sshd started by root wants its empty folder.
    if [[ $(id -u) -eq 0 ]]; then mkdir -p /run/sshd; fi
    local try
    for try in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 20000))
        "$sshd" -D -f /dev/null -E "$home/sshd.log" -h "$home/host_key" -p "$port" \
            -o ListenAddress=127.0.0.1 -o AuthorizedKeysFile="$home/authorized_keys" -o PidFile=none \
            -o StrictModes=no -o UsePAM=no -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no \
            -o PermitRootLogin=prohibit-password -o SetEnv="HOME=$home/home" </dev/null &
        server=$!
        for _ in {1..50}; do
            if ! kill -0 "$server" 2>/dev/null; then break; fi
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && kill -0 "$server" 2>/dev/null; then return; fi
            sleep 0.1
        done
    done
    fail "sshd does not start"
}

# --- what is on the NAS must be what was sent -------------------------------------------------------------------------

compare() {
    local file
    for file in uploads/*; do
        cmp "$file" "nas/${file#*/}" || fail "this file differs on the NAS: ${file#*/}"
    done
    diff <(ls -A uploads) <(ls -A nas) || fail "the NAS holds other files than were sent"
    printf 'compared byte for byte: %s files, no difference\n' "$(find uploads -type f | wc -l)"
}

start_nas
head -c 400000 /dev/urandom >"uploads/Facture été 2024.pdf"
head -c 20000000 /dev/urandom >"uploads/Scan n° 7 (café).tiff"
printf 'Reçu : 12,50 €\n' >"uploads/Reçu 'taxi'.txt"
: >"uploads/empty.txt"
# rsync compares times by whole seconds: what was sent must not change again within the same one.
touch -d '2024-07-14 12:00' uploads/*

export NAS_HOST=127.0.0.1 NAS_PORT=$port NAS_PATH=$home/nas NAS_DB=$home/documents.db UPLOAD_DIR=$home/uploads
NAS_USER=$(id -un)
export NAS_USER NAS_KEY_FILE=$home/user_key NAS_KNOWN_HOSTS=$home/known_hosts

step "1. What is configured? (environment variables; a real set-up uses the address of its NAS)"
run config

step "2. The NAS is not known yet, so nothing is sent to it: compare the fingerprint, then accept it once"
if run test >refusal 2>&1; then fail "an unknown host key was accepted"; fi
seen=$(grep -m1 -o 'SHA256:[A-Za-z0-9+/]*' refusal) || fail "the refusal shows no fingerprint: $(cat refusal)"
ssh-keygen -lf host_key.pub | grep -qF "$seen" || fail "the refusal shows another fingerprint than the NAS has"
printf 'refused; the NAS shows %s\n' "$seen"
run test --accept-new-host-key

step "3. Register documents of user 7: names with blanks, accents and quotes are fine"
(cd uploads && run add --user 7 *)

step "4. Send what is pending: no ssh and no rsync program runs on this side, the NAS runs its own rsync"
run sync

step "5. What lies on the NAS"
stat --printf '%10s bytes  %n\n' nas/*
compare

step "6. How many are there?"
run status --user 7
run status --user 7 --json

step "7. A large file changed by a few bytes: 'push' takes rsync's options and sends the difference only"
printf 'changed' | dd of="uploads/Scan n° 7 (café).tiff" bs=1 seek=9000000 conv=notrunc status=none
run push -av --itemize-changes -e "ssh -p $port -o BatchMode=yes" uploads/ "$NAS_USER@$NAS_HOST:$NAS_PATH/"
compare

step "All is well. The stand-in NAS and its files are removed now."
