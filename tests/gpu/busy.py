"""Keeps a card busy the way a model does that generates one token at a time, and says how fast it goes.

    python3 tests/gpu/busy.py --out busy.json [--alone SECONDS]

A loop of 36 layers of bf16 products with one column (weights of a 4B model: 2560 wide, 10240 in the middle), some of
them with 64 columns, as a server's batch has. First alone for some seconds, then "ready" on a line of its own, then on
until SIGTERM; OUT gets steps a second alone and afterwards, and the slowdown. Needs PyTorch with CUDA; exit 3 says that
it isn't there.
"""
import argparse
import json
import signal
import sys
import time


def make_step(torch):
    """One forward pass as a captured graph."""
    shapes = [(2560, 2560), (2560, 10240), (10240, 2560)]
    weights = [[torch.randn(k, n, device="cuda", dtype=torch.bfloat16) * k ** -0.5 for k, n in shapes]
               for _ in range(36)]
    columns = [1] * 3 + [64]
    states = [torch.randn(n, 2560, device="cuda", dtype=torch.bfloat16) for n in columns]

    def step():
        for x in states:
            for square, up, down in weights:
                x = torch.relu((x @ square) @ up) @ down
    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def steps_per_second(torch, graph, until):
    began, n = time.perf_counter(), 0
    while not until(time.perf_counter() - began):
        graph.replay()
        torch.cuda.synchronize()
        n += 1
    return n / (time.perf_counter() - began)


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--out", required=True)
    parse.add_argument("--alone", type=float, default=3.0)
    args = parse.parse_args()
    try:
        import torch
    except ImportError:
        print("no PyTorch")
        return 3
    if not torch.cuda.is_available():
        print("PyTorch sees no card")
        return 3
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    graph = make_step(torch)
    alone = steps_per_second(torch, graph, lambda spent: spent > args.alone or stopped)
    print("ready", flush=True)
    beside = steps_per_second(torch, graph, lambda _: stopped)
    with open(args.out, "w") as out:
        json.dump({"torch": torch.__version__, "steps_per_second_alone": alone, "steps_per_second_beside": beside,
                   "slowdown": alone / beside - 1}, out)
    print(f"the busy process: {alone:.1f} steps/s alone, {beside:.1f} beside lensd ({100 * (alone / beside - 1):+.1f}% "
          "time a step)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
