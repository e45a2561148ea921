"""How a verdict looks: a word, a symbol and a colour, what was found, and hints that unfold one after another."""
import html
from typing import NamedTuple

from ..widgets import inline

WORD = {"right": "right", "open": "open", "wrong": "not yet"}
SYMBOL = {"right": "✔", "open": "○", "wrong": "✗"}
COLOUR = {"right": "#009E73", "open": "#0072B2", "wrong": "#D55E00"}


class Verdict(NamedTuple):
    """``status`` is "right", "open" (still to be written) or "wrong"; ``message`` is what the learner reads."""

    status: str
    message: str


class Report:
    """A verdict to be displayed. ``follow`` says which version the lesson goes on with; ``solution`` may be None."""

    def __init__(self, name, verdict, follow, hints, solution):
        self.name, self.verdict, self.follow, self.hints, self.solution = name, verdict, follow, hints, solution

    def __repr__(self):
        return "\n".join(filter(None, [f"{WORD[self.verdict.status]}: {self.verdict.message}", self.follow]))

    def _repr_mimebundle_(self, **kwargs):
        return {"text/plain": repr(self), "text/html": self.html()}

    def html(self):
        status = self.verdict.status
        unfolding = "" if self.solution is None else _details(
            "The library's version, to compare" if status == "right" else "Show a solution",
            f"<pre><code>{html.escape(self.solution)}</code></pre>")
        if status != "right":
            for number, hint in reversed(list(enumerate(self.hints, 1))):
                unfolding = _details(f"Hint {number} of {len(self.hints)}", f"<p>{inline(hint)}</p>{unfolding}")
        follow = f'<p style="margin: 0.2em 0">{inline(self.follow)}</p>' if self.follow else ""
        return (f'<div role="status" style="border-left: 5px solid {COLOUR[status]}; padding: 0.3em 0.9em">'
                f'<p style="margin: 0.2em 0"><strong>{SYMBOL[status]} {WORD[status].capitalize()}</strong>'
                f' (<code>{html.escape(self.name)}</code>): {inline(self.verdict.message)}</p>'
                f'{follow}{unfolding}</div>')


def _details(summary, body):
    return f'<details><summary>{html.escape(summary)}</summary>{body}</details>'


def show(report):
    from IPython.display import display
    display(report)
