"""``python -m papers.gradient_flow``: the paper's figures, each with its command and where its code is."""

import papers.gradient_flow
from papers.common.cli import show

if __name__ == "__main__":
    show(papers.gradient_flow.__doc__.strip())
