"""grades.csv: its columns, the roster, and adding lessons up.

The columns: student, lesson, total, max, status, seconds, late, notes, then for each exercise of the hidden file, in
its order, ``NAME points``, ``NAME status`` and ``NAME seconds``. Statuses of a row: "graded"; "unreadable" and
"missing" (the total is 0, the notes say why); "failed" (the grader itself did: the total is empty, and --resume tries
again). Statuses of an exercise: right, partly, wrong, open (not written), lost (it ended, took too long, or
gave no answer).

``late`` says by how much the submission's time is past the deadline. No mark depends on it: what lateness costs is the
teacher's policy. Where a text, or what follows a separator in it, begins with = + - @ an apostrophe goes before that, so
that no spreadsheet takes it for a formula, whatever its list separator is.

``student`` is the name of the file or folder that was handed in; let it be a pseudonym or a number. A roster (CSV with
a column ``student``; ``due`` may give a student another deadline) adds rows for those who handed in nothing, and flags
strangers. Its other columns (name, email, id, ..) go nowhere but to the end of what `grade merge --roster` writes.

Into Moodle's gradebook (import, CSV file): map from ``id`` to the user's ID number, or from ``email`` to the address,
and ``total`` to a grade item. Into Canvas: export its gradebook, copy ``total`` into the assignment's column, the rows
matched by ``id`` = SIS User ID, and import it again.
"""

import csv
import io
import os
import re
from datetime import datetime
from pathlib import Path

from .files import legible

FIRST = ("student", "lesson", "total", "max", "status", "seconds", "late", "notes")
FORMULA = re.compile(r"(^|[;,|\t]\s*)(?=[=+\-@＝＋－＠'\t\r])")  # where one could begin, and where there is an apostrophe


def columns(hidden):
    return [*FIRST, *(f"{name} {what}" for name in hidden.exercises for what in ("points", "status", "seconds"))]


def total(record):
    """The points of a record, None if the grader failed on it."""
    return None if record["status"] == "failed" else sum(result["got"] for result in record["results"])


def row(record, hidden):
    """A record (see `run`) as a row of grades.csv, a dict."""
    notes = [*([record["problem"]] if record["problem"] else []), *record["notes"]]
    cells = {"student": record["student"], "lesson": record["lesson"], "total": total(record),
             "max": sum(hidden.exercises.values()), "status": record["status"], "seconds": round(record["seconds"], 2),
             "late": record["late"], "notes": "; ".join(notes)}
    for name in hidden.exercises:
        results = [result for result in record["results"] if result["exercise"] == name]
        if results:
            cells |= {f"{name} points": sum(result["got"] for result in results), f"{name} status": status(results),
                      f"{name} seconds": round(sum(result["seconds"] for result in results), 2)}
    return cells


def status(results):
    """One word for the parts of an exercise."""
    words = {result["status"] for result in results}
    if len(words) == 1:
        return words.pop()
    return "partly" if "right" in words else "lost" if "lost" in words else "wrong"


def safe(cell):
    """A cell that no spreadsheet takes for a formula; `unsafe` takes it back."""
    return FORMULA.sub(r"\1'", cell) if isinstance(cell, str) else cell


def unsafe(cell):
    return re.sub(r"(^|[;,|\t]\s*)'", r"\1", cell)


def lines(rows, names, header=True):
    """Rows (dicts) as CSV text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for cells in [dict(zip(names, names))] * header + rows:
        writer.writerow([safe("" if cells.get(name) is None else cells[name]) for name in names])
    return text.getvalue()


def write_whole(path, text):
    """Write a file so that it is either as before or complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8", newline="")
    os.replace(beside, path)


# ------------------------------------------------------------------------------------------------ roster, deadline


def read_roster(path):
    """{student: the row, a dict}. Raises ValueError that names a line and no person."""
    listed = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if "student" not in (reader.fieldnames or ()):
                raise ValueError(f"{path}: no column `student`")
            for person in reader:
                person.pop(None, None)  # cells beyond the last column
                student = person["student"] = legible(person["student"]).strip()
                if not student or student in listed:
                    raise ValueError(f"{path}, line {reader.line_num}: " + (
                        "this student stands there twice" if student else "no student"))
                listed[student] = person
                moment(person.get("due") or "", f"{path}, line {reader.line_num}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV in UTF-8 ({error})") from None
    return listed


def moment(text, where="due"):
    """A time such as 2027-01-31T18:00 or 2027-01-31T18:00+01:00; without a zone that of this machine. None for ""."""
    try:
        return datetime.fromisoformat(text.strip()).astimezone() if text.strip() else None
    except (ValueError, OverflowError):
        raise ValueError(f"{where}: {text.strip()!r} is no time such as 2027-01-31T18:00") from None


def late(submission, listed, due):
    """By how much a Submission is late: "" or such as "1 d 2 h 5 min"."""
    due = moment(listed.get(submission.student, {}).get("due") or "") or due
    if due is None or submission.path is None:
        return ""
    if submission.modified is None:
        return "time unknown"
    minutes = (submission.modified - due.astimezone()).total_seconds() / 60
    if minutes <= 0:
        return ""
    days, hours, minutes = int(minutes // 1440), int(minutes // 60 % 24), int(minutes % 60)
    words = [f"{number} {unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if number]
    return " ".join(words) or "under 1 min"


# ------------------------------------------------------------------------------------------------ several lessons


def merge(folders, out, roster=None):
    """Add up the grades.csv of several folders into the CSV ``out`` -> its rows, sorted by student.

    The columns: student, total, max, then for each lesson ``LESSON`` (its total), ``LESSON status``, ``LESSON late``,
    then those of the roster. A lesson without a row counts 0, and ``max`` counts every lesson; the total of a student
    on whom the grader failed somewhere is empty. Raises ValueError if a student has two rows for a lesson, or a file is
    no grades.csv.
    """
    marks, most = {}, {}  # student -> lesson -> row; lesson -> max
    for folder in folders:
        path = Path(folder, "grades.csv")
        for student, lesson, points, cells in _read_grades(path):
            if lesson in marks.setdefault(student, {}):
                raise ValueError(f"{path}: a second row for a student of {lesson}")
            marks[student][lesson] = cells
            if most.setdefault(lesson, points) != points:
                raise ValueError(f"{path}: {lesson} has another `max` than before: --regrade one of them")
    listed = read_roster(roster) if roster else {}
    own = [name for name in next(iter(listed.values()), {}) if name != "student"]
    clash = set(own) & {"total", "max", *most}
    if clash:
        raise ValueError(f"{roster}: a column cannot be called {', '.join(sorted(clash))} here")
    rows = []
    for student in sorted({*marks, *listed}):
        row = {"student": student, "max": sum(most.values())}
        got = []
        for lesson in sorted(most):
            cells = marks.get(student, {}).get(lesson, {"total": "0", "status": "missing", "late": ""})
            got.append(cells["total"])
            row |= {lesson: cells["total"], f"{lesson} status": cells["status"], f"{lesson} late": cells["late"]}
        rows.append(row | {"total": sum(map(int, got)) if all(got) else ""} | listed.get(student, {}))
    names = ["student", "total", "max"]
    for lesson in sorted(most):
        names += [lesson, f"{lesson} status", f"{lesson} late"]
    write_whole(Path(out), lines(rows, names + own))
    return rows


def _read_grades(path):
    """-> (student, lesson, max, row) of each row of a grades.csv."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            read = []
            for cells in csv.DictReader(file):
                int(cells["total"] or 0), cells["status"], cells["late"]
                read.append((unsafe(cells["student"]), unsafe(cells["lesson"]), int(cells["max"]), cells))
            return read
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: not a whole grades.csv ({error})") from None
