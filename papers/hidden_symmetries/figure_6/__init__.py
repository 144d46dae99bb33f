"""Figure 6: the functional dimension of random ReLU networks over depth and width."""

from papers.common.experiment import Experiment
from papers.hidden_symmetries.figure_6 import draw, judge, measure

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge, measure.reusable)
