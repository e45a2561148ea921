"""Every link of the course leads somewhere: on a code host, in lessons/, and in the learner's own copy of it.

Anchors are named differently by different readers.  In a notebook JupyterLab (and a code host's view of it) puts
hyphens for the spaces of a heading and keeps the rest; in a .md file a code host also lowers the letters and drops
punctuation.
"""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.links
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s{0,3}\[[^\]^]+\]:\s+(\S+)", re.MULTILINE)
HTML_LINK = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src)=[\"']([^\"']+)[\"']", re.IGNORECASE)
MACHINE = re.compile(r"(?<![\w.:/~-])/(?:home|root|Users|work|tmp|mnt|var|private)/[\w.]|\b[A-Z]:\\+Users|file://")


def without_code(text):
    text = re.sub(r"^(\s*)(```|~~~).*?^\s*\2", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)


def headings(text):
    """The headings of a markdown text: a list of (level, words)."""
    text = re.sub(r"^(\s*)(```|~~~).*?^\s*\2", "", text, flags=re.MULTILINE | re.DOTALL)
    marked = [(len(marks), words) for marks, words in re.findall(r"^(#{1,6})\s+(.+?)\s*#*\s*$", text, re.MULTILINE)]
    return marked + [(int(level), words) for level, words in re.findall(r"<h([1-6])[^>]*>(.*?)</h\1>", text, re.DOTALL)]


def links(text):
    text = without_code(text)
    return LINK.findall(text) + REFERENCE.findall(text) + HTML_LINK.findall(text)


def markdown(path):
    """The text of a file that may hold links; of a percent script its comments."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return "\n".join(re.sub(r"^# ?", "", line) for line in text.splitlines() if line.startswith("#"))
    return text


def anchors(path):
    marks = re.compile(r"<[^>]+>|[*`]|!?\[([^\]]*)\]\([^)]*\)")
    words = [marks.sub(r"\1", words).strip() for _, words in headings(markdown(path))]
    named = set(re.findall(r"<a\s+(?:id|name)=[\"']([^\"']+)[\"']", markdown(path)))
    if path.suffix == ".ipynb":
        return named | {words.replace(" ", "-") for words in words}
    return named | {re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for words in words}


def broken(path, root):
    """The links in ``path`` that lead nowhere, or out of ``root``: a list of messages."""
    problems = []
    for link in links(markdown(path)):
        if re.match(r"(https?|mailto):", link):
            continue
        target, _, anchor = link.partition("#")
        place = (path.parent / unquote(target)).resolve() if target else path
        if target.startswith("/") or not place.is_relative_to(root.resolve()):
            problems.append(f"{link}: leaves the course")
        elif not place.exists():
            problems.append(f"{link}: no such file")
        elif anchor and unquote(anchor) not in anchors(place if place.suffix != ".py" else place.with_suffix(".ipynb")):
            problems.append(f"{link}: no such heading in {place.name}")
    return problems


def documents():
    patterns = ["*.md", "docs/**/*.md", "binder/*.md", "metalearn_lite/**/*.md", "solutions/*.py", "solutions/*.ipynb",
                "lessons/*.py", "lessons/*.ipynb"]
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", documents(), ids=relative)
def test_links_lead_somewhere(path):
    assert broken(path, ROOT) == []


@pytest.mark.parametrize("path", documents(), ids=relative)
def test_no_folder_of_a_machine(path):
    text = path.read_text(encoding="utf-8") if path.suffix != ".ipynb" else "\n".join(
        cell.source + "".join(text for output in cell.get("outputs", []) for text in words(output))
        for cell in nbformat.read(path, as_version=4).cells)
    assert [text[max(0, found.start() - 30):found.end() + 30] for found in MACHINE.finditer(text)] == []


def words(output):
    return [output.get("text", "")] + [text for kind, text in output.get("data", {}).items() if kind == "text/plain"]


def test_links_work_in_the_learners_copy(tmp_path):
    """my_lessons/ holds copies: links among lessons stay inside it, and those to the course still lead there."""
    for entry in ROOT.iterdir():
        if entry.name not in ("my_lessons", ".git", ".venv"):
            (tmp_path / entry.name).symlink_to(entry)
    copies = tmp_path / "my_lessons"
    shutil.copytree(ROOT / "lessons", copies, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    problems = []
    for path in sorted(copies.glob("*.ipynb")):
        for link in links(markdown(path)):
            target = link.partition("#")[0]
            if not target or re.match(r"(https?|mailto):", link):
                continue
            place = Path(re.sub(r"[^/]+/\.\./", "", f"my_lessons/{target}"))  # as a browser reads it, symlinks aside
            if not (tmp_path / place).exists():
                problems.append(f"{path.name}: {link}")
            if place.parts[0] in ("lessons", "solutions"):
                problems.append(f"{path.name}: {link}: the learner would leave the copy")
    assert problems == []


def order():
    """The lessons in the order in which they are taken: the primer, then by number."""
    stems = [path.stem for path in (ROOT / "lessons").glob("*.ipynb") if path.stem != "index"]
    return sorted(stems, key=lambda stem: (not stem.startswith("primer"), stem))


@pytest.mark.parametrize("folder", ["lessons", "solutions"])
def test_previous_next_and_contents_make_a_chain(folder):
    stems = order()
    assert len(stems) >= 2
    problems = []
    for before, after in zip(stems, stems[1:]):
        for here, there in ((before, after), (after, before)):
            if f"{there}.ipynb" not in links(markdown(ROOT / folder / f"{here}.ipynb")):
                problems.append(f"{here} has no link to {there}")
    for stem in stems:
        found = links(markdown(ROOT / folder / f"{stem}.ipynb"))
        if "index.ipynb" not in found:
            problems.append(f"{stem} has no link to the contents, index.ipynb")
    listed = [link for link in links(markdown(ROOT / folder / "index.ipynb")) if link.endswith(".ipynb")]
    if listed != [f"{stem}.ipynb" for stem in stems]:
        problems.append(f"the contents list {listed}, the lessons are {stems}")
    assert problems == []


def test_the_readme_lists_every_lesson():
    found = links(markdown(ROOT / "README.md"))
    assert [stem for stem in order() if not {f"lessons/{stem}.ipynb", f"solutions/{stem}.ipynb"} & set(found)] == []


# ---------------------------------------------------------------------------------- the checks can fail


@pytest.mark.parametrize("text, message", [
    ("[x](nowhere.md)", "no such file"),
    ("![a picture](nowhere.png)", "no such file"),
    ('<a href="nowhere.md">x</a>', "no such file"),
    ("[x][1]\n\n[1]: nowhere.md", "no such file"),
    ("[x](b.md#absent)", "no such heading"),
    ("[x](#absent)", "no such heading"),
    ("[x](b.ipynb#a-title)", "no such heading"),
    ("[x](../../b.md)", "leaves the course"),
    ("[x](/b.md)", "leaves the course"),
])
def test_a_broken_link_is_found(tmp_path, text, message):
    (tmp_path / "b.md").write_text("# A title, *loud*\n")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A Title")]), tmp_path / "b.ipynb")
    (tmp_path / "a.md").write_text(text)
    assert message in "".join(broken(tmp_path / "a.md", tmp_path))


def test_a_good_link_is_not(tmp_path):
    (tmp_path / "b.md").write_text("# A title, *loud*\n")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A Title")]), tmp_path / "b.ipynb")
    (tmp_path / "a.md").write_text("# Here\n\n[x](b.md) [y](b.md#a-title-loud) [z](b.ipynb#A-Title) [w](#here)\n"
                                   "[far](https://example.org/x) `[code](nowhere)`\n\n```\n[d](nowhere)\n```\n")
    assert broken(tmp_path / "a.md", tmp_path) == []


@pytest.mark.parametrize("text, found", [("see /home/me/x", True), ("C:\\Users\\x", True), ("/work/main", True),
                                         ("lessons/tmp/x", False), ("https://x.org/home/a", False)])
def test_a_folder_of_a_machine_is_found(text, found):
    assert bool(MACHINE.search(text)) == found
