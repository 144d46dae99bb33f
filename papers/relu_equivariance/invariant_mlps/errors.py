"""One network: the dimension that is missing, how far it is from invariant, how far its layers are from equivariant."""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np

from papers.relu_equivariance.invariant_mlps.networks import BOX, INPUTS, Variables, apply
from symjax.dimension import exact_dimension, largest_dimension
from symjax.equivariance import NetworkAction, find_spatial, flip_group, invariance_error, layerwise_errors, transform
from symjax.matching import match_group
from symjax.tracing import symmetries

REVERSAL = flip_group()
TABLE = np.array([[0, 1], [1, 0]])
SWEEPS = 50
"""Over the layers, to balance the units of several."""


class Errors(NamedTuple):
    """What is measured of a network.

    Attributes:
      missing: by how much its functional dimension falls short of the largest: 0 for an identifiable network.
      invariance: mean invariance error over signals.
      layerwise: largest over the layers of ``|(W, b) - R(W, b)| / |(W, b)|``, units balanced and matched.
    """

    missing: int
    invariance: float
    layerwise: float


class Architecture:
    """Networks of one shape, traced once.

    Attributes:
      traced: their channels.
      layout: which axes of their leaves the reversal of the signals moves.
      x: signals (n, 4), each with its mirror image.
    """

    def __init__(self, variables: Variables, x: np.ndarray) -> None:
        like = jax.ShapeDtypeStruct((1, INPUTS), float)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), float), variables)
        self.traced = symmetries(apply, shapes, like)
        self.layout = find_spatial(apply, shapes, like, {"width": 1})
        self.x = np.concatenate([x, x[:, ::-1]])
        self._apply = jax.jit(apply)

    def errors(self, variables: Variables) -> Errors:
        """Measure a network of this shape."""
        return Errors(missing_dimension(variables), self.invariance(variables), self.layerwise(variables))

    def invariance(self, variables: Variables) -> float:
        """Mean invariance error: paper's, of a single output."""
        values = self._apply(variables, self.x)
        return float(invariance_error(*np.split(np.asarray(values), 2)).mean())

    def layerwise(self, variables: Variables) -> float:
        """Largest layerwise error, under the permutations that match the network with its mirror image best."""
        scaled = balanced(variables)
        images = [scaled, jax.tree.map(np.asarray, transform(scaled, self.layout, REVERSAL, 1))]
        matching = match_group(self.traced, images, TABLE, [self.x])
        action = NetworkAction(REVERSAL, self.layout, matching.channels, matching.permutations)
        relative = layerwise_errors(scaled, action)
        found = []
        for name, layer in scaled.items():
            sizes = np.array([np.linalg.norm(layer[key]) for key in ("kernel", "bias")])
            parts = np.array([relative[name, key] for key in ("kernel", "bias")]) * sizes
            found.append(float(np.linalg.norm(parts) / np.linalg.norm(sizes)))
        return max(found)


def missing_dimension(variables: Variables) -> int:
    """Largest functional dimension of the architecture less the network's, over all its regions in the box."""
    params = [
        (np.asarray(variables[name]["kernel"]).T, np.asarray(variables[name]["bias"])) for name in sorted(variables)
    ]
    return largest_dimension(params) - exact_dimension(params, BOX).rank


def balanced(variables: Variables) -> Variables:
    """The same function, every hidden unit's incoming weights and bias together as large as its outgoing weights.

    So a unit counts in the layerwise error by what it contributes to the function.
    """
    names = sorted(variables)
    scaled: dict[str, dict[str, Any]] = {name: {k: np.asarray(v) for k, v in variables[name].items()} for name in names}
    for _ in range(SWEEPS if len(names) > 2 else 1):
        for name, after in itertools.pairwise(names):
            into = np.sqrt((scaled[name]["kernel"] ** 2).sum(0) + scaled[name]["bias"] ** 2)
            out = np.sqrt((scaled[after]["kernel"] ** 2).sum(1))
            used = (into > 0) & (out > 0)
            scale = np.sqrt(np.where(used, out, 1) / np.where(used, into, 1))
            scaled[name] = {key: leaf * scale for key, leaf in scaled[name].items()}
            scaled[after] = scaled[after] | {"kernel": scaled[after]["kernel"] / scale[:, None]}
    return scaled
