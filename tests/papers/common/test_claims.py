"""Verdicts against tabulated t quantiles and their own definition."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers.common import runs
from papers.common.claims import Claim, Setting, Statement, format_claims, judge
from papers.common.verdicts import Interval, difference, interval, law_verdict, share, verdict, worst_case

# Two-sided 95 % points of Student's t, from printed tables.
T_TABLE = {3: 4.302653, 4: 3.182446, 5: 2.776445, 10: 2.262157}
ENVIRONMENT = {"device": {"kind": "cpu"}, "versions": {"jax": "1"}, "commit": "abc"}
SETTING = Setting("digits", "VGG11 x1/4", "python -m x", ENVIRONMENT)


def found(values, threshold, direction, *, reduced):
    statement = Statement("norms follow the law", "5", "close", "Figure 5", threshold, direction)
    return judge(statement, values, SETTING._replace(reduced=reduced))


@pytest.mark.parametrize("count", T_TABLE)
def test_interval_against_the_table(count):
    values = [math.sin(index) for index in range(count)]
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = T_TABLE[count] * deviation / math.sqrt(count)
    assert interval(values) == pytest.approx((mean, mean - half, mean + half), rel=1e-6)


def test_shares_are_judged_by_their_interval():
    """Wilson's interval in closed form; none of fifty is compatible with a share of 0.07 and not with 0.08."""
    z = 1.959964
    for successes, count in ((0, 50), (87, 400), (20, 20)):
        p = successes / count
        middle = (p + z**2 / (2 * count)) / (1 + z**2 / count)
        half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
        assert share(successes, count) == pytest.approx((p, middle - half, middle + half), abs=1e-6)
    assert verdict(share(0, 50), 0.07, "below") == "undecided" and verdict(share(0, 50), 0.08, "below") == "holds"
    assert difference(share(5, 10), share(5, 10))[0] == 0
    statement = Statement("few", "5", "", "", 0.08, "below")
    claim = judge(statement, share(0, 50), Setting("", "", "", ENVIRONMENT), count=50)
    assert (claim.verdict, claim.seeds, claim.count) == ("holds", 50, None) and claim.interval[0] == 0
    assert "0 [0, 0.0713] (50 seeds)" in format_claims([claim])
    with pytest.raises(ValueError, match="count"):
        judge(statement, Interval(0, 0, 0), Setting("", "", "", ENVIRONMENT))


def test_interval_of_one_value_is_the_whole_line():
    assert interval([2.0]) == (2.0, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("values", "threshold", "direction", "expected"),
    [
        ([1.0, 1.1, 0.9], 0.5, "above", "holds"),
        ([1.0, 1.1, 0.9], 2.0, "above", "fails"),
        ([1.0, 1.1, 0.9], 0.95, "above", "undecided"),
        ([1.0, 1.1, 0.9], 2.0, "below", "holds"),
        ([1.0, 1.1, 0.9], 0.5, "below", "fails"),
        ([0.1, -0.1, 0.0], 0.5, "within", "holds"),
        ([1.0, 1.1, 0.9], 0.5, "within", "fails"),
        ([-1.0, -1.1, -0.9], 0.5, "within", "fails"),
        ([1.0, 1.1, 0.9], 1.1, "within", "undecided"),
        ([1.0, 1.0], 0.5, "above", "undecided"),
        ([1.0, 1.0, math.nan], 0.5, "above", "undecided"),
        ([1.0, 1.0, math.inf], 0.5, "above", "undecided"),
        ([0.5, 0.5, 0.5], 0.5, "above", "undecided"),
    ],
)
def test_verdict(values, threshold, direction, expected):
    assert verdict(values, threshold, direction) == expected


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=6), st.floats(-10, 10))
def test_above_and_below_are_opposite(values, threshold):
    opposite = {"holds": "fails", "fails": "holds", "undecided": "undecided"}
    assert verdict(values, threshold, "below") == opposite[verdict(values, threshold, "above")]
    mirrored = verdict([-value for value in values], -threshold, "below")
    assert mirrored == verdict(values, threshold, "above")


@pytest.mark.parametrize(
    ("values", "threshold", "direction"),
    [
        ([1.0], 0.0, "beside"),
        ([1.0], math.nan, "above"),
        ([1.0], -1.0, "within"),
        ([], 0.0, "above"),
        ([[1.0]], 0.0, "above"),
    ],
)
def test_nonsense_is_refused(values, threshold, direction):
    with pytest.raises(ValueError, match="must be"):
        verdict(values, threshold, direction)


def test_a_full_run_decides_about_the_paper():
    claim = found([1.0, 1.1, 0.9], 0.5, "above", reduced=False)
    assert (claim.verdict, claim.reduced_verdict, claim.seeds, claim.threshold) == ("holds", None, 3, "above 0.5")
    assert claim.measured == pytest.approx(1.0)
    assert claim.spread == pytest.approx(0.1)


def test_a_reduced_run_decides_about_itself_alone():
    claim = found([1.0, 1.1, 0.9], 0.5, "above", reduced=True)
    assert (claim.verdict, claim.reduced_verdict) == ("undecided", "holds")


def test_fields_are_those_of_the_design():
    required = (
        "claim figure paper source measured spread seeds threshold verdict data model device versions commit command"
    )
    assert list(Claim.__dataclass_fields__)[:15] == required.split()


def test_claims_go_through_json(tmp_path):
    claim = found([math.nan], 0.5, "above", reduced=True)
    with runs.RunDirectory.create(tmp_path / "run", {}, "python -m x") as run:
        run.write_claims([claim])
    (read,) = json.loads((tmp_path / "run" / "claims.json").read_text())
    assert read["measured"] is None and read["verdict"] == "undecided" and read["versions"] == {"jax": "1"}


STATEMENT = Statement("norms follow the law at rate {rate}", "5", "close", "Figure 5", 0.5, "below", "law")


def setting(reduced: bool = False) -> Setting:
    return Setting("digits", "VGG11 x1/4", "python -m x", ENVIRONMENT, reduced)


@pytest.mark.parametrize(
    ("values", "threshold", "direction", "worst", "expected"),
    [
        ([1e-7], 1e-6, "below", 1e-7, "holds"),
        ([1e-7, 2e-6, 1e-8], 1e-6, "below", 2e-6, "fails"),
        ([0.99, 0.999], 0.9, "above", 0.99, "holds"),
        ([0.99, 0.8], 0.9, "above", 0.8, "fails"),
        ([1e-7, -3e-7], 2e-7, "within", -3e-7, "fails"),
        ([1e-7, -1.5e-7], 2e-7, "within", -1.5e-7, "holds"),
        ([0.0, math.inf], 1.0, "below", math.inf, "fails"),
        ([-math.inf], 1.0, "below", -math.inf, "fails"),
        ([0.5], 0.5, "below", 0.5, "fails"),
    ],
)
def test_a_law_is_decided_by_its_worst_case(values, threshold, direction, worst, expected):
    assert worst_case(values, direction) == worst
    assert law_verdict(values, threshold, direction) == expected


def test_a_law_with_nan_fails():
    assert math.isnan(worst_case([0.0, math.nan], "below")) and law_verdict([0.0, math.nan], 1.0, "below") == "fails"


def test_one_seed_of_a_reduced_run_decides_a_law():
    claim = judge(STATEMENT, [0.25], setting(reduced=True), count=1000, rate=0.1)
    assert (claim.verdict, claim.reduced_verdict, claim.reduced) == ("holds", None, True)
    assert (claim.claim, claim.count, claim.seeds) == ("norms follow the law at rate 0.1", 1000, 1)
    assert claim.measured == 0.25 and math.isnan(claim.spread) and claim.kind == "law"


def test_a_finding_is_decided_over_seeds():
    finding = STATEMENT._replace(kind="finding", direction="above", subject="control")
    claim = judge(finding, [1.0, 1.1, 0.9], setting(reduced=True), rate=1)
    assert (claim.verdict, claim.reduced_verdict, claim.subject, claim.count) == ("undecided", "holds", "control", None)
    assert judge(finding, [1.0, 1.1, 0.9], setting(), rate=1).verdict == "holds"
    assert judge(finding, [1.0], setting(), rate=1).verdict == "undecided"


@pytest.mark.parametrize(("kind", "count"), [("law", None), ("finding", 3)])
def test_only_a_law_counts_its_numbers(kind, count):
    with pytest.raises(ValueError, match="count is"):
        judge(STATEMENT._replace(kind=kind), [0.1], setting(), count=count, rate=1)


def test_the_table_fits_a_terminal():
    long = STATEMENT._replace(claim="a sentence of many words " * 12)
    claims = [judge(long, [0.25], setting(), count=123456), judge(long._replace(kind="finding"), [0.25], setting(True))]
    text = format_claims(claims)
    assert max(map(len, text.splitlines())) <= 100
    assert "0.25 at worst of 123,456 numbers (1 seed); asked: below 0.5" in text
    assert text.startswith("holds") and "undecided (reduced)" in text


def test_table_shows_every_claim():
    full = found([1.0, 1.1, 0.9], 0.5, "above", reduced=False)
    reduced = found([1.0], 0.5, "below", reduced=True)
    lines = format_claims([full, reduced]).splitlines()
    assert len(lines) == 5 and lines[4].startswith("(reduced): the verdict about this reduced setting")
    assert len(format_claims([full]).splitlines()) == 2
    assert lines[0].split() == "holds 5: norms follow the law".split()
    assert lines[1].strip() == "1 +- 0.1 (3 seeds); asked: above 0.5"
    assert lines[2].startswith("undecided (reduced)") and lines[3].strip() == "1 (1 seed); asked: below 0.5"
