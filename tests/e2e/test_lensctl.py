"""lensctl as its users see it: usage errors, no daemon, pack files, and every command's text and JSON against a live
daemon. The right scores are test_expected_answers.py's."""
import array
import json
import os
import pathlib
import pty
import struct
import subprocess
import unittest

from tests.e2e.harness import (BUILD, FIXTURES, SANITIZED, Daemon, clean_env, copy_pack, eventually, lensctl,
                               small_pack, temp_dir)

SMALL = FIXTURES / "hatcat-small"
ANSWERS = json.loads((SMALL / "expected-pack.json").read_text(encoding="utf-8"))
KEYS, CHILDREN, DIM = ANSWERS["keys"], ANSWERS["children"], 40
NEEDS_DAEMON = [["status"], ["packs"], ["sessions"], ["config"], ["concepts"], ["explain", "Deception:1"], ["latency"],
                ["detect", SMALL / "tokens.npy"], ["timeline", SMALL / "tokens.npy"], ["tail"], ["unload", "x"], ["preload"], ["shutdown"],
                ["trace", "record", "-o", "/dev/null"]]
STAGES = ["queue", "copy_in", "base", "load", "expand", "select", "copy_out", "total"]


def write_safetensors(path, values, shape, tokens=None, dtype="F32"):
    body = array.array("f", values).tobytes()
    header = {"hidden_states": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(body)]}}
    if tokens is not None:
        header["__metadata__"] = {"tokens": json.dumps(tokens)}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def some_rows(rows, dim=DIM):
    return [((7 * i) % 23 - 11) / 3 for i in range(rows * dim)]


def on_a_terminal(*args, **env):
    """What lensctl writes when its stdout is a terminal."""
    try:
        leader, follower = pty.openpty()
    except OSError as error:  # a container without /dev/pts
        raise unittest.SkipTest(f"no terminal can be made here: {error}") from error
    changes = {"TERM": "xterm", **env}
    process = subprocess.Popen([str(BUILD / "lensctl"), *map(str, args)], stdin=subprocess.DEVNULL, stdout=follower,
                               stderr=subprocess.PIPE, env=clean_env(**changes))
    os.close(follower)
    text = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(leader)
    process.communicate(timeout=60)
    return text.decode().replace("\r\n", "\n")


class Usage(unittest.TestCase):
    def refused(self, args, *parts):
        result = lensctl(*args)
        self.assertEqual(result.code, 2, result)
        self.assertEqual(result.stdout, "")
        for part in parts:
            self.assertIn(part, result.stderr)

    def test_wrong_usage_exits_2_and_says_what_to_do(self):
        self.refused(["statsu"], "unknown command 'statsu'", "did you mean 'status'")
        self.refused(["wibble"], "lensctl --help")
        self.refused(["pack", "imprt", "hatcat"], "did you mean 'pack import hatcat'")
        self.refused(["pack"], "pack inspect FILE", "pack verify FILE")
        self.refused(["status", "more"], "takes no further argument", "'more'")
        self.refused(["explain"], "expects CONCEPT")
        self.refused(["pack", "import", "hatcat", "dir"], "expects -o FILE")
        self.refused([], "usage: lensctl")

    def test_wrong_flags_exit_2_and_name_the_nearest(self):
        self.refused(["detect", "f", "--topk", "3"], "did you mean '--top-k'")
        self.refused(["--jsn", "status"], "did you mean '--json'")
        self.refused(["status", "--frobnicate"], "lensctl help status")
        self.refused(["detect", "f", "--top-k", "0"], "from 1 to 256", "'0'")
        self.refused(["detect", "f", "--top-k", "3.5"], "a whole number")
        self.refused(["detect", "f", "--rows", "65"], "from 1 to 64")
        self.refused(["detect", "f", "--load-threshold", "nan"], "from 0 to 1", "'nan'")
        self.refused(["detect", "f", "--load-threshold", "0.5x"], "'0.5x'")
        self.refused(["detect", "f", "--expand", "both"], "threshold, topk", "'both'")
        self.refused(["detect", "f", "--top-k"], "expects a value (K)")
        self.refused(["detect", "f", "--top-k", "3", "--top-k=4"], "given twice")
        self.refused(["status", "--json=1"], "takes no value")
        self.refused(["--top-k", "3", "detect", "f"], "come after its name")

    def test_flags_may_stand_anywhere_and_end_at_two_dashes(self):
        result = lensctl("pack", "--json", "verify", small_pack()).check()
        self.assertTrue(result.json()["ok"])
        self.assertIn("--json: can't open", lensctl("pack", "verify", "--", "--json").stderr)

    def test_help_comes_from_the_table(self):
        text = lensctl("--help").check().stdout
        for command in NEEDS_DAEMON:
            self.assertIn("\n  " + command[0], text)
        for code in ("0  ok", "1  failed", "2  wrong usage", "3  no daemon"):
            self.assertIn(code, text)
        detect = lensctl("help", "detect").check().stdout
        self.assertEqual(lensctl("detect", "--help").check().stdout, detect)
        self.assertIn("--expand threshold|topk", detect)
        self.assertIn("pack import hatcat DIR -o FILE", lensctl("help", "pack", "import", "hatcat").check().stdout)
        self.assertEqual(lensctl("help", "wibble").code, 2)

    def test_version(self):
        self.assertRegex(lensctl("--version").check().stdout, r"^lensctl \d+\.\d+\.\d+")
        self.assertEqual(lensctl("--version", "--json").check().json()["schema_version"], 1)

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([BUILD / "lensctl", "--help"], stdout=full, stderr=subprocess.PIPE, text=True,
                                  env=clean_env())
        self.assertEqual(done.returncode, 1)
        self.assertIn("could not write", done.stderr)


class NoDaemon(unittest.TestCase):
    def test_every_command_that_asks_a_daemon_exits_3(self):
        nowhere = temp_dir() / "nobody.sock"
        for command in NEEDS_DAEMON + [["load", small_pack()], ["swap", small_pack()]]:
            with self.subTest(command=command[0]):
                result = lensctl(*command, socket=nowhere)
                self.assertEqual((result.code, result.stdout), (3, ""), result)
                self.assertIn(str(nowhere), result.stderr)
                self.assertIn("start lensd", result.stderr)


class Packs(unittest.TestCase):
    def test_import_says_what_it_made_and_left_out(self):
        out = temp_dir() / "small.lens"
        text = lensctl("pack", "import", "hatcat", SMALL, "-o", out).check().stdout
        self.assertIn(f"{len(KEYS)} lenses ({DIM} ->", text)
        self.assertIn(f"concepts without a lens file, skipped: {len(ANSWERS['skipped'])}\n", text)
        self.assertIn(f"lenses the hierarchy doesn't list, made roots: {len(ANSWERS['unlisted'])}\n", text)
        for key in ANSWERS["unreachable"][:8]:
            self.assertIn(key, text)

    def test_import_as_json(self):
        out = temp_dir() / "small.lens"
        made = lensctl("pack", "import", "hatcat", SMALL, "-o", out, "--dtype", "bf16", "--json").check().json()
        self.assertEqual(made["schema_version"], 1)
        self.assertEqual((made["lenses"], made["dim"], made["dtype"]), (len(KEYS), DIM, "bf16"))
        self.assertEqual(sorted(made["unreachable"]), sorted(ANSWERS["unreachable"]))
        self.assertEqual(made["bytes"], out.stat().st_size)
        self.assertEqual(made["calibrated"], sum(c is not None for c in ANSWERS["calibration"]))

    def test_a_failed_import_writes_nothing_and_keeps_what_was_there(self):
        folder = temp_dir()
        out = folder / "pack.lens"
        for before in (None, b"older"):
            if before is not None:
                out.write_bytes(before)
            result = lensctl("pack", "import", "hatcat", FIXTURES / "bad" / "cycle", "-o", out)
            self.assertEqual(result.code, 1, result)
            self.assertIn("cycle", result.stderr)
            self.assertEqual([p.name for p in folder.iterdir()], [] if before is None else ["pack.lens"])
            self.assertEqual(out.read_bytes() if before else None, before)
        result = lensctl("pack", "import", "hatcat", folder / "no such directory", "-o", out)
        self.assertEqual(result.code, 1)
        self.assertIn("no such directory", result.stderr)

    def test_inspect(self):
        text = lensctl("pack", "inspect", small_pack()).check().stdout
        for part in ("lens-pack", "layernorm:1e-5", "w1\tF32\t", f"[{len(KEYS)},", "layer\tlenses"):
            self.assertIn(part, text)
        found = lensctl("pack", "inspect", small_pack(), "--json").check().json()
        self.assertEqual((found["schema_version"], found["lenses"], found["dim"]), (1, len(KEYS), DIM))
        self.assertEqual(found["tensors"][0]["name"], "w1")
        self.assertEqual(found["tensors"][0]["shape"][0], len(KEYS))
        layers = {row["layer"]: row["lenses"] for row in found["layers"]}
        self.assertEqual(layers, {n: ANSWERS["layers"].count(n) for n in set(ANSWERS["layers"])})

    def test_verify_says_ok_with_figures(self):
        self.assertIn(f"ok: {len(KEYS)} lenses", lensctl("pack", "verify", small_pack()).check().stdout)
        self.assertTrue(lensctl("pack", "verify", small_pack("int8"), "--json").check().json()["ok"])

    def test_verify_names_the_lens_with_a_changed_byte(self):
        path = copy_pack(small_pack())
        made = lensctl("pack", "inspect", path, "--json").check().json()
        data = bytearray(path.read_bytes())
        lens_bytes = made["tensors"][0]["bytes"] // len(KEYS)
        start = 8 + struct.unpack_from("<Q", data)[0]
        data[start + 3 * lens_bytes + 1] ^= 1
        path.write_bytes(data)
        result = lensctl("pack", "verify", path)
        self.assertEqual((result.code, result.stdout), (1, ""))
        self.assertIn(KEYS[3], result.stderr)

    def test_what_is_not_a_pack_is_refused(self):
        other = write_safetensors(temp_dir() / "x.safetensors", some_rows(1), [1, DIM])
        for command in ("inspect", "verify"):
            for path in (other, SMALL / "tokens.npy", "/dev/null", SMALL):
                result = lensctl("pack", command, path)
                self.assertEqual((result.code, result.stdout), (1, ""), result)
                self.assertIn(str(path), result.stderr)


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[small_pack()])
        cls.pack = small_pack().stem

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def text(self, *args):
        return self.daemon.lensctl(*args).check().stdout

    def object(self, *args):
        found = self.daemon.lensctl(*args, "--json").check().json()
        self.assertEqual(next(iter(found)), "schema_version")
        self.assertEqual(found["schema_version"], 1)
        return found

    def fails(self, args, *parts, code=1):
        result = self.daemon.lensctl(*args)
        self.assertEqual((result.code, result.stdout), (code, ""), result)
        for part in parts:
            self.assertIn(part, result.stderr)

    def test_status_is_one_screen(self):
        found = self.object("status")
        self.assertEqual((found["pid"], found["packs"]), (self.daemon.pid, 1))
        self.assertEqual(found["pack_names"], [self.pack])
        self.assertEqual(found["degraded"], "")
        text = self.text("status")
        self.assertLessEqual(len(text.splitlines()), 24)
        for part in ("pid %d" % self.daemon.pid, "backend", f"packs\t1: {self.pack}\n", found["reason"], "full service"):
            self.assertIn(part, text)

    def test_packs(self):
        row = self.object("packs")["packs"][0]
        self.assertEqual((row["name"], row["lenses"], row["dim"]), (self.pack, len(KEYS), DIM))
        self.assertIn(f"{self.pack}\t{len(KEYS)}\t{DIM}\t", self.text("packs"))

    def test_packs_say_memory_against_speed(self):
        row = self.object("packs")["packs"][0]
        self.assertEqual(row["lens_bytes"], row["h1"] * DIM * 4)
        self.assertGreaterEqual(row["slot_bytes"], row["lens_bytes"])
        self.assertEqual((row["host_resident"], row["host_slots"]), (0, 0))
        self.assertTrue(row["policy"])
        self.assertIn("lens file/slot", on_a_terminal("--socket", self.daemon.socket, "packs"))

    def test_status_tells_of_the_cache(self):
        with Daemon(packs=[small_pack()], args=["--pool-slots", "40", "--cache-host-memory", "1M"]) as daemon:
            daemon.lensctl("detect", SMALL / "tokens.npy").check()
            def settled():
                found = daemon.lensctl("--json", "status").check().json()
                return found if found["loads"] - found["evictions"] == found["resident"] else None
            found = eventually(settled, what="every load in its slot")
            self.assertEqual((found["slots"], found["loading"]), (40, ""))
            self.assertEqual(found["loads"], found["host_hits"] + found["cold"])
            self.assertGreater(found["evictions"], 0)
            self.assertGreater(found["host_bytes"], 0)
            issued = found["prefetch_issued"]
            self.assertLessEqual(found["prefetch_used"] + found["prefetch_wasted"], issued)
            self.assertEqual(found["prefetch_precision"], found["prefetch_used"] / issued if issued else None)
            lacked = found["prefetch_used"] + found["loads_waited"] + found["loads_behind"]
            self.assertEqual(found["prefetch_recall"], found["prefetch_used"] / lacked if lacked else None)
            text = daemon.lensctl("status").check().stdout
            for part in (f"policy {found['policy']}", f"{found['evictions']} evictions",
                         f"{found['host_resident']} lenses in host memory", "prefetch"):
                self.assertIn(part, text)

    def test_config_gives_value_and_origin(self):
        settings = {row["name"]: row for row in self.object("config")["settings"]}
        self.assertEqual(settings["cascade.load_threshold"]["origin"], "default")
        self.assertAlmostEqual(float(settings["cascade.load_threshold"]["value"]), 0.3)
        self.assertIn("cascade.load_threshold\t", self.text("config"))

    def test_sessions_shows_who_is_attached(self):
        self.assertEqual(self.object("sessions")["sessions"], [])
        folder = temp_dir()
        path = write_safetensors(folder / "many.safetensors", some_rows(20000), [20000, DIM])
        sender = subprocess.Popen([BUILD / "lensctl", "--socket", self.daemon.socket, "detect", path],
                                  stdout=subprocess.DEVNULL, env=clean_env())
        try:
            row = eventually(lambda: self.object("sessions")["sessions"], what="a session")[0]
            self.assertEqual((row["pid"], row["pack"], row["uid"]), (sender.pid, self.pack, os.getuid()))
            self.assertIn("detect", row["label"])
            stages = self.object("latency", "--session", row["session"])["stages_ns"]
            self.assertEqual(list(stages), STAGES)
        finally:
            sender.kill()
            sender.wait()
        eventually(lambda: not self.object("sessions")["sessions"], what="no session")

    def test_concepts_is_the_hierarchy(self):
        found = self.object("concepts")["concepts"]
        self.assertEqual([c["concept"] for c in found], KEYS)
        self.assertEqual([-1 if c["parent_id"] is None else c["parent_id"] for c in found], ANSWERS["parents"])
        self.assertEqual([c["children"] for c in found], [len(c) for c in CHILDREN])
        self.assertEqual([c["layer"] for c in found], ANSWERS["layers"])
        self.assertEqual([c["calibrated"] for c in found], [c is not None for c in ANSWERS["calibration"]])
        lines = self.text("concepts").splitlines()[1:]
        self.assertEqual(sorted(line.split("\t")[0] for line in lines), sorted(KEYS))

        def above(line):
            lens = int(line.split("\t")[1])
            while ANSWERS["parents"][lens] >= 0:
                lens = ANSWERS["parents"][lens]
                yield KEYS[lens]

        for before, line in zip(lines, lines[1:]):  # each concept's family stands below it
            parent = line.split("\t")[2]
            self.assertIn(parent, ["-", before.split("\t")[0], *above(before)])

    def test_concepts_that_match(self):
        found = [c["concept"] for c in self.object("concepts", "*:0")["concepts"]]
        self.assertEqual(found, [key for key in KEYS if key.endswith(":0")])
        self.assertEqual(len(self.text("concepts", "Tool*").splitlines()), 1 + 3)
        self.assertEqual(self.object("concepts", "nothing")["concepts"], [])
        self.fails(["concepts", "nothing"], "no concept", "'nothing'")
        self.fails(["concepts", "--pack", "other"], "'other'", "lensctl packs")

    def test_explain_gives_place_calibration_and_reasons(self):
        lens = KEYS.index("Deception:1")
        found = self.object("explain", "Deception:1")
        self.assertEqual(found["id"], lens)
        self.assertEqual([c["concept"] for c in found["path"]], ["Mind:0", "Deception:1"])
        self.assertEqual([c["id"] for c in found["children"]], CHILDREN[lens])
        for number, right in zip(found["calibration"] and found["calibration"].values() or [],
                                 ANSWERS["calibration"][lens] or []):
            self.assertAlmostEqual(number, right, places=5)
        text = self.text("explain", "Deception:1")
        self.assertIn("path: Mind:0 > Deception:1", text)
        for sentence in found["why"]:
            self.assertIn(sentence, text)

    def test_explain_agrees_with_detect(self):
        rows = self.daemon.lensctl("detect", SMALL / "tokens.npy", "--json", "--report", "all", "--top-k", 256,
                                   "--rank", "calibrated").check().json_lines()
        seen = {d["concept"]: d for row in rows for d in row["detections"]}
        for key in list(seen)[:12]:
            found = self.object("explain", key)
            examples = found["examples"]
            self.assertEqual(bool(examples), found["calibration"] is not None)
            raw, score = seen[key]["raw"], seen[key]["score"]
            below = [e["calibrated"] for e in examples if e["raw"] <= raw]
            above = [e["calibrated"] for e in examples if e["raw"] >= raw]
            self.assertTrue(all(b <= score + 1e-5 for b in below) and all(a >= score - 1e-5 for a in above), key)

    def test_explain_takes_names_and_ids_and_says_when_they_are_not_enough(self):
        self.assertEqual(self.object("explain", "Deception")["concept"], "Deception:1")
        self.assertEqual(self.object("explain", "3")["concept"], KEYS[3])
        self.fails(["explain", "Change"], "layer")
        self.fails(["explain", "Nonsense:9"], "Nonsense:9")

    def test_detect_prints_a_line_for_each_row(self):
        lines = self.text("detect", SMALL / "tokens-short.npy").splitlines()
        self.assertEqual(len(lines), 12)
        self.assertRegex(lines[7], r"^ +7  \S+:\d+ \d\.\d\d  ")

    def test_detect_gives_all_fields_of_a_row(self):
        result = self.daemon.lensctl("detect", SMALL / "tokens-short.npy", "--json", "--top-k", 3).check()
        row = result.json_lines()[2]
        self.assertEqual(list(row)[:2], ["schema_version", "row"])
        self.assertEqual((row["row"], row["status"], row["flags"]), (2, "COMPLETE", []))
        self.assertEqual(list(row["timing_ns"]), STAGES)
        self.assertEqual(row["counts"]["scored"], row["scored"])
        self.assertEqual(row["generation"], self.object("packs")["packs"][0]["generation"])
        self.assertEqual(len(row["detections"]), 3)
        self.assertEqual(set(row["detections"][0]), {"concept", "id", "score", "raw", "logit", "path"})
        self.assertNotIn("token", row)

    def test_detect_shows_tokens_without_control_characters(self):
        tokens = ["dog", "\x1b[31mred\n", "día"]
        path = write_safetensors(temp_dir() / "t.safetensors", some_rows(3), [3, DIM], tokens)
        lines = self.text("detect", path).splitlines()
        self.assertEqual(len(lines), 3)
        self.assertIn("  dog ", lines[0])
        self.assertIn("\\x1b[31mred\\n", lines[1])
        self.assertNotIn("\x1b", "".join(lines))
        rows = self.daemon.lensctl("detect", path, "--json", "--rows", 2).check().json_lines()
        self.assertEqual([row["token"] for row in rows], tokens)

    def test_json_holds_no_control_characters_either(self):
        tokens = ["\x9b31mred", "\x7f\x9b", "día \x1b[m"]
        path = write_safetensors(temp_dir() / "t.safetensors", some_rows(3), [3, DIM], tokens)
        text = self.daemon.lensctl("detect", path, "--json").check().stdout
        self.assertFalse({"\x9b", "\x7f", "\x1b"} & set(text))
        self.assertEqual([json.loads(line)["token"] for line in text.splitlines()], tokens)

    def test_detect_says_why_a_row_is_invalid_and_exits_0(self):
        values = some_rows(2)
        values[3] = float("nan")
        path = write_safetensors(temp_dir() / "nan.safetensors", values, [2, DIM])
        rows = self.daemon.lensctl("detect", path, "--json").check().json_lines()
        self.assertEqual([row["status"] for row in rows], ["INVALID_INPUT", "COMPLETE"])
        self.assertTrue(rows[0]["reason"])
        self.assertEqual(rows[0]["detections"], [])
        self.assertIn("INVALID_INPUT: " + rows[0]["reason"], self.text("detect", path).splitlines()[0])

    def test_detect_takes_one_row_without_a_second_dimension(self):
        path = write_safetensors(temp_dir() / "one.safetensors", some_rows(1), [DIM])
        self.assertEqual(len(self.text("detect", path).splitlines()), 1)

    def test_detect_says_both_sizes_when_the_file_is_of_another_model(self):
        path = write_safetensors(temp_dir() / "wide.safetensors", some_rows(2, 64), [2, 64])
        self.fails(["detect", path], "64 values", f"takes {DIM}", self.pack)

    def test_detect_refuses_what_it_cannot_use(self):
        tokens = SMALL / "tokens.npy"
        self.fails(["detect", SMALL / "pack.json"], "safetensors")
        self.fails(["detect", SMALL / "tokens-bf16.npy"], "'<u2'", ".safetensors")
        self.fails(["detect", SMALL / "no such file"], "No such file")
        self.fails(["detect", tokens, "--base", "0,0"], "--base", code=2)
        self.fails(["detect", tokens, "--pin", "Nonsense"], "Nonsense")
        self.fails(["detect", tokens, "--pin", "Change"], "several layers")
        self.fails(["detect", tokens, "--pack", "other"], "'other'")

    def test_latency_is_a_table_of_stages(self):
        self.daemon.lensctl("detect", SMALL / "tokens.npy").check()
        found = self.object("latency")
        self.assertEqual(list(found["stages_ns"]), STAGES)
        total = found["stages_ns"]["total"]
        self.assertGreaterEqual(found["rows"], 32)
        self.assertTrue(0 < total["p50"] <= total["p90"] <= total["p99"] <= total["p99.9"] <= total["max"], total)
        lines = self.text("latency").splitlines()
        self.assertEqual(lines[0].split("\t"), ["us", "p50", "p90", "p99", "p99.9", "max", "mean"])
        self.assertEqual([line.split("\t")[0] for line in lines[1:9]], STAGES)
        self.assertIn("hits: slot ", "\n".join(lines))
        self.fails(["latency", "--session", 999999], "999999")

    def test_latency_has_the_field_s_table_of_stages_too(self):
        self.daemon.lensctl("detect", SMALL / "tokens.npy").check()
        found = self.object("latency")
        ours, field = found["stages_ns"], found["hatcat_stages_ns"]
        mapped = {"initial_detection": "base", "child_loading": "load", "child_detection": "expand",
                  "cache_management": "select", "total": "total"}
        self.assertEqual(list(field), [*list(mapped)[:4], "rest", "total"])
        for name, stage in mapped.items():
            self.assertEqual(field[name]["stages"], [stage])
            for figure in ("p50", "p99", "mean"):
                self.assertEqual(field[name][figure], ours[stage][figure])
        rest = ("queue", "copy_in", "copy_out")
        self.assertEqual(field["rest"]["stages"], list(rest))
        self.assertEqual(field["rest"]["mean"], sum(ours[stage]["mean"] for stage in rest))
        self.assertEqual(field["total"]["share"], 1)
        self.assertGreater(field["initial_detection"]["share"], 0)
        lines = [line.split("\t") for line in self.text("latency").splitlines()]
        head = lines.index(["HatCat's stages, us", "ours", "p50", "p99", "mean", "share"])
        self.assertEqual([line[0] for line in lines[head + 1 : head + 7]],
                         ["initial detection", "child loading", "child detection", "cache management", "(rest)",
                          "total"])
        self.assertEqual(lines[head + 6][5], "100.0%")
        self.assertIn("cache\nmanagement = select", lensctl("help", "latency").check().stdout)

    def test_a_terminal_gets_colour_and_aligned_columns(self):
        where = ["--socket", self.daemon.socket]
        text = on_a_terminal(*where, "packs")
        self.assertIn("\x1b[1m", text)
        self.assertNotIn("\t", text)
        self.assertIn("\x1b[32mfull service", on_a_terminal(*where, "status"))
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn("\x1b", on_a_terminal(*where, "packs", **env))
        self.assertIn("  Mind:0 ".strip(), on_a_terminal(*where, "concepts", NO_COLOR="1"))
        self.assertIn("\n  Deception:1 ", on_a_terminal(*where, "concepts", NO_COLOR="1"))
        self.assertNotIn("\x1b", self.text("packs"))


class Operator(unittest.TestCase):
    def test_load_swap_and_unload(self):
        first = copy_pack(small_pack(), "first.lens")
        with Daemon(packs=[first]) as daemon:
            def packs():
                return {row["name"]: row for row in daemon.lensctl("packs", "--json").check().json()["packs"]}
            before = packs()["first"]["generation"]
            second = pathlib.Path(copy_pack(small_pack("int8"), "second.lens")).rename(first.parent / "second.lens")
            self.assertTrue(daemon.lensctl("load", second, "--name", "other").check().stdout.strip())
            self.assertEqual(set(packs()), {"first", "other"})
            daemon.lensctl("detect", SMALL / "tokens.npy", "--pack", "other").check()
            done = daemon.lensctl("swap", second, "--name", "first", "--json").check().json()
            self.assertEqual(done["schema_version"], 1)
            eventually(lambda: packs()["first"]["generation"] > before, what="the swap")
            self.assertEqual(packs()["first"]["dtype"], "int8")
            daemon.lensctl("unload", "other").check()
            self.assertEqual(set(packs()), {"first"})
            self.assertEqual(daemon.lensctl("unload", "other").code, 1)

    def test_a_bad_pack_is_refused_and_the_good_one_stays(self):
        good = copy_pack(small_pack(), "good.lens")
        bad = good.parent / "bad.lens"
        bad.write_bytes(good.read_bytes()[:-100])
        with Daemon(packs=[good]) as daemon:
            for command in ("load", "swap"):
                result = daemon.lensctl(command, bad)
                self.assertEqual((result.code, result.stdout), (1, ""), result)
            self.assertEqual(daemon.lensctl("load", good.parent / "none.lens").code, 1)
            daemon.lensctl("detect", SMALL / "tokens.npy").check()

    def test_a_swap_during_detect_is_followed(self):
        first = copy_pack(small_pack(), "first.lens")
        path = write_safetensors(temp_dir() / "many.safetensors", some_rows(1500), [1500, DIM])
        with Daemon(packs=[first]) as daemon:
            sender = subprocess.Popen([BUILD / "lensctl", "--socket", daemon.socket, "--json", "detect", path],
                                      stdout=subprocess.PIPE, text=True, env=clean_env())
            lines = [sender.stdout.readline()]
            daemon.lensctl("swap", first).check()
            lines += sender.stdout.read().splitlines()
            sender.stdout.close()
            self.assertEqual(sender.wait(60), 0)
            rows = [json.loads(line) for line in lines]
            self.assertEqual([row["row"] for row in rows], list(range(1500)))
            self.assertGreater(rows[-1]["generation"], rows[0]["generation"])
            self.assertNotIn("?", {d["concept"] for row in rows for d in row["detections"]})

    def test_shutdown_ends_the_daemon(self):
        daemon = Daemon(packs=[small_pack()])
        self.assertTrue(daemon.lensctl("shutdown").check().stdout.strip())
        daemon.wait_exit()
        self.assertEqual(daemon.lensctl("status").code, 3)

    def test_detect_says_when_the_daemon_goes_away(self):
        rows = 4000 if SANITIZED else 40000
        path = write_safetensors(temp_dir() / "many.safetensors", some_rows(rows), [rows, DIM])
        daemon = Daemon(packs=[small_pack()])
        sender = subprocess.Popen([BUILD / "lensctl", "--socket", daemon.socket, "detect", path],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_env())
        sender.stdout.readline()
        daemon.kill()
        _, stderr = sender.communicate(timeout=60)
        self.assertEqual(sender.returncode, 3, stderr)
        self.assertIn("went away", stderr)


if __name__ == "__main__":
    unittest.main()
