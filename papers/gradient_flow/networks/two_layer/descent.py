"""Compiled gradient descent on the two-layer networks, many runs side by side, that can be stopped.

As many runs as fill a vector register lie along the last axis of every array, a lane each, and blocks of lanes go
through one compiled program, one block a thread (XLA releases Python's lock). A block's steps are cut into chunks of
half a second, and what stops the command stops every thread at its next chunk; a chunk continues from the parameters
of the one before, so that the numbers are those of the uncut program, bit for bit.

Source: Zhao et al. 2023, section 4 and appendix (experiments on two-layer networks).
Deviation: float64 where the authors' float32 is dominated by round-off; step 0 is recorded.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from papers.gradient_flow.networks.two_layer.model import charge, loss, scaled_gradient
from papers.gradient_flow.networks.two_layer.schedule import cut
from papers.gradient_flow.networks.two_layer.starts import Start
from symjax import activations, integrate

REGISTER_BYTES = 32  # of a vector register: 4 lanes of float64, 8 of float32
STEPS = {"linear": 400_000, "relu": 400_000, "tanh": 400_000, "sigmoid": 800_000}
"""Activations of Figures 3 and 6, and the length of their runs."""
QUICK = 20
"""A quick run is shorter by this factor."""
PER_DECADE = 200
"""Records in a decade of steps."""


class Job(NamedTuple):
    """Runs of one activation.

    Attributes:
      activation: name in :mod:`symjax.activations`: linear, relu, tanh, sigmoid, row_radial (Figure 7 as the authors
        have it: each neuron's row over its squared norm), radial (each column over its squared norm), or another.
      start: a :class:`Start` of shape (runs, ...), its dtype that of the computation.
      learning_rates: shape (runs,).
      steps: at which to record, increasing, from 0.
    """

    activation: str
    start: Start
    learning_rates: Any
    steps: np.ndarray


class Curves(NamedTuple):
    """What was recorded in all runs of a job, on the host.

    Attributes:
      steps: (records,).
      loss: (runs, records), mean of the squared entries of F - Y, before the step.
      charge: (runs, records, h), each neuron's Q with the normalisation 1/2.
      output: (runs, m, h), the last U.
      input: (runs, n, h), the last V.
      finite: (runs, records), whether loss and charge are; False from some record on marks a run that diverged.
    """

    steps: np.ndarray
    loss: np.ndarray
    charge: np.ndarray
    output: np.ndarray
    input: np.ndarray
    finite: np.ndarray


def distance(curves: Curves) -> np.ndarray:
    """Give the unsquared norm ``|F - Y|`` that Figures 3 and 6 plot, (runs, records)."""
    return np.sqrt(curves.loss.astype(np.float64) * curves.output.shape[1] * curves.input.shape[1])


def train(job: Job, workers: int | None = None) -> Curves:
    """Train the runs of one job; see :func:`train_all`."""
    return train_all([job], workers)[0]


def train_all(jobs: Sequence[Job], workers: int | None = None) -> list[Curves]:
    """Train all runs of all jobs: one compiled program for each activation and kind of schedule, blocks in threads.

    A run that diverges is marked in its ``finite`` and leaves the numbers of the others unchanged: nothing but the
    program is shared. A run's numbers do not depend on what its neighbours are.

    Source: Zhao et al. 2023, appendix (gradient descent on the mean squared error).

    Args:
      jobs: activations with their runs.
      workers: threads; as many as there are cores by default.

    Returns:
      The curves of each job, in order.

    Raises:
      ValueError: shapes that do not compose, or an unknown activation.
    """
    for job in jobs:
        _check(job)
    workers = workers or len(os.sched_getaffinity(0))
    blocks = [(place, block) for place, job in enumerate(jobs) for block in _blocks(job)]
    # the longest first, so that no thread is left with it at the end
    blocks.sort(key=lambda item: -int(jobs[item[0]].steps[-1]))
    programs = dict.fromkeys(chunk.program for _, block in blocks for chunk in block.chunks)
    x64, stop = jax.config.jax_enable_x64, threading.Event()

    def compile_one(program: _Program) -> None:
        with jax.enable_x64(x64):  # such settings belong to a thread
            _compiled(program)

    def run_one(item: tuple[int, _Block]) -> Any:
        with jax.enable_x64(x64):
            return _follow(item[1], stop)

    with ThreadPoolExecutor(workers) as pool:
        try:
            _all(pool, compile_one, programs)
            results = _all(pool, run_one, blocks)
        finally:  # whatever ends the wait, such as Ctrl-C, ends the threads at their next chunk
            stop.set()
    found: dict[int, list[tuple[int, Any]]] = {place: [] for place in range(len(jobs))}
    for (place, block), result in zip(blocks, results, strict=True):
        found[place].append((block.first, result))
    return [_joined(job, sorted(found[place], key=lambda part: part[0])) for place, job in enumerate(jobs)]


def _all(pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Map over threads, waiting in short pieces: what is to end a wait, such as Ctrl-C, may not wake a longer one."""
    futures = [pool.submit(function, item) for item in items]
    while wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION).not_done:
        if any(future.done() and future.exception() for future in futures):
            break
    for future in futures:
        future.cancel()  # does nothing to what is done
    return [future.result() for future in futures]


class _Program(NamedTuple):
    """What a compiled chunk depends on; ``every`` is the gap between all records where it is known and equal."""

    activation: str
    shapes: tuple[Any, ...]
    dtype: str
    records: int
    every: int | None


class _Chunk(NamedTuple):
    """Some steps of a block: at which to record, counted from where the chunk begins, and which records to take."""

    program: _Program
    schedule: np.ndarray
    taken: np.ndarray


class _Block(NamedTuple):
    """Runs that advance together: the first of them, their target, parameters and rates, and the chunks in order."""

    first: int
    target: np.ndarray
    params: tuple[np.ndarray, np.ndarray]
    rates: np.ndarray
    chunks: list[_Chunk]


def _blocks(job: Job) -> list[_Block]:
    runs, dtype = len(job.learning_rates), np.asarray(job.start.output).dtype
    lanes = runs
    if jax.default_backend() == "cpu":
        lanes = min(runs, REGISTER_BYTES // dtype.itemsize) if runs < 2 else REGISTER_BYTES // dtype.itemsize
    blocks = []
    for first in range(0, runs, lanes):
        # the last block is filled up with copies of the last run
        members = np.minimum(np.arange(first, first + lanes), runs - 1)
        arrays = [np.moveaxis(np.asarray(leaf)[members], 0, -1) for leaf in job.start]
        rates = np.asarray(job.learning_rates)[members].astype(dtype)
        if lanes == 1:  # without an axis: XLA does not vectorise over one of length 1
            arrays, rates = [array[..., 0] for array in arrays], rates[0]
        shapes = tuple(array.shape for array in arrays)
        chunks = [
            _Chunk(_Program(job.activation, shapes, dtype.name, len(piece.schedule), piece.every), *piece[:2])
            for piece in cut(np.asarray(job.steps))
        ]
        blocks.append(_Block(first, arrays[0], (arrays[1], arrays[2]), rates, chunks))
    return blocks


class Stopped(Exception):
    """Say that training was stopped between two chunks."""


def _follow(block: _Block, stop: threading.Event) -> Any:
    """Train a block chunk by chunk: the last parameters, and loss and charge at every record of its schedule."""
    params, parts = block.params, []
    for chunk in block.chunks:
        if stop.is_set():
            raise Stopped
        params, recorded = _compiled(chunk.program)(block.target, *params, block.rates, chunk.schedule)
        parts.append([np.asarray(leaf)[chunk.taken] for leaf in recorded])  # waits for the chunk
    return jax.device_get(params), [np.concatenate(leaves) for leaves in zip(*parts, strict=True)]


@lru_cache(maxsize=64)
def _compiled(program: _Program) -> Any:
    """Compile a chunk; where the gap between records is static, the step's work is shared with them."""
    activation, shapes, dtype, records, every = program

    def chunk(target: Any, output: Any, given: Any, rates: Any, steps: Any) -> Any:
        path = integrate.gradient_descent(
            scaled_gradient(target, rates, activation),
            (output, given),
            learning_rate=1.0,
            steps=steps if every is None else np.arange(records) * every,
            record=lambda params: (loss(params, target, activation), charge(params, activation)),
        )
        return path.params, path.recorded

    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in (*shapes, shapes[0][2:])]
    return jax.jit(chunk).lower(*arrays, jax.ShapeDtypeStruct((records,), np.int64)).compile()


def _check(job: Job) -> None:
    steps = np.asarray(job.steps)
    if steps.ndim != 1 or len(steps) < 2 or steps[0] < 0 or not (np.diff(steps) > 0).all():
        raise ValueError(f"steps have shape {steps.shape}, but must be at least two integers from 0 on, increasing")
    target, output, given = (np.shape(leaf) for leaf in job.start)
    fits = len(target) == len(output) == len(given) == 3 and target[0] == output[0] == given[0]
    if not (fits and target[1] == output[1] and target[2] == given[1] and output[2] == given[2]):
        raise ValueError(
            f"start has target {target}, output {output} and input {given}, but (runs, m, n), (runs, m, h) and "
            "(runs, n, h) are needed"
        )
    if np.shape(job.learning_rates) != target[:1]:
        raise ValueError(
            f"learning_rates have shape {np.shape(job.learning_rates)}, but ({target[0]},) is needed: one a run"
        )
    chosen = activations.get(job.activation)
    if not chosen.pointwise and chosen.degree != -1:
        raise ValueError(f"activation is {job.activation!r}, but a radial one must be radial or row_radial")


def _joined(job: Job, parts: list[tuple[int, Any]]) -> Curves:
    runs = len(job.learning_rates)

    def together(leaves: list[np.ndarray], axes: int) -> np.ndarray:
        lanes = [leaf[..., None] if leaf.ndim == axes else leaf for leaf in leaves]
        return np.moveaxis(np.concatenate(lanes, axis=-1)[..., :runs], -1, 0)

    output, given, losses, charges = (
        together([leaf(result) for _, result in parts], axes)
        for leaf, axes in (
            (lambda r: r[0][0], 2),
            (lambda r: r[0][1], 2),
            (lambda r: r[1][0], 1),
            (lambda r: r[1][1], 2),
        )
    )
    finite = np.isfinite(losses) & np.isfinite(charges).all(axis=-1)
    return Curves(np.asarray(job.steps), losses, charges, output, given, finite)
