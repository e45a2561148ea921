"""Submissions that are right in part, with the exact marks of each exercise.

    for name, (lesson, make, marks) in PARTIAL.items():
        cells = make()          the sources of the code cells, in order
        marks                   {exercise: points}; every other exercise of the lesson gets all its points
"""

import inspect
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
import test_grade_hidden as almost  # noqa: E402
from corpus_honest import exercise_of, place, put, solved, stubs  # noqa: E402

PARTIAL = {}


def partial(lesson="lesson05", **marks):
    """Put a function that makes a submission into PARTIAL, under its name, with the marks that are not full."""
    def keep(make):
        PARTIAL[make.__name__] = lesson, make, marks
        return make
    return keep


def almost_right(lesson, **functions):
    """A lesson solved, but for functions of ALMOST in the place of these exercises' answers."""
    sources = {}
    for name, function in functions.items():
        text = inspect.getsource(function).replace(f"def {function.__name__}(", f"def {name}(")
        sources[name] = text.replace(f'MODULES["{lesson}"].mse', "_mse")
    return ["_mse = lambda w, x, y: mse(w, x, y)", *put(solved(lesson), **sources)]


# ----------------------------------------------------------------------------------------------- known mistakes


@partial("lesson01", sgd=0)
def uphill():
    return put(solved("lesson01"), sgd="def sgd(w, g, lr):\n    return w + lr * g")


@partial("lesson01", sgd=0, momentum=0)
def in_place():
    return put(solved("lesson01"), sgd="def sgd(w, g, lr):\n    w -= lr * g\n    return w", momentum='''
def momentum(w, v, g, lr, mu, nesterov):
    v *= mu
    v += g
    w -= lr * (g + mu * v) if nesterov else lr * v
    return w, v
''')


@partial(meta_grad=0, adapt=0)
def first_order_by_mistake():
    """Right values; the derivative by the old weights is not."""
    cells = put(solved("lesson05"), adapt='''
def adapt(w, x, y, lr, steps):
    for step in range(steps):
        w = [p - lr * d for p, d in zip(w, torch.autograd.grad(mse(w, x, y), w))]
    return w
''')
    i = place(cells, "meta_grad")
    cells[i] = cells[i].replace("create_graph=order == 2", "create_graph=False")
    return cells


@partial(loop=0, reptile=0)
def a_wrong_order_and_a_sum():
    return put(solved("lesson05"), loop='order = "DGBCAE"\nlesson05.loop(order)', reptile='''
def reptile(w, adapted, eps):
    return [p + eps * sum(theta[i] - p for theta in adapted) for i, p in enumerate(w)]
''')


@partial(metasgd_grad=0, update=0)
def of_another_form():
    """The right numbers, in another order and in another wrapping."""
    return put(solved("lesson05"), metasgd_grad='''
def metasgd_grad(w, alpha, tasks):
    total = 0
    for sx, sy, qx, qy in tasks:
        g = torch.autograd.grad(mse(w, sx, sy), w, create_graph=True)
        total = total + mse([p - a * d for p, a, d in zip(w, alpha, g)], qx, qy) / len(tasks)
    both = torch.autograd.grad(total, w + alpha)
    return list(both[len(w):]), list(both[:len(w)])
''', update='''
def update(w, tasks, lr, outer_lr):
    w = [p.detach().clone().requires_grad_() for p in w]
    total = 0
    for sx, sy, qx, qy in tasks:
        g = torch.autograd.grad(mse(w, sx, sy), w, create_graph=True)
        total = total + mse([p - lr * d for p, d in zip(w, g)], qx, qy) / len(tasks)
    return {"w": [(p - outer_lr * d).detach() for p, d in zip(w, torch.autograd.grad(total, w))]}
''')


@partial("lesson01", momentum=0, numeric_grad=0)
def rounded():
    cells = solved("lesson01")
    for name, old in (("momentum", "v = mu * v + g"), ("numeric_grad", "    return g")):
        i = place(cells, name)
        new = {"momentum": "v = (mu * v + g).half()", "numeric_grad": "    return (100 * g).round() / 100"}[name]
        assert old in cells[i]
        cells[i] = cells[i].replace(old, new)
    return cells


# ------------------------------------------------------------------------- right but for what the lesson cannot see


@partial("lesson01", numeric_grad=2, sgd=1, momentum=2, minibatches=2, epoch=2)
def almost_right_01():
    return ["import math", *almost_right("lesson01", numeric_grad=almost.numeric_grad_exact, sgd=almost.sgd_clipped,
                                         momentum=almost.momentum_that_stops,
                                         minibatches=almost.minibatches_without_a_lone_one,
                                         epoch=almost.epoch_by_counting_images)]


@partial("lesson01", sgd=1)
def almost_right_in_rows():
    return almost_right("lesson01", sgd=almost.sgd_row_by_row)


@partial("lesson03", attend=2, delay=2, nth_sight=2, stream=3, lru_write=1, deal=2)
def almost_right_03():
    return almost_right("lesson03", attend=almost.attend_squeezed, delay=almost.delay_of_the_labels_met,
                        nth_sight=almost.nth_sight_of_equal_classes, stream=almost.stream_of_the_labels_met,
                        lru_write=almost.lru_write_summing_to_one, deal=almost.deal_by_a_table)


@partial(adapt=2, meta_grad=3, update=2)
def almost_right_05():
    cells = almost_right("lesson05", adapt=almost.adapt_named_in_the_loop)
    meta_grad = cells[place(cells, "meta_grad")].replace("range(steps)", "range(max(steps, 1))")
    return put(cells, meta_grad=meta_grad, update='''
def update(w, tasks, lr, outer_lr):
    total = 0
    for sx, sy, qx, qy in tasks:
        g = torch.autograd.grad(mse(w, sx, sy), w, create_graph=True)
        total = total + mse([p - lr * d for p, d in zip(w, g)], qx, qy) / len(tasks)
    return [(p - outer_lr * d).detach() for p, d in zip(w, torch.autograd.grad(total, w))]
''')


# ---------------------------------------------------------------------------------------------------- not written


@partial("lesson01", numeric_grad=0, sgd=0, loop=0, momentum=0, softmax_ce=0, minibatches=0, epoch=0)
def nothing_written_01():
    return put(solved("lesson01"), **stubs("lesson01"))


@partial("lesson03", attend=0, hops=0, delay=0, nth_sight=0, stream=0, lru_write=0, deal=0)
def nothing_written_03():
    return put(solved("lesson03"), **stubs("lesson03"))


@partial(adapt=0, loop=0, meta_grad=0, update=0, reptile=0, metasgd_grad=0)
def nothing_written_05():
    return put(solved("lesson05"), **stubs("lesson05"))


@partial(loop=0, update=0, metasgd_grad=0)
def three_left_open():
    open_ = stubs("lesson05")
    return put(solved("lesson05"), **{name: open_[name] for name in ("loop", "update", "metasgd_grad")})


@partial(update=0, reptile=0)
def cells_deleted():
    return [cell for cell in solved("lesson05") if exercise_of(cell) not in ("update", "reptile")]


@partial(adapt=0, loop=0, meta_grad=0, update=0, reptile=0, metasgd_grad=0)
def no_cell_at_all():
    return []


@partial(reptile=0, adapt=0)
def not_implemented():
    return put(solved("lesson05"), reptile="def reptile(w, adapted, eps):\n    raise NotImplementedError",
               adapt="adapt = None")


# --------------------------------------------------------------------------------------- one exercise goes wrong


@partial(reptile=0)
def one_ends_its_process():
    return put(solved("lesson05"), reptile="import os\n\ndef reptile(w, adapted, eps):\n    os._exit(0)")


@partial("lesson01", sgd=0, epoch=0, minibatches=0)
def some_leave():
    return put(solved("lesson01"), sgd="import sys\n\ndef sgd(w, g, lr):\n    sys.exit(0)",
               epoch="def epoch(w, x, y, lr, batches):\n    exit()",
               minibatches="import os\n\ndef minibatches(n, size, seed):\n    os.kill(os.getpid(), 9)")


@partial(metasgd_grad=0)
def one_never_ends():
    return put(solved("lesson05"), metasgd_grad="def metasgd_grad(w, alpha, tasks):\n    while True:\n        pass")


@partial(meta_grad=0)
def one_eats_memory():
    return put(solved("lesson05"), meta_grad='''
def meta_grad(w, tasks, lr, steps, order):
    eaten = []
    while True:
        eaten.append(torch.empty(2**26))
''')


@partial("lesson01", momentum=0, softmax_ce=0)
def one_crashes_and_one_digs():
    return put(solved("lesson01"), momentum='''
import ctypes

def momentum(w, v, g, lr, mu, nesterov):
    ctypes.string_at(0)
''', softmax_ce="def softmax_ce(logits, y):\n    return softmax_ce(logits, y)")


@partial(update=0)
def one_cannot_be_read():
    cells = solved("lesson05")
    i = place(cells, "update")
    cells[i] = cells[i].replace("for sx, sy, qx, qy in tasks:", "for sx, sy, qx, qy in tasks", 1)
    return cells


@partial(update=0, reptile=0)
def a_name_that_is_nowhere():
    return put(solved("lesson05"), reptile="def reptile(w, adapted, eps):\n    return [mix(p, eps) for p in w]",
               update="def update(w, tasks):\n    return w")


@partial("lesson01", sgd=0, minibatches=0)
def answers_that_cannot_be_told():
    return put(solved("lesson01"), sgd="def sgd(w, g, lr):\n    return open('/dev/null')",
               minibatches="def minibatches(n, size, seed):\n    return (order for order in range(n))")


@partial(adapt=0)
def a_worse_version_below():
    """What counts is the last one that was handed to the check, as in the notebook."""
    worse = "def adapt(w, x, y, lr, steps):\n    return [p - lr for p in w]"
    return [*solved("lesson05"), worse, "checked_adapt = lesson05.adapt(adapt)"]


@partial(adapt=0, loop=0, reptile=0)
def the_check_is_asked_for_the_answer():
    return put(solved("lesson05"), adapt='''
def adapt(w, x, y, lr, steps):
    return lesson05.adapt.reference(w, x, y, lr, steps)
''', reptile="reptile = lesson05.reptile(None)", loop="order = lesson05.loop.right\nlesson05.loop(order)")


@partial(meta_grad=0)
def the_library_is_asked_for_the_answer():
    return put(solved("lesson05"), meta_grad='''
def meta_grad(w, tasks, lr, steps, order):
    from metalearn_lite.maml import inner_loop
    how = dict(loss=F.mse_loss, optimizer=GradientDescent(lr), steps=steps)
    return torch.autograd.grad(sum(inner_loop(predict, w, sx, sy, **how) for sx, sy, _, _ in tasks), w)
''')


@partial("lesson01", numeric_grad=0, sgd=0, loop=0, momentum=0, softmax_ce=0, minibatches=0, epoch=0)
def another_lesson():
    return solved("lesson03")
