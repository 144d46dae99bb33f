"""Tanaka & Kunin 2021, "Noether's Learning Dynamics: Role of Symmetry Breaking in Neural Networks" (arXiv 2105.02716).

A symmetry of the loss that the learning rule's kinetic energy does not share makes its Noether charge move; for the
scale symmetry of a filter before BatchNorm that motion is an adaptive learning rate. Each figure and its command:

============================================  =======================================================================
of the paper                                  command
============================================  =======================================================================
norm dynamics: predicted and measured norms   ``python -m papers.noether.train``
Fig. 1a rotated starts                        ``python -m papers.noether.figures --panel toys``: toy_rotated_starts
Fig. 2 charge against time for several m/mu   the same: toy_charge_decay
surfaces, discretisation, valley              the same: toy_conserved_surfaces, toy_discretisation, toy_valley
Table: RMSProp and the norm                   the same: toy_rmsprop
panel A: learning rate, free and fixed norms  ``python -m papers.noether.figures --panel a --data tiny_imagenet``
panel B: momentum                             ``... --panel b ...``
panel C: weight decay                         ``... --panel c ...``
panel D: initial norm                         ``... --panel d ...``
============================================  =======================================================================

``python -m papers.noether.sweep`` varies everything a learning rule has in one compiled program. The presets of
:mod:`papers.noether.networks.presets` are the panels' extremes at the paper's size. Small results are in
``papers/noether/results``.
"""
