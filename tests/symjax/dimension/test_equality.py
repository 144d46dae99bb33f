"""Equality of networks: against the classification of shallow networks, under actions, and with kinks that cancel."""

import numpy as np
import pytest

from symjax.dimension.equality import canonical_form, relation, same_function
from symjax.dimension.networks import forward, random_params, widths


def shallow_form(params):
    """The one form ``sum_g J_g relu(n_g x) + L x`` (x with a 1) of a network with one hidden layer."""
    (w, b), (a, c) = params
    linear, jumps = np.column_stack([np.zeros((len(c), w.shape[1])), c]), {}
    for row, bias, column in zip(w, b, a.T, strict=True):
        length = np.linalg.norm(row)
        normal = np.append(row, bias) / length
        if normal[np.flatnonzero(np.abs(normal) > 1e-9)[0]] < 0:
            linear = linear + np.outer(column, length * normal)  # relu(z) = relu(-z) + z
            normal = -normal
        key = tuple(np.round(normal, 7) + 0.0)
        jumps[key] = jumps.get(key, 0) + column * length
    return linear, {key: jump for key, jump in jumps.items() if np.max(np.abs(jump)) > 1e-9}


def same_shallow(first, second) -> bool:
    (linear, jumps), (other, others) = shallow_form(first), shallow_form(second)
    return bool(
        np.allclose(linear, other) and jumps.keys() == others.keys()
        and all(np.allclose(jumps[key], others[key]) for key in jumps)
    )  # fmt: skip


def moved(params, random: np.random.Generator):
    """Permute and scale the hidden units of a network."""
    layers = [(w.copy(), b.copy()) for w, b in params]
    for place in range(len(layers) - 1):
        (w, b), (above, above_b) = layers[place], layers[place + 1]
        order, scale = random.permutation(len(b)), np.exp(random.normal(size=len(b)))
        layers[place] = (w * scale[:, None])[order], (b * scale)[order]
        layers[place + 1] = (above / scale)[:, order], above_b
    return layers


def turned(params, units: list[int]):
    """``a relu(z) = a relu(-z) + a z`` for some units of the first hidden layer; what is left over goes to the bias."""
    (w, b), (a, c), *rest = params
    sign = np.ones(len(b))
    sign[units] = -1
    return [(sign[:, None] * w, sign * b), (a, c + a[:, units] @ b[units]), *rest]


def balanced(sizes, random: np.random.Generator):
    """A network whose first three units can be turned round together: ``sum_i a_i w_i = 0`` over them."""
    params = random_params(sizes, random)
    (w, b), (a, c) = params[0], params[1]
    w, a = w.copy(), a.copy()
    a[:, :3] = np.outer(random.normal(size=len(c)), np.abs(a[0, :3]) + 0.1)
    w[2] = -(a[0, 0] * w[0] + a[0, 1] * w[1]) / a[0, 2]
    return [(w, b), (a, c), *params[2:]]


def test_shallow_networks_against_their_classification():
    random = np.random.default_rng(0)
    params = balanced((2, 4, 2), random)
    (w, b), (a, c) = params
    split_unit = [(np.vstack([w, 2 * w[:1]]), np.append(b, 2 * b[0])), (np.column_stack([a, a[:, 0] / 4]), c)]
    split_unit[1][0][:, 0] /= 2
    candidates = {
        "moved": moved(params, random),
        "turned": turned(params, [0, 1, 2]),
        "two turned": turned(params, [0, 1]),
        "a unit in two parts": split_unit,
        "another bias": [(w, b), (a, c + 1e-4)],
        "another kink": [(w, b + np.array([0, 0, 0, 1e-4])), (a, c)],
    }
    answers = {name: same_function(params, other).same for name, other in candidates.items()}
    assert answers == {name: same_shallow(params, other) for name, other in candidates.items()}
    assert [name for name, same in answers.items() if same] == ["moved", "turned", "a unit in two parts"]
    assert {name: relation(params, other) for name, other in candidates.items()} == {
        "moved": "trivial", "turned": "hidden", "two turned": "different", "a unit in two parts": "hidden",
        "another bias": "different", "another kink": "different",
    }  # fmt: skip


def test_a_discrete_hidden_symmetry_of_a_deep_network_is_seen():
    random = np.random.default_rng(1)
    params = balanced((2, 4, 3, 1), random)
    other = moved(turned(params, [0, 1, 2]), random)
    points = random.normal(size=(200, 2))
    np.testing.assert_allclose(forward(params, points), forward(other, points), atol=1e-12)
    compared = same_function(params, other)
    assert compared.same and compared.point is None and compared.split == 0 and compared.difference < 1e-12
    assert relation(params, other) == "hidden"


def test_a_difference_is_shown_at_a_point():
    random = np.random.default_rng(2)
    params = random_params((3, 4, 3, 2), random)
    changed = [(w.copy(), b.copy()) for w, b in params]
    changed[1][0][0, 0] += 1e-3
    compared = same_function(params, changed, 5.0)
    assert not compared.same and np.all(np.abs(compared.point) <= 5)
    gap = np.max(np.abs(forward(params, compared.point[None]) - forward(changed, compared.point[None])))
    assert gap == pytest.approx(compared.difference) and gap > 1e-6


def test_networks_of_other_hidden_layers_are_compared():
    """x against x with three bends at one place that cancel: programs split the region, and find no difference."""
    identity = [(np.array([[1.0], [-1.0]]), np.array([0.5, 0.25])), (np.array([[1.0, 0.0]]), np.zeros(1))]
    kinks = np.array([[1.0], [1.0], [2.0]])
    with_bump = [
        (kinks, np.array([0.5, -1.0, -2.0])),
        (np.eye(3), np.zeros(3)),
        (np.array([[1.0, -2.0, 1.0]]), np.zeros(1)),
    ]
    compared = same_function(identity, with_bump, 4.0)
    assert compared.same and compared.split == 1
    seen = [with_bump[0], with_bump[1], (np.array([[1.0, -2.0, 1.1]]), np.zeros(1))]
    compared = same_function(identity, seen, 4.0)
    assert not compared.same and compared.point > 1
    # and the other way round, from a network that is not in general position
    compared = same_function(with_bump, identity, 4.0)
    assert compared.same and compared.regions == 3
    assert not same_function(seen, identity, 4.0).same


def test_a_difference_outside_of_the_box_is_not_asked_for():
    far = [(np.array([[1.0]]), np.array([-5.0])), (np.array([[1.0]]), np.zeros(1))]
    never = [(np.array([[1.0]]), np.array([-6.0])), (np.array([[1.0]]), np.zeros(1))]
    assert same_function(far, never, 4.0).same and not same_function(far, never, 8.0).same
    compared = same_function(far, never)
    assert not compared.same and compared.point[0] > 5


def test_networks_that_differ_only_far_out_are_told_apart():
    """A unit that is on only beyond 1e6 makes another function, though not in a box of 1e5."""
    random = np.random.default_rng(5)
    params = random_params((2, 3, 1), random)
    (w, b), (a, c) = params
    wider = [(np.vstack([w, [[1.0, 0.0]]]), np.append(b, -1e6)), (np.column_stack([a, [1e-3]]), c)]
    assert same_function(params, wider, 1e5).same
    compared = same_function(params, wider)
    assert not compared.same and compared.point[0] > 1e6
    assert same_function(wider, params).same is False


@pytest.mark.parametrize("sizes", [(2, 5, 1), (3, 4, 5, 2)])
def test_the_canonical_form_is_one_for_an_orbit_and_keeps_the_function(sizes):
    random = np.random.default_rng(3)
    params = random_params(sizes, random)
    form = canonical_form(params)
    points = random.normal(size=(50, sizes[0]))
    np.testing.assert_allclose(forward(form, points), forward(params, points), rtol=1e-12, atol=1e-12)
    for (w, b), (again, again_b) in zip(form, canonical_form(moved(params, random)), strict=True):
        np.testing.assert_allclose(w, again, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(b, again_b, rtol=1e-12, atol=1e-14)
    for w, b in form[:-1]:
        np.testing.assert_allclose(np.sum(w**2, axis=1) + b**2, 1, rtol=1e-14)
    for (w, _), (again, _) in zip(form, canonical_form(form), strict=True):
        np.testing.assert_allclose(w, again, rtol=1e-14)
    assert relation(params, moved(params, random), 3.0) == "trivial" and widths(form) == sizes


def test_networks_of_other_inputs_are_refused():
    random = np.random.default_rng(4)
    with pytest.raises(ValueError, match=r"other has \(3, 1\) inputs and outputs, but params have \(2, 1\)"):
        same_function(random_params((2, 3, 1), random), random_params((3, 3, 1), random), 1.0)
