"""One training with every neuron's conserved quantity measured at every step, and what the exact laws say of it.

Importing this loads nothing heavy: the command reads its configuration here before it knows that there is no mistake.
"""
