"""Every threshold of the paper's claims, beside the sentence and the paper's own words, written before the first run.

Figure 6 is decided by the intervals of shares of random networks; other findings over ten groups of them, by the
interval over the groups.
"""

from papers.common.claims import Statement

GROUPS = 10

_PAPER = "Grigsby, Lindsey, Rolnick 2023, Figure 6; the paper gives histograms and no numbers"
_OURS = "this project; an earlier measurement of the same shares on 20 to 400 networks, 95 % Wilson interval"
_DEPTH = "the probability of no hidden symmetries falls towards 0 with depth"
_WIDTH = "the probability of no hidden symmetries rises towards 1 with width and input dimension"

FIGURE_6 = {
    "depth": Statement(
        "width {width}: fewer networks without hidden symmetries with every layer, smallest drop of the share",
        *("Fig. 6", _DEPTH, _PAPER, 0.0, "above"),
    ),
    "width": Statement(
        "depth {depth}: more networks without hidden symmetries at every larger width, smallest rise of the share",
        *("Fig. 6", _WIDTH, _PAPER, 0.0, "above"),
    ),
    "regions": Statement(
        "the regions that points lie in have at least the rank of the points, smallest difference",
        *("Fig. 6", "", "an identity of the gradients' affine form", -0.5, "above", "law", "control"),
    ),
    "bound": Statement(
        "no rank is above the bound, largest difference",
        *("Fig. 6", "the bound n_d + sum n_{l-1} n_l", "Grigsby, Lindsey, Rolnick 2023", 0.5, "below", "law"),
    ),
    "proven": Statement(
        "that networks at the bound have no hidden symmetry of positive dimension is proven, largest rank left open",
        *("Fig. 6", "", "exact rows modulo a prime: no tolerance", 0.5, "below", "law", "control"),
    ),
    "clear": Statement(
        "the singular values decide every rank, smallest log10 of the gap",
        *("Fig. 6", "", "a gap below 1e3 counts as undetermined", 3.0, "above", "law", "control"),
    ),
}

ALL_REGIONS = {
    "sampled": Statement(
        "the dimension over all regions is at least the rank at points, smallest difference",
        *("all regions", "", "an identity of the gradients' affine form", -0.5, "above", "law", "control"),
    ),
    "bound": Statement(
        "no exact dimension is above the bound, largest difference",
        *("all regions", "the bound n_d + sum n_{l-1} n_l", "Grigsby, Lindsey, Rolnick 2023", 0.5, "below", "law"),
    ),
    "proven": Statement(
        "every exact dimension is proven from below, largest rank left open",
        *("all regions", "", "exact rows modulo a prime: no tolerance", 0.5, "below", "law", "control"),
    ),
    "explained": Statement(
        "what is missing from the bound is explained by mechanisms within two layers, largest unexplained rest",
        *("all regions", "", "this project", 0.5, "below", "law", "control"),
    ),
    "missed": Statement(
        "random points miss dimensions that the regions have, on average",
        *("all regions", "", "this project; an earlier measurement on 20 networks: 1.3", 0.0, "above"),
        subject="control",
    ),
}

EARLIER = {
    (4, 5): (0.180, 0.261),
    (5, 5): (0.018, 0.060),
    (6, 5): (0.000, 0.015),
    (4, 10): (0.362, 0.607),
    (5, 10): (0.047, 0.201),
    (6, 10): (0.000, 0.060),
    (4, 15): (0.388, 0.755),
    (5, 15): (0.047, 0.333),
    (6, 15): (0.052, 0.360),
}
"""(depth, width) -> the interval of the share without hidden symmetries that was measured before."""


def earlier(depth: int, width: int) -> Statement:
    """The share lies in the interval measured before: its distance from the middle, within half the length."""
    low, high = EARLIER[depth, width]
    return Statement(
        f"depth {depth}, width {width}: the share lies from {low:g} to {high:g}, distance from the middle",
        *("Fig. 6", "", _OURS, (high - low) / 2, "within", "finding", "control"),
    )


_MECHANISMS = "unused activations and restricted hidden images make hidden symmetries"

MECHANISMS = {
    "dimension": Statement(
        "every mechanism takes the dimensions that its formula says, largest deviation of the exact dimension",
        *("mechanisms", _MECHANISMS, "Grigsby, Lindsey, Rolnick 2023; the formulas are this project's"),
        *(0.5, "below", "law"),
    ),
    "explained": Statement(
        "the mechanisms explain every missing dimension, largest rest",
        *("mechanisms", "", "this project's detectors", 0.5, "below", "law", "control"),
    ),
    "sampled": Statement(
        "sampling never finds more than all regions have, largest excess",
        *("mechanisms", "", "an identity", 0.5, "below", "law", "control"),
    ),
}

_TRAINING = "Bona-Pellissier, Malgouyres, Bachoc 2024 (arXiv 2402.08269)"
_NOISE = "the batch functional dimension rises with noise in the inputs and in the labels"

TRAINING = {
    "train": Statement(
        "{task}: the dimension on the training inputs falls through training, last less first over the first",
        *("training", "the batch functional dimension decreases during optimisation", _TRAINING, 0.0, "below"),
    ),
    "test": Statement(
        "{task}: the dimension on test inputs falls through training, last less first over the first",
        *("training", "the same on test inputs", _TRAINING, 0.0, "below"),
    ),
    "random": Statement(
        "{task}: on random inputs the dimension stays near its bound through training, smallest share of it",
        *("training", "the computable full functional dimension remains close to its largest value", _TRAINING),
        *(0.95, "above"),
    ),
    "input noise": Statement(
        "{task}: noise in the training inputs raises the dimension on them, with less without at the end",
        *("training", _NOISE, _TRAINING, 0.0, "above"),
    ),
    "label noise": Statement(
        "{task}: noise in the labels raises the dimension on the training inputs, with less without at the end",
        *("training", _NOISE, _TRAINING, 0.0, "above"),
    ),
    "decay": Statement(
        "{task}: weight decay lowers the dimension on the training inputs, with less without at the end",
        *("training", "", "this project; said of a later paper's networks", 0.0, "below"),
        subject="control",
    ),
    "clear": Statement(
        "{task}: the pivots decide every rank, smallest log10 of the gap",
        *("training", "", "a gap below 1e3 counts as undetermined", 3.0, "above", "law", "control"),
    ),
    "rows": Statement(
        "{task}: the points are more than the dimension on them needs, largest share of the rows",
        *("training", "", "otherwise the rows' number would decide", 0.999, "below", "law", "control"),
    ),
}

_BEFORE = "this project; an earlier measurement on 60 to 150 networks"

SWEEP = {
    "inputs": Statement(
        "width {width}: more networks without hidden symmetries with more inputs, share at {most} less that at {least}",
        *("sweep", _WIDTH, "Grigsby, Lindsey, Rolnick 2023; no numbers", 0.0, "above"),
    ),
    "points": Statement(
        "the paper's number of points misses dimensions, mean rank at three times as many less that at the paper's",
        *("sweep", "", f"{_BEFORE}: 0.2", 0.0, "above"),
        subject="control",
    ),
    "scales": Statement(
        "points near the origin see fewer dimensions, mean rank at scale 1 less that at scale 0.1",
        *("sweep", "", f"{_BEFORE}: 6.1", 0.0, "above"),
        subject="control",
    ),
    "biases": Statement(
        "large biases make hidden symmetries, share without any at standard deviation 0.1 less that at 1",
        *("sweep", "", f"{_BEFORE}: 0.19", 0.0, "above"),
        subject="control",
    ),
    "monotone": Statement(
        "more points never lower the rank, smallest difference",
        *("sweep", "", "an identity: the points are nested", -0.5, "above", "law", "control"),
    ),
    "bound": Statement(
        "no rank is above the bound, largest difference",
        *("sweep", "the bound n_d + sum n_{l-1} n_l", "Grigsby, Lindsey, Rolnick 2023", 0.5, "below", "law"),
    ),
}
