"""What a learner does: open the lab, run a lesson, move a slider, answer an exercise, save, go on to the next."""

import os
import re
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import lessons  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
LESSONS = sorted((path.stem for path in (ROOT / "lessons").glob("*.ipynb") if path.stem != "index"),
                 key=lambda stem: (not stem.startswith("primer"), stem))  # in the order in which they are taken
FIRST = "00_what_is_a_task"
PRESSES = 20


def title(name):
    first = nbformat.read(ROOT / "lessons" / f"{name}.ipynb", as_version=4).cells[0].source
    return re.search(r"^# (.+)$", first, re.MULTILINE)[1]


def test_the_lab_opens_lesson_00(lab, browser):
    page = browser.new_page()
    page.goto(lab.address)
    page.get_by_role("heading", level=1, name=title(FIRST)).wait_for(timeout=120_000)
    assert f"my_lessons/{FIRST}.ipynb" in page.url
    page.close()


@pytest.mark.parametrize("name", LESSONS)
def test_run_all_ends_without_an_error(lesson, name, say):
    run = lesson(name)
    errors = run.panel.locator('[data-mime-type="application/vnd.jupyter.error"]').all_text_contents()
    assert errors == []
    assert run.problems == []
    say(f"  {name} in the browser, few updates: Run All {run.seconds:.1f} s")
    run.picture("end")


ROLES = ("slider", "radio", "button", "checkbox", "combobox", "spinbutton", "image", "img")
OUTPUTS = "[...document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output')]"


def controls(page):
    """(role, name) of every control and picture in the outputs, as Chromium tells a screen reader."""
    session = page.context.new_cdp_session(page)
    found = []
    for place in range(page.evaluate(f"{OUTPUTS}.length")):
        page.evaluate(f"{OUTPUTS}[{place}].scrollIntoView()")  # JupyterLab lays out only what is in sight
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        output = session.send("Runtime.evaluate", {"expression": f"{OUTPUTS}[{place}]"})["result"]["objectId"]
        for role in ROLES:
            nodes = session.send("Accessibility.queryAXTree", {"objectId": output, "role": role})["nodes"]
            found += [(role, node.get("name", {}).get("value", "").strip())
                      for node in nodes if not node.get("ignored")]
    session.detach()
    return found


@pytest.mark.parametrize("name", LESSONS)
def test_every_control_has_an_accessible_name(lesson, name, say):
    run = lesson(name)
    ranges = run.panel.locator(".jp-OutputArea input[type=range]").count()
    found = controls(run.page)
    counts = Counter(role for role, _ in found)
    say(f"  {name}: " + ", ".join(f"{count} {role}s" for role, count in sorted(counts.items())))
    assert counts["slider"] == ranges > 0
    assert [role for role, words in found if not words] == []


def test_a_control_without_a_name_is_found(browser):
    page = browser.new_page()
    page.set_content("""<div class="jp-NotebookPanel"><div class="jp-OutputArea-output">
                        <input type="range"><input type="range" aria-label="shots"><button></button>
                        <img src="data:," alt="a line"></div></div>""")
    assert sorted(controls(page)) == [("button", ""), ("image", "a line"), ("slider", ""), ("slider", "shots")]
    page.close()


WATCH = """(input) => {
  const img = [...document.querySelectorAll('.ml-picture img')].find(
    i => input.compareDocumentPosition(i) & Node.DOCUMENT_POSITION_FOLLOWING);
  window.pressed = window.loaded = 0; window.drawn = [];
  input.addEventListener('keydown', () => { window.pressed = performance.now(); }, true);
  img.addEventListener('load', () => {
    window.loaded = performance.now();
    window.drawn.push([window.loaded - window.pressed, img.alt]);
  });
  return img.alt;
}"""


QUIET = "performance.now() - Math.max(window.pressed, window.loaded) > 1000"  # what was pressed before is drawn


@pytest.mark.parametrize("name", LESSONS)
def test_a_slider_moved_by_keyboard_changes_the_picture(lesson, name, say):
    from playwright.sync_api import TimeoutError
    run = lesson(name)
    page = run.page
    live = run.panel.locator(".jp-OutputArea-output:has(.ml-picture):has(input[type=range])").last
    slider = live.locator("input[type=range]").first
    slider.scroll_into_view_if_needed()
    page.evaluate(WATCH, slider.element_handle())
    slider.focus()
    page.keyboard.press("Home")
    page.wait_for_function(QUIET, timeout=60_000)
    times, captions = [], set()
    for press in range(PRESSES):
        before = page.evaluate("window.drawn.length")
        places = int(slider.get_attribute("max")) - int(slider.get_attribute("min"))
        page.keyboard.press("ArrowRight" if (press // places) % 2 == 0 else "ArrowLeft")
        try:
            page.wait_for_function(f"window.drawn.length > {before}", timeout=5_000, polling=5)
        except TimeoutError:
            continue  # this step of the slider did not change the picture
        took, caption = page.evaluate("window.drawn.at(-1)")
        times.append(took)
        captions.add(caption)
    run.picture("slider")
    assert len(times) >= PRESSES // 2 and len(captions) > 1
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    say(f"  {name}: key to picture {median(times):.0f} ms (median of {len(times)}, worst {max(times):.0f}"
        f"{load}), slider {slider.get_attribute('aria-label')!r}")
    assert slider.evaluate("node => node === document.activeElement")  # no key took the focus away


def test_an_exercise_answered_wrong_then_right_then_saved(lab, lesson, capsys):
    """The primer's first exercise: its message, the green verdict, the saved pair, and the lesson opened again."""
    from metalearn_lite.check import primer
    run = lesson("primer_pytorch")
    solution = next(cell.source for cell in lessons.read_script(ROOT / "solutions" / "primer_pytorch.py").cells
                    if "def softmax" in cell.source)
    right = re.sub(r"^\s*# (</?answer>|<stub>(.|\n)*</stub>)\n?", "", solution, flags=re.MULTILINE).rstrip()
    wrong = right.replace("e.sum(dim=-1, keepdim=True)", "e.sum()")  # all rows together sum to one
    scope = {}
    exec("import torch\n" + wrong, scope)
    verdict = primer.softmax.verdict(scope["softmax"])
    assert verdict.status == "wrong"

    cell, check = run.cell("def softmax"), run.cell("primer.softmax(softmax)")
    said = check.locator(".jp-OutputArea-output [role=status]")
    assert "Open" in said.first.text_content()
    run.write(cell, wrong)
    run.run(check)
    message = re.sub(r"[`\s]+", "", verdict.message)
    assert message in re.sub(r"\s+", "", said.first.text_content())
    run.picture("wrong")
    run.write(cell, right)
    run.run(check)
    assert "Right" in said.first.text_content()
    green = said.first.evaluate("node => getComputedStyle(node).borderLeftColor")
    red, high, blue = map(int, re.findall(r"\d+", green)[:3])
    assert high > red and high > blue
    run.picture("right")

    script = lab.mine / "primer_pytorch.py"
    answer = right.splitlines()[-1]
    assert answer not in script.read_text(encoding="utf-8")
    run.page.keyboard.press("Control+S")
    deadline = time.time() + 60
    while answer not in script.read_text(encoding="utf-8") and time.time() < deadline:
        time.sleep(0.2)
    assert answer in script.read_text(encoding="utf-8")
    saved = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert any(answer in cell.source for cell in saved.cells)
    assert lessons.as_script(saved, script) == script.read_text(encoding="utf-8")

    run.page.reload()
    run.wait_for_kernel()
    assert answer.strip() in run.cell("def softmax").text_content()


@pytest.mark.parametrize("here, there", list(zip(LESSONS, LESSONS[1:])))
def test_a_link_opens_the_other_lesson(lab, browser, here, there):
    page = browser.new_page()
    page.goto(lab.url(here, workspace=f"links-of-{here}"))
    page.get_by_role("heading", level=1, name=title(here)).wait_for(timeout=120_000)
    page.locator(f"a[href*='{there}.ipynb']").first.click()
    page.get_by_role("heading", level=1, name=title(there)).wait_for(timeout=120_000)
    page.close()
