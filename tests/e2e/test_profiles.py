"""The profiles in config/: each is accepted as it is, and a daemon that runs with it answers."""
import configparser
import unittest

from tests.e2e.harness import FIXTURES, ROOT, Daemon, lensd, small_pack

PROFILES = {"realtime.conf": {"cascade.base_layers": "0", "cascade.keep_top_k": "30"},
            "offline.conf": {"cascade.base_layers": "0,1", "cascade.keep_top_k": "100", "pool.slots": "1000",
                             "engine.spin_us": "0"}}
STATES = FIXTURES / "hatcat-small" / "tokens.npy"


def settings_of(path):
    file = configparser.ConfigParser()
    file.read(path, encoding="utf-8")
    return {f"{section}.{name}": value for section in file.sections() for name, value in file[section].items()}


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
        self.assertEqual(spins[1], 0)

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

    def test_they_differ(self):
        answers = []
        for name in PROFILES:
            with Daemon(packs=[small_pack()], args=["--config", ROOT / "config" / name]) as daemon:
                answers.append(detected(daemon))
        self.assertNotEqual(*answers)


if __name__ == "__main__":
    unittest.main()
