"""The words of a description: sites, scalings, linear groups and signs of a channel, and what is refused of them."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isfinite
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args

import jax

from symjax.groups import Group

__all__ = [
    "Block",
    "Channel",
    "Channels",
    "Group",
    "Mixing",
    "Path",
    "Scaling",
    "Segment",
    "Sign",
    "Site",
    "UpTo",
    "Variables",
    "leaf_paths",
    "restrict",
    "unsigned",
]

Variables = Any
Path = tuple[str | int, ...]
UpTo = Literal["", "epsilon", "mask"]


class Segment(NamedTuple):
    """A part of an axis, within which a block is read: a concatenated branch, or one of q, k and v in a fused kernel.

    An axis of length ``n`` is read as ``(outer, n / outer)``; in the second factor ``[offset, offset + size * inner)``
    is read as ``(size, inner)``, and its ``size`` entries are the axis that the next segment, or the block, reads.
    """

    offset: int
    size: int
    outer: int = 1
    inner: int = 1


class Block(NamedTuple):
    """Where one index of a channel runs along one axis of a leaf: the layout of a :class:`Site` without its path.

    ``size`` is needed in ``cuts`` only; elsewhere it is the size of the index.
    """

    axis: int
    outer: int = 1
    offset: int | None = None
    inner: int = 1
    within: tuple[Segment, ...] = ()
    size: int | None = None


class Site(NamedTuple):
    """One place where the units of a channel appear: a leaf, an axis, and how the units run along it.

    The axis of length ``n`` is read as ``(outer, n / outer)``; in the second factor the block
    ``[offset, offset + size * inner)`` is read as ``(size, inner)``, and ``size`` counts the channel's units. A plain
    axis has the defaults; an axis flattened from (height, width, channel) has ``outer = height * width``; one flattened
    from (channel, height, width) has ``inner = height * width``. Without an ``offset`` the block fills the axis; a part
    of a concatenation says its offset, the first one 0.

    Attributes:
      path: dictionary keys, indices or attribute names from the root of the variables to the leaf.
      axis: the axis of that leaf, non-negative; None, only in a scaling over nothing (``over = ()``): the whole leaf.
      within: segments to cut the axis by first, the outermost first: ``(Segment(h * d, h * d),)`` are the keys in an
        axis made of (q, k, v) x head x dimension.
      batch: for each of the channel's batch indices the block where it runs in this leaf, None where it does not. In
        an axis made of head x dimension the dimensions have ``outer = heads`` and the heads ``inner = dimensions``.
      cuts: blocks, each with its size, to which the term is confined along further axes; in terms only.
    """

    path: Path
    axis: int | None = None
    outer: int = 1
    offset: int | None = None
    inner: int = 1
    within: tuple[Segment, ...] = ()
    batch: tuple[Block | None, ...] = ()
    cuts: tuple[Block, ...] = ()


class Scaling(NamedTuple):
    """A scaling symmetry of a channel: under coordinate ``s`` a site is multiplied by ``exp(degree * s)``.

    Attributes:
      name: its own within the channel, such as ``"scale"`` (a filter before a normalisation) or ``"rescale"`` (a
        homogeneous unit: writers against readers).
      terms: pairs ``(site, degree)``, the degree a real number that is not zero.
      up_to: what breaks it: ``"epsilon"`` for one inside a normalisation, ``"mask"`` for a large finite number in
        place of minus infinity, nothing for an exact one.
      over: the indices its coordinates run over, as places in the channel's ``(*batch, size)``: the units alone unless
        said, ``(0, 1)`` heads and units, ``()`` one coordinate for the whole channel.
    """

    name: str
    terms: tuple[tuple[Site, float], ...]
    up_to: UpTo = ""
    over: tuple[int, ...] = (-1,)


class Mixing(NamedTuple):
    """A linear group that acts on the units of a channel, once for each of the batch indices ``over``.

    Attributes:
      name: its own within the channel.
      group: ``"general_linear"`` (invertible), ``"orthogonal"`` or ``"special_orthogonal"`` matrices (size, size).
      terms: pairs ``(site, variance)``: writers, with +1, are multiplied by g along the site's axis, readers, with -1,
        by its inverse transpose, so that every contraction of a writer with a reader stays.
      over: the batch indices on which g depends, as places in the channel's ``batch``; None means all of them.
    """

    name: str
    group: Group
    terms: tuple[tuple[Site, int], ...]
    over: tuple[int, ...] | None = None


class Sign(NamedTuple):
    """Signs of the units: every site is multiplied by one sign a unit, as through an odd activation.

    Attributes:
      name: its own within the channel.
      sites: where the sign enters, writers and readers alike.
      over: as in :class:`Scaling`.
    """

    name: str
    sites: tuple[Site, ...]
    over: tuple[int, ...] = (-1,)


class Channel(NamedTuple):
    """A set of ``size`` interchangeable hidden units, the sites that hold them and what acts on them.

    Attributes:
      size: the number of units.
      sites: all places where they appear; permutations act on these.
      scalings: the scaling symmetries, of different names.
      batch: sizes of the indices on which the units' symmetries may depend: the heads of an attention, the groups of a
        normalisation. A permutation may then be one for each of them.
      mixings: linear groups.
      signs: sign symmetries.
    """

    size: int
    sites: tuple[Site, ...]
    scalings: tuple[Scaling, ...] = ()
    batch: tuple[int, ...] = ()
    mixings: tuple[Mixing, ...] = ()
    signs: tuple[Sign, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """``(*batch, size)``."""
        return (*self.batch, self.size)

    def extent(self, part: Scaling | Mixing | Sign) -> tuple[int, ...]:
        """Shape of the coordinates of one of its scalings or signs, of the batch of one of its linear groups."""
        if isinstance(part, Mixing):
            return self.batch if part.over is None else tuple(self.batch[i] for i in part.over)
        return tuple(self.shape[i] for i in part.over)


Channels = Mapping[str, Channel]


def leaf_paths(variables: Variables) -> dict[Path, Any]:
    """All leaves of a pytree by their path of plain keys, as sites name them.

    Source: this library's bookkeeping, no equation of a paper.
    """
    names = ("key", "idx", "name")

    def plain(path: tuple[Any, ...]) -> Path:
        return tuple(next(getattr(entry, name) for name in names if hasattr(entry, name)) for entry in path)

    return {plain(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]}


def restrict(channels: Channels, prefix: str | int) -> dict[str, Channel]:
    """Keep the sites below ``prefix`` and make their paths relative to it, e.g. to ``"params"`` alone.

    Used where a function takes the parameters without the running statistics: a training loss uses the batch's own
    statistics, so its scalings are complete with the parameters' sites.

    Source: this library's bookkeeping, no equation of a paper.

    Args:
      channels: description of the channels.
      prefix: first key, index or name of the paths to keep.

    Returns:
      Channel name -> :class:`Channel`, for the channels that have a site there.

    Raises:
      ValueError: a prefix that no site has, or a description that is refused.

    Example:
      >>> channel = Channel(2, (Site(("params", "kernel"), 1), Site(("batch_stats", "mean"), 0)))
      >>> restrict({"conv": channel}, "params")["conv"].sites[0].path
      ('kernel',)
    """
    described(channels)

    def relative(sites: Iterable[Site]) -> tuple[Site, ...]:
        return tuple(site._replace(path=site.path[1:]) for site in sites if site.path[:1] == (prefix,))

    def terms(part: Scaling | Mixing) -> Any:
        return tuple((relative([site])[0], degree) for site, degree in part.terms if relative([site]))

    result = {}
    for name, channel in channels.items():
        scalings, mixings = (
            tuple(part._replace(terms=terms(part)) for part in parts if terms(part))
            for parts in (channel.scalings, channel.mixings)
        )
        signs = tuple(sign._replace(sites=relative(sign.sites)) for sign in channel.signs if relative(sign.sites))
        if sites := relative(channel.sites):
            result[name] = channel._replace(sites=sites, scalings=scalings, mixings=mixings, signs=signs)
    if not result:
        first = sorted({str(site.path[0]) for channel in channels.values() for site in channel.sites if site.path})
        raise ValueError(f"no site's path begins with {prefix!r}; the paths begin with {', '.join(first) or 'nothing'}")
    return result


def unsigned(channel: Channel) -> Channel:
    """Take every degree of a channel's scalings by its size, without its sign.

    The pairing of the parameters with the resulting flow is the sum of the squares whose difference the channel's own
    flow gives: the size beside which an imbalance is large or small.

    Source: this library's bookkeeping.

    Args:
      channel: the description.

    Returns:
      The same channel with the degrees' absolute values.

    Example:
      >>> site = Site(("w",), 0)
      >>> unsigned(Channel(1, (site,), (Scaling("rescale", ((site, -2.0),)),))).scalings[0].terms[0][1]
      2.0
    """
    described({"the channel": channel})
    scalings = tuple(
        scaling._replace(terms=tuple((site, abs(degree)) for site, degree in scaling.terms))
        for scaling in channel.scalings
    )
    return channel._replace(scalings=scalings)


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


def site_block(site: Site) -> Block | None:
    """The layout of a site's units; None where it has no axis."""
    return None if site.axis is None else Block(site.axis, site.outer, site.offset, site.inner, site.within)


def _twice(items: Iterable[Any]) -> Any:
    seen = set()
    return next((item for item in items if item in seen or seen.add(item)), None)


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 0


def _count(value: Any) -> bool:
    return _whole(value) and value > 0


def _short(value: Any) -> str:
    return "empty" if value == {} else f"a {type(value).__name__}"
