"""Claims about the predictions of the charges, of runs and of a sweep. The thresholds stand here."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from papers.common.claims import Claim, claim_over_seeds
from papers.noether.networks.config import Setting, TrainConfig
from papers.noether.networks.summary import layers
from papers.noether.sweeps.config import SweepConfig

LARGEST_LAW_ERROR = 1e-4
LARGEST_OWN_SQUARE_ERROR = 0.1

# family -> its law, and what its error is relative to
FAMILIES = {
    "filter": ("scale", "the filter's squared norm"),
    "unit": ("rescale", "the unit's first squared norm"),
    "classifier": ("translation", "the largest first sum"),
}


def law_claims(
    seeds: list[list[dict[str, np.ndarray]]], config: TrainConfig, environment: dict[str, Any], command: str
) -> list[Claim]:
    """Claims about the predictions of the charges; thresholds stand at the top of this file.

    Args:
      seeds: for each seed its runs' arrays; a seed's number is the largest error over its runs.
      config: what the runs share.
      environment: as :func:`papers.common.environment.environment` gives it.
      command: the command that measures the claims again.
    """
    make = _below(config.reduced, environment, describe_data(config), describe_vgg(config), command)

    def largest(error: Callable[[dict[str, np.ndarray]], float]) -> list[float]:
        return [max(error(arrays) for arrays in runs) for runs in seeds]

    errors = {
        family: largest(lambda arrays, name=f"{family}_worst": float(arrays[name][-1].max()))
        for family in FAMILIES
        if f"{family}_worst" in seeds[0][0]
    }
    found = _exact(errors, make)
    if "filter_measured" in seeds[0][0] and config.filter_norm == "free":
        own = largest(lambda arrays: max(abs(one["eq17_own_square"] - 1) for one in layers(arrays).values()))
        sentence = "Eq. 17 with the update's own square predicts the layers' norms: final relative error"
        found.append(make(own, LARGEST_OWN_SQUARE_ERROR, claim=sentence, source="Tanaka & Kunin 2021, Eq. 17"))
    return found


def sweep_claims(
    arrays: dict[str, np.ndarray], config: SweepConfig, environment: dict[str, Any], command: str
) -> list[Claim]:
    """The exact laws' claims over all members that did not diverge; a seed's number is its largest error.

    A sweep is reduced whatever its size: it judges the laws, not the paper's panels.
    """
    alive = ~arrays["diverged"]
    seeds = [seed for seed in config.seeds if (alive & (arrays["seed"] == seed)).any()]
    errors = {
        family: [float(arrays[name][alive & (arrays["seed"] == seed)].max()) for seed in seeds]
        for family in FAMILIES
        if seeds and (name := f"largest_{family}_error") in arrays
    }
    network = "MLP" if config.model == "mlp" else describe_vgg(config)
    return _exact(errors, _below(True, environment, describe_data(config), network, command))


def describe_data(config: Setting) -> str:
    """Data set, classes and limits in words."""
    classes = f", first {config.classes} classes" if config.classes else ""
    limit = f", at most {config.limit} images of each split" if config.limit else ""
    return f"{config.data}{classes}{limit}"


def describe_vgg(config: Setting) -> str:
    """VGG11, with BatchNorm or without, and its width in words."""
    return f"VGG11{'-BN' if config.batch_norm else ''} width {config.width:g}"


def _below(reduced: bool, environment: dict[str, Any], data: str, model: str, command: str) -> Callable[..., Claim]:
    """Give ``make(errors, threshold, claim=, source=)``: an error of one number a seed lies below a threshold."""
    return partial(
        claim_over_seeds,
        direction="below",
        reduced=reduced,
        environment=environment,
        figure="norm dynamics",
        paper="norms follow from the symmetry that the learning rule breaks",
        data=data,
        model=model,
        command=command,
    )


def _exact(errors: Mapping[str, list[float]], make: Callable[..., Claim]) -> list[Claim]:
    """The exact discrete laws' claims: ``errors`` has a number a seed for each of :data:`FAMILIES` that is there."""
    found = []
    for family, (law, scale) in FAMILIES.items():
        if family in errors:
            sentence = f"the exact discrete {law} law predicts every {family} at every step: largest error over {scale}"
            source = "derived from the update: symjax.mechanics.discrete"
            found.append(make(errors[family], LARGEST_LAW_ERROR, claim=sentence, source=source))
    return found
