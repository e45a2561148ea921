"""A Parsons problem: given lines, each with a letter, are to be put in order."""
import re
from dataclasses import dataclass

from ..widgets import inline
from . import progress
from .report import Report, Verdict, show


@dataclass(eq=False)
class Order:
    """``order("ACB")`` displays the verdict and records it, as an Exercise does.

    Showing the object itself (last line of a cell) lists the lines.

    name:     of the exercise
    lines:    letter -> line of code, indentation included; lines that do not belong are allowed
    right:    the right order, "ACBD", or a set of them
    mistakes: order or regular expression (matched against the whole answer) -> message; the more specific first
    hints:    exactly three
    praise:   what to say when the order is right
    """

    name: str
    lines: dict
    right: str | set
    mistakes: dict
    hints: tuple
    praise: str = "These lines do it, in this order."

    def __post_init__(self):
        self.hints = tuple(self.hints)
        if len(self.hints) != 3:
            raise ValueError(f"hints of {self.name}: expected exactly 3, got {len(self.hints)}")
        for order in self._rights():
            if not set(order) <= set(self.lines):
                raise ValueError(f"right order of {self.name}: expected letters of {sorted(self.lines)}, got {order!r}")

    def __call__(self, answer=""):
        verdict = self.verdict(answer)
        if verdict.status != "open":
            progress.record(self, verdict.status == "right")
        solution = None if verdict.status == "open" else self._program(self._rights()[0])
        show(Report(self.name, verdict, "", self.hints, solution))

    def verdict(self, answer):
        """The Verdict on an order such as "ACB" (spaces and commas do not matter), without display. Never raises."""
        try:
            return self._judge(answer)
        except Exception:  # an answer that cannot even be looked at
            return Verdict("wrong", f"The answer should be letters in a string, such as \"{self._sample()}\".")

    def _judge(self, answer):
        if isinstance(answer, (list, tuple)) and all(isinstance(a, str) for a in answer):
            answer = "".join(answer)
        if answer is None or answer is ... or isinstance(answer, str) and not answer.strip(" .?_"):
            return Verdict("open", "Give the letters of the lines in order, such as "
                                   f"`{self.name}(\"{self._sample()}\")`.")
        if not isinstance(answer, str):
            return Verdict("wrong", f"The answer should be letters in a string, such as \"{self._sample()}\".")
        letters = re.sub(r"[\s.,;>\-]+", "", answer).upper()
        if len(letters) > 100:
            return Verdict("wrong", f"The answer should be letters in a string, such as \"{self._sample()}\".")
        unknown = sorted(set(letters) - set(self.lines))
        if unknown:
            return Verdict("wrong", f"There is no line {', '.join(unknown)}; the lines are {', '.join(self.lines)}.")
        if letters in self._rights():
            return Verdict("right", self.praise)
        for pattern, message in self.mistakes.items():
            if re.fullmatch(pattern, letters):
                return Verdict("wrong", message)
        twice = sorted({a for a in letters if letters.count(a) > 1})
        if twice and not any(len(set(order)) < len(order) for order in self._rights()):
            return Verdict("wrong", f"Line {', '.join(twice)} stands there more than once.")
        if len(letters) not in {len(order) for order in self._rights()}:
            return Verdict("wrong", f"You put {len(letters)} lines in order; it takes {len(self._rights()[0])}.")
        best = max(self._rights(), key=lambda order: _together(order, letters))
        good = _together(best, letters)
        return Verdict("wrong", f"The first {good} are right, then it goes another way." if good > 1 else
                       "The first is right, then it goes another way." if good else "Another line has to come first.")

    def _rights(self):
        return [self.right] if isinstance(self.right, str) else sorted(self.right)

    def _sample(self):
        """Letters in an order that is not right."""
        letters = "".join(self.lines)
        return letters[::-1] if letters in self._rights() else letters

    def _program(self, order):
        return "\n".join(self.lines[letter] for letter in order)

    def __repr__(self):
        return "\n".join(f"{letter}:  {line}" for letter, line in self.lines.items())

    def _repr_mimebundle_(self, **kwargs):
        rows = "".join(f"<tr><th scope='row'>{letter}</th><td style='text-align: left'><pre style='margin: 0'>"
                       f"{inline(line)}</pre></td></tr>" for letter, line in self.lines.items())
        return {"text/plain": repr(self), "text/html": f"<table><caption>Lines of {inline(self.name)}, to be put in "
                                                       f"order</caption>{rows}</table>"}


def _together(order, letters):
    """How many letters at the beginning agree."""
    return next((i for i, (a, b) in enumerate(zip(order, letters)) if a != b), min(len(order), len(letters)))
