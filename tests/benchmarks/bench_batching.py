"""Members of a sweep in a loop, by ``lax.map`` and by vmap: time of a chunk relative to the best, and what auto picks.

    python tests/benchmarks/bench_batching.py [dense|conv|all]

One core, single-threaded (set before jax is imported), the three alternating, median of seven rounds after compilation;
the ratio is of ``time.process_time``. On an accelerator set ``JAX_PLATFORMS``; the ratio is then of wall time. On CPU
XLA needs minutes to compile VGG11 inside ``lax.map``.
"""

import os
import sys

from alternating import one_core

if __name__ == "__main__" and os.environ.get("JAX_PLATFORMS", "cpu") == "cpu":
    one_core()

import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from papers.common import data
from papers.common.batching import advance, choose
from papers.noether.sweeps.config import SweepConfig
from papers.noether.sweeps.measure import Sweep, build
from papers.noether.sweeps.member import begin_all

BATCHINGS = ("loop", "map", "vmap")
LARGEST_LOSS_OF_AUTO = 1.05
ROUNDS = 7


def clock() -> float:
    """CPU time on CPU, wall time elsewhere."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def prepare(sweep: Sweep, batching: str, steps: int) -> Callable[[], float]:
    """Compile one way of batching; the function returned runs a chunk and gives its seconds."""
    plan = choose(batching, convolutions=sweep.problem.convolutions, platform=jax.default_backend())
    forward = advance(sweep.problem.step, plan)
    states = begin_all(sweep.problem, sweep.config, sweep.members, sweep.hypers)
    images, size = sweep.train.labels.shape[0], sweep.config.batch_size
    indices = np.random.default_rng(0).integers(0, images, (len(sweep.members), steps, size)).astype(np.int32)

    def chunk() -> float:
        nonlocal states
        began = clock()
        states, fetch = forward(states, sweep.hypers, sweep.train, indices)
        fetch()
        jax.block_until_ready(states)
        return clock() - began

    chunk()
    return chunk


def compare(name: str, config: SweepConfig, steps: int) -> None:
    """Print one row of the table."""
    sweep = build(config, data.load("digits"))
    chunks = {batching: prepare(sweep, batching, steps) for batching in BATCHINGS}
    seconds: dict[str, list[float]] = {batching: [] for batching in BATCHINGS}
    for _ in range(ROUNDS):
        for batching, chunk in chunks.items():
            seconds[batching].append(chunk())
    median = {batching: statistics.median(values) for batching, values in seconds.items()}
    best = min(median.values())
    picked = sweep.plan.batching
    ratios = "  ".join(f"{batching} {median[batching] / best:6.2f}" for batching in BATCHINGS)
    verdict = "within" if median[picked] / best <= LARGEST_LOSS_OF_AUTO else "NOT within"
    each = 1e3 * best / steps / len(sweep.members)
    print(
        f"{name:28s} {ratios}  best {each:8.3f} ms a step and member  auto: {picked}, {verdict} 5 % of the best",
        flush=True,
    )


def main(which: str) -> None:
    """Print the table."""
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    for batch, hidden, members in ((8, 16, 2), (8, 16, 32), (64, 64, 2), (64, 64, 32)) if which != "conv" else ():
        seeds = tuple(range(members))
        config = SweepConfig(model="mlp", hidden=(hidden,), batch_size=batch, seeds=seeds, learning_rates=(0.01,))
        compare(f"mlp {hidden}, batch {batch}, {members} members", config, steps=20)
    if which != "dense":
        config = SweepConfig(width=1 / 16, batch_size=16, learning_rates=(0.01, 0.02), seeds=(0,))
        compare("VGG11 width 1/16, 4 members", config, steps=2)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "all")
