"""A network matched with all its images under a finite group, by permutations that obey the group's law."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype, require_same_shapes
from symjax.channels import Channel, permute
from symjax.matching.assignment import assign
from symjax.matching.homomorphism import assign_homomorphism, homomorphism_defect, neutral_element, require_group
from symjax.matching.match import matchable, require_some
from symjax.matching.moments import cross_moments
from symjax.matching.score import Group
from symjax.matching.sites import Sites, reads, require_variables
from symjax.matching.solving import score_of
from symjax.tracing import Symmetries

__all__ = ["GroupMatching", "aligned_group", "match_group", "merge_group"]


class GroupMatching(NamedTuple):
    """A network matched with its images.

    Attributes:
      permutations: class -> integers (group, size), an action.
      value: class -> the sum of the correlations matched.
      lost: class -> how much less that is than without the law.
      defect: class -> share of (g, h, unit) for which the best permutations of the elements break the law.
      channels: the channels on which this acts.
    """

    permutations: dict[str, np.ndarray]
    value: dict[str, float]
    lost: dict[str, float]
    defect: dict[str, float]
    channels: dict[str, Channel]


def match_group(
    traced: Symmetries,
    images: Sequence[Any],
    table: Any,
    batches: Iterable[Any],
    *,
    sites: Sites = "all",
    names: Sequence[str] | None = None,
    epsilon: float = 0.0,
) -> GroupMatching:
    """Match a network with its images under a group, such that the permutations of each class are an action.

    The mean of the images in the network's order (:func:`merge_group`) is then exactly equivariant: a GCNN.

    Source: Bökman & Kahl 2023 for C2; other groups and the law as a constraint: derived.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      images: variables of the network acted on by each element, in the order of the table; with
        :func:`symjax.equivariance.transform`, ``[transform(variables, layout, group, g) for g in ...]``.
      table: integers (group, group), ``table[g, h] = g h``, ``(g h) . v = g . (h . v)``.
      batches: inputs.
      sites: as for :func:`symjax.matching.match`.
      names: as for :func:`symjax.matching.match`; classes with batch indices are left as they are.
      epsilon: as for :func:`symjax.matching.match`.

    Returns:
      The matching.

    Raises:
      ValueError: as :func:`symjax.matching.match` and :func:`assign_homomorphism`.

    Example:
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"], 0.0) @ v["out"]
      >>> v = {"in": jnp.array([[2.0, 0.1], [0.0, 1.9]]), "out": jnp.ones((2, 1))}
      >>> x = jnp.array([[1.0, -1.0], [-1.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
      >>> images = [v, {**v, "in": v["in"][::-1]}]  # the two inputs exchanged
      >>> matching = match_group(symmetries(apply, v, x[:1]), images, [[0, 1], [1, 0]], [x])
      >>> merged = merge_group(matching, images)
      >>> print(matching.permutations["in"][1], apply(merged, x)[:2, 0].round(3))
      [1 0] [1.9 1.9]
    """
    table = require_group(table)
    if len(images) != len(table):
        raise ValueError(f"images hold {len(images)} networks, but the group has {len(table)} elements")
    require_variables(traced, **{f"images[{g}]": one for g, one in enumerate(images)})
    channels, unmatched = matchable(traced, names)
    places = reads(traced, [name for name, one in channels.items() if not one.batch], sites)
    unmatched |= {name: "no contraction reads it" for name, each in places.items() if not each}
    places = {name: each for name, each in places.items() if each}
    require_some(places, unmatched)
    neutral = neutral_element(table)
    moments = cross_moments(traced, images[neutral], images, batches, places)
    matching, plain = GroupMatching({}, {}, {}, {}, channels), Group("permutation", (), ())
    for name in places:
        scores = [score_of(one[name], plain, channels[name], epsilon).plain[0, :, 0] for one in moments]
        best = assign_homomorphism(scores, table)
        free = np.stack([assign(one).element for one in scores])
        free[neutral] = np.arange(len(free[neutral]))
        matching.permutations[name], matching.value[name], matching.lost[name] = best
        matching.defect[name] = homomorphism_defect(free, table)
    return matching


def aligned_group(matching: GroupMatching, images: Sequence[Any]) -> list[Any]:
    """Bring every image of a network into the network's order; their functions do not change.

    Source: Bökman & Kahl 2023, section 2.

    Args:
      matching: from :func:`match_group`.
      images: as there.

    Returns:
      Variables of each.

    Raises:
      ValueError: images that do not fit the channels.
    """
    return [
        permute({name: each[g] for name, each in matching.permutations.items()}, image, matching.channels)
        for g, image in enumerate(images)
    ]


def merge_group(matching: GroupMatching, images: Sequence[Any]) -> Any:
    """The mean of a network's images, each in the network's order: ``1/|G| sum_g P_g . g . v`` (Reynolds).

    Source: Bökman & Kahl 2023, section 3 (C2); the projection on equivariant networks for any group.

    Args:
      matching: from :func:`match_group`.
      images: as there.

    Returns:
      Variables like each image; integer leaves are the first image's.

    Raises:
      ValueError: images that do not fit the channels.
    """
    for g, image in enumerate(images[1:], 1):
        require_same_shapes(f"images[{g}]", image, "images[0]", images[0])
    moved = aligned_group(matching, images)

    def mean(*leaves: Any) -> Any:
        first = jnp.asarray(leaves[0])
        if not jnp.issubdtype(first.dtype, jnp.floating):
            return first
        wide = accumulation_dtype(first.dtype)
        return (sum(jnp.asarray(leaf, wide) for leaf in leaves) / len(leaves)).astype(first.dtype)

    return jax.tree.map(mean, *moved)
