"""Many members of one experiment side by side: the same step by ``vmap``, by ``lax.map`` or in a loop over the members.

All three compile one program for all members, because everything that differs between them is traced. Which is fastest
depends on the network and the device (two CPU cores, milliseconds; ``tests/benchmarks/bench_batching.py`` measures it
again):

- convolutions on CPU: 8 networks take 140 in a loop, 403 under vmap (a grouped convolution) and 4,554 under ``lax.map``
  (the gradient of a convolution inside any compiled loop is 30 to 50 times slower), so: a loop over members, each step
  called from Python;
- dense networks on CPU: ``lax.map`` over members, the steps of a chunk in one compiled scan. One core, digits of 3,072
  inputs, relative to map: hidden 16, batch 8, 32 members: loop 1.44, vmap 1.52; hidden 64, batch 64, 32 members: loop
  0.96, vmap 1.23; with 2 members vmap within 4 %, the loop 7 to 21 % slower. (Networks of a few hundred numbers,
  smaller than any here, are faster under vmap.)
- convolutions on an accelerator: a loop over members, the steps of a chunk in one compiled scan. VGG11 of width 1 at
  32x32, batch 500, bfloat16, one NVIDIA H200, jax 0.11.2 (``python tests/benchmarks/bench_accelerator.py``, at
  c81c074 but for the pool, which was ``reduce_window`` then; 1,000 images a second): one network 237, three under vmap
  144; with convolutions written as products 227, and under vmap 215 for three and 230 for eight. One network fills the
  device. Narrow networks, which do not, were not measured.
- dense networks on an accelerator: vmap, the steps in a scan; not measured.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Batching = Literal["vmap", "map", "loop"]
Steps = Literal["scan", "python"]


class Plan(NamedTuple):
    """How members are batched, and whether the steps of a chunk run in a compiled scan or are called from Python."""

    batching: Batching
    steps: Steps


class Advanced(NamedTuple):
    """Members after a chunk.

    Attributes:
      states: their states, a leading axis of members on every leaf.
      fetch: gives the metrics on the host, name -> (members, steps); waits for the device.
    """

    states: Any
    fetch: Callable[[], dict[str, np.ndarray]]


def choose(batching: Batching | Literal["auto"], *, convolutions: bool, platform: str) -> Plan:
    """Pick the fastest batching where it is left open, and the way the steps are driven.

    The measurements stand at the top of this file.

    Args:
      batching: what the user asked for; ``auto`` leaves it open.
      convolutions: whether the network has any.
      platform: ``cpu``, ``gpu`` or ``tpu``.

    >>> choose("auto", convolutions=True, platform="cpu")
    Plan(batching='loop', steps='python')
    >>> choose("auto", convolutions=False, platform="cpu")
    Plan(batching='map', steps='scan')
    >>> choose("auto", convolutions=True, platform="gpu")
    Plan(batching='loop', steps='scan')
    """
    slow_in_scan = convolutions and platform == "cpu"
    if batching == "auto":
        batching = "loop" if convolutions else "map" if platform == "cpu" else "vmap"
    return Plan(batching, "python" if slow_in_scan else "scan")


def advance(
    step: Callable[[Any, Any, Any, jax.Array], tuple[Any, dict[str, jax.Array]]], plan: Plan
) -> Callable[..., Advanced]:
    """Build ``advance(states, hypers, shared, indices) -> Advanced``, a chunk of steps of every member.

    Args:
      step: ``step(state, hyper, shared, index) -> (state, metrics)`` of one member, pure; metrics are scalars by name.
      plan: how.

    Returns:
      The function. ``states`` and ``hypers`` have a leading axis of members on every leaf, ``shared`` is the same for
      all, ``indices`` is (members, steps, batch). The states given are donated: use those that come back.
    """

    def member(state: Any, hyper: Any, shared: Any, index: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        if plan.steps == "python":
            return step(state, hyper, shared, index)
        return jax.lax.scan(lambda state, index: step(state, hyper, shared, index), state, index)

    if plan.batching == "loop":
        return _loop(jax.jit(member, donate_argnums=0), plan)
    if plan.batching == "vmap":
        program = jax.vmap(member, in_axes=(0, 0, None, 0))
    else:

        def program(states: Any, hypers: Any, shared: Any, indices: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            return jax.lax.map(lambda one: member(one[0], one[1], shared, one[2]), (states, hypers, indices))

    return _together(jax.jit(program, donate_argnums=0), plan)


def _together(program: Callable[..., Any], plan: Plan) -> Callable[..., Advanced]:
    """All members in one call, for a chunk or for each step."""

    def run(states: Any, hypers: Any, shared: Any, indices: np.ndarray) -> Advanced:
        if plan.steps == "scan":
            states, metrics = program(states, hypers, shared, indices)
            return Advanced(states, lambda: jax.device_get(metrics))
        collected = []
        for position in range(indices.shape[1]):
            states, metrics = program(states, hypers, shared, indices[:, position])
            collected.append(metrics)
        return Advanced(states, lambda: _stack(jax.device_get(collected), axis=1))

    return run


def _loop(program: Callable[..., Any], plan: Plan) -> Callable[..., Advanced]:
    """Member after member through one compiled program."""

    def run(states: Any, hypers: Any, shared: Any, indices: np.ndarray) -> Advanced:
        collected = []
        for place in range(len(indices)):
            state, hyper = take(states, place), take(hypers, place)
            if plan.steps == "scan":
                state, metrics = program(state, hyper, shared, indices[place])
            else:
                each = []
                for index in indices[place]:
                    state, metrics = program(state, hyper, shared, index)
                    each.append(metrics)
                metrics = each
            states = _put(states, place, state)
            collected.append(metrics)

        def fetch() -> dict[str, np.ndarray]:
            parts = jax.device_get(collected)
            return _stack(parts if plan.steps == "scan" else [_stack(part, axis=0) for part in parts], axis=0)

        return Advanced(states, fetch)

    return run


@jax.jit
def take(stacked: Any, place: int) -> Any:
    """Cut one member out of a pytree with a leading axis of members."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), stacked)


def _put_one(stacked: Any, place: int, member: Any) -> Any:
    def put(leaf: jax.Array, value: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(leaf, value.astype(leaf.dtype), place, 0)

    return jax.tree.map(put, stacked, member)


_put = jax.jit(_put_one, donate_argnums=0)


def stack(members: list[Any]) -> Any:
    """Join pytrees of one structure along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *members)


def _stack(parts: list[dict[str, np.ndarray]], axis: int) -> dict[str, np.ndarray]:
    return {name: np.stack([part[name] for part in parts], axis=axis) for name in parts[0]}
