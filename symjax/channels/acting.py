"""What acts on a network's hidden channels: permutations, scalings and signs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import floating_array
from symjax.channels.describe import (
    Channel,
    Channels,
    Mixing,
    Scaling,
    Sign,
    Site,
    Variables,
    leaf_paths,
    site_block,
)
from symjax.channels.layout import fits, index_labels, labels, spread, within
from symjax.channels.refuse import described

__all__ = ["flip", "permute", "rescale"]

Named = Mapping[str, Mapping[str, Any]]
Frozen = tuple[tuple[str, Channel], ...]


def permute(perms: Mapping[str, jax.Array], variables: Variables, channels: Channels) -> Variables:
    """Reorder the hidden units of each channel, everywhere they appear: unit ``i`` becomes the former ``perm[i]``.

    ``permute(q, permute(p, v)) == permute(p[q], v)``: a right action of the permutations under composition
    ``(p q)[i] = p[q[i]]``. The identity is ``arange``, the inverse ``argsort(p)``. The function computed by the network
    does not change. Where every site holds the channel's batch indices there may be one permutation for each of them.

    Source: Zhao et al. 2023, section 3 (permutations of hidden units); Bökman & Kahl 2023, section 2.

    Args:
      perms: channel name -> integers (size,), a permutation, or (*batch, size); a channel left out is not moved.
      variables: pytree of arrays.
      channels: description of the channels.

    Returns:
      Variables of the same structure, shapes and dtypes.

    Raises:
      ValueError: an unknown channel name, an array of the wrong shape or not a permutation (entries that are traced
        cannot be looked at), a description that is vacuous, or a site that does not fit its leaf.

    Example:
      >>> import jax.numpy as jnp
      >>> channels = {"hidden": Channel(3, (Site(("kernel",), 1), Site(("bias",), 0)))}
      >>> variables = {"kernel": jnp.array([[1.0, 2.0, 3.0]]), "bias": jnp.array([4.0, 5.0, 6.0])}
      >>> print(permute({"hidden": jnp.array([2, 0, 1])}, variables, channels)["bias"])
      [6. 4. 5.]
    """
    frozen = described(channels)
    allowed = {}
    for name, perm in perms.items():
        _known(name, channels)
        allowed[name] = _permutation(name, perm, channels[name])
        fits(channels[name].sites, channels[name], variables)
    return _permute(allowed, variables, frozen)


def rescale(s: Named, variables: Variables, channels: Channels) -> Variables:
    """Multiply every site of the named scalings by ``exp(degree * s)``, unit by unit.

    Through an activation of degree alpha the writers (kernel, bias) have degree +1 and the readers -alpha; the gamma
    and beta of a BatchNorm are such writers too. A filter before BatchNorm has kernel and bias +1, running mean +1 and
    running variance +2 (exact in evaluation mode, up to epsilon, only with all four).
    :func:`symjax.channels.scalings` makes a :class:`symjax.symmetry.Symmetry` of it.

    Source: Tanaka & Kunin 2021, section 3 (scale, rescale); Zhao et al. 2023, Table 1 (homogeneous activations).

    Args:
      s: channel name -> scaling name -> array (size,) (or of the shape of the scaling's ``over``), the logarithm of the
        factor; what is left out is not scaled.
      variables: pytree of arrays.
      channels: description of the channels.

    Returns:
      Variables of the same structure, shapes and dtypes.

    Raises:
      ValueError: an unknown channel or scaling, a wrong shape, what is no array of real numbers, a description that is
        vacuous, or a site that does not fit its leaf or names one that is not floating.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.channels import Layer, mlp_channels
      >>> layers = (Layer(jnp.ones((1, 2)), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
      >>> s = {"hidden0": {"rescale": jnp.log(jnp.array([2.0, 1.0]))}}
      >>> first, second = rescale(s, layers, mlp_channels(layers))
      >>> print(first.kernel, second.kernel[:, 0])
      [[2. 1.]] [0.5 1. ]
    """
    frozen = described(channels)
    return _rescale(checked("s", s, variables, channels, "scaling", _plain), variables, frozen)


def flip(signs: Named, variables: Variables, channels: Channels) -> Variables:
    """Multiply every site of the named signs by +1 or -1, unit by unit.

    Through an odd activation, such as tanh, a unit's kernel and bias change sign together with its readers.

    Source: Zhao et al. 2023, Table 1 (tanh); Hecht-Nielsen 1990 (signs of tanh units).

    Args:
      signs: channel name -> sign name -> array (size,) of +1 and -1; what is left out is not moved.
      variables: pytree of arrays.
      channels: description of the channels.

    Returns:
      Variables of the same structure, shapes and dtypes.

    Raises:
      ValueError: as :func:`rescale`, or an entry that is not +1 or -1 (traced entries cannot be looked at).

    Example:
      >>> import jax.numpy as jnp
      >>> w, v = Site(("w",), 1), Site(("v",), 0)
      >>> channels = {"hidden": Channel(2, (w, v), signs=(Sign("odd", (w, v)),))}
      >>> variables = {"w": jnp.ones((1, 2)), "v": jnp.ones((2, 1))}
      >>> print(flip({"hidden": {"odd": [1, -1]}}, variables, channels)["w"])
      [[ 1. -1.]]
    """
    frozen = described(channels)
    return _flip(checked("signs", signs, variables, channels, "sign", _sign), variables, frozen)


def _known(name: str, channels: Channels) -> None:
    if name not in channels:
        raise ValueError(f"no channel is named {name!r}; the channels are {', '.join(map(repr, channels))}")


def _permutation(name: str, perm: Any, channel: Channel) -> jax.Array:
    try:
        perm = jnp.asarray(perm)
    except (TypeError, ValueError):
        raise ValueError(f"perms[{name!r}] is a {type(perm).__name__}, but a permutation holds integers") from None
    shapes = {(channel.size,), channel.shape}
    if perm.shape not in shapes:
        allowed = f"size {channel.size}" if len(shapes) == 1 else f"size {channel.size} and batch {channel.batch}"
        raise ValueError(f"perms[{name!r}] has shape {perm.shape}, but the channel has {allowed}")
    if not jnp.issubdtype(perm.dtype, jnp.integer):
        raise ValueError(f"perms[{name!r}] has dtype {perm.dtype}, but a permutation holds integers")
    if perm.ndim > 1:
        for site in channel.sites:
            if None in (site.batch or (None,)):
                raise ValueError(
                    f"perms[{name!r}] has shape {perm.shape}, but {site} does not hold every batch index: one "
                    f"permutation ({channel.size},) must serve all"
                )
    if not isinstance(perm, jax.core.Tracer) and (np.sort(perm, -1) != np.arange(channel.size)).any():
        raise ValueError(f"perms[{name!r}] is not a permutation: it must hold each of 0 ... {channel.size - 1} once")
    return perm


_FIELDS = {"scaling": "scalings", "sign": "signs", "mixing": "mixings"}


def checked(
    argument: str,
    values: Named,
    variables: Variables,
    channels: Channels,
    word: str,
    check: Callable[[str, Any, Channel, Any], jax.Array],
) -> dict[str, dict[str, jax.Array]]:
    """Check every named value of an action against its channel and its sites against their leaves."""
    result = {}
    for name, named in values.items():
        _known(name, channels)
        channel = channels[name]
        parts = {part.name: part for part in getattr(channel, _FIELDS[word])}
        if not isinstance(named, Mapping):
            own = ", ".join(map(repr, parts)) or "it has none"
            raise ValueError(
                f"{argument}[{name!r}] is {type(named).__name__}, but must map the name of a {word} to its array: {own}"
            )
        result[name] = {}
        for own, value in named.items():
            if own not in parts:
                raise ValueError(
                    f"channel {name!r} has no {word} named {own!r}; its own are {', '.join(map(repr, parts)) or 'none'}"
                )
            result[name][own] = check(f"{argument}[{name!r}][{own!r}]", value, channel, parts[own])
            fits([site for site, _ in _terms(parts[own])], channel, variables, floating=True)
    return result


def _terms(part: Scaling | Mixing | Sign) -> tuple[tuple[Site, float], ...]:
    return tuple((site, 1) for site in part.sites) if isinstance(part, Sign) else part.terms


def _plain(name: str, value: Any, channel: Channel, part: Scaling) -> jax.Array:
    return floating_array(name, value, channel.extent(part))


def _sign(name: str, value: Any, channel: Channel, part: Sign) -> jax.Array:
    value = floating_array(name, value, channel.extent(part))
    if not isinstance(value, jax.core.Tracer) and (np.abs(np.asarray(value, np.float32)) != 1).any():
        raise ValueError(f"{name} holds other numbers than 1 and -1, but signs are those")
    return value


def parts_of(frozen: Frozen, values: Named, field: str) -> list[tuple[str, Channel, Any, Any]]:
    """The named parts of the channels for which there is a value: channel name, channel, part, value."""
    return [
        (name, channel, part, values[name][part.name])
        for name, channel in frozen
        if name in values
        for part in getattr(channel, field)
        if part.name in values[name]
    ]


@partial(jax.jit, static_argnums=2)
def _permute(perms: dict[str, jax.Array], variables: Variables, frozen: Frozen) -> Variables:
    leaves, structure = leaf_paths(variables), jax.tree.structure(variables)
    for name, channel in frozen:
        if name not in perms:
            continue
        for site in channel.sites:
            leaf = jnp.asarray(leaves[site.path])
            *batch, unit = index_labels(site, channel, leaf.shape)
            stride = labels(site_block(site), channel.size, leaf.shape[site.axis]).stride
            place = np.arange(leaf.shape[site.axis], dtype=np.int32).reshape(
                [-1 if axis == site.axis else 1 for axis in range(leaf.ndim)]
            )
            held = batch if perms[name].ndim > 1 else []
            inside = within(*held, unit)
            target = perms[name][(*held, unit)].astype(place.dtype)
            index = jnp.where(inside, place + stride * (target - unit), place)
            if index.size == leaf.shape[site.axis]:
                leaves[site.path] = jnp.take(leaf, index.ravel(), axis=site.axis)
            else:
                leaves[site.path] = jnp.take_along_axis(leaf, index, axis=site.axis)
    return jax.tree.unflatten(structure, list(leaves.values()))


@partial(jax.jit, static_argnums=2)
def _rescale(s: Named, variables: Variables, frozen: Frozen) -> Variables:
    leaves, structure = leaf_paths(variables), jax.tree.structure(variables)
    for _, channel, scaling, value in parts_of(frozen, s, "scalings"):
        for site, degree in scaling.terms:
            leaf = jnp.asarray(leaves[site.path])
            logarithm = spread(value, _over(scaling, channel), site, channel, leaf.shape)
            factor = jnp.exp(jnp.asarray(float(degree), logarithm.dtype) * logarithm).astype(leaf.dtype)
            leaves[site.path] = leaf * factor
    return jax.tree.unflatten(structure, list(leaves.values()))


@partial(jax.jit, static_argnums=2)
def _flip(signs: Named, variables: Variables, frozen: Frozen) -> Variables:
    leaves, structure = leaf_paths(variables), jax.tree.structure(variables)
    for _, channel, sign, value in parts_of(frozen, signs, "signs"):
        for site in sign.sites:
            leaf = jnp.asarray(leaves[site.path])
            laid = spread(value, _over(sign, channel), site, channel, leaf.shape)
            leaves[site.path] = leaf * jnp.where(laid == 0, jnp.ones_like(laid), laid).astype(leaf.dtype)
    return jax.tree.unflatten(structure, list(leaves.values()))


def _over(part: Scaling | Sign, channel: Channel) -> tuple[int, ...]:
    return tuple(i % len(channel.shape) for i in part.over)
