"""Figure 10: ensembles made of one trained network by group elements.

Each member moves the hidden layer of the network by its own group element and the upper map that keeps the function on
its own batch; G members vote. On the orbit of a symmetry all members are as good as the network.

Source: Zhao et al. 2023, Figure 10 (the authors' notebook).
"""

from papers.common.experiment import Experiment
from papers.gradient_flow.figure_10_ensembles import draw, judge, measure
from papers.gradient_flow.networks.cifar.trained import fingerprint

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge, require=fingerprint)
