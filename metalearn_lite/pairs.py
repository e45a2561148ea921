"""Training by pairs and triplets: what to draw, what to minimise. The learners are in `metric`.

A draw and an objective go into `meta_train` together:

    PairSampler   with contrastive (for a SiameseNetwork) or pair_cross_entropy (for a WeightedSiamese)
    PKSampler     with triplet_batch_hard or triplet_semi_hard (for a SiameseNetwork or a PrototypicalNetwork)

An objective with another margin than the default: ``functools.partial(contrastive, margin=2.0)``.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn_lite.episodes import EpisodeSampler, _as_floats, _at_least
from metalearn_lite.metric import squared_distances, unit_length
from metalearn_lite.nets import embed_items


def distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a - b‖ of each pair: (..., D), (..., D) -> (...). Where the two coincide the gradient is zero, not NaN."""
    return (a - b).square().sum(-1).clamp_min(1e-12).sqrt()  # the root's slope at zero is infinite


# --- Pairs ----------------------------------------------------------------------------------------------------------


class Pairs(NamedTuple):
    """A batch of n pairs of items."""

    a: Tensor  # (n, ...)
    b: Tensor  # (n, ...)
    same: Tensor  # (n,) float: 1 where the two are of one class, else 0


class PairSampler:
    """Draws pairs from a data set, by turns of one class and of two: ``sampler()`` is a `Pairs`.

    Classes and items are drawn anew for each pair. The two items of a pair never have the same number: an item is not
    its own pair, and where the number names the drawer, as in Omniglot, the drawer does not tell the pairs apart.
    Images arrive as float32 (n, 1, H, W) between 0 (paper) and 1 (ink), vectors as (n, D).

    dataset    a `FewShotDataset` with at least two classes of at least two items
    pairs      n, an even number
    generator  the source of randomness, on the CPU
    device     where the pairs are wanted
    """

    def __init__(self, dataset, pairs: int, generator: torch.Generator, device=None):
        _at_least("pairs", pairs, 2)
        if pairs % 2:
            raise ValueError(f"pairs: {pairs} is odd, expected as many pairs of one class as of two")
        self.items = dataset.items if device is None else dataset.items.to(device)
        if min(self.items.shape[:2]) < 2:
            raise ValueError(f"dataset: has {self.items.shape[0]} classes of {self.items.shape[1]} items, "
                             "expected at least two of each")
        self.pairs, self.generator = pairs, generator
        self._same = (torch.arange(pairs, device=self.items.device) % 2 == 0).float()

    def draw_indices(self) -> tuple[Tensor, Tensor]:
        """Which classes (2, n) and which item of each (2, n)."""
        n_classes, per_class = self.items.shape[:2]

        def random(low: int, high: int) -> Tensor:
            return torch.randint(low, high, (self.pairs,), generator=self.generator)

        first, item = random(0, n_classes), random(0, per_class)
        other = (first + random(1, n_classes)) % n_classes
        second = torch.where(self._same.cpu() > 0, first, other)
        return torch.stack([first, second]), torch.stack([item, (item + random(1, per_class)) % per_class])

    def __call__(self) -> Pairs:
        classes, items = self.draw_indices()
        rows = (classes * self.items.shape[1] + items).flatten().to(self.items.device)
        drawn = _as_floats(self.items.flatten(0, 1).index_select(0, rows))  # (2n, ...)
        return Pairs(*drawn.chunk(2), self._same.clone())


def contrastive_loss(a: Tensor, b: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """Mean of ½ d² for a pair of one class and ½ max(0, margin - d)² for a pair of two (Hadsell et al. 2006, eq. 4).

    a, b (n, D), same (n,) with 1 for one class (the paper's Y is 0 there); d is the distance, not its square.
    """
    _check_margin(margin)
    together = (a - b).square().sum(-1)
    apart = F.relu(margin - distance(a, b)).square()
    return (same * together + (1 - same) * apart).mean() / 2


def contrastive(learner: nn.Module, pairs: Pairs, margin: float = 1.0) -> Tensor:
    """Objective: `contrastive_loss` of the pairs' embeddings, both halves embedded as one batch."""
    return contrastive_loss(*learner.embed(torch.cat([pairs.a, pairs.b])).flatten(1).chunk(2), pairs.same, margin)


def pair_cross_entropy(learner: nn.Module, pairs: Pairs) -> Tensor:
    """Objective: binary cross-entropy of "these two are of one class" (Koch et al. 2015)."""
    return F.binary_cross_entropy_with_logits(learner.score(pairs.a, pairs.b), pairs.same)


# --- Triplets -------------------------------------------------------------------------------------------------------


class ClassBatch(NamedTuple):
    """B batches, each of P classes with K items: "PK batches" in Hermans et al. 2017."""

    x: Tensor  # (B, P * K, ...)
    y: Tensor  # (B, P * K) int64, 0..P-1


class PKSampler:
    """Draws batches of P classes with K items each, from which triplets are mined: ``sampler()`` is a `ClassBatch`.

    dataset    a `FewShotDataset`
    classes    P, at least 2
    items      K, at least 2
    batch      B, batches of a draw; triplets are mined within each
    generator  the source of randomness, on the CPU
    device     where the items are wanted
    """

    def __init__(self, dataset, classes: int, items: int, generator: torch.Generator, batch: int = 1, device=None):
        _at_least("classes", classes, 2)
        _at_least("items", items, 2)
        if classes > dataset.items.shape[0] or items > dataset.items.shape[1]:
            raise ValueError(f"classes, items: {classes} and {items}, but the data set has {dataset.items.shape[0]} "
                             f"classes of {dataset.items.shape[1]} items")
        self.generator = generator
        self._draw = EpisodeSampler(dataset, classes, 1, items - 1, batch, generator, device)

    def __call__(self) -> ClassBatch:
        task = self._draw()  # an episode whose items all have labels
        return ClassBatch(torch.cat([task.support_x, task.query_x], 1), torch.cat([task.support_y, task.query_y], 1))


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float | None = 0.2, squared: bool = True):
    """Mean of max(0, d(anchor, positive) - d(anchor, negative) + margin): (..., D) three times -> scalar.

    d is the squared distance in Schroff et al. 2015 (eq. 3; embeddings of length one, margin 0.2) and the distance in
    Hermans et al. 2017 (``squared=False``), whose soft margin, ln(1 + exp(d - d)), is ``margin=None``.
    Without any triplet the loss is zero.
    """
    if margin is not None:
        _check_margin(margin)
    if anchor.numel() == 0:
        return anchor.sum()
    if squared:
        gap = (anchor - positive).square().sum(-1) - (anchor - negative).square().sum(-1)
    else:
        gap = distance(anchor, positive) - distance(anchor, negative)
    return (F.softplus(gap) if margin is None else F.relu(gap + margin)).mean()


@torch.no_grad()
def batch_hard(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each item the farthest of its class and the nearest of another (Hermans et al. 2017, eq. 5).

    z (B, n, D), y (B, n) -> rows of anchors, positives, negatives in ``z.flatten(0, 1)``, each (B * n,).
    """
    d, positive, negative = _compare(z, y)
    farthest = d.masked_fill(~positive, -torch.inf).argmax(-1)  # (B, n)
    nearest = d.masked_fill(~negative, torch.inf).argmin(-1)
    first = torch.arange(len(z), device=z.device)[:, None] * z.shape[1]  # the row where each batch begins
    anchor = torch.arange(z.shape[1], device=z.device) + first
    return anchor.flatten(), (first + farthest).flatten(), (first + nearest).flatten()


@torch.no_grad()
def semi_hard(z: Tensor, y: Tensor, margin: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """For each anchor and positive the nearest negative that is farther than the positive, if within the margin.

    Schroff et al. 2015, eq. 4 and the lines after it: squared distances, all anchor-positive pairs. The paper leaves
    open which semi-hard negative is taken; the nearest violates the margin most. Pairs without one are left out.

    z (B, n, D), y (B, n) -> rows of anchors, positives, negatives in ``z.flatten(0, 1)``, each (triplets,).
    """
    _check_margin(margin)
    d, positive, negative = _compare(z, y)
    farther = negative[:, :, None] & (d[:, :, None] > d[..., None])  # (B, anchor, positive, negative)
    nearest, which = d[:, :, None].masked_fill(~farther, torch.inf).min(-1)  # (B, anchor, positive)
    task, a, p = (positive & (nearest < d + margin)).nonzero(as_tuple=True)
    first = task * z.shape[1]
    return first + a, first + p, first + which[task, a, p]


def triplet_batch_hard(learner: nn.Module, batch: ClassBatch, margin: float | None = None) -> Tensor:
    """Objective: distances, `batch_hard` triplets and, by default, the soft margin (Hermans et al. 2017).

    A loss that stays at ln 2 (or at the margin) says that all items are embedded alike: the hardest triplets drove them
    together. Fewer items of a class make them less hard; two worked on the glyphs, five did not within 400 updates.
    """
    z = embed_items(learner.embed, batch.x).flatten(2)
    return triplet_loss(*(z.flatten(0, 1)[rows] for rows in batch_hard(z, batch.y)), margin, squared=False)


def triplet_semi_hard(learner: nn.Module, batch: ClassBatch, margin: float = 0.2) -> Tensor:
    """Objective: squared distances and `semi_hard` triplets (Schroff et al. 2015).

    The paper's embedding has length one: end ``embed`` with `UnitLength`, or choose the margin to fit its lengths. The
    mean is over the triplets found: where a draw of several batches is split, each part has a mean of its own.
    """
    z = embed_items(learner.embed, batch.x).flatten(2)
    return triplet_loss(*(z.flatten(0, 1)[rows] for rows in semi_hard(z, batch.y, margin)), margin)


class UnitLength(nn.Module):
    """The last layer of an embedding on the unit sphere: (n, D) -> (n, D)."""

    def forward(self, z: Tensor) -> Tensor:
        return unit_length(z)


def _compare(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances of all items to all, which are positives, which are negatives: each (B, n, n)."""
    if z.ndim != 3 or y.shape != z.shape[:2]:
        raise ValueError(f"z, y: shapes are {tuple(z.shape)}, {tuple(y.shape)}, expected (B, n, D) and (B, n)")
    same = y[:, :, None] == y[:, None]
    positive = same & ~torch.eye(y.shape[1], dtype=torch.bool, device=y.device)
    if not positive.any(-1).all() or same.all(-1).any():
        raise ValueError("y: an item lacks a positive or a negative, expected two or more classes of two or more items")
    return squared_distances(z, z), positive, ~same


def _check_margin(margin: float) -> None:
    if not margin > 0:
        raise ValueError(f"margin: {margin}, expected a number above 0")
