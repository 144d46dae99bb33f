"""The best elements of all classes: heads before their insides."""

from collections.abc import Mapping, Sequence

import numpy as np

from symjax.channels import Channel
from symjax.matching.assignment import Assignment
from symjax.matching.moments import Moments
from symjax.matching.score import Constraint, Group, Score, correlation, solve

__all__ = ["outer_classes", "score_of", "solve_all", "within_batch"]


def score_of(moments: Sequence[Moments], group: Group, channel: Channel, epsilon: float) -> Score:
    """Scores of a class: correlations added over its places."""
    batch = int(np.prod(channel.batch, dtype=int))
    shape = (batch, channel.size, batch, channel.size)
    parts = np.zeros((1 + len(group.negated), *shape))  # what no sign negates, then what each does
    for number, one in enumerate(moments):
        which = next((sign for sign, places in enumerate(group.negated, 1) if number in places), 0)
        parts[which] += correlation(one, epsilon, group.kind == "orthogonal").reshape(shape)
    return Score(parts[0], parts[1:])


def solve_all(
    scores: Mapping[str, Score],
    groups: Mapping[str, Group],
    channels: Mapping[str, Channel],
    constraint: Constraint,
) -> dict[str, list[Assignment]]:
    """Best elements of all classes: one for each setting of the batch indices, those of heads before their insides."""
    elements: dict[str, list[Assignment]] = {}
    outer = outer_classes(channels)
    inner = {name: head for head, names in outer.items() for name in names}
    for name in channels:
        if name not in inner and (name in outer or not channels[name].batch):
            elements[name] = [_outer(name, scores, groups, outer.get(name, ()), constraint)]
    for name, head in inner.items():
        order = elements[head][0].element
        elements[name] = within_batch(scores[name], groups[name], channels[name], order)
    for name in channels.keys() - elements.keys():
        elements[name] = within_batch(scores[name], groups[name], channels[name], None)
    return elements


def outer_classes(channels: Mapping[str, Channel]) -> dict[str, list[str]]:
    """Class of heads -> the classes with this one batch index."""
    found: dict[str, list[str]] = {}
    for name, channel in channels.items():
        blocks = {(site.path, site.batch[0]) for site in channel.sites if len(channel.batch) == 1 and site.batch}
        for head, other in channels.items():
            here = {(site.path, site.axis, site.outer, site.inner) for site in other.sites}
            same = len(channel.batch) == 1 and other.size == channel.batch[0] and not other.batch
            if same and any(b is not None and (path, b.axis, b.outer, b.inner) in here for path, b in blocks):
                found.setdefault(head, []).append(name)
                break
    return found


def _outer(
    name: str,
    scores: Mapping[str, Score],
    groups: Mapping[str, Group],
    inside: Sequence[str],
    constraint: Constraint,
) -> Assignment:
    if not inside:
        plain = scores[name]
        return (
            solve(plain.block(0, 0), groups[name], constraint)
            if len(plain.plain) == 1
            else Assignment(np.arange(plain.plain.shape[1]), 0.0)
        )
    count = len(scores[inside[0]].plain)
    values = np.zeros((count, count))
    for other in inside:
        for first in range(count):
            for second in range(count):
                values[first, second] += solve(scores[other].block(first, second), groups[other]).value
    return solve(Score(values, np.zeros((0, count, count))), Group("permutation", (), ()), constraint)


def within_batch(score: Score, group: Group, channel: Channel, order: np.ndarray | None) -> list[Assignment]:
    """Best elements inside each head, when the heads are ordered; one for all where the group wants one."""
    count = len(score.plain)
    order = np.arange(count) if order is None else order
    blocks = [score.block(first, int(order[first])) for first in range(count)]
    if len(group.over) == len(channel.batch):
        return [solve(block, group) for block in blocks]
    return [solve(Score(*(np.sum(parts, 0) for parts in zip(*blocks, strict=True))), group)]
