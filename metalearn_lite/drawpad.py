"""A pad on which the learner draws symbols of their own and asks a network to name the next drawing.

    pad = DrawPad(answer)                   # answer(examples, query) -> (similarities, text), supplied by the lesson
    pad.keep(pad.sample("Cyrillic ze"), 0)  # what "Add sample" and "Keep" do
    pad.ask(pad.sample("Cyrillic ze"))      # what "Ask" does: (similarities, text)

Drawn with mouse, finger or pen, or put together by keyboard from sample strokes. Everything works offline.
"""
import base64
import html
import io
import math

import numpy as np
import torch
import traitlets
from PIL import Image

from . import widgets
from .check.exercise import line_of
from .data import drawer, strokes as strokes_of

MAX_STROKES, MAX_POINTS = 60, 5000   # of one drawing
MAX_EXAMPLES = 20                    # of one symbol
SIDE = 16.7                          # pixels of 28: the mean longer side of the drawings of `data.glyphs`
DOT = 0.03                           # a drawing smaller than this part of the pad is a dot: it is not blown up

# What can be added by keyboard: (letter of a validation script, which of its strokes, or None for all of them).
SAMPLES = {
    "Single strokes": {
        "Bar across": ("Cyrillic en", 1),
        "Bar down": ("Cyrillic ef", 1),
        "Bow": ("Ol chiki ob", 1),
        "Corner": ("Tamil tta", 0),
        "Cup": ("Tamil pa", 0),
        "Hook": ("Tamil ta", 1),
        "Ring": ("Cyrillic ef", 0),
        "Small ring": ("Tamil sign visarga", 0),
    },
    "Whole symbols": {
        "Avestan te": ("Avestan te", None),
        "Cyrillic yu": ("Cyrillic yu", None),
        "Cyrillic ze": ("Cyrillic ze", None),
        "Cyrillic zhe": ("Cyrillic zhe", None),
        "Ol Chiki ob": ("Ol chiki ob", None),
        "Tagalog sa": ("Tagalog sa", None),
        "Tamil ta": ("Tamil ta", None),
        "Thai so rusi": ("Thai character so rusi", None),
    },
}

_CSS = widgets._CSS + """
.ml-pad { --ink: var(--jp-content-font-color0, #000); --soft: var(--jp-ui-font-color2, #666);
  --paper: var(--jp-layout-color0, #fff); --line: var(--jp-border-color2, #ccc); --accent: #0072B2; --on: #fff;
  --pad-wrong: #B34700; max-width: 58em; color: var(--jp-ui-font-color1, #222);
  font-family: var(--jp-ui-font-family, system-ui, sans-serif); }
[data-jp-theme-light="false"] .ml-pad { --accent: #56B4E9; --on: #000; --pad-wrong: #FF9A5C; }
.ml-pad *, .ml-pad *::before { box-sizing: border-box; }
.ml-pad :is(button, select, label) { touch-action: manipulation; -webkit-tap-highlight-color: transparent; }
.ml-pad-columns { display: flex; flex-wrap: wrap; gap: 16px 28px; padding: 4px 6px 8px; }
.ml-pad-draw { flex: 0 1 300px; min-width: min(100%, 240px); }
.ml-pad-rest { flex: 1 1 300px; min-width: 0; display: flex; flex-direction: column; gap: 14px; }
.ml-pad-paper { position: relative; aspect-ratio: 1; background: var(--paper); border: 1px solid var(--soft);
  border-radius: 8px; overflow: hidden; }
.ml-pad-paper svg { display: block; width: 100%; height: 100%; touch-action: none; cursor: crosshair;
  user-select: none; -webkit-user-select: none; -webkit-touch-callout: none; }
.ml-pad-paper path { fill: none; stroke: var(--ink); stroke-width: 0.04; stroke-linecap: round; stroke-linejoin: round;
  pointer-events: none; }
.ml-pad-paper.asked svg { opacity: 0.45; }
.ml-pad-hint { position: absolute; inset: 0; display: grid; place-items: center; color: var(--soft);
  pointer-events: none; }
.ml-pad-row { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; margin-top: 8px; }
.ml-pad-row > span:last-child { margin-left: auto; color: var(--soft); }
.ml-pad-samples { margin-top: 12px; }
.ml-pad-samples label { display: block; color: var(--soft); margin-bottom: 4px; }
.ml-pad-samples div { display: flex; gap: 8px; }
.ml-pad select { flex: 1 1 auto; min-width: 0; height: 32px; padding: 0 6px; font: inherit; color: inherit;
  background: var(--paper); border: 1px solid var(--soft); border-radius: 6px; }
.ml-pad option, .ml-pad optgroup { background: var(--paper); color: var(--ink); }
.ml-pad button { margin: 0; min-height: 32px; padding: 0 14px; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--soft); border-radius: 6px; white-space: nowrap; }
.ml-pad button:hover { background: color-mix(in srgb, var(--ink) 7%, transparent); }
.ml-pad button[aria-disabled=true] { opacity: 0.45; cursor: default; background: transparent; }
.ml-pad button.ml-pad-go { min-height: 36px; min-width: 7.5em; font-weight: 600; color: var(--on);
  background: var(--accent); border-color: var(--accent); }
.ml-pad button.ml-pad-go:hover { filter: brightness(1.1); }
.ml-pad :is(button, select):focus-visible, .ml-pad input:focus-visible + span { outline: 3px solid var(--accent);
  outline-offset: 2px; }
.ml-pad fieldset { border: 0; padding: 0; min-width: 0; }
.ml-pad legend, .ml-pad-title { font-weight: 600; padding: 0; margin: 0 0 6px; }
.ml-pad-purpose { display: flex; flex-wrap: wrap; align-items: center; gap: 6px; }
.ml-pad-purpose .ml-choice { padding: 0; position: relative; display: block; }
.ml-pad-purpose .ml-choice input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: pointer; }
.ml-pad-purpose .ml-choice span { display: grid; place-items: center; min-width: 34px; height: 34px; padding: 0 9px;
  border: 1px solid var(--soft); border-radius: 6px; }
.ml-pad-purpose .ml-choice:hover span { background: color-mix(in srgb, var(--ink) 7%, transparent); }
.ml-pad-purpose .ml-choice input:checked + span { color: var(--on); background: var(--accent);
  border-color: var(--accent); font-weight: 600; }
.ml-pad-act { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px; }
.ml-pad.ml-widget .ml-pad-note { flex: 1 1 12em; margin: 0; min-height: 0; overflow-wrap: anywhere; }
.ml-pad .ml-pad-note.bad { color: var(--pad-wrong); font-weight: 600; }
.ml-pad-quiet { color: var(--soft); margin: 0; }
.ml-pad img { display: block; width: 100%; aspect-ratio: 1; border-radius: 5px; image-rendering: pixelated; }
[data-jp-theme-light="false"] .ml-pad img { filter: invert(1); }
.ml-pad-card { position: relative; width: 48px; flex: none; background: var(--paper); border: 1px solid var(--line);
  border-radius: 6px; }
.ml-pad.ml-widget .ml-pad-answer { margin: 0; min-height: 0; }
.ml-pad-said { display: flex; align-items: center; gap: 12px; margin-bottom: 10px; }
.ml-pad-said p { margin: 0; font-size: 1.25em; font-weight: 600; }
.ml-pad ul { list-style: none; margin: 0; padding: 0; }
.ml-pad-bar { display: grid; grid-template-columns: minmax(1.6em, max-content) 1fr minmax(5.5em, max-content);
  align-items: center; gap: 10px; padding: 3px 0; font-variant-numeric: tabular-nums; }
.ml-pad-bar > b { font-weight: 600; }
.ml-pad-bar i { display: block; height: 10px; border-radius: 5px; overflow: hidden;
  background: color-mix(in srgb, var(--ink) 11%, transparent); }
.ml-pad-bar i i { min-width: 3px; background: var(--soft); }
.ml-pad-bar.most i i { background: var(--accent); }
.ml-pad-bar.most { font-weight: 600; }
.ml-pad-kept { display: flex; align-items: center; gap: 12px; padding: 7px 0; border-top: 1px solid var(--line); }
.ml-pad-kept > b { min-width: 1.6em; }
.ml-pad-kept ul { display: flex; flex-wrap: wrap; gap: 10px 14px; }
.ml-pad .ml-pad-card button { position: absolute; top: -9px; right: -11px; width: 24px; height: 24px; min-height: 24px;
  padding: 0; border: 0; background: transparent; display: grid; place-items: center; }
.ml-pad .ml-pad-card button::before { content: "\\00d7"; width: 18px; height: 18px; line-height: 16px; font-size: 14px;
  text-align: center; border-radius: 50%; color: var(--ink); background: var(--paper); border: 1px solid var(--soft); }
.ml-pad .ml-pad-card button:hover::before { color: var(--paper); background: var(--ink); }
.ml-pad .ml-pad-card button:focus-visible { outline-offset: -1px; border-radius: 50%; }
.ml-pad-unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
@media (max-width: 480px) {
  .ml-pad-draw, .ml-pad-of { flex-basis: 100%; }
  .ml-pad-columns { padding: 4px 2px; }
}
@media (pointer: coarse) {
  .ml-pad button { min-height: 40px; }
  .ml-pad select { height: 40px; }
  .ml-pad-purpose .ml-choice span { min-width: 42px; height: 42px; }
}
@media (forced-colors: active) {
  .ml-pad-purpose .ml-choice input:checked + span { outline: 3px solid Highlight; outline-offset: -4px; }
  .ml-pad-bar i { border: 1px solid; } .ml-pad-bar i i { background: Highlight; forced-color-adjust: none; }
}
"""


def rendered(strokes, size=drawer.CANVAS):
    """A drawing as an image of the same kind as those of `data.glyphs`: the same pen, size and place.

    The drawing is moved to the middle and scaled until the longer side of its bounding box is as long as a letter's
    on average; one that is hardly larger than a point stays a dot.

    Args:
        strokes: list of 1 to 60 strokes, each a list of points [x, y] from 0 to 1, y downwards; 5,000 points at most.
        size: side of the image in pixels, at least 8.

    Returns:
        uint8 tensor (size, size): ink = 255, sixteen grey levels.

    Raises:
        ValueError: an argument outside the bounds above.
    """
    strokes = _checked_strokes(strokes)
    drawer.check_count("size", size, 8)
    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    longest = (high - low).max()
    scale = SIDE / longest if longest >= DOT else 0
    points = (points - (low + high) / 2) * scale + (drawer.CANVAS - 1) / 2
    return torch.from_numpy(drawer.ink(points[None], strokes, np.array([drawer.PEN_RADIUS]), size)[0])


class DrawPad(widgets._Widget):
    """The pad. Examples are kept for each symbol; then a drawing is asked about, and ``answer`` says what it is.

    answer:   answer(examples, query) -> (similarities, text), pure. ``examples`` is a list of pairs (image, symbol
              index), at least one; an image, like ``query``, is a uint8 tensor (28, 28), ink = 255. ``similarities``
              holds a number for each symbol, nan for one without an example; ``text`` is the sentence to be read.
    symbols:  2 to 10 different names, short ones.

    Where ``answer`` fails, the pad says so and goes on.
    """

    symbols = traitlets.List(traitlets.Unicode()).tag(sync=True)
    samples = traitlets.List().tag(sync=True)  # [group, names] each
    state = traitlets.Dict().tag(sync=True)  # what the page shows; nothing is read back from it

    _css = _CSS
    _esm = widgets._SHARED + """
function path(points) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", "path");
  node.setAttribute("d", trace(points));
  return node;
}
const trace = (points) => "M" + points.map((p) => p[0] + " " + p[1]).join("L") + "L" + points.at(-1).join(" ");
function button(parent, text, attributes = {}) {
  const node = add(parent, "button", { type: "button", ...attributes }, text);
  ownKeys(node);
  return node;
}
const counted = (n, what) => n + " " + what + (n === 1 ? "" : "s");

function render({ model, el }) {
  el.classList.add("ml-widget", "ml-pad");
  const symbols = model.get("symbols"), me = fresh();
  const columns = add(el, "div", { class: "ml-pad-columns", role: "group", "aria-label": "Draw pad" });
  const left = add(columns, "div", { class: "ml-pad-draw" });
  const right = add(columns, "div", { class: "ml-pad-rest" });

  // ---- the paper
  const paper = add(left, "div", { class: "ml-pad-paper" });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.setAttribute("role", "img");
  paper.append(svg);
  const hint = add(paper, "div", { class: "ml-pad-hint", "aria-hidden": "true" }, "Draw a symbol here");
  const row = add(left, "div", { class: "ml-pad-row" });
  const undo = button(row, "Undo");
  const clear = button(row, "Clear");
  const size = add(row, "span");
  const samples = add(left, "div", { class: "ml-pad-samples" });
  add(samples, "label", { for: me + "-sample" }, "Without drawing: a sample stroke or symbol");
  const pick = add(samples, "div");
  const select = add(pick, "select", { id: me + "-sample" });
  ownKeys(select);
  for (const [group, names] of model.get("samples")) {
    const node = add(select, "optgroup", { label: group });
    names.forEach((name) => add(node, "option", { value: name }, name));
  }
  const addSample = button(pick, "Add sample");

  // ---- what it is for
  const purpose = add(right, "fieldset");
  add(purpose, "legend", {}, "This drawing is");
  const choices = add(purpose, "div", { class: "ml-pad-purpose" });
  let symbol = 0;
  add(choices, "span", { class: "ml-pad-of", "aria-hidden": "true" }, "an example of");
  const inputs = radios(choices, [...symbols, "a question"], 0, (i) => { symbol = i; label(); });
  inputs.forEach((input, i) => {
    if (i < symbols.length) input.setAttribute("aria-label", "an example of " + symbols[i]);
  });
  const last = add(choices, "span", { class: "ml-pad-purpose" });
  add(last, "span", { "aria-hidden": "true" }, "or");
  last.append(inputs.at(-1).parentNode);
  const act = add(right, "div", { class: "ml-pad-act" });
  const go = button(act, "", { class: "ml-pad-go" });
  const note = add(act, "div", { class: "ml-pad-note", role: "status", "aria-live": "polite" });
  const label = () => { go.textContent = symbol < symbols.length ? "Keep" : "Ask"; };
  label();

  // ---- the answer and the examples
  const answerBox = add(right, "div");
  add(answerBox, "div", { class: "ml-pad-title", "aria-hidden": "true" }, "Answer");
  const waiting = add(answerBox, "p", { class: "ml-pad-quiet" });
  const answer = add(answerBox, "div", { class: "ml-pad-answer", role: "status", "aria-live": "polite",
                                         "aria-atomic": "true", "aria-label": "Answer" });
  const keptBox = add(right, "div", { role: "group", "aria-label": "Examples" });
  add(keptBox, "div", { class: "ml-pad-title", "aria-hidden": "true" }, "Examples");
  const kept = add(keptBox, "div");

  const tell = (text, bad = false) => {
    note.replaceChildren();
    note.classList.toggle("bad", bad);
    if (text) add(note, "span", {}, text);
  };

  // ---- drawing: `now` is a list of strokes, `past` what Undo brings back
  let now = [], past = [], asked = false, line = null, live = null, pen = null;
  const paint = () => {
    svg.replaceChildren(...(asked && live ? [] : now).map(path), ...(live ? [live] : []));
    paper.classList.toggle("asked", asked && !live);
    hint.style.display = now.length || live ? "none" : "";
    size.textContent = now.length ? counted(now.length, "stroke") : "";
    svg.setAttribute("aria-label", now.length ? "Your drawing: " + counted(now.length, "stroke")
                                              : "Your drawing: empty");
    undo.setAttribute("aria-disabled", past.length === 0);
    clear.setAttribute("aria-disabled", now.length === 0);
  };
  const change = (next) => { past.push(now); now = next; asked = false; paint(); };
  const base = () => (asked ? [] : now);  // after a question the next stroke begins a new drawing
  const place = (event) => {
    const box = svg.getBoundingClientRect();
    const part = (at, low, length) => Math.round(Math.min(1, Math.max(0, (at - low) / length)) * 1e4) / 1e4;
    return [part(event.clientX, box.left, box.width), part(event.clientY, box.top, box.height)];
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || (pen !== null && event.pointerType !== "pen")) return;  // a pen goes before a palm
    pen = event.pointerId;
    svg.setPointerCapture(pen);
    line = [place(event)];
    live = path(line);
    paint();
    event.preventDefault();
  });
  svg.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pen) return;
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of events.length ? events : [event]) {
      const to = place(one), from = line.at(-1);
      if (Math.hypot(to[0] - from[0], to[1] - from[1]) >= 0.005) line.push(to);
    }
    live.setAttribute("d", trace(line));
  });
  const lift = (event) => {
    if (event.pointerId !== pen) return;
    pen = live = null;
    if (event.type === "pointercancel") { paint(); return; }  // the browser took it for something else
    change([...base(), line]);
    tell("");
  };
  svg.addEventListener("pointerup", lift);
  svg.addEventListener("pointercancel", lift);
  svg.addEventListener("contextmenu", (event) => event.preventDefault());
  // without this the browser takes a quick line for a fling, and the tap after it for the end of the fling
  svg.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  undo.addEventListener("click", () => {
    if (!past.length) return;
    now = past.pop();
    asked = false;
    paint();
    tell("Undone: " + (now.length ? counted(now.length, "stroke") + " left." : "the pad is empty."));
  });
  clear.addEventListener("click", () => {
    if (!now.length) return;
    change([]);
    tell("Cleared. Undo brings the drawing back.");
  });

  // ---- what Python does
  let pending = null, sent = [];
  const send = (what, more) => {
    if (pending) return;
    sent = now;
    pending = setTimeout(() => {
      pending = null;
      tell("No reply yet: the kernel is busy, or was restarted. Your drawing is still here.", true);
    }, 10000);
    try { model.send({ do: what, from: me, ...more }); } catch (error) {
      clearTimeout(pending);
      pending = null;
      tell("The kernel is gone: run this cell again.", true);
    }
  };
  addSample.addEventListener("click", () => send("sample", { name: select.value }));
  go.addEventListener("click", () => {
    if (!now.length) { tell("The pad is empty: draw something, or add a sample.", true); return; }
    if (pending) return;
    tell(symbol < symbols.length ? "" : "Asking \\u2026");
    send(symbol < symbols.length ? "keep" : "ask", { strokes: now, symbol });
  });
  model.on("msg:custom", (reply) => {
    if (reply.to !== me) return;
    clearTimeout(pending);
    pending = null;
    if (!reply.well) return;
    if (reply.did === "sample") {
      change([...base(), ...reply.strokes]);
      tell("Added: " + reply.name + ". The drawing has " + counted(now.length, "stroke") + ".");
    } else if (reply.did === "keep") {  // what was drawn while the kernel was busy stays
      now = now.filter((stroke) => !sent.includes(stroke)); past = []; asked = false; paint();
    } else if (reply.did === "ask") { asked = now === sent; paint(); }
  });

  // ---- what Python says
  const picture = (parent, source, alt) => {
    const card = add(parent, "div", { class: "ml-pad-card" });
    add(card, "img", { src: source, alt, draggable: "false" });
    return card;
  };
  const show = () => {
    const state = model.get("state"), found = state.answer;
    tell(state.problem || state.said, state.problem !== "");
    waiting.hidden = found !== null;
    waiting.textContent = state.examples.length ? "Draw something new, choose \\u201ca question\\u201d and ask."
      : "Keep an example of two symbols or more, then ask about a new drawing.";
    answer.replaceChildren();
    if (found) {
      const said = add(answer, "div", { class: "ml-pad-said" });
      picture(said, found.image, "What was asked, as 28 by 28 pixels");
      add(said, "p", {}, found.text);
      const list = add(answer, "ul", { "aria-label": "Similarity to each symbol" });
      found.bars.forEach(([text, width, most], i) => {
        const item = add(list, "li", { class: "ml-pad-bar" + (most ? " most" : "") });
        add(item, "b", {}, symbols[i]);
        if (width === null) add(item, "span", { "aria-hidden": "true" });
        else add(add(item, "i", { "aria-hidden": "true" }), "i").style.width = 100 * width + "%";
        const value = add(item, "span", width === null ? { class: "ml-pad-quiet" } : {}, text);
        if (most) add(value, "span", { class: "ml-pad-unseen" }, ", the most similar");
      });
    }
    const focused = [...kept.querySelectorAll("button")].indexOf(document.activeElement);
    kept.replaceChildren();
    symbols.forEach((name, i) => {
      const shelf = add(kept, "div", { class: "ml-pad-kept" });
      add(shelf, "b", { "aria-hidden": "true" }, name);
      const list = add(shelf, "ul", { "aria-label": "Examples of " + name });
      const mine = state.examples.filter((example) => example.symbol === i);
      if (!mine.length) add(list, "li", { class: "ml-pad-quiet" }, "none yet");
      mine.forEach((example, n) => {
        const words = "example " + (n + 1) + " of " + name;
        const card = picture(add(list, "li"), example.image, words[0].toUpperCase() + words.slice(1));
        const remove = button(card, "", { "aria-label": "Remove " + words });
        remove.addEventListener("click", () => send("remove", { number: example.number }));
      });
    });
    if (focused >= 0) ([...kept.querySelectorAll("button")].slice(0, focused + 1).at(-1) || go).focus();
  };
  model.on("change:state", show);
  paint(); show();
}
export default { render };
"""

    def __init__(self, answer, symbols=("A", "B", "C", "D", "E")):
        if not callable(answer):
            raise TypeError(f"answer: expected a function answer(examples, query), got {answer!r}")
        names = list(symbols)
        if not 2 <= len(names) <= 10 or len(set(map(str, names))) < len(names) or not all(
                isinstance(name, str) and name.strip() and len(name) <= 20 for name in names):
            raise ValueError(f"symbols: expected 2 to 10 different names of 1 to 20 characters, got {symbols!r}")
        self.answer = answer
        self._examples = []  # (number, image, symbol index)
        self._made = 0       # numbers are never used twice: the page may name an example that is already gone
        self._turn = 0
        self._rng = np.random.default_rng(0)  # every pad's samples come in the same order of variations
        super().__init__(symbols=names, samples=[[group, list(names)] for group, names in SAMPLES.items()])
        self._show()
        self.on_msg(self._heard)

    @property
    def examples(self):
        """The examples kept, in their order: a list of pairs (uint8 tensor (28, 28), symbol index)."""
        return [(image.clone(), symbol) for _, image, symbol in self._examples]

    def sample(self, name):
        """A sample stroke or symbol as a new drawer makes it: strokes for `keep`, `ask` and `rendered`.

        ``name`` is one of those in `SAMPLES`. Two calls give two different drawings.
        """
        known = {key: value for group in SAMPLES.values() for key, value in group.items()}
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"name is {name!r}; expected one of {', '.join(known)}")
        letter, which = known[name]
        strokes = _varied(strokes_of(letter), self._rng)
        return strokes if which is None else strokes[which:which + 1]

    def keep(self, strokes, symbol):
        """Keep a drawing as an example of a symbol, given by its index or its name. For strokes see `rendered`."""
        image, symbol = rendered(strokes), self._symbol(symbol)
        count = sum(s == symbol for _, _, s in self._examples)
        if count >= MAX_EXAMPLES:
            raise ValueError(f"{self.symbols[symbol]} has {count} examples, the most it may have; remove one first")
        self._examples.append((self._made, image, symbol))
        self._made += 1
        self._show(said=f"Kept as example {count + 1} of {self.symbols[symbol]}.")

    def remove(self, place):
        """Remove one example, given by its place in `examples`."""
        if not _is_whole(place) or not 0 <= place < len(self._examples):
            raise ValueError(f"place is {place!r}; expected 0 to {len(self._examples) - 1} "
                             f"(there {_are(len(self._examples))})")
        _, _, symbol = self._examples.pop(place)
        self._show(said=f"Removed an example of {self.symbols[symbol]}.")

    def ask(self, strokes):
        """What a drawing is: (list of a similarity for each symbol, text), as ``answer`` says and the pad shows it.

        Raises:
            ValueError: wrong strokes, or no example to compare with. Whatever ``answer`` raises is raised as well.
        """
        image = rendered(strokes)
        if not self._examples:
            raise ValueError("there is no example to compare with; keep one first")
        try:
            similarities, text = _checked_answer(self.answer(self.examples, image.clone()), self.symbols)
        except Exception as error:
            self._show(problem=f"No answer: {type(error).__name__}: {error}{_where(error, self.answer)}")
            raise
        self._show(answer={"text": text, "bars": _bars(similarities), "image": _picture(image)})
        return similarities, text

    def _symbol(self, symbol):
        if isinstance(symbol, str) and symbol in self.symbols:
            return self.symbols.index(symbol)
        if not _is_whole(symbol) or not 0 <= symbol < len(self.symbols):
            raise ValueError(f"symbol is {symbol!r}; expected 0 to {len(self.symbols) - 1}, "
                             f"or one of {', '.join(self.symbols)}")
        return int(symbol)

    def _show(self, answer=None, said="", problem=""):
        """What the page shows from now on. ``turn`` makes the same answer, given twice, news twice."""
        self._turn += 1
        examples = [{"number": n, "symbol": s, "image": _picture(image)} for n, image, s in self._examples]
        self.state = {"examples": examples, "answer": answer, "said": said, "problem": problem, "turn": self._turn}

    def _heard(self, _widget, message, _buffers):
        """A button of the page was pressed. Nothing in the message is trusted; nothing that fails kills the pad."""
        message = message if isinstance(message, dict) else {}
        reply = {"to": message.get("from"), "did": message.get("do"), "well": True}
        turn = self._turn
        try:
            if reply["did"] == "keep":
                self.keep(message.get("strokes"), message.get("symbol"))
            elif reply["did"] == "ask":
                self.ask(message.get("strokes"))
            elif reply["did"] == "sample":
                reply |= {"strokes": self.sample(message.get("name")), "name": message.get("name")}
            elif reply["did"] == "remove":
                numbers = [n for n, _, _ in self._examples]
                if message.get("number") not in numbers:
                    raise ValueError("that example is already gone")
                self.remove(numbers.index(message["number"]))
            else:
                raise ValueError(f"the page asked for {reply['did']!r}; expected keep, ask, sample or remove")
        except Exception as error:
            reply["well"] = False
            if self._turn == turn:  # else the pad says it already
                self._show(answer=self.state["answer"], problem=_sentence(error))
        self.send(reply)

    def __repr__(self):
        count = len(self._examples)
        return f"draw pad: {len(self.symbols)} symbols, {count} example{'' if count == 1 else 's'}"

    def _repr_mimebundle_(self, **kwargs):
        names = ", ".join(map(html.escape, self.symbols))
        page = (f"<p><strong>Draw pad</strong> for the symbols {names}: draw one or more examples of each, then ask "
                f"which of them a new drawing is.</p><p><em>Run this cell in JupyterLab to draw.</em></p>")
        return widgets._bundle(self, repr(self), page)


def _varied(strokes, rng):
    """A letter's strokes as one new drawer makes them, on the pad: lists of [x, y] from 0 to 1."""
    points = drawer.vary(strokes, drawer.hands(1, rng), rng)[0]
    points = np.clip((points.astype(np.float64) + 0.5) / drawer.CANVAS, 0, 1).round(4)
    ends = np.cumsum([len(stroke) for stroke in strokes])[:-1]
    return [part.tolist() for part in np.split(points, ends)]


def _checked_strokes(strokes):
    """Strokes as a list of arrays (n, 2) with n >= 2, whatever came from the page."""
    if not isinstance(strokes, (list, tuple)) or len(strokes) == 0:
        raise ValueError("strokes: expected a list of at least one stroke, got "
                         f"{'an empty one' if isinstance(strokes, (list, tuple)) else type(strokes).__name__}")
    if len(strokes) > MAX_STROKES:
        raise ValueError(f"strokes: {len(strokes)} strokes, expected at most {MAX_STROKES}")
    checked, total = [], 0
    for i, stroke in enumerate(strokes):
        try:
            total += len(stroke)
            points = np.asarray(stroke) if total <= MAX_POINTS else None
        except (TypeError, ValueError):
            raise ValueError(f"strokes[{i}]: expected a list of points [x, y]") from None
        if points is None:
            raise ValueError(f"strokes: more than {MAX_POINTS} points in all, expected at most {MAX_POINTS}")
        if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0 or points.dtype.kind not in "iuf":
            raise ValueError(f"strokes[{i}]: expected a list of points [x, y], two numbers each")
        wrong = points[~((points >= 0) & (points <= 1))]  # also catches nan
        if len(wrong):
            raise ValueError(f"strokes[{i}] contains {wrong[0]}; expected coordinates from 0 to 1")
        checked.append(np.repeat(points, 2, axis=0) if len(points) == 1 else points)  # a dot: a step of length 0
    return checked


def _checked_answer(result, symbols):
    """What ``answer`` returned, as (list of floats, text)."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"answer returned {type(result).__name__}; expected a tuple (similarities, text)")
    similarities, text = result
    try:
        similarities = [float(value) for value in similarities]
    except (TypeError, ValueError):
        raise TypeError(f"similarities: expected a number for each symbol, got {similarities!r}") from None
    if len(similarities) != len(symbols):
        raise ValueError(f"similarities: {len(similarities)} numbers, expected {len(symbols)}, one for each symbol")
    if any(map(math.isinf, similarities)):
        raise ValueError(f"similarities: {similarities}, expected finite numbers, or nan where there is no example")
    if not isinstance(text, str) or not text.strip():
        raise TypeError(f"text: expected a sentence that says what the drawing is, got {text!r}")
    return similarities, text.strip()


def _bars(similarities):
    """For each symbol (text, width from 0 to 1 or None, whether it is the most similar).

    Bars begin at 0, or at -1 or the least value where some are negative; they end at 1, or at the greatest value.
    """
    known = [s for s in similarities if not math.isnan(s)]
    least, most = min(known, default=0), max(known, default=1)
    low = 0 if least >= 0 else min(least, -1)
    high = max(most, 1 if low >= -1 else 0)
    return [["no example", None, False] if math.isnan(s) else
            [f"{s:.2f}" if abs(s) < 1000 else f"{s:.3g}", (s - low) / (high - low), s == most] for s in similarities]


def _picture(image):
    """Ink on nothing, as the address of a PNG: the page puts it on paper of its theme's colour."""
    file, ink = io.BytesIO(), image.numpy()
    Image.fromarray(np.stack([np.zeros_like(ink), ink], -1), "LA").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _where(error, answer):
    """The line of the lesson's function at which it failed, where there is one."""
    line = line_of(error, answer)
    return f" (at `{line[1]}`)" if line else ""


def _sentence(error):
    text = str(error) or type(error).__name__
    return text[0].upper() + text[1:] + "."


def _is_whole(number):
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)


def _are(count):
    return "is 1 example" if count == 1 else f"are {count} examples"
