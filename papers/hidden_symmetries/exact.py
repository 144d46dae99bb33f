"""Exact functional dimensions, beside the paper's sampled ones: ``python -m papers.hidden_symmetries.exact``.

Not in the paper: it samples regions by random points. Here all of them are listed, so that the dimension is exact, and
what is missing from the bound is put down to mechanisms.
"""

import dataclasses
from typing import ClassVar

from papers.common.cli import check, check_count, check_seed, main
from papers.hidden_symmetries.config import RandomNetworksConfig, one_thread

PROG = "python -m papers.hidden_symmetries.exact"

NETWORKS = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactConfig(RandomNetworksConfig):
    """Exact functional dimensions of random networks, and the mechanisms that take what is missing.

    A network of width 5 and depth 4, 5 or 6 takes about 0.2, 0.4 and 0.7 s on one core. With --inputs 2 the first
    network's bent hyperplanes are drawn; with --networks 1 what it lacks is put down to its units.
    """

    place: ClassVar[str] = "hidden_symmetries/exact"

    width: int = 5
    """Number of units in each hidden layer; there is one output."""

    inputs: int | None = None
    """Number of inputs; the width by default, as in Figure 6."""

    depth: int = 4
    """Number of affine layers."""

    networks: int = NETWORKS
    """Random networks; the first of those of Figure 6 with the same seed."""

    def validate(self) -> None:
        """Refuse what cannot be listed."""
        check_count("networks", self.networks, most=10**5)
        check_seed("seed", self.seed, self.networks)
        inputs = self.width if self.inputs is None else self.inputs
        most = 6 if inputs > 2 else 20
        check(1 <= self.width <= most, "width", self.width, f"1 to {most}: wider networks have too many regions")
        check(1 <= inputs <= 6, "inputs", inputs, "1 to 6: more make too many regions")
        check(2 <= self.depth <= 8, "depth", self.depth, "2 to 8")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of the network."""
        return (self.inputs or self.width, *(self.width,) * (self.depth - 1), 1)

    @property
    def reduced(self) -> bool:
        """Whether a run is smaller than it should be."""
        return self.networks < NETWORKS


def entry(config: ExactConfig) -> None:
    """Measure, draw and judge into a directory of its own."""
    one_thread()
    from papers.common.experiment import into_directory
    from papers.hidden_symmetries.all_regions import EXPERIMENT

    into_directory(EXPERIMENT, config, "papers.hidden_symmetries.exact", "all_regions")


if __name__ == "__main__":
    main(entry, ExactConfig, PROG)
