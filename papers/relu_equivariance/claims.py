"""Every threshold of the paper's claims, beside the sentence and what the paper reports, written before the first run.

A law follows from mathematics and is decided by its worst case; a finding by the interval over seeds. The paper's
tables could not be read in full here: its numbers are remembered, support directions only, and every threshold is this
project's choice. A barrier is relative: the mean accuracy of the two ends, less that of the middle, over that mean.
"""

from papers.common.claims import Statement

_TABLE_1 = "Bökman & Kahl 2023, Table 1, from memory; threshold: chosen by this project before any run"
_SECTION_3 = "Bökman & Kahl 2023, section 3; threshold: chosen by this project before any run"

# One or two trained networks merged: merging/judge.py judges them.

MERGE = {
    "mirrored": Statement(
        "the mirrored network sees mirror images as the network sees images: largest relative distance of logits",
        *("merging", "exact for VGG11 at 32 pixels", "derived", 1e-4, "below", "law"),
    ),
    "invariant": Statement(
        "merged by involutions and REPAIRed on images and mirror images it is invariant: largest invariance error",
        *("merging", "exact for involutions", "derived: every P is its own inverse", 1e-3, "below", "law"),
    ),
    "barrier": Statement(
        "flipped self: the relative barrier after REPAIR, of channels matched",
        *("merging", "about 0.04 for CNN + augmentation", _TABLE_1, 0.1, "below"),
    ),
    "two_networks": Statement(
        "merging with the flipped self is easier than with another network: barrier of two less that of flipped self",
        *("merging", "0.052 for two networks, 0.04 for flipped selves", _TABLE_1, 0.0, "above"),
    ),
    "repair": Statement(
        "REPAIR lowers the barrier of the flipped self: barrier without less barrier with it",
        *("merging", "two networks: 0.25 without, 0.05 with it", "REPAIR, Jordan et al. 2022, its notebooks", 0.0),
        "above",
    ),
    "unmatched": Statement(
        "without any permutation the barrier is higher: unmatched less matched, both after REPAIR",
        *("merging", "two networks: accuracy at chance without matching", _SECTION_3, 0.05, "above"),
        subject="control",
    ),
    "wider": Statement(
        "wider networks merge better: barrier of the narrowest flipped selves less that of the widest, after REPAIR",
        *("merging", "not reported; two networks: no barrier left at large width", "REPAIR, its README", 0.0, "above"),
        subject="control",
    ),
    "involutions": Statement(
        "matching alone, which nothing tells so, gives involutions: share of channels in cycles of at most two",
        *("merging", "not reported", _SECTION_3, 0.9, "above"),
        subject="control",
    ),
    "rest": Statement(
        "asking for an involution costs little of the matched correlation: share lost",
        *("merging", "not reported", _SECTION_3, 0.02, "below"),
        subject="control",
    ),
}

# The seven kinds side by side: table_1/judge.py judges them.

TABLE_1 = {
    "gcnn_invariant": Statement(
        "a GCNN is invariant: largest mean invariance error",
        *("Table 1", "about 1e-6 in single precision", _TABLE_1, 1e-4, "below", "law"),
    ),
    "gcnn_barrier": Statement(
        "a GCNN merges with its mirror image: barrier", "Table 1", "about 0.001", _TABLE_1, 0.01, "within"
    ),
    "falls": Statement(
        "(i) the barrier falls with the invariance error: rank correlation of the two over the kinds",
        *("Table 1", "the kinds are ordered alike in both", _TABLE_1, 0.5, "above"),
    ),
    "invariance_loss": Statement(
        "(i) a network trained with the invariance loss is as near a GCNN as a GCNN: difference of the barriers",
        *("Table 1", "0.002 against 0.001", _TABLE_1, 0.02, "within"),
    ),
    "two_networks": Statement(
        "(ii) merging with the flipped self is easier than with another network, CNN + augmentation: barrier of two "
        "less that of flipped self",
        *("Table 1", "0.052 against 0.04", _TABLE_1, 0.0, "above"),
    ),
    "early": Statement(
        "(iii) equivariance in the early layers helps: accuracy of PGCNN less that of CNN",
        *("Table 1", "0.902 against 0.879", _TABLE_1, 0.0, "above"),
    ),
    "late": Statement(
        "(iii) equivariance in the late layers does not clearly help: accuracy of GCNN less that of PGCNN",
        *("Table 1", "0.899 against 0.902", _TABLE_1, 0.005, "below"),
    ),
    "augmentation": Statement(
        "(iv) without mirror images in training the barrier is larger: CNN less CNN + augmentation",
        *("Table 1", "about 0.15 against 0.04", _TABLE_1, 0.02, "above"),
    ),
}

# A pretrained ResNet-50 and its mirror image: resnet_50/judge.py judges them, over ten groups of the photographs.

_NOTEBOOK = (
    "the authors' notebook, torchvision's second weights, 50,000 images; threshold: this project, before any run"
)

RESNET_50 = {
    "pretrained": Statement(
        "at {size} the pretrained network is read and computed rightly: accuracy",
        *("ImageNet", "0.809", _NOTEBOOK, 0.7, "above"),
        subject="control",
    ),
    "flip_accuracy": Statement(
        "at {size} the mirror image is about as accurate: accuracy of the network less that of its mirror image",
        *("ImageNet", "0.809 and 0.805", _NOTEBOOK, 0.05, "within"),
    ),
    "barrier": Statement(
        "at {size} the network and its mirror image have a low barrier after REPAIR, of channels matched",
        *("ImageNet", "0.053 (matched on 5,000 images)", _NOTEBOOK, 0.15, "below"),
    ),
    "reset": Statement(
        "at {size} a reset of the normalisations recovers most of what merging loses: gain in accuracy",
        *("ImageNet", "from 0.418 to 0.741", _NOTEBOOK, 0.1, "above"),
    ),
    "repair": Statement(
        "at {size} REPAIR gains more than the reset alone: accuracy with it less accuracy with the reset",
        *("ImageNet", "0.764 against 0.741", _NOTEBOOK, 0.0, "above"),
    ),
    "unmatched": Statement(
        "at {size} merging fails without a permutation: accuracy matched less unmatched, both after a reset",
        *("ImageNet", "0.009 without matching and without a reset", _NOTEBOOK, 0.3, "above"),
        subject="control",
    ),
    "streams": Statement(
        "at {size} streams matched over all blocks merge no worse than over the last ones: difference after REPAIR",
        *("ImageNet", "the last ones only", _NOTEBOOK, -0.02, "above"),
        subject="control",
    ),
    "exact": Statement(
        "at {size} the mirror image sees mirrored photographs as the network sees photographs: relative distance",
        *("ImageNet", "exact where (W + 2p - k) mod s = 0", "derived", 1e-4, "below", "law"),
    ),
    "broken": Statement(
        "at {size} it does not, because strided operations see other pixels: relative distance",
        *("ImageNet", "accuracies 0.809 and 0.805 differ", "derived", 1e-3, "above", "law"),
    ),
    "ordered": Statement(
        "the mirror image with its channels in the network's order is the same function: largest relative distance",
        *("ImageNet", "exact", "derived: permutations are symmetries", 1e-4, "below", "law", "control"),
    ),
    "involutions": Statement(
        "at {size} matching, which nothing tells so, gives involutions: share of channels in cycles of at most two",
        *("ImageNet", "not reported", "this project", 0.8, "above"),
        subject="control",
    ),
}

# Quarter turns and flips: turns_and_flips/judge.py judges them. The paper has horizontal flips only.

_OPEN = "left open"
_OWN = "Bökman & Kahl 2023 has the horizontal flip alone; threshold: chosen by this project before any run"

GROUPS = {
    "moved": Statement(
        "the moved network sees moved images as the network sees images, for all of D4: largest relative distance",
        *("groups", "exact for VGG11 at sides divisible by 32", "derived", 1e-4, "below", "law"),
    ),
    "invariant": Statement(
        "merged by an action of D4 and REPAIRed on whole orbits of images it is invariant: largest invariance error",
        *("groups", "exact for an action", "derived: the Reynolds mean", 1e-3, "below", "law"),
    ),
    "element": Statement(
        "{kind}: the relative barrier after REPAIR, of channels matched, largest over the elements of D4",
        *("groups", _OPEN, _OWN, 0.1, "below", "finding", "control"),
    ),
    "whole": Statement(
        "{kind}: a network merged with all its images under {group} has a low barrier after REPAIR",
        *("groups", _OPEN, _OWN, 0.15, "below", "finding", "control"),
    ),
    "turns": Statement(
        "{kind}: quarter turns merge as flips do: barrier of the quarter turn less the mean of the two flips'",
        *("groups", _OPEN, _OWN, 0.05, "within", "finding", "control"),
    ),
    "augmentation": Statement(
        "without turned and mirrored images in training the barrier is larger: mean over D4, CNN less augmented",
        *("groups", "for the flip about 0.15 against 0.04", _OWN, 0.02, "above", "finding", "control"),
    ),
    "unmatched": Statement(
        "{kind}: without any permutation the barrier is higher: unmatched less matched, mean over D4, after REPAIR",
        *("groups", _OPEN, _OWN, 0.05, "above", "finding", "control"),
    ),
    "defect": Statement(
        "{kind}: matchings that nothing ties to each other obey the law of D4: share of (g, h, channel) that break it",
        *("groups", _OPEN, _OWN, 0.1, "below", "finding", "control"),
    ),
    "lost": Statement(
        "{kind}: asking for an action of D4 costs little of the matched correlation: share lost",
        *("groups", _OPEN, _OWN, 0.02, "below", "finding", "control"),
    ),
}

# Identifiable networks that are invariant: invariant_mlps/judge.py judges them. A later theorem on the same question.

_LATER = "Shahverdi, Marchetti, Bökman, Kohn 2026, arXiv 2601.21645"
_LATER_OWN = f"{_LATER}, proves the exact statement and measures nothing; threshold: this project, before any run"

IDENTIFIABLE = {
    "planted": Statement(
        "identifiable networks of equivariant layers, units permuted and scaled, are found so: largest layerwise error",
        *("identifiable", "exact", "derived: scales and order change nothing", 1e-9, "below", "law", "control"),
    ),
    "short": Statement(
        "with the identity through twice as many units a network stays invariant, not identifiable: least dimension "
        "missing",
        *("identifiable", "identifiability is assumed", _LATER, 0.5, "above", "law"),
    ),
    "counterexample": Statement(
        "and it is not equivariant layer by layer: least layerwise error",
        *("identifiable", "identifiability is assumed", _LATER, 0.05, "above", "law"),
    ),
    "layerwise": Statement(
        "trained, identifiable and invariant to 0.01, a network is equivariant layer by layer: layerwise error",
        *("identifiable", "exactly invariant: exactly so", _LATER_OWN, 0.1, "below"),
    ),
    "falls": Statement(
        "of identifiable networks the less invariant is the less layerwise equivariant: rank correlation of errors",
        *("identifiable", "", _LATER_OWN, 0.5, "above", "finding", "control"),
    ),
    "hidden": Statement(
        "invariant to 0.01 but not identifiable, a network is further from it: layerwise error, less the identifiable",
        *("identifiable", "identifiability is assumed", _LATER_OWN, 0.1, "above", "finding", "control"),
    ),
    "wide": Statement(
        "identifiable with half as many units again and invariant to 0.01, it is further from it too: layerwise error, "
        "less that without",
        *("identifiable", "exactly invariant: no difference", _LATER_OWN, 0.1, "above", "finding", "control"),
    ),
}
