"""Normalisation and augmentation of raw images on the device, as pure functions of a key."""

import typing
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from papers.common.data.dataset import Dataset

PADDING = 4

Augmentation = Literal["none", "crop", "flip", "turn", "crop_flip", "crop_turn", "turn_flip", "crop_turn_flip"]


def normalise(images: jax.Array, dataset: Dataset, dtype=jnp.float32) -> jax.Array:
    """Turn raw pixels into a network's input, (images / scale - mean) / std.

    A pixel of zero padding becomes -mean / std, as in torchvision, where padding comes before normalisation.

    Args:
        images: uint8, (..., 3).
        dataset: its scale, mean and std are used.
        dtype: of the result; the arithmetic is at least float32.

    Returns:
        `dtype`, same shape as images.
    """
    return _normalise(images, dataset.scale, tuple(dataset.mean), tuple(dataset.std), jnp.dtype(dtype))


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _normalise(images, scale, mean, std, dtype):
    wide = jnp.promote_types(dtype, jnp.float32)
    mean, std = jnp.asarray(mean, wide), jnp.asarray(std, wide)
    shape = (1,) * (images.ndim - 1) + (3,)
    return ((images.astype(wide) / scale - mean.reshape(shape)) / std.reshape(shape)).astype(dtype)


@partial(jax.jit, static_argnames="augmentation")
def augment(key: jax.Array, images: jax.Array, augmentation: Augmentation) -> jax.Array:
    """Pad each image by 4 raw zeros on each side, crop it back at a random place, turn it, mirror it.

    Every image has its own crop, uniform over the 9 x 9 places, its own quarter turns, uniform over the four, and its
    own mirror, with probability 1/2; turns and mirrors are together uniform over the group D4. All are one gather by
    row and column, which costs less than a copy of the padded images (crop and mirror: 0.7 ms for 128 images of 64 x 64
    on one core; 1.0 ms by a vmapped `dynamic_slice`, and 21 ms when that stands inside a `lax.scan`).

    Source: torchvision's RandomCrop(size, padding=4) and RandomHorizontalFlip(0.5); quarter turns as in Cohen & Welling
        2016, section 4.1.

    Args:
        key: one key for the whole batch.
        images: uint8, (n, height, width, channels).
        augmentation: any of "crop", "turn" and "flip", in this order and joined by "_", or "none" for the images as
            they are.

    Returns:
        As images.

    Raises:
        ValueError: an augmentation of another name, or a turn of images that are not square.
    """
    if augmentation == "none":
        return images
    if augmentation not in typing.get_args(Augmentation):
        allowed = ", ".join(map(repr, typing.get_args(Augmentation)))
        raise ValueError(f"augmentation is {augmentation!r}, but {allowed} are allowed.")
    count, height, width, _ = images.shape
    if "turn" in augmentation and height != width:
        raise ValueError(f"the images are {height}x{width}, but only square ones can be turned by a quarter.")
    crop_key, flip_key = jax.random.split(key)
    padding = PADDING if "crop" in augmentation else 0
    shift = jax.random.randint(crop_key, (count, 2), -padding, padding + 1)
    mirrored = jax.random.bernoulli(flip_key, 0.5 if "flip" in augmentation else 0.0, (count, 1))
    column = jnp.arange(width)[None, :]
    column = jnp.where(mirrored, width - 1 - column, column) + shift[:, 1:]
    row = jnp.arange(height)[None, :] + shift[:, :1]
    inside = _inside(row, height)[:, :, None] & _inside(column, width)[:, None, :]
    image = jnp.arange(count)[:, None, None]
    row, column = row.clip(0, height - 1)[:, :, None], column.clip(0, width - 1)[:, None, :]
    if "turn" in augmentation:
        turns = jax.random.randint(jax.random.fold_in(key, 1), (count,), 0, 4)
        row, column, inside = (_turned(turns, jnp.broadcast_to(a, inside.shape)) for a in (row, column, inside))
    return jnp.where(inside[..., None], images[image, row, column], jnp.zeros((), images.dtype))


def _turned(turns, arrays):
    """Arrays (n, side, side), each turned by its own number of quarters."""
    quarters = jnp.stack([jnp.rot90(arrays, k, axes=(1, 2)) for k in range(4)])
    return quarters[turns, jnp.arange(len(arrays))]


def _inside(index, size):
    return (index >= 0) & (index < size)
