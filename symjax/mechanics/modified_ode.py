"""The modified equation: SGD's discrete path as a curve, to first and second order in the learning rate.

    m q'' + mu q' + grad f(q) + k q = 0,   m = eta (1 - delta)(1 + beta)/2,   mu = 1 - beta,

at time `t = eta (1 - delta) n` of step n. Its distance from the discrete path is of second order in eta only if the
velocity at t = 0 is matched; from rest the whole curve lags by half a step and the distance is of first order, no
better than gradient flow's.

Source: Tanaka & Kunin 2021, Noether's Learning Dynamics, Eq. 3; Kunin et al. 2021, Neural Mechanics; the start velocity
is derived.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.ode import odeint
from jax.typing import ArrayLike

from symjax.arguments import accurate_array, accurate_arrays, accurate_tree, floating_array, require_same_shapes, scalar

Params = Any  # a pytree of floating arrays
Gradient = Callable[[Params], Params]
Model = Literal["second_order", "modified_flow", "gradient_flow"]
StartVelocity = Literal["matched", "rest"]


class Trajectory(NamedTuple):
    """Positions and velocities at the asked times, each a pytree like the parameters with a leading time axis."""

    position: Params
    velocity: Params


class Inertia(NamedTuple):
    """SGD's hyper-parameters as mechanics: mass, friction and the time of one step."""

    mass: jax.Array  #: m = eta (1 - delta)(1 + beta)/2
    friction: jax.Array  #: mu = 1 - beta
    duration: jax.Array  #: eta (1 - delta)


def inertia(*, learning_rate: ArrayLike, momentum: ArrayLike, dampening: ArrayLike = 0.0) -> Inertia:
    """Return mass, friction and duration of a step, `m = eta (1 - delta)(1 + beta)/2`, `mu = 1 - beta`.

    As in PyTorch, dampening has no effect without momentum.

    Source: Tanaka & Kunin 2021, Eq. 3; with dampening Kunin et al. 2021.

    >>> print(float(inertia(learning_rate=0.5, momentum=0.5).mass))
    0.375
    """
    eta, beta, delta = accurate_arrays(learning_rate=learning_rate, momentum=momentum, dampening=dampening)
    duration = eta * jnp.where(beta == 0, jnp.ones_like(delta), 1 - delta)
    return Inertia(duration * (1 + beta) / 2, 1 - beta, duration)


def matched_velocity(
    gradient: Params, start: Params, *, momentum: ArrayLike, weight_decay: ArrayLike = 0.0, dampening: ArrayLike = 0.0
) -> Params:
    """Return the start velocity that makes the modified equation second-order accurate.

    `q'(0) = -(grad f(q_0) + k q_0)/(1 + beta)`. With dampening, PyTorch's first buffer is not dampened, and
    `q'(0) = -(1 + delta)/((1 - delta)(1 + beta)) (grad f(q_0) + k q_0)`.

    Source: derived: under a constant force SGD lags `beta/(1 - beta)` steps behind uniform motion, the equation from
    rest half a step more.

    Args:
        gradient: grad f at the start, a pytree like `start`.
        start: q_0.
        momentum: beta.
        weight_decay: k.
        dampening: delta.
    """
    gradient, start = accurate_tree("gradient", gradient), accurate_tree("start", start)
    require_same_shapes("gradient", gradient, "start", start)
    beta, delta, decay = accurate_arrays(momentum=momentum, dampening=dampening, weight_decay=weight_decay)
    delta = jnp.where(beta == 0, jnp.zeros_like(delta), delta)
    factor = -(1 + delta) / ((1 - delta) * (1 + beta))
    return jax.tree.map(lambda g, q: _like(factor, q) * (g.astype(q.dtype) + _like(decay, q) * q), gradient, start)


def _like(value: ArrayLike, leaf: jax.Array) -> jax.Array:
    return jnp.asarray(value).astype(leaf.dtype)


def solve(
    field: Callable[[Any, jax.Array], Any],
    start: Any,
    times: jax.Array,
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Any:
    """Integrate `y' = field(y, t)` adaptively (Dormand-Prince 5(4)) and return y at the given times.

    Source: Dormand & Prince 1980, as in `jax.experimental.ode.odeint`.

    Args:
        field: derivative of the state, a pytree like it.
        start: state at `times[0]`, any pytree.
        times: increasing, shape (n,), floating, of the state's dtype.
        rtol: relative tolerance of a step; the default is meant for float64.
        atol: absolute tolerance of a step.

    Returns:
        The states, with a leading axis of length n.

    Raises:
        ValueError: a start or times that hold no real numbers.

    >>> print(solve(lambda y, t: -y, jnp.array(1.0), jnp.array([0.0, 1.0]), rtol=1e-6, atol=1e-6).round(4))
    [1.     0.3679]
    """
    start, times = accurate_tree("start", start), accurate_array("times", times)
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"times has shape {times.shape}, but must be (n,), increasing")
    # odeint compiles its argument and keeps the program: a new one at each call, which reads what the field reads now.
    return odeint(lambda y, t: field(y, t), start, times, rtol=scalar("rtol", rtol), atol=scalar("atol", atol))


def second_order_field(
    gradient: Gradient,
    *,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
) -> Callable[[Trajectory, jax.Array], Trajectory]:
    """Return the field of `m q'' + mu q' + grad f(q) + k q = 0` on (position, velocity).

    Source: Tanaka & Kunin 2021, Eq. 3.

    Args:
        gradient: grad f, a pure function from parameters to a pytree like them.
        learning_rate: eta, a scalar, like all that follow.
        momentum: beta < 1.
        weight_decay: k.
        dampening: delta < 1.

    Returns:
        `field(state, time)`, the derivative of a `Trajectory` of one time, per unit of `eta (1 - delta) n`.
    """
    mechanics = inertia(learning_rate=learning_rate, momentum=momentum, dampening=dampening)
    weight_decay = floating_array("weight_decay", weight_decay)

    def field(state: Trajectory, time: jax.Array) -> Trajectory:
        def accelerate(q: jax.Array, v: jax.Array, g: jax.Array) -> jax.Array:
            force = g + _like(weight_decay, q) * q + _like(mechanics.friction, q) * v
            return -force / _like(mechanics.mass, q)

        return Trajectory(state.velocity, jax.tree.map(accelerate, *state, gradient(state.position)))

    return field


def first_order_field(
    gradient: Gradient,
    *,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    model: Literal["modified_flow", "gradient_flow"] = "modified_flow",
) -> Callable[[Params, jax.Array], Params]:
    """Return the field of a first-order model, with `G = grad f + k q` and H its Jacobian.

    Gradient flow: `q' = -G/mu`. Modified flow: `q' = -G/mu - (m/mu^3) H G`, at beta = 0 the descent of
    `L + (eta/4)|grad L|^2`. With momentum the modified flow misses the first steps' transient and is of first order.

    Source: Barrett & Dherin 2021, Implicit Gradient Regularization; with momentum Kunin et al. 2021 and derived.

    Args:
        gradient: grad f, a pure function from parameters to a pytree like them.
        learning_rate: eta, a scalar, like all that follow.
        momentum: beta < 1.
        weight_decay: k.
        dampening: delta < 1.
        model: which of the two.

    Returns:
        `field(parameters, time)`, a pytree like the parameters, per unit of `eta (1 - delta) n`.

    Raises:
        ValueError: if `model` is neither 'modified_flow' nor 'gradient_flow'.
    """
    if model not in ("modified_flow", "gradient_flow"):
        raise ValueError(f"model must be 'modified_flow' or 'gradient_flow', got {model!r}; choose one of them")
    mechanics = inertia(learning_rate=learning_rate, momentum=momentum, dampening=dampening)
    weight_decay = floating_array("weight_decay", weight_decay)

    def force(q: Params) -> Params:
        return jax.tree.map(lambda g, x: g + _like(weight_decay, x) * x, gradient(q), q)

    def field(q: Params, time: jax.Array) -> Params:
        first = force(q)
        if model == "gradient_flow":
            return jax.tree.map(lambda g: -g / _like(mechanics.friction, g), first)
        second = jax.jvp(force, (q,), (first,))[1]
        ratio = mechanics.mass / mechanics.friction**2
        return jax.tree.map(lambda g, hg: -(g + _like(ratio, g) * hg) / _like(mechanics.friction, g), first, second)

    return field


def solve_sgd(
    gradient: Gradient,
    start: Params,
    times: jax.Array,
    *,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    model: Model = "second_order",
    start_velocity: StartVelocity = "matched",
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Trajectory:
    """Integrate the continuous model of SGD and return positions and velocities at the given times.

    Step n of SGD is compared at `t = eta (1 - delta) n`. Distance from the discrete path, at a fixed time: O(eta) for
    gradient flow, for the second-order equation from rest and for the modified flow with momentum; O(eta^2) for the
    second-order equation with matched start velocity, and for the modified flow without momentum.

    Source: Tanaka & Kunin 2021, Eq. 3.
    Deviation: starts with `matched_velocity` by default; the paper leaves the start open, and Kunin et al.'s
    homogeneous solution implies rest (`start_velocity="rest"`).

    Args:
        gradient: grad f, a pure function of the parameters.
        start: q_0, a pytree of floating arrays.
        times: increasing, from 0, shape (n,), of the parameters' dtype.
        learning_rate: eta.
        momentum: beta < 1.
        weight_decay: k.
        dampening: delta.
        model: which equation.
        start_velocity: of the second-order equation.
        rtol: see `solve`.
        atol: see `solve`.

    Raises:
        ValueError: if `model` or `start_velocity` is unknown.
    """
    if model not in ("second_order", "modified_flow", "gradient_flow"):
        raise ValueError(
            f"model must be 'second_order', 'modified_flow' or 'gradient_flow', got {model!r}; choose one of them"
        )
    if start_velocity not in ("matched", "rest"):
        raise ValueError(f"start_velocity must be 'matched' or 'rest', got {start_velocity!r}; choose one of them")
    start, times = accurate_tree("start", start), accurate_array("times", times)
    hyper = {
        "learning_rate": learning_rate,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "dampening": dampening,
    }
    if model != "second_order":
        field = first_order_field(gradient, model=model, **hyper)
        position = solve(field, start, times, rtol=rtol, atol=atol)
        return Trajectory(position, jax.vmap(field)(position, times))
    if start_velocity == "rest":
        velocity = jax.tree.map(jnp.zeros_like, start)
    else:
        velocity = matched_velocity(
            gradient(start), start, momentum=momentum, weight_decay=weight_decay, dampening=dampening
        )
    field = second_order_field(gradient, **hyper)
    return solve(field, Trajectory(start, velocity), times, rtol=rtol, atol=atol)
