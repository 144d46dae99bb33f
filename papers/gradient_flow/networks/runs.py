"""The run of an experiment: its directory, its precision, its claims on the terminal."""

import jax

from papers.common.claims import Claim
from papers.common.compilation import use_compilation_cache
from papers.common.environment import command_line
from papers.common.experiment import Experiment, carry_out
from papers.common.runs import RunDirectory
from papers.gradient_flow.networks.config import ExperimentConfig


def into_directory(experiment: Experiment, config: ExperimentConfig, module: str, name: str) -> list[Claim]:
    """Carry an experiment out in float64, in the directory that its configuration names.

    Args:
      experiment: what to do.
      config: what it is told; its ``out`` and ``resume`` say where.
      module: as the user names it, for the recorded command.
      name: of the picture's file.

    Returns:
      The claims.

    Raises:
      UserError: a directory with anything in it, one that cannot be resumed, or data that is not there.
    """
    config = RunDirectory.take_up(config)
    RunDirectory.refuse(config)
    use_compilation_cache(config.cache_dir)
    jax.config.update("jax_enable_x64", True)
    fingerprint = experiment.require(config)  # absent or damaged data leave no directory behind
    command = command_line(module)
    with RunDirectory.open(config, command, fingerprint) as directory:
        if directory.resumed:
            directory.restore_metrics()  # the numbers of the parts that are read are written down again
        return carry_out(experiment, config, directory, name=name, command=command, reduced=config.reduced)
