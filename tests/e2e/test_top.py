"""lensctl top: one snapshot as JSON and as a table against rows whose hits are known; the screen as a person sees it,
its keys, sizes and ends; a daemon that goes away and comes back."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
import unittest

from tests.e2e.harness import BUILD, SANITIZED, Daemon, clean_env, eventually, lensctl, small_pack, temp_dir
from tests.e2e.liblens import Client, Sender
from tests.e2e.terminal import Terminal

TOP = BUILD / "lensctl"
WAIT_S = 60


def once(daemon, *args):
    return daemon.lensctl("--json", "top", "--once", "--interval", "0.5", "--min", "0", *args).check().json()


def by_name(snapshot):
    return {concept["concept"]: concept for concept in snapshot["concepts"]}


def start_once(daemon, *args):
    """A `top --once` that has begun to follow the rows."""
    before = daemon.fd_count()
    process = subprocess.Popen([TOP, "--socket", daemon.socket, "--json", "top", "--once", "--interval", *args],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_env())
    eventually(lambda: daemon.fd_count() > before, WAIT_S, "its connection")
    time.sleep(1 if SANITIZED else 0.3)
    return process


class Once(unittest.TestCase):
    def test_json_has_the_hits_of_the_rows_with_their_scores_and_paths(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon) as sender:
            eventually(lambda: sender.rows > 20, WAIT_S)  # the same row again and again: its retained set has settled
            snapshot = once(daemon)
            hits = dict(sender.hits)
            tree = daemon.lensctl("--json", "concepts").check().json()["concepts"]
        self.assertEqual(snapshot["schema_version"], 1)
        self.assertGreater(snapshot["figures"]["rows_per_s"], 0)
        self.assertGreater(snapshot["figures"]["p99_ns"], 0)
        self.assertEqual(snapshot["daemon"]["sessions"], 1)
        self.assertEqual(snapshot["daemon"]["degraded"], "")
        self.assertTrue(snapshot["everyone"])
        found = {concept["id"]: concept for concept in snapshot["concepts"]}
        self.assertEqual(set(found), set(hits))
        parents = {row["concept"]: row["parent"] for row in tree}
        for concept in found.values():
            self.assertAlmostEqual(concept["last"], hits[concept["id"]], places=6)
            self.assertAlmostEqual(concept["score"], hits[concept["id"]], places=6)
            self.assertEqual(concept["history"], [concept["last"]])
            self.assertEqual(concept["trend"], "unknown")
            self.assertGreater(concept["per_s"], 0)
            self.assertEqual(concept["path"][-1], concept["concept"])
            self.assertEqual(int(concept["concept"].rsplit(":", 1)[1]), concept["layer"])
            for above, name in zip([None, *concept["path"]], concept["path"]):
                self.assertEqual(parents[name], above)
        scores = [concept["score"] for concept in snapshot["concepts"]]
        self.assertEqual(scores, sorted(scores, reverse=True))

    def test_filter_watch_and_sort(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon) as sender:
            eventually(lambda: sender.rows > 20, WAIT_S)
            everything = [concept["concept"] for concept in once(daemon, "--sort", "name")["concepts"]]
            self.assertEqual(everything, sorted(everything, key=str.encode))
            quiet = next(name for name in ("Sword:3", "Fear:2", "Joy:2") if name not in everything)
            some = once(daemon, "--filter", "*:2", "--watch", quiet.split(":")[0])["concepts"]
            wrong = daemon.lensctl("top", "--once", "--watch", "Nobody")
        self.assertEqual(some[0]["concept"], quiet)
        self.assertTrue(some[0]["watched"])
        self.assertEqual((some[0]["score"], some[0]["detections"], some[0]["per_s"]), (None, 0, 0))
        self.assertEqual(some[0]["path"][-1], quiet)
        self.assertEqual({concept["concept"] for concept in some[1:]}, {n for n in everything if n.endswith(":2")})
        self.assertEqual(wrong.code, 1)
        self.assertIn('"Nobody"', wrong.stderr)

    def test_sessions_and_packs_are_told_apart(self):
        with Daemon(packs=[small_pack(), small_pack("bf16")]) as daemon:
            names = [pack["name"] for pack in daemon.lensctl("--json", "packs").check().json()["packs"]]
            with Sender(daemon, pack=names[0].encode()) as a, Sender(daemon, pack=names[1].encode()) as b:
                eventually(lambda: a.rows > 20 and b.rows > 20, WAIT_S)
                both = once(daemon)
                one = once(daemon, "--session", a.id)
                other = once(daemon, "--pack", names[1])
                missing = daemon.lensctl("top", "--once", "--pack", "none")
        self.assertEqual({concept["pack"] for concept in both["concepts"]}, set(names))
        self.assertEqual({concept["pack"] for concept in one["concepts"]}, {names[0]})
        self.assertFalse(one["everyone"])
        self.assertEqual({concept["pack"] for concept in other["concepts"]}, {names[1]})
        self.assertEqual(missing.code, 1)

    def test_a_swap_goes_on_with_the_same_concepts(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon) as sender:
            eventually(lambda: sender.rows > 20, WAIT_S)
            process = start_once(daemon, "5")
            process.send_signal(signal.SIGSTOP)
            name = daemon.lensctl("--json", "packs").check().json()["packs"][0]["name"]
            daemon.lensctl("swap", small_pack(), "--name", name).check()
            rows = sender.rows
            eventually(lambda: sender.rows > rows + 20, WAIT_S)
            process.send_signal(signal.SIGCONT)
            out, _ = process.communicate(timeout=WAIT_S)
            self.assertEqual(process.returncode, 0)
            generation = daemon.lensctl("--json", "packs").check().json()["packs"][0]["generation"]
        self.assertGreater(generation, 1)
        snapshot = json.loads(out)
        names = [concept["concept"] for concept in snapshot["concepts"]]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual({concept["generation"] for concept in snapshot["concepts"]}, {generation})

    def test_low_scores_count_as_nothing(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon) as sender:
            eventually(lambda: sender.rows > 20, WAIT_S)
            scores = sorted(score for _, score in sender.hits)
            least = (scores[0] + scores[-1]) / 2
            snapshot = daemon.lensctl("--json", "top", "--once", "--interval", "0.5", "--min", least).check().json()
        self.assertAlmostEqual(snapshot["min_score"], least, places=5)
        self.assertEqual(len(snapshot["concepts"]), sum(score >= least for score in scores))
        self.assertTrue(all(concept["score"] >= least for concept in snapshot["concepts"]))

    def test_a_table_when_it_is_text(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon) as sender:
            eventually(lambda: sender.rows > 20, WAIT_S)
            text = daemon.lensctl("top", "--once", "--interval", "0.3").check().stdout
            name = once(daemon)["concepts"][0]["concept"]
        self.assertIn("rows/s", text)
        self.assertIn("full service", text)
        self.assertIn("concept\tscore\tlast\ttrend\tper s\twatched\tpack\tbelow", text)
        self.assertIn(f"\n{name}\t", text)
        self.assertNotIn("\x1b", text)

    def test_no_rows_is_no_failure(self):
        with Daemon(packs=[small_pack()]) as daemon:
            snapshot = once(daemon)
        self.assertEqual(snapshot["concepts"], [])
        self.assertEqual(snapshot["figures"]["rows_per_s"], 0)
        self.assertIsNone(snapshot["figures"]["p99_ns"])

    def test_rows_that_came_too_fast_are_counted(self):
        with Daemon(packs=[small_pack()], args=["--telemetry-events", "16"]) as daemon, Sender(daemon) as sender:
            eventually(lambda: sender.rows > 20, WAIT_S)
            process = start_once(daemon, "5")
            process.send_signal(signal.SIGSTOP)
            rows = sender.rows
            eventually(lambda: sender.rows > rows + 100, WAIT_S)
            process.send_signal(signal.SIGCONT)
            out, _ = process.communicate(timeout=WAIT_S)
        self.assertGreater(json.loads(out)["rows_not_seen"], 50)

    def test_who_is_no_operator_sees_the_rows_of_their_user(self):
        with Daemon(packs=[small_pack()], args=["--ipc-admin-uids", "12345"]) as daemon, Sender(daemon) as sender:
            eventually(lambda: sender.rows > 20, WAIT_S)
            snapshot = once(daemon)
            text = daemon.lensctl("top", "--once", "--interval", "0.2").check().stdout
        self.assertFalse(snapshot["everyone"])
        self.assertGreater(snapshot["figures"]["rows_per_s"], 0)
        self.assertGreater(snapshot["figures"]["p99_ns"], 0)
        self.assertIsNone(snapshot["figures"]["dropped_per_s"])
        self.assertTrue(snapshot["concepts"])
        self.assertIn("rows of your own user only", text)

    def test_a_daemon_that_remembers_nothing_says_so(self):
        with Daemon(packs=[small_pack()], args=["--telemetry-events", "0"]) as daemon:
            refused = daemon.lensctl("top", "--once")
        self.assertEqual(refused.code, 1)
        self.assertIn("telemetry.events", refused.stderr)

    def test_without_a_daemon_the_exit_code_is_3(self):
        self.assertEqual(lensctl("top", "--once", socket=temp_dir() / "none").code, 3)
        daemon = Daemon(packs=[small_pack()])
        process = start_once(daemon, "60")
        daemon.stop()
        out, errors = process.communicate(timeout=WAIT_S)
        self.assertEqual((process.returncode, out), (3, ""))
        self.assertIn("lensctl: ", errors)

    def test_wrong_usage_exits_2_and_says_what_to_do(self):
        def refused(*args):
            result = lensctl("top", *args)
            self.assertEqual(result.code, 2, result)
            return result.stderr
        self.assertIn("--once", refused())  # no terminal here
        self.assertIn("--once", refused("--json"))
        self.assertIn("from 0.1", refused("--interval", "0", "--once"))
        self.assertIn("score, rate, trend, name", refused("--sort", "height", "--once"))


class Screen(unittest.TestCase):
    def open(self, daemon, *args, columns=100, rows=30, **env):
        terminal = Terminal(columns, rows, **env)
        self.addCleanup(terminal.close)
        terminal.run(TOP, "--socket", daemon.socket, "top", "--interval", "0.2", *args)
        return terminal

    def rows_of(self, screen):
        """The list's rows: what stands between the titles and the last line. None when the screen is half drawn."""
        lines = screen.split("\n")
        at = next((i for i, line in enumerate(lines) if line.startswith("  concept")), None)
        rows = [line for line in lines[at + 1:-2] if line] if at is not None else []
        complete = "q quit" in lines[-2] and all(re.match(r"[* ] .*:\d .* (\d\.\d{3}|-) ", row) for row in rows)
        return rows if rows and complete else None

    def wait_rows(self, terminal, condition=lambda rows: True):
        """Waits until the list's rows satisfy the condition; returns them."""
        def seen():
            rows = self.rows_of(terminal.screen())
            return rows if rows and condition(rows) else None
        return eventually(seen, WAIT_S, f"such rows:\n{terminal.screen()}")

    def test_it_shows_what_fires_and_how_the_daemon_is(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon, pause_s=0.002):
            terminal = self.open(daemon)
            screen = terminal.wait_for(re.compile(r"rows/s +p50 [\d.]+ us +p99 [\d.]+ [mu]s(.|\n)*"
                                                  r"[▁▂▃▄▅▆▇█]{3}(.|\n)*q quit"))
            self.assertRegex(screen, r"lensd \d+\.\d+\.\d+ on cpu, up .* 1 pack  1 session")
            self.assertRegex(screen, r"slots \d+/\d+ .*heap")
            self.assertIn("full service", screen)
            self.assertRegex(screen, r"\d+ concepts by score")
            rows = self.wait_rows(terminal, lambda rows: any(":0 > " in row for row in rows))  # paths of parents
            scores = [float(re.search(r" (\d\.\d{3}) ", row).group(1)) for row in rows]
            self.assertEqual(scores, sorted(scores, reverse=True))
            terminal.press("q")
            terminal.wait_for("shell>")

    def test_keys(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon, pause_s=0.002):
            terminal = self.open(daemon, "--watch", "Sword")
            rows = self.wait_rows(terminal, lambda rows: len(rows) > 1)
            self.assertTrue(rows[0].startswith("* Sword:3"), rows[0])
            terminal.press("s")
            terminal.wait_for("by rate")
            terminal.press("s", "s")
            terminal.wait_for("by name")
            name = rows[1].split()[0]
            terminal.press("/")
            terminal.wait_for("filter: _")
            terminal.type(name[:4])
            terminal.wait_for(f"filter: {name[:4]}_")
            terminal.press("Enter")
            terminal.wait_for(re.compile(rf"\d of \d+ concepts? by name, scores from 0.1  filter {name[:4]}"))
            for row in self.wait_rows(terminal)[1:]:
                self.assertIn(name[:4].lower(), row.lower())
            terminal.press("Down", "w")
            terminal.wait_for("2 watched")
            terminal.press("p")
            terminal.wait_for("PAUSED")
            terminal.press("p")
            terminal.press("+")
            terminal.wait_for("an interval is 0.5 s now")
            terminal.press("h")
            terminal.wait_for("decayed maximum")
            terminal.press("h")
            terminal.wait_for("full service")
            terminal.press("Escape")
            terminal.wait_for(re.compile(r"\n\d+ concepts by name, scores from 0.1  2 watched"))

    def test_every_size_is_drawn_without_a_mess(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon, pause_s=0.002):
            terminal = self.open(daemon, columns=80, rows=24)
            terminal.wait_for(re.compile(r"\n  \S+:\d +\d\.\d{3}"))
            for columns, rows in ((132, 50), (80, 24), (60, 14), (40, 10), (30, 7), (20, 5), (16, 3)):
                terminal.resize(columns, rows)
                wanted = "q quit" if columns > 16 else "full service"
                eventually(lambda: wanted in terminal.screen() and len(terminal.lines()) >= rows, WAIT_S,
                           f"a screen of {columns}x{rows}")
                for line in terminal.lines():
                    self.assertLessEqual(len(line), columns)
            terminal.resize(10, 2)
            terminal.wait_for("too small")
            terminal.resize(80, 24)
            terminal.wait_for(re.compile(r"concepts by score(.|\n)*q quit"))
            terminal.press("q")
            terminal.wait_for("shell>")

    def test_a_daemon_that_goes_and_comes_back(self):
        daemon = Daemon(packs=[small_pack()])
        terminal = self.open(daemon)
        terminal.wait_for("full service")
        daemon.stop()
        terminal.wait_for("no daemon, trying again")
        with Daemon(packs=[small_pack()], socket_path=daemon.socket) as again, Sender(again, pause_s=0.002):
            screen = terminal.wait_for(re.compile(r"full service(.|\n)*\n  \S+:\d +\d\.\d{3}"))
            self.assertNotIn("no daemon", screen)
            terminal.press("C-c")
            terminal.wait_for("shell>")

    def test_a_daemon_that_hangs_keeps_nobody_from_leaving(self):
        with Daemon(packs=[small_pack()]) as daemon:
            terminal = self.open(daemon)
            terminal.wait_for("full service")
            daemon.send_signal(signal.SIGSTOP)
            try:
                terminal.wait_for(re.compile(r"trying again .*did not answer"))
                terminal.press("q")
                terminal.wait_for("shell>")
            finally:
                daemon.send_signal(signal.SIGCONT)

    def test_a_session_that_ends_is_said_to_be_gone(self):
        with Daemon(packs=[small_pack()]) as daemon:
            with Client(daemon.socket) as client:
                terminal = self.open(daemon, "--session", client.info().id)
                terminal.wait_for("full service")
            screen = terminal.wait_for("no session")
            self.assertNotIn("full service", screen)
            terminal.press("s")  # drawn anew between two looks, it still says so
            self.assertIn("no session", terminal.wait_for("by rate"))

    def test_degradation_stands_out(self):
        faults = temp_dir() / "faults"
        faults.write_text("run 12 enodev\n", encoding="utf-8")
        with Daemon(packs=[small_pack()], args=["--fault-script", faults]) as daemon, Sender(daemon, pause_s=0.002):
            terminal = self.open(daemon)
            terminal.wait_for("degraded: the CPU scores")
            line = next(line for line in terminal.lines(styles=True) if "degraded: " in line)
            self.assertRegex(line, r"\x1b\[(\d+;)*31m")  # red


class Ends(unittest.TestCase):
    """However it ends, the terminal is as it was."""

    def start(self, daemon, **env):
        try:
            leader, follower = pty.openpty()
        except OSError as error:
            self.skipTest(f"no terminal can be made here: {error}")
        before = termios.tcgetattr(follower)
        env = clean_env(**{"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **env})
        process = subprocess.Popen([TOP, "--socket", daemon.socket, "top", "--interval", "0.2"], stdin=follower,
                                   stdout=follower, stderr=subprocess.PIPE, env=env, start_new_session=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(os.close, follower)
        self.addCleanup(process.wait, WAIT_S)
        self.addCleanup(process.kill)
        return process, leader, follower, before

    def read_until(self, leader, part):
        text, deadline = b"", time.monotonic() + WAIT_S
        while part not in text:
            if select.select([leader], [], [], 0.2)[0]:
                try:
                    text += os.read(leader, 65536)
                except OSError:
                    break
            self.assertLess(time.monotonic(), deadline, text)
        return text

    def check_end(self, end):
        with Daemon(packs=[small_pack()]) as daemon:
            process, leader, follower, before = self.start(daemon)
            self.read_until(leader, b"full service")
            self.assertNotEqual(termios.tcgetattr(follower), before)
            end(process, leader)
            self.read_until(leader, b"\x1b[?1049l")  # back from the screen of its own
            self.assertEqual(process.wait(WAIT_S), 0)
            self.assertEqual(termios.tcgetattr(follower), before)
            self.assertEqual(process.stderr.read(), b"")
            os.close(leader)

    def test_by_its_key(self):
        self.check_end(lambda process, leader: os.write(leader, b"q"))

    def test_by_sigterm(self):
        self.check_end(lambda process, leader: process.send_signal(signal.SIGTERM))

    def test_by_sigint(self):
        self.check_end(lambda process, leader: process.send_signal(signal.SIGINT))

    def test_by_sighup(self):
        self.check_end(lambda process, leader: process.send_signal(signal.SIGHUP))

    def test_by_its_terminal_going_away(self):
        with Daemon(packs=[small_pack()]) as daemon:
            # The search for leaks hangs when signals of a terminal that goes away come meanwhile.
            process, leader, _, _ = self.start(daemon, ASAN_OPTIONS="detect_leaks=0:abort_on_error=0:exitcode=99")
            self.read_until(leader, b"full service")
            os.close(leader)
            process.wait(WAIT_S)

    def test_colours_are_left_out_when_they_are_not_wanted(self):
        with Daemon(packs=[small_pack()]) as daemon:
            for env, wanted in (({}, True), ({"NO_COLOR": "1"}, False)):
                process, leader, _, _ = self.start(daemon, **env)
                text = self.read_until(leader, b"full service")
                os.write(leader, b"q")
                text += self.read_until(leader, b"\x1b[?1049l")
                self.assertEqual(process.wait(WAIT_S), 0)
                os.close(leader)
                self.assertEqual(re.search(rb"\x1b\[[\d;]*3[0-8]m", text) is not None, wanted)

    def test_a_terminal_that_cannot_be_drawn_on_is_refused(self):
        with Daemon() as daemon:
            for term in ("dumb", "no-such-terminal"):
                process, leader, _, _ = self.start(daemon, TERM=term)
                self.assertEqual(process.wait(WAIT_S), 2)
                self.assertIn(term.encode(), process.stderr.read())
                os.close(leader)

    def test_without_a_utf8_locale_it_draws_ascii(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon, pause_s=0.002):
            process, leader, _, _ = self.start(daemon, LC_ALL="C")
            text = self.read_until(leader, b":0 > ")
            os.write(leader, b"q")
            text += self.read_until(leader, b"\x1b[?1049l")
            self.assertEqual(process.wait(WAIT_S), 0)
            os.close(leader)
        text.decode("ascii")


if __name__ == "__main__":
    unittest.main()
