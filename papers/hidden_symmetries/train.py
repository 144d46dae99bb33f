"""Train networks with their functional dimension recorded: ``python -m papers.hidden_symmetries.train``.

Not in the paper: its networks are random. What training does to the dimension is the subject of Bona-Pellissier,
Malgouyres, Bachoc 2024, "Geometry-induced implicit regularization in deep ReLU neural networks" (arXiv 2402.08269).
"""

import dataclasses
import math
from typing import ClassVar, Literal

from papers.common.cli import check, check_count, check_seed, main
from papers.hidden_symmetries.config import RandomNetworksConfig, one_thread

PROG = "python -m papers.hidden_symmetries.train"

NETWORKS, EPOCHS = 3, 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(RandomNetworksConfig):
    """Functional dimension through training, plain and with weight decay, with noisy inputs and noisy labels.

    digits: 784-30-30-30-10, 25,720 parameters, on scikit-learn's digits enlarged to 28 x 28 pixels, about 5 minutes on
    one core; regression: 5-15-15-15-1 on a function of five numbers, about a minute.
    """

    place: ClassVar[str] = "hidden_symmetries/train"

    task: Literal["digits", "regression"] = "digits"
    """What is learnt: classes of real images, or a function of points."""

    networks: int = NETWORKS
    """Networks trained in each of the four ways."""

    epochs: int = EPOCHS
    """Epochs; the dimension is measured at the start, after a twentieth, after a quarter and at the end."""

    learning_rate: float = 0.1
    """Of plain minibatch descent."""

    batch_size: int = 64
    """Points a step."""

    weight_decay: float = 5e-3
    """Of the networks trained with it."""

    input_noise: float = 0.3
    """Standard deviation of what is added to the training inputs in the arm of that name: to the digits' own 8 x 8
    pixels from 0 to 1, so that the images span what they spanned."""

    label_noise: float = 0.3
    """In the arm of that name: share of the training labels that are drawn at random; of regression, the standard
    deviation of what is added to the targets."""

    def validate(self) -> None:
        """Refuse what cannot be trained."""
        check_count("networks", self.networks, most=1000)
        check_count("epochs", self.epochs, most=10_000)
        check_count("batch_size", self.batch_size, most=1000)
        check_seed("seed", self.seed, self.networks)
        check(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "above 0 and finite")
        for name in ("weight_decay", "input_noise"):
            check(0 < getattr(self, name) < math.inf, name, getattr(self, name), "above 0 and finite")
        most = 1.0 if self.task == "digits" else math.inf
        words = "above 0 and at most 1, a share" if self.task == "digits" else "above 0 and finite"
        check(0 < self.label_noise <= most and self.label_noise < math.inf, "label_noise", self.label_noise, words)

    @property
    def reduced(self) -> bool:
        """Whether a run is smaller than it should be."""
        return self.networks < NETWORKS or self.epochs < EPOCHS


def entry(config: TrainConfig) -> None:
    """Train, measure, draw and judge into a directory of its own."""
    one_thread()
    from papers.common.experiment import into_directory
    from papers.hidden_symmetries.training import EXPERIMENT

    into_directory(EXPERIMENT, config, "papers.hidden_symmetries.train", f"training_{config.task}", prepare)


def prepare(config: TrainConfig) -> None:
    """Compute in double precision."""
    import jax

    jax.config.update("jax_enable_x64", True)


if __name__ == "__main__":
    main(entry, TrainConfig, PROG)
