"""Q varied at a fixed function, which the paper lacks: does Q decide sharpness and rate, or the weights' scale?

Figures 6 and 9 vary the scale of the initial weights, which changes Q, the function and the size of the weights at
once. Here a network trained to zero loss is moved along its symmetry's orbit, so that the function stays the same to
rounding. Linear and ReLU networks are moved to prescribed Q_i of all neurons:

* ``even``: all ``Q_i = q/h``, for several q;
* ``split``: ``Q_i = +q/h`` in every second neuron and ``-q/h`` in the others. Since ``|U_i| |V_i|`` is fixed,
  ``|U_i|^2 + |V_i|^2`` depends on ``|Q_i|`` alone: ``split``, ``even`` at q and ``even`` at -q have weights of exactly
  the same size S, neuron by neuron, but total Q of 0, q and -q. And ``split`` has the same total Q as ``even`` at 0.

tanh networks go along the activation's finite flow. At each place: all Hessian eigenvalues at zero loss, and the time
that gradient flow needs to learn a slightly shifted target (to 1 % of the loss). Last, networks trained from weights of
several scales, which all compute the same function, are moved to the same Q.

Source: this project; Zhao et al. 2023, section 5, has the question and Figures 6 and 9 the confounded comparison.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.runs import RunDirectory
from papers.gradient_flow.networks.config import ExperimentConfig
from papers.gradient_flow.networks.two_layer.minima import (
    hessian_eigenvalues,
    linear_spectrum,
    linear_trace,
    squared_loss,
    tangent_gram,
    trained,
)
from papers.gradient_flow.networks.two_layer.model import hidden_layer
from papers.gradient_flow.networks.two_layer.starts import Start
from symjax import activations, integrate
from symjax.conserved import homogeneous, pointwise, prescribe

ACTIVATIONS = ("linear", "relu", "tanh")
SCALE = 0.3
SCALES = (0.001, 0.3, 0.9)
TOTALS = (-300.0, -150.0, -75.0, 0.0, 75.0, 150.0, 300.0)
QUICK_TOTALS = (-300.0, 0.0, 300.0)
STRETCH = np.linspace(-0.9, 1.0, 7)  # of tanh's flow: shares of the way to its domain's end, then logarithms
SHIFT = 0.05  # norm of the target's shift over the target's
LEARNT = 0.01  # of the loss


class Places(NamedTuple):
    """Networks of one function at several places of its orbit; leading axes (S seeds, G places)."""

    charge: np.ndarray  #: total Q in the paper's scale; with V's negative entries for ReLU
    size: np.ndarray  #: S = |U|^2 + |V|^2
    function_error: np.ndarray  #: relative change of F
    eigenvalues: np.ndarray  #: (S, G, P) of the Hessian of |F - Y|^2, in descending order
    predicted: np.ndarray  #: (S, G, m n), the non-zero ones: of 2 J J^T; for linear networks from the Gram matrices
    trace: np.ndarray  #: predicted; for linear networks from S and Q alone
    time: np.ndarray  #: of gradient flow to 1 % of the loss of a shifted target
    predicted_time: np.ndarray  #: from the eigenvalues of 2 J J^T

    @property
    def sharpness(self) -> np.ndarray:
        """The largest eigenvalue, (S, G)."""
        return self.eigenvalues[..., 0]


def even_and_split(output: jax.Array, given: jax.Array, totals: tuple[float, ...], name: str) -> Start:
    """Move a homogeneous network to the places ``even`` at all totals, and last ``split`` at the largest.

    Args:
      output: U (m, h).
      given: V (n, h).
      totals: q in the paper's scale.
      name: a homogeneous activation.

    Returns:
      A :class:`~papers.gradient_flow.networks.two_layer.starts.Start` without target; leading axis of places.

    Raises:
      ValueError: a Q that cannot be reached, as of a neuron that nothing reads.
    """
    h = output.shape[1]
    signs = np.where(np.arange(h) % 2, -1.0, 1.0)
    wanted = [np.full(h, q / (2 * h)) for q in totals] + [signs * max(totals) / (2 * h)]
    moved = [prescribe(output, given.T, jnp.asarray(target), name) for target in wanted]
    if not all(bool(place.converged) for place in moved):
        raise ValueError(f"totals are {totals}, but not all can be reached by these weights")
    return Start(None, jnp.stack([p.u for p in moved]), jnp.stack([p.v.T for p in moved]))


def along_flow(output: jax.Array, given: jax.Array, name: str) -> Start:
    """Move a network along its activation's flow ``U -> U e^s``, ``sigma(V) -> e^-s sigma(V)``, inside its domain."""
    chosen = activations.get(name)
    largest = float(jnp.max(jnp.abs(chosen.function(given))))
    end = -np.log(largest / chosen.range[1])  # e^-s |sigma(V)| stays below the range's end for s above -end
    stretches = np.where(STRETCH < 0, STRETCH * min(end, 1.0), STRETCH)
    moved = [activations.flow(jnp.full(output.shape[1], s), (output, given.T), name) for s in stretches]
    return Start(None, jnp.stack([u for u, _ in moved]), jnp.stack([v.T for _, v in moved]))


def inspect(places: Start, target: np.ndarray, shift: np.ndarray, name: str) -> Places:
    """Measure spectrum and rate at every place of a function that equals its target.

    Args:
      places: U and V with a leading axis G.
      target: (m, n), the function.
      shift: (m, n), added to the target for the rate.
      name: the activation.

    Returns:
      :class:`Places` of shape (G, ...).
    """
    targets = jnp.broadcast_to(jnp.asarray(target), (len(places.output), *target.shape))
    eigenvalues = hessian_eigenvalues(places._replace(target=targets), name)
    measured = _inspect(name)(places.output, places.input, jnp.asarray(target), jnp.asarray(shift))
    return Places(**{**{key: np.asarray(value) for key, value in measured.items()}, "eigenvalues": eigenvalues})


@lru_cache
def _inspect(name: str) -> Callable[..., dict[str, jax.Array]]:
    def one(output: jax.Array, given: jax.Array, target: jax.Array, shift: jax.Array) -> dict[str, jax.Array]:
        function = jnp.einsum("mh,nh->mn", output, hidden_layer(given, name), precision="highest")
        values, vectors = jnp.linalg.eigh(tangent_gram(output, given, name))
        coefficients = jnp.matmul(vectors.T, (function - target - shift).ravel(), precision="highest")
        predicted_time = _time_to(values, coefficients)
        size = jnp.sum(output**2) + jnp.sum(given**2)
        linear = name == "linear"
        return {
            "charge": _charge(output, given, name),
            "size": size,
            "function_error": jnp.linalg.norm(function - target) / jnp.linalg.norm(target),
            "predicted": linear_spectrum(output, given) if linear else values[::-1],
            "trace": linear_trace(output, given) if linear else jnp.sum(values),
            "time": _measured_time(output, given, target + shift, predicted_time, name),
            "predicted_time": predicted_time,
        }

    return jax.jit(jax.vmap(one, (0, 0, None, None)))


def _charge(output: jax.Array, given: jax.Array, name: str) -> jax.Array:
    if activations.get(name).degree is None:
        return jnp.sum(pointwise(output, given.T, name, scale="paper"))
    return 2 * jnp.sum(homogeneous(output, given.T, name))


def _time_to(values: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Solve ``sum c_k^2 e^(-2 lambda_k t) = 0.01 sum c_k^2`` by bisection."""
    weights = coefficients**2 / jnp.sum(coefficients**2)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        late = jnp.sum(weights * jnp.exp(-2 * values * middle)) < LEARNT
        return jnp.where(late, low, middle), jnp.where(late, middle, high)

    longest = -jnp.log(LEARNT) / (2 * values[0])  # as slow as if all of it lay in the slowest direction
    return jax.lax.fori_loop(0, 60, halve, (jnp.zeros_like(longest), longest))[1]


def _measured_time(output: jax.Array, given: jax.Array, target: jax.Array, guess: jax.Array, name: str) -> jax.Array:
    loss = partial(squared_loss(name), target=target)
    times = jnp.linspace(0.0, 2.0, 101) * guess
    path = integrate.adaptive(jax.grad(loss), (output, given), times=times, record=loss, rtol=1e-9, atol=1e-11)
    fallen = -jnp.log(path.recorded / path.recorded[0])
    reached = jnp.interp(-jnp.log(LEARNT), fallen, times)
    return jnp.where(fallen[-1] > -jnp.log(LEARNT), reached, jnp.nan)


def move(name: str, config: ExperimentConfig) -> Places:
    """Train every seed from one scale, move it along its orbit and inspect all places."""
    end, _ = trained(name, (SCALE,), config)
    found = []
    for seed, target, output, given in zip(config.all_seeds, *(leaf[:, 0] for leaf in end), strict=True):
        output, given = jnp.asarray(output), jnp.asarray(given)
        totals = QUICK_TOTALS if config.quick else TOTALS
        homogeneous_name = activations.get(name).degree is not None
        places = even_and_split(output, given, totals, name) if homogeneous_name else along_flow(output, given, name)
        shift = np.random.default_rng((4, seed)).normal(size=target.shape)
        shift *= SHIFT * np.linalg.norm(target) / np.linalg.norm(shift)
        # what the trained network computes, not Y itself: a quick run ends a little beside it
        function = np.asarray(_function(output, given, name))
        found.append(inspect(places, function, shift, name))
    return Places(*(np.stack(leaves) for leaves in zip(*found, strict=True)))


def _function(output: jax.Array, given: jax.Array, name: str) -> jax.Array:
    return jnp.einsum("mh,nh->mn", output, hidden_layer(given, name), precision="highest")


class Equalised(NamedTuple):
    """Sharpness of networks of one function, trained from A scales, S seeds: (S, A)."""

    trained: np.ndarray  #: where training ended
    neurons: np.ndarray  #: with all Q_i = 0
    whole: np.ndarray | None  #: with the whole matrix Q = 0, for linear networks


def equalise(name: str, config: ExperimentConfig) -> Equalised:
    """Train from several scales to the same function and move all networks to Q = 0.

    With the whole matrix ``U^T U = V V^T`` (U, V as in :mod:`symjax.conserved`) the factors of a linear network are
    fixed by its function up to a rotation of the hidden space, which the spectrum does not see.
    """
    end, _ = trained(name, SCALES, config)

    def sharpness(output: jax.Array, given: jax.Array) -> float:
        return float(jnp.linalg.eigvalsh(tangent_gram(output, given, name))[-1])

    def each(of: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]) -> np.ndarray:
        pairs = [
            of(jnp.asarray(output), jnp.asarray(given))
            for outputs, inputs in zip(end.output, end.input, strict=True)
            for output, given in zip(outputs, inputs, strict=True)
        ]
        return np.array([sharpness(*pair) for pair in pairs]).reshape(len(config.all_seeds), len(SCALES))

    def to_zero(axes: int, output: jax.Array, given: jax.Array) -> tuple[jax.Array, jax.Array]:
        # a matrix by the closed form: with more hidden units than inputs Newton's group element does not exist
        moved = prescribe(output, given.T, jnp.zeros((output.shape[1],) * axes), name, method="closed")
        return moved.u, moved.v.T

    whole = each(partial(to_zero, 2)) if name == "linear" else None
    return Equalised(each(lambda *pair: pair), each(partial(to_zero, 1)), whole)


class Measured(NamedTuple):
    """All of the experiment, by activation."""

    places: dict[str, Places]
    equal: dict[str, Equalised]


def measure(config: ExperimentConfig, directory: RunDirectory) -> Measured:
    """Move networks of every activation along their orbits, and those of several scales to one Q."""
    found = {name: move(name, config) for name in ACTIVATIONS}
    equal = {name: equalise(name, config) for name in ("linear", "relu")}
    for name, run in found.items():
        for seed, *rows in zip(config.all_seeds, run.charge, run.size, run.sharpness, run.time, strict=True):
            names = ("charge", "size", "sharpness", "time")
            directory.append({"activation": name, "seed": seed, **dict(zip(names, rows, strict=True))})
    for name, run in equal.items():
        directory.append({"activation": name, "scales": SCALES, **run._asdict()})
    return Measured(found, equal)
