"""The soak in its short form: clients that come, go and die for some seconds (tests/soak/README.md has the long one).

Under a sanitizer there are fewer rows: they take a hundred times as long there.
"""
import os
import random
import subprocess
import unittest

from tests.e2e.harness import BUILD, REPORTS, ROOT, SANITIZED, clean_env, temp_dir

ROWS = 200000 if not SANITIZED else 24000
TIMEOUT_S = 500


def soak_program():
    """Built by `make tests` like the unit tests; for a plain build that lacks it, made here."""
    program = BUILD / "soak" / "soak"
    if program.exists() or SANITIZED:
        return program
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "SAN", "BUILD")}
    build = os.path.relpath(BUILD, ROOT)
    done = subprocess.run(["make", "-s", f"BUILD={build}", f"{build}/soak/soak", f"{build}/bench/synth"], cwd=ROOT,
                          env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise AssertionError(f"the soak can't be built:\n{done.stdout}")
    return program


def soak(*flags):
    """Runs it; returns exit code and all that was said."""
    seed = random.randrange(1 << 32)
    done = subprocess.run([soak_program(), "--seed", str(seed), *map(str, flags)], env=clean_env(), text=True,
                          timeout=TIMEOUT_S, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for report in REPORTS:
        if report in done.stdout:
            raise AssertionError(f"sanitizer report\n{done.stdout}")
    return done.returncode, done.stdout


class Soak(unittest.TestCase):
    def test_rows_add_up_answers_stay_and_memory_does_not_grow(self):
        code, text = soak("--rows", ROWS)
        self.assertEqual(code, 0, text)
        self.assertIn("all the same bit for bit", text)
        print(f"\n{text.splitlines()[0]}\n" + "\n".join(text.splitlines()[-3:]))

    def test_an_answer_that_changes_is_noticed(self):
        script = temp_dir() / "faults"
        script.write_text("score * wrong\n")
        code, text = soak("--rows", 2000, "--faults", script)
        self.assertEqual(code, 1, text)
        self.assertIn("isn't answered as it was at first", text)

    def test_a_backend_that_fails_is_noticed(self):
        script = temp_dir() / "faults"
        script.write_text("slot_write 400 eio\n")
        code, text = soak("--rows", 20000, "--faults", script)
        self.assertEqual(code, 1, text)


if __name__ == "__main__":
    unittest.main()
