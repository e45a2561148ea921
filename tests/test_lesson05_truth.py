"""Lesson 05: references against the library and finite differences; and what its text claims."""
import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn_lite import maml
from metalearn_lite.check import lesson05
from metalearn_lite.episodes import Episode, SinusoidSampler
from metalearn_lite.nets import Conv4
from metalearn_lite.optim import SGD, GradientDescent
from metalearn_lite.train import mean_squared_error

adapt, meta_grad, reptile, metasgd_grad, update = (exercise.reference for exercise in (
    lesson05.adapt, lesson05.meta_grad, lesson05.reptile, lesson05.metasgd_grad, lesson05.update))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def waves(tasks=3, seed=0):
    return Episode(*(t.double() for t in SinusoidSampler(5, 7, tasks, seeded(seed))()))


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors]).detach()


def as_net(w):
    """The same network as an nn.Sequential, its parameters in the order of w."""
    layers = []
    for W, b in zip(w[::2], w[1::2]):
        layer = nn.Linear(*W.shape).double()
        with torch.no_grad():
            layer.weight.copy_(W.T)
            layer.bias.copy_(b)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def transposed(grads):
    return flat([g.T if g.ndim == 2 else g for g in grads])


@pytest.fixture
def w():
    return lesson05.weights([1, 6, 4, 1], seeded(1))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("order", [1, 2])
def test_the_meta_gradient_is_the_librarys(w, steps, order):
    learner = maml.MAML(as_net(w), steps, GradientDescent(0.05), first_order=order == 1, loss=F.mse_loss)
    expected = torch.autograd.grad(mean_squared_error(learner, waves()), list(learner.parameters()))
    got = meta_grad(w, list(zip(*waves())), 0.05, steps, order)
    assert torch.allclose(flat(got), transposed(expected), rtol=1e-8, atol=1e-10)


def slopes(value, tensors, eps=1e-5):
    result = []
    for p in tensors:
        for i in range(p.numel()):
            step = torch.zeros_like(p).view(-1)
            step[i] = eps
            up, down = (value([q + s * step.view_as(q) if q is p else q for q in tensors]) for s in (1, -1))
            result.append((up - down).item() / (2 * eps))
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_meta_gradient_is_the_measured_slope(w, steps):
    tasks = list(zip(*waves()))
    truth = slopes(lambda w: sum(lesson05.mse(adapt(w, sx, sy, 0.05, steps), qx, qy) for sx, sy, qx, qy in tasks) / 3, w)
    assert (flat(meta_grad(w, tasks, 0.05, steps, 2)) - truth).norm() < 1e-7 * truth.norm()
    assert (flat(meta_grad(w, tasks, 0.05, steps, 1)) - truth).norm() > 1e-2 * truth.norm()


def test_metasgd_is_the_measured_slope(w):
    tasks, alpha = list(zip(*waves())), [torch.full_like(p, 0.03).requires_grad_() for p in w]

    def value(both):
        w, alpha = both[:len(both) // 2], both[len(both) // 2:]
        total = 0
        for sx, sy, qx, qy in tasks:
            g = torch.autograd.grad(lesson05.mse(w, sx, sy), w, create_graph=True)
            total = total + lesson05.mse([p - a * d for p, a, d in zip(w, alpha, g)], qx, qy) / 3
        return total

    truth = slopes(value, w + alpha)
    assert (flat(sum(metasgd_grad(w, alpha, tasks), [])) - truth).norm() < 1e-7 * truth.norm()
    same = metasgd_grad(w, alpha, tasks)[0]
    assert torch.allclose(flat(same), flat(meta_grad(w, tasks, 0.03, 1, 2)))


def test_reptile_is_the_librarys_update(w):
    net, episode = as_net(w), waves()
    learner = maml.MAML(net, 3, GradientDescent(0.05), loss=F.mse_loss)
    adapted = [adapt(w, sx, sy, 0.05, 3) for sx, sy, _, _ in zip(*episode)]
    grads = torch.autograd.grad(maml.reptile(learner, episode), list(net.parameters()))
    expected = [p - 0.2 * g for p, g in zip(net.parameters(), grads)]
    assert torch.allclose(flat(reptile(w, adapted, 0.2)), transposed(expected))


def test_the_update_is_descent_along_the_meta_gradient(w):
    tasks = list(zip(*waves()))
    new = update(w, tasks, 0.05, 0.3)
    assert torch.allclose(flat(new), flat(w) - 0.3 * flat(meta_grad(w, tasks, 0.05, 1, 2)))


def test_first_order_may_point_uphill():
    """Section 4: one weight, curvature 4, inner rate 0.4; and the closed-book question."""
    for c, a, b, alpha in ((4.0, 2.0, 3.0, 0.4), (6.0, 1.0, 2.0, 0.3)):
        theta = alpha * c * a  # from 0
        assert (theta - b) * (1 - alpha * c) * (theta - b) < 0
    assert (0.6 - 2) * (1 - 0.6) == pytest.approx(-0.56) and (1.8 - 2) * (1 - 1.8) == pytest.approx(0.16)


def test_the_mean_of_all_waves():
    x = torch.linspace(-5, 5, 11, dtype=torch.float64)
    episode = SinusoidSampler(1, 1, 200_000, seeded())
    draw = torch.rand(200_000, 2, generator=episode.generator, dtype=torch.float64)
    y = (0.1 + 4.9 * draw[:, :1]) * torch.sin(x - torch.pi * draw[:, 1:])
    assert (y.mean(0) + 2 / torch.pi * 2.55 * x.cos()).abs().max() < 0.03


def kept(steps, first_order):
    net = Conv4(8, 3, norm="task", generator=seeded())
    x, y = torch.rand(1, 3, 1, 28, 28, generator=seeded(1)), torch.arange(3)[None]
    learner = maml.MAML(net, steps, GradientDescent(0.1), first_order=first_order)
    return lesson05.kept_megabytes(lambda: F.cross_entropy(learner(x, y, x)[0], y[0]))


def test_the_memory_of_second_order_grows_with_the_steps_and_that_of_first_order_does_not():
    second, first = [kept(s, False) for s in (1, 2, 3)], [kept(s, True) for s in (1, 2, 3)]
    assert max(first) < 1.2 * min(first)
    assert second[1] - second[0] == pytest.approx(second[2] - second[1], rel=0.2)
    assert second[0] > 1.5 * first[0]


def test_kept_megabytes_counts_what_is_kept():
    x = torch.ones(1000, 250, requires_grad=True)  # 1 MB
    assert lesson05.kept_megabytes(lambda: x.exp().sum()) == pytest.approx(1.0, rel=0.01)  # exp keeps its result
    assert lesson05.kept_megabytes(lambda: x.exp().exp().sum()) == pytest.approx(2.0, rel=0.01)


def test_the_found_update_moves_the_start_at_an_outer_rate_of_zero_and_depends_on_the_order(w):
    tasks = list(zip(*waves()))
    found = lesson05.update.start
    assert not torch.equal(flat(found(w, tasks, 0.05, 0.0)), flat(w))
    assert torch.equal(flat(update(w, tasks, 0.05, 0.0)), flat(w))
    assert not torch.allclose(flat(found(w, tasks, 0.05, 0.1)), flat(found(w, tasks[::-1], 0.05, 0.1)))
    assert torch.allclose(flat(update(w, tasks, 0.05, 0.1)), flat(update(w, tasks[::-1], 0.05, 0.1)))


def test_a_detached_or_generated_answer_is_told_something_useful():
    def generated(w, x, y, lr, steps):
        for step in range(steps):
            g = torch.autograd.grad(lesson05.mse(w, x, y), w, create_graph=True)
            w = (p - lr * d for p, d in zip(w, g))
        return w

    status, message = lesson05.adapt.verdict(generated)
    assert status == "wrong" and "generator" in message

    def cut(w, tasks, lr, steps, order):
        total = 0
        for sx, sy, qx, qy in tasks:
            theta = w
            for step in range(steps):
                g = torch.autograd.grad(lesson05.mse(theta, sx, sy), theta)
                theta = [(p - lr * d).detach().requires_grad_() for p, d in zip(theta, g)]
            total = total + lesson05.mse(theta, qx, qy) / len(tasks)
        return list(torch.autograd.grad(total, w))

    status, message = lesson05.meta_grad.verdict(cut)
    assert status == "wrong" and "graph" in message

    def cut_for_first_order(w, tasks, lr, steps, order):
        if order == 2:
            return meta_grad(w, tasks, lr, steps, order)
        total = 0
        for sx, sy, qx, qy in tasks:
            theta = [p.detach() for p in adapt(w, sx, sy, lr, steps)]
            total = total + lesson05.mse(theta, qx, qy) / len(tasks)
        return list(torch.autograd.grad(total, w))

    status, message = lesson05.meta_grad.verdict(cut_for_first_order)
    assert status == "wrong" and "hangs on w" in message


def test_an_inner_loop_without_its_graph_is_refused_though_its_numbers_are_right():
    def no_graph(w, x, y, lr, steps):
        for step in range(steps):
            w = [p - lr * d for p, d in zip(w, torch.autograd.grad(lesson05.mse(w, x, y), w))]
        return w

    def detached(w, x, y, lr, steps):
        for step in range(steps):
            g = torch.autograd.grad(lesson05.mse(w, x, y), w)
            w = [(p - lr * d).detach().requires_grad_() for p, d in zip(w, g)]
        return w

    def optimiser(w, x, y, lr, steps):
        w = [p.detach().clone().requires_grad_() for p in w]
        descent = torch.optim.SGD(w, lr=lr)
        for step in range(steps):
            descent.zero_grad()
            lesson05.mse(w, x, y).backward()
            descent.step()
        return w

    for fn, word in ((no_graph, "constant"), (detached, "path"), (optimiser, "path")):
        status, message = lesson05.adapt.verdict(fn)
        assert status == "wrong" and message.startswith("Right numbers") and word in message


def test_the_inner_loop_that_the_lesson_prints_is_the_one_that_runs(w):
    assert "create_graph=outer and not first_order" in inspect.getsource(maml.inner_loop)
    params = {str(i): p for i, p in enumerate(w)}
    sx, sy, _, _ = next(zip(*waves()))
    theta = maml.inner_loop(lambda p, x: lesson05.predict(list(p.values()), x), params, sx, sy, loss=F.mse_loss,
                            optimizer=SGD(0.05), steps=3)
    assert torch.allclose(flat(theta.values()), flat(adapt(w, sx, sy, 0.05, 3)))


def test_the_waves_that_the_lab_speaks_of():
    flat_line = {seed: SinusoidSampler(20, 200, 1, seeded(1000 + seed))().query_y.square().mean().item() for seed in range(11)}
    assert max(flat_line[2], flat_line[3]) < 0.1 < min(flat_line[seed] for seed in (0, 1, *range(4, 11)))
    assert flat_line[1] == pytest.approx(2.03, abs=0.01)
