"""Command lines from frozen dataclasses: typed flags, one-sentence errors, exit codes.

Every entry point of the papers is a frozen dataclass with a docstring under each field, and a function of it. tyro does
the parsing; because it reports a mistake as a box, the flags are compared with the fields first
(:mod:`papers.common.flags`), so that the user reads one plain sentence, and the help is the house's own
(:mod:`papers.common.help`). Nothing heavy is imported here: an entry function imports jax when it runs, and
``--help`` stays quick.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import os
import re
import signal
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from papers.common import streams
from papers.common.errors import Divergence, UserError
from papers.common.flags import check_arguments, flag, options, positional
from papers.common.paths import PLACE_ERRORS, shortened, user_path
from papers.common.signals import Stopping, cancel_timers

Config = TypeVar("Config")

FAILED = 1
BAD_INPUT = 2
DIVERGED = 3
MOST = 10**9
MOST_SEEDS = 2**32
BROKEN_IMPORTS = (ImportError, AttributeError, RecursionError, SystemError)


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


def check_seed(field: str, seed: int, count: int = 1) -> None:
    """Refuse a first seed whose ``count`` successors do not all fit 32 bits: beyond, different seeds would draw alike.

    Raises:
        UserError: a seed below 0 or too large.

    >>> check_seed("seed", 3, count=10)
    """
    check(0 <= seed <= MOST_SEEDS - count, field, seed, f"from 0 to {MOST_SEEDS - count}")


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
            shown by ``--help-presets``.

    Returns:
        0 once the entry function has returned.

    Raises:
        SystemExit: code 0 after ``--help``, 1 for a full disk, 2 for a UserError or a place that cannot be used, 3 for
            a Divergence, 130 after SIGINT and 143 after SIGTERM; but for the first, after one sentence on the standard
            error.
    """
    streams.secure()
    # jax 0.10.1 prints two harmless lines for every executable that it finds in the compilation cache; jaxlib reads
    # this once, when it is imported
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with Stopping(prog) as stopping:
        try:
            _run(entry, config_class, prog, description, argv, presets)
        except (KeyboardInterrupt, *BROKEN_IMPORTS) as stop:
            # a package whose import a signal breaks off may swallow the signal and fail in words of its own
            if stopping.number is None and not isinstance(stop, KeyboardInterrupt):
                raise
            cancel_timers()
            _leave(prog, "terminated" if stopping.number == signal.SIGTERM else "interrupted", stopping.exit_code)
    return 0


def _run(
    entry: Callable[[Config], object],
    config_class: type[Config],
    prog: str,
    description: str | None,
    argv: Sequence[str] | None,
    presets: Mapping[str, Any] | None,
) -> None:
    """Parse, validate and run; every failure but a signal becomes its sentence."""
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
    except BrokenPipeError:
        _reader_gone()
    except OSError as error:
        if error.errno in PLACE_ERRORS and error.filename is not None:
            place = shortened(error.filename)
            _leave(prog, f"{place} cannot be used ({error.strerror}): name another place", BAD_INPUT)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _leave(prog, f"no room is left on the disk ({error}): make room; --resume continues a run", FAILED)


def show(text: str) -> None:
    """Print a text that is all a command has to say, such as a paper's map, on any terminal.

    >>> show("python -m papers.noether")
    python -m papers.noether
    """
    streams.secure()
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _reader_gone()


def _reader_gone() -> NoReturn:
    """End quietly where whoever read the output has gone, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(FAILED) from None


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
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = options(config_class)
    if known is not None:
        _help(config_class, prog, description, arguments, presets)
        check_arguments(arguments[positional(config_class, arguments) :], known)
    default = {"default": _starting_point(config_class, arguments, presets)} if presets else {}
    import tyro

    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            config = tyro.cli(config_class, prog=prog, description=description, args=arguments, **default)
        return _expanded(config)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_sentence(captured.getvalue())) from None


def _help(
    config_class: type,
    prog: str,
    description: str | None,
    arguments: Sequence[str],
    presets: Mapping[str, Any] | None,
) -> None:
    """Print the help where it is asked for, and leave."""
    from papers.common import help

    if presets and "--help-presets" in arguments:
        print(help.presets_text(presets), end="", flush=True)
        raise SystemExit(0)
    if any(argument in ("-h", "--help") for argument in arguments):
        start = _starting_point(config_class, arguments, presets) if presets else None
        print(help.text(config_class, prog, description, start, presets or {}), end="", flush=True)
        raise SystemExit(0)


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


def _leave(prog: str, message: object, code: int) -> typing.NoReturn:
    words = re.sub(r"\S{161,}", lambda word: shortened(word[0]), str(message))
    with contextlib.suppress(OSError, ValueError):  # whoever read the output may have gone
        sys.stdout.flush()
        print(f"{prog}: {words}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def _sentence(box: str) -> str:
    """Reduce the box that tyro prints to its words."""
    words = re.sub(r"\x1b\[[0-9;]*m|[\u2500-\u257f]", " ", box)
    words = re.sub(r"For full helptext.*", "", " ".join(words.split()))
    return words.strip() or "the options were not understood"
