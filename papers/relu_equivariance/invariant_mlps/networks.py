"""ReLU networks of short signals: of equivariant layers, through twice as many units, drawn for training."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax.equivariance import counterexample

Variables = dict[str, dict[str, Any]]

INPUTS = 4
"""A signal of four samples; its mirror image has them in reverse."""

BOX = 3.0
"""Samples lie between -BOX and BOX: networks are trained, and are identifiable or not, on these signals."""


def apply(variables: Variables, x: Any) -> jax.Array:
    """The network's values (n, 1) of signals (n, 4): layers ``x -> relu(x kernel + bias)``, the last without ReLU."""
    names = sorted(variables)
    for name in names:
        x = jnp.asarray(x) @ variables[name]["kernel"] + variables[name]["bias"][None]
        x = x if name == names[-1] else jax.nn.relu(x)
    return x


def as_variables(layers: Sequence[tuple[Any, Any]]) -> Variables:
    """Layers (kernel, bias) by name."""
    return {f"layer{n}": {"kernel": kernel, "bias": bias} for n, (kernel, bias) in enumerate(layers, 1)}


def equivariant(width: int, depth: int, random: np.random.Generator) -> Variables:
    """Draw a network of equivariant layers: unit i and unit ``i + width / 2`` of a layer are mirror images.

    Args:
      width: of the hidden layers, even.
      depth: how many of them.
      random: of the entries.
    """
    half, layers = width // 2, []
    for number, inputs in enumerate((INPUTS, *[width] * (depth - 1))):
        kernel, bias = random.normal(size=(inputs, half)) * np.sqrt(2 / inputs), random.normal(size=half) / 2
        mirrored = np.roll(kernel, half, axis=0) if number else kernel[::-1]
        layers.append((np.concatenate([kernel, mirrored], axis=1), np.tile(bias, 2)))
    last = random.normal(size=(half, 1))
    return as_variables([*layers, (np.tile(last, (2, 1)), random.normal(size=1))])


def disguised(variables: Variables, random: np.random.Generator) -> Variables:
    """The same function, its units in another order and rescaled."""
    names = sorted(variables)
    moved = {name: dict(variables[name]) for name in names}
    for name, after in itertools.pairwise(names):
        count = len(moved[name]["bias"])
        order, scale = random.permutation(count), np.exp(random.normal(size=count))
        moved[name] = {key: leaf[..., order] * scale for key, leaf in moved[name].items()}
        moved[after]["kernel"] = moved[after]["kernel"][order] / scale[:, None]
    return moved


def through_twice_as_many(variables: Variables, random: np.random.Generator) -> Variables:
    """The same function, its input passed through ``x = A^-1 [I, -I] relu([A; -A] x)`` with a random A.

    Source: the counterexample of :func:`symjax.equivariance.counterexample`.
    """
    pair = counterexample(random.normal(size=(INPUTS, INPUTS)))
    first, *rest = [variables[name] for name in sorted(variables)]
    into, out = np.asarray(pair.first), np.asarray(pair.second)
    layers = [(into, np.zeros(into.shape[1])), (out @ first["kernel"], first["bias"])]
    return as_variables([*layers, *((layer["kernel"], layer["bias"]) for layer in rest)])


def drawn(width: int, depth: int, random: np.random.Generator) -> Variables:
    """First parameters of a student: He's kernels, small biases."""
    sizes = (INPUTS, *[width] * depth, 1)
    return as_variables(
        [
            (random.normal(size=(n, m)) * np.sqrt(2 / n), random.normal(size=m) / 10)
            for n, m in itertools.pairwise(sizes)
        ]
    )
