"""Q varied at a fixed function, which the paper lacks: does Q decide sharpness and rate, or the weights' scale?"""

from papers.common.experiment import Experiment
from papers.gradient_flow.fixed_function import draw, judge, measure

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge)
