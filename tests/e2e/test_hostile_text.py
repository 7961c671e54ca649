"""Text of others on people's terminals: names that hold escape sequences, or bytes that are no UTF-8 around them."""
import os
import subprocess
import unicodedata
import unittest

from tests.e2e.harness import BUILD, clean_env, temp_dir

NAMES = [b"\x1b[31mred", b"\xe0\x1b[31mX", b"\xf0\x1b]0;title\x07", b"\xc2\x1b[2J", b"\x9b31m", b"\xc2\x9b31m", b"\xc2",
         b"\xed\xa0\x80", b"\xf5\x1b[m", b"\xe2\x80\xaeback", b"line\nfeed\r", "día €".encode()]
COMMANDS = [["detect"], ["timeline"], ["pack", "inspect"], ["pack", "verify"], ["cache-sim"], ["completion"], ["help"],
            ["--socket"], []]


class HostileText(unittest.TestCase):
    def test_names_of_any_bytes_are_shown_as_text(self):
        folder = os.fsencode(temp_dir())
        for name in NAMES:
            path = os.path.join(folder, name)
            with open(path, "wb"):
                pass
            for command in COMMANDS:
                for word in (name, path):
                    with self.subTest(command=command, word=word):
                        result = subprocess.run([os.fsencode(BUILD / "lensctl"), *map(os.fsencode, command), word],
                                                env=clean_env(LENSD_SOCKET="/nonexistent/lensd.sock"), timeout=60,
                                                stdin=subprocess.DEVNULL, capture_output=True)
                        said = (result.stdout + result.stderr).decode()  # raises where it isn't UTF-8
                        self.assertNotEqual(said, "")
                        self.assertEqual([c for c in said if unicodedata.category(c) == "Cc" and c not in "\n\t"], [])


if __name__ == "__main__":
    unittest.main()
