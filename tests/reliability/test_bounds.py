"""No count is without an upper bound and no number may be infinite, in any option of any command."""

import dataclasses
import importlib
import math
import re
import typing
from pathlib import Path

import pytest

import papers
from papers.common.errors import UserError
from papers.common.flags import bare, members, options

ROOT = Path(papers.__file__).parents[1]


def configurations():
    """Command -> the dataclass of its configuration."""
    for path in sorted((ROOT / "papers").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        named = re.search(r"^    main\(entry, (\w+),", text, re.MULTILINE)
        if named and '__name__ == "__main__"' in text:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield module, getattr(importlib.import_module(module), named[1])


CONFIGURATIONS = dict(configurations())


def numbers(config_class):
    """Every field that takes numbers: its name, whether they are whole, whether there are several."""
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        for kind in map(bare, members(hints[field.name])):
            several = typing.get_origin(kind) is tuple
            element = typing.get_args(kind)[0] if several else kind
            if element in (int, float):
                yield field.name, element is int, several


CASES = [
    (module, name, value, several)
    for module, config_class in CONFIGURATIONS.items()
    for name, whole, several in numbers(config_class)
    for value in ((10**12, 10**30, -1) if whole else (math.nan, math.inf, -1.0))
]


def test_every_command_is_looked_at():
    assert {"papers.noether.train", "papers.noether.sweep", "papers.gradient_flow.train"} <= CONFIGURATIONS.keys()
    assert all(options(config_class) for config_class in CONFIGURATIONS.values()) and len(CASES) > 100


@pytest.mark.parametrize(("module", "name", "value", "several"), CASES)
def test_out_of_bounds_is_one_short_sentence(module, name, value, several):
    config_class = CONFIGURATIONS[module]
    folder = Path("folder")
    values = {"figure": "6", "dataset": "cifar10", "networks": (folder,), "weights": folder, "images": (folder,)}
    required = {field.name for field in dataclasses.fields(config_class) if field.default is dataclasses.MISSING}
    config = config_class(**{field: values[field] for field in required} | {name: (value,) if several else value})
    with pytest.raises(UserError) as error:
        config.validate()
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
