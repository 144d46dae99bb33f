"""A watched optimiser: its updates are the optimiser's own, and every law and identity of its charges is exact."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from symjax.channels import Layer, mlp_channels, scalings
from symjax.conserved import forms
from symjax.symmetry import Symmetry, compose
from symjax.watch import Descent, watch

STEPS = 25
X64_ZERO = np.zeros((), np.float64)


def network(dtype=jnp.float64, widths=(4, 6, 5, 3)):
    keys = jax.random.split(jax.random.key(1), 2 * len(widths))
    return tuple(
        Layer(
            (jax.random.normal(keys[2 * i], (a, b)) / a**0.5).astype(dtype),
            (0.1 * jax.random.normal(keys[2 * i + 1], (b,))).astype(dtype),
        )
        for i, (a, b) in enumerate(itertools.pairwise(widths))
    )


X = jax.random.normal(jax.random.key(7), (32, 4), jnp.float32)
LABELS = jnp.arange(32) % 3


def loss(layers, key):
    h = X.astype(layers[0].kernel.dtype) + 0.1 * jax.random.normal(key, X.shape, layers[0].kernel.dtype)
    for kernel, bias in layers[:-1]:
        h = jax.nn.relu(h @ kernel + bias[None])
    logits = h @ layers[-1].kernel + layers[-1].bias[None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()


def symmetries(layers):
    dtype = layers[0].kernel.dtype
    shift = Symmetry(
        lambda s, q: (*q[:-1], Layer(q[-1].kernel + s["kernel"][:, None], q[-1].bias + s["bias"][None])),
        {"kernel": jnp.zeros(layers[-1].kernel.shape[0], dtype), "bias": jnp.zeros((), dtype)},
    )
    return compose(units=scalings(mlp_channels(layers), "rescale", dtype), classes=shift)


def torch_sgd(rule):
    """PyTorch's rule by hand: the oracle of the laws is another program than symjax's."""

    def init(params):
        return (jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32))

    def update(g, state, q):
        v, n = state
        rate = rule.learning_rate(n) if callable(rule.learning_rate) else rule.learning_rate
        mask = jax.tree.map(lambda _: True, q) if rule.decay_mask is None else rule.decay_mask
        g = jax.tree.map(lambda g, q, on: g + (rule.weight_decay * q if on else 0 * q), g, q, mask)
        weight = jnp.where((n == 0) | (rule.momentum == 0), 1.0, 1.0 - rule.dampening)
        v = jax.tree.map(lambda v, g: rule.momentum * v + weight.astype(g.dtype) * g, v, g)
        u = jax.tree.map(lambda v, g: g + rule.momentum * v, v, g) if rule.nesterov else v
        return jax.tree.map(lambda u: -jnp.asarray(rate, u.dtype) * u, u), (v, n + 1)

    return optax.GradientTransformation(init, update)


def train(optimiser, params, between=lambda params: params, steps=STEPS):
    state = optimiser.init(params)

    @jax.jit
    def step(params, state, key):
        updates, state = optimiser.update(jax.grad(loss)(params, key), state, params)
        return between(optax.apply_updates(params, updates)), state

    history = []
    for key in jax.random.split(jax.random.key(3), steps):
        params, state = step(params, state, key)
        history.append(state)
    return params, history


def imbalance(layers):
    """Q of the units by NumPy."""
    layers = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), layers)
    pairs = itertools.pairwise(layers)
    return [((a.kernel**2).sum(0) + a.bias**2 - (b.kernel**2).sum(1)) / 2 for a, b in pairs]


RULES = {
    "plain": Descent(0.1),
    "momentum": Descent(0.1, 0.9),
    "decay": Descent(0.1, 0.9, 0.01),
    "dampening": Descent(0.1, 0.9, 0.01, 0.5),
    "nesterov": Descent(0.05, 0.9, 0.01, nesterov=True),
    "nesterov without momentum": Descent(0.05, 0.0, 0.01, nesterov=True),
    "schedule from zero": Descent(lambda n: 0.02 * jnp.minimum(n, 10).astype(jnp.float64), 0.9, 0.01),
    "masked decay": Descent(0.1, 0.9, 0.05, decay_mask=(Layer(True, False),) * 3),
}


SPECIAL = ("momentum", "decay", "nesterov without momentum")  # cases of the others; each compiles a program of its own


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SPECIAL)) for name in RULES])
def test_laws_of_descent(name):
    params, rule = network(), RULES[name]
    trained, history = train(watch(torch_sgd(rule), symmetries(params), rule), params)
    charges = history[-1].charges
    for measured, expected in zip(charges.measured["units"].values(), imbalance(trained), strict=True):
        np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-12)
    assert max(float(jnp.max(leaf)) for leaf in jax.tree.leaves(charges.error)) < 1e-12
    moved = jax.tree.map(
        lambda now, first: jnp.max(jnp.abs(now - first)), charges.measured, history[0].charges.measured
    )
    assert min(jax.tree.leaves(moved["units"])) > 1e-4  # nothing is predicted by standing still
    assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(charges.residual)) < 1e-14
    assert int(charges.step) == STEPS


@pytest.mark.parametrize("wrong", [Descent(0.1, 0.8, 0.01), Descent(0.1, 0.9), Descent(0.11, 0.9, 0.01)])
def test_a_wrong_law_is_seen(wrong):
    params = network()
    _, history = train(watch(torch_sgd(RULES["decay"]), symmetries(params), wrong), params)
    assert max(float(jnp.max(leaf)) for leaf in jax.tree.leaves(history[-1].charges.error["units"])) > 1e-5


@pytest.mark.parametrize("optimiser", [optax.adam(0.01), optax.adamw(0.01, weight_decay=0.1), optax.sgd(0.1, 0.9)])
def test_both_orders_of_any_optimiser(optimiser):
    params = network()
    with jax.numpy_dtype_promotion("standard"):  # optax's adam mixes dtypes
        trained, history = train(watch(optimiser, symmetries(params)), params)
    charges = history[-1].charges
    assert max(float(jnp.max(leaf)) for leaf in jax.tree.leaves(charges.error)) < 1e-13
    total = sum(
        np.asarray(state.charges.first["units"]["hidden0"] + state.charges.second["units"]["hidden0"])
        for state in history
    )
    np.testing.assert_allclose(total, imbalance(trained)[0] - imbalance(params)[0], atol=1e-13)


def test_adam_breaks_at_first_order_and_descent_does_not():
    params, first = network(), {}
    for name, optimiser in (("adam", optax.adam(0.01)), ("descent", optax.sgd(0.01))):
        with jax.numpy_dtype_promotion("standard"):
            _, history = train(watch(optimiser, symmetries(params)), params, steps=3)
        first[name] = max(float(jnp.max(jnp.abs(leaf))) for leaf in history[0].charges.first["units"].values())
    assert first["adam"] > 1e-3 and first["descent"] < 1e-15


def test_updates_are_the_optimisers_own():
    params = network()
    gradient, optimiser = jax.jit(jax.grad(loss))(params, jax.random.key(0)), optax.sgd(0.1, 0.9)
    watched = watch(optimiser, symmetries(params), Descent(0.1, 0.9))
    own, _ = optimiser.update(gradient, optimiser.init(params), params)
    given, state = jax.jit(lambda g, q: watched.update(g, watched.init(q), q))(gradient, params)
    jax.tree.map(np.testing.assert_array_equal, own, given)
    assert state.inner[0].trace[0].kernel.shape == (4, 6)


def test_state_goes_through_scan_vmap_and_float32():
    params = network(jnp.float32)
    optimiser = watch(optax.sgd(0.1, 0.9), symmetries(params), Descent(0.1, 0.9))

    def run(key):
        def step(carry, key):
            updates, state = optimiser.update(jax.grad(loss)(carry[0], key), carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), state.charges.measured

        return jax.lax.scan(step, (params, optimiser.init(params)), jax.random.split(key, 50))

    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        (_, state), recorded = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(5), 2))
    assert recorded["units"]["hidden1"].shape == (2, 50, 5)
    assert recorded["units"]["hidden1"].dtype == jnp.float32
    assert max(float(jnp.max(leaf)) for leaf in jax.tree.leaves(state.charges.error["units"])) < 5e-6


def test_norms_set_back_are_followed():
    """A filter whose loss knows its direction alone, rescaled to its first norm after every step."""
    target = jax.random.normal(jax.random.key(2), (5,), jnp.float64)
    scale = Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros((), jnp.float64))

    def loss(q):
        return -q @ target / jnp.linalg.norm(q)

    optimiser = watch(optax.sgd(0.1, 0.9), scale, Descent(0.1, 0.9))
    params = jax.random.normal(jax.random.key(4), (5,), jnp.float64)
    norm, state = jnp.linalg.norm(params), optimiser.init(params)
    for _ in range(20):
        updates, state = optimiser.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        assert float(state.charges.measured) > norm**2 / 2 * (1 + 1e-9)
        params = params * norm / jnp.linalg.norm(params)
    assert float(state.charges.error) < 1e-13


def normalised(rule, between):
    """A filter and a free vector whose loss knows the filter's direction alone; the filter's norm is set back."""
    target = jax.random.normal(jax.random.key(2), (5,), jnp.float64)
    scales = Symmetry(lambda s, q: {name: jnp.exp(s[name]) * q[name] for name in q}, dict.fromkeys("ab", X64_ZERO))

    def loss(q):
        return -q["a"] @ target / jnp.linalg.norm(q["a"]) - q["b"] @ target / jnp.linalg.norm(q["b"])

    optimiser = watch(torch_sgd(rule), scales, rule, between=between)
    params = {name: jax.random.normal(jax.random.key(4 + place), (5,), jnp.float64) for place, name in enumerate("ab")}
    norm, state = jnp.linalg.norm(params["a"]), optimiser.init(params)
    step = jax.jit(lambda params, state: optimiser.update(jax.grad(loss)(params), state, params))
    for _ in range(20):
        updates, state = step(params, state)
        params = optax.apply_updates(params, updates)
        assert float(state.charges.measured["a"]) != norm**2 / 2
        params = {**params, "a": params["a"] * norm / jnp.linalg.norm(params["a"])}
    return state.charges


@pytest.mark.parametrize("between", ["followed", "nothing"])
def test_the_law_knows_norms_that_are_set_back(between):
    rule = Descent(0.1, 0.9, 0.01)
    told = normalised(rule._replace(fixed={"a": jnp.array(True), "b": False}), between)
    assert max(map(float, told.error.values())) < 1e-13
    assert float(told.predicted["a"]) == pytest.approx(float(told.measured["a"]), rel=1e-13)
    if between == "nothing":
        assert float(normalised(rule, between).error["a"]) > 1e-3


def test_a_trusted_symmetry_leaves_the_squares_alone():
    """With residual zero the drift of plain descent is eta^2 Q(g), and a decay is missed."""
    params = network()
    trust = Descent(0.1, residual="zero")
    trained, history = train(watch(torch_sgd(trust), symmetries(params), trust, between="nothing"), params)
    charges = history[-1].charges
    assert max(float(jnp.max(leaf)) for leaf in jax.tree.leaves(charges.error["units"])) < 1e-13
    drift = imbalance(trained)[0] - imbalance(params)[0]
    np.testing.assert_allclose(charges.second_sum["units"]["hidden0"], drift, rtol=0, atol=1e-13)
    gradient, watched = params, watch(torch_sgd(trust), symmetries(params), trust)  # along the generator
    missed = watched.update(gradient, watched.init(params), params)[1].charges
    assert float(jnp.max(missed.error["units"]["hidden0"])) > 1e-2


def test_forms():
    layers = network()
    words = forms(symmetries(layers), layers)
    assert set(words["units"].values()) == {"quadratic"} and set(words["classes"].values()) == {"linear"}
    rotation = Symmetry(lambda s, q: q + s * jnp.array([-q[1], q[0]]), jnp.zeros((), jnp.float64))
    assert forms(rotation, jnp.ones(2)) == "none"
    curved = Symmetry(lambda s, q: q + s * q**2, jnp.zeros((), jnp.float64))
    assert forms(curved, jnp.ones(3)) == "none"
    both = compose(turn=rotation, scale=Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros((), jnp.float64)))
    assert forms(both, jnp.ones(2)) == {"turn": "none", "scale": "quadratic"}
    state = watch(optax.sgd(0.1), both).init(jnp.array([1.0, 2.0]))
    assert state.charges.measured["turn"] is None and float(state.charges.measured["scale"]) == 2.5


def test_a_linear_group_has_a_matrix_of_charges():
    one = jnp.eye(3, dtype=jnp.float64)  # of the group; a matrix exponential has the same tangents and compiles long
    mixing = Symmetry(
        lambda s, q: {"u": q["u"] @ jnp.linalg.inv(one + s), "v": (one + s) @ q["v"]},
        jnp.zeros((3, 3), jnp.float64),
    )
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "u": jax.random.normal(keys[0], (2, 3), jnp.float64),
        "v": jax.random.normal(keys[1], (3, 4), jnp.float64),
    }
    assert forms(mixing, params) == "matrix"
    y = jax.random.normal(keys[2], (2, 4), jnp.float64)
    rule = Descent(0.02, 0.9, 0.01)
    optimiser = watch(torch_sgd(rule), mixing, rule)
    state = optimiser.init(params)

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda q: jnp.sum((q["u"] @ q["v"] - y) ** 2))(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(20):
        params, state = step(params, state)
    u, v = np.asarray(params["u"]), np.asarray(params["v"])
    np.testing.assert_allclose(state.charges.measured, (v @ v.T - u.T @ u) / 2, atol=1e-13)
    assert float(jnp.max(state.charges.error)) < 1e-12


def test_size_is_the_sum_of_the_squares():
    params = network()
    size = watch(optax.sgd(0.1), symmetries(params)).init(params).charges.size
    expected = ((params[0].kernel ** 2).sum(0) + params[0].bias ** 2 + (params[1].kernel ** 2).sum(1)) / 2
    np.testing.assert_allclose(size["units"]["hidden0"], expected, rtol=1e-12)
    assert float(size["classes"]["bias"]) == pytest.approx(float(jnp.abs(params[-1].bias).sum()))


def test_bad_input_is_one_sentence():
    params = network()
    with pytest.raises(ValueError, match="between is 'all', but must be"):
        watch(optax.sgd(0.1), symmetries(params), between="all")
    for fixed, sentence in (({"none": True}, "a prefix of the symmetry's zero"), (True, "fixed holds for a linear")):
        with pytest.raises(ValueError, match=sentence):
            watch(optax.sgd(0.1), symmetries(params), Descent(0.1, fixed=fixed)).init(params)
    with pytest.raises(ValueError, match="law is a float"):
        watch(optax.sgd(0.1), symmetries(params), law=0.1)
    watched = watch(optax.sgd(0.1), symmetries(params))
    state = watched.init(params)
    with pytest.raises(ValueError, match="params is None"):
        watched.update(params, state)
    with pytest.raises(ValueError, match="different tree structures"):
        watched.update(params[:2], state, params)
    rotation = Symmetry(lambda s, q: q + s * jnp.array([-q[1], q[0]]), jnp.zeros((), jnp.float64))
    with pytest.raises(ValueError, match="symmetry has no charge"):
        watch(optax.sgd(0.1), rotation).init(jnp.ones(2))
