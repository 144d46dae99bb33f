"""The paper's panels at its own size, as presets of ``papers.noether.train``."""

import dataclasses

from papers.noether.networks.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Preset:
    """A panel of the paper as a configuration, with what is known of it beforehand."""

    config: TrainConfig
    figure: str
    expected: str
    """What the paper reports; the thresholds are this project's choice."""
    command: str
    fixed_arm: str
    panel: str
    """What runs a whole panel: both arms, three seeds and the claims, which one run cannot decide."""
    hardware: str
    memory: str
    time: str


_PAPER = TrainConfig(
    data="tiny_imagenet",
    width=1.0,
    batch_size=128,
    epochs=100,
    precision="bfloat16",
    record_every=50,
    checkpoint_epochs=10,
    initial_scale=1.0,
    learning_rate=0.03,
    weight_decay=1e-4,
    drops=(),
)
_DROPS = (30.0, 60.0, 80.0)
_SHARED = {
    "fixed_arm": "the command with --filter-norm fixed --out runs/NAME-fixed (panels A, B and C)",
    "panel": "python -m papers.noether.figures --panel a --data tiny_imagenet --data-dir DIR --width 1 --epochs 100 "
    "--precision bfloat16 --out runs/figures (a, b, c or d)",
    "hardware": "one accelerator, or a CPU with patience",
    # python tests/benchmarks/bench_memory.py, jax 0.10.1 on a CPU
    "memory": "2.2 GB on the device: 1.35 GB of resident uint8 images, 0.10 GB of state, 0.78 GB of temporaries "
    "(counted by XLA as it compiles the step for a CPU; unmeasured on an accelerator)",
    "time": "4 minutes of steps, all charges on, for 100 epochs on one H200 (42,900 images/s at batch 128, of random "
    "images, jax 0.11.2); about 40 minutes an epoch on two CPU cores",
}


def _preset(name: str, figure: str, expected: str, **changes: object) -> Preset:
    config = dataclasses.replace(_PAPER, preset=name, **changes)
    command = f"python -m papers.noether.train --preset {name} --data-dir DIR"
    return Preset(config, figure, expected, command, **_SHARED)


PRESETS = {
    preset.config.preset: preset
    for preset in (
        _preset(
            "panel-a-low",
            "panel A, learning rate 0.001",
            "free and fixed norms end within 1.5 points",
            learning_rate=0.001,
        ),
        _preset(
            "panel-a-high",
            "panel A, learning rate 0.03",
            "free norms end more than 3 points above fixed",
            learning_rate=0.03,
        ),
        _preset(
            "panel-b-zero", "panel B, momentum 0", "a small gap between free and fixed", momentum=0.0, drops=_DROPS
        ),
        _preset("panel-b-high", "panel B, momentum 0.9", "the gap is 2 points larger than at momentum 0", drops=_DROPS),
        _preset("panel-c-zero", "panel C, weight decay 0", "ends below the best decay", weight_decay=0.0, drops=_DROPS),
        _preset(
            "panel-c-decay",
            "panel C, weight decay 5e-4",
            "ends 0.5 points above no decay",
            weight_decay=5e-4,
            drops=_DROPS,
        ),
        _preset("panel-d-one", "panel D, filters x1", "the loss curve of the standard initial norm", epochs=20),
        _preset(
            "panel-d-ten",
            "panel D, filters x10",
            "the same loss at step 0, then slower: the effective learning rate is a hundredth",
            initial_scale=10.0,
            epochs=20,
        ),
    )
}
