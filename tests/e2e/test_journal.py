"""What the journal gets: a daemon whose stderr is the journal's, and a journal of our own in a mount namespace."""
import json
import os
import shutil
import subprocess
import sys
import unittest

from tests.e2e.harness import ROOT, clean_env, lensd, small_pack, temp_dir

# Runs in a mount namespace of its own: /run is empty there but for our journal. Prints the entries as JSON.
INSIDE = r"""
import atexit, json, os, pathlib, signal, socket, subprocess, sys
from tests.e2e.harness import BUILD, READY_S, STOP_S
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
pathlib.Path("/run/systemd/journal").mkdir(parents=True)
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
journal.settimeout(READY_S)
ours, stderr = socket.socketpair()
place = os.fstat(stderr.fileno())
config, pack = sys.argv[1:]
daemon = subprocess.Popen([str(BUILD / "lensd"), "--config", config, "--socket", "/run/lensd.sock", "--pack", pack],
                          env={**os.environ, "JOURNAL_STREAM": f"{place.st_dev}:{place.st_ino}"}, stderr=stderr)
stderr.close()
entries = []
def until(event):
    while not entries or entries[-1].get("LENSD_EVENT") != event:
        text = journal.recv(65536).decode()
        entries.append(dict(line.split("=", 1) for line in text.splitlines()))
atexit.register(daemon.kill)  # when something below fails
until("ready")
ctl = [str(BUILD / "lensctl"), "--socket", "/run/lensd.sock"]
subprocess.run([*ctl, "load", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # no pack, and elsewhere
until("pack-refused")
pathlib.Path(config).write_text("[cascade]\ntop_k = none\n")
daemon.send_signal(signal.SIGHUP)
until("reload-failed")
daemon.send_signal(signal.SIGTERM)
until("stopped")
code = daemon.wait(STOP_S)
stream = ours.recv(65536).decode()
print(json.dumps({"entries": entries, "stream": stream, "code": code}))
"""


def can_unshare():
    return os.geteuid() == 0 and shutil.which("unshare") is not None and subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/run"], stderr=subprocess.DEVNULL).returncode == 0


class Journal(unittest.TestCase):
    @unittest.skipUnless(can_unshare(), "needs root and mount namespaces for a journal of its own")
    def test_events_are_entries_with_their_fields(self):
        config = temp_dir() / "lensd.conf"
        config.write_text("[cascade]\ntop_k = 12\n", encoding="utf-8")
        done = subprocess.run(["unshare", "-m", sys.executable, "-c", INSIDE, config, small_pack()], cwd=ROOT, text=True,
                              env=clean_env(LENSD_BUILD=os.environ.get("LENSD_BUILD", ROOT / "build")),
                              stdout=subprocess.PIPE, timeout=300, check=True)
        found = json.loads(done.stdout)
        self.assertEqual(found["code"], 0)
        self.assertEqual(found["stream"], "", "what the journal took must not be on stderr, too")
        events = {entry["LENSD_EVENT"]: entry for entry in found["entries"] if "LENSD_EVENT" in entry}
        for entry in found["entries"]:
            self.assertEqual(entry["SYSLOG_IDENTIFIER"], "lensd")
            self.assertIn(entry["PRIORITY"], "346")
        self.assertIn("ready on /run/lensd.sock", events["ready"]["MESSAGE"])
        self.assertEqual(events["pack-loaded"]["LENSD_PACK_GENERATION"], "1")
        self.assertEqual(events["pack-refused"]["LENSD_PACK"], str(config))
        self.assertEqual(events["pack-refused"]["PRIORITY"], "4")
        self.assertEqual(events["reload-failed"]["PRIORITY"], "3")
        self.assertIn("line 2", events["reload-failed"]["MESSAGE"])
        self.assertEqual(events["reload-failed"]["ERRNO"], "22")

    def test_the_catalog_has_what_journalctl_wants(self):
        text = lensd("--print-man", "catalog").check().stdout
        ids = [line[3:] for line in text.splitlines() if line.startswith("-- ")]
        self.assertGreater(len(ids), 15)
        self.assertEqual(len(ids), len(set(ids)))
        if shutil.which("journalctl") is None:
            self.skipTest("no journalctl to compile the catalog with")
        root = temp_dir()
        (root / "usr/lib/systemd/catalog").mkdir(parents=True)
        (root / "usr/lib/systemd/catalog/lensd.catalog").write_text(text, encoding="utf-8")
        subprocess.run(["journalctl", "--update-catalog", "--root", root], check=True)
        listed = subprocess.run(["journalctl", "--list-catalog", "--root", root], check=True, text=True,
                                stdout=subprocess.PIPE).stdout
        for number in ids:
            self.assertIn(number, listed)


if __name__ == "__main__":
    unittest.main()
