"""Tanaka & Kunin 2021, "Noether's Learning Dynamics: Role of Symmetry Breaking in Neural Networks" (arXiv 2105.02716).

A symmetry of the loss that the learning rule's kinetic energy does not share makes its Noether charge move; for the
scale symmetry of a filter before BatchNorm that motion is an adaptive learning rate. Each figure, its command (after
``python -m papers.noether.``) and its folder below:

===========================================  ==================================================  ===================
of the paper                                 command                                             folder
===========================================  ==================================================  ===================
norms predicted and measured, Eq. 16 and 17  ``train``                                           ``norm_dynamics``
panel A: learning rate, free, fixed norms    ``figures --panel a --data tiny_imagenet``          ``panels``
panel B: momentum                            ``figures --panel b --data tiny_imagenet``          ``panels``
panel C: weight decay                        ``figures --panel c --data tiny_imagenet``          ``panels``
panel D: initial norm                        ``figures --panel d --data tiny_imagenet``          ``panels``
Fig. 1a rotated starts                       ``figures --panel toys``: toy_rotated_starts        ``toys/rotation``
Fig. 2 charge against time for several m/mu  the same: toy_charge_decay                          ``toys/rotation``
Eq. 3 discretisation                         the same: toy_discretisation                        ``toys``
conserved surfaces                           the same: toy_conserved_surfaces                    ``toys/surfaces``
valley with free and fixed norm              the same: toy_valley                                ``toys/valley``
Eq. 18: RMSProp and the norm                 the same: toy_rmsprop                               ``toys/rmsprop``
every combination of a rule's numbers        ``sweep``                                           ``sweeps``
===========================================  ==================================================  ===================

``figures --panel a --runs DIR`` draws finished runs wherever they were made. ``claims`` has every threshold in one
table, ``networks`` the runs that several experiments share and the charges, ``results`` what was measured. The presets
of :mod:`papers.noether.networks.presets` are the panels' extremes at the paper's size.
"""
