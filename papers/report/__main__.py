"""Gather claims and figures of runs into one HTML and one Markdown page: python -m papers.report [RUN...]."""

import dataclasses
from pathlib import Path

import tyro

from papers.common.cli import check, main


@dataclasses.dataclass(frozen=True)
class Config:
    """What reproduced, on one page: a table with a line for each figure, then each figure's claims and pictures."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run directories, or folders that hold some; the committed results by default."""

    out: Path = Path("runs/report")
    """Folder of report.html and report.md, which are written anew."""

    update: bool = False
    """Write the committed pages instead: the results of each paper, and the tables of the README."""

    def validate(self) -> None:
        """Refuse what cannot be meant."""
        check(not (self.update and self.runs), "update", self.update, "left out where runs are named")


def entry(config: Config) -> None:
    """Write the pages."""
    from papers.report import committed, gather, html, markdown

    root = Path(__file__).resolve().parents[2]
    if config.update:
        for file, text in committed.pages(root).items():
            file.write_text(text, encoding="utf-8")
            print(f"{file.relative_to(root)} is written")
        return
    runs = gather.read(config.runs) if config.runs else gather.committed(root)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "report.html").write_text(html.page(runs), encoding="utf-8")
    (config.out / "report.md").write_text(markdown.page(runs, config.out), encoding="utf-8")
    for row in gather.rows(runs):
        print(f"{row.paper:<18}{row.figure:<34}{row.answer}")
    print(f"open {config.out / 'report.html'}; the same as text in {config.out / 'report.md'}")


if __name__ == "__main__":
    main(entry, Config, "python -m papers.report")
