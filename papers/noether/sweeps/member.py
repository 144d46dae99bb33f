"""One member of a sweep as pure functions in which everything that a sweep varies is traced."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.batching import stack
from papers.common.models import MLP, VGG11, initialise
from papers.common.optimisers import OPTIMISERS
from papers.common.training import Data, TrainState, start, step_schedule, training_step
from papers.noether.networks import charges
from papers.noether.sweeps.config import Member, SweepConfig


class Hyper(NamedTuple):
    """What differs between members, scalars that may be traced; ``fixed`` is a boolean, ``key`` a random key."""

    initial_scale: Any
    learning_rate: Any
    momentum: Any
    weight_decay: Any
    fixed: Any
    key: Any


class Problem(NamedTuple):
    """The pure functions of a member.

    Attributes:
      model: the Flax module.
      begin: ``(variables, hyper) -> state``: scales the initial kernels, opens the charges.
      step: ``(state, hyper, data, index) -> (state, metrics)``.
      read: ``(state) -> squared norms of the kernels (layers,)``.
      worst: ``(state) -> family -> largest relative error of its exact law so far``, empty without laws.
      variables: initial variables, a leading axis of seeds on every leaf.
      layers: names of the layers of ``read``.
      convolutions: whether the network has any.
    """

    model: Any
    begin: Callable[[Any, Hyper], TrainState]
    step: Callable[[TrainState, Hyper, Data, jax.Array], tuple[TrainState, dict[str, jax.Array]]]
    read: Callable[[TrainState], jax.Array]
    worst: Callable[[TrainState], dict[str, jax.Array]]
    variables: Any
    layers: tuple[str, ...]
    convolutions: bool


def problem(config: SweepConfig, dataset: data.Dataset, drops: tuple[int, ...]) -> Problem:
    """Put the functions of a member together.

    Args:
      config: the sweep.
      dataset: the data, for its shapes and normalisation.
      drops: steps from which the learning rate is multiplied by 0.1.
    """
    shape = dataset.train.images.shape[1:]
    dtype = jnp.dtype(config.precision)
    if config.model == "vgg11":
        model = VGG11(dataset.classes, config.width, config.batch_norm, config.dropout, dtype)
    else:
        model = MLP((*config.hidden, dataset.classes), dtype=dtype)
    variables = [initialise(model, seed, shape) for seed in config.seeds]
    found = charges.families(model, variables[0], shape, "fixed" in config.norm_rules)
    layers = tuple(sorted(name for name, layer in variables[0]["params"].items() if "kernel" in layer))
    scaled = tuple(name for name in layers if config.model == "mlp" or name.startswith("conv"))

    def prepare(key: jax.Array, raw: jax.Array) -> jax.Array:
        return data.normalise(data.augment(key, raw, dataset.augmentation), dataset)

    def rule_of(hyper: Hyper) -> charges.Rule:
        schedule = step_schedule(hyper.learning_rate, drops)
        # where no member's norms are fixed, nothing of the projection is compiled
        fixed = hyper.fixed if "fixed" in config.norm_rules else False
        return charges.Rule(schedule, hyper.momentum, hyper.weight_decay, fixed, OPTIMISERS[config.optimiser])

    def begin(variables: Any, hyper: Hyper) -> TrainState:
        params = dict(variables["params"])
        for name in scaled:
            params[name] = {**params[name], "kernel": params[name]["kernel"] * hyper.initial_scale}
        rule = rule_of(hyper)
        monitor = charges.start(found, params, rule)
        return start({**variables, "params": params}, rule.watched(found), hyper.key, monitor)

    def step(state: TrainState, hyper: Hyper, train: Data, index: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        rule = rule_of(hyper)
        one = training_step(model, rule.watched(found), prepare, partial(charges.observe, found, rule))
        return one(state, (train.images[index], train.labels[index]))

    def read(state: TrainState) -> jax.Array:
        return jnp.stack([jnp.sum(jnp.square(state.params[name]["kernel"])) for name in layers])

    return Problem(model, begin, step, read, _worst, stack(variables), layers, config.model == "vgg11")


def stack_hypers(members: tuple[Member, ...]) -> Hyper:
    """Turn the members' coordinates into arrays with a leading axis of members."""
    numbers = {name: jnp.asarray([getattr(one, name) for one in members], jnp.float32) for name in Member._fields[:4]}
    fixed = jnp.asarray([one.filter_norm == "fixed" for one in members])
    return Hyper(**numbers, fixed=fixed, key=jnp.stack([jax.random.PRNGKey(one.seed) for one in members]))


def begin_all(problem: Problem, config: SweepConfig, members: tuple[Member, ...], hypers: Hyper) -> TrainState:
    """First states of all members, stacked; members of one seed start from the same draw."""
    rows = np.array([config.seeds.index(one.seed) for one in members])
    initial = jax.tree.map(lambda leaf: leaf[rows], problem.variables)
    return jax.jit(jax.vmap(problem.begin))(initial, hypers)


def _worst(state: TrainState) -> dict[str, jax.Array]:
    return {family: jnp.max(worst) for family, worst in (state.monitor.worst or {}).items()}


def law_entries(states: TrainState) -> dict[str, int]:
    """Count the numbers that each law predicts for one member, from stacked states; empty without laws."""
    return {family: worst.shape[-1] for family, worst in (states.monitor.worst or {}).items()}
