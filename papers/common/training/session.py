"""A training run on its way: driven by ``fit``, written into its directory as it goes, continued where it stopped."""

import math
import time
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.checkpoint import Checkpoints
from papers.common.errors import Divergence, UserError
from papers.common.runs import RunDirectory
from papers.common.signals import Interrupt
from papers.common.training.fit import Data, Driver, Fetched, fit, steps_per_epoch
from papers.common.training.history import History
from papers.common.training.progress import Progress
from papers.common.training.step import TrainState


def means(fetched: Fetched) -> dict[str, float]:
    """The mean of every metric over a chunk."""
    return {name: float(np.mean(values)) for name, values in fetched.metrics.items()}


class Plan(NamedTuple):
    """What a session trains, and what it writes down.

    Attributes:
      step: the pure step that :func:`~papers.common.training.fit.fit` takes.
      report: ``report(state)``, a dict of arrays to record at the end of a chunk.
      evaluate: ``evaluate(state)``, a dict of numbers with ``loss``; before the first step and after every epoch.
      train: the resident images.
      batch_size: images a step.
      epochs: in all.
      seed: of the data order.
      record_every: steps of a chunk.
      checkpoint_epochs: epochs between two checkpoints; 0: only at the end.
      driver: of ``fit``.
      fixed: arrays that no step changes, saved beside the history.
      line: what ``metrics.jsonl`` says of a chunk, beside its last step.
    """

    step: Callable[..., Any]
    report: Callable[[TrainState], Mapping[str, jax.Array]]
    evaluate: Callable[[TrainState], Mapping[str, float]]
    train: Data
    batch_size: int
    epochs: int
    seed: int
    record_every: int
    checkpoint_epochs: int
    driver: Driver = "auto"
    fixed: Mapping[str, np.ndarray] = {}
    line: Callable[[Fetched], Mapping[str, float]] = means

    @property
    def total_steps(self) -> int:
        """Steps of all epochs."""
        return self.epochs * steps_per_epoch(len(self.train.labels), self.batch_size)


class Session:
    """A run: its state, its history, and the checkpoints it leaves.

    Args:
      directory: open.
      plan: what to train.
      state: the first state.

    Attributes:
      state: the newest state.
      seconds: of the training in this process.
      images: that it saw in them.
    """

    def __init__(self, directory: RunDirectory, plan: Plan, state: TrainState) -> None:
        self.directory, self.plan, self.state = directory, plan, state
        self.checkpoints = Checkpoints(directory.path / "checkpoints")
        self.history = History()
        self.seconds, self.images = 0.0, 0

    def train(self, interrupt: Interrupt, resume: bool, again: str) -> bool:
        """Train to the end or to a signal; what was not saved at the end of an epoch is saved then.

        Args:
          interrupt: entered.
          resume: go back to the newest checkpoint that is whole.
          again: the command that continues a stopped run, for the line that says so.

        Returns:
          Whether the last step was made.

        Raises:
          UserError: nothing to resume, or a damaged history.
          Divergence: a loss is not finite; the newest checkpoint is kept.
        """
        if resume:
            self._restore()
        else:
            self._evaluate(0, self.state)
        first, began, total = int(self.state.step), time.monotonic(), self.plan.total_steps
        with self.checkpoints:
            self._fit(interrupt)
        last = int(self.state.step)
        self.seconds, self.images = time.monotonic() - began, (last - first) * self.plan.batch_size
        if last < total:
            print(f"stopped at step {last} of {total}; continue with: {again}", flush=True)
        return last == total

    def arrays(self) -> dict[str, np.ndarray]:
        """The history and what is fixed."""
        return self.history.arrays() | self.plan.fixed

    def _fit(self, interrupt: Interrupt) -> None:
        plan, progress = self.plan, Progress(self.plan.total_steps, self.plan.batch_size, int(self.state.step))

        def on_chunk(fetched: Fetched) -> None:
            self.history.add(fetched)
            last = fetched.step + len(fetched.metrics["loss"])
            self.directory.append({"step": last, **plan.line(fetched)})
            progress(fetched)

        try:
            self.state = fit(
                plan.step,
                self.state,
                plan.train,
                batch_size=plan.batch_size,
                epochs=plan.epochs,
                seed=plan.seed,
                chunk=plan.record_every,
                driver=plan.driver,
                report=plan.report,
                on_chunk=on_chunk,
                on_epoch=self._on_epoch,
                should_stop=lambda: interrupt.requested,
            )
        finally:
            progress.close()
        if int(self.state.step) < plan.total_steps:
            self._save(self.state)

    def _on_epoch(self, epoch: int, state: TrainState) -> None:
        self._evaluate(epoch, state)
        every = self.plan.checkpoint_epochs
        if epoch == self.plan.epochs or (every and epoch % every == 0):
            self._save(state)

    def _evaluate(self, epoch: int, state: TrainState) -> None:
        step, measured = int(state.step), self.plan.evaluate(state)
        # the last update may have left the finite numbers after a finite loss: such a state is not worth a checkpoint
        if not math.isfinite(measured["loss"]):
            raise Divergence(
                f"the test loss became {measured['loss']} after step {step - 1} ({self._last_loss()}): "
                "try a smaller --learning-rate"
            )
        self.history.evaluate(step, measured)
        self.directory.append({"step": step, "epoch": epoch, **{f"test_{k}": v for k, v in measured.items()}})

    def _last_loss(self) -> str:
        losses = self.history.steps["loss"]
        return f"last finite loss {losses[-1][-1]:.4g}" if losses else "no finite loss before it"

    def _save(self, state: TrainState) -> None:
        # the history first: a kill between the two leaves a checkpoint whose history is at least as long
        self.directory.save_arrays("history", **self.arrays())
        self.checkpoints.save(int(state.step), state)

    def _restore(self) -> None:
        step, state, skipped = self.checkpoints.restore(self.state)
        for bad, reason in skipped:
            print(f"checkpoint of step {bad} is damaged and was set aside ({reason})", flush=True)
        print(f"continuing from the checkpoint of step {step}", flush=True)
        self.directory.truncate_metrics(step)
        self.state = jax.tree.map(jnp.asarray, state)
        file = self.directory.path / "history.npz"
        try:
            self.history = History.load(file, step, but=self.plan.fixed)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{file} is absent or damaged ({error}): the run cannot go on, start a new one") from None
