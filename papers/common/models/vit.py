"""A small vision transformer."""

from math import prod

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


class Places(nn.Module):
    """A vector for each place of a token.

    None is zero at first: a normalisation multiplies the gradient of a token without variance, as of an empty patch, by
    1 / sqrt(epsilon).
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return x + self.param("kernel", nn.initializers.normal(x.shape[-1] ** -0.5), (1, *x.shape[1:])).astype(x.dtype)


class ViT(nn.Module):
    """A vision transformer: patches of pixels, pre-norm blocks, the mean of the tokens, one dense layer.

    Source: Dosovitskiy et al. 2021, section 3.1, in the form of Beyer et al. 2022, Better plain ViT baselines (mean of
    the tokens in the place of a class token).

    Attributes:
        classes: the number of outputs.
        width: multiplies the number of features, 192, and of hidden units, 4 times as many.
        depth: blocks.
        heads: of the attention; they divide the features.
        patch: pixels of a patch's side.
        dtype: of the matrix products; the parameters stay float32.
    """

    classes: int
    width: float = 1.0
    depth: int = 4
    heads: int = 3
    patch: int = 4
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        """Return the logits, (n, classes), of images (n, height, width, 3); `train` changes nothing."""
        patch, features = (self.patch, self.patch), self.heads * max(1, round(64 * self.width))
        x = nn.Conv(features, patch, patch, "VALID", dtype=self.dtype, name="patches")(images)
        x = x.reshape(x.shape[0], -1, features)
        x = Places(name="places")(x)
        for block in range(1, self.depth + 1):
            x = x + self._attend(self._normalise(x, f"norm{block}_1"), f"attention{block}")
            hidden = nn.Dense(4 * features, dtype=self.dtype, name=f"dense{block}_1")(
                self._normalise(x, f"norm{block}_2")
            )
            x = x + nn.Dense(features, dtype=self.dtype, name=f"dense{block}_2")(nn.gelu(hidden))
        logits = nn.Dense(self.classes, dtype=self.dtype, name="dense")(self._normalise(x, "norm").mean(1))
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def deviation(self, shape: tuple[int, ...]) -> float:
        """Return the standard deviation of an initial kernel: 1 / sqrt(fan_in), of the places 1 / sqrt(features)."""
        if shape[0] == 1:
            return shape[-1] ** -0.5
        reads_heads = len(shape) == 3 and shape[0] == self.heads  # of the attention: (heads, dimension, features)
        return prod(shape[:1] if len(shape) == 3 and not reads_heads else shape[:-1]) ** -0.5

    def _normalise(self, x: Array, name: str) -> Array:
        return nn.LayerNorm(name=name)(x.astype(jnp.promote_types(x.dtype, jnp.float32)))

    def _attend(self, x: Array, name: str) -> Array:
        return nn.MultiHeadDotProductAttention(self.heads, dtype=self.dtype, name=name)(x)
