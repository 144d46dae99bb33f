"""The activations: sigma, its derivative, the primitive of sigma/sigma', its degree and its equivariance group."""

from collections.abc import Callable
from functools import partial, wraps
from math import inf, isfinite, sqrt
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from symjax.activations import functions
from symjax.arguments import scalar

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

    Pointwise: linear, relu, leaky_relu (slope 0.01), leaky_square ``l(z)^2 + z/100`` with a leaky ReLU l of slope 0.1,
    relu_squared, cube, tanh, sigmoid, softplus. The primitive of leaky_square exists right of -1/2 only, where its
    derivative vanishes. Column by column:
    radial ``z/|z|^2``, squash ``z |z|/(1 + |z|^2)``, radial_tanh ``z tanh|z|/|z|``. Row by row: row_radial, each
    neuron's row of pre-activations over its squared norm. All are 0 where the norm is 0. radial has degree -1 beside
    its rotations, so its group is O(h) x R+ and ``|U|^2 + |V|^2`` is conserved, for any data
    (:func:`symjax.conserved.homogeneous_total`).

    Source: Zhao et al. 2023, Table 1 (groups), section 4 (primitives).
    leaky_square: the authors' ensemble notebook (Figure 10).
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
    if not isinstance(name, str) or name not in _REGISTRY:
        raise ValueError(f"activation is {name!r}, but it must be one of {', '.join(_REGISTRY)} or an Activation")
    return _REGISTRY[name]


def leaky_relu(slope: float = 0.01) -> Activation:
    """Make a leaky ReLU, ``x`` for x > 0 and ``slope x`` elsewhere: degree 1, sigma/sigma' = x, P = x^2/2.

    Source: Zhao et al. 2023, Table 1 (homogeneous activations).

    Args:
      slope: of the negative side, a positive finite number.

    Returns:
      The activation; equal ones for equal slopes.

    Raises:
      ValueError: a slope that is not positive: sigma' = 0 or no inverse.

    Example:
      >>> leaky_relu(0.1) == leaky_relu(0.1), leaky_relu(2).lipschitz
      (True, 2.0)
    """
    value = scalar("slope", slope)
    if not (value > 0 and isfinite(value)):
        raise ValueError(f"slope is {slope}, but a leaky ReLU needs a positive finite one (0 is 'relu')")
    return _leaky(value)


def _leaky(value: float) -> Activation:
    """Make :func:`leaky_relu` of a slope that was read; nothing is allocated, so that the registry may be imported."""
    return Activation(
        name="leaky_relu",
        function=functions.Leaky(value),
        derivative=functions.LeakyDerivative(value),
        primitive=functions.half_square,
        inverse=functions.LeakyInverse(value),
        range=_LINE,
        lipschitz=max(1.0, value),
        degree=1.0,
        group="positive_diagonal",
    )


def is_library(activation: Activation) -> bool:
    """Say whether an activation's functions are all this library's own, so that a compiled program may keep them.

    A user's own function may read what has changed since it was compiled: no program is kept for it.

    Source: this library's bookkeeping.

    Example:
      >>> is_library(get("tanh")), is_library(get("tanh")._replace(function=jnp.sin))
      (True, False)
    """
    if isinstance(activation.function, functions.Leaky):
        return activation == _leaky(activation.function.slope)
    return activation == _REGISTRY.get(activation.name)


def compiled(function: Callable[..., Any], static: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Compile a function of arrays and an ``activation`` (by keyword), for each of the library's own activations.

    With a user's own activation it runs uncompiled, and is traced by the caller's transformation as any pure function.

    Source: this library's bookkeeping.

    Args:
      function: pure; takes arrays and a keyword ``activation``.
      static: names of further arguments that are hashable and compiled in.

    Returns:
      The function, compiled where no program can become stale.
    """
    program = jax.jit(function, static_argnames=(*static, "activation"))

    @wraps(function)
    def call(*args: Any, activation: Activation) -> Any:
        return (program if is_library(activation) else function)(*args, activation=activation)

    return call


def _squash(size: jax.Array) -> jax.Array:
    return 1 / (1 + (1 / size) ** 2)


def _radial(name: str, function: Map, lipschitz: float, degree: float | None) -> Activation:
    return Activation(name, function, None, None, None, (-inf, inf), lipschitz, degree, "orthogonal", pointwise=False)


def _identity(x: jax.Array) -> jax.Array:
    return x


_LINE = (-inf, inf)
_REGISTRY = {
    activation.name: activation
    for activation in (
        Activation(
            "linear", _identity, jnp.ones_like, functions.half_square, _identity, _LINE, 1.0, 1.0, "general_linear"
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
        _leaky(0.01),
        Activation(
            "leaky_square",
            functions.leaky_square,
            functions.leaky_square_derivative,
            functions.leaky_square_primitive,
            functions.leaky_square_inverse,
            (functions.LEAKY_SQUARE_MINIMUM, inf),
            inf,
            None,
            "permutation",
            defined=functions.leaky_square_defined,
        ),
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
            functions.softplus_primitive,
            lambda y: y + jnp.log(-jnp.expm1(-y)),
            (0.0, inf),
            1.0,
            None,
            "permutation",
        ),
        _radial("radial", partial(functions.over_square, 0), inf, -1.0),
        _radial("squash", partial(functions.radially, _squash, 0), 3 * sqrt(3) / 8, None),
        _radial("radial_tanh", partial(functions.radially, jnp.tanh, 0), 1.0, None),
        Activation(
            "row_radial",
            partial(functions.over_square, -1),
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
