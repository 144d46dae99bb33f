"""Zhao, Ganev, Walters, Yu, Dehmamy 2023, "Symmetries, Flat Minima, and the Conserved Quantities of Gradient Flow".

A symmetry of the loss makes its minima flat, and one with a symmetric generator gives a quantity Q that gradient flow
conserves: Q says where on the flat minimum a run ends, how sharp it is there and how fast it came. ``F`` below stands
for ``python -m papers.gradient_flow.figures --figure``; ``--quick`` shortens a figure to at most a minute.

=============================================  ============================  ===============================
of the paper (arXiv 2210.17216)                command                       measured, drawn and judged in
=============================================  ============================  ===============================
Fig. 1: the extended minimum, Q on its orbits  ``F 1``, computed picture     ``figure_1_extended_minimum``
Fig. 2: trajectories on constant Q             ``F 2``, computed picture     ``figure_2_trajectories``
Fig. 3: drift of Q under gradient descent      ``F 3``                       ``figure_3_drift``
Fig. 4, 5: distribution of Q at random starts  ``F 4``, ``F 5``              ``figures_4_5_distribution``
Fig. 6: convergence against Q                  ``F 6``                       ``figure_6_convergence``
Fig. 7: the same, radial                       ``F 7``                       ``figure_7_radial_convergence``
Fig. 8: sharpness and rate against Q           ``F 8``, computed picture     ``figure_8_rates``
Fig. 9: Hessian spectra                        ``F 9``                       ``figure_9_spectra``
Fig. 10: ensembles by group elements           ``F 10``, or ``ensemble``     ``figure_10_ensembles``
Fig. 11: adversarial examples                  ``F 11``, or ``adversarial``  ``figure_11_adversarial``
not in it: Q varied at a fixed function        ``F fixed-function``          ``fixed_function``
not in it: Q in a real network                 ``F real-network``            ``real_network``
not in it: one training, Q at every step       ``train``                     ``training``
=============================================  ============================  ===============================

Figures 10 and 11 take ``--data-dir DIR``; ``ensemble``, ``adversarial`` and ``train`` are
``python -m papers.gradient_flow.ensemble`` and so on. An experiment is a file or a folder with ``measure``, ``draw``
and ``judge`` in this order (:mod:`papers.common.experiment`), and knows no other; what several share, models and their
runs, is in ``networks``; every threshold of a claim stands in ``claims.py`` beside the paper's own number. Small
results are in ``results``.
"""
