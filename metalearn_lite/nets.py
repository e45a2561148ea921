"""Small networks. Weights are drawn from a `torch.Generator`, never from the global random state."""

import math
from pathlib import Path

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


def embed_items(embed: nn.Module, x: Tensor) -> Tensor:
    """The items of all tasks through ``embed`` as one batch, (n, ...) -> (n, D...): in all (B, n, ...) -> (B, n, D...)."""
    return embed(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def mlp(sizes: list[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with ReLU between them: sizes [1, 40, 40, 1] maps (..., 1) to (..., 1) through two layers of 40."""
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes: {sizes}, expected at least two layer sizes, each at least 1")
    with torch.random.fork_rng(devices=[]):  # nn.Linear draws weights of its own; leave the global state as it was
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
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
        x = x.to(memory_format=torch.channels_last, copy=True)  # copy: one channel looks contiguous in either layout
        return self.head(self.blocks(x).flatten(1))


class VGG16(nn.Module):
    """The convolutions of torchvision's VGG16 (Simonyan & Zisserman 2015) as an embedding of colour images.

    Images (n, 3, H, W) between 0 and 1 become the mean over positions of the last feature map, (n, 512). The three
    fully connected layers of the original, trained for the thousand classes of ImageNet, are left out.

    weights  "DEFAULT": those trained on ImageNet, which torchvision downloads (528 MB) unless it has done so before;
             else the path of a file with a state_dict of torchvision's vgg16
    resize   True: prepare images as the weights' own transforms do, to 224x224. False: only normalise the colours. For
             32x32 images that is 50 times less work, at a size that the weights were not trained for.

    Raises RuntimeError where the download fails, ValueError for a file that does not hold the convolutions' weights.
    """

    def __init__(self, weights: str | Path = "DEFAULT", *, resize: bool = True):
        super().__init__()
        from torchvision.models import VGG16_Weights, vgg16  # here, because it takes a second to import

        entry = VGG16_Weights.DEFAULT
        if weights == "DEFAULT":
            try:
                state = entry.get_state_dict(progress=True, check_hash=True)
            except Exception as error:
                raise RuntimeError(
                    f"VGG16's weights could not be downloaded ({error}); fetch {entry.url} in another way and give the "
                    f"path of the file: VGG16(weights=\"vgg16-397923af.pth\"). Conv4 on glyphs() needs no download."
                ) from error
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        with torch.device("meta"):  # builds the layers without drawing 138 million weights first
            self.blocks = vgg16().features
        state = {name.removeprefix("features."): p for name, p in state.items() if name.startswith("features.")}
        try:
            self.blocks.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise ValueError(f"weights: {weights} does not hold VGG16's convolutions ({error})") from error
        transforms = entry.transforms()
        self.prepare = transforms if resize else None
        self.register_buffer("mean", torch.tensor(transforms.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(transforms.std).view(3, 1, 1), persistent=False)
        self.features = 512

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 32:
            raise ValueError(f"x: shape is {tuple(x.shape)}, expected (n, 3, H, W) with H and W at least 32")
        x = (x - self.mean) / self.std if self.prepare is None else self.prepare(x)
        return self.blocks(x).mean((2, 3))
