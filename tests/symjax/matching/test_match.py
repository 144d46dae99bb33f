"""Matching: planted orders, groups and streams are recovered, and what cannot be matched is refused by name."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import channels as acting
from symjax.matching import aligned, correlation, match, merge, reads
from symjax.matching.moments import cross_moments
from symjax.tracing import Symmetries, symmetries

Case = tuple[Any, Symmetries, dict, jax.Array]


def _conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _convolutional(v: dict, x: jax.Array) -> jax.Array:
    """A stream of two blocks with a normalisation in evaluation mode, its mean read by a dense layer."""
    x = jax.nn.relu(_conv(x, v["stem"]) + v["stem_bias"][None, None, None])
    for block in v["blocks"]:
        h = _conv(x, block["first"]) - block["mean"][None, None, None]
        h = h * (jax.lax.rsqrt(block["var"] + 1e-5) * block["scale"])[None, None, None]
        h = jax.nn.relu(h + block["bias"][None, None, None])
        x = jax.nn.relu(x + _conv(h, block["second"]) + block["second_bias"][None, None, None])
    return jnp.mean(x, (1, 2)) @ v["out"]


def _attention(v: dict, x: jax.Array) -> jax.Array:
    q, k, u = (jnp.einsum("ntc,chd->nthd", x, v[name]) for name in ("query", "key", "value"))
    weights = jax.nn.softmax(jnp.einsum("nthd,nshd->nhts", q, k), -1)
    x = jnp.einsum("nhts,nshd,hdc->ntc", weights, u, v["join"])
    return jnp.tanh(x @ v["in"] + v["bias"][None, None]) @ v["out"]


def _drawn(shapes: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda s: jnp.asarray(rng.standard_normal(s) + 0.1, float), shapes, is_leaf=lambda s: isinstance(s, tuple)
    )


@pytest.fixture(scope="module")
def convolutional() -> Case:
    block = {"first": (3, 3, 6, 4), "second": (3, 3, 4, 6), "second_bias": (6,)}
    block |= dict.fromkeys(("mean", "var", "scale", "bias"), (4,))
    shapes = {"stem": (3, 3, 2, 6), "stem_bias": (6,), "blocks": [block, dict(block)], "out": (6, 3)}
    variables = _drawn(shapes, 0)
    for one in variables["blocks"]:
        one["var"] = jnp.abs(one["var"]) + 0.5
    one = jax.ShapeDtypeStruct((1, 4, 4, 2), float)
    found = symmetries(_convolutional, jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), variables), one)
    return _convolutional, found, variables, _drawn((12, 4, 4, 2), 1)


@pytest.fixture(scope="module")
def attention() -> Case:
    variables = _drawn(
        {
            **dict.fromkeys(("query", "key", "value"), (5, 3, 2)),
            **{"join": (3, 2, 5), "in": (5, 7), "bias": (7,), "out": (7, 2)},
        },
        2,
    )
    found = symmetries(_attention, variables, jax.ShapeDtypeStruct((1, 4, 5), float))
    return _attention, found, variables, _drawn((8, 4, 5), 3)


def _permuted(found: Symmetries, variables: dict, seed: int) -> tuple[dict, dict]:
    rng = np.random.default_rng(seed)
    plain = {name: rng.permutation(one.size) for name, one in found.channels.items() if not one.batch}
    return plain, acting.permute(plain, variables, found.channels)


@pytest.mark.parametrize("method", ["activations", "weights", pytest.param("dual", marks=pytest.mark.slow)])
def test_a_planted_order_is_recovered(convolutional: Case, method: str) -> None:
    _, found, variables, x = convolutional
    planted, other = _permuted(found, variables, 4)
    matching = match(found, variables, other, [x[:4], x[4:]], method=method)
    for name, perm in planted.items():
        # aligned undoes the planted permutation: unit i of the first is unit argsort(perm)[i] of the other
        assert np.array_equal(matching.permutations[name], np.argsort(perm)), name
    back = aligned(matching, other)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (back, variables)), strict=True))
    assert not matching.unmatched
    if method == "weights":
        same = match(found, variables, variables, method=method)
        assert all(np.array_equal(perm, np.arange(len(perm))) for perm in same.permutations.values())


def test_every_class_from_one_pass_is_what_numpy_says_of_the_program_run_by_hand(convolutional: Case) -> None:
    _, found, variables, x = convolutional
    other = jax.tree.map(lambda leaf: leaf[::-1], variables)
    matching = match(found, variables, other, [x[:2], x[2:]])
    stream = next(name for name, one in found.classes.items() if one.size == 6)
    # the stream before its second block, and after it (read by its mean), by hand
    streams: dict[int, list[np.ndarray]] = {}
    for number, v in enumerate((variables, other)):
        at = jax.nn.relu(_conv(x, v["stem"]) + v["stem_bias"][None, None, None])
        streams[number] = [np.asarray(at).reshape(-1, 6)]
        for block in v["blocks"]:
            h = _conv(at, block["first"]) - block["mean"][None, None, None]
            h = h * (jax.lax.rsqrt(block["var"] + 1e-5) * block["scale"])[None, None, None]
            h = jax.nn.relu(h + block["bias"][None, None, None])
            at = jax.nn.relu(at + _conv(h, block["second"]) + block["second_bias"][None, None, None])
            streams[number].append(np.asarray(at).reshape(-1, 6))
    expected = np.mean([np.corrcoef(a.T, b.T)[:6, 6:] for a, b in zip(*streams.values(), strict=True)], 0)
    np.testing.assert_allclose(matching.correlations[stream], expected, atol=1e-12)
    last = match(found, variables, other, [x], sites="last").correlations[stream]
    np.testing.assert_allclose(last, np.corrcoef(*(s[-1].T for s in streams.values()))[:6, 6:], atol=1e-12)
    # the moments of one pass serve every matching of the pair
    moments = cross_moments(found, variables, [other], [x[:2], x[2:]], reads(found, found.channels))[0]
    for sites, wanted in (("all", expected), ("last", last)):
        again = match(found, variables, other, moments=moments, sites=sites)
        np.testing.assert_allclose(again.correlations[stream], wanted, atol=1e-12)
    with pytest.raises(ValueError, match=f"moments hold 1 places of '{stream}', which is read at 3"):
        match(found, variables, other, moments={**moments, stream: moments[stream][:1]})
    with pytest.raises(ValueError, match="give either batches or moments"):
        match(found, variables, other, [x], moments=moments)


def test_moments_in_float32_survive_a_large_mean_and_unequal_batches(convolutional: Case) -> None:
    _, found, variables, x = convolutional
    names = [next(iter(found.channels))]
    places = reads(found, names)
    shifted = {**variables, "stem_bias": variables["stem_bias"] + 3000.0}
    exact = cross_moments(found, shifted, [shifted], [x], places)[0][names[0]]
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), shifted)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), shifted)
    found32 = symmetries(_convolutional, shapes, jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float32))
    batches = [x[:7].astype(jnp.float32), x[7:].astype(jnp.float32)]
    streamed = cross_moments(found32, low, [low], batches, reads(found32, names))[0][names[0]]
    np.testing.assert_allclose(streamed[0].variance_a, exact[0].variance_a, rtol=2e-3)
    np.testing.assert_allclose(correlation(streamed[0]), correlation(exact[0]), atol=2e-3)
    naive = np.mean(np.float32(exact[0].mean_a) ** 2, dtype=np.float32) * np.finfo(np.float32).eps
    assert naive > 2e-3 * exact[0].variance_a.min()  # what E[x^2] - E[x]^2 would lose


def test_positive_scales_of_the_units_change_no_correlation(convolutional: Case) -> None:
    _, found, variables, x = convolutional
    name = next(name for name, one in found.channels.items() if one.size == 6)
    scaling = next(one.name for one in found.channels[name].scalings if one.name.startswith("rescale"))
    s = {name: {scaling: jnp.linspace(-1.0, 1.0, 6)}}
    plain = match(found, variables, variables, [x]).correlations[name]
    scaled = match(found, variables, acting.rescale(s, variables, found.channels), [x]).correlations[name]
    np.testing.assert_allclose(scaled, plain, atol=1e-12)


def test_heads_are_assigned_by_their_insides_and_these_by_orthogonal_matrices_and_signs(attention: Case) -> None:
    apply, found, variables, x = attention
    rng = np.random.default_rng(5)
    plain, other = _permuted(found, variables, 6)
    signed = next(name for name, one in found.channels.items() if one.size == 7)
    signs = {signed: {found.channels[signed].signs[0].name: np.where(rng.random(7) < 0.5, -1.0, 1.0)}}
    other = acting.flip(signs, other, found.channels)
    turned = {
        name: {one.mixings[0].name: np.linalg.qr(rng.standard_normal((3, 2, 2)))[0]}
        for name, one in found.channels.items()
        if one.mixings and one.batch
    }
    assert len(turned) == 2 and any(len(perm) == 3 for perm in plain.values())
    other = acting.mix(turned, other, found.channels)
    np.testing.assert_allclose(apply(other, x), apply(variables, x), atol=1e-12)
    for method in ("activations", "weights"):
        back = aligned(match(found, variables, other, [x], method=method), other)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), back, variables)


def test_an_involution_is_returned_where_it_is_asked_for_with_what_it_costs(convolutional: Case) -> None:
    _, found, variables, x = convolutional
    other = jax.tree.map(lambda leaf: jnp.abs(leaf[..., ::-1]) - 0.3, variables)
    free = match(found, variables, other, [x])
    tied = match(found, variables, other, [x], constraint="involution")
    for name, perm in tied.permutations.items():
        assert np.array_equal(perm[perm], np.arange(len(perm)))
        np.testing.assert_allclose(tied.value[name] + tied.lost[name], free.value[name], rtol=1e-12)
    assert sum(tied.lost.values()) > 0.01


def test_the_middle_of_a_network_and_its_own_order_is_the_network(convolutional: Case) -> None:
    _, found, variables, x = convolutional
    _, other = _permuted(found, variables, 7)
    middle = merge(variables, aligned(match(found, variables, other, [x]), other))
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (middle, variables)), strict=True))
    kept = merge({"count": jnp.array(3), "w": jnp.zeros(2)}, {"count": jnp.array(8), "w": jnp.ones(2)}, 0.25)
    assert kept["count"] == 3 and kept["w"][0] == 0.25


def test_dead_units_are_reported_and_bad_input_is_refused_by_name(convolutional: Case) -> None:
    _, found, variables, x = convolutional
    inner = [name for name, one in found.classes.items() if one.size == 4]
    block = {**variables["blocks"][0], "bias": variables["blocks"][0]["bias"].at[2].set(-1e4)}
    dead = {**variables, "blocks": [block, variables["blocks"][1]]}
    assert match(found, dead, variables, [x]).dead[inner[0]][0].tolist() == [2]
    with pytest.raises(ValueError, match=f"activations of '{next(iter(found.channels))}' are not finite"):
        match(found, variables, {**variables, "stem": variables["stem"] * jnp.nan}, [x])
    with pytest.raises(ValueError, match=r"variables_b is not like the variables traced: stem is \(3, 3\) instead"):
        match(found, variables, {**variables, "stem": variables["stem"][..., 0, 0]}, [x])
    with pytest.raises(ValueError, match="traced with shape"):
        match(found, variables, variables, [x[:, :2]])
    with pytest.raises(ValueError, match="batches holds nothing"):
        match(found, variables, variables, [])
    with pytest.raises(ValueError, match="method is 'guess'"):
        match(found, variables, variables, [x], method="guess")
    with pytest.raises(ValueError, match=r"but those of variables_a are"):
        merge(variables, {**variables, "out": variables["out"][:2]})


def test_what_tracing_refused_is_refused_by_its_primitive_unless_classes_are_named() -> None:
    def apply(v: dict, x: jax.Array) -> jax.Array:
        return jnp.sort(jax.nn.relu(x @ v["a"]) @ v["b"], axis=-1) @ v["c"]

    v = {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 4)), "c": jnp.ones((4, 1))}
    found = symmetries(apply, v, jax.ShapeDtypeStruct((1, 2), float))
    if found.refused:
        with pytest.raises(ValueError, match="could not be followed"):
            match(found, v, v, [jnp.ones((2, 2))])
    assert list(match(found, v, v, [jnp.ones((2, 2))], names=["a"]).permutations) == ["a"]
    linear = symmetries(lambda v, x: jnp.sin(x) * v["w"][None], {"w": jnp.ones(2)}, jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="no hidden units"):
        match(linear, {"w": jnp.ones(2)}, {"w": jnp.ones(2)}, [jnp.ones((1, 2))])


@pytest.mark.slow
def test_matching_layer_after_layer_is_matching_in_one_pass(convolutional: Case) -> None:
    _, found, variables, x = convolutional
    other = _drawn(jax.tree.map(jnp.shape, variables, is_leaf=lambda leaf: hasattr(leaf, "shape")), 11)
    for one in other["blocks"]:
        one["var"] = jnp.abs(one["var"]) + 0.5
    whole = match(found, variables, other, [x]).permutations
    moved = other
    for name in whole:
        step = match(found, variables, moved, [x], names=[name])
        assert np.array_equal(step.permutations[name], whole[name])
        moved = aligned(step, moved)
    again = match(found, variables, moved, [x]).permutations
    assert all(np.array_equal(perm, np.arange(len(perm))) for perm in again.values())


def _normed(variables: Any, x: jax.Array) -> jax.Array:
    """A stream that two LayerNorms read, each with a gain whose signs the kernel behind it absorbs."""
    stream = x @ variables["in"]
    for layer in variables["layers"]:
        centred = stream - stream.mean(-1, keepdims=True)
        units = layer["gain"][None] * centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        stream = stream + jax.nn.gelu((units + layer["shift"][None]) @ layer["reads"]) @ layer["writes"]
    return stream @ variables["out"]


def test_each_layer_norm_of_a_stream_has_signs_of_its_own() -> None:
    rng = np.random.default_rng(11)
    layer = {"gain": (6,), "shift": (6,), "reads": (6, 5), "writes": (5, 6)}
    shapes = {"in": (3, 6), "layers": [layer, layer], "out": (6, 2)}
    variables = jax.tree.map(lambda one: jnp.asarray(rng.normal(size=one)), shapes, is_leaf=lambda s: type(s) is tuple)
    x = jnp.asarray(rng.normal(size=(40, 3)))
    found = symmetries(_normed, variables, x[:1])
    stream, signed = next((name, one.signs[:2]) for name, one in found.channels.items() if one.signs)
    _, other = _permuted(found, variables, 12)
    signs = {sign.name: rng.choice([-1.0, 1.0], 6) for sign in signed}
    other = acting.flip({stream: signs}, other, found.channels)
    np.testing.assert_allclose(_normed(other, x), _normed(variables, x), atol=1e-12)
    for method in ("activations", "weights", "dual"):
        matching = match(found, variables, other, [x], method=method)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12),
            aligned(matching, other),
            jax.tree.map(jnp.asarray, variables),
        )
    assert matching.matched[stream].min() > 1 - 1e-12 and set(matching.signs[stream]) == set(signs)
