"""What gradient flow conserves along each generator of a symmetry: its form, and its value.

A charge is ``Q = <theta, M theta>/2`` of a symmetric linear generator M, or ``Q = <theta, n>`` of a translation along
n; signs are the flow's own, as everywhere in :mod:`symjax.symmetry`.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype, floating_tree
from symjax.symmetry import Coordinates, Params, Symmetry, pairing

__all__ = ["Charge", "Conserving", "Form", "charge", "conserving", "forms", "sizes"]

Form = Literal["quadratic", "matrix", "linear", "none"]


class Charge(NamedTuple):
    """What gradient flow conserves: pytrees like the symmetry's zero.

    Attributes:
      form: of each leaf, as :func:`forms` gives them.
      value: Q, None where nothing is conserved.
    """

    form: Coordinates
    value: Coordinates


def charge(symmetry: Symmetry, params: Params) -> Charge:
    """Evaluate what gradient flow conserves along each generator, and say which form it has.

    ``<theta, M theta>/2`` where M is linear and symmetric, ``<theta, n>`` where it is a translation, nothing elsewhere.

    Source: Zhao et al. 2023, section 4 (Q from a symmetric M).

    Args:
      symmetry: the flow and its zero.
      params: pytree of arrays.

    Returns:
      A :class:`Charge`.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.symmetry import compose
      >>> scale, shift = (Symmetry(flow, jnp.zeros(())) for flow in (lambda s, q: jnp.exp(s) * q, lambda s, q: q + s))
      >>> both = compose(scale=scale, shift=shift)
      >>> found = charge(both, jnp.array([3.0, 4.0]))
      >>> print(found.form, found.value["scale"], found.value["shift"])
      {'scale': 'quadratic', 'shift': 'linear'} 12.5 7.0
    """
    params = floating_tree("params", params)
    found = conserving(symmetry, params)
    value = found.tree(found.halved(found.pair(params, params)))
    return Charge(jax.tree.unflatten(jax.tree.structure(symmetry.zero), found.forms), value)


def conserving(symmetry: Symmetry, params: Params, form: Any = None) -> "Conserving":
    """Find the leaves of coordinates with a charge; ``form``, where given, is a pytree of words instead of asking."""
    found = forms(symmetry, params) if form is None else form
    return Conserving(symmetry, tuple(jax.tree.leaves(found)))


class Conserving(NamedTuple):
    """The leaves of a symmetry's coordinates along which gradient flow conserves something, and what.

    Attributes:
      symmetry: the flow and its zero.
      forms: one for each leaf of ``symmetry.zero``.
    """

    symmetry: Symmetry
    forms: tuple[Form, ...]

    @property
    def kept(self) -> tuple[Form, ...]:
        """The forms of the leaves that are kept."""
        return tuple(form for form in self.forms if form != "none")

    def pair(self, point: Params, covector: Params) -> list[jax.Array]:
        """``<covector, M point>``, of a linear group's entries the symmetric part."""
        paired = self.leaves(pairing(self.symmetry, point, covector))
        return [
            (one + jnp.swapaxes(one, -1, -2)) / 2 if form == "matrix" else one
            for form, one in zip(self.kept, paired, strict=True)
        ]

    def halved(self, values: list[jax.Array], linear: float = 1.0) -> list[jax.Array]:
        """Half of each form that is quadratic, ``linear`` times the others."""
        return [value * (linear if form == "linear" else 0.5) for form, value in zip(self.kept, values, strict=True)]

    def leaves(self, tree: Coordinates) -> list[jax.Array]:
        """Those leaves of a pytree like the symmetry's zero, where they may be left out already."""
        found = jax.tree.leaves(tree)
        if len(found) == len(self.forms):
            return [leaf for form, leaf in zip(self.forms, found, strict=True) if form != "none"]
        return found

    def tree(self, leaves: list[jax.Array]) -> Coordinates:
        """A pytree like the symmetry's zero of them, None elsewhere."""
        rest = iter(leaves)
        filled = [None if form == "none" else next(rest) for form in self.forms]
        return jax.tree.unflatten(jax.tree.structure(self.symmetry.zero), filled)


def forms(symmetry: Symmetry, params: Params) -> Coordinates:
    """Say of each leaf of a symmetry's coordinates what gradient flow conserves along it.

    ``"quadratic"``: ``<theta, M theta>/2`` of every generator, which is linear and symmetric; ``"matrix"``: the same of
    the symmetric part of every entry (i, j) of a linear group, whose transposed generator is that of (j, i);
    ``"linear"``: ``<theta, n>`` of every generator, which is a translation along n; ``"none"``: anything else. The
    generators are asked on random points of the parameters' shapes.

    Source: Zhao et al. 2023, section 4 (Q from a symmetric M).

    Args:
      symmetry: the flow and its zero.
      params: pytree of arrays; shapes and dtypes alone are read.

    Returns:
      A pytree like ``symmetry.zero`` of :data:`Form`.

    Example:
      >>> import jax.numpy as jnp
      >>> forms(Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros(())), jnp.ones(3))
      'quadratic'
    """
    leaves, structure = jax.tree.flatten(params)

    def point(place: int) -> Params:
        random = np.random.default_rng(place)  # by NumPy: nothing is compiled for each shape
        drawn = [
            random.normal(size=jnp.shape(leaf)).astype(accumulation_dtype(jnp.result_type(leaf))) for leaf in leaves
        ]
        return jax.tree.unflatten(structure, drawn)

    with jax.ensure_compile_time_eval():  # under a transformation too: nothing but shapes is read
        x, y, z = (point(place) for place in range(3))
        asked = ((x, y), (y, x), (z, y), (jax.tree.map(np.add, x, z), y))
        # one program for four questions; zero is an argument, or what depends on it alone would run step by step
        pair = jax.jit(lambda zero, point, covector: pairing(Symmetry(symmetry.flow, zero), point, covector))
        pairs = [[np.asarray(one, np.float64) for one in jax.tree.leaves(pair(symmetry.zero, *each))] for each in asked]
    eps = max(float(jnp.finfo(accumulation_dtype(jnp.result_type(leaf))).eps) for leaf in leaves)
    found = [_form(*each, eps) for each in zip(*pairs, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(symmetry.zero), found)


def _form(xy: np.ndarray, yx: np.ndarray, zy: np.ndarray, both: np.ndarray, eps: float) -> Form:
    """The form of one leaf from ``<y, M x>``, ``<x, M y>``, ``<y, M z>`` and ``<y, M (x + z)>``."""

    def same(one: np.ndarray, other: np.ndarray) -> bool:
        return one.size > 0 and bool(np.all(np.abs(one - other) <= 1e4 * eps * np.max(np.abs([one, other]), initial=0)))

    if same(xy, zy) and same(xy, both):
        return "linear"
    if not same(xy + zy, both):
        return "none"
    if same(xy, yx):
        return "quadratic"
    square = xy.ndim >= 2 and xy.shape[-1] == xy.shape[-2]
    return "matrix" if square and same(np.swapaxes(xy, -1, -2), yx) else "none"


def sizes(found: Conserving, params: Params) -> list[jax.Array]:
    """What cancels in each charge, beside which it is large or small.

    ``|M theta|^2/2``, for degrees +-1 the half of the squares whose difference Q is; of a translation the sum of the
    absolute values whose sum Q is. Where that is zero the largest of the leaf stands, or 1.
    """
    wide = jax.tree.map(lambda leaf: leaf.astype(accumulation_dtype(leaf.dtype)), params)
    zero = jax.tree.map(lambda leaf: leaf.astype(accumulation_dtype(leaf.dtype)), found.symmetry.zero)
    coordinates, structure = jax.tree.leaves(zero), jax.tree.structure(zero)

    def squares(place: jax.Array) -> list[jax.Array]:
        # within a leaf the generators act on different entries, so one tangent vector serves all of them
        units = [_unit(*one) for one in zip(found.forms, coordinates, strict=True)]
        ones = [jnp.where(place == index, unit, 0) for index, unit in enumerate(units)]
        tangent = jax.jvp(lambda s: found.symmetry.flow(s, wide), (zero,), (jax.tree.unflatten(structure, ones),))[1]
        return found.pair(wide, tangent)

    places = [place for place, form in enumerate(found.forms) if form not in ("none", "linear")]
    every = jax.lax.map(squares, jnp.array(places)) if places else []
    absolute = found.pair(wide, jax.tree.map(jnp.abs, wide))
    result: list[jax.Array] = []
    row = 0
    for form in found.kept:
        size = jnp.abs(absolute[len(result)])
        if form != "linear":
            size, row = jnp.abs(every[len(result)][row]) / 2, row + 1
        if form == "matrix":
            unit = jnp.sqrt(jnp.diagonal(size, axis1=-2, axis2=-1))
            size = unit[..., :, None] * unit[..., None, :]
        largest = jnp.max(size, initial=0.0)
        result.append(jnp.where(size > 0, size, jnp.where(largest > 0, largest, 1)))
    return result


def _unit(form: Form, leaf: jax.Array) -> jax.Array:
    """All generators of a leaf at once; of a linear group those of its diagonal."""
    return (
        jnp.broadcast_to(jnp.eye(leaf.shape[-1], dtype=leaf.dtype), leaf.shape)
        if form == "matrix"
        else jnp.ones_like(leaf)
    )
