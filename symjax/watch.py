"""Every charge, at every step, in anybody's training loop: an optax optimiser that measures and predicts.

:func:`watch` wraps the user's own optimiser; nothing else of the loop changes, and the updates are the optimiser's own
bits. Its state holds, for every coordinate of a symmetry, what gradient flow conserves (the charge Q), what it is now,
what a step did to it, and what an exact law of the discrete update predicts. For a linear generator M and an update
``theta -> theta + d``

    Q(theta + d) - Q(theta) = <M theta, d> + Q(d),     Q = <theta, M theta>/2 with M symmetric,
                            = <d, n>,                  Q = <theta, n> of a translation along n,

whatever the optimiser: an identity, split by order. In gradient descent the first order vanishes with the symmetry;
Adam's does not, and is shown instead of being mistaken for an error. For stochastic gradient descent
(:class:`Descent`) the recursions of :mod:`symjax.mechanics.discrete` predict Q from the rule itself.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symjax.arguments import floating_tree
from symjax.conserved.charge import Conserving, Form, conserving, sizes
from symjax.mechanics.discrete import (
    LinearState,
    QuadraticState,
    compensated_add,
    linear_start,
    linear_step,
    quadratic_start,
    quadratic_step,
)
from symjax.symmetry import Coordinates, Params, Symmetry

__all__ = ["Charges", "Descent", "WatchState", "watch"]


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
    """

    learning_rate: Any
    momentum: Any = 0.0
    weight_decay: Any = 0.0
    dampening: Any = 0.0
    nesterov: bool = False
    decay_mask: Any = None


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
      size: what cancels in Q at the start, see :func:`symjax.conserved.charge.sizes`.
    """

    step: jax.Array
    measured: Coordinates
    predicted: Coordinates
    error: Coordinates
    residual: Coordinates
    first: Coordinates
    second: Coordinates
    size: Coordinates


class Orders(NamedTuple):
    """Sum of both orders of the steps so far, compensated."""

    start: jax.Array
    increment: jax.Array
    compensation: jax.Array


class WatchState(NamedTuple):
    """The optimiser's own state, the charges, and for each leaf of them the state of its law."""

    inner: Any
    charges: Charges
    laws: tuple[QuadraticState | LinearState | Orders, ...]


class _Step(NamedTuple):
    """What one update does to one leaf of charges; the last three belong to the law of descent."""

    last: jax.Array
    before: jax.Array
    after: jax.Array
    size: jax.Array
    residual: jax.Array
    first: jax.Array
    second: jax.Array
    square: jax.Array | None = None
    cross: jax.Array | None = None
    decay: jax.Array | None = None


def watch(optimiser: Any, symmetry: Symmetry, law: Descent | None = None, form: Any = None) -> Any:
    """Wrap an optax optimiser so that it watches the charges of a symmetry.

    Source: the identity and the laws are derived from the update; the continuous laws they replace are Kunin et al.
    2021, Neural Mechanics, and Tanaka & Kunin 2021, Noether's Learning Dynamics, Eq. 8 and 16.

    Args:
      optimiser: an ``optax.GradientTransformation``. With a law it must be that descent.
      symmetry: linear generators, such as :func:`symjax.channels.scalings` of a network's channels, or translations.
      law: the rule of the optimiser where it is gradient descent; None predicts by both orders of the step, which holds
        for any optimiser.
      form: of the charges, a pytree like ``symmetry.zero`` with a word in the place of each array; None finds
        it by :func:`symjax.conserved.forms` when the state is made, from shapes and dtypes alone. Along what is "none",
        as a translation that other parameters take up, nothing is conserved, and the charges hold None.

    Returns:
      An ``optax.GradientTransformation`` whose ``update`` needs the parameters; ``state.charges`` is :class:`Charges`.
      Where parameters change between two steps Q jumps with them; the law of descent follows such a jump exactly where
      it is a rescaling along the charge's own coordinate, as a norm that is set back.

    Raises:
      ValueError: a law that is no :class:`Descent`; when the state is made, a symmetry of which gradient flow conserves
        nothing; at an update, parameters that are missing or have another structure.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> opposite = Symmetry(lambda s, q: (jnp.exp(s) * q[0], jnp.exp(-s) * q[1]), jnp.zeros(()))
      >>> optimiser = watch(optax.sgd(0.1), opposite, Descent(0.1))
      >>> params = (jnp.array(2.0), jnp.array(1.0))
      >>> state = optimiser.init(params)
      >>> gradient = jax.grad(lambda q: (q[0] * q[1] - 1.0) ** 2)(params)
      >>> updates, state = optimiser.update(gradient, state, params)
      >>> print(f"{state.charges.measured:.6f} {state.charges.predicted:.6f}")  # 3/2 before the step, times 1 - 0.2^2
      1.440000 1.440000
    """
    if law is not None and not isinstance(law, Descent):
        raise ValueError(f"law is a {type(law).__name__}, but must be a Descent or None")
    import optax  # late: the library needs jax alone, and who has an optimiser has optax

    remembered: dict[
        Any, Conserving
    ] = {}  # for each structure, shapes and dtypes of parameters, which are all it reads

    def kept(params: Params) -> Conserving:
        leaves, structure = jax.tree.flatten(params)
        which = (structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))
        if which not in remembered:
            remembered[which] = conserving(symmetry, params, form)
            if not remembered[which].kept:
                raise ValueError("symmetry has no charge: gradient flow conserves nothing along any of its generators")
        return remembered[which]

    def init(params: Params) -> WatchState:
        params = floating_tree("params", params)
        found = kept(params)
        values = found.halved(found.pair(params, params))
        nothing = [jnp.zeros_like(value) for value in values]
        laws = tuple(_begin(word, value, law) for word, value in zip(found.kept, values, strict=True))
        parts = (values, values, nothing, nothing, nothing, nothing, sizes(found, params))
        charges = Charges(jnp.zeros((), jnp.int32), *map(found.tree, parts))
        return WatchState(optimiser.init(params), charges, laws)

    def update(gradient: Params, state: WatchState, params: Params = None, **extra: Any) -> tuple[Params, WatchState]:
        if params is None:
            raise ValueError("params is None, but a watched optimiser reads them: update(gradient, state, params)")
        if jax.tree.structure(params) != jax.tree.structure(gradient):
            raise ValueError("params and gradient have different tree structures, but must have the same leaves")
        updates, inner = optax.with_extra_args_support(optimiser).update(gradient, state.inner, params, **extra)
        found, before = kept(params), state.charges
        steps = _measure(found, before, params, gradient, updates, optax.apply_updates(params, updates))
        if law is None:
            laws = [_accumulate(own, step) for own, step in zip(state.laws, steps, strict=True)]
        else:
            rule = _numbers(law, before.step)
            steps = _drive(found, steps, law, rule, params, gradient, updates)
            words = zip(found.kept, state.laws, steps, strict=True)
            laws = [_descend(word, own, step, rule, law.nesterov) for word, own, step in words]
        worst = found.leaves(before.error)
        parts = [[step.after for step in steps], [_predicted(own) for own in laws]]
        parts += [[_error(*each) for each in zip(worst, laws, steps, strict=True)]]
        parts += [[getattr(step, name) for step in steps] for name in ("residual", "first", "second")]
        charges = Charges(before.step + 1, *map(found.tree, parts), before.size)
        return updates, WatchState(inner, charges, tuple(laws))

    return optax.GradientTransformationExtraArgs(init, update)


def _measure(
    found: Conserving, before: Charges, params: Params, gradient: Params, updates: Params, after: Params
) -> list[_Step]:
    """The charges around an update, and both orders of the difference."""
    moved = jax.tree.map(lambda new, old: new - old, after, params)
    columns = (
        found.leaves(before.measured),
        found.halved(found.pair(params, params)),
        found.halved(found.pair(after, after)),
        found.leaves(before.size),
        found.pair(params, gradient),
        found.pair(params, moved),
        found.halved(found.pair(moved, moved), linear=0.0),
    )
    return [_Step(*each) for each in zip(*columns, strict=True)]


def _accumulate(own: Orders, step: _Step) -> Orders:
    change = (step.before - step.last) + (step.first + step.second)
    return Orders(own.start, *compensated_add(own.increment, own.compensation, change))


class _Rule(NamedTuple):
    learning_rate: jax.Array
    momentum: jax.Array
    weight_decay: jax.Array
    dampening: jax.Array


def _numbers(law: Descent, step: jax.Array) -> _Rule:
    rate = law.learning_rate(step) if callable(law.learning_rate) else law.learning_rate
    return _Rule(*(jnp.asarray(one, jnp.result_type(float)) for one in (rate, *law[1:4])))


def _drive(
    found: Conserving, steps: list[_Step], law: Descent, rule: _Rule, params: Params, gradient: Params, updates: Params
) -> list[_Step]:
    """Add what the law of descent is fed with: the square of the direction, its product with the buffer, the decay."""
    still = rule.learning_rate == 0
    rate = jnp.where(still, 1, rule.learning_rate)
    direction = jax.tree.map(lambda d: jnp.where(still, 0, -d / rate.astype(d.dtype)), updates)
    mask = jax.tree.map(lambda _: True, params) if law.decay_mask is None else law.decay_mask
    decay = jax.tree.map(lambda q, on: jnp.where(on, rule.weight_decay.astype(q.dtype) * q, 0), params, mask)
    square, cross = found.pair(direction, direction), None
    if law.nesterov:
        # u = g + k q + beta v; without momentum the buffer is the direction
        beta = jnp.where(rule.momentum == 0, 1, rule.momentum)

        def buffer(u: jax.Array, g: jax.Array, kq: jax.Array) -> jax.Array:
            return jnp.where(rule.momentum == 0, u, (u - g - kq) / beta.astype(u.dtype))

        cross = found.pair(direction, jax.tree.map(buffer, direction, gradient, decay))
    decays = found.pair(params, decay)
    crosses = cross or [None] * len(steps)
    columns = zip(steps, square, crosses, decays, strict=True)
    return [step._replace(square=a, cross=b, decay=c) for step, a, b, c in columns]


def _begin(word: Form, value: jax.Array, law: Descent | None) -> QuadraticState | LinearState | Orders:
    if law is None:
        return Orders(value, jnp.zeros_like(value), jnp.zeros_like(value))
    return linear_start(value) if word == "linear" else quadratic_start(2 * value)


def _descend(
    word: Form, own: QuadraticState | LinearState, step: _Step, rule: _Rule, nesterov: bool
) -> QuadraticState | LinearState:
    """One step of the exact law; a jump before it is followed, as a rescaling along the charge's coordinate."""
    numbers = {**rule._asdict(), "weight_decay": 0.0, "nesterov": nesterov}
    jump = step.before - step.last
    jumped = jnp.abs(jump) > 1e3 * jnp.finfo(jump.dtype).eps * step.size
    residual = step.residual + step.decay
    if word == "linear":
        increment, compensation = compensated_add(own.increment, own.compensation, jnp.where(jumped, jump, 0))
        own = own._replace(increment=increment, compensation=compensation)
        return linear_step(own, residual=residual, **numbers)
    ratio = jnp.where(jumped & (step.last != 0), step.before / jnp.where(step.last == 0, 1, step.last), 1)
    increment, compensation = compensated_add(own.increment, own.compensation, jnp.where(jumped, 2 * jump, 0))
    own = own._replace(increment=increment, compensation=compensation, gain=jnp.sqrt(jnp.maximum(ratio, 0)))
    return quadratic_step(own, square=step.square, residual=residual, cross=step.cross, **numbers)


def _predicted(own: QuadraticState | LinearState | Orders) -> jax.Array:
    value = (own.start + own.increment) - own.compensation
    return value / 2 if isinstance(own, QuadraticState) else value


def _error(worst: jax.Array, own: QuadraticState | LinearState | Orders, step: _Step) -> jax.Array:
    twice = 2 if isinstance(own, QuadraticState) else 1
    # the difference of two charges near each other is exact, the sum of a charge and a small drift is not
    missed = (twice * step.after - own.start) - (own.increment - own.compensation)
    return jnp.maximum(worst, jnp.abs(missed) / (twice * step.size))
