"""Q in a real network, which the paper lacks: every neuron's imbalance in a VGG11 trained on real images.

The paper watches Q in networks of two layers on random targets. Here plain minibatch descent trains VGG11 without
BatchNorm at several learning rates for the same time ``eta steps``: gradient flow would keep every
``Q = (|writers|^2 - |readers|^2)/2``, descent moves it by ``eta^2 Q(g)`` a step, exactly, so by O(eta) over a fixed
time. What nothing conserves, ``(|writers|^2 + |readers|^2)/2``, moves at the same time by an amount that does not fall
with eta.

The drift is a thousandth of the weights, so float32, five times as fast here, is enough: the exact law is evaluated
beside it and shows how much of the drift is round-off.

Expected: log-log slope 1 of the drift in eta; the exact law at round-off. Width 1/16 on digits, 13,500 steps a seed,
110 CPU seconds. Measured (results/real_network): slope 1.27 over the whole range and 1.23, 1.13, 1.06 between
the two smallest rates, so the larger ones are not in the limit yet; the law of each step holds at all of them.
Command: ``python -m papers.gradient_flow.figures --figure real-network``; with ``--data-dir DIR`` on CIFAR-10.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from papers.common import claims, data
from papers.common.claims import Claim, Setting
from papers.common.errors import Divergence
from papers.common.experiment import Experiment, Picture
from papers.common.plots import SERIES, band, new_figure, style
from papers.common.runs import RunDirectory
from papers.common.training import fit, steps_per_epoch
from papers.gradient_flow.claims import REAL_NETWORK
from papers.gradient_flow.networks.config import ExperimentConfig
from papers.gradient_flow.networks.neurons import first_record, layers, record, size
from papers.gradient_flow.networks.vgg11 import Vgg11Training, first_variables, vgg11

RATES = (0.001, 0.0005, 0.00025, 0.000125)  # far below 2/sharpness, which rises to some hundreds
WIDTH = 1 / 16
PRECISION = "float32"
BATCH = 32
EPOCHS = 20  # at the largest rate; in proportion more at the smaller ones
RECORDS = 40  # of a run, at equal times

QUICK_EPOCHS = 4
QUICK_LIMIT = 128
CIFAR_LIMIT = 1437  # as many images as digits has, so that the time is the same


class Member(NamedTuple):
    """One training.

    Attributes:
      time: ``eta steps`` of each record, (records,).
      drift: Q minus its start, (records, neurons).
      grown: change of the neuron's size over the whole run, (neurons,).
      size: at the start, (neurons,).
      predicted: drift by the exact law at the end, (neurons,).
      worst: largest error of the exact law over the size, (neurons,).
      loss: of every step.
      accuracy: on the test images.
    """

    time: np.ndarray
    drift: np.ndarray
    grown: np.ndarray
    size: np.ndarray
    predicted: np.ndarray
    worst: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray


def train_member(
    training: Vgg11Training, variables: dict, rate: float, *, epochs: int, batch_size: int, seed: int
) -> Member:
    """Train once; NaN throughout marks a member that diverged, and leaves the others unchanged."""
    state = training.begin(variables, np.asarray(rate, PRECISION), jax.random.PRNGKey(seed))
    steps = epochs * steps_per_epoch(len(training.train.labels), batch_size)
    at: list[int] = []
    charges: list[np.ndarray] = []
    losses: list[np.ndarray] = []

    def keep(fetched: Any) -> None:
        at.append(fetched.step + len(fetched.metrics["loss"]))
        charges.append(fetched.report)
        losses.append(fetched.metrics["loss"])

    first = first_record(training.neurons, state.optimiser)
    try:
        state = fit(
            training.step,
            state,
            training.train,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            chunk=max(1, steps // RECORDS),
            report=_measured,
            on_chunk=keep,
        )
    except Divergence:
        lost = np.full_like(first["start"], np.nan)
        return Member(np.array([np.nan]), lost[None], lost, first["size"], lost, lost, np.full(1, np.nan), float("nan"))
    grown = np.asarray(size(training.neurons, state.params)) - first["size"]
    accuracy = training.evaluate(state, training.test)["top1"]
    last = jax.device_get(record(state.optimiser))
    drift = np.stack(charges) - first["start"]
    time, loss = rate * np.array(at), np.concatenate(losses)
    return Member(time, drift, grown, first["size"], last["second_order"], last["worst"], loss, accuracy)


def _measured(state: Any) -> jax.Array:
    return record(state.optimiser)["measured"]


def slope(rates: Sequence[float], drifts: Sequence[float]) -> float:
    """Fit the exponent of a power law by least squares in logarithms.

    >>> round(slope([1.0, 2.0, 4.0], [3.0, 6.0, 12.0]), 12)
    1.0
    """
    return float(np.polyfit(np.log(np.asarray(rates)), np.log(np.asarray(drifts)), 1)[0])


def rms(values: np.ndarray) -> float:
    """Give the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


class Trainings(NamedTuple):
    """All trainings, (seeds, rates), and the layer of every neuron."""

    members: list[list[Member]]
    layers: np.ndarray


def measure(config: ExperimentConfig, directory: RunDirectory) -> Trainings:
    """Train every seed at every rate for the same time."""
    name, limit = _data(config)
    dataset = data.load_once(name, data_dir=config.data_dir, cache_dir=config.cache_dir, limit=limit)
    training = vgg11(dataset, WIDTH, PRECISION)
    epochs = QUICK_EPOCHS if config.quick else EPOCHS
    members: list[list[Member]] = []
    for seed in config.all_seeds:
        variables = first_variables(dataset, WIDTH, PRECISION, "he", seed)
        members.append([])
        for rate in RATES:
            longer = round(RATES[0] / rate)
            options = {"epochs": epochs * longer, "batch_size": BATCH, "seed": seed}
            train_one = partial(train_member, training, variables, rate, **options)
            member = directory.part(f"seed-{seed}-rate-{rate:g}", Member, train_one)
            members[-1].append(member)
            _write_numbers(directory, seed, rate, member)
    return Trainings(members, layers(training.neurons))


def _data(config: ExperimentConfig) -> tuple[str, int | None]:
    """The data set, and how many images of each split are kept."""
    name = "digits" if config.data_dir is None else "cifar10"
    return name, QUICK_LIMIT if config.quick else CIFAR_LIMIT if name == "cifar10" else None


def _write_numbers(directory: RunDirectory, seed: int, rate: float, member: Member) -> None:
    record = {
        "seed": seed,
        "learning_rate": rate,
        "steps": len(member.loss),
        "rms_drift": rms(member.drift[-1]),
        "rms_change_of_size": rms(member.grown),
        "largest_relative_drift": float(np.max(np.abs(member.drift[-1]) / member.size)),
        "largest_law_error": float(member.worst.max()),
        "rms_law_error": rms(member.predicted - member.drift[-1]),
        "final_loss": float(member.loss[-10:].mean()),
        "test_accuracy": member.accuracy,
        "diverged": bool(np.isnan(member.accuracy)),
    }
    directory.append(record)
    print(
        f"seed {seed}, eta {rate:g}: rms drift {record['rms_drift']:.3g}, test accuracy {member.accuracy:.3f}",
        flush=True,
    )


def draw(trainings: Trainings, config: ExperimentConfig) -> Picture:
    """Draw loss and drift against time, and the final drift against eta: all neurons, and layer by layer."""
    del config
    members, layers = trainings
    canvas = new_figure(1, 3, width=4.0, height=3.2)
    losses, drifts, slopes = canvas.axes[0]
    kept: dict[str, Any] = {"rates": np.array(RATES), "layers": np.unique(layers)}
    for column, (rate, colour) in enumerate(zip(RATES, SERIES, strict=True)):
        for row, seed in enumerate(members):
            member, label = seed[column], f"eta = {rate:g}" if row == 0 else None
            chunk = max(1, len(member.loss) // RECORDS)
            smooth = member.loss[: len(member.loss) // chunk * chunk].reshape(-1, chunk).mean(axis=1)
            time = rate * chunk * (np.arange(len(smooth)) + 0.5)
            curve = np.sqrt(np.mean(member.drift**2, axis=1))
            losses.plot(time, smooth, color=colour, linewidth=1, label=label)
            drifts.plot(member.time, curve, color=colour, linewidth=1, label=label)
            # records differ in number between rates: epochs cut them
            kept |= {
                f"time_{row}_{column}": member.time,
                f"drift_{row}_{column}": curve,
                f"loss_{row}_{column}": smooth,
            }
    final = np.array([[rms(member.drift[-1]) for member in seed] for seed in members])
    grown = np.array([[rms(member.grown) for member in seed] for seed in members])
    each = np.array([[[rms(m.drift[-1, layers == name]) for name in kept["layers"]] for m in seed] for seed in members])
    band(slopes, kept["rates"], final, "free", "drift of Q")
    band(slopes, kept["rates"], grown, "fixed", "change of the size")
    for index in range(len(kept["layers"])):
        label = "each layer" if index == 0 else None
        slopes.plot(RATES, each[..., index].mean(axis=0), linewidth=0.6, alpha=0.6, color="grey", label=label)
    line = final[:, -1].mean() * kept["rates"] / RATES[-1]
    slopes.plot(RATES, line, label="slope 1", **style("prediction"))
    losses.set(xlabel="time eta n", ylabel="cross-entropy", yscale="log")
    drifts.set(
        xlabel="time eta n",
        ylabel="drift of Q, rms over neurons",
        yscale="log",
    )
    slopes.set(
        xlabel="eta",
        ylabel="at the end, rms over neurons",
        xscale="log",
        yscale="log",
    )
    sentences = ("The network learns", "Q drifts less at a smaller rate", "Q drifts less, the norms do not")
    for panel, sentence in zip(canvas.axes[0], sentences, strict=True):
        panel.set_title(sentence, fontsize=9)
    drifts.legend(fontsize=8, frameon=False)
    slopes.legend(fontsize=8, frameon=False)
    return Picture(canvas.figure, kept | {"final_drift": final, "change_of_size": grown, "by_layer": each})


def judge(trainings: Trainings, config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge the law at every step of every training, and the findings over the seeds."""
    name, limit = _data(config)
    here = setting._replace(
        data=name + ("" if limit is None else f", at most {limit} images of each split"),
        model=f"VGG11 without BatchNorm, width {WIDTH:g}, He initialisation, {PRECISION}",
    )
    members, layers = trainings
    exponents = np.array([slope(RATES, [rms(member.drift[-1]) for member in seed]) for seed in members])
    by_layer = np.array(
        [
            [
                slope(RATES, [rms(member.drift[-1, layers == layer]) for member in seed]) - 1
                for layer in np.unique(layers)
            ]
            for seed in members
        ]
    )
    last = [seed[-1] for seed in members]
    worst = [max(float(member.worst.max()) for member in seed) for seed in members]
    numbers = sum(len(member.loss) * member.worst.size for seed in members for member in seed)
    farthest = by_layer[np.arange(len(by_layer)), np.abs(by_layer).argmax(axis=1)]
    explained = [rms(member.predicted - member.drift[-1]) / rms(member.drift[-1]) for member in last]
    kept = [rms(member.drift[-1]) / rms(member.grown) for member in last]
    judged = [
        claims.judge(REAL_NETWORK["slope"], exponents - 1, here),
        claims.judge(REAL_NETWORK["slope_farthest"], farthest, here),
        claims.judge(REAL_NETWORK["law"], worst, here, count=numbers),
        claims.judge(REAL_NETWORK["explained"], explained, here),
        claims.judge(REAL_NETWORK["kept"], kept, here),
    ]
    if name == "digits":  # CIFAR-10 is shown only
        judged.append(claims.judge(REAL_NETWORK["learnt"], [member.accuracy for member in last], here))
    return judged


def require(config: ExperimentConfig) -> str:
    """Require the data and give its fingerprint."""
    name, limit = _data(config)
    return data.fingerprint(data.load_once(name, data_dir=config.data_dir, cache_dir=config.cache_dir, limit=limit))


EXPERIMENT = Experiment(measure, draw, judge, require)
