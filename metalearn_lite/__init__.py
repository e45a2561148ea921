"""metalearn_lite: real, short and fast implementations of meta-learning methods, one module a lesson."""

import torch

__version__ = "0.1.0"


def device() -> torch.device:
    """The best device of this machine: a CUDA card, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
