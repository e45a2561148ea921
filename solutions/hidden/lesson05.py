"""What lesson 05 is graded by: parts, points, and what the box holds meanwhile (metalearn_lite/grade/parts.py)."""
import torch

from metalearn_lite.check import lesson05
from metalearn_lite.grade.parts import Part

# not maml, transfer: they hold inner loops
LIBRARY = ("data", "episodes", "evaluate", "memory", "metric", "nets", "optim", "pairs", "train")
GIVEN = {"check.lesson05": [lesson05.predict, lesson05.mse]}


def task(generator, inputs, outputs, shot, query):
    sizes = ((shot, inputs), (shot, outputs), (query, inputs), (query, outputs))
    return tuple(torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes)


def start(generator, *sizes):
    return lesson05.weights(sizes, generator)


def adapt_cases(generator):
    return [(start(generator, 1, 4, 1), *task(generator, 1, 1, 5, 1)[:2], 0.1, 0),
            (start(generator, 1, 3, 1), *task(generator, 1, 1, 1, 1)[:2], 0.2, 2),
            (start(generator, 2, 3), *task(generator, 2, 3, 4, 1)[:2], 0.1, 1),
            (start(generator, 1, 3, 3, 3, 1), *task(generator, 1, 1, 6, 1)[:2], 0.03, 12)]


def meta_grad_cases(generator):
    one = start(generator, 1, 4, 1), [task(generator, 1, 1, 5, 6)]
    many = start(generator, 2, 3, 1), [task(generator, 2, 1, 1 + i, 7 - i) for i in range(6)]
    return [(*one, 0.2, 0, 2), (*one, 0.2, 0, 1), (*one, 0.1, 4, 2), (*many, 0.1, 1, 2), (*many, 0.1, 2, 1)]


def update_cases(generator):
    """Weights that do not require a gradient: a list of tensors is all that is promised."""
    cases = []
    for sizes, count, lr, outer_lr in (((1, 3, 1), 1, 0.2, 0.3), ((2, 3, 3, 2), 5, 0.1, 0.5), ((1, 4, 1), 2, 0.0, 0.1)):
        w = [p.detach() for p in start(generator, *sizes)]
        cases.append((w, [task(generator, sizes[0], sizes[-1], 1 + i, 4) for i in range(count)], lr, outer_lr))
    return cases


PARTS = (
    Part(lesson05.adapt, 2),
    Part(lesson05.adapt, 1, "no step at all, a single example, many steps, another depth", adapt_cases),
    Part(lesson05.loop, 1, "as in the lesson"),
    Part(lesson05.meta_grad, 3),
    Part(lesson05.meta_grad, 1, "no step at all, one task, many tasks", meta_grad_cases),
    Part(lesson05.update, 2),
    Part(lesson05.update, 1, "weights that require no gradient, one task, many tasks", update_cases),
    Part(lesson05.reptile, 2),
    Part(lesson05.metasgd_grad, 2),
)
