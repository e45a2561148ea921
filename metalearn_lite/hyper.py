"""Learners in which one network sets up another, from the support set, in one pass and without a gradient step.

    HyperNetwork     every parameter of a task network            regression; classification at the way it was built for
    HyperClassifier  the weights of a linear classifier           classification at any way
    FiLMNetwork      scales and shifts within a base network      regression; classification at any way

Weights made class by class are learned far sooner than the weights of all classes at once: there, that the order of the
classes means nothing has to be learned as well. So `HyperNetwork` is at home in regression.

Each is a learner (support_x, support_y, query_x) -> logits: (B, S, ...), (B, S), (B, Q, ...) -> (B, Q, N). In
regression support_y holds floats, items are vectors, answers are values: (B, S, D), (B, S, M), (B, Q, D) -> (B, Q, M).
All take any number of shots, and the order of the support set makes no difference: they see it through means only.
"""

import copy
import math

import torch
from torch import Tensor, nn

from metalearn_lite.episodes import check_query, check_task, count_ways
from metalearn_lite.metric import prototypes
from metalearn_lite.nets import embed_items, mlp


def class_means(embed: nn.Module, support_x: Tensor, support_y: Tensor) -> Tensor:
    """The mean embedding of the items of each class: (B, S, ...), (B, S) -> (B, N, D)."""
    return prototypes(embed_items(embed, support_x).flatten(2), support_y, count_ways(support_y))


def mean_of_pairs(embed: nn.Module, support_x: Tensor, support_y: Tensor) -> Tensor:
    """The mean embedding of the pairs (x, y): (B, S, D), (B, S, M) -> (B, E). ``embed`` maps (n, D + M) to (n, E)."""
    if not support_y.is_floating_point():
        raise TypeError(f"support_y: dtype is {support_y.dtype}, expected float values: this was built for regression")
    if support_y.ndim != 3 or support_y.numel() == 0:
        raise ValueError(f"support_y: shape is {tuple(support_y.shape)}, expected (tasks, support items, values)")
    if support_x.ndim != 3 or support_x.shape[:2] != support_y.shape[:2]:
        shape, wanted = tuple(support_x.shape), tuple(support_y.shape[:2])
        raise ValueError(f"support_x: shape is {shape}, expected {wanted} as in support_y, and one dimension more")
    return embed_items(embed, torch.cat([support_x, support_y], -1)).flatten(2).mean(1)


def _generating_mlp(sizes: list[int], generator: torch.Generator, start: Tensor | None = None) -> nn.Sequential:
    """An MLP whose answer is near ``start`` (default: zero) to begin with: what it says of the input is made small."""
    net = mlp(sizes, generator)
    with torch.no_grad():
        net[-1].weight.mul_(0.1)
        net[-1].bias.copy_(torch.zeros_like(net[-1].bias) if start is None else start)
    return net


def _check_sizes(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise ValueError(f"{name}: {size!r}, expected a whole number, at least 1")


class HyperNetwork(nn.Module):
    """A network whose output is the parameters of another (Ha, Dai, Le 2017), read from the support set.

    The task network keeps no parameters: only its form stays, on the device "meta", where tensors have a shape but no
    values. So it can run on nothing but what it is given. Ha et al. generate weights from a learned vector for each
    layer; here a summary of the support set takes that place, and one network makes all layers at once.

    Regression (``way`` is None): the summary is the mean embedding of the pairs (x, y); the task network reads query_x.
    Classification: the summary is the class means one after the other, so way is fixed, and relabelling the classes may
    change predictions; the task network reads the embedding of query_x.

    task_net  the form: maps (n, D) to (n, M), in classification (n, features) to (n, way). No batch norm, no buffers.
              The weights it comes with are where generation starts: at first its answers are those, changed a little.
    embed     maps pairs (n, D + M) to (n, features), in classification items (n, ...) to (n, features)
    """

    def __init__(self, task_net: nn.Module, embed: nn.Module, features: int, way: int | None = None,
                 hidden: int = 64, *, generator: torch.Generator):
        super().__init__()
        _check_sizes(features=features, way=way, hidden=hidden)
        for name, layer in task_net.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) or layer._buffers:
                raise ValueError(f"task_net: {name} has batch norm or buffers, expected a network of parameters only")
        self.shapes = {name: p.shape for name, p in task_net.named_parameters()}
        if not self.shapes:
            raise ValueError("task_net: has no parameters, so there is nothing to generate")
        start = torch.cat([p.detach().flatten() for p in task_net.parameters()])
        object.__setattr__(self, "task_net", copy.deepcopy(task_net).to("meta"))  # past nn.Module: not a part of it
        self.way, self.embed = way, embed
        self.norm = nn.LayerNorm(features * (way or 1))  # whatever the scale of the items, the generator's input is ~ 1
        self.norm_items = None if way is None else nn.LayerNorm(features)
        self.generate_from = _generating_mlp([features * (way or 1), hidden, len(start)], generator, start)

    def generate(self, support_x: Tensor, support_y: Tensor) -> dict[str, Tensor]:
        """The parameters of the task networks, one for each of the B tasks: name -> (B, *shape)."""
        if self.way is None:
            summary = mean_of_pairs(self.embed, support_x, support_y)
        else:
            way = count_ways(support_y)
            if way != self.way:
                raise ValueError(f"support_y: tasks of {way} classes, expected {self.way}, the way this was built for")
            summary = class_means(self.embed, support_x, support_y).flatten(1)
        flat = self.generate_from(self.norm(summary)).split([shape.numel() for shape in self.shapes.values()], -1)
        return {name: part.unflatten(-1, shape) if shape else part[:, 0]
                for (name, shape), part in zip(self.shapes.items(), flat)}

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        if self.way is None:
            check_query(support_x, query_x)
        else:
            check_task(support_x, support_y, query_x)
        made = self.generate(support_x, support_y)
        if self.way is not None:
            query_x = self.norm_items(embed_items(self.embed, query_x).flatten(2))

        def answer(params: dict[str, Tensor], x: Tensor) -> Tensor:
            return torch.func.functional_call(self.task_net, params, (x,))

        answers = torch.vmap(answer)(made, query_x)  # each task by its own network
        if answers.shape[-1] != (support_y.shape[-1] if self.way is None else self.way):
            wanted = f"{support_y.shape[-1]} as support_y has" if self.way is None else f"way = {self.way}"
            raise ValueError(f"task_net: its outputs have length {answers.shape[-1]}, expected {wanted}")
        return answers


class ClassWeights(nn.Module):
    """A row of weights and a bias for each class, made from the class's mean alone: (B, N, D) -> (B, N, D), (B, N).

    Every class goes through the same network, so there may be any number (Qiao et al. 2018; the linear classifier of CNAPs,
    Requeima et al. 2019).
    """

    def __init__(self, features: int, hidden: int = 64, *, generator: torch.Generator):
        super().__init__()
        _check_sizes(features=features, hidden=hidden)
        self.norm = nn.LayerNorm(features)
        self.generate_from = _generating_mlp([features, hidden, features + 1], generator)

    def forward(self, means: Tensor) -> tuple[Tensor, Tensor]:
        made = self.generate_from(self.norm(means))
        return made[..., :-1], made[..., -1]


class HyperClassifier(nn.Module):
    """A linear classifier on a learned embedding, its weights generated class by class: see `ClassWeights`.

    The generated network is the head, the embedding is shared by all tasks. Any way and shot; relabelling the classes
    relabels the predictions and does nothing else.
    """

    def __init__(self, embed: nn.Module, features: int, hidden: int = 64, *, generator: torch.Generator):
        super().__init__()
        self.embed = embed
        self.class_weights = ClassWeights(features, hidden, generator=generator)
        self.norm = nn.LayerNorm(features)

    def generate(self, support_x: Tensor, support_y: Tensor) -> dict[str, Tensor]:
        """The parameters of the linear classifiers of B tasks: weight (B, N, D), bias (B, N)."""
        weight, bias = self.class_weights(class_means(self.embed, support_x, support_y))
        return {"weight": weight, "bias": bias}

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        check_task(support_x, support_y, query_x)
        made = self.generate(support_x, support_y)
        return self.norm(embed_items(self.embed, query_x).flatten(2)) @ made["weight"].mT + made["bias"][:, None]


class FiLMNetwork(nn.Module):
    """A base network and a module that tunes it to the task: h ← γ h + β for each channel, before each ReLU.

    Feature-wise linear modulation (Perez et al. 2018, eq. 2, with γ = 1 + Δγ as they have it); γ and β are read from
    the support set as in TADAM (Oreshkin et al. 2018) and CNAPs (Requeima et al. 2019). The base network is one for all
    tasks. Freeze it with ``requires_grad_(False)`` and only the rest is meta-learned, as in CNAPs.

    base      an nn.Sequential with ReLUs, from (n, ...) to (n, M), in classification to (n, outputs): an MLP, say, or
              nn.Sequential(*Conv4(...).blocks, nn.Flatten())
    embed     regression: maps pairs (n, D + M) to (n, features). Classification: maps items (n, ...) to (n, features);
              a task is summed up by the mean of its class means.
    outputs   None for regression: the base network's output is the answer. For classification the length of its output
              vectors: support and query go through the modulated base, then a `HyperClassifier` works on them.
    """

    def __init__(self, base: nn.Sequential, embed: nn.Module, features: int, outputs: int | None = None,
                 hidden: int = 64, *, generator: torch.Generator):
        super().__init__()
        _check_sizes(features=features, outputs=outputs, hidden=hidden)
        if not isinstance(base, nn.Sequential):
            raise TypeError(f"base: a {type(base).__name__}, expected an nn.Sequential, whose layers can be told apart")
        width, self.channels = 0, []
        for layer in base:
            width = layer.weight.shape[0] if isinstance(layer, (nn.Linear, nn.Conv2d)) else width
            if isinstance(layer, nn.ReLU):
                self.channels.append(width)
        if not self.channels or 0 in self.channels:
            raise ValueError("base: has no ReLU, or one that no linear or convolutional layer stands before")
        self.base, self.embed = base, embed
        self.norm = nn.LayerNorm(features)
        self.condition = _generating_mlp([features, hidden, 2 * sum(self.channels)], generator)
        self.head = None if outputs is None else HyperClassifier(nn.Identity(), outputs, hidden, generator=generator)

    def modulation(self, support_x: Tensor, support_y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """γ and β of each ReLU of the base network, each (B, C)."""
        if self.head is None:
            summary = mean_of_pairs(self.embed, support_x, support_y)
        else:
            summary = class_means(self.embed, support_x, support_y).mean(1)
        parts = self.condition(self.norm(summary)).split([2 * c for c in self.channels], -1)
        return [(1 + part.chunk(2, -1)[0], part.chunk(2, -1)[1]) for part in parts]

    def modulated(self, x: Tensor, modulation: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The base network, with each task's items modulated in its own way: (B, n, ...) -> (B, n, D)."""
        rest, h = iter(modulation), x.flatten(0, 1)
        for layer in self.base:
            if isinstance(layer, nn.ReLU):
                gamma, beta = (t.repeat_interleave(x.shape[1], 0) for t in next(rest))  # (B·n, C)
                shape = (*gamma.shape, *[1] * (h.ndim - 2))  # (B·n, C, 1, 1) for images
                h = gamma.view(shape) * h + beta.view(shape)
            h = layer(h)
        return h.unflatten(0, x.shape[:2])

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        if self.head is None:
            check_query(support_x, query_x)
        else:
            check_task(support_x, support_y, query_x)
        modulation = self.modulation(support_x, support_y)
        if self.head is None:
            answers = self.modulated(query_x, modulation)
            if answers.shape[-1] != support_y.shape[-1]:
                raise ValueError(f"base: its outputs have length {answers.shape[-1]}, expected {support_y.shape[-1]} "
                                 f"as support_y has")
            return answers
        shots = support_x.shape[1]
        z = self.modulated(torch.cat([support_x, query_x], 1), modulation)
        return self.head(z[:, :shots], support_y, z[:, shots:])
