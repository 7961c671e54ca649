"""The daemon's life from outside: start, ready, serve, reload, packs that come and go, misbehaviour, the end."""
import array
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
import unittest

from tests.e2e.harness import (BUILD, ROOT, SANITIZED, Daemon, clean_env, copy_pack, eventually, lensctl, lensd,
                               small_pack, temp_dir)
from tests.e2e.liblens import PLAIN_BUILD, Client, LensError


def config_file(text):
    path = temp_dir() / "lensd.conf"
    path.write_text(text, encoding="utf-8")
    return path


def damage(path, offset=5000):
    """Flips one bit of the weights: the file's structure stays right, a checksum doesn't."""
    data = bytearray(pathlib.Path(path).read_bytes())
    data[offset] ^= 0x10
    pathlib.Path(path).write_bytes(data)


def sessions(daemon):
    return daemon.lensctl("--json", "status").check().json()["sessions"]


class StartAndStop(unittest.TestCase):
    def test_ready_line_names_socket_and_backend(self):
        with Daemon(packs=[small_pack()]) as daemon:
            self.assertIn(str(daemon.socket), daemon.ready_line)
            self.assertIn("1 pack", daemon.ready_line)
            self.assertIn("backend cpu", daemon.ready_line)
            self.assertIn("lensd: backend cpu", daemon.log)
            daemon.lensctl("status").check()

    def test_ready_line_comes_whatever_the_log_level(self):
        with Daemon(args=["--log-level", "error"]) as daemon:
            self.assertEqual(len(daemon.lines), 1)

    def test_sigterm_and_sigint_end_it_with_exit_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = Daemon()
            daemon.stop(number)
            self.assertFalse(daemon.socket.exists())

    def test_shutdown_by_an_operator_ends_it_with_exit_0(self):
        daemon = Daemon()
        daemon.lensctl("shutdown").check()
        daemon.wait_exit(0)

    def test_attached_clients_hear_the_end(self):
        daemon = Daemon(packs=[small_pack()])
        with Client(daemon.socket) as client:
            client.ask([0.5] * client.info().dim)
            daemon.stop()
            code = 0
            for _ in range(50):
                code = client.submit([0.5] * 40) or client.wait(0.1)[0]
                if code:
                    break
            self.assertLess(code, 0)

    def test_rows_already_submitted_are_answered_before_the_end(self):
        daemon = Daemon(packs=[small_pack()])
        with Client(daemon.socket) as client:
            row = [0.25] * client.info().dim
            for _ in range(20):
                self.assertEqual(client.submit(row), 0)
            daemon.stop()
            answered = 0
            while client.wait(0.2)[0] == 0:
                answered += 1
            self.assertEqual(answered, 20)

    def test_without_a_daemon_lensctl_says_so_with_exit_3(self):
        result = lensctl("status", socket=temp_dir() / "nobody.sock")
        self.assertEqual(result.code, 3)
        self.assertIn("nobody.sock", result.stderr)

    def test_default_socket_is_the_users(self):
        runtime = temp_dir()
        env = {"XDG_RUNTIME_DIR": runtime}
        process = subprocess.Popen([BUILD / "lensd", "--http-listen", "off"], env=clean_env(**env), stderr=subprocess.PIPE, text=True)
        try:
            eventually((runtime / "lensd.sock").exists)
            eventually(lambda: lensctl("status", env=clean_env(**env)).code == 0)
        finally:
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(30), 0)
            process.stderr.close()


class OneSocketOneDaemon(unittest.TestCase):
    def test_second_daemon_is_refused_and_first_goes_on(self):
        with Daemon() as daemon:
            second = lensd("--socket", daemon.socket)
            self.assertEqual(second.code, 1)
            self.assertIn("another lensd serves", second.stderr)
            daemon.lensctl("status").check()

    def test_socket_left_by_a_killed_daemon_is_taken_over(self):
        first = Daemon()
        first.kill()
        self.assertTrue(first.socket.exists())
        with Daemon(socket_path=first.socket) as daemon:
            daemon.lensctl("status").check()

    def test_file_in_the_sockets_place_is_not_touched(self):
        path = temp_dir() / "precious"
        path.write_text("mine")
        result = lensd("--socket", path)
        self.assertEqual(result.code, 1)
        self.assertIn("isn't a socket", result.stderr)
        self.assertEqual(path.read_text(), "mine")

    def test_too_long_path_is_refused_not_cut(self):
        result = lensd("--socket", temp_dir() / ("x" * 120))
        self.assertEqual(result.code, 1)
        self.assertIn("107", result.stderr)

    def test_missing_directory_is_named(self):
        result = lensd("--socket", temp_dir() / "no" / "where.sock")
        self.assertEqual(result.code, 1)
        self.assertIn("no/where.sock", result.stderr)


class CommandLine(unittest.TestCase):
    def test_version_and_help(self):
        self.assertRegex(lensd("--version").check().stdout, r"^lensd \d")
        text = lensd("--help").check().stdout
        for name in ("--pool-slots", "--cascade-keep-top-k", "--ipc-admin-uids", "--check-config", "--fault-script"):
            self.assertIn(name, text)

    def test_usage_errors_exit_2_with_the_nearest_flag(self):
        cases = [(["--pool-slot", "3"], "pool.slots"), (["stray"], "stray"), (["--pool-slots"], "needs a value"),
                 (["--pool-slots", "many"], "whole number"), (["--check-config=1"], "takes no value"),
                 (["--backend", "tpu"], "auto, cpu or cuda")]
        for args, part in cases:
            with self.subTest(args=args):
                result = lensd(*args)
                self.assertEqual(result.code, 2)
                self.assertIn(part, result.stderr)
                self.assertIn("usage:", result.stderr)

    def test_a_cuda_backend_that_is_not_there_is_named(self):
        result = lensd("--backend", "cuda", "--engine-cuda-library", "/nowhere/lens_cuda.so", "--socket",
                       temp_dir() / "s")
        self.assertEqual(result.code, 1)
        self.assertIn("/nowhere/lens_cuda.so", result.stderr)

    def test_missing_pack_is_named(self):
        result = lensd("--socket", temp_dir() / "s", "--pack", "/nowhere/x.lens")
        self.assertEqual(result.code, 1)
        self.assertIn("/nowhere/x.lens", result.stderr)

    def test_damaged_pack_is_not_served(self):
        pack = copy_pack(small_pack())
        damage(pack)
        result = lensd("--socket", temp_dir() / "s", "--pack", pack)
        self.assertEqual(result.code, 1)
        self.assertIn(pack.name, result.stderr)


class Configuration(unittest.TestCase):
    def test_sample_is_accepted(self):
        lensd("--check-config", "--config", ROOT / "config" / "lensd.conf").check()

    def test_sample_with_every_line_in_force_is_accepted(self):
        sample = (ROOT / "config" / "lensd.conf").read_text(encoding="utf-8")
        lines = [line[1:] if line.startswith("#") and not line.startswith("# ") else line
                 for line in sample.splitlines()]
        self.assertGreater(sum("=" in line and not line.startswith("#") for line in lines), 15)
        lensd("--check-config", "--config", config_file("\n".join(lines))).check()

    def test_sample_has_every_setting_this_version_offers(self):
        sample = (ROOT / "config" / "lensd.conf").read_text(encoding="utf-8")
        for paragraph in lensd("--help").check().stdout.split("\n  --")[1:]:
            flag = paragraph.split()[0]
            if "-" not in flag or flag in ("check-config", "fault-script") or "not available" in " ".join(
                    paragraph.split()):
                continue
            name = flag.split("-", 1)[1].replace("-", "_")
            self.assertIn(f"\n#{name} = ", sample.replace("=\n", "= \n"))

    def test_bad_file_names_line_and_setting(self):
        cases = [("[pool]\nslots = many\n", "line 2"), ("[pool]\n\nslot = 1\n", "did you mean pool.slots"),
                 ("[poll]\n", "no section [poll]"), ("[cache]\npolicy = arc\n", "expected one of lru, hatcat"),
                 ("[http]\nlisten = 0.0.0.0:9100\n", "not a loopback address")]
        for text, part in cases:
            with self.subTest(text=text):
                result = lensd("--check-config", "--config", config_file(text))
                self.assertEqual(result.code, 1)
                self.assertIn(part, result.stderr)

    def test_flag_over_environment_over_file_over_default(self):
        config = config_file("[pool]\nslots = 11\n[cascade]\ntop_k = 12\n[engine]\nspin_us = 13\n")
        with Daemon(args=["--config", config, "--pool-slots", "31"],
                    env={"LENSD_POOL_SLOTS": 21, "LENSD_CASCADE_TOP_K": 22}) as daemon:
            text = daemon.lensctl("config").check().stdout
            rows = {line.split()[0]: line.split()[1:3] for line in text.splitlines() if "." in line.split()[0]}
            self.assertEqual(rows["pool.slots"], ["31", "flag"])
            self.assertEqual(rows["cascade.top_k"], ["22", "environment"])
            self.assertEqual(rows["engine.spin_us"], ["13", "file"])
            self.assertEqual(rows["cascade.max_depth"], ["5", "default"])

    def test_reload_changes_live_settings_and_a_bad_one_changes_nothing(self):
        config = config_file("[cascade]\ntop_k = 12\n")
        with Daemon(args=["--config", config]) as daemon:
            config.write_text("[cascade]\ntop_k = 14\n[engine]\nthreads = 9\n")
            daemon.send_signal(signal.SIGHUP)
            self.assertIn("needs a restart: engine.threads 0 -> 9", daemon.wait_log("configuration reloaded"))
            self.assertRegex(daemon.lensctl("config").check().stdout, r"cascade\.top_k\s+14\s+file")
            config.write_text("[cascade]\ntop_k = 0\n")
            daemon.send_signal(signal.SIGHUP)
            self.assertIn("line 2", daemon.wait_log("not reloaded"))
            self.assertRegex(daemon.lensctl("config").check().stdout, r"cascade\.top_k\s+14\s+file")


class PacksComeAndGo(unittest.TestCase):
    def names(self, daemon):
        return [pack["name"] for pack in daemon.lensctl("--json", "packs").check().json()["packs"]]

    def test_load_swap_unload(self):
        first = copy_pack(small_pack(), "first.lens")
        second = first.parent / "second.lens"
        second.write_bytes(first.read_bytes())
        with Daemon(packs=[first]) as daemon:
            daemon.lensctl("load", second).check()
            self.assertEqual(self.names(daemon), ["first", "second"])
            daemon.lensctl("swap", second, "--name", "first").check()
            self.assertEqual(self.names(daemon), ["first", "second"])
            daemon.lensctl("unload", "second").check()
            self.assertEqual(self.names(daemon), ["first"])
            self.assertEqual(daemon.lensctl("unload", "second").code, 1)

    def test_swap_under_way_changes_nobodys_answers(self):
        pack = copy_pack(small_pack(), "p.lens")
        with Daemon(packs=[pack]) as daemon, Client(daemon.socket, keep_top_k=0) as client:
            row = [((7 * i) % 23 - 11) / 3 for i in range(client.info().dim)]
            before = client.ask(row)
            swap = subprocess.Popen([str(BUILD / "lensctl"), "--socket", str(daemon.socket), "swap", str(pack)],
                                    stdout=subprocess.DEVNULL, env=clean_env())
            while swap.poll() is None:
                self.assertEqual(client.ask(row), before)
            self.assertEqual(swap.returncode, 0)
            self.assertEqual(client.ask(row), before)

    def test_damaged_pack_never_replaces_a_good_one(self):
        pack = copy_pack(small_pack(), "p.lens")
        bad = pack.parent / "bad.lens"
        bad.write_bytes(pack.read_bytes())
        damage(bad)
        with Daemon(packs=[pack]) as daemon, Client(daemon.socket, keep_top_k=0) as client:
            row = [1.0] * client.info().dim
            before = client.ask(row)
            for command in (["swap", bad], ["load", bad]):
                result = daemon.lensctl(*command)
                self.assertEqual(result.code, 1)
                self.assertIn("bad.lens", result.stderr + daemon.log)
            self.assertEqual(self.names(daemon), ["p"])
            self.assertEqual(client.ask(row), before)

    def test_pack_of_a_session_is_not_unloaded(self):
        pack = copy_pack(small_pack(), "p.lens")
        with Daemon(packs=[pack]) as daemon:
            with Client(daemon.socket):
                result = daemon.lensctl("unload", "p")
                self.assertEqual(result.code, 1)
                self.assertIn("1 sessions use pack p", result.stderr)
            eventually(lambda: daemon.lensctl("unload", "p").code == 0)

    def test_packs_of_the_configuration_are_served_from_the_start(self):
        first, second = copy_pack(small_pack(), "first.lens"), copy_pack(small_pack(), "second.lens")
        config = config_file(f"[packs]\nserve = {second},\n   {first}\n")
        with Daemon(args=["--config", config]) as daemon:
            self.assertEqual(self.names(daemon), ["second", "first"])
            daemon.lensctl("swap", second, "--name", "first").check()
        with Daemon(packs=[first], args=["--config", config]) as daemon:
            self.assertEqual(self.names(daemon), ["first"], "--pack takes the place of packs.serve")
        with Daemon(args=["--packs-serve", f"{first},{second}"]) as daemon:
            self.assertEqual(self.names(daemon), ["first", "second"])

    def test_pack_named_from_the_working_directory_is_found_from_elsewhere(self):
        pack = copy_pack(small_pack(), "near.lens")
        with Daemon(args=["--packs-serve", os.path.relpath(pack)]) as daemon:
            path = daemon.lensctl("--json", "packs").check().json()["packs"][0]["path"]
            self.assertTrue(os.path.isabs(path), path)
            self.assertTrue(os.path.samefile(path, pack))

    def test_more_packs_than_can_be_served_are_refused_before_the_start(self):
        config = config_file("[packs]\nserve = " + ",".join(f"p{i}" for i in range(17)) + "\n")
        result = lensd("--check-config", "--config", config)
        self.assertEqual(result.code, 1)
        self.assertIn("at most 16 packs", result.stderr)

    def test_packs_in_the_services_own_directory_can_be_loaded(self):
        pack, elsewhere = copy_pack(small_pack(), "p.lens"), copy_pack(small_pack(), "q.lens")
        with Daemon(env={"STATE_DIRECTORY": f"/nowhere:{pack.parent}"}) as daemon:
            daemon.lensctl("load", pack).check()
            self.assertEqual(daemon.lensctl("load", elsewhere).code, 1)

    def test_packs_elsewhere_are_refused(self):
        pack, elsewhere = copy_pack(small_pack(), "p.lens"), copy_pack(small_pack(), "q.lens")
        with Daemon(packs=[pack]) as daemon:
            result = daemon.lensctl("load", elsewhere)
            self.assertEqual(result.code, 1)
            self.assertIn("packs.directories", result.stderr)
        with Daemon(packs=[pack], args=["--packs-directories", elsewhere.parent]) as daemon:
            daemon.lensctl("load", elsewhere).check()


class Misbehaviour(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon(packs=[small_pack()])
        self.addCleanup(self.daemon.kill)
        self.good = Client(self.daemon.socket, keep_top_k=0)
        self.addCleanup(self.good.close)
        self.row = [((5 * i) % 17 - 8) / 2 for i in range(self.good.info().dim)]
        self.answer = self.good.ask(self.row)
        time.sleep(0.05)
        self.fds = self.daemon.fd_count()

    def tearDown(self):
        """Whatever happened: same daemon, same descriptors, the good client's answers unchanged, a clean end."""
        self.assertTrue(self.daemon.alive(), self.daemon.log)
        self.assertEqual(self.good.ask(self.row), self.answer)
        eventually(lambda: self.daemon.fd_count() == self.fds, what="the number of descriptors")
        self.good.close()
        self.daemon.stop()

    def test_descriptors_are_refused_and_closed(self):
        with open("/dev/null", encoding="ascii") as null:
            for count in (1, 2, 17, 253):
                peer = self.daemon.connect()
                socket.send_fds(peer, [b"anything"], [null.fileno()] * count)
                self.assertIn(b"descriptors are not accepted", peer.recv(40000))
                self.assertEqual(peer.recv(40000), b"")
                peer.close()

    def test_descriptors_with_an_empty_packet_are_refused_and_closed(self):
        peer = self.daemon.connect()
        socket.send_fds(peer, [b""], [0])
        self.assertTrue(peer.recv(40000))
        peer.close()

    def test_garbage_is_answered_and_dropped(self):
        for size in (1, 3, 4, 7, 8, 16, 100, 1000, 4095, 4096):
            peer = self.daemon.connect()
            peer.send(os.urandom(size))
            self.assertTrue(peer.recv(40000))
            self.assertEqual(peer.recv(40000), b"")
            peer.close()

    def test_empty_packet_is_told_from_the_end(self):
        peer = self.daemon.connect()
        peer.send(b"")
        self.assertIn(b"empty packet", peer.recv(40000))
        peer.close()

    def test_oversized_packet_is_refused(self):
        for size in (4097, 65536, 120000):
            peer = self.daemon.connect()
            peer.send(b"x" * size)
            self.assertIn(b"4096", peer.recv(40000))
            peer.close()

    def test_connections_without_a_word_come_and_go(self):
        for _ in range(200 if SANITIZED else 1000):
            self.daemon.connect().close()

    def test_half_closed_connection_is_dropped(self):
        peer = self.daemon.connect()
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.recv(100), b"")
        peer.close()

    def test_who_never_says_hello_is_dropped(self):
        peer = self.daemon.connect(timeout=20)
        self.assertEqual(peer.recv(100), b"")
        peer.close()

    def test_killed_clients_leave_nothing(self):
        script = textwrap.dedent("""\
            import sys
            from tests.e2e.liblens import Client
            clients = [Client(sys.argv[1], label=b"victim") for _ in range(3)]
            clients[0].submit([0.0] * 40)
            print("attached", flush=True)
            sys.stdin.read()
            """)
        for _ in range(3):
            victim = subprocess.Popen([sys.executable, "-c", script, str(self.daemon.socket)], cwd=ROOT, text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      env=clean_env(LENSD_BUILD=BUILD, LENSD_PLAIN_BUILD=PLAIN_BUILD))
            self.assertEqual(victim.stdout.readline(), "attached\n")
            self.assertEqual(sessions(self.daemon), 4)
            victim.kill()
            victim.communicate()
            eventually(lambda: sessions(self.daemon) == 1, timeout=1 if not SANITIZED else 5, what="sessions freed")

    def test_running_out_of_descriptors_sheds_new_clients_only(self):
        limit = self.fds + 4
        before = resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        peers = [self.daemon.connect() for _ in range(12)]
        time.sleep(0.3)
        self.assertEqual(self.good.ask(self.row), self.answer)
        cpu = pathlib.Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        time.sleep(1.0)
        after = pathlib.Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = int(after[11]) + int(after[12]) - int(cpu[11]) - int(cpu[12])
        self.assertLess(ticks, 50 if not SANITIZED else 90, "the daemon spins")
        for peer in peers:
            peer.close()
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, before)
        eventually(lambda: self.daemon.lensctl("status").code == 0)


class Restarts(unittest.TestCase):
    """An upgrade is a restart: clients find the next daemon by themselves."""

    def ask_until_answered(self, client, row):
        """The hits of the first answer, and how many submissions had none before it."""
        lost, deadline = 0, time.monotonic() + 60
        while time.monotonic() < deadline:
            if client.submit(row) == 0:
                code, hits, _ = client.wait(60)
                if code == 0:
                    return hits, lost
                lost += 1
            time.sleep(0.01)
        raise AssertionError("no answer by the next daemon")

    def test_sessions_go_on_with_the_next_daemon_and_count_what_they_lost(self):
        path, script = temp_dir() / "lensd.sock", temp_dir() / "script"
        script.write_text("run 2 slow:20000\n")
        with Daemon(packs=[small_pack()], socket_path=path):
            client = Client(path, keep_top_k=0)
            self.addCleanup(client.close)
            row = [0.5] * client.info().dim
            right = client.ask(row)
        daemon = Daemon(packs=[small_pack()], socket_path=path, args=["--fault-script", script])
        began = time.monotonic()
        hits, lost = self.ask_until_answered(client, row)
        self.assertLess(time.monotonic() - began, 60 if SANITIZED else 1)  # 50 ms from one attempt to the next
        self.assertEqual((hits, client.lost()), (right, lost))
        self.assertEqual(client.submit(row), 0)
        daemon.kill()  # its answer to this row, its second, takes twenty seconds
        with Daemon(packs=[small_pack()], socket_path=path):
            self.assertNotEqual(client.wait(60)[0], 0)
            hits, more = self.ask_until_answered(client, row)
            self.assertEqual((hits, client.lost()), (right, lost + 1 + more))


class Watching(unittest.TestCase):
    def test_watching_while_lenses_come_and_go_changes_nothing(self):
        with Daemon(packs=[small_pack()], args=["--pool-slots", "30"]) as daemon, \
                Client(daemon.socket, keep_top_k=0, max_sequences=65536) as client:
            rows = [[(((5 + i) * j) % 23 - 11) / 3 for j in range(client.info().dim)] for i in range(4)]
            expected = [client.ask(row) for row in rows]
            asked = 0
            for watcher in (["status"], ["packs"], ["sessions"], ["concepts"], ["explain", "0"], ["latency"]):
                watching = subprocess.Popen([str(BUILD / "lensctl"), "--socket", str(daemon.socket), *watcher],
                                            stdout=subprocess.DEVNULL, env=clean_env())
                while watching.poll() is None:
                    self.assertEqual(client.ask(rows[asked % 4], sequence=asked), expected[asked % 4])
                    asked += 1
                self.assertEqual(watching.returncode, 0, watcher)


class Faults(unittest.TestCase):
    def faulty(self, script, **more):
        path = temp_dir() / "script"
        path.write_text(script)
        return Daemon(args=["--fault-script", path], **more)

    def test_lost_device_is_told_and_its_rows_are_flagged(self):
        with self.faulty("run 2 enodev\n", packs=[small_pack()]) as daemon, Client(daemon.socket) as client:
            row = [0.5] * client.info().dim
            client.ask(row)
            client.submit(row)
            code, _, answer = client.wait()
            self.assertEqual(code, 0)
            self.assertTrue(answer.status != 0 or answer.flags != 0)
            daemon.wait_log("batches failed")
            eventually(lambda: "batches failed" in daemon.lensctl("--json", "status").check().stdout)

    def test_load_that_takes_seconds_holds_nobody_up(self):
        pack = copy_pack(small_pack(), "p.lens")
        slow = pack.parent / "slow.lens"
        slow.write_bytes(pack.read_bytes())
        with self.faulty("slot_write * slow:700\n", packs=[pack]) as daemon, \
                Client(daemon.socket, keep_top_k=0) as client:
            row = [0.5] * client.info().dim
            before = client.ask(row)
            load = subprocess.Popen([str(BUILD / "lensctl"), "--socket", str(daemon.socket), "load", str(slow)],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_env())
            start = time.monotonic()
            asked = 0
            while len(daemon.lensctl("--json", "packs").check().json()["packs"]) == 1:
                self.assertEqual(client.ask(row), before)
                asked += 1
                self.assertLess(time.monotonic() - start, 60)
            load.wait()
            self.assertGreater(asked, 2)


class Limits(unittest.TestCase):
    def test_sessions_are_bounded(self):
        with Daemon(packs=[small_pack()], args=["--ipc-max-sessions", "2"]) as daemon:
            with Client(daemon.socket), Client(daemon.socket):
                with self.assertRaisesRegex(LensError, "ipc.max_sessions"):
                    Client(daemon.socket)

    def test_memory_of_all_sessions_is_bounded(self):
        with Daemon(packs=[small_pack()],
                    args=["--ipc-total-memory", "1M", "--ipc-session-memory", "900K"]) as daemon:
            with Client(daemon.socket, queue_depth=16, max_sequences=4) as _:
                clients = []
                with self.assertRaises(LensError):
                    for _ in range(50):
                        clients.append(Client(daemon.socket, queue_depth=16, max_sequences=4))
                for client in clients:
                    client.close()
            eventually(lambda: sessions(daemon) == 0)


if __name__ == "__main__":
    unittest.main()
