"""The draw pad without a browser: drawings become images like the glyphs, buttons do what they say, errors are told."""

import base64
import io
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from metalearn_lite import drawpad, widgets
from metalearn_lite.data import drawer, glyphs, strokes
from metalearn_lite.drawpad import SAMPLES, DrawPad, rendered

VIEW = "application/vnd.jupyter.widget-view+json"
NAMES = [name for group in SAMPLES.values() for name in group]
LINE = [[[0.2, 0.5], [0.8, 0.5]]]


def on_the_pad(letter, scale=0.3, middle=(0.5, 0.5)):
    """A letter's strokes as somebody may draw them on the pad: of any size, anywhere."""
    return [(stroke * scale + np.array(middle)).tolist() for stroke in strokes(letter)]


def nearest(examples, query):
    similarities = [math.nan] * 5
    for image, symbol in examples:
        s = torch.cosine_similarity(image.float().flatten(), query.float().flatten(), dim=0).item()
        similarities[symbol] = s if math.isnan(similarities[symbol]) else max(s, similarities[symbol])
    return similarities, "the nearest"


def box(images):
    """First and last row and column with ink of at least a half: four arrays."""
    rows, columns = (images >= 128).any(-1), (images >= 128).any(-2)
    side = images.shape[-1]
    return [f for b in (rows, columns) for f in (b.argmax(-1), side - 1 - b[..., ::-1].argmax(-1))]


def pressed(pad, **message):
    """What the page would send, and the pad's reply."""
    replies = []
    pad.send = replies.append
    pad._handle_custom_msg({"from": "page 1", **message}, [])
    assert len(replies) == 1 and replies[0]["to"] == "page 1"
    return replies[0]


# ------------------------------------------------------------------------------------------------------ images


def test_drawings_are_images_like_the_glyphs():
    """Every tenth letter, drawn as its strokes say, beside the twenty stored drawings of the same letters."""
    data = glyphs()
    letters = list(range(0, len(data), 10))
    ours = torch.stack([rendered(on_the_pad(i)) for i in letters]).numpy()
    theirs = data.items[letters].numpy()
    assert ours.dtype == np.uint8 and ours.shape == (len(letters), 28, 28) and (ours % 17 == 0).all()
    ink, stored = ours.mean((-1, -2)), theirs.mean((-1, -2))
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.05)
    assert np.corrcoef(ink, stored.mean(1))[0, 1] > 0.97
    within = (ink > stored.min(1) * 0.9) & (ink < stored.max(1) * 1.1)
    assert within.mean() > 0.98
    top, bottom, left, right = box(ours)
    longest = np.maximum(bottom - top, right - left) + 1
    stored_top, stored_bottom, stored_left, stored_right = box(theirs)
    stored_longest = np.maximum(stored_bottom - stored_top, stored_right - stored_left) + 1
    assert longest.mean() == pytest.approx(stored_longest.mean(), abs=0.5)
    assert np.abs((top + bottom) / 2 - 13.5).max() <= 0.5 and np.abs((left + right) / 2 - 13.5).max() <= 0.5


def test_a_letter_drawn_back_is_nearest_to_its_own_images():
    """Among 40 letters of many scripts: cosine on images blurred a little, each letter's 20 drawings averaged."""
    data, letters = glyphs(), list(range(7, 1264, 32))
    blur = lambda images: torch.nn.functional.avg_pool2d(images.float(), 5, 2).flatten(-2)  # noqa: E731
    stored = torch.nn.functional.normalize(blur(data.items[letters]).mean(1), dim=-1)
    ours = torch.nn.functional.normalize(blur(torch.stack([rendered(on_the_pad(i, 0.1)) for i in letters])), dim=-1)
    right = (ours @ stored.T).argmax(1) == torch.arange(len(letters))
    assert right.float().mean() > 0.9, right


@pytest.mark.parametrize("letter", ["Greek theta", "Tamil sign visarga", "Thai character so rusi"])
def test_size_and_place_on_the_pad_do_not_matter(letter):
    small, large = rendered(on_the_pad(letter, 0.1, (0.2, 0.8))), rendered(on_the_pad(letter, 0.5))
    assert (small.int() - large.int()).abs().float().mean() < 0.5


def test_a_tap_is_a_dot_and_a_larger_image_has_the_same_ink():
    tap = rendered([[[0.1, 0.9]]])
    assert torch.equal(tap, rendered([[[0.1, 0.9], [0.11, 0.9]]])) and torch.equal(tap, torch.from_numpy(
        drawer.render([np.zeros((1, 2))])))
    assert 0 < tap.float().mean() < 2
    line = rendered(LINE)
    assert line[13:15].float().sum() > 0.9 * line.float().sum() and 14 <= (line.amax(0) >= 128).sum() <= 19
    assert rendered(LINE, 56).shape == (56, 56)
    assert rendered(LINE, 56).float().mean() == pytest.approx(line.float().mean().item(), rel=0.35)


def test_rendering_does_not_change_the_strokes():
    drawing = on_the_pad("Greek pi")
    before = [[list(point) for point in stroke] for stroke in drawing]
    rendered(drawing)
    assert drawing == before


BAD = [
    ([], "expected a list of at least one stroke, got an empty one"),
    (None, "expected a list of at least one stroke, got NoneType"),
    ("ab", "expected a list of at least one stroke, got str"),
    ({"0": 1}, "got dict"),
    ([[]], r"strokes\[0\]: expected a list of points"),
    ([3], r"strokes\[0\]: expected a list of points"),
    ([*LINE, [[0.1, 0.2], [0.3]]], r"strokes\[1\]: expected a list of points"),
    ([[[0.1, 0.2, 0.3]]], r"strokes\[0\]: expected .* two numbers each"),
    ([[["0.1", "0.2"]]], r"strokes\[0\]: expected .* two numbers each"),
    ([[[True, False]]], r"strokes\[0\]: expected .* two numbers each"),
    ([[[None, 0.5]]], r"strokes\[0\]: expected .* two numbers each"),
    ([[[0.5, math.nan]]], r"strokes\[0\] contains nan; expected coordinates from 0 to 1"),
    ([[[0.5, math.inf]]], r"strokes\[0\] contains inf"),
    ([[[0.5, 1.5]]], r"strokes\[0\] contains 1.5"),
    ([[[-0.1, 0.5]]], r"strokes\[0\] contains -0.1"),
    ([[[10**400, 0]]], r"strokes\[0\]: expected .* two numbers each"),
    (LINE * 61, "61 strokes, expected at most 60"),
    ([[[0.5, 0.5]] * 5001], "more than 5000 points"),
    ([[[0.5, 0.5]] * 3000] * 2, "more than 5000 points"),
]


@pytest.mark.parametrize("wrong, words", BAD)
def test_wrong_strokes_are_named_and_change_nothing(wrong, words):
    pad = DrawPad(nearest)
    pad.keep(LINE, 0)
    for act in (rendered, lambda s: pad.keep(s, 1), pad.ask):
        with pytest.raises(ValueError, match=words):
            act(wrong)
    for did in ("keep", "ask"):
        assert not pressed(pad, do=did, strokes=wrong, symbol=1)["well"]
        assert re.search(words, pad.state["problem"], re.IGNORECASE)
    assert len(pad.examples) == 1


def test_the_most_that_is_allowed_is_drawn():
    assert rendered([[[i / 83, j / 59] for i in range(83)] for j in range(60)]).float().mean() > 40


# --------------------------------------------------------------------------------------------------- keep, ask


def test_examples_are_kept_and_a_drawing_is_named():
    pad = DrawPad(nearest)
    assert pad.examples == [] and repr(pad) == "draw pad: 5 symbols, 0 examples"
    pad.keep(on_the_pad("Greek theta"), 0)
    assert repr(pad) == "draw pad: 5 symbols, 1 example" and pad.state["said"] == "Kept as example 1 of A."
    pad.keep(on_the_pad("Greek chi"), "B")
    pad.keep(on_the_pad("Greek theta", 0.2), 0)
    assert pad.state["said"] == "Kept as example 2 of A." and repr(pad) == "draw pad: 5 symbols, 3 examples"
    assert [symbol for _, symbol in pad.examples] == [0, 1, 0]
    drawn = [on_the_pad("Greek theta"), on_the_pad("Greek chi"), on_the_pad("Greek theta", 0.2)]
    assert all(torch.equal(image, rendered(strokes)) for (image, _), strokes in zip(pad.examples, drawn))
    similarities, text = pad.ask(on_the_pad("Greek chi", 0.15))
    assert text == "the nearest" and similarities[1] > 0.95 > 0.6 > similarities[0]
    assert all(map(math.isnan, similarities[2:])) and len(similarities) == 5
    shown = pad.state["answer"]
    assert shown["text"] == "the nearest"
    assert shown["bars"][0] == [f"{similarities[0]:.2f}", similarities[0], False]
    assert shown["bars"][1] == [f"{similarities[1]:.2f}", similarities[1], True]
    assert shown["bars"][2:] == [["no example", None, False]] * 3


def test_the_lesson_gets_copies_of_uint8_images():
    seen = []

    def spoil(examples, query):
        seen.append((len(examples), query.dtype, query.shape, examples[0][0].dtype, examples[0][1]))
        query.zero_()
        for image, _ in examples:
            image.zero_()
        examples.clear()
        return torch.ones(5), "  gone "

    pad = DrawPad(spoil)
    pad.keep(LINE, 3)
    assert pad.ask(LINE) == ([1.0] * 5, "gone")
    assert seen == [(1, torch.uint8, (28, 28), torch.uint8, 3)]
    assert len(pad.examples) == 1 and pad.examples[0][0].sum() > 0
    assert pad.state["answer"]["image"] == pad.state["examples"][0]["image"]  # neither was spoilt


def test_the_page_shows_the_very_images():
    pad = DrawPad(nearest)
    pad.keep(on_the_pad("Greek psi"), 2)
    (example,) = pad.state["examples"]
    assert example["symbol"] == 2
    png = base64.b64decode(example["image"].removeprefix("data:image/png;base64,"))
    ink = np.asarray(Image.open(io.BytesIO(png)))[..., 1]
    assert (ink == pad.examples[0][0].numpy()).all()


def test_examples_are_removed_by_place_and_by_the_page():
    pad = DrawPad(nearest)
    for symbol in (0, 1, 1, 2):
        pad.keep(LINE, symbol)
    pad.ask(LINE)
    numbers = [example["number"] for example in pad.state["examples"]]
    pad.remove(1)
    assert [s for _, s in pad.examples] == [0, 1, 2] and pad.state["said"] == "Removed an example of B."
    assert pad.state["answer"] is None  # it was about other examples
    assert pressed(pad, do="remove", number=numbers[0])["well"]
    assert [s for _, s in pad.examples] == [1, 2]
    assert not pressed(pad, do="remove", number=numbers[0])["well"]
    assert pad.state["problem"] == "That example is already gone."
    pad.keep(LINE, 4)
    assert pad.state["examples"][-1]["number"] not in numbers
    for wrong in (3, -1, "A", None, 1.0, True):
        with pytest.raises(ValueError, match="expected 0 to 2"):
            pad.remove(wrong)


@pytest.mark.parametrize("symbol", [5, -1, "F", None, 1.5, True, [0], math.nan])
def test_an_unknown_symbol_is_refused(symbol):
    pad = DrawPad(nearest)
    with pytest.raises(ValueError, match="expected 0 to 4, or one of A, B, C, D, E"):
        pad.keep(LINE, symbol)
    assert not pressed(pad, do="keep", strokes=LINE, symbol=symbol)["well"] and pad.examples == []


def test_no_more_examples_than_fit():
    pad = DrawPad(nearest)
    for _ in range(drawpad.MAX_EXAMPLES):
        pad.keep(LINE, 0)
    with pytest.raises(ValueError, match="A has 20 examples, the most it may have"):
        pad.keep(LINE, 0)
    pad.keep(LINE, 1)


def test_a_question_without_examples_is_refused():
    pad = DrawPad(lambda examples, query: 1 / 0)  # not even called
    with pytest.raises(ValueError, match="no example to compare with"):
        pad.ask(LINE)
    assert not pressed(pad, do="ask", strokes=LINE)["well"]
    assert pad.state["problem"] == "There is no example to compare with; keep one first."


# --------------------------------------------------------------------------------------------------- broken answers


def fails(examples, query):
    return [0.0] * 5, f"{1 / (len(examples) - 1)}"


BROKEN = [
    (fails, ZeroDivisionError, r"^No answer: ZeroDivisionError: .* \(at `return \[0.0\] \* 5,"),
    (lambda e, q: None, TypeError, "answer returned NoneType; expected a tuple"),
    (lambda e, q: ([0.0] * 5, "a", "b"), TypeError, "answer returned tuple; expected a tuple .similarities, text"),
    (lambda e, q: ([0.0] * 4, "a"), ValueError, "similarities: 4 numbers, expected 5"),
    (lambda e, q: (0.5, "a"), TypeError, "similarities: expected a number for each symbol, got 0.5"),
    (lambda e, q: (["x"] * 5, "a"), TypeError, "similarities: expected a number for each symbol"),
    (lambda e, q: (torch.zeros(5, 2), "a"), TypeError, "similarities: expected a number for each symbol"),
    (lambda e, q: ([0, 0, 0, 0, math.inf], "a"), ValueError, "expected finite numbers"),
    (lambda e, q: ([0.0] * 5, ""), TypeError, "text: expected a sentence"),
    (lambda e, q: ([0.0] * 5, None), TypeError, "text: expected a sentence"),
]


@pytest.mark.parametrize("answer, kind, words", BROKEN)
def test_a_broken_answer_is_told_in_the_pad_and_raised_to_python(answer, kind, words):
    pad = DrawPad(answer)
    pad.keep(LINE, 0)
    with pytest.raises(kind):
        pad.ask(LINE)
    assert re.search(words, pad.state["problem"]) and pad.state["answer"] is None
    turn = pad.state["turn"]
    reply = pressed(pad, do="ask", strokes=LINE)  # the page's button raises nothing
    assert not reply["well"] and re.search(words, pad.state["problem"]) and pad.state["turn"] == turn + 1
    pad.answer = nearest
    assert pressed(pad, do="ask", strokes=LINE)["well"]
    assert pad.state["problem"] == "" and pad.state["answer"]["text"] == "the nearest"


@pytest.mark.parametrize("message", [{}, {"do": "eval"}, {"do": None}, {"do": ["keep"]}, {"do": "keep"},
                                     {"do": "sample"}, {"do": "sample", "name": ["Ring"]},
                                     {"do": "sample", "name": "Ring "}, {"do": "remove"},
                                     {"do": "remove", "number": {}}])
def test_nonsense_from_the_page_is_answered(message):
    pad = DrawPad(nearest)
    assert not pressed(pad, **message)["well"]
    assert ("already gone" if message.get("do") == "remove" else "xpected") in pad.state["problem"]
    assert pressed(pad, do="keep", strokes=LINE, symbol=0)["well"] and pad.state["problem"] == ""
    for odd in (None, 3, "keep", [1]):
        replies = []
        pad.send = replies.append
        pad._handle_custom_msg(odd, [])
        assert not replies[0]["well"]


@pytest.mark.parametrize("similarities, widths", [
    ([0.0, 0.5, 1.0, math.nan, 0.25], [0, 0.5, 1, None, 0.25]),
    ([-1.0, 0.0, 1.0, -0.5, 0.5], [0, 0.5, 1, 0.25, 0.75]),             # cosines
    ([0.0, 2.0, 4.0, 1.0, math.nan], [0, 0.5, 1, 0.25, None]),
    ([-4.0, -3.0, -2.0, -1.0, math.nan], [0, 0.25, 0.5, 0.75, None]),   # minus distances
    ([-4.0, 4.0, 0.0, 0.0, 0.0], [0, 1, 0.5, 0.5, 0.5]),
    ([0.0] * 5, [0] * 5),
])
def test_longer_bars_are_more_similar(similarities, widths):
    bars = drawpad._bars(similarities)
    assert [width for _, width, _ in bars] == widths
    assert [most for *_, most in bars] == [s == max(x for x in similarities if x == x) for s in similarities]
    assert drawpad._bars([12345.678] * 2)[0][0] == "1.23e+04" and drawpad._bars([math.nan] * 2)[0][1] is None


# --------------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_a_new_drawers_each_time(name):
    pad = DrawPad(nearest)
    one, two = pad.sample(name), pad.sample(name)
    assert one != two and [len(s) for s in one] == [len(s) for s in two]
    assert not torch.equal(rendered(one), rendered(two))
    assert DrawPad(nearest).sample(name) == one  # every pad begins the same
    third = DrawPad(nearest)
    assert [pressed(third, do="sample", name=name)["strokes"] for _ in range(2)] == [one, two]  # the button's are these
    wide = max(max(np.ptp(np.array(sum(s, [])), axis=0)) for s in (one, two))
    assert wide > (0.4 if name in SAMPLES["Whole symbols"] else 0.1)


def test_samples_are_of_validation_scripts_and_look_like_their_letters():
    data, pad, ink = glyphs(), DrawPad(nearest), []
    for name, (letter, which) in SAMPLES["Whole symbols"].items():
        number = data.class_names.index(letter)
        assert data.group_names[data.groups[number]] in data.splits["val"], name
        ink.append(np.mean([rendered(pad.sample(name)).float().mean() for _ in range(20)])
                   / data.items[number].float().mean().item())
    assert 0.8 < min(ink) and max(ink) < 1.1 and 0.92 < np.mean(ink) < 1.02  # each drawing is scaled to one size
    for name, (letter, which) in SAMPLES["Single strokes"].items():
        number = data.class_names.index(letter)
        assert data.group_names[data.groups[number]] in data.splits["val"], name
        assert len(pad.sample(name)) == 1 and which < len(strokes(letter))


def test_a_sample_of_its_own_kind_is_nearest():
    """Five symbols, one sample each; forty further samples, by pixels alone: most are named."""
    pad, names = DrawPad(nearest), list(SAMPLES["Whole symbols"])[:5]
    for symbol, name in enumerate(names):
        for _ in range(3):
            pad.keep(pad.sample(name), symbol)
    right = [int(np.argmax(pad.ask(pad.sample(name))[0])) == symbol for symbol, name in enumerate(names)
             for _ in range(8)]
    assert np.mean(right) > 0.5


def test_strokes_can_be_put_together():
    pad = DrawPad(nearest)
    pad.keep(pad.sample("Ring") + pad.sample("Bar down"), 0)  # which makes a phi
    pad.keep(pad.sample("Cup") + pad.sample("Hook"), 1)
    phis = glyphs().items[glyphs().class_names.index("Cyrillic ef")]
    asked = [nearest(pad.examples, phi)[0] for phi in phis]
    assert np.mean([s[0] > s[1] for s in asked]) > 0.8
    with pytest.raises(ValueError, match="name is 'ring'; expected one of Bar across"):
        pad.sample("ring")


# --------------------------------------------------------------------------------------- names, texts, the script


@pytest.mark.parametrize("symbols", [("A",), (), "AA", ("A", "A"), ("A", 1), ("A", " "), ("A", "B" * 21),
                                     list("ABCDEFGHIJK")])
def test_symbols_are_checked(symbols):
    with pytest.raises(ValueError, match="symbols: expected 2 to 10 different names"):
        DrawPad(nearest, symbols)


def test_the_answer_is_a_function():
    with pytest.raises(TypeError, match="answer: expected a function"):
        DrawPad([0.5] * 5)


def test_texts_are_the_same_in_every_run_and_the_view_is_live():
    bundles = []
    for _ in range(2):
        pad = DrawPad(nearest, ("sun", "<b>"))
        pad.keep(LINE, "sun")
        bundles.append(pad._repr_mimebundle_())
    ids = [bundle.pop(VIEW)["model_id"] for bundle in bundles]
    assert bundles[0] == bundles[1] and ids[0] != ids[1]
    assert bundles[0]["text/plain"] == "draw pad: 2 symbols, 1 example"
    page = bundles[0]["text/html"]
    assert "Draw pad" in page and "sun, &lt;b&gt;" in page and "Run this cell" in page and "<b>" not in page


def test_nothing_is_fetched_and_no_text_is_read_as_html():
    script = DrawPad._esm if isinstance(DrawPad._esm, str) else str(DrawPad._esm)
    css = str(drawpad._CSS)
    bare = script.replace('"http://www.w3.org/2000/svg"', "")  # a name, not an address
    assert not re.search(r"https?:|//cdn|import\s|import\(|fetch\(|XMLHttpRequest|url\(|@import", bare + css)
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script and "eval(" not in script
    assert script.count("export default { render };") == 1
    bare = re.sub(r'"(\\.|[^"\\\n])*"|//[^\n]*', "", script)
    for left, right in ("()", "[]", "{}"):
        assert bare.count(left) == bare.count(right) and css.count(left) == css.count(right)


def test_a_finger_draws_and_the_focus_can_be_seen():
    css = drawpad._CSS
    assert "touch-action: none" in css and ":focus-visible" in css and "data-jp-theme-light" in css
    assert css.startswith(widgets._CSS)


def test_the_pad_can_be_used_without_a_notebook():
    code = ("from metalearn_lite.drawpad import DrawPad; p = DrawPad(lambda e, q: ([1, 0], 'yes'), 'AB'); "
            "p.keep(p.sample('Ring'), 0); print(p.ask(p.sample('Ring')), p)")
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout == "([1.0, 0.0], 'yes') draw pad: 2 symbols, 1 example\n"
