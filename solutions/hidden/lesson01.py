"""What lesson 01 is graded by: parts, points, and what the box holds meanwhile (metalearn_lite/grade/parts.py)."""
from dataclasses import replace

import torch

from metalearn_lite.check import Property, lesson01
from metalearn_lite.grade.parts import Part

LIBRARY = ("data", "episodes", "evaluate", "hyper", "memory", "metric", "nets", "pairs", "train")  # optim has the steps
GIVEN = {}


def draw(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def numeric_grad_cases(generator):
    return [(draw(generator, 1, 1), draw(generator, 1), 0.5), (draw(generator, 3, 4), draw(generator, 4), 0.2),
            (draw(generator, 2, 3), torch.zeros(3, dtype=torch.float64), 0.1)]


def sgd_cases(generator):
    return [(draw(generator), draw(generator), 0.3), (draw(generator, 2, 3, 4), 1e4 * draw(generator, 2, 3, 4), 0.1),
            (draw(generator, 5), draw(generator, 5), 0.0)]


def momentum_cases(generator):
    def place(*shape):
        return [draw(generator, *shape) for _ in range(3)]

    w, v, g = place(4)
    still = [(w, v, 0 * g, 0.1, 0.9, nesterov) for nesterov in (False, True)]
    return [*still, (*place(), 0.2, 0.9, True), (*place(2, 3, 2), 0.01, 0.99, False), (w, v, 1e4 * g, 0.1, 0.5, True)]


def batches_of_other_sizes(minibatches, seed):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(1, 400, (2,), generator=generator).tolist() for _ in range(6)]
    for n, size in [(1, 1), (1, 5), (9, 4), (6, 1), (64, 64), (1001, 100), *drawn]:
        batches = [torch.as_tensor(batch).tolist() for batch in minibatches(n, size, seed)]
        wanted = [n % size] * (n % size > 0) + [size] * (n // size)
        if sorted(sum(batches, [])) != list(range(n)) or sorted(map(len, batches)) != wanted:
            return False
    return True


def epoch_cases(generator):
    def one(n, d, classes, sizes, lr):
        rows = torch.randperm(n, generator=generator)[:sum(sizes)].split(sizes)
        y = torch.randint(classes, (n,), generator=generator)
        return draw(generator, d, classes), draw(generator, n, d), y, lr, list(rows)

    return [one(12, 3, 4, [3, 3], 0.4), one(9, 2, 3, [1, 4, 2], 0.3), one(5, 4, 2, [5], 0.2)]


PARTS = (
    Part(lesson01.numeric_grad, 2),
    Part(lesson01.numeric_grad, 1, "a wide step: the measured slope, not the exact one", numeric_grad_cases),
    Part(lesson01.sgd, 1),
    Part(lesson01.sgd, 1, "one number, more dimensions, steep slopes", sgd_cases),
    Part(lesson01.loop, 1, "as in the lesson"),
    Part(lesson01.momentum, 2),
    Part(lesson01.momentum, 1, "no slope but a velocity, one number, steep slopes", momentum_cases),
    Part(lesson01.softmax_ce, 4),
    Part(lesson01.minibatches, 2),
    Part(replace(lesson01.minibatches, properties=[Property(
        batches_of_other_sizes, "With other numbers of examples, or other sizes, the batches are not what was asked "
                                "for.")]), 1, "a single example, one left over, all in one batch"),
    Part(lesson01.epoch, 2),
    Part(lesson01.epoch, 1, "batches that are no pass over all images, and a single batch", epoch_cases),
)
