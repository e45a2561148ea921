"""Small networks. Weights are drawn from a `torch.Generator`, never from the global random state."""

import math

import torch
from torch import Tensor, nn


def _initialise(net: nn.Module, generator: torch.Generator) -> nn.Module:
    """PyTorch's own default for linear and convolutional layers, drawn from ``generator``: U(-1/√fan_in, 1/√fan_in)."""
    for layer in net.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in (layer.weight, layer.bias):
                if parameter is not None:
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return net


def mlp(sizes: list[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with ReLU between them: sizes [1, 40, 40, 1] maps (..., 1) to (..., 1) through two layers of 40."""
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes: {sizes}, expected at least two layer sizes, each at least 1")
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    with torch.random.fork_rng(devices=[]):  # nn.Linear draws weights of its own; leave the global state as it was
        return _initialise(nn.Sequential(*layers[:-1]), generator)


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm, 2x2 max-pooling, ReLU (Vinyals et al. 2016; Snell et al. 2017).

    Images (n, channels, H, W) with H, W >= 16 become features (n, D), where D = width · ⌊H/16⌋ · ⌊W/16⌋, so D = width
    for 28x28; with ``out``, one linear layer more makes them (n, out). ``features`` holds D for 28x28.

    norm  "running"  batch statistics while training, running averages in ``eval()``: a prediction then does not depend
                     on the rest of the batch. Needed where embeddings are kept.
          "task"     statistics of the batch at hand, always: feed it one task at a time (Finn et al. 2017's code).
          None       no normalisation.

    Pooling stands before the ReLU: max and ReLU commute, so function and gradient are the same for a quarter of the work.
    """

    def __init__(self, width: int = 64, out: int | None = None, *, norm: str | None = "running",
                 generator: torch.Generator, channels: int = 1):
        super().__init__()
        if norm not in ("running", "task", None):
            raise ValueError(f"norm: {norm!r}, expected 'running', 'task' or None")
        if width < 1:
            raise ValueError(f"width: {width}, expected at least 1")
        with torch.random.fork_rng(devices=[]):
            layers: list[nn.Module] = []
            for block in range(4):
                layers.append(nn.Conv2d(channels if block == 0 else width, width, 3, padding=1))
                if norm is not None:
                    layers.append(nn.BatchNorm2d(width, track_running_stats=norm == "running"))
                layers += [nn.MaxPool2d(2), nn.ReLU()]
            self.blocks = nn.Sequential(*layers)
            self.features = width
            self.head = nn.Identity() if out is None else nn.Linear(width, out)
            _initialise(self, generator)
        self.to(memory_format=torch.channels_last)  # the faster layout for convolutions on today's CPUs and GPUs

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or min(x.shape[-2:]) < 16:
            raise ValueError(f"x: shape is {tuple(x.shape)}, expected (n, channels, H, W) with H and W at least 16")
        x = x.contiguous(memory_format=torch.channels_last)
        return self.head(self.blocks(x).flatten(1))
