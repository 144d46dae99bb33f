"""One network and its images under D4: matched, merged, REPAIRed, evaluated."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from papers.relu_equivariance.turns_and_flips.elements import ELEMENTS, SQUARE, SUBGROUPS, table
from papers.relu_equivariance.turns_and_flips.scene import Scene
from symjax.equivariance import invariance_error
from symjax.matching import (
    GroupMatching,
    aligned,
    aligned_group,
    barrier,
    match,
    match_group,
    merge,
    merge_group,
)
from symjax.repair import repair, repair_group

WAYS = ("unmatched", "matched")
MODE = "torch"
"""Of REPAIR: one pass over the images, as the published code has it."""

ORBITS = (1, 2, 4, 8)
"""Sizes of the orbits of D4."""


class Merges(NamedTuple):
    """A network and its images under D4, merged.

    Attributes:
        ends: which test images the network and its images classify as labelled, bool (8, images).
        middle: of the middle between the network and its image under an element, with REPAIR, bool (elements, 2,
            images), for ELEMENTS and WAYS.
        plain: accuracy of the same without REPAIR (elements, 2).
        whole: of a network merged with all its images under a subgroup, by an action, with REPAIR, bool (subgroups,
            images).
        plain_whole: accuracy of the same without REPAIR (subgroups,).
        error: mean invariance error of the network under each element of D4 (8,).
        whole_error: largest invariance error, under its own subgroup, of what was merged and REPAIRed (subgroups,).
        moved: largest relative distance of the logits of a moved network on moved images from the network's on images.
        defect: share of (g, h, channel) for which the matchings of the elements break D4's law.
        lost: share of the matched correlation that an action costs (subgroups,).
        orbits: channels in orbits of 1, 2, 4 and 8 under the action of D4 (layers, 4).
    """

    ends: np.ndarray
    middle: np.ndarray
    plain: np.ndarray
    whole: np.ndarray
    plain_whole: np.ndarray
    error: np.ndarray
    whole_error: np.ndarray
    moved: np.ndarray
    defect: np.ndarray
    lost: np.ndarray
    orbits: np.ndarray


def element_barriers(merges: Merges) -> np.ndarray:
    """Relative barriers of the middle after REPAIR, (elements, ways)."""
    return np.array(
        [
            [barrier(merges.ends[0], merges.ends[g], middle, resamples=0).value for middle in ways]
            for g, ways in zip(ELEMENTS.values(), merges.middle, strict=True)
        ]
    )


def whole_barriers(merges: Merges) -> np.ndarray:
    """Relative barriers of the mean of all images after REPAIR: against their mean accuracy, (subgroups,)."""
    ends = np.array([merges.ends[list(members)].mean() for members in SUBGROUPS.values()])
    return (ends - merges.whole.mean(-1)) / ends


def merge_all(scene: Scene, variables: Any) -> Merges:
    """Measure a network and all its images."""
    images, batches = scene.images_of(variables), scene.batches
    logits = np.stack([scene.logits(variables, g) for g in range(SQUARE.order)])
    middle, plain = zip(*(_element(scene, images, g, batches) for g in ELEMENTS.values()), strict=True)
    whole, plain_whole, errors, lost, actions = zip(
        *(_subgroup(scene, images, name, batches) for name in SUBGROUPS), strict=True
    )
    return Merges(
        ends=np.stack([scene.stage.correct(image) for image in images]),
        middle=np.stack(middle),
        plain=np.array(plain),
        whole=np.stack(whole),
        plain_whole=np.array(plain_whole),
        error=np.array([_invariance(logits[0], other).mean() for other in logits]),
        whole_error=np.array(errors),
        moved=_distance(scene, images, logits[0]),
        defect=np.array(actions[-1][1]),
        lost=np.array(lost),
        orbits=actions[-1][0],
    )


def _element(scene: Scene, images: list[Any], g: int, batches: Sequence[Any]) -> tuple[np.ndarray, list[float]]:
    """The middle between a network and one image, by the best permutations and by none."""
    traced, first = scene.stage.traced, images[0]
    others = images[g], aligned(match(traced, first, images[g], batches), images[g])
    right, plain = [], []
    for other in others:
        merged = merge(first, other)
        plain.append(float(scene.stage.correct(merged).mean()))
        right.append(scene.stage.correct(repair(traced, merged, first, other, batches, mode=MODE).variables))
    return np.stack(right), plain


def _subgroup(
    scene: Scene, images: list[Any], name: str, batches: Sequence[Any]
) -> tuple[np.ndarray, float, float, float, tuple[np.ndarray, float]]:
    """The mean of all images under a subgroup, by an action."""
    members = SUBGROUPS[name]
    chosen = [images[g] for g in members]
    matching = match_group(scene.stage.traced, chosen, table(name), batches)
    merged = merge_group(matching, chosen)
    repaired = repair_group(scene.stage.traced, merged, aligned_group(matching, chosen), batches, mode=MODE).variables
    first, *others = (scene.logits(repaired, g) for g in members)
    error = max(_invariance(first, other).max() for other in others)
    best = sum(matching.value.values()) + sum(matching.lost.values())
    lost = sum(matching.lost.values()) / best
    sizes = np.array([len(one[0]) for one in matching.permutations.values()])
    defect = float(np.average([*matching.defect.values()], weights=sizes))
    right = first.argmax(-1) == scene.stage.labels
    return right, float(scene.stage.correct(merged).mean()), float(error), lost, (orbit_sizes(matching), defect)


def orbit_sizes(matching: GroupMatching) -> np.ndarray:
    """Channels in orbits of 1, 2, 4 and 8 (layers, 4)."""
    rows = []
    for perms in matching.permutations.values():
        sizes = np.array([len(set(perms[:, channel].tolist())) for channel in range(perms.shape[1])])
        rows.append([(sizes == size).sum() for size in ORBITS])
    return np.array(rows)


def _invariance(logits: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.asarray(invariance_error(jnp.asarray(logits), jnp.asarray(others)))


def _distance(scene: Scene, images: list[Any], logits: np.ndarray) -> np.ndarray:
    found = [np.abs(scene.logits(image, g) - logits).max() for g, image in enumerate(images) if g]
    return np.array(max(found) / np.abs(logits).max())
