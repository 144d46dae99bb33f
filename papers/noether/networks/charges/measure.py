"""Measuring: what one step of any optimiser did to the quantities of each family."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from papers.common.training.step import Update
from papers.noether.networks.charges.families import Families, pair
from papers.noether.networks.charges.rule import Rule
from symjax.symmetry import Symmetry


class Motion(NamedTuple):
    """The step ``d = q_{n+1} - q_n = factor direction``; heavy ball's buffer gives it without the rounding of ``q``."""

    direction: Any
    factor: Any


class Step(NamedTuple):
    """What one step did to a family with the quantity ``<q, M q>``, vectors with one entry a filter or unit.

    Attributes:
      value: ``<q_n, M q_n>``.
      after: ``<q_{n+1}, M q_{n+1}>`` before any constraint.
      along: ``<M q_n, u>`` with the motion's direction u.
      square: ``<u, M u>``.
      residual: ``<M q_n, g_n>``, zero where the loss has the symmetry exactly.
      gradient: ``<g_n, M g_n>``.
    """

    value: jax.Array
    after: jax.Array
    along: jax.Array
    square: jax.Array
    residual: jax.Array
    gradient: jax.Array


class Sums(NamedTuple):
    """What one step did to the classifier's sums ``<q, n>``: after it, and ``<g_n, n>``."""

    after: jax.Array
    residual: jax.Array


class Steps(NamedTuple):
    """One step in every family; None for a family that the network has not."""

    motion: Motion
    learning_rate: jax.Array
    filters: Step | None
    units: Step | None
    classifier: Sums


class Values(NamedTuple):
    """The quantities themselves: ``|q|^2``, imbalances, sums over the classes; None for an absent family."""

    filters: jax.Array | None
    units: jax.Array | None
    classifier: jax.Array


def values(families: Families, params: Any) -> Values:
    """Measure the quantities of all families at some parameters."""

    def of(family: Symmetry | None) -> jax.Array | None:
        return None if family is None else pair(family, params, params)

    return Values(of(families.filters), of(families.units), pair(families.classifier, params, params))


def steps(families: Families, rule: Rule, before: Values, update: Update) -> Steps:
    """Measure one step.

    Args:
      families: of the network.
      rule: the learning rule, for its schedule and its buffer.
      before: the quantities before the step.
      update: what the step did.
    """
    eta = rule.schedule(update.step)
    if rule.optimiser.buffer is None:
        motion = Motion(jax.tree.map(jnp.subtract, update.after, update.before), jnp.ones_like(eta))
    else:
        motion = Motion(rule.optimiser.buffer(update.optimiser), -eta)

    def quadratic(family: Symmetry | None, value: jax.Array | None) -> Step | None:
        if value is None:
            return None
        return Step(
            value,
            pair(family, update.after, update.after),
            pair(family, update.before, motion.direction),
            pair(family, motion.direction, motion.direction),
            pair(family, update.before, update.gradient),
            pair(family, update.gradient, update.gradient),
        )

    last = Sums(
        pair(families.classifier, update.after, update.after), pair(families.classifier, update.before, update.gradient)
    )
    return Steps(
        motion,
        eta,
        quadratic(families.filters, before.filters),
        quadratic(families.units, before.units),
        last,
    )


def noether_charge(step: Step, seen: Steps, rule: Rule) -> jax.Array:
    """The Noether charge ``m <q', q>`` from the step that leaves q, with the mass ``m = eta (1 + beta) / 2`` of SGD.

    ``q' = d / eta``, so that it is ``(1 + beta) / 2 <q, d>`` whatever the optimiser.
    """
    return (1 + rule.momentum) / 2 * seen.motion.factor * step.along


def angle(step: Step, seen: Steps) -> jax.Array:
    """Angle between a filter before the step and after it, in radians."""
    radius, radius_after = jnp.sqrt(step.value), jnp.sqrt(step.after)
    # the chord of the unit vectors; the difference of the radii carries no angle
    chord = (seen.motion.factor**2 * step.square - (radius_after - radius) ** 2) / (radius * radius_after)
    return 2 * jnp.arcsin(jnp.clip(jnp.sqrt(jnp.maximum(chord, 0.0)) / 2, 0.0, 1.0))


def relative_residual(step: Step) -> jax.Array:
    """``<q, g>`` relative to ``|q| |g|``."""
    return step.residual / jnp.sqrt(jnp.maximum(step.value * step.gradient, jnp.finfo(step.value.dtype).tiny))


def statistics(update: Update) -> dict[str, jax.Array]:
    """Numbers recorded at every step under their names, as ``train_<name>`` in the run's history: add one here."""
    return {"gradient_norm": optax.tree.norm(update.gradient)}
