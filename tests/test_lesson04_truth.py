"""Lesson 04: references against the library's modules and PyTorch; what "frozen" is; the format of the colour files."""
import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn_lite import optim, transfer
from metalearn_lite.check import lesson04
from metalearn_lite.metric import prototypes
from metalearn_lite.nets import Conv4, mlp

centroid_logits, trainable, rates, early_stop, select, as_images, tune = (exercise.reference for exercise in (
    lesson04.centroid_logits, lesson04.trainable, lesson04.rates, lesson04.early_stop, lesson04.select,
    lesson04.as_images, lesson04.tune))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_centroid_logits_are_the_librarys_on_vectors_of_length_one():
    zs, zq, ys = draw(12, 6), draw(5, 6, seed=1), torch.arange(4).repeat(3)
    unit = F.normalize(zs, dim=1)
    expected = transfer.cosine_logits(zq[None], prototypes(unit[None], ys[None], 4))[0]
    assert (centroid_logits(zs, ys, zq, 4) - expected).abs().max() < 1e-10
    learner = transfer.NearestCentroid(nn.Identity())
    assert (learner(unit[None], ys[None], zq[None])[0] - expected).abs().max() < 1e-10
    one_shot = learner(zs[None, :4], ys[None, :4], zq[None])[0]          # with one shot the order does not matter
    assert (centroid_logits(zs[:4], ys[:4], zq, 4) - one_shot).abs().max() < 1e-10


def network():
    return transfer.Classifier(Conv4(4, generator=seeded()), 7, generator=seeded(1))


@pytest.mark.parametrize("mode", ["head", "last block", "all"])
def test_trainable_is_what_fine_tune_accepts(mode):
    net = network()
    names = trainable(list(net.state_dict()), mode)
    parameters = [name for name, _ in net.named_parameters()]
    assert set(names) <= set(parameters) and {"head.weight", "head.bias"} <= set(names)
    assert {"head": 2, "last block": 6, "all": len(parameters)}[mode] == len(names)
    learner = transfer.FineTune(net.embed, optim.SGD(lr={name: torch.tensor(0.1) for name in names}), steps=1)
    assert [*learner.trained, "head.weight", "head.bias"] == names


def test_rates_are_the_librarys_discriminative_rates():
    net = network()
    layers = ["embed.blocks.0", "embed.blocks.4", "embed.blocks.8", "embed.blocks.12", "head"]
    ours, theirs = rates(layers, 0.3, 2.6), transfer.discriminative_rates(net.embed, 0.3, 2.6)
    for layer in layers:
        assert ours[layer] == pytest.approx(theirs[f"{layer}.weight"].item())
    assert ours["embed.blocks.4"] == pytest.approx(theirs["embed.blocks.5.bias"].item())    # the norm that follows


def test_early_stopping_is_fine_tunes():
    """The library keeps the weights of the step that the reference names."""
    embed, y = mlp([6, 6], seeded(2)).double(), torch.arange(3).repeat_interleave(5)
    x = draw(3, 6, seed=5)[y] + draw(15, 6, seed=3)              # classes that overlap: the held-out loss turns round
    stays = torch.arange(15) % 5 != 4
    optimiser, patience, losses, weights = optim.SGD(lr=0.1, momentum=0.9), 3, [], []
    for steps in range(1, 41):
        learner = transfer.FineTune(embed, optimiser, steps)
        with torch.no_grad():
            params = learner.adapt(x[stays], y[stays])
            losses.append(F.cross_entropy(learner._logits(params, x[~stays]), y[~stays]).item())
        weights.append(params["head.weight"])
    best, stop = early_stop(losses, patience)
    assert 0 < best < stop < 39
    with torch.no_grad():
        kept = transfer.FineTune(embed, optimiser, 40, patience=patience).adapt(x, y)["head.weight"]
    assert (kept - weights[best]).abs().max() < 1e-8


def test_select_reports_lesson_00s_interval_of_the_winner():
    val, test = draw(4, 30).abs(), draw(4, 20, seed=1).abs()
    config, mean, half = select(val, test)
    assert config == val.mean(1).argmax()
    assert mean == pytest.approx(test[config].mean().item())
    assert half == pytest.approx(1.96 * test[config].std().item() / math.sqrt(20))


def test_as_images_reads_what_cifar_stores():
    """Three planes of 1,024 bytes, each row by row: torchvision reads CIFAR so."""
    image = torch.randint(0, 256, (5, 3, 32, 32), generator=seeded(), dtype=torch.uint8)
    rows = torch.stack([torch.cat([plane.flatten() for plane in one]) for one in image])
    assert torch.equal((as_images(rows) * 255).round().to(torch.uint8), image)
    torchvisions = rows.numpy().reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert torch.equal(as_images(rows).permute(0, 2, 3, 1), torch.from_numpy(torchvisions.copy()) / 255)


def test_tune_is_torchs_and_the_listing_learns_nothing():
    z, y, old = draw(10, 4), torch.arange(5).repeat(2), draw(7, 4, seed=2)
    layer = nn.Linear(4, 5, bias=False, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.3)
    for _ in range(20):
        optimiser.zero_grad()
        F.cross_entropy(layer(z), y).backward()
        optimiser.step()
    assert (tune(z, y, old, 5, 0.3, 20) - layer.weight).abs().max() < 1e-10
    assert lesson04.tune.start(z, y, old, 5, 0.3, 20).abs().max() == 0


def test_requires_grad_false_does_not_freeze_the_running_averages():
    embed = Conv4(4, generator=seeded()).requires_grad_(False)
    before = copy.deepcopy(embed.state_dict())
    embed.train()(torch.rand(8, 1, 28, 28, generator=seeded(1)))
    moved = {name for name, value in embed.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all("running" in name or "num_batches" in name for name in moved)


def test_in_train_mode_an_image_depends_on_its_company():
    embed = Conv4(4, generator=seeded())
    x = torch.rand(8, 1, 28, 28, generator=seeded(1))
    with torch.no_grad():
        assert not torch.allclose(embed.train()(x)[:2], embed.train()(x[:2]), atol=1e-3)
        assert torch.allclose(embed.eval()(x)[:2], embed.eval()(x[:2]), atol=1e-5)
