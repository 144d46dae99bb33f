"""The finished runs of a panel, as its picture and its claims read them."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from papers.noether.networks.config import FilterNorm, TrainConfig

Arrays = dict[str, np.ndarray]


class Run(NamedTuple):
    """A finished run: the value of what the panel varies, its arm and seed, its configuration, what it measured."""

    value: float
    arm: FilterNorm
    seed: int
    config: TrainConfig
    arrays: Arrays


class Runs(NamedTuple):
    """All runs of a panel: every value with the same arms and the same seeds."""

    all: tuple[Run, ...]

    @property
    def values(self) -> list[float]:
        """Of what the panel varies, in increasing order."""
        return sorted({run.value for run in self.all})

    @property
    def seeds(self) -> list[int]:
        """The seeds of every setting."""
        return sorted({run.seed for run in self.all})

    def of(self, value: float, arm: str) -> list[Arrays]:
        """What was measured in one setting, seed by seed."""
        own = sorted((run for run in self.all if (run.value, run.arm) == (value, arm)), key=lambda run: run.seed)
        return [run.arrays for run in own]

    def last(self, value: float, arm: str, name: str) -> np.ndarray:
        """The last entry of an array in one setting, (seeds,)."""
        return np.array([float(arrays[name][-1]) for arrays in self.of(value, arm)])

    def accuracy(self, value: float, arm: str) -> np.ndarray:
        """Final test accuracy of one setting, (seeds,)."""
        return self.last(value, arm, "test_top1")

    def gap(self, value: float) -> np.ndarray:
        """Final test accuracy with free norms minus that with fixed ones, (seeds,)."""
        return self.accuracy(value, "free") - self.accuracy(value, "fixed")

    def growth(self, value: float) -> dict[str, np.ndarray]:
        """How often the squared norms of each layer grew with free norms: its median filter, layer -> (seeds,)."""
        rows = [growth(arrays) for arrays in self.of(value, "free")]
        return {layer: np.array([row[layer] for row in rows]) for layer in rows[0]}


def spell(value: float) -> str:
    """Spell a value in six digits, or in as many as tell it from every other.

    >>> spell(0.03), spell(1.0), spell(0.03000000001)
    ('0.03', '1', '0.03000000001')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def growth(arrays: Arrays) -> dict[str, float]:
    """Last squared norm of a run over its first recorded one, the median over a layer's filters."""
    ratio, of_filter = arrays["filter_measured"][-1] / arrays["filter_measured"][0], arrays["filter_layer"]
    return {str(layer): float(np.median(ratio[of_filter == layer])) for layer in np.unique(of_filter)}


def epoch_means(arrays: Arrays) -> np.ndarray:
    """Mean training loss of each epoch; the evaluations stand at the epochs' ends, step 0 first."""
    ends = arrays["test_step"].astype(int)
    return np.array([arrays["train_loss"][a:b].mean() for a, b in pairwise(ends)])
