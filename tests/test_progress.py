"""What checks and quizzes record of a learner's work, where they must not, and the contents page that shows it."""

import datetime
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import notebook_runner
from metalearn_lite.check import Exercise, all_exercises, all_quizzes, index, lesson00, lesson01, progress
from notebook_runner import lessons
from test_links import headings, markdown

ROOT = Path(__file__).resolve().parent.parent
MODULES = progress.modules()
LESSONS = [name for name in MODULES if name != "index"]
PAGE = ROOT / "solutions" / "index.py"


def upwards(w, g, lr):
    return w + lr * g


def unfinished(w, g, lr):
    return ...


def folder(path):
    path.mkdir()
    shutil.copy(ROOT / "lessons" / "index.ipynb", path)
    return path


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The learner's folder, and we are in it."""
    monkeypatch.chdir(folder(tmp_path / "my_lessons"))
    return tmp_path / "my_lessons"


def answer(quiz, right):
    """What the page sends when "Check" is pressed."""
    place = next(i for i, choice in enumerate(quiz.choices) if choice[1] == right)
    quiz._handle_custom_msg({"answer": place}, [])


# ------------------------------------------------------------------------------------------------ recording


def test_attempts_are_counted_until_the_first_right_one(mine):
    today = datetime.date.today().isoformat()
    lesson01.sgd(upwards)
    assert progress.read() == {"lesson01.sgd": {"status": "wrong", "attempts": 1, "first_right": None}}
    lesson01.sgd(upwards)
    lesson01.sgd(lesson01.sgd.reference)
    right = {"status": "right", "attempts": 3, "first_right": today}
    assert progress.read() == {"lesson01.sgd": right}
    lesson01.sgd(lesson01.sgd.reference)
    lesson01.sgd(upwards)  # what was right once stays right
    assert progress.read() == {"lesson01.sgd": right}
    assert [path.name for path in mine.iterdir() if path.name != "index.ipynb"] == ["progress.jsonl"]


def test_orders_and_quizzes_are_recorded_under_their_lesson(mine):
    lesson01.loop("A")
    lesson01.loop(lesson01.loop.right if isinstance(lesson01.loop.right, str) else min(lesson01.loop.right))
    answer(lesson00.SHOT, False)
    answer(lesson00.WARM_UP[1], True)
    assert {key: (entry["status"], entry["attempts"]) for key, entry in progress.read().items()} == {
        "lesson01.loop": ("right", 2), "lesson00.SHOT": ("wrong", 1), "lesson00.WARM_UP 2": ("right", 1)}


def test_a_line_holds_nothing_but_the_item_the_verdict_and_the_day(mine):
    lesson01.sgd(upwards)
    lines = [json.loads(line) for line in (mine / "progress.jsonl").read_text().split("\n") if line]
    assert [sorted(line) for line in lines] == [["date", "item", "status"]]
    assert lines[0]["item"] == "lesson01.sgd" and lines[0]["status"] == "wrong"


def test_what_was_not_answered_is_not_recorded(mine):
    lesson01.sgd(unfinished)
    lesson01.loop("")
    lesson01.sgd.verdict(upwards)  # graders and tests ask for verdicts without showing them
    lesson01.loop.verdict("A")
    for nonsense in ({}, {"answer": 99}, {"answer": "0"}, {"answer": None}):
        lesson00.SHOT._handle_custom_msg(nonsense, [])
    sgd = lesson01.sgd
    Exercise("sgd", sgd.reference, sgd.cases, (), ("a", "b", "c"), "Yes.")(upwards)  # stands in no lesson's module
    assert progress.read() == {} and not (mine / "progress.jsonl").exists()


@pytest.mark.parametrize("name, page, recorded", [("my_lessons", True, True), ("course", True, True),
                                                  ("lessons", True, False), ("solutions", True, False),
                                                  ("my_lessons", False, False)])
def test_recorded_is_only_in_a_learners_folder(tmp_path, monkeypatch, name, page, recorded):
    here = folder(tmp_path / name)
    if not page:
        (here / "index.ipynb").unlink()
    monkeypatch.chdir(here)
    lesson01.sgd(upwards)
    answer(lesson00.SHOT, True)
    assert len(progress.read()) == (2 if recorded else 0)
    assert (here / "progress.jsonl").exists() == recorded


def test_the_learners_folder_is_ignored_by_git_and_has_what_recording_asks_for():
    assert "/my_lessons" in (ROOT / ".gitignore").read_text().split("\n")
    assert (ROOT / "lessons" / "index.ipynb").exists()  # my_lessons/ is a copy of lessons/


SOURCE = """# %% [markdown]
# # A lesson
#
# %%
from metalearn_lite.check import lesson01
checked_sgd = lesson01.sgd(lambda w, g, lr: w + lr * g)
"""


@pytest.mark.notebook
def test_a_build_and_nbval_record_nothing_but_a_learners_run_does(tmp_path):
    for name in ("solutions", "lessons", "my_lessons"):
        here = folder(tmp_path / name)
        script = here / "01_lesson.py"
        script.write_text(SOURCE, encoding="utf-8")
        nb, _ = lessons.run_notebook(lessons.read_script(script), here)  # as the build does, and a learner's Run All
        assert "not yet: " in str(nb.cells[-1].outputs)
        assert (here / "progress.jsonl").exists() == (name == "my_lessons")
        nbformat.write(nb, here / "01_lesson.ipynb")
        cells = notebook_runner.run([here / "01_lesson.ipynb"], strict=True)[here / "01_lesson.ipynb"]
        assert notebook_runner.failures(cells) == []
        assert (here / "progress.jsonl").exists() == (name == "my_lessons")


# ------------------------------------------------------------------------------------------------ robustness

AT_ONCE = """
import sys, time
from metalearn_lite.check import lesson01, progress
print("ready", flush=True)
sys.stdin.readline()
for _ in range(200):
    progress.record(getattr(lesson01, sys.argv[1]), False)
    progress.record(lesson01.loop, False)
"""


@pytest.mark.slow
def test_two_notebooks_at_once_lose_nothing(mine):
    both = [subprocess.Popen([sys.executable, "-c", AT_ONCE, name], cwd=mine, text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env=dict(lessons.kernel_environment(), OMP_NUM_THREADS="1"))
            for name in ("sgd", "momentum")]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(120) for process in both] == [0, 0]
    attempts = {key: entry["attempts"] for key, entry in progress.read().items()}
    assert attempts == {"lesson01.sgd": 200, "lesson01.momentum": 200, "lesson01.loop": 400}


@pytest.mark.parametrize("damage", [b"{", b'{"item": "lesson01.sgd", "sta', b"\xff\xfe\x00", b"[1, 2]\nnull\n7\n",
                                    b"[" * 100_000, b'{"item": 3, "status": "right", "date": "x"}',
                                    b'{"item": "lesson01.sgd", "status": "brilliant", "date": "x"}',
                                    b'{"item": "lesson01.sgd", "status": "right", "date": 7}'])
def test_a_broken_file_costs_the_broken_lines_only(mine, damage):
    lesson01.loop("A")
    with open(mine / "progress.jsonl", "ab") as file:
        file.write(damage)  # no line end: as if the machine had stopped while it wrote
    lesson01.sgd(upwards)
    assert {key: entry["attempts"] for key, entry in progress.read().items()} == {"lesson01.loop": 1, "lesson01.sgd": 1}
    assert "0 of 7" in repr(progress.show())


def test_a_file_that_cannot_be_written_or_read_stops_no_lesson(mine, capsys):
    (mine / "progress.jsonl").mkdir()  # nobody can write to a folder, not even the system's administrator
    assert lesson01.sgd(lesson01.sgd.reference) is lesson01.sgd.reference
    assert lesson01.sgd(upwards) is lesson01.sgd.reference
    answer(lesson00.SHOT, True)
    assert progress.read() == {} and "Nothing is recorded yet" in repr(progress.show())
    assert "Traceback" not in capsys.readouterr().err


def test_a_deleted_file_begins_anew(mine):
    lesson01.sgd(lesson01.sgd.reference)
    (mine / "progress.jsonl").unlink()
    lesson01.sgd(upwards)
    assert progress.read()["lesson01.sgd"]["status"] == "wrong"


def test_export_and_delete(mine, capsys):
    lesson01.sgd(lesson01.sgd.reference)
    progress.export("copy.json")
    assert json.loads((mine / "copy.json").read_text(encoding="utf-8"))["records"] == progress.read()
    with pytest.raises(FileExistsError):
        progress.export("copy.json")
    progress.delete()
    assert progress.read() == {} and not (mine / "progress.jsonl").exists() and (mine / "copy.json").exists()
    progress.delete()
    assert capsys.readouterr().out.endswith("Written: copy.json\nDeleted: nothing is recorded any more.\n"
                                            "There is nothing to delete.\n")


# ------------------------------------------------------------------------------------------------ the tables


def test_the_table_of_progress_says_in_words_and_in_a_bar_what_is_done(mine):
    assert "Nothing is recorded yet" in repr(progress.show())
    lesson01.sgd(lesson01.sgd.reference)
    lesson01.loop("A")
    answer(lesson00.SHOT, True)
    shown = progress.show()
    assert "2 right, the first on 20" in repr(shown)
    row = next(line for line in repr(shown).split("\n") if line.startswith("lesson01"))
    quizzes = len(all_quizzes(lesson01))
    assert row.startswith(f"lesson01: exercises 1 of 7, quizzes 0 of {quizzes}; open: numeric_grad, loop")
    page = shown._repr_mimebundle_()["text/html"]
    assert f"quizzes 1 of {len(all_quizzes(lesson00))}" in repr(shown) and "█░░░░░░░░░</span> 1 of 7" in page
    assert page.count('scope="row"') == len(MODULES) and page.count('scope="col"') == 4
    assert page.count('<span aria-hidden="true"') == 2 * len(MODULES) - 1  # the bars; the contents have no exercises
    assert len(shown.text.split("\n")) == len(MODULES) + 1


def test_the_table_of_objectives_shows_each_with_its_result(mine):
    shutil.copy(ROOT / "lessons" / "01_gradient_descent.ipynb", mine)
    lesson01.momentum(lesson01.momentum.reference)
    lesson01.sgd(upwards)
    text, page = repr(index.show()), index.show()._repr_mimebundle_()["text/html"]
    assert re.search(r"write momentum, and say .*: exercise `momentum` \(✔ right\)\n", text)
    assert "exercise `sgd` (✗ not yet); exercise `loop` (○ open)" in text
    assert f"01 Gradient descent: 1 of {len(index.SERVES['lesson01'])} right</summary>" in page
    assert "✗ not yet: exercise <code>sgd</code>" in page and "○ open: objective 3 of lesson 00" in page


@pytest.mark.parametrize("content", ["", "no notebook", "{}", '{"cells": []}', '{"cells": [7]}', "[]"])
def test_a_broken_lesson_breaks_no_table(mine, content):
    (mine / "01_gradient_descent.ipynb").write_text(content)
    assert index.title("lesson01") == "lesson01" and index.objectives("lesson01") == {}
    assert "lesson01: exercises" in repr(progress.show()) and "lesson01" in repr(index.show())


def test_a_copy_of_a_lesson_is_not_the_lesson(mine):
    shutil.copy(ROOT / "lessons" / "01_gradient_descent.ipynb", mine)
    (mine / "01_gradient_descent-Copy1.ipynb").write_text("no notebook")
    assert index.title("lesson01") == "01 Gradient descent"


# ------------------------------------------------------------------------------- objectives and what serves them


def test_no_exercise_or_quiz_belongs_to_two_lessons():
    everything = [id(item) for module in MODULES.values() for item in progress.items(module).values()]
    assert len(everything) == len(set(everything)) > 50
    for module in MODULES.values():
        assert len(progress.items(module)) == len(all_exercises(module)) + len(all_quizzes(module))


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_exercise_and_quiz_is_listed_with_an_objective(lesson):
    """If this fails for a new lesson: say in SERVES, metalearn_lite/check/index.py, what each of its items serves."""
    objectives = index.objectives(lesson, ROOT / "lessons")
    assert list(objectives) == list(range(1, len(objectives) + 1)) and len(objectives) >= 4
    assert set(index.SERVES.get(lesson, {})) == set(progress.items(MODULES[lesson]))
    for name, place in index.SERVES[lesson].items():
        if name.startswith("WARM_UP"):
            early, number = place.split()
            early = early if early == "primer" else f"lesson{early}"
            assert int(number) in index.objectives(early, ROOT / "lessons")
            assert LESSONS.index(early) < LESSONS.index(lesson)
        else:
            assert place in objectives


def test_objectives_are_read_whole():
    found = index.objectives("lesson00", ROOT / "lessons")
    assert found[2] == "answer a query by the nearest centroid in an embedding" and len(found) == 6
    assert found[3].endswith("and the meta-knowledge in a loop")
    text = "\n".join(index.first_cell(lesson, ROOT / "lessons") for lesson in LESSONS)
    for lesson in LESSONS:
        for number, words in index.objectives(lesson, ROOT / "lessons").items():
            assert f"{number}. {words}" in re.sub(r"\s*\n\s*", " ", text)


# ------------------------------------------------------------------------------------------------ the map


def table(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n") if line.startswith("|")]


def rows():
    """lesson ("primer", "00", ...) -> the other cells of its row in the map."""
    found = table(markdown(PAGE))[2:]
    return {re.match(r"\[?(\w+)", row[0])[1].lower(): row for row in found}


def notebook(number):
    return next(iter(sorted((ROOT / "lessons").glob(f"{number}_*.ipynb"))), None)


def test_the_map_has_a_row_for_each_lesson_in_order_with_those_in_preparation_named():
    assert list(rows()) == ["primer", *(f"{n:02}" for n in range(8))]
    for number, row in rows().items():
        assert (row[1] == "in preparation") == (notebook(number) is None) == ("](" not in row[0])


@pytest.mark.parametrize("number", [number for number in rows() if notebook(number)])
def test_the_map_says_what_the_lesson_says(number):
    """Needs, minutes and optional minutes are those of the lesson's first cell; minutes those of the README too."""
    name, _, needs, minutes, optional, seconds = rows()[number]
    text = lessons.read_script(ROOT / "solutions" / f"{notebook(number).stem}.py").cells[0].source
    assert f"[{re.search(r'^# (.+)$', text, re.MULTILINE)[1]}]" in name
    asked = re.search(r"\*\*(?:It builds on|You need)\*\*(.*?)\n\n", text, re.DOTALL)[1]
    stated = [stem.partition("_")[0] for stem in re.findall(r"\]\((\w+)\.ipynb", asked)] or ["nothing"]
    assert needs.split(", ") == stated
    core = extra = 0
    for row in table(text)[2:]:
        for cell in row[1:]:
            amount = sum(int(number) for number in re.findall(r"\d+", cell))
            core, extra = (core, extra + amount) if "optional" in cell else (core + amount, extra)
    said = "\n".join(line for line in text.split("\n") if not line.startswith("|"))
    extra += sum(int(number) for number in re.findall(r"(\d+)\s+min\)", said))
    assert int(optional.removesuffix(" min")) == extra
    assert abs(int(minutes.removesuffix(" min")) - core) <= 3  # rounded to five
    assert re.fullmatch(r"\d+ s", seconds)
    readme = table((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [f"{row[2]} min" for row in readme if notebook(number).stem in row[0]] == [minutes]


# ------------------------------------------------------------------------------------------------ self-test


def test_the_self_test_asks_about_every_lesson_there_is():
    lessons_there = [lesson.removeprefix("lesson") for lesson in LESSONS if lesson != "primer"]
    assert {question.lesson for question in index.QUESTIONS} == set(lessons_there) & {f"{n:02}" for n in range(8)}
    assert 10 <= len(index.SELF_TEST) <= 14 and index.SELF_TEST == all_quizzes(type("one", (), {"it": index.SELF_TEST}))


def test_right_answers_stand_in_all_places_and_length_does_not_give_them_away():
    places = [[choice[1] for choice in quiz.choices].index(True) for quiz in index.SELF_TEST]
    assert all(0 < places.count(place) <= len(places) / 2 for place in range(4))
    longest = [max(quiz.choices, key=lambda choice: len(choice[0]))[1] for quiz in index.SELF_TEST]
    assert sum(longest) <= len(longest) / 3


def test_each_wrong_choice_explains_itself_and_names_a_section_that_exists():
    asked = {choice for question in index.QUESTIONS for choice in [question.quiz.question]}
    others = {quiz.question for name in LESSONS for quiz in all_quizzes(MODULES[name])}
    assert len(asked) == len(index.QUESTIONS) and not asked & others
    for lesson, section, quiz in index.QUESTIONS:
        texts, rights, explanations = zip(*quiz.choices)
        assert len(set(texts)) == len(texts) >= 3 and len(set(explanations)) == len(explanations) and sum(rights) == 1
        assert all(text.count("`") % 2 == 0 for text in (quiz.question, *texts, *explanations))
        again = f" Reread lesson {lesson}" + (f", section {section}." if section else ".")
        assert [text.endswith(again) for text in explanations] == [not right for right in rights]
        assert all(len(text.removesuffix(again).split()) >= 4 for text in explanations)
        if section:
            assert any(words.startswith(f"{section} ") for _, words in headings(markdown(notebook(lesson))))


# ------------------------------------------------------------------------------------------------ glossary


def entries():
    text = markdown(PAGE).partition("## Glossary")[2]
    return re.findall(r"^- \*\*(.+?)\*\*: (.*?)(?=\n- |\n\n|\Z)", text, re.MULTILINE | re.DOTALL)


def test_the_glossary_is_alphabetical_under_its_letters():
    terms = [term.lower().replace("-", " ") for term, _ in entries()]
    assert terms == sorted(set(terms)) and 40 <= len(terms) <= 60
    letters = re.findall(r"^### (.)$", markdown(PAGE), re.MULTILINE)
    assert letters == sorted({term[0].upper() for term in terms})


@pytest.mark.parametrize("term, words", entries(), ids=[term for term, _ in entries()])
def test_a_term_has_a_sentence_or_two_and_the_lesson_where_it_is_met(term, words):
    words = " ".join(words.split())
    linked = re.fullmatch(r"(.+\.) \[(?:Primer|Lesson (\d\d)), (?:section \d+|optional part)\]"
                          r"\((\w+)\.ipynb#\S+\)\.", words)
    plain = re.fullmatch(r"(.+\.) Lesson (\d\d)\.", words)  # a lesson in preparation
    said, number = (linked or plain)[1], (linked or plain)[2]
    assert 5 <= len(said.split()) <= 45 and 1 <= len(re.findall(r"[.:?!](?= [A-Z]|$)", said)) <= 3
    if linked:
        assert linked[3].startswith(number or "primer")  # that it leads somewhere is seen in test_links.py
    else:
        assert number in ("03", "06", "07")


# ------------------------------------------------------------------------------------------------ the page runs


def test_the_stored_page_shows_the_objectives_and_questions_of_today(monkeypatch):
    """Who rewords a quiz or an objective has to build the page anew: said here, long before the page is run."""
    monkeypatch.chdir(PAGE.parent)
    cells = nbformat.read(PAGE.with_suffix(".ipynb"), as_version=4).cells
    stored = [text for cell in cells if cell.cell_type == "code" for text in notebook_runner.text_of(cell)]
    assert repr(index.show()) in stored


@pytest.mark.notebook
def test_the_index_page_gives_its_stored_outputs_and_the_learners_copy_runs():
    for path, strict in ((PAGE.with_suffix(".ipynb"), True), (ROOT / "lessons" / "index.ipynb", False)):
        cells = notebook_runner.run([path], strict=strict)[path]
        wrong = notebook_runner.failures(cells) if strict else [c["message"] for c in cells if c["outcome"] == "failed"]
        assert wrong == []
        assert not (path.parent / "progress.jsonl").exists()
        shown = "\n".join(text for cell in cells for text in notebook_runner.text_of(cell))
        assert shown.count("quiz: ") >= len(index.SELF_TEST) and "Nothing is recorded in this folder" in shown
