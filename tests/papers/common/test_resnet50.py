"""ResNet-50 in its two published layouts, flips at 224 and 225, and the readers of its weights."""

import functools
import io
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.errors import UserError
from papers.common.models import ResNet50, initialise
from papers.common.models.pretrained import read_resnet50
from papers.common.models.resnet50 import keras_names, torchvision_names
from symjax.equivariance import broken, commutation_error, exact_sizes, find_spatial, flip_group

WIDTH = 1 / 64


@functools.cache
def _named(layout: str) -> tuple[ResNet50, dict[str, Any], dict[str, np.ndarray]]:
    """A narrow network, its variables with no entry at its initial value, and these under their published names."""
    model = ResNet50(5, WIDTH, layout)
    variables = initialise(model, 0, (33, 33, 3))
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: (leaf + random.uniform(0, 0.5, leaf.shape)).astype(np.float32), variables)
    name_of = torchvision_names if layout == "torchvision" else keras_names
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        leaf = leaf.transpose(3, 2, 0, 1) if layout == "torchvision" and leaf.ndim == 4 else leaf
        leaf = leaf.T if layout == "torchvision" and leaf.ndim == 2 else leaf
        arrays[name_of(tuple(entry.key for entry in path))] = np.ascontiguousarray(leaf)
    return model, variables, arrays


def named(layout: str) -> tuple[ResNet50, dict[str, Any], dict[str, np.ndarray]]:
    """The same with a dict of arrays of one's own."""
    model, variables, arrays = _named(layout)
    return model, variables, dict(arrays)


def test_the_published_sizes_and_names() -> None:
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    model = ResNet50()
    shapes = jax.eval_shape(lambda key, x: model.init(key, x), jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 25_557_032  # torchvision's
    # the width of torchvision's first shortcut, the stride of its second stage
    assert torchvision_names(("params", "short1_1", "kernel")) == "layer1.0.downsample.0.weight"
    assert torchvision_names(("batch_stats", "norm4_3_2", "var")) == "layer4.2.bn2.running_var"
    assert keras_names(("params", "norm2_4_3", "bias")) == "bn3d_branch2c/beta"
    layout = find_spatial(model.apply, shapes, image)
    first = broken(layout, flip_group())[0]
    assert "stem" in first.source and first.why == "width 224, window 7, stride 2, padding 3: (224 + 6 - 7) mod 2 = 1"
    assert exact_sizes(model.apply, shapes, image, flip_group()) == (193, 225)


def test_keras_weights_are_read_and_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    _, variables, arrays = named("keras")
    np.savez(tmp_path / "weights.npz", **arrays)
    found = read_resnet50(tmp_path / "weights.npz")
    assert found.model == ResNet50(5, WIDTH, "keras") and found.preparation.reverse
    assert jax.tree.all(jax.tree.map(np.array_equal, found.variables, variables))

    arrays["res2a_branch1/kernel"] = arrays["res2a_branch1/kernel"][..., 0]
    arrays["more"] = arrays.pop("bn2a_branch1/beta")
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(UserError, match=r"branch1/beta is missing; more is not of .*kernel has shape \(1, 1, 1\), not"):
        read_resnet50(tmp_path / "wrong.npz")


def test_a_pickle_is_refused_and_so_is_what_is_no_resnet(tmp_path: Path) -> None:
    (tmp_path / "resnet50.pth").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="is a pickle"):
        read_resnet50(tmp_path / "resnet50.pth")
    with pytest.raises(UserError, match="is no file"):
        read_resnet50(tmp_path / "absent.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(UserError, match="has no array conv1/kernel"):
        read_resnet50(tmp_path / "other.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="no readable npz"):
        read_resnet50(tmp_path / "broken.npz")


def _whole(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_a_damaged_file_and_arrays_of_another_kind_are_one_sentence(tmp_path: Path) -> None:
    _, _, arrays = named("keras")
    stem, whole = arrays["conv1/kernel"], _whole(arrays)
    npy = io.BytesIO()
    np.save(npy, stem)
    turned = bytearray(whole)
    turned[len(whole) // 2] ^= 255
    places = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "short": whole[:-5],
        "npy": npy.getvalue(),
        "turned": turned,
    }
    for name, content in places.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.npz is no readable npz of arrays"):
            read_resnet50(tmp_path / f"{name}.npz")
    for name, instead, message in (
        ("object", np.array([None]), "no readable npz"),
        ("scalar", np.float32(1), r"conv1/kernel has shape \(\), not 4 axes"),
        ("narrow", stem[..., :0], r"conv1/kernel has shape \(7, 7, 3, 0\), not 4 axes"),
        ("integers", np.ones(stem.shape, int), "conv1/kernel holds int64, not floating-point numbers"),
        ("infinite", np.full(stem.shape, 1e300), "conv1/kernel is not finite"),
    ):
        (tmp_path / f"{name}.npz").write_bytes(_whole(arrays | {"conv1/kernel": instead}))
        with pytest.raises(UserError, match=message):
            read_resnet50(tmp_path / f"{name}.npz")


def test_torchvision_weights_are_read(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed: it is the extra pretrained")
    _, variables, arrays = named("torchvision")
    counted = arrays | {"bn1.num_batches_tracked": np.array(7)}
    numpy.save_file(counted, tmp_path / "weights.safetensors")
    found = read_resnet50(tmp_path / "weights.safetensors")
    assert found.model == ResNet50(5, WIDTH, "torchvision") and not found.preparation.reverse
    assert jax.tree.all(jax.tree.map(np.array_equal, found.variables, variables))
    whole = (tmp_path / "weights.safetensors").read_bytes()
    for size in (0, 3, 100, len(whole) - 1):
        (tmp_path / "broken.safetensors").write_bytes(whole[:size])
        with pytest.raises(UserError, match="no readable safetensors"):
            read_resnet50(tmp_path / "broken.safetensors")
    arrays["layer1.0.conv1.weight"] = arrays["layer1.0.conv1.weight"][:, :, 0]
    arrays["more"] = arrays.pop("layer1.0.bn1.bias")
    numpy.save_file(arrays, tmp_path / "wrong.safetensors")
    wrong = r"bn1.bias is missing; more is not of the network; .*conv1.weight has shape \(1, 1, 1\), not \(1, 1, 1, 1\)"
    with pytest.raises(UserError, match=wrong):
        read_resnet50(tmp_path / "wrong.safetensors")


@pytest.mark.slow  # compiles the network three times
@pytest.mark.parametrize("kind", ["torchvision", "keras"])
def test_the_flip_is_exact_at_33_and_not_at_32(kind: str) -> None:
    model, variables, _ = named(kind)
    random = np.random.default_rng(0)
    for size, exact in ((33, True), (32, False)):
        x = jnp.asarray(random.normal(size=(2, size, size, 3)), jnp.float32)
        layout = find_spatial(model.apply, variables, x)
        with jax.enable_x64(True):
            error = commutation_error(variables, x, layout, flip_group(), dtype=jnp.float64)[1]
        assert error < 1e-12 if exact else error > 1e-3
