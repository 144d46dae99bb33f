"""Zhao, Ganev, Walters, Yu, Dehmamy 2023, "Symmetries, Flat Minima, and the Conserved Quantities of Gradient Flow".

A symmetry of the loss makes its minima flat, and one with a symmetric generator gives a quantity Q that gradient flow
conserves: Q says where on the flat minimum a run ends, how sharp it is there and how fast it came. ``F`` below stands
for ``python -m papers.gradient_flow.figures --figure``; ``--quick`` shortens a figure to at most a minute.

=============================================  ======================================================================
of the paper (arXiv 2210.17216)                command
=============================================  ======================================================================
Fig. 1, 2, 8: the extended minimum, Q and      ``F 1``, ``F 2``, ``F 8``, computed pictures
trajectories, sharpness and rate against Q
Fig. 3: drift of Q under gradient descent      ``F 3``
Fig. 4, 5: distribution of Q at random starts  ``F 4``, ``F 5``
Fig. 6, 7: convergence against Q               ``F 6``, ``F 7``
Fig. 9: Hessian spectra                        ``F 9``
Fig. 10: ensembles by group elements           ``F 10 --data-dir DIR`` or ``python -m papers.gradient_flow.ensemble``
Fig. 11: adversarial examples                  ``F 11 --data-dir DIR`` or ``python -m papers.gradient_flow.adversarial``
not in it: Q varied at a fixed function        ``F fixed-function``
not in it: Q in a real network                 ``F real-network``
=============================================  ======================================================================

``python -m papers.gradient_flow.train`` is one training run with its conserved quantities recorded at every step: a
two-layer network, the CIFAR-10 network of Figures 10 and 11, or VGG11. Small results are in
``papers/gradient_flow/results``.
"""
