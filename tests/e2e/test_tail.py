"""lensctl tail: detections as they happen: a JSON object a line when piped; filters, going on after an event, what was
lost, a daemon that goes away and one that is started anew, a reader that is slow or leaves, ^C."""
import array
import fcntl
import json
import re
import signal
import subprocess
import termios
import threading
import unittest

from tests.e2e.harness import BUILD, FIXTURES, ROOT, Daemon, clean_env, eventually, small_pack, temp_dir
from tests.e2e.terminal import Terminal
from tests.e2e.test_lensctl import DIM, on_a_terminal, some_rows, write_safetensors

DATA = ROOT / "tests" / "real" / "data"
PACK = DATA / "wordnet-minilm.lens"
DOGS = DATA / "sentences" / "01-dogs.safetensors"
TOKENS = FIXTURES / "hatcat-small" / "tokens.npy"
WAIT_S = 60


class Tail:
    """A lensctl tail that runs, whose lines are read as they come."""

    def __init__(self, socket, *args, read=True):
        command = [str(BUILD / "lensctl"), "--socket", str(socket), "tail", *map(str, args)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=clean_env())
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        if read:
            self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def wait_for(self, condition, what):
        try:
            return eventually(lambda: condition(self.lines), WAIT_S, what)
        except AssertionError:
            self.process.kill()
            raise AssertionError(f"{what}: {self.lines} {self.process.stderr.read().decode()}") from None

    def wait_rows(self, n):
        return self.wait_for(lambda lines: [line for line in lines if "event" in line][:n]
                             if sum("event" in line for line in lines) >= n else None, f"{n} rows")

    def end(self, number=signal.SIGINT):
        """Its exit code and what it said on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self):
        self.process.wait(WAIT_S)
        if self.reader.ident is not None:
            self.reader.join(WAIT_S)
        error = self.process.stderr.read().decode()
        self.process.stderr.close()
        self.process.stdout.close()
        return self.process.returncode, error


class RealSentence(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[PACK])
        cls.detected = cls.daemon.lensctl("detect", DOGS, "--json").check().json_lines()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def rows(self, *args):
        """The lines of the 15 rows that setUpClass sent."""
        return self.daemon.lensctl("tail", "--from", "start", "--rows", "15", "--all-rows", *args).check().json_lines()

    def test_each_row_is_a_line_with_what_its_client_was_told(self):
        rows = self.rows("--min", "0")
        self.assertEqual(len(rows), len(self.detected))
        for n, (row, told) in enumerate(zip(rows, self.detected)):
            self.assertEqual((row["schema_version"], row["event"], row["position"]), (1, n + 1, n))
            self.assertEqual((row["status"], row["flags"], row["scored"]), (told["status"], told["flags"], told["scored"]))
            self.assertEqual(row["expanded"], len(told["expanded"]))
            self.assertEqual(row["reported"], len(told["detections"]))
            self.assertEqual(row["timing_ns"]["total"], told["timing_ns"]["total"])
            self.assertEqual(row["detections"], [{k: d[k] for k in ("concept", "id", "score", "raw", "logit")}
                                                 for d in told["detections"]])
            self.assertRegex(row["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")

    def test_detections_are_chosen_by_concept_and_score(self):
        fired = self.daemon.lensctl("tail", "--from", "start", "-n", "2").check().json_lines()
        self.assertEqual([row["position"] for row in fired], [2, 6])  # dog, puppy
        self.assertEqual([d["concept"] for row in fired for d in row["detections"]], ["Dog:5", "Dog:5"])
        for row, told in zip(self.rows("--concept", "*:1", "--min", "0.01"), self.detected):
            self.assertEqual([d["concept"] for d in row["detections"]], [
                d["concept"] for d in told["detections"] if d["concept"].endswith(":1") and d["score"] >= 0.01])

    def test_a_session_has_its_own_rows(self):
        session = self.rows()[0]["session"]
        self.assertEqual(len(self.rows("--session", session)), 15)
        refused = self.daemon.lensctl("tail", "--session", session + 1000)
        self.assertEqual(refused.code, 1)
        self.assertIn(f"there was no session {session + 1000} yet", refused.stderr)

    def test_it_goes_on_after_any_event(self):
        first = self.daemon.lensctl("tail", "--from", "start", "--all-rows", "-n", "6").check().json_lines()
        rest = self.daemon.lensctl("tail", "--from", first[-1]["event"] + 1, "--all-rows", "-n", "9").check().json_lines()
        self.assertEqual([row["event"] for row in first + rest], list(range(1, 16)))

    def test_what_it_cannot_begin_with_is_refused(self):
        for text in ("0", "-1", "x", "1x", "99999999999999999999"):
            refused = self.daemon.lensctl("tail", "--from", text)
            self.assertEqual((refused.code, refused.stdout), (2, ""), refused)
            self.assertIn("--from expects the number of an event", refused.stderr)
        refused = self.daemon.lensctl("tail", "--from", "1000000")
        self.assertEqual(refused.code, 1)
        self.assertIn("event 1000000 is still to come", refused.stderr)
        self.assertEqual(self.daemon.lensctl("tail", "-n", "1", "--rows", "1").code, 2)

    def test_the_terminal_shows_a_line_for_each_row(self):
        text = on_a_terminal("--socket", self.daemon.socket, "tail", "--from", "start", "-n", "2", NO_COLOR="1", TZ="UTC")
        lines = text.splitlines()
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0], r"^\d\d:\d\d:\d\d\.\d{3}  #3  session \d+  sequence \d+      2  Dog:5 0\.90$")
        colour = on_a_terminal("--socket", self.daemon.socket, "tail", "--from", "start", "-n", "2")
        self.assertIn("\x1b[1mDog:5 0.99\x1b[0m", colour)


class OnTheScreen(unittest.TestCase):
    def test_lines_come_until_ctrl_c_which_says_how_to_go_on(self):
        with Daemon(packs=[PACK]) as daemon, Terminal(100, 30) as terminal:
            terminal.run(BUILD / "lensctl", "--socket", daemon.socket, "tail", "--from", "start")
            daemon.lensctl("detect", DOGS).check()
            terminal.wait_for(re.compile(r"#3  session 1  sequence 0      2  Dog:5 0\.90\n.*#7 .*Dog:5 0\.99"))
            terminal.press("C-c")
            terminal.wait_for(re.compile(r"lensctl: 2 rows shown, 0 lost; --from 16 goes on from here\nshell>"))
            terminal.run(BUILD / "lensctl", "--socket", daemon.socket, "tail", "--from", "start", "-n", "1")
            terminal.wait_for("lensctl: 1 row shown, 0 lost; --from 7 goes on from here\nshell>")  # #7 isn't shown yet


class Live(unittest.TestCase):
    def send(self, daemon, file=TOKENS):
        return len(daemon.lensctl("detect", file, "--json").check().json_lines())

    def test_rows_come_while_they_are_answered_and_ctrl_c_ends_it_well(self):
        with Daemon(packs=[small_pack()]) as daemon:
            tail = Tail(daemon.socket, "--from", "start", "--all-rows", "--min", "0", "--interval", "0.02")
            sent = self.send(daemon)
            tail.wait_rows(sent)
            sent += self.send(daemon)
            rows = tail.wait_rows(sent)
            self.assertEqual([row["event"] for row in rows], list(range(1, sent + 1)))
            self.assertEqual(tail.end(), (0, ""))
            self.assertEqual(len(tail.lines), sent)

    def test_from_now_leaves_out_what_was_before(self):
        with Daemon(packs=[small_pack()]) as daemon:
            before = self.send(daemon)
            tail = Tail(daemon.socket, "--all-rows", "--interval", "0.02")
            eventually(lambda: self.send(daemon) and tail.lines, WAIT_S, "a row")
            self.assertGreater(tail.lines[0]["event"], before)
            self.assertEqual(tail.end(signal.SIGTERM)[0], 0)

    def test_rows_that_were_overwritten_are_counted(self):
        with Daemon(packs=[small_pack()], args=["--telemetry-events", "4"]) as daemon:
            sent = 0
            while sent < 10:
                sent += self.send(daemon)
            lines = daemon.lensctl("tail", "--from", "1", "--all-rows", "-n", "4").check().json_lines()
            self.assertEqual(lines[0], {"schema_version": 1, "lost": sent - 4})
            self.assertEqual([line["event"] for line in lines[1:]], list(range(sent - 3, sent + 1)))
            shown = on_a_terminal("--socket", daemon.socket, "tail", "--from", "1", "--all-rows", "-n", "4", NO_COLOR="1")
            self.assertIn(f"{sent - 4} rows lost: they came faster than they were read", shown)

    def test_rows_shown_and_rows_lost_add_up(self):
        file = write_safetensors(temp_dir() / "rows", some_rows(500), [500, DIM])
        with Daemon(packs=[small_pack()], args=["--telemetry-events", "64"]) as daemon:
            tail = Tail(daemon.socket, "--from", "1", "--all-rows", "--interval", "0.05")
            daemon.lensctl("detect", file, "--rows", "64").check()
            tail.wait_for(lambda lines: lines and lines[-1].get("event") == 500, "the last row of the first file")
            tail.process.send_signal(signal.SIGSTOP)  # whoever stands still loses rows, on a machine of any speed
            for _ in range(4):
                daemon.lensctl("detect", file, "--rows", "64").check()
            tail.process.send_signal(signal.SIGCONT)
            daemon.lensctl("detect", file, "--rows", "64").check()
            tail.wait_for(lambda lines: lines and lines[-1].get("event") == 3000, "the last row")
            self.assertEqual(tail.end(), (0, ""))
        numbers = [line["event"] for line in tail.lines if "event" in line]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(len(numbers) + sum(line.get("lost", 0) for line in tail.lines), 3000)
        self.assertTrue(any("lost" in line for line in tail.lines))

    def test_seconds_end_it_but_not_before_what_is_remembered_was_shown(self):
        with Daemon(packs=[small_pack()]) as daemon:
            sent = 0
            while sent < 100:  # more than a page
                sent += self.send(daemon)
            rows = daemon.lensctl("tail", "--from", "start", "--all-rows", "--seconds", "0").check().json_lines()
            self.assertEqual([row["event"] for row in rows], list(range(1, sent + 1)))
            self.assertEqual(daemon.lensctl("tail", "--seconds", "0.1").check().stdout, "")

    def test_a_daemon_without_memory_of_rows_says_what_to_do(self):
        with Daemon(packs=[small_pack()], args=["--telemetry-events", "0"]) as daemon:
            refused = daemon.lensctl("tail")
            self.assertEqual((refused.code, refused.stdout), (1, ""))
            self.assertIn("telemetry.events is 0", refused.stderr)

    def test_a_daemon_started_anew_is_followed_and_said_to_be_another(self):
        socket = temp_dir() / "lensd.sock"
        with Daemon(packs=[small_pack()], socket_path=socket) as daemon:
            tail = Tail(socket, "--from", "start", "--all-rows", "--interval", "0.02")
            sent = self.send(daemon)
            tail.wait_rows(sent)
        tail.wait_for(lambda lines: {"schema_version": 1, "daemon": "away"} in lines, "the daemon is away")
        with Daemon(packs=[small_pack()], socket_path=socket) as daemon:
            again = self.send(daemon)
            tail.wait_rows(sent + again)
            self.assertEqual(tail.end(), (0, ""))
        after = [line for line in tail.lines[sent:] if "event" in line]
        self.assertEqual([row["event"] for row in after], list(range(1, again + 1)))
        restarted = [line for line in tail.lines if line.get("daemon") == "restarted"]
        self.assertEqual(len(restarted), 1)
        self.assertRegex(restarted[0]["started"], r"Z$")

    def test_the_sessions_of_a_daemon_end_with_it(self):
        socket = temp_dir() / "lensd.sock"
        with Daemon(packs=[small_pack()], socket_path=socket) as daemon:
            self.send(daemon)
            tail = Tail(socket, "--from", "start", "--all-rows", "--session", "1", "--interval", "0.02")
            tail.wait_rows(1)
        with Daemon(packs=[small_pack()], socket_path=socket):
            code, error = tail.wait()
        self.assertEqual(code, 1)
        self.assertIn("session 1 ended with the daemon it belonged to", error)

    def test_a_reader_that_leaves_ends_it_well(self):
        with Daemon(packs=[small_pack()]) as daemon:
            tail = Tail(daemon.socket, "--from", "start", "--all-rows", read=False)
            self.send(daemon)
            self.assertIn(b'"event":1,', tail.process.stdout.readline())
            tail.process.stdout.close()
            self.assertEqual(tail.wait(), (0, ""))

    def test_ctrl_c_ends_it_although_its_reader_has_stopped(self):
        with Daemon(packs=[small_pack()]) as daemon:
            tail = Tail(daemon.socket, "--from", "start", "--all-rows", "--min", "0", "--interval", "0.01", read=False)
            seen = []

            def is_stuck():  # rows go on, but what waits in the pipe stays as it is: it waits in the middle of a page
                self.send(daemon)
                waiting = array.array("i", [0])
                fcntl.ioctl(tail.process.stdout, termios.FIONREAD, waiting)
                seen.append(waiting[0])
                return len(seen) > 20 and seen[-1] > 0 and len(set(seen[-20:])) == 1
            eventually(is_stuck, 3 * WAIT_S, "a full pipe")
            self.assertEqual(tail.end(), (0, ""))

    def test_output_that_cannot_be_written_is_a_failure(self):
        with Daemon(packs=[small_pack()]) as daemon, open("/dev/full", "w") as full:
            self.send(daemon)
            done = subprocess.run([BUILD / "lensctl", "--socket", daemon.socket, "tail", "--from", "start", "--all-rows"],
                                  stdout=full, stderr=subprocess.PIPE, text=True, env=clean_env(), timeout=WAIT_S)
            self.assertEqual(done.returncode, 1)
            self.assertIn("could not write", done.stderr)


if __name__ == "__main__":
    unittest.main()
