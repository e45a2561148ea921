"""Tasks: what an episode is, and how a whole batch of them is drawn at once."""

import hashlib
import math
from typing import NamedTuple

import torch
from torch import Tensor


class Episode(NamedTuple):
    """A batch of B tasks. Each task has S labelled support items and Q query items.

    Classification: ``x`` is float (B, S, 1, H, W), in colour (B, S, 3, H, W), or vectors (B, S, D); ``y`` is int64
    (B, S) with labels 0..way-1.
    Regression: ``x`` and ``y`` are float (B, S, 1).
    """

    support_x: Tensor  # (B, S, ...)
    support_y: Tensor  # (B, S) or (B, S, 1)
    query_x: Tensor  # (B, Q, ...)
    query_y: Tensor  # (B, Q) or (B, Q, 1)


def count_ways(support_y: Tensor) -> int:
    """The number of classes N of a batch of tasks, read from its support labels (B, S).

    Raises TypeError if the labels are not integers and ValueError if any task lacks one of the labels 0..N-1.
    """
    if support_y.dtype != torch.int64:
        raise TypeError(f"support_y: dtype is {support_y.dtype}, expected torch.int64 labels")
    if support_y.ndim != 2 or support_y.numel() == 0:
        raise ValueError(f"support_y: shape is {tuple(support_y.shape)}, expected (tasks, support items), neither empty")
    low, way = int(support_y.min()), int(support_y.max()) + 1
    if low < 0:
        raise ValueError(f"support_y: holds the label {low}, expected labels from 0 up")
    if way > support_y.shape[1]:  # also keeps a huge stray label from making a huge table below
        raise ValueError(f"support_y: largest label is {way - 1}, but a task has only {support_y.shape[1]} items")
    present = torch.zeros(len(support_y), way, dtype=torch.bool, device=support_y.device).scatter_(1, support_y, True)
    if not present.all():
        task, label = (~present).nonzero()[0].tolist()
        raise ValueError(f"support_y: task {task} has no item with label {label}, expected each of 0..{way - 1}")
    return way


def check_task(support_x: Tensor, support_y: Tensor, query_x: Tensor) -> int:
    """The number of classes N of a batch of classification tasks: (B, S, ...), (B, S), (B, Q, ...).

    Raises what `count_ways` raises, and ValueError if the three do not belong together.
    """
    way = count_ways(support_y)
    if support_x.shape[:2] != support_y.shape:
        raise ValueError(f"support_x: shape is {tuple(support_x.shape)}, expected to begin with that of support_y, "
                         f"{tuple(support_y.shape)}")
    check_query(support_x, query_x)
    return way


def check_query(support_x: Tensor, query_x: Tensor) -> None:
    """ValueError unless the queries are of as many tasks as the support sets, and like their items."""
    if len(query_x) != len(support_x) or query_x.shape[2:] != support_x.shape[2:]:
        raise ValueError(f"query_x: shape is {tuple(query_x.shape)}, expected tasks and items like those of support_x, "
                         f"{tuple(support_x.shape)}")


def _at_least(name: str, value: int, bound: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: {value!r} is a {type(value).__name__}, expected an int")
    if value < bound:
        raise ValueError(f"{name}: {value} is too small, expected at least {bound}")


def _as_floats(items: Tensor) -> Tensor:
    """Images uint8 (n, H, W) or (n, 3, H, W) to float32 (n, 1 or 3, H, W) between 0 and 1; vectors stay as they are."""
    if items.dtype != torch.uint8:
        return items
    return (items if items.ndim == 4 else items[:, None]) * (1 / 255)


def fingerprint(generator: torch.Generator, *what: object) -> str:
    """Names what a sampler is about to draw: the state of its generator, and whatever else the draws depend on."""
    state = hashlib.sha256(generator.get_state().numpy().tobytes()).hexdigest()[:12]
    return f"{state} {what}"


class EpisodeSampler:
    """Draws batches of N-way K-shot tasks from a data set: ``sampler()`` is an `Episode` (Vinyals et al. 2016).

    Classes are drawn without replacement within a task, and so are the items of a class; support and query never share
    an item. Items come class by class: support_y is 0, .., 0, 1, .., 1, .. with ``shot`` of each, query_y likewise
    with ``query`` of each. Images arrive as float32 (B, S, 1, H, W) between 0 (paper) and 1 (ink), in colour as
    (B, S, 3, H, W), vectors as (B, S, D).

    dataset    a `FewShotDataset`: ``items`` (C, P, H, W) or (C, P, 3, H, W) uint8, or (C, P, D) float
    way        N, classes of a task                       2 <= way <= C   (1 is allowed, but no test of a classifier)
    shot       K, support items of a class
    query      query items of a class                     shot + query <= P
    batch      B, tasks of a draw
    generator  the source of randomness; on the CPU, so that a seed means the same tasks on every device
    device     where the episode is wanted; the images are moved there once, not at every draw
    """

    def __init__(self, dataset, way: int, shot: int, query: int, batch: int, generator: torch.Generator, device=None):
        for name, value in dict(way=way, shot=shot, query=query, batch=batch).items():
            _at_least(name, value, 1)
        self.items = dataset.items if device is None else dataset.items.to(device)
        classes, per_class = self.items.shape[:2]
        if way > classes:
            raise ValueError(f"way: {way} is more than the {classes} classes of the data set")
        if shot + query > per_class:
            raise ValueError(f"shot + query: {shot} + {query} is more than the {per_class} items of a class")
        self.way, self.shot, self.query, self.batch, self.generator = way, shot, query, batch, generator
        labels = torch.arange(way, device=self.items.device)
        self._support_y = labels.repeat_interleave(shot).repeat(batch, 1)  # (B, N*K)
        self._query_y = labels.repeat_interleave(query).repeat(batch, 1)  # (B, N*query)

    def draw_indices(self) -> tuple[Tensor, Tensor]:
        """Which classes (B, way) and which items of each (B, way, shot + query); the first ``shot`` are the support."""
        n_classes, per_class = self.items.shape[:2]
        classes = torch.rand(self.batch, n_classes, generator=self.generator).topk(self.way).indices
        order = torch.rand(self.batch, self.way, per_class, generator=self.generator)
        return classes, order.topk(self.shot + self.query).indices

    def fingerprint(self) -> str:
        """Names the tasks that the next draws will give: equal for two samplers that are about to draw the same ones."""
        return fingerprint(self.generator, self.way, self.shot, self.query, self.batch, *self.items.shape[:2])

    def __call__(self) -> Episode:
        classes, items = self.draw_indices()
        rows = (classes[..., None] * self.items.shape[1] + items).to(self.items.device)  # (B, N, K + query)
        rows = torch.cat([rows[..., : self.shot].flatten(1), rows[..., self.shot :].flatten(1)], 1)  # support, then query
        drawn = self.items.flatten(0, 1).index_select(0, rows.flatten())  # the one gather
        drawn = _as_floats(drawn).unflatten(0, rows.shape)  # (B, S + Q, ...)
        support_x, query_x = drawn.split([self.way * self.shot, self.way * self.query], 1)
        return Episode(support_x, self._support_y.clone(), query_x, self._query_y.clone())


class SinusoidSampler:
    """Draws batches of regression tasks y = a sin(x - p) (Finn et al. 2017, section 5.1).

    Amplitude a is uniform in [0.1, 5], phase p in [0, pi], x in [-5, 5]; support_x is float32 (B, shot, 1), query_x
    (B, query, 1). ``amplitude`` gives another range than the paper's: how a learner meets tasks unlike those it knew.
    """

    def __init__(self, shot: int, query: int, batch: int, generator: torch.Generator, device=None,
                 amplitude: tuple[float, float] = (0.1, 5.0)):
        for name, value in dict(shot=shot, query=query, batch=batch).items():
            _at_least(name, value, 1)
        if not 0 <= amplitude[0] <= amplitude[1]:
            raise ValueError(f"amplitude: {amplitude}, expected (low, high) with 0 <= low <= high")
        self.shot, self.query, self.batch, self.generator, self.device = shot, query, batch, generator, device
        self.amplitude = amplitude

    def fingerprint(self) -> str:
        """As `EpisodeSampler.fingerprint`."""
        return fingerprint(self.generator, self.shot, self.query, self.batch, self.amplitude)

    def __call__(self) -> Episode:
        draw = torch.rand(self.batch, self.shot + self.query + 2, 1, generator=self.generator).to(self.device)
        low, high = self.amplitude
        amplitude = low + (high - low) * draw[:, :1]  # (B, 1, 1)
        phase = math.pi * draw[:, 1:2]  # (B, 1, 1)
        x = 10 * draw[:, 2:] - 5  # (B, shot + query, 1)
        y = amplitude * torch.sin(x - phase)
        return Episode(x[:, : self.shot], y[:, : self.shot], x[:, self.shot :], y[:, self.shot :])


class Batch(NamedTuple):
    """Plain labelled items, as in ordinary training: no tasks, one label for each class of the data set."""

    x: Tensor  # (n, 1 or 3, H, W) or (n, D)
    y: Tensor  # (n,) int64, the class number 0..C-1


class BatchSampler:
    """Draws plain batches from all classes of a data set: ``sampler()`` is a `Batch`, with the class number as label.

    Items are drawn with replacement, each as likely as any other. Images arrive as from an `EpisodeSampler`.

    dataset    a `FewShotDataset`; put it on the device where the batch is wanted
    batch      n, items of a draw
    generator  the source of randomness, on the CPU
    augment    changes the drawn items, (x, generator) -> x, with `transfer.shift_and_rotate`, say
    """

    def __init__(self, dataset, batch: int, generator: torch.Generator, augment=None):
        _at_least("batch", batch, 1)
        self.items, self.batch, self.generator, self.augment = dataset.items, batch, generator, augment

    def __call__(self) -> Batch:
        classes, per_class = self.items.shape[:2]
        rows = torch.randint(classes * per_class, (self.batch,), generator=self.generator).to(self.items.device)
        x = _as_floats(self.items.flatten(0, 1).index_select(0, rows))
        return Batch(x if self.augment is None else self.augment(x, self.generator), rows // per_class)


class StreamSampler:
    """Draws batches of streams: `way` classes, `sights` items of each, all in one shuffled order (Santoro et al. 2016).

    ``sampler()`` is an `Episode` whose support and query are the same sequence of T = way · sights items, so that
    support_x *is* query_x, (B, T, 1, H, W) or (B, T, D), and the labels (B, T) likewise. A learner of streams answers
    item t from items 0..t and labels 0..t-1 alone: the label comes one step late. Which class bears which label is
    drawn anew for each stream, so nothing can be named before its label was seen. Every class is in every stream.
    Section 2 of the paper; its episodes of 5 classes are 50 items long.

    dataset    a `FewShotDataset`: ``items`` (C, P, H, W) uint8, or (C, P, D) float
    way        N, classes of a stream                     1 <= way <= C
    sights     items of a class, all different            1 <= sights <= P
    batch      B, streams of a draw
    generator  the source of randomness; on the CPU, so that a seed means the same streams on every device
    device     where the streams are wanted; the items are moved there once, not at every draw

    Raises TypeError for a size that is no int, ValueError for one out of range.
    """

    def __init__(self, dataset, way: int, sights: int, batch: int, generator: torch.Generator, device=None):
        for name, value in dict(way=way, sights=sights, batch=batch).items():
            _at_least(name, value, 1)
        self.items = dataset.items if device is None else dataset.items.to(device)
        classes, per_class = self.items.shape[:2]
        if way > classes:
            raise ValueError(f"way: {way} is more than the {classes} classes of the data set")
        if sights > per_class:
            raise ValueError(f"sights: {sights} is more than the {per_class} items of a class")
        self.way, self.sights, self.batch, self.generator = way, sights, batch, generator

    def draw_indices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of each item of each stream: its class in the data set, its number in that class, its label; each (B, T)."""
        n_classes, per_class = self.items.shape[:2]
        classes = torch.rand(self.batch, n_classes, generator=self.generator).topk(self.way).indices  # (B, N)
        items = torch.rand(self.batch, self.way, per_class, generator=self.generator).topk(self.sights).indices
        order = torch.rand(self.batch, self.way * self.sights, generator=self.generator).argsort(1)  # (B, T)
        labels = order // self.sights
        return classes.gather(1, labels), items.flatten(1).gather(1, order), labels

    def fingerprint(self) -> str:
        """As `EpisodeSampler.fingerprint`."""
        return fingerprint(self.generator, "stream", self.way, self.sights, self.batch, *self.items.shape[:2])

    def __call__(self) -> Episode:
        classes, items, labels = self.draw_indices()
        rows = (classes * self.items.shape[1] + items).to(self.items.device)  # (B, T)
        x = _as_floats(self.items.flatten(0, 1).index_select(0, rows.flatten())).unflatten(0, rows.shape)
        y = labels.to(x.device)
        return Episode(x, y, x, y)
