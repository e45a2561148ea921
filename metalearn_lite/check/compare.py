"""Compare a learner's answer with the expected one, and say in words where they part.

Answers are tensors, numbers, strings, ``None``, and lists, tuples, sets and dicts of these. The comparison is kind
where kindness costs nothing: a Python number passes for a 0-d tensor and the reverse, a list for a tuple, an integer
for an equal float, float32 for float64 (then to fewer digits).
"""
import math
from numbers import Number
from typing import NamedTuple

import torch

TOLERANCE = 1e-6  # absolute and relative, in float64
TOLERANCE_32 = 1e-4  # when the answer itself is in float32 or shorter: its 7 digits, less what a few steps lose


class Difference(NamedTuple):
    """``kind`` is "type", "shape", "nan" or "value"; ``text`` completes the sentence "in case 2, ..."."""

    kind: str
    text: str


def difference(answer, expected, where=""):
    """None if ``answer`` is what was expected, else the first Difference, found by walking along ``expected``."""
    if isinstance(expected, torch.Tensor) or _is_number(expected):
        return _numbers(answer, expected, where)
    if isinstance(expected, dict):
        if not isinstance(answer, dict):
            return Difference("type", f"yours is {describe(answer)}{where}, expected {describe(expected)}")
        if set(answer) != set(expected):
            return Difference("value", f"yours has the keys {_listed(answer)}{where}, expected {_listed(expected)}")
        return _first(difference(answer[k], expected[k], f" at {k!r}{where}") for k in expected)
    if isinstance(expected, (list, tuple)):
        if not isinstance(answer, (list, tuple)):
            return Difference("type", f"yours is {describe(answer)}{where}, expected {describe(expected)}")
        if len(answer) != len(expected):
            return Difference("shape", f"yours is {describe(answer)}{where}, expected {describe(expected)}")
        return _first(difference(a, e, f" in item {i}{where}") for i, (a, e) in enumerate(zip(answer, expected)))
    if isinstance(expected, (set, frozenset)):
        if not isinstance(answer, (set, frozenset)):
            return Difference("type", f"yours is {describe(answer)}{where}, expected {describe(expected)}")
        if answer != expected:
            return Difference("value", f"yours is {_listed(answer)}{where}, expected {_listed(expected)}")
        return None
    if type(answer) is not type(expected):
        return Difference("type", f"yours is {describe(answer)}{where}, expected {describe(expected)}")
    if answer != expected:
        return Difference("value", f"yours is {_cut(repr(answer))}{where}, expected {_cut(repr(expected))}")
    return None


def _first(differences):
    return next((d for d in differences if d is not None), None)


def _is_number(value):
    return isinstance(value, Number) and not isinstance(value, complex)


def _numbers(answer, expected, where):
    if not (isinstance(answer, torch.Tensor) or _is_number(answer)):
        return Difference("type", f"yours is {describe(answer)}{where}, expected {describe(expected)}")
    if isinstance(answer, torch.Tensor) and answer.is_complex() or isinstance(expected, torch.Tensor) \
            and expected.is_complex():
        return Difference("type", f"yours is complex{where}, expected real numbers")
    short = isinstance(answer, torch.Tensor) and answer.dtype in (torch.float32, torch.float16, torch.bfloat16)
    shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else ()
    wanted = tuple(expected.shape) if isinstance(expected, torch.Tensor) else ()
    if shape != wanted:
        return Difference("shape", f"yours is {describe(answer)}{where}, expected {describe(expected)}")
    a = torch.as_tensor(answer).detach().to("cpu", torch.float64)
    e = torch.as_tensor(expected).detach().to("cpu", torch.float64)
    tolerance = TOLERANCE_32 if short else TOLERANCE
    same = torch.isclose(a, e, rtol=tolerance, atol=tolerance, equal_nan=True)
    if bool(same.all()):
        return None
    nan = torch.isnan(a) & ~torch.isnan(e)
    if bool(nan.any()):
        return Difference("nan", f"yours is nan (not a number){_at(nan, where)}")
    wrong = ~same
    first = wrong.flatten().nonzero()[0, 0]
    yours, theirs = _apart(a.flatten()[first].item(), e.flatten()[first].item())
    text = f"yours is {yours}, expected {theirs}{_at(wrong, where)}"
    if short and torch.isclose(a, e, rtol=1e-2, atol=1e-2).all():
        text += " (close, but rounded: somewhere the numbers are turned from float64 into a shorter type)"
    return Difference("value", text)


def _at(mask, where):
    if mask.ndim == 0:
        return where
    index = mask.nonzero()[0].tolist()
    return f" at {index}{where}"


def _apart(a, b):
    """Two numbers as text, with as many digits as it takes to tell them apart."""
    for digits in (3, 4, 5, 6, 8, 10, 12):
        texts = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return repr(a), repr(b)


def describe(value):
    """What a value is, in a few words: "a tensor of shape (2, 3)", "a list of 4 items", "the number 3"."""
    if isinstance(value, torch.Tensor):
        return "a 0-d tensor" if value.ndim == 0 else f"a tensor of shape {tuple(value.shape)}"
    if value is None:
        return "None"
    if value is ...:
        return "`...`"
    if isinstance(value, bool):
        return f"the truth value {value}"
    if isinstance(value, complex):
        return "a complex number"
    if isinstance(value, Number):
        return "not a number (nan)" if isinstance(value, float) and math.isnan(value) else "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        name = {list: "list", tuple: "tuple", dict: "dict"}.get(type(value), "set")
        if isinstance(value, tuple):
            name = "tuple"
        return f"a {name} of {len(value)} item{'' if len(value) == 1 else 's'}"
    if callable(value):
        return "a function"
    return f"an object of type {type(value).__name__}"


def _listed(values):
    return _cut(", ".join(sorted(repr(v) for v in values)) or "nothing")


def _cut(text, length=120):
    return text if len(text) <= length else text[:length - 1] + "…"


def holds(value, wanted, depth=4):
    """Whether ``wanted`` (an object such as ``...``) is somewhere in a nest of lists, tuples and dicts."""
    if value is wanted:
        return True
    if depth and isinstance(value, dict):
        return any(holds(v, wanted, depth - 1) for v in list(value.values())[:1000])
    if depth and isinstance(value, (list, tuple)):
        return any(holds(v, wanted, depth - 1) for v in value[:1000])
    return False


def clone(value):
    """A copy that shares nothing: tensors become fresh leaves, containers are rebuilt."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(clone(v) for v in value))
    if isinstance(value, (list, tuple)):
        return type(value)(clone(v) for v in value)
    if isinstance(value, dict):
        return {k: clone(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return type(value)(value)
    return value


def unchanged(now, before):
    """Whether a value is exactly what it was, bit for bit (a nan counts as itself)."""
    if isinstance(before, torch.Tensor):
        return (isinstance(now, torch.Tensor) and now.shape == before.shape and now.dtype == before.dtype
                and bool(((now == before) | (now != now) & (before != before)).all()))
    if isinstance(before, (list, tuple)):
        return (isinstance(now, (list, tuple)) and len(now) == len(before)
                and all(unchanged(n, b) for n, b in zip(now, before)))
    if isinstance(before, dict):
        return isinstance(now, dict) and list(now) == list(before) and all(unchanged(now[k], before[k]) for k in before)
    return now is before or now == before
