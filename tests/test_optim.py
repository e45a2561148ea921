"""The optimisers: equal to torch.optim, differentiable, and one that is learned."""

import itertools
import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metalearn_lite.optim import SGD, Adam, AdamW, GradientDescent, LearnedOptimizer, RMSProp, preprocess
from metalearn_lite.train import meta_train


def loss_of(params: dict[str, Tensor], target: float | Tensor = 0.7) -> Tensor:
    """Not convex, with curvature between parameters: (3, 2), (2,) and a scalar."""
    x = torch.linspace(-1, 1, 12, dtype=params["w"].dtype).view(4, 3)
    answer = torch.tanh(x @ params["w"] + params["b"]) * params["s"]
    return (answer - target).square().sum() + 0.1 * params["s"].sin()


def start() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64)
            for name, shape in dict(w=(3, 2), b=(2,), s=()).items()}


def run(optimizer, params, steps, loss=loss_of):
    """The inner loop: the parameters after so many steps, a differentiable function of whatever came in."""
    state = optimizer.init(params)
    for _ in range(steps):
        params = {name: p if p.requires_grad else p.requires_grad_() for name, p in params.items()}
        grads = torch.autograd.grad(loss(params), list(params.values()), create_graph=True)
        params, state = optimizer.update(params, dict(zip(params, grads)), state)
    return params


def grid(**options):
    return [dict(zip(options, values)) for values in itertools.product(*options.values())]


SGD_OPTIONS = [o for o in grid(momentum=[0.0, 0.9], nesterov=[False, True], weight_decay=[0.0, 0.05])
               if o["momentum"] or not o["nesterov"]]
RMS_OPTIONS = grid(alpha=[0.9, 0.99], eps=[1e-8, 1e-3], momentum=[0.0, 0.9], centered=[False, True],
                   weight_decay=[0.0, 0.05])
ADAM_OPTIONS = grid(betas=[(0.9, 0.999), (0.5, 0.8), (0.0, 0.9)], eps=[1e-8, 1e-3], weight_decay=[0.0, 0.05])
PAIRS = [
    (GradientDescent, torch.optim.SGD, [{}]), (SGD, torch.optim.SGD, SGD_OPTIONS),
    (RMSProp, torch.optim.RMSprop, RMS_OPTIONS), (Adam, torch.optim.Adam, ADAM_OPTIONS),
    (AdamW, torch.optim.AdamW, ADAM_OPTIONS),
]
CASES = [(ours, theirs, options) for ours, theirs, grid_of in PAIRS for options in grid_of]
NAMES = [ours.__name__ + "-" + "-".join(map(str, options.values())) for ours, _, options in CASES]


@pytest.mark.parametrize("ours, theirs, options", CASES, ids=NAMES)
def test_equals_torch_over_100_steps(ours, theirs, options):
    """Stochastic gradients. At rest in an exact minimum the sign of a rounding error would decide the steps of RMSProp:
    there any two programs drift apart, from 1e-15 to 1e-5 in twenty steps."""
    lr, noise = 0.01, torch.randn(100, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mine, reference = start(), {name: p.clone().requires_grad_() for name, p in start().items()}
    optimizer, peer = ours(lr, **options), theirs(reference.values(), lr, **options)
    state = optimizer.init(mine)
    for target in noise:
        leaves = {name: p.detach().requires_grad_() for name, p in mine.items()}
        grads = dict(zip(leaves, torch.autograd.grad(loss_of(leaves, target), list(leaves.values()))))
        mine, state = optimizer.update(mine, grads, state)
        peer.zero_grad()
        loss_of(reference, target).backward()
        peer.step()
    for name in mine:
        assert (mine[name] - start()[name]).abs().max() > 1e-2, "nothing moved"
        torch.testing.assert_close(mine[name], reference[name].detach(), rtol=0, atol=1e-10)


def test_defaults_are_those_of_torch():
    p = torch.nn.Parameter(torch.zeros(1))
    for ours, theirs in ((SGD(0.1), torch.optim.SGD([p], 0.1)), (RMSProp(0.01), torch.optim.RMSprop([p])),
                         (Adam(), torch.optim.Adam([p])), (AdamW(), torch.optim.AdamW([p]))):
        for name, value in vars(ours).items():
            assert name == "eps_root" or theirs.defaults[name] == value, name


EVERY_OPTION = [
    ("GradientDescent", GradientDescent, {}),
    ("SGD", SGD, dict(momentum=0.9, nesterov=True, weight_decay=0.05)),
    ("RMSProp", RMSProp, dict(alpha=0.9, momentum=0.9, centered=True, weight_decay=0.05)),
    ("RMSProp with eps_root", RMSProp, dict(alpha=0.9, eps_root=1e-4, centered=True)),
    ("Adam", Adam, dict(weight_decay=0.05)),
    ("Adam with eps_root", Adam, dict(eps_root=1e-4)),
    ("AdamW", AdamW, dict(weight_decay=0.05)),
]
IDS = [name for name, _, _ in EVERY_OPTION]


@pytest.mark.parametrize("name, make, options", EVERY_OPTION, ids=IDS)
def test_gradient_of_the_learning_rate_equals_finite_differences(name, make, options):
    def final(lr):
        return loss_of(run(make(lr, **options), start(), 8))

    lr = torch.tensor(0.01, dtype=torch.float64, requires_grad=True)
    (got,) = torch.autograd.grad(final(lr), lr)
    eps = 1e-6
    wanted = (final(0.01 + eps) - final(0.01 - eps)) / (2 * eps)
    assert got.abs() > 1e-3
    torch.testing.assert_close(got, wanted.detach(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name, make, options", EVERY_OPTION, ids=IDS)
def test_gradient_of_the_start_equals_finite_differences(name, make, options):
    """The second-order part: through the gradients and through the state."""
    def final(b):
        return loss_of(run(make(0.03, **options), {**start(), "b": b}, 5))

    assert torch.autograd.gradcheck(final, start()["b"].requires_grad_(), eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name, make, options", EVERY_OPTION, ids=IDS)
def test_rates_by_parameter_and_by_weight(name, make, options):
    one = run(make(0.03, **options), start(), 4)
    rates = {name: torch.full_like(p, 0.03) for name, p in start().items()}
    for p, q in zip(one.values(), run(make(rates, **options), start(), 4).values()):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-12)
    rates["w"] = torch.tensor([[0.03], [0.0], [0.03]], dtype=torch.float64)  # one row stands still; broadcast to (3, 2)
    moved = run(make(rates, **options), start(), 4)["w"] - start()["w"]
    assert (moved[1] == 0).all() and (moved[0] != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name, make, options", EVERY_OPTION, ids=IDS)
def test_a_zero_gradient_leaves_the_meta_gradient_finite(name, make, options, dtype):
    """A dead weight (never any gradient), a weight at rest at first (gradient 0, curvature not), and a live one."""
    def loss(params):
        dead, rest, live = params["p"]
        return 0 * dead + rest.square() + (live - 1).square() + live * rest.pow(3)

    lr = torch.tensor(0.1, dtype=dtype, requires_grad=True)
    first = torch.tensor([0.5, 0.0, 3.0], dtype=dtype, requires_grad=True)
    options = {k: v for k, v in options.items() if k != "weight_decay"}  # that would move what is at rest
    if make is AdamW:
        options["weight_decay"] = 0.0
    final = run(make(lr, **options), {"p": first}, 3, loss)
    (final["p"].sum() + loss(final)).backward()
    assert torch.isfinite(first.grad).all() and torch.isfinite(lr.grad) and lr.grad != 0


def test_a_plain_root_would_not():
    """What the safe root is for; and the derivative it gives at a zero first gradient is the true one, 1/eps."""
    g = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    plain = g / (g.square().sqrt() + 1e-8)
    assert torch.autograd.grad(plain, g)[0].isnan()
    for optimizer, slope in ((Adam(1.0), 1e8), (Adam(1.0, eps_root=1e-8), 1 / (1e-4 + 1e-8)),
                             (RMSProp(1.0), 1e8), (RMSProp(1.0, centered=True), 1e8)):
        params = {"p": torch.zeros(1, dtype=torch.float64)}

        def step(value):
            return optimizer.update(params, {"p": value}, optimizer.init(params))[0]["p"]

        (got,) = torch.autograd.grad(step(g), g)
        h = 1e-14  # far below eps and eps_root
        wanted = (step(torch.full_like(g, h)) - step(torch.full_like(g, -h))) / (2 * h)
        torch.testing.assert_close(got, wanted.detach(), rtol=1e-4, atol=0)
        torch.testing.assert_close(got, torch.full_like(got, -slope), rtol=1e-9, atol=0)


def test_eps_root_stands_inside_the_root():
    """Optax's formula, m̂ / (√(v̂ + eps_root) + eps), at the first step."""
    g, lr, eps, eps_root = 0.3, 0.1, 1e-3, 0.05
    params = {"p": torch.zeros((), dtype=torch.float64)}
    grads = {"p": torch.tensor(g, dtype=torch.float64)}
    for optimizer, square in ((Adam(lr, eps=eps, eps_root=eps_root), g * g),
                              (RMSProp(lr, 0.9, eps, eps_root), 0.1 * g * g)):
        moved = optimizer.update(params, grads, optimizer.init(params))[0]["p"]
        assert moved.item() == pytest.approx(-lr * g / (math.sqrt(square + eps_root) + eps), abs=1e-15)


def test_centred_rmsprop_survives_rounding_below_zero():
    """With a constant gradient the variance is zero up to rounding; its root must not be NaN."""
    optimizer, params = RMSProp(1e-3, alpha=0.5, centered=True), {"p": torch.zeros(100)}
    grads, state = {"p": torch.linspace(0.1, 7, 100)}, None
    state = optimizer.init(params)
    below = False
    for _ in range(60):
        params, state = optimizer.update(params, grads, state)
        below |= bool((state.square["p"] < state.mean["p"].square()).any())
    assert below and torch.isfinite(params["p"]).all()


@pytest.mark.parametrize("name, make, options", EVERY_OPTION, ids=IDS)
def test_update_is_pure_and_keeps_the_dtype(name, make, options):
    params = {"w": torch.ones(3), "s": torch.ones(())}
    grads = {name: 0.5 * torch.ones_like(p) for name, p in params.items()}
    optimizer = make(torch.tensor(0.1, dtype=torch.float64), **options)  # a rate more precise than the parameters
    state = optimizer.init(params)
    first, _ = optimizer.update(params, grads, state)
    again, later = optimizer.update(params, grads, state)
    for name, p in params.items():
        assert (p == 1).all() and (grads[name] == 0.5).all() and (first[name] == again[name]).all()
        assert again[name].dtype == torch.float32
    assert optimizer.update(again, grads, later)[0]["s"].dtype == torch.float32


@given(st.floats(-1e4, 1e4), st.floats(1e-6, 1.0), st.sampled_from(range(len(EVERY_OPTION))))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_gradient_gives_finite_steps_and_meta_gradients(size, lr, which):
    _, make, options = EVERY_OPTION[which]
    rate = torch.tensor(lr, requires_grad=True)
    g = torch.tensor([size, 0.0, 1.0], requires_grad=True)
    optimizer, params = make(rate, **options), {"p": torch.ones(3)}
    state = optimizer.init(params)
    for _ in range(3):
        params, state = optimizer.update(params, {"p": g}, state)
    params["p"].sum().backward()
    assert torch.isfinite(params["p"]).all() and torch.isfinite(rate.grad) and torch.isfinite(g.grad).all()


@pytest.mark.parametrize("make, message", [
    (lambda: GradientDescent(-0.1), "lr: -0.1"),
    (lambda: SGD(math.nan), "lr: nan"),
    (lambda: Adam(torch.ones(2)), r"lr: shape is \(2,\)"),
    (lambda: SGD(0.1, momentum=-1.0), "momentum: -1.0"),
    (lambda: SGD(0.1, nesterov=True), "nesterov: True without momentum"),
    (lambda: SGD(0.1, weight_decay=-1.0), "weight_decay: -1.0"),
    (lambda: RMSProp(0.1, alpha=1.0), "alpha: 1.0"),
    (lambda: Adam(betas=(0.9, 1.0)), r"betas\[1\]: 1.0"),
    (lambda: AdamW(eps=0.0), "eps: 0 with eps_root 0"),
    (lambda: LearnedOptimizer(0, generator=torch.Generator()), "hidden: 0"),
    (lambda: LearnedOptimizer(scale=0.0, generator=torch.Generator()), "scale: 0.0"),
])
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_types_are_named():
    with pytest.raises(TypeError, match="lr: '0.1'"):
        Adam("0.1")
    with pytest.raises(TypeError, match=r"lr\['w'\]: 0.1"):
        Adam({"w": 0.1})


@pytest.mark.parametrize("optimizer", [GradientDescent(0.1), SGD(0.1), RMSProp(0.1), Adam(), AdamW(),
                                       LearnedOptimizer(generator=torch.Generator())])
def test_gradients_that_do_not_fit_are_named(optimizer):
    params = {"a": torch.ones(2), "b": torch.ones(3)}
    for grads, message in (({"a": torch.ones(2)}, "in b"),
                           ({"a": torch.ones(2), "b": torch.ones(1)}, r"grads\['b'\]: shape is \(1,\)"),
                           ({"a": torch.ones(2), "b": None}, r"grads\['b'\]: shape is None")):
        with pytest.raises(ValueError, match=message):
            optimizer.update(params, grads, optimizer.init(params))


def test_a_missing_or_misshapen_rate_is_named():
    params = {"a": torch.ones(2)}
    for rates, message in (({"b": torch.ones(2)}, "no rate for 'a'"),
                           ({"a": torch.ones(3, 2)}, r"lr\['a'\]: shape is \(3, 2\)")):
        with pytest.raises(ValueError, match=message):
            Adam(rates).update(params, params, Adam(rates).init(params))


# ---- the learned optimiser


def test_preprocessing_is_the_papers():
    g = torch.tensor([0.5, -3.0, math.exp(-11), -1e-7, 0.0, 1e4], dtype=torch.float64, requires_grad=True)
    for value, row in zip(g.tolist(), preprocess(g).tolist()):
        if abs(value) >= math.exp(-10):
            wanted = [math.log(abs(value)) / 10, math.copysign(1, value)]
        else:
            wanted = [-1.0, math.exp(10) * value]
        assert row == pytest.approx(wanted, abs=1e-12)
    preprocess(g).sum().backward()
    assert torch.isfinite(g.grad).all()


def test_learned_optimizer_is_coordinatewise():
    """The same gradients cut into other parameters, or in another order, give the same steps."""
    generator = torch.Generator().manual_seed(1)
    optimizer = LearnedOptimizer(generator=generator)
    g = torch.randn(2, 6, generator=generator)  # of two steps

    def after(cut):
        params = cut(torch.zeros(6))
        state = optimizer.init(params)
        for row in g:
            params, state = optimizer.update(params, cut(row), state)
        return params

    whole = after(lambda v: {"p": v})["p"]
    parts = after(lambda v: {"b": v[3:].view(3, 1), "a": v[:3]})
    torch.testing.assert_close(torch.cat([parts["a"], parts["b"][:, 0]]), whole)
    torch.testing.assert_close(after(lambda v: {"p": v.flip(0)})["p"].flip(0), whole)
    assert whole.unique().numel() == 6


def test_learned_optimizer_seed_state_and_global_randomness(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = LearnedOptimizer(generator=torch.Generator().manual_seed(2))
    assert (torch.get_rng_state() == before).all()
    other = LearnedOptimizer(generator=torch.Generator().manual_seed(3))
    params = start()  # float64, while the LSTM is float32
    moved = [run(optimizer, params, 2) for optimizer in (one, other)]
    assert moved[0]["w"].dtype == torch.float64 and not torch.equal(moved[0]["w"], moved[1]["w"])
    torch.save(one.state_dict(), tmp_path / "o.pt")
    other.load_state_dict(torch.load(tmp_path / "o.pt", weights_only=True))
    assert torch.equal(run(other, params, 2)["w"], moved[0]["w"])


def test_learned_optimizer_meta_gradient_equals_finite_differences():
    optimizer = LearnedOptimizer(4, generator=torch.Generator().manual_seed(0)).double()
    head = optimizer.head.weight

    def final(weight):
        return torch.func.functional_call(Descent(optimizer), {"optimizer.head.weight": weight}, (start(),))

    assert torch.autograd.gradcheck(final, head.detach().clone().requires_grad_(), eps=1e-6, atol=1e-6, rtol=1e-5)
    final(head).backward()
    for p in optimizer.parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().max() > 0


class Descent(torch.nn.Module):
    def __init__(self, optimizer):
        super().__init__()
        self.optimizer = optimizer

    def forward(self, params):
        return loss_of(run(self.optimizer, params, 3))


class Quadratics(NamedTuple):
    """f(θ) = ‖Wθ - y‖² (Andrychowicz et al. 2016, section 3.1): (B, 10, 10), (B, 10)."""

    w: Tensor
    y: Tensor


class QuadraticSampler:
    def __init__(self, batch, seed):
        self.batch, self.generator = batch, torch.Generator().manual_seed(seed)

    def __call__(self):
        w = torch.randn(self.batch, 10, 10, generator=self.generator)
        return Quadratics(w, torch.randn(self.batch, 10, generator=self.generator))


def losses_along(optimizer, batch, steps):
    """The loss of each quadratic after each step (steps, B); all tasks at once, for their coordinates do not mix."""
    params = {"theta": torch.zeros_like(batch.y)}
    state, losses = optimizer.init(params), []
    for _ in range(steps):
        theta = params["theta"].detach().requires_grad_()
        with torch.enable_grad():
            loss = (torch.einsum("bij,bj->bi", batch.w, theta) - batch.y).square().sum(-1)
            grads = {"theta": torch.autograd.grad(loss.sum(), theta)[0]}  # a constant, as in the paper
        params, state = optimizer.update(params, grads, state)
        losses.append((torch.einsum("bij,bj->bi", batch.w, params["theta"]) - batch.y).square().sum(-1))
    return torch.stack(losses)


def test_meta_trained_it_beats_tuned_gradient_descent_on_new_quadratics():
    steps = 20
    optimizer = LearnedOptimizer(generator=torch.Generator().manual_seed(0))
    train = QuadraticSampler(64, seed=0)
    tuning, held_out = QuadraticSampler(500, seed=1)(), QuadraticSampler(500, seed=2)()
    with torch.no_grad():
        untrained = losses_along(optimizer, held_out, steps)[-1].mean()
        rates = [0.1 / 1.3**k for k in range(20)]
        tuned = {lr: losses_along(GradientDescent(lr), tuning, steps)[-1].mean().item() for lr in rates}
        lr = min(rates, key=lambda r: tuned[r] if math.isfinite(tuned[r]) else math.inf)
        assert rates[-1] < lr < rates[0], "the best rate lies inside the grid"
        baseline = losses_along(GradientDescent(lr), held_out, steps)[-1]
    meta_train(optimizer, train, lambda o, batch: losses_along(o, batch, steps).mean(), updates=150, lr=1e-2,
               decay=True, progress=False)
    with torch.no_grad():
        learned = losses_along(optimizer, held_out, steps)[-1]
    print(f"untrained {untrained:.2f}, descent (lr {lr:.4f}) {baseline.mean():.2f}, learned {learned.mean():.2f}")
    assert learned.mean() < 0.8 * baseline.mean() and learned.mean() < 0.8 * untrained
    gain = baseline - learned
    assert gain.mean() > 3 * gain.std() / math.sqrt(len(gain))
