"""The primitive of sigma/sigma' by quadrature, for a user's own activation."""

import jax
import jax.numpy as jnp
import numpy as np

from symjax.activations.registry import Map


def derivative_of(function: Map, x: jax.Array) -> jax.Array:
    return jax.jvp(function, (x,), (jnp.ones_like(x),))[1]


def _rule(x: jax.Array, base: float, panels: int, nodes: int) -> tuple[jax.Array, jax.Array]:
    """Nodes of the composite rule, a new last axis in order from base to x, and weights that sum to x - base."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    node = (np.arange(panels)[:, None] + (1 + node) / 2).reshape(-1) / panels
    weight = np.tile(weight / (2 * panels), panels)
    length = (x - base)[..., None]
    node, weight = (jnp.asarray(each, x.dtype).reshape((1,) * x.ndim + (-1,)) for each in (node, weight))
    return base + length * node, length * weight


def quadrature_primitive(function: Map, derivative: Map, base: float, panels: int, nodes: int) -> Map:
    """Integrate ``sigma/sigma'`` from base to x by Gauss-Legendre quadrature; its derivative is exact."""

    @jax.custom_jvp
    def primitive(x: jax.Array) -> jax.Array:
        t, weight = _rule(x, base, panels, nodes)
        return jnp.sum(weight * (function(t) / derivative(t)), axis=-1)

    @primitive.defjvp
    def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
        (x,), (dx,) = primals, tangents
        return primitive(x), function(x) / derivative(x) * dx

    return primitive


def path_is_free(function: Map, derivative: Map, base: float, panels: int, nodes: int, x: jax.Array) -> jax.Array:
    """Say where sigma' keeps its sign on the way from base to x and a rule of three quarters of the nodes agrees."""

    def integral(count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        t, weight = _rule(x, base, panels, count)
        # The two ends belong to the path, but a zero of sigma' at the base alone may be removable (a cube at 0).
        slope = derivative(jnp.concatenate([t, x[..., None]], axis=-1))
        one_sign = jnp.all(slope > 0, axis=-1) | jnp.all(slope < 0, axis=-1)
        values = function(t) / slope[..., :-1]
        size = jnp.sum(jnp.abs(weight * values), axis=-1)
        return jnp.sum(weight * values, axis=-1), size, one_sign & jnp.all(jnp.isfinite(values), axis=-1)

    (fine, size, free), (coarse, _, also) = integral(nodes), integral(max(3, 3 * nodes // 4))
    tolerance = 1e3 * jnp.finfo(x.dtype).eps + 1e-10
    agree = jnp.abs(fine - coarse) <= tolerance * size
    return (x == base) | (free & also & agree)
