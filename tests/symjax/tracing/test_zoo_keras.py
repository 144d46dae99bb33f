"""Architectures of keras.applications, written by nobody here: everything traced, nothing refused, nothing wrong."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "zoo_keras.py"
SCALINGS = {
    "VGG16": 12_416,  # its hidden channels and units
    "ResNet50": 64_576,
    "MobileNetV2": 34_824,
    "MobileNetV3Small": 13_264,
    "ConvNeXtTiny": 14_711,
}
"""Dimension of the positive scalings; of VGG16 by hand, of the others by an independent prototype of the analysis."""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed (extra `zoo`)")
def test_five_architectures(tmp_path):
    out = tmp_path / "zoo.json"
    subprocess.run([sys.executable, BENCHMARK, *SCALINGS, "--out", out], check=True, capture_output=True)
    rows = {row["model"]: row for row in json.loads(out.read_text())}
    assert {name: row["scalings"] for name, row in rows.items()} == SCALINGS
    for row in rows.values():
        assert not row["refused"] and not row["dropped"]
        assert row["error"] < 1e-10 and row["sensitivity"] > 1e-4 and row["spread"] > 1e-4
