"""Honest submissions get full marks; those that are right in part get exactly what they have earned."""

import json
import sys
from pathlib import Path

import pytest

from metalearn_lite.grade import box, marks, parts
from metalearn_lite.grade.submissions import find
from test_grade_attacks import do_without

sys.path.insert(0, str(Path(__file__).parent / "grading"))
import corpus_state  # noqa: E402, F401
from corpus_honest import HONEST, solved  # noqa: E402
from corpus_partial import PARTIAL  # noqa: E402

pytestmark = [pytest.mark.grading, pytest.mark.timeout(300)]
SECONDS = 10.0


@pytest.fixture(scope="module")
def earned():
    """earned(lesson, cells) -> {exercise: points}; one box a lesson, opened at the first call."""
    opened = {}

    def grade(lesson, cells, hidden=None):
        if lesson not in opened:
            found = box.Box(parts.load(lesson), seconds=SECONDS)
            try:
                opened[lesson] = found.__enter__()
            except box.Unboxed as error:
                do_without(str(error).splitlines()[0])
        results = marks.judge(cells, hidden or opened[lesson].hidden, opened[lesson])
        points = {}
        for result in results:
            points[result.exercise] = points.get(result.exercise, 0) + result.got
        return points, [(r.exercise, r.title, r.status, r.message) for r in results if r.status != "right"]

    yield grade
    for found in opened.values():
        found.__exit__()


def sources(made, lesson, folder):
    """The code cells of a submission; of a notebook, as they are read from a file."""
    if isinstance(made, dict):
        (folder / "somebody.ipynb").write_text(json.dumps(made), encoding="utf-8")
        (found,) = find(folder, lesson)
        assert not found.problem
        return found.cells
    return made


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_submission_gets_full_marks(name, earned, tmp_path):
    lesson, make = HONEST[name]
    points, why = earned(lesson, sources(make(), lesson, tmp_path))
    assert points == parts.load(lesson).exercises, why


@pytest.mark.parametrize("name", PARTIAL)
def test_one_that_is_right_in_part_gets_exactly_that(name, earned, tmp_path):
    lesson, make, less = PARTIAL[name]
    points, why = earned(lesson, sources(make(), lesson, tmp_path))
    assert points == parts.load(lesson).exercises | less, why


@pytest.mark.parametrize("lesson", sorted(path.stem for path in parts.hidden_file("lesson05").parent.glob("*.py")))
def test_every_solution_gets_full_marks_and_no_stub_any(lesson, earned):
    full = parts.load(lesson).exercises
    assert 8 <= sum(full.values()) <= 30
    assert earned(lesson, solved(lesson))[0] == full
    assert earned(lesson, ["x = 1"])[0] == dict.fromkeys(full, 0)


def test_hidden_cases_that_are_dropped_would_be_seen(earned, tmp_path):
    """With the visible cases in the place of the hidden ones, what is almost right gets more than it has earned."""
    seen = 0
    for lesson, make, less in PARTIAL.values():
        hidden = parts.load(lesson)
        full = hidden.exercises
        if not any(0 < points < full[name] for name, points in less.items()):
            continue
        dropped = hidden._replace(parts=tuple(part._replace(cases=None) for part in hidden.parts))
        seen += earned(lesson, sources(make(), lesson, tmp_path), dropped)[0] != full | less
    assert seen >= 3


def test_there_are_enough():
    assert len(HONEST) >= 25 and len(PARTIAL) >= 12
