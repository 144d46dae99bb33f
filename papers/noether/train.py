"""Train a network with its charges predicted and measured at every step: ``python -m papers.noether.train``.

Without options it trains a quarter-width VGG11 with BatchNorm on scikit-learn's digits in minutes on two CPU cores. It
writes a run directory with the figures ``norms.png``, ``rates.png``, ``learning.png`` and ``other_families.png``, the
arrays they were drawn from, ``summary.json`` and ``claims.json``.
"""

import dataclasses

from papers.common.cli import main
from papers.common.flags import say_next, spell
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.presets import PRESETS

PROG = "python -m papers.noether.train"


def entry(config: TrainConfig) -> None:
    """Run one configuration, draw its figures, judge its laws."""
    config.preflight()
    from papers.common.compilation import use_compilation_cache

    use_compilation_cache(config.cache_dir)
    from papers.common.environment import command_line
    from papers.noether.networks.run import run
    from papers.noether.norm_dynamics import publish

    print(describe(config), flush=True)
    outcome = run(config, command_line("papers.noether.train"), publish)
    if not outcome.finished:
        raise KeyboardInterrupt
    for name, value in outcome.summary.items():
        if not isinstance(value, dict):  # a layer's numbers stay in summary.json
            print(f"  {name}: {value:.4g}")
    print(f"figures, arrays and claims are in {outcome.directory}")
    say_next(*following(config))


def describe(config: TrainConfig) -> str:
    """Say in a line what will run."""
    norm = "VGG11 with BatchNorm" if config.batch_norm else "VGG11 without BatchNorm"
    norm = norm if config.model == "vgg11" else config.model
    rule = "" if config.optimiser == "sgd" else f"{config.optimiser}, "
    return (
        f"{norm}, width {config.width:g}, on {config.data}: {config.epochs} epochs, batch {config.batch_size}, "
        f"{rule}learning rate {config.learning_rate:g}, momentum {config.momentum:g}, weight decay "
        f"{config.weight_decay:g}, filter norms {config.filter_norm}, seed {config.seed}"
    )


def following(config: TrainConfig) -> tuple[str, str]:
    """Say what to do after a run, as a purpose and a command that keeps the run's own options."""

    def changed(**changes: object) -> str:
        fresh = {"out": TrainConfig.out, "resume": False, **changes}
        start = PRESETS[config.preset].config if config.preset in PRESETS else None
        return spell(PROG, dataclasses.replace(config, **fresh), start)

    if config.optimiser != "sgd":
        return "the same with the rule whose laws are exact", changed(optimiser="sgd")
    if config.model != "vgg11":
        return "the same with the paper's network", changed(model="vgg11")
    if config.filter_norm == "fixed":
        return "the other arm, and compare the accuracies", changed(filter_norm="free")
    if config.batch_norm:
        return "look at norms.png there, then run the other arm", changed(filter_norm="fixed")
    return "the same with BatchNorm, whose filters have a charge each", changed(batch_norm=True)


if __name__ == "__main__":
    main(entry, TrainConfig, PROG, presets=PRESETS)
