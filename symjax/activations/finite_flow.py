"""What a pointwise activation's symmetry needs: sigma/sigma', where its primitive exists, and the finite flow."""

import jax
import jax.numpy as jnp
import numpy as np

from symjax.activations.registry import Activation, compiled, get, names
from symjax.arguments import accurate_array, accurate_arrays, is_concrete


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
    chosen = _pointwise(get(activation), "the ratio sigma/sigma'")
    return _ratio(accurate_array("x", x), activation=chosen)


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
    chosen = _pointwise(get(activation), "the primitive of sigma/sigma'")
    return _defined(accurate_array("x", x), activation=chosen)


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
    chosen, s, u, v = _invertible(s, params, activation)
    if is_concrete(s, u, v):
        inside = np.asarray(_valid(s, v, activation=chosen))
        if not inside.all():
            neuron = int(np.argmin(inside))
            raise ValueError(
                f"s is {float(s[neuron])} for neuron {neuron}, but e^-s sigma(V) must stay inside the range "
                f"{chosen.range} of activation {chosen.name!r}, on the branch of its inverse; see "
                "valid(s, params, activation)"
            )
    return _flow(s, u, v, activation=chosen)


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
    chosen, s, _, v = _invertible(s, params, activation)
    return _valid(s, v, activation=chosen)


def _pointwise(activation: Activation, what: str) -> Activation:
    if not activation.pointwise or activation.primitive is None:
        allowed = ", ".join(name for name in names() if get(name).pointwise)
        raise ValueError(f"activation is {activation.name!r}, but {what} needs a pointwise one: {allowed} or custom")
    return activation


def _invertible(
    s: jax.Array, params: tuple[jax.Array, jax.Array], activation: str | Activation
) -> tuple[Activation, jax.Array, jax.Array, jax.Array]:
    chosen = _pointwise(get(activation), "the finite flow")
    if chosen.inverse is None:
        raise ValueError(f"activation {chosen.name!r} has no inverse, but the finite flow needs one: custom(inverse=)")
    if not isinstance(params, tuple | list) or len(params) != 2:
        raise ValueError(
            f"params is a {type(params).__name__}, but must be the pair (u, v) of arrays (m, h) and (h, n)"
        )
    s, u, v = accurate_arrays(s=s, u=params[0], v=params[1])
    if u.ndim != 2 or v.ndim != 2 or s.shape != u.shape[1:] or s.shape != v.shape[:1]:
        raise ValueError(
            f"s, u and v have shapes {s.shape}, {u.shape} and {v.shape}, but (h,), (m, h) and (h, n) are needed"
        )
    return chosen, s, u, v


@compiled
def _ratio(x: jax.Array, activation: Activation) -> jax.Array:
    return jax.jvp(activation.primitive, (x,), (jnp.ones_like(x),))[1]


@compiled
def _defined(x: jax.Array, activation: Activation) -> jax.Array:
    finite = jnp.isfinite(activation.primitive(x))
    return finite if activation.defined is None else finite & activation.defined(x)


@compiled
def _valid(s: jax.Array, v: jax.Array, activation: Activation) -> jax.Array:
    return jnp.all(_inside(s, v, activation), axis=1)


def _inside(s: jax.Array, v: jax.Array, activation: Activation) -> jax.Array:
    value = activation.function(v)
    # A neuron at a zero of sigma (a dead ReLU) does not move.
    still = value == 0
    safe = jnp.where(still, 0.5, v).astype(v.dtype)
    here = activation.function(safe)
    moved = jnp.exp(-s)[:, None] * here
    lower, upper = activation.range
    # Left of a minimum of sigma its inverse leads to the other branch: the flow at s = 0 would not be the identity.
    slope = jnp.abs(activation.derivative(safe))
    miss = jnp.abs(activation.inverse(here) - safe) * slope
    back = miss <= 1e3 * jnp.finfo(v.dtype).eps * (jnp.abs(here) + jnp.abs(safe) * slope)
    return still | (moved > lower) & (moved < upper) & (here > lower) & (here < upper) & back


@compiled
def _flow(s: jax.Array, u: jax.Array, v: jax.Array, activation: Activation) -> tuple[jax.Array, jax.Array]:
    still, inside = activation.function(v) == 0, _inside(s, v, activation)
    # A value that is not used must be inside the range with a finite derivative, or its NaN reaches the gradient.
    value = activation.function(jnp.where(still | ~inside, 0.5, v).astype(v.dtype))
    factor = jnp.where(still | ~inside, 1, jnp.exp(-s)[:, None])
    moved = activation.inverse(factor * value)
    return u * jnp.exp(s)[None], jnp.where(still, v, jnp.where(inside, moved, jnp.nan))
