"""Match two networks, merge them, correct what merging did to their activations, and evaluate along the way."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.relu_equivariance.pairs.corrections import CORRECTIONS, corrected
from papers.relu_equivariance.pairs.stage import Stage
from symjax.channels import leaf_paths
from symjax.equivariance import NetworkAction, flip_group, invariance_error, layerwise_errors
from symjax.matching import Matching, aligned, barrier, cross_moments, cycles, match, reads

WAYS = ("unmatched", "matched", "involution")
"""How the second network's channels are brought into the first one's order; the last for a flipped self only."""

LONGEST = 8
"""Cycles of this length or more are counted together."""

CURVE = ("none", "repair")
"""The corrections that the curves between the networks are drawn for."""


class Layers(NamedTuple):
    """How the channels were matched, layer by layer.

    Attributes:
        name: (layers,).
        size: channels (layers,).
        matched: mean correlation of the matched channels (layers,).
        involutive: share of channels in cycles of at most two (layers,).
        confident: the same share among channels matched with a correlation above 1/2 (layers,).
        fixed: share of channels matched with themselves (layers,).
        cycles: channels in cycles of length 1, 2, ..., LONGEST and above (layers, LONGEST).
        lost: share of the matched correlation that an involution costs (layers,); NaN for two networks.
        dead: channels of either network that say the same on every image (layers,).
    """

    name: np.ndarray
    size: np.ndarray
    matched: np.ndarray
    involutive: np.ndarray
    confident: np.ndarray
    fixed: np.ndarray
    cycles: np.ndarray
    lost: np.ndarray
    dead: np.ndarray


class Pair(NamedTuple):
    """A pair of networks, merged.

    Attributes:
        ends: accuracy of the two networks (2,).
        middle: accuracy of the middle (ways, corrections).
        right: of the same, which test images are classified as labelled, bool (ways, corrections, images).
        right_ends: bool (2, images).
        alphas: places on the line (alphas,).
        curve: accuracy there, of the first test images (2, 2, alphas), for the first two of WAYS and for CURVE.
        error: invariance error of the test images: mean of the first network, mean and largest of the middle of the
            last way after REPAIR (3,); NaN for two networks.
        mirrored: largest relative distance of the second network's logits of mirror images from the first one's of
            images; NaN for two networks.
        filters: first kernels of the first network and of the second one, matched (2, height, width, 3, channels).
        layers: how the channels were matched.
        layerwise: how far each kernel of the first network is from being equivariant under the involutions (kernels,),
            kernels of dead channels, which are matched arbitrarily, among it; NaN for two networks.
    """

    ends: np.ndarray
    middle: np.ndarray
    right: np.ndarray
    right_ends: np.ndarray
    alphas: np.ndarray
    curve: np.ndarray
    error: np.ndarray
    mirrored: np.ndarray
    filters: np.ndarray
    layers: Layers
    layerwise: np.ndarray


def barriers(pair: Pair) -> np.ndarray:
    """Relative barriers of the middle, (ways, corrections)."""
    return np.array([[barrier(*pair.right_ends, middle, resamples=0).value for middle in row] for row in pair.right])


def flipped_self(
    stage: Stage,
    variables: Any,
    alphas: int = 0,
    curve_images: int = 1,
    corrections: Sequence[str] = tuple(CORRECTIONS),
) -> Pair:
    """Measure a network and its mirror image.

    Args:
        stage: of the network.
        variables: of the network.
        alphas: places on the line between the two; 0 leaves the curve out.
        curve_images: test images of the curve.
        corrections: of the middle.
    """
    mirrored = stage.mirrored(variables)
    return _pair(stage, variables, mirrored, "flipped self", alphas, curve_images, corrections)


def two_networks(
    stage: Stage,
    first: Any,
    second: Any,
    alphas: int = 0,
    curve_images: int = 1,
    corrections: Sequence[str] = tuple(CORRECTIONS),
) -> Pair:
    """Measure two networks under the same protocol; arguments as :func:`flipped_self`."""
    return _pair(stage, first, second, "two networks", alphas, curve_images, corrections)


def _pair(
    stage: Stage,
    first: Any,
    second: Any,
    kind: Literal["flipped self", "two networks"],
    alphas: int,
    curve_images: int,
    names: Sequence[str],
) -> Pair:
    own = kind == "flipped self"
    first, second = jax.tree.map(jnp.asarray, (first, second))
    traced = stage.traced
    moments = cross_moments(traced, first, [second], stage.batches, reads(traced, traced.channels))[0]
    matching = match(traced, first, second, moments=moments)
    closed = match(traced, first, second, moments=moments, constraint="involution") if own else None
    others = [second, aligned(matching, second)] + ([aligned(closed, second)] if closed else [])
    places = np.linspace(0, 1, alphas)
    right = np.zeros((len(others), len(names), len(stage.labels)), bool)
    last = None
    for way, other in enumerate(others):
        for column, name in enumerate(names):
            last_of_name = corrected(stage, name, first, other, 0.5)
            right[way, column] = stage.correct(last_of_name)
            last = last_of_name if name == "repair" else last
    right_ends = np.stack([stage.correct(first), stage.correct(second)])
    curve = np.zeros((2, len(CURVE), alphas))
    for way, row in enumerate(curve if alphas else ()):
        for line, name in zip(row, CURVE, strict=True):
            known = {0.0: right_ends[0], 0.5: right[way, list(names).index(name)], 1.0: right_ends[1]}
            line[:] = _line(stage, name, first, others[way], places, curve_images, known)
    return Pair(
        ends=right_ends.mean(-1),
        middle=right.mean(-1),
        right=right,
        right_ends=right_ends,
        alphas=places,
        curve=curve,
        error=_invariance(stage, first, last) if own else np.full(3, np.nan),
        mirrored=_distance(stage, first, second) if own else np.array(np.nan),
        filters=np.stack([_first_kernel(first), _first_kernel(others[1])]),
        layers=_layers(matching, closed),
        layerwise=_layerwise(stage, first, closed) if closed else np.array([np.nan]),
    )


def _line(
    stage: Stage, name: str, first: Any, other: Any, alphas: np.ndarray, images: int, known: dict[float, np.ndarray]
) -> list[float]:
    """Accuracies of the first test images between two networks; where all images are known, of these."""
    found = []
    for alpha in map(float, alphas):
        right = known.get(alpha)
        if right is None:
            right = stage.correct(corrected(stage, name, first, other, alpha), images)
        found.append(right[:images].mean())
    return found


def _invariance(stage: Stage, network: Any, middle: Any) -> np.ndarray:
    errors = [
        np.asarray(invariance_error(*(jnp.asarray(stage.logits(v, mirror=m)) for m in (False, True))))
        for v in (network, middle)
    ]
    return np.array([errors[0].mean(), errors[1].mean(), errors[1].max()])


def _distance(stage: Stage, first: Any, second: Any) -> np.ndarray:
    images, mirror = stage.logits(first), stage.logits(second, mirror=True)
    return np.array(np.abs(images - mirror).max() / np.abs(images).max())


def _first_kernel(variables: Any) -> np.ndarray:
    return next(np.asarray(leaf) for leaf in jax.tree.leaves(variables) if np.ndim(leaf) == 4)


def _layerwise(stage: Stage, variables: Any, matching: Matching) -> np.ndarray:
    swaps = {name: np.stack([np.arange(len(perm)), perm]) for name, perm in matching.permutations.items()}
    action = NetworkAction(flip_group(), stage.layout, stage.traced.channels, swaps)
    errors, leaves = layerwise_errors(variables, action), leaf_paths(variables)
    return np.array([error for path, error in errors.items() if np.ndim(leaves[path]) > 1])


def _layers(matching: Matching, closed: Matching | None) -> Layers:
    rows = []
    for name, perm in matching.permutations.items():
        matched = matching.matched[name]
        found = cycles(perm, matched)
        lengths = np.zeros(LONGEST)
        for length, count in found.lengths.items():
            lengths[min(length, LONGEST) - 1] += length * count
        dead = len(set().union(*(map(int, units) for units in matching.dead.get(name, ((), ())))))
        lost = closed.lost[name] / matching.value[name] if closed else np.nan
        rows.append(
            (name, len(perm), matched.mean(), found.involutive, found.confident, found.fixed, lengths, lost, dead)
        )
    return Layers(*(np.array(column) for column in zip(*rows, strict=True)))
