"""What is known of the charges after a step, and what one step does to them."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symjax.conserved.charge import Conserving
from symjax.mechanics.discrete import compensated_add
from symjax.symmetry import Coordinates

__all__ = ["Balance", "Charges", "Kind", "Step", "advance", "balance_error", "balance_start", "join", "split"]


class Charges(NamedTuple):
    """What is known of the charges after a step: pytrees like the symmetry's zero, None where nothing is conserved.

    Attributes:
      step: number of updates made, int32.
      measured: Q now; before the first step that of the start.
      predicted: Q by the law, or by the sum of both orders where no law is given.
      error: largest ``|predicted - measured|`` so far, over ``size``.
      residual: ``<M theta, g>`` of the last step: zero where the loss has the symmetry.
      first: ``<M theta, d>`` of the last step, its first order; under momentum it is not zero, although the residual
        is, since the step holds earlier gradients.
      second: ``Q(d)`` of the last step, its second order; zero for a linear charge.
      first_sum: sum of the first orders of all steps, compensated.
      second_sum: sum of the second orders.
      inner: ``<M theta, v>`` of the last step by the law, v the buffer that moves the parameters; zeros without a law.
      size: what cancels in Q at the start, see :func:`symjax.conserved.charge.sizes`.
    """

    step: jax.Array
    measured: Coordinates
    predicted: Coordinates
    error: Coordinates
    residual: Coordinates
    first: Coordinates
    second: Coordinates
    first_sum: Coordinates
    second_sum: Coordinates
    inner: Coordinates
    size: Coordinates


class Kind(NamedTuple):
    """The charges of one law and dtype, which go through it as one vector."""

    linear: bool
    dtype: str


def join(found: Conserving, leaves: list[jax.Array]) -> dict[Kind, jax.Array]:
    """One vector of all leaves of each kind."""
    joined: dict[Kind, list[jax.Array]] = {}
    for form, leaf in zip(found.kept, leaves, strict=True):
        joined.setdefault(Kind(form == "linear", leaf.dtype.name), []).append(leaf.reshape(-1))
    return {kind: jnp.concatenate(one) for kind, one in joined.items()}


def split(found: Conserving, vectors: Mapping[Kind, jax.Array], like: list[jax.Array]) -> list[jax.Array]:
    """The leaves again, with the shapes and dtypes of others."""
    places, leaves = dict.fromkeys(vectors, 0), []
    for form, one in zip(found.kept, like, strict=True):
        kind = Kind(form == "linear", one.dtype.name)
        leaves.append(vectors[kind][places[kind] : places[kind] + one.size].reshape(one.shape))
        places[kind] += one.size
    return leaves


class Step(NamedTuple):
    """What one update does to the charges of one kind.

    Attributes:
      last: Q as the state had it.
      before: Q before the update, which differs where parameters were changed since; None where nothing does that.
      size: of the charge.
      after: Q after it.
      residual: ``<M theta, g>``.
      first: ``<M theta, d>``.
      second: ``Q(d)``.
    """

    last: jax.Array
    before: jax.Array | None
    size: jax.Array
    after: jax.Array
    residual: jax.Array
    first: jax.Array
    second: jax.Array


class Balance(NamedTuple):
    """Where the changes of the charges of one kind came from, compensated sums.

    Attributes:
      start: Q at the first parameters.
      first, second: sums of both orders of the steps so far.
      jumps: sum of what happened to Q between the steps.
      owed: what the three sums still owe.
    """

    start: jax.Array
    first: jax.Array
    second: jax.Array
    jumps: jax.Array
    owed: tuple[jax.Array, jax.Array, jax.Array]


def balance_start(value: jax.Array) -> Balance:
    """Open the sums at the first charges."""
    nothing = jnp.zeros_like(value)
    return Balance(value, nothing, nothing, nothing, (nothing, nothing, nothing))


def advance(balance: Balance, step: Step) -> Balance:
    """Enter one step."""
    jump = jnp.zeros_like(step.last) if step.before is None else step.before - step.last
    terms = step.first, step.second, jump
    sums = [compensated_add(*each) for each in zip(balance[1:4], balance.owed, terms, strict=True)]
    return Balance(balance.start, *(total for total, _ in sums), tuple(owed for _, owed in sums))


def balance_error(balance: Balance, step: Step) -> jax.Array:
    """``|start + first + second + jumps - after| / size``: rounding, whatever the optimiser."""
    # the difference of two charges near each other is exact, the sum of a charge and a small drift is not
    missed = (step.after - balance.start) - (balance.first + balance.second + balance.jumps)
    return jnp.abs(missed) / step.size
