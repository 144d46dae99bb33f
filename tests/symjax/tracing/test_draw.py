"""The picture of what is tied by what, against what stands in a small model by hand."""

import jax
import jax.numpy as jnp
import pytest

from symjax.tracing import draw, symmetries
from symjax.tracing.draw import ties

ROWS = jax.ShapeDtypeStruct((5, 2), jnp.float32)


def shapes(**leaves: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in leaves.items()}


def gated(p, x):
    """ReLU units, then tanh units, then a bottleneck on which matrices act."""
    x = jnp.maximum(x @ p["a"], 0.0) @ p["b"] + p["c"][None]
    return jnp.tanh(x) @ p["d"] @ p["e"]


def test_what_is_tied_and_what_is_drawn():
    found = symmetries(gated, shapes(a=(2, 3), b=(3, 4), c=(4,), d=(4, 6), e=(6, 7)), ROWS)
    tied = {
        path[0]: {
            name: "".join(kind[0] for kind in sorted(tie.kinds)) + "".join(tie.signs) for name, tie in row.items()
        }
        for path, row in ties(found).items()
    }
    middle = {"b": {"a": "ps−", "b": "ps"}, "c": {"b": "ps"}, "d": {"b": "ps", "d": "lpss+"}}
    assert tied == {"a": {"a": "ps+"}, **middle, "e": {"d": "lpss−"}}  # first letters of the kinds, and signs
    assert ties(found)[("c",)]["b"].kinds == {"permutation", "sign"}
    assert ties(found)[("a",)]["a"].kinds == {"permutation", "scaling"}
    axes = draw(found).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a  S(3)", "b  S(4)", "d  GL(6)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d", "e"]
    assert len(axes.patches) == sum(map(len, tied.values())) == 7
    # where the cells are: the staircase of a network without branches
    cells = sorted((round(patch.get_y() + 0.45), round(patch.get_x() + 0.45)) for patch in axes.patches)
    assert cells == [(0, 0), (1, 0), (1, 1), (2, 1), (3, 1), (3, 2), (4, 2)]


def test_a_model_without_symmetries_has_no_picture():
    found = symmetries(lambda p, x: jnp.sort(x @ p["a"]), shapes(a=(2, 3)), ROWS)
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(found)
