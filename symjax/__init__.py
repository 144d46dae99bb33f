"""Symmetries of neural-network parameters: flows, charges and the mechanics of learning.

A continuous symmetry is a *flow*, a pure function ``flow(s, params) -> params`` with ``flow(zero, params) == params``.
Generators, gradient identities, Noether charges and kinetic symmetry breaking follow from the flow by automatic
differentiation (:mod:`symjax.symmetry`), once, for every symmetry and every network.

:mod:`symjax.tracing` finds the symmetries of a model, :mod:`symjax.channels` describes and acts with them by hand,
:mod:`symjax.check` tests one, :mod:`symjax.watch` measures and predicts their charges in an optax loop,
:mod:`symjax.conserved` has what gradient flow conserves, :mod:`symjax.orbits` moves along them,
:mod:`symjax.curvature` looks at Hessians, :mod:`symjax.dimension` measures which parameters change the function,
:mod:`symjax.equivariance` flips and turns networks, :mod:`symjax.integrate` descends, :mod:`symjax.mechanics` has the
exact laws of the update. :mod:`symjax.actions`, :mod:`symjax.activations`, :mod:`symjax.data_dependent`,
:mod:`symjax.transport` and :mod:`symjax.scaled_rotation` are the papers' actions.
:mod:`symjax.matching` brings networks into each other's order and merges them,
:mod:`symjax.repair` corrects what was merged.

Modules are loaded when they are first named: ``import symjax`` itself costs next to nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES = (
    "actions",
    "activations",
    "channels",
    "check",
    "conserved",
    "curvature",
    "data_dependent",
    "dimension",
    "equivariance",
    "integrate",
    "matching",
    "mechanics",
    "orbits",
    "repair",
    "scaled_rotation",
    "symmetry",
    "tracing",
    "transport",
    "watch",
)

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"symjax.{name}")
    raise AttributeError(f"module 'symjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
