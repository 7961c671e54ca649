"""lensctl before a daemon that lies: no crash, no commands to the terminal, no end that never comes."""
import random
import re
import signal
import struct
import subprocess
import unittest

from tests.e2e.evil import EVENTS, field, kind_of
from tests.e2e.harness import BUILD, REPORTS, ROOT, Daemon, clean_env, eventually, temp_dir
from tests.e2e.hostile_daemon import HostileDaemon
from tests.e2e.liblens import Client

DATA = ROOT / "tests" / "real" / "data"
PACK = DATA / "wordnet-minilm.lens"
DOGS = str(DATA / "sentences" / "01-dogs.safetensors")
EVENT_PAGE = 75
NEXT, END, FROM = 0, 1, 3
COMMANDS = [["top", "--once"], ["top", "--once", "--json"], ["tail", "--from", "start", "--rows", "5"],
            ["tail", "--from", "start", "--seconds", "0.1", "--json"], ["timeline", DOGS], ["timeline", DOGS, "--json"],
            ["timeline", "1"], ["dmon", "-c", "1", "-d", "0.1"], ["dmon", "-c", "1", "-d", "0.1", "--json"], ["doctor"],
            ["doctor", "--json"], ["explain", "Dog:5"], ["explain", "Dog:5", "--json"], ["config"],
            ["config", "--json"],
            ["__complete", "explain", "D"], ["__complete", "unload", ""], ["__complete", "tail", "--session", ""],
            ["status"], ["packs"], ["sessions"], ["latency"], ["concepts"], ["detect", DOGS],
            ["bench", "token", "--seconds", "0.1"]]
COMMAND_BYTES = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
WAIT_S = 60


def with_escapes(rng, packet):
    """What looks like a text gets terminal commands, as many bytes as before."""
    out = bytearray(packet)
    for text in re.finditer(rb"[A-Za-z][A-Za-z_/.0-9 -]{3,}", packet[8:]):
        if rng.random() < 0.7:
            at = 8 + text.start()
            out[at:at + 4] = rng.choice([b"\x1b[2J", b"\xc2\x9b1m", b"\x1b]0;", b"\n\r\t\x07", b"</sc", b"\",\"a"])
    return bytes(out)


def with_wrong_numbers(rng, packet):
    out = bytearray(packet)
    for _ in range(rng.choice((1, 2, 5, 10))):
        at = rng.randrange(len(out) - 3) & ~3
        out[at:at + 4] = struct.pack("<I", rng.choice((0, 1, 0x7fffffff, 0xffffffff, 0x80000000, 0x7fc00000, 0x7f800000,
                                                       rng.getrandbits(32))))
    return bytes(out)


def with_wrong_bits(rng, packet):
    out = bytearray(packet)
    out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def with_numbers(packet, kind, numbers):
    """Those u64 fields of a packet of that kind, where it has them."""
    out, (found, body) = bytearray(packet), kind_of(packet)
    for index, value in numbers.items() if found == kind else ():
        place = field(packet, body, index)
        if place is not None:
            struct.pack_into("<Q", out, place, value)
    return bytes(out)


def cut(rng, packet):
    return packet[:rng.randrange(1, len(packet))]


class HostileDaemons(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[PACK])
        cls.addClassCleanup(cls.daemon.kill)
        cls.client = Client(cls.daemon.socket, top_k=16)
        cls.addClassCleanup(cls.client.close)
        rng = random.Random(1)
        for i in range(200):
            cls.client.ask([rng.gauss(0, 1) for _ in range(cls.client.info().dim)], position=i)

    def start(self, command, **functions):
        hostile = HostileDaemon(self.daemon.socket, **functions)
        self.addCleanup(hostile.close)
        return subprocess.Popen([str(BUILD / "lensctl"), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=clean_env(LENSD_SOCKET=hostile.socket, LC_ALL="C.UTF-8",
                                                                      HOME=temp_dir()))

    def finish(self, process, command):
        try:
            out, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
        self.assertIn(process.returncode, (0, 1, 2, 3), (command, err))
        for report in REPORTS:
            self.assertNotIn(report.encode(), err)
        found = COMMAND_BYTES.search(out + err)
        self.assertIsNone(found, (command, found and (out + err)[max(0, found.start() - 60):found.end() + 20]))

    def test_whatever_it_answers_lensctl_ends_and_prints_text(self):
        for change in (with_escapes, with_wrong_numbers, with_wrong_bits, cut):
            for seed, command in enumerate(COMMANDS):
                with self.subTest(change=change.__name__, command=command):
                    rng = random.Random(seed)
                    process = self.start(command, answer=lambda packet, n: change(rng, packet) if n > 0 else packet)
                    self.finish(process, command)

    def test_tail_hears_ctrl_c_among_pages_without_rows(self):
        pages = []

        def further_and_further(packet, _):
            pages.append(1)
            return with_numbers(packet, EVENT_PAGE, {NEXT: 1000 + len(pages), END: 1 << 63})

        command = ["tail", "--from", "start", "--concept", "Nothing"]
        process = self.start(command, answer=further_and_further,
                             request=lambda packet: with_numbers(packet, EVENTS, {FROM: 1}))
        try:
            eventually(lambda: len(pages) > 100 or process.poll() is not None, timeout=WAIT_S, what="pages")
        finally:
            process.send_signal(signal.SIGINT)
            self.finish(process, command)
        self.assertEqual(process.returncode, 0)

    def test_seconds_end_tail_although_pages_go_nowhere(self):
        command = ["tail", "--from", "start", "--seconds", "0.2"]
        numbers = {NEXT: 1, END: 1 << 63}
        process = self.start(command, answer=lambda packet, n: with_numbers(packet, EVENT_PAGE, numbers))
        self.finish(process, command)
        self.assertEqual(process.returncode, 0)


if __name__ == "__main__":
    unittest.main()
