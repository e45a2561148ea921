"""One page for one student: points, and what was found, in the words of the checks in the lesson.

The page is one file without scripts, and shows nothing but this student's own results. All text in it is escaped.
"""

import html
from itertools import groupby

from ..check.report import SYMBOL, WORD
from ..widgets import inline
from .files import legible

WORDS = WORD | {"wrong": "wrong", "open": "not written", "lost": "no answer"}  # a mark is final: no "not yet"
SYMBOLS = SYMBOL | {"lost": "✗"}
LONGEST = 2_000  # letters of one message

STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --back: #fff; --line: #767676; --soft: #f3f3f3;
        --right: #00694c; --open: #00598f; --wrong: #a63c00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #eee; --back: #161616; --line: #8c8c8c; --soft: #262626;
          --right: #4fd1a5; --open: #6cc1f5; --wrong: #ff9d66; } }
body { color: var(--text); background: var(--back); font: 1rem/1.5 system-ui, sans-serif;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
p, li, td:last-child { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding-bottom: 0.5rem; }
th, td { border: 1px solid var(--line); padding: 0.4rem 0.6rem; text-align: left; vertical-align: top; }
thead th { background: var(--soft); }
td.points { white-space: nowrap; }
.right { color: var(--right); } .open { color: var(--open); } .wrong, .lost { color: var(--wrong); }
code { background: var(--soft); padding: 0 0.2em; }
"""


def page(submission, results, hidden):
    """-> the page, a string of HTML.

    submission:  a Submission; its problem and notes are shown
    results:     list of marks.Result, those of an exercise one after another; empty if nothing could be graded
    hidden:      parts.Hidden, for the lesson's name and the points of each exercise
    """
    total, most = sum(result.got for result in results), sum(hidden.exercises.values())
    lesson = hidden.lesson.replace("lesson", "lesson ")
    body = [f"<h1>Marks for {text(lesson)}</h1>", f"<p>Student: <bdi>{text(submission.student)}</bdi></p>",
            f"<p><strong>{total} of {most} points</strong></p>"]
    if submission.problem:
        body += ["<h2>Nothing was graded</h2>", f"<p>{text(submission.problem)}</p>"]
    if submission.notes:
        body += ["<h2>Notes</h2>", "<ul>", *(f"<li>{text(note)}</li>" for note in submission.notes), "</ul>"]
    if results:
        body += ["<h2>Exercises</h2>", _table(results, hidden)]
    style = f"<style>{STYLE}</style>"
    policy = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""
    return "\n".join(['<!DOCTYPE html>', '<html lang="en">', '<head>', '<meta charset="utf-8">', policy,
                      '<meta name="viewport" content="width=device-width">', f"<title>Marks for {text(lesson)}</title>",
                      style, '</head>', '<body>', '<main>', *body, '</main>', '</body>', '</html>', ''])


def _table(results, hidden):
    rows = []
    for name, of_one in groupby(results, key=lambda result: result.exercise):
        of_one = list(of_one)
        got = sum(result.got for result in of_one)
        heading = (f'<th scope="rowgroup" rowspan="{len(of_one)}"><code>{text(name)}</code><br>'
                   f'{got} of {hidden.exercises.get(name, got)}</th>')
        rows.append("<tbody>")
        for result in of_one:
            status = result.status if result.status in WORDS else "wrong"
            rows.append(f'<tr>{heading}<th scope="row">{text(result.title)}</th>'
                        f'<td class="points">{result.got} of {result.points}</td>'
                        f'<td class="{status}"><span aria-hidden="true">{SYMBOLS[status]}</span> {WORDS[status]}</td>'
                        f'<td dir="auto">{text(result.message)}</td></tr>')
            heading = ""
        rows.append("</tbody>")
    words = "Exercise", "Asked", "Points", "Result", "What was found"
    head = "".join(f'<th scope="col">{word}</th>' for word in words)
    caption = "Each function was called with fresh numbers, and its answers were compared with those of a right one."
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead>{''.join(rows)}</table>"


def text(words):
    """Any words as HTML: escaped, `code` between backticks, invisible and turning letters spelled out."""
    words = legible(str(words), keep="\n\t")
    return inline(words if len(words) <= LONGEST else f"{words[:LONGEST]} ..")
