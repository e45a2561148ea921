"""How fast the engine is beside the libraries that one would take instead: one table, ratios within one run.

    python tests/benchmarks/peers.py PEERS                 once: fetches them
    python tests/benchmarks/speed.py PEERS [--device cuda] [--rounds 5] [--rows maml-1 sinusoids ...]

In each row both do the same work on the same tensors, and the row first checks that they do: equal gradients in float64,
equal predictions. Then they run in turn (A B A B ...); the table has medians with the fastest and slowest round, the ratio
of the medians, and the peak of memory. Run it on an idle machine: threads that wait for one another are slow.
"""

import argparse
import ctypes
import functools
import gc
import copy
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

import peers
from metalearn_lite.data import glyphs
from metalearn_lite.episodes import Episode, EpisodeSampler, SinusoidSampler
from metalearn_lite.evaluate import embed_dataset, meta_test
from metalearn_lite.maml import MAML
from metalearn_lite.metric import PrototypicalNetwork
from metalearn_lite.nets import Conv4, mlp
from metalearn_lite.optim import GradientDescent
from metalearn_lite.train import cross_entropy, mean_squared_error, meta_train

WAY, SHOT, QUERY = 5, 1, 15
INNER_LR = 0.4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def usual_conv4(out=None, norm="task"):
    """The network as it is usually written: convolution, batch norm, ReLU, pooling; the default memory format."""
    layers, channels = [], 1
    for _ in range(4):
        layers += [nn.Conv2d(channels, 64, 3, padding=1), nn.BatchNorm2d(64, track_running_stats=norm == "running"), nn.ReLU(),
                   nn.MaxPool2d(2)]
        channels = 64
    return nn.Sequential(*layers, nn.Flatten(), *([] if out is None else [nn.Linear(64, out)]))


def same_weights(usual, ours):
    for a, b in zip(usual.parameters(), ours.parameters()):
        assert a.shape == b.shape
        a.data.copy_(b.data)
    return usual


def gradient_of(step, net):
    """The meta-gradient, from the parameters' move under one step of gradient descent at rate 1."""
    before = [p.detach().clone() for p in net.parameters()]
    step()
    return torch.cat([(a - p.detach()).flatten() for a, p in zip(before, net.parameters())])


def assert_equal_gradients(theirs, ours, bound):
    error = ((theirs - ours).norm() / theirs.norm()).item()
    assert error < bound, f"meta-gradients differ by {error:.1e}"
    return f"meta-gradients in float64 differ by {error:.0e}"


# ---------------------------------------------------------------------------------------------- what is compared


def maml(device, library, inner_steps, double=False, tasks=16):
    """{name: one meta-update} of second-order MAML on Conv4-64."""
    kind = torch.float64 if double else torch.float32
    draw = EpisodeSampler(glyphs().split("train"), WAY, SHOT, QUERY, tasks, seeded(1), device)
    batch = Episode(*(t.to(kind) if t.is_floating_point() else t for t in draw()))
    nets = {}

    def net():
        return Conv4(64, WAY, norm="task", generator=seeded()).to(device, kind)

    def optimizer_of(module):
        return torch.optim.SGD(module.parameters(), lr=1.0 if double else 1e-3)

    usual = same_weights(usual_conv4(WAY).to(device, kind), net())
    rows = {"learn2learn": learn2learns(library.MAML(usual, lr=INNER_LR), batch, inner_steps, F.cross_entropy, optimizer_of(usual))}
    nets["learn2learn"] = usual
    ways = {"tasks one by one": dict(tasks_at_once=1), "all tasks in one graph": dict()}
    if device.type == "cpu":
        ways["tasks one by one, on two threads"] = dict(tasks_at_once=1, threads=2)
    ways["stacked"] = dict(stacked=True)
    for name, options in ways.items():
        own = MAML(net(), inner_steps, GradientDescent(INNER_LR), stacked=options.pop("stacked", False))
        nets[name] = own
        rows[name] = trainer(own, lambda: batch, cross_entropy, optimizer_of(own), **options)
    return rows, nets


def learn2learns(learner, batch, inner_steps, loss, optimizer):
    """One meta-update as its examples write it."""
    def step():
        optimizer.zero_grad()
        for support_x, support_y, query_x, query_y in zip(*batch):
            clone = learner.clone()
            for _ in range(inner_steps):
                clone.adapt(loss(clone(support_x), support_y))
            (loss(clone(query_x), query_y) / len(batch[0])).backward()
        optimizer.step()
    return step


def trainer(learner, draw, objective, optimizer, updates=1, **options):
    def step():
        meta_train(learner, draw, objective, updates=updates, optimizer=optimizer, progress=False, **options)
    return step


def compared(make, small=()):
    """The rows of ``make``, after their meta-gradients were found equal in float64 (on a ``small`` case, if given)."""
    steps, nets = make(double=True, **dict(small))
    theirs, *ours = [gradient_of(steps[name], nets[name]) for name in steps]
    said = [assert_equal_gradients(theirs, own, 1e-8) for own in ours]
    steps, _ = make()
    return "learn2learn", steps, said[0]


def row_maml(device, library, inner_steps):
    return compared(functools.partial(maml, device, library, inner_steps), dict(tasks=2))


def sinusoids(device, library, double=False):
    kind = torch.float64 if double else torch.float32
    batch = Episode(*(t.to(kind) for t in SinusoidSampler(10, 10, 25, seeded(), device)()))

    def net():
        return mlp([1, 40, 40, 1], seeded()).to(device, kind)

    usual, nets = net(), {}
    rate = 1.0 if double else 1e-3
    sgd = torch.optim.SGD(usual.parameters(), lr=rate)
    nets["learn2learn"] = usual
    rows = {"learn2learn": learn2learns(library.MAML(usual, lr=0.01), batch, 5, F.mse_loss, sgd)}
    for name in ("loop over tasks", "stacked", "stacked, compiled"):
        own = MAML(net(), 5, GradientDescent(0.01), loss=F.mse_loss, stacked=name != "loop over tasks")
        nets[name] = own
        sgd = torch.optim.SGD(own.parameters(), lr=rate)
        rows[name] = gradient_step(own, batch, sgd, compiled=name == "stacked, compiled")
    return rows, nets


def gradient_step(learner, batch, optimizer, compiled):
    """One meta-update without `meta_train`, which cannot be compiled whole."""
    parameters = list(learner.parameters())

    def gradient(*task):
        return torch.autograd.grad(mean_squared_error(learner, Episode(*task)), parameters)

    if compiled:
        torch._dynamo.config.trace_autograd_ops = True
        gradient = torch.compile(gradient, fullgraph=True)

    def step():
        for p, g in zip(parameters, gradient(*batch)):
            p.grad = g
        optimizer.step()
    return step


def row_sinusoids(device, library):
    return compared(functools.partial(sinusoids, device, library))


def row_prototypical(device, methods):
    """Ten training steps on episodes of 80 images."""
    draw = EpisodeSampler(glyphs().split("train"), WAY, SHOT, QUERY, 1, seeded(1), device)
    batch = draw()
    ours = PrototypicalNetwork(Conv4(64, generator=seeded()).to(device))
    usual = same_weights(usual_conv4(norm="running").to(device), ours)
    theirs = methods.PrototypicalNetworks(usual)
    adam = {"easyfsl": torch.optim.Adam(usual.parameters(), 1e-3), "ours": torch.optim.Adam(ours.parameters(), 1e-3)}
    with torch.no_grad():  # with running statistics; in training it pools them over support and queries apart
        usual.eval(), ours.eval()
        theirs.process_support_set(batch.support_x[0], batch.support_y[0])
        squared, logits = theirs(batch.query_x[0]).square(), ours(*batch[:3])[0]
        assert torch.allclose(squared, -logits, rtol=1e-3), "distances differ"

    def their_loss(episode):
        theirs.process_support_set(episode.support_x[0], episode.support_y[0])
        return F.cross_entropy(theirs(episode.query_x[0]), episode.query_y[0])

    def their_steps():
        usual.train()
        for _ in range(10):
            adam["easyfsl"].zero_grad()
            their_loss(batch).backward()
            adam["easyfsl"].step()

    return "easyfsl", {"easyfsl": their_steps, "ours": trainer(ours, lambda: batch, cross_entropy, adam["ours"], updates=10)}, \
        "distances agree; easyfsl embeds support and query apart, ours together, and its distances are not squared"


def easyfsls(datasets, items):
    """The images uint8 (C, P, H, W) as a data set of easyfsl's kind."""
    images, labels = items.flatten(0, 1), torch.arange(len(items)).repeat_interleave(items.shape[1]).tolist()

    class Images(datasets.FewShotDataset):
        def __getitem__(self, i):
            return images[i][None].float() / 255, labels[i]

        def __len__(self):
            return len(labels)

        def get_labels(self):
            return labels

    return Images()


def row_evaluation(device, methods, samplers, datasets, episodes):
    """Embedding every test image once where the method allows it, against embedding each episode."""
    letters = glyphs()  # 25,280 images, as many as a test would have
    test = letters.split("test")
    ours = Conv4(64, generator=seeded()).to(device)
    meta_train(PrototypicalNetwork(ours), EpisodeSampler(letters.split("train"), WAY, SHOT, 5, 1, seeded(1), device), updates=3,
               progress=False)
    usual = usual_conv4(norm="running").to(device)
    usual.load_state_dict(dict(zip(usual.state_dict(), ours.state_dict().values())))
    usual.eval()
    theirs = methods.PrototypicalNetworks(usual)
    images = easyfsls(datasets, test.items)

    def evaluate_theirs():
        sampler = samplers.TaskSampler(images, WAY, SHOT, QUERY, episodes)
        right = 0
        with torch.no_grad():
            for support_x, support_y, query_x, query_y, _ in DataLoader(images, batch_sampler=sampler,
                                                                        collate_fn=sampler.episodic_collate_fn):
                theirs.process_support_set(support_x.to(device), support_y.to(device))
                right += (theirs(query_x.to(device)).argmax(1).cpu() == query_y).sum().item()
        return right / (episodes * WAY * QUERY)

    def evaluate_ours():
        vectors = embed_dataset(ours, test.to(device))
        return meta_test(PrototypicalNetwork(nn.Identity()), EpisodeSampler(vectors, WAY, SHOT, QUERY, 100, seeded()), episodes)

    with torch.no_grad():
        batch = EpisodeSampler(test, WAY, SHOT, QUERY, 1, seeded(3), device)()
        theirs.process_support_set(batch.support_x[0], batch.support_y[0])
        same = (theirs(batch.query_x[0]).argmax(1) == PrototypicalNetwork(ours).eval()(*batch[:3])[0].argmax(1)).float().mean()
    assert same > 0.98, same  # a tie of two distances may fall either way
    return "easyfsl", {"easyfsl": evaluate_theirs, "ours": evaluate_ours}, f"predictions agree on {100 * same:.0f} % of an episode"


def row_sampling(device, samplers, datasets):
    """200 episodes, drawn ten at a time by ours."""
    letters = glyphs()
    images = easyfsls(datasets, letters.items)
    sampler = samplers.TaskSampler(images, WAY, SHOT, QUERY, 200)
    loader = DataLoader(images, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
    ours = EpisodeSampler(letters, WAY, SHOT, QUERY, 10, seeded(), device)
    return "easyfsl", {"easyfsl": lambda: [None for _ in loader], "ours": lambda: [ours() and None for _ in range(20)]}, "same shapes"


# ------------------------------------------------------------------------------------------------ how it is measured


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(step, device):
    """MB that one run of ``step`` needs on top of what is there before; None where the system does not tell."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        ctypes.CDLL(None).malloc_trim(0)  # hands back what earlier runs had and freed, else it would not be counted
    except (AttributeError, OSError, TypeError):
        return None
    if not reset.exists():
        return None

    def kilobytes(field):
        return int(next(line for line in status.read_text().splitlines() if line.startswith(field)).split()[1])

    reset.write_text("5")  # VmHWM starts anew
    before = kilobytes("VmRSS")
    step()
    return (kilobytes("VmHWM") - before) * 1024 / 1e6


def measure(steps, rounds, device):
    """{name: (seconds a round, MB)}: in turn, after two runs of each that warm up."""
    for step in steps.values():
        step()
    memory = {name: peak_memory(step, device) for name, step in steps.items()}
    seconds = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            synchronise(device)
            start = time.perf_counter()
            step()
            synchronise(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: (seconds[name], memory[name]) for name in steps}


def flops_per_second(device):
    """The machine's peak in float32, as a product of two large matrices reaches it."""
    n = 8192 if device.type == "cuda" else 2048
    a = torch.randn(n, n, device=device, generator=None)
    times = []
    for _ in range(6):
        synchronise(device)
        start = time.perf_counter()
        a @ a
        synchronise(device)
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times)


def flops(step):
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


ROWS = {  # name: (what, the ratios to reach on two CPU cores, those on a GPU); "any" is the best of ours
    "maml-1": ("MAML, second order, Conv4-64, 16 tasks, 1 inner step", {"any": 1.3}, {"stacked": 10}),
    "maml-5": ("the same, 5 inner steps", {"any": 1.2}, {"stacked": 10}),
    "sinusoids": ("MAML on sinusoids, 1-40-40-1, 25 tasks, 10 shot, 5 steps", {"stacked": 12, "stacked, compiled": 40}, {}),
    "prototypical": ("prototypical network, 10 training episodes of 80 images", {"any": 1.4}, {}),
    "evaluation-600": ("600 evaluation episodes", {"any": 10}, {}),
    "evaluation-5000": ("5,000 evaluation episodes (one round)", {"any": 60}, {}),
    "sampling": ("200 episodes drawn", {"any": 20}, {}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", type=Path)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args()
    device, rounds = options.device, options.rounds
    l2l, _, methods, samplers, datasets = peers.load(options.peers)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        print(torch.cuda.get_device_name())
    peak = flops_per_second(device)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} threads, {device}; "
          f"{peak / 1e9:.0f} GFLOP/s in a matrix product")
    missed = []
    for row in options.rows:
        what, *wanted = ROWS[row]
        wanted = wanted[device.type == "cuda"]
        baseline, steps, said = {
            "maml-1": lambda: row_maml(device, l2l, 1),
            "maml-5": lambda: row_maml(device, l2l, 5),
            "sinusoids": lambda: row_sinusoids(device, l2l),
            "prototypical": lambda: row_prototypical(device, methods),
            "evaluation-600": lambda: row_evaluation(device, methods, samplers, datasets, 600),
            "evaluation-5000": lambda: row_evaluation(device, methods, samplers, datasets, 5000),
            "sampling": lambda: row_sampling(device, samplers, datasets),
        }[row]()
        print(f"\n{what}. {said}.")
        measured = measure(steps, 1 if row == "evaluation-5000" else rounds, device)
        base = statistics.median(measured[baseline][0])
        ratios = {}
        for name, (times, megabytes) in measured.items():
            median = statistics.median(times)
            line = f"  {name:36s} {median:9.4f} s [{min(times):.4f}, {max(times):.4f}]  x{base / median:6.2f}"
            if megabytes is not None:
                line += f"  {megabytes:6.0f} MB"
            if row.startswith("maml"):
                line += f"  {16 / median:7.1f} tasks/s  {100 * flops(steps[name]) / median / peak:3.0f} % of the peak" \
                    if "threads" not in name else f"  {16 / median:7.1f} tasks/s"
            print(line, flush=True)
            ratios[name] = base / median
        ratios["any"] = max(ratio for name, ratio in ratios.items() if name != baseline)
        missed += [f"{row}, {name}: x{ratios[name]:.2f}, wanted x{ratio}" for name, ratio in wanted.items() if ratios[name] < ratio]
    if missed:
        sys.exit("\nbelow what is wanted: " + "; ".join(missed))


if __name__ == "__main__":
    main()
