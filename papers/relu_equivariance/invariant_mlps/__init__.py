"""Small networks of short signals, invariant under reversal: functional dimension and layerwise equivariance.

| file | what |
|---|---|
| `networks.py` | networks of equivariant layers, the counterexample, first parameters |
| `training.py` | all students of a width at once |
| `errors.py` | one network: dimension missing, invariance error, layerwise error |
| `measure.py` | all networks |
| `draw.py`, `judge.py` | the picture and the claims |
"""

from papers.common.experiment import Experiment
from papers.relu_equivariance.invariant_mlps import draw, judge, measure

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge)
"""Its measuring, its drawing, its judging."""
