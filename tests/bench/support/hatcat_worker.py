"""Runs HatCat's own DynamicLensManager over rows and writes what it did as JSON: the other half of peer.py.

Runs under a Python that has torch and numpy, in a process of its own, so that its peak memory is its own. Nothing of
HatCat is changed or replaced. Its packages' __init__ files import everything it has (transformers, servers, ..), so
the three packages above the manager are given as bare modules with their real paths; the manager and all that it
imports are HatCat's files.
"""
import argparse
import contextlib
import importlib
import io
import json
import pathlib
import resource
import sys
import time
import types

import numpy
import torch


def import_manager(hatcat):
    """HatCat's src.hat.monitoring.lens_manager from the source tree `hatcat`."""
    above = hatcat / "src"
    for name in ("src", "src.hat", "src.hat.monitoring"):
        package = types.ModuleType(name)
        package.__path__ = [str(above)]
        sys.modules[name] = package
        above = above / {"src": "hat"}.get(name, "monitoring")
    return importlib.import_module("src.hat.monitoring.lens_manager")


def read_once(lenses):
    """Brings every lens file into the page cache, so that no disk is measured."""
    for path in lenses.glob("layer*/*.pt"):
        path.read_bytes()


def open_manager(module, args):
    empty = args.lenses / "layer0"  # has no layerN.json: concepts come from the pack, as HatCat finds them there
    with contextlib.redirect_stdout(io.StringIO()):
        return module.DynamicLensManager(layers_data_dir=empty, lenses_dir=args.lenses, device=args.device,
                                         base_layers=[int(n) for n in args.base.split(",")],
                                         load_threshold=0.3, max_loaded_lenses=args.cache)


def run_row(manager, row, afresh):
    """One token by the documented call; what it took, scored and found. Only the call is on the clock."""
    if afresh:
        manager.reset_to_base(keep_warm_cache=True)
    before = dict(manager.lens_access_count)
    began = time.perf_counter_ns()
    results, timing = manager.detect_and_expand(row, top_k=10, return_timing=True, use_calibration=False)
    if row.is_cuda:
        torch.cuda.synchronize()
    took = time.perf_counter_ns() - began
    scored = [f"{name}:{layer}" for (name, layer), n in manager.lens_access_count.items()
              if n != before.get((name, layer), 0)]
    return {"ns": took, "scored": scored, "hits": [f"{name}:{layer}" for name, _, layer in results],
            "children": timing["num_children_loaded"],
            "stages_ms": {k: timing.get(k, 0) for k in ("initial_detection", "_disk_load", "_child_scoring",
                                                         "child_loading", "cache_management", "total")}}


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--hatcat", type=pathlib.Path, required=True)
    parse.add_argument("--lenses", type=pathlib.Path, required=True)
    parse.add_argument("--rows", type=pathlib.Path, required=True)
    parse.add_argument("--out", type=pathlib.Path, required=True)
    parse.add_argument("--base", default="0,1")
    parse.add_argument("--cache", type=int, default=500)
    parse.add_argument("--threads", type=int, default=2)
    parse.add_argument("--device", default="cpu", help="cpu or cuda; the row is on it already when the clock starts")
    parse.add_argument("--afresh", action="store_true", help="back to the base lenses between tokens, off the clock")
    args = parse.parse_args()
    torch.set_num_threads(args.threads)
    read_once(args.lenses)
    module = import_manager(args.hatcat)
    rows = torch.from_numpy(numpy.load(args.rows)).to(args.device)
    began = time.perf_counter()
    manager = open_manager(module, args)
    start_s = time.perf_counter() - began
    with contextlib.redirect_stdout(io.StringIO()):
        done = [run_row(manager, rows[t:t + 1], args.afresh) for t in range(len(rows))]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    args.out.write_text(json.dumps({"rows": done, "start_s": start_s, "peak_bytes": peak,
                                    "lenses": len(manager.concept_metadata), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
