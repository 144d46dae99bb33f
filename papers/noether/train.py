"""Train VGG11 with its charges predicted and measured at every step: ``python -m papers.noether.train``.

Without options it trains a quarter-width VGG11 with BatchNorm on scikit-learn's digits in minutes on two CPU cores. It
writes a run directory with the figures ``learning.png``, ``norms.png``, ``residuals.png`` and ``classifier.png``, the
arrays they were drawn from, ``summary.json`` and ``claims.json``.
"""

from papers.common.cli import main
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.presets import PRESETS

PROG = "python -m papers.noether.train"


def entry(config: TrainConfig) -> None:
    """Run one configuration and draw its figures."""
    config.preflight()
    from papers.common.compilation import use_compilation_cache

    use_compilation_cache(config.cache_dir)
    from papers.common.environment import command_line
    from papers.noether.networks.run import run
    from papers.noether.norm_dynamics import draw

    print(describe(config), flush=True)
    outcome = run(config, command_line("papers.noether.train"), draw.run_figures)
    if not outcome.finished:
        raise KeyboardInterrupt
    for name, value in outcome.summary.items():
        if not isinstance(value, dict):  # a layer's numbers stay in summary.json
            print(f"  {name}: {value:.4g}")
    print(f"figures, arrays and claims are in {outcome.directory}")
    print(
        f"the paper's setting: {PROG} --preset panel-a-high --data-dir DIR (one accelerator; --help lists the presets)"
    )


def describe(config: TrainConfig) -> str:
    """Say in two lines what will run."""
    norm = "with BatchNorm" if config.batch_norm else "without BatchNorm"
    return (
        f"VGG11 {norm}, width {config.width:g}, on {config.data}: {config.epochs} epochs, batch {config.batch_size}, "
        f"learning rate {config.learning_rate:g}, momentum {config.momentum:g}, weight decay {config.weight_decay:g}, "
        f"filter norms {config.filter_norm}, seed {config.seed}\nrun directory {config.out}"
    )


if __name__ == "__main__":
    main(entry, TrainConfig, PROG, presets=PRESETS)
