"""What lesson 00 is graded by: parts, points, and what the box holds meanwhile (metalearn_lite/grade/parts.py)."""
from dataclasses import replace

import torch

from metalearn_lite.check import Property, lesson00
from metalearn_lite.grade.parts import Part

LIBRARY = ("nets", "optim")  # data, episodes, evaluate and metric hold answers, and the others stand on these
GIVEN = {}


def relabel_cases(generator):
    cases = [([9], [9, 9]), ([2, 0, 1], [0, 1, 2, 2])]
    for way, shots in ((3, 1), (4, 3), (20, 5)):
        support = torch.arange(way).repeat(shots)[torch.randperm(way * shots, generator=generator)]
        queries = torch.randint(way, (2 * way,), generator=generator)
        cases.append((support.tolist(), queries.tolist()))
    return cases


def is_episode(support, queries, ids, per_class, way, shot, query):
    """Whether these are pairs (class, image): the right numbers of each class, and no image twice."""
    pairs = [tuple(pair) for pair in [*support, *queries]]
    right = len(set(pairs)) == len(pairs) and all(c in ids and i in range(per_class) for c, i in pairs)
    for part, count in ((support, shot), (queries, query)):
        classes = [c for c, _ in part]
        right = right and len(set(classes)) == way and all(classes.count(c) == count for c in classes)
    return right and {c for c, _ in support} == {c for c, _ in queries}


def episodes_of_other_sizes(draw_episode, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = [([3, 90, 41, 7, 12], 5, 2, 3, 1), ([5, 4, 3], 4, 3, 1, 3), ([8], 2, 1, 1, 1),
             (list(range(60)), 20, 20, 5, 15)]
    for _ in range(4):
        shot, query, way, more = (1 + torch.randint(6, (4,), generator=generator)).tolist()
        ids = torch.randperm(1264, generator=generator)[:way + more].tolist()
        sizes.append((ids, shot + query + more, way, shot, query))
    return all(is_episode(*draw_episode(list(ids), per_class, way, shot, query, each), ids, per_class, way, shot, query)
               for ids, per_class, way, shot, query in sizes for each in range(seed, seed + 10))


def splits_of_other_sizes(split_groups, seed):
    names = [-1, 0, *(3 + torch.randperm(90, generator=torch.Generator().manual_seed(seed))[:4]).tolist()]
    groups = [names[i] for i in (2, 2, 0, 3, 3, 3, 1, 4, 4, 5, 0, 2)]
    for n_val, n_test in ((0, 2), (2, 0), (2, 4), (0, 0), (1, 1)):
        for each in range(seed, seed + 10):
            parts = [list(part) for part in split_groups(list(groups), n_val, n_test, each)]
            numbers = [len({groups[c] for c in part}) for part in parts]
            if sorted(sum(parts, [])) != list(range(len(groups))) or numbers != [6 - n_val - n_test, n_val, n_test]:
                return False
    return True


def nearest_cases(generator):
    cases = []
    for tasks, items, queries, size, scale in ((1, 1, 1, 1, 1), (2, 4, 1, 3, 1), (3, 3, 3, 3, 1), (2, 5, 6, 4, 1e4),
                                               (1, 40, 30, 8, 1)):
        y = torch.stack([torch.randperm(items, generator=generator) for _ in range(tasks)])
        x = scale * torch.randn(tasks, items + queries, size, generator=generator, dtype=torch.float64)
        cases.append((x[:, :items].clone(), y, x[:, items:].clone()))
    return cases


def tasks_of_other_sizes(draw_tasks, seed):
    more, few, some = (1 + torch.randint(40, (3,), generator=torch.Generator().manual_seed(seed))).tolist()
    for classes, way, tasks in ((8, 8, 3), (2, 1, 5), (500, 20, 10), (5, 3, 1), (few + more, few, some)):
        drawn = [list(task) for task in draw_tasks(classes, way, tasks, seed)]
        right = [len(set(task)) == len(task) == way and set(task) <= set(range(classes)) for task in drawn]
        if len(drawn) != tasks or not all(right):
            return False
    return len({c for task in draw_tasks(500, 20, 200, seed) for c in task}) > 400


PARTS = (
    Part(lesson00.relabel, 2),
    Part(lesson00.relabel, 1, "small class numbers, one class, many classes", relabel_cases),
    Part(lesson00.draw_episode, 3),
    Part(replace(lesson00.draw_episode, properties=[Property(
        episodes_of_other_sizes, "With other numbers of classes and images the episode is not what was asked for.")]),
         1, "other numbers of classes and images"),
    Part(lesson00.mean_ci95, 2),
    Part(lesson00.split_groups, 2),
    Part(replace(lesson00.split_groups, properties=[Property(
        splits_of_other_sizes, "With other groups, or none for one of the three lists, the split is not what was asked "
                               "for.")]), 1, "other groups, and none for one of the lists"),
    Part(lesson00.draw_tasks, 2),
    Part(replace(lesson00.draw_tasks, properties=[Property(
        tasks_of_other_sizes, "With other numbers of classes and tasks they are not what was asked for.")]),
         1, "other numbers of classes and tasks"),
    Part(lesson00.nearest, 3),
    Part(lesson00.nearest, 1, "one query, one item, equal sizes, large numbers", nearest_cases),
)
