"""The network, its mirror image, and what comes of merging them, on photographs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.errors import UserError
from papers.common.models.pretrained import Pretrained, read_resnet50
from papers.common.runs import RunDirectory
from papers.relu_equivariance.resnet_50.photographs import Chosen, Photographs, batches, choose, class_numbers
from symjax.equivariance import advice, find_spatial, flip_group, invariance_error, transform
from symjax.matching import Matching, aligned, cross_moments, cycles, match, merge, reads
from symjax.repair import Repaired, outputs, repair
from symjax.tracing import Symmetries, symmetries

WAYS = ("unmatched", "matched, all blocks", "matched, last blocks")
"""How the mirror image's channels are ordered; residual streams by all of their blocks or by the last one only."""

CORRECTIONS = ("none", "BN reset", "REPAIR")

TRIED = 8
"""Photographs on which identities are tried."""


class AtSize(NamedTuple):
    """What was measured at one size of the images.

    Attributes:
        size: pixels a side.
        right_ends: which photographs the network, and its mirror image, classify as labelled, bool (2, photographs).
        right: of the merged networks, bool (ways, corrections, photographs).
        measured: which of these were measured, bool (ways, corrections).
        invariance: the network's invariance error of each photograph (photographs,).
        mirrored: relative distance of the mirror image's logits on a mirrored photograph from the network's on the
            photograph itself, the largest.
        ordered: the same of the mirror image with its channels in the network's order from the mirror image.
        classes: names of the permutation classes, streams among them (classes,).
        channels: of each (classes,).
        correlation: mean correlation of the matched channels (classes,).
        involutive: share of channels in cycles of at most two (classes,).
        dead: channels that say the same on every photograph (classes,).
    """

    size: np.ndarray
    right_ends: np.ndarray
    right: np.ndarray
    measured: np.ndarray
    invariance: np.ndarray
    mirrored: np.ndarray
    ordered: np.ndarray
    classes: np.ndarray
    channels: np.ndarray
    correlation: np.ndarray
    involutive: np.ndarray
    dead: np.ndarray


class Measured(NamedTuple):
    """All sizes, and what they were measured on.

    Attributes:
        sizes: one entry for each.
        folders: names of the folders evaluated.
        folder: of each photograph, the number of its folder (photographs,).
        seen_folders: names of the folders seen.
        seen: number of photographs seen.
        model: in words.
        trained: whether it is the network of a training here, not a published one.
    """

    sizes: tuple[AtSize, ...]
    folders: tuple[str, ...]
    folder: np.ndarray
    seen_folders: tuple[str, ...]
    seen: int
    model: str
    trained: bool


class _Stage(NamedTuple):
    """What one size shares."""

    net: Pretrained
    traced: Symmetries
    chosen: Chosen
    load: Callable[[Photographs], Iterator[np.ndarray]]
    apply: Callable[[Any, Any], Any]


def measure(config: Any, directory: RunDirectory) -> Measured:
    """Measure every size; a run that goes on reads those that it measured."""
    net, chosen = _inputs(config)
    sizes = []
    for place, size in enumerate(config.sizes):
        ways = config.streams if place == 0 else config.streams[:1]
        own = partial(_at_size, net, chosen, config, size, ways, lambda text: print(text, flush=True))
        sizes.append(directory.part(f"size-{size}", AtSize, own))
        directory.append({"size": size, **_accuracies(sizes[-1])})
    names = tuple(place.name for place in config.images)
    seen = tuple(place.name for place in (config.seen or config.images))
    return Measured(
        tuple(sizes), names, chosen.evaluated.folder, seen, len(chosen.seen), net.words, config.weights.is_dir()
    )


def require(config: Any) -> str:
    """Require weights and photographs, and give the fingerprint of the photographs chosen."""
    return _inputs(config)[1].digest()


def _inputs(config: Any) -> tuple[Pretrained, Chosen]:
    net = read_resnet50(config.weights)
    numbers = class_numbers((*config.images, *config.seen), config.classes, net.model.classes)
    return net, choose(config.images, config.seen, numbers, config.evaluated, config.count, config.seed)


def _accuracies(at: AtSize) -> dict[str, float]:
    found = dict(zip(("network", "mirror image"), at.right_ends.mean(-1).tolist(), strict=True))
    for way, row, known in zip(WAYS, at.right.mean(-1), at.measured, strict=True):
        found |= {f"{way}, {name}": float(row[k]) for k, name in enumerate(CORRECTIONS) if known[k]}
    return found


def _at_size(
    net: Pretrained, chosen: Chosen, config: Any, size: int, streams: tuple[str, ...], say: Callable[[str], None]
) -> AtSize:
    like = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), net.variables)
    traced = symmetries(net.model.apply, shapes, like)
    layout = find_spatial(net.model.apply, shapes, like)
    if sentence := advice(net.model.apply, shapes, like, flip_group()):
        say(f"{size}: flips are not exact: {sentence}")
    load = partial(batches, size=size, resize=config.resize, how=net.preparation, many=config.batch_size)
    stage = _Stage(net, traced, chosen, load, jax.jit(net.model.apply))
    first = jax.tree.map(jnp.asarray, net.variables)
    second = transform(first, layout, flip_group(), 1)
    logits = _logits(stage, partial(stage.apply, first))
    reflected = _logits(stage, lambda x: stage.apply(first, x[:, :, ::-1]))
    ends = np.stack([_right(stage, logits), _right(stage, _logits(stage, partial(stage.apply, second)))])
    say(f"{size}: network {ends[0].mean():.4f}, mirror image {ends[1].mean():.4f}")
    right = np.zeros((len(WAYS), len(CORRECTIONS), ends.shape[1]), bool)
    measured = np.zeros(right.shape[:2], bool)
    others, matching = {"unmatched": second} if config.unmatched else {}, None
    for name, found in matched(stage, first, second, streams).items():
        others[f"matched, {name} blocks"] = aligned(found, second)
        matching = found if matching is None else matching
    for way, other in others.items():
        row = WAYS.index(way)
        for column in range(2 if way == "unmatched" else 3):
            right[row, column] = _merged(stage, first, other, CORRECTIONS[column])
            measured[row, column] = True
            say(f"{size}: {way}, {CORRECTIONS[column]}: {right[row, column].mean():.4f}")
    few = next(stage.load(chosen.evaluated))[:TRIED]
    in_order = others[f"matched, {streams[0]} blocks"]
    return AtSize(
        np.array(size),
        ends,
        right,
        measured,
        np.asarray(invariance_error(logits, reflected)),
        _distance(stage.apply(second, few[:, :, ::-1]), stage.apply(first, few)),
        _distance(stage.apply(in_order, few), stage.apply(second, few)),
        *_classes(matching),
    )


def matched(stage: _Stage, first: Any, second: Any, streams: tuple[str, ...]) -> dict[str, Matching]:
    """Match the mirror image to the network in every way asked for, from one pass over the photographs seen.

    Raises:
        UserError: activations are not finite, or a part of the network could not be followed.
    """
    traced = stage.traced
    seen = stage.load(stage.chosen.seen)
    try:
        moments = cross_moments(traced, first, [second], seen, reads(traced, traced.channels))[0]
        return {name: match(traced, first, second, moments=moments, sites=name) for name in streams}
    except ValueError as error:
        raise UserError(f"{stage.net.words} cannot be matched: {error}") from error


def _logits(stage: _Stage, run: Callable[[Any], Any]) -> np.ndarray:
    return np.concatenate([np.asarray(run(x)) for x in stage.load(stage.chosen.evaluated)])


def _right(stage: _Stage, logits: np.ndarray) -> np.ndarray:
    return logits.argmax(-1) == stage.chosen.evaluated.labels


def _merged(stage: _Stage, first: Any, other: Any, correction: str) -> np.ndarray:
    middle = merge(first, other)
    if correction == "none":
        return _right(stage, _logits(stage, partial(stage.apply, middle)))
    seen = list(stage.load(stage.chosen.seen))
    if correction == "BN reset":
        fixed = repair(stage.traced, middle, first, other, seen, correction="reset", mode="torch")
        return _right(stage, _logits(stage, partial(stage.apply, fixed.variables)))
    fixed = repair(stage.traced, middle, first, other, seen, mode="torch", places="streams")
    return _right(stage, _logits(stage, _inserted(stage.traced, fixed)))


def _inserted(traced: Symmetries, fixed: Repaired) -> Callable[[Any], Any]:
    run = jax.jit(lambda variables, x: outputs(traced, fixed._replace(variables=variables), x))
    return partial(run, fixed.variables)


def _distance(logits: Any, wanted: Any) -> np.ndarray:
    return np.array(np.abs(np.asarray(logits) - np.asarray(wanted)).max() / np.abs(np.asarray(wanted)).max())


def _classes(matching: Matching) -> tuple[np.ndarray, ...]:
    rows = []
    for name, perm in matching.permutations.items():
        matched = matching.matched[name]
        dead = len({int(unit) for units in matching.dead.get(name, ()) for unit in units})
        rows.append((name, len(perm), matched.mean(), cycles(perm, matched).involutive, dead))
    return tuple(np.array(column) for column in zip(*rows, strict=True))
