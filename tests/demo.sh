#!/usr/bin/env bash
# Shows nas-sync at work, on the command line and in a backend: a throwaway sshd on loopback stands in for the NAS, a PostgreSQL of
# its own for the backend's database, and everything they leave is removed.
# Usage: tests/demo.sh BINARY WHEEL. `make demo` builds both and installs what is missing first.
set -euo pipefail

export LC_ALL=C.UTF-8
readonly nas_sync=$(realpath "$1")
readonly wheel=$(realpath "$2")
readonly source=$(dirname "$(realpath "$0")")/..
readonly sshd=$(PATH="$PATH:/usr/sbin:/sbin" command -v sshd)
readonly home=$(mktemp -d "${TMPDIR:-/tmp}/nas-sync-demo.XXXXXX")
readonly database=$(mktemp -d "${TMPDIR:-/tmp}/nas-sync-demo-database.XXXXXX")
server='' postgres='' serve=''

if [[ -t 1 && -z "${NO_COLOR:-}" ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
# With an empty PATH there is no ssh and no rsync that nas-sync could start.
run() { printf '%s$ nas-sync%s%s\n' "$dim" "$(printf ' %q' "$@")" "$plain"; PATH='' "$nas_sync" "$@"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

clean_up() {
    local status=$?
    # A fast shutdown of PostgreSQL is its SIGINT; it must be gone before its folder.
    [[ -z "$postgres" ]] || kill -INT "$postgres" 2>/dev/null || true
    kill $server $serve 2>/dev/null || true
    wait $server $serve $postgres 2>/dev/null || true
    if [[ $status -ne 0 ]]; then tail -n 5 "$home"/*.log "$database"/*.log >&2 2>/dev/null || true; fi
    rm -rf "$home" "$database"
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

# --- the second act: a backend in Python over PostgreSQL --------------------------------------------------------------

shown() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }

# PostgreSQL refuses to run as root.
if [[ $(id -u) -eq 0 ]]; then as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups); else as_nobody=(); fi

start_postgres() {
    local programs
    programs=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    programs=${programs%/initdb}
    [[ -n "$programs" ]] || fail "there is no PostgreSQL (Debian: postgresql)"
    chmod 755 "$database"
    if [[ $(id -u) -eq 0 ]]; then chown 65534:65534 "$database"; fi
    cd "$database"
    shown "initdb; postgres    # $("$programs/postgres" --version), in a folder of its own"
    "${as_nobody[@]}" "$programs/initdb" -D data -U backend -A trust -E UTF8 --locale=C.UTF-8 --no-sync >initdb.log
    "${as_nobody[@]}" "$programs/postgres" -D data -k "$database" -c listen_addresses= -c fsync=off >postgres.log 2>&1 </dev/null &
    postgres=$!
    cd "$home"
    for _ in {1..100}; do
        if "$programs/psql" -q -h "$database" -U backend -d postgres -c 'CREATE DATABASE app' 2>/dev/null; then return; fi
        if ! kill -0 "$postgres" 2>/dev/null; then break; fi
        sleep 0.1
    done
    fail "PostgreSQL does not start"
}

step "8. A backend keeps its documents in PostgreSQL: here one of its own, on a socket that nobody else finds"
start_postgres

step "9. The backend's virtual environment: SQLAlchemy, and the wheel of nas-sync"
shown "python3 -m venv backend; backend/bin/pip install SQLAlchemy 'psycopg[binary]' $(basename "$wheel")"
python3 -m venv backend
grep -E '^(SQLAlchemy|greenlet|psycopg|psycopg-binary|typing_extensions)==' "$source/python/tests/requirements.txt" >wanted
backend/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement wanted "$wheel" ||
    fail "the packages of the backend cannot be had from PyPI"

step "10. The usage of the original service, word for word; its module in the backend has become one line"
mkdir -p app/services
cp "$source/python/tests/models.py" app/models.py
shown "cat app/services/nas_sync_service.py"
tee app/services/nas_sync_service.py <<'PYTHON'
from nas_sync import NASSyncError, NASSyncService, get_nas_sync_service
PYTHON
{
    printf 'def use(db, Document):\n'
    sed 's/^/    /' "$source/python/tests/original_usage.txt"
} >usage.py
shown "cat usage.py"
cat usage.py
cat >backend.py <<'PYTHON'
import pathlib, sys
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from app.models import Base, Document, User
from usage import use

engine = create_engine(sys.argv[1])
Base.metadata.create_all(engine)
with Session(engine) as db:
    db.add(User(id=1, name="backend"))
    for path in map(pathlib.Path, sys.argv[2:]):
        db.add(Document(user_id=1, file_path=str(path), original_name=path.name))
    db.commit()
    use(db, Document)
PYTHON
mkdir invoices
for number in {1..20}; do head -c $((number * 40000)) /dev/urandom >"invoices/Facture n° $number.pdf"; done
printf 'Avoir : 3,20 €\n' >"invoices/Avoir.txt"
export UPLOAD_DIR=$home/invoices NAS_LAYOUT='invoices/{name}'
shown "backend/bin/python backend.py    # registers $(find invoices -type f | wc -l) documents, and calls use(db, Document)"
backend/bin/python -W ignore backend.py "postgresql+psycopg://backend@/app?host=$database" "$home"/invoices/*
[[ $(find invoices -type f | wc -l) -eq $(find nas/invoices -type f | wc -l) ]] || fail "the NAS does not hold all of them"
diff -r invoices nas/invoices && printf 'compared byte for byte: no difference\n'

step "11. The same over HTTP, for a backend in any language, and a page for people: nas-sync serve"
NAS_DB="postgresql://backend@/app?host=$database"
NAS_API_ADDR=127.0.0.1:$((port + 1))
export NAS_DB NAS_API_ADDR
shown "nas-sync serve &"
PATH='' "$nas_sync" serve >serve.log 2>&1 &
serve=$!
page=http://$NAS_API_ADDR
for _ in {1..100}; do
    if curl -fsS -o /dev/null "$page/health" 2>/dev/null; then break; fi
    kill -0 "$serve" 2>/dev/null || fail "serve has ended"
    sleep 0.1
done
ask() { shown "curl $*"; curl --fail-with-body -sS "$@" && printf '\n'; }
ask "$page/sync/status?user_id=1"
head -c 300000 /dev/urandom >"invoices/Facture n° 21.pdf"
insert="INSERT INTO documents (user_id, file_path, original_name, synced_to_nas)
    VALUES (1, '$home/invoices/Facture n° 21.pdf', 'Facture n° 21.pdf', FALSE) RETURNING id"
shown "psql app -c \"$insert\""
id=$(psql -qAtX -h "$database" -U backend -d app -c "$insert")
ask -X POST "$page/sync/document/$id"
cmp "invoices/Facture n° 21.pdf" "nas/invoices/Facture n° 21.pdf" || fail "the new document differs on the NAS"
shown "curl $page/    # the page"
curl -fsS "$page/" | grep -o '<title>.*</title>' || fail "there is no page"
if [[ -t 0 && -t 1 ]]; then
    printf '\n%sThe page is at %s/ until you press Enter.%s ' "$bold" "$page" "$plain"
    read -r -t 600 || printf '\n'
fi

step "All is well. The stand-in NAS, the database and their files are removed now."
