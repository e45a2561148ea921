"""The one container of the package: items sorted by class, classes sorted into groups, groups sorted into splits."""

import torch


class FewShotDataset:
    """C classes with P items each, in one tensor, so that a batch of few-shot tasks is a single gather.

    A class belongs to one group (a letter to its alphabet) and a group to at most one split. Splitting by group keeps
    whole alphabets out of training, as Lake, Salakhutdinov and Tenenbaum (2015) did with Omniglot.

    Args:
        items: uint8 images (C, P, H, W), ink = 255, or in colour (C, P, 3, H, W); or finite floating-point vectors
            (C, P, D).
        groups: group number of each class, integers (C,), 0 <= group < number of group names. Default: one group.
        class_names: C different strings. Default: "class 0", "class 1", ...
        group_names: one different string a group. Default: "group 0", "group 1", ...
        splits: group names of each split, for example {"train": ["Latin", "Hebrew"], "test": ["Greek"]}. No group may
            stand in two splits. Default: no splits.

    The fields have the names of the arguments. `items` stay on the device where they were put; `groups`, of dtype
    int64, stay on the CPU.

    Raises:
        TypeError: `items` or `groups` is no tensor.
        ValueError: wrong dtype or shape, a value that is not finite, a length that does not fit, a repeated name, or
            a group in two splits.
    """

    def __init__(self, items, groups=None, class_names=None, group_names=None, splits=None):
        _check_items(items)
        count = len(items)
        if groups is None:
            groups = torch.zeros(count, dtype=torch.int64)
        groups = _checked_groups(groups, count)
        if class_names is None:
            class_names = [f"class {i}" for i in range(count)]
        if group_names is None:
            group_names = [f"group {i}" for i in range(int(groups.max()) + 1)]
        class_names, group_names = list(class_names), list(group_names)
        _check_names("class_names", class_names)
        _check_names("group_names", group_names)
        if len(class_names) != count:
            raise ValueError(f"class_names has {len(class_names)} names; items has {count} classes")
        if int(groups.max()) >= len(group_names):
            raise ValueError(f"groups contains {int(groups.max())}; group_names has {len(group_names)} names, "
                             f"so expected at most {len(group_names) - 1}")
        self.items = items
        self.groups = groups
        self.class_names = class_names
        self.group_names = group_names
        self.splits = _checked_splits(splits or {}, group_names)

    def __len__(self):
        """The number of classes C."""
        return len(self.items)

    def __repr__(self):
        what = "x".join(str(n) for n in self.items.shape[2:])
        kind = "vectors" if self.items.ndim == 3 else "images"
        groups = "1 group" if len(self.group_names) == 1 else f"{len(self.group_names)} groups"
        return f"FewShotDataset: {len(self)} classes x {self.items.shape[1]} {kind} of {what}, {groups}"

    @property
    def device(self):
        """The device that holds `items`."""
        return self.items.device

    def to(self, device):
        """The same data set with its items on `device` (no copy where they are there already)."""
        return self.with_items(self.items.to(device))

    def with_items(self, items):
        """The same classes, groups and splits with other items, any that the data set may have: embeddings, say."""
        if len(items) != len(self):
            raise ValueError(f"items has {len(items)} classes; expected {len(self)}, as this data set has")
        return FewShotDataset(items, self.groups, self.class_names, self.group_names, self.splits)

    def subset(self, class_indices):
        """The classes of the given numbers, in that order, with their groups (renumbered) and what is left of the
        splits.

        Args:
            class_indices: integers (K,), K >= 1, without repetition, each in 0..C-1; a tensor or a list.
        """
        index = torch.as_tensor(class_indices, device="cpu")
        if index.ndim != 1 or len(index) == 0 or index.is_floating_point() or index.dtype == torch.bool:
            raise ValueError(f"class_indices must be integers of shape (K,) with K >= 1; "
                             f"got {index.dtype} of shape {tuple(index.shape)}")
        index = index.long()
        if int(index.min()) < 0 or int(index.max()) >= len(self):
            wrong = int(index.min()) if int(index.min()) < 0 else int(index.max())
            raise ValueError(f"class_indices contains {wrong}; expected 0 <= index <= {len(self) - 1}")
        if len(index.unique()) < len(index):
            raise ValueError(f"class_indices contains a class twice; expected {len(index)} different ones")
        kept, groups = torch.unique(self.groups[index], return_inverse=True)
        group_names = [self.group_names[g] for g in kept.tolist()]
        left = {name: [g for g in members if g in group_names] for name, members in self.splits.items()}
        return FewShotDataset(
            self.items[index.to(self.device)], groups, [self.class_names[i] for i in index.tolist()], group_names,
            {name: members for name, members in left.items() if members})

    def split(self, name):
        """The classes of one split, "train", "val" or "test"; no class and no group is in two of them.

        Raises:
            ValueError: the data set has no split of that name.
        """
        if name not in self.splits:
            known = ", ".join(repr(s) for s in self.splits) or "none: this data set has no splits"
            raise ValueError(f"name is {name!r}; the known splits are {known}")
        numbers = torch.tensor([self.group_names.index(g) for g in self.splits[name]])
        members = torch.isin(self.groups, numbers)
        for other, groups in self.splits.items():
            assert other == name or not set(groups) & set(self.splits[name]), "a group stands in two splits"
        return self.subset(members.nonzero()[:, 0])

    def with_random_splits(self, val_groups, test_groups, generator):
        """The same data with new splits: so many random groups for "val" and for "test", the rest for "train".

        Args:
            val_groups, test_groups: numbers of groups, each >= 1, that leave at least one group for training.
            generator: a torch.Generator on the CPU.
        """
        total = len(self.group_names)
        for argument, value in (("val_groups", val_groups), ("test_groups", test_groups)):
            if value < 1:
                raise ValueError(f"{argument} is {value}; expected at least 1")
        if val_groups + test_groups >= total:
            raise ValueError(f"val_groups + test_groups is {val_groups + test_groups}; expected at most {total - 1}, "
                             f"because the data set has {total} groups and one must be left for training")
        order = [self.group_names[g] for g in torch.randperm(total, generator=generator).tolist()]
        splits = {"train": order[val_groups + test_groups:], "val": order[:val_groups],
                  "test": order[val_groups:val_groups + test_groups]}
        return FewShotDataset(self.items, self.groups, self.class_names, self.group_names, splits)

    def with_rotations(self):
        """Four times the classes: each, then each turned by 90, 180 and 270 degrees counter-clockwise as a class of its
        own, which Santoro et al. (2016) and Vinyals et al. (2016) did with Omniglot. A turned class stays in its group.

        Raises:
            ValueError: the items are no square images.
        """
        if self.items.ndim < 4 or self.items.shape[-1] != self.items.shape[-2]:
            raise ValueError(f"items are of shape {tuple(self.items.shape[2:])}; expected square images")
        turned = [self.items.rot90(quarter, (-2, -1)) for quarter in range(4)]
        names = [name + turn for turn in ("", ", turned 90°", ", turned 180°", ", turned 270°") for name in self.class_names]
        return FewShotDataset(torch.cat(turned), self.groups.repeat(4), names, self.group_names, self.splits)


def pack(items, labels):
    """Sorts labelled items into the shape that FewShotDataset wants.

    Args:
        items: tensor (n, ...), one row an item.
        labels: integers (n,), the class of each item: any numbers, the classes are sorted by them.

    Returns:
        tensor (C, P, ...): the first P items of each class in the order given, P being the size of the smallest class.
    """
    labels = torch.as_tensor(labels)
    if labels.ndim != 1 or len(labels) != len(items) or len(labels) == 0 or labels.is_floating_point():
        raise ValueError(f"labels must be integers of shape ({len(items)},), one for each of the items, at least one; "
                         f"got {labels.dtype} of shape {tuple(labels.shape)}")
    order = torch.argsort(labels, stable=True)
    counts = torch.unique(labels, return_counts=True)[1]
    starts = counts.cumsum(0) - counts
    per_class = int(counts.min())
    return items[order[starts[:, None] + torch.arange(per_class, device=labels.device)].to(items.device)]


def _check_items(items):
    if not isinstance(items, torch.Tensor):
        raise TypeError(f"items is {type(items).__name__}; expected a torch.Tensor")
    if items.dtype == torch.uint8:
        if items.ndim != 4 and (items.ndim != 5 or items.shape[2] != 3):
            raise ValueError(f"items has shape {tuple(items.shape)}; expected (C, P, H, W) for uint8 images, or "
                             f"(C, P, 3, H, W) in colour")
    elif items.is_floating_point():
        if items.ndim != 3:
            raise ValueError(f"items has shape {tuple(items.shape)}; expected (C, P, D) for float vectors")
    else:
        raise ValueError(f"items has dtype {items.dtype}; expected torch.uint8 images or floating-point vectors")
    if 0 in items.shape:
        raise ValueError(f"items has shape {tuple(items.shape)}; expected at least 1 in each dimension")
    if items.is_floating_point() and not bool(torch.isfinite(items).all()):
        where = (~torch.isfinite(items)).nonzero()[0].tolist()
        raise ValueError(f"items contains {items[tuple(where)].item()} at {where}; expected finite numbers only")


def _checked_groups(groups, count):
    if not isinstance(groups, torch.Tensor):
        raise TypeError(f"groups is {type(groups).__name__}; expected a torch.Tensor")
    if groups.is_floating_point() or groups.dtype == torch.bool:
        raise ValueError(f"groups has dtype {groups.dtype}; expected integers")
    if groups.shape != (count,):
        raise ValueError(f"groups has shape {tuple(groups.shape)}; expected ({count},), one group for each class")
    if int(groups.min()) < 0:
        raise ValueError(f"groups contains {int(groups.min())}; expected at least 0")
    return groups.to("cpu", torch.int64)


def _check_names(argument, names):
    seen = set()
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"{argument} contains {name!r}; expected strings")
        if name in seen:
            raise ValueError(f"{argument} contains {name!r} twice; expected different names")
        seen.add(name)


def _checked_splits(splits, group_names):
    owner = {}
    for name, members in splits.items():
        if not members:
            raise ValueError(f"splits[{name!r}] is empty; expected at least 1 group")
        for group in members:
            if group not in group_names:
                raise ValueError(f"splits[{name!r}] contains {group!r}; expected a name from group_names")
            if group in owner:
                raise ValueError(f"splits contains {group!r} in {owner[group]!r} and in {name!r}; "
                                 f"expected each group once")
            owner[group] = name
    return {name: list(members) for name, members in splits.items()}
