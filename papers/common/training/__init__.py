"""Training: PyTorch's SGD in optax parts, one pure step, one ``fit`` that drives it, one session that keeps it."""

from papers.common.training.fit import Data, Stream, evaluate, fit, steps_per_epoch
from papers.common.training.optimiser import momentum_buffer, sgd, step_schedule
from papers.common.training.progress import Progress
from papers.common.training.session import Plan, Session
from papers.common.training.step import TrainState, cross_entropy, start, training_step

__all__ = [
    "Data",
    "Plan",
    "Progress",
    "Session",
    "Stream",
    "TrainState",
    "cross_entropy",
    "evaluate",
    "fit",
    "momentum_buffer",
    "sgd",
    "start",
    "step_schedule",
    "steps_per_epoch",
    "training_step",
]
