"""A 3x3 convolution and a 2x2 max pool."""

import jax
from jax import Array, lax
import jax.numpy as jnp


def convolve(images: Array, kernel: Array) -> Array:
    """Convolve with a 3x3 kernel, stride 1, zero padding 1.

    Args:
        images: (n, height, width, channels).
        kernel: (3, 3, channels, features), same dtype.

    Returns:
        (n, height, width, features).
    """
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def max_pool(images: Array) -> Array:
    """Take the maximum of every 2x2 window at stride 2.

    Args:
        images: (n, height, width, channels), even height and width.

    Returns:
        (n, height / 2, width / 2, channels).
    """
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    rows = jnp.maximum(blocks[:, :, 0], blocks[:, :, 1])
    return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])
