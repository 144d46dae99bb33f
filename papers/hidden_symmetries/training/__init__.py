"""Functional dimension through training: on training, test and random inputs, with decay and with noise."""

from papers.common.experiment import Experiment
from papers.hidden_symmetries.training import draw, judge, measure, tasks

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge, tasks.fingerprint)
