"""Activations and what their symmetries need: derivative, primitive of sigma/sigma', degree, equivariance group.

A hidden layer is ``z -> sigma(z)`` with ``z`` of shape (h, ...): the hidden axis comes first, columns are samples. A
pointwise activation acts entry by entry; a radial one multiplies each column by a function of its norm, and commutes
with rotations of the hidden space.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from math import inf, isfinite, sqrt
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Activation", "Group", "custom", "defined", "flow", "get", "leaky_relu", "names", "ratio", "valid"]

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
        allowed = ", ".join(name for name in _REGISTRY if _REGISTRY[name].pointwise)
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
