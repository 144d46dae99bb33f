"""Grigsby, Lindsey, Rolnick 2023, "Hidden Symmetries of ReLU Networks".

Permuting hidden units and scaling them positively leaves a ReLU network's function as it is; what else does is a hidden
symmetry. The functional dimension, the rank of the gradients of the outputs over inputs, counts the directions of the
parameters that change the function; where it is less than its bound, there is one. ``F`` below stands for ``python -m
papers.hidden_symmetries.figures --figure``; ``--quick`` shortens a figure to about a minute. ``sweep``, ``exact`` and
``train`` are ``python -m papers.hidden_symmetries.exact`` and so on.

==================================================  ================  ========================
of the paper (arXiv 2306.06179)                     command           measured, drawn, judged
==================================================  ================  ========================
Fig. 6: functional dimension of random networks     ``F 6``           ``figure_6``
mechanisms of hidden symmetries, one network each   ``F mechanisms``  ``mechanisms``
not in the paper: inputs, points, biases            ``sweep``         ``sweeps``
not in the paper: Figure 6 over all regions, exact  ``exact``         ``all_regions``
not in the paper: the dimension through training    ``train``         ``training``
==================================================  ================  ========================

An experiment is a file or a folder with ``measure``, ``draw`` and ``judge`` in this order
(:mod:`papers.common.experiment`); what every command is told stands in ``config.py``,
every threshold of a claim stands in ``claims.py`` beside the paper's own words. The
mathematics is :mod:`symjax.dimension`. Small results are in ``results``.
"""
