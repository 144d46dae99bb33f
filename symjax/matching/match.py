"""Two networks' units against each other: :func:`match`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from symjax.arguments import scalar, whole_number
from symjax.channels import Channel
from symjax.matching.matched import Matching, describe
from symjax.matching.moments import Moments, cross_moments
from symjax.matching.score import Constraint, Score, dead_units, group_of
from symjax.matching.sites import Read, Sites, reads, require_followed, require_variables
from symjax.matching.solving import score_of, solve_all
from symjax.matching.weights import match_weights
from symjax.tracing import Symmetries

__all__ = ["Method", "match", "matchable", "require_some"]

Method = Literal["activations", "weights", "dual"]


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
    moments: Mapping[str, Sequence[Moments]] | None = None,
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
      batches: inputs; needed unless ``method`` is "weights" or the moments are given.
      method: what is compared.
      constraint: "involution" allows swaps only (permutation classes without batch indices).
      sites: places of a class whose correlations are added: all, or the last one (as the paper does for streams).
      names: of the classes to match; None takes all and refuses a network of which a part was not followed.
      moments: of these two networks at all places, to match them several times (all and last sites, with and without
        a constraint) after one pass: ``cross_moments(traced, variables_a, [variables_b], batches, reads(traced,
        traced.channels))[0]``.
      epsilon: see :func:`symjax.matching.correlation`.
      share: of the weights in the dual score.
      seed: of the order of the classes, by weights and dual.

    Returns:
      The matching, for :func:`aligned`.

    Raises:
      ValueError: variables or batches unlike those traced (the first differences named), activations that are not
        finite (the class named), a part that tracing refused, an unknown class or option, nothing to match, both
        batches and moments or moments of other places.

    Example:
      >>> import jax.numpy as jnp
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
    epsilon, seed = _not_negative("epsilon", epsilon), whole_number("seed", seed, 0)
    require_variables(traced, variables_a=variables_a, variables_b=variables_b)
    channels, unmatched = matchable(traced, names)
    places = reads(traced, channels, sites)
    groups = {name: group_of(channel, places[name]) for name, channel in channels.items()}
    found: Mapping[str, Sequence[Moments]] = {}
    if method != "weights":
        if (batches is None) == (moments is None):
            raise ValueError(f"method {method!r} compares activations: give either batches or moments")
        unmatched |= {name: "no contraction reads it" for name in channels if not places[name]}
        channels = {name: channel for name, channel in channels.items() if places[name]}
        require_some(channels, unmatched)
        places = {name: places[name] for name in channels}
        if moments is None:
            found = cross_moments(traced, variables_a, [variables_b], batches, places)[0]
        else:
            found = _at_sites(moments, reads(traced, channels), sites)
    scores = {name: score_of(each, groups[name], channels[name], epsilon) for name, each in found.items()}
    if method == "activations":
        elements = solve_all(scores, groups, channels, constraint)
    else:
        weight = 1.0 if method == "weights" else _share(share)
        pairs = {name: (scores.get(name), len(places[name])) for name in channels}
        elements = match_weights(variables_a, variables_b, groups, channels, pairs, weight, constraint, seed)
    return _correlated(describe(elements, groups, channels, unmatched), found, scores)


def _at_sites(
    moments: Mapping[str, Sequence[Moments]], everywhere: Mapping[str, Sequence[Read]], sites: Sites
) -> dict[str, Sequence[Moments]]:
    """Of moments at all places those at the sites asked for."""
    for name, each in everywhere.items():
        if len(moments.get(name, ())) != len(each):
            raise ValueError(
                f"moments hold {len(moments.get(name, ()))} places of {name!r}, which is read at {len(each)}"
            )
    return {name: moments[name][-1:] if sites == "last" else moments[name] for name in everywhere}


def _not_negative(name: str, value: float) -> float:
    number = scalar(name, value)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} is {number}, but must be a number of at least 0")
    return number


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
        if isinstance(names, str):
            raise ValueError(f"names is {names!r}, but must be a list of names")
        for name in names:
            if name not in channels:
                raise ValueError(f"no class that can be matched is named {name!r}; those are {', '.join(channels)}")
    chosen = {name: channels[name] for name in names}
    require_some(chosen, unmatched)
    return chosen, unmatched


def require_some(channels: Mapping[str, Any], unmatched: Mapping[str, str]) -> None:
    """Refuse a network in which nothing can be matched, and say why."""
    if not channels:
        why = "; ".join(f"{name}: {reason}" for name, reason in unmatched.items()) or "no class was found"
        raise ValueError(f"there are no hidden units to match ({why})")


def _correlated(matching: Matching, moments: Mapping[str, Sequence[Moments]], scores: Mapping[str, Score]) -> Matching:
    for name, each in moments.items():
        n = scores[name].plain.shape[0] * scores[name].plain.shape[1]
        plain, signed = scores[name].plain.reshape(n, n), scores[name].signed.reshape(-1, n, n)
        matching.correlations[name] = (plain + signed.sum(0)) / len(each)
        element = matching.permutations.get(name)
        if element is not None and element.shape == (n,):
            under = (plain + np.abs(signed).sum(0)) / len(each)
            matching.matched[name] = under[np.arange(n), element]
        matching.dead[name] = tuple(
            np.flatnonzero(np.all([dead_units(one[which], one[2 + which]) for one in each], 0)) for which in (0, 1)
        )
    return matching
