"""Train with the conserved quantities measured at every step: ``python -m papers.gradient_flow.train``.

Without options it trains the linear two-layer network of Figure 3 in seconds; ``--network vgg11`` trains VGG11 without
BatchNorm on scikit-learn's digits, ``--network cifar`` the network of Figures 10 and 11 with their Adam. The run
directory holds ``training.png`` (the loss, and the drift of Q layer by layer, beside its prediction where there is
one), the arrays it was drawn from, ``history.npz`` with every neuron's Q at every record, ``metrics.jsonl`` and
``claims.json``.
"""

from papers.common.cli import main
from papers.gradient_flow.training.config import TrainConfig

PROG = "python -m papers.gradient_flow.train"


def entry(config: TrainConfig) -> None:
    """Run one configuration, draw its figure and judge its claims."""
    config = config.resolved()
    config.preflight()
    from papers.common.compilation import use_compilation_cache

    use_compilation_cache(config.cache_dir)
    import jax

    from papers.common.environment import command_line
    from papers.common.experiment import carry_out
    from papers.common.runs import RunDirectory
    from papers.gradient_flow.training.experiment import EXPERIMENT

    if config.network == "two_layer" or config.precision == "float64":
        jax.config.update("jax_enable_x64", True)
    command = command_line("papers.gradient_flow.train")
    with RunDirectory.open(config, command, config.fingerprint()) as directory:
        carry_out(EXPERIMENT, config, directory, name="training", command=command, reduced=True)
        print("(one seed decides no finding: these need three)")


if __name__ == "__main__":
    main(entry, TrainConfig, PROG)
