"""Heads, fused kernels, linear groups and signs: layouts and actions against NumPy, functions of networks kept."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from symjax.channels import (
    Block,
    Channel,
    Mixing,
    Scaling,
    Segment,
    Sign,
    Site,
    attention,
    flip,
    mix,
    mixings,
    permute,
    rescale,
    scalings,
)
from symjax.symmetry import pairing

MODEL, HEADS, SIZE, TOKENS = 5, 3, 4, 6
OWN = Block(1)


def normal(seed: int, *shape: int, dtype: Any = np.float64) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def split_heads(seed: int = 0) -> dict[str, Any]:
    """Parameters as flax's attention has them: (model, heads, dimension) and (heads, dimension, model)."""
    params = {
        name: {"kernel": normal(seed + i, MODEL, HEADS, SIZE), "bias": normal(seed + 10 + i, HEADS, SIZE)}
        for i, name in enumerate(("query", "key", "value"))
    }
    return {**params, "out": {"kernel": normal(seed + 5, HEADS, SIZE, MODEL), "bias": normal(seed + 6, MODEL)}}


def attend(params: dict[str, Any], x: np.ndarray) -> np.ndarray:
    params = jax.tree.map(np.asarray, params)
    q, k, v = (
        np.einsum("tm,mhd->thd", x, params[name]["kernel"]) + params[name]["bias"] for name in ("query", "key", "value")
    )
    scores = np.exp(np.einsum("thd,uhd->htu", q, k) / 2)
    read = np.einsum("htu,uhd->thd", scores / scores.sum(-1, keepdims=True), v)
    return np.einsum("thd,hdm->tm", read, params["out"]["kernel"]) + params["out"]["bias"]


PATHS = (("query",), ("key",), ("value",), ("out",))
INPUT = np.random.default_rng(9).standard_normal((TOKENS, MODEL))


def test_heads_permute_and_each_head_has_permutations_and_linear_groups_of_its_own() -> None:
    params, rng = split_heads(), np.random.default_rng(1)
    channels = attention(params, *PATHS)
    wanted = attend(params, INPUT)
    own = jnp.asarray(np.stack([rng.permutation(SIZE) for _ in range(HEADS)]))
    moved = permute({"heads": [2, 0, 1], "query_key": own, "value_out": own[::-1]}, params, channels)
    assert np.abs(np.asarray(moved["query"]["kernel"]) - np.asarray(params["query"]["kernel"])).max() > 0.1
    np.testing.assert_allclose(attend(moved, INPUT), wanted, rtol=1e-12, atol=1e-12)
    g = {name: {"linear": jnp.asarray(rng.standard_normal((HEADS, SIZE, SIZE)))} for name in ("query_key", "value_out")}
    moved = mix(g, params, channels)
    np.testing.assert_allclose(attend(moved, INPUT), wanted, rtol=1e-9, atol=1e-10)
    kernel, bias = np.asarray(params["query"]["kernel"]), np.asarray(params["query"]["bias"])
    np.testing.assert_allclose(
        moved["query"]["kernel"], np.einsum("hij,mhj->mhi", g["query_key"]["linear"], kernel), atol=1e-12
    )
    np.testing.assert_allclose(
        moved["query"]["bias"], np.einsum("hij,hj->hi", g["query_key"]["linear"], bias), atol=1e-12
    )
    inverse = np.linalg.inv(np.asarray(g["query_key"]["linear"]))
    np.testing.assert_allclose(
        moved["key"]["kernel"], np.einsum("hji,mhj->mhi", inverse, params["key"]["kernel"]), rtol=1e-9, atol=1e-10
    )


def test_one_permutation_for_all_heads_is_the_same_in_each() -> None:
    params, perm = split_heads(), np.array([3, 1, 0, 2])
    channels = attention(params, *PATHS)
    together = permute({"query_key": perm}, params, channels)
    apart = permute({"query_key": np.tile(perm, (HEADS, 1))}, params, channels)
    jax.tree.map(np.testing.assert_array_equal, together, apart)
    np.testing.assert_array_equal(together["query"]["kernel"], np.asarray(params["query"]["kernel"])[..., perm])


def fused_channel() -> tuple[dict[str, jax.Array], Channel]:
    """Kernel (model, 3 * heads * dimension) in the order (q, k, v) x head x dimension; queries against keys."""
    each = HEADS * SIZE

    def part(i: int) -> Site:
        segment = (Segment(i * each, each),)
        return Site(("qkv",), 1, outer=HEADS, within=segment, batch=(Block(1, inner=SIZE, within=segment),))

    sites = part(0), part(1)
    linear = Mixing("linear", "general_linear", ((sites[0], 1), (sites[1], -1)))
    per_head = Scaling("per head", ((sites[0], 1), (sites[1], -1)), over=(0,))
    everywhere = Scaling("everywhere", ((sites[0], 1), (sites[1], -1)), over=(0, 1))
    both = Scaling("all heads", ((sites[0], 1), (sites[1], -1)))
    one = Scaling("one", ((sites[0], 1), (sites[1], -1)), over=())
    channel = Channel(SIZE, sites, (per_head, everywhere, both, one), (HEADS,), (linear,))
    return {"qkv": normal(3, MODEL, 3 * each)}, channel


def test_a_fused_kernel_is_its_parts() -> None:
    params, channel = fused_channel()
    split = np.asarray(params["qkv"]).reshape(MODEL, 3, HEADS, SIZE)
    rng = np.random.default_rng(4)
    perms = np.stack([rng.permutation(SIZE) for _ in range(HEADS)])
    wanted = split.copy()
    for head in range(HEADS):
        wanted[:, :2, head] = split[:, :2, head][..., perms[head]]
    moved = permute({"d": perms}, params, {"d": channel})["qkv"]
    np.testing.assert_array_equal(moved.reshape(split.shape), wanted)
    shapes = {"per head": (HEADS, 1), "everywhere": (HEADS, SIZE), "all heads": (1, SIZE), "one": (1, 1)}
    for name, shape in shapes.items():
        s = rng.standard_normal(shape)
        given = s.reshape([n for n in shape if n > 1])
        moved = rescale({"d": {name: given}}, params, {"d": channel})["qkv"].reshape(split.shape)
        wanted = split.copy()
        wanted[:, 0], wanted[:, 1] = split[:, 0] * np.exp(s), split[:, 1] * np.exp(-s)
        np.testing.assert_allclose(moved, wanted, rtol=1e-14)
    g = rng.standard_normal((HEADS, SIZE, SIZE))
    moved = mix({"d": {"linear": g}}, params, {"d": channel})["qkv"].reshape(split.shape)
    wanted = split.copy()
    wanted[:, 0] = np.einsum("hij,mhj->mhi", g, split[:, 0])
    wanted[:, 1] = np.einsum("hji,mhj->mhi", np.linalg.inv(g), split[:, 1])
    np.testing.assert_allclose(moved, wanted, rtol=1e-9, atol=1e-10)


def test_charges_of_every_scaling_in_one_pass() -> None:
    """The pairing is the sum of squares of q minus that of k, over what the coordinate does not tell apart."""
    params, channel = fused_channel()
    squares = np.asarray(params["qkv"]).reshape(MODEL, 3, HEADS, SIZE) ** 2
    difference = (squares[:, 0] - squares[:, 1]).sum(0)
    found = pairing(scalings({"d": channel}), params, params)["d"]
    np.testing.assert_allclose(found["everywhere"], difference, rtol=1e-12)
    np.testing.assert_allclose(found["per head"], difference.sum(1), rtol=1e-12)
    np.testing.assert_allclose(found["all heads"], difference.sum(0), rtol=1e-12)
    np.testing.assert_allclose(found["one"], difference.sum(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_linear_groups_are_actions_and_flows(dtype: Any) -> None:
    params, channel = fused_channel()
    params, channels = jax.tree.map(lambda leaf: leaf.astype(dtype), params), {"d": channel}
    rng, limit = np.random.default_rng(5), 1e-10 if dtype == np.float64 else 2e-3
    f, g = (jnp.asarray(rng.standard_normal((HEADS, SIZE, SIZE)), dtype) for _ in range(2))

    def act(g: jax.Array, params: Any) -> Any:
        return mix({"d": {"linear": g}}, params, channels)

    twice, once = act(f, act(g, params)), act(f @ g, params)
    np.testing.assert_allclose(twice["qkv"], once["qkv"], rtol=limit, atol=limit * float(jnp.abs(once["qkv"]).max()))
    symmetry = mixings(channels, "linear", dtype)
    s = jnp.asarray(rng.standard_normal((HEADS, SIZE, SIZE)) / 2, dtype)
    element = jnp.asarray(np.stack([scipy.linalg.expm(np.asarray(one, np.float64)) for one in s]), dtype)
    by_flow, by_element = symmetry.flow({"d": s}, params), act(element, params)
    np.testing.assert_allclose(by_flow["qkv"], by_element["qkv"], rtol=0, atol=limit * 10)
    np.testing.assert_array_equal(symmetry.flow(symmetry.zero, params)["qkv"], params["qkv"])
    batched = jax.jit(jax.vmap(act, in_axes=(0, None)))(jnp.stack([f, g]), params)["qkv"]
    np.testing.assert_allclose(batched[0], act(f, params)["qkv"], rtol=limit, atol=limit)
    assert by_flow["qkv"].dtype == dtype


W, V = Site(("w",), 1), Site(("v",), 0)


def plain(group: str) -> dict[str, Channel]:
    return {"h": Channel(2, (W, V), mixings=(Mixing("g", group, ((W, 1), (V, -1))),), signs=(Sign("odd", (W, V)),))}


def test_orthogonal_groups_turn_writers_and_readers_alike() -> None:
    params = {"w": normal(6, 3, 2), "v": normal(7, 2, 3)}
    for group in ("orthogonal", "special_orthogonal"):
        symmetry = mixings(plain(group), "g")
        assert symmetry.zero["h"].shape == (1,)
        moved = symmetry.flow({"h": jnp.array([0.3])}, params)
        turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
        np.testing.assert_allclose(moved["w"], np.asarray(params["w"]) @ turn.T, rtol=1e-13)
        np.testing.assert_allclose(moved["v"], turn @ np.asarray(params["v"]), rtol=1e-13)


def test_signs_multiply_and_keep_an_odd_network() -> None:
    params = {"w": normal(6, 3, 2), "v": normal(7, 2, 3)}
    moved = flip({"h": {"odd": [1, -1]}}, params, plain("orthogonal"))
    np.testing.assert_array_equal(moved["w"], np.asarray(params["w"]) * [1, -1])
    np.testing.assert_array_equal(moved["v"], np.asarray(params["v"]) * [[1], [-1]])
    x = np.random.default_rng(8).standard_normal((4, 3))
    for before, after in ((params, moved),):
        one, two = (np.tanh(x @ np.asarray(q["w"])) @ np.asarray(q["v"]) for q in (before, after))
        np.testing.assert_allclose(one, two, rtol=1e-13)


def test_a_term_may_be_confined_to_a_part_of_another_axis_or_be_the_whole_leaf() -> None:
    params = {"w": jnp.ones((3, 4)), "v": jnp.ones((4, 2)), "gain": jnp.ones(7)}
    w, v = Site(("w",), 1), Site(("v",), 0)
    part = Scaling("part", ((w._replace(cuts=(Block(0, offset=1, size=2),)), 1), (v, -1)))
    whole = Scaling("whole", ((Site(("gain",)), 2), (w, -1)), over=())
    channels = {"h": Channel(4, (w, v), (part, whole))}
    s = np.log([1.0, 2.0, 3.0, 4.0])
    moved = rescale({"h": {"part": s}}, params, channels)
    np.testing.assert_allclose(moved["w"], [[1, 1, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4]], rtol=1e-14)
    moved = rescale({"h": {"whole": np.log(3.0)}}, params, channels)
    np.testing.assert_allclose(moved["gain"], 9 * np.ones(7), rtol=1e-14)
    np.testing.assert_allclose(moved["w"], np.ones((3, 4)) / 3, rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, c: flip({"h": {"odd": [1, 2]}}, p, c), "signs['h']['odd'] holds other numbers than 1 and -1"),
        (lambda p, c: mix({"h": {"g": np.ones((2, 2))}}, p, c), "g['h']['g'] is not orthogonal"),
        (lambda p, c: mix({"h": {"g": np.diag([1.0, -1.0])}}, p, c), "g['h']['g'] has a negative determinant"),
        (lambda p, c: mix({"h": {"g": np.ones(2)}}, p, c), "g['h']['g'] has shape (2,), but must have shape (2, 2)"),
        (lambda p, c: mix({"h": {"x": np.eye(2)}}, p, c), "channel 'h' has no mixing named 'x'; its own are 'g'"),
        (lambda p, c: permute({"h": "ab"}, p, c), "perms['h'] is a str, but a permutation holds integers"),
        (lambda p, c: permute({"h": [0.0, 1.0]}, p, c), "perms['h'] has dtype float"),
        (lambda p, c: permute({"h": [[0, 1]]}, p, c), "perms['h'] has shape (1, 2), but the channel has size 2"),
    ],
)
def test_bad_elements_are_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call({"w": jnp.ones((3, 2)), "v": jnp.ones((2, 3))}, plain("special_orthogonal"))


def test_a_batch_index_must_be_held_and_lie_outside_or_inside() -> None:
    params = {"w": jnp.ones((3, HEADS, SIZE)), "gain": jnp.ones(SIZE)}
    w, gain = Site(("w",), 2, batch=(OWN,)), Site(("gain",), 0)
    shared = {"d": Channel(SIZE, (w, gain), batch=(HEADS,))}
    permute({"d": np.arange(SIZE)}, params, shared)
    with pytest.raises(ValueError, match="does not hold every batch index: one permutation"):
        permute({"d": np.tile(np.arange(SIZE), (HEADS, 1))}, params, shared)
    apart = Channel(SIZE, (w, gain), (Scaling("s", ((w, 1), (gain, -1)), over=(0, 1)),), (HEADS,))
    with pytest.raises(ValueError, match="runs over the batch index 0, but"):
        scalings({"d": apart})
    crossed = Channel(SIZE, (Site(("flat",), 0, outer=HEADS, batch=(Block(0, outer=SIZE),)),), batch=(HEADS,))
    with pytest.raises(ValueError, match="has a batch index that changes along its units"):
        permute({"d": np.arange(SIZE)}, {"flat": jnp.ones(HEADS * SIZE)}, {"d": crossed})
