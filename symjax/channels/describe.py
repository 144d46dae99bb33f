"""The words of a description: sites, scalings, linear groups and signs of a channel."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

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
    "site_block",
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


def site_block(site: Site) -> Block | None:
    """The layout of a site's units; None where it has no axis."""
    return None if site.axis is None else Block(site.axis, site.outer, site.offset, site.inner, site.within)
