"""Convolutions that a horizontal flip leaves alone by construction: tied parameters, expanded to a plain network's.

A layer of ``c`` channels holds ``c / 2`` orbits of the flip ``tau``: channel ``i`` and channel ``i + c / 2`` are
mirror images of each other. The first kernel lifts colours to orbits, ``[w, tau w]``; of a later one the first half of
the outputs is free, and the second is its mirror image with the halves of the inputs exchanged; biases are equal in an
orbit, and so are the rows of a classifier after them, which reads a square map mirrored in the second half.
"""

from math import isqrt, prod
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np

from papers.relu_equivariance.networks.kinds import DEPTH

CLASSIFIER = "dense1"


def expand(tied: dict[str, Any], equivariant: int) -> dict[str, Any]:
    """Write tied parameters out as those of the plain network; linear, and the identity for ``equivariant = 0``.

    Source: Cohen & Welling 2016, Group Equivariant Convolutional Networks, for the group of two elements.

    Args:
        tied: ``{"conv1": {"kernel", "bias"}, ..., "dense1": ...}``; the kernels of the first ``equivariant``
            convolutions (3, 3, c, c' / 2), their biases (c' / 2,), and, where all are, a classifier
            (side^2 c / 2, classes).
        equivariant: how many convolutions are tied.

    Returns:
        The same with kernels (3, 3, c, c'), HWIO.
    """
    params = dict(tied)
    for index in range(1, equivariant + 1):
        kernel, bias = tied[f"conv{index}"]["kernel"], tied[f"conv{index}"]["bias"]
        mirrored = kernel[:, ::-1]
        if index > 1:
            mirrored = jnp.roll(mirrored, kernel.shape[2] // 2, axis=2)
        params[f"conv{index}"] = {
            "kernel": jnp.concatenate([kernel, mirrored], axis=-1),
            "bias": jnp.concatenate([bias, bias]),
        }
    if equivariant == DEPTH:
        kernel, half = tied[CLASSIFIER]["kernel"], tied[f"conv{DEPTH}"]["bias"].shape[0]
        side = isqrt(kernel.shape[0] // half)  # of the map that is flattened: rows, columns, channels
        spread = kernel.reshape(side, side, half, -1)
        spread = jnp.concatenate([spread, spread[:, ::-1]], axis=2)
        params[CLASSIFIER] = tied[CLASSIFIER] | {"kernel": spread.reshape(-1, kernel.shape[1])}
    return params


def draw(model: Any, equivariant: int, seed: int, image_shape: tuple[int, ...], gain: float = 1.0) -> dict[str, Any]:
    """Draw first parameters as PyTorch does: kernels and biases uniform between plus and minus 1/sqrt(fan-in).

    The fan-in is that of the expanded layer, so that a tied network begins with activations as large as a plain one's.

    Source: ``torch.nn.Conv2d``, ``torch.nn.Linear``: ``kaiming_uniform_(a=sqrt(5))`` and its rule for the bias.

    Args:
        model: a module of papers.common.models, VGG11 without normalisation.
        equivariant: how many convolutions are tied.
        seed: of the draw; every leaf has its own generator, seeded with its name too.
        image_shape: of one image.
        gain: multiplies the kernels.

    Returns:
        Tied parameters, float32 NumPy arrays.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: model.init(key, x), jax.random.key(0), image)["params"]
    params = {}
    for name, layer in shapes.items():
        bound = 1 / np.sqrt(prod(layer["kernel"].shape[:-1]))
        tied = name.startswith("conv") and int(name.removeprefix("conv")) <= equivariant
        for leaf, found in layer.items():
            shape = list(found.shape)
            if tied:
                shape[-1] //= 2
            elif name == CLASSIFIER and leaf == "kernel" and equivariant == DEPTH:
                shape[0] //= 2
            generator = np.random.default_rng([seed, crc32(f"{name}/{leaf}".encode())])
            drawn = generator.uniform(-bound, bound, shape) * (gain if leaf == "kernel" else 1.0)
            params.setdefault(name, {})[leaf] = drawn.astype(np.float32)
    return params
