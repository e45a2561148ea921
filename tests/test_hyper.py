"""Networks that set up other networks: the generated parameters are used, gradients arrive, and it learns."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from metalearn_lite.episodes import Episode, SinusoidSampler
from metalearn_lite.evaluate import meta_test
from metalearn_lite.hyper import FiLMNetwork, HyperClassifier, HyperNetwork, class_means
from metalearn_lite.nets import Conv4, mlp
from metalearn_lite.train import cross_entropy, mean_squared_error, meta_train


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def hyper_regression(seed=0):
    g = seeded(seed)
    return HyperNetwork(mlp([1, 40, 40, 1], g), mlp([2, 64, 64, 64], g), 64, generator=g)


def film_regression(seed=0):
    g = seeded(seed)
    return FiLMNetwork(mlp([1, 40, 40, 1], g), mlp([2, 64, 64, 64], g), 64, generator=g)


def hyper_fixed_way(way=3, seed=0):
    g = seeded(seed)
    return HyperNetwork(mlp([16, 16, way], g), mlp([4, 32, 16], g), 16, way, generator=g)


def hyper_classifier(seed=0):
    g = seeded(seed)
    return HyperClassifier(mlp([4, 32, 16], g), 16, generator=g)


def film_classification(seed=0):
    g = seeded(seed)
    return FiLMNetwork(mlp([4, 32, 16], g), mlp([4, 32, 16], g), 16, 16, generator=g)


REGRESSION = [hyper_regression, film_regression]
CLASSIFICATION = [hyper_fixed_way, hyper_classifier, film_classification]
ANY_WAY = [hyper_classifier, film_classification]


def sinusoids(batch=4, shot=5, seed=0) -> Episode:
    return SinusoidSampler(shot, 7, batch, seeded(seed))()


class Clusters:
    """``way`` classes in 4 dimensions, each around a centre drawn anew for every task."""

    def __init__(self, way=3, shot=2, query=5, batch=16, seed=0, noise=0.4):
        self.way, self.shot, self.query, self.batch, self.noise = way, shot, query, batch, noise
        self.generator = seeded(seed)

    def __call__(self) -> Episode:
        centre = torch.randn(self.batch, self.way, 1, 4, generator=self.generator)
        n = self.shot + self.query
        x = centre + self.noise * torch.randn(self.batch, self.way, n, 4, generator=self.generator)
        y = torch.arange(self.way)[:, None].expand(self.batch, self.way, n)
        k = self.shot
        support_x, query_x = x[:, :, :k].flatten(1, 2), x[:, :, k:].flatten(1, 2)
        return Episode(support_x, y[..., :k].flatten(1), query_x, y[..., k:].flatten(1))


def episode_for(make) -> Episode:
    return sinusoids() if make in REGRESSION else Clusters(batch=4)()


def ask(learner, episode):
    return learner(episode.support_x, episode.support_y, episode.query_x)


# ---- the generated parameters are what runs


@pytest.mark.parametrize("make", [hyper_regression, hyper_fixed_way])
def test_answers_are_those_of_the_task_network_with_the_generated_parameters(make):
    learner, episode = make(), episode_for(make)
    answers, made = ask(learner, episode), learner.generate(episode.support_x, episode.support_y)
    sizes = [1, 40, 40, 1] if make is hyper_regression else [16, 16, 3]
    for task in range(len(episode.query_x)):
        net = mlp(sizes, seeded(99))  # an ordinary network, other weights
        assert {n: p.shape for n, p in net.named_parameters()} == {n: p[task].shape for n, p in made.items()}
        net.load_state_dict({name: p[task].detach() for name, p in made.items()})
        x = episode.query_x[task]
        x = x if make is hyper_regression else learner.norm_items(learner.embed(x))
        torch.testing.assert_close(net(x), answers[task], rtol=1e-5, atol=1e-5)
    weights = made["0.weight"]
    assert (weights[0] - weights[1]).abs().max() > 1e-4, "two tasks, two networks"


def test_classifier_is_linear_with_the_generated_weights():
    learner, episode = hyper_classifier(), Clusters(batch=3)()
    made = learner.generate(episode.support_x, episode.support_y)
    for task, logits in enumerate(ask(learner, episode)):
        z = learner.norm(learner.embed(episode.query_x[task]))
        torch.testing.assert_close(F.linear(z, made["weight"][task], made["bias"][task]), logits, rtol=1e-5, atol=1e-5)


def test_the_task_network_has_no_parameters_of_its_own():
    form, g = mlp([1, 40, 40, 1], seeded(0)), seeded(0)
    learner = HyperNetwork(form, mlp([2, 8], g), 8, generator=g)
    own = {id(p) for p in form.parameters()}
    assert not own & {id(p) for p in learner.parameters()}
    assert all(name.split(".")[0] in ("embed", "norm", "generate_from") for name in learner.state_dict())
    assert all(p.is_meta for p in learner.task_net.parameters())
    before = ask(learner, sinusoids())
    with torch.no_grad():
        for p in form.parameters():
            p.fill_(7.0)  # the network it was built from is of no consequence any more
    assert torch.equal(ask(learner, sinusoids()), before)


def test_generation_starts_at_the_weights_of_the_form():
    g = seeded(0)
    form = mlp([1, 40, 40, 1], g)
    learner = HyperNetwork(form, mlp([2, 64], g), 64, generator=g)
    episode = sinusoids()
    for name, p in learner.generate(episode.support_x, episode.support_y).items():
        away = (p - form.state_dict()[name]).abs()
        assert 0 < away.max() < 0.2


def test_film_is_the_papers_formula():
    """γ h + β for each channel before each ReLU, written out with loops; images and vectors."""
    g = seeded(0)
    images = nn.Sequential(*Conv4(3, norm=None, generator=g).blocks, nn.Flatten(), nn.Linear(3, 6), nn.ReLU())
    learner = FiLMNetwork(images, Conv4(8, generator=g), 8, 6, generator=g).eval()
    support_x, query_x = torch.rand(2, 4, 1, 28, 28, generator=g), torch.rand(2, 3, 1, 28, 28, generator=g)
    support_y = torch.tensor([[0, 1, 0, 1]] * 2)
    modulation = learner.modulation(support_x, support_y)
    assert [gamma.shape for gamma, _ in modulation] == [(2, 3)] * 4 + [(2, 6)]
    got = learner.modulated(query_x, modulation)
    for task in range(2):
        for item in range(3):
            h, which = query_x[task, item][None], 0
            for layer in images:
                if isinstance(layer, nn.ReLU):
                    gamma, beta = modulation[which]
                    h = torch.stack([gamma[task, c] * h[:, c] + beta[task, c] for c in range(h.shape[1])], 1)
                    which += 1
                h = layer(h)
            torch.testing.assert_close(got[task, item], h[0], rtol=1e-4, atol=1e-5)
    assert (modulation[0][0][0] - modulation[0][0][1]).abs().max() > 1e-5, "two tasks, two modulations"


def test_film_with_scale_one_and_shift_zero_is_the_base_network():
    learner, episode = film_regression(), sinusoids()
    nn.init.zeros_(learner.condition[-1].weight)  # its bias is zero already
    assert torch.equal(ask(learner, episode), learner.base(episode.query_x.flatten(0, 1)).unflatten(0, (4, -1)))


# ---- gradients


@pytest.mark.parametrize("make", REGRESSION + CLASSIFICATION)
def test_gradients_reach_every_parameter(make):
    learner = make()
    (mean_squared_error if make in REGRESSION else cross_entropy)(learner, episode_for(make)).backward()
    for name, p in learner.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all() and p.grad.abs().max() > 0, name


@pytest.mark.parametrize("make", REGRESSION + CLASSIFICATION)
def test_gradient_equals_finite_differences(make):
    learner = make().double()
    for module in learner.modules():  # no kinks, so that finite differences mean something
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU) and module is not getattr(learner, "base", None):
                setattr(module, name, nn.Tanh())
    episode = Episode(*(t.double() if t.is_floating_point() else t for t in episode_for(make)))
    objective = mean_squared_error if make in REGRESSION else cross_entropy
    for p in (learner.embed[0].weight, list(learner.parameters())[-1]):
        learner.zero_grad()
        objective(learner, episode).backward()
        direction = torch.randn(p.shape, generator=seeded(1), dtype=torch.float64)
        with torch.no_grad():
            p += 1e-6 * direction
            above = objective(learner, episode)
            p -= 2e-6 * direction
            below = objective(learner, episode)
            p += 1e-6 * direction
        got, wanted = (p.grad * direction).sum(), (above - below) / 2e-6
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-8)


# ---- invariances, had and not had


@pytest.mark.parametrize("make", REGRESSION + CLASSIFICATION)
def test_order_of_the_support_set_makes_no_difference(make):
    learner, episode = make().double(), episode_for(make)
    episode = Episode(*(t.double() if t.is_floating_point() else t for t in episode))
    order = torch.randperm(episode.support_x.shape[1], generator=seeded(3))
    shuffled = Episode(episode.support_x[:, order], episode.support_y[:, order], episode.query_x, episode.query_y)
    torch.testing.assert_close(ask(learner, shuffled), ask(learner, episode), rtol=0, atol=1e-10)
    other = Episode(episode.support_x.roll(1, 0), episode.support_y.roll(1, 0), episode.query_x, episode.query_y)
    assert (ask(learner, other) - ask(learner, episode)).abs().max() > 1e-4, "another support set does make one"


@pytest.mark.parametrize("make", CLASSIFICATION)
def test_relabelling_the_classes_relabels_the_answers_only_where_weights_are_made_class_by_class(make):
    learner, episode = make(), Clusters(batch=4)()
    to = torch.tensor([2, 0, 1])
    renamed = learner(episode.support_x, to[episode.support_y], episode.query_x)
    difference = (renamed[..., to] - ask(learner, episode)).abs().max()
    assert difference < 1e-5 if make in ANY_WAY else difference > 1e-2


@pytest.mark.parametrize("make", REGRESSION + CLASSIFICATION)
def test_a_query_does_not_see_the_others_nor_a_task_the_others(make):
    learner, episode = make(), episode_for(make)
    whole = ask(learner, episode)
    alone = learner(episode.support_x[1:2], episode.support_y[1:2], episode.query_x[1:2, 2:3])
    torch.testing.assert_close(alone[0, 0], whole[1, 2], rtol=1e-4, atol=1e-5)


@given(way=st.integers(1, 6), shot=st.integers(1, 4), query=st.integers(1, 4), batch=st.integers(1, 3),
       which=st.sampled_from(ANY_WAY), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_any_way_shot_and_batch(way, shot, query, batch, which, seed):
    learner, episode = which(seed), Clusters(way, shot, query, batch, seed)()
    logits = ask(learner, episode)
    assert logits.shape == (batch, way * query, way) and torch.isfinite(logits).all()
    cross_entropy(learner, episode).backward()
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters())


@given(shot=st.integers(1, 12), batch=st.integers(1, 4), which=st.sampled_from(REGRESSION),
       size=st.sampled_from([0.0, 1.0, 1e4]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_any_shot_and_size_in_regression(shot, batch, which, size):
    """Size 0 is a support set of identical zeros."""
    learner, episode = which(), Episode(*(t * size for t in sinusoids(batch, shot)))
    answers = ask(learner, episode)
    assert answers.shape == episode.query_y.shape and torch.isfinite(answers).all()
    mean_squared_error(learner, episode).backward()
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters())


@pytest.mark.parametrize("make", CLASSIFICATION)
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_identical_and_huge_items(make, size):
    learner, episode = make(), Clusters(batch=2)()
    episode = episode._replace(support_x=episode.support_x * size, query_x=episode.query_x * size)
    logits = ask(learner, episode)
    assert torch.isfinite(logits).all()
    if size == 0 and make in ANY_WAY:
        torch.testing.assert_close(logits, logits[..., :1].expand_as(logits))  # nothing to tell the classes apart by
    cross_entropy(learner, episode).backward()
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters())


def test_class_means_with_unequal_shots():
    x = torch.tensor([[[1.0], [3.0], [10.0]]])
    assert class_means(nn.Identity(), x, torch.tensor([[1, 1, 0]])).tolist() == [[[10.0], [2.0]]]


def test_images():
    g = seeded(0)
    embed = Conv4(8, generator=g)
    base = nn.Sequential(*Conv4(8, norm="running", generator=g).blocks, nn.Flatten())
    x, y = torch.rand(2, 6, 1, 28, 28, generator=g), torch.tensor([[0, 1, 2] * 2] * 2)
    for learner in (HyperNetwork(mlp([8, 8, 3], g), embed, 8, 3, generator=g), HyperClassifier(embed, 8, generator=g),
                    FiLMNetwork(base, embed, 8, 8, generator=g)):
        logits = learner(x, y, x[:, :4])
        assert logits.shape == (2, 4, 3) and torch.isfinite(logits).all()


# ---- the habits of every learner


def test_nothing_touches_the_global_random_state():
    torch.manual_seed(4)
    before = torch.get_rng_state()
    for make in REGRESSION + CLASSIFICATION:
        ask(make(), episode_for(make))
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", REGRESSION + CLASSIFICATION)
def test_seed_and_state_dict(make, tmp_path):
    learner, same, other = make(seed=1), make(seed=1), make(seed=2)
    episode = episode_for(make)
    answers = ask(learner, episode)
    assert torch.equal(ask(same, episode), answers) and not torch.equal(ask(other, episode), answers)
    torch.save(learner.state_dict(), tmp_path / "learner.pt")
    other.load_state_dict(torch.load(tmp_path / "learner.pt", weights_only=True))
    assert torch.equal(ask(other, episode), answers)


def test_errors_name_the_argument():
    g, episode = seeded(0), Clusters(way=4)()
    with pytest.raises(ValueError, match="tasks of 4 classes, expected 3"):
        ask(hyper_fixed_way(3), episode)
    with pytest.raises(ValueError, match="outputs have length 5, expected way = 4"):
        ask(HyperNetwork(mlp([16, 5], g), mlp([4, 16], g), 16, 4, generator=g), episode)
    with pytest.raises(ValueError, match="outputs have length 2, expected 1"):
        ask(HyperNetwork(mlp([1, 2], g), mlp([2, 16], g), 16, generator=g), sinusoids())
    with pytest.raises(ValueError, match="outputs have length 2, expected 1"):
        ask(FiLMNetwork(mlp([1, 8, 2], g), mlp([2, 16], g), 16, generator=g), sinusoids())
    for make in REGRESSION:
        with pytest.raises(TypeError, match="support_y: dtype is torch.int64, expected float"):
            ask(make(), episode)
        with pytest.raises(ValueError, match="support_x: shape"):
            make()(torch.rand(4, 3, 1), sinusoids().support_y, sinusoids().query_x)
        for query_x in (torch.rand(1, 7, 1), torch.rand(4, 7, 2)):
            with pytest.raises(ValueError, match="query_x: shape"):
                make()(*sinusoids()[:2], query_x)
    for make in CLASSIFICATION:
        with pytest.raises(TypeError, match="support_y: dtype is torch.float32"):
            ask(make(), sinusoids())
    for wrong in (nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4)), Conv4(8, norm="task", generator=g)):
        with pytest.raises(ValueError, match="batch norm or buffers"):
            HyperNetwork(wrong, mlp([2, 16], g), 16, generator=g)
    with pytest.raises(ValueError, match="has no parameters"):
        HyperNetwork(nn.Flatten(), mlp([2, 16], g), 16, generator=g)
    with pytest.raises(TypeError, match="base: a Conv4"):
        FiLMNetwork(Conv4(8, generator=g), mlp([2, 16], g), 16, generator=g)
    with pytest.raises(ValueError, match="base: has no ReLU"):
        FiLMNetwork(mlp([1, 1], g), mlp([2, 16], g), 16, generator=g)
    with pytest.raises(ValueError, match="base: .* one that no linear"):
        FiLMNetwork(nn.Sequential(nn.ReLU(), *mlp([1, 4, 1], g)), mlp([2, 16], g), 16, generator=g)
    for name in ("features", "way", "hidden"):
        with pytest.raises(ValueError, match=f"{name}: 0"):
            sizes = {**dict(features=16, way=2, hidden=8), name: 0}
            HyperNetwork(mlp([1, 1], g), mlp([2, 16], g), **sizes, generator=g)


# ---- learning


def no_adaptation(episode: Episode) -> torch.Tensor:
    """The best that one function for all tasks can do: the mean of a sin(x - p) over a in [.1, 5], p in [0, π]."""
    return -2.55 * 2 / math.pi * torch.cos(episode.query_x)


@pytest.mark.slow
@pytest.mark.parametrize("make", REGRESSION)
def test_learns_sinusoids(make):
    """Held-out tasks of seed 9, 10 shots; training tasks of seed 1, weights of seed 0."""
    learner, held_out = make(), lambda: SinusoidSampler(10, 50, 100, seeded(9))
    untrained = meta_test(learner, held_out(), 400, ("mse",)).mean
    draw = held_out()
    constant = torch.stack([F.mse_loss(no_adaptation(e), e.query_y) for e in (draw() for _ in range(4))]).mean().item()
    meta_train(learner, SinusoidSampler(10, 10, 25, seeded(1)), mean_squared_error, updates=500, lr=3e-3, decay=True,
               progress=False)
    trained = meta_test(learner, held_out(), 400, ("mse",))
    print(f"{make.__name__}: untrained {untrained:.2f}, no adaptation {constant:.2f}, trained {trained}")
    assert constant < untrained
    assert trained.mean + trained.half_width < 0.25 * constant


@pytest.mark.parametrize("make", CLASSIFICATION)
def test_learns_to_classify_new_clusters(make):
    """Held-out tasks of seed 9, 3-way 2-shot."""
    learner = make()
    before = meta_test(learner, Clusters(batch=100, seed=9), 400)
    meta_train(learner, Clusters(seed=1), updates=150, lr=1e-2, decay=True, progress=False)
    after = meta_test(learner, Clusters(batch=100, seed=9), 400)
    print(f"{make.__name__}: {before} to {after}")
    assert before.mean < 0.6 and after.mean - after.half_width > 0.75


@pytest.mark.parametrize("make", ANY_WAY)
def test_works_at_a_way_it_was_not_trained_on(make):
    learner = make()
    meta_train(learner, Clusters(way=3, seed=1), updates=150, lr=1e-2, decay=True, progress=False)
    result = meta_test(learner, Clusters(way=6, shot=5, batch=100, seed=9), 200)
    assert result.mean - result.half_width > 0.5  # chance is 1/6


def test_only_the_module_is_learned_on_a_frozen_base():
    learner = film_regression()
    learner.base.requires_grad_(False)
    base = {name: p.clone() for name, p in learner.base.named_parameters()}
    draw = SinusoidSampler(10, 10, 25, seeded(1))
    history = meta_train(learner, draw, mean_squared_error, updates=60, lr=3e-3, progress=False)
    assert all(torch.equal(p, base[name]) for name, p in learner.base.named_parameters())
    assert sum(history.loss[-10:]) < 0.8 * sum(history.loss[:10])
