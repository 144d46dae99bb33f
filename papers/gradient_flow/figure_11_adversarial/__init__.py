"""Figure 11: ensembles under adversarial attack.

FGSM and PGD on the trained network, whose attacked images its ensembles classify as well (transfer), and on the
ensembles themselves (adaptive), which the paper does not try.

Source: Zhao et al. 2023, Figure 11 (the authors' notebook).
"""

from papers.common.experiment import Experiment
from papers.gradient_flow.figure_11_adversarial import draw, judge, measure
from papers.gradient_flow.networks.cifar.trained import fingerprint

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge, require=fingerprint)
