"""The charges of a VGG11 in training: measured at every step beside what the exact laws and Eq. 17 predict.

Three families, each one vector with one entry a filter, unit or feature:

- filters (scale symmetry, only with BatchNorm): the squared norm ``R = |q|^2`` of a filter and its Noether charge;
- units (rescale symmetry): the imbalance ``D = |writers|^2 - |readers|^2``, of the hidden dense units with BatchNorm,
  of every hidden channel without;
- classifier (translation symmetry): the sums over classes of the last layer's bias and of its kernel, one an input
  feature.

:func:`observe` is called inside the training step, so that the prediction uses the step's own update, gradient and
buffer.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.training import momentum_buffer
from papers.common.training.step import Update
from symjax.actions import translate
from symjax.channels import Channel, Scaling, coordinates, rescale, restrict, unsigned
from symjax.mechanics.closed_forms import bernoulli_start, bernoulli_step, bernoulli_value, smooth_squared_gradient
from symjax.mechanics.discrete import (
    LinearState,
    QuadraticState,
    linear_start,
    linear_step,
    linear_value,
    noether_charge_one_sided,
    quadratic_start,
    quadratic_step,
    quadratic_value,
)
from symjax.symmetry import pairing


class Rule(NamedTuple):
    """The learning rule, every number possibly traced: the schedule, momentum, decay, and whether norms are fixed."""

    schedule: Callable[[jax.Array], jax.Array]
    momentum: Any
    weight_decay: Any
    fixed: Any


class Filters(NamedTuple):
    """Squared norms of all filters, vectors (filters,).

    Attributes:
      law: state of the exact recursion.
      measured: ``|q_n|^2`` after the step's constraint.
      verbatim, own: Eq. 17 with the minibatch gradient, and with ``(1 - beta)^2 r^2 |v|^2`` in its place.
      charge: ``m <q', q>``, measured one-sided at the last step.
      angle: angular update of the last step in radians.
      residual: ``<q, g>`` of the last step, relative to ``|q| |g|``.
      worst: largest ``|R_predicted / R - 1|`` so far.
    """

    law: QuadraticState
    measured: jax.Array
    verbatim: Any
    own: Any
    charge: jax.Array
    angle: jax.Array
    residual: jax.Array
    worst: jax.Array


class Units(NamedTuple):
    """Imbalances of all units, vectors (units,); ``worst`` is relative to the first ``|writers|^2 + |readers|^2``."""

    law: QuadraticState
    measured: jax.Array
    size: jax.Array
    worst: jax.Array


class Classifier(NamedTuple):
    """Sums over the classes, a vector (1 + features,), bias first; ``worst`` is relative to the largest first sum."""

    law: LinearState
    measured: jax.Array
    worst: jax.Array


class Monitor(NamedTuple):
    """All charges of a network; an absent family is an empty tuple."""

    filters: Filters | tuple
    units: Units | tuple
    classifier: Classifier


class Families(NamedTuple):
    """The flows of a network's three families with their zeros: ``(flow, zero)``, the flow None where there is none."""

    filters: tuple[Any, dict[str, jax.Array]]
    units: tuple[Any, dict[str, jax.Array]]
    classifier: tuple[Any, dict[str, jax.Array]]
    unsigned: Any


def families(channels: Mapping[str, Channel], params: Any, last: str = "dense3") -> Families:
    """Find the symmetries that hold in training mode, from the description of the channels.

    A filter's scale symmetry is taken with its kernel alone: the batch's own statistics take out the bias. Where
    filters have the scale symmetry their norms may be fixed, which breaks the rescale symmetry of the layers around
    them, so only channels without it count as units.

    Args:
      channels: description with paths from ``{"params", "batch_stats"}``.
      params: the parameters.
      last: name of the layer that gives the logits.
    """
    relative = restrict(channels, "params")
    filters = {name: _kernel_only(channel) for name, channel in relative.items() if _has(channel, "scale")}
    units = {name: channel for name, channel in relative.items() if not _has(channel, "scale")}

    def classifier(s: dict[str, jax.Array], params: Any) -> Any:
        layer = params[last]
        moved = {"kernel": translate(s["kernel"], layer["kernel"]), "bias": translate(s["bias"], layer["bias"])}
        return {**params, last: moved}

    zero = {"kernel": jnp.zeros(params[last]["kernel"].shape[0]), "bias": jnp.zeros(())}
    return Families(
        (partial(rescale, channels=filters, kind="scale") if filters else None, coordinates(filters, "scale")),
        (partial(rescale, channels=units, kind="rescale") if units else None, coordinates(units, "rescale")),
        (classifier, zero),
        partial(rescale, channels={name: unsigned(channel) for name, channel in units.items()}, kind="rescale"),
    )


def start(found: Families, params: Any) -> Monitor:
    """Open every recursion at the initial parameters."""
    filters: Any = ()
    units: Any = ()
    if found.filters[0] is not None:
        value = _pair(found.filters, params, params)
        nothing = jnp.zeros_like(value)
        bernoulli = bernoulli_start(value)
        filters = Filters(quadratic_start(value), value, bernoulli, bernoulli, nothing, nothing, nothing, nothing)
    if found.units[0] is not None:
        value = _pair(found.units, params, params)
        size = _pair((found.unsigned, found.units[1]), params, params)
        units = Units(quadratic_start(value), value, size, jnp.zeros_like(value))
    value = _pair(found.classifier, params, params)
    return Monitor(filters, units, Classifier(linear_start(value), value, jnp.zeros_like(value)))


def observe(found: Families, rule: Rule, monitor: Monitor, update: Update) -> tuple[Monitor, Any]:
    """Advance all predictions by one step, measure, and fix the filters' norms if the rule says so.

    Args:
      found: the families.
      rule: the learning rule.
      monitor: the charges before the step.
      update: what the step did.

    Returns:
      The charges after the step and the new parameters.
    """
    numbers = {
        "learning_rate": rule.schedule(update.step),
        "momentum": rule.momentum,
        "weight_decay": rule.weight_decay,
    }
    filters, units, after = monitor.filters, monitor.units, update.after
    if found.filters[0] is not None:
        filters, after = _observe_filters(found, rule, numbers, filters, update)
    if found.units[0] is not None:
        units = _observe_units(found, numbers, units, update)
    classifier = monitor.classifier
    residual = _pair(found.classifier, update.before, update.gradient)
    law = linear_step(classifier.law, residual=residual, **numbers)
    measured = _pair(found.classifier, update.after, update.after)
    error = jnp.abs(linear_value(law) - measured) / jnp.max(jnp.abs(law.start))
    classifier = Classifier(law, measured, jnp.maximum(classifier.worst, error))
    return Monitor(filters, units, classifier), after


def _observe_filters(
    found: Families, rule: Rule, numbers: dict[str, Any], filters: Filters, update: Update
) -> tuple[Filters, Any]:
    buffer, eta = momentum_buffer(update.optimiser), numbers["learning_rate"]
    inner_gradient = _pair(found.filters, update.before, update.gradient)
    inner_buffer = _pair(found.filters, update.before, buffer)
    gradient = _pair(found.filters, update.gradient, update.gradient)
    square = _pair(found.filters, buffer, buffer)
    unconstrained = _pair(found.filters, update.after, update.after)
    before, target = filters.measured, filters.law.start
    project_to = jnp.where(rule.fixed, target, jnp.inf)
    law = quadratic_step(filters.law, square=square, residual=inner_gradient, project_to=project_to, **numbers)
    verbatim = bernoulli_step(filters.verbatim, squared_gradient=before * gradient, **numbers)
    smooth = smooth_squared_gradient(rule.momentum, before, square)
    own = bernoulli_step(filters.own, squared_gradient=smooth, **numbers)
    radius, radius_after = jnp.sqrt(before), jnp.sqrt(unconstrained)
    # the chord of the unit vectors; the difference of the radii carries no angle
    chord = (eta**2 * square - (radius_after - radius) ** 2) / (radius * radius_after)
    angle = 2 * jnp.arcsin(jnp.clip(jnp.sqrt(jnp.maximum(chord, 0.0)) / 2, 0.0, 1.0))
    after, measured = update.after, unconstrained
    if rule.fixed is not False:
        factor = jnp.where(rule.fixed, 0.5 * jnp.log(target / unconstrained), 0.0)
        after = found.filters[0](_split(factor, found.filters[1]), update.after)
        measured = _pair(found.filters, after, after)
    error = jnp.abs(law.unprojected / unconstrained - 1)
    charge = noether_charge_one_sided(inner_buffer, learning_rate=eta, momentum=rule.momentum)
    residual = inner_gradient / jnp.sqrt(jnp.maximum(before * gradient, jnp.finfo(before.dtype).tiny))
    worst = jnp.maximum(filters.worst, error)
    return Filters(law, measured, verbatim, own, charge, angle, residual, worst), after


def _observe_units(found: Families, numbers: dict[str, Any], units: Units, update: Update) -> Units:
    buffer = momentum_buffer(update.optimiser)
    square = _pair(found.units, buffer, buffer)
    residual = _pair(found.units, update.before, update.gradient)
    law = quadratic_step(units.law, square=square, residual=residual, **numbers)
    measured = _pair(found.units, update.after, update.after)
    error = jnp.abs(quadratic_value(law) - measured) / units.size
    return Units(law, measured, units.size, jnp.maximum(units.worst, error))


def report(monitor: Monitor, rule: Rule, step: jax.Array) -> dict[str, jax.Array]:
    """What is stored of the charges at the end of a chunk, one record: flat names to vectors."""
    learning_rate = rule.schedule(jnp.maximum(step - 1, 0))
    record = {"learning_rate": learning_rate}
    filters, units, classifier = monitor
    if isinstance(filters, Filters):
        record |= {
            "filter_measured": filters.measured,
            "filter_predicted": quadratic_value(filters.law),
            "filter_eq17": bernoulli_value(filters.verbatim),
            "filter_eq17_own_square": bernoulli_value(filters.own),
            "filter_charge": filters.charge,
            "filter_charge_predicted": noether_charge_one_sided(
                filters.law.inner, learning_rate=learning_rate, momentum=rule.momentum
            ),
            "filter_angle": filters.angle,
            "filter_residual": filters.residual,
            "filter_worst": filters.worst,
        }
    if isinstance(units, Units):
        record |= {
            "unit_measured": units.measured,
            "unit_predicted": quadratic_value(units.law),
            "unit_size": units.size,
            "unit_worst": units.worst,
        }
    return record | {
        "classifier_measured": classifier.measured,
        "classifier_predicted": linear_value(classifier.law),
        "classifier_worst": classifier.worst,
    }


def layer_names(found: Families) -> dict[str, np.ndarray]:
    """Name the channel of every entry of the filters' and units' vectors; a family that is absent has no entry."""
    named = {}
    for family in ("filters", "units"):
        zero = getattr(found, family)[1]
        if zero:
            names = sorted(zero)
            named[f"{family[:-1]}_layer"] = np.repeat(names, [zero[name].shape[0] for name in names])
    return named


def _pair(family: tuple[Any, dict[str, jax.Array]], point: Any, covector: Any) -> jax.Array:
    """Pair a covector with all generators of a family, as one vector; each is linear, or constant, in the point."""
    flow, zero = family
    paired = pairing(flow, zero, point, covector)
    return jnp.concatenate([jnp.atleast_1d(paired[name]) for name in sorted(paired)])


def _split(vector: jax.Array, zero: dict[str, jax.Array]) -> dict[str, jax.Array]:
    names = sorted(zero)
    cuts = np.cumsum([zero[name].shape[0] for name in names])[:-1]
    return dict(zip(names, jnp.split(vector, cuts), strict=True))


def _has(channel: Channel, kind: str) -> bool:
    return any(scaling.kind == kind for scaling in channel.scalings)


def _kernel_only(channel: Channel) -> Channel:
    terms = tuple(
        (site, degree)
        for scaling in channel.scalings
        if scaling.kind == "scale"
        for site, degree in scaling.terms
        if site.path[-1] == "kernel"
    )
    return channel._replace(scalings=(Scaling("scale", terms),))
