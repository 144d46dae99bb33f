"""Where the entries of an axis belong: from a site's description to index arrays and factors, nothing of jax's tracing.

Every block is an affine map: the entry at ``p`` holds unit ``label[p]``, the next unit lies ``stride`` entries further.
"""

import operator
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.channels.describe import Block, Channel, Segment, Site, Variables, leaf_paths, site_block

__all__ = ["Labels", "fits", "index_labels", "labels", "spread", "within"]


class Labels(NamedTuple):
    """For each entry of an axis the index it holds, -1 where none; and how far apart neighbouring indices lie."""

    label: np.ndarray
    stride: int


def _levels(block: Block, size: int, length: int) -> tuple[Segment, ...] | None:
    """All segments of a block, the block itself the last; None where they do not fit the axis."""
    last = Segment(block.offset or 0, size, block.outer, block.inner)
    for level in (*block.within, last):
        if length % level.outer or level.offset + level.size * level.inner > length // level.outer:
            return None
        if level is last and block.offset is None and level.size * level.inner != length // level.outer:
            return None
        length = level.size
    return (*block.within, last)


@lru_cache(4096)
def labels(block: Block, size: int, length: int) -> Labels | None:
    """Label the entries of an axis of ``length`` by an index of ``size``; None where the block does not fit it."""
    levels = _levels(block, size, length)
    if levels is None:
        return None
    place, inside, stride = np.arange(length, dtype=np.int32), np.ones(length, bool), 1
    for level in levels:
        place = place % (length // level.outer) - level.offset
        inside &= (place >= 0) & (place < level.size * level.inner)
        place, stride, length = place // level.inner, stride * level.inner, level.size
    return Labels(np.where(inside, place, -1), stride)


def blocks(site: Site, channel: Channel) -> list[tuple[Block | None, int]]:
    """The block and size of every index of the channel, the units last, None where the site does not hold it."""
    batch = site.batch or (None,) * len(channel.batch)
    return [*zip(batch, channel.batch, strict=True), (site_block(site), channel.size)]


def index_labels(site: Site, channel: Channel, shape: tuple[int, ...]) -> list[np.ndarray | None]:
    """Labels of every index of the channel, each shaped to broadcast over the leaf."""

    def along(block: Block, size: int) -> np.ndarray:
        return _aligned(labels(block, size, shape[block.axis]).label, block.axis, len(shape))

    return [None if block is None else along(block, size) for block, size in blocks(site, channel)]


def within(*indices: np.ndarray) -> np.ndarray | bool:
    """Where all of these labels hold an index."""
    return reduce(operator.and_, (label >= 0 for label in indices), True)


def confined(site: Site, shape: tuple[int, ...]) -> np.ndarray | None:
    """Where the cuts of a term let it act, shaped to broadcast over the leaf; None for everywhere."""
    inside = None
    for cut in site.cuts:
        here = _aligned(labels(cut, cut.size, shape[cut.axis]).label >= 0, cut.axis, len(shape))
        inside = here if inside is None else inside & here
    return inside


def spread(values: jax.Array, over: tuple[int, ...], site: Site, channel: Channel, shape: tuple[int, ...]) -> Any:
    """Lay coordinates out along a leaf: each entry gets the one of its indices, entries outside the block zero.

    By repeating and padding where the indices have axes of their own: the gradient is then sums and slices, where XLA
    would compile a scatter.
    """
    held = blocks(site, channel)
    if over == ():
        held = [label for label in index_labels(site, channel, shape) if label is not None]
        values = jnp.where(within(*held) | np.zeros((1,) * len(shape), bool), values, jnp.zeros_like(values))
    elif len({held[i][0].axis for i in over}) == len(over):
        for place, i in enumerate(over):
            block, size = held[i]
            values = _along(values, place, block, size, shape[block.axis])
        values = _ordered(values, [held[i][0].axis for i in over], len(shape))
    else:
        named = index_labels(site, channel, shape)
        index = tuple(named[i] for i in over)
        values = jnp.where(within(*index), values[index], jnp.zeros((), values.dtype))
    inside = confined(site, shape)
    return values if inside is None else jnp.where(inside, values, jnp.zeros_like(values))


def fits(sites: Any, channel: Channel, variables: Variables, floating: bool = False) -> None:
    """Check sites against their leaves, before compiled code is entered: jax would add notes to the sentence."""
    leaves, taken = leaf_paths(variables), {}
    for site in sites:
        if site.path not in leaves:
            raise ValueError(f"no leaf has the path {site.path}; the paths are {', '.join(map(str, leaves))}")
        leaf = leaves[site.path]
        shape = jnp.shape(leaf)
        if floating and not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(f"{site} names a leaf of dtype {jnp.result_type(leaf)}, but it must be floating")
        for block, size in [*blocks(site, channel), *((cut, cut.size) for cut in site.cuts)]:
            if block is None:
                continue
            if block.axis >= len(shape):
                raise ValueError(f"{site} names axis {block.axis} of an array of shape {shape}")
            if labels(block, size, shape[block.axis]) is None:
                rest = "" if block.offset is not None else ": a block that does not fill it needs an offset"
                raise ValueError(f"{site} with {size} units does not fit an axis of length {shape[block.axis]}{rest}")
        if site.axis is not None and site.batch and not _independent(site, channel, shape):
            raise ValueError(f"{site} has a batch index that changes along its units: one must be outside the other")
        if site.axis is not None and not site.cuts:
            here = labels(site_block(site), channel.size, shape[site.axis]).label >= 0
            before = taken.setdefault((site.path, site.axis), np.zeros_like(here))
            if np.any(here & before):
                raise ValueError(f"{site} overlaps another site of the channel: an entry would be moved twice")
            taken[site.path, site.axis] = before | here


def _independent(site: Site, channel: Channel, shape: tuple[int, ...]) -> bool:
    """Whether every batch index on the units' own axis stays as it is from one unit to the next."""
    unit, stride = labels(site_block(site), channel.size, shape[site.axis])
    inside = np.flatnonzero(unit >= 0)
    first = inside - stride * unit[inside]
    along = [
        labels(block, size, shape[site.axis]).label
        for block, size in blocks(site, channel)[:-1]
        if block is not None and block.axis == site.axis
    ]
    return all(np.array_equal(label[inside], label[first]) for label in along)


def _aligned(values: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    return values.reshape((1,) * axis + (-1,) + (1,) * (ndim - axis - 1))


def _along(values: jax.Array, place: int, block: Block, size: int, length: int) -> jax.Array:
    """Turn the axis ``place``, of the index's size, into one of ``length`` by repeating, padding and tiling."""
    levels = _levels(block, size, length)
    lengths = [length, *(level.size for level in levels[:-1])]
    for level, whole in zip(reversed(levels), reversed(lengths), strict=True):
        if level.inner > 1:
            values = jnp.repeat(values, level.inner, axis=place)
        behind = whole // level.outer - level.offset - level.size * level.inner
        if level.offset or behind:
            pads = [(0, 0)] * values.ndim
            pads[place] = (level.offset, behind)
            values = jnp.pad(values, pads)
        if level.outer > 1:
            values = jnp.tile(values, tuple(level.outer if axis == place else 1 for axis in range(values.ndim)))
    return values


def _ordered(values: jax.Array, axes: list[int], ndim: int) -> jax.Array:
    values = jnp.transpose(values, np.argsort(axes))
    return jnp.expand_dims(values, [axis for axis in range(ndim) if axis not in axes])
