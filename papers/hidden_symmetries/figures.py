"""Draw a figure of the paper: ``python -m papers.hidden_symmetries.figures --figure 6``.

Each figure has its own directory with the picture, the arrays it was drawn from and its claims.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from papers.common.cli import check, check_count, check_seed, main
from papers.hidden_symmetries.config import RandomNetworksConfig, one_thread

PROG = "python -m papers.hidden_symmetries.figures"

PAPERS_NETWORKS = 5000


@dataclasses.dataclass(frozen=True, kw_only=True)
class FiguresConfig(RandomNetworksConfig):
    """Figure 6 of the paper, the functional dimension of random networks, and the mechanisms behind what is missing.

    On one core a network of width 5 takes 0.1 s, of width 10 about 0.5 s and of width 15 about 5 s. Choose --widths and
    --networks by that, such as --networks 5000 500 50, and continue with --resume.
    """

    place: ClassVar[str] = "hidden_symmetries/figures"

    figure: Literal["6", "mechanisms"]
    """6: histograms of the functional dimension; mechanisms: a small network for each way to lose dimensions, which
    reads of the options below only --seed."""

    quick: bool = False
    """Figure 6: at most 60, 10 and 1 networks of width up to 5, 10 and more; its claims are marked as reduced."""

    networks: tuple[int, ...] = (PAPERS_NETWORKS,)
    """Random networks of each architecture: one number for all widths, or one for each of --widths."""

    depths: tuple[int, ...] = (4, 5, 6)
    """Numbers of affine layers."""

    widths: tuple[int, ...] = (5, 10, 15)
    """Numbers of inputs and of units in each hidden layer; there is one output."""

    reuse: tuple[Path, ...] = ()
    """Figure 6: directories of runs with the same seed; networks that they measured are read from there."""

    def validate(self) -> None:
        """Refuse what no figure can be."""
        fits = len(self.networks) in (1, len(self.widths))
        check(fits, "networks", self.networks, "one number, or one for each of --widths")
        for count in self.networks:
            check_count("networks", count, most=10**6)
        check_seed("seed", self.seed, max(self.networks))
        for name, least, most in (("depths", 2, 20), ("widths", 1, 30)):
            values = getattr(self, name)
            good = values and all(least <= value <= most for value in values) and len(set(values)) == len(values)
            check(bool(good), name, values, f"different numbers from {least} to {most}")

    def count(self, width: int) -> int:
        """How many networks of an architecture of this width."""
        networks = self.networks[self.widths.index(width) if len(self.networks) > 1 else 0]
        return min(networks, 60 if width <= 5 else 10 if width <= 10 else 1) if self.quick else networks

    @property
    def name(self) -> str:
        """The figure's own name, that of its picture."""
        return "figure_6" if self.figure == "6" else self.figure

    @property
    def reduced(self) -> bool:
        """Whether a run is smaller than the paper's."""
        return self.fewer(*self.widths)

    def fewer(self, *widths: int) -> bool:
        """Whether there are fewer networks of these widths than in the paper."""
        return min(map(self.count, widths)) < PAPERS_NETWORKS


def entry(config: FiguresConfig) -> None:
    """Draw the figure into a directory of its own."""
    one_thread()
    from papers.common.experiment import into_directory

    if config.figure == "6":
        from papers.hidden_symmetries.figure_6 import EXPERIMENT as experiment
    else:
        from papers.hidden_symmetries.mechanisms import EXPERIMENT as experiment

    into_directory(experiment, config, "papers.hidden_symmetries.figures", config.name)


if __name__ == "__main__":
    main(entry, FiguresConfig, PROG)
