"""Train with the conserved quantities measured at every step: ``python -m papers.gradient_flow.train``.

Without options it trains the linear two-layer network of Figure 3 in seconds; ``--network vgg11`` trains VGG11 without
BatchNorm on scikit-learn's digits, ``--network cifar`` the network of Figures 10 and 11 with their Adam. The run
directory holds ``training.png`` (the loss, and the drift of Q layer by layer, beside its prediction where there is
one), the arrays it was drawn from, ``history.npz`` with every neuron's Q at every record, ``metrics.jsonl`` and
``claims.json``.
"""

from collections.abc import Sequence
from typing import Any

from papers.common.cli import main
from papers.common.flags import say_next
from papers.gradient_flow.train_config import TrainConfig

PROG = "python -m papers.gradient_flow.train"

# Thresholds, written before the first full run.
LAW = {"float32": 1e-4, "float64": 1e-11}  # largest error of the exact law over a neuron's size, at any step
EXPLAINED = 0.05  # rms error of the law over rms drift, at the end
BOUND = 1.0  # sum of |drift| of the neurons over eta (L_0 - L_end), two layers
TINY = 0.01  # |drift of the total Q| over the total size, two layers
FIRST = 0.5  # median over neurons of |first order| over |drift| under Adam

EXACT = "derived from the update: imbalance.py"


def entry(config: TrainConfig) -> None:
    """Run one configuration, draw its figure and judge its claims."""
    config = config.resolved()
    config.preflight()
    from papers.common.compilation import use_compilation_cache

    use_compilation_cache(config.cache_dir)
    import jax

    from papers.common.claims import format_claims
    from papers.common.environment import command_line
    from papers.common.runs import RunDirectory

    if config.network == "two_layer" or config.precision == "float64":
        jax.config.update("jax_enable_x64", True)
    command = command_line("papers.gradient_flow.train")
    with RunDirectory.open(config, command, config.fingerprint()) as directory:
        arrays = run(directory, config)
        if arrays is None:
            raise KeyboardInterrupt
        directory.save_arrays("history", **arrays)
        draw(directory, arrays, config)
        claims = judge(directory, arrays, config, command)
        directory.write_claims(claims)
        directory.finish()
        print(format_claims(claims))
        print("(one seed decides nothing, a claim needs three)")
        print(f"the figure, its arrays and its claims are in {directory.path}")
        say_next("read it as a page", f"python -m papers.report {directory.path}")


def run(directory: Any, config: TrainConfig) -> dict[str, Any] | None:
    """Train the network of a resolved configuration.

    Args:
      directory: the open run directory; losses and errors of the law go to its metrics.
      config: resolved.

    Returns:
      Arrays: ``train_loss`` a step, ``step`` and ``measured`` (records, neurons) and the other records of the run,
      ``start``, ``size`` and ``layer`` (neurons,); None for a run that was stopped.
    """
    if config.network == "two_layer":
        return run_two_layer(directory, config)
    from papers.gradient_flow.networks import watched as watched_run

    if config.network == "cifar":
        return watched_run.run_cifar(config, directory)
    return watched_run.run_vgg11(config, directory)


def run_two_layer(directory: Any, config: TrainConfig) -> dict[str, Any]:
    """Train a two-layer network of Figures 3 and 6 in float64; arrays as :func:`run` gives them.

    Raises:
      Divergence: the loss or a charge is not finite.
    """
    import numpy as np

    from papers.common.errors import Divergence
    from papers.gradient_flow.networks.two_layer.descent import Job, draw_elementwise, stack, train

    start = stack([draw_elementwise(config.seed, config.scale, "authors")])
    every = config.record_every
    steps = np.unique(np.append(np.arange(0, config.steps, every), config.steps))
    curves = train(Job(config.activation, start, np.array([config.learning_rate]), steps))
    if not curves.finite.all():
        at = int(steps[np.argmin(curves.finite[0])])
        raise Divergence(f"the loss or a charge is not finite at step {at}: try a smaller --learning-rate")
    for place in np.unique(np.geomspace(1, len(steps), 200).astype(int)) - 1:
        total = curves.charge[0, place].sum()
        directory.append({"step": int(steps[place]), "loss": curves.loss[0, place], "total_charge": total})
    squares = [np.sum(np.square(leaf[0]), axis=0) for leaf in (start.output, start.input)]
    layer = np.repeat(["hidden"], curves.charge.shape[-1])
    charge, size = curves.charge[0], (squares[0] + squares[1]) / 2
    return {
        "train_loss": curves.loss[0],
        "step": steps,
        "measured": charge,
        "start": charge[0],
        "size": size,
        "layer": layer,
    }


def draw(directory: Any, arrays: dict[str, Any], config: TrainConfig) -> None:
    """Draw the loss, and the root mean square over each layer's neurons of the drift of Q with its prediction."""
    import numpy as np

    from papers.common.plots import new_figure, style

    canvas = new_figure(1, 2)
    left, right = canvas.axes[0]
    # the two-layer networks record the loss before each recorded step, the others at every step
    at = arrays["step"] if config.network == "two_layer" else np.arange(1, len(arrays["train_loss"]) + 1)
    left.plot(at, arrays["train_loss"], linewidth=1, color="#2b6cb8")
    left.set(xlabel="step", title="loss", yscale="log")
    drift = arrays["measured"] - arrays["start"]
    kept = {"loss_step": at, "loss": arrays["train_loss"], "step": arrays["step"]}
    for name in dict.fromkeys(arrays["layer"].tolist()):
        own = arrays["layer"] == name
        kept[f"drift_{name}"] = np.sqrt(np.mean(drift[:, own] ** 2, axis=1))
        right.plot(arrays["step"], kept[f"drift_{name}"], linewidth=2.4, alpha=0.55, label=name)
        if "second_order" in arrays:
            kept[f"law_{name}"] = np.sqrt(np.mean(arrays["second_order"][:, own] ** 2, axis=1))
            right.plot(arrays["step"], kept[f"law_{name}"], **style("prediction"))
    dashed = {"vgg11": " (dashed: exact law)", "cifar": " (dashed: without the first order)"}.get(config.network, "")
    right.set(xlabel="step", title=f"drift of Q, rms{dashed}", yscale="log")
    right.legend(fontsize=5, frameon=False, ncols=2)
    directory.save_figure(canvas.figure, "training", **kept)


def judge(directory: Any, arrays: dict[str, Any], config: TrainConfig, command: str) -> list[Any]:
    """Make the claims of one run; one seed leaves them undecided."""
    import numpy as np

    drift = arrays["measured"][-1].astype(np.float64) - arrays["start"]
    if config.network == "two_layer":
        fallen = config.learning_rate * (arrays["train_loss"][0] - arrays["train_loss"][-1])
        total = abs(drift.sum()) / arrays["size"].sum()
        found = [
            (total, TINY, "below", "the total Q drifts little, relative to the weights", "Zhao et al. 2023, Fig. 3")
        ]
        if config.activation in ("linear", "relu"):
            bound = "the neurons' drifts sum to less than eta (L_0 - L_end)"
            found.append((np.abs(drift).sum() / fallen, BOUND, "below", bound, "derived: descent lemma"))
    elif config.network == "vgg11":
        error = arrays["second_order"][-1] - drift
        explained = np.sqrt(np.mean(error**2) / np.mean(drift**2))
        law = "dQ = eta^2 Q(g) of every neuron at every step: largest error over the neuron's size"
        found = [
            (arrays["worst"][-1].max(), LAW[config.precision], "below", law, EXACT),
            (explained, EXPLAINED, "below", "the exact law explains the drift: rms error over rms drift", EXACT),
        ]
    else:
        share = np.median(np.abs(arrays["first_order"][-1]) / np.maximum(np.abs(drift), np.finfo(np.float32).tiny))
        words = "Adam breaks conservation at first order: median of |first order| over |drift|"
        both = "first and second order of the step give the drift: largest error over the neuron's size"
        found = [
            (share, FIRST, "above", words, EXACT),
            (arrays["worst"][-1].max(), LAW["float32"], "below", both, EXACT),
        ]
    return [_claim(directory, config, command, *one) for one in found]


def _claim(
    directory: Any, config: TrainConfig, command: str, value: float, threshold: float, direction: Any, *words: str
) -> Any:
    from papers.common.claims import claim_over_seeds

    limit = "" if config.limit is None else f", at most {config.limit} images of each split"
    models = {
        "two_layer": f"two layers, 10-50-5, {config.activation}",
        "cifar": f"network of Figures 10 and 11, {config.activation}",
        "vgg11": f"VGG11 without BatchNorm, width {config.width:g}",
    }
    values: Sequence[float] = [float(value)]
    return claim_over_seeds(
        values,
        threshold,
        direction,
        reduced=True,
        environment=directory.environment,
        claim=words[0],
        source=words[1],
        figure="training",
        paper="Q is conserved by gradient flow; the paper watches networks of two layers",
        data="none: random targets 5 x 10" if config.network == "two_layer" else f"{config.data}{limit}",
        model=models[config.network],
        command=command,
    )


if __name__ == "__main__":
    main(entry, TrainConfig, PROG)
