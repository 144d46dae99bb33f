"""Figure 11: ensembles under adversarial attack."""
