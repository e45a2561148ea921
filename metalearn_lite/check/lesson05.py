"""Quizzes and exercises of lesson 05, MAML."""
import weakref

import torch
from torch.nn import functional as F

from . import Exercise, Mistake, Order, Quiz, slopes

# ------------------------------------------------------------------------------------------------------ warm-up

WARM_UP = (
    Quiz("1. (Lesson 00) A learner is trained on tasks from 30 scripts and tested on tasks from 10 others. Within one "
         "test task, what may it look at while it adapts?", [
        ("the support images and their labels", True, "The support set is the task's training set. The queries' labels "
                                                      "are kept for the score."),
        ("the support set and the queries' labels", False, "Then there is nothing left to score it by: it has seen the "
                                                           "answers."),
        ("nothing: a test task is for testing", False, "Then it could not know which letter is called 0. The support "
                                                       "set is there to be learned from, in test tasks too."),
    ]),
    Quiz("2. (Lesson 01) You doubt a gradient. Which check needs nothing but the loss itself?", [
        ("Look whether the loss falls.", False, "It falls along many wrong gradients too: half the right one, for "
                                                "example, or one with some entries missing."),
        ("Move one weight a little to both sides, and divide the rise by the run.", True,
         "The measured slope knows nothing of autograd, so it cannot share its mistakes. You will need it today."),
        ("Compute the gradient twice.", False, "The same code gives the same number, right or wrong."),
    ]),
    Quiz("3. (Lesson 02) `g = torch.autograd.grad(loss, w)[0]` without `create_graph=True`. Then `u = w - 0.1 * g`, and "
         "you ask for the derivative of `u.sum()` by `w`. What comes?", [
        ("1 for each weight: g counts as a constant.", True,
         "Without the graph of the gradient nobody knows that g moves when w moves. No error tells you so."),
        ("An error: g has no graph.", False, "u depends on w directly as well, so there is a graph to walk. It is only "
                                             "not the whole one, and nothing says so."),
        ("1 less 0.1 times a sum of second derivatives.", False, "That is the true derivative. To get it, "
                                                                 "`create_graph=True` has to keep the graph of g."),
    ]),
)

START = Quiz("Before any step, MAML's start is no better on new waves than the joint network. What follows?", [
    ("MAML was not trained long enough.", False, "Longer training would not make it good at step 0: nobody asked it to "
                                                 "be. Which loss did the outer loop minimise?"),
    ("Nothing bad: it was trained to be good after the inner step, not before.", True,
     "The outer loop measures the error at the adapted weights only. How good the start itself is plays no part."),
    ("The two starts are alike.", False, "Look at the column after one step: they lie far apart. A start is judged by "
                                         "where one step leads from it."),
])

ALONE = Quiz("The queries of a task are scored one by one instead of together, with the same weights, and the accuracy "
             "falls. Who helped before?", [
    ("The support set.", False, "It is the same in both runs, and so are the adapted weights."),
    ("The other queries, through the mean and variance of batch norm.", True,
     "Together they tell the network what an average query looks like. No label was leaked, but an answer depended on the "
     "other questions: that is called transduction."),
    ("The labels of the other queries.", False, "No label of a query enters anywhere. Their pixels do."),
])

# ---------------------------------------------------------------------------------------- what the exercises stand on


def predict(w, x):
    """A small network with tanh units.  w = [W1, b1, W2, b2, ...], x (n, inputs) -> (n, outputs)"""
    for W, b in zip(w[:-2:2], w[1:-2:2]):
        x = torch.tanh(x @ W + b)
    return x @ w[-2] + w[-1]


def mse(w, x, y):
    """Mean squared error of the network with weights w.  x (n, inputs), y (n, outputs) -> ()"""
    return F.mse_loss(predict(w, x), y)


def weights(sizes, generator):
    """Random float64 weights [W1, b1, W2, b2, ...] of a network with these layer sizes; they require a gradient."""
    w = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
        w.append(torch.randn(fan_in, fan_out, generator=generator, dtype=torch.float64) / fan_in ** 0.5)
        w.append(torch.randn(fan_out, generator=generator, dtype=torch.float64) / 2)
    return [p.requires_grad_() for p in w]


class _Kept:
    def __init__(self, tensor):
        self.tensor = tensor


def kept_megabytes(forward):
    """Call ``forward()``, which returns a loss. How many MB of tensors autograd keeps for the way back, when it returns."""
    alive = weakref.WeakSet()

    def pack(tensor):
        box = _Kept(tensor)
        alive.add(box)
        return box

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
        loss = forward()
    kept = {box.tensor.untyped_storage().data_ptr(): box.tensor.untyped_storage().nbytes() for box in alive}
    assert loss.requires_grad
    return sum(kept.values()) / 1e6


def _task(generator, inputs=1, outputs=1, shot=5, query=7):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return draw(shot, inputs), draw(shot, outputs), draw(query, inputs), draw(query, outputs)


# ---------------------------------------------------------------------------------------------------- 1: adapt


def adapt(w, x, y, lr, steps):
    for step in range(steps):
        g = torch.autograd.grad(mse(w, x, y), w, create_graph=True)
        w = [p - lr * d for p, d in zip(w, g)]
    return w


def _adapt(move=lambda p, d, lr: p - lr * d, at_start=False, once=False, graph=True):
    """A wrong adapt: move(p, d, lr) makes a new weight; the gradient may always be taken at the start, or only once,
    or without its graph."""
    def adapt(w, x, y, lr, steps):
        start, w = w, list(w)
        for step in range(min(steps, 1) if once else steps):
            at = start if at_start else w
            w = [move(p, d, lr) for p, d in zip(w, torch.autograd.grad(mse(at, x, y), at, create_graph=graph))]
        return w
    return adapt


def _adapt_cut(w, x, y, lr, steps):
    for step in range(steps):
        w = [(p - lr * d).detach().requires_grad_() for p, d in zip(w, torch.autograd.grad(mse(w, x, y), w))]
    return w


def _adapt_in_place(w, x, y, lr, steps):
    for step in range(steps):
        for p, d in zip(w, torch.autograd.grad(mse(w, x, y), w)):
            p.data -= lr * d
    return w


def _adapt_from_start(w, x, y, lr, steps):
    fast = w
    for step in range(steps):
        fast = [p - lr * d for p, d in zip(w, torch.autograd.grad(mse(fast, x, y), fast, create_graph=True))]
    return fast


def _adapt_cases(generator):
    one = weights([1, 3, 1], generator), *_task(generator)[:2], 0.1, 1
    two = weights([2, 4, 3], generator), *_task(generator, 2, 3)[:2], 0.2, 3
    three = weights([1, 5, 4, 1], generator), *_task(generator, shot=2)[:2], 0.05, 2
    return [one, two, three]


adapt = Exercise(
    name="adapt",
    reference=adapt,
    cases=_adapt_cases,
    mistakes=[
        Mistake(_adapt(at_start=True),
                "Right at the first step. But at the second you ask for the slope at the start again. As the weights move "
                "the slope changes: take the gradient at the weights of this step, by the weights of this step."),
        Mistake(_adapt_from_start,
                "Each step starts again from the first weights: only the last step counts. Let `w` become the new list, "
                "so that the next step goes on from there."),
        Mistake(_adapt(once=True),
                "You take one step, however many were asked for. The `return` stands outside the loop."),
        Mistake(_adapt(lambda p, d, lr: p + lr * d),
                "You go uphill: the gradient points to where the loss grows."),
        Mistake(_adapt(lambda p, d, lr: p - d), "The rate `lr` is not in it: each step is a whole gradient."),
        Mistake(_adapt(lambda p, d, lr: -lr * d),
                "That is the move, not the new weight: each new weight is the old one less lr times its gradient."),
        Mistake(_adapt_in_place,
                "Right numbers, but you changed the weights you were given. They are the start of every task: the next "
                "task would begin where this one ended. Make a list of new tensors."),
        Mistake(_adapt(graph=False),
                "Right numbers. But differentiate your new weights by the old ones, and the inner gradient counts as a "
                "constant: its graph is missing. Nothing warned you. Which option of `torch.autograd.grad` keeps it?"),
        Mistake(_adapt_cut,
                "Right numbers, but no path leads from the new weights back to the old ones: something cuts it "
                "(`.detach()`, `.data`, a new tensor made from numbers, an optimiser that changes a copy). Nobody could "
                "differentiate through your steps."),
    ],
    probe=lambda adapted, w, *rest: slopes(adapted, *w),
    hints=[
        "Two lines: first the slope of the support loss, then one step of descent for each weight. Which function gives "
        "the loss?",
        "`torch.autograd.grad` takes the loss, `mse(w, x, y)`, and what to differentiate by: the list `w`. It returns as "
        "many gradients.",
        "The new `w` is a list: `[... for p, d in zip(w, g)]`, with lesson 01's step in the place of the dots.",
    ],
    right="New weights, the old ones untouched, and a graph that leads from the new to the old. This is MAML's inner loop.",
)

# --------------------------------------------------------------------------------------------- 2: the loop, in order

loop = Order(
    name="loop",
    lines={
        "A": "        total = total + loss(theta, query) / B",
        "B": "    for support, query in draw():",
        "C": "        w = adapt(w, support)",
        "D": "for update in range(updates):",
        "E": "    w = descend(w, gradient(total, w))",
        "F": "        theta = adapt(w, support)",
        "G": "    total = 0",
    },
    right="DGBFAE",
    mistakes={
        ".*C.*": "Line C puts the adapted weights in the place of the start: the second task would begin where the first "
                 "ended, and after the last task the start is gone. Each task needs weights of its own.",
        ".*A.*F.*": "Line A asks for the loss at theta, so line F has to make theta first.",
        ".*E.*A.*|.*E.*F.*": "Line E steps along the gradient of the total, so the queries of all tasks have to be in the "
                             "total before.",
        ".*B.*G.*": "Line G sets the total back to zero. That belongs before the tasks, once for each update.",
        "[^D].*": "One line is not indented: everything else happens inside it.",
    },
    hints=(
        "One line begins the outer loop, one begins the loop over the tasks of an update. What has to stand between them?",
        "Inside the loop over tasks: weights of the task's own, made from the support set; then their loss on the queries.",
        "The last line moves the start, once for each update, after all tasks. Six lines are needed; line C is not one.",
    ),
    praise="Adapt on the support set, measure on the queries, move the start. Line C would train the start itself on the "
           "support sets.",
)

# ---------------------------------------------------------------------------------------------------- 3: meta_grad


def meta_grad(w, tasks, lr, steps, order):
    total = 0
    for sx, sy, qx, qy in tasks:
        theta = w
        for step in range(steps):
            g = torch.autograd.grad(mse(theta, sx, sy), theta, create_graph=order == 2)
            theta = [p - lr * d for p, d in zip(theta, g)]
        total = total + mse(theta, qx, qy) / len(tasks)
    return list(torch.autograd.grad(total, w))


def _meta(outer=lambda w, theta, task: mse(theta, *task[2:]), inner=lambda task: task[:2], second=lambda order: order == 2,
          sign=1, share=lambda n: 1 / n, at_start=False, from_start=False, most=None, carry=False, of=lambda tasks: tasks):
    """A wrong meta_grad: one of its parts replaced."""
    def meta_grad(w, tasks, lr, steps, order):
        total, theta = 0, w
        for task in of(tasks):
            theta = theta if carry else w
            for step in range(min(steps, most or steps)):
                at = w if at_start else theta
                g = torch.autograd.grad(mse(at, *inner(task)), at, create_graph=second(order), retain_graph=True)
                theta = [p - sign * lr * d for p, d in zip(w if from_start else theta, g)]
            total = total + outer(w, theta, task) * share(len(tasks))
        return list(torch.autograd.grad(total, w, allow_unused=True))
    return meta_grad


def _meta_at_theta(w, tasks, lr, steps, order):
    for sx, sy, qx, qy in tasks:
        theta = w
        for step in range(steps):
            g = torch.autograd.grad(mse(theta, sx, sy), theta, create_graph=True)
            theta = [p - lr * d for p, d in zip(theta, g)]
        total = mse(theta, qx, qy) / len(tasks)
    return list(torch.autograd.grad(total, theta))


def _meta_cut(w, tasks, lr, steps, order):
    total = 0
    for sx, sy, qx, qy in tasks:
        theta = w
        for step in range(steps):
            g = torch.autograd.grad(mse(theta, sx, sy), theta, create_graph=order == 2)
            theta = [p - lr * d for p, d in zip(theta, g)]
            if order == 1:
                theta = [p.detach().requires_grad_() for p in theta]
        total = total + mse(theta, qx, qy) / len(tasks)
    return list(torch.autograd.grad(total, w))


def _meta_grad_cases(generator):
    cases = []
    for sizes, lr, steps, shots in (([1, 3, 1], 0.2, 1, (4, 5)), ([2, 4, 3], 0.3, 3, (3, 6, 2))):
        w = weights(sizes, generator)
        tasks = [_task(generator, sizes[0], sizes[-1], shot, 7 - i) for i, shot in enumerate(shots)]
        cases += [(w, tasks, lr, steps, order) for order in (2, 1)]
    return cases


meta_grad = Exercise(
    name="meta_grad",
    reference=meta_grad,
    cases=_meta_grad_cases,
    mistakes=[
        Mistake(_meta(second=lambda order: False),
                "Order 1 is right. But order 2 gives the same numbers as order 1: the inner gradients count as constants. "
                "Either `create_graph` is missing, or something cuts the graph (`.detach()`, `.data`, a gradient taken "
                "at theta)."),
        Mistake(_meta(second=lambda order: True),
                "Order 2 is right. But order 1 gives the same numbers: it should take the inner gradients for constants. "
                "Let `create_graph` depend on `order`."),
        Mistake(_meta(second=lambda order: order == 1),
                "The two orders are exchanged: order 2 is the one that keeps the graph of the inner gradients."),
        Mistake(_meta_at_theta,
                "You differentiate by theta, the last task's adapted weights. It is the start that is to move, and all "
                "tasks hang on it: differentiate the total by w."),
        Mistake(_meta(outer=lambda w, theta, task: mse(theta, *task[:2])),
                "You take the loss of the support set at the adapted weights. Then the start learns to fit the examples, "
                "not to answer the queries."),
        Mistake(_meta(outer=lambda w, theta, task: mse(w, *task[2:])),
                "The query loss is taken at w, not at the adapted weights: that is joint training. No inner step takes part."),
        Mistake(_meta(inner=lambda task: task[2:]),
                "You adapt on the queries. Their answers are not known when a new task comes: adapt on sx, sy."),
        Mistake(_meta(share=lambda n: 1),
                "You add up over the tasks where you should average: twice as many tasks would make each step twice as "
                "long. Divide by len(tasks)."),
        Mistake(_meta(carry=True),
                "The second task starts from the first one's adapted weights. Every task starts from w: set theta back at "
                "the beginning of each."),
        Mistake(_meta(at_start=True),
                "With more than one step, each must take its gradient at the theta of that step. Yours is always taken "
                "at w."),
        Mistake(_meta(from_start=True),
                "Right with one step. With more, each of yours starts again from w, and only the last one counts. Let the "
                "next step go on from theta."),
        Mistake(_meta_cut,
                "Order 2 is right. Order 1 stops with an error: most likely theta no longer hangs on w. Only the gradient "
                "is a constant there. Cut its graph, not theta's."),
        Mistake(_meta(most=1), "You take one inner step, however many were asked for."),
        Mistake(_meta(sign=-1), "The inner steps go uphill: theta is p minus lr times its gradient."),
        Mistake(_meta(of=lambda tasks: tasks[-1:], share=lambda n: 1), "Only the last task counts: add up over all of them."),
        Mistake(_meta(of=lambda tasks: tasks[-1:]), "Only the last task is left in the total. Add each task's share to it."),
    ],
    hints=[
        "Inside it is your `adapt`, on sx, sy, with theta in the place of w. Where does the order come in? Think of what "
        "`create_graph` decides.",
        "`create_graph` takes True or False: `order == 2` is one of the two. The query loss is taken at theta, and each "
        "task counts 1 / len(tasks).",
        "At the end differentiate the total by w, not by theta: `torch.autograd.grad(total, w)` walks back through all "
        "inner steps. It returns a tuple; a list is asked for, but a tuple will do.",
    ],
    right="The start's gradient through the inner steps. First order differs in one word: create_graph.",
)

# ---------------------------------------------------------------------------------------------------- 4: reptile


def reptile(w, adapted, eps):
    new = []
    for i, p in enumerate(w):
        mean = sum(theta[i] for theta in adapted) / len(adapted)
        new.append(p + eps * (mean - p))
    return new


def _reptile(rule):
    """A wrong reptile: rule(p, thetas (T, ...), eps) makes one new weight."""
    def reptile(w, adapted, eps):
        return [rule(p, torch.stack([theta[i] for theta in adapted]), eps) for i, p in enumerate(w)]
    return reptile


def _reptile_in_place(w, adapted, eps):
    for i, p in enumerate(w):
        p += eps * (sum(theta[i] for theta in adapted) / len(adapted) - p)
    return w


def _reptile_one_by_one(w, adapted, eps):
    for theta in adapted:
        w = [p + eps * (t - p) for p, t in zip(w, theta)]
    return w


def _reptile_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def some(tasks, *shapes):
        return [draw(*s) for s in shapes], [[draw(*s) for s in shapes] for _ in range(tasks)]

    return [(*some(2, (2,)), 0.1), (*some(3, (4, 3), (3,)), 0.3), (*some(5, (1, 2), (2,), (2, 1), (1,)), 1.0)]


reptile = Exercise(
    name="reptile",
    reference=reptile,
    cases=_reptile_cases,
    mistakes=[
        Mistake(_reptile(lambda p, t, eps: p - eps * (t.mean(0) - p)),
                "Wrong sign: you walk away from the adapted weights. Reptile walks towards them."),
        Mistake(_reptile(lambda p, t, eps: p + eps * (t[-1] - p)),
                "Only the last task counts. Walk towards the mean of all tasks' weights."),
        Mistake(_reptile(lambda p, t, eps: p + eps * (t[0] - p)),
                "Only the first task counts. Walk towards the mean of all tasks' weights."),
        Mistake(_reptile(lambda p, t, eps: p + eps * (t - p).sum(0)),
                "You add the ways to all tasks where you should average them: with many tasks one step would overshoot "
                "them all."),
        Mistake(_reptile(lambda p, t, eps: p + eps * (t.sum(0) - p)),
                "You walk towards the sum of the adapted weights. It is as many times too long as there are tasks: take "
                "their mean."),
        Mistake(_reptile(lambda p, t, eps: t.mean(0)),
                "You jump all the way to the mean of the adapted weights (that is eps = 1). Go the share eps of the way."),
        Mistake(_reptile(lambda p, t, eps: p + eps * t.mean(0)),
                "You add the adapted weights themselves. What is added is the way to them: their mean less p."),
        Mistake(_reptile(lambda p, t, eps: eps * (t.mean(0) - p)),
                "That is the move, not the new weight: add it to p."),
        Mistake(_reptile_one_by_one,
                "You step towards the tasks one after another, so that the last ones pull more than the first. Take the "
                "mean first, then one step."),
        Mistake(_reptile_in_place,
                "Right numbers, but the caller's weights are changed in place. Make a list of new tensors."),
    ],
    hints=[
        "For weight number i, the tasks bring `adapted[0][i]`, `adapted[1][i]` and so on. Take their mean. Which way does "
        "p go from here?",
        "The way from p to the mean is mean - p. Go the share eps of it.",
        "`p + eps * (...)` for each p of w, collected in a list. For the mean: `sum(theta[i] for theta in adapted)` "
        "divided by their number.",
    ],
    right="No gradient of a gradient, no query set: only the weights before and after.",
)

# ------------------------------------------------------------------------------------------------- 5: metasgd_grad


def metasgd_grad(w, alpha, tasks):
    total = 0
    for sx, sy, qx, qy in tasks:
        g = torch.autograd.grad(mse(w, sx, sy), w, create_graph=True)
        theta = [p - a * d for p, a, d in zip(w, alpha, g)]
        total = total + mse(theta, qx, qy) / len(tasks)
    both = torch.autograd.grad(total, w + alpha)
    return list(both[:len(w)]), list(both[len(w):])


def _metasgd(step=lambda p, a, d: p - a * d, graph=True, outer=lambda w, theta, task: mse(theta, *task[2:]),
             share=lambda n: 1 / n, after=lambda gw, ga: (gw, ga), inner=lambda task: task[:2]):
    def metasgd_grad(w, alpha, tasks):
        total = 0
        for task in tasks:
            g = torch.autograd.grad(mse(w, *inner(task)), w, create_graph=graph)
            theta = [step(p, a, d) for p, a, d in zip(w, alpha, g)]
            total = total + outer(w, theta, task) * share(len(tasks))
        both = torch.autograd.grad(total, w + alpha)
        return after(list(both[:len(w)]), list(both[len(w):]))
    return metasgd_grad


def _metasgd_cases(generator):
    cases = []
    for sizes, shots in (([1, 3, 1], (4, 5)), ([2, 3, 4, 3], (3, 6, 2))):
        w = weights(sizes, generator)
        alpha = [(0.3 * torch.rand(p.shape, generator=generator, dtype=p.dtype) - 0.05).requires_grad_() for p in w]
        cases.append((w, alpha, [_task(generator, sizes[0], sizes[-1], s, 4 + i) for i, s in enumerate(shots)]))
    return cases


metasgd_grad = Exercise(
    name="metasgd_grad",
    reference=metasgd_grad,
    cases=_metasgd_cases,
    mistakes=[
        Mistake(_metasgd(graph=False),
                "The rates' gradients are right, the weights' are first order: the inner gradient counts as a constant. "
                "Keep its graph."),
        Mistake(_metasgd(step=lambda p, a, d: p - a.abs() * d),
                "You make all rates positive. Nothing asks for it: a learned rate may become negative, and then the step "
                "goes uphill in that weight."),
        Mistake(_metasgd(step=lambda p, a, d: p - a.mean() * d),
                "You use one rate for all weights of a tensor (the mean). Each weight has its own: `a` has the shape of `p`."),
        Mistake(_metasgd(after=lambda gw, ga: (gw, [g.sum().expand_as(g) for g in ga])),
                "The weights' gradients are right, but all rates of a tensor share one gradient. Each rate has its own."),
        Mistake(_metasgd(outer=lambda w, theta, task: mse(theta, *task[:2])),
                "That is the loss of the support set. The rates are to be good for the queries."),
        Mistake(_metasgd(inner=lambda task: task[2:]), "You adapt on the queries: adapt on sx, sy."),
        Mistake(_metasgd(share=lambda n: 1), "You add up over the tasks: average them."),
        Mistake(_metasgd(step=lambda p, a, d: p + a * d), "The inner step goes uphill: p minus a times its gradient."),
        Mistake(_metasgd(after=lambda gw, ga: (ga, gw)),
                "Right numbers in the wrong order: first the gradients of w, then those of alpha."),
    ],
    hints=[
        "It is `meta_grad` with one inner step and order 2. What stands in the place of the number lr?",
        "In the inner step zip three lists: w, alpha and the gradients. `a * d` multiplies entry by entry.",
        "Differentiate by both at once: `torch.autograd.grad(total, w + alpha)` (the two lists one after the other), then "
        "cut the answer at len(w).",
    ],
    right="The rates are parameters like any other: nothing but another name in the list to differentiate by.",
)

# ----------------------------------------------------------------------------------------------------- bug hunts

COPY = Quiz("Five steps gave exactly the result of one. Which line is the culprit?", [
    ("`fast = net.parameters()`", True, "It is no list and no copy. It is a generator over the net's own tensors: used up "
                                        "after the first pass, and writing to them writes to the net."),
    ("`p.data -= lr * d`", False, "It is the accomplice: it writes into the net's own tensors. But if `fast` were a list, "
                                  "steps 2 to 5 would at least be taken."),
    ("`torch.autograd.grad(F.mse_loss(net(x), y), net.parameters())`", False, "Here a new generator is made at each step, and grad reads "
                                                             "it once: no harm."),
])

NAME_ONLY = Quiz("What convicts the listing of being first order?", [
    ("Its loss falls more slowly.", False, "It may even fall faster for a while. Speed of learning is no proof."),
    ("Its gradient differs from the measured slope, and equals the first-order one.", True,
     "The measured slope knows the whole truth about the loss. The listing's comment says what its author meant; the "
     "numbers say what it does."),
    ("It raises no error.", False, "Right code raises none either. That is why it goes unnoticed."),
])

VMAPPED = Quiz("The loss agrees to ten digits, the gradient does not. What would have caught it?", [
    ("A test of the loss.", False, "The loss is right! Every test of values passes."),
    ("Watching the training curve.", False, "It falls: a gradient that is half right goes downhill too."),
    ("The gradient against a plain loop, or against finite differences.", True,
     "Two ways to the same number that share no machinery. It takes two lines, and belongs into the tests of every "
     "implementation of MAML."),
])


def update(w, tasks, lr, outer_lr):
    w, total = [p.detach().requires_grad_() for p in w], 0
    for sx, sy, qx, qy in tasks:
        g = torch.autograd.grad(mse(w, sx, sy), w, create_graph=True)
        theta = [p - lr * d for p, d in zip(w, g)]
        total = total + mse(theta, qx, qy) / len(tasks)
    return [(p - outer_lr * d).detach() for p, d in zip(w, torch.autograd.grad(total, w))]


def _update_listing(w, tasks, lr, outer_lr):
    w = [p.detach().clone().requires_grad_() for p in w]
    inner = torch.optim.SGD(w, lr=lr)
    outer = torch.optim.SGD(w, lr=outer_lr)
    for sx, sy, qx, qy in tasks:
        mse(w, sx, sy).backward()
        inner.step()
        mse(w, qx, qy).backward()
    outer.step()
    return [p.detach() for p in w]


def _update_cleared(each_step):
    """The listing with its gradients cleared; the outer step comes last, or after each task."""
    def update(w, tasks, lr, outer_lr):
        w = [p.detach().clone().requires_grad_() for p in w]
        inner, outer = torch.optim.SGD(w, lr=lr), torch.optim.SGD(w, lr=outer_lr)
        for sx, sy, qx, qy in tasks:
            inner.zero_grad()
            mse(w, sx, sy).backward()
            inner.step()
            outer.zero_grad()
            mse(w, qx, qy).backward()
            if each_step:
                outer.step()
        if not each_step:
            outer.step()
        return [p.detach() for p in w]
    return update


def _update(gradient):
    """A wrong repair: gradient(w, tasks, lr) is what the outer step goes along."""
    def update(w, tasks, lr, outer_lr):
        return [(p - outer_lr * d).detach() for p, d in zip(w, gradient(w, tasks, lr))]
    return update


def _update_each_task(w, tasks, lr, outer_lr):
    for task in tasks:
        w = [p.detach().requires_grad_() for p in w]
        w = [p - outer_lr * d for p, d in zip(w, _meta_grad(w, [task], lr, 1, 2))]
    return w


def _update_in_place(w, tasks, lr, outer_lr):
    for p, d in zip(w, _meta_grad(w, tasks, lr, 1, 2)):
        p.data -= outer_lr * d
    return w


_meta_grad = meta_grad.reference


def _update_cases(generator):
    cases = []
    for sizes, lr, shots in (([1, 3, 1], 0.2, (4, 5)), ([2, 4, 3], 0.3, (3, 6, 2))):
        w = weights(sizes, generator)
        tasks = [_task(generator, sizes[0], sizes[-1], shot, 7 - i) for i, shot in enumerate(shots)]
        cases.append((w, tasks, lr, 0.4))
    return cases


update = Exercise(
    name="update",
    reference=update,
    cases=_update_cases,
    start=_update_listing,
    mistakes=[
        Mistake(_update_cleared(each_step=False),
                "You clear the gradients, but the inner step still moves w itself: each task goes on from where the one "
                "before ended, and the steps are never undone. Give each task weights of its own."),
        Mistake(_update_cleared(each_step=True),
                "Now each query set takes an outer step as well, on weights that the inner steps have moved: this is plain "
                "training on everything. Give each task weights of its own, and take one outer step."),
        Mistake(_update(lambda w, tasks, lr: _meta_grad(w, tasks, lr, 1, 1)),
                "Each task has its own weights now, and nothing piles up. But the outer gradient does not see the inner "
                "step: this is first-order MAML. Keep the graph of the inner gradient, and differentiate by w."),
        Mistake(_update(lambda w, tasks, lr: [len(tasks) * g for g in _meta_grad(w, tasks, lr, 1, 2)]),
                "Second order, and each task has its own weights. But the tasks are added up: average them."),
        Mistake(_update(lambda w, tasks, lr: [len(tasks) * g for g in _meta_grad(w, tasks, lr, 1, 1)]),
                "Each task has its own weights now. But the tasks are added up instead of averaged, and the outer "
                "gradient does not see the inner step (first order)."),
        Mistake(_update(lambda w, tasks, lr: _meta_grad(w, tasks, lr, 0, 2)),
                "Nothing adapts any more: the query loss is taken at w itself. That is joint training."),
        Mistake(_update_each_task,
                "Each task has its own weights now. But you take an outer step after each task, so that the next one meets "
                "another start. Collect the mean over all tasks first, then take one outer step."),
        Mistake(_update_in_place,
                "Right numbers, but the caller's weights were changed in place: return new tensors."),
    ],
    hints=[
        "Which tensors does `inner.step()` move? And what is in `.grad` when `outer.step()` reads it?",
        "Both optimisers hold the same tensors, so there is only one set of weights. Drop `inner`: take the inner gradient "
        "with `torch.autograd.grad`, graph kept, and make a new list theta for each task.",
        "Add `mse(theta, qx, qy) / len(tasks)` to a total in the loop. After the loop: `total.backward()`, then "
        "`outer.step()`. `outer` holds w, which is what it should move.",
    ],
    right="One outer step along the gradient through the inner step, and every task starts from the same w.",
)
