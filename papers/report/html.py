"""The report as one HTML file that needs nothing beside it: pictures inside, no scripts, no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from papers.report.gather import Row, Run, is_reduced, number, rows, setting, verdict, without_repeated_notes
from papers.report.markdown import anchor, counted, legend, marked, title

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--yes:#1a7f37;--no:#b3261e;--part:#8a5a00}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:auto;padding:1rem}
h1,h2{line-height:1.2} table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid var(--line)}
td{overflow-wrap:anywhere} img{max-width:100%;height:auto;background:#fff}
code,pre{overflow-wrap:anywhere;white-space:pre-wrap}
.yes{color:var(--yes)} .no{color:var(--no)} .part{color:var(--part)} .small{font-size:.85rem;opacity:.85}
@media(max-width:40rem){thead{display:none} tr{display:block;padding:.6rem 0;border-bottom:2px solid var(--line)}
td{display:block;border:0;padding:.15rem 0}
td:before{content:attr(data-head);font-weight:600;display:block;font-size:.8rem}}
"""


def page(runs: Sequence[Run]) -> str:
    """The whole document: one table for each paper, then a section for each figure."""
    found = rows(runs)
    body = ["<h1>What reproduced</h1>", f"<p class=small>{_plain(legend())}</p>"]
    for paper, own in groupby(found, key=lambda row: row.paper):
        body += [f"<h2>{escape(title(paper))}</h2>", _table(list(own))]
    body += [_section(row) for row in without_repeated_notes(found)]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>What reproduced</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>'
    )
    return head + "\n".join(body) + "</body></html>\n"


def _table(found: Sequence[Row]) -> str:
    heads = ["figure", "what the paper says", "reproduces?", "the number that says so", "picture"]
    lines = ["<table><thead><tr>", *(f"<th>{head}</th>" for head in heads), "</tr></thead><tbody>"]
    for row in found:
        shown = next((picture for run in row.runs for picture in run.pictures), None)
        decided = f"{escape(row.number['claim'])}: {escape(number(row.number))}"
        cells = [
            f'<a href="#{anchor(row)}">{escape(row.figure)}</a>',
            escape(row.says),
            f'<b class="{_colour(row.answer)}">{row.answer}</b><br><span class=small>{counted(row)}</span>',
            decided,
            f'<a href="#{anchor(row)}">{_image(shown, 200)}</a>' if shown else "",
        ]
        lines.append(_line(cells, heads))
    return "".join(lines) + "</tbody></table>"


def _section(row: Row) -> str:
    parts = [
        f'<h2 id="{anchor(row)}">{escape(row.figure)}: {escape(row.says)}</h2>',
        f'<p>Reproduces? <b class="{_colour(row.answer)}">{row.answer}</b> ({counted(row)}).</p>',
    ]
    heads = ["claim", "measured", "verdict"]
    for run in row.runs:
        parts += [f"<p>{_plain(paragraph)}</p>" for paragraph in _prose(run.notes)]
        parts.append("<table><thead><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr></thead><tbody>")
        for claim in run.claims:
            shown = verdict(claim) + (" (reduced)" if is_reduced(claim) else "")
            coloured = f'<span class="{_colour(verdict(claim))}">{shown}</span>'
            parts.append(_line([escape(marked(claim)), escape(number(claim)), coloured], heads))
        parts.append("</tbody></table>")
        parts += [_image(picture) for picture in run.pictures]
        parts.append(f"<p class=small><code>{escape(run.claims[0]['command'])}</code><br>{escape(setting(run))}</p>")
    return "".join(parts)


def _line(cells: Sequence[str], heads: Sequence[str]) -> str:
    shown = (f'<td data-head="{head}">{cell}</td>' for cell, head in zip(cells, heads, strict=True))
    return f"<tr>{''.join(shown)}</tr>"


def _prose(notes: str) -> list[str]:
    """Paragraphs of a note; its tables stay as they are typed."""
    return [block for block in notes.split("\n\n") if block.strip()]


def _plain(block: str) -> str:
    """A paragraph of simple Markdown: tables and code keep their lines, stars and backquotes go."""
    if block.lstrip().startswith(("|", "```")):
        return f"<pre>{escape(block)}</pre>"
    return escape(block.lstrip("# ")).replace("**", "").replace("*", "").replace("`", "")


def _colour(answer: str) -> str:
    last = answer.rpartition(": ")[2]
    return {"yes": "yes", "holds": "yes", "no": "no", "fails": "no"}.get(last, "part")


def _image(path: Path, width: int | None = None) -> str:
    """A picture inside the page, as a thumbnail of so many pixels where a width is given."""
    data = path.read_bytes()
    if width is not None:
        from PIL import Image

        with Image.open(path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((2 * width, 2 * width))  # twice as fine, for dense screens
            buffer = io.BytesIO()
            small.quantize(64).save(buffer, "PNG", optimize=True)
            data = buffer.getvalue()
    size = f' width="{width}"' if width is not None else ""
    return f'<img alt="{escape(path.stem)}"{size} src="data:image/png;base64,{base64.b64encode(data).decode()}">'
