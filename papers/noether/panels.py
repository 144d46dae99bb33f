"""The paper's panels: which runs each needs, and its figure. Every panel compares free filter norms with fixed ones."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from papers.common.claims import Claim
from papers.common.errors import UserError
from papers.common.plots import band, new_figure
from papers.common.records import differences, to_json, write_atomically
from papers.common.runs import MAY_DIFFER_ON_RESUME, RunDirectory
from papers.noether.config import FilterNorm, TrainConfig
from papers.noether.law_claims import describe_data
from papers.noether.panel_claims import Run, final_accuracy, panel_claims
from papers.noether.summary import summarise

PanelName = Literal["a", "b", "c", "d"]
ARMS: tuple[FilterNorm, FilterNorm] = ("free", "fixed")


class Panel(NamedTuple):
    """A panel: the field it varies and its values, the settings it holds, whether the learning rate drops."""

    field: str
    label: str
    values: tuple[float, ...]
    settings: dict[str, Any]
    drops: bool
    arms: tuple[FilterNorm, ...] = ARMS


_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_DECAYS = (0.0, 1e-5, 1e-4, 5e-4, 1e-3)
_STANDARD = {"learning_rate": 0.03, "momentum": 0.9, "weight_decay": 1e-4}

PANELS: dict[str, Panel] = {
    "a": Panel("learning_rate", "learning rate", _RATES, _STANDARD, drops=False),
    "b": Panel("momentum", "momentum", (0.0, 0.5, 0.9, 0.95), _STANDARD, drops=True),
    "c": Panel("weight_decay", "weight decay", _DECAYS, _STANDARD, drops=True),
    "d": Panel("initial_scale", "factor of the initial filters", (1.0, 10.0), _STANDARD, False, ("free",)),
}


class Member(NamedTuple):
    """One run of a panel."""

    value: float
    arm: FilterNorm
    seed: int
    config: TrainConfig


def members(name: PanelName, base: TrainConfig, values: tuple[float, ...], seeds: int, out: Path) -> list[Member]:
    """All runs of a panel, seed by seed, so that an interrupted panel has whole seeds first.

    Args:
      name: a, b, c or d.
      base: what all runs share.
      values: of what the panel varies; the panel's own if empty.
      seeds: seeds of every setting.
      out: folder of the runs.
    """
    panel = PANELS[name]
    # 30, 60 and 80 of 100 epochs, whatever the length of the run
    drops = tuple(share * base.epochs for share in (0.3, 0.6, 0.8)) if panel.drops else ()
    found = []
    for seed in range(seeds):
        for value in values or panel.values:
            for arm in panel.arms:
                changes = {**panel.settings, panel.field: value, "filter_norm": arm, "seed": seed, "drops": drops}
                changes["out"] = out / f"{name}-{value:g}-{arm}-seed{seed}"
                found.append(Member(value, arm, seed, dataclasses.replace(base, **changes)))
    return found


def finished(member: Member) -> bool:
    """Whether a member's run is complete.

    Raises:
      UserError: the folder holds a finished run of another configuration.
    """
    folder = member.config.out
    if not (folder / "summary.json").is_file():
        return False
    recorded = json.loads((folder / "config.json").read_text())["config"]
    different = differences(recorded, to_json(member.config), MAY_DIFFER_ON_RESUME)
    if different:
        raise UserError(
            f"{folder} holds a finished run of another configuration ({', '.join(different)}): give another --out"
        )
    return True


def load(member: Member) -> Run:
    """What a finished run measured."""
    with np.load(member.config.out / "history.npz") as arrays:
        return Run(*member, {name: arrays[name] for name in arrays.files})


def draw(name: PanelName, runs: list[Run], directory: RunDirectory, command: str) -> list[Claim]:
    """Draw a panel (final test accuracy, loss curves), write its claims and a summary ``results.json``."""
    panel = PANELS[name]
    values = sorted({run.value for run in runs})
    canvas = new_figure(1, 1 + len(values), width=3.0)
    accuracy = {arm: np.stack([final_accuracy(runs, value, arm) for value in values], 1) for arm in panel.arms}
    place = np.arange(len(values))
    for arm in panel.arms:
        band(canvas.axes[0, 0], place, 100 * accuracy[arm], arm, f"{arm} norms")
    canvas.axes[0, 0].set_xticks(place, [f"{value:g}" for value in values])
    canvas.axes[0, 0].set_title(f"panel {name.upper()}-1", fontsize=9)
    canvas.axes[0, 0].set(xlabel=panel.label, ylabel="final test accuracy (%)")
    canvas.axes[0, 0].legend(fontsize=7, frameon=False)
    curves: dict[str, np.ndarray] = {}
    for axes, value in zip(canvas.axes[0, 1:], values, strict=True):
        for arm in panel.arms:
            loss = np.stack([_epoch_means(run.arrays) for run in runs if (run.value, run.arm) == (value, arm)])
            band(axes, np.arange(1, loss.shape[1] + 1), loss, arm, f"{arm} norms")
            curves[f"loss_{arm}_{value:g}"] = loss
        axes.set_title(f"{panel.label} {value:g}", fontsize=9)
        axes.set(xlabel="epoch", ylabel="training loss (nats)")
    base = runs[0].config
    title = f"{describe_data(base)}, width {base.width:g}, {base.epochs} epochs, batch {base.batch_size}"
    title += f", {len({run.seed for run in runs})} seeds"
    canvas.figure.suptitle(f"{'reduced run: ' if base.reduced else ''}{title}", fontsize=8)
    arrays = {f"accuracy_{arm}": accuracy[arm] for arm in panel.arms}
    directory.save_figure(canvas.figure, f"panel_{name}", values=np.array(values), **arrays, **curves)
    claims = panel_claims(name, runs, directory.environment, command)
    directory.write_claims(claims)
    _write_results(name, runs, claims, directory, command)
    return claims


def _epoch_means(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Mean training loss of each epoch; the evaluations stand at the epochs' ends, step 0 first."""
    ends = arrays["test_step"].astype(int)
    return np.array([arrays["train_loss"][a:b].mean() for a, b in pairwise(ends)])


def _write_results(
    name: PanelName, runs: list[Run], claims: list[Claim], directory: RunDirectory, command: str
) -> None:
    """One small file with everything a reader checks: each run's numbers, the claims, and where it all ran."""
    rows, commits = [], set()
    for run in runs:
        saved = json.loads((run.config.out / "summary.json").read_text())
        rows.append({"value": run.value, "filter_norm": run.arm, "seed": run.seed, **saved, **summarise(run.arrays)})
        commits.add(str(json.loads((run.config.out / "config.json").read_text())["commit"]))
    shared = dataclasses.replace(runs[0].config, out=Path("."), data_dir=None, cache_dir=None)
    record = {
        "panel": name,
        "reduced": shared.reduced,
        "command": command,
        "environment": directory.environment,
        "commits_of_the_runs": sorted(commits),
        "configuration_of_the_first_run": shared,
        "runs": rows,
        "claims": claims,
    }
    write_atomically(directory.path / "results.json", (json.dumps(to_json(record), indent=1) + "\n").encode())
