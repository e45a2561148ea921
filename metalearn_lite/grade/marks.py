"""What a submission is worth. The student's function answers in the box; the check of the notebook judges here, outside.

`Remote` stands in for the student's function: calling it asks the box. So the verdict, and its words, are those of the
check that the student knows, on inputs that nobody has seen before. A derivative of an answer is asked for in the same
way (`slopes`): its graph stays in the box.
"""

import builtins
import contextlib
import inspect
import secrets
import time
from typing import NamedTuple

import torch

from metalearn_lite.check import Order

from . import wire
from .box import Lost, Unboxed


class Result(NamedTuple):
    """One part of one submission. ``status``: "right", "wrong", "open" (not written), "lost" (it ended, hung, or babbled)."""

    exercise: str
    title: str
    points: int
    got: int
    status: str
    message: str
    seconds: float


class Remote:
    """A function in the box. Raises what the student's code raises, with its name and words, and Lost.

    ``placeholder``, ``__signature__`` and the errors' ``line`` and ``left_open`` are what a check otherwise reads from the
    function itself. All of it comes from the box and is only shown, or decides that there are no points.
    """

    def __init__(self, channel):
        self.channel, self.lost = channel, None
        self.placeholder = _line(channel.found.get("placeholder"))
        self.__signature__ = _signature(channel.found.get("parameters"))

    def __call__(self, *args, **kwargs):
        given, outputs = [], []
        with self._believing_nothing():
            reply = self.channel.ask({"args": wire.encode(list(args), given), "kwargs": wire.encode(kwargs, given)})
            if "error" not in reply:
                answer = wire.decode(reply.get("answer"), outputs)
            _change(args, reply.get("now"))
        if "error" in reply:
            raise self._error(reply["error"])
        inputs = [t for t in given if t.requires_grad]
        if not (inputs and any(o.requires_grad for o in outputs)):
            return answer
        joined = iter(_Remote.apply(self, outputs, len(outputs), *outputs, *inputs))
        return _with_tensors(answer, joined)

    def slopes(self, along):
        """Along tensors, one for each tensor of the last answer -> for each input with a graph, its slope or None."""
        with self._believing_nothing():
            found = wire.decode(self.channel.ask({"slopes": wire.encode(list(along))}).get("slopes"))
            if type(found) is not list or not all(t is None or isinstance(t, torch.Tensor) for t in found):
                raise wire.Unreadable
        return found

    @contextlib.contextmanager
    def _believing_nothing(self):
        """Whatever is wrong with a reply loses the exercise: the check, which catches errors, must not go on with it."""
        if self.lost:
            raise self.lost
        try:
            yield
        except Exception as error:
            self.lost = error if isinstance(error, Lost) else Lost("it answered what cannot be read")
            raise self.lost from None

    def _error(self, told):
        told = told if type(told) is dict else {}
        name, text = str(told.get("type"))[:60], str(told.get("text"))[:500]
        kind = getattr(builtins, name, None)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            kind = type("".join(c for c in name if c.isalnum() or c == "_") or "Error", (Exception,), {})
        try:
            error = kind(text)
        except Exception:
            error = Exception(text)
        error.left_open = told.get("open") is True
        error.line = _line(told.get("line"))
        return error


class _Remote(torch.autograd.Function):
    """The answers as functions of the inputs: the way back goes through the box."""

    @staticmethod
    def forward(ctx, remote, answers, count, *tensors):
        ctx.remote, ctx.inputs, ctx.count = remote, [(t.shape, t.dtype) for t in tensors[count:]], count
        copies = [t.detach().clone() for t in answers]
        ctx.mark_non_differentiable(*(c for c, a in zip(copies, answers) if not a.requires_grad))
        return tuple(copies)

    @staticmethod
    def backward(ctx, *along):
        found = ctx.remote.slopes(along)
        if len(found) != len(ctx.inputs) or any(
                t is not None and (t.shape, t.dtype) != form for t, form in zip(found, ctx.inputs)):
            raise Lost("it answered what cannot be read")
        return (None, None, None, *[None] * ctx.count, *found)


def _with_tensors(value, tensors):
    """``value`` with its tensors replaced, in their order."""
    if isinstance(value, torch.Tensor):
        return next(tensors)
    if isinstance(value, dict):
        return {key: _with_tensors(held, tensors) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_with_tensors(held, tensors) for held in value])
    return value


def _change(args, now):
    """What the function has changed in its arguments, changed here too."""
    if type(now) is not dict:
        raise wire.Unreadable
    for place, new in now.items():
        if not (place.isascii() and place.isdigit() and len(place) < 4 and int(place) < len(args)):
            raise wire.Unreadable
        old, new = args[int(place)], wire.decode(new)
        if isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
            old.data = new.detach()
        elif isinstance(old, list) and isinstance(new, list):
            old[:] = new
        elif isinstance(old, dict) and isinstance(new, dict):
            old.clear()
            old.update(new)


def _signature(parameters):
    """An inspect.Signature from [[name, kind, has a default], ..]; any number of arguments if it is none."""
    try:
        return inspect.Signature([inspect.Parameter(name, inspect._ParameterKind[kind], default=None if default is True
                                                    else inspect.Parameter.empty) for name, kind, default in parameters])
    except (TypeError, ValueError, KeyError):
        return inspect.signature(lambda *args, **kwargs: None)


def _line(told):
    if type(told) is list and len(told) == 2 and type(told[0]) is int and type(told[1]) is str:
        return told[0], told[1][:200]
    return None


# -------------------------------------------------------------------------------------------------------- the judge


def judge(cells, hidden, box):
    """The sources of a submission's code cells -> a Result for each part of ``hidden``, in their order.

    Raises nothing for what a student did; Unboxed if the box is gone and does not open again.
    """
    results, by_exercise = [], {}
    for part in hidden.parts:
        by_exercise.setdefault(part.exercise.name, []).append(part)
    for parts in by_exercise.values():
        results += _judge_exercise(cells, parts, hidden, box)
    return results


def _judge_exercise(cells, parts, hidden, box):
    results, mentioned = [], any(parts[0].exercise.name in source for source in cells)
    for part in parts:  # each in a process of its own: what one part does to it cannot help or harm the next
        began = time.perf_counter()
        status, message = _judge_part(cells, part, None, box)
        if mentioned and status in ("wrong", "open"):  # perhaps other cells made it: with the notebook's state
            again = _judge_part(cells, part, hidden.known, box)
            if again[0] == "right":
                status, message = again
        results.append(Result(part.exercise.name, part.title, part.points, part.points if status == "right" else 0,
                              status, message, time.perf_counter() - began))
        if status in ("open", "lost") and part is parts[0]:  # the others would say the same
            results += [Result(p.exercise.name, p.title, p.points, 0, status, message, 0.0) for p in parts[1:]]
            break
    return results


def _judge_part(cells, part, known, box):
    """-> status, message. ``known``: see `worker.Exercise`."""
    name, order = part.exercise.name, isinstance(part.exercise, Order)
    try:
        with box.run(cells, name, order, secrets.randbits(31), known) as channel:
            return (_order if order else _function)(part, channel)
    except Lost as error:
        return "lost", f"`{name}` could not be asked: {error}."
    except Unboxed:  # the box, not the student: nothing may be graded
        raise
    except Exception as error:  # a trusted part has met what it did not expect: no points, and no crash
        return "lost", f"`{name}` could not be judged ({type(error).__name__})."


def _order(part, channel):
    try:
        answer = wire.decode(channel.found.get("answer"))
    except wire.Unreadable as error:
        raise Lost(str(error)) from None
    return part.exercise.verdict(answer)


def _function(part, channel):
    if channel.found.get("callable") is not True:
        problem = channel.found.get("problem")
        if type(problem) is str and problem:
            return "wrong", f"`{part.exercise.name}` could not be defined: {problem[:300]}"
        return "open", f"There is no function `{part.exercise.name}` in this notebook."
    remote = Remote(channel)
    verdict = part.asked().verdict(remote, seed=secrets.randbits(62), hidden="numbers" if part.is_public else "all")
    if remote.lost:
        raise remote.lost
    return verdict
