"""Cost of measuring, predicting and recording all charges, against the bare training step.

    python tests/benchmarks/bench_charges.py [--width 0.25] [--size 64] [--batch 64] [--precision float32] [--rounds 7]

Both steps run in one process, alternating; the ratio is the median over the rounds of the pairwise ratios, of CPU and
of wall seconds. A round is `record_every` steps (10, or 50 in one compiled scan on an accelerator) and, with charges,
one record of them fetched to the host.
"""

import argparse
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from alternating import alternate

from papers.common import data
from papers.common.training import Plan, TrainState, start, training_step
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.run import build

ON_CPU = jax.default_backend() == "cpu"
STEPS = 10 if ON_CPU else 50


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    shared = {"size": given.size, "width": given.width, "batch_size": given.batch, "precision": given.precision}
    config = TrainConfig(data="digits", epochs=1, **shared)
    dataset = data.load("digits", size=given.size)
    state, plan = build(config, dataset)
    bare = bare_step(config, dataset, state)
    batch = np.arange(given.batch)
    sides = {"charges": runner(plan, batch, plan.step, state, record=True)}
    sides["bare"] = runner(plan, batch, *bare, record=False)
    rows = alternate(sides, given.rounds)
    print(
        f"VGG11-BN width {given.width:g}, {given.size}x{given.size}, batch {given.batch}, {given.precision}, "
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}"
    )
    for column, unit in enumerate(("CPU", "wall")):
        ratios = [a[column] / b[column] for a, b in zip(rows["charges"], rows["bare"], strict=True)]
        bare_ms = 1e3 * statistics.median(row[column] for row in rows["bare"]) / STEPS
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        middle = statistics.median(ratios)
        print(f"{unit}: with charges / bare = {middle:.3f} ({spread}), bare step {bare_ms:.2f} ms")
    if "peak_bytes_in_use" in (memory := jax.local_devices()[0].memory_stats() or {}):
        print(f"both together held at most {memory['peak_bytes_in_use'] / 2**30:.2f} GiB on the device")


def bare_step(config: TrainConfig, dataset: data.Dataset, first: TrainState) -> tuple[Any, Any]:
    """The same model, optimiser and preparation without an observer."""
    from papers.common.models import VGG11
    from papers.common.training import sgd

    model = VGG11(dataset.classes, config.width, dtype=jnp.dtype(config.precision))
    optimiser = sgd(config.learning_rate, config.momentum, config.weight_decay)

    def prepare(key: jax.Array, raw: jax.Array) -> jax.Array:
        return data.normalise(data.augment(key, raw, dataset.augmentation), dataset)

    variables = {"params": first.params, "batch_stats": first.batch_stats}
    return training_step(model, optimiser, prepare), start(variables, optimiser, first.key)


def runner(plan: Plan, batch: np.ndarray, step: Any, state: Any, record: bool) -> Any:
    """A function that makes STEPS steps and, if asked, fetches one record."""

    def one(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        return step(state, (images[batch], labels[batch]))

    def many(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        return jax.lax.scan(lambda carry, _: one(carry, images, labels), state, length=STEPS)

    # as papers.common.training.fit drives them
    compiled = jax.jit(one if ON_CPU else many, donate_argnums=0)
    report = jax.jit(plan.report)
    held = [state]

    def run() -> None:
        state = held[0]
        for _ in range(STEPS if ON_CPU else 1):
            state, metrics = compiled(state, plan.train.images, plan.train.labels)
        if record:
            jax.device_get(report(state))
        jax.block_until_ready((state, metrics))
        held[0] = state

    return run


if __name__ == "__main__":
    main()
