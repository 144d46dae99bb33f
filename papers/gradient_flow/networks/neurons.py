"""The neurons of a ReLU network whose rescaling is a symmetry, watched at every step of a training.

``Q = (|writers|^2 - |readers|^2)/2`` of a neuron with an activation of degree 1: writers are the weights and the bias
that make its pre-activation, readers those that its activation is multiplied by. Gradient flow keeps each one;
:func:`symjax.watch.watch` measures what a step of an optimiser does to it. In gradient descent ``d = -eta g`` the first
order is ``-eta`` times the gradient identity, zero, and what remains is an exact law: ``dQ = eta^2 Q(g)``. Adam's ``d``
is not along the gradient and its first order does not vanish.

Source: Zhao et al. 2023, section 4 (homogeneous activations); the discrete law derived from the update.
Deviation: the paper watches networks of two layers; these are deep, convolutional and see minibatches.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.channels import Channel, hidden, restrict, scalings, unsigned
from symjax.conserved import quadratic
from symjax.symmetry import Symmetry
from symjax.watch import Descent, WatchState, watch

RECORDED = {"measured": "measured", "first_order": "first_sum", "second_order": "second_sum", "worst": "error"}
"""What a run stores of every neuron, and its field in :class:`symjax.watch.Charges`."""


class Neurons(NamedTuple):
    """The rescalings of a network's hidden neurons.

    Attributes:
      symmetry: all of them at once, on the parameters.
      unsigned: the same with positive degrees; its Q is ``(|writers|^2 + |readers|^2)/2``, the size to compare with.
    """

    symmetry: Symmetry
    unsigned: Symmetry


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


def watched(found: Neurons, optimiser: Any, learning_rate: Any = None) -> Any:
    """Put an optimiser under watch.

    Args:
      found: the neurons.
      optimiser: an optax transformation.
      learning_rate: eta where it is plain descent: what it does to Q is then predicted from the gradient alone. None
        for any other, predicted by both orders of its steps.

    Returns:
      The optax transformation.
    """
    law = None if learning_rate is None else Descent(learning_rate, residual="zero")
    form = jax.tree.map(lambda _: "quadratic", found.symmetry.zero)
    return watch(optimiser, found.symmetry, law, form, between="nothing")


def record(state: WatchState) -> dict[str, jax.Array]:
    """What is stored of the neurons, vectors in the order of :func:`layers`."""
    return {name: _vector(getattr(state.charges, field)) for name, field in RECORDED.items()}


def first_record(found: Neurons, state: WatchState) -> dict[str, np.ndarray]:
    """What no step changes: the first charges, the size they are judged by, and every neuron's layer."""
    start, size = jax.device_get((_vector(state.charges.measured), _vector(state.charges.size)))
    return {"start": start, "size": size, "layer": layers(found)}


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
