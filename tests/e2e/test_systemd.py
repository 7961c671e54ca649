"""The Debian packages, and the service under a systemd of its own: a container is booted, the packages are installed in
it, and everything systemd/README.md promises is tried. Needs root and systemd-nspawn; skipped elsewhere, saying why."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from tests.e2e.container import Container, Unavailable
from tests.e2e.harness import BUILD, ROOT, SANITIZED, clean_env, eventually, run, small_pack, temp_dir

PACKAGES = ("lensd", "liblens0", "liblens-dev")
CONFIG = "/etc/lensd/lensd.conf"
EMULATED_CARD = BUILD / "emulated" / "lens_cuda.so"
DROP_IN = "/run/systemd/system/lensd.service.d/test.conf"
# What changes in a running system whatever is installed, and what belongs to dpkg and to the journal.
NOT_OURS = re.compile(r"/(proc|sys|dev|tmp|var/tmp|root|var/log|var/lib/dpkg|run/log|run/udev)(/|$)|"
                      r"/run/systemd/(?!system|transient)|/var/lib/systemd/(?!deb)|/var/cache/(man|ldconfig|debconf)/|"
                      r"/etc/(ld\.so\.cache|\.pwd\.lock|(passwd|group|shadow|gshadow|subuid|subgid)-)$|/\.updated$")


# Ends with an error when the socket turns anybody away while the service restarts.
CONNECTS_DURING_A_RESTART = """
import socket, subprocess
restart = subprocess.Popen(["systemctl", "restart", "lensd"])
while restart.poll() is None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect("/run/lensd/lensd.sock")
raise SystemExit(restart.returncode)
"""


# A session that is open while the package is upgraded: its argument.
SESSION_ACROSS_AN_UPGRADE = """
import subprocess, sys, time
from tests.e2e.liblens import Client
client = Client("/run/lensd/lensd.sock")
row = [0.5] * client.info().dim
client.ask(row)
subprocess.run(["dpkg", "-i", sys.argv[1]], check=True, stdout=subprocess.DEVNULL)
deadline = time.monotonic() + 60
while client.submit(row) != 0 or client.wait(1)[0] != 0:
    if time.monotonic() > deadline:
        raise SystemExit("the session didn't attach again")
"""


def build_packages():
    """`make deb`, without a CUDA backend whether there is an nvcc or not; the files by package."""
    variables = [f"BUILD={BUILD}", "CUDA="]
    for name in ("CC", "CXX"):
        if name in os.environ:
            variables.append(f"{name}={os.environ[name]}")
    run(["make", "-C", ROOT, *variables, "deb"], env=clean_env(), timeout=900).check()
    found = {path.name.split("_")[0]: path for path in (BUILD / "deb").glob("*.deb")}
    return {name: found[name] for name in PACKAGES}


def setUpModule():
    global box, packages, share
    if SANITIZED:
        raise unittest.SkipTest("packages are made of a plain build")
    if shutil.which("dh") is None:
        raise unittest.SkipTest("packages need debhelper: make check-deps")
    packages = build_packages()
    share = temp_dir()
    for path in packages.values():
        shutil.copy(path, share)
    shutil.copy(small_pack(), share / "model.lens")
    if EMULATED_CARD.exists():
        shutil.copy(EMULATED_CARD, share / "card.so")
    # What a client in the container is made of.
    (share / "tests" / "e2e").mkdir(parents=True)
    for name in ("__init__.py", "e2e/__init__.py", "e2e/harness.py", "e2e/liblens.py"):
        shutil.copy(ROOT / "tests" / name, share / "tests" / name)
    (share / "build").mkdir()
    shutil.copy(BUILD / "liblens.so", share / "build")
    box = None


def boot():
    """The container, booted when the first test wants it."""
    global box
    if box is None:
        if subprocess.run(["dpkg-query", "-W", "lensd"], capture_output=True).returncode == 0:
            raise unittest.SkipTest("lensd is installed on this machine, and so in its container")
        try:
            box = Container(bind=share)
        except Unavailable as why:
            raise unittest.SkipTest(str(why)) from None
        box.run("mkdir", "-p", "/run/systemd/system").check()
    return box


def tearDownModule():
    if box is not None:
        box.stop()


def install():
    return box.run("dpkg", "-i", *(share / path.name for path in packages.values())).check()


def purge():
    return box.run("dpkg", "--purge", *reversed(PACKAGES)).check()


def tree():
    """Every name that is in the container, not on the host, and that an installation could have made."""
    names = box.added() + box.run("find", "/run").check().stdout.splitlines()
    return {name for name in names if not NOT_OURS.match(name)}


class Packages(unittest.TestCase):
    def test_lintian_finds_nothing(self):
        if shutil.which("lintian") is None:
            self.skipTest("lintian isn't installed")
        found = run(["lintian", "--allow-root", "--fail-on", "error,warning", *(BUILD / "deb").glob("*.changes")])
        self.assertEqual(found.code, 0, found.stdout + found.stderr)

    def test_libraries_are_dependencies_and_versions_agree(self):
        version = run([BUILD / "lensd", "--version"]).check().stdout.split()[1]
        for name, path in packages.items():
            self.assertEqual(self.field(path, "Version"), version, name)
        depends = self.field(packages["lensd"], "Depends")
        for library in ("libuv1", "libsystemd0", "libzip", "libjansson4", "libinih1", "libmicrohttpd", "libjemalloc2"):
            self.assertIn(library, depends)
        self.assertEqual(re.sub(r" \(.*?\)", "", self.field(packages["liblens0"], "Depends")), "libc6")

    def test_they_are_built_in_a_tree_of_their_own(self):
        built = list((BUILD / "deb").glob("lensd-*/build/lensd"))
        self.assertTrue(built, "the package's build went elsewhere: into the one that is tested?")

    def test_what_it_is_built_with_is_said_twice_alike(self):
        question = "include Makefile\nwanted:\n\t@echo $(PACKAGES)\n"
        wanted = run(["make", "-C", ROOT, "-s", "-f", "-", "wanted"], stdin=question).check().stdout.split()
        control = (ROOT / "systemd" / "debian" / "control").read_text()
        for package in set(wanted) - {"gcc", "g++", "libc6-dev", "libcmocka-dev", "python3"}:
            self.assertRegex(control, rf"(?m)^\s+{re.escape(package)},?$")

    @staticmethod
    def field(path, name):
        return run(["dpkg-deb", "-f", path, name]).check().stdout.strip()

    def test_purge_leaves_nothing_but_what_people_put_there(self):
        boot()
        before = tree()
        users = box.run("getent", "passwd").stdout
        install()
        self.addCleanup(purge)
        box.run("systemctl", "start", "lensd@0.socket", "lensd.socket")
        box.run("systemctl", "enable", "lensd@0.service", "lensd@1.socket", "lensd.socket").check()
        purge()
        self.assertEqual(tree() - before, set())
        self.assertEqual(box.run("getent", "passwd").stdout, users)
        self.assertEqual(box.shell("pidof lensd").stdout, "")
        install()
        box.write("/var/lib/lensd/mine.lens", "weights")
        box.write("/etc/lensd/gpu0.env", "LENSD_POOL_SLOTS=9\n")
        purge()
        self.assertEqual(tree() - before, {"/var/lib/lensd", "/var/lib/lensd/mine.lens", "/etc/lensd",
                                           "/etc/lensd/gpu0.env"})
        box.run("rm", "-r", "/var/lib/lensd", "/etc/lensd").check()

    def test_changed_configuration_is_kept_by_an_upgrade(self):
        boot()
        install()
        self.addCleanup(purge)
        box.write(CONFIG, "[pool]\nslots = 7\n")
        before = box.shell("systemctl show -P MainPID lensd").stdout
        install()
        self.assertEqual(box.run("cat", CONFIG).stdout, "[pool]\nslots = 7\n")
        self.assertNotEqual(box.shell("systemctl show -P MainPID lensd").stdout, before)
        self.assertRegex(box.run("lensctl", "config").check().stdout, r"pool\.slots\s+7\s+file")


class Service(unittest.TestCase):
    """Each test finds lensd running with the configuration of the package and one pack."""

    @classmethod
    def setUpClass(cls):
        boot()
        install()
        box.run("cp", CONFIG, "/tmp/lensd.conf").check()
        box.run("cp", share / "model.lens", "/var/lib/lensd/").check()
        for user in ("alice", "bob"):
            box.run("useradd", "--no-create-home", user).check()
        # Neither systemd's limit of starts nor a slow machine shall decide about tests.
        box.write("/run/systemd/system/lensd.service.d/limit.conf", "[Unit]\nStartLimitIntervalSec=0\n")

    @classmethod
    def tearDownClass(cls):
        box.run("rm", "-rf", "/run/systemd/system/lensd.service.d")
        purge()

    def setUp(self):
        self.configure("")
        box.run("rm", "-f", DROP_IN)
        self.restart()

    def tearDown(self):
        if any(failed for _, failed in getattr(self._outcome, "errors", [])):
            print(box.run("journalctl", "--no-pager", "-n", "40").stdout)

    def configure(self, text):
        """The package's configuration, what it serves, and `text`."""
        box.write(CONFIG, box.run("cat", "/tmp/lensd.conf").stdout + "\n[packs]\nserve = model.lens\n" + text)

    def restart(self):
        box.run("systemctl", "daemon-reload").check()
        box.run("systemctl", "reset-failed", "lensd.service", "lensd.socket")
        box.run("systemctl", "restart", "lensd").check()

    def show(self, name, unit="lensd"):
        return box.run("systemctl", "show", "-P", name, unit).check().stdout.strip()

    def lensctl(self, *args, user=None, socket=None):
        where = ["--socket", socket] if socket else []
        who = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
        return box.run(*who, "lensctl", *where, *args)

    def served(self, socket=None):
        """The daemon answers, whoever started it. A client waits a second for that, and asks again."""
        eventually(lambda: self.lensctl("status", socket=socket).code == 0, timeout=60, what="an answer")

    def journal(self, *more, unit="lensd"):
        text = box.run("journalctl", "-u", unit, "-o", "json", "--no-pager", *more).check().stdout
        return [json.loads(line) for line in text.splitlines()]

    # ---- start, reload, stop ---------------------------------------------------------------------------------------

    def test_start_is_over_when_the_packs_are_served(self):
        self.assertEqual(self.show("ActiveState"), "active")
        self.assertEqual(self.show("StatusText"), "Serving 1 pack to 0 sessions")
        self.assertEqual(self.lensctl("--json", "packs").check().json()["packs"][0]["name"], "model")
        self.assertEqual(box.run("systemctl", "is-enabled", "lensd").stdout.strip(), "enabled")
        self.assertNotEqual(box.run("systemctl", "is-enabled", "lensd.socket").stdout.strip(), "enabled")

    def test_pack_that_is_missing_fails_the_start_and_says_which(self):
        box.write(CONFIG, "[packs]\nserve = nothing.lens\n")
        self.assertNotEqual(box.run("systemctl", "restart", "lensd").code, 0)
        box.run("systemctl", "stop", "lensd")
        self.assertTrue(any("nothing.lens" in entry["MESSAGE"] for entry in self.journal("-n", "30")))

    def test_packs_in_its_own_folder_are_loaded_and_swapped(self):
        self.lensctl("load", "/var/lib/lensd/model.lens", "--name", "other").check()
        self.lensctl("swap", "/var/lib/lensd/model.lens", "--name", "other").check()
        self.assertEqual(len(self.lensctl("--json", "packs").check().json()["packs"]), 2)

    def test_reload_changes_what_it_can_and_a_bad_one_fails_and_changes_nothing(self):
        pid = self.show("MainPID")
        self.configure("[cascade]\ntop_k = 14\n")
        box.run("systemctl", "reload", "lensd").check()
        eventually(lambda: re.search(r"cascade\.top_k\s+14\s+file", self.lensctl("config").stdout))
        self.configure("[cascade]\ntop_k = zero\n")
        self.assertNotEqual(box.run("systemctl", "reload", "lensd").code, 0)
        self.assertTrue(any("cascade.top_k" in entry["MESSAGE"] for entry in self.journal("-n", "20")))
        self.assertRegex(self.lensctl("config").stdout, r"cascade\.top_k\s+14\s+file")
        self.assertEqual((self.show("ActiveState"), self.show("MainPID")), ("active", pid))

    def test_stop_drains_and_ends_clean(self):
        box.run("systemctl", "stop", "lensd").check()
        self.assertEqual(self.show("Result"), "success")
        self.assertEqual((self.show("ExecMainCode"), self.show("ExecMainStatus")), ("1", "0"))  # exited, 0
        self.assertTrue(any(entry["MESSAGE"] == "stopping: SIGTERM" for entry in self.journal("-n", "10")))
        self.assertEqual(self.lensctl("status").code, 3)

    def test_shutdown_by_an_operator_is_no_failure(self):
        self.lensctl("shutdown").check()
        eventually(lambda: self.show("ActiveState") == "inactive", timeout=30)
        self.assertEqual(self.show("Result"), "success")

    def test_one_that_dies_is_started_again(self):
        pid = self.show("MainPID")
        box.run("kill", "-KILL", pid).check()
        eventually(lambda: self.show("MainPID") not in (pid, "0") and self.lensctl("status").code == 0, timeout=60)

    def test_open_session_goes_on_after_an_upgrade(self):
        pid = self.show("MainPID")
        box.run("env", f"PYTHONPATH={share}", "PYTHONDONTWRITEBYTECODE=1", "python3", "-c", SESSION_ACROSS_AN_UPGRADE,
                share / packages["lensd"].name).check()
        self.assertNotIn(self.show("MainPID"), (pid, "0"))

    def test_one_that_hangs_is_started_again_by_the_watchdog(self):
        box.write(DROP_IN, "[Service]\nWatchdogSec=3\n")
        self.restart()
        pid = self.show("MainPID")
        box.run("kill", "-STOP", pid).check()
        eventually(lambda: self.show("MainPID") not in (pid, "0") and self.lensctl("status").code == 0, timeout=60)
        self.assertTrue(any("Watchdog timeout" in entry["MESSAGE"] for entry in self.journal("-n", "30")))

    def test_idle_one_keeps_its_watchdog_fed(self):
        box.write(DROP_IN, "[Service]\nWatchdogSec=3\n")
        self.restart()
        pid, fed = self.show("MainPID"), self.show("WatchdogTimestampMonotonic")
        for _ in range(5):  # one after the other, 5 s or more: longer than the watchdog waits
            eventually(lambda: self.show("WatchdogTimestampMonotonic") != fed, timeout=30)
            fed = self.show("WatchdogTimestampMonotonic")
        self.assertEqual(self.show("MainPID"), pid)

    # ---- who may, and what it may not ------------------------------------------------------------------------------

    def test_group_of_the_service_may_ask_when_it_is_let_in_but_not_command(self):
        self.assertNotEqual(self.lensctl("status", user="alice").code, 0)
        self.configure("[ipc]\nallow_gids = self\n")
        box.run("systemctl", "reload", "lensd").check()
        box.run("usermod", "--append", "--groups", "lensd", "alice").check()
        eventually(lambda: self.lensctl("status", user="alice").code == 0)
        self.assertNotEqual(self.lensctl("status", user="bob").code, 0)
        self.assertNotEqual(self.lensctl("unload", "model", user="alice").code, 0)
        box.run("gpasswd", "--delete", "alice", "lensd").check()

    def test_it_runs_as_its_own_user_without_privileges(self):
        status = box.run("cat", f"/proc/{self.show('MainPID')}/status").check().stdout
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        uid = box.run("id", "-u", "lensd").stdout.strip()
        self.assertEqual(fields["Uid"].split(), [uid] * 4)
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(fields[name], 16), 0, name)
        self.assertEqual((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"))

    def test_sandbox_is_in_force(self):
        # A shell in lensd's place tries what lensd must be able to do, and what it has no business to do.
        box.shell("mkdir -p /home/alice && echo secret > /home/alice/secret && chmod -R a+rX /home").check()
        attempts = {
            "home": "cat /home/alice/secret",
            "etc": "touch /etc/lensd/mine",
            "usr": "touch /usr/mine",
            "sysctl": "echo 1 > /proc/sys/kernel/domainname",
            "others": "test -e /proc/1/cmdline",
            "namespace": "unshare --user true",
            "chown": "chown lensd /var/lib/lensd/probe",
            "clock": "date -s '2001-01-01'",
            "device": "mknod /var/lib/lensd/node c 1 3",
            "setuid": "chmod u+s /var/lib/lensd/probe",
            "memory": "python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'",
            "packets": "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
        }
        allowed = {
            "state": "touch /var/lib/lensd/probe",
            "run": "touch /run/lensd/probe && rm /run/lensd/probe",
            "cache": "touch /var/cache/lensd/probe",
            "null": "echo x > /dev/null",
            "random": "head -c1 /dev/urandom",
            "affinity": "taskset -p $$",
            "loopback": "python3 -c 'import socket; socket.create_server((\"127.0.0.1\", 0))'",
        }
        lines = ["rm -f /var/lib/lensd/probed"]
        for name, command in {**allowed, **attempts}.items():
            lines.append(f"if ( {command} ) >/dev/null 2>&1; then echo {name} >> /var/lib/lensd/probed; fi")
        box.write("/usr/local/bin/probe", "#!/bin/sh\n" + "\n".join(lines) + "\n")
        box.run("chmod", "755", "/usr/local/bin/probe").check()
        box.write(DROP_IN, "[Service]\nExecStartPre=/usr/local/bin/probe\n")
        self.restart()
        self.assertEqual(set(box.run("cat", "/var/lib/lensd/probed").stdout.split()), set(allowed))
        box.shell("rm -rf /var/lib/lensd/probe* /var/cache/lensd/probe /home/alice /usr/local/bin/probe").check()

    # ---- sockets and instances -------------------------------------------------------------------------------------

    def activate(self, unit):
        box.run("systemctl", "start", unit).check()
        self.addCleanup(box.run, "systemctl", "stop", unit, unit.replace(".socket", ".service"))

    def test_first_client_starts_it(self):
        box.run("systemctl", "stop", "lensd").check()
        self.activate("lensd.socket")
        self.assertEqual(self.show("ActiveState"), "inactive")
        self.served()
        self.assertEqual(self.show("ActiveState"), "active")
        self.assertEqual(box.run("stat", "-c", "%a", "/run/lensd/lensd.sock").stdout.strip(), "666")
        self.assertNotEqual(self.lensctl("status", user="bob").code, 0, "the socket's mode lets in nobody")

    def test_socket_outlives_a_restart_and_nobody_is_refused(self):
        box.run("systemctl", "stop", "lensd").check()
        self.activate("lensd.socket")
        box.run("systemctl", "start", "lensd").check()
        pid = self.show("MainPID")
        box.run("python3", "-c", CONNECTS_DURING_A_RESTART).check()
        self.assertNotIn(self.show("MainPID"), (pid, "0"))
        self.served()

    def test_socket_goes_with_its_unit_and_the_service_makes_its_own(self):
        box.run("systemctl", "stop", "lensd").check()
        self.activate("lensd.socket")
        box.run("systemctl", "stop", "lensd.socket").check()
        self.assertNotEqual(box.run("test", "-e", "/run/lensd/lensd.sock").code, 0)
        box.run("systemctl", "start", "lensd").check()
        self.lensctl("status").check()

    def test_instances_have_sockets_settings_and_metrics_of_their_own(self):
        for number in "01":
            box.write(f"/etc/lensd/gpu{number}.env", f"BACKEND=cpu\nLENSD_POOL_SLOTS={number}7\n")
            self.addCleanup(box.run, "rm", f"/etc/lensd/gpu{number}.env")
        self.addCleanup(box.run, "systemctl", "stop", "lensd@0", "lensd@1")
        box.run("systemctl", "start", "lensd@0", "lensd@1").check()
        for number in "01":
            config = self.lensctl("config", socket=f"/run/lensd/gpu{number}.sock").check().stdout
            self.assertRegex(config, rf"engine\.device\s+{number}\s+environment")
            self.assertRegex(config, rf"pool\.slots\s+{number}7\s+environment")
            self.assertRegex(config, rf"http\.listen\s+127\.0\.0\.1:948{number}\s")
            self.assertIn("lensd_build_info", self.metrics(f"948{number}"))
        self.assertIn("lensd_build_info", self.metrics("9477"))
        box.run("systemctl", "stop", "lensd@0").check()
        self.lensctl("status", socket="/run/lensd/gpu1.sock").check()
        self.lensctl("status").check()

    def metrics(self, port):
        script = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
        return box.run("python3", "-c", script).check().stdout

    def test_instance_insists_on_its_card(self):
        self.assertNotEqual(box.run("systemctl", "start", "lensd@7").code, 0)
        box.run("systemctl", "stop", "lensd@7")
        text = " ".join(entry["MESSAGE"] for entry in self.journal("-n", "20", unit="lensd@7"))
        self.assertIn("--backend cuda", text)

    @unittest.skipUnless(EMULATED_CARD.exists(), "no emulated card: make tests")
    def test_instance_serves_a_card_inside_the_sandbox(self):
        box.run("cp", share / "card.so", "/usr/lib/lensd-card.so").check()
        box.write("/etc/lensd/gpu0.env", "LENSD_ENGINE_CUDA_LIBRARY=/usr/lib/lensd-card.so\n")
        self.addCleanup(box.run, "rm", "/etc/lensd/gpu0.env", "/usr/lib/lensd-card.so")
        self.addCleanup(box.run, "systemctl", "stop", "lensd@0")
        box.run("systemctl", "start", "lensd@0").check()
        self.assertRegex(self.lensctl("status", socket="/run/lensd/gpu0.sock").check().stdout, r"backend\s+cuda")

    def test_first_client_starts_an_instance(self):
        box.write("/etc/lensd/gpu3.env", "BACKEND=cpu\n")
        self.addCleanup(box.run, "rm", "/etc/lensd/gpu3.env")
        self.activate("lensd@3.socket")
        self.served("/run/lensd/gpu3.sock")
        self.assertEqual(self.show("ActiveState", "lensd@3"), "active")

    # ---- journal ---------------------------------------------------------------------------------------------------

    def test_journal_has_priorities_fields_and_explanations(self):
        self.configure("[cascade]\ntop_k = 0\n")
        box.run("kill", "-HUP", self.show("MainPID")).check()
        entry = eventually(lambda: next((e for e in self.journal("-n", "10") if "not reloaded" in e["MESSAGE"]), None))
        self.assertEqual(entry["PRIORITY"], "3")
        self.assertNotIn("<3>", entry["MESSAGE"])
        ready = next(e for e in self.journal("-n", "20") if e["MESSAGE"].startswith("ready on"))
        self.assertEqual((ready["PRIORITY"], ready["_SYSTEMD_UNIT"]), ("6", "lensd.service"))
        self.assertIn("LENSD_EVENT", ready)
        explained = box.run("journalctl", "--no-pager", "-u", "lensd", "-x", "-n", "20").check().stdout
        self.assertIn("The daemon serves: packs are loaded", explained, "from the message catalog")
        self.assertEqual(eventually(lambda: "the last reload failed" in self.show("StatusText")), True)


if __name__ == "__main__":
    unittest.main()
