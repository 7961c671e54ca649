"""What is served over HTTP, where, and to whom: addresses, reloads, phases, and clients that mean harm."""
import http.client
import os
import resource
import signal
import socket
import stat
import threading
import time
import unittest

from tests.e2e.harness import SANITIZED, Daemon, eventually, lensd, small_pack, temp_dir
from tests.e2e.liblens import Client
from tests.e2e.scrape import address_of, get, scrape
from tests.e2e.test_content import first_row

ANY = "127.0.0.1:0"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def taken_port():
    """A listening socket, and its port."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
    return s, s.getsockname()[1]


def is_closed(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def where_of(daemon):
    return daemon.lensctl("--json", "status").check().json()["metrics"]


def faults(*lines):
    path = temp_dir() / "faults"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()], http=ANY)
        cls.addClassCleanup(cls.daemon.kill)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def test_the_first_page_names_the_others(self):
        reply = get(self.daemon, "/")
        self.assertEqual(reply.status, 200)
        for path in ("/metrics", "/healthz", "/readyz"):
            self.assertIn(path, reply.text)

    def test_a_daemon_that_serves_is_healthy_and_ready(self):
        self.assertEqual((get(self.daemon, "/healthz").status, get(self.daemon, "/healthz").text), (200, "ok\n"))
        self.assertEqual((get(self.daemon, "/readyz").status, get(self.daemon, "/readyz").text), (200, "ready\n"))

    def test_other_pages_are_not_found(self):
        for path in ("/metrics/", "/metric", "/..", "/%2e%2e/etc/passwd", "//metrics", "/" + "a" * 3000):
            with self.subTest(path=path[:20]):
                self.assertEqual(get(self.daemon, path).status, 404)

    def test_a_query_does_not_hide_the_page(self):
        self.assertEqual(get(self.daemon, "/healthz?verbose=1").status, 200)

    def test_only_reading_is_allowed(self):
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"):
            with self.subTest(method=method):
                reply = get(self.daemon, method=method)
                self.assertEqual(reply.status, 405)
                self.assertEqual(reply.headers["Allow"], "GET, HEAD")

    def test_a_request_with_a_body_is_refused(self):
        self.assertEqual(get(self.daemon, body=b"x" * 100).status, 400)
        self.assertEqual(get(self.daemon, headers={"Content-Length": "0"}).status, 200)

    def test_each_connection_is_for_one_request(self):
        self.assertEqual(get(self.daemon).headers["Connection"], "close")

    def test_status_says_where(self):
        host, port = address_of(self.daemon)
        self.assertEqual(where_of(self.daemon), f"http://{host}:{port}/metrics")
        self.assertIn(f"http://{host}:{port}/metrics", self.daemon.lensctl("status").check().stdout)


class Addresses(unittest.TestCase):
    def test_off_listens_nowhere(self):
        with Daemon(packs=[small_pack()], http="off") as daemon:
            self.assertEqual(where_of(daemon), "off")
            self.assertNotIn("metrics on", daemon.log)
            with open(f"/proc/{daemon.pid}/net/tcp", encoding="ascii") as table:
                inodes = {line.split()[9] for line in table.readlines()[1:]}
            links = {os.readlink(f"/proc/{daemon.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{daemon.pid}/fd")}
            self.assertEqual({f"socket:[{inode}]" for inode in inodes} & links, set())

    def test_addresses_of_the_network_are_refused(self):
        for address in ("0.0.0.0:9477", "192.168.1.1:9477", "[::]:9477", "[2001:db8::1]:80", "example.org:9477", "*:1",
                        "[::ffff:127.0.0.1]:9477", "::1:9477"):
            with self.subTest(address=address):
                result = lensd("--check-config", "--http-listen", address)
                self.assertEqual(result.code, 2)
                self.assertIn("http.listen", result.stderr)
                self.assertIn("not a loopback address", result.stderr)
                self.assertIn("proxy", result.stderr)

    def test_what_is_no_address_is_refused_with_the_shapes(self):
        for address in ("", "9477", ":9477", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
                        "127.0.0.1:-1", "unix:metrics.sock", "unix:", "unix:/" + "a" * 108, "on"):
            with self.subTest(address=address[:20]):
                result = lensd("--check-config", "--http-listen", address)
                self.assertEqual(result.code, 2)
                self.assertIn("http.listen: ", result.stderr)

    def test_localhost_and_ip_version_6_are_loopback(self):
        with Daemon(packs=[small_pack()], http="localhost:0") as daemon:
            self.assertEqual(get(daemon, "/healthz").status, 200)
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError as error:
                self.skipTest(f"no IPv6 here: {error}")
        with Daemon(packs=[small_pack()], http="[::1]:0") as daemon:
            self.assertEqual(address_of(daemon)[0], "::1")
            self.assertEqual(get(daemon, "/healthz").status, 200)

    def test_a_configured_address_that_is_taken_is_an_error_before_packs_are_opened(self):
        listener, port = taken_port()
        with listener:
            result = lensd("--socket", temp_dir() / "s", "--pack", small_pack(), "--http-listen", f"127.0.0.1:{port}")
        self.assertEqual(result.code, 1)
        self.assertIn(f"http.listen: can't serve metrics on http://127.0.0.1:{port}/metrics", result.stderr)
        self.assertIn("another program has it", result.stderr)
        self.assertNotIn("opening", result.stderr)

    def test_the_default_address_that_is_taken_is_done_without(self):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                other.bind(("127.0.0.1", 9477))
                other.listen()
            except OSError:
                pass  # somebody has it: that will do
            with Daemon(packs=[small_pack()], http=None) as daemon:
                self.assertIn("no metrics are served", daemon.log)
                self.assertIn("not served", where_of(daemon))
                self.assertIn("another program has it", daemon.lensctl("status").check().stdout)

    def test_without_configuration_the_default_serves_unless_it_is_taken(self):
        with Daemon(packs=[small_pack()], http=None) as daemon:
            where = where_of(daemon)
            if where.startswith("not served"):
                self.skipTest(f"somebody has the default port: {where}")
            self.assertEqual(where, "http://127.0.0.1:9477/metrics")
            self.assertEqual(get(daemon, "/readyz").status, 200)

    def test_a_restart_takes_its_port_again_at_once(self):
        port = free_port()
        for _ in range(3):
            with Daemon(packs=[small_pack()], http=f"127.0.0.1:{port}") as daemon:
                self.assertEqual(get(daemon, "/healthz").status, 200)

    def test_a_socket_file_serves_and_goes_with_the_daemon(self):
        path = temp_dir() / "metrics.sock"
        with Daemon(packs=[small_pack()], http=f"unix:{path}") as daemon:
            self.assertEqual(get(path).status, 200)
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o666)
            self.assertEqual(where_of(daemon), f"unix:{path}")
        self.assertFalse(path.exists())

    def test_a_socket_file_that_a_dead_daemon_left_is_replaced_but_no_other(self):
        path = temp_dir() / "metrics.sock"
        daemon = Daemon(packs=[small_pack()], http=f"unix:{path}")
        with Daemon(packs=[small_pack()], http="off") as _:
            result = lensd("--socket", temp_dir() / "s", "--http-listen", f"unix:{path}")
            self.assertEqual(result.code, 1)
            self.assertIn("another program serves", result.stderr)
        daemon.kill()
        self.assertTrue(path.exists())
        with Daemon(packs=[small_pack()], http=f"unix:{path}"):
            self.assertEqual(get(path, "/healthz").status, 200)
        path.write_text("precious", encoding="utf-8")
        result = lensd("--socket", temp_dir() / "s", "--http-listen", f"unix:{path}")
        self.assertEqual(result.code, 1)
        self.assertIn("isn't a socket", result.stderr)
        self.assertEqual(path.read_text(encoding="utf-8"), "precious")


class Reloads(unittest.TestCase):
    def daemon(self, text):
        self.config = temp_dir() / "lensd.conf"
        self.config.write_text(text, encoding="utf-8")
        return Daemon(packs=[small_pack()], http=None, args=["--config", self.config])

    def reload(self, daemon, text):
        """Returns what the log said of it."""
        self.config.write_text(text, encoding="utf-8")
        before = len(daemon.lines)
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: any("reloaded" in line for line in daemon.lines[before:]), timeout=60)
        return "\n".join(daemon.lines[before:])

    def test_a_reload_opens_the_new_address_and_closes_the_old(self):
        with self.daemon(f"[http]\nlisten = {ANY}\n") as daemon:
            first = address_of(daemon)
            second = free_port()
            self.reload(daemon, f"[http]\nlisten = 127.0.0.1:{second}\n")
            self.assertEqual(get(("127.0.0.1", second), "/readyz").status, 200)
            self.assertTrue(is_closed(first[1]))
            self.assertEqual(scrape(daemon)("lensd_config_last_reload_successful"), 1)
            self.reload(daemon, "[http]\nlisten = off\n")
            self.assertTrue(is_closed(second))
            self.assertEqual(where_of(daemon), "off")
            path = temp_dir() / "m.sock"
            self.reload(daemon, f"[http]\nlisten = unix:{path}\n")
            self.assertEqual(get(path, "/healthz").status, 200)
            self.reload(daemon, f"[http]\nlisten = {ANY}\n")
            self.assertFalse(path.exists())
            self.assertEqual(get(daemon, "/healthz").status, 200)

    def test_an_address_that_cannot_be_had_keeps_the_old_one_and_the_old_configuration(self):
        listener, port = taken_port()
        with listener, self.daemon(f"[http]\nlisten = {ANY}\n[log]\nlevel = info\n") as daemon:
            first = address_of(daemon)
            said = self.reload(daemon, f"[http]\nlisten = 127.0.0.1:{port}\n[log]\nlevel = error\n")
            self.assertIn("configuration not reloaded, the old one stays: http.listen", said)
            self.assertEqual(get(first, "/readyz").status, 200)
            eventually(lambda: scrape(first)("lensd_config_last_reload_successful") == 0)
            self.reload(daemon, f"[http]\nlisten = {ANY}\n")  # info still: else this line wouldn't come
            eventually(lambda: scrape(first)("lensd_config_last_reload_successful") == 1)

    def test_the_watch_list_changes_with_a_reload(self):
        with self.daemon(f"[http]\nlisten = {ANY}\n") as daemon:
            self.assertEqual(scrape(daemon).all("lensd_concept_detections_total"), {})
            known = daemon.lensctl("--json", "concepts").check().json()["concepts"][3]["concept"]
            self.reload(daemon, f"[http]\nlisten = {ANY}\n[telemetry]\nwatch = {known}, Nobody:7\n")
            eventually(lambda: scrape(daemon).values("lensd_concept_detections_total", "concept") == {known})
            daemon.wait_log("has no concept Nobody:7 (telemetry.watch)")

    def test_lists_that_cannot_be_watched_are_refused(self):
        many = ",".join(f"A{i}:1" for i in range(65))
        for watch, part in ((many, "at most 64"), ("A:1,B:2,A:1", "listed twice"), ("x" * 256, "at most 255 bytes")):
            result = lensd("--check-config", "--telemetry-watch", watch)
            self.assertIn(result.code, (1, 2))
            self.assertIn("telemetry.watch", result.stderr)
            self.assertIn(part, result.stderr)

    def test_reloads_while_others_scrape_lose_no_scrape_but_those_cut_off(self):
        with self.daemon(f"[http]\nlisten = {ANY}\n") as daemon:
            path, ended, counts, others = temp_dir() / "m.sock", threading.Event(), [0], []

            def ask():
                while not ended.is_set():
                    try:
                        counts[0] += get(path, timeout=60).status == 200
                    except (OSError, http.client.IncompleteRead, http.client.BadStatusLine):
                        pass  # between two servers, or cut off in the middle
                    except Exception as error:  # the thread's own: told below
                        others.append(error)

            asker = threading.Thread(target=ask)
            asker.start()
            try:
                for _ in range(3):
                    self.reload(daemon, f"[http]\nlisten = unix:{path}\n")
                    before = counts[0]
                    eventually(lambda: counts[0] > before, timeout=60, what="a scrape of the new address")
                    self.reload(daemon, f"[http]\nlisten = {ANY}\n")
            finally:
                ended.set()
                asker.join()
            self.assertEqual(others, [])
            self.assertEqual(get(daemon, "/healthz").status, 200)


class Phases(unittest.TestCase):
    def test_without_a_pack_the_daemon_is_healthy_and_not_ready(self):
        with Daemon(http=ANY) as daemon:
            self.assertEqual(get(daemon, "/healthz").status, 200)
            reply = get(daemon, "/readyz")
            self.assertEqual(reply.status, 503)
            self.assertIn("no pack is loaded", reply.text)
            self.assertEqual(scrape(daemon)("lensd_ready"), 0)

    def test_while_packs_are_opened_the_page_says_how_far_that_is(self):
        daemon = Daemon(packs=[small_pack()], http=ANY, wait=False,
                        args=["--fault-script", faults("slot_write * slow:3000")])
        try:
            daemon.wait_log("metrics on")
            reply = eventually(lambda: (r := get(daemon, "/readyz")).text.startswith("opening pack") and r, timeout=60)
            self.assertEqual(reply.status, 503)
            self.assertEqual(get(daemon, "/healthz").status, 200)
            self.assertEqual(get(daemon, "/metrics").status, 200)
            self.assertEqual(scrape(daemon)("lensd_ready"), 0)
            daemon.wait_ready()
            eventually(lambda: get(daemon, "/readyz").status == 200)
            daemon.stop()
        finally:
            daemon.kill()

    def test_while_it_drains_the_daemon_is_healthy_and_not_ready(self):
        with Daemon(packs=[small_pack()], http=ANY,
                    args=["--fault-script", faults("run 1 slow:8000"), "--engine-drain-ms", "60000"]) as daemon:
            with Client(daemon.socket) as client:
                self.assertEqual(client.submit(first_row()), 0)
                time.sleep(0.3)
                daemon.send_signal(signal.SIGTERM)
                reply = eventually(lambda: (r := get(daemon, "/readyz")).status == 503 and r, timeout=30)
                self.assertIn("draining", reply.text)
                self.assertEqual(get(daemon, "/healthz").status, 200)
                code, _, answer = client.wait(60)
                self.assertEqual((code, answer.status), (0, 0))
            daemon.wait_exit()

    def test_scrapes_from_before_the_start_to_after_the_end_do_no_harm(self):
        path, ended, seen = temp_dir() / "m.sock", threading.Event(), set()

        def ask(page):
            while not ended.is_set():
                try:
                    seen.add((page, get(path, page).status))
                except Exception:  # not there yet, cut off, or not there any more
                    time.sleep(0.001)

        askers = [threading.Thread(target=ask, args=(page,)) for page in ("/metrics", "/readyz", "/healthz")]
        for asker in askers:
            asker.start()
        try:
            for _ in range(2 if SANITIZED else 5):
                with Daemon(packs=[small_pack()], http=f"unix:{path}") as daemon:
                    for _ in range(5):
                        with Client(daemon.socket) as client:
                            client.ask(first_row())
                    eventually(lambda: ("/readyz", 200) in seen, timeout=60)
                self.assertFalse(path.exists())
        finally:
            ended.set()
            for asker in askers:
                asker.join()
        self.assertIn(("/metrics", 200), seen)
        self.assertIn(("/healthz", 200), seen)

    def test_an_engine_that_makes_no_step_is_sick(self):
        with Daemon(packs=[small_pack()], http=ANY, env={"WATCHDOG_USEC": 1000000},
                    args=["--fault-script", faults("run 1 slow:6000")]) as daemon:
            with Client(daemon.socket) as client:
                self.assertEqual(client.submit(first_row()), 0)
                reply = eventually(lambda: (r := get(daemon, "/healthz")).status == 503 and r, timeout=60)
                self.assertIn("the engine has made no step", reply.text)
                self.assertEqual(client.wait(120)[0], 0)
                eventually(lambda: get(daemon, "/healthz").status == 200, timeout=60)

    def test_a_loop_that_does_not_answer_is_told_within_two_seconds(self):
        with Daemon(packs=[small_pack()], http=ANY, args=["--fault-script", faults("run 1 slow:8000")]) as daemon:
            client = Client(daemon.socket)
            self.assertEqual(client.submit(first_row()), 0)
            time.sleep(0.3)
            client.close()  # the loop waits for the row in flight
            reply = eventually(lambda: (r := get(daemon, "/metrics")).status == 503 and r, timeout=30)
            self.assertIn("has not answered for a second", reply.text)
            self.assertEqual(get(daemon, "/healthz").status, 503)
            eventually(lambda: get(daemon, "/healthz").status == 200, timeout=60)
            self.assertEqual(scrape(daemon)("lensd_sessions"), 0)


class Hostile(unittest.TestCase):
    """Whoever connects, scrapes go on, a client's answers stay right, and nothing is left."""

    def setUp(self):
        self.daemon = Daemon(packs=[small_pack()], http=ANY)
        self.addCleanup(self.daemon.kill)
        self.client = Client(self.daemon.socket, keep_top_k=0)
        self.addCleanup(self.client.close)
        self.right = self.client.ask(first_row())
        self.descriptors = self.daemon.fd_count()

    def tearDown(self):
        self.assertEqual(self.client.ask(first_row()), self.right)
        self.client.close()
        eventually(lambda: self.daemon.fd_count() <= self.descriptors, timeout=60, what="descriptors coming back")
        self.daemon.stop()

    def open(self, data=b""):
        peer = socket.create_connection(address_of(self.daemon), timeout=30)
        self.addCleanup(peer.close)
        if data:
            peer.sendall(data)
        return peer

    def answer(self, data):
        """The first line of what comes back, b"" when the connection is just closed."""
        with socket.create_connection(address_of(self.daemon), timeout=60) as peer:
            try:
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
                return peer.recv(4096).split(b"\r\n")[0]
            except OSError:
                return b""

    def scrape_in_time(self):
        begin = time.monotonic()
        self.assertGreaterEqual(scrape(self.daemon)("lensd_rows_total"), 1)
        self.assertLess(time.monotonic() - begin, 60 if SANITIZED else 10)

    def test_what_is_no_http_is_closed(self):
        for data in (b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 2000, bytes(range(256)) * 20,
                     b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                     b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                     b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"):
            line = self.answer(data)
            self.assertTrue(line == b"" or b" 200 " not in line, (data[:40], line))
            self.scrape_in_time()

    def test_headers_without_end_are_refused(self):
        line = self.answer(b"GET /metrics HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(20000)))
        self.assertTrue(line == b"" or line.split()[1][:1] == b"4", line)
        line = self.answer(b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 1000000 + b"\r\n\r\n")
        self.assertTrue(line == b"" or line.split()[1][:1] == b"4", line)
        line = self.answer(b"GET /" + b"y" * 1000000 + b" HTTP/1.1\r\n\r\n")
        self.assertTrue(line == b"" or line.split()[1][:1] == b"4", line)
        self.scrape_in_time()

    def test_many_that_say_nothing_or_little_keep_nobody_out(self):
        peers = [self.open() for _ in range(40)]
        peers += [self.open(b"GET /metrics HTTP/1.1\r\nX-Slow: ") for _ in range(40)]
        for _ in range(5):
            self.scrape_in_time()
            for peer in peers:
                try:
                    peer.send(b"a")
                except OSError:
                    pass  # made room for others
        self.assertLessEqual(self.daemon.fd_count(), self.descriptors + 33)

    def test_one_that_never_reads_its_answer_is_cut_off(self):
        peers = []
        for _ in range(40):
            peer = socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            peer.connect(address_of(self.daemon))
            self.addCleanup(peer.close)
            peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            peers.append(peer)
        self.scrape_in_time()

    def test_a_trickle_is_cut_off_in_the_end(self):
        peer = self.open(b"GET /metrics HTTP/1.1\r\nX: ")
        peer.settimeout(1)
        begin = time.monotonic()
        with self.assertRaises(OSError):
            while True:
                peer.send(b"a")
                time.sleep(0.5)
                self.assertLess(time.monotonic() - begin, 120)

    def test_thousands_of_connections_that_come_and_go(self):
        for i in range(300 if SANITIZED else 3000):
            with socket.create_connection(address_of(self.daemon), timeout=30) as peer:
                if i % 3 == 0:
                    peer.sendall(b"GET /metr")
                if i % 3 == 1:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            if i % 500 == 0:
                self.assertEqual(self.client.ask(first_row()), self.right)
        self.scrape_in_time()

    def test_scrapes_without_pause_leave_the_loop_free(self):
        ended, answered = threading.Event(), []

        def hammer():
            while not ended.is_set():
                try:
                    answered.append(get(self.daemon).status)
                except OSError:
                    pass

        hammers = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in hammers:
            thread.start()
        try:
            for _ in range(20):
                self.assertEqual(self.client.ask(first_row()), self.right)
                self.daemon.lensctl("status").check()
        finally:
            ended.set()
            for thread in hammers:
                thread.join()
        self.assertGreater(answered.count(200), 20)


class FewDescriptors(unittest.TestCase):
    def test_scrapers_leave_descriptors_for_clients(self):
        limit = 48
        daemon = Daemon(packs=[small_pack()], http=ANY, args=["--engine-threads", "1"])
        self.addCleanup(daemon.kill)
        # As if it had been started with that: what is open stays, and the rest is bounded.
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (limit, limit))
        peers = [socket.create_connection(address_of(daemon), timeout=30) for _ in range(60)]
        try:
            eventually(lambda: daemon.fd_count() >= limit - 2, timeout=30, what="descriptors running out")
            spent = seconds_of(daemon, "lensd-http")
            time.sleep(2)
            self.assertLess(seconds_of(daemon, "lensd-http") - spent, 1, "accepting spins")
        finally:
            for peer in peers:
                peer.close()
        eventually(lambda: daemon.fd_count() < limit - 16, timeout=60, what="descriptors coming back")
        with Client(daemon.socket) as client:
            self.assertTrue(client.ask(first_row()))
        eventually(lambda: get(daemon, "/healthz").status == 200, timeout=30)
        daemon.stop()


def thread_of(daemon, name):
    for task in os.listdir(f"/proc/{daemon.pid}/task"):
        with open(f"/proc/{daemon.pid}/task/{task}/comm", encoding="ascii") as comm:
            if comm.read().strip() == name:
                return task
    raise AssertionError(f"no thread {name}")


def seconds_of(daemon, name):
    """Processor time that a thread has taken."""
    with open(f"/proc/{daemon.pid}/task/{thread_of(daemon, name)}/stat", encoding="ascii") as file:
        return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    unittest.main()
