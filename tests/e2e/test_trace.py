"""lensctl trace record: what rows asked of the cache, as the right answers have it; who may record, and how it ends."""
import json
import math
import signal
import struct
import subprocess
import unittest

from tests.e2e.harness import (BUILD, FIXTURES, Daemon, clean_env, copy_pack, eventually, lensctl, small_pack,
                               temp_dir)

SMALL = FIXTURES / "hatcat-small"
ANSWERS = json.loads((SMALL / "expected-threshold.json").read_text(encoding="utf-8"))
LAYERS = [int(key.rsplit(":", 1)[1]) for key in ANSWERS["keys"]]
LEFT_OUT = 4095


def read_trace(path):
    """(layers, rows) of a trace file; a row is a dict with its lenses and {lens: logit}."""
    data = path.read_bytes()
    magic, version, lenses, edges, _ = struct.unpack_from("<QIIII", data)
    assert (magic, version) == (0x31465254534E454C, 1), (hex(magic), version)
    layers = list(data[24:24 + lenses])
    at = 24 + (lenses + 3) // 4 * 4 + 4 * (lenses + 1) + 4 * edges
    rows = []
    while at < len(data):
        n, n_active, sequence, base_layers, flags = struct.unpack_from("<IIQII", data, at)
        words = struct.unpack_from(f"<{n}I", data, at + 24)
        at += 24 + 4 * n
        rows.append({"n": n, "n_active": n_active, "sequence": sequence, "base_layers": base_layers, "flags": flags,
                     "lenses": [w & 0xFFFFF for w in words],
                     "logits": {w & 0xFFFFF: math.nan if w >> 20 == LEFT_OUT else (w >> 20) / 128 - 16 for w in words}})
    assert at == len(data)
    return layers, rows


class Recorder:
    """A `lensctl trace record` under way; the daemon has begun it."""

    def __init__(self, daemon, *args):
        self.path = temp_dir() / "x.trace"
        begun = daemon.log.count("trace of pack")
        self.process = subprocess.Popen(
            [BUILD / "lensctl", "--socket", daemon.socket, "--json", "trace", "record", "-o", self.path, *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_env())
        # The file is the last thing it makes before it records.
        eventually(lambda: daemon.log.count("trace of pack") > begun and self.path.exists(), what="the recording")

    def end(self, code=0, number=None):
        if number is not None:
            self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=60)
        assert self.process.returncode == code, (self.process.returncode, stdout, stderr)
        self.said = json.loads(stdout)
        self.stderr = stderr
        self.layers, self.rows = read_trace(self.path)
        assert self.said["rows"] == len(self.rows) and self.said["bytes"] == self.path.stat().st_size, self.said
        return self


class Trace(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def detect(self, *args):
        return self.daemon.lensctl("--json", "detect", SMALL / "tokens.npy", *args).check().json_lines()

    def record(self, detects, *args):
        recorder = Recorder(self.daemon, *args)
        for flags in detects:
            self.detect(*flags)
        return recorder.end(number=signal.SIGINT)

    def test_rows_are_recorded_with_what_they_scored(self):
        done = self.record([[]])
        self.assertEqual((done.said["dropped_rows"], done.said["ended_by"]), (0, "interrupted"))
        self.assertEqual(done.layers, LAYERS)
        self.assertEqual(len(done.rows), len(ANSWERS["rows"]))
        base = sum(layer <= 1 for layer in LAYERS)
        retained = 0
        for i, (row, right) in enumerate(zip(done.rows, ANSWERS["rows"])):
            self.assertEqual((row["n"], len(row["logits"])), (right["scored"], right["scored"]), i)
            self.assertEqual((row["n_active"], row["base_layers"]), (base + retained, 3), i)
            self.assertTrue(all(LAYERS[lens] <= 1 or k >= base for k, lens in enumerate(row["lenses"])), i)
            for lens, logit in row["logits"].items():
                self.assertAlmostEqual(logit, max(-16, min(15.984375, ANSWERS["logits"][i][lens])), delta=0.005)
            retained = len(ANSWERS["submissions"][i]["retained"])

    def test_each_sequence_has_a_name_of_its_own(self):
        done = self.record([[], ["--rows", "4"], []])
        names = [row["sequence"] for row in done.rows]
        rows = len(ANSWERS["rows"])
        self.assertEqual(len(names), 3 * rows)
        self.assertEqual([len(set(names[k * rows:(k + 1) * rows])) for k in range(3)], [1, 1, 1])
        self.assertEqual(len(set(names)), 3)

    def test_a_session_with_another_base_says_so(self):
        done = self.record([["--base", "0"]])
        self.assertEqual({row["base_layers"] for row in done.rows}, {1})

    def test_the_cache_simulator_takes_what_was_recorded(self):
        done = self.record([[], []])
        found = self.daemon.lensctl("--json", "cache-sim", done.path, "--slots", "20").check().json()
        self.assertEqual((found["rows"], found["lenses"]), (len(done.rows), len(LAYERS)))
        self.assertEqual(found["requests"], sum(LAYERS[lens] > 1 for row in done.rows for lens in row["lenses"]))

    def test_it_ends_by_rows(self):
        recorder = Recorder(self.daemon, "--rows", "10")
        self.detect()
        done = recorder.end()
        self.assertEqual((len(done.rows), done.said["ended_by"]), (10, "rows"))

    def test_it_ends_by_seconds(self):
        done = Recorder(self.daemon, "--seconds", "1").end()
        self.assertEqual((done.rows, done.said["ended_by"]), ([], "seconds"))

    def test_it_ends_by_sigterm(self):
        self.assertEqual(Recorder(self.daemon).end(number=signal.SIGTERM).said["ended_by"], "interrupted")

    def test_one_at_a_time_and_a_dead_recorder_makes_room(self):
        recorder = Recorder(self.daemon)
        result = self.daemon.lensctl("trace", "record", "-o", recorder.path)
        self.assertEqual((result.code, result.stdout), (1, ""), result)
        self.assertIn("in-use", result.stderr)
        self.assertTrue(recorder.path.exists())
        before = self.daemon.fd_count()
        recorder.process.kill()
        recorder.process.communicate()
        eventually(lambda: self.daemon.fd_count() < before, what="the recorder's descriptors gone")
        self.assertEqual(self.daemon.lensctl("trace", "record", "-o", recorder.path, "--seconds", "1").code, 0)

    def test_people_read_a_sentence(self):
        path = temp_dir() / "x.trace"
        done = self.daemon.lensctl("trace", "record", "-o", path, "--seconds", "1").check()
        self.assertRegex(done.stdout, r"^0 rows recorded, 0 left out; \S+ \S+ in .*x\.trace\n$")

    def test_what_cannot_be_is_refused(self):
        path = temp_dir() / "x.trace"
        for args, part, code in (([], "-o", 2), (["-o", path, "--pack", "none"], "no-such-pack", 1),
                                 (["-o", path, "--rows", "0"], "--rows", 2),
                                 (["-o", path.parent / "none" / "x"], "none/x", 1)):
            result = self.daemon.lensctl("trace", "record", *args)
            self.assertEqual((result.code, result.stdout), (code, ""), result)
            self.assertIn(part, result.stderr)
        self.assertFalse(path.exists())
        self.assertEqual(lensctl("trace", "record", "-o", path, socket=path.parent / "none.sock").code, 3)


class Ending(unittest.TestCase):
    def test_a_swap_ends_it_and_the_file_holds(self):
        pack = copy_pack(small_pack(), "first.lens")
        with Daemon(packs=[pack]) as daemon:
            recorder = Recorder(daemon)
            daemon.lensctl("detect", SMALL / "tokens.npy").check()
            self.assertIn("in-use", daemon.lensctl("unload", "first").stderr)
            daemon.lensctl("swap", pack).check()
            done = recorder.end(code=1)
            self.assertEqual((len(done.rows), done.said["ended_by"]), (len(ANSWERS["rows"]), "daemon"))
            self.assertIn("ended the trace", done.stderr)
            daemon.lensctl("detect", SMALL / "tokens.npy").check()

    def test_the_daemons_end_ends_it(self):
        daemon = Daemon(packs=[small_pack()])
        recorder = Recorder(daemon)
        daemon.lensctl("detect", SMALL / "tokens.npy").check()
        daemon.stop()
        self.assertEqual(len(recorder.end(code=1).rows), len(ANSWERS["rows"]))

    def test_operators_only(self):
        with Daemon(packs=[small_pack()], args=["--ipc-admin-uids", "4242"]) as daemon:
            path = temp_dir() / "x.trace"
            result = daemon.lensctl("trace", "record", "-o", path)
            self.assertEqual((result.code, result.stdout), (1, ""), result)
            self.assertIn("not-allowed", result.stderr)
            self.assertFalse(path.exists())
            self.assertIn("not-allowed", daemon.lensctl("preload").stderr)


if __name__ == "__main__":
    unittest.main()
