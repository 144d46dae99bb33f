"""Teachers, students of two widths at several times of their training, and the counterexample."""

from typing import Any, NamedTuple

import jax
import numpy as np

from papers.common.runs import RunDirectory
from papers.relu_equivariance.invariant_mlps import networks
from papers.relu_equivariance.invariant_mlps.errors import Architecture, missing_dimension
from papers.relu_equivariance.invariant_mlps.training import train

ARCHITECTURES: dict[str, tuple[int, float]] = {
    "one hidden layer": (1, 1),
    "half as many units again": (1, 1.5),
    "two hidden layers": (2, 1),
}
"""Of the students: hidden layers, as many as the teachers have, and widths, in those of the teachers."""

MOMENTS = (0, 1 / 30, 1 / 10, 1 / 3, 1)
"""Parts of the training after which students are measured."""

DRAWS = 10
"""Networks of each of the two laws."""

SIGNALS = 2000
"""By which units are matched and invariance is measured, each with its mirror image."""


class Measured(NamedTuple):
    """All networks.

    Attributes:
      planted: layerwise error of identifiable networks of equivariant layers, disguised (DRAWS,).
      short: dimension missing of networks through twice as many units (DRAWS,).
      counterexample: layerwise error of the same (DRAWS,).
      unchanged: invariance error of the same (DRAWS,).
      steps: at which students were measured (times,).
      misfit: mean squared error of the values, relative (architectures, teachers, students, times).
      missing: dimension missing, of the same shape.
      invariance: invariance error, of the same shape.
      layerwise: layerwise error, of the same shape.
    """

    planted: np.ndarray
    short: np.ndarray
    counterexample: np.ndarray
    unchanged: np.ndarray
    steps: np.ndarray
    misfit: np.ndarray
    missing: np.ndarray
    invariance: np.ndarray
    layerwise: np.ndarray


def measure(config: Any, directory: RunDirectory) -> Measured:
    """Measure the laws, then train and measure all students."""
    random = np.random.default_rng(config.seed)
    x = random.uniform(-networks.BOX, networks.BOX, size=(SIGNALS, networks.INPUTS))
    planted, short, counterexample, unchanged = _laws(config.width, x, random)
    steps = [round(part * config.steps) for part in MOMENTS]
    found = [_students(name, config, steps, x, random, directory) for name in ARCHITECTURES]
    misfit, missing, invariance, layerwise = (np.stack(each) for each in zip(*found, strict=True))
    return Measured(planted, short, counterexample, unchanged, np.array(steps), misfit, missing, invariance, layerwise)


def _laws(width: int, x: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    tied = [_identifiable(width, 1 + n % 2, random) for n in range(DRAWS)]
    flat = [networks.through_twice_as_many(networks.equivariant(width, 1, random), random) for _ in range(DRAWS)]
    layered, through = [Architecture(one, x) for one in tied[:2]], Architecture(flat[0], x)
    planted = [layered[n % 2].layerwise(networks.disguised(one, random)) for n, one in enumerate(tied)]
    measured = [through.errors(one) for one in flat]
    names = ("missing", "layerwise", "invariance")
    return np.array(planted), *(np.array([getattr(each, name) for each in measured]) for name in names)


def _identifiable(width: int, depth: int, random: np.random.Generator) -> networks.Variables:
    """Draw networks of equivariant layers until one has all its dimension."""
    while missing_dimension(teacher := networks.equivariant(width, depth, random)):
        pass
    return teacher


def _students(
    name: str, config: Any, steps: list[int], x: np.ndarray, random: np.random.Generator, directory: RunDirectory
) -> tuple[np.ndarray, ...]:
    """Train and measure the students of an architecture: misfit, missing, invariance, layerwise."""
    depth, factor = ARCHITECTURES[name]
    teachers = [_identifiable(config.width, depth, random) for _ in range(config.teachers)]
    width, count = round(factor * config.width), range(config.students)
    first = [[networks.drawn(width, depth, random) for _ in count] for _ in teachers]
    print(f"{name}: training {config.teachers * config.students} students", flush=True)
    rule = (config.learning_rate, config.batch_size, config.invariance_weight)
    key = jax.random.key(config.seed)
    kept = train(_stacked([_stacked(each) for each in first]), _stacked(teachers), steps, *rule, key)
    architecture = Architecture(first[0][0], x)
    shape = (config.teachers, config.students, len(steps))
    found = np.zeros((4, *shape))
    for time, (students, misfit) in enumerate(kept):
        found[0, :, :, time] = misfit
        for place in np.ndindex(*shape[:2]):
            one = jax.tree.map(lambda leaf, place=place: np.asarray(leaf[place]), students)
            found[(slice(1, None), *place, time)] = architecture.errors(one)
    tell(directory, name, *found[1:, ..., -1])
    return tuple(found)


def _stacked(each: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def tell(
    directory: RunDirectory, name: str, missing: np.ndarray, invariance: np.ndarray, layerwise: np.ndarray
) -> None:
    """Write the students of an architecture down as they end, and say how many are identifiable."""
    whole = missing == 0
    numbers = {"missing": missing.tolist(), "invariance": invariance.tolist(), "layerwise": layerwise.tolist()}
    directory.append({"students": name, **numbers})
    invariant, layered = np.median(invariance), np.median(layerwise)
    print(
        f"  {whole.sum()} of {whole.size} identifiable, median invariance error {invariant:.2g}, "
        f"median layerwise error {layered:.2g}",
        flush=True,
    )
