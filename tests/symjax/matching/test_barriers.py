"""The formulas of the barriers, and intervals that cover."""

import numpy as np
import pytest

from symjax.matching import barrier, highest_barrier


def test_the_formulas_at_numbers_published_and_simple() -> None:
    # ResNet50's relative barriers from its accuracies (the authors' notebook): 80.856, 80.524 and 76.39 percent
    n = 100_000
    ends = [np.arange(n) < round(n * accuracy) for accuracy in (0.80856, 0.80524, 0.7639)]
    assert barrier(*ends, resamples=0).value == pytest.approx(0.0533, abs=5e-5)
    assert barrier(*ends, "absolute", resamples=0).value == pytest.approx(0.043, abs=5e-4)
    same = [1, 0, 1]
    assert barrier(same, same, same).value == 0 == barrier(same, same, same, "absolute").value
    assert barrier(same, same, [1, 1, 1]).value == pytest.approx(-0.5, abs=1e-15)  # the middle is better
    assert barrier([1.0], [2.0], [3.0], "loss", alpha=0.25, resamples=0).value == pytest.approx(1.75, abs=1e-15)
    assert np.isnan(barrier([0], [0], [0], resamples=0).value)
    value, alpha = highest_barrier(lambda a: 1 - a * (1 - a), [0, 0.25, 0.5, 1], "relative")
    assert (value, alpha) == (0.25, 0.5)
    # over a slope between unequal ends, which counts as none
    assert highest_barrier(lambda a: 1 + 2 * a + a * (1 - a), [0, 0.25, 0.5, 1]) == (0.25, 0.5)


def test_the_interval_is_that_of_paired_examples() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(4000) < 0.8
    middle = np.where(rng.random(4000) < 0.1, ~first, first)
    found = barrier(first, first, middle, "absolute")
    paired = 1.96 * np.std(first.astype(float) - middle) / np.sqrt(4000)
    assert found.low < found.value < found.high
    np.testing.assert_allclose(found.high - found.low, 2 * paired, rtol=0.1)
    assert barrier(first, first, middle) == barrier(first, first, middle) != barrier(first, first, middle, seed=1)
    half = barrier(first, first, middle, "absolute", confidence=0.5)
    np.testing.assert_allclose((half.high - half.low) / (found.high - found.low), 0.6745 / 1.96, rtol=0.15)


def test_bad_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="second has shape"):
        barrier([1, 0], [1], [1, 0])
    with pytest.raises(ValueError, match="between 0 and 1; for losses"):
        barrier([2.0], [1.0], [1.0])
    with pytest.raises(ValueError, match="middle has entries that are not finite"):
        barrier([1.0], [1.0], [np.nan])
    with pytest.raises(ValueError, match="run from 0 to 1"):
        highest_barrier(float, [0.1, 1])
