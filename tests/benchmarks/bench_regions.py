"""Listing activation regions: edges of the complex against a loop of linear programs (HiGHS) and the package relucent.

    python tests/benchmarks/bench_regions.py [rounds] [PYTHON] [MOST]

One core, single-threaded, CPU seconds a network; all list all of the input space. Edges and programs alternate on the
same networks, median over the rounds (5 unless told); the programs leave out regions in which no ball of radius 1e-8
fits, and take part where they need less than a minute a network. PYTHON is the interpreter of an environment with
relucent 1.0 (and the size-limited solver that comes with it): it searches every network once, with one worker on the
same core, and the sets of regions are compared. With MOST it stops at so many regions, and its speed is that of those.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from alternating import alternate, one_core

if __name__ == "__main__":
    one_core()

import numpy as np

from symjax.dimension.exact import exact_dimension
from symjax.dimension.networks import random_params
from symjax.dimension.regions import Regions, _by_programs, activation_regions
from symjax.dimension.units import RELU

# whether the programs take part
ARCHITECTURES = {(2, 10, 5, 1): True, (2, 20, 20, 1): False, (3, 16, 16, 16, 1): False, (5, 5, 5, 5, 1): True}


def by_programs(params) -> Regions:
    """All regions by linear programs."""
    return _by_programs(params, None, (RELU,) * (len(params) - 1))


def by_relucent(interpreter: str, params, most: str) -> tuple[np.ndarray, float]:
    """Patterns and CPU seconds of relucent, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        network, found = Path(folder, "network.npz"), Path(folder, "patterns.npz")
        leaves = {
            f"{name}{number}": leaf
            for number, layer in enumerate(params)
            for name, leaf in zip("wb", layer, strict=True)
        }
        np.savez(network, **leaves)
        script = Path(__file__).with_name("relucent_regions.py")
        subprocess.run([interpreter, script, network, found, most], check=True, capture_output=True)
        loaded = np.load(found)
        return loaded["patterns"], float(loaded["seconds"])


def compare(name: str, patterns: np.ndarray, others: np.ndarray) -> None:
    """Print how two sets of regions differ; one that the edges have not is an error."""
    mine, theirs = ({row.tobytes() for row in np.asarray(each, bool)} for each in (patterns, others))
    extra, missing = len(theirs - mine), len(mine - theirs)
    print(f"  {name}: {len(theirs)} regions; {extra} that the edges have not, {missing} of theirs missing", flush=True)
    if theirs - mine:
        raise SystemExit(f"{name} finds a region that the edges have not")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    interpreter = sys.argv[2] if len(sys.argv) > 2 else None
    most = sys.argv[3] if len(sys.argv) > 3 else "inf"
    for sizes, with_programs in ARCHITECTURES.items():
        params = random_params(sizes, np.random.default_rng(1))
        regions = activation_regions(params)
        sides = {"edges": lambda params=params: activation_regions(params)}
        sides["exact dimension"] = lambda params=params: exact_dimension(params)
        print(f"{sizes}: {len(regions.patterns)} regions", flush=True)
        if with_programs:
            compare("programs", regions.patterns, by_programs(params).patterns)
            sides["programs"] = lambda params=params: by_programs(params)
        timed = {name: statistics.median(cpu for cpu, _ in rows) for name, rows in alternate(sides, rounds).items()}
        listed = dict.fromkeys(timed, len(regions.patterns))
        if interpreter:
            patterns, timed["relucent"] = by_relucent(interpreter, params, most)
            listed["relucent"] = len(patterns)
            compare("relucent", regions.patterns, patterns)
        for name, seconds in timed.items():
            speed = listed[name] / seconds
            faster = listed["edges"] / timed["edges"] / speed
            print(f"  {name:16} {seconds:10.4f} s {speed:10.0f} regions/s {faster:8.1f} times slower", flush=True)


if __name__ == "__main__":
    main()
