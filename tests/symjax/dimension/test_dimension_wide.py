"""Networks with many inputs: the ranks without a triangle of D x D against those of the whole matrix."""

import numpy as np
import pytest

from symjax.dimension import bound, sampled_dimension, wide_batch_dimension, wide_sampled_dimension
from symjax.dimension import networks as nets
from symjax.dimension.gradients import jacobian


@pytest.mark.parametrize("sizes", [(6, 3, 3, 2), (8, 4, 1), (5, 4, 4, 3, 1), (2, 4, 3, 1)])
def test_ranks_are_those_of_the_whole_matrix(sizes: tuple[int, ...]) -> None:
    for seed in range(5):
        random = np.random.default_rng(seed)
        params = nets.random_params(sizes, random)
        points = random.normal(size=(200, sizes[0]))
        points[:, -1] = points[:, 0]  # a span smaller than the space
        whole = np.linalg.matrix_rank(jacobian(params, points).reshape(-1, nets.parameters(sizes)))
        at_points, on_regions = (f(params, points, random) for f in (wide_batch_dimension, wide_sampled_dimension))
        assert at_points.rank == whole <= at_points.most == bound((sizes[0] - 1, *sizes[1:]))
        assert on_regions.rank == sampled_dimension(params, points).rank <= on_regions.most
        assert not at_points.undetermined and not on_regions.undetermined


def test_few_points_are_decided_by_their_number_and_bad_ones_refused() -> None:
    random = np.random.default_rng(0)
    params = nets.random_params((40, 5, 3), random)
    found = wide_batch_dimension(params, random.normal(size=(4, 40)), random)
    assert found.rank == found.most == found.rows == 12
    with pytest.raises(ValueError, match="points"):
        wide_batch_dimension(params, np.full((4, 40), np.nan), random)
    with pytest.raises(ValueError, match="hidden layer"):
        wide_sampled_dimension(nets.random_params((3, 2), random), np.ones((4, 3)), random)
