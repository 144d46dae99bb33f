"""The experiment: its measuring, its drawing, its judging."""

from papers.common.experiment import Experiment
from papers.gradient_flow.training import draw, judge, measure

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge)
