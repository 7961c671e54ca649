"""lensctl dmon: figures per interval against a daemon whose rows are known."""
import csv
import io
import json
import signal
import subprocess
import unittest

from tests.e2e.harness import BUILD, Daemon, clean_env, eventually, lensctl, small_pack, temp_dir
from tests.e2e.liblens import Client, Sender

COLUMNS = ["time", "rows_per_s", "p50_us", "p99_us", "batch_rows", "queued", "queue_us", "dropped_per_s",
           "invalid_per_s", "scored_per_row", "hit_rate", "loads_per_s", "load_mb_per_s", "evictions_per_s", "sessions",
           "slots_resident", "slots", "heap_bytes", "device_bytes", "degraded"]

WAIT_S = 60


def start(daemon, *args):
    return subprocess.Popen([BUILD / "lensctl", "--socket", daemon.socket, "dmon", *args], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=clean_env())


class Dmon(unittest.TestCase):
    def test_csv_has_a_header_once_and_as_many_lines_as_asked_for(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon) as sender:
            before = sender.rows
            text = daemon.lensctl("dmon", "-d", "0.5", "-c", "3").check().stdout
            sent = sender.rows - before
        lines = list(csv.reader(io.StringIO(text)))
        self.assertEqual(lines[0], COLUMNS)
        self.assertEqual([len(line) for line in lines], [len(COLUMNS)] * 4)
        rows = [dict(zip(COLUMNS, line)) for line in lines[1:]]
        for row in rows:
            self.assertRegex(row["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertGreater(float(row["rows_per_s"]), 0)
            self.assertGreater(float(row["p50_us"]), 0)
            self.assertGreaterEqual(float(row["p99_us"]), float(row["p50_us"]))
            self.assertGreaterEqual(float(row["batch_rows"]), 1)
            self.assertGreater(float(row["scored_per_row"]), 1)
            self.assertEqual(float(row["hit_rate"]), 1)
            self.assertEqual(row["sessions"], "1")
            self.assertEqual(row["degraded"], "")
        self.assertEqual(sorted(row["time"] for row in rows), [row["time"] for row in rows])
        # Three intervals of about half a second saw no more rows than were sent meanwhile.
        self.assertLessEqual(0.4 * sum(float(row["rows_per_s"]) for row in rows), sent + 2)

    def test_json_is_an_object_a_line_with_null_where_nothing_was(self):
        with Daemon(packs=[small_pack()]) as daemon:
            lines = daemon.lensctl("--json", "dmon", "-d", "0.1", "-c", "2").check().json_lines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertEqual(list(line), ["schema_version", "time", "seconds", *COLUMNS[1:]])
            self.assertEqual(line["schema_version"], 1)
            self.assertGreater(line["seconds"], 0)
            self.assertEqual(line["rows_per_s"], 0)
            for name in ("p50_us", "p99_us", "batch_rows", "queue_us", "scored_per_row", "hit_rate"):
                self.assertIsNone(line[name], name)
            self.assertGreater(line["device_bytes"], 0)

    def test_one_session_is_told_from_another(self):
        with Daemon(packs=[small_pack()]) as daemon, Sender(daemon) as busy, Client(daemon.socket) as idle:
            of = lambda session: daemon.lensctl("--json", "dmon", "-d", "0.3", "-c", "1", "--session", session)
            self.assertGreater(of(busy.id).check().json()["rows_per_s"], 0)
            self.assertEqual(of(idle.info().id).check().json()["rows_per_s"], 0)
            missing = of(999)
        self.assertEqual(missing.code, 1)
        self.assertIn("no session 999", missing.stderr)

    def test_lines_come_at_once_and_control_c_ends_it_with_exit_0(self):
        with Daemon(packs=[small_pack()]) as daemon:
            process = start(daemon, "-d", "0.1")
            self.assertEqual(process.stdout.readline().strip(), ",".join(COLUMNS))
            self.assertTrue(process.stdout.readline())  # while it goes on
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        self.assertEqual((process.returncode, errors), (0, ""))

    def test_without_a_daemon_the_exit_code_is_3(self):
        missing = lensctl("dmon", socket=temp_dir() / "none")
        self.assertEqual(missing.code, 3)
        self.assertEqual(missing.stdout, "")
        with Daemon(packs=[small_pack()]) as daemon:
            process = start(daemon, "-d", "0.1", "--json")
            json.loads(process.stdout.readline())
            daemon.stop()
            _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 3)
        self.assertIn("lensctl: ", errors)
        self.assertEqual(len(errors.splitlines()), 1)

    def test_a_restart_between_two_lines_is_said_and_counted_from_the_start(self):
        daemon = Daemon(packs=[small_pack()])
        process = start(daemon, "-d", "4", "-c", "1")
        self.assertEqual(process.stdout.readline().strip(), ",".join(COLUMNS))  # it has had its first look
        process.send_signal(signal.SIGSTOP)
        with Client(daemon.socket) as client:
            for _ in range(50):
                client.ask([0.5] * client.info().dim)
        daemon.stop()
        with Daemon(packs=[small_pack()], socket_path=daemon.socket) as again:
            with Client(again.socket) as client:
                client.ask([0.5] * client.info().dim)
            process.send_signal(signal.SIGCONT)
            out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("restarted", errors)
        self.assertGreater(float(dict(zip(COLUMNS, out.strip().split(",")))["rows_per_s"]), 0)

    def test_degradation_is_said_in_one_field(self):
        said = "the CPU scores, because the card was lost; "
        faults = temp_dir() / "faults"
        faults.write_text("run 12 enodev\n", encoding="utf-8")
        with Daemon(packs=[small_pack()], args=["--fault-script", faults]) as daemon, Sender(daemon):
            status = lambda: daemon.lensctl("--json", "status").check().json()["degraded"]
            eventually(lambda: status().startswith(said), WAIT_S)
            text = daemon.lensctl("dmon", "-d", "0.2", "-c", "1").check().stdout
            line = daemon.lensctl("--json", "dmon", "-d", "0.2", "-c", "1").check().json()
        header, values = csv.reader(io.StringIO(text))
        self.assertEqual(len(values), len(header))
        for text in (values[-1], line["degraded"]):  # more steps may have come into force meanwhile
            self.assertTrue(text.startswith(said), text)

    def test_who_is_no_operator_hears_whose_figures_they_are(self):
        with Daemon(packs=[small_pack()], args=["--ipc-admin-uids", "12345"]) as daemon:
            refused = daemon.lensctl("dmon", "-c", "1")
        self.assertEqual((refused.code, refused.stdout), (1, ""))
        self.assertIn("operators", refused.stderr)
        self.assertIn("lensctl top", refused.stderr)

    def test_wrong_flags_exit_2(self):
        for args in (["-d", "0.01"], ["-d", "x"], ["-c", "0"], ["-c", "1.5"], ["more"]):
            self.assertEqual(lensctl("dmon", *args).code, 2, args)


if __name__ == "__main__":
    unittest.main()
