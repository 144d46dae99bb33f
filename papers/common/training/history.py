"""What a run records on its way: losses of every step, a report of every chunk, evaluations of every epoch."""

from collections.abc import Iterable, Mapping

import numpy as np

from papers.common.training.fit import Fetched

STEPS = ("loss", "accuracy")


class History:
    """Grows during a run, is saved beside every checkpoint and taken up from there on resume."""

    def __init__(self) -> None:
        self.steps: dict[str, list[np.ndarray]] = {name: [] for name in STEPS}
        self.records: list[dict[str, np.ndarray]] = []
        self.evaluations: list[dict[str, float]] = []

    def add(self, fetched: Fetched) -> None:
        """Append one chunk, and its report as a record under the number of steps made."""
        made = sum(map(len, self.steps["loss"]))
        for name, values in fetched.metrics.items():
            # a statistic that an earlier part of the run did not know has no number there
            self.steps.setdefault(name, [np.full(made, np.nan, np.float32)] if made else []).append(values)
        report = {name: np.asarray(value) for name, value in fetched.report.items()}
        self.records.append({"step": np.int32(fetched.step + len(fetched.metrics["loss"]))} | report)

    def evaluate(self, step: int, measured: Mapping[str, float]) -> None:
        """Append one evaluation on the test split."""
        self.evaluations.append({"step": step, **measured})

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays: ``train_*`` a step, ``test_*`` an evaluation, ``step`` and the report a record."""
        joined = {f"train_{name}": np.concatenate(parts or [np.zeros(0)]) for name, parts in self.steps.items()}
        tests = {f"test_{name}": np.array([row[name] for row in self.evaluations]) for name in _names(self.evaluations)}
        return joined | tests | {name: np.stack([row[name] for row in self.records]) for name in _names(self.records)}

    @classmethod
    def of(cls, saved: Mapping[str, np.ndarray]) -> "History":
        """Go on from the arrays that :meth:`arrays` gave."""
        history = cls()
        for name in STEPS:
            history.steps[name].append(saved[f"train_{name}"])
        for name in saved:
            if name.startswith("train_") and (own := name.removeprefix("train_")) not in STEPS:
                history.steps[own] = [saved[name]]
        records = [name for name in saved if not name.startswith(("train_", "test_"))]
        for row in range(len(saved.get("step", ()))):
            history.records.append({name: saved[name][row] for name in records})
        tests = [name for name in saved if name.startswith("test_")]
        for row in range(len(saved.get("test_step", ()))):
            history.evaluations.append({name.removeprefix("test_"): saved[name][row].item() for name in tests})
        return history


def _names(rows: list) -> Iterable[str]:
    return rows[0] if rows else ()
