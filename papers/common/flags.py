"""The flags of a command line, from the fields of its dataclass: listed, described, compared with what was given."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Union

from papers.common.errors import UserError
from papers.common.paths import shortened


class Option(NamedTuple):
    """One flag of a command line."""

    flag: str
    annotation: Any
    required: bool


def flag(field: str) -> str:
    """Spell a field's name as its flag.

    >>> flag("batch_size")
    '--batch-size'
    """
    return "--" + field.lstrip("-").replace("_", "-")


def spell(prog: str, config: Any, start: Any = None) -> str:
    """Spell the command line that gives a configuration: only the options that differ from where it starts.

    Args:
        prog: the command as the user types it.
        config: the configuration.
        start: the configuration that the options change, such as a preset's; the class's defaults by default.
    """
    import shlex

    words: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        default = getattr(start, field.name) if start is not None else field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        named = start is not None and field.name == "preset"
        if not field.init or (value == default and not named):
            continue
        if isinstance(value, bool):
            words.append(flag(field.name) if value else flag(field.name).replace("--", "--no-", 1))
            continue
        values = [str(one) for one in value] if isinstance(value, tuple) else [str(value)]
        # a value like -0.5 would be read as an option
        joined = len(values) == 1 and values[0].startswith("-")
        words += [f"{flag(field.name)}={values[0]}"] if joined else [flag(field.name), *values]
    return " ".join([prog, shlex.join(words)]).strip()


def say_next(purpose: str, command: str) -> None:
    """Print the last line of a run: what its user does next, with the command that does it.

    >>> say_next("gather what reproduced", "python -m papers.report runs/a")
    next, gather what reproduced: python -m papers.report runs/a
    """
    print(f"next, {purpose}: {command}", flush=True)


def options(config_class: type, prefix: str = "") -> dict[str, Option] | None:
    """List the flags of a dataclass; None where it holds subcommands, which are left to tyro."""
    found: dict[str, Option] = {}
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if not field.init:
            continue
        annotation, name = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(annotation):
            nested = options(annotation, name + ".")
            if nested is None:
                return None
            found.update(nested)
        elif any(dataclasses.is_dataclass(member) for member in members(annotation)):
            return None
        else:
            missing = dataclasses.MISSING
            required = field.default is missing and field.default_factory is missing
            found[flag(name)] = Option(flag(name), annotation, required)
    return found


def check_arguments(arguments: Sequence[str], known: Mapping[str, Option] | None) -> None:
    """Compare what was given with the flags; nothing is compared where they are unknown.

    Raises:
        UserError: an unknown flag, a missing or superfluous value, a value of another type, a flag that is required.
    """
    if known is None:
        return
    given, position = set(), 0
    while position < len(arguments):
        token, equals, joined = arguments[position].partition("=")
        position += 1
        if not token.startswith("--"):
            raise UserError(f"{arguments[position - 1]!r} is not understood: every value needs its option before it")
        option = _find(flag(token), known)
        values = [joined] if equals else []
        while not equals and position < len(arguments) and not arguments[position].startswith("--"):
            values.append(arguments[position])
            position += 1
        _check_values(option, values)
        given.add(option.flag)
    for option in known.values():
        if option.required and option.flag not in given:
            raise UserError(f"{option.flag} is missing: it must be {describe(option.annotation)}")


def _find(token: str, known: Mapping[str, Option]) -> Option:
    if token in known:
        return known[token]
    positive = re.sub(r"^--(.*\.)?no-", lambda match: "--" + (match.group(1) or ""), token)
    if positive in known and known[positive].annotation is bool:
        return known[positive]._replace(required=False)
    helps = ["--help", "--help-presets"] if "--preset" in known else ["--help"]
    near = difflib.get_close_matches(token, [*known, *helps], n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else "--help lists those that are"
    raise UserError(f"{token} is not an option: {advice}")


def _check_values(option: Option, values: Sequence[str]) -> None:
    kind, allowed = option.annotation, describe(option.annotation)
    if kind is bool and not option.required:
        if values:
            negative = option.flag.replace("--", "--no-", 1)
            raise UserError(
                f"{option.flag} takes no value, but {values[0]!r} follows it: give {option.flag} or {negative}"
            )
        return
    if not is_sequence(kind):
        if len(values) != 1:
            what = "has no value" if not values else f"has {len(values)} values ({shortened(' '.join(values))})"
            raise UserError(f"{option.flag} {what}, but must be {allowed}")
    elif not _accepts_count(kind, len(values)):
        raise UserError(f"{option.flag} has {len(values)} values, but must be {allowed}")
    for index, value in enumerate(values):
        if not _accepts(_element(kind, index), value):
            raise UserError(f"{option.flag} is {shortened(value)}, but must be {allowed}")


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the annotation alone."""
    annotation = bare(annotation)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def bare(annotation: Any) -> Any:
    """The type under Annotated."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def is_sequence(annotation: Any) -> bool:
    """Whether an option takes several values."""
    return any(typing.get_origin(member) in (tuple, list, set, dict, Sequence) for member in members(annotation))


def _fixed_elements(annotation: Any) -> tuple[Any, ...] | None:
    """The element types of a plain tuple of fixed length; None for any other sequence."""
    arguments = typing.get_args(annotation)
    return arguments if typing.get_origin(annotation) is tuple and Ellipsis not in arguments else None


def _accepts_count(annotation: Any, count: int) -> bool:
    fixed = _fixed_elements(annotation)
    return fixed is None or len(fixed) == count


def _element(annotation: Any, index: int) -> Any:
    """The type of one value of an option; Any where only tyro can tell."""
    if not is_sequence(annotation):
        return annotation
    fixed = _fixed_elements(annotation)
    if fixed is not None:
        return fixed[index]
    plain = typing.get_origin(annotation) in (tuple, list, set, Sequence)
    return typing.get_args(annotation)[0] if plain else Any


def _accepts(annotation: Any, value: str) -> bool:
    """Say whether a value can be of a type; a type unknown here is left to tyro."""
    annotation = bare(annotation)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return any(_accepts(member, value) for member in typing.get_args(annotation))
    if typing.get_origin(annotation) is Literal:
        return value in [str(choice) for choice in typing.get_args(annotation)]
    if annotation is types.NoneType:
        return value.lower() == "none"
    if annotation is bool:
        return value in ("True", "False")
    if annotation in (int, float):
        try:
            annotation(value)
        except ValueError:
            return False
    return True


def describe(annotation: Any) -> str:
    """Say in words what an option takes."""
    annotation = bare(annotation)
    words = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", types.NoneType: "None"}
    if annotation in words:
        return words[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(member) for member in arguments)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments) if len(arguments) > 1 else str(arguments[0])
    fixed = _fixed_elements(annotation)
    if fixed is not None:
        return f"{len(fixed)} values, each " + " or ".join(dict.fromkeys(describe(element) for element in fixed))
    if origin in (tuple, list, set, Sequence):
        return f"any number of values, each {describe(arguments[0])}"
    return "a path" if getattr(annotation, "__name__", "").endswith("Path") else f"a {annotation}"


def positional(config_class: type, arguments: Sequence[str]) -> int:
    """How many values come first without an option, where the configuration has a positional field for them."""
    import tyro

    def unnamed(annotation: Any) -> bool:
        return tyro.conf.Positional[int].__metadata__[0] in getattr(annotation, "__metadata__", ())

    if not any(unnamed(hint) for hint in typing.get_type_hints(config_class, include_extras=True).values()):
        return 0
    return next((index for index, one in enumerate(arguments) if one.startswith("-")), len(arguments))
