"""What a learner moves: values, names for screen readers, a redraw a change, errors seen, nothing fetched."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import traitlets

from metalearn_lite import figures, widgets
from metalearn_lite.widgets import Button, Choice, LiveFigure, Output, Predict, Quiz, Slider

VIEW = "application/vnd.jupyter.widget-view+json"
SCRIPTS = {c.__name__: c._esm for c in (Slider, Choice, Quiz, Predict, widgets._Picture)}


def live(fail_at=None, **more):
    fig, ax = figures.new()
    (line,) = ax.plot([0, 1], [0, 1])
    ax.set(xlim=(0, 1), ylim=(0, 9), xlabel="x", ylabel="y")
    calls = []

    def compute(slope, sign="up"):
        calls.append((slope, sign))
        if slope == fail_at:
            raise ArithmeticError(f"no slope {slope}")
        return slope if sign == "up" else -slope

    def draw(height):
        line.set_ydata([0, height])
        return f"a line that rises to {height}"

    controls = {"slope": Slider("slope of the line", [1, 2, 5], 2), "sign": Choice("direction", ["up", "down"])} | more
    return LiveFigure(fig, compute, draw, **controls), calls


# -------------------------------------------------------------------------------------------------- controls


@pytest.mark.parametrize("kind", [Slider, Choice])
def test_a_control_holds_one_of_its_options(kind):
    control = kind("step size", [0.1, 0.1 + 0.2, "all"], value="all")
    assert control.value == "all" and control.index == 2 and control.options == [0.1, 0.1 + 0.2, "all"]
    assert control.texts == ["0.1", "0.3", "all"]
    seen = []
    control.observe(lambda change: seen.append(change.new), names="value")
    control.index = 0  # as the page does
    control.value = 0.1 + 0.2
    assert seen == [0.1, 0.1 + 0.2] and control.index == 1
    assert kind("step size", [1, 2]).value == 1
    for wrong in (7, None, "0.1"):
        with pytest.raises(traitlets.TraitError, match="none of the options"):
            control.value = wrong
    for wrong in (-1, 3):
        with pytest.raises(traitlets.TraitError, match="expected 0 to 2"):
            control.index = wrong
    assert control.value == 0.1 + 0.2 and control.index == 1


@pytest.mark.parametrize("kind", [Slider, Choice])
@pytest.mark.parametrize(
    "arguments, words",
    [
        (("", [1, 2]), "label: expected a text"),
        ((None, [1, 2]), "label: expected"),
        (("x", [1]), "options of 'x': expected at least two"),
        (("x", [1, 2], 3), "value of 'x': 3 is none of"),
        (("x", [1, 2], "1"), "value of 'x': '1' is none of"),
    ],
)
def test_a_control_says_what_is_wrong(kind, arguments, words):
    with pytest.raises(ValueError, match=words):
        kind(*arguments)


def test_options_cannot_be_changed_behind_the_controls_back():
    slider = Slider("x", [1, 2])
    slider.options.append(3)
    assert slider.options == [1, 2]


def test_a_button_calls_and_is_named():
    button, pressed = Button("Train"), []
    button.on_click(lambda b: pressed.append(b.label))
    button.click()
    assert pressed == ["Train"] and repr(button) == "button: Train"
    with pytest.raises(ValueError, match="label: expected"):
        Button(" ")


# ---------------------------------------------------------------------------------------------------- figure


def test_one_redraw_a_change_and_the_caption_follows():
    figure, calls = live()
    assert calls == [(2, "up")] and figure.caption == "a line that rises to 2"
    picture = figure._picture.svg
    figure.controls["slope"].index = 2
    assert calls == [(2, "up"), (5, "up")] and figure.caption == "a line that rises to 5" == figure._picture.caption
    assert figure._picture.svg != picture
    figure.controls["sign"].value = "down"
    assert calls[2:] == [(5, "down")] and figure.caption == "a line that rises to -5"
    figure.controls["sign"].value = "down"  # no change, no redraw
    assert len(calls) == 3
    figure.controls["sign"].value, figure.controls["slope"].value = "up", 2
    assert figure._picture.svg == picture, "the same values, another picture"
    figure.redraw()
    assert len(calls) == 6 and figure._picture.svg == picture


def test_axes_stay_where_they_are():
    figure, _ = live()
    place = figure.fig.axes[0].get_position().bounds
    figure.fig.axes[0].set_ylabel("a longer\nlabel")
    figure.redraw()
    assert figure.fig.axes[0].get_position().bounds == place


def test_the_grid_of_all_values_can_be_drawn():
    figure, _ = live()
    captions = {
        figure.draw(figure.compute(slope=s, sign=t))
        for s in figure.controls["slope"].options
        for t in figure.controls["sign"].options
    }
    assert len(captions) == 6


def test_an_error_is_seen_by_the_learner_and_by_the_tests():
    figure, _ = live(fail_at=5)
    with pytest.raises(ArithmeticError):
        figure.controls["slope"].index = 2
    assert figure._picture.problem == "Not drawn (slope = 5, sign = up): ArithmeticError: no slope 5"
    assert figure.caption == "a line that rises to 2"
    figure.controls["slope"].index = 0
    assert figure._picture.problem == "" and figure.caption == "a line that rises to 1"
    with pytest.raises(ArithmeticError):
        live(fail_at=2)


@pytest.mark.parametrize("caption", ["", " ", None, 3])
def test_no_picture_without_a_caption(caption):
    with pytest.raises(TypeError, match="draw: expected a caption"):
        LiveFigure(figures.new()[0], lambda x: x, lambda x: caption, x=Slider("x", [1, 2]))


def test_any_widget_with_a_value_will_do():
    import ipywidgets

    figure, calls = live(slope=ipywidgets.IntSlider(3, 0, 5))
    figure.controls["slope"].value = 4
    assert calls == [(3, "up"), (4, "up")]


# ------------------------------------------------------------------------------------------------------ quiz

CHOICES = [("yes", True, "Because it adds."), ("no", False, "It does not replace.")]


@pytest.mark.parametrize(
    "choices, several, words",
    [
        ([("a", True, "x")], False, "got 1 of 1"),
        ([("a", True, "x"), ("b", True, "y")], False, "got 2 of 2"),
        ([("a", False, "x"), ("b", False, "y")], False, "got 0 of 2"),
        ([("a", True, "x"), ("b", True, "y"), ("c", False, "z")], False, "got 2 of 3"),
        ([("a", True, "x"), ("b", False, "y")], True, "got 1 of 2"),
        ([("a", True, ""), ("b", False, "y")], False, "expected .text, right"),
        ([("a", 1, "x"), ("b", 0, "y")], False, "with right True or False"),
        ([("a", True), ("b", False, "y")], False, "expected .text"),
    ],
)
def test_a_quiz_says_what_is_wrong_with_itself(choices, several, words):
    with pytest.raises(ValueError, match=words):
        Quiz("Why?", choices, several)


def test_a_quiz_tells_its_kernel_the_answer_and_nothing_else():
    quiz = Quiz("Does it add?", CHOICES)
    assert quiz.choices == [list(c) for c in CHOICES] and not quiz.several
    script = SCRIPTS["Quiz"]
    assert "save_changes" not in script and "model.set" not in script  # a saved notebook does not hold the answer
    assert script.count("model.send(") == 1
    assert script.index("explanation);") < script.index("model.send({ answer: chosen })")  # it may fail: last
    assert Quiz("Which?", [*CHOICES, ("also", True, "That too.")], several=True).several


def test_a_quiz_without_a_kernel_shows_choices_but_not_which_is_right():
    page = Quiz("Does <it> add?", CHOICES)._repr_mimebundle_()["text/html"]
    assert "Does &lt;it&gt; add?" in page and "<li>yes</li>" in page
    assert "Because" not in page and "True" not in page


# --------------------------------------------------------------------------------------------------- predict


def test_a_guess_is_committed_and_compared():
    predict = Predict("How many are right?", (0, 100, 5), "%")
    assert predict.guess is None and predict.options[:3] == [0, 5, 10] and predict.options[-1] == 100
    assert repr(predict.reveal(43)) == "No guess this time; it is 43 %."
    predict.index = 12  # as the page does when the button is pressed
    assert predict.guess == 60
    assert repr(predict.reveal(43)) == "You guessed 60 %; it is 43 %."
    assert repr(predict.reveal(60.0)) == "You guessed 60 %, and 60 % it is."
    assert (
        predict.reveal(43)._repr_mimebundle_()["text/html"]
        == '<p role="status"><strong>You guessed 60 %; it is 43 %.</strong></p>'
    )


def test_a_guess_among_texts():
    predict = Predict("Which wins?", ["plain", "momentum"])
    assert repr(predict.reveal("plain")) == "No guess this time; it is plain."
    predict.index = 1
    assert predict.guess == "momentum" and repr(predict.reveal("plain")) == "You guessed momentum; it is plain."
    assert repr(Predict("How many?", [1, 2]).reveal(2)) == "No guess this time; it is 2."


def test_steps_of_a_tenth_are_read_as_such():
    predict = Predict("What is the loss?", (0, 5, 0.1))
    assert len(predict.options) == 51 and predict.texts[3] == "0.3" and predict.texts[-1] == "5"


@pytest.mark.parametrize("options", [(0, 1), (1, 0, 1), (0, 1, 0), (0, 1, 2), ("a", "b", "c"), ["a"], []])
def test_a_prediction_says_what_is_wrong(options):
    with pytest.raises(ValueError, match="options: expected"):
        Predict("Which?", options)


# ------------------------------------------------------------------------------ names, texts, and nothing fetched


class Text(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def made():
    return [
        live()[0],
        Slider("rate", [1, 2]),
        Choice("rule", ["a", "b"]),
        Button("Go"),
        Output(),
        Quiz("Why?", CHOICES),
        Predict("How many?", (0, 10, 1), "%"),
        Predict("Which?", ["a", "b"]),
    ]


def test_texts_are_the_same_in_every_run_and_views_are_live():
    texts = [
        "live figure: a line that rises to 2",
        "slider: rate = 1",
        "choice: rule = a",
        "button: Go",
        "output: empty until a button is pressed",
        "quiz: Why?",
        "predict: How many?",
        "predict: Which?",
    ]
    for first, second, text in zip(made(), made(), texts):
        one, two = first._repr_mimebundle_(), second._repr_mimebundle_()
        assert one["text/plain"] == two["text/plain"] == text == repr(first)
        assert one.pop(VIEW)["model_id"] != two.pop(VIEW)["model_id"]
        assert one == two
        assert not re.search(r"0x[0-9a-f]{6}|[0-9a-f]{32}", str(one.get("text/plain")))


def test_a_live_figure_without_a_kernel_is_a_picture_with_its_text():
    figure, _ = live()
    page = figure._repr_mimebundle_()["text/html"]
    ((tag, attributes),) = [t for t in Text(page).tags if t[0] == "img"]
    assert attributes["alt"] == figure.caption and attributes["src"].startswith("data:image/png;base64,")
    assert f"<figcaption>{figure.caption}</figcaption>" in page


def test_every_control_has_a_name_and_tells_its_value():
    slider, choice, quiz, predict, picture = SCRIPTS.values()
    for script in (slider, predict):
        assert 'type: "range"' in script and '"aria-label": label' in script and '"aria-valuetext", texts[i]' in script
    for script in (choice, quiz, predict):
        assert 'add(el, "fieldset"' in script and 'add(box, "legend", {}, model.get(' in script
        assert '"label", { class: "ml-choice" }' in script  # a radio button's name is the text around it
    for script in (quiz, predict, picture):
        assert 'role: "status", "aria-live": "polite"' in script
    assert 'img.alt = model.get("caption")' in picture
    assert "data-lm-suppress-shortcuts" in slider  # else JupyterLab takes the arrow keys


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_is_fetched_and_no_text_is_read_as_html(name):
    script = SCRIPTS[name] + widgets._CSS
    assert not re.search(r"https?:|//cdn|import\s|import\(|fetch\(|XMLHttpRequest|url\(|@import", script)
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script and "eval(" not in script
    assert script.count("export default { render };") == 1


def test_the_scripts_are_whole():
    """Brackets close, outside strings: a slip in an edited script shows here, not first in a browser."""
    for script in SCRIPTS.values():
        bare = re.sub(r'"(\\.|[^"\\\n])*"|//[^\n]*', "", script)
        for left, right in ("()", "[]", "{}"):
            assert bare.count(left) == bare.count(right)


def test_widgets_can_be_imported_without_a_notebook():
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from metalearn_lite import widgets; widgets.Quiz('a?', [('x', True, 'e'), ('y', False, 'f')])",
        ],
        check=True,
        timeout=120,
    )
