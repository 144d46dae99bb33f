"""Identifiable invariant networks are equivariant layer by layer: ``python -m papers.relu_equivariance.identifiable``.

A later theorem (Shahverdi, Marchetti, Bökman, Kohn 2026, arXiv 2601.21645) answers the paper's question for networks
whose function determines their parameters, up to order and scale of the units. Here small networks are trained to be
invariant, and two measurements meet that no other place has together: their exact functional dimension, which says
whether they are identifiable, and how far their layers are from equivariant. Minutes on one CPU core, without data.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from papers.common.cli import check, check_count, check_seed, main

PROG = "python -m papers.relu_equivariance.identifiable"

TEACHERS, STEPS = 6, 12_000


@dataclasses.dataclass(frozen=True)
class IdentifiableConfig:
    """Functional dimension against layerwise equivariance of networks trained to be invariant."""

    place: ClassVar[str] = "relu_equivariance/identifiable"

    teachers: int = TEACHERS
    """Invariant networks, identifiable and equivariant layer by layer, whose values are learnt."""

    students: int = 4
    """Networks that learn each teacher's values, from other first parameters, of each architecture."""

    width: int = 4
    """Units in each of a teacher's one or two hidden layers; students have as many, or half as many again. Even."""

    steps: int = STEPS
    """Steps of Adam."""

    learning_rate: float = 0.01
    """First step size; it falls linearly to 0."""

    batch_size: int = 128
    """Signals a step, each with its mirror image."""

    invariance_weight: float = 10.0
    """Weight of the mean squared difference between the values of a signal and of its mirror image."""

    seed: int = 0
    """Of teachers, students and signals."""

    out: Path | None = None
    """Run directory, new or empty; by default a new one."""

    resume: bool = False
    """Continue the run in the directory; without --out the newest unfinished run."""

    @property
    def reduced(self) -> bool:
        """Whether a run is smaller than it should be."""
        return self.teachers < TEACHERS or self.steps < STEPS

    def validate(self) -> None:
        """Refuse what no experiment can be."""
        check_count("teachers", self.teachers, most=100)
        check_count("students", self.students, most=100)
        even = 2 <= self.width <= 6 and self.width % 2 == 0
        check(even, "width", self.width, "even, so that units have partners, and 2 to 6: wider ones have many regions")
        check_count("steps", self.steps, 30, 10**6)
        check(0 < self.learning_rate <= 1, "learning_rate", self.learning_rate, "above 0 and at most 1")
        check_count("batch_size", self.batch_size, most=10**5)
        check(0 <= self.invariance_weight < 1e6, "invariance_weight", self.invariance_weight, "at least 0, below 1e6")
        check_seed("seed", self.seed)


def prepare(config: IdentifiableConfig) -> None:
    """Compute in double precision."""
    import jax

    jax.config.update("jax_enable_x64", True)


def entry(config: IdentifiableConfig) -> None:
    """Train, measure, draw and judge."""
    from papers.common.experiment import into_directory
    from papers.relu_equivariance.invariant_mlps import EXPERIMENT

    into_directory(EXPERIMENT, config, "papers.relu_equivariance.identifiable", "identifiable", prepare)


if __name__ == "__main__":
    main(entry, IdentifiableConfig, PROG)
