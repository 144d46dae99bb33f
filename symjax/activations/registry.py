"""The activations: sigma, its derivative, the primitive of sigma/sigma', its degree and its equivariance group."""

from collections.abc import Callable
from functools import lru_cache, partial
from math import inf, isfinite, sqrt
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Group = Literal["general_linear", "positive_diagonal", "orthogonal", "sign", "permutation"]
Map = Callable[[jax.Array], jax.Array]


class Activation(NamedTuple):
    """An activation, with everything the conserved quantities of gradient flow ask about it (hashable, so static).

    Attributes:
      name: how errors call it.
      function: sigma, array to array of the same shape.
      derivative: sigma' entry by entry; None if not pointwise.
      primitive: P with P' = sigma/sigma', entry by entry; None if not pointwise.
      inverse: of sigma on ``range``, on its increasing branch through positive inputs; None if not known.
      range: open interval of the values that ``inverse`` takes.
      lipschitz: smallest known Lipschitz constant in the Euclidean norm, ``inf`` if there is none.
      degree: alpha in ``sigma(c z) = c^alpha sigma(z)``, c > 0; None if not homogeneous.
      group: the largest listed group whose elements act linearly on both sides, ``sigma(g z) = pi(g) sigma(z)``. The
        positive scalars, which a degree adds, are not listed: "orthogonal" with a degree is O(h) x R+.
      pointwise: False for the radial ones.
      defined: array to booleans: where the primitive exists and its quadrature converged; None means everywhere.
    """

    name: str
    function: Map
    derivative: Map | None
    primitive: Map | None
    inverse: Map | None
    range: tuple[float, float]
    lipschitz: float
    degree: float | None
    group: Group
    pointwise: bool = True
    defined: Map | None = None


def names() -> tuple[str, ...]:
    """List the names that :func:`get` knows.

    Source: this library's bookkeeping; the activations of Zhao et al. 2023, sections 3 and 4.
    """
    return tuple(_REGISTRY)


def get(name: str | Activation) -> Activation:
    """Look an activation up by its name; an activation is returned as it is.

    Pointwise: linear, relu, leaky_relu (slope 0.01), relu_squared, cube, tanh, sigmoid, softplus. Column by column:
    radial ``z/|z|^2``, squash ``z |z|/(1 + |z|^2)``, radial_tanh ``z tanh|z|/|z|``. Row by row: row_radial, each
    neuron's row of pre-activations over its squared norm. All are 0 where the norm is 0. radial has degree -1 beside
    its rotations, so its group is O(h) x R+ and ``|U|^2 + |V|^2`` is conserved, for any data
    (:func:`symjax.conserved.homogeneous_total`).

    Source: Zhao et al. 2023, Table 1 (groups), section 4 (primitives).
    Deviation: the paper's convergence experiment calls row_radial radial; it is homogeneous of degree -1 neuron by
      neuron and does not commute with rotations, the column version does.

    Args:
      name: one of :func:`names`, or an :class:`Activation`.

    Returns:
      The activation.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> get("relu_squared").degree, get("tanh").group
      (2.0, 'sign')
    """
    if isinstance(name, Activation):
        return name
    if name not in _REGISTRY:
        raise ValueError(f"activation is {name!r}, but it must be one of {', '.join(_REGISTRY)} or an Activation")
    return _REGISTRY[name]


@lru_cache
def leaky_relu(slope: float = 0.01) -> Activation:
    """Make a leaky ReLU, ``x`` for x > 0 and ``slope x`` elsewhere: degree 1, sigma/sigma' = x, P = x^2/2.

    Source: Zhao et al. 2023, Table 1 (homogeneous activations).

    Args:
      slope: of the negative side, positive and finite.

    Returns:
      The activation; the same object for the same slope.

    Raises:
      ValueError: a slope that is not positive: sigma' = 0 or no inverse.
    """
    if not (slope > 0 and isfinite(slope)):
        raise ValueError(f"slope is {slope}, but a leaky ReLU needs a positive finite one (0 is 'relu')")
    return Activation(
        name="leaky_relu",
        function=lambda x: jax.nn.leaky_relu(x, slope),
        derivative=lambda x: jnp.where(x > 0, 1.0, slope).astype(x.dtype),
        primitive=lambda x: x * x / 2,
        inverse=lambda y: jnp.where(y > 0, y, y / slope),
        range=(-inf, inf),
        lipschitz=float(max(1.0, slope)),
        degree=1.0,
        group="positive_diagonal",
    )


def _softplus_ratio(x: jax.Array) -> jax.Array:
    # softplus/sigmoid = (1 + w) log(1 + w)/w with w = e^x, which tends to 1; for x > 0 the plain quotient is exact.
    w = jnp.exp(jnp.minimum(x, 0))
    small = w < jnp.finfo(x.dtype).eps
    w = jnp.where(small, 1, w)
    left = jnp.where(small, 1, (1 + w) * jnp.log1p(w) / w)
    return jnp.where(x > 0, jax.nn.softplus(x) / jax.nn.sigmoid(x), left).astype(x.dtype)


@jax.custom_jvp
def _softplus_primitive(x: jax.Array) -> jax.Array:
    # -Li2(-e^x) + x - softplus/sigmoid, with Li2's inversion where e^x > 1. The dilogarithm of the small argument is
    # the integral of log(1 + w t)/t over the unit interval, exact to rounding with 16 nodes for w <= 1.
    node, weight = np.polynomial.legendre.leggauss(16)
    node, weight = (jnp.asarray(each, x.dtype).reshape((1,) * x.ndim + (-1,)) for each in ((1 + node) / 2, weight / 2))
    w = jnp.exp(-jnp.abs(x))
    dilogarithm = jnp.sum(weight * jnp.log1p(w[..., None] * node) / node, axis=-1)  # -Li2(-w)
    right = np.pi**2 / 6 + x * x / 2 - dilogarithm
    return jnp.where(x > 0, right, dilogarithm) + x - _softplus_ratio(x)


@_softplus_primitive.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return _softplus_primitive(x), _softplus_ratio(x) * dx


def _radially(profile: Map, axis: int, z: jax.Array) -> jax.Array:
    """Multiply by a function of the squared norm along an axis; 0, with derivative 0, where the norm is 0."""
    square = jnp.sum(z * z, axis=axis, keepdims=True)
    zero = square == 0
    return jnp.where(zero, 0, profile(jnp.where(zero, 1, square))).astype(z.dtype) * z


def _radial(name: str, profile: Map, lipschitz: float, degree: float | None) -> Activation:
    function = partial(_radially, profile, 0)
    return Activation(name, function, None, None, None, (-inf, inf), lipschitz, degree, "orthogonal", pointwise=False)


def _identity(x: jax.Array) -> jax.Array:
    return x


_LINE = (-inf, inf)
_REGISTRY = {
    activation.name: activation
    for activation in (
        Activation(
            "linear", _identity, jnp.ones_like, lambda x: x * x / 2, _identity, _LINE, 1.0, 1.0, "general_linear"
        ),
        Activation(
            "relu",
            jax.nn.relu,
            lambda x: (x > 0).astype(x.dtype),
            lambda x: jax.nn.relu(x) ** 2 / 2,
            _identity,
            (0.0, inf),
            1.0,
            1.0,
            "positive_diagonal",
        ),
        leaky_relu(),
        Activation(
            "relu_squared",
            lambda x: jax.nn.relu(x) ** 2,
            lambda x: 2 * jax.nn.relu(x),
            lambda x: jax.nn.relu(x) ** 2 / 4,
            jnp.sqrt,
            (0.0, inf),
            inf,
            2.0,
            "positive_diagonal",
        ),
        Activation(
            "cube",
            lambda x: x**3,
            lambda x: 3 * x**2,
            lambda x: x * x / 6,
            jnp.cbrt,
            _LINE,
            inf,
            3.0,
            "positive_diagonal",
        ),
        Activation(
            "tanh",
            jnp.tanh,
            lambda x: 1 / jnp.cosh(x) ** 2,
            lambda x: jnp.cosh(x) ** 2 / 2,
            jnp.arctanh,
            (-1.0, 1.0),
            1.0,
            None,
            "sign",
        ),
        Activation(
            "sigmoid",
            jax.nn.sigmoid,
            lambda x: jax.nn.sigmoid(x) * jax.nn.sigmoid(-x),
            lambda x: x + jnp.exp(x),
            lambda y: jnp.log(y) - jnp.log1p(-y),
            (0.0, 1.0),
            0.25,
            None,
            "permutation",
        ),
        Activation(
            "softplus",
            jax.nn.softplus,
            jax.nn.sigmoid,
            _softplus_primitive,
            lambda y: y + jnp.log(-jnp.expm1(-y)),
            (0.0, inf),
            1.0,
            None,
            "permutation",
        ),
        _radial("radial", lambda square: 1 / square, inf, -1.0),
        _radial("squash", lambda square: jnp.sqrt(square) / (1 + square), 3 * sqrt(3) / 8, None),
        _radial("radial_tanh", lambda square: jnp.tanh(jnp.sqrt(square)) / jnp.sqrt(square), 1.0, None),
        Activation(
            "row_radial",
            partial(_radially, lambda square: 1 / square, -1),
            None,
            None,
            None,
            _LINE,
            inf,
            -1.0,
            "positive_diagonal",
            pointwise=False,
        ),
    )
}
