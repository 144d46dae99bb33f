"""Stochastic gradient descent as a rule, and what its exact laws say of the charges of one kind."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from symjax.arguments import accumulation_dtype
from symjax.conserved.charge import Conserving
from symjax.mechanics.discrete import (
    LinearState,
    QuadraticState,
    compensated_add,
    linear_start,
    linear_step,
    linear_value,
    quadratic_start,
    quadratic_step,
)
from symjax.symmetry import Params
from symjax.watch.charges import Kind, Step, join

__all__ = ["Descent", "Law", "descend", "fixed_charges", "law_error", "law_inner", "law_start", "law_value"]

Law = QuadraticState | LinearState


class Descent(NamedTuple):
    """Stochastic gradient descent as PyTorch and ``optax.sgd`` have it, whose law of each charge is exact.

    ``v = beta v + (1 - delta)(g + k q)``, ``q -= eta u`` with ``u = v``, or ``u = g + k q + beta v`` for Nesterov.

    Attributes:
      learning_rate: eta, a number or a function of the number of the step.
      momentum: beta.
      weight_decay: k, inside the gradient.
      dampening: delta, without effect on the first buffer.
      nesterov: whether the update is Nesterov's.
      decay_mask: pytree of booleans like the parameters, where the decay acts; None means everywhere.
      residual: the law takes ``<M theta, g>`` as it is measured, or trusts the symmetry, which makes it zero.
      fixed: where the loop sets charges back to their first values after every step, as norms that are kept: booleans,
        a prefix of the symmetry's zero; ``measured`` and ``predicted`` are those before that. Quadratic charges only.
    """

    learning_rate: Any
    momentum: Any = 0.0
    weight_decay: Any = 0.0
    dampening: Any = 0.0
    nesterov: bool = False
    decay_mask: Any = None
    residual: Literal["measured", "zero"] = "measured"
    fixed: Any = False


class Rule(NamedTuple):
    """The numbers of a descent at one step."""

    learning_rate: jax.Array
    momentum: jax.Array
    weight_decay: jax.Array
    dampening: jax.Array


def law_start(kind: Kind, value: jax.Array) -> Law:
    """Open the recursion of one kind of charges, of quadratic ones that of their doubles."""
    return linear_start(value) if kind.linear else quadratic_start(2 * value)


def descend(
    found: Conserving,
    law: Descent,
    own: Mapping[Kind, Law],
    steps: Mapping[Kind, Step],
    params: Params,
    gradient: Params,
    updates: Params,
) -> dict[Kind, Law]:
    """Advance the recursions by one step.

    Args:
      found: the charges.
      law: the rule.
      own: the recursions.
      steps: what the update does.
      params: before it.
      gradient: of the loss alone.
      updates: of the optimiser.
    """
    rule, fixed = _numbers(law, next(iter(own.values())).step), fixed_charges(found, law)
    pushed = _pushed(found, law, rule, params)
    crosses = _crosses(found, law, rule, params, gradient, updates)
    return {
        kind: _advance(law, rule, kind, own[kind], step, fixed[kind], pushed.get(kind), crosses.get(kind))
        for kind, step in steps.items()
    }


def fixed_charges(found: Conserving, law: Descent) -> dict[Kind, Any]:
    """Of every kind of charges, where they are set back; the constant False where nowhere.

    Raises:
      ValueError: a linear charge that is fixed, or ``fixed`` of another structure.
    """
    try:
        leaves = found.leaves(jax.tree.broadcast(law.fixed, found.symmetry.zero))
    except ValueError as error:
        raise ValueError("law.fixed must be a boolean or a prefix of the symmetry's zero") from error
    zero = found.leaves(jax.tree.map(lambda leaf: leaf.astype(accumulation_dtype(leaf.dtype)), found.symmetry.zero))
    if any(form == "linear" and fixed is not False for form, fixed in zip(found.kept, leaves, strict=True)):
        raise ValueError("law.fixed holds for a linear charge, but only quadratic ones can be set back")
    free = all(fixed is False for fixed in leaves)
    whole = [jnp.where(fixed, jnp.ones_like(one), 0) for fixed, one in zip(leaves, zero, strict=True)]
    joined = join(found, whole)
    return {kind: False if free or kind.linear else joined[kind] > 0 for kind in joined}


def law_value(own: Law) -> jax.Array:
    """Q by the law, before it was set back."""
    return own.unprojected / 2 if isinstance(own, QuadraticState) else linear_value(own)


def law_inner(own: Law) -> jax.Array:
    """``<M theta, v>`` by the law."""
    return own.inner if isinstance(own, QuadraticState) else own.velocity


def law_error(own: Law, step: Step, fixed: Any) -> jax.Array:
    """``|predicted - measured| / size``."""
    twice = 2 if isinstance(own, QuadraticState) else 1
    # the difference of two charges near each other is exact, the sum of a charge and a small drift is not
    missed = (twice * step.after - own.start) - (own.increment - own.compensation)
    if fixed is not False:
        missed = jnp.where(fixed, twice * step.after - own.unprojected, missed)
    return jnp.abs(missed) / (twice * step.size)


def _numbers(law: Descent, step: jax.Array) -> Rule:
    rate = law.learning_rate(step) if callable(law.learning_rate) else law.learning_rate
    return Rule(*(jnp.asarray(one, jnp.result_type(float)) for one in (rate, *law[1:4])))


def _decayed(law: Descent, rule: Rule, params: Params) -> Params:
    mask = jax.tree.map(lambda _: True, params) if law.decay_mask is None else law.decay_mask
    return jax.tree.map(lambda q, on: jnp.where(on, rule.weight_decay.astype(q.dtype) * q, 0), params, mask)


def _pushed(found: Conserving, law: Descent, rule: Rule, params: Params) -> dict[Kind, jax.Array]:
    """Decay under a mask is a force, which is measured; everywhere it is part of the recursion."""
    return {} if law.decay_mask is None else join(found, found.pair(params, _decayed(law, rule, params)))


def _crosses(
    found: Conserving, law: Descent, rule: Rule, params: Params, gradient: Params, updates: Params
) -> dict[Kind, jax.Array]:
    """``<u, M v>`` for Nesterov, whose ``u = g + k q + beta v``; without momentum the buffer is the direction."""
    if not law.nesterov:
        return {}
    rate, beta = (jnp.where(number == 0, 1, number) for number in (rule.learning_rate, rule.momentum))

    def buffer(d: jax.Array, g: jax.Array, kq: jax.Array) -> jax.Array:
        u = -d / rate.astype(d.dtype)
        return jnp.where(rule.momentum == 0, u, (u - g - kq) / beta.astype(d.dtype))

    paired = join(found, found.pair(updates, jax.tree.map(buffer, updates, gradient, _decayed(law, rule, params))))
    return {kind: jnp.where(rule.learning_rate == 0, 0, -one / rate.astype(one.dtype)) for kind, one in paired.items()}


def _advance(
    law: Descent,
    rule: Rule,
    kind: Kind,
    own: Law,
    step: Step,
    fixed: Any,
    pushed: jax.Array | None,
    cross: jax.Array | None,
) -> Law:
    """One step of the exact law."""
    numbers = {**rule._asdict(), "nesterov": law.nesterov}
    if law.decay_mask is not None:
        numbers["weight_decay"] = 0.0
    residual = step.residual if law.residual == "measured" else jnp.zeros_like(step.residual)
    residual = residual if pushed is None else residual + pushed
    if step.before is not None:
        own = _follow(kind, own, step, fixed)
    if kind.linear:
        return linear_step(own, residual=residual, **numbers)
    # an infinite target leaves a charge free
    back = None if fixed is False else jnp.where(fixed, own.start, jnp.inf)
    return quadratic_step(own, square=_square(rule, step), residual=residual, cross=cross, project_to=back, **numbers)


def _follow(kind: Kind, own: Law, step: Step, fixed: Any) -> Law:
    """Follow a jump before the step, as a rescaling along the charge's coordinate."""
    twice = 1 if kind.linear else 2
    last = step.last if fixed is False else jnp.where(fixed, own.start / twice, step.last)
    jump = step.before - last
    jumped = jnp.abs(jump) > 1e3 * jnp.finfo(jump.dtype).eps * step.size
    increment, compensation = compensated_add(own.increment, own.compensation, jnp.where(jumped, twice * jump, 0))
    own = own._replace(increment=increment, compensation=compensation)
    if kind.linear:
        return own
    ratio = jnp.where(jumped & (last != 0), step.before / jnp.where(last == 0, 1, last), 1)
    return own._replace(gain=own.gain * jnp.sqrt(jnp.maximum(ratio, 0)))


def _square(rule: Rule, step: Step) -> jax.Array:
    """``<u, M u>`` of the direction ``u = -d / eta``."""
    rate = jnp.where(rule.learning_rate == 0, 1, rule.learning_rate).astype(step.second.dtype)
    return jnp.where(rule.learning_rate == 0, 0, 2 * step.second / rate / rate)
