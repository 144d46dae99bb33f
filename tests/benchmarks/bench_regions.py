"""Listing activation regions: edges of the complex against a loop of linear programs (HiGHS), and exact dimensions.

    python tests/benchmarks/bench_regions.py [rounds]

One core, single-threaded, the two sides alternating on the same networks, median of CPU seconds a network over the
rounds (5 unless told). Both list all of the input space. The programs leave out regions in which no ball of radius 1e-8
fits; what they find must be among the edges' patterns. They take part where they need less than a minute a network.
"""

import statistics
import sys

from alternating import alternate, one_core

if __name__ == "__main__":
    one_core()

import numpy as np

from symjax.dimension.exact import exact_dimension
from symjax.dimension.networks import random_params
from symjax.dimension.regions import _by_programs, activation_regions

ARCHITECTURES = {(2, 10, 5, 1): True, (2, 20, 20, 1): False, (3, 16, 16, 16, 1): False, (5, 5, 5, 5, 1): True}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"{'widths':20} regions   edges s  regions/s  programs s   ratio  dimension s")
    for sizes, with_programs in ARCHITECTURES.items():
        params = random_params(sizes, np.random.default_rng(1))
        regions = activation_regions(params)
        sides = {"edges": lambda params=params: activation_regions(params)}
        sides["dimension"] = lambda params=params: exact_dimension(params)
        if with_programs:
            found = _by_programs(params, None, 0.0)
            thin = len(regions.patterns) - len(found.patterns)
            every = np.unique(np.concatenate([regions.patterns, found.patterns]), axis=0)
            if len(every) != len(regions.patterns):
                raise SystemExit(f"programs find a region of {sizes} that the edges have not")
            print(f"{sizes!s:20} programs leave out {thin} of {len(every)} regions", flush=True)
            sides["programs"] = lambda params=params: _by_programs(params, None, 0.0)
        timed = {name: statistics.median(cpu for cpu, _ in rows) for name, rows in alternate(sides, rounds).items()}
        count, slow = len(regions.patterns), timed.get("programs")
        compared = f"{slow:10.2f} {slow / timed['edges']:7.0f}" if slow else f"{'-':>10} {'-':>7}"
        print(
            f"{sizes!s:20} {count:7} {timed['edges']:9.4f} {count / timed['edges']:10.0f}  {compared}"
            f"  {timed['dimension']:11.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
