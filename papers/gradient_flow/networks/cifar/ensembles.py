"""Ensembles whose members share one trained network up to the hidden layer, all evaluated in one program."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from papers.common.data import Dataset
from papers.gradient_flow.networks.cifar.config import KINDS, GroupActivation, NetworkConfig
from papers.gradient_flow.networks.cifar.network import ACTIVATIONS, CifarNetwork, build, pixels
from papers.gradient_flow.networks.cifar.perturbations import Perturbations

CHUNK = 1000
"""Images that a compiled program takes at a time."""


class Head(NamedTuple):
    """What follows the group activation: kernel (h, classes), bias (classes,)."""

    kernel: Array
    bias: Array


class Scores(NamedTuple):
    """Accuracies of every kind of ensemble, in [0, 1]; NaN where a member is not finite.

    Attributes:
      mean_softmax: (kinds,), of the class with the largest mean probability over members.
      vote: (kinds,), of the class that most members choose, the first of equal ones.
      loss: (kinds,), mean of -log of the mean probability of the label.
      finite: (kinds,), share of members whose probabilities are all finite.
    """

    mean_softmax: Array
    vote: Array
    loss: Array
    finite: Array


def head(params: Any) -> Head:
    """Give the last layer of a trained network in float64 (float32 where jax has no other)."""
    wide = jnp.result_type(float)
    return Head(jnp.asarray(params["outer"]["kernel"], wide), jnp.asarray(params["outer"]["bias"], wide))


@partial(jax.jit, static_argnums=0)
def preactivations(model: CifarNetwork, params: Any, images: Array) -> Array:
    """Give the pre-activations of the group activation, (n, h) float32, of normalised images (n, 32, 32, 3)."""
    return model.apply({"params": params}, images, method="preactivations")


def features(config: NetworkConfig, params: Any, images: np.ndarray, dataset: Dataset) -> Array:
    """Give the pre-activations of the group activation, (n, h) float64, of raw images; shared by all members."""
    model, wide = build(config), jnp.result_type(float)
    parts = [images[first : first + CHUNK] for first in range(0, len(images), CHUNK)]
    return jnp.concatenate([preactivations(model, params, pixels(part, dataset)).astype(wide) for part in parts])


def logits(last: Head, hidden: Array, lower: Array, upper: Array, activation: GroupActivation) -> Array:
    """Give every member's logits, sigma(h lower) upper kernel + bias.

    Args:
      last: the network's last layer.
      hidden: (n, h), pre-activations, shared by the members.
      lower: (members, h, h).
      upper: (members, h, h).
      activation: the group activation's name.

    Returns:
      (members, n, classes).
    """
    sigma = ACTIVATIONS[activation]

    def member(lower: Array, upper: Array) -> Array:
        return sigma(hidden @ lower) @ (upper @ last.kernel) + last.bias[None]

    return jax.vmap(member)(lower, upper)


@partial(jax.jit, static_argnums=5)
def score(last: Head, hidden: Array, labels: Array, lower: Array, upper: Array, activation: GroupActivation) -> Scores:
    """Evaluate all members of the five ensembles in one program.

    Args:
      last: the network's last layer.
      hidden: (n, h), pre-activations of the images.
      labels: (n,), integers.
      lower: (kinds, members, h, h).
      upper: (kinds, members, h, h).
      activation: the group activation's name.

    Returns:
      The scores of each kind.
    """

    def ensemble(maps: tuple[Array, Array]) -> Scores:
        each = jax.nn.softmax(logits(last, hidden, *maps, activation))
        finite = jnp.isfinite(each).all(axis=(1, 2))
        mean = each.mean(axis=0)
        votes = jax.nn.one_hot(each.argmax(-1), each.shape[-1], dtype=jnp.int32).sum(axis=0)
        right = jnp.stack([mean.argmax(-1) == labels, votes.argmax(-1) == labels]).mean(axis=1, dtype=each.dtype)
        own = jnp.take_along_axis(mean, labels[:, None], axis=1)[:, 0]
        loss = -jnp.log(jnp.maximum(own, jnp.finfo(own.dtype).tiny)).mean()
        known = jnp.where(finite.all(), 0.0, jnp.nan)
        return Scores(right[0] + known, right[1] + known, loss + known, finite.mean(dtype=each.dtype))

    return jax.lax.map(ensemble, (lower, upper))  # one kind after the other: a fifth of the memory, no slower


def score_all(last: Head, hidden: Array, labels: Array, maps: Perturbations, activation: GroupActivation) -> Scores:
    """Evaluate any number of images, :data:`CHUNK` at a time by the same program; a rest is a program of its own."""
    parts, weights = [], []
    for first in range(0, len(labels), CHUNK):
        rows = slice(first, first + CHUNK)
        parts.append(score(last, hidden[rows], labels[rows], maps.lower, maps.upper, activation))
        weights.append(len(labels[rows]))
    return Scores(*(np.average(np.stack(field), axis=0, weights=weights) for field in zip(*parts, strict=True)))


def memory(members: int, images: int, hidden: int = 16, classes: int = 10) -> int:
    """Give the bytes of scratch memory of the compiled program for one number of members and images, in float64.

    Raises:
      ValueError: a count below one.
    """
    if min(members, images) < 1:
        raise ValueError(f"members is {members} and images is {images}, but both must be at least 1")
    wide = jnp.result_type(float)

    def array(*shape: int, dtype: Any = wide) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    maps = array(len(KINDS), members, hidden, hidden)
    last = Head(array(hidden, classes), array(classes))
    arguments = (last, array(images, hidden), array(images, dtype=np.int32), maps, maps)
    return score.lower(*arguments, "leaky_square").compile().memory_analysis().temp_size_in_bytes


def own_accuracy(last: Head, hidden: Array, labels: Array, activation: GroupActivation) -> float:
    """Give the accuracy of the network itself from its pre-activations."""
    outputs = ACTIVATIONS[activation](hidden) @ last.kernel + last.bias[None]
    return float(np.mean(np.asarray(outputs.argmax(-1) == labels)))


@partial(jax.jit, static_argnums=5)
def right(last: Head, hidden: Array, labels: Array, lower: Array, upper: Array, activation: GroupActivation) -> Array:
    """Say for every image, (n,) booleans, whether one ensemble (maps (members, h, h)) is right by mean softmax."""
    return jax.nn.softmax(logits(last, hidden, lower, upper, activation)).mean(axis=0).argmax(-1) == labels
