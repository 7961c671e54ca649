#!/usr/bin/env python3
"""Runs tests and counts them: `run.py --build DIR [unit] [e2e]`.

Unit tests are cmocka programs (one process each, with a timeout); end-to-end tests are unittest files under tests/e2e
that find the programs in $LENSD_BUILD. Ends with one line "N passed, N failed, N skipped" and exits 1 on a failure.
Results are also appended to $LENSD_TALLY (one JSON line a run), so that `make check` can add several runs up.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_S = 600


def sanitizer_env(build):
    env = dict(os.environ, LENSD_BUILD=str(build), CMOCKA_MESSAGE_OUTPUT="TAP")
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", f"halt_on_error=1:exitcode=99:suppressions={ROOT}/tests/tsan.supp")
    return env


def launch(command, env):
    # ThreadSanitizer wants the address space layout it knows.
    wrapped = ["setarch", "-R", *command] if "tsan" in env["LENSD_BUILD"] else command
    try:
        done = subprocess.run(wrapped, env=env, cwd=ROOT, timeout=TIMEOUT_S, text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        text = late.stdout or b""
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        return -1, text + f"\nstopped after {TIMEOUT_S} s\n"


def run_unit(build, env):
    for path in sorted((build / "tests" / "unit").glob("*_test")):
        code, text = launch([str(path)], env)
        # cmocka writes a skipped test as "not ok N # SKIP name"
        skipped = len(re.findall(r"^\s*(?:not )?ok \d+.*# SKIP", text, re.M))
        passed = len(re.findall(r"^\s*ok \d+(?!.*# SKIP)", text, re.M))
        failed = len(re.findall(r"^\s*not ok \d+(?!.*# SKIP)", text, re.M))
        if code != 0 and failed == 0 or passed + skipped + failed == 0:
            failed += 1
        yield path.name, passed, failed, skipped, text


def run_e2e(build, env):
    for path in sorted((ROOT / "tests" / "e2e").glob("test_*.py")):
        code, text = launch([sys.executable, "-m", "unittest", "-v", str(path.relative_to(ROOT))], env)
        passed = len(re.findall(r"\.\.\. ok$|^ok$", text, re.M))
        skipped = len(re.findall(r"\.\.\. skipped |^skipped ", text, re.M))
        failed = len(re.findall(r"^(?:FAIL|ERROR): ", text, re.M))
        if code != 0 and failed == 0:
            failed += 1
        yield path.name, passed, failed, skipped, text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("kinds", nargs="*", default=["unit", "e2e"])
    args = parser.parse_args()
    build = (ROOT / args.build).resolve()
    env = sanitizer_env(build)
    totals = [0, 0, 0]
    for kind in args.kinds:
        for name, passed, failed, skipped, text in {"unit": run_unit, "e2e": run_e2e}[kind](build, env):
            totals = [totals[0] + passed, totals[1] + failed, totals[2] + skipped]
            print(f"{kind:5} {name:40} {passed} passed, {failed} failed, {skipped} skipped", flush=True)
            if failed:
                print(text, flush=True)
            for line in text.splitlines():
                if "SKIP" in line or "skipped" in line.lower() and "..." in line:
                    print("      " + line.strip())
    if os.environ.get("LENSD_TALLY"):
        with open(os.environ["LENSD_TALLY"], "a") as tally:
            tally.write(json.dumps({"build": args.build, "kinds": args.kinds, "totals": totals,
                                    "at": time.time()}) + "\n")
    print("%d passed, %d failed, %d skipped" % tuple(totals))
    sys.exit(1 if totals[1] else 0)


if __name__ == "__main__":
    main()
