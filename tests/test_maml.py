"""MAML and its relatives: meta-gradients held to finite differences, derivations written out, other libraries."""

import copy
import io
import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad
from torch.nn import functional as F

from metalearn_lite.data import glyphs
from metalearn_lite.episodes import Episode, EpisodeSampler, SinusoidSampler
from metalearn_lite.evaluate import meta_test
from metalearn_lite.maml import MAML, LearnedRates, anil, inner_loop, meta_sgd, reptile, stacked_call
from metalearn_lite.nets import Conv4, mlp
from metalearn_lite.optim import SGD, Adam, AdamW, GradientDescent, LearnedOptimizer, RMSProp
from metalearn_lite.train import cross_entropy, mean_squared_error, meta_train


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tanh_net(sizes, seed=0):
    net = mlp(sizes, seeded(seed))
    return nn.Sequential(*(nn.Tanh() if isinstance(layer, nn.ReLU) else layer for layer in net)).double()


def vectors(tasks=3, way=3, shot=2, query=4, dim=4, seed=0):
    """Classification tasks on float64 vectors: noisy copies of random class means."""
    g = seeded(seed)
    mean = torch.randn(tasks, way, 1, dim, generator=g, dtype=torch.float64)
    x = mean + 0.5 * torch.randn(tasks, way, shot + query, dim, generator=g, dtype=torch.float64)
    y = torch.arange(way).repeat(tasks, 1)
    return Episode(x[:, :, :shot].flatten(1, 2), y.repeat_interleave(shot, 1),
                   x[:, :, shot:].flatten(1, 2), y.repeat_interleave(query, 1))


def images(tasks=3, way=3, shot=1, query=2, seed=0, size=16, channels=1):
    flat = vectors(tasks, way, shot, query, channels * size * size, seed)
    return flat._replace(support_x=flat.support_x.unflatten(2, (channels, size, size)),
                         query_x=flat.query_x.unflatten(2, (channels, size, size)))


def sines(tasks=4, shot=5, query=5, seed=0):
    return Episode(*(t.double() for t in SinusoidSampler(shot, query, tasks, seeded(seed))()))


def meta_gradient(learner, episode, objective=cross_entropy):
    """By name; a parameter without one (a frozen one, say) is left out."""
    learner.zero_grad()
    objective(learner, episode).backward()
    return {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}


def distance(a, b):
    """Largest difference over all parameters, relative to the largest entry of all."""
    assert a.keys() == b.keys() and a
    return (max((a[n] - b[n]).abs().max() for n in a) / max(t.abs().max() for t in b.values())).item()


# The meta-gradient against the truth


def finite_differences(learner, episode, objective, eps=1e-5):
    result = {}
    with torch.no_grad():
        for name, p in learner.named_parameters():
            flat, slope = p.view(-1), torch.zeros_like(p).view(-1)
            for i in range(len(flat)):
                old = flat[i].item()
                flat[i] = old + eps
                up = objective(learner, episode)
                flat[i] = old - eps
                slope[i] = (up - objective(learner, episode)) / (2 * eps)
                flat[i] = old
            result[name] = slope.view_as(p)
    return result


@pytest.mark.parametrize("optimizer", [GradientDescent(0.3), SGD(0.2, momentum=0.9, nesterov=True, weight_decay=0.1),
                                       Adam(0.05, eps_root=1e-4), RMSProp(0.02, eps_root=1e-4)],
                         ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("stacked", [False, True], ids=["loop", "stacked"])
def test_meta_gradient_equals_finite_differences(optimizer, stacked):
    """Also says that ``forward`` has the same value under no_grad, where its derivative is unknown to autograd."""
    learner = MAML(tanh_net([4, 5, 3]), 3, optimizer, stacked=stacked)
    assert distance(meta_gradient(learner, vectors()), finite_differences(learner, vectors(), cross_entropy)) < 1e-6


@pytest.mark.parametrize("make", [
    lambda: meta_sgd(tanh_net([1, 4, 1]), 0.1, steps=2, loss=F.mse_loss),
    lambda: MAML(tanh_net([1, 4, 1]), 2, LearnedOptimizer(3, generator=seeded()).double(), loss=F.mse_loss),
], ids=["Meta-SGD", "learned optimiser"])
@pytest.mark.parametrize("stacked", [False, True], ids=["loop", "stacked"])
def test_what_the_inner_optimiser_learns_has_the_right_gradient_too(make, stacked):
    learner = make()
    learner.stacked = stacked
    got = meta_gradient(learner, sines(), mean_squared_error)
    assert any(name.startswith("optimizer.") for name in got)
    assert distance(got, finite_differences(learner, sines(), mean_squared_error)) < 1e-6


def test_one_step_equals_the_formula_with_an_explicit_hessian():
    """dL_Q(θ)/dφ = (I - α H) ∇L_Q(θ), where H is the Hessian of the support loss at φ; first order leaves H out."""
    net, alpha, (sx, sy, qx, qy) = tanh_net([3, 3, 2]), 0.4, vectors(tasks=1, way=2, dim=3)
    names, shapes = zip(*((n, p.shape) for n, p in net.named_parameters()))
    phi = torch.cat([p.detach().flatten() for p in net.parameters()])

    def loss(flat, x, y):
        parts = flat.split([s.numel() for s in shapes])
        return F.cross_entropy(functional_call(net, {n: p.view(s) for n, p, s in zip(names, parts, shapes)}, (x,)), y)

    theta = phi - alpha * grad(loss)(phi, sx[0], sy[0])
    outer = grad(loss)(theta, qx[0], qy[0])
    hessian = torch.autograd.functional.hessian(lambda p: loss(p, sx[0], sy[0]), phi)
    episode = Episode(sx, sy, qx, qy)
    for first_order, expected in ((False, outer - alpha * hessian @ outer), (True, outer)):
        learner = MAML(net, 1, GradientDescent(alpha), first_order=first_order)
        got = torch.cat([g.flatten() for g in meta_gradient(learner, episode).values()])
        assert torch.allclose(got, expected, atol=1e-12, rtol=1e-10)
    assert (alpha * hessian @ outer).norm() > 0.05 * outer.norm()  # so the two really differ


def independent(net, episode, lr, steps):
    """The meta-gradient by torch.func alone: nested ``grad``, task after task, no code of ours."""
    def task_loss(phi, sx, sy, qx, qy):
        theta = phi
        for _ in range(steps):
            g = grad(lambda p: F.cross_entropy(functional_call(net, p, (sx,)), sy))(theta)
            theta = {n: theta[n] - lr * g[n] for n in theta}
        return F.cross_entropy(functional_call(net, theta, (qx,)), qy)

    phi = {n: p.detach() for n, p in net.named_parameters()}
    each = [grad(task_loss)(phi, *task) for task in zip(*episode)]
    return {f"net.{n}": sum(g[n] for g in each) / len(each) for n in phi}


@pytest.mark.parametrize("steps", [1, 3])
def test_meta_gradient_equals_nested_torch_func(steps):
    conv = Conv4(4, 3, norm=None, generator=seeded()).double()
    for net, episode in ((tanh_net([4, 6, 3]), vectors()), (conv, images())):
        learner = MAML(net, steps, GradientDescent(0.2))
        assert distance(meta_gradient(learner, episode), independent(net, episode, 0.2, steps)) < 1e-8


def test_conv4_with_batch_norm_equals_the_network_written_out():
    """The paper's block, conv, norm, ReLU, pool, with the norm made of mean and variance; torch does the rest."""
    net = Conv4(4, 3, norm="task", generator=seeded()).double()
    names = [n for n, _ in net.named_parameters()]

    def written_out(p, x):
        p = list(p)
        for block in range(4):
            kernel, bias, gamma, beta = p[4 * block : 4 * block + 4]
            x = F.conv2d(x, kernel, bias, padding=1)
            centred = x - x.mean((0, 2, 3), keepdim=True)
            x = centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
            x = F.max_pool2d(F.relu(x * gamma[:, None, None] + beta[:, None, None]), 2)
        return x.flatten(1) @ p[16].T + p[17]

    phi, total = list(net.parameters()), 0
    for sx, sy, qx, qy in zip(*images(query=3)):
        theta = phi
        for _ in range(2):
            g = torch.autograd.grad(F.cross_entropy(written_out(theta, sx), sy), theta, create_graph=True)
            theta = [p - 0.1 * d for p, d in zip(theta, g)]
        total = total + F.cross_entropy(written_out(theta, qx), qy) / 3
    expected = {f"net.{n}": g for n, g in zip(names, torch.autograd.grad(total, phi))}
    for stacked in (False, True):
        got = meta_gradient(MAML(net, 2, GradientDescent(0.1), stacked=stacked), images(query=3))
        assert distance(got, expected) < 1e-8


def test_meta_gradient_equals_higher():
    import higher

    net, episode = tanh_net([4, 6, 3]), vectors()
    expected = meta_gradient(MAML(net, 3, GradientDescent(0.2)), episode)
    net.zero_grad()
    for sx, sy, qx, qy in zip(*episode):
        sgd = torch.optim.SGD(net.parameters(), lr=0.2)
        with higher.innerloop_ctx(net, sgd, copy_initial_weights=False) as (f, opt):
            for _ in range(3):
                opt.step(F.cross_entropy(f(sx), sy))
            (F.cross_entropy(f(qx), qy) / 3).backward()
    assert distance({f"net.{n}": p.grad for n, p in net.named_parameters()}, expected) < 1e-8


# The loop and the stacked form


FORMS = {
    "gradient descent": {},
    "first order": dict(first_order=True),
    "momentum": dict(optimizer=SGD(0.1, momentum=0.9)),
    "AdamW": dict(optimizer=AdamW(0.01, eps_root=1e-8)),
    "rates by name": dict(optimizer=None),  # filled in below
    "ANIL": dict(only="head"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", ["task", None])
def test_loop_equals_stacked_for_conv4(form, norm):
    net = Conv4(4, 3, norm=norm, generator=seeded(), channels=2).double()
    for p in net.parameters():
        nn.init.normal_(p, 0.3, 0.3, generator=seeded(p.numel()))  # biases and batch norm's weights of every sign
    options = dict(FORMS[form])
    if "optimizer" in options and options["optimizer"] is None:
        names = [n for n, _ in net.named_parameters()]
        options["optimizer"] = GradientDescent({n: torch.tensor(0.01 * i) for i, n in enumerate(names)})
    episode = images(shot=2, query=3, size=20, channels=2)
    one, all_at_once = (MAML(net, 2, stacked=stacked, **options) for stacked in (False, True))
    assert torch.allclose(one(*episode[:3]), all_at_once(*episode[:3]), atol=1e-10, rtol=1e-9)
    assert distance(meta_gradient(one, episode), meta_gradient(all_at_once, episode)) < 1e-8


def test_loop_equals_stacked_for_mlps_and_other_chains():
    chain = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2),
                          nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3, bias=False)).double()
    for net, episode, objective, loss in (
        (mlp([1, 40, 40, 1], seeded()).double(), sines(), mean_squared_error, F.mse_loss),
        (chain, images(), cross_entropy, F.cross_entropy),
        (nn.Sequential(nn.Flatten(), nn.Linear(256, 3)).double(), images(), cross_entropy, F.cross_entropy),
    ):
        learners = [MAML(net, 5, GradientDescent(0.05), loss=loss, stacked=stacked) for stacked in (False, True)]
        a, b = (meta_gradient(learner, episode, objective) for learner in learners)
        assert distance(a, b) < 1e-8
        theta = learners[1].adapt_stacked(episode.support_x, episode.support_y)
        for task in range(len(episode.support_x)):
            alone = learners[0].adapt(episode.support_x[task], episode.support_y[task])
            assert all(torch.allclose(alone[n], theta[n][task], atol=1e-10) for n in alone)


def test_stacked_call_is_the_net_with_each_tasks_weights():
    convs = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3, track_running_stats=False)).double()
    x = torch.randn(2, 4, 2, 5, 5, generator=seeded(), dtype=torch.float64)
    g = seeded(1)
    params = {n: torch.randn(2, *p.shape, generator=g, dtype=torch.float64) for n, p in convs.named_parameters()}
    got = stacked_call(convs, params, x)
    assert got.shape == (2, 4, 3, 5, 5)
    for task in range(2):
        alone = functional_call(convs, {n: p[task] for n, p in params.items()}, (x[task],))
        assert torch.allclose(got[task], alone, atol=1e-12)


def test_running_averages_are_constants_in_eval_mode_and_an_error_in_training_mode():
    net = Conv4(4, 3, norm="running", generator=seeded()).double()
    net(images().query_x.flatten(0, 1))  # gives the averages some values
    before = copy.deepcopy(net.state_dict())
    episode = images()
    for stacked in (False, True):
        learner = MAML(net, 2, stacked=stacked)
        with pytest.raises(ValueError, match=r"net: blocks\.1 .*running averages.*norm=\"task\""):
            learner(*episode[:3])
        learner.eval()
        answers = learner(*episode[:3])
        assert torch.allclose(learner(*episode[:2], episode.query_x[:, :1]), answers[:, :1])  # queries do not mix
        assert torch.allclose(answers, MAML(net, 2).eval()(*episode[:3]))
        learner.train()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_stacked_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="net: 1 is a Dropout"):
        MAML(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), stacked=True)
    with pytest.raises(TypeError, match="net: 0 is a Conv2d"):
        MAML(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")), stacked=True)


def test_the_stacked_form_can_be_compiled_as_one_graph():
    """Tracing only: what inductor makes of it is the benchmark's business."""
    learner = MAML(mlp([1, 8, 1], seeded()).double(), 2, GradientDescent(0.05), loss=F.mse_loss, stacked=True)
    params = list(learner.parameters())

    def both(sx, sy, qx, qy):
        return torch.autograd.grad(F.mse_loss(learner(sx, sy, qx), qy), params)

    if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
        pytest.skip("this torch cannot compile autograd.grad")
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        compiled = torch.compile(both, fullgraph=True, backend="aot_eager")(*sines())
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(compiled, both(*sines())))


# The relatives


def test_first_order_differs_from_second_and_from_no_adaptation():
    net, episode = tanh_net([4, 6, 3]), vectors()
    second, first, none = (meta_gradient(MAML(net, steps, GradientDescent(0.4), first_order=fo), episode)
                           for steps, fo in ((3, False), (3, True), (0, False)))
    assert distance(first, second) > 0.02 and distance(first, none) > 0.02
    a, b = MAML(net, 3), MAML(net, 3, first_order=True)
    assert torch.equal(a(*episode[:3]), b(*episode[:3]))  # the same answers all the same
    zero = MAML(net, 3)(*episode[:3], steps=0)
    assert torch.allclose(zero, net(episode.query_x), atol=1e-12)


def test_first_order_still_learns_a_learned_rate():
    rate = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    learner = MAML(tanh_net([4, 6, 3]), 1, GradientDescent(rate), first_order=True)
    cross_entropy(learner, vectors()).backward()
    with torch.no_grad():
        up, down = (cross_entropy(MAML(learner.net, 1, GradientDescent(0.3 + e)), vectors()) for e in (1e-5, -1e-5))
    assert abs(rate.grad - (up - down) / 2e-5) < 1e-8


@pytest.mark.parametrize("stacked", [False, True], ids=["loop", "stacked"])
def test_anil_adapts_the_head_alone_and_trains_the_body(stacked):
    learner = anil(Conv4(4, 3, norm="task", generator=seeded()).double(), 2, GradientDescent(0.5), stacked=stacked)
    episode = images()
    theta = learner.adapt(episode.support_x[0], episode.support_y[0])
    assert sorted(theta) == ["head.bias", "head.weight"]
    assert not torch.allclose(theta["head.weight"], learner.net.head.weight)
    with torch.no_grad():  # by hand: the body's features, then logistic regression from the head's weights
        z, q = (learner.net.blocks(x[0]).flatten(1) for x in (episode.support_x, episode.query_x))
        w, b = learner.net.head.weight, learner.net.head.bias
        for _ in range(2):
            error = (z @ w.T + b).softmax(1) - F.one_hot(episode.support_y[0], 3)
            w, b = w - 0.5 * error.T @ z / len(z), b - 0.5 * error.mean(0)
    assert torch.allclose(learner(*episode[:3])[0], q @ w.T + b, atol=1e-10)
    got = meta_gradient(learner, episode)
    assert got["net.blocks.0.weight"].abs().max() > 0 and len(got) == len(list(learner.parameters()))
    for net in (mlp([4, 3], seeded()), Conv4(4, norm="task", generator=seeded())):
        with pytest.raises(ValueError, match="only: net has no part 'head'"):
            anil(net)


def test_meta_sgd_is_maml_until_its_rates_are_learned():
    net = tanh_net([1, 8, 1])
    learner = meta_sgd(net, 0.07, steps=2, loss=F.mse_loss)
    plain = MAML(net, 2, GradientDescent(0.07), loss=F.mse_loss)
    assert torch.allclose(learner(*sines()[:3]), plain(*sines()[:3]), atol=1e-12)
    draw = SinusoidSampler(5, 5, 4, seeded(1))
    meta_train(learner, lambda: Episode(*(t.double() for t in draw())), mean_squared_error, updates=3, lr=1e-2,
               progress=False)
    rates = torch.cat([r.detach().flatten() for r in learner.optimizer.rates])
    assert rates.std() > 1e-3 and len(rates) == sum(p.numel() for p in net.parameters())
    with pytest.raises(ValueError, match="lr: 0.1, but a LearnedRates"):
        learner(*sines()[:3], lr=0.1)
    with pytest.raises(ValueError, match="lr: -1"):
        LearnedRates(net, -1)


def test_meta_sgd_learns_rates_for_what_adapts_alone():
    net = Conv4(4, 3, norm="task", generator=seeded()).double()
    learner = meta_sgd(net, 0.5, only="head")
    assert learner.optimizer.names == ["head.weight", "head.bias"]
    assert torch.equal(learner(*images()[:3]), anil(net, 1, GradientDescent(0.5))(*images()[:3]))
    net.blocks[0].requires_grad_(False)
    for learner in (learner, meta_sgd(net, 0.5)):  # no rate is without a gradient
        meta_train(learner, iter([images()]).__next__, updates=1, progress=False)
    with pytest.raises(ValueError, match="only: net has no part 'tail'"):
        meta_sgd(net, only="tail")


@pytest.mark.parametrize("stacked", [False, True], ids=["loop", "stacked"])
@pytest.mark.parametrize("optimizer", [GradientDescent(0.1), Adam(0.01, betas=(0.0, 0.999))], ids=["descent", "Adam"])
def test_reptile_through_meta_train_is_the_papers_update(stacked, optimizer):
    """Nichol et al. 2018, algorithm 1 on a batch of tasks: φ ← φ + ε mean(φ̃ - φ); the inner loop is torch.optim."""
    net, epsilon, steps, batches = tanh_net([1, 8, 1]), 0.3, 4, [sines(4, seed=1), sines(4, seed=2)]
    expected = [p.detach().clone() for p in net.parameters()]
    for sx, sy, *_ in batches:
        moved = []
        for x, y in zip(sx, sy):
            twin = copy.deepcopy(net)
            for p, start in zip(twin.parameters(), expected):
                p.data.copy_(start)
            inner = (torch.optim.SGD(twin.parameters(), lr=0.1) if isinstance(optimizer, GradientDescent)
                     else torch.optim.Adam(twin.parameters(), lr=0.01, betas=(0.0, 0.999)))
            for _ in range(steps):
                inner.zero_grad()
                F.mse_loss(twin(x), y).backward()
                inner.step()
            moved.append([p.detach() for p in twin.parameters()])
        expected = [p + epsilon * (torch.stack(m).mean(0) - p) for p, m in zip(expected, zip(*moved))]
    for at_once in (None, 3):
        learner = MAML(copy.deepcopy(net), steps, optimizer, loss=F.mse_loss, stacked=stacked)
        sgd, stream = torch.optim.SGD(learner.parameters(), lr=epsilon), iter(batches)
        meta_train(learner, lambda: next(stream), reptile, updates=2, optimizer=sgd, tasks_at_once=at_once,
                   progress=False)
        assert all(torch.allclose(p, e, atol=1e-10) for p, e in zip(learner.parameters(), expected))


def test_reptile_refuses_what_it_cannot_do():
    net = tanh_net([1, 8, 1])
    with pytest.raises(ValueError, match="steps: 1, expected at least 2"):
        reptile(MAML(net, 1, loss=F.mse_loss), sines())
    with pytest.raises(ValueError, match="Reptile learns only"):
        reptile(meta_sgd(net, steps=2, loss=F.mse_loss), sines())
    with pytest.raises(ValueError, match="Reptile learns only"):
        reptile(anil(Conv4(4, 3, norm="task", generator=seeded()).double(), 2), images())


# The learner's form


def test_steps_rate_and_shots_are_free_at_call_time():
    net = tanh_net([4, 6, 3])
    learner = MAML(net, 1, SGD(0.5, momentum=0.5))
    episode = vectors(shot=4)
    got = learner(*episode[:3], steps=3, lr=0.01)
    assert torch.equal(got, MAML(net, 3, SGD(0.01, momentum=0.5))(*episode[:3]))
    assert learner.steps == 1 and learner.optimizer.lr == 0.5
    rate = torch.tensor(0.01, dtype=torch.float64, requires_grad=True)
    learner(*episode[:3], lr=rate).sum().backward()
    assert rate.grad != 0
    for bad, error in ((dict(steps=-1), ValueError), (dict(steps=1.0), TypeError), (dict(lr=-1.0), ValueError)):
        with pytest.raises(error, match=f"{next(iter(bad))}: "):
            learner(*episode[:3], **bad)


@pytest.mark.parametrize("stacked", [False, True], ids=["loop", "stacked"])
def test_under_no_grad_there_is_no_graph_and_the_same_answer(stacked):
    learner = MAML(tanh_net([4, 6, 3]), 3, Adam(0.05), stacked=stacked)
    before = copy.deepcopy(learner.state_dict())
    with torch.no_grad():
        answers = learner(*vectors()[:3])
        assert not answers.requires_grad and answers.grad_fn is None
        assert not any(p.requires_grad for p in learner.adapt(vectors().support_x[0], vectors().support_y[0]).values())
        assert not torch.is_grad_enabled()
    assert torch.allclose(answers, learner(*vectors()[:3]), atol=1e-12)
    assert all(p.grad is None for p in learner.parameters())
    assert all(torch.equal(before[n], v) for n, v in learner.state_dict().items())
    with torch.inference_mode(), pytest.raises(RuntimeError, match="no_grad"):
        learner(*vectors()[:3])


def test_no_grad_keeps_no_graph_between_inner_steps():
    """Each step starts from leaves, so the cost of meta-testing does not grow with the number of steps."""
    seen = []

    def predict(params, x):
        seen.append(all(p.is_leaf for p in params.values()))
        return x * params["w"]

    with torch.no_grad():
        inner_loop(predict, {"w": nn.Parameter(torch.ones(1))}, torch.ones(2), torch.zeros(2), loss=F.mse_loss,
                   optimizer=GradientDescent(0.1), steps=3)
    assert seen == [True] * 3


def test_a_parameter_without_gradient_is_named_unless_frozen():
    net = nn.Sequential(nn.Linear(4, 3)).double()
    net.forgotten = nn.Linear(2, 2, dtype=torch.float64)
    net.forward = lambda x: net[0](x)
    with pytest.raises(ValueError, match="'forgotten.weight' has no gradient"):
        MAML(net)(*vectors()[:3])
    net.forgotten.requires_grad_(False)
    assert MAML(net)(*vectors()[:3]).shape == (3, 12, 3)
    with pytest.raises(ValueError, match="none of its parameters"):
        MAML(net.requires_grad_(False))(*vectors()[:3])


@pytest.mark.parametrize("stacked", [False, True], ids=["loop", "stacked"])
def test_frozen_parameters_do_not_adapt(stacked):
    net = tanh_net([4, 6, 3])
    net[0].requires_grad_(False)
    learner = MAML(net, 2, stacked=stacked)
    assert sorted(learner.adapt(vectors().support_x[0], vectors().support_y[0])) == ["2.bias", "2.weight"]
    assert sorted(meta_gradient(learner, vectors())) == ["net.2.bias", "net.2.weight"]


@pytest.mark.parametrize("stacked", [False, True], ids=["loop", "stacked"])
def test_bad_input_is_refused_with_words(stacked):
    learner = MAML(tanh_net([4, 6, 3]), stacked=stacked)
    sx, sy, qx, qy = vectors()
    for args, words in (
        ((*vectors(way=2)[:3],), "has 2 classes, but the head of net answers for 3"),
        ((*vectors(way=4)[:3],), "has 4 classes, but the head of net answers for 3"),
        ((sx, sy[:, :-1], qx), "support_y: shape is"),
        ((sx, sy, qx[:2]), "query_x: shape is"),
        ((sx, sy, qx[..., :3]), "query_x: shape is"),
        ((sx, sy + 1, qx), "no item with label 0"),
    ):
        with pytest.raises(ValueError, match=words):
            learner(*args)
    with pytest.raises(TypeError, match="expected torch.int64"):  # regression, but the loss was forgotten
        MAML(tanh_net([1, 4, 1]), stacked=stacked)(*sines()[:3])
    with pytest.raises(ValueError, match="support_y: shape is .* but net answers"):
        MAML(tanh_net([1, 4, 2]), loss=F.mse_loss, stacked=stacked)(*sines()[:3])
    with pytest.raises(FloatingPointError, match="smaller inner rate"):
        net = mlp([1, 8, 1], seeded()).double()
        MAML(net, 20, GradientDescent(100.0), loss=F.mse_loss, stacked=stacked)(*sines()[:3])
    with pytest.raises(ValueError, match="steps: -1"):
        MAML(learner.net, -1)


def test_state_dict_round_trip():
    first, second = (meta_sgd(Conv4(4, 3, norm="task", generator=seeded(s)).double(), 0.1 * (s + 1)) for s in (0, 1))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(first(*images()[:3]), second(*images()[:3]))


@settings(max_examples=15)
@given(way=st.integers(1, 4), shot=st.integers(1, 3), query=st.integers(1, 3), tasks=st.integers(1, 3),
       size=st.integers(16, 33), double=st.booleans(), stacked=st.booleans(), steps=st.integers(0, 2),
       scale=st.sampled_from([0.0, 1.0, 1e4]))
def test_any_shape_gives_finite_answers_and_gradients(way, shot, query, tasks, size, double, stacked, steps, scale):
    """One way, one query and images that are all alike (scale 0) or huge (1e4) included."""
    dtype = torch.float64 if double else torch.float32
    net = Conv4(4, way, norm="task", generator=seeded()).to(dtype)
    net.head = nn.Linear(4 * (size // 16) ** 2, way, dtype=dtype)
    sx, sy, qx, qy = images(tasks, way, shot, query, size=size)
    learner = MAML(net, steps, GradientDescent(0.1), stacked=stacked)
    answers = learner((scale * sx).to(dtype), sy, (scale * qx).to(dtype))
    assert answers.shape == (tasks, way * query, way) and answers.dtype == dtype
    F.cross_entropy(answers.flatten(0, 1), qy.flatten()).backward()
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters())


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), shot=st.integers(1, 3))
def test_order_of_the_support_set_does_not_matter_but_the_names_of_the_classes_do(seed, shot):
    """MAML is not equivariant to relabelling (Ye & Chao 2021): its head has an opinion of class 0 beforehand."""
    learner = MAML(Conv4(4, 3, norm="task", generator=seeded(seed)).double(), 2)
    sx, sy, qx, _ = images(tasks=2, shot=shot, seed=seed)
    answers = learner(sx, sy, qx)
    order = torch.randperm(sx.shape[1], generator=seeded(seed))
    assert torch.allclose(learner(sx[:, order], sy[:, order], qx), answers, atol=1e-9)
    renamed = learner(sx, (sy + 1) % 3, qx)  # class c is now called c + 1, so its logit should have moved there
    assert not torch.allclose(renamed.roll(-1, -1), answers, atol=1e-4)
    assert torch.allclose(learner(sx.flip(0), sy, qx.flip(0)).flip(0), answers, atol=1e-9)  # tasks do not touch


# It learns


def test_maml_learns_sinusoids():
    """One gradient of 10 points turns the learned φ into a sine; random weights do not (Finn et al. 2017, 5.1)."""
    learner = MAML(mlp([1, 40, 40, 1], seeded()), 1, GradientDescent(0.01), loss=F.mse_loss, stacked=True)
    test = lambda: SinusoidSampler(10, 20, 100, seeded(7))  # noqa: E731
    untrained = meta_test(learner, test(), 200, scores=("mse",)).mean
    meta_train(learner, SinusoidSampler(10, 10, 25, seeded(1)), mean_squared_error, updates=400, lr=5e-3, decay=True,
               progress=False)
    trained = meta_test(learner, test(), 200, scores=("mse",)).mean
    learner.steps = 0
    unadapted = meta_test(learner, test(), 200, scores=("mse",)).mean
    assert trained < 0.4 * untrained and trained < 0.5 * unadapted, (untrained, unadapted, trained)


@pytest.mark.slow
def test_maml_reads_held_out_scripts(say):
    """Conv4-16, 5-way 1-shot, 600 validation tasks: at least 75 % after about ten CPU-seconds."""
    learner = MAML(Conv4(16, 5, norm="task", generator=seeded()), 1, GradientDescent(0.1))
    draw = EpisodeSampler(glyphs().split("train"), 5, 1, 5, 4, seeded(1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    meta_train(learner, draw, updates=150, lr=5e-3, decay=True, progress=False)
    cpu = time.process_time() - start
    torch.set_num_threads(threads)
    result = meta_test(learner, EpisodeSampler(glyphs().split("val"), 5, 1, 15, 20, seeded(0)), 600)
    say(f"MAML, Conv4-16, 5-way 1-shot, validation scripts: {result} after {cpu:.0f} CPU-seconds")
    assert result.mean >= 0.75 and math.isfinite(result.half_width)
    assert cpu <= 40
