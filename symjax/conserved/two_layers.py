"""The conserved quantities of two layers, ``F = U sigma(V X)`` with U (m, h), V (h, n) and samples in the columns of X.

All are readers minus writers. They are sums of squares: in float32 the square of a parameter below 1e-19 is 0 and above
1e19 infinite, and so is what is returned.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from symjax import activations
from symjax.activations import Activation, Group
from symjax.arguments import accurate_arrays, is_concrete, real_numbers, scalar

__all__ = [
    "angular_momentum",
    "degree_of",
    "discrete_drift",
    "homogeneous",
    "homogeneous_total",
    "matrix",
    "pointwise",
    "two_layers",
]

_product = partial(jnp.matmul, precision="highest")
# What the authors' code returns, over the half-normalised quantity: linear, relu, tanh twice, sigmoid once.
_PAPER_SCALE = {"linear": 2, "relu": 2, "tanh": 2, "sigmoid": 1}


def pointwise(
    u: jax.Array, v: jax.Array, activation: str | Activation, scale: Literal["half", "paper"] = "half"
) -> jax.Array:
    """Evaluate the conserved quantity of each hidden neuron of a pointwise activation.

    ``Q_i = |U_:i|^2/2 - sum over a of P(V_ia)``, ``P' = sigma/sigma'``; P is x^2/2 for linear and leaky ReLU,
    relu(x)^2/2, relu(x)^2/4 for its square, x^2/6 for the cube, cosh(x)^2/2 for tanh, x + e^x for the sigmoid.
    Conserved when X is the identity; for X square orthogonal give V X in the place of V. For homogeneous activations
    and any X use :func:`homogeneous`.

    Source: Zhao et al. 2023, section 4 (conserved quantities of general activations).
    Deviation: the paper sums over neurons; each neuron's part is conserved by itself. Its code returns twice this for
      linear, relu and tanh and once for the sigmoid: ``scale="paper"``. Its condition of whitened data is too weak.

    Args:
      u: array (m, h).
      v: array (h, n).
      activation: a pointwise activation or its name.
      scale: ``"half"``, or ``"paper"`` for the numbers of the authors' code (sum them over neurons for theirs).

    Returns:
      An array (h,), its constant such that the table above holds. Under a transformation of jax, where nothing can be
      raised, NaN for a neuron whose integral does not exist (:func:`symjax.activations.defined` says for which entry).

    Raises:
      ValueError: shapes that do not compose, an activation that is not pointwise, a scale unknown or absent from the
        authors' code, or a concrete ``v`` with sigma' = 0 on the path of integration or a P that overflows.

    Example:
      >>> import jax.numpy as jnp
      >>> print(pointwise(jnp.array([[3.0]]), jnp.array([[1.0, -2.0]]), "relu"))
      [4.]
    """
    u, v = two_layers(u, v)
    chosen = activations.get(activation)
    if not chosen.pointwise:
        raise ValueError(f"activation is {chosen.name!r}, but Q of each neuron by primitive needs a pointwise one")
    if scale not in ("half", "paper"):
        raise ValueError(f"scale is {scale!r}, but it must be 'half' or 'paper'")
    if scale == "paper" and chosen.name not in _PAPER_SCALE:
        raise ValueError(
            f"scale is 'paper', but the authors' code knows {', '.join(_PAPER_SCALE)}, not {chosen.name!r}"
        )
    if is_concrete(v):
        free = np.asarray(activations.defined(v, chosen))
        if not free.all():
            worst = float(np.asarray(v)[~free][0])
            raise ValueError(
                f"v holds {worst}, but the integral of sigma/sigma' of {chosen.name!r} does not reach it: it must be "
                f"finite in {v.dtype}, and sigma' must not vanish on the way to any entry of v"
            )
    factor = _PAPER_SCALE[chosen.name] if scale == "paper" else 1
    return factor * _pointwise(u, v, activation=chosen)


def matrix(u: jax.Array, v: jax.Array) -> jax.Array:
    """Evaluate the conserved matrix of a two-layer linear network, ``Q = (U^T U - V V^T)/2``.

    Its h (h + 1)/2 independent entries belong to the symmetric generators of GL(h). Twice the trace is the paper's Q.

    Source: Zhao et al. 2023, section 4 (linear networks), without the 1/2 there.

    Args:
      u: array (m, h).
      v: array (h, n).

    Returns:
      A symmetric array (h, h).

    Raises:
      ValueError: shapes that do not compose.

    Example:
      >>> import jax.numpy as jnp
      >>> print(matrix(jnp.array([[3.0]]), jnp.array([[1.0]])))
      [[4.]]
    """
    u, v = two_layers(u, v)
    return _matrix(u, v)


def discrete_drift(gradient_u: jax.Array, gradient_v: jax.Array, learning_rate: ArrayLike) -> jax.Array:
    """Give the exact change of :func:`matrix` in one step of gradient descent on a linear network.

    ``dQ = eta^2 (G_U^T G_U - G_V G_V^T)/2``: eta^2 times the quantity of the gradient, because the part linear in eta
    vanishes by symmetry. In general it is ``quadratic(symmetry, eta * gradient)``, for every flow with symmetric
    linear generators.

    Source: Zhao et al. 2023, appendix (error of gradient descent); the exact form is derived.

    Args:
      gradient_u: array (m, h), the gradient of the loss before the step.
      gradient_v: array (h, n).
      learning_rate: eta.

    Returns:
      A symmetric array (h, h).

    Raises:
      ValueError: shapes that do not compose.
    """
    gradient_u, gradient_v = two_layers(gradient_u, gradient_v, ("gradient_u", "gradient_v"))
    (rate,) = real_numbers(gradient_u.dtype, learning_rate=learning_rate)
    return _matrix(rate * gradient_u, rate * gradient_v)


def homogeneous(u: jax.Array, v: jax.Array, degree: float | str | Activation) -> jax.Array:
    """Evaluate the conserved quantity of each neuron of a homogeneous activation, for any data.

    ``Q_i = (alpha |U_:i|^2 - |V_i:|^2)/2``; biases are a further column of V. The off-diagonal entries of
    :func:`matrix` are not conserved.

    Source: Zhao et al. 2023, section 4 (homogeneous activations), without the 1/2 there.

    Args:
      u: array (m, h).
      v: array (h, n).
      degree: alpha, or a homogeneous activation or its name.

    Returns:
      An array (h,).

    Raises:
      ValueError: shapes that do not compose, or an activation that is not homogeneous neuron by neuron.

    Example:
      >>> import jax.numpy as jnp
      >>> print(homogeneous(jnp.array([[3.0]]), jnp.array([[1.0]]), "relu_squared"))
      [8.5]
    """
    u, v = two_layers(u, v)
    return _homogeneous(u, v, degree_of(degree))


def homogeneous_total(u: jax.Array, v: jax.Array, activation: float | str | Activation) -> jax.Array:
    """Evaluate the conserved total of any activation with a degree, whatever else it commutes with, for any data.

    ``Q = (alpha |U|^2 - |V|^2)/2``, of the scaling ``U -> c^-alpha U``, ``V -> c V`` of all neurons together; biases
    are a further column of V. It is the sum of :func:`homogeneous` where that is conserved neuron by neuron. The
    column-wise radial activation, of degree -1, has no such neurons, but its group is O(h) x R+: ``|U|^2 + |V|^2`` is
    conserved.

    Source: Zhao et al. 2023, section 4 (homogeneous activations), without the 1/2 there.
    Deviation: Table 1 gives radial activations O(h) alone.

    Args:
      u: array (m, h).
      v: array (h, n).
      activation: alpha, or an activation with a degree or its name.

    Returns:
      A scalar.

    Raises:
      ValueError: shapes that do not compose, or an activation that is not homogeneous.

    Example:
      >>> import jax.numpy as jnp
      >>> print(homogeneous_total(jnp.array([[3.0]]), jnp.array([[1.0]]), "radial"))
      -5.0
    """
    u, v = two_layers(u, v)
    if isinstance(activation, str | Activation):
        degree = activations.get(activation).degree
        if degree is None:
            allowed = ", ".join(name for name in activations.names() if activations.get(name).degree is not None)
            name = activations.get(activation).name
            raise ValueError(f"activation is {name!r}, but the total needs one with a degree: {allowed}")
    else:
        degree = scalar("activation", activation)
    if not np.isfinite(degree):
        raise ValueError(f"activation is the degree {degree}, but it must be finite")
    return jnp.sum(_homogeneous(u, v, degree))


def angular_momentum(
    u: jax.Array, v: jax.Array, velocity_u: jax.Array, velocity_v: jax.Array, activation: str | Activation
) -> jax.Array:
    """Evaluate the angular momentum of the hidden space, which gradient flow keeps at zero if O(h) is a symmetry.

    ``J = (U^T U' - U'^T U) + (V V'^T - V' V^T)``: h (h - 1)/2 relations on the velocity, one for each antisymmetric
    generator. They are not integrable: no quantity of the position alone is conserved by them.

    Source: Zhao et al. 2023, section 4 (radial rescaling activations).

    Args:
      u: array (m, h).
      v: array (h, n).
      velocity_u: like ``u``, per unit time; for gradient flow minus the gradient.
      velocity_v: like ``v``.
      activation: one that commutes with rotations (linear or radial), or its name.

    Returns:
      An antisymmetric array (h, h).

    Raises:
      ValueError: shapes that do not compose, or an activation that does not commute with rotations.

    Example:
      >>> import jax.numpy as jnp
      >>> u, v = jnp.array([[1.0, 0.0]]), jnp.zeros((2, 1))
      >>> print(angular_momentum(u, v, jnp.array([[0.0, 2.0]]), v, "squash"))
      [[ 0.  2.]
       [-2.  0.]]
    """
    u, v = two_layers(u, v)
    velocity_u, velocity_v = accurate_arrays(velocity_u=velocity_u, velocity_v=velocity_v)
    if jnp.shape(velocity_u) != jnp.shape(u) or jnp.shape(velocity_v) != jnp.shape(v):
        raise ValueError(
            f"velocities have shapes {jnp.shape(velocity_u)} and {jnp.shape(velocity_v)}, but those of u and v are "
            f"{jnp.shape(u)} and {jnp.shape(v)}"
        )
    _with_group(activation, ("general_linear", "orthogonal"), "angular momentum")
    return _angular_momentum(u, v, velocity_u.astype(u.dtype), velocity_v.astype(u.dtype))


def degree_of(degree: float | str | Activation) -> float:
    """Read alpha from a number, or from an activation that is homogeneous neuron by neuron.

    Source: Zhao et al. 2023, Table 1.

    Args:
      degree: a number, an activation or its name.

    Returns:
      alpha, not zero.

    Raises:
      ValueError: an activation without that symmetry, or a degree of zero.
    """
    if isinstance(degree, str | Activation):
        chosen = _with_group(degree, ("general_linear", "positive_diagonal"), "homogeneous Q")
        return chosen.degree
    value = scalar("degree", degree)
    if not np.isfinite(value) or value == 0:
        raise ValueError(f"degree is {value}, but it must be an activation or a finite number other than 0")
    return value


def two_layers(u: ArrayLike, v: ArrayLike, names: tuple[str, str] = ("u", "v")) -> tuple[jax.Array, jax.Array]:
    """Read two layers: arrays (m, h) and (h, n) of one dtype, at least float32.

    Source: this library's bookkeeping.

    Args:
      u: array (m, h).
      v: array (h, n).
      names: what errors call them.

    Returns:
      ``(u, v)``.

    Raises:
      ValueError: shapes that do not compose, or empty ones.
    """
    u, v = accurate_arrays(**dict(zip(names, (u, v), strict=True)))
    if u.ndim != 2 or v.ndim != 2 or u.shape[1] != v.shape[0] or 0 in u.shape + v.shape:
        raise ValueError(
            f"{names[0]} and {names[1]} have shapes {u.shape} and {v.shape}, but must be (m, h) and (h, n), not empty"
        )
    return u, v


def _with_group(activation: str | Activation, groups: tuple[Group, ...], what: str) -> Activation:
    chosen = activations.get(activation)
    if chosen.group not in groups:
        allowed = ", ".join(name for name in activations.names() if activations.get(name).group in groups)
        raise ValueError(f"activation is {chosen.name!r}, but {what} needs one with that symmetry: {allowed}")
    return chosen


@activations.compiled
def _pointwise(u: jax.Array, v: jax.Array, activation: Activation) -> jax.Array:
    value = activation.primitive(v)
    free = jnp.isfinite(value)
    if activation.defined is not None:
        free &= activation.defined(v)
    # A finite number beyond a pole would not be the quantity.
    return jnp.sum(u * u, axis=0) / 2 - jnp.sum(jnp.where(free, value, jnp.nan), axis=1)


@jax.jit
def _matrix(u: jax.Array, v: jax.Array) -> jax.Array:
    return (_product(u.T, u) - _product(v, v.T)) / 2


@jax.jit
def _homogeneous(u: jax.Array, v: jax.Array, degree: jax.Array) -> jax.Array:
    return (degree * jnp.sum(u * u, axis=0) - jnp.sum(v * v, axis=1)) / 2


@jax.jit
def _angular_momentum(u: jax.Array, v: jax.Array, velocity_u: jax.Array, velocity_v: jax.Array) -> jax.Array:
    half = _product(u.T, velocity_u) + _product(v, velocity_v.T)
    return half - half.T
