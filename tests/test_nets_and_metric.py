"""Networks and the learners that compare."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn_lite.metric import (
    Chance, NearestNeighbour, PrototypicalNetwork, prototypes, prototypical_logits, random_features,
)
from metalearn_lite.nets import Conv4, mlp


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_conv4_shapes_and_seed():
    x = torch.rand(6, 1, 28, 28, generator=seeded())
    net = Conv4(16, generator=seeded(1))
    assert net(x).shape == (6, 16) == (6, net.features)
    assert Conv4(16, out=5, generator=seeded(1))(x).shape == (6, 5)
    assert Conv4(8, generator=seeded(1))(torch.rand(2, 1, 32, 32)).shape == (2, 8 * 2 * 2)
    torch.manual_seed(9)
    state = torch.get_rng_state()
    twin = Conv4(16, generator=seeded(1))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters()))


def test_conv4_is_the_papers_network_although_it_pools_before_relu():
    net = Conv4(8, generator=seeded()).double().train()
    x = torch.rand(5, 1, 28, 28, generator=seeded(), dtype=torch.float64)
    got = net(x)
    z = x
    for conv, norm in zip(net.blocks[0::4], net.blocks[1::4]):
        z = F.conv2d(z, conv.weight, conv.bias, padding=1)
        z = F.batch_norm(z, None, None, norm.weight, norm.bias, training=True)
        z = F.max_pool2d(F.relu(z), 2)
    assert torch.allclose(got, z.flatten(1), atol=1e-12)
    g1 = torch.autograd.grad(got.square().sum(), net.blocks[0].weight)[0]
    g2 = torch.autograd.grad(z.square().sum(), net.blocks[0].weight)[0]
    assert torch.allclose(g1, g2, atol=1e-10)


def test_conv4_norms_do_what_they_say():
    x = torch.rand(6, 1, 28, 28, generator=seeded())
    running = Conv4(8, norm="running", generator=seeded())
    running(x)
    running.eval()
    assert torch.allclose(running(x)[:2], running(x[:2]), atol=1e-5)  # alone or in a batch: the same
    task = Conv4(8, norm="task", generator=seeded()).eval()
    assert not torch.allclose(task(x)[:2], task(x[:2]), atol=1e-3)
    assert not list(task.buffers()) and not any(isinstance(m, nn.BatchNorm2d) for m in Conv4(8, norm=None, generator=seeded()).modules())
    with pytest.raises(ValueError, match="norm.*'batch'"):
        Conv4(8, norm="batch", generator=seeded())
    with pytest.raises(ValueError, match="at least 16"):
        running(torch.rand(2, 1, 8, 8))


def test_mlp():
    net = mlp([3, 7, 2], seeded())
    assert net(torch.rand(4, 5, 3)).shape == (4, 5, 2) and len(net) == 3
    with pytest.raises(ValueError, match="sizes"):
        mlp([3], seeded())


def test_prototypes_are_class_means_with_unequal_shots():
    z = torch.tensor([[[0.0, 0.0], [2.0, 4.0], [5.0, 5.0]], [[1.0, 1.0], [3.0, 3.0], [8.0, 0.0]]])
    y = torch.tensor([[0, 0, 1], [1, 0, 0]])
    assert prototypes(z, y, 2).tolist() == [[[1.0, 2.0], [5.0, 5.0]], [[5.5, 1.5], [1.0, 1.0]]]


def test_prototypical_logits_against_cdist():
    g = seeded()
    z, q = torch.randn(3, 8, 4, generator=g, dtype=torch.float64), torch.randn(3, 5, 4, generator=g, dtype=torch.float64)
    y = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]] * 3)
    expected = -(torch.cdist(q, torch.stack([z[:, i::4].mean(1) for i in range(4)], 1)) ** 2)
    assert torch.allclose(prototypical_logits(z, y, q), expected, atol=1e-10)


def test_nearest_neighbour_by_hand():
    sx = torch.tensor([[[0.0], [10.0], [3.0]]])
    logits = NearestNeighbour()(sx, torch.tensor([[0, 1, 1]]), torch.tensor([[[1.0], [6.0]]]))
    assert logits.tolist() == [[[-1.0, -4.0], [-36.0, -9.0]]]


def test_each_learner_has_the_one_form():
    sx, qx = torch.rand(2, 6, 1, 28, 28, generator=seeded()), torch.rand(2, 4, 1, 28, 28, generator=seeded(1))
    sy = torch.tensor([[0, 1, 2, 0, 1, 2]] * 2)
    for learner in (Chance(seeded()), NearestNeighbour(), random_features(seeded(), width=8),
                    PrototypicalNetwork(Conv4(8, generator=seeded()))):
        logits = learner(sx, sy, qx)
        assert logits.shape == (2, 4, 3) and torch.isfinite(logits).all()
        with pytest.raises(ValueError, match="label 1"):
            learner(sx, torch.tensor([[0, 2, 2, 0, 2, 2]] * 2), qx)


def test_making_a_network_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    mlp([1, 16, 1], seeded())
    Conv4(4, 5, generator=seeded())
    assert torch.equal(torch.rand(2), expected)
