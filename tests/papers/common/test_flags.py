"""A configuration spelt as a command gives the configuration back."""

import dataclasses
import shlex
from pathlib import Path
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from papers.common import cli
from papers.common.flags import spell
from papers.noether.networks.config import TrainConfig
from papers.noether.networks.presets import PRESETS
from papers.noether.train import PROG, following


@dataclasses.dataclass(frozen=True)
class Job:
    """One field of every kind."""

    seed: int
    rate: float = 0.1
    rates: tuple[float, ...] = ()
    mode: Literal["a", "b"] = "a"
    limit: int | None = None
    out: Path = Path("runs")
    resume: bool = False
    shuffle: bool = True


def again(command, config_class, presets=None):
    return cli.parse(config_class, "prog", argv=shlex.split(command.removeprefix("prog")), presets=presets)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text("abc -'\"$\u00e9", min_size=1, max_size=8).filter(lambda name: name.strip() == name)


@given(
    st.builds(
        Job,
        seed=st.integers(),
        rate=FINITE,
        rates=st.lists(st.floats(0, 1), min_size=1, max_size=3).map(tuple),
        mode=st.sampled_from(["a", "b"]),
        limit=st.none() | st.integers(0),
        out=NAMES.map(lambda name: Path("/x") / name),
        resume=st.booleans(),
        shuffle=st.booleans(),
    )
)
def test_spelling_and_parsing_are_inverse(config):
    assert again(spell("prog", config), Job) == config


def test_what_is_default_is_not_spelt():
    assert spell("prog", Job(3)) == "prog --seed 3"
    assert spell("prog", TrainConfig()) == "prog"


def test_a_preset_is_named_and_only_the_rest_is_spelt():
    start = PRESETS["panel-a-high"].config
    config = dataclasses.replace(start, filter_norm="fixed")
    assert spell("prog", config, start) == "prog --preset panel-a-high --filter-norm fixed"
    assert again(spell("prog", config, start), TrainConfig, PRESETS) == config


def test_what_to_do_next_fits_what_was_run():
    """The user's own options stay; what changes is what the next run is for."""
    own = TrainConfig(data="cifar10", data_dir=Path("/data"), seed=4, epochs=2, out=Path("/mine"), resume=True)
    for changes, then in (
        ({}, {"filter_norm": "fixed"}),
        ({"filter_norm": "fixed"}, {"filter_norm": "free"}),
        ({"optimiser": "adamw"}, {"optimiser": "sgd"}),
        ({"batch_norm": False}, {"batch_norm": True}),
    ):
        purpose, command = following(dataclasses.replace(own, **changes))
        expected = dataclasses.replace(own, **{**changes, **then, "out": TrainConfig.out, "resume": False})
        assert again(command.replace(PROG, "prog"), TrainConfig, PRESETS) == expected and purpose
    started = dataclasses.replace(PRESETS["panel-a-low"].config, data_dir=Path("/data"))
    _, command = following(started)
    assert "--preset panel-a-low --filter-norm fixed" in command.replace("--data-dir /data ", "")
