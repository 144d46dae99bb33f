"""The committed pages: each paper's results and the tables of the README, as the committed claims have them."""

from __future__ import annotations

import re
from pathlib import Path

from papers.report.gather import committed, rows, without_repeated_notes
from papers.report.markdown import legend, section, table, title

_MARKS = re.compile(r"(<!-- report: (\w+) -->\n).*?(<!-- report ends -->)", re.DOTALL)


def pages(root: Path) -> dict[Path, str]:
    """All committed pages with their texts as they must be.

    Args:
        root: of the repository.

    Returns:
        File -> text: ``papers/<name>/results/README.md`` and ``README.md``, whose tables stand between
        ``<!-- report: name -->`` and ``<!-- report ends -->``.
    """
    found = rows(committed(root))
    written = {}
    for paper in dict.fromkeys(row.paper for row in found):
        folder = root / "papers" / paper / "results"
        own = [row for row in found if row.paper == paper]
        notes = folder / "notes.md"
        parts = [f"# Results: {title(paper)}", table(own, pictures=folder, missing=True), legend()]
        parts += [notes.read_text(encoding="utf-8").strip()] if notes.is_file() else []
        parts += [section(row, folder) for row in without_repeated_notes(own)]
        written[folder / "README.md"] = "\n\n".join(parts) + "\n"

    def replaced(match: re.Match[str]) -> str:
        own = [row for row in found if row.paper == match[2]]
        return f"{match[1]}{table(own, f'papers/{match[2]}/results/README.md', missing=True)}\n{match[3]}"

    readme = root / "README.md"
    written[readme] = _MARKS.sub(replaced, readme.read_text(encoding="utf-8"))
    return written
