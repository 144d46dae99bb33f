"""Transport by pseudo-inverse: exact on few samples, not on many, not an action, and never NaN in silence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

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
        (lambda layers, x, g: pseudo_inverse(jnp.eye(2, dtype=int)), "matrix has dtype int64, but it must be floating"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call(*draw(3))
