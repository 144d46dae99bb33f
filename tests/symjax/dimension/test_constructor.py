"""Constructed networks have the bound of their architecture, by singular values of the plain Jacobian as well."""

import numpy as np
import pytest

from symjax.dimension.constructor import construct
from symjax.dimension.exact import exact_dimension
from symjax.dimension.gradients import jacobian
from symjax.dimension.mechanisms import explain
from symjax.dimension.networks import bound, parameters, widths


@pytest.mark.parametrize("sizes", [(3, 4, 3, 2), (2, 2, 2, 2, 1), (4, 3, 5, 1), (3, 2)])
def test_a_constructed_network_has_no_hidden_symmetry(sizes):
    made = construct(sizes, np.random.default_rng(0))
    assert widths(made.params) == sizes and made.dimension.full and not made.dimension.undetermined
    assert made.certificate.full and made.certificate.rank == bound(sizes)
    exact = exact_dimension(made.params)
    assert exact.rank == bound(sizes) and explain(made.params, exact.regions).parts == ()
    points = np.random.default_rng(1).normal(size=(20_000, sizes[0])) * 3
    rows = jacobian(made.params, points).reshape(-1, parameters(sizes))
    assert np.linalg.matrix_rank(rows) == bound(sizes)


def test_the_same_generator_gives_the_same_network():
    first, second = (construct((2, 3, 3, 1), np.random.default_rng(4)) for _ in range(2))
    for (w, b), (w_again, b_again) in zip(first.params, second.params, strict=True):
        assert np.array_equal(w, w_again) and np.array_equal(b, b_again)


@pytest.mark.parametrize("sizes", [(1, 3, 1), (3, 1, 3, 1)])
def test_layers_of_one_unit_are_refused(sizes):
    with pytest.raises(ValueError, match="the input and the hidden layers need at least 2 units each"):
        construct(sizes, np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_a_hundred_architectures(part):
    random, tried = np.random.default_rng(part), 0
    while tried < 25:
        layers = random.integers(2, 13, size=random.integers(1, 7))
        sizes = (int(random.integers(2, 7)), *map(int, layers), int(random.integers(1, 4)))
        if sum(layers) > 60:
            continue
        made = construct(sizes, np.random.default_rng(tried), attempts=20)
        assert made.certificate.full and made.certificate.rank == bound(sizes), sizes
        tried += 1
