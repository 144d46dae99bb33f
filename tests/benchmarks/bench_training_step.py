"""Time a training step of VGG11 beside plain Flax and PyTorch, alternating in one run.

    OMP_NUM_THREADS=1 XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" \
        taskset -c 0 python tests/benchmarks/bench_training_step.py --side 64 --batch 16

Prints, for each peer, the median seconds of CPU time of a step, images a second, this repository's speed divided by
the peer's (above 1: faster), and the CPU seconds of the first step, nearly all of them compilation. A step is the
forward pass, the gradient and SGD with momentum 0.9 and weight decay, float32, without dropout. PyTorch runs in
channels_last. CPU time, not wall time, so that a busy neighbour counts little.
"""

import argparse
import importlib.util
import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from papers.common.models import VGG11, initialise
from papers.common.models.sizes import CONVOLUTIONS, HIDDEN

RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4


class PlainVGG11(nn.Module):
    """The same network as anyone would write it in Flax."""

    classes: int
    width: float
    batch_norm: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Return the logits."""
        for features, pooled in CONVOLUTIONS:
            x = nn.Conv(round(features * self.width), (3, 3))(x)
            if self.batch_norm:
                x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = nn.relu(x)
            if pooled:
                x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(round(HIDDEN * self.width))(x))
        return nn.Dense(self.classes)(x)


def flax_step(model: nn.Module, variables: dict, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """Return a function that takes one training step and returns its loss."""

    def loss(params: dict, statistics: dict) -> tuple[jax.Array, dict]:
        both = {"params": params, "batch_stats": statistics}
        logits, changed = model.apply(both, images, train=True, mutable=["batch_stats"])
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]), changed.get("batch_stats", {})

    @jax.jit
    def step(params: dict, statistics: dict, velocity: dict) -> tuple:
        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(params, statistics)
        velocity = jax.tree.map(lambda v, g, q: MOMENTUM * v + g + DECAY * q, velocity, gradient, params)
        return jax.tree.map(lambda q, v: q - RATE * v, params, velocity), statistics, velocity, value

    images, labels = jnp.asarray(images), jnp.asarray(labels)
    params, statistics = variables["params"], variables.get("batch_stats", {})
    state = [params, statistics, jax.tree.map(jnp.zeros_like, params)]

    def once() -> float:
        *state[:], value = step(*state)
        return float(value)

    return once


def torch_step(options: argparse.Namespace, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """Return the same for PyTorch, channels_last."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    layers, channels = [], 3
    for features, pooled in CONVOLUTIONS:
        features = round(features * options.width)
        layers += [torch.nn.Conv2d(channels, features, 3, padding=1)]
        layers += [torch.nn.BatchNorm2d(features)] if options.norm == "batch" else []
        layers += [torch.nn.ReLU(inplace=True)] + ([torch.nn.MaxPool2d(2)] if pooled else [])
        channels = features
    hidden = round(HIDDEN * options.width)
    layers += [torch.nn.Flatten(), torch.nn.Linear(channels * (options.side // 32) ** 2, hidden), torch.nn.ReLU()]
    layers += [torch.nn.Linear(hidden, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, options.classes)]
    model = torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    target = torch.from_numpy(labels).long()

    def once() -> float:
        optimiser.zero_grad(set_to_none=True)
        value = torch.nn.functional.cross_entropy(model(batch), target)
        value.backward()
        optimiser.step()
        return value.item()

    return once


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--norm", choices=("batch", "none"), default="batch")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    shape = (options.side, options.side, 3)
    images = rng.standard_normal((options.batch, *shape)).astype(np.float32)
    labels = rng.integers(0, options.classes, options.batch)
    normed = options.norm == "batch"
    model = VGG11(options.classes, options.width, batch_norm=normed, dropout=0.0)
    plain = PlainVGG11(options.classes, options.width, normed)
    steps = {
        "this repository": flax_step(model, initialise(model, 0, shape), images, labels),
        "plain Flax": flax_step(plain, plain.init(jax.random.key(0), images[:1], train=False), images, labels),
    }
    if importlib.util.find_spec("torch"):
        steps["PyTorch channels_last"] = torch_step(options, images, labels)
    else:
        print("PyTorch is not installed in this environment: its column is left out.")
    first = {}
    for name, step in steps.items():
        start = time.process_time()
        step()
        first[name] = time.process_time() - start
        step()
    seconds = {name: [] for name in steps}
    for _ in range(options.repeats):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    ours = np.median(seconds["this repository"])
    print(f"VGG11 at {options.side}x{options.side}, norm {options.norm}, width {options.width:g}", end=", ")
    print(f"batch {options.batch}")
    for name, values in seconds.items():
        middle = np.median(values)
        speed = f"{middle:8.4f} s/step  {options.batch / middle:8.1f} images/s  ratio {middle / ours:5.2f}"
        print(f"{name:22s} {speed}  first step, with compilation, {first[name]:6.2f} s")


if __name__ == "__main__":
    main()
