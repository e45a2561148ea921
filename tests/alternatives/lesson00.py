"""Right answers to the exercises of lesson 00, written in other ways than the library's."""
import math
import random
import statistics

import numpy as np
import torch


def relabel(support_classes, query_classes):
    label = {}
    for c in support_classes:
        label.setdefault(c, len(label))
    return [label[c] for c in support_classes], [label[c] for c in query_classes]


def relabel_2(support_classes, query_classes):
    order = sorted(set(support_classes), key=support_classes.index)
    return [order.index(c) for c in support_classes], tuple(map(order.index, query_classes))


def draw_episode(class_ids, images_per_class, way, shot, query, seed):
    source = random.Random(seed)
    support, queries = [], []
    for c in source.sample(class_ids, way):
        images = source.sample(range(images_per_class), shot + query)
        queries.extend((c, i) for i in images[:query])
        support.extend((c, i) for i in images[query:])
    return support, queries


def draw_episode_2(class_ids, images_per_class, way, shot, query, seed):
    source = np.random.default_rng(seed)
    classes = [int(c) for c in source.choice(class_ids, size=way, replace=False)]
    images = [source.permutation(images_per_class).tolist() for _ in classes]
    support = [[c, i] for k in range(shot) for c, order in zip(classes, images) for i in order[k:k + 1]]
    queries = [[c, i] for c, order in zip(classes, images) for i in order[shot:shot + query]]
    return support, queries


def draw_episode_3(class_ids, images_per_class, way, shot, query, seed):
    torch.manual_seed(seed)
    scores = torch.rand(len(class_ids), images_per_class)
    classes = scores.mean(1).topk(way).indices.tolist()
    best = {c: scores[c].topk(shot + query).indices.tolist() for c in classes}
    support = [(class_ids[c], i) for c in classes for i in best[c][:shot]]
    return support, [(class_ids[c], i) for c in classes for i in best[c][shot:]]


def mean_ci95(accuracies):
    count = len(accuracies)
    mean = sum(accuracies.tolist()) / count
    variance = sum((a - mean) ** 2 for a in accuracies.tolist()) / (count - 1)
    return mean, 1.96 * math.sqrt(variance / count)


def mean_ci95_2(accuracies):
    values = accuracies.tolist()
    return [statistics.mean(values), 1.96 * statistics.stdev(values) / len(values) ** 0.5]


def mean_ci95_3(accuracies):
    values = accuracies.numpy()
    return values.mean(), 1.96 * values.std(ddof=1) / np.sqrt(values.size)


def mean_ci95_4(accuracies):
    mean = accuracies.mean()
    return mean, 1.96 * ((accuracies - mean).square().mean() / (len(accuracies) - 1)).sqrt()


def split_groups(groups, n_val, n_test, seed):
    names = list(dict.fromkeys(groups))
    random.Random(seed).shuffle(names)
    part = {g: 0 for g in names} | {g: 1 for g in names[:n_val]} | {g: 2 for g in names[len(names) - n_test:]}
    lists = [], [], []
    for c, g in enumerate(groups):
        lists[part[g]].append(c)
    return lists


def split_groups_2(groups, n_val, n_test, seed):
    groups = torch.tensor(groups)
    names = groups.unique()
    names = names[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))]
    cuts = names.tensor_split([len(names) - n_val - n_test, len(names) - n_test])
    return tuple(torch.isin(groups, names_of).nonzero().flatten().tolist() for names_of in cuts)


def split_groups_3(groups, n_val, n_test, seed):
    names = sorted(set(groups))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    place = [order[names.index(g)] for g in groups]             # of each class: the shuffled place of its group
    val = [c for c, p in enumerate(place) if p < n_val]
    test = [c for c, p in enumerate(place) if n_val <= p < n_val + n_test]
    return [c for c, p in enumerate(place) if p >= n_val + n_test], val, test


def nearest(support_x, support_y, query_x):
    answers = torch.zeros(query_x.shape[:2], dtype=torch.int64)
    for b, task in enumerate(query_x):
        for q, x in enumerate(task):
            apart = [((x - s) ** 2).sum().item() for s in support_x[b]]
            answers[b, q] = support_y[b, apart.index(min(apart))]
    return answers


def nearest_2(support_x, support_y, query_x):
    positions = torch.cdist(query_x, support_x).argmin(dim=2)
    return torch.stack([y[p] for y, p in zip(support_y, positions)])


def nearest_3(support_x, support_y, query_x):
    logits = -(support_x.square().sum(-1)[:, None] - 2 * query_x @ support_x.transpose(1, 2))
    return support_y[torch.arange(len(support_y))[:, None], logits.topk(1).indices[..., 0]]


def nearest_4(support_x, support_y, query_x):
    apart = (support_x[:, :, None] - query_x[:, None]).norm(dim=-1)              # (B, S, Q)
    return torch.take_along_dim(support_y, apart.argmin(1), dim=1)


def nearest_5(support_x, support_y, query_x):
    apart = (query_x.mT[:, :, :, None] - support_x.mT[:, :, None]).square().sum(1)      # (B, D, Q, S) -> (B, Q, S)
    chosen = torch.nn.functional.one_hot(apart.argmin(2), support_x.shape[1])    # (B, Q, S)
    return (chosen * support_y[:, None]).sum(-1)


def draw_tasks(class_count, way, tasks, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(tasks, class_count, generator=generator).topk(way).indices.tolist()


def draw_tasks_2(class_count, way, tasks, seed):
    source = random.Random(seed)
    return [tuple(source.sample(range(class_count), way)) for _ in range(tasks)]


def draw_tasks_3(class_count, way, tasks, seed):
    drawn = []
    for t in range(tasks):
        generator = torch.Generator().manual_seed(1_000_000 * seed + t)
        drawn.append(torch.randperm(class_count, generator=generator)[:way].tolist())
    return drawn
