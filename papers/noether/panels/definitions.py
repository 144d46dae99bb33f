"""The panels: what each varies, what it holds, and what it judges. A panel is added here, its thresholds in ``claims``.

Its command, members, pictures and results follow from the definition.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from papers.common.claims import Statement
from papers.noether.claims import PANEL_A, PANEL_B, PANEL_C, PANEL_D
from papers.noether.networks.config import FilterNorm
from papers.noether.panels.runs import Runs

Judged = Iterator[tuple[Statement, np.ndarray, dict[str, float]]]
"""Statements of a panel, each with a number for each seed, and with what stands in its braces."""


class Panel(NamedTuple):
    """A panel of the paper.

    Attributes:
      title: its sentence.
      field: of the configuration, which it varies.
      label: the same for an axis.
      values: its own grid.
      held: the other settings, whatever their defaults.
      drops: whether the learning rate drops at 30, 60 and 80 % of the epochs.
      judge: reads its statements' numbers from finished runs.
      arms: norms free, fixed, or both.
      least: fewest values that it compares.
      needs: a value that it cannot do without, if any.
    """

    title: str
    field: str
    label: str
    values: tuple[float, ...]
    held: dict[str, Any]
    drops: bool
    judge: Callable[[Runs], Judged]
    arms: tuple[FilterNorm, ...] = ("free", "fixed")
    least: int = 2
    needs: float | None = None


def _learning_rate(runs: Runs) -> Judged:
    low = runs.values[0]
    high = min(runs.values, key=lambda value: abs(np.log(value / 0.03)))
    yield PANEL_A["low"], runs.gap(low), {"value": low}
    yield PANEL_A["high"], runs.gap(high), {"value": high}


def _momentum(runs: Runs) -> Judged:
    low = runs.values[0]
    high = 0.9 if 0.9 in runs.values else runs.values[-1]
    yield PANEL_B["growth"], runs.gap(high) - runs.gap(low), {"low": low, "high": high}


def _weight_decay(runs: Runs) -> Judged:
    # the best by its mean: the best of each seed would be biased upwards
    best = max((value for value in runs.values if value > 0), key=lambda k: runs.accuracy(k, "free").mean())
    gain = runs.accuracy(best, "free") - runs.accuracy(0.0, "free")
    fall = runs.last(0.0, "free", "test_loss") - runs.last(best, "free", "test_loss")
    yield PANEL_C["accuracy"], gain, {"value": best}
    yield PANEL_C["loss"], fall, {"value": best}


def _initial_norm(runs: Runs) -> Judged:
    low, high = (runs.of(value, "free") for value in (runs.values[0], runs.values[-1]))
    factor = runs.values[-1] / runs.values[0]

    def rise(steps: slice) -> np.ndarray:
        means = [[arrays["train_loss"][steps].mean() for arrays in arm] for arm in (low, high)]
        return np.array(means[1]) / np.array(means[0]) - 1

    last = max(1, len(low[0]["train_loss"]) // 20)
    yield PANEL_D["first"], rise(slice(0, 1)), {"factor": factor}
    yield PANEL_D["later"], rise(slice(-last, None)), {"factor": factor}


_STANDARD = {"learning_rate": 0.03, "momentum": 0.9, "weight_decay": 1e-4, "initial_scale": 1.0, "optimiser": "sgd"}


def spell(value: float) -> str:
    """Spell a value in six digits, or in as many as tell it from every other.

    >>> spell(0.03), spell(1.0), spell(0.03000000001)
    ('0.03', '1', '0.03000000001')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


PANELS: dict[str, Panel] = {
    "a": Panel(
        "Free and fixed norms end alike at a small learning rate; at a large one free norms win",
        *("learning_rate", "learning rate", (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), _STANDARD, False, _learning_rate),
        least=1,
    ),
    "b": Panel(
        "The gap between free and fixed norms opens at high momentum",
        *("momentum", "momentum", (0.0, 0.5, 0.9, 0.95), _STANDARD, True, _momentum),
    ),
    "c": Panel(
        "Weight decay helps: above 0 is better than 0",
        *("weight_decay", "weight decay", (0.0, 1e-5, 1e-4, 5e-4, 1e-3), _STANDARD, True, _weight_decay),
        needs=0.0,
    ),
    "d": Panel(
        "Larger initial filters: the same loss at first, then slower learning",
        *("initial_scale", "factor of the initial filters", (1.0, 10.0), _STANDARD, False, _initial_norm, ("free",)),
    ),
}

PanelName = Literal[tuple(PANELS)]
