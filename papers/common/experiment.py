"""An experiment of a paper: it measures, draws what it measured, and judges it, in this order.

The three are separate functions, so that each can be left out or repeated: ``measure`` knows nothing of pictures and
claims, ``draw`` and ``judge`` see its arrays alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from papers.common.claims import Claim, Setting, format_claims
from papers.common.environment import command_line
from papers.common.flags import say_next
from papers.common.runs import RunDirectory


class Picture(NamedTuple):
    """A figure and the arrays that it was drawn from.

    Attributes:
        figure: a matplotlib figure.
        arrays: name -> array, stored beside it.
    """

    figure: Any
    arrays: Mapping[str, Any]


class Experiment(NamedTuple):
    """What an experiment consists of.

    Attributes:
        measure: ``measure(config, directory)``: the numbers of the experiment, arrays in a NamedTuple or a dict of
            them; ``directory.append`` takes its key numbers, one record a run.
        draw: ``draw(measured, config) -> Picture``.
        judge: ``judge(measured, config, setting) -> list[Claim]``; the setting comes without ``data`` and ``model``.
        require: ``require(config)`` raises a UserError where data is missing, before a directory is made, and gives its
            fingerprint; None for an experiment without data.
    """

    measure: Callable[[Any, RunDirectory], Any]
    draw: Callable[[Any, Any], Picture]
    judge: Callable[[Any, Any, Setting], list[Claim]]
    require: Callable[[Any], str | None] = lambda config: None


def carry_out(
    experiment: Experiment, config: Any, directory: RunDirectory, *, name: str, command: str, reduced: bool
) -> list[Claim]:
    """Measure, draw and judge into an open run directory, and print the claims.

    Args:
        experiment: what to do.
        config: what it is told.
        directory: open; receives the picture with its arrays, and the claims.
        name: of the picture's file.
        command: the command that measures it again.
        reduced: whether the run is smaller than the paper's.

    Returns:
        The claims.
    """
    measured = experiment.measure(config, directory)
    picture = experiment.draw(measured, config)
    directory.save_figure(picture.figure, name, **picture.arrays)
    claims = experiment.judge(measured, config, Setting("", "", command, directory.environment, reduced))
    directory.write_claims(claims)
    directory.finish()
    print(format_claims(claims))
    print(f"the figure, its arrays and its claims are in {directory.path}")
    say_next("read it as a page", f"python -m papers.report {directory.path}")
    return claims


def into_directory(
    experiment: Experiment, config: Any, module: str, name: str, prepare: Callable[[Any], None] = lambda config: None
) -> list[Claim]:
    """Carry an experiment out in the directory that its configuration names, and go on with one that was stopped.

    Args:
        experiment: what to do.
        config: what it is told; its ``out`` and ``resume`` say where, ``reduced`` whether it is smaller than the
            paper's.
        module: as the user names it, for the recorded command.
        name: of the picture's file.
        prepare: ``prepare(config)`` sets what the process computes with, once the directory can be used.

    Returns:
        The claims.

    Raises:
        UserError: a directory with anything in it, one that cannot be resumed, or data that is not there.
    """
    config = RunDirectory.take_up(config)
    RunDirectory.refuse(config)
    prepare(config)
    fingerprint = experiment.require(config)  # absent or damaged data leave no directory behind
    command = command_line(module)
    with RunDirectory.open(config, command, fingerprint) as directory:
        if directory.resumed:
            directory.restore_metrics()  # the numbers of the parts that are read are written down again
        return carry_out(experiment, config, directory, name=name, command=command, reduced=config.reduced)
