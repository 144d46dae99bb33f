"""One training with every neuron's conserved quantity measured at every step, and what the exact laws say of it."""

from papers.common.experiment import Experiment
from papers.gradient_flow.training import draw, judge, measure

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge)
