"""``python -m papers.relu_equivariance``: each experiment with its command and where its code is."""

import papers.relu_equivariance
from papers.common.cli import show

if __name__ == "__main__":
    show(papers.relu_equivariance.__doc__.strip())
