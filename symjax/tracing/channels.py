"""What was found as channels, the form that :mod:`symjax.channels` acts on, and as one continuous symmetry."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax import channels as hand
from symjax.channels.layout import labels
from symjax.groups import algebra_shape, exponential
from symjax.symmetry import Symmetry, compose
from symjax.tracing.action import leaf_paths, mix, positions, rescale
from symjax.tracing.describe import Digit, Linear, Path, Place, Scaling, Span, Term
from symjax.tracing.found import Symmetries
from symjax.tracing.translate import directions

__all__ = ["channels", "symmetry"]


def channels(found: Symmetries) -> dict[str, hand.Channel]:
    """Describe what was found by channels, for :func:`symjax.channels.permute`, ``rescale``, ``mix`` and ``flip``.

    A class is a channel; what its permutations may depend on are its batch indices. Left out are scalings whose
    coordinates have mean zero, matrices that act behind a gain or fix the vector of ones, families over two classes of
    which neither depends on the other, and classes whose entries a channel cannot tell apart, as those inside a stack
    of layers: :attr:`Symmetries.symmetry` has them all.

    The names within a channel are "rescale" (or "scale" where it holds up to epsilon), "flip" and "mix", numbered from
    the second of a kind on. What the table calls "all", a single number over no class, belongs to the first channel.

    Source: this library's bookkeeping.

    Args:
      found: from :func:`symjax.tracing.symmetries`.

    Returns:
      Class name -> :class:`symjax.channels.Channel`.
    """
    stacked = {name for name, one in found.classes.items() if any(site.lead is not None for site in one.sites)}
    stacked |= {name for name in found.permutations if name not in stacked and not _described(found, name)}
    batches = {
        name: tuple(other for other, _ in batch) for name, batch in found.permutations.items() if name not in stacked
    }
    parts: dict[str, dict[str, list]] = {name: {"scalings": [], "mixings": [], "signs": []} for name in batches}
    for scaling in found.scalings:
        name = _owner(scaling.over, batches)
        if name is not None and not scaling.centred:
            word = "scale" if scaling.up_to == "epsilon" else "rescale"
            taken = [part.name for part in parts[name]["scalings"]]
            terms = tuple(
                (_term_site(term, scaling.over, name, batches[name]), _number(term)) for term in scaling.terms
            )
            over = tuple(_index(other, name, batches[name]) for other in scaling.over)
            parts[name]["scalings"].append(hand.Scaling(_unused(word, taken), terms, scaling.up_to, over))
    for sign in found.signs:
        name = _owner(sign.over, batches)
        if name is not None:
            taken = [part.name for part in parts[name]["signs"]]
            sites = tuple(_term_site(term, sign.over, name, batches[name]) for term in sign.terms)
            over = tuple(_index(other, name, batches[name]) for other in sign.over)
            parts[name]["signs"].append(hand.Sign(_unused("flip", taken), sites, over))
    for linear in found.linear:
        name, names = linear.over, (*(other for other, _ in linear.batch), linear.over)
        plain = not linear.fixed and all(term.weight is None for term in linear.terms)
        if plain and name in batches and _owner(names, batches) == name:
            own = batches[name]
            taken = [part.name for part in parts[name]["mixings"]]
            terms = tuple((_term_site(term, names, name, own), int(term.degree)) for term in linear.terms)
            over = tuple(own.index(other) for other, _ in linear.batch)
            parts[name]["mixings"].append(hand.Mixing(_unused("mix", taken), linear.group, terms, over))
    return {
        name: hand.Channel(
            found.classes[name].size,
            tuple(dict.fromkeys(_sites(found, name, batches[name]))),
            batch=tuple(size for _, size in found.permutations[name]),
            **{kind: tuple(held) for kind, held in own.items()},
        )
        for name, own in parts.items()
    }


def _owner(over: tuple[str, ...], batches: dict[str, tuple[str, ...]]) -> str | None:
    """The class that a family over several belongs to: the one that depends on the others."""
    if not over:
        return next(iter(batches), None)
    return next((name for name in over if name in batches and {*over} - {name} <= {*batches[name]}), None)


def _index(other: str, name: str, batch: tuple[str, ...]) -> int:
    return -1 if other == name else batch.index(other)


def _unused(word: str, taken: list[str]) -> str:
    return word if word not in taken else f"{word} {len([t for t in taken if t.startswith(word)]) + 1}"


def _number(term: Term) -> float:
    return float(term.degree)


def _cut(place: Place, axis: int) -> Iterable[tuple[tuple[Digit, ...], dict[str, Any], int, int]]:
    """The runs of a span's digits that lie side by side, the outermost first: segments before one, start and extent.

    The axis, cut by the segments, is read as (outer, stride); the run holds ``extent`` entries of each stride from its
    start on. The axis of a flattened concatenation is (position, stride), in which each part is a run of its own.
    """
    span, length = place.spans[axis], place.shape[axis]
    within, outer, offset, run = (), 1, span.offset, []
    for number, digit in enumerate(span.digits, 1):
        run.append(digit)
        if any(digit.stride == inner.size * inner.stride for inner in span.digits[number : number + 1]):
            continue
        extent = run[0].size * run[0].stride
        start = min(offset, length // outer - extent)  # what is left of the offset lies within a stride
        yield tuple(run), {"outer": outer, "within": within}, start, extent
        if (start, extent) != (0, length // outer):
            within, outer, length = (*within, hand.Segment(start, extent, outer)), 1, extent
        outer, offset, run = outer * extent // digit.stride, offset - start, []


def _block(place: Place, axis: int, digit: int) -> dict[str, Any]:
    """Where one digit of a span runs: the segments of the axis first, then outer and inner factors."""
    unit = place.spans[axis].digits[digit]
    for run, levels, start, extent in _cut(place, axis):
        if unit in run:
            outer, within, length = levels["outer"], levels["within"], place.shape[axis]
            length = within[-1].size if within else length
            if (start, extent) != (0, length // outer):
                within, outer = (*within, hand.Segment(start, extent, outer)), 1
            outer *= extent // (unit.size * unit.stride)
            return {"axis": axis, "outer": outer, "inner": unit.stride, "within": within}
    raise AssertionError("a digit is in one of the runs of its span")


def _site(place: Place, where: dict[str, tuple[int, int]], name: str, batch: Iterable[str]) -> hand.Site:
    blocks = tuple(hand.Block(**_block(place, *where[other])) if other in where else None for other in batch)
    return hand.Site(place.path, **_block(place, *where[name]), batch=blocks)


def _digits(place: Place) -> dict[str, tuple[int, int]]:
    return {digit.name: (axis, k) for axis, span in enumerate(place.spans) for k, digit in enumerate(span.digits)}


def _sites(found: Symmetries, name: str, batch: tuple[str, ...]) -> Iterable[hand.Site]:
    for layout in found.model.layouts:
        for place in layout.places():
            for axis, span in enumerate(place.spans):
                for k, digit in enumerate(span.digits):
                    if digit.name == name:
                        yield _site(place, _digits(place) | {name: (axis, k)}, name, batch)


def _described(found: Symmetries, name: str) -> bool:
    """Whether the sites of a class hold its units and nothing else, also where other units lie between them."""
    for layout in found.model.layouts:
        for axis, column in enumerate(layout.columns):
            held = [(span, k) for span in column for k, digit in enumerate(span.digits) if digit.name == name]
            if any(_gaps(span) for span, _ in held):
                wanted = np.full(layout.shape[axis], -1)
                for span, k in held:
                    rows = np.moveaxis(positions(span), k, 0)
                    wanted[rows] = np.arange(len(rows)).reshape((-1,) + (1,) * (rows.ndim - 1))
                seen = np.full_like(wanted, -1)
                for span, k in held:
                    block = _block(Place(layout.path, (span,), layout.shape[axis : axis + 1]), 0, k)
                    label = labels(hand.Block(**block), span.digits[k].size, layout.shape[axis]).label
                    seen = np.where(label >= 0, label, seen)
                if not np.array_equal(seen, wanted):
                    return False
    return True


def _gaps(span: Span) -> bool:
    strides = [digit.stride for digit in span.digits]
    return strides != [digit.size * digit.stride for digit in span.digits[1:]] + [1] * bool(strides)


def _term_site(term: Term, over: tuple[str, ...], name: str, batch: tuple[str, ...]) -> hand.Site:
    place = term.place
    if not over:
        return hand.Site(place.path, cuts=_cuts(place, ()))
    where = _digits(place) | dict(zip(over, term.along, strict=True))
    site = _site(place, where, name, batch)
    return site._replace(cuts=_cuts(place, {where[other][0] for other in (name, *batch) if other in where}))


def _cuts(place: Place, held: Any) -> tuple[hand.Block, ...]:
    cuts = []
    for axis, length in enumerate(place.shape):
        if axis in held:
            continue
        runs = [*_cut(place, axis)]
        if not runs and length > 1:
            cuts.append(hand.Block(axis, offset=place.spans[axis].offset, size=1))
        for run, levels, start, extent in runs[-1:]:
            if len(runs) > 1 or (start, extent) != (0, length):
                inner = run[-1].stride
                cuts.append(hand.Block(axis, offset=start, size=extent // inner, inner=inner, **levels))
    return tuple(cuts)


def symmetry(found: Symmetries, dtype: Any = None) -> Symmetry:
    """Compose all continuous symmetries that were found: ``scalings``, ``linear`` and ``shifts``, by name.

    A scaling that a general linear group contains is left to the group.

    Source: this library's bookkeeping.

    Args:
      found: from :func:`symjax.tracing.symmetries`.
      dtype: of the coordinates; None takes jax's default float.

    Returns:
      A :class:`symjax.symmetry.Symmetry` with coordinates kind -> name -> array.

    Raises:
      ValueError: nothing continuous was found.
    """
    dtype = jnp.result_type(float) if dtype is None else dtype
    contained = {linear.scaling for linear in found.linear}
    scalings = tuple(scaling for scaling in found.scalings if scaling.name not in contained)
    kinds = {
        "scalings": (lambda s, v: _scaled(s, v, scalings), {one.name: one.shape for one in scalings}),
        "linear": (lambda s, v: _mixed(s, v, found.linear), {one.name: _algebra(one) for one in found.linear}),
        "shifts": (lambda s, v: _shifted(s, v, found), {one.name: one.shape for one in found.shifts}),
    }
    parts = {
        kind: Symmetry(flow, {name: jnp.zeros(shape, dtype) for name, shape in shapes.items()})
        for kind, (flow, shapes) in kinds.items()
        if shapes
    }
    if not parts:
        raise ValueError("no continuous symmetry was found, so there is no flow")
    return compose(**parts)


def _algebra(linear: Linear) -> tuple[int, ...]:
    return (*(size for _, size in linear.batch), *algebra_shape(linear.group, linear.size - linear.fixed))


def _scaled(s: Any, variables: Any, scalings: tuple[Scaling, ...]) -> Any:
    leaves, structure = leaf_paths(variables)
    moved = rescale([s[one.name] for one in scalings], _arrays(leaves), scalings)
    return jax.tree.unflatten(structure, list(moved.values()))


def _mixed(s: Any, variables: Any, groups: tuple[Linear, ...]) -> Any:
    leaves, structure = leaf_paths(variables)
    matrices = [exponential(one.group, jnp.asarray(s[one.name]), one.size - one.fixed)[0] for one in groups]
    return jax.tree.unflatten(structure, list(mix(matrices, _arrays(leaves), groups).values()))


def _shifted(s: Any, variables: Any, found: Symmetries) -> Any:
    leaves, structure = leaf_paths(variables)
    model, coordinates = found.model, [s[one.name] for one in found.shifts]

    def step(leaves: dict[Path, Any], factor: float) -> dict[Path, Any]:
        parts = [factor * u for u in coordinates]
        added = directions(model.program, model.paths, model.slices, found.shifts, parts, leaves)
        return {path: added[path].astype(leaf.dtype) for path, leaf in leaves.items() if path in added}

    # what is absorbed is bilinear in what two translations move, which the midpoint's rule integrates exactly
    leaves = _arrays(leaves)
    middle = leaves | {path: leaves[path] + added for path, added in step(leaves, 0.5).items()}
    moved = leaves | {path: leaves[path] + added for path, added in step(middle, 1.0).items()}
    return jax.tree.unflatten(structure, list(moved.values()))


def _arrays(leaves: dict[Path, Any]) -> dict[Path, Any]:
    return {path: jnp.asarray(leaf) for path, leaf in leaves.items()}
