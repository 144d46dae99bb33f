"""Recipes for every kind of network: the published one, and one for two CPU cores, fixed before any run."""

import dataclasses
import math
from typing import Any

from papers.relu_equivariance.networks.config import Recipe


@dataclasses.dataclass(frozen=True)
class Preset:
    """A recipe as a command's configuration, with what is known of it beforehand."""

    config: Any
    expected: str
    """What is reported, or what was chosen, and why."""
    hardware: str
    time: str


_PUBLISHED = {
    "data": "cifar10",
    "width": 1.0,
    "learning_rate": 0.08,
    "warm_up_epochs": 5,
    "epochs": 100,
    "batch_size": 500,
    "precision": "bfloat16",
    "seeds": 3,
    "checkpoint_epochs": 10,
}

_TWO_CORES = {
    "data": "cifar10",
    "width": 0.125,
    "initial_gain": math.sqrt(6),
    "learning_rate": 0.04,
    "warm_up_epochs": 5,
    "epochs": 20,
    "batch_size": 100,
    "seeds": 2,
    "checkpoint_epochs": 1,
}


def presets(kind: type[Recipe]) -> dict[str, Preset]:
    """The recipes, by name, as configurations of a command."""

    def start(name: str, changes: dict[str, Any]) -> Recipe:
        return kind(preset=name, **changes)

    return {
        "published": Preset(
            start("published", _PUBLISHED),
            "test accuracy about 0.88 (CNN) to 0.90 (CNN + augmentation, GCNN); measured 0.876 to 0.899",
            "one accelerator",
            "17 s a network with its evaluations on one H200 (jax 0.11.2), 26 s with an invariance loss",
        ),
        "two-cores": Preset(
            start("two-cores", _TWO_CORES),
            "10,000 steps of batch 100; the peak rate is 0.08 sqrt(100 / 500), rounded up: the square root keeps the "
            "noise of an update. First kernels have He's variance, six times PyTorch's: with PyTorch's, a trial of "
            "1,000 steps at width 1/16 and rate 0.08 ended where it began, at a loss of ln 10, the spread of its "
            "logits over images fallen from 7e-5 to 6e-6: decay outran learning",
            "two CPU cores",
            "about 20 minutes a network at width 1/8 on a core of its own",
        ),
    }
