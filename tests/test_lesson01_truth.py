"""Lesson 01: references against PyTorch over 100 steps; cross-entropy, slopes, batches; and what its lab claims."""
import pytest
import torch
from torch.nn import functional as F

from metalearn_lite.check import lesson01

numeric_grad, sgd, momentum, softmax_ce, minibatches, epoch = (exercise.reference for exercise in (
    lesson01.numeric_grad, lesson01.sgd, lesson01.momentum, lesson01.softmax_ce, lesson01.minibatches, lesson01.epoch))
STEPS = 100


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(w):
    """A loss with bends of every kind, so that paths that differ stay apart."""
    w = w.detach().requires_grad_()
    loss = (draw(4, 6) @ w).cosh().log().sum() + 0.05 * (w ** 4).sum()
    return torch.autograd.grad(loss, w)[0]


def torch_path(lr_of, **options):
    w = draw(6, 3, seed=1).requires_grad_()
    optimiser = torch.optim.SGD([w], lr=lr_of(0), **options)
    path = []
    for t in range(STEPS):
        optimiser.param_groups[0]["lr"] = lr_of(t)
        w.grad = gradients(w)
        optimiser.step()
        path.append(w.detach().clone())
    return torch.stack(path)


RATES = {"constant": lambda t: 0.05, "falling": lambda t: 0.1 / (1 + 0.1 * t),
         "jumping": lambda t: 0.08 if t % 7 else 0.01}


@pytest.mark.parametrize("lr_of", RATES.values(), ids=RATES)
def test_sgd_is_torchs(lr_of):
    w, path = draw(6, 3, seed=1), []
    for t in range(STEPS):
        w = sgd(w, gradients(w), lr_of(t))
        path.append(w)
    assert (torch.stack(path) - torch_path(lr_of)).abs().max() < 1e-10


def ours(lr_of, mu, nesterov, step=momentum):
    w, path = draw(6, 3, seed=1), []
    v = torch.zeros_like(w)
    for t in range(STEPS):
        w, v = step(w, v, gradients(w), lr_of(t), mu, nesterov)
        path.append(w)
    return torch.stack(path)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("mu", [0.5, 0.9])
@pytest.mark.parametrize("lr_of", RATES.values(), ids=RATES)
def test_momentum_is_torchs(lr_of, mu, nesterov):
    theirs = torch_path(lr_of, momentum=mu, nesterov=nesterov)
    assert (ours(lr_of, mu, nesterov) - theirs).abs().max() < 1e-10
    assert (ours(lr_of, mu, not nesterov) - theirs).abs().max() > 1e-3


def test_momentum_zero_is_sgd():
    assert torch.equal(ours(RATES["jumping"], 0.0, False), torch.stack([*plain_path(RATES["jumping"])]))


def plain_path(lr_of):
    w = draw(6, 3, seed=1)
    for t in range(STEPS):
        w = sgd(w, gradients(w), lr_of(t))
        yield w


def test_the_rate_inside_the_velocity_shows_only_when_the_rate_changes_and_the_check_sees_it():
    def inside(w, v, g, lr, mu, nesterov):
        v = mu * v + lr * g
        return w - (lr * g + mu * v if nesterov else v), v

    for nesterov in (False, True):
        same, other = RATES["constant"], RATES["falling"]
        assert (ours(same, 0.9, nesterov, inside) - ours(same, 0.9, nesterov)).abs().max() < 1e-10
        assert (ours(other, 0.9, nesterov, inside) - ours(other, 0.9, nesterov)).abs().max() > 1e-3
    assert "inside the velocity" in lesson01.momentum.verdict(inside).message


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_softmax_ce_is_torchs(scale):
    logits = (scale * draw(40, 7)).requires_grad_()
    y = torch.randint(7, (40,), generator=torch.Generator().manual_seed(0))
    expected = F.cross_entropy(logits, y)
    loss, grad = softmax_ce(logits.detach(), y)
    assert (loss - expected).abs() < 1e-10
    assert (grad - torch.autograd.grad(expected, logits)[0]).abs().max() < 1e-10


def test_numeric_grad_is_autograds():
    A, w = draw(5, 4), draw(4, seed=1).requires_grad_()
    (expected,) = torch.autograd.grad(((A @ w) ** 4).sum(), w)
    errors = [(numeric_grad(A, w.detach(), eps) - expected).abs().max() for eps in (1e-2, 1e-3)]
    assert torch.allclose(numeric_grad(A, w.detach(), 1e-5), expected, rtol=1e-6)
    assert 90 < errors[0] / errors[1] < 110  # the error falls with the square of eps


def test_epoch_is_torchs():
    x, y = draw(50, 6), torch.randint(4, (50,), generator=torch.Generator().manual_seed(0))
    batches = minibatches(50, 8, seed=3)
    w = draw(6, 4, seed=1).requires_grad_()
    optimiser = torch.optim.SGD([w], lr=0.5)
    losses = []
    for i in batches:
        optimiser.zero_grad()
        loss = F.cross_entropy(x[i] @ w, y[i])
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    ours, mean = epoch(draw(6, 4, seed=1), x, y, 0.5, batches)
    assert (ours - w.detach()).abs().max() < 1e-10 and abs(mean - sum(losses) / len(losses)) < 1e-10


def test_minibatches_are_one_pass():
    batches = minibatches(103, 10, seed=0)
    assert [len(b) for b in batches] == [10] * 10 + [3]
    assert sorted(torch.cat(batches).tolist()) == list(range(103))


def left_over(lr, mu=0.0, nesterov=False):
    """Part of the loss that 60 steps leave in a valley of condition number 100, from one unit along and one across."""
    curvature = torch.tensor([1.0, 0.01], dtype=torch.float64)
    w, v = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for _ in range(60):
        w, v = momentum(w, v, curvature * w, lr, mu, nesterov)
    return ((curvature * w ** 2).sum() / curvature.sum()).item()


def test_the_labs_target_needs_momentum():
    plain = min(left_over(lr) for lr in torch.arange(0.01, 2.5, 0.01).tolist())
    assert 5e-4 < plain < 1.5e-3
    assert left_over(1.9, 0.8) < 1e-6 and left_over(3.2, 0.67) < 1e-9 and left_over(1.0, 0.9, True) < 1e-6
    assert left_over(5.0) > 1e3  # and a larger rate is not the same thing
    at_best = left_over(1.9)
    assert at_best < min(left_over(1.8), left_over(1.95))  # the lab's dashed path


@pytest.mark.parametrize("mu", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_balls_limits_on_the_rate(mu, nesterov):
    limit = 2 * (1 + mu) / (1 + 2 * mu * nesterov)  # for a curvature of 1
    ends = []
    for lr in (0.98 * limit, 1.02 * limit):
        w, v = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        for _ in range(1000):
            w, v = momentum(w, v, w, lr, mu, nesterov)
        ends.append(w.abs().item())
    assert ends[0] < 0.1 and ends[1] > 10


def test_the_largest_curvature_of_the_cross_entropy_at_the_start_is_one_over_the_classes():
    p = torch.full((20,), 0.05, dtype=torch.float64)
    assert torch.linalg.eigvalsh(p.diag() - p[:, None] * p)[-1] == pytest.approx(0.05)


def test_wrong_cross_entropies_are_not_told_about_large_logits():
    def columns(logits, y):
        loss, grad = softmax_ce(logits, y)
        return -torch.log_softmax(logits, 1)[:, y].mean(), grad

    def entries(logits, y):
        loss, grad = softmax_ce(logits, y)
        return loss / logits.numel(), grad

    def truth_values(logits, y):
        log_p = torch.log_softmax(logits, 1)
        grad = log_p.exp() - (torch.arange(logits.shape[1]) == y[:, None])
        return -log_p[torch.arange(len(y)), y].mean(), grad / len(y)

    for wrong, words in {columns: "[:, y]", entries: "expected", truth_values: "bool tensor"}.items():
        status, message = lesson01.softmax_ce.verdict(wrong)
        assert status == "wrong" and words in message and "1000" not in message, message


def test_batches_made_by_yield_are_told_that_the_lesson_needs_a_list():
    def one_by_one(n, size, seed):
        yield from torch.randperm(n, generator=torch.Generator().manual_seed(seed)).split(size)

    status, message = lesson01.minibatches.verdict(one_by_one)
    assert status == "wrong" and "generator" in message and "expected a list" in message


@pytest.mark.parametrize("mu", [0.9, 0.99])
def test_a_swing_keeps_the_share_mu_of_its_height(mu):
    w, v = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    heights = []
    for _ in range(400):
        w, v = momentum(w, v, w, 1.0, mu, False)
        heights.append((w ** 2).item())
    share = (max(heights[380:]) / max(heights[:20])) ** (1 / 380)
    assert share == pytest.approx(mu, abs=0.002)


def test_the_edge_of_creeping_is_the_best_friction():
    ends = {mu: left_over(1.0, mu) for mu in (0.7, 0.8, 0.81, 0.9, 0.99)}
    assert min(ends, key=ends.get) == 0.81
    assert ends[0.9] > 100 * ends[0.8] and ends[0.99] > 100 * ends[0.9]


def noisy_end(lr, mu, nesterov, falling, steps=60):
    """As ``left_over``, but each gradient is off by a random draw; the median of 201 walks at once."""
    curvature = torch.tensor([1.0, 0.01], dtype=torch.float64)
    noise = 0.1 * draw(steps, 201, 2) * curvature.sqrt()
    w = torch.ones(201, 2, dtype=torch.float64)
    v = torch.zeros_like(w)
    for t in range(steps):
        rate = lr * (1 - t / steps) if falling else lr
        w, v = momentum(w, v, curvature * w + noise[t], rate, mu, nesterov)
    return ((curvature * w ** 2).sum(1) / curvature.sum()).median().item()


def test_a_falling_rate_quiets_the_noise_of_a_fast_ball_and_only_slows_a_slow_one():
    assert noisy_end(1.0, 0.9, True, True) < 0.5 * noisy_end(1.0, 0.9, True, False)
    assert noisy_end(1.9, 0.8, False, True) < 0.5 * noisy_end(1.9, 0.8, False, False)
    assert noisy_end(0.1, 0.8, False, True) > 1.1 * noisy_end(0.1, 0.8, False, False)
