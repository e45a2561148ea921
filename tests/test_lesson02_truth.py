"""Lesson 02: references against torch.optim, finite differences and torch.func; and the claims of its text."""
import pytest
import torch

from metalearn_lite.check import lesson02

rmsprop, adam, hvp, lr_hypergrad, meta_step, meta_lr = (exercise.reference for exercise in (
    lesson02.rmsprop, lesson02.adam, lesson02.hvp, lesson02.lr_hypergrad, lesson02.meta_step, lesson02.meta_lr))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(w):
    """A loss with bends of every kind, so that paths that differ stay apart."""
    w = w.detach().requires_grad_()
    loss = (draw(4, 6) @ w).cosh().log().sum() + 0.05 * (w ** 4).sum()
    return torch.autograd.grad(loss, w)[0]


def torch_path(make, steps=10, scale=1.0):
    w = draw(6, 3, seed=1).requires_grad_()
    optimiser, path = make([w]), []
    for _ in range(steps):
        w.grad = scale * gradients(w)
        optimiser.step()
        path.append(w.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("rho", [0.5, 0.9, 0.99])
def test_rmsprop_is_torchs(rho, scale):
    w, path = draw(6, 3, seed=1), []
    s = torch.zeros_like(w)
    for _ in range(10):
        w, s = rmsprop(w, scale * gradients(w), s, 0.03, rho, 1e-8)
        path.append(w)
    theirs = torch_path(lambda w: torch.optim.RMSprop(w, lr=0.03, alpha=rho, eps=1e-8), scale=scale)
    assert (torch.stack(path) - theirs).abs().max() < 1e-10


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9), (0.5, 0.5)])
def test_adam_is_torchs(betas, scale):
    w, path = draw(6, 3, seed=1), []
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t in range(1, 11):
        w, m, v = adam(w, scale * gradients(w), m, v, t, 0.03, *betas, 1e-8)
        path.append(w)
    theirs = torch_path(lambda w: torch.optim.Adam(w, lr=0.03, betas=betas, eps=1e-8), scale=scale)
    assert (torch.stack(path) - theirs).abs().max() < 1e-10


def test_eps_inside_the_root_shows_only_with_tiny_gradients_and_the_check_sees_it():
    def inside(w, g, s, lr, rho, eps):
        s = rho * s + (1 - rho) * g ** 2
        return w - lr * g / (s + eps).sqrt(), s

    w, g, s = draw(3, 5)
    for scale, apart in ((1.0, False), (1e-6, True)):
        one, other = (f(w, scale * g, scale ** 2 * s.abs(), 0.1, 0.9, 1e-8)[0] for f in (rmsprop, inside))
        assert ((one - other).abs().max() > 1e-3) == apart
    assert "inside the root" in lesson02.rmsprop.verdict(inside).message


def test_adams_first_step_is_the_rate_whatever_the_gradient():
    w, g = torch.zeros(4, dtype=torch.float64), torch.tensor([1e3, -1.0, 1e-3, -1e-5], dtype=torch.float64)
    moved = adam(w, g, 0 * w, 0 * w, 1, 0.1, 0.9, 0.999, 1e-8)[0]
    assert torch.allclose(moved, -0.1 * g.sign(), rtol=2e-3)


@pytest.mark.parametrize("b1, b2, sign", [(0.0, 0.1, 1), (0.0, 0.999, -1), (0.9, 0.999, -1)])
def test_reddis_cycle(b1, b2, sign):
    w, m, v = (torch.zeros(1, dtype=torch.float64) for _ in range(3))
    for t in range(1, 301):
        g = torch.tensor([3.0 if t % 3 == 1 else -1.0], dtype=torch.float64)
        w, m, v = adam(w, g, m, v, t, 0.01, b1, b2, 1e-8)
    assert w.sign().item() == sign and w.abs() > 0.1


def test_rmsprop_does_not_see_the_condition_number_of_a_valley_along_a_knob():
    ends = []
    for kappa in (1, 1000):
        w, s = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        for _ in range(30):
            w, s = rmsprop(w, w * torch.tensor([1.0, 1 / kappa], dtype=torch.float64), s, 0.02, 0.9, 1e-12)
        ends.append(w)
    assert torch.allclose(*ends, atol=1e-6)


def test_hvp_is_the_hessians():
    A, w, v = draw(5, 4), draw(4, seed=1), draw(4, seed=2)
    H = torch.autograd.functional.hessian(lambda w: ((A @ w) ** 4).sum(), w)
    assert torch.allclose(hvp(A, w, v), H @ v, rtol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_the_hyper_gradient_is_that_of_finite_differences(steps):
    A, b, w, eps = draw(6, 3), draw(6, seed=1), draw(3, seed=2), 1e-6

    def end(lr):
        place = w
        for _ in range(steps):
            place = place - lr * A.T @ (A @ place - b) / 6
        return ((A @ place - b) ** 2).mean() / 2

    measured = (end(0.2 + eps) - end(0.2 - eps)) / (2 * eps)
    assert lr_hypergrad(A, b, w, 0.2, steps) == pytest.approx(measured.item(), rel=1e-6, abs=1e-9)


def test_a_detached_hyper_gradient_is_right_at_one_step_only_and_the_check_sees_it():
    def detached(A, b, w, lr, steps):
        lr = torch.tensor(lr, dtype=w.dtype, requires_grad=True)
        w = w.clone().requires_grad_()
        for _ in range(steps):
            (g,) = torch.autograd.grad(((A @ w - b) ** 2).mean() / 2, w)
            w = w - lr * g
        return torch.autograd.grad(((A @ w - b) ** 2).mean() / 2, lr)[0]

    A, b, w = draw(6, 3), draw(6, seed=1), draw(3, seed=2)
    for steps in (1, 3):
        assert torch.allclose(detached(A, b, w, 0.2, steps), lr_hypergrad(A, b, w, 0.2, steps)) == (steps == 1)
    assert "create_graph" in lesson02.lr_hypergrad.verdict(detached).message


def test_the_listing_of_bug_hunt_3_never_moves_the_rate_and_the_repair_does():
    tasks = [(draw(6, 3, seed=k), draw(6, seed=k + 1), draw(3, seed=k + 2)) for k in range(3)]
    assert lesson02.meta_step.start(0.05, tasks, 4, 0.01) == 0.05
    slopes = [lr_hypergrad(*task, 0.05, 4).item() for task in tasks]
    assert meta_step(0.05, tasks, 4, 0.01) == pytest.approx(0.05 - 0.01 * sum(slopes) / 3)


def test_meta_lr_is_near_the_best_of_a_fine_grid_on_new_families():
    for seed in range(3):
        train, test = lesson02._family(seed + 10, (2.0, 1.0, 1.0, 0.5)), lesson02._family(seed + 20, (1.0, 0.7))
        lr, held_out = meta_lr(train, test, 6)
        best = min(lesson02._final(train, rate, 6) for rate in lesson02._GRID)
        assert lesson02._final(train, lr, 6) < 1.1 * best
        assert held_out == pytest.approx(lesson02._final(test, lr, 6))


def test_a_greedy_rate_is_smaller_than_a_farsighted_one():
    """Expected loss in a noisy valley, exactly: E w² ← (1 - lr c)² E w² + lr² c σ², along each curvature c."""
    def best(horizon, flat, distance, lrs):
        curvature = torch.tensor([1.0, flat], dtype=torch.float64)
        square = torch.tensor([0.0, distance ** 2], dtype=torch.float64).expand(len(lrs), 2)
        for _ in range(horizon):
            square = (1 - lrs[:, None] * curvature) ** 2 * square + lrs[:, None] ** 2 * curvature * 0.09
        return lrs[(square * curvature).sum(1).argmin()].item()

    lrs = torch.linspace(0.01, 1.9, 190, dtype=torch.float64)
    assert 4 * best(1, 0.01, 10.0, lrs) < best(300, 0.01, 10.0, lrs)
    rates = [best(horizon, 0.001, 30.0, lrs / 10) for horizon in (1, 10, 30)]  # the lesson's own valley
    assert rates[0] < rates[1] < 1.3 * rates[0] and rates[2] > 5 * rates[1]
