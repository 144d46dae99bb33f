"""Activations against NumPy, SciPy, finite differences and the groups they promise."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special

from symjax import activations
from symjax.activations import Activation, custom, defined, flow, get, leaky_relu, ratio, valid
from symjax.symmetry import generator

NUMPY = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "relu_squared": lambda x: np.maximum(x, 0) ** 2,
    "cube": lambda x: x**3,
    "tanh": np.tanh,
    "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(x, 0),
    "radial": lambda z: z / np.sum(z**2, axis=0),
    "squash": lambda z: z * np.sqrt(np.sum(z**2, axis=0)) / (1 + np.sum(z**2, axis=0)),
    "radial_tanh": lambda z: z * np.tanh(np.linalg.norm(z, axis=0)) / np.linalg.norm(z, axis=0),
    "row_radial": lambda z: z / np.sum(z**2, axis=1, keepdims=True),
}
POINTWISE = [name for name in NUMPY if get(name).pointwise]
GRID = np.linspace(-2.9, 3.1, 41)  # not through 0, where ReLU has its corner
H, K = 4, 3


def hidden(seed: int = 0, dtype: Any = jnp.float64) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal((H, K)), dtype)


def weights(seed: int = 0) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((2, H))), jnp.asarray(rng.standard_normal((H, K)))


def test_registry_is_the_table() -> None:
    assert set(activations.names()) == set(NUMPY)


@pytest.mark.parametrize(("name", "dtype"), [*((name, jnp.float64) for name in NUMPY), ("squash", jnp.float32)])
def test_function(name: str, dtype: Any, tolerance: Any) -> None:
    z = hidden(dtype=dtype)
    value = jax.vmap(get(name).function)(jnp.stack([z, -z]))
    assert value.dtype == dtype
    for got, given in zip(value, (z, -z), strict=True):
        np.testing.assert_allclose(got, NUMPY[name](np.asarray(given, np.float64)), rtol=tolerance("oracle", dtype))


@pytest.mark.parametrize("name", POINTWISE)
def test_derivative_and_primitive_against_central_differences(name: str) -> None:
    activation, step = get(name), 1e-4
    x = jnp.asarray(GRID)
    slope = (NUMPY[name](GRID + step) - NUMPY[name](GRID - step)) / (2 * step)
    np.testing.assert_allclose(activation.derivative(x), slope, rtol=1e-6, atol=1e-7)
    primitive = jax.jit(activation.primitive)
    rise = (np.asarray(primitive(x + step)) - np.asarray(primitive(x - step))) / (2 * step)
    expected = np.where(slope == 0, 0, NUMPY[name](GRID) / np.where(slope == 0, 1, slope))
    np.testing.assert_allclose(rise, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ratio(x, name), expected, rtol=1e-6, atol=1e-7)
    assert bool(jnp.all(defined(x, name)))


def test_ratio_of_the_table() -> None:
    x = jnp.asarray(GRID)
    np.testing.assert_allclose(ratio(x, "tanh"), np.sinh(GRID) * np.cosh(GRID), rtol=1e-13)
    np.testing.assert_allclose(ratio(x, "sigmoid"), 1 + np.exp(GRID), rtol=1e-13)
    np.testing.assert_allclose(get("tanh").primitive(x), np.cosh(GRID) ** 2 / 2, rtol=1e-13)
    np.testing.assert_allclose(get("sigmoid").primitive(x), GRID + np.exp(GRID), rtol=1e-13)


def test_softplus_against_quadrature_and_its_asymptotes() -> None:
    primitive = jax.jit(get("softplus").primitive)
    near = [-3.0, 0.5, 8.0, 0.0]
    values = [scipy.integrate.quad(lambda t: np.logaddexp(t, 0) * (1 + np.exp(-t)), 0, x)[0] for x in near]
    rise = np.asarray(primitive(jnp.array(near)))
    np.testing.assert_allclose(rise - rise[-1], values, rtol=1e-12, atol=1e-14)
    # the dilogarithm by SciPy: spence(1 + w) = Li2(-w)
    np.testing.assert_allclose(rise[-1], -scipy.special.spence(2.0) - 2 * np.log(2), rtol=1e-14)
    far = jnp.array([-800.0, -40.0, 40.0, 800.0])
    np.testing.assert_allclose(primitive(far), [-801, -41, 800 + np.pi**2 / 6, 320000 + np.pi**2 / 6])
    np.testing.assert_allclose(ratio(far, "softplus"), [1, 1, 40, 800], rtol=1e-12)


@pytest.mark.parametrize("name", NUMPY)
def test_lipschitz_constant_is_a_bound_and_is_nearly_attained(name: str) -> None:
    constant = get(name).lipschitz
    rng = np.random.default_rng(3)
    a = rng.standard_normal((H, 4000)) * np.exp(rng.uniform(-3, 1, 4000))
    b = a + 1e-3 * rng.standard_normal(a.shape) * np.linalg.norm(a, axis=0)
    if name in ("squash", "radial_tanh"):  # the steepest direction is along the vector, at one radius
        a[:, 0] = np.array([1, 0, 0, 0]) * (1 / np.sqrt(3) if name == "squash" else 1e-3)
        b[:, 0] = a[:, 0] * 1.001
    if name == "row_radial":
        a, b = a.T, b.T
    axis = 1 if name == "row_radial" else 0
    growth = np.linalg.norm(NUMPY[name](a) - NUMPY[name](b), axis=axis) / np.linalg.norm(a - b, axis=axis)
    assert growth.max() <= constant * (1 + 1e-9)
    assert growth.max() > (8 if np.isinf(constant) else 0.8 * constant)


@pytest.mark.parametrize("name", NUMPY)
def test_degree(name: str) -> None:
    activation, z = get(name), hidden()
    scaled = np.asarray(activation.function(3 * z)) / np.asarray(activation.function(z) + 1e-300)
    live = np.asarray(activation.function(z)) != 0
    homogeneous = np.ptp(scaled[live]) < 1e-12 * np.abs(scaled[live]).max()
    assert homogeneous == (activation.degree is not None)
    if homogeneous:
        np.testing.assert_allclose(scaled[live], 3.0**activation.degree, rtol=1e-13)


def group_elements(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "general_linear": rng.standard_normal((H, H)),
        "orthogonal": np.linalg.qr(rng.standard_normal((H, H)))[0],
        "positive_diagonal": np.diag(np.exp(rng.standard_normal(H))),
        "sign": np.diag([1.0, -1, -1, 1]),
        "permutation": np.eye(H)[[2, 0, 3, 1]],
    }


# What each group contains, and what the activations have beyond their continuous group.
ALSO = {
    "general_linear": {"general_linear", "orthogonal", "positive_diagonal", "sign", "permutation"},
    "orthogonal": {"orthogonal", "sign", "permutation"},
    "positive_diagonal": {"positive_diagonal", "permutation"},
    "sign": {"sign", "permutation"},
    "permutation": {"permutation"},
}
ODD = {"cube", "row_radial"}


@pytest.mark.parametrize("name", NUMPY)
def test_equivariance_holds_for_the_group_and_for_no_other(name: str) -> None:
    """Some linear pi(g) with sigma(g z) = pi(g) sigma(z) for many samples, found by least squares."""
    activation = get(name)
    rng = np.random.default_rng(1)
    z = rng.standard_normal((H, 60))
    if name == "row_radial":  # its rows are normalised over samples: pi(g) must be found from several data sets
        z = rng.standard_normal((20, H, 3))
    for group, g in group_elements(rng).items():
        moved, value = (
            np.concatenate([np.asarray(activation.function(jnp.asarray(each))) for each in stack], axis=1)
            for stack in ((g @ z, z) if z.ndim == 3 else ((g @ z)[None], z[None]))
        )
        pi = np.linalg.lstsq(value.T, moved.T, rcond=None)[0].T
        error = np.linalg.norm(moved - pi @ value) / np.linalg.norm(moved)
        promised = group in ALSO[activation.group] | ({"sign"} if name in ODD else set())
        assert error < 1e-12 if promised else error > 1e-3, group


CLOSED = {
    "tanh": 0.0,
    "sigmoid": 0.0,
    "softplus": 0.0,
    "cube": 0.0,
    "relu": 0.5,
}


@pytest.mark.parametrize(
    "name", ["sigmoid", "softplus", *(pytest.param(n, marks=pytest.mark.slow) for n in ("tanh", "cube", "relu"))]
)
def test_quadrature_agrees_with_the_closed_form(name: str) -> None:
    activation = get(name)
    numeric = custom(name, NUMPY_AS_JAX[name], base=CLOSED[name])
    x = jnp.asarray(np.linspace(0.2, 3.0, 9) if name == "relu" else np.linspace(-3.0, 3.0, 12))
    assert bool(jnp.all(defined(x, numeric)))
    exact = jax.jit(activation.primitive)(jnp.append(x, CLOSED[name]))
    np.testing.assert_allclose(jax.jit(numeric.primitive)(x), exact[:-1] - exact[-1], rtol=1e-10, atol=1e-10)


NUMPY_AS_JAX = {name: get(name).function for name in CLOSED}


def test_custom_against_scipy_in_both_precisions() -> None:
    arctan = custom("arctan", jnp.arctan, lipschitz=1.0)
    points = [-3.0, 0.3, 2.0]
    exact = [scipy.integrate.quad(lambda t: np.arctan(t) * (1 + t * t), 0, x, epsabs=1e-13)[0] for x in points]
    np.testing.assert_allclose(jax.jit(arctan.primitive)(jnp.array(points)), exact, rtol=1e-12)
    single = jax.vmap(arctan.primitive)(jnp.array(points, jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, exact, rtol=1e-5)
    # the derivative of the quadrature is the integrand itself
    np.testing.assert_allclose(jax.grad(arctan.primitive)(jnp.array(2.0)), np.arctan(2) * 5, rtol=1e-14)


@pytest.mark.slow
def test_vanishing_derivative_has_a_status() -> None:
    """GELU's minimum is near -0.75; a ReLU is flat on the left; a shifted cube touches sigma' = 0 at 1."""
    gelu = custom("gelu", partial(jax.nn.gelu, approximate=False))
    x = jnp.array([-2.0, -0.8, -0.7, 0.0, 1.0])
    assert defined(x, gelu).tolist() == [False, False, True, True, True]
    assert jax.jit(jax.vmap(partial(defined, activation=gelu)))(x).tolist() == defined(x, gelu).tolist()
    relu = custom("my_relu", jax.nn.relu, base=0.5)
    assert defined(jnp.array([-1.0, 0.2, 2.0]), relu).tolist() == [False, True, True]
    square = custom("square", lambda t: (t - 1) ** 3 + 1)  # sigma' touches 0 at 1 without changing its sign
    assert defined(jnp.array([0.5, 2.0]), square).tolist() == [True, False]
    assert defined(jnp.array([1.0, 800.0]), "tanh").tolist() == [True, False]


INVERTIBLE = [name for name in POINTWISE if get(name).inverse is not None]


@pytest.mark.parametrize("name", INVERTIBLE)
def test_finite_flow(name: str) -> None:
    """Identity, composition, invariance of U sigma(V), the generator of the table, and the same under vmap."""
    act, params = partial(flow, activation=name), weights()
    s, t = jnp.array([0.3, 0.1, 0.7, 0.4]), jnp.array([0.2, 0.5, 0.1, 0.3])
    same, twice, once = act(jnp.zeros(H), params), act(t, act(s, params)), act(s + t, params)
    for got, expected in zip((*same, *twice), (*params, *once), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert float(jnp.max(jnp.abs(once[1] - params[1]))) > 0.1
    before, after = (np.asarray(u) @ NUMPY[name](np.asarray(v)) for u, v in (params, once))
    np.testing.assert_allclose(after, before, rtol=1e-12)
    tangent = jax.jit(lambda p: generator(act, jnp.zeros(H), p, jnp.ones(H)))(params)
    np.testing.assert_allclose(tangent[0], params[0], rtol=1e-13)
    np.testing.assert_allclose(tangent[1], -ratio(params[1], name), rtol=1e-10, atol=1e-14)
    assert bool(jnp.all(valid(s, params, name)))


def test_finite_flow_compiled_and_batched() -> None:
    act, params = partial(flow, activation="tanh"), weights()
    s = jnp.array([[0.3, 0.1, 0.7, 0.4], [0.2, 0.5, 0.1, -9.0]])
    batched = jax.jit(jax.vmap(act, (0, None)))(s, params)
    np.testing.assert_allclose(batched[1][0], act(s[0], params)[1], rtol=1e-12)
    status = jax.jit(jax.vmap(partial(valid, activation="tanh"), (0, None)))(s, params)
    assert status.all(axis=1).tolist() == [True, False]


def test_flow_leaves_its_domain_only_where_it_says() -> None:
    params = jnp.ones((1, 2)), jnp.array([[0.0, 0.5], [-3.0, -4.0]])
    s = jnp.array([-1.0, -1.0])
    assert valid(s, params, "sigmoid").tolist() == [False, True]
    with pytest.raises(ValueError, match=r"s is -1.0 for neuron 0, but .* range \(0.0, 1.0\) of activation 'sigmoid'"):
        flow(s, params, "sigmoid")
    moved = jax.jit(partial(flow, activation="sigmoid"))(s, params)[1]
    assert np.isfinite(moved).all(axis=1).tolist() == [False, True]
    assert valid(s, params, "relu").tolist() == [True, True]
    assert valid(jnp.zeros(2), (params[0], 30 * params[1]), "tanh").tolist() == [True, False]


def test_zero_norm_is_zero_with_a_finite_derivative() -> None:
    z = hidden().at[:, 1].set(0).at[2, :].set(0)
    for name in ("radial", "squash", "radial_tanh", "row_radial"):
        value, slope = jax.jvp(get(name).function, (z,), (jnp.ones_like(z),))
        assert np.isfinite(value).all() and np.isfinite(slope).all()
        assert not np.asarray(value[2] if name == "row_radial" else value[:, 1]).any()


def test_leaky_relu_is_made_once() -> None:
    assert leaky_relu(0.2) is leaky_relu(0.2)
    np.testing.assert_allclose(leaky_relu(0.2).function(jnp.array([-2.0, 2.0])), [-0.4, 2.0])
    assert leaky_relu(3.0).lipschitz == 3.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get("swish"), "activation is 'swish', but it must be one of linear, relu"),
        (lambda: leaky_relu(0.0), "slope is 0.0, but"),
        (lambda: custom("c", jnp.tanh, nodes=2), "panels is 8 and nodes is 2"),
        (lambda: custom("c", jnp.tanh, base=float("nan")), "base is nan"),
        (lambda: ratio(jnp.ones(2), "squash"), "activation is 'squash', but the ratio .* pointwise one: linear"),
        (lambda: flow(jnp.zeros(3), weights(), "tanh"), r"s, u and v have shapes \(3,\), \(2, 4\) and \(4, 3\)"),
        (lambda: flow(jnp.zeros(H), weights(), custom("c", jnp.arctan)), "activation 'c' has no inverse"),
    ],
)
def test_bad_input_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_activation_is_returned_as_it_is() -> None:
    assert get(get("tanh")) is get("tanh") and isinstance(get("tanh"), Activation)
