"""The report page: what it says of claims, and that its pages hold together without anything beside them."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from papers.common.claims import Setting, Statement, judge
from papers.common.errors import UserError
from papers.common.records import dump
from papers.report import committed, gather, html, markdown

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {
    "device": {"kind": "cpu", "platform": "cpu", "count": 1, "cpu": "a processor"},
    "versions": {"python": "3.11", "jax": "0.10.1"},
    "commit": "0123456789abcdef",
}


def setting(reduced=False, paper="noether"):
    return Setting("digits", "a network", f"python -m papers.{paper}.figures", ENVIRONMENT, reduced)


def statement(figure="panel A", threshold=1.0, kind="finding", subject="paper"):
    return Statement("norms <stay> | free", figure, "they do", "Fig. 1", threshold, "below", kind, subject)


def write(folder: Path, *claims, picture="panel_a") -> Path:
    folder.mkdir(parents=True)
    (folder / "claims.json").write_text(dump(list(claims)))
    Image.new("RGB", (640, 480), (200, 30, 90)).save(folder / f"{picture}.png")
    return folder


HOLDS, FAILS, UNDECIDED = [0.1, 0.2, 0.3], [2.1, 2.2, 2.3], [0.1, 3.0, 0.1]


@pytest.mark.parametrize(
    ("values", "reduced", "answer"),
    [
        ([HOLDS], False, "yes"),
        ([FAILS], False, "no"),
        ([UNDECIDED], False, "not decided"),
        ([HOLDS, FAILS], False, "in part"),
        ([HOLDS, UNDECIDED], False, "in part"),
        ([FAILS, UNDECIDED], False, "no"),
        ([HOLDS], True, "at a reduced size: yes"),
        ([HOLDS, FAILS], True, "at a reduced size: in part"),
        ([UNDECIDED], True, "not decided"),
    ],
)
def test_answer_of_a_figure(tmp_path, values, reduced, answer):
    claims = [judge(statement(), one, setting(reduced)) for one in values]
    (row,) = gather.rows(gather.read([write(tmp_path / "run", *claims)]))
    assert row.answer == answer and row.figure == "panel A" and sum(row.count.values()) == len(values)


def test_a_law_does_not_lift_a_reduced_figure_to_full_size(tmp_path):
    law = judge(statement(kind="law"), [0.1], setting(True), count=12)
    found = judge(statement(), HOLDS, setting(True))
    (row,) = gather.rows(gather.read([write(tmp_path / "run", law, found)]))
    assert row.answer == "at a reduced size: yes"
    (alone,) = gather.rows(gather.read([write(tmp_path / "law", law)]))
    assert alone.answer == "yes" and "worst of 12 numbers" in gather.number(alone.number)


def test_a_sentence_tried_only_at_a_reduced_size_is_open(tmp_path):
    full = judge(statement(), HOLDS, setting())
    other = statement()._replace(paper="they also do")
    small = judge(other, HOLDS, setting(True))
    runs = gather.read([write(tmp_path / "full", full), write(tmp_path / "small", small)])
    (row,) = gather.rows(runs)
    assert row.answer == "in part"
    (row,) = gather.rows(gather.read([tmp_path / "full", write(tmp_path / "again", judge(other, HOLDS, setting()))]))
    assert row.answer == "yes"


def test_own_controls_do_not_answer_for_the_paper(tmp_path):
    control = judge(statement(subject="control"), FAILS, setting())
    own = judge(statement(), HOLDS, setting())
    (row,) = gather.rows(gather.read([write(tmp_path / "run", control, own)]))
    assert row.answer == "yes" and "own control: " in markdown.section(row, tmp_path)


def test_the_deciding_claim_is_the_failing_one(tmp_path):
    run = write(tmp_path / "run", *(judge(statement(), values, setting()) for values in (HOLDS, UNDECIDED, FAILS)))
    (row,) = gather.rows(gather.read([run]))
    assert row.number["verdict"] == "fails"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.images, self.open, self.closed = [], set(), [], [], True
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.links += [given[name] for name in ("href", "src") if name in given]
        self.ids |= {given["id"]} if "id" in given else set()
        self.images += [given] if tag == "img" else []
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.closed &= bool(self.open) and self.open.pop() == tag


def check_page(text: str, figures: int) -> None:
    page = Page(text)
    assert page.closed and page.open == []
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= page.ids and len(page.ids) == figures
    assert all(image["alt"] for image in page.images)
    assert 'name="viewport"' in text and "<script" not in text


def test_page_stands_alone(tmp_path):
    claims = [judge(statement(figure), HOLDS, setting()) for figure in ("panel A", "panel B")]
    runs = gather.read([write(tmp_path / "run", *claims)])
    text = html.page(runs)
    check_page(text, 2)
    assert "norms &lt;stay&gt; | free" in text and "<stay>" not in text


def test_page_of_the_committed_results():
    runs = gather.committed(ROOT)
    found = gather.rows(runs)
    assert {row.paper for row in found} == {*gather.PAPERS}
    check_page(html.page(runs), len(found))


def test_every_figure_is_described():
    for row in gather.rows(gather.committed(ROOT)):
        assert row.figure in gather.PAPERS[row.paper].figures, (row.paper, row.figure)


def test_markdown_links_pictures_beside_it(tmp_path):
    runs = gather.read([write(tmp_path / "run", judge(statement(), HOLDS, setting()))])
    (tmp_path / "run" / "notes.md").write_text("Said by hand.\n")
    text = markdown.page(gather.read([tmp_path / "run"]), tmp_path)
    assert "![panel_a](run/panel_a.png)" in text and "Said by hand." in text
    assert "norms <stay> \\| free" in text
    table = markdown.table(gather.rows(runs)).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


@pytest.mark.parametrize("text", ["null", "[]", "{", "[1]", '[{"claim": "x"}]', "\xff"])
def test_damaged_claims_are_one_sentence(tmp_path, text):
    (tmp_path / "claims.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"claims\.json"):
        gather.read([tmp_path])


def test_no_runs_is_said(tmp_path):
    with pytest.raises(UserError, match=r"holds no claims\.json"):
        gather.read([tmp_path])
    with pytest.raises(UserError, match="is no directory"):
        gather.read([tmp_path / "absent"])


def test_numbers_that_are_not_finite_are_said(tmp_path):
    claim = json.loads(dump([judge(statement(), [float("nan")], setting())]))[0]
    assert gather.number(claim).startswith("not finite")


def test_committed_pages_agree_with_the_claims():
    for file, text in committed.pages(ROOT).items():
        assert file.read_text() == text, f"{file.name}: run python -m papers.report --update"
