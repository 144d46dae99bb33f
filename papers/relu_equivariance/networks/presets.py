"""Recipes of ``papers.relu_equivariance.train``: the published one, and one for two CPU cores, fixed before any run."""

import dataclasses

from papers.relu_equivariance.networks.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Preset:
    """A recipe, with what is known of it beforehand."""

    config: TrainConfig
    expected: str
    """What the paper reports, or what was chosen, and why."""
    command: str
    hardware: str
    time: str


PRESETS = {
    "published": Preset(
        TrainConfig(
            preset="published",
            data="cifar10",
            width=1.0,
            learning_rate=0.08,
            epochs=100,
            batch_size=500,
            precision="bfloat16",
            seeds=3,
            checkpoint_epochs=10,
        ),
        "about 0.88 (CNN) to 0.90 (CNN + augmentation, GCNN) test accuracy",
        "python -m papers.relu_equivariance.train --preset published --kind cnn_aug --data-dir DIR",
        "one accelerator",
        "unmeasured; 4.6 PFLOP a network",
    ),
    "two-cores": Preset(
        TrainConfig(
            preset="two-cores",
            data="cifar10",
            width=0.125,
            learning_rate=0.04,
            epochs=20,
            batch_size=100,
            seeds=2,
            checkpoint_epochs=1,
        ),
        "10,000 steps of batch 100; the peak rate is 0.08 sqrt(100 / 500), rounded up: the square root keeps the noise "
        "of an update, and the linear rule's 0.016 would leave the first plateau of a network without normalisation "
        "late in so few steps",
        "python -m papers.relu_equivariance.train --preset two-cores --kind cnn_aug --data-dir DIR",
        "two CPU cores",
        "15 to 30 minutes a network at width 1/8",
    ),
}
