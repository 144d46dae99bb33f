"""What a run records on its way: losses of every step, charges of every chunk, evaluations of every epoch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from papers.common.training.fit import Fetched

STEPS = ("loss", "accuracy")
EVALUATION = ("step", "loss", "top1", "top5")


class History:
    """Grows during a run, is saved with every checkpoint and cut back to it on resume."""

    def __init__(self) -> None:
        self.steps: dict[str, list[np.ndarray]] = {name: [] for name in STEPS}
        self.records: list[dict[str, np.ndarray]] = []
        self.evaluations: list[dict[str, float]] = []

    def add(self, fetched: Fetched) -> None:
        """Append one chunk."""
        for name in STEPS:
            self.steps[name].append(fetched.metrics[name])
        self.records.append({name: np.asarray(value) for name, value in fetched.report.items()})

    def evaluate(self, step: int, measured: Mapping[str, float]) -> None:
        """Append one evaluation on the test split."""
        self.evaluations.append({"step": step, **measured})

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays: ``train_*`` a step, ``test_*`` an evaluation, the charges a record."""
        joined = {f"train_{name}": np.concatenate(parts or [np.zeros(0)]) for name, parts in self.steps.items()}
        tests = {f"test_{name}": np.array([row[name] for row in self.evaluations]) for name in EVALUATION}
        charges = {name: np.stack([record[name] for record in self.records]) for name in (self.records or [{}])[0]}
        return joined | tests | charges

    @classmethod
    def load(cls, path: Path, step: int) -> "History":
        """Read what was saved, up to a step."""
        history = cls()
        with path.open("rb") as file, np.load(file) as arrays:
            saved: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        for name in STEPS:
            history.steps[name].append(saved[f"train_{name}"][:step])
        charges = [name for name in saved if not name.startswith(("train_", "test_")) and not name.endswith("_layer")]
        for row in np.flatnonzero(saved.get("step", np.zeros(0)) <= step):
            history.records.append({name: saved[name][row] for name in charges})
        for row in np.flatnonzero(saved["test_step"] <= step):
            history.evaluations.append({name: saved[f"test_{name}"][row].item() for name in EVALUATION})
        return history
