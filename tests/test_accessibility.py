"""Lessons for everyone: what a screen reader and a keyboard need, in the sources and in every stored output."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from notebook_runner import SCRIPTS, lessons
from test_links import headings, without_code

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "solutions").glob("*.ipynb")) + sorted((ROOT / "lessons").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))
pytestmark = pytest.mark.a11y
FILE_NAME = re.compile(r"[\w-]+\.(png|svg|jpe?g|gif)", re.IGNORECASE)
EMPTY_WORDS = {"click here", "here", "this", "link", "this link", "read more", "more"}
NAMELESS = re.compile(r"\b(?:(?:Int|Float|Select|Bounded)\w*(?:Slider|Text)|interact(?:ive)?|Dropdown|Checkbox)\(")
OURS = re.compile(r"\b(Slider|Choice|Button|Predict|Quiz)\(\s*([^\s,)]*)")  # each begins with its label or question


def name(path):
    return f"{path.parent.name}/{path.stem}"


def read(path):
    return nbformat.read(path, as_version=4)


class Tags(HTMLParser):
    """The start tags of a piece of HTML: a list of (tag, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, {key: value or "" for key, value in attributes}))

    handle_startendtag = handle_starttag


def heading_problems(nb):
    levels = [heading for cell in nb.cells if cell.cell_type == "markdown" for heading in headings(cell.source)]
    problems = []
    if [level for level, _ in levels].count(1) != 1 or (levels and levels[0][0] != 1):
        problems.append(f"one h1, and first: {[text for level, text in levels if level == 1]}")
    for (before, _), (level, text) in zip(levels, levels[1:]):
        if level > before + 1:
            problems.append(f"h{level} after h{before}: {text}")
    return problems


def alt_problem(alt):
    if not alt or not alt.strip():
        return "a picture without alt text"
    if FILE_NAME.fullmatch(alt.strip()):
        return f"a file name for an alt text: {alt}"
    if len(alt.split()) < 3:
        return f"an alt text that says nothing: {alt}"
    return None


def picture_problems(nb):
    """Pictures without a proper alt text, in stored outputs and in the text."""
    problems = []
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                for tag, attributes in Tags(data["text/html"]).found:
                    if tag == "img" and attributes.get("role") != "presentation":
                        problems.append(alt_problem(attributes.get("alt")))
                    if tag == "svg" and not attributes.get("aria-label"):
                        problems.append("an svg without aria-label")
            for kind in data:
                if kind.startswith("image/"):
                    alt = output.get("metadata", {}).get(kind, {}).get("alt") or output.get("metadata", {}).get("alt")
                    problems.append(alt_problem(alt) and f"{kind}: {alt_problem(alt)}")
        if cell.cell_type == "markdown":
            text = without_code(cell.source)
            problems += [alt_problem(alt) for alt in re.findall(r"!\[([^\]]*)\]\(", text)]
            problems += [alt_problem(attributes.get("alt")) for tag, attributes in Tags(text).found if tag == "img"]
    return [problem for problem in problems if problem]


def link_text_problems(nb):
    text = "\n".join(without_code(cell.source) for cell in nb.cells if cell.cell_type == "markdown")
    return [f"a link that does not say where it goes: [{words}]" for words in re.findall(r"(?<!!)\[([^\]]+)\]\(", text)
            if words.strip(" .!*_").lower() in EMPTY_WORDS]


def control_problems(nb):
    """Controls made in the notebook: ours only (the stock ones have no accessible name), each with a label."""
    problems = []
    for cell in nb.cells:
        if cell.cell_type == "code":
            problems += [f"a control without an accessible name: {found}" for found in NAMELESS.findall(cell.source)]
            problems += [f"a {kind} without a label: {kind}({argument}"
                         for kind, argument in OURS.findall(cell.source)
                         if argument in ("", '""', "''") or argument.startswith(("options=", "[", "("))]
    return problems


def stored_problems(nb):
    problems = []
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if lessons.WIDGET_VIEW in output.get("data", {}) or "model_id" in str(output.get("data", {})):
                problems.append("a widget's id is stored")
            if output.get("data") and not (output["data"].get("text/plain") or "").strip():
                problems.append("an output without words (text/plain)")
    return problems


CHECKS = [heading_problems, picture_problems, link_text_problems, control_problems, stored_problems]


def test_there_are_notebooks():
    assert SOLUTIONS and len(NOTEBOOKS) == 2 * len(SOLUTIONS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_notebook(path, check):
    assert check(read(path)) == []


def test_every_solution_stores_pictures():
    """Else the checks of their alt texts would pass for want of pictures."""
    pictures = {script.stem: str(read(script.with_suffix(".ipynb"))).count("<img") for script in SCRIPTS}
    assert all(pictures.values()), pictures


# ---------------------------------------------------------------------------------- the checks can fail


def notebook(text="# One title", source="", **data):
    cell = nbformat.v4.new_code_cell(source)
    if data:
        mime = {key.replace("_", "/"): value for key, value in data.items()}
        cell.outputs = [nbformat.v4.new_output("display_data", data=mime)]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), cell])


@pytest.mark.parametrize("check, bad", [
    (heading_problems, notebook("no title")),
    (heading_problems, notebook("# One\n\n# Two")),
    (heading_problems, notebook("## Two\n\n# One")),
    (heading_problems, notebook("# One\n\n### Three")),
    (picture_problems, notebook(text_html='<img src="data:image/png;base64,AA">')),
    (picture_problems, notebook(text_html='<img alt="" src="x">')),
    (picture_problems, notebook(text_html='<img alt="figure_1.png" src="x">')),
    (picture_problems, notebook(text_html='<img alt="picture" src="x">')),
    (picture_problems, notebook(image_png="AAAA")),
    (picture_problems, notebook("# One\n\n![](a.png)")),
    (picture_problems, notebook('# One\n\n<img src="a.png">')),
    (link_text_problems, notebook("# One\n\nThe answer is [here](a.md).")),
    (control_problems, notebook(source='widgets.Slider("", [1, 2], 1)')),
    (control_problems, notebook(source="widgets.Slider(options=[1, 2])")),
    (control_problems, notebook(source="w.IntSlider(1, 2, 3)")),
    (stored_problems, notebook(text_html="<p>words</p>")),
    (stored_problems, notebook(text_plain="x", **{"application_vnd.jupyter.widget-view+json": {"model_id": "1"}})),
])
def test_a_defect_is_found(check, bad):
    assert check(bad)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_notebook_passes(check):
    text = "# One\n\n## Two\n\n```\n# not a heading\n```\n\n### Three\n\n## Two\n\n[the next lesson](b.ipynb)"
    picture = '<figure><img alt="a red line that rises" src="data:image/png;base64,AA"></figure>'
    good = notebook(text, 'widgets.Slider("shots", [1, 2], 1)', text_plain="picture: a red line", text_html=picture)
    assert check(good) == []
