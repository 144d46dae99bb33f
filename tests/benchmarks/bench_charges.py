"""Cost of measuring, predicting and recording all charges, against the bare training step.

    python tests/benchmarks/bench_charges.py [--width 0.25] [--size 64] [--batch 64] [--rounds 7]

Both steps run in one process, alternating; the ratio is the median over the rounds of the pairwise ratios, of CPU and
of wall seconds. A round is `record_every` = 10 steps and, with charges, one record of them fetched to the host.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import numpy as np

from papers.common import data
from papers.common.training import start, training_step
from papers.noether.config import TrainConfig
from papers.noether.run import build

STEPS = 10


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    config = TrainConfig(data="digits", size=given.size, width=given.width, batch_size=given.batch, epochs=1)
    dataset = data.load("digits", size=given.size)
    experiment = build(config, dataset)
    bare = bare_step(config, dataset, experiment)
    batch = np.arange(given.batch)
    sides = {"charges": runner(experiment, batch, experiment.step, experiment.state, record=True)}
    sides["bare"] = runner(experiment, batch, *bare, record=False)
    for side in sides.values():
        side()
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(given.rounds):
        for name, side in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            side()
            rows[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    print(
        f"VGG11-BN width {given.width:g}, {given.size}x{given.size}, batch {given.batch}, {jax.devices()[0].platform}"
    )
    for column, unit in enumerate(("wall", "CPU")):
        ratios = [a[column] / b[column] for a, b in zip(rows["charges"], rows["bare"], strict=True)]
        bare_ms = 1e3 * statistics.median(row[column] for row in rows["bare"]) / STEPS
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        middle = statistics.median(ratios)
        print(f"{unit}: with charges / bare = {middle:.3f} ({spread}), bare step {bare_ms:.1f} ms")


def bare_step(config: TrainConfig, dataset: data.Dataset, experiment: Any) -> tuple[Any, Any]:
    """The same model, optimiser and preparation without an observer."""
    from papers.common.models import VGG11
    from papers.common.training import sgd

    model = VGG11(dataset.classes, config.width)
    optimiser = sgd(config.learning_rate, config.momentum, config.weight_decay)

    def prepare(key: jax.Array, raw: jax.Array) -> jax.Array:
        return data.normalise(data.augment(key, raw, dataset.augmentation), dataset)

    first = experiment.state
    variables = {"params": first.params, "batch_stats": first.batch_stats}
    return training_step(model, optimiser, prepare), start(variables, optimiser, first.key)


def runner(experiment: Any, batch: np.ndarray, step: Any, state: Any, record: bool) -> Any:
    """A function that makes STEPS steps and, if asked, fetches one record."""
    compiled = jax.jit(lambda state, images, labels, index: step(state, (images[index], labels[index])))
    report = jax.jit(experiment.report)
    held = [state]

    def run() -> None:
        state = held[0]
        for _ in range(STEPS):
            state, metrics = compiled(state, experiment.train.images, experiment.train.labels, batch)
        if record:
            jax.device_get(report(state))
        jax.block_until_ready((state, metrics))
        held[0] = state

    return run


if __name__ == "__main__":
    main()
