"""Hidden channels described by data: where they live, and how they permute, rescale, mix and change sign.

A :class:`Site` names one axis of one leaf and how the units run along it, a :class:`Channel` joins the sites that carry
the same hidden units, with its :class:`Scaling`, :class:`Mixing` (linear groups) and :class:`Sign` symmetries. Finite
elements act by :func:`permute`, :func:`rescale`, :func:`mix` and :func:`flip`; :func:`scalings` and :func:`mixings`
make a :class:`symjax.symmetry.Symmetry` of the continuous ones. :func:`hidden`, :func:`normalised`, :func:`attention`
and :func:`mlp_channels` describe the common layers. A description that is vacuous or contradicts itself is refused.
"""

from symjax.channels.acting import flip, permute, rescale
from symjax.channels.builders import attention, hidden, mlp_channels, normalised
from symjax.channels.describe import (
    Block,
    Channel,
    Channels,
    Mixing,
    Path,
    Scaling,
    Segment,
    Sign,
    Site,
    Variables,
    leaf_paths,
)
from symjax.channels.flows import mixings, scalings
from symjax.channels.layers import Layer, require_layers
from symjax.channels.linear import mix
from symjax.channels.select import restrict, unsigned

__all__ = [
    "Block",
    "Channel",
    "Channels",
    "Layer",
    "Mixing",
    "Path",
    "Scaling",
    "Segment",
    "Sign",
    "Site",
    "Variables",
    "attention",
    "flip",
    "hidden",
    "leaf_paths",
    "mix",
    "mixings",
    "mlp_channels",
    "normalised",
    "permute",
    "require_layers",
    "rescale",
    "restrict",
    "scalings",
    "unsigned",
]
