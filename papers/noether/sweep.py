"""Sweep initial scale, learning rate, momentum, decay, norm rule and seed: ``python -m papers.noether.sweep``.

Every combination of the given values is a member; all members run through one compiled program. It writes ``sweep.npz``
(coordinates, curves, final test results, largest errors of the exact laws, squared norms), the figure ``sweep.png`` and
``claims.json`` about the laws. A member that diverges is marked; where all do, the exit code is 3.
Without options it trains 12 members of an eighth-width VGG11 on scikit-learn's digits in minutes on two CPU cores.
"""

from typing import TYPE_CHECKING

from papers.common.cli import main
from papers.common.flags import say_next
from papers.noether.sweeps.config import AXES, SweepConfig

if TYPE_CHECKING:
    import numpy as np

PROG = "python -m papers.noether.sweep"


def entry(config: SweepConfig) -> None:
    """Run one sweep and draw its figure."""
    config.preflight()
    from papers.common.compilation import use_compilation_cache

    use_compilation_cache(config.cache_dir)
    from papers.common.claims import format_claims
    from papers.common.environment import command_line
    from papers.common.errors import Divergence
    from papers.common.runs import RunDirectory
    from papers.noether.sweeps.draw import sweep_figure, table
    from papers.noether.sweeps.judge import sweep_claims
    from papers.noether.sweeps.measure import run

    command = command_line("papers.noether.sweep")

    def finish(directory: RunDirectory, arrays: "dict[str, np.ndarray]") -> None:
        sweep_figure(directory, arrays)
        for line in table(arrays):
            print(line)
        if claims := sweep_claims(arrays, config, directory.environment, command):
            directory.write_claims(claims)
            print(format_claims(claims))

    print(describe(config), flush=True)
    outcome = run(config, command, finish)
    if not outcome.finished:
        raise KeyboardInterrupt
    print(f"figure, arrays and claims are in {outcome.directory}")
    say_next("read it as a page", f"python -m papers.report {outcome.directory}")
    if outcome.arrays["diverged"].all():
        raise Divergence("every member's loss left the finite numbers: try smaller --learning-rates")


def describe(config: SweepConfig) -> str:
    """Say in a few lines what will run."""
    if config.model == "mlp":
        network = f"MLP with hidden layers {' '.join(map(str, config.hidden)) or 'none'}"
    else:
        network = f"VGG11 {'with' if config.batch_norm else 'without'} BatchNorm, width {config.width:g}"
    axes = {name: getattr(config, axis) for name, axis in AXES.items()} | {"filter_norm": config.norm_rules}
    shown = "; ".join(f"{name.replace('_', ' ')} {' '.join(map(str, values))}" for name, values in axes.items())
    return f"{network} on {config.data}: {config.epochs} epochs, batch {config.batch_size}\n{shown}"


if __name__ == "__main__":
    main(entry, SweepConfig, PROG)
