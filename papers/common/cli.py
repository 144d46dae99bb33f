"""Command lines from frozen dataclasses: typed flags, one-sentence errors, exit codes.

Every entry point of the papers is a frozen dataclass with a docstring under each field, and a function of it. tyro does
the parsing and the help; because it reports a mistake as a box, the flags are compared with the fields first, so that
the user reads one plain sentence. Nothing heavy is imported here: an entry function imports jax when it runs, and
``--help`` stays quick.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import io
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union

from papers.common import streams
from papers.common.errors import Divergence, UserError
from papers.common.paths import PLACE_ERRORS, shortened, user_path

Config = TypeVar("Config")

FAILED = 1
BAD_INPUT = 2
DIVERGED = 3
INTERRUPTED = 130
MOST = 10**9


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


def check(condition: bool, field: str, value: object, allowed: str) -> None:
    """Refuse a value that its type allows and its meaning does not.

    Args:
        condition: whether the value is acceptable.
        field: the name of the configuration's field; dots for a nested one.
        value: the value given.
        allowed: what follows "must be": the allowed range, why, and what to do.

    Raises:
        UserError: where the condition is false.

    >>> check(True, "batch_size", 64, "at least 1")
    """
    if not condition:
        raise UserError(f"{flag(field)} is {shortened(value)}, but must be {allowed}")


def check_count(field: str, value: int, least: int = 1, most: int = MOST) -> None:
    """Refuse a count out of its bounds, before anything of that size is allocated.

    Args:
        field: the name of the configuration's field.
        value: the count given.
        least: the smallest allowed.
        most: the largest allowed; a billion by default, more than any run here could use.

    Raises:
        UserError: a count below or above.

    >>> check_count("epochs", 12)
    """
    bounds = f"at least {least}" if most == MOST and value < least else f"from {least} to {most}"
    check(least <= value <= most, field, value, bounds)


def main(
    entry: Callable[[Config], object],
    config_class: type[Config],
    prog: str,
    description: str | None = None,
    argv: Sequence[str] | None = None,
    presets: Mapping[str, Any] | None = None,
) -> int:
    """Parse a command line into a configuration and run the entry function on it.

    A method ``validate`` of the configuration, where it has one, is called before the entry function.

    Args:
        entry: runs the job; imports what is heavy itself.
        config_class: a frozen dataclass.
        prog: the command as the user types it, such as ``python -m papers.noether.train``.
        description: the text above the help; the class's docstring by default.
        argv: the arguments; those of the process by default.
        presets: name -> an object with a ``config``, the starting point of ``--preset name``; its other fields are
            shown by ``--help``.

    Returns:
        0 once the entry function has returned.

    Raises:
        SystemExit: code 0 after ``--help``, 1 for a full disk, 2 for a UserError or a place that cannot be used, 3 for
            a Divergence, 130 when interrupted; but for the first, after one sentence on the standard error.
    """
    streams.secure()
    try:
        config = parse(config_class, prog, description, argv, presets)
        validate = getattr(config, "validate", None)
        if validate is not None:
            validate()
        entry(config)
    except UserError as error:
        _leave(prog, error, BAD_INPUT)
    except Divergence as error:
        _leave(prog, error, DIVERGED)
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except OSError as error:
        if error.errno in PLACE_ERRORS and error.filename is not None:
            place = shortened(error.filename)
            _leave(prog, f"{place} cannot be used ({error.strerror}): name another place", BAD_INPUT)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _leave(prog, f"no room is left on the disk ({error}): make room; --resume continues a run", FAILED)
    except KeyboardInterrupt:
        _leave(prog, "interrupted", INTERRUPTED)
    return 0


def parse(
    config_class: type[Config],
    prog: str,
    description: str | None = None,
    argv: Sequence[str] | None = None,
    presets: Mapping[str, Any] | None = None,
) -> Config:
    """Turn arguments into a configuration, without validating or running it; a tilde in any path is expanded.

    Raises:
        UserError: for an unknown option, a missing or superfluous value, or a value of the wrong type.
        SystemExit: code 0 after ``--help``.
    """
    import tyro

    arguments = list(sys.argv[1:] if argv is None else argv)
    if not any(argument in ("-h", "--help") or argument.startswith("--tyro-") for argument in arguments):
        _check_arguments(arguments[_positional(config_class, arguments) :], _options(config_class))
    default = {}
    if presets:
        default = {"default": _starting_point(config_class, arguments, presets)}
        description = f"{description or config_class.__doc__ or ''}\n\nPresets:\n\n{_describe_presets(presets)}"
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            config = tyro.cli(config_class, prog=prog, description=description, args=arguments, **default)
        return _expanded(config)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_sentence(captured.getvalue())) from None


def _positional(config_class: type, arguments: Sequence[str]) -> int:
    """How many values come first without an option, where the configuration has a positional field for them."""
    import tyro

    def positional(annotation: Any) -> bool:
        return tyro.conf.Positional[int].__metadata__[0] in getattr(annotation, "__metadata__", ())

    if not any(positional(hint) for hint in typing.get_type_hints(config_class, include_extras=True).values()):
        return 0
    return next((index for index, one in enumerate(arguments) if one.startswith("-")), len(arguments))


def _expanded(value: Any) -> Any:
    """Apply the rule for paths to every path in a configuration."""
    if isinstance(value, Path):
        return user_path(value)
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(_expanded, value))
    if dataclasses.is_dataclass(value):
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        new = {name: _expanded(entry) for name, entry in own.items()}
        changed = {name: entry for name, entry in new.items() if entry != own[name]}
        return dataclasses.replace(value, **changed) if changed else value
    return value


def _starting_point(config_class: type[Config], arguments: Sequence[str], presets: Mapping[str, Any]) -> Config:
    """The configuration that the given options change: a preset's, or the class's defaults."""
    tokens = [part for argument in arguments for part in argument.split("=", 1)]
    places = [index for index, token in enumerate(tokens[:-1]) if token == "--preset"]
    name = tokens[places[-1] + 1] if places else "none"
    if name == "none":
        return config_class()
    if name not in presets:
        raise UserError(f"--preset is {name}, but must be one of {', '.join(presets)}")
    return presets[name].config


def _describe_presets(presets: Mapping[str, Any]) -> str:
    fields = [field.name for field in dataclasses.fields(next(iter(presets.values()))) if field.name != "config"]
    several = len(presets) > 1
    shared = [name for name in fields if several and len({getattr(one, name) for one in presets.values()}) == 1]
    lines = []
    for name, preset in presets.items():
        words = [str(getattr(preset, field)) for field in fields if field not in shared]
        lines.append(f"{name}: {'; '.join(words)}")
    # what all presets share is said once
    lines += [f"{field.replace('_', ' ')} of all: {getattr(next(iter(presets.values())), field)}" for field in shared]
    return "\n\n".join(lines)  # tyro joins the lines of a paragraph


def _leave(prog: str, message: object, code: int) -> typing.NoReturn:
    words = re.sub(r"\S{161,}", lambda word: shortened(word[0]), str(message))
    with contextlib.suppress(OSError, ValueError):  # whoever read the output may have gone
        sys.stdout.flush()
        print(f"{prog}: {words}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def _options(config_class: type, prefix: str = "") -> dict[str, Option] | None:
    """List the flags of a dataclass; None where it holds subcommands, which are left to tyro."""
    options: dict[str, Option] = {}
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if not field.init:
            continue
        annotation, name = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(annotation):
            nested = _options(annotation, name + ".")
            if nested is None:
                return None
            options.update(nested)
        elif any(dataclasses.is_dataclass(member) for member in _members(annotation)):
            return None
        else:
            missing = dataclasses.MISSING
            required = field.default is missing and field.default_factory is missing
            options[flag(name)] = Option(flag(name), annotation, required)
    return options


def _check_arguments(arguments: Sequence[str], options: Mapping[str, Option] | None) -> None:
    if options is None:
        return
    given, position = set(), 0
    while position < len(arguments):
        token, equals, joined = arguments[position].partition("=")
        position += 1
        if not token.startswith("--"):
            raise UserError(f"{arguments[position - 1]!r} is not understood: every value needs its option before it")
        option = _find(flag(token), options)
        values = [joined] if equals else []
        while not equals and position < len(arguments) and not arguments[position].startswith("--"):
            values.append(arguments[position])
            position += 1
        _check_values(option, values)
        given.add(option.flag)
    for option in options.values():
        if option.required and option.flag not in given:
            raise UserError(f"{option.flag} is missing: it must be {_describe(option.annotation)}")


def _find(token: str, options: Mapping[str, Option]) -> Option:
    if token in options:
        return options[token]
    positive = re.sub(r"^--(.*\.)?no-", lambda match: "--" + (match.group(1) or ""), token)
    if positive in options and options[positive].annotation is bool:
        return options[positive]._replace(required=False)
    near = difflib.get_close_matches(token, options, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else "--help lists those that are"
    raise UserError(f"{token} is not an option: {advice}")


def _check_values(option: Option, values: Sequence[str]) -> None:
    kind, allowed = option.annotation, _describe(option.annotation)
    if kind is bool and not option.required:
        if values:
            negative = option.flag.replace("--", "--no-", 1)
            raise UserError(
                f"{option.flag} takes no value, but {values[0]!r} follows it: give {option.flag} or {negative}"
            )
        return
    if not _is_sequence(kind):
        if len(values) != 1:
            what = "has no value" if not values else f"has {len(values)} values ({' '.join(values)})"
            raise UserError(f"{option.flag} {what}, but must be {allowed}")
    elif not _accepts_count(kind, len(values)):
        raise UserError(f"{option.flag} has {len(values)} values, but must be {allowed}")
    for index, value in enumerate(values):
        if not _accepts(_element(kind, index), value):
            raise UserError(f"{option.flag} is {shortened(value)}, but must be {allowed}")


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the annotation alone."""
    annotation = _bare(annotation)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _is_sequence(annotation: Any) -> bool:
    return any(typing.get_origin(member) in (tuple, list, set, dict, Sequence) for member in _members(annotation))


def _fixed_elements(annotation: Any) -> tuple[Any, ...] | None:
    """The element types of a plain tuple of fixed length; None for any other sequence."""
    arguments = typing.get_args(annotation)
    return arguments if typing.get_origin(annotation) is tuple and Ellipsis not in arguments else None


def _accepts_count(annotation: Any, count: int) -> bool:
    fixed = _fixed_elements(annotation)
    return fixed is None or len(fixed) == count


def _element(annotation: Any, index: int) -> Any:
    """The type of one value of an option; Any where only tyro can tell."""
    if not _is_sequence(annotation):
        return annotation
    fixed = _fixed_elements(annotation)
    if fixed is not None:
        return fixed[index]
    plain = typing.get_origin(annotation) in (tuple, list, set, Sequence)
    return typing.get_args(annotation)[0] if plain else Any


def _accepts(annotation: Any, value: str) -> bool:
    """Say whether a value can be of a type; a type unknown here is left to tyro."""
    annotation = _bare(annotation)
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


def _describe(annotation: Any) -> str:
    """Say in words what an option takes."""
    annotation = _bare(annotation)
    words = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", types.NoneType: "None"}
    if annotation in words:
        return words[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(member) for member in arguments)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments) if len(arguments) > 1 else str(arguments[0])
    fixed = _fixed_elements(annotation)
    if fixed is not None:
        return f"{len(fixed)} values, each " + " or ".join(dict.fromkeys(_describe(element) for element in fixed))
    if origin in (tuple, list, set, Sequence):
        return f"any number of values, each {_describe(arguments[0])}"
    return "a path" if getattr(annotation, "__name__", "").endswith("Path") else f"a {annotation}"


def _sentence(box: str) -> str:
    """Reduce the box that tyro prints to its words."""
    words = re.sub(r"\x1b\[[0-9;]*m|[\u2500-\u257f]", " ", box)
    words = re.sub(r"For full helptext.*", "", " ".join(words.split()))
    return words.strip() or "the options were not understood"
