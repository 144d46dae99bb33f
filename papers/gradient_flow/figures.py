"""Draw a figure of the paper: ``python -m papers.gradient_flow.figures --figure 3``.

Each figure has its own directory with the pictures, the arrays they were drawn from and its claims.
"""

import importlib

from papers.common.cli import main
from papers.common.flags import say_next
from papers.gradient_flow.networks.setting import FiguresConfig

PROG = "python -m papers.gradient_flow.figures"

DRAWN_BY = {
    "1": "pictures_draw.draw_1",
    "2": "pictures_draw.draw_2",
    "3": "figure_3_drift.draw",
    "4": "figures_4_5_distribution.draw_4",
    "5": "figures_4_5_distribution.draw_5",
    "6": "figure_6_convergence.draw_6",
    "7": "figure_6_convergence.draw_7",
    "8": "pictures_draw.draw_8",
    "9": "figure_9_spectra.draw",
    "10": "ensemble.draw",
    "11": "adversarial.draw",
    "fixed-function": "fixed_function.draw.draw",
    "real-network": "real_network.draw",
}
"""Figure -> module and function ``draw(directory, config, command) -> list[Claim]``."""


def entry(config: FiguresConfig) -> None:
    """Draw one figure into a directory of its own."""
    from papers.common.compilation import use_compilation_cache
    from papers.common.runs import RunDirectory

    config = RunDirectory.take_up(config)
    RunDirectory.refuse(config)
    use_compilation_cache(config.cache_dir)
    import jax

    from papers.common import data
    from papers.common.claims import format_claims
    from papers.common.environment import command_line

    jax.config.update("jax_enable_x64", True)
    module, function = DRAWN_BY[config.figure].rpartition(".")[::2]
    draw = getattr(importlib.import_module(f"papers.gradient_flow.{module}"), function)
    if config.figure in ("10", "11"):  # absent or damaged data leave no directory behind
        data.load_once("cifar10", data_dir=config.data_dir, cache_dir=config.cache_dir)
    command = command_line("papers.gradient_flow.figures")
    with RunDirectory.open(config, command) as directory:
        claims = draw(directory, config, command)
        directory.write_claims(claims)
        directory.finish()
        print(format_claims(claims))
        print(f"the figure, its arrays and its claims are in {directory.path}")
        say_next("read it as a page", f"python -m papers.report {directory.path}")


if __name__ == "__main__":
    main(entry, FiguresConfig, PROG)
