"""The trivial group acts on functions, regions and dimensions as it should: it changes none."""

import jax
import numpy as np
import pytest

from symjax.channels import permute, rescale, scalings
from symjax.dimension.equality import canonical_form, relation
from symjax.dimension.exact import exact_dimension
from symjax.dimension.gradients import scaling_tangents
from symjax.dimension.mechanisms import explain
from symjax.dimension.networks import flatten, random_params
from symjax.dimension.trivial import trivial_group
from symjax.dimension.units import RELU, leaky, max_pool, maxout, outputs


def moved(params, channels, random: np.random.Generator, spread: float = 1.0):
    """Some permutation and scaling of every hidden layer."""
    order = {name: random.permutation(channel.size) for name, channel in channels.items()}
    scale = {name: {"rescale": spread * random.normal(size=channel.size)} for name, channel in channels.items()}
    return jax.tree.map(np.asarray, permute(order, rescale(scale, params, channels), channels))


@pytest.mark.parametrize("unit", [RELU, leaky(0.2), maxout(2), max_pool(3)], ids=["relu", "leaky", "maxout", "pool"])
def test_function_regions_and_dimension_are_kept(unit):
    random = np.random.default_rng(0)
    rows = [3 * unit.reads, 3 * unit.reads, 2]
    params = [(random.normal(size=(n, k)), random.normal(size=n)) for n, k in zip(rows, (2, 3, 3), strict=True)]
    channels = trivial_group(params, unit)
    other, points = moved(params, channels, random), random.normal(size=(50, 2))
    np.testing.assert_allclose(outputs(other, points, unit), outputs(params, points, unit), rtol=1e-12, atol=1e-12)
    before, after = exact_dimension(params, unit=unit), exact_dimension(other, unit=unit)
    assert after.rank == before.rank and len(after.regions.patterns) == len(before.regions.patterns)
    # the tangents of the gradients' module are the generators of this action
    flow = scalings(channels)
    zero = jax.tree.map(np.asarray, flow.zero)
    leaves, structure = jax.tree.flatten(zero)
    total = [
        jax.jvp(lambda s: flow.flow(s, params), (zero,), (jax.tree.unflatten(structure, direction),))[1]
        for direction in basis(leaves)
    ]
    np.testing.assert_allclose(np.array([flatten(each) for each in total]), scaling_tangents(params), atol=1e-14)


def basis(leaves):
    """One direction for each entry of the leaves, in their order."""
    for place, leaf in enumerate(leaves):
        for entry in range(leaf.size):
            direction = [np.zeros_like(each) for each in leaves]
            direction[place].flat[entry] = 1
            yield direction


def test_one_orbit_is_one_canonical_form_and_one_explanation():
    random = np.random.default_rng(1)
    params = random_params((3, 4, 4, 1), random)
    other = moved(params, trivial_group(params), random, spread=3.0)
    assert relation(params, other) == "trivial"
    for first, second in zip(canonical_form(params), canonical_form(other), strict=True):
        for leaf, again in zip(first, second, strict=True):
            np.testing.assert_allclose(leaf, again, rtol=1e-10, atol=1e-12)
    drops = [
        sorted((part.mechanism, part.layer, part.drop) for part in explain(each).parts) for each in (params, other)
    ]
    assert drops[0] == drops[1]
