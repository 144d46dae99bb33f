"""The functional dimension of random networks against one thing at a time.

Source: Grigsby, Lindsey, Rolnick 2023, the networks and points of Figure 6; there width and number of inputs are equal.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.common.experiment import Experiment, Picture
from papers.common.plots import COLOURS, new_figure
from papers.common.runs import RunDirectory
from papers.hidden_symmetries.claims import GROUPS, SWEEP
from papers.hidden_symmetries.sweep import SweepConfig
from symjax.dimension import batch_dimension, bound
from symjax.dimension import networks as nets

INPUTS = (1, 2, 4, 8, 16)
WIDTHS = (4, 8)
POINTS = (1, 3, 10, 30, 100, 300)  # times the bound; the paper has 100
SCALES = (0.05, 0.1, 0.3, 1.0, 3.0, 10.0)
BIASES = (0.0, 0.01, 0.1, 0.3, 1.0)  # standard deviations; the paper's is 0.1
SIZES = (5, 5, 5, 5, 1)  # where inputs and width stay


class Ranks(NamedTuple):
    """The rank of N networks at each of S settings, (S, N), and the bound at each, (S,)."""

    rank: np.ndarray
    bound: np.ndarray


Sweeps = dict[str, Ranks]
"""What is varied -> the ranks: "inputs_4", "inputs_8", "points", "scales", "biases"."""


def measure(config: SweepConfig, directory: RunDirectory) -> Sweeps:
    """Measure all sweeps; what is written down already is read."""
    seeds = range(config.seed, config.seed + config.networks)
    found: Sweeps = {}
    for width in WIDTHS:
        compute = partial(_over, [partial(_rank, sizes=(inputs, width, width, width, 1)) for inputs in INPUTS], seeds)
        found[f"inputs_{width}"] = directory.part(f"inputs_{width}", Ranks, compute)
    for name, values in (("points", POINTS), ("scales", SCALES), ("biases", BIASES)):
        compute = partial(_over, [partial(_rank, **{name: value}) for value in values], seeds)
        found[name] = directory.part(name, Ranks, compute)
    for name, ranks in found.items():
        shares = np.mean(ranks.rank == ranks.bound[:, None], axis=1).round(4).tolist()
        directory.append({"sweep": name, "share": shares, "mean": ranks.rank.mean(axis=1).round(3).tolist()})
        print(f"{name}: shares at the bound {shares}", flush=True)
    return found


def _over(settings: list[partial], seeds: range) -> Ranks:
    rank = np.array([[setting(seed) for seed in seeds] for setting in settings])
    return Ranks(rank, np.array([bound(setting.keywords.get("sizes", SIZES)) for setting in settings]))


def _rank(
    seed: int, sizes: tuple[int, ...] = SIZES, points: int = 100, scales: float = 1.0, biases: float = 0.1
) -> int:
    """The rank at ``points`` times the bound of normal points; settings of a sweep share network and points."""
    random = np.random.default_rng((8, *sizes, seed))
    params = nets.random_params(sizes, random, biases)
    inputs = scales * random.normal(size=(points * bound(sizes), sizes[0]))
    return batch_dimension(params, inputs, random).rank


def draw(found: Sweeps, config: SweepConfig) -> Picture:
    """Draw the share at the bound against the number of inputs, and the mean rank against the rest."""
    del config
    canvas = new_figure(1, 4, width=3.0, height=2.6)
    panel = canvas.axes[0, 0]
    for width, colour in zip(WIDTHS, (COLOURS["fixed"], COLOURS["free"]), strict=True):
        panel.plot(INPUTS, _share(found[f"inputs_{width}"]), "o-", color=colour, markersize=3, label=f"width {width}")
    panel.set_xscale("log", base=2)
    panel.set_xticks(INPUTS, INPUTS)
    panel.set(xlabel="number of inputs", ylabel="share without hidden symmetries", ylim=(0, 1))
    panel.legend(frameon=False, fontsize=7, loc="upper left")
    largest = bound(SIZES)
    labels = (("points", POINTS, "points over the bound"), ("scales", SCALES, "scale of the points"))
    for panel, (name, values, label) in zip(canvas.axes[0, 1:3], labels, strict=True):
        panel.plot(values, found[name].rank.mean(axis=1), "o-", color=COLOURS["fixed"], markersize=3)
        panel.axhline(largest, color="black", linestyle="--", linewidth=1, label="bound")
        panel.set(xscale="log", xlabel=label, ylabel="mean functional dimension")
    canvas.axes[0, 1].legend(frameon=False, fontsize=7, loc="lower right")
    panel = canvas.axes[0, 3]
    panel.plot(range(len(BIASES)), _share(found["biases"]), "o-", color=COLOURS["fixed"], markersize=3)
    panel.set_xticks(range(len(BIASES)), [f"{value:g}" for value in BIASES])
    panel.set(xlabel="standard deviation of the biases", ylabel="share without hidden symmetries", ylim=(0, None))
    for panel, title in zip(canvas.axes[0], ("depth 4", *3 * [f"widths {SIZES}"]), strict=True):
        panel.set_title(title, fontsize=9)
    arrays = {f"{name}_{field}": values for name, one in found.items() for field, values in one._asdict().items()}
    return Picture(canvas.figure, arrays)


def _share(ranks: Ranks) -> np.ndarray:
    return np.mean(ranks.rank == ranks.bound[:, None], axis=1)


def judge(found: Sweeps, config: SweepConfig, setting: Setting) -> list[Claim]:
    """Judge the sweeps over ten groups of networks, and the identities over all."""
    setting = setting._replace(data="none: standard normal points")
    groups = np.array_split(np.arange(config.networks), min(GROUPS, config.networks))
    model = f"random ReLU networks {SIZES}"
    made = []
    for width in WIDTHS:
        ranks = found[f"inputs_{width}"]
        full = ranks.rank == ranks.bound[:, None]
        rises = [np.mean(full[-1, g]) - np.mean(full[0, g]) for g in groups]
        here = setting._replace(model=f"random ReLU networks of depth 4 and width {width}")
        made.append(claims.judge(SWEEP["inputs"], rises, here, width=width, most=INPUTS[-1], least=INPUTS[0]))
    here = setting._replace(model=model)
    at = {"points": (POINTS.index(300), POINTS.index(100)), "scales": (SCALES.index(1.0), SCALES.index(0.1))}
    for name, (more, less) in at.items():
        rank = found[name].rank
        made.append(claims.judge(SWEEP[name], [np.mean(rank[more, g] - rank[less, g]) for g in groups], here))
    full = found["biases"].rank == bound(SIZES)
    fall = full[BIASES.index(0.1)].astype(float) - full[BIASES.index(1.0)]
    made.append(claims.judge(SWEEP["biases"], [np.mean(fall[g]) for g in groups], here))
    rises = np.diff(found["points"].rank, axis=0)
    made.append(claims.judge(SWEEP["monotone"], [rises.min()], here, count=rises.size))
    over = [np.max(ranks.rank - ranks.bound[:, None]) for ranks in found.values()]
    count = sum(ranks.rank.size for ranks in found.values())
    made.append(claims.judge(SWEEP["bound"], over, here, count=count))
    return made


EXPERIMENT = Experiment(measure, draw, judge)
