"""Actions of C2, C4 and D4: brute force, planted orbits, and a merged network that is exactly invariant."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.equivariance import dihedral_group, find_spatial, rotation_group, transform
from symjax.matching import assign_homomorphism, homomorphism_defect, match_group, merge_group
from symjax.tracing import symmetries

C4 = np.add.outer(np.arange(4), np.arange(4)) % 4
D4 = np.asarray(dihedral_group().table)


def _shuffled_action(table: np.ndarray, orbits: list[np.ndarray], seed: int) -> np.ndarray:
    """An action given by orbits ``where[coset, g]``, its units in random order."""
    parts, start = [], 0
    for where in orbits:
        parts.append(start + where.T)
        start += len(where)
    order = np.random.default_rng(seed).permutation(start)
    element = np.concatenate(parts, 1)
    assert homomorphism_defect(element, table) == 0
    return np.argsort(order)[element[:, order]]


def test_no_action_of_three_units_has_a_larger_sum() -> None:
    scores = np.random.default_rng(0).standard_normal((4, 3, 3))
    found = assign_homomorphism(scores, C4)
    best = -np.inf
    for turn in itertools.permutations(range(3)):
        powers = [np.arange(3)]
        for _ in range(4):
            powers.append(np.array(turn)[powers[-1]])
        if np.array_equal(powers[4], powers[0]):
            best = max(best, sum(scores[g, np.arange(3), powers[g]].sum() for g in (1, 2, 3)))
    np.testing.assert_allclose(found.value, best, atol=1e-12)
    assert homomorphism_defect(found.element, C4) == 0 and found.lost >= 0


@pytest.mark.parametrize("table", [C4, D4], ids=["C4", "D4"])
def test_planted_orbits_of_every_kind_are_recovered_among_noise(table: np.ndarray) -> None:
    group = len(table)
    regular = table  # right cosets of the trivial subgroup: c g
    normal = [np.zeros((1, group), int)]  # a fixed unit
    if group == 4:
        normal.append(np.add.outer(np.arange(2), np.arange(4)) % 2)
    planted = _shuffled_action(table, [regular] * 4 + normal * 3, 1)
    scores = 0.6 * np.random.default_rng(2).random((group, planted.shape[1], planted.shape[1]))
    for g in range(group):
        scores[g, np.arange(planted.shape[1]), planted[g]] += 0.5
    found = assign_homomorphism(scores, table)
    assert homomorphism_defect(found.element, table) == 0
    assert found.value >= sum(scores[g, np.arange(planted.shape[1]), planted[g]].sum() for g in range(1, group)) - 1e-9


def _apply(v: dict, x: jax.Array) -> jax.Array:
    for kernel in (v["first"], v["second"]):
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x)
    return jnp.mean(x, (1, 2)) @ v["out"]


@pytest.mark.parametrize(
    "group", [rotation_group(), pytest.param(dihedral_group(), marks=pytest.mark.slow)], ids=["C4", "D4"]
)
def test_a_network_merged_with_its_images_by_an_action_is_invariant(group: Any) -> None:
    rng = np.random.default_rng(3)
    v = {
        "first": jnp.asarray(rng.standard_normal((3, 3, 1, 5))),
        "second": jnp.asarray(rng.standard_normal((3, 3, 5, 4))),
        "out": jnp.asarray(rng.standard_normal((4, 2))),
    }
    x = jnp.asarray(rng.standard_normal((4, 4, 4, 1)))
    found, layout = symmetries(_apply, v, x[:1]), find_spatial(_apply, v, x[:1])
    images = [transform(v, layout, group, g) for g in range(len(group.table))]
    matching = match_group(found, images, group.table, [x])
    assert all(homomorphism_defect(element, group.table) == 0 for element in matching.permutations.values())
    assert all(lost >= -1e-12 for lost in matching.lost.values()) and max(matching.defect.values()) > 0
    merged, turned = merge_group(matching, images), jnp.rot90(x, 1, (1, 2))
    np.testing.assert_allclose(_apply(merged, turned), _apply(merged, x), atol=1e-12)
    if len(group.table) == 8:
        np.testing.assert_allclose(_apply(merged, x[:, :, ::-1]), _apply(merged, x), atol=1e-12)
    assert np.abs(_apply(v, turned) - _apply(v, x)).max() > 1e-3


def test_what_is_no_group_is_refused() -> None:
    for table in ([[0, 1], [1, 1]], [[0, 1, 2], [1, 0, 2], [2, 1, 0]], [0, 1]):
        with pytest.raises(ValueError, match="table of a group"):
            assign_homomorphism(np.zeros((2, 2, 2)), table)
    with pytest.raises(ValueError, match="4 elements"):
        assign_homomorphism(np.zeros((2, 2, 2)), C4)
