"""The claims about training: every network has its number."""

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.hidden_symmetries.claims import TRAINING
from papers.hidden_symmetries.train import TrainConfig
from papers.hidden_symmetries.training.measure import SETS, Courses
from papers.hidden_symmetries.training.tasks import TASKS


def judge(courses: Courses, config: TrainConfig, setting: Setting) -> list[Claim]:
    """Judge the claims of one task."""
    data = "digits enlarged to 28 x 28" if config.task == "digits" else "a function of five numbers"
    sizes = "-".join(map(str, TASKS[config.task]().sizes))
    setting = setting._replace(data=data, model=f"ReLU network {sizes}")
    rank = {arm: [one.ranks.rank for one in course] for arm, course in courses.items()}
    last = {arm: np.array([one[-1, SETS.index("train")] for one in ranks], float) for arm, ranks in rank.items()}
    fall = {
        name: [one[-1, place] / one[0, place] - 1 for one in rank["plain"]]
        for place, name in enumerate(SETS)
        if name != "random"
    }
    share = [np.min((one.ranks.rank / one.ranks.most)[:, SETS.index("random")]) for one in courses["plain"]]
    made = [claims.judge(TRAINING[name], values, setting, task=config.task) for name, values in fall.items()]
    made.append(claims.judge(TRAINING["random"], share, setting, task=config.task))
    for name, arm in (("input noise",) * 2, ("label noise",) * 2, ("decay", "weight decay")):
        made.append(claims.judge(TRAINING[name], last[arm] - last["plain"], setting, task=config.task))
    runs = [one.ranks for course in courses.values() for one in course]
    count = sum(one.rank.size for one in runs)
    gaps = [np.log10(one.gap.min()) for one in runs]
    used = [np.max(one.rank[:, :2] / one.rows[:, :2]) for one in runs]
    made.append(claims.judge(TRAINING["clear"], gaps, setting, count=count, task=config.task))
    made.append(claims.judge(TRAINING["rows"], used, setting, count=count * 2 // 3, task=config.task))
    return made
