"""What lesson 03 is graded by: parts, points, and what the box holds meanwhile (metalearn_lite/grade/parts.py)."""
from dataclasses import replace

import torch

from metalearn_lite.check import Property, lesson03
from metalearn_lite.grade.parts import Part

LIBRARY = ("data", "episodes", "evaluate", "maml", "nets", "optim", "train")  # memory and metric have the attention
GIVEN = {}


def draw(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def attend_cases(generator):
    return [(draw(generator, 3, 4), draw(generator, 1, 4), draw(generator, 1, 2), 2.0),
            (draw(generator, 2, 3), draw(generator, 5, 3), draw(generator, 5, 1), 0.0),
            (draw(generator, 3, 3), draw(generator, 3, 3), draw(generator, 3, 3), 100.0),
            (1e3 * draw(generator, 2, 1), draw(generator, 4, 1), draw(generator, 4, 2), 1.5)]


def delay_cases(generator):
    return [(torch.randint(2, (3, 6), generator=generator), 5), (torch.randint(4, (2, 1), generator=generator), 4),
            (torch.zeros(1, 3, dtype=torch.int64), 1)]


def nth_sight_cases(generator):
    """Streams in which some classes come often and others once."""
    cases = []
    for labels, n_max in (([0, 0, 0, 0, 1], 4), ([3, 0, 3, 3, 1, 0, 3], 3), ([5, 5], 1)):
        y = torch.stack([torch.tensor(labels)[torch.randperm(len(labels), generator=generator)] for _ in range(4)])
        wrong = torch.rand(y.shape, generator=generator) < 0.4
        cases.append((torch.where(wrong, y + 1, y), y, n_max))
    return cases


def stream_cases(generator):
    return [(draw(generator, 2, 5, 3), torch.randint(2, (2, 5), generator=generator), 4, 6.0, 0.1),
            (draw(generator, 3, 1, 2), torch.randint(3, (3, 1), generator=generator), 3, 5.0, 0.2),
            (1e3 * draw(generator, 1, 20, 4), torch.randint(5, (1, 20), generator=generator), 5, 50.0, -1.0)]


def lru_write_cases(generator):
    return [(draw(generator, 3, 6), draw(generator, 3, 6), 3 * draw(generator, 3)),
            (draw(generator, 4, 4), 100 * draw(generator, 4, 4), 20 * draw(generator, 4)),
            (draw(generator, 2, 1), draw(generator, 2, 1), draw(generator, 2))]


def dealt_elsewhere(deal, seed):
    """Other letters, numbers of letters and of sights."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [(1 + torch.randint(12, (3,), generator=generator)).tolist() for _ in range(3)]
    for n, sights, streams in [(1, 3, 2), (2, 1, 20), (7, 2, 20), (5, 10, 5), *drawn]:
        rows = []
        for _ in range(streams):
            letters = torch.randperm(1264, generator=generator)[:n].repeat(sights)
            rows.append(letters[torch.randperm(len(letters), generator=generator)])
        classes = torch.stack(rows)
        labels = torch.as_tensor(deal(classes.clone(), n, seed))
        if labels.shape != classes.shape:
            return False
        for letters, given in zip(classes.tolist(), labels.tolist()):
            if len(set(zip(letters, given))) != n or set(given) != set(range(n)):
                return False
    return True


PARTS = (
    Part(lesson03.attend, 2),
    Part(lesson03.attend, 1, "a single key, no sharpness and much, equal sizes", attend_cases),
    Part(lesson03.hops, 1, "as in the lesson"),
    Part(lesson03.delay, 2),
    Part(lesson03.delay, 1, "labels that never come, a single step", delay_cases),
    Part(lesson03.nth_sight, 2),
    Part(lesson03.nth_sight, 1, "classes that come often and classes that come once", nth_sight_cases),
    Part(lesson03.stream, 3),
    Part(lesson03.stream, 1, "labels that never come, a single step, long keys", stream_cases),
    Part(lesson03.lru_write, 1),
    Part(lesson03.lru_write, 1, "read weights that are any numbers, a single slot", lru_write_cases),
    Part(lesson03.deal, 2),
    Part(replace(lesson03.deal, properties=[Property(
        dealt_elsewhere, "With other letters, or other numbers of them, some stream has no label of its own for each "
                         "letter.")]), 1, "other letters, and other numbers of them"),
)
