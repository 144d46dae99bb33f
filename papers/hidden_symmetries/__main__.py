"""``python -m papers.hidden_symmetries``: the paper's figures, each with its command and where its code is."""

import papers.hidden_symmetries
from papers.common.cli import show

if __name__ == "__main__":
    show(papers.hidden_symmetries.__doc__.strip())
