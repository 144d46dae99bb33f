"""Conserved quantities of a trained ReLU network, at every step: the imbalance of each hidden neuron and channel.

``Q = (|writers|^2 - |readers|^2)/2`` of a neuron with an activation of degree 1: writers are the weights and the bias
that make its pre-activation, readers those that its activation is multiplied by. Gradient flow keeps each one. A step
``theta -> theta + d`` changes it by

    dQ = <M theta, d> + Q(d),

M the generator of the neuron's rescaling. In gradient descent ``d = -eta g`` the first term is ``-eta`` times the
gradient identity, zero, and what remains is an exact law of the discrete update: ``dQ = eta^2 Q(g)``. Adam's ``d`` is
not along the gradient and its first term does not vanish. All channels of a network take one reverse pass a term.

Source: Zhao et al. 2023, section 4 (homogeneous activations); the discrete law derived from the update.
Deviation: the paper watches networks of two layers; these are deep, convolutional and see minibatches.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.training.step import Update
from symjax.channels import Channel, hidden, restrict, scalings, unsigned
from symjax.conserved import quadratic
from symjax.symmetry import Symmetry, pairing

Rule = Literal["descent", "other"]


class Neurons(NamedTuple):
    """The rescalings of a network's hidden neurons.

    Attributes:
      symmetry: all of them at once, on the parameters.
      unsigned: the same with positive degrees; its Q is ``(|writers|^2 + |readers|^2)/2``, the size to compare with.
    """

    symmetry: Symmetry
    unsigned: Symmetry


class Watched(NamedTuple):
    """What a run carries beside the network; vectors (neurons,) but for the learning rate.

    Attributes:
      learning_rate: eta, here so that one compiled program serves all its values.
      start: Q at the first parameters.
      size: ``(|writers|^2 + |readers|^2)/2`` there.
      measured: Q now.
      first_order: sum of ``<M theta, d>`` over the steps so far; zero but for rounding in gradient descent.
      second_order: sum of ``Q(d)``, the exact law's prediction of the drift in gradient descent.
      worst: largest ``|start + predicted drift - measured| / size`` so far; the prediction is the second order alone in
        descent, both orders elsewhere, where it is an identity.
    """

    learning_rate: jax.Array
    start: jax.Array
    size: jax.Array
    measured: jax.Array
    first_order: jax.Array
    second_order: jax.Array
    worst: jax.Array


def neurons(channels: Mapping[str, Channel], dtype: Any = None) -> Neurons:
    """Find the neurons with a rescale symmetry in the description of a network's channels.

    Args:
      channels: with paths from ``{"params": ...}``.
      dtype: of the parameters.

    Returns:
      A :class:`Neurons`.

    Raises:
      ValueError: no channel has the symmetry.
    """
    found = {
        name: channel
        for name, channel in restrict(channels, "params").items()
        if any(scaling.name == "rescale" for scaling in channel.scalings)
    }
    if not found:
        raise ValueError(f"channels are {', '.join(channels) or 'none'}, but none of them has a rescale symmetry")
    return Neurons(
        scalings(found, "rescale", dtype),
        scalings({name: unsigned(channel) for name, channel in found.items()}, "rescale", dtype),
    )


def start(found: Neurons, params: Any, learning_rate: Any) -> Watched:
    """Measure all Q at the first parameters.

    Args:
      found: the neurons.
      params: the parameters.
      learning_rate: eta, a scalar.

    Returns:
      A :class:`Watched`.
    """
    value = charge(found, params)
    size = _vector(quadratic(found.unsigned, params))
    nothing = jnp.zeros_like(value)
    return Watched(jnp.asarray(learning_rate, value.dtype), value, size, value, nothing, nothing, nothing)


def observe(found: Neurons, rule: Rule, watched: Watched, update: Update) -> tuple[Watched, Any, dict[str, Any]]:
    """Measure all Q after a step and add up both orders of what the step does to them.

    Source: derived from the update; the paper's ``<theta', M theta> = 0`` is the first order.

    Args:
      found: the neurons.
      rule: descent for ``theta - eta g``, whose law is then predicted from the gradient alone.
      watched: before the step.
      update: what the step did.

    Returns:
      :class:`Watched` after the step, the new parameters as they are, and no metrics.
    """
    if rule == "descent":
        step = jax.tree.map(lambda g: -watched.learning_rate.astype(g.dtype) * g, update.gradient)
    else:
        step = jax.tree.map(jnp.subtract, update.after, update.before)
    first = watched.first_order + _vector(pairing(found.symmetry, update.before, step))
    second = watched.second_order + charge(found, step)
    measured = charge(found, update.after)
    predicted = second if rule == "descent" else first + second
    # the difference of two Q near each other is exact, the sum of Q and a small drift is not
    error = jnp.abs((measured - watched.start) - predicted) / watched.size
    worst = jnp.maximum(watched.worst, error)
    moved = Watched(watched.learning_rate, watched.start, watched.size, measured, first, second, worst)
    return moved, update.after, {}


def charge(found: Neurons, params: Any) -> jax.Array:
    """Evaluate Q of every neuron, a vector in the order of :func:`layers`."""
    return _vector(quadratic(found.symmetry, params))


def size(found: Neurons, params: Any) -> jax.Array:
    """Evaluate ``(|writers|^2 + |readers|^2)/2`` of every neuron, which nothing conserves."""
    return _vector(quadratic(found.unsigned, params))


def layers(found: Neurons) -> np.ndarray:
    """Name the channel of every entry, text (neurons,)."""
    zero = found.symmetry.zero
    return np.repeat(sorted(zero), [zero[name].shape[0] for name in sorted(zero)])


def cifar_channels(variables: Mapping[str, Any], activation: str) -> dict[str, Channel]:
    """Describe the hidden channels of the CIFAR-10 network of Figures 10 and 11.

    The filters' leaky ReLU and max pool are homogeneous; of the group activations only the leaky ReLU is, so with
    leaky_square the dense units have no charge.

    Args:
      variables: ``{"params": ...}``; only shapes are read.
      activation: the group activation, leaky_relu or leaky_square.

    Returns:
      A dict from the channel's name to its ``Channel``.
    """
    degree = 1.0 if activation == "leaky_relu" else None
    convolution, inner, outer = (("params", name) for name in ("convolution", "inner", "outer"))
    return {
        "convolution": hidden(variables, convolution, inner),
        "inner": hidden(variables, inner, outer, degree),
    }


def _vector(values: Mapping[str, jax.Array]) -> jax.Array:
    return jnp.concatenate([values[name] for name in sorted(values)])
