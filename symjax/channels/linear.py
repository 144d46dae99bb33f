"""Matrices along the units of a channel: :func:`mix`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype, floating_array
from symjax.channels.acting import Frozen, Named, checked, parts_of
from symjax.channels.describe import Channel, Channels, Mixing, Site, Variables, leaf_paths, site_block
from symjax.channels.layout import confined, labels
from symjax.channels.refuse import described
from symjax.groups import contragredient, require_element

__all__ = ["mix"]


def mix(g: Named, variables: Variables, channels: Channels) -> Variables:
    """Act with matrices on the units of channels: writers by ``g``, readers by its inverse transpose.

    ``W_ia -> sum_b g_ab W_ib`` along a writer's axis, ``U_ai -> sum_b (g^-1)_ba U_bi`` along a reader's, so that what a
    reader makes of a writer stays. ``mix(f, mix(g, v)) == mix(f g, v)``: a left action.

    Source: Zhao et al. 2023, section 3 and Table 1 (linear networks); queries against keys and values against outputs
      of an attention head: derived.

    Args:
      g: channel name -> name of the linear group -> array (size, size), or (*batch, size, size) where the group acts
        once for each batch index; what is left out is not moved.
      variables: pytree of arrays.
      channels: description of the channels.

    Returns:
      Variables of the same structure, shapes and dtypes.

    Raises:
      ValueError: as :func:`symjax.channels.rescale`, or a concrete element outside its group: a condition number above
        0.01/eps, ``|g^T g - 1|`` above 1000 eps, a negative determinant.

    Example:
      >>> import jax.numpy as jnp
      >>> w, v = Site(("w",), 1), Site(("v",), 0)
      >>> channels = {"hidden": Channel(2, (w, v), mixings=(Mixing("linear", "general_linear", ((w, 1), (v, -1))),))}
      >>> variables = {"w": jnp.array([[1.0, 2.0]]), "v": jnp.array([[3.0], [4.0]])}
      >>> moved = mix({"hidden": {"linear": jnp.array([[2.0, 1.0], [0.0, 1.0]])}}, variables, channels)
      >>> print(moved["w"], (moved["w"] @ moved["v"]).item())
      [[4. 2.]] 11.0
    """

    def element(name: str, value: jax.Array, channel: Channel, part: Mixing) -> jax.Array:
        value = floating_array(name, value, (*channel.extent(part), channel.size, channel.size))
        require_element(name, value, part.group)
        return value.astype(accumulation_dtype(value.dtype))

    frozen = described(channels)
    elements = checked("g", g, variables, channels, "mixing", element)
    inverses = {
        name: {
            own: contragredient(next(part.group for part in channels[name].mixings if part.name == own), value)
            for own, value in named.items()
        }
        for name, named in elements.items()
    }
    return act(elements, inverses, variables, frozen)


@partial(jax.jit, static_argnums=3)
def act(g: Named, inverses: Named, variables: Variables, frozen: Frozen) -> Variables:
    """Multiply the writers by ``g`` and the readers by ``inverses``, the inverse transposes; nothing is checked."""
    leaves, structure = leaf_paths(variables), jax.tree.structure(variables)
    values = zip(parts_of(frozen, g, "mixings"), parts_of(frozen, inverses, "mixings"), strict=True)
    for (_, channel, part, element), (*_, inverse) in values:
        for site, variance in part.terms:
            leaf = jnp.asarray(leaves[site.path])
            leaves[site.path] = _along(element if variance == 1 else inverse, leaf, site, channel, part)
    return jax.tree.unflatten(structure, list(leaves.values()))


def _along(matrix: jax.Array, leaf: jax.Array, site: Site, channel: Channel, part: Mixing) -> jax.Array:
    """Multiply a leaf by matrices along the units of one site."""
    dtype, axis, n = accumulation_dtype(leaf.dtype), site.axis, channel.size
    over = range(len(channel.batch)) if part.over is None else [i % len(channel.batch) for i in part.over]
    here, there = ([k for k, i in enumerate(over) if (site.batch[i].axis == axis) is same] for same in (True, False))
    matrix = jnp.transpose(matrix, (*there, *here, matrix.ndim - 2, matrix.ndim - 1)).astype(dtype)
    matrix = matrix.reshape(*(matrix.shape[: len(there)]), -1, n, n)
    along = [labels(site.batch[over[k]], channel.batch[over[k]], leaf.shape[axis]).label for k in here]
    place = _places(site, n, along, [channel.batch[over[k]] for k in here], leaf.shape[axis])
    blocks = jnp.moveaxis(leaf, axis, -1)
    whole = np.array_equal(place.ravel(), np.arange(leaf.shape[axis]))
    x = (blocks if whole else blocks[..., place.ravel()]).reshape(*blocks.shape[:-1], *place.shape).astype(dtype)
    if there:
        index, inside = [], True
        for k in there:
            block = site.batch[over[k]]
            label = labels(block, channel.batch[over[k]], leaf.shape[block.axis]).label
            shape = [1] * (leaf.ndim - 1)
            shape[block.axis - (block.axis > axis)] = -1
            index.append(label.reshape(shape))
            inside = inside & (index[-1] >= 0)
        matrix = jnp.where(inside[..., None, None, None], matrix[tuple(index)], jnp.eye(n, dtype=dtype))
        y = jnp.matmul(x, jnp.swapaxes(matrix, -1, -2), precision="highest")
    else:
        flat = x.reshape(-1, *place.shape)
        y = jnp.einsum("xbmi,bji->xbmj", flat, matrix, precision="highest")
    y = y.astype(leaf.dtype).reshape(*blocks.shape[:-1], -1)
    moved = jnp.moveaxis(y if whole else blocks.at[..., place.ravel()].set(y), -1, axis)
    inside = confined(site, leaf.shape)
    return moved if inside is None else jnp.where(inside, moved, leaf)


def _places(site: Site, size: int, along: list[np.ndarray], sizes: list[int], length: int) -> np.ndarray:
    """The entries of the axis as (batch indices on it, everything else, units)."""
    unit, stride = labels(site_block(site), size, length)
    batch, inside = np.zeros(length, np.int32), unit >= 0
    for label, count in zip(along, sizes, strict=True):
        batch, inside = batch * count + label, inside & (label >= 0)
    order = np.lexsort((unit, np.arange(length) - stride * unit, batch))
    order = order[inside[order]]
    return order.reshape(int(np.prod(sizes)), -1, size)
