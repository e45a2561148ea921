"""The one training loop. Pretraining, pairs and triplets are other draws and other objectives, not other loops."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from metalearn_lite.episodes import Episode


def cross_entropy(learner: nn.Module, episode: Episode) -> Tensor:
    """Mean cross-entropy of the queries of all tasks; the learner's logits are (B, Q, N)."""
    logits = learner(episode.support_x, episode.support_y, episode.query_x)
    return F.cross_entropy(logits.flatten(0, 1), episode.query_y.flatten())


def mean_squared_error(learner: nn.Module, episode: Episode) -> Tensor:
    """Mean squared error of the queries of all tasks; the learner's answers are (B, Q, 1)."""
    return F.mse_loss(learner(episode.support_x, episode.support_y, episode.query_x), episode.query_y)


@dataclass
class History:
    """What a training run leaves behind."""

    loss: list[float] = field(default_factory=list)  # one value an update, before the step was taken
    seconds: float = 0.0  # spent in the loop, resumed parts included

    @property
    def updates(self) -> int:
        return len(self.loss)


def _allowed_updates(updates: int) -> int:
    """``updates``, or fewer where METALEARN_LITE_UPDATES says so: how the tests run a lesson quickly."""
    cap = os.environ.get("METALEARN_LITE_UPDATES")
    if not cap:
        return updates
    if not cap.isdigit() or int(cap) < 1:
        raise ValueError(f"METALEARN_LITE_UPDATES: {cap!r}, expected a whole number, at least 1")
    if int(cap) < updates:
        print(f"METALEARN_LITE_UPDATES={cap}: {cap} updates instead of {updates}. The figures below mean nothing.")
    return min(updates, int(cap))


def meta_train(
    learner: nn.Module,
    draw: Callable[[], Episode],
    objective: Callable[[nn.Module, Episode], Tensor] = cross_entropy,
    *,
    updates: int,
    lr: float = 3e-3,
    decay: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    tasks_at_once: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 100,
    progress: bool = True,
) -> History:
    """Train ``learner`` for a fixed number of meta-updates; each is one draw, one gradient, one optimiser step.

    draw              returns a batch: an `Episode`, or any NamedTuple of tensors with one leading batch dimension
    objective         (learner, batch) -> a loss, averaged over the batch
    lr, optimizer     Adam with step size ``lr`` (Kingma & Ba 2015), unless an optimiser is given
    decay             the step size falls linearly to zero over the second half of the updates
    tasks_at_once     split each batch into parts of this many tasks and add up their gradients: the same update
                      (where no statistics are shared between tasks), less memory
    checkpoint        a file, written every ``checkpoint_every`` updates and at the end. If it is there already, training
                      goes on from it and ends where an uninterrupted run would have: weights, optimiser, and the state
                      of ``draw.generator`` and of torch's own generator are kept.
    progress          show a bar

    The learner is left in eval mode.

    Raises ValueError for arguments out of range and FloatingPointError as soon as a loss is not finite.
    """
    for name, value in dict(updates=updates, tasks_at_once=tasks_at_once, checkpoint_every=checkpoint_every).items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}: {value!r}, expected a whole number, at least 1")
    if not lr > 0:
        raise ValueError(f"lr: {lr}, expected a step size above 0")
    parameters = [p for p in learner.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("learner: has no parameters to train")
    generator = getattr(draw, "generator", None)
    if checkpoint is not None and generator is None:
        raise ValueError("draw: has no attribute `generator`, so a checkpoint could not resume its stream of tasks")

    updates = _allowed_updates(updates)
    optimizer = optimizer or torch.optim.Adam(parameters, lr=lr)
    schedule = (lambda update: min(1.0, 2 * (1 - update / updates))) if decay else (lambda update: 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    history = History()
    if checkpoint is not None and Path(checkpoint).exists():
        _load(Path(checkpoint), learner, optimizer, scheduler, generator, history, updates, decay)

    learner.train()
    start = time.perf_counter() - history.seconds
    bar = tqdm(range(history.updates, updates), initial=history.updates, total=updates, disable=not progress, unit="update")
    for update in bar:
        batch = draw()
        size = len(batch[0])
        optimizer.zero_grad()
        total = 0.0
        for first in range(0, size, tasks_at_once or size):
            part = type(batch)(*(t[first : first + (tasks_at_once or size)] for t in batch))
            loss = objective(learner, part) * (len(part[0]) / size)
            loss.backward()
            total += loss.item()
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss is {total} at update {update}: try a smaller step size than lr={lr}")
        optimizer.step()
        scheduler.step()
        history.loss.append(total)
        if update % 10 == 9:
            bar.set_postfix(loss=f"{sum(history.loss[-20:]) / len(history.loss[-20:]):.3f}", refresh=False)
        history.seconds = time.perf_counter() - start
        if checkpoint is not None and (history.updates % checkpoint_every == 0 or history.updates == updates):
            _save(Path(checkpoint), learner, optimizer, scheduler, generator, history, updates, decay)
    learner.eval()
    return history


def _save(path, learner, optimizer, scheduler, generator, history, updates, decay):
    state = dict(
        learner=learner.state_dict(), optimizer=optimizer.state_dict(), scheduler=scheduler.state_dict(),
        draw_rng=generator.get_state(), torch_rng=torch.get_rng_state(),
        cuda_rng=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        loss=history.loss, seconds=history.seconds, updates=updates, decay=decay,
    )
    half_written = path.with_name(path.name + ".part")
    torch.save(state, half_written)
    half_written.replace(path)  # a run that is killed leaves the last whole checkpoint


def _load(path, learner, optimizer, scheduler, generator, history, updates, decay):
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["decay"] != decay or (decay and state["updates"] != updates):
        raise ValueError(
            f"checkpoint: {path} is of a run with updates={state['updates']}, decay={state['decay']}, "
            f"not updates={updates}, decay={decay}; its step sizes would not fit"
        )
    if len(state["loss"]) > updates:
        raise ValueError(f"checkpoint: {path} has seen {len(state['loss'])} updates already, more than updates={updates}")
    learner.load_state_dict(state["learner"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    generator.set_state(state["draw_rng"])
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    history.loss, history.seconds = list(state["loss"]), state["seconds"]
