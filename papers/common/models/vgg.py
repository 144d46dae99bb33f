"""VGG11 for small images, with and without batch normalisation."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from papers.common.models.convolution import (
    THIN,
    convolve,
    convolve_windows,
    normalise,
    on_cpu,
    relu_max_pool,
    relu_max_windows,
    tile,
)
from papers.common.models.sizes import CONVOLUTIONS, HIDDEN, scaled


class Convolution(nn.Module):
    """A 3x3 convolution with bias; its parameters are those of `nn.Conv`.

    With `windows` the result is arranged by the windows of a max pool, as `convolve_windows` says. The bias is not
    added but returned beside it: before a normalisation it changes nothing but the mean.
    """

    features: int
    windows: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.variance_scaling(2.0, "fan_out", "normal"), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = (convolve_windows if self.windows else convolve)(x.astype(self.dtype), kernel.astype(self.dtype))
        return y, bias


class BatchNorm(nn.Module):
    """Batch normalisation of `x + shift`, with the parameters, statistics and semantics of `nn.BatchNorm`.

    The statistics are computed in float32 (float64 for float64 input) and averaged with momentum 0.9, PyTorch's 0.1.
    The batch's own mean absorbs the shift, whose gradient in training is therefore exactly zero and not rounding noise.
    Deviation: the running variance is the biased one, as everywhere in Flax; PyTorch multiplies it by n / (n - 1).
    """

    features: int
    epsilon: float = 1e-5
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Array, shift: Array, train: bool) -> Array:
        features = (self.features,)
        scale = self.param("scale", nn.initializers.ones, features)
        bias = self.param("bias", nn.initializers.zeros, features)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, features)
        running_var = self.variable("batch_stats", "var", jnp.ones, features)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if not train:
            slope = scale * lax.rsqrt(running_var.value + self.epsilon)
            return x * tile(slope, x) + tile(bias + (shift - running_mean.value) * slope, x)
        rows = x.reshape(-1, x.shape[-1])
        normalised, mean, var = normalise(rows, scale.astype(x.dtype), bias.astype(x.dtype), self.epsilon)
        if not self.is_initializing():
            for running, batch in ((running_mean, mean + shift), (running_var, var)):
                running.value = self.momentum * running.value + (1 - self.momentum) * batch.astype(running.value.dtype)
        return normalised.reshape(x.shape)


class VGG11(nn.Module):
    """VGG11 on small images: eight 3x3 convolutions, five 2x2 max pools, three dense layers.

    Each convolution is followed by batch normalisation (unless `batch_norm` is False) and ReLU; the last map is
    flattened in the order height, width, channel; each hidden dense layer is followed by ReLU and dropout. At 64x64
    pixels and 200 classes it has 12,578,760 parameters.

    Source: Tanaka and Kunin 2021, section 5, by the model of Kunin et al. 2021 for Tiny-ImageNet (the former name no
    file; that they used this one is very likely).

    Attributes:
        classes: the number of outputs.
        width: multiplies the number of channels and of hidden units, 64 to 512 and 1024.
        batch_norm: whether the convolutions are normalised.
        dropout: the rate after each hidden dense layer in training; needs `rngs={"dropout": key}` unless 0.
        hidden_layers: dense layers before the last; 0 is VGG11 as it is trained on CIFAR-10.
        dtype: of the inputs to convolutions and dense layers; parameters and statistics stay float32.
        epsilon: added to the variance by the normalisation.
    """

    classes: int
    width: float = 1.0
    batch_norm: bool = True
    dropout: float = 0.5
    dtype: DTypeLike = jnp.float32
    epsilon: float = 1e-5
    hidden_layers: int = 2

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Array:
        """Return the logits, (n, classes), of images (n, height, width, 3) with sides divisible by 32.

        Training (`train=True`) normalises by the batch's own statistics, updates the running ones (`mutable=
        ["batch_stats"]`) and applies dropout.
        """
        if images.shape[1] % 32 or images.shape[2] % 32:
            raise ValueError(f"the images are {images.shape[1]}x{images.shape[2]}; VGG11 takes sides divisible by 32.")
        x = images
        for index, (features, pooled) in enumerate(CONVOLUTIONS, 1):
            features = scaled(features, self.width)
            windows = pooled and x.shape[-1] <= THIN and on_cpu()
            n, height, width, _ = x.shape
            x, bias = Convolution(features, windows, self.dtype, name=f"conv{index}")(x)
            if self.batch_norm:
                x = BatchNorm(features, self.epsilon, name=f"norm{index}")(x, bias, train)
            else:
                x = x + tile(bias, x)
            if windows:
                x = relu_max_windows(x).reshape(n, height // 2, width // 2, features)
            else:
                x = relu_max_pool(x) if pooled else nn.relu(x)
        x = x.reshape(x.shape[0], -1)
        for index in range(1, self.hidden_layers + 1):
            x = nn.relu(nn.Dense(scaled(HIDDEN, self.width), dtype=self.dtype, name=f"dense{index}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        logits = nn.Dense(self.classes, dtype=self.dtype, name=f"dense{self.hidden_layers + 1}")(x)
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def deviation(self, shape: tuple[int, ...]) -> float:
        """Return the standard deviation of an initial kernel.

        Convolutions: Kaiming normal over the fan-out, sqrt(2 / (9 features)), so that a filter's expected squared norm
        is 2 channels / features. Dense layers: 0.01 at width 1, 0.01 / sqrt(width) in general, which keeps the gain of
        each layer, 0.01 sqrt(inputs): with 0.01 itself a narrow network's logits are too small to leave the first
        plateau.
        """
        return (2 / (9 * shape[-1])) ** 0.5 if len(shape) == 4 else 0.01 / self.width**0.5
