"""Transfer: what is frozen stays so, what is fitted is fitted right, and a pretrained network reads new scripts."""

import time
import urllib.error

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from metalearn_lite.data import FewShotDataset, glyphs
from metalearn_lite.episodes import BatchSampler, EpisodeSampler
from metalearn_lite.evaluate import embed_dataset, meta_test
from metalearn_lite.nets import VGG16, Conv4, mlp
from metalearn_lite.optim import SGD, Adam, GradientDescent
from metalearn_lite.train import cross_entropy, meta_train
from metalearn_lite.transfer import (
    Classifier, CosineClassifier, FineTune, LinearProbe, NearestCentroid, classification, cosine_logits,
    discriminative_rates, frozen, logistic_regression, shift_and_rotate, top_layers,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def net_with_averages(width=4, seed=0):
    """A Conv4 whose batch norm has seen a few batches, and dropout, in train mode: the hard case for `frozen`."""
    conv = Conv4(width, generator=seeded(seed))
    for _ in range(3):
        conv(torch.rand(20, 1, 16, 16, generator=seeded(9)))
    return nn.Sequential(conv, nn.Dropout(0.5)).train()


def learners(embed, generator=None):
    return {
        "euclidean": NearestCentroid(embed, "euclidean"), "cosine": NearestCentroid(embed),
        "cosine classifier": CosineClassifier(embed, steps=3), "probe": LinearProbe(embed),
        "fine-tune": FineTune(embed, steps=3, dropout=0.2, augment=generator and shift_and_rotate, patience=2,
                              generator=generator or seeded()),
    }


def task(tasks=2, way=3, shot=2, query=4, shape=(1, 16, 16), seed=0, dtype=torch.float32):
    x = torch.rand(tasks, way * shot + query, *shape, generator=seeded(seed), dtype=dtype)
    y = torch.arange(way).repeat_interleave(shot).repeat(tasks, 1)
    return x[:, : way * shot], y, x[:, way * shot :]


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Pretraining

def test_batches_hold_the_images_of_the_classes_they_name():
    data = glyphs().split("val")
    draw = BatchSampler(data, 500, seeded(3))
    batch = draw()
    assert batch.x.shape == (500, 1, 28, 28) and batch.x.dtype == torch.float32 and batch.y.dtype == torch.int64
    for i in (0, 250, 499):
        assert (data.items[batch.y[i]].float() - 255 * batch.x[i]).abs().flatten(1).amax(1).min() < 1e-3
    assert torch.equal(BatchSampler(data, 500, seeded(3))().x, batch.x) and not torch.equal(draw().x, batch.x)
    counts = torch.bincount(BatchSampler(data, 100_000, seeded())().y, minlength=len(data)).double()
    assert counts.std() / counts.mean().sqrt() == pytest.approx(1, abs=0.2)
    vectors = FewShotDataset(torch.rand(3, 2, 5, generator=seeded()))
    assert BatchSampler(vectors, 4, seeded())().x.shape == (4, 5)
    twin = seeded(3)
    augmented = BatchSampler(data, 500, seeded(3), shift_and_rotate)()
    torch.randint(len(data) * 20, (500,), generator=twin)
    assert torch.equal(augmented.x, shift_and_rotate(batch.x, twin)) and torch.equal(augmented.y, batch.y)
    with pytest.raises(ValueError, match="batch: 0"):
        BatchSampler(data, 0, seeded())


@pytest.mark.parametrize("cosine", [False, True])
def test_a_classifier_learns_and_draws_nothing_from_the_global_state(cosine, tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    data = glyphs().split("val").subset(range(10))
    make = lambda: Classifier(Conv4(8, generator=seeded()), 10, cosine=cosine, generator=seeded(1))
    learner = make()
    draw = BatchSampler(data, 32, seeded(2))
    history = meta_train(learner, draw, classification, updates=25, lr=1e-2, progress=False)
    assert torch.equal(before, torch.get_rng_state())
    assert sum(history.loss[-5:]) < 0.85 * sum(history.loss[:5])
    torch.save(learner.state_dict(), tmp_path / "weights.pt")
    other = make()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x = torch.rand(3, 1, 28, 28, generator=seeded())
    assert torch.equal(other.eval()(x), learner(x)) and learner(x).shape == (3, 10)
    if cosine:
        assert learner(x).abs().max() <= learner.scale and learner.scale != 10


def test_classifier_wants_a_width():
    with pytest.raises(ValueError, match="features"):
        Classifier(nn.Identity(), 3, generator=seeded())
    with pytest.raises(ValueError, match="classes: 0"):
        Classifier(Conv4(8, generator=seeded()), 0, generator=seeded())
    assert Classifier(nn.Identity(), 3, features=7, generator=seeded())(torch.rand(2, 7)).shape == (2, 3)


# Frozen

@pytest.mark.parametrize("name", learners(nn.Identity()))
@pytest.mark.parametrize("grad", [False, True])
def test_adapting_leaves_weights_buffers_and_modes_bit_for_bit(name, grad):
    embed = net_with_averages()
    learner = learners(embed, seeded())[name].train()
    before = snapshot(learner)
    with torch.set_grad_enabled(grad):
        logits = learner(*task())
    assert logits.shape == (2, 4, 3) and logits.requires_grad == grad
    assert same(before, snapshot(learner)) and any("running" in key for key in before)
    assert all(layer.training for layer in embed.modules())  # each is in the mode it had
    assert all(p.requires_grad and p.grad is None for p in embed.parameters())


def test_frozen_means_running_averages_and_no_dropout():
    embed = net_with_averages()
    support_x, y, query_x = task()
    learner = NearestCentroid(embed, "euclidean").train()
    a = learner(support_x, y, query_x)
    assert torch.equal(a, learner(support_x, y, query_x))  # no dropout
    assert torch.allclose(a[:1, :1], learner(support_x[:1], y[:1], query_x[:1, :1]), atol=1e-5)  # no batch statistics
    with pytest.raises(KeyError), frozen(embed):
        assert not any(layer.training for layer in embed.modules())
        raise KeyError
    assert all(layer.training for layer in embed.modules())


@pytest.mark.parametrize("name", learners(nn.Identity()))
def test_each_task_is_adapted_from_the_same_start_and_under_no_grad(name):
    embed = net_with_averages()
    learner = learners(embed)[name]
    if name == "fine-tune":
        learner = FineTune(embed, steps=3)  # no dropout: its draw goes on from task to task
    support_x, y, query_x = task(tasks=3)
    with torch.no_grad():
        together = learner(support_x, y, query_x)
        for i in (2, 0, 0):
            alone = learner(support_x[i : i + 1], y[i : i + 1], query_x[i : i + 1])
            assert torch.allclose(alone[0], together[i], atol=1e-4)
    assert torch.allclose(learner(support_x, y, query_x), together, atol=1e-4)  # and no other with gradients on


@pytest.mark.parametrize("name", learners(nn.Identity()))
def test_an_outer_loop_can_train_through_every_learner(name):
    learner = learners(nn.Sequential(mlp([6, 5, 4], seeded()), nn.Tanh()))[name].double()
    support_x, y, query_x = task(shape=(6,), dtype=torch.float64)
    target = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 0]])

    def loss():
        if name == "fine-tune":
            learner.generator.manual_seed(0)
        return F.cross_entropy(learner(support_x, y, query_x).flatten(0, 1), target.flatten())

    weight = next(learner.parameters())
    grad = torch.autograd.grad(loss(), weight)[0]
    direction = torch.randn(weight.shape, generator=seeded(5), dtype=torch.float64)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * 1e-5 * direction
            values.append(loss())
            weight -= sign * 1e-5 * direction
    # the probe is solved to a tolerance, and so is its gradient
    assert float((grad * direction).sum()) == pytest.approx(
        float(values[0] - values[1]) / 2e-5, rel=1e-3 if name == "probe" else 1e-6, abs=1e-10)


# Nearest centroid and cosine classifier, written out

def test_cosine_of_the_nearest_centroid_written_out():
    support_x, y, query_x = task(shape=(6,), dtype=torch.float64)
    logits = NearestCentroid(nn.Identity())(support_x, y, query_x)
    for b in range(2):
        for q in range(4):
            for n in range(3):
                centroid = support_x[b][y[b] == n].mean(0).numpy()
                z = query_x[b, q].numpy()
                cosine = z @ centroid / np.linalg.norm(z) / np.linalg.norm(centroid)
                assert float(logits[b, q, n]) == pytest.approx(10 * cosine, abs=1e-12)
    with pytest.raises(ValueError, match="metric: 'manhattan'"):
        NearestCentroid(nn.Identity(), "manhattan")


def test_cosine_classifier_is_torch_optim_on_each_task():
    support_x, y, query_x = task(shape=(6,), dtype=torch.float64)
    got = CosineClassifier(nn.Identity(), SGD(lr=0.1, momentum=0.9, weight_decay=0.01), 20)(support_x, y, query_x)
    for b in range(2):
        directions = F.normalize(support_x[b], dim=-1)
        w = torch.stack([directions[y[b] == n].mean(0) for n in range(3)]).requires_grad_()
        optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.01)
        if b == 0:
            start = CosineClassifier(nn.Identity(), steps=0)(support_x, y, query_x)
            assert torch.allclose(start[0], cosine_logits(query_x[0], w))
        for _ in range(20):
            optimizer.zero_grad()
            F.cross_entropy(10 * F.cosine_similarity(support_x[b][:, None], w[None], dim=-1), y[b]).backward()
            optimizer.step()
        expected = 10 * F.cosine_similarity(query_x[b][:, None], w[None], dim=-1)
        assert torch.allclose(got[b], expected, atol=1e-9) and not torch.allclose(got[b], start[b], atol=1e-2)


# The probe

@pytest.mark.parametrize("way, shot, width, l2, scale", [
    (5, 1, 32, 1.0, 1.0), (5, 5, 32, 1.0, 5.0), (3, 4, 2, 0.1, 1.0), (20, 2, 16, 3.0, 1.0), (3, 5, 100, 0.3, 1.0)])
def test_the_probe_is_scikit_learns_logistic_regression(way, shot, width, l2, scale):
    g = seeded(way)
    z = scale * (1 + torch.randn(3, way * shot, width, generator=g, dtype=torch.float64))
    y = torch.arange(way).repeat_interleave(shot)
    y = torch.stack([y[torch.randperm(way * shot, generator=g)] for _ in range(3)])
    query = 1 + torch.randn(3, 7, width, generator=g, dtype=torch.float64)
    weight, bias = logistic_regression(z, y, way, l2, tolerance=1e-9)
    for b in range(3):
        truth = LogisticRegression(C=1 / l2, solver="newton-cholesky", tol=1e-12).fit(z[b].numpy(), y[b].numpy())
        assert np.allclose(weight[b].numpy(), truth.coef_, atol=1e-5)
        difference = bias[b].numpy() - truth.intercept_  # one number added to all biases changes nothing
        assert np.ptp(difference) < 1e-4
        p = truth.predict_proba(query[b].numpy())
        assert np.allclose((query[b] @ weight[b].T + bias[b]).softmax(-1).numpy(), p, atol=1e-5)
        assert np.allclose(LinearProbe(nn.Identity(), l2)(z, y, query)[b].softmax(-1).numpy(), p, atol=3e-3)
    single = logistic_regression(z.float(), y, way, l2)[0]
    assert torch.allclose(single.double(), weight, atol=1e-2 * float(weight.abs().max()))


# Fine-tuning

def written_out(embed, optimizer, steps, support_x, y, query_x, way):
    """Fine-tuning on one task as anyone would write it, with torch.optim: `embed` is changed."""
    embed.eval()
    with torch.no_grad():
        head = nn.Linear(embed(support_x).shape[1], way).to(support_x.dtype)
        head.weight.zero_(), head.bias.zero_()
    optimizer = optimizer(embed, head)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(head(embed(support_x)), y).backward()
        optimizer.step()
    return head(embed(query_x)).detach()


@pytest.mark.parametrize("kind", ["sgd", "adam", "rates by layer", "head only"])
def test_fine_tuning_is_torch_optim_on_a_copy_of_the_network(kind):
    make = lambda: Conv4(4, generator=seeded(2)).double()
    net = make()
    rates = discriminative_rates(net, 0.05)
    head = top_layers(rates)
    ours = dict(sgd=SGD(lr=0.05, momentum=0.9, weight_decay=0.01), adam=Adam(lr=0.01))
    ours |= {"rates by layer": SGD(lr=rates, momentum=0.9), "head only": SGD(lr=head, momentum=0.9)}

    def theirs(embed, layer):
        named = {f"embed.{n}": p for n, p in embed.named_parameters()}
        named |= {f"head.{n}": p for n, p in layer.named_parameters()}
        if kind == "sgd":
            return torch.optim.SGD(named.values(), lr=0.05, momentum=0.9, weight_decay=0.01)
        if kind == "adam":
            return torch.optim.Adam(named.values(), lr=0.01)
        chosen = rates if kind == "rates by layer" else head
        return torch.optim.SGD([{"params": named[n], "lr": float(r)} for n, r in chosen.items()], momentum=0.9)

    support_x, y, query_x = task(dtype=torch.float64)
    with torch.no_grad():
        got = FineTune(net, ours[kind], steps=5)(support_x, y, query_x)
    for b in range(2):
        assert torch.allclose(got[b], written_out(make(), theirs, 5, support_x[b], y[b], query_x[b], 3), atol=1e-6)


def test_rates_by_layer():
    net = Conv4(4, generator=seeded())
    rates = discriminative_rates(net, 2.6, factor=2.6)
    assert set(rates) == {f"embed.{n}" for n, _ in net.named_parameters()} | {"head.weight", "head.bias"}
    assert float(rates["head.bias"]) == pytest.approx(2.6)
    for name in ("12.weight", "12.bias", "13.weight", "13.bias"):  # the fourth convolution and its norm
        assert float(rates[f"embed.blocks.{name}"]) == pytest.approx(1)
    assert float(rates["embed.blocks.0.weight"]) == pytest.approx(2.6**-3)
    assert set(top_layers(rates, "embed.blocks.12")) == {
        "head.weight", "head.bias", "embed.blocks.12.weight", "embed.blocks.12.bias"}
    with pytest.raises(ValueError, match="'embed.blocks.99'"):
        top_layers(rates, "embed.blocks.99")
    with pytest.raises(ValueError, match="factor: 0.5"):
        discriminative_rates(net, 1.0, factor=0.5)


def test_only_the_layers_with_a_rate_move():
    net = net_with_averages()
    rates = top_layers(discriminative_rates(net, 0.1), "embed.0.blocks.12")
    support_x, y, _ = task()
    with torch.no_grad():
        params = FineTune(net, SGD(lr=rates), steps=3).adapt(support_x[0], y[0])
    moved = {name for name, p in net.named_parameters() if not torch.equal(params[f"embed.{name}"], p)}
    assert moved and moved <= {"0.blocks.12.weight", "0.blocks.12.bias"}
    net[0].blocks[0].requires_grad_(False)  # PyTorch's own way to say frozen
    with torch.no_grad():
        params = FineTune(net, GradientDescent(0.1), steps=3).adapt(support_x[0], y[0])
    assert torch.equal(params["embed.0.blocks.0.weight"], net[0].blocks[0].weight)
    assert not torch.equal(params["embed.0.blocks.4.weight"], net[0].blocks[4].weight)


def test_early_stopping_keeps_the_weights_that_were_best_on_the_held_out_items():
    net = mlp([6, 16, 8], seeded())
    support_x, y, _ = task(tasks=1, shot=4, shape=(6,))
    support_x, y = support_x[0], y[0]
    held = torch.tensor([3, 7, 11])  # the last of each class
    stays = torch.tensor([i for i in range(12) if i not in held])
    losses, kept = [], []
    with torch.no_grad():
        for steps in range(1, 61):  # noise for labels: training longer gets worse on what is held out
            plain = FineTune(net, SGD(lr=0.5), steps=steps)
            kept.append(plain.adapt(support_x[stays], y[stays]))
            losses.append(float(F.cross_entropy(plain._logits(kept[-1], support_x[held]), y[held])))
        stopped = FineTune(net, SGD(lr=0.5), steps=60, patience=60).adapt(support_x, y)
        best = int(np.argmin(losses))
        assert 0 < best < 59 and losses[-1] > losses[best] + 0.1
        assert all(torch.allclose(stopped[name], kept[best][name], atol=1e-6) for name in stopped)
        first_rise = next(i for i in range(1, 60) if losses[i] >= losses[i - 1]) - 1
        eager = FineTune(net, SGD(lr=0.5), steps=60, patience=1).adapt(support_x, y)
        assert all(torch.allclose(eager[name], kept[first_rise][name], atol=1e-6) for name in eager)
        one_shot = task(tasks=1, shot=1, shape=(6,))  # nothing to hold out: a fixed number of steps
        assert torch.equal(FineTune(net, steps=5, patience=1)(*one_shot), FineTune(net, steps=5)(*one_shot))


def test_dropout_and_augmentation_come_from_the_generator_and_stop_when_predicting():
    net = net_with_averages()
    support_x, y, query_x = task()
    run = lambda seed, **how: FineTune(net, steps=4, generator=seeded(seed), **how)(support_x, y, query_x)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.no_grad():
        for how in (dict(dropout=0.5), dict(augment=shift_and_rotate)):
            assert torch.equal(run(1, **how), run(1, **how)) and not torch.allclose(run(1, **how), run(2, **how))
            assert not torch.allclose(run(1, **how), run(1))
        learner = FineTune(net, steps=2, dropout=0.5, generator=seeded())
        params = learner.adapt(support_x[0], y[0])
        assert torch.equal(learner._logits(params, query_x[0]), learner._logits(params, query_x[0]))
        params = {"head.weight": torch.eye(4000), "head.bias": torch.zeros(4000)}
        z = FineTune(nn.Identity(), dropout=0.2, generator=seeded())._logits(params, torch.ones(1, 4000), 0.2)
        assert set(z.unique().tolist()) == {0.0, 1.25} and float(z.mean()) == pytest.approx(1, abs=0.03)
    assert torch.equal(before, torch.get_rng_state())


def test_shift_and_rotate():
    x = torch.zeros(200, 1, 29, 29)
    x[:, :, 14, 14] = 1
    moved = shift_and_rotate(x, seeded(), pixels=3, degrees=0)
    assert torch.allclose(moved.sum((1, 2, 3)), torch.ones(200), atol=1e-4)  # nothing lost, nothing gained
    place = torch.stack([(moved.sum(side)[:, 0] * torch.arange(29)).sum(1) for side in (3, 2)], 1)
    assert 2.5 < (place - 14).abs().max() <= 3 + 1e-3 and (place - 14).mean(0).abs().max() < 0.5
    assert torch.allclose(shift_and_rotate(x, seeded(), 0, 0), x, atol=1e-5)
    bar = torch.zeros(50, 1, 29, 29)
    bar[:, :, :, 14] = 1
    turned = shift_and_rotate(bar, seeded(), 0, 20)
    tilt = (turned[:, 0, 1].argmax(1) - 14).abs()
    assert 3 <= tilt.max() <= 13 * np.tan(np.radians(20)) + 1
    assert (turned[:, 0, 14].argmax(1) == 14).all()  # the middle stays
    assert torch.equal(shift_and_rotate(x, seeded(4)), shift_and_rotate(x, seeded(4)))
    paper = torch.ones(3, 3, 16, 16)
    assert torch.allclose(shift_and_rotate(paper, seeded()), paper, atol=1e-5)  # no dark corners
    with pytest.raises(ValueError, match="expected images"):
        shift_and_rotate(torch.rand(3, 5), seeded())


def test_from_scratch_is_fine_tuning_of_a_random_embedding():
    support_x, y, _ = task(tasks=1, way=3, shot=4)
    for net in (Conv4(4, norm="task", generator=seeded()), Conv4(4, norm=None, generator=seeded())):
        before = snapshot(net)
        with torch.no_grad():
            learner = FineTune(net, Adam(lr=0.01), steps=40)
            logits = learner(support_x, y, support_x)
        assert same(before, snapshot(net)) and torch.isfinite(logits).all()
        if isinstance(net.blocks[1], nn.BatchNorm2d):
            assert (logits.argmax(-1) == y).all()  # it learns its support set


@pytest.mark.parametrize("call, words", [
    (dict(steps=0), "steps: 0"), (dict(dropout=1.0), "dropout: 1.0"), (dict(patience=0), "patience: 0"),
    (dict(dropout=0.1), "generator: None"), (dict(augment=shift_and_rotate), "generator: None"),
    (dict(optimizer=SGD(lr={"head.weight": torch.tensor(0.1)})), "head.bias"),
    (dict(optimizer=SGD(lr=dict.fromkeys(["head.weight", "head.bias", "odd.0"], torch.ones(())))), "odd.0"),
])
def test_bad_fine_tuning_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        FineTune(Conv4(4, generator=seeded()), **call)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="l2: 0"):
        LinearProbe(nn.Identity(), 0)
    with pytest.raises(ValueError, match="steps: -1"):
        CosineClassifier(nn.Identity(), steps=-1)
    with pytest.raises(FloatingPointError, match="lower the rate"):
        FineTune(mlp([6, 6], seeded()), SGD(lr=1e30), steps=9)(*task(shape=(6,)))
    support_x, _, query_x = task(shape=(6,))
    for learner in learners(nn.Identity()).values():
        with pytest.raises(ValueError, match="label 1"):
            learner(support_x, torch.tensor([[0, 2, 2, 0, 2, 2]] * 2), query_x)


# Properties

SIZES = dict(name=st.sampled_from(list(learners(nn.Identity()))), way=st.integers(1, 6), shot=st.integers(1, 4),
             query=st.integers(1, 5), tasks=st.integers(1, 3), seed=st.integers(0, 1000))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(**SIZES)
def test_shapes_and_finite_gradients_at_any_size(name, way, shot, query, tasks, seed):
    embed = mlp([6, 5, 4], seeded(seed))
    support_x, y, query_x = task(tasks, way, shot, query, (6,), seed)
    logits = learners(embed)[name](support_x, y, query_x)
    assert logits.shape == (tasks, query, way) and torch.isfinite(logits).all()
    F.cross_entropy(logits.flatten(0, 1), torch.zeros(tasks * query, dtype=torch.int64)).backward()
    assert all(torch.isfinite(p.grad).all() for p in embed.parameters())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(**SIZES)
def test_the_order_of_the_support_set_and_the_names_of_the_classes_do_not_matter(name, way, shot, query, tasks, seed):
    learner = FineTune(mlp([6, 4], seeded()), steps=3) if name == "fine-tune" else learners(mlp([6, 4], seeded()))[name]
    learner = learner.double()
    support_x, y, query_x = task(tasks, way, shot, query, (6,), seed, torch.float64)
    logits = learner(support_x, y, query_x)
    order = torch.randperm(way * shot, generator=seeded(seed))
    assert torch.allclose(learner(support_x[:, order], y[:, order], query_x), logits, atol=1e-5)
    names = torch.randperm(way, generator=seeded(seed + 1))
    assert torch.allclose(learner(support_x, names[y], query_x)[..., names], logits, atol=1e-5)


def test_early_stopping_does_depend_on_the_order_of_the_support_set():
    support_x, y, query_x = task(shot=3, shape=(6,))
    learner = FineTune(mlp([6, 4], seeded()), steps=3, patience=3)
    order = torch.arange(9).flip(0)  # other items are held out
    turned = learner(support_x[:, order], y[:, order], query_x)
    assert not torch.allclose(learner(support_x, y, query_x), turned, atol=1e-4)


@pytest.mark.parametrize("name", learners(nn.Identity()))
def test_degenerate_tasks_are_finite(name):
    conv = Conv4(4, generator=seeded())
    y = torch.arange(3).repeat_interleave(2)[None]
    for images in (torch.zeros(1, 7, 1, 16, 16), torch.full((1, 7, 1, 16, 16), 0.5), 1e4 * torch.rand(1, 7, 1, 16, 16)):
        learner = learners(conv)[name]
        if name == "fine-tune" and images.max() > 1:
            learner = FineTune(conv, SGD(lr=1e-12), steps=3)  # at values of 10,000 its rate has to be small
        logits = learner(images[:, :6], y, images[:, 6:])
        assert logits.shape == (1, 1, 3) and torch.isfinite(logits).all()
        logits.sum().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in conv.parameters())


@pytest.mark.parametrize("name", learners(nn.Identity()))
def test_a_saved_learner_answers_as_before(name, tmp_path):
    learner, twin = learners(net_with_averages(seed=1))[name], learners(net_with_averages(seed=2))[name]
    torch.save(learner.state_dict(), tmp_path / "learner.pt")
    twin.load_state_dict(torch.load(tmp_path / "learner.pt", weights_only=True))
    assert torch.equal(learner(*task()), twin(*task()))


# VGG16

@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """Random weights in a file such as torchvision's vgg16 has them, the fully connected layers cut to one row."""
    from torchvision.models.vgg import cfgs, make_layers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = make_layers(cfgs["D"])
    for p in layers.parameters():
        if p.ndim > 1:
            nn.init.kaiming_normal_(p, nonlinearity="relu", generator=seeded())
        else:
            nn.init.zeros_(p)
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    state = {f"features.{name}": p.detach() for name, p in layers.state_dict().items()}
    torch.save({**state, "classifier.0.weight": torch.zeros(1, 25088)}, path)
    return path, layers.eval()


def test_vgg16_from_a_file_is_torchvisions_feature_part(vgg_file):
    path, layers = vgg_file
    x = torch.rand(2, 3, 32, 32, generator=seeded())
    net = VGG16(path, resize=False).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = layers((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        assert expected.shape == (2, 512, 1, 1) and torch.allclose(net(x), expected.flatten(1), atol=1e-5)
        assert net.features == 512 and float(net(x).std()) > 0
        learner = FineTune(net, SGD(lr=top_layers(discriminative_rates(net, 1e-3), "embed.blocks.28")), steps=2)
        items = torch.randint(256, (5, 3, 3, 32, 32), generator=seeded(), dtype=torch.uint8)
        episode = EpisodeSampler(FewShotDataset(items), 3, 1, 1, 1, seeded())()
        logits = learner(episode.support_x, episode.support_y, episode.query_x)
    assert logits.shape == (1, 3, 3) and torch.isfinite(logits).all()
    assert sum("blocks.28" in name for name in learner.trained) == len(learner.trained) == 2
    with pytest.raises(ValueError, match=r"expected \(n, 3, H, W\)"):
        net(torch.rand(2, 1, 32, 32))


def test_vgg16_prepares_images_as_its_weights_want_them(vgg_file):
    from torchvision.transforms import functional as tv

    path, layers = vgg_file
    x = torch.rand(1, 3, 32, 32, generator=seeded())
    with torch.no_grad():
        got = VGG16(path).eval()(x)
        large = tv.center_crop(tv.resize(x, [256], antialias=True), [224])
        expected = layers(tv.normalize(large, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    assert expected.shape == (1, 512, 7, 7) and torch.allclose(got, expected.mean((2, 3)), atol=1e-4)


def test_vgg16_downloads_only_when_asked_and_says_what_to_do(vgg_file, tmp_path, monkeypatch):
    import torchvision.models._api as api

    calls = []

    def offline(url, *args, **kwargs):
        calls.append(url)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(api, "load_state_dict_from_url", offline)
    VGG16(vgg_file[0])
    assert calls == []
    with pytest.raises(RuntimeError, match=r"not be downloaded \(.*no network.*vgg16-397923af.pth.*path of the file"):
        VGG16()
    assert calls == ["https://download.pytorch.org/models/vgg16-397923af.pth"]
    monkeypatch.setattr(api, "load_state_dict_from_url", lambda *a, **k: torch.load(vgg_file[0], weights_only=True))
    assert torch.equal(VGG16().blocks[0].weight, vgg_file[1][0].weight)
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "half.pth")
    with pytest.raises(ValueError, match="half.pth does not hold VGG16's convolutions"):
        VGG16(tmp_path / "half.pth")
    with pytest.raises(FileNotFoundError):
        VGG16(tmp_path / "nowhere.pth")


# Learning

@pytest.mark.slow
def test_a_pretrained_network_reads_the_validation_scripts(say):
    """Conv4-16, 700 updates of 64 letters; then the cosine to the nearest centroid, 5-way 1-shot, 600 tasks."""
    train, val = glyphs().split("train"), glyphs().split("val")
    net = Conv4(16, generator=seeded(0))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    meta_train(Classifier(net, len(train), generator=seeded(2)), BatchSampler(train, 64, seeded(1)), classification,
               updates=700, lr=5e-3, decay=True, progress=False)
    cpu = time.process_time() - start
    vectors = embed_dataset(net, val)
    draw = lambda: EpisodeSampler(vectors, 5, 1, 15, 50, seeded(0))
    results = {name: meta_test(learner, draw()) for name, learner in {
        "cosine centroid": NearestCentroid(nn.Identity()), "linear probe": LinearProbe(nn.Identity()),
        "cosine classifier": CosineClassifier(nn.Identity(), steps=20)}.items()}
    torch.set_num_threads(threads)
    say(f"pretraining, 5-way 1-shot, validation scripts, {cpu:.0f} CPU-seconds: {results}")
    assert all(result.mean >= 0.8 for result in results.values())
    assert cpu <= 30


def test_meta_training_through_a_frozen_embedding_lowers_the_loss():
    net = net_with_averages()[0]
    draw = EpisodeSampler(glyphs().split("val").subset(range(20)), 5, 1, 3, 4, seeded())
    averages = [b.clone() for b in net.buffers()]
    history = meta_train(NearestCentroid(net), draw, cross_entropy, updates=15, lr=1e-2, progress=False)
    assert sum(history.loss[-3:]) < sum(history.loss[:3])
    assert all(torch.equal(a, b) for a, b in zip(averages, net.buffers()))
