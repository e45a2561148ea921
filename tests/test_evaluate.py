"""Evaluation: known answers, intervals that cover, pairs that are pairs."""

import math

import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn

from metalearn_lite.data import glyphs
from metalearn_lite.episodes import EpisodeSampler, SinusoidSampler
from metalearn_lite.evaluate import SCORES, Result, Table, embed_dataset, meta_test, paired_difference
from metalearn_lite.metric import Chance, NearestNeighbour, PrototypicalNetwork
from metalearn_lite.nets import Conv4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(split="test", way=5, shot=1, query=15, batch=50, seed=0):
    return EpisodeSampler(glyphs().split(split), way, shot, query, batch, seeded(seed))


def test_pixel_nearest_neighbour_is_43_percent_and_chance_20():
    nearest = meta_test(NearestNeighbour(), draw(), 600)
    assert len(nearest.per_task) == 600 and abs(nearest.mean - 0.43) < 0.02, nearest
    chance = meta_test(Chance(seeded(1)), draw(), 600)
    assert abs(chance.mean - 0.2) < 2 * chance.half_width
    gap = paired_difference(nearest, chance)
    assert gap.mean == pytest.approx(nearest.mean - chance.mean) and gap.half_width < nearest.half_width + chance.half_width


def test_number_of_episodes_is_exact_and_mode_is_restored():
    learner = PrototypicalNetwork(Conv4(4, generator=seeded()))
    result = meta_test(learner, draw(query=2, batch=7), 10)
    assert len(result.per_task) == 10 and learner.training


def test_interval_by_hand_and_its_coverage():
    r = Result(torch.tensor([0.2, 0.4, 0.9], dtype=torch.float64))
    assert r.half_width == pytest.approx(1.96 * torch.tensor([0.2, 0.4, 0.9], dtype=torch.float64).std().item() / math.sqrt(3))
    assert str(r) == "50.0 ± 40.8 %" and math.isinf(Result(torch.ones(1)).half_width)
    g = seeded()
    hits = 0
    for _ in range(2000):
        sample = torch.binomial(torch.full((100,), 15.0), torch.full((100,), 0.7), generator=g).double() / 15
        hits += abs(Result(sample).mean - 0.7) <= Result(sample).half_width
    assert 0.93 < hits / 2000 < 0.97


@pytest.mark.parametrize("way, query", [(2, 4), (3, 4), (5, 15), (20, 5)])
def test_f1_and_auc_are_scikit_learns(way, query):
    class Coarse(nn.Module):  # with ties between queries, and a class that is never the answer
        def forward(self, support_x, support_y, query_x):
            logits = (NearestNeighbour()(support_x, support_y, query_x) / 40).round() * 2
            return logits - 1000 * torch.eye(way)[-1]

    for learner in (NearestNeighbour(), Coarse()):
        result = meta_test(learner, draw(way=way, query=query, batch=5), 10, scores=("accuracy", "f1", "auc"))
        sampler, task = draw(way=way, query=query, batch=5), 0
        for episode in (sampler(), sampler()):
            logits = learner(*episode[:3])
            for y, p in zip(episode.query_y, logits.double().softmax(-1)):
                f1 = f1_score(y, p.argmax(-1), average="macro", zero_division=0)
                auc = roc_auc_score(y, p[:, 1]) if way == 2 else roc_auc_score(y, p, multi_class="ovr")
                assert result.others["f1"].per_task[task] == pytest.approx(f1, abs=1e-12)
                assert result.others["auc"].per_task[task] == pytest.approx(auc, abs=1e-12)
                task += 1


def test_f1_leaves_out_a_class_that_does_not_occur_and_auc_refuses_it():
    logits, y = torch.eye(3)[[0, 0, 1]][None], torch.tensor([[0, 1, 1]])  # three ways, label 2 neither true nor said
    assert SCORES["f1"](logits, y) == pytest.approx(f1_score([0, 1, 1], [0, 0, 1], average="macro"))
    with pytest.raises(ValueError, match="auc: a class has no query"):
        SCORES["auc"](logits, y)
    with pytest.raises(ValueError, match="'recall'"):
        meta_test(NearestNeighbour(), draw(), 2, scores=("recall",))


def test_mse_of_a_known_regression():
    class Zero(nn.Module):
        def forward(self, sx, sy, qx):
            return torch.zeros_like(qx)

    result = meta_test(Zero(), SinusoidSampler(5, 10, 100, seeded()), 200, scores=("mse",))
    sampler = SinusoidSampler(5, 10, 100, seeded())
    y = torch.cat([sampler().query_y for _ in range(2)]).double()
    assert result.mean == pytest.approx(y.square().mean().item())


def test_only_the_same_tasks_can_be_paired():
    a, b = meta_test(NearestNeighbour(), draw(seed=0), 50), meta_test(NearestNeighbour(), draw(seed=1), 50)
    with pytest.raises(ValueError, match="other tasks"):
        paired_difference(a, b)
    with pytest.raises(ValueError, match="number of tasks"):
        paired_difference(a, meta_test(NearestNeighbour(), draw(seed=0), 49))


def test_answers_that_are_not_finite_are_an_error():
    class Broken(nn.Module):
        def forward(self, sx, sy, qx):
            return torch.full((*qx.shape[:2], 5), float("nan"))

    with pytest.raises(FloatingPointError, match="tasks 0 to"):
        meta_test(Broken(), draw(), 10)


def test_embedding_once_gives_the_same_accuracies_as_embedding_again():
    net = Conv4(8, generator=seeded())
    for _ in range(3):  # so that the running averages are not the initial ones
        net(draw(seed=5)().query_x[0])
    learner = PrototypicalNetwork(net).eval()
    vectors = embed_dataset(net, glyphs().split("val"))
    assert vectors.items.shape == (244, 20, 8) and vectors.items.dtype == torch.float32 and not net.training
    slow = meta_test(learner, draw("val", batch=10), 40)
    fast = meta_test(PrototypicalNetwork(nn.Identity()), EpisodeSampler(vectors, 5, 1, 15, 10, seeded()), 40)
    assert slow.tasks == fast.tasks and (slow.per_task - fast.per_task).abs().max() < 0.02  # rounding may move a tie
    assert paired_difference(slow, fast).mean == pytest.approx(0, abs=1e-3)


def test_embedding_refuses_a_net_whose_embedding_depends_on_the_batch():
    with pytest.raises(ValueError, match="statistics of the batch"):
        embed_dataset(Conv4(8, norm="task", generator=seeded()), glyphs().split("val"))


def test_table_prints_and_escapes():
    t = Table([{"method": "<b>", "accuracy": Result(torch.tensor([0.5, 0.7]))}], "a & b")
    assert repr(t).splitlines() == ["a & b", "method  accuracy", "<b>     60.0 ± 19.6 %"]
    assert "<td>60.0&nbsp;±&nbsp;19.6&nbsp;%</td>" in t._repr_html_()
    assert "&lt;b&gt;" in t._repr_html_() and 'scope="col"' in t._repr_html_() and "a &amp; b" in t._repr_html_()
    with pytest.raises(ValueError, match="same columns"):
        Table([{"a": 1}, {"b": 2}])
