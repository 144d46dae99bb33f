"""``metrics.jsonl``: one record a line, written as a run goes along."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from papers.common.records import to_json, write_atomically

NAME = "metrics.jsonl"


class Metrics:
    """The metrics of one run directory, open for appending from the first record on."""

    def __init__(self, directory: Path):
        self._file = directory / NAME
        self._stream: IO[str] | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record, on the disk when the call returns; numbers that are not finite become null."""
        if self._stream is None:
            self._stream = self._file.open("a", encoding="utf-8")
        self._stream.write(json.dumps(to_json(record), allow_nan=False) + "\n")
        self._stream.flush()

    def content(self) -> bytes:
        """All that was written so far."""
        return self._file.read_bytes() if self._file.exists() else b""

    def put_back(self, content: bytes) -> None:
        """Replace everything by what was written up to a checkpoint, before a run goes on from there."""
        self.close()
        write_atomically(self._file, content)

    def close(self) -> None:
        """Let go of the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read the records of a run's ``metrics.jsonl``, up to the first damaged line; none where there is no file."""
    file = Path(path) / NAME
    records: list[dict[str, Any]] = []
    if not file.is_file():
        return records
    for line in file.read_bytes().splitlines(keepends=True):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            break
        # A number cut short by a kill is still a number, so the end of the line is asked for as well.
        if not isinstance(record, dict) or not line.endswith(b"\n"):
            break
        records.append(record)
    return records
