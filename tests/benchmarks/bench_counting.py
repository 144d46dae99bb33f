"""Counting what gradient flow conserves: seconds a network of widths 2 to 9, compilation included.

    python tests/benchmarks/bench_counting.py [--networks 6]

Marcotte, Gribonval, Peyre 2023 (arXiv 2307.00144) publish, for their SageMath code, 41 s a linear network and 136 s a
ReLU network of widths 2 to 9; that code is not run here, so the ratios compare two machines. One core, one thread; two
layers of random widths, no biases, 60 inputs; every count is checked against the closed form.
"""

from alternating import one_core

if __name__ == "__main__":
    one_core()

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from symjax import conserved

PUBLISHED = {"linear": 41.0, "ReLU": 136.0}


def apply(params: list[jax.Array], x: jax.Array, kind: str) -> jax.Array:
    """Two layers."""
    hidden = x @ params[0]
    return (jnp.maximum(hidden, 0.0) if kind == "ReLU" else hidden) @ params[1]


def laws(kind: str, m: int, h: int, n: int) -> int:
    """One a hidden unit of a ReLU network; ``r h - r (r - 1) / 2``, ``r = min(h, m + n)``, of a linear one."""
    r = min(h, m + n)
    return h if kind == "ReLU" else r * h - r * (r - 1) // 2


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", type=int, default=6)
    given = parser.parse_args()
    for kind, published in PUBLISHED.items():
        random, seconds = np.random.default_rng(0), []
        for _ in range(given.networks):
            m, h, n = random.integers(2, 10, 3)
            params = [jnp.asarray(random.normal(size=shape)) for shape in ((m, h), (h, n))]
            x, began = jnp.asarray(random.normal(size=(60, m))), time.process_time()
            found = conserved.count(lambda params, x, kind=kind: apply(params, x, kind), params, x)
            seconds.append(time.process_time() - began)
            if found.conserved != laws(kind, m, h, n):
                raise SystemExit(f"{kind} {m}-{h}-{n}: {found.conserved} counted, {laws(kind, m, h, n)} expected")
        middle = statistics.median(seconds)
        print(
            f"{kind:7} {middle:6.2f} CPU s a network ({min(seconds):.2f} to {max(seconds):.2f}, {given.networks}), "
            f"published {published:.0f} s: {published / middle:.0f} times",
            flush=True,
        )


if __name__ == "__main__":
    main()
