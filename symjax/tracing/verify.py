"""Everything that was found is checked on the model: all groups at once, bisected where something fails.

The same flat program is evaluated, in double precision whatever the model's own, with epsilons at zero, at parameters
and inputs moved from the given ones at random (a forgotten bias is invisible while it is zero).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax.tracing.action import flip, leaf_paths, mix, permute, rescale
from symjax.tracing.describe import Path
from symjax.tracing.found import Check, Item, Symmetries
from symjax.tracing.program import evaluate
from symjax.tracing.translate import directions

__all__ = ["act", "draw", "items_of", "matched", "nearby", "real", "verify"]

_TOLERANCE = 1e-8  # relative change of the outputs that rounding may leave in double precision


def items_of(found: Symmetries) -> list[Item]:
    """All groups."""
    return [
        *(Item("permutation", name) for name in found.permutations),
        *(Item("scaling", scaling.name) for scaling in found.scalings),
        *(Item("sign", sign.name) for sign in found.signs),
        *(Item("linear", linear.name) for linear in found.linear),
    ]


def verify(found: Symmetries, variables: Any, x: Any, key: jax.Array | None = None) -> Symmetries:
    """Try random elements of all groups on the model, and drop what changes its outputs.

    Source: this library's own check; the tolerance is 1e-8 of the largest output, in double precision.

    Args:
      found: from :func:`symjax.tracing.symmetries`.
      variables: pytree of arrays.
      x: the model's input.
      key: of the random elements; None takes key 0.

    Returns:
      What holds, with :attr:`Symmetries.checked`.

    Raises:
      ValueError: variables of another structure or other shapes, or outputs that are not finite.
    """
    given = matched(found, variables)
    random = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(0) if key is None else key)).ravel())
    before = {path: nearby(np.asarray(leaf), random) if real(leaf) else leaf for path, leaf in given.items()}
    inputs = [nearby(np.asarray(leaf), random) if real(leaf) else leaf for leaf in jax.tree.leaves(x)]
    with jax.enable_x64(True):
        trial = _Trial(found, before, inputs, random)
        items = items_of(found)
        shifts = [Item("shift", shift.name) for shift in found.shifts]
        # all together; where that fails, what is exact is judged by itself, with the epsilons as they are
        together = trial.change(items) <= _TOLERANCE
        parts = [items] if together else trial.divide(items)
        failed = [one for part in (*parts, shifts) for one in trial.bisect(part)]
        gone = {item for item, _ in failed}
        kept = [item for item in items if item not in gone]
        parts = [kept] if together else trial.divide(kept)
        error = max(map(trial.change, (*parts, [item for item in shifts if item not in gone])))
        result = Check(error, trial.change(kept, partly=True), tuple(failed))
    return _without(found, gone)._replace(checked=result)


class _Trial:
    """Outputs at one point, and how far elements of groups move them.

    Epsilons are next to nothing where a group holds up to them, and as they are otherwise: without its epsilon a norm
    of what is constant is nothing but rounding.
    """

    def __init__(self, found: Symmetries, before: dict, inputs: list, random: np.random.Generator) -> None:
        self.found, self.before, self.inputs, self.random = found, before, inputs, random
        program, zeroed = found.model.program, found.model.epsilons
        outputs = partial(evaluate, program, wanted=program.outputs, dtype=jnp.float64)
        self.loose = {Item("scaling", scaling.name) for scaling in found.scalings if scaling.up_to}
        self.forward = {False: jax.jit(outputs), True: jax.jit(partial(outputs, zeroed=zeroed))}

        def real_outputs(leaves: list) -> list:
            rest = iter(leaves)
            whole = [next(rest) if real(leaf) else leaf for leaf in before.values()]
            outs = outputs(whole, inputs)  # what shifts absorb is exact with the epsilons as they are
            return [out for out in outs if jnp.issubdtype(out.dtype, jnp.floating)]

        self.tangent = jax.jit(lambda leaves, tangents: jax.jvp(real_outputs, (leaves,), (tangents,))[1])
        self.bases: dict[bool, list[np.ndarray]] = {}
        if not all(np.all(np.isfinite(out)) for out in self.base(bool(self.loose))):
            raise ValueError("the model's outputs are not finite near these variables, so nothing can be checked there")

    def outputs(self, leaves: dict, loose: bool) -> list[np.ndarray]:
        results = self.forward[loose](list(leaves.values()), self.inputs)
        return [np.asarray(out, np.float64) for out in results]

    def divide(self, items: Sequence[Item]) -> list[list[Item]]:
        """The groups that hold up to epsilons, and those that hold with them."""
        return [[item for item in items if (item in self.loose) is loose] for loose in (True, False)]

    def base(self, loose: bool) -> list[np.ndarray]:
        """The outputs before anything acts, without epsilons or with them."""
        if loose not in self.bases:
            self.bases[loose] = self.outputs(self.before, loose)
        return self.bases[loose]

    def change(self, chosen: Sequence[Item], partly: bool = False) -> float:
        """Largest relative change of the outputs under a random element of some groups."""
        if chosen and chosen[0].kind == "shift":
            return self.derivative(chosen)
        after = act(self.found, draw(self.found, chosen, self.random), self.before)
        if partly:
            moved = [path for path in after if after[path] is not self.before[path]]
            after |= {path: self.before[path] for path in moved[::2]}
        loose = not self.loose.isdisjoint(chosen)
        return max(map(_difference, self.base(loose), self.outputs(after, loose)), default=0.0)

    def derivative(self, chosen: Sequence[Item]) -> float:
        """Derivative of the outputs along random translations, relative to that where leaves move out of step."""
        found, wanted = self.found, {item.name for item in chosen}
        shifts = [shift for shift in found.shifts if shift.name in wanted]
        coordinates = [jnp.asarray(self.random.normal(size=shift.shape)) for shift in shifts]

        @jax.jit  # one program: each operation by itself is one to compile
        def steps_of(coordinates: list, before: list) -> list:
            leaves = dict(zip(self.before, before, strict=True))
            step = directions(found.model.program, found.model.paths, found.model.slices, shifts, coordinates, leaves)
            return list(map(step.get, self.before))

        steps = steps_of(coordinates, [*map(jnp.asarray, self.before.values())])
        whole = self.along(steps)
        torn = self.along([None if step is None else np.asarray(step) * self.random.normal() for step in steps])
        # where each leaf's own part changes nothing, both are rounding
        sizes = [1e-2 * np.max(np.abs(out)) for out in self.base(bool(self.loose))]
        scale = max([*map(np.max, map(np.abs, torn)), *sizes], default=0.0)
        largest = float(max(map(np.max, map(np.abs, whole)), default=0.0) / (scale or 1.0))
        return largest if np.isfinite(largest) else np.inf

    def along(self, steps: list[Any]) -> list[np.ndarray]:
        """Derivative of the outputs along additions to the leaves."""
        leaves = [leaf for leaf in self.before.values() if real(leaf)]
        given = [s for s, leaf in zip(steps, self.before.values(), strict=True) if real(leaf)]
        tangents = [np.zeros_like(leaf) if s is None else np.asarray(s) for s, leaf in zip(given, leaves, strict=True)]
        return [np.asarray(out, np.float64) for out in self.tangent(leaves, tangents)]

    def bisect(self, items: Sequence[Item]) -> list[tuple[Item, float]]:
        """The groups that change the outputs."""
        if not items or (error := self.change(items)) <= _TOLERANCE:
            return []
        if len(items) == 1 and items[0] in self.loose:  # of a norm of what is constant it holds with the epsilon
            self.loose.discard(items[0])
            error = self.change(items)
            return [] if error <= _TOLERANCE else [(items[0], error)]
        if len(items) == 1:
            return [(items[0], error)]
        half = len(items) // 2
        return self.bisect(items[:half]) + self.bisect(items[half:])


def _without(found: Symmetries, gone: set[Item]) -> Symmetries:
    def kept(kind: str, groups: tuple) -> tuple:
        return tuple(group for group in groups if Item(kind, group.name) not in gone)

    linear = kept("linear", found.linear)
    lost = {group.over for group in found.linear} - {group.over for group in linear}
    unmoved = {name for name in found.permutations if Item("permutation", name) in gone}
    classes = {
        name: one._replace(group="", frozen="failed the check")
        if name in unmoved
        else one._replace(group="symmetric" if name in lost else one.group)
        for name, one in found.classes.items()
    }
    return found._replace(
        classes=classes,
        permutations={name: batch for name, batch in found.permutations.items() if name not in unmoved},
        scalings=kept("scaling", found.scalings),
        signs=kept("sign", found.signs),
        linear=linear,
        shifts=kept("shift", found.shifts),
    )


def draw(found: Symmetries, chosen: Sequence[Item], random: np.random.Generator) -> dict[str, Any]:
    """A random element of the chosen groups; the others are left out."""
    wanted = set(chosen)
    permutations = {
        name: random.permuted(np.broadcast_to(np.arange(n), (*(size for _, size in batch), n)), axis=-1)
        for name, batch in found.permutations.items()
        if Item("permutation", name) in wanted
        for n in [found.classes[name].size]
    }
    return {
        "permutation": permutations,
        "scaling": {
            scaling.name: random.uniform(-0.7, 0.7, scaling.shape)
            for scaling in found.scalings
            if Item("scaling", scaling.name) in wanted
        },
        "sign": {
            sign.name: random.choice([-1.0, 1.0], sign.shape)
            for sign in found.signs
            if Item("sign", sign.name) in wanted
        },
        "linear": {
            linear.name: _matrix(linear, random) for linear in found.linear if Item("linear", linear.name) in wanted
        },
    }


def _matrix(linear: Any, random: np.random.Generator) -> np.ndarray:
    size = linear.size - linear.fixed
    shape = (*(size for _, size in linear.batch), size, size)
    orthogonal = np.linalg.qr(random.normal(size=shape))[0]
    if linear.group == "orthogonal":
        return orthogonal
    factors = np.exp(random.uniform(-0.5, 0.5, shape[:-1]))
    return orthogonal * factors[..., None] @ np.linalg.qr(random.normal(size=shape))[0]


def act(found: Symmetries, element: dict[str, Any], leaves: dict) -> dict:
    """Apply an element: linear, then scalings, signs and permutations."""
    for kind, function, groups in (
        ("linear", mix, found.linear),
        ("scaling", rescale, found.scalings),
        ("sign", flip, found.signs),
    ):
        chosen = [group for group in groups if group.name in element[kind]]
        leaves = function([element[kind][group.name] for group in chosen], leaves, chosen)
    return permute(element["permutation"], leaves, found.model.layouts, found.permutations)


def real(leaf: Any) -> bool:
    """Whether a leaf holds real numbers in floating point, which a check may move."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def nearby(leaf: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A point nearby where nothing vanishes by accident; what is positive stays so."""
    leaf = leaf.astype(np.float64)
    size = np.sqrt(np.mean(leaf**2)) if leaf.size else 0.0
    moved = leaf * np.exp(random.uniform(-0.3, 0.3, leaf.shape))
    if leaf.size and leaf.min() > 0:
        return moved
    return moved + (0.3 * size or 0.3) * random.normal(size=leaf.shape)


def _difference(before: np.ndarray, after: np.ndarray) -> float:
    if not before.size:
        return 0.0
    largest = np.max(np.abs(before))
    difference = np.max(np.abs(after - before)) / (largest or 1.0)
    return float(difference) if np.isfinite(difference) else np.inf


def matched(found: Symmetries, variables: Any) -> dict[Path, Any]:
    """The leaves of variables by path.

    Raises:
      ValueError: another structure or other shapes than those whose symmetries were found.
    """
    given, _ = leaf_paths(variables)
    shapes = dict(zip(found.model.paths, found.model.program.shapes, strict=True))
    if {path: jnp.shape(leaf) for path, leaf in given.items()} != shapes:
        raise ValueError("variables have another structure than those whose symmetries were found")
    return given
