"""From a verified source to a memory-mapped cache: records first, then decoded images, each whole or absent."""

import errno
import math
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from papers.common.data import cache
from papers.common.data.recipe import Recipe
from papers.common.data.source import obtain
from papers.common.errors import UserError
from papers.common.paths import user_path


def arrays(recipe: Recipe, data_dir: Path | None, cache_dir: Path | None) -> Mapping[str, np.ndarray]:
    """Open the decoded images, after preparing them when they are absent or damaged.

    The source is looked for only when there is something to prepare: a whole cache needs no `data_dir`. Every byte of
    the cache is compared with its checksum, at the cost that `cache.open_arrays` states.

    Args:
        recipe: of the data set.
        data_dir: where the published archive or its unpacked folder lies; None downloads.
        cache_dir: None is `cache.default_directory()`.

    Returns:
        Read-only memory maps: train_images, test_images uint8 (n, height, width, 3), train_labels, test_labels int32.

    Raises:
        UserError: a source absent or damaged, or a disk that cannot be written; nothing partial is left.
    """
    root = cache_root(cache_dir)
    decoded, records = root / "decoded" / recipe.name, root / "records" / recipe.name
    with writing(root, recipe.name, recipe.archive.remedy):
        for folder in (decoded.parent, records.parent, root / "downloads"):
            cache.remove_abandoned(folder)
        if decoded.exists():
            try:
                return _open(recipe, decoded)
            except cache.Damaged as damage:
                say(f"{damage}; it is prepared again")
                cache.discard(decoded)
        check_room(recipe.name, root, 2 * recipe.archive.size + sum(recipe.counts.values()) * math.prod(recipe.shape))
        if not (records.exists() and _decode_again(recipe, records, decoded)):
            _prepare(recipe, data_dir, root, records, decoded)
        return _open(recipe, decoded)


def cache_root(cache_dir: Path | None) -> Path:
    """Return the directory that holds everything prepared."""
    return cache.default_directory() if cache_dir is None else user_path(cache_dir)


@contextmanager
def writing(root: Path, name: str, remedy: str) -> Iterator[None]:
    """Turn what goes wrong with the cache, and only that, into one sentence; a source's errors are sentences.

    Raises:
        UserError: the cache cannot be written or read back.
    """
    try:
        yield
    except (OSError, cache.Damaged) as error:
        raise UserError(
            f"{name} could not be prepared in {root} ({getattr(error, 'strerror', None) or error}); make room or name "
            f"another directory by --cache-dir or SYMJAX_PAPERS_CACHE, then {remedy}"
        ) from error


def check_room(name: str, root: Path, needed: int) -> None:
    """Refuse a disk without room: writing a memory map on a full disk kills the process by SIGBUS.

    Raises:
        UserError: less than `needed` bytes are free.
    """
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"{root} has {free:,} bytes free, but preparing {name} needs {needed:,}: make room, or name another "
            f"directory by --cache-dir or SYMJAX_PAPERS_CACHE"
        )


def _open(recipe: Recipe, directory: Path) -> Mapping[str, np.ndarray]:
    opened = cache.open_arrays(directory)
    for split, count in recipe.counts.items():
        for name, shape in ((f"{split}_images", (count, *recipe.shape)), (f"{split}_labels", (count,))):
            if name not in opened or opened[name].shape != shape:
                raise cache.Damaged(f"{directory} holds no {name} of shape {shape}")
    return opened


def _prepare(recipe: Recipe, data_dir: Path | None, root: Path, records: Path, decoded: Path) -> None:
    from papers.common.data import builders

    start, downloads = time.monotonic(), root / "downloads"
    members = obtain(recipe.archive, data_dir, downloads)
    recipe.verify(members)
    say(f"{recipe.name}: preparing {sum(recipe.counts.values()):,} images, once, in {root}")
    try:
        with cache.whole_directory(records) as directory:
            builders.write_records(recipe, members, directory)
        _decode(recipe, records, decoded, members.path)
    except BaseException:
        cache.discard(records)
        raise
    if data_dir is None:
        (downloads / recipe.archive.file).unlink(missing_ok=True)  # the records hold all of it
    say(f"{recipe.name}: prepared in {time.monotonic() - start:.0f} s")


def _decode_again(recipe: Recipe, records: Path, decoded: Path) -> bool:
    # Whatever array_record or its index raises on damage, the answer is the same: begin with the source.
    say(f"{recipe.name}: decoding {sum(recipe.counts.values()):,} images from {records}")
    try:
        _decode(recipe, records, decoded, records)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # the records are not to blame
        say(f"{records} cannot be read ({error}); it is prepared again")
        cache.discard(records)
        return False
    return True


def _decode(recipe: Recipe, records: Path, decoded: Path, origin: Path) -> None:
    from papers.common.data import builders

    with cache.whole_directory(decoded) as directory:
        made = {}
        for split, count in recipe.counts.items():
            images = cache.create(directory, f"{split}_images", (count, *recipe.shape), np.uint8)
            labels = cache.create(directory, f"{split}_labels", (count,), np.int32)
            for index, record in enumerate(builders.read_records(recipe, records, split)):
                try:
                    images[index] = recipe.decode(record["image"])
                except (OSError, ValueError) as error:
                    raise UserError(
                        f"{origin} is damaged: {_text(record['member'])} is no image ({error}); {recipe.archive.remedy}"
                    ) from error
                labels[index] = record["label"]
            made |= {f"{split}_images": images, f"{split}_labels": labels}
        if wrong := recipe.check(made):
            raise UserError(f"{origin} is not the published set: {wrong}; {recipe.archive.remedy}")
        cache.seal(directory, made)


def _text(member: bytes | str) -> str:
    return member.decode() if isinstance(member, bytes) else member


def say(line: str) -> None:
    """Print one line about what takes a while."""
    print(line, file=sys.stderr, flush=True)
