"""What lensd tells its service manager, heard on a socket of our own: ready, reload, stop, watchdog, progress."""
import ctypes
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
import unittest

from tests.e2e.harness import BUILD, Daemon, clean_env, copy_pack, eventually, lensctl, lensd, small_pack, temp_dir
from tests.e2e.liblens import Client

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000


class Manager:
    """The manager's end: every message in order, as a dictionary of its assignments."""

    def __init__(self):
        self.path = temp_dir() / "notify"
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.bind(str(self.path))
        self.got = []

    def env(self, watchdog_s=None):
        more = {"WATCHDOG_USEC": int(watchdog_s * 1e6)} if watchdog_s else {}
        return {"NOTIFY_SOCKET": self.path, **more}

    def next(self, timeout):
        """The next message, or None when there is none within that time."""
        if not select.select([self.receiver], [], [], timeout)[0]:
            return None
        lines = self.receiver.recv(65536).decode().splitlines()
        self.got.append(dict(line.split("=", 1) for line in lines))
        return self.got[-1]

    def drop(self):
        """Forgets what has been sent so far."""
        while self.next(0) is not None:
            pass
        self.got = []

    def wait(self, condition, timeout=60):
        """The first message from now on that the condition holds for."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            message = self.next(0.2)
            if message is not None and condition(message):
                return message
        raise AssertionError(f"never came; what did: {self.got}")

    def wait_for(self, **assignments):
        return self.wait(lambda message: all(message.get(k) == v for k, v in assignments.items()))

    def quiet(self, key, seconds):
        """True when nothing with that key comes within that time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self.next(max(0, deadline - time.monotonic()))
            if message is not None and key in message:
                return False
        return True

    def close(self):
        self.receiver.close()


class StoppedThread:
    """One thread of a process that stands still, the others going on."""

    def __init__(self, tid):
        self.tid = tid
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.libc.ptrace.restype = ctypes.c_long

    def __enter__(self):
        if self.libc.ptrace(PTRACE_SEIZE, self.tid, None, None) != 0:
            raise unittest.SkipTest(f"threads can't be stopped here: ptrace: {os.strerror(ctypes.get_errno())}")
        self.libc.ptrace(PTRACE_INTERRUPT, self.tid, None, None)
        os.waitpid(self.tid, WALL)
        return self

    def __exit__(self, kind, value, trace):
        self.libc.ptrace(PTRACE_DETACH, self.tid, None, None)


class Supervised(unittest.TestCase):
    def setUp(self):
        self.manager = Manager()
        self.addCleanup(self.manager.close)

    def start(self, *args, watchdog_s=None, script=None, **more):
        flags = list(args)
        if script is not None:
            path = temp_dir() / "script"
            path.write_text(script)
            flags += ["--fault-script", path]
        daemon = Daemon(args=flags, env=self.manager.env(watchdog_s), **more)
        self.addCleanup(daemon.kill)
        return daemon


class StartAndStop(Supervised):
    def test_ready_comes_with_what_is_served(self):
        daemon = self.start(packs=[small_pack()])
        self.assertEqual(self.manager.wait_for(READY="1")["STATUS"], "Serving 1 pack to 0 sessions")
        with Client(daemon.socket):
            self.manager.wait_for(STATUS="Serving 1 pack to 1 session")
        daemon.stop()

    def test_slow_start_says_how_far_it_is_and_asks_for_time(self):
        daemon = self.start("--cache-load-threads", "1", packs=[small_pack()], script="slot_write * slow:3000\n",
                            wait=False)
        self.manager.wait(lambda message: "lenses loaded" in message.get("STATUS", ""))
        self.manager.wait_for(READY="1")
        before = self.manager.got[:-1]
        self.assertGreaterEqual(sum("EXTEND_TIMEOUT_USEC" in message for message in before), 3)
        self.assertFalse(any("READY" in message for message in before))
        daemon.stop()

    def test_stop_says_so_once_and_asks_for_the_time_to_drain(self):
        daemon = self.start("--engine-drain-ms", "50000")
        self.manager.wait_for(READY="1")
        daemon.stop()
        message = self.manager.wait_for(STOPPING="1")
        self.assertGreater(int(message["EXTEND_TIMEOUT_USEC"]), 50_000_000)
        self.assertTrue(self.manager.quiet("STOPPING", 0.1))

    def test_stop_while_a_pack_is_opened_asks_for_time_until_that_ends(self):
        pack = copy_pack(small_pack(), "slow.lens")
        daemon = self.start("--packs-directories", pack.parent, script="slot_write * slow:4000\n")
        load = subprocess.Popen([BUILD / "lensctl", "--socket", daemon.socket, "load", pack], env=clean_env(),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.manager.wait(lambda message: "opening slow" in message.get("STATUS", ""))
        daemon.send_signal(signal.SIGTERM)
        self.manager.wait_for(STOPPING="1")
        self.manager.wait(lambda message: "EXTEND_TIMEOUT_USEC" in message and "Waiting" in message["STATUS"])
        daemon.wait_exit(0)
        load.wait()

    def test_names_of_files_forge_no_message(self):
        evil = temp_dir() / os.fsdecode(b"evil\nREADY=1\n\xff.lens")
        evil.write_text("no pack")
        self.assertEqual(lensd("--socket", temp_dir() / "s", "--pack", evil,
                               env=clean_env(**self.manager.env())).code, 1)
        while self.manager.next(0.2) is not None:
            pass
        self.assertTrue(any("evil?READY=1??.lens" in message.get("STATUS", "") for message in self.manager.got))
        self.assertFalse(any("READY" in message for message in self.manager.got))


class Reload(Supervised):
    def setUp(self):
        super().setUp()
        self.config = temp_dir() / "lensd.conf"
        self.config.write_text("[cascade]\ntop_k = 12\n")
        self.daemon = self.start("--config", self.config)
        self.manager.wait_for(READY="1")

    def reload(self):
        """Sends SIGHUP; the messages about it: (RELOADING, READY)."""
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.daemon.send_signal(signal.SIGHUP)
        begun = self.manager.wait_for(RELOADING="1")
        self.assertGreaterEqual(int(begun["MONOTONIC_USEC"]), before)
        self.assertLessEqual(int(begun["MONOTONIC_USEC"]), time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        self.assertNotIn("READY", begun)
        return begun, self.manager.wait(lambda message: "READY" in message or "RELOADING" in message)

    def test_each_reload_is_begun_and_ended(self):
        for _ in range(3):
            self.assertEqual(self.reload()[1]["READY"], "1")
        self.daemon.stop()

    def test_failed_reload_is_ended_too_and_shown_until_one_succeeds(self):
        self.config.write_text("[cascade]\ntop_k = 0\n")
        ended = self.reload()[1]
        self.assertEqual(ended["READY"], "1")
        self.assertIn("the last reload failed", ended["STATUS"])
        self.assertIn("line 2", ended["STATUS"])
        self.config.write_text("[cascade]\ntop_k = 9\n")
        self.assertNotIn("failed", self.reload()[1]["STATUS"])
        self.daemon.stop()

    def test_reload_asked_for_during_the_start_waits_for_its_end(self):
        config = temp_dir() / "lensd.conf"
        config.write_text("[cascade]\ntop_k = 12\n")
        self.manager.drop()
        daemon = self.start("--config", config, packs=[small_pack()], script="slot_write * slow:3000\n", wait=False)
        self.manager.wait(lambda message: message.get("STATUS", "").endswith(".safetensors: opening"))
        config.write_text("[cascade]\ntop_k = 13\n")
        daemon.send_signal(signal.SIGHUP)
        self.manager.wait_for(READY="1")
        self.manager.wait_for(READY="1")
        self.assertRegex(daemon.lensctl("config").check().stdout, r"cascade\.top_k\s+13\s+file")
        daemon.stop()


class Watchdog(Supervised):
    def test_idle_daemon_feeds_it(self):
        daemon = self.start(watchdog_s=3)
        self.manager.wait_for(READY="1")
        for _ in range(4):
            self.manager.wait_for(WATCHDOG="1")
        daemon.stop()

    def test_without_one_nothing_is_fed(self):
        daemon = self.start()
        self.manager.wait_for(READY="1")
        self.assertTrue(self.manager.quiet("WATCHDOG", 2.5))
        daemon.stop()

    def test_one_that_an_idle_engine_would_starve_is_warned_of(self):
        daemon = self.start(watchdog_s=1)
        daemon.wait_log("WatchdogSec=3")
        daemon.stop()

    def test_engine_that_hangs_starves_it_though_the_loop_goes_on(self):
        daemon = self.start(packs=[small_pack()], script="run 1 slow:12000\n", watchdog_s=3)
        self.manager.wait_for(WATCHDOG="1")
        with Client(daemon.socket) as client:
            client.submit([0.5] * client.info().dim)
            while not self.manager.quiet("WATCHDOG", 4):
                self.assertNotEqual(client.wait(0)[0], 0, "fed until the engine was done")
            daemon.lensctl("config").check()  # the loop's
            self.manager.wait_for(WATCHDOG="1")
        daemon.stop()

    def test_loop_that_hangs_starves_it_though_the_engine_goes_on(self):
        daemon = self.start(packs=[small_pack()], watchdog_s=3)
        with Client(daemon.socket) as client:
            row = [0.5] * client.info().dim
            self.manager.wait_for(WATCHDOG="1")
            with StoppedThread(daemon.pid):
                self.manager.drop()
                client.ask(row)  # the engine's
                self.assertTrue(self.manager.quiet("WATCHDOG", 4))
                client.ask(row)
            self.manager.wait_for(WATCHDOG="1")
        daemon.stop()

    def test_packs_that_take_long_to_load_or_swap_starve_nothing(self):
        pack = copy_pack(small_pack(), "slow.lens")
        daemon = self.start("--packs-directories", pack.parent, script="slot_write * slow:5000\n", watchdog_s=3)
        for command in (["load", pack], ["swap", pack, "--name", "slow"]):
            job = subprocess.Popen([BUILD / "lensctl", "--socket", daemon.socket, *command], env=clean_env(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.manager.wait(lambda message: "opening slow" in message.get("STATUS", ""))
            fed = 0
            while job.poll() is None:
                message = self.manager.next(0.2)
                fed += message is not None and "WATCHDOG" in message
            self.assertEqual(job.returncode, 0, command)
            self.assertGreaterEqual(fed, 2, command)
        daemon.stop()


class SocketOfTheManager(unittest.TestCase):
    def listen(self, kind):
        listener = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(listener.close)
        listener.bind(str(temp_dir() / "activated.sock"))
        listener.listen()
        return listener

    def start(self, *listeners):
        """lensd with these sockets handed over as descriptors 3 and on."""
        script = ("import os, sys\n"
                  "fds = [os.dup(int(fd)) for fd in sys.argv[2].split(',')]\n"
                  "for i, fd in enumerate(fds): os.dup2(fd, 100 + i)\n"
                  "for i in range(len(fds)): os.dup2(100 + i, 3 + i)\n"
                  "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))\n"
                  "os.execv(sys.argv[1], [sys.argv[1]])\n")
        numbers = [listener.fileno() for listener in listeners]
        return subprocess.Popen([sys.executable, "-c", script, str(BUILD / "lensd"), ",".join(map(str, numbers))],
                                env=clean_env(LENSD_HTTP_LISTEN="off"), stderr=subprocess.PIPE, text=True,
                                pass_fds=numbers)

    def test_socket_handed_over_is_served_and_left(self):
        listener = self.listen(socket.SOCK_SEQPACKET)
        process = self.start(listener)
        try:
            eventually(lambda: lensctl("status", socket=listener.getsockname()).code == 0, timeout=60)
        finally:
            process.send_signal(signal.SIGTERM)
            log = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 0, log)
        self.assertTrue(pathlib.Path(listener.getsockname()).exists())

    def test_other_sockets_are_refused_with_what_was_expected(self):
        for listeners in ([self.listen(socket.SOCK_STREAM)],
                          [self.listen(socket.SOCK_SEQPACKET), self.listen(socket.SOCK_SEQPACKET)]):
            process = self.start(*listeners)
            log = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 1)
            self.assertIn("ListenSequentialPacket=", log)


if __name__ == "__main__":
    unittest.main()
