"""Certificates: arithmetic against Python's integers and fractions, ranks against products of known rank."""

from fractions import Fraction

import numpy as np
import pytest

from symjax.dimension import certify, sampled_dimension
from symjax.dimension import networks as nets
from symjax.dimension.certificate import PRIMES, _product, _residues, _rows_modulo, exact_patterns, rank_modulo
from symjax.dimension.gradients import pattern_rows


def test_products_are_exact_at_the_largest_residues() -> None:
    random, prime = np.random.default_rng(0), PRIMES[0]
    left, right = random.integers(prime - 5, prime, (3, 150)), random.integers(prime - 5, prime, (150, 4))
    expected = [[sum(int(a) * int(b) for a, b in zip(x, y, strict=True)) % prime for y in right.T] for x in left]
    assert _product(left, right, prime).tolist() == expected


def test_residues_are_those_of_the_fractions() -> None:
    random, prime = np.random.default_rng(1), PRIMES[1]
    numbers = np.append(random.normal(size=20) * 10.0 ** random.integers(-30, 30, 20), [0.0, 5e-324])
    for number, residue in zip(numbers, _residues(numbers, prime), strict=True):
        exact = Fraction(float(number))
        assert int(residue) == exact.numerator * pow(exact.denominator, -1, prime) % prime


def test_rows_are_those_of_the_network() -> None:
    """Weights of few bits: float64 rows are exact, and so are their residues."""
    random, sizes = np.random.default_rng(2), (3, 4, 4, 2)
    params = nets.unflatten(random.integers(-20, 21, nets.parameters(sizes)) / 8.0, sizes)
    masks = random.random((5, 8)) > 0.4
    rows = pattern_rows(params, masks).reshape(-1, nets.parameters(sizes))
    assert np.array_equal(_rows_modulo(params, masks, PRIMES[0]), _residues(rows, PRIMES[0]))


@pytest.mark.parametrize(("m", "n", "rank"), [(300, 90, 70), (70, 90, 90), (5, 200, 0), (150, 150, 149)])
def test_rank_of_products(m: int, n: int, rank: int) -> None:
    random, prime = np.random.default_rng(rank), PRIMES[0]
    factors = [random.integers(0, prime, shape) for shape in ((m, rank), (rank, n))]
    assert rank_modulo(_product(*factors, prime), prime) == min(m, n, rank)


def test_signs_are_decided_where_rounding_cannot() -> None:
    """``0.1 * 3 - b`` with b next to 0.3: float64 calls it 0."""
    bias = 0.1 * 3.0
    params = [(np.array([[0.1], [-0.1]]), np.array([-bias, bias])), (np.ones((1, 2)), np.zeros(1))]
    masks, proven = exact_patterns(params, np.array([[3.0]]))
    exact = Fraction(0.1) * 3 - Fraction(bias)
    assert exact != 0 and masks.tolist() == [[exact > 0, exact < 0]] and proven.all()
    assert not nets.patterns(params, np.array([[3.0]])).any()
    assert not exact_patterns([(np.ones((1, 1)), np.zeros(1)), params[1]], np.zeros((1, 1)))[1].any()


@pytest.mark.parametrize("sizes", [(5, 5, 5, 5, 1), (3, 4, 4, 2), (4, 2)])
def test_sampled_ranks_are_proven(sizes: tuple[int, ...]) -> None:
    random = np.random.default_rng(4)
    for _ in range(3):
        params = nets.random_params(sizes, random)
        points = random.normal(size=(1000, sizes[0]))
        found = sampled_dimension(params, points)
        proof = certify(params, found)
        assert proof.certified and proof.rank == found.rank <= proof.largest_possible
        assert proof.full == found.full


def test_nothing_is_proven_beyond_the_rank() -> None:
    """A claim that is too high stays a claim."""
    random = np.random.default_rng(5)
    params, points = nets.random_params((3, 4, 4, 1), random), random.normal(size=(800, 3))
    found = sampled_dimension(params, points)
    proof = certify(params, found._replace(rank=found.bound + 1))
    assert proof.rank == found.rank and not proof.certified
