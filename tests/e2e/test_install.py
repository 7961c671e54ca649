"""`make install` into an empty root, a run from there, a program built against it, and `make uninstall`."""
import os
import pathlib
import re
import signal
import subprocess
import unittest

from tests.e2e.harness import BUILD, ROOT, SANITIZED, clean_env, eventually, lensd, run, small_pack, temp_dir

LENS_CUDA = BUILD / "lens_cuda.so"


def make(target, root, **variables):
    """Runs make with the build under test, which has been made already."""
    words = [f"{name}={value}" for name, value in {"BUILD": BUILD, "DESTDIR": root, **variables}.items()]
    cuda = [] if LENS_CUDA.exists() else ["CUDA="]
    command = ["make", "-C", ROOT, "--no-print-directory", *words, *cuda, target]
    return run(command, env=clean_env(), timeout=600).check()


def tree(root):
    """Files and links below root, as paths from there."""
    return sorted("/" + str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or path.is_file())


def example():
    """The program of client/liblens/README.md."""
    text = (ROOT / "client" / "liblens" / "README.md").read_text(encoding="utf-8")
    return re.search(r"```c\n(.*?)```", text, re.S).group(1)


@unittest.skipIf(SANITIZED, "what is installed is a plain build")
class Installation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = temp_dir()
        make("install", cls.root, PREFIX="/usr")

    def at(self, path):
        return pathlib.Path(f"{self.root}{path}")

    def test_everything_is_where_the_system_looks(self):
        for path in ("/usr/bin/lensd", "/usr/bin/lensctl", "/usr/lib/liblens.so.0", "/usr/include/lens.h",
                     "/usr/lib/pkgconfig/liblens.pc", "/usr/lib/systemd/system/lensd.service",
                     "/usr/lib/systemd/system/lensd@.socket", "/usr/lib/sysusers.d/lensd.conf",
                     "/usr/lib/tmpfiles.d/lensd.conf", "/etc/lensd/lensd.conf"):
            self.assertTrue(self.at(path).exists(), path)

    def test_nothing_is_left_to_fill_in_and_nothing_names_the_root(self):
        for path in tree(self.root):
            data = self.at(path).read_bytes()
            if b"\0" not in data:
                self.assertIsNone(re.search(rb"@[A-Z_]+@", data), path)
                self.assertNotIn(str(self.root).encode(), data, path)

    def test_units_run_what_is_installed(self):
        for unit in ("lensd.service", "lensd@.service"):
            text = self.at(f"/usr/lib/systemd/system/{unit}").read_text()
            program, config = re.search(r"^ExecStart=(\S+) --config (\S+) ", text, re.M).groups()
            self.assertTrue(os.access(self.at(program), os.X_OK), program)
            lensd("--check-config", "--config", self.at(config)).check()

    def test_installed_programs_serve_and_ask(self):
        path = temp_dir() / "lensd.sock"
        process = subprocess.Popen([self.at("/usr/bin/lensd"), "--socket", path, "--pack", small_pack(),
                                    "--http-listen", "off"],
                                   env=clean_env(), stderr=subprocess.PIPE, text=True)
        try:
            lensctl = [self.at("/usr/bin/lensctl"), "--socket", path, "--json"]
            eventually(lambda: run([*lensctl, "status"]).code == 0, timeout=60)
            self.assertEqual(len(run([*lensctl, "packs"]).check().json()["packs"]), 1)
            program = self.build_example()
            answer = run([program], env=clean_env(LENSD_SOCKET=path, LD_LIBRARY_PATH=self.at("/usr/lib"))).check()
            self.assertRegex(answer.stdout, r"\S+ 0\.\d+")
        finally:
            process.send_signal(signal.SIGTERM)
            log = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 0, log)

    def build_example(self):
        env = clean_env(PKG_CONFIG_PATH=self.at("/usr/lib/pkgconfig"), PKG_CONFIG_SYSROOT_DIR=self.root)
        flags = run(["pkg-config", "--cflags", "--libs", "liblens"], env=env).check().stdout.split()
        folder = temp_dir()
        (folder / "example.c").write_text(example())
        run(["cc", "-Wall", "-Wextra", "-Werror", folder / "example.c", "-o", folder / "example", *flags]).check()
        return folder / "example"

    def test_uninstall_leaves_nothing(self):
        root = temp_dir()
        make("install", root, PREFIX="/usr")
        make("uninstall", root, PREFIX="/usr")
        self.assertEqual(tree(root), [])
        own = [path for path in root.rglob("*lensd*")]
        self.assertEqual(own, [])

    def test_a_changed_configuration_survives_both(self):
        root = temp_dir()
        config = root / "etc" / "lensd" / "lensd.conf"
        config.parent.mkdir(parents=True)
        config.write_text("[pool]\nslots = 7\n")
        self.assertIn("kept as it is", make("install", root, PREFIX="/usr").stdout)
        self.assertIn("stays", make("uninstall", root, PREFIX="/usr").stdout)
        self.assertEqual(tree(root), ["/etc/lensd/lensd.conf"])
        self.assertEqual(config.read_text(), "[pool]\nslots = 7\n")

    def test_notify_reload_is_for_a_systemd_that_knows_it(self):
        for wanted, n in (("yes", 2), ("", 0)):
            root = temp_dir()
            make("install", root, PREFIX="/usr", NOTIFY_RELOAD=wanted)
            found = [path for path in tree(root) if path.endswith("/notify-reload.conf")]
            self.assertEqual(len(found), n, found)
            make("uninstall", root, PREFIX="/usr", NOTIFY_RELOAD=wanted)
            self.assertEqual(tree(root), [])

    def test_without_root_it_goes_below_a_prefix_alone(self):
        prefix = temp_dir() / "p"
        make("install", "", PREFIX=prefix)
        self.assertTrue((prefix / "etc" / "lensd" / "lensd.conf").exists())
        self.assertIn(f"ExecStart={prefix}/bin/lensd", (prefix / "lib/systemd/system/lensd.service").read_text())
        make("uninstall", "", PREFIX=prefix)
        self.assertEqual(tree(prefix), [])


if __name__ == "__main__":
    unittest.main()
