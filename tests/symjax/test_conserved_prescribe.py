"""Moving to a prescribed Q: reached, at the same function, the only way there is, and refused where there is none."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax import conserved
from symjax.activations import custom, get
from symjax.channels import Layer, mlp_channels, scalings
from symjax.conserved import prescribe, prescribe_commuting
from symjax.symmetry import Symmetry

M, H, N = 2, 3, 4
seeds = st.integers(0, 2**32 - 1)


def weights(seed: int, dtype: Any = jnp.float64, m: int = M, h: int = H, n: int = N) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((m, h)), dtype), jnp.asarray(rng.standard_normal((h, n)), dtype)


def function(params: Any, name: str) -> np.ndarray:
    u, v = (np.asarray(leaf) for leaf in params[:2])
    x = np.random.default_rng(99).standard_normal((v.shape[1], 6))
    return u @ np.asarray(get(name).function(jnp.asarray(v @ x)))


@pytest.mark.parametrize("name", ["relu", "relu_squared", "cube", "row_radial"])
@settings(max_examples=10, deadline=None)
@given(seed=seeds, size=st.floats(-4, 4))
def test_diagonal_is_reached_at_the_same_function(name: str, seed: int, size: float) -> None:
    u, v = weights(seed)
    target = np.random.default_rng(seed + 1).standard_normal(H) * 10**size
    target = jnp.asarray(-np.abs(target) if name == "row_radial" else target)
    moved = prescribe(u, v, target, name)
    assert bool(moved.converged) and float(moved.residual) < 1e-13
    # against the definition, in units of what cancels
    degree = get(name).degree
    out, into = degree * np.sum(np.asarray(moved.u) ** 2, axis=0), np.sum(np.asarray(moved.v) ** 2, axis=1)
    assert np.all(np.abs((out - into) / 2 - target) < 1e-12 * (np.abs(out) + into))
    np.testing.assert_allclose(moved.v, v * jnp.exp(moved.element)[:, None], rtol=1e-13)
    before, after = function((u, v), name), function(moved, name)
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9 * np.abs(before).max())


@pytest.mark.parametrize("degree", [2.0, 0.5, -1.0])
def test_diagonal_root_against_scipy(degree: float) -> None:
    u, v = weights(0)
    target = jnp.array([-3.0, -0.01, -7.0] if degree < 0 else [-3.0, 0.0, 0.7])
    moved = prescribe(u, v, target, degree)
    a, b = np.sum(np.asarray(u) ** 2, axis=0), np.sum(np.asarray(v) ** 2, axis=1)
    for i in range(H):
        root = scipy.optimize.brentq(
            lambda s, i=i: degree * a[i] * np.exp(-2 * degree * s) - b[i] * np.exp(2 * s) - 2 * float(target[i]),
            -9,
            9,
            xtol=1e-14,
        )
        np.testing.assert_allclose(moved.element[i], root, rtol=1e-10, atol=1e-12)


def test_scalar_case_of_the_paper() -> None:
    """On u v = y: ``u^2 = (Q + sqrt(Q^2 + 4 y^2))/2``, Q without the 1/2; by both kinds of target."""
    u, v, q = jnp.array([[1.7]]), jnp.array([[-0.6]]), 2.4
    y = 1.7 * -0.6
    expected = (q + np.sqrt(q * q + 4 * y * y)) / 2
    for target in (jnp.array([q / 2]), jnp.array([[q / 2]])):
        moved = prescribe(u, v, target, method="closed")
        np.testing.assert_allclose([moved.u[0, 0] ** 2, moved.u[0, 0] * moved.v[0, 0]], [expected, y], rtol=1e-13)


def test_diagonal_extremes_and_derivatives() -> None:
    u, v = weights(1)
    far = prescribe(u * 1e-100, v * 1e100, jnp.array([1e5, -1e-5, 0.0]), "relu")
    assert bool(far.converged) and np.isfinite(far.u).all()
    single = prescribe(*weights(1, jnp.float32), jnp.array([1.0, -20.0, 0.0], "float32"), "relu")
    assert bool(single.converged) and single.u.dtype == jnp.float32 and float(single.residual) < 1e-6
    target = jnp.array([0.5, -1.0, 0.0])
    for degree in (1.0, 2.0):
        slope = jax.jit(jax.jacrev(lambda t, d=degree: prescribe(u, v, t, d).element))(target)
        moved = prescribe(u, v, target, degree)
        # dQ/ds = -(alpha^2 |U|^2 + |V|^2) at the root, by hand
        rate = degree**2 * np.sum(np.asarray(moved.u) ** 2, axis=0) + np.sum(np.asarray(moved.v) ** 2, axis=1)
        np.testing.assert_allclose(slope, np.diag(-1 / rate), rtol=1e-10, atol=1e-14)


def test_neurons_without_a_reader_or_a_writer() -> None:
    u, v = weights(2)
    u, v = u.at[:, 0].set(0).at[:, 2].set(0), v.at[1].set(0).at[2].set(0)
    possible = jnp.array([-2.0, 3.0, 0.0])
    moved = prescribe(u, v, possible, "relu")
    assert bool(moved.converged) and np.isfinite(moved.element).all()
    np.testing.assert_allclose(conserved.homogeneous(moved.u, moved.v, 1.0), possible, rtol=1e-13)
    for target, message in (
        ([2.0, 3.0, 0.0], "target is 2.0 for neuron 0, but .* it must be negative"),
        ([-2.0, 0.0, 0.0], "target is 0.0 for neuron 1, but .* it must be positive"),
        ([-2.0, 3.0, 1.0], "target is 1.0 for neuron 2, but .* it must be zero"),
    ):
        with pytest.raises(ValueError, match=message):
            prescribe(u, v, jnp.array(target), "relu")
        status = jax.jit(partial(prescribe, activation="relu"))(u, v, jnp.array(target))
        assert not bool(status.converged) and np.isfinite(status.u).all()


def symmetric(rng: np.random.Generator, eigenvalues: np.ndarray) -> jax.Array:
    w = np.linalg.qr(rng.standard_normal((eigenvalues.size,) * 2))[0]
    target = (w * eigenvalues) @ w.T
    return jnp.asarray((target + target.T) / 2)


# m, h, n and the eigenvalues asked for: square, narrow, wide on one side, wide on both, wider than the sum, degenerate
CASES = [
    (3, 3, 3, (2.0, -0.3, -1.0)),
    pytest.param((3, 2, 4, (1.0, 1.5)), marks=pytest.mark.slow),
    pytest.param((2, 3, 4, (2.0, 0.5, -1.0)), marks=pytest.mark.slow),
    (4, 3, 2, (1.0, 0.0, -2.0)),
    (2, 3, 2, (2.0, -0.5, -1.0)),
    (1, 4, 2, (3.0, -0.5, -1.0, 0.0)),
    (1, 3, 1, (0.0, 0.0, 0.0)),
]


@pytest.mark.parametrize("case", CASES)
def test_matrix_is_reached_at_the_same_function(case: tuple[int, int, int, tuple[float, ...]]) -> None:
    m, h, n, eigenvalues = case
    u, v = weights(3, m=m, h=h, n=n)
    target = symmetric(np.random.default_rng(5), np.array(eigenvalues))
    for method in ("closed", "auto") if m + n == 4 else ("closed",):
        moved = prescribe(u, v, target, method=method)
        assert bool(moved.converged)
        assert float(moved.residual) < 1e-13 and float(moved.function_error) < 1e-12
        a, b = np.asarray(moved.u), np.asarray(moved.v)
        np.testing.assert_allclose((a.T @ a - b @ b.T) / 2, target, atol=1e-12)
        np.testing.assert_allclose(a @ b, u @ v, rtol=1e-10, atol=1e-11)


def test_newton_finds_the_group_element() -> None:
    u, v = weights(4, m=3, h=3, n=3)
    target = symmetric(np.random.default_rng(6), np.array([5.0, -1.0, -8.0]))
    moved = prescribe(u, v, target, method="newton")
    assert bool(moved.converged)
    g = np.asarray(moved.element)
    np.testing.assert_allclose(moved.u, np.asarray(u) @ np.linalg.inv(g), rtol=1e-10)
    np.testing.assert_allclose(moved.v, g @ np.asarray(v), rtol=1e-10)
    # where Q is already what is wanted nothing moves, and near it little; the closed form has no such memory
    here = conserved.matrix(u, v)
    np.testing.assert_allclose(prescribe(u, v, here, method="newton").element, np.eye(3), atol=1e-12)
    near = prescribe(u, v, here + 1e-6 * jnp.eye(3), method="newton")
    assert np.abs(near.element - np.eye(3)).max() < 1e-5 and bool(near.converged)
    assert np.abs(prescribe(u, v, here, method="closed").u - u).max() > 1e-3


def test_auto_tells_which_method_it_took() -> None:
    u, v = weights(4, m=3, h=3, n=3)
    target = symmetric(np.random.default_rng(6), np.array([5.0, -1.0, -8.0]))
    newton, chosen = (prescribe(u, v, target, method=method) for method in ("newton", "auto"))
    np.testing.assert_array_equal(chosen.element, newton.element)
    # three outputs, one input, five hidden units: no invertible g reaches Q = 0
    u, v = weights(4, m=3, h=5, n=1)
    nothing = jnp.zeros((5, 5))
    assert not bool(prescribe(u, v, nothing, method="newton").converged)
    far = prescribe(u, v, nothing)
    assert bool(far.converged) and np.isnan(far.element).all()


def test_no_coordinates_are_refused() -> None:
    with pytest.raises(ValueError, match="zero has no coordinates"):
        prescribe_commuting(Symmetry(lambda s, q: q, {}), U, {})


@pytest.mark.slow
def test_the_derivative_of_what_is_reached_is_that_of_what_was_asked() -> None:
    u, v = weights(4, m=3, h=3, n=3)
    target = symmetric(np.random.default_rng(6), np.array([5.0, -1.0, -8.0]))
    wanted = symmetric(np.random.default_rng(7), np.array([1.0, 2.0, -3.0]))

    def reached(t: jax.Array) -> jax.Array:
        answer = prescribe(u, v, t, method="newton")
        return conserved.matrix(answer.u, answer.v)

    slope = jax.jit(lambda t: jax.jvp(reached, (t,), (wanted,))[1])(target)
    np.testing.assert_allclose(slope, wanted, atol=1e-10)


def test_linear_activations_share_orbits_and_others_do_not() -> None:
    """Moving a matrix is a symmetry of linear networks alone: the same move changes what a ReLU network computes."""
    u, v = weights(4, m=3, h=3, n=3)
    moved = prescribe(u, v, jnp.zeros((3, 3)), method="newton")
    np.testing.assert_allclose(function(moved, "linear"), function((u, v), "linear"), rtol=1e-9, atol=1e-11)
    assert np.abs(function(moved, "relu") - function((u, v), "relu")).max() > 0.1


def test_compiled_and_batched_with_a_status_instead_of_an_error() -> None:
    u, v = (jnp.stack(pair) for pair in zip(weights(6), weights(7), strict=True))
    good = symmetric(np.random.default_rng(1), np.array([1.0, 0.5, -2.0]))
    bad = symmetric(np.random.default_rng(1), np.array([1.0, 0.5, 2.0]))  # three positive, two outputs
    moved = jax.jit(jax.vmap(prescribe))(u, v, jnp.stack([good, bad]))
    assert moved.converged.tolist() == [True, False]
    np.testing.assert_allclose(conserved.matrix(moved.u[0], moved.v[0]), good, atol=1e-12)
    diagonal = jax.jit(jax.vmap(partial(prescribe, activation="relu")))(u, v, jnp.zeros((2, H)))
    np.testing.assert_allclose(diagonal.u[1], prescribe(u[1], v[1], jnp.zeros(H), "relu").u, rtol=1e-13)


def network(seed: int) -> tuple[Layer, ...]:
    rng = np.random.default_rng(seed)
    shapes = [(3, 4), (4, 5), (5, 2)]
    return tuple(Layer(jnp.asarray(rng.standard_normal(s)), jnp.asarray(rng.standard_normal(s[1]))) for s in shapes)


def test_all_hidden_layers_together_recover_the_only_rescaling() -> None:
    """The coupled quantities of a deep ReLU network with biases, prescribed as those of a known rescaling of it."""
    layers = network(0)
    channels = mlp_channels(layers)
    symmetry = scalings(channels, "rescale")
    flow, zero, _ = symmetry
    rng = np.random.default_rng(1)
    s = {name: jnp.asarray(1.5 * rng.standard_normal(leaf.shape)) for name, leaf in zero.items()}
    target = conserved.quadratic(symmetry, flow(s, layers))
    move = jax.jit(lambda q, t: prescribe_commuting(symmetry, q, t))
    moved = move(layers, target)
    assert bool(moved.converged)
    for name in zero:
        np.testing.assert_allclose(moved.s[name], s[name], rtol=1e-8, atol=1e-8)
    for got, expected in zip(jax.tree.leaves(moved.params), jax.tree.leaves(flow(s, layers)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-7)
    # without readers a channel's quantity, here with the writers' sign, cannot be negative
    idle = (*layers[:2], layers[2]._replace(kernel=jnp.zeros_like(layers[2].kernel)))
    impossible = move(idle, jax.tree.map(lambda leaf: -jnp.ones_like(leaf), zero))
    assert not bool(impossible.converged)


def test_one_small_unit_is_not_lost_in_a_wide_network() -> None:
    """Without readers Q, here |W|^2/2, cannot be negative; -0.2 is far below 1000 eps of the whole |theta|^2/2."""
    rng = np.random.default_rng(3)
    kernels = [jnp.asarray(rng.standard_normal((60, 60)), jnp.float32) for _ in range(2)]
    zeros = jnp.zeros(60, jnp.float32)
    layers = Layer(kernels[0], zeros), Layer(kernels[1].at[0].set(0), zeros)
    assert 0.2 < 1e3 * 2.0**-23 * sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(layers)) / 2
    channels = mlp_channels(layers)
    symmetry = scalings(channels, "rescale", jnp.float32)
    here = np.asarray(conserved.homogeneous(layers[1].kernel.T, layers[0].kernel.T, 1.0))
    move = jax.jit(lambda t: prescribe_commuting(symmetry, layers, {"hidden0": t}))
    for first, reached in ((-0.2, False), (0.2, True)):
        moved = move(jnp.asarray(-here).at[0].set(first))
        assert bool(moved.converged) is reached, float(moved.residual)
        writers = np.sum(np.asarray(moved.params[0].kernel, np.float64)[:, 0] ** 2) / 2
        assert bool(abs(writers - first) < 1e-4) is reached


def test_a_small_eigenvalue_too_many_is_not_reached() -> None:
    """Two positive eigenvalues with one output; the second is below 1000 eps of the first in float32."""
    u, v = weights(8, jnp.float32, 1, 2, 2)
    closed = jax.jit(partial(prescribe, method="closed"))
    for second, reached in ((0.01, False), (-0.01, True)):
        moved = closed(u, v, jnp.diag(jnp.array([1000.0, second], jnp.float32)))
        assert bool(moved.converged) is reached, float(moved.residual)


def test_a_matrix_belongs_to_a_group_and_not_to_a_name() -> None:
    u, v = weights(3, m=3, h=3, n=3)
    target = symmetric(np.random.default_rng(5), np.array([2.0, -0.3, -1.0]))
    twice = custom("twice", lambda x: 2 * x, degree=1.0, group="general_linear")
    moved = prescribe(u, v, target, twice, method="closed")
    np.testing.assert_allclose(conserved.matrix(moved.u, moved.v), target, atol=1e-12)
    with pytest.raises(ValueError, match="a matrix can only be prescribed with the group 'general_linear'"):
        prescribe(u, v, target, get("relu")._replace(name="linear"), method="closed")


U, V = jnp.ones((M, H)), jnp.ones((H, N))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prescribe(U, V.T, jnp.zeros(H)), "u and v have shapes"),
        (
            lambda: prescribe(U, V, jnp.zeros(2)),
            r"target has shape \(2,\), but it must be \(3,\) or, if linear, \(3, 3\)",
        ),
        (lambda: prescribe(U, V, jnp.zeros(H), "tanh"), "activation is 'tanh', but homogeneous Q needs"),
        (lambda: prescribe(U, V, jnp.zeros((H, H)), "relu"), "activation is 'relu', but a matrix can only be"),
        (lambda: prescribe(U, V, jnp.zeros((H, H)), 1.0), "activation is 1.0, but a matrix can only be"),
        (lambda: prescribe(U, V, jnp.zeros((H, H)), method="fast"), "method is 'fast', but it must be one of auto"),
        (lambda: prescribe(U, V, jnp.ones((H, H)).at[0, 1].set(2.0)), "target is not a finite symmetric matrix"),
        (
            lambda: prescribe(U, V, jnp.eye(H)),
            "target has 3 positive and 0 negative eigenvalues, but with 2 outputs and 4 inputs it can",
        ),
        (
            lambda: prescribe(U, V, jnp.array([1.0, -1.0, -1.0]), -1.0),
            "target is 1.0 for neuron 0, .* must be negative",
        ),
        (
            lambda: prescribe_commuting(Symmetry(lambda s, q: q, jnp.zeros(2)), U, jnp.zeros(3)),
            r"target has shapes \(3,\), but those of zero are \(2,\)",
        ),
    ],
)
def test_bad_input_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e15, 1e30])
@pytest.mark.parametrize("degree", [1.0, 2.0, -1.0])
def test_a_diagonal_target_over_scales_of_float32(degree: float, scale: float) -> None:
    """Both layers times c and the target times c^2 give c times the result: exactly, for a power of two."""
    factor = jnp.float32(2.0 ** np.round(np.log2(scale)))
    u, v = weights(1, jnp.float32)
    if scale < 1e-15 or scale > 1e18:  # the target's square is out of range, Q = 0 alone can be asked for
        if degree < 0:
            return
        target, wanted = jnp.zeros(H, jnp.float32), jnp.zeros(H, jnp.float32)
    else:
        target = jnp.array([-2.0, -0.3, -0.7] if degree < 0 else [-2.0, 0.3, 0.0], jnp.float32)
        wanted = target * factor * factor
    one, two = prescribe(u, v, target, degree), prescribe(u * factor, v * factor, wanted, degree)
    assert bool(one.converged) and bool(two.converged)
    a, b = (np.asarray(leaf, np.float64) / float(factor) for leaf in (two.u, two.v))
    reached = (degree * np.sum(a**2, axis=0) - np.sum(b**2, axis=1)) / 2
    np.testing.assert_allclose(reached, target, atol=3e-5)
    np.testing.assert_allclose(a, one.u, rtol=1e-4)


def test_layers_of_different_sizes_are_balanced_in_float32_or_said_not_to_be() -> None:
    """The reported case, and every pair of sizes: |u| = |v| at Q = 0 with |u| |v| kept, or not converged."""
    sizes = (1e-35, 1e-25, 1e-20, 1e-10, 1.0, 1e10, 1e20, 1e35)
    u, v = np.meshgrid(sizes, sizes, indexing="ij")
    u, v = np.ravel(u).astype(np.float32), np.ravel(v).astype(np.float32)
    balance = jax.jit(
        jax.vmap(
            lambda a, b: prescribe(
                a * jnp.ones((2, 2), "float32"), b * jnp.ones((2, 3), "float32"), jnp.zeros(2, "float32")
            )
        )
    )
    moved = balance(jnp.asarray(u), jnp.asarray(v))
    good = np.asarray(moved.converged)
    product = u.astype(float) * v.astype(float)
    assert good[(product > 1e-50) & (product < 1e60)].all() and (~good[product < 1e-69]).all()
    left, right = (
        np.linalg.norm(np.asarray(leaf, float).reshape(len(u), -1)[good], axis=1) for leaf in (moved.u, moved.v)
    )
    np.testing.assert_allclose(left, right, rtol=1e-4)
    np.testing.assert_allclose(left * right, product[good] * np.sqrt(4 * 6), rtol=1e-4)


@pytest.mark.parametrize("method", ["closed", "newton", "auto"])
@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1.0, 1e15, 1e30])
def test_a_matrix_target_over_scales_of_float32(method: str, scale: float) -> None:
    u, v = weights(4, jnp.float32, m=3, h=3, n=3)
    factor = jnp.float32(2.0 ** np.round(np.log2(scale)))
    zero = scale < 1e-15 or scale > 1e18
    target = symmetric(np.random.default_rng(6), np.array([0.0, 0, 0] if zero else [5.0, -1.0, -8.0]))
    wanted = target.astype(jnp.float32) if zero else target.astype(jnp.float32) * factor * factor
    moved = prescribe(u * factor, v * factor, wanted, method=method)
    assert bool(moved.converged)
    a, b = (np.asarray(leaf, np.float64) / float(factor) for leaf in (moved.u, moved.v))
    np.testing.assert_allclose((a.T @ a - b @ b.T) / 2, target, atol=1e-4)
    np.testing.assert_allclose(a @ b, np.asarray(u, float) @ np.asarray(v, float), atol=1e-4)


def test_a_matrix_of_layers_of_different_sizes_is_reached_in_float32_or_said_not_to_be() -> None:
    u, v = weights(4, jnp.float32, m=3, h=3, n=3)
    target = jnp.zeros((3, 3), jnp.float32)
    product = np.asarray(u, float) @ np.asarray(v, float)
    move = jax.jit(lambda a, b, t: prescribe(a * u, b * v, t))
    for one, two in ((1e-30, 1e10), (1e20, 1e-25), (1e-18, 1e18), (1e-30, 1e-30), (1e30, 1e30)):
        moved = move(jnp.float32(one), jnp.float32(two), target)
        size = np.sqrt(float(np.float32(one)) * float(np.float32(two)))
        a, b = (np.asarray(leaf, np.float64) / size for leaf in (moved.u, moved.v))
        assert bool(moved.converged), (one, two)
        np.testing.assert_allclose(a @ b, product, atol=1e-4)
        np.testing.assert_allclose(a.T @ a, b @ b.T, atol=1e-4)
    lost = move(jnp.float32(1e-30), jnp.float32(1e-30), 1e10 * jnp.diag(jnp.array([1.0, 0.0, -1.0], jnp.float32)))
    assert not bool(lost.converged)  # a function of 1e-60 beside a Q of 1e10


def test_nothing_times_nothing_has_no_absolute_threshold() -> None:
    """U V = 0 by orthogonality: the function's error is relative to |U| |V|, at every scale."""
    u, v = jnp.array([[1.0, 0.0]]), jnp.array([[0.0], [1.0]])
    for scale in (1e-100, 1.0, 1e100):
        moved = prescribe(u * scale, v * scale, jnp.zeros((2, 2)), method="closed")
        assert bool(moved.converged) is True and float(moved.function_error) < 1e-12


@pytest.fixture(scope="module")
def balance() -> Any:
    """A network's balancing in float32, compiled once."""
    layers = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network(0))
    symmetry = scalings(mlp_channels(layers), "rescale", jnp.float32)
    return layers, symmetry.zero, jax.jit(lambda q: prescribe_commuting(symmetry, q, symmetry.zero))


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1.0, 1e15, 1e30])
def test_commuting_scalings_over_scales_of_float32(balance: Any, scale: float) -> None:
    layers, zero, move = balance
    factor = jnp.float32(2.0 ** np.round(np.log2(scale)))
    one, two = move(layers), move(jax.tree.map(lambda leaf: leaf * factor, layers))
    assert bool(one.converged) and bool(two.converged)
    for got, wanted in zip(jax.tree.leaves((two.params, two.s)), jax.tree.leaves((one.params, one.s)), strict=True):
        got = np.asarray(got, float) / (float(factor) if np.ndim(got) == 2 else 1)
        if np.ndim(wanted) == 2:
            np.testing.assert_allclose(got, wanted, rtol=1e-4)
    for name in zero:
        np.testing.assert_allclose(two.s[name], one.s[name], rtol=1e-4, atol=1e-4)


def test_a_unit_too_small_beside_the_rest_is_not_called_balanced() -> None:
    """Case 02 within a network: one unit's squares vanish in float32 beside weights near 1."""
    first, second = jnp.ones((3, 2), jnp.float32), jnp.ones((2, 3), jnp.float32)
    first, second = first.at[:, 0].set(1e-25), second.at[0].set(1e-20)
    layers = Layer(first, jnp.zeros(2, jnp.float32)), Layer(second, jnp.zeros(3, jnp.float32))
    channels = mlp_channels(layers)
    symmetry = scalings(channels, "rescale", jnp.float32)
    zero = symmetry.zero
    moved = prescribe_commuting(symmetry, layers, zero)
    sizes = jnp.max(jnp.abs(moved.params[0].kernel[:, 0])), jnp.max(jnp.abs(moved.params[1].kernel[0]))
    assert not bool(moved.converged) or abs(float(sizes[0] / sizes[1]) - 1) < 1e-2


def test_flows_that_do_not_commute_or_are_not_symmetric_are_refused() -> None:
    u, v = weights(4)

    def shears(s: jax.Array, q: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first, square = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]), np.diag([1.0, 1, 0])
        boost = np.eye(3) + jnp.sinh(s[0]) * first + (jnp.cosh(s[0]) - 1) * square  # exp(s first)
        g = boost @ jnp.diag(jnp.exp(s[1] * np.array([1.0, -1, 0])))
        return q[0] @ jnp.linalg.inv(g), g @ q[1]

    assert bool(jnp.all(conserved.has_quadratic(Symmetry(shears, jnp.zeros(2)), (u, v))))
    for call in (lambda q: prescribe_commuting(Symmetry(shears, jnp.zeros(2)), q, jnp.zeros(2)),) * 2:
        with pytest.raises(ValueError, match="only commuting generators can be prescribed together"):
            call((u, v))
        with pytest.raises(ValueError, match="only commuting generators can be prescribed together"):
            jax.jit(call)((u, v))
    with pytest.raises(ValueError, match="is not linear and symmetric"):
        prescribe_commuting(Symmetry(lambda s, q: q + s, jnp.zeros(())), u, jnp.zeros(()))


def test_numbers_of_every_type() -> None:
    rng = np.random.default_rng(2)
    u, v = rng.integers(1, 9, (M, H)), rng.integers(1, 9, (H, N))
    exact = prescribe(jnp.asarray(u, float), jnp.asarray(v, float), jnp.zeros(H))
    for layers in ((u, v), (u.tolist(), v.tolist())):
        for target in ([0, 0, 0], np.zeros(H, int), jnp.zeros(H, jnp.float16)):
            np.testing.assert_allclose(prescribe(*layers, target).u, exact.u, rtol=1e-13)
    half = prescribe(jnp.asarray(u, jnp.bfloat16), jnp.asarray(v, jnp.float16), [0.0, 0.0, 0.0])
    assert half.u.dtype == jnp.float32 and bool(half.converged)
    np.testing.assert_allclose(half.u, exact.u, rtol=1e-5)
    square = np.zeros((H, H), int)
    whole = prescribe(rng.integers(1, 9, (H, H)), rng.integers(1, 9, (H, H)), square, method="closed")
    assert bool(whole.converged) and whole.u.dtype == jnp.float64
    opposite = lambda s, q: (jnp.exp(s).astype(q[0].dtype) * q[0], jnp.exp(-s).astype(q[1].dtype) * q[1])  # noqa: E731
    for params, dtype in (
        ((2, np.array([0.5])), jnp.float64),
        ((jnp.float16(2), jnp.array([0.5], jnp.bfloat16)), jnp.float32),
    ):
        moved = prescribe_commuting(Symmetry(opposite, jnp.zeros(())), params, 0)
        assert bool(moved.converged) and moved.params[0].dtype == dtype
        np.testing.assert_allclose(moved.params[0], 1.0, rtol=1e-6)
    for bad, words in (("a", "target is 'a', but"), (True, "target is True, but"), (None, "target is None, but")):
        with pytest.raises(ValueError, match=words):
            prescribe(U, V, bad)
    with pytest.raises(ValueError, match="steps is 0, but must be at least 1"):
        prescribe_commuting(Symmetry(opposite, jnp.zeros(())), (U, V), 0, steps=0)
    with pytest.raises(ValueError, match="v is None, but"):
        prescribe(U, None, jnp.zeros(H))
