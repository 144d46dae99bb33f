"""Sampled ranks against NumPy's singular values of the whole Jacobian, and against counts by hand."""

from typing import Any

import numpy as np
import pytest

from symjax.dimension import (
    batch_dimension,
    dimensions,
    generic_dimension,
    hidden_directions,
    mechanism_examples,
    sampled_dimension,
)
from symjax.dimension import networks as nets
from symjax.dimension.gradients import jacobian, pattern_rows, scaling_tangents


def network(seed: int, sizes: tuple[int, ...], count: int = 600) -> tuple[Any, np.ndarray]:
    """A network and standard normal points."""
    random = np.random.default_rng(seed)
    return nets.random_params(sizes, random), random.normal(size=(count, sizes[0]))


def svd_rank(rows: np.ndarray) -> int:
    """The rank of balanced rows, all of them at once."""
    rows = rows.reshape(-1, rows.shape[-1])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(lengths > 0, lengths, 1)
    lengths = np.linalg.norm(rows, axis=0)
    return int(np.linalg.matrix_rank(rows / np.where(lengths > 0, lengths, 1)))


@pytest.mark.parametrize(
    ("sizes", "rank"), [((2, 3, 1), 10), ((3, 5, 1), 21), ((1, 4, 1), 9), ((4, 1), 5), ((3, 2), 8)]
)
def test_shallow_networks(sizes: tuple[int, ...], rank: int) -> None:
    params, points = network(1, sizes)
    for found in (batch_dimension(params, points), sampled_dimension(params, points)):
        assert found.rank == found.bound == found.largest_possible == rank
        assert found.full and not found.hidden and not found.undetermined and found.points <= len(points)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [(5, 5, 5, 5, 1), (3, 4, 4, 4, 2)])
def test_ranks_are_those_of_all_rows_at_once(sizes: tuple[int, ...], seed: int) -> None:
    params, points = network(seed, sizes)
    at_points, on_regions = batch_dimension(params, points), sampled_dimension(params, points)
    assert at_points.rank == svd_rank(jacobian(params, points))
    masks = np.unique(nets.patterns(params, points), axis=0)
    assert on_regions.rank == svd_rank(pattern_rows(params, masks))
    assert at_points.half <= at_points.rank <= on_regions.rank <= generic_dimension(params, points)
    assert on_regions.patterns == at_points.patterns == len(masks)
    assert svd_rank(pattern_rows(params, nets.patterns(params, on_regions.witnesses))) == on_regions.rank


def test_rank_grows_with_the_points_and_one_point_gives_one_row_an_output() -> None:
    params, points = network(0, (3, 4, 4, 2))
    ranks = [batch_dimension(params, points[:count]).rank for count in (1, 3, 10, 30, 1000)]
    assert ranks[0] == 2 and ranks[1] <= 6 and ranks == sorted(ranks)


def test_rank_is_that_of_the_function() -> None:
    """Permutations, positive scalings (also enormous ones), affine changes of the input and output factors."""
    sizes, random = (4, 4, 4, 1), np.random.default_rng(7)
    params, points = network(3, sizes)
    rank = batch_dimension(params, points).rank
    (w1, b1), (w2, b2), (w3, b3) = params
    order, matrix, offset = random.permutation(4), random.normal(size=(4, 4)), random.normal(size=4)
    inverse = np.linalg.inv(matrix)
    for factors in (np.exp(random.uniform(-1, 1, 4)), 10.0 ** np.array([6, -6, 3, -3])):
        scaled = [((w1 * factors[:, None])[order], (b1 * factors)[order]), ((w2 / factors)[:, order], b2), (w3, 7 * b3)]
        scaled[2] = (7 * w3, 7 * b3)
        assert batch_dimension(scaled, points).rank == rank
    moved = [(w1 @ inverse, b1 - w1 @ inverse @ offset), (w2, b2), (w3, b3)]
    assert batch_dimension(moved, points @ matrix.T + offset).rank == rank


def test_a_dead_unit_and_its_hidden_directions() -> None:
    """A unit of layer 2 that is always off: 3 weights in, 1 out are lost, besides its scaling; 19 -> 15."""
    params, points = network(5, (2, 3, 3, 1))
    params[1] = (np.abs(params[1][0]) * np.array([[-1.0], [1.0], [1.0]]), np.array([-0.4, -0.5, 0.3]))
    found = hidden_directions(params, points[:500], points[500:])
    assert found.dimension.bound - found.dimension.rank == len(found.directions) >= 4
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(len(found.directions)), atol=1e-12)
    np.testing.assert_allclose(found.directions @ scaling_tangents(params).T, 0, atol=1e-10)
    assert np.max(found.slope) < 1e-12 and np.max(found.change) < 1e-4
    np.testing.assert_allclose(found.layers.sum(1), 1)
    assert found.conserved.sum() >= 4  # the unit's parameters never move


def test_gradient_flow_conserves_one_hidden_quantity_of_two_units_that_are_always_on() -> None:
    """``(W W^T + b b^T - u^T u)_{01}`` of the layers around two units always on; its diagonal is the scalings'.

    The other four hidden directions mix the units otherwise or move their biases: no quantity.
    """
    params = next(each.params for each in mechanism_examples() if each.mechanism == "2 of 3 units always on")
    random = np.random.default_rng(1)
    found = hidden_directions(params, 3 * random.normal(size=(600, 2)), random.normal(size=(50, 2)))
    assert found.conserved.tolist() == [True, False, False, False, False] and found.twist[1] > 1e-3
    (w, b), (u, _) = params[1:]
    zeros = [(np.zeros_like(weights), np.zeros_like(bias)) for weights, bias in params]
    zeros[1][0][:2], zeros[1][1][:2], zeros[2][0][0, :2] = w[[1, 0]], b[[1, 0]], -u[0, [1, 0]]
    slope = nets.flatten(zeros)
    known = np.concatenate([scaling_tangents(params), found.directions[:1]])
    rest = slope - known.T @ np.linalg.lstsq(known.T, slope)[0]
    assert np.linalg.norm(rest) < 1e-6 * np.linalg.norm(slope)


def test_three_ranks_in_one_record() -> None:
    params, points = network(2, (3, 4, 4, 1), 6)
    found = dimensions(params, points, np.random.default_rng(0))
    assert found.batch.rank == 6 < found.sampled.rank <= found.generic <= nets.bound((3, 4, 4, 1))


def test_points_on_a_bent_hyperplane_are_counted() -> None:
    params = [(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
    found = batch_dimension(params, np.array([[0.0], [1.0], [-1.0]]))
    assert found.on_hyperplanes == 1


def test_what_is_refused() -> None:
    params, points = network(0, (3, 4, 1))
    with pytest.raises(ValueError, match=r"points has shape \(600, 2\), but must have shape \(m, 3\)"):
        batch_dimension(params, points[:, :2])
    with pytest.raises(ValueError, match="not finite"):
        sampled_dimension(params, points * np.inf)
    large = [(np.ones((200, 200)), np.zeros(200)), (np.ones((1, 200)), np.zeros(1))]
    with pytest.raises(ValueError, match="40,401 parameters, whose row space needs"):
        batch_dimension(large, np.ones((2, 200)))
