"""What lensd needs beside its slots and its pack's tables: at most 50 MB, with 8 sessions at work.

The pack is the real tree's 7,947 lenses at D=384 (see test_real_tree.py). Slots, tables and host memory are computed
from what lensd says and from the pack file; the rest of the resident set, sessions' shared memory included, is what is
held to the bound. Not under a sanitizer: its own memory would be measured.
"""
import pathlib
import re
import subprocess
import tempfile
import time
import unittest

from tests.e2e.harness import BUILD, SANITIZED, Daemon, clean_env
from tests.e2e.test_real_tree import synth

SHAPE = {"dim": 384, "h1": 16, "h2": 8}
W1_BYTES = {"f32": 4, "bf16": 2, "int8": 1}
SESSIONS = 8
ROWS = 2500
LIMIT = 50 * 1000 * 1000


def resident(pid):
    """Bytes of the process in memory now."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Rss:\s+(\d+) kB", text, re.M).group(1)) * 1024


def accounted(daemon):
    """Bytes of slots and of the pack's tables: everything in its file but W1."""
    pack = daemon.lensctl("--json", "packs").check().json()["packs"][0]
    status = daemon.lensctl("--json", "status").check().json()
    w1 = pack["lenses"] * pack["h1"] * pack["dim"] * W1_BYTES[pack["dtype"]]
    return status["slab_bytes"], pathlib.Path(pack["path"]).stat().st_size - w1


@unittest.skipIf(SANITIZED, "memory of a sanitizer's build says nothing")
class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(dir=BUILD, prefix="memory-")
        cls.addClassCleanup(cls.directory.cleanup)
        here = pathlib.Path(cls.directory.name)
        cls.pack, cls.rows = here / "real.lens", here / "rows.npy"
        synth(SHAPE, "--dtype", "bf16", "--pack", cls.pack, "--rows", cls.rows, "--count", ROWS)

    def busiest(self, daemon):
        """The most memory lensd had while eight clients sent all rows, some one by one, some eight at a time."""
        clients = [subprocess.Popen([BUILD / "lensctl", "--socket", daemon.socket, "--json", "detect", self.rows,
                                     "--rows", str(1 if i % 2 else 8)], env=clean_env(), stdout=subprocess.DEVNULL)
                   for i in range(SESSIONS)]
        most, at_once = 0, 0
        try:
            while any(c.poll() is None for c in clients):
                most = max(most, resident(daemon.pid))
                at_once = max(at_once, daemon.lensctl("--json", "status").check().json()["sessions"])
                time.sleep(0.02)
        finally:
            for client in clients:
                client.kill()
        self.assertEqual([c.wait() for c in clients], [0] * SESSIONS)
        self.assertEqual(at_once, SESSIONS, "sessions at the same time")
        return max(most, resident(daemon.pid))

    def check(self, host_memory, *flags):
        with Daemon(packs=[self.pack], args=flags) as daemon:
            most = self.busiest(daemon)
            slab, tables = accounted(daemon)
            rest = most - slab - tables - host_memory
            print(f"\nresident {most / 1e6:.1f} MB: slots {slab / 1e6:.1f}, tables {tables / 1e6:.1f}, host memory "
                  f"{host_memory / 1e6:.1f}, all else {rest / 1e6:.1f} (limit {LIMIT / 1e6:.0f})")
            self.assertGreater(most, slab // 2, "the slots are in memory, or something else was measured")
            self.assertLessEqual(rest, LIMIT)

    def test_with_every_lens_in_a_slot(self):
        self.check(0)

    def test_with_a_small_cache_host_memory_and_prefetch(self):
        host = 8 << 20
        self.check(host, "--pool-slots", "795", "--cache-host-memory", str(host), "--cache-prefetch", "on")


if __name__ == "__main__":
    unittest.main()
