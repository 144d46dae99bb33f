"""Draw a figure of the paper: ``python -m papers.gradient_flow.figures --figure 3``.

Each figure has its own directory with the picture, the arrays it was drawn from and its claims.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from papers.common.cli import check, main
from papers.gradient_flow.networks.config import ExperimentConfig

if TYPE_CHECKING:
    from papers.common.experiment import Experiment

PROG = "python -m papers.gradient_flow.figures"

Figure = Literal["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "fixed-function", "real-network"]


def experiment(figure: Figure) -> "Experiment":
    """Give the experiment of a figure: what is imported for one is not imported for the others."""
    match figure:
        case "1":
            from papers.gradient_flow.figure_1_extended_minimum import EXPERIMENT as found
        case "2":
            from papers.gradient_flow.figure_2_trajectories import EXPERIMENT as found
        case "3":
            from papers.gradient_flow.figure_3_drift import EXPERIMENT as found
        case "4":
            from papers.gradient_flow.figures_4_5_distribution import BY_ACTIVATION as found
        case "5":
            from papers.gradient_flow.figures_4_5_distribution import BY_SHAPE as found
        case "6":
            from papers.gradient_flow.figure_6_convergence import EXPERIMENT as found
        case "7":
            from papers.gradient_flow.figure_7_radial_convergence import EXPERIMENT as found
        case "8":
            from papers.gradient_flow.figure_8_rates import EXPERIMENT as found
        case "9":
            from papers.gradient_flow.figure_9_spectra import EXPERIMENT as found
        case "10":
            from papers.gradient_flow.figure_10_ensembles import EXPERIMENT as found
        case "11":
            from papers.gradient_flow.figure_11_adversarial import EXPERIMENT as found
        case "fixed-function":
            from papers.gradient_flow.fixed_function import EXPERIMENT as found
        case "real-network":
            from papers.gradient_flow.real_network import EXPERIMENT as found
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class FiguresConfig(ExperimentConfig):
    """Figures 1 to 11 of the paper, and two that it lacks: Q varied at a fixed function, and Q in a real network."""

    place: ClassVar[str] = "gradient_flow/figures"

    figure: Figure
    """1, 2, 8: computed pictures of the theory; 3: drift of Q; 4, 5: distribution of Q; 6, 7: convergence against Q; 9:
    Hessian spectra; 10: ensembles; 11: adversarial examples; fixed-function: sharpness and rate against Q at one
    function; real-network: imbalances of ReLU layers trained on real images."""

    def validate(self) -> None:
        """Refuse what no figure can be."""
        super().validate()
        has_data = self.data_dir is None or self.figure in ("10", "11", "real-network")
        check(has_data, "data_dir", self.data_dir, f"left out with --figure {self.figure}, which needs no data")

    @property
    def inside(self) -> str:
        """The folder of the figure in ``out``."""
        return self.name

    @property
    def name(self) -> str:
        """The figure's own name, that of its picture."""
        return f"figure_{self.figure}" if self.figure.isdigit() else self.figure.replace("-", "_")


def entry(config: FiguresConfig) -> None:
    """Draw one figure into a directory of its own."""
    from papers.gradient_flow.networks.runs import into_directory

    into_directory(experiment(config.figure), config, "papers.gradient_flow.figures", config.name)


if __name__ == "__main__":
    main(entry, FiguresConfig, PROG)
