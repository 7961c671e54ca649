"""A booted container of this machine's own system, for tests of the service as a service manager runs it.

    with Container() as box:
        box.run("systemctl", "is-active", "lensd").check()

systemd-nspawn over an overlay of / that forgets everything (container.sh). Where that can't be, Unavailable says why.
"""
import atexit
import os
import pathlib
import shutil
import signal
import subprocess
import time

from tests.e2e.harness import Result, clean_env, temp_dir

SCRIPT = pathlib.Path(__file__).with_name("container.sh")
BOOT_S = 120
CGROUPS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")


class Unavailable(Exception):
    """This machine can't run a container; the text says why."""


def check_available():
    if os.geteuid() != 0:
        raise Unavailable("a container needs root")
    for program in ("systemd-nspawn", "unshare", "nsenter", "setpriv"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} isn't installed")
    if not any(os.path.exists(f"{place}/cgroup.procs") for place in CGROUPS):
        raise Unavailable("no control groups are mounted at /sys/fs/cgroup")
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable("a container needs to mount, which is refused here: " + done.stderr.strip())


def child_of(pid):
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return None
    return int(children[0]) if children else None


class Container:
    """`bind` is a folder of the host that can be read at the same path."""

    def __init__(self, bind):
        check_available()
        self.name = f"lensd-test-{os.getpid()}"
        self.leader = None
        self.work = temp_dir()
        self.console = self.work.parent / f"{self.work.name}.console"
        atexit.register(self.stop)
        with open(self.console, "wb") as console:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "-m",
                 str(SCRIPT), self.name, str(self.work), f"--bind-ro={bind}"],
                env=clean_env(), stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
        try:
            self.wait_booted()
        except Unavailable:
            self.stop()
            raise

    def wait_booted(self):
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            self.leader = child_of(self.process.pid)
            if self.leader and self.run("systemctl", "is-active", "lensd-test.target").code == 0:
                return
            time.sleep(0.1)
        raise Unavailable("the container didn't boot; its last words: " +
                          " ".join(self.console.read_text(errors="replace").split())[-400:])

    def run(self, *command, timeout=120, stdin=None):
        """A command in the container, as root; a Result whatever its exit code."""
        inside = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w",
                  "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
                  *map(str, command)]
        done = subprocess.run(inside, stdin=subprocess.DEVNULL if stdin is None else None, input=stdin, text=True,
                              errors="replace", capture_output=True, timeout=timeout)
        return Result(command, done.returncode, done.stdout, done.stderr)

    def shell(self, text, **more):
        return self.run("sh", "-c", text, **more)

    def write(self, path, text):
        self.run("mkdir", "-p", str(pathlib.PurePath(path).parent)).check()
        self.run("tee", path, stdin=text).check()

    def added(self):
        """Names on its root file system that the host's doesn't have."""
        upper = pathlib.Path(f"/proc/{self.process.pid}/root{self.work}/upper")
        names = ["/" + str(path.relative_to(upper)) for path in upper.rglob("*") if not is_whiteout(path)]
        return [name for name in names if not os.path.lexists(name)]

    def stop(self):
        """Everything in it ends with its first process; its file system was in memory."""
        if self.process is not None and self.process.poll() is None:
            if self.leader is not None:
                self.signal_leader()
            self.process.kill()
        if self.process is not None:
            self.process.wait()
        self.process = None
        self.console.unlink(missing_ok=True)
        for place in CGROUPS:
            self.remove_group(pathlib.Path(place) / self.name)

    def signal_leader(self):
        try:
            os.kill(self.leader, signal.SIGKILL)
            self.process.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass

    @staticmethod
    def remove_group(group):
        deadline = time.monotonic() + 10
        while group.exists():
            for folder in sorted(group.rglob("*"), reverse=True):
                if folder.is_dir():
                    remove_folder(folder)
            if remove_folder(group) or time.monotonic() > deadline:
                return
            time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stop()


def is_whiteout(path):
    """How an overlay marks what was removed."""
    return path.is_char_device() and os.stat(path).st_rdev == 0


def remove_folder(folder):
    try:
        folder.rmdir()
        return True
    except OSError:
        return False
