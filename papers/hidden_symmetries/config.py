"""What every command of this paper is told, and what its process computes with."""

import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomNetworksConfig:
    """Random networks, measured into a directory of their own."""

    seed: int = 0
    """The first network's seed; the others follow it."""

    out: Path | None = None
    """Run directory, new or empty; by default a new one under runs, named after the time. The same words again continue
    a stopped run there."""

    resume: bool = False
    """Continue a stopped run: what it has measured is read, the rest measured; without --out the newest unfinished run
    of the command."""


def one_thread() -> None:
    """Leave linear algebra one thread, before NumPy is imported: with a hundred columns several only wait."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
