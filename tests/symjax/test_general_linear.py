"""The linear symmetry group of an activation on a hidden layer: invariance, group laws, generators, refusals."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from symjax import activations
from symjax.actions import admissible, general_linear, hidden_coordinates, rotate, transform
from symjax.channels import Layer
from symjax.symmetry import Symmetry, generator, symmetry_residual

WIDTHS = (3, 4, 5, 2)
SIGMA = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "relu_squared": lambda z: np.maximum(z, 0) ** 2,
    "cube": lambda z: z**3,
    "radial_tanh": lambda z: z * np.tanh(np.linalg.norm(z)) / np.linalg.norm(z),
}


def draw(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    pairs = pairwise(WIDTHS)
    return tuple(
        Layer(jnp.asarray(rng.standard_normal(pair), dtype), jnp.asarray(rng.standard_normal(pair[1]), dtype))
        for pair in pairs
    )


def output(layers, x, sigma):
    for place, (kernel, bias) in enumerate(jax.tree.map(np.asarray, layers)):
        x = x @ kernel + bias
        x = sigma(x) if place < len(layers) - 1 else x
    return x


def coordinates(name, hidden, seed=1):
    zero = hidden_coordinates(draw(), hidden, name)
    return jnp.asarray(np.random.default_rng(seed).uniform(-0.7, 0.7, zero.shape))


@pytest.mark.parametrize("hidden", [0, 1])
@pytest.mark.parametrize("name", SIGMA)
def test_the_function_is_kept(name, hidden):
    layers, x = draw(), np.random.default_rng(2).standard_normal(WIDTHS[0])
    wanted = output(layers, x, SIGMA[name])
    s = coordinates(name, hidden)
    moved = general_linear(s, layers, hidden, name)
    assert jnp.abs(moved[hidden].kernel - layers[hidden].kernel).max() > 0.1
    np.testing.assert_allclose(output(moved, x, SIGMA[name]), wanted, rtol=1e-11, atol=1e-12)
    back = general_linear(-s, moved, hidden, name)
    for one, two in zip(jax.tree.leaves(back), jax.tree.leaves(layers), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SIGMA)
def test_the_finite_element_is_the_flow_and_composes(name):
    layers, s = draw(), coordinates(name, 1)
    h = WIDTHS[2]
    if name == "radial_tanh":
        lower = np.zeros((h, h))
        lower[np.tril_indices(h, -1)] = s
        g = scipy.linalg.expm(lower - lower.T)
    else:
        g = np.exp(s) if s.ndim == 1 else scipy.linalg.expm(np.asarray(s))
    g = jnp.asarray(g)
    by_flow, by_element = general_linear(s, layers, 1, name), transform(g, layers, 1, name)
    f = g * g if g.ndim == 1 else g @ g
    twice, once = transform(g, by_element, 1, name), transform(f, layers, 1, name)
    for first, second in ((by_flow, by_element), (twice, once)):
        for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-11 * float(jnp.abs(two).max()))


@pytest.mark.parametrize(
    "name", [name if name in ("linear", "relu") else pytest.param(name, marks=pytest.mark.slow) for name in SIGMA]
)
def test_the_generator_and_the_gradient_identity(name):
    """``(M W, M b, -U d pi(M))``, and no loss changes along it."""
    layers, x = draw(), jnp.asarray(np.random.default_rng(3).standard_normal((7, WIDTHS[0])))
    zero, s = hidden_coordinates(layers, 0, name), coordinates(name, 0)
    symmetry = Symmetry(lambda s, q: general_linear(s, q, 0, name), zero)
    tangent = generator(symmetry, layers, s)
    step = 1e-5
    moved = [general_linear(sign * step * s, layers, 0, name) for sign in (1, -1)]
    for found, plus, minus in zip(*map(jax.tree.leaves, (tangent, *moved)), strict=True):
        np.testing.assert_allclose(found, (plus - minus) / (2 * step), rtol=0, atol=1e-8)
    sigma = activations.get(name).function

    def loss(layers):
        a = x
        for kernel, bias in layers[:-1]:
            a = sigma((a @ kernel + bias[None]).T).T
        return jnp.mean(jnp.square(jnp.sin(a @ layers[-1].kernel + layers[-1].bias[None])))

    residual = symmetry_residual(symmetry, loss, layers)
    scale = sum(float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(jax.grad(loss)(layers)))
    assert float(jnp.abs(residual).max()) < 1e-13 * max(scale, 1) * 10


def test_the_group_of_another_activation_is_no_symmetry():
    layers, x = draw(), np.random.default_rng(2).standard_normal(WIDTHS[0])
    moved = general_linear(coordinates("linear", 0), layers, 0, "linear")
    assert np.abs(output(moved, x, SIGMA["relu"]) - output(layers, x, SIGMA["relu"])).max() > 0.01
    flipped = (
        layers[0]._replace(kernel=-layers[0].kernel, bias=-layers[0].bias),
        layers[1]._replace(kernel=-layers[1].kernel),
    )
    assert np.abs(output((*flipped, layers[2]), x, SIGMA["relu"]) - output(layers, x, SIGMA["relu"])).max() > 0.01


def test_finite_elements_compile_and_batch():
    layers, g = draw(), jnp.asarray(scipy.linalg.expm(np.asarray(coordinates("linear", 0))))
    found = jax.jit(jax.vmap(transform, in_axes=(0, None)))(jnp.stack([g, g @ g]), layers)
    for place, element in enumerate((np.asarray(g), np.asarray(g @ g))):
        np.testing.assert_allclose(found[0].kernel[place], np.asarray(layers[0].kernel) @ element.T, atol=1e-12)
        np.testing.assert_allclose(element.T @ found[1].kernel[place], layers[1].kernel, rtol=0, atol=1e-11)


def test_compiled_batched_and_in_float32():
    layers = draw(dtype=np.float32)
    many = jnp.stack([coordinates("linear", 0, seed) for seed in (1, 2)]).astype(jnp.float32)
    found = jax.jit(jax.vmap(general_linear, in_axes=(0, None)))(many, layers)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found))
    for place in (0, 1):
        wanted = np.asarray(layers[0].kernel) @ scipy.linalg.expm(np.asarray(many[place], np.float64)).T
        np.testing.assert_allclose(found[0].kernel[place], wanted, rtol=0, atol=1e-5)


def test_coordinates_of_another_precision_keep_the_dtype():
    low = draw(dtype=np.float32)
    for moved in (general_linear(coordinates("linear", 0), low), transform(jnp.eye(4), low)):
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(moved))


def test_membership_has_a_status_for_compiled_code():
    turn = jnp.asarray(scipy.linalg.expm(np.array([[0.0, 1.0], [-1.0, 0.0]])))
    matrices = jnp.stack([turn, 2 * turn, jnp.ones((2, 2)), jnp.zeros((2, 2)), jnp.full((2, 2), jnp.nan)])
    for name, wanted in (("linear", [True, True, False, False, False]), ("radial", [True] + 4 * [False])):
        found = jax.jit(jax.vmap(lambda g, name=name: admissible(g, name)))(matrices)
        np.testing.assert_array_equal(found, wanted)
    diagonals = jnp.array([[1.0, 2.0], [1.0, -2.0], [0.0, 1.0], [1.0, jnp.inf]])
    np.testing.assert_array_equal(jax.vmap(lambda g: admissible(g, "relu"))(diagonals), [True, False, False, False])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda q: general_linear(jnp.zeros(4), q),
            r"s has shape \(4,\), but 'linear' at hidden layer 0 needs \(4, 4\)",
        ),
        (
            lambda q: general_linear(800 * jnp.eye(4), q),
            "s has the largest entry 800, but its exponential must stay finite",
        ),
        (lambda q: general_linear(jnp.full(4, 800.0), q, activation="relu"), "s has the largest entry 800"),
        (lambda q: rotate(jnp.array([1e30]), jnp.ones(2)), r"s has the largest entry 1e\+30"),
        (lambda q: general_linear(jnp.zeros(4), q, activation="tanh"), "'tanh', whose linear symmetries are discrete"),
        (lambda q: hidden_coordinates(q, 2), "hidden is 2, but the network has hidden layers 0 to 1"),
        (lambda q: transform(jnp.ones((4, 4)), q), "g has the condition number .*, but at most 4.5e"),
        (lambda q: transform(jnp.zeros((4, 4)), q), "g has the condition number"),
        (lambda q: transform(jnp.array([1.0, -1.0, 1.0, 1.0]), q, activation="relu"), "g has the smallest entry -1"),
        (lambda q: transform(jnp.full((4, 4), jnp.nan), q), "g has the condition number inf, but at most"),
        (lambda q: transform(jnp.eye(4, dtype=bool), q), "g is an array of dtype bool, but must be an array of real"),
        (lambda q: transform("g", q), "g is 'g', but must be an array of real numbers"),
        (lambda q: admissible(jnp.ones(4)), r"g has shape \(4,\), but the group 'general_linear' needs"),
        (lambda q: transform(2 * jnp.eye(4), q, activation="radial"), "g is not orthogonal"),
        (lambda q: transform(jnp.ones(3), q, activation="relu"), r"g has shape \(3,\)"),
        (
            lambda q: hidden_coordinates((q[0], q[2])),
            r"layers\[0\] has 4 units, but its bias has shape \(4,\) and the next",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call(draw())
