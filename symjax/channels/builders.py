"""Descriptions of the common layers: a hidden layer, a normalised one, an attention, a whole perceptron."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import jax.numpy as jnp

from symjax.channels.describe import Block, Channel, Mixing, Path, Scaling, Site, Variables, leaf_paths
from symjax.channels.layers import Layer, require_layers

__all__ = ["attention", "hidden", "mlp_channels", "normalised"]


def hidden(variables: Variables, layer: Path, reader: Path | Sequence[Path], degree: float | None = 1.0) -> Channel:
    """Describe the units of a layer and of what reads them: kernel and bias against the readers' kernels.

    Dense and convolutional kernels (..., in, out), before the activation nothing but the bias. A reader of a flattened
    map, its rows in the order (height, width, channel), is recognised by its number of rows.

    Source: Zhao et al. 2023, section 3 and Table 1 (homogeneous activations).

    Args:
      variables: pytree of arrays; only shapes are read.
      layer: path to the node that holds ``kernel`` and, perhaps, ``bias``.
      reader: path to the node whose ``kernel`` reads the units, or several of them.
      degree: homogeneity degree alpha of the activation, ``sigma(c z) = c^alpha sigma(z)`` for c > 0; None if it is not
        homogeneous: the units then only permute.

    Returns:
      A :class:`Channel`, with the scaling ``"rescale"``: kernel and bias +1, readers -alpha.

    Raises:
      ValueError: a path without a kernel, rows that are no multiple of the units, or a degree that is no number.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"conv": {"kernel": jnp.ones((3, 3, 1, 4))}, "out": {"kernel": jnp.ones((24, 2))}}
      >>> hidden(params, ("conv",), ("out",)).sites[-1]
      Site(path=('out', 'kernel'), axis=0, outer=6, offset=None, inner=1, within=(), batch=(), cuts=())
    """
    degree = _degree(degree)
    writers, size = _writers(variables, layer)
    readers = _readers(variables, reader, size)
    terms = (*((site, 1.0) for site in writers), *((site, -(degree or 0.0)) for site in readers))
    return Channel(size, (*writers, *readers), () if degree is None else (Scaling("rescale", terms),))


def normalised(
    variables: Variables,
    layer: Path,
    norm: Path,
    reader: Path | Sequence[Path],
    statistics: Path | None = None,
    degree: float | None = 1.0,
) -> Channel:
    """Describe the units of a layer that is followed by a batch normalisation.

    ``"scale"``: kernel and bias +1, running mean +1, running variance +2, up to epsilon. ``"rescale"``: the
    normalisation's scale and bias +1, the readers -alpha.

    Source: Tanaka & Kunin 2021, section 3 (scale); Zhao et al. 2023, Table 1 (rescale).

    Args:
      variables: pytree of arrays; only shapes are read.
      layer: path to the node that holds ``kernel`` and, perhaps, ``bias``.
      norm: path to the node that holds ``scale`` and ``bias``, either perhaps absent.
      reader: path to the node whose ``kernel`` reads the units, or several of them.
      statistics: path to the node that holds the running ``mean`` and ``var``; None where they are not among the
        variables.
      degree: homogeneity degree of the activation after the normalisation; None if it has none.

    Returns:
      A :class:`Channel`.

    Raises:
      ValueError: as :func:`hidden`.
    """
    degree = _degree(degree)
    writers, size = _writers(variables, layer)
    leaves = leaf_paths(variables)
    gains = [Site((*norm, name), 0) for name in ("scale", "bias") if (*norm, name) in leaves]
    running = (
        [] if statistics is None else [(Site((*statistics, "mean"), 0), 1.0), (Site((*statistics, "var"), 0), 2.0)]
    )
    readers = _readers(variables, reader, size)
    scalings = [Scaling("scale", (*((site, 1.0) for site in writers), *running), "epsilon")]
    if degree is not None and gains:
        terms = (*((site, 1.0) for site in gains), *((site, -degree) for site in readers))
        scalings.append(Scaling("rescale", terms))
    return Channel(size, (*writers, *gains, *(site for site, _ in running), *readers), tuple(scalings))


def attention(variables: Variables, query: Path, key: Path, value: Path, out: Path) -> dict[str, Channel]:
    """Describe a multi-head attention: its heads, and in each head the dimensions of query-key and of value-out.

    Kernels (model, heads, dimension) and biases (heads, dimension), the output's kernel (heads, dimension, model), as
    ``flax.linen.MultiHeadDotProductAttention`` has them. Every head has GL of its dimensions twice, queries against
    keys and values against the output, as long as no rotary phase or normalisation comes between.

    Source: derived from ``softmax(q k^T) v``; the group in Zhao et al. 2023, section 3 (linear networks).

    Args:
      variables: pytree of arrays; only shapes are read.
      query: path to the node that holds the queries' ``kernel`` and, perhaps, ``bias``.
      key: the same for the keys.
      value: the same for the values.
      out: path to the node whose ``kernel`` reads the heads.

    Returns:
      ``{"heads": ..., "query_key": ..., "value_out": ...}``; the last two have the heads as their batch index and the
      linear group ``"linear"``.

    Raises:
      ValueError: a path without a kernel, or one of another shape.
    """
    leaves = leaf_paths(variables)
    shape = _kernel_shape(leaves, query)
    if len(shape) != 3:
        raise ValueError(f"the kernel of {query} has shape {shape}, but must be (model, heads, dimension)")
    heads, size = shape[1:]

    def sites(path: Path, batched: bool) -> list[Site]:
        places = [Site((*path, "kernel"), 2 if batched else 1, batch=(Block(1),) if batched else ())]
        if (*path, "bias") in leaves:
            places.append(Site((*path, "bias"), 1 if batched else 0, batch=(Block(0),) if batched else ()))
        return places

    def linear(writers: list[Site], readers: list[Site]) -> Channel:
        terms = (*((site, 1) for site in writers), *((site, -1) for site in readers))
        mixing = Mixing("linear", "general_linear", terms)
        return Channel(size, tuple(site for site, _ in terms), batch=(heads,), mixings=(mixing,))

    everywhere = [site for path in (query, key, value) for site in sites(path, False)]
    return {
        "heads": Channel(heads, (*everywhere, Site((*out, "kernel"), 0))),
        "query_key": linear(sites(query, True), sites(key, True)),
        "value_out": linear(sites(value, True), [Site((*out, "kernel"), 1, batch=(Block(0),))]),
    }


def mlp_channels(params: tuple[Layer, ...], degree: float | None = 1.0) -> dict[str, Channel]:
    """Channels of a raw multilayer perceptron, one for each hidden layer: ``hidden0``, ``hidden1``, ...

    Source: Zhao et al. 2023, section 3 (permutations) and Table 1 (homogeneous activations).

    Args:
      params: tuple of ``Layer(kernel, bias)``.
      degree: homogeneity degree alpha of the activation, ``sigma(c z) = c^alpha sigma(z)`` for c > 0 (ReLU, leaky ReLU
        and the identity 1, squared ReLU 2); None if it is not homogeneous: the units then only permute. The whole
        GL(h) of a linear network is :func:`symjax.actions.general_linear`.

    Returns:
      Channel name -> :class:`Channel`, each a :func:`hidden`.

    Raises:
      ValueError: layers that do not compose, or a degree that is no number.
    """
    require_layers(params)
    degree = _degree(degree)
    return {f"hidden{i}": hidden(params, (i,), (i + 1,), degree) for i in range(len(params) - 1)}


def _degree(degree: Any) -> float | None:
    if degree is None:
        return None
    if isinstance(degree, bool) or not isinstance(degree, int | float) or not isfinite(degree) or degree == 0:
        raise ValueError(
            f"degree is {degree!r}, but must be a number that is not zero, or None: symjax.activations.get(name).degree"
        )
    return float(degree)


def _kernel_shape(leaves: dict[Path, Any], path: Path) -> tuple[int, ...]:
    if not isinstance(path, tuple) or (*path, "kernel") not in leaves:
        known = ", ".join(str(known[:-1]) for known in leaves if known and known[-1] == "kernel")
        raise ValueError(f"{path!r} is no path to a layer with a kernel; there are {known or 'none'}")
    return jnp.shape(leaves[*path, "kernel"])


def _writers(variables: Variables, layer: Path) -> tuple[list[Site], int]:
    leaves = leaf_paths(variables)
    shape = _kernel_shape(leaves, layer)
    sites = [Site((*layer, "kernel"), len(shape) - 1)]
    if (*layer, "bias") in leaves:
        sites.append(Site((*layer, "bias"), 0))
    return sites, shape[-1]


def _readers(variables: Variables, reader: Path | Sequence[Path], size: int) -> list[Site]:
    several = isinstance(reader, Sequence) and len(reader) > 0 and all(isinstance(path, tuple) for path in reader)
    sites, leaves = [], leaf_paths(variables)
    for path in reader if several else (reader,):
        shape = _kernel_shape(leaves, path)
        rows = shape[len(shape) - 2]
        if rows % size:
            raise ValueError(f"the kernel of {path} reads {rows} rows, but {size} units need a multiple of them")
        sites.append(Site((*path, "kernel"), len(shape) - 2, outer=rows // size))
    return sites
