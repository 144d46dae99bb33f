"""The table that ``print(found)`` shows."""

from collections.abc import Sequence

from symjax.tracing.describe import Class, Linear, Path, Scaling, Shift, Sign, Site, Term
from symjax.tracing.found import Symmetries

__all__ = ["group_of", "table"]

_WIDTH = 100
_LETTERS = {"symmetric": "S", "orthogonal": "O", "general_linear": "GL"}


def table(found: Symmetries) -> str:
    """All that was found, for a person to read."""
    lines = [_headline(found)]
    if found.permutations:
        rows = [_class(found, name) for name in found.permutations]
        lines += ["", *_rows(("class", "size", "group", "where it appears"), rows)]
    if found.scalings:
        lines += ["", *_rows(("positive scaling", "dimension", "", "degrees"), [_scaling(s) for s in found.scalings])]
    if found.linear:
        lines += ["", *_rows(("matrices on", "dimension", "group", "variances"), [_linear(g) for g in found.linear])]
    if found.shifts:
        lines += ["", *_rows(("translation", "dimension", "", "of"), [_shift(s) for s in found.shifts])]
    if found.signs:
        lines += ["", *_rows(("signs", "generators", "", "where"), [_sign(s) for s in found.signs])]
    lines += [""] + _remarks(found)
    return "\n".join(line.rstrip() for line in lines).rstrip()


def _headline(found: Symmetries) -> str:
    text = f"{len(found.permutations)} classes of interchangeable units, {found.dimension} continuous dimensions"
    if found.checked is None:
        return f"{text}; found from shapes alone, not checked"
    return f"{text}; checked: outputs moved by {found.checked.error:.1e} of their size"


def _class(found: Symmetries, name: str) -> tuple[str, str, str, str]:
    one: Class = found.classes[name]
    return name, str(one.size), group_of(found, name), _list([_site(site) for site in one.sites])


def group_of(found: Symmetries, name: str) -> str:
    """The group that acts on a class, such as "S(64)"; empty for one that is only scaled."""
    one: Class = found.classes[name]
    if not one.group:
        return ""
    fixed = any(group.fixed for group in found.linear if group.over == name)
    group = f"{_LETTERS[one.group]}({one.size - fixed})"
    if found.permutations.get(name):
        group += " for each " + ", ".join(other for other, _ in found.permutations[name])
    return group


def _site(site: Site) -> str:
    return f"{_path(site.path)}[{site.axis}]" + ("" if site.lead is None else f" of layer {site.lead}")


def _scaling(scaling: Scaling) -> tuple[str, str, str, str]:
    note = f"up to {scaling.up_to}" if scaling.up_to else ""
    note += " mean zero" if scaling.centred else ""
    return scaling.name, str(scaling.dimension), note, _degrees(scaling.terms)


def _linear(group: Linear) -> tuple[str, str, str, str]:
    times = "".join(f" x {size}" for _, size in group.batch)
    return (
        group.name,
        str(group.dimension),
        f"{_LETTERS[group.group]}({group.size - group.fixed}){times}",
        _degrees(group.terms),
    )


def _sign(sign: Sign) -> tuple[str, str, str, str]:
    count = 1
    for size in sign.shape:
        count *= size
    return sign.name, str(count), "", _list(list(dict.fromkeys(_path(term.place.path) for term in sign.terms)))


def _shift(shift: Shift) -> tuple[str, str, str, str]:
    text = _degrees(shift.terms)
    if shift.absorbed:
        text += f"; taken up by {_list([_path(path) for path in shift.absorbed])}"
    note = f"up to {shift.up_to}" if shift.up_to else ""
    return shift.name, str(shift.dimension), f"{note} mean zero".strip() if shift.centred else note, text


def _degrees(terms: Sequence[Term]) -> str:
    return _list(
        list(dict.fromkeys(f"{_path(term.place.path)} {_signed(term.degree)}{_weight(term)}" for term in terms))
    )


def _weight(term: Term) -> str:
    return "/gain" if term.weight is not None and term.weight[0] is not None else ""


def _signed(degree: object) -> str:
    return f"{degree}" if str(degree).startswith("-") else f"+{degree}"


def _remarks(found: Symmetries) -> list[str]:
    lines = []
    for primitive, source, leaves in found.refused:
        lines.append(f"not followed: {primitive} at {source}; freezes {_list([_path(leaf) for leaf in leaves])}")
    if not found.permutations and found.classes:
        first = next((f"{one.frozen}" for one in found.classes.values() if one.frozen not in ("input", "output")), "")
        lines.append(f"no class is free: {first or 'every axis is that of an input or an output'}")
    if found.checked is not None:
        for item, error in found.checked.failed:
            lines.append(f"dropped: {item.kind} {item.name} moved the outputs by {error:.1e} of their size")
        if found.checked.sensitivity < 1e-6 and found.dimension:
            lines.append(f"a weak check: a wrong group would move the outputs by {found.checked.sensitivity:.1e} only")
    if found.unread:
        lines.append(f"never read: {_list([_path(leaf) for leaf in found.unread])}")
    return lines


def _path(path: Path) -> str:
    return "/".join(str(part) for part in path if part != "params")


def _list(items: list[str]) -> str:
    text = ""
    for number, item in enumerate(items):
        longer = f"{text}, {item}" if text else item
        if len(longer) > _WIDTH - 30 and text:
            return f"{text}, ... ({len(items) - number} more)"
        text = longer
    return text


def _rows(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    aligned = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return [aligned[0], "-" * min(_WIDTH, len(aligned[0])), *aligned[1:]]
