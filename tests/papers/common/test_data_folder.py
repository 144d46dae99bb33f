"""A data set from a folder of images: every layout that people have, as an independent reading has it, or refused."""

import os
import shlex
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from papers.common import cli
from papers.common.data import fingerprint, load
from papers.common.data.__main__ import Config, entry
from papers.common.errors import UserError
from papers.noether.networks.config import TrainConfig

SIDE, CLASSES = 12, ("ant", "bee", "cat")


def picture(seed, shape=(SIDE, SIDE, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(root, splits, per_class=5, suffix=".png", **options):
    """Write PNGs; return split -> the images, class after class."""
    written, seed = {}, 0
    for split in splits:
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for index in range(per_class):
                image = picture(seed, **options)
                Image.fromarray(image).save(root / split / name / f"{index}{suffix}")
                written.setdefault(split, []).append(image)
                seed += 1
    return {split: np.array(images) for split, images in written.items()}


def read(root, tmp_path, **options):
    return load("folder", data_dir=root, cache_dir=tmp_path / "cache", **options)


@pytest.mark.parametrize("test", ["test", "val"])
def test_train_and_test_folders(tmp_path, test):
    written = write(tmp_path / "mine", ("train", test))
    dataset = read(tmp_path / "mine", tmp_path)
    np.testing.assert_array_equal(dataset.train.images, written["train"])
    np.testing.assert_array_equal(dataset.test.images, written[test])
    for split in (dataset.train, dataset.test):
        np.testing.assert_array_equal(split.labels, np.repeat([0, 1, 2], 5))
        assert split.labels.dtype == np.int32 and split.images.dtype == np.uint8
    scaled = written["train"].reshape(-1, 3) / 255
    np.testing.assert_allclose(dataset.mean, scaled.mean(0), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, scaled.std(0), rtol=1e-12)
    assert (dataset.classes, dataset.scale, dataset.name) == (3, 255.0, "folder")


def test_a_folder_that_is_not_split_is_split_the_same_every_time(tmp_path):
    written = write(tmp_path / "mine", ("",), per_class=10)[""]
    dataset = read(tmp_path / "mine", tmp_path)
    np.testing.assert_array_equal(np.bincount(dataset.train.labels), [8, 8, 8])
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [2, 2, 2])
    every = np.concatenate([dataset.train.images, dataset.test.images])
    assert sorted(map(bytes, every)) == sorted(map(bytes, written))
    again = load("folder", data_dir=tmp_path / "mine", cache_dir=tmp_path / "another")
    assert fingerprint(again) == fingerprint(dataset)


def test_prepared_once_and_again_when_a_file_changes(tmp_path, capsys):
    root = tmp_path / "mine"
    write(root, ("train", "test"))
    first = fingerprint(read(root, tmp_path))
    assert "decoding 30 images of 3 classes" in capsys.readouterr().err
    assert fingerprint(read(root, tmp_path)) == first and capsys.readouterr().err == ""
    Image.fromarray(picture(99)).save(root / "train" / "bee" / "0.png")
    assert fingerprint(read(root, tmp_path)) != first and "decoding" in capsys.readouterr().err
    assert len(list((tmp_path / "cache" / "decoded").iterdir())) == 1  # what the folder was before is not kept


def test_a_flipped_bit_in_the_cache_is_mended(tmp_path, capsys):
    root = tmp_path / "mine"
    write(root, ("train", "test"))
    first = fingerprint(read(root, tmp_path))
    (path,) = (tmp_path / "cache" / "decoded").glob("*/train_labels.npy")
    content = bytearray(path.read_bytes())
    content[-4] ^= 1 << 7
    path.write_bytes(content)
    assert fingerprint(read(root, tmp_path)) == first and "CRC-32" in capsys.readouterr().err


@pytest.mark.parametrize("spelling", ["plain", "dot", "symlink", "nested", "tilde", "relative", "within"])
def test_spellings_of_one_folder(tmp_path, monkeypatch, spelling):
    root = tmp_path / "mine"
    write(root, ("train", "test"))
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "nest" / "in").mkdir(parents=True)
    (tmp_path / "nest" / "in" / "mine").symlink_to(root)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(root if spelling == "dot" else tmp_path)
    places = {"plain": root, "dot": ".", "symlink": "link", "nested": "nest", "tilde": "~/mine", "relative": "mine"}
    place = places.get(spelling, root / "train" / "..")
    assert len(read(place, tmp_path).train.labels) == 15


def test_what_lies_beside_the_images_is_passed_over(tmp_path):
    root = tmp_path / "mine"
    written = write(root, ("train", "test"))
    for name in ("readme.txt", "train/.DS_Store", "train/ant/._0.png", "train/ant/notes.md"):
        (root / name).write_text("not an image")
    (root / ".git").mkdir()
    (root / "train" / "bee" / "deep").mkdir()
    (root / "train" / "bee" / "0.png").rename(root / "train" / "bee" / "deep" / "0.PNG")
    dataset = read(root, tmp_path)
    assert sorted(map(bytes, dataset.train.images)) == sorted(map(bytes, written["train"]))


def test_kinds_of_images(tmp_path):
    """Grey, with a palette, transparent, and JPEG under the name of PNG: three channels of 8 bits each."""
    root = tmp_path / "mine"
    write(root, ("train", "test"))
    image = Image.fromarray(picture(7))
    for index, mode in enumerate(("L", "P", "RGBA", "1")):
        image.convert(mode).save(root / "train" / "ant" / f"{index}.png")
    image.save(root / "train" / "ant" / "4.png", "JPEG")
    dataset = read(root, tmp_path)
    grey = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(dataset.train.images[0], np.repeat(grey[..., None], 3, -1))
    np.testing.assert_array_equal(dataset.train.images[2], picture(7))
    np.testing.assert_array_equal(dataset.train.images[4], np.asarray(Image.open(root / "train/ant/4.png")))


def test_sizes(tmp_path):
    """Blocks are averaged; what is not square loses its ends."""
    root = tmp_path / "mine"
    written = write(root, ("train", "test"), shape=(32, 48, 3))
    with pytest.raises(UserError, match="48 x 32 pixels: give --size"):
        read(root, tmp_path)
    dataset = read(root, tmp_path, size=8)
    blocks = written["train"][:, :, 8:40].reshape(-1, 8, 4, 8, 4, 3).astype(float).mean((2, 4))
    np.testing.assert_array_equal(dataset.train.images, np.floor(blocks + 0.5))
    for size in (7, 513, 10**12):
        with pytest.raises(UserError, match=f"size is {size}, but must be"):
            read(root, tmp_path, size=size)


def test_selections_are_refused_before_anything_is_decoded(tmp_path):
    root = tmp_path / "mine"
    write(root, ("train", "test"))
    for options, said in (
        ({"classes": 4}, "classes is 4, but must be 2 to 3"),
        ({"batch_size": 16}, "at most 15"),
        ({"classes": 2, "batch_size": 11}, "at most 10"),
        ({"limit": 10**12}, "limit is"),
    ):
        with pytest.raises(UserError, match=said):
            read(root, tmp_path, **options)
    assert not (tmp_path / "cache").exists()
    assert np.bincount(read(root, tmp_path, classes=2, limit=4).train.labels).tolist() == [2, 2]


def png_of(width, height):
    """A PNG of a few bytes whose header claims a size."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def damage_one(root, kind):
    path = root / "train" / "bee" / "3.png"
    whole = path.read_bytes()
    path.unlink()
    if kind == "bomb":
        path.write_bytes(png_of(20_000, 20_000))
    elif kind == "large":
        path.write_bytes(png_of(9_000, 9_000))
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(20 << 30)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(root / "absent")
    elif kind == "16 bit":
        Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 300).save(path)
    elif kind == "another size":
        Image.fromarray(picture(0, (SIDE + 1, SIDE, 3))).save(path)
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no image", "empty": b"", "gif": b"GIF89a"}[kind])


@pytest.mark.parametrize(
    "kind",
    ["bomb", "large", "sparse", "pipe", "folder", "loop", "dangling", "16 bit", "cut", "text", "empty", "gif"],
)
def test_what_is_no_image_is_named_and_nothing_is_left(tmp_path, kind):
    root = tmp_path / "mine"
    write(root, ("train", "test"))
    damage_one(root, kind)
    with pytest.raises(UserError) as error:
        read(root, tmp_path)
    text = str(error.value)
    assert os.path.join("train", "bee", "3.png") in text and "\n" not in text and "cache" not in text.split("3.png")[1]
    assert not [path for path in tmp_path.glob("cache/**/*") if path.is_file() or path.name.startswith(".")]


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ((), "holds 0 folders"),
        (("a/0.png",), "holds 1 folders"),
        (("a/0.png", "b/0.txt"), "no training image of the class b"),
        (("a/0.png", "b/0.png"), "no test image"),
        (("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/c/0.png"), "has the class c"),
        (("train/a/0.png", "train/b/0.png", "val/images/0.png"), "a --data of its own"),
        (("train/a/0.png", "train/b/0.png", "test/0.png"), "no test image"),
    ],
)
def test_other_layouts_are_refused(tmp_path, layout, said):
    root = tmp_path / "mine"
    root.mkdir()
    for name in layout:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(0)).save(root / name, "PNG")
    with pytest.raises(UserError, match=said) as error:
        read(root, tmp_path)
    assert "\n" not in str(error.value)


def test_without_a_folder():
    with pytest.raises(UserError, match="--data-dir is None, but must be the folder of the images"):
        load("folder")


def test_the_command_prepares_it_and_says_what_to_do_next(tmp_path, capsys):
    write(tmp_path / "mine", ("train", "test"))
    argv = ["--dataset", "folder", "--data-dir", str(tmp_path / "mine"), "--cache-dir", str(tmp_path / "cache")]
    assert cli.main(entry, Config, "prog", argv=argv) == 0
    out = capsys.readouterr().out
    assert "folder train: 15 images of 12 x 12 in 3 classes" in out
    last = out.splitlines()[-1]
    assert last.startswith("next, train on it: python -m papers.noether.train --data folder --data-dir ")
    given = cli.parse(TrainConfig, "prog", argv=shlex.split(last.partition(": ")[2])[3:])
    assert (given.data, given.data_dir, given.cache_dir) == ("folder", tmp_path / "mine", tmp_path / "cache")
