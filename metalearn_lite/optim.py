"""Optimisers as pure functions, so that one can differentiate through their steps.

    state = optimizer.init(params)
    params, state = optimizer.update(params, grads, state)

``params`` and ``grads`` are dicts with the same names and shapes. Nothing is changed in place: the new parameters are a
differentiable function of the old ones, of the gradients and of the learning rate. ``lr`` is one of

    a float                   at least 0
    a tensor of no dimension  which may require a gradient: a learning rate that is itself learned
    a dict of tensors         a rate for each parameter, broadcast to its shape: down to one for every weight (Meta-SGD,
                              Li et al. 2017)

Each optimiser takes the same steps as the one of that name in ``torch.optim``.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Rate = float | Tensor | Tensors


def _check_lr(lr: Rate) -> None:
    rates = lr if isinstance(lr, dict) else {"": lr}
    for name, rate in rates.items():
        which = f"lr[{name!r}]" if isinstance(lr, dict) else "lr"
        if isinstance(rate, Tensor):
            if not rate.is_floating_point():
                raise TypeError(f"{which}: dtype is {rate.dtype}, expected a floating-point tensor")
            if rate.ndim and not isinstance(lr, dict):
                raise ValueError(f"{which}: shape is {tuple(rate.shape)}, expected (); rates by parameter go in a dict")
        elif isinstance(lr, dict) or isinstance(rate, bool) or not isinstance(rate, (int, float)):
            raise TypeError(f"{which}: {rate!r}, expected a float, a tensor of no dimension, or a dict of tensors")
        elif not 0 <= rate < math.inf:
            raise ValueError(f"{which}: {rate}, expected a finite number, at least 0")


def _check(lr: Rate, below_one: dict[str, float] | None = None, **finite: float) -> None:
    _check_lr(lr)
    for name, value in {**(below_one or {}), **finite}.items():
        bound = 1 if name in (below_one or {}) else math.inf
        if not 0 <= value < bound:
            raise ValueError(f"{name}: {value}, expected at least 0 and below {bound}")
    if finite.get("eps") == finite.get("eps_root") == 0:
        raise ValueError("eps: 0 with eps_root 0, expected one above 0: a zero gradient would divide zero by zero")


def _check_grads(params: Tensors, grads: Tensors) -> None:
    if params.keys() != grads.keys():
        odd = ", ".join(sorted(params.keys() ^ grads.keys()))
        raise ValueError(f"grads: names differ from those of params in {odd}, expected the same names")
    for name, p in params.items():
        if grads[name] is None or grads[name].shape != p.shape:
            shape = None if grads[name] is None else tuple(grads[name].shape)
            raise ValueError(f"grads[{name!r}]: shape is {shape}, expected {tuple(p.shape)} as in params")


def _rate(lr: Rate, name: str, p: Tensor) -> float | Tensor:
    """The rate of one parameter; a tensor in the parameter's own precision."""
    if isinstance(lr, dict):
        if name not in lr:
            raise ValueError(f"lr: has no rate for {name!r}, expected one for each of the parameters")
        lr = lr[name]
        if torch.broadcast_shapes(lr.shape, p.shape) != p.shape:
            shape = tuple(lr.shape)
            raise ValueError(f"lr[{name!r}]: shape is {shape}, expected one that broadcasts to {tuple(p.shape)}")
    return lr.to(p.dtype) if isinstance(lr, Tensor) else lr


def _descend(params: Tensors, steps: Tensors, lr: Rate) -> Tensors:
    return {name: p - _rate(lr, name, p) * steps[name] for name, p in params.items()}


def _with_decay(params: Tensors, grads: Tensors, weight_decay: float) -> Tensors:
    """The gradient of loss + weight_decay/2 ‖params‖²."""
    return grads if weight_decay == 0 else {name: grads[name] + weight_decay * p for name, p in params.items()}


def _average(old: Tensors, new: Tensors, keep: float) -> Tensors:
    return {name: keep * old[name] + (1 - keep) * new[name] for name in old}


def _zeros(params: Tensors) -> Tensors:
    return {name: torch.zeros_like(p) for name, p in params.items()}


def _root(x: Tensor) -> Tensor:
    """√x, with derivative 0 where x <= 0 (and value 0: a difference of averages may be a rounding error below zero).

    The derivative of √x at 0 is infinite, and infinity times the derivative of g² at g = 0, which is zero, is NaN. So a
    plain root spoils the meta-gradient as soon as a single gradient is zero: a dead ReLU is enough.
    """
    none = x <= 0
    return torch.where(none, 0.0, torch.where(none, 1.0, x).sqrt())


@dataclass(frozen=True, eq=False)
class GradientDescent:
    """θ ← θ - lr g (Cauchy 1847). It has no state."""

    lr: Rate

    def __post_init__(self):
        _check(self.lr)

    def init(self, params: Tensors) -> Tensors:
        return {}

    def update(self, params: Tensors, grads: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        _check_grads(params, grads)
        return _descend(params, grads, self.lr), state


@dataclass(frozen=True, eq=False)
class SGD:
    """v ← momentum v + g, θ ← θ - lr v (Polyak 1964); with ``nesterov``, θ ← θ - lr (g + momentum v).

    The latter is Nesterov's momentum as Sutskever et al. (2013) recast it. Stochastic if the gradients it is given are.
    """

    lr: Rate
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self):
        _check(self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: True without momentum, expected a momentum above 0")

    def init(self, params: Tensors) -> Tensors:
        """The velocity v, zero; none without momentum."""
        return _zeros(params) if self.momentum else {}

    def update(self, params: Tensors, grads: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        _check_grads(params, grads)
        g = _with_decay(params, grads, self.weight_decay)
        if self.momentum == 0:
            return _descend(params, g, self.lr), state
        v = {name: self.momentum * state[name] + g[name] for name in g}
        step = {name: g[name] + self.momentum * v[name] for name in g} if self.nesterov else v
        return _descend(params, step, self.lr), v


class RMSPropState(NamedTuple):
    square: Tensors  # running mean of g²
    mean: Tensors  # running mean of g; empty unless centered
    velocity: Tensors  # empty without momentum


@dataclass(frozen=True, eq=False)
class RMSProp:
    """Divide each gradient by a running root mean square of itself (Hinton, Srivastava, Swersky 2012, lecture 6e).

        s ← alpha s + (1 - alpha) g²,   θ ← θ - lr g / (√(s + eps_root) + eps)

    ``centered`` takes the squared running mean of g from s, leaving a variance (Graves 2013); ``momentum``
    accumulates the steps. About ``eps_root`` see `Adam`.
    """

    lr: Rate
    alpha: float = 0.99
    eps: float = 1e-8
    eps_root: float = 0.0
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0

    def __post_init__(self):
        _check(self.lr, {"alpha": self.alpha}, eps=self.eps, eps_root=self.eps_root, momentum=self.momentum,
               weight_decay=self.weight_decay)

    def init(self, params: Tensors) -> RMSPropState:
        zero = _zeros(params)
        return RMSPropState(zero, zero if self.centered else {}, zero if self.momentum else {})

    def update(self, params: Tensors, grads: Tensors, state: RMSPropState) -> tuple[Tensors, RMSPropState]:
        _check_grads(params, grads)
        g = _with_decay(params, grads, self.weight_decay)
        square = _average(state.square, {name: g[name].square() for name in g}, self.alpha)
        mean = _average(state.mean, g, self.alpha)
        spread = {name: s - mean[name].square() for name, s in square.items()} if self.centered else square
        step = {name: g[name] / (_root(spread[name] + self.eps_root) + self.eps) for name in g}
        velocity = state.velocity
        if self.momentum:
            step = velocity = {name: self.momentum * velocity[name] + step[name] for name in g}
        return _descend(params, step, self.lr), RMSPropState(square, mean, velocity)


class AdamState(NamedTuple):
    step: int  # how many updates have been made
    mean: Tensors  # running mean of g: m in the paper
    square: Tensors  # running mean of g²: v in the paper


def _adam(grads: Tensors, state: AdamState, betas: tuple[float, float], eps: float, eps_root: float):
    """Algorithm 1 of Kingma & Ba (2015): the step before it is multiplied by the rate, and the new state."""
    t = state.step + 1
    mean = _average(state.mean, grads, betas[0])
    square = _average(state.square, {name: g.square() for name, g in grads.items()}, betas[1])
    m_hat = {name: m / (1 - betas[0] ** t) for name, m in mean.items()}  # both averages began at zero:
    v_hat = {name: v / (1 - betas[1] ** t) for name, v in square.items()}  # this takes the bias out
    step = {name: m_hat[name] / (_root(v_hat[name] + eps_root) + eps) for name in grads}
    return step, AdamState(t, mean, square)


@dataclass(frozen=True, eq=False)
class Adam:
    """θ ← θ - lr m̂ / (√(v̂ + eps_root) + eps), m̂, v̂ bias-corrected means of g, g² (Kingma & Ba 2015, alg. 1).

    Differentiating through it: where all gradients so far were zero the root has no derivative. It counts as zero
    here, so with eps_root = 0 the steps are those of ``torch.optim`` and the meta-gradient stays finite. It is even
    right: the first step is g / (|g| + eps), whose slope at g = 0 is 1/eps. But that is 10⁸: where a zero gradient
    depends on the meta-parameters, it drowns the rest. ``eps_root`` = 10⁻⁸, an argument optax has too, makes it 10⁴.

    ``weight_decay`` is added to the gradient; to keep it out of the averages use `AdamW`.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    eps_root: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self):
        _check(self.lr, {"betas[0]": self.betas[0], "betas[1]": self.betas[1]}, eps=self.eps, eps_root=self.eps_root,
               weight_decay=self.weight_decay)

    def init(self, params: Tensors) -> AdamState:
        return AdamState(0, _zeros(params), _zeros(params))

    def update(self, params: Tensors, grads: Tensors, state: AdamState) -> tuple[Tensors, AdamState]:
        _check_grads(params, grads)
        grads = _with_decay(params, grads, self.weight_decay)
        step, state = _adam(grads, state, self.betas, self.eps, self.eps_root)
        return _descend(params, step, self.lr), state


@dataclass(frozen=True, eq=False)
class AdamW:
    """`Adam`, with the weights shrunk by lr · weight_decay beside the step (Loshchilov & Hutter 2019, algorithm 2).

    In the paper the shrinking does not scale with lr; here it does, as in ``torch.optim``.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    eps_root: float = 0.0
    weight_decay: float = 1e-2

    def __post_init__(self):
        _check(self.lr, {"betas[0]": self.betas[0], "betas[1]": self.betas[1]}, eps=self.eps, eps_root=self.eps_root,
               weight_decay=self.weight_decay)

    def init(self, params: Tensors) -> AdamState:
        return AdamState(0, _zeros(params), _zeros(params))

    def update(self, params: Tensors, grads: Tensors, state: AdamState) -> tuple[Tensors, AdamState]:
        _check_grads(params, grads)
        step, state = _adam(grads, state, self.betas, self.eps, self.eps_root)
        step = {name: step[name] + self.weight_decay * p for name, p in params.items()}
        return _descend(params, step, self.lr), state


class LearnedOptimizer(nn.Module):
    """An optimiser that is itself learned (Andrychowicz et al. 2016): θ ← θ + scale · LSTM(g).

    Every coordinate of every parameter goes through the same small LSTM with a memory of its own (their section 2.1),
    so about two thousand meta-parameters serve networks of any size. Meta-train it on the sum of the losses along a run
    (their eq. 3); they treat the gradients as constants there: give ``update`` detached gradients to do the same.

    A gradient g enters as two numbers (their appendix A), with p = 10:
    (log|g| / p, sign g) where |g| >= exp(-p), else (-1, exp(p) g).

    hidden  units of the LSTM
    scale   size of a step in units of the LSTM's output
    """

    def __init__(self, hidden: int = 20, scale: float = 0.1, *, generator: torch.Generator):
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden: {hidden}, expected at least 1")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale: {scale}, expected a finite number above 0")
        with torch.random.fork_rng(devices=[]):
            self.cell = nn.LSTMCell(2, hidden)
            self.head = nn.Linear(hidden, 1, bias=False)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden), generator=generator)
        self.scale = scale

    def init(self, params: Tensors) -> Tensors:
        """The LSTM's hidden and cell values of all n coordinates, each (n, hidden), zero."""
        n = sum(p.numel() for p in params.values())
        zero = self.head.weight.new_zeros(n, self.cell.hidden_size)
        return {"hidden": zero, "cell": zero}

    def update(self, params: Tensors, grads: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        _check_grads(params, grads)
        g = torch.cat([grads[name].flatten() for name in params]).to(self.head.weight.dtype)  # (n,), all coordinates
        hidden, cell = self.cell(preprocess(g), (state["hidden"], state["cell"]))
        steps = (self.scale * self.head(hidden)[:, 0]).split([p.numel() for p in params.values()])
        new = {name: p + step.view_as(p).to(p.dtype) for (name, p), step in zip(params.items(), steps)}
        return new, {"hidden": hidden, "cell": cell}


def preprocess(g: Tensor, p: float = 10.0) -> Tensor:
    """Gradients (n,) of any size to numbers of about one (n, 2): Andrychowicz et al. 2016, appendix A."""
    large = g.abs() >= math.exp(-p)
    log = g.abs().clamp_min(math.exp(-p)).log() / p  # clamped: where it is not used, its derivative must be finite too
    return torch.stack([torch.where(large, log, -1.0), torch.where(large, g.sign(), math.exp(p) * g)], -1)
