"""CPU seconds of ``import symjax`` above ``import jax``, of ``--help``, and up to the first training step.

    python tests/benchmarks/bench_start.py

Every figure is the median of several fresh processes, user and system seconds as the operating system counts them. The
first training step is timed with an empty and with a filled compilation cache; it is over when its loss is on the host.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile

TRAIN = """
import importlib, resource, sys
fit = importlib.import_module("papers.common.training.fit")
fetch = fit._fetch
def first(pending):
    fetched = fetch(pending)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print("FIRST", usage.ru_utime + usage.ru_stime)
    sys.stdout.flush()
    import os
    os._exit(0)
fit._fetch = first
from papers.noether.train import PROG, PRESETS, TrainConfig, entry, main
main(entry, TrainConfig, PROG, argv=sys.argv[1:], presets=PRESETS)
"""


def cpu_seconds(*arguments: str) -> float:
    """User and system seconds of one fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_step(cache: str, out: str) -> float:
    """CPU seconds until the first chunk of one step was fetched, in the training process."""
    command = [sys.executable, "-c", TRAIN, "--out", out, "--record-every", "1", "--cache-dir", cache]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(printed.split("FIRST")[1].split()[0])


def main() -> None:
    """Print the table."""
    # inside one process: two processes differ by more than this import costs
    program = "import time, jax; t = time.process_time(); import symjax; print(time.process_time() - t)"
    runs = [subprocess.run([sys.executable, "-c", program], check=True, capture_output=True) for _ in range(5)]
    above = statistics.median(float(run.stdout) for run in runs)
    print(f"import symjax above import jax: {above:.3f} CPU s (limit 0.1)")
    help_seconds = statistics.median(cpu_seconds("-m", "papers.noether.train", "--help") for _ in range(3))
    print(f"--help: {help_seconds:.2f} CPU s (limit 2)")
    cold, warm = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(first_step(os.path.join(folder, "cache"), os.path.join(folder, "cold")))
            warm.append(first_step(os.path.join(folder, "cache"), os.path.join(folder, "warm")))
    print(f"first training step, empty compilation cache: {statistics.median(cold):.2f} CPU s (limit 8)")
    print(f"first training step, filled compilation cache: {statistics.median(warm):.2f} CPU s (limit 3)")


if __name__ == "__main__":
    main()
