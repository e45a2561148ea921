"""The one training loop. Pretraining, pairs and triplets are other draws and other objectives, not other loops.

Started by ``torchrun``, it shares the tasks of each update out among the processes: see `meta_train`.
"""

import copy
import functools
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
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
    threads: int = 1,
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
    threads           work on so many parts side by side, each on one core: on a CPU faster than several cores on one
                      part, where a task is small. Parts are of ``tasks_at_once`` tasks, or as many as there are threads.
    checkpoint        a file, written every ``checkpoint_every`` updates and at the end. If it is there already, training
                      goes on from it and ends where an uninterrupted run would have: weights, optimiser, and the state
                      of ``draw.generator``, of the learner's own generators and of torch's are kept.
    progress          show a bar

    Where ``torch.distributed`` is initialised, every process calls this function with the same arguments. All begin with
    the weights and the stream of tasks of process 0; each works on its share of every batch, and the gradients are added
    up, so the update is that of a single process (again where no statistics are shared between tasks: with batch
    statistics that training pools over tasks, each process pools over its own share). Running averages are averaged.
    Process 0 writes the checkpoint, from which any number of processes can go on.

    The learner is left in eval mode.

    Raises ValueError for arguments out of range, for a parameter that the loss does not depend on and for a checkpoint of
    another optimiser, step size or schedule, FloatingPointError as soon as a loss is not finite, and RuntimeError where
    another process has ended.
    """
    whole = dict(updates=updates, tasks_at_once=tasks_at_once, threads=threads, checkpoint_every=checkpoint_every)
    for name, value in whole.items():
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
    pooled = [name for name, m in learner.named_modules() if getattr(m, "track_running_stats", False)]
    if threads > 1 and pooled:
        raise ValueError(f"threads: {threads}, expected 1, for the threads would all write to the running averages of "
                         f"{pooled[0]!r}")
    if threads > 1 and _generators(learner):
        raise ValueError(f"threads: {threads}, expected 1, for each thread's copy of the learner would draw the same numbers")
    rank, processes = 0, 1
    if distributed.is_available() and distributed.is_initialized():
        rank, processes = distributed.get_rank(), distributed.get_world_size()
        if generator is None:
            raise ValueError("draw: has no attribute `generator`, so the processes could not draw the same tasks")

    updates = _allowed_updates(updates)
    optimizer = optimizer or torch.optim.Adam(parameters, lr=lr)
    schedule = (lambda update: min(1.0, 2 * (1 - update / updates))) if decay else (lambda update: 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    history = History()
    if checkpoint is not None and Path(checkpoint).exists():
        _load(Path(checkpoint), learner, optimizer, scheduler, generator, history, updates, decay)
    if processes > 1:
        _agree(learner, generator, history.updates)

    learner.train()
    copies = [learner, *(copy.deepcopy(learner) for _ in range(threads - 1))]  # one a thread: a module cannot be shared
    cores = torch.get_num_threads()
    start = time.perf_counter() - history.seconds
    bar = tqdm(range(history.updates, updates), initial=history.updates, total=updates, unit="update",
               disable=not progress or rank > 0)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for update in bar:
            batch = draw()
            size = len(batch[0])
            mine = range(rank * size // processes, (rank + 1) * size // processes)  # this process's tasks
            if size < processes:
                raise ValueError(f"draw: gives {size} tasks, expected at least one for each of {processes} processes")
            step = tasks_at_once or math.ceil(len(mine) / threads)
            parts = [type(batch)(*(t[i : min(i + step, mine.stop)] for t in batch)) for i in mine[::step]]

            def gradient(one, parts):
                return functools.reduce(_plus, (_gradient(one, objective, p, len(p[0]) / size) for p in parts))

            if threads == 1:
                total, *grads = gradient(learner, parts)
            else:
                shares = [parts[i::threads] for i in range(min(threads, len(parts)))]
                total, *grads = functools.reduce(_plus, pool.map(gradient, copies, shares))
            if processes > 1:
                total, *grads = _sum_over_processes([total, *grads], learner, update)
            total = total.item()
            if not math.isfinite(total):
                raise FloatingPointError(f"the loss is {total} at update {update}: try a smaller step size than "
                                         f"lr={scheduler.get_last_lr()[0]:g}")
            for parameter, grad in zip(parameters, grads):
                parameter.grad = grad
            optimizer.step()
            scheduler.step()
            for other in copies[1:]:
                other.load_state_dict(learner.state_dict())
            history.loss.append(total)
            if update % 10 == 9:
                bar.set_postfix(loss=f"{sum(history.loss[-20:]) / len(history.loss[-20:]):.3f}", refresh=False)
            history.seconds = time.perf_counter() - start
            due = history.updates % checkpoint_every == 0 or history.updates == updates
            if checkpoint is not None and due and rank == 0:
                _save(Path(checkpoint), learner, optimizer, scheduler, generator, history, updates, decay)
    torch.set_num_threads(cores)
    optimizer.zero_grad()
    learner.eval()
    return history


def _gradient(learner, objective, part, weight):
    """[loss, gradient of each parameter] of a part of a batch, times its share of the batch."""
    parameters = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    loss = objective(learner, part) * weight
    grads = torch.autograd.grad(loss, parameters.values(), allow_unused=True)
    for name, grad in zip(parameters, grads):
        if grad is None:
            raise ValueError(f"learner: the loss does not depend on its parameter {name!r}; if that is meant, "
                             "freeze it with requires_grad_(False)")
    return [loss.detach(), *grads]


def _plus(a, b):
    return [x + y for x, y in zip(a, b)]


def _generators(learner):
    """Those that the learner itself draws from: for dropout in an inner loop, say."""
    return [value for m in learner.modules() for value in vars(m).values() if isinstance(value, torch.Generator)]


@torch.no_grad()
def _agree(learner, generator, update):
    """Give every process the weights, buffers and stream of tasks of process 0."""
    device = next(learner.parameters()).device  # nccl moves only what is on a GPU
    first = torch.tensor(update, device=device)
    distributed.broadcast(first, 0)
    if first.item() != update:
        raise ValueError(f"checkpoint: process 0 begins at update {first.item()} and process {distributed.get_rank()} at "
                         f"{update}; expected a file that all processes can read")
    for tensor in learner.state_dict().values():
        sent = tensor.contiguous()
        distributed.broadcast(sent, 0)
        tensor.copy_(sent)
    state = generator.get_state().to(device)
    distributed.broadcast(state, 0)
    generator.set_state(state.cpu())


@torch.no_grad()
def _sum_over_processes(tensors, learner, update):
    """Each tensor, summed over all processes; the learner's running averages become their mean. One all-reduce."""
    averages = [b for b in learner.buffers() if b.is_floating_point()]
    flat = torch.cat([t.flatten() for t in tensors] + [b.flatten() / distributed.get_world_size() for b in averages])
    try:
        distributed.all_reduce(flat)
    except RuntimeError as error:
        raise RuntimeError(f"another process ended before update {update} was done; started again with a checkpoint, "
                           "training goes on from the last one") from error
    summed = flat.split([t.numel() for t in (*tensors, *averages)])
    for average, new in zip(averages, summed[len(tensors) :]):
        average.copy_(new.view_as(average))
    return [new.view_as(t).to(t.dtype) for t, new in zip(tensors, summed)]  # cat took the widest of their dtypes


def _save(path, learner, optimizer, scheduler, generator, history, updates, decay):
    state = dict(
        learner=learner.state_dict(), optimizer=optimizer.state_dict(), scheduler=scheduler.state_dict(),
        kind=type(optimizer).__name__, learner_rng=[g.get_state() for g in _generators(learner)],
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
    was, now = (state["kind"], state["scheduler"]["base_lrs"]), (type(optimizer).__name__, scheduler.base_lrs)
    if was != now:
        raise ValueError(f"checkpoint: {path} is of a run with {was[0]}, lr={was[1]}, not {now[0]}, lr={now[1]}")
    learner.load_state_dict(state["learner"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    generator.set_state(state["draw_rng"])
    for own, kept in zip(_generators(learner), state["learner_rng"]):
        own.set_state(kept)
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    history.loss, history.seconds = list(state["loss"]), state["seconds"]
