"""What lesson 04 is graded by: parts, points, and what the box holds meanwhile (metalearn_lite/grade/parts.py)."""
import torch

from metalearn_lite.check import lesson04
from metalearn_lite.grade.parts import Part

LIBRARY = ("data", "episodes", "nets", "optim", "train")  # evaluate, maml, metric and transfer hold answers
GIVEN = {}


def draw(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def trainable_cases(generator):
    cases = []
    for blocks, head in ((1, ["head.weight"]), (3, ["head.weight", "head.bias"]), (11, ["head.weight", "head.bias"])):
        names = list(head)
        for block in range(blocks):
            names += [f"embed.blocks.{4 * block}.{part}" for part in ("weight", "bias")]
            names += [f"embed.blocks.{4 * block + 1}.{part}" for part in (
                "weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
        names = [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]
        cases += [(names, mode) for mode in ("head", "last block", "all")]
    return cases


def rates_cases(generator):
    def one(count):
        lr, decay = (torch.rand(2, generator=generator) * torch.tensor([3.0, 2.0]) + torch.tensor([0.5, 1.2])).tolist()
        return [f"layer {i}" for i in torch.randperm(count, generator=generator).tolist()], lr, decay

    return [one(1), one(2), one(6), one(15), (["a", "b", "c"], 5.0, 1e4)]


def early_stop_cases(generator):
    cases = [([5e6, 4e6, 4.5e6, 3e6, 3.5e6, 3.5e6], 2), ([0.3, 0.2, 0.1], 10), ([0.4, 0.4, 0.4, 0.4], 3)]
    for count, patience in ((6, 1), (30, 2), (40, 5), (60, 8), (5, 100)):
        losses = (torch.randint(-20, 20, (count,), generator=generator) - torch.arange(count) / 2) / 4
        cases.append((losses.tolist(), patience))
    return cases


def select_cases(generator):
    """Rivals that lie close together; few tasks, a single configuration."""
    cases = []
    for configs, tasks, more in ((6, 50, 30), (1, 3, 4), (3, 4, 2)):
        val = 0.9 + 0.002 * torch.rand(configs, tasks, generator=generator, dtype=torch.float64)
        val[int(torch.randint(configs, (), generator=generator))] += 0.003
        cases.append((val, torch.rand(configs, more, generator=generator, dtype=torch.float64)))
    return cases


def tune_cases(generator):
    def one(labels, way, d, steps):
        return draw(generator, len(labels), d), torch.tensor(labels), draw(generator, way, d), way, 0.3, steps

    return [one([1, 0, 1, 1], 3, 4, 3), one([2, 4, 0], 5, 3, 15), one([0, 1], 2, 3, 0), one([0], 2, 2, 2)]


PARTS = (
    Part(lesson04.centroid_logits, 3),
    Part(lesson04.trainable, 2),
    Part(lesson04.trainable, 1, "names in any order, one block, many blocks", trainable_cases),
    Part(lesson04.rates, 1),
    Part(lesson04.rates, 1, "one layer, many layers, other rates", rates_cases),
    Part(lesson04.early_stop, 2),
    Part(lesson04.early_stop, 1, "large losses, losses below zero, long runs", early_stop_cases),
    Part(lesson04.select, 2),
    Part(lesson04.select, 1, "rivals close together, few tasks, a single configuration", select_cases),
    Part(lesson04.as_images, 2),
    Part(lesson04.tune, 2),
    Part(lesson04.tune, 1, "classes without an example, an old head of the same size, no step at all", tune_cases),
)
