"""Episodes a second: `EpisodeSampler` against a `torch.utils.data.DataLoader` with a few-shot batch sampler.

    python tests/benchmarks/sampling.py [--rounds 7]

Same images (25,280 glyphs in memory), same tasks (5-way 1-shot, 15 queries a class), same result: float images and
labels, support and query apart. The loader is what few-shot libraries do: a batch sampler lists the images of one
task, a map-style data set converts them one by one, a collate function stacks them. Both run in turn (A B A B), on
the threads that torch takes; the ratio is of medians.
"""

import argparse
import random
import statistics
import sys
import time

import torch
from torch.utils.data import DataLoader, Dataset

from metalearn_lite.data import glyphs
from metalearn_lite.episodes import EpisodeSampler

WAY, SHOT, QUERY, BATCH = 5, 1, 15, 10


class Images(Dataset):
    def __init__(self, items):  # (C, P, H, W) uint8
        self.images, self.per_class = items.flatten(0, 1), items.shape[1]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i][None].float() / 255, i // self.per_class


class Tasks:
    """Yields the image numbers of one task at a time."""

    def __init__(self, classes, per_class, episodes, seed):
        self.classes, self.per_class, self.episodes, self.rng = classes, per_class, episodes, random.Random(seed)

    def __len__(self):
        return self.episodes

    def __iter__(self):
        for _ in range(self.episodes):
            yield [
                c * self.per_class + i
                for c in self.rng.sample(range(self.classes), WAY)
                for i in self.rng.sample(range(self.per_class), SHOT + QUERY)
            ]


def collate(batch):
    x = torch.stack([image for image, _ in batch]).unflatten(0, (WAY, SHOT + QUERY))
    y = torch.arange(WAY)[:, None].expand(WAY, SHOT + QUERY)
    return x[:, :SHOT].flatten(0, 1), y[:, :SHOT].flatten(), x[:, SHOT:].flatten(0, 1), y[:, SHOT:].flatten()


def measure(rounds: int, episodes: int = 200) -> dict[str, list[float]]:
    """Seconds for ``episodes`` episodes, one value a round: {"loader": [...], "sampler": [...]}."""
    items = glyphs().items
    dataset = Images(items)
    sampler = EpisodeSampler(glyphs(), WAY, SHOT, QUERY, BATCH, torch.Generator().manual_seed(0))
    seconds = {"loader": [], "sampler": []}
    for turn in range(rounds + 1):
        start = time.perf_counter()
        drawn = 0
        for support_x, *_ in DataLoader(dataset, batch_sampler=Tasks(*items.shape[:2], episodes, turn), collate_fn=collate):
            drawn += 1
        middle = time.perf_counter()
        assert support_x.shape == (WAY * SHOT, 1, 28, 28) and drawn == episodes
        for _ in range(episodes // BATCH):
            episode = sampler()
        end = time.perf_counter()
        assert episode.support_x.shape == (BATCH, WAY * SHOT, 1, 28, 28)
        if turn:  # the first round warms up
            seconds["loader"].append(middle - start)
            seconds["sampler"].append(end - middle)
    return seconds


def ratio(seconds) -> float:
    return statistics.median(seconds["loader"]) / statistics.median(seconds["sampler"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    seconds = measure(parser.parse_args().rounds)
    for name, values in seconds.items():
        print(f"{name:8s} {200 / statistics.median(values):8.0f} episodes/s   200 episodes in "
              f"{statistics.median(values):.4f} s [{min(values):.4f}, {max(values):.4f}]   {torch.get_num_threads()} threads")
    print(f"sampler / loader: x{ratio(seconds):.1f} (wanted: at least x20)")
    sys.exit(ratio(seconds) < 20)


if __name__ == "__main__":
    main()
