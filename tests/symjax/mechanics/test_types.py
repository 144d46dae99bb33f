"""Every function of the mechanics without a Lagrangian takes numbers of every type, and refuses the rest by name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.mechanics import adaptive, closed_forms, discrete, laws, modified_ode

SGD = {"learning_rate": 0.5, "momentum": 0.25}
DECAYED = {**SGD, "weight_decay": 0.125}
DAMPED = {**DECAYED, "dampening": 0.5}
OSCILLATOR = {"damping": 0.5, "stiffness": 0.25}
QUADRATIC = discrete.quadratic_start(2.0)
LINEAR = discrete.linear_start(2.0)

# function and arguments that float16 and bfloat16 hold exactly; strings and states stay as they are
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "correspondence": (adaptive.rmsprop_correspondence, {"squared_norm": 4.0, **DECAYED}),
    "rmsprop_step": (
        lambda direction, average, gradient, **kw: adaptive.rmsprop_step(
            adaptive.RMSPropState(direction, average), gradient, **kw
        ),
        {"direction": [1.0, 0.0], "average": 1.0, "gradient": [0.0, 2.0], "learning_rate": 0.5, "rho": 0.5},
    ),
    "effective": (adaptive.effective_learning_rate, {"squared_norm": 4.0, **DECAYED}),
    "angular": (
        adaptive.angular_update,
        {"squared_norm": 4.0, "squared_gradient": 2.0, "learning_rate": 0.5, "weight_decay": 0.5},
    ),
    "equilibrium_angle": (adaptive.equilibrium_angle, DECAYED),
    "equilibrium_squared_norm_without_momentum": (
        adaptive.equilibrium_squared_norm_without_momentum,
        {"squared_gradient": 4.0, "learning_rate": 0.5, "weight_decay": 0.5},
    ),
    "coefficients": (closed_forms.oscillator_coefficients, {"symmetry": "scale", **DAMPED}),
    "homogeneous": (closed_forms.homogeneous, {"time": [0.0, 2.0], **OSCILLATOR}),
    "green": (closed_forms.green, {"time": [0.0, 2.0], **OSCILLATOR}),
    "oscillator_step": (
        lambda value, **kw: closed_forms.oscillator_step(closed_forms.oscillator_start(value), **kw),
        {"value": [1.0, 2.0], "force": [0.5, 1.0], **OSCILLATOR, "duration": 1.0},
    ),
    "relaxation_step": (
        closed_forms.relaxation_step,
        {"value": [1.0, 2.0], "force": [0.5, 1.0], "rate": 0.5, "duration": 2.0},
    ),
    "bernoulli_step": (
        lambda squared_norm, **kw: closed_forms.bernoulli_value(
            closed_forms.bernoulli_step(closed_forms.bernoulli_start(squared_norm), **kw)
        ),
        {"squared_norm": [1.0, 4.0], "squared_gradient": [1.0, 2.0], **DAMPED},
    ),
    "smooth_squared_gradient": (
        closed_forms.smooth_squared_gradient,
        {"momentum": 0.5, "squared_norm": 4.0, "squared_velocity": 2.0, "dampening": 0.25},
    ),
    "fourth_power_source": (closed_forms.fourth_power_source, SGD),
    "equilibrium_squared_norm": (closed_forms.equilibrium_squared_norm, {"squared_gradient": 4.0, **DECAYED}),
    "quadratic_step": (
        lambda value, **kw: discrete.quadratic_value(discrete.quadratic_step(discrete.quadratic_start(value), **kw)),
        {"value": [1.0, 2.0], "square": [1.0, 0.5], "residual": [0.5, 0.0], **DAMPED, "project_to": [4.0, np.inf]},
    ),
    "nesterov": (
        lambda **kw: discrete.quadratic_step(QUADRATIC, nesterov=True, **kw).increment,
        {"square": 1.0, "residual": 0.5, "cross": 0.5, **DAMPED},
    ),
    "linear_step": (
        lambda value, **kw: discrete.linear_value(discrete.linear_step(discrete.linear_start(value), **kw)),
        {"value": [1.0, 2.0], "residual": [0.5, 0.0], **DAMPED},
    ),
    "one_sided": (discrete.noether_charge_one_sided, {"inner": [1.0, 2.0], **SGD}),
    "central": (
        lambda **kw: discrete.noether_charge_central(
            QUADRATIC, discrete.quadratic_step(QUADRATIC, square=1.0, residual=0.5, **DECAYED), **kw
        ),
        SGD,
    ),
    "three_term": (
        discrete.quadratic_three_term,
        {"value": 4.0, "previous": 2.0, "displacement": 1.0, "previous_displacement": 0.5, **DECAYED},
    ),
    "roots": (discrete.linear_roots, DECAYED),
    "closed": (discrete.linear_closed_form, {"start": 2.0, "step": 3, **DECAYED}),
    "motion": (
        lambda **kw: laws.motion_of(lambda q: jnp.sum(q["a"] * q["a"]), **kw),
        {"position": {"a": [1.0, 2.0]}, "velocity": {"a": [0.5, 1.0]}, "acceleration": {"a": [0.0, 1.0]}},
    ),
    "law": (
        lambda value, rate, acceleration, **kw: laws.law_residual(
            "scale", laws.Motion(value, rate, acceleration), **kw
        ),
        {"value": 4.0, "rate": 1.0, "acceleration": 0.5, "kinetic": 1.0, "mass": 0.5, "friction": 1.0}
        | {"weight_decay": 0.5},
    ),
    "undriven": (laws.undriven_charge, {"start": 2.0, "time": 1.0, "mass": 0.5, "friction": 1.0}),
    "inertia": (modified_ode.inertia, {**SGD, "dampening": 0.5}),
    "matched_velocity": (
        modified_ode.matched_velocity,
        {"gradient": {"a": [1.0, 2.0]}, "start": {"a": [0.5, 1.0]}, "momentum": 0.5, "weight_decay": 0.5},
    ),
    "solve_sgd": (
        lambda start, times, **kw: modified_ode.solve_sgd(
            lambda q: q, jnp.asarray(start) if isinstance(start, list) else start, times, rtol=1e-6, atol=1e-6, **kw
        ),
        {"start": [1.0, 2.0], "times": [0.0, 1.0], **DECAYED},
    ),
}


def converted(arguments: dict[str, Any], make: Callable[[Any], Any]) -> dict[str, Any]:
    """Every number or list of numbers passed through ``make``, whole lists at once."""

    def one(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: one(entry) for name, entry in value.items()}
        return value if isinstance(value, str) else make(value)

    return {name: one(value) for name, value in arguments.items()}


LONG = {"solve_sgd", "homogeneous"}
"""Seconds each, the time to compile them once more for every type."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in CALLS])
def test_numbers_of_every_type_give_one_answer(name: str) -> None:
    function, arguments = CALLS[name]
    exact = function(**converted(arguments, lambda value: jnp.asarray(value, jnp.float64)))
    for make, tolerance in (
        (lambda value: value, 1e-12),
        (np.asarray, 1e-12),
        (lambda value: jnp.asarray(value, jnp.bfloat16), 1e-4),
        (lambda value: jnp.asarray(value, jnp.float16), 1e-4),
    ):
        trees = name in ("motion", "matched_velocity")  # a list of numbers would be a pytree of its own
        given = converted(arguments, np.asarray if trees and tolerance == 1e-12 else make)
        tolerance = 1e-4 if name == "solve_sgd" else tolerance  # the step sizes are of the dtype
        for got, wanted in zip(jax.tree.leaves(function(**given)), jax.tree.leaves(exact), strict=True):
            assert jnp.issubdtype(got.dtype, jnp.complexfloating) or got.dtype in (jnp.float32, jnp.float64)
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CALLS)
def test_integers_are_promoted(name: str) -> None:
    """Every argument that is a whole number given as an integer."""
    function, arguments = CALLS[name]
    whole = converted(
        arguments,
        lambda value: np.asarray(value, int if np.isfinite(value).all() and np.all(np.rint(value) == value) else float),
    )
    for got, wanted in zip(
        jax.tree.leaves(function(**whole)), jax.tree.leaves(function(**converted(arguments, np.asarray))), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


REFUSED = {"a text": "a", "a boolean": True, "nothing": None, "a complex number": 1j, "an object": object()}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_number_is_refused_by_its_name(name: str, what: str) -> None:
    function, arguments = CALLS[name]
    arguments = converted(arguments, np.asarray)
    for argument in arguments:
        if argument == "symmetry" or (what == "nothing" and argument in ("cross", "project_to")):
            continue
        with pytest.raises(ValueError, match=argument) as raised:
            function(**{**arguments, argument: REFUSED[what]})
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: discrete.quadratic_step(1.0, square=1.0, residual=0.0, **DECAYED),
            "state is a float, but must be the Q",
        ),
        (
            lambda: discrete.linear_step(QUADRATIC, residual=0.0, **DECAYED),
            "state is a QuadraticState, but must be the L",
        ),
        (
            lambda: discrete.linear_step(LINEAR, residual=0.0, nesterov=1, **DECAYED),
            "nesterov is 1, but",
        ),
        (lambda: discrete.noether_charge_central(QUADRATIC, LINEAR, **SGD), "state is a LinearState, but must be"),
        (
            lambda: closed_forms.oscillator_step(1.0, force=0.0, duration=1.0, **OSCILLATOR),
            "state is a float, but must",
        ),
        (
            lambda: closed_forms.bernoulli_step(1.0, squared_gradient=1.0, **DECAYED),
            "state is a float, but must be the B",
        ),
        (
            lambda: adaptive.rmsprop_step(1.0, jnp.ones(2), learning_rate=1.0, rho=0.5),
            "state is a float, but must be an",
        ),
        (
            lambda: adaptive.rmsprop_step(
                adaptive.RMSPropState(jnp.ones(2), jnp.ones(2)), jnp.ones(2), learning_rate=1.0, rho=0.5
            ),
            r"direction \(2,\), average \(2,\) and gradient \(2,\) must be \(..., n\)",
        ),
        (
            lambda: laws.law_residual("scale", 1.0, mass=1.0, friction=1.0, weight_decay=0.0),
            "motion is a float, but must be a Motion",
        ),
        (
            lambda: modified_ode.solve(lambda y, t: -y, 1.0, 2.0),
            r"times has shape \(\), but must be \(n,\), increasing",
        ),
        (
            lambda: modified_ode.solve_sgd(lambda q: q, 1.0, [0.0, 1.0], model="third_order", **SGD),
            "model must be 'second_order', 'modified_flow' or 'gradient_flow', got 'third_order'",
        ),
    ],
)
def test_other_states_and_models_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_recursion_keeps_its_dtype_in_a_scan() -> None:
    """Float64 measurements beside a float32 state, as with x64 switched on: the carry stays what it was."""

    def advance(state: Any, square: jax.Array) -> Any:
        return discrete.quadratic_step(state, square=square, residual=0.0, **DECAYED), discrete.quadratic_value(state)

    start = discrete.quadratic_start(jnp.ones(2, jnp.bfloat16))
    last, _ = jax.lax.scan(advance, start, jnp.ones((3, 2)))
    assert last.increment.dtype == start.increment.dtype == jnp.float32


def test_no_program_is_kept_for_a_users_field() -> None:
    state = {"rate": 1.0}
    field = lambda y, t: -state["rate"] * y  # noqa: E731
    times = jnp.array([0.0, 1.0])
    for rate in (1.0, 2.0):
        state["rate"] = rate
        np.testing.assert_allclose(modified_ode.solve(field, jnp.array(1.0), times)[1], np.exp(-rate), rtol=1e-8)
