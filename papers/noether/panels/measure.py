"""The runs of a panel: which it needs, running those that are not finished, reading them back."""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from papers.common.errors import Divergence, InUse, UserError
from papers.common.records import differences, to_json
from papers.common.runs import MAY_DIFFER_ON_RESUME
from papers.noether.networks.config import FilterNorm, TrainConfig
from papers.noether.networks.run import run
from papers.noether.panels.definitions import PANELS, PanelName
from papers.noether.panels.judge import Run


class Member(NamedTuple):
    """One run of a panel."""

    value: float
    arm: FilterNorm
    seed: int
    config: TrainConfig


def members(name: PanelName, base: TrainConfig, values: tuple[float, ...], seeds: int, out: Path) -> list[Member]:
    """All runs of a panel, seed by seed, so that an interrupted panel has whole seeds first.

    Args:
      name: a, b, c or d.
      base: what all runs share.
      values: of what the panel varies; the panel's own if empty.
      seeds: seeds of every setting.
      out: folder of the runs.
    """
    panel = PANELS[name]
    # 30, 60 and 80 of 100 epochs, whatever the length of the run
    drops = tuple(share * base.epochs for share in (0.3, 0.6, 0.8)) if panel.drops else ()
    found = []
    for seed in range(seeds):
        for value in values or panel.values:
            for arm in panel.arms:
                changes = {**panel.settings, panel.field: value, "filter_norm": arm, "seed": seed, "drops": drops}
                changes["out"] = out / f"{name}-{value:g}-{arm}-seed{seed}"
                found.append(Member(value, arm, seed, dataclasses.replace(base, **changes)))
    return found


def finished(member: Member) -> bool:
    """Whether a member's run is complete.

    Raises:
      UserError: the folder holds a finished run of another configuration.
    """
    folder = member.config.out
    if not (folder / "summary.json").is_file():
        return False
    recorded = json.loads((folder / "config.json").read_text())["config"]
    different = differences(recorded, to_json(member.config), MAY_DIFFER_ON_RESUME)
    if different:
        raise UserError(
            f"{folder} holds a finished run of another configuration ({', '.join(different)}): give another --out"
        )
    return True


def load(member: Member) -> Run:
    """What a finished run measured."""
    with np.load(member.config.out / "history.npz") as arrays:
        return Run(*member, {name: arrays[name] for name in arrays.files})


def run_all(wanted: list[Member], command: str) -> bool:
    """Run what is not finished, continuing what was begun; False where another process still works on some of it.

    Raises:
      UserError: a folder holds something else than the run it should.
      Divergence: some runs left the finite numbers, named after all others are finished.
    """
    diverged = []
    for number, member in enumerate(wanted, 1):
        if finished(member):
            continue
        print(f"[{number}/{len(wanted)}] {member.config.out.name}", flush=True)
        begun = (member.config.out / "checkpoints").is_dir()
        try:
            outcome = run(dataclasses.replace(member.config, resume=begun), command, again=command)
        except InUse:
            continue
        except Divergence as error:
            print(error, flush=True)
            diverged.append(member.config.out.name)
            continue
        if not outcome.finished:
            raise KeyboardInterrupt
    if diverged:
        raise Divergence(
            f"{', '.join(diverged)} diverged, so the panel is not drawn: leave their values out by --values"
        )
    missing = [member.config.out.name for member in wanted if not finished(member)]
    if missing:
        print(f"not yet finished, in other processes: {', '.join(missing)}; the same command draws when they are")
    return not missing
