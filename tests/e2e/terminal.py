"""A terminal as a person sees it: programs run in tmux, keys are pressed, the screen is read as text.

    with Terminal(80, 24) as terminal:
        terminal.run("lensctl", "top")
        terminal.wait_for("full service")
        terminal.press("q")
"""
import re
import shlex
import shutil
import subprocess
import unittest

from tests.e2e.harness import clean_env, eventually, temp_dir

WAIT_S = 60


class Terminal:
    """A tmux server of its own with one window of that size, in which a shell waits. Skips where there is no tmux."""

    def __init__(self, columns=80, rows=24, **env):
        if shutil.which("tmux") is None:
            raise unittest.SkipTest("needs tmux (Debian: apt-get install tmux)")
        self.socket = temp_dir() / "tmux"
        # Nobody would see a report of leaks there, and looking for them hangs when the terminal goes away meanwhile.
        self.env = clean_env(LC_ALL="C.UTF-8", ASAN_OPTIONS="detect_leaks=0:abort_on_error=0:exitcode=99", **env)
        self.env.pop("TMUX", None)
        try:
            self.tmux("-u", "-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows, "sh")
        except AssertionError as error:
            raise unittest.SkipTest(f"tmux doesn't work here: {error}") from None
        self.type("PS1='she''ll> '; clear")  # what the environment says of it is nothing to a root's dash
        self.press("Enter")
        self.wait_for("shell>")

    def tmux(self, *args):
        done = subprocess.run(["tmux", "-S", str(self.socket), *map(str, args)], env=self.env, timeout=WAIT_S,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise AssertionError(f"tmux {args[0]}: {done.stderr.decode()}")
        return done.stdout.decode()

    def run(self, *command):
        """Types a command line into the shell."""
        self.type(" ".join(shlex.quote(str(word)) for word in command))
        self.press("Enter")

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def press(self, *keys):
        """Keys by tmux's names: q, Enter, Down, C-c, PPage.."""
        self.tmux("send-keys", *keys)

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", columns, "-y", rows)

    def lines(self, styles=False):
        """The screen now, line by line, without spaces at their ends; with `styles`, with escape sequences."""
        text = self.tmux("capture-pane", "-p", *(["-e"] if styles else []))
        return [line.rstrip() for line in text.split("\n")]

    def screen(self):
        return "\n".join(self.lines())

    def wait_for(self, part, timeout=WAIT_S):
        """Waits until the screen has `part`, a text or a compiled pattern; returns the screen."""
        def seen():
            screen = self.screen()
            found = part.search(screen) if isinstance(part, re.Pattern) else part in screen
            return screen if found else None
        try:
            return eventually(seen, timeout)
        except AssertionError:
            raise AssertionError(f"{part!r} never came:\n{self.screen()}") from None

    def close(self):
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], env=self.env, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
