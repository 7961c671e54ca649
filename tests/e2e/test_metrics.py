"""Metrics: what /metrics says is true, never falls, and is what config/'s alerts and dashboard are written against."""
import json
import math
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

from tests.e2e.harness import FIXTURES, ROOT, SANITIZED, Daemon, copy_pack, eventually, run, small_pack, temp_dir
from tests.e2e.liblens import Client
from tests.e2e.scrape import get, scrape
from tests.e2e.test_content import first_row

STATES = FIXTURES / "hatcat-small" / "tokens.npy"
CONFIG = ROOT / "config"
STAGES = {"queue", "copy_in", "base", "load", "expand", "select", "copy_out", "total"}
# Label values that are always there, whatever happened.
FIXED = {
    ("lensd_dropped_rows_total", "reason"): {"ring_full", "session_ended"},
    ("lensd_unscored_rows_total", "reason"): {"not_finite", "bad_descriptor", "too_many_sequences", "engine_failure"},
    ("lensd_rows_by_status_total", "status"): {"complete", "partial", "invalid_input"},
    ("lensd_flagged_rows_total", "flag"): {"capped", "degraded", "stale"},
    ("lensd_row_duration_seconds_bucket", "stage"): STAGES,
    ("lensd_cache_requests_total", "tier"): {"slot", "host"},
    ("lensd_cache_requests_total", "outcome"): {"hit", "miss"},
    ("lensd_prefetch_total", "outcome"): {"used", "late", "wasted"},
    ("lensd_loads_total", "source"): {"host", "file"},
    ("lensd_lenses_resident", "tier"): {"slot", "host"},
    ("lensd_degraded", "reason"): {"fewer_slots", "slots_given_back", "base_only", "card_lost", "on_cpu",
                                   "no_new_sessions", "batches_failed"},
}
# Where jemalloc isn't (sanitizers), or a card.
NOT_EVERYWHERE = {"lensd_heap_bytes", "lensd_heap_resident_bytes", "lensd_device_memory_free_bytes"}


def promtool(*args, **more):
    program = shutil.which("promtool") or shutil.which("promtool", path=ROOT / "build")
    if program is None:
        raise unittest.SkipTest("needs promtool: tests/get-promtool.sh build/promtool")
    return subprocess.run([program, *map(str, args)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, timeout=300, **more)


RULE = "matter: on=Matter:0/* above=0.5 action=stop"


class WhatIsServed(unittest.TestCase):
    """One daemon that has answered some rows of the fixture."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()], http="127.0.0.1:0", args=["--telemetry-watch", ",".join(cls.keys()), "--alerts-rules", RULE])
        cls.addClassCleanup(cls.daemon.kill)
        cls.rows = cls.daemon.lensctl("--json", "detect", STATES, "--top-k", 64).check().json_lines()
        cls.metrics = scrape(cls.daemon)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    @classmethod
    def keys(cls):
        """Every concept of the fixture's pack that a list may hold."""
        with Daemon(packs=[small_pack()]) as daemon:
            concepts = daemon.lensctl("--json", "concepts").check().json()["concepts"]
        return [c["concept"] for c in concepts][:64]

    def test_promtool_finds_nothing_to_say(self):
        checked = promtool("check", "metrics", input=get(self.daemon).text)
        self.assertEqual((checked.returncode, checked.stdout), (0, ""))

    def test_the_type_is_prometheus_text_and_head_has_no_body(self):
        reply = get(self.daemon)
        self.assertEqual(reply.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        head = get(self.daemon, method="HEAD")
        self.assertEqual((head.status, head.text), (200, ""))
        self.assertGreater(int(head.headers["Content-Length"]), 1000)

    def test_every_family_has_a_type_and_a_help_of_its_own(self):
        self.assertEqual(set(self.metrics.types), set(self.metrics.helps))
        for text in self.metrics.helps.values():
            self.assertTrue(text.endswith("."), text)

    def test_the_names_that_users_were_promised_are_there(self):
        for name in ("lensd_build_info", "lensd_pack_info", "lensd_rows_total", "lensd_dropped_rows_total",
                     "lensd_row_duration_seconds", "lensd_lenses_scored_total", "lensd_lenses_resident",
                     "lensd_cache_requests_total", "lensd_load_bytes_total", "lensd_prefetch_total",
                     "lensd_queue_depth", "lensd_batch_rows", "lensd_sessions", "lensd_degraded",
                     "lensd_device_memory_bytes", "lensd_heap_bytes"):
            if name not in NOT_EVERYWHERE or not SANITIZED:
                self.assertIn(name, self.metrics.types)

    def test_label_values_of_a_fixed_set_are_all_there(self):
        for (name, label), values in FIXED.items():
            with self.subTest(name=name, label=label):
                self.assertEqual(self.metrics.values(name, label), values)

    def test_rows_agree_with_what_clients_got(self):
        m, n = self.metrics, len(self.rows)
        self.assertEqual(m("lensd_rows_total"), n)
        self.assertEqual(m("lensd_rows_by_status_total", status="complete"), n)
        self.assertEqual(m("lensd_lenses_scored_total"), sum(row["scored"] for row in self.rows))
        self.assertEqual(m("lensd_lenses_expanded_total"), sum(len(row["expanded"]) for row in self.rows))
        self.assertEqual(m("lensd_batch_rows_sum"), n)
        self.assertEqual((m("lensd_events_total"), m("lensd_events_held")), (n, n))
        self.assertEqual(m("lensd_sessions"), 0)
        wanted = sum(m.all("lensd_cache_requests_total", tier="slot").values())
        self.assertEqual(m("lensd_cache_requests_total", tier="slot", outcome="hit"), wanted)

    def test_durations_are_those_in_the_answers(self):
        for stage in STAGES - {"load"}:
            with self.subTest(stage=stage):
                told = sum(row["timing_ns"][stage] for row in self.rows) / 1e9
                self.assertAlmostEqual(self.metrics("lensd_row_duration_seconds_sum", stage=stage), told, places=9)

    def test_histograms_count_upwards_and_all(self):
        for stage in STAGES:
            buckets = {dict(labels)["le"]: value for labels, value in
                       self.metrics.all("lensd_row_duration_seconds_bucket", stage=stage).items()}
            bounds = sorted(buckets, key=float)
            self.assertEqual((float(bounds[0]), float(bounds[-2]), bounds[-1]), (10e-6, 0.1, "+Inf"))
            counts = [buckets[bound] for bound in bounds]
            self.assertEqual(counts, sorted(counts))
            self.assertEqual(counts[-1], len(self.rows))
            self.assertEqual(self.metrics("lensd_row_duration_seconds_count", stage=stage), len(self.rows))

    def test_buckets_hold_the_rows_that_were_that_fast(self):
        for labels, value in self.metrics.all("lensd_row_duration_seconds_bucket", stage="total").items():
            bound = float(dict(labels)["le"]) * 1e9
            totals = [row["timing_ns"]["total"] for row in self.rows]
            self.assertLessEqual(value, sum(t <= bound for t in totals))
            self.assertGreaterEqual(value, sum(t <= bound * (1 - 1 / 64) for t in totals))

    def test_watched_concepts_are_counted_when_they_are_detected(self):
        told = {}
        for row in self.rows:
            for found in row["detections"]:
                told[found["concept"]] = told.get(found["concept"], 0) + (found["raw"] >= 0.5)
        watched = {dict(labels)["concept"]: value for labels, value in
                   self.metrics.all("lensd_concept_detections_total").items()}
        self.assertEqual(watched, {key: told.get(key, 0) for key in watched})
        self.assertGreater(sum(watched.values()), 0)

    def test_rules_on_content_count_how_often_they_were_raised(self):
        raised = sum("ALERT" in row["flags"] for row in self.rows)
        self.assertGreater(raised, 0)
        self.assertEqual(self.metrics("lensd_alerts_total", rule="matter", action="stop"), raised)

    def test_routing_is_the_distribution_of_best_detections(self):
        best = [next((found["concept"] for found in row["detections"] if found["raw"] >= 0.5), None)
                for row in self.rows]
        counts = [best.count(concept) for concept in set(best) - {None}]
        self.assertGreater(len(counts), 1)
        shares = [count / sum(counts) for count in counts]
        with Daemon(packs=[small_pack()], http="127.0.0.1:0") as daemon:  # whose rows haven't begun to fade
            daemon.lensctl("detect", STATES, "--top-k", 64).check()
            metrics = eventually(lambda: (m := scrape(daemon))("lensd_routing_rows") > 0.8 * sum(counts) and m,
                                 timeout=60)
        self.assertLessEqual(metrics("lensd_routing_rows"), sum(counts))
        # Rows seen ten seconds apart weigh 15% less, where a look fell between them.
        entropy = -sum(p * math.log2(p) for p in shares)
        self.assertAlmostEqual(metrics("lensd_routing_entropy"), entropy, delta=0.2 * entropy)
        self.assertAlmostEqual(metrics("lensd_routing_top_share"), max(shares), delta=0.2 * max(shares))

    def test_the_pack_is_described(self):
        labels = dict(next(iter(self.metrics.all("lensd_pack_info"))))
        packs = self.daemon.lensctl("--json", "packs").check().json()["packs"]
        self.assertEqual(labels["pack"], packs[0]["name"])
        self.assertEqual(labels["model"], packs[0]["model_id"])
        self.assertEqual(self.metrics("lensd_pack_lenses", pack=labels["pack"]), packs[0]["lenses"])
        self.assertEqual(self.metrics("lensd_pack_lenses_resident"), packs[0]["resident"])

    def test_the_process_is_described(self):
        self.assertGreater(self.metrics("process_resident_memory_bytes"), 1e6)
        self.assertAlmostEqual(self.metrics("process_open_fds"), self.daemon.fd_count(), delta=5)
        self.assertAlmostEqual(self.metrics("process_start_time_seconds"), time.time(), delta=600)

    def test_alerts_and_dashboard_ask_only_for_what_there_is(self):
        asked = names_in((CONFIG / "prometheus-alerts.yml").read_text(encoding="utf-8"))
        for expression in dashboard_expressions():
            asked |= names_in(expression)
        self.assertGreater(len(asked), 40)
        served = {name for name, _ in self.metrics.samples} | NOT_EVERYWHERE | {"up"}
        # One that is there only once a row was detected.
        self.assertEqual({name for name in asked if name not in served and ":" not in name}, set())


def names_in(text):
    """Names of metrics in expressions."""
    return set(re.findall(r"\b(?:lensd|process)_[a-z_]+\b", text)) - {"lensd_"}


def dashboard():
    return json.loads((CONFIG / "grafana-dashboard.json").read_text(encoding="utf-8"))


def dashboard_expressions():
    board = dashboard()
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return found + [note["expr"] for note in board["annotations"]["list"]]


class WhatShipsBeside(unittest.TestCase):
    """The files in config/ that are written against the metrics."""

    def test_rules_are_rules(self):
        checked = promtool("check", "rules", CONFIG / "prometheus-alerts.yml")
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_the_scrape_example_is_a_configuration(self):
        checked = promtool("check", "config", CONFIG / "prometheus.yml")
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_alerts_fire_and_keep_silent_where_they_should(self):
        checked = promtool("test", "rules", ROOT / "tests" / "prometheus" / "alerts.test.yml")
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_every_alert_has_a_test_that_it_fires(self):
        rules = (CONFIG / "prometheus-alerts.yml").read_text(encoding="utf-8")
        tests = (ROOT / "tests" / "prometheus" / "alerts.test.yml").read_text(encoding="utf-8")
        alerts = re.findall(r"alert: (\w+)", rules)
        self.assertGreater(len(alerts), 10)
        for alert in alerts:
            self.assertIn(f'ALERTS{{alertname="{alert}",alertstate="firing"', tests)

    def test_expressions_of_the_dashboard_are_promql(self):
        rules = []
        for i, expression in enumerate(dashboard_expressions()):
            plain = re.sub(r"\$__rate_interval", "5m", expression)
            plain = re.sub(r"\$(job|instance)\b", ".*", plain)
            self.assertNotIn("$", plain)
            rules.append(f"  - record: checked:{i}\n    expr: {json.dumps(plain)}\n")
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write("groups:\n- name: dashboard\n  rules:\n" + "".join(rules))
            file.flush()
            checked = promtool("check", "rules", "--lint-fatal", file.name)
            self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_the_dashboard_chooses_its_source_and_says_what_each_panel_is(self):
        board = dashboard()
        self.assertEqual([v["name"] for v in board["templating"]["list"]], ["datasource", "job", "instance"])
        identities = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(identities), len(set(identities)))
        for panel in board["panels"]:
            if panel["type"] == "row":
                continue
            with self.subTest(panel=panel["title"]):
                self.assertTrue(panel["description"])
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                if panel["type"] in ("timeseries", "stat"):
                    self.assertIn("unit", panel["fieldConfig"]["defaults"])
                for target in panel["targets"]:
                    self.assertIn('instance=~"$instance"', target["expr"])


class TotalsNeverFall(unittest.TestCase):
    def watch(self, daemon, ended):
        """Scrapes until told to end; the last scrape. Fails on any total that fell."""
        before = {}
        while True:
            last = ended.is_set()
            now = scrape(daemon)
            for key, value in now.counters().items():
                if value < before.get(key, 0):
                    self.fallen.append((key, before[key], value))
            before = now.counters()
            if last:
                self.last = now
                return

    def test_while_packs_are_swapped_and_clients_come_and_go(self):
        first, second = copy_pack(small_pack(), "p.lens"), copy_pack(small_pack(), "q.lens")
        self.fallen, self.last, ended = [], None, threading.Event()
        concept = WhatIsServed.keys()[0]
        with Daemon(packs=[first], http="127.0.0.1:0",
                    args=["--packs-directories", f"{first.parent}:{second.parent}", "--pool-slots", "40",
                          "--cache-prefetch", "on", "--telemetry-watch", concept]) as daemon:
            watcher = threading.Thread(target=self.watch, args=(daemon, ended))
            watcher.start()
            rows = 0
            row = first_row()
            try:
                for i in range(4 if SANITIZED else 20):
                    with Client(daemon.socket) as client:
                        for k in range(10):
                            client.ask([x * (1 + 0.1 * k) for x in row])
                            rows += 1
                    daemon.lensctl("swap", second if i % 2 == 0 else first, "--name", "p").check()
            finally:
                ended.set()
                watcher.join()
            self.assertEqual(self.fallen, [])
            eventually(lambda: scrape(daemon)("lensd_rows_total") == rows)  # a scrape may be 50 ms old
            status = daemon.lensctl("--json", "status").check().json()
            self.assertGreaterEqual(status["loads"], sum(self.last.all("lensd_loads_total").values()))
            self.assertGreater(status["loads"], 40)

    def test_detections_go_on_counting_under_the_same_name(self):
        first, second = copy_pack(small_pack(), "p.lens"), copy_pack(small_pack(), "q.lens")
        concepts = ",".join(WhatIsServed.keys())
        with Daemon(packs=[first], http="127.0.0.1:0",
                    args=["--packs-directories", f"{first.parent}:{second.parent}", "--telemetry-watch",
                          concepts]) as daemon:
            daemon.lensctl("detect", STATES).check()
            before = scrape(daemon).all("lensd_concept_detections_total", pack="p")
            daemon.lensctl("swap", second, "--name", "p").check()
            eventually(lambda: scrape(daemon)("lensd_pack_generation", pack="p") == 2)
            self.assertEqual(scrape(daemon).all("lensd_concept_detections_total", pack="p"), before)
            daemon.lensctl("detect", STATES).check()
            eventually(lambda: scrape(daemon).all("lensd_concept_detections_total", pack="p") ==
                       {labels: 2 * value for labels, value in before.items()})


    def test_over_the_cpu_taking_over_from_a_lost_card(self):
        script = temp_dir() / "faults"
        script.write_text("run 6 enodev\n", encoding="utf-8")
        self.fallen, self.last, ended = [], None, threading.Event()
        with Daemon(packs=[small_pack()], http="127.0.0.1:0", args=["--fault-script", script]) as daemon:
            loads = sum(scrape(daemon).all("lensd_loads_total").values())
            self.assertGreater(loads, 0)
            watcher = threading.Thread(target=self.watch, args=(daemon, ended))
            watcher.start()
            try:
                with Client(daemon.socket) as client:
                    for i in range(10):
                        client.ask([x + 0.1 * i for x in first_row()])
                    eventually(lambda: scrape(daemon)("lensd_degraded", reason="on_cpu") == 1, timeout=60)
                    client.ask(first_row())
            finally:
                ended.set()
                watcher.join()
            self.assertEqual(self.fallen, [])
            eventually(lambda: scrape(daemon)("lensd_rows_total") == 11)
            # The pool on the CPU is filled, too, and what the lost one had loaded isn't forgotten.
            eventually(lambda: sum(scrape(daemon).all("lensd_loads_total").values()) >= 2 * loads, timeout=60)
            self.assertGreater(scrape(daemon)("lensd_unscored_rows_total", reason="engine_failure"), 0)
            self.assertEqual(scrape(daemon)("lensd_degraded", reason="card_lost"), 0)


class DropsAndRefusals(unittest.TestCase):
    def test_rows_nobody_reads_are_dropped_and_counted(self):
        with Daemon(packs=[small_pack()], http="127.0.0.1:0") as daemon, \
                Client(daemon.socket, result_slots=2, queue_depth=2) as client:
            row = first_row()
            self.assertEqual(client.submit(row), 0)
            self.assertEqual(client.submit([float("nan")] * len(row), 2), 0)
            eventually(lambda: scrape(daemon)("lensd_rows_total") == 2, timeout=60)
            self.assertEqual(scrape(daemon)("lensd_unscored_rows_total", reason="not_finite"), 1)
            self.assertEqual(scrape(daemon)("lensd_sessions"), 1)

    def test_rows_of_a_session_that_ends_are_counted_as_lost(self):
        script = temp_dir() / "faults"
        script.write_text("run 1 slow:4000\n", encoding="utf-8")
        with Daemon(packs=[small_pack()], http="127.0.0.1:0", args=["--fault-script", script]) as daemon:
            with Client(daemon.socket, queue_depth=8, result_slots=8) as client:
                for _ in range(4):  # one sequence: the first runs, the others wait for it
                    self.assertEqual(client.submit(first_row(), 1), 0)
                eventually(lambda: scrape(daemon)("lensd_queue_depth") > 0, timeout=60)
            eventually(lambda: scrape(daemon)("lensd_sessions") == 0, timeout=60)
            metrics = scrape(daemon)
            self.assertEqual(metrics("lensd_rows_total") +
                             metrics("lensd_dropped_rows_total", reason="session_ended"), 4)


if __name__ == "__main__":
    unittest.main()
