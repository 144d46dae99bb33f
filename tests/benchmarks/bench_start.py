"""CPU seconds of ``import symjax`` above ``import jax``, of ``--help``, and up to the first training step.

The first step is also set beside that of the same network, batch and optimiser in plain Flax, without charges, data or
records, in a fresh process of its own with an empty cache: what the ratio is above 1 is what this repository adds.

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

PLAIN = """
import resource, sys
import jax, jax.numpy as jnp, numpy as np, optax
sys.path.insert(0, sys.argv[1])
from bench_training_step import PlainVGG11
side, width, batch, classes = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
model = PlainVGG11(classes, width, True)
rng = np.random.default_rng(0)
images = jnp.asarray(rng.standard_normal((batch, side, side, 3)), jnp.float32)
labels = jnp.asarray(rng.integers(0, classes, batch))
variables = jax.jit(lambda key: model.init(key, images[:1], train=False))(jax.random.key(0))
optimiser = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.01, momentum=0.9))

@jax.jit
def step(variables, state):
    def loss(params):
        both = {"params": params, "batch_stats": variables["batch_stats"]}
        logits, changed = model.apply(both, images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), changed["batch_stats"]
    (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    moved, state = optimiser.update(gradient, state, variables["params"])
    params = optax.apply_updates(variables["params"], moved)
    return {"params": params, "batch_stats": statistics}, state, value

float(step(variables, optimiser.init(variables["params"]))[2])
usage = resource.getrusage(resource.RUSAGE_SELF)
print("FIRST", usage.ru_utime + usage.ru_stime)
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


def plain_first_step() -> float:
    """CPU seconds of a process that takes one step of the main job's network, batch and rule in plain Flax."""
    shape = ("32", "0.25", "64", "10")  # the main job's side, width, batch and classes
    command = [sys.executable, "-c", PLAIN, os.path.dirname(__file__), *shape]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("FIRST")[1])


def main() -> None:
    """Print the table."""
    # inside one process: two processes differ by more than this import costs
    program = "import time, jax; t = time.process_time(); import symjax; print(time.process_time() - t)"
    runs = [subprocess.run([sys.executable, "-c", program], check=True, capture_output=True) for _ in range(5)]
    above = statistics.median(float(run.stdout) for run in runs)
    print(f"import symjax above import jax: {above:.3f} CPU s (limit 0.1)")
    help_seconds = statistics.median(cpu_seconds("-m", "papers.noether.train", "--help") for _ in range(3))
    print(f"--help: {help_seconds:.2f} CPU s (limit 2)")
    cold, warm, plain = [], [], []
    for _ in range(3):
        plain.append(plain_first_step())
        with tempfile.TemporaryDirectory() as folder:
            cold.append(first_step(os.path.join(folder, "cache"), os.path.join(folder, "cold")))
            warm.append(first_step(os.path.join(folder, "cache"), os.path.join(folder, "warm")))
    ratios = ", ".join(f"{ours / theirs:.2f}" for ours, theirs in zip(cold, plain, strict=True))
    ratio = statistics.median(cold) / statistics.median(plain)
    print(f"the same in plain Flax: {statistics.median(plain):.2f} CPU s; ratio {ratio:.2f} (pairs {ratios}; aim 1.15)")
    print(f"first training step, empty compilation cache: {statistics.median(cold):.2f} CPU s (limit 8)")
    print(f"first training step, filled compilation cache: {statistics.median(warm):.2f} CPU s (limit 3)")


if __name__ == "__main__":
    main()
