"""The regions of networks by the package relucent, for bench_regions.py: run by an interpreter that has it.

    PYTHON tests/benchmarks/relucent_regions.py NETWORK.npz PATTERNS.npz MOST

Reads arrays w0, b0, w1, ..; writes the patterns, and the CPU seconds of the search: one worker, with all that its
process costs, less those of a search that stops at its first regions. The search ends at MOST regions (inf: all).
"""

import resource
import sys
import time

import numpy as np


def search(layers: list, start: np.ndarray, most: float) -> tuple[list[np.ndarray], float]:
    """Patterns of the regions, and CPU seconds of this process and the worker."""
    import relucent
    from relucent.model.model import ReLUNetwork

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + used.ru_utime + used.ru_stime

    whole, began = relucent.Complex(ReLUNetwork(layers)), spent()
    whole.bfs(start, max_polys=most, nworkers=1, verify=False, verbose=0)
    return [np.ravel(region.ss_np) > 0 for region in whole], spent() - began


def main() -> None:
    from relucent.model.model import LinearLayer, ReLULayer

    arrays, layers = np.load(sys.argv[1]), []
    for number in range(len(arrays.files) // 2):
        layers += [ReLULayer()] if number else []
        layers.append(LinearLayer(arrays[f"w{number}"], arrays[f"b{number}"]))
    start = np.random.default_rng(0).normal(size=(1, arrays["w0"].shape[1]))
    _, idle = search(layers, start, 2)
    patterns, seconds = search(layers, start, float(sys.argv[3]))
    np.savez(sys.argv[2], patterns=np.array(patterns), seconds=seconds - idle, idle=idle)


if __name__ == "__main__":
    main()
