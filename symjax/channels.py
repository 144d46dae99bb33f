"""Hidden channels described by data: where they live, how they permute, how they rescale.

A :class:`Site` names one axis of one leaf, a :class:`Scaling` gives sites their degrees, a :class:`Channel` joins the
sites that carry the same hidden units. :func:`permute` and :func:`rescale` act on any network so described.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "Channel",
    "Channels",
    "Kind",
    "Layer",
    "Path",
    "Scaling",
    "Site",
    "Variables",
    "coordinates",
    "leaf_paths",
    "mlp_channels",
    "permute",
    "require_layers",
    "rescale",
    "restrict",
    "unsigned",
]

Variables = Any
Path = tuple[str | int, ...]
Kind = Literal["scale", "rescale"]


class Site(NamedTuple):
    """One place where the units of a channel appear.

    The axis of length ``n`` is read as ``(outer, n / outer)``; in the second factor the block
    ``[offset, offset + size * inner)`` is read as ``(size, inner)``, and ``size`` counts the channel's units. A plain
    axis has the defaults; an axis flattened from (height, width, channel) has ``outer = height * width``; one flattened
    from (channel, height, width) has ``inner = height * width``; a concatenation has an ``offset``.

    Attributes:
      path: dictionary keys, indices or attribute names from the root of the variables to the leaf.
      axis: the axis of that leaf, non-negative.
    """

    path: Path
    axis: int
    outer: int = 1
    offset: int = 0
    inner: int = 1


class Scaling(NamedTuple):
    """A scaling symmetry of a channel: under coordinate ``s`` a site is multiplied by ``exp(degree * s)``.

    Attributes:
      kind: ``"scale"`` (a filter before a normalisation) or ``"rescale"`` (a homogeneous unit: writers against
        readers).
      terms: pairs ``(site, degree)``.
    """

    kind: Kind
    terms: tuple[tuple[Site, float], ...]


class Channel(NamedTuple):
    """A set of ``size`` interchangeable hidden units, the sites that hold them and their scalings."""

    size: int
    sites: tuple[Site, ...]
    scalings: tuple[Scaling, ...] = ()


Channels = Mapping[str, Channel]


class Layer(NamedTuple):
    """A dense layer of a raw multilayer perceptron: kernel (in, out), bias (out,)."""

    kernel: jax.Array
    bias: jax.Array


def require_layers(layers: Sequence[Layer], inputs: int | None = None) -> None:
    """Refuse dense layers that do not compose, by a ValueError that names the layer.

    Source: this library's bookkeeping.

    Args:
      layers: of a raw multilayer perceptron.
      inputs: entries of its input; None means those of the first kernel.

    Raises:
      ValueError: what is no :class:`Layer`, a kernel that is not (entries before, out), or a bias that is not (out,).
    """
    for place, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise ValueError(f"layers[{place}] is a {type(layer).__name__}, but must be a Layer(kernel, bias)")
        kernel, bias = layer
        if bias is None:
            raise ValueError(f"layers[{place}] has no bias, but needs one: zeros of shape {jnp.shape(kernel)[1:]}")
        if inputs is None:
            inputs = (*jnp.shape(kernel), 0)[0]
        if jnp.ndim(kernel) != 2 or jnp.shape(kernel)[0] != inputs or jnp.shape(bias) != jnp.shape(kernel)[1:]:
            raise ValueError(
                f"layers[{place}] has kernel {jnp.shape(kernel)} and bias {jnp.shape(bias)}, but its input has "
                f"{inputs} entries"
            )
        inputs = jnp.shape(kernel)[1]


def permute(perms: Mapping[str, jax.Array], variables: Variables, channels: Channels) -> Variables:
    """Reorder the hidden units of each channel, everywhere they appear: unit ``i`` becomes the former ``perm[i]``.

    ``permute(q, permute(p, v)) == permute(p[q], v)``: a right action of the permutations under composition
    ``(p q)[i] = p[q[i]]``. The identity is ``arange``, the inverse ``argsort(p)``. The function computed by the network
    does not change.

    Source: Zhao et al. 2023, section 3 (permutations of hidden units); Bökman & Kahl 2023, section 2.

    Args:
      perms: channel name -> integer array (size,), a permutation; a channel left out is not moved.
      variables: pytree of arrays.
      channels: description of the channels.

    Returns:
      Variables of the same structure, shapes and dtypes.

    Raises:
      ValueError: an unknown channel name, an array of the wrong shape or not a permutation (entries that are traced
        cannot be looked at), or a site that does not fit its leaf.

    Example:
      >>> import jax.numpy as jnp
      >>> channels = {"hidden": Channel(3, (Site(("kernel",), 1), Site(("bias",), 0)))}
      >>> variables = {"kernel": jnp.array([[1.0, 2.0, 3.0]]), "bias": jnp.array([4.0, 5.0, 6.0])}
      >>> print(permute({"hidden": jnp.array([2, 0, 1])}, variables, channels)["bias"])
      [6. 4. 5.]
    """
    perms = {name: jnp.asarray(perm) for name, perm in perms.items()}
    for name, perm in perms.items():
        _known(name, channels)
        _permutation(name, perm, channels[name].size)
        _fits(channels[name].sites, channels[name].size, variables)
    return _permute(perms, variables, _frozen(channels))


def rescale(s: Mapping[str, jax.Array], variables: Variables, channels: Channels, kind: Kind) -> Variables:
    """Flow of a scaling symmetry: multiply every site by ``exp(degree * s)``, unit by unit.

    Through an activation of degree alpha the writers (kernel, bias) have degree +1 and the readers -alpha; the gamma
    and beta of a BatchNorm are such writers too. A filter before BatchNorm has kernel and bias +1, running mean +1 and
    running variance +2 (exact in evaluation mode, up to epsilon, only with all four).
    ``partial(rescale, channels=..., kind=...)`` is a flow in the sense of :mod:`symjax.symmetry`, with
    :func:`coordinates` as its zero.

    Source: Tanaka & Kunin 2021, section 3 (scale, rescale); Zhao et al. 2023, Table 1 (homogeneous activations).

    Args:
      s: channel name -> array (size,), the logarithm of the factor; a channel left out is not scaled.
      variables: pytree of arrays.
      channels: description of the channels.
      kind: which of the channels' scalings, ``"scale"`` or ``"rescale"``.

    Returns:
      Variables of the same structure, shapes and dtypes.

    Raises:
      ValueError: an unknown channel, one without a scaling of this kind, a wrong shape or an integer ``s``, or a site
        that does not fit its leaf.

    Example:
      >>> import jax.numpy as jnp
      >>> layers = (Layer(jnp.ones((1, 2)), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
      >>> s = {"hidden0": jnp.log(jnp.array([2.0, 1.0]))}
      >>> first, second = rescale(s, layers, mlp_channels(layers), "rescale")
      >>> print(first.kernel, second.kernel[:, 0])
      [[2. 1.]] [0.5 1. ]
    """
    for name, value in s.items():
        _known(name, channels)
        sites = tuple(site for scaling in channels[name].scalings if scaling.kind == kind for site, _ in scaling.terms)
        if not sites:
            raise ValueError(f"channel {name!r} has no scaling of kind {kind!r}")
        if jnp.shape(value) != (channels[name].size,):
            raise ValueError(
                f"s[{name!r}] has shape {jnp.shape(value)}, but the channel has size {channels[name].size}"
            )
        if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise ValueError(f"s[{name!r}] has dtype {jnp.result_type(value)}, but it is a logarithm, a floating array")
        _fits(sites, channels[name].size, variables)
    return _rescale(dict(s), variables, _frozen(channels), kind)


def coordinates(channels: Channels, kind: Kind, dtype: Any = None) -> dict[str, jax.Array]:
    """Give zero coordinates of all scalings of one kind, the identity of the flow :func:`rescale`.

    Source: this library's bookkeeping, no equation of a paper.

    Args:
      channels: description of the channels.
      kind: which of the channels' scalings, ``"scale"`` or ``"rescale"``.
      dtype: of the coordinates; None means the default float of jax.

    Returns:
      Channel name -> zeros (size,), for the channels with a scaling of this kind.

    Raises:
      ValueError: a kind that does not exist, given or in a channel.
    """
    for found in (kind, *(scaling.kind for channel in channels.values() for scaling in channel.scalings)):
        if found not in get_args(Kind):
            raise ValueError(f"kind is {found!r}, but it must be one of {', '.join(map(repr, get_args(Kind)))}")
    dtype = jnp.result_type(float) if dtype is None else dtype
    has = {name for name, channel in channels.items() if any(scaling.kind == kind for scaling in channel.scalings)}
    return {name: jnp.zeros((channel.size,), dtype) for name, channel in channels.items() if name in has}


def restrict(channels: Channels, prefix: str | int) -> dict[str, Channel]:
    """Keep the sites below ``prefix`` and make their paths relative to it, e.g. to ``"params"`` alone.

    Used where a function takes the parameters without the running statistics: a training loss uses the batch's own
    statistics, so its scalings are complete with the parameters' sites.

    Source: this library's bookkeeping, no equation of a paper.

    Args:
      channels: description of the channels.
      prefix: first key, index or name of the paths to keep.

    Returns:
      Channel name -> :class:`Channel`, every channel of before, some perhaps without sites.
    """

    def inside(site: Site) -> bool:
        return site.path[:1] == (prefix,)

    def relative(site: Site) -> Site:
        return site._replace(path=site.path[1:])

    result = {}
    for name, channel in channels.items():
        sites = tuple(relative(site) for site in channel.sites if inside(site))
        scalings = tuple(
            Scaling(scaling.kind, terms)
            for scaling in channel.scalings
            if (terms := tuple((relative(site), degree) for site, degree in scaling.terms if inside(site)))
        )
        result[name] = Channel(channel.size, sites, scalings)
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
    scalings = tuple(
        Scaling(scaling.kind, tuple((site, abs(degree)) for site, degree in scaling.terms))
        for scaling in channel.scalings
    )
    return channel._replace(scalings=scalings)


def mlp_channels(params: tuple[Layer, ...], degree: float | None = 1.0) -> dict[str, Channel]:
    """Channels of a raw multilayer perceptron, one for each hidden layer: ``hidden0``, ``hidden1``, ...

    Source: Zhao et al. 2023, section 3 (permutations) and Table 1 (homogeneous activations).

    Args:
      params: tuple of ``Layer(kernel, bias)``.
      degree: homogeneity degree alpha of the activation, ``sigma(c z) = c^alpha sigma(z)`` for c > 0 (ReLU, leaky ReLU
        and the identity 1, squared ReLU 2); None if it is not homogeneous: the units then only permute.

    Returns:
      Channel name -> :class:`Channel`.

    Raises:
      ValueError: layers that do not compose, or a degree that is no number.
    """
    require_layers(params)
    if not (degree is None or isinstance(degree, int | float)):
        raise ValueError(f"degree is {degree!r}, but must be a number or None: symjax.activations.get(name).degree")
    result = {}
    for i in range(len(params) - 1):
        kernel, bias, reader = Site((i, "kernel"), 1), Site((i, "bias"), 0), Site((i + 1, "kernel"), 0)
        scalings = ()
        if degree is not None:
            scalings = (Scaling("rescale", ((kernel, 1.0), (bias, 1.0), (reader, -float(degree)))),)
        result[f"hidden{i}"] = Channel(params[i].kernel.shape[1], (kernel, bias, reader), scalings)
    return result


def leaf_paths(variables: Variables) -> dict[Path, Any]:
    """All leaves of a pytree by their path of plain keys, as sites name them.

    Source: this library's bookkeeping, no equation of a paper.
    """
    return {_plain(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]}


def _plain(path: tuple[Any, ...]) -> Path:
    names = ("key", "idx", "name")
    return tuple(next(getattr(entry, name) for name in names if hasattr(entry, name)) for entry in path)


def _known(name: str, channels: Channels) -> None:
    if name not in channels:
        raise ValueError(f"no channel is named {name!r}; the channels are {', '.join(map(repr, channels))}")


def _permutation(name: str, perm: jax.Array, size: int) -> None:
    if perm.shape != (size,):
        raise ValueError(f"perms[{name!r}] has shape {perm.shape}, but the channel has size {size}")
    if not jnp.issubdtype(perm.dtype, jnp.integer):
        raise ValueError(f"perms[{name!r}] has dtype {perm.dtype}, but a permutation holds integers")
    if not isinstance(perm, jax.core.Tracer) and sorted(np.asarray(perm).tolist()) != list(range(size)):
        raise ValueError(f"perms[{name!r}] is not a permutation: it must hold each of 0 ... {size - 1} once")


def _frozen(channels: Channels) -> tuple[tuple[str, Channel], ...]:
    return tuple(channels.items())


def _fits(sites: tuple[Site, ...], size: int, variables: Variables) -> None:
    """Check sites against their leaves, before compiled code is entered: jax would add notes to the sentence."""
    leaves = leaf_paths(variables)
    for site in sites:
        if site.path not in leaves:
            known = ", ".join(map(str, leaves))
            raise ValueError(f"no leaf has the path {site.path}; the paths are {known}")
        shape = jnp.shape(leaves[site.path])
        if not 0 <= site.axis < len(shape):
            raise ValueError(f"{site} names axis {site.axis} of an array of shape {shape}")
        length = shape[site.axis]
        if length % site.outer or site.offset + size * site.inner > length // site.outer:
            raise ValueError(f"{site} with {size} units does not fit an axis of length {length}")


def _block(site: Site, size: int) -> slice:
    return slice(site.offset, site.offset + size * site.inner)


@partial(jax.jit, static_argnums=2)
def _permute(perms: dict[str, jax.Array], variables: Variables, channels: tuple[tuple[str, Channel], ...]) -> Variables:
    leaves = leaf_paths(variables)
    structure = jax.tree.structure(variables)
    for name, channel in channels:
        if name not in perms:
            continue
        for site in channel.sites:
            length, block = leaves[site.path].shape[site.axis], _block(site, channel.size)
            index = jnp.arange(length).reshape(site.outer, -1)
            moved = index[:, block].reshape(site.outer, channel.size, site.inner)[:, perms[name], :]
            index = index.at[:, block].set(moved.reshape(site.outer, -1)).reshape(-1)
            leaves[site.path] = jnp.take(leaves[site.path], index, axis=site.axis)
    return jax.tree.unflatten(structure, list(leaves.values()))


@partial(jax.jit, static_argnums=(2, 3))
def _rescale(
    s: dict[str, jax.Array], variables: Variables, channels: tuple[tuple[str, Channel], ...], kind: Kind
) -> Variables:
    leaves = leaf_paths(variables)
    structure = jax.tree.structure(variables)
    for name, channel in channels:
        for scaling in channel.scalings:
            if name not in s or scaling.kind != kind:
                continue
            for site, degree in scaling.terms:
                leaf = leaves[site.path]
                # padding, no assignment to a block: its gradient is a slice, where XLA would compile a scatter's
                behind = leaf.shape[site.axis] // site.outer - site.offset - channel.size * site.inner
                logarithm = jnp.pad(jnp.repeat(s[name], site.inner), (site.offset, behind))
                degrees = jnp.asarray(degree, logarithm.dtype)
                factor = jnp.tile(jnp.exp(degrees * logarithm), site.outer).astype(leaf.dtype)
                others = [axis for axis in range(leaf.ndim) if axis != site.axis]
                leaves[site.path] = leaf * jnp.expand_dims(factor, others)
    return jax.tree.unflatten(structure, list(leaves.values()))
