"""Order of accuracy of the continuous models of SGD, and exact solutions on quadratics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from symjax.mechanics import modified_ode

HESSIAN = np.array([[2.5, 1.5], [1.5, 2.5]])  # eigenvalues 4 and 1 along (1, 1) and (-1, 1)


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


def loss(q):
    """Two parameters in a dictionary, no symmetry, no quadratic form."""
    return jnp.cos(q["a"]) + 0.5 * q["b"] ** 2 + 0.3 * jnp.sin(q["a"] * q["b"])


START = {"a": 0.9, "b": -0.7}


def descend(eta, steps, *, momentum, weight_decay, dampening=0.0):
    """PyTorch's SGD in NumPy with the hand-written gradient."""
    q, v = np.array([START["a"], START["b"]]), None
    for _ in range(steps):
        a, b = q
        inner = 0.3 * np.cos(a * b)
        g = np.array([-np.sin(a) + inner * b, b + inner * a]) + weight_decay * q
        if momentum:
            v = g if v is None else momentum * v + (1 - dampening) * g
        else:
            v = g
        q = q - eta * v
    return q


@functools.partial(jax.jit, static_argnames=("model", "start_velocity"))
def end(eta, duration, momentum, weight_decay, dampening, model, start_velocity):
    start = jax.tree.map(jnp.asarray, START)
    times = jnp.stack([jnp.zeros_like(duration), duration])
    hyper = {"learning_rate": eta, "momentum": momentum, "weight_decay": weight_decay, "dampening": dampening}
    path = modified_ode.solve_sgd(jax.grad(loss), start, times, model=model, start_velocity=start_velocity, **hyper)
    return jnp.stack([path.position["a"][-1], path.position["b"][-1]])


@pytest.mark.parametrize(
    ("model", "start_velocity", "momentum", "dampening", "order"),
    [
        ("gradient_flow", "matched", 0.0, 0.0, 1),
        ("gradient_flow", "matched", 0.5, 0.0, 1),
        ("second_order", "rest", 0.0, 0.0, 1),
        ("second_order", "rest", 0.5, 0.0, 1),
        ("second_order", "matched", 0.0, 0.0, 2),
        ("second_order", "matched", 0.5, 0.0, 2),
        ("second_order", "matched", 0.5, 0.4, 2),
        ("second_order", "matched", 0.0, 0.4, 2),
        ("modified_flow", "matched", 0.0, 0.0, 2),
        ("modified_flow", "matched", 0.5, 0.0, 1),
    ],
)
def test_order_of_accuracy(model, start_velocity, momentum, dampening, order):
    """Error at a fixed time against the discrete path: its slope in eta."""
    total, decay, errors = 0.96, 0.1, []
    for eta in (0.004, 0.002):
        step = eta * (1 - dampening if momentum else 1)
        steps = round(total / step)
        found = end(eta, jnp.asarray(steps * step), momentum, decay, dampening, model, start_velocity)
        errors.append(
            np.linalg.norm(found - descend(eta, steps, momentum=momentum, weight_decay=decay, dampening=dampening))
        )
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert abs(slopes[0] - order) < 0.1, (errors, slopes)


@pytest.mark.parametrize("start_velocity", ["matched", "rest"])
def test_quadratic_is_the_matrix_exponential(start_velocity):
    eta, beta, k = 0.1, 0.5, 0.2
    start, times = np.array([1.0, 0.0]), np.linspace(0.0, 2.0, 5)
    solver = jax.jit(
        lambda q: modified_ode.solve_sgd(
            lambda x: jnp.asarray(HESSIAN) @ x,
            q,
            jnp.asarray(times),
            learning_rate=eta,
            momentum=beta,
            weight_decay=k,
            start_velocity=start_velocity,
        )
    )
    path = solver(jnp.asarray(start))
    mass, friction, spring = eta * (1 + beta) / 2, 1 - beta, HESSIAN + k * np.eye(2)
    block = np.block([[np.zeros((2, 2)), np.eye(2)], [-spring / mass, -friction / mass * np.eye(2)]])
    velocity = -spring @ start / (1 + beta) if start_velocity == "matched" else np.zeros(2)
    expected = np.array([scipy.linalg.expm(block * t) @ np.concatenate([start, velocity]) for t in times])
    np.testing.assert_allclose(path.position, expected[:, :2], atol=1e-8)
    np.testing.assert_allclose(path.velocity, expected[:, 2:], atol=1e-7)


@pytest.mark.parametrize("model", ["modified_flow", "gradient_flow"])
def test_first_order_models_on_a_quadratic(model):
    eta, beta = 0.1, 0.3
    start, times = np.array([1.0, 0.0]), np.linspace(0.0, 1.0, 4)
    path = modified_ode.solve_sgd(
        lambda x: jnp.asarray(HESSIAN) @ x,
        jnp.asarray(start),
        jnp.asarray(times),
        learning_rate=eta,
        momentum=beta,
        model=model,
    )
    mass, friction = eta * (1 + beta) / 2, 1 - beta
    matrix = HESSIAN / friction
    if model == "modified_flow":
        matrix = matrix + mass / friction**3 * HESSIAN @ HESSIAN
    expected = np.array([scipy.linalg.expm(-matrix * t) @ start for t in times])
    np.testing.assert_allclose(path.position, expected, atol=1e-9)
    np.testing.assert_allclose(path.velocity, -expected @ matrix.T, atol=1e-8)


def test_modified_flow_descends_the_modified_loss():
    """beta = 0: the field is minus the gradient of L + (eta/4)|grad L|^2 (Barrett and Dherin)."""
    q = jax.tree.map(jnp.asarray, START)
    field = modified_ode.first_order_field(jax.grad(loss), learning_rate=0.3, momentum=0.0)

    def modified(q):
        g = jax.grad(loss)(q)
        return loss(q) + 0.3 / 4 * (g["a"] ** 2 + g["b"] ** 2)

    expected = jax.grad(modified)(q)
    found = field(q, jnp.array(0.0))
    np.testing.assert_allclose([found["a"], found["b"]], [-expected["a"], -expected["b"]], rtol=1e-13)


def test_lag_is_half_a_step():
    """Constant force: from rest the equation trails SGD by eta/2 of uniform motion; matched it does not."""
    eta, beta, steps = 0.1, 0.5, 60
    times = jnp.array([0.0, eta * steps])
    ends = {
        velocity: modified_ode.solve_sgd(
            lambda q: jnp.ones_like(q), jnp.zeros(1), times, learning_rate=eta, momentum=beta, start_velocity=velocity
        ).position[-1, 0]
        for velocity in ("matched", "rest")
    }
    v = q = 0.0
    for _ in range(steps):
        v = beta * v + 1
        q -= eta * v
    np.testing.assert_allclose(ends["matched"], q, rtol=1e-9)
    np.testing.assert_allclose(ends["rest"] - q, eta / 2 / (1 - beta), rtol=1e-7)


def test_solver_under_vmap_and_grad():
    def last(q, beta):
        return (
            modified_ode.solve_sgd(lambda x: x, q, jnp.array([0.0, 1.0]), learning_rate=0.1, momentum=beta)
            .position[-1]
            .sum()
        )

    starts, betas = jnp.array([[1.0], [2.0]]), jnp.array([0.0, 0.5])
    batched = jax.jit(jax.vmap(last))(starts, betas)
    np.testing.assert_allclose(batched[1], last(starts[1], 0.5), rtol=1e-8)
    np.testing.assert_allclose(jax.grad(last)(starts[1], 0.5), [batched[1] / 2], rtol=1e-6)  # linear in q


def test_float32():
    path = modified_ode.solve_sgd(
        lambda x: x,
        jnp.ones(2, jnp.float32),
        jnp.array([0.0, 1.0], jnp.float32),
        learning_rate=0.1,
        momentum=0.0,
        rtol=1e-6,
        atol=1e-6,
    )
    assert path.position.dtype == path.velocity.dtype == jnp.float32
    np.testing.assert_allclose(path.position[-1], 0.9**10 * np.ones(2), rtol=3e-3)


def test_inertia_against_the_definition():
    found = jax.vmap(lambda b: modified_ode.inertia(learning_rate=0.2, momentum=b, dampening=0.5))(
        jnp.array([0.0, 0.9])
    )
    np.testing.assert_allclose(found.mass, [0.1, 0.1 * 1.9 / 2], rtol=1e-14)
    np.testing.assert_allclose(found.friction, [1.0, 0.1], rtol=1e-14)
    np.testing.assert_allclose(found.duration, [0.2, 0.1], rtol=1e-14)


@pytest.mark.parametrize(("field", "value"), [("model", "third_order"), ("start_velocity", "random")])
def test_unknown_choices_are_refused(field, value):
    with pytest.raises(ValueError, match=value):
        modified_ode.solve_sgd(
            lambda x: x, jnp.ones(1), jnp.array([0.0, 1.0]), learning_rate=0.1, momentum=0.0, **{field: value}
        )
