"""Functional dimension at the paper's points beside PyTorch: per-sample gradients and ``matrix_rank``, both float64.

    pip install -e ".[benchmarks]"
    python tests/benchmarks/bench_rank.py [--networks 200 100 10] [--rounds 5]

Grigsby, Lindsey, Rolnick 2023: depth d, all widths n but one output, weights N(0, 2 / fan in), biases N(0, 0.01), 100
times the bound of standard normal points. Theirs: ``torch.func.vmap(grad)`` and ``torch.linalg.matrix_rank``, the
singular values of all rows at once, which is the oracle: every rank is compared first. One process, one core,
single-threaded on both sides, the sides alternating on the same networks; CPU milliseconds a network, medians of the
rounds and of the ratios in each. The floor is one forward pass of the points and one QR of as many rows as parameters.
"""

from alternating import alternate, one_core

if __name__ == "__main__":
    one_core()

import argparse
import statistics
from typing import Any

import numpy as np
import torch

from symjax.dimension import networks as nets
from symjax.dimension.rank import batch_dimension

SIZES = ((4, 5, 40), (5, 10, 4), (6, 15, 1))  # depth, width, networks a round


def network(depth: int, width: int, seed: int) -> tuple[Any, np.ndarray]:
    """A random network and its points."""
    sizes, random = (width,) * depth + (1,), np.random.default_rng((6, depth, width, seed))
    params = nets.random_params(sizes, random)
    return params, random.normal(size=(100 * nets.bound(sizes), width))


def theirs(params: Any, points: np.ndarray) -> int:
    """Per-sample gradients, all rows at once."""

    def apply(leaves: tuple[torch.Tensor, ...], x: torch.Tensor) -> torch.Tensor:
        for place in range(0, len(leaves), 2):
            x = leaves[place] @ x + leaves[place + 1]
            x = torch.relu(x) if place < len(leaves) - 2 else x
        return x[0]

    leaves = tuple(torch.tensor(leaf) for layer in params for leaf in layer)
    rows = torch.func.vmap(torch.func.grad(apply), in_dims=(None, 0))(leaves, torch.tensor(points))
    return int(torch.linalg.matrix_rank(torch.cat([leaf.reshape(len(points), -1) for leaf in rows], 1)))


def ours(params: Any, points: np.ndarray) -> int:
    """The same rank, with its evidence."""
    return batch_dimension(params, points).rank


def floor(params: Any, points: np.ndarray) -> None:
    """What any way has to do."""
    h = points
    for w, b in params:
        h = np.maximum(h @ w.T + b, 0)
    count = nets.parameters(nets.widths(params))
    np.linalg.qr(np.random.default_rng(0).normal(size=(count, count)), mode="r")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", type=int, nargs=3, default=[200, 100, 10])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, NumPy {np.__version__}, float64, one thread a side")
    print("depth width parameters points  same ranks     torch ms   ours ms  floor ms   ratio (least, most)")
    for (depth, width, each), networks in zip(SIZES, given.networks, strict=True):
        same = sum(ours(*case) == theirs(*case) for case in (network(depth, width, seed) for seed in range(networks)))
        cases = [network(depth, width, seed) for seed in range(min(each, networks))]
        sides = {
            side.__name__: lambda side=side, cases=cases: [side(*case) for case in cases]
            for side in (theirs, ours, floor)
        }
        rows = {name: [cpu for cpu, _ in times] for name, times in alternate(sides, given.rounds).items()}
        ratios = [a / b for a, b in zip(rows["theirs"], rows["ours"], strict=True)]
        slow, fast, least = (1e3 * statistics.median(times) / len(cases) for times in rows.values())
        count, points = nets.parameters(nets.widths(cases[0][0])), len(cases[0][1])
        print(
            f"{depth:5} {width:5} {count:10} {points:6}  {same:4} of {networks:4}   {slow:10.2f} {fast:9.2f} "
            f"{least:9.2f}  {statistics.median(ratios):6.1f} ({min(ratios):.1f}, {max(ratios):.1f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
