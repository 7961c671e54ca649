"""lensctl pack quantize as its users see it: a pack in, a pack in another format out, or nothing at all. The weights
themselves are tests/unit/pack_convert_test.c's."""
import os
import resource
import signal
import subprocess
import unittest

from tests.e2e.harness import BUILD, Daemon, FIXTURES, clean_env, copy_pack, lensctl, small_pack, temp_dir

DTYPES = ["f32", "bf16", "int8", "log8"]
# The small fixture's largest error over the largest weight of its row: half a step of each format.
LARGEST = {"f32": 0.0, "bf16": 2.0 ** -8, "int8": 0.5 / 127 * 1.001, "log8": 0.04}


def quantize(source, out, dtype, *more):
    return lensctl("pack", "quantize", source, "-o", out, "--dtype", dtype, *more)


def small_tables(pack):
    """Names and shapes of a pack's tables, but for those that a format brings along."""
    return {t["name"]: t["shape"] for t in lensctl("pack", "inspect", pack, "--json").check().json()["tensors"]
            if not t["name"].startswith("w1")}


class Quantize(unittest.TestCase):
    def test_every_pair_of_formats_gives_a_sound_pack_and_says_what_it_cost(self):
        for source in DTYPES:
            pack = small_pack(source)
            for dtype in DTYPES:
                out = temp_dir() / "out.pack"
                done = quantize(pack, out, dtype, "--json").check().json()
                self.assertTrue(lensctl("pack", "verify", out, "--json").check().json()["ok"])
                found = lensctl("pack", "inspect", out, "--json").check().json()
                self.assertEqual((done["from"], done["dtype"], found["dtype"]), (source, dtype, dtype))
                self.assertEqual(done["bytes_before"], pack.stat().st_size)
                self.assertEqual(done["bytes"], out.stat().st_size)
                self.assertEqual(done["copied"], source == dtype)
                self.assertEqual(small_tables(pack), small_tables(out))
                if source == dtype:
                    self.assertEqual(pack.read_bytes(), out.read_bytes())
                    continue
                self.assertLessEqual(done["w1"]["largest_error_of_row_largest"], LARGEST[dtype])
                self.assertLessEqual(done["w1"]["mean_relative_error"], done["w1"]["largest_relative_error"])
                self.assertIn(f"; {dtype} from {pack.name} ({source}, created ", found["metadata"]["source"])
                self.assertEqual(os.listdir(out.parent), [out.name])

    def test_text_says_sizes_errors_and_that_precision_is_not_regained(self):
        folder = temp_dir()
        narrow = quantize(small_pack(), folder / "a", "int8").check().stdout
        self.assertIn("as f32 -> ", narrow)
        self.assertIn("w1\tf32\tint8\t", narrow)
        self.assertIn("w2\tf32\tbf16\t", narrow)
        self.assertNotIn("regained", narrow)
        wide = quantize(folder / "a", folder / "b", "f32").check().stdout
        self.assertIn("precision lost there isn't regained", wide)
        same = quantize(folder / "a", folder / "c", "int8").check().stdout
        self.assertIn("stored as int8 already; copied byte for byte", same)

    def test_a_daemon_serves_the_new_pack_with_scores_close_to_the_old(self):
        scores = {}
        for dtype in ("f32", "int8"):
            pack = small_pack()
            if dtype == "int8":
                pack = temp_dir() / "small.pack"
                quantize(small_pack(), pack, dtype).check()
            with Daemon(packs=[pack]) as daemon:
                rows = daemon.lensctl("detect", FIXTURES / "hatcat-small" / "tokens.npy", "--json").check()
                scores[dtype] = [{d["concept"]: d["raw"] for d in row["detections"]} for row in rows.json_lines()]
        compared = 0
        for exact, coded in zip(scores["f32"], scores["int8"]):
            for concept in exact.keys() & coded.keys():
                self.assertAlmostEqual(exact[concept], coded[concept], delta=0.05)
                compared += 1
        self.assertGreater(compared, 20)

    def test_wrong_usage_exits_2(self):
        for args, part in ((["pack", "quantize", "a", "-o", "b"], "--dtype"),
                           (["pack", "quantize", "a", "--dtype", "int8"], "-o"),
                           (["pack", "quantize", "-o", "b", "--dtype", "int8"], "expects FILE"),
                           (["pack", "quantize", "a", "-o", "b", "--dtype", "f16"], "f32, bf16, int8, log8")):
            result = lensctl(*args)
            self.assertEqual(result.code, 2, result)
            self.assertIn(part, result.stderr)

    def refused(self, result, *parts):
        self.assertEqual(result.code, 1, result)
        self.assertEqual(result.stdout, "")
        for part in parts:
            self.assertIn(part, result.stderr)
        self.assertIn("nothing was written to", result.stderr)

    def test_an_unsound_input_leaves_an_older_output_as_it_was(self):
        folder = temp_dir()
        out = folder / "out.pack"
        out.write_text("older")
        whole = small_pack().read_bytes()
        at = len(whole) // 2
        for name, content in (("cut", whole[:at]), ("empty", b""), ("text", b"not a pack at all"),
                              ("flipped", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])):
            bad = temp_dir() / name
            bad.write_bytes(content)
            self.refused(quantize(bad, out, "int8"), str(bad))
            self.assertEqual(out.read_text(), "older")
            self.assertEqual(os.listdir(folder), ["out.pack"])
        self.refused(quantize(folder / "none", out, "int8"), "can't open")

    def test_the_input_is_never_replaced(self):
        pack = copy_pack(small_pack())
        before = pack.read_bytes()
        self.refused(quantize(pack, pack, "int8"), "are the same file", "a name of its own")
        self.assertEqual(pack.read_bytes(), before)

    def run_with(self, prepare, source, out, dtype):
        return subprocess.run([BUILD / "lensctl", "pack", "quantize", source, "-o", out, "--dtype", dtype],
                              env=clean_env(), timeout=60, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=prepare)

    def test_an_interrupted_run_removes_what_it_had_written(self):
        def interrupt_first():  # blocked and pending, which outlives exec: as if sent at the first lens
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            os.kill(os.getpid(), signal.SIGINT)

        for dtype in ("int8", "f32"):  # work, and a mere copy
            folder = temp_dir()
            done = self.run_with(interrupt_first, small_pack(), folder / "out.pack", dtype)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn("interrupted after 1 of 70", done.stderr)
            self.assertEqual(os.listdir(folder), [])

    def test_a_full_disk_is_said_and_nothing_stays(self):
        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))

        folder = temp_dir()
        done = self.run_with(small_files, small_pack(), folder / "out.pack", "int8")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("File too large", done.stderr)
        self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main()
