"""The layers arranged for the CPU against Flax's own, in value and gradient."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from papers.common.models import convolution

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
# (n, side, channels, features): thin and thick, the smallest map, odd numbers, one and several chunks
SHAPES = [(2, 8, 3, 4), (3, 4, 5, 7), (4, 2, 6, 3), (2, 12, 20, 8), (16, 32, 8, 16)]


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def draw(rng, dtype, *shapes):
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def flax_convolution(images, kernel):
    layer = nn.Conv(kernel.shape[-1], (3, 3), use_bias=False, dtype=images.dtype, param_dtype=images.dtype)
    return layer.apply({"params": {"kernel": kernel}}, images)


def to_windows(images):
    n, height, width, channels = images.shape
    windows = images.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return windows.reshape(-1, 4 * channels)


def assert_equal_with_gradient(fast, oracle, arguments, dtype, rng):
    def with_gradient(function):
        def both(cotangent, *arguments):
            value, pullback = jax.vjp(function, *arguments)
            return (value, *pullback(cotangent))

        return jax.jit(both)(cotangent, *arguments)

    (cotangent,) = draw(rng, dtype, jax.eval_shape(fast, *arguments).shape)
    for found, wanted in zip(with_gradient(fast), with_gradient(oracle), strict=True):
        assert found.dtype == dtype
        wanted = np.asarray(wanted)
        error = np.max(np.abs(np.asarray(found) - wanted)) / np.max(np.abs(wanted))
        assert error < TOLERANCE[dtype]


@pytest.mark.parametrize("shape", SHAPES)
def test_convolve_is_flax_convolution(shape, dtype):
    rng = np.random.default_rng(0)
    n, side, channels, features = shape
    arguments = draw(rng, dtype, (n, side, side, channels), (3, 3, channels, features))
    assert_equal_with_gradient(convolution.convolve, flax_convolution, arguments, dtype, rng)


@pytest.mark.parametrize("shape", SHAPES)
def test_convolve_windows_is_flax_convolution_by_windows(shape, dtype):
    rng = np.random.default_rng(1)
    n, side, channels, features = shape
    arguments = draw(rng, dtype, (n, side, side, channels), (3, 3, channels, features))
    oracle = lambda images, kernel: to_windows(flax_convolution(images, kernel))  # noqa: E731
    assert_equal_with_gradient(convolution.convolve_windows, oracle, arguments, dtype, rng)


@pytest.mark.parametrize("way", ["map", "windows", "accelerator"])
def test_max_pool_is_flax_max_pool(way, dtype, monkeypatch):
    rng = np.random.default_rng(2)
    # a few values only, so that windows are tied, above zero, at it and below it
    images = jnp.asarray(rng.integers(-2, 3, (3, 6, 8, 5)), dtype)
    oracle = lambda x: nn.max_pool(nn.relu(x), (2, 2), (2, 2))  # noqa: E731
    fast = convolution.relu_max_pool
    if way == "windows":
        fast = lambda x: convolution.relu_max_windows(to_windows(x)).reshape(3, 3, 4, 5)  # noqa: E731
    monkeypatch.setattr(convolution, "on_cpu", lambda: way != "accelerator")
    assert_equal_with_gradient(fast, oracle, [images], dtype, rng)


@pytest.mark.parametrize("windows", [False, True])
def test_normalise_is_its_definition(windows, dtype):
    rng = np.random.default_rng(3)
    images, scale, bias = draw(rng, dtype, (4, 6, 8, 5), (5,), (5,))
    arguments = [2 * images + 1, scale, bias]
    arrange = to_windows if windows else lambda x: x.reshape(-1, 5)

    def oracle(x, scale, bias):
        mean, var = jnp.mean(x, (0, 1, 2), keepdims=True), jnp.var(x, (0, 1, 2), keepdims=True)
        scale, bias = scale.reshape(1, 1, 1, -1), bias.reshape(1, 1, 1, -1)
        return arrange((x - mean) / jnp.sqrt(var + 1e-3) * scale + bias)

    fast = lambda x, scale, bias: convolution.normalise(arrange(x), scale, bias, 1e-3)[0]  # noqa: E731
    assert_equal_with_gradient(fast, oracle, arguments, dtype, rng)
    _, mean, var = convolution.normalise(arrange(arguments[0]), scale, bias, 1e-3)
    np.testing.assert_allclose(mean, np.mean(arguments[0], (0, 1, 2)), rtol=TOLERANCE[dtype])
    np.testing.assert_allclose(var, np.var(arguments[0], (0, 1, 2)), rtol=10 * TOLERANCE[dtype])


@pytest.mark.slow
def test_vmap_is_a_loop():
    rng = np.random.default_rng(4)
    images, kernels = draw(rng, "float32", (3, 2, 8, 8, 4), (3, 3, 3, 4, 6))

    def layer(images, kernel):
        return jnp.sum(jnp.square(convolution.relu_max_windows(convolution.convolve_windows(images, kernel))))

    batched = jax.vmap(jax.grad(layer, argnums=1))(images, kernels)
    looped = jnp.stack([jax.grad(layer, argnums=1)(x, kernel) for x, kernel in zip(images, kernels, strict=True)])
    np.testing.assert_allclose(batched, looped, rtol=1e-4, atol=1e-4)


def test_accelerators_see_one_convolution(monkeypatch):
    monkeypatch.setattr(convolution, "on_cpu", lambda: False)
    images, kernel = jnp.ones((2, 4, 4, 3)), jnp.ones((3, 3, 3, 5))
    program = jax.make_jaxpr(convolution.convolve)(images, kernel)
    assert [equation.primitive.name for equation in program.eqns] == ["conv_general_dilated"]
    plain = lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_array_equal(convolution.convolve(images, kernel), plain)
