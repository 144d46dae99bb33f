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
from symjax.symmetry import Symmetry, generator

NUMPY = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "leaky_square": lambda x: np.where(x > 0, x, 0.1 * x) ** 2 + 0.01 * x,
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


def grid(name: str) -> np.ndarray:
    """Where the primitive exists: that of leaky_square ends at its minimum."""
    return GRID[GRID > -0.5] if name == "leaky_square" else GRID


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
    places = grid(name)
    x = jnp.asarray(places)
    slope = (NUMPY[name](places + step) - NUMPY[name](places - step)) / (2 * step)
    np.testing.assert_allclose(activation.derivative(x), slope, rtol=1e-6, atol=1e-7)
    primitive = jax.jit(activation.primitive)
    rise = (np.asarray(primitive(x + step)) - np.asarray(primitive(x - step))) / (2 * step)
    expected = np.where(slope == 0, 0, NUMPY[name](places) / np.where(slope == 0, 1, slope))
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
    square = jnp.array([points, points])
    np.testing.assert_allclose(arctan.primitive(square), [exact, exact], rtol=1e-12)
    assert defined(square, arctan).tolist() == [[True] * 3] * 2
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
    assert defined(x.reshape(1, 5), gelu).tolist() == [defined(x, gelu).tolist()]
    square = custom("square", lambda t: (t - 1) ** 3 + 1)  # sigma' touches 0 at 1 without changing its sign
    assert defined(jnp.array([0.5, 2.0]), square).tolist() == [True, False]
    assert defined(jnp.array([1.0, 800.0]), "tanh").tolist() == [True, False]


INVERTIBLE = [name for name in POINTWISE if get(name).inverse is not None]


@pytest.mark.parametrize("name", INVERTIBLE)
def test_finite_flow(name: str) -> None:
    """Identity, composition, invariance of U sigma(V), the generator of the table, and the same under vmap."""
    act, params = partial(flow, activation=name), weights()
    if name == "leaky_square":  # left of its minimum the flow would lead to the other branch
        params = params[0], jnp.maximum(params[1], 0.01 * params[1])
    s, t = jnp.array([0.3, 0.1, 0.7, 0.4]), jnp.array([0.2, 0.5, 0.1, 0.3])
    same, twice, once = act(jnp.zeros(H), params), act(t, act(s, params)), act(s + t, params)
    for got, expected in zip((*same, *twice), (*params, *once), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert float(jnp.max(jnp.abs(once[1] - params[1]))) > 0.1
    before, after = (np.asarray(u) @ NUMPY[name](np.asarray(v)) for u, v in (params, once))
    np.testing.assert_allclose(after, before, rtol=1e-12)
    tangent = jax.jit(lambda p: generator(Symmetry(act, jnp.zeros(H)), p, jnp.ones(H)))(params)
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


def test_equal_slopes_make_equal_activations_of_the_library() -> None:
    assert leaky_relu(0.2) == leaky_relu(np.float64(0.2)) and hash(leaky_relu(2)) == hash(leaky_relu(2.0))
    assert activations.is_library(leaky_relu(0.2)) and leaky_relu(0.2) != leaky_relu(0.3)
    assert not activations.is_library(leaky_relu(0.2)._replace(derivative=jnp.ones_like))
    np.testing.assert_allclose(leaky_relu(0.2).function(jnp.array([-2.0, 2.0])), [-0.4, 2.0])
    assert leaky_relu(3.0).lipschitz == 3.0


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_leaky_square_against_scipy_and_at_its_minimum(dtype: Any) -> None:
    """Its primitive, relative to itself down to 1e-6; right of -1/2 only; the other branch has no flow."""

    def integrand(t: float) -> float:
        slope = 2 * t + 0.01 if t > 0 else 0.02 * t + 0.01
        return float(NUMPY["leaky_square"](t)) / slope

    points = np.array([-0.49, -0.13, -0.12, -1e-3, 1e-6, 1e-3, 2e-3, 0.5, 3.0])
    exact = [scipy.integrate.quad(integrand, 0, x, epsabs=0, epsrel=1e-12)[0] for x in points]
    found = activations.get("leaky_square").primitive(jnp.asarray(points, dtype))
    np.testing.assert_allclose(found, exact, rtol=1e-11 if dtype == jnp.float64 else 3e-5)
    assert defined(jnp.array([-0.51, -0.5, -0.49, 5.0], dtype), "leaky_square").tolist() == [False, False, True, True]
    params = jnp.ones((1, 2), dtype), jnp.array([[-0.4], [-0.7]], dtype)
    assert valid(jnp.zeros(2, dtype), params, "leaky_square").tolist() == [True, False]
    moved = jax.jit(partial(flow, activation="leaky_square"))(jnp.zeros(2, dtype), params)[1]
    np.testing.assert_allclose(moved[0], -0.4, rtol=1e-5)
    assert np.isnan(moved[1]).all()


RADIAL_SCALES = (1e-30, 1e-20, 1e20, 1e30)


@pytest.mark.parametrize("name", ["radial", "squash", "radial_tanh", "row_radial"])
def test_radial_activations_over_scales_of_float32(name: str) -> None:
    """The function of the norm times the direction, where the square of the norm leaves float32."""
    z = np.asarray(hidden(), np.float32)
    for scale in RADIAL_SCALES:
        given = z * np.float32(scale)
        expected = NUMPY[name](np.asarray(given, np.float64))
        with np.errstate(over="ignore", under="ignore"):
            rounded = expected.astype(np.float32)
        np.testing.assert_allclose(get(name).function(jnp.asarray(given)), rounded, rtol=1e-5, atol=1e-37)


def directed(z: jax.Array) -> jax.Array:
    size = jnp.sqrt(jnp.sum(z * z, axis=0, keepdims=True))
    return z * jnp.log1p(size) / size


def test_custom_of_every_group() -> None:
    """The groups of the registry, each by what has it; a radial one has an angular momentum like the library's."""
    made = {
        "general_linear": custom("twice", lambda z: 2 * z, degree=1, group="general_linear"),
        "positive_diagonal": custom("fifth", lambda z: z**5, degree=5, group="positive_diagonal"),
        "orthogonal": custom("directed", directed, pointwise=False, group="orthogonal"),
        "sign": custom("arctan", jnp.arctan, group="sign"),
        "permutation": custom("rows", lambda z: z - z.mean(axis=0, keepdims=True), pointwise=False),
    }
    assert {activation.group for activation in made.values()} == set(made)
    radial = made["orthogonal"]
    assert radial.primitive is None and radial.defined is None and not radial.pointwise
    with pytest.raises(ValueError, match="activation is 'directed', but the ratio .* needs a pointwise one"):
        ratio(jnp.ones(2), radial)
    degree = custom("unit", lambda z: z / jnp.linalg.norm(z, axis=0, keepdims=True), pointwise=False, degree=0)
    assert degree.degree == 0.0
    inside = jax.jit(lambda x: ratio(x, custom("arctan", jnp.arctan, group="sign")))(jnp.array(2.0))
    np.testing.assert_allclose(inside, np.arctan(2) * 5, rtol=1e-12)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"degree": 2}, "activation 'c' is not homogeneous of degree 2"),
        ({"group": "orthogonal"}, "activation 'c' does not commute with the group 'orthogonal'"),
        ({"group": "general_linear"}, "activation 'c' does not commute with the group 'general_linear'"),
        ({"group": "positive_diagonal"}, "activation 'c' has positive scalings, but its degree is not given"),
        ({"group": "positive_diagonal", "degree": 1.0}, "activation 'c' is not homogeneous of degree 1"),
        ({"group": "all"}, "group is 'all', but it must be one of general_linear"),
        ({"function": jax.nn.sigmoid, "group": "sign"}, "does not commute with the group 'sign'"),
        ({"function": directed}, "activation 'c' does not act entry by entry: give pointwise=False"),
        ({"function": lambda z: jnp.cumsum(z, axis=0), "pointwise": False}, "commute with the group 'permutation'"),
        ({"function": lambda z: z[:1]}, r"activation 'c' gives shape \(1, 3\) for one of \(4, 3\)"),
        ({"derivative": jnp.ones_like}, "activation 'c' has another derivative"),
        ({"inverse": jnp.tan}, "activation 'c' has another inverse on its range"),
        ({"lipschitz": 0.1}, "0.1 is no bound"),
        ({"pointwise": False, "inverse": jnp.arctanh}, "only pointwise activations have one"),
        ({"derivative": 1.0}, "derivative of 'c' is 1.0, but must be a function of an array"),
        ({"panels": True}, "panels is True, but must be an integer of at least 1"),
        ({"degree": "1"}, "degree is '1', but must be an array of real numbers"),
    ],
)
def test_a_claim_that_does_not_hold_is_refused(claims: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        custom("c", **{"function": jnp.tanh, **claims})


def test_no_program_is_kept_for_a_users_activation() -> None:
    """A function that reads what has changed since gives the new answer, in every function that takes an activation."""
    state = {"slope": 2.0}
    mine = custom("mine", lambda x: state["slope"] * x + x**3, inverse=lambda y: y, range=(0.0, 1e-9))
    x = jnp.array([0.5, 1.0])
    for slope in (2.0, 5.0):
        state["slope"] = slope
        exact = (slope * x + x**3) / (slope + 3 * x**2)
        np.testing.assert_allclose(ratio(x, mine), exact, rtol=1e-13)
    borrowed = get("tanh")._replace(primitive=lambda x: state["slope"] * x)
    for slope in (3.0, 4.0):
        state["slope"] = slope
        np.testing.assert_allclose(ratio(x, borrowed), slope)


TYPES = {
    "a list": [0.5, 2.0],
    "float16": np.array([0.5, 2.0], np.float16),
    "bfloat16": jnp.array([0.5, 2.0], jnp.bfloat16),
    "float32": np.array([0.5, 2.0], np.float32),
}


@pytest.mark.parametrize("given", TYPES)
def test_numbers_of_every_type(given: str) -> None:
    x = TYPES[given]
    np.testing.assert_allclose(np.asarray(ratio(x, "tanh")), np.sinh([0.5, 2]) * np.cosh([0.5, 2]), rtol=1e-5)
    assert ratio(x, "tanh").dtype == (jnp.float64 if given == "a list" else jnp.float32)
    assert defined(x, "tanh").tolist() == [True, True]
    u, v = flow(x, (np.ones((1, 2), int), [[3], [4]]), "relu")
    np.testing.assert_allclose(u, [np.exp([0.5, 2.0])], rtol=1e-3)
    np.testing.assert_allclose(v[:, 0], [3, 4] / np.exp([0.5, 2.0]), rtol=1e-3)
    assert valid(x, (np.ones((1, 2), int), [[3], [4]]), "relu").tolist() == [True, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get("swish"), "activation is 'swish', but it must be one of linear, relu"),
        (lambda: leaky_relu(0.0), "slope is 0.0, but"),
        (lambda: custom("c", jnp.tanh, nodes=2), "nodes is 2, but must be at least 4"),
        (lambda: get(3), "activation is 3, but it must be one of linear"),
        (lambda: leaky_relu("a"), "slope is 'a', but must be an array of real numbers"),
        (lambda: ratio("a", "tanh"), "x is 'a', but"),
        (lambda: ratio(True, "tanh"), "x is True, but"),
        (lambda: defined(jnp.array([1j]), "tanh"), "x is an array of dtype complex128, but"),
        (lambda: flow(None, weights(), "tanh"), "s is None, but"),
        (lambda: valid(jnp.zeros(H), 1.0, "tanh"), r"params is a float, but must be the pair \(u, v\)"),
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
