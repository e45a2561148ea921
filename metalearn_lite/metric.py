"""Learners that compare: embed every item, then let the distances decide.

Each is a function ``learner(support_x, support_y, query_x) -> logits``: (B, S, ...), (B, S), (B, Q, ...) -> (B, Q, N).
``embed`` maps (n, ...) to (n, D): a Conv4 for images, an mlp for vectors. On a data set that is embedded already (float
vectors), use the same learner with ``nn.Identity()`` for an embedding.

Prototypical, matching and relation networks train on episodes; Siamese networks on pairs and triplets: see `pairs`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn_lite.episodes import check_query, check_task, count_ways
from metalearn_lite.nets import Conv4, embed_items, mlp


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_q - b_n‖² for each pair: (B, Q, D), (B, N, D) -> (B, Q, N).

    The rounding error is about the float's epsilon times the square of the widest distance in a task, however far from
    the origin the points lie: squares are taken from the task's first point b_0, not from the origin. So in float32 a
    distance below a thousandth of the widest one is not to be relied on.
    """
    origin = b[:, :1].detach()  # a shift changes no distance, so it has no gradient either
    a, b = a - origin, b - origin
    # -2ab + a² + b² is one matrix product; cdist would lose the gradient where two points coincide
    return (a.square().sum(-1)[..., None] + b.square().sum(-1)[:, None, :] - 2 * a @ b.mT).clamp_min(0)


def _embed_task(embed: nn.Module, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
    """Embeds support and query of all tasks as one batch: (B, S, ...), (B, Q, ...) -> (B, S, D...), (B, Q, D...)."""
    tasks, shots = support_x.shape[:2]
    if support_y.shape != (tasks, shots):
        raise ValueError(f"support_y: shape is {tuple(support_y.shape)}, expected {(tasks, shots)}, one label an item")
    check_query(support_x, query_x)
    z = embed_items(embed, torch.cat([support_x, query_x], 1))
    return z[:, :shots], z[:, shots:]


def by_class(values: Tensor, y: Tensor, way: int) -> Tensor:
    """Sorts what a query has to do with each support item by the item's class: (B, Q, S), (B, S) -> (B, Q, N, S).

    Items of other classes are minus infinity, so ``amax(-1)`` and ``logsumexp(-1)`` pass over them.
    """
    other = F.one_hot(y, way).mT[:, None] == 0  # (B, 1, N, S)
    return values[:, :, None].masked_fill(other, -torch.inf)


# --- Prototypical networks ------------------------------------------------------------------------------------------


def prototypes(z: Tensor, y: Tensor, way: int) -> Tensor:
    """Mean embedding of each class (Snell et al. 2017, eq. 1): (B, S, D), (B, S) -> (B, way, D). Shots may differ."""
    member = F.one_hot(y, way).to(z)  # (B, S, N)
    return member.mT @ z / member.sum(1)[..., None]


def prototypical_logits(support_z: Tensor, support_y: Tensor, query_z: Tensor) -> Tensor:
    """Minus squared distances to prototypes (Snell et al. 2017, eq. 2): (B, S, D), (B, S), (B, Q, D) -> (B, Q, N)."""
    return -squared_distances(query_z, prototypes(support_z, support_y, count_ways(support_y)))


class PrototypicalNetwork(nn.Module):
    """Nearest class mean in a learned embedding (Snell, Swersky, Zemel 2017).

    With squared distances this is a linear classifier of the embedding, made from the support set (section 2.4).
    """

    def __init__(self, embed: nn.Module):
        super().__init__()
        self.embed = embed

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        count_ways(support_y)  # wrong labels are an error before any work
        support_z, query_z = _embed_task(self.embed, support_x, support_y, query_x)
        return prototypical_logits(support_z.flatten(2), support_y, query_z.flatten(2))


# --- Siamese networks -----------------------------------------------------------------------------------------------


class SiameseNetwork(nn.Module):
    """One embedding, used twice: the nearer two items are, the likelier of one class (Hadsell, Chopra, LeCun 2006).

    A query belongs to the class of its best pair, that is of the nearest support item; with several shots the class's
    best item counts and the others do not. Train it with `pairs.contrastive` or with a triplet objective.
    """

    def __init__(self, embed: nn.Module):
        super().__init__()
        self.embed = embed

    def score(self, a: Tensor, b: Tensor) -> Tensor:
        """Verification: minus the squared distance of each pair, (n, ...), (n, ...) -> (n,). Higher is likelier."""
        za, zb = self.embed(torch.cat([a, b])).flatten(1).chunk(2)
        return -(za - zb).square().sum(-1)

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way = count_ways(support_y)
        support_z, query_z = _embed_task(self.embed, support_x, support_y, query_x)
        return by_class(-squared_distances(query_z.flatten(2), support_z.flatten(2)), support_y, way).amax(-1)


class WeightedSiamese(nn.Module):
    """A Siamese network that learns how much each feature counts: logit = Σ_j α_j |a_j - b_j| + β (Koch et al. 2015).

    The sigmoid of the logit is the probability that the two are of one class. β is the bias of the paper's last layer,
    needed because without it a pair of identical items would have probability 1/2, whatever the weights. The paper's
    embedding ends in a sigmoid; put one at the end of ``embed`` if you want it. A query belongs to the class of its
    best pair, with several shots too. Train it with `pairs.pair_cross_entropy`.

    features   D, the length of an embedding
    """

    def __init__(self, embed: nn.Module, features: int, generator: torch.Generator):
        super().__init__()
        self.embed = embed
        self.head = mlp([features, 1], generator)

    def score(self, a: Tensor, b: Tensor) -> Tensor:
        """Verification: the logit of "same class" for each pair, (n, ...), (n, ...) -> (n,)."""
        za, zb = self.embed(torch.cat([a, b])).flatten(1).chunk(2)
        return self.head((za - zb).abs()).squeeze(-1)

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way = count_ways(support_y)
        support_z, query_z = _embed_task(self.embed, support_x, support_y, query_x)
        difference = query_z.flatten(2)[:, :, None] - support_z.flatten(2)[:, None]  # (B, Q, S, D)
        return by_class(self.head(difference.abs()).squeeze(-1), support_y, way).amax(-1)


# --- Matching networks ----------------------------------------------------------------------------------------------


class FullContext(nn.Module):
    """Full context embeddings: each item is embedded anew in view of the support set (Vinyals et al. 2016, appendix A).

    Support: g_i = (output of an LSTM forwards) + (of one backwards) + z_i, along the support set as it comes: its order
    matters, although a set has none. Query: at each of ``reads`` steps an LSTM sees its z and what it read from the
    support set by attention; h = output + z. Queries do not see one another.

    (B, S, D), (B, Q, D) -> the same shapes.

    features   D, the length of an embedding
    reads      steps of the query's LSTM, K in the paper
    """

    def __init__(self, features: int, generator: torch.Generator, reads: int = 5):
        super().__init__()
        if reads < 1:
            raise ValueError(f"reads: {reads}, expected at least 1")
        self.reads = reads
        with torch.random.fork_rng(devices=[]):  # layers draw weights of their own; leave the global state as it was
            self.g = nn.LSTM(features, features, batch_first=True, bidirectional=True)
            self.f = nn.LSTMCell(2 * features, features)
        for parameter in self.parameters():  # PyTorch's own default for LSTMs
            nn.init.uniform_(parameter, -1 / math.sqrt(features), 1 / math.sqrt(features), generator=generator)

    def forward(self, support_z: Tensor, query_z: Tensor) -> tuple[Tensor, Tensor]:
        forwards, backwards = self.g(support_z)[0].chunk(2, -1)
        g = forwards + backwards + support_z  # (B, S, D)
        h, c = torch.zeros_like(query_z), torch.zeros_like(query_z).flatten(0, 1)
        for _ in range(self.reads):
            read = (h @ g.mT).softmax(-1) @ g  # (B, Q, D); at first h is zero: the mean of g
            output, c = self.f(torch.cat([query_z, read], -1).flatten(0, 1), (h.flatten(0, 1), c))
            h = output.unflatten(0, query_z.shape[:2]) + query_z
        return g, h


class MatchingNetwork(nn.Module):
    """Labels of the support set, weighted by attention (Vinyals et al. 2016, eq. 1): p(y) = Σ_i a_i [y_i = y].

    The attention a is the softmax over the support set of the cosine similarities (section 2.1.1). The logits are the
    logarithms of these probabilities, so their softmax gives the probabilities back.

    context   a `FullContext`, or None for embeddings that do not know of one another
    """

    def __init__(self, embed: nn.Module, context: FullContext | None = None):
        super().__init__()
        self.embed = embed
        self.context = context

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way = count_ways(support_y)
        support_z, query_z = (z.flatten(2) for z in _embed_task(self.embed, support_x, support_y, query_x))
        if self.context is not None:
            support_z, query_z = self.context(support_z, query_z)
        cosine = unit_length(query_z) @ unit_length(support_z).mT  # (B, Q, S)
        return by_class(cosine.log_softmax(-1), support_y, way).logsumexp(-1)


def unit_length(z: Tensor) -> Tensor:
    """z / ‖z‖ over the last dimension. A length below 1e-4 is taken as 1e-4, which bounds the gradient at zero."""
    return F.normalize(z, dim=-1, eps=1e-4)


# --- Relation networks ----------------------------------------------------------------------------------------------


class RelationNetwork(nn.Module):
    """The distance itself is a network: relation([class, query]) for each pair (Sung et al. 2018, eq. 1).

    A class is the sum of the embeddings of its items, as in the paper: it grows with the shot, so test with the shot of
    the training. The logits are what goes into the paper's sigmoid. Train it with `relation_error`, the paper's; plain
    cross-entropy on the same logits makes the classes compete and is a common alternative.

    relation   maps (n, 2D) to (n, 1): ``mlp([2 * D, 32, 1], generator)``, say. Where ``embed`` gives feature maps
               (n, C, H, W), as in the paper, it maps (n, 2C, H, W) to (n, 1).
    """

    def __init__(self, embed: nn.Module, relation: nn.Module):
        super().__init__()
        self.embed = embed
        self.relation = relation

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way = count_ways(support_y)
        support_z, query_z = _embed_task(self.embed, support_x, support_y, query_x)
        member = F.one_hot(support_y, way).to(support_z)  # (B, S, N)
        classes = (member.mT @ support_z.flatten(2)).unflatten(2, support_z.shape[2:])  # (B, N, D...)
        tasks, queries = query_z.shape[:2]
        shape = (tasks, queries, way, *query_z.shape[2:])
        pairs = torch.cat([classes[:, None].expand(shape), query_z[:, :, None].expand(shape)], 3)  # (B, Q, N, 2D...)
        return self.relation(pairs.flatten(0, 2)).reshape(tasks, queries, way)


def relation_error(learner: RelationNetwork, episode) -> Tensor:
    """Objective: mean squared error of the relation scores, which should be 1 for the query's class, else 0 (eq. 2)."""
    scores = learner(episode.support_x, episode.support_y, episode.query_x).sigmoid()  # (B, Q, N)
    return F.mse_loss(scores, F.one_hot(episode.query_y, scores.shape[-1]).to(scores))


# --- Baselines ------------------------------------------------------------------------------------------------------


class NearestNeighbour(nn.Module):
    """Minus the squared distance to the nearest support item of each class; items are compared as they are (pixels)."""

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way = check_task(support_x, support_y, query_x)
        return by_class(-squared_distances(query_x.flatten(2), support_x.flatten(2)), support_y, way).amax(-1)


class Chance(nn.Module):
    """Knows nothing: logits are drawn from a normal distribution, so each class is as likely as the others."""

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.generator = generator

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        shape = (*query_x.shape[:2], check_task(support_x, support_y, query_x))
        return torch.randn(shape, generator=self.generator).to(query_x)


def random_features(generator: torch.Generator, width: int = 64) -> PrototypicalNetwork:
    """The baseline "no training at all": prototypes in a Conv4 with random weights.

    Its batch norm uses the statistics of the items at hand: a net that never trained has no running averages.
    """
    return PrototypicalNetwork(Conv4(width, norm="task", generator=generator))
