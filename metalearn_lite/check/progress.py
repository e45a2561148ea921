"""What the checks and quizzes remember of a learner's work: the file progress.jsonl beside the learner's notebooks.

    progress.show()                        # a table of what is done
    progress.export("my-progress.json")    # the same as one JSON file
    progress.delete()                      # forget everything

Recorded is only where a learner works: in a folder that holds the contents, index.ipynb, and is not called lessons or
solutions, where the course itself builds and tests its notebooks. A line holds the name of an exercise or a quiz, right
or wrong, and the day. There is no name of a person in it, and nothing leaves the machine.

Each attempt appends one line. So two notebooks that are open at once do not overwrite each other's records, and a line
that is damaged costs that line only. A record that cannot be written or read never stops a lesson.
"""
import datetime
import html
import importlib
import json
import os
import pkgutil
import re
import sys
from pathlib import Path

from ..widgets import Quiz
from .report import SYMBOL, WORD

FILE = "progress.jsonl"
ABOUT = "What the checks of the metalearn_lite course recorded here. It is yours: keep it, move it or delete it."


def place():
    """The file of records for the folder that this runs in, or None where nothing is to be recorded."""
    here = Path.cwd()
    return here / FILE if (here / "index.ipynb").exists() and here.name not in ("lessons", "solutions") else None


def items(module):
    """name -> Exercise, Order or Quiz of a lesson's module. Quizzes in a list have a number: "WARM_UP 2"."""
    from . import all_exercises  # not above: the exercises' own module needs this one
    found = {exercise.name: exercise for exercise in all_exercises(module)}
    for name, value in vars(module).items():
        if isinstance(value, Quiz):
            found[name] = value
        elif isinstance(value, (list, tuple)):
            found |= {f"{name} {n}": quiz for n, quiz in enumerate(value, 1) if isinstance(quiz, Quiz)}
    return found


def modules():
    """lesson -> its module of exercises and quizzes: primer, lesson00, lesson01, ..., and index, the contents' own."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])
             if re.fullmatch(r"primer|index|lesson\d\d", module.name)]
    names.sort(key=lambda name: (name == "index", name != "primer", name))
    return {name: importlib.import_module(f"{__package__}.{name}") for name in names}


def record(item, right):
    """Append an attempt at an exercise or a quiz of the course, unless it was right before. Raises nothing."""
    try:
        path, key = place(), _key(item)
        if path is None or key is None or read().get(key, {}).get("status") == "right":
            return
        line = {"item": key, "status": "right" if right else "wrong", "date": datetime.date.today().isoformat()}
        text = f"\n{json.dumps(line)}\n"  # begins on a line of its own, whatever a machine that stopped has left
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(number, text.encode())  # one call: whole, at the end of the file
        finally:
            os.close(number)
    except Exception:
        pass


def _key(item):
    """"lesson01.sgd" for what stands in a lesson's module; None for anything made elsewhere."""
    for name, module in list(sys.modules.items()):
        package, _, lesson = name.rpartition(".")
        if package == __package__:
            for own, found in items(module).items():
                if found is item:
                    return f"{lesson}.{own}"
    return None


def read():
    """"lesson01.sgd" -> {"status": "right" or "wrong", "attempts": until it was right, "first_right": date or None}."""
    path, found = place(), {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, AttributeError):  # none yet, not readable, or nothing is recorded here
        return {}
    for line in lines:
        try:
            said = json.loads(line)
            item, status, date = (said[name] for name in ("item", "status", "date"))
            if not (isinstance(item, str) and isinstance(date, str) and status in ("right", "wrong")):
                continue
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        entry = found.setdefault(item, {"status": "wrong", "attempts": 0, "first_right": None})
        if entry["status"] != "right":
            entry["attempts"] += 1
            entry.update(status=status, first_right=date if status == "right" else None)
    return found


def export(path):
    """Write what is recorded to the new file ``path``, as JSON, and say so. Raises FileExistsError if it exists."""
    text = json.dumps({"about": ABOUT, "records": read()}, indent=1)
    with open(path, "x", encoding="utf-8") as file:
        file.write(text + "\n")
    print(f"Written: {path}")


def delete():
    """Forget everything that was recorded in this folder, and say so."""
    path = place()
    if path is not None and path.exists():
        path.unlink()
        print("Deleted: nothing is recorded any more.")
    else:
        print("There is nothing to delete.")


# ------------------------------------------------------------------------------------------------ display


class Shown:
    """A text, and the same as HTML."""

    def __init__(self, text, markup):
        self.text, self.markup = text, markup

    def __repr__(self):
        return self.text

    def _repr_mimebundle_(self, **kwargs):
        return {"text/plain": self.text, "text/html": self.markup}


def tick(entry):
    """A record's symbol and word: "✔ right". None stands for what was not tried."""
    status = entry["status"] if entry else "open"
    return f"{SYMBOL[status]} {WORD[status]}"


def show():
    """A table of what is done, to end a cell with: a row for each lesson."""
    from .index import title  # not above: it needs this module
    records, text, body = read(), [], ""
    for lesson, module in modules().items():
        everything = items(module)
        right = {name for name in everything if records.get(f"{lesson}.{name}", {}).get("status") == "right"}
        quizzes = {name for name, item in everything.items() if isinstance(item, Quiz)}
        exercises = [name for name in everything if name not in quizzes]
        rest = [name for name in exercises if name not in right]
        counts = (len(right - quizzes), len(exercises)), (len(right & quizzes), len(quizzes))
        text.append(f"{title(lesson)}: exercises {_count(*counts[0])}, quizzes {_count(*counts[1])}"
                    + (f"; open: {', '.join(rest)}" if rest else ""))
        cells = [_bar(*counts[0]), _bar(*counts[1]), ", ".join(f"<code>{name}</code>" for name in rest) or "none"]
        body += (f'<tr><th scope="row" {_LEFT}>{html.escape(title(lesson))}</th>'
                 + "".join(f"<td {_LEFT}>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f'<th scope="col" {_LEFT}>{word}</th>'
                   for word in ("lesson", "exercises right", "quizzes right", "exercises still open"))
    note = _note(records)
    return Shown("\n".join([note, *text]), f"<table><caption {_LEFT}>{note}</caption>"
                                           f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


_LEFT = 'style="text-align: left"'


def _note(records):
    if place() is None:
        return "Nothing is recorded in this folder. Your progress is recorded in your own copy of the lessons."
    if not records:
        return "Nothing is recorded yet: solve an exercise or answer a quiz, and run this cell again."
    days = sorted(entry["first_right"] for entry in records.values() if entry["first_right"])
    when = f", the first on {html.escape(days[0])}, the last on {html.escape(days[-1])}" if days else ""
    return f"{len(days)} right{when}."


def _count(done, of):
    return f"{done} of {of}" if of else "none here"


def _bar(done, of):
    """A bar of ten blocks, and the same in figures."""
    full = done * 10 // of if of else 0
    blocks = f'<span aria-hidden="true" style="color: #0072B2">{"█" * full + "░" * (10 - full)}</span> ' if of else ""
    return f'<span style="white-space: nowrap">{blocks}{_count(done, of)}</span>'
