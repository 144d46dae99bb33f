"""Bökman & Kahl 2023, "Investigating how ReLU-networks encode symmetries" (NeurIPS 2023, arXiv 2305.17017).

A ReLU network that is equivariant layer by layer is equivariant; the paper asks the converse. Its conjecture: most
CNNs trained on data whose distribution a flip leaves alone are close to a group-equivariant CNN, which shows when a
network and its mirror image, channels matched, are merged without a barrier. Each experiment, its command (after
``python -m papers.relu_equivariance.``) and its folder below:

==========================================================  ===================================  ===================
of the paper                                                command                              folder
==========================================================  ===================================  ===================
the seven kinds of VGG11, trained                           ``train --kind cnn_aug``             ``networks``
merging with the mirror image and with another network      ``merge --networks DIR``             ``merging``
Fig. 1: first filters and their partners in the mirror      the same                             ``merging``
Table 1: accuracy, invariance error, barrier, by kind       ``table1``                           ``table_1``
ImageNet: a pretrained ResNet-50 and its mirror image       ``resnet50 --weights FILE``          ``resnet_50``
a ResNet-50 trained with flips or the invariance loss       ``train_resnet50 --images DIR``      ``resnet_50``
left open: quarter turns and flips, on satellite tiles      ``groups --preset eurosat``          ``turns_and_flips``
a later theorem: identifiable and invariant, so layerwise   ``identifiable``                     ``invariant_mlps``
==========================================================  ===================================  ===================

``pairs`` has the one protocol by which all pairs of networks are matched, merged and corrected; ``claims`` has every
threshold in one table, written before the first run.
"""
