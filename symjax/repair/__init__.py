"""Merged networks corrected, every correction under one protocol, for any traced model.

* :func:`repair`: nothing, reset of normalisations, deviations alone, means alone, or both (REPAIR), in several modes;
  fused into the leaves, or inserted at the outputs of residual blocks and run by :func:`outputs`.
* :func:`repair_group`: the mean of many networks, such as a network and all its images under a group.
* :func:`calibrate_biases`: bias calibration, which needs no data.
* :func:`temperature`: of the softmax.
* :func:`writers`, :func:`streams`: where a network can be corrected; :func:`statistics` of its units there.
"""

from symjax.repair.biases import calibrate_biases
from symjax.repair.corrections import Repaired, outputs, repair
from symjax.repair.group import repair_group
from symjax.repair.places import Place, streams, writers
from symjax.repair.statistics import Statistics, statistics
from symjax.repair.temperature import Temperature, temperature

__all__ = [
    "Place",
    "Repaired",
    "Statistics",
    "Temperature",
    "calibrate_biases",
    "outputs",
    "repair",
    "repair_group",
    "statistics",
    "streams",
    "temperature",
    "writers",
]
