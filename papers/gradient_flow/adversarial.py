"""Figure 11: ensembles under adversarial attack: ``python -m papers.gradient_flow.adversarial``."""

import dataclasses
from typing import ClassVar

from papers.common.cli import main
from papers.gradient_flow.networks.cifar.config import CifarConfig

PROG = "python -m papers.gradient_flow.adversarial"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialConfig(CifarConfig):
    """Figure 11: FGSM and PGD on a network trained on CIFAR-10 and on its ensembles."""

    place: ClassVar[str] = "gradient_flow/adversarial"


def entry(config: AdversarialConfig) -> None:
    """Train or read the networks, attack, draw."""
    from papers.gradient_flow.figure_11_adversarial import EXPERIMENT
    from papers.gradient_flow.networks.runs import into_directory

    into_directory(EXPERIMENT, config, "papers.gradient_flow.adversarial", "figure_11")


if __name__ == "__main__":
    main(entry, AdversarialConfig, PROG)
