"""Runs into rows: which figures of which papers there are, and whether each reproduces."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from papers.common.errors import UserError
from papers.common.verdicts import FEWEST_SEEDS
from papers.report.papers import PAPERS, Figure

Claim = dict[str, Any]

_NEEDED = ("claim", "figure", "paper", "measured", "seeds", "threshold", "verdict", "command", "commit")


class Run(NamedTuple):
    """One run directory: its claims, its pictures, and what was written about it by hand.

    Attributes:
        path: the directory.
        paper: the folder of the paper below ``papers``, as its command names it.
        claims: of ``claims.json``, in its order.
        pictures: ``.png`` files, sorted.
        notes: text of ``notes.md``, empty where there is none.
        record: of ``config.json``; empty where there is none.
    """

    path: Path
    paper: str
    claims: tuple[Claim, ...]
    pictures: tuple[Path, ...]
    notes: str
    record: dict[str, Any]


class Row(NamedTuple):
    """One figure of a paper.

    Attributes:
        paper: the paper's folder.
        figure: as the claims name it.
        says: what the paper says about it.
        answer: whether it reproduces, in a few words.
        count: how many of its claims hold, fail and are undecided.
        controls: the same of this project's own controls.
        number: the claim that decides the answer, with its number.
        runs: the runs with claims about it, those claims alone.
    """

    paper: str
    figure: str
    says: str
    answer: str
    count: Counter[str]
    controls: Counter[str]
    number: Claim
    runs: tuple[Run, ...]


def committed(root: Path) -> list[Run]:
    """The results in the repository, paper by paper."""
    return read(sorted((root / "papers").glob("*/results")))


def read(paths: Iterable[Path]) -> list[Run]:
    """Read run directories, or folders that hold some at any depth.

    Args:
        paths: directories.

    Returns:
        One :class:`Run` for each ``claims.json`` found, in the order of the paths and sorted below each.

    Raises:
        UserError: a path that is no directory, holds no claims, or holds damaged ones.
    """
    runs = []
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path} is no directory, but must be a run directory or a folder that holds some")
        # a panel's member has no claims of its own; hidden folders are nobody's runs
        files = sorted(path.rglob("claims.json"), key=lambda file: _natural(str(file.parent)))
        if not files:
            raise UserError(f"{path} holds no claims.json: name a finished run, or a folder that holds some")
        runs += [_run(file) for file in files]
    return runs


def rows(runs: Sequence[Run]) -> list[Row]:
    """One row for each figure, in the order in which :data:`papers.report.papers.PAPERS` names them."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        for figure in dict.fromkeys(claim["figure"] for claim in run.claims):
            own = tuple(claim for claim in run.claims if claim["figure"] == figure)
            shown = tuple(
                picture for picture in run.pictures if picture.stem.startswith(_figure(run.paper, figure).picture)
            )
            found.setdefault((run.paper, figure), []).append(run._replace(claims=own, pictures=shown))
    places = {(paper, figure): place for paper in PAPERS for place, figure in enumerate(PAPERS[paper].figures)}
    names = list(PAPERS)

    def order(key: tuple[str, str]) -> tuple[int, int, list[Any]]:
        paper = names.index(key[0]) if key[0] in names else len(names)
        return paper, places.get(key, len(places)), _natural(key[1])

    return [_row(*key, found[key]) for key in sorted(found, key=order)]


def absent(paper: str, found: Sequence[Row]) -> list[str]:
    """Figures that a paper has and the rows lack."""
    known = PAPERS[paper].figures if paper in PAPERS else {}
    return [figure for figure in known if figure not in {row.figure for row in found}]


def without_repeated_notes(found: Sequence[Row]) -> list[Row]:
    """The rows with each run's prose at its first figure alone."""
    seen: set[Path] = set()
    result = []
    for row in found:
        runs = tuple(run._replace(notes="") if run.path in seen else run for run in row.runs)
        seen |= {run.path for run in runs}
        result.append(row._replace(runs=runs))
    return result


def verdict(claim: Claim) -> str:
    """The verdict about what was run: a reduced run's own where it has one."""
    return str(claim.get("reduced_verdict") or claim["verdict"])


def is_reduced(claim: Claim) -> bool:
    """Whether a claim's verdict is about a setting smaller than the paper's; a law's never is."""
    return bool(claim.get("reduced_verdict"))


def own_control(claim: Claim) -> bool:
    """Whether a claim is this project's own and not the paper's."""
    return claim.get("subject", "paper") == "control"


def number(claim: Claim) -> str:
    """What was measured, with its spread, seeds and threshold."""
    measured = "not finite" if claim["measured"] is None else f"{claim['measured']:.3g}"
    if claim.get("kind") == "law":
        return f"{measured} at worst of {claim['count']:,} numbers, asked: {claim['threshold']}"
    spread = "" if claim.get("spread") is None else f" ± {claim['spread']:.2g}"
    if claim.get("interval"):
        spread = " [{:.3g}, {:.3g}]".format(*claim["interval"])
    seeds = f"{claim['seeds']} seed{'' if claim['seeds'] == 1 else 's'}"
    seeds += f", {FEWEST_SEEDS} decide" if claim["seeds"] < FEWEST_SEEDS else ""
    return f"{measured}{spread} ({seeds}), asked: {claim['threshold']}"


def setting(run: Run) -> str:
    """Data, model, device, versions and commit of a run's claims, in one line."""
    claim = run.claims[0]
    device, versions = claim.get("device") or {}, claim.get("versions") or {}
    machine = device.get("cpu") if device.get("platform") == "cpu" else device.get("kind")
    used = [f"{name} {versions[name]}" for name in ("python", "jax", "flax", "optax") if versions.get(name)]
    datasets = " / ".join(dict.fromkeys(str(one.get("data")) for one in run.claims if one.get("data")))
    models = " / ".join(dict.fromkeys(str(one.get("model")) for one in run.claims if one.get("model")))
    commit = (claim["commit"] or "unknown")[:12]
    parts = [datasets, models, str(machine or "unknown device"), ", ".join(used), f"commit {commit}"]
    return "; ".join(part for part in parts if part)


def _run(file: Path) -> Run:
    folder = file.parent
    claims = _json(file)
    whole = isinstance(claims, list) and claims and all(isinstance(one, dict) for one in claims)
    if not whole or any(name not in claim for claim in claims for name in _NEEDED):
        raise UserError(f"{file} is damaged: it must be a list of claims as a run writes them")
    named = re.search(r"papers\.(\w+)", claims[0]["command"])
    notes, record = folder / "notes.md", folder / "config.json"
    return Run(
        folder,
        named.group(1) if named else folder.name,
        tuple(claims),
        tuple(sorted(folder.glob("*.png"))),
        notes.read_text(encoding="utf-8").strip() if notes.is_file() else "",
        _json(record) if record.is_file() else {},
    )


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}): name another run") from None


def _row(paper: str, figure: str, runs: list[Run]) -> Row:
    claims = [claim for run in runs for claim in run.claims]
    # the paper's own sentences decide; where there are only controls, those
    deciding = [claim for claim in claims if not own_control(claim)] or claims
    at_full_size = [claim for claim in deciding if not is_reduced(claim)]
    # laws hold at any size: alone they do not make a finding's figure one of full size
    decided_in_full = [one for one in at_full_size if one.get("kind") != "law" or len(at_full_size) == len(deciding)]
    reduced = not decided_in_full
    # what the paper says and only a reduced run has tried is open at the paper's size
    said = {one["paper"] for one in at_full_size}
    open_still = ["undecided" for one in deciding if is_reduced(one) and one["paper"] not in said]
    answer = _answer([verdict(one) for one in deciding] if reduced else [*map(verdict, at_full_size), *open_still])
    if reduced:
        answer = "not decided" if answer == "not decided" else f"at a reduced size: {answer}"
    shown = _telling(deciding, _figure(paper, figure).headline)
    count = Counter(verdict(claim) for claim in deciding)
    controls = Counter(verdict(claim) for claim in claims if claim not in deciding)
    return Row(
        paper, figure, _figure(paper, figure).says or str(shown["paper"]), answer, count, controls, shown, tuple(runs)
    )


def _figure(paper: str, figure: str) -> Figure:
    known = PAPERS[paper].figures if paper in PAPERS else {}
    return known.get(figure, Figure(""))


def _answer(verdicts: list[str]) -> str:
    kinds = set(verdicts)
    if kinds == {"holds"}:
        return "yes"
    if kinds == {"fails"}:
        return "no"
    return "not decided" if kinds == {"undecided"} else "in part" if "holds" in kinds else "no"


def _telling(claims: list[Claim], headline: str) -> Claim:
    """The claim that decides a row: the first that fails, else an undecided one, else the headline or a finding."""
    ranks = {"fails": 0, "undecided": 1, "holds": 2}

    def rank(claim: Claim) -> tuple[int, bool, bool]:
        return ranks[verdict(claim)], claim.get("kind") == "law", headline not in claim["claim"]

    return min(claims, key=rank)


def _natural(text: str) -> list[Any]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]
