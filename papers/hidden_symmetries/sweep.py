"""What the share of networks without hidden symmetries depends on: ``python -m papers.hidden_symmetries.sweep``.

The number of inputs against the width, number and scale of the points, and the variance of the biases, one at a time.
"""

import dataclasses
from typing import ClassVar

from papers.common.cli import check_count, check_seed, main
from papers.hidden_symmetries.config import RandomNetworksConfig, one_thread

PROG = "python -m papers.hidden_symmetries.sweep"

NETWORKS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepConfig(RandomNetworksConfig):
    """Functional dimension of random networks of depth 4 against inputs, points and biases.

    About three minutes on one core.
    """

    place: ClassVar[str] = "hidden_symmetries/sweep"

    networks: int = NETWORKS
    """Random networks of each setting."""

    def validate(self) -> None:
        """Refuse what cannot be measured."""
        check_count("networks", self.networks, most=10**5)
        check_seed("seed", self.seed, self.networks)

    @property
    def reduced(self) -> bool:
        """Whether a run is smaller than it should be."""
        return self.networks < NETWORKS


def entry(config: SweepConfig) -> None:
    """Measure, draw and judge into a directory of its own."""
    one_thread()
    from papers.common.experiment import into_directory
    from papers.hidden_symmetries.sweeps import EXPERIMENT

    into_directory(EXPERIMENT, config, "papers.hidden_symmetries.sweep", "sweep")


if __name__ == "__main__":
    main(entry, SweepConfig, PROG)
