"""P4: HatCat's own DynamicLensManager and lensd, on the same lenses and the same rows, in one run.

    python3 tests/bench/peer.py --hatcat DIR [--python PYTHON] [--rows 100] [--pack-dir build/bench] [--full]
                                [--runs f32:exact,bf16:exact,bf16:bf16,int8:int8] [--threads 2,1] [--gpu]

DIR is a checkout of https://github.com/p0ss/HatCatDev, which is read and run as it is (support/hatcat_worker.py says
how it is imported); it is not part of this repository. PYTHON has torch and numpy (build/real-venv by default).

Both have the real-tree pack in bf16: HatCat its directory of .pt files (all in the page cache), lensd the file. HatCat
computes in f32 over them, on two threads; so does lensd's f32 run, with the same weights widened into its slots, all
resident. Rows are one stream with two planted leaves each.

  carried   HatCat by its documented call: cache 500, base layers 0-1, what the last token left is scored first.
            Against it: lensd by default (threshold), and what each scores and finds.
  afresh    HatCat put back to its base lenses between tokens, off the clock. Against it: lensd with expand = topk and
            keep_top_k = 0, so both score the same lenses; the share of rows where the two sets are equal is printed.
  --full    also HatCat with a cache of 8,000, and with base layers 0-2.
  --gpu     both on the card: HatCat with device="cuda" and its rows there already, lensd with --backend cuda and the
            row in the memory of the host; one lensd thread beside the client's. Figures go to peer-gpu.json.

HatCat's calibration is off (use_calibration=False): without data it sets every score to 0.5. A row's time is the call
for HatCat, and from writing the row to reading the answer for lensd. lensd's client is Python: what of a row isn't
lensd's own (mostly its wake-up) is in client_ns, and a note says when it exceeds 2%. lensd's two threads have both
processors and the client sleeps; its one thread has one, and the client spins on the other.

Needs 24 GB of memory, 11 GB of disk where the inputs are missing, and about two minutes for 100 rows.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

GOALS = {("threshold", "f32:exact"): 100, ("topk", "f32:exact"): 40, ("topk", "bf16"): 75, ("topk", "int8"): 120}
WARM = 10
HERE = pathlib.Path(__file__).resolve().parent


def options():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--hatcat", type=pathlib.Path, required=True, metavar="DIR")
    parse.add_argument("--python", type=pathlib.Path, default=ROOT / "build/real-venv/bin/python")
    parse.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parse.add_argument("--pack-dir", type=pathlib.Path, help="where real-tree-bf16.lens and hatcat-real/ are or go")
    parse.add_argument("--rows", type=int, default=100)
    parse.add_argument("--seed", type=int, default=7)
    parse.add_argument("--runs", default="f32:exact,bf16:exact,bf16:bf16,int8:int8", metavar="DTYPE:COMPUTE,..")
    parse.add_argument("--threads", default="2,1")
    parse.add_argument("--full", action="store_true")
    parse.add_argument("--gpu", action="store_true")
    args = parse.parse_args()
    args.pack_dir = (args.pack_dir or args.build / "bench").resolve()
    if not (args.hatcat / "src/hat/monitoring/lens_manager.py").exists():
        parse.error(f"--hatcat expects a checkout of HatCat; {args.hatcat} has no src/hat/monitoring/lens_manager.py")
    args.backend = "cuda" if args.gpu else "cpu"
    if args.gpu:
        args.threads = "1"
    if args.rows < 1:
        parse.error(f"--rows expects at least 1, found {args.rows}")
    if not args.python.exists():
        parse.error(f"--python expects a Python with torch and numpy; there is no {args.python}")
    return args


# ---- what both need ---------------------------------------------------------------------------------------------


def make_inputs(args):
    """Pack, HatCat's directory and rows beside them; made by synth where missing."""
    synth = [str(args.build / "bench/synth")]
    tree = os.environ.get("LENS_BENCH_TREE")
    if not tree and (ROOT.parent / "shared/data/first-light-tree.tsv").exists():
        tree = str(ROOT.parent / "shared/data/first-light-tree.tsv")
    if tree:
        synth += ["--tree", tree]
    pack, lenses = args.pack_dir / "real-tree-bf16.lens", args.pack_dir / "hatcat-real"
    rows, leaves = args.pack_dir / "peer-rows.npy", args.pack_dir / "peer-leaves.json"
    if not pack.exists():
        subprocess.run([*synth, "--dtype", "bf16", "--pack", str(pack)], check=True)
    if not (lenses / "pack.json").exists():
        subprocess.run([*synth, "--dtype", "bf16", "--hatcat", str(lenses)], check=True)
    subprocess.run([*synth, "--rows", str(rows), "--leaves", str(leaves), "--count", str(WARM + args.rows), "--seed",
                    str(args.seed)], check=True, stdout=subprocess.DEVNULL)
    return pack, lenses, rows, json.loads(leaves.read_text())


def summary(values):
    ordered = sorted(values)
    return {"p50": statistics.median(ordered), "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
            "mean": statistics.fmean(ordered), "max": ordered[-1]}


def figure(rows, leaves, **more):
    """The figures of one run; `rows` are {"ns", "scored" (a list), "hits"} of the measured tokens."""
    found = sum(leaf in row["hits"] for row, planted in zip(rows, leaves) for leaf in planted)
    return {"ms": summary([row["ns"] * 1e-6 for row in rows]), "lenses_scored": statistics.fmean(
        row["n_scored"] if "n_scored" in row else len(row["scored"]) for row in rows),
        "planted_recall": found / sum(map(len, leaves)), **more}


# ---- HatCat -----------------------------------------------------------------------------------------------------


def run_hatcat(args, lenses, rows, leaves, name, *flags):
    out = args.pack_dir / f"peer-hatcat-{name}.json"
    command = [str(args.python), str(HERE / "support/hatcat_worker.py"), "--hatcat", str(args.hatcat), "--lenses",
               str(lenses), "--rows", str(rows), "--out", str(out), "--device", args.backend, *flags]
    subprocess.run(command, check=True)
    said = json.loads(out.read_text())
    out.unlink()
    measured = said["rows"][WARM:]
    stages = {stage: statistics.fmean(row["stages_ms"][stage] for row in measured)
              for stage in measured[0]["stages_ms"]}
    result = figure(measured, leaves[WARM:], peak_bytes=said["peak_bytes"], start_s=said["start_s"], torch=said["torch"],
                    lenses=said["lenses"], children=statistics.fmean(row["children"] for row in measured),
                    stages_ms=stages, flags=" ".join(flags))
    return result, [set(row["scored"]) for row in measured]


# ---- the report -------------------------------------------------------------------------------------------------


def show(name, result):
    ms = result["ms"]
    print(f"  {name:44} {ms['p50']:9.3f} {ms['p95']:9.3f} {result['lenses_scored']:8.1f} "
          f"{100 * result['planted_recall']:7.1f}% {result['peak_bytes'] / 1e9:7.2f} GB", flush=True)


def goal_of(expand, run):
    return GOALS.get((expand, run)) or GOALS.get((expand, run.split(":")[0]))


def compare(name, ours, theirs, sets):
    ours["ratio_p50"] = theirs["ms"]["p50"] / ours["ms"]["p50"]
    ours["ratio_mean"] = theirs["ms"]["mean"] / ours["ms"]["mean"]
    goal = 100 if ours["backend"] == "cuda" else goal_of(ours["expand"], ours["run"])
    text = f"    {ours['ratio_p50']:.0f}x of HatCat {name}"
    if goal and ours["base"] == "0,1":
        ours["goal"] = goal
        text += f" (goal {goal}x)"
    if sets:
        ours["rows_with_equal_sets"] = statistics.fmean(mine == other for mine, other in zip(*sets))
        text += f"; the same lenses scored in {100 * ours['rows_with_equal_sets']:.0f}% of the rows"
    if ours["client_share"] > 0.02:
        text += f"; NOTE: {100 * ours['client_share']:.1f}% of the row is the client's"
    print(text, flush=True)


def machine():
    cpu = next((line.split(": ", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "kernel": os.uname().release,
            "load": os.getloadavg()[0]}


def main():
    args = options()
    os.environ["LENSD_BUILD"] = str(args.build)
    from tests.bench.support.peer_lensd import run_lensd
    pack, lenses, rows, leaves = make_inputs(args)
    hatcat, sets = {}, {}
    print(f"P4: {args.rows} rows, both on the {'card' if args.gpu else 'processor, HatCat on 2 threads'}; load {os.getloadavg()[0]:.2f}")
    print(f"  {'':44} {'p50 ms':>9} {'p95 ms':>9} {'lenses':>8} {'recall':>8} {'peak':>10}")
    plans = {"carried": (), "afresh": ("--afresh",)}
    if args.full:
        plans.update({"cache 8000": ("--cache", "8000"), "base 0-2": ("--base", "0,1,2")})
    for name, flags in plans.items():
        hatcat[name], sets[name] = run_hatcat(args, lenses, rows, leaves, name.replace(" ", "-"), *flags)
        show(f"HatCat, {name}", hatcat[name])
    ours = []
    for threads in map(int, args.threads.split(",")):
        for run in args.runs.split(","):
            for name, result, mine in run_lensd(pack, rows, leaves, run, threads, WARM, args.full,
                                                args.backend):
                result.update(figure(result.pop("rows"), leaves[WARM:], backend=args.backend))
                show(f"lensd, {run}, {result['expand']}, {threads} thread(s), base {result['base']}", result)
                compare(name, result, hatcat[name], (mine, sets[name]) if mine else None)
                ours.append(result)
    again, _ = run_hatcat(args, lenses, rows, leaves, "again")
    show("HatCat, carried, once more at the end", again)
    drift = again["ms"]["p50"] / hatcat["carried"]["ms"]["p50"] - 1
    print(f"    {100 * drift:+.0f}% against its first run: what the ratios above are worth")
    hatcat["carried again"] = again
    out = args.build / f"bench/peer{'-gpu' if args.gpu else ''}.json"
    out.write_text(json.dumps({"benchmark": "peer", "machine": machine(), "settings": {
        "rows": args.rows, "seed": args.seed, "warm": WARM, "backend": args.backend}, "hatcat": hatcat, "figures": ours}, indent=1) + "\n")
    print(f"written: {out}")


if __name__ == "__main__":
    main()
