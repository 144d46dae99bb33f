"""Figure 10: ensembles made of one trained network by group elements."""
