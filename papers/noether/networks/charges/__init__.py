"""The charges of a network in training: measured at every step beside what the exact laws and Eq. 17 predict.

| file | what |
|---|---|
| `families.py` | the symmetries that a network has in training mode, as flows |
| `rule.py` | the learning rule |
| `measure.py` | what one step did, whatever the optimiser; a number recorded at every step is added to `statistics` |
| `predict.py` | the exact laws of heavy-ball SGD and Eq. 17 |
| `account.py` | for any other optimiser: where the change of a quantity came from |
| `project.py` | setting norms back |
| `monitor.py` | the observer of a training step, which calls all of these |

:func:`observe` is called inside the training step, so that the prediction uses the step's own update, gradient and
buffer.
"""

from papers.noether.networks.charges.families import Families, families, layer_names
from papers.noether.networks.charges.monitor import Monitor, observe, report, start
from papers.noether.networks.charges.rule import Rule

__all__ = ["Families", "Monitor", "Rule", "families", "layer_names", "observe", "report", "start"]
