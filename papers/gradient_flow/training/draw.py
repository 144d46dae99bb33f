"""The picture of one training: its loss, and the drift of Q layer by layer beside its prediction."""

from typing import Any

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import SERIES, new_figure, style
from papers.gradient_flow.training.config import TrainConfig

TITLES = {
    "two_layer": "Q drifts little",
    "vgg11": "Q drifts little (dashed: exact law)",
    "cifar": "Adam moves Q at first order (dashed: second order alone)",
}


def draw(arrays: dict[str, Any], config: TrainConfig) -> Picture:
    """Draw the loss, and the root mean square over each layer's neurons of the drift of Q with its prediction."""
    canvas = new_figure(1, 2, width=4.4, height=3.2)
    left, right = canvas.axes[0]
    # the two-layer networks record the loss before each recorded step, the others at every step
    at = arrays["step"] if config.network == "two_layer" else np.arange(1, len(arrays["train_loss"]) + 1)
    left.plot(at, arrays["train_loss"], linewidth=1, color=SERIES[1])
    left.set(xlabel="step", ylabel="loss (nats)" if config.network != "two_layer" else "loss")
    left.set_yscale("log" if config.network == "two_layer" else "linear")
    drift = arrays["measured"] - arrays["start"]
    kept = {"loss_step": at, "loss": arrays["train_loss"], "step": arrays["step"]}
    for name in dict.fromkeys(arrays["layer"].tolist()):
        own = arrays["layer"] == name
        kept[f"drift_{name}"] = np.sqrt(np.mean(drift[:, own] ** 2, axis=1))
        right.plot(arrays["step"], kept[f"drift_{name}"], linewidth=2.4, alpha=0.55, label=name)
        if "second_order" in arrays:
            kept[f"law_{name}"] = np.sqrt(np.mean(arrays["second_order"][:, own] ** 2, axis=1))
            right.plot(arrays["step"], kept[f"law_{name}"], **style("prediction"))
    right.set(xlabel="step", ylabel="drift of Q, rms over neurons", yscale="log")
    left.set_title("The loss falls", fontsize=9)
    right.set_title(TITLES[config.network], fontsize=9)
    if len(kept) > 4:  # more than one layer
        canvas.figure.legend(*right.get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)
    return Picture(canvas.figure, kept)
