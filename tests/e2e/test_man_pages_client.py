"""The man pages of lensctl and liblens: every command and flag of the command table, every function that liblens.so
exports, an example that compiles and runs, and no complaint of mandoc or groff."""
import re
import shutil
import subprocess
import unittest

from tests.e2e.harness import BUILD, ROOT, SANITIZED, Daemon, clean_env, lensctl, small_pack, temp_dir
from tests.e2e.test_completion import table


def page(name):
    """A page made by the Makefile's rule, from this build's lensctl."""
    source = next(ROOT.glob(f"client/*/{name}.in")).relative_to(ROOT)
    build = BUILD.relative_to(ROOT) if BUILD.is_relative_to(ROOT) else BUILD  # as the Makefile calls it
    # The program stays as it is (-o), and the page is made anew whatever its age (-W).
    done = subprocess.run(["make", "-s", "--no-print-directory", f"BUILD={build}", "-o", f"{build}/lensctl", "-W", source,
                           "CUDA=", f"{build}/man/{name}"], cwd=ROOT, text=True, capture_output=True, env=clean_env())
    if done.returncode != 0:
        raise AssertionError(done.stdout + done.stderr)
    return BUILD / "man" / name


def rendered(path):
    """As a reader sees it, without overstriking and with lines joined."""
    if shutil.which("mandoc") is None:
        raise unittest.SkipTest("mandoc isn't installed")
    text = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=400", path], text=True, capture_output=True).stdout
    return re.sub(r".\b", lambda m: m.group()[:-1] if m.group().endswith("\b") else m.group(),
                  re.sub(r".\x08", "", text))


def flat(text):
    return " ".join(text.split())


class Pages(unittest.TestCase):
    def test_mandoc_finds_nothing_to_complain_about(self):
        if shutil.which("mandoc") is None:
            self.skipTest("mandoc isn't installed")
        for name in ("lensctl.1", "liblens.3"):
            done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page(name)], text=True, capture_output=True)
            self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_lensctl_has_every_command_and_flag_with_its_help_and_bounds(self):
        text = flat(rendered(page("lensctl.1")))
        commands = table()["commands"]
        for command in commands:
            with self.subTest(command=command["name"]):
                at = text.index(command["name"] + " ")
                parts = [command["summary"], command["details"] or "", command["json"] or ""]
                for flag in command["flags"]:
                    parts += [flag["name"], flag["help"]]
                    if flag["default"] is not None:
                        parts.append("default: " + flag["default"])
                self.assertEqual([part for part in parts if flat(part) not in text[at:]], [])
        self.assertNotIn("@", re.sub(r"\S+@\d*\.service|lensd@", "", text))

    def test_each_command_says_what_its_json_is(self):
        without = [c["name"] for c in table()["commands"] if c["json"] is None]
        self.assertEqual(without, ["completion"])

    def test_findings_of_doctor_are_those_that_the_page_lists(self):
        code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "client" / "lensctl").glob("doctor_*.c"))
        given = set(re.findall(r'doctor_find\(\s*&doctor->report,\s*"([a-z]+\.[a-z]+)"', code))
        self.assertGreater(len(given), 40)
        text = page("lensctl.1").read_text(encoding="utf-8")
        section = text[text.index(".Sh FINDINGS"):text.index(".Sh ENVIRONMENT")]
        self.assertEqual(set(re.findall(r"\.It Ic ([a-z.]+)", section)), given)

    def check_members(self, command, answer, words):
        for key, value in answer.items():
            if key == "schema_version":
                continue
            with self.subTest(command=command, member=key):
                self.assertRegex(words, rf"\b{key}\b")
            if key == "flags_of_every_command":
                continue  # as the flags of a command
            for inner in value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else []:
                with self.subTest(command=command, member=f"{key}.{inner}"):
                    self.assertRegex(words, rf"\b{inner}\b")

    def test_members_of_json_answers_are_the_documented_ones(self):
        documented = {c["name"]: c["json"] for c in table()["commands"]}
        tokens = ROOT / "tests" / "fixtures" / "hatcat-small" / "tokens-short.npy"
        with Daemon(packs=[small_pack()]) as daemon:
            for command in (["packs"], ["config"], ["concepts", "Mind*"], ["explain", "Deception:1"], ["preload"],
                            ["doctor"], ["help"], ["pack", "verify", small_pack()], ["pack", "inspect", small_pack()],
                            ["bench", "token", "--seconds", "0.1"], ["timeline", tokens], ["detect", tokens],
                            ["top", "--once", "--interval", "0.2", "--watch", "Deception:1"], ["dmon", "-c", "1"]):
                name = " ".join(map(str, command[:2])) if command[0] == "pack" else command[0]
                result = daemon.lensctl(*command, "--json")
                several = name in ("detect", "dmon")
                words = documented[name]
                if name == "dmon":  # its columns are named in its help
                    words += lensctl("dmon", "--help").check().stdout + \
                        daemon.lensctl("dmon", "-c", "1").check().stdout.replace(",", " ")
                for answer in result.json_lines() if several else [result.json()]:
                    self.check_members(name, answer, words)

    def test_liblens_has_every_function_that_is_exported(self):
        text = page("liblens.3").read_text(encoding="utf-8")
        symbols = subprocess.run(["nm", "-D", "--defined-only", BUILD / "liblens.so"], text=True, capture_output=True,
                                 check=True).stdout
        exported = {line.split()[-1].split("@")[0] for line in symbols.splitlines() if " T " in line}
        self.assertIn("lens_session_submit", exported)
        synopsis = text[text.index(".Sh SYNOPSIS"):text.index(".Sh DESCRIPTION")]
        described = text[text.index(".Sh DESCRIPTION"):]
        for name in sorted(exported):
            with self.subTest(function=name):
                self.assertRegex(synopsis, rf"\.(Fn|Fo) {name}\b")
                self.assertRegex(described, rf"\.Fn {name}\b")
        for name in set(re.findall(r"\.F[no] (lens_\w+)", text)):
            self.assertIn(name, exported)

    def test_the_prototypes_are_those_of_the_header(self):
        header = flat((ROOT / "client" / "liblens" / "lens.h").read_text(encoding="utf-8"))
        text = page("liblens.3").read_text(encoding="utf-8")
        for name, arguments in re.findall(r"\.Fo (lens_\w+)\n((?:\.Fa .*\n)+)\.Fc", text):
            fields = [a.strip('"') for a in re.findall(r"\.Fa (.*)", arguments)]
            with self.subTest(function=name):
                self.assertIn(f"{name}({', '.join(fields)})", header)
        for name, argument in re.findall(r"^\.Fn (lens_\w+) \"(.*)\"$", text, re.M):
            with self.subTest(function=name):
                self.assertIn(f"{name}({argument})", header)

    def test_the_example_compiles_and_prints_concepts(self):
        if SANITIZED:
            self.skipTest("the example is linked without a sanitizer")
        if shutil.which("cc") is None:
            self.skipTest("there is no cc")
        text = page("liblens.3").read_text(encoding="utf-8")
        source = re.search(r"\.Bd -literal -offset indent\n(#include.*?)\.Ed\n", text, re.S).group(1)
        folder = temp_dir()
        (folder / "example.c").write_text(source.replace(r"\e", "\\"))
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "client" / "liblens", "-o",
                        folder / "example", folder / "example.c", BUILD / "liblens.so", f"-Wl,-rpath,{BUILD}"],
                       check=True)
        with Daemon(packs=[small_pack()]) as daemon:
            done = subprocess.run([folder / "example"], text=True, capture_output=True, timeout=60,
                                  env=clean_env(LENSD_SOCKET=daemon.socket))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^(\S+:\d+ \d\.\d{3}\n)+$")


if __name__ == "__main__":
    unittest.main()
