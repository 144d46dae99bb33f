"""A picture of which parameters are tied by which classes of units: rows are parameters, columns classes."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from symjax.tracing.describe import Path
from symjax.tracing.found import Symmetries
from symjax.tracing.report import group_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Tie", "draw", "ties"]

_COLOURS = {
    "permutation": "#c9ccd1",
    "sign": "#8fc1a9",
    "scaling": "#5b8fd0",
    "linear": "#d6338a",
}
_WORDS = {
    "permutation": "only permuted",
    "sign": "flipped",
    "scaling": "scaled",
    "linear": "mixed by matrices",
}
_EVERYTHING = "all together"
_LONG = 60  # rows beyond which the parameters of a module are one
_NAME = 30  # characters of a name beyond which its beginning is left out


class Tie(NamedTuple):
    """What a class does to a parameter: kinds of its symmetries, and the signs of the degrees of scalings."""

    kinds: frozenset[str]
    signs: frozenset[str]


def ties(found: Symmetries) -> dict[Path, dict[str, Tie]]:
    """Which symmetries of which class act on which parameter.

    Source: this library's bookkeeping.

    Args:
      found: from :func:`symjax.tracing.symmetries`.

    Returns:
      Path of a leaf -> name of a class -> its :class:`Tie`; families over no class are named "all together".

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"], 0.0) @ v["out"]
      >>> found = symmetries(apply, {"in": jnp.ones((2, 3)), "out": jnp.ones((3, 4))}, jnp.ones((5, 2)))
      >>> sorted(ties(found)[("out",)]["in"].kinds), *ties(found)[("out",)]["in"].signs
      (['permutation', 'scaling'], '−')
    """
    kinds: dict[Path, dict[str, set[str]]] = {layout.path: {} for layout in found.model.layouts}
    signs: dict[tuple[Path, str], set[str]] = {}
    for path, name, kind, degree in _marks(found):
        kinds[path].setdefault(name, set()).add(kind)
        if degree and kind in ("scaling", "linear"):
            signs.setdefault((path, name), set()).add("+" if degree > 0 else "−")
    return {
        path: {name: Tie(frozenset(held), frozenset(signs.get((path, name), ()))) for name, held in row.items()}
        for path, row in kinds.items()
    }


def _marks(found: Symmetries) -> Iterator[tuple[Path, str, str, Any]]:
    for name in found.permutations:
        for site in found.classes[name].sites:
            yield site.path, name, "permutation", 0
    families: Iterable[tuple[str, Any]] = [
        *(("scaling", one) for one in found.scalings),
        *(("sign", one) for one in found.signs),
        *(("translation", one) for one in found.shifts),
    ]
    for kind, family in families:
        for term in family.terms:
            for name in family.over or (_EVERYTHING,):
                yield term.place.path, name, kind, getattr(term, "degree", 0)
        for path in getattr(family, "absorbed", ()):
            for name in family.over or (_EVERYTHING,):
                yield path, name, kind, 0
    for group in found.linear:
        for term in group.terms:
            yield term.place.path, group.over, "linear", term.degree if group.group == "general_linear" else 0


def draw(found: Symmetries) -> "Figure":
    """Draw which parameters are tied by which classes.

    A row is a parameter, or a module where there are many, in the order in which the model reads them; a column is a
    class of units with its group. The colour says the most that acts: permutations, signs, positive scalings, matrices.
    ``+`` and ``−`` are the signs of the scalings' degrees, a dot marks translations. Needs matplotlib.

    Source: this library's own.

    Args:
      found: from :func:`symjax.tracing.symmetries`.

    Returns:
      A matplotlib figure that no window shows; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: nothing was found, so there is nothing to draw.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"], 0.0) @ v["out"]
      >>> found = symmetries(apply, {"in": jnp.ones((2, 3)), "out": jnp.ones((3, 4))}, jnp.ones((5, 2)))
      >>> axes = draw(found).axes[0]
      >>> print([label.get_text() for label in axes.get_xticklabels()])
      ['in  S(3)']
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = _rows(ties(found))
    named = (*found.permutations, *sorted({name for _, row in rows for name in row} - {*found.permutations}))
    places = [(min((y for y, (_, row) in enumerate(rows) if name in row), default=-1), name) for name in named]
    columns = [name for _, name in sorted(places, key=lambda place: (place[1] == _EVERYTHING, place[0]))]
    if not columns:
        raise ValueError("no symmetry was found, so there is nothing to draw: print(found) says why")
    headers = [_header(found, name) for name in columns]
    widths = 0.075 * max(len(label) for label, _ in rows), 0.062 * max(map(len, headers))
    figure = Figure((1.0 + 0.2 * len(columns) + widths[0], 0.9 + 0.2 * len(rows) + widths[1]), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for y, (_, row) in enumerate(rows):
        for x, name in enumerate(columns):
            if name in row:
                _cell(axes, x, y, row[name])
    _decorate(axes, [label for label, _ in rows], headers)
    return figure


def _rows(tied: dict[Path, dict[str, Tie]]) -> list[tuple[str, dict[str, Tie]]]:
    """Labels and ties: leaves of a module that are tied alike in one row, all of them if there are very many."""
    whole = len(tied) > _LONG
    rows: list[tuple[Path, list[str], dict[str, Tie]]] = []
    modules: dict[Path, list[int]] = {}
    for path, row in tied.items():
        if not row:
            continue
        module, leaf = (path[:-1], str(path[-1])) if isinstance(path[-1], str) else (path, "")
        module = tuple(part for part in module if part not in ("params", "batch_stats"))
        same = next((n for n in modules.get(module, ()) if leaf and (whole or _alike(rows[n][2], row))), None)
        if same is None:
            modules.setdefault(module, []).append(len(rows))
            rows.append((module, [leaf], dict(row)))
        else:
            rows[same][1].append(leaf)
            rows[same][2].update(_joined(rows[same][2], row))
    result = []
    for module, leaves, row in rows:
        short = leaves if len(leaves) < 5 else [*leaves[:3], "..."]
        result.append((f"{_short('/'.join(map(str, module)))}  {', '.join(short)}".strip(), row))
    return result


def _strongest(tie: Tie) -> str:
    return next((kind for kind in reversed(_COLOURS) if kind in tie.kinds), "")


def _alike(left: dict[str, Tie], right: dict[str, Tie]) -> bool:
    """Whether two rows look the same."""
    looks = (
        {name: (_strongest(tie), tie.signs, "translation" in tie.kinds) for name, tie in row.items()}
        for row in (left, right)
    )
    return next(looks) == next(looks)


def _joined(left: dict[str, Tie], right: dict[str, Tie]) -> dict[str, Tie]:
    none = Tie(frozenset(), frozenset())
    return {
        name: Tie(*(a | b for a, b in zip(left.get(name, none), right.get(name, none), strict=True)))
        for name in left.keys() | right.keys()
    }


def _header(found: Symmetries, name: str) -> str:
    one = found.classes.get(name)
    if one is None:
        return name
    group = group_of(found, name).partition(" for each ")[0]
    for _, size in found.permutations.get(name, ()):
        group += f" × {size}"
    return f"{_short(name)}  {group or one.frozen}".strip()


def _short(name: str) -> str:
    parts = name.split("/")
    while len(name) > _NAME and len(parts) > 1:
        parts = parts[1:]
        name = "/".join(("…", *parts))
    return name


def _cell(axes: Any, x: int, y: int, tie: Tie) -> None:
    from matplotlib.patches import Rectangle

    colour = _COLOURS.get(_strongest(tie), "white")
    edge = "#8a8f98" if colour == "white" else "none"
    axes.add_patch(Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, facecolor=colour, edgecolor=edge, linewidth=0.6))
    text = "±" if len(tie.signs) == 2 else "".join(tie.signs)
    axes.text(x, y, text, color="white", ha="center", va="center_baseline", fontsize=8, fontweight="bold")
    if "translation" in tie.kinds:
        axes.plot(x + 0.3, y + 0.3, "o", color="black", markersize=1.8)


def _decorate(axes: Any, labels: list[str], headers: list[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    axes.set_xlim(-0.6, len(headers) - 0.4)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_aspect("equal")
    axes.set_xticks(range(len(headers)), headers, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.hlines([y + 0.5 for y in range(len(labels) - 1)], -0.6, len(headers) - 0.4, color="#ececef", linewidth=0.5)
    axes.vlines([x + 0.5 for x in range(len(headers) - 1)], -0.6, len(labels) - 0.4, color="#ececef", linewidth=0.5)
    axes.spines[:].set_visible(False)
    handles = [Patch(color=_COLOURS[kind], label=_WORDS[kind]) for kind in _COLOURS]
    handles.append(Line2D([], [], color="black", marker="o", markersize=2.5, linestyle="none", label="translated"))
    axes.figure.legend(handles=handles, loc="outside lower left", fontsize=7, frameon=False, ncols=2)
