"""How the benchmarks measure: pinned to one core where asked, the sides taking turns in one process."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any


def one_core() -> None:
    """Pin this process to one core and its libraries to one thread; call before jax is imported."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def alternate(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """CPU and wall seconds of every side in every round, after one round that warms up."""
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            side()
            if turn:
                rows[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return rows
