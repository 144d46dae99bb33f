"""ResNet-18 for small images, with group or batch normalisation."""

from math import gcd
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from papers.common.models.initialisation import kaiming
from papers.common.models.sizes import scaled

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Features and stride of each stage of two blocks."""

GROUPS = 32

Norm = Literal["group", "batch"]


class ResNet18(nn.Module):
    """ResNet-18 with the 3x3 stem of small images: eight blocks of two convolutions, global mean, one dense layer.

    Source: He et al. 2016, Deep Residual Learning, Table 1 and section 4.2 (the stem); Wu & He 2018, Group
    Normalization.

    Attributes:
        classes: the number of outputs.
        width: multiplies the number of channels, 64 to 512.
        norm: group (of at most 32 groups) or batch.
        dtype: of the inputs to convolutions and the dense layer; parameters and statistics stay float32.
        stages: features and stride of each stage.
    """

    classes: int
    width: float = 1.0
    norm: Norm = "group"
    dtype: DTypeLike = jnp.float32
    stages: tuple[tuple[int, int], ...] = STAGES

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        """Return the logits, (n, classes), of images (n, height, width, 3); `train` takes the batch's statistics."""
        x = self._convolve(images, scaled(self.stages[0][0], self.width), 1, "stem")
        x = nn.relu(self._normalise(x, train, "norm_stem"))
        for stage, (features, stride) in enumerate(self.stages, 1):
            for block in (1, 2):
                x = self._block(x, scaled(features, self.width), stride if block == 1 else 1, train, f"{stage}_{block}")
        logits = nn.Dense(self.classes, dtype=self.dtype, name="dense")(x.mean((1, 2)))
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def deviation(self, shape: tuple[int, ...]) -> float:
        """Return the standard deviation of an initial kernel: Kaiming normal."""
        return kaiming(shape)

    def _block(self, x: Array, features: int, stride: int, train: bool, name: str) -> Array:
        y = nn.relu(self._normalise(self._convolve(x, features, stride, f"conv{name}_1"), train, f"norm{name}_1"))
        y = self._normalise(self._convolve(y, features, 1, f"conv{name}_2"), train, f"norm{name}_2")
        if x.shape != y.shape:
            x = self._convolve(x, features, stride, f"short{name}", side=1)
            x = self._normalise(x, train, f"norm{name}_short")
        return nn.relu(x + y)

    def _convolve(self, x: Array, features: int, stride: int, name: str, side: int = 3) -> Array:
        return nn.Conv(features, (side, side), stride, use_bias=False, dtype=self.dtype, name=name)(x)

    def _normalise(self, x: Array, train: bool, name: str) -> Array:
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.norm == "batch":
            return nn.BatchNorm(not train, momentum=0.9, name=name)(x)
        return nn.GroupNorm(gcd(GROUPS, x.shape[-1]), name=name)(x)
