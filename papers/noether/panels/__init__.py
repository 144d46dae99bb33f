"""The paper's panels: free filter norms against fixed ones while one number of the learning rule varies.

| file | what |
|---|---|
| `definitions.py` | what each panel varies, holds and judges; add one here, its thresholds in `claims.py` |
| `runs.py` | finished runs, as the others read them |
| `measure.py` | which runs a panel needs, making them, reading them back |
| `draw.py` | its pictures and its results |
| `judge.py` | its claims |
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papers.common.claims import Claim
    from papers.common.runs import RunDirectory
    from papers.noether.panels.definitions import PanelName
    from papers.noether.panels.runs import Runs


def publish(name: "PanelName", runs: "Runs", directory: "RunDirectory", command: str) -> "list[Claim]":
    """Draw a panel's finished runs, judge them, and write everything into a directory."""
    from papers.noether.panels.draw import draw_mechanism, draw_panel, write_results
    from papers.noether.panels.judge import panel_claims

    draw_panel(name, runs, directory)
    if len({run.arm for run in runs.all}) == 2:
        draw_mechanism(name, runs, directory)
    claims = panel_claims(name, runs, directory.environment, command)
    directory.write_claims(claims)
    write_results(name, runs, claims, directory, command)
    return claims
