"""Layers of a raw multilayer perceptron."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Layer", "require_layers"]


class Layer(NamedTuple):
    """A dense layer of a raw multilayer perceptron: kernel (in, out), bias (out,)."""

    kernel: jax.Array
    bias: jax.Array


def require_layers(layers: Sequence[Layer], inputs: int | None = None) -> None:
    """Refuse dense layers that do not compose, by a ValueError that names the layer.

    Source: this library's bookkeeping.

    Args:
      layers: of a raw multilayer perceptron.
      inputs: entries of its input; None means those of the first kernel.

    Raises:
      ValueError: what is no :class:`Layer`, a kernel that is not (entries before, out), or a bias that is not (out,).
    """
    for place, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise ValueError(f"layers[{place}] is a {type(layer).__name__}, but must be a Layer(kernel, bias)")
        kernel, bias = layer
        if bias is None:
            raise ValueError(f"layers[{place}] has no bias, but needs one: zeros of shape {jnp.shape(kernel)[1:]}")
        if inputs is None:
            inputs = (*jnp.shape(kernel), 0)[0]
        if jnp.ndim(kernel) != 2 or jnp.shape(kernel)[0] != inputs or jnp.shape(bias) != jnp.shape(kernel)[1:]:
            raise ValueError(
                f"layers[{place}] has kernel {jnp.shape(kernel)} and bias {jnp.shape(bias)}, but its input has "
                f"{inputs} entries"
            )
        inputs = jnp.shape(kernel)[1]
