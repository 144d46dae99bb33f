"""The run of an experiment of this paper: in float64, with compiled programs kept."""

import jax

from papers.common import experiment as common
from papers.common.claims import Claim
from papers.common.compilation import use_compilation_cache
from papers.common.experiment import Experiment
from papers.gradient_flow.networks.config import ExperimentConfig


def into_directory(experiment: Experiment, config: ExperimentConfig, module: str, name: str) -> list[Claim]:
    """Carry an experiment out in float64; see :func:`papers.common.experiment.into_directory`."""
    return common.into_directory(experiment, config, module, name, _in_float64)


def _in_float64(config: ExperimentConfig) -> None:
    use_compilation_cache(config.cache_dir)
    jax.config.update("jax_enable_x64", True)
