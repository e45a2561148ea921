"""What lesson 02 is graded by: parts, points, and what the box holds meanwhile (metalearn_lite/grade/parts.py)."""
import math
from dataclasses import replace

import torch

from metalearn_lite.check import Property, lesson02
from metalearn_lite.grade.parts import Part

# not optim, maml, transfer: answers, or they stand on one
LIBRARY = ("data", "episodes", "evaluate", "hyper", "memory", "metric", "nets", "pairs", "train")
GIVEN = {}


def draw(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def rmsprop_cases(generator):
    def place(*shape):
        w, g, s = (draw(generator, *shape) for _ in range(3))
        return w, g, s.abs()

    w, g, s = place(6)
    return [(w, 1e5 * g, s, 0.1, 0.9, 1e-8), (*place(), 0.3, 0.99, 1e-6), (*place(2, 3, 2), 0.01, 0.0, 1e-8)]


def adam_cases(generator):
    def place(*shape):
        w, g, m, v = (draw(generator, *shape) for _ in range(4))
        return w, g, m, v.abs()

    w, g, m, v = place(5)
    return [(w, g, m, v, 700, 0.1, 0.9, 0.999, 1e-8), (*place(), 1, 0.1, 0.9, 0.999, 1e-8),
            (w, 1e5 * g, m, v, 3, 0.01, 0.9, 0.99, 1e-8), (*place(2, 3, 2), 50, 0.2, 0.0, 0.9, 1e-4)]


def hvp_cases(generator):
    w = draw(generator, 4)
    return [(draw(generator, 1, 1), draw(generator, 1), draw(generator, 1)), (draw(generator, 3, 4), w, 0 * w),
            (draw(generator, 6, 4), w, 20 * draw(generator, 4))]


def hypergrad_cases(generator):
    return [(draw(generator, n, d), draw(generator, n), draw(generator, d), lr, steps)
            for n, d, lr, steps in ((5, 3, 0.0, 3), (1, 1, 0.2, 2), (4, 2, 0.1, 8))]


def meta_step_cases(generator):
    def task(n, d):
        return draw(generator, n, d), draw(generator, n), draw(generator, d)

    steep = 2 * torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 1 + draw(generator, 2).abs()
    return [(1.0, [steep], 2, 0.5), (0.1, [task(4, 2) for _ in range(7)], 2, 0.01), (0.05, [task(3, 3)], 1, 0.05)]


def chooses_well_elsewhere(meta_lr, seed):
    """Other numbers of knobs, tasks and steps; half again the loss of a grid's best will do, for any way to search."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (2 + torch.randint(4, (4,), generator=generator)).tolist()
    for d, n_train, n_test, steps in ((5, 1, 1, 7), (2, 4, 3, 2), drawn):
        tasks = []
        for _ in range(n_train + n_test):
            A = draw(generator, 10, d)
            tasks.append((A, A @ draw(generator, d) + 0.5 * draw(generator, 10), draw(generator, d)))
        train, test = tasks[:n_train], tasks[n_train:]
        lr, held_out = map(float, meta_lr(train, test, steps))
        best = min(lesson02._final(train, rate, steps) for rate in lesson02._GRID)
        if not (0 < lr < math.inf and lesson02._final(train, lr, steps) <= 1.5 * best):  # not: nan is above nothing
            return False
        if not abs(held_out - lesson02._final(test, lr, steps)) <= 1e-4 * (1 + abs(held_out)):
            return False
    return True


PARTS = (
    Part(lesson02.rmsprop, 2),
    Part(lesson02.rmsprop, 1, "huge gradients, one number, nothing kept of the old average", rmsprop_cases),
    Part(lesson02.adam, 2),
    Part(lesson02.adam, 1, "after many steps, one number, huge gradients", adam_cases),
    Part(lesson02.hvp, 2),
    Part(lesson02.hvp, 1, "one knob, and a direction that is zero", hvp_cases),
    Part(lesson02.lr_hypergrad, 3),
    Part(lesson02.lr_hypergrad, 1, "a rate of zero, one knob, more steps", hypergrad_cases),
    Part(lesson02.meta_lr, 2),
    Part(replace(lesson02.meta_lr, properties=[Property(
        chooses_well_elsewhere, "With other numbers of knobs, tasks and steps the rate is not near the best of a grid, "
                                "or the loss reported is not that of the test tasks.")]),
         1, "other numbers of knobs, tasks and steps"),
    Part(lesson02.meta_step, 2),
    Part(lesson02.meta_step, 1, "a rate that goes below zero, many tasks, one step", meta_step_cases),
)
