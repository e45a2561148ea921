"""Learners that compare, and their training by pairs and triplets: held to the papers' formulas and to
pytorch-metric-learning, where it is installed and its definitions coincide."""

import functools
import io
import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from metalearn_lite.data import FewShotDataset, glyphs
from metalearn_lite.episodes import Episode, EpisodeSampler
from metalearn_lite.evaluate import embed_dataset, meta_test
from metalearn_lite.metric import (
    FullContext, MatchingNetwork, NearestNeighbour, PrototypicalNetwork, RelationNetwork, SiameseNetwork,
    WeightedSiamese, prototypes, prototypical_logits, relation_error, squared_distances, unit_length,
)
from metalearn_lite.nets import Conv4, mlp
from metalearn_lite.pairs import (
    Pairs, PairSampler, PKSampler, UnitLength, batch_hard, contrastive, contrastive_loss, distance, pair_cross_entropy,
    semi_hard, triplet_batch_hard, triplet_loss, triplet_semi_hard,
)
from metalearn_lite.train import cross_entropy, meta_train


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def learners(embed, features):
    """One of each kind on the same embedding of the given length."""
    return dict(
        prototypical=PrototypicalNetwork(embed()),
        siamese=SiameseNetwork(embed()),
        weighted=WeightedSiamese(embed(), features, seeded(1)),
        matching=MatchingNetwork(embed()),
        context=MatchingNetwork(embed(), FullContext(features, seeded(2), reads=3)),
        relation=RelationNetwork(embed(), mlp([2 * features, 16, 1], seeded(3))),
    )


def vector_task(tasks=2, way=3, shot=2, query=4, features=5, seed=0, dtype=torch.float64):
    g = seeded(seed)
    labels = torch.arange(way).repeat(shot)
    support_y = torch.stack([labels[torch.randperm(way * shot, generator=g)] for _ in range(tasks)])
    return Episode(torch.randn(tasks, way * shot, features, generator=g, dtype=dtype), support_y,
                   torch.randn(tasks, query, features, generator=g, dtype=dtype),
                   torch.randint(way, (tasks, query), generator=g))


KINDS = ("prototypical", "siamese", "weighted", "matching", "context", "relation")


# --- Distances -------------------------------------------------------------------------------------------------------


def test_squared_distances_far_from_the_origin():
    """In float32 the points 1e4 away keep their distances; squares taken from the origin lost all digits."""
    a = 1e4 + torch.randn(2, 6, 64, generator=seeded())
    b = 1e4 + torch.randn(2, 5, 64, generator=seeded(1))
    true = (a.double()[:, :, None] - b.double()[:, None]).square().sum(-1)
    assert (squared_distances(a, b) / true - 1).abs().max() < 1e-5
    naive = a.square().sum(-1)[..., None] + b.square().sum(-1)[:, None] - 2 * a @ b.mT
    assert (naive / true - 1).abs().max() > 0.5
    assert torch.equal(squared_distances(b, b).diagonal(dim1=1, dim2=2) < 1e-3, torch.ones(2, 5, dtype=torch.bool))


def test_squared_distances_have_the_right_derivatives_twice():
    """Although the origin is moved: value, gradient and the gradient's gradient are those of the plain formula."""
    a = torch.randn(2, 3, 4, generator=seeded(), dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 2, 4, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    derivatives = []
    for d in (squared_distances(a, b), (a[:, :, None] - b[:, None]).square().sum(-1)):
        first = torch.autograd.grad(d.pow(1.5).sum(), (a, b), create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), (a, b))
        derivatives.append((d, *first, *second))
    assert all(torch.allclose(mine, plain, atol=1e-9) for mine, plain in zip(*derivatives))


def test_distance_and_its_gradient_at_zero():
    a = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    d = distance(a, torch.zeros(2, 2))
    assert d.tolist() == pytest.approx([1e-6, 5.0])
    d.sum().backward()
    assert torch.allclose(a.grad, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    z = torch.zeros(1, 3, requires_grad=True)
    unit_length(z).sum().backward()
    assert torch.isfinite(z.grad).all() and z.grad.abs().max() <= 1e4 * (1 + 1e-6)
    assert torch.allclose(UnitLength()(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))


# --- Learners against their papers' formulas, in loops ---------------------------------------------------------------


def test_prototypical_network_is_a_linear_classifier():
    """Snell et al. 2017, section 2.4: w_k = 2 c_k, b_k = -‖c_k‖², and a term in the query alone."""
    sx, sy, qx, _ = vector_task()
    c = prototypes(sx, sy, 3)
    linear = qx @ (2 * c).mT - c.square().sum(-1)[:, None]
    logits = PrototypicalNetwork(nn.Identity())(sx, sy, qx)
    assert torch.allclose(logits + qx.square().sum(-1, keepdim=True), linear, atol=1e-10)
    assert torch.allclose(logits.softmax(-1), linear.softmax(-1), atol=1e-12)


def test_siamese_network_takes_the_best_pair():
    sx, sy, qx, _ = vector_task(shot=3)
    plain, weighted = SiameseNetwork(nn.Identity()), WeightedSiamese(nn.Identity(), 5, seeded()).double()
    assert torch.allclose(plain(sx, sy, qx), NearestNeighbour()(sx, sy, qx))
    weight, bias = weighted.head[0].weight[0], weighted.head[0].bias[0]
    for learner in (plain, weighted):
        logits = learner(sx, sy, qx)
        for t in range(2):
            for q in range(4):
                for n in range(3):
                    best = -math.inf
                    for s in range(9):
                        if sy[t, s] == n:
                            gap = qx[t, q] - sx[t, s]
                            score = -(gap @ gap) if learner is plain else weight @ gap.abs() + bias
                            assert torch.allclose(learner.score(qx[t, q][None], sx[t, s][None])[0], score)
                            best = max(best, score.item())
                    assert logits[t, q, n].item() == pytest.approx(best)


@pytest.mark.parametrize("kind", ["siamese", "weighted"])
def test_a_pair_has_no_first_and_second(kind):
    images = torch.rand(2, 6, 1, 28, 28, generator=seeded())
    learner = learners(lambda: Conv4(8, generator=seeded()), 8)[kind].eval()
    assert torch.allclose(learner.score(images[0], images[1]), learner.score(images[1], images[0]), atol=1e-6)
    same = learner.score(images[0], images[0])
    assert torch.allclose(same, same[:1].expand(6))  # an item and itself: zero, or the bias
    if kind == "siamese":
        assert (same == 0).all() and (learner.score(images[0], images[1]) < 0).all()


def test_matching_network_sums_the_attention():
    sx, sy, qx, _ = vector_task()
    p = MatchingNetwork(nn.Identity())(sx, sy, qx).exp()
    for t in range(2):
        for q in range(4):
            weights = [math.exp(F.cosine_similarity(qx[t, q], s, dim=0)) for s in sx[t]]
            for n in range(3):
                expected = sum(w for w, y in zip(weights, sy[t]) if y == n) / sum(weights)
                assert p[t, q, n].item() == pytest.approx(expected, rel=1e-10)


def _lstm(x, h, c, w, u, b):
    """One step of an LSTM written out: gates i, f, g, o of w x + u h + b."""
    i, f, g, o = (w @ x + u @ h + b).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def test_full_context_embeddings_are_the_papers():
    """Vinyals et al. 2016, appendix A.1 and A.2, step by step for one task and one query at a time."""
    sx, _, qx, _ = vector_task()
    context = FullContext(5, seeded(), reads=3).double()
    got_g, got_h = context(sx, qx)
    lstm, cell, zero = context.g, context.f, torch.zeros(5, dtype=torch.float64)
    for t in range(2):
        summed = [z.clone() for z in sx[t]]
        for suffix, order in (("l0", range(6)), ("l0_reverse", reversed(range(6)))):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            w, u, b1, b2 = (getattr(lstm, f"{name}_{suffix}") for name in names)
            h = c = zero
            for i in order:
                h, c = _lstm(sx[t, i], h, c, w, u, b1 + b2)
                summed[i] = summed[i] + h
        assert torch.allclose(got_g[t], torch.stack(summed), atol=1e-10)
        w_query, w_read = cell.weight_ih.chunk(2, 1)
        recurrent = torch.cat([cell.weight_hh, w_read], 1)  # the paper's LSTM has the state [h, r]
        for q in range(4):
            h = c = zero
            for _ in range(3):
                attention = torch.softmax(torch.stack([h @ g for g in summed]), 0)
                read = sum(a * g for a, g in zip(attention, summed))
                output, c = _lstm(qx[t, q], torch.cat([h, read]), c, w_query, recurrent, cell.bias_ih + cell.bias_hh)
                h = output + qx[t, q]
            assert torch.allclose(got_h[t, q], h, atol=1e-10)


def test_relation_network_sums_a_class_and_its_error_is_the_papers():
    task = vector_task()
    learner = RelationNetwork(nn.Identity(), mlp([10, 7, 1], seeded())).double()
    logits = learner(*task[:3])
    error = 0.0
    for t in range(2):
        for q in range(4):
            for n in range(3):
                summed = sum(task.support_x[t, s] for s in range(6) if task.support_y[t, s] == n)
                logit = learner.relation(torch.cat([summed, task.query_x[t, q]]))[0]
                assert torch.allclose(logits[t, q, n], logit)
                error += (1 / (1 + math.exp(-logit.item())) - float(task.query_y[t, q] == n)) ** 2
    assert relation_error(learner, task).item() == pytest.approx(error / 24)


def test_relation_network_at_another_shot_compares_with_a_longer_sum():
    """The paper adds the shots up: a support set given twice is another class, where a mean would be the same."""
    sx, sy, qx, _ = vector_task(shot=1)
    twice = sx.repeat(1, 2, 1), sy.repeat(1, 2), qx
    relation = RelationNetwork(nn.Identity(), mlp([10, 7, 1], seeded())).double()
    assert (relation(*twice) - relation(sx, sy, qx)).abs().max() > 1e-2
    mean = PrototypicalNetwork(nn.Identity())
    assert torch.allclose(mean(*twice), mean(sx, sy, qx), atol=1e-10)


def test_relation_network_on_feature_maps():
    embed = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4))  # (n, 4, 7, 7)
    relation = nn.Sequential(nn.Conv2d(8, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(75, 1))
    sx, qx = torch.rand(2, 6, 1, 28, 28, generator=seeded()), torch.rand(2, 4, 1, 28, 28, generator=seeded(1))
    logits = RelationNetwork(embed, relation)(sx, torch.tensor([[0, 1, 2, 0, 1, 2]] * 2), qx)
    pair = torch.cat([embed(sx[1, [2, 5]]).sum(0), embed(qx[1, 3:])[0]])[None]  # depth: class first, then query
    assert torch.allclose(logits[1, 3, 2], relation(pair)[0, 0], atol=1e-6)


# --- What holds for every learner ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", [True, False], ids=["images", "vectors"])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_shapes_and_finite_gradients(kind, images, data):
    way, shot, query, tasks = (data.draw(st.integers(1, high)) for high in (5, 3, 4, 2))
    level = data.draw(st.sampled_from(["random", "blank", "huge"]))
    item = (1, 28, 28) if images else (6,)
    g = seeded(data.draw(st.integers(0, 9)))
    sx, qx = torch.rand(tasks, way * shot, *item, generator=g), torch.rand(tasks, query, *item, generator=g)
    if level != "random":
        sx, qx = (x * 1e4 if level == "huge" else torch.zeros_like(x) for x in (sx, qx))
    sx.requires_grad_()
    learner = learners((lambda: Conv4(6, generator=seeded())) if images else nn.Identity, 6)[kind]
    logits = learner(sx, torch.arange(way).repeat_interleave(shot).repeat(tasks, 1), qx)
    assert logits.shape == (tasks, query, way) and torch.isfinite(logits).all()
    F.cross_entropy(logits.flatten(0, 1), torch.zeros(tasks * query, dtype=torch.int64)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in [sx, *learner.parameters()])
    if kind in ("matching", "context"):
        assert torch.allclose(logits.exp().sum(-1), torch.ones(tasks, query), atol=1e-5)


def _shuffled(task, g):
    order = torch.randperm(task.support_y.shape[1], generator=g)
    return task._replace(support_x=task.support_x[:, order], support_y=task.support_y[:, order])


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "context"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(way=st.integers(2, 5), shot=st.integers(1, 4), seed=st.integers(0, 99))
def test_order_does_not_matter_and_labels_are_only_names(kind, way, shot, seed):
    task = vector_task(way=way, shot=shot, seed=seed)
    learner = learners(nn.Identity, 5)[kind].double()
    logits = learner(*task[:3])
    assert torch.allclose(learner(*_shuffled(task, seeded(seed))[:3]), logits, atol=1e-8)
    names = torch.randperm(way, generator=seeded(seed + 1))  # class n is called names[n] from now on
    renamed = learner(task.support_x, names[task.support_y], task.query_x)
    assert torch.allclose(renamed[..., names], logits, atol=1e-8)


def test_full_context_depends_on_the_order_of_the_support_set_but_not_on_names_or_other_queries():
    task = vector_task(way=5, shot=2)
    learner = learners(nn.Identity, 5)["context"].double()
    logits = learner(*task[:3])
    assert (learner(*_shuffled(task, seeded(1))[:3]) - logits).abs().max() > 1e-3
    names = torch.tensor([2, 0, 4, 1, 3])
    assert torch.allclose(learner(task.support_x, names[task.support_y], task.query_x)[..., names], logits, atol=1e-8)
    assert torch.allclose(learner(task.support_x, task.support_y, task.query_x[:, 1:2]), logits[:, 1:2], atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_of_a_batch_do_not_touch_one_another(kind):
    task = vector_task(tasks=3)
    learner = learners(nn.Identity, 5)[kind].double()
    alone = torch.cat([learner(*(x[t : t + 1] for x in task[:3])) for t in range(3)])
    assert torch.allclose(learner(*task[:3]), alone, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_saved_and_loaded(kind):
    learner = learners(lambda: mlp([5, 7], seeded(4)), 7)[kind].double()
    twin = learners(lambda: mlp([5, 7], seeded(4)), 7)[kind].double()
    task = vector_task()
    assert torch.equal(learner(*task[:3]), twin(*task[:3]))  # the same seeds, the same learner
    with torch.no_grad():
        for p in learner.parameters():
            p.add_(torch.randn(p.shape, generator=seeded(9)))
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    assert not torch.allclose(twin(*task[:3]), learner(*task[:3]))
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(twin(*task[:3]), learner(*task[:3]))


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_tasks_are_errors_before_any_work(kind):
    learner = learners(Broken, 5)[kind]
    sx, sy, qx, _ = vector_task()
    with pytest.raises(ValueError, match="label 1"):
        learner(sx, torch.where(sy == 1, 2, sy), qx)
    with pytest.raises(ValueError, match=r"support_y: shape is \(2, 5\)"):
        learner(sx, torch.tensor([[0, 1, 2, 0, 1]] * 2), qx)
    with pytest.raises(ValueError, match="query_x: shape"):
        learner(sx, sy, qx[:1])
    with pytest.raises(ValueError, match="query_x: shape"):
        learner(sx, sy, qx[..., :4])


class Broken(nn.Module):
    def forward(self, x):
        raise AssertionError("embedded a wrong task")


def test_full_context_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    FullContext(4, seeded())
    assert torch.equal(state, torch.get_rng_state())


def test_reads_must_be_positive():
    with pytest.raises(ValueError, match="reads: 0"):
        FullContext(4, seeded(), reads=0)


# --- Draws -----------------------------------------------------------------------------------------------------------


def numbered(classes=6, per_class=4):
    """Item i of class c is the vector (c, i)."""
    c, i = torch.meshgrid(torch.arange(classes), torch.arange(per_class), indexing="ij")
    return FewShotDataset(torch.stack([c, i], -1).float())


def test_pairs_are_half_of_one_class_and_half_of_two():
    draw = PairSampler(numbered(), 2000, seeded())
    a, b, same = draw()
    assert a.shape == b.shape == (2000, 2) and same.sum() == 1000
    assert torch.equal(a[:, 0] == b[:, 0], same.bool())
    assert (a[:, 1] != b[:, 1]).all()
    for part in (a[same == 0], b[same == 0], a[same == 1]):  # every class, item and combination, equally often
        counts = torch.bincount((part[:, 0] * 4 + part[:, 1]).long(), minlength=24)
        assert counts.min() > 20 and counts.max() < 70
    combinations = torch.bincount((a[:, 0] * 6 + b[:, 0])[same == 0].long(), minlength=36).view(6, 6)
    assert combinations.diagonal().sum() == 0 and (combinations + torch.eye(6) * 99).min() > 15
    for part in (same[:10], same[7:17]):
        assert part.sum() == 5  # any part of the batch is balanced too
    once, again = (PairSampler(numbered(), 8, seeded(3))() for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(once, again))
    assert not torch.equal(draw().a, draw().a)


def test_pairs_of_images():
    data = glyphs().split("val")
    a, b, same = PairSampler(data, 6, seeded())()
    assert a.shape == b.shape == (6, 1, *data.items.shape[2:]) and a.dtype == torch.float32
    assert 0 <= a.min() and a.max() == 1 and same.tolist() == [1, 0, 1, 0, 1, 0]


def test_pairs_say_what_is_wrong():
    for pairs in (3, 0):
        with pytest.raises(ValueError, match=f"pairs: {pairs}"):
            PairSampler(numbered(), pairs, seeded())
    for data in (numbered(1, 4), numbered(4, 1)):
        with pytest.raises(ValueError, match="dataset: .*at least two of each"):
            PairSampler(data, 2, seeded())


def test_pk_batches():
    x, y = PKSampler(numbered(), 3, 4, seeded(), batch=5)()
    assert x.shape == (5, 12, 2) and y.shape == (5, 12)
    for items, labels in zip(x, y):
        assert len(items.unique(dim=0)) == 12  # no item twice
        assert all(len(items[labels == n, 0].unique()) == 1 and (labels == n).sum() == 4 for n in range(3))
        assert len(items[:, 0].unique()) == 3
    for wrong in ((1, 2), (2, 1), (7, 2), (2, 5)):
        with pytest.raises(ValueError, match="classes|items"):
            PKSampler(numbered(), *wrong, seeded())


# --- Losses against the papers' formulas, in loops -------------------------------------------------------------------


def some_pairs(n=12):
    g = seeded(3)
    a, b = (torch.randn(n, 4, generator=g, dtype=torch.float64) / 2 for _ in range(2))
    return a, b, (torch.arange(n) % 2).double()


def some_classes(batch=1, classes=4, items=3, seed=0):
    g = seeded(seed)
    y = torch.arange(classes).repeat_interleave(items)
    y = torch.stack([y[torch.randperm(len(y), generator=g)] for _ in range(batch)])
    return torch.randn(batch, classes * items, 5, generator=g, dtype=torch.float64) + 0.5 * y[..., None], y


def test_contrastive_loss_is_hadsells():
    a, b, same = some_pairs()
    total, inside = 0.0, 0
    for i in range(12):
        d = math.sqrt(sum((p - q) ** 2 for p, q in zip(a[i].tolist(), b[i].tolist())))
        total += 0.5 * d**2 if same[i] else 0.5 * max(0.0, 1.2 - d) ** 2
        inside += not same[i] and d < 1.2
    assert 0 < inside < 6  # both branches of the maximum
    assert contrastive_loss(a, b, same, 1.2).item() == pytest.approx(total / 12, rel=1e-9)
    learner = SiameseNetwork(nn.Identity())
    assert contrastive(learner, Pairs(a, b, same), margin=1.2).item() == pytest.approx(total / 12, rel=1e-9)


def test_pair_cross_entropy_is_kochs():
    a, b, same = some_pairs()
    learner = WeightedSiamese(nn.Identity(), 4, seeded()).double()
    total = 0.0
    for i in range(12):
        p = 1 / (1 + math.exp(-(learner.head[0].weight[0] @ (a[i] - b[i]).abs() + learner.head[0].bias[0]).item()))
        total -= math.log(p) if same[i] else math.log(1 - p)
    assert pair_cross_entropy(learner, Pairs(a, b, same)).item() == pytest.approx(total / 12)


@pytest.mark.parametrize("seed", range(3))
def test_batch_hard_is_hermans(seed):
    z, y = some_classes(batch=2, seed=seed)
    hinge = soft = 0.0
    for t in range(2):
        for a in range(12):
            d = [(z[t, a] - z[t, i]).norm().item() for i in range(12)]
            farthest = max(d[i] for i in range(12) if y[t, i] == y[t, a])
            gap = farthest - min(d[i] for i in range(12) if y[t, i] != y[t, a])
            hinge, soft = hinge + max(0.0, gap + 0.3), soft + math.log1p(math.exp(gap))
    learner, batch = SiameseNetwork(nn.Identity()), PKSampler(numbered(), 4, 3, seeded())()._replace(x=z, y=y)
    assert triplet_batch_hard(learner, batch, margin=0.3).item() == pytest.approx(hinge / 24, rel=1e-9)
    assert triplet_batch_hard(learner, batch).item() == pytest.approx(soft / 24, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_semi_hard_is_schroffs(seed):
    z, y = some_classes(batch=2, seed=seed)
    losses = []
    for t in range(2):
        for a in range(12):
            d = [(z[t, a] - z[t, i]).square().sum().item() for i in range(12)]
            for p in range(12):
                if p != a and y[t, p] == y[t, a]:
                    semi = [d[i] for i in range(12) if y[t, i] != y[t, a] and d[p] < d[i] < d[p] + 2.0]
                    if semi:
                        losses.append(d[p] - min(semi) + 2.0)
    assert 0 < len(losses) < 48 and min(losses) > 0
    learner, batch = SiameseNetwork(nn.Identity()), PKSampler(numbered(), 4, 3, seeded())()._replace(x=z, y=y)
    assert triplet_semi_hard(learner, batch, margin=2.0).item() == pytest.approx(sum(losses) / len(losses), rel=1e-9)


def test_mining_without_a_triplet_and_with_wrong_labels():
    z = torch.tensor([[[0.0], [1.0], [100.0], [101.0]]], requires_grad=True)
    y = torch.tensor([[0, 0, 1, 1]])
    rows = semi_hard(z, y, 0.2)
    assert [len(r) for r in rows] == [0, 0, 0]
    loss = triplet_loss(*(z.flatten(0, 1)[r] for r in rows))
    loss.backward()
    assert loss.item() == 0 and (z.grad == 0).all()
    assert [r.tolist() for r in batch_hard(z, y)] == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 2, 1, 1]]
    for wrong in ([0, 0, 0, 0], [0, 0, 0, 1]):
        with pytest.raises(ValueError, match="lacks a positive or a negative"):
            batch_hard(z, torch.tensor([wrong]))
    with pytest.raises(ValueError, match="expected .B, n, D. and .B, n."):
        batch_hard(z[0], y)
    for call in (lambda: contrastive_loss(z[0], z[0], y[0], 0.0), lambda: triplet_loss(z, z, z, -1.0),
                 lambda: semi_hard(z, y, math.nan)):
        with pytest.raises(ValueError, match="margin: "):
            call()


@pytest.mark.parametrize("level", ["blank", "huge"])
def test_objectives_of_degenerate_batches_are_finite(level):
    x = torch.zeros(6, 4) if level == "blank" else 1e4 * torch.randn(6, 4, generator=seeded())
    net, batch = mlp([4, 3], seeded()), PKSampler(numbered(), 3, 2, seeded())()._replace(x=x[None])
    pairs = Pairs(x, x.flip(0) if level == "huge" else x, (torch.arange(6) % 2).float())
    losses = {
        "contrastive": contrastive(SiameseNetwork(net), pairs),
        "cross-entropy": pair_cross_entropy(WeightedSiamese(net, 3, seeded()), pairs),
        "batch-hard": triplet_batch_hard(SiameseNetwork(net), batch),
        "hinge": triplet_batch_hard(SiameseNetwork(net), batch, margin=1.0),
        "semi-hard": triplet_semi_hard(SiameseNetwork(net), batch),
    }
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, net.parameters(), retain_graph=True)
        assert math.isfinite(loss.item()) and all(torch.isfinite(g).all() for g in gradients), name


# --- Losses against pytorch-metric-learning --------------------------------------------------------------------------


def test_contrastive_loss_against_the_library():
    """Its ContrastiveLoss is unsquared and averages what is not zero; half the squares of its terms are Hadsell's."""
    from pytorch_metric_learning import distances, losses, reducers

    a, b, same = some_pairs()
    theirs = losses.ContrastiveLoss(0, 1.2, distance=distances.LpDistance(normalize_embeddings=False, p=2, power=1),
                                    reducer=reducers.DoNothingReducer())
    i = torch.arange(12)
    positive, negative = i[same == 1], i[same == 0]
    terms = theirs(a, indices_tuple=(positive, positive, negative, negative), ref_emb=b,
                   ref_labels=torch.arange(12))
    half_squares = [terms[name]["losses"].square() / 2 for name in ("pos_loss", "neg_loss")]
    assert torch.allclose(torch.cat(half_squares).mean(), contrastive_loss(a, b, same, 1.2), atol=1e-9)


@pytest.mark.parametrize("margin", [0.3, None])
def test_batch_hard_against_the_library(margin):
    from pytorch_metric_learning import distances, losses, miners, reducers

    z, y = some_classes(seed=4)
    euclid = distances.LpDistance(normalize_embeddings=False, p=2, power=1)
    miner = miners.BatchEasyHardMiner("hard", "hard", distance=euclid)
    theirs = losses.TripletMarginLoss(margin or 0.0, smooth_loss=margin is None, distance=euclid,
                                      reducer=reducers.MeanReducer())
    a, p, _, n = miner(z[0], y[0])
    assert all(torch.equal(mine, other) for mine, other in zip(batch_hard(z, y), (a, p, n)))
    ours = triplet_loss(*(z[0][rows] for rows in batch_hard(z, y)), margin, squared=False)
    assert torch.allclose(theirs(z[0], y[0], (a, p, n)), ours, atol=1e-9)


def test_semi_hard_against_the_library():
    """Its TripletMarginMiner gives every semi-hard triplet, ours the one with the nearest negative of each pair."""
    from pytorch_metric_learning import distances, losses, miners, reducers

    z, y = some_classes(seed=4)
    squared = distances.LpDistance(normalize_embeddings=False, p=2, power=2)
    every = miners.TripletMarginMiner(margin=2.0, type_of_triplets="semihard", distance=squared)(z[0], y[0])
    nearest = {}
    for a, p, n in zip(*(rows.tolist() for rows in every)):
        d = (z[0, a] - z[0, n]).square().sum().item()
        nearest[a, p] = min(nearest.get((a, p), (math.inf, 0)), (d, n))
    ours = semi_hard(z, y, 2.0)
    assert {(a, p): n for a, p, n in zip(*(rows.tolist() for rows in ours))} == {k: n for k, (_, n) in nearest.items()}
    assert len(ours[0]) < len(every[0])
    theirs = losses.TripletMarginLoss(2.0, distance=squared, reducer=reducers.MeanReducer())
    for rows in (ours, every):
        assert torch.allclose(theirs(z[0], y[0], rows), triplet_loss(*(z[0][r] for r in rows), 2.0), atol=1e-9)


# --- They learn ------------------------------------------------------------------------------------------------------


def cases(embed, features):
    """What each kind trains on and with which objective: name -> (learner, draw of a data set, objective)."""
    return dict(
        contrastive=(SiameseNetwork(embed()), lambda d: PairSampler(d, 60, seeded(1)),
                     functools.partial(contrastive, margin=2.0)),
        pair_cross_entropy=(WeightedSiamese(embed(), features, seeded(2)), lambda d: PairSampler(d, 60, seeded(1)),
                            pair_cross_entropy),
        semi_hard=(SiameseNetwork(nn.Sequential(embed(), UnitLength())), lambda d: PKSampler(d, 16, 5, seeded(1)),
                   triplet_semi_hard),
        batch_hard=(SiameseNetwork(embed()), lambda d: PKSampler(d, 20, 2, seeded(1)), triplet_batch_hard),
        matching=(MatchingNetwork(embed()), lambda d: EpisodeSampler(d, 20, 1, 3, 1, seeded(1)), cross_entropy),
        context=(MatchingNetwork(embed(), FullContext(features, seeded(2))),
                 lambda d: EpisodeSampler(d, 20, 1, 3, 1, seeded(1)), cross_entropy),
        relation=(RelationNetwork(embed(), mlp([2 * features, 64, 1], seeded(2))),
                  lambda d: EpisodeSampler(d, 5, 1, 5, 3, seeded(1)), relation_error),
    )


LEARNING = ("contrastive", "pair_cross_entropy", "semi_hard", "batch_hard", "matching", "context", "relation")


@pytest.mark.parametrize("name", LEARNING)
def test_each_objective_learns_what_to_overlook(name):
    """New classes that differ in two directions and have loud noise in two: far better than the untrained distance."""
    g = seeded()
    signal = torch.randn(60, 1, 2, generator=g) + 0.05 * torch.randn(60, 8, 2, generator=g)
    data = FewShotDataset(torch.cat([signal, 2 * torch.randn(60, 8, 2, generator=g)], 2))
    train, new = data.subset(range(40)), data.subset(range(40, 60))
    learner, draw, objective = cases(lambda: mlp([4, 32, 8], seeded(0)), 8)[name]
    meta_train(learner, draw(train), objective, updates=60, lr=1e-2, progress=False)
    tasks = EpisodeSampler(new, 5, 1, 5, 200, seeded(3))()
    raw, trained = (meta_test(x, lambda: tasks, 200).mean for x in (NearestNeighbour(), learner))
    assert raw < 0.45 and trained > raw + 0.1


PIXELS = 0.435  # NearestNeighbour on the same 600 tasks as below: 43.5 ± 0.7 %
# Seen with these seeds: 79, 64, 87, 83, 70, 80, 60 %; with another seed batch-hard 70, matching 64, cross-entropy 73.
BOUNDS = dict(zip(LEARNING, (0.68, 0.54, 0.78, 0.60, 0.57, 0.66, 0.50)))


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_reads_new_scripts_better_than_pixels(name, say):
    """Conv4-16, 200 or 300 updates, 5-way 1-shot, validation scripts; seeds 0 (weights, tasks), 1 (draws), 2 (head)."""
    learner, draw, objective = cases(lambda: Conv4(16, generator=seeded(0)), 16)[name]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    fast = name in ("semi_hard", "matching", "context")
    meta_train(learner, draw(glyphs().split("train")), objective, updates=200 if fast else 300,
               lr=5e-3 if name in ("pair_cross_entropy", "relation") else 3e-3, decay=True, progress=False)
    cpu = time.process_time() - start
    vectors = embed_dataset(learner.embed, glyphs().split("val"))
    learner.embed = nn.Identity()
    result = meta_test(learner, EpisodeSampler(vectors, 5, 1, 15, 50, seeded(0)), 600)
    torch.set_num_threads(threads)
    say(f"{name}, 5-way 1-shot, validation scripts: {result} after {cpu:.1f} CPU-seconds")
    assert result.mean >= BOUNDS[name] > PIXELS + 0.05
