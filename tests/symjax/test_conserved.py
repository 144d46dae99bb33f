"""Conserved quantities: ``<grad L, M theta> = 0`` for every row of the table, and where it fails."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special

from symjax import activations, conserved
from symjax.actions import skew, transform
from symjax.activations import custom, get, leaky_relu, ratio
from symjax.channels import Layer
from symjax.symmetry import Symmetry, pairing

M, H, N, K = 3, 4, 5, 7
POINTWISE = [name for name in activations.names() if get(name).pointwise and name != "leaky_square"]
HOMOGENEOUS = ["linear", "relu", "leaky_relu", "relu_squared", "cube", "row_radial"]
# sigma/sigma' of the paper's table, in NumPy
RATIO = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: x,
    "relu_squared": lambda x: np.maximum(x, 0) / 2,
    "cube": lambda x: x / 3,
    "tanh": lambda x: np.sinh(x) * np.cosh(x),
    "sigmoid": lambda x: 1 + np.exp(x),
    "softplus": lambda x: np.logaddexp(x, 0) * (1 + np.exp(-x)),
}
RADIAL = ["radial", "squash", "radial_tanh"]


def weights(seed: int = 0, dtype: Any = jnp.float64) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((M, H)), dtype), jnp.asarray(rng.standard_normal((H, N)), dtype)


def data(kind: str, dtype: Any = jnp.float64) -> tuple[jax.Array, jax.Array]:
    """Inputs (N, K) and targets (M, K)."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((N, K))
    if kind == "orthogonal":
        x = np.linalg.qr(rng.standard_normal((N, N)))[0]
    if kind == "whitened":  # X X^T is the identity, with more samples than inputs
        x = np.linalg.qr(x.T)[0].T
    return jnp.asarray(x, dtype), jnp.asarray(rng.standard_normal((M, x.shape[1])), dtype)


def output(params: tuple[jax.Array, jax.Array], activation: Any, x: jax.Array) -> jax.Array:
    u, v = params
    hidden = get(activation).function(jnp.matmul(v, x, precision="highest"))
    return jnp.matmul(u, hidden, precision="highest")


@partial(jax.jit, static_argnums=1)
def gradient(params: tuple[jax.Array, jax.Array], activation: Any, x: jax.Array, y: jax.Array) -> Any:
    return jax.grad(lambda p: jnp.sum((output(p, activation, x) - y) ** 2))(params)


def cosine(tangent: Any, covector: Any) -> float:
    """``<tangent, covector>`` over the product of their norms, in NumPy."""
    a, b = (
        np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(t)])
        for t in (tangent, covector)
    )
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def tangent(m: Any, params: tuple[jax.Array, jax.Array], degree: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The action of M in the algebra: ``(-alpha U M, M V)``."""
    u, v = (np.asarray(leaf, np.float64) for leaf in params)
    return -degree * u @ np.asarray(m), np.asarray(m) @ v


BOUND = {jnp.float64: 1e-13, jnp.float32: 1e-5}
DTYPES = list(BOUND)


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_row_every_matrix(dtype: Any) -> None:
    x, y = data("any", dtype)
    params = weights(dtype=dtype)
    g = gradient(params, "linear", x, y)
    for i in range(H):
        for j in range(H):
            m = np.zeros((H, H))
            m[i, j] = 1
            assert abs(cosine(tangent(m, params), g)) < BOUND[dtype]
    (u, v), (gu, gv) = (tuple(np.asarray(leaf, np.float64) for leaf in pair) for pair in (params, g))
    assert np.linalg.norm(v @ gv.T - gu.T @ u) < BOUND[dtype] * np.linalg.norm(gu.T @ u) * 10
    # d/dt of the matrix along the flow, by its own derivative
    rate = jax.jvp(conserved.matrix, params, jax.tree.map(jnp.negative, g))[1]
    assert float(jnp.max(jnp.abs(rate))) < 10 * BOUND[dtype] * np.linalg.norm(gu.T @ u)


@pytest.mark.parametrize(("name", "dtype"), [*((name, jnp.float64) for name in HOMOGENEOUS), ("relu", jnp.float32)])
def test_homogeneous_row_diagonals_with_any_data(name: str, dtype: Any) -> None:
    x, y = data("any", dtype)
    params = weights(1, dtype)
    g = gradient(params, name, x, y)
    for i in range(H):
        assert abs(cosine(tangent(np.diag(np.eye(H)[i]), params, get(name).degree), g)) < BOUND[dtype]
    slope = jax.jacrev(conserved.homogeneous, (0, 1))(*params, name)
    for i in range(H):
        assert abs(cosine(tuple(each[i] for each in slope), g)) < BOUND[dtype]


@pytest.mark.parametrize("slope", [0.1, 2.0])
def test_homogeneous_row_leaky_slopes(slope: float) -> None:
    x, y = data("any")
    params, activation = weights(2), leaky_relu(slope)
    g = gradient(params, activation, x, y)
    assert max(abs(cosine(tangent(np.diag(np.eye(H)[i]), params), g)) for i in range(H)) < 1e-13


@pytest.mark.parametrize("name", ["relu", "relu_squared", "cube", "leaky_relu", "row_radial"])
def test_off_diagonals_are_not_conserved(name: str) -> None:
    x, y = data("any")
    params = weights(1)
    g = gradient(params, name, x, y)
    m = np.ones((H, H)) - np.eye(H)
    assert abs(cosine(tangent(m, params, get(name).degree), g)) > 1e-3


def test_positive_diagonals_keep_the_function_and_negative_ones_do_not() -> None:
    x, _ = data("any")
    u, v = weights(1)
    c = jnp.exp(jnp.array([0.5, -1.0, 0.2, 2.0]))
    for name in HOMOGENEOUS:
        before = output((u, v), name, x)
        after = output((u * c[None] ** -get(name).degree, v * c[:, None]), name, x)
        np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-12)
    flip = jnp.array([-1.0, 1, 1, 1])
    flipped = output((u * flip[None], v * flip[:, None]), "relu", x)
    assert float(jnp.max(jnp.abs(flipped - output((u, v), "relu", x)))) > 0.1
    for name in ("tanh", "cube"):  # odd ones have the discrete sign symmetry
        np.testing.assert_allclose(
            output((u * flip[None], v * flip[:, None]), name, x), output((u, v), name, x), rtol=1e-12
        )


@pytest.mark.parametrize(("name", "dtype"), [*((name, jnp.float64) for name in RADIAL), ("squash", jnp.float32)])
def test_radial_row_rotations_and_no_conserved_matrix(name: str, dtype: Any) -> None:
    x, y = data("any", dtype)
    params = weights(3, dtype)
    g = gradient(params, name, x, y)
    j = conserved.angular_momentum(*params, *jax.tree.map(jnp.negative, g), name)
    assert float(jnp.max(jnp.abs(j))) < 10 * BOUND[dtype] * float(jnp.linalg.norm(g[0]) * jnp.linalg.norm(params[0]))
    rng = np.random.default_rng(0)
    rotation = jnp.asarray(np.linalg.qr(rng.standard_normal((H, H)))[0], dtype)
    turned = (params[0] @ rotation.T, rotation @ params[1])
    np.testing.assert_allclose(output(turned, name, x), output(params, name, x), rtol=1e4 * float(jnp.finfo(dtype).eps))
    a = rng.standard_normal((H, H))
    assert abs(cosine(tangent(a - a.T, params), g)) < BOUND[dtype]
    assert abs(cosine(tangent(a + a.T, params), g)) > 1e-3
    rate = jax.jvp(conserved.matrix, params, jax.tree.map(jnp.negative, g))[1]
    assert float(jnp.max(jnp.abs(rate))) > 1e-2


@pytest.mark.parametrize("name", [*HOMOGENEOUS, "radial"])
def test_total_of_any_activation_with_a_degree(name: str) -> None:
    """Also of the column-radial one, whose neurons have no quantities of their own; any data."""
    x, y = data("any")
    params = weights(3)
    g = gradient(params, name, x, y)
    total = partial(conserved.homogeneous_total, activation=name)
    slope = jax.grad(total, (0, 1))(*params)
    assert abs(cosine(slope, g)) < 1e-13
    u, v = (np.asarray(leaf) for leaf in params)
    np.testing.assert_allclose(total(*params), (get(name).degree * np.sum(u**2) - np.sum(v**2)) / 2, rtol=1e-13)
    if name == "radial":
        neurons = jax.jacrev(lambda a, b: conserved.homogeneous(a, b, -1.0), (0, 1))(*params)
        assert min(abs(cosine(tuple(each[i] for each in neurons), g)) for i in range(H)) > 1e-3
        # another radial activation is not homogeneous, and this total is not conserved by it
        assert abs(cosine(slope, gradient(params, "squash", x, y))) > 1e-3
        np.testing.assert_allclose(total(*weights(3, jnp.float32)), total(*params), rtol=1e-6)


def test_angular_momentum_sees_a_rotating_velocity() -> None:
    u, v = weights(3)
    turn = skew(jnp.arange(1.0, 7.0), H)
    j = conserved.angular_momentum(u, v, u @ turn.T, turn @ v, "radial")
    oracle = np.zeros((H, H))
    du, dv = np.asarray(u @ turn.T), np.asarray(turn @ v)
    for a in range(H):
        for b in range(H):
            for row in range(M):
                oracle[a, b] += u[row, a] * du[row, b] - du[row, a] * u[row, b]
            for column in range(N):
                oracle[a, b] += v[a, column] * dv[b, column] - dv[a, column] * v[b, column]
    np.testing.assert_allclose(j, oracle, rtol=1e-12)
    assert np.abs(oracle).max() > 1


@pytest.mark.parametrize(("name", "dtype"), [*((name, jnp.float64) for name in POINTWISE), ("tanh", jnp.float32)])
def test_pointwise_row_each_neuron_with_orthogonal_data(name: str, dtype: Any) -> None:
    x, y = data("orthogonal", dtype)
    u, v = weights(4, dtype)
    gu, gv = gradient((u, v), name, x, y)
    charges = partial(conserved.pointwise, activation=name)
    slope_u, slope_v = jax.jit(jax.jacrev(charges, (0, 1)))(u, jnp.matmul(v, x, precision="highest"))
    # in the coordinates of the pre-activations V X the gradient is G X, because X is orthogonal
    pre = jnp.matmul(gv, x, precision="highest")
    for i in range(H):
        assert abs(cosine((slope_u[i], slope_v[i]), (gu, pre))) < BOUND[dtype]
        expected = np.zeros((M, H))
        expected[:, i] = u[:, i]
        np.testing.assert_allclose(slope_u[i], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_whitened_data_with_more_samples_than_inputs_fails(name: str) -> None:
    x, y = data("whitened")
    np.testing.assert_allclose(x @ x.T, np.eye(N), atol=1e-14)
    u, v = weights(4)
    field = u, -ratio(v, name)
    assert abs(cosine(field, gradient((u, v), name, x, y))) > 1e-2


@pytest.mark.parametrize("name", POINTWISE)
def test_gradient_of_each_neurons_quantity_by_finite_differences(name: str) -> None:
    u, v = weights(5)
    step, charges = 1e-5, partial(conserved.pointwise, activation=name)
    rng = np.random.default_rng(1)
    du, dv = rng.standard_normal((M, H)), rng.standard_normal((H, N))
    rise = (charges(u + step * du, v + step * dv) - charges(u - step * du, v - step * dv)) / (2 * step)
    expected = np.sum(np.asarray(u) * du, axis=0) - np.sum(RATIO[name](np.asarray(v)) * dv, axis=1)
    np.testing.assert_allclose(rise, expected, rtol=1e-7, atol=1e-8)


def test_scales_of_the_table() -> None:
    u, v = (np.asarray(leaf) for leaf in weights(6))
    norm, q = np.sum(u**2, axis=0), partial(conserved.pointwise, *weights(6))
    np.testing.assert_allclose(q("linear", "paper"), norm - np.sum(v**2, axis=1), rtol=1e-13)
    np.testing.assert_allclose(q("relu", "paper"), norm - np.sum(np.maximum(v, 0) ** 2, axis=1), rtol=1e-13)
    np.testing.assert_allclose(q("tanh", "paper"), norm - np.sum(np.cosh(v) ** 2, axis=1), rtol=1e-13)
    np.testing.assert_allclose(q("sigmoid", "paper"), norm / 2 - np.sum(v + np.exp(v), axis=1), rtol=1e-13)
    for name, factor in (("linear", 2), ("relu", 2), ("tanh", 2), ("sigmoid", 1)):
        np.testing.assert_allclose(q(name, "paper"), factor * np.asarray(q(name)), rtol=1e-15)
    zero = jnp.zeros((2, 3)), jnp.zeros((3, 4))
    assert float(jnp.sum(conserved.pointwise(*zero, "tanh", "paper"))) == -12
    assert float(jnp.sum(conserved.pointwise(*zero, "sigmoid", "paper"))) == -12
    np.testing.assert_allclose(jnp.diagonal(conserved.matrix(*weights(6))), q("linear"), rtol=1e-13)
    np.testing.assert_allclose(
        conserved.homogeneous(*weights(6), 3.0), (3 * norm - np.sum(v**2, axis=1)) / 2, rtol=1e-13
    )


def test_quadrature_gives_the_same_quantity() -> None:
    u, v = weights(6)
    mine = custom("mine", jnp.tanh)
    offset = N / 2  # cosh(0)^2/2 for each input
    exact = conserved.pointwise(u, v, "tanh") + offset
    np.testing.assert_allclose(jax.jit(partial(conserved.pointwise, activation=mine))(u, v), exact, rtol=1e-10)


def deep(seed: int = 0) -> tuple[Layer, ...]:
    rng = np.random.default_rng(seed)
    sizes = [(N, H), (H, 3), (3, 2)]
    return tuple(Layer(jnp.asarray(rng.standard_normal(s)), jnp.asarray(rng.standard_normal(s[1]))) for s in sizes)


def deep_gradient(layers: tuple[Layer, ...], activation: str) -> tuple[Layer, ...]:
    x, y = data("any")

    def loss(q: tuple[Layer, ...]) -> jax.Array:
        value = x.T
        for i, layer in enumerate(q):
            value = value @ layer.kernel + layer.bias[None]
            value = get(activation).function(value) if i < len(q) - 1 else value
        return jnp.sum((value - y.T[:, :2]) ** 2)

    return jax.jit(jax.grad(loss))(layers)


def rates(quantity: Any, layers: Any, velocity: Any) -> tuple[float, float]:
    """Largest time derivative of a quantity, and of each of its two halves alone (which do move)."""
    total = jax.jvp(quantity, (layers,), (velocity,))[1]
    still = tuple(
        Layer(*(jnp.zeros_like(leaf) for leaf in layer)) if i % 2 else layer for i, layer in enumerate(velocity)
    )
    half = jax.jvp(quantity, (layers,), (still,))[1]
    return tuple(max(float(jnp.max(jnp.abs(each))) for each in parts) for parts in (total, half))


def test_deep_linear_with_biases() -> None:
    layers = deep()
    g = deep_gradient(layers, "linear")
    total, half = rates(conserved.deep_linear, layers, g)
    assert total < 1e-13 * half and half > 1
    q = conserved.deep_linear(layers)
    for i, value in enumerate(q):
        w, b, reader = (np.asarray(each) for each in (layers[i].kernel.T, layers[i].bias, layers[i + 1].kernel.T))
        np.testing.assert_allclose(value, (reader.T @ reader - w @ w.T - np.outer(b, b)) / 2, rtol=1e-12, atol=1e-13)
        gw, gr = np.asarray(g[i].kernel.T), np.asarray(g[i + 1].kernel.T)
        np.testing.assert_allclose(gw @ w.T + np.outer(g[i].bias, b), reader.T @ gr, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["relu", pytest.param("cube", marks=pytest.mark.slow)])
def test_deep_homogeneous_with_biases(name: str) -> None:
    layers = deep(1)
    g = deep_gradient(layers, name)
    total, half = rates(partial(conserved.homogeneous_layers, degree=name), layers, g)
    assert total < 1e-13 * half and half > 1
    for i, value in enumerate(conserved.homogeneous_layers(layers, name)):
        w, b, reader = (np.asarray(each) for each in (layers[i].kernel, layers[i].bias, layers[i + 1].kernel))
        expected = (get(name).degree * np.sum(reader**2, axis=1) - np.sum(w**2, axis=0) - b**2) / 2
        np.testing.assert_allclose(value, expected, rtol=1e-12)
    wrong = rates(partial(conserved.homogeneous_layers, degree=1.5), layers, g)
    assert wrong[0] > 1e-2 * wrong[1]


def linear_flow(s: jax.Array, params: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """To first order in s the action of GL(h), which is all that generators see."""
    return params[0] - params[0] @ s, params[1] + s @ params[1]


def test_quadratic_of_any_flow_and_its_own_direction() -> None:
    """``<theta, M theta>/2`` for symmetric M, and ``d/dt Q_M(exp(tM) theta) = |M theta|^2``."""
    u, v = weights(8)
    half = conserved.quadratic(Symmetry(linear_flow, jnp.zeros((H, H))), (u, v))
    np.testing.assert_allclose(half, -conserved.matrix(u, v), rtol=1e-12)
    m = np.random.default_rng(0).standard_normal((H, H))
    m = m + m.T

    def along(t: float) -> float:
        g = scipy.linalg.expm(t * m)
        moved = jnp.asarray(np.asarray(u) @ np.linalg.inv(g)), jnp.asarray(g @ np.asarray(v))
        return -float(np.sum(m * np.asarray(conserved.matrix(*moved))))

    rise = (along(1e-5) - along(-1e-5)) / 2e-5
    size = sum(np.sum(each**2) for each in tangent(m, (u, v)))
    np.testing.assert_allclose(rise, size, rtol=1e-7)


def test_group_law_on_q() -> None:
    u, v = weights(9)
    g = np.random.default_rng(2).standard_normal((H, H))
    inverse = np.linalg.inv(g)
    layers = Layer(v.T, jnp.zeros(H)), Layer(u.T, jnp.zeros(M))
    first, second = transform(jnp.asarray(g), layers)
    moved = conserved.matrix(second.kernel.T, first.kernel.T)
    expected = inverse.T @ np.asarray(u.T @ u) @ inverse - g @ np.asarray(v @ v.T) @ g.T
    np.testing.assert_allclose(moved, expected / 2, rtol=1e-11, atol=1e-11)


def spiral_loss(q: jax.Array) -> jax.Array:
    """Constant along ``q' = (1 + J) q``, J the quarter turn: it sees the angle minus the logarithm of the radius."""
    return jnp.sin(jnp.arctan2(q[1], q[0]) - jnp.log(jnp.sum(q * q)) / 2)


def test_polar_form_of_a_spiral() -> None:
    """M is a symmetry and its symmetric part, the scale, is not: the quadratic form moves as the areal term says."""
    m, q = jnp.array([[1.0, -1.0], [1.0, 1.0]]), jnp.array([0.7, -1.1])
    velocity = -jax.grad(spiral_loss)(q)
    form = conserved.polar_form(lambda p: m @ p, q, velocity)
    assert abs(velocity @ (m @ q)) < 1e-13 and abs(form.quadratic - form.areal) < 1e-13
    np.testing.assert_allclose(form.quadratic, q @ velocity, rtol=1e-13)
    np.testing.assert_allclose(form.areal, -(q[0] * velocity[1] - q[1] * velocity[0]), rtol=1e-13)
    assert abs(form.quadratic) > 0.1


def test_polar_form_is_the_sum_over_planes() -> None:
    """Any velocity: the areal side with angles by finite differences, the quadratic side with a dense matrix."""
    params, velocity = weights(10), weights(11)
    m = jnp.asarray(np.random.default_rng(3).standard_normal((H, H)))
    form = conserved.polar_form(lambda q: (-q[0] @ m, m @ q[1]), params, velocity)
    flat, speed = (np.concatenate([np.ravel(leaf) for leaf in pair]) for pair in (params, velocity))
    columns = [np.concatenate([np.ravel(leaf) for leaf in tangent(m, split(row))]) for row in np.eye(flat.size)]
    dense = np.array(columns).T
    s, a = (dense + dense.T) / 2, (dense - dense.T) / 2
    np.testing.assert_allclose(form.quadratic, speed @ s @ flat, rtol=1e-12)
    i, j, step = *np.triu_indices(flat.size, 1), 1e-6
    before, after = (np.arctan2(flat[j] + t * speed[j], flat[i] + t * speed[i]) for t in (-step, step))
    turn = (after - before + np.pi) % (2 * np.pi) - np.pi
    areal = np.sum(a[i, j] * (flat[i] ** 2 + flat[j] ** 2) * turn) / (2 * step)
    np.testing.assert_allclose(form.areal, areal, rtol=1e-6)


def split(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return flat[: M * H].reshape(M, H), flat[M * H :].reshape(H, N)


@pytest.mark.parametrize("rate", [1e-3, 1e-2, 0.1])
def test_discrete_drift_is_exact(rate: float) -> None:
    """One step of gradient descent, in NumPy with twice the precision of a double where the platform has it."""
    x, y = data("any")
    params = weights(11)
    g = gradient(params, "linear", x, y)
    (u, v), (gu, gv) = (tuple(np.asarray(leaf, np.longdouble) for leaf in pair) for pair in (params, g))
    after = (u - rate * gu).T @ (u - rate * gu) - (v - rate * gv) @ (v - rate * gv).T
    change = (after - (u.T @ u - v @ v.T)) / 2
    drift = conserved.discrete_drift(*g, rate)
    # what remains is eta times the gradient's own rounding in the identity that makes the linear term vanish
    np.testing.assert_allclose(
        np.asarray(drift, np.longdouble), change, atol=1e-13 * rate * np.linalg.norm(np.asarray(gu))
    )
    assert np.abs(change).max() > 1e3 * 1e-13 * rate * np.linalg.norm(np.asarray(gu))


def test_discrete_drift_of_any_flow() -> None:
    """``eta^2 quadratic(symmetry, gradient)``: a deep ReLU network, all neurons."""
    layers, rate = deep(2), 1e-3
    g = deep_gradient(layers, "relu")
    moved = jax.tree.map(lambda q, dq: q - rate * dq, layers, g)
    before, after, drift = (conserved.homogeneous_layers(each, 1.0) for each in (layers, moved, g))
    for a, b, expected in zip(after, before, drift, strict=True):
        np.testing.assert_allclose(a - b, rate**2 * expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_one_step_of_a_pointwise_activation_drifts_at_second_order(name: str) -> None:
    x, y = data("orthogonal")
    u, v = weights(12)
    gu, gv = gradient((u, v), name, x, y)

    def drift(rate: float) -> float:
        before, after = (conserved.pointwise(a, b @ x, name) for a, b in ((u, v), (u - rate * gu, v - rate * gv)))
        return float(jnp.linalg.norm(after - before))

    assert abs(np.log2(drift(2e-5) / drift(1e-5)) - 2) < 0.01


def test_functions_compose_with_jit_and_vmap() -> None:
    u, v = (jnp.stack(pair) for pair in zip(weights(13), weights(14), strict=True))
    for one in (
        conserved.matrix,
        partial(conserved.pointwise, activation="sigmoid"),
        partial(conserved.homogeneous, degree="cube"),
        partial(conserved.homogeneous_total, activation="radial"),
        partial(conserved.discrete_drift, learning_rate=0.1),
        lambda a, b: conserved.angular_momentum(a, b, a, 2 * b, "squash"),
        lambda a, b: conserved.polar_form(lambda q: (-q[0], q[1]), (a, b), (b.T[:M], a.T @ jnp.ones((M, N)))),
    ):
        together = jax.jit(jax.vmap(one))(u, v)
        for got, expected in zip(jax.tree.leaves(together), jax.tree.leaves(one(u[1], v[1])), strict=True):
            np.testing.assert_allclose(got[1], expected, rtol=1e-12, atol=1e-12)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), deep(3), deep(4))
    for many in (conserved.deep_linear, partial(conserved.homogeneous_layers, degree=2.0)):
        for got, expected in zip(jax.jit(jax.vmap(many))(stacked), many(deep(4)), strict=True):
            np.testing.assert_allclose(got[1], expected, rtol=1e-12, atol=1e-12)


U, V = jnp.ones((M, H)), jnp.full((H, N), -1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conserved.matrix(U, V.T), r"u and v have shapes \(3, 4\) and \(5, 4\), but"),
        (lambda: conserved.discrete_drift(U, V.T, 0.1), "gradient_u and gradient_v have shapes"),
        (lambda: conserved.homogeneous(U, V, "tanh"), "activation is 'tanh', but homogeneous Q .* linear, relu, leaky"),
        (lambda: conserved.homogeneous(U, V, "radial"), "activation is 'radial', but homogeneous Q"),
        (lambda: conserved.homogeneous(U, V, 0.0), "degree is 0.0, but"),
        (lambda: conserved.homogeneous(U, V, True), "degree is True, but"),
        (lambda: conserved.homogeneous(U, V, [1.0, 2.0]), r"degree has shape \(2,\), but must be one number"),
        (lambda: conserved.matrix("a", V), "u is 'a', but must be an array of real numbers"),
        (lambda: conserved.matrix(U, V > 0), "v is an array of dtype bool, but"),
        (lambda: conserved.matrix(U[:0], V), r"u and v have shapes \(0, 4\) and \(4, 5\), .* not empty"),
        (lambda: conserved.discrete_drift(U, 1j * V, 0.1), "gradient_v is an array of dtype complex128, but"),
        (lambda: conserved.discrete_drift(U, V, "fast"), "learning_rate is 'fast', but"),
        (lambda: conserved.homogeneous_total(U, V, None), "activation is None, but"),
        (lambda: conserved.angular_momentum(U, V, None, V, "radial"), "velocity_u is None, but"),
        (lambda: conserved.polar_form(lambda q: q**2, U, U), "generator is not linear in params"),
        (lambda: conserved.polar_form(lambda q: q, U, V), r"velocity has shapes \(4, 5\), but those of params are"),
        (lambda: conserved.polar_form(lambda q: q[0], U, U), r"generator returns the shapes \(4,\), but must map"),
        (lambda: conserved.deep_linear((*deep()[:2], "last")), r"layers\[2\] is a str, but must be a Layer"),
        (lambda: conserved.homogeneous_total(U, V, "squash"), "activation is 'squash', but .* linear, .* radial, row_"),
        (lambda: conserved.homogeneous_total(U, V, float("nan")), "activation is the degree nan, but"),
        (lambda: conserved.homogeneous_total(U, V.T, 1.0), "u and v have shapes"),
        (
            lambda: conserved.pointwise(U.astype("float32"), V.astype("float32").at[1, 2].set(50.0), "tanh"),
            "v holds 50.0, but the integral of sigma/sigma' of 'tanh' does not reach it: it must be finite in float32",
        ),
        (lambda: conserved.homogeneous_layers(deep(), "sigmoid"), "activation is 'sigmoid', but homogeneous Q"),
        (lambda: conserved.homogeneous_layers(deep()[:1], 1.0), "layers has length 1, but"),
        (
            lambda: conserved.deep_linear(deep()[::-1]),
            r"layers\[1\] has kernel \(4, 3\) and bias \(3,\), but its input has 2 entries",
        ),
        (
            lambda: conserved.angular_momentum(U, V, U, V, "relu"),
            "activation is 'relu', but angular momentum needs one with that symmetry: linear, radial, squash",
        ),
        (lambda: conserved.angular_momentum(U, V, U, V.T, "radial"), r"velocities have shapes \(3, 4\) and \(5, 4\)"),
        (lambda: conserved.pointwise(U, V, "squash"), "activation is 'squash', but Q of each neuron"),
        (lambda: conserved.pointwise(U, V, "cube", "paper"), "scale is 'paper', but the authors' code knows linear"),
        (lambda: conserved.pointwise(U, V, "tanh", "double"), "scale is 'double'"),
        (
            lambda: conserved.pointwise(U, V, custom("gelu", partial(jax.nn.gelu, approximate=False))),
            "v holds -1.0, but the integral of sigma/sigma' of 'gelu' does not reach it",
        ),
        (lambda: conserved.orbit_dimension("relu", 0, 1, 1), "m is 0, but must be at least 1"),
        (lambda: conserved.orbit_dimension("relu", 1, 1.0, 1), "h is 1.0, but must be an integer of at least 1"),
        (lambda: conserved.xavier_moments("cube", 1, 1, 1), "activation is 'cube', but moments are known for linear"),
        (lambda: conserved.xavier_moments("tanh", 1, 0, 1), "h is 0, but must be at least 1"),
        (lambda: conserved.xavier_moments("tanh", 1, 1, 1, "third"), "scale is 'third'"),
    ],
)
def test_bad_input_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_zero_pairing_is_the_identity_of_the_flow() -> None:
    """The identity once more through the library's own pairing, for the finite flow of an activation."""
    x, y = jnp.eye(N), data("any")[1][:, :N]
    params = weights(15)
    for name in ("tanh", "softplus"):
        g = gradient(params, name, x, y)
        residual = pairing(Symmetry(partial(activations.flow, activation=name), jnp.zeros(H)), params, g)
        assert float(jnp.max(jnp.abs(residual))) < 1e-12 * float(jnp.linalg.norm(g[0]))


NO_CHARGE = {
    "translation": (lambda s, q: (q[0] + s, q[1]), jnp.zeros(())),
    "rotation": (lambda s, q: (q[0] + q[0] @ skew(s, H).T, q[1]), jnp.zeros(6)),
    "spiral": (
        lambda s, q: (q[0] + s * q[0] @ (jnp.eye(H) + skew(jnp.ones(6), H)).astype(q[0].dtype), q[1]),
        jnp.zeros(()),
    ),
    "pointwise": (partial(activations.flow, activation="sigmoid"), jnp.zeros(H)),
    "cubic": (lambda s, q: (q[0] + s * q[0] ** 3, q[1]), jnp.zeros(())),
    "affine": (lambda s, q: (jnp.exp(s) * (q[0] - 1) + 1, q[1]), jnp.zeros(())),
    "one of two": (lambda s, q: (jnp.exp(s["a"]) * q[0], q[1] + s["b"]), {"a": jnp.zeros(()), "b": jnp.zeros(())}),
}


@pytest.mark.parametrize("kind", NO_CHARGE)
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_a_flow_without_a_quadratic_charge_is_refused(kind: str, dtype: Any) -> None:
    """Eagerly, under jit and under vmap; at parameters of any size, zero too, where Q would look conserved."""
    flow, zero = NO_CHARGE[kind]
    zero = jax.tree.map(lambda leaf: leaf.astype(dtype), zero)
    params = weights(8, dtype)
    for point in (params, jax.tree.map(lambda leaf: 0 * leaf, params)):
        with jax.numpy_dtype_promotion("standard"):
            with pytest.raises(ValueError, match="is not linear and symmetric, so it does not conserve"):
                conserved.quadratic(Symmetry(flow, zero), point)
            with pytest.raises(ValueError, match="is not linear and symmetric"):
                jax.jit(lambda q: conserved.quadratic(Symmetry(flow, zero), q))(point)
    status = conserved.has_quadratic(Symmetry(flow, zero), params)
    assert not all(bool(jnp.all(leaf)) for leaf in jax.tree.leaves(status))
    if kind == "one of two":
        assert bool(status["a"]) and not bool(status["b"])
        with pytest.raises(ValueError, match=r"coordinate \['b'\] is not linear"):
            conserved.quadratic(Symmetry(flow, zero), params)


def test_a_flow_that_reads_traced_values_has_a_traced_status() -> None:
    params = weights(8)

    @jax.jit
    def status(shift: jax.Array) -> jax.Array:
        return conserved.has_quadratic(
            Symmetry(lambda s, q: (jnp.exp(s) * q[0] + s * shift, q[1]), jnp.zeros(())), params
        )

    assert bool(status(0.0)) and not bool(status(1.0))
    stretched = jax.jit(
        lambda c: conserved.quadratic(Symmetry(lambda s, q: (jnp.exp(c * s) * q[0], q[1]), jnp.zeros(())), params)
    )
    np.testing.assert_allclose(stretched(3.0), 1.5 * np.sum(np.asarray(params[0]) ** 2), rtol=1e-13)


def test_beyond_a_pole_there_is_no_number() -> None:
    """GELU's sigma' vanishes near -0.75: what lies beyond is refused eagerly and is NaN in compiled code."""
    gelu = custom("gelu", partial(jax.nn.gelu, approximate=False))
    u, v = jnp.ones((M, 2)), jnp.array([[0.5, -0.4], [0.5, -2.0]])
    for activation in (gelu, "leaky_square"):
        found = jax.jit(partial(conserved.pointwise, activation=activation))(u, v)
        assert np.isnan(found).tolist() == [False, True]
        slope = jax.jit(jax.jacrev(lambda v, a=activation: conserved.pointwise(u, v, a)))(v)
        assert np.isfinite(slope[0, 0]).all()
    inner = scipy.integrate.quad(lambda t: t * scipy.special.ndtr(t) / derivative_of_gelu(t), 0, 0.5)[0]
    inner += scipy.integrate.quad(lambda t: t * scipy.special.ndtr(t) / derivative_of_gelu(t), 0, -0.4)[0]
    np.testing.assert_allclose(
        jax.jit(partial(conserved.pointwise, activation=gelu))(u, v)[0], M / 2 - inner, rtol=1e-9
    )


def derivative_of_gelu(t: float) -> float:
    return float(scipy.special.ndtr(t) + t * np.exp(-t * t / 2) / np.sqrt(2 * np.pi))


QUANTITIES = {
    "matrix": conserved.matrix,
    "pointwise": partial(conserved.pointwise, activation="relu"),
    "homogeneous": partial(conserved.homogeneous, degree=2),
    "homogeneous_total": partial(conserved.homogeneous_total, activation=np.float32(2.0)),
    "discrete_drift": partial(conserved.discrete_drift, learning_rate=1),
    "angular_momentum": lambda u, v: conserved.angular_momentum(u, v, np.asarray(u)[:, ::-1], v, "radial"),
    "quadratic": lambda u, v: conserved.quadratic(
        Symmetry(lambda s, q: (jnp.exp(s).astype(q[0].dtype) * q[0], q[1]), jnp.zeros(())), (u, v)
    ),
    "polar_form": lambda u, v: conserved.polar_form(lambda q: (-q[0], q[1]), (u, v), (v, u)),
    "homogeneous_layers": lambda u, v: conserved.homogeneous_layers(dense(u, v), 2),
    "deep_linear": lambda u, v: conserved.deep_linear(dense(u, v)),
}


def dense(u: Any, v: Any) -> tuple[Layer, ...]:
    return Layer(jnp.asarray(v).T, jnp.zeros(len(v))), Layer(jnp.asarray(u).T, jnp.zeros(len(u)))


@pytest.mark.parametrize("name", QUANTITIES)
def test_quantities_of_numbers_of_every_type(name: str) -> None:
    """Integers, lists and NumPy as float64; half precision as its own numbers summed in float32."""
    rng = np.random.default_rng(3)
    whole = rng.integers(-9, 9, (40, 40)), rng.integers(-9, 9, (40, 40))
    exact = QUANTITIES[name](*(jnp.asarray(leaf, jnp.float64) for leaf in whole))
    lists = tuple(leaf.tolist() for leaf in whole) if name not in ("homogeneous_layers", "deep_linear") else whole
    for given, dtype in (
        (whole, jnp.float64),
        (lists, jnp.float64),
        (tuple(jnp.asarray(leaf, jnp.bfloat16) for leaf in whole), jnp.float32),
        (tuple(jnp.asarray(leaf, jnp.float16) for leaf in whole), jnp.float32),
        ((jnp.asarray(whole[0], jnp.bfloat16), jnp.asarray(whole[1], jnp.float32)), jnp.float32),
    ):
        if name in ("quadratic", "polar_form") and isinstance(given[0], list):
            given = tuple(np.asarray(leaf) for leaf in given)
        found = QUANTITIES[name](*given)
        for got, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
            assert got.dtype == dtype or name in ("homogeneous_layers", "deep_linear", "quadratic")
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("scale", [1e-15, 1e-10, 1e10, 1e15])
@pytest.mark.parametrize("name", sorted(set(QUANTITIES) - {"quadratic"}))
def test_quantities_are_quadratic_over_the_range_of_float32(name: str, scale: float) -> None:
    params = weights(5, jnp.float32) if name != "polar_form" else (weights(5, jnp.float32)[0],) * 2
    if name == "angular_momentum":
        scale = min(scale, 1e10)
    one, two = QUANTITIES[name](*params), QUANTITIES[name](*(leaf * jnp.float32(scale) for leaf in params))
    for got, wanted in zip(jax.tree.leaves(two), jax.tree.leaves(one), strict=True):
        got, wanted = np.asarray(got, np.float64) / float(np.float32(scale)) ** 2, np.asarray(wanted, np.float64)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_no_program_is_kept_for_a_users_activation() -> None:
    state = {"slope": 1.0}
    mine = custom("mine", lambda x: x + state["slope"] * x**3)
    u, v = weights(4)
    first = conserved.pointwise(u, v, mine)
    state["slope"] = 2.0
    wanted = conserved.pointwise(u, v, custom("fresh", lambda x: x + 2 * x**3))
    np.testing.assert_allclose(conserved.pointwise(u, v, mine), wanted, rtol=1e-13)
    assert np.abs(np.asarray(first - wanted)).max() > 1e-2
