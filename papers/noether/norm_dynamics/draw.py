"""The pictures of one training run, from what it measured and, where its optimiser has laws, from their predictions."""

import math
from typing import Any

import numpy as np

from papers.common.plots import COLOURS, new_figure, style
from papers.common.runs import RunDirectory
from papers.noether.networks.config import TrainConfig

Arrays = dict[str, np.ndarray]

SHOWN = 6  # filters of a layer, units or sums that are drawn one by one
WIDE = {"linewidth": 2.6, "alpha": 0.5}


def draw_run(directory: RunDirectory, arrays: Arrays, config: TrainConfig) -> None:
    """Draw the learning curves, and of each family of charges that the network has its own picture."""
    draw_learning(directory, arrays, config)
    if "filter_measured" in arrays:
        draw_norms(directory, arrays, config)
        draw_rates(directory, arrays, config)
    draw_other_families(directory, arrays)


def draw_learning(directory: RunDirectory, arrays: Arrays, config: TrainConfig) -> None:
    """Draw loss and accuracy, and the length of the gradient where the run recorded it."""
    columns = [("train_loss", "test_loss", "loss (nats)"), ("train_accuracy", "test_top1", "accuracy")]
    columns += [("train_gradient_norm", "", "length of the gradient")] * ("train_gradient_norm" in arrays)
    canvas = new_figure(1, len(columns))
    steps = np.arange(1, len(arrays["train_loss"]) + 1)
    for panel, (name, test, label) in zip(canvas.axes.flat, columns, strict=True):
        panel.plot(
            steps, arrays[name], color=COLOURS[config.filter_norm], alpha=0.5, linewidth=0.9, label="training batch"
        )
        if test:
            marks = {"color": "black", "marker": "o", "markersize": 3, "linewidth": 1}
            panel.plot(arrays["test_step"], arrays[test], label="test", **marks)
            panel.legend(fontsize=8, frameon=False)
        panel.set(xlabel="step", ylabel=label, yscale="linear" if "accuracy" in label else "log")
    kept = [name for name in arrays if name.startswith(("train_", "test_"))]
    directory.save_figure(canvas.figure, "learning", **{name: arrays[name] for name in kept})


def draw_norms(directory: RunDirectory, arrays: Arrays, config: TrainConfig) -> None:
    """Draw squared norms of filters layer by layer, measured in colour, predicted dashed: the headline of a run."""
    of_filter, step, measured = arrays["filter_layer"], arrays["step"], arrays["filter_measured"]
    names = sorted(set(of_filter.tolist()))
    columns = len(names) if len(names) <= 4 else math.ceil(math.sqrt(2 * len(names)))
    width = max(2.35, 7.0 / columns)  # the title stands above all of them
    canvas = new_figure(math.ceil(len(names) / columns), columns, width=width, height=2.15)
    for panel in canvas.axes.flat[len(names) :]:
        panel.set_visible(False)
    for panel, name in zip(canvas.axes.flat, names, strict=False):
        own = np.flatnonzero(of_filter == name)
        shown = own[np.linspace(0, len(own) - 1, min(SHOWN, len(own))).astype(int)]
        # a run of one or two records has no line to be seen
        panel.plot(step, measured[:, shown], marker="o" if len(step) < 3 else None, **WIDE)
        if "filter_predicted" in arrays:
            panel.plot(step, arrays["filter_predicted"][:, shown], **(style("prediction") | {"linewidth": 1.2}))
        panel.set_title(f"{name}: {_change(measured[:, own])}", fontsize=10)
        panel.set_ylim(0, None)
        panel.locator_params(axis="x", nbins=3)
    for panel in canvas.axes[-1]:
        panel.set_xlabel("step", fontsize=10)
    for panel in canvas.axes[:, 0]:
        panel.set_ylabel("$|q|^2$ of a filter", fontsize=10)
    canvas.figure.suptitle(_sentence(arrays, config), fontsize=11)
    kept = [name for name in arrays if name.startswith("filter_")]
    directory.save_figure(canvas.figure, "norms", step=step, **{name: arrays[name] for name in kept})


def draw_rates(directory: RunDirectory, arrays: Arrays, config: TrainConfig) -> None:
    """Draw what follows from the norms, a line a layer: effective rate, angle; and the errors of the predictions."""
    of_filter, step = arrays["filter_layer"], arrays["step"]
    names = sorted(set(of_filter.tolist()))
    measured, eta = arrays["filter_measured"], arrays["learning_rate"]
    rate = eta[:, None] / ((1 - config.momentum) * measured)
    drawn = [
        (r"effective learning rate $\eta / ((1-\beta) |q|^2)$, mean", rate, np.mean, True),
        ("angular update (radians), mean", arrays["filter_angle"], np.mean, True),
        (
            r"$|\langle q, g\rangle| / |q||g|$, largest",
            np.maximum(np.abs(arrays["filter_residual"]), 1e-9),
            np.max,
            True,
        ),
    ]
    if "filter_worst" in arrays:
        drawn += [
            ("error of the exact law so far, largest", np.maximum(arrays["filter_worst"], 1e-9), np.max, True),
            ("Eq. 17 over measured, minibatch gradient", arrays["filter_eq17"] / measured, np.mean, False),
            ("Eq. 17 over measured, update's own square", arrays["filter_eq17_own_square"] / measured, np.mean, False),
        ]
    canvas = new_figure(len(drawn) // 3, 3, width=3.6, height=2.8)
    for panel, (title, values, reduce, logarithmic) in zip(canvas.axes.flat, drawn, strict=True):
        for place, name in enumerate(names):
            curve = reduce(values[:, of_filter == name], axis=1)
            panel.plot(step, curve, linewidth=1.2, color=_shade(place, len(names)), label=name)
        panel.set_title(title, fontsize=9)
        panel.set(xlabel="step", yscale="log" if logarithmic else "linear")
        panel.yaxis.set_minor_formatter("")
    if config.weight_decay and config.filter_norm == "free" and config.optimiser == "sgd":
        angle = np.sqrt(2 * eta * config.weight_decay / (1 + config.momentum))
        canvas.axes[0, 1].plot(step, angle, label=r"$\sqrt{2\eta k/(1+\beta)}$", **style("prediction"))
    handles, labels = canvas.axes[0, 1].get_legend_handles_labels()
    canvas.figure.legend(
        handles, labels, fontsize=9, frameon=False, ncols=min(9, len(labels)), loc="outside lower center"
    )
    kept = [name for name in arrays if name.startswith("filter_")]
    kept_arrays = {name: arrays[name] for name in kept} | {"step": step, "learning_rate": eta}
    directory.save_figure(canvas.figure, "rates", **kept_arrays)


def draw_other_families(directory: RunDirectory, arrays: Arrays) -> None:
    """Draw the sums and the imbalances, measured and predicted."""
    known = [
        ("translation", "sums along translations", r"$\langle q, n\rangle$"),
        ("unit", "imbalance of hidden units (rescale)", r"$|q_1|^2 - |q_2|^2$"),
        ("gain", "imbalance of gains (rescale)", r"$|q_1|^2 - |q_2|^2$"),
        ("mixing", "charges of linear groups", r"$\langle q, M q\rangle$"),
    ]
    families = [family for family in known if f"{family[0]}_measured" in arrays]
    canvas = new_figure(1, len(families), width=4.0, height=2.8)
    kept = {"step": arrays["step"]}
    for panel, (family, title, label) in zip(canvas.axes.flat, families, strict=True):
        measured = arrays[f"{family}_measured"]
        shown = np.linspace(0, measured.shape[1] - 1, min(10, measured.shape[1])).astype(int)
        panel.plot(arrays["step"], measured[:, shown], **WIDE)
        kept[f"{family}_measured"] = measured
        if f"{family}_predicted" in arrays:
            predicted = kept[f"{family}_predicted"] = arrays[f"{family}_predicted"]
            panel.plot(arrays["step"], predicted[:, shown], **style("prediction"))
            title += "; dashed: exact law"
        panel.set_title(title, fontsize=9)
        panel.set(xlabel="step", ylabel=label)
    directory.save_figure(canvas.figure, "other_families", **kept)


def _sentence(arrays: Arrays, config: TrainConfig) -> str:
    if "filter_predicted" not in arrays:
        return f"Squared norms of filters under {config.optimiser}, which obeys no exact law"
    error = float(arrays["filter_worst"][-1].max())
    moved = "Filter norms adapt to the learning rate" if config.filter_norm == "free" else "Filter norms are fixed"
    return f"{moved}: measured (colour), predicted by the exact law (dashed), largest error {error:.1e}"


def _change(measured: np.ndarray) -> str:
    return f"mean x{measured[-1].mean() / measured[0].mean():.3g}"


def _shade(place: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.92 * place / max(1, count - 1))
