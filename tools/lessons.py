"""Make the lessons from their solutions, and check that everything is in step.

    python tools/lessons.py build                 every solution: run it, store its outputs, make its lesson
    python tools/lessons.py build 01 primer       only these (by number, name, or the start of a name)
    python tools/lessons.py build 01 --no-run     only the learner's files and the script's header: quick
    python tools/lessons.py check                 say what is out of step; exit status 1 if anything is

The one source of a lesson is ``solutions/NAME.py`` (Jupytext's percent format).  From it come

    solutions/NAME.ipynb    the same cells, executed, with outputs: what a teacher and a code host show
    lessons/NAME.py         the learner's version: no answers, no teacher's cells, no outputs
    lessons/NAME.ipynb      the same as a notebook

In a code cell tagged ``exercise``, lines between ``# <answer>`` and ``# </answer>`` are the answer: they stay out of
the lesson.  Lines between ``# <stub>`` and ``# </stub>`` are comments in the solution and become code in the lesson.
Cells tagged ``teacher`` stay out of the lesson.  A cell tagged ``nbval-ignore-output`` may print what differs from run
to run.
"""

import argparse
import ast
import copy
import difflib
import hashlib
import os
import re
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from jupytext.config import load_jupytext_config
from jupytext.formats import long_form_one_format

ROOT = Path(__file__).resolve().parent.parent
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_SECONDS = 600  # a cell that runs longer hangs
MARKER = re.compile(r"\s*# <(/?)(answer|stub)>\s*")
LIKE_MARKER = re.compile(r"<\s*/?\s*(answer|stub)s?\s*>", re.IGNORECASE)
CHECK_CALL = re.compile(r"\b(lesson\d\d|primer)\.\w+\(")  # lesson01.sgd(sgd)
PROGRESS = re.compile(r"0%\|[^|]*\| *0/(\d+) .*")  # the text of a progress bar: of its start, although it has ended
TELLING = 16  # an answer line shorter than this ("return x") may stand anywhere


# ------------------------------------------------------------------------------------------------ one cell


def split_cell(source):
    """Sort the lines of a cell: a list of (kind, line), kind "text", "answer" or "stub"; the markers are left out.

    Raises ValueError, naming the line, for a marker that is unbalanced, nested or not alone on its line.
    """
    kinds, inside, opened = [], "text", 0
    for number, line in enumerate(source.split("\n"), 1):
        marker = MARKER.fullmatch(line)
        if marker:
            closing, kind = marker[1] == "/", marker[2]
            if closing and inside != kind:
                raise ValueError(f"line {number}: </{kind}> without <{kind}> before it")
            if not closing and inside != "text":
                raise ValueError(f"line {number}: <{kind}> inside the <{inside}> opened in line {opened}")
            inside, opened = ("text", 0) if closing else (kind, number)
        elif LIKE_MARKER.search(line):
            raise ValueError(f"line {number}: a marker is a comment alone on its line, '# <answer>'; this is {line!r}")
        else:
            if inside == "stub" and line.strip() and not line.lstrip().startswith("#"):
                raise ValueError(f"line {number}: every line of a stub is a comment; this is {line!r}")
            kinds.append((inside, line))
    if inside != "text":
        raise ValueError(f"line {opened}: <{inside}> is never closed")
    return kinds


def strip_answers(source: str) -> str:
    """The learner's version of one code cell: answers gone, stubs uncommented, markers gone.

    Raises ValueError for unbalanced markers.
    """
    lines = []
    for kind, line in split_cell(source):
        if kind == "stub":
            line = re.sub(r"^(\s*)# ?", r"\1", line)
        if kind != "answer":
            lines.append(line.rstrip())
    return "\n".join(lines).strip("\n")


def tags(cell):
    return cell.metadata.get("tags", [])


def bare(line):
    """A line of code without its indentation and its comment."""
    return re.sub(r"(^|\s)#.*", "", line).strip()


def answer_blocks(nb):
    """The answers of a notebook: a list of lists of bare lines, empty ones left out."""
    blocks = []
    for cell in nb.cells:
        before = "text"
        for kind, line in split_cell(cell.source) if "exercise" in tags(cell) else ():
            if kind == "answer":
                if before != "answer":
                    blocks.append([])
                blocks[-1] += [bare(line)] if bare(line) else []
            before = kind
    return blocks


# -------------------------------------------------------------------------------------------- one notebook


def read_script(path):
    """Read a percent script as a notebook in its one normal form (ids from the content, no metadata but tags)."""
    nb = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    seen = {}
    for cell in nb.cells:
        key = f"{path.stem}\0{cell.cell_type}\0{cell.source}"
        seen[key] = seen.get(key, -1) + 1
        cell["id"] = hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest()[:8]
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
    nb.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    nb.nbformat, nb.nbformat_minor = 4, 5
    return nb


def as_script(nb, path):
    """The percent script of a notebook, as JupyterLab would save it beside ``path`` (its folder's jupytext.toml)."""
    config = load_jupytext_config(str(path))
    percent = long_form_one_format("py:percent")
    config.set_default_format_options(percent, read=False)
    return jupytext.writes(copy.deepcopy(nb), percent, config=config)


def as_notebook_text(nb):
    nbformat.validate(nb)
    return nbformat.writes(nb, version=4) + "\n"


def source_problems(nb, name):
    """What is wrong in a solution's source: a list of messages, empty if nothing is."""
    problems = []
    code = [cell for cell in nb.cells if cell.cell_type == "code"]

    def say(cell, what):
        first = (cell.source.strip() or "(empty)").split("\n")[0]
        problems.append(f"{name}: {what} (the cell that begins {first!r})")

    for cell in nb.cells:
        try:
            kinds = {kind for kind, _ in split_cell(cell.source)}
        except ValueError as error:
            say(cell, str(error))
            continue
        exercise = "exercise" in tags(cell)
        if "teacher" in tags(cell) and exercise:
            say(cell, "a cell is either the teacher's or an exercise")
        if cell.cell_type != "code":
            if exercise or kinds - {"text"}:
                say(cell, "exercises and their markers stand in code cells")
            continue
        if not cell.source.strip():
            say(cell, "an empty code cell")
        if not exercise:
            if kinds - {"text"}:
                say(cell, 'answers and stubs stand only in cells tagged "exercise"')
            continue
        for needed in ("answer", "stub"):
            if needed not in kinds:
                say(cell, f"an exercise without a <{needed}>")
        after = code[code.index(cell) + 1: code.index(cell) + 2]
        if not any(CHECK_CALL.search(c.source) for c in [cell, *after]):
            say(cell, "an exercise is followed by its check, like lesson01.sgd(sgd)")
        for whose, source in (("solution's", cell.source), ("learner's", strip_answers(cell.source))):
            try:
                ast.parse(source)
            except SyntaxError as error:
                say(cell, f"the {whose} cell is not Python: {error.msg}, line {error.lineno}: {error.text!r}")
    return problems


def student_notebook(nb):
    """The learner's notebook of a solution: no answers, no teacher's cells, no outputs; cells keep their ids."""
    student = copy.deepcopy(nb)
    student.cells = [cell for cell in student.cells if "teacher" not in tags(cell)]
    for cell in student.cells:
        if cell.cell_type == "code":
            cell.source = strip_answers(cell.source)
            cell.outputs, cell.execution_count = [], None
    return student


# ------------------------------------------------------------------------------------------------- running


def kernel_environment():
    """The environment in which outputs are made and compared: two threads, no accelerator, full length.

    Threads that wait sleep: on a busy machine they would else spin, and small networks train up to ten times slower.
    """
    env = dict(os.environ, OMP_NUM_THREADS="2", MKL_NUM_THREADS="2", OMP_WAIT_POLICY="PASSIVE",
               CUDA_VISIBLE_DEVICES="", NO_COLOR="1",
               PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    env.pop("METALEARN_LITE_UPDATES", None)
    return env


def run_notebook(nb, folder):
    """Execute every cell in ``folder``; return the notebook, outputs fit to be stored, and each cell's seconds.

    Raises RuntimeError if a cell raises, or writes a warning (to stderr) and is not tagged "nbval-ignore-output".
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    nb, seconds, started = copy.deepcopy(nb), {}, {}
    if not any(cell.cell_type == "code" for cell in nb.cells):
        return nb, seconds  # a page of text needs no kernel

    def start(cell, cell_index):
        started[cell_index] = time.perf_counter()

    def done(cell, cell_index, execute_reply):
        seconds[cell_index] = time.perf_counter() - started[cell_index]

    client = NotebookClient(nb, timeout=CELL_SECONDS, kernel_name="python3", extra_arguments=["--log-level=ERROR"],
                            resources={"metadata": {"path": str(folder)}}, record_timing=False,
                            store_widget_state=False, coalesce_streams=True, on_cell_execute=start,
                            on_cell_executed=done)
    try:
        client.execute(env=kernel_environment())
    except CellExecutionError as error:
        raise RuntimeError(f"a cell raised:\n{error}") from None
    nb.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(WIDGET_VIEW, None)  # of use to a live kernel only; its text and picture stay
            if "text/plain" in data:
                data["text/plain"] = PROGRESS.sub(r"100%|██████████| \1/\1", data["text/plain"])
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]  # the full one names this machine's folders
    found = output_problems(nb)
    if found:
        raise RuntimeError("\n".join(found))
    return nb, seconds


def output_problems(nb):
    """What is wrong with the outputs of an executed notebook: a list of messages, empty if nothing is."""
    problems = []
    for cell in nb.cells:
        if cell.cell_type != "code":
            continue
        where = f"(the cell that begins {cell.source.strip().splitlines()[0] if cell.source.strip() else '(empty)'!r})"
        if cell.execution_count is None:
            problems.append(f"a code cell has not been run {where}")
        for output in cell.outputs:
            kind, ignored = output.output_type, "nbval-ignore-output" in tags(cell)
            if kind == "stream" and output.name == "stderr" and not ignored:
                problems.append(f"a cell writes to stderr {where}:\n{output.text}")
            if kind == "error" and not {"raises-exception", "nbval-raises-exception"} & set(tags(cell)):
                problems.append(f"a cell's output is an error {where}: {output.ename}: {output.evalue}")
            if WIDGET_VIEW in output.get("data", {}):
                problems.append(f"a widget's view is stored {where}")
            text = str(output)
            address = re.search(r"<[\w. ]+ at 0x[0-9a-f]+>", text)
            if address and not ignored:
                problems.append(f"an output holds an address, another in every run: {address[0]} {where}")
            for private in {str(ROOT), str(Path.home()) + os.sep}:
                if len(private) > 3 and private in text:
                    problems.append(f"an output names a folder of this machine, {private} {where}")
    if nb.metadata.get("widgets"):
        problems.append("the state of widgets is stored")
    return problems


# ------------------------------------------------------------------------------------- the two folders


def write(path, text):
    """Write ``text`` unless it is there already, so that a build that changes nothing touches nothing."""
    if not path.exists() or path.read_bytes() != text.encode():
        path.write_bytes(text.encode())
        print(f"  wrote {path.parent.name}/{path.name}")


def build(script, run=True):
    """Make everything that comes from one solution, ``ROOT/solutions/NAME.py``; ROOT/lessons must exist."""
    lessons = script.parent.parent / "lessons"
    nb = read_script(script)
    problems = source_problems(nb, script.name)
    if problems:
        raise RuntimeError("\n".join(problems))
    lessons.mkdir(exist_ok=True)
    write(lessons / "jupytext.toml", (script.parent / "jupytext.toml").read_text(encoding="utf-8"))
    write(script, as_script(nb, script))
    student = student_notebook(nb)
    write(lessons / script.name, as_script(student, lessons / script.name))
    write((lessons / script.name).with_suffix(".ipynb"), as_notebook_text(student))
    if run:
        executed, seconds = run_notebook(nb, script.parent)
        write(script.with_suffix(".ipynb"), as_notebook_text(executed))
        slow = max(seconds, key=seconds.get, default=None)
        if slow is not None:
            print(f"  {sum(seconds.values()):.1f} s; the longest cell {seconds[slow]:.1f} s: "
                  f"{nb.cells[slow].source.splitlines()[0]}")


def difference(expected, found, name_expected, name_found):
    return "\n".join(difflib.unified_diff(expected.splitlines(), found.splitlines(), name_expected, name_found,
                                          lineterm="", n=1))


def check(root=ROOT):
    """Everything that is out of step below ``root``: a list of messages, empty if nothing is.  Looks at no clock."""
    solutions, lessons = root / "solutions", root / "lessons"
    scripts = sorted(solutions.glob("*.py"))
    problems = [] if scripts else [f"{solutions}: no lessons there"]
    expected = {"jupytext.toml": (solutions / "jupytext.toml").read_text(encoding="utf-8")}
    notebooks = {}
    for script in scripts:
        nb = notebooks[script.stem] = read_script(script)
        found = source_problems(nb, f"solutions/{script.name}")
        problems += found
        if found:
            continue
        student = student_notebook(nb)
        expected[script.name] = as_script(student, lessons / script.name)
        expected[script.stem + ".ipynb"] = as_notebook_text(student)
        problems += pair_problems(script, nb)
    pairs = {stem + end for stem in notebooks for end in (".py", ".ipynb")}
    asked = {f"hidden/{path.name}" for path in (solutions / "hidden").glob("*.py")}  # what grading asks
    problems += [f"solutions/{path.relative_to(solutions).as_posix()}: does not belong there (no script of that name?)"
                 for path in strays(solutions, {"jupytext.toml"} | pairs | asked)]
    problems += [f"lessons/{path.relative_to(lessons).as_posix()}: made from no solution"
                 for path in strays(lessons, {"jupytext.toml"} | pairs)]
    for name, text in expected.items():
        path = lessons / name
        if not path.exists():
            problems.append(f"lessons/{name}: missing; python tools/lessons.py build --no-run")
        elif path.read_bytes() != text.encode():
            now = path.read_bytes().decode("utf-8", "replace")
            problems.append(f"lessons/{name}: is not what its solution makes; python tools/lessons.py build --no-run\n"
                            + difference(text, now, "from the solution", f"lessons/{name}"))
    return problems + leaks(root, notebooks)


def strays(folder, known):
    """Files below ``folder`` that nobody expects there (a kernel's or an editor's own folders aside)."""
    hidden = {".ipynb_checkpoints", "__pycache__"}
    return [path for path in sorted(folder.rglob("*")) if path.is_file()
            and path.relative_to(folder).as_posix() not in known and not hidden & set(path.relative_to(folder).parts)]


def pair_problems(script, nb):
    """Is the executed notebook beside ``script`` the same cells, in normal form, all of them run?"""
    path = script.with_suffix(".ipynb")
    name = f"solutions/{path.name}"
    problems = []
    if script.read_bytes() != as_script(nb, script).encode():
        problems.append(f"solutions/{script.name}: not in normal form; python tools/lessons.py build --no-run\n"
                        + difference(as_script(nb, script), script.read_text(encoding="utf-8"), "normal form", name))
    if not path.exists():
        return problems + [f"{name}: missing; python tools/lessons.py build {script.stem}"]
    stored = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    apart = difference(as_script(nb, script), as_script(stored, script), script.name, path.name)
    if apart:
        problems.append(f"{name}: out of step with {script.name}; python tools/lessons.py build {script.stem}\n{apart}")
    bare = copy.deepcopy(stored)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if not apart and as_notebook_text(bare) != as_notebook_text(nb):
        problems.append(f"{name}: ids or metadata are not the tool's; python tools/lessons.py build {script.stem}\n"
                        + difference(as_notebook_text(nb), as_notebook_text(bare), script.name, path.name))
    return problems + [f"{name}: {problem}" for problem in output_problems(stored)]


def together(block, text):
    """Do the lines of an answer stand in the text in their order, in one passage (with some words between them)?"""
    longest = 4 * sum(map(len, block)) + 200
    for start in re.finditer(re.escape(block[0]), text):
        place = start.start()
        for line in block:
            found = text.find(line, place)
            place = found + len(line)
            if found < 0 or place - start.start() > longest:
                break
        else:
            return True
    return False


def leaks(root, notebooks):
    """Answers, markers or teacher's cells in any file below ``root``/lessons.

    A line of an answer may stand in a lesson only if the lesson's solution shows it outside its answers too; and never
    all lines of an answer in their order in one passage (a bug hunt may show them in another).
    """
    problems = []
    blocks = {stem: answer_blocks(nb) for stem, nb in notebooks.items() if not source_problems(nb, stem)}
    telling = {line for answers in blocks.values() for block in answers for line in block if len(line) >= TELLING}
    for path in sorted(p for p in (root / "lessons").rglob("*") if p.is_file()):
        name = f"lessons/{path.relative_to(root / 'lessons').as_posix()}"
        text = path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".ipynb":
            nb = nbformat.reads(text, as_version=4)
            text = "\n".join(cell.source for cell in nb.cells)
            if any(cell.get("outputs") or cell.get("execution_count") for cell in nb.cells):
                problems.append(f"{name}: holds outputs")
            if any("teacher" in tags(cell) for cell in nb.cells):
                problems.append(f"{name}: holds a teacher's cell")
        elif re.search(r'^# %%.*tags=.*"teacher"', text, re.MULTILINE):
            problems.append(f"{name}: holds a teacher's cell")
        if LIKE_MARKER.search(text):
            problems.append(f"{name}: holds a marker, {LIKE_MARKER.search(text)[0]}")
        solution = root / "solutions" / f"{path.stem}.py"
        shown = ""
        if solution.exists():  # on purpose not by strip_answers: this is its check
            shown = re.sub(r"# <answer>.*?# </answer>", "", solution.read_text(encoding="utf-8"), flags=re.DOTALL)
        lines = {bare(line) for line in text.split("\n")}
        shown = shown.split("\n")
        public = {bare(re.sub(r"^\s*# ?", "", line)) for line in shown} | {bare(line) for line in shown}
        problems += [f"{name}: holds a line of an answer: {line}" for line in sorted((telling & lines) - public)]
        for block in blocks.get(path.stem, []):
            if any(len(line) >= TELLING for line in block) and together(block, text):
                problems.append(f"{name}: gives an answer away: {' | '.join(block)}")
    return problems


def chosen(names, solutions):
    """The scripts that ``names`` mean: a number, a name or the start of one; all if there are none."""
    scripts = sorted(solutions.glob("*.py"))
    for name in names:
        if not any(script.stem.startswith(name.removesuffix(".py")) for script in scripts):
            there = ", ".join(script.stem for script in scripts) or "none"
            raise SystemExit(f"no solution begins with {name!r}; there are {there}")
    return [s for s in scripts if not names or any(s.stem.startswith(n.removesuffix(".py")) for n in names)]


def main(arguments=None, root=ROOT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="make notebooks and lessons from solutions/*.py")
    builder.add_argument("names", nargs="*", help="numbers or names of lessons; none: all")
    builder.add_argument("--no-run", action="store_true", help="make the learner's files only, execute nothing")
    commands.add_parser("check", help="say what is out of step")
    options = parser.parse_args(arguments)
    failed = False
    if options.command == "build":
        for script in chosen([Path(name).name for name in options.names], root / "solutions"):
            print(script.stem, flush=True)
            try:
                build(script, run=not options.no_run)
            except RuntimeError as error:
                print(f"{script.name}: {error}", file=sys.stderr)
                failed = True
    else:
        problems = check(root)
        print("\n".join(problems) or "everything is in step")
        failed = bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
