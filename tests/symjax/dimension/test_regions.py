"""Regions against closed forms, against all sign patterns by linear programs, and one method against the other."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from symjax.dimension.arrangement import (
    count,
    linear_regions_assumption,
    transverse_pairs,
)
from symjax.dimension.cells import euler_characteristic
from symjax.dimension.networks import forward, hidden
from symjax.dimension.pictures import bent_hyperplanes, polygons
from symjax.dimension.regions import (
    _by_programs,
    activation_regions,
    check_complete,
    facets,
    predicted_regions,
)
from symjax.dimension.units import RELU, as_units, leaky, max_pool, maxout, patterns_at, units_of

# numbers of units, what they are: ReLUs, one, two or more inputs and outputs, leaky ones, maxout, a maximum over ReLUs
SMALL = [
    ((1, 4, 3, 1), RELU), ((2, 3, 2, 2), RELU), ((2, 3, 3, 1), leaky(0.2)), ((3, 3, 1, 1), leaky(-0.5)),
    ((2, 2, 2, 1), maxout(3)), ((3, 2, 2, 2), maxout(2)), ((2, 2, 2, 1), max_pool(2)),
    ((2, 3, 2, 2, 1), (leaky(0.1), maxout(2), RELU)),
]  # fmt: skip


def network(sizes: tuple[int, ...], seed: int = 3, unit=RELU):
    kinds, random = as_units(unit, len(sizes) - 2), np.random.default_rng(seed)
    rows = [size * kind.reads for size, kind in zip(sizes[1:], (*kinds, RELU), strict=True)]
    return [
        (random.normal(size=(size, below)) * np.sqrt(2 / below), random.normal(size=size) * 0.1)
        for below, size in zip(sizes, rows, strict=False)
    ]


def by_all_patterns(params, box: float, kinds) -> set[tuple[bool, ...]]:
    """Every choice of a largest piece for each unit whose inequalities hold with a margin somewhere in the box."""
    size, found = params[0][0].shape[1], set()
    each = [
        range(len(kind.pieces))
        for (_, b), kind in zip(params, kinds, strict=False)
        for _ in range(len(b) // kind.reads)
    ]
    for choice in product(*each):
        linear, constant, rows, right, start, pattern = np.eye(size), np.zeros(size), [], [], 0, []
        for (w, b), kind in zip(params, kinds, strict=False):
            linear, constant = w @ linear, w @ constant + b
            heights = []
            for unit in range(len(b) // kind.reads):
                own = slice(unit * kind.reads, (unit + 1) * kind.reads)
                forms, offsets = kind.matrix @ linear[own], kind.matrix @ constant[own]
                best = choice[start]
                pattern += [best == piece for piece in range(len(kind.pieces) - 1)]
                for other in set(range(len(kind.pieces))) - {best}:
                    rows.append(forms[other] - forms[best])
                    right.append(offsets[best] - offsets[other])
                heights.append((forms[best], offsets[best]))
                start += 1
            linear, constant = map(np.array, zip(*heights, strict=True))
        bounds = [(-box, box)] * size + [(None, 1.0)]
        rows = np.column_stack([rows, np.ones(len(rows))])
        margin = linprog(np.append(np.zeros(size), -1.0), A_ub=rows, b_ub=right, bounds=bounds)
        if margin.status == 0 and -margin.fun > 1e-7:
            found.add(tuple(pattern))
    return found


def as_set(patterns: np.ndarray) -> set[tuple[bool, ...]]:
    return {tuple(map(bool, pattern)) for pattern in patterns}


@pytest.mark.parametrize("sizes", [(1, 4, 1), (2, 6, 1), (3, 7, 2), (5, 6, 1)])
def test_one_hidden_layer_has_as_many_regions_as_zaslavsky_counts(sizes):
    regions = activation_regions(network(sizes))
    assert regions.method == "edges"
    assert len(regions.patterns) == predicted_regions(sizes)


@pytest.mark.parametrize(("sizes", "unit"), SMALL)
def test_the_regions_are_the_patterns_that_linear_programs_find(sizes, unit):
    params = network(sizes, unit=unit)
    regions = activation_regions(params, 10.0, unit)
    assert regions.method == "edges" and regions.euler == 1
    assert as_set(regions.patterns) == by_all_patterns(params, 10.0, as_units(unit, len(sizes) - 2))
    assert len(as_set(regions.patterns)) == len(regions.patterns)
    assert np.array_equal(patterns_at(params, regions.witnesses, unit), regions.patterns)
    assert np.all(np.abs(regions.witnesses) < 10)


@pytest.mark.parametrize(("sizes", "unit"), SMALL)
def test_both_methods_find_the_same_regions_and_the_same_facets(sizes, unit):
    params = network(sizes, 4, unit)
    regions = activation_regions(params, 100.0, unit)
    programs = _by_programs(params, 100.0, regions.units)
    assert np.array_equal(regions.patterns, programs.patterns)
    assert np.array_equal(patterns_at(params, programs.witnesses, unit), programs.patterns)
    touching, missing = facets(params, programs)
    assert missing == 0
    assert {tuple(sorted(pair)) for pair in regions.facets.pairs.tolist()} == set(map(tuple, touching.pairs.tolist()))
    assert 0 < 2 * len(touching.pairs) / len(regions.patterns) <= 2 * sizes[0]
    owners = units_of(params, regions.units)
    for pair, unit in zip(regions.facets.pairs, regions.facets.units, strict=True):
        assert set(owners[regions.patterns[pair[0]] != regions.patterns[pair[1]]]) == {unit}


def test_a_missing_region_is_noticed():
    params = network((2, 3, 2, 1))
    regions = activation_regions(params, 10.0)
    assert check_complete(params, regions).complete
    inner = np.argmin(np.linalg.norm(regions.witnesses, axis=1))
    fewer = regions._replace(patterns=np.delete(regions.patterns, inner, axis=0))
    assert not check_complete(params, fewer).complete


def test_random_points_see_only_listed_regions_and_the_areas_fill_the_box():
    params = network((2, 10, 5, 1))
    regions = activation_regions(params, 1.0)
    seen = as_set(patterns_at(params, np.random.default_rng(0).uniform(-1, 1, (20_000, 2))))
    assert seen <= as_set(regions.patterns) and len(seen) > len(regions.patterns) / 2
    corners = [(polygon, np.roll(polygon, -1, axis=0)) for polygon in polygons(params, regions, 1.0)]
    areas = [np.sum(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2 for a, b in corners]
    assert min(areas) > 0 and sum(areas) == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize("sizes", [(2, 8, 6, 1), (3, 6, 5, 1), (4, 5, 3, 1)])
def test_the_complex_of_a_box_has_euler_characteristic_one(sizes):
    regions = activation_regions(network(sizes), 50.0)
    assert regions.euler == 1
    skeleton = regions.skeleton
    assert euler_characteristic(skeleton._replace(edges=skeleton.edges[1:])) != 1
    without = skeleton._replace(points=skeleton.points[1:], signs=skeleton.signs[1:], zeros=skeleton.zeros[1:])
    assert euler_characteristic(without) != 1
    size, units, walls = sizes[0], sum(sizes[1:-1]), []
    signs = np.concatenate([skeleton.signs, np.ones((len(skeleton.points), 2 * size), np.int8)], axis=1)
    np.put_along_axis(signs, skeleton.zeros, 0, axis=1)
    for fill in product([-1, 0, 1], repeat=size):
        filled = signs.copy()
        np.put_along_axis(filled, skeleton.zeros, np.broadcast_to(np.int8(fill), skeleton.zeros.shape), axis=1)
        walls.append(filled[np.all(filled[:, units:] >= 0, axis=1)])
    faces = np.unique(np.concatenate(walls), axis=0)
    dimensions = size - np.sum(faces == 0, axis=1)
    assert np.sum(dimensions == 0) == len(skeleton.points) and np.sum(dimensions == 1) == len(skeleton.edges)
    assert np.sum((-1) ** dimensions) == 1


def test_networks_in_special_position_are_split_by_programs():
    # relu(x), relu(-x), then both again: at 0 four units vanish, on each side two of them everywhere
    chain = [(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.eye(2), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
    regions = activation_regions(chain)
    assert regions.method == "programs" and not regions.ordinary
    assert regions.patterns.astype(int).tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert check_complete(chain, regions).complete
    # two units with one hyperplane, and a parallel one
    twins = [
        (np.array([[1.0, 2.0], [2.0, 4.0], [1.0, 2.0]]), np.array([1.0, 2.0, 0.0])),
        (np.ones((1, 3)), np.zeros(1)),
    ]
    regions = activation_regions(twins)
    assert regions.method == "programs" and regions.ordinary
    assert regions.patterns.astype(int).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert check_complete(twins, regions) == (0, 4 / 3, 4)
    # no bias: a fan of cones
    fan = [(np.random.default_rng(0).normal(size=(5, 2)), np.zeros(5)), (np.ones((1, 5)), np.zeros(1))]
    assert len(activation_regions(fan).patterns) == 10


@pytest.mark.parametrize("sizes", [(1, 3, 3, 1), (2, 5, 5, 1), (4, 4, 4, 1)])
def test_all_of_the_input_space_is_a_box_that_is_large_enough(sizes):
    params = network(sizes, seed=5)
    regions = activation_regions(params)
    assert regions.box is None and regions.method == "edges"
    for factor in (1, 10):
        within = activation_regions(params, factor * regions.skeleton.box)
        assert np.array_equal(within.patterns, regions.patterns)
    assert len(activation_regions(params, 0.01).patterns) < len(regions.patterns)
    assert np.array_equal(patterns_at(params, regions.witnesses), regions.patterns)


def test_a_unit_that_bends_far_out_is_found():
    far = [(np.array([[1.0], [1.0]]), np.array([0.0, 3e5])), (np.ones((1, 2)), np.zeros(1))]
    assert len(activation_regions(far, 1e4).patterns) == 2
    everywhere = activation_regions(far)
    assert len(everywhere.patterns) == 3 and everywhere.skeleton.box == 6e5
    assert check_complete(far, everywhere).complete
    # 0 and 3e5 again, each by two units: by programs
    twice = [(np.array([[1.0], [1.0], [2.0]]), np.array([0.0, 3e5, 6e5])), (np.ones((1, 3)), np.zeros(1))]
    everywhere = activation_regions(twice)
    assert everywhere.method == "programs" and len(everywhere.patterns) == 3
    assert check_complete(twice, everywhere).complete


def test_counts_by_their_names():
    # |x| from two units, a third that no output reads: two affine maps, one bend does not show
    hat = [(np.array([[1.0], [-1.0], [1.0]]), np.array([0.0, 0.0, -1.0])), (np.array([[1.0, 1.0, 0.0]]), np.zeros(1))]
    assert count(hat, activation_regions(hat)) == (3, 2, 2)
    # 0 left and right of a hat function: one map on two pieces
    bump = [(np.ones((3, 1)), np.array([0.0, -1.0, -2.0])), (np.array([[1.0, -2.0, 1.0]]), np.zeros(1))]
    assert count(bump, activation_regions(bump)) == (4, 3, 4)
    assumption = linear_regions_assumption(hat, activation_regions(hat))
    assert not assumption.holds and assumption.invisible_of.tolist() == [0, 0, 1]
    assert linear_regions_assumption(bump, activation_regions(bump)).holds


def test_bent_hyperplanes_that_cross_and_that_do_not():
    first, last = (np.eye(2), np.zeros(2)), (np.ones((1, 1)), np.zeros(1))
    crossing = [first, (np.array([[1.0, 1.0]]), np.array([-1.0])), last]  # x + y = 1 bends at both axes
    assert transverse_pairs(crossing, activation_regions(crossing)).holds
    apart = [first, (np.array([[1.0, -1.0]]), np.array([-1.0])), last]  # x - relu(y) = 1 bends at y = 0 alone
    assert transverse_pairs(apart, activation_regions(apart)).missing.tolist() == [[0, 2]]
    generic = network((2, 5, 4, 1))
    regions = activation_regions(generic)
    assert np.array_equal(
        transverse_pairs(generic, regions).missing, transverse_pairs(generic, regions._replace(skeleton=None)).missing
    )


def test_a_picture_shows_every_bend():
    params = network((2, 6, 4, 1))
    regions = activation_regions(params, 5.0)
    bends = bent_hyperplanes(params, regions, 5.0)
    values = hidden(params, bends.segments.reshape(-1, 2)).reshape(-1, 2, 10)
    assert np.max(np.abs(np.take_along_axis(values, bends.units[:, None, None], axis=2))) < 1e-12
    assert len(bends.units) == np.sum(np.all(regions.skeleton.edge_zeros < 10, axis=1))
    for draw in (polygons, bent_hyperplanes):
        with pytest.raises(ValueError, match="box is -1.0, but must be a positive number"):
            draw(params, regions, -1)
    with pytest.raises(ValueError, match="has 3 inputs, but only regions of 2 inputs are polygons"):
        polygons(network((3, 2, 1)), activation_regions(network((3, 2, 1))), 1.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"box": 0.0}, "box is 0.0, but must be a positive number"),
        ({"unit": leaky}, "unit holds something else than a Unit"),
        ({"most": 10}, "about 22 activation regions, more than 10 .* sample its dimension instead"),
    ],
)
def test_what_cannot_be_listed_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        activation_regions(network((2, 4, 2, 1)), **change)


def test_a_network_without_hidden_units_is_one_region():
    params = network((3, 2))
    regions = activation_regions(params)
    assert regions.patterns.shape == (1, 0) and count(params, regions) == (1, 1, 1)
    assert forward(params, regions.witnesses).shape == (1, 2)


def test_memory_is_asked_for_in_a_sentence():
    with pytest.raises(ValueError, match=r"20 inputs have 1,048,576 corners or more, which need [\d,]+ bytes"):
        activation_regions(network((20, 2, 1)), most=10**7)
