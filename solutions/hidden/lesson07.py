"""What lesson 07 is graded by: parts, points, and what the box holds meanwhile (metalearn_lite/grade/parts.py)."""
import math

import torch

from metalearn_lite.check import lesson07
from metalearn_lite.grade.parts import Part

# not hyper, maml: they run networks of tasks
LIBRARY = ("data", "episodes", "evaluate", "memory", "metric", "nets", "optim", "pairs", "train", "transfer")
GIVEN = {}


def draw(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def unflatten_cases(generator):
    cases = []
    for tasks, shapes in ((2, [[4, 2, 3, 3], [4], [2, 4], [2]]), (3, [[5]]), (1, [[1, 1], [1], [2, 3, 2]])):
        theta = draw(generator, tasks, sum(map(math.prod, shapes)))
        cases.append((theta.requires_grad_(), shapes))
    return cases


def task_net_cases(generator):
    cases = []
    for tasks, queries, sizes in ((3, 4, [2, 2]), (1, 5, [3, 4, 3, 4, 2]), (4, 1, [1, 1, 1])):
        weights = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
            weights += [draw(generator, tasks, fan_out, fan_in), draw(generator, tasks, fan_out)]
        cases.append((weights, draw(generator, tasks, queries, sizes[0])))
    return cases


def hyper_grads_cases(generator):
    """The parameters' names in another order; one point, one query, one task."""
    cases = []
    for B, S, Q, E, H in ((2, 3, 4, 5, 4), (1, 1, 1, 3, 2), (3, 6, 2, 2, 9)):
        params = {"g": draw(generator, 3 * H + 1), "G": draw(generator, 3 * H + 1, E), "c": draw(generator, E),
                  "V": draw(generator, E, 2)}
        cases.append((draw(generator, B, S, 1), draw(generator, B, S, 1), draw(generator, B, Q, 1),
                      draw(generator, B, Q, 1), params))
    return cases


PARTS = (
    Part(lesson07.unflatten, 2),
    Part(lesson07.unflatten, 1, "shapes of more dimensions, a single shape", unflatten_cases),
    Part(lesson07.task_net, 2),
    Part(lesson07.task_net, 1, "one layer, many layers, single units", task_net_cases),
    Part(lesson07.encode_set, 2),
    Part(lesson07.film, 2),
    Part(lesson07.feed, 3),
    Part(lesson07.hyper_grads, 2),
    Part(lesson07.hyper_grads, 1, "parameters in another order, one point, one query, one task", hyper_grads_cases),
)
