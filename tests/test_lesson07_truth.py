"""Lesson 07: references against the library and finite differences; and what its text claims."""
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn_lite import hyper, maml, nets
from metalearn_lite.check import lesson07
from metalearn_lite.episodes import EpisodeSampler, SinusoidSampler
from metalearn_lite.optim import GradientDescent
from metalearn_lite.train import mean_squared_error, meta_train

unflatten, task_net, encode_set, film, feed, hyper_grads = (exercise.reference for exercise in (
    lesson07.unflatten, lesson07.task_net, lesson07.encode_set, lesson07.film, lesson07.feed, lesson07.hyper_grads))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def waves(tasks=4, shot=5):
    return SinusoidSampler(shot, 7, tasks, seeded())()


def writer(seed=4):
    g = seeded(seed)
    return hyper.HyperNetwork(nets.mlp([1, 40, 40, 1], seeded(1)), nets.mlp([2, 64, 64, 64], g), 64, generator=g)


def film_network():
    g = seeded(5)
    return hyper.FiLMNetwork(nets.mlp([1, 40, 40, 1], g), nets.mlp([2, 64, 64, 64], g), 64, generator=g)


@torch.no_grad()
def test_the_three_functions_make_the_librarys_hypernetwork():
    learner, (sx, sy, qx, _) = writer(), waves()
    s = encode_set(learner.embed(torch.cat([sx, sy], -1)), torch.ones(4, 5))
    theta = learner.generate_from(learner.norm(s))
    answers = task_net(unflatten(theta, [list(shape) for shape in learner.shapes.values()]), qx)
    torch.testing.assert_close(answers, learner(sx, sy, qx), rtol=1e-4, atol=1e-5)


def test_the_set_is_summed_up_whatever_its_order_copies_and_padding():
    h, ones = torch.randn(3, 5, 4, generator=seeded(), dtype=torch.float64), torch.ones(3, 5, dtype=torch.float64)
    s = encode_set(h, ones)
    assert torch.allclose(s, h.mean(1))
    assert torch.allclose(encode_set(h.flip(1), ones), s)
    assert torch.allclose(encode_set(torch.cat([h, h], 1), torch.cat([ones, ones], 1)), s)
    junk = torch.full((3, 2, 4), 99.0, dtype=torch.float64)
    assert torch.allclose(encode_set(torch.cat([h, junk], 1), torch.cat([ones, 0 * ones[:, :2]], 1)), s)
    assert torch.allclose(2 * h.sum(1), torch.cat([h, h], 1).sum(1))  # the sum is twice as long


@torch.no_grad()
def test_film_is_what_the_librarys_module_does():
    learner, episode = film_network(), waves()
    first, _, second, _, last = learner.base
    (gamma, beta), (gamma2, beta2) = learner.modulation(episode.support_x, episode.support_y)
    assert gamma.shape == beta.shape == gamma2.shape == (4, 40)
    h = torch.relu(film(first(episode.query_x), gamma, beta))
    h = torch.relu(film(second(h), gamma2, beta2))
    torch.testing.assert_close(last(h), learner(*episode[:3]), rtol=1e-4, atol=1e-5)


def test_the_numbers_that_the_text_states():
    assert sum(p.numel() for p in nets.mlp([1, 40, 40, 1], seeded()).parameters()) == 1761
    assert 2 * sum(film_network().channels) == 160
    assert sum(p.numel() for p in nets.mlp([2, 10, 3], seeded()).parameters()) == 63
    assert sum(p.numel() for p in nets.Conv4(16, generator=seeded()).parameters()) == 7248
    W2 = unflatten(torch.zeros(8, 1761), [[40, 1], [40], [40, 40], [40], [1, 40], [1]])[2]
    assert W2.shape == (8, 40, 40)
    written = sum(p.numel() for p in writer().parameters())
    assert writer().generate_from[-1].weight.numel() == 64 * 1761 and written > 1e5 > 64 * 1000


def test_the_found_listing_never_feeds():
    episode, g = waves(), seeded(6)
    meta = [torch.randn(64, 2, generator=g, requires_grad=True), torch.randn(121, 64, generator=g, requires_grad=True)]
    own = [torch.randn(size, generator=g, requires_grad=True) for size in (40, 40, 40, 1)]
    found, fed = lesson07.feed.start, feed
    other = episode.support_x.roll(1, 0), episode.support_y.roll(1, 0), episode.query_x
    assert torch.equal(found(meta, own, *episode[:3])[0], found(meta, own, *other)[0])
    assert not torch.allclose(fed(meta, own, *episode[:3]), fed(meta, own, *other))
    loss = F.mse_loss(found(meta, own, *episode[:3])[0], episode.query_y)
    assert torch.autograd.grad(loss, meta, allow_unused=True) == (None, None)
    loss = F.mse_loss(fed(meta, own, *episode[:3]), episode.query_y)
    grads = torch.autograd.grad(loss, meta + own, allow_unused=True)
    assert all(g.norm() > 0 for g in grads[:2]) and grads[2:] == (None,) * 4


class SideBySide(nn.Module):
    def __init__(self):
        super().__init__()
        self.meta, self.task = nets.mlp([2, 8, 10], seeded()), nets.mlp([1, 8, 1], seeded())

    def forward(self, support_x, support_y, query_x):
        self.meta(torch.cat([support_x, support_y], -1))
        return self.task(query_x)


def test_meta_train_refuses_two_networks_side_by_side():
    with pytest.raises(ValueError, match="does not depend on its parameter 'meta"):
        meta_train(SideBySide(), SinusoidSampler(5, 5, 4, seeded()), mean_squared_error, updates=2, progress=False)


def test_hyper_grads_are_the_norms_of_the_measured_slopes():
    g = seeded(7)
    params = {"V": (6, 2), "c": (6,), "G": (25, 6), "g": (25,)}
    params = {name: torch.randn(*shape, generator=g, dtype=torch.float64) / 3 for name, shape in params.items()}
    episode = [t.double() for t in waves()]

    def loss(p):
        sx, sy, qx, qy = episode
        s = encode_set(torch.tanh(torch.cat([sx, sy], -1) @ p["V"].mT + p["c"]), torch.ones(4, 5, dtype=torch.float64))
        return F.mse_loss(task_net(unflatten(s @ p["G"].mT + p["g"], [[8, 1], [8], [1, 8], [1]]), qx), qy).item()

    norms = hyper_grads(*episode, params)
    for name, p in params.items():
        slopes = torch.zeros_like(p).view(-1)
        for i in range(p.numel()):
            step = torch.zeros_like(p).view(-1)
            step[i] = 1e-6
            up, down = (loss({**params, name: p + sign * step.view_as(p)}) for sign in (1, -1))
            slopes[i] = (up - down) / 2e-6
        assert norms[name] == pytest.approx(slopes.norm().item(), rel=1e-5) and norms[name] > 0


@torch.no_grad()
def test_the_layernorm_bounds_what_is_written_however_high_the_points():
    learner, (sx, sy, _, _) = writer(), waves(50)

    def longest(factor):
        made = learner.generate(sx, factor * sy)
        return torch.cat([p.flatten(1) for p in made.values()], 1).norm(dim=1).max()

    bounded = longest(1000)
    assert longest(1e5) == pytest.approx(bounded.item(), rel=0.05)
    learner.norm = nn.Identity()
    assert longest(1e5) > 50 * longest(1000) > 50 * bounded


def test_an_input_beside_x_is_a_bias_of_the_first_layer():
    """Section 4's control: W [x, s] + b = W_x x + (W_s s + b)."""
    layer = nets.mlp([1 + 64, 128, 1], seeded())[0]
    x, s = torch.randn(4, 7, 1, generator=seeded(1)), torch.randn(4, 64, generator=seeded(2))
    appended = layer(torch.cat([x, s[:, None].expand(-1, 7, -1)], -1))
    biases = s @ layer.weight[:, 1:].mT + layer.bias  # (4, 128): one bias a task and unit
    torch.testing.assert_close(appended, x @ layer.weight[:, :1].mT + biases[:, None], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_written_weights_can_be_stepped_on():
    """Section 5's mixture: without a step it is the hypernetwork; steps lower the support loss of every task."""
    learner, form, (sx, sy, qx, _) = writer(), nets.mlp([1, 40, 40, 1], seeded(1)), waves(8)

    def stepped(steps, tasks=8):
        x, y = sx[:tasks], sy[:tasks]
        return maml.inner_loop(lambda w, x: maml.stacked_call(form, w, x), learner.generate(x, y), x, y, steps=steps,
                               loss=lambda a, y: len(y) * F.mse_loss(a, y), optimizer=GradientDescent(0.01))

    torch.testing.assert_close(maml.stacked_call(form, stepped(0), qx), learner(sx, sy, qx), rtol=1e-4, atol=1e-5)
    errors = [(maml.stacked_call(form, stepped(steps), sx) - sy).square().mean((1, 2)) for steps in (0, 5)]
    assert (errors[1] < errors[0]).all()
    alone = stepped(5, 1)
    for name, p in stepped(5).items():
        torch.testing.assert_close(p[:1], alone[name], rtol=1e-3, atol=1e-4)  # a task's steps are its own


def test_a_wave_is_two_numbers():
    x = torch.linspace(-5, 5, 50, dtype=torch.float64)
    for a, p in ((3.0, 0.4), (0.5, 2.0)):
        A, B = torch.linalg.lstsq(torch.stack([x.sin(), x.cos()], 1), (a * (x - p).sin())[:, None]).solution[:, 0]
        assert A.item() == pytest.approx(a * math.cos(p)) and B.item() == pytest.approx(-a * math.sin(p))


class Vectors:
    """Stands for a data set of vectors: 8 classes of 6 items."""

    items = torch.randn(8, 6, 16, generator=torch.Generator().manual_seed(8))


@torch.no_grad()
def test_names_do_not_matter_to_written_class_weights_and_any_way_will_do():
    learner = hyper.HyperClassifier(nn.Identity(), 16, generator=seeded(3)).eval()
    sx, sy, qx, _ = EpisodeSampler(Vectors, 5, 1, 2, 4, seeded(9))()
    named, renamed = learner(sx, sy, qx), learner(sx, (sy + 1) % 5, qx)
    torch.testing.assert_close(renamed.roll(-1, 2), named, rtol=1e-4, atol=1e-5)
    assert learner(*EpisodeSampler(Vectors, 8, 1, 2, 4, seeded(9))()[:3]).shape == (4, 16, 8)
    with pytest.raises(ValueError, match="way"):
        fixed = maml.MAML(nets.mlp([16, 8, 5], seeded()))
        fixed(*EpisodeSampler(Vectors, 8, 1, 2, 4, seeded(9))()[:3])


def test_an_answer_that_is_cut_off_is_told_so():
    def cut(sx, sy, qx, qy, params):
        params = {name: p.detach().requires_grad_() for name, p in params.items()}
        s = torch.tanh(torch.cat([sx, sy], -1) @ params["V"].mT + params["c"]).mean(1)
        theta = (s @ params["G"].mT + params["g"]).detach().requires_grad_()
        H = theta.shape[1] // 3
        F.mse_loss(task_net(unflatten(theta, [[H, 1], [H], [1, H], [1]]), qx), qy).backward()
        return {name: 0.0 if p.grad is None else p.grad.norm() for name, p in params.items()}

    status, message = lesson07.hyper_grads.verdict(cut)
    assert status == "wrong" and "detach" in message


def in_numbers(answer):
    """The same numbers in a new tensor, as ``.item()`` would bring them there."""
    return torch.tensor(answer.tolist(), dtype=answer.dtype)


@pytest.mark.parametrize("exercise, cut", [
    (lesson07.task_net, lambda weights, x: in_numbers(task_net(weights, x))),
    (lesson07.task_net, lambda weights, x: task_net([p.data for p in weights], x)),
    (lesson07.encode_set, lambda h, mask: in_numbers(encode_set(h, mask))),
    (lesson07.encode_set, lambda h, mask: encode_set(h.detach(), mask)),
    (lesson07.film, lambda h, gamma, beta: in_numbers(film(h, gamma, beta))),
    (lesson07.film, lambda h, gamma, beta: film(h, gamma.data, beta.data)),
])
def test_right_numbers_without_a_graph_are_refused_by_name(exercise, cut):
    status, message = exercise.verdict(cut)
    assert status == "wrong" and "no path leads" in message and "detach" in message
