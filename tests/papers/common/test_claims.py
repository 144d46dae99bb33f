"""Verdicts against tabulated t quantiles and their own definition."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers.common import runs
from papers.common.claims import Claim, claim_over_seeds, format_claims, interval, verdict

# Two-sided 95 % points of Student's t, from printed tables.
T_TABLE = {3: 4.302653, 4: 3.182446, 5: 2.776445, 10: 2.262157}
ENVIRONMENT = {"device": {"kind": "cpu"}, "versions": {"jax": "1"}, "commit": "abc"}
WORDS = {
    "claim": "norms follow the law",
    "figure": "5",
    "paper": "close",
    "source": "Figure 5",
    "data": "digits",
    "model": "VGG11 x1/4",
    "command": "python -m x",
}


@pytest.mark.parametrize("count", T_TABLE)
def test_interval_against_the_table(count):
    values = [math.sin(index) for index in range(count)]
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = T_TABLE[count] * deviation / math.sqrt(count)
    assert interval(values) == pytest.approx((mean, mean - half, mean + half), rel=1e-6)


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
    claim = claim_over_seeds([1.0, 1.1, 0.9], 0.5, "above", reduced=False, environment=ENVIRONMENT, **WORDS)
    assert (claim.verdict, claim.reduced_verdict, claim.seeds, claim.threshold) == ("holds", None, 3, "above 0.5")
    assert claim.measured == pytest.approx(1.0)
    assert claim.spread == pytest.approx(0.1)


def test_a_reduced_run_decides_about_itself_alone():
    claim = claim_over_seeds([1.0, 1.1, 0.9], 0.5, "above", reduced=True, environment=ENVIRONMENT, **WORDS)
    assert (claim.verdict, claim.reduced_verdict) == ("undecided", "holds")


def test_fields_are_those_of_the_design():
    required = (
        "claim figure paper source measured spread seeds threshold verdict data model device versions commit command"
    )
    assert list(Claim.__dataclass_fields__)[:15] == required.split()


def test_claims_go_through_json(tmp_path):
    claim = claim_over_seeds([math.nan], 0.5, "above", reduced=True, environment=ENVIRONMENT, **WORDS)
    with runs.RunDirectory.create(tmp_path / "run", {}, "python -m x") as run:
        run.write_claims([claim])
    (read,) = json.loads((tmp_path / "run" / "claims.json").read_text())
    assert read["measured"] is None and read["verdict"] == "undecided" and read["versions"] == {"jax": "1"}


def test_table_shows_every_claim():
    full = claim_over_seeds([1.0, 1.1, 0.9], 0.5, "above", reduced=False, environment=ENVIRONMENT, **WORDS)
    reduced = claim_over_seeds([1.0], 0.5, "below", reduced=True, environment=ENVIRONMENT, **WORDS)
    lines = format_claims([full, reduced]).splitlines()
    assert len(lines) == 4 and lines[3].startswith("(reduced): the verdict about this reduced setting")
    assert len(format_claims([full]).splitlines()) == 2
    assert "1 +- 0.1" in lines[1] and lines[1].endswith("holds")
    assert "below 0.5" in lines[2] and lines[2].endswith("undecided (reduced)")
