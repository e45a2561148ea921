"""The training loop: it learns, it resumes exactly, it splits batches exactly, it refuses nonsense."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from metalearn_lite.data import glyphs
from metalearn_lite.episodes import EpisodeSampler, SinusoidSampler
from metalearn_lite.metric import NearestNeighbour, PrototypicalNetwork
from metalearn_lite.nets import Conv4, mlp
from metalearn_lite.train import cross_entropy, mean_squared_error, meta_train

ROOT = Path(__file__).resolve().parent.parent


class Curve(nn.Module):
    """A network that ignores the support set: the smallest thing that meta_train can train on sinusoids."""

    def __init__(self, generator):
        super().__init__()
        self.net, self.dropout = mlp([1, 16, 1], generator), nn.Dropout(0.1)

    def forward(self, support_x, support_y, query_x):
        return self.dropout(self.net(query_x))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def run(updates, checkpoint=None, every=100, decay=False, learner=None):
    torch.manual_seed(5)  # Curve's dropout is torch's own and reads the global state
    learner = learner or Curve(seeded())
    history = meta_train(learner, SinusoidSampler(5, 5, 4, seeded(1)), mean_squared_error, updates=updates, lr=1e-2,
                         decay=decay, checkpoint=checkpoint, checkpoint_every=every, progress=False)
    return learner, history


@pytest.mark.parametrize("decay", [False, True])
def test_resumed_equals_uninterrupted(tmp_path, decay, monkeypatch):
    whole, history = run(30, decay=decay)

    file = tmp_path / "run.pt"
    draws = SinusoidSampler.__call__
    count = iter(range(10**6))

    def dies(self):
        if next(count) == 17:
            raise KeyboardInterrupt  # the power goes out in the middle of update 17
        return draws(self)

    monkeypatch.setattr(SinusoidSampler, "__call__", dies)
    with pytest.raises(KeyboardInterrupt):
        run(30, file, every=10, decay=decay)
    monkeypatch.setattr(SinusoidSampler, "__call__", draws)
    torch.manual_seed(123)  # a new process, with another global state and other weights
    resumed, again = run(30, file, decay=decay, learner=Curve(seeded(99)))
    assert again.loss == history.loss and again.updates == 30
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values()))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.pt"]


def test_resume_with_another_schedule_is_refused(tmp_path):
    run(10, tmp_path / "run.pt", decay=True)
    with pytest.raises(ValueError, match="updates=10.*updates=20"):
        run(20, tmp_path / "run.pt", decay=True)
    with pytest.raises(ValueError, match="decay=True"):
        run(10, tmp_path / "run.pt", decay=False)


def test_resume_with_another_optimiser_or_step_size_is_refused(tmp_path):
    def resume(**options):
        learner = Curve(seeded())
        if "optimizer" in options:
            options["optimizer"] = options["optimizer"](learner.parameters())
        meta_train(learner, SinusoidSampler(5, 5, 4, seeded(1)), mean_squared_error, updates=20, checkpoint=tmp_path / "run.pt",
                   progress=False, **options)

    run(10, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"of a run with Adam, lr=\[0.01\], not Adam, lr=\[0.003\]"):
        resume()
    with pytest.raises(ValueError, match="with Adam.*not SGD"):
        resume(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-2))
    resume(optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2))


class Noisy(Curve):
    """A learner that draws from a generator of its own."""

    def __init__(self, generator):
        super().__init__(generator)
        self.generator = seeded(7)

    def forward(self, support_x, support_y, query_x):
        return self.net(query_x) + torch.randn(1, generator=self.generator)


def test_a_learners_own_generator_goes_on_from_the_checkpoint(tmp_path):
    _, whole = run(12, learner=Noisy(seeded()))
    run(5, tmp_path / "run.pt", learner=Noisy(seeded()))
    _, resumed = run(12, tmp_path / "run.pt", learner=Noisy(seeded(99)))
    assert resumed.loss == whole.loss
    with pytest.raises(ValueError, match="threads: 2.*copy"):
        meta_train(Noisy(seeded()), SinusoidSampler(5, 5, 4, seeded()), mean_squared_error, updates=1, threads=2)


def test_decay_is_linear_over_the_second_half():
    rates = []
    learner = nn.Linear(1, 1)

    def objective(net, batch):
        rates.append(optimizer.param_groups[0]["lr"])
        return net(batch[2]).mean()

    optimizer = torch.optim.SGD(learner.parameters(), lr=1.0)
    meta_train(learner, SinusoidSampler(2, 2, 1, seeded()), objective, updates=8, optimizer=optimizer, decay=True, progress=False)
    assert rates == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_tasks_at_once_gives_the_same_gradient():
    grads = []
    for at_once in (None, 1, 3):
        net = mlp([1, 16, 1], seeded()).double()

        def objective(net, batch):
            return (net(batch.query_x.double()) - batch.query_y).square().mean()

        sgd = torch.optim.SGD(net.parameters(), lr=1.0)
        start = [p.detach().clone() for p in net.parameters()]
        meta_train(net, SinusoidSampler(5, 5, 4, seeded(1)), objective, updates=1, optimizer=sgd, tasks_at_once=at_once, progress=False)
        grads.append([a - b.detach() for a, b in zip(start, net.parameters())])
    for other in grads[1:]:
        assert max((a - b).abs().max() for a, b in zip(grads[0], other)) < 1e-12


def test_prototypical_network_learns_glyphs_a_little():
    learner = PrototypicalNetwork(Conv4(16, generator=seeded()))
    draw = EpisodeSampler(glyphs().split("train"), 5, 1, 5, 2, seeded(1))
    history = meta_train(learner, draw, updates=40, progress=False)
    assert sum(history.loss[-10:]) < 0.8 * sum(history.loss[:5]) * 2 and not learner.training


def test_updates_variable_is_obeyed_and_said_aloud(monkeypatch, capsys):
    monkeypatch.setenv("METALEARN_LITE_UPDATES", "3")
    _, history = run(50)
    assert history.updates == 3 and "3 updates instead of 50" in capsys.readouterr().out
    monkeypatch.setenv("METALEARN_LITE_UPDATES", "fast")
    with pytest.raises(ValueError, match="'fast'"):
        run(50)


@pytest.mark.parametrize(
    "bad, words", [(dict(updates=0), "updates: 0"), (dict(updates=2.5), "updates: 2.5"), (dict(lr=0.0), "lr: 0.0"), (dict(tasks_at_once=-1), "tasks_at_once: -1")]
)
def test_bad_arguments(bad, words):
    with pytest.raises(ValueError, match=words):
        meta_train(Curve(seeded()), SinusoidSampler(5, 5, 4, seeded()), mean_squared_error, **{"updates": 1, **bad})


def test_nothing_to_train_or_to_resume_or_a_loss_that_is_not_finite(tmp_path):
    with pytest.raises(ValueError, match="no parameters"):
        meta_train(NearestNeighbour(), SinusoidSampler(5, 5, 4, seeded()), cross_entropy, updates=1)
    with pytest.raises(ValueError, match="generator"):
        meta_train(Curve(seeded()), lambda: None, updates=1, checkpoint=tmp_path / "x")
    with pytest.raises(FloatingPointError, match="update 0.*lr=0.003"):
        meta_train(Curve(seeded()), SinusoidSampler(5, 5, 4, seeded()), lambda n, e: mean_squared_error(n, e) * float("nan"), updates=2, progress=False)


PEAK = """
import sys
from pathlib import Path
import torch
from metalearn_lite.data import glyphs
from metalearn_lite.episodes import EpisodeSampler
from metalearn_lite.maml import MAML
from metalearn_lite.nets import Conv4
from metalearn_lite.optim import GradientDescent
from metalearn_lite.train import meta_train

def own():
    said = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {name: int(said[name].split()[0]) / 1024 for name in ("VmHWM", "RssFile")}

seeded = torch.Generator().manual_seed
draw = EpisodeSampler(glyphs().split("train"), 5, 1, 15, 16, seeded(1))
learner = MAML(Conv4(64, 5, norm="task", generator=seeded(0)), 1, GradientDescent(0.4))
meta_train(learner, draw, updates=1, tasks_at_once=eval(sys.argv[1]), progress=False)
print(own()["VmHWM"] - own()["RssFile"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak of memory")
def test_tasks_one_by_one_bound_the_memory_of_second_order(say):
    """Second-order MAML on 16 tasks of Conv4-64, the whole process without the pages of library files: under 1 GB."""
    peak = {}
    for at_once in (None, 1):
        done = subprocess.run([sys.executable, "-c", PEAK, str(at_once)], cwd=ROOT, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300)
        assert done.returncode == 0, done.stderr
        peak[at_once] = float(done.stdout)
    say(f"second-order MAML, 16 tasks of Conv4-64: peak {peak[None]:.0f} MiB at once, {peak[1]:.0f} one by one")
    assert peak[1] < 1e9 / 2**20 and peak[1] < 0.6 * peak[None]
