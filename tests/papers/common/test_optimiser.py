"""SGD is PyTorch's: against trajectories by hand, by NumPy in float64, and by torch itself where it is installed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.training import momentum_buffer, sgd, step_schedule

STEPS = 50
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
MATRIX = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]])
START = np.array([1.0, -2.0, 0.5])

# momentum, dampening, nesterov, weight_decay, drops
RULES = {
    "plain": (0.0, 0.0, False, 0.0, ()),
    "momentum": (0.9, 0.0, False, 0.0, ()),
    "momentum and decay": (0.9, 0.0, False, 0.05, ()),
    "dampening": (0.8, 0.3, False, 0.02, ()),
    "dampening without momentum": (0.0, 0.3, False, 0.02, ()),
    "nesterov": (0.9, 0.0, True, 0.02, ()),
    "drops": (0.9, 0.0, False, 0.02, (10, 30)),
    "everything": (0.7, 0.2, False, 0.1, (1, 25)),
}


def numpy_gradient(q):
    """Of q A q / 2 - sum cos q, no symmetry, not linear."""
    return MATRIX @ q + np.sin(q)


def jax_gradient(q):
    return jnp.asarray(MATRIX, q.dtype) @ q + jnp.sin(q)


def by_hand(rule, learning_rate=0.05, factor=0.1, steps=STEPS):
    """PyTorch's algorithm as its documentation prints it, in float64: all parameters, and the last buffer."""
    momentum, dampening, nesterov, decay, drops = rule
    q, buffer, path = START.copy(), None, []
    for step in range(steps):
        eta = learning_rate * factor ** sum(step >= drop for drop in drops)
        update = numpy_gradient(q) + decay * q
        if momentum != 0:
            buffer = update.copy() if buffer is None else momentum * buffer + (1 - dampening) * update
            update = update + momentum * buffer if nesterov else buffer
        q = q - eta * update
        path.append(q)
    return np.array(path), buffer


def by_optax(rule, dtype, learning_rate=0.05, steps=STEPS):
    momentum, dampening, nesterov, decay, drops = rule
    optimiser = sgd(step_schedule(learning_rate, drops), momentum, decay, dampening, nesterov)

    def step(carry, _):
        q, state = carry
        updates, state = optimiser.update({"q": jax_gradient(q)}, state, {"q": q})
        q = q + updates["q"]
        return (q, state), q

    q = jnp.asarray(START, dtype)
    (_, state), path = jax.lax.scan(step, (q, optimiser.init({"q": q})), length=steps)
    assert path.dtype == dtype
    return path, momentum_buffer(state)["q"]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_trajectories_against_numpy(name, dtype):
    expected, buffer = by_hand(RULES[name])
    with jax.enable_x64(dtype == "float64"):
        path, found = jax.jit(lambda: by_optax(RULES[name], jnp.dtype(dtype)))()
        np.testing.assert_allclose(path, expected, rtol=0, atol=TOLERANCE[dtype] * np.abs(expected).max())
        if buffer is not None:
            np.testing.assert_allclose(found, buffer, rtol=0, atol=10 * TOLERANCE[dtype])


def test_the_rules_differ():
    paths = {name: by_hand(rule)[0] for name, rule in RULES.items()}
    for one, other in itertools.combinations(paths, 2):
        assert np.abs(paths[one] - paths[other]).max() > 1e-3 * np.abs(START).max(), (one, other)


def test_two_steps_by_hand():
    optimiser = sgd(0.1, momentum=0.5, weight_decay=1.0)
    q = jnp.float32(1.0)
    state = optimiser.init(q)
    for expected_buffer, expected in ((2.0, 0.8), (2.6, 0.54)):  # gradient q: v = v/2 + (q + q), q - v/10
        updates, state = optimiser.update(q, state, q)
        q = q + updates
        assert float(momentum_buffer(state)) == pytest.approx(expected_buffer, rel=1e-6)
        assert float(q) == pytest.approx(expected, rel=1e-6)


def test_the_first_buffer_is_not_dampened():
    optimiser = sgd(0.1, momentum=0.5, dampening=0.4)
    state = optimiser.init(jnp.float32(1.0))
    for expected in (1.0, 1.1, 1.15):  # gradient 1: 1, then v/2 + 0.6
        _, state = optimiser.update(jnp.float32(1.0), state, jnp.float32(1.0))
        assert float(momentum_buffer(state)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_traced_numbers_under_jit_and_vmap(dtype):
    """Learning rate, momentum, decay and dampening are data: one program serves a whole table of them."""
    table = [(0.05, 0.9, 0.0, 0.0), (0.03, 0.5, 0.1, 0.0), (0.1, 0.0, 0.01, 0.3), (0.02, 0.8, 0.02, 0.25)]
    drops = (5, 20)
    with jax.enable_x64(dtype == "float64"):
        columns = [jnp.array(column, jnp.dtype(dtype)) for column in zip(*table, strict=True)]

        def run(eta, momentum, decay, dampening):
            return by_optax((momentum, dampening, False, decay, drops), jnp.dtype(dtype), eta)[0]

        together = jax.jit(jax.vmap(run))(*columns)
        alone = jax.jit(run)(*(column[3] for column in columns))
    for row, (eta, momentum, decay, dampening) in enumerate(table):
        expected, _ = by_hand((momentum, dampening, False, decay, drops), eta)
        np.testing.assert_allclose(together[row], expected, rtol=0, atol=TOLERANCE[dtype] * 5)
    np.testing.assert_allclose(together[3], alone, rtol=0, atol=TOLERANCE[dtype])


def test_the_schedule_drops_at_its_steps():
    schedule = jax.jit(step_schedule(0.5, (3, 5), factor=0.1))
    found = [float(schedule(jnp.int32(step))) for step in range(7)]
    np.testing.assert_allclose(found, [0.5, 0.5, 0.5, 0.05, 0.05, 0.005, 0.005], rtol=1e-6)
    with jax.enable_x64(True):
        assert float(step_schedule(0.5, (3, 5))(jnp.int32(6))) == pytest.approx(0.005, rel=1e-15)
    assert float(step_schedule(0.25)(jnp.int32(9))) == 0.25


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_trajectories_against_torch(name, dtype):
    torch = pytest.importorskip(
        "torch", reason="PyTorch, the rule's own source, is an oracle only where it is installed"
    )
    momentum, dampening, nesterov, decay, drops = RULES[name]
    q = torch.tensor(START, dtype=getattr(torch, dtype), requires_grad=True)
    matrix = torch.tensor(MATRIX, dtype=q.dtype)
    rule = torch.optim.SGD(
        [q], 0.05, momentum=momentum, dampening=dampening, nesterov=nesterov, weight_decay=decay, foreach=False
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(rule, list(drops), 0.1)
    expected = []
    for _ in range(STEPS):
        q.grad = (matrix @ q + torch.sin(q)).detach()
        rule.step()
        schedule.step()
        expected.append(q.detach().numpy().copy())
    with jax.enable_x64(dtype == "float64"):
        path, _ = jax.jit(lambda: by_optax(RULES[name], jnp.dtype(dtype)))()
    np.testing.assert_allclose(path, expected, rtol=0, atol=TOLERANCE[dtype] * np.abs(expected).max())
