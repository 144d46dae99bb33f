"""Figure 10: ensembles made of one trained network by group elements: ``python -m papers.gradient_flow.ensemble``.

Each member moves the hidden layer of the network by its own group element and the upper map that keeps the function on
its own batch; G members vote. On the orbit of a symmetry all members are as good as the network.

Source: Zhao et al. 2023, Figure 10 (the authors' notebook).
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
    from papers.gradient_flow.figure_10_ensembles.measure import Grid

PROG = "python -m papers.gradient_flow.ensemble"

SIZES = (10, 20, 40, 60, 80, 100, 120)
EPSILONS = (20.0, 10.0, 1.0, 0.1, 0.01, 0.001, 1e-4)

SIGNAL = 0.15
"""Written before the first run: accuracy above this has retained signal, below it is at chance."""

UNCHANGED = 0.02
"""Written before the first run: a smaller change of accuracy counts as none."""

SMALLEST_GAIN = 0.05
"""Written before the first run: by how much at least 120 members are better than 10 at epsilon = 1."""

PAPER_CHANGE = {
    "group": (-0.406, -0.286, -0.207, -0.002, 0.0, 0.0, 0.0),
    "interpolated_permutation": (-0.151, -0.210, -0.106, -0.004, -0.001, 0.0, 0.0),
    "inverse": (-0.432, -0.461, -0.448, -0.004, 0.001, 0.0, 0.0),
    "random": (-0.422, -0.455, -0.448, -0.057, -0.001, 0.0, 0.0),
    "shuffle": (-0.419, -0.458, -0.457, -0.422, -0.419, -0.469, -0.408),
}
"""Accuracy less the network's own for each epsilon, mean over the sizes; group at 20 is NaN for six of seven sizes."""


@dataclasses.dataclass(frozen=True)
class EnsembleConfig(CifarSetting):
    """Figure 10: five ensembles on CIFAR-10 over the number of members and the strength of the group elements."""

    place: ClassVar[str] = "gradient_flow/ensemble"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of members."""
        return (2, 4) if self.quick else SIZES

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Strengths of the group elements, those of the paper's that are run."""
        return (10.0, 1.0, 0.1) if self.quick else EPSILONS


def entry(config: EnsembleConfig) -> None:
    """Train or read the networks, evaluate their ensembles, draw."""
    from papers.gradient_flow.networks.cifar.runs import into_directory

    into_directory(config, "papers.gradient_flow.ensemble", draw_setting)


def draw(directory: "RunDirectory", config: FiguresConfig, command: str) -> list["Claim"]:
    """Draw Figure 10 for ``python -m papers.gradient_flow.figures --figure 10``."""
    return draw_setting(directory, EnsembleConfig.from_figures(config), command)


def draw_setting(directory: "RunDirectory", config: EnsembleConfig, command: str) -> list["Claim"]:
    """Train or read each seed's network, evaluate the grid, write figure, arrays and summary, and give the claims."""
    from papers.gradient_flow.figure_10_ensembles.measure import measure
    from papers.gradient_flow.networks.cifar.ensembles import memory
    from papers.gradient_flow.networks.cifar.runs import load, networks, stacked, write_summary

    dataset, grids, tested = load(config), [], []
    for network, trained in networks(config, "leaky_square", dataset, directory):
        tested.append(trained.test_accuracy)
        held_out = 200 if config.quick else 1000
        grids.append(
            measure(network, trained.params, dataset, config.sizes, config.epsilons, held_out, config.shown_official)
        )
    grid = stacked(grids)
    picture = _picture(grid, config)
    arrays = {f"{split}_{name}": values for split in ("held_out", "official") for name, values in _named(grid, split)}
    plain = {name: getattr(grid, name) for name in ("own_held_out", "own_official", "condition", "residual", "rank")}
    axes = {"sizes": np.array(config.sizes), "epsilons": np.array(config.epsilons), "kinds": np.array(KINDS)}
    directory.save_figure(picture, "figure_10", **arrays, **plain, **axes)
    program = {"members": 120, "images": 1000, "kinds": len(KINDS), "scratch_bytes": memory(120, 1000)}
    summary = _summary(grid, config) | {"network_test_accuracy": tested, "largest_program": program}
    write_summary(directory, summary)
    return claims(grid, config, directory, command)


def _named(grid: "Grid", split: str) -> list[tuple[str, np.ndarray]]:
    return list(getattr(grid, split)._asdict().items())


def change(grid: "Grid", how: str = "mean_softmax") -> np.ndarray:
    """Give the ensembles' accuracy less the network's own on the same images: (seeds, sizes, epsilons, kinds)."""
    return getattr(grid.held_out, how) - grid.own_held_out[..., None, None]


def official_change(grid: "Grid") -> np.ndarray:
    """Give the same by mean softmax on the official test split."""
    return grid.official.mean_softmax - grid.own_official[:, None, None, None]


def _summary(grid: "Grid", config: EnsembleConfig) -> dict:
    """The table of the specification: change of accuracy, mean over sizes, with its interval over seeds."""
    from papers.common.claims import interval

    def table(values: np.ndarray) -> dict:
        each = values.mean(axis=1)
        return {
            kind: {f"{epsilon:g}": interval(each[:, e, k]) for e, epsilon in enumerate(config.epsilons)}
            for k, kind in enumerate(KINDS)
        }

    worst = {
        kind: {
            f"{epsilon:g}": {
                "median_condition": float(np.median(grid.condition[:, :, e, k])),
                "largest_residual": float(grid.residual[:, :, e, k].max()),
                "smallest_rank": int(grid.rank[:, :, e, k].min()),
                "finite_members": float(grid.held_out.finite[:, :, e, k].min()),
            }
            for e, epsilon in enumerate(config.epsilons)
        }
        for k, kind in enumerate(KINDS)
    }
    by_size = grid.held_out.mean_softmax[:, :, :, KINDS.index("group")].mean(axis=0)
    return {
        "own_accuracy_held_out": grid.own_held_out,
        "own_accuracy_official": grid.own_official,
        "change_mean_softmax": table(change(grid)),
        "change_vote": table(change(grid, "vote")),
        "change_mean_softmax_official": table(official_change(grid)),
        "paper_change": {
            kind: dict(zip(map("{:g}".format, EPSILONS), PAPER_CHANGE[kind], strict=True)) for kind in KINDS
        },
        "group_accuracy": {
            f"{epsilon:g}": dict(zip(map(str, config.sizes), by_size[:, e].tolist(), strict=True))
            for e, epsilon in enumerate(config.epsilons)
        },
        "maps": worst,
        "seeds": config.all_seeds,
    }


def _picture(grid: "Grid", config: EnsembleConfig) -> object:
    """Heatmaps of the change of accuracy: by vote on held-out training images, by mean softmax on the test split."""
    from papers.common.plots import new_figure

    canvas = new_figure(2, len(KINDS), width=2.4, height=2.2)
    rows = (("vote, held out", change(grid, "vote")), ("mean softmax, test split", official_change(grid)))
    largest = max(np.abs(values).max() for _, values in rows)
    for (name, values), panels in zip(rows, canvas.axes, strict=True):
        for kind, (index, axes) in zip(KINDS, enumerate(panels), strict=True):
            shown = values[..., index].mean(axis=0).T
            image = axes.imshow(shown, cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto")
            axes.set_title(f"{kind.replace('_', ' ')}\n{name}", fontsize=8)
            axes.set_xticks(range(len(config.sizes)), config.sizes, fontsize=6)
            axes.set_yticks(range(len(config.epsilons)), [f"{epsilon:g}" for epsilon in config.epsilons], fontsize=6)
            axes.set(xlabel="members", ylabel="ε" if index == 0 else "")
            axes.grid(False)
            for place, value in np.ndenumerate(shown):
                words = f"{100 * value:+.0f}" if abs(value) >= 0.005 else "0"
                axes.text(place[1], place[0], words, ha="center", va="center", fontsize=6)
    bar = canvas.figure.colorbar(image, ax=canvas.axes, shrink=0.6)
    bar.set_label("accuracy less the network's own; in the fields: points of 0.01", fontsize=7)
    return canvas.figure


def claims(grid: "Grid", config: EnsembleConfig, directory: "RunDirectory", command: str) -> list["Claim"]:
    """Make the claims of Figure 10; the mean is over the sizes, the interval over the seeds."""
    from papers.gradient_flow.networks.cifar.runs import claimer

    protocol = "softmax before the cross-entropy" if config.legacy else "logits"
    network = config.network("leaky_square", config.seed)
    claim = claimer(config, directory, command, network, figure="10", done="classified", how=protocol)
    changed, accuracy = change(grid).mean(axis=1), grid.held_out.mean_softmax.mean(axis=1)
    found = []
    for e, epsilon in enumerate(config.epsilons):
        for k, kind in enumerate(KINDS):
            reference = PAPER_CHANGE[kind][EPSILONS.index(epsilon)]
            value, threshold, direction, words = _judged(kind, epsilon, accuracy[:, e, k], changed[:, e, k])
            found.append(
                claim(
                    value,
                    threshold,
                    direction,
                    claim=f"eps {epsilon:g}, {kind.replace('_', ' ')}: {words}",
                    paper=f"accuracy less the network's own: {reference:+.3f}",
                )
            )
    group, one = KINDS.index("group"), config.epsilons.index(1.0)
    gain = grid.held_out.mean_softmax[:, -1, one, group] - grid.held_out.mean_softmax[:, 0, one, group]
    official = grid.official.mean_softmax[:, :, one, group].mean(axis=1)
    sizes = f"{config.sizes[-1]} members less {config.sizes[0]}"
    return [
        *found,
        claim(
            gain,
            SMALLEST_GAIN,
            "above",
            claim=f"eps 1, group: a larger ensemble is better: accuracy of {sizes}",
            paper="0.249 with 10 members, 0.432 with 100",
        ),
        claim(
            official,
            SIGNAL,
            "above",
            claim="eps 1, group: retains signal on the official test split: accuracy",
            paper="not evaluated there",
        ),
    ]


def _judged(kind: str, epsilon: float, accuracy: np.ndarray, changed: np.ndarray) -> tuple:
    """The value of a claim, its threshold and direction, and its words; what the paper's table shows decides which."""
    if epsilon >= 1 and kind in ("group", "interpolated_permutation"):
        return accuracy, SIGNAL, "above", "retains signal: accuracy"
    if epsilon >= 1 or kind == "shuffle":
        return accuracy, SIGNAL, "below", "is at chance: accuracy"
    if kind == "random" and epsilon == 0.1:
        return changed, -UNCHANGED, "below", "loses accuracy: accuracy less the network's own"
    return changed, UNCHANGED, "within", "changes nothing: accuracy less the network's own"


if __name__ == "__main__":
    main(entry, EnsembleConfig, PROG)
