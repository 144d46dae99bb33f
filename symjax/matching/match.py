"""Two networks brought into each other's order: :func:`match`, :func:`aligned`, :func:`merge`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype, require_same_shapes, scalar
from symjax.channels import Channel, flip, mix, permute
from symjax.matching.assignment import Assignment
from symjax.matching.moments import Moments, cross_moments
from symjax.matching.score import Constraint, Group, Score, correlation, dead_units, group_of, solve
from symjax.matching.sites import Sites, reads, require_followed, require_variables
from symjax.tracing import Symmetries

__all__ = ["Matching", "Method", "aligned", "match", "merge"]

Method = Literal["activations", "weights", "dual"]


class Matching(NamedTuple):
    """How the units of a second network are brought into the order of a first one.

    Attributes:
      permutations: class -> integers (size,) or (*batch, size): the second network's unit at each place.
      signs: class -> name of the sign -> array (size,).
      mixings: class -> name of the linear group -> matrices (*batch, size, size).
      correlations: class -> array (n, n) of the first network's units against the second one's, the mean over the
        places where the class is read; n counts the batch indices too. Empty for matching by weights.
      matched: class -> array (size,), the correlation of each matched pair, under its sign; of permutations only.
      value: class -> the sum of the scores matched.
      lost: class -> how much less that is than without the constraint.
      dead: class -> (units of the first network, units of the second) that say the same on every input at every
        place: what they are matched with is arbitrary.
      unmatched: class -> why it was left as it is.
      channels: the channels on which all this acts.
    """

    permutations: dict[str, np.ndarray]
    signs: dict[str, dict[str, np.ndarray]]
    mixings: dict[str, dict[str, np.ndarray]]
    correlations: dict[str, np.ndarray]
    matched: dict[str, np.ndarray]
    value: dict[str, float]
    lost: dict[str, float]
    dead: dict[str, tuple[np.ndarray, np.ndarray]]
    unmatched: dict[str, str]
    channels: dict[str, Channel]

    def __repr__(self) -> str:
        dead = sum(len(one) for pair in self.dead.values() for one in pair)
        return f"<Matching: {len(self.value)} classes, {dead} dead units, {len(self.unmatched)} classes unmatched>"


def match(
    traced: Symmetries,
    variables_a: Any,
    variables_b: Any,
    batches: Iterable[Any] | None = None,
    *,
    method: Method = "activations",
    constraint: Constraint = "none",
    sites: Sites = "all",
    names: Sequence[str] | None = None,
    epsilon: float = 0.0,
    share: float = 0.5,
    seed: int = 0,
) -> Matching:
    """Match the hidden units of a second network with those of a first one, every class in its own group.

    For the flipped self the second network is the first one with its kernels flipped. By activations: the
    correlations of all classes come from one pass over the batches (:func:`symjax.matching.cross_moments`), and each
    class is an assignment of its own. A residual stream is one class, whose correlations are added over all places
    where it is read. Heads are assigned by how well their insides can be matched. By weights: ``sum <W, W'>`` over all
    sites of a class, class after class until nothing changes. Dual: the mean of both scores.

    Source: Li et al. 2015; Entezari et al. 2022; Jordan et al. 2023 (REPAIR); Ainsworth et al. 2023 (weights);
      Bökman & Kahl 2023 (flipped self). Deviation: units are compared as their reader sees them, behind a max pool.

    Args:
      traced: from :func:`symjax.tracing.symmetries`; traced with one example, batches may have any number.
      variables_a: pytree like the variables traced.
      variables_b: pytree like it.
      batches: inputs; needed unless ``method`` is "weights".
      method: what is compared.
      constraint: "involution" allows swaps only (permutation classes without batch indices).
      sites: places of a class whose correlations are added: all, or the last one (as the paper does for streams).
      names: of the classes to match; None takes all and refuses a network of which a part was not followed.
      epsilon: see :func:`symjax.matching.correlation`.
      share: of the weights in the dual score.
      seed: of the order of the classes, by weights and dual.

    Returns:
      The matching, for :func:`aligned`.

    Raises:
      ValueError: variables or batches unlike those traced (the first differences named), activations that are not
        finite (the class named), a part that tracing refused, an unknown class or option, nothing to match.

    Example:
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"], 0.0) @ v["out"]
      >>> first = {"in": jnp.array([[1.0, -1.0, 0.5]]), "out": jnp.array([[1.0], [2.0], [3.0]])}
      >>> second = {"in": jnp.array([[-1.0, 0.5, 1.0]]), "out": jnp.array([[2.0], [3.0], [1.0]])}
      >>> x = jnp.array([[-1.0], [2.0], [0.5]])
      >>> matching = match(symmetries(apply, first, x), first, second, [x], epsilon=1e-3)
      >>> print(matching.permutations["in"][1])
      0
    """
    for name, value, kind in (
        ("method", method, Method),
        ("constraint", constraint, Constraint),
        ("sites", sites, Sites),
    ):
        if value not in get_args(kind):
            raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(map(repr, get_args(kind)))}")
    require_variables(traced, variables_a=variables_a, variables_b=variables_b)
    channels, unmatched = matchable(traced, names)
    places = reads(traced, channels, sites)
    groups = {name: group_of(channel, places[name]) for name, channel in channels.items()}
    found: dict[str, list[Moments]] = {}
    if method != "weights":
        if batches is None:
            raise ValueError(f"method {method!r} compares activations, so batches must be given")
        unmatched |= {name: "no contraction reads it" for name in channels if not places[name]}
        channels = {name: channel for name, channel in channels.items() if places[name]}
        _require_some(channels, unmatched)
        found = cross_moments(traced, variables_a, [variables_b], batches, {name: places[name] for name in channels})[0]
    scores = {name: score_of(each, groups[name], channels[name], epsilon) for name, each in found.items()}
    if method == "activations":
        elements = solve_all(scores, groups, channels, constraint)
    else:
        from symjax.matching.weights import match_weights

        weight = 1.0 if method == "weights" else _share(share)
        pairs = {name: (scores.get(name), len(places[name])) for name in channels}
        elements = match_weights(variables_a, variables_b, groups, channels, pairs, weight, constraint, seed)
    return _correlated(describe(elements, groups, channels, unmatched), found, scores)


def _share(share: float) -> float:
    share = scalar("share", share)
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, but must lie between 0 and 1")
    return share


def matchable(traced: Symmetries, names: Sequence[str] | None) -> tuple[dict[str, Channel], dict[str, str]]:
    """The channels to match, and why classes are left out; what tracing refused is refused unless classes are named."""
    channels = traced.channels
    if names is None:
        require_followed(traced)
        stacked = traced.permutations.keys() - channels.keys()
        unmatched = dict.fromkeys(sorted(stacked), "inside a stack of layers")
        names = list(channels)
    else:
        unmatched = {}
        for name in names:
            if name not in channels:
                raise ValueError(f"no class that can be matched is named {name!r}; those are {', '.join(channels)}")
    chosen = {name: channels[name] for name in names}
    _require_some(chosen, unmatched)
    return chosen, unmatched


def _require_some(channels: Mapping[str, Channel], unmatched: Mapping[str, str]) -> None:
    if not channels:
        why = "; ".join(f"{name}: {reason}" for name, reason in unmatched.items()) or "no class was found"
        raise ValueError(f"there are no hidden units to match ({why})")


def score_of(moments: Sequence[Moments], group: Group, channel: Channel, epsilon: float) -> Score:
    """Scores of a class: correlations added over its places."""
    parts = [np.zeros((), float), np.zeros((), float)]
    for number, one in enumerate(moments):
        negated = number in group.negated
        parts[negated] = parts[negated] + correlation(one, epsilon, group.kind == "orthogonal")
    batch = int(np.prod(channel.batch, dtype=int))
    shape = (batch, channel.size, batch, channel.size)
    flat = (batch * channel.size,) * 2
    return Score(*(np.broadcast_to(part, flat).reshape(shape) for part in parts))


def solve_all(
    scores: Mapping[str, Score],
    groups: Mapping[str, Group],
    channels: Mapping[str, Channel],
    constraint: Constraint,
) -> dict[str, list[Assignment]]:
    """Best elements of all classes: one for each setting of the batch indices, those of heads before their insides."""
    elements: dict[str, list[Assignment]] = {}
    outer = outer_classes(channels)
    inner = {name: head for head, names in outer.items() for name in names}
    for name in channels:
        if name not in inner:
            elements[name] = [_outer(name, scores, groups, outer.get(name, ()), constraint)]
    for name, head in inner.items():
        order = elements[head][0].element
        elements[name] = within_batch(scores[name], groups[name], channels[name], order)
    for name in channels.keys() - elements.keys():
        elements[name] = within_batch(scores[name], groups[name], channels[name], None)
    return elements


def outer_classes(channels: Mapping[str, Channel]) -> dict[str, list[str]]:
    """Class of heads -> the classes with this one batch index."""
    found: dict[str, list[str]] = {}
    for name, channel in channels.items():
        blocks = {(site.path, site.batch[0]) for site in channel.sites if len(channel.batch) == 1 and site.batch}
        for head, other in channels.items():
            here = {(site.path, site.axis, site.outer, site.inner) for site in other.sites}
            same = len(channel.batch) == 1 and other.size == channel.batch[0] and not other.batch
            if same and any(b is not None and (path, b.axis, b.outer, b.inner) in here for path, b in blocks):
                found.setdefault(head, []).append(name)
                break
    return found


def _outer(
    name: str,
    scores: Mapping[str, Score],
    groups: Mapping[str, Group],
    inside: Sequence[str],
    constraint: Constraint,
) -> Assignment:
    if not inside:
        plain = scores[name]
        return (
            solve(plain.block(0, 0), groups[name], constraint)
            if len(plain.plain) == 1
            else Assignment(np.arange(plain.plain.shape[1]), 0.0)
        )
    count = len(scores[inside[0]].plain)
    values = np.zeros((count, count))
    for other in inside:
        for first in range(count):
            for second in range(count):
                values[first, second] += solve(scores[other].block(first, second), groups[other]).value
    return solve(Score(values, np.zeros_like(values)), Group("permutation", "", ()), constraint)


def within_batch(score: Score, group: Group, channel: Channel, order: np.ndarray | None) -> list[Assignment]:
    """Best elements inside each head, when the heads are ordered; one for all where the group wants one."""
    count = len(score.plain)
    order = np.arange(count) if order is None else order
    blocks = [score.block(first, int(order[first])) for first in range(count)]
    if len(group.over) == len(channel.batch):
        return [solve(block, group) for block in blocks]
    return [solve(Score(*(np.sum(parts, 0) for parts in zip(*blocks, strict=True))), group)]


def describe(
    elements: Mapping[str, Sequence[Assignment]],
    groups: Mapping[str, Group],
    channels: Mapping[str, Channel],
    unmatched: Mapping[str, str],
) -> Matching:
    """Elements of all classes as a matching, without what the activations said."""
    matching = Matching({}, {}, {}, {}, {}, {}, {}, {}, dict(unmatched), dict(channels))
    for name, each in elements.items():
        group, channel = groups[name], channels[name]
        stacked = np.stack([one.element for one in each])
        element = stacked.reshape(*channel.batch, *stacked.shape[1:]) if group.over else stacked[0]
        if group.kind == "orthogonal":
            matching.mixings[name] = {group.part: element}
        else:
            matching.permutations[name] = element
        if each[0].signs is not None:
            matching.signs[name] = {group.part: each[0].signs}
        matching.value[name] = sum(one.value for one in each)
        matching.lost[name] = sum(one.lost for one in each)
    return matching


def _correlated(matching: Matching, moments: Mapping[str, Sequence[Moments]], scores: Mapping[str, Score]) -> Matching:
    for name, each in moments.items():
        n = scores[name].plain.shape[0] * scores[name].plain.shape[1]
        total = (scores[name].plain + scores[name].signed).reshape(n, n) / len(each)
        matching.correlations[name] = total
        element = matching.permutations.get(name)
        if element is not None and element.shape == (n,):
            pairs = total[np.arange(n), element]
            matching.matched[name] = np.abs(pairs) if name in matching.signs else pairs
        matching.dead[name] = tuple(
            np.flatnonzero(np.all([dead_units(one[which], one[2 + which]) for one in each], 0)) for which in (0, 1)
        )
    return matching


def aligned(matching: Matching, variables_b: Any) -> Any:
    """Bring the second network's variables into the first one's order; its function does not change.

    Source: Entezari et al. 2022; Bökman & Kahl 2023, section 2.

    Args:
      matching: from :func:`match`.
      variables_b: the second network's variables.

    Returns:
      Variables of the same structure, shapes and dtypes.

    Raises:
      ValueError: variables that do not fit the channels.
    """
    plain = {name: perm for name, perm in matching.permutations.items() if perm.ndim == 1}
    inside = {name: perm for name, perm in matching.permutations.items() if perm.ndim > 1}
    result = permute(plain, variables_b, matching.channels)
    if inside:  # their batch indices are in the new order already
        result = permute(inside, result, matching.channels)
    if matching.signs:
        result = flip(matching.signs, result, matching.channels)
    return mix(matching.mixings, result, matching.channels) if matching.mixings else result


def merge(variables_a: Any, variables_b: Any, alpha: float = 0.5) -> Any:
    """Interpolate two networks' variables, ``(1 - alpha) a + alpha b``; call :func:`aligned` on the second one first.

    Integer leaves (counters) are the first network's.

    Source: Bökman & Kahl 2023, section 2 (alpha = 1/2); Frankle et al. 2020 for the line.

    Args:
      variables_a: pytree of arrays.
      variables_b: pytree of the same structure and shapes.
      alpha: place on the line; any real number.

    Returns:
      Variables like the first ones.

    Raises:
      ValueError: leaves or shapes that differ, the first differences named.

    Example:
      >>> print(merge({"w": jnp.array([0.0, 4.0])}, {"w": jnp.array([2.0, 0.0])}, 0.25)["w"])
      [0.5 3. ]
    """
    require_same_shapes("variables_b", variables_b, "variables_a", variables_a)
    alpha = scalar("alpha", alpha)

    def between(a: Any, b: Any) -> jax.Array:
        a, b = jnp.asarray(a), jnp.asarray(b)
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return a
        wide = accumulation_dtype(a.dtype, b.dtype)
        return ((1 - alpha) * a.astype(wide) + alpha * b.astype(wide)).astype(a.dtype)

    return jax.tree.map(between, variables_a, variables_b)
