"""The trained network as its textbook has it, the same program on every device.

Training arranges small maps and thin layers for the speed of a CPU; what is traced, matched and corrected is this.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from papers.common.models.sizes import CONVOLUTIONS


def apply_vgg11() -> Callable[[Any, Any], jax.Array]:
    """Build ``apply(variables, images)`` of every kind of network, its parameters expanded.

    Eight convolutions of 3x3 with biases and ReLU, five 2x2 max pools, one dense layer.

    Returns:
        The function of ``{"params": ...}`` and normalised images (n, 32, 32, 3), giving logits (n, classes).
    """
    return _logits


def _logits(variables: Any, images: Any) -> jax.Array:
    params, x = variables["params"], jnp.asarray(images)
    for index, (_, pooled) in enumerate(CONVOLUTIONS, 1):
        layer, axes = params[f"conv{index}"], ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=axes)
        x = jax.nn.relu(x + layer["bias"][None, None, None])
        if pooled:
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.reshape(len(x), -1) @ params["dense1"]["kernel"] + params["dense1"]["bias"][None]
