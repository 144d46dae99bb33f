"""Figure 11: ensembles under adversarial attack: ``python -m papers.gradient_flow.adversarial``.

FGSM and PGD on the trained network, whose attacked images its ensembles classify as well (transfer), and on the
ensembles themselves (adaptive), which the paper does not try.

Source: Zhao et al. 2023, Figure 11 (the authors' notebook).
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from papers.common.cli import main
from papers.gradient_flow.networks.cifar.setting import KINDS, CifarSetting
from papers.gradient_flow.networks.setting import FiguresConfig

if TYPE_CHECKING:
    from papers.common.claims import Claim
    from papers.common.runs import RunDirectory
    from papers.gradient_flow.figure_11_adversarial.measure import Strength, Sweep

PROG = "python -m papers.gradient_flow.adversarial"

MEMBERS = 200
EPSILON = 10.0
FGSM = (0.0, 0.003, 0.006, 0.009, 0.012)
PGD = (0, 1, 2, 3)

SIGNAL = 0.15
"""Written before the first run: accuracy below this is at chance, 0.1 for ten classes."""

CHANCE = 0.1

LARGEST_COST = 0.1
"""Written before the first run: how much accuracy on clean images the ensemble may cost."""

CLIPPING = 0.1
"""Written before the first run: the accuracy that clipping clean images to [0, 1] costs at least."""

LATER = "not tried; claim added after a first run, in which the adaptive attack was the weaker one"

PAPER = {
    "original": (0.598, 0.210, 0.133, 0.066, 0.028, 0.576, 0.006, 0.000, 0.000),
    "group": (0.538, 0.223, 0.158, 0.109, 0.083, 0.460, 0.038, 0.002, 0.026),
    "interpolated_permutation": (0.556, 0.225, 0.132, 0.078, 0.036, 0.557, 0.013, 0.000, 0.000),
    "inverse": (0.089, 0.115, 0.101, 0.106, 0.100, 0.111, 0.095, 0.110, 0.090),
    "random": (0.095, 0.099, 0.111, 0.082, 0.082, 0.099, 0.101, 0.087, 0.102),
    "shuffle": (0.102, 0.089, 0.114, 0.098, 0.109, 0.079, 0.094, 0.119, 0.105),
}
"""Mean-softmax accuracies at FGSM 0 to 0.012, then PGD 0 to 3."""


@dataclasses.dataclass(frozen=True)
class AdversarialConfig(CifarSetting):
    """Figure 11: FGSM and PGD on a network trained on CIFAR-10 and on its ensembles."""

    place: ClassVar[str] = "gradient_flow/adversarial"

    official: int = 1000
    """Images of the official test split that are attacked beside the held-out training images."""

    @property
    def members(self) -> int:
        """Members of each ensemble."""
        return 4 if self.quick else MEMBERS


def entry(config: AdversarialConfig) -> None:
    """Train or read the networks, attack, draw."""
    from papers.gradient_flow.networks.cifar.runs import into_directory

    into_directory(config, "papers.gradient_flow.adversarial", draw_setting)


def draw(directory: "RunDirectory", config: FiguresConfig, command: str) -> list["Claim"]:
    """Draw Figure 11 for ``python -m papers.gradient_flow.figures --figure 11``."""
    return draw_setting(directory, AdversarialConfig.from_figures(config), command)


def strengths() -> tuple["Strength", ...]:
    """Give the attacks in the order of the paper's table."""
    from papers.gradient_flow.figure_11_adversarial.measure import Strength

    return (*(Strength("fgsm", value) for value in FGSM), *(Strength("pgd", float(value)) for value in PGD))


def draw_setting(directory: "RunDirectory", config: AdversarialConfig, command: str) -> list["Claim"]:
    """Train or read each seed's network, attack it, write figure, arrays and summary, and give the claims."""
    import jax.numpy as jnp

    from papers.gradient_flow.figure_11_adversarial.measure import ADAPTIVE, CORRECTED, LEGACY, held_out, prepare, sweep
    from papers.gradient_flow.networks.cifar.network import pixels
    from papers.gradient_flow.networks.cifar.runs import load, networks, stacked, write_summary

    dataset, protocol = load(config), LEGACY if config.legacy else CORRECTED
    seen, official, tested, residuals, conditions = [], [], [], [], []
    for network, trained in networks(config, "leaky_relu", dataset, directory):
        target = prepare(network, trained.params, dataset, config.members, EPSILON)
        tested.append(trained.test_accuracy)
        residuals.append(np.max(target.maps.residual, axis=1))
        conditions.append(np.median(target.maps.condition, axis=1))
        seen.append(sweep(target, *held_out(target, dataset, 200 if config.quick else 1000), strengths(), protocol))
        images = pixels(dataset.test.images[: config.shown_official], dataset)
        labels = jnp.asarray(dataset.test.labels[: config.shown_official])
        official.append(sweep(target, images, labels, strengths(), protocol))
    both = {"held_out": stacked(seen), "official": stacked(official)}
    arrays = {f"{split}_{name}": values for split in both for name, values in _arrays(both[split]).items()}
    quality = {"largest_residual": np.stack(residuals), "median_condition": np.stack(conditions)}
    directory.save_figure(_picture(both["held_out"], config), "figure_11", **arrays, **quality)
    summary = {split: _summary(both[split], ADAPTIVE) for split in both} | {"paper": PAPER, "seeds": config.all_seeds}
    maps = {name: dict(zip(KINDS, values.max(axis=0).tolist(), strict=True)) for name, values in quality.items()}
    known = {"network_test_accuracy": tested, "maps": maps, "protocol": protocol, "strengths": strengths()}
    write_summary(directory, summary | known)
    return claims(both["held_out"], both["official"], config, directory, command)


def _arrays(found: "Sweep") -> dict[str, np.ndarray]:
    nested = {f"{how}_{name}": values for how in ("transfer", "adaptive") for name, values in _scores(found, how)}
    return {"own": found.own, "clipped": found.clipped, "strongest": found.strongest, **nested}


def _scores(found: "Sweep", how: str) -> list[tuple[str, np.ndarray]]:
    return list(getattr(found, how)._asdict().items())


def _summary(found: "Sweep", attacked: tuple[str, ...]) -> dict:
    """Accuracy at every strength, mean and interval over seeds."""
    from papers.common.claims import interval

    def table(values: np.ndarray) -> list:
        return [interval(column) for column in values.T]

    return {
        "original": table(found.own),
        "original_clean_clipped_to_0_1": interval(found.clipped),
        "transfer_mean_softmax": {kind: table(found.transfer.mean_softmax[..., k]) for k, kind in enumerate(KINDS)},
        "transfer_vote": {kind: table(found.transfer.vote[..., k]) for k, kind in enumerate(KINDS)},
        "adaptive_mean_softmax": {kind: table(found.adaptive.mean_softmax[..., k]) for k, kind in enumerate(attacked)},
        "adaptive_vote": {kind: table(found.adaptive.vote[..., k]) for k, kind in enumerate(attacked)},
        "strongest_of_both": {kind: table(found.strongest[..., k]) for k, kind in enumerate(attacked)},
        "smallest_share_of_finite_members": float(found.transfer.finite.min()),
    }


def _picture(found: "Sweep", config: AdversarialConfig) -> object:
    """Accuracy against strength: transferred and adaptive attacks, mean over seeds and 95 % intervals."""
    from papers.common.claims import interval
    from papers.common.plots import new_figure

    canvas = new_figure(1, 2, width=4.4, height=3.4)
    curves = {"original": (found.own, "black", "-")}
    for k, kind in enumerate(KINDS):
        curves[kind] = (found.transfer.mean_softmax[..., k], f"C{k}", "-")
    for k, kind in enumerate(("group", "interpolated_permutation")):
        curves[f"{kind}, adaptive"] = (found.adaptive.mean_softmax[..., k], f"C{k}", ":")
    curves["group, stronger of both"] = (found.strongest[..., 0], "C0", "--")
    parts = ((slice(0, len(FGSM)), FGSM, "FGSM, ε"), (slice(len(FGSM), None), PGD, "PGD, steps"))
    for axes, (part, x, label) in zip(canvas.axes[0], parts, strict=True):
        for place, (name, (values, colour, line)) in enumerate(curves.items()):
            bounds = [interval(column) for column in values[:, part].T]
            mean = np.array([one.mean for one in bounds])
            axes.plot(x, mean, color=colour, linestyle=line, linewidth=1.3, label=name.replace("_", " "))
            if config.seeds > 1:
                # the bars beside one another, so that they can be told apart
                moved = np.array(x) + (place - len(curves) / 2) * 0.01 * (x[-1] - x[0])
                error = [one.high - one.mean for one in bounds]
                axes.errorbar(moved, mean, error, color=colour, linestyle="none", elinewidth=0.6, capsize=1.5)
        axes.axhline(CHANCE, color="0.5", linewidth=0.8, linestyle="--")
        axes.set(xlabel=label, ylabel="accuracy (mean softmax)", ylim=(0, 0.85), xticks=x)
    canvas.axes[0, 0].legend(fontsize=6, frameon=False, ncols=2)
    return canvas.figure


def claims(
    found: "Sweep", official: "Sweep", config: AdversarialConfig, directory: "RunDirectory", command: str
) -> list["Claim"]:
    """Make the claims of Figure 11, by mean softmax; the interval is over the seeds."""
    from papers.gradient_flow.networks.cifar.runs import claimer

    protocol = "softmax before the cross-entropy; attacked twice, clipped to [0, 1]" if config.legacy else "logits"
    network = config.network("leaky_relu", config.seed)
    how = f"{config.members} members, {protocol}"
    claim = claimer(config, directory, command, network, figure="11", done="attacked", how=how)
    judged = [*_robustness(found), *_chance(found), *_clean(found, official)]
    return [
        claim(values, threshold, direction, claim=words, paper=paper)
        for words, paper, values, threshold, direction in judged
    ]


def _robustness(found: "Sweep") -> list[tuple]:
    """Group less original at every strength, for the transferred, the adaptive and the stronger of both attacks."""
    group, judged = KINDS.index("group"), []
    accuracies = {
        "transfer": found.transfer.mean_softmax[..., group],
        "adaptive": found.adaptive.mean_softmax[..., group],
        "stronger of both for each image": found.strongest[..., group],
    }
    for place, strength in enumerate(strengths()):
        if strength.value == 0:
            continue
        name = f"{strength.method.upper()} {strength.value:g}"
        paper = PAPER["group"][place] - PAPER["original"][place]
        told = {"transfer": f"{paper:+.3f}", "adaptive": "not tried"}
        for how, values in accuracies.items():
            words = f"{name}, {how}: group is more robust than the original: accuracy less the original's"
            judged.append((words, told.get(how, LATER), values[:, place] - found.own[:, place], 0.0, "above"))
        words = f"{name}, group: the adaptive attack is stronger than the transferred one: accuracy less that under it"
        gap = accuracies["adaptive"][:, place] - accuracies["transfer"][:, place]
        judged.append((words, LATER, gap, 0.0, "below"))
    return judged


def _chance(found: "Sweep") -> list[tuple]:
    """What is at chance or below it."""
    judged = []
    for place, epsilon in enumerate(FGSM):
        if epsilon >= 0.009:
            for name, values in (("original", found.own), ("group", found.transfer.mean_softmax[..., 0])):
                words = f"FGSM {epsilon:g}: {name} is at chance or below: accuracy"
                judged.append((words, f"{PAPER[name][place]:.3f}", values[:, place], SIGNAL, "below"))
    last = len(FGSM) - 1
    for kind in ("inverse", "random", "shuffle"):
        values = found.transfer.mean_softmax[..., KINDS.index(kind)]
        mean = np.mean(PAPER[kind][: len(FGSM)])
        words = f"FGSM, all strengths: {kind} is at chance: mean accuracy"
        judged.append((words, f"{mean:.3f}", values[:, : len(FGSM)].mean(axis=1), SIGNAL, "below"))
        gap = f"{PAPER[kind][last] - PAPER['original'][last]:+.3f}"
        words = f"FGSM {FGSM[last]:g}: {kind}, at chance, 'beats' the original: accuracy less the original's"
        judged.append((words, gap, values[:, last] - found.own[:, last], 0.0, "above"))
    return judged


def _clean(found: "Sweep", official: "Sweep") -> list[tuple]:
    """What the ensemble and what clipping cost without an attack; robustness on the official test split."""
    group = found.transfer.mean_softmax[..., KINDS.index("group")]
    attacked = slice(1, len(FGSM))
    gain = (official.transfer.mean_softmax[..., KINDS.index("group")] - official.own)[:, attacked].mean(axis=1)
    cost = PAPER["group"][0] - PAPER["original"][0]
    return [
        (
            "clean images: group costs little: accuracy less the original's",
            f"{cost:+.3f}",
            group[:, 0] - found.own[:, 0],
            -LARGEST_COST,
            "above",
        ),
        (
            "clean images clipped to [0, 1], no attack: the original's accuracy less that on clean ones",
            "0.210 - 0.598 = -0.388 with FGSM 0.003, the clipping included",
            found.clipped - found.own[:, 0],
            -CLIPPING,
            "below",
        ),
        (
            "FGSM on the official test split, transfer: group is more robust: accuracy less the original's, mean",
            "not evaluated there",
            gain,
            0.0,
            "above",
        ),
    ]


if __name__ == "__main__":
    main(entry, AdversarialConfig, PROG)
