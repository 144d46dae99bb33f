"""What each panel varies, what it holds, and over which values."""

from typing import Any, Literal, NamedTuple

from papers.noether.networks.config import FilterNorm

PanelName = Literal["a", "b", "c", "d"]
ARMS: tuple[FilterNorm, FilterNorm] = ("free", "fixed")


class Panel(NamedTuple):
    """A panel: the field it varies and its values, the settings it holds, whether the learning rate drops."""

    field: str
    label: str
    values: tuple[float, ...]
    settings: dict[str, Any]
    drops: bool
    arms: tuple[FilterNorm, ...] = ARMS


_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_DECAYS = (0.0, 1e-5, 1e-4, 5e-4, 1e-3)
_STANDARD = {"learning_rate": 0.03, "momentum": 0.9, "weight_decay": 1e-4}

PANELS: dict[str, Panel] = {
    "a": Panel("learning_rate", "learning rate", _RATES, _STANDARD, drops=False),
    "b": Panel("momentum", "momentum", (0.0, 0.5, 0.9, 0.95), _STANDARD, drops=True),
    "c": Panel("weight_decay", "weight decay", _DECAYS, _STANDARD, drops=True),
    "d": Panel("initial_scale", "factor of the initial filters", (1.0, 10.0), _STANDARD, False, ("free",)),
}
