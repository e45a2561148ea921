"""The claim that the course opens with: a prototypical network learns to read new scripts in under a minute of CPU."""

import time

import pytest
import torch
from torch import nn

from metalearn_lite.data import glyphs
from metalearn_lite.episodes import EpisodeSampler
from metalearn_lite.evaluate import embed_dataset, meta_test
from metalearn_lite.metric import PrototypicalNetwork
from metalearn_lite.nets import Conv4
from metalearn_lite.train import meta_train


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
def test_prototypical_network_reads_held_out_scripts(say):
    """5-way 1-shot, 600 test tasks, seeds 0 (weights, test tasks) and 1 (training tasks): at least 88 %."""
    net = Conv4(32, generator=seeded(0))
    draw = EpisodeSampler(glyphs().split("train"), way=20, shot=1, query=5, batch=1, generator=seeded(1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for one another burn CPU-seconds on a busy machine
    start = time.process_time()
    history = meta_train(PrototypicalNetwork(net), draw, updates=250, lr=3e-3, decay=True, progress=False)
    cpu = time.process_time() - start
    torch.set_num_threads(threads)
    vectors = embed_dataset(net, glyphs().split("test"))
    result = meta_test(PrototypicalNetwork(nn.Identity()), EpisodeSampler(vectors, 5, 1, 15, 50, seeded(0)), 600)
    say(f"prototypical network, 5-way 1-shot, held-out scripts: {result} after {cpu:.0f} CPU-seconds, "
        f"{history.seconds:.0f} s")
    assert result.mean >= 0.88
    assert cpu <= 40
