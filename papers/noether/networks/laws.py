"""Judging what the laws predict of the charges, of training runs and of sweeps."""

from collections.abc import Callable
from typing import Any

import numpy as np

from papers.common.claims import Claim, judge
from papers.common.claims import Setting as Measured
from papers.noether.claims import BALANCES, EQUATION_17, LAWS
from papers.noether.networks.config import Setting, TrainConfig
from papers.noether.networks.summary import layers

Arrays = dict[str, np.ndarray]


def law_claims(
    seeds: list[list[Arrays]], config: TrainConfig, environment: dict[str, Any], command: str
) -> list[Claim]:
    """Judge the predictions of the charges; a family or law that the runs have not gives no claim.

    Args:
      seeds: for each seed its runs' arrays; a seed's number is the largest error over its runs.
      config: what the runs share.
      environment: as :func:`papers.common.environment.environment` gives it.
      command: the command that measures the claims again.
    """
    setting = Measured(describe_data(config), describe_vgg(config), command, environment, config.reduced)
    first = seeds[0][0]

    def largest(error: Callable[[Arrays], float]) -> list[float]:
        return [max(error(arrays) for arrays in runs) for runs in seeds]

    def worst(statement: Any, name: str, **filled: object) -> Claim:
        errors = largest(lambda arrays: float(arrays[name][-1].max()))
        count = sum(arrays[name].shape[1] * len(arrays["train_loss"]) for runs in seeds for arrays in runs)
        return judge(statement, errors, setting, count=count, **filled)

    claims = [worst(law, f"{family}_worst") for family, law in LAWS.items() if f"{family}_worst" in first]
    claims += [
        worst(balance, f"{family}_unbalanced", optimiser=config.optimiser)
        for family, balance in BALANCES.items()
        if f"{family}_unbalanced" in first
    ]
    if "filter_eq17_own_square" in first and config.filter_norm == "free":
        own = largest(lambda arrays: max(abs(one["eq17_own_square"] - 1) for one in layers(arrays).values()))
        claims.append(judge(EQUATION_17, own, setting))
    return claims


def describe_data(config: Setting) -> str:
    """Data set, classes and limits in words."""
    classes = f", first {config.classes} classes" if config.classes else ""
    limit = f", at most {config.limit} images of each split" if config.limit else ""
    return f"{config.data}{classes}{limit}"


def describe_vgg(config: Setting) -> str:
    """VGG11, with BatchNorm or without, or another model, its width and its optimiser in words."""
    other = "" if config.optimiser == "sgd" else f", {config.optimiser}"
    if isinstance(config, TrainConfig) and config.model != "vgg11":
        return f"{config.model} width {config.width:g}{other}"
    return f"VGG11{'-BN' if config.batch_norm else ''} width {config.width:g}{other}"
