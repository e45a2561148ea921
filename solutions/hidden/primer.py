"""What the primer is graded by: parts, points, and what the box holds meanwhile (metalearn_lite/grade/parts.py)."""
import torch

from metalearn_lite.check import primer
from metalearn_lite.grade.parts import Part

LIBRARY = ("data", "episodes", "evaluate", "hyper", "maml", "memory", "metric", "nets", "optim", "pairs", "train",
           "transfer")
GIVEN = {}


def draw(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def number(generator, low, high):
    return int(torch.randint(low, high + 1, (), generator=generator))


def softmax_cases(generator):
    return [(draw(generator, 6),), (draw(generator, 2, 3, 4, 5),), (draw(generator, 4, 1),),
            (1e5 * draw(generator, 3, 2, 2),)]


def train_cases(generator):
    def one(labels, d, classes, steps, lr):
        return draw(generator, len(labels), d), torch.tensor(labels), classes, steps, lr

    return [one([2, 0, 0, 2, 1, 0], 3, 4, 5, 0.4), one([1], 4, 3, 2, 0.3), one([0, 1, 1, 0], 2, 2, 0, 0.5),
            one([4, 0, 3, 3], 3, 6, 20, 0.2)]


def conv_size_cases(generator):
    cases = [(5, 5, 3, 0), (28, 1, 1, 0), (28, 3, 3, 1), (9, 2, 5, 1), (224, 11, 4, 2), (1, 3, 1, 1)]
    for _ in range(12):
        kernel = number(generator, 1, 7)
        cases.append((number(generator, kernel, 60), kernel, number(generator, 1, 5), number(generator, 0, 3)))
    return cases


def batch_norm_cases(generator):
    constant = draw(generator, 3, 2, 4, 4)
    constant[:, 1] = 7.0
    return [(3 + draw(generator, 1, 3, 4, 5), 1e-5), (draw(generator, 4, 1, 3, 3) - 5, 1e-3),
            (draw(generator, 5, 3, 1, 1), 1e-5), (constant, 1e-5), (draw(generator, 3, 3, 3, 3), 0.1)]


def fit_line_cases(generator):
    def points(n, slope, intercept):
        x = torch.rand(n, generator=generator, dtype=torch.float64) * 2 - 1
        return x, slope * x + intercept + 0.1 * draw(generator, n)

    return [(*points(2, -3, 4), 10, 0.2), (*points(40, -5, 0), 400, 0.3), (*points(7, 1, -2), 0, 0.3)]


PARTS = (
    Part(primer.softmax, 2),
    Part(primer.softmax, 1, "a single row, more dimensions, a single class", softmax_cases),
    Part(primer.train, 3),
    Part(primer.train, 1, "classes without an image, a single image, no step at all", train_cases),
    Part(primer.conv_size, 2),
    Part(primer.conv_size, 1, "other sizes, kernels and strides", conv_size_cases),
    Part(primer.batch_norm, 3),
    Part(primer.batch_norm, 1, "a single image, a single channel, images of one pixel, a constant channel",
         batch_norm_cases),
    Part(primer.fit_line, 2),
    Part(primer.fit_line, 1, "two points, many steps, no step at all", fit_line_cases),
)
