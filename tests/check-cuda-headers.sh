#!/bin/sh
# The emulated card's CUDA headers say what the toolkit's own do: each call has the same type, each enum and constant
# the same value, each field of its structs is there with the same type. Argument: the toolkit's include folder.
set -eu
cd "$(dirname "$0")/.."
emulator=tests/gpu/emulator
probe=$(mktemp /tmp/check-cuda-XXXXXX.c)
trap 'rm -f "$probe"' EXIT
{
    echo '#include <cuda_runtime_api.h>'
    echo "#include \"$emulator/calls.h\"" # differing types of a function are errors
    sed -nE 's/^    (cuda[A-Za-z0-9]+) = ([0-9]+),?$/_Static_assert(\1 == \2, "\1");/p' $emulator/types.h
    sed -nE 's/^#define (cuda[A-Za-z0-9]+) +([0-9a-fx]+)$/_Static_assert(\1 == \2, "\1");/p' $emulator/types.h
    sed -nE '/^enum cudaGraph.*\{.*\};/{s/.*\{ (.*) \};/\1/;s/, /\n/g;p}' $emulator/types.h |
        sed -E 's/^(\w+) = (\w+)$/_Static_assert(\1 == \2, "\1");/'
    python3 - $emulator/types.h <<'END'
import re, sys
text = open(sys.argv[1]).read()
for name, body in re.findall(r"^struct (cuda\w+) \{\n(.*?)^\};", text, re.M | re.S):
    for kind, fields in re.findall(r"^ +((?:enum |struct )?\w+(?: int)?) ((?:\**\w+(?:\[\d+\])?(?:, )?)+);", body, re.M):
        for field in fields.split(", "):
            stars, field, size = re.fullmatch(r"(\**)(\w+)((?:\[\d+\])?)", field).groups()
            one = field + ("[0]" if size else "")
            print('_Static_assert(_Generic(((struct %s *)0)->%s, %s %s: 1, default: 0), "%s.%s");'
                  % (name, one, kind, stars, name, field))
END
} >"$probe"
[ "$(grep -c _Static_assert "$probe")" -gt 100 ] || {
    echo "the probe holds too little: $(grep -c _Static_assert "$probe") assertions"
    exit 1
}
${CC:-cc} -std=c11 -isystem "$1" -I. -Wall -Werror -fsyntax-only "$probe"
