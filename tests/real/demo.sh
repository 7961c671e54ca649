#!/bin/sh
# The demo: starts lensd on the real lenses, sends the hidden states of real sentences through it token by token, and
# prints which concepts fire and where the time went. Needs the built programs only: no Python, no network.
#   demo.sh [BUILD [SENTENCE-FILE...]]
set -eu
build=${1:-build}
[ $# -eq 0 ] || shift
here=$(dirname "$0")
pack=$here/data/wordnet-minilm.lens
[ $# -gt 0 ] || set -- "$here"/data/sentences/*.safetensors

work=$(mktemp -d)
daemon=""
cleanup() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM PIPE

"$build/lensd" --socket "$work/lensd.sock" --pack "$pack" --http-listen off 2>"$work/log" &
daemon=$!
tries=0
until "$build/lensctl" --socket "$work/lensd.sock" status >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! kill -0 "$daemon" 2>/dev/null; then
        echo "lensd did not come up:" >&2
        cat "$work/log" >&2
        exit 1
    fi
    sleep 0.1
done
ctl() { "$build/lensctl" --socket "$work/lensd.sock" "$@"; }

echo "lensd on $pack:"
ctl status | sed -n 's/^\(backend\|device\|slots\)/  \1/p'
for sentence in "$@"; do
    echo
    echo "$(basename "$sentence" .safetensors)"
    ctl detect "$sentence" --top-k 5 --min-score 0.5 --suppress-parents --report all
done
echo
echo "Where the time went, microseconds a token:"
ctl latency
