"""What reproduced, on one page: ``python -m papers.report [RUN...]``.

``gather`` reads runs, by default the committed results, into one row for each figure of a paper; ``markdown`` and
``html`` write them as pages. ``--update`` writes the committed pages anew, ``papers/*/results/README.md`` and the
table of the README, from the ``claims.json`` beside them; a test fails where they disagree. Prose is by hand:
``notes.md`` in a result's folder stands on its page.
"""
