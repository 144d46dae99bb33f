"""The two-layer networks of Figures 3, 6, 7 and 9 and their compiled training, from the starts of `draws.py`.

``F = U sigma(V^T)`` with the identity as data, in the layout of the authors' scripts: target Y (m, n), output weights U
(m, h), input weights V (n, h). The loss is the mean of ``(F - Y)^2`` over the m n entries, the steps are those of plain
gradient descent, and each neuron's conserved quantity is recorded beside the loss.

Many runs advance side by side: as many as fill a vector register lie along the last axis of every array, a lane each,
and blocks of lanes go through one compiled program, one block a thread (XLA releases Python's lock). The products are
broadcast, multiplied and summed, which XLA fuses at these sizes where it would call a library for each ``dot``
(``tests/benchmarks/bench_gradient_flow.py`` measures it).

Source: Zhao et al. 2023, section 4 and appendix (experiments on two-layer networks).
Deviation: float64 where the authors' float32 is dominated by round-off; step 0 is recorded.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.gradient_flow.networks.two_layer.starts import Start, draw_elementwise, draw_radial, stack
from symjax import activations, integrate

__all__ = [
    "PAPER_SCALE",
    "PER_DECADE",
    "QUICK",
    "STEPS",
    "Curves",
    "Job",
    "Start",
    "charge",
    "distance",
    "draw_elementwise",
    "draw_radial",
    "hidden_layer",
    "loss",
    "paper_charge",
    "scaled_gradient",
    "stack",
    "train",
    "train_all",
]

REGISTER_BYTES = 32  # of a vector register: 4 lanes of float64, 8 of float32
PAPER_SCALE = {"linear": 2, "relu": 2, "tanh": 2, "sigmoid": 1, "row_radial": -2, "radial": -2}
"""What the authors' code returns over the quantity normalised by 1/2; the column version has the row version's."""
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
    x64 = jax.config.jax_enable_x64

    def compile_one(key: tuple[Any, ...]) -> None:
        with jax.enable_x64(x64):  # such settings belong to a thread
            _compiled(*key)

    def run_one(item: tuple[int, "_Block"]) -> Any:
        with jax.enable_x64(x64):
            block = item[1]
            return jax.device_get(_compiled(*block.key)(*block.arguments))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(compile_one, dict.fromkeys(block.key for _, block in blocks)))
        results = list(pool.map(run_one, blocks))
    found: dict[int, list[tuple[int, Any]]] = {place: [] for place in range(len(jobs))}
    for (place, block), result in zip(blocks, results, strict=True):
        found[place].append((block.first, result))
    return [_joined(job, sorted(found[place], key=lambda part: part[0])) for place, job in enumerate(jobs)]


class _Block(NamedTuple):
    """Runs that advance together, and the program they go through."""

    first: int
    key: tuple[Any, ...]
    arguments: tuple[Any, ...]


def _blocks(job: Job) -> list[_Block]:
    runs, dtype = len(job.learning_rates), np.asarray(job.start.output).dtype
    lanes = runs
    if jax.default_backend() == "cpu":
        lanes = min(runs, REGISTER_BYTES // dtype.itemsize) if runs < 2 else REGISTER_BYTES // dtype.itemsize
    gaps = np.unique(np.diff(job.steps))
    every = int(gaps[0]) if len(gaps) == 1 and job.steps[0] == 0 else None
    blocks = []
    for first in range(0, runs, lanes):
        # the last block is filled up with copies of the last run
        members = np.minimum(np.arange(first, first + lanes), runs - 1)
        arrays = [np.moveaxis(np.asarray(leaf)[members], 0, -1) for leaf in job.start]
        rates = np.asarray(job.learning_rates)[members].astype(dtype)
        if lanes == 1:  # without an axis: XLA does not vectorise over one of length 1
            arrays, rates = [array[..., 0] for array in arrays], rates[0]
        shapes = tuple(array.shape for array in arrays)
        key = (job.activation, shapes, dtype.name, len(job.steps), every)
        blocks.append(_Block(first, key, (*arrays, rates, np.asarray(job.steps))))
    return blocks


@lru_cache(maxsize=64)
def _compiled(activation: str, shapes: tuple[Any, ...], dtype: str, records: int, every: int | None) -> Any:
    """Compile the training of a block; where the gap between records is static, the step's work is shared with them."""

    def block(target: Any, output: Any, given: Any, rates: Any, steps: Any) -> Any:
        schedule = steps if every is None else np.arange(records) * every
        path = integrate.gradient_descent(
            scaled_gradient(target, rates, activation),
            (output, given),
            learning_rate=1.0,
            steps=schedule,
            record=lambda params: (loss(params, target, activation), charge(params, activation)),
        )
        return path.params, path.recorded

    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in (*shapes, shapes[0][2:])]
    return jax.jit(block).lower(*arrays, jax.ShapeDtypeStruct((records,), np.int64)).compile()


def loss(params: tuple[Any, Any], target: Any, activation: str) -> Any:
    """Evaluate ``mean (U sigma(V^T) - Y)^2``, run by run.

    Args:
      params: U (m, h, ...) and V (n, h, ...); lanes of runs in the axes behind, if any.
      target: (m, n, ...).
      activation: its name.

    Returns:
      Array (...).
    """
    output, given = params
    hidden = hidden_layer(given, activation)
    error = jnp.sum(output[:, None] * hidden[None], axis=2) - target
    return jnp.sum(error * error, axis=(0, 1)) / (target.shape[0] * target.shape[1])


def hidden_layer(given: Any, activation: str) -> Any:
    """Evaluate sigma(V) in the layout of V, (n, h, ...) with lanes of runs in the axes behind."""
    chosen = activations.get(activation)
    if chosen.pointwise:
        return chosen.function(given)
    function = chosen.function  # of (h, n): hidden units first
    for _ in range(given.ndim - 2):
        function = jax.vmap(function, in_axes=-1, out_axes=-1)
    return jnp.swapaxes(function(jnp.swapaxes(given, 0, 1)), 0, 1)


def charge(params: tuple[Any, Any], activation: str) -> Any:
    """Evaluate each neuron's conserved quantity, normalised by 1/2 as :mod:`symjax.conserved` does.

    ``|U_i|^2/2 - sum_a P(V_ai)``; for the radial ones of degree -1 ``-(|U_i|^2 + |V_i|^2)/2``, of which the column
    version conserves the sum alone.

    Args:
      params: as for :func:`loss`.
      activation: its name.

    Returns:
      Array (h, ...).
    """
    output, given = params
    chosen = activations.get(activation)
    if chosen.pointwise:
        return jnp.sum(output * output, axis=0) / 2 - jnp.sum(chosen.primitive(given), axis=0)
    return -(jnp.sum(output * output, axis=0) + jnp.sum(given * given, axis=0)) / 2


def scaled_gradient(target: Any, rates: Any, activation: str) -> Callable[[Any], Any]:
    """Make the function that gives the learning rate times the loss's gradient, of all lanes at once."""

    def total(params: Any) -> Any:
        return jnp.sum(rates * loss(params, target, activation))

    return jax.grad(total)


def paper_charge(charges: np.ndarray, activation: str) -> np.ndarray:
    """Sum each neuron's Q, over the last axis and in float64, to the number that the authors' code plots."""
    return PAPER_SCALE[activation] * charges.sum(axis=-1, dtype=np.float64)


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
