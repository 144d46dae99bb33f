"""Drawing a panel: accuracies, the gap between the arms, loss curves, and the mechanism, from finished runs."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from papers.common.claims import Claim
from papers.common.finished import load_json, read_config
from papers.common.plots import COLOURS, band, new_figure
from papers.common.runs import RunDirectory
from papers.common.verdicts import interval
from papers.noether.networks.laws import describe_data
from papers.noether.networks.summary import summarise
from papers.noether.panels.definitions import PANELS, Panel, PanelName
from papers.noether.panels.runs import Run, Runs, epoch_means, spell


def draw_panel(name: PanelName, runs: Runs, directory: RunDirectory) -> None:
    """Draw final accuracies, the gap between the arms with its interval, and the loss curves of the extremes."""
    panel, values = PANELS[name], runs.values
    both = len(panel.arms) == 2
    extremes = list(dict.fromkeys((values[0], values[-1])))
    count = 1 + both + len(extremes)
    columns = 2 if count == 4 else count
    canvas = new_figure(count // columns, columns, width=3.6, height=2.6)
    places = iter(canvas.axes.flat)
    arrays = {"values": np.array(values)}
    _accuracies(next(places), panel, runs, arrays)
    if both:
        _gaps(next(places), panel, runs, arrays)
    for value in extremes:
        _losses(next(places), panel, runs, value, arrays)
    canvas.figure.suptitle(f"{panel.title}\n{_setting(runs)}", fontsize=10)
    directory.save_figure(canvas.figure, f"panel_{name}", **arrays)


def draw_mechanism(name: PanelName, runs: Runs, directory: RunDirectory) -> None:
    """Draw how much the norms of each layer grew where they were free, and the gap against that growth."""
    panel, values = PANELS[name], runs.values
    growth = {value: runs.growth(value) for value in values}
    layers = list(growth[values[0]])
    canvas = new_figure(1, 2, width=4.4, height=3.2)
    by_layer, against = canvas.axes[0]
    table = np.array([[growth[value][layer] for layer in layers] for value in values])  # (values, layers, seeds)
    for place, value in enumerate(values):
        colour = f"C{place}"
        by_layer.plot(layers, table[place].mean(1), "o-", color=colour, label=f"{panel.label} {spell(value)}")
        by_layer.fill_between(layers, table[place].min(1), table[place].max(1), color=colour, alpha=0.2, linewidth=0)
    by_layer.axhline(1, color="0.6", linewidth=0.8)
    by_layer.set(xlabel="layer", ylabel=r"growth of $|q|^2$, median filter", yscale="log")
    by_layer.set_title("free norms grow, layer by layer", fontsize=9)
    by_layer.legend(fontsize=8, frameon=False)
    _plain_ticks(by_layer.yaxis)
    gaps = np.array([runs.gap(value) for value in values])  # (values, seeds)
    for place, layer in enumerate(layers):
        shade = _shade(place, len(layers))
        x = table[:, place]
        against.plot(x.mean(1), 100 * gaps.mean(1), "-", color=shade, linewidth=1)
        against.plot(x.ravel(), 100 * gaps.ravel(), "o", color=shade, markersize=4, label=layer)
    against.axhline(0, color="0.6", linewidth=0.8)
    against.set(xlabel=r"growth of $|q|^2$ in the layer", ylabel="gap: free - fixed (points)", xscale="log")
    against.set_title("the gap against that growth", fontsize=9)
    against.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _plain_ticks(against.xaxis)
    canvas.figure.suptitle(f"Mechanism of panel {name.upper()}: {_setting(runs)}", fontsize=10)
    arrays = {"values": np.array(values), "layers": np.array(layers), "growth": table, "gap": gaps}
    directory.save_figure(canvas.figure, f"panel_{name}_mechanism", **arrays)


def write_results(name: PanelName, runs: Runs, claims: list[Claim], directory: RunDirectory, command: str) -> None:
    """Write one small file with everything a reader checks: each run's numbers, and where it all ran."""
    rows, commits = [], set()
    for run in runs.all:
        rows.append(_row(run))
        commits.add(str(read_config(run.config.out)["commit"]))
    shared = dataclasses.replace(runs.all[0].config, out=Path("."), data_dir=None, cache_dir=None)
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
    directory.write_json("results", record)


def _row(run: Run) -> dict[str, Any]:
    saved = load_json(run.config.out, "summary.json")
    return {"value": run.value, "filter_norm": run.arm, "seed": run.seed, **saved, **summarise(run.arrays)}


def _accuracies(axes: Any, panel: Panel, runs: Runs, arrays: dict[str, np.ndarray]) -> None:
    place = np.arange(len(runs.values))
    for arm in panel.arms:
        accuracy = arrays[f"accuracy_{arm}"] = np.stack([runs.accuracy(value, arm) for value in runs.values], 1)
        band(axes, place, 100 * accuracy, arm, f"{arm} norms")
    _value_ticks(axes, panel, runs)
    axes.set(ylabel="final test accuracy (%)")
    axes.legend(fontsize=8, frameon=False)


def _gaps(axes: Any, panel: Panel, runs: Runs, arrays: dict[str, np.ndarray]) -> None:
    gaps = arrays["gap"] = np.stack([runs.gap(value) for value in runs.values], 1)  # (seeds, values)
    place = np.arange(len(runs.values))
    spans = np.array([interval(column) for column in gaps.T])
    for seed in gaps:
        axes.plot(place, 100 * seed, "o", color="0.55", markersize=4)
    axes.plot(place, 100 * spans[:, 0], color=COLOURS["free"], linewidth=1.4)
    finite = np.isfinite(spans).all(1)
    error = 100 * np.abs(spans[finite, 1:].T - spans[finite, 0])
    axes.errorbar(place[finite], 100 * spans[finite, 0], error, fmt="s", color=COLOURS["free"], capsize=4)
    axes.axhline(0, color="0.6", linewidth=0.8)
    _value_ticks(axes, panel, runs)
    axes.set(ylabel="gap: free - fixed (points)")
    axes.set_title("the gap: seeds, 95 % interval", fontsize=9)


def _losses(axes: Any, panel: Panel, runs: Runs, value: float, arrays: dict[str, np.ndarray]) -> None:
    for arm in panel.arms:
        loss = arrays[f"loss_{arm}_{spell(value)}"] = np.stack([epoch_means(one) for one in runs.of(value, arm)])
        band(axes, np.arange(1, loss.shape[1] + 1), loss, arm, f"{arm} norms")
    axes.set_title(f"{panel.label} {spell(value)}", fontsize=9)
    axes.set(xlabel="epoch", ylabel="training loss (nats)")
    axes.legend(fontsize=8, frameon=False)


def _value_ticks(axes: Any, panel: Panel, runs: Runs) -> None:
    axes.set_xticks(np.arange(len(runs.values)), [spell(value) for value in runs.values])
    axes.set(xlabel=panel.label, xlim=(-0.4, len(runs.values) - 0.6))


def _setting(runs: Runs) -> str:
    base = runs.all[0].config
    words = f"{describe_data(base)}, width {base.width:g}, {base.epochs} epochs, batch {base.batch_size}"
    words += f", {len(runs.all[0].arrays['train_loss']):,} steps, seeds: {len(runs.seeds)}"
    return f"reduced run: {words}" if base.reduced else words


def _shade(place: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.92 * place / max(1, count - 1))


def _plain_ticks(axis: Any) -> None:
    """Numbers as 1, 2, 5, 10 on a logarithmic axis, and no labels between them that would overlap."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
