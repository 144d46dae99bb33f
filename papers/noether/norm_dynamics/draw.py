"""The figures of one training run."""

import numpy as np

from papers.common.claims import format_claims
from papers.common.plots import COLOURS, new_figure, style
from papers.common.runs import RunDirectory
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.laws import law_claims


def run_figures(directory: RunDirectory, arrays: dict[str, np.ndarray], config: TrainConfig, command: str) -> None:
    """Draw the four figures of a run into its directory and write its claims."""
    _learning(directory, arrays, config)
    if "filter_measured" in arrays:
        _norms(directory, arrays)
        _residuals(directory, arrays, config)
    _classifier(directory, arrays)
    claims = law_claims([[arrays]], config, directory.environment, command)
    directory.write_claims(claims)
    print(format_claims(claims))
    print("(one seed decides nothing, a claim needs three; reduced: the run is smaller than the paper's)", flush=True)


def _learning(directory: RunDirectory, arrays: dict[str, np.ndarray], config: TrainConfig) -> None:
    canvas = new_figure(1, 2)
    colour = COLOURS[config.filter_norm]
    steps = np.arange(1, len(arrays["train_loss"]) + 1)
    for panel, name, test, label in zip(
        canvas.axes.flat,
        ("train_loss", "train_accuracy"),
        ("test_loss", "test_top1"),
        ("loss (nats)", "accuracy"),
        strict=True,
    ):
        panel.plot(steps, arrays[name], color=colour, alpha=0.35, linewidth=0.8, label="training batch")
        panel.plot(
            arrays["test_step"], arrays[test], color="black", marker="o", markersize=3, linewidth=1, label="test"
        )
        panel.set(xlabel="step", ylabel=label)
        panel.legend(fontsize=7, frameon=False)
    kept = ("train_loss", "train_accuracy", "test_step", "test_loss", "test_top1", "test_top5")
    directory.save_figure(canvas.figure, "learning", **{name: arrays[name] for name in kept})


def _norms(directory: RunDirectory, arrays: dict[str, np.ndarray]) -> None:
    of_filter = arrays["filter_layer"]
    names = sorted(set(of_filter.tolist()))
    canvas = new_figure(2, (len(names) + 1) // 2)
    measured, step = arrays["filter_measured"], arrays["step"]
    for panel, name in zip(canvas.axes.flat, names, strict=False):
        own = np.flatnonzero(of_filter == name)
        shown = own[:: max(1, len(own) // 8)]
        # a run of one or two records has no line to be seen
        panel.plot(step, measured[:, shown], linewidth=2.8, alpha=0.55, marker="o" if len(step) < 3 else None)
        lines = panel.plot(step, arrays["filter_predicted"][:, shown], **style("prediction"))
        panel.set_title(f"{name}: {len(shown)} filters", fontsize=9)
        panel.set(xlabel="step", ylabel="$|q|^2$")
        mean = own.size
        mean_line = panel.plot(step, measured[:, own].sum(1) / mean, color="black", linewidth=1.6)
        verbatim = panel.plot(
            step, arrays["filter_eq17"][:, own].sum(1) / mean, color="tab:red", linewidth=1, linestyle=":"
        )
        square = panel.plot(
            step, arrays["filter_eq17_own_square"][:, own].sum(1) / mean, color="tab:green", linewidth=1, linestyle="-."
        )
        if name == names[0]:
            handles = [lines[0], verbatim[0], square[0]]
            handles.append(mean_line[0])
            labels = ["exact law", "Eq. 17, layer mean", "Eq. 17, own square", "measured, layer mean"]
            panel.legend(handles, labels, fontsize=6, frameon=False)
    kept = ("step", "filter_measured", "filter_predicted", "filter_eq17", "filter_eq17_own_square", "filter_layer")
    directory.save_figure(canvas.figure, "norms", **{name: arrays[name] for name in kept})


def _residuals(directory: RunDirectory, arrays: dict[str, np.ndarray], config: TrainConfig) -> None:
    of_filter, step = arrays["filter_layer"], arrays["step"]
    canvas = new_figure(2, 2)
    for name in sorted(set(of_filter.tolist())):
        own = of_filter == name
        rate = arrays["learning_rate"][:, None] / ((1 - config.momentum) * arrays["filter_measured"][:, own])
        drawn = (
            np.maximum(arrays["filter_worst"][:, own].max(1), 1e-9),
            np.maximum(np.abs(arrays["filter_residual"][:, own]).max(1), 1e-9),
            rate.mean(1),
            arrays["filter_angle"][:, own].mean(1),
        )
        for panel, curve in zip(canvas.axes.flat, drawn, strict=True):
            panel.plot(step, curve, linewidth=1.1, label=name)
    if config.weight_decay and config.filter_norm == "free":
        angle = np.sqrt(2 * arrays["learning_rate"] * config.weight_decay / (1 + config.momentum))
        canvas.axes[1, 1].plot(step, angle, **style("prediction"))
    titles = (
        "largest error of the exact law so far",
        r"$|\langle q, g\rangle| / |q||g|$, largest of a layer",
        r"effective learning rate $\eta / ((1-\beta) |q|^2)$",
        r"angular update (dashed: $\sqrt{2\eta k/(1+\beta)}$)",
    )
    for panel, title in zip(canvas.axes.flat, titles, strict=True):
        panel.set_title(title, fontsize=8)
        panel.set(xlabel="step", yscale="log")
    canvas.axes[0, 0].legend(fontsize=5, frameon=False, ncols=2)
    kept = (
        "step",
        "learning_rate",
        "filter_worst",
        "filter_residual",
        "filter_measured",
        "filter_angle",
        "filter_layer",
    )
    directory.save_figure(canvas.figure, "residuals", **{name: arrays[name] for name in kept})


def _classifier(directory: RunDirectory, arrays: dict[str, np.ndarray]) -> None:
    families = [("classifier", "sums over classes (translation)")]
    if "unit_measured" in arrays:
        families.append(("unit", "imbalance of hidden units (rescale)"))
    canvas = new_figure(1, len(families))
    kept = {"step": arrays["step"]}
    for panel, (family, title) in zip(canvas.axes.flat, families, strict=True):
        measured, predicted = arrays[f"{family}_measured"], arrays[f"{family}_predicted"]
        shown = np.linspace(0, measured.shape[1] - 1, min(10, measured.shape[1])).astype(int)
        panel.plot(arrays["step"], measured[:, shown], linewidth=2.8, alpha=0.55)
        panel.plot(arrays["step"], predicted[:, shown], **style("prediction"))
        panel.set_title(title, fontsize=8)
        panel.set(xlabel="step")
        kept |= {f"{family}_measured": measured, f"{family}_predicted": predicted}
    directory.save_figure(canvas.figure, "classifier", **kept)
