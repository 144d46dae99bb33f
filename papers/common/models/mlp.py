"""A multilayer perceptron."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


class MLP(nn.Module):
    """A multilayer perceptron on flattened inputs: an activation after every layer but the last.

    Attributes:
        features: the widths of the layers; the last one is the number of outputs.
        activation: applied elementwise.
        dtype: of the matrix products; the parameters stay float32.
    """

    features: Sequence[int]
    activation: Callable[[Array], Array] = nn.relu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        """Return the outputs, (n, features[-1]), of a batch (n, ...); `train` changes nothing."""
        x = images.reshape(images.shape[0], -1)
        for index, features in enumerate(self.features, 1):
            x = nn.Dense(features, dtype=self.dtype, name=f"dense{index}")(x)
            if index < len(self.features):
                x = self.activation(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def deviation(self, shape: tuple[int, ...]) -> float:
        """Return the standard deviation of an initial kernel: Kaiming normal over the fan-in, sqrt(2 / fan_in)."""
        return (2 / shape[0]) ** 0.5
