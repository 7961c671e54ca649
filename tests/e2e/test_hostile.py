"""Hostile clients: whatever one does, the daemon lives, a good client beside it gets its answers, and nothing is left.

Random cases print their seed; LENSD_HOSTILE_SEED repeats one, LENSD_HOSTILE_ROUNDS multiplies how much is tried."""
import fcntl
import itertools
import os
import pathlib
import random
import re
import resource
import signal
import socket
import struct
import time
import unittest

from tests.e2e import evil
from tests.e2e.evil import Evil, Peer, kind_of, packet
from tests.e2e.harness import SANITIZED, Daemon, copy_pack, eventually, small_pack
from tests.e2e.liblens import Client

SEED = int(os.environ.get("LENSD_HOSTILE_SEED", time.time_ns() % 2**32))
ROUNDS = float(os.environ.get("LENSD_HOSTILE_ROUNDS", 1))
FREED_S = 5 if SANITIZED else 1
EXTREMES = {"u8": (0, 1, 3, 127, 255), "u32": (0, 1, 2, 63, 64, 65, 4096, 65536, 65537, 2**31 - 1, 2**31, 2**32 - 1),
            "i32": (-2**31, -2, -1, 0, 1, 2**31 - 1), "u64": (0, 1, 2**32, 2**63, 2**64 - 1),
            "f32": (0.0, -1.0, 0.5, 2.0, float("nan"), float("inf"))}
INDICES = (evil.SUBMIT_HEAD, evil.SUBMIT_TAIL, evil.RESULT_HEAD, evil.RESULT_TAIL, evil.DAEMON_SLEEPING,
           evil.CLIENT_SLEEPING, evil.RESULT_FUTEX, evil.DROPPED)
KEEP_NOTHING = (1 << 11, (evil.OPTION_FIELDS, [None] * 11 + [0, None, None]))


def rounds(n):
    return int(n * ROUNDS) if not SANITIZED else max(1, int(n * ROUNDS / 3))


def seeded(name):
    print(f"# {name}: seed {SEED}", flush=True)
    return random.Random(f"{name} {SEED}")


def mappings(daemon):
    return pathlib.Path(f"/proc/{daemon.pid}/maps").read_text().count("lensd-session")


def in_child(work):
    """Runs `work` in a forked child, which it never leaves; the child's pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def end_child(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class Hostile(unittest.TestCase):
    args = ()

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[copy_pack(small_pack(), "p.lens")], args=cls.args)
        cls.addClassCleanup(cls.daemon.kill)
        cls.good = Client(cls.daemon.socket, keep_top_k=0, max_sequences=4)
        cls.addClassCleanup(cls.good.close)
        cls.rows = [[((a * i) % 17 - 8) / 2 for i in range(cls.good.info().dim)] for a in (3, 5, 7)]
        cls.answers = [cls.good.ask(row) for row in cls.rows]
        cls.asked = 0

    @classmethod
    def tearDownClass(cls):
        cls.good.close()
        cls.daemon.stop()

    def setUp(self):
        eventually(lambda: self.sessions() == 1, what="sessions freed")
        time.sleep(0.05)
        self.before = (self.daemon.fd_count(), mappings(self.daemon))

    def tearDown(self):
        """Same daemon, no report, same descriptors and memory, no session left, right answers."""
        self.assertTrue(self.daemon.alive(), self.daemon.log)
        self.daemon.check_reports()
        self.check_good(3)
        eventually(lambda: self.sessions() == 1, timeout=FREED_S, what="sessions freed")
        eventually(lambda: (self.daemon.fd_count(), mappings(self.daemon)) == self.before, timeout=FREED_S,
                   what="descriptors and shared memory given back")

    def sessions(self):
        """How many the daemon has, as an operator sees it."""
        peer = Peer(self.daemon)
        answer = peer.ask(evil.SESSIONS, 0)
        peer.close()
        return evil.u32_field(answer, 1)

    def check_good(self, times=1):
        for _ in range(times):
            which = type(self).asked % 3
            self.assertEqual(self.good.ask(self.rows[which]), self.answers[which])
            type(self).asked += 1


class SharedMemory(Hostile):
    def attack(self, rng, attach=(8, 16)):
        """A session to maltreat, a fresh one now and then."""
        while True:
            session = Evil(self.daemon, attach)
            try:
                yield from itertools.repeat(session, rng.randrange(1, 40))
            finally:
                session.close()

    def test_size_and_seals_stay(self):
        session = Evil(self.daemon)
        for size in (0, 4096, session.total * 2):
            with self.assertRaises(PermissionError):
                os.ftruncate(session.memfd, size)
        with self.assertRaises(PermissionError):
            fcntl.fcntl(session.memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        session.close()

    def test_holes_hurt_only_their_maker(self):
        rng = seeded("holes")
        session = Evil(self.daemon, (8, 16))
        for turn in range(rounds(300)):
            session.submit(sequence=turn % 3, rows=rng.randrange(1, 9))
            start = rng.randrange(session.total // 4096) * 4096
            self.assertEqual(session.punch(start, rng.randrange(4096, session.total)), 0)
            if turn % 30 == 29:
                session.close()
                session = Evil(self.daemon, (8, 16))
            if turn % 10 == 0:
                self.check_good()
        session.close()

    def test_forged_indices_and_flags(self):
        rng = seeded("indices")
        values = [0, 1, 2, 2**16, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
        sessions = self.attack(rng)
        for turn in range(rounds(4000)):
            session = next(sessions)
            for _ in range(rng.randrange(3)):
                session.write(sequence=rng.randrange(4))
            session.publish()
            place = rng.choice(INDICES)
            near = session.get(place) + rng.randrange(-70, 70)
            session.put(place, rng.choice([*values, near, near, rng.getrandbits(64)]),
                        "<Q" if place not in INDICES[4:7] else "<I")
            session.ring()
            if turn % 50 == 0:
                self.check_good()
        sessions.close()

    def test_any_bytes_anywhere(self):
        rng = seeded("bytes")
        sessions = self.attack(rng)
        for turn in range(rounds(4000)):
            session = next(sessions)
            session.write(sequence=rng.randrange(4), rows=rng.randrange(1, 9), dtype=rng.randrange(3))
            for _ in range(rng.randrange(1, 30)):
                at = rng.randrange(rng.choice([1024, session.payload_offset, session.total]))
                session.memory[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
            session.put(evil.SUBMIT_HEAD, session.head)
            session.ring()
            if turn % 50 == 0:
                self.check_good()
        sessions.close()

    def test_descriptors_of_extremes(self):
        rng = seeded("descriptors")
        fields = {"payload_offset": "u64", "payload_bytes": "u32", "rows": "u32", "dtype": "u8", "flags": "u32",
                  "adapter": "u32", "reserved0": "u8", "first_position": "u64", "submitted_ns": "u64",
                  "deadline_ns": "u64", "sequence": "u64", "serial": "u32"}
        sessions = self.attack(rng)
        for turn in range(rounds(4000)):
            session = next(sessions)
            changes = {}
            for name in rng.sample(sorted(fields), rng.randrange(1, 4)):
                bits = {"u8": 8, "u32": 32, "u64": 64}[fields[name]]
                near = (session.payload + rng.randrange(-128, 128)) % 2**bits
                changes[name] = rng.choice([*EXTREMES[fields[name]], near, session.payload_bytes % 2**bits])
            session.submit(**changes)
            if rng.randrange(4):
                session.read_all()
            if turn % 50 == 0:
                self.check_good()
        sessions.close()

    def test_what_changes_between_check_and_use(self):
        session = Evil(self.daemon, (8, 16))
        slots = [session.submit_offset + i * 128 for i in range(session.submit_slots)]

        def change():
            while True:
                for at, word in itertools.product(slots, (24, 48, 52, 60, 70)):
                    session.put(at + word, random.getrandbits(32), "<I")
                session.memory[session.payload_offset:session.payload_offset + 4096] = os.urandom(4096)

        child = in_child(change)
        for turn in range(rounds(2000)):
            session.submit(rows=turn % 8 + 1)
            session.read_all()
            if turn % 50 == 0:
                self.check_good()
        end_child(child)
        session.close()

    def test_rows_of_any_bits(self):
        rng = seeded("rows")
        session = Evil(self.daemon, (8, 16), KEEP_NOTHING)
        for turn in range(rounds(500)):
            at, row = session.payload_offset, session.dim * 4
            session.memory[at:at + session.payload_bytes] = rng.randbytes(session.payload_bytes)
            worst = struct.pack("<I", rng.choice([0x7f800000, 0xff800000, 0x7fc00000, 0x7f7fffff, 1, 0x80000001]))
            session.memory[at:at + row] = worst * session.dim
            session.submit()
            session.read_all()
            if turn % 50 == 0:
                self.check_good()
        session.close()

    def test_refusals_by_the_thousand_are_answered_in_turn(self):
        session = Evil(self.daemon, (64, 4096))
        for _ in range(4096):
            session.write(rows=64, adapter=1)
        session.publish()
        self.check_good(20)
        eventually(lambda: session.get(evil.SUBMIT_TAIL) == 4096)
        self.assertEqual(session.get(evil.RESULT_HEAD) + session.get(evil.DROPPED), 4096 * 64)
        session.close()

    def test_more_sequences_than_allowed_are_refused(self):
        session = Evil(self.daemon, (1, 4096, None, None, 2), KEEP_NOTHING)
        for i in range(4096):
            session.write(sequence=i << 48)
        session.publish()
        self.check_good(20)
        eventually(lambda: session.get(evil.SUBMIT_TAIL) == 4096)
        session.close()

    def test_results_never_read_are_dropped_and_counted(self):
        session = Evil(self.daemon, (8, 16, 16))
        for _ in range(50):
            eventually(lambda: session.head - session.get(evil.SUBMIT_TAIL) < 16)
            session.submit(rows=8)
        eventually(lambda: session.get(evil.SUBMIT_TAIL) == 50)
        self.assertEqual(session.get(evil.RESULT_HEAD), 16)
        self.assertEqual(session.get(evil.DROPPED), 50 * 8 - 16)
        self.check_good(10)
        session.close()

    def test_memory_of_a_session_that_ended_is_free_even_while_somebody_holds_it(self):
        held = []
        for leave in (lambda s: s.ask(evil.DETACH, s.session), lambda s: None):
            session = Evil(self.daemon, (64, 512))
            self.assertGreaterEqual(os.fstat(session.memfd).st_blocks * 512, session.total)
            held.append(os.dup(session.memfd))
            leave(session)
            session.close()
        for fd in held:
            eventually(lambda fd=fd: os.fstat(fd).st_blocks == 0, timeout=FREED_S, what="pages given back")
            os.close(fd)


class Doorbell(Hostile):
    def test_full_blocking_and_hammered_it_stops_nobody(self):
        session = Evil(self.daemon)
        flags = fcntl.fcntl(session.doorbell, fcntl.F_GETFL)
        os.write(session.doorbell, struct.pack("<Q", 2**64 - 2))
        fcntl.fcntl(session.doorbell, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
        self.check_good(10)
        os.read(session.doorbell, 8)
        self.check_good(10)

        def hammer():
            while True:
                os.write(session.doorbell, struct.pack("<Q", 1))

        child = in_child(hammer)
        self.check_good(rounds(300))
        session.submit()
        eventually(lambda: session.get(evil.RESULT_HEAD) == 1)
        end_child(child)
        session.close()


class Packets(Hostile):
    def requests(self):
        """One valid packet of every request."""
        options = (evil.OPTION_FIELDS, [1, 0, 0, 0, 0, 0, 0.5, 0.3, 0.9, 1, 10, 5, 4, 100])
        bodies = {evil.HELLO: (1, b"evil"), evil.ATTACH: (b"", b"label", 1, 2, 2, 4, 2, 2**14 - 1, options, [0, 1, 2]),
                  evil.DETACH: (1,), evil.END_SEQUENCE: (1, 2), evil.PACKS: (0,), evil.CONCEPTS: (b"p", b"*", 0),
                  evil.EXPLAIN: (b"", b"1"), evil.STATISTICS: (0,), evil.SESSIONS: (0,), evil.CONFIG: (0,),
                  evil.EVENTS: (0, b"*", 0.5, 1, 1), evil.LOAD: (b"none.lens", b"q"), evil.SWAP: (b"none.lens", b"p"),
                  evil.UNLOAD: (b"p", b"")}
        return [packet(kind, *bodies.get(kind, ())) for kind in evil.FIELDS]

    @staticmethod
    def is_shutdown(data):
        """We may well be an operator here: this one would be obeyed."""
        try:
            return kind_of(data)[0] == evil.SHUTDOWN
        except (struct.error, IndexError, TypeError):
            return False

    def deliver(self, peer, data):
        """Sends one packet and reads what comes back; a new connection when the old one was dropped."""
        try:
            peer.socket.send(data)
            answer, fds, _, _ = socket.recv_fds(peer.socket, 65536, 4)
        except (ConnectionError, BrokenPipeError):
            answer, fds = b"", []
        for fd in fds:
            os.close(fd)
        if answer and kind_of(answer)[0] not in (evil.ERROR, evil.ATTACHED):
            return peer
        peer.close()
        return Peer(self.daemon)

    def test_every_request_is_answered(self):
        for data in self.requests():
            if not self.is_shutdown(data):
                peer = Peer(self.daemon)
                peer.socket.send(data)
                self.assertTrue(peer.socket.recv(65536))
                peer.close()

    def test_flipped_bits_and_cut_ends(self):
        rng = seeded("packets")
        requests = self.requests()
        peer = Peer(self.daemon)
        for turn in range(rounds(6000)):
            data = bytearray(rng.choice(requests))
            for _ in range(rng.choice([1, 1, 2, 5])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            if rng.randrange(6) == 0:
                place = rng.randrange(0, len(data) - 4, 4)
                struct.pack_into("<I", data, place, rng.choice(EXTREMES["u32"]))
            if rng.randrange(8) == 0:
                data = data[:rng.randrange(len(data))]
            if rng.randrange(8) == 0:
                data += rng.randbytes(rng.randrange(4200 - len(data)))
            if not self.is_shutdown(data):
                peer = self.deliver(peer, bytes(data))
            if turn % 100 == 0:
                self.check_good()
        peer.close()

    def test_attach_with_all_extremes(self):
        rng = seeded("attach")
        kinds = evil.FIELDS[evil.ATTACH]
        peer = Peer(self.daemon)
        for turn in range(rounds(1500)):
            values = [rng.choice([b"", b"", b"p", b"none", b"x" * 3000]), rng.choice([b"", b"x" * 63, b"x" * 64])]
            values += [rng.choice([None, 1, *EXTREMES[kind]]) for kind in kinds[2:7]]
            values += [rng.choice([0, 2**14 - 1, rng.getrandbits(14), 2**32 - 1])]
            values += [(evil.OPTION_FIELDS, [rng.choice([None, *EXTREMES[k]]) for k in evil.OPTION_FIELDS])]
            values += [rng.choice([None, [], [0] * 256, [0] * 257, [2**32 - 1], list(range(100))])]
            peer = self.deliver(peer, packet(evil.ATTACH, *values)[:4096])
            if turn % 50 == 0:
                self.check_good()
        peer.close()

    def test_pins_outside_the_pack_and_unknown_packs(self):
        for values in ((b"", b"", 1, 2, 2, 4, 2, 0, None, [70]), (b"", b"", 1, 2, 2, 4, 2, 0, None, [2**32 - 1] * 256),
                       (b"none",), (b"P",), (b"p" * 4000,)):
            peer = Peer(self.daemon)
            self.assertEqual(kind_of(peer.ask(evil.ATTACH, *values))[0], evil.ERROR)
            peer.close()

    def test_sessions_of_others_are_out_of_reach(self):
        peer = Peer(self.daemon)
        theirs = self.good.info().id
        for kind, values in ((evil.DETACH, (theirs,)), (evil.END_SEQUENCE, (theirs, 0)), (evil.DETACH, (0,)),
                             (evil.DETACH, (2**32 - 1,))):
            answer = peer.ask(kind, *values)
            self.assertEqual((kind_of(answer)[0], evil.u32_field(answer)), (evil.ERROR, evil.NO_SUCH_SESSION))
        peer.close()

    def test_names_are_never_terminal_commands(self):
        peer = Peer(self.daemon)
        self.assertEqual(kind_of(peer.ask(evil.ATTACH, b"", b"\x1b[2J\n\rroot\x07"))[0], evil.ATTACHED)
        shown = self.daemon.lensctl("sessions").check().stdout + self.daemon.log
        self.assertIn("root", shown)
        self.assertIsNone(re.search("[\x00-\x08\x0b-\x1f\x7f]", shown))
        peer.close()

    def test_a_thousand_sessions_come_and_go(self):
        for turn in range(rounds(1000)):
            session = Evil(self.daemon, (1, 2, 2, 4, 2))
            if turn % 2:
                session.ask(evil.DETACH, session.session)
            else:
                session.submit()
            session.close()
            if turn % 50 == 0:
                self.check_good()

    def test_attach_without_descriptors_left(self):
        limit = resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE)
        peers = [Peer(self.daemon) for _ in range(3)]
        try:
            resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (self.daemon.fd_count() + 1, limit[1]))
            for peer in peers:
                self.assertEqual(kind_of(peer.ask(evil.ATTACH, b"", b""))[0], evil.ERROR)
                self.check_good()
        finally:
            resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, limit)
        for peer in peers:
            peer.close()

    def test_descriptors_are_not_hoarded_unread(self):
        peer = Peer(self.daemon)
        for _ in range(5):
            peer.socket.send(packet(evil.ATTACH, b"", b"", 1, 2, 2, 1, 1))
        eventually(lambda: self.sessions() == 3)
        time.sleep(0.3)
        kinds = [kind_of(peer.receive())[0] for _ in range(5)]
        self.assertEqual(kinds, [evil.ATTACHED] * 2 + [evil.ERROR] * 3)
        self.assertEqual(kind_of(peer.ask(evil.ATTACH, b"", b"", 1, 2, 2, 1, 1))[0], evil.ATTACHED)
        peer.close()

    def test_who_never_reads_its_answers_is_dropped(self):
        peer = Peer(self.daemon)
        peer.socket.setblocking(False)
        try:
            while True:
                peer.socket.send(packet(evil.CONFIG, 0))
                self.check_good()
        except BlockingIOError:
            pass
        self.daemon.wait_log("doesn't read its answers", timeout=30)
        peer.close()


class SuddenEnds(Hostile):
    def life(self, rng):
        """What a client does from connecting to leaving, with every step a place to die at."""
        while True:
            session = Evil(self.daemon, (8, 16))
            for _ in range(rng.randrange(20)):
                session.submit(rows=rng.randrange(1, 9), sequence=rng.randrange(5))
                session.put(evil.CLIENT_SLEEPING, rng.randrange(3), "<I")
            session.ask(evil.END_SEQUENCE, session.session, 1)
            if rng.randrange(2):
                session.ask(evil.DETACH, session.session)
            session.close()

    def test_killed_anywhere(self):
        rng = seeded("kill")
        for _ in range(rounds(60)):
            child = in_child(lambda: self.life(rng))
            time.sleep(rng.random() * 0.03)
            self.check_good()
            end_child(child)
        eventually(lambda: self.sessions() == 1, timeout=FREED_S, what="sessions of the dead freed")

    def test_stopped_anywhere(self):
        rng = seeded("stop")
        children = []
        for _ in range(rounds(20)):
            children.append(in_child(lambda: self.life(rng)))
            time.sleep(rng.random() * 0.03)
            os.kill(children[-1], signal.SIGSTOP)
            self.check_good(5)
        for child in children:
            end_child(child)


class Quotas(Hostile):
    args = ("--ipc-total-memory", "64M", "--ipc-session-memory", "32M")

    def test_retained_sets_count_against_the_memory_of_all(self):
        """Small shared memory, and 30 MB each for what 55,000 sequences may retain of 70 lenses."""
        keep_all = (1 << 11, (evil.OPTION_FIELDS, [None] * 11 + [-1, None, None]))
        sessions = []
        with self.assertRaises(ConnectionRefusedError):
            for _ in range(4):
                sessions.append(Evil(self.daemon, (1, 2, 2, 4, 55000), keep_all))
        self.assertEqual(len(sessions), 2)
        for session in sessions:
            session.close()


class OtherUsers(Hostile):
    args = ("--ipc-allow-uids", "65534")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_operators_commands_are_refused(self):
        os.chmod(self.daemon.dir, 0o755)
        os.seteuid(65534)
        try:
            peer = Peer(self.daemon)
        finally:
            os.seteuid(0)
        for kind, values in ((evil.LOAD, (b"p.lens", b"q")), (evil.SWAP, (b"p.lens", b"p")), (evil.UNLOAD, (b"p",)),
                             (evil.SHUTDOWN, ())):
            answer = peer.ask(kind, *values)
            self.assertEqual((kind_of(answer)[0], evil.u32_field(answer)), (evil.ERROR, evil.NOT_ALLOWED))
        self.assertEqual(evil.u32_field(peer.ask(evil.SESSIONS, 0), 1), 0)
        answer = peer.ask(evil.STATISTICS, self.good.info().id)
        self.assertEqual((kind_of(answer)[0], evil.u32_field(answer)), (evil.ERROR, evil.NO_SUCH_SESSION))
        peer.close()


class BadPacks(Hostile):
    def folder(self):
        return pathlib.Path(self.daemon.command[self.daemon.command.index("--pack") + 1]).parent

    def test_damaged_packs_are_refused(self):
        rng = seeded("packs")
        good, bad = (self.folder() / "p.lens").read_bytes(), self.folder() / "bad.lens"
        header = 8 + struct.unpack_from("<Q", good)[0]
        peer = Peer(self.daemon)
        for turn in range(rounds(300)):
            data = bytearray(good)
            for _ in range(rng.choice([1, 1, 3])):
                data[rng.randrange(rng.choice([8, header, header, len(data)]))] = rng.choice(b'\0\xff"0917:{[,' )
            if rng.randrange(5) == 0:
                data = data[:rng.randrange(len(data))]
            bad.write_bytes(data)
            if kind_of(peer.ask(evil.LOAD, b"bad.lens", b"bad"))[0] == evil.DONE:
                self.assertEqual(kind_of(peer.ask(evil.UNLOAD, b"bad"))[0], evil.DONE)
            if turn % 10 == 0:
                self.check_good()
        peer.close()
        bad.unlink()

    def test_paths_that_climb_out_and_odd_files(self):
        folder = self.folder()
        elsewhere = copy_pack(small_pack(), "elsewhere.lens")
        (folder / "link.lens").symlink_to(elsewhere)
        (folder / "zero.lens").symlink_to("/dev/zero")
        (folder / "loop.lens").symlink_to("loop.lens")
        (folder / "empty.lens").write_bytes(b"")
        (folder / "folder.lens").mkdir()
        os.mkfifo(folder / "fifo.lens")
        peer = Peer(self.daemon)
        for path in ("link.lens", f"../{elsewhere.parent.name}/elsewhere.lens", str(elsewhere), "/dev/zero",
                     "zero.lens",
                     "/proc/self/mem", "/proc/self/fd/0", "/etc/passwd", "../../../etc/passwd", "loop.lens", ".", "..",
                     "", "/", "empty.lens", "folder.lens", "fifo.lens", "x" * 3900, "../" * 1200 + "etc/passwd"):
            answer = peer.ask(evil.LOAD, path.encode(), b"odd")
            self.assertEqual(kind_of(answer)[0], evil.ERROR, path)
            self.check_good()
        peer.close()

if __name__ == "__main__":
    unittest.main()
