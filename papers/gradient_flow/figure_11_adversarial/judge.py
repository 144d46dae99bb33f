"""The claims of Figure 11, by mean softmax; the interval is over the seeds."""

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.gradient_flow.claims import FGSM, FIGURE_11, FIGURE_11_CHANCE, FIGURE_11_CONTROLS, FIGURE_11_TRANSFER
from papers.gradient_flow.figure_11_adversarial.measure import Measured, Sweep, members, strengths
from papers.gradient_flow.networks.cifar.config import KINDS, CifarConfig
from papers.gradient_flow.networks.cifar.trained import described
from papers.gradient_flow.networks.config import ExperimentConfig

GROUP = KINDS.index("group")


def judge(measured: Measured, config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge robustness at every strength, what is at chance, and what the ensembles cost."""
    config = CifarConfig.of(config)
    protocol = "softmax before the cross-entropy; attacked twice, clipped to [0, 1]" if config.legacy else "logits"
    network, how = config.network("leaky_relu", config.seed), f"{members(config)} members, {protocol}"
    here, found = described(setting, network, done="attacked", how=how), measured.held_out
    return [*_robustness(found, here), *_chance(found, here), *_clean(found, measured.official, here)]


def _robustness(found: Sweep, here: Setting) -> list[Claim]:
    """Group less original at every strength, for the transferred, the adaptive and the stronger of both attacks."""
    transfer, adaptive = found.transfer.mean_softmax[..., GROUP], found.adaptive.mean_softmax[..., GROUP]
    judged = []
    for place, strength in enumerate(strengths()):
        if strength.value == 0:
            continue
        attack, own = f"{strength.method.upper()} {strength.value:g}", found.own[:, place]
        values = (
            (FIGURE_11_TRANSFER[place], transfer[:, place] - own),
            (FIGURE_11["adaptive"], adaptive[:, place] - own),
            (FIGURE_11["strongest"], found.strongest[:, place, GROUP] - own),
            (FIGURE_11["stronger"], adaptive[:, place] - transfer[:, place]),
        )
        judged += [claims.judge(statement, each, here, attack=attack) for statement, each in values]
    return judged


def _chance(found: Sweep, here: Setting) -> list[Claim]:
    """What is at chance or below it."""
    scores, judged = found.transfer.mean_softmax, []
    accuracies = {"original": found.own, "group": scores[..., GROUP]}
    for place, epsilon in enumerate(FGSM):
        for name, values in accuracies.items():
            if (name, place) in FIGURE_11_CHANCE:
                statement, attack = FIGURE_11_CHANCE[name, place], f"FGSM {epsilon:g}"
                judged.append(claims.judge(statement, values[:, place], here, attack=attack, name=name))
    attacked, last = slice(0, len(FGSM)), len(FGSM) - 1
    for kind, (chance, beats) in FIGURE_11_CONTROLS.items():
        values = scores[..., KINDS.index(kind)]
        judged.append(claims.judge(chance, values[:, attacked].mean(axis=1), here))
        judged.append(claims.judge(beats, values[:, last] - found.own[:, last], here))
    return judged


def _clean(found: Sweep, official: Sweep, here: Setting) -> list[Claim]:
    """What the ensemble and what clipping cost without an attack; robustness on the official test split."""
    attacked = slice(1, len(FGSM))
    values = {
        "cost": found.transfer.mean_softmax[:, 0, GROUP] - found.own[:, 0],
        "clipping": found.clipped - found.own[:, 0],
        "official": (official.transfer.mean_softmax[..., GROUP] - official.own)[:, attacked].mean(axis=1),
    }
    return [claims.judge(FIGURE_11[key], each, here) for key, each in values.items()]
