"""The paper's panels: which runs they need, what is measured on them and which claims follow.

Every panel compares free filter norms with norms fixed at their initial values. Thresholds were written before any run.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from papers.common.claims import Claim, claim_over_seeds
from papers.common.plots import band, new_figure
from papers.common.runs import RunDirectory
from papers.noether.config import FilterNorm, TrainConfig
from papers.noether.draw import describe_data, law_claims

PanelName = Literal["a", "b", "c", "d"]
ARMS: tuple[FilterNorm, FilterNorm] = ("free", "fixed")

LARGEST_GAP_AT_LOW_RATE = 0.015
LEAST_GAP_AT_HIGH_RATE = 0.03
LEAST_GROWTH_OF_GAP_WITH_MOMENTUM = 0.02
LEAST_GAIN_OF_WEIGHT_DECAY = 0.005
LARGEST_CHANGE_OF_FIRST_LOSS = 1e-3
LEAST_CHANGE_OF_LATER_LOSS = 0.05


class Panel(NamedTuple):
    """A panel: the field it varies and its values, the settings it holds, whether the learning rate drops."""

    field: str
    label: str
    values: tuple[float, ...]
    settings: dict[str, Any]
    drops: bool
    arms: tuple[FilterNorm, ...] = ARMS


PANELS: dict[str, Panel] = {
    "a": Panel(
        "learning_rate", "learning rate", (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), {"momentum": 0.9, "weight_decay": 1e-4}, False
    ),
    "b": Panel("momentum", "momentum", (0.0, 0.5, 0.9, 0.95), {"learning_rate": 0.03, "weight_decay": 1e-4}, True),
    "c": Panel(
        "weight_decay", "weight decay", (0.0, 1e-5, 1e-4, 5e-4, 1e-3), {"learning_rate": 0.03, "momentum": 0.9}, True
    ),
    "d": Panel(
        "initial_scale",
        "factor of the initial filters",
        (1.0, 10.0),
        {"learning_rate": 0.03, "momentum": 0.9, "weight_decay": 1e-4},
        False,
        ("free",),
    ),
}


class Member(NamedTuple):
    """One run of a panel."""

    value: float
    arm: FilterNorm
    seed: int
    config: TrainConfig


def members(
    name: PanelName, base: TrainConfig, values: tuple[float, ...] | None, seeds: int, out: Path
) -> list[Member]:
    """All runs of a panel, seed by seed, so that an interrupted panel has whole seeds first."""
    panel = PANELS[name]
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
    """Whether a member's run is complete."""
    return (member.config.out / "summary.json").is_file()


def load(member: Member) -> dict[str, np.ndarray]:
    """What a finished run measured."""
    with np.load(member.config.out / "history.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def draw(
    name: PanelName, runs: list[tuple[Member, dict[str, np.ndarray]]], directory: RunDirectory, command: str
) -> list[Claim]:
    """Draw a panel (final test accuracy, loss curves), write its claims and a summary ``results.json``."""
    panel = PANELS[name]
    values = sorted({member.value for member, _ in runs})
    canvas = new_figure(1, 1 + len(values), width=3.0)
    final = {arm: np.array([[_final(runs, value, arm)] for value in values])[:, 0] for arm in panel.arms}
    place = np.arange(len(values))
    for arm in panel.arms:
        band(canvas.axes[0, 0], place, 100 * final[arm].T, arm, f"{arm} norms")
    canvas.axes[0, 0].set_xticks(place, [f"{value:g}" for value in values])
    canvas.axes[0, 0].set_title(f"panel {name.upper()}-1", fontsize=9)
    canvas.axes[0, 0].set(xlabel=panel.label, ylabel="final test accuracy (%)")
    canvas.axes[0, 0].legend(fontsize=7, frameon=False)
    curves: dict[str, np.ndarray] = {}
    for axes, value in zip(canvas.axes[0, 1:], values, strict=True):
        for arm in panel.arms:
            own = [arrays for member, arrays in runs if (member.value, member.arm) == (value, arm)]
            loss = np.stack([_smooth(arrays["train_loss"], arrays["test_step"]) for arrays in own])
            epochs = np.arange(1, loss.shape[1] + 1)
            band(axes, epochs, loss, arm, f"{arm} norms")
            curves[f"loss_{arm}_{value:g}"] = loss
        axes.set_title(f"{panel.label} {value:g}", fontsize=9)
        axes.set(xlabel="epoch", ylabel="training loss (nats)")
    base = runs[0][0].config
    title = f"{describe_data(base)}, width {base.width:g}, {base.epochs} epochs"
    title += f", batch {base.batch_size}, {len(final[panel.arms[0]][0])} seeds"
    canvas.figure.suptitle(f"{'reduced run: ' if reduced(base) else ''}{title}", fontsize=8)
    arrays = {f"accuracy_{arm}": final[arm] for arm in panel.arms}
    directory.save_figure(canvas.figure, f"panel_{name}", values=np.array(values), **arrays, **curves)
    claims = panel_claims(name, runs, directory.environment, command)
    directory.write_claims(claims)
    _write_results(name, runs, claims, directory, command)
    return claims


def reduced(config: TrainConfig) -> bool:
    """Whether a run is smaller than the paper's: full-width VGG11-BN, all of Tiny-ImageNet, about 100 epochs."""
    whole = config.data == "tiny_imagenet" and config.classes is None and config.limit is None
    return not whole or config.width != 1 or config.epochs < 100


def panel_claims(
    name: PanelName, runs: list[tuple[Member, dict[str, np.ndarray]]], environment: dict[str, Any], command: str
) -> list[Claim]:
    """The panel's claims, one number a seed, and the claims about the laws over all its runs."""
    base = runs[0][0].config
    words = {
        "figure": f"panel {name.upper()}",
        "source": "direction: Tanaka & Kunin 2021, section 5; threshold: spec 2.4",
        "data": describe_data(base),
        "model": f"VGG11-BN width {base.width:g}, {base.epochs} epochs",
        "command": command,
    }

    def claim(values: np.ndarray, threshold: float, direction: Any, sentence: str, paper: str) -> Claim:
        return claim_over_seeds(
            values.tolist(),
            threshold,
            direction,
            reduced=reduced(base),
            environment=environment,
            claim=sentence,
            paper=paper,
            **words,
        )

    values = sorted({member.value for member, _ in runs})
    low, high = values[0], values[-1]
    found: list[Claim] = []
    if name == "d":
        found += _initial_norm_claims(runs, low, high, claim)
    elif name == "c":
        gains = np.array([_final(runs, value, "free") for value in values if value > 0]).max(0) - _final(
            runs, 0.0, "free"
        )
        sentence = "the best weight decay ends above none (test accuracy, free norms)"
        found.append(
            claim(gains, LEAST_GAIN_OF_WEIGHT_DECAY, "above", sentence, "weight decay above 0 is better than 0")
        )
    else:
        gaps = {value: _final(runs, value, "free") - _final(runs, value, "fixed") for value in values}
        if name == "a":
            near = min(values, key=lambda value: abs(np.log(value / 0.03)))
            found.append(
                claim(
                    gaps[low],
                    LARGEST_GAP_AT_LOW_RATE,
                    "within",
                    f"free and fixed norms end alike at learning rate {low:g} (difference of test accuracy)",
                    "almost identical at 0.001",
                )
            )
            found.append(
                claim(
                    gaps[near],
                    LEAST_GAP_AT_HIGH_RATE,
                    "above",
                    f"free norms end above fixed at learning rate {near:g} (difference of test accuracy)",
                    "clearly better at 0.03",
                )
            )
        else:
            top = 0.9 if 0.9 in gaps else high
            sentence = f"the gap of free over fixed norms grows from momentum {low:g} to {top:g} (test accuracy)"
            paper = "a gap appears at high momentum only"
            found.append(claim(gaps[top] - gaps[low], LEAST_GROWTH_OF_GAP_WITH_MOMENTUM, "above", sentence, paper))
    free = [arrays for member, arrays in runs if member.arm == "free"]
    return found + law_claims(free, base, environment, command)


def _initial_norm_claims(runs: list[Any], low: float, high: float, claim: Any) -> list[Claim]:
    first = {value: _curve(runs, value, "test_loss")[:, 0] for value in (low, high)}
    later = {value: _curve(runs, value, "test_loss")[:, -1] for value in (low, high)}
    return [
        claim(
            first[high] / first[low] - 1,
            LARGEST_CHANGE_OF_FIRST_LOSS,
            "within",
            f"filters x{high:g} leave the loss before training as it was (relative difference, evaluation mode)",
            "equal at step 0",
        ),
        claim(
            np.abs(later[high] / later[low] - 1),
            LEAST_CHANGE_OF_LATER_LOSS,
            "above",
            f"filters x{high:g} change the loss after training (relative difference)",
            "the curves differ: the effective learning rate is divided by 100",
        ),
    ]


def _write_results(
    name: PanelName,
    runs: list[tuple[Member, dict[str, np.ndarray]]],
    claims: list[Claim],
    directory: RunDirectory,
    command: str,
) -> None:
    from papers.common.runs import to_json

    rows = []
    for member, _ in runs:
        summary = json.loads((member.config.out / "summary.json").read_text())
        rows.append({"value": member.value, "filter_norm": member.arm, "seed": member.seed, **summary})
    base = dataclasses.replace(runs[0][0].config, out=Path("."), data_dir=None, cache_dir=None)
    record = {
        "panel": name,
        "reduced": reduced(base),
        "command": command,
        "environment": directory.environment,
        "members_commit": sorted({_commit(member) for member, _ in runs}),
        "configuration": base,
        "runs": rows,
        "claims": claims,
    }
    (directory.path / "results.json").write_text(json.dumps(to_json(record), indent=1) + "\n")


def _commit(member: Member) -> str:
    return str(json.loads((member.config.out / "config.json").read_text())["commit"])


def _final(runs: list[tuple[Member, dict[str, np.ndarray]]], value: float, arm: str) -> np.ndarray:
    """Final test accuracy of one setting, one entry a seed."""
    own = sorted(
        (member.seed, float(arrays["test_top1"][-1]))
        for member, arrays in runs
        if (member.value, member.arm) == (value, arm)
    )
    return np.array([accuracy for _, accuracy in own])


def _curve(runs: list[Any], value: float, name: str) -> np.ndarray:
    return np.stack([arrays[name] for member, arrays in runs if member.value == value])


def _smooth(loss: np.ndarray, evaluated: np.ndarray) -> np.ndarray:
    """Mean training loss of each epoch; ``evaluated`` holds the steps at the epochs' ends, 0 first."""
    return np.array(
        [loss[a:b].mean() for a, b in zip(evaluated[:-1].astype(int), evaluated[1:].astype(int), strict=True)]
    )
