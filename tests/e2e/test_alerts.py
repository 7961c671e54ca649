"""Rules on content: the row that trips one carries its verdict, to the client, to subscribers, metrics, log and lensctl;
each sequence by itself; a reload changes them for new sessions; a bad rule changes nothing."""
import ctypes
import json
import signal
import struct
import unittest

from tests.e2e.harness import ROOT, Daemon, eventually, temp_dir
from tests.e2e.liblens import Client, library
from tests.e2e.scrape import scrape
from tests.e2e.test_lensctl import on_a_terminal

DATA = ROOT / "tests" / "real" / "data"
PACK = DATA / "wordnet-minilm.lens"
DOGS = DATA / "sentences" / "01-dogs.safetensors"
DOG_ROW, PUPPY_ROW = 2, 6  # "The old dog barked at the puppy ..": Canine:4 scores 0.99 there and under 0.01 elsewhere
FLAG, STOP = 1, 2
ALERT = 8
DOG = "dog: on=Canine:4 above=0.5 action=stop"
WAIT_S = 60


def half_rows(path):
    """The hidden states of a sentence file (f16), a list of floats for each row."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])["hidden_states"]
    rows, dim = header["shape"]
    values = struct.unpack(f"<{rows * dim}e", raw[8 + size:8 + size + rows * dim * 2])
    return [list(values[i * dim:(i + 1) * dim]) for i in range(rows)]


class Rules:
    """A daemon with rules on the demonstration pack, from a configuration file that can be reloaded."""

    def __init__(self, *rules, http="off"):
        self.config = temp_dir() / "lensd.conf"
        self.write(*rules)
        self.daemon = Daemon(packs=[PACK], args=["--config", self.config], http=http)
        self.reloads = 0

    def write(self, *rules):
        lines = ",\n    ".join(rules)  # an indented line goes on with the one before
        self.config.write_text(f"[alerts]\nrules = {lines}\n", encoding="utf-8")

    def reload(self, *rules):
        """Reloads with these rules; the line that the daemon logs of it."""
        self.write(*rules)
        self.daemon.send_signal(signal.SIGHUP)
        lines = eventually(lambda: [line for line in self.daemon.lines
                                    if "configuration reloaded" in line or
                                    "configuration not reloaded" in line][self.reloads:], WAIT_S, "the reload's line")
        self.reloads += 1
        return lines[0]

    def detect(self, *args):
        return self.daemon.lensctl("detect", DOGS, "--report", "all", "--top-k", "256", "--json",
                                   *args).check().json_lines()

    def listed(self):
        """What lensctl rules says, by name."""
        return {row["name"]: row for row in self.daemon.lensctl("rules", "--json").check().json()["rules"]}

    def __enter__(self):
        self.daemon.__enter__()
        return self

    def __exit__(self, *what):
        self.daemon.__exit__(*what)


def rule_id(name):
    lib = library()
    lib.lens_rule_id.argtypes, lib.lens_rule_id.restype = [ctypes.c_char_p], ctypes.c_uint32
    return lib.lens_rule_id(name.encode())


def send(client, row, sequence=0, position=0):
    """(action, rule's id, whether this row raised it) of the row's answer."""
    code = client.submit(row, sequence, position)
    if code == 0:
        code, _, answer = client.wait(WAIT_S)
    if code != 0:
        raise AssertionError(f"error {code}")
    return answer.verdict, answer.verdict_rule, bool(answer.flags & ALERT)


QUIET = (0, 0, False)


def verdicts(rows):
    """{row: (action, rule, raised)} of the rows with a verdict."""
    return {row["row"]: tuple(row["verdict"][key] for key in ("action", "rule", "raised"))
            for row in rows if row["verdict"] is not None}


def highest(row, *, of):
    """The row's reading: the best raw score of the concept, or where `of` ends in /* of it and all below."""
    branch, key = of.endswith("/*"), of.removesuffix("/*")
    return max((hit["raw"] for hit in row["detections"]
                if hit["concept"] == key or branch and key in hit["path"]), default=0.0)


class AVerdict(unittest.TestCase):
    """One rule, seen from everywhere."""

    @classmethod
    def setUpClass(cls):
        cls.rules = Rules(DOG, http="127.0.0.1:0")
        cls.daemon = cls.rules.daemon
        cls.states = half_rows(DOGS)
        with Client(cls.daemon.socket) as client:
            cls.session = client.info().id
            cls.told = [send(client, row, sequence=7, position=i) for i, row in enumerate(cls.states)]

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def test_the_row_that_trips_the_rule_carries_it_to_its_client(self):
        hit = (STOP, rule_id("dog"), True)
        self.assertEqual(self.told, [hit if i in (DOG_ROW, PUPPY_ROW) else QUIET for i in range(len(self.states))])

    def test_subscribers_get_it(self):
        rows = self.daemon.lensctl("tail", "--from", "start", "--rows", "2", "--session", self.session,
                                   "--alerts").check().json_lines()
        self.assertEqual([(row["position"], row["sequence"], row["flags"], row["verdict"]) for row in rows],
                         [(at, 7, ["ALERT"], {"action": "stop", "rule": "dog", "raised": True})
                          for at in (DOG_ROW, PUPPY_ROW)])
        rows = self.daemon.lensctl("tail", "--from", "start", "--rows", "15", "--session", self.session,
                                   "--all-rows").check().json_lines()
        self.assertEqual([row["position"] for row in rows if row["verdict"] is not None], [DOG_ROW, PUPPY_ROW])

    def test_a_row_that_raised_a_rule_is_shown_whatever_detections_are_asked_for(self):
        rows = self.daemon.lensctl("tail", "--from", "start", "--rows", "2", "--session", self.session, "--concept",
                                   "Money:*").check().json_lines()
        self.assertEqual([(row["position"], row["detections"]) for row in rows], [(DOG_ROW, []), (PUPPY_ROW, [])])

    def test_people_see_it(self):
        text = on_a_terminal("--socket", self.daemon.socket, "tail", "--from", "start", "--rows", "1", "--session",
                             str(self.session), "--alerts")
        self.assertRegex(text, r"\x1b\[31mSTOP dog raised\x1b\[0m")
        with Rules("dog: on=Canine:4 above=0.5 action=flag") as rules:
            text = rules.daemon.lensctl("detect", DOGS).check().stdout.splitlines()
            self.assertEqual([i for i, line in enumerate(text) if "FLAG dog raised" in line], [DOG_ROW, PUPPY_ROW])

    def test_it_is_counted_and_listed(self):
        raised = self.rules.listed()["dog"]
        self.assertGreaterEqual(raised["raised"], 2)
        self.assertEqual((raised["action"], raised["id"]), ("stop", rule_id("dog")))
        self.assertIn("on=Canine:4 above=0.5", raised["rule"])
        self.assertEqual(scrape(self.daemon)("lensd_alerts_total", rule="dog", action="stop"), raised["raised"])
        table = self.daemon.lensctl("rules").check().stdout.splitlines()
        self.assertEqual(table[0].split("\t"), ["name", "action", "raised", "rule"])
        self.assertEqual(table[1].split("\t")[:3], ["dog", "stop", str(raised["raised"])])

    def test_the_log_says_where(self):
        line = self.daemon.wait_log("rule dog was raised")
        for part in ("stop", f"session {self.session}", "sequence 7", f"position {DOG_ROW}"):
            self.assertIn(part, line)


class OverASentence(unittest.TestCase):
    def expected(self, rows, of, above, below=None, smooth=0.0, tokens=1, window=None):
        """{row: raised} by the rules' definition, out of the raw scores that came with the rows."""
        below, window = above if below is None else below, window or tokens
        counts, reading, raised, out = [], None, False, {}
        for row in rows:
            now = highest(row, of=of)
            reading = now if reading is None else smooth * reading + (1 - smooth) * now
            counts.append(reading >= above)
            before, raised = raised, (raised and reading >= below) or sum(counts[-window:]) >= tokens
            if raised:
                out[row["row"]] = not before
        return out

    def check(self, text, **rule):
        with Rules("r: " + text) as rules:
            rows = rules.detect()
        want = self.expected(rows, **rule)
        self.assertEqual(verdicts(rows), {row: ("flag", "r", raised) for row, raised in want.items()})
        return want

    def test_hysteresis_keeps_a_rule_raised_until_the_reading_is_low(self):
        want = self.check("on=Organism:0 above=0.5 below=0.05 smooth=0.4", of="Organism:0", above=0.5, below=0.05,
                          smooth=0.4)
        self.assertEqual(want, {2: True, 3: False, 4: False, 6: True, 7: False, 8: False})

    def test_so_many_tokens_of_the_last_so_many_raise_a_rule(self):
        self.assertEqual(self.check("on=Canine:4 above=0.5 tokens=2 window=5", of="Canine:4", above=0.5, tokens=2,
                                    window=5), {PUPPY_ROW: True})
        self.assertEqual(self.check("on=Canine:4 above=0.5 tokens=2 window=4", of="Canine:4", above=0.5, tokens=2,
                                    window=4), {})

    def test_a_branch_is_the_concept_and_all_below_it(self):
        concept = self.check("on=Animal:1 above=0.5", of="Animal:1", above=0.5)
        branch = self.check("on=Animal:1/* above=0.5", of="Animal:1/*", above=0.5)
        self.assertEqual((list(concept), list(branch)), ([DOG_ROW], [DOG_ROW, PUPPY_ROW]))

    def test_what_stands_out_of_a_sequence_raises_a_rule_of_deviation(self):
        states = half_rows(DOGS)
        quiet, dog = [states[i] for i in (0, 1, 3, 4, 5, 7, 8, 9, 10, 11)], states[DOG_ROW]
        with Rules("odd: on=Canine:4 deviation=2") as rules:
            rows = rules.detect()
            self.assertEqual([len([hit for hit in row["detections"] if hit["concept"] == "Canine:4"]) for row in rows],
                             [1] * len(rows), "its concept is scored on every row")
            with Client(rules.daemon.socket) as client:
                told = [send(client, row, sequence=1, position=i) for i, row in enumerate([*quiet, dog, quiet[0]])]
                self.assertEqual(told, [QUIET] * 10 + [(FLAG, rule_id("odd"), True), QUIET])
                told = [send(client, row, sequence=2, position=i) for i, row in enumerate([*quiet[:5], dog])]
                self.assertEqual(told, [QUIET] * 6, "too few readings before it")
                session = rules.daemon.lensctl("sessions", "--json").check().json()["sessions"][0]["session"]
                read = [rules.daemon.lensctl("rules", "--session", session, "--sequence", n, "--json").check().json()
                        ["readings"][0] for n in (1, 2)]
                self.assertLess(abs(read[0]["deviation"]), 2, "the last row was quiet again")
                self.assertIsNone(read[1]["deviation"], "too few readings before it")
                self.assertGreater(read[1]["reading"], read[0]["reading"])
                self.assertEqual(rules.daemon.lensctl("rules", "--session", session, "--sequence", 3).code, 1)

    def test_a_stop_goes_before_a_flag(self):
        with Rules("a: on=Mammal:2 above=0.5 below=0.0 action=flag", DOG) as rules:
            found = verdicts(rules.detect())
            self.assertEqual(found[DOG_ROW], ("stop", "dog", True))
            self.assertEqual(found[DOG_ROW + 1], ("flag", "a", False))
            self.assertEqual({name: row["raised"] for name, row in rules.listed().items()}, {"a": 1, "dog": 2})

    def test_detections_are_what_they_are_without_rules(self):
        def told(rows):
            return [[(hit["concept"], hit["raw"]) for hit in row["detections"]] for row in rows]
        with Rules(DOG) as rules, Daemon(packs=[PACK]) as plain:
            without = plain.lensctl("detect", DOGS, "--report", "all", "--top-k", "256", "--json").check().json_lines()
            self.assertEqual(told(rules.detect()), told(without))
            self.assertEqual([row["verdict"] for row in without], [None] * len(without))


class Sequences(unittest.TestCase):
    def test_each_has_states_of_its_own_that_end_with_it(self):
        rows = half_rows(DOGS)
        dog = rows[DOG_ROW]
        with Rules("twice: on=Canine:4 above=0.5 tokens=2") as rules, Client(rules.daemon.socket) as client:
            hit = (FLAG, rule_id("twice"), True)
            self.assertEqual(send(client, dog, sequence=1), QUIET)
            self.assertEqual(send(client, dog, sequence=2), QUIET)
            self.assertEqual(send(client, dog, sequence=1, position=1), hit)
            self.assertEqual(send(client, rows[0], sequence=2, position=1), QUIET)
            self.assertEqual(send(client, dog, sequence=2, position=2), QUIET)
            self.assertEqual(client.lib.lens_session_end_sequence(client.session, ctypes.c_uint64(1), None), 0)
            self.assertEqual(send(client, dog, sequence=1), QUIET)
            self.assertEqual(send(client, dog, sequence=2, position=3), hit)


class Reload(unittest.TestCase):
    def test_new_sessions_have_the_new_rules_and_open_ones_keep_theirs(self):
        states = half_rows(DOGS)
        with Rules(DOG) as rules, Client(rules.daemon.socket) as old:
            self.assertEqual(send(old, states[DOG_ROW]), (STOP, rule_id("dog"), True))
            self.assertIn("configuration reloaded", rules.reload("beast: on=Mammal:2 above=0.5"))
            with Client(rules.daemon.socket) as new:
                self.assertEqual(send(new, states[DOG_ROW]), (FLAG, rule_id("beast"), True))
            self.assertEqual(send(old, states[0], position=1), QUIET)
            self.assertEqual(send(old, states[DOG_ROW], position=2), (STOP, rule_id("dog"), True))
            listed = rules.listed()
            self.assertEqual({name: (row["raised"], row["rule"] is None) for name, row in listed.items()},
                             {"beast": (1, False), "dog": (2, True)})
            last = rules.daemon.lensctl("tail", "--from", "start", "--alerts", "-n", "3").check().json_lines()
            self.assertEqual([row["verdict"]["rule"] for row in last], ["dog", "beast", "dog"])

    def test_a_rule_goes_on_counting_and_all_can_go(self):
        with Rules(DOG) as rules:
            rules.detect()
            rules.reload("dog: on=Canine:4 above=0.9 action=flag")
            self.assertEqual(set(verdicts(rules.detect()).values()), {("flag", "dog", True)})
            self.assertEqual((rules.listed()["dog"]["raised"], rules.listed()["dog"]["action"]), (4, "flag"))
            rules.reload()
            self.assertEqual(verdicts(rules.detect()), {})

    def test_the_list_is_as_long_as_it_takes(self):
        def some(first):
            return [f"rule-{i}: on=Canine:4 above=0.5" for i in range(first, first + 30)]
        with Rules(*some(0)) as rules:
            for first in (30, 60, 90):
                rules.reload(*some(first))
            self.assertEqual(list(rules.listed()), [f"rule-{i}" for i in [*range(90, 120), *range(90)]])

    def test_a_bad_rule_leaves_the_configuration_as_it_was(self):
        with Rules(DOG) as rules:
            for bad, word in (("dog: on=Canine:4 above=2", "above"), ("dog: above=0.5", "on"),
                              ("dog: on=Canine:4 above=0.5 action=shout", "action"),
                              (f"{DOG}, {DOG}", "dog")):
                with self.subTest(rule=bad):
                    line = rules.reload(bad)
                    self.assertIn("configuration not reloaded", line)
                    self.assertIn(word, line)
            self.assertEqual(set(verdicts(rules.detect())), {DOG_ROW, PUPPY_ROW})
            self.assertIn("above=0.5", rules.listed()["dog"]["rule"])


if __name__ == "__main__":
    unittest.main()
