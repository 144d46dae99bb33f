"""The charges of a network in training: which symmetries are watched, and what is recorded of them.

| file | what |
|---|---|
| `families.py` | the symmetries that a network has in training mode, as flows |
| `rule.py` | the learning rule, as an optimiser that watches them |
| `monitor.py` | what the paper adds: Eq. 17, angles, fixed norms; add a number recorded at every step to `statistics` |

Measuring and predicting is :func:`symjax.watch.watch`; :func:`observe` is called after it inside the training step.
"""

from papers.noether.networks.charges.families import Families, families, layer_names
from papers.noether.networks.charges.monitor import Monitor, observe, report, start
from papers.noether.networks.charges.rule import Rule

__all__ = ["Families", "Monitor", "Rule", "families", "layer_names", "observe", "report", "start"]
