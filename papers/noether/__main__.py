"""``python -m papers.noether``: the paper's figures, each with its command and where its code is."""

import papers.noether
from papers.common.cli import show

if __name__ == "__main__":
    show(papers.noether.__doc__.strip())
