"""The report as Markdown: a table, then a section for each figure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from papers.report.gather import (
    Row,
    Run,
    absent,
    is_reduced,
    number,
    own_control,
    rows,
    setting,
    verdict,
    without_repeated_notes,
)
from papers.report.papers import PAPERS


def table(found: Sequence[Row], pages: str = "", pictures: Path | None = None, missing: bool = False) -> str:
    """One line for each figure: what the paper says, whether it reproduces, the number that says so, a picture.

    Args:
        found: rows of one paper.
        pages: file that holds the figures' sections, before the ``#``.
        pictures: folder that links to pictures are relative to; None leaves the pictures out.
        missing: whether figures of the paper without a row are named too.
    """
    heads = ["figure", "what the paper says", "reproduces?", "the number that says so"]
    heads += ["picture"] if pictures is not None else []
    lines = [_cells(heads), _cells(["---"] * len(heads))]
    for row in found:
        decided = f"{row.number['claim']}: {number(row.number)}"
        cells = [f"[{row.figure}]({pages}#{anchor(row)})", row.says, f"**{row.answer}** ({counted(row)})", decided]
        if pictures is not None:
            shown = next((picture for run in row.runs for picture in run.pictures), None)
            cells.append(f'<img src="{_relative(shown, pictures)}" width="160">' if shown else "")
        lines.append(_cells(cells))
    for figure in absent(found[0].paper, found) if missing else ():
        cells = [figure, PAPERS[found[0].paper].figures[figure].says, "**not run** at a size that could show it", ""]
        lines.append(_cells(cells + [""] * (pictures is not None)))
    return "\n".join(lines)


def page(runs: Sequence[Run], folder: Path, introduction: str = "") -> str:
    """A whole page about runs; pictures are linked relative to the folder that the page will lie in."""
    found = rows(runs)
    parts = ["# What reproduced", *([introduction] if introduction else []), legend()]
    for paper, own in groupby(found, key=lambda row: row.paper):
        parts += [f"## {title(paper)}", table(list(own), pictures=folder)]
    parts += [section(row, folder) for row in without_repeated_notes(found)]
    return "\n\n".join(parts) + "\n"


def section(row: Row, folder: Path) -> str:
    """All about one figure: the answer, then run by run the prose, the claims, the pictures and their origin."""
    parts = [
        f'<a id="{anchor(row)}"></a>\n\n## {row.figure}: {row.says}',
        f"Reproduces? **{row.answer}** ({counted(row)}).",
    ]
    for run in row.runs:
        if run.notes:
            parts.append(run.notes)
        parts.append(_claims(run))
        parts += [f"![{picture.stem}]({_relative(picture, folder)})" for picture in run.pictures]
        parts.append(f"`{run.claims[0]['command']}`: {setting(run)}.")
    return "\n\n".join(parts)


def legend() -> str:
    """What the answers mean."""
    return (
        "*yes*: every claim of the paper holds; *in part*: some do; *at a reduced size*: the verdicts are about a run "
        "smaller than the paper's, about whose own setting nothing is decided. A **law** is an identity, decided by "
        "its worst case; a finding by the 95 % interval over at least three seeds."
    )


def title(paper: str) -> str:
    """The paper's title, or its folder's name where it is not known."""
    return PAPERS[paper].title if paper in PAPERS else paper


def counted(row: Row) -> str:
    """How many claims hold, fail and are undecided, in words."""
    words = {"holds": "hold", "fails": "fail", "undecided": "undecided"}

    def spelt(count: Mapping[str, int]) -> str:
        return ", ".join(f"{count[kind]} {word}" for kind, word in words.items() if count[kind])

    return spelt(row.count) + (f"; own controls: {spelt(row.controls)}" if row.controls else "")


def anchor(row: Row) -> str:
    """The name of a figure's section."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in row.figure.lower())
    return f"{row.paper}-{plain}".strip("-").replace("--", "-")


def marked(claim: dict) -> str:
    """The sentence of a claim, told apart where it is a law or the project's own control."""
    kind = "law: " if claim.get("kind") == "law" else ""
    return kind + ("own control: " if own_control(claim) else "") + claim["claim"]


def _claims(run: Run) -> str:
    lines = [_cells(["claim", "measured", "verdict"]), _cells(["---"] * 3)]
    for claim in run.claims:
        shown = verdict(claim) + (" (reduced)" if is_reduced(claim) else "")
        lines.append(_cells([marked(claim), number(claim), shown]))
    return "\n".join(lines)


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
