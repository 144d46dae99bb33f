"""The conserved quantities of deep networks, tuples of :class:`symjax.channels.Layer`: one for each hidden layer."""

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp

from symjax.activations import Activation
from symjax.arguments import accumulation_dtype, floating_tree
from symjax.channels import Layer, mlp_channels, require_layers, scalings
from symjax.conserved.quantities import unchecked_quadratic
from symjax.conserved.two_layers import degree_of, matrix

__all__ = ["deep_linear", "homogeneous_layers"]


def deep_linear(layers: Sequence[Layer]) -> tuple[jax.Array, ...]:
    """Evaluate the conserved matrices of a deep linear network with biases, one for each hidden layer.

    ``Q_i = (W_{i+1}^T W_{i+1} - W_i W_i^T - b_i b_i^T)/2``, W the transposes of the kernels. Biases that are not
    trained must be zero.

    Source: Zhao et al. 2023, section 4 (deep linear networks).
    Deviation: half of it with the opposite sign, as :func:`matrix`.

    Args:
      layers: tuple of ``Layer(kernel (in, out), bias (out,))``, at least two.

    Returns:
      A symmetric array (h_i, h_i) for each hidden layer.

    Raises:
      ValueError: fewer than two layers, or layers that do not compose.
    """
    return _deep_linear(_composed(layers))


def homogeneous_layers(layers: Sequence[Layer], degree: float | str | Activation) -> tuple[jax.Array, ...]:
    """Evaluate the conserved quantities of all hidden neurons of a deep homogeneous network with biases.

    ``Q_ij = (alpha |W_{i+1}[:, j]|^2 - |W_i[j, :]|^2 - b_i[j]^2)/2``: minus :func:`quadratic` of the flow
    :func:`symjax.channels.rescale`, for any data.

    Source: Zhao et al. 2023, section 4 (homogeneous activations); deep and with biases: derived.

    Args:
      layers: tuple of ``Layer(kernel (in, out), bias (out,))``, at least two.
      degree: alpha, or a homogeneous activation or its name.

    Returns:
      An array (h_i,) for each hidden layer.

    Raises:
      ValueError: fewer than two layers, layers that do not compose, or an activation that is not homogeneous.
    """
    layers = _composed(layers)
    channels = mlp_channels(layers, degree_of(degree))
    values = unchecked_quadratic(scalings(channels, "rescale", layers[0].kernel.dtype), layers)
    return tuple(-values[name] for name in channels)


def _composed(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers in one dtype of at least float32."""
    if len(layers) < 2:
        raise ValueError(f"layers has length {len(layers)}, but a hidden layer needs at least 2")
    require_layers(layers)
    layers = floating_tree("layers", tuple(layers))
    dtype = accumulation_dtype(*(leaf.dtype for leaf in jax.tree.leaves(layers)))
    return jax.tree.map(lambda leaf: leaf.astype(dtype), layers)


@jax.jit
def _deep_linear(layers: tuple[Layer, ...]) -> tuple[jax.Array, ...]:
    return tuple(
        matrix(after.kernel.T, jnp.concatenate([layer.kernel, layer.bias[None]]).T) for layer, after in pairwise(layers)
    )
