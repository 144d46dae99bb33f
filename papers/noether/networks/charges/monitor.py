"""What the paper adds to the charges that are watched: Eq. 17, angles, norms that are fixed, and the record of all."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from papers.common.training.step import Update
from papers.noether.networks.charges.families import Families, vector
from papers.noether.networks.charges.rule import Rule
from symjax.mechanics.closed_forms import bernoulli_start, bernoulli_step, bernoulli_value, smooth_squared_gradient
from symjax.mechanics.discrete import noether_charge_one_sided
from symjax.symmetry import pairing
from symjax.watch import WatchState


class Filters(NamedTuple):
    """What is recorded of the filters beside their charges, vectors (filters,).

    Attributes:
      target: ``|q_0|^2``, which fixed norms return to.
      value: ``|q|^2`` after the last step's constraint.
      angle: angular update of the last step in radians.
      residual: ``<q, g>`` of the last step, relative to ``|q| |g|``.
      verbatim, own: Eq. 17 with the minibatch gradient, and with ``(1 - beta)^2 r^2 |v|^2`` in its place; None where
        the rule has no law.
    """

    target: jax.Array
    value: jax.Array
    angle: jax.Array
    residual: jax.Array
    verbatim: Any
    own: Any


class Monitor(NamedTuple):
    """What a run's state carries beside the watched optimiser.

    Attributes:
      filters: None without one.
      worst: family -> largest error of its law so far, over the filter's squared norm, the unit's or gain's first
        squared norms, the largest first sum, of a linear group the size of :class:`symjax.watch.Charges`; None where
        the rule has no law.
      largest_sum: along a translation at the start, zero where it is no family.
    """

    filters: Filters | None
    worst: dict[str, jax.Array] | None
    largest_sum: jax.Array


class Known(NamedTuple):
    """What is watched of one family, vectors; squares are whole, twice the conserved ``<theta, M theta>/2``."""

    measured: jax.Array
    predicted: jax.Array
    size: jax.Array
    error: jax.Array
    residual: jax.Array
    first: jax.Array
    second: jax.Array
    first_sum: jax.Array
    second_sum: jax.Array
    inner: jax.Array


def known(state: WatchState) -> dict[str, Known]:
    """Read what is watched, family by family."""
    charges = state.charges._asdict()

    def of(family: str) -> Known:
        twice = 1 if family == "translation" else 2
        alone = ("error", "residual", "first", "first_sum", "inner")
        return Known(
            **{name: (1 if name in alone else twice) * vector(charges[name][family]) for name in Known._fields}
        )

    return {family: of(family) for family in state.charges.measured}


def start(found: Families, params: Any, rule: Rule) -> Monitor:
    """Open the monitor at the initial parameters."""
    exact, filters = rule.optimiser.law is not None, None
    values = {family: vector(value) for family, value in pairing(found.symmetry, params, params).items()}
    if found.filters is not None:
        first = values["filter"]
        flow = bernoulli_start(first) if exact else None
        filters = Filters(first, first, jnp.zeros_like(first), jnp.zeros_like(first), flow, flow)
    worst = {family: jnp.zeros_like(value) for family, value in values.items()} if exact else None
    largest_sum = jnp.max(jnp.abs(values["translation"])) if "translation" in values else jnp.zeros(())
    return Monitor(filters, worst, largest_sum)


def observe(found: Families, rule: Rule, monitor: Monitor, update: Update) -> tuple[Monitor, Any, dict[str, Any]]:
    """Record one watched step, and fix the filters' norms if the rule says so.

    Args:
      found: the families of the network.
      rule: the learning rule.
      monitor: before the step.
      update: what the step did, its optimiser being :meth:`Rule.watched`.

    Returns:
      The monitor after the step, the new parameters, and the statistics recorded at every step.
    """
    seen, filters, after, worst = known(update.optimiser), monitor.filters, update.after, None
    if filters is not None:
        filters = _filters(found, rule, filters, seen["filter"], update)
        after, value = _fix(found, after, seen["filter"].measured, filters.target, rule.fixed)
        filters = filters._replace(value=value)
    if monitor.worst is not None:
        missed = {family: _error(family, one, monitor.largest_sum) for family, one in seen.items()}
        worst = jax.tree.map(jnp.maximum, monitor.worst, missed)
    return monitor._replace(filters=filters, worst=worst), after, statistics(update)


def statistics(update: Update) -> dict[str, jax.Array]:
    """Numbers recorded at every step under their names, as ``train_<name>`` in the run's history: add one here."""
    return {"gradient_norm": optax.tree.norm(update.gradient)}


def report(watched: WatchState, monitor: Monitor, rule: Rule) -> dict[str, jax.Array]:
    """What is stored of the charges at the end of a chunk, one record: flat names to vectors.

    ``*_predicted``, ``*_worst`` and ``filter_eq17*`` are there only where the rule has laws, ``*_along``, ``*_square``
    and ``*_unbalanced`` only where it has none.
    """
    learning_rate = rule.schedule(jnp.maximum(watched.charges.step - 1, 0))
    seen, filters = known(watched), monitor.filters
    record = {"learning_rate": learning_rate} | {f"{family}_measured": one.measured for family, one in seen.items()}
    if filters is not None:
        record |= {
            "filter_measured": filters.value,
            "filter_charge": noether_charge(seen["filter"], rule),
            "filter_angle": filters.angle,
            "filter_residual": filters.residual,
        }
    if monitor.worst is None:
        return record | _report_balances(seen)
    record |= {f"{family}_worst": worst for family, worst in monitor.worst.items()}
    record |= {f"{family}_predicted": one.predicted for family, one in seen.items()}
    if "unit" in seen:
        record["unit_size"] = seen["unit"].size
    if filters is not None:
        numbers = {"learning_rate": learning_rate, "momentum": rule.momentum}
        record |= {
            "filter_predicted": jnp.where(rule.fixed, filters.target, seen["filter"].predicted),
            "filter_eq17": bernoulli_value(filters.verbatim),
            "filter_eq17_own_square": bernoulli_value(filters.own),
            "filter_charge_predicted": noether_charge_one_sided(seen["filter"].inner, **numbers),
        }
    return record


def noether_charge(seen: Known, rule: Rule) -> jax.Array:
    """The Noether charge ``m <q', q>`` from the step that leaves q, with the mass ``m = eta (1 + beta) / 2`` of SGD.

    ``q' = d / eta``, so that it is ``(1 + beta) / 2 <q, d>`` whatever the optimiser.
    """
    return (1 + rule.momentum) / 2 * seen.first


def _report_balances(seen: dict[str, Known]) -> dict[str, jax.Array]:
    record = {}
    for family in seen.keys() - {"translation"}:
        one = seen[family]
        record |= {f"{family}_along": 2 * one.first_sum, f"{family}_square": one.second_sum}
        record[f"{family}_unbalanced"] = one.error
    return record


def _error(family: str, seen: Known, largest_sum: jax.Array) -> jax.Array:
    """What the law misses after a step, before norms are set back."""
    if family == "filter":
        return jnp.abs(seen.predicted / seen.measured - 1)
    if family == "mixing":
        return seen.error
    return jnp.abs(seen.predicted - seen.measured) / (largest_sum if family == "translation" else seen.size)


def _filters(found: Families, rule: Rule, before: Filters, seen: Known, update: Update) -> Filters:
    gradient = vector(pairing(found.filters, update.gradient, update.gradient))
    value, tiny = before.value, jnp.finfo(before.value.dtype).tiny
    residual = seen.residual / jnp.sqrt(jnp.maximum(value * gradient, tiny))
    verbatim = own = None
    if before.own is not None:
        eta = rule.schedule(update.step)
        numbers = {"learning_rate": eta, "momentum": rule.momentum, "weight_decay": rule.weight_decay}
        verbatim = bernoulli_step(before.verbatim, squared_gradient=value * gradient, **numbers)
        smooth = smooth_squared_gradient(rule.momentum, value, seen.second / eta**2)
        own = bernoulli_step(before.own, squared_gradient=smooth, **numbers)
    return Filters(before.target, value, _angle(value, seen.measured, seen.second), residual, verbatim, own)


def _angle(value: jax.Array, after: jax.Array, displacement: jax.Array) -> jax.Array:
    """Angle between a filter before the step and after it, in radians, from the three squares."""
    radius, radius_after = jnp.sqrt(value), jnp.sqrt(after)
    # the chord of the unit vectors; the difference of the radii carries no angle
    chord = (displacement - (radius_after - radius) ** 2) / (radius * radius_after)
    return 2 * jnp.arcsin(jnp.clip(jnp.sqrt(jnp.maximum(chord, 0.0)) / 2, 0.0, 1.0))


def _fix(found: Families, params: Any, squares: jax.Array, target: jax.Array, fixed: Any) -> tuple[Any, jax.Array]:
    """Set every filter's norm back, ``q <- q |q(0)| / |q|`` where ``fixed`` is true; the parameters, and the squares.

    Where ``fixed`` is the constant False, nothing is compiled.
    """
    if fixed is False:
        return params, squares
    factor = jnp.where(fixed, 0.5 * jnp.log(target / squares), 0.0)
    moved = found.filters.flow(ravel_pytree(found.filters.zero)[1](factor), params)
    return moved, vector(pairing(found.filters, moved, moved))
