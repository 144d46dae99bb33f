"""Accuracy, invariance error and barrier of the seven kinds of network."""

from papers.common.experiment import Experiment
from papers.relu_equivariance.table_1 import draw, judge, measure

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge, measure.require)
"""Its measuring, its drawing, its judging."""
