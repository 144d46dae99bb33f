"""Normalisation and augmentation against NumPy: every crop is found among all crops, padding is raw zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.data import Dataset, Split, augment, load, normalise


def toy(scale=255.0):
    nothing = Split(np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0,), np.int32))
    return Dataset("toy", nothing, nothing, 2, scale, (0.480, 0.448, 0.397), (0.276, 0.269, 0.282), "crop_flip")


def images(count=64, height=12, width=10, seed=0):
    # no zero pixel, so that padding is recognised, and no two crops are the same
    return np.random.default_rng(seed).integers(1, 256, (count, height, width, 3), dtype=np.uint8)


def all_crops(image):
    """Every possible result: {(row, column, mirrored): image}."""
    height, width, _ = image.shape
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    crops = {(r, c, 0): padded[r : r + height, c : c + width] for r in range(9) for c in range(9)}
    return crops | {(r, c, 1): crop[:, ::-1] for (r, c, _), crop in crops.items()}


def places(before, after):
    """Where each augmented image was cropped; fails when it is no crop of its original."""
    found = []
    for original, result in zip(before, np.asarray(after), strict=True):
        found.append([place for place, crop in all_crops(original).items() if np.array_equal(crop, result)])
        assert len(found[-1]) == 1
    return np.array(found)[:, 0]


def test_every_image_is_a_crop_or_its_mirror_image():
    x = images()
    y = augment(jax.random.key(0), x, "crop_flip")
    assert y.dtype == jnp.uint8 and y.shape == x.shape
    assert len({tuple(place) for place in places(x, y)}) > 40  # each image has its own


def test_offsets_and_mirrors_are_uniform_and_independent():
    x = np.repeat(images(1, 9, 9), 8100, axis=0)
    lookup = {crop.tobytes(): place for place, crop in all_crops(x[0]).items()}
    y = np.asarray(augment(jax.random.key(1), x, "crop_flip"))
    row, column, mirrored = np.array([lookup[result.tobytes()] for result in y]).T
    counts = np.bincount(row * 9 + column, minlength=81)
    chi_squared = ((counts - 100.0) ** 2 / 100.0).sum()
    assert chi_squared < 80 + 5 * np.sqrt(160)  # 80 degrees of freedom, five standard deviations
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / np.sqrt(8100)
    for one, other in ((row, column), (row, mirrored), (column, mirrored)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(8100)


def test_key_decides_everything():
    x = images()
    first = augment(jax.random.key(3), x, "crop_flip")
    assert np.array_equal(first, augment(jax.random.key(3), x, "crop_flip"))
    assert not np.array_equal(first, augment(jax.random.key(4), x, "crop_flip"))


def test_none_returns_the_images():
    x = images()
    assert np.array_equal(augment(jax.random.key(0), x, "none"), x)


def test_a_crop_or_a_mirror_image_alone():
    x = images()
    assert not places(x, augment(jax.random.key(0), x, "crop"))[:, 2].any()
    mirrored = places(x, augment(jax.random.key(0), x, "flip"))
    assert (mirrored[:, :2] == 4).all() and 0 < mirrored[:, 2].mean() < 1


def test_unknown_augmentation_is_refused():
    with pytest.raises(ValueError, match="'mixup'"):
        augment(jax.random.key(0), images(), "mixup")


def test_inside_jit_scan_and_vmap():
    x = jnp.asarray(images(16))
    keys = jax.random.split(jax.random.key(5), 3)
    one_by_one = np.stack([augment(key, x, "crop_flip") for key in keys])
    _, scanned = jax.jit(lambda k: jax.lax.scan(lambda carry, key: (carry, augment(key, x, "crop_flip")), 0, k))(keys)
    mapped = jax.vmap(lambda key: augment(key, x, "crop_flip"))(keys)
    assert np.array_equal(one_by_one, scanned) and np.array_equal(one_by_one, mapped)


@pytest.mark.parametrize("scale", [255.0, 16.0])
def test_normalise_is_the_formula(scale):
    dataset, x = toy(scale), images()
    expected = (x.astype(np.float64) / scale - np.array(dataset.mean)) / np.array(dataset.std)
    y = normalise(x, dataset)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    np.testing.assert_allclose(jax.jit(lambda x: normalise(x, dataset))(x), y, rtol=0, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(lambda x: normalise(x, dataset))(x), y, rtol=0, atol=1e-5)


def test_normalise_in_bfloat16_rounds_the_float32_result():
    dataset, x = toy(), images()
    y = normalise(x, dataset, jnp.bfloat16)
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(normalise(x, dataset))
    assert np.all(np.abs(np.asarray(y, np.float32) - exact) <= 2**-8 * np.abs(exact) + 1e-7)


def test_normalise_in_float64():
    dataset, x = toy(), images()
    with jax.enable_x64(True):
        y = np.asarray(normalise(x, dataset, jnp.float64))
    expected = (x / 255 - np.array(dataset.mean)) / np.array(dataset.std)
    np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-14)


def test_padding_is_minus_mean_over_std():
    dataset, x = toy(), images(64, 12, 12)
    y = augment(jax.random.key(0), x, "crop_flip")
    padding = np.all(np.asarray(y) == 0, axis=-1)
    assert padding.any()
    outside = np.asarray(normalise(y, dataset))[padding]
    expected = -np.array(dataset.mean) / np.array(dataset.std)
    np.testing.assert_allclose(outside, np.broadcast_to(expected, outside.shape), rtol=1e-6)


def test_digits_reach_the_network_in_the_unit_interval():
    digits = load("digits", limit=50)
    y = np.asarray(normalise(digits.train.images, digits))
    assert y.min() == 0.0 and y.max() == 1.0


def test_turns_and_mirrors_are_uniform_over_the_square_and_padding_turns_with_the_image():
    x = np.repeat(images(1, 9, 9), 1600, axis=0)
    square = [np.rot90(one, k) for one in (x[0], x[0][:, ::-1]) for k in range(4)]
    y = np.asarray(augment(jax.random.key(2), x, "turn_flip"))
    counts = np.array([(y == one).all((1, 2, 3)).sum() for one in square])
    assert counts.sum() == 1600 and ((counts - 200.0) ** 2 / 200.0).sum() < 7 + 5 * np.sqrt(14)
    crops = {np.rot90(crop, k).tobytes() for crop in all_crops(x[0]).values() for k in range(4)}
    assert all(result.tobytes() in crops for result in np.asarray(augment(jax.random.key(3), x[:50], "crop_turn_flip")))
    with pytest.raises(ValueError, match="12x10, but only square"):
        augment(jax.random.key(0), images(), "turn")
