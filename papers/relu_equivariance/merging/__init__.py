"""A network and its mirror image, and two networks, merged side by side."""

from papers.common.experiment import Experiment
from papers.relu_equivariance.merging import draw, judge, measure

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge, measure.require)
"""Its measuring, its drawing, its judging."""
