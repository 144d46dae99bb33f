"""Predicting: the exact laws of heavy-ball SGD and Eq. 17, advanced by one step from what that step measured.

They follow from ``v = beta v + (g + k q)``, ``q -= eta v`` and from nothing less: an optimiser without that buffer has
none of them, and its monitor carries ``None`` in their place.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from papers.noether.networks.charges.families import Families, pair
from papers.noether.networks.charges.measure import Step, Steps, Sums, Values
from papers.noether.networks.charges.rule import Rule
from symjax.mechanics.closed_forms import bernoulli_start, bernoulli_step, smooth_squared_gradient
from symjax.mechanics.discrete import (
    LinearState,
    QuadraticState,
    linear_start,
    linear_step,
    linear_value,
    quadratic_start,
    quadratic_step,
    quadratic_value,
)


class FilterLaws(NamedTuple):
    """Predictions of the filters' squared norms, vectors (filters,).

    Attributes:
      law: state of the exact recursion.
      verbatim, own: Eq. 17 with the minibatch gradient, and with ``(1 - beta)^2 r^2 |v|^2`` in its place.
      worst: largest ``|R_predicted / R - 1|`` so far.
    """

    law: QuadraticState
    verbatim: Any
    own: Any
    worst: jax.Array


class UnitLaws(NamedTuple):
    """Predictions of the units' imbalances; ``worst`` is relative to ``size``, the first sum of their squares."""

    law: QuadraticState
    size: jax.Array
    worst: jax.Array


class ClassifierLaws(NamedTuple):
    """Predictions of the sums over the classes; ``worst`` is relative to the largest first sum."""

    law: LinearState
    worst: jax.Array


class Laws(NamedTuple):
    """The predictions of all families; None for an absent family."""

    filters: FilterLaws | None
    units: UnitLaws | None
    classifier: ClassifierLaws


def laws(families: Families, params: Any, first: Values) -> Laws:
    """Open every recursion at the initial parameters, whose quantities are ``first``."""
    filters = units = None
    if first.filters is not None:
        bernoulli = bernoulli_start(first.filters)
        filters = FilterLaws(quadratic_start(first.filters), bernoulli, bernoulli, jnp.zeros_like(first.filters))
    if first.units is not None:
        size = pair(families.unsigned, params, params)
        units = UnitLaws(quadratic_start(first.units), size, jnp.zeros_like(first.units))
    classifier = ClassifierLaws(linear_start(first.classifier), jnp.zeros_like(first.classifier))
    return Laws(filters, units, classifier)


def predict(before: Laws, rule: Rule, seen: Steps) -> Laws:
    """Advance every prediction by one step, and compare it with what was measured after that step."""
    numbers = {"learning_rate": seen.learning_rate, "momentum": rule.momentum, "weight_decay": rule.weight_decay}
    filters = units = None
    if before.filters is not None and seen.filters is not None:
        filters = _filters(before.filters, rule, numbers, seen.filters)
    if before.units is not None and seen.units is not None:
        units = _units(before.units, numbers, seen.units)
    return Laws(filters, units, _classifier(before.classifier, numbers, seen.classifier))


def _filters(before: FilterLaws, rule: Rule, numbers: dict[str, Any], step: Step) -> FilterLaws:
    project_to = jnp.where(rule.fixed, before.law.start, jnp.inf)
    law = quadratic_step(before.law, square=step.square, residual=step.residual, project_to=project_to, **numbers)
    verbatim = bernoulli_step(before.verbatim, squared_gradient=step.value * step.gradient, **numbers)
    smooth = smooth_squared_gradient(rule.momentum, step.value, step.square)
    own = bernoulli_step(before.own, squared_gradient=smooth, **numbers)
    error = jnp.abs(law.unprojected / step.after - 1)
    return FilterLaws(law, verbatim, own, jnp.maximum(before.worst, error))


def _units(before: UnitLaws, numbers: dict[str, Any], step: Step) -> UnitLaws:
    law = quadratic_step(before.law, square=step.square, residual=step.residual, **numbers)
    error = jnp.abs(quadratic_value(law) - step.after) / before.size
    return UnitLaws(law, before.size, jnp.maximum(before.worst, error))


def _classifier(before: ClassifierLaws, numbers: dict[str, Any], step: Sums) -> ClassifierLaws:
    law = linear_step(before.law, residual=step.residual, **numbers)
    error = jnp.abs(linear_value(law) - step.after) / jnp.max(jnp.abs(law.start))
    return ClassifierLaws(law, jnp.maximum(before.worst, error))
