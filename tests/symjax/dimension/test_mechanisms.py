"""Every mechanism's example has the dimension of its formula, and its missing dimensions are explained by it."""

import numpy as np
import pytest

from symjax.dimension.certificate import certify
from symjax.dimension.exact import exact_dimension
from symjax.dimension.examples import always_on_drop, mechanism_examples, pruned_drop
from symjax.dimension.gradients import jacobian
from symjax.dimension.mechanisms import explain, visibility
from symjax.dimension.networks import bound, flatten, patterns, random_params, widths
from symjax.dimension.rank import sampled_dimension
from symjax.dimension.regions import _by_programs, activation_regions, check_complete

EXAMPLES = mechanism_examples()
# the table: architecture, bound, dimension
TABLE = {
    "M1": [(19, 15), (19, 11), (28, 19)],
    "M1'": [(19, 1)],
    "M2": [(19, 18), (19, 14), (19, 10), (28, 27), (28, 23), (28, 10)],
    "M3": [(9, 8), (19, 18), (19, 17)],
    "M4": [(12, 10), (12, 11)],
    "M4'": [(34, 19)],
    "M5": [(12, 9)],
    "M5'": [(9, 7)],
    "M6": [(10, 7), (10, 4)],
    "M6'": [(10, 9)],
    "M7": [(10, 8), (19, 17)],
    "M7'": [(10, 7), (19, 16)],
    "M8": [(9, 4), (9, 7)],
    "M9": [(9, 8)],
    "control": [(10, 10), (9, 9), (19, 19), (19, 19), (28, 28), (23, 23), (14, 14)],
}


def test_the_examples_are_those_of_the_table():
    listed = {}
    for example in EXAMPLES:
        listed.setdefault(example.row, []).append((bound(widths(example.params)), example.dimension))
    assert listed == TABLE


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{each.row} {each.mechanism}" for each in EXAMPLES])
def test_an_example_has_its_dimension_and_its_explanation(example):
    exact = exact_dimension(example.params)
    assert exact.rank == example.dimension and not exact.dimension.undetermined
    by_programs = _by_programs(example.params, None, exact.regions.units)  # the other way to list the regions
    assert np.array_equal(by_programs.patterns, exact.regions.patterns)
    proof = certify(example.params, exact.dimension)
    assert proof.rank == (example.dimension if exact.regions.ordinary else 0)
    explanation = explain(example.params, exact.regions)
    assert explanation.dimension == example.dimension and explanation.bound - example.drop == example.dimension
    assert explanation.unexplained == 0
    assert {part.mechanism for part in explanation.parts} == example.by
    assert explanation.dimension + explanation.scalings + explanation.hidden == len(flatten(example.params))
    # the gradients at random points, by another way: never more, and as many where the regions are large
    size = widths(example.params)[0]
    points = np.random.default_rng(0).normal(size=(2400, size)) * np.repeat([1.0, 3.0, 30.0], 800)[:, None]
    at_points = jacobian(example.params, points).reshape(-1, len(flatten(example.params)))
    assert np.linalg.matrix_rank(at_points) == example.dimension


def test_the_formulas_of_units_off_and_always_on():
    assert pruned_drop((4, 6, 5, 2), {1: 2}) == 2 * (4 + 5) and pruned_drop((4, 6, 5, 2), {2: 1}) == 6 + 2
    assert pruned_drop((3, 4, 2), {1: 4}) == bound((3, 4, 2)) - 2
    # k <= n, n': all of GL(k) beyond the scalings, and k translations
    assert [always_on_drop(count, 5, 4) for count in (1, 2, 3)] == [1, 4, 9]
    # more than the layer above can take: matrices n' x n are all there is
    assert always_on_drop(5, 3, 2) == 5 * (3 + 2) - 3 * 2


def test_an_always_on_unit_among_random_ones_is_worth_what_the_formula_says():
    layers = random_params((3, 4, 4, 4, 2), np.random.default_rng(6), 0.5)
    assert explain(layers).hidden == 0
    w, b = (each.copy() for each in layers[1])
    w[:2], b[:2] = np.abs(w[:2]), 0.5
    changed = [layers[0], (w, b), *layers[2:]]
    explanation = explain(changed)
    drops = {part.unit: part.drop for part in explanation.parts if part.mechanism == "always on" and part.layer == 2}
    assert sum(drops.values()) == always_on_drop(2, 4, 4) and set(drops) == {0, 1}


@pytest.mark.parametrize("seed", [1, 7])
def test_the_deficit_of_a_random_network_is_explained(seed):
    params = random_params((3, 4, 4, 4, 1), np.random.default_rng(seed))
    exact = exact_dimension(params)
    explanation = explain(params, exact.regions)
    assert explanation.dimension == exact.rank and explanation.hidden > 0 and explanation.unexplained == 0
    assert exact.rank >= sampled_dimension(params, np.random.default_rng(0).normal(size=(300, 3))).rank
    assert str(explanation).startswith(f"dimension {exact.rank} of at most {bound((3, 4, 4, 4, 1))}")
    off = [part for part in explanation.parts if part.mechanism == "off"]
    count = {layer: sum(part.layer == layer for part in off) for layer in (1, 2, 3)}
    if off:
        assert sum(part.drop for part in off) == pruned_drop(widths(params), count)


def test_a_unit_sees_as_many_dimensions_as_its_gradient_has():
    """rank of the gradient of a unit's incoming weights = 1 + affine dimension of the visible active image."""
    params = random_params((3, 4, 4, 4, 1), np.random.default_rng(1))
    regions = activation_regions(params)
    view = visibility(params, regions.patterns)
    parts = explain(params, regions).parts
    w, b = params[0]
    for unit in range(4):
        active = regions.patterns[view.on[:, 4 + unit] & view.seen[:, 4 + unit], :4]
        constants = np.column_stack([b * active, np.ones(len(active))])
        slopes = np.concatenate([np.pad((w * on[:, None]).T, ((0, 0), (0, 1))) for on in active])
        drop = sum(part.drop for part in parts if part[:3] == ("image", 2, unit))
        assert 5 - np.linalg.matrix_rank(np.concatenate([constants, slopes])) == drop
    assert any(part.mechanism == "image" and part.layer == 2 for part in parts)


def test_explained_from_sampled_patterns():
    example = EXAMPLES[0]
    points = 3 * np.random.default_rng(0).normal(size=(2000, 2))
    assert explain(example.params, patterns(example.params, points)) == explain(example.params)
    with pytest.raises(ValueError, match=r"patterns of shape \(3, 5\), but must have shape \(P, 6\)"):
        explain(example.params, np.ones((3, 5), bool))


def never_on(sizes: tuple[int, ...], count: int) -> float:
    """Share of networks with symmetric weights and biases whose one unit of the second layer is off everywhere."""
    off = 0
    for seed in range(count):
        params = random_params(sizes, np.random.default_rng(seed), 1.0)
        never = not np.any(activation_regions(params).patterns[:, -1])
        if sizes[1] <= sizes[0]:  # the layer below takes every value of its orthant
            assert never == bool(np.all(params[1][0] <= 0) and params[1][1][0] <= 0)
        off += never
    return off / count


@pytest.mark.parametrize(("inputs", "units", "count"), [(2, 2, 100), (1, 2, 300)])
def test_a_unit_of_the_second_layer_is_off_everywhere_as_often_as_it_should(inputs, units, count):
    """Probability 2^-(n_1 + 1) for n_1 <= n_0, (2^n_0 + 1) / 4^(n_0 + 1) for n_1 = n_0 + 1 (arXiv 2412.06829)."""
    expected = 2.0 ** -(units + 1) if units <= inputs else (2**inputs + 1) / 4 ** (inputs + 1)
    assert abs(never_on((inputs, units, 1, 1), count) - expected) < 3 * np.sqrt(expected * (1 - expected) / count)


@pytest.mark.slow
def test_exact_dimensions_of_the_paper_s_smallest_architecture():
    """Each is at least the sampled one, everything missing is located, and the regions of one are proved complete."""
    ranks, samples, unexplained = [], [], 0
    for seed in range(20):
        params = random_params((5, 5, 5, 5, 1), np.random.default_rng(seed))
        exact = exact_dimension(params)
        ranks.append(exact.rank)
        samples.append(sampled_dimension(params, np.random.default_rng(seed).normal(size=(8100, 5))).rank)
        unexplained += explain(params, exact.regions).unexplained
        scales = np.repeat([0.1, 1.0, 100.0], 2700)[:, None]
        seen = patterns(params, scales * np.random.default_rng(seed).normal(size=(8100, 5)))
        every = np.unique(np.concatenate([exact.regions.patterns, seen]), axis=0)
        assert len(every) == len(exact.regions.patterns)  # no random point is in a region that is not listed
    assert np.all(np.array(ranks) >= samples) and sum(ranks) > sum(samples)
    assert max(ranks) == 81 and unexplained == 0
    small = random_params((4, 4, 4, 1), np.random.default_rng(0))
    assert check_complete(small, activation_regions(small)).complete
