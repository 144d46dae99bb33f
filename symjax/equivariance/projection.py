"""The nearest network that is equivariant layer by layer, from permutations of channels that go with a group."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype, floating_tree
from symjax.channels import Channel, permute
from symjax.equivariance.groups import SpatialGroup, require_element
from symjax.equivariance.spatial import SpatialLayout, transform
from symjax.tracing.action import leaf_paths
from symjax.tracing.describe import Path

__all__ = [
    "NetworkAction",
    "Tying",
    "layerwise_errors",
    "reynolds",
    "tie",
    "tying",
    "untie",
]


class NetworkAction(NamedTuple):
    """How a group acts on a network's parameters: space is moved, and channels are permuted with it.

    ``(g theta) = P(g) tau_g(theta)``: :func:`symjax.equivariance.transform`, then
    :func:`symjax.channels.permute`. A network that every element leaves as it is, is a group-equivariant one.

    Attributes:
      group: on images and kernels.
      layout: of the model, from :func:`symjax.equivariance.find_spatial`.
      channels: of the model, from :func:`symjax.tracing.symmetries`.
      permutations: class -> integers (order, size), one permutation for each element; a class left out is not moved.
    """

    group: SpatialGroup
    layout: SpatialLayout
    channels: Mapping[str, Channel]
    permutations: Mapping[str, Any]

    def __call__(self, g: int, variables: Any) -> Any:
        """Act with an element."""
        g = require_element(self.group, g)
        for name, perms in self.permutations.items():
            if len(perms) != self.group.order:
                raise ValueError(f"{name} has {len(perms)} permutations, but {self.group.name} has {self.group.order}")
        chosen = {name: jnp.asarray(perms[g]) for name, perms in self.permutations.items()}
        moved = transform(variables, self.layout, self.group, g)
        return permute(chosen, moved, dict(self.channels)) if chosen else moved


def reynolds(variables: Any, action: NetworkAction) -> Any:
    """Average the parameters over a group: ``1/|G| sum_g P(g) tau_g(theta)``.

    The nearest group-equivariant network if the permutations are an action
    (:func:`symjax.matching.homomorphism_defect` zero), and the merge of the network with all its moved selves
    otherwise; :func:`tie` is exact either way.

    Source: Bökman & Kahl 2023, arXiv 2305.17017, section 2 (C2: the mid-point of a network and its flipped self).

    Args:
      variables: pytree of arrays.
      action: of the group.

    Returns:
      The same pytree; leaves that are not floating are left as they are.
    """
    each = [action(g, variables) for g in range(action.group.order)]

    def mean(*leaves: Any) -> Any:
        first = jnp.asarray(leaves[0])
        if not jnp.issubdtype(first.dtype, jnp.floating):
            return first
        dtype = accumulation_dtype(first.dtype)
        return (sum(jnp.asarray(leaf, dtype) for leaf in leaves) / len(leaves)).astype(first.dtype)

    return jax.tree.map(mean, *each)


def layerwise_errors(variables: Any, action: NetworkAction) -> dict[Path, float]:
    """How far each leaf is from being equivariant: ``|W - R(W)| / |W|``, the largest over the group.

    ``R(W_j) = P_j(g) tau_g(W_j) P_{j-1}(g)^T``; zero for a group-equivariant network, about sqrt(2) for unrelated
    weights.

    Source: Bökman & Kahl 2023, arXiv 2305.17017, the definition of layerwise equivariance.

    Args:
      variables: pytree of floating arrays.
      action: of the group.

    Returns:
      Path of the leaf -> error; zero for a leaf of zeros.
    """
    variables = floating_tree("variables", variables)
    before, errors = leaf_paths(variables)[0], {}
    for g in range(1, action.group.order):
        after = leaf_paths(action(g, variables))[0]
        for path, leaf in before.items():
            leaf = leaf.astype(accumulation_dtype(leaf.dtype))
            size = float(jnp.linalg.norm(leaf.ravel()))
            distance = float(jnp.linalg.norm((leaf - after[path].astype(leaf.dtype)).ravel()))
            errors[path] = max(errors.get(path, 0.0), distance / size if size else 0.0)
    return errors


class Tying(NamedTuple):
    """Which entries of the parameters a group makes equal.

    Attributes:
      orbit: pytree of integers in the shapes of the parameters: the number of each entry's orbit within its leaf.
      counts: pytree: how many orbits each leaf has, the number of its free parameters.
    """

    orbit: Any
    counts: Any

    @property
    def size(self) -> int:
        """Number of free parameters of the tied network."""
        return sum(jax.tree.leaves(self.counts))


def tying(variables: Any, action: NetworkAction) -> Tying:
    """Find the orbits of the entries of all leaves: every element moves entries within their leaf.

    If the permutations are no action, the orbits are those of the group they generate.

    Source: Ravanbakhsh, Schneider & Póczos 2017, Equivariance through parameter-sharing, for any traced network.

    Args:
      variables: pytree of arrays; only their shapes are read.
      action: of the group.

    Returns:
      The orbits, for :func:`tie` and :func:`untie`.

    Example:
      >>> from symjax.equivariance import find_spatial, flip_group
      >>> apply = lambda v, x: (x[:, 0] * v["row"]).sum(1)  # one row of three pixels
      >>> layout = find_spatial(apply, {"row": jnp.ones((1, 3))}, jnp.ones((2, 1, 3)), {"width": 2})
      >>> tied = tying({"row": jnp.ones((1, 3))}, NetworkAction(flip_group(), layout, {}, {}))
      >>> print(tied.orbit["row"], tied.size)
      [[0 1 0]] 2
      >>> print(untie(tie({"row": jnp.array([[1.0, 5.0, 3.0]])}, tied), tied)["row"])
      [[2. 5. 2.]]
    """
    shapes = jax.tree.map(jnp.shape, variables, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    sizes = [int(np.prod(shape, dtype=int)) for shape in jax.tree.leaves(shapes, is_leaf=_is_shape)]
    dtype = np.int32 if max(sizes) < 2**31 else np.int64

    def number(shape: tuple[int, ...]) -> np.ndarray:
        return np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)

    numbered = jax.tree.map(number, shapes, is_leaf=_is_shape)
    images = [action(g, numbered) for g in range(1, action.group.order)]
    joined = jax.tree.map(_components, numbered, *images)
    return Tying(joined, jax.tree.map(lambda orbit: int(orbit.max()) + 1, joined))


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(n, int) for n in value)


def _components(entries: np.ndarray, *images: Any) -> np.ndarray:
    """Orbits of entries under permutations, numbered in the order of their first entries."""
    label = np.arange(entries.size)
    while True:
        before = label
        for image in images:
            moved = np.asarray(image).ravel()
            label = np.minimum(label, label[moved])
            np.minimum.at(label, moved, label.copy())
        label = label[label]
        if np.array_equal(label, before):
            return np.unique(label, return_inverse=True)[1].reshape(entries.shape)


def tie(variables: Any, tied: Tying) -> Any:
    """Give the free parameters of the nearest group-equivariant network: the mean of each orbit.

    ``untie(tie(theta))`` is the projection onto the networks that the action leaves as they are, the nearest in the
    Euclidean norm.

    Source: the Reynolds operator, leaf by leaf.

    Args:
      variables: pytree of floating arrays.
      tied: from :func:`tying`.

    Returns:
      The pytree with a vector (orbits,) for every leaf.
    """

    def means(leaf: jax.Array, orbit: Any, count: int) -> jax.Array:
        dtype, orbit = accumulation_dtype(leaf.dtype), jnp.asarray(orbit).ravel()
        total = jnp.zeros(count, dtype).at[orbit].add(leaf.ravel().astype(dtype))
        return (total / jnp.zeros(count, dtype).at[orbit].add(1)).astype(leaf.dtype)

    return jax.tree.map(means, floating_tree("variables", variables), tied.orbit, tied.counts)


def untie(free: Any, tied: Tying) -> Any:
    """Write free parameters out as those of the plain network: linear, and exactly equivariant.

    Source: as :func:`tying`.

    Args:
      free: from :func:`tie`, or trained as such.
      tied: from :func:`tying`.

    Returns:
      The pytree of the network's parameters.
    """
    return jax.tree.map(lambda vector, orbit: vector[jnp.asarray(orbit)], free, tied.orbit)
