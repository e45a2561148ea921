"""What is asked of every learner of the one form, whatever its method: degenerate tasks, types, devices, a file, clear errors.

What only some have (invariances, formulas) is tested beside them, family by family.
"""

import io
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn_lite.episodes import Episode
from metalearn_lite.hyper import FiLMNetwork, HyperClassifier, HyperNetwork
from metalearn_lite.maml import MAML, anil, meta_sgd
from metalearn_lite.memory import MANN, KeyValueMemory, LSTMLearner
from metalearn_lite.metric import (
    Chance, FullContext, MatchingNetwork, NearestNeighbour, PrototypicalNetwork, RelationNetwork, SiameseNetwork, WeightedSiamese,
)
from metalearn_lite.nets import mlp
from metalearn_lite.optim import SGD, GradientDescent, LearnedOptimizer
from metalearn_lite.train import cross_entropy, meta_train
from metalearn_lite.transfer import CosineClassifier, FineTune, LinearProbe, NearestCentroid

D, E = 6, 4  # items are vectors of length 6, embeddings of length 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def embed(seed=0):
    return mlp([D, 5, E], seeded(seed))


def net(way, seed):
    body, head = nn.Sequential(embed(seed), nn.Tanh()), mlp([E, way], seeded(seed + 1))
    return nn.Sequential(OrderedDict(body=body, head=head))


RATE = GradientDescent(1e-5)  # small enough for items of size 10,000

# name -> (way, seed) -> a learner
EVERY = {
    "nearest neighbour": lambda way, s: NearestNeighbour(),
    "chance": lambda way, s: Chance(seeded(s)),
    "prototypical": lambda way, s: PrototypicalNetwork(embed(s)),
    "siamese": lambda way, s: SiameseNetwork(embed(s)),
    "weighted siamese": lambda way, s: WeightedSiamese(embed(s), E, seeded(s)),
    "matching": lambda way, s: MatchingNetwork(embed(s)),
    "matching, full context": lambda way, s: MatchingNetwork(embed(s), FullContext(E, seeded(s))),
    "relation": lambda way, s: RelationNetwork(embed(s), mlp([2 * E, 5, 1], seeded(s))),
    "key-value memory": lambda way, s: KeyValueMemory(embed(s), stream=False),
    "key-value memory, dot": lambda way, s: KeyValueMemory(embed(s), stream=False, likeness="dot"),
    "LSTM": lambda way, s: LSTMLearner(embed(s), E, way, stream=False, hidden=7, generator=seeded(s)),
    "MANN": lambda way, s: MANN(embed(s), E, way, stream=False, slots=6, width=5, heads=2, hidden=7, generator=seeded(s)),
    "nearest centroid": lambda way, s: NearestCentroid(embed(s), "euclidean"),
    "nearest centroid, cosine": lambda way, s: NearestCentroid(embed(s)),
    "linear probe": lambda way, s: LinearProbe(embed(s)),
    "cosine classifier": lambda way, s: CosineClassifier(embed(s), steps=3),
    "fine-tuning": lambda way, s: FineTune(embed(s), SGD(1e-6, momentum=0.9), steps=3, patience=2),
    "MAML": lambda way, s: MAML(net(way, s), 2, RATE),
    "MAML, stacked": lambda way, s: MAML(net(way, s), 2, RATE, stacked=True),
    "MAML, first order": lambda way, s: MAML(net(way, s), 2, RATE, first_order=True),
    "MAML, learned optimiser": lambda way, s: MAML(net(way, s), 2, LearnedOptimizer(3, generator=seeded(s))),
    "ANIL": lambda way, s: anil(net(way, s), 2, RATE),
    "Meta-SGD": lambda way, s: meta_sgd(net(way, s), 1e-5, 2),
    "hypernetwork": lambda way, s: HyperNetwork(mlp([E, 5, way], seeded(s)), embed(s), E, way, hidden=7, generator=seeded(s)),
    "hyper classifier": lambda way, s: HyperClassifier(embed(s), E, hidden=7, generator=seeded(s)),
    "FiLM": lambda way, s: FiLMNetwork(embed(s), embed(s + 1), E, E, hidden=7, generator=seeded(s)),
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def task(tasks=2, way=3, shot=2, query=4, seed=0, dtype=torch.float64):
    g = seeded(seed)
    x = torch.randn(tasks, way * shot + query, D, generator=g, dtype=dtype)
    y = torch.arange(way).repeat(tasks, shot)
    return Episode(x[:, : way * shot], y, x[:, way * shot :], torch.randint(way, (tasks, query), generator=g))


DEGENERATE = {
    "plain": lambda dtype: task(dtype=dtype),
    "one way": lambda dtype: task(way=1, dtype=dtype),
    "one way, one shot, one query, one task": lambda dtype: task(1, 1, 1, 1, dtype=dtype),
    "one query": lambda dtype: task(query=1, shot=1, dtype=dtype),
    "all items equal": lambda dtype: scaled(0, 0.7, dtype),
    "all items zero": lambda dtype: scaled(0, 0, dtype),
    "huge items": lambda dtype: scaled(1e4, 0, dtype),
    "tiny items": lambda dtype: scaled(1e-20, 0, dtype),
}


def scaled(factor, offset, dtype):
    t = task(dtype=dtype)
    return t._replace(support_x=factor * t.support_x + offset, query_x=factor * t.query_x + offset)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("name", EVERY)
def test_answers_and_gradients_are_finite_on_degenerate_tasks(name, case, dtype):
    episode = DEGENERATE[case](dtype)
    way = int(episode.support_y.max()) + 1
    learner = EVERY[name](way, 0).to(dtype)
    logits = learner(*episode[:3])
    assert logits.shape == (*episode.query_y.shape, way) and logits.dtype == dtype and torch.isfinite(logits).all()
    if list(learner.parameters()):
        F.cross_entropy(logits.flatten(0, 1), episode.query_y.flatten()).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learner.parameters())
    with torch.no_grad():
        again = learner(*episode[:3])
    assert not again.requires_grad and (name == "chance" or torch.allclose(again, logits, rtol=1e-4, atol=1e-5))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", EVERY)
def test_weights_go_through_a_file_to_a_learner_on_any_device(name, device):
    first, second, episode = EVERY[name](3, 1).double(), EVERY[name](3, 2).double(), task()
    before = first(*episode[:3])
    if list(first.parameters()):
        assert not torch.allclose(second(*episode[:3]), before)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    if name == "chance":  # it has no weights, only a stream of numbers
        first, second = EVERY[name](3, 1), EVERY[name](3, 1)
        before = first(*episode[:3])
    after = second.to(device)(*(t.to(device) for t in episode[:3]))
    assert after.device.type == device and torch.allclose(after.cpu(), before, atol=1e-8)


@pytest.mark.parametrize("name", EVERY)
def test_tensors_that_make_no_task_are_errors_that_name_one(name):
    learner = EVERY[name](3, 0).double()
    sx, sy, qx, _ = task()
    for wrong, error, words in (
        ((sx, torch.where(sy == 1, 2, sy), qx), ValueError, "support_y: task 0 has no item with label 1"),
        ((sx, sy - 1, qx), ValueError, "support_y: holds the label -1"),
        ((sx, sy.double(), qx), TypeError, "support_y: dtype"),
        ((sx, sy[:1], qx), ValueError, "support_[xy]: shape"),
        ((sx, sy[:, :5], qx), ValueError, "support_[xy]: shape"),
        ((sx, sy, qx[:1]), ValueError, "query_x: shape"),
        ((sx, sy, qx[..., :5]), ValueError, "query_x: shape"),
        ((sx, sy, qx[0]), ValueError, "query_x: shape"),
    ):
        with pytest.raises(error, match=words):
            learner(*wrong)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("chance", "nearest neighbour")])
def test_a_batch_in_parts_is_the_same_update(name):
    """One at a time, by threes and all together: no learner mixes the tasks of a batch."""
    weights = []
    for at_once in (None, 1, 3):
        learner = EVERY[name](3, 0).double()
        sgd = torch.optim.SGD(learner.parameters(), lr=1.0)
        meta_train(learner, lambda: task(tasks=4), cross_entropy, updates=1, optimizer=sgd, tasks_at_once=at_once, progress=False)
        weights.append(torch.cat([p.detach().flatten() for p in learner.parameters()]))
    start = torch.cat([p.detach().flatten() for p in EVERY[name](3, 0).double().parameters()])
    moved = (weights[0] - start).abs().max()
    assert moved > 1e-9
    tolerance = 1e-2 if name == "linear probe" else 1e-6  # a probe is solved to a tolerance, all tasks of a part at once
    assert all((other - weights[0]).abs().max() < tolerance * moved for other in weights[1:])
