"""Transfer: train on all classes of the past at once, carry the network over, adapt some of it to each new task.

Pretraining is ordinary classification in the one training loop:

    meta_train(Classifier(embed, len(dataset), generator=g), BatchSampler(dataset, 64, g), classification, updates=1000)

The learners below take the pretrained ``embed`` and have the one form
``learner(support_x, support_y, query_x) -> logits``: (B, S, ...), (B, S), (B, Q, ...) -> (B, Q, N).
On a data set that is embedded already, ``nn.Identity()`` is the embedding.

Frozen means: in eval mode while a learner of this module uses it, whatever mode the learner is in. Batch norm then
takes its running averages and does not update them, dropout within ``embed`` is off, and adapting to a task changes no
weight and no buffer. (Gradients do pass through, so that an outer loop can still train ``embed``.)
"""

import math
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn_lite.episodes import Batch, check_task, count_ways
from metalearn_lite.metric import prototypes, prototypical_logits
from metalearn_lite.nets import _initialise, embed_items
from metalearn_lite.optim import SGD

SCALE = 10.0  # a cosine is at most 1, too flat for a softmax; Gidaris & Komodakis (2018) start their factor here


@contextmanager
def frozen(embed: nn.Module):
    """``embed`` in eval mode for as long as it lasts; then each layer is in the mode it had."""
    modes = [(layer, layer.training) for layer in embed.modules()]
    embed.eval()
    try:
        yield embed
    finally:
        for layer, mode in modes:
            layer.training = mode


def _embed(embed: nn.Module, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
    """Support and query of all tasks through the frozen embedding as one batch: (B, S, D), (B, Q, D)."""
    x = torch.cat([support_x, query_x], 1)
    with frozen(embed):
        z = embed_items(embed, x).flatten(2)
    return z[:, : support_x.shape[1]], z[:, support_x.shape[1] :]


def cosine_logits(z: Tensor, weight: Tensor, scale: float | Tensor = SCALE) -> Tensor:
    """scale · cos(z, w_n) for each class (Gidaris & Komodakis 2018, eq. 2): (..., Q, D), (..., N, D) -> (..., Q, N)."""
    return scale * F.normalize(z, dim=-1, eps=1e-6) @ F.normalize(weight, dim=-1, eps=1e-6).mT


class Classifier(nn.Module):
    """The network that pretraining trains: one output for each training class, (n, ...) -> (n, classes).

    cosine    the head compares directions, with a learned scale, as Gidaris & Komodakis (2018) and Baseline++ of
              W.-Y. Chen et al. (2019) pretrain; otherwise it is linear (their Baseline)
    features  D, the width of the embedding; where it is not given, ``embed.features``
    """

    def __init__(self, embed: nn.Module, classes: int, *, cosine: bool = False, features: int | None = None,
                 generator: torch.Generator):
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes: {classes}, expected at least 1")
        features = getattr(embed, "features", None) if features is None else features
        if not isinstance(features, int):
            raise ValueError("features: not given, and embed has no number `features`; expected the embedding's width")
        self.embed = embed
        with torch.random.fork_rng(devices=[]):
            self.head = _initialise(nn.Linear(features, classes, bias=not cosine), generator)
        self.scale = nn.Parameter(torch.tensor(SCALE)) if cosine else None

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x).flatten(1)
        return self.head(z) if self.scale is None else cosine_logits(z, self.head.weight, self.scale)


def classification(learner: nn.Module, batch: Batch) -> Tensor:
    """The objective of pretraining: mean cross-entropy over all classes of the data set."""
    return F.cross_entropy(learner(batch.x), batch.y)


def shift_and_rotate(x: Tensor, generator: torch.Generator, pixels: float = 2.0, degrees: float = 10.0) -> Tensor:
    """Each image of (n, C, H, W) shifted by up to ``pixels`` each way and turned by up to ``degrees``.

    What comes in from beyond an edge is the edge continued. The draw is uniform, one for each image.
    """
    if x.ndim != 4:
        raise ValueError(f"x: shape is {tuple(x.shape)}, expected images (n, C, H, W)")
    draw = (2 * torch.rand(len(x), 3, generator=generator) - 1).to(x)  # (n, 3) between -1 and 1
    angle, shift = draw[:, 0] * math.radians(degrees), draw[:, 1:] * 2 * pixels / x.new_tensor([x.shape[3], x.shape[2]])
    rotate = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    grid = F.affine_grid(torch.cat([rotate, shift[..., None]], 2), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


class NearestCentroid(nn.Module):
    """The class whose mean embedding is nearest; the embedding is frozen, nothing is fitted.

    metric  "euclidean"  minus the squared distance, as a prototypical network's rule (Snell et al. 2017)
            "cosine"     10 times the cosine: Classifier-Baseline of Y. Chen et al. (2020, "A New Meta-Baseline for
                         Few-Shot Learning")
    """

    def __init__(self, embed: nn.Module, metric: str = "cosine"):
        super().__init__()
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric: {metric!r}, expected 'euclidean' or 'cosine'")
        self.embed, self.metric = embed, metric

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way = check_task(support_x, support_y, query_x)
        support_z, query_z = _embed(self.embed, support_x, query_x)
        if self.metric == "euclidean":
            return prototypical_logits(support_z, support_y, query_z)
        return cosine_logits(query_z, prototypes(support_z, support_y, way))


def logistic_regression(z: Tensor, y: Tensor, way: int, l2: float = 1.0, steps: int = 1000,
                        tolerance: float = 1e-5) -> tuple[Tensor, Tensor]:
    """The W, b of each task that minimise Σᵢ cross-entropy(W zᵢ + b, yᵢ) + l2/2 ‖W‖², for all tasks at once.

    (B, S, D), (B, S) -> W (B, N, D), b (B, N): those of scikit-learn's ``LogisticRegression(C=1/l2)``. b is not shrunk.

    Accelerated gradient descent (Nesterov 1983), restarted where it would run uphill (O'Donoghue & Candès 2015), with a
    step that is safe everywhere: the Hessian is at most half of zᵀz, plus l2 (Böhning 1992). It ends when no entry of
    any task's gradient is above ``tolerance`` times the largest at the start, or after ``steps`` steps.
    """
    centre = z.mean(1, keepdim=True)  # once the mean is out, the bound's blocks for weights and bias are apart,
    z = z - centre  # and each can have a step size of its own
    rate_w = 1 / (torch.linalg.matrix_norm(z.detach(), 2).square() / 2 + l2)[:, None, None]
    rate_b = 2 / z.shape[1]
    target = F.one_hot(y, way).to(z)
    w = ahead_w = z.new_zeros(len(z), z.shape[2], way)
    b = ahead_b = z.new_zeros(len(z), 1, way)
    time = z.new_ones(len(z), 1, 1)
    for step in range(steps):
        error = (z @ ahead_w + ahead_b).softmax(-1) - target  # (B, S, N)
        grad_w, grad_b = z.mT @ error + l2 * ahead_w, error.sum(1, keepdim=True)
        if step % 10 == 0:
            size = torch.cat([grad_w.detach(), grad_b.detach()], 1).abs().amax((1, 2))
            start = size if step == 0 else start
            if bool((size <= tolerance * start).all()):
                break
        new_w, new_b = ahead_w - rate_w * grad_w, ahead_b - rate_b * grad_b
        slope = (grad_w * (new_w - w)).sum((1, 2), keepdim=True) + (grad_b * (new_b - b)).sum((1, 2), keepdim=True)
        time = torch.where(slope > 0, 1.0, time)
        later = (1 + (1 + 4 * time.square()).sqrt()) / 2
        momentum, time = (time - 1) / later, later
        ahead_w, ahead_b = new_w + momentum * (new_w - w), new_b + momentum * (new_b - b)
        w, b = new_w, new_b
    return ahead_w.mT, (ahead_b - centre @ ahead_w)[:, 0]


class LinearProbe(nn.Module):
    """A new linear classifier on frozen features: logistic regression on the support set, to convergence.

    l2  how much the weights are shrunk: see `logistic_regression`. Above 0: a support set that a line can separate, and
        most can, has no best weights without.
    """

    def __init__(self, embed: nn.Module, l2: float = 1.0):
        super().__init__()
        if not 0 < l2 < math.inf:
            raise ValueError(f"l2: {l2}, expected a finite number above 0")
        self.embed, self.l2 = embed, l2

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way = check_task(support_x, support_y, query_x)
        support_z, query_z = _embed(self.embed, support_x, query_x)
        weight, bias = logistic_regression(support_z, support_y, way, self.l2)
        return query_z @ weight.mT + bias[:, None]


def _step(optimizer, loss: Tensor, params: dict[str, Tensor], state, create_graph: bool):
    """One update of ``params``; without ``create_graph`` they come back as new leaves, so that no graph grows."""
    grads = dict(zip(params, torch.autograd.grad(loss, list(params.values()), create_graph=create_graph)))
    with torch.set_grad_enabled(create_graph):
        params, state = optimizer.update(params, grads, state)
    if not create_graph:
        params = {name: p.detach().requires_grad_() for name, p in params.items()}
    return params, state


class CosineClassifier(nn.Module):
    """A new cosine classifier on frozen features: logits 10 cos(z, w_n).

    The w_n start at the mean direction of each class's support features (the feature averaging of Gidaris & Komodakis
    2018, without their attention), and take ``steps`` steps down the support set's mean cross-entropy (Baseline++ of
    W.-Y. Chen et al. 2019, who start from random w_n and take mini-batches). With steps=0 they stay class means.
    """

    def __init__(self, embed: nn.Module, optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=1e-3), steps: int = 100):
        super().__init__()
        if steps < 0:
            raise ValueError(f"steps: {steps}, expected at least 0")
        self.embed, self.optimizer, self.steps = embed, optimizer, steps

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way, create_graph = check_task(support_x, support_y, query_x), torch.is_grad_enabled()
        z, query_z = _embed(self.embed, support_x, query_x)
        with torch.enable_grad():
            start = prototypes(F.normalize(z, dim=-1, eps=1e-6), support_y, way)  # (B, N, D)
            params = {"weight": start if start.requires_grad else start.requires_grad_()}
            state = self.optimizer.init(params)
            for _ in range(self.steps):
                logits = cosine_logits(z, params["weight"]).flatten(0, 1)
                loss = F.cross_entropy(logits, support_y.flatten()) * len(z)  # the sum over tasks: they share no weight
                params, state = _step(self.optimizer, loss, params, state, create_graph)
        return cosine_logits(query_z, params["weight"])


def discriminative_rates(embed: nn.Module, lr: float, factor: float = 2.6) -> dict[str, Tensor]:
    """Rates for `FineTune`: ``lr`` for the new head, for each layer ``factor`` times less than for the one above it.

    Howard & Ruder (2018, section 3.2) found 2.6 good. A layer is a weight matrix or kernel with its bias and the norm
    that follows.
    """
    if not factor >= 1:
        raise ValueError(f"factor: {factor}, expected at least 1")
    depth, layer = 0, {}
    for name, p in embed.named_parameters():
        depth += p.ndim > 1
        layer[f"embed.{name}"] = depth
    rates = {name: torch.tensor(lr / factor ** (depth + 1 - n)) for name, n in layer.items()}
    return {**rates, "head.weight": torch.tensor(lr), "head.bias": torch.tensor(lr)}


def top_layers(rates: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Only the rates of the head and of what begins with one of ``prefixes``: all else stays frozen in `FineTune`."""
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in rates):
            raise ValueError(f"prefixes: no parameter begins with {prefix!r}, expected one of {', '.join(rates)}")
    return {name: rate for name, rate in rates.items() if name.startswith(("head.", *prefixes))}


class FineTune(nn.Module):
    """A new linear head on a copy of the network, both trained on the task's support set, anew for each task.

    optimizer  one of `optim`, with its weight decay. Where its ``lr`` is a dict, only the parameters named in it are
               trained, each at its rate: "head.weight", "head.bias", "embed.blocks.0.weight", ..; see
               `discriminative_rates` and `top_layers`. Else all are, but for those whose ``requires_grad`` is off.
    steps      full passes over the support set
    dropout    share of the features that the head does not see, drawn anew at each step; none when predicting
    augment    (x, generator) -> x, makes each step's support images: `shift_and_rotate`, say
    patience   early stopping: the last support item of each class is held out of training, and the weights with the
               least loss on those are kept; training ends after ``patience`` steps without a new least. A task with a
               single support item of some class has nothing to hold out and takes ``steps`` steps; so do all if None.
    generator  the source of dropout and augmentation, on the CPU

    The head starts at zero, so nothing is drawn for it and no label is preferred. ``embed`` is in eval mode throughout:
    its weights move, its batch norm keeps the running averages. With an ``embed`` that never trained this is training
    from scratch. Let that be a `Conv4(norm="task")`, for an untrained batch norm has no averages worth keeping; its
    predictions then depend on the other queries of the task.

    Adapting never changes ``embed`` itself or its buffers. Tasks are adapted one after the other.

    Raises FloatingPointError as soon as the loss on a support set is not finite.
    """

    def __init__(self, embed: nn.Module, optimizer=SGD(lr=0.003, momentum=0.9), steps: int = 20, *,
                 dropout: float = 0.0, augment=None, patience: int | None = None,
                 generator: torch.Generator | None = None):
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps: {steps}, expected at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: {dropout}, expected at least 0 and below 1")
        if patience is not None and patience < 1:
            raise ValueError(f"patience: {patience}, expected at least 1, or None")
        if (dropout or augment is not None) and generator is None:
            raise ValueError("generator: None, expected a torch.Generator to draw dropout and augmentation from")
        lr = getattr(optimizer, "lr", None)
        known = [f"embed.{name}" for name, p in embed.named_parameters() if p.requires_grad]
        self.trained = [name for name in known if not isinstance(lr, dict) or name in lr]
        known += ["head.weight", "head.bias"]
        if isinstance(lr, dict) and (odd := set(lr) ^ {*self.trained, *known[-2:]}):
            raise ValueError(f"optimizer: its lr has wrong or missing names {sorted(odd)}, expected head.weight, "
                             f"head.bias and any others of {', '.join(known)}")
        self.embed, self.optimizer, self.steps, self.dropout = embed, optimizer, steps, dropout
        self.augment, self.patience, self.generator = augment, patience, generator

    def adapt(self, support_x: Tensor, support_y: Tensor) -> dict[str, Tensor]:
        """The parameters for one task, by name: (S, ...), (S,) -> embed's of (all of them) and the head's."""
        way, create_graph = count_ways(support_y[None]), torch.is_grad_enabled()
        with torch.no_grad(), frozen(self.embed):
            features = self.embed(support_x).flatten(1)
        with torch.enable_grad():
            fixed = {f"embed.{name}": p if create_graph else p.detach() for name, p in self.embed.named_parameters()}
            params = {name: fixed[name] if create_graph else fixed[name].requires_grad_() for name in self.trained}
            params["head.weight"] = features.new_zeros(way, features.shape[1]).requires_grad_()
            params["head.bias"] = features.new_zeros(way).requires_grad_()
            x, y, held_x, held_y = self._hold_out(support_x, support_y, way)
            state, best, least, waited = self.optimizer.init(params), params, math.inf, 0
            for step in range(self.steps):
                seen = x if self.augment is None else self.augment(x, self.generator)
                loss = F.cross_entropy(self._logits({**fixed, **params}, seen, self.dropout), y)
                if not torch.isfinite(loss):
                    raise FloatingPointError(f"the support set's loss is {loss.item()} at step {step}: lower the rate")
                params, state = _step(self.optimizer, loss, params, state, create_graph)
                if held_x is None:
                    best = params
                    continue
                with torch.no_grad():
                    held_loss = F.cross_entropy(self._logits({**fixed, **params}, held_x), held_y).item()
                best, least, waited = (params, held_loss, 0) if held_loss < least else (best, least, waited + 1)
                if waited == self.patience:
                    break
        return {**fixed, **best}

    def _hold_out(self, x: Tensor, y: Tensor, way: int):
        if self.patience is None or int(torch.bincount(y, minlength=way).min()) < 2:
            return x, y, None, None
        last = torch.stack([(y == n).nonzero()[-1, 0] for n in range(way)])
        stays = torch.ones_like(y, dtype=torch.bool).index_fill(0, last, False)
        return x[stays], y[stays], x[last], y[last]

    def _logits(self, params: dict[str, Tensor], x: Tensor, dropout: float = 0.0) -> Tensor:
        weights = {name.removeprefix("embed."): p for name, p in params.items() if name.startswith("embed.")}
        with frozen(self.embed):
            z = functional_call(self.embed, weights, x).flatten(1)
        if dropout:
            z = z * (torch.rand(z.shape, generator=self.generator) >= dropout).to(z) / (1 - dropout)
        return F.linear(z, params["head.weight"], params["head.bias"])

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        check_task(support_x, support_y, query_x)
        tasks = zip(support_x, support_y, query_x)
        return torch.stack([self._logits(self.adapt(x, y), query) for x, y, query in tasks])
