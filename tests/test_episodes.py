"""Episodes: what is drawn is a task, bad input is named, and the seed decides."""

import math

import pytest
import torch

from metalearn_lite.data import glyphs
from metalearn_lite.episodes import EpisodeSampler, SinusoidSampler, count_ways


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sampler(way=5, shot=2, query=3, batch=4, seed=0, dataset=None, **kwargs):
    return EpisodeSampler(dataset or glyphs().split("val"), way, shot, query, batch, seeded(seed), **kwargs)


def test_shapes_values_and_labels():
    episode = sampler()()
    assert episode.support_x.shape == (4, 10, 1, 28, 28) and episode.query_x.shape == (4, 15, 1, 28, 28)
    assert episode.support_x.dtype == torch.float32
    assert 0 == episode.support_x.min() and episode.support_x.max() == 1
    assert episode.support_y[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert episode.query_y[3].tolist() == [c for c in range(5) for _ in range(3)]


def test_images_are_those_of_the_drawn_classes_and_support_never_meets_query():
    data = glyphs().split("val")
    draw, twin = sampler(dataset=data, batch=50, seed=7), sampler(dataset=data, batch=50, seed=7)
    classes, items = twin.draw_indices()
    episode = draw()
    for task in (0, 49):
        assert len(set(classes[task].tolist())) == 5
        for c in range(5):
            chosen = items[task, c].tolist()
            assert len(set(chosen)) == 5  # 2 support + 3 query items, all different
            expected = data.items[classes[task, c]][items[task, c]] / 255
            assert torch.allclose(episode.support_x[task, 2 * c : 2 * c + 2, 0], expected[:2])
            assert torch.allclose(episode.query_x[task, 3 * c : 3 * c + 3, 0], expected[2:])


def test_seed_decides_and_global_state_is_left_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a, b, c = sampler(seed=3), sampler(seed=3), sampler(seed=4)
    assert a.fingerprint() == b.fingerprint() != c.fingerprint()
    assert torch.equal(a().support_x, b().support_x)
    assert not torch.equal(a().support_x, b.__class__(glyphs().split("val"), 5, 2, 3, 4, seeded(4))().support_x)
    assert torch.equal(before, torch.get_rng_state())


def test_every_class_and_item_comes_up_equally_often():
    data = glyphs().split("val")
    classes, items = EpisodeSampler(data, 5, 1, 4, 4000, seeded()).draw_indices()
    counts = torch.bincount(classes.flatten(), minlength=len(data)).double()
    expected = 4000 * 5 / len(data)
    assert counts.std() / math.sqrt(expected) == pytest.approx(1, abs=0.2)  # a binomial's spread, no class favoured
    share = torch.bincount(items.flatten(), minlength=20) / items.numel()
    assert (share - 1 / 20).abs().max() < 0.002


@pytest.mark.parametrize(
    "bad, words",
    [
        (dict(way=10_000), ["way", "10000", "244"]),
        (dict(shot=15, query=6), ["shot + query", "15 + 6", "20"]),
        (dict(shot=0), ["shot", "0", "at least 1"]),
        (dict(query=-1), ["query", "-1", "at least 1"]),
        (dict(batch=0), ["batch", "0"]),
    ],
)
def test_bad_sizes_name_argument_value_and_bound(bad, words):
    with pytest.raises(ValueError) as error:
        sampler(**bad)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("value", [2.5, True, "5"])
def test_sizes_must_be_whole_numbers(value):
    with pytest.raises(TypeError, match="way"):
        sampler(way=value)


def test_count_ways_accepts_unequal_shots_in_any_order():
    assert count_ways(torch.tensor([[2, 0, 1, 0], [1, 1, 2, 0]])) == 3


@pytest.mark.parametrize(
    "labels, error, words",
    [
        (torch.tensor([[0, 2, 2]]), ValueError, "label 1"),
        (torch.tensor([[0, 1], [0, 0]]), ValueError, "task 1"),
        (torch.tensor([[-1, 0]]), ValueError, "-1"),
        (torch.tensor([[0, 10**9]]), ValueError, "1000000000"),
        (torch.tensor([[0.0, 1.0]]), TypeError, "float32"),
        (torch.tensor([0, 1]), ValueError, "shape"),
        (torch.zeros(1, 0, dtype=torch.int64), ValueError, "empty"),
    ],
)
def test_count_ways_refuses_anything_else(labels, error, words):
    with pytest.raises(error, match=words):
        count_ways(labels)


def test_sinusoids_are_sinusoids_of_the_papers_range():
    x, y, qx, qy = SinusoidSampler(10, 5, 3000, seeded())()
    assert x.shape == (3000, 10, 1) and qy.shape == (3000, 5, 1)
    assert -5 <= x.min() < -4.9 and 4.9 < x.max() <= 5 and 4.5 < y.abs().max() <= 5
    # y = a sin(x - p) = α sin x + β cos x exactly: two points give α, β, and the others must agree
    basis = torch.cat([x.sin(), x.cos()], -1).double()
    fit = torch.linalg.lstsq(basis, y.double()).solution  # (3000, 2, 1)
    query_basis = torch.cat([qx.sin(), qx.cos()], -1).double()
    assert (query_basis @ fit - qy).abs().max() < 1e-3
    amplitude = fit.norm(dim=(1, 2))
    phase = torch.atan2(-fit[:, 1, 0], fit[:, 0, 0])
    assert 0.1 <= amplitude.min() + 1e-4 < 0.2 and 4.9 < amplitude.max() <= 5 + 1e-3
    assert -1e-3 <= phase.min() < 0.05 and 3.1 < phase.max() <= math.pi + 1e-3


def test_sinusoid_amplitude_can_leave_the_papers_range_but_not_make_nonsense():
    episode = SinusoidSampler(10, 5, 500, seeded(), amplitude=(6.0, 8.0))()
    assert episode.support_y.abs().max() > 5
    with pytest.raises(ValueError, match="amplitude"):
        SinusoidSampler(10, 5, 500, seeded(), amplitude=(2.0, 1.0))
