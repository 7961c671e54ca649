"""lensctl timeline: one map of tokens and concepts, of a file of hidden states; in the terminal, as a table, as JSON
and as a page of HTML that needs nothing else. What the page does in a browser is test_timeline_page.py's."""
import html.parser
import json
import re
import shutil
import unittest

from tests.e2e.harness import BUILD, ROOT, Daemon, run, small_pack, temp_dir
from tests.e2e.liblens import Client
from tests.e2e.terminal import Terminal
from tests.e2e.test_lensctl import DIM, on_a_terminal, some_rows, write_safetensors

DATA = ROOT / "tests" / "real" / "data"
PACK = DATA / "wordnet-minilm.lens"
DOGS = DATA / "sentences" / "01-dogs.safetensors"
TOKENS = "The old dog barked at the puppy and chased a rabbit across the yard .".split()
HOSTILE = ["</script><script>alert(1)</script>", "\"'`&<!--", "\x1b[31mred\x07", "\u202etxt.exe\u2066", "a\tb\nc",
           "\u05d0\u05d1", "\u2028\u2029", "", " ", "\U0001f415"]


def rows_of(text):
    """{concept: [cells]} of a table with tabs, and its head."""
    lines = [line.split("\t") for line in text.rstrip("\n").split("\n")]
    return {line[0]: line[1:] for line in lines[1:]}, lines[0]


def data_of(page):
    """The JSON inside a page, found as a browser finds it."""
    class Finder(html.parser.HTMLParser):
        inside, texts = False, []

        def handle_starttag(self, tag, attributes):
            self.inside = tag == "script" and ("id", "data") in attributes

        def handle_data(self, data):
            if self.inside:
                self.texts.append(data)
                self.inside = False
    finder = Finder()
    finder.texts = []
    finder.feed(page)
    return json.loads("".join(finder.texts))


class RealSentence(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(packs=[PACK])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def timeline(self, *args):
        return self.daemon.lensctl("timeline", DOGS, *args).check()

    def test_the_table_has_a_column_for_each_token_and_what_detect_scored(self):
        table, head = rows_of(self.timeline("--min", "0.5").stdout)
        self.assertEqual(head, ["concept"] + [f"{i} {token}" for i, token in enumerate(TOKENS)])
        detected = self.daemon.lensctl("detect", DOGS, "--report", "all", "--top-k", "256", "--json").check().json_lines()
        for row, answer in enumerate(detected):
            scores = {d["concept"]: f"{d['score']:.4f}" for d in answer["detections"]}
            for concept, cells in table.items():
                self.assertEqual(cells[row], scores.get(concept, ""), (row, concept))

    def test_concepts_come_by_first_appearance_by_score_or_parents_first(self):
        def order(*args):
            return list(rows_of(self.timeline("--min", "0.5", *args).stdout)[0])
        self.assertEqual(order()[0], "Organism:0")
        self.assertEqual(order()[-2:], ["Region:1", "Location:0"])  # on "yard", the last but one
        best = [c["best"] for c in self.timeline("--sort", "score", "--json").json()["concepts"]]
        self.assertEqual(best, sorted(best, reverse=True))
        self.assertEqual(order("--sort", "hierarchy"),
                         ["Location:0", "Region:1", "Organism:0", "Animal:1", "Mammal:2", "Carnivore:3", "Canine:4", "Dog:5"])

    def test_the_strongest_are_taken_and_the_rest_is_counted(self):
        result = self.timeline("--concepts", "3")
        self.assertEqual(len(rows_of(result.stdout)[0]), 3)
        self.assertRegex(result.stderr, r"the 3 strongest of \d+ concepts that score 0.3 or more; --concepts N shows others")
        self.assertEqual(list(rows_of(self.timeline("--concept", "*:5", "--min", "0.5").stdout)[0]), ["Dog:5"])
        none = self.timeline("--concept", "No such*")
        self.assertEqual(none.stdout.count("\n"), 1)
        self.assertIn("none that matches reaches 0.3; --min 0", none.stderr)

    def test_json_has_tokens_paths_and_the_matrix(self):
        answer = self.timeline("--json", "--min", "0.5").json()
        self.assertEqual((answer["schema_version"], answer["pack"], answer["scores_are"]), (1, "wordnet-minilm", "raw"))
        self.assertEqual([t["token"] for t in answer["tokens"]], TOKENS)
        self.assertEqual({t["status"] for t in answer["tokens"]}, {"COMPLETE"})
        dog = next(c for c in answer["concepts"] if c["concept"] == "Dog:5")
        self.assertEqual(dog["path"], ["Organism:0", "Animal:1", "Mammal:2", "Carnivore:3", "Canine:4", "Dog:5"])
        self.assertEqual((dog["first_row"], dog["best_row"]), (2, 6))
        self.assertEqual((len(dog["scores"]), len(dog["logits"])), (len(TOKENS), len(TOKENS)))
        self.assertEqual(dog["best"], dog["scores"][6])
        self.assertIsNone(dog["scores"][0])  # its parents were quiet: never scored, which is not 0
        self.assertNotIn("raw", dog)         # the scores are raw

    def test_the_terminal_wraps_the_map_in_blocks(self):
        plain = on_a_terminal("--socket", self.daemon.socket, "timeline", DOGS, NO_COLOR="1", LC_ALL="C.UTF-8")
        self.assertRegex(plain, r"(?m)^ +The old dog barked at  the puppy")
        self.assertRegex(plain, r"(?m)^Dog:5 +███ +█████ *$")
        self.assertRegex(plain, r"(?m)^scale +0\.1 ░░░")
        self.assertNotIn("\x1b", plain)
        ascii_only = on_a_terminal("--socket", self.daemon.socket, "timeline", DOGS, "--narrow", NO_COLOR="1", LC_ALL="C")
        self.assertTrue(ascii_only.isascii())
        self.assertRegex(ascii_only, r"(?m)^Dog:5 +@   @ *$")
        colour = on_a_terminal("--socket", self.daemon.socket, "timeline", DOGS, LC_ALL="C.UTF-8")
        self.assertRegex(colour, r"Dog:5.*\x1b\[48;5;\d+;38;5;\d+m *\.90 *\x1b\[0m")

    def test_the_page_holds_the_same_data_and_asks_nothing_of_the_network(self):
        path = temp_dir() / "dogs.html"
        said = self.timeline("--html", path, "--min", "0.5")
        self.assertRegex(said.stdout, r"^15 tokens, 8 concepts; [\d.]+ KiB in ")
        page = path.read_text(encoding="ascii")
        found, expected = data_of(page), self.timeline("--json", "--min", "0.5").json()
        self.assertEqual([c["concept"] for c in found["concepts"]], [c["concept"] for c in expected["concepts"]])
        for a, b in zip(found["concepts"], expected["concepts"]):
            for x, y in zip(a["scores"], b["scores"]):
                self.assertTrue(x is y is None or abs(x - y) < 1e-3 * max(abs(y), 1e-3), (a["concept"], x, y))
        self.assertNotRegex(page, r"""https?:|//[a-z0-9-]+\.[a-z]|\bsrc=|<link|@import|url\(""")
        self.assertIn("default-src 'none'", page)
        self.assertEqual(list(path.parent.glob("*.tmp")), [])

    @unittest.skipUnless(shutil.which("node"), "no node here: the page's program isn't parsed")
    def test_the_program_of_the_page_parses(self):
        page = (ROOT / "client" / "lensctl" / "timeline.html").read_text(encoding="ascii")
        program = page.rsplit("<script>", 1)[1].split("</script>")[0]
        run(["node", "--check", "-"], stdin=program).check()

    def test_an_older_page_is_replaced_and_stays_when_writing_fails(self):
        path = temp_dir() / "page.html"
        path.write_text("old", encoding="ascii")
        self.timeline("--html", path)
        self.assertIn("@media print", path.read_text(encoding="ascii"))
        refused = self.daemon.lensctl("timeline", DOGS, "--html", path.parent / "missing" / "page.html")
        self.assertEqual(refused.code, 1)
        self.assertIn("can't create", refused.stderr)


class OnTheScreen(unittest.TestCase):
    def test_the_map_is_as_wide_as_the_window(self):
        with Daemon(packs=[PACK]) as daemon, Terminal(60, 40) as terminal:
            terminal.run(BUILD / "lensctl", "--socket", daemon.socket, "timeline", DOGS, "--min", "0.5")
            terminal.wait_for(re.compile(r"scale(.|\n)*0\.9 +\.95"))
            lines = terminal.lines()
            heads = [i for i, line in enumerate(lines) if re.search(r"^ {8,}(The old dog|.*yard \.)", line)]
            self.assertEqual(len(heads), 2)  # two blocks, each with every concept below its head, unbroken
            for head in heads:
                self.assertEqual([line.split(" ")[0] for line in lines[head + 1:head + 9]],
                                 ["Organism:0", "Mammal:2", "Animal:1", "Canine:4", "Dog:5", "Carnivore:3", "Region:1", "Location:0"])
            dog = next(line for line in lines[heads[0]:] if line.startswith("Dog:5"))
            column = lines[heads[0]].index("dog")
            self.assertEqual(dog[column:column + 3], ".90")  # the score stands below its token


class LiveSession(unittest.TestCase):
    """What the daemon remembers of sessions, whose client is liblens as a model's process has it."""

    def positions(self, daemon, *args):
        return [token["row"] for token in daemon.lensctl("timeline", *args, "--json").check().json()["tokens"]]

    def test_a_session_shows_what_its_client_was_told(self):
        with Daemon(packs=[PACK]) as daemon:
            told = daemon.lensctl("detect", DOGS, "--report", "all", "--json").check().json_lines()
            answer = daemon.lensctl("timeline", "1", "--json", "--min", "0.5").check().json()
        self.assertEqual((answer["source"], answer["pack"]), ("session 1, sequence 0", "wordnet-minilm"))
        self.assertEqual([token["row"] for token in answer["tokens"]], list(range(len(TOKENS))))
        for concept in answer["concepts"]:
            for row, score in zip(told, concept["scores"]):
                scores = {d["concept"]: d["score"] for d in row["detections"]}
                self.assertEqual(scores.get(concept["concept"]), score)
        dog = next(c for c in answer["concepts"] if c["concept"] == "Dog:5")
        self.assertEqual(dog["path"][0], "Organism:0")

    def send(self, client, sequence, rows):
        for position in range(rows):
            client.ask(some_rows(1), sequence, position, token_id=100 + position)

    def test_the_sequence_that_was_active_last_is_shown_or_the_one_asked_for(self):
        with Daemon(packs=[small_pack()]) as daemon, Client(daemon.socket) as client:
            self.send(client, 5, 3)
            self.send(client, 6, 2)
            self.assertEqual(self.positions(daemon, "1", "--min", "0"), [0, 1])
            self.assertEqual(self.positions(daemon, "1", "--sequence", "5", "--min", "0"), [0, 1, 2])
            refused = daemon.lensctl("timeline", "1", "--sequence", "7")
            tokens = daemon.lensctl("timeline", "1", "--json").check().json()["tokens"]
        self.assertEqual(refused.code, 1)
        self.assertIn("remembers no row of sequence 7 of session 1", refused.stderr)
        self.assertEqual([token["token_id"] for token in tokens], [100, 101])

    def test_a_number_used_again_shows_its_latest_run(self):
        with Daemon(packs=[small_pack()]) as daemon, Client(daemon.socket) as client:
            self.send(client, 1, 4)
            self.send(client, 1, 2)
            self.assertEqual(self.positions(daemon, "1", "--min", "0"), [0, 1])

    def test_rows_that_are_forgotten_are_said_to_be(self):
        with Daemon(packs=[small_pack()], args=["--telemetry-events", "3"]) as daemon:
            daemon.lensctl("detect", write_safetensors(temp_dir() / "x", some_rows(8), [8, DIM])).check()
            result = daemon.lensctl("timeline", "1", "--min", "0", "--json").check()
            self.assertEqual([token["row"] for token in result.json()["tokens"]], [5, 6, 7])
            self.assertIn("the oldest row that lensd remembers of this sequence is at position 5", result.stderr)
            daemon.lensctl("detect", write_safetensors(temp_dir() / "y", some_rows(3), [3, DIM])).check()
            forgotten = daemon.lensctl("timeline", "1")
            self.assertEqual(forgotten.code, 1)
            self.assertIn("remembers no row of session 1", forgotten.stderr)

    def test_a_session_that_never_was_is_refused(self):
        with Daemon(packs=[small_pack()]) as daemon:
            self.assertIn("there was no session 9 yet", daemon.lensctl("timeline", "9").stderr)
            refused = daemon.lensctl("timeline", DOGS, "--sequence", "1")
            self.assertEqual(refused.code, 2)
            self.assertIn("--sequence goes with the number of a session", refused.stderr)


class SmallPack(unittest.TestCase):
    def test_hostile_tokens_stay_text(self):
        file = write_safetensors(temp_dir() / "rows.safetensors", some_rows(len(HOSTILE)), [len(HOSTILE), DIM], HOSTILE)
        page = temp_dir() / "page.html"
        with Daemon(packs=[small_pack()]) as daemon:
            daemon.lensctl("timeline", file, "--min", "0", "--html", page).check()
            table = daemon.lensctl("timeline", file, "--min", "0").check().stdout
            shown = on_a_terminal("--socket", daemon.socket, "timeline", file, "--min", "0", NO_COLOR="1", LC_ALL="C.UTF-8")
        text = page.read_text(encoding="ascii")
        self.assertEqual([t["token"] for t in data_of(text)["tokens"]], HOSTILE)
        self.assertEqual(text.count("</script>"), 2)  # the data's and the program's
        for output in (table, shown):
            self.assertNotRegex(output, "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
        self.assertIn("\\u202etxt.exe\\u2066", table)
        self.assertEqual({line.count("\t") for line in table.rstrip("\n").split("\n")}, {len(HOSTILE)})

    def test_an_invalid_row_is_a_token_without_scores(self):
        values = some_rows(3)
        values[DIM] = float("nan")
        file = write_safetensors(temp_dir() / "rows.safetensors", values, [3, DIM])
        with Daemon(packs=[small_pack()]) as daemon:
            answer = daemon.lensctl("timeline", file, "--min", "0", "--json", "--rank", "calibrated").check().json()
        self.assertEqual([t["status"] for t in answer["tokens"]], ["COMPLETE", "INVALID_INPUT", "COMPLETE"])
        self.assertEqual(answer["scores_are"], "calibrated")
        for concept in answer["concepts"]:
            self.assertIsNone(concept["scores"][1])
            self.assertEqual(len(concept["raw"]), 3)


if __name__ == "__main__":
    unittest.main()
