"""lensctl doctor against live daemons and on machines made of files: levels, exit codes, JSON, and that it answers
without a daemon. Each finding by itself is in tests/unit/doctor_*_test.c."""
import json
import os
import re
import shutil
import signal
import subprocess
import unittest

from tests.e2e.harness import BUILD, FIXTURES, Daemon, clean_env, copy_pack, lensctl, small_pack, temp_dir
from tests.e2e.terminal import Terminal
from tests.e2e.test_lensctl import on_a_terminal

LEVELS = ["ok", "note", "warning", "problem"]
TOKENS = FIXTURES / "hatcat-small" / "tokens.npy"


def machine(**files):
    """A root directory with a few files in place of this machine's."""
    root = temp_dir()
    text = {"sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
            "proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n", **files}
    for path, content in text.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return clean_env(LENSCTL_DOCTOR_ROOT=root)


class Doctor(unittest.TestCase):
    def findings(self, result):
        found = result.json()
        self.assertEqual(next(iter(found)), "schema_version")
        self.assertEqual(found["schema_version"], 1)
        for row in found["findings"]:
            self.assertEqual(list(row), ["id", "level", "found", "do"])
            self.assertIn(row["level"], LEVELS)
            if row["level"] in ("warning", "problem"):
                self.assertTrue(row["do"], row)
        worst = max((row["level"] for row in found["findings"]), key=LEVELS.index)
        self.assertEqual(found["worst"], worst)
        self.assertEqual(result.code, 1 if worst == "problem" else 0, result.stdout)
        return {row["id"]: row for row in found["findings"]}

    def test_without_a_daemon_the_machine_is_looked_at_and_the_exit_code_is_0(self):
        nowhere = temp_dir() / "nobody.sock"
        result = lensctl("doctor", "--json", socket=nowhere)
        self.assertFalse(result.json()["daemon_running"])
        found = self.findings(result)
        self.assertEqual(found["daemon.running"]["level"], "note")
        self.assertIn(str(nowhere), found["daemon.running"]["found"])
        self.assertIn("memory.available", found)
        self.assertEqual(result.code, 0)

    def test_a_live_daemon_is_looked_at(self):
        with Daemon(packs=[small_pack()]) as daemon:
            daemon.lensctl("detect", TOKENS).check()
            result = daemon.lensctl("doctor", "--json")
            self.assertTrue(result.json()["daemon_running"])
            found = self.findings(result)
            for name in ("daemon.running", "daemon.version", "daemon.dropped", "daemon.degraded", "packs.file",
                         "cache.slots", "memory.files"):
                self.assertEqual(found[name]["level"], "ok", found.get(name))
            self.assertIn(str(daemon.pid), found["daemon.running"]["found"])
            self.assertIn("is the one that lensd opened", found["packs.file"]["found"])
            text = daemon.lensctl("doctor").stdout
            for row in found.values():
                if row["id"] != "memory.available":  # its figures change from moment to moment
                    self.assertIn(row["found"], text)
            self.assertRegex(text, r"\d+ ok, \d+ notes?, \d+ warnings?, \d+ problems?\n$")

    def test_a_pack_that_was_replaced_or_removed_is_found(self):
        pack = copy_pack(small_pack(), "mine.safetensors")
        with Daemon(packs=[pack]) as daemon:
            other = pack.with_suffix(".new")
            other.write_bytes(pack.read_bytes())
            os.rename(other, pack)
            found = self.findings(daemon.lensctl("doctor", "--json"))
            self.assertEqual(found["packs.file"]["level"], "warning")
            self.assertIn("lensctl swap --name mine", found["packs.file"]["do"])
            daemon.lensctl("swap", pack, "--name", "mine").check()
            self.assertEqual(self.findings(daemon.lensctl("doctor", "--json"))["packs.file"]["level"], "ok")
            pack.unlink()
            found = self.findings(daemon.lensctl("doctor", "--json"))
            self.assertIn("isn't there any more", found["packs.file"]["found"])

    def test_a_pack_that_was_named_by_a_relative_path_is_found(self):
        pack = copy_pack(small_pack(), "mine.safetensors")
        before = os.getcwd()
        os.chdir(pack.parent)
        try:
            daemon = Daemon(packs=["mine.safetensors"])
        finally:
            os.chdir(before)
        with daemon:
            found = self.findings(daemon.lensctl("doctor", "--json"))
            self.assertIn("is the one that lensd opened", found["packs.file"]["found"])

    def test_too_few_slots_are_found(self):
        with Daemon(packs=[small_pack()], args=["--pool-slots", "40"]) as daemon:
            for _ in range(4):
                daemon.lensctl("detect", TOKENS).check()
            found = self.findings(daemon.lensctl("doctor", "--json", env=machine()))
            self.assertEqual(found["cache.hits"]["level"], "warning")
            self.assertIn("pool.slots = 0", found["cache.hits"]["do"])

    def test_metrics_are_asked_where_lensd_listens(self):
        with Daemon(packs=[small_pack()], args=["--http-listen", "127.0.0.1:0"]) as daemon:
            found = self.findings(daemon.lensctl("doctor", "--json"))
            self.assertEqual(found["daemon.metrics"]["level"], "ok", found["daemon.metrics"])
        with Daemon(packs=[], args=["--http-listen", f"unix:{temp_dir()}/metrics.sock"]) as daemon:
            found = self.findings(daemon.lensctl("doctor", "--json"))
            self.assertEqual(found["daemon.metrics"]["level"], "ok", found["daemon.metrics"])

    def test_a_dead_daemons_socket_is_a_problem_and_the_exit_code_1(self):
        daemon = Daemon(packs=[])
        daemon.kill()
        result = daemon.lensctl("doctor", "--json")
        self.assertEqual(self.findings(result)["daemon.running"]["level"], "problem")
        self.assertEqual(result.code, 1)

    def test_a_daemon_that_stands_still_is_a_problem(self):
        with Daemon(packs=[]) as daemon:
            daemon.send_signal(signal.SIGSTOP)
            try:
                self.assertEqual(self.findings(daemon.lensctl("doctor", "--json"))["daemon.running"]["level"], "problem")
            finally:
                daemon.send_signal(signal.SIGCONT)

    def test_a_machine_of_files_has_what_its_files_say(self):
        nowhere = temp_dir() / "nobody.sock"
        env = machine(**{"sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n"})
        found = self.findings(lensctl("doctor", "--json", socket=nowhere, env=env))
        self.assertEqual(found["memory.hugepages"]["level"], "warning")
        self.assertIn("echo madvise", found["memory.hugepages"]["do"])
        self.assertEqual(self.findings(lensctl("doctor", "--json", socket=nowhere, env=machine()))
                         ["memory.hugepages"]["level"], "ok")

    def test_on_a_terminal_levels_are_coloured_and_findings_grouped(self):
        nowhere = temp_dir() / "nobody.sock"
        text = on_a_terminal("--socket", nowhere, "doctor")
        self.assertIn("\x1b[1mdaemon\x1b[0m\n", text)
        self.assertIn("\x1b[36mnote   \x1b[0m", text)
        self.assertNotIn("\x1b[", on_a_terminal("--socket", nowhere, "doctor", NO_COLOR="1"))

    def test_what_is_piped_stays_one_line_a_sentence(self):
        nowhere = temp_dir() / "nobody.sock"
        rows = lensctl("doctor", "--json", socket=nowhere).json()["findings"]
        lines = lensctl("doctor", socket=nowhere).stdout.splitlines()
        for row in rows:
            if row["id"] != "memory.available":
                self.assertEqual(sum(row["found"] in line for line in lines), 1, row)


class OnAScreen(unittest.TestCase):
    """As a person sees it, in a terminal of 80 columns."""

    def test_sentences_are_broken_between_words(self):
        with Daemon(packs=[small_pack()], args=["--pool-slots", "40"]) as daemon, \
                Terminal(80, 100, LENSD_SOCKET=daemon.socket) as terminal:
            terminal.run(BUILD / "lensctl", "doctor")
            screen = terminal.wait_for(" problem")
            found = daemon.lensctl("doctor", "--json").json()["findings"]
            words = " ".join(screen.split())
            for row in found:
                if row["id"] != "memory.available":
                    self.assertIn(f"{row['level']} {' '.join(row['found'].split())} {row['id']}", words)
                    if row["do"] is not None:
                        self.assertIn(f"-> {' '.join(row['do'].split())}", words)
            self.assertEqual([line for line in screen.split("\n") if line.startswith("cache")], ["cache"])

    def test_a_bar_is_shown_while_a_bench_runs(self):
        with Daemon(packs=[small_pack()]) as daemon, Terminal(100, 24, LENSD_SOCKET=daemon.socket) as terminal:
            terminal.run(BUILD / "lensctl", "bench", "token", "--seconds", 4)
            terminal.wait_for(re.compile(r"bench \[#*\.*\] +\d+%"))
            screen = terminal.wait_for("floor: reading")
            self.assertNotIn("bench [", screen)
            self.assertRegex(screen, r"us +p50 +p90 +p99 +p99\.9 +max +mean\n")


@unittest.skipUnless(os.geteuid() == 0, "only root can look as somebody else")
class SomebodyElse(unittest.TestCase):
    """A user that lensd doesn't know, uid 65534, who may read neither this tree nor root's sockets."""

    @classmethod
    def setUpClass(cls):
        cls.folder = temp_dir()
        cls.folder.chmod(0o755)
        cls.program = cls.folder / "lensctl"
        shutil.copy(BUILD / "lensctl", cls.program)
        cls.program.chmod(0o755)

    def found(self, daemon):
        env = clean_env(TSAN_OPTIONS="halt_on_error=1:exitcode=99")  # the suppressions' file is closed to it
        done = subprocess.run([self.program, "--socket", daemon.socket, "doctor", "--json"], text=True, cwd="/",
                              capture_output=True, env=env, user=65534, group=65534, extra_groups=[])
        self.assertEqual(done.stderr, "")
        return {row["id"]: row for row in json.loads(done.stdout)["findings"]}, done.returncode

    def test_a_socket_that_is_closed_to_it(self):
        with Daemon(packs=[], socket_path=self.folder / "closed.sock") as daemon:
            found, code = self.found(daemon)
        self.assertEqual((found["daemon.socket"]["level"], code), ("problem", 1))
        self.assertIn("mode 0600", found["daemon.socket"]["found"])
        self.assertIn("ipc.allow_uids", found["daemon.socket"]["do"])

    def test_a_daemon_that_lets_others_in_but_not_it(self):
        with Daemon(packs=[], args=["--ipc-allow-uids", "0,4711"], socket_path=self.folder / "open.sock") as daemon:
            found, code = self.found(daemon)
        self.assertEqual((found["daemon.running"]["level"], code), ("problem", 1), found["daemon.running"])
        self.assertIn("ipc.allow_uids", found["daemon.running"]["do"])
        self.assertIn("65534", found["daemon.running"]["do"])

    def test_a_client_that_is_no_operator(self):
        with Daemon(packs=[small_pack()], args=["--ipc-allow-uids", "*"], socket_path=self.folder / "all.sock") as daemon:
            found, code = self.found(daemon)
        self.assertEqual((found["daemon.running"]["level"], code), ("ok", 0), found["daemon.running"])
        self.assertEqual(found["daemon.role"]["level"], "note")


if __name__ == "__main__":
    unittest.main()
