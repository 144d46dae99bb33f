"""Figure 10: ensembles made of one trained network by group elements: ``python -m papers.gradient_flow.ensemble``."""

import dataclasses
from typing import ClassVar

from papers.common.cli import main
from papers.gradient_flow.networks.cifar.config import CifarConfig

PROG = "python -m papers.gradient_flow.ensemble"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleConfig(CifarConfig):
    """Figure 10: five ensembles on CIFAR-10 over the number of members and the strength of the group elements."""

    place: ClassVar[str] = "gradient_flow/ensemble"


def entry(config: EnsembleConfig) -> None:
    """Train or read the networks, evaluate their ensembles, draw."""
    from papers.gradient_flow.figure_10_ensembles import EXPERIMENT
    from papers.gradient_flow.networks.runs import into_directory

    into_directory(EXPERIMENT, config, "papers.gradient_flow.ensemble", "figure_10")


if __name__ == "__main__":
    main(entry, EnsembleConfig, PROG)
