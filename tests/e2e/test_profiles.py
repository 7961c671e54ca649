"""The profiles in config/: each is accepted as it is, and a daemon that runs with it answers."""
import configparser
import pathlib
import re
import unittest

from tests.e2e.harness import FIXTURES, ROOT, SANITIZED, Daemon, lensd, small_pack, temp_dir
from tests.e2e.test_real_tree import synth

PROFILES = {"realtime.conf": {"cascade.base_layers": "0", "cascade.keep_top_k": "30"},
            "offline.conf": {"cascade.base_layers": "0,1", "cascade.keep_top_k": "100", "pool.slots": "1000",
                             "engine.spin_us": "0"},
            "low-memory.conf": {"cascade.base_layers": "0", "cascade.keep_top_k": "30", "pool.slots": "300",
                                "engine.spin_us": "0"}}
STATES = FIXTURES / "hatcat-small" / "tokens.npy"


def settings_of(path):
    file = configparser.ConfigParser()
    file.read(path, encoding="utf-8")
    return {f"{section}.{name}": value for section in file.sections() for name, value in file[section].items()}


def resident(pid):
    """Bytes of the process's own memory: not of files that the kernel keeps."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


def detected(daemon, *flags):
    rows = daemon.lensctl("--json", "detect", STATES, *flags).check().json_lines()
    return [(row["status"], row["scored"], row["expanded"], row["detections"]) for row in rows]


class Profiles(unittest.TestCase):
    def test_each_is_accepted(self):
        for name in PROFILES:
            with self.subTest(profile=name):
                lensd("--check-config", "--config", ROOT / "config" / name).check()

    def test_each_says_what_the_field_s_profile_of_that_name_says(self):
        for name, wanted in PROFILES.items():
            with self.subTest(profile=name):
                found = settings_of(ROOT / "config" / name)
                self.assertEqual({key: found.get(key) for key in wanted}, wanted)
        spins = [int(settings_of(ROOT / "config" / name)["engine.spin_us"]) for name in PROFILES]
        self.assertGreater(spins[0], 50)
        self.assertEqual(spins[1:], [0, 0])

    def test_a_daemon_runs_with_each_and_answers_as_its_options_say(self):
        with Daemon(packs=[small_pack()]) as plain:
            for name, wanted in PROFILES.items():
                with self.subTest(profile=name):
                    flags = ["--base", wanted["cascade.base_layers"], "--keep-top-k", wanted["cascade.keep_top_k"]]
                    with Daemon(packs=[small_pack()], args=["--config", ROOT / "config" / name]) as daemon:
                        rows = detected(daemon)
                        config = {row["name"]: row for row in
                                  daemon.lensctl("--json", "config").check().json()["settings"]}
                    self.assertEqual(rows, detected(plain, *flags))
                    self.assertEqual({row[0] for row in rows}, {"COMPLETE"})
                    for key, value in settings_of(ROOT / "config" / name).items():
                        self.assertEqual((config[key]["value"], config[key]["origin"]), (value, "file"))

    def test_they_differ_but_not_in_answers_of_the_same_options(self):
        answers = {}
        for name in PROFILES:
            with Daemon(packs=[small_pack()], args=["--config", ROOT / "config" / name, "--pool-slots", "40"]) as daemon:
                answers[name] = detected(daemon)
        self.assertNotEqual(answers["realtime.conf"], answers["offline.conf"])
        self.assertEqual(answers["realtime.conf"], answers["low-memory.conf"])

    def test_low_memory_has_little_memory_and_the_answers_of_all_of_it(self):
        """All 7,947 lenses of the real tree, in small: what the daemon holds is the slots and little more."""
        directory = temp_dir()
        pack, rows = directory / "tree.lens", directory / "rows.npy"
        synth({"dim": 128, "h1": 16, "h2": 8}, "--pack", pack, "--rows", rows, "--leaves", directory / "leaves.json",
              "--count", 60)
        found = []
        for flags in (["--cascade-base-layers", "0"], ["--config", ROOT / "config" / "low-memory.conf"]):
            with Daemon(packs=[pack], args=flags) as daemon:
                answers = daemon.lensctl("--json", "detect", rows).check().json_lines()
                status = daemon.lensctl("--json", "status").check().json()
                found.append((resident(daemon.pid), status["slab_bytes"],
                              [(row["status"], row["scored"], row["detections"]) for row in answers]))
                daemon_loads = status["evictions"]
        (much, all_slots, wanted), (little, few_slots, got) = found
        self.assertEqual(got, wanted)
        self.assertGreater(daemon_loads, 100, "every lens it wanted had a slot: nothing was tried")
        self.assertLess(few_slots, all_slots / 20)
        if not SANITIZED:  # those keep what was freed
            self.assertGreater(much - little, (all_slots - few_slots) * 0.9)


if __name__ == "__main__":
    unittest.main()
