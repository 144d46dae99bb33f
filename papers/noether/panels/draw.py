"""The picture of a panel, and its results in one small file."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from papers.common.claims import Claim
from papers.common.plots import band, new_figure
from papers.common.records import to_json, write_atomically
from papers.common.runs import RunDirectory
from papers.noether.networks.laws import describe_data
from papers.noether.networks.summary import summarise
from papers.noether.panels.definitions import PANELS, PanelName
from papers.noether.panels.judge import Run, final_accuracy, panel_claims


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
