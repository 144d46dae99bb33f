"""What a matching is, and what it does to the second network: :func:`aligned`, then :func:`merge`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype, finite_number, require_same_shapes
from symjax.channels import Channel, flip, mix, permute
from symjax.matching.assignment import Assignment
from symjax.matching.score import Group

__all__ = ["Matching", "aligned", "describe", "merge"]


class Matching(NamedTuple):
    """How the units of a second network are brought into the order of a first one.

    Attributes:
      permutations: class -> integers (size,) or (*batch, size): the second network's unit at each place.
      signs: class -> name of the sign -> array (size,).
      mixings: class -> name of the linear group -> matrices (*batch, size, size).
      correlations: class -> array (n, n) of the first network's units against the second one's, the mean over the
        places where the class is read; n counts the batch indices too. Empty for matching by weights.
      matched: class -> array (size,), the correlation of each matched pair, under its signs; of permutations only.
      value: class -> the sum of the scores matched.
      lost: class -> how much less that is than without the constraint.
      dead: class -> (units of the first network, units of the second) that say the same on every input at every
        place: what they are matched with is arbitrary.
      unmatched: class -> why it was left as it is.
      channels: the channels on which all this acts.
    """

    permutations: dict[str, np.ndarray]
    signs: dict[str, dict[str, np.ndarray]]
    mixings: dict[str, dict[str, np.ndarray]]
    correlations: dict[str, np.ndarray]
    matched: dict[str, np.ndarray]
    value: dict[str, float]
    lost: dict[str, float]
    dead: dict[str, tuple[np.ndarray, np.ndarray]]
    unmatched: dict[str, str]
    channels: dict[str, Channel]

    def __repr__(self) -> str:
        dead = sum(len(one) for pair in self.dead.values() for one in pair)
        return f"<Matching: {len(self.value)} classes, {dead} dead units, {len(self.unmatched)} classes unmatched>"


def describe(
    elements: Mapping[str, Sequence[Assignment]],
    groups: Mapping[str, Group],
    channels: Mapping[str, Channel],
    unmatched: Mapping[str, str],
) -> Matching:
    """Elements of all classes as a matching, without what the activations said."""
    matching = Matching({}, {}, {}, {}, {}, {}, {}, {}, dict(unmatched), dict(channels))
    for name, each in elements.items():
        group, channel = groups[name], channels[name]
        stacked = np.stack([one.element for one in each])
        element = stacked.reshape(*channel.batch, *stacked.shape[1:]) if group.over else stacked[0]
        if group.kind == "orthogonal":
            matching.mixings[name] = {group.parts[0]: element}
        else:
            matching.permutations[name] = element
        if each[0].signs is not None:
            matching.signs[name] = dict(zip(group.parts, each[0].signs, strict=True))
        matching.value[name] = sum(one.value for one in each)
        matching.lost[name] = sum(one.lost for one in each)
    return matching


def aligned(matching: Matching, variables_b: Any) -> Any:
    """Bring the second network's variables into the first one's order; its function does not change.

    Source: Entezari et al. 2022; Bökman & Kahl 2023, section 2.

    Args:
      matching: from :func:`match`.
      variables_b: the second network's variables.

    Returns:
      Variables of the same structure, shapes and dtypes.

    Raises:
      ValueError: variables that do not fit the channels.
    """
    plain = {name: perm for name, perm in matching.permutations.items() if perm.ndim == 1}
    inside = {name: perm for name, perm in matching.permutations.items() if perm.ndim > 1}
    result = permute(plain, variables_b, matching.channels)
    if inside:  # their batch indices are in the new order already
        result = permute(inside, result, matching.channels)
    if matching.signs:
        result = flip(matching.signs, result, matching.channels)
    return mix(matching.mixings, result, matching.channels) if matching.mixings else result


def merge(variables_a: Any, variables_b: Any, alpha: float = 0.5) -> Any:
    """Interpolate two networks' variables, ``(1 - alpha) a + alpha b``; call :func:`aligned` on the second one first.

    Integer leaves (counters) are the first network's.

    Source: Bökman & Kahl 2023, section 2 (alpha = 1/2); Frankle et al. 2020 for the line.

    Args:
      variables_a: pytree of arrays.
      variables_b: pytree of the same structure and shapes.
      alpha: place on the line; any real number.

    Returns:
      Variables like the first ones.

    Raises:
      ValueError: leaves or shapes that differ, the first differences named.

    Example:
      >>> print(merge({"w": jnp.array([0.0, 4.0])}, {"w": jnp.array([2.0, 0.0])}, 0.25)["w"])
      [0.5 3. ]
    """
    require_same_shapes("variables_b", variables_b, "variables_a", variables_a)
    alpha = finite_number("alpha", alpha)

    def between(a: Any, b: Any) -> jax.Array:
        a, b = jnp.asarray(a), jnp.asarray(b)
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return a
        wide = accumulation_dtype(a.dtype, b.dtype)
        return ((1 - alpha) * a.astype(wide) + alpha * b.astype(wide)).astype(a.dtype)

    return jax.tree.map(between, variables_a, variables_b)
