"""The ladder of degradation (daemon/ladder.h): a lost device and the CPU that takes over, passing faults, slow rows.

The fault script stands for a card that fails; the emulated card of tests/gpu fails by itself where this build has it.
Right answers are those of a daemon that never failed.
"""
import signal
import threading
import time
import unittest

from tests.e2e.harness import BUILD, Daemon, clean_env, copy_pack, eventually, lensd, small_pack, temp_dir
from tests.e2e.liblens import Client, LensError
from tests.e2e.test_content import first_row

COMPLETE, PARTIAL = 0, 1
DEGRADED = 2
RETRY_S = 10
EMULATED = BUILD / "emulated" / "lens_cuda.so"


def script(*lines):
    path = temp_dir() / "faults"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def rows(n):
    """n rows that differ."""
    row = first_row()
    return [[x * (1 + 0.07 * (i % 11)) + 0.01 * i for x in row] for i in range(n)]


class Answers:
    """What a session is answered, row by row, with the sequence's retained set at work."""

    def __init__(self, client):
        self.client = client

    def ask(self, row, sequence=1):
        code = self.client.submit(row, sequence)
        if code == 0:
            code, hits, answer = self.client.wait()
        if code != 0:
            raise LensError(f"error {code}")
        return answer.status, answer.flags, answer.generation, hits


def right_answers(given):
    """Of a daemon that nothing happens to."""
    with Daemon(packs=[small_pack()]) as daemon, Client(daemon.socket) as client:
        answers = Answers(client)
        return [answers.ask(row) for row in given]


class LostDevice(unittest.TestCase):
    def status(self, daemon):
        return daemon.lensctl("--json", "status").check().json()

    def wait_for_cpu(self, daemon):
        eventually(lambda: self.status(daemon)["degraded"].startswith("the CPU scores"), what="the CPU taking over")

    def ask_until_well(self, answers, row, right, timeout=20):
        """Asks for the row until it is answered in full: how many failed answers came first."""
        failed, deadline = 0, time.monotonic() + timeout
        while time.monotonic() < deadline:
            began = time.monotonic()
            found = answers.ask(row)
            if found[1] & DEGRADED == 0:
                self.assertEqual(found, right)
                return failed
            self.assertLess(time.monotonic() - began, 1, "a failed row was kept waiting")
            self.assertEqual((found[0], found[1], found[3]), (PARTIAL, DEGRADED, []))
            failed += 1
            time.sleep(0.002)
        raise AssertionError("the CPU never took over")

    def run_through(self, fault, args=()):
        """One client over a loss: exact answers before, flagged ones in between, exact ones after."""
        given = rows(40)
        right = right_answers(given)
        with Daemon(packs=[small_pack()], args=["--fault-script", script(fault), *args]) as daemon:
            with Client(daemon.socket) as client:
                answers, failed = Answers(client), 0
                for row, want in zip(given, right):
                    failed += self.ask_until_well(answers, row, want)
                self.assertGreater(failed, 0)
                self.wait_for_cpu(daemon)
                status = self.status(daemon)
                self.assertEqual(status["backend"], "cpu")
                self.assertTrue(status["reason"].startswith("the card was lost: "), status["reason"])
                self.assertEqual(status["degraded_rows"], failed)
                self.assertEqual(status["sessions"], 1)
                said = daemon.lensctl("status").check().stdout
                self.assertIn("degraded: the CPU scores", said)
                self.assertIn("the card was lost", said)
                daemon.wait_log("what was left of the lost card is closed")
            for line in ("the card was lost: ", "goes on on the CPU", "the lost card is closed"):
                self.assertEqual(sum(line in said and "backend" not in said for said in daemon.lines), 1, line)

    def test_a_run_that_finds_the_card_lost(self):
        self.run_through("run 12 enodev")

    def test_a_score_in_the_middle_of_a_run_finds_it(self):
        self.run_through("score 30 enodev")

    def test_a_write_into_slots_finds_it(self):
        self.run_through("slot_write 4 enodev", args=["--pool-slots", "40", "--pool-preload", "off"])

    def test_the_first_write_finds_it(self):
        self.run_through("slot_write 1 enodev", args=["--pool-preload", "off"])

    def test_a_card_that_is_lost_while_slots_are_filled_at_the_start(self):
        given = rows(10)
        right = right_answers(given)
        for fault in ("slot_write 2 enodev", "slab_create 1 enodev"):
            with self.subTest(fault=fault), Daemon(packs=[small_pack()],
                                                   args=["--fault-script", script(fault)]) as daemon:
                self.assertIn("backend cpu", daemon.ready_line)
                status = self.status(daemon)
                self.assertTrue(status["reason"].startswith("the card was lost: "), status["reason"])
                self.assertTrue(status["degraded"].startswith("the CPU scores"), status["degraded"])
                with Client(daemon.socket) as client:
                    answers = Answers(client)
                    self.assertEqual([answers.ask(row) for row in given], right)

    def test_every_pack_and_every_client_moves(self):
        packs = [small_pack(), copy_pack(small_pack(), "second.safetensors"),
                 copy_pack(small_pack(), "third.safetensors")]
        given = rows(60)
        right = right_answers(given)
        trouble = []

        def stay(daemon, pack):
            try:
                with Client(daemon.socket, pack=pack.encode()) as client:
                    answers = Answers(client)
                    for row, want in zip(given, right):
                        generation = client.info().generation
                        want = (*want[:2], generation, want[3])
                        self.ask_until_well(answers, row, want)
                        time.sleep(0.005)
            except (AssertionError, LensError) as error:
                trouble.append(f"{pack}: {error}")

        with Daemon(packs=packs, args=["--fault-script", script("run 50 enodev")]) as daemon:
            names = [pack["name"] for pack in daemon.lensctl("--json", "packs").check().json()["packs"]]
            threads = [threading.Thread(target=stay, args=(daemon, name)) for name in names for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(trouble, [])
            self.wait_for_cpu(daemon)
            for name in names:
                self.assertIn(f"pack {name} goes on on the CPU", daemon.log)
            self.assertEqual([p["generation"] for p in daemon.lensctl("--json", "packs").json()["packs"]], [1, 2, 3])

    def test_later_loads_and_swaps_go_to_the_cpu(self):
        other = copy_pack(small_pack(), "other.safetensors")
        given = rows(3)
        right = right_answers(given)
        with Daemon(packs=[small_pack()],
                    args=["--fault-script", script("run 2 enodev"), "--packs-directories",
                          f"{small_pack().parent}:{other.parent}"]) as daemon, Client(daemon.socket) as client:
            answers = Answers(client)
            self.ask_until_well(answers, given[0], right[0])
            self.assertGreater(self.ask_until_well(answers, given[1], right[1]), 0)
            self.wait_for_cpu(daemon)
            daemon.lensctl("load", other).check()
            daemon.lensctl("swap", other).check()
            with Client(daemon.socket, pack=b"other") as second:
                self.assertEqual(Answers(second).ask(given[0])[3], right[0][3])

    def test_a_load_that_finds_the_card_lost_is_done_on_the_cpu(self):
        other = copy_pack(small_pack(), "other.safetensors")
        # The first pack takes three writes: lenses come in runs of 32.
        for fault in ("slab_create 2 enodev", "slot_write 5 enodev"):
            with self.subTest(fault=fault), Daemon(
                    packs=[small_pack()],
                    args=["--fault-script", script(fault), "--packs-directories", other.parent]) as daemon:
                daemon.lensctl("load", other).check()
                self.wait_for_cpu(daemon)
                self.assertIn("goes on on the CPU", daemon.log)
                given = rows(1)[0]
                for pack in ("other", small_pack().stem):
                    with Client(daemon.socket, pack=pack.encode()) as client:
                        self.assertEqual(Answers(client).ask(given)[:2], (COMPLETE, 0))

    def test_a_cpu_that_cannot_take_over_is_asked_again(self):
        given = rows(4)
        right = right_answers(given)
        faults = script("run 2 enodev", "[takeover]", "slab_create 1 enomem")
        with Daemon(packs=[small_pack()], args=["--fault-script", faults]) as daemon, \
                Client(daemon.socket) as client:
            answers = Answers(client)
            self.assertEqual(answers.ask(given[0]), right[0])
            self.assertEqual(answers.ask(given[1])[:2], (PARTIAL, DEGRADED))
            daemon.wait_log("the CPU can't take over")
            began = time.monotonic()
            status = self.status(daemon)
            self.assertIn("new sessions are refused", status["degraded"])
            self.assertIn("out of memory", status["degraded"])
            self.assertIn("new sessions are refused", daemon.lensctl("status").check().stdout)
            with self.assertRaisesRegex(LensError, "takes no new sessions: the card was lost"):
                Client(daemon.socket)
            self.assertEqual(answers.ask(given[1])[:2], (PARTIAL, DEGRADED))  # the old one stays, and hears so
            daemon.wait_log("new sessions are taken again", timeout=RETRY_S + 20)
            self.assertGreater(time.monotonic() - began, RETRY_S - 2)
            self.assertEqual([answers.ask(row) for row in given[1:]], right[1:])
            with Client(daemon.socket) as second:
                self.assertEqual(Answers(second).ask(given[0]), right[0])
            self.assertEqual(sum("the CPU can't take over" in line for line in daemon.lines), 1)

    def test_who_asks_for_a_preload_hears_of_the_loss(self):
        faults = script("run 2 enodev", "[takeover]", "slab_create 1 slow:1500")
        with Daemon(packs=[small_pack()], args=["--fault-script", faults, "--pool-preload", "off"]) as daemon, \
                Client(daemon.socket) as client:
            answers = Answers(client)
            eventually(lambda: answers.ask(rows(1)[0])[1] & DEGRADED, what="a lost card")
            found = daemon.lensctl("preload")
            self.assertEqual(found.code, 1)
            self.assertIn("its card was lost: ask again", found.stderr)
            self.wait_for_cpu(daemon)
            daemon.lensctl("preload").check()

    def test_it_stops_cleanly_at_any_moment(self):
        for delay in (0, 0.001, 0.003, 0.01, 0.03):
            with self.subTest(delay=delay), \
                    Daemon(packs=[small_pack()], args=["--fault-script", script("run 2 enodev")]) as daemon, \
                    Client(daemon.socket) as client:
                answers = Answers(client)
                answers.ask(rows(1)[0])
                answers.ask(rows(1)[0])
                time.sleep(delay)
                daemon.stop()

    def test_a_swap_that_fails_does_not_wait_for_the_move(self):
        faults = script("run 1 enodev", "[takeover]", "slab_create 1 slow:3000")
        bad = temp_dir() / "bad.safetensors"
        bad.write_text("no pack", encoding="utf-8")
        with Daemon(packs=[small_pack()],
                    args=["--fault-script", faults, "--packs-directories", bad.parent]) as daemon, \
                Client(daemon.socket) as client:
            Answers(client).ask(rows(1)[0])
            daemon.wait_log("The packs go over to the CPU")
            began = time.monotonic()
            self.assertEqual(daemon.lensctl("swap", bad).code, 1)
            self.assertLess(time.monotonic() - began, 2)
            self.wait_for_cpu(daemon)

    def test_a_reload_while_it_stops_is_passed_over(self):
        faults = script("run 1 enodev", "[takeover]", "slab_create 1 slow:1500")
        with Daemon(packs=[small_pack()], args=["--fault-script", faults]) as daemon, \
                Client(daemon.socket) as client:
            Answers(client).ask(rows(1)[0])
            daemon.wait_log("backend fault+cpu")
            time.sleep(0.1)
            daemon.send_signal(signal.SIGTERM)
            daemon.wait_log("stopping: SIGTERM")
            time.sleep(0.3)  # it waits for the worker now
            daemon.send_signal(signal.SIGHUP)
            daemon.wait_exit()

    def test_unloading_while_it_moves_is_refused_or_done_but_never_wrong(self):
        packs = [small_pack(), copy_pack(small_pack(), "second.safetensors")]
        for _ in range(5):
            with Daemon(packs=packs, args=["--fault-script", script("run 2 enodev")]) as daemon:
                with Client(daemon.socket) as client:
                    answers = Answers(client)
                    answers.ask(rows(1)[0])
                    answers.ask(rows(1)[0])
                    found = daemon.lensctl("unload", "second")
                    if found.code != 0:
                        self.assertIn("just moving", found.stderr)
                    self.wait_for_cpu(daemon)
                    self.assertEqual(answers.ask(rows(1)[0])[:2], (COMPLETE, 0))


class PassingFaults(unittest.TestCase):
    def test_the_batch_they_meet_is_flagged_and_the_next_is_not(self):
        given = rows(12)
        right = right_answers(given)
        faults = script("run 4 eio", "run 6-7 enomem")
        with Daemon(packs=[small_pack()], args=["--fault-script", faults]) as daemon, Client(daemon.socket) as client:
            answers, failed = Answers(client), 0
            for row, want in zip(given, right):
                while True:
                    found = answers.ask(row)
                    if found[1] == 0:
                        self.assertEqual(found, want)
                        break
                    failed += 1
            self.assertEqual(failed, 3)
            status = daemon.lensctl("--json", "status").check().json()
            self.assertEqual(status["degraded_rows"], 3)
            self.assertTrue(status["backend"].startswith("fault+"), status["backend"])
            self.assertNotIn("lost", status["degraded"])


class Breaker(unittest.TestCase):
    SLOW = ("run 200-400 slow:20",)

    def run_rows(self, *flags, n=600):
        row = rows(1)[0]
        with Daemon(packs=[small_pack()], args=["--fault-script", script(*self.SLOW), *flags]) as daemon, \
                Client(daemon.socket) as client:
            answers = Answers(client)
            found, said = [], []
            for i in range(n):
                found.append(answers.ask(row))
                if i % 50 == 0:
                    said.append(daemon.lensctl("--json", "status").check().json()["degraded"])
            return found, said, daemon.log, daemon.lensctl("--json", "status").check().json()

    def test_slow_rows_are_answered_from_the_base_until_it_is_over(self):
        found, said, log, status = self.run_rows("--engine-degrade", "on")
        flagged = [i for i, answer in enumerate(found) if answer[1] & DEGRADED]
        self.assertGreater(len(flagged), 20)
        self.assertGreater(flagged[0], 200)
        self.assertLess(flagged[-1], 590)
        self.assertEqual({answer[0] for answer in found}, {COMPLETE})
        self.assertEqual({answer[1] for answer in found}, {0, DEGRADED})
        self.assertEqual({tuple(answer[3]) for i, answer in enumerate(found) if i > 5 and answer[1] == 0},
                         {tuple(found[6][3])})
        self.assertTrue(any("base, pinned and kept lenses only" in text for text in said), said)
        self.assertEqual(status["degraded"], "")
        self.assertEqual(status["degraded_rows"], len(flagged))
        self.assertEqual(log.count("base, pinned and kept lenses only"), 1)
        self.assertEqual(log.count("rows are scored in full again"), 1)

    def test_without_it_every_answer_is_full_however_slow(self):
        found, said, log, status = self.run_rows(n=420)
        self.assertEqual({answer[:2] for answer in found}, {(COMPLETE, 0)})
        self.assertEqual(set(said), {""})
        self.assertEqual(status["degraded_rows"], 0)
        self.assertNotIn("base, pinned", log)

    def test_a_reload_turns_it_off_and_on(self):
        config = temp_dir() / "lensd.conf"
        config.write_text("[engine]\ndegrade = on\n", encoding="utf-8")
        faults = script("run 200-100000 slow:20")
        row = rows(1)[0]
        with Daemon(packs=[small_pack()], args=["--fault-script", faults, "--config", config]) as daemon, \
                Client(daemon.socket) as client:
            answers = Answers(client)
            eventually(lambda: answers.ask(row)[1] & DEGRADED, timeout=60, what="a degraded row")
            config.write_text("[engine]\ndegrade = off\n", encoding="utf-8")
            daemon.send_signal(signal.SIGHUP)
            daemon.wait_log("configuration reloaded")
            self.assertEqual({answers.ask(row)[1] for _ in range(20)}, {0})
            self.assertEqual(daemon.lensctl("--json", "status").check().json()["degraded"], "")

    def test_a_reload_turns_it_off_where_no_rows_come(self):
        config = temp_dir() / "lensd.conf"
        config.write_text("[engine]\ndegrade = on\n", encoding="utf-8")
        row = rows(1)[0]
        with Daemon(packs=[small_pack()],
                    args=["--fault-script", script("run 200-100000 slow:20"), "--config", config]) as daemon, \
                Client(daemon.socket) as client:
            answers = Answers(client)
            eventually(lambda: answers.ask(row)[1] & DEGRADED, timeout=60, what="a degraded row")
            config.write_text("[engine]\ndegrade = off\n", encoding="utf-8")
            daemon.send_signal(signal.SIGHUP)
            daemon.wait_log("rows are scored in full again", timeout=10)
            self.assertEqual(daemon.lensctl("--json", "status").check().json()["degraded"], "")


@unittest.skipUnless(EMULATED.exists(), "this build has no emulated card (build/emulated/lens_cuda.so)")
class EmulatedCard(unittest.TestCase):
    """A card that fails under a running daemon. 700, 'illegal address', is answered by all calls that follow, too."""

    def start(self, faults, *args, backend="cuda"):
        return Daemon(packs=[small_pack()], env={"LENSD_EMULATOR_FAULTS": faults},
                      args=["--backend", backend, "--engine-cuda-library", EMULATED, *args])

    def assert_near(self, found, right):
        """The card adds in another order than the CPU: scores may differ in the last digits."""
        self.assertEqual((found[0], found[1], found[2]), (right[0], right[1], right[2]))
        self.assertEqual(sorted(lens for lens, _ in found[3]), sorted(lens for lens, _ in right[3]))
        scores = dict(right[3])
        for lens, score in found[3]:
            self.assertAlmostEqual(score, scores[lens], delta=1e-4)

    def ask_all(self, client, given, right):
        """Every row until it is answered in full; how many answers were flagged."""
        answers, failed = Answers(client), 0
        for row, want in zip(given, right):
            deadline = time.monotonic() + 20
            while True:
                found = answers.ask(row)
                if found[1] & DEGRADED == 0:
                    break
                self.assertLess(time.monotonic(), deadline)
                failed += 1
            self.assert_near(found, want)
        return failed

    def check(self, faults, *args):
        given = rows(30)
        right = right_answers(given)
        with self.start(faults, *args) as daemon, Client(daemon.socket) as client, Client(daemon.socket) as other:
            self.assertGreater(self.ask_all(client, given, right), 0)
            self.assertEqual(self.ask_all(other, given, right), 0)
            daemon.wait_log("what was left of the lost card is closed")
            status = daemon.lensctl("--json", "status").check().json()
            self.assertEqual(status["backend"], "cpu")
            self.assertTrue(status["reason"].startswith("the card was lost: "), status["reason"])
            self.assertTrue(status["degraded"].startswith("the CPU scores"), status["degraded"])

    def test_a_launch_that_fails_for_good(self):
        self.check("cudaGraphLaunch 10 700")

    def test_a_transfer_of_lenses_that_fails_for_good(self):
        self.check("cudaMemcpyAsync 12 700", "--pool-preload", "off", "--pool-slots", "40")

    def test_slots_that_the_cpu_lacks(self):
        other = copy_pack(small_pack(), "other.safetensors")
        given = rows(5)
        right = right_answers(given)
        with self.start("cudaGraphLaunch 2 700", "--pool-dtype", "fp8", "--packs-directories",
                        f"{small_pack().parent}:{other.parent}") as daemon, Client(daemon.socket) as client:
            answers = Answers(client)
            eventually(lambda: answers.ask(given[0], 2)[1] & DEGRADED, what="a lost card")
            daemon.wait_log("what was left of the lost card is closed")
            daemon.lensctl("load", other).check()
            daemon.lensctl("swap", other).check()
            self.assertEqual({p["slab_dtype"] for p in daemon.lensctl("--json", "packs").check().json()["packs"]},
                             {"f32"})
            with Client(daemon.socket, pack=b"other") as second:
                self.assertEqual(Answers(second).ask(given[0])[3], right[0][3])
        with self.start("cudaMemcpyAsync 3 700", "--pool-dtype", "fp8", backend="auto") as daemon, \
                Client(daemon.socket) as client:
            self.assertEqual(self.ask_all(client, given, right), 0)

    def test_a_card_that_is_found_lost_at_an_attach_is_not_said_to_be_slow(self):
        given = rows(3)
        right = right_answers(given)
        with self.start("cudaHostRegister 1 700") as daemon, Client(daemon.socket) as client:
            self.assertGreater(self.ask_all(client, given, right), 0)
            self.assertNotIn("are copied to the device", daemon.log)

    def test_a_passing_fault_costs_its_rows_and_leaves_the_card_in_use(self):
        given = rows(10)
        right = right_answers(given)
        with self.start("cudaGraphLaunch 5 2") as daemon, Client(daemon.socket) as client:
            self.assertEqual(self.ask_all(client, given, right), 1)
            self.assertEqual(daemon.lensctl("--json", "status").check().json()["backend"], "cuda")

    def test_a_card_that_is_lost_while_slots_are_filled_at_the_start(self):
        with self.start("cudaMemcpyAsync 3 700", backend="auto") as daemon, Client(daemon.socket) as client:
            given = rows(5)
            self.assertEqual(self.ask_all(client, given, right_answers(given)), 0)
            status = daemon.lensctl("--json", "status").check().json()
            self.assertEqual(status["backend"], "cpu")
            self.assertTrue(status["reason"].startswith("the card was lost: "), status["reason"])
        refused = lensd("--socket", temp_dir() / "s", "--pack", small_pack(), "--backend", "cuda",
                        "--engine-cuda-library", EMULATED, env=clean_env(LENSD_EMULATOR_FAULTS="cudaMemcpyAsync 3 700"))
        self.assertEqual(refused.code, 1)
        self.assertIn("the card is lost", refused.stderr)


if __name__ == "__main__":
    unittest.main()
