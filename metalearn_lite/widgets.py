"""What a learner can move, press and answer in a lesson. Everything works offline, by keyboard, and has a name.

    rate = widgets.Slider("step size", [0.01, 0.1, 1.0], value=0.1)
    widgets.LiveFigure(fig, compute, draw, rate=rate)      # compute(rate=0.1) -> result; draw(result) -> caption

The scripts are in this file: nothing is fetched from anywhere. Each widget's plain text is the same in every run.
"""
import html
import re
from numbers import Number

import anywidget
import ipywidgets
import traitlets

from . import figures

_VIEW = "application/vnd.jupyter.widget-view+json"

# Parts that several scripts share. Backticks in a text become code; nothing is ever read as HTML.
_SHARED = """
function add(parent, tag, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  text.split("`").forEach((part, i) => {
    if (i % 2) { const code = document.createElement("code"); code.textContent = part; node.append(code); }
    else if (part) node.append(part);
  });
  parent.append(node);
  return node;
}
const fresh = () => "ml-" + Math.random().toString(36).slice(2);
// JupyterLab would take arrow keys for moving between cells
const ownKeys = (node) => node.setAttribute("data-lm-suppress-shortcuts", "true");
function radios(box, texts, chosen, onChange) {
  const name = fresh();
  return texts.map((text, i) => {
    const label = add(box, "label", { class: "ml-choice" });
    const input = add(label, "input", { type: "radio", name, value: i });
    add(label, "span", {}, text);
    input.checked = i === chosen;
    ownKeys(input);
    input.addEventListener("change", () => onChange(i));
    return input;
  });
}
function range(box, label, texts, chosen, onChange) {
  const input = add(box, "input", { type: "range", min: 0, max: texts.length - 1, step: 1, "aria-label": label,
                                    "data-label": label });
  const output = add(box, "output", { "aria-live": "off" });
  const tell = (i) => {
    input.value = i; output.textContent = texts[i]; input.setAttribute("aria-valuetext", texts[i]);
  };
  ownKeys(input);
  tell(chosen);
  input.addEventListener("input", () => { tell(+input.value); onChange(+input.value); });
  return { input, tell };
}
"""
_CSS = """
.ml-widget { color: var(--jp-ui-font-color1, inherit); font-size: var(--jp-ui-font-size1, 13px); margin: 4px 0;
  line-height: 1.5; max-width: 60em; }
.ml-widget fieldset { border: 1px solid var(--jp-border-color1, #888); border-radius: 4px; padding: 4px 12px 8px;
  margin: 0; }
.ml-widget legend { font-weight: 600; padding: 0 4px; }
.ml-slider { display: flex; align-items: center; gap: 8px; }
.ml-slider > span { min-width: 9em; }
.ml-slider input { width: 16em; }
.ml-slider output { min-width: 5em; font-variant-numeric: tabular-nums; }
.ml-choice { display: block; padding: 2px 0; }
.ml-choice input { margin: 0 8px 0 0; vertical-align: -1px; }
.ml-widget.ml-inline .ml-choice { display: inline-block; margin-right: 1.2em; }
.ml-widget button { margin: 6px 0 0; padding: 3px 12px; font: inherit; cursor: pointer; }
.ml-widget button:disabled { cursor: default; }
.ml-widget [role=status] { margin-top: 6px; min-height: 1.5em; }
.ml-widget [role=status].ml-right { border-left: 4px solid #009E73; padding-left: 8px; }
.ml-widget [role=status].ml-wrong { border-left: 4px solid #D55E00; padding-left: 8px; }
.ml-picture img { background: white; max-width: 100%; display: block; }
.ml-picture [role=status] { max-width: 60em; }
"""


class _Widget(anywidget.AnyWidget):
    _css = _CSS

    def _repr_mimebundle_(self, **kwargs):
        return _bundle(self, repr(self))


def _bundle(widget, text, markup=None):
    """A live view where there is a kernel; a plain text, and perhaps HTML, for every static viewer and for tests."""
    data = {"text/plain": text, _VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}
    return data | ({"text/html": markup} if markup else {})


def _text(value):
    """A value as a learner reads it: 0.1 rather than 0.1000000000000001."""
    if isinstance(value, Number) and not isinstance(value, (bool, int, complex)):
        return f"{float(value):.6g}"
    return str(value)


def _named(label, name="label"):
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"{name}: expected a text that names the control, got {label!r}")
    return label


class _Option(traitlets.TraitType):
    """One of the widget's options (None may be one)."""

    def validate(self, widget, value):
        if value not in widget._options:
            raise traitlets.TraitError(f"value of {widget.label!r}: {value!r} is none of the options "
                                       f"{widget._options!r}")
        return value


class _Options(_Widget):
    """A control over a list of options. ``value`` is the option, ``index`` its place; both can be observed."""

    label = traitlets.Unicode().tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    value = _Option()

    def __init__(self, label, options, value=None):
        options = list(options)
        if len(options) < 2:
            raise ValueError(f"options of {label!r}: expected at least two, got {options!r}")
        if value is not None and value not in options:
            raise ValueError(f"value of {label!r}: {value!r} is none of the options {options!r}")
        self._options = options
        index = 0 if value is None else options.index(value)
        super().__init__(label=_named(label), texts=[_text(o) for o in options], index=index, value=options[index])

    @property
    def options(self):
        return list(self._options)

    @traitlets.validate("index")
    def _valid_index(self, proposal):
        if not 0 <= proposal.value < len(self._options):
            raise traitlets.TraitError(f"index of {self.label!r}: expected 0 to {len(self._options) - 1}, "
                                       f"got {proposal.value}")
        return proposal.value

    @traitlets.observe("index")
    def _moved(self, change):
        self.value = self._options[change.new]

    @traitlets.observe("value")
    def _set(self, change):
        self.index = self._options.index(change.new)


class Slider(_Options):
    """A slider over a list of options (numbers or anything else), in their order. ``value`` is the option chosen.

    A native range input: arrow keys, Page Up and Down, Home and End move it.
    """

    _esm = _SHARED + """
function render({ model, el }) {
  el.classList.add("ml-widget");
  const box = add(el, "label", { class: "ml-slider" });
  add(box, "span", { "aria-hidden": "true" }, model.get("label"));
  const { tell } = range(box, model.get("label"), model.get("texts"), model.get("index"), (i) => {
    model.set("index", i); model.save_changes();
  });
  model.on("change:index", () => tell(model.get("index")));
}
export default { render };
"""

    def __repr__(self):
        return f"slider: {self.label} = {_text(self.value)}"


class Choice(_Options):
    """One of a few options, as radio buttons under a legend. ``value`` is the option chosen, the first at the start."""

    _esm = _SHARED + """
function render({ model, el }) {
  el.classList.add("ml-widget", "ml-inline");
  const box = add(el, "fieldset", { "data-label": model.get("label") });
  add(box, "legend", {}, model.get("label"));
  const inputs = radios(box, model.get("texts"), model.get("index"), (i) => {
    model.set("index", i); model.save_changes();
  });
  model.on("change:index", () => { inputs[model.get("index")].checked = true; });
}
export default { render };
"""

    def __repr__(self):
        return f"choice: {self.label} = {_text(self.value)}"


class Button(ipywidgets.Button):
    """A button with its label on it; ``button.on_click(function)`` calls function(button) at each press."""

    def __init__(self, label):
        super().__init__(description=_named(label), layout=ipywidgets.Layout(width="auto"))

    @property
    def label(self):
        return self.description

    def __repr__(self):
        return f"button: {self.description}"

    def _repr_mimebundle_(self, **kwargs):
        return _bundle(self, repr(self))


class Output(ipywidgets.Output):
    """A place under a button for what its function shows, a progress bar say: ``with output: meta_train(...)``.

    Without one JupyterLab writes that to its log. An error within is shown in the same place, and goes no further.
    """

    def __repr__(self):
        return "output: empty until a button is pressed"

    def _repr_mimebundle_(self, **kwargs):
        return _bundle(self, repr(self))


class _Picture(_Widget):
    """The picture of a live figure: one <img> that stays and changes its source, one caption that is read aloud."""

    svg = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    width = traitlets.Int().tag(sync=True)

    _esm = _SHARED + """
function render({ model, el }) {
  el.classList.add("ml-widget", "ml-picture");
  const img = add(el, "img", { width: model.get("width") });
  const status = add(el, "div", { role: "status", "aria-live": "polite" });
  const draw = () => {
    img.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(model.get("svg"));
    img.alt = model.get("caption");
  };
  const tell = () => {
    const problem = model.get("problem");
    status.classList.toggle("ml-wrong", problem !== "");
    img.style.opacity = problem ? 0.35 : 1;  // it still shows the setting before
    status.textContent = problem || model.get("caption");
  };
  model.on("change:svg change:caption", draw);
  model.on("change:caption change:problem", tell);
  draw(); tell();
}
export default { render };
"""


class LiveFigure(ipywidgets.VBox):
    """Controls above one picture that is redrawn in place when any of them changes.

    fig:      a figure of `figures.new`, with fixed axes and artists that ``draw`` moves
    compute:  compute(**values) -> result, pure: the same values give the same result; values by the controls' names
    draw:     draw(result) -> caption; updates the artists of ``fig`` (set_data, not plot) and says in a sentence what
              is to be seen now, numbers included: it is also the picture's alternative text
    controls: name=Slider(...), Choice(...) or any widget with a ``value``

    Where compute or draw fails, the caption says so, and the error is raised as well.
    """

    def __init__(self, fig, compute, draw, **controls):
        self.fig, self.compute, self.draw, self.controls = fig, compute, draw, controls
        self.caption = ""
        self._picture = _Picture(width=round(fig.get_figwidth() * figures.PIXELS_PER_INCH))
        super().__init__([*controls.values(), self._picture])
        self.redraw()
        fig.set_layout_engine("none")  # the axes stay where the first drawing put them, and a redraw costs a third
        for control in controls.values():
            control.observe(self.redraw, names="value")

    def redraw(self, _change=None):
        """Compute and draw for the controls' values as they are now."""
        values = {name: control.value for name, control in self.controls.items()}
        try:
            caption = self.draw(self.compute(**values))
            if not isinstance(caption, str) or not caption.strip():
                raise TypeError(f"draw: expected a caption, a text that says what is to be seen, got {caption!r}")
            svg = figures.svg(self.fig)
        except Exception as error:
            setting = ", ".join(f"{name} = {_text(value)}" for name, value in values.items())
            self._picture.problem = f"Not drawn ({setting}): {type(error).__name__}: {error}"
            raise
        self.caption = " ".join(caption.split())
        with self._picture.hold_sync():
            self._picture.svg, self._picture.caption, self._picture.problem = svg, self.caption, ""

    def __repr__(self):
        return f"live figure: {self.caption}"

    def _repr_mimebundle_(self, **kwargs):
        picture = figures.show(self.fig, self.caption)
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        return _bundle(self, repr(self), picture.html().replace("</figure>", caption))


class Quiz(_Widget):
    """A question with choices, each with its own explanation, which appears on "Check".

    The answer goes to the kernel, which may record it on this machine (see check/progress.py), and to nobody else.
    choices: (text, right, explanation) each; exactly one is right, unless ``several``: then any right one will do.
    """

    question = traitlets.Unicode().tag(sync=True)
    choices = traitlets.List().tag(sync=True)

    _esm = _SHARED + """
function render({ model, el }) {
  el.classList.add("ml-widget");
  const box = add(el, "fieldset", { "data-label": model.get("question") });
  add(box, "legend", {}, model.get("question"));
  const choices = model.get("choices");
  let chosen = -1;
  radios(box, choices.map((c) => c[0]), -1, (i) => { chosen = i; });
  const button = add(box, "button", { type: "button" }, "Check");
  const status = add(box, "div", { role: "status", "aria-live": "polite" });
  ownKeys(button);
  button.addEventListener("click", () => {
    status.replaceChildren();
    status.className = "";
    if (chosen < 0) { add(status, "span", {}, "Choose an answer first."); return; }
    const [, right, explanation] = choices[chosen];
    status.className = right ? "ml-right" : "ml-wrong";
    add(status, "strong", {}, right ? "\\u2714 Right. " : "\\u2717 Not quite. ");
    add(status, "span", {}, explanation);
    model.send({ answer: chosen });  // last: without a kernel the explanation is there all the same
  });
}
export default { render };
"""

    def __init__(self, question, choices, several=False):
        choices = [list(choice) for choice in choices]
        for choice in choices:
            if len(choice) != 3 or not isinstance(choice[1], bool) or not all(
                    isinstance(t, str) and t.strip() for t in (choice[0], choice[2])):
                raise ValueError("choices: expected (text, right, explanation) with right True or False, "
                                 f"got {choice!r}")
        right = sum(choice[1] for choice in choices)
        if len(choices) < 2 or right < 1 or (right > 1) != several or right == len(choices):
            raise ValueError(f"choices of {question!r}: expected one right choice among several "
                             f"(more with several=True), got {right} of {len(choices)}")
        self.several = several
        super().__init__(question=_named(question, "question"), choices=choices)
        self.on_msg(self._answered)

    def _answered(self, _widget, content, _buffers):
        from .check import progress  # not above: the checks need this module
        place = content.get("answer")
        if place in range(len(self.choices)):
            progress.record(self, self.choices[place][1])

    def __repr__(self):
        return f"quiz: {self.question}"

    def _repr_mimebundle_(self, **kwargs):
        texts = [choice[0] for choice in self.choices]
        return _bundle(self, repr(self), _listed(self.question, texts, "Run this cell to answer."))


class Predict(_Widget):
    """A guess to commit to before the result is shown.

    options: a list of texts or numbers (radio buttons), or a tuple (low, high, step) (a slider).
    unit:    written after a number, such as "%".
    ``guess`` is None until the button was pressed. ``reveal(actual)`` compares.
    """

    question = traitlets.Unicode().tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    slider = traitlets.Bool().tag(sync=True)
    index = traitlets.Int(-1).tag(sync=True)  # of the committed guess

    _esm = _SHARED + """
function render({ model, el }) {
  el.classList.add("ml-widget");
  const box = add(el, "fieldset", { "data-label": model.get("question") });
  add(box, "legend", {}, model.get("question"));
  const texts = model.get("texts");
  const committed = () => model.get("index") >= 0;
  let chosen = committed() ? model.get("index") : model.get("slider") ? Math.floor((texts.length - 1) / 2) : -1;
  const inputs = model.get("slider")
    ? [range(add(box, "label", { class: "ml-slider" }), model.get("question"), texts, chosen,
             (i) => { chosen = i; }).input]
    : radios(box, texts, chosen, (i) => { chosen = i; });
  const button = add(box, "button", { type: "button" }, "Commit my guess");
  const status = add(box, "div", { role: "status", "aria-live": "polite" });
  ownKeys(button);
  const tell = () => {
    if (!committed()) return;
    status.textContent = "Your guess: " + texts[model.get("index")] + ". Go on to the next cell.";
    [...inputs, button].forEach((node) => { node.disabled = true; });
  };
  button.addEventListener("click", () => {
    if (chosen < 0) { status.textContent = "Choose an answer first."; return; }
    model.set("index", chosen); model.save_changes();
    tell();
  });
  model.on("change:index", tell);
  tell();
}
export default { render };
"""

    def __init__(self, question, options, unit=""):
        self._slider = isinstance(options, tuple)
        if self._slider:
            if len(options) != 3 or not all(isinstance(o, Number) for o in options):
                raise ValueError(f"options: expected a list, or a tuple (low, high, step), got {options!r}")
            low, high, step = options
            if not (step > 0 and high > low):
                raise ValueError(f"options: expected low < high and step > 0, got {options!r}")
            count = int((high - low) / step + 1e-9) + 1
            options = [low + i * step for i in range(count)]
        self.options, self.unit = list(options), unit
        if len(self.options) < 2:
            raise ValueError(f"options: expected at least two, got {self.options!r}")
        super().__init__(question=_named(question, "question"), slider=self._slider,
                         texts=[self._with_unit(o) for o in self.options])

    def _with_unit(self, value):
        return f"{_text(value)} {self.unit}".strip() if isinstance(value, Number) else str(value)

    @property
    def guess(self):
        """The option committed to, or None."""
        return self.options[self.index] if self.index >= 0 else None

    def reveal(self, actual):
        """The guess beside what came out, as an object that a cell can end with. Round ``actual`` before."""
        truth = self._with_unit(actual)
        if self.guess is None:
            return Comparison(f"No guess this time; it is {truth}.")
        guess = self._with_unit(self.guess)
        return Comparison(f"You guessed {guess}, and {truth} it is." if guess == truth else
                          f"You guessed {guess}; it is {truth}.")

    def __repr__(self):
        return f"predict: {self.question}"

    def _repr_mimebundle_(self, **kwargs):
        texts = [f"{self.texts[0]} to {self.texts[-1]}"] if self._slider else self.texts
        return _bundle(self, repr(self), _listed(self.question, texts, "Run this cell to commit to a guess."))


class Comparison:
    """A guess beside what came out; ``text`` says both."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text

    def _repr_mimebundle_(self, **kwargs):
        return {"text/plain": self.text, "text/html": f'<p role="status"><strong>{html.escape(self.text)}</strong></p>'}


def _listed(question, texts, note):
    items = "".join(f"<li>{inline(t)}</li>" for t in texts)
    return f"<p><strong>{inline(question)}</strong></p><ul>{items}</ul><p><em>{note}</em></p>"


def inline(text):
    """Plain text as HTML: `code` between backticks, line breaks kept, everything else escaped."""
    escaped = html.escape(str(text), quote=False)
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escaped).replace("\n", "<br>")
