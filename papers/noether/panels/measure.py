"""Measuring a panel: which runs it needs, making those that are not finished, reading all of them back."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from papers.common.allocation import CONFIG
from papers.common.errors import Divergence, InUse, UserError
from papers.common.finished import is_finished, load_arrays, read_config
from papers.common.records import differences, to_json, with_defaults
from papers.common.runs import MAY_DIFFER_ON_RESUME
from papers.noether.networks.config import FilterNorm, TrainConfig
from papers.noether.networks.finished import read_run
from papers.noether.panels.definitions import PANELS, PanelName
from papers.noether.panels.runs import Run, Runs, spell


class Wanted(NamedTuple):
    """One run that a panel needs."""

    value: float
    arm: FilterNorm
    seed: int
    config: TrainConfig


def wanted_runs(name: PanelName, base: TrainConfig, values: tuple[float, ...], seeds: int, out: Path) -> list[Wanted]:
    """All runs of a panel, seed by seed, so that an interrupted panel has whole seeds first.

    Args:
      name: of the panel.
      base: what all runs share.
      values: of what the panel varies; the panel's own if empty.
      seeds: seeds of every setting.
      out: folder of the runs.
    """
    panel = PANELS[name]
    # 30, 60 and 80 of 100 epochs, whatever the length of the run
    drops = tuple(share * base.epochs for share in (0.3, 0.6, 0.8)) if panel.drops else ()
    kind = int if isinstance(getattr(base, panel.field), int) else float
    found = []
    for seed in range(seeds):
        for value in values or panel.values:
            for arm in panel.arms:
                changes = {**panel.held, panel.field: kind(value), "filter_norm": arm, "seed": seed, "drops": drops}
                changes["out"] = out / f"{name}-{spell(value)}-{arm}-seed{seed}"
                found.append(Wanted(value, arm, seed, dataclasses.replace(base, **changes)))
    return found


def measure(wanted: list[Wanted], command: str, again: str) -> Runs | None:
    """Make the runs that are not finished, continuing what was begun, and read all of them.

    Args:
      wanted: the runs.
      command: what each writes down as its command.
      again: the command that continues the panel, for the line that says so when it is stopped.

    Returns:
      The runs; None where another process still works on some of them.

    Raises:
      UserError: a folder holds something else than the run it should.
      Divergence: some runs left the finite numbers, named after all others are finished.
    """
    from papers.noether.networks.run import run

    diverged = []
    for number, one in enumerate(wanted, 1):
        if finished(one):
            continue
        print(f"[{number}/{len(wanted)}] {one.config.out.name}", flush=True)
        begun = (one.config.out / CONFIG).is_file()
        try:
            outcome = run(dataclasses.replace(one.config, resume=begun), command, again=again)
        except InUse:
            continue
        except Divergence as error:
            print(error, flush=True)
            diverged.append(one.config.out.name)
            continue
        if not outcome.finished:
            raise KeyboardInterrupt
    if diverged:
        raise Divergence(
            f"{', '.join(diverged)} diverged, so the panel is not drawn: leave their values out by --values"
        )
    missing = [one.config.out.name for one in wanted if not finished(one)]
    if missing:
        print(f"not yet finished, in other processes: {', '.join(missing)}; when they are, draw with: {again}")
        return None
    return Runs(tuple(Run(*one, load_arrays(one.config.out)) for one in wanted))


def finished(one: Wanted) -> bool:
    """Whether a run is complete.

    Raises:
      UserError: the folder holds a finished run of another configuration.
    """
    folder = one.config.out
    if not is_finished(folder):
        return False
    recorded = with_defaults(read_config(folder)["config"], one.config)
    different = differences(recorded, to_json(one.config), MAY_DIFFER_ON_RESUME)
    if different:
        raise UserError(
            f"{folder} holds a finished run of another configuration ({', '.join(different)}): give another --out"
        )
    return True


def read_finished(name: PanelName, where: Path) -> Runs:
    """Read the finished runs of a panel wherever they were made; seeds that are not whole are left out, and named.

    Args:
      name: of the panel.
      where: holds a folder for each run, whose name begins with the panel's.

    Raises:
      UserError: no seed has all settings.
    """
    panel = PANELS[name]
    found = []
    for folder in filter(is_finished, sorted(where.glob(f"{name}-*"))):
        config, arrays = read_run(folder)
        found.append(Run(float(getattr(config, panel.field)), config.filter_norm, config.seed, config, arrays))
    settings = {(run.value, run.arm) for run in found}
    whole = {
        seed for seed in {run.seed for run in found} if {(r.value, r.arm) for r in found if r.seed == seed} == settings
    }
    part = sorted({run.seed for run in found} - whole)
    if not whole or {arm for _, arm in settings} != set(panel.arms):
        raise UserError(
            f"{where} holds no seed of panel {name} with all its settings: name the folder of its finished runs"
        )
    if part:
        print(f"left out, because not all their runs are finished: seeds {' '.join(map(str, part))}", flush=True)
    order = sorted(found, key=lambda run: (run.seed, run.value, panel.arms.index(run.arm)))
    return Runs(tuple(run for run in order if run.seed in whole))
