"""Claims: sentences of a paper made measurable, and the verdict of a measurement.

A paper's ``claims.py`` holds a table of :class:`Statement`, every threshold written down before the run. :func:`judge`
makes a :class:`Claim` of a statement and the numbers measured. There are two kinds: a **law** is an identity that
follows from mathematics, decided by its worst case over every unit, step and run, whatever the size of the run and with
one seed; a **finding** is statistical, decided by the 95 % interval over at least three seeds, or of shares counted. A
claim that fails is a result.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from papers.common.verdicts import Direction, Interval, Verdict, as_numbers, law_verdict, verdict, worst_case

Kind = Literal["law", "finding"]
Subject = Literal["paper", "control"]


class Statement(NamedTuple):
    """A sentence with its threshold, as a paper's table of claims holds it.

    Attributes:
        claim: the sentence; names in braces are filled in by :func:`judge`.
        figure: the figure, table or equation it belongs to.
        paper: what the paper reports.
        source: where that is known from.
        threshold: written before the run.
        direction: as in :func:`verdict`.
        kind: a law or a finding.
        subject: ``"paper"`` for a sentence of the paper, ``"control"`` for this project's own.
    """

    claim: str
    figure: str
    paper: str
    source: str
    threshold: float
    direction: Direction
    kind: Kind = "finding"
    subject: Subject = "paper"


class Setting(NamedTuple):
    """Where and on what the numbers of a claim were measured.

    Attributes:
        data: data set, classes and size of the images.
        model: model and width.
        command: the command that measures it again.
        environment: holds ``device``, ``versions`` and ``commit``, as
            :func:`papers.common.environment.environment` gives them.
        reduced: whether the run is smaller than the paper's; a finding then stays undecided about the paper's own.
    """

    data: str
    model: str
    command: str
    environment: Mapping[str, Any]
    reduced: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence of a paper, what was measured about it, and what follows."""

    claim: str
    """The sentence."""

    figure: str
    """The figure, table or equation it belongs to."""

    paper: str
    """What the paper reports."""

    source: str
    """Where that is known from."""

    measured: float
    """Mean over the seeds; of a law its worst case over every unit, step and run."""

    spread: float
    """Standard deviation over the seeds (n - 1 in the denominator); NaN for a single seed and for a law."""

    seeds: int
    """How many seeds were run."""

    threshold: str
    """Direction and threshold, such as ``above 0.9``, as written before the run."""

    verdict: Verdict
    """Of a law, whatever the size of the run; of a finding about the paper's own setting, undecided if reduced."""

    data: str
    """Data set, classes and size of the images."""

    model: str
    """Model and width."""

    device: Any
    """As in :func:`papers.common.environment.environment`."""

    versions: Mapping[str, str | None]
    """As in :func:`papers.common.environment.environment`."""

    commit: str | None
    """As in :func:`papers.common.environment.environment`."""

    command: str
    """The command that measures it again."""

    reduced: bool = False
    """Whether the run is smaller than the paper's."""

    reduced_verdict: Verdict | None = None
    """The verdict of a reduced run's finding about its own setting; None for a law and for a run at the paper's."""

    kind: Kind = "finding"
    """A law is decided by its worst case, a finding by the interval over seeds."""

    count: int | None = None
    """Over how many numbers the worst case of a law was taken."""

    subject: Subject = "paper"
    """Whether the sentence is the paper's or this project's own control."""

    interval: tuple[float, float] | None = None
    """Of shares or their differences the 95 % interval, which decides; None where the seeds' spread does."""


def judge(
    statement: Statement,
    values: Sequence[float] | Interval,
    setting: Setting,
    *,
    count: int | None = None,
    **filled: object,
) -> Claim:
    """Make the claim of a statement from what was measured.

    Args:
        statement: the sentence and its threshold.
        values: one number for each seed, shape (n,); for a law the seed's own worst case. For a finding also the
            interval of shares or their differences.
        setting: where and on what they were measured.
        count: of a law, over how many numbers the worst cases were taken in all; of an interval, over how many seeds.
        **filled: what stands in the braces of the sentence.

    Returns:
        The claim, with its verdict.

    Raises:
        ValueError: as :func:`verdict`, or a law or an interval without its count.
    """
    law, bounds = statement.kind == "law", values if isinstance(values, Interval) else None
    numbers = as_numbers(values if bounds is None else values[:1])
    if (law or bounds is not None) != (count is not None):
        raise ValueError(
            f"count is {count}, but a law and an interval need the number of their numbers and other findings have none"
        )
    if law:
        decided = law_verdict(numbers, statement.threshold, statement.direction)
        measured, spread = worst_case(numbers, statement.direction), math.nan
    else:
        decided = verdict(values, statement.threshold, statement.direction)
        finite = bool(np.isfinite(numbers).all())
        measured = float(numbers.mean()) if finite else math.nan
        spread = float(numbers.std(ddof=1)) if finite and numbers.size > 1 else math.nan
    undecided = setting.reduced and not law
    return Claim(
        claim=statement.claim.format(**filled) if filled else statement.claim,
        figure=statement.figure,
        paper=statement.paper,
        source=statement.source,
        measured=measured,
        spread=spread,
        seeds=int(numbers.size) if bounds is None else count,
        interval=None if bounds is None else (bounds.low, bounds.high),
        threshold=f"{statement.direction} {statement.threshold:g}",
        verdict="undecided" if undecided else decided,
        data=setting.data,
        model=setting.model,
        device=setting.environment["device"],
        versions=setting.environment["versions"],
        commit=setting.environment["commit"],
        command=setting.command,
        reduced=setting.reduced,
        reduced_verdict=decided if undecided else None,
        kind=statement.kind,
        count=count if law else None,
        subject=statement.subject,
    )


def format_claims(claims: Sequence[Claim], width: int = 100) -> str:
    """Lay claims out for the terminal: the verdict, the sentence, and below it what was measured.

    A reduced run's findings show the verdict about their own setting, marked as such.

    Args:
        claims: any.
        width: columns of the terminal.

    Returns:
        Lines of at most ``width`` columns.
    """
    lines = []
    for claim in claims:
        shown = f"{claim.reduced_verdict} (reduced)" if claim.reduced_verdict else claim.verdict
        sentence = f"{claim.figure}: {claim.claim}" + (" [own control]" if claim.subject == "control" else "")
        body = [*textwrap.wrap(sentence, width - 21), *textwrap.wrap(_evidence(claim), width - 21)]
        lines += [f"{head:<21}{line}".rstrip() for head, line in zip([shown] + [""] * len(body), body, strict=False)]
    if any(claim.reduced_verdict for claim in claims):
        note = "(reduced): the verdict about this reduced setting; about the paper's own it is undecided"
        lines += textwrap.wrap(note, width)
    return "\n".join(lines)


def _evidence(claim: Claim) -> str:
    seeds = f"{claim.seeds} seed{'s' if claim.seeds != 1 else ''}"
    if claim.kind == "law":
        return f"{claim.measured:.3g} at worst of {claim.count:,} numbers ({seeds}); asked: {claim.threshold}"
    spread = "" if math.isnan(claim.spread) else f" +- {claim.spread:.2g}"
    if claim.interval:
        spread = " [{:.3g}, {:.3g}]".format(*claim.interval)
    return f"{claim.measured:.4g}{spread} ({seeds}); asked: {claim.threshold}"
