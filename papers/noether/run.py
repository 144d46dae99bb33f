"""One training run from its configuration to a directory with everything it measured."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.checkpoint import Checkpoints
from papers.common.cli import check
from papers.common.models import VGG11, initialise, vgg11_channels
from papers.common.runs import RunDirectory
from papers.common.signals import Interrupt
from papers.common.training import (
    Data,
    Progress,
    TrainState,
    evaluate,
    fit,
    sgd,
    start,
    step_schedule,
    steps_per_epoch,
    training_step,
)
from papers.noether import charges
from papers.noether.config import TrainConfig
from papers.noether.history import History

Finish = Callable[[RunDirectory, dict[str, np.ndarray], TrainConfig, str], None]
MAY_DIFFER_ON_RESUME = ("resume", "out", "data_dir", "cache_dir", "checkpoint_epochs")


class Experiment(NamedTuple):
    """A run put together: pure functions, the first state and the resident data."""

    step: Any
    state: TrainState
    train: Data
    test: Data
    evaluate: Any
    report: Any
    layers: dict[str, np.ndarray]
    total_steps: int


class Outcome(NamedTuple):
    """A finished run: what it measured, by name, and how long it took."""

    directory: Path
    arrays: dict[str, np.ndarray]
    summary: dict[str, Any]
    finished: bool


def build(config: TrainConfig, dataset: data.Dataset) -> Experiment:
    """Put a run together; nothing is compiled or trained yet."""
    images = len(dataset.train.labels)
    check(config.batch_size <= images, "batch_size", config.batch_size, f"at most {images}, the number of training images")
    dtype = jnp.dtype(config.precision)
    model = VGG11(dataset.classes, config.width, config.batch_norm, config.dropout, dtype)
    variables = initialise(model, config.seed, dataset.train.images.shape[1:])
    variables = _scale_filters(variables, config.initial_scale)
    per_epoch = steps_per_epoch(images, config.batch_size)
    schedule = step_schedule(config.learning_rate, tuple(round(drop * per_epoch) for drop in config.drops))
    optimiser = sgd(schedule, config.momentum, config.weight_decay)
    rule = charges.Rule(schedule, config.momentum, config.weight_decay, config.filter_norm == "fixed")
    found = charges.families(vgg11_channels(variables), variables["params"])

    def prepare(key: jax.Array, raw: jax.Array) -> jax.Array:
        return data.normalise(data.augment(key, raw, dataset.augmentation), dataset)

    variables = jax.tree.map(jnp.asarray, variables)
    monitor = charges.start(found, variables["params"])
    state = start(variables, optimiser, jax.random.PRNGKey(config.seed), monitor)
    return Experiment(
        training_step(model, optimiser, prepare, partial(charges.observe, found, rule)),
        state,
        _resident(dataset.train),
        _resident(dataset.test),
        evaluate(model, partial(data.normalise, dataset=dataset)),
        lambda state: charges.report(state.monitor, rule, state.step),
        charges.layer_names(found),
        per_epoch * config.epochs,
    )


def run(config: TrainConfig, command: str, finish: Finish | None = None) -> Outcome:
    """Train, record, checkpoint; stop cleanly on SIGINT or SIGTERM.

    Args:
      config: the configuration.
      command: what to write down as the command, and to print with ``--resume`` when stopped.
      finish: called as ``finish(directory, arrays, config, command)`` after the last step, with the directory still locked.

    Returns:
      The outcome; ``finished`` is False when the run was stopped, and its checkpoint is written then.

    Raises:
      UserError: a configuration the data does not allow, a run directory in use, nothing to resume.
      Divergence: a loss is not finite; the newest checkpoint is kept.
    """
    dataset = data.load(
        config.data,
        size=config.size,
        data_dir=config.data_dir,
        cache_dir=config.cache_dir,
        classes=config.classes,
        limit=config.limit,
    )
    experiment = build(config, dataset)
    if config.resume:
        directory = RunDirectory.resume(config.out, config, MAY_DIFFER_ON_RESUME)
    else:
        directory = RunDirectory.create(config.out, config, command)
    with directory:
        with Interrupt() as interrupt:
            outcome = _train(config, experiment, directory, interrupt, command)
        if outcome.finished and finish is not None:
            finish(directory, outcome.arrays, config, command)
        return outcome


def _train(
    config: TrainConfig, experiment: Experiment, directory: RunDirectory, interrupt: Interrupt, command: str
) -> Outcome:
    checkpoints = Checkpoints(directory.path / "checkpoints")
    state, history = experiment.state, History()
    if config.resume:
        state, history = _restore(checkpoints, directory, state)
    first, began = int(state.step), time.monotonic()
    progress = Progress(experiment.total_steps, config.batch_size, first)

    def on_chunk(fetched: Any) -> None:
        history.add(fetched)
        means = {name: float(np.mean(values)) for name, values in fetched.metrics.items()}
        directory.append({"step": fetched.step + len(fetched.metrics["loss"]), **means})
        progress(fetched)

    def on_epoch(epoch: int, state: TrainState) -> None:
        measured = experiment.evaluate(state, experiment.test)
        history.evaluate(int(state.step), measured)
        directory.append({"step": int(state.step), "epoch": epoch, **{f"test_{k}": v for k, v in measured.items()}})
        due = config.checkpoint_epochs and epoch % config.checkpoint_epochs == 0
        if due or epoch == config.epochs:
            _save(checkpoints, directory, state, history, experiment)

    if first == 0:
        on_epoch_zero = experiment.evaluate(state, experiment.test)
        history.evaluate(0, on_epoch_zero)
        directory.append({"step": 0, "epoch": 0, **{f"test_{k}": v for k, v in on_epoch_zero.items()}})
    try:
        state = fit(
            experiment.step,
            state,
            experiment.train,
            batch_size=config.batch_size,
            epochs=config.epochs,
            seed=config.seed,
            chunk=config.record_every,
            driver=config.driver,
            report=experiment.report,
            on_chunk=on_chunk,
            on_epoch=on_epoch,
            should_stop=lambda: interrupt.requested,
        )
    finally:
        progress.close()
    finished = int(state.step) == experiment.total_steps
    if not finished:
        _save(checkpoints, directory, state, history, experiment)
        resumed = command if "--resume" in command else f"{command} --resume"
        print(f"stopped at step {int(state.step)} of {experiment.total_steps}; continue with: {resumed}", flush=True)
    seconds = time.monotonic() - began
    images = (int(state.step) - first) * config.batch_size
    arrays = history.arrays() | experiment.layers
    summary = summarise(arrays) | {"seconds": seconds, "images_per_second": images / max(seconds, 1e-9)}
    if finished:
        directory.save_arrays("history", **arrays)
        (directory.path / "summary.json").write_text(_json(summary))
    return Outcome(directory.path, arrays, summary, finished)


def summarise(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The few numbers of a run: final test accuracy and losses, largest prediction errors of each family."""
    worst = {
        f"largest_{family}_prediction_error": float(arrays[f"{family}_worst"][-1].max())
        for family in ("filter", "unit", "classifier")
        if f"{family}_worst" in arrays
    }
    last = {f"test_{name}": float(arrays[f"test_{name}"][-1]) for name in ("loss", "top1", "top5")}
    tail = arrays["train_loss"][-max(1, len(arrays["train_loss"]) // 20) :]
    return {**last, "train_loss": float(tail.mean()), "steps": len(arrays["train_loss"]), **worst}


def _json(value: dict[str, Any]) -> str:
    import json

    return json.dumps(value, indent=2) + "\n"


def _save(
    checkpoints: Checkpoints, directory: RunDirectory, state: TrainState, history: History, experiment: Experiment
) -> None:
    # the history first: a kill between the two leaves a checkpoint whose history is at least as long
    directory.save_arrays("history", **history.arrays() | experiment.layers)
    checkpoints.save(int(state.step), state)


def _restore(checkpoints: Checkpoints, directory: RunDirectory, state: TrainState) -> tuple[TrainState, History]:
    step, state, skipped = checkpoints.restore(state)
    for bad, reason in skipped:
        print(f"checkpoint of step {bad} is damaged and was set aside ({reason})", flush=True)
    print(f"continuing from the checkpoint of step {step}", flush=True)
    directory.truncate_metrics(step)
    state = jax.tree.map(jnp.asarray, state)
    return state, History.load(directory.path / "history.npz", step)


def _resident(split: data.Split) -> Data:
    return Data(jnp.asarray(split.images), jnp.asarray(split.labels))


def _scale_filters(variables: Any, factor: float) -> Any:
    params = {
        name: {**layer, "kernel": layer["kernel"] * np.float32(factor)} if name.startswith("conv") else layer
        for name, layer in variables["params"].items()
    }
    return {**variables, "params": params}
