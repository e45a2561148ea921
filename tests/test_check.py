"""The check itself: comparing answers, finding the misconception, what a learner reads, what it leaves alone."""

import random
import re
import sys
from typing import NamedTuple

import numpy
import pytest
import torch

import metalearn_lite.check.exercise
import metalearn_lite.check.order
from metalearn_lite.check import Exercise, Mistake, Order, Property, Quiz, all_exercises, all_quizzes
from metalearn_lite.check.compare import clone, describe, difference, unchanged
from metalearn_lite.check.report import Report, Verdict
from metalearn_lite.widgets import inline

HINTS = ("Look at the sign.", "Which way is down?", "Against the slope: minus.")


def sgd(w, g, lr):
    return w - lr * g


def cases(generator):
    return [
        (
            torch.randn(2, 3, generator=generator, dtype=torch.float64),
            torch.randn(2, 3, generator=generator, dtype=torch.float64),
            lr,
        )
        for lr in (0.1, 0.5)
    ]


def in_place(w, g, lr):
    w -= lr * g
    return w


UP = Mistake(lambda w, g, lr: w + lr * g, "You step up the slope.")
IN_PLACE = Mistake(in_place, "You overwrite the caller's `w`.")
EXERCISE = Exercise("sgd", sgd, cases, [UP, IN_PLACE], HINTS, "One step against the slope.")


@pytest.fixture
def shown(monkeypatch):
    reports = []
    for module in (metalearn_lite.check.exercise, metalearn_lite.check.order):
        monkeypatch.setattr(module, "show", reports.append)
    return reports


def written(folder, source):
    """A function as a learner's cell defines it: from a source that can be read back."""
    path = folder / "cell.py"
    path.write_text(source, encoding="utf-8")
    space = {"torch": torch}
    exec(compile(source, str(path), "exec"), space)
    return space["sgd"]


# ------------------------------------------------------------------------------------------------- comparing


class Pair(NamedTuple):
    first: object
    second: object


@pytest.mark.parametrize(
    "answer, expected",
    [
        (torch.tensor(2.0), 2.0),
        (2.0, torch.tensor(2.0)),
        (2, 2.0),
        (True, 1),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.0])),
        (torch.tensor([1 / 3]), torch.tensor([1 / 3], dtype=torch.float64)),
        ([1, 2], (1, 2)),
        ((1, [2, "a"]), [1, (2, "a")]),
        (Pair(1, 2), (1, 2)),
        ({"a": torch.ones(2)}, {"a": torch.ones(2)}),
        ({1, 2}, frozenset({2, 1})),
        (None, None),
        ("a", "a"),
        (float("nan"), float("nan")),
        (float("inf"), float("inf")),
        (torch.ones(2, requires_grad=True), torch.ones(2)),
        (1 + 1e-8, 1.0),
        (1e9 * (1 + 1e-8), 1e9),
        (numpy.float64(2), 2.0),
        (torch.tensor(True), True),
        (torch.zeros(0), torch.zeros(0)),
    ],
)
def test_kind_where_kindness_costs_nothing(answer, expected):
    assert difference(answer, expected) is None


@pytest.mark.parametrize(
    "answer, expected, kind, words",
    [
        ([1, 2], torch.ones(2), "type", "yours is a list of 2 items, expected a tensor of shape (2,)"),
        (torch.ones(2), [1, 1], "type", "yours is a tensor of shape (2,), expected a list of 2 items"),
        ("1", 1, "type", "yours is a string, expected a number"),
        (None, 1.0, "type", "yours is None, expected a number"),
        (1j, 1.0, "type", "yours is a complex number, expected a number"),
        (torch.ones(2), 1.0, "shape", "yours is a tensor of shape (2,), expected a number"),
        (
            torch.ones(3, 2),
            torch.ones(2, 3),
            "shape",
            "yours is a tensor of shape (3, 2), expected a tensor of shape (2, 3)",
        ),
        ([1], [1, 2], "shape", "yours is a list of 1 item, expected a list of 2 items"),
        (torch.tensor([1.0, float("nan")]), torch.ones(2), "nan", "yours is nan (not a number) at [1]"),
        (
            torch.tensor([[1.0, 2.0], [0.5, 4.0]]),
            torch.tensor([[1.0, 2.0], [0.25, 4.0]]),
            "value",
            "yours is 0.5, expected 0.25 at [1, 0]",
        ),
        (1.00001, 1.0, "value", "yours is 1.00001, expected 1"),
        ((1, torch.zeros(2)), (1, torch.tensor([0.0, 3.0])), "value", "yours is 0, expected 3 at [1] in item 1"),
        ({"a": [1, [2, 3]]}, {"a": [1, [2, 4]]}, "value", "yours is 3, expected 4 in item 1 in item 1 at 'a'"),
        ({"a": 1}, {"b": 1}, "value", "yours has the keys 'a', expected 'b'"),
        ({"a": 1}, {"a": 2}, "value", "yours is 1, expected 2 at 'a'"),
        ("A", "B", "value", "yours is 'A', expected 'B'"),
        ({1}, {1, 2}, "value", "yours is 1, expected 1, 2"),
        (torch.tensor(3), 2, "value", "yours is 3, expected 2"),
    ],
)
def test_differences_in_words(answer, expected, kind, words):
    found = difference(answer, expected)
    assert found.kind == kind
    assert found.text == words


def test_float32_is_compared_to_fewer_digits_and_told_when_it_matters():
    exact = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert difference((exact + 1e-5).float(), exact) is None
    assert difference(exact + 1e-5, exact).kind == "value"
    assert "rounded" in difference((exact + 1e-3).float(), exact).text
    assert "rounded" not in difference((exact + 1).float(), exact).text


def test_copies_share_nothing_and_changes_are_seen():
    value = (
        torch.ones(2, requires_grad=True),
        [1, torch.tensor([float("nan")])],
        {"a": 2},
        Pair(torch.zeros(1), 3),
        "text",
    )
    copy = clone(value)
    assert unchanged(copy, value) and copy[0].requires_grad and type(copy[3]) is Pair
    copy[1][1][0] = 0
    assert not unchanged(copy, value)
    with torch.no_grad():
        clone(value)[0].add_(1)
    assert value[0].tolist() == [1, 1]
    flags = torch.tensor([True, False])
    assert unchanged(flags.clone(), flags) and not unchanged(~flags, flags)
    assert not unchanged([1], [1, 2]) and not unchanged(torch.ones(2, 1), torch.ones(2))


def test_values_are_described_in_words():
    assert describe(...) == "`...`" and describe(print) == "a function" and describe(True) == "the truth value True"
    assert describe(float("nan")) == "not a number (nan)" and describe(torch.tensor(1)) == "a 0-d tensor"


# -------------------------------------------------------------------------------------------------- verdicts


def test_right_answers_and_known_mistakes():
    assert EXERCISE.verdict(sgd) == ("right", "One step against the slope.")
    assert EXERCISE.verdict(lambda w, g, lr: torch.sub(w, g, alpha=lr)).status == "right"
    assert EXERCISE.verdict(lambda w, g, lr: (w - lr * g).float()).status == "right"
    assert EXERCISE.verdict(lambda a, b, c: a + b * c) == ("wrong", UP.message)
    assert EXERCISE.verdict(in_place) == ("wrong", IN_PLACE.message)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (
            lambda w, g, lr: w - g,
            r"^Case 1, `sgd\(tensor\(.*yours is -?[\d.]+, expected -?[\d.]+ at \[0, 0\]\. \(2 of 2 cases differ\.\)$",
        ),
        (
            lambda w, g, lr: (w - lr * g).T,
            r"yours is a tensor of shape \(3, 2\), expected a tensor of shape \(2, 3\)\.$",
        ),
        (lambda w, g, lr: (w - lr * g).tolist(), r"yours is a list of 2 items, expected a tensor of shape \(2, 3\)\.$"),
        (lambda w, g, lr: w / (w - w), r"yours is nan|expected"),
        (lambda w, g: w - g, r"^Yours does not take the arguments it is called with: `sgd\(w, g, lr\)`\.$"),
        (lambda w, g, lr: w @ g, r"^Case 1 stopped with RuntimeError: .*\.$"),
        (lambda w, g, lr: w.float() @ g.T, r"make new tensors with the `dtype` of those you are given\.$"),
        (lambda w, g, lr: (g.zero_(), w - lr * g)[1], r"in place|yours is"),
        (lambda w, g, lr: (w - lr * g, g.zero_())[0], r"^Case 1: your function changes its argument `g` in place\."),
        (3, r"^The check needs the function itself, `sgd`, without calling it; it was given a number\.$"),
        (torch.zeros(3), r"it was given a tensor of shape \(3,\)\.$"),
    ],
)
def test_what_is_seen_is_said(wrong, words):
    status, message = EXERCISE.verdict(wrong)
    assert status == "wrong" and re.search(words, message), message


def test_nan_is_named():
    assert "yours is nan (not a number) at [0, 0]" in EXERCISE.verdict(lambda w, g, lr: w * float("nan")).message


def test_an_error_comes_with_the_learners_line(tmp_path):
    fn = written(
        tmp_path,
        "# my cell\n\ndef helper(w):\n    return w[99]\n\ndef sgd(w, g, lr):\n    w = helper(w)\n    return w\n",
    )
    message = EXERCISE.verdict(fn).message
    assert message == (
        "Case 1 stopped with IndexError: index 99 is out of bounds for dimension 0 with size 2. "
        "That was in line 4, `return w[99]`."
    )
    assert str(tmp_path) not in message


@pytest.mark.parametrize(
    "body, line",
    [
        ("return ...", "return ..."),
        ("w = ...\n    return w", "w = ..."),
        ("w = ... # one step\n    return w - g", "w = ..."),
        ("for _ in range(3):\n        ...\n    return w", "..."),
        ("step = lr * ...\n    return w - step", "step = lr * ..."),
    ],
)
def test_a_stub_with_dots_is_open_and_the_line_is_named(tmp_path, body, line):
    verdict = EXERCISE.verdict(written(tmp_path, f"def sgd(w, g, lr):\n    {body}\n"))
    assert verdict.status == "open" and f"reads `{line}`" in verdict.message


def test_dots_in_an_index_or_left_over_beside_a_right_answer_do_no_harm(tmp_path):
    assert EXERCISE.verdict(written(tmp_path, "def sgd(w, g, lr):\n    return w[..., :] + g\n")).status == "wrong"
    assert (
        EXERCISE.verdict(written(tmp_path, "def sgd(w, g, lr):\n    s = ...\n    return w - lr * g\n")).status
        == "right"
    )


def test_dots_in_a_type_hint_do_no_harm(tmp_path):
    assert (
        EXERCISE.verdict(written(tmp_path, "def sgd(w: tuple[int, ...], g, lr):\n    return w + g\n")).status == "wrong"
    )


@pytest.mark.parametrize(
    "blank", [lambda w, g, lr: ..., lambda w, g, lr: None, lambda w, g, lr: (w, ...), lambda w, g, lr: w - ..., ...]
)
def test_blank_functions_are_open(blank):
    assert EXERCISE.verdict(blank).status == "open"


def test_what_pytorch_has_not_implemented_is_an_error_of_the_learners():
    """PyTorch raises NotImplementedError for 1.0 - a tensor of truth values; only the learner's `raise` means open."""
    def truth_value(w, g, lr):
        return w - (g > 0)

    def unwritten(w, g, lr):
        raise NotImplementedError("to do")

    status, message = EXERCISE.verdict(truth_value)
    assert status == "wrong" and "NotImplementedError" in message and "w - (g > 0)" in message
    assert EXERCISE.verdict(unwritten).status == "open"


def test_an_exit_is_a_message_and_an_interrupt_passes():
    assert EXERCISE.verdict(lambda w, g, lr: sys.exit(2)).message.startswith("Case 1 stopped with SystemExit: 2.")

    def interrupted(w, g, lr):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EXERCISE.verdict(interrupted)


def test_the_notebook_is_left_as_it_was(capsys, recwarn):
    def noisy(w, g, lr):
        print("hello")
        print("oh", file=sys.stderr)
        torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
        return w - lr * g + 0 * torch.rand(1)

    torch.manual_seed(5), random.seed(5), numpy.random.seed(5)
    with torch.no_grad():
        assert EXERCISE.verdict(noisy).status == "right"
        assert not torch.is_grad_enabled()
    after = torch.rand(1), random.random(), numpy.random.rand()
    torch.manual_seed(5), random.seed(5), numpy.random.seed(5)
    assert after == (torch.rand(1), random.random(), numpy.random.rand())
    assert capsys.readouterr() == ("", "") and not recwarn.list


def test_autograd_works_inside_a_check_even_under_no_grad():
    def slope(x):
        x = x.clone().requires_grad_(True)
        (x**2).sum().backward()
        return x.grad

    exercise = Exercise("slope", lambda x: 2 * x, [(torch.ones(2, dtype=torch.float64),)], [], HINTS, "Right.")
    with torch.no_grad():
        assert exercise.verdict(slope).status == "right"


def test_answers_kept_in_a_buffer_are_compared_as_they_were_given():
    buffer = torch.zeros(2, 3, dtype=torch.float64)
    assert EXERCISE.verdict(lambda w, g, lr: buffer.copy_(w - lr * g)).status == "right"


def test_cases_are_the_same_each_time_and_differ_by_seed():
    wrong = lambda w, g, lr: w - g  # noqa: E731
    assert EXERCISE.verdict(wrong) == EXERCISE.verdict(wrong) != EXERCISE.verdict(wrong, seed=1)


def test_the_first_mistake_that_agrees_on_every_case_is_told():
    twice = Exercise(
        "double",
        lambda x: 2 * x,
        [(2.0,), (3.0,)],
        [Mistake(lambda x: x * x, "squared"), Mistake(lambda x: x + 2, "plus 2")],
        HINTS,
        "Right.",
    )
    assert twice.verdict(lambda x: x**2).message == "squared"
    assert twice.verdict(lambda x: x + 2.0).message == "plus 2"
    assert twice.verdict(lambda x: x**2 if x < 3 else 0) == (
        "wrong",
        "Case 2, `double(3)`: yours is 0, expected 6. (1 of 2 cases differ.)",
    )


def test_a_bug_hunt_starts_open():
    hunt = Exercise(
        "double",
        lambda x: 2 * x,
        [(3.0,)],
        [Mistake(lambda x: x + 2, "plus 2")],
        HINTS,
        "Found.",
        start=lambda x: x * x,
    )
    assert hunt.verdict(lambda x: x**2).status == "open"
    assert hunt.verdict(lambda x: x + 2) == ("wrong", "plus 2")
    assert hunt.verdict(lambda x: x + x).status == "right"


def doubled(x):
    return 2 * x


CUT = Mistake(lambda x: (2 * x).detach(), "The graph is cut.")
PROBED = Exercise(
    "doubled",
    doubled,
    lambda generator: [(torch.randn(3, generator=generator, dtype=torch.float64).requires_grad_(),) for _ in range(2)],
    [CUT, Mistake(lambda x: 3 * x, "Three times.")],
    HINTS,
    "Right.",
    probe=lambda y, x: torch.autograd.grad(y.square().sum(), x)[0] if y.requires_grad else torch.zeros_like(x),
)


@pytest.mark.parametrize(
    "fn, status, words",
    [
        (lambda x: x + x, "right", "Right."),
        (lambda x: 2 * x.detach(), "wrong", "The graph is cut."),
        (lambda x: x + x.detach(), "wrong", "Case 1: the values are right, but not what is derived from them: yours is"),
        (lambda x: 3 * x.detach(), "wrong", "Three times."),  # wrong values are spoken of first, graph or not
        (lambda x: 4 * x, "wrong", "Case 1, "),
        (lambda x: [2 * x], "wrong", "yours is a list of 1 item"),
        (lambda x: ..., "open", "finished"),
    ],
)
def test_a_probe_sees_what_the_values_do_not_show(fn, status, words):
    verdict = PROBED.verdict(fn)
    assert verdict.status == status and words in verdict.message, verdict


def shuffled(n, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


def each_once(fn, seed):
    return all(sorted(fn(6, seed)) == list(range(6)) for seed in range(20))


def by_seed(fn, seed):
    return fn(6, 1) == fn(6, 1) and len({tuple(fn(6, s)) for s in range(10)}) > 3


DRAWS = Exercise(
    "shuffled",
    shuffled,
    [],
    [],
    HINTS,
    "Right.",
    [
        Property(each_once, "Not each once.", (lambda n, seed: [seed % n] * n,)),
        Property(by_seed, "The seed is ignored."),
    ],
)


@pytest.mark.parametrize(
    "fn, status, words",
    [
        (lambda n, seed: random.Random(seed).sample(range(n), n), "right", "Right."),
        (lambda n, seed: [0] * n, "wrong", "Not each once."),
        (lambda n, seed: random.sample(range(n), n), "wrong", "The seed is ignored."),
        (lambda n, seed: torch.randperm(n).tolist(), "wrong", "The seed is ignored."),
        (lambda n, seed: list(range(n)), "wrong", "The seed is ignored."),
        (lambda n, seed: 3, "wrong", "another form"),
        (lambda n, seed: [1, 2][9], "wrong", "IndexError"),
        (lambda n: 3, "wrong", "shuffled(n, seed)"),
        (lambda n, seed: ..., "open", "finished"),
        (lambda n, seed: None, "open", "finished"),
    ],
)
def test_random_draws_are_checked_by_their_properties(fn, status, words):
    verdict = DRAWS.verdict(fn)
    assert verdict.status == status and words in verdict.message, verdict


def test_a_property_sees_inputs_changed_in_place():
    first = Property(lambda fn, seed: fn([3, 1, 2])[0] == 1, "Not sorted.")
    exercise = Exercise("ordered", sorted, [], [], HINTS, "Right.", [first])
    assert exercise.verdict(sorted).status == "right"
    assert "`x` in place" in exercise.verdict(lambda x: x.sort() or x).message


@pytest.mark.parametrize(
    "changed, words", [({"hints": ("a", "b")}, "hints of x: expected exactly 3, got 2"), ({"cases": []}, "cases of x")]
)
def test_an_exercise_says_what_is_wrong_with_itself(changed, words):
    with pytest.raises(ValueError, match=words):
        Exercise(
            **{"name": "x", "reference": sgd, "cases": [(1,)], "mistakes": [], "hints": HINTS, "right": "Right."}
            | changed
        )


# -------------------------------------------------------------------------------------------------- display


def test_the_lesson_goes_on_with_the_right_function_and_says_which(shown):
    mine = lambda w, g, lr: w - g * lr  # noqa: E731
    assert EXERCISE(mine) is mine
    assert EXERCISE(UP.wrong) is sgd
    assert EXERCISE(lambda w, g, lr: ...) is sgd
    assert [repr(r) for r in shown] == [
        "right: One step against the slope.\nBelow, the lesson uses your `sgd`.",
        "not yet: You step up the slope.\nBelow, the lesson uses the library's `sgd` until yours passes.",
        repr(shown[2]),
    ]
    assert repr(shown[2]).startswith("open: ")


def test_hints_unfold_one_inside_the_other_and_the_solution_last(shown):
    EXERCISE(UP.wrong)
    page = shown[0].html()
    order = [
        page.index(f"<summary>{text}</summary>")
        for text in ("Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3", "Show a solution")
    ]
    assert order == sorted(order)
    assert page.index("</details>") > order[3] and page.endswith("</details></details></details></details></div>")
    assert "return w - lr * g" in page
    EXERCISE(lambda w, g, lr: ...)
    assert "solution" not in shown[1].html() and "return w - lr * g" not in shown[1].html()
    EXERCISE(sgd)
    assert "Hint" not in shown[2].html() and "to compare" in shown[2].html()
    EXERCISE(3)  # no attempt at all
    assert "solution" not in shown[3].html() and repr(EXERCISE) == "exercise: sgd(w, g, lr)"


def test_a_verdict_is_a_word_and_a_symbol_not_only_a_colour():
    pages = [Report("f", Verdict(s, "Words & `a < b`."), "", HINTS, None).html() for s in ("right", "open", "wrong")]
    for page, word, symbol in zip(pages, ("Right", "Open", "Not yet"), "✔○✗"):
        assert f"<strong>{symbol} {word}</strong>" in page and 'role="status"' in page
        assert "Words &amp; <code>a &lt; b</code>." in page
        assert not re.search("<script|onclick|http|<style|javascript:", page)
    assert len({re.search(r"#\w{6}", page)[0] for page in pages}) == 3


def test_text_is_never_read_as_html():
    assert inline("<b>`<i>`</b>\n&") == "&lt;b&gt;<code>&lt;i&gt;</code>&lt;/b&gt;<br>&amp;"


def test_a_verdict_shows_in_a_plain_terminal_and_is_the_same_each_time(capsys):
    for _ in range(2):
        assert EXERCISE(UP.wrong) is sgd
    first, second = capsys.readouterr().out.strip().split("not yet: ")[1:]
    assert first.strip() == second.strip()


# ---------------------------------------------------------------------------------------------------- orders

ORDER = Order(
    "loop",
    {"A": "for _ in range(3):", "B": "    loss.backward()", "C": "    optimizer.step()", "D": "    w = 0"},
    {"ABC"},
    {"ACB": "You step before there is a slope.", ".*D.*": "Line D forgets everything."},
    HINTS,
)


@pytest.mark.parametrize(
    "answer, status, words",
    [
        ("ABC", "right", "in this order"),
        ("a, b, c", "right", ""),
        (["A", "B", "C"], "right", ""),
        ("A->B->C", "right", ""),
        ("ACB", "wrong", "You step before there is a slope."),
        ("ABDC", "wrong", "Line D forgets everything."),
        ("", "open", 'loop("ABCD")'),
        ("...", "open", ""),
        (None, "open", ""),
        (..., "open", ""),
        ("???", "open", ""),
        ("AB", "wrong", "2 lines in order; it takes 3"),
        ("ABB", "wrong", "Line B stands there more than once"),
        ("AXC", "wrong", "no line X"),
        ("BAC", "wrong", "Another line has to come first"),
        (7, "wrong", "letters in a string"),
    ],
)
def test_orders(answer, status, words):
    verdict = ORDER.verdict(answer)
    assert verdict.status == status and words in verdict.message


def test_an_order_says_how_far_it_is_right():
    order = Order("x", dict.fromkeys("ABCD", "pass"), "ABCD", {}, HINTS)
    assert order.verdict("ABDC").message.startswith("The first 2 are right")
    assert order.verdict("ACBD").message.startswith("The first is right")


def test_an_order_lists_its_lines_and_shows_the_program_after_an_attempt(shown):
    assert repr(ORDER).splitlines()[1] == "B:      loss.backward()"
    assert ORDER._repr_mimebundle_()["text/html"].count("<tr>") == 4
    for answer in ("", "ACB", "ABC"):
        ORDER(answer)
    assert ["for _ in range(3):\n    loss.backward()\n    optimizer.step()" in r.html() for r in shown] == [
        False,
        True,
        True,
    ]


def test_the_example_of_an_answer_is_not_the_answer():
    assert "AB" not in Order("x", {"A": "a", "B": "b"}, "AB", {}, HINTS).verdict("").message


@pytest.mark.parametrize("changed, words", [({"hints": ()}, "exactly 3"), ({"right": "AZ"}, "right order of x")])
def test_an_order_says_what_is_wrong_with_itself(changed, words):
    with pytest.raises(ValueError, match=words):
        Order(**{"name": "x", "lines": {"A": "a", "B": "b"}, "right": "AB", "mistakes": {}, "hints": HINTS} | changed)


def test_a_module_tells_its_exercises_and_quizzes():
    quiz = Quiz("Why?", [("a", True, "Because."), ("b", False, "No.")])
    module = type("module", (), {"sgd": EXERCISE, "loop": ORDER, "questions": [quiz], "number": 3})
    assert all_exercises(module) == [EXERCISE, ORDER] and all_quizzes(module) == [quiz]
