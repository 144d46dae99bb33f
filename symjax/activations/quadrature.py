"""A user's own activation, the primitive of sigma/sigma' by quadrature."""

from functools import partial
from math import inf, isfinite

import jax
import jax.numpy as jnp
import numpy as np

from symjax.activations.registry import Activation, Group, Map


def custom(
    name: str,
    function: Map,
    *,
    base: float = 0.0,
    derivative: Map | None = None,
    inverse: Map | None = None,
    range: tuple[float, float] = (-inf, inf),
    lipschitz: float = inf,
    degree: float | None = None,
    group: Group = "permutation",
    panels: int = 8,
    nodes: int = 16,
) -> Activation:
    """Make a pointwise activation whose primitive is integrated numerically.

    ``P(x) = integral of sigma/sigma' from base to x`` by Gauss-Legendre quadrature on equal panels; its derivative is
    sigma/sigma' exactly. The path from ``base`` to x must not meet sigma' = 0: ``defined`` is False where sigma'
    changes its sign there, where the integrand is not finite, or where a rule of three quarters of the nodes
    disagrees.

    Source: Zhao et al. 2023, section 4 (conserved quantities of a general pointwise activation).

    Args:
      name: how errors call it.
      function: sigma, entry by entry, differentiable by jax unless ``derivative`` is given.
      base: where the primitive is 0.
      derivative: sigma'; None differentiates ``function``.
      inverse: of sigma, for the finite flow.
      range: open interval of the values of sigma.
      lipschitz: a Lipschitz constant, if known.
      degree: of homogeneity, if it is homogeneous.
      group: the equivariance group, if larger than permutations.
      panels: number of panels of the quadrature.
      nodes: number of nodes in each panel.

    Returns:
      The activation. Keep it: jitted functions recompile for each new one.

    Raises:
      ValueError: ``panels`` or ``nodes`` too few, or ``base`` not finite.

    Example:
      >>> import jax.numpy as jnp
      >>> sinh = custom("sinh", jnp.sinh)
      >>> print(f"{sinh.primitive(jnp.array(1.0)):.4f} {jnp.log(jnp.cosh(1.0)):.4f}")
      0.4338 0.4338
    """
    if panels < 1 or nodes < 4:
        raise ValueError(f"panels is {panels} and nodes is {nodes}, but they must be at least 1 and 4")
    if not isfinite(base):
        raise ValueError(f"base is {base}, but it must be a finite number")
    slope = partial(_derivative, function) if derivative is None else derivative
    return Activation(
        name=name,
        function=function,
        derivative=slope,
        primitive=_quadrature_primitive(function, slope, base, panels, nodes),
        inverse=inverse,
        range=range,
        lipschitz=lipschitz,
        degree=degree,
        group=group,
        defined=partial(_path_is_free, function, slope, base, panels, nodes),
    )


def _derivative(function: Map, x: jax.Array) -> jax.Array:
    return jax.jvp(function, (x,), (jnp.ones_like(x),))[1]


def _rule(x: jax.Array, base: float, panels: int, nodes: int) -> tuple[jax.Array, jax.Array]:
    """Nodes of the composite rule, a new last axis in order from base to x, and weights that sum to x - base."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    node = (np.arange(panels)[:, None] + (1 + node) / 2).reshape(-1) / panels
    weight = np.tile(weight / (2 * panels), panels)
    length = (x - base)[..., None]
    node, weight = (jnp.asarray(each, x.dtype).reshape((1,) * x.ndim + (-1,)) for each in (node, weight))
    return base + length * node, length * weight


def _quadrature_primitive(function: Map, derivative: Map, base: float, panels: int, nodes: int) -> Map:
    @jax.custom_jvp
    def primitive(x: jax.Array) -> jax.Array:
        t, weight = _rule(x, base, panels, nodes)
        return jnp.sum(weight * (function(t) / derivative(t)), axis=-1)

    @primitive.defjvp
    def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
        (x,), (dx,) = primals, tangents
        return primitive(x), function(x) / derivative(x) * dx

    return primitive


def _path_is_free(function: Map, derivative: Map, base: float, panels: int, nodes: int, x: jax.Array) -> jax.Array:
    def integral(count: int) -> tuple[jax.Array, jax.Array]:
        t, weight = _rule(x, base, panels, count)
        # The two ends belong to the path, but a zero of sigma' at the base alone may be removable (a cube at 0).
        slope = derivative(jnp.concatenate([t, x[..., None]], axis=-1))
        one_sign = jnp.all(slope > 0, axis=-1) | jnp.all(slope < 0, axis=-1)
        values = function(t) / slope[..., :-1]
        return jnp.sum(weight * values, axis=-1), one_sign & jnp.all(jnp.isfinite(values), axis=-1)

    (fine, free), (coarse, also) = integral(nodes), integral(max(3, 3 * nodes // 4))
    tolerance = 1e3 * jnp.finfo(x.dtype).eps + 1e-10
    agree = jnp.abs(fine - coarse) <= tolerance * (jnp.abs(fine) + jnp.abs(x - base))
    return (x == base) | (free & also & agree)
