"""lensd's half of peer.py: a daemon with every lens resident, one row at a time through liblens."""
import array
import ast
import ctypes
import json
import os
import pathlib
import struct
import time
from ctypes import byref

from tests.e2e.harness import Daemon
from tests.e2e.liblens import Answer, Client, Slot

READY_S = 600
SPIN_US = 1000000


class Pack:
    """Keys, layers and children of a pack, read from its file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))

            def table(name, kind):
                begin, end = header[name]["data_offsets"]
                file.seek(8 + size + begin)
                values = array.array(kind)
                values.frombytes(file.read(end - begin))
                return values
            offsets, names, self.layer = table("name_offsets", "i"), table("names", "B").tobytes(), table("layer", "B")
            self.child_offsets, self.child_ids = table("child_offsets", "i"), table("child_ids", "i")
        self.keys = [f"{names[offsets[i]:offsets[i + 1]].decode()}:{layer}" for i, layer in enumerate(self.layer)]

    def base(self, layers):
        return {i for i, layer in enumerate(self.layer) if layer in layers}

    def scored_without_retained(self, base, expanded):
        """What a row scored that started from the base lenses and expanded these."""
        ids = set(base)
        for parent in expanded:
            ids.update(self.child_ids[self.child_offsets[parent]:self.child_offsets[parent + 1]])
        return ids


def read_rows(path):
    """A .npy of f32 [n, dim] as bytes, one object per row."""
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<H", data[8:10])
    n, dim = ast.literal_eval(data[10:10 + size].decode().strip())["shape"]
    body = memoryview(data)[10 + size:]
    return [bytes(body[t * dim * 4:(t + 1) * dim * 4]) for t in range(n)]


def ask(client, slot, answer, row):
    """One row there and its answer back: nanoseconds at the client. The answer is held until it is released."""
    lib, session = client.lib, client.session
    began = time.perf_counter_ns()
    code = lib.lens_session_acquire(session, 1, 0, 0, byref(slot))
    if code == 0:
        ctypes.memmove(slot.rows, row, len(row))
        code = lib.lens_session_submit(session, byref(slot)) or lib.lens_session_wait(session, 60000000, byref(answer))
    took = time.perf_counter_ns() - began
    if code != 0 or answer.status != 0 or answer.flags != 0:
        raise RuntimeError(f"a row failed: error {code}, status {answer.status}, flags {answer.flags}")
    return took


def measure(client, rows, warm, pack):
    """One {"ns", "total_ns", "n_scored", "hits", "expanded"} for each row after the warm ones."""
    slot, answer, done = Slot(), Answer(), []
    for t, row in enumerate(rows):
        took = ask(client, slot, answer, row)
        if answer.n_expanded_stored != answer.counts[1]:
            raise RuntimeError(f"{answer.counts[1]} lenses were expanded, {answer.n_expanded_stored} reported")
        if t >= warm:
            done.append({"ns": took, "total_ns": answer.ns[7], "n_scored": answer.counts[0],
                         "hits": [pack.keys[answer.hits[i].id] for i in range(answer.n_hits)],
                         "expanded": [answer.expanded[i] for i in range(answer.n_expanded_stored)]})
        client.lib.lens_session_release(client.session)
    return done


def pin(daemon, threads):
    """One scoring thread: it has the last processor and the client the first. More: everybody runs anywhere."""
    cpus = sorted(os.sched_getaffinity(0))
    if threads != 1 or len(cpus) < 2:
        return cpus
    for task in os.listdir(f"/proc/{daemon.pid}/task"):
        with open(f"/proc/{daemon.pid}/task/{task}/comm") as name:
            if name.read().startswith("lensd-engine"):
                os.sched_setaffinity(int(task), {cpus[-1]})
    os.sched_setaffinity(0, {cpus[0]})
    return cpus


def peak_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024


def sets_of(done, pack, base):
    """The keys each row scored, from what it expanded; the count in the answer must agree."""
    sets = []
    for row in done:
        ids = pack.scored_without_retained(base, row["expanded"])
        if len(ids) != row["n_scored"]:
            raise RuntimeError(f"{row['n_scored']} lenses were scored, {len(ids)} follow from what was expanded")
        sets.append({pack.keys[i] for i in ids})
    return sets


def run_session(daemon, pack, rows, warm, threads, expand, layers):
    given = (ctypes.c_uint8 * len(layers))(*layers)
    params = {"expand": int(expand == "topk"), "spin_us": SPIN_US if threads == 1 else 0, "base_layers": given,
              "n_base_layers": len(layers), "max_expanded": 1024}
    if expand == "topk":
        params["keep_top_k"] = 0
    with Client(daemon.socket, **params) as client:
        done = measure(client, rows, warm, pack)
    own = sorted(row["ns"] - row["total_ns"] for row in done)[len(done) // 2]
    result = {"expand": expand, "base": ",".join(map(str, layers)), "threads": threads, "rows": done,
              "client_ns": own, "client_share": own / sorted(row["ns"] for row in done)[len(done) // 2]}
    return result, sets_of(done, pack, pack.base(layers)) if expand == "topk" else None


def run_lensd(pack_path, rows_path, leaves, run, threads, warm, full, backend="cpu"):
    """Yields (which HatCat run to compare with, figures with their rows, sets scored or None) of one daemon."""
    dtype, compute = run.split(":")
    pack, rows = Pack(pack_path), read_rows(rows_path)
    if any(leaf not in pack.keys for leaf in leaves[0]):
        raise RuntimeError(f"{pack_path} has another tree than the rows: delete it, and it is made anew")
    flags = ["--backend", backend, "--pool-dtype", dtype, "--pool-compute", compute, "--engine-threads", threads, "--packs-verify", "off",
             "--engine-spin-us", SPIN_US if threads == 1 else 50]
    plans = [("carried", "threshold", (0, 1)), ("afresh", "topk", (0, 1))]
    if full:
        plans += [("cache 8000", "threshold", (0, 1)), ("base 0-2", "threshold", (0, 1, 2))]
    with Daemon(packs=[pack_path], args=flags, wait=False) as daemon:
        daemon.wait_log("ready on ", READY_S)
        cpus = pin(daemon, threads)
        try:
            for name, expand, layers in plans:
                result, sets = run_session(daemon, pack, rows, warm, threads, expand, layers)
                yield name, {"run": run, **result, "peak_bytes": peak_bytes(daemon.pid)}, sets
        finally:
            os.sched_setaffinity(0, cpus)
