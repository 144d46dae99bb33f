"""What a pointwise activation's symmetry needs: sigma/sigma', where its primitive exists, and the finite flow."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from symjax.activations.registry import Activation, get, names


def ratio(x: jax.Array, activation: str | Activation) -> jax.Array:
    """Evaluate ``sigma(x)/sigma'(x)`` as the derivative of the primitive, without the division where that is known.

    Source: Zhao et al. 2023, section 4; 0 where sigma = sigma' = 0 (ReLU left of 0).

    Args:
      x: array, floating.
      activation: a pointwise activation.

    Returns:
      An array like ``x``.

    Raises:
      ValueError: an activation that is not pointwise.

    Example:
      >>> import jax.numpy as jnp
      >>> print(ratio(jnp.array([-1.0, 2.0]), "relu"))
      [0. 2.]
    """
    return _ratio(x, _pointwise(get(activation), "the ratio sigma/sigma'"))


def defined(x: jax.Array, activation: str | Activation) -> jax.Array:
    """Say where the primitive of sigma/sigma' exists, the explicit status for compiled code.

    False where the path of integration meets sigma' = 0 (or the quadrature did not converge) and where the primitive
    overflows.

    Source: Zhao et al. 2023, section 4: the conserved quantity needs sigma' != 0 on the path.

    Args:
      x: array, floating.
      activation: a pointwise activation.

    Returns:
      Booleans of the shape of ``x``.

    Raises:
      ValueError: an activation that is not pointwise.
    """
    return _defined(x, _pointwise(get(activation), "the primitive of sigma/sigma'"))


def flow(
    s: jax.Array, params: tuple[jax.Array, jax.Array], activation: str | Activation
) -> tuple[jax.Array, jax.Array]:
    """Flow of a pointwise activation: ``U -> U e^s``, ``sigma(V) -> e^-s sigma(V)``, neuron by neuron.

    With X the identity, U sigma(V) is unchanged (for X square orthogonal give V X in the place of V).
    ``partial(flow, activation=...)`` is a flow in the sense of :mod:`symjax.symmetry`; its generator is
    ``(U, -sigma/sigma'(V))``. Entries with sigma = 0 stay where they are. It has a domain, see :func:`valid`.

    Source: Zhao et al. 2023, section 4 (general pointwise activations).
    Deviation: data that are merely whitened, with more samples than inputs, do not have this symmetry.

    Args:
      s: array (h,), the logarithm of the factor of each neuron.
      params: ``(u, v)``, arrays (m, h) and (h, n).
      activation: a pointwise activation with an inverse.

    Returns:
      ``(u, v)`` after the flow. Under a transformation of jax, entries outside the domain are NaN and :func:`valid` is
      their status.

    Raises:
      ValueError: an activation without an inverse, shapes that do not fit, or concrete ``s`` outside the domain.

    Example:
      >>> import jax.numpy as jnp
      >>> u, v = flow(jnp.log(jnp.array([2.0])), (jnp.ones((1, 1)), jnp.full((1, 1), 3.0)), "relu")
      >>> print(u, v)
      [[2.]] [[1.5]]
    """
    chosen = _invertible(s, params, activation)
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in (s, *params)):
        inside = np.asarray(_valid(s, params[1], chosen))
        if not inside.all():
            neuron = int(np.argmin(inside))
            raise ValueError(
                f"s is {float(s[neuron])} for neuron {neuron}, but e^-s sigma(V) must stay inside the range "
                f"{chosen.range} of activation {chosen.name!r}; see valid(s, params, activation)"
            )
    return _flow(s, params, chosen)


def valid(s: jax.Array, params: tuple[jax.Array, jax.Array], activation: str | Activation) -> jax.Array:
    """Say for which neurons the flow of :func:`flow` is defined: ``e^-s sigma(V)`` stays inside the range of sigma.

    Where sigma(V) rounds to an end of the range (tanh beyond 19 in float64) the flow cannot be computed and is not
    valid, whatever s.

    Source: Zhao et al. 2023, section 4; the domain is derived (sigmoid leaves its range at s = -1).

    Args:
      s: array (h,).
      params: ``(u, v)``, arrays (m, h) and (h, n).
      activation: a pointwise activation with an inverse.

    Returns:
      Booleans (h,).

    Raises:
      ValueError: an activation without an inverse, or shapes that do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> params = jnp.ones((1, 2)), jnp.zeros((2, 1))
      >>> print(valid(jnp.array([-1.0, 1.0]), params, "sigmoid"))
      [False  True]
    """
    return _valid(s, params[1], _invertible(s, params, activation))


def _pointwise(activation: Activation, what: str) -> Activation:
    if not activation.pointwise or activation.primitive is None:
        allowed = ", ".join(name for name in names() if get(name).pointwise)
        raise ValueError(f"activation is {activation.name!r}, but {what} needs a pointwise one: {allowed} or custom")
    return activation


def _invertible(s: jax.Array, params: tuple[jax.Array, jax.Array], activation: str | Activation) -> Activation:
    chosen = _pointwise(get(activation), "the finite flow")
    if chosen.inverse is None:
        raise ValueError(f"activation {chosen.name!r} has no inverse, but the finite flow needs one: custom(inverse=)")
    u, v = (jnp.shape(leaf) for leaf in params)
    if len(u) != 2 or len(v) != 2 or jnp.shape(s) != u[1:] or jnp.shape(s) != v[:1]:
        raise ValueError(f"s, u and v have shapes {jnp.shape(s)}, {u} and {v}, but (h,), (m, h) and (h, n) are needed")
    return chosen


@partial(jax.jit, static_argnums=1)
def _ratio(x: jax.Array, activation: Activation) -> jax.Array:
    return jax.jvp(activation.primitive, (x,), (jnp.ones_like(x),))[1]


@partial(jax.jit, static_argnums=1)
def _defined(x: jax.Array, activation: Activation) -> jax.Array:
    finite = jnp.isfinite(activation.primitive(x))
    return finite if activation.defined is None else finite & activation.defined(x)


@partial(jax.jit, static_argnums=2)
def _valid(s: jax.Array, v: jax.Array, activation: Activation) -> jax.Array:
    value = activation.function(v)
    moved = jnp.exp(-s)[:, None] * value
    lower, upper = activation.range
    inside = (moved > lower) & (moved < upper)
    # A neuron at a zero of sigma (a dead ReLU) does not move.
    return jnp.all(inside | (value == 0), axis=1)


@partial(jax.jit, static_argnums=2)
def _flow(s: jax.Array, params: tuple[jax.Array, jax.Array], activation: Activation) -> tuple[jax.Array, jax.Array]:
    u, v = params
    still = activation.function(v) == 0
    # The value that is not used must be inside the range with a finite derivative, or its NaN reaches the gradient.
    value = activation.function(jnp.where(still, 0.5, v).astype(v.dtype))
    moved = activation.inverse(jnp.exp(-s)[:, None] * value)
    return u * jnp.exp(s)[None], jnp.where(still, v, moved)
