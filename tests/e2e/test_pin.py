"""Branches pinned at run time for every session (`lensctl pin`, `unpin`), and what a branch said last (`branch`)."""
import ctypes
import random
import threading
import unittest

from tests.e2e.harness import Daemon, eventually, small_pack
from tests.e2e.liblens import Client, Sender
from tests.e2e.test_config import Reloading
from tests.e2e.test_degradation import DEGRADED, script

BRANCH = "Deception:1"  # 9 lenses, none of them in layer 0
LAYER_0 = (ctypes.c_uint8 * 1)(0)
BASE_ONLY = {"base_layers": LAYER_0, "n_base_layers": 1, "max_depth": 0, "keep_top_k": 0, "report": 1,
             "top_k": 256}
STALE = 4


def row_of(client, seed):
    numbers = random.Random(seed)
    return [numbers.uniform(-4, 4) for _ in range(client.info().dim)]


def ask(client, row, sequence=0):
    """The answer's hits (bit for bit), how many lenses were scored, and its flags."""
    if client.submit(row, sequence) != 0:
        raise AssertionError("a row was not taken")
    code, _, answer = client.wait(60)
    if code != 0:
        raise AssertionError(f"error {code}")
    hits = [(hit.id, hit.raw, hit.logit) for hit in answer.hits[:answer.n_hits]]
    return hits, answer.counts[0], answer.flags


def single(number):
    """The float of 32 bits that was printed."""
    return ctypes.c_float(number).value


def ids(daemon):
    return {c["concept"]: c["id"] for c in daemon.lensctl("concepts", "--json").check().json()["concepts"]}


def branch(daemon, name=BRANCH):
    return daemon.lensctl("branch", name, "--json").check().json()["concepts"]


def pack_row(daemon):
    return daemon.lensctl("packs", "--json").check().json()["packs"][0]


class Pin(unittest.TestCase):
    def test_sessions_there_and_to_come_score_the_branch_until_it_is_unpinned(self):
        with Daemon(packs=[small_pack()]) as daemon, Client(daemon.socket, **BASE_ONLY) as old:
            size, row = len(branch(daemon)), row_of(old, 1)
            wanted = {c["id"] for c in branch(daemon)}
            before, scored, _ = ask(old, row)
            self.assertFalse(wanted & {hit[0] for hit in before})
            said = daemon.lensctl("pin", BRANCH).check().stdout
            self.assertIn(f"{BRANCH} is pinned; lenses pinned at run time: {size}, before: 0; sessions: 1", said)
            with Client(daemon.socket, **BASE_ONLY) as new:
                for client in (old, new):
                    hits, now, _ = ask(client, row)
                    self.assertEqual(now, scored + size)
                    self.assertEqual({hit[0] for hit in hits} - {hit[0] for hit in before}, wanted)
                    self.assertEqual([hit for hit in hits if hit[0] not in wanted], before)
                self.assertEqual((pack_row(daemon)["pinned"], pack_row(daemon)["pins"]), (size, BRANCH))
                self.assertTrue(all(c["pinned"] for c in branch(daemon)))
                daemon.lensctl("unpin", BRANCH).check()
                for client in (old, new):
                    self.assertEqual(ask(client, row)[:2], (before, scored))
            self.assertEqual((pack_row(daemon)["pinned"], pack_row(daemon)["pins"]), (0, ""))
            self.assertFalse(any(c["pinned"] for c in branch(daemon)))

    def test_a_concept_alone_and_branches_that_overlap(self):
        with Daemon(packs=[small_pack()]) as daemon, Client(daemon.socket, **BASE_ONLY) as client:
            size, row = len(branch(daemon)), row_of(client, 1)
            scored = ask(client, row)[1]
            daemon.lensctl("pin", "--alone", BRANCH).check()
            self.assertEqual(ask(client, row)[1], scored + 1)
            daemon.lensctl("pin", BRANCH).check()
            self.assertEqual(ask(client, row)[1], scored + size)
            self.assertEqual(pack_row(daemon)["pins"], f"{BRANCH} alone, {BRANCH}")
            daemon.lensctl("unpin", BRANCH).check()
            self.assertEqual(ask(client, row)[1], scored + 1)

    def test_what_sequences_retained_survives(self):
        with Daemon(packs=[small_pack()]) as daemon, Client(daemon.socket, keep_top_k=12, report=1) as client:
            for seed in range(100):  # two rows of which the second one doesn't reach all that the first one retains
                first, second = row_of(client, seed), row_of(client, 1000 + seed)
                ask(client, first, 2 * seed)
                after = ask(client, second, 2 * seed)[1]
                if after > ask(client, second, 2 * seed + 1)[1] + 1:
                    break
            else:
                self.fail("no row retained anything")
            ask(client, first, 777)
            daemon.lensctl("pin", "--alone", "Quantity:1").check()
            _, scored, flags = ask(client, second, 777)
            self.assertEqual(flags & STALE, 0)
            self.assertGreater(scored, ask(client, second, 778)[1])

    def test_a_clients_own_pins_stay_and_what_it_excludes_stays_out(self):
        with Daemon(packs=[small_pack()]) as daemon:
            lie = ids(daemon)["Lie:2"]
            pinned, excluded = (ctypes.c_uint32 * 1)(lie), (ctypes.c_char_p * 1)(b"Phishing:4")
            with Client(daemon.socket, pinned=pinned, n_pinned=1, **BASE_ONLY) as own, \
                    Client(daemon.socket, exclude=excluded, n_exclude=1, **BASE_ONLY) as excludes:
                size, row = len(branch(daemon)), row_of(own, 1)
                before, others = ask(own, row), ask(excludes, row)
                daemon.lensctl("pin", BRANCH).check()
                self.assertEqual(ask(own, row)[1], before[1] + size - 1)
                hits, scored, _ = ask(excludes, row)
                self.assertEqual(scored, others[1] + size - 1)
                self.assertNotIn(ids(daemon)["Phishing:4"], {hit[0] for hit in hits})
                daemon.lensctl("unpin", BRANCH).check()
                self.assertEqual(ask(own, row), before)
                self.assertEqual(ask(excludes, row), others)

    def test_rows_go_on_while_branches_are_pinned_and_unpinned(self):
        with Daemon(packs=[small_pack()]) as daemon, Client(daemon.socket, **BASE_ONLY) as client, \
                Sender(daemon) as sender:
            size, row = len(branch(daemon)), row_of(client, 1)
            scored, seen, over = ask(client, row)[1], set(), threading.Event()

            def send():
                while not over.is_set():
                    seen.add(ask(client, row)[1])

            thread = threading.Thread(target=send)
            thread.start()
            try:
                for _ in range(10):
                    daemon.lensctl("pin", BRANCH).check()
                    eventually(lambda: scored + size in seen, 60, "rows with the branch")
                    rows = sender.rows
                    daemon.lensctl("unpin", BRANCH).check()
                    eventually(lambda: sender.rows > rows, 60, "rows of another session")
            finally:
                over.set()
                thread.join(60)
            self.assertEqual(seen, {scored, scored + size})

    def test_what_can_not_be_pinned_is_refused_and_changes_nothing(self):
        with Daemon(packs=[small_pack()], args=["--pool-slots", "12", "--pool-preload", "off"]) as daemon, \
                Client(daemon.socket, **BASE_ONLY) as client:
            row = row_of(client, 1)
            before = ask(client, row)
            for words, code, part in ((["pin", "Mind:0"], "no-space", "pool.slots"),
                                      (["pin", "Nothing"], "no-such-concept", "lensctl concepts"),
                                      (["unpin", BRANCH], "no-such-concept", "lensctl packs"),
                                      (["pin", BRANCH, "--pack", "none"], "no-such-pack", "lensctl packs")):
                with self.subTest(words=words):
                    result = daemon.lensctl(*words)
                    self.assertEqual(result.code, 1)
                    self.assertIn(code, result.stderr)
                    self.assertIn(part, result.stderr)
                    self.assertEqual((pack_row(daemon)["pinned"], ask(client, row)), (0, before))
            daemon.lensctl("pin", "--alone", BRANCH).check()
            result = daemon.lensctl("pin", "--alone", BRANCH)
            self.assertIn("is pinned already", result.stderr)
            daemon.lensctl("unpin", "--alone", BRANCH).check()
            self.assertEqual(ask(client, row), before)

    def test_a_swap_keeps_what_is_pinned_by_key(self):
        other = small_pack("bf16")
        with Daemon(packs=[small_pack()], args=["--packs-directories", f"{other.parent}:{small_pack().parent}"]) as daemon, \
                Client(daemon.socket, **BASE_ONLY) as client:
            row = row_of(client, 1)
            daemon.lensctl("pin", BRANCH).check()
            before, pins = ask(client, row), pack_row(daemon)["pins"]
            daemon.lensctl("swap", other).check()
            self.assertEqual(pack_row(daemon)["pins"], pins)
            self.assertEqual(ask(client, row)[1], before[1])
            daemon.lensctl("swap", small_pack()).check()
            self.assertEqual(ask(client, row)[:2], before[:2])
            daemon.lensctl("unpin", BRANCH).check()
            self.assertEqual(ask(client, row)[1], before[1] - len(branch(daemon)))

    def test_what_is_pinned_stays_when_the_cpu_takes_over_from_a_lost_card(self):
        with Daemon(packs=[small_pack()], args=["--fault-script", script("run 4 enodev")]) as daemon, \
                Client(daemon.socket, **BASE_ONLY) as client:
            size, row = len(branch(daemon)), row_of(client, 1)
            scored = ask(client, row)[1]
            daemon.lensctl("pin", BRANCH).check()
            right = ask(client, row)
            self.assertEqual(right[1], scored + size)
            eventually(lambda: ask(client, row)[2] & DEGRADED, 60, "a lost card")
            daemon.wait_log("goes on on the CPU")
            eventually(lambda: not ask(client, row)[2] & DEGRADED, 60, "the CPU's answers")
            self.assertEqual(ask(client, row), right)
            self.assertEqual(pack_row(daemon)["pins"], BRANCH)
            daemon.lensctl("unpin", BRANCH).check()
            self.assertEqual(ask(client, row)[1], scored)

    def test_a_swap_that_has_no_room_for_what_is_pinned_changes_nothing(self):
        with Reloading("", packs=[small_pack()]) as r, Client(r.daemon.socket, **BASE_ONLY) as client:
            row = row_of(client, 1)
            r.daemon.lensctl("pin", "Mind:0").check()
            before, pinned = ask(client, row), pack_row(r.daemon)["pinned"]
            r.reload("[pool]\nslots = 12\npreload = off\n")
            refused = r.daemon.lensctl("swap", small_pack())
            self.assertIn("no-space", refused.stderr)
            self.assertIn("keeps its place", refused.stderr)
            self.assertEqual((pack_row(r.daemon)["pinned"], pack_row(r.daemon)["generation"]), (pinned, 1))
            self.assertEqual(ask(client, row), before)
            r.daemon.lensctl("unpin", "Mind:0").check()
            r.daemon.lensctl("swap", small_pack()).check()

    def test_clients_may_not(self):
        with Daemon(packs=[small_pack()], args=["--ipc-admin-uids", "4242", "--ipc-allow-uids", "self"]) as daemon:
            for words in (["pin", BRANCH], ["unpin", BRANCH], ["branch", BRANCH]):
                result = daemon.lensctl(*words)
                self.assertEqual(result.code, 1)
                self.assertIn("not-allowed", result.stderr)


class Branch(unittest.TestCase):
    def test_readings_are_what_the_rows_said(self):
        with Daemon(packs=[small_pack()]) as daemon, Client(daemon.socket, **BASE_ONLY) as client:
            for reading in branch(daemon):
                self.assertEqual((reading["rows"], reading["last_score"], reading["peak_logit"], reading["age_s"]),
                                 (0, None, None, None))
            daemon.lensctl("pin", BRANCH).check()
            answers = [{hit[0]: hit for hit in ask(client, row_of(client, seed))[0]} for seed in range(20)]
            eventually(lambda: branch(daemon)[0]["rows"] == len(answers), 60, "readings of all rows")
            for reading in branch(daemon):
                with self.subTest(concept=reading["concept"]):
                    said = [answer[reading["id"]] for answer in answers]
                    self.assertEqual(single(reading["last_logit"]), said[-1][2])
                    self.assertAlmostEqual(reading["last_score"], said[-1][1], places=5)
                    self.assertEqual(single(reading["peak_logit"]), max(hit[2] for hit in said))
                    self.assertEqual(reading["hits"], sum(hit[2] > 0 for hit in said))
                    self.assertEqual(reading["rows"], len(said))
                    self.assertTrue(reading["resident"] and reading["pinned"])

    def test_the_tree_is_whole_and_begins_with_the_concept(self):
        with Daemon(packs=[small_pack()]) as daemon:
            for name in ("Mind:0", BRANCH, "Phishing:4"):
                readings = branch(daemon, name)
                seen = set()
                self.assertEqual((readings[0]["concept"], readings[0]["parent"]), (name, None))
                for reading in readings:
                    self.assertTrue(reading["parent"] is None or reading["parent"] in seen, reading)
                    seen.add(reading["concept"])
                self.assertEqual(len(seen), len(readings))
            self.assertIn(BRANCH, [r["concept"] for r in branch(daemon, "Mind:0")])
            lines = daemon.lensctl("branch", BRANCH).check().stdout.splitlines()
            self.assertEqual(lines[0], "concept\tlast\tpeak\tago\trows\thits\twhere")
            self.assertEqual(lines[1].split("\t")[:3], [BRANCH, "-", "-"])


if __name__ == "__main__":
    unittest.main()
