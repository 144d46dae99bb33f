"""The optax transformation that watches: the user's optimiser inside, the charges of a symmetry around it."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from symjax.arguments import floating_tree
from symjax.conserved.charge import Conserving, conserving, sizes
from symjax.symmetry import Params, Symmetry
from symjax.watch.charges import Balance, Charges, Kind, Step, advance, balance_error, balance_start, join, split
from symjax.watch.descent import Descent, Law, descend, fixed_charges, law_error, law_inner, law_start, law_value

__all__ = ["WatchState", "watch"]


class WatchState(NamedTuple):
    """What a watched optimiser carries along.

    Attributes:
      inner: the optimiser's own state.
      charges: what is known of the charges.
      balances: where their changes came from; all charges of one form as one vector.
      laws: states of :mod:`symjax.mechanics.discrete` of the same vectors; empty without a law.
    """

    inner: Any
    charges: Charges
    balances: tuple[Balance, ...]
    laws: tuple[Law, ...]


def watch(
    optimiser: Any,
    symmetry: Symmetry,
    law: Descent | None = None,
    form: Any = None,
    between: Literal["followed", "nothing"] = "followed",
) -> Any:
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
      between: what else changes the parameters. ``"followed"``: where they change between two steps Q jumps with them;
        it is measured before each step too, and the law of descent follows a jump exactly where it is a rescaling along
        the charge's own coordinate. ``"nothing"``, but for what ``law.fixed`` sets back, saves that measurement.

    Returns:
      An ``optax.GradientTransformation`` whose ``update`` needs the parameters; ``state.charges`` is :class:`Charges`.

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
    if between not in ("followed", "nothing"):
        raise ValueError(f"between is {between!r}, but must be 'followed' or 'nothing'")
    import optax  # late: the library needs jax alone, and who has an optimiser has optax

    remembered: dict[Any, Conserving] = {}  # by structure, shapes and dtypes of parameters, which are all it reads

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
        joined = join(found, values)
        measured, nothing = found.tree(values), found.tree([jnp.zeros_like(value) for value in values])
        laws = ()
        if law is not None:
            fixed_charges(found, law)
            laws = tuple(law_start(*each) for each in joined.items())
        sums = (nothing,) * 7  # the error, the residual, both orders and their sums, the inner products
        charges = Charges(jnp.zeros((), jnp.int32), measured, measured, *sums, found.tree(sizes(found, params)))
        return WatchState(optimiser.init(params), charges, tuple(map(balance_start, joined.values())), laws)

    def update(gradient: Params, state: WatchState, params: Params = None, **extra: Any) -> tuple[Params, WatchState]:
        if params is None:
            raise ValueError("params is None, but a watched optimiser reads them: update(gradient, state, params)")
        if jax.tree.structure(params) != jax.tree.structure(gradient):
            raise ValueError("params and gradient have different tree structures, but must have the same leaves")
        updates, inner = optax.with_extra_args_support(optimiser).update(gradient, state.inner, params, **extra)
        found, before = kept(params), state.charges
        after = optax.apply_updates(params, updates)
        # what the rule means is free of the parameters' rounding; what happened to them makes the identity exact
        moved = jax.tree.map(lambda new, old: new - old, after, params) if law is None else updates
        last = found.leaves(before.measured)
        now = found.halved(found.pair(params, params)) if between == "followed" else None
        steps = _measure(found, (last, now, found.leaves(before.size)), params, gradient, moved, after)
        balances = [advance(*each) for each in zip(state.balances, steps.values(), strict=True)]
        known = _predict(found, law, state, balances, steps, (params, gradient, updates))

        def tree(vectors: Iterable[jax.Array]) -> Any:
            return found.tree(split(found, dict(zip(steps, vectors, strict=True)), last))

        charges = Charges(
            before.step + 1,
            tree(step.after for step in steps.values()),
            tree(known.predicted),
            jax.tree.map(jnp.maximum, before.error, tree(known.error)),
            *(tree(getattr(step, name) for step in steps.values()) for name in ("residual", "first", "second")),
            *(tree(getattr(one, name) for one in balances) for name in ("first", "second")),
            tree(known.inner),
            before.size,
        )
        return updates, WatchState(inner, charges, tuple(balances), known.laws)

    return optax.GradientTransformationExtraArgs(init, update)


def _measure(
    found: Conserving,
    known: tuple[list[jax.Array], ...],
    params: Params,
    gradient: Params,
    moved: Params,
    after: Params,
) -> dict[Kind, Step]:
    """The charges around an update, and both orders of the difference; known are the last ones, those now, sizes."""
    columns = (
        *known,
        found.halved(found.pair(after, after)),
        found.pair(params, gradient),
        found.pair(params, moved),
        found.halved(found.pair(moved, moved), linear=0.0),
    )
    vectors = [None if leaves is None else join(found, leaves) for leaves in columns]
    return {kind: Step(*(None if one is None else one[kind] for one in vectors)) for kind in vectors[0]}


class _Predicted(NamedTuple):
    """The laws after a step and what they say, an entry for each kind of charges."""

    laws: tuple[Law, ...]
    predicted: list[jax.Array]
    error: list[jax.Array]
    inner: list[jax.Array]


def _predict(
    found: Conserving,
    law: Descent | None,
    state: WatchState,
    balances: list[Balance],
    steps: dict[Kind, Step],
    around: tuple[Params, Params, Params],
) -> _Predicted:
    """Predict the charges by the law from the parameters, the gradient and the updates, or by both orders."""
    if law is None:
        predicted = [one.start + (one.first + one.second + one.jumps) for one in balances]
        errors = [balance_error(*each) for each in zip(balances, steps.values(), strict=True)]
        return _Predicted((), predicted, errors, [jnp.zeros_like(one) for one in predicted])
    own, fixed = (
        descend(found, law, dict(zip(steps, state.laws, strict=True)), steps, *around),
        fixed_charges(found, law),
    )
    errors = [law_error(own[kind], step, fixed[kind]) for kind, step in steps.items()]
    laws = tuple(own.values())
    return _Predicted(laws, [law_value(one) for one in laws], errors, [law_inner(one) for one in laws])
