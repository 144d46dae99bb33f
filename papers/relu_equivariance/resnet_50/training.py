"""One ResNet-50 from its configuration to its directory."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from papers.common.compilation import once_options
from papers.common.data.crops import CentralCrops, RandomCrops, batches
from papers.common.data.digits import stratified
from papers.common.data.folder import Listing, read_listing
from papers.common.models import ResNet50, initialise
from papers.common.models.pretrained import PREPARATIONS
from papers.common.models.resnet50 import apply_resnet50
from papers.common.records import write_atomically
from papers.common.runs import RunDirectory
from papers.common.signals import Interrupt
from papers.common.training import (
    Data,
    Plan,
    Session,
    Stream,
    TrainState,
    cross_entropy,
    evaluate,
    sgd,
    start,
    step_schedule,
    steps_per_epoch,
    training_step,
)
from papers.relu_equivariance.networks.invariance import mean_invariance_errors
from symjax.equivariance import invariance_error

LAYOUT = "torchvision"

TRIED = 50
"""Photographs at a time."""


def normalise(images: jax.Array) -> jax.Array:
    """Scale and shift uint8 images as torchvision does."""
    how = PREPARATIONS[LAYOUT]
    mean, std = (jnp.asarray(three, jnp.float32)[None, None, None] for three in (how.mean, how.std))
    return (images.astype(jnp.float32) * how.scale - mean) / std


def invariant_step(
    model: Any, optimiser: Any, weight: float, centred: bool = False
) -> Callable[[TrainState, Any], tuple[TrainState, Any]]:
    """Build the pure step of the cross-entropy plus ``weight`` times the mean invariance error.

    ``e(x) = ||y - y'|| / (||y|| / 2 + ||y'|| / 2)`` with the logits of a crop and of its mirror image; both are in one
    batch, whose statistics every normalisation takes, and both carry the gradient.

    Source: Bökman & Kahl 2023, section 4; their weight is not known.

    Args:
        model: a module with BatchNorm.
        optimiser: an optax transformation.
        weight: of the invariance loss.
        centred: whether it is of logits less their mean.
    """

    def objective(params: Any, stats: Any, images: jax.Array, labels: jax.Array) -> Any:
        both = jnp.concatenate([images, images[:, :, ::-1]])
        variables = {"params": params, "batch_stats": stats}
        logits, moved = model.apply(variables, both, train=True, mutable=["batch_stats"])
        logits, mirrored = jnp.split(logits, 2)
        error = invariance_error(logits, mirrored, centred=centred).mean()
        accuracy = (logits.argmax(-1) == labels).mean(dtype=jnp.float32)
        return cross_entropy(logits, labels) + weight * error, (moved["batch_stats"], accuracy, error)

    def step(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        images, labels = normalise(batch[0]), batch[1]
        (loss, (stats, accuracy, error)), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.params, state.batch_stats, images, labels
        )
        updates, moved = optimiser.update(gradient, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state._replace(step=state.step + 1, params=params, batch_stats=stats, optimiser=moved)
        return state, {"loss": loss, "accuracy": accuracy, "invariance_error": error}

    return step


def build(config: Any, listing: Listing) -> tuple[TrainState, Plan, Data]:
    """Put a training together: its first state, what to do, and the test photographs."""
    model = ResNet50(len(listing.classes), config.width, LAYOUT, jnp.dtype(config.precision))
    labels = listing.labels["train"]
    total = config.epochs * steps_per_epoch(len(labels), config.batch_size)
    rate = step_schedule(config.learning_rate, (total // 3, 2 * total // 3))
    optimiser = sgd(rate, config.momentum, config.weight_decay)
    if config.invariant:
        step = invariant_step(model, optimiser, config.invariance_weight, config.invariance_of == "centred")
    else:
        step = training_step(model, optimiser, lambda key, images: normalise(images))
    own = listing.labels["test"]
    rows = np.flatnonzero(stratified(own, min(config.evaluated, len(own)), config.seed))
    test = Data(CentralCrops(listing, rows, config.size), own[rows])
    accuracy = evaluate(model, normalise, min(TRIED, len(rows)))

    def read(first: int, order: np.ndarray, many: int) -> Any:
        crops = RandomCrops(listing, config.size, config.flips, config.seed, first, order, many)
        return batches(crops, config.loader)

    @partial(jax.jit, compiler_options=once_options())
    def begin(variables: Any, key: jax.Array) -> TrainState:
        return start(variables, optimiser, key)

    plan = Plan(
        step,
        lambda state: {},
        lambda state: accuracy(state, test),
        Stream(labels, read),
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        record_every=config.record_every,
        checkpoint_epochs=config.checkpoint_epochs,
    )
    variables = initialise(model, config.seed, (config.size, config.size, 3))
    return begin(variables, jax.random.PRNGKey(config.seed)), plan, test


def train(config: Any, command: str) -> tuple[Path, dict[str, Any]] | None:
    """Train a network in its directory; an unfinished run there goes on.

    Args:
        config: of the network.
        command: what to write down as the command.

    Returns:
        The directory and the summary; None when it was stopped, after a checkpoint.

    Raises:
        Divergence: a loss is not finite; the newest checkpoint is kept.
    """
    listing = read_listing(config.images)
    with RunDirectory.open(config, command, listing.digest) as directory:
        with Interrupt() as interrupt:
            state, plan, test = build(config, listing)
            session = Session(directory, plan, state)
            if not session.train(interrupt):
                return None
        arrays, variables = session.arrays(), jax.tree.map(np.asarray, session.variables)
        options = {"classes": len(listing.classes), "width": config.width, "layout": LAYOUT}
        count = len(listing.labels["train"])
        summary = {
            "words": f"{config.words}, trained on {count} photographs",
            "reduced": config.reduced(count),
            "test_accuracy": float(arrays["test_top1"][-1]),
            "test_loss": float(arrays["test_loss"][-1]),
            "test_photographs": len(test.labels),
            **mean_invariance_errors(
                apply_resnet50(**options), variables, normalise, test.images, len(test.labels), TRIED
            ),
            "seconds": session.seconds,
            "images_per_second": session.images_per_second,
        }
        directory.save_network(apply_resnet50, variables, **options)
        directory.save_arrays("history", **arrays)
        directory.write_json("summary", summary)
        write_atomically(directory.path / "notes.md", page(summary).encode())
        directory.finish()
    return directory.path, summary


def page(summary: dict[str, Any]) -> str:
    """What was trained and what it has learnt, as a page."""
    title = "Reduced: one training smaller than the published one" if summary["reduced"] else "A training"
    return (
        f"**{title}.** {summary['words']}. Accuracy {summary['test_accuracy']:.4f} and invariance error "
        f"{summary['invariance_error']:.3f} ({summary['centred_invariance_error']:.3f} of centred logits) on "
        f"{summary['test_photographs']} test photographs; "
        f"{summary['images_per_second']:.0f} images a second.\n"
    )
