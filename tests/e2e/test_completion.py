"""What bash, zsh and fish propose for words of lensctl, each asked for real, and that completion, help and manual name
every command and flag of the command table."""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import time
import unittest

from tests.e2e.harness import (BUILD, ROOT, SANITIZED, Daemon, clean_env, copy_pack, eventually, lensctl, lensd, run,
                               small_pack, temp_dir)

PATIENCE_S = 120 if SANITIZED else 30
PROGRAM = BUILD / "lensctl"


def table():
    return lensctl("help", "--json").check().json()


def asked(*words, env=None):
    """Proposals of `lensctl __complete`, without what they are."""
    result = run([PROGRAM, "__complete", *words], env=env)
    assert result.code == 0 and result.stderr == "", result
    return [line.split("\t")[0] for line in result.stdout.splitlines()]


class EveryRow(unittest.TestCase):
    """Walks the whole command table."""

    def test_completion_proposes_every_word_of_every_command(self):
        for command in table()["commands"]:
            words = command["name"].split()
            for i, word in enumerate(words):
                with self.subTest(command=command["name"]):
                    self.assertIn(word, asked(*words[:i], ""))
                    self.assertIn(word, asked(*words[:i], word[:2]))

    def test_completion_proposes_every_flag_with_its_choices(self):
        everywhere = [f["name"] for f in table()["flags_of_every_command"]]
        for command in table()["commands"]:
            words = command["name"].split()
            proposed = asked(*words, "-")
            for flag in command["flags"]:
                with self.subTest(command=command["name"], flag=flag["name"]):
                    self.assertIn(flag["name"], proposed)
                    if flag["choices"]:
                        self.assertEqual(asked(*words, flag["name"], ""), flag["choices"])
            for name in everywhere:
                self.assertIn(name, proposed)

    def test_help_names_every_command_and_every_flag_with_bounds_and_default(self):
        text = lensctl("--help").check().stdout
        for command in table()["commands"]:
            with self.subTest(command=command["name"]):
                self.assertIn("\n  " + command["name"], text)
                self.assertIn(command["summary"], text)
                own = lensctl("help", *command["name"].split()).check().stdout
                self.assertEqual(lensctl(*command["name"].split(), "--help").check().stdout, own)
                for flag in command["flags"]:
                    line = next(l for l in own.splitlines() if re.match(rf"  {flag['name']}\b", l))
                    self.assertIn(flag["help"], line)
                    for choice in flag["choices"]:
                        self.assertIn(choice, line)
                    if flag["default"] is not None:
                        self.assertIn(f"default: {flag['default']}", line)
                    if flag["min"] is not None:
                        self.assertRegex(line, rf"{flag['min']:g} to |at least {flag['min']:g}")

    def test_every_flag_that_takes_a_value_says_what_holds_without_it(self):
        silent = [(c["name"], f["name"]) for c in table()["commands"] for f in c["flags"]
                  if f["kind"] != "switch" and not f["required"] and not f["default"]]
        self.assertEqual(silent, [])

    def test_a_letter_left_out_of_a_command_or_flag_names_the_right_one(self):
        for command in table()["commands"]:
            name = command["name"]
            if len(name) < 4:
                continue
            result = lensctl(*(name[:-2] + name[-1]).split())
            self.assertEqual(result.code, 2, result)
            self.assertRegex(result.stderr, rf"did you mean '{name}'")
            for flag in command["flags"]:
                if len(flag["name"]) < 5:
                    continue
                result = lensctl(*name.split(), flag["name"][:-2] + flag["name"][-1])
                self.assertEqual(result.code, 2, result)
                self.assertIn("did you mean '--", result.stderr)

    def test_the_table_as_json_can_be_asked_for_a_part(self):
        names = [c["name"] for c in lensctl("help", "pack", "--json").check().json()["commands"]]
        self.assertIn("pack import hatcat", names)
        self.assertTrue(all(name.startswith("pack ") for name in names), names)


class Words(unittest.TestCase):
    """The hidden command that all three shells ask."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()])
        cls.where = ["--socket", str(cls.daemon.socket)]

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def test_names_of_packs_concepts_and_sessions_come_from_the_daemon(self):
        self.assertEqual(asked(*self.where, "unload", ""), [small_pack().stem])
        self.assertEqual(asked(*self.where, "preload", small_pack().stem[:3]), [small_pack().stem])
        self.assertEqual(asked(*self.where, "explain", "Decepti"), ["Deception:1"])
        self.assertEqual(asked("explain", f"--socket={self.daemon.socket}", "Decepti"), ["Deception:1"])
        self.assertEqual(asked(*self.where, "explain", "Change:"), asked(*self.where, "concepts", "Change:"))
        keys = [c["concept"] for c in self.daemon.lensctl("concepts", "--json").check().json()["concepts"]]
        self.assertEqual(sorted(asked(*self.where, "explain", "")), sorted(keys))
        self.assertEqual(asked(*self.where, "latency", "--session", ""), [])
        self.assertEqual(asked(*self.where, "config", "cache.host"), ["cache.host_memory"])
        self.assertEqual(asked(*self.where, "timeline", ""), [":file"])  # and sessions, if there were any
        sender = subprocess.Popen([PROGRAM, *self.where, "bench", "token", "--seconds", "600"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_env())
        try:
            number = eventually(lambda: asked(*self.where, "latency", "--session", ""), PATIENCE_S, "a session")
            self.assertEqual(asked(*self.where, "timeline", ""), [*number, ":file"])
        finally:
            sender.kill()
            sender.wait()
        eventually(lambda: not asked(*self.where, "latency", "--session", ""), PATIENCE_S, "no session")

    def test_lists_are_completed_after_the_last_comma(self):
        self.assertEqual(asked(*self.where, "detect", "--pin", "Mind:0,Decepti"), ["Mind:0,Deception:1", ":nospace"])
        self.assertEqual(asked(*self.where, "detect", "--pin=Mind:0,Decepti"), ["--pin=Mind:0,Deception:1", ":nospace"])

    def test_pattern_characters_stand_for_themselves(self):
        self.assertEqual(asked(*self.where, "explain", "*"), [])
        self.assertEqual(asked(*self.where, "explain", "[A-Z]"), [])

    def test_files_are_left_to_the_shell(self):
        self.assertEqual(asked("detect", ""), [":file"])
        self.assertEqual(asked("pack", "import", "hatcat", ""), [":directory"])
        self.assertEqual(asked("pack", "import", "hatcat", "x", "-o", ""), [":file"])
        self.assertEqual(asked("detect", "one", ""), [])
        self.assertEqual(asked("detect", "--", ""), [":file"])

    def test_nothing_is_said_without_a_daemon_or_by_one_that_stands_still(self):
        nowhere = temp_dir() / "nobody.sock"
        self.assertEqual(asked("--socket", str(nowhere), "unload", ""), [])
        self.daemon.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            self.assertEqual(asked(*self.where, "explain", ""), [])
            self.assertLess(time.monotonic() - began, PATIENCE_S)
        finally:
            self.daemon.send_signal(signal.SIGCONT)

    def test_odd_words_are_survived(self):
        for words in ([], ["--"], ["-"], ["--nonsense=", "x"], ["nonsense", ""], ["detect", "--rank=", "--rank", ""],
                      ["x" * 5000, ""], ["detect", "--pin", "," * 3000]):
            asked(*words)


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, command, env):
        try:
            self.process_id, self.terminal = pty.fork()
        except OSError as error:
            raise unittest.SkipTest(f"no terminal can be made here: {error}") from error
        if self.process_id == 0:
            os.execvpe(command[0], command, env)
        self.seen = ""

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait_for(self, pattern, start=0):
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.seen[start:]):
            if time.monotonic() > deadline:
                raise AssertionError(f"never saw {pattern!r} in {self.seen!r}")
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.terminal, 4096).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"the shell ended: {self.seen!r}") from None
        return self.seen[start:]

    def close(self):
        os.kill(self.process_id, signal.SIGKILL)
        os.waitpid(self.process_id, 0)
        os.close(self.terminal)


class Shells(unittest.TestCase):
    """Each shell with the script that lensctl prints, on the same words."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack(), copy_pack(small_pack(), "two words.lens")])
        cls.dir = temp_dir()
        (cls.dir / "bin").mkdir()
        (cls.dir / "bin" / "lensctl").symlink_to(PROGRAM)
        (cls.dir / "states.npy").write_bytes(b"")
        (cls.dir / "stairs").mkdir()
        for shell in ("bash", "zsh", "fish"):
            (cls.dir / f"lensctl.{shell}").write_text(lensctl("completion", shell).check().stdout)
            shutil.copy(ROOT / "daemon" / f"lensd.{shell}", cls.dir)
        (cls.dir / "bin" / "lensd").symlink_to(BUILD / "lensd")
        cls.env = clean_env(PATH=f"{cls.dir}/bin:{os.environ['PATH']}", LENSD_SOCKET=cls.daemon.socket, TERM="dumb",
                            HOME=cls.dir, LC_ALL="C.UTF-8")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    # What is typed, and what each shell must make of it: the whole word as it stands on the line afterwards.
    CASES = [
        ("lensctl stat", ["status"]),
        ("lensctl pack imp", ["import"]),
        ("lensctl pack ", ["import", "inspect", "verify", "quantize"]),
        ("lensctl detect x --top", ["--top-k"]),
        ("lensctl detect x --rank ", ["raw", "calibrated"]),
        ("lensctl explain Decepti", ["Deception:1"]),
        ("lensctl explain Deception:", ["Deception:1"]),
        ("lensctl detect x --pin Mind:0,Decepti", ["Mind:0,Deception:1"]),
        ("lensctl completion ", ["bash", "zsh", "fish"]),
        ("lensctl detect sta", ["states.npy", "stairs"]),
        ("lensctl pack import hatcat st", ["stairs"]),
        ("lensctl unload hat", [None]),  # the pack's name
        ("lensctl unload two", ["two words"]),
        ("lensd --pool-comp", ["--pool-compute"]),
        ("lensd --pool-compute ", ["exact", "bf16", "int8"]),
        ("lensd --backend c", ["cpu", "cuda"]),
        ("lensd --check-config --cache-prefetch o", ["on", "off"]),
        ("lensd --pack stat", ["states.npy"]),
    ]

    def expected(self, words):
        return sorted(word if word is not None else small_pack().stem for word in words)

    def need(self, shell):
        if shutil.which(shell) is None:
            self.skipTest(f"{shell} isn't installed")

    def ask_bash(self, line):
        """COMPREPLY for a line, its words cut as readline cuts them."""
        script = r'''
            source "$1/${2%% *}.bash"
            COMP_LINE=$2 COMP_POINT=${#2}
            COMP_WORDS=() word=
            for ((at = 0; at < ${#2}; at++)); do
                c=${2:at:1}
                case $c in
                ' ') [[ -n $word ]] && COMP_WORDS+=("$word"); word= ;;
                [:=]) [[ -n $word ]] && COMP_WORDS+=("$word"); COMP_WORDS+=("$c"); word= ;;
                *) word+=$c ;;
                esac
            done
            [[ $2 == *[:=] ]] || COMP_WORDS+=("$word")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            "_${2%% *}"
            printf '%s\n' "${COMPREPLY[@]}"
        '''
        result = subprocess.run(["bash", "--norc", "-c", script, "bash", self.dir, line],
                                cwd=self.dir, env=self.env, stdin=subprocess.DEVNULL, text=True, capture_output=True,
                                timeout=PATIENCE_S)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)
        return [text for text in result.stdout.splitlines() if text]

    def test_bash(self):
        self.need("bash")
        for line, words in self.CASES:
            with self.subTest(line=line):
                wanted = self.expected(words)
                after_colon = line.split()[-1] if ":" in line and not line.endswith(" ") else ""
                kept = after_colon[:after_colon.rfind(":") + 1]
                found = [word.replace("\\ ", " ") for word in self.ask_bash(line)]
                self.assertEqual(sorted(found), [word.removeprefix(kept) for word in wanted])

    def test_bash_finds_the_script_by_itself_where_it_is_installed(self):
        self.need("bash")
        loader = pathlib.Path("/usr/share/bash-completion/bash_completion")
        if not loader.exists():
            self.skipTest("bash-completion isn't installed")
        folder = self.dir / "share" / "bash-completion" / "completions"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.dir / "lensctl.bash", folder / "lensctl")
        script = f"source {loader}; _completion_loader lensctl; complete -p lensctl"
        result = subprocess.run(["bash", "--norc", "-c", script], text=True, capture_output=True, timeout=PATIENCE_S,
                                env={**self.env, "XDG_DATA_DIRS": str(self.dir / "share")}, stdin=subprocess.DEVNULL)
        self.assertEqual(result.stdout, "complete -F _lensctl lensctl\n", result)

    def test_every_flag_of_lensd_is_proposed_in_bash(self):
        self.need("bash")
        flags = sorted(re.findall(r"^  (--[a-z-]+)", lensd("--help").check().stdout, re.M))
        self.assertGreater(len(flags), 40)
        self.assertEqual(sorted(self.ask_bash("lensd --")), flags)

    def test_bash_at_a_prompt(self):
        self.need("bash")
        shell = Shell(["bash", "--norc", "--noprofile", "-i"], {**self.env, "PS1": "ready> "})
        try:
            shell.wait_for("ready> ")
            shell.type(f"cd {self.dir}; source lensctl.bash; echo sourced\n")
            shell.wait_for("\nsourced|\rsourced")
            for typed, seen in (("lensctl exp\tDecepti\t", "lensctl explain Deception:1 "),
                                ("lensctl detect --rank=cali\t", "--rank=calibrated "),
                                ("lensctl detect stat\t", "detect states.npy "),
                                ("lensctl unload two\t", r"unload two\ words "),
                                ("lensctl unload two\\ wo\t", r"unload two\ words ")):
                start = len(shell.seen)
                shell.type(typed)
                shell.wait_for(re.escape(seen), start)
                shell.type("\x15")
        finally:
            shell.close()

    def test_fish(self):
        self.need("fish")
        for line, words in self.CASES:
            with self.subTest(line=line):
                script = f"source {self.dir}/{line.split()[0]}.fish; complete -C '{line}'"
                result = subprocess.run(["fish", "--no-config", "-c", script], cwd=self.dir, env=self.env, text=True,
                                        stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S)
                self.assertEqual(result.returncode, 0, result)
                found = sorted(text.split("\t")[0].rstrip("/") for text in result.stdout.splitlines())
                self.assertEqual(found, self.expected(words))

    def test_zsh(self):
        self.need("zsh")
        folder = self.dir / "functions"
        folder.mkdir(exist_ok=True)
        for program in ("lensctl", "lensd"):
            shutil.copy(self.dir / f"{program}.zsh", folder / f"_{program}")
        shell = Shell(["zsh", "-f", "-i"], {**self.env, "PS1": "ready> ", "COLUMNS": "200"})
        try:
            shell.wait_for("ready> ")
            shell.type(f"cd {self.dir}; fpath=({folder} $fpath); autoload -U compinit; compinit -u -D; unsetopt "
                       "ZLE_BRACKETED_PASTE 2>/dev/null; setopt noautomenu nobeep; LISTMAX=999; echo so\"\"urced\n")
            shell.wait_for("sourced")
            for line, words in self.CASES:
                wanted = self.expected(words)
                with self.subTest(line=line):
                    start = len(shell.seen)
                    shell.type(line + ("\t" if len(wanted) == 1 else "\t\x04"))  # ^D lists
                    for word in wanted:
                        shell.wait_for(re.escape(word).replace("\\ ", r"\\? "), start)
                    shell.type("\x15")
        finally:
            shell.close()


class HostileNames(unittest.TestCase):
    """Packs name concepts as they like; whoever completes such a name and presses Enter runs lensctl with it, and
    nothing else."""
    NAMES = ["$(touch ran):1", "`touch ran`:1", "x;touch ran", "a&touch ran", "a|touch ran", "a b:2", "it's:1",
             'say "hi":1', "back\\slash", "a>ran", "{a,b}", "!!", "${PATH}", "é€:3"]

    def setUp(self):
        self.dir = temp_dir()
        (self.dir / "bin").mkdir()
        program = self.dir / "bin" / "lensctl"
        program.write_text('#!/bin/sh\nif [ "$1" = __complete ]; then cat "$HOME/words"; exit; fi\n'
                           'printf "%s\\n" "$@" > "$HOME/.words"; mv "$HOME/.words" "$HOME/got"\n')
        program.chmod(0o755)
        for shell in ("bash", "zsh", "fish"):
            (self.dir / f"lensctl.{shell}").write_text(lensctl("completion", shell).check().stdout)
        self.env = clean_env(PATH=f"{self.dir}/bin:{os.environ['PATH']}", TERM="dumb", HOME=self.dir,
                             LC_ALL="C.UTF-8", PS1="ready> ", COLUMNS="200")

    def check(self, command, begin):
        if shutil.which(command[0]) is None:
            self.skipTest(f"{command[0]} isn't installed")
        got = self.dir / "got"
        for name in self.NAMES:
            with self.subTest(name=name):
                (self.dir / "words").write_text(f"{name}\t\n")
                got.unlink(missing_ok=True)
                shell = Shell(command, self.env)
                try:
                    shell.type(f"cd {self.dir}; {begin}; echo so\"\"urced\n")
                    shell.wait_for("sourced")
                    shell.type("lensctl explain \t\r")
                    eventually(got.exists, timeout=PATIENCE_S, what=f"lensctl being run: {shell.seen!r}")
                finally:
                    shell.close()
                self.assertEqual(got.read_text(), f"explain\n{name}\n")
                self.assertFalse((self.dir / "ran").exists(), "the name was run")

    def test_bash(self):
        self.check(["bash", "--norc", "--noprofile", "-i"], "source lensctl.bash")

    def test_fish(self):
        self.check(["fish", "--no-config", "-i"], "source lensctl.fish")

    def test_zsh(self):
        self.check(["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; unsetopt ZLE_BRACKETED_PASTE "
                   "2>/dev/null; setopt nobeep; source lensctl.zsh")


if __name__ == "__main__":
    unittest.main()
