"""A pretrained ResNet-50 and its mirror image, matched, merged, reset and REPAIRed, at every stage of it."""

from typing import Any

from papers.common.experiment import Experiment
from papers.common.records import write_atomically
from papers.common.runs import RunDirectory
from papers.relu_equivariance.resnet_50 import draw, judge, measure, table


def _measure(config: Any, directory: RunDirectory) -> measure.Measured:
    """Measure, and leave the paper's table as a page."""
    measured = measure.measure(config, directory)
    page = table.markdown(measured)
    write_atomically(directory.path / "notes.md", page.encode())
    print(page, flush=True)
    return measured


EXPERIMENT = Experiment(_measure, draw.draw, judge.judge, measure.require)
"""Its measuring, its drawing, its judging."""
