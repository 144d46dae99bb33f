"""The continuous symmetries of channels: all scalings, all linear groups, as one :class:`symjax.symmetry.Symmetry`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from symjax.channels.acting import parts_of, rescale
from symjax.channels.describe import Channel, Channels, Mixing, Scaling, Variables
from symjax.channels.layout import fits
from symjax.channels.linear import act
from symjax.channels.refuse import described
from symjax.groups import algebra_shape, exponential
from symjax.symmetry import Symmetry

__all__ = ["mixings", "scalings"]


def scalings(channels: Channels, name: str | None = None, dtype: Any = None) -> Symmetry:
    """Give the symmetry of all scalings of the channels, or of those of one name.

    Its flow is :func:`symjax.channels.rescale`. With a ``name`` the coordinates are channel -> array, for the channels
    with a scaling of that name; without one they are channel -> scaling name -> array.

    Source: Tanaka & Kunin 2021, section 3 (scale, rescale); Zhao et al. 2023, Table 1 (homogeneous activations).

    Args:
      channels: description of the channels.
      name: of the scalings to take, ``"scale"`` or ``"rescale"`` for the builders' channels; None takes all.
      dtype: of the coordinates; None means the default float of jax.

    Returns:
      A :class:`symjax.symmetry.Symmetry`; each array has the shape of its scaling's ``over``, (size,) unless said.

    Raises:
      ValueError: no scaling, or none of that name; a description that is vacuous.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.channels import Layer, mlp_channels
      >>> layers = (Layer(jnp.ones((1, 2)), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
      >>> print(scalings(mlp_channels(layers), "rescale").zero["hidden0"])
      [0. 0.]
    """
    zero, pack = _coordinates(channels, "scalings", name, dtype, Channel.extent)
    return Symmetry(lambda s, variables: rescale(pack(s), variables, channels), zero)


def mixings(channels: Channels, name: str | None = None, dtype: Any = None) -> Symmetry:
    """Give the symmetry of all linear groups of the channels, or of those of one name, by their exponentials.

    Its flow is :func:`symjax.channels.mix` of ``expm(s)``, or of ``expm(skew(s))`` for orthogonal groups. With a
    ``name`` the coordinates are channel -> array, without one channel -> group name -> array.

    Source: Zhao et al. 2023, section 3 and Table 1.

    Args:
      channels: description of the channels.
      name: of the linear groups to take; None takes all.
      dtype: of the coordinates; None means the default float of jax.

    Returns:
      A :class:`symjax.symmetry.Symmetry`; arrays (*batch, size, size), or (*batch, size (size - 1)/2) if orthogonal.

    Raises:
      ValueError: no linear group, or none of that name; a description that is vacuous.

    Example:
      >>> from symjax.channels import Site
      >>> w, v = Site(("w",), 1), Site(("v",), 0)
      >>> channels = {"hidden": Channel(2, (w, v), mixings=(Mixing("linear", "orthogonal", ((w, 1), (v, -1))),))}
      >>> mixings(channels).zero["hidden"]["linear"].shape
      (1,)
    """

    def extent(channel: Channel, part: Mixing) -> tuple[int, ...]:
        return (*channel.extent(part), *algebra_shape(part.group, channel.size))

    zero, pack = _coordinates(channels, "mixings", name, dtype, extent)
    frozen = described(channels)

    def flow(s: Any, variables: Variables) -> Variables:
        elements, inverses = {}, {}
        for key, channel, part, value in parts_of(frozen, pack(s), "mixings"):
            fits([site for site, _ in part.terms], channel, variables, floating=True)
            g, inverse = exponential(part.group, jnp.asarray(value), channel.size)
            elements.setdefault(key, {})[part.name] = g
            inverses.setdefault(key, {})[part.name] = inverse
        return act(elements, inverses, variables, frozen)

    return Symmetry(flow, zero)


def _coordinates(
    channels: Channels,
    field: str,
    name: str | None,
    dtype: Any,
    extent: Callable[[Channel, Scaling | Mixing], tuple[int, ...]],
) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Zero coordinates, and what turns such coordinates into channel -> part name -> array."""
    described(channels)
    dtype = jnp.result_type(float) if dtype is None else dtype
    zero: dict[str, Any] = {}
    for key, channel in channels.items():
        for part in getattr(channel, field):
            if name is None:
                zero.setdefault(key, {})[part.name] = jnp.zeros(extent(channel, part), dtype)
            elif part.name == name:
                zero[key] = jnp.zeros(extent(channel, part), dtype)
    if not zero:
        names = sorted({part.name for channel in channels.values() for part in getattr(channel, field)})
        which = "" if name is None else f" named {name!r}; there are {', '.join(map(repr, names)) or 'none'}"
        raise ValueError(f"no channel has {field}{which}")
    return zero, lambda s: s if name is None else {key: {name: value} for key, value in s.items()}
