"""The networks and their runs, which several experiments share.

| file | what |
|---|---|
| `config.py`, `presets.py` | what a training run is, checked; the paper's panels as presets |
| `charges/` | which charges of a network are watched, and what is recorded of them |
| `run.py` | a run from its configuration to its directory |
| `finished.py` | a finished run read back |
| `summary.py` | the few numbers of a run, layer by layer |
| `laws.py` | claims: what the laws predict, judged over runs |
"""
