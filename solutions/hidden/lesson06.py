"""What lesson 06 is graded by: parts, points, and what the box holds meanwhile (metalearn_lite/grade/parts.py)."""
import torch

from metalearn_lite.check import lesson06
from metalearn_lite.grade.parts import Part

LIBRARY = ("data", "episodes", "maml", "nets", "optim", "train")  # evaluate, metric and pairs hold answers


def distance(a, b):
    """As in metalearn_lite.pairs, which holds answers too, and stays out of the box."""
    return (a - b).square().sum(-1).clamp_min(1e-12).sqrt()


GIVEN = {"pairs": [distance]}


def draw(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def contrastive_cases(generator):
    """Pairs that coincide, pairs of one kind alone, one pair."""
    cases = []
    for n, same, margin in ((6, [1, 0] * 3, 1.0), (4, [1] * 4, 1.5), (5, [0] * 5, 3.0), (1, [0], 2.5)):
        z1 = draw(generator, n, 3)
        z2 = z1 + draw(generator, n, 3)
        if n == 6:
            z2[0] = z1[0]
        cases.append((z1.requires_grad_(), z2.requires_grad_(), torch.tensor(same, dtype=torch.float64), margin))
    return cases


def auc_cases(generator):
    one_each = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    tied = torch.ones(6, dtype=torch.float64), torch.tensor([1, 0, 0, 1, 0, 0], dtype=torch.float64)
    cases = [one_each, tied]
    for n, scale in ((40, 500.0), (60, 1e-3), (150, 20.0)):
        same = (torch.rand(n, generator=generator) < 0.2).to(torch.float64)
        same[:2] = torch.tensor([1.0, 0.0])
        cases.append((scale * (torch.rand(n, generator=generator, dtype=torch.float64) + 0.3 * (1 - same)), same))
    return cases


def batch_hard_cases(generator):
    """Letters with any numbers, distances that are large."""
    cases = []
    for letters, features, scale in (([7, 7, 300, 300, 300], 2, 1.0), ([40, 3, 3, 40, 19, 19], 4, 1e5),
                                     ([2] * 5 + [8] * 3, 1, 10.0)):
        y = torch.tensor(letters)[torch.randperm(len(letters), generator=generator)]
        cases.append(((scale * draw(generator, len(y), features)).requires_grad_(), y))
    return cases


def partners_cases(generator):
    """Two letters of two drawings: one answer. The number of pairs is odd."""
    return [(torch.randint(2, (n, 2), generator=generator), 2, 2, n) for n in (1, 3, 17, 40)]


PARTS = (
    Part(lesson06.contrastive, 2),
    Part(lesson06.contrastive, 1, "pairs that coincide, pairs of one kind alone, a single pair", contrastive_cases),
    Part(lesson06.auc, 2),
    Part(lesson06.auc, 1, "distances of another size, all of them equal, one pair of each kind", auc_cases),
    Part(lesson06.batch_hard, 3),
    Part(lesson06.batch_hard, 1, "letters with any numbers, large distances", batch_hard_cases),
    Part(lesson06.prototypes, 2),
    Part(lesson06.proto_linear, 2),
    Part(lesson06.partners, 2),
    Part(lesson06.partners, 1, "an odd number of pairs", partners_cases),
)
