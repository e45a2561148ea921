"""The one evaluation: a score for every test task, its mean, and how sure we are of it."""

import copy
import html
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn_lite.episodes import Episode, _as_floats


@dataclass(frozen=True)
class Result:
    """Per-task values of one score, and their mean with its 95 % interval.

    The interval covers the draw of test tasks. It does not cover training the learner again from another seed.
    """

    per_task: Tensor  # (T,) float64, between 0 and 1 for accuracy, f1 and auc
    score: str = "accuracy"
    tasks: str | None = None  # says which tasks these were, so that only like is compared with like
    others: dict[str, "Result"] = field(default_factory=dict)  # the further scores asked for

    @property
    def mean(self) -> float:
        return self.per_task.mean().item()

    @property
    def half_width(self) -> float:
        """1.96 standard errors: the 95 % interval is mean ± half_width. Infinite for a single task."""
        if len(self.per_task) < 2:
            return math.inf
        return 1.96 * self.per_task.std().item() / math.sqrt(len(self.per_task))

    def __str__(self) -> str:
        if self.score == "mse":
            return f"{self.mean:.3f} ± {self.half_width:.3f}"
        return f"{100 * self.mean:.1f} ± {100 * self.half_width:.1f} %"

    def __repr__(self) -> str:
        return f"{self.score} {self} ({len(self.per_task)} tasks)"


def _accuracy(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.argmax(-1) == y).double().mean(1)


def _f1(logits: Tensor, y: Tensor) -> Tensor:
    """2 TP / (2 TP + FP + FN) of each class, averaged over the classes that occur among labels or answers."""
    true = F.one_hot(y, logits.shape[-1])  # (B, Q, N)
    said = F.one_hot(logits.argmax(-1), logits.shape[-1])
    hits, occurrences = (true * said).sum(1).double(), (true + said).sum(1).double()  # (B, N): TP, 2 TP + FP + FN
    return (2 * hits / occurrences.clamp_min(1)).sum(-1) / (occurrences > 0).sum(-1)


def _auc(logits: Tensor, y: Tensor) -> Tensor:
    """The chance that a query of a class is given a higher probability of it than another query is; a tie counts half.

    From ranks (Mann & Whitney 1947), a class against the rest, averaged over the classes.
    """
    p = logits.double().softmax(-1).mT.contiguous()  # (B, N, Q)
    true = F.one_hot(y, logits.shape[-1]).mT.double()  # (B, N, Q)
    ordered = p.sort(-1).values
    below, up_to = torch.searchsorted(ordered, p), torch.searchsorted(ordered, p, right=True)  # queries below; or equal
    rank = (below + up_to + 1) / 2  # from 1; equal probabilities share their mean rank
    of_class, others = true.sum(-1), (1 - true).sum(-1)
    if not ((of_class > 0) & (others > 0)).all():
        raise ValueError("auc: a class has no query, or no other class has one, so there is nothing to rank it against")
    return (((rank * true).sum(-1) - of_class * (of_class + 1) / 2) / (of_class * others)).mean(-1)


def _mse(answers: Tensor, y: Tensor) -> Tensor:
    return (answers - y).double().square().flatten(1).mean(1)


SCORES = dict(accuracy=_accuracy, f1=_f1, auc=_auc, mse=_mse)  # (B, Q, N), (B, Q) -> (B,)


@torch.no_grad()
def meta_test(learner: nn.Module, draw: Callable[[], Episode], episodes: int = 600, scores=("accuracy",)) -> Result:
    """Score ``learner`` on ``episodes`` test tasks, in eval mode, one value a task.

    scores   any of "accuracy", "f1" (macro average), "auc" (one class against the rest, macro average; both as
             scikit-learn defines them), "mse" for regression. The first is the result, the others are in its ``others``.

    A learner that adapts by gradients opens its own ``torch.enable_grad()``: here no graph is kept for the outer loop.
    To compare two learners give each a sampler made with the same seed: see `paired_difference`.
    """
    if episodes < 1:
        raise ValueError(f"episodes: {episodes}, expected at least 1")
    for score in scores:
        if score not in SCORES:
            raise ValueError(f"scores: {score!r}, expected some of {', '.join(SCORES)}")
    tasks = draw.fingerprint() if hasattr(draw, "fingerprint") else None
    was_training = learner.training
    learner.eval()
    # filled in place: small results kept one by one between large tensors would break up the memory
    values = {score: torch.empty(episodes, dtype=torch.float64) for score in scores}
    seen = 0
    while seen < episodes:
        episode = Episode(*(t[: episodes - seen] for t in draw()))
        logits = learner(episode.support_x, episode.support_y, episode.query_x)
        if not torch.isfinite(logits).all():
            raise FloatingPointError(f"the learner's answers are not finite on tasks {seen} to {seen + len(logits) - 1}")
        for score in scores:
            values[score][seen : seen + len(logits)] = SCORES[score](logits, episode.query_y)
        seen += len(logits)
    learner.train(was_training)
    results = {score: Result(v, score, tasks) for score, v in values.items()}
    first, *rest = (results[score] for score in scores)
    return Result(first.per_task, first.score, tasks, {r.score: r for r in rest})


def paired_difference(a: Result, b: Result) -> Result:
    """``a`` minus ``b``, task by task: the tasks' own difficulty cancels, so the interval is far narrower.

    Raises ValueError unless both were scored in the same way on the same tasks.
    """
    if a.score != b.score or len(a.per_task) != len(b.per_task):
        raise ValueError(f"b: {b!r} cannot be paired with {a!r}, expected the same score and number of tasks")
    if a.tasks != b.tasks:
        raise ValueError("b: was scored on other tasks than a; give both a sampler of the same kind and seed")
    return Result(a.per_task - b.per_task, a.score, a.tasks)


@torch.no_grad()
def embed_dataset(embed: nn.Module, dataset, batch: int = 64):
    """Embed every image once: a `FewShotDataset` of vectors (C, P, D), from which episodes are drawn like from any other.

    Allowed only where an embedding does not depend on its batch: ``embed`` is used in eval mode, and a batch norm
    without running averages is an error.
    """
    for name, layer in embed.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not layer.track_running_stats:
            raise ValueError(f"embed: {name} uses the statistics of the batch, so an image has no embedding of its own")
    embed = copy.deepcopy(embed).eval()  # leaves the mode of the caller's net alone
    images = dataset.items.flatten(0, 1)
    z = None
    for first in range(0, len(images), batch):
        part = embed(_as_floats(images[first : first + batch])).flatten(1)
        if z is None:  # made once: small parts kept between large passing tensors would fragment the memory
            z = part.new_empty(len(images), part.shape[1])
        z[first : first + batch] = part
    return dataset.with_items(z.unflatten(0, dataset.items.shape[:2]))


def _in_one_line(cell: str) -> str:
    """HTML of a cell; a mean stays beside its interval and its unit, however narrow the column."""
    return html.escape(cell).replace(" ", "&nbsp;") if "±" in cell else html.escape(cell)


class Table:
    """Rows with a header: HTML in a notebook, aligned columns in a terminal. A `Result` prints as mean ± interval.

    Table([{"method": "chance", "accuracy": result, "seconds": 1}, ...])
    """

    def __init__(self, rows: list[dict[str, object]], caption: str = ""):
        if not rows or any(list(row) != list(rows[0]) for row in rows):
            raise ValueError("rows: expected at least one, all with the same columns in the same order")
        self.head, self.cells, self.caption = list(rows[0]), [[str(v) for v in row.values()] for row in rows], caption

    def __repr__(self) -> str:
        lines = [self.head, *self.cells]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        text = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines]
        return "\n".join(([self.caption] if self.caption else []) + text)

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in self.head)
        body = "".join(
            f'<tr><th scope="row">{html.escape(first)}</th>' + "".join(f"<td>{_in_one_line(c)}</td>" for c in rest) + "</tr>"
            for first, *rest in self.cells
        )
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

