"""What every experiment of the paper is told: length, seeds, where the first parameters come from, where data lies."""

import dataclasses
from pathlib import Path
from typing import Literal

from papers.common.cli import check_count, check_seed

Initialisation = Literal["authors", "independent"]

MOST_RUNS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """What the commands of the figures have in common."""

    quick: bool = False
    """A run shortened to at most a minute; its claims are marked as reduced."""

    seeds: int = 3
    """Independent initial parameters; findings need at least 3."""

    seed: int = 0
    """The first seed; the others follow it."""

    initialisation: Initialisation = "authors"
    """authors: seed 0 starts from the authors' own draws (figures 3, 6, 7 and 9), every other seed from its own key;
    independent: all start from their own keys."""

    data_dir: Path | None = None
    """Folder with the published archive or its unpacked folder."""

    cache_dir: Path | None = None
    """Folder of the prepared data and compiled programs."""

    out: Path | None = None
    """Run directory, new or empty; by default a new one under runs, named after the time. The same words again continue
    a stopped run there."""

    resume: bool = False
    """Continue a stopped run: what it has measured is read, the rest measured; without --out the newest unfinished run
    of the command."""

    def validate(self) -> None:
        """Refuse what no experiment can be."""
        check_count("seeds", self.seeds, most=MOST_RUNS)
        check_seed("seed", self.seed, self.seeds)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(range(self.seed, self.seed + self.seeds))

    @property
    def reduced(self) -> bool:
        """Whether a run is smaller than the paper's."""
        return self.quick
