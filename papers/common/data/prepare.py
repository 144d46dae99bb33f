"""From a verified source to a memory-mapped cache: records first, then decoded images, each whole or absent."""

import errno
import math
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from papers.common.data import cache
from papers.common.data.recipe import Recipe
from papers.common.data.source import obtain
from papers.common.errors import UserError


def arrays(
    recipe: Recipe, data_dir: Path | None, cache_dir: Path | None, check: bool = False
) -> Mapping[str, np.ndarray]:
    """Open the decoded images, after preparing them when they are absent or damaged.

    The source is looked for only when there is something to prepare: a whole cache needs no `data_dir`.

    Args:
        recipe: of the data set.
        data_dir: where the published archive or its unpacked folder lies; None downloads.
        cache_dir: None is `cache.default_directory()`.
        check: compare every byte of the cache with its checksum.

    Returns:
        Read-only memory maps: train_images, test_images uint8 (n, height, width, 3), train_labels, test_labels int32.

    Raises:
        UserError: a source absent or damaged, or a disk that cannot be written; nothing partial is left.
    """
    root = cache.default_directory() if cache_dir is None else Path(cache_dir).expanduser()
    decoded, records = root / "decoded" / recipe.name, root / "records" / recipe.name
    if decoded.exists():
        try:
            return _open(recipe, decoded, check)
        except cache.Damaged as damage:
            _say(f"{damage}; it is prepared again")
            _remove(decoded)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _check_room(recipe, root)
        if not (records.exists() and _decode_again(recipe, records, decoded)):
            _prepare(recipe, data_dir, root, records, decoded)
        return _open(recipe, decoded, check)
    except (OSError, cache.Damaged) as error:
        raise UserError(
            f"{recipe.name} could not be prepared in {root} ({error}); make room or name another directory "
            f"by SYMJAX_PAPERS_CACHE, then {recipe.archive.remedy}"
        ) from error


def _check_room(recipe: Recipe, root: Path) -> None:
    # Writing a memory map on a full disk kills the process by SIGBUS, so room is made sure of before.
    needed = 2 * recipe.archive.size + sum(recipe.counts.values()) * math.prod(recipe.shape)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"{root} has {free:,} bytes free, but preparing {recipe.name} needs {needed:,}: make room, or name another "
            f"directory by SYMJAX_PAPERS_CACHE"
        )


def _open(recipe: Recipe, directory: Path, check: bool) -> Mapping[str, np.ndarray]:
    opened = cache.open_arrays(directory, check)
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
    _say(f"{recipe.name}: preparing {sum(recipe.counts.values()):,} images, once, in {root}")
    try:
        with cache.whole_directory(records) as directory:
            builders.write_records(recipe, members, directory)
        _decode(recipe, records, decoded, members.path)
    except BaseException:
        _remove(records)
        raise
    if data_dir is None:
        (downloads / recipe.archive.file).unlink(missing_ok=True)  # the records hold all of it
    _say(f"{recipe.name}: prepared in {time.monotonic() - start:.0f} s")


def _decode_again(recipe: Recipe, records: Path, decoded: Path) -> bool:
    # Whatever array_record or its index raises on damage, the answer is the same: begin with the source.
    _say(f"{recipe.name}: decoding {sum(recipe.counts.values()):,} images from {records}")
    try:
        _decode(recipe, records, decoded, records)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # the records are not to blame
        _say(f"{records} cannot be read ({error}); it is prepared again")
        _remove(records)
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
                        f"{origin} is damaged: {_text(record['member'])} is no image ({error}); remove it and "
                        f"{recipe.archive.remedy}"
                    ) from error
                labels[index] = record["label"]
            made |= {f"{split}_images": images, f"{split}_labels": labels}
        if wrong := recipe.check(made):
            raise UserError(f"{origin} is not the published set: {wrong}; remove it and {recipe.archive.remedy}")
        cache.seal(directory, made)


def _text(member: bytes | str) -> str:
    return member.decode() if isinstance(member, bytes) else member


def _remove(directory: Path) -> None:
    if directory.exists():
        cache.discard(directory)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
