#!/usr/bin/env bash
# The demo: real log files sealed, searched, proven, verified - and one entry altered by hand, which verify names.
# Ends by itself with exit code 0 if everything was as it should be. KEEP=1 leaves the server running instead.
set -euo pipefail
cd "$(dirname "$0")/.."

sceau="${SCEAU_BIN:?SCEAU_BIN is the binary to show; run this with make demo}"
run="demo/run"
logs="$run/logs"
shared="../shared/data/logs"
server=""

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
# The command goes to the terminal even where its output goes to a file.
exec 3>&1
show() {
    local words=() word
    for word; do
        case "$word" in *[!A-Za-z0-9@%+=:,./_-]*) words+=("'$word'") ;; *) words+=("$word") ;; esac
    done
    printf '$ sceau %s\n' "${words[*]}" >&3
    "$sceau" "$@"
}
fail() { printf '\ndemo: this is not as it should be: %s\n' "$*" >&2; exit 1; }
stop_server() {
    [ -n "$server" ] || return 0
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" || fail "the server did not stop in good order, see $run/server.log"
    server=""
}
trap '[ -z "$server" ] || kill -TERM "$server" 2>/dev/null || true' EXIT

step "1. A fresh start: an empty data directory, and a key directory beside it, in demo/run"
if [ -f "$run/server.pid" ]; then
    old="$(cat "$run/server.pid")"
    # Only a server that an earlier `make demo KEEP=1` of this very directory left running.
    if tr '\0' '\n' <"/proc/$old/cmdline" 2>/dev/null | grep -qxF "$run/data" && [ "$(readlink "/proc/$old/cwd")" = "$PWD" ]; then
        echo "stopping the server that an earlier demo left running"
        kill -TERM "$old"
        for _ in $(seq 100); do [ -d "/proc/$old" ] || break; sleep 0.1; done
    fi
fi
rm -rf "$run"
mkdir -p "$run"
unset SCEAU_URL SCEAU_TOKEN SCEAU_DATA_DIR SCEAU_KEY_DIR SCEAU_BOOTSTRAP_TOKEN
"$sceau" --version
show init --data-dir "$run/data" --key-dir "$run/keys" --origin demo.example/log --json >"$run/init.json"
cat "$run/init.json"
pin="$(python3 -c 'import json,sys; print(json.load(sys.stdin)["first_epoch_key"])' <"$run/init.json")"
verifier_key="$(python3 -c 'import json,sys; print(json.load(sys.stdin)["verifier_key"])' <"$run/init.json")"
echo "An auditor notes these two public keys now."

step "2. The server, on a free port of this machine only"
"$sceau" serve --data-dir "$run/data" --key-dir "$run/keys" --listen 127.0.0.1:0 \
    >"$run/server.out" 2>"$run/server.log" 3>&- &
server=$!
echo "$server" >"$run/server.pid"
for _ in $(seq 300); do
    grep -q '^listening on ' "$run/server.out" && break
    kill -0 "$server" 2>/dev/null || { cat "$run/server.log" >&2; fail "the server did not start"; }
    sleep 0.1
done
url="$(sed -n 's/^listening on //p' "$run/server.out")"
[ -n "$url" ] || fail "the server is not ready after 30 s"
(umask 077; sed -n 's/^admin token: //p' "$run/server.out" >"$run/token")
echo "It listens on $url. The admin token, which it printed once, is in demo/run/token."
export SCEAU_URL="$url"
SCEAU_TOKEN="$(cat "$run/token")"
export SCEAU_TOKEN

step "3. Log files come in"
python3 demo/make_logs.py "$logs"
show import "$logs/auth.log" "$logs/access.log" "$logs/app.json" --zone UTC
if [ -d "$shared" ]; then
    echo "and logs of others, from $shared:"
    show import "$shared/openssh_2k.log" "$shared/apache_access_10k.log" "$shared/apache_error_2k.log"
fi
echo "The same again, as after an interruption: no line is doubled."
show import "$logs/auth.log"

step "4. Questions"
show search 'source:auth.log AND user.name:deploy AND event.outcome:success' --limit 3
show search '"/etc/shadow"'
show top source.ip 'event.outcome:failure AND source:(auth.log OR app.json)' --limit 5
show histogram 'event.outcome:failure AND source.ip:203.0.113.45' --interval 5m
show count 'ip:203.0.113.0/24'
attacker="$("$sceau" top source.ip 'event.outcome:failure AND source:auth.log' --limit 1 --json)"
case "$attacker" in *203.0.113.45*) ;; *) fail "the attacker is not on top: $attacker" ;; esac

step "5. What the rules found meanwhile; each finding is itself a sealed entry"
for _ in $(seq 100); do
    "$sceau" alerts list --level high --limit 100 | grep -q '203\.0\.113\.45' && break
    sleep 0.1
done
show alerts list --level high --limit 8
"$sceau" alerts list --level high --limit 100 | grep -q '203\.0\.113\.45' || fail "no alert names the attacker"
alert="$("$sceau" alerts list --level critical --limit 1 --json |
    python3 -c 'import json,sys; a=json.load(sys.stdin)["alerts"]; print(a[0]["id"] if a else "")')"
if [ -n "$alert" ]; then
    show alerts set "$alert" --state acknowledged --comment 'the demo has seen it'
fi

step "6. A proof that one entry is in the log, checked without the server"
index="$("$sceau" search '"/etc/shadow"' --limit 1 --json | python3 -c 'import json,sys; print(json.loads(sys.stdin.readline())["index"])')"
show proof "$index" -o "$run/proof.json"
show proof --check "$run/proof.json" --verifier-key "$verifier_key"
show checkpoint >"$run/kept-elsewhere.txt"
echo "The newest checkpoint is kept elsewhere:"
cat "$run/kept-elsewhere.txt"

if [ "${KEEP:-}" = 1 ]; then
    step "The server goes on running (KEEP=1)"
    echo "URL:    $url"
    echo "token:  $SCEAU_TOKEN"
    echo "try:    export SCEAU_URL=$url SCEAU_TOKEN=\$(cat demo/run/token)"
    echo "        $sceau search 'user:alice AND status:failed'"
    echo "stop:   kill $server"
    disown "$server"
    server=""
    exit 0
fi

step "7. Everything verified, first by the server"
show verify --pin "$pin" --since-checkpoint "$run/kept-elsewhere.txt" || fail "verify found faults in a good log"
step "8. The server stops, and the data directory is verified on its own"
stop_server
unset SCEAU_URL SCEAU_TOKEN
export SCEAU_DATA_DIR="$run/data" SCEAU_KEY_DIR="$run/keys"
show verify --pin "$pin" --since-checkpoint "$run/kept-elsewhere.txt" || fail "verify found faults in a good log"
show export -o "$run/entries.ndjson"

step "9. Somebody with access to the disk covers a trace: one byte of one entry, changed in the store"
echo "\$ demo/tamper.py … 'from 198.51.100.23' 'from 198.51.100.24'"
altered="$(python3 demo/tamper.py "$run/data" "$run/entries.ndjson" \
    'Accepted password for deploy from 198.51.100.23' 'Accepted password for deploy from 198.51.100.24')"
echo "To search it is not to see it:"
show search 'user.name:deploy AND "Accepted password"' --limit 1 || true

step "10. sceau verify names it"
set +e
"$sceau" verify --pin "$pin" --since-checkpoint "$run/kept-elsewhere.txt" | tee "$run/verdict.txt"
code="${PIPESTATUS[0]}"
set -e
echo "exit code $code"
[ "$code" = 4 ] || fail "verify should have ended with exit code 4"
grep -q "^fault: entry_changed at $altered:" "$run/verdict.txt" || fail "verify should have named entry $altered"

step "Done: entry $altered was altered, and verify said so. Everything is in demo/run."
