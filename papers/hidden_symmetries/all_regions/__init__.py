"""Exact dimensions from all activation regions, beside sampled ones; which mechanism takes what is missing."""

from papers.common.experiment import Experiment
from papers.hidden_symmetries.all_regions import draw, judge, measure

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge)
