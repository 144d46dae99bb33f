"""The models: sizes, initial variables, the symmetries of their hidden channels, agreement with plain Flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.models import MLP, VGG11, initialise
from papers.common.models.sizes import CONVOLUTIONS
from symjax.channels import permute
from symjax.tracing import symmetries

SIDE, WIDTH, CLASSES = 32, 1 / 16, 5


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def small(batch_norm, seed=0, **options):
    """A narrow VGG11 in float64, its variables with generic statistics and biases, and images."""
    model = VGG11(CLASSES, WIDTH, batch_norm=batch_norm, dropout=0.0, dtype=jnp.float64, **options)
    variables = initialise(model, seed, (SIDE, SIDE, 3))
    rng = np.random.default_rng(1)
    generic = lambda leaf: jnp.asarray(leaf + 0.3 * rng.uniform(size=leaf.shape), jnp.float64)  # noqa: E731
    return model, jax.tree.map(generic, variables), jnp.asarray(rng.standard_normal((4, SIDE, SIDE, 3)))


def relative_error(found, wanted):
    return np.max(np.abs(found - wanted)) / np.max(np.abs(wanted))


@pytest.mark.parametrize(
    ("side", "batch_norm", "parameters"), [(64, True, 12_578_760), (64, False, 12_573_256), (32, True, 11_005_896)]
)
def test_parameter_count(side, batch_norm, parameters):
    model = VGG11(200, batch_norm=batch_norm)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x), jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters
    statistics = sum(leaf.size for leaf in jax.tree.leaves(shapes.get("batch_stats", {})))
    assert statistics == (5504 if batch_norm else 0)


def test_initial_variables_have_the_stated_moments():
    variables = initialise(VGG11(200, 1 / 2), 3, (64, 64, 3))["params"]
    for index, (channels, features) in enumerate([(3, 32), (32, 64), (64, 128), (128, 128), (128, 256)], 1):
        kernel = variables[f"conv{index}"]["kernel"]
        count = 9 * channels * features
        expected = 2 * channels / features
        # five standard errors of a mean of squares of `count` normal numbers
        assert np.sum(kernel**2) / features == pytest.approx(expected, rel=5 * (2 / count) ** 0.5)
        assert abs(kernel.mean()) < 5 * (2 / (9 * features) / count) ** 0.5
    assert np.std(variables["dense1"]["kernel"]) == pytest.approx(0.01 * 2**0.5, rel=0.02)
    assert not variables["dense3"]["bias"].any() and (variables["norm1"]["scale"] == 1).all()


def test_initial_variables_depend_on_seed_and_path_only():
    first, again, other = (initialise(MLP((6, 6, 6)), seed, (6,))["params"] for seed in (1, 1, 2))
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    assert not np.array_equal(first["dense1"]["kernel"], other["dense1"]["kernel"])
    assert not np.array_equal(first["dense1"]["kernel"], first["dense2"]["kernel"])
    deeper = initialise(MLP((6, 6, 6, 6)), 1, (6,))["params"]
    np.testing.assert_array_equal(deeper["dense2"]["kernel"], first["dense2"]["kernel"])
    with pytest.raises(ValueError, match="non-negative"):
        initialise(MLP((2,)), -1, (6,))


def test_mlp_is_its_formula():
    model = MLP((7, 3), jnp.tanh)
    variables = initialise(model, 0, (2, 2, 1))
    x = np.random.default_rng(0).standard_normal((5, 2, 2, 1)).astype(np.float32)
    first, last = variables["params"]["dense1"], variables["params"]["dense2"]
    expected = np.tanh(x.reshape(5, 4) @ first["kernel"] + first["bias"]) @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("batch_norm", [True, False])
def test_logits_are_invariant_under_permutation_and_scaling(batch_norm):
    model, variables, images = small(batch_norm, epsilon=1e-14)
    found = symmetries(model.apply, variables, jax.ShapeDtypeStruct(images.shape, images.dtype))
    logits = jax.jit(lambda variables: model.apply(variables, images))
    expected = logits(variables)
    rng = np.random.default_rng(2)
    channels = found.channels
    perms = {name: jnp.asarray(rng.permutation(channel.size)) for name, channel in channels.items()}
    moved = permute(perms, variables, channels)
    assert relative_error(moved["params"]["conv2"]["kernel"], variables["params"]["conv2"]["kernel"]) > 0.1
    assert relative_error(logits(moved), expected) < 1e-12
    symmetry = found._replace(shifts=()).symmetry
    s = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(-1, 1, leaf.shape)), symmetry.zero)
    assert relative_error(logits(symmetry.flow(s, variables)), expected) < 1e-11


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_training_gradient_is_orthogonal_to_filters_and_zero_in_their_bias():
    model, variables, images = small(True, epsilon=1e-14)
    labels = jnp.arange(4)

    def loss(params):
        full = {"params": params, "batch_stats": variables["batch_stats"]}
        logits, _ = model.apply(full, images, train=True, mutable=["batch_stats"])
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), labels])

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    for index in range(1, len(CONVOLUTIONS) + 1):
        filters, slopes = variables["params"][f"conv{index}"]["kernel"], gradient[f"conv{index}"]["kernel"]
        size = jnp.linalg.norm(filters) * jnp.linalg.norm(slopes)
        assert jnp.max(jnp.abs(jnp.sum(filters * slopes, (0, 1, 2)))) < 1e-11 * size
        assert jnp.max(jnp.abs(gradient[f"conv{index}"]["bias"])) <= 1e-13


class PlainVGG11(nn.Module):
    """The small network in Flax's own layers, sharing the parameters' names."""

    @nn.compact
    def __call__(self, x, train):
        double = {"dtype": x.dtype, "param_dtype": x.dtype}
        for index, (features, pooled) in enumerate(CONVOLUTIONS, 1):
            x = nn.Conv(round(features * WIDTH), (3, 3), name=f"conv{index}", **double)(x)
            x = nn.BatchNorm(not train, momentum=0.9, name=f"norm{index}", force_float32_reductions=False, **double)(x)
            x = nn.relu(x)
            x = nn.max_pool(x, (2, 2), (2, 2)) if pooled else x
        x = x.reshape(x.shape[0], -1)
        for index in (1, 2):
            x = nn.relu(nn.Dense(round(1024 * WIDTH), name=f"dense{index}", **double)(x))
        return nn.Dense(CLASSES, name="dense3", **double)(x)


@pytest.mark.usefixtures("float64")
def test_training_step_is_plain_flax():
    model, variables, images = small(True)

    def loss(apply, params):
        full = {"params": params, "batch_stats": variables["batch_stats"]}
        with jax.numpy_rank_promotion("allow"):
            logits, changed = apply(full, images, train=True, mutable=["batch_stats"])
        return jnp.mean(jnp.square(logits)), changed

    gradient = jax.value_and_grad(loss, argnums=1, has_aux=True)
    found = jax.jit(lambda params: gradient(model.apply, params))(variables["params"])
    wanted = jax.jit(lambda params: gradient(PlainVGG11().apply, params))(variables["params"])
    scale = max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(wanted))
    for first, second in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        # Flax's gradient of a bias before a normalisation is rounding noise of the size of the others' rounding
        np.testing.assert_allclose(first, second, rtol=1e-8, atol=1e-12 * scale)


@pytest.mark.slow
def test_lower_precision_keeps_float32_outputs_and_statistics():
    model = VGG11(CLASSES, WIDTH, dtype=jnp.bfloat16)
    variables = initialise(model, 0, (SIDE, SIDE, 3))
    images = np.random.default_rng(0).standard_normal((2, SIDE, SIDE, 3)).astype(np.float32)
    key = jax.random.key(0)
    logits, changed = jax.jit(
        lambda v: model.apply(v, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})
    )(variables)
    assert logits.shape == (2, CLASSES) and np.isfinite(logits).all()
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, changed))} == {jnp.dtype("float32")}


def test_a_side_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="divisible by 32"):
        jax.eval_shape(lambda x: VGG11(10).init(jax.random.key(0), x), jnp.ones((1, 28, 28, 3)))
