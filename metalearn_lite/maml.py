"""Learning an initialisation from which a few gradient steps learn a task: MAML and its relatives.

    MAML       Finn, Abbeel, Levine 2017             MAML(net), or its approximation MAML(net, first_order=True)
    Meta-SGD   Li, Zhou, Chen, Li 2017               meta_sgd(net): a rate for every weight, learned too
    ANIL       Raghu, Raghu, Bengio, Vinyals 2020    anil(net): only the head adapts
    Reptile    Nichol, Achiam, Schulman 2018         MAML(net, steps=5), meta_train(..., objective=reptile)

Letters as in the papers: φ is the initialisation, which ``net.parameters()`` hold; θ are the weights of one task.
Weights are never changed in place: an inner step makes a new dict of tensors, a differentiable function of the old one.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn_lite.episodes import Episode, _at_least, check_query, count_ways
from metalearn_lite.nets import Conv4
from metalearn_lite.optim import GradientDescent, Tensors


def gradients(value: Tensor, params: Tensors, create_graph: bool) -> Tensors:
    """d value / d params, by name. Raises ValueError if a parameter plays no part in ``value``."""
    result = torch.autograd.grad(value, list(params.values()), create_graph=create_graph, allow_unused=True)
    for name, gradient in zip(params, result):
        if gradient is None:
            raise ValueError(f"net: its parameter {name!r} has no gradient, expected the loss to depend on each one; "
                             f"freeze it (requires_grad_(False)) or take it out")
    return dict(zip(params, result))


def inner_loop(predict: Callable, params: Tensors, x: Tensor, y: Tensor, *, loss: Callable, optimizer, steps: int,
               first_order: bool = False) -> Tensors:
    """From φ to θ: ``steps`` updates on the support set (Finn et al. 2017, algorithm 1, lines 5 and 6).

    With ``create_graph`` the gradient is itself a graph, so the outer loss can be differentiated through the steps,
    second derivatives included. First order takes it for a constant. Under ``no_grad`` nothing is kept at all.
    """
    outer = torch.is_grad_enabled()  # will anyone differentiate through θ?
    state = optimizer.init(params)
    for _ in range(steps):
        if not outer:
            params = {name: p.detach().requires_grad_() for name, p in params.items()}
        with torch.enable_grad():
            gradient = gradients(loss(predict(params, x), y), params, create_graph=outer and not first_order)
        params, state = optimizer.update(params, gradient, state)
    return params


class MAML(nn.Module):
    """Adapts ``net`` to each task by gradient steps on its support set, then answers its queries (Finn et al. 2017).

    ``net`` maps (n, ...) to (n, N): its way N is fixed. For regression it maps to the shape of y, and ``loss`` is
    ``F.mse_loss``. All parameters that require a gradient adapt.

    steps        inner steps, 0 or more; free at every call
    optimizer    one of `metalearn_lite.optim`, made anew for each task; if it is a module with parameters, they are
                 learned too (a tensor that is its ``lr`` is no parameter: see `LearnedRates`)
    first_order  leave out second derivatives (section 5.2 of the paper)
    loss         (answers, y) -> a mean over items
    only         name of the part of ``net`` that adapts; None: all of it
    stacked      adapt all tasks at once (`stacked_call`): the same numbers; faster for small networks and on GPUs

    Batch norm takes the statistics of the items at hand: of the support set, then of all queries of the task, which
    therefore help one another. Give it ``Conv4(norm="task")``. Running averages cannot be shared by tasks, each with
    weights of its own: in training mode they are an error, in eval mode they are constants.
    """

    def __init__(self, net: nn.Module, steps: int = 1, optimizer=GradientDescent(0.1), *, first_order: bool = False,
                 loss: Callable = F.cross_entropy, only: str | None = None, stacked: bool = False):
        super().__init__()
        _at_least("steps", steps, 0)
        children = dict(net.named_children())
        if only is not None and (only not in children or not list(children[only].parameters())):
            parts = ", ".join(children) or "none"
            raise ValueError(f"only: net has no part {only!r} with parameters, its parts are {parts}")
        if stacked:
            _check_stackable(net)
        self.net, self.steps, self.optimizer, self.first_order = net, steps, optimizer, first_order
        self.loss, self.only, self.stacked = loss, only, stacked

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor, *, steps: int | None = None,
                lr=None) -> Tensor:
        """(B, S, ...), (B, S), (B, Q, ...) -> (B, Q, N). ``steps`` and ``lr`` override, for this call, those given."""
        way = self._check(support_x, support_y, query_x)
        if self.stacked:
            answers = self._answer_stacked(self.adapt_stacked(support_x, support_y, steps=steps, lr=lr), query_x, way)
        else:
            answers = torch.stack([
                self._answer(self.adapt(x, y, steps=steps, lr=lr), queries, way)
                for x, y, queries in zip(support_x, support_y, query_x)
            ])
        if not torch.compiler.is_compiling() and not torch.isfinite(answers).all():
            raise FloatingPointError("the adapted net's answers are not finite: try a smaller inner rate, fewer steps")
        return answers

    def adapt(self, support_x: Tensor, support_y: Tensor, *, steps: int | None = None, lr=None) -> Tensors:
        """The weights θ of one task, by name: (S, ...), (S,) -> what ``functional_call(net, θ, (x,))`` takes."""
        way = self._check(support_x[None], support_y[None])
        return inner_loop(lambda params, x: self._answer(params, x, way), self._initial(), support_x, support_y,
                          loss=self._loss, **self._options(steps, lr))

    def adapt_stacked(self, support_x: Tensor, support_y: Tensor, *, steps: int | None = None, lr=None) -> Tensors:
        """The weights of all tasks, with a leading task dimension: (B, S, ...), (B, S) -> {name: (B, ...)}.

        One task's weights do not touch another's loss, so the gradient of the *sum* of all losses is each one's own.
        """
        way, tasks = self._check(support_x, support_y), len(support_x)
        params = {name: p.expand(tasks, *p.shape) for name, p in self._initial().items()}
        return inner_loop(lambda params, x: self._answer_stacked(params, x, way), params, support_x, support_y,
                          loss=lambda answers, y: tasks * self._loss(answers.flatten(0, 1), y.flatten(0, 1)),
                          **self._options(steps, lr))

    def _initial(self) -> Tensors:
        """φ, or that part of it which adapts."""
        part = "" if self.only is None else f"{self.only}."
        params = {name: p for name, p in self.net.named_parameters() if name.startswith(part) and p.requires_grad}
        if not params:
            raise ValueError("net: none of its parameters that should adapt requires a gradient")
        return params

    def _answer(self, params: Tensors, x: Tensor, way: int | None) -> Tensor:
        return _check_way(functional_call(self.net, params, (x,)), way)

    def _answer_stacked(self, params: Tensors, x: Tensor, way: int | None) -> Tensor:
        return _check_way(stacked_call(self.net, params, x), way)

    def _loss(self, answers: Tensor, y: Tensor) -> Tensor:
        if y.is_floating_point() and answers.shape != y.shape:
            raise ValueError(f"support_y: shape is {tuple(y.shape)}, but net answers {tuple(answers.shape)}")
        return self.loss(answers, y)

    def _options(self, steps: int | None, lr) -> dict:
        steps, optimizer = self.steps if steps is None else steps, self.optimizer
        _at_least("steps", steps, 0)
        if lr is not None:
            if not hasattr(optimizer, "lr"):
                raise ValueError(f"lr: {lr}, but a {type(optimizer).__name__} has no rate that could be replaced")
            optimizer = dataclasses.replace(optimizer, lr=lr)
        return dict(steps=steps, optimizer=optimizer, first_order=self.first_order)

    def _check(self, support_x: Tensor, support_y: Tensor, query_x: Tensor | None = None) -> int | None:
        """The number of classes, None for regression; an error if the tensors do not make a batch of tasks."""
        if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
            raise RuntimeError("inference_mode forbids the gradients that adaptation needs: use torch.no_grad()")
        if support_x.shape[:2] != support_y.shape[:2]:
            raise ValueError(f"support_y: shape is {tuple(support_y.shape)}, expected it to begin with "
                             f"{tuple(support_x.shape[:2])} as support_x does")
        if query_x is not None:
            check_query(support_x, query_x)
        for name, layer in self.net.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training and layer.track_running_stats:
                raise ValueError(f"net: {name or 'it'} would mix its running averages over tasks and inner steps, "
                                 'expected statistics of the batch (Conv4(norm="task")) or a net in eval mode')
        if support_y.is_floating_point() and self.loss is not F.cross_entropy:
            return None
        return count_ways(support_y)


def _check_way(answers: Tensor, way: int | None) -> Tensor:
    if way is not None and answers.shape[-1] != way:
        raise ValueError(f"support_y: has {way} classes, but the head of net answers for {answers.shape[-1]}; "
                         f"MAML's way is that of its head")
    return answers


def anil(net: nn.Module, steps: int = 1, optimizer=GradientDescent(0.1), **options) -> MAML:
    """Almost no inner loop: only ``net.head`` adapts, the body is shared by all tasks (Raghu et al. 2020)."""
    return MAML(net, steps, optimizer, only="head", **options)


def meta_sgd(net: nn.Module, lr: float = 0.1, steps: int = 1, **options) -> MAML:
    """θ = φ - α ∘ ∇L(φ), with φ and the rates α, one for every weight, learned together (Li et al. 2017)."""
    return MAML(net, steps, LearnedRates(net, lr, options.get("only")), **options)


class LearnedRates(nn.Module):
    """Meta-SGD's inner optimiser: gradient descent with a learned rate for every weight that adapts, at first ``lr``.

    Those are the weights of ``net``, or of its part ``only``, that require a gradient.
    """

    def __init__(self, net: nn.Module, lr: float, only: str | None = None):
        super().__init__()
        GradientDescent(lr)  # raises what it has to say about the rate
        part = "" if only is None else f"{only}."
        adapting = {name: p for name, p in net.named_parameters() if name.startswith(part) and p.requires_grad}
        self.names = list(adapting)
        self.rates = nn.ParameterList(torch.full_like(p, lr) for p in adapting.values())

    def init(self, params: Tensors) -> Tensors:
        return {}

    def update(self, params: Tensors, grads: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        return GradientDescent(dict(zip(self.names, self.rates))).update(params, grads, state)


def reptile(learner: MAML, episode: Episode) -> Tensor:
    """Reptile as an objective for `meta_train`: ½ ‖φ - θ‖², averaged over tasks, where θ counts as a constant.

    Its gradient is φ - θ, the one that Nichol et al. (2018) hand to SGD or Adam; with ``SGD(lr=ε)`` an
    update is φ ← φ + ε (θ - φ) (their algorithm 1). No query set takes part: draw more shots, few queries.
    Its value says how far the tasks moved the weights, not how well they are solved.

    Raises ValueError at fewer than two inner steps, where θ - φ is a plain gradient and Reptile joint training, and
    for what it cannot learn: parameters of the inner optimiser, and a body that does not adapt.
    """
    if learner.steps < 2:
        raise ValueError(f"steps: {learner.steps}, expected at least 2; with one inner step Reptile is joint training")
    if learner.only is not None or isinstance(learner.optimizer, nn.Module):
        raise ValueError("learner: Reptile learns only weights that adapt, expected only=None and a fixed optimizer")
    with torch.no_grad():
        if learner.stacked:
            adapted = learner.adapt_stacked(episode.support_x, episode.support_y)
        else:
            each = [learner.adapt(x, y) for x, y in zip(episode.support_x, episode.support_y)]
            adapted = {name: torch.stack([theta[name] for theta in each]) for name in each[0]}
    phi = dict(learner.net.named_parameters())
    return sum((phi[name] - theta).square().sum() for name, theta in adapted.items()) / (2 * len(episode.support_x))


def stacked_call(net: nn.Module, params: Tensors, x: Tensor) -> Tensor:
    """``net`` on the items of each task, with that task's weights: {name: (B, ...)}, (B, n, ...) -> (B, n, ...).

    A linear layer becomes a batch of matrix products. For convolutions the channels of all tasks stand side by side,
    (n, B·C, H, W), one group of channels a task; batch norm normalises each of the B·C channels by itself, and so sees
    one task at a time. (``vmap`` would do as much, but slower, and with batch norm its second derivatives are wrong.)
    """
    tasks = len(x)
    own = {name: value.expand(tasks, *value.shape) for name, value in net.named_parameters() if name not in params}
    if x.ndim == 5:  # images: (B, n, C, H, W) -> (n, B·C, H, W)
        x = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    z = _stacked(net, {**own, **params}, "", x, tasks)
    return z if z.ndim == 3 else z.unflatten(1, (tasks, -1)).transpose(0, 1)


def _stacked(layer: nn.Module, params: Tensors, name: str, x: Tensor, tasks: int) -> Tensor:
    """One layer of `stacked_call`: vectors are (B, n, D), images (n, B·C, H, W)."""
    weight, bias = params.get(name + "weight"), params.get(name + "bias")
    if isinstance(layer, nn.Sequential):
        for child_name, child in layer.named_children():
            x = _stacked(child, params, f"{name}{child_name}.", x, tasks)
        return x
    if isinstance(layer, Conv4):
        z = _stacked(layer.blocks, params, f"{name}blocks.", x, tasks)
        return _stacked(layer.head, params, f"{name}head.", _vectors(z, tasks), tasks)
    if isinstance(layer, nn.Linear):
        return x @ weight.mT if bias is None else torch.baddbmm(bias[:, None], x, weight.mT)
    if isinstance(layer, nn.Flatten):
        return _vectors(x, tasks)
    if isinstance(layer, nn.Conv2d):
        bias = None if bias is None else bias.flatten()
        weight, groups = weight.flatten(0, 1), tasks * layer.groups
        return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, groups)
    if isinstance(layer, nn.BatchNorm2d):
        weight, bias = (None if p is None else p.flatten() for p in (weight, bias))
        mean, var = (None if s is None else s.repeat(tasks) for s in (layer.running_mean, layer.running_var))
        return F.batch_norm(x, mean, var, weight, bias, training=mean is None, eps=layer.eps)
    return layer(x)  # has no weights and treats every item and channel by itself


def _vectors(x: Tensor, tasks: int) -> Tensor:
    """(n, B·C, H, W) -> (B, n, C·H·W); vectors stay as they are."""
    return x if x.ndim == 3 else x.unflatten(1, (tasks, -1)).flatten(2).transpose(0, 1)


def _check_stackable(net: nn.Module) -> None:
    known = (nn.Sequential, Conv4, nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU, nn.Tanh,
             nn.Flatten, nn.Identity)
    for name, layer in net.named_modules():
        if type(layer) not in known or getattr(layer, "padding_mode", "zeros") != "zeros":
            raise TypeError(f"net: {name or 'it'} is a {type(layer).__name__}, which has no stacked form; expected "
                            f"layers among {', '.join(t.__name__ for t in known)}, or stacked=False")
