"""Reading a finished run back, wherever it was made, by this code or by older."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from papers.common.finished import load_arrays, read_config
from papers.noether.networks.config import TrainConfig


def read_run(folder: Path) -> tuple[TrainConfig, dict[str, np.ndarray]]:
    """The configuration of a finished run and what it measured.

    A field that the run did not know has its default; one that is not known here is passed over.

    Raises:
      UserError: a folder that holds no whole finished run.
    """
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    recorded = {key: _as_field(value) for key, value in read_config(folder)["config"].items() if key in known}
    return dataclasses.replace(TrainConfig(), **(recorded | {"out": folder})), load_arrays(folder)


def _as_field(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
