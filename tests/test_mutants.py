"""Every exercise and quiz of every lesson: what its check must accept, and what it must catch, with which words.

``alternatives/<module>.py`` holds differently written right answers: functions of the exercise's name, further ones
with a number behind it (``sgd``, ``sgd_2``).
"""

import ast
import importlib
import importlib.util
import inspect
import itertools
import math
import pkgutil
import re
import sys
from pathlib import Path

import pytest
import torch

import metalearn_lite.check
from metalearn_lite.check import Exercise, Order, all_exercises, all_quizzes
from metalearn_lite.check.compare import clone

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import lessons  # noqa: E402

pytestmark = pytest.mark.mutants

NAMES = sorted(
    m.name for m in pkgutil.iter_modules(metalearn_lite.check.__path__) if re.fullmatch(r"lesson\d\d|primer", m.name)
)
MODULES = {name: importlib.import_module(f"metalearn_lite.check.{name}") for name in NAMES}
FUNCTIONS = [
    pytest.param(module, e, id=f"{name}-{e.name}")
    for name, module in MODULES.items()
    for e in all_exercises(module)
    if isinstance(e, Exercise)
]
ORDERS = [
    pytest.param(module, e, id=f"{name}-{e.name}")
    for name, module in MODULES.items()
    for e in all_exercises(module)
    if isinstance(e, Order)
]
SCRIPTS = {name: next(iter((ROOT / "solutions").glob(f"{name.removeprefix('lesson')}_*.py")), None) for name in NAMES}
every_function = pytest.mark.parametrize("module, exercise", FUNCTIONS)
every_order = pytest.mark.parametrize("module, order", ORDERS)
SEEDS = range(3)


def test_there_is_something_to_test():
    assert FUNCTIONS
    for name, module in MODULES.items():
        assert all_exercises(module), f"{name} holds no exercise"
        assert SCRIPTS[name] is not None, f"{name} belongs to no solution"


@pytest.fixture
def shown(monkeypatch):
    """The reports that checks display."""
    reports = []
    for module in (metalearn_lite.check.exercise, metalearn_lite.check.order):
        monkeypatch.setattr(module, "show", reports.append)
    return reports


# ------------------------------------------------------------------------------------------------- functions


def arguments(exercise):
    return list(inspect.signature(exercise.reference).parameters)


def blanks(exercise):
    """Stubs that nobody has touched, with the right arguments."""
    signature = ", ".join(arguments(exercise))
    space = {}
    for body in (
        "return ...",
        "pass",
        "raise NotImplementedError",
        "...",
        "answer = ...; return answer, answer",
        "return 1 + ...",
    ):
        exec(f"def stub({signature}): {body}", space)
        yield body, space["stub"]


@every_function
def test_a_blank_stub_is_open_and_gets_hints_but_no_solution(module, exercise, shown):
    for body, stub in blanks(exercise):
        assert exercise.verdict(stub).status == "open", body
        assert exercise(stub) is exercise.reference
        page = shown[-1].html()
        assert page.count("<summary>Hint ") == 3 and "solution" not in page and "<pre>" not in page
        assert repr(shown[-1]).startswith("open: ")
        assert f"the library's `{exercise.name}`" in repr(shown[-1])


@every_function
def test_the_reference_is_right(module, exercise, shown):
    for seed in SEEDS:
        cases = exercise.cases(torch.Generator().manual_seed(seed)) if callable(exercise.cases) else exercise.cases
        for arguments in cases:
            exercise.reference(*clone(arguments))  # an error here would pass for an expected one in the check
        assert exercise.verdict(exercise.reference, seed) == ("right", exercise.right)
    assert exercise(exercise.reference) is exercise.reference
    assert repr(shown[-1]).startswith("right: ") and f"uses your `{exercise.name}`" in repr(shown[-1])


def alternatives(module, exercise):
    path = ROOT / "tests" / "alternatives" / f"{module.__name__.rpartition('.')[2]}.py"
    if not path.exists():
        return []
    spec = importlib.util.spec_from_file_location(f"alternatives_{path.stem}", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return [f for name, f in vars(found).items() if callable(f) and re.fullmatch(rf"{exercise.name}(_\d+)?", name)]


@every_function
def test_a_differently_written_right_answer_is_right(module, exercise, shown):
    found = alternatives(module, exercise)
    assert found, f"no differently written {exercise.name} in tests/alternatives"
    for function in found:
        assert function.__code__.co_code != exercise.reference.__code__.co_code, "this is the reference again"
        for seed in SEEDS:
            assert exercise.verdict(function, seed) == ("right", exercise.right)
        assert exercise(function) is function


@every_function
def test_each_mistake_is_told_its_own_message(module, exercise, shown):
    wanted = [(m.wrong, m.message) for m in exercise.mistakes]
    wanted += [(wrong, p.message) for p in exercise.properties for wrong in p.wrong]
    assert wanted, "no mistake is known"
    for wrong, message in wanted:
        for seed in SEEDS:
            assert exercise.verdict(wrong, seed) == ("wrong", message), f"seed {seed}"
        assert exercise(wrong) is exercise.reference
        assert repr(shown[-1]).startswith("not yet: ")
        assert "Show a solution" in shown[-1].html()
    assert all(p.wrong for p in exercise.properties), "a property that nothing is known to break"
    messages = [m.message for m in exercise.mistakes] + [p.message for p in exercise.properties]
    assert len(set(messages)) == len(messages), "two mistakes share a message"


@every_function
def test_hints_and_name(module, exercise):
    assert getattr(module, exercise.name) is exercise
    assert len(exercise.hints) == 3 == len(set(exercise.hints))
    texts = [
        *exercise.hints,
        exercise.right,
        *(m.message for m in exercise.mistakes),
        *(p.message for p in exercise.properties),
    ]
    assert all(len(t.split()) >= 4 and t.count("`") % 2 == 0 for t in texts), texts
    source = inspect.getsource(exercise.reference)
    body = source[source.index(":") + 1 :].strip()
    assert not any(body in text for text in texts), "the answer stands in a text"


def bad(*arguments):
    raise ValueError("bad\n" * 1000)


def leave(*arguments):
    sys.exit(3)


def deep(*arguments):
    return deep(*arguments)


class Nasty:
    """An answer that cannot be looked at."""

    def __getattribute__(self, name):
        raise RuntimeError("no")


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")


def unprintable(*arguments):
    raise Unprintable


def endless():
    found = []
    found.append(found)
    return found


def constant(answer):
    return lambda *arguments: answer


GARBAGE = [
    bad,
    leave,
    deep,
    unprintable,
    lambda: 1,
    lambda *a: (yield 1),
    int,
    print,
    type,
    3,
    None,
    "sgd",
    torch.zeros(3),
    [],
    Nasty(),
    *map(
        constant,
        [
            "text",
            "",
            float("nan"),
            float("inf"),
            10**400,
            -1,
            True,
            1j,
            torch.zeros(7, 3),
            torch.zeros(0),
            torch.zeros(1).expand(10**12),
            torch.tensor(float("nan")),
            torch.zeros(3, dtype=torch.complex64),
            torch.zeros(3, dtype=torch.bool),
            torch.zeros(3, device="meta"),
            torch.eye(3).to_sparse(),
            [],
            (),
            {},
            {1: 2},
            set(),
            [None],
            [[[[1]]]],
            endless(),
            Nasty(),
            Exception,
            lambda: 1,
            [float("nan")] * 3,
            ("a", "b"),
            range(3),
            b"bytes",
            torch.nn.Linear(1, 1),
            [0] * 10**6,
        ],
    ),
]


@every_function
def test_nothing_that_a_learner_hands_in_raises(module, exercise, shown):
    for garbage in GARBAGE:
        verdict = exercise.verdict(garbage)
        assert verdict.status in ("wrong", "open")
        assert len(verdict.message) < 1000
        assert exercise(garbage) is exercise.reference
        assert shown[-1].html() and repr(shown[-1])
    few = exercise.verdict(lambda: 1)
    assert few.status == "wrong"


@every_function
def test_inputs_stay_as_they_are(module, exercise):
    def spoil(value):
        if isinstance(value, torch.Tensor) and value.numel():
            with torch.no_grad():
                value.copy_(torch.zeros_like(value) if value.any() else torch.ones_like(value))
            return True
        if isinstance(value, list):
            value.append(1)
            return True
        return any([spoil(v) for v in value]) if isinstance(value, tuple) else False

    spoilt = []

    def careless(*arguments):
        kept = clone(arguments)
        spoilt.extend(filter(None, [spoil(a) for a in arguments]))
        return exercise.reference(*kept)

    verdict = exercise.verdict(careless)
    assert verdict.status == ("wrong" if spoilt else "right")
    if spoilt:
        known = [m.message for m in exercise.mistakes] + [p.message for p in exercise.properties]
        assert "in place" in verdict.message or verdict.message in known
    assert exercise.verdict(exercise.reference).status == "right"  # the exercise's own cases are whole


# ---------------------------------------------------------------------------------------------------- orders


@every_order
def test_an_order_tells_right_from_open_from_wrong(module, order, shown):
    assert getattr(module, order.name) is order
    rights = [order.right] if isinstance(order.right, str) else order.right
    for blank in ("", " ", "...", ..., None):
        assert order.verdict(blank).status == "open"
        order(blank)
        assert "solution" not in shown[-1].html() and shown[-1].html().count("<summary>Hint ") == 3
    for right in rights:
        assert order.verdict(right).status == "right"
        assert order.verdict(", ".join(right).lower()).status == "right"
        assert order.verdict(list(right)).status == "right"
    for garbage in (3, "?!", "Z" * 10**6, {}, [1], sorted(order.lines)[0] * 2, bad, Nasty(), float("nan")):
        assert order.verdict(garbage).status in ("wrong", "open")
        order(garbage)


@every_order
def test_every_known_wrong_order_is_told_its_own_message(module, order):
    assert len(set(order.mistakes.values())) == len(order.mistakes) > 0
    rights = [order.right] if isinstance(order.right, str) else order.right
    lengths = {len(right) + more for right in rights for more in (-1, 0, 1)} & set(range(1, len(order.lines) + 1))
    assert sum(math.perm(len(order.lines), n) for n in lengths) < 60_000
    told = set()
    for n in sorted(lengths):
        for letters in itertools.permutations(order.lines, n):
            verdict = order.verdict("".join(letters))
            assert (verdict.status == "right") == ("".join(letters) in rights)
            told.add(verdict.message)
    assert set(order.mistakes.values()) <= told
    assert len(set(order.hints)) == 3


# --------------------------------------------------------------------------------------------------- quizzes


@pytest.mark.parametrize("name", NAMES)
def test_quizzes(name):
    quizzes = all_quizzes(MODULES[name])
    assert len({q.question for q in quizzes}) == len(quizzes), "a question stands there twice"
    assert quizzes, f"{name} asks nothing"
    for quiz in quizzes:
        texts, rights, explanations = zip(*quiz.choices)
        assert (sum(rights) > 1) == quiz.several and 1 <= sum(rights) < len(rights)
        assert len(set(texts)) == len(texts) and len(set(explanations)) == len(explanations)
        assert all(len(e.split()) >= 3 for e in explanations)
        assert all(t.count("`") % 2 == 0 for t in [quiz.question, *texts, *explanations])


# ------------------------------------------------------------------------- what stands in the lessons themselves


def cells(name):
    assert SCRIPTS[name] is not None, f"{name} belongs to no solution"
    return [cell for cell in lessons.read_script(SCRIPTS[name]).cells if cell.cell_type == "code"]


def imports(name):
    """The names that a lesson imports, as they are at its beginning."""
    space = {}
    for cell in cells(name):
        for node in ast.parse(cell.source).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                exec(compile(ast.Module([node], []), "imports", "exec"), space)
    return space


def in_lesson(name, exercise, source, folder):
    """The exercise's function as a lesson's cell with this source defines it."""
    path = folder / "cell.py"
    path.write_text(source, encoding="utf-8")
    space = imports(name)
    exec(compile(source, str(path), "exec"), space)
    return space[exercise.name]


@every_function
def test_the_lessons_stub_is_open_and_its_answer_is_right(module, exercise, tmp_path):
    name = module.__name__.rpartition(".")[2]
    found = [
        cell.source
        for cell in cells(name)
        if "exercise" in lessons.tags(cell) and re.search(rf"^def {exercise.name}\(", cell.source, re.MULTILINE)
    ]
    assert len(found) == 1, f"{SCRIPTS[name].name} has {len(found)} exercise cells that define {exercise.name}"
    stub = exercise.verdict(in_lesson(name, exercise, lessons.strip_answers(found[0]), tmp_path))
    assert stub.status == "open", stub.message
    folder = tmp_path / "answer"
    folder.mkdir()
    answer = exercise.verdict(in_lesson(name, exercise, found[0], folder))
    assert answer.status == "right", answer.message


@every_order
def test_the_lessons_order_is_open_until_it_is_written(module, order):
    name = module.__name__.rpartition(".")[2]
    code = cells(name)
    call = f"{name}.{order.name}("
    found = [
        (cell.source, "" if call in cell.source else after.source)
        for cell, after in zip(code, [*code[1:], None])
        if "exercise" in lessons.tags(cell) and call in cell.source + (after.source if after else "")
    ]
    assert len(found) == 1, f"{SCRIPTS[name].name} has {len(found)} exercise cells followed by {call}"
    ((source, check),) = found
    for written, status in ((lessons.strip_answers(source), "open"), (source, "right")):
        given = []
        space = {name: type("module", (), {order.name: staticmethod(given.append)})}
        exec(written, space)
        exec(check, space)
        assert [order.verdict(answer).status for answer in given] == [status]


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_uses_every_exercise_and_quiz_of_its_module_and_no_other(name):
    code = "\n".join(cell.source for cell in cells(name))
    used = set(re.findall(rf"\b{name}\.(\w+)", code))
    module = MODULES[name]
    assert {e.name for e in all_exercises(module)} <= used
    assert all(hasattr(module, attribute) for attribute in used)
    for attribute, value in vars(module).items():
        if all_quizzes(type("one", (), {"value": value})):
            assert attribute in used, f"the quiz {attribute} is asked nowhere"
