"""Learners that compare: embed every item, then let the distances decide.

Each is a function ``learner(support_x, support_y, query_x) -> logits``: (B, S, ...), (B, S), (B, Q, ...) -> (B, Q, N).
On a data set that is embedded already (float vectors), use the same learner with ``nn.Identity()`` for an embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn_lite.episodes import count_ways
from metalearn_lite.nets import Conv4


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_q - b_n‖² for each pair: (B, Q, D), (B, N, D) -> (B, Q, N)."""
    # -2ab + a² + b² is one matrix product; cdist would lose the gradient where two points coincide
    return (a.square().sum(-1)[..., None] + b.square().sum(-1)[:, None, :] - 2 * a @ b.mT).clamp_min(0)


def prototypes(z: Tensor, y: Tensor, way: int) -> Tensor:
    """The mean embedding of each class (Snell et al. 2017, eq. 1): (B, S, D), (B, S) -> (B, way, D). Shots may differ."""
    member = F.one_hot(y, way).to(z)  # (B, S, N)
    return member.mT @ z / member.sum(1)[..., None]


def prototypical_logits(support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
    """Minus the squared distance to each prototype (Snell et al. 2017, eq. 2): (B, S, D), (B, S), (B, Q, D) -> (B, Q, N)."""
    return -squared_distances(query_z, prototypes(support_z, support_y, count_ways(support_y)))


class PrototypicalNetwork(nn.Module):
    """Nearest class mean in a learned embedding (Snell, Swersky, Zemel 2017).

    ``embed`` maps (n, ...) to (n, D). Support and query of all tasks go through it as one batch.
    """

    def __init__(self, embed: nn.Module):
        super().__init__()
        self.embed = embed

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        tasks, shots = support_x.shape[:2]
        x = torch.cat([support_x, query_x], 1)  # (B, S + Q, ...)
        z = self.embed(x.flatten(0, 1)).unflatten(0, (tasks, -1)).flatten(2)  # (B, S + Q, D)
        return prototypical_logits(z[:, :shots], support_y, z[:, shots:])


class NearestNeighbour(nn.Module):
    """Minus the squared distance to the nearest support item of each class; items are compared as they are (pixels)."""

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way = count_ways(support_y)
        distance = squared_distances(query_x.flatten(2), support_x.flatten(2))  # (B, Q, S)
        other = F.one_hot(support_y, way).mT[:, None] == 0  # (B, 1, N, S): item is not of the class
        return -distance[:, :, None].masked_fill(other, torch.inf).amin(-1)  # (B, Q, N)


class Chance(nn.Module):
    """Knows nothing: logits are drawn from a normal distribution, so each class is as likely as the others."""

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.generator = generator

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        shape = (*query_x.shape[:2], count_ways(support_y))
        return torch.randn(shape, generator=self.generator).to(query_x)


def random_features(generator: torch.Generator, width: int = 64) -> PrototypicalNetwork:
    """The baseline "no training at all": prototypes in a Conv4 with random weights.

    Its batch norm uses the statistics of the items at hand: a net that never trained has no running averages.
    """
    return PrototypicalNetwork(Conv4(width, norm="task", generator=generator))
