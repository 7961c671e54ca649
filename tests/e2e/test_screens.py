"""Every command of lensctl as a person types it: one live daemon with the demo's lenses, one terminal (tmux), and what
must be on the screen. Figures are compared with the command's own --json; nothing may be wider than the window, send
control characters, or be coloured where it isn't a terminal. Commands that have a test in a terminal of their own are
named in ELSEWHERE; a command of the table that is in neither place fails the last test."""
import os
import re
import unittest

from tests.e2e.harness import BUILD, FIXTURES, ROOT, Daemon, eventually, lensctl, temp_dir
from tests.e2e.liblens import Sender
from tests.e2e.terminal import Terminal
from tests.e2e.test_demo import PACK, SENTENCES, sentence

ELSEWHERE = {"top": "test_top.py", "tail": "test_tail.py", "timeline": "test_timeline.py", "doctor": "test_doctor.py"}
SHOWN = set()
RULE = "about-dogs: on=Dog:5 above=0.95 below=0.5 tokens=1 window=3 action=flag"
BUSY = "lensd did not answer within a second"
WAIT_S = 300
WIDE = 250
WIDTHS = (80, 100)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def shows(*names):
    """Marks the test that looks at these commands."""
    SHOWN.update(names)
    return lambda test: test


def words(lines):
    return " ".join(lines).split()


def cells(line):
    return re.split(r" {2,}", line.strip())


def ask(daemon, *args):
    """Its answer in a pipe, as soon as a busy machine lets it answer."""
    def answered():
        done = daemon.lensctl(*args)
        return None if BUSY in done.stderr else done
    return eventually(answered, WAIT_S).check()


class Screens(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = temp_dir()
        socket = cls.dir / "lensd.sock"
        cls.terminal = Terminal(80, 200, LENSD_SOCKET=socket, PATH=f"{BUILD}:{os.environ['PATH']}")
        cls.addClassCleanup(cls.terminal.close)
        cls.daemon = Daemon(packs=[PACK], args=["--packs-directories", cls.dir, "--alerts-rules", RULE],
                            socket_path=socket)
        cls.addClassCleanup(cls.daemon.kill)
        for path in SENTENCES[:3]:
            ask(cls.daemon, "detect", path)
        cls.terminal.run("cd", cls.dir)
        cls.typed, cls.columns = 0, 80

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def capture(self, *more):
        return self.terminal.tmux("capture-pane", "-p", *more)

    def resize(self, columns):
        """tmux tells the programs in a window of its new size a while later."""
        if columns != self.columns:
            type(self).columns = columns
            self.terminal.resize(columns, 200)
            self.show(f"until stty size | grep -q ' {columns}$'; do :; done", columns)

    def show(self, command, columns=80, code=0, tries=20):
        """The lines that a command line leaves on an empty screen of so many columns; its exit code must be `code`,
        and no line may be broken by the terminal for want of room."""
        terminal = self.terminal
        self.resize(columns)
        type(self).typed += 1
        terminal.type(f"clear; {command}; echo exit-{self.typed} $?")
        terminal.press("Enter")
        ended = re.compile(rf"(?m)^exit-{self.typed} (\d+)$")
        screen = terminal.wait_for(ended, WAIT_S)
        if BUSY in screen and tries > 1:  # a machine with other work
            return self.show(command, columns, code, tries - 1)
        self.assertEqual(int(ended.search(screen)[1]), code, screen)
        joined = self.capture("-J").split("\n")  # lines that the terminal broke are whole again
        lines = [line.rstrip() for line in joined[:joined.index(next(x for x in joined if ended.match(x.rstrip())))]]
        self.assertLessEqual(max(map(len, lines), default=0), columns, screen)
        rest = COLOUR.sub("", self.capture("-e"))
        self.assertEqual([c for c in rest if ord(c) < 32 and c != "\n" or 127 <= ord(c) < 160], [], rest)
        return lines

    def piped(self, *args):
        """What it says through a pipe: never with colours."""
        done = self.ask(*args)
        self.assertNotIn("\x1b", done.stdout + done.stderr)
        return done.stdout

    def json(self, *args):
        return self.ask("--json", *args).json()

    def ask(self, *args):
        return ask(self.daemon, *args)

    def assert_columns(self, lines, head):
        """`head` is the first line, and every cell begins or ends where its title does; returns the rows' cells."""
        self.assertEqual(cells(lines[0]), head)
        spans = [(m.start(), m.end()) for m in re.finditer(r"\S+(?: \S+)*", lines[0])]
        for line in lines[1:]:
            edges = [(m.start(), m.end()) for m in re.finditer(r"\S+(?: \S+)*", line)]
            starts, ends = {s for s, _ in edges}, {e for _, e in edges}
            self.assertEqual(len(edges), len(head), "\n".join(lines))
            for start, end in spans:
                self.assertTrue(start in starts or end in ends, f"{line!r} doesn't stand below {lines[0]!r}")
        return [cells(line) for line in lines[1:]]

    # ---- looking ----------------------------------------------------------------------------------------------------

    @shows("status")
    def test_status_is_one_screen_of_names_and_values(self):
        status = self.json("status")
        for columns in WIDTHS:
            lines = self.show("lensctl status", columns)
            self.assertLessEqual(len(lines), 24)
            self.assertEqual([line for line in lines if not re.match(r"(\S+ +| {10})\S", line)], [])
            self.assertEqual({len(re.match(r"\S* +", line)[0]) for line in lines}, {10})
            shown = dict(line.split(None, 1) for line in lines if line[0] != " ")
            self.assertIn(f"pid {status['pid']}", shown["lensd"])
            self.assertTrue(shown["backend"].startswith(f"{status['backend']} ({status['variant']})"))
            self.assertEqual(shown["packs"], "1: wordnet-minilm")
            self.assertIn(f"{status['rows']}, 0 dropped, 0 invalid", shown["rows"])
            self.assertIn(f"{status['resident']} of {status['slots']} hold a lens", shown["slots"])
            self.assertEqual(shown["service"], "full service")
            self.assertIn(status["reason"].split(), [words(lines)[i:i + len(status["reason"].split())]
                                                     for i in range(len(words(lines)))])
        self.assertRegex(self.capture("-e"), r"\x1b\[32mfull service")
        self.assertIn("service\tfull service", self.piped("status"))

    @shows("packs")
    def test_packs_are_a_table_that_goes_on_below_where_it_is_too_wide(self):
        head = ["pack", "lenses", "dim", "model", "tap", "file/slab/compute", "slots", "host", "pinned",
                "policy", "lens file/slot", "sessions", "generation", "size", "path"]
        pack, = self.json("packs")["packs"]
        wide = self.show("lensctl packs", WIDE)
        cell = dict(zip(head, *self.assert_columns(wide, head)))
        for title, key in (("pack", "name"), ("lenses", "lenses"), ("dim", "dim"), ("model", "model_id"),
                           ("policy", "policy"), ("generation", "generation"), ("path", "path")):
            self.assertEqual(cell[title], str(pack[key]))
        self.assertEqual(cell["slots"], f"{pack['resident']}/{pack['slots']}")
        for columns in WIDTHS:
            lines = self.show("lensctl packs", columns)
            half = len(lines) // 2
            self.assertEqual(words(lines), words(wide))
            self.assertEqual(words(lines[:half]), words([wide[0]]))
            self.assertEqual([line[:4] == "    " for line in lines], ([False] + [True] * (half - 1)) * 2)
        self.assertEqual(len(self.piped("packs").splitlines()), 2)

    @shows("sessions")
    def test_sessions_are_those_who_are_attached(self):
        head = ["session", "label", "pid", "uid", "pack", "sequences", "rows", "dropped", "p50", "p99", "memory", "age"]
        with Sender(self.daemon, pause_s=0.05, label=b"some\x1b[31mbody") as sender:
            listed, = self.json("sessions")["sessions"]
            row, = self.assert_columns(self.show("lensctl sessions", WIDE), head)
            narrow = {columns: self.show("lensctl sessions", columns) for columns in WIDTHS}
            self.assertEqual(listed["pid"], os.getpid())
            self.assertEqual(row[0], str(sender.id if listed["session"] == sender.id else listed["session"]))
            self.assertEqual(row[1:5], ["some\\x1b[31mbody", str(os.getpid()), str(os.geteuid()), "wordnet-minilm"])
            self.assertGreaterEqual(int(row[6]), listed["rows"])
        for lines in narrow.values():
            self.assertEqual(words(lines)[:12], head)
            self.assertEqual(words(lines)[12:17], row[:5])
        self.assertEqual(words(self.show("lensctl sessions", WIDE)), head)

    @shows("rules")
    def test_rules_are_a_table_with_how_often_each_was_raised(self):
        self.ask("detect", sentence("dogs"))
        rule, = self.json("rules")["rules"]
        self.assertGreater(rule["raised"], 0)
        wide = self.show("lensctl rules", WIDE)
        row, = self.assert_columns(wide, cells(wide[0]))
        self.assertEqual(row[:2], [rule["name"], rule["action"]])
        self.assertIn(str(rule["raised"]), row)
        for columns in WIDTHS:
            self.assertEqual(words(self.show("lensctl rules", columns)), words(wide))

    @shows("config")
    def test_config_says_what_is_set_and_what_is_not_the_default(self):
        rows = self.json("config")["settings"]
        wide = self.show("lensctl config", WIDE)
        self.assertEqual(cells(wide[0]), ["setting", "value", "from", "default", "reload", "waits"])
        self.assertEqual([line.split()[0] for line in wide[1:]], [row["name"] for row in rows])
        lines = self.show("lensctl config", 80)
        brief, changed = lines[:lines.index("")], lines[lines.index("") + 1:]
        self.assertEqual(cells(brief[0]), ["setting", "value", "reload"])
        for line, row in zip(brief[1:], rows):
            value = row["value"] if len(row["value"]) <= 32 else row["value"][:30] + ".."
            self.assertEqual(line.split(), [row["name"], *value.split(), *row["applies"].split()])
        self.assertEqual(len({line.rindex(row["applies"]) for line, row in zip(brief[1:], rows)}), 1)
        self.assertEqual(cells(changed[0]), ["not the default", "from", "default", "waits"])
        self.assertEqual([line.split()[0] for line in changed[1:]],
                         [row["name"] for row in rows if row["origin"] != "default"])
        self.assertEqual(len(self.piped("config").splitlines()), 1 + len(rows))

    @shows("config")
    def test_config_of_a_pattern_says_what_the_settings_are(self):
        rows = self.json("config", "cache.*")["settings"]
        for columns in WIDTHS:
            lines = self.show("lensctl config 'cache.*'", columns)
            self.assertEqual([line.split()[0] for line in lines[1:1 + len(rows)]], [row["name"] for row in rows])
            text = " ".join(words(lines))
            for row in rows:
                self.assertIn(f" {row['name']} {' '.join(row['help'].split())}", text)
        self.assertIn("which matches none", " ".join(words(self.show("lensctl config 'nothing.*'", code=1))))

    @shows("concepts")
    def test_concepts_of_a_pattern_are_a_table(self):
        concepts = self.json("concepts", "D*")["concepts"]
        head = ["concept", "id", "parent", "children", "role", "calibrated", "where"]
        self.assertGreater(len(concepts), 3)
        for columns in WIDTHS:
            rows = self.assert_columns(self.show("lensctl concepts 'D*'", columns), head)
            self.assertEqual([(row[0], int(row[1])) for row in rows], [(c["concept"], c["id"]) for c in concepts])

    @shows("pin", "unpin", "branch")
    def test_a_branch_is_pinned_and_its_readings_are_a_tree_with_bars(self):
        name = self.json("explain", "Dog:5")["path"][-3]["concept"]
        said = self.show(f"lensctl pin {name}")
        self.addCleanup(lambda: self.daemon.lensctl("unpin", name))
        self.assertIn(f"{name} is pinned", " ".join(said))
        self.ask("detect", sentence("dogs"))
        readings = self.json("branch", name)["concepts"]
        self.assertGreater(len(readings), 1)
        lines = self.show(f"lensctl branch {name}", WIDE)
        self.assertEqual(cells(lines[0]), ["concept", "last", "peak", "ago", "rows", "hits", "where"])
        self.assertEqual(len(lines), 1 + len(readings))
        for line, reading in zip(lines[1:], readings):
            self.assertEqual(len(line) - len(line.lstrip()) > 0, reading["parent"] is not None)
            self.assertEqual(cells(line)[:2], [reading["concept"], f"{reading['last_score']:.3f}"])
            self.assertEqual(line.count("\u2588"), int(reading["last_score"] * 20 + 0.5))
            self.assertEqual(cells(line)[-1], "slot pinned")
        self.show(f"lensctl branch {name}", 80)
        self.assertIn(f"{name} is unpinned", " ".join(self.show(f"lensctl unpin {name}")))

    @shows("branch")
    def test_a_branch_is_a_tree_in_a_narrow_window_too(self):
        self.ask("detect", sentence("dogs"))
        branch = self.json("branch", "Mammal:2")["concepts"]
        self.assertEqual({c["layer"] for c in branch}, {2, 3, 4, 5})
        for columns in WIDTHS:
            lines = self.show("lensctl branch Mammal:2", columns)
            self.assertEqual([line.split()[0] for line in lines[1:]], [c["concept"] for c in branch])
            for line, c in zip(lines[1:], branch):
                self.assertEqual(len(line) - len(line.lstrip()), 2 * (c["layer"] - branch[0]["layer"]))
                self.assertEqual([int(cell) for cell in cells(line)[4:6]], [c["rows"], c["hits"]])
            self.assertEqual({line.index("slot") for line in lines[1:]}, {lines[0].index("where")})

    @shows("explain")
    def test_explain_says_a_concepts_place_and_scores_in_sentences(self):
        said = self.json("explain", "Dog:5")
        for columns in WIDTHS:
            lines = self.show("lensctl explain Dog:5", columns)
            text = " ".join(words(lines))
            self.assertTrue(lines[0].startswith(f"Dog:5  id {said['id']}, layer {said['layer']}, "))
            self.assertIn("path: " + " > ".join(c["concept"] for c in said["path"]), text)
            for part in said["when"] + said["why"]:
                self.assertIn(" ".join(part.split()), text)
            at = next(i for i, line in enumerate(lines) if "self_mean" in line)
            row, = self.assert_columns(lines[at:at + 2], list(said["calibration"]))
            self.assertAlmostEqual(float(row[0]), said["calibration"]["self_mean"], places=3)
            examples = [line.split() for line in lines[-len(said["examples"]):]]
            self.assertEqual(examples, [[f"{e['raw']:.2f}", f"{e['calibrated']:.3f}"] for e in said["examples"]])
        score = self.show("lensctl explain Organism:0 --score 0.9", 80)
        self.assertIn("a score of 0.9000", score)
        self.assertIn("expands, and its children are scored", " ".join(words(score)))

    @shows("detect")
    def test_detect_has_the_tokens_and_what_fires_on_them(self):
        file = sentence("dogs")
        answers = self.ask("--json", "detect", file).json_lines()
        for columns in WIDTHS:
            lines = self.show(f"lensctl detect {file}", columns)
            rows = []
            for line in lines:
                if line[:5].strip():
                    rows.append(line)
                else:
                    self.assertEqual(line[:21].strip(), "")  # below the concepts, not below the tokens
                    rows[-1] += line
            self.assertEqual(len(rows), len(answers))
            for row, answer in zip(rows, answers):
                hits = re.findall(r"(\S+:\d+) (\d\.\d\d)", row)
                self.assertEqual(row.split()[:2], [str(answer["row"]), answer["token"]])
                self.assertEqual([name for name, _ in hits], [d["concept"] for d in answer["detections"]])
                for (_, score), detection in zip(hits, answer["detections"]):
                    self.assertAlmostEqual(float(score), detection["score"], delta=0.006)
        self.assertRegex(self.capture("-e"), r"\x1b\[1mDog:5 0\.\d\d")
        self.assertRegex(self.capture("-e"), r"\x1b\[33mFLAG about-dogs raised")
        self.assertEqual(len(self.piped("detect", file).splitlines()), len(answers))

    def test_tail_puts_what_does_not_fit_below_the_events_number(self):
        self.ask("detect", sentence("dogs"))
        for columns in WIDTHS:
            lines = self.show("lensctl tail --from start -n 3 --min 0", columns)
            begins = [line for line in lines if re.match(r"\d\d:\d\d:\d\d\.\d{3}  #", line)]
            self.assertEqual(len(begins), 3)
            self.assertGreater(len(lines), 4)  # a row has ten concepts
            self.assertEqual([line for line in lines if line not in begins and line[:14].strip()], lines[-1:])
            self.assertIn("3 rows shown", lines[-1])

    @shows("latency")
    def test_latency_has_both_tables_of_stages(self):
        figures = self.json("latency")
        for columns in WIDTHS:
            lines = self.show("lensctl latency", columns)
            blank = lines.index("")
            rows = self.assert_columns(lines[:blank], ["us", "p50", "p90", "p99", "p99.9", "max", "mean"])
            self.assertEqual([row[0] for row in rows], list(figures["stages_ns"]))
            for row in rows:
                for text, key in zip(row[1:], ("p50", "p90", "p99", "p99.9", "max", "mean")):
                    self.assertAlmostEqual(float(text), figures["stages_ns"][row[0]][key] / 1e3, delta=0.06)
            second = lines[blank + 1:lines.index("", blank + 1)]
            self.assert_columns(second, ["HatCat's stages, us", "ours", "p50", "p99", "mean", "share"])
            self.assertIn(f"{figures['rows']} rows (0 invalid, ", " ".join(lines))

    @shows("dmon")
    def test_dmon_is_csv_wherever_it_goes(self):
        lines = self.show("lensctl dmon -c 2 -d 0.2", WIDE)
        self.assertEqual(len(lines), 3)
        self.assertEqual({line.count(",") for line in lines}, {lines[0].count(",")})
        self.assertTrue(lines[0].startswith("time,rows_per_s,p50_us,p99_us,"))
        row = dict(zip(lines[0].split(","), lines[2].split(",")))
        self.assertEqual(int(row["slots"]), self.json("status")["slots"])

    # ---- packs ------------------------------------------------------------------------------------------------------

    @shows("pack import hatcat", "pack inspect", "pack verify", "pack quantize")
    def test_packs_are_made_looked_at_and_converted(self):
        text = " ".join(words(self.show(f"lensctl pack import hatcat {FIXTURES}/hatcat-small -o made.lens")))
        inspected = self.json("pack", "inspect", self.dir / "made.lens")
        self.assertIn(f"made.lens: {inspected['lenses']} lenses ({inspected['dim']} -> {inspected['h1']} -> ", text)
        for columns in WIDTHS:
            lines = self.show("lensctl pack inspect made.lens", columns)
            first = lines.index("")
            second = lines.index("", first + 1)
            self.assertIn(f"weights     {inspected['dtype']}", lines)
            rows = self.assert_columns(lines[first + 1:second], ["tensor", "dtype", "shape", "bytes"])
            self.assertEqual([row[0] for row in rows], [t["name"] for t in inspected["tensors"]])
            self.assertEqual([int(row[3]) for row in rows], [t["bytes"] for t in inspected["tensors"]])
            layers = [line.split() for line in lines[second + 2:]]
            self.assertEqual([int(row[1]) for row in layers], [layer["lenses"] for layer in inspected["layers"]])
            self.assertTrue(all(set(row[4]) == {"#"} for row in layers), layers)
        verified = self.json("pack", "verify", self.dir / "made.lens")
        line, = self.show("lensctl pack verify made.lens")
        self.assertRegex(line, rf"^made\.lens: ok: {verified['lenses']} lenses, {verified['checksums']} checksums, ")
        lines = self.show("lensctl pack quantize made.lens -o made8.lens --dtype int8")
        self.assertIn("as f32 -> ", lines[0])
        at = next(i for i, line in enumerate(lines) if line.startswith("weights"))
        rows = self.assert_columns(lines[at:], ["weights", "from", "to", "mean error", "largest error",
                                                "of the row's largest", "became 0"])
        self.assertEqual([row[:3] for row in rows], [["w1", "f32", "int8"], ["w2", "f32", "bf16"]])
        self.assertEqual(self.json("pack", "inspect", self.dir / "made8.lens")["dtype"], "int8")
        self.show("lensctl pack verify nothing.lens", code=1)

    @shows("load", "swap", "preload", "unload")
    def test_packs_come_change_and_go_while_the_daemon_serves(self):
        for name, dtype in (("one", "f32"), ("two", "int8")):
            lensctl("pack", "import", "hatcat", FIXTURES / "hatcat-small", "-o", self.dir / f"{name}.lens", "--dtype",
                    dtype).check()
        generations = []
        for command in ("load one.lens --name third", "swap two.lens --name third"):
            line = self.show(f"lensctl {command}")[-1]
            self.assertRegex(line, r"^pack third is served, generation \d+$")
            generations.append(int(line.split()[-1]))
        self.assertLess(generations[0], generations[1])
        third = next(pack for pack in self.json("packs")["packs"] if pack["name"] == "third")
        self.assertEqual((third["dtype"], third["generation"]), ("int8", generations[1]))
        line = self.show("lensctl preload third")[-1]
        self.assertTrue(line.startswith(f"pack third: {third['lenses']} of {third['lenses']} lenses are in its "), line)
        self.assertEqual(self.show("lensctl unload third")[-1], "pack third is unloaded")
        self.assertEqual([pack["name"] for pack in self.json("packs")["packs"]], ["wordnet-minilm"])
        self.show("lensctl unload third", code=1)

    # ---- measuring --------------------------------------------------------------------------------------------------

    @shows("bench")
    def test_bench_ends_with_its_table(self):
        lines = self.show("lensctl bench token --seconds 0.2")
        at = next(i for i, line in enumerate(lines) if line.startswith("us "))
        rows = self.assert_columns(lines[at:lines.index("", at)], ["us", "p50", "p90", "p99", "p99.9", "max", "mean"])
        self.assertEqual([row[0] for row in rows], ["submission, there and back", "a row, within lensd"])
        self.assertRegex(" ".join(lines), r"\d+ rows/s: \d+ rows in ")

    @shows("trace record", "cache-sim")
    def test_a_trace_is_recorded_and_simulated(self):
        with Sender(self.daemon, pause_s=0.02):
            line = self.show("lensctl trace record -o trace.bin --rows 5")[-1]
        self.assertRegex(line, r"^5 rows recorded, 0 left out; .* in trace\.bin$")
        simulated = self.json("cache-sim", self.dir / "trace.bin")
        for columns in WIDTHS:
            lines = self.show("lensctl cache-sim trace.bin", columns)
            self.assertTrue(lines[0].startswith(f"{simulated['rows']} rows, "))
            at = next(i for i, line in enumerate(lines) if line.startswith("slots"))
            rows = self.assert_columns(lines[at:], cells(lines[at]))
            self.assertEqual({int(row[0]) for row in rows}, {size["slots"] for size in simulated["sizes"]})

    # ---- words and mistakes -----------------------------------------------------------------------------------------

    @shows("completion")
    def test_completion_is_a_script_that_the_shell_takes(self):
        lines = self.show("lensctl completion bash > script; bash -c '. ./script; complete -p lensctl'")
        self.assertRegex(lines[-1], r"^complete .*lensctl$")
        self.assertIn("expects one of", " ".join(words(self.show("lensctl completion csh", code=2))))

    @shows("help")
    def test_help_fits_the_window_and_names_every_command(self):
        commands = self.json("help")["commands"]
        for columns in WIDTHS:
            text = " ".join(words(self.show("lensctl help", columns)))
            for command in commands:
                self.assertIn(" ".join(command["summary"].split()), text)
        for command in commands:
            with self.subTest(command["name"]):
                lines = self.show(f"lensctl help {command['name']}", 80)
                self.assertTrue(lines[0].startswith(f"usage: lensctl {command['name']}"))
                for flag in command["flags"]:
                    self.assertRegex("\n".join(lines), rf"(?m)^  {flag['name']}( |$)")

    def test_a_mistyped_word_is_told_from_what_was_meant(self):
        self.assertEqual(self.show("lensctl statu", code=2),
                         ["lensctl: unknown command 'statu'; did you mean 'status'?"])
        self.assertIn("unknown flag '--frob'; `lensctl help status` lists those",
                      " ".join(self.show("lensctl status --frob", code=2)))
        self.assertIn("found 'more'", " ".join(self.show("lensctl status more", code=2)))
        self.assertIn("unknown flag '--top-kk'; did you mean '--top-k'?",
                      " ".join(self.show(f"lensctl detect {PACK.name} --top-kk 1", code=2)))

    def test_without_a_daemon_every_question_ends_with_3_and_what_to_do(self):
        for command in ("status", "packs", "sessions", "config", "concepts", "explain Dog:5", "latency", "dmon -c 1",
                        "bench token", "unload it", "shutdown", f"detect {sentence('dogs')}"):
            with self.subTest(command):
                text = " ".join(words(self.show(f"lensctl --socket /nowhere/lensd.sock {command}", code=3)))
                self.assertIn("no lensd answers at /nowhere/lensd.sock", text)
                self.assertIn("start lensd, or name its socket", text)

    @shows("shutdown")
    def test_shutdown_ends_the_daemon(self):
        with Daemon() as other:
            self.assertEqual(len(self.show(f"lensctl --socket {other.socket} shutdown")), 1)
            other.wait_exit()

    def test_every_command_of_the_table_is_shown_here_or_elsewhere(self):
        table = {command["name"] for command in self.json("help")["commands"]}
        self.assertEqual(table, SHOWN | set(ELSEWHERE))
        for name, file in ELSEWHERE.items():
            text = (ROOT / "tests" / "e2e" / file).read_text()
            self.assertIn("Terminal(", text)
            self.assertIn(f'"{name}"', text)


if __name__ == "__main__":
    unittest.main()
