"""What a figure's run is: which figure, how many seeds, from which initial parameters, at which length."""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from papers.common.cli import check, check_count, check_seed

Figure = Literal["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "fixed-function", "real-network"]
Initialisation = Literal["authors", "independent"]

MOST_RUNS = 1000

WITH_DATA = ("10", "11", "real-network")


@dataclasses.dataclass(frozen=True)
class FiguresConfig:
    """Figures 1 to 11 of the paper, and two that it lacks: Q varied at a fixed function, and Q in a real network."""

    place: ClassVar[str] = "gradient_flow/figures"

    figure: Figure
    """1, 2, 8: computed pictures of the theory; 3: drift of Q; 4, 5: distribution of Q; 6, 7: convergence against Q; 9:
    Hessian spectra; 10: ensembles; 11: adversarial examples; fixed-function: sharpness and rate against Q at one
    function; real-network: imbalances of ReLU layers trained on real images."""

    quick: bool = False
    """A run shortened to at most a minute; its claims are marked as reduced."""

    seeds: int = 3
    """Independent initial parameters; claims need at least 3."""

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
    """Folder in which the figure gets its own directory; by default a new one under runs/gradient_flow/figures, named
    after the time."""

    resume: bool = False
    """Continue a stopped figure: what it has measured is read, the rest measured; without --out the newest unfinished
    run of the figure."""

    def validate(self) -> None:
        """Refuse what no figure can be."""
        check_count("seeds", self.seeds, most=MOST_RUNS)
        check_seed("seed", self.seed, self.seeds)
        has_data = self.data_dir is None or self.figure in WITH_DATA
        check(has_data, "data_dir", self.data_dir, f"left out with --figure {self.figure}, which needs no data")

    @property
    def inside(self) -> str:
        """The folder of the figure in ``out``."""
        return self.name

    @property
    def name(self) -> str:
        """The figure's directory."""
        return f"figure_{self.figure}" if self.figure.isdigit() else self.figure.replace("-", "_")

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(range(self.seed, self.seed + self.seeds))
