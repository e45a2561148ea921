"""Check one function that a learner writes, and name the misconception when it is wrong.

The idea: the reference, the learner's function and every known mistake answer the same cases. If the learner's answers
differ from the reference and agree with those of a mistake on every case, the learner reads that mistake's message.
Checks are for practice on one's own machine: they can be forged, and need not be proof against that.
"""
import ast
import contextlib
import dis
import inspect
import io
import linecache
import random
import re
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy
import torch

from . import progress
from .compare import clone, describe, difference, holds, unchanged
from .report import Report, Verdict, show

SEEDS = 1_000_000  # a property's seed is below this: a learner may multiply it, or give it to numpy


class Mistake(NamedTuple):
    """A known misconception: a function that makes it, and what a learner who makes it should read.

    ``says``: where it ends in an error, words of that error, which tell it from another error of the same kind.
    """

    wrong: Callable
    message: str
    says: str = ""


class Property(NamedTuple):
    """Something every right answer fulfils; for results that are random draws. ``wrong``: mutants that break it.

    ``holds(fn, seed)`` calls ``fn`` on arguments drawn from ``seed``: whoever has seen some cannot know the others.
    """

    holds: Callable
    message: str
    wrong: tuple = ()


class Outcome(NamedTuple):
    """What one call did: the answer, or the error; which arguments (by place) it changed; what a probe saw."""

    answer: object
    error: BaseException | None
    changed: tuple
    seen: object = None


@dataclass(eq=False, repr=False)
class Exercise:
    """A check of one function. ``exercise(fn)`` displays the verdict, records it where a learner works (progress.py),
    and returns the function the lesson goes on with.

    name:       of the function, and of the exercise in its module
    reference:  the library's version, a plain function; its source is what "Show a solution" prints
    cases:      argument tuples (tensors in float64, numbers, strings, lists, dicts), or a function of a torch.Generator
                that returns them; may be empty where there are properties
    mistakes:   Mistakes, the more specific first
    hints:      exactly three, each giving away a little more
    right:      what to say when the answer is right: why it works, or what to notice
    properties: Properties, for results that are random draws; checked in order, after the cases
    start:      for a bug hunt: the faulty listing as it was handed out; answering just as it does counts as open
    probe:      probe(answer, *arguments) -> numbers that have to be right as well, taken while the answer still has its
                graph: its derivative by an argument, say. It counts only where all answers have the right values.
    """

    name: str
    reference: Callable
    cases: Iterable | Callable
    mistakes: Iterable
    hints: Iterable
    right: str
    properties: Iterable = ()
    start: Callable | None = None
    probe: Callable | None = None

    def __post_init__(self):
        self.mistakes, self.hints, self.properties = tuple(self.mistakes), tuple(self.hints), tuple(self.properties)
        if not callable(self.cases):
            self.cases = tuple(tuple(args) for args in self.cases)
        if len(self.hints) != 3:
            raise ValueError(f"hints of {self.name}: expected exactly 3, got {len(self.hints)}")
        if not (self.cases or self.properties):
            raise ValueError(f"cases of {self.name}: expected at least one where there are no properties")

    def __call__(self, fn):
        verdict = self.verdict(fn)
        attempted = callable(fn) and verdict.status != "open"
        if verdict.status == "right":
            follow = f"Below, the lesson uses your `{self.name}`."
        else:
            follow = f"Below, the lesson uses the library's `{self.name}` until yours passes."
        if verdict.status != "open":
            progress.record(self, verdict.status == "right")
        show(Report(self.name, verdict, follow, self.hints, _source(self.reference) if attempted else None))
        return fn if verdict.status == "right" else self.reference

    def __repr__(self):
        return f"exercise: {self.name}({', '.join(_names(self.reference))})"

    def verdict(self, fn, seed=0, hidden=""):
        """The Verdict on ``fn``, without display. Raises nothing but KeyboardInterrupt.

        seed:    draws the cases, and what properties ask
        hidden:  "" tells all; "numbers": neither the numbers of a case nor what is expected; "all": nor anything that the
                 function chooses itself (the words and the kind of its error, the form of its answer), for it could tell
                 what it was given in these
        """
        try:
            with _quiet():
                return self._judge(fn, seed, hidden)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # an answer that cannot even be looked at
            return Verdict("wrong", f"The check could not read your answer ({type(error).__name__}). "
                                    f"Does `{self.name}` return what the exercise asks for?")

    def _judge(self, fn, seed, hidden):
        if fn is ...:
            return Verdict("open", f"`{self.name}` is still to be written.")
        if not callable(fn):
            return Verdict("wrong", f"The check needs the function itself, `{self.name}`, without calling it; "
                                    f"it was given {describe(fn)}.")
        cases = self.cases(torch.Generator().manual_seed(seed)) if callable(self.cases) else self.cases
        cases = [tuple(args) for args in cases]
        expected = [_run(self.reference, args) for args in cases]
        outcomes = [_run(fn, args) for args in cases]
        agree = all(_agree(o, e) for o, e in zip(outcomes, expected))
        probe = self.probe if agree else None
        if probe:
            expected, outcomes = ([_run(f, args, probe=probe) for args in cases] for f in (self.reference, fn))
            agree = all(_agree(o, e) for o, e in zip(outcomes, expected))
        broken = None if cases and not agree else self._broken_property(fn, seed, hidden)
        if agree and broken is None:
            return Verdict("right", self.right)
        return (self._unfinished(fn, cases, outcomes, expected) or broken
                or self._known_mistake(cases, outcomes, probe)
                or self._finding(fn, cases, outcomes, expected, seed, hidden))

    def _unfinished(self, fn, cases, outcomes, expected):
        line = _placeholder(fn)
        if line:
            return Verdict("open", f"`{self.name}` is still to be finished: line {line[0]} reads `{line[1]}`.")
        for outcome, wanted in zip(outcomes, expected):
            if _left_open(outcome.error, fn):
                return Verdict("open", f"`{self.name}` is still to be written.")
            if outcome.error is None and holds(outcome.answer, ...):
                return Verdict("open", f"`{self.name}` is still to be finished: it returns {describe(...)}.")
            if outcome.error is None and outcome.answer is None and wanted.answer is not None:
                return Verdict("open", f"`{self.name}` returns nothing yet. Write what is missing, `return` included.")
        if self.start and cases and all(_agree(o, _run(self.start, args)) for o, args in zip(outcomes, cases)):
            return Verdict("open", f"`{self.name}` still answers like the listing you were given: "
                                   "the bug is still in it.")
        return None

    def _known_mistake(self, cases, outcomes, probe):
        for mistake in self.mistakes:
            if cases and all(_agree(o, _run(mistake.wrong, args, probe=probe)) and mistake.says in _words(o.error)
                             for o, args in zip(outcomes, cases)):
                return Verdict("wrong", mistake.message)
        return None

    def _finding(self, fn, cases, outcomes, expected, seed, hidden):
        """No known mistake: say what is seen. Errors first, then form, then inputs changed, then numbers."""
        for number, (args, outcome) in enumerate(zip(cases, outcomes), 1):
            if outcome.error is not None:
                return Verdict("wrong", self._about_error(fn, outcome.error, args, f"case {number}", hidden))
        found = [difference(o.answer, e.answer) for o, e in zip(outcomes, expected)]
        for kind in ("type", "shape", "nan"):
            for number, d in enumerate(found, 1):
                if d is not None and d.kind == kind:
                    call = "" if hidden else self._call(cases[number - 1])
                    return Verdict("wrong", f"Case {number}{call}: {self._form(d, hidden)}.")
        for number, (outcome, wanted) in enumerate(zip(outcomes, expected), 1):
            if set(outcome.changed) - set(wanted.changed):
                return Verdict("wrong", f"Case {number}: y{self._changes(fn, outcome.changed, hidden)}")
        broken = self._broken_property(fn, seed, hidden)
        if broken:
            return broken
        wrong = [number for number, d in enumerate(found, 1) if d is not None]
        if not wrong:  # the values are right, not what the probe sees
            found = [difference(o.seen, e.seen) for o, e in zip(outcomes, expected)]
            number, text = next((number, d.text) for number, d in enumerate(found, 1) if d is not None)
            text = "the derivatives differ" if hidden else text
            return Verdict("wrong", f"Case {number}: the values are right, but not what is derived from them: {text}.")
        number = wrong[0]
        if hidden:
            return Verdict("wrong", f"Case {number}: the answer has the right form and the wrong value. "
                                    f"({len(wrong)} of {len(cases)} cases differ.)")
        others = f" ({len(wrong)} of {len(cases)} cases differ.)" if len(cases) > 1 else ""
        return Verdict("wrong", f"Case {number}{self._call(cases[number - 1])}: {found[number - 1].text}.{others}")

    def _broken_property(self, fn, seed, hidden):
        """The verdict of the first property that does not hold, or None."""
        last = {}

        def watched(*args, **kwargs):
            last.update(args=clone(args), kwargs=clone(kwargs), outcome=_run(fn, args, kwargs))
            if last["outcome"].error is not None:
                raise last["outcome"].error
            if last["outcome"].changed:
                raise _Changed
            return last["outcome"].answer

        for prop in self.properties:
            last.clear()
            try:
                if prop.holds(watched, seed % SEEDS):
                    continue
            except KeyboardInterrupt:
                raise
            except BaseException:  # of the learner's function, or of the predicate, which met something unexpected
                pass
            if not last:
                return Verdict("wrong", prop.message)
            answer, error, changed, _ = last["outcome"]
            if _left_open(error, fn):
                return Verdict("open", f"`{self.name}` is still to be written.")
            if error is not None:
                return Verdict("wrong", self._about_error(fn, error, last["args"], "the call", hidden, last["kwargs"]))
            if changed:
                return Verdict("wrong", f"Y{self._changes(fn, changed, hidden)}")
            wanted = _run(self.reference, last["args"], last["kwargs"]).answer
            if holds(answer, ...) or answer is None and wanted is not None:
                return Verdict("open", f"`{self.name}` is still to be finished: it returns {describe(answer)}.")
            form = difference(answer, wanted)
            if form is not None and form.kind == "type":
                return Verdict("wrong", f"The answer has another form than asked for: {self._form(form, hidden)}.")
            return Verdict("wrong", prop.message)
        return None

    @staticmethod
    def _form(found, hidden):
        """A Difference of kind "type", "shape" or "nan" in words."""
        if hidden != "all":
            return found.text
        return "it holds nan (not a number)" if found.kind == "nan" else f"another {found.kind} was expected"

    def _changes(self, fn, places, hidden):
        names = _names(self.reference if hidden == "all" else fn)
        told = ", ".join(f"`{names[i]}`" if i < len(names) else f"number {i + 1}" for i in places)
        return (f"our function changes its argument {told} in place. Whoever called it still needs the old value: "
                "compute a new one.")

    def _about_error(self, fn, error, args, what, hidden, kwargs=None):
        try:
            inspect.signature(fn).bind(*args, **(kwargs or {}))
        except TypeError:
            call = f"`{self.name}({', '.join(_names(self.reference))})`"
            return f"Yours does not take the arguments it is called with: {call}."
        except ValueError:  # a built-in that does not tell
            pass
        known = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
        words = known if hidden == "all" else f"{type(error).__name__}: {_words(error)}"
        text = f"{what[0].upper()}{what[1:]} stopped with {words}"
        text += "" if text.endswith((".", "!", "?")) else "."
        line = line_of(error, fn)
        if line and hidden != "all":
            text += f" That was in line {line[0]}, `{line[1]}`."
        if isinstance(error, RuntimeError) and re.search("dtype|scalar type|Float and Double|Double", _words(error)) \
                and "inplace" not in _words(error):
            text += " The check uses float64: make new tensors with the `dtype` of those you are given."
        return text

    def _call(self, args):
        """The call itself, if it is short enough to read."""
        text = ", ".join(_value(a) for a in args)
        return f", `{self.name}({text})`" if len(text) <= 160 else ""


class _Changed(Exception):
    pass


def _run(fn, args, kwargs=None, probe=None):
    """Call ``fn`` on copies of the arguments and keep what it did, and what ``probe`` sees in its answer."""
    given, options = clone(args), clone(kwargs or {})
    try:
        with torch.enable_grad():
            answer = fn(*given, **options)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a learner's exit() must not end the lesson
        return Outcome(None, error, ())
    changed = tuple(i for i, (now, before) in enumerate(zip(given, args)) if not unchanged(now, before))
    seen = None
    if probe:
        with torch.enable_grad():
            seen = _kept(probe(answer, *given))
    return Outcome(_kept(answer), None, changed, seen)


def slopes(answer, *inputs):
    """A probe: the derivatives of an answer (a tensor, or a list of them) by the inputs; zeros where its graph is cut.

    Each number of the answer has a weight of its own, so that none can stand in for another.
    """
    parts = [p for p in (answer if isinstance(answer, (list, tuple)) else [answer])
             if isinstance(p, torch.Tensor) and p.requires_grad]
    if not parts:
        return [torch.zeros_like(t) for t in inputs]
    value = sum((p * torch.linspace(1, 2, p.numel(), dtype=p.dtype).reshape(p.shape)).sum() for p in parts)
    found = torch.autograd.grad(value, inputs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(t) if d is None else d.to(t.dtype) for t, d in zip(inputs, found)]


def _names(fn):
    try:
        return list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return []


def _kept(answer, depth=6):
    """The answer cut off from the graph and from what later calls may overwrite (not copied where it is huge)."""
    if isinstance(answer, torch.Tensor):
        return answer.detach().clone() if answer.numel() <= 1_000_000 else answer.detach()
    if depth and type(answer) in (list, tuple) and len(answer) <= 100_000:
        return type(answer)(_kept(a, depth - 1) for a in answer)
    if depth and type(answer) is dict:
        return {k: _kept(v, depth - 1) for k, v in answer.items()}
    return answer


def _agree(outcome, other):
    if outcome.error is not None or other.error is not None:
        return type(outcome.error) is type(other.error)
    return (outcome.changed == other.changed and difference(outcome.answer, other.answer) is None
            and difference(outcome.seen, other.seen) is None)


@contextlib.contextmanager
def _quiet():
    """Leave the notebook as it was: random states kept, prints and warnings of the many calls swallowed."""
    python, numbers = random.getstate(), numpy.random.get_state()
    with (torch.random.fork_rng(devices=[]), warnings.catch_warnings(),
          contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())):
        warnings.simplefilter("ignore")
        random.seed(0)
        numpy.random.seed(0)
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(numbers)


def _placeholder(fn):
    """(line number, line) of the first ``...`` left in the source of ``fn``, or None. ``x[..., 0]`` does not count."""
    if hasattr(fn, "placeholder"):  # a function that is elsewhere: grade/marks.py
        return fn.placeholder
    try:
        source = textwrap.dedent(inspect.getsource(fn))
        tree = ast.parse(source)
        first = inspect.unwrap(fn).__code__.co_firstlineno
    except (OSError, TypeError, SyntaxError, ValueError, AttributeError):
        return None
    indices = {id(n) for s in ast.walk(tree) if isinstance(s, ast.Subscript) for n in ast.walk(s.slice)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value is ... and id(node) not in indices:
            return first + node.lineno - 1, source.splitlines()[node.lineno - 1].split("#")[0].strip()
    return None


def _left_open(error, fn):
    """Whether ``error`` says that code is missing: ``...`` was used as a value, or the learner's own code raised
    NotImplementedError. (PyTorch raises it too, for what it cannot do: 1.0 - a tensor of truth values.)"""
    if not isinstance(error, NotImplementedError):
        return "ellipsis" in _words(error).lower()
    if hasattr(error, "left_open"):
        return error.left_open
    *_, last = _steps(error.__traceback__)
    code, own = last.tb_frame.f_code, getattr(fn, "__code__", None)
    raised = code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]  # by `raise`, not inside a call or an operator
    return raised and own is not None and code.co_filename == own.co_filename


def _steps(tb):
    while tb is not None:
        yield tb
        tb = tb.tb_next


def line_of(error, fn):
    """(line number, line) where the learner's own code was when ``error`` was raised, or None."""
    if hasattr(error, "left_open"):  # raised elsewhere: grade/marks.py
        return error.line
    code = getattr(fn, "__code__", None)
    found = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if code is not None and frame.f_code.co_filename == code.co_filename:
            found = number, linecache.getline(code.co_filename, number, frame.f_globals).strip()
    return found if found and found[1] else None


def _words(error):
    """The first line of an error's text, without addresses, which differ from run to run."""
    if error is None:
        return ""
    try:
        text = str(error).strip()
    except Exception:
        text = ""
    text = re.sub(r" at 0x[0-9a-f]+", "", text.splitlines()[0] if text else "no reason given")
    return text if len(text) <= 200 else text[:199] + "…"


def _value(value):
    if isinstance(value, torch.Tensor):
        return f"tensor({_value(value.tolist())})" if value.numel() <= 40 else "tensor(…)"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _source(fn):
    try:
        return textwrap.dedent(inspect.getsource(fn)).strip()
    except (OSError, TypeError):
        return None
