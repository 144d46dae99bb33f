"""Records of a run as strict JSON, what differs between two of them, and files that are whole or not there."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
import typing
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


def with_defaults(old: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Fill a recorded configuration with the defaults of the fields that it had not yet; only a dataclass has any.

    >>> @dataclasses.dataclass
    ... class Config:
    ...     seed: int
    ...     width: float = 0.5
    >>> with_defaults({"seed": 3}, Config(0, 1.0))
    {'seed': 3, 'width': 0.5}
    """
    if not dataclasses.is_dataclass(config):
        return dict(old)
    filled = dict(old)
    for field in dataclasses.fields(config):
        now = getattr(config, field.name)
        if field.name in filled:
            if dataclasses.is_dataclass(now) and isinstance(filled[field.name], Mapping):
                filled[field.name] = with_defaults(filled[field.name], now)
        elif field.default is not dataclasses.MISSING:
            filled[field.name] = to_json(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            filled[field.name] = to_json(field.default_factory())
    return filled


def known_to(now: Any, then: Any) -> Any:
    """Keep of a record what an earlier one says anything about: what nobody wrote down cannot be compared.

    >>> known_to({"jax": "1", "settings": {"x64": True, "new": 1}}, {"settings": {"x64": False}})
    {'settings': {'x64': True}}
    """
    if not (isinstance(now, Mapping) and isinstance(then, Mapping)):
        return now
    return {name: known_to(value, then[name]) for name, value in now.items() if name in then}


def to_arrays(value: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Lay a NamedTuple of arrays, or of such NamedTuples, out by name, dots for nested ones."""
    found: dict[str, np.ndarray] = {}
    for name, item in value._asdict().items():
        found |= to_arrays(item, f"{prefix}{name}.") if hasattr(item, "_asdict") else {prefix + name: np.asarray(item)}
    return found


def from_arrays(kind: type, arrays: Mapping[str, np.ndarray], prefix: str = "") -> Any:
    """Put together what :func:`to_arrays` laid out.

    Raises:
        KeyError: an array is missing.
    """
    hints = typing.get_type_hints(kind)
    return kind(
        *(
            from_arrays(hints[name], arrays, f"{prefix}{name}.")
            if hasattr(hints[name], "_fields")
            else arrays[prefix + name]
            for name in kind._fields
        )
    )


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or (prefix and not value):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(_flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat
