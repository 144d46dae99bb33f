"""Parts of a description: the sites below a prefix, degrees without their signs."""

from collections.abc import Iterable
from typing import Any

from symjax.channels.describe import Channel, Channels, Mixing, Scaling, Site
from symjax.channels.refuse import described

__all__ = ["restrict", "unsigned"]


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
