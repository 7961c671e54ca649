"""The configuration from outside: checked, reloaded while rows go on, refused whole when it has an error, and shown."""
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import unittest

from tests.e2e.harness import (BUILD, FIXTURES, ROOT, Daemon, clean_env, copy_pack, eventually, lensd, small_pack,
                               temp_dir)
from tests.e2e.liblens import Client, LensError
from tests.e2e.test_preload import read_all

STATES = FIXTURES / "hatcat-small" / "tokens.npy"


def config_file(text=""):
    path = temp_dir() / "lensd.conf"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def settings(daemon, *glob):
    rows = daemon.lensctl("--json", "config", *glob).check().json()["settings"]
    return {row["name"]: row for row in rows}


def status(daemon):
    return daemon.lensctl("--json", "status").check().json()


class Reloading:
    """A daemon with a configuration file that is rewritten and reloaded."""

    def __init__(self, text="", **more):
        self.config = config_file(text)
        args = ["--config", self.config, *more.pop("args", [])]
        self.daemon = Daemon(args=args, **more)
        self.seen = 0

    def __enter__(self):
        self.daemon.__enter__()
        return self

    def __exit__(self, *what):
        self.daemon.__exit__(*what)

    def reload(self, text=None):
        """Reloads and returns the line the daemon logs of it."""
        if text is not None:
            self.config.write_bytes(text.encode() if isinstance(text, str) else text)
        self.daemon.send_signal(signal.SIGHUP)

        def told():
            return [line for line in self.daemon.lines
                    if "configuration reloaded" in line or "configuration not reloaded" in line][self.seen:]
        line = eventually(told, timeout=60, what="the reload's line")[0]
        self.seen += 1
        return line


class CheckConfig(unittest.TestCase):
    def test_what_is_odd_is_told_and_is_no_error(self):
        config = config_file("[packs]\ndirectories = /nowhere:/etc/passwd\nserve = /nowhere/x.lens\n"
                             "[ipc]\nsocket = /nowhere/lensd.sock\n[engine]\nthreads = 256\n"
                             "cuda_library = /nowhere/lens_cuda.so\n[cascade]\nbase_layers =\n[cache]\n"
                             "host_memory = 1024G\n")
        config.chmod(0o666)
        result = lensd("--check-config", "--config", config).check()
        self.assertIn("is fine", result.stdout)
        for part in ("may be written by everyone", "packs.directories: /nowhere: No such file", "isn't a directory",
                     "pack /nowhere/x.lens", "ipc.socket: /nowhere", "engine.threads", "engine.cuda_library",
                     "cascade.base_layers and cascade.pin are empty", "cache.host_memory"):
            self.assertIn(part, result.stderr)
        self.assertEqual({line.split(": ")[1] for line in result.stderr.splitlines()}, {"warning"})

    def test_a_path_of_a_warning_is_shown_as_text(self):
        result = lensd("--check-config", "--config", config_file("[packs]\nserve = a\x1b[31mb\n")).check()
        self.assertIn("pack a?[31mb", result.stderr)
        self.assertNotIn("\x1b", result.stderr)

    def test_a_plain_configuration_has_no_warnings(self):
        for path in sorted((ROOT / "config").glob("*.conf")):
            with self.subTest(path=path.name):
                copy = config_file(path.read_bytes())
                copy.chmod(0o644)
                self.assertEqual(lensd("--check-config", "--config", copy).check().stderr, "")
        self.assertEqual(lensd("--check-config", "--pack", small_pack()).check().stderr, "")

    def test_a_pack_that_is_none_is_told(self):
        fifo = temp_dir() / "fifo"
        os.mkfifo(fifo)
        for pack, part in ((fifo, "isn't a file"), (STATES, "no safetensors file"), (ROOT, "isn't a file")):
            self.assertIn(part, lensd("--check-config", "--pack", pack).check().stderr)

    def test_a_wrong_command_line_is_2_and_a_wrong_setting_elsewhere_is_1(self):
        self.assertEqual(lensd("--check-config", "--pool-slots", "x").code, 2)
        self.assertEqual(lensd("--check-config", env={**os.environ, "LENSD_POOL_SLOTS": "x"}).code, 1)
        self.assertEqual(lensd("--check-config", "--config", config_file("[pool]\nslots = x\n")).code, 1)
        self.assertEqual(lensd("--check-config", "--config", "/nowhere/lensd.conf").code, 1)
        self.assertEqual(lensd("--check-config", "--config", "/").code, 1)
        self.assertEqual(lensd("--check-config", "--config", "/dev/zero").code, 1)

    def test_settings_that_no_backend_computes_are_told_before_a_start(self):
        result = lensd("--check-config", "--pool-dtype", "f32", "--pool-compute", "int8")
        self.assertEqual(result.code, 1)
        self.assertIn("pool.compute = int8 works on slots of pool.dtype = int8", result.stderr)

    def test_hostile_files_are_refused_with_a_line(self):
        cases = [b"\xff\xfe[\0p\0o\0o\0l\0]\0", b"[pool]\nslots = 1\0\n", b"[packs]\ndirectories = " + b"a" * 5000,
                 b"slots = 1\n", b"[pool", b"[pool]\nslots 5\n", b"[pool]\n" + b"=\n" * 10, b"[pool]\nslots = \xff\n",
                 b"[\x1b[31mpool]\nslots = 1\n", b"[pool]\nslots = 0x10\n", b"[pool]\nslots = 1 2\n"]
        for text in cases:
            with self.subTest(text=text[:40]):
                result = lensd("--check-config", "--config", config_file(text))
                self.assertEqual(result.code, 1)
                self.assertRegex(result.stderr, r"^lensd: \S+ line \d+: ")
                self.assertEqual(result.stderr.count("\n"), 1)
                self.assertNotIn("\x1b", result.stderr)


class Sample(unittest.TestCase):
    def test_it_names_every_setting_with_its_default(self):
        with Daemon(args=["--config", ROOT / "config" / "lensd.conf"]) as daemon:
            rows = settings(daemon)
        sample, section = {}, None
        for line in (ROOT / "config" / "lensd.conf").read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            match = re.match(r"#([a-z_]+) =(.*)$", line)
            if match:
                sample[f"{section}.{match[1]}"] = match[2].strip()
        self.assertEqual(set(sample), set(rows))
        for name, value in sample.items():
            if name != "ipc.socket":  # shows where it would be
                self.assertEqual(value, rows[name]["default"], name)


class Shown(unittest.TestCase):
    def test_each_value_says_where_it_came_from(self):
        config = config_file("[pool]\n\nslots = 11\n[cascade]\npin = A:1\n  B:2\n")
        with Daemon(args=["--config", config, "--engine-spin-us", "31"], env={"LENSD_CASCADE_TOP_K": 22}) as daemon:
            rows = settings(daemon)
            text = daemon.lensctl("config").check().stdout
        self.assertEqual(rows["pool.slots"]["place"], f"{config}:3")
        self.assertEqual(rows["cascade.pin"]["place"], f"{config}:5")
        self.assertEqual(rows["cascade.top_k"]["place"], "LENSD_CASCADE_TOP_K")
        self.assertEqual(rows["engine.spin_us"]["place"], "--engine-spin-us")
        self.assertEqual((rows["cascade.max_depth"]["place"], rows["cascade.max_depth"]["origin"]), ("", "default"))
        self.assertEqual(rows["pool.slots"]["default"], "0")
        self.assertIn(f"pool.slots\t11\tfile {config}:3\t0\tnew packs\t-\t", text)

    def test_a_pattern_chooses(self):
        with Daemon() as daemon:
            self.assertEqual({name.split(".")[0] for name in settings(daemon, "cache.*")}, {"cache"})
            self.assertEqual(set(settings(daemon, "pool.slots")), {"pool.slots"})
            result = daemon.lensctl("config", "slots")
            self.assertEqual(result.code, 1)
            self.assertIn("'cache.*'", result.stderr)

    def on_a_terminal(self, daemon, *args):
        leader, follower = pty.openpty()
        done = subprocess.run([BUILD / "lensctl", "--socket", daemon.socket, "config", *args], stdout=follower,
                              env=clean_env(TERM="xterm", NO_COLOR="1"), check=True)
        os.close(follower)
        text = read_all(leader)
        self.assertEqual(done.returncode, 0)
        return text.replace("\r\n", "\n")

    def test_a_terminal_shows_what_fits_and_what_was_asked_for_whole(self):
        names = ",".join(f"Concept{i}:1" for i in range(200))  # longer than any word
        with Daemon(args=["--cascade-exclude", names]) as daemon:
            everything = self.on_a_terminal(daemon)
            one = self.on_a_terminal(daemon, "cascade.exclude")
            piped = daemon.lensctl("config", "cascade.exclude").check().stdout
        self.assertLess(max(map(len, everything.splitlines())), 120)
        self.assertNotIn("never reported", everything)
        self.assertIn("Concept0:1,Concept1:1,Concept2..", everything)
        self.assertIn(f"\ncascade.exclude\n  {names}\n  Concepts never scored", one)
        self.assertIn(names, piped)

    def test_the_longest_values_there_may_be_are_shown_whole(self):
        lists = {name: ",".join(f"{'N' * 22}{i:05}:1" for i in range(256))
                 for name in ("pin", "include", "exclude", "filter")}
        directories = ":".join("/" + "d" * 100 for _ in range(150))
        lines = ["[cascade]"]
        for name, text in lists.items():
            items = text.split(",")
            lines += [f"{name} = {','.join(items[at:at + 6])}" for at in range(0, 256, 6)]
        with Daemon(args=["--config", config_file("\n".join(lines)), "--packs-directories", directories]) as daemon:
            rows = settings(daemon)
        for name, text in lists.items():
            self.assertEqual(rows[f"cascade.{name}"]["value"], text)
        self.assertEqual(rows["packs.directories"]["value"], directories)


def bad_configurations():
    """What, and how the file at a path comes to be so."""
    def text(content):
        return lambda path: path.write_bytes(content)

    def fifo(path):
        path.unlink()
        os.mkfifo(path)

    def directory(path):
        path.unlink()
        path.mkdir()

    def link_to_itself(path):
        path.unlink()
        path.symlink_to(path)
    yield "an unknown setting", text(b"[pool]\nslot = 1\n")
    yield "an unknown section", text(b"[pol]\n")
    yield "a value out of bounds", text(b"[cascade]\ntop_k = 0\n")
    yield "a setting given twice", text(b"[cascade]\ntop_k = 5\ntop_k = 6\n")
    yield "a contradiction", text(b"[cascade]\nload_threshold = 0.1\nunload_threshold = 0.2\n")
    yield "a line that is none", text(b"[cascade]\ntop_k = 5\nand so on\n")
    yield "a NUL", text(b"[cascade]\ntop_k = 5\n\0")
    yield "a file without end", text(b"#" * (2 << 20))
    yield "an address that is not this machine's", text(b"[http]\nlisten = 192.0.2.1:1\n[cascade]\ntop_k = 5\n")
    yield "more packs than can be served", text(b"[packs]\nserve = " + b",".join(b"%d" % i for i in range(17)))
    yield "no file", lambda path: path.unlink()
    yield "a pipe", fifo
    yield "a directory", directory
    yield "a link to itself", link_to_itself


class BadReloads(unittest.TestCase):
    def test_each_keeps_everything_and_is_seen_until_a_good_one(self):
        good = "[cascade]\ntop_k = 12\nkeep_top_k = 7\n[engine]\nspin_us = 3\n"
        with Reloading(good) as r:
            before = settings(r.daemon)
            for what, spoil in bad_configurations():
                with self.subTest(what=what):
                    spoil(r.config)
                    self.assertIn("not reloaded, the old one stays", r.reload())
                    self.assertEqual(settings(r.daemon), before)
                    seen = status(r.daemon)["config"]
                    self.assertIn("failed, the configuration before it is in force", seen)
                    self.assertIn("config", r.daemon.lensctl("status").check().stdout)
                    if r.config.is_dir() and not r.config.is_symlink():
                        shutil.rmtree(r.config)
                    else:
                        r.config.unlink(missing_ok=True)
                    self.assertIn("nothing changed", r.reload(good))
                    self.assertEqual(status(r.daemon)["config"], "")
                    self.assertEqual(settings(r.daemon), before)

    @unittest.skipIf(os.geteuid() == 0, "root reads everything")
    def test_a_file_that_may_not_be_read_keeps_everything(self):
        with Reloading("[cascade]\ntop_k = 12\n") as r:
            r.config.chmod(0)
            self.assertIn("Permission denied", r.reload())
            self.assertEqual(settings(r.daemon)["cascade.top_k"]["value"], "12")

    def test_hundreds_of_reloads_of_a_file_that_changes_all_the_time_leave_one_of_its_states(self):
        with Reloading("[cascade]\ntop_k = 1\n") as r:
            for i in range(300):
                r.config.write_text(f"[cascade]\ntop_k = {i % 5 + 1}\nkeep_top_k = {i % 5 + 1}\n" + "# x\n" * 500)
                if i % 3 == 0:
                    r.daemon.send_signal(signal.SIGHUP)
            r.reload()
            eventually(lambda: settings(r.daemon, "cascade.top_k")["cascade.top_k"]["value"] == "5", timeout=60)
            self.assertEqual(settings(r.daemon)["cascade.keep_top_k"]["value"], "5")


class LiveReloads(unittest.TestCase):
    def test_the_line_names_what_changed_and_what_waits(self):
        with Reloading("[cascade]\ntop_k = 12\n") as r:
            line = r.reload("[cascade]\ntop_k = 14\n[engine]\nthreads = 7\ndevice = 1\nspin_us = 9\n")
            self.assertIn("cascade.top_k 12 -> 14 (new sessions), engine.spin_us 50 -> 9", line)
            self.assertIn("needs a restart: engine.threads 0 -> 7, engine.device 0 -> 1", line)
            row = settings(r.daemon, "engine.threads")["engine.threads"]
            self.assertEqual((row["value"], row["pending"], row["applies"]), ("0", "7", "restart"))
            self.assertIn("7 after a restart", r.daemon.lensctl("config", "engine.threads").check().stdout)
            self.assertIn("engine.threads 0 -> 7", r.reload(), "it is told again: it still waits")
            r.reload("")
            self.assertIsNone(settings(r.daemon, "engine.threads")["engine.threads"]["pending"])

    def test_the_log_level_says_what_is_logged_from_then_on(self):
        with Reloading("[log]\nlevel = warning\n", packs=[small_pack()]) as r:
            for level, words in (("warning", "Law:1"), ("info", "Shape:1"), ("warning", "Memory:1")):
                r.config.write_text(f"[log]\nlevel = {level}\n")
                r.daemon.send_signal(signal.SIGHUP)
                eventually(lambda: settings(r.daemon, "log.level")["log.level"]["value"] == level, timeout=60)
                r.daemon.lensctl("pin", words).check()
            r.config.write_text("[log]\nlevel = info\n")
            r.daemon.send_signal(signal.SIGHUP)
            r.daemon.wait_log("log.level warning -> info")
            pinned = [line for line in r.daemon.log.splitlines() if "is pinned at run time" in line]
            self.assertEqual(len(pinned), 1, pinned)
            self.assertIn("Shape:1", pinned[0])

    def test_settings_of_packs_hold_for_packs_swapped_in_from_then_on(self):
        with Reloading("", packs=[small_pack()]) as r:
            slots = status(r.daemon)["slots"]
            self.assertIn("pool.slots 0 -> 40 (new packs)", r.reload("[pool]\nslots = 40\n[cache]\npolicy = sieve\n"))
            self.assertEqual(status(r.daemon)["slots"], slots)
            self.assertEqual(settings(r.daemon, "pool.slots")["pool.slots"]["older_packs"], 1)
            self.assertIn("1 loaded pack is older", r.daemon.lensctl("config", "pool.slots").check().stdout)
            r.daemon.lensctl("swap", small_pack()).check()
            found = status(r.daemon)
            self.assertEqual((found["slots"], found["policy"]), (40, "sieve"))
            self.assertEqual(settings(r.daemon, "pool.slots")["pool.slots"]["older_packs"], 0)

    def test_more_sessions_are_let_in_at_once_and_fewer_drop_none(self):
        with Reloading("[ipc]\nmax_sessions = 1\n", packs=[small_pack()]) as r, Client(r.daemon.socket) as first:
            with self.assertRaisesRegex(LensError, "all 1 sessions"):
                Client(r.daemon.socket)
            r.reload("[ipc]\nmax_sessions = 2\n")
            with Client(r.daemon.socket) as second:
                r.reload("[ipc]\nmax_sessions = 1\n")
                for client in (first, second):
                    client.ask([0.5] * client.info().dim)
                with self.assertRaisesRegex(LensError, "all 1 sessions"):
                    Client(r.daemon.socket)

    def test_loads_are_checked_from_the_reload_on(self):
        pack = copy_pack(small_pack())
        text = "[pool]\nslots = 30\npreload = off\n[cascade]\nkeep_top_k = 0\n[cache]\nload_threads = 1\n"
        with Reloading(text, packs=[pack]) as r:
            data = bytearray(pathlib.Path(pack).read_bytes())
            header = int.from_bytes(data[:8], "little")
            for at in range(8 + header, len(data) * 3 // 4):  # one bit of each byte of weights
                data[at] ^= 1
            with open(pack, "r+b") as file:  # in place: the daemon has it open
                file.write(data)
            r.daemon.lensctl("detect", STATES)
            self.assertNotIn("checksum", r.daemon.log)
            r.reload(text + "verify_loads = on\n")
            r.daemon.lensctl("detect", STATES)
            r.daemon.wait_log("checksum")

    def test_foresight_begins_and_ends_with_a_reload(self):
        text = "[pool]\nslots = 40\n[cascade]\nkeep_top_k = 0\n[cache]\n"
        with Reloading(text, packs=[small_pack()]) as r:
            def issued_after_rows():
                for _ in range(6):
                    r.daemon.lensctl("detect", STATES).check()
                return status(r.daemon)["prefetch_issued"]
            self.assertEqual(issued_after_rows(), 0)
            r.reload(text + "prefetch = on\n")
            issued = issued_after_rows()
            self.assertGreater(issued, 0)
            r.reload(text)
            issued = status(r.daemon)["prefetch_issued"]
            self.assertEqual(issued_after_rows(), issued)

    def test_rows_go_on_while_the_configuration_is_reloaded(self):
        with Reloading("", packs=[small_pack()], args=["--pool-slots", "40"]) as r, \
                Client(r.daemon.socket, keep_top_k=0) as client:
            row = [0.5] * client.info().dim
            before = client.ask(row)
            for i in range(20):
                r.reload(f"[engine]\nspin_us = {i * 20}\n[cache]\nprefetch = {'on' if i % 2 else 'off'}\n"
                         f"verify_loads = {'on' if i % 3 else 'off'}\n[cascade]\ntop_k = {i + 1}\n")
                self.assertEqual(client.ask(row, sequence=i), before)


if __name__ == "__main__":
    unittest.main()
