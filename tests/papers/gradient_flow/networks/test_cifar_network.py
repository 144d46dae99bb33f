"""The CIFAR-10 network against NumPy, and its training against Adam written out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from papers.common.errors import UserError
from papers.gradient_flow.networks.cifar import network as cifar_network
from papers.gradient_flow.networks.cifar.config import NetworkConfig
from papers.gradient_flow.networks.cifar.network import Trained, build, initialise, obtain, pixels, train

SMALL = NetworkConfig(activation="leaky_square", output="softmax", images=8, batch_size=4, epochs=2, seed=3)


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def forward(params, images, activation):
    """The network by loops over the kernel's places, in float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    padded = np.pad(np.asarray(images, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = params["convolution"]["kernel"]
    z = sum(padded[:, i : i + 32, j : j + 32] @ kernel[i, j] for i in range(3) for j in range(3))
    z = leaky(z + params["convolution"]["bias"], 0.01)
    pooled = z.reshape(-1, 16, 2, 16, 2, 32).max(axis=(2, 4))
    hidden = pooled.reshape(len(images), -1) @ params["inner"]["kernel"] + params["inner"]["bias"]
    bent = leaky(hidden, 0.1)
    bent = bent**2 + 0.01 * hidden if activation == "leaky_square" else bent
    return hidden, bent @ params["outer"]["kernel"] + params["outer"]["bias"]


def reference_loss(params, images, labels, output):
    """Cross-entropy of the network from jax's own convolution and pool; no code of the package but its activation."""
    numbers = ("NHWC", "HWIO", "NHWC")
    z = jax.lax.conv_general_dilated(images, params["convolution"]["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
    z = z + params["convolution"]["bias"].reshape(1, 1, 1, -1)
    z = jnp.where(z > 0, z, 0.01 * z).reshape(-1, 16, 2, 16, 2, 32).max(axis=(2, 4))
    hidden = z.reshape(len(images), -1) @ params["inner"]["kernel"] + params["inner"]["bias"][None]
    bent = jnp.where(hidden > 0, hidden, 0.1 * hidden)
    logits = (bent**2 + 0.01 * hidden) @ params["outer"]["kernel"] + params["outer"]["bias"][None]
    seen = jax.nn.softmax(logits) if output == "softmax" else logits
    seen = seen - jnp.log(jnp.exp(seen).sum(1, keepdims=True))
    return -seen[jnp.arange(len(labels)), labels].mean()


def test_size_and_initial_bounds():
    params = initialise(build(NetworkConfig()), seed=5)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 132_154
    for layer, fan_in in {"convolution": 27, "inner": 8192, "outer": 16}.items():
        for name in ("kernel", "bias"):
            values = params[layer][name] * np.sqrt(fan_in)
            assert 0.7 < np.abs(values).max() <= 1 + 1e-6 and params[layer][name].dtype == np.float32
    uniform = params["inner"]["kernel"] * np.sqrt(8192)
    assert abs(uniform.mean()) < 0.01 and abs((uniform**2).mean() - 1 / 3) < 0.01


@pytest.mark.parametrize("activation", ["leaky_square", "leaky_relu"])
def test_forward_is_the_network(random_images, activation):
    config = NetworkConfig(activation=activation)
    params = initialise(build(config), seed=1)["params"]
    images = pixels(random_images.train.images[:4], random_images)
    np.testing.assert_allclose(images, random_images.train.images[:4] / 255 - 0.5, atol=1e-6)
    hidden, logits = forward(params, images, activation)
    model = build(config)
    np.testing.assert_allclose(model.apply({"params": params}, images), logits, rtol=1e-4, atol=1e-5)
    seen = model.apply({"params": params}, images, method="preactivations")
    np.testing.assert_allclose(seen, hidden, rtol=1e-4, atol=1e-5)
    legacy = build(dataclasses.replace(config, output="softmax")).apply({"params": params}, images)
    np.testing.assert_allclose(legacy, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-4)


@pytest.fixture(scope="module")
def trained(random_images):
    """A training of four steps, watched: the wrapper counts and sums the squared gradients of every step."""

    def watched(adam):
        def update(gradient, state, params):
            inner, count, squares = state
            updates, inner = adam.update(gradient, inner, params)
            square = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient))
            return updates, (inner, count + 1, squares.at[count].set(square))

        first = (jnp.zeros((), jnp.int32), jnp.zeros(4))
        return optax.GradientTransformation(lambda params: (adam.init(params), *first), update)

    reports = []
    result = train(
        SMALL,
        random_images,
        watched,
        report=lambda state: state.optimiser[1:],
        on_chunk=lambda fetched: reports.append(fetched.report),
    )
    return result, reports


def test_training_is_adam_in_file_order(random_images, trained):
    """Adam by its formulas, batches in file order, on the same network from other operations."""
    result, reports = trained
    gradient = jax.jit(jax.value_and_grad(reference_loss), static_argnums=3)
    params = initialise(build(SMALL), SMALL.seed)["params"]
    first = jax.tree.map(lambda leaf: np.zeros_like(leaf, np.float64), params)
    second, losses, squares = first, [], []
    for step in range(4):
        rows = slice(4 * (step % 2), 4 * (step % 2) + 4)
        images = pixels(random_images.train.images[rows], random_images)
        loss, g = gradient(params, images, jnp.asarray(random_images.train.labels[rows]), SMALL.output)
        g = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), g)
        losses.append(float(loss))
        squares.append(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(g)))
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, g)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, g)
        rates = (1 - 0.9 ** (step + 1), 1 - 0.999 ** (step + 1))
        params = jax.tree.map(
            lambda p, m, v, rates=rates: np.float32(p - 1e-3 * (m / rates[0]) / (np.sqrt(v / rates[1]) + 1e-8)),
            params,
            first,
            second,
        )
    np.testing.assert_allclose(result.loss, np.reshape(losses, (2, 2)).mean(1), rtol=1e-4)
    count, seen = reports[-1]
    assert count == 4
    np.testing.assert_allclose(seen, squares, rtol=1e-3)
    # Adam divides a gradient by its own size: where it is rounding noise, so is the step
    for found, expected in zip(jax.tree.leaves(result.params), jax.tree.leaves(params), strict=True):
        assert np.quantile(np.abs(found - expected), 0.99) < 2e-5 and np.abs(found - expected).max() < 5e-3


def test_training_moves_and_measures(trained, random_images):
    result, _ = trained
    start = initialise(build(SMALL), SMALL.seed)["params"]
    assert 1e-3 < np.abs(result.params["outer"]["kernel"] - start["outer"]["kernel"]).max() < 5e-3
    _, logits = forward(result.params, pixels(random_images.test.images, random_images), "leaky_square")
    assert result.test_accuracy == pytest.approx((logits.argmax(1) == random_images.test.labels).mean())


def test_networks_are_read_again_and_not_mistaken(trained, random_images, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(cifar_network, "train", lambda *arguments: calls.append(arguments) or trained[0])
    first = obtain(SMALL, random_images, tmp_path / "networks")
    again = obtain(SMALL, random_images, tmp_path / "networks")
    assert len(calls) == 1 and isinstance(again, Trained)
    for found, expected in zip(jax.tree.leaves(again), jax.tree.leaves(first), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(UserError, match="holds no network of this training"):
        obtain(dataclasses.replace(SMALL, epochs=3), random_images, tmp_path / "networks")


def test_refuses(random_images):
    with pytest.raises(UserError, match="--images is 301, but must be at most 300"):
        train(dataclasses.replace(SMALL, images=301), random_images)
    with pytest.raises(UserError, match="--epochs is 0, but must be at least 1"):
        train(dataclasses.replace(SMALL, epochs=0), random_images)


@pytest.mark.slow
def test_real_images_are_learnt(cifar10):
    """200 real images are learnt by heart, which random parameters do not do."""
    config = NetworkConfig(activation="leaky_relu", images=200, epochs=15)
    result = train(config, cifar10)
    assert result.accuracy[0] < 0.5 and result.accuracy[-1] > 0.6 and result.test_accuracy > 0.15
