"""Policies on content (daemon/content.h): which concepts are scored and reported, by the daemon's configuration and by
a session's own lists. The right scores under such lists are test_expected_answers.py's; here it is the sets, who may ask
for what, and what people are told.
"""
import ctypes
import fnmatch
import json
import signal
import struct
import unittest

from tests.e2e.harness import FIXTURES, Daemon, import_pack, lensd, small_pack, temp_dir
from tests.e2e.liblens import Client, LensError
from tests.e2e.test_expected_answers import Answers, detect_flags, hidden_states

SMALL = FIXTURES / "hatcat-small"
STATES = SMALL / "tokens-short.npy"
PACK = json.loads((SMALL / "expected-pack.json").read_text(encoding="utf-8"))
KEYS, CHILDREN = PACK["keys"], PACK["children"]
LISTS = ("include", "exclude", "filter")
# Every lens that can be reached is scored and reported.
EVERYTHING = ["--load-threshold", "0", "--unload-threshold", "0", "--report", "all", "--top-k", "256"]


def below(key):
    """`key` and all that stands below it."""
    found, todo = set(), [KEYS.index(key)]
    while todo:
        lens = todo.pop()
        found.add(KEYS[lens])
        todo += CHILDREN[lens]
    return found


def matching(glob):
    return set(fnmatch.filter(KEYS, glob))


def reachable(allowed, base):
    """What is scored when every lens fires."""
    found, todo = set(), [key for key in allowed if int(key.rsplit(":", 1)[1]) in base]
    while todo:
        key = todo.pop()
        if key not in found:
            found.add(key)
            todo += [KEYS[kid] for kid in CHILDREN[KEYS.index(key)] if KEYS[kid] in allowed]
    return found


def first_row():
    data = STATES.read_bytes()
    start = 10 + struct.unpack_from("<H", data, 8)[0]
    return struct.unpack_from("<40f", data, start)


def config_file(text):
    path = temp_dir() / "lensd.conf"
    path.write_text(text, encoding="utf-8")
    return path


def patterns(*texts):
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))


class Lists(unittest.TestCase):
    """A session's lists, on a daemon without any."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def reported(self, *flags, depth=64):
        flags = [*EVERYTHING, "--max-depth", depth, *flags]
        rows = self.daemon.lensctl("--json", "detect", STATES, *flags).check().json_lines()
        found = {frozenset(d["concept"] for d in row["detections"]) for row in rows}
        scored = {row["scored"] for row in rows}
        self.assertEqual((len(found), len(scored)), (1, 1))
        return set(found.pop()), scored.pop()

    def test_excluded_branches_are_not_scored_and_what_hangs_on_them_alone_is_not_reached(self):
        found, scored = self.reported("--exclude", "Deception:1/*,Quantity:1")
        allowed = set(KEYS) - below("Deception:1") - {"Quantity:1"}
        self.assertEqual(found, reachable(allowed, (0, 1)))
        self.assertEqual(scored, len(found))
        self.assertNotIn("Integer:2", found)  # through Quantity alone
        self.assertIn("Forgery:4", set(KEYS) - found)  # below Fraud, excluded, though Contract:2 has it, too
        self.assertIn("Contract:2", found)

    def test_included_concepts_bring_their_ancestors_and_nothing_else(self):
        found, _ = self.reported("--include", "Forgery:4")
        self.assertEqual(found, {"Forgery:4", "Contract:2", "Law:1", "Trade:1", "Society:0", "Fraud:3", "Lie:2",
                                 "Deception:1", "Mind:0"})

    def test_excluded_base_is_not_scored(self):
        found, _ = self.reported("--exclude", "*:0", "--base", "0,1")
        self.assertEqual(found, reachable(set(KEYS) - matching("*:0"), (0, 1)))

    def test_filter_limits_the_report_alone(self):
        everything, all_scored = self.reported()
        found, scored = self.reported("--filter", "*:[34],Emotion:1/*")
        self.assertEqual(scored, all_scored)
        self.assertEqual(found, everything & (matching("*:3") | matching("*:4") | below("Emotion:1")))

    def test_pattern_that_matches_nothing_is_refused(self):
        for name in LISTS:
            with self.subTest(list=name):
                result = self.daemon.lensctl("detect", STATES, "--" + name, "Deception:*,Decepton:1/*")
                self.assertEqual(result.code, 1)
                self.assertIn(f'no concept of this pack matches "Decepton:1/*" of the session\'s {name}', result.stderr)
        result = self.daemon.lensctl("detect", STATES, "--filter", "Deception")  # a key has its layer
        self.assertIn('"Name:*"', result.stderr)

    def test_pin_that_is_excluded_or_not_included_is_refused(self):
        for flags in (["--exclude", "Emotion:1/*"], ["--include", "Deception:1/*"]):
            result = self.daemon.lensctl("detect", STATES, "--pin", "Dread:3", *flags)
            self.assertEqual(result.code, 1)
            self.assertIn("Dread:3 is pinned by this session", result.stderr)
        found, _ = self.reported("--pin", "Dread:3", "--include", "Emotion:1/*", "--base", "0", depth=0)
        self.assertEqual(found, {"Mind:0", "Dread:3"})

    def test_wrong_usage_is_told_before_anything_is_sent(self):
        for text in (",A", "A,,B", "x" * 256, ",".join(["A:1"] * 65)):
            result = self.daemon.lensctl("detect", STATES, "--exclude", text)
            self.assertEqual(result.code, 2, result)
            self.assertIn("--exclude", result.stderr)


class ConfiguredAnswers(Answers):
    """The same lists in the daemon's configuration give the answers that a session's own lists give."""

    def check_configured(self, answers, by_session):
        want = json.loads((SMALL / answers).read_text(encoding="utf-8"))
        options = dict(want["options"])
        args = []
        for name in set(LISTS) - set(by_session):
            args += [f"--cascade-{name}", ",".join(options.pop(name))] if options.get(name) else []
        if options.get("pinned"):
            args += ["--cascade-pin", ",".join(options.pop("pinned"))]
        with Daemon(packs=[small_pack()], args=args) as daemon:
            states = hidden_states(SMALL, want["tokens"])
            rows = daemon.lensctl("--json", "detect", states, *detect_flags(options)).check().json_lines()
        self.assertEqual(len(rows), len(want["rows"]))
        for got, right in zip(rows, want["rows"]):
            with self.subTest(row=got["row"]):
                self.check_row(got, right)

    def test_of_the_daemon_alone(self):
        for answers in sorted(path.name for path in SMALL.glob("expected-*cluded*.json")):
            with self.subTest(answers=answers):
                self.check_configured(answers, ())
        self.check_configured("expected-filtered.json", ())

    def test_some_of_the_daemon_some_of_the_session(self):
        self.check_configured("expected-included-topk.json", ("include",))
        self.check_configured("expected-filtered-topk.json", ("filter",))


class Configured(unittest.TestCase):
    def everything(self, daemon, *flags, depth=64):
        rows = daemon.lensctl("--json", "detect", STATES, *EVERYTHING, "--max-depth", depth, *flags).check().json_lines()
        return {d["concept"] for d in rows[0]["detections"]}

    def test_both_levels_narrow_and_lists_go_on_over_lines(self):
        config = config_file("[cascade]\nexclude = Deception:1/*,\n    Emotion:1/*\nexclude = Rust:4\n"
                             "filter = *:[1234]\npin = Steam\n")
        with Daemon(packs=[small_pack()], args=["--config", config]) as daemon:
            allowed = set(KEYS) - below("Deception:1") - below("Emotion:1") - {"Rust:4"}
            self.assertEqual(self.everything(daemon), reachable(allowed, (0, 1)) - matching("*:0"))
            allowed -= below("Tool:1")
            self.assertEqual(self.everything(daemon, "--exclude", "Tool:1/*", "--filter", "*:[02]"),
                             reachable(allowed, (0, 1)) & matching("*:2"))
            self.assertIn("Steam:3", self.everything(daemon, depth=0))
            refused = daemon.lensctl("detect", STATES, "--exclude", "Steam:3")
            self.assertIn("pinned by the daemon's cascade.pin", refused.stderr)
            self.assertRegex(daemon.lensctl("config").check().stdout, r"cascade\.pin\s+Steam\s+file")

    def test_typo_of_the_configuration_is_told_to_who_attaches(self):
        for args, part in ((["--cascade-exclude", "Decepton:1"], '"Decepton:1" of the daemon\'s cascade.exclude'),
                           (["--cascade-pin", "Decepton:1"], 'no concept "Decepton:1", which the daemon\'s cascade.pin'),
                           (["--cascade-pin", "Change"], "several layers")):
            with Daemon(packs=[small_pack()], args=args) as daemon:
                result = daemon.lensctl("detect", STATES)
                self.assertEqual(result.code, 1)
                self.assertIn(part, result.stderr)
                self.assertIn(part, daemon.wait_log("no session can attach to it"))

    def test_malformed_lists_are_refused_at_start(self):
        for text, part in (("exclude = A,,B\n", "line 2"), ("pin = A\n  B,,C\n", "line 3"),
                           ("filter = " + "x" * 150 + "\n  " + "y" * 200 + "\n", "line 3")):
            result = lensd("--check-config", "--config", config_file("[cascade]\n" + text))
            self.assertEqual(result.code, 1)
            self.assertIn(part, result.stderr)

    def test_reload_holds_for_sessions_attached_from_then_on(self):
        config = config_file("[cascade]\nfilter = *:0\n")
        with Daemon(packs=[small_pack()], args=["--config", config]) as daemon:
            with Client(daemon.socket, report=1, top_k=256, max_depth=0) as client:
                before = client.ask(first_row())
                config.write_text("[cascade]\nfilter = *:1\n")
                daemon.send_signal(signal.SIGHUP)
                daemon.wait_log("configuration reloaded")
                self.assertEqual(client.ask(first_row()), before)
                self.assertEqual({KEYS[lens] for lens, _ in before}, matching("*:0"))
            self.assertEqual(self.everything(daemon), matching("*:1"))

    def test_explain_says_what_the_daemon_s_lists_do(self):
        args = ["--cascade-exclude", "Deception:1/*", "--cascade-filter", "Matter:0/*", "--cascade-pin", "Iron:3"]
        with Daemon(packs=[small_pack()], args=args) as daemon:
            said = daemon.lensctl("explain", "Lie:2").check().stdout
            self.assertIn('It is never scored: "Deception:1/*" of the daemon\'s cascade.exclude matches it.', said)
            why = daemon.lensctl("--json", "explain", "Fear:2").check().json()["why"]
            self.assertEqual(why[0], "It is scored but never reported: the daemon's cascade.filter doesn't name it.")
            self.assertIn("cascade.pin names it", daemon.lensctl("explain", "Iron:3").check().stdout)
            self.assertNotIn("daemon's", daemon.lensctl("explain", "Oil:2").check().stdout)


class Swapped(unittest.TestCase):
    def hits(self, client, names):
        return {names[lens] for lens, _ in client.ask(first_row())}

    def names(self, daemon):
        return [c["concept"] for c in daemon.lensctl("--json", "concepts").check().json()["concepts"]]

    def test_lists_hold_by_name_in_another_pack_and_what_it_lacks_is_logged(self):
        other = import_pack(FIXTURES / "hatcat-flat")
        args = ["--packs-directories", other.parent]
        wanted = {"report": 1, "top_k": 256, "max_depth": 64, "load_threshold": 0.0, "unload_threshold": 0.0}
        with Daemon(packs=[small_pack()], args=args) as daemon:
            with Client(daemon.socket, **wanted, exclude=patterns("Ice:3", "War:2/*", "Auction:3"), n_exclude=3,
                        pinned=(ctypes.c_uint32 * 2)(KEYS.index("Steam:3"), KEYS.index("Dread:3")),
                        n_pinned=2) as client:
                self.assertTrue({"Ice:3", "War:2", "Siege:3"}.isdisjoint(self.hits(client, KEYS)))
                daemon.lensctl("swap", other).check()
                self.assertEqual(self.hits(client, self.names(daemon)),
                                 {"Matter:0", "Liquid:1", "Oil:2", "Water:2", "Steam:3"})
                line = daemon.wait_log("match nothing in this pack")
                self.assertIn("\"War:2/*\" of the session's exclude and 1 more match nothing", line)
                self.assertIn("1 of its pins aren't in this pack", line)
            with self.assertRaises(LensError) as refused:  # who attaches now is told
                Client(daemon.socket, exclude=patterns("War:2/*"), n_exclude=1)
            self.assertIn("War:2/*", str(refused.exception))


if __name__ == "__main__":
    unittest.main()
