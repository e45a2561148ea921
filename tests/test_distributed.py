"""Several processes on loopback (gloo): the gradient of one, a checkpoint for any number, and an end that says why."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F

from metalearn_lite.data import glyphs
from metalearn_lite.episodes import EpisodeSampler, SinusoidSampler
from metalearn_lite.maml import MAML
from metalearn_lite.metric import PrototypicalNetwork
from metalearn_lite.nets import Conv4, mlp
from metalearn_lite.optim import GradientDescent
from metalearn_lite.train import cross_entropy, mean_squared_error, meta_train

ROOT = Path(__file__).resolve().parent.parent


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class InFloat64:
    """Another sampler's episodes in float64."""

    def __init__(self, draw):
        self.draw, self.generator = draw, draw.generator

    def __call__(self):
        return type(e := self.draw())(*(t.double() if t.is_floating_point() else t for t in e))


def letters(seed=1):
    return InFloat64(EpisodeSampler(glyphs().split("train"), 5, 1, 2, 4, seeded(seed)))


def sinusoids(seed=1):
    return InFloat64(SinusoidSampler(5, 5, 4, seeded(seed)))


def conv(norm, out=None):
    return Conv4(4, out, norm=norm, generator=seeded()).double()


def uneven(seed=1):
    return InFloat64(SinusoidSampler(5, 5, 5, seeded(seed)))


def curve():
    return MAML(mlp([1, 16, 1], seeded()).double(), 2, GradientDescent(0.05), loss=F.mse_loss)


CASES = {
    "MAML, second order": lambda: (curve(), sinusoids, mean_squared_error),
    "MAML, five tasks on two processes": lambda: (curve(), uneven, mean_squared_error),
    "MAML, Conv4 with batch statistics of the task": lambda: (MAML(conv("task", 5)), letters, cross_entropy),
    "prototypical network without batch norm": lambda: (PrototypicalNetwork(conv(None)), letters, cross_entropy),
    "prototypical network that pools statistics over tasks": lambda: (PrototypicalNetwork(conv("running")), letters,
                                                                      cross_entropy),
}


def gradient_of(case, seed=1):
    """The meta-gradient of one update, read off a step of plain gradient descent at rate 1; and the running averages."""
    learner, draw, objective = CASES[case]()
    if distributed.is_initialized() and distributed.get_rank():  # what process 0 has must win
        with torch.no_grad():
            for p in learner.parameters():
                p.add_(1)
        seed = 99
    before = torch.cat([p.detach().flatten() for p in CASES[case]()[0].parameters()])
    sgd = torch.optim.SGD(learner.parameters(), lr=1.0)
    meta_train(learner, draw(seed), objective, updates=1, optimizer=sgd, progress=False)
    after = torch.cat([p.detach().flatten() for p in learner.parameters()])
    return before - after, torch.cat([b.flatten().double() for b in learner.buffers()] or [torch.zeros(0)])


def train(file, updates, learner=None):
    learner = learner or curve()
    history = meta_train(learner, sinusoids(), mean_squared_error, updates=updates, checkpoint=file, checkpoint_every=4,
                         progress=False)
    return history.loss, [p.detach() for p in learner.parameters()]


# ------------------------------------------------------------ what each process does; its number is sys.argv[2]


def worker_gradients(folder):
    torch.save({case: gradient_of(case) for case in CASES}, folder / f"{distributed.get_rank()}.pt")
    if distributed.get_rank() == 0:
        with pytest.raises(ValueError, match="gives 1 tasks.*2 processes"):
            meta_train(curve(), SinusoidSampler(5, 5, 1, seeded()), mean_squared_error, updates=1, progress=False)
    else:
        with pytest.raises(ValueError, match="gives 1 tasks"):
            meta_train(curve(), SinusoidSampler(5, 5, 1, seeded()), mean_squared_error, updates=1, progress=False)
    torch.save(train(folder / "run.pt", 10), folder / f"train{distributed.get_rank()}.pt")
    torch.save(train(folder / "one.pt", 10), folder / f"resumed{distributed.get_rank()}.pt")


def worker_dies(folder):
    draw, count = sinusoids(), iter(range(100))

    class Dies:
        generator = draw.generator

        def __call__(self):
            if next(count) == 6 and distributed.get_rank() == 1:
                os._exit(1)  # killed in the middle of update 6
            return draw()

    try:
        meta_train(curve(), Dies(), mean_squared_error, updates=20, checkpoint=folder / "run.pt", checkpoint_every=4,
                   progress=False)
    except RuntimeError as error:
        print(f"rank {distributed.get_rank()}: {error}", flush=True)
        os._exit(3)


def start(name, folder, processes=2):
    """Run worker ``name`` in so many processes; return their exit codes and what they said."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes),
           "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    running = [subprocess.Popen([sys.executable, __file__, name, str(folder)], env={**env, "RANK": str(rank)}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for rank in range(processes)]
    said = [process.communicate(timeout=120)[0] for process in running]
    return [process.returncode for process in running], said


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    train(folder / "one.pt", 6)
    codes, said = start("worker_gradients", folder)
    assert codes == [0, 0], said
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_gradient_of_one(two, case, say):
    alone, averages = gradient_of(case)
    first, second = (torch.load(two / f"{rank}.pt")[case] for rank in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])  # the processes stay alike
    error = ((first[0] - alone).norm() / alone.norm()).item()
    say(f"{case}: two processes against one, relative difference of the meta-gradient {error:.1e}")
    if "pools" in case:  # each process pools over its own half of the tasks: another estimate, and so documented
        assert 1e-3 < error < 1
        assert torch.allclose(first[1], averages, atol=0.05) and not torch.equal(first[1], averages)
    else:
        assert error < 1e-8 and alone.norm() > 1e-3


def test_a_checkpoint_of_two_processes_goes_on_with_one(two):
    whole, weights = train(None, 14)
    for rank in range(2):
        loss, _ = torch.load(two / f"train{rank}.pt")
        assert loss == pytest.approx(whole[:10], rel=1e-9)
    resumed, final = train(two / "run.pt", 14, learner=MAML(mlp([1, 16, 1], seeded(7)).double(), 2, GradientDescent(0.05),
                                                            loss=F.mse_loss))
    assert resumed == pytest.approx(whole, rel=1e-9) and len(resumed) == 14
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(weights, final))


def test_a_checkpoint_of_one_process_goes_on_with_two(two):
    whole, weights = train(None, 10)
    for rank in range(2):
        loss, final = torch.load(two / f"resumed{rank}.pt")
        assert loss == pytest.approx(whole, rel=1e-9) and len(loss) == 10
        assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(weights, final))


def test_a_process_that_dies_ends_the_others_and_loses_little(tmp_path):
    codes, said = start("worker_dies", tmp_path)
    assert codes == [3, 1], said
    assert "another process ended before update 6 was done" in said[0] and "the last one" in said[0]
    assert len(torch.load(tmp_path / "run.pt", weights_only=True)["loss"]) == 4  # checkpoint_every


@pytest.mark.parametrize("threads, at_once", [(2, None), (2, 1), (3, None)])
def test_threads_give_the_gradient_of_one(threads, at_once):
    cores, steps = torch.get_num_threads(), []
    for options in ({}, dict(threads=threads, tasks_at_once=at_once)):
        learner = MAML(conv("task", 5))
        sgd = torch.optim.SGD(learner.parameters(), lr=1.0)
        meta_train(learner, letters(), updates=2, optimizer=sgd, progress=False, **options)
        steps.append(torch.cat([p.detach().flatten() for p in learner.parameters()]))
    assert torch.allclose(*steps, atol=1e-10) and torch.get_num_threads() == cores


def test_threads_refuse_running_averages_and_a_parameter_without_gradient_is_named():
    with pytest.raises(ValueError, match="threads: 2.*blocks.1"):
        meta_train(PrototypicalNetwork(conv("running")), letters(), updates=1, threads=2, progress=False)
    learner = curve()
    learner.spare = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="'spare.weight'"):
        meta_train(learner, sinusoids(), mean_squared_error, updates=1, progress=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    globals()[sys.argv[1]](Path(sys.argv[2]))
    distributed.destroy_process_group()
