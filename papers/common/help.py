"""The text of ``--help``: the options first, in groups, each with what its field's docstring says."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from papers.common.flags import bare, flag, is_sequence, members

COLUMNS = 100
INDENT = 26

GROUPS: Mapping[str, tuple[str, ...]] = {
    "the job": (),
    "data": ("data", "dataset", "data_dir", "size", "classes", "limit", "images", "official"),
    "network": (
        *("network", "model", "width", "hidden", "activation", "batch_norm", "dropout"),
        *("scale", "start", "initialisation", "initial_scale", "initial_scales", "filter_norm", "filter_norms"),
    ),
    "learning rule": (
        *("optimiser", "learning_rate", "learning_rates", "momentum", "momenta", "weight_decay", "weight_decays"),
        *("drops", "batch_size", "epochs", "steps", "seed", "seeds", "precision"),
    ),
    "run": (
        *("out", "resume", "networks", "cache_dir", "record_every", "checkpoint_epochs", "driver", "batching"),
        *("update",),
    ),
}
"""Title of a group -> the fields in it, in the order shown; a field that no group names belongs to the job."""


class Field(NamedTuple):
    """One field of a configuration, as the help shows it."""

    name: str
    annotation: Any
    default: Any
    doc: str


def text(
    config_class: type, prog: str, description: str | None, start: Any = None, presets: Mapping[str, Any] | None = None
) -> str:
    """Write the help of a command line.

    Args:
        config_class: the dataclass of its configuration.
        prog: the command as the user types it.
        description: the text above the options; the class's docstring by default.
        start: a configuration whose values are shown as the defaults; the class's own by default.
        presets: those that exist, by name.
    """
    shown = list(fields(config_class, start))
    title = {name: group for group, names in GROUPS.items() for name in names}
    order = {name: place for names in GROUPS.values() for place, name in enumerate(names)}

    def rank(field: Field) -> tuple[bool, int]:  # what must be given comes first
        return field.default is not dataclasses.MISSING, order.get(field.name.rpartition(".")[2], 0)

    lines = [f"usage: {prog} [options]", ""]
    for paragraph in inspect.cleandoc(description or config_class.__doc__ or "").split("\n\n"):
        lines += [*textwrap.wrap(paragraph, COLUMNS), ""]
    for group in GROUPS:
        own = [field for field in shown if title.get(field.name.rpartition(".")[2], "the job") == group]
        own.sort(
            key=lambda field: (field.default is not dataclasses.MISSING, order.get(field.name.rpartition(".")[2], 0))
        )
        if own:
            lines += [f"{group}:", *(line for field in own for line in _entry(_spell(field), _say(field))), ""]
    lines += ["help:", *_entry("-h, --help", "This text.")]
    if presets:
        lines += [*_entry("--help-presets", "What the presets are."), ""]
        lines += textwrap.wrap(
            f"presets: {', '.join(presets)}", COLUMNS, subsequent_indent="  ", break_on_hyphens=False
        )
    return "\n".join(lines) + "\n"


def presets_text(presets: Mapping[str, Any]) -> str:
    """Write what ``--help-presets`` shows: what tells each preset apart, then what they share."""
    first = next(iter(presets.values()))
    names = [field.name for field in dataclasses.fields(first) if field.name != "config"]
    several = len(presets) > 1
    shared = [name for name in names if several and len({getattr(one, name) for one in presets.values()}) == 1]
    lines = []
    for title, preset in presets.items():
        lines += _entry(title, "; ".join(str(getattr(preset, name)) for name in names if name not in shared))
    lines += [""] if shared else []
    for name in shared:
        lines += _entry(f"{name.replace('_', ' ')} of all", str(getattr(first, name)))
    return "\n".join(lines) + "\n"


def fields(config_class: type, start: Any = None, prefix: str = "") -> Iterator[Field]:
    """List a configuration's fields, those of nested ones after a dot."""
    hints, docs = typing.get_type_hints(config_class, include_extras=True), _docstrings(config_class)
    for field in dataclasses.fields(config_class):
        if not field.init:
            continue
        default = getattr(start, field.name, dataclasses.MISSING)
        if default is dataclasses.MISSING:
            default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        annotation = hints[field.name]
        if dataclasses.is_dataclass(annotation):
            own = None if default is dataclasses.MISSING else default
            yield from fields(annotation, own, f"{prefix}{field.name}.")
        else:
            yield Field(prefix + field.name, annotation, default, docs.get(field.name, ""))


def _docstrings(config_class: type) -> dict[str, str]:
    """The string below each field, of the class and those that it inherits from."""
    found: dict[str, str] = {}
    for one in reversed(config_class.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0].body
        except (OSError, TypeError, SyntaxError):  # a class without a file
            continue
        for field, below in pairwise(body):
            documented = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and documented:
                found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def _spell(field: Field) -> str:
    if "Positional" in repr(getattr(field.annotation, "__metadata__", ())):
        return f"{field.name.upper()} ..."
    own = flag(field.name)
    if bare(field.annotation) is bool:
        return f"{own}, --no-{own.removeprefix('--')}"
    return f"{own} {_kind(field.annotation)}"


def _kind(annotation: Any) -> str:
    """A word for what an option takes."""
    kinds = [bare(member) for member in members(annotation) if member is not types.NoneType]
    words = []
    for kind in kinds:
        if is_sequence(kind):
            words.append(f"{_kind(typing.get_args(kind)[0])} ...")
        elif typing.get_origin(kind) is Literal:
            words.append("{" + ",".join(str(choice) for choice in typing.get_args(kind)) + "}")
        else:
            named = getattr(kind, "__name__", str(kind))
            plain = {"int": "N", "float": "X", "str": "TEXT", "bool": "True|False"}
            words.append("PATH" if named.endswith("Path") else plain.get(named, named.upper()))
    return "|".join(words)


def _say(field: Field) -> str:
    if field.default is dataclasses.MISSING:
        return f"{field.doc} (required)"
    if field.default is None or field.default == ():
        return field.doc
    several = isinstance(field.default, tuple)
    default = " ".join(map(str, field.default)) if several else str(field.default)
    if isinstance(field.default, bool):
        default = "on" if field.default else "off"
    return f"{field.doc} (default: {default})"


def _entry(name: str, words: str) -> list[str]:
    """An option and its words beside it, or below it where the option is long."""
    margin = " " * INDENT
    whole = {"break_long_words": False, "break_on_hyphens": False}  # what can be copied stays in one piece
    lines = textwrap.wrap(words, COLUMNS, initial_indent=margin, subsequent_indent=margin, **whole)
    name = f"  {name}"
    if lines and len(name) + 2 <= INDENT:
        return [name.ljust(INDENT) + lines[0].lstrip(), *lines[1:]]
    return [name, *lines]
