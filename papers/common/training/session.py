"""A training run on its way: driven by ``fit``, written into its directory as it goes, continued where it stopped."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.checkpoint import NothingWhole, tell_skipped
from papers.common.errors import Divergence
from papers.common.runs import RunDirectory
from papers.common.signals import Interrupt
from papers.common.training.clock import Clock
from papers.common.training.fit import Data, Driver, Fetched, Stream, fit, steps_per_epoch
from papers.common.training.history import History
from papers.common.training.progress import Progress
from papers.common.training.step import TrainState

HISTORY = "history/"
"""Prefix of the history's arrays among those that lie beside a checkpoint."""


def means(fetched: Fetched) -> dict[str, float]:
    """The mean of every metric over a chunk."""
    return {name: float(np.mean(values)) for name, values in fetched.metrics.items()}


class Plan(NamedTuple):
    """What a session trains, and what it writes down.

    Attributes:
      step: the pure step that :func:`~papers.common.training.fit.fit` takes.
      report: ``report(state)``, a dict of arrays to record at the end of a chunk.
      evaluate: ``evaluate(state)``, a dict of numbers with ``loss``; before the first step and after every epoch.
      train: the resident images, or a stream of them.
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
    train: Data | Stream
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
      seconds: of the training up to the newest state, in all processes, without compilation.
    """

    def __init__(self, directory: RunDirectory, plan: Plan, state: TrainState) -> None:
        self.directory, self.plan, self.state = directory, plan, state
        self.checkpoints = directory.checkpoints()
        self.history = History()
        self.seconds = 0.0
        self._clock, self._before = Clock(), 0.0
        self._saved: int | None = None  # the step that was saved last

    def train(self, interrupt: Interrupt) -> bool:
        """Train to the end or to a signal; what was not saved at the end of an epoch is saved then.

        A resumed run goes on from its newest checkpoint that is whole, or from its beginning where there is none.

        Args:
          interrupt: entered.

        Returns:
          Whether the last step was made.

        Raises:
          UserError: the checkpoint is of another model.
          Divergence: a loss is not finite; the newest checkpoint is kept.
        """
        if not (self.directory.resumed and self._restore()):
            self._evaluate(0, self.state)
        with self.checkpoints:
            self._clock, self._before = Clock(), self.seconds
            if int(self.state.step) < self.plan.total_steps:
                self._fit(interrupt)
        last, total = int(self.state.step), self.plan.total_steps
        if last < total:
            self.directory.tell_stopped(f"stopped at step {last} of {total}")
        return last == total

    @property
    def images_per_second(self) -> float:
        """Training images seen in a second."""
        return int(self.state.step) * self.plan.batch_size / max(self.seconds, 1e-9)

    @property
    def variables(self) -> dict[str, Any]:
        """What the model's ``apply`` takes, of the newest state."""
        stats = {"batch_stats": self.state.batch_stats} if self.state.batch_stats else {}
        return {"params": self.state.params, **stats}

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
        if self._saved == int(state.step):  # stopped at the end of an epoch, which was saved with its own seconds
            return
        self.seconds = self._before + self._clock.seconds()
        kept = {"seconds": np.float64(self.seconds), "metrics": self.directory.metrics()}
        history = {f"{HISTORY}{name}": array for name, array in self.history.arrays().items()}
        self.checkpoints.save(int(state.step), state, kept | history)
        self._saved = int(state.step)

    def _restore(self) -> bool:
        """Take up the newest whole state with the history that belongs to it; False where there is none."""
        try:
            restored = self.checkpoints.restore(self.state)
        except NothingWhole as nothing:
            tell_skipped(nothing.skipped)
            print("no checkpoint to continue from: the run begins again", flush=True)
            self.directory.restore_metrics()
            return False
        tell_skipped(restored.skipped)
        print(f"continuing from the checkpoint of step {restored.step}", flush=True)
        beside = restored.beside
        self.directory.restore_metrics(beside["metrics"])
        self.seconds = float(beside["seconds"])
        saved = {name.removeprefix(HISTORY): a for name, a in beside.items() if name.startswith(HISTORY)}
        self.history = History.of(saved)
        self.state = jax.tree.map(jnp.asarray, restored.tree)
        return True
