"""The whole daemon on the CUDA backend, with tests/gpu/emulator as the card: right answers, what people are told, and
what happens where there is no card, or too little of its memory. What happens when it is lost is test_degradation.py's.
"""
import concurrent.futures
import os
import time
import unittest

from tests.e2e.harness import BUILD, FIXTURES, Daemon, clean_env, eventually, lensd, small_pack, temp_dir
from tests.e2e.test_expected_answers import FEW_SLOTS, SMALL, SMALL_ANSWERS, Answers, add_tests

EMULATED = BUILD / "emulated" / "lens_cuda.so"
REAL = BUILD / "lens_cuda.so"
NO_EMULATED = "this build has no emulated card (build/emulated/lens_cuda.so)"
STATES = FIXTURES / "hatcat-small" / "tokens.npy"
LENSES = 70
MIB = 1 << 20
RESERVE = 512 * MIB  # LENSD_DEVICE_RESERVE of daemon/pool.h
ON_CARD = ["--backend", "cuda", "--engine-cuda-library", EMULATED]


def card_env(**settings):
    """The emulator's settings; its seed is printed, so that a failure can be had again."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"# LENSD_EMULATOR_SEED={seed}", flush=True)
    return {"LENSD_EMULATOR_SEED": seed, **{"LENSD_EMULATOR_" + name.upper(): v for name, v in settings.items()}}


def on_card(args=(), pack=None, **settings):
    return Daemon(packs=[pack or small_pack()], args=[*ON_CARD, *args], env=card_env(**settings))


def answers_of(daemon, *flags):
    """What detect says of the fixture's rows, without times and counts of loads."""
    rows = daemon.lensctl("detect", STATES, "--json", *flags).check().json_lines()
    return [(row["status"], row["flags"], row["scored"], row["expanded"],
             [(d["concept"], d["logit"]) for d in row["detections"]]) for row in rows]


@unittest.skipUnless(EMULATED.exists(), NO_EMULATED)
class CardAnswers(Answers):
    """The expected answers of float64, on a card."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = on_card()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()


@unittest.skipUnless(EMULATED.exists(), NO_EMULATED)
class CardAnswersInFewSlots(Answers):
    """The same while lenses come and go."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = on_card(["--pool-slots", FEW_SLOTS, "--cache-host-memory", "64K"])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()
        assert cls.daemon.log.count("batches failed") == 0, cls.daemon.log


add_tests(CardAnswers, SMALL, SMALL_ANSWERS)
add_tests(CardAnswersInFewSlots, SMALL, SMALL_ANSWERS)


@unittest.skipUnless(EMULATED.exists(), NO_EMULATED)
class Card(unittest.TestCase):
    def test_status_shows_the_card_and_why(self):
        with on_card() as daemon:
            status = daemon.lensctl("status", "--json").check().json()
            self.assertEqual(status["backend"], "cuda")
            self.assertIn("emulated", status["device"])
            self.assertEqual(status["variant"], "sm_90")
            self.assertEqual(status["reason"], "--backend cuda")
            self.assertEqual((status["degraded"], status["memory"]), ("", ""))
            self.assertEqual((status["slots"], status["resident"]), (LENSES, LENSES))
            text = daemon.lensctl("status").check().stdout
            self.assertIn("multiprocessors", text)
            self.assertIn("full service", text)

    def test_auto_takes_the_card_that_is_there(self):
        with Daemon(packs=[small_pack()], args=["--engine-cuda-library", EMULATED], env=card_env()) as daemon:
            line = daemon.wait_log("backend cuda")
            self.assertIn("--backend auto found a card", line)
            self.assertEqual(daemon.lensctl("status", "--json").check().json()["backend"], "cuda")

    def test_several_clients_at_once_get_the_answers_of_one(self):
        with on_card(["--pool-slots", FEW_SLOTS]) as daemon:
            alone = [answers_of(daemon, "--expand", how) for how in ("threshold", "topk")]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                jobs = [pool.submit(answers_of, daemon, "--expand", how, "--rows", str(rows))
                        for how in ("threshold", "topk") for rows in (1, 1)]
                found = [job.result() for job in jobs]
            self.assertEqual(found, [alone[0], alone[0], alone[1], alone[1]])

    def test_all_number_formats_agree_on_what_fires(self):
        """One submission each; the right scores of each format are the conformance suite's matter."""
        with on_card() as daemon:
            exact = answers_of(daemon)
        for dtype, compute in (("bf16", "exact"), ("bf16", "bf16"), ("int8", "exact"), ("int8", "int8"),
                               ("fp8", "exact")):
            with self.subTest(dtype=dtype, compute=compute):
                with on_card(["--pool-dtype", dtype, "--pool-compute", compute]) as daemon:
                    packs = daemon.lensctl("packs", "--json").check().json()["packs"]
                    self.assertEqual(packs[0]["slab_dtype"], dtype)
                    found = answers_of(daemon)
                same = sum(mine[4][0][0] == right[4][0][0] for mine, right in zip(found, exact))
                self.assertGreaterEqual(same, 0.8 * len(exact))

    def test_log8_packs_are_decoded_to_f32(self):
        with on_card(pack=small_pack("log8")) as daemon:
            self.assertEqual(daemon.lensctl("packs", "--json").check().json()["packs"][0]["slab_dtype"], "f32")
            self.assertTrue(answers_of(daemon))

    def test_log8_slots_are_refused_with_a_sentence(self):
        found = lensd("--socket", temp_dir() / "s", "--pack", small_pack("log8"), *ON_CARD, "--pool-dtype", "log8")
        self.assertEqual(found.code, 1)
        self.assertIn("log8", found.stderr)

    def test_packs_are_swapped_and_loaded_on_the_card(self):
        with on_card() as daemon:
            before = answers_of(daemon)
            daemon.lensctl("swap", small_pack()).check()
            self.assertIn("generation 2", daemon.log)
            self.assertEqual(answers_of(daemon), before)


@unittest.skipUnless(EMULATED.exists(), NO_EMULATED)
class RowsOfSessions(unittest.TestCase):
    def test_rows_that_cannot_be_locked_are_copied_and_that_is_said_once(self):
        with on_card() as daemon:
            want = answers_of(daemon)
            self.assertNotIn("copied to the device", daemon.log)
        with on_card(faults="cudaHostRegister 1 2; cudaHostRegister 2 2") as daemon:
            self.assertEqual([answers_of(daemon) for _ in range(3)], [want] * 3)
            self.assertEqual(daemon.log.count("copied to the device"), 1)


@unittest.skipUnless(EMULATED.exists(), NO_EMULATED)
class CardMemory(unittest.TestCase):
    def slots_of(self, daemon):
        status = daemon.lensctl("status", "--json").check().json()
        return status["slots"], status["memory"]

    def test_slots_are_as_many_as_fit_and_answers_stay(self):
        with on_card() as daemon:
            want = answers_of(daemon)
        with on_card(memory=RESERVE) as daemon:
            slots, memory = self.slots_of(daemon)
            self.assertLess(slots, LENSES)
            self.assertIn(f"device memory is short: {slots} of {LENSES} slots", memory)
            self.assertIn(f"{slots} of {LENSES} slots", daemon.log)
            status = daemon.lensctl("status", "--json").check().json()
            self.assertIn("device memory is short", status["degraded"])
            self.assertEqual(answers_of(daemon), want)

    def test_memory_that_went_meanwhile_halves_the_slots(self):
        with on_card(faults="cudaMalloc 1 2") as daemon:
            slots, memory = self.slots_of(daemon)
            self.assertLess(slots, LENSES)
            self.assertIn("device memory is short", memory)
            self.assertIn(f"trying {slots} slots", daemon.log)
            self.assertTrue(all(row[0] == "COMPLETE" for row in answers_of(daemon)))

    def test_device_memory_bounds_the_pack(self):
        with on_card() as daemon:
            slot_bytes = daemon.lensctl("packs", "--json").check().json()["packs"][0]["slot_bytes"]
        most = 64 * MIB
        with on_card(["--pool-device-memory", most]) as daemon:
            self.assertEqual(self.slots_of(daemon), (LENSES, ""))
        found = lensd("--socket", temp_dir() / "s", "--pack", small_pack(), *ON_CARD, "--pool-device-memory",
                      slot_bytes)
        self.assertEqual(found.code, 1)
        self.assertIn("pool.device_memory", found.stderr)

    def test_memory_that_others_need_is_given_back_and_answers_stay(self):
        """Slots come back a minute after: device_watch_test has that."""
        total = 4096 * MIB
        taken = temp_dir() / "taken"
        taken.write_text("0")
        with on_card(memory=total, taken=taken) as daemon:
            want = answers_of(daemon)
            self.assertEqual(self.slots_of(daemon), (LENSES, ""))
            time.sleep(3)  # it has seen how much is free usually
            taken.write_text(str(total - 200 * MIB))
            daemon.wait_log("slots are given back", timeout=20)
            self.assertEqual(answers_of(daemon), want)
            eventually(lambda: self.slots_of(daemon)[0] < LENSES, what="fewer slots")
            slots, memory = self.slots_of(daemon)
            self.assertIn(f"{LENSES - slots} of its {LENSES} slots were given back", memory)
            self.assertIn("slots were given back", daemon.lensctl("status", "--json").check().json()["degraded"])
            self.assertIn("of the device's memory are free", memory)
            self.assertEqual(answers_of(daemon), want)
            self.assertEqual(daemon.log.count("batches failed"), 0)
            self.assertEqual(daemon.log.count("slots are given back"), 1)


@unittest.skipUnless(EMULATED.exists(), NO_EMULATED)
class NoCard(unittest.TestCase):
    CASES = (({"devices": 0}, "no card"), ({"devices": -1}, "too old"), ({"devices": -2}, "no CUDA driver"),
             ({"capability": "7.5"}, "7.5"))

    def test_auto_takes_the_cpu_and_says_why(self):
        for settings, why in self.CASES:
            with self.subTest(why=why):
                with Daemon(packs=[small_pack()], args=["--engine-cuda-library", EMULATED],
                            env=card_env(**settings)) as daemon:
                    self.assertIn(why, daemon.wait_log("backend cpu"))
                    status = daemon.lensctl("status", "--json").check().json()
                    self.assertEqual(status["backend"], "cpu")
                    self.assertIn(why, status["reason"])
                    self.assertEqual(status["degraded"], "")

    def test_cuda_ends_with_the_sentence(self):
        for settings, why in self.CASES:
            with self.subTest(why=why):
                found = lensd("--socket", temp_dir() / "s", "--pack", small_pack(), *ON_CARD,
                              env=clean_env(**card_env(**settings)))
                self.assertEqual(found.code, 1)
                self.assertIn(why, found.stderr)
                self.assertNotIn("ready on", found.stderr)

    def test_a_card_that_is_not_there_is_named(self):
        found = lensd("--socket", temp_dir() / "s", *ON_CARD, "--engine-device", "3")
        self.assertEqual(found.code, 1)
        self.assertIn("no card 3", found.stderr)


@unittest.skipUnless(REAL.exists(), "this build has no lens_cuda.so (no nvcc)")
@unittest.skipIf(os.path.exists("/dev/nvidiactl"), "this machine has NVIDIA's driver")
class RealLibraryWithoutDriver(unittest.TestCase):
    def test_auto_takes_the_cpu_and_cuda_ends_with_the_sentence(self):
        with Daemon(packs=[small_pack()]) as daemon:
            self.assertIn("no CUDA driver", daemon.wait_log("backend cpu"))
        found = lensd("--socket", temp_dir() / "s", "--backend", "cuda")
        self.assertEqual(found.code, 1)
        self.assertIn("no CUDA driver", found.stderr)


if __name__ == "__main__":
    unittest.main()
