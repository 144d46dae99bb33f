"""Accounting: where a change came from, for an optimiser that obeys none of the exact laws.

Of any step d, with ``Q(q) = <q, M q>``,

    Q(q + d) - Q(q) = 2 <M q, d> + Q(d).

Gradient flow of a symmetric loss makes the first term zero, heavy ball bounds it by its memory; an optimiser that
rescales the gradient entry by entry, as Adam does, leaves the symmetry's orbits, and the first term measures by how
much.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from papers.noether.networks.charges.families import Families, pair
from papers.noether.networks.charges.measure import Motion, Step, Steps, Values


class Balance(NamedTuple):
    """Of one family, vectors: sums of ``2 <M q, d>`` and of ``Q(d)``, the scale of errors, the largest so far."""

    along: jax.Array
    square: jax.Array
    size: jax.Array
    worst: jax.Array


class Account(NamedTuple):
    """The balances of the quadratic families; None for an absent one."""

    filters: Balance | None
    units: Balance | None


def account(families: Families, params: Any, first: Values) -> Account:
    """Open the balances at the initial parameters, whose quantities are ``first``."""

    def of(value: jax.Array | None, size: jax.Array | None) -> Balance | None:
        nothing = None if value is None else jnp.zeros_like(value)
        return None if value is None else Balance(nothing, nothing, size, nothing)

    size = None if first.units is None else pair(families.unsigned, params, params)
    return Account(of(first.filters, first.filters), of(first.units, size))


def enter(before: Account, seen: Steps) -> Account:
    """Enter one step, and compare both sides of the identity."""
    return Account(_enter(before.filters, seen.motion, seen.filters), _enter(before.units, seen.motion, seen.units))


def _enter(before: Balance | None, motion: Motion, step: Step | None) -> Balance | None:
    if before is None or step is None:
        return None
    along, square = 2 * motion.factor * step.along, motion.factor**2 * step.square
    error = jnp.abs(step.after - step.value - along - square) / before.size
    return Balance(before.along + along, before.square + square, before.size, jnp.maximum(before.worst, error))
