"""What end-to-end tests share: a daemon to talk to, lensctl, packs made of the fixtures. Standard library only.

    from tests.e2e.harness import Daemon, lensctl, small_pack, temp_dir

    with Daemon(packs=[small_pack()]) as daemon:
        status = daemon.lensctl("status").json()

The programs are those of $LENSD_BUILD (build/ when unset). Leaving the `with` block stops the daemon with SIGTERM and
fails the test unless it exits 0 without a sanitizer report. Tests run from the top of the tree as
`python3 -m unittest tests/e2e/test_x.py`.
"""
import atexit
import functools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("LENSD_BUILD", ROOT / "build")).resolve()
FIXTURES = ROOT / "tests" / "fixtures"
SANITIZED = "asan" in BUILD.name or "tsan" in BUILD.name
READY_S = 60
STOP_S = 60
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:",
           "ThreadSanitizer: data race")


def clean_env(**changes):
    """The environment without anything that would configure lensd from outside, plus `changes`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("LENSD_") and k != "JOURNAL_STREAM"}
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "STATE_DIRECTORY"):
        env.pop(name, None)
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", f"halt_on_error=1:exitcode=99:suppressions={ROOT}/tests/tsan.supp")
    env.update({k: str(v) for k, v in changes.items()})
    return env


def temp_dir():
    """A fresh directory with a short path (sockets live in it), removed when the tests end."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="lensd-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


class Result:
    """A finished command: code, stdout, stderr."""

    def __init__(self, command, code, stdout, stderr):
        self.command, self.code, self.stdout, self.stderr = command, code, stdout, stderr

    def json(self):
        """stdout as one JSON document."""
        return json.loads(self.stdout)

    def json_lines(self):
        """stdout as one JSON document a line."""
        return [json.loads(line) for line in self.stdout.splitlines() if line.strip()]

    def check(self):
        """Itself when the exit code is 0, else an AssertionError with all that was said."""
        if self.code != 0:
            raise AssertionError(f"{self}\n{self.stdout}{self.stderr}")
        return self

    def __repr__(self):
        return f"{' '.join(map(str, self.command))}: exit {self.code}"


def run(command, env=None, timeout=120, stdin=None):
    command = [str(c) for c in command]
    done = subprocess.run(command, env=env if env is not None else clean_env(), timeout=timeout, text=True,
                          errors="replace", input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for report in REPORTS:
        if report in done.stderr:
            raise AssertionError(f"{command}: sanitizer report\n{done.stderr}")
    return Result(command, done.returncode, done.stdout, done.stderr)


def lensctl(*args, socket=None, env=None, timeout=120):
    """Runs lensctl with --socket (when given) and `args`; returns a Result whatever the exit code."""
    where = ["--socket", socket] if socket is not None else []
    return run([BUILD / "lensctl", *where, *args], env=env, timeout=timeout)


def lensd(*args, env=None, timeout=60):
    """Runs lensd to its end: for --version, --check-config and refusals at start."""
    return run([BUILD / "lensd", *args], env=env, timeout=timeout)


@functools.lru_cache(maxsize=None)
def import_pack(directory, dtype="f32"):
    """Path of the pack imported from a HatCat directory with lensctl; made once per test process."""
    directory = pathlib.Path(directory)
    out = temp_dir() / f"{directory.name}-{dtype}.safetensors"
    lensctl("pack", "import", "hatcat", directory, "-o", out, "--dtype", dtype).check()
    return out


def small_pack(dtype="f32"):
    """The small fixture with real hierarchy, calibration and expected answers."""
    return import_pack(FIXTURES / "hatcat-small", dtype)


def copy_pack(path, name=None):
    """A private copy that a test may damage."""
    path = pathlib.Path(path)
    copy = temp_dir() / (name or path.name)
    shutil.copyfile(path, copy)
    return copy


class Daemon:
    """A running lensd. `args` are further flags; `env` changes to the environment; `socket_path` where it listens.
    `http`: where it serves metrics (off: tests run side by side, and none may want the default's port), None = as the
    rest says."""

    def __init__(self, packs=(), args=(), env=None, socket_path=None, wait=True, http="off"):
        self.dir = temp_dir()
        self.socket = pathlib.Path(socket_path) if socket_path is not None else self.dir / "lensd.sock"
        flags = [flag for pack in packs for flag in ("--pack", str(pack))]
        if http is not None:
            flags += ["--http-listen", http]
        self.command = [str(BUILD / "lensd"), "--socket", str(self.socket), *flags, *map(str, args)]
        self.lines = []
        self.ready_line = None
        self._changed = threading.Condition()
        self.process = subprocess.Popen(self.command, env=clean_env(**(env or {})), stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, errors="replace")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        atexit.register(self.kill)
        if wait:
            self.wait_ready()

    def _read(self):
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                if "ready on " in line and self.ready_line is None:
                    self.ready_line = self.lines[-1]
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        """What it wrote on stderr so far."""
        return "\n".join(self.lines)

    def wait_log(self, part, timeout=READY_S):
        """Waits until a line holds `part`; returns it. AssertionError when the daemon ends or the time is over."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self.lines:
                    if part in line:
                        return line
                if not self._reader.is_alive() or time.monotonic() > deadline:
                    raise AssertionError(f"lensd never said {part!r} (exit {self.process.poll()}):\n{self.log}")
                self._changed.wait(0.05)

    def wait_ready(self):
        try:
            self.wait_log("ready on ")
        except AssertionError:
            self.kill()
            raise
        return self

    def lensctl(self, *args, **more):
        return lensctl(*args, socket=self.socket, **more)

    def connect(self, timeout=10):
        """A raw SEQPACKET connection, for tests that misbehave."""
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.connect(str(self.socket))  # blocking: a full backlog is waited for
        peer.settimeout(timeout)
        return peer

    def fd_count(self):
        """Descriptors the daemon has open now."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def alive(self):
        return self.process.poll() is None

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Stops it and checks a clean end: exit 0, no sanitizer report."""
        if self.alive():
            self.process.send_signal(number)
        return self.wait_exit()

    def wait_exit(self, code=0, timeout=STOP_S):
        try:
            found = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"lensd did not stop within {timeout} s:\n{self.log}") from None
        self._reader.join(10)
        self.check_reports()
        if found != code:
            raise AssertionError(f"lensd exited with {found}, expected {code}:\n{self.log}")
        return self

    def check_reports(self):
        for report in REPORTS:
            if report in self.log:
                raise AssertionError(f"sanitizer report:\n{self.log}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(10)
        if not self._reader.is_alive():
            self.process.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            try:
                self.stop()
            finally:
                self.kill()
        else:
            print(f"--- lensd's log\n{self.log}", file=sys.stderr)
            self.kill()


def eventually(condition, timeout=10, what="the condition"):
    """Polls until condition() is true; returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not become true within {timeout} s")
        time.sleep(0.02)
