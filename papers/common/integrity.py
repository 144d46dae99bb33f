"""What a run reads back is proven whole and its own: one kind of record for everything that is read.

A record is JSON with the SHA-256 of its own content and an *identity*: the random id of the run that wrote it, the
step, whatever the file must belong to. A file of arrays carries its record inside; a finished run has one record
(``finished.json``) of every file beside it. Whatever is wrong with what is read (a damaged zip, a missing key, another
length, another run's, NaN where there was a number, no JSON at all) ends as one exception with one reason.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from papers.common.records import dump, to_json, write_atomically

INSIDE = "record"
"""Name of the entry of an npz that holds its record."""


class Damaged(Exception):
    """What was read is not what was written, or not by whom it should be; the message is the reason."""


def seal(body: Mapping[str, Any]) -> bytes:
    """Spell a record as JSON with the SHA-256 of its content.

    >>> open_seal(seal({"run": "a", "step": 3}), run="a")
    {'run': 'a', 'step': 3}
    """
    plain = to_json(body)
    return dump({**plain, "sha256": _checksum(plain)}).encode()


def open_seal(content: bytes, **identity: Any) -> dict[str, Any]:
    """Read a sealed record.

    Args:
        content: as :func:`seal` spelt it.
        **identity: entries the record must have, with their values.

    Returns:
        The record without its checksum.

    Raises:
        Damaged: no such record, or changed since, or of another identity.
    """
    try:
        body = json.loads(content)
        checksum = body.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged("it is no record with a checksum") from None
    if checksum != _checksum(body):
        raise Damaged("its checksum is not that of its content")
    _compare(body, identity)
    return body


def write_arrays(file: Path, arrays: Mapping[str, Any], **identity: Any) -> Path:
    """Write arrays as an npz with their record inside, whole or not at all.

    Args:
        file: the npz; its folder exists.
        arrays: arrays of numbers or text by name; none is called ``record``.
        **identity: what the file belongs to.

    Raises:
        ValueError: for an array of objects, or one called ``record``.
    """
    plain = {name: np.asarray(value) for name, value in arrays.items()}
    if INSIDE in plain or any(array.dtype.hasobject for array in plain.values()):
        raise ValueError(f"arrays must hold numbers or text, and none be called {INSIDE!r}: {', '.join(plain)}")
    record = seal({**identity, "arrays": {name: digest(array) for name, array in plain.items()}})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **plain, **{INSIDE: np.frombuffer(record, np.uint8)})
    return write_atomically(file, buffer.getvalue())


def read_arrays(file: Path, **identity: Any) -> dict[str, np.ndarray]:
    """Read what :func:`write_arrays` wrote.

    Raises:
        Damaged: whatever is wrong with it, or another identity.
    """
    arrays = load_npz(read_bytes(file))
    if INSIDE not in arrays:
        raise Damaged("it has no integrity record")
    record = open_seal(arrays.pop(INSIDE).tobytes(), **identity)
    if {name: digest(array) for name, array in arrays.items()} != record.get("arrays"):
        raise Damaged("its arrays are not those of its record")
    return arrays


def load_npz(content: bytes) -> dict[str, np.ndarray]:
    """Read every array of an npz.

    Raises:
        Damaged: it cannot be read.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile, zlib, struct and NumPy report damage by a dozen types of error
        raise Damaged(f"it cannot be read ({type(error).__name__})") from error


def read_bytes(file: Path) -> bytes:
    """Read a regular file; anything else, which could block for ever, is as good as absent.

    Raises:
        Damaged: it is not there, is no file, or cannot be read.
    """
    try:
        if not file.is_file():
            raise Damaged("it is absent or no file")
        return file.read_bytes()
    except OSError as error:
        raise Damaged(f"it cannot be read ({error.strerror})") from None


def digest(array: Any) -> str:
    """SHA-256 of an array's dtype, shape and bytes."""
    array = np.asarray(array)
    found = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.size else b"")
    return found.hexdigest()


def file_digest(content: bytes) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def _compare(body: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    for name, wanted in to_json(identity).items():
        if body.get(name) != wanted:
            raise Damaged(f"its {name} is {body.get(name)}, not {wanted}")


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
