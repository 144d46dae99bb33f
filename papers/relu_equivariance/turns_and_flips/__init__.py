"""Networks and their images under the turns and flips of the square, merged one by one and all at once.

| file | what |
|---|---|
| `elements.py` | the elements of D4 and its subgroups, by name |
| `scene.py` | what all networks share: the traced network, how it is moved, orbits of images |
| `merges.py` | one network: match, merge, REPAIR, evaluate |
| `measure.py` | all networks, trained where they are not |
| `draw.py`, `judge.py` | the picture and the claims |
"""

from papers.common.experiment import Experiment
from papers.relu_equivariance.turns_and_flips import draw, judge, measure

EXPERIMENT = Experiment(measure.measure, draw.draw, judge.judge, measure.require)
"""Its measuring, its drawing, its judging."""
