"""Filling slots: at start, by load and swap, by `lensctl preload`; and how people see how far it is."""
import json
import os
import pty
import subprocess
import unittest

from tests.e2e.harness import BUILD, FIXTURES, Daemon, clean_env, copy_pack, eventually, small_pack, temp_dir

SMALL = FIXTURES / "hatcat-small"
LENSES = len(json.loads((SMALL / "expected-pack.json").read_text(encoding="utf-8"))["keys"])


def script(text):
    path = temp_dir() / "script"
    path.write_text(text)
    return ["--fault-script", path]


def status(daemon):
    return daemon.lensctl("--json", "status").check().json()


def start(daemon, *args, stderr=subprocess.PIPE):
    return subprocess.Popen([BUILD / "lensctl", "--socket", daemon.socket, *args], stdout=subprocess.PIPE,
                            stderr=stderr, env=clean_env(TERM="xterm"), text=True)


def read_all(leader):
    """What was written to a terminal whose other end is closed."""
    text = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:
            piece = b""
        if not piece:
            os.close(leader)
            return text.decode()
        text += piece


class Preload(unittest.TestCase):
    def daemon(self, *args, pack=None):
        return Daemon(packs=[pack or small_pack()], args=["--pool-preload", "off", *args])

    def test_it_fills_every_slot(self):
        with self.daemon() as daemon:
            self.assertEqual(status(daemon)["resident"], 0)
            said = daemon.lensctl("preload").check().stdout
            self.assertIn(f"{LENSES} of {LENSES} lenses are in its {LENSES} slots", said)
            self.assertEqual(status(daemon)["resident"], LENSES)
            self.assertEqual(status(daemon)["loads"], LENSES)
            again = daemon.lensctl("--json", "preload", small_pack().stem).check().json()
            self.assertIn(f"{LENSES} of {LENSES}", again["done"])
            self.assertEqual(status(daemon)["loads"], LENSES)

    def test_fewer_slots_than_lenses_are_filled_and_evict_nothing(self):
        with self.daemon("--pool-slots", "40") as daemon:
            self.assertIn(f"40 of {LENSES} lenses are in its 40 slots", daemon.lensctl("preload").check().stdout)
            self.assertEqual((status(daemon)["resident"], status(daemon)["evictions"]), (40, 0))
            row = daemon.lensctl("--json", "packs").check().json()["packs"][0]
            self.assertEqual((row["resident"], row["slots"]), (40, 40))

    def test_how_far_it_is_can_be_seen(self):
        with self.daemon(*script("slot_write * slow:1200\n")) as daemon:
            try:
                leader, follower = pty.openpty()
            except OSError as error:  # a container without /dev/pts
                raise unittest.SkipTest(f"no terminal can be made here: {error}") from error
            asking = start(daemon, "preload", stderr=follower)
            os.close(follower)
            text = eventually(lambda: status(daemon)["loading"], what="a preload under way")
            self.assertRegex(text, rf"^{small_pack().stem}: \d+ of {LENSES} lenses loaded$")
            self.assertIn("loading", daemon.lensctl("status").check().stdout)
            self.assertIn("in-use", daemon.lensctl("preload").stderr)
            stdout, _ = asking.communicate(timeout=60)
            self.assertEqual(asking.returncode, 0, stdout)
            shown = read_all(leader)
            self.assertRegex(shown, r"\rloading \[[#.]{30}\] +\d+%")
            self.assertTrue(shown.endswith("\r\x1b[K"), repr(shown))
            self.assertEqual(status(daemon)["loading"], "")

    def test_what_cannot_be_loaded_is_told(self):
        with self.daemon(*script("slot_write 1 eio\n")) as daemon:
            result = daemon.lensctl("preload")
            self.assertEqual((result.code, result.stdout), (1, ""), result)
            self.assertIn("bad-pack", result.stderr)
            self.assertEqual(daemon.lensctl("preload", "none").code, 1)

    def test_a_swap_or_unload_meanwhile_is_told(self):
        for command in (["swap", None], ["unload", "p"]):
            pack = copy_pack(small_pack(), "p.lens")
            with self.daemon(*script("slot_write 1 slow:3000\n"), pack=pack) as daemon:
                asking = start(daemon, "preload")
                eventually(lambda: status(daemon)["loading"], what="a preload under way")
                daemon.lensctl(*[pack if part is None else part for part in command]).check()
                _, stderr = asking.communicate(timeout=60)
                self.assertEqual(asking.returncode, 1)
                self.assertIn("replaced or unloaded", stderr)

    def test_its_asker_may_go(self):
        with self.daemon(*script("slot_write * slow:700\n")) as daemon:
            asking = start(daemon, "preload")
            eventually(lambda: status(daemon)["loading"], what="a preload under way")
            asking.kill()
            asking.communicate()
            eventually(lambda: status(daemon)["resident"] == LENSES, what="the slots filled")
            eventually(lambda: status(daemon)["loading"] == "", what="its end")
            daemon.lensctl("preload").check()

    def test_the_daemon_may_stop_meanwhile(self):
        with self.daemon(*script("slot_write * slow:700\n")) as daemon:
            asking = start(daemon, "preload")
            eventually(lambda: status(daemon)["loading"], what="a preload under way")
        asking.communicate(timeout=60)
        self.assertNotEqual(asking.returncode, 0)


class Opening(unittest.TestCase):
    def test_a_start_says_when_it_begins_and_ends(self):
        with Daemon(packs=[small_pack()]) as daemon:
            begun = daemon.log.index(f"pack {small_pack()}: opening")
            ended = daemon.log.index(f"pack {small_pack().stem}: {LENSES} lenses")
            self.assertLess(begun, ended)

    def test_a_slow_load_says_how_far_it_is(self):
        with Daemon(packs=[small_pack()], args=[*script("slot_write * slow:1000\n"), "--packs-verify", "off"]) as daemon:
            loading = start(daemon, "load", small_pack(), "--name", "other")
            text = eventually(lambda: status(daemon)["loading"], what="a load under way")
            self.assertRegex(text, rf"^other: (opening|\d+ of {LENSES} lenses loaded)$")
            stdout, stderr = loading.communicate(timeout=60)
            self.assertEqual(loading.returncode, 0, stderr)
            self.assertIn("other", stdout)
            self.assertEqual(status(daemon)["loading"], "")
            self.assertIn(": opening", daemon.log)
            self.assertIn("pack other: loaded", daemon.log)


if __name__ == "__main__":
    unittest.main()
