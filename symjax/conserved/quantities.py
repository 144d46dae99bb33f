"""The conserved quantities themselves, for two layers, for deep networks and for any flow; and the relations that
take their place where the generators are antisymmetric.

Two layers are ``F = U sigma(V X)`` with U (m, h), V (h, n) and samples in the columns of X.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from symjax import activations
from symjax.activations import Activation, Group
from symjax.channels import Layer, coordinates, mlp_channels, require_layers, rescale
from symjax.symmetry import Coordinates, Flow, Params, pairing

__all__ = [
    "PolarForm",
    "angular_momentum",
    "deep_linear",
    "discrete_drift",
    "homogeneous",
    "homogeneous_layers",
    "homogeneous_total",
    "matrix",
    "pointwise",
    "polar_form",
    "quadratic",
]

_product = partial(jnp.matmul, precision="highest")
# What the authors' code returns, over the half-normalised quantity: linear, relu, tanh twice, sigmoid once.
_PAPER_SCALE = {"linear": 2, "relu": 2, "tanh": 2, "sigmoid": 1}


class PolarForm(NamedTuple):
    """Both sides of the polar identity; they agree along gradient flow if M generates a symmetry.

    Attributes:
      quadratic: scalar, ``d/dt <theta, S theta>/2``.
      areal: scalar, ``sum over i < j of A_ij r_ij^2 dphi_ij/dt``.
    """

    quadratic: jax.Array
    areal: jax.Array


def quadratic(flow: Flow, zero: Coordinates, params: Params) -> Coordinates:
    """Evaluate the conserved quantity of every symmetric linear generator of a flow, all in one reverse pass.

    ``Q_M = <theta, M theta>/2``, one number for each coordinate of the flow: all channels of a network at once with
    ``partial(rescale, channels=..., kind="rescale")``. Signs follow the flow's generators. Antisymmetric generators
    give 0, and one that is neither a number that is not conserved: see :func:`polar_form`.

    Source: Zhao et al. 2023, section 4 (Q from a symmetric M).

    Args:
      flow: the symmetry, linear in ``params``.
      zero: coordinates of the identity.
      params: pytree of arrays.

    Returns:
      A pytree like ``zero``.

    Example:
      >>> import jax.numpy as jnp
      >>> opposite = lambda s, q: (jnp.exp(s) * q[0], jnp.exp(-s) * q[1])
      >>> print(quadratic(opposite, jnp.zeros(()), (jnp.array([3.0]), jnp.array([1.0]))))
      4.0
    """
    return jax.tree.map(lambda leaf: leaf / 2, pairing(flow, zero, params, params))


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
      u: array (m, h), floating.
      v: array (h, n), of the same dtype.
      activation: a pointwise activation or its name.
      scale: ``"half"``, or ``"paper"`` for the numbers of the authors' code (sum them over neurons for theirs).

    Returns:
      An array (h,), its constant such that the table above holds.

    Raises:
      ValueError: shapes that do not compose, an activation that is not pointwise, a scale unknown or absent from the
        authors' code, or a concrete ``v`` with sigma' = 0 on the path of integration or a P that overflows (under a
        transformation of jax the status is :func:`symjax.activations.defined`).

    Example:
      >>> import jax.numpy as jnp
      >>> print(pointwise(jnp.array([[3.0]]), jnp.array([[1.0, -2.0]]), "relu"))
      [4.]
    """
    _two_layers(u, v)
    chosen = activations.get(activation)
    if not chosen.pointwise:
        raise ValueError(f"activation is {chosen.name!r}, but Q of each neuron by primitive needs a pointwise one")
    if scale not in ("half", "paper"):
        raise ValueError(f"scale is {scale!r}, but it must be 'half' or 'paper'")
    if scale == "paper" and chosen.name not in _PAPER_SCALE:
        raise ValueError(
            f"scale is 'paper', but the authors' code knows {', '.join(_PAPER_SCALE)}, not {chosen.name!r}"
        )
    if not isinstance(v, jax.core.Tracer):
        free = np.asarray(activations.defined(v, chosen))
        if not free.all():
            worst = float(np.asarray(v)[~free][0])
            raise ValueError(
                f"v holds {worst}, but the integral of sigma/sigma' of {chosen.name!r} does not reach it: it must be "
                f"finite in {v.dtype}, and sigma' must not vanish on the way to any entry of v"
            )
    return _pointwise(u, v, chosen, _PAPER_SCALE[chosen.name] if scale == "paper" else 1)


def matrix(u: jax.Array, v: jax.Array) -> jax.Array:
    """Evaluate the conserved matrix of a two-layer linear network, ``Q = (U^T U - V V^T)/2``.

    Its h (h + 1)/2 independent entries belong to the symmetric generators of GL(h). Twice the trace is the paper's Q.

    Source: Zhao et al. 2023, section 4 (linear networks), without the 1/2 there.

    Args:
      u: array (m, h), floating.
      v: array (h, n), of the same dtype.

    Returns:
      A symmetric array (h, h).

    Raises:
      ValueError: shapes that do not compose.

    Example:
      >>> import jax.numpy as jnp
      >>> print(matrix(jnp.array([[3.0]]), jnp.array([[1.0]])))
      [[4.]]
    """
    _two_layers(u, v)
    return _matrix(u, v)


def deep_linear(layers: Sequence[Layer]) -> tuple[jax.Array, ...]:
    """Evaluate the conserved matrices of a deep linear network with biases, one for each hidden layer.

    ``Q_i = (W_{i+1}^T W_{i+1} - W_i W_i^T - b_i b_i^T)/2``, W the transposes of the kernels. Biases that are not
    trained must be zero.

    Source: Zhao et al. 2023, section 4 (deep linear networks).
    Deviation: half of it with the opposite sign, as :func:`matrix`.

    Args:
      layers: tuple of ``Layer(kernel (in, out), bias (out,))``, at least two.

    Returns:
      A symmetric array (h_i, h_i) for each hidden layer.

    Raises:
      ValueError: fewer than two layers, or layers that do not compose.
    """
    _composed(layers)
    return _deep_linear(tuple(layers))


def homogeneous(u: jax.Array, v: jax.Array, degree: float | str | Activation) -> jax.Array:
    """Evaluate the conserved quantity of each neuron of a homogeneous activation, for any data.

    ``Q_i = (alpha |U_:i|^2 - |V_i:|^2)/2``; biases are a further column of V. The off-diagonal entries of
    :func:`matrix` are not conserved.

    Source: Zhao et al. 2023, section 4 (homogeneous activations), without the 1/2 there.

    Args:
      u: array (m, h), floating.
      v: array (h, n), of the same dtype.
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
    _two_layers(u, v)
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
      u: array (m, h), floating.
      v: array (h, n), of the same dtype.
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
    _two_layers(u, v)
    degree = activation
    if isinstance(activation, str | Activation):
        degree = activations.get(activation).degree
        if degree is None:
            allowed = ", ".join(name for name in activations.names() if activations.get(name).degree is not None)
            name = activations.get(activation).name
            raise ValueError(f"activation is {name!r}, but the total needs one with a degree: {allowed}")
    if not np.isfinite(degree):
        raise ValueError(f"activation is the degree {degree}, but it must be finite")
    return jnp.sum(_homogeneous(u, v, float(degree)))


def homogeneous_layers(layers: Sequence[Layer], degree: float | str | Activation) -> tuple[jax.Array, ...]:
    """Evaluate the conserved quantities of all hidden neurons of a deep homogeneous network with biases.

    ``Q_ij = (alpha |W_{i+1}[:, j]|^2 - |W_i[j, :]|^2 - b_i[j]^2)/2``: minus :func:`quadratic` of the flow
    :func:`symjax.channels.rescale`, for any data.

    Source: Zhao et al. 2023, section 4 (homogeneous activations); deep and with biases: derived.

    Args:
      layers: tuple of ``Layer(kernel (in, out), bias (out,))``, at least two.
      degree: alpha, or a homogeneous activation or its name.

    Returns:
      An array (h_i,) for each hidden layer.

    Raises:
      ValueError: fewer than two layers, layers that do not compose, or an activation that is not homogeneous.
    """
    _composed(layers)
    layers = tuple(layers)
    channels = mlp_channels(layers, degree_of(degree))
    zero = coordinates(channels, "rescale", layers[0].kernel.dtype)
    values = quadratic(partial(rescale, channels=channels, kind="rescale"), zero, layers)
    return tuple(-values[name] for name in channels)


def angular_momentum(
    u: jax.Array, v: jax.Array, velocity_u: jax.Array, velocity_v: jax.Array, activation: str | Activation
) -> jax.Array:
    """Evaluate the angular momentum of the hidden space, which gradient flow keeps at zero if O(h) is a symmetry.

    ``J = (U^T U' - U'^T U) + (V V'^T - V' V^T)``: h (h - 1)/2 relations on the velocity, one for each antisymmetric
    generator. They are not integrable: no quantity of the position alone is conserved by them.

    Source: Zhao et al. 2023, section 4 (radial rescaling activations).

    Args:
      u: array (m, h), floating.
      v: array (h, n), of the same dtype.
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
    _two_layers(u, v)
    if jnp.shape(velocity_u) != jnp.shape(u) or jnp.shape(velocity_v) != jnp.shape(v):
        raise ValueError(
            f"velocities have shapes {jnp.shape(velocity_u)} and {jnp.shape(velocity_v)}, but those of u and v are "
            f"{jnp.shape(u)} and {jnp.shape(v)}"
        )
    _with_group(activation, ("general_linear", "orthogonal"), "angular momentum")
    return _angular_momentum(u, v, velocity_u, velocity_v)


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

    Example:
      >>> import jax.numpy as jnp
      >>> quarter = lambda q: jnp.array([[0.0, 1.0], [-1.0, 0.0]]) @ q
      >>> print(polar_form(quarter, jnp.array([2.0, 0.0]), jnp.array([0.0, 3.0])).areal)
      6.0
    """
    image = generator(params)
    transposed = jax.linear_transpose(generator, params)(params)[0]
    forward, backward = _inner(velocity, image), _inner(velocity, transposed)
    return PolarForm((forward + backward) / 2, (backward - forward) / 2)


def discrete_drift(gradient_u: jax.Array, gradient_v: jax.Array, learning_rate: ArrayLike) -> jax.Array:
    """Give the exact change of :func:`matrix` in one step of gradient descent on a linear network.

    ``dQ = eta^2 (G_U^T G_U - G_V G_V^T)/2``: eta^2 times the quantity of the gradient, because the part linear in eta
    vanishes by symmetry. In general it is ``eta**2 * quadratic(flow, zero, gradient)``, for every flow with symmetric
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
    _two_layers(gradient_u, gradient_v)
    return _matrix(gradient_u, gradient_v) * jnp.asarray(learning_rate, gradient_u.dtype) ** 2


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
        degree = chosen.degree
    if not isinstance(degree, int | float) or not np.isfinite(degree) or degree == 0:
        raise ValueError(f"degree is {degree}, but it must be an activation or a finite number other than 0")
    return float(degree)


def _with_group(activation: str | Activation, groups: tuple[Group, ...], what: str) -> Activation:
    chosen = activations.get(activation)
    if chosen.group not in groups:
        allowed = ", ".join(name for name in activations.names() if activations.get(name).group in groups)
        raise ValueError(f"activation is {chosen.name!r}, but {what} needs one with that symmetry: {allowed}")
    return chosen


def _two_layers(u: jax.Array, v: jax.Array) -> None:
    first, second = jnp.shape(u), jnp.shape(v)
    if len(first) != 2 or len(second) != 2 or first[1] != second[0]:
        raise ValueError(f"u and v have shapes {first} and {second}, but (m, h) and (h, n) are needed")


def _composed(layers: Sequence[Layer]) -> None:
    if len(layers) < 2:
        raise ValueError(f"layers has length {len(layers)}, but a hidden layer needs at least 2")
    require_layers(layers)


@partial(jax.jit, static_argnums=(2, 3))
def _pointwise(u: jax.Array, v: jax.Array, activation: Activation, factor: int) -> jax.Array:
    return factor * (jnp.sum(u * u, axis=0) / 2 - jnp.sum(activation.primitive(v), axis=1))


@jax.jit
def _matrix(u: jax.Array, v: jax.Array) -> jax.Array:
    return (_product(u.T, u) - _product(v, v.T)) / 2


@jax.jit
def _deep_linear(layers: tuple[Layer, ...]) -> tuple[jax.Array, ...]:
    return tuple(
        _matrix(after.kernel.T, jnp.concatenate([layer.kernel, layer.bias[None]]).T)
        for layer, after in pairwise(layers)
    )


@jax.jit
def _homogeneous(u: jax.Array, v: jax.Array, degree: jax.Array) -> jax.Array:
    return (degree * jnp.sum(u * u, axis=0) - jnp.sum(v * v, axis=1)) / 2


@jax.jit
def _angular_momentum(u: jax.Array, v: jax.Array, velocity_u: jax.Array, velocity_v: jax.Array) -> jax.Array:
    half = _product(u.T, velocity_u) + _product(v, velocity_v.T)
    return half - half.T


def _inner(a: Params, b: Params) -> Any:
    return sum(jnp.sum(x * y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
