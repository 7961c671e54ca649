"""A pack that lensctl writes opens with the safetensors library, and holds what DESIGN section 3 says.

Needs the Python packages safetensors and numpy. Where this Python has none, the test runs itself again with the one of
build/test-venv (made by `make check`); where there is none either, it is skipped.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("LENSD_BUILD", ROOT / "build")).resolve()
VENV_PYTHON = ROOT / "build" / "test-venv" / "bin" / "python"
SMALL = ROOT / "tests" / "fixtures" / "hatcat-small"
N, D, H1, H2 = 70, 40, 32, 16

try:
    import numpy as np
    import safetensors
    from safetensors import safe_open
except ImportError:
    safetensors = None


def venv_works():
    check = "import numpy, safetensors"
    return VENV_PYTHON.exists() and subprocess.run([VENV_PYTHON, "-c", check], capture_output=True).returncode == 0


class InTheTestVenv(unittest.TestCase):
    def test_all_of_this_file_with_the_librarys_python(self):
        if not venv_works():
            self.skipTest(f"no safetensors and numpy here, nor in {VENV_PYTHON}: run `make check` with network access")
        command = [VENV_PYTHON, "-m", "unittest", "-v", "tests/e2e/test_safetensors_opens.py"]
        done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(done.stdout.count("... ok"), 4, done.stdout)


class OpensWithSafetensors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.packs = {dtype: cls.write_pack(dtype) for dtype in ("f32", "bf16", "int8", "log8")}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def write_pack(cls, dtype):
        path = pathlib.Path(cls.folder.name) / f"{dtype}.pack"
        command = [BUILD / "lensctl", "pack", "import", "hatcat", SMALL, "-o", path, "--dtype", dtype]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return path

    @staticmethod
    def header(path):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return 8 + length, json.loads(file.read(length))

    def tensor(self, dtype, name):
        """A tensor through the library; bf16, which numpy lacks, by its bits through the header."""
        start, header = self.header(self.packs[dtype])
        entry = header[name]
        if entry["dtype"] == "BF16":
            begin, end = entry["data_offsets"]
            bits = np.fromfile(self.packs[dtype], dtype="<u2", offset=start + begin, count=(end - begin) // 2)
            return (bits.astype("<u4") << 16).view("<f4").reshape(entry["shape"])
        with safe_open(self.packs[dtype], framework="np") as pack:
            return pack.get_tensor(name)

    def test_every_dtype_opens_with_all_its_tensors(self):
        common = {"w1", "checksum", "b1", "w2", "b2", "w3", "b3", "calibration", "parent", "child_offsets", "child_ids",
                  "name_offsets", "layer", "role", "names"}
        extra = {"f32": set(), "bf16": set(), "int8": {"w1_scale"}, "log8": {"w1_sign", "w1_log_min", "w1_log_max"}}
        for dtype, path in self.packs.items():
            with self.subTest(dtype), safe_open(path, framework="np") as pack:
                self.assertEqual(set(pack.keys()), common | extra[dtype])
                self.assertEqual(pack.get_slice("w1").get_shape(), [N, H1, D])
                self.assertEqual(pack.get_slice("w2").get_shape(), [N, H2, H1])
                metadata = pack.metadata()
                self.assertEqual(metadata["format"], "lens-pack")
                self.assertEqual(metadata["version"], "1")
                self.assertEqual(metadata["hidden_dim"], str(D))
                self.assertEqual(metadata["normalize"], "layernorm:1e-5")

    def test_w1_is_first_and_starts_on_a_page(self):
        for dtype, path in self.packs.items():
            start, header = self.header(path)
            self.assertEqual(start % 4096, 0, dtype)
            self.assertEqual(header["w1"]["data_offsets"][0], 0, dtype)

    def test_names_and_hierarchy_are_readable(self):
        expected = json.loads((SMALL / "expected-pack.json").read_text(encoding="utf-8"))
        offsets, names = self.tensor("f32", "name_offsets"), self.tensor("f32", "names").tobytes()
        layers = self.tensor("f32", "layer")
        keys = [f"{names[offsets[i]:offsets[i + 1]].decode()}:{layers[i]}" for i in range(N)]
        self.assertEqual(keys, expected["keys"])
        child_offsets, child_ids = self.tensor("f32", "child_offsets"), self.tensor("f32", "child_ids")
        children = [child_ids[child_offsets[i]:child_offsets[i + 1]].tolist() for i in range(N)]
        self.assertEqual(children, expected["children"])

    def test_stored_weights_are_those_of_f32_within_each_encodings_error(self):
        exact = self.tensor("f32", "w1").astype(np.float64)
        scale = self.tensor("int8", "w1_scale").astype(np.float64)[:, :, None]
        self.assertLessEqual(np.max(np.abs(self.tensor("int8", "w1") * scale - exact) / scale), 0.5001)
        self.assertLessEqual(np.max(np.abs(self.tensor("bf16", "w1") - exact) / np.abs(exact)), 2.0**-8)
        low, high = (self.tensor("log8", name).astype(np.float64)[:, :, None] for name in ("w1_log_min", "w1_log_max"))
        codes = self.tensor("log8", "w1").astype(np.float64)
        signs = np.unpackbits(self.tensor("log8", "w1_sign"), axis=2, bitorder="little")[:, :, :D]
        decoded = np.where(codes == 0, 0, np.where(signs == 1, -1, 1) * np.exp(low + (255 - codes) / 254 * (high - low)))
        error = np.abs(decoded - exact) / np.abs(exact)
        self.assertLess(error.mean(), 0.012)
        self.assertLess(np.max(error / ((high - low) / 254)), 0.52)


def load_tests(loader, _tests, _pattern):
    return loader.loadTestsFromTestCase(InTheTestVenv if safetensors is None else OpensWithSafetensors)


if __name__ == "__main__":
    unittest.main()
