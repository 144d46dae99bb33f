"""The conserved quantity of any flow with symmetric linear generators, and the identity in its place for the others."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accurate_tree, inner_product, is_concrete, require_same_shapes
from symjax.symmetry import Coordinates, Params, Symmetry, pairing

__all__ = ["PolarForm", "has_quadratic", "polar_form", "quadratic", "require_quadratic", "unchecked_quadratic"]


class PolarForm(NamedTuple):
    """Both sides of the polar identity; they agree along gradient flow if M generates a symmetry.

    Attributes:
      quadratic: scalar, ``d/dt <theta, S theta>/2``.
      areal: scalar, ``sum over i < j of A_ij r_ij^2 dphi_ij/dt``.
    """

    quadratic: jax.Array
    areal: jax.Array


def quadratic(symmetry: Symmetry, params: Params) -> Coordinates:
    """Evaluate the conserved quantity of every symmetric linear generator of a flow, all in one reverse pass.

    ``Q_M = <theta, M theta>/2``, one number for each coordinate of the flow: all channels of a network at once with
    ``symjax.channels.scalings(channels, "rescale")``. Signs follow the flow's generators.
    Others have no such quantity and are refused: a translation conserves ``<theta, n>``, an antisymmetric generator
    nothing of the position alone (:func:`polar_form`), a pointwise activation :func:`pointwise`.

    Source: Zhao et al. 2023, section 4 (Q from a symmetric M).

    Args:
      symmetry: its flow linear in ``params``, and its zero.
      params: pytree of arrays.

    Returns:
      A pytree like ``symmetry.zero``.

    Raises:
      ValueError: a generator that is not linear and symmetric (:func:`has_quadratic`, which looks at random vectors in
        the place of the parameters, so that this is seen under a transformation of jax too, before anything runs).

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.symmetry import Symmetry
      >>> opposite = Symmetry(lambda s, q: (jnp.exp(s) * q[0], jnp.exp(-s) * q[1]), jnp.zeros(()))
      >>> print(quadratic(opposite, (jnp.array([3.0]), jnp.array([1.0]))))
      4.0
    """
    params = accurate_tree("params", params)
    require_quadratic(symmetry, params)
    return unchecked_quadratic(symmetry, params)


def has_quadratic(symmetry: Symmetry, params: Params) -> Coordinates:
    """Say which generators have a quadratic charge: linear ones that are symmetric, or come with their transposes.

    Symmetric is ``<y, F(x)> = <x, F(y)>`` at random x and y in the place of the parameters. A vector field F with that
    for all of them is linear, because the right side is linear in x. For coordinates (..., h, h), as those of GL(h), it
    is also enough that the generator of (j, i) is the transpose of that of (i, j): ``<theta, M theta>`` is that of the
    symmetric part, which is then in the algebra.

    Source: Zhao et al. 2023, section 4 (Q from a symmetric M); the identity is derived.

    Args:
      symmetry: the flow and its zero.
      params: pytree of arrays; only shapes and dtypes are read.

    Returns:
      A pytree like ``symmetry.zero`` of booleans; traced ones only if the flow itself reads traced values.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.symmetry import Symmetry
      >>> scale, shift = (Symmetry(flow, 0.0) for flow in (lambda s, q: jnp.exp(s) * q, lambda s, q: s + q))
      >>> q = jnp.array([3.0, 4.0])
      >>> print(has_quadratic(scale, q), has_quadratic(shift, q))
      True False
    """
    params = accurate_tree("params", params)
    rng = np.random.default_rng(0)
    with jax.ensure_compile_time_eval():
        if not is_concrete(symmetry.zero):
            zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), symmetry.zero)
            symmetry = symmetry._replace(zero=zero)
        pairs = []
        for _ in range(2):
            x, y = (jax.tree.map(lambda leaf: _normal(rng, leaf), params) for _ in range(2))
            pairs.append((pairing(symmetry, x, y), pairing(symmetry, y, x)))
        tolerance = 1e-2 if any(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((params, pairs))) else 1e-6
        return jax.tree.map(partial(_equal, tolerance), *(leaf for pair in pairs for leaf in pair))


def _equal(tolerance: float, *values: jax.Array) -> jax.Array:
    """Whether the first of each pair is the second, or its transpose, beside their sizes over all pairs together."""
    firsts, seconds = values[::2], values[1::2]

    def same(others: tuple[jax.Array, ...]) -> jax.Array:
        gap = sum(jnp.abs(one - two) for one, two in zip(firsts, others, strict=True))
        return gap <= tolerance * sum(jnp.abs(one) + jnp.abs(two) for one, two in zip(firsts, others, strict=True))

    shape = firsts[0].shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        return same(seconds)
    return same(seconds) | same(tuple(jnp.swapaxes(two, -1, -2) for two in seconds))


def require_quadratic(symmetry: Symmetry, params: Params) -> None:
    """Refuse a generator without a quadratic charge, by a ValueError that names its coordinate."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(has_quadratic(symmetry, params))[0]:
        if is_concrete(leaf) and not np.asarray(leaf).all():
            index = np.argwhere(~np.asarray(leaf))[0].tolist()
            place = jax.tree_util.keystr(path) + (str(index) if index else "")
            raise ValueError(
                f"the generator of coordinate {place or 's'} is not linear and symmetric, so it does not conserve "
                "<theta, M theta>/2; a translation conserves <theta, n>, see polar_form for antisymmetric ones"
            )


def unchecked_quadratic(symmetry: Symmetry, params: Params) -> Coordinates:
    """Evaluate :func:`quadratic` of a flow that is known to have one."""
    return jax.tree.map(lambda leaf: leaf / 2, pairing(symmetry, params, params))


def polar_form(generator: Callable[[Params], Params], params: Params, velocity: Params) -> PolarForm:
    """Evaluate both sides of the polar identity of a linear generator ``M = S + A``, symmetric plus antisymmetric.

    ``d/dt <theta, S theta>/2 = sum over i < j of A_ij r_ij^2 dphi_ij/dt``, with polar coordinates ``r, phi`` in the
    plane of parameters i and j, ``r_ij^2 dphi_ij/dt = theta_i theta_j' - theta_j theta_i'``. It holds along gradient
    flow if M is in the symmetry algebra. If S alone is in it too (GL(h)), both sides vanish; if not (a spiral), the
    quadratic form is not conserved. The transpose of M is
    found by automatic differentiation; no matrix is formed.

    Source: Zhao et al. 2023, section 4 and appendix (polar form).

    Args:
      generator: linear map, ``theta -> M theta``, params to params.
      params: pytree of arrays, theta.
      velocity: pytree like ``params``; for gradient flow minus the gradient.

    Returns:
      A :class:`PolarForm`; ``quadratic`` is 0 if M is antisymmetric, ``areal`` if it is symmetric.

    Raises:
      ValueError: a velocity of another structure, or a generator that is not linear or leaves the shapes of params.

    Example:
      >>> import jax.numpy as jnp
      >>> quarter = lambda q: jnp.array([[0.0, 1.0], [-1.0, 0.0]]) @ q
      >>> print(polar_form(quarter, jnp.array([2.0, 0.0]), jnp.array([0.0, 3.0])).areal)
      6.0
    """
    params, velocity = accurate_tree("params", params), accurate_tree("velocity", velocity)
    require_same_shapes("velocity", velocity, "params", params)
    image = generator(params)
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (image, params)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"generator returns the shapes {shapes[0]}, but must map params to params: {shapes[1]}")
    try:
        transposed = jax.linear_transpose(generator, params)(
            jax.tree.map(lambda leaf, like: like.astype(leaf.dtype), image, params)
        )[0]
    except (NotImplementedError, TypeError, AssertionError, ValueError):
        raise ValueError("generator is not linear in params, but the polar identity is of a linear one") from None
    forward, backward = inner_product(velocity, image), inner_product(velocity, transposed)
    return PolarForm((forward + backward) / 2, (backward - forward) / 2)


def _normal(rng: np.random.Generator, leaf: Any) -> jax.Array:
    return jnp.asarray(rng.standard_normal(jnp.shape(leaf)), leaf.dtype)
