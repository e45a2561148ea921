"""The folder that a teacher hands to a class: everything that ``python3 start.py lab`` needs, and no answers.

The lessons in it are made anew from the solutions by the functions of ``tools/lessons.py``, so that nothing comes along
that stood in ``lessons/`` by accident, and then searched for answers by the same tool.
"""

import datetime
import hashlib
import importlib.util
import re
import shutil
import tempfile
from pathlib import Path

from metalearn_lite import __version__

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = ("start.py", "pyproject.toml", "requirements.txt", "environment.yml", "LICENSE", "LICENSE-TEXT",
         "CITATION.cff", ".gitignore")
FOLDERS = ("metalearn_lite", "binder")
LEFT_OUT = ("metalearn_lite/grade",)  # the grader stays with the teacher
TARGETS = "lab|reset"  # of the Makefile; the others need tests/, tools/ or solutions/
SECTIONS = ("What it needs", "When something goes wrong", "A classroom without a network", "Licences")  # of README.md

README = """# metalearn_lite: the lessons of your class

You need Python 3.11, 3.12 or 3.13. In this folder:

    python3 start.py lab          # Windows: py start.py lab

sets everything up, then opens lesson 00 in your browser. The first call takes a few minutes, later ones a few seconds.
You work in `my_lessons/`, on copies of your own. `python3 start.py reset 01` gives you a fresh copy of lesson 01 and
keeps yours in `my_lessons/backup/`. Ctrl-C in the terminal stops JupyterLab. If your teacher gave you the address of a
JupyterHub or a Binder, use that instead; on Binder, download what you want to keep before you pause.

## Lessons

{lessons}

`RELEASE.txt` says which release this is: name it when you ask a question.

"""

RELEASE = """metalearn_lite {version}, released to a class on {date}

SHA-256 of each lesson, of the packages it was made with (requirements.txt), and of the library with its checks:

{hashes}
What is in here. There are no solutions, no teacher's notes and no hidden tests. The checks in the notebooks are for
practice, and they are open: metalearn_lite/check/ holds a solution of each exercise of the public course, and a
notebook shows it after an attempt ("Show a solution"). A right answer to such an exercise shows practice, not who
wrote it.
"""


def release(out, private=None):
    """Fill the folder ``out`` for a class -> list of its files, paths relative to it, sorted.

    out:      a folder outside the course that is empty or not there yet
    private:  a teacher's folder. Lessons in its ``solutions/``, in the same format, replace public ones of the same
              name or stand beside them; nothing else of it is looked at.
    Raises ValueError, in words for the teacher, before anything is written.
    """
    out = Path(out)
    place = out.resolve()
    if place.is_relative_to(ROOT) or ROOT.is_relative_to(place):
        raise ValueError(f"{out} lies in the course itself, or holds it: choose a folder beside the course")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not an empty folder: a release is never written over anything")
    if not (ROOT / "tools" / "lessons.py").is_file() or not (ROOT / "solutions").is_dir():
        raise ValueError(f"{ROOT} is not the whole course: a release is made in a clone, with solutions/ and tools/")
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        titles = make_lessons(staged, sources(private))
        shutil.copytree(staged / "lessons", out / "lessons")
    for name in FILES:
        shutil.copy(ROOT / name, out / name)
    for name in FOLDERS:
        copy_folder(ROOT / name, out / name)
    (out / "Makefile").write_text(makefile(), encoding="utf-8", newline="\n")
    (out / "README.md").write_text(readme(titles), encoding="utf-8")
    (out / "RELEASE.txt").write_text(RELEASE.format(version=__version__, date=datetime.date.today(),
                                                    hashes=hashes(out)), encoding="utf-8")
    return sorted(path.relative_to(out).as_posix() for path in files(out))


def sources(private=None):
    """{name of a lesson: its solution's path}, a private one in the place of the public one of that name."""
    found = {path.stem: path for path in sorted((ROOT / "solutions").glob("*.py"))}
    if private is not None:
        private = Path(private)
        if not (private / "solutions").is_dir() and not (private / "hidden").is_dir():
            raise ValueError(f"{private}: a private folder has solutions/ or hidden/ or both in it")
        found |= {path.stem: path for path in sorted((private / "solutions").glob("*.py"))}
    return dict(sorted(found.items()))


def tool():
    """tools/lessons.py as a module."""
    spec = importlib.util.spec_from_file_location("lessons_tool", ROOT / "tools" / "lessons.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_lessons(folder, scripts):
    """Make ``folder``/lessons from copies of the scripts in ``folder``/solutions -> {name: title}.

    Raises ValueError for a script that is no lesson's source, and if an answer is left in a lesson. A private exercise
    may do without a check: the course has none for it.
    """
    lessons, notebooks, problems = tool(), {}, []
    for name in ("solutions", "lessons"):
        (folder / name).mkdir()
        shutil.copy(ROOT / "solutions" / "jupytext.toml", folder / name)
    for name, path in scripts.items():
        shutil.copy(path, folder / "solutions" / path.name)
        notebooks[name] = nb = lessons.read_script(path)
        public = path.is_relative_to(ROOT / "solutions")
        found = [problem for problem in lessons.source_problems(nb, path.name)
                 if public or "is followed by its check" not in problem]
        problems += found
        if not found:
            student = lessons.student_notebook(nb)
            target = folder / "lessons" / path.name
            target.write_text(lessons.as_script(student, target), encoding="utf-8", newline="\n")
            target.with_suffix(".ipynb").write_text(lessons.as_notebook_text(student), encoding="utf-8", newline="\n")
    titles = {name: title(nb) for name, nb in notebooks.items()}
    problems = problems or lessons.leaks(folder, notebooks) + borrowed(titles)
    if problems:
        raise ValueError("\n".join(problems))
    return titles


def title(nb):
    """The first heading of a notebook."""
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else "a lesson without a title"


def borrowed(titles):
    """A problem for each lesson with the title of a public one of another number: the grader knows lessons by titles."""
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "solutions").glob("*.py")}
    public = {re.search(r"(?m)^# # (.+)$", script)[1].strip(): name for name, script in scripts.items()}
    return [f"{name}.py has the title of {public[words]}, {words!r}, and would be taken for it: give it one of its own"
            for name, words in titles.items() if words in public and name[:2] != public[words][:2]]


def makefile():
    """The course's Makefile with the targets of a learner."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = re.sub(rf"^(?!{TARGETS})[a-z]+:.*\n(\t.*\n)*", "", text, flags=re.MULTILINE)
    return re.sub(r"^\.PHONY:.*", ".PHONY: " + TARGETS.replace("|", " "), text, flags=re.MULTILINE)


def readme(titles):
    """The README.md of a release: its lessons, and what the course's README.md says that a class needs."""
    names = sorted(titles, key=lambda name: (name != "index", not name.startswith("primer"), name))
    text = README.format(lessons="\n".join(f"- [{titles[name]}](lessons/{name}.ipynb)" for name in names))
    parts = re.split(r"^##+ (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2]))
    text += "\n\n".join(f"## {name}\n\n{sections[name].strip()}" for name in SECTIONS) + "\n"
    return re.sub(r"\n+\[(.+?)\]: \S+$", lambda end: end[0] if f"[{end[1]}]" in text[:end.start()] else "", text,
                  flags=re.MULTILINE)  # links that no sentence here needs


def files(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def copy_folder(source, target):
    """Copy the files below ``source``, without what Python, an editor or an installer left there."""
    for path in files(source):
        parts = path.relative_to(source).parts
        if any(part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info") for part in parts):
            continue
        if any(path.is_relative_to(ROOT / name) for name in LEFT_OUT):
            continue
        (target / Path(*parts)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / Path(*parts))


def sha256(paths):
    """One hash of some files' bytes, in their order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def hashes(out):
    lines = [(sha256([path]), path.relative_to(out).as_posix()) for path in files(out / "lessons")]
    lines.append((sha256([out / "requirements.txt"]), "requirements.txt"))
    lines.append((sha256(files(out / "metalearn_lite")), "metalearn_lite/ (all files, in the order of their names)"))
    return "".join(f"{digest}  {name}\n" for digest, name in lines)
