"""The claims of Q at a fixed function, all of them this project's own."""

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.gradient_flow.claims import FIXED_FUNCTION
from papers.gradient_flow.fixed_function.measure import SCALE, SCALES, Equalised, Measured, Places
from papers.gradient_flow.networks.config import ExperimentConfig


def judge(measured: Measured, config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge all claims, the interval over the seeds."""
    judged = []
    for name, places in measured.places.items():
        here = setting._replace(
            data="none: random targets",
            model=f"two layers, {name}, (m, h, n) = (10, 50, 5), trained from std {SCALE:g}",
        )
        judged += _of_orbit(name, places, here)
        judged += _of_tanh(places, here) if name == "tanh" else _of_charge(name, places, here)
    for name, run in measured.equal.items():
        here = setting._replace(
            data="none: random targets", model=f"two layers, {name}, (m, h, n) = (10, 50, 5), trained from std {SCALES}"
        )
        judged += _of_scale(name, run, here, whole=not config.quick)
    return judged


def _of_orbit(name: str, places: Places, here: Setting) -> list[Claim]:
    values = places.eigenvalues
    error = np.abs(values[..., : places.predicted.shape[-1]] - places.predicted).max(axis=-1) / values[..., 0]
    trace = np.abs(values.sum(axis=-1) / places.trace - 1)
    formula = "2 (lambda_i(V V^T) + mu_j(U U^T))" if name == "linear" else "2 J J^T"
    moved, spectrum = places.function_error, np.maximum(error, trace).max(axis=1)
    numbers = places.predicted.size + trace.size
    late = np.abs(places.time / places.predicted_time - 1).max(axis=1)
    return [
        claims.judge(FIXED_FUNCTION["function"], moved.max(axis=1), here, count=moved.size, name=name),
        claims.judge(FIXED_FUNCTION["spectrum"], spectrum, here, count=numbers, name=name, formula=formula),
        claims.judge(FIXED_FUNCTION["time"], late, here, name=name),
    ]


def _of_charge(name: str, places: Places, here: Setting) -> list[Claim]:
    """Along ``even`` both ends against the middle; then places of equal size, and places of equal total Q."""
    sharp, time = places.sharpness, places.time
    first, last, split = 0, sharp.shape[1] - 2, sharp.shape[1] - 1
    middle = last // 2
    ends = [first, last]
    values = {
        "sharper": (sharp[:, ends] / sharp[:, [middle]]).min(axis=1),
        "faster": (time[:, [middle]] / time[:, ends]).min(axis=1),
        "size": sharp[:, first] / sharp[:, last],
        "total": sharp[:, split] / sharp[:, middle],
    }
    return [claims.judge(FIXED_FUNCTION[key], each, here, name=name) for key, each in values.items()]


def _of_tanh(places: Places, here: Setting) -> list[Claim]:
    values = {"flow_sharpness": places.sharpness, "flow_time": places.time}
    return [
        claims.judge(FIXED_FUNCTION[key], each.max(axis=1) / each.min(axis=1), here) for key, each in values.items()
    ]


def _of_scale(name: str, run: Equalised, here: Setting, whole: bool) -> list[Claim]:
    """The initial scale at one function and one Q: what of it is left.

    The law binds networks of one function, and so those alone that have reached their target: ``whole``.
    """
    judged = [
        claims.judge(FIXED_FUNCTION["scale_left"], run.neurons.max(axis=1) / run.neurons.min(axis=1), here, name=name)
    ]
    if run.whole is not None:
        left = run.whole.max(axis=1) / run.whole.min(axis=1) - 1
        law = FIXED_FUNCTION["nothing_left"]
        if whole:
            judged.append(claims.judge(law, left, here, count=run.whole.size, name=name))
        else:
            judged.append(claims.judge(law._replace(kind="finding"), left, here, name=name))
    return judged
