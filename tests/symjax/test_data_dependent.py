"""The data-dependent action: its group laws, the output it keeps, its bound elsewhere, its status where it ends."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from symjax.activations import custom
from symjax.channels import Layer
from symjax.data_dependent import bind, cocycle, infinitesimal, lipschitz_bound

WIDTHS = (3, 5, 4, 2)
SIGMA = {
    "tanh": np.tanh,
    "sigmoid": scipy.special.expit,
    "softplus": lambda z: np.logaddexp(0, z),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "radial": lambda z: z / (z @ z),
}


def draw(seed: int, widths: tuple[int, ...] = WIDTHS):
    """A network with biases, an input, and one group element for each hidden layer."""
    rng = np.random.default_rng(seed)
    layers = tuple(
        Layer(jnp.asarray(rng.standard_normal((a, b))), jnp.asarray(rng.standard_normal(b)))
        for a, b in pairwise(widths)
    )
    g = tuple(jnp.asarray(scipy.linalg.expm(rng.standard_normal((h, h)))) for h in widths[1:-1])
    return layers, jnp.asarray(rng.standard_normal(widths[0])), g


def forward(layers, x, sigma):
    """Output and pre-activations of the hidden layers, in NumPy."""
    a, seen = np.asarray(x), []
    for place, (kernel, bias) in enumerate(layers):
        z = a @ np.asarray(kernel) + np.asarray(bias)
        if place < len(layers) - 1:
            seen.append(z)
            a = sigma(z)
    return z, seen


def size(g):
    return max(float(np.linalg.cond(element)) for element in g)


@pytest.mark.parametrize("name", SIGMA)
@given(seed=st.integers(0, 2**32 - 1))
def test_output_is_kept_and_every_layer_moves_by_its_element(name, seed):
    layers, x, g = draw(seed)
    before, hidden = forward(layers, x, SIGMA[name])
    moved = bind(x, name).act(g, layers)
    after, moved_hidden = forward(moved, x, SIGMA[name])
    bound = 1e-12 * size(g) * max(1, np.abs(before).max(), np.abs(np.asarray(layers[-1].kernel)).max())
    np.testing.assert_allclose(after, before, rtol=0, atol=bound)
    for element, z, moved_z in zip(g, hidden, moved_hidden, strict=True):
        np.testing.assert_allclose(moved_z, element @ z, rtol=0, atol=1e-11 * size(g) * np.abs(element @ z).max())
    np.testing.assert_allclose(moved[0].kernel, layers[0].kernel @ g[0].T, rtol=0, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_group_laws(seed):
    layers, x, g = draw(seed)
    _, _, other = draw(seed + 1)
    act = bind(x, "tanh").act
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(layers)) * size(g) * size(other)

    def close(one, two):
        for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_allclose(first, second, rtol=0, atol=1e-12 * scale)

    close(act(tuple(jnp.eye(len(element)) for element in g), layers), layers)
    close(act(other, act(g, layers)), act(tuple(b @ a for a, b in zip(g, other, strict=True)), layers))
    close(act(tuple(jnp.linalg.inv(element) for element in g), act(g, layers)), layers)


def test_cocycle():
    _, _, (g, _) = draw(1)
    _, _, (f, _) = draw(2)
    z = jnp.asarray(np.random.default_rng(3).standard_normal(WIDTHS[1]))
    whole = cocycle(f @ g, z, "sigmoid")
    np.testing.assert_allclose(whole, cocycle(f, g @ z, "sigmoid") @ cocycle(g, z, "sigmoid"), atol=1e-12)
    np.testing.assert_allclose(cocycle(g, z, "sigmoid") @ SIGMA["sigmoid"](z), SIGMA["sigmoid"](g @ z), atol=1e-13)


def test_it_is_not_the_linear_action():
    """With sigma = id and an orthogonal g the readers do not become U g^T: R is not equivariant."""
    layers, x, _ = draw(0, (3, 4, 2))
    g = jnp.asarray(scipy.linalg.expm(np.triu(np.ones((4, 4)), 1) - np.tril(np.ones((4, 4)), -1)))
    moved = bind(x, "linear").act((g,), layers)
    assert jnp.abs(moved[1].kernel - g @ layers[1].kernel).max() > 0.1


@given(seed=st.integers(0, 2**32 - 1), distance=st.sampled_from([0.0, 1e-3, 1.0, 30.0]))
def test_other_samples_move_at_most_by_the_bound(seed, distance):
    layers, x, g = draw(seed, (3, 5, 2))
    y = np.asarray(x) + distance * np.random.default_rng(seed).standard_normal(3)
    for name in ("tanh", "sigmoid", "leaky_relu"):
        moved = bind(x, name).act(g, layers)
        change = np.linalg.norm(forward(moved, y, SIGMA[name])[0] - forward(layers, y, SIGMA[name])[0])
        bound = float(lipschitz_bound(g[0], layers, x, name)) * np.linalg.norm(y - np.asarray(x))
        assert change <= bound * (1 + 1e-12) + 1e-12 * size(g)


def test_the_layer_moved_alone_changes_even_the_bound_sample():
    layers, x, g = draw(5, (3, 5, 2))
    careless = (Layer(layers[0].kernel @ g[0].T, g[0] @ layers[0].bias), layers[1])
    assert np.linalg.norm(forward(careless, x, np.tanh)[0] - forward(layers, x, np.tanh)[0]) > 0.1


def test_infinitesimal_form_is_the_derivative():
    layers, x, _ = draw(7)
    directions = tuple(jnp.asarray(np.random.default_rng(h).standard_normal((h, h))) for h in WIDTHS[1:-1])
    tangent = infinitesimal(directions, layers, x, "tanh")
    act, step = bind(x, "tanh").act, 1e-5

    def at(t):
        return act(tuple(jnp.asarray(scipy.linalg.expm(t * np.asarray(d))) for d in directions), layers)

    for found, plus, minus in zip(*map(jax.tree.leaves, (tangent, at(step), at(-step))), strict=True):
        np.testing.assert_allclose(found, (plus - minus) / (2 * step), rtol=0, atol=1e-7)
    np.testing.assert_allclose(tangent[0].kernel, layers[0].kernel @ directions[0].T, atol=1e-13)

    def loss(layers):
        a = x
        for kernel, bias in layers[:-1]:
            a = jnp.tanh(a @ kernel + bias)
        return jnp.sum((a @ layers[-1].kernel + layers[-1].bias) ** 3)

    slopes = jax.tree.leaves(jax.tree.map(jnp.vdot, jax.grad(loss)(layers), tangent))
    assert abs(sum(slopes)) < 1e-11 * sum(map(abs, slopes))


def test_dead_layers_have_a_status_and_an_error():
    alive = jnp.eye(2)
    layers = (Layer(alive, jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
    action = bind(jnp.array([1.0, 2.0]), "relu")
    kill = (-alive,)
    assert bool(action.valid((alive,), layers)) and not bool(action.valid(kill, layers))
    with pytest.raises(ValueError, match="'relu' gives a zero vector in a hidden layer"):
        action.act(kill, layers)
    with pytest.raises(ValueError, match="'relu' gives a zero vector"):
        bind(jnp.array([-1.0, -2.0]), "relu").act((alive,), layers)
    both = jnp.stack([alive, -alive])
    moved = jax.jit(jax.vmap(lambda g: action.act((g,), layers)))(both)
    np.testing.assert_allclose(moved[1].kernel[0], layers[1].kernel, atol=1e-15)
    assert jnp.isnan(moved[1].kernel[1]).all()
    np.testing.assert_array_equal(jax.vmap(lambda g: action.valid((g,), layers))(both), [True, False])


def test_overflow_has_a_status_and_an_error():
    layers = (Layer(jnp.eye(2), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
    action, far = bind(jnp.array([1e10, 2e10]), "relu"), (1e300 * jnp.eye(2),)
    assert not bool(action.valid(far, layers))
    with pytest.raises(ValueError, match="or values that are not finite"):
        action.act(far, layers)
    assert jnp.isnan(jax.jit(action.act)(far, layers)[1].kernel).all()
    assert not bool(bind(jnp.array([jnp.nan, 1.0]), "tanh").valid((jnp.eye(2),), layers))


def test_infinitesimal_form_at_trailing_zeros():
    """Dead units of a ReLU stay dead and the derivative exists; a tail of zeros that moves has none."""
    layers = (Layer(jnp.array([[3.0, 4.0, -1.0, -2.0]]), jnp.zeros(4)), Layer(jnp.ones((4, 1)), jnp.zeros(1)))
    direction, x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 4))), jnp.ones(1)
    tangent, step = infinitesimal((direction,), layers, x, "relu")[1].kernel, 1e-6

    def reader(t):
        return bind(x, "relu").act((jnp.asarray(scipy.linalg.expm(t * np.asarray(direction))),), layers)[1].kernel

    np.testing.assert_allclose(tangent, (reader(step) - reader(-step)) / (2 * step), rtol=0, atol=1e-8)
    flat = (Layer(jnp.array([[3.0, 4.0, 0.0, 0.0]]), jnp.zeros(4)), layers[1])
    traced = jax.jit(lambda t: infinitesimal((t,), flat, x, "linear"))(direction)
    assert jnp.isnan(traced[1].kernel).all()
    with pytest.raises(ValueError, match=r"layers\[1\] has no tangent"):
        infinitesimal((direction,), flat, x, "linear")
    assert jnp.isfinite(infinitesimal((jnp.diag(direction[0]),), flat, x, "linear")[1].kernel).all()


def test_batched_over_elements_and_in_float32():
    layers, x, g = draw(11)
    many = tuple(jnp.stack([element, 2 * element]) for element in g)
    found = jax.vmap(bind(x, "tanh").act, in_axes=(0, None))(many, layers)
    for place, factor in enumerate((1, 2)):
        alone = bind(x, "tanh").act(tuple(factor * element for element in g), layers)
        for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one[place], two, rtol=0, atol=1e-12 * float(jnp.abs(two).max()))
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (layers, x, g))
    moved = bind(low[1], "tanh").act(low[2], low[0])
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(moved))
    wanted = forward(layers, x, np.tanh)[0]
    np.testing.assert_allclose(forward(moved, low[1], np.tanh)[0], wanted, rtol=0, atol=1e-5 * size(g))


@pytest.mark.parametrize(("name", "eta"), [("tanh", 1.0), ("sigmoid", 0.25), ("leaky_relu", 1.0)])
def test_the_bound_is_its_formula(name, eta):
    layers, x, (g,) = draw(13, (3, 5, 2))
    v, u, z = np.asarray(layers[0].kernel).T, np.asarray(layers[1].kernel).T, forward(layers, x, SIGMA[name])[1][0]
    share = np.linalg.norm(SIGMA[name](z)) / np.linalg.norm(SIGMA[name](g @ z))
    wanted = eta * np.linalg.norm(u, 2) * (np.linalg.norm(v, 2) + share * np.linalg.norm(g @ v, 2))
    assert float(lipschitz_bound(g, layers, x, name)) == pytest.approx(wanted, rel=1e-12)
    assert jnp.isposinf(lipschitz_bound(g, layers, x, "cube"))


def test_everything_compiles_and_batches():
    layers, x, (g,) = draw(17, (3, 5, 2))
    z, many = jnp.asarray(forward(layers, x, np.tanh)[1][0]), jnp.stack([g, g @ g])
    functions = (
        lambda g: cocycle(g, z, "tanh"),
        lambda g: infinitesimal((g,), layers, x, "tanh"),
        lambda g: lipschitz_bound(g, layers, x, "tanh"),
    )
    for function in functions:
        found = jax.jit(jax.vmap(function))(many)
        for place in (0, 1):
            for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(function(many[place])), strict=True):
                np.testing.assert_allclose(one[place], two, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(
        jax.jit(cocycle, static_argnums=2)(g, z, "tanh") @ np.tanh(z), np.tanh(g @ z), atol=1e-13
    )


def test_a_singular_element_is_not_valid_and_marks_the_readers():
    layers, x, _ = draw(19, (3, 4, 2))
    action, singular = bind(x, "tanh"), jnp.ones((4, 4))
    assert not bool(action.valid((singular,), layers))
    assert jnp.isnan(jax.jit(action.act)((singular,), layers)[1].kernel).all()
    with pytest.raises(ValueError, match="has the condition number"):
        jax.jit(lambda layers: action.act((singular,), layers))(layers)


def test_elements_of_another_precision_keep_the_dtype():
    layers, x, g = draw(23)
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), layers)
    with jax.numpy_dtype_promotion("standard"):
        moved = bind(x.astype(jnp.float32), "tanh").act(g, low)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(moved))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda layers, x, g: (layers, x[:2], g),
            r"layers\[0\] has kernel \(3, 5\) and bias \(5,\), but its input has 2",
        ),
        (
            lambda layers, x, g: (layers, x, (jnp.full((5, 5), jnp.nan), g[1])),
            r"g\[0\] has the condition number inf, but at most",
        ),
        (lambda layers, x, g: (layers, x, (jnp.eye(5, dtype=bool), g[1])), r"g\[0\] is an array of dtype bool, but"),
        (lambda layers, x, g: (layers, x, 3.0), "g is a float, but needs one matrix for each of 2 hidden layers"),
        (lambda layers, x, g: (layers, x[None], g), r"x has shape \(1, 3\), but .* one sample \(n,\): jax.vmap"),
        (lambda layers, x, g: (layers, "x", g), "x is 'x', but must be an array of real numbers"),
        (lambda layers, x, g: ((*layers[:2], None), x, g), r"layers\[2\] is a NoneType, but must be a Layer"),
        (lambda layers, x, g: (layers, x, g[:1]), "g has 1 entries, but needs one matrix for each of 2 hidden layers"),
        (lambda layers, x, g: (layers, x, g[::-1]), r"g\[0\] has shape \(4, 4\), but must be \(5, 5\)"),
        (
            lambda layers, x, g: (layers, x, (jnp.ones((5, 5)), g[1])),
            r"g\[0\] has the condition number .*, but at most 4.5e\+13 is allowed",
        ),
    ],
)
def test_bad_input_is_one_sentence(change, words):
    layers, x, g = change(*draw(0))
    with pytest.raises(ValueError, match=words):
        bind(x, "tanh").act(g, layers)


def test_a_batch_has_a_network_for_each_sample():
    layers, x, g = draw(29)
    batch = jnp.stack([x, 2 * x, -x])
    moved = jax.vmap(lambda x: bind(x, "tanh").act(g, layers))(batch)
    for place, sample in enumerate(batch):
        own = jax.tree.map(lambda leaf, place=place: leaf[place], moved)
        np.testing.assert_allclose(
            forward(own, sample, np.tanh)[0], forward(layers, sample, np.tanh)[0], rtol=0, atol=1e-12 * size(g)
        )


def test_numbers_of_every_type():
    layers, x, _ = draw(31, (3, 4, 2))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), layers)
    whole = np.array([[2, 0, 0, 0], [1, 1, 0, 0], [0, 0, 3, 1], [0, 0, 0, 1]])
    action = bind(x.tolist(), "tanh")
    moved = action.act((whole,), half)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(moved)) and bool(action.valid((whole,), half))
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), half)
    for got, exact in zip(jax.tree.leaves(moved), jax.tree.leaves(action.act((whole,), wide)), strict=True):
        np.testing.assert_allclose(got.astype(jnp.float64), exact, rtol=2.0**-8)  # rounded once
    tangent = infinitesimal((whole,), half, x, "tanh")
    exact = infinitesimal((whole * 1.0,), wide, x, "tanh")
    assert tangent[1].kernel.dtype == jnp.bfloat16
    np.testing.assert_allclose(tangent[1].kernel.astype(jnp.float64), exact[1].kernel, rtol=2.0**-7, atol=1e-6)
    bound = float(lipschitz_bound(whole, half, x, "tanh"))
    assert bound == pytest.approx(float(lipschitz_bound(whole, wide, x, "tanh")), rel=1e-12)
    assert cocycle(whole.tolist(), [1, 2, 3, 4], "tanh").dtype == jnp.float64


def test_no_program_is_kept_for_a_users_activation():
    layers, x, g = draw(37, (3, 4, 2))
    state = {"slope": 1.0}
    mine = custom("mine", lambda z: jnp.tanh(state["slope"] * z), lipschitz=2.0)
    action, functions = bind(x, mine), (infinitesimal, lipschitz_bound)
    for slope in (1.0, 2.0):
        state["slope"] = slope
        fresh = custom("fresh", lambda z, slope=slope: jnp.tanh(slope * z), lipschitz=2.0)
        found = (
            action.act(g, layers),
            *(each(element, layers, x, mine) for each, element in zip(functions, (g, g[0]), strict=True)),
        )
        again = (
            bind(x, fresh).act(g, layers),
            *(each(element, layers, x, fresh) for each, element in zip(functions, (g, g[0]), strict=True)),
        )
        for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)
    state["slope"] = 0.0
    assert not bool(action.valid(g, layers))
