"""Driving a training step over resident data: a compiled chunk on accelerators, a jitted step from Python on CPU.

On CPU the gradient of a convolution inside ``lax.scan`` is 30 to 50 times slower than outside it, while on accelerators
a scan saves every dispatch; ``fit`` hides the choice. The data stays on the device in both, as uint8; only indices
travel.
"""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.compilation import once_options, step_options
from papers.common.errors import Divergence
from papers.common.training.step import TrainState, cross_entropy

Driver = Literal["auto", "loop", "scan"]


class Data(NamedTuple):
    """Images (n, height, width, 3) uint8 and labels (n,) int32, on the device."""

    images: jax.Array
    labels: jax.Array


class Stream(NamedTuple):
    """Images that are read as they are needed, where they are too many to be resident.

    Attributes:
      labels: of all of them (n,).
      batches: ``batches(first, order, batch_size)``: images uint8 and labels of ``order`` (images,), batch after batch,
        the first of which is that of step ``first`` of the run; read through an epoch, and closed.
    """

    labels: np.ndarray
    batches: Callable[[int, np.ndarray, int], Generator[tuple[np.ndarray, np.ndarray], None, None]]


class Fetched(NamedTuple):
    """What one chunk of steps left behind, on the host.

    Attributes:
      step: number of the first step of the chunk.
      metrics: name -> array with one entry for each step of the chunk, whatever the shape of an entry.
      report: what ``report(state)`` gave at the end of the chunk.
    """

    step: int
    metrics: dict[str, np.ndarray]
    report: Any


class Pending(NamedTuple):
    """The same, still on the device."""

    step: int
    metrics: "Metrics"
    report: Any


Metrics = dict[str, jax.Array] | list[dict[str, jax.Array]]
"""Of a chunk: stacked by a scan, or one dict for each step of a loop."""


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Steps of an epoch; the last, partial batch is kept."""
    return math.ceil(images / batch_size)


def epoch_order(seed: int, epoch: int, images: int) -> np.ndarray:
    """Order of the images in an epoch, int32 (images,), a function of (seed, epoch) alone."""
    return np.random.default_rng((seed, epoch)).permutation(images).astype(np.int32)


def fit(
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
    state: TrainState,
    data: Data | Stream,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    chunk: int = 50,
    driver: Driver = "auto",
    report: Callable[[TrainState], Any] = lambda state: (),
    on_chunk: Callable[[Fetched], None] = lambda fetched: None,
    on_epoch: Callable[[int, TrainState], None] = lambda epoch, state: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainState:
    """Train from ``state.step`` to the end of the last epoch, or until asked to stop.

    Metrics are fetched one chunk late, so that the device never waits for the host. A chunk never crosses the end of an
    epoch. Continuing from a saved state gives the same bits as never having stopped.

    Args:
      step: the pure step of :func:`~papers.common.training.step.training_step`.
      state: where to start; ``state.step`` tells the epoch and the place in it.
      data: resident images and labels, or a stream of them, for which the jitted step is called from Python.
      batch_size: images a step; the last batch of an epoch may be smaller.
      epochs: epochs in all, counted from step 0.
      seed: of the data order.
      chunk: steps between two reports.
      driver: "scan" compiles a chunk of steps into one program, "loop" calls a jitted step, "auto" picks the loop on
        CPU.
      report: read from the state at the end of each chunk, compiled.
      on_chunk: takes each :class:`Fetched`, in order.
      on_epoch: called with the number of finished epochs and the state, after the epoch's chunks were handed out.
      should_stop: asked after each chunk; when true, what is pending is handed out, a complete epoch ended as always,
        and the state returned.

    Returns:
      The last state.

    Raises:
      Divergence: a loss is not finite; the sentence names the step and the last finite loss.
    """
    if driver == "auto":
        driver = "loop" if jax.default_backend() == "cpu" else "scan"
    run = _streamed(step) if isinstance(data, Stream) else _driver(driver, step)
    read = _reader(report)
    images, per_epoch = data.labels.shape[0], steps_per_epoch(data.labels.shape[0], batch_size)
    pending: Pending | None = None
    last_finite = math.nan
    at = int(state.step)

    def hand_out(waiting: Pending | None) -> None:
        nonlocal last_finite
        if waiting is not None:
            fetched = _fetch(waiting)
            last_finite = _check_finite(fetched, last_finite)
            on_chunk(fetched)

    while at < epochs * per_epoch:
        epoch, place = divmod(at, per_epoch)
        order = epoch_order(seed, epoch, images)
        with _opened(data, at, order[place * batch_size :], batch_size) as source:
            for indices in chunks(order, batch_size, place, chunk):
                state, metrics = run(state, source, indices)
                hand_out(pending)
                pending = Pending(at, metrics, read(state))
                at += len(indices)
                # an epoch that is complete gets its on_epoch even so: the continuation begins after it
                if at % per_epoch and should_stop():
                    hand_out(pending)
                    return state
        hand_out(pending)
        pending = None
        on_epoch(epoch + 1, state)
        if should_stop():
            return state
    return state


def chunks(order: np.ndarray, batch_size: int, place: int, chunk: int) -> Iterator[np.ndarray]:
    """Index arrays (steps, batch) from step ``place`` of an epoch to its end, cut at multiples of ``chunk``."""
    full = len(order) // batch_size
    whole = order[: full * batch_size].reshape(full, batch_size)
    while place < full:
        stop = min((place // chunk + 1) * chunk, full)
        yield whole[place:stop]
        place = stop
    rest = order[full * batch_size :]
    if place == full and len(rest):
        yield rest[None]


def _opened(data: Data | Stream, first: int, order: np.ndarray, batch_size: int) -> AbstractContextManager[Any]:
    """What the steps of an epoch read: the resident data, or batches that end with it."""
    return closing(data.batches(first, order, batch_size)) if isinstance(data, Stream) else nullcontext(data)


# both keep what they compiled: fitting again with the same step, as after a stop, compiles nothing
@lru_cache(maxsize=2)
def _reader(report: Callable[[TrainState], Any]) -> Callable[[TrainState], Any]:
    return jax.jit(lambda state: jax.tree.map(jnp.copy, report(state)), compiler_options=once_options())


@lru_cache(maxsize=2)
def _driver(driver: str, step: Callable[..., Any]) -> Callable[..., tuple[TrainState, Metrics]]:
    def one(state: TrainState, images: jax.Array, labels: jax.Array, index: jax.Array) -> tuple[TrainState, Any]:
        return step(state, (images[index], labels[index]))

    def many(state: TrainState, images: jax.Array, labels: jax.Array, indices: jax.Array) -> tuple[TrainState, Any]:
        return jax.lax.scan(lambda carry, index: one(carry, images, labels, index), state, indices)

    if driver == "scan":
        compiled = jax.jit(many, donate_argnums=0, compiler_options=step_options())

        def scan(state: TrainState, data: Data, indices: np.ndarray) -> tuple[TrainState, Metrics]:
            state, metrics = compiled(state, data.images, data.labels, jax.device_put(indices))
            return state, metrics

        return scan

    single = jax.jit(one, donate_argnums=0, compiler_options=step_options())

    def loop(state: TrainState, data: Data, indices: np.ndarray) -> tuple[TrainState, Metrics]:
        collected = []
        for index in indices:
            state, metrics = single(state, data.images, data.labels, jax.device_put(index))
            collected.append(metrics)
        return state, collected

    return loop


@lru_cache(maxsize=2)
def _streamed(step: Callable[..., Any]) -> Callable[..., tuple[TrainState, Metrics]]:
    single = jax.jit(step, donate_argnums=0, compiler_options=step_options())

    def run(state: TrainState, batches: Iterator[Any], indices: np.ndarray) -> tuple[TrainState, Metrics]:
        collected = []
        for batch in islice(batches, len(indices)):
            state, metrics = single(state, batch)
            collected.append(metrics)
        return state, collected

    return run


def _fetch(pending: Pending) -> Fetched:
    metrics = jax.device_get(pending.metrics)
    if isinstance(metrics, list):
        metrics = {name: np.stack([one[name] for one in metrics]) for name in metrics[0]}
    return Fetched(pending.step, metrics, jax.device_get(pending.report))


def _check_finite(fetched: Fetched, last_finite: float) -> float:
    loss = fetched.metrics["loss"]
    bad = np.flatnonzero(~np.isfinite(loss))
    if len(bad) == 0:
        return float(loss[-1])
    before = float(loss[bad[0] - 1]) if bad[0] else last_finite
    last = f"last finite loss {before:.4g}" if math.isfinite(before) else "no finite loss before it"
    raise Divergence(
        f"the loss became {loss[bad[0]]} at step {fetched.step + bad[0]} ({last}): try a smaller --learning-rate"
    )


def evaluate(
    model: Any, normalise: Callable[[jax.Array], jax.Array], batch_size: int | None = None
) -> Callable[..., Any]:
    """Build ``evaluate(state, data) -> {"loss", "top1", "top5"}`` in evaluation mode, means over all images.

    The last batch is padded with images of weight zero, so one compiled program serves any number of images.

    Args:
      model: a module or what has its ``apply``.
      normalise: of uint8 images.
      batch_size: images at a time; 256 on CPU and 2,000 elsewhere by default.
    """
    if batch_size is None:
        batch_size = 256 if jax.default_backend() == "cpu" else 2000

    @partial(jax.jit, compiler_options=once_options())
    def sums(params: Any, stats: Any, images: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
        logits = model.apply({"params": params, "batch_stats": stats}, normalise(images), train=False)
        logits = logits.astype(jnp.float32)
        loss = jax.vmap(cross_entropy)(logits[:, None], labels[:, None])
        own = jnp.take_along_axis(logits, labels[:, None], 1)
        # equal logits rank by class, as argmax has them, and NaN ranks last: a dead network is not always right
        tied = (logits == own) & (jnp.arange(logits.shape[1])[None, :] < labels[:, None])
        rank = (~(logits <= own) | tied).sum(1)
        rows = jnp.stack([loss, (rank < 1).astype(jnp.float32), (rank < 5).astype(jnp.float32)])
        return jnp.where(weight > 0, rows, 0.0).sum(1)

    def run(state: TrainState, data: Data) -> dict[str, float]:
        images = data.labels.shape[0]
        size = min(batch_size, images)
        total = 0.0
        for first in range(0, images, size):
            index = np.arange(first, first + size)
            weight = (index < images).astype(np.float32)
            index = np.minimum(index, images - 1)
            total = total + sums(state.params, state.batch_stats, data.images[index], data.labels[index], weight)
        loss, top1, top5 = np.asarray(total) / images
        return {"loss": float(loss), "top1": float(top1), "top5": float(top5)}

    return run
