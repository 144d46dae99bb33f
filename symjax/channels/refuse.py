"""What is refused of a description: what is vacuous, contradicts itself or cannot be read."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isfinite
from numbers import Integral, Real
from typing import Any, get_args

from symjax.channels.describe import Block, Channel, Channels, Mixing, Scaling, Segment, Sign, Site, UpTo, site_block
from symjax.groups import Group

__all__ = ["described"]


def described(channels: Channels) -> tuple[tuple[str, Channel], ...]:
    """Refuse a description that is vacuous or contradicts itself; return it as something hashable."""
    if not isinstance(channels, Mapping) or not channels:
        raise ValueError(f"channels is {_short(channels)}, but must map a name to each Channel, one at least")
    for name, channel in channels.items():
        if not isinstance(channel, Channel):
            raise ValueError(f"channel {name!r} is {_short(channel)}, but must be a Channel")
        try:
            if problem := _problem(channel):
                raise ValueError(f"channel {name!r} {problem}")
        except TypeError:
            raise ValueError(f"channel {name!r} holds lists or arrays, but a description is made of tuples") from None
    return tuple(channels.items())


@lru_cache(4096)
def _problem(channel: Channel) -> str:
    """Say what is wrong with a channel's description, in the words after its name; nothing if it is sound."""
    if not all(_count(size) for size in channel.shape):
        return f"has size {channel.size!r} and batch {channel.batch!r}, but they must be positive integers"
    if not channel.sites:
        return "has no sites, but needs one at least: nothing would move"
    if twice := _twice(channel.sites):
        return f"lists {twice} twice"
    for site in channel.sites:
        if problem := _site_problem(site, channel):
            return problem
        if site.cuts or site.axis is None:
            return f"has the site {site}, but only a term may have cuts or no axis"
    for parts, word in ((channel.scalings, "scaling"), (channel.mixings, "mixing"), (channel.signs, "sign")):
        if twice := _twice([part.name for part in parts]):
            return f"has two of kind {word} named {twice!r}, but each needs a name of its own"
        for part in parts:
            if problem := _part_problem(part, channel):
                return f"has the {word} {part.name!r}, which {problem}"
    return ""


def _part_problem(part: Scaling | Mixing | Sign, channel: Channel) -> str:
    if not isinstance(part.name, str) or not part.name:
        return "has no name: it must be a text"
    if isinstance(part, Mixing):
        indices, allowed, holds = part.over or (), len(channel.batch), (*(part.over or ()), -1)
        if part.over is None:
            holds = (*range(len(channel.batch)), -1)
    else:
        indices, allowed, holds = part.over, len(channel.shape), part.over
    places = [i % len(channel.shape) if isinstance(i, Integral) else None for i in indices]
    if len(set(places)) < len(places) or not all(isinstance(i, Integral) and -allowed <= i < allowed for i in indices):
        return f"runs over {part.over!r}, but may name each of the {allowed} indices once"
    terms = [(site, 1) for site in part.sites] if isinstance(part, Sign) else part.terms
    if not terms:
        return "has no terms, but needs one at least: nothing would move"
    if twice := _twice([site for site, _ in terms]):
        return f"lists {twice} twice"
    if isinstance(part, Scaling) and part.up_to not in get_args(UpTo):
        return f"holds up to {part.up_to!r}, but must be one of {', '.join(map(repr, get_args(UpTo)))}"
    if isinstance(part, Mixing) and part.group not in get_args(Group):
        return f"is of the group {part.group!r}, but must be one of {', '.join(map(repr, get_args(Group)))}"
    for site, degree in terms:
        if problem := _site_problem(site, channel):
            return problem
        if isinstance(part, Mixing) and degree not in (1, -1):
            return f"gives {site} the variance {degree!r}, but writers have 1 and readers -1"
        if not isinstance(degree, Real) or isinstance(degree, bool) or not isfinite(degree) or degree == 0:
            return f"gives {site} the degree {degree!r}, but it must be a finite number that is not zero"
        if holds and site._replace(cuts=()) not in channel.sites:
            return f"names {site}, but that is none of the channel's sites"
        for i in (i % len(channel.shape) for i in holds):
            if i < len(channel.batch) and (not site.batch or site.batch[i] is None):
                return f"runs over the batch index {i}, but {site} does not hold it"
    return ""


def _site_problem(site: Site, channel: Channel) -> str:
    """Say what is wrong with a site as such, before its leaf is seen."""
    if not isinstance(site, Site) or not isinstance(site.path, tuple):
        return f"has the site {site!r}, but it must be a Site whose path is a tuple"
    if len(site.batch) not in (0, len(channel.batch)):
        return f"has the site {site} with {len(site.batch)} batch blocks, but has {len(channel.batch)} batch indices"
    if site.axis is None and (site.batch or site.within or site[2:5] != (1, None, 1)):
        return f"has the site {site} without an axis, but with a layout of one"
    blocks = [block for block in (site_block(site), *site.batch, *site.cuts) if block is not None]
    for block in blocks:
        if not isinstance(block, Block) or not _whole(block.axis):
            return f"has the site {site}, but an axis is a non-negative integer: count it from the front"
        levels = (*block.within, Segment(block.offset or 0, 1, block.outer, block.inner))
        for level in levels:
            if not (_count(level.outer) and _count(level.inner) and _count(level.size) and _whole(level.offset)):
                return f"has the site {site}, but sizes, outer and inner must be positive and offset not negative"
    if not all(_count(cut.size) for cut in site.cuts):
        return f"has the site {site}, but each of its cuts needs a size"
    return ""


def _twice(items: Iterable[Any]) -> Any:
    seen = set()
    return next((item for item in items if item in seen or seen.add(item)), None)


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 0


def _count(value: Any) -> bool:
    return _whole(value) and value > 0


def _short(value: Any) -> str:
    return "empty" if isinstance(value, dict) and not value else f"a {type(value).__name__}"
