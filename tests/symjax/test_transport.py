"""Transport by pseudo-inverse: exact on few samples, not on many, not an action, and never NaN in silence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from symjax.activations import custom
from symjax.channels import Layer
from symjax.transport import pseudo_inverse, transport, transport_map

N, H, M = 6, 8, 3


def draw(samples, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    kernels = rng.standard_normal((N, H)), rng.standard_normal((H, M))
    layers = tuple(Layer(jnp.asarray(k, dtype), jnp.asarray(rng.standard_normal(k.shape[1]), dtype)) for k in kernels)
    g = jnp.asarray(scipy.linalg.expm(0.5 * rng.standard_normal((H, H))), dtype)
    return layers, jnp.asarray(rng.standard_normal((samples, N)), dtype), g


def outputs(layers, x):
    (kernel, bias), (last, shift) = jax.tree.map(np.asarray, layers)
    return np.tanh(np.asarray(x) @ kernel + bias) @ last + shift


@pytest.mark.parametrize("samples", [3, H])
def test_a_batch_of_at_most_h_samples_is_kept(samples):
    layers, x, g = draw(samples)
    found = transport(g, layers, x, "tanh")
    assert int(found.rank) == samples and found.residual < 1e-12 * found.condition
    np.testing.assert_allclose(outputs(found.layers, x), outputs(layers, x), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.layers[0].kernel, layers[0].kernel @ g.T, rtol=0, atol=1e-13)
    assert float(found.condition_of_element) == pytest.approx(np.linalg.cond(np.asarray(g)), rel=1e-10)
    pre = np.asarray(x) @ np.asarray(layers[0].kernel) + np.asarray(layers[0].bias)
    before, after = np.tanh(pre).T, np.tanh(pre @ np.asarray(g).T).T
    np.testing.assert_allclose(found.map, before @ np.linalg.pinv(after), rtol=0, atol=1e-10)


def test_more_samples_than_units_are_not_kept():
    layers, x, g = draw(12)
    found = transport(g, layers, x, "tanh")
    assert found.residual > 0.01 and int(found.rank) == H
    assert np.abs(outputs(found.layers, x) - outputs(layers, x)).max() > 0.01


@pytest.mark.parametrize("samples", [3, H])
def test_the_identity_is_a_projection_and_trivial_at_full_rank_only(samples):
    layers, x, _ = draw(samples)
    fitted = np.asarray(transport(jnp.eye(H), layers, x, "tanh").map)
    np.testing.assert_allclose(fitted @ fitted, fitted, rtol=0, atol=1e-11)
    assert np.trace(fitted) == pytest.approx(samples, abs=1e-10)
    assert (np.abs(fitted - np.eye(H)).max() < 1e-10) == (samples == H)


@pytest.mark.parametrize("samples", [3, H, 12])
def test_composition_holds_at_full_column_rank_only(samples):
    layers, x, g = draw(samples)
    f = draw(samples, 1)[2]
    twice = transport(f, transport(g, layers, x, "tanh").layers, x, "tanh").layers[1].kernel
    once = transport(f @ g, layers, x, "tanh").layers[1].kernel
    assert (float(jnp.abs(twice - once).max()) < 1e-8) == (samples <= H)


@pytest.mark.parametrize("epsilon", [10.0, 20.0])
def test_wild_elements_in_float32_are_diagnosed(epsilon):
    """Elements like those of the paper's ensembles: finite, or said not to be."""
    layers, x, _ = draw(H, dtype=np.float32)
    directions = np.random.default_rng(2).standard_normal((16, H, H)) / np.sqrt(H)
    g = jax.vmap(jax.scipy.linalg.expm)(jnp.asarray(epsilon * directions, jnp.float32))
    found = jax.vmap(lambda element: transport(element, layers, x, "leaky_relu"))(g)
    assert jnp.isfinite(found.map).all() and jnp.isfinite(found.residual).all()
    assert (found.condition_of_element > 1e4).all()
    lost = found.rank < H
    assert lost.any() and (found.residual[lost] > 1e-4).all()


def test_overflow_is_seen_in_the_residual():
    layers, x, g = draw(3, dtype=np.float32)
    found = transport(g * jnp.float32(3e38), layers, x, "leaky_relu")
    assert jnp.isposinf(found.residual) and jnp.isposinf(found.condition) and int(found.rank) == 0
    assert jnp.isnan(found.map).all() and jnp.isposinf(found.condition_of_element)


def test_nothing_left_of_the_layer():
    layers, x, g = draw(3)
    found = transport(0 * g, layers, x, "tanh")
    assert jnp.isposinf(found.condition_of_element) and jnp.isposinf(found.condition)
    assert int(found.rank) == 0 and float(found.residual) == pytest.approx(1)
    assert not jnp.any(found.map)


def test_pseudo_inverse_of_a_batch():
    rng = np.random.default_rng(4)
    matrices = rng.standard_normal((3, 4, 6))
    matrices[2, 3] = matrices[2, 0]
    found = jax.jit(pseudo_inverse)(jnp.asarray(matrices))
    np.testing.assert_allclose(found.matrix, [np.linalg.pinv(matrix) for matrix in matrices], atol=1e-12)
    np.testing.assert_array_equal(found.rank, [4, 4, 3])
    np.testing.assert_allclose(found.condition[:2], [np.linalg.cond(matrix) for matrix in matrices[:2]], rtol=1e-10)
    assert found.condition[2] > 1e14
    assert int(pseudo_inverse(jnp.diag(jnp.array([1.0, 1e-3])), rcond=1e-2).rank) == 1


def test_rows_of_samples_by_the_transposes():
    rng = np.random.default_rng(5)
    before, after = rng.standard_normal((2, 4, H))
    fitted, _ = transport_map(jnp.asarray(before.T), jnp.asarray(after.T))
    np.testing.assert_allclose(after @ np.asarray(fitted).T, before, rtol=0, atol=1e-12)


def test_compiled_batched_and_of_the_layers_dtype():
    layers, x, g = draw(3)
    many = jnp.stack([g, g @ g])
    found = jax.jit(jax.vmap(lambda element: transport(element, layers, x, "tanh")))(many)
    alone = transport(many[1], layers, x, "tanh")
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one[1], two, rtol=1e-7, atol=1e-9)
    before, after = jnp.tanh(g[:, :3]), jnp.tanh(g[:, 3:6])
    fitted = jax.jit(jax.vmap(lambda a, b: transport_map(a, b)[0]))(before[None], after[None])[0]
    np.testing.assert_allclose(fitted @ after, before, rtol=0, atol=1e-10)
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (layers, x))
    moved = transport(g, low[0], low[1], "tanh").layers
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(moved))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda layers, x, g: transport(g[:2], layers, x, "tanh"), r"g has shape \(2, 8\), but the hidden layer 0"),
        (lambda layers, x, g: transport(g, layers, x[:0], "tanh"), "with at least one sample"),
        (lambda layers, x, g: transport(g, (layers[0], layers[0]), x, "tanh"), r"layers\[1\] has kernel \(6, 8\)"),
        (lambda layers, x, g: transport(g, layers, x[0], "tanh"), r"x has shape \(6,\), but must be \(samples, 6\)"),
        (
            lambda layers, x, g: transport(g, layers, x, "tanh", 1),
            "hidden is 1, but the network has hidden layers 0 to 0",
        ),
        (lambda layers, x, g: transport_map(x, g), r"before \(3, 6\) and after \(8, 8\) must be of one shape"),
        (lambda layers, x, g: pseudo_inverse(x[0]), "matrix has shape"),
        (lambda layers, x, g: pseudo_inverse(jnp.zeros((2, 0))), "needs at least one row and one column"),
        (lambda layers, x, g: pseudo_inverse("a"), "matrix is 'a', but must be an array of real numbers"),
        (lambda layers, x, g: pseudo_inverse(jnp.eye(2, dtype=bool)), "matrix is an array of dtype bool, but must be"),
        (lambda layers, x, g: pseudo_inverse(g, rcond=1.5), "rcond is 1.5, but must be a share of the largest"),
        (lambda layers, x, g: pseudo_inverse(g, rcond="a"), "rcond is 'a', but must be an array of real numbers"),
        (lambda layers, x, g: transport(g, layers, None, "tanh"), "x is None, but must be an array of real numbers"),
        (lambda layers, x, g: transport(g, layers, x, "tanh", True), "hidden is True, but must be an integer"),
        (lambda layers, x, g: transport(g, (), x, "tanh"), "layers has no leaves"),
        (lambda layers, x, g: transport(g, (layers[0], "b"), x, "tanh"), r"layers\[1\] is 'b'"),
        (lambda layers, x, g: transport_map(x[:, :0], x[:, :0]), "must be of one shape .*, not empty"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call(*draw(3))


def exact(before, after, rcond):
    """``before after^+`` of the float32 numbers themselves, in NumPy's float64 by the same rule of what is kept."""
    u, s, vt = np.linalg.svd(after.astype(np.float64), full_matrices=False)
    kept = s > rcond * s[0]
    return (before.astype(np.float64) @ vt[kept].T / s[kept]) @ u[:, kept].T


@pytest.mark.parametrize("condition", [1e2, 1e4])
def test_the_map_of_an_ill_conditioned_batch_keeps_its_digits(condition):
    """A solvable system in float32: the error of what the batch becomes is that of rounding alone."""
    rng = np.random.default_rng(11)
    worst, formed = 0.0, 0.0
    for _ in range(20):
        left, right = (np.linalg.qr(rng.standard_normal((H, H)))[0] for _ in range(2))
        after = ((left * np.geomspace(1, 1 / condition, H)) @ right.T).astype(np.float32)
        before = (rng.standard_normal((H, H)) @ after.astype(np.float64)).astype(np.float32)
        fitted, inverse = transport_map(jnp.asarray(before), jnp.asarray(after))
        wide = np.asarray(fitted, np.float64) @ after.astype(np.float64) - before
        other = before.astype(np.float64) @ np.asarray(inverse.matrix, np.float64) @ after.astype(np.float64) - before
        size = np.linalg.norm(before)
        worst, formed = max(worst, np.linalg.norm(wide) / size), max(formed, np.linalg.norm(other) / size)
        oracle = exact(before, after, 10 * H * 2.0**-23)
        gap = np.linalg.norm(np.asarray(fitted) - oracle) / np.linalg.norm(oracle)
        assert gap < 20 * condition * 2.0**-23
    assert worst < 20 * 2.0**-23
    if condition == 1e4:  # what multiplying by the inverse loses: a digit and more
        assert formed > 10 * worst


def test_one_sample_is_a_batch_of_one():
    layers, x, g = draw(3)
    alone = transport(g, layers, x[:1], "tanh")
    assert int(alone.rank) == 1 and alone.residual < 1e-13
    np.testing.assert_allclose(outputs(alone.layers, x[:1]), outputs(layers, x[:1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1.0, 1e15, 1e30])
def test_every_scale_of_float32_has_the_same_answer(scale):
    """The kernels of the first layer times ``scale``: map, rank, conditions and residual stay what they are."""
    layers, x, g = draw(12, dtype=np.float32)
    factor = jnp.float32(scale)
    scaled = (Layer(layers[0].kernel * factor, layers[0].bias * factor), layers[1])
    one, two = transport(g, layers, x, "relu"), transport(g, scaled, x, "relu")
    assert 0.01 < float(one.residual) < 1 and float(two.residual) == pytest.approx(float(one.residual), rel=1e-4)
    np.testing.assert_allclose(two.map, one.map, rtol=0, atol=1e-3)
    assert int(one.rank) == int(two.rank) and float(two.condition) == pytest.approx(float(one.condition), rel=1e-3)
    inverse = pseudo_inverse(factor * g)
    np.testing.assert_allclose(inverse.matrix * factor, pseudo_inverse(g).matrix, rtol=1e-3, atol=1e-5)


def test_numbers_of_every_type():
    layers, x, g = draw(3)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), layers)
    found = transport(np.round(np.asarray(4 * g)).astype(int), half, x.tolist(), "tanh")
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(found.layers))
    assert found.map.dtype == jnp.float64 and int(found.rank) == 3 and found.residual < 1e-12
    low = pseudo_inverse(jnp.asarray(g, jnp.float16))
    assert low.matrix.dtype == jnp.float32
    np.testing.assert_allclose(
        low.matrix, np.linalg.pinv(np.asarray(g, np.float16).astype(float)), rtol=1e-4, atol=1e-4
    )
    assert int(pseudo_inverse([[2, 0], [0, 1]]).rank) == 2


def test_no_program_is_kept_for_a_users_activation():
    layers, x, g = draw(3)
    state = {"slope": 1.0}
    mine = custom("mine", lambda z: jnp.tanh(state["slope"] * z))
    first = transport(g, layers, x, mine).map
    state["slope"] = 2.0
    second = transport(g, layers, x, mine).map
    wanted = transport(g, layers, x, custom("twice", lambda z: jnp.tanh(2 * z))).map
    np.testing.assert_allclose(second, wanted, rtol=0, atol=1e-12)
    assert np.abs(np.asarray(first - second)).max() > 1e-2
