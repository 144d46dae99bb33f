"""The dense Hessian of Figure 9's network (750 parameters) and its eigenvalues, beside PyTorch's.

    pip install -e ".[benchmarks]"
    python tests/benchmarks/bench_hessian.py [--rounds 7]

Zhao et al. 2023, Fig. 9: F = U sigma(V^T), U (10, 50), V (5, 50), X = I, squared Frobenius loss, float32 as theirs
(and float64 beside it). One process, one core, single-threaded (set before jax is imported), alternating, compilation
not timed; ratios are medians over the rounds of the pairwise ratios of CPU seconds, wall seconds beside them.
"""

from alternating import alternate, one_core

if __name__ == "__main__":
    one_core()

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from symjax import curvature

M, H, N = 10, 50, 5
Side = Callable[[], Any]


def loss(params: tuple[jax.Array, jax.Array], y: jax.Array) -> jax.Array:
    """``|Y - U tanh(V^T)|_F^2``."""
    u, v = params
    return jnp.sum((y - u @ jnp.tanh(v.T)) ** 2)


def sides(dtype: Any) -> tuple[dict[str, Side], dict[str, Side]]:
    """The Hessian alone, and with its eigenvalues."""
    draws = np.random.default_rng(0)
    u, v, y = (
        (scale * draws.normal(size=shape)).astype(dtype) for scale, shape in ((0.3, (M, H)), (0.3, (N, H)), (1, (M, N)))
    )
    flat, target = torch.tensor(np.concatenate((u.ravel(), v.ravel()))), torch.tensor(y)

    def torch_loss(q: torch.Tensor) -> torch.Tensor:
        left, right = q[: M * H].reshape(M, H), q[M * H :].reshape(N, H)
        return torch.sum((target - left @ torch.tanh(right.T)) ** 2)

    def theirs() -> torch.Tensor:
        return torch.autograd.functional.hessian(torch_loss, flat)

    programs = {
        method: jax.jit(functools.partial(curvature.hessian, loss, method=method)) for method in ("full", "chunks")
    }

    def ours(method: str) -> jax.Array:
        return jax.block_until_ready(programs[method]((u, v), y))

    np.testing.assert_allclose(ours("full"), theirs().numpy(), atol=1e-4)
    np.testing.assert_allclose(ours("chunks"), theirs().numpy(), atol=1e-4)
    alone = {"jax.hessian": lambda: ours("full"), "chunks": lambda: ours("chunks"), "torch hessian": theirs}
    alone["torch.func"] = lambda: torch.func.hessian(torch_loss)(flat)
    eigenvalues = {
        "jax.hessian": lambda: np.linalg.eigvalsh(ours("full")),
        "chunks": lambda: np.linalg.eigvalsh(ours("chunks")),
        "jax, jnp eigvalsh": lambda: jax.block_until_ready(jnp.linalg.eigvalsh(ours("full"))),
        "torch eigvals": lambda: torch.linalg.eigvals(theirs()),
        "torch eigvalsh": lambda: torch.linalg.eigvalsh(theirs()),
    }
    return alone, eigenvalues


def compare(title: str, sides: dict[str, Side], rounds: int) -> None:
    """Alternate the sides and print one line each; ratios are this side's time over that of the first side."""
    rows = alternate(sides, rounds)
    print(title)
    first = next(iter(rows.values()))
    for name, times in rows.items():
        cpu, wall = (1e3 * statistics.median(row[i] for row in times) for i in (0, 1))
        ratios = [[b[i] / a[i] for a, b in zip(first, times, strict=True)] for i in (0, 1)]
        print(
            f"  {name:18} {cpu:8.2f} CPU ms {wall:8.2f} ms, {statistics.median(ratios[0]):.1f} times the first "
            f"({min(ratios[0]):.1f} to {max(ratios[0]):.1f}), wall {statistics.median(ratios[1]):.1f}",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    print(f"jax {jax.__version__}, torch {torch.__version__}, {jax.devices()[0].platform}, one thread")
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            alone, eigenvalues = sides(dtype)
            compare(f"{np.dtype(dtype).name}: Hessian of {M * H + N * H} parameters", alone, given.rounds)
            compare(f"{np.dtype(dtype).name}: Hessian and its eigenvalues", eigenvalues, given.rounds)


if __name__ == "__main__":
    main()
