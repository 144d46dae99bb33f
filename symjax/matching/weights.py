"""Matching by weights, alone or together with activations: class after class, until nothing changes."""

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from symjax.channels import Channel, Site
from symjax.channels.layout import blocks, labels
from symjax.matching.assignment import Assignment
from symjax.matching.matched import aligned, describe
from symjax.matching.score import Constraint, Group, Score
from symjax.matching.solving import outer_classes, solve_all
from symjax.tracing.action import leaf_paths
from symjax.tracing.describe import Path

__all__ = ["match_weights", "weight_score"]

_SWEEPS = 100

Leaves = dict[Path, np.ndarray]


def match_weights(
    variables_a: Any,
    variables_b: Any,
    groups: Mapping[str, Group],
    channels: Mapping[str, Channel],
    scores: Mapping[str, tuple[Score | None, int]],
    share: float,
    constraint: Constraint,
    seed: int,
) -> dict[str, list[Assignment]]:
    """Match by ``(1 - share) correlation + share cosine`` of each pair; a share of 1 compares the weights alone.

    The cosine of a pair is ``<W_i, W'_j> / (|W_i| |W'_j|)`` over all sites of the class, the other classes in the order
    reached so far; alone it is not divided, so that every step raises ``sum <W, W'>``. Classes are visited in random
    order; heads together with their insides.

    Source: Ainsworth, Hayase & Srinivasa 2023, algorithm 1 (weight matching).

    Args:
      variables_a: the first network's.
      variables_b: the second network's.
      groups: of the channels.
      channels: to match.
      scores: of the activations, added over so many places.
      share: of the weights.
      constraint: as for :func:`symjax.matching.match`.
      seed: of the order of the visits.

    Returns:
      The elements.

    Raises:
      ValueError: parameters that are not finite.
    """
    a, rng = _arrays(variables_a), np.random.default_rng(seed)
    _arrays(variables_b)
    outer = outer_classes(channels)
    inner = {name for names in outer.values() for name in names}
    visits = [[name, *outer.get(name, ())] for name in channels if name not in inner]
    unmoved = {name: _unmoved(channels[name], groups[name]) for name in channels}
    found = dict(unmoved)
    for _ in range(_SWEEPS):
        changed = False
        for number in rng.permutation(len(visits)):
            here = {name: channels[name] for name in visits[number]}
            moved = describe(
                {name: unmoved[name] if name in here else found[name] for name in found}, groups, channels, {}
            )
            b, mixed = _arrays(aligned(moved, variables_b)), {}
            for name, channel in here.items():
                activations, places = scores[name]
                mixed[name] = weight_score(a, b, channel, groups[name], share < 1)
                if activations is not None and share < 1:
                    mixed[name] = _weighted(mixed[name], activations, share, places)
            for name, each in solve_all(mixed, groups, here, constraint).items():
                changed |= not all(_equal(before, after) for before, after in zip(found[name], each, strict=True))
                found[name] = each
        if not changed:
            break
    return found


def _unmoved(channel: Channel, group: Group) -> list[Assignment]:
    element = np.eye(channel.size) if group.kind == "orthogonal" else np.arange(channel.size)
    signs = np.ones((len(group.parts), channel.size)) if group.kind == "signed" else None
    return [Assignment(element, 0.0, 0.0, signs)] * prod(channel.batch[i] for i in group.over)


def weight_score(a: Leaves, b: Leaves, channel: Channel, group: Group, cosine: bool) -> Score:
    """Inner products of the parameters of every pair of units, over all sites of a class but running statistics.

    Source: Ainsworth, Hayase & Srinivasa 2023, section 3.2.

    Args:
      a: leaves of the first network by path.
      b: leaves of the second one, its other classes in the first one's order.
      channel: the class.
      group: its group; each sign's sites are added apart, those that two signs share are left out.
      cosine: divide by the norms, of all units together for matrices.

    Returns:
      The scores.
    """
    count = prod(channel.batch)
    shape = (count, channel.size, count, channel.size)
    signed = group.parts if group.kind == "signed" else ()
    held = {sign.name: {(site.path, site.axis) for site in sign.sites} for sign in channel.signs}
    parts = np.zeros((1 + len(signed), *shape))  # what no sign negates, then what each does
    norms = [np.zeros((count, channel.size)) for _ in range(2)]
    for site in channel.sites:
        if site.path[:1] == ("batch_stats",):  # what was measured is no weight
            continue
        rows = [_rows(leaves[site.path], site, channel) for leaves in (a, b)]
        here = tuple(2 * [rows[0].shape[1] // channel.size, channel.size])
        product = (rows[0].T @ rows[1]).reshape(here)
        which = [number for number, name in enumerate(signed, 1) if (site.path, site.axis) in held[name]] or [0]
        if len(which) > 1:
            continue
        parts[which[0]] += np.broadcast_to(product, shape)
        for norm, one in zip(norms, rows, strict=True):
            norm += np.sum(one**2, 0).reshape(-1, channel.size)
    if cosine:
        sizes = [np.sqrt(norm.sum()) if group.kind == "orthogonal" else np.sqrt(norm) for norm in norms]
        both = np.asarray(np.multiply.outer(*sizes))
        both = np.where(both > 0, both, np.inf)  # nothing is like a unit without weights
        parts = parts / both
    return Score(parts[0], parts[1:])


def _arrays(variables: Any) -> Leaves:
    leaves = {path: np.asarray(leaf) for path, leaf in leaf_paths(variables)[0].items()}
    leaves = {path: leaf.astype(np.float64) if leaf.dtype != np.float32 else leaf for path, leaf in leaves.items()}
    for path, leaf in leaves.items():
        if not np.isfinite(leaf).all():
            raise ValueError(f"{'/'.join(map(str, path))} is not finite, so its units cannot be matched")
    return leaves


def _rows(leaf: np.ndarray, site: Site, channel: Channel) -> np.ndarray:
    """The leaf as (everything else, units of the class), batch indices before the units."""
    plain = (1, 1, None, ()) == (site.outer, site.inner, site.offset, site.within) and not channel.batch
    if plain:
        return np.moveaxis(leaf, site.axis, -1).reshape(-1, channel.size)
    return leaf.ravel()[_index(site, channel.batch, channel.size, leaf.shape)]


@lru_cache(256)
def _index(site: Site, batch: tuple[int, ...], size: int, shape: tuple[int, ...]) -> np.ndarray:
    unit, rest = np.zeros(shape, int), np.arange(prod(shape)).reshape(shape)
    inside, units = np.ones(shape, bool), 1
    for block, count in blocks(site, Channel(size, (site,), batch=batch)):
        if block is not None:
            label, stride = labels(block, count, shape[block.axis])
            label = label.reshape((-1,) + (1,) * (len(shape) - block.axis - 1))
            inside &= label >= 0
            rest = rest - label * stride * prod(shape[block.axis + 1 :])
            unit, units = unit * count + label, units * count
    order = np.lexsort((unit.ravel(), rest.ravel()))
    return order[inside.ravel()[order]].reshape(-1, units)


def _weighted(weights: Score, activations: Score, share: float, places: int) -> Score:
    return Score(*(share * w + (1 - share) / places * a for w, a in zip(weights, activations, strict=True)))


def _equal(before: Assignment, after: Assignment) -> bool:
    signs = before.signs is None or np.array_equal(before.signs, after.signs)
    return signs and bool(np.allclose(before.element, after.element, rtol=0, atol=1e-10))
