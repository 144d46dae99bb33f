"""The networks of the paper and their training, which every experiment shares.

| file | what |
|---|---|
| `config.py`, `presets.py` | what a training is, checked; the published recipe |
| `kinds.py` | the seven kinds of network |
| `tied.py` | equivariant layers: tied parameters, expanded to those of the plain network; the first draw |
| `rule.py` | schedule, gate, invariance loss and the step |
| `plain.py` | the trained network as a function, whatever its kind |
| `finished.py` | a training read back |
| `run.py` | one network from its configuration to its directory; many seeds |
"""
