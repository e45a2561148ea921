"""What a class handed in, one Submission a student; nothing of it is run, unpacked to disk or believed.

SUBMISSIONS is a folder, or a zip of one. In it stands, for each student, one of

    alice.ipynb or alice.py       a file named by the student (or both: the pair that Jupytext keeps)
    alice/05_maml.ipynb           a folder named by the student; other lessons may lie beside this one
    alice.zip                     such a file or folder, zipped

The rules. An .ipynb.txt or .ipynb.json, as some browsers save it, is an .ipynb. Names that begin with a dot, __MACOSX
and __pycache__ are passed over. A file is of this lesson if the lesson's title stands in it (a first heading), whatever
the file is called; without the title of any lesson, if its code names the lesson's module (`lesson05`, as the import
cell does) or defines one of its exercises. If a student has several files of this lesson, one with the title goes
before one without; then the most recently modified counts, .ipynb before .py; a note says so. The time is the file's
own, or the one in the zip: a clock can be set, and copying may renew it. What cannot be read is a Submission with a
``problem``, in words.
"""

import hashlib
import io
import json
import re
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from ..check import all_exercises
from . import files
from .files import Refused, legible
from .parts import ROOT, lesson_of

SOURCE = 1_000_000  # letters of code in one notebook
CELLS = 2_000
LOOKED_AT = 40  # files of one student: those named like the lesson first, then the most recent
SUFFIXES = (".ipynb", ".py", ".zip")


class Submission(NamedTuple):
    """``cells``: the sources of the code cells, in order, or None with a ``problem`` in words. ``path``: of the file,
    or of the zip that holds it. ``modified`` has a time zone; None if it is not known."""

    student: str
    path: Path | None
    cells: list | None
    problem: str = ""
    notes: tuple = ()
    modified: datetime | None = None


def find(folder, lesson, exercises=()):
    """-> the Submissions in ``folder`` (or zip), sorted by student, one for each.

    lesson:     "lesson05", "primer", or the name of a private one
    exercises:  the names of its exercises; without them those of metalearn_lite.check.LESSON
    Raises ValueError if ``folder`` is neither a folder nor a zip, and nothing for what is in it.
    """
    folder = Path(folder)
    known = lesson, set(exercises) or _exercises(lesson), _titles()
    if folder.is_dir():
        return _by_student(files.in_folder(folder), known)
    if not folder.is_file():
        raise ValueError(f"{folder}: no such folder, and no zip")
    with open(folder, "rb") as file:
        try:
            return _by_student(_without_root(list(files.in_zip(file, (), folder, 10**6))), known)
        except Refused as problem:
            raise ValueError(f"{folder}: {problem}") from None


def _by_student(entries, known):
    groups = {}
    for entry in entries:
        groups.setdefault(_student(entry.names[0]), []).append(entry)
    return [_choose(student, groups[student], known) for student in sorted(groups)]


def _student(name):
    name = legible(_bare(name)).strip() or "(no name)"
    return name if len(name) <= 100 else f"{name[:100]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _bare(name):
    while files.suffix(name) in SUFFIXES:
        name = name[:-len(Path(name).suffix)]
    return name


def _without_root(entries):
    """The entries of a zip of a whole class, without the one folder around them if there is one."""
    inner = [entry for entry in entries if len(entry.names) > 1]
    outer = [entry for entry in entries if len(entry.names) == 1]
    single = len({entry.names[0] for entry in entries}) == 1 and all(entry.read is None for entry in outer)
    if single and not any(re.match(r"(\d\d|primer)_", entry.names[1]) for entry in inner):
        return [entry._replace(names=entry.names[1:]) for entry in inner]
    return entries


# ------------------------------------------------------------------------------------------------ one student


def _choose(student, entries, known):
    """The Submission of the student to whom ``entries`` belong."""
    last = max(entries, key=_age)
    try:
        found = [e for e in _unzipped(entries) if e.read and (len(e.names) == 1 or e.suffix in SUFFIXES)]
        named = known[0].removeprefix("lesson")
        found.sort(key=lambda e: (e.names[-1].startswith(named), _age(e)), reverse=True)
        tried = [(*_look(entry, *known), entry) for entry in found[:LOOKED_AT]]
    except Exception as error:  # whatever else there is: a row that says so
        return Submission(student, last.path, None, f"unreadable: {type(error).__name__}", (), last.modified)
    if not tried:
        return Submission(student, last.path, None, "missing: no .ipynb and no .py in it", (), last.modified)
    rank, cells, problem, entry = max(tried, key=lambda t: (t[0], *_age(t[3])))
    others = [e for r, _, _, e in tried if r > 0 and _pair(e) != _pair(entry)]
    notes = []
    if others:
        notes.append(f"{len(others) + 1} files of this lesson: {_shown([entry])} counts, not {_shown(others)}")
    notes += [f"{_shown([e])}: {words}" for r, _, words, e in tried if r < 0 and e is not entry][:3]
    if len(found) > LOOKED_AT:
        notes.append(f"{len(found)} files: only {LOOKED_AT} were looked at")
    return Submission(student, entry.path, None if problem else cells, problem, tuple(notes), entry.modified)


def _age(entry):
    return entry.modified or datetime.min.replace(tzinfo=UTC), entry.suffix == ".ipynb", entry.names


def _pair(entry):
    """The same for the two files of a pair."""
    return *entry.names[:-1], _bare(entry.names[-1])


def _shown(entries):
    return ", ".join(legible("/".join(e.names))[:100] for e in entries[:3]) + (", .." if len(entries) > 3 else "")


def _unzipped(entries):
    """The entries, with the files in a student's zips in the place of the zips."""
    for entry in entries:
        if not entry.read or entry.suffix != ".zip":
            yield entry
            continue
        try:
            yield from files.in_zip(io.BytesIO(entry.read()), entry.names, entry.path)
        except Refused as problem:
            yield entry._replace(read=files.refused(str(problem)))


def _look(entry, lesson, exercises, titles):
    """-> (rank, code cells, problem) of a file; rank as in ``_rank``, -1 if it cannot be read."""
    try:
        cells, text = _cells(entry)
    except Refused as problem:
        return -1, None, str(problem)
    rank = _rank(cells, text, lesson, exercises, titles)
    return rank, cells, "" if rank else f"wrong lesson: nothing in it is of {lesson}"


# ------------------------------------------------------------------------------------------------ notebooks


def _cells(entry):
    """-> (sources of the code cells, text of the others). Raises Refused."""
    data = entry.read()
    if not data.strip():
        raise Refused("empty")
    if entry.suffix not in (".ipynb", ".py"):
        raise Refused("a zip in a zip" if entry.suffix == ".zip" else "not an .ipynb, .py or .zip file")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise Refused("not UTF-8 text") from None
    cells = _notebook(text) if entry.suffix == ".ipynb" else _script(text)
    code = [source.encode("utf-8", "replace").decode() for kind, source in cells if kind == "code"]
    if not any(source.strip() for source in code):
        raise Refused("no code in it")
    if sum(map(len, code)) > SOURCE or len(code) > CELLS:
        raise Refused(f"too large: more than {SOURCE // 1000} kB of code, or more than {CELLS} cells")
    return code, "\n".join(source for kind, source in cells if kind != "code")


def _notebook(text):
    try:
        book = json.loads(text, parse_int=lambda digits: 0)  # no number in it matters here
    except RecursionError:
        raise Refused("nested too deeply") from None
    except json.JSONDecodeError as error:
        cut = text.startswith("{") and (error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"))
        raise Refused("truncated: its JSON ends in the middle" if cut else "not JSON, so no notebook") from None
    cells = book.get("cells") if isinstance(book, dict) else None
    if not isinstance(cells, list):
        raise Refused("not a notebook: it has no list of cells")
    read = []
    for number, cell in enumerate(cells, 1):
        kind, source = (cell.get("cell_type"), cell.get("source")) if isinstance(cell, dict) else (None, None)
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(kind, str) or not isinstance(source, str):
            raise Refused(f"not a notebook: cell {number} has no type, or no text")
        read.append((kind, source))
    return read


def _script(text):
    """Cells of a script in Jupytext's percent format, or as nbconvert writes it; a script without any is one cell."""
    pieces = re.split(r"(?m)^# ?(?:%%+(?:[ \t]+(.*))?|In\[[ \d]*\]:)$", text)
    cells = [("code", pieces[0])] if re.search(r"(?m)^[^#\s]", pieces[0]) else []  # not the header alone
    for header, source in zip(pieces[1::2], pieces[2::2]):
        other = re.search(r"\[(markdown|md|raw)\]", header or "")
        cells.append(("text", re.sub(r"(?m)^# ?", "", source)) if other else ("code", source.strip("\n")))
    return cells


# ------------------------------------------------------------------------------------------------ which lesson


def _exercises(lesson):
    try:
        return {exercise.name for exercise in all_exercises(import_module(f"metalearn_lite.check.{lesson}"))}
    except ModuleNotFoundError:
        return set()


def _titles():
    """{lesson: its title} of the lessons of this course."""
    titles = {}
    for path in (ROOT / "lessons").glob("*.py"):
        titles[lesson_of(path.stem)] = re.search(r"(?m)^# # (.+)$", path.read_text(encoding="utf-8"))[1].strip()
    return titles


def _rank(cells, text, lesson, exercises, titles):
    """2 with the title of the lesson, 1 if something else tells that it is of the lesson, 0 if it is not."""
    headings = {heading.strip() for heading in re.findall(r"(?m)^#[ \t]+(.+)$", text)}
    if titles.get(lesson) in headings:
        return 2
    if headings & set(titles.values()):
        return 0
    code = "\n".join(cells)
    names = "|".join(map(re.escape, sorted(exercises))) or r"(?!)"
    return int(bool(re.search(rf"\b{re.escape(lesson)}\b|\bdef\s+({names})\b", code)))
