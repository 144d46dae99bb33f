"""The trivial symmetries of a multilayer perceptron, as channels: permutations and positive scalings of hidden units.

What :func:`symjax.channels.permute`, :func:`symjax.channels.rescale` and :func:`symjax.channels.scalings` act by.
"""

from collections.abc import Sequence

from symjax.channels import Channel, Scaling, Site
from symjax.dimension.networks import Params
from symjax.dimension.units import RELU, Unit, as_network, unit_counts

__all__ = ["trivial_group"]


def trivial_group(params: Params, unit: Unit | Sequence[Unit] = RELU) -> dict[str, Channel]:
    """Describe the hidden units of a network: a channel for each hidden layer, ``hidden0``, ``hidden1``, ...

    A unit of layer l is the rows of ``W_l`` and ``b_l`` that it reads and a column of ``W_{l+1}``: units change places
    with all of these, and ``rescale`` multiplies the rows by ``exp(s)`` and the column by ``exp(-s)``.

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179), the trivial symmetries.

    Args:
      params: ``[(W, b), ...]``; only its shapes are read.
      unit: the kind of the hidden units, or one for each hidden layer.

    Returns:
      Channel name -> :class:`~symjax.channels.Channel`.

    Raises:
      ValueError: bad layers or units.

    Example:
      >>> import numpy as np
      >>> from symjax.channels import permute
      >>> params = [(np.array([[1.0], [2.0]]), np.array([3.0, 4.0])), (np.array([[5.0, 6.0]]), np.zeros(1))]
      >>> swapped = permute({"hidden0": np.array([1, 0])}, params, trivial_group(params))
      >>> print(swapped[0][1], swapped[1][0])
      [4. 3.] [[6. 5.]]
    """
    params, units = as_network(params, unit)
    channels = {}
    for layer, (kind, count) in enumerate(zip(units, unit_counts(params, units), strict=True)):
        rows, biases = Site((layer, 0), 0, inner=kind.reads), Site((layer, 1), 0, inner=kind.reads)
        columns = Site((layer + 1, 0), 1)
        scaling = Scaling("rescale", ((rows, 1.0), (biases, 1.0), (columns, -1.0)))
        channels[f"hidden{layer}"] = Channel(count, (rows, biases, columns), (scaling,))
    return channels
