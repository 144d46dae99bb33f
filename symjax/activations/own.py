"""A user's own activation: what is claimed of it is checked on random numbers before it is believed."""

from functools import partial
from math import inf, isfinite
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from symjax.activations.quadrature import derivative_of, path_is_free, quadrature_primitive
from symjax.activations.registry import Activation, Group, Map
from symjax.arguments import scalar, whole_number

_TOLERANCE = 1e-3  # relative, of claims checked in jax's default float


def custom(
    name: str,
    function: Map,
    *,
    pointwise: bool = True,
    degree: float | None = None,
    group: Group = "permutation",
    lipschitz: float = inf,
    derivative: Map | None = None,
    inverse: Map | None = None,
    range: tuple[float, float] = (-inf, inf),
    base: float = 0.0,
    panels: int = 8,
    nodes: int = 16,
) -> Activation:
    """Make an activation of one's own: pointwise, radial, or of any other group of the registry.

    A pointwise one gets the primitive ``P(x) = integral of sigma/sigma' from base to x`` by Gauss-Legendre quadrature
    on equal panels; its derivative is sigma/sigma' exactly. The path from ``base`` to x must not meet sigma' = 0:
    ``defined`` is False where sigma' changes its sign there, where the integrand is not finite, or where a rule of
    three quarters of the nodes disagrees. Others, as the radial ones ``z f(|z|)``, have no primitive.

    Claims are checked on random numbers: ``sigma(c z) = c^degree sigma(z)``; ``sigma(g z) = pi(g) sigma(z)`` for
    elements g of the group, with ``pi(g) = g`` (``g^degree`` for positive diagonals); entry by entry if pointwise;
    the derivative, the inverse and the Lipschitz constant where given.

    Source: Zhao et al. 2023, Table 1 (groups) and section 4 (conserved quantities of a general pointwise activation).

    Args:
      name: how errors call it.
      function: sigma, of an array (h, k) whose columns are samples; differentiable by jax unless ``derivative`` is
        given.
      pointwise: whether sigma acts entry by entry.
      degree: of homogeneity, if it is homogeneous; positive diagonals need one.
      group: the largest equivariance group that is claimed.
      lipschitz: a Lipschitz constant, if known.
      derivative: sigma', of a pointwise one; None differentiates ``function``.
      inverse: of sigma, of a pointwise one, for the finite flow.
      range: open interval of the values of a pointwise sigma that ``inverse`` takes.
      base: where the primitive is 0.
      panels: number of panels of the quadrature.
      nodes: number of nodes in each panel.

    Returns:
      The activation. No compiled program is kept for it: what its functions read may change.

    Raises:
      ValueError: a claim that does not hold, ``panels`` or ``nodes`` too few, ``base`` not finite, or what only
        pointwise activations have given for another.

    Example:
      >>> import jax.numpy as jnp
      >>> sinh = custom("sinh", jnp.sinh)
      >>> print(f"{sinh.primitive(jnp.array(1.0)):.4f} {jnp.log(jnp.cosh(1.0)):.4f}")
      0.4338 0.4338
      >>> unit = lambda z: z / jnp.linalg.norm(z, axis=0, keepdims=True)
      >>> custom("unit", unit, pointwise=False, degree=0, group="orthogonal").group
      'orthogonal'
    """
    panels, nodes, base = whole_number("panels", panels, 1), whole_number("nodes", nodes, 4), scalar("base", base)
    if not isfinite(base):
        raise ValueError(f"base is {base}, but it must be a finite number")
    if not isinstance(name, str):
        raise ValueError(f"name is {name!r}, but it must be a text")
    for what, given in (("function", function), ("derivative", derivative), ("inverse", inverse)):
        if not callable(given) and (given is not None or what == "function"):
            raise ValueError(f"{what} of {name!r} is {given!r}, but must be a function of an array")
    if group not in get_args(Group):
        raise ValueError(f"group is {group!r}, but it must be one of {', '.join(get_args(Group))}")
    if not pointwise and (derivative is not None or inverse is not None or tuple(range) != (-inf, inf)):
        raise ValueError(f"derivative, inverse or range is given for {name!r}, but only pointwise activations have one")
    slope = (partial(derivative_of, function) if derivative is None else derivative) if pointwise else None
    activation = Activation(
        name=name,
        function=function,
        derivative=slope,
        primitive=quadrature_primitive(function, slope, base, panels, nodes) if pointwise else None,
        inverse=inverse,
        range=tuple(scalar("range", end) for end in range),
        lipschitz=scalar("lipschitz", lipschitz),
        degree=None if degree is None else scalar("degree", degree),
        group=group,
        pointwise=bool(pointwise),
        defined=partial(path_is_free, function, slope, base, panels, nodes) if pointwise else None,
    )
    with jax.ensure_compile_time_eval():
        _check(activation)
    return activation


def _check(activation: Activation) -> None:
    """Refuse what is claimed and does not hold, each in its sentence."""
    rng, who = np.random.default_rng(0), f"activation {activation.name!r}"
    z = rng.standard_normal((4, 3))
    value = _evaluate(activation, z)
    if activation.pointwise:
        single = np.array(
            [[_evaluate(activation, z[i : i + 1, j : j + 1])[0, 0] for j in (0, 1, 2)] for i in (0, 1, 2, 3)]
        )
        _same(single, value, f"{who} does not act entry by entry: give pointwise=False")
        _check_parts(activation, z, value)
    if activation.degree is not None:
        for c in (0.5, 3.0):
            scaled = _evaluate(activation, c * z)
            _same(scaled, c**activation.degree * value, f"{who} is not homogeneous of degree {activation.degree:g}")
    if activation.group == "positive_diagonal" and activation.degree is None:
        raise ValueError(f"{who} has positive scalings, but its degree is not given")
    g, image = _element(activation, rng)
    _same(_evaluate(activation, g @ z), image @ value, f"{who} does not commute with the group {activation.group!r}")
    if isfinite(activation.lipschitz):
        other = z + 0.1 * rng.standard_normal(z.shape)
        growth = np.linalg.norm(_evaluate(activation, other) - value) / np.linalg.norm(other - z)
        if not growth <= activation.lipschitz * (1 + _TOLERANCE):
            raise ValueError(f"{who} grows by {growth:.3g} between two points: {activation.lipschitz:g} is no bound")


def _element(activation: Activation, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An element g of the group that is claimed, and pi(g)."""
    match activation.group:
        case "general_linear":
            g = rng.standard_normal((4, 4))
        case "positive_diagonal":
            scales = np.exp(rng.standard_normal(4))
            return np.diag(scales), np.diag(scales**activation.degree)
        case "orthogonal":
            g = np.linalg.qr(rng.standard_normal((4, 4)))[0]
        case "sign":
            g = np.diag([1.0, -1.0, -1.0, 1.0])
        case "permutation":
            g = np.eye(4)[[2, 0, 3, 1]]
    return g, g


def _check_parts(activation: Activation, z: np.ndarray, value: np.ndarray) -> None:
    who = f"activation {activation.name!r}"
    if getattr(activation.derivative, "func", None) is not derivative_of:
        try:
            own = np.asarray(derivative_of(activation.function, jnp.asarray(z)), np.float64)
        except Exception:  # a function that jax cannot differentiate: the derivative given is all there is
            own = None
        if own is not None:
            _same(np.asarray(activation.derivative(jnp.asarray(z)), np.float64), own, f"{who} has another derivative")
    if activation.inverse is not None:
        lower, upper = activation.range
        inside = (value > lower) & (value < upper)
        back = activation.inverse(jnp.asarray(np.where(inside, value, value[inside].max(initial=0.5))))
        again = np.asarray(activation.function(back), np.float64)
        _same(np.where(inside, again, 0), np.where(inside, value, 0), f"{who} has another inverse on its range")


def _evaluate(activation: Activation, z: np.ndarray) -> np.ndarray:
    given = jnp.asarray(z, jnp.result_type(float))
    found = activation.function(given)
    if jnp.shape(found) != given.shape:
        raise ValueError(
            f"activation {activation.name!r} gives shape {jnp.shape(found)} for one of {given.shape}, but must keep it"
        )
    if isinstance(found, jax.core.Tracer):
        raise ValueError(f"activation {activation.name!r} reads traced values, but its claims are checked on numbers")
    return np.asarray(found, np.float64)


def _same(one: np.ndarray, two: np.ndarray, sentence: str) -> None:
    gap = np.abs(one - two)
    if not (gap <= _TOLERANCE * (np.abs(two) + np.abs(two).max())).all():
        raise ValueError(f"{sentence} (differs by {gap.max():.3g} at random numbers)")
