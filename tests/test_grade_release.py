"""metalearn_lite.grade.release: a class gets everything that it needs to work, and no answer."""

import csv
import functools
import hashlib
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
import torch

from metalearn_lite.grade import box, files, submissions
from metalearn_lite.grade.parts import load
from metalearn_lite.grade.release import LEFT_OUT, release, sources, tool
from notebook_runner import text_of
from test_links import broken

ROOT = Path(__file__).resolve().parent.parent

# The examples of docs/teaching.md: what a teacher reads there is what is tested here.
GUIDE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
MOODLE, VARIANT, HIDDEN = re.findall(r"^```python\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
CANVAS = re.search(r"^```sh\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)[1]
REPLACING = VARIANT.replace("# # Variant of week 5", "# # 05 MAML")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    out = tmp_path_factory.mktemp("class") / "out"
    return out, release(out)


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """(the private folder, a release with it)."""
    folder = tmp_path_factory.mktemp("term")
    private = folder / "private"
    (private / "solutions").mkdir(parents=True)
    (private / "hidden").mkdir()
    (private / "solutions" / "05_maml.py").write_text(REPLACING)
    (private / "solutions" / "15_variant.py").write_text(VARIANT)
    (private / "hidden" / "lesson15.py").write_text(HIDDEN)
    (private / "roster.csv").write_text("student,name\n17,Somebody Private\n")
    release(folder / "out", private)
    return private, folder / "out"


def texts(folder):
    """The text of every file below ``folder`` that is text; of a notebook its cells."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".npz"):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
        yield path.relative_to(folder).as_posix(), text


def telling_lines(script):
    """The lines of a solution's answers that its lesson does not show outside them, too long for chance."""
    source = script.read_text(encoding="utf-8")
    shown = re.sub(r"# <answer>.*?# </answer>", "", source, flags=re.DOTALL)
    shown = {re.sub(r"^[\s#]+|\s+#.*$", "", line).strip() for line in shown.split("\n")}
    answers = "\n".join(re.findall(r"# <answer>(.*?)# </answer>", source, flags=re.DOTALL)).split("\n")
    lines = {re.sub(r"(^|\s)#.*", "", line).strip() for line in answers}
    return {line for line in lines if len(line) >= 20} - shown


# ---------------------------------------------------------------------------------------------- the public course


def test_the_files_are_all_there_and_nothing_else(released):
    out, files = released
    assert files == sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    tops = {name.split("/")[0] for name in files}
    assert tops == {"start.py", "Makefile", "pyproject.toml", "requirements.txt", "environment.yml", "README.md",
                    "RELEASE.txt", "LICENSE", "LICENSE-TEXT", "CITATION.cff", ".gitignore", "lessons",
                    "metalearn_lite", "binder"}
    assert not [name for name in files if re.search(r"solutions|tests|alternatives|hidden|__pycache__|/grade/", name)]
    for script in (ROOT / "solutions").glob("*.py"):
        assert f"lessons/{script.stem}.ipynb" in files and f"lessons/{script.name}" in files
    library = {path.relative_to(ROOT).as_posix() for path in (ROOT / "metalearn_lite").rglob("*") if path.is_file()}
    kept = {name for name in library if not re.search(r"__pycache__|/\.", name)
            and not name.startswith("metalearn_lite/grade/")}
    assert LEFT_OUT == ("metalearn_lite/grade",) and kept == {n for n in files if n.startswith("metalearn_lite/")}


def test_the_lessons_are_those_of_the_course_byte_for_byte(released):
    out, _ = released
    public = sorted(path for path in (ROOT / "lessons").iterdir() if path.is_file())
    assert [path.name for path in public] == sorted(path.name for path in (out / "lessons").iterdir())
    for path in public:
        assert (out / "lessons" / path.name).read_bytes() == path.read_bytes()


def test_no_line_of_an_answer_is_in_the_lessons(released):
    out, _ = released
    counted = 0
    for script in sorted((ROOT / "solutions").glob("*.py")):
        lines = telling_lines(script)
        counted += len(lines)
        for name in (f"{script.stem}.py", f"{script.stem}.ipynb"):
            text = dict(texts(out / "lessons"))[name]
            held = {re.sub(r"(^|\s)#.*", "", line).strip() for line in text.split("\n")}
            assert not held & lines, name
    assert counted > 50  # else the search found nothing to look for


def test_no_marker_no_output_and_no_teachers_cell(released):
    out, _ = released
    for name, text in texts(out / "lessons"):
        assert not re.search(r"<\s*/?\s*(answer|stub)\s*>|Teacher's notes|\"teacher\"", text), name
    for path in (out / "lessons").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_the_release_says_what_it_is(released):
    out, files = released
    text = (out / "RELEASE.txt").read_text()
    assert re.match(r"metalearn_lite \d+\.\d+\.\d+, released to a class on \d{4}-\d\d-\d\d\n", text)
    named = dict(reversed(line.split("  ", 1)) for line in re.findall(r"^[0-9a-f]{64}  \S+$", text, re.MULTILINE))
    assert set(named) == {name for name in files if name.startswith("lessons/")} | {"requirements.txt"}
    for name, digest in named.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert "holds a solution of each exercise of the public course" in text


def test_its_readme_leads_nowhere_outside_it(released):
    out, files = released
    assert broken(out / "README.md", out) == []
    text = (out / "README.md").read_text()
    assert "solutions/" not in text and "make test" not in text and "CONTRIBUTING" not in text
    assert "### " not in text and "--wheels DIR" in text and "ORG/REPO" not in text
    assert text.endswith("(metalearn_lite/data/files/OFL-1.1.txt). To cite: [CITATION.cff](CITATION.cff).\n")
    for path in sorted((out / "lessons").glob("*.ipynb")):
        assert broken(path, out) == []


def test_its_makefile_has_what_works_in_it(released):
    text = (released[0] / "Makefile").read_text()
    assert re.findall(r"^([a-z]+):", text, re.MULTILINE) == ["lab", "reset"] and ".PHONY: lab reset\n" in text
    assert all(line in (ROOT / "Makefile").read_text() for line in text.split("\n") if not line.startswith(".PHONY"))


def test_start_works_in_it(released, tmp_path):
    """What can be asked without installing: a fresh copy of a lesson, and the library's own look at the machine."""
    out, _ = released
    run = [sys.executable, str(out / "start.py"), "reset", "01", "--my-lessons", str(tmp_path / "mine")]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("01_gradient_descent.ipynb", "01_gradient_descent.py"):
        assert (tmp_path / "mine" / name).read_bytes() == (ROOT / "lessons" / name).read_bytes()
    listing = subprocess.run([sys.executable, "-B", "-c", "import start; print(*start.lesson_files(), sep='\\n')"],
                             capture_output=True, text=True, cwd=out)
    public = [path.name for path in (ROOT / "lessons").iterdir() if path.is_file()]
    assert sorted(listing.stdout.split()) == sorted(public)


@pytest.mark.slow  # it starts PyTorch once more
def test_its_library_stands_alone(released):
    out, _ = released
    code = ("import metalearn_lite, importlib, pkgutil; from metalearn_lite import data;"
            "import metalearn_lite.check as check;"
            "[importlib.import_module(f'metalearn_lite.check.{m.name}') for m in pkgutil.iter_modules(check.__path__)];"
            "print(metalearn_lite.__file__, len(data.glyphs()))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=out,
                          env={"PYTHONPATH": str(out), "PATH": "", "OMP_NUM_THREADS": "1",
                               "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0].startswith(str(out.resolve()))


# ------------------------------------------------------------------------------------------------ a private folder


def test_a_variant_takes_the_place_of_a_lesson_and_another_stands_beside(varied):
    _, out = varied
    held = dict(texts(out / "lessons"))
    for name in ("05_maml.py", "05_maml.ipynb", "15_variant.py", "15_variant.ipynb"):
        assert "def decayed_step(w, grad, lr, decay):\n    return ...      # shape of w" in held[name]
        assert "should be 0.9 twice" in held[name]
    assert "Write `decayed_step`" in held["05_maml.ipynb"] and held["05_maml.ipynb"].startswith("# 05 MAML\n")
    assert held["04_transfer_learning.py"] == (ROOT / "lessons" / "04_transfer_learning.py").read_text()
    assert "[05 MAML](lessons/05_maml.ipynb)" in (out / "README.md").read_text()
    assert "[Variant of week 5](lessons/15_variant.ipynb)" in (out / "README.md").read_text()


def test_nothing_else_of_the_private_folder_is_in_the_release(varied):
    private, out = varied
    for name, text in texts(out):
        for secret in ("shrunk_start", "lr * (grad + decay * w)", "without_decay", "hidden message", "hidden hint",
                       "hidden praise", "private remark", "Somebody Private", "STEP =", str(private)):
            assert secret not in text, (name, secret)


def test_the_variant_is_what_the_hidden_file_asks(varied):
    """The released stub is open, the private answer right, a known mistake named: by the grader's own parts."""
    private, out = varied
    hidden = load("lesson15", private)
    assert hidden.exercises == {"decayed_step": 3}
    exercise = hidden.parts[0].asked()

    def written(source):
        space = {}
        exec(compile(source, "cell", "exec"), space)
        return space["decayed_step"]

    cells = [cell.source for cell in nbformat.read(out / "lessons" / "15_variant.ipynb", as_version=4).cells]
    stub = next(cell for cell in cells if cell.startswith("def decayed_step"))
    assert exercise.verdict(written(stub), seed=7).status == "open"
    answer = VARIANT.split('tags=["exercise"]\n')[1].split("# %%")[0]
    assert exercise.verdict(written(answer), seed=7).status == "right"
    wrong = exercise.verdict(lambda w, grad, lr, decay: w - lr * grad, seed=7)
    assert wrong.status == "wrong" and "did not shrink" in wrong.message


def test_hidden_parts_alone_change_no_lesson(tmp_path):
    (tmp_path / "hidden").mkdir()
    assert sources(tmp_path) == sources()


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("place", ["", "lessons", "build/class", "metalearn_lite/grade/out"])
def test_not_into_the_course(place):
    before = sorted((ROOT / "metalearn_lite").iterdir())
    with pytest.raises(ValueError, match="lies in the course itself"):
        release(ROOT / place)
    assert sorted((ROOT / "metalearn_lite").iterdir()) == before


def test_not_around_the_course():
    with pytest.raises(ValueError, match="or holds it"):
        release(ROOT.parent)


def test_not_over_anything(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not an empty folder"):
        release(tmp_path)
    with pytest.raises(ValueError, match="not an empty folder"):
        release(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"] and (tmp_path / "mine.txt").read_text() == "mine"


def test_not_with_a_private_folder_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="solutions/ or hidden/"):
        release(tmp_path / "out", tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source, message", [
    (VARIANT.replace("    # </answer>\n", ""), "inside the <answer>"),
    (re.sub("    # <stub>.*?# </stub>\n", "", VARIANT, flags=re.DOTALL), "without a <stub>"),
    (VARIANT + "\n# %%\n# <answer>\nprint('an answer that is no exercise')\n# </answer>\n", "only in cells tagged"),
])
def test_a_variant_that_is_no_lesson_is_refused_before_anything_is_written(tmp_path, source, message, monkeypatch):
    (tmp_path / "private" / "solutions").mkdir(parents=True)
    script = tmp_path / "private" / "solutions" / "05_maml.py"
    script.write_text(source)
    monkeypatch.setattr("metalearn_lite.grade.release.sources", lambda private: {script.stem: script})
    with pytest.raises(ValueError, match=message):
        release(tmp_path / "out", tmp_path / "private")
    assert not (tmp_path / "out").exists()


def test_a_further_lesson_has_a_title_of_its_own(tmp_path):
    (tmp_path / "private" / "solutions").mkdir(parents=True)
    (tmp_path / "private" / "solutions" / "15_variant.py").write_text(REPLACING)
    with pytest.raises(ValueError, match="15_variant.py has the title of 05_maml, '05 MAML', and would be taken for it"):
        release(tmp_path / "out", tmp_path / "private")
    assert not (tmp_path / "out").exists()


def test_an_answer_that_would_be_left_in_a_lesson_is_found(tmp_path, monkeypatch):
    """The tool's search is made on what is released: with a stripper that strips nothing, there is no release."""
    broken_tool = tool()
    broken_tool.strip_answers = lambda source: source
    monkeypatch.setattr("metalearn_lite.grade.release.tool", lambda: broken_tool)
    script = ROOT / "solutions" / "primer_pytorch.py"
    monkeypatch.setattr("metalearn_lite.grade.release.sources", lambda private: {script.stem: script})
    with pytest.raises(ValueError, match="holds a marker|holds a line of an answer"):
        release(tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ the guide


def write_table(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def moodle(tmp_path):
    """moodle(*arguments) runs the guide's script on a worksheet and a roster of two, and on what they handed in."""
    (tmp_path / "moodle.py").write_text(MOODLE, encoding="utf-8")
    head = ["Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade", "Last modified (grade)"]
    people = [("Participant 657831", "Jane Doe", "Jane@School.org"), ("Participant 657840", "Zoë, Ng", "zoe@school.org")]
    write_table(tmp_path / "worksheet05.csv", [head, *((*person, "Submitted", "", "15", "-") for person in people)])
    write_table(tmp_path / "roster.csv", [["student", "email"], ["s17", "jane@school.org"], ["s18", " zoe@school.org"]])

    def run(*arguments):
        return subprocess.run([sys.executable, "moodle.py", *arguments], cwd=tmp_path, capture_output=True, text=True)
    return run


def test_the_moodle_script_gives_folders_the_rosters_numbers(moodle, tmp_path):
    for name in ("Jane Doe_657831_assignsubmission_file", "Zoë, Ng_657840_assignsubmission_file_",  # new, old Moodle
                 "Zoë, Ng_657840_assignsubmission_onlinetext"):
        (tmp_path / "submissions05" / name).mkdir(parents=True)
    (tmp_path / "submissions05" / "Jane Doe_657831_assignsubmission_file" / "05_maml.ipynb").write_text("mine")
    done = moodle("names", "worksheet05.csv", "roster.csv", "submissions05")
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and "take it away" in done.stdout, done.stderr
    assert {path.name for path in (tmp_path / "submissions05").iterdir()} == {
        "s17", "s18", "Zoë, Ng_657840_assignsubmission_onlinetext"}
    assert (tmp_path / "submissions05" / "s17" / "05_maml.ipynb").read_text() == "mine"


def test_the_moodle_script_fills_the_worksheet_and_lays_the_pages_ready(moodle, tmp_path):
    (tmp_path / "grades" / "pages").mkdir(parents=True)
    (tmp_path / "grades" / "pages" / "s17.html").write_text("the page of s17")
    write_table(tmp_path / "grades" / "grades.csv", [["student", "total", "max"], ["s17", "11", "15"], ["s18", "", "15"]])
    done = moodle("marks", "worksheet05.csv", "roster.csv", "grades", "moodle05")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "moodle05" / "worksheet.csv", encoding="utf-8", newline="") as file:
        filled = list(csv.DictReader(file))
    assert [row["Grade"] for row in filled] == ["11", ""] and filled[1]["Full name"] == "Zoë, Ng"
    pages = {path.relative_to(tmp_path / "moodle05" / "pages").as_posix(): path.read_text()
             for path in (tmp_path / "moodle05" / "pages").rglob("*.html")}
    assert pages == {"page_657831_assignsubmission_file_/marks.html": "the page of s17"}


def test_the_moodle_script_stops_at_a_stranger_without_a_name(moodle, tmp_path):
    write_table(tmp_path / "roster.csv", [["student", "email"], ["s17", "jane@school.org"]])
    done = moodle("names", "worksheet05.csv", "roster.csv", "submissions05")
    assert done.returncode != 0 and "657840" in done.stderr and "zoe" not in done.stderr.lower()


@pytest.mark.skipif(os.name == "nt", reason="a loop of a shell")
def test_the_canvas_loop_gives_files_their_ids(tmp_path):
    (tmp_path / "submissions").mkdir()
    for name in ("smithbob_340934_208490284_05_maml.ipynb", "ngzoe_LATE_340935_208490285_05_maml-1.ipynb",
                 "o_hara2_340936_208490286_my work_12_34_.py", "kept.txt"):
        (tmp_path / "submissions" / name).write_text(name)
    subprocess.run(["sh", "-c", CANVAS], cwd=tmp_path, check=True)
    assert {path.relative_to(tmp_path / "submissions").as_posix() for path in (tmp_path / "submissions").rglob("*.*")} == {
        "340934/05_maml.ipynb", "340935/05_maml-1.ipynb", "340936/my work_12_34_.py", "kept.txt"}


def test_the_guide_states_the_graders_limits():
    for words in (f"{box.SECONDS:.0f} seconds of a processor for each\nof its parts", f"and {box.MEMORY // 2**30} GB",
                  f"{files.LARGEST // 10**6} MB", f"{submissions.SOURCE // 10**6} MB of code",
                  f"{submissions.LOOKED_AT} files"):
        assert words.replace("\n", " ") in GUIDE.replace("\n", " ")


def test_the_guide_states_what_can_be_had_without_optional_exercises():
    stated = {}
    for script in sorted((ROOT / "solutions").glob("0*.py")):
        heads, optional = [], set()
        for line in script.read_text(encoding="utf-8").split("\n"):
            if found := re.match(r"# (##+) (.*)", line):
                heads = heads[:len(found[1]) - 2] + [found[2]]
            elif (found := re.match(r"def (\w+)\(", line)) and any("ptional" in head for head in heads):
                optional.add(found[1])
        points = load(f"lesson{script.stem[:2]}").exercises
        if left_out := optional & set(points):
            stated[script.stem[:2]] = sum(points.values()) - sum(points[name] for name in left_out), sum(points.values())
    words = GUIDE[GUIDE.index("Optional exercises are in `max`"):].replace("\n", " ")
    found = re.findall(r"(\d+) of (\d+) (?:points can be had )?in (\d\d)", words)
    assert {lesson: (int(got), int(most)) for got, most, lesson in found} == stated


# ------------------------------------------------------------------------------------------- figures of the lessons


def figures(text):
    """The figures in a text that are no whole numbers below a thousand, such as "0.49", "-9.3 ± 2.5" or "1,761"."""
    return {number.lstrip("+") + half for number, half in re.findall(r"([-+]?\d+(?:\.\d+|,\d{3}))( ± \d+\.\d+)?", text)}


@functools.cache
def stored(lesson):
    """The figures of each line of a lesson's stored outputs, a list of sets."""
    notebook = nbformat.read(next((ROOT / "solutions").glob(f"{lesson}_*.ipynb")), as_version=4)
    texts = [text for cell in notebook.cells if cell.cell_type == "code" for text in text_of(cell)]
    return [figures(line) | figures(line.replace("±", "and")) for line in "\n".join(texts).split("\n")]


@pytest.mark.parametrize("name, least", [("exam_questions.md", 9), ("teaching.md", 4)])
def test_a_quoted_figure_stands_in_its_lessons_stored_outputs(name, least):
    """After `<!-- from 04 -->`: the block below it, each row of a table in one line of output; else the rest of the line."""
    quoted = re.findall(r"<!-- from (\w+) -->(?:\n((?:.+\n)+)|(.+))", (ROOT / "docs" / name).read_text(encoding="utf-8"))
    assert len(quoted) >= least
    lost = []
    for lesson, block, rest in quoted:
        is_table = block.startswith("|")
        places = stored(lesson) if is_table else [set().union(*stored(lesson))]
        for words in block.split("\n") if is_table else [(block or rest).replace("\n", " ")]:
            if not any(figures(words) <= place for place in places):
                lost.append(f"{lesson}: {words}")
    assert lost == []


# ------------------------------------------------------------------------------------------------ the exam questions

QUESTIONS = re.split(r"^### ", (ROOT / "docs" / "exam_questions.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("question", QUESTIONS[1:], ids=lambda text: text.split(".")[0])
def test_a_computed_answer_is_what_its_code_computes(question):
    """All code of a question runs in a namespace of its own; its asserts are the model answer."""
    head = question.split("\n")[0]
    found = re.search(r"\((by hand|short answer|find the bug|read a table), (\d+) points?, (primer|\d\d)\.(\d)\)$", head)
    assert found, head
    assert "\n**Answer.**" in question
    blocks = re.findall(r"^```python\n(.*?)^```", question, flags=re.MULTILINE | re.DOTALL)
    if found[1] == "find the bug":
        assert len(blocks) == 2 and "assert" in blocks[1]  # the listing, and what it does
    space = {"torch": torch, "F": torch.nn.functional, "nn": torch.nn}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "without an error or a warning"
        exec(compile("\n".join(blocks), head, "exec"), space)
    assert not blocks or any("assert" in block for block in blocks)


def test_the_bank_covers_the_course():
    heads = [text.split("\n")[0] for text in QUESTIONS[1:]]
    assert QUESTIONS[0].split("\n")[2].startswith(f"{len(heads)} questions")
    assert len(heads) >= 40 and len({head.split(".")[0] for head in heads}) == len(heads)
    served = [re.search(r"(primer|\d\d)\.\d\)$", head)[1] for head in heads]
    assert all(served.count(lesson) >= 5 for lesson in ("primer", *(f"0{n}" for n in range(8))))
