"""Records of a run as strict JSON, what differs between two of them, and files that are whole or not there."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def to_json(value: Any) -> Any:
    """Reduce a value to what strict JSON holds.

    Dataclasses and NamedTuples become objects, arrays lists, paths text, NaN and infinities null.

    >>> to_json({"loss": float("nan"), "shape": (1, np.int64(2)), "out": Path("run")})
    {'loss': None, 'shape': [1, 2], 'out': 'run'}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(to_json(item) for item in value)
    if value is None or isinstance(value, (str, bool)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "__array__"):
        return to_json(np.asarray(value).tolist())
    return str(value)


def dump(value: Any) -> str:
    """Spell a value as strict JSON, indented, with a line end."""
    return json.dumps(to_json(value), indent=2, allow_nan=False) + "\n"


def write_atomically(file: Path, content: bytes) -> Path:
    """Write a file so that a reader, or a kill in between, sees the old content or the new one and nothing else."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files for the owner alone; results are for everybody that the umask allows.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return file


def differences(old: Any, new: Any, ignore: Sequence[str]) -> list[str]:
    """List what differs between two records, as ``field old -> new``; ``ignore`` names fields, dots for nested ones."""
    before, after = _flatten(old), _flatten(new)
    return [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name, "absent") != after.get(name, "absent")
        and not any(name == field or name.startswith(field + ".") for field in ignore)
    ]


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or (prefix and not value):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(_flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat
