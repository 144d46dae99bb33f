"""The paper's panels: free filter norms against fixed ones while one number of the learning rule varies.

`definitions.py` says what each panel varies and holds, `measure.py` makes its runs, `draw.py` its picture, `judge.py`
its claims.
"""
