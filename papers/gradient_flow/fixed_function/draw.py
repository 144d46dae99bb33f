"""The figure and the claims of Q at a fixed function, as :mod:`papers.gradient_flow.fixed_function.measure` has it."""

from collections.abc import Callable
from functools import partial

import numpy as np

from papers.common.claims import Claim, claim_over_seeds
from papers.common.plots import COLOURS, new_figure, style
from papers.common.runs import RunDirectory
from papers.gradient_flow.fixed_function.measure import ACTIVATIONS, SCALE, SCALES, Equalised, Places, equalise, measure
from papers.gradient_flow.networks.setting import FiguresConfig

# Thresholds, written before the first run.
LARGEST_FUNCTION_ERROR = 1e-10
LARGEST_SPECTRUM_ERROR = 1e-9
LARGEST_TIME_ERROR = 0.05
SMALLEST_GAIN = 1.5
SMALLEST_RATIO = 1.1
LARGEST_LEFT = 1e-6


def draw(directory: RunDirectory, config: FiguresConfig, command: str) -> list[Claim]:
    """Draw sharpness and rate against Q at fixed functions, and what is left of the scale once Q is equal."""
    found = {name: measure(name, config) for name in ACTIVATIONS}
    equal = {name: equalise(name, config) for name in ("linear", "relu")}
    canvas = new_figure(3, 3, width=3.1, height=2.3)
    for column, (name, places) in zip(canvas.axes.T, found.items(), strict=True):
        _draw_places(column[0], places.charge, places.sharpness, name)
        column[0].set_title(f"{name}: sharpness at one function", fontsize=9)
        _draw_places(column[1], places.charge, places.time, name)
        column[1].set_title(f"{name}: time to 1 % of a shifted target", fontsize=9)
    for panel, (name, sharpness) in zip(canvas.axes[2], equal.items(), strict=False):
        _draw_equal(panel, sharpness)
        panel.set_title(f"{name}: one function, initial scales", fontsize=9)
    _draw_prediction(canvas.axes[2, 2], found)
    arrays = {f"{name}_{field}": value for name, run in found.items() for field, value in run._asdict().items()}
    for name, run in equal.items():
        arrays |= {f"{name}_equal_{field}": value for field, value in run._asdict().items() if value is not None}
    directory.save_figure(canvas.figure, "fixed_function", scales=np.asarray(SCALES), **arrays)
    for name, run in found.items():
        for seed, *rows in zip(config.all_seeds, run.charge, run.size, run.sharpness, run.time, strict=True):
            names = ("charge", "size", "sharpness", "time")
            directory.append({"activation": name, "seed": seed, **dict(zip(names, rows, strict=True))})
    for name, run in equal.items():
        directory.append({"activation": name, "scales": SCALES, **run._asdict()})
    return _claims(directory, config, command, found, equal)


def _draw_places(panel, charge: np.ndarray, values: np.ndarray, name: str) -> None:
    homogeneous_name = name != "tanh"
    for i, (q, value) in enumerate(zip(charge, values, strict=True)):
        along = slice(None, -1) if homogeneous_name else slice(None)
        label = "even" if homogeneous_name else "finite flow"
        panel.plot(
            q[along], value[along], "o-", markersize=3, linewidth=1, color=COLOURS["fixed"], label=None if i else label
        )
        if homogeneous_name:
            panel.plot(
                q[-1], value[-1], "x", color=COLOURS["free"], label=None if i else "split, same size S as the ends"
            )
    panel.set(xlabel="Q")
    panel.set_ylim(0, 1.4 * values.max())  # room for the legend
    panel.legend(fontsize=6, frameon=False, loc="upper right")


def _draw_equal(panel, run: Equalised) -> None:
    lines = [("as trained", run.trained, "o-", COLOURS["fixed"]), ("all $Q_i = 0$", run.neurons, "s-", COLOURS["free"])]
    if run.whole is not None:
        lines.append(("matrix Q = 0", run.whole, "^--", "black"))
    for label, values, mark, colour in lines:
        panel.plot(SCALES, values.T, mark, markersize=3, linewidth=1, color=colour)
        panel.plot([], [], mark, markersize=3, linewidth=1, color=colour, label=label)
    panel.set(xlabel="initial standard deviation", ylabel="largest eigenvalue", yscale="log")
    panel.tick_params(which="minor", labelsize=6)
    panel.legend(fontsize=6, frameon=False)


def _draw_prediction(panel, found: dict[str, Places]) -> None:
    for name, places in found.items():
        panel.plot(places.predicted_time.ravel(), places.time.ravel(), "o", markersize=3, label=name)
    ends = [min(p.time.min() for p in found.values()), max(p.time.max() for p in found.values())]
    panel.plot(ends, ends, label="equal", **style("prediction"))
    panel.set_title("time, from the spectrum and measured", fontsize=9)
    panel.set(xlabel="predicted", ylabel="measured")
    panel.legend(fontsize=6, frameon=False)


def _claims(
    directory: RunDirectory,
    config: FiguresConfig,
    command: str,
    found: dict[str, Places],
    equal: dict[str, Equalised],
) -> list[Claim]:
    claim = partial(
        claim_over_seeds,
        reduced=config.quick,
        environment=directory.environment,
        figure="fixed function",
        paper="larger |Q|, sharper and faster; shown with the scale of the weights varied along with Q",
        source="Zhao et al. 2023, Figures 6 and 9; the experiment and its thresholds are this project's",
        data="none: random targets",
        command=command,
    )
    claims = []
    for name, places in found.items():
        mine = partial(claim, model=f"two layers, {name}, (m, h, n) = (10, 50, 5), trained from std {SCALE:g}")
        claims += _claims_of_orbit(mine, name, places)
        claims += _claims_of_tanh(mine, places) if name == "tanh" else _claims_of_charge(mine, name, places)
    for name, run in equal.items():
        mine = partial(claim, model=f"two layers, {name}, (m, h, n) = (10, 50, 5), trained from std {SCALES}")
        claims += _claims_of_scale(mine, name, run)
    return claims


def _claims_of_orbit(claim: Callable[..., Claim], name: str, places: Places) -> list[Claim]:
    values = places.eigenvalues
    error = np.abs(values[..., : places.predicted.shape[-1]] - places.predicted).max(axis=-1) / values[..., 0]
    trace = np.abs(values.sum(axis=-1) / places.trace - 1)
    source = "2 (lambda_i(V V^T) + mu_j(U U^T))" if name == "linear" else "2 J J^T"
    return [
        claim(
            places.function_error.max(axis=1),
            LARGEST_FUNCTION_ERROR,
            "below",
            claim=f"{name}: the function is the same at all places, largest relative change",
        ),
        claim(
            np.maximum(error, trace).max(axis=1),
            LARGEST_SPECTRUM_ERROR,
            "below",
            claim=f"{name}: Hessian eigenvalues and trace by {source}, largest relative error",
        ),
        claim(
            np.abs(places.time / places.predicted_time - 1).max(axis=1),
            LARGEST_TIME_ERROR,
            "below",
            claim=f"{name}: the spectrum gives the time of gradient flow to a shifted target, largest relative error",
        ),
    ]


def _claims_of_charge(claim: Callable[..., Claim], name: str, places: Places) -> list[Claim]:
    """Along ``even`` both ends against the middle; then places of equal size, and places of equal total Q."""
    sharp, time = places.sharpness, places.time
    first, last, split = 0, sharp.shape[1] - 2, sharp.shape[1] - 1
    middle = last // 2
    ends = [first, last]
    return [
        claim(
            (sharp[:, ends] / sharp[:, [middle]]).min(axis=1),
            SMALLEST_GAIN,
            "above",
            claim=f"{name}: larger |Q| of all neurons is sharper at a fixed function, |Q| = 300 over Q = 0",
        ),
        claim(
            (time[:, [middle]] / time[:, ends]).min(axis=1),
            SMALLEST_GAIN,
            "above",
            claim=f"{name}: larger |Q| of all neurons is faster at a fixed function, time at Q = 0 over |Q| = 300",
        ),
        claim(
            sharp[:, first] / sharp[:, last],
            SMALLEST_RATIO,
            "above",
            claim=f"{name}: the size of the weights alone does not decide: sharpness at Q = -300 over Q = 300, equal S",
        ),
        claim(
            sharp[:, split] / sharp[:, middle],
            SMALLEST_RATIO,
            "above",
            claim=f"{name}: the total Q alone does not decide: sharpness of split over even, both Q = 0",
        ),
    ]


def _claims_of_tanh(claim: Callable[..., Claim], places: Places) -> list[Claim]:
    return [
        claim(
            places.sharpness.max(axis=1) / places.sharpness.min(axis=1),
            SMALLEST_GAIN,
            "above",
            claim="tanh: sharpness varies along the finite flow at a fixed function, largest over smallest",
        ),
        claim(
            places.time.max(axis=1) / places.time.min(axis=1),
            SMALLEST_GAIN,
            "above",
            claim="tanh: the rate varies along the finite flow at a fixed function, largest over smallest time",
        ),
    ]


def _claims_of_scale(claim: Callable[..., Claim], name: str, run: Equalised) -> list[Claim]:
    """The initial scale at one function and one Q: what of it is left."""
    claims = [
        claim(
            run.neurons.max(axis=1) / run.neurons.min(axis=1),
            SMALLEST_RATIO,
            "above",
            claim=f"{name}: with all Q_i = 0 the initial scale still decides sharpness, largest over smallest",
        )
    ]
    if run.whole is not None:
        claims.append(
            claim(
                run.whole.max(axis=1) / run.whole.min(axis=1) - 1,
                LARGEST_LEFT,
                "below",
                claim=f"{name}: with the whole matrix Q = 0 nothing is left of the initial scale, relative difference",
            )
        )
    return claims
