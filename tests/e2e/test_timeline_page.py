"""The page that lensctl timeline --html writes, in a browser: what it shows, that texts of tokens stay texts, filter,
threshold, order, keyboard, pointer, list and paper, and that it asks nothing of the network. Needs Chromium."""
import unittest

from tests.e2e.browser import Page, chromium
from tests.e2e.harness import SANITIZED, Daemon, small_pack, temp_dir
from tests.e2e.test_lensctl import DIM, some_rows, write_safetensors
from tests.e2e.test_timeline import DOGS, HOSTILE, PACK, TOKENS

INVISIBLE = r"[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]"
DOWN, CONTROL = "ArrowDown", 2


@unittest.skipIf(SANITIZED, "the page is the same, whatever lensctl was built with")
class RealSentence(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        chromium()
        path = temp_dir() / "dogs.html"
        with Daemon(packs=[PACK]) as daemon:
            daemon.lensctl("timeline", DOGS, "--html", path, "--min", "0.5").check()
            cls.given = [c["concept"] for c in
                         daemon.lensctl("timeline", DOGS, "--json", "--min", "0.5").check().json()["concepts"]]
        cls.url = path.as_uri()
        cls.page = Page(cls.url)
        cls.addClassCleanup(cls.page.close)

    def setUp(self):
        self.page.open(self.url)

    def tearDown(self):
        self.assertEqual(self.page.errors, [])
        self.assertEqual(self.page.requests, [self.url])  # and nothing else

    def texts(self, selector):
        return self.page.run(f"[...document.querySelectorAll({selector!r})].map(e => e.textContent)")

    def set(self, id, value):
        self.page.run(f"$({id!r}).value = {value!r}; $({id!r}).dispatchEvent(new Event('input'))")
        self.page.settle()

    def colour_at(self, concept, token):
        """The pixel in the middle of a cell."""
        return self.page.run(f"""(() => {{
            const dots = devicePixelRatio, canvas = $("canvas");
            const x = ({token} + 0.5) * state.cell - $("map").scrollLeft, y = ({concept} + 0.5) * ROW - $("map").scrollTop;
            return [...canvas.getContext("2d").getImageData(x * dots, y * dots, 1, 1).data].slice(0, 4).join();
        }})()""")

    def test_tokens_stand_above_and_concepts_beside_the_scores(self):
        self.page.settle()
        self.assertEqual(self.texts("#head div"), TOKENS)
        self.assertEqual(self.texts("#names div"), self.given)
        self.assertEqual(self.texts("#reading span"), TOKENS)
        self.assertIn("15 tokens", self.page.run("$('facts').textContent"))
        dog = self.given.index("Dog:5")
        self.assertEqual(self.colour_at(dog, 0), "0,0,0,0")  # no score: nothing is drawn
        strong, weak = self.colour_at(dog, 6), self.colour_at(dog, 3)
        self.assertNotEqual(strong, weak)
        self.assertEqual(self.page.run("shade(concepts.find(c => c.key === 'Dog:5').scores[6])"),
                         f"rgb({strong.rsplit(',', 1)[0]})")

    def test_filter_threshold_and_order_choose_the_lines(self):
        self.set("filter", "region")
        self.assertEqual(self.texts("#names div"), ["Region:1"])
        self.set("filter", "animal canine")  # all words, anywhere in the path
        self.assertEqual(self.texts("#names div"), ["Canine:4", "Dog:5"])
        self.set("filter", "no such thing")
        self.assertIn("No concept matches", self.page.run("$('empty').textContent"))
        self.set("filter", "")
        self.set("threshold", "0.99")
        self.assertEqual(set(self.texts("#names div")), {"Organism:0", "Mammal:2", "Animal:1", "Canine:4"})
        self.set("threshold", "0")
        self.set("sort", "hierarchy")
        self.assertEqual(self.texts("#names div"), ["Location:0", "Region:1", "Organism:0", "Animal:1", "Mammal:2",
                                                    "Carnivore:3", "Canine:4", "Dog:5"])
        self.set("filter", "canine")            # indented below what is shown, not below what isn't
        indents = self.page.run("[...document.querySelectorAll('#names div')].map(e => e.style.paddingLeft)")
        self.assertEqual(indents, ["12px", "22px"])
        self.set("filter", "")
        self.set("sort", "score")
        self.assertEqual(self.texts("#names div")[0], "Organism:0")
        self.assertEqual(self.texts("#names div")[-1], "Location:0")

    def test_the_keyboard_moves_from_cell_to_cell_and_each_is_said(self):
        said = "$('active').textContent"
        self.page.run("$('map').focus()")
        self.page.settle()
        self.assertRegex(self.page.run(said), r"^Organism:0, token 0 The: score 0\.000, logit -?\d")
        for key in ("ArrowRight", "ArrowRight", DOWN):
            self.page.key(key)
        self.assertRegex(self.page.run(said), r"^Mammal:2, token 2 dog: score 0\.999, logit 7")
        self.page.key("ArrowLeft")
        self.assertRegex(self.page.run(said), r"^Mammal:2, token 1 old: no score$")
        self.page.key("End", CONTROL)
        self.assertRegex(self.page.run(said), rf"^{self.given[-1]}, token 14 \.: ")
        self.page.key("Home", CONTROL)
        self.assertRegex(self.page.run(said), r"^Organism:0, token 0 ")
        self.assertEqual(self.page.run("[$('map').getAttribute('aria-rowcount'), $('map').getAttribute('aria-colcount')].join()"),
                         f"{len(self.given)},{len(TOKENS)}")

    def test_the_pointer_shows_score_logit_and_path(self):
        self.page.settle()
        box = self.page.run("(b => [b.left, b.top])($('canvas').getBoundingClientRect())")
        dog = self.given.index("Dog:5")
        self.page.mouse(box[0] + 6.5 * 24, box[1] + (dog + 0.5) * 21)
        tip = self.page.run("$('tip').textContent")
        self.assertIn("Organism:0 › Animal:1 › Mammal:2 › Carnivore:3 › Canine:4 › Dog:5", tip)
        self.assertIn("score0.9873", tip)
        self.assertRegex(tip, r"logit4\.35")
        self.assertEqual(self.texts("#tip mark"), ["puppy"])
        self.page.mouse(5, 5)
        self.assertTrue(self.page.run("$('tip').hidden"))

    def test_the_list_is_a_table(self):
        self.set("show", "list")
        self.assertEqual(sorted(self.texts("#list tbody th")), sorted(self.given))
        self.assertEqual(self.texts("#list thead th")[0], "Concept")
        row = next(i for i, name in enumerate(self.texts("#list tbody th")) if name == "Dog:5")
        self.assertEqual(self.page.run(f"[...document.querySelectorAll('#list tbody tr')[{row}].cells].map(c => c.textContent)")[:4],
                         ["Dog:5", "0.987", "6 puppy", "2"])

    def test_a_concept_shades_the_text(self):
        self.page.settle()
        self.page.run("[...document.querySelectorAll('#names div')].find(e => e.textContent === 'Region:1').click()")
        shaded = self.page.run("[...document.querySelectorAll('#reading span')].filter(e => e.style.background).map(e => e.textContent)")
        self.assertEqual(shaded, ["yard"])
        self.page.run("$('map').focus()")
        for _ in range(self.given.index("Dog:5")):
            self.page.key(DOWN)
        self.page.key("Enter")
        shaded = self.page.run("[...document.querySelectorAll('#reading span')].filter(e => e.style.background).map(e => e.textContent)")
        self.assertEqual(shaded, ["dog", "puppy"])

    def test_paper_gets_all_of_it_as_tables(self):
        self.page.run("fillPrint()")
        self.assertEqual(self.texts("#print thead th"), TOKENS)
        self.assertEqual(self.texts("#print tbody th"), self.given)
        self.assertEqual(self.page.run("document.querySelectorAll('#print tbody td').length"), len(self.given) * len(TOKENS))

    def test_dark_and_light_are_the_readers(self):
        back = "getComputedStyle(document.body).backgroundColor"
        seen = {}
        for scheme in ("light", "dark"):
            self.page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            self.page.settle()
            seen[scheme] = (self.page.run(back), self.colour_at(0, 2))
        self.assertEqual(seen["light"][0], "rgb(255, 255, 255)")
        self.assertNotEqual(seen["light"][0], seen["dark"][0])
        self.assertNotEqual(seen["light"][1], seen["dark"][1])  # the map is drawn anew


@unittest.skipIf(SANITIZED, "the page is the same, whatever lensctl was built with")
class HostileTokens(unittest.TestCase):
    def test_texts_stay_texts_and_nothing_invisible_is_hidden(self):
        chromium()
        directory = temp_dir()
        file = write_safetensors(directory / "rows.safetensors", some_rows(len(HOSTILE)), [len(HOSTILE), DIM], HOSTILE)
        with Daemon(packs=[small_pack()]) as daemon:
            daemon.lensctl("timeline", file, "--min", "0", "--html", directory / "page.html").check()
        with Page((directory / "page.html").as_uri()) as page:
            page.settle()
            page.run("window.alerted = false; window.alert = () => { window.alerted = true; }")
            page.run("$('show').value = 'list'; refresh(); $('show').value = 'map'; refresh(); fillPrint(); $('map').focus()")
            page.settle()
            self.assertEqual(page.errors, [])
            self.assertFalse(page.run("alerted"))
            self.assertEqual(page.run("document.scripts.length"), 2)
            self.assertEqual(page.run("document.querySelectorAll('#reading span *, #head div *, #print th *').length"), 0)
            shown = page.run("[...document.querySelectorAll('#head div, #reading span, #print thead th')].map(e => e.textContent)")
            self.assertIn("</script><script>alert(1)</script>", shown)
            self.assertIn("⟨U+202E⟩txt.exe⟨U+2066⟩", shown)
            self.assertIn("␛[31mred␇", shown)
            self.assertIn("a⇥b↵c", shown)
            for text in shown:
                self.assertNotRegex(text, INVISIBLE)


if __name__ == "__main__":
    unittest.main()
