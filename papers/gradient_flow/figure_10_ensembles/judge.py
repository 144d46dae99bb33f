"""The claims of Figure 10; the mean is over the sizes, the interval over the seeds."""

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.gradient_flow.claims import FIGURE_10, LESS_OWN, ensemble
from papers.gradient_flow.figure_10_ensembles.measure import Grid, change, epsilons, sizes
from papers.gradient_flow.networks.cifar.config import KINDS, CifarConfig
from papers.gradient_flow.networks.cifar.trained import described
from papers.gradient_flow.networks.config import ExperimentConfig


def judge(grid: Grid, config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge every kind of ensemble at every strength, and what their size does."""
    config = CifarConfig.of(config)
    protocol = "softmax before the cross-entropy" if config.legacy else "logits"
    network = config.network("leaky_square", config.seed)
    here = described(setting, network, done="classified", how=protocol)
    changed, accuracy = change(grid).mean(axis=1), grid.held_out.mean_softmax.mean(axis=1)
    judged = []
    for e, epsilon in enumerate(epsilons(config)):
        for k, kind in enumerate(KINDS):
            statement = ensemble(kind, epsilon)
            values = changed if statement.claim.endswith(LESS_OWN) else accuracy
            judged.append(claims.judge(statement, values[:, e, k], here))
    group, one = KINDS.index("group"), epsilons(config).index(1.0)
    scores, counts = grid.held_out.mean_softmax[:, :, one, group], sizes(config)
    official = grid.official.mean_softmax[:, :, one, group].mean(axis=1)
    larger = FIGURE_10["larger"]
    return [
        *judged,
        claims.judge(larger, scores[:, -1] - scores[:, 0], here, largest=counts[-1], smallest=counts[0]),
        claims.judge(FIGURE_10["official"], official, here),
    ]
