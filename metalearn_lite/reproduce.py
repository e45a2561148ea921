"""What the papers report on Omniglot, and what this library reaches: one command a row.

    python -m metalearn_lite.reproduce ROW [--data FOLDER] [--seeds 0 1 2] [--device cuda]
    torchrun --standalone --nproc-per-node 2 -m metalearn_lite.reproduce ROW ...        the same on two processes
    python -m metalearn_lite.reproduce table FILE                         the table of what was recorded

``--updates`` trains for less than a row's full length, for a machine without a GPU. ``--record FILE`` adds what was found
to a file, one JSON object a line: command, seeds, commit and device stand beside the figures. ``--data`` is the folder into
which torchvision fetches Omniglot unless it is there, or an .npz file as in `data.omniglot(packed=...)`. Rows that train on one task an update, as their
papers do (prototypical, matching, cross-domain), have nothing to share out: give them ``--tasks`` as many as processes.
"""

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed, nn

from metalearn_lite.data import digits, glyphs, omniglot
from metalearn_lite.episodes import EpisodeSampler, StreamSampler
from metalearn_lite.evaluate import Result, embed_dataset, meta_test
from metalearn_lite.maml import MAML
from metalearn_lite.memory import MANN, accuracy_by_sight
from metalearn_lite.metric import MatchingNetwork, PrototypicalNetwork, WeightedSiamese
from metalearn_lite.nets import Conv4
from metalearn_lite.optim import GradientDescent
from metalearn_lite.pairs import PairSampler, pair_cross_entropy
from metalearn_lite.train import cross_entropy, meta_train

SPLIT_SEED = 0  # which 1,200 characters are for training; the papers do not list theirs


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Row:
    paper: str
    published: dict[str, tuple[float, float | None]]  # what: (%, half-width of its interval or None)
    differs: str  # what is not as in the paper, and what is a quotation
    updates: int  # a full run
    learner: Callable  # generator -> the learner
    tasks: int  # of an update; streams of mann, pairs of siamese-1shot
    draw: Callable  # (training set, tasks, generator, device) -> draws batches
    test: Callable  # (learner, test set, device, episodes) -> {what: Result}
    objective: Callable = cross_entropy
    lr: float = 1e-3
    data: Callable | None = None  # (Omniglot) -> (training set, test set); default: `random_characters`


def random_characters(letters):
    """The split of Santoro et al. 2016, which Vinyals (2016, section 4.1.1), Snell and Finn et al. follow: 1,200 random
    characters for training, regardless of alphabet, the other 423 for testing; each turned by 90, 180, 270 degrees is a
    further class.
    """
    order = torch.randperm(len(letters), generator=seeded(SPLIT_SEED))
    return letters.subset(order[:1200]).with_rotations(), letters.subset(order[1200:]).with_rotations()


def from_glyphs(letters):
    """Trained on the embedded glyphs, tested on Omniglot's evaluation alphabets."""
    return glyphs().split("train"), letters.split("test")


def on_vectors(rule, *kinds):
    """Test on embeddings: ``rule(learner)`` answers on vectors, at each kind of task, a pair (way, shot)."""
    def test(learner, dataset, device, episodes):
        vectors = embed_dataset(learner.embed, dataset.to(device))  # each image once, for all kinds
        return {f"{way}-way {shot}-shot": meta_test(rule(learner), EpisodeSampler(vectors, way, shot, 15, 50, seeded(10**6)),
                                                    episodes) for way, shot in kinds}
    return test


def prototypical_rule(learner):
    return PrototypicalNetwork(nn.Identity())


def matching_rule(learner):
    return MatchingNetwork(nn.Identity())


def siamese_rule(learner):
    rule = WeightedSiamese(nn.Identity(), 64, seeded(0))
    rule.head = learner.head
    return rule


def maml_test(learner, dataset, device, episodes):
    """Three inner steps, although one was trained, and one query a class: as in the authors' code."""
    draw = EpisodeSampler(dataset, 5, 1, 1, 20, seeded(10**6), device)

    class ThreeSteps(nn.Module):
        def forward(self, *task):
            return learner(*task, steps=3)

    return {"5-way 1-shot": meta_test(ThreeSteps(), draw, episodes)}


@torch.no_grad()
def mann_test(learner, dataset, device, episodes):
    draw, per_stream = StreamSampler(dataset, 5, 10, 20, seeded(10**6), device), []
    for _ in range(math.ceil(episodes / 20)):
        stream = draw()
        per_stream.append(accuracy_by_sight(learner(*stream[:3]), stream.query_y).cpu())
    names = ("1st sight", "2nd sight", "5th sight", "10th sight")
    return {name: Result(column) for name, column in zip(names, torch.cat(per_stream)[:episodes].mT)}


def cross_domain_test(learner, dataset, device, episodes):
    places = {"glyphs": glyphs().split("test"), "Omniglot evaluation": dataset, "MNIST digits": digits()}
    test = on_vectors(prototypical_rule, (5, 1))
    return {f"{place}, {what}": result for place, images in places.items()
            for what, result in test(learner, images, device, episodes).items()}


ROWS = {
    "prototypical-1shot": Row(
        "Snell, Swersky, Zemel 2017, table 1", {"5-way 1-shot": (98.8, None), "20-way 1-shot": (96.0, None)},
        "the step size falls linearly in the second half, theirs halves every 2,000 episodes; they stop by validation loss",
        30_000, lambda g: PrototypicalNetwork(Conv4(64, generator=g)),
        1, lambda data, tasks, g, device: EpisodeSampler(data, 60, 1, 5, tasks, g, device),
        on_vectors(prototypical_rule, (5, 1), (20, 1))),
    "prototypical-5shot": Row(
        "Snell, Swersky, Zemel 2017, table 1", {"5-way 5-shot": (99.7, None), "20-way 5-shot": (98.9, None)},
        "the step size falls linearly in the second half, theirs halves every 2,000 episodes; they stop by validation loss",
        30_000, lambda g: PrototypicalNetwork(Conv4(64, generator=g)),
        1, lambda data, tasks, g, device: EpisodeSampler(data, 60, 5, 5, tasks, g, device),
        on_vectors(prototypical_rule, (5, 5), (20, 5))),
    "matching-1shot": Row(
        "Vinyals et al. 2016, table 1, cosine, no fine-tuning, no full context",
        {"5-way 1-shot": (98.1, None), "20-way 1-shot": (93.8, None)},
        "the paper does not say how its training episodes were made; ours have 20 ways",
        30_000, lambda g: MatchingNetwork(Conv4(64, generator=g)),
        1, lambda data, tasks, g, device: EpisodeSampler(data, 20, 1, 5, tasks, g, device),
        on_vectors(matching_rule, (5, 1), (20, 1))),
    "siamese-1shot": Row(
        "Vinyals et al. 2016, table 1, Siamese network, cosine, no fine-tuning (97.3 with fine-tuning on each task: the "
        "figure that later tables quote under the name of Koch et al. 2015)",
        {"5-way 1-shot": (96.7, None)},
        "the answer is by Koch et al.'s learned weights, theirs by cosine; Koch et al.'s own paper, with 105x105 pixels, a "
        "larger network and affine distortions, reports 92.0 % for 20 ways within an alphabet",
        30_000, lambda g: WeightedSiamese(Conv4(64, generator=g), 64, g),
        128, lambda data, tasks, g, device: PairSampler(data, tasks, g, device), on_vectors(siamese_rule, (5, 1)),
        pair_cross_entropy),
    "maml-1shot": Row(
        "Finn, Abbeel, Levine 2017, table 1", {"5-way 1-shot": (98.7, 0.4)},
        "max-pooling, theirs has strided convolutions; statistics of support and of queries apart, as theirs",
        60_000, lambda g: MAML(Conv4(64, 5, norm="task", generator=g), 1, GradientDescent(0.4)),
        32, lambda data, tasks, g, device: EpisodeSampler(data, 5, 1, 1, tasks, g, device), maml_test),
    "mann": Row(
        "Santoro et al. 2016, table 1, 5 classes, one-hot labels",
        {"1st sight": (36.4, None), "2nd sight": (82.8, None), "5th sight": (94.9, None), "10th sight": (98.1, None)},
        "16 streams an update, so that a full run sees 16 times as many as theirs; Conv4 looks at 28x28 pixels, theirs has "
        "20x20 raw pixels; their 36.4 % at first sight come from excluding labels already in use",
        100_000, lambda g: MANN(Conv4(64, generator=g), 64, 5, stream=True, generator=g),
        16, lambda data, tasks, g, device: StreamSampler(data, 5, 10, tasks, g, device), mann_test),
    "cross-domain": Row(
        "no paper: trained on the glyphs that the course embeds, tested elsewhere", {},
        "20-way 1-shot training episodes", 4_000, lambda g: PrototypicalNetwork(Conv4(64, generator=g)),
        1, lambda data, tasks, g, device: EpisodeSampler(data, 20, 1, 5, tasks, g, device),
        cross_domain_test, data=from_glyphs),
}


def run(name, letters, seeds, updates=None, episodes=1000, device=torch.device("cpu"), checkpoint=None, threads=1,
        tasks=None):
    """Train and test a row with each seed; returns what is to be recorded. Each process of a group calls it."""
    row = ROWS[name]
    training, test = (row.data or random_characters)(letters)
    updates, figures = updates or row.updates, {}
    start, cpu = time.perf_counter(), time.process_time()
    for seed in seeds:
        learner = row.learner(seeded(seed)).to(device)
        torch.manual_seed(seed)
        file = None if checkpoint is None else Path(f"{checkpoint}.{name}.{seed}.pt")
        history = meta_train(learner, row.draw(training, tasks or row.tasks, seeded(1000 + seed), device), row.objective, updates=updates, lr=row.lr,
                             decay=True, checkpoint=file, checkpoint_every=500, threads=threads)
        for what, result in row.test(learner, test, device, episodes).items():
            figures.setdefault(what, []).append([100 * result.mean, 100 * result.half_width])
    return dict(row=name, figures=figures, seeds=list(seeds), updates=history.updates, full=row.updates,
                tasks=tasks or row.tasks, episodes=episodes,
                minutes=(time.perf_counter() - start) / 60,
                cpu_minutes=(time.process_time() - cpu) / 60)


def where(device):
    """What the figures depend on besides the command."""
    root = Path(__file__).resolve().parent.parent
    commit = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"], capture_output=True,
                            text=True).stdout.strip() or "unknown"
    processes = distributed.get_world_size() if distributed.is_initialized() else 1
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return dict(commit=commit, device=kind, processes=processes, torch=torch.__version__, python=platform.python_version(),
                date=datetime.date.today().isoformat())


def table(records) -> str:
    """Recorded runs as a Markdown table, one line a figure."""
    head = ["row", "what", "published", "ours: mean over seeds (each seed ± 95 % interval)", "verdict", "updates", "test tasks",
            "seeds", "minutes (of CPU)", "device", "commit"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for r in records:
        row = ROWS[r["row"]]
        for what, runs in r["figures"].items():
            mean = sum(m for m, _ in runs) / len(runs)
            ours = f"{mean:.1f} ({', '.join(f'{m:.1f} ± {h:.1f}' for m, h in runs)})"
            paper, half = row.published.get(what, (None, None))
            said, verdict = "none", "no figure to compare with"
            if paper is not None:
                said = f"{paper}" if half is None else f"{paper} ± {half}"
                within = abs(mean - paper) <= (half or 0) + max(h for _, h in runs)
                verdict = "the intervals overlap" if within else f"{mean - paper:+.1f} points"
                if half is not None and abs(mean - paper) <= half:
                    verdict = "inside the paper's interval"
                if not within and r["updates"] < row.updates:
                    verdict += f", after {100 * r['updates'] / row.updates:.0f} % of a full run"
            lines.append(f"| {r['row']} | {what} | {said} | {ours} | {verdict} | {r['updates']:,} of {row.updates:,} | "
                         f"{r['episodes']:,} | "
                         f"{' '.join(map(str, r['seeds']))} | {r['minutes']:.1f} ({r['cpu_minutes']:.1f}) | {r['device']} x {r['processes']} | {r['commit']} |")
    notes = [f"- **{name}**: {ROWS[name].paper}. Differs: {ROWS[name].differs}." for name in dict.fromkeys(r["row"] for r in records)]
    commands = [f"- `{r['command']}` ({r['date']}, torch {r['torch']}, Python {r['python']})" for r in records]
    return "\n".join([*lines, "", *notes, "", "Commands:", "", *commands, ""])


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m metalearn_lite.reproduce", description=__doc__.splitlines()[0])
    parser.add_argument("row", choices=[*ROWS, "table"])
    parser.add_argument("file", nargs="?", type=Path, help="with `table`: the recorded runs")
    parser.add_argument("--data", type=Path, default=Path("omniglot"),
                        help="folder for torchvision's Omniglot, fetched unless it is there; or a packed .npz file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int)
    parser.add_argument("--tasks", type=int, help="of an update; the row's own unless told")
    parser.add_argument("--episodes", type=int, default=1000, help="of each test; 1000 unless told")
    parser.add_argument("--threads", type=int, default=1, help="as in meta_train")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    parser.add_argument("--checkpoint", help="beginning of the names of checkpoint files")
    parser.add_argument("--record", type=Path)
    options = parser.parse_args(arguments)
    if options.row == "table":
        if options.file is None:
            parser.error("table: expected the FILE with the recorded runs")
        print(table([json.loads(line) for line in options.file.read_text().splitlines()]))
        return
    device, rank = options.device, 0
    if "WORLD_SIZE" in os.environ:  # started by torchrun
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        rank = distributed.get_rank()
    letters = omniglot(packed=options.data) if options.data.suffix == ".npz" else omniglot(options.data, download=True)
    found = run(options.row, letters, options.seeds, options.updates, options.episodes, device, options.checkpoint, options.threads,
                options.tasks)
    given = sys.argv[1:] if arguments is None else arguments
    data = str(options.data)  # the table is to be read elsewhere: it names no folder of this machine
    found.update(where(device), command=" ".join(["python -m metalearn_lite.reproduce", *("DATA" if a == data else a for a in given)]))
    if rank == 0:
        print(table([found]))
        if options.record is not None:
            with options.record.open("a") as file:
                file.write(json.dumps(found) + "\n")
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
