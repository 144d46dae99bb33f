"""The observer of a training step: measures, predicts where there are laws, and fixes norms where the rule says so."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from papers.common.optimisers import OPTIMISERS, Optimiser
from papers.common.training.step import Update
from papers.noether.networks.charges import measure
from papers.noether.networks.charges.account import Account, account, enter
from papers.noether.networks.charges.families import Families
from papers.noether.networks.charges.measure import Values
from papers.noether.networks.charges.predict import Laws, laws, predict
from papers.noether.networks.charges.project import project
from papers.noether.networks.charges.rule import Rule
from symjax.mechanics.closed_forms import bernoulli_value
from symjax.mechanics.discrete import linear_value, noether_charge_one_sided, quadratic_value


class Filters(NamedTuple):
    """What is measured of the filters beside their norms, vectors (filters,).

    Attributes:
      target: ``|q_0|^2``, which fixed norms return to.
      charge: ``m <q', q>``, one-sided at the last step.
      angle: angular update of the last step in radians.
      residual: ``<q, g>`` of the last step, relative to ``|q| |g|``.
    """

    target: jax.Array
    charge: jax.Array
    angle: jax.Array
    residual: jax.Array


class Monitor(NamedTuple):
    """All charges of a network; None for what it or its optimiser has not.

    Attributes:
      values: the quantities after the last step's constraint.
      filters: more of the filters.
      laws: the predictions, of an optimiser to which the exact laws belong.
      account: of any other, where its changes came from.
    """

    values: Values
    filters: Filters | None
    laws: Laws | None
    account: Account | None


def start(families: Families, params: Any, optimiser: Optimiser = OPTIMISERS["sgd"]) -> Monitor:
    """Open the monitor at the initial parameters."""
    first = measure.values(families, params)
    filters = None
    if first.filters is not None:
        nothing = jnp.zeros_like(first.filters)
        filters = Filters(first.filters, nothing, nothing, nothing)
    if optimiser.buffer is None:
        return Monitor(first, filters, None, account(families, params, first))
    return Monitor(first, filters, laws(families, params, first), None)


def observe(families: Families, rule: Rule, monitor: Monitor, update: Update) -> tuple[Monitor, Any, dict[str, Any]]:
    """Measure one step, predict it, and fix the filters' norms if the rule says so.

    Args:
      families: of the network.
      rule: the learning rule.
      monitor: the charges before the step.
      update: what the step did.

    Returns:
      The charges after the step, the new parameters, and the statistics recorded at every step.
    """
    seen = measure.steps(families, rule, monitor.values, update)
    filters, after, squares = None, update.after, None
    if monitor.filters is not None and seen.filters is not None:
        target = monitor.filters.target
        after, squares = project(families, after, squares=seen.filters.after, target=target, fixed=rule.fixed)
        charge = measure.noether_charge(seen.filters, seen, rule)
        residual = measure.relative_residual(seen.filters)
        filters = Filters(target, charge, measure.angle(seen.filters, seen), residual)
    values = Values(squares, None if seen.units is None else seen.units.after, seen.classifier.after)
    predicted = None if monitor.laws is None else predict(monitor.laws, rule, seen)
    balance = None if monitor.account is None else enter(monitor.account, seen)
    return Monitor(values, filters, predicted, balance), after, measure.statistics(update)


def report(monitor: Monitor, rule: Rule, step: jax.Array) -> dict[str, jax.Array]:
    """What is stored of the charges at the end of a chunk, one record: flat names to vectors.

    ``*_predicted``, ``*_worst`` and ``filter_eq17*`` are there only where the monitor has laws, ``*_along``,
    ``*_square`` and ``*_unbalanced`` only where it has an account.
    """
    learning_rate = rule.schedule(jnp.maximum(step - 1, 0))
    values, filters = monitor.values, monitor.filters
    record = {"learning_rate": learning_rate, "classifier_measured": values.classifier}
    if values.units is not None:
        record["unit_measured"] = values.units
    if filters is not None:
        record |= {
            "filter_measured": values.filters,
            "filter_charge": filters.charge,
            "filter_angle": filters.angle,
            "filter_residual": filters.residual,
        }
    if monitor.laws is not None:
        record |= _report_laws(monitor.laws, rule, learning_rate)
    if monitor.account is not None:
        for family, balance in zip(("filter", "unit"), monitor.account, strict=True):
            if balance is not None:
                record |= {f"{family}_along": balance.along, f"{family}_square": balance.square}
                record |= {f"{family}_unbalanced": balance.worst}
    return record


def _report_laws(found: Laws, rule: Rule, learning_rate: jax.Array) -> dict[str, jax.Array]:
    record = {
        "classifier_predicted": linear_value(found.classifier.law),
        "classifier_worst": found.classifier.worst,
    }
    if found.units is not None:
        record |= {
            "unit_predicted": quadratic_value(found.units.law),
            "unit_size": found.units.size,
            "unit_worst": found.units.worst,
        }
    if found.filters is not None:
        inner = found.filters.law.inner
        record |= {
            "filter_predicted": quadratic_value(found.filters.law),
            "filter_eq17": bernoulli_value(found.filters.verbatim),
            "filter_eq17_own_square": bernoulli_value(found.filters.own),
            "filter_charge_predicted": noether_charge_one_sided(
                inner, learning_rate=learning_rate, momentum=rule.momentum
            ),
            "filter_worst": found.filters.worst,
        }
    return record
