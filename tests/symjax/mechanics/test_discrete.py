"""Exact discrete laws against NumPy simulations of PyTorch's SGD."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.mechanics import discrete


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


class Log(NamedTuple):
    """Measured at every step: R before it, and what the recursion may use."""

    value: np.ndarray
    square: np.ndarray
    cross: np.ndarray
    residual: np.ndarray
    rate: np.ndarray


def simulate(gradient, form, q, *, schedule, momentum, weight_decay, dampening=0.0, nesterov=False, project=None):
    """Run PyTorch's SGD in NumPy; `form(x, y)` is the bilinear form of the law, per filter."""
    buffer, log = None, []
    for n, rate in enumerate(schedule):
        g = gradient(n, q)
        full = g + weight_decay * q
        if momentum:  # as torch.optim.sgd: no buffer, hence no dampening, without momentum
            buffer = full if buffer is None else momentum * buffer + (1 - dampening) * full
        else:
            buffer = full
        update = full + momentum * buffer if nesterov else buffer
        log.append((form(q, q), form(update, update), form(update, buffer), form(q, g), rate))
        q = q - rate * update
        if project is not None:
            q = project(q)
    log.append((form(q, q), *log[-1][1:]))
    return Log(*(np.array(x) for x in zip(*log, strict=True)))


@functools.partial(jax.jit, static_argnames=("nesterov",))
def scan(start, columns, project_to, nesterov, rule):
    """Recursion over recorded columns, the rule's numbers traced: one program for all heavy-ball rules."""

    def body(state, measured):
        square, cross, residual, rate = measured
        state = discrete.quadratic_step(
            state,
            square=square,
            residual=residual,
            cross=cross,
            learning_rate=rate,
            nesterov=nesterov,
            project_to=project_to,
            **rule,
        )
        return state, (discrete.quadratic_value(state), state.unprojected)

    return jax.lax.scan(body, discrete.quadratic_start(start), columns)[1]


def predict(log, *, dtype=np.float64, nesterov=False, project_to=None, dampening=0.0, **rule):
    """Run the recursion over a log; return R_n for n = 0..N and the unprojected values."""
    columns = [jnp.asarray(x[:-1], dtype) for x in (log.square, log.cross, log.residual, log.rate)]
    start = jnp.asarray(log.value[0], dtype)
    values, unprojected = scan(start, columns, project_to, nesterov, rule | {"dampening": dampening})
    return np.concatenate([log.value[:1], np.asarray(values, np.float64)]), np.asarray(unprojected)


RULES = {
    "plain": {"momentum": 0.0, "weight_decay": 0.0},
    "decay": {"momentum": 0.0, "weight_decay": 0.02},
    "plain_dampened": {"momentum": 0.0, "weight_decay": 0.02, "dampening": 0.4},
    "heavy_ball": {"momentum": 0.9, "weight_decay": 0.0},
    "heavy_ball_decay": {"momentum": 0.9, "weight_decay": 0.01},
    "dampened": {"momentum": 0.9, "weight_decay": 0.01, "dampening": 0.5},
    "nesterov": {"momentum": 0.8, "weight_decay": 0.01, "nesterov": True},
    "nesterov_plain": {"momentum": 0.0, "weight_decay": 0.01, "nesterov": True},
}
STEPS = 300
DROPS = np.where(np.arange(STEPS) < 150, 0.05, np.where(np.arange(STEPS) < 220, 0.005, 0.02))
FILTERS, SIZE = 4, 7


def scale_loss(noise, breaking=0.0):
    """Gradient of sum_f h_n(q_f/|q_f|) with a fresh h_n each step, as from minibatches."""
    rng = np.random.default_rng(1)
    linear = rng.normal(size=(STEPS, FILTERS, SIZE)) * noise + rng.normal(size=(FILTERS, SIZE))
    quadratic = rng.normal(size=(SIZE, SIZE))

    def gradient(n, q):
        r = np.linalg.norm(q, axis=-1, keepdims=True)
        unit = q / r
        slope = linear[n] + unit @ (quadratic + quadratic.T)
        tangent = slope - unit * (unit * slope).sum(-1, keepdims=True)
        return tangent / r + breaking * (q - 1.0)

    return gradient, np.random.default_rng(2).normal(size=(FILTERS, SIZE))


def rescale_loss(noise):
    """Gradient of sum_f |a_f b_f^T - T_n|^2/2, unchanged by a -> c a, b -> b/c; q holds (a, b)."""
    rng = np.random.default_rng(3)
    target = 0.3 * rng.normal(size=(FILTERS, SIZE, SIZE)) + noise * rng.normal(size=(STEPS, FILTERS, SIZE, SIZE))

    def gradient(n, q):
        error = q[:, 0, :, None] * q[:, 1, None, :] - target[n]
        return np.stack([np.einsum("fij,fj->fi", error, q[:, 1]), np.einsum("fij,fi->fj", error, q[:, 0])], axis=1)

    return gradient, 0.7 * np.random.default_rng(4).normal(size=(FILTERS, 2, SIZE))


def norm_form(x, y):
    return (x * y).sum(-1)


def signed_form(x, y):
    return (x[:, 1] * y[:, 1]).sum(-1) - (x[:, 0] * y[:, 0]).sum(-1)


@functools.cache
def scale_log(rule, breaking=0.0):
    gradient, q = scale_loss(1.0, breaking)
    return simulate(gradient, norm_form, q, schedule=DROPS, **RULES[rule])


def test_toy_losses_have_their_symmetries():
    for gradient, q, form in [(*scale_loss(1.0), norm_form), (*rescale_loss(0.1), signed_form)]:
        assert np.abs(form(q, gradient(0, q))).max() < 1e-14


@pytest.mark.parametrize("breaking", [0.0, 0.1])
@pytest.mark.parametrize("rule", RULES)
def test_squared_norm_is_exact(rule, breaking):
    log = scale_log(rule, breaking)
    values, _ = predict(log, **RULES[rule])
    assert np.abs(log.value / log.value[0] - 1).max() > 0.05  # something happened
    np.testing.assert_allclose(values, log.value, rtol=1e-11)
    single, _ = predict(log, dtype=np.float32, **RULES[rule])
    np.testing.assert_allclose(single, log.value, rtol=1e-4)


def test_residual_matters_when_the_symmetry_is_broken():
    log = scale_log("heavy_ball_decay", 0.1)
    values, _ = predict(log._replace(residual=0 * log.residual), **RULES["heavy_ball_decay"])
    assert np.abs(values / log.value - 1).max() > 1e-2


@pytest.mark.parametrize("rule", RULES)
def test_rescale_imbalance_is_exact(rule):
    gradient, q = rescale_loss(0.1)
    log = simulate(gradient, signed_form, q, schedule=DROPS, **RULES[rule])
    scale = (q**2).sum((-1, -2))
    values, _ = predict(log, **RULES[rule])
    np.testing.assert_allclose(values / scale, log.value / scale, atol=1e-12)
    single, _ = predict(log, dtype=np.float32, **RULES[rule])
    np.testing.assert_allclose(single / scale, log.value / scale, atol=1e-5)


@pytest.mark.parametrize("rule", ["decay", "heavy_ball_decay", "dampened", "nesterov"])
@pytest.mark.parametrize("free", [False, True])
def test_projection_is_exact(rule, free):
    """After each step filters 0..2 go back to a given norm; with `free`, filter 3 is left alone."""
    gradient, q = scale_loss(1.0)
    target = norm_form(q, q)
    if free:
        target[3] = np.inf
    before = []

    def project(q):
        r2 = norm_form(q, q)
        before.append(r2)
        return q * np.where(np.isinf(target), 1.0, np.sqrt(np.where(np.isinf(target), r2, target) / r2))[:, None]

    log = simulate(gradient, norm_form, q, schedule=DROPS, project=project, **RULES[rule])
    values, unprojected = predict(log, project_to=jnp.asarray(target), **RULES[rule])
    assert np.abs(np.array(before) / log.value[0] - 1).max() > 1e-3
    np.testing.assert_allclose(unprojected, before, rtol=1e-11)
    np.testing.assert_allclose(values, log.value, rtol=1e-11)
    _, single = predict(log, dtype=np.float32, project_to=jnp.asarray(target, np.float32), **RULES[rule])
    np.testing.assert_allclose(single, before, rtol=1e-5)


def test_without_momentum_and_decay_the_norm_grows_by_the_squared_step():
    """R_{n+1} - R_n = eta^2 |g|^2, one step at a time, to rounding of R."""
    log = scale_log("plain")
    growth = log.rate[:-1, None] ** 2 * log.square[:-1]
    assert np.max(np.abs(np.diff(log.value, axis=0) - growth) / log.value[1:]) < 1e-14
    stepped = jax.vmap(step_from)(*map(jnp.asarray, (log.value[:-1], log.square[:-1], log.rate[:-1])))
    assert np.max(np.abs(np.asarray(stepped) - log.value[:-1] - growth) / log.value[1:]) < 1e-14


def step_from(value, square, rate):
    rule = {"learning_rate": rate, **RULES["plain"]}
    state = discrete.quadratic_step(
        discrete.quadratic_start(value), square=square, residual=jnp.zeros_like(value), **rule
    )
    return discrete.quadratic_value(state)


def test_all_infinite_projection_is_none():
    """To the bit, operation by operation; two compiled programs may round in another order."""
    log = Log(*(column[:12] for column in scale_log("heavy_ball_decay")))
    with jax.disable_jit():
        free, _ = predict(log, project_to=jnp.full(FILTERS, jnp.inf), **RULES["heavy_ball_decay"])
        none, _ = predict(log, **RULES["heavy_ball_decay"])
    np.testing.assert_array_equal(free, none)


def test_projection_to_start_leaves_no_trace():
    """A filter projected to its own first norm keeps it bit for bit, in float32."""
    log = scale_log("heavy_ball_decay")
    start = jnp.asarray(log.value[0], jnp.float32)
    values, _ = predict(log, dtype=np.float32, project_to=start, **RULES["heavy_ball_decay"])
    np.testing.assert_array_equal(values[-1], np.asarray(start, np.float64))


def test_long_float32_run_keeps_the_increment():
    """1e5 tiny increments: the compensated recursion holds where the plain sum stalls."""
    steps, term = 100_000, 2e-8
    state = discrete.quadratic_start(jnp.ones(3, jnp.float32))

    def body(carry, _):
        state, naive = carry
        state = discrete.quadratic_step(
            state,
            square=jnp.full(3, term, jnp.float32),
            residual=jnp.zeros(3, jnp.float32),
            learning_rate=1.0,
            momentum=0.0,
            weight_decay=0.0,
        )
        return (state, naive + jnp.full(3, term, jnp.float32)), None

    (state, naive), _ = jax.jit(lambda c: jax.lax.scan(body, c, length=steps))((state, jnp.ones(3, jnp.float32)))
    np.testing.assert_allclose(state.increment, steps * np.float32(term), rtol=1e-6)
    assert np.abs(np.asarray(naive) - 1).max() == 0  # what would happen without it


def test_step_under_vmap_with_traced_hyperparameters():
    log = scale_log("heavy_ball_decay")
    first = {"square": jnp.asarray(log.square[0]), "residual": jnp.asarray(log.residual[0])}
    starts = jnp.stack([jnp.asarray(log.value[0])] * 3)
    rates, betas, decays = jnp.array([0.1, 0.2, 0.3]), jnp.array([0.0, 0.5, 0.9]), jnp.array([0.0, 0.1, 0.2])

    def one(value, rate, beta, decay):
        state = discrete.quadratic_start(value)
        for _ in range(2):
            state = discrete.quadratic_step(
                state, learning_rate=rate, momentum=beta, weight_decay=decay, dampening=beta, **first
            )
        return discrete.quadratic_value(state)

    batched = jax.jit(jax.vmap(one))(starts, rates, betas, decays)
    for i in range(3):
        np.testing.assert_allclose(
            batched[i], one(starts[i], float(rates[i]), float(betas[i]), float(decays[i])), rtol=1e-14
        )


def test_nesterov_without_cross_is_refused():
    state = discrete.quadratic_start(jnp.ones(2))
    with pytest.raises(ValueError, match="cross"):
        discrete.quadratic_step(
            state,
            square=jnp.ones(2),
            residual=jnp.zeros(2),
            learning_rate=0.1,
            momentum=0.9,
            weight_decay=0.0,
            nesterov=True,
        )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_three_term_law(momentum):
    gradient, q = scale_loss(1.0)
    schedule = np.full(STEPS, 0.03)
    rule = {"momentum": momentum, "weight_decay": 0.02}
    log = simulate(gradient, norm_form, q, schedule=schedule, **rule)
    moved = 0.03**2 * log.square
    value = previous = jnp.asarray(log.value[0])
    last = jnp.zeros(FILTERS)
    step = jax.jit(functools.partial(discrete.quadratic_three_term, learning_rate=0.03, **rule))
    for n in range(60):
        now = jnp.asarray(moved[n])
        value, previous = step(value, previous, displacement=now, previous_displacement=last), value
        last = now
        np.testing.assert_allclose(value, log.value[n + 1], rtol=1e-12)


def test_charges_are_the_momenta_of_the_trajectory():
    """One-sided and central charges against differences of recorded positions."""
    gradient, q = scale_loss(0.0)
    rate, beta, decay = 0.02, 0.9, 0.01
    path, buffer, state, states = [q], np.zeros_like(q), discrete.quadratic_start(jnp.asarray(norm_form(q, q))), []
    states.append(state)
    for n in range(30):
        g = gradient(n, q)
        buffer = beta * buffer + g + decay * q
        state = discrete.quadratic_step(
            state,
            square=jnp.asarray(norm_form(buffer, buffer)),
            residual=jnp.asarray(norm_form(q, g)),
            learning_rate=rate,
            momentum=beta,
            weight_decay=decay,
        )
        q = q - rate * buffer
        path.append(q)
        states.append(state)
    mass = rate * (1 + beta) / 2
    n = 20
    forward = mass * norm_form(path[n], path[n + 1] - path[n]) / rate
    central = mass * norm_form(path[n], path[n + 1] - path[n - 1]) / (2 * rate)
    hyper = {"learning_rate": rate, "momentum": beta}
    one_sided = jax.jit(discrete.noether_charge_one_sided)(states[n + 1].inner, **hyper)
    np.testing.assert_allclose(one_sided, forward, rtol=1e-11)
    np.testing.assert_allclose(
        jax.jit(discrete.noether_charge_central)(states[n], states[n + 1], **hyper), central, rtol=1e-11
    )


def test_what_a_projection_sees_is_the_predicted_value() -> None:
    """Compensated like it: to the last bit in float32, where the sum still owes to the increments."""
    rng = np.random.default_rng(0)
    state = discrete.quadratic_start(jnp.zeros(20, jnp.float32))
    owed = False
    for _ in range(20):
        square, residual = (jnp.asarray(rng.standard_normal(20), jnp.float32) for _ in range(2))
        hyper = {"learning_rate": 0.3, "momentum": 0.9, "weight_decay": 0.0}
        state = discrete.quadratic_step(state, square=square, residual=residual, **hyper)
        np.testing.assert_array_equal(state.unprojected, discrete.quadratic_value(state))
        owed |= bool((state.increment + state.compensation != state.increment - state.compensation).any())
    assert owed
