"""ResNet-50 for photographs, in the two layouts of its published weights."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from papers.common.models.initialisation import kaiming
from papers.common.models.sizes import scaled

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Inner features and number of blocks of each stage; the blocks' outputs have four times the features."""

EXPANSION = 4

Layout = Literal["torchvision", "keras"]


class ResNet50(nn.Module):
    """ResNet-50: a 7x7 stem, a max pool, sixteen bottlenecks of three convolutions, global mean, one dense layer.

    All paddings are explicit and symmetric, so that every operation commutes with flips where both sides are 1 modulo
    32 (225), and the published network is computed at 224.

    Source: He et al. 2016, Deep Residual Learning, Table 1; the stride of a stage stands in its first 3x3 convolution
    ("torchvision", after Goyal et al. 2017) or in its first 1x1 ("keras", as in the paper, with biases in front of the
    normalisations).

    Attributes:
        classes: the number of outputs.
        width: multiplies the number of channels.
        layout: of the published weights: where the strides are, biases, epsilon 1e-5 or 1e-3.
        dtype: of the inputs to convolutions and the dense layer; parameters and statistics stay float32.
        stages: inner features and number of blocks of each stage.
    """

    classes: int = 1000
    width: float = 1.0
    layout: Layout = "torchvision"
    dtype: DTypeLike = jnp.float32
    stages: tuple[tuple[int, int], ...] = STAGES

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        """Return the logits, (n, classes), of images (n, height, width, 3); `train` takes the batch's statistics."""
        x = self._convolve(images, scaled(self.stages[0][0], self.width), 7, 2, "stem")
        x = nn.relu(self._normalise(x, train, "norm_stem"))
        x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
        for stage, (features, blocks) in enumerate(self.stages, 1):
            for block in range(1, blocks + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                x = self._block(x, scaled(features, self.width), stride, train, f"{stage}_{block}")
        logits = nn.Dense(self.classes, dtype=self.dtype, name="dense")(x.mean((1, 2)))
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def deviation(self, shape: tuple[int, ...]) -> float:
        """Return the standard deviation of an initial kernel: Kaiming normal."""
        return kaiming(shape)

    def _block(self, x: Array, features: int, stride: int, train: bool, name: str) -> Array:
        first, second = (1, stride) if self.layout == "torchvision" else (stride, 1)
        y = nn.relu(self._normalise(self._convolve(x, features, 1, first, f"conv{name}_1"), train, f"norm{name}_1"))
        y = nn.relu(self._normalise(self._convolve(y, features, 3, second, f"conv{name}_2"), train, f"norm{name}_2"))
        y = self._normalise(self._convolve(y, EXPANSION * features, 1, 1, f"conv{name}_3"), train, f"norm{name}_3")
        if name.endswith("_1"):
            x = self._convolve(x, EXPANSION * features, 1, stride, f"short{name}")
            x = self._normalise(x, train, f"norm{name}_short")
        return nn.relu(x + y)

    def _convolve(self, x: Array, features: int, side: int, stride: int, name: str) -> Array:
        pads = [(side // 2, side // 2)] * 2
        bias = self.layout == "keras"
        return nn.Conv(features, (side, side), stride, pads, use_bias=bias, dtype=self.dtype, name=name)(x)

    def _normalise(self, x: Array, train: bool, name: str) -> Array:
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        epsilon = 1e-5 if self.layout == "torchvision" else 1e-3
        return nn.BatchNorm(not train, momentum=0.9, epsilon=epsilon, name=name)(x)


def apply_resnet50(classes: int, width: float, layout: Layout) -> Callable[[Any, Any], Array]:
    """Build ``apply(variables, images)`` of a trained ResNet-50 in evaluation mode, for a run that leaves one."""
    return ResNet50(classes, width, layout).apply


def torchvision_names(path: tuple[str, ...]) -> str:
    """The name of a leaf in torchvision's weights: ``layer2.0.bn3.running_var``."""
    _, module, leaf = path
    norm = module.startswith("norm")
    word = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}[leaf]
    if module in ("stem", "norm_stem"):
        return f"{'bn1' if norm else 'conv1'}.{word}"
    if module == "dense":
        return f"fc.{word}"
    stage, block, place = _where(module)
    inner = f"downsample.{int(norm)}" if place == "short" else f"{'bn' if norm else 'conv'}{place}"
    return f"layer{stage}.{block - 1}.{inner}.{word}"


def keras_names(path: tuple[str, ...]) -> str:
    """The name of a leaf in the weights of Keras' first ResNet50: ``bn3a_branch2c/moving_variance``."""
    _, module, leaf = path
    norm = module.startswith("norm")
    word = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance", "kernel": "kernel"}.get(leaf, "bias")
    word = "beta" if norm and leaf == "bias" else word
    if module in ("stem", "norm_stem"):
        return f"{'bn_conv1' if norm else 'conv1'}/{word}"
    if module == "dense":
        return f"fc1000/{word}"
    stage, block, place = _where(module)
    branch = "1" if place == "short" else f"2{'abc'[int(place) - 1]}"
    return f"{'bn' if norm else 'res'}{stage + 1}{'abcdefghijklmnopqrstuvwxyz'[block - 1]}_branch{branch}/{word}"


def _where(module: str) -> tuple[int, int, str]:
    """Stage, block and place of a module in its block: "1" to "3", or "short"."""
    parts = module.removeprefix("norm").removeprefix("conv").removeprefix("short").split("_")
    place = parts[2] if len(parts) == 3 else "short"
    return int(parts[0]), int(parts[1]), place
