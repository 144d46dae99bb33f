"""Leaky ReLU, maxout and maxima over ReLUs: one description, against their own formulas, hulls and autodiff."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from symjax.dimension.arrangement import affine_maps, count, linear_regions_assumption, transverse_pairs
from symjax.dimension.exact import exact_dimension, largest_dimension
from symjax.dimension.examples import mechanism_examples
from symjax.dimension.gradients import Slices, gradients, scaling_tangents, translation_tangents
from symjax.dimension.networks import bound
from symjax.dimension.pictures import bent_hyperplanes, polygons
from symjax.dimension.regions import activation_regions, check_complete
from symjax.dimension.units import (
    RELU,
    Unit,
    as_network,
    as_units,
    factors,
    leaky,
    max_pool,
    maxout,
    outputs,
    patterns_at,
    switches_at,
)

FORMULAS = {
    RELU: lambda z: jnp.maximum(z, 0),
    leaky(0.2): lambda z: jnp.where(z > 0, z, 0.2 * z),
    leaky(-1): jnp.abs,
    maxout(2): lambda z: jnp.max(z.reshape(*z.shape[:-1], -1, 2), axis=-1),
    maxout(3): lambda z: jnp.max(z.reshape(*z.shape[:-1], -1, 3), axis=-1),
    max_pool(2): lambda z: jnp.max(jnp.maximum(z, 0).reshape(*z.shape[:-1], -1, 2), axis=-1),
}


def network(sizes: tuple[int, ...], unit, seed: int = 0):
    """Random layers for these numbers of units."""
    kinds, random = as_units(unit, len(sizes) - 2), np.random.default_rng(seed)
    rows = [size * kind.reads for size, kind in zip(sizes[1:], (*kinds, RELU), strict=True)]
    return [
        (random.normal(size=(size, below)) * np.sqrt(2 / below), random.normal(size=size) * 0.3)
        for below, size in zip(sizes, rows, strict=False)
    ]


def autodiff(params, unit, points):
    """Outputs (m, n_d) and their Jacobian (m, n_d, D), from the formula of the unit."""
    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in params]

    def evaluate(layers, x):
        for w, b in layers[:-1]:
            x = FORMULAS[unit](w @ x + b)
        return layers[-1][0] @ x + layers[-1][1]

    def both(x):
        return evaluate(layers, x), jax.jacrev(evaluate)(layers, x)

    values, blocks = jax.jit(jax.vmap(both))(points)
    leaves = [np.asarray(leaf).reshape(*values.shape, -1) for leaf in jax.tree.leaves(blocks)]
    return np.asarray(values), np.concatenate(leaves, axis=-1)


@pytest.mark.parametrize("unit", FORMULAS, ids=["relu", "leaky", "absolute", "maxout 2", "maxout 3", "pool"])
def test_a_unit_is_its_formula_in_value_gradient_and_dimension(unit):
    sizes = (2, 3, 3, 2)
    params = network(sizes, unit)
    points = np.random.default_rng(1).normal(size=(600, 2)) * np.repeat([0.5, 2.0, 8.0], 200)[:, None]
    exact = exact_dimension(params, unit=unit)
    points = np.concatenate([points, exact.regions.witnesses])
    values, rows = autodiff(params, unit, points)
    np.testing.assert_allclose(outputs(params, points, unit), values, rtol=1e-12, atol=1e-12)
    patterns, kinds = patterns_at(params, points, unit), as_units(unit, 2)
    slopes, constants = np.split(affine_maps(params, patterns, unit)[0], [2], axis=2)
    affine = np.einsum("mkn,mn->mk", slopes, points) + constants[..., 0]
    np.testing.assert_allclose(affine, values, rtol=1e-11, atol=1e-10)
    masks = np.concatenate(factors(params, patterns, kinds), axis=1)
    explicit = gradients(params, Slices(masks, points[:, None, :], np.ones(1)))[:, 0]
    np.testing.assert_allclose(explicit, rows, rtol=1e-11, atol=1e-11)
    for tangents in (scaling_tangents(params), translation_tangents(params, unit)):
        assert np.max(np.abs(rows @ tangents.T), initial=0) < 1e-11
    # no region is missing, and the plain Jacobian at points in each has the rank
    assert {row.tobytes() for row in exact.regions.patterns} == {row.tobytes() for row in patterns}
    at_points = np.linalg.matrix_rank(rows.reshape(-1, rows.shape[-1]))
    assert at_points == exact.rank <= exact.dimension.bound == largest_dimension(params, unit)
    assert exact.dimension.rank == exact.rank and not exact.dimension.undetermined


@pytest.mark.parametrize(("inputs", "units", "reads"), [(1, 1, 5), (2, 1, 8), (2, 3, 3), (3, 2, 3)])
def test_one_layer_of_maxout_has_the_regions_of_a_hull(inputs, units, reads):
    """A sum of maxima is the largest of all sums: those that are it somewhere are the upper corners of a hull.

    Source: Montufar, Ren, Zhang 2022 (arXiv 2104.08135).
    """
    params = network((inputs, units, 1), maxout(reads))
    rows = np.column_stack(params[0]).reshape(units, reads, inputs + 1)
    sums = np.array([sum(choice) for choice in product(*rows)])
    hull = ConvexHull(sums)
    upper = np.unique(hull.simplices[hull.equations[:, -2] > 0])
    regions = activation_regions(params, unit=maxout(reads))
    assert regions.method == "edges" and len(regions.patterns) == len(upper)
    assert check_complete(params, regions).complete


@pytest.mark.parametrize(("inputs", "units", "outs"), [(2, 3, 1), (3, 4, 2), (2, 2, 3)])
def test_the_dimension_of_one_layer_of_maxout_of_two_is_that_of_bends_and_an_affine_rest(inputs, units, outs):
    """``max(u, v) = v + relu(u - v)``: bends as of ReLUs, and linear parts that the outputs mix."""
    params = network((inputs, units, outs), maxout(2))
    bends = units * (inputs + 1) + units * outs - units
    affine = min(units, outs) * inputs + outs
    assert exact_dimension(params, unit=maxout(2)).rank == bends + affine == largest_dimension(params, maxout(2))


def test_leaky_units_have_the_bound_of_relus_and_no_unit_that_is_never_seen():
    params = next(each.params for each in mechanism_examples() if each.mechanism == "nothing special")
    never = [params[0], (-np.abs(params[1][0]), np.full(3, -0.1)), params[2]]
    assert exact_dimension(params, unit=leaky(0.1)).rank == bound((2, 3, 3, 1)) == 19
    assert exact_dimension(never).rank == 1 < exact_dimension(never, unit=leaky(0.1)).rank


def test_counts_conditions_and_pictures_of_maxout():
    unit = maxout(3)
    params = network((2, 3, 2, 1), unit)
    regions = activation_regions(params, 4.0, unit)
    counted, evidence = count(params, regions), check_complete(params, regions)
    assert evidence.complete and 0 < evidence.mean_degree <= 4
    assert counted.activation_regions == len(regions.patterns) >= counted.affine_pieces >= counted.affine_maps
    assert linear_regions_assumption(params, regions).invisible_of.shape == (5,)
    corners = [(polygon, np.roll(polygon, -1, axis=0)) for polygon in polygons(params, regions, 4.0)]
    areas = [np.sum(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2 for a, b in corners]
    assert min(areas) > 0 and sum(areas) == pytest.approx(64, rel=1e-12)
    bends = bent_hyperplanes(params, regions, 4.0)
    assert len(bends.units) == len(regions.facets.units)
    # the two sides of a bend have different largest pieces of its unit, and one function
    middle, step = bends.segments.mean(axis=1), np.diff(bends.segments, axis=1)[:, 0] @ [[0, 1e-6], [-1e-6, 0]]
    before, behind = (patterns_at(params, middle + sign * step, unit) for sign in (-1, 1))
    assert all(np.any((a != b).reshape(5, 2)[u]) for a, b, u in zip(before, behind, bends.units, strict=True))
    # crossings from the corners, and from four patterns that meet
    by_patterns = transverse_pairs(params, regions._replace(skeleton=None)).missing
    assert np.array_equal(transverse_pairs(params, regions).missing, by_patterns)


def test_units_in_special_position_are_split_by_programs():
    # max(x, -x, 0): at 0 all three agree, and 0 is nowhere the largest
    unit = Unit(((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)))
    params = [(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.ones((1, 1)), np.zeros(1))]
    regions = activation_regions(params, unit=unit)
    assert regions.method == "programs" and regions.patterns.astype(int).tolist() == [[0, 1], [1, 0]]
    assert check_complete(params, regions).complete and count(params, regions) == (2, 2, 2)
    assert np.all(np.abs(switches_at(params, regions.witnesses, regions.units)) > 0)


@pytest.mark.parametrize(
    ("unit", "sentence"),
    [
        (3, "unit holds something else than a Unit"),
        ((RELU,), "unit holds 1 kinds of units, but the network has 2 hidden layers"),
        (Unit(((1.0,), (1.0,))), "must be different tuples of equally many finite numbers"),
        (Unit(((1.0, 0.0), (2.0, 0.0))), "leave some combination of pre-activations unread"),
        (maxout(2), r"params\[1\] has shapes \(4, 4\) and \(4,\), but must have \(n, 2\) and \(n,\)"),
    ],
)
def test_units_that_are_none(unit, sentence):
    layers = [(np.ones((4, 2)), np.ones(4)), (np.ones((4, 4)), np.ones(4)), (np.ones((1, 4)), np.ones(1))]
    with pytest.raises(ValueError, match=sentence):
        as_network(layers, unit)
    for slope in (1.0, np.nan, 2):
        with pytest.raises(ValueError, match="must be a number below 1"):
            leaky(slope)
    with pytest.raises(ValueError, match="reads is 0"):
        maxout(0)
    for call in (outputs, patterns_at):
        with pytest.raises(ValueError, match=r"points has shape \(3, 5\), but must have shape \(m, 2\)"):
            call(layers, np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"patterns have shape \(1, 3\), but must have shape \(R, 8\)"):
        affine_maps(layers, np.ones((1, 3), bool))
