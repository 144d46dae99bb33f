"""Sweeps: every combination of the learning rule's numbers in one compiled program.

`config.py` says what varies, `member.py` what one member is, `measure.py` trains them all, `draw.py` draws.
"""
