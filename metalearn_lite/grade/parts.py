"""What is asked in an exam: parts of exercises, each with its points, and what the box holds meanwhile.

They stand in ``solutions/hidden/LESSON.py`` (or in a teacher's private folder), one short file a lesson:

    LIBRARY = ("data", "nets")                              modules of metalearn_lite that are in the box
    GIVEN = {"check.lesson05": [mse, predict]}              functions that a module outside the box gives the learner
    PARTS = (Part(lesson05.adapt, 2),
             Part(lesson05.adapt, 1, "no step at all", cases=lambda g: [...]))
"""

import dataclasses
import functools
import pkgutil
import re
import runpy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from metalearn_lite import check
from metalearn_lite.check import Exercise, Order, all_exercises

from . import release

ROOT = Path(__file__).resolve().parent.parent.parent


class Part(NamedTuple):
    """Something an exercise is asked, worth ``points``. Points are declared here and nowhere else.

    ``cases``: f(generator) -> argument tuples; without it the exercise's own cases and properties, drawn afresh.
    ``title`` is read by students: what is asked, no numbers.
    """

    exercise: Exercise | Order
    points: int
    title: str = "as in the lesson, on fresh numbers"
    cases: Callable | None = None

    @property
    def is_public(self):
        """Whether students have this very check in their notebook: then what their function is given is no secret."""
        return self.cases is None and any(self.exercise is exercise for exercise in public_exercises())

    def asked(self):
        """The exercise as this part asks it."""
        if self.cases is None:
            return self.exercise
        return dataclasses.replace(self.exercise, cases=self.cases, properties=())


@functools.cache
def public_exercises():
    """The exercises of the course's own lessons."""
    modules = [info.name for info in pkgutil.iter_modules(check.__path__) if re.fullmatch(r"lesson\d\d|primer", info.name)]
    return [exercise for name in modules for exercise in all_exercises(import_module(f"{check.__name__}.{name}"))]


class Hidden(NamedTuple):
    """The hidden file of a lesson. ``library`` and ``given`` as above; ``private``: the folder it may come from."""

    lesson: str
    parts: tuple
    library: tuple
    given: dict
    private: str | None = None

    @property
    def known(self):
        """The code cells that students get: a second try asks for them, a first one need not wait."""
        return handed_out(self.lesson, self.private)

    @property
    def exercises(self):
        """{name: the most points it can get}, in the order of the parts."""
        points = {}
        for part in self.parts:
            points[part.exercise.name] = points.get(part.exercise.name, 0) + part.points
        return points


def hidden_file(lesson, private=None):
    """The path of a lesson's hidden parts: the teacher's own if there are some.

    Raises FileNotFoundError with the names that there are.
    """
    folders = [Path(folder, "hidden") for folder in (private, ROOT / "solutions") if folder]
    for folder in folders:
        if (folder / f"{lesson}.py").is_file():
            return folder / f"{lesson}.py"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.py")})
    raise FileNotFoundError(f"{lesson!r}: no such lesson to grade; there are {', '.join(known) or 'none'}")


def load(lesson, private=None):
    """-> Hidden. Raises FileNotFoundError, and ValueError for a file that does not say what it must."""
    path = hidden_file(lesson, private)
    found = runpy.run_path(str(path))
    missing = [name for name in ("LIBRARY", "GIVEN", "PARTS") if name not in found]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} not defined")
    for part in found["PARTS"]:
        if not isinstance(part.points, int) or part.points < 1:
            raise ValueError(f"{path}: {part.exercise.name}: points {part.points!r}, expected a whole number, at least 1")
        if isinstance(part.exercise, Order) and part.cases is not None:
            raise ValueError(f"{path}: {part.exercise.name}: an order of lines has no cases")
    return Hidden(lesson, tuple(found["PARTS"]), tuple(found["LIBRARY"]), dict(found["GIVEN"]), private)


def lesson_of(stem):
    """The lesson of a file: "lesson05" of 05_maml, "primer" of primer_pytorch."""
    return f"lesson{stem[:2]}" if stem[:2].isdigit() else stem.split("_")[0]


@functools.cache
def handed_out(lesson, private=None):
    """The code cells of a lesson as students get it, without answers; none where its source is not to be found."""
    tool = release.tool()
    for name, path in release.sources(private).items():
        if lesson_of(name) == lesson:
            cells = tool.student_notebook(tool.read_script(path)).cells
            return tuple(cell.source for cell in cells if cell.cell_type == "code")
    return ()
