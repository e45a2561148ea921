"""Honest submissions: each answers every exercise of its lesson, as a learner might, and is worth full marks.

    for name, (lesson, make) in HONEST.items():
        cells = make()          the sources of the code cells, in order; or a notebook, a dict as in an .ipynb file

They are made from the student's notebook with the answers filled in (`solved`).
"""

import json
import re
import sys
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import lessons  # noqa: E402

HONEST = {}


def honest(lesson="lesson05"):
    """Put a function that makes a submission into HONEST, under its name."""
    def keep(make):
        HONEST[make.__name__] = lesson, make
        return make
    return keep


def script(lesson):
    return next((ROOT / "solutions").glob(f"{lesson.removeprefix('lesson')}_*.py"))


def solved_notebook(lesson):
    """The notebook that a class is given, with the answers in it."""
    nb = lessons.read_script(script(lesson))
    nb.cells = [cell for cell in nb.cells if "teacher" not in lessons.tags(cell)]
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source = "\n".join(line for kind, line in lessons.split_cell(cell.source) if kind != "stub")
    return nb


def solved(lesson):
    return [cell.source for cell in solved_notebook(lesson).cells if cell.cell_type == "code"]


def stubs(lesson):
    """{exercise: its cell as the lesson has it, unanswered}"""
    nb = lessons.read_script(script(lesson))
    sources = [cell.source for cell in nb.cells if "exercise" in lessons.tags(cell)]
    return {exercise_of(source): lessons.strip_answers(source) for source in sources}


def exercise_of(source):
    """The exercise that a cell answers: its last function, or the order of lines that is handed in, or None."""
    found = re.findall(r"^def (\w+)\(", source, re.MULTILINE)
    order = re.search(r"^(?:lesson\d\d|primer)\.(\w+)\(order\)", source, re.MULTILINE)
    return found[-1] if found else order[1] if order else None


def place(cells, name):
    """Where the exercise's answer is."""
    return next(i for i, cell in enumerate(cells) if exercise_of(cell) == name)


def put(cells, **sources):
    """The cells, with those of some exercises replaced: put(cells, sgd=\"\"\"def sgd(..\"\"\")."""
    cells = list(cells)
    for name, source in sources.items():
        cells[place(cells, name)] = source
    return cells


def into_functions(cells, line, exercises):
    """The cells, with a line at the beginning of some exercises' functions."""
    cells = list(cells)
    for name in exercises:
        i = place(cells, name)
        head = re.search(rf'^def {name}\(.*\):\n(?:    """(?:.|\n)*?"""\n)?', cells[i], re.MULTILINE)
        cells[i] = cells[i][:head.end()] + f"    {line}\n" + cells[i][head.end():]
    return cells


FUNCTIONS = {
    "lesson01": ("numeric_grad", "sgd", "momentum", "softmax_ce", "minibatches", "epoch"),
    "lesson03": ("attend", "delay", "nth_sight", "stream", "lru_write", "deal"),
    "lesson05": ("adapt", "meta_grad", "update", "reptile", "metasgd_grad"),
}

# --------------------------------------------------------------------------------------- as it was handed out


@honest("lesson01")
def as_it_should_be_01():
    return solved("lesson01")


@honest("lesson03")
def as_it_should_be_03():
    return solved("lesson03")


@honest("lesson05")
def as_it_should_be_05():
    return solved("lesson05")


def alternative_cells(lesson, which):
    """Each exercise answered by a function of tests/alternatives: the first or the last of its name."""
    source = (ROOT / "tests" / "alternatives" / f"{lesson}.py").read_text(encoding="utf-8").split("ALTERNATIVES")[0]
    cells = [source] + [cell for cell in solved(lesson) if exercise_of(cell) not in FUNCTIONS[lesson]]
    if which:
        for name in FUNCTIONS[lesson]:
            last = re.findall(rf"^def ({name}(?:_\d+)?)\(", source, re.MULTILINE)[-1]
            cells.append(f"{name} = {last}")
    return cells


@honest("lesson01")
def other_answers_01():
    return alternative_cells("lesson01", 0)


@honest("lesson01")
def other_answers_by_assignment_01():
    return alternative_cells("lesson01", 1)


@honest("lesson03")
def other_answers_03():
    return alternative_cells("lesson03", 0)


@honest("lesson05")
def other_answers_by_assignment_05():
    return alternative_cells("lesson05", 1)


# ---------------------------------------------------------------------------------- what it says while it runs


@honest("lesson05")
def prints():
    return into_functions(solved("lesson05"), 'print("called with", *locals().values(), flush=True)',
                          FUNCTIONS["lesson05"])


@honest("lesson01")
def warnings_in_functions():
    cells = into_functions(solved("lesson01"), 'warnings.warn("slow!", UserWarning)', FUNCTIONS["lesson01"])
    return ["import warnings", *cells]


@honest("lesson05")
def progress_bars():
    cells = [cell.replace("in range(steps):", "in tqdm(range(steps), desc='steps'):")
             if exercise_of(cell) in FUNCTIONS["lesson05"] else cell for cell in solved("lesson05")]
    assert any("in tqdm(range(steps)" in cell for cell in cells)
    return cells


@honest("lesson01")
def a_flood_on_stderr():
    flood = 'sys.stderr.write("x" * 2**20); sys.stdout.write("y" * 2**20); sys.stderr.flush()'
    return ["import sys", *into_functions(solved("lesson01"), flood, ("sgd", "momentum"))]


@honest("lesson05")
def displays():
    return into_functions(solved("lesson05"), "display(w)", ("adapt", "reptile"))


@honest("lesson01")
def plots():
    cells = into_functions(solved("lesson01"), 'plt.figure(); plt.plot([0, 1]); plt.close("all")', ("sgd",))
    return ["%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 80", *cells,
            "fig, ax = plt.subplots()\nax.plot(range(10))\nplt.show()"]


@honest("lesson05")
def logging_in_functions():
    return ["import logging\nlog = logging.getLogger('me')\nlogging.basicConfig(level=logging.DEBUG)",
            *into_functions(solved("lesson05"), 'log.info("again")', ("adapt", "meta_grad"))]


# ------------------------------------------------------------------------------------------ cells and notebooks


@honest("lesson05")
def copied_cells():
    cells = solved("lesson05")
    for name in ("adapt", "loop", "reptile"):
        cells.insert(place(cells, name) + 2, cells[place(cells, name)])
    return cells


@honest("lesson05")
def stubs_kept_above():
    cells = solved("lesson05")
    for name, stub in stubs("lesson05").items():
        cells.insert(place(cells, name), stub)
    return cells


@honest("lesson05")
def stubs_kept_below():
    blank = stubs("lesson05")  # that of `update` is a listing to repair: nothing in it is blank
    return solved("lesson05") + [blank[name] for name in FUNCTIONS["lesson05"] if name != "update"]


@honest("lesson01")
def a_wrong_try_above():
    wrong = "def sgd(w, g, lr):\n    return w + lr * g\n\nchecked_sgd = lesson01.sgd(sgd)"
    cells = solved("lesson01")
    cells.insert(place(cells, "sgd"), wrong)
    cells.insert(place(cells, "loop"), 'lesson01.loop("ABCDEF")')
    return cells


@honest("lesson05")
def answers_in_place_of_the_checked_ones():
    cells = solved("lesson05")
    return [re.sub(r"^checked_(\w+) = lesson05\.\1", r"\1 = lesson05.\1", cell, flags=re.MULTILINE) for cell in cells]


@honest("lesson05")
def order_in_other_words():
    return put(solved("lesson05"), loop='my_order = ["d", "g", "b", "f", "a", "e"]\nlesson05.loop(my_order)')


@honest("lesson05")
def metadata_lost():
    nb = solved_notebook("lesson05")
    nb.metadata = {}
    for cell in nb.cells:
        cell.metadata = {}
        cell.pop("id", None)
    return json.loads(nbformat.writes(nb, version=4))


@honest("lesson05")
def metadata_of_another_hand():
    nb = solved_notebook("lesson05")
    for number, cell in enumerate(nb.cells):
        cell.id = f"mine-{number}"
        cell.metadata = {"tags": ["exercise", "teacher", "skip-execution"], "mine": [1, {"a": None}]}
    nb.metadata = {"kernelspec": {"name": "my-kernel", "display_name": "Mine", "language": "python"}, "authors": [1]}
    return json.loads(nbformat.writes(nb))


@honest("lesson05")
def markdown_deleted():
    nb = solved_notebook("lesson05")
    nb.cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    return json.loads(nbformat.writes(nb))


@honest("lesson05")
def run_with_outputs_and_counts():
    nb = solved_notebook("lesson05")
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "code":
            cell.execution_count = 3 * number
            cell.outputs = [nbformat.v4.new_output("stream", text="done\n" * 50),
                            nbformat.v4.new_output("error", ename="E", evalue="e", traceback=["\u001b[31mno\u001b[0m"])]
    return json.loads(nbformat.writes(nb))


@honest("lesson05")
def only_the_answers():
    cells = solved("lesson05")
    first = next(cell for cell in cells if "import torch" in cell)
    return [first, *(cell for cell in cells if exercise_of(cell) in (*FUNCTIONS["lesson05"], "loop"))]


@honest("lesson05")
def upside_down():
    return solved("lesson05")[::-1]


@honest("lesson01")
def everything_in_one_cell():
    return ["\n\n".join(cell for cell in solved("lesson01") if not cell.lstrip().startswith("%"))]


@honest("lesson05")
def empty_cells_and_comments():
    cells = ["", "   \n\n", "# nothing here", "...", "pass"]
    for cell in solved("lesson05"):
        cells += [cell, "", "# %% [markdown]\n# a note"]
    return cells


@honest("lesson05")
def windows_line_ends():
    return [cell.replace("\n", "\r\n") for cell in solved("lesson05")]


@honest("lesson01")
def tabs():
    return [re.sub(r"(?m)^( {4})+", lambda m: "\t" * (len(m[0]) // 4), cell) if exercise_of(cell) else cell
            for cell in solved("lesson01")]


@honest("lesson05")
def very_long_comments():
    long = "# " + "a long thought, " * 20_000
    return into_functions([long + "\n" + cell if exercise_of(cell) else cell for cell in solved("lesson05")],
                          long[:50_000], ("adapt", "reptile"))


@honest("lesson05")
def blank_lines_around():
    cells = solved("lesson05")
    i = place(cells, "adapt")
    return [*cells[:i], "\n\n   \n" + cells[i] + "   \n\n\n", *cells[i + 1:]]


# ------------------------------------------------------------------------------------------------- scratch cells


@honest("lesson05")
def a_scratch_cell_for_ever():
    cells = solved("lesson05")
    i = place(cells, "adapt")
    return ["while True:\n    pass", *cells[:i + 1], "import itertools\nfor i in itertools.count():\n    x = adapt",
            *cells[i + 1:], "import time\nwhile 1: time.sleep(1)"]


@honest("lesson05")
def scratch_cells_that_raise():
    return ["1 / 0", "raise SystemExit", "assert False, 'look here'", *solved("lesson05"), "undefined_name",
            "adapt()", "this is no Python at all", "def adapt_later(:"]


@honest("lesson05")
def scratch_cells_that_ask():
    return ['name = input("your name? ")', "import getpass\nword = getpass.getpass()", *solved("lesson05"),
            "breakpoint()"]


@honest("lesson05")
def scratch_cells_on_a_gpu():
    return ["x = torch.zeros(3).cuda()\ntorch.cuda.synchronize()", *solved("lesson05"),
            'net = torch.nn.Linear(2, 2).to("cuda:0")', "model.cuda()"]


@honest("lesson05")
def scratch_cells_with_await():
    return [*solved("lesson05"), "import asyncio\nawait asyncio.sleep(0)"]


@honest("lesson01")
def warnings_turned_into_errors():
    return ['import warnings\nwarnings.simplefilter("error")\nwarnings.filterwarnings("error")', *solved("lesson01")]


@honest("lesson05")
def settings_of_torch():
    return ["import torch\ntorch.manual_seed(3)\ntorch.set_num_threads(2)\ntorch.set_printoptions(precision=2)\n"
            "torch.autograd.set_detect_anomaly(True)", *solved("lesson05")]


@honest("lesson05")
def float32_by_default():
    return ["import torch\ntorch.set_default_dtype(torch.float64)\ntorch.set_default_dtype(torch.float32)",
            *solved("lesson05")]


@honest("lesson05")
def gradients_switched_off_in_a_scratch_cell():
    return [*solved("lesson05"), "torch.set_grad_enabled(False)"]


# ------------------------------------------------------------------------------------------------ notebook's own


@honest("lesson05")
def magics():
    cells = solved("lesson05")
    i = next(i for i, cell in enumerate(cells) if "import torch" in cell)
    cells[i] = "%load_ext autoreload\n%autoreload 2\n%matplotlib inline\n" + cells[i]
    for name, above, below in (("adapt", "%%time\n", ""), ("meta_grad", "%%capture out\n", ""),
                               ("reptile", "", "\n\n%timeit -n1 reptile([], [], 0.1)\n%time reptile([], [], 0.2)")):
        j = place(cells, name)
        cells[j] = above + cells[j] + below
    return [*cells, "%%timeit -n1 -r1\n1 + 1", "!ls -l\nfiles = !ls\nnumber = %time 3", "%%bash\necho hi",
            "%%html\n<b>adapt</b>", "?adapt", "adapt??", "get_ipython().run_line_magic('time', '1 + 1')"]


@honest("lesson05")
def help_asked_below_the_answer():
    cells = solved("lesson05")
    i = place(cells, "adapt")
    cells[i] += "\n\nadapt?"
    return cells


@honest("lesson01")
def a_shell_line_in_the_import_cell():
    cells = solved("lesson01")
    i = next(i for i, cell in enumerate(cells) if "import torch" in cell)
    cells[i] = "!pip install -q torch\n%pip list\n" + cells[i]
    return cells


@honest("lesson05")
def widgets_in_cells():
    return ["import ipywidgets\nfrom metalearn_lite import widgets, figures\nslider = ipywidgets.IntSlider(3)\n"
            "slider.observe(lambda change: print(change), names='value')\nslider", *solved("lesson05"),
            "@ipywidgets.interact(lr=(0.0, 1.0))\ndef show(lr=0.1):\n    return adapt"]


@honest("lesson05")
def a_main_guard():
    cells = solved("lesson05")
    i = place(cells, "reptile")
    body = "\n".join("    " + line for line in cells[i].split("\n"))
    cells[i] = f'if __name__ == "__main__":\n{body}\n    print(reptile)'
    return cells


# -------------------------------------------------------------------------------------------- how it is written


@honest("lesson05")
def constants_outside_and_below():
    cells = put(solved("lesson05"), reptile='''
def reptile(w, adapted, eps):
    means = [sum(theta[i] for theta in adapted) * (ONE / len(adapted)) for i in range(len(w))]
    return [p + SETTINGS["sign"] * eps * (m - p) for p, m in zip(w, means)]
''')
    return [*cells, "ONE = 1.0", "SETTINGS = {}", 'SETTINGS["sign"] = -1', 'SETTINGS["sign"] = ONE']


@honest("lesson01")
def device_and_constants():
    head = ('import torch\ndevice = "cuda" if torch.cuda.is_available() else "cpu"\nDEVICE = torch.device(device)\n'
            "TWO, (THREE, _) = 2, (3, None)")
    return [head, *put(solved("lesson01"), sgd='''
def sgd(w, g, lr):
    return w.to(device) - lr * g.to(DEVICE) * TWO / 2
''', numeric_grad='''
def numeric_grad(A, w, eps):
    slopes = torch.zeros(len(w), dtype=w.dtype, device=device)
    for j in range(len(w)):
        e = torch.zeros_like(w)
        e[j] = eps
        slopes[j] = (((A @ (w + e)) ** (THREE + 1)).sum() - ((A @ (w - e)) ** 4).sum()) / (TWO * eps)
    return slopes
''')]


@honest("lesson05")
def helpers_outside():
    return put([*solved("lesson05")], adapt='''
class Descent:
    """One step, as an object."""
    graph = True

    def __init__(self, lr):
        self.lr = lr

    def __call__(self, w, x, y):
        return [self.move(p, d) for p, d in zip(w, slope_of(w, x, y, self.graph))]

    def move(self, p, d):
        return p - self.lr * d

def slope_of(w, x, y, graph):
    return torch.autograd.grad(mse(w, x, y), w, create_graph=graph)

def adapt(w, x, y, lr, steps):
    step = Descent(lr)
    for _ in range(steps):
        w = step(w, x, y)
    return w
''', reptile='''
def reptile(w, adapted, eps):
    return list(map(closer(eps), w, zip(*adapted)))
''') + ['''
def closer(eps):
    def towards(p, thetas):
        return p + eps * (mean_of(thetas) - p)
    return towards
''', "mean_of = lambda tensors: sum(tensors) / len(tensors)"]


@honest("lesson05")
def annotations():
    return ["from __future__ import annotations", *put(solved("lesson05"), adapt='''
def adapt(w: list[torch.Tensor], x: Tensor, y: "Points", lr: float = 0.1, steps: int = 1) -> list[Weights]:
    g: Weights
    for step in range(steps):
        g = torch.autograd.grad(mse(w, x, y), w, create_graph=True)
        w: list[torch.Tensor] = [p - lr * d for p, d in zip(w, g)]
    return w
''', reptile='''
from typing import Sequence
from torch import Tensor
Weights = Sequence[Tensor]

def reptile(w: Weights, adapted: Sequence[Weights], eps: float) -> Weights:
    return [p + eps * (torch.stack(t).mean(0) - p) for p, t in zip(w, zip(*adapted))]
''')]


@honest("lesson05")
def decorators():
    return ['''
import functools, time

def timed(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        began = time.time()
        try:
            return function(*args, **kwargs)
        finally:
            SECONDS[function.__name__] = time.time() - began
    return inner

SECONDS = {}
''', *put(solved("lesson05"), adapt='''
@torch.enable_grad()
@timed
def adapt(w, x, y, lr, steps):
    for step in range(steps):
        g = torch.autograd.grad(mse(w, x, y), w, create_graph=True)
        w = [p - lr * d for p, d in zip(w, g)]
    return w
''', reptile='''
@timed
def reptile(w, adapted, eps):
    return [p + eps * (torch.stack(t).mean(0) - p) for p, t in zip(w, zip(*adapted))]
''')]


@honest("lesson01")
def lambdas_and_partials():
    return put(solved("lesson01"), sgd="sgd = lambda w, g, lr: w - lr * g", momentum='''
import functools

def general(w, v, g, lr, mu, nesterov, dampening):
    v = mu * v + (1 - dampening) * g
    return w - lr * ((g + mu * v) if nesterov else v), v

momentum = functools.partial(general, dampening=0.0)
''')


@honest("lesson05")
def nested_and_recursive():
    return put(solved("lesson05"), adapt='''
def make(create_graph):
    def adapt(w, x, y, lr, steps):
        if steps == 0:
            return w
        def step():
            return [p - lr * d for p, d in zip(w, torch.autograd.grad(mse(w, x, y), w, create_graph=create_graph))]
        return adapt(step(), x, y, lr, steps - 1)
    return adapt

adapt = make(create_graph=True)
''', reptile='''
class Reptile:
    def __call__(self, w, adapted, eps):
        return [p + eps * (sum(t) / len(t) - p) for p, t in zip(w, zip(*adapted))]

reptile = Reptile()
''')


@honest("lesson01")
def counters_and_logs():
    return ["CALLS, history, best = 0, [], {'loss': float('inf')}", *put(solved("lesson01"), sgd='''
def sgd(w, g, lr):
    global CALLS
    CALLS += 1
    history.append(w.norm().item())
    best["loss"] = min(best["loss"], history[-1])
    return w - lr * g
'''), "print(CALLS, history, best)"]


@honest("lesson01")
def numpy_inside():
    return ["import numpy as np", *put(solved("lesson01"), sgd='''
def sgd(w, g, lr):
    return torch.from_numpy(np.asarray(w.numpy() - lr * g.numpy()))
''', minibatches='''
def minibatches(n, size, seed):
    order = np.random.default_rng(seed).permutation(n)
    return [order[i:i + size].tolist() for i in range(0, n, size)]
''', softmax_ce='''
def softmax_ce(logits, y):
    z = logits.numpy() - logits.numpy().max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    loss = -log_p[np.arange(len(y)), y.numpy()].mean()
    grad = (np.exp(log_p) - np.eye(z.shape[1])[y.numpy()]) / len(y)
    return loss, torch.as_tensor(grad)
''')]


@honest("lesson01")
def star_imports():
    return ["from math import *\nfrom torch.nn.functional import *\nfrom itertools import *", *put(
        solved("lesson01"), softmax_ce='''
def softmax_ce(logits, y):
    logits = logits.clone().requires_grad_()
    loss = cross_entropy(logits, y) * sqrt(1)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]
''')]


@honest("lesson05")
def walrus_and_unicode():
    return put(solved("lesson05"), adapt='''
def adapt(w, x, y, lr, steps):
    θ, α, verbleibende_Schritte = w, lr, steps
    while (übrig := verbleibende_Schritte) > 0:
        ℓ = mse(θ, x, y)
        θ = [φ - α * ᐁ for φ, ᐁ in zip(θ, torch.autograd.grad(ℓ, θ, create_graph=True))]
        verbleibende_Schritte = übrig - 1
    return θ
''', reptile='''
def reptile(w, adapted, eps):
    "ε of the way · 🐍 · 学习"
    return [p + eps * ((mean := sum(t[i] for t in adapted) / len(adapted)) - p) for i, p in enumerate(w)]
''')


@honest("lesson05")
def more_arguments_than_asked():
    return put(solved("lesson05"), adapt='''
def adapt(w, x, y, lr=0.1, steps=1, *, verbose=False, graph=True, **others):
    for step in range(steps):
        g = torch.autograd.grad(mse(w, x, y), w, create_graph=graph)
        w = [p - lr * d for p, d in zip(w, g)]
        if verbose:
            print(step)
    return w
''', reptile='''
def reptile(*args):
    w, adapted, eps = args
    return [p + eps * (torch.stack(t).mean(0) - p) for p, t in zip(w, zip(*adapted))]
''')


@honest("lesson05")
def functions_like_the_exercises():
    cells = solved("lesson05")
    i = place(cells, "adapt")
    old = cells[i].replace("def adapt(", "def adapt_old(").replace("p - lr * d", "p + lr * d")
    test = "def test_adapt():\n    assert adapt is not None\n\ntest_adapt()\nadapted = adapt2 = my_adapt = adapt_old"
    return [*cells[:i], old, *cells[i:], test, "def reptile_demo(adapt):\n    adapt = 3\n    return adapt",
            "del adapt_old"]


@honest("lesson01")
def definitions_inside_statements():
    return put(solved("lesson01"), sgd='''
try:
    import jax
except ImportError:
    jax = None

if jax is None or True:
    def sgd(w, g, lr):
        return w - lr * g
else:
    sgd = None
''', momentum='''
for nesterov_too in (True,):
    def momentum(w, v, g, lr, mu, nesterov):
        v = mu * v + g
        return w - lr * (g + mu * v if nesterov and nesterov_too else v), v
''')


@honest("lesson01")
def threads():
    return put(solved("lesson01"), numeric_grad='''
from concurrent.futures import ThreadPoolExecutor

def numeric_grad(A, w, eps):
    def slope(e):
        return ((A @ (w + e)) ** 4).sum() - ((A @ (w - e)) ** 4).sum()

    with ThreadPoolExecutor(2) as pool:
        return torch.stack(list(pool.map(slope, eps * torch.eye(len(w), dtype=w.dtype)))) / (2 * eps)
''')


@honest("lesson03")
def orders_and_drafts_03():
    cells = solved("lesson03")
    i = place(cells, "hops")
    cells[i:i + 1] = ['order = "..."\nlesson03.hops(order)', 'order = "FCGDAB"\nlesson03.hops(order)']
    return cells


@honest("lesson05")
def functions_of_one_another():
    """The later exercises call the learner's own earlier ones."""
    return put(solved("lesson05"), meta_grad='''
def meta_grad(w, tasks, lr, steps, order):
    total = 0
    for sx, sy, qx, qy in tasks:
        theta = adapt(w, sx, sy, lr, steps)
        if order == 1:
            theta = [p + (t - p).detach() for p, t in zip(w, theta)]
        total = total + mse(theta, qx, qy) / len(tasks)
    return list(torch.autograd.grad(total, w))
''', update='''
def update(w, tasks, lr, outer_lr):
    w = [p.detach().requires_grad_() for p in w]
    return [(p - outer_lr * d).detach() for p, d in zip(w, meta_grad(w, tasks, lr, 1, 2))]
''')


@honest("lesson05")
def checked_functions_used():
    """As the lesson goes on: what comes back from a check is called."""
    return put(solved("lesson05"), update='''
def update(w, tasks, lr, outer_lr):
    w = [p.detach().requires_grad_() for p in w]
    return [(p - outer_lr * d).detach() for p, d in zip(w, checked_meta_grad(w, tasks, lr, 1, 2))]
''')


@honest("lesson01")
def leaving_in_a_scratch_cell():
    return ["import os, sys", *solved("lesson01"), "sys.exit()", "exit()", "os._exit(1)", "quit"]
