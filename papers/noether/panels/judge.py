"""Judging a panel: its own statements, and the laws over its free runs."""

from typing import Any

from papers.common.claims import Claim, Setting, judge
from papers.noether.networks.laws import describe_data, describe_vgg, law_claims
from papers.noether.panels.definitions import PANELS, PanelName
from papers.noether.panels.runs import Runs


def panel_claims(name: PanelName, runs: Runs, environment: dict[str, Any], command: str) -> list[Claim]:
    """Judge a panel; of the laws each seed's number is the largest error over its free runs.

    Args:
      name: of the panel.
      runs: every setting, arm and seed of it.
      environment: as :func:`papers.common.environment.environment` gives it.
      command: the command that measures the claims again.
    """
    base = next(run.config for run in runs.all if run.arm == "free")
    model = f"{describe_vgg(base)}, {base.epochs} epochs, batch {base.batch_size}"
    setting = Setting(describe_data(base), model, command, environment, base.reduced)
    own = [judge(statement, values, setting, **filled) for statement, values, filled in PANELS[name].judge(runs)]
    free = [[run.arrays for run in runs.all if run.arm == "free" and run.seed == seed] for seed in runs.seeds]
    return own + law_claims(free, base, environment, command)
