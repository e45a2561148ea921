"""tools/lessons.py and the notebook tests: each must find what it is there to find.

The small courses here are made in a temporary folder; the last test asks whether the real one is in step.
"""

import shutil
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

import notebook_runner
from notebook_runner import lessons

ROOT = Path(__file__).resolve().parent.parent

LESSON = '''# %% [markdown]
# # A small lesson

# %%
from types import SimpleNamespace

lesson00 = SimpleNamespace(halve=lambda f: print("open:" if f(3) is ... else "right:") or f)

# %% tags=["exercise"]
def halve(x):
    # <answer>
    half_of_it = x / 2
    return half_of_it
    # </answer>
    # <stub>
    # return ...      # half of x
    # </stub>


# %%
checked_halve = lesson00.halve(halve)

# %% [markdown] tags=["teacher"]
# Five minutes; ask what a quarter would be.

# %%
print(checked_halve(5))
'''

STUDENT = '''# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A small lesson

# %%
from types import SimpleNamespace

lesson00 = SimpleNamespace(halve=lambda f: print("open:" if f(3) is ... else "right:") or f)


# %% tags=["exercise"]
def halve(x):
    return ...      # half of x


# %%
checked_halve = lesson00.halve(halve)

# %%
print(checked_halve(5))
'''


def course(folder, source=LESSON):
    """A course of one lesson, not yet built; returns the path of its script."""
    (folder / "solutions").mkdir(parents=True)
    (folder / "lessons").mkdir()
    shutil.copy(ROOT / "solutions" / "jupytext.toml", folder / "solutions")
    script = folder / "solutions" / "00_small.py"
    script.write_text(source, encoding="utf-8")
    return script


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A course that was built once, outputs and all: copy it, do not change it."""
    script = course(tmp_path_factory.mktemp("course") / "a")
    lessons.build(script)
    return script.parent.parent


@pytest.fixture
def copied(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "copy"))


def problems(root):
    return "\n".join(lessons.check(root))


# ------------------------------------------------------------------------------------------------ one cell


def test_answers_go_and_stubs_become_code():
    cell = ("def f(x):\n    # <answer>\n    y = x + 1\n    return y\n    # </answer>\n    # <stub>\n"
            "    # y = ...   # next\n    #\n    # if y:\n    #     return y\n    # </stub>\n\n\nprint(f)")
    assert lessons.strip_answers(cell) == "def f(x):\n    y = ...   # next\n\n    if y:\n        return y\n\n\nprint(f)"


def test_a_cell_without_markers_stays_as_it_is():
    cell = "x = 1  # < answer\n\n# a stub of a comment\ny = x"
    assert lessons.strip_answers(cell) == cell


@given(st.lists(st.tuples(st.sampled_from(["text", "answer", "stub"]), st.integers(0, 3)), max_size=12))
def test_any_mixture_of_answers_and_stubs_is_sorted_out(parts):
    source, expected = [], []
    for number, (kind, depth) in enumerate(parts):
        indent = "    " * depth
        line = f"{kind}_{number} = {number}"
        if kind == "text":
            source.append(indent + line)
        else:
            source += [f"{indent}# <{kind}>", indent + ("# " if kind == "stub" else "") + line, f"{indent}# </{kind}>"]
        if kind != "answer":
            expected.append(indent + line)
    assert lessons.strip_answers("\n".join(source)) == "\n".join(expected).strip("\n")


@pytest.mark.parametrize("cell, message", [
    ("# <answer>\nx = 1", "line 1: <answer> is never closed"),
    ("x = 1\n# </answer>", "line 2: </answer> without <answer>"),
    ("# <answer>\n# <stub>\n# x\n# </stub>\n# </answer>", "line 2: <stub> inside the <answer>"),
    ("# <answer>\nx = 1\n# </stub>", "line 3: </stub> without <stub>"),
    ("# <stub>\nx = ...\n# </stub>", "line 2: every line of a stub is a comment"),
    ("x = 1  # <answer>\n# </answer>", "line 1: a marker is a comment alone"),
    ("#<answer>\nx = 1\n#</answer>", "line 1: a marker is a comment alone"),
    ("# <answers>\nx = 1\n# </answers>", "line 1: a marker is a comment alone"),
    ("# <Answer>\nx = 1\n# </Answer>", "line 1: a marker is a comment alone"),
])
def test_a_wrong_marker_is_named(cell, message):
    with pytest.raises(ValueError) as error:
        lessons.strip_answers(cell)
    assert message in str(error.value)


@pytest.mark.parametrize("old, new, message", [
    ('# %% tags=["exercise"]', "# %%", 'answers and stubs stand only in cells tagged "exercise"'),
    ("    # <stub>\n    # return ...      # half of x\n    # </stub>\n", "", "an exercise without a <stub>"),
    ("    # <answer>\n    half_of_it = x / 2\n    return half_of_it\n    # </answer>\n", "",
     "an exercise without a <answer>"),
    ("checked_halve = lesson00.halve(halve)", "checked_halve = halve", "followed by its check"),
    ("# </answer>", "# </ansver>", "inside the <answer>"),
    ("# Five minutes", "# <answer> five minutes", "a marker is a comment alone"),
    ("return ...", "return (", "the learner's cell is not Python"),
    ("return half_of_it", "return half of it", "the solution's cell is not Python"),
    ('tags=["exercise"]', 'tags=["exercise", "teacher"]', "either the teacher's or an exercise"),
])
def test_a_wrong_source_is_neither_built_nor_in_step(tmp_path, old, new, message):
    assert old in LESSON
    script = course(tmp_path / "a", LESSON.replace(old, new))
    with pytest.raises(RuntimeError) as error:
        lessons.build(script, run=False)
    assert message in str(error.value) and "00_small.py" in str(error.value)
    assert message in problems(tmp_path / "a")
    assert not list((tmp_path / "a" / "lessons").glob("00*"))


# -------------------------------------------------------------------------------------- solutions to lessons


def test_the_lesson_is_the_solution_without_answers(built):
    assert (built / "lessons" / "00_small.py").read_text() == STUDENT
    student = nbformat.read(built / "lessons" / "00_small.ipynb", as_version=4)
    assert student.cells[0].source == "# A small lesson"
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in student.cells)
    solution = nbformat.read(built / "solutions" / "00_small.ipynb", as_version=4)
    assert [cell.outputs[0].text for cell in solution.cells if cell.get("outputs")] == ["right:\n", "2.5\n"]
    same = {cell.id for cell in student.cells}
    assert same < {cell.id for cell in solution.cells} and len(same) == len(student.cells)
    assert (built / "lessons" / "jupytext.toml").read_bytes() == (ROOT / "solutions" / "jupytext.toml").read_bytes()


def test_two_builds_are_the_same_byte_for_byte(built, tmp_path):
    again = course(tmp_path / "elsewhere")
    lessons.build(again)
    for folder in ("lessons", "solutions"):
        names = sorted(path.name for path in (built / folder).iterdir())
        assert names == ["00_small.ipynb", "00_small.py", "jupytext.toml"]
        for name in names:
            assert (built / folder / name).read_bytes() == (tmp_path / "elsewhere" / folder / name).read_bytes(), name


def test_a_build_of_what_is_built_touches_nothing(copied):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    lessons.build(copied / "solutions" / "00_small.py", run=False)
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before


def test_a_progress_bar_is_stored_as_it_ended():
    assert lessons.PROGRESS.sub(r"100%|██████████| \1/\1", "train:   0%|          | 0/20 [00:00<?, ?update/s]") == (
        "train:   100%|██████████| 20/20")


def test_names_choose_lessons(tmp_path):
    script = course(tmp_path / "a")
    assert lessons.chosen(["00"], script.parent) == lessons.chosen([], script.parent) == [script]
    assert lessons.chosen(["00_small.py"], script.parent) == [script]
    with pytest.raises(SystemExit, match="no solution begins with '07'; there are 00_small"):
        lessons.chosen(["07"], script.parent)


@pytest.mark.parametrize("code, message", [
    ("1 / 0", "ZeroDivisionError"),
    ("import warnings; warnings.warn('be careful')", "writes to stderr"),
    ("object()", "holds an address"),
    ("import os; print(os.getcwd())", "names a folder of this machine"),
])
def test_an_output_that_must_not_be_stored_stops_the_build(tmp_path, monkeypatch, code, message):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    script = course(tmp_path / "a", f"# %%\n{code}\n")
    with pytest.raises(RuntimeError, match=message):
        lessons.build(script)
    assert not script.with_suffix(".ipynb").exists()


# ------------------------------------------------------------------------------------------- the drift check


def test_a_built_course_is_in_step(copied):
    (copied / "lessons" / ".ipynb_checkpoints").mkdir()
    assert lessons.check(copied) == []


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


COUNT, PYTHON = '"execution_count": ', '"name": "python"\n'
PRINTED = '"outputs": [{"output_type": "stream", "name": "stdout", "text": "2.5"}]'
TEACHER = '# %% [markdown] tags=["teacher"]\n# ask\n\n# %%\nprint'
SCROLLED, VERSION = '"metadata": {"scrolled": true}', '"name": "python", "version": "3.12.1"\n'
FOREIGN = "ids or metadata are not the tool's"
LEAK = "holds a line of an answer: half_of_it = x / 2"


@pytest.mark.parametrize("file, old, new, message", [
    ("solutions/00_small.py", "halve(5)", "halve(7)", "solutions/00_small.ipynb: out of step"),
    ("solutions/00_small.py", "halve(5)", "halve(7)", "lessons/00_small.py: is not what its solution makes"),
    ("solutions/00_small.ipynb", "halve(5)", "halve(7)", "solutions/00_small.ipynb: out of step"),
    ("solutions/00_small.py", "\n# %%\nprint", "\n\n\n# %%\nprint", "solutions/00_small.py: not in normal form"),
    ("solutions/00_small.ipynb", COUNT + "4", COUNT + "null", "a code cell has not been run"),
    ("solutions/00_small.ipynb", '"name": "stdout"', '"name": "stderr"', "writes to stderr"),
    ("solutions/00_small.ipynb", '"metadata": {}', SCROLLED, FOREIGN),
    ("solutions/00_small.ipynb", PYTHON, VERSION, FOREIGN),
    ("lessons/00_small.py", "half of x", "half of y", "lessons/00_small.py: is not what its solution makes"),
    ("lessons/00_small.ipynb", "half of x", "half of y", "lessons/00_small.ipynb: is not what its solution makes"),
    ("lessons/00_small.py", "return ...", "half_of_it = x / 2", f"lessons/00_small.py: {LEAK}"),
    ("lessons/00_small.ipynb", "return ...", "half_of_it = x / 2", f"lessons/00_small.ipynb: {LEAK}"),
    ("lessons/00_small.py", "    return ...", "    # <stub>\n    return ...", "lessons/00_small.py: holds a marker"),
    ("lessons/00_small.ipynb", '"outputs": []', PRINTED, "lessons/00_small.ipynb: holds outputs"),
    ("lessons/00_small.py", "# %%\nprint", TEACHER, "lessons/00_small.py: holds a teacher's cell"),
    ("lessons/jupytext.toml", "tags", "all", "lessons/jupytext.toml: is not what its solution makes"),
])
def test_drift_is_found(copied, file, old, new, message):
    change(copied / file, old, new)
    assert message in problems(copied)


@pytest.mark.parametrize("file, message", [
    ("lessons/notes.txt", "lessons/notes.txt: made from no solution"),
    ("lessons/more/00_small.py", "lessons/more/00_small.py: made from no solution"),
    ("solutions/09_old.ipynb", "solutions/09_old.ipynb: does not belong there"),
])
def test_a_stray_file_is_found(copied, file, message):
    (copied / file).parent.mkdir(exist_ok=True)
    (copied / file).write_text("half_of_it = x / 2")
    assert message in problems(copied)


@pytest.mark.parametrize("file", ["lessons/00_small.py", "lessons/00_small.ipynb", "solutions/00_small.ipynb"])
def test_a_missing_file_is_found(copied, file):
    (copied / file).unlink()
    assert f"{file}: missing" in problems(copied)


def test_an_answer_that_the_text_gives_away_is_found(tmp_path):
    """The lesson is just what the solution makes, but its author quoted the answer in the text."""
    title = "# # A small lesson\n"
    told = title + "#\n# Write `half_of_it = x / 2`, then\n#\n#     return half_of_it\n"
    lessons.build(course(tmp_path / "a", LESSON.replace(title, told)), run=False)
    found = problems(tmp_path / "a")
    assert "lessons/00_small.py: gives an answer away: half_of_it = x / 2 | return half_of_it" in found


def test_a_listing_may_have_the_lines_of_an_answer_in_another_order(tmp_path):
    """A bug hunt: the repair is to exchange two lines."""
    hunt = "# %%\ndef listing(x):\n    return half_of_it\n    half_of_it = x / 2\n\n\n# %% tags="
    lessons.build(course(tmp_path / "a", LESSON.replace("# %% tags=", hunt, 1)), run=False)
    assert "an answer" not in problems(tmp_path / "a")


# ---------------------------------------------------------------------------------------- the notebook tests


CALLBACK = """import ipywidgets

button = ipywidgets.Button(description="go")
button.on_click(lambda _: 1 / 0)
button.click()"""

PICTURE = """from IPython.display import HTML

class Picture:
    def _repr_html_(self):
        return '<figure><img alt="{alt}" src="data:image/png;base64,{data}"></figure>'

    def __repr__(self):
        return "picture"

Picture()"""

PROGRESS = """from tqdm.auto import tqdm

for _ in tqdm(range(5), unit="update"):
    pass"""

HTML = '<figure><img alt="a dot" src="data:image/png;base64,AAAA"></figure>'


def stored(path, *cells):
    """Write a notebook of (source, stored output or None, execution count) cells."""
    nb = nbformat.v4.new_notebook()
    for source, output, count in cells:
        cell = nbformat.v4.new_code_cell(source, execution_count=count)
        if isinstance(output, str):
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=output)]
        elif output:
            cell.outputs = [nbformat.v4.new_output("execute_result", data=output, execution_count=count)]
        nb.cells.append(cell)
    nbformat.write(nb, path)
    return path


@pytest.mark.slow
def test_the_notebook_tests_can_fail(tmp_path):
    """A strict run of a small notebook: most of its cells have a defect, and each is found."""
    picture = {"text/html": HTML, "text/plain": "picture"}
    cells = {
        "good": ("print(2)", "2\n", 1),
        "good picture": (PICTURE.format(alt="a dot", data="AAAA"), picture, 2),
        "other bytes": (PICTURE.format(alt="a dot", data="BBBB"), picture, 3),
        "progress": (PROGRESS, {"text/plain": "100%|██████████| 5/5"}, 4),
        "other progress": (PROGRESS, {"text/plain": "100%|██████████| 7/7"}, 4),
        "other alt": (PICTURE.format(alt="a line", data="AAAA"), picture, 4),
        "wrong output": ("print(2)", "3\n", 5),
        "no output": ("2", "2\n", 6),
        "never run": ("print(3)", None, None),
        "callback": (CALLBACK, None, 8),
        "warning": ("import warnings; warnings.warn('x')", None, 9),
        "exception": ("1 / 0", None, 10),
    }
    path = stored(tmp_path / "defects.ipynb", *cells.values())
    found = notebook_runner.run([path], strict=True)[path]
    by_name = dict(zip(cells, found, strict=True))
    assert {name for name, cell in by_name.items() if cell["outcome"] == "passed"} == {
        "good", "good picture", "other bytes", "progress", "never run"}
    messages = {"other alt": "a line", "other progress": "progress, 5 steps", "wrong output": "mismatch 'stdout'",
                "no output": "Missing output fields", "callback": "ZeroDivisionError",
                "warning": "Unexpected output fields", "exception": "division by zero"}
    for name, words in messages.items():
        assert words in by_name[name]["message"], name
    wrong = notebook_runner.failures(found)
    assert len(wrong) == 8
    assert any(line.startswith("cell 6 failed: print(2)") for line in wrong)
    assert any(line.startswith("cell 8 was never run") for line in wrong)
    good = by_name["good"]
    assert notebook_runner.text_of(good) == ["2\n"] and good["seconds"] > 0
    assert 20 < good["peak"] < 1000


@pytest.mark.slow
def test_the_lax_run_fails_on_exceptions_only(tmp_path):
    updates = "import os; print(os.environ['METALEARN_LITE_UPDATES'], os.environ['OMP_NUM_THREADS'])"
    path = stored(tmp_path / "lax.ipynb", (updates, "something else", 1),
                  ("import warnings; warnings.warn('x')", None, 2), (CALLBACK, None, 3))
    found = notebook_runner.run([path], strict=False, updates=3)[path]
    assert [cell["outcome"] for cell in found] == ["passed", "passed", "failed"]
    assert notebook_runner.text_of(found[0]) == ["3 2\n"]


# ------------------------------------------------------------------------------------------- the real course


def test_the_course_is_in_step():
    assert problems(ROOT) == ""
