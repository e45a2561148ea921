"""The draw pad in a real browser: drawn on with mouse and finger, worked by keyboard, in both themes, on a phone."""

import math
import re

import nbformat
import pytest
from conftest import MINUTES, Lesson
from test_lab import controls

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
NAME = "a_pad_to_draw_on"
SOURCES = ['''
import math
import torch
from metalearn_lite.drawpad import DrawPad

def answer(examples, query):
    if len(examples) == 4:
        raise RuntimeError("four are too many")
    blur = lambda image: torch.nn.functional.avg_pool2d(image.float()[None, None], 7, 2).flatten()
    similarities = [math.nan] * 5
    for image, symbol in examples:
        s = torch.cosine_similarity(blur(image), blur(query), dim=0).item()
        similarities[symbol] = s if math.isnan(similarities[symbol]) else max(s, similarities[symbol])
    best = max((s, i) for i, s in enumerate(similarities) if not math.isnan(s))
    return similarities, f"This is {'ABCDE'[best[1]]}." if best[0] > 0.75 else "None of these."

pad = DrawPad(answer)
pad
''', '''
print([symbol for _, symbol in pad.examples], [round(image.float().mean().item()) for image, _ in pad.examples])
''']


def ring(middle=(0.5, 0.5), radius=0.3, points=24):
    angles = [2 * math.pi * i / points for i in range(points + 1)]
    return [[(middle[0] + radius * math.sin(a), middle[1] - radius * math.cos(a)) for a in angles]]


def cross(low=0.2, high=0.8):
    return [[(low, low), (high, high)], [(high, low), (low, high)]]


class Pad:
    """The pad on a page, found as a learner finds it: by roles and names."""

    def __init__(self, page):
        self.page = page
        self.box = page.get_by_role("group", name="Draw pad")
        self.paper = self.box.get_by_role("img", name="Your drawing:")
        self.note = self.box.locator(".ml-pad-note")
        self.answer = self.box.get_by_role("status", name="Answer")

    def button(self, name):
        return self.box.get_by_role("button", name=name, exact=True)

    def draw(self, strokes):
        """With the mouse."""
        self.paper.scroll_into_view_if_needed()
        place = self.paper.bounding_box()
        mouse = self.page.mouse
        for stroke in strokes:
            at = [(place["x"] + x * place["width"], place["y"] + y * place["height"]) for x, y in stroke]
            mouse.move(*at[0])
            mouse.down()
            for point in at[1:]:
                mouse.move(*point, steps=3)
            mouse.up()

    def choose(self, name):
        self.box.get_by_role("radio", name=name, exact=True).check()

    def says(self, words):
        self.note.get_by_text(words).wait_for(timeout=MINUTES)

    def answers(self, words):
        self.answer.get_by_text(words).wait_for(timeout=MINUTES)

    def bars(self):
        """What is written beside each symbol: "0.91, the most similar"."""
        items = self.answer.get_by_role("listitem").all()
        return {item.locator("b").text_content(): item.locator(":scope > span").last.text_content() for item in items}

    def strokes(self):
        return self.paper.locator("path").count()

    def examples(self, name):
        return self.box.get_by_role("list", name=f"Examples of {name}").get_by_role("img").count()

    def start_again(self):
        """Remove every example; the pad is the same for all tests here."""
        while (buttons := self.box.get_by_role("button", name=re.compile("^Remove"))).count():
            before = buttons.count()
            buttons.first.click()
            self.page.wait_for_function("n => document.querySelectorAll('.ml-pad-kept button').length < n", arg=before)
        if self.strokes():
            self.button("Clear").click()


def opened(lab, page, name, alone=False):
    """(notebook, pad), in JupyterLab or, ``alone``, in its view of a single document."""
    nbformat.write(nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source.strip()) for source in SOURCES],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}),
        lab.mine / f"{name}.ipynb")
    notebook = Lesson(page, "drawpad")
    address = lab.url(name, workspace=name)
    notebook.open(address.replace(f"/lab/workspaces/{name}/tree/", "/doc/tree/") if alone else address)
    notebook.run(notebook.cell("import math"))
    pad = Pad(page)
    pad.button("Undo").wait_for(timeout=MINUTES)
    return notebook, pad


@pytest.fixture(scope="module")
def desk(lab, browser):
    """(notebook, pad) on a wide screen with a mouse."""
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    yield opened(lab, page, NAME)
    page.context.close()


@pytest.fixture
def pad(desk):
    desk[1].start_again()
    return desk[1]


def test_two_symbols_are_drawn_and_a_third_drawing_is_named(desk, pad):
    pad.draw(ring())
    assert pad.strokes() == 1
    pad.button("Keep").click()
    pad.says("Kept as example 1 of A.")
    pad.page.wait_for_function("document.querySelectorAll('.ml-pad-paper path').length === 0")
    pad.choose("an example of B")
    pad.draw(cross())
    assert pad.strokes() == 2
    pad.button("Keep").click()
    pad.says("Kept as example 1 of B.")
    assert [pad.examples(name) for name in "ABCDE"] == [1, 1, 0, 0, 0]

    pad.choose("a question")
    pad.draw(cross(0.3, 0.6))
    pad.button("Ask").click()
    pad.answers("This is B.")
    bars = pad.bars()
    assert bars["B"].endswith(", the most similar") and "most" not in bars["A"]
    assert float(bars["B"].split(",")[0]) > float(bars["A"]) + 0.1
    assert [bars[name] for name in "CDE"] == ["no example"] * 3
    desk[0].picture("answered")

    pad.draw(ring((0.4, 0.6), 0.15))  # a new drawing begins by itself after a question
    assert pad.strokes() == 1
    pad.button("Ask").click()
    pad.answers("This is A.")
    assert pad.bars()["A"].endswith("most similar")

    pad.draw([[(0.1, 0.5), (0.9, 0.5)]])
    pad.button("Ask").click()
    pad.answers("None of these.")
    desk[0].run(desk[0].cell("for _, symbol in"))
    printed = desk[0].cell("for _, symbol in").locator(".jp-OutputArea").text_content()
    kept, ink = re.search(r"\[(.*)\] \[(.*)\]", printed).groups()
    assert kept == "0, 1" and all(8 < int(number) < 50 for number in ink.split(","))
    assert desk[0].problems == []


def test_undo_and_clear(pad):
    assert pad.button("Undo").get_attribute("aria-disabled") in ("true", "false")
    pad.draw([*ring(), *cross()])
    assert pad.strokes() == 3
    pad.button("Undo").click()
    assert pad.strokes() == 2
    pad.button("Clear").click()
    assert pad.strokes() == 0 and pad.button("Clear").get_attribute("aria-disabled") == "true"
    pad.button("Undo").click()
    assert pad.strokes() == 2


def test_what_cannot_be_done_is_said_and_the_drawing_stays(pad):
    pad.choose("an example of A")
    pad.button("Keep").click()
    pad.says("The pad is empty: draw something, or add a sample.")
    pad.choose("a question")
    pad.draw(ring())
    pad.button("Ask").click()
    pad.says("There is no example to compare with; keep one first.")
    assert pad.strokes() == 1


def test_an_answer_that_fails_is_told_and_the_pad_goes_on(desk, pad):
    for name in "AABC":
        pad.choose(f"an example of {name}")
        pad.draw(ring())
        pad.button("Keep").click()
        pad.page.wait_for_function("document.querySelectorAll('.ml-pad-paper path').length === 0")
    pad.choose("a question")
    pad.draw(ring())
    pad.button("Ask").click()
    pad.says("No answer: RuntimeError: four are too many")
    desk[0].picture("broken")
    pad.button("Remove example 2 of A").click()
    pad.says("Removed an example of A.")
    assert pad.examples("A") == 1
    pad.button("Ask").click()
    pad.answers("This is ")


def test_by_keyboard_alone(desk, pad):
    page, keys = pad.page, pad.page.keyboard
    focus = "node => node === document.activeElement"
    outline = """() => { const node = document.activeElement;
      const shown = node.matches('input') ? node.nextElementSibling : node;
      const style = getComputedStyle(shown);
      return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; }"""
    select = pad.box.get_by_role("combobox", name="Without drawing: a sample stroke or symbol")
    # JupyterLab would act on the keys of a control that has not this mark itself: C copies a cell, D D deletes it
    assert pad.box.locator(":is(button, select, input):not([data-lm-suppress-shortcuts])").count() == 0
    pad.choose("an example of A")
    for symbol, name in (("A", "Ring"), ("B", "Corner"), ("", "Ring")):
        select.focus()
        keys.type(name, delay=20)
        assert select.input_value() == name and page.evaluate(outline)
        keys.press("Tab")
        assert pad.button("Add sample").evaluate(focus) and page.evaluate(outline)
        keys.press("Space")
        pad.says(f"Added: {name}.")
        assert pad.button("Add sample").evaluate(focus)
        keys.press("Tab")
        if symbol == "B":
            keys.press("ArrowRight")
        elif symbol == "":
            keys.press("ArrowLeft")
            keys.press("ArrowLeft")  # from A round to the last one
        wanted = f"an example of {symbol}" if symbol else "a question"
        assert pad.box.get_by_role("radio", name=wanted, exact=True).evaluate(focus) and page.evaluate(outline)
        keys.press("Tab")
        assert pad.button("Keep" if symbol else "Ask").evaluate(focus) and page.evaluate(outline)
        keys.press("Enter")
        if symbol:
            pad.says(f"Kept as example 1 of {symbol}.")
    pad.answer.get_by_role("img").wait_for(timeout=MINUTES)
    assert pad.bars()["A"].endswith("most similar")
    desk[0].picture("keyboard")
    keys.press("Tab")
    assert pad.button("Remove example 1 of A").evaluate(focus) and page.evaluate(outline)
    keys.press("Enter")
    pad.says("Removed an example of A.")
    assert pad.button("Remove example 1 of B").evaluate(focus)  # the next one, not lost
    keys.press("Enter")
    page.wait_for_function("document.querySelectorAll('.ml-pad-kept button').length === 0")
    assert pad.button("Ask").evaluate(focus)
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    assert pad.button("Clear").evaluate(focus)
    keys.press("Enter")
    assert pad.strokes() == 0
    assert page.get_by_text(re.compile(rf"^Cell \d+/{len(SOURCES)}$")).count() == 1  # no key reached the notebook


def test_two_samples_of_one_name_differ(pad):
    pad.box.get_by_role("combobox").select_option("Ring")
    paths = []
    for count in (1, 2):
        pad.button("Add sample").click()
        pad.says(f"The drawing has {count} stroke{'s' * (count > 1)}.")
        paths.append(pad.paper.locator("path").last.get_attribute("d"))
    assert paths[0] != paths[1] and all(path.count("L") > 10 for path in paths)


def test_everything_has_a_name(pad):
    pad.draw(ring())
    pad.choose("an example of A")
    pad.button("Keep").click()
    pad.says("Kept as example 1 of A.")
    found = controls(pad.page)
    assert [role for role, words in found if not words] == []
    names = [words for _, words in found]
    assert {"Undo", "Clear", "Add sample", "Keep", "an example of E", "a question", "Remove example 1 of A",
            "Example 1 of A", "Your drawing: empty", "Without drawing: a sample stroke or symbol"} <= set(names)
    assert len(names) == len(set(names))


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const over = (layers) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of layers) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    const layers = [];
    for (let n = node; n; n = n.parentElement) layers.unshift(getComputedStyle(n).backgroundColor);
    return ['white', ...layers];
  };
  const ratio = (node, colour) => {
    const back = behind(node), pair = [over(back), over([...back, colour])].map(light);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  };
  const found = {};
  for (const node of document.querySelectorAll('.ml-pad *')) {
    const own = [...node.childNodes].some(c => c.nodeType === 3 && c.textContent.trim());
    if (!own || node.closest('[aria-disabled=true], option, optgroup') || !node.getClientRects().length) continue;
    const name = node.tagName + '.' + node.className + ' ' + node.textContent.slice(0, 20);
    found[name] = [ratio(node, getComputedStyle(node).color), 4.5];
  }
  const path = document.querySelector('.ml-pad-paper path');
  found['the ink'] = [ratio(path.closest('.ml-pad-paper'), getComputedStyle(path).stroke), 7];
  const paper = document.querySelector('.ml-pad-paper');
  found['edge of the paper'] = [ratio(paper.parentElement, getComputedStyle(paper).borderTopColor), 3];
  const image = document.querySelector('.ml-pad-kept img');
  const inverted = getComputedStyle(image).filter === 'invert(1)';
  found['ink of an example'] = [ratio(image.parentElement, inverted ? 'white' : 'black'), 7];
  return found;
}"""


def set_theme(page, name):
    for words in ("Settings", "Theme", name):
        item = page.locator(".lm-MenuBar-itemLabel" if words == "Settings" else ".lm-Menu-itemLabel").get_by_text(
            words, exact=True)
        item.hover() if words == "Theme" else item.click()
    page.wait_for_function(f"document.body.dataset.jpThemeName === '{name}'")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_it_can_be_read_in_both_themes(desk, pad, theme, say):
    notebook, page = desk[0], pad.page
    set_theme(page, theme)
    try:
        for name, strokes in (("A", ring()), ("A", ring(radius=0.2)), ("B", cross())):
            pad.choose(f"an example of {name}")
            pad.draw(strokes)
            pad.button("Keep").click()
            page.wait_for_function("document.querySelectorAll('.ml-pad-paper path').length === 0")
        pad.choose("a question")
        pad.draw(cross(0.3, 0.7))
        pad.button("Ask").click()
        pad.answers("This is B.")
        pad.draw(ring())
        notebook.picture(theme.split()[1].lower())
        found = page.evaluate(CONTRAST)
        say(f"  {theme}: {len(found)} texts, least contrast {min(r for r, _ in found.values()):.1f}")
        assert len(found) > 25
        assert {name: ratio for name, (ratio, least) in found.items() if ratio < least} == {}
    finally:
        set_theme(page, "JupyterLab Light")


def test_with_a_finger_on_a_phone(lab, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 844}, has_touch=True, device_scale_factor=2)
    page = context.new_page()
    notebook, pad = opened(lab, page, f"{NAME}_on_a_phone", alone=True)
    page.set_viewport_size({"width": 390, "height": 844})
    touch = context.new_cdp_session(page)

    def draw(strokes):
        pad.paper.scroll_into_view_if_needed()
        place = pad.paper.bounding_box()
        for stroke in strokes:
            for i, (x, y) in enumerate(stroke):
                at = {"x": place["x"] + x * place["width"], "y": place["y"] + y * place["height"]}
                touch.send("Input.dispatchTouchEvent",
                           {"type": "touchMove" if i else "touchStart", "touchPoints": [at]})
            touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert pad.paper.bounding_box() == place  # the finger drew: it did not scroll the page

    for name, strokes in (("an example of A", ring()), ("an example of B", cross())):
        draw(strokes)
        assert pad.strokes() == len(strokes)
        pad.choose(name)
        pad.button("Keep").tap()
        pad.says("Kept as example 1 of ")
        page.wait_for_function("document.querySelectorAll('.ml-pad-paper path').length === 0")
    draw(ring((0.5, 0.5), 0.2))
    pad.choose("a question")
    notebook.picture("phone-drawn")
    pad.button("Ask").tap()
    pad.answers("This is A.")
    pad.answer.scroll_into_view_if_needed()
    notebook.picture("phone-answered")
    inside = pad.box.evaluate("""box => [...box.querySelectorAll('*')].filter(n => n.getClientRects().length &&
      !n.classList.contains('ml-pad-unseen') && n.getBoundingClientRect().right > innerWidth + 1).length""")
    assert inside == 0  # nothing sticks out of the screen
    small = pad.box.evaluate("""box => [...box.querySelectorAll('button, select, input')].map(
      n => n.getBoundingClientRect()).filter(r => r.width < 24 || r.height < 24).length""")
    assert small == 0
    context.close()
