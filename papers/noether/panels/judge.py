"""Claims of the paper's panels, one number a seed. The thresholds stand here and were written before any run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from papers.common.claims import Claim, claim_over_seeds
from papers.common.verdicts import Direction
from papers.noether.networks.config import FilterNorm, TrainConfig
from papers.noether.networks.laws import describe_data, describe_vgg, law_claims

LARGEST_GAP_AT_LOW_RATE = 0.015
LEAST_GAP_AT_HIGH_RATE = 0.03
LEAST_GROWTH_OF_GAP_WITH_MOMENTUM = 0.02
LEAST_GAIN_OF_WEIGHT_DECAY = 0.005
LEAST_FALL_OF_LOSS_WITH_WEIGHT_DECAY = 0.02  # nats
LARGEST_CHANGE_OF_FIRST_LOSS = 1e-3
LEAST_RISE_OF_LATER_LOSS = 0.05

Arrays = dict[str, np.ndarray]
Make = Callable[[np.ndarray, float, Direction, str, str], Claim]


class Run(NamedTuple):
    """A finished run: the value of what the panel varies, its arm and seed, its configuration, what it measured."""

    value: float
    arm: FilterNorm
    seed: int
    config: TrainConfig
    arrays: Arrays


def panel_claims(name: str, runs: list[Run], environment: dict[str, Any], command: str) -> list[Claim]:
    """The panel's own claims, and those about the laws: of each seed the largest error over its free runs.

    Args:
      name: a, b, c or d.
      runs: every setting, arm and seed of the panel.
      environment: as :func:`papers.common.environment.environment` gives it.
      command: the command that measures the claims again.
    """
    base = runs[0].config

    def make(values: np.ndarray, threshold: float, direction: Direction, sentence: str, paper: str) -> Claim:
        return claim_over_seeds(
            values.tolist(),
            threshold,
            direction,
            reduced=base.reduced,
            environment=environment,
            claim=sentence,
            paper=paper,
            figure=f"panel {name.upper()}",
            source="direction: Tanaka & Kunin 2021, section 5; threshold: chosen by this project before any run",
            data=describe_data(base),
            model=f"{describe_vgg(base)}, {base.epochs} epochs, batch {base.batch_size}",
            command=command,
        )

    own = {"a": _learning_rate, "b": _momentum, "c": _weight_decay, "d": _initial_norm}[name](runs, make)
    seeds = sorted({run.seed for run in runs})
    free = [[run.arrays for run in runs if run.arm == "free" and run.seed == seed] for seed in seeds]
    return own + law_claims(free, base, environment, command)


def final_accuracy(runs: list[Run], value: float, arm: str) -> np.ndarray:
    """Final test accuracy of one setting, one entry a seed, in the order of the seeds."""
    return _final(runs, value, arm, "test_top1")


def _final(runs: list[Run], value: float, arm: str, name: str) -> np.ndarray:
    own = sorted((run.seed, float(run.arrays[name][-1])) for run in runs if (run.value, run.arm) == (value, arm))
    return np.array([last for _, last in own])


def _gap(runs: list[Run], value: float) -> np.ndarray:
    return final_accuracy(runs, value, "free") - final_accuracy(runs, value, "fixed")


def _values(runs: list[Run]) -> list[float]:
    return sorted({run.value for run in runs})


def _learning_rate(runs: list[Run], make: Make) -> list[Claim]:
    low = _values(runs)[0]
    high = min(_values(runs), key=lambda value: abs(np.log(value / 0.03)))
    alike = f"free and fixed norms end alike at learning rate {low:g} (difference of test accuracy)"
    above = f"free norms end above fixed at learning rate {high:g} (difference of test accuracy)"
    return [
        make(_gap(runs, low), LARGEST_GAP_AT_LOW_RATE, "within", alike, "almost identical at 0.001"),
        make(_gap(runs, high), LEAST_GAP_AT_HIGH_RATE, "above", above, "clearly better at 0.03"),
    ]


def _momentum(runs: list[Run], make: Make) -> list[Claim]:
    low = _values(runs)[0]
    high = 0.9 if 0.9 in _values(runs) else _values(runs)[-1]
    sentence = f"the gap of free over fixed norms grows from momentum {low:g} to {high:g} (test accuracy)"
    growth = _gap(runs, high) - _gap(runs, low)
    return [make(growth, LEAST_GROWTH_OF_GAP_WITH_MOMENTUM, "above", sentence, "a gap appears at high momentum only")]


def _weight_decay(runs: list[Run], make: Make) -> list[Claim]:
    # the best by its mean: the best of each seed would be biased upwards
    best = max((value for value in _values(runs) if value > 0), key=lambda k: final_accuracy(runs, k, "free").mean())
    gain = final_accuracy(runs, best, "free") - final_accuracy(runs, 0.0, "free")
    sentence = f"weight decay {best:g}, the best of those tried, ends above none (test accuracy, free norms)"
    fall = _final(runs, 0.0, "free", "test_loss") - _final(runs, best, "free", "test_loss")
    lower = f"the same decay ends at a smaller test loss than none (nats below it, free norms, decay {best:g})"
    return [
        make(gain, LEAST_GAIN_OF_WEIGHT_DECAY, "above", sentence, "weight decay above 0 is better than 0 in accuracy"),
        make(
            fall, LEAST_FALL_OF_LOSS_WITH_WEIGHT_DECAY, "above", lower, "weight decay above 0 is better than 0 in loss"
        ),
    ]


def _initial_norm(runs: list[Run], make: Make) -> list[Claim]:
    low, high = _values(runs)[0], _values(runs)[-1]

    def loss(value: float, at: int) -> np.ndarray:
        own = sorted((run.seed, at) for run in runs if run.value == value)
        by_seed = {run.seed: run.arrays["train_loss"] for run in runs if run.value == value}
        count = max(1, len(by_seed[own[0][0]]) // 20) if at else 1
        return np.array([(by_seed[s][-count:] if at else by_seed[s][:1]).mean() for s, _ in own])

    first, later = loss(high, 0) / loss(low, 0) - 1, loss(high, -1) / loss(low, -1) - 1
    equal = f"filters x{high / low:g} leave the first batch's loss as it was (relative difference, training mode)"
    slower = f"filters x{high / low:g} end at a larger training loss (relative difference, last twentieth)"
    rate = f"the curves differ: the effective learning rate is divided by {(high / low) ** 2:g}"
    return [
        make(first, LARGEST_CHANGE_OF_FIRST_LOSS, "within", equal, "equal at step 0"),
        make(later, LEAST_RISE_OF_LATER_LOSS, "above", slower, rate),
    ]
