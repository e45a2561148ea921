"""Every live figure of every lesson, over the grid of its controls: each setting draws in time and says what it shows.

A solution runs as a script in a process of its own (this file is that process's program too), with a few updates; its
live figures are collected on the way.  Times are measured against a reference in the same process: an empty figure.
"""

import itertools
import json
import math
import os
import random
import re
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pytest

from notebook_runner import SCRIPTS

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.figures

POINTS = 200  # the most settings of one figure that are drawn
TIMES = 10  # a setting's computing and drawing may take this many times an empty figure's drawing (the median of all)
UPDATES = 3


# ------------------------------------------------------------------------------ the program of the other process


def settings(controls, start):
    """The settings to draw: the whole grid if it is small, else corners, lines through ``start``, a random sample."""
    names = list(controls)
    size = math.prod(len(options) for options in controls.values())
    if size <= POINTS:
        return [dict(zip(names, values)) for values in itertools.product(*controls.values())]
    found = [dict(zip(names, values)) for values in itertools.product(*[(o[0], o[-1]) for o in controls.values()])]
    found += [start | {name: option} for name in names for option in controls[name]]
    rng = random.Random(0)
    found += [{name: rng.choice(options) for name, options in controls.items()} for _ in range(POINTS - len(found))]
    return found


def examine(live, svg):
    """Draw one live figure at its settings; return what was seen, and a list of problems."""
    problems, captions, pictures, seconds = [], {}, {}, []
    controls = {name: list(control.options) for name, control in live.controls.items()}
    start = {name: control.value for name, control in live.controls.items()}
    names = list(controls)

    def at(setting):
        """Draw; keep the caption and the picture under the options' places (options need not be hashable)."""
        began = time.perf_counter()
        caption = live.draw(live.compute(**setting))
        picture = svg(live.fig)
        seconds.append(time.perf_counter() - began)
        place = tuple(controls[name].index(setting[name]) for name in names)
        words = ", ".join(f"{name} = {setting[name]}" for name in names)
        if not isinstance(caption, str) or not caption.strip():
            problems.append(f"no caption at {words}")
        elif re.search(r"\b(nan|inf)\b", caption, re.IGNORECASE):
            problems.append(f"a number that is none at {words}: {caption}")
        elif place in captions and (captions[place], pictures[place]) != (caption, picture):
            problems.append(f"not the same when drawn again after other settings, at {words}")
        for axes in live.fig.axes:
            if not all(map(math.isfinite, [*axes.get_xlim(), *axes.get_ylim()])):
                problems.append(f"axes without end at {words}")
        captions[place], pictures[place] = caption, picture

    def attempt(setting):
        try:
            at(setting)
        except Exception as error:
            words = ", ".join(f"{name} = {setting[name]}" for name in names)
            problems.append(f"{type(error).__name__} at {words}: {error}")

    attempt(start)
    grid = settings(controls, start)
    for setting in grid:
        attempt(setting)
    attempt(start)
    for k, name in enumerate(names):
        lines = {}  # places that differ in this control only
        for place in captions:
            lines.setdefault(place[:k] + place[k + 1:], []).append(place)
        seen = pictures if name == "seed" else captions
        if not any(len({seen[place] for place in line}) > 1 for line in lines.values()):
            problems.append(f"the {'picture' if name == 'seed' else 'caption'} does not change with {name}")
    return {"controls": {name: len(options) for name, options in controls.items()}, "points": len(grid),
            "seconds": median(seconds or [math.inf]), "worst": max(seconds, default=math.inf), "caption": captions.get(next(iter(captions), None), ""),
            "problems": problems}


def reference(svg):
    from metalearn_lite import figures
    fig, _ = figures.new()
    times = []
    for _ in range(15):
        began = time.perf_counter()
        svg(fig)
        times.append(time.perf_counter() - began)
    return median(times[3:])


def examine_script(script, report):
    sys.path.insert(0, str(ROOT))
    from metalearn_lite import figures, widgets
    found = []
    made = widgets.LiveFigure.__init__

    def make(self, *args, **kwargs):
        made(self, *args, **kwargs)
        found.append(self)

    widgets.LiveFigure.__init__ = make
    from IPython.display import display  # a notebook has it without an import
    runpy.run_path(script, init_globals={"display": display}, run_name="__main__")
    empty = reference(figures.svg)
    figures_seen = [examine(live, figures.svg) for live in found]
    Path(report).write_text(json.dumps({"reference": empty, "figures": figures_seen}), encoding="utf-8")


# ---------------------------------------------------------------------------------------------------- the tests


def examined(script):
    env = dict(os.environ, METALEARN_LITE_UPDATES=str(UPDATES), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="",
               MPLBACKEND="Agg", PYTHONIOENCODING="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        done = subprocess.run([sys.executable, __file__, script, str(report)], env=env, cwd=Path(script).parent,
                              capture_output=True, encoding="utf-8", timeout=500)
        assert done.returncode == 0, f"{script} stopped as a script:\n{done.stderr[-4000:]}"
        return json.loads(report.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_live_figures_of(script, say):
    seen = examined(str(script))
    assert seen["figures"] or "LiveFigure" not in script.read_text(encoding="utf-8")
    say(f"  {script.stem}: an empty figure {1000 * seen['reference']:.0f} ms")
    for live in seen["figures"]:
        typical, worst = live["seconds"] / seen["reference"], live["worst"] / seen["reference"]
        say(f"    {typical:4.1f} times that (worst {worst:.1f}), {live['points']} settings of "
            f"{live['controls']}: {live['caption'][:60]}")
    problems = [problem for live in seen["figures"] for problem in live["problems"]]
    assert not problems, "\n".join(problems)
    slow = [live["caption"] for live in seen["figures"] if live["seconds"] > TIMES * seen["reference"]]
    assert not slow, f"slower than {TIMES} times an empty figure: {slow}"


def test_there_are_live_figures():
    assert [script.stem for script in SCRIPTS if "LiveFigure(" in script.read_text(encoding="utf-8")]


DEFECTS = '''
import math
from metalearn_lite import figures, widgets

def figure(compute, caption=lambda x: f"a line that ends at {x:.2f}", draw=None, seed=False):
    fig, axes = figures.new()
    axes.set_xlim(0, 4)
    axes.set_ylim(0, 9)
    line, = axes.plot([0, 1], [0, 1])
    def move(x):
        line.set_ydata([0, x])
        return caption(x)
    second = {"seed" if seed else "b": widgets.Slider("second", [0, 1], value=0)}
    controls = {"a": widgets.Slider("first", [1, 2, 3], value=2), **second}
    widgets.LiveFigure(fig, compute, (lambda x: draw(axes, x)) if draw else move, **controls)

def raises(a, b):
    if a == 3:
        raise ArithmeticError("three")
    return a + b

def pile(axes, x):
    axes.plot([0, 1], [0, x])
    return f"a line that ends at {x}"

busy, _ = figures.new()

def slow(a, b):
    for _ in range(30):
        figures.svg(busy)
    return a + b

figure(lambda a, b: a + b)                                              # nothing wrong
figure(lambda a, seed: a + seed / 1000, seed=True)                      # moves the line, not the rounded caption
figure(raises)
figure(lambda a, b: a)                                                  # b has no effect
figure(lambda a, seed: a, seed=True)                                    # the seed has none either
figure(lambda a, b: math.nan if a == 1 else a + b)
figure(lambda a, b: a + b, caption=lambda x: "" if x == 4 else str(x))
figure(lambda a, b: a + b, draw=pile)
figure(slow)
'''


def test_defects_are_found(tmp_path):
    script = tmp_path / "defects.py"
    script.write_text(DEFECTS, encoding="utf-8")
    seen = examined(str(script))
    good, seeded, raises, no_effect, no_seed, nan, no_caption, pile, slow = seen["figures"]
    assert good["problems"] == seeded["problems"] == slow["problems"] == []
    assert good["points"] == 6 and good["seconds"] < TIMES * seen["reference"] < slow["seconds"]
    assert raises["problems"] == [f"ArithmeticError at a = 3, b = {b}: three" for b in (0, 1)]
    assert no_effect["problems"] == ["the caption does not change with b"]
    assert no_seed["problems"] == ["the picture does not change with seed"]
    assert [problem.split(":")[0] for problem in nan["problems"]] == [
        f"a number that is none at a = 1, b = {b}" for b in (0, 1)]
    assert no_caption["problems"] == ["no caption at a = 3, b = 1"]
    assert any("not the same when drawn again" in problem for problem in pile["problems"])


def test_a_large_grid_is_sampled_at_its_corners_and_along_each_control():
    controls = {name: list(range(20)) for name in "abc"}
    found = settings(controls, {"a": 5, "b": 6, "c": 7})
    assert len(found) == POINTS
    assert all(dict(zip("abc", corner)) in found for corner in itertools.product((0, 19), repeat=3))
    assert all({"a": 5, "b": b, "c": 7} in found for b in range(20))


if __name__ == "__main__":
    examine_script(sys.argv[1], sys.argv[2])
