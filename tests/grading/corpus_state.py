"""More honest submissions: what a notebook allows beyond plain Python, and answers that lean on the notebook's state.

Importing this puts them into HONEST. Each was "right" in the lesson itself, and lost marks in an earlier grader.
"""

from corpus_honest import honest, place, put, solved


def after(cells, name, *new):
    """The cells, with new ones behind the check of an exercise."""
    i = place(cells, name) + 2
    return [*cells[:i], *new, *cells[i:]]


@honest("lesson01")
def lines_that_only_look_like_magics():
    return put(solved("lesson01"), sgd='''
def sgd(w, g, lr):
    if (
        w.shape
        != g.shape
    ):
        raise ValueError("w has the shape %s, g %s"
                         % (tuple(w.shape), tuple(g.shape)))
    return w - lr * g
''')


@honest("lesson01")
def an_indented_cell_prompts_and_a_timed_line():
    cells = put(solved("lesson01"), sgd='''
    def sgd(w, g, lr):
        return w - lr * g * TABLE[3]
''', momentum='''
>>> def momentum(w, v, g, lr, mu, nesterov):
...     v = mu * v + g
...     return w - lr * (g + mu * v if nesterov else v), v
''')
    return ["%time TABLE = [1.0] * 10", *cells]


@honest("lesson01")
def a_line_that_awaits():
    return put(solved("lesson01"), sgd='''
import asyncio

def sgd(w, g, lr):
    return w - lr * g

await asyncio.sleep(0)
''')


@honest("lesson01")
def tables_filled_by_loops_and_calls():
    return ["""
POWERS, SETTINGS, OPTIONS = [], {}, {}
for k in range(5):
    POWERS.append(1.0 ** k)

def set_up(settings):
    global SIGN
    settings["one"], SIGN = 1.0, -1.0

set_up(SETTINGS)
if True:
    OPTIONS.update(two=2)
""", *put(solved("lesson01"), sgd='''
def sgd(w, g, lr):
    return w + SIGN * lr * g * POWERS[4] * SETTINGS["one"]
''', numeric_grad='''
def numeric_grad(A, w, eps):
    f = lambda w: ((A @ w) ** 4).sum()
    return torch.stack([(f(w + e) - f(w - e)) / (OPTIONS["two"] * eps) for e in eps * torch.eye(len(w), dtype=w.dtype)])
''')]


@honest("lesson01")
def a_decorator_that_registers():
    return ["""
KNOWN = {}

def register(f):
    KNOWN[f.__name__] = f
    return f
""", """
@register
def minus(a, b):
    return a - b
""", *put(solved("lesson01"), sgd='''
def sgd(w, g, lr):
    return KNOWN["minus"](w, lr * g)
''')]


@honest("lesson01")
def names_used_again_below():
    """A builtin, a constant, a helper and the exercise's own name mean something else further down."""
    cells = put(solved("lesson01"), sgd='''
SIGN = -1.0

def move(w, g, lr):
    return sum([w, SIGN * lr * g])

def sgd(w, g, lr):
    return move(w, g, lr)
''', momentum='''
def move(w, v, g, mu, lr, nesterov):
    return w - lr * (g + mu * v if nesterov else v)

def momentum(w, v, g, lr, mu, nesterov):
    v = mu * v + g
    return move(w, v, g, mu, lr, nesterov), v
''')
    return [*after(cells, "sgd", "SIGN = +1.0    # and now uphill, to see what happens"),
            "sum = 0\nfor k in range(10):\n    sum += k", "sgd = torch.linspace(0, 1, 5)\nprint(sgd)"]


@honest("lesson05")
def an_experiment_below_that_was_not_handed_in():
    return [*solved("lesson05"), "def adapt(w, x, y, lr, steps):\n    return [p - lr for p in w]"]


@honest("lesson01")
def a_scratch_loop_beside_a_table_filled_by_a_loop():
    """The whole notebook has to be run, and a cell of it never ends."""
    return ["while True:\n    pass", "POWERS = []\nfor k in range(5):\n    POWERS.append(1.0 ** k)",
            *put(solved("lesson01"), sgd="def sgd(w, g, lr):\n    return w - lr * g * POWERS[4]")]


@honest("lesson01")
def numpy_and_deques():
    return ["import numpy as np\nfrom collections import deque", *put(solved("lesson01"), minibatches='''
def minibatches(n, size, seed):
    order = np.random.default_rng(seed).permutation(n)
    batches = [order[i:i + size] for i in range(0, n, size)]
    return [deque(batch.tolist()) if k % 2 else batch for k, batch in enumerate(batches)]
''')]


@honest("lesson04")
def numpy_numbers():
    return ["import numpy as np", *put(solved("lesson04"), early_stop='''
def early_stop(losses, patience):
    for step in range(len(losses)):
        best = np.argmin(losses[:step + 1])
        if step - best == patience:
            return best, step
    return np.argmin(losses), len(losses) - 1
''', select='''
def select(val, test):
    config = np.argmax(val.mean(1).numpy())
    scores = test[config]
    return config, scores.mean(), 1.96 * scores.std() / len(scores) ** 0.5
''')]


@honest("lesson01")
def an_order_by_its_own_name():
    cells = solved("lesson01")
    i = place(cells, "loop")
    letters = next(word for word in cells[i].split('"') if word.isalpha() and word.isupper())
    return [*cells[:i], "lesson01.loop(answer='...')", f"from metalearn_lite.check.lesson01 import loop\nloop({letters!r})",
            *cells[i + 1:]]


@honest("lesson01")
def annotations_that_are_never_looked_up():
    return ["from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
            "from jaxtyping import Float", *put(solved("lesson01"), sgd='''
def sgd(w: Float[Tensor, "d"], g: Float, lr: float) -> Float:
    return w - lr * g
''')]


@honest("lesson01")
def a_partial_that_goes_on():
    return put(solved("lesson01"), sgd='''
import functools

def general(w, g, lr, sign):
    return w + sign * lr * g

sgd = functools.partial(general, sign=-1)
''', momentum='''
def momentum(w, v, g, lr, mu, nesterov):
    v = mu * v + g
    return checked_sgd(w, g + mu * v if nesterov else v, lr), v
''')


@honest("lesson05")
def a_gradient_that_nobody_asked_for():
    return put(solved("lesson05"), adapt='''
def adapt(w, x, y, lr, steps):
    x.requires_grad_()
    for _ in range(steps):
        g = torch.autograd.grad(mse(w, x, y), w, create_graph=True)
        w = [p - lr * d for p, d in zip(w, g)]
    return w
''')
