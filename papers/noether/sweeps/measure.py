"""Running a sweep: all members advance together, chunk by chunk, from a configuration to one npz."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.batching import Plan, advance, choose, take
from papers.common.checkpoint import Checkpoints, NothingWhole, tell_skipped
from papers.common.runs import RunDirectory
from papers.common.signals import Interrupt
from papers.common.training import Data, Progress, TrainState, evaluate, steps_per_epoch
from papers.common.training.fit import Fetched, chunks, epoch_order
from papers.noether.sweeps.config import Member, SweepConfig
from papers.noether.sweeps.member import Problem, begin_all, law_entries, problem, stack_hypers

EVALUATION = ("loss", "top1", "top5")


class Curves(NamedTuple):
    """What is recorded on the way, of full length from the start and NaN where the sweep has not come yet.

    Attributes:
      count: records made, a 0-d integer.
      step: steps made at each record (records,).
      train_loss, train_accuracy: means over the steps since the record before (records, members).
      squared_norm: squared norms of the kernels (records, members, layers).
      diverged_step: first step with a loss that is not finite, -1 for none (members,).
    """

    count: np.ndarray
    step: np.ndarray
    train_loss: np.ndarray
    train_accuracy: np.ndarray
    squared_norm: np.ndarray
    diverged_step: np.ndarray


class Outcome(NamedTuple):
    """A sweep's directory, its arrays by name (empty when it was stopped), and whether it came to its end."""

    directory: Path
    arrays: dict[str, np.ndarray]
    finished: bool


class Sweep(NamedTuple):
    """A sweep put together: members, pure functions, data, and how the members are batched."""

    config: SweepConfig
    members: tuple[Member, ...]
    problem: Problem
    hypers: Any
    train: Data
    test: Data
    evaluate: Any
    plan: Plan
    per_epoch: int


def build(config: SweepConfig, dataset: data.Dataset) -> Sweep:
    """Put a sweep together; nothing is trained yet."""
    per_epoch = steps_per_epoch(len(dataset.train.labels), config.batch_size)
    members = config.members()
    found = problem(config, dataset, tuple(round(drop * per_epoch) for drop in config.drop_epochs))
    plan = choose(config.batching, convolutions=found.convolutions, platform=jax.default_backend())
    train, test = (Data(*map(jnp.asarray, split)) for split in (dataset.train, dataset.test))
    measure = evaluate(found.model, lambda images: data.normalise(images, dataset))
    return Sweep(config, members, found, stack_hypers(members), train, test, measure, plan, per_epoch)


def run(config: SweepConfig, command: str, finish: Any = None) -> Outcome:
    """Train all members, record, checkpoint; stop cleanly on SIGINT or SIGTERM.

    Args:
      config: the sweep.
      command: written down.
      finish: called as ``finish(directory, arrays)`` at the end, with the directory still locked; it stores the arrays.

    Returns:
      The outcome. A member whose loss left the finite numbers has a ``diverged_step`` and NaN for its results.

    Raises:
      UserError: a configuration the data does not allow, a run directory in use, nothing to resume.
    """
    dataset = config.load()
    sweep = build(config, dataset)
    plan = sweep.plan
    print(f"{len(sweep.members)} members, batching {plan.batching}, steps by {plan.steps}", flush=True)
    with RunDirectory.open(config, command, data.fingerprint(dataset)) as directory:
        with Interrupt() as interrupt:
            states, curves = _train(sweep, directory, interrupt)
        finished = int(curves.count) == len(curves.step)
        if not finished:
            directory.tell_stopped(f"stopped at step {int(states.step[0])}")
            return Outcome(directory.path, {}, False)
        arrays = results(sweep, states, curves)
        if finish is None:
            directory.save_arrays("sweep", **arrays)
        else:
            finish(directory, arrays)
        directory.finish()
        return Outcome(directory.path, arrays, True)


def results(sweep: Sweep, states: TrainState, curves: Curves) -> dict[str, np.ndarray]:
    """Everything a sweep found, by name: one entry a member, curves (records, members).

    The coordinates have the names of :class:`Member`; ``test_*`` are final values, ``largest_*_error`` the largest
    relative error of a family's exact law over all steps; ``squared_norm`` is (records, members, layers).
    """
    arrays = {name: np.array([getattr(one, name) for one in sweep.members]) for name in Member._fields}
    measured = [sweep.evaluate(take(states, place), sweep.test) for place in range(len(sweep.members))]
    diverged = curves.diverged_step >= 0
    for name in EVALUATION:
        # logits that are NaN outrank nothing, so that a diverged member would count as always right
        arrays[f"test_{name}"] = np.where(diverged, np.nan, [row[name] for row in measured])
    worst = jax.device_get(jax.jit(jax.vmap(sweep.problem.worst))(states))
    arrays |= {f"largest_{family}_error": np.where(diverged, np.nan, error) for family, error in worst.items()}
    arrays |= {f"{family}_entries": np.array(count) for family, count in law_entries(states).items()}
    recorded = {name: value for name, value in curves._asdict().items() if name != "count"}
    return arrays | recorded | {"diverged": diverged, "layer": np.array(sweep.problem.layers)}


def _train(sweep: Sweep, directory: RunDirectory, interrupt: Interrupt) -> tuple[TrainState, Curves]:
    """Advance all members to the end of the last epoch, or to the chunk in which a signal came."""
    config, checkpoints = sweep.config, directory.checkpoints()
    states = begin_all(sweep.problem, config, sweep.members, sweep.hypers)
    curves = _no_curves(sweep)
    if directory.resumed:
        states, curves = _restore(checkpoints, directory, states, curves)
    forward = advance(sweep.problem.step, sweep.plan)
    read = jax.jit(jax.vmap(sweep.problem.read))
    at, images = int(states.step[0]), sweep.train.labels.shape[0]
    progress = Progress(config.epochs * sweep.per_epoch, config.batch_size * len(sweep.members), at)
    record = _Recorder(curves, directory, progress)
    try:
        while at < config.epochs * sweep.per_epoch:
            epoch, place = divmod(at, sweep.per_epoch)
            orders = {seed: epoch_order(seed, epoch, images) for seed in config.seeds}
            order = np.stack([orders[one.seed] for one in sweep.members])
            for positions in chunks(np.arange(images), config.batch_size, place, config.record_every):
                states, fetch = forward(states, sweep.hypers, sweep.train, order[:, positions])
                record(at, fetch, read(states))
                at += len(positions)
                if interrupt.requested:
                    break
            record.flush()
            due = config.checkpoint_epochs and (epoch + 1) % config.checkpoint_epochs == 0
            if due or interrupt.requested or epoch + 1 == config.epochs:
                checkpoints.save(at, (states, record.curves), {"metrics": directory.metrics()})
            if interrupt.requested:
                break
    finally:
        progress.close()
        checkpoints.close()
    return states, record.curves


class _Recorder:
    """Fill the curves one chunk late, so that the device does not wait for the host."""

    def __init__(self, curves: Curves, directory: RunDirectory, progress: Progress):
        self.curves = curves
        self._directory, self._progress = directory, progress
        self._pending: Any = None

    def __call__(self, step: int, fetch: Any, norms: jax.Array) -> None:
        """Take a chunk that began at a step."""
        self.flush()
        self._pending = (step, fetch, norms)

    def flush(self) -> None:
        """Record what is pending."""
        if self._pending is None:
            return
        (first, fetch, norms), self._pending = self._pending, None
        metrics, curves = fetch(), self.curves
        loss, accuracy = metrics["loss"], metrics["accuracy"]
        row, last = int(curves.count), first + loss.shape[1]
        bad = ~np.isfinite(loss)
        new = bad.any(axis=1) & (curves.diverged_step < 0)
        curves.diverged_step[new] = first + bad.argmax(axis=1)[new]
        curves.step[row] = last
        curves.train_loss[row], curves.train_accuracy[row] = loss.mean(axis=1), accuracy.mean(axis=1)
        curves.squared_norm[row] = np.asarray(norms)
        self.curves = curves._replace(count=np.array(row + 1))
        means = {"loss": curves.train_loss[row], "accuracy": curves.train_accuracy[row]}
        self._directory.append({"step": last, "diverged": int((curves.diverged_step >= 0).sum()), **means})
        alive = curves.diverged_step < 0
        shown = {name: values[alive] if alive.any() else values for name, values in metrics.items()}
        # the median member: one far from any minimum would drown the others in a mean
        self._progress(Fetched(first, {name: np.median(values, axis=0) for name, values in shown.items()}, ()))


def _no_curves(sweep: Sweep) -> Curves:
    config, images, members = sweep.config, sweep.train.labels.shape[0], len(sweep.members)
    an_epoch = sum(1 for _ in chunks(np.arange(images), config.batch_size, 0, config.record_every))
    records = an_epoch * config.epochs

    def empty(*shape: int) -> np.ndarray:
        return np.full((records, *shape), np.nan, np.float32)

    return Curves(
        np.array(0),
        np.zeros(records, np.int64),
        empty(members),
        empty(members),
        empty(members, len(sweep.problem.layers)),
        np.full(members, -1),
    )


def _restore(
    checkpoints: Checkpoints, directory: RunDirectory, states: TrainState, curves: Curves
) -> tuple[TrainState, Curves]:
    """Take up the newest whole checkpoint; the first states where there is none."""
    try:
        restored = checkpoints.restore((states, curves))
    except NothingWhole as nothing:
        tell_skipped(nothing.skipped)
        print("no checkpoint to continue from: the sweep begins again", flush=True)
        directory.restore_metrics()
        return states, curves
    tell_skipped(restored.skipped)
    print(f"continuing from the checkpoint of step {restored.step}", flush=True)
    directory.restore_metrics(restored.beside["metrics"])
    return restored.tree
