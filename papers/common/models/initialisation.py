"""Initial variables drawn by NumPy: the same numbers on every backend, without compiling `model.init`."""

from math import prod
from zlib import crc32

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def initialise(model: nn.Module, seed: int, image_shape: tuple[int, ...]) -> dict:
    """Draw a model's initial variables.

    Kernels are normal with mean zero and the model's own `deviation(shape)`; biases and running means are 0;
    normalisation scales and running variances are 1. A leaf's generator is seeded with `(seed, crc32(path))`, so that a
    layer keeps its numbers when another one is added or removed.

    Args:
        model: a module with a method `deviation(shape) -> float` and `apply(variables, images, train=...)`.
        seed: a non-negative integer.
        image_shape: the shape of one input, without the batch axis.

    Returns:
        The nested dict `{"params": ..., "batch_stats": ...}` of float32 NumPy arrays (no "batch_stats" without
        normalisation).

    Raises:
        ValueError: if `seed` is negative, or a leaf's name is not one of kernel, bias, scale, mean, var.

    >>> from papers.common.models import MLP
    >>> variables = initialise(MLP((4, 2)), seed=0, image_shape=(3,))
    >>> variables["params"]["dense1"]["kernel"].shape
    (3, 4)
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be a non-negative integer.")
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        names = [entry.key for entry in path]
        match names[-1]:
            case "kernel":
                generator = np.random.default_rng([seed, crc32("/".join(names).encode())])
                numbers = generator.standard_normal(prod(leaf.shape), np.float32).reshape(leaf.shape)
                return numbers * np.float32(model.deviation(leaf.shape))
            case "bias" | "mean":
                return np.zeros(leaf.shape, np.float32)
            case "scale" | "var":
                return np.ones(leaf.shape, np.float32)
        raise ValueError(f"the leaf {'/'.join(names)} has no rule; known names are kernel, bias, scale, mean, var.")

    return jax.tree_util.tree_map_with_path(draw, shapes)


def kaiming(shape: tuple[int, ...]) -> float:
    """Return the standard deviation of a kernel: of a convolution sqrt(2 / fan_out), of a dense layer 1 / sqrt(fan_in).

    Source: He et al. 2015, Delving Deep into Rectifiers, for the convolutions.

    Args:
        shape: of the kernel, HWIO or (in, out).

    >>> kaiming((3, 3, 16, 2)), kaiming((16, 8))
    (0.3333333333333333, 0.25)
    """
    return (2 / prod((*shape[:-2], shape[-1]))) ** 0.5 if len(shape) == 4 else shape[0] ** -0.5
