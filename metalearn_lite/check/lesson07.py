"""Quizzes and exercises of lesson 07, networks that make networks."""
import math

import torch
from torch.nn import functional as F

from . import Exercise, Mistake, Quiz, slopes

# ------------------------------------------------------------------------------------------------------ warm-up

WARM_UP = (
    Quiz("1. (Lesson 05) MAML meets a new wave with five points. What happens before it answers?", [
        ("Nothing: the answer is read off the start.", False,
         "The start alone is no better than the joint network. What makes it MAML comes after it."),
        ("A few steps of gradient descent on the five points, from the learned start.", True,
         "The support loss is differentiated, at test time too, once for each inner step. Today's networks do "
         "without."),
        ("The outer loop runs once more.", False, "The outer loop is training. It ended before the new wave came."),
    ]),
    Quiz("2. (Lesson 00) Two learners score 0.40 ± 0.05 and 0.44 ± 0.05, mean errors on the same 600 tasks. Is "
         "one better?", [
        ("No: the intervals overlap.", False, "Each interval holds the difficulty of the tasks, which both share. "
                                              "Overlap of the two says little about their difference."),
        ("Yes: 0.40 is less than 0.44.", False, "It may be, and it may be luck. Nothing here tells which."),
        ("Look at the interval of the difference, task by task.", True,
         "The tasks' own difficulty cancels. If 0 lies outside this interval, one is better on such tasks."),
    ]),
    Quiz("3. (Lesson 04) The base network is frozen, and a small module on top of it is trained. Which tensors "
         "get a gradient?", [
        ("those of the module only", True, "`requires_grad_(False)` on the base. You will train such a module "
                                           "today, and by episodes."),
        ("all, but the base's are not used", False, "With `requires_grad_(False)` none is computed for the base: "
                                                    "that saves time, too."),
        ("none", False, "Then nothing would be learned at all."),
    ]),
)

DUPLICATED = Quiz("Why should a set that holds every point twice be summed up like the set itself?", [
    ("Because the mean is easier to compute than the sum.", False, "They cost the same. Think of what the second "
                                                                   "copy of a point tells about the wave."),
    ("Because the second copy tells nothing new about the task.", True,
     "The same points, the same wave: so the same weights. With a sum every point more would push the summary "
     "further away from all that was met in training."),
    ("Because the order of a set means nothing.", False, "True, and the sum respects that too. Order is not the matter "
                                                         "here, number is."),
])

EVERYWHERE = Quiz("\"One pass through a trained network beats gradient steps everywhere.\" What do the numbers "
                  "above say?", [
    ("True: it is faster, and no worse.", False, "It is faster. But look at the last line, the highest waves."),
    ("True on its family and near it; far outside, gradient steps lose less, at a rate chosen anew.", True,
     "A gradient step looks at how wrong it is on the points at hand, whatever they are. One pass only knows answers "
     "to points like those it has met."),
    ("False: gradient steps are always better.", False, "Within the family, with few points, they are not. Compare at "
                                                        "equal points, inside and outside."),
])

SIDE = Quiz("What convicts the listing? (More than one is right.)", [
    ("Its loss falls.", False, "So does the repaired one's. A falling loss says only that something is learned."),
    ("The gradient of V and of G is None.", True, "The loss does not depend on them. Both are exactly what they "
                                                  "were before training."),
    ("Its answers do not change when the tasks exchange their support sets.", True,
     "A learner that reads its examples has to answer otherwise when the examples are another task's."),
], several=True)


# ------------------------------------------------------------------------------------------------- 1: unflatten


def unflatten(theta, shapes):
    made, start = [], 0
    for shape in shapes:
        size = math.prod(shape)
        part = theta[:, start:start + size]
        made.append(part.reshape(len(theta), *shape))
        start = start + size
    return made


def _unflatten(cut, step=lambda shape: math.prod(shape), form=lambda part, shape: part.reshape(len(part), *shape)):
    """A wrong unflatten: cut(theta, start, size) -> (B, size); ``step`` moves the start on, ``form`` gives a shape."""
    def unflatten(theta, shapes):
        made, start = [], 0
        for shape in shapes:
            made.append(form(cut(theta, start, math.prod(shape)), shape))
            start += step(shape)
        return made
    return unflatten


def _columns(theta, start, size):
    return theta[:, start:start + size]


def _unflatten_cases(generator):
    cases = []
    for tasks, shapes in ((2, [[3, 1], [3], [1, 3], [1]]), (3, [[4, 2], [4], [3, 4], [3]]), (1, [[2, 2], [2]])):
        size = sum(math.prod(shape) for shape in shapes)
        theta = torch.randn(tasks, size, generator=generator, dtype=torch.float64)
        cases.append((theta.requires_grad_(), shapes))
    return cases


unflatten = Exercise(
    name="unflatten",
    reference=unflatten,
    cases=_unflatten_cases,
    mistakes=[
        Mistake(_unflatten(lambda theta, start, size: theta[:, :size]),
                "Every tensor is cut from the beginning, so all of them share their numbers. Begin at `start`."),
        Mistake(_unflatten(_columns, step=lambda shape: shape[0]),
                "The parts overlap: after a tensor of `size` numbers the next one has to begin `size` places "
                "further on."),
        Mistake(_unflatten(lambda theta, start, size: theta[:, start:size] if start == 0 else
                           theta[:, start - 1:start - 1 + size]),
                "Each part begins one place too early: it shares a number with the part before."),
        Mistake(_unflatten(lambda theta, start, size: theta[:, theta.shape[1] - start - size:theta.shape[1] - start]),
                "You cut from the end: the order of the tensors is reversed. The first shape takes the first numbers."),
        Mistake(_unflatten(lambda theta, start, size:
                           theta.flatten()[start * len(theta):(start + size) * len(theta)].reshape(len(theta), size)),
                "The tasks are mixed: you run through all numbers of task 0 before any of task 1. Every task has "
                "a row of its own, so cut columns."),
        Mistake(_unflatten(_columns, form=lambda part, shape: part.reshape(len(part), *shape[::-1]).mT
                           if len(shape) == 2 else part.reshape(len(part), *shape)),
                "The numbers of each matrix are read column by column. `reshape` to the shape itself reads them "
                "row by row."),
        Mistake(_unflatten(lambda theta, start, size: _columns(theta, start, size).detach()),
                "Right numbers, but no path leads from the parts back to theta: something cuts it (`.detach()`, "
                "`.data`, a new tensor made of numbers). The network that writes theta would get no gradient, and "
                "learn nothing."),
    ],
    probe=lambda parts, theta, shapes: slopes(parts, theta),
    hints=[
        "`theta` has a row for each task. Which columns belong to the tensor at hand?",
        "They begin at `start`, and there are `size` of them.",
        "A slice `theta[:, a:b]` takes the columns from a up to, but without, b.",
    ],
    right="A slice and a new shape: the numbers stay what they are, and a gradient runs back through both (the check "
          "has followed it).",
)

# -------------------------------------------------------------------------------------------------- 2: task_net


def task_net(weights, x):
    for W, b in zip(weights[:-2:2], weights[1:-2:2]):
        x = torch.relu(x @ W.mT + b[:, None])
    W, b = weights[-2:]
    return x @ W.mT + b[:, None]


def _task_net(layer=lambda x, W, b: x @ W.mT + b[:, None], between=torch.relu, end=lambda z: z):
    """A wrong task_net: its layer, what stands between layers, what comes after the last one."""
    def task_net(weights, x):
        for W, b in zip(weights[:-2:2], weights[1:-2:2]):
            x = between(layer(x, W, b))
        return end(layer(x, *weights[-2:]))
    return task_net


def _relu_before_bias(weights, x):
    for W, b in zip(weights[:-2:2], weights[1:-2:2]):
        x = torch.relu(x @ W.mT) + b[:, None]
    return x @ weights[-2].mT + weights[-1][:, None]


def _task_net_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    cases = []
    for tasks, queries, sizes in ((3, 3, [3, 3, 3]), (2, 5, [1, 4, 2]), (4, 2, [2, 3, 3, 1])):
        weights = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
            weights += [draw(tasks, fan_out, fan_in).requires_grad_(), draw(tasks, fan_out).requires_grad_()]
        cases.append((weights, draw(tasks, queries, sizes[0])))
    return cases


task_net = Exercise(
    name="task_net",
    reference=task_net,
    cases=_task_net_cases,
    mistakes=[
        Mistake(_task_net(lambda x, W, b: x @ W[0].mT + b[0]),
                "All tasks are answered by the network of task 0. Each task has weights of its own: keep the leading "
                "dimension of W and b."),
        Mistake(_task_net(lambda x, W, b: x @ W.mean(0).mT + b.mean(0)),
                "All tasks are answered by one mean network. Each task has weights of its own."),
        Mistake(_task_net(lambda x, W, b: x @ W + b[:, None]),
                "You multiply by W where it has to be the transpose: W is (B, out, in), and x ends in `in`. `W.mT` "
                "exchanges the last two dimensions."),
        Mistake(_task_net(lambda x, W, b: x @ W.permute(2, 1, 0) + b[:, None]),
                "`W.T` turns all three dimensions round, the tasks as well. `W.mT` exchanges the last two only."),
        Mistake(_task_net(lambda x, W, b: x @ W.mT + b[:, :, None]),
                "The bias runs along the queries instead of the outputs: it has to be (B, 1, out), so the new "
                "dimension belongs in the middle."),
        Mistake(_task_net(lambda x, W, b: x @ W.mT + b),
                "(B, Q, out) + (B, out): the bias is lined up with the queries, so that query 1 gets the bias of "
                "task 1. It has to be (B, 1, out)."),
        Mistake(_task_net(lambda x, W, b: x @ W.mT), "The biases are not in it."),
        Mistake(_relu_before_bias,
                "The bias comes after the ReLU. It belongs inside: ReLU of the product plus the bias."),
        Mistake(_task_net(end=torch.relu),
                "After the last layer there is no ReLU: a wave goes below zero, too."),
        Mistake(_task_net(between=lambda z: z), "The ReLU between the layers is missing: so the whole is one "
                                                "linear map."),
        Mistake(_task_net(end=lambda z: z.detach()),
                "Right answers, but no path leads from them back to the weights: something cuts it (`.detach()`, "
                "`.item()`, `.data`, a new tensor made of numbers). The network that writes the weights would learn "
                "nothing."),
        Mistake(_task_net(between=lambda z: torch.relu(z).detach()),
                "Right answers, but the path back ends at the last layer: x is cut off between the layers "
                "(`.detach()`, `.data`, a new tensor made of numbers). The weights of the other layers would get no "
                "gradient."),
    ],
    probe=lambda answers, weights, x: slopes(answers, *weights),
    hints=[
        "`@` multiplies the last two dimensions and leaves the ones before alone: (B, Q, in) @ (B, in, out) is "
        "(B, Q, out), task by task.",
        "W is (B, out, in), so transpose its last two dimensions: `W.mT`. The bias (B, out) needs a dimension in the "
        "middle to be added to each query: `b[:, None]`.",
        "Layers but the last: ReLU of the product plus the bias. The last two entries of `weights` are the last layer; "
        "there the ReLU is left out.",
    ],
    right="As many networks as tasks, in one matrix product a layer, and a gradient for each weight (the check has "
          "followed it). Nothing in it belongs to the function: it is a form.",
)

# ------------------------------------------------------------------------------------------------- 3: encode_set


def encode_set(h, mask):
    return (h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _encode_set_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    twice = draw(2, 3, 4)
    masks = [[[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], [[0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 0]], [[1] * 6, [1] * 5 + [0]],
             [[1, 1, 0], [1, 0, 0], [1, 1, 1]]]  # the last: B = S = E, where a missing dimension goes unnoticed
    sets = [draw(2, 5, 3), draw(3, 4, 4), torch.cat([twice, twice], 1), draw(3, 3, 3)]
    return [(h.requires_grad_(), torch.tensor(mask, dtype=torch.float64)) for h, mask in zip(sets, masks)]


def _last_present(h, mask):
    return torch.stack([one[here > 0][-1] for one, here in zip(h, mask)])


def _maximum(h, mask):
    return h.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)


encode_set = Exercise(
    name="encode_set",
    reference=encode_set,
    cases=_encode_set_cases,
    mistakes=[
        Mistake(lambda h, mask: (h * mask[..., None]).sum(1),
                "That is the sum over the points that are there. A set with every point twice would get twice the "
                "summary: divide by the number of points."),
        Mistake(lambda h, mask: h.mean(1),
                "The padding is counted: places where the mask is 0 hold no point, whatever stands there."),
        Mistake(lambda h, mask: (h * mask[..., None]).mean(1),
                "The padding is left out of the sum but counted in the number: divide by how many points are "
                "there, not by S."),
        Mistake(lambda h, mask: h.sum(1) / mask.sum(1, keepdim=True),
                "You divide by the right number, but the padding is still in the sum: multiply by the mask first."),
        Mistake(lambda h, mask: (h * mask[..., None]).sum(1) / mask.sum(),
                "You divide by the number of points of all tasks together. Each task has its own number."),
        Mistake(lambda h, mask: (h * mask[..., None]).sum(1) / mask.sum(1),
                "(B, E) divided by (B,): PyTorch lines the tasks' numbers of points up with the features. Make the "
                "number (B, 1): `keepdim=True`."),
        Mistake(lambda h, mask: (h * mask).sum(1) / mask.sum(1, keepdim=True),
                "(B, S, E) times (B, S): PyTorch lines shapes up from the right, so the points of the mask meet the "
                "features of h. Give the mask a last dimension: (B, S, 1)."),
        Mistake(lambda h, mask: (h * mask).sum(1) / mask.sum(1),
                "PyTorch lines shapes up from the right. So the mask has to be (B, S, 1) beside h, and the number of "
                "points (B, 1) beside the sum."),
        Mistake(lambda h, mask: (h * mask).sum(1),
                "A sum is not yet a mean. And before that: (B, S, E) times (B, S) lines the points of the mask up with "
                "the features of h. Give the mask a last dimension: (B, S, 1)."),
        Mistake(lambda h, mask: h[:, -1],
                "You take the last place of each set: that depends on the order, and it may be padding."),
        Mistake(_last_present, "You take the last point that is there: that depends on the order of the points."),
        Mistake(_maximum,
                "That is the largest value over the points: order and copies do not matter to it, but the mean "
                "was asked for."),
        Mistake(lambda h, mask: (h * mask[..., None]).amax(1),
                "That is the largest value, with the zeros of the padding among them. The mean over the points was "
                "asked for."),
        Mistake(lambda h, mask: encode_set.reference(h, mask).detach(),
                "The right mean, but no path leads from it back to h: something cuts it (`.detach()`, `.item()`, "
                "`.data`, a new tensor made of numbers). The encoder would get no gradient, and learn nothing."),
    ],
    probe=lambda summary, h, mask: slopes(summary, h),
    hints=[
        "A mean over the points that are there: their sum, divided by their number. Each task has its own number.",
        "`h * mask[..., None]` is a new tensor, zero in the padding (h stays as it is): (B, S, E) * (B, S, 1). Sum it "
        "over the points, dimension 1.",
        "The number of points of each task is `mask.sum(1, keepdim=True)`, (B, 1), which divides (B, E).",
    ],
    right="Neither the order of the points, nor a copy of all of them, nor padding makes a difference.",
)

# ------------------------------------------------------------------------------------------------------- 4: film


def film(h, gamma, beta):
    return gamma[:, None] * h + beta[:, None]


def _film_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [(draw(tasks, queries, channels), *(draw(tasks, channels).requires_grad_() for _ in range(2)))
            for tasks, queries, channels in ((3, 3, 3), (2, 4, 4), (2, 3, 5))]


film = Exercise(
    name="film",
    reference=film,
    cases=_film_cases,
    mistakes=[
        Mistake(lambda h, gamma, beta: gamma[:, :, None] * h + beta[:, :, None],
                "Scale and shift run along the queries: query 0 is scaled by gamma 0. They belong to the channels, the "
                "last dimension of h."),
        Mistake(lambda h, gamma, beta: gamma * h + beta,
                "(B, C) beside (B, Q, C): PyTorch lines the tasks of gamma up with the queries of h. Make it (B, "
                "1, C)."),
        Mistake(lambda h, gamma, beta: gamma[:, None] * (h + beta[:, None]),
                "You shift first and scale then, so the shift is scaled too. Scale first, then shift."),
        Mistake(lambda h, gamma, beta: beta[:, None] * h + gamma[:, None],
                "gamma and beta have changed places: gamma scales, beta shifts."),
        Mistake(lambda h, gamma, beta: (1 + gamma[:, None]) * h + beta[:, None],
                "You added 1 to gamma. What comes in here is gamma itself: the library adds the 1 before."),
        Mistake(lambda h, gamma, beta: torch.relu(gamma[:, None] * h + beta[:, None]),
                "Scale and shift only: the ReLU that follows is the base network's."),
        Mistake(lambda h, gamma, beta: gamma[0] * h + beta[0], "All tasks get the scale and the shift of task 0."),
        Mistake(lambda h, gamma, beta: gamma[:, None] * h, "The shift beta is not in it."),
        Mistake(lambda h, gamma, beta: h + beta[:, None], "The scale gamma is not in it."),
        Mistake(lambda h, gamma, beta: film.reference(h, gamma, beta).detach(),
                "Right numbers, but no path leads from them back to gamma and beta: something cuts it (`.detach()`, "
                "`.item()`, `.data`, a new tensor made of numbers). The module that sets them would learn nothing."),
    ],
    probe=lambda answer, h, gamma, beta: slopes(answer, gamma, beta),
    hints=[
        "h is (B, Q, C), gamma and beta are (B, C): one number for each channel of a task, the same for all its "
        "queries.",
        "`gamma[:, None]` is (B, 1, C): PyTorch repeats it along the queries.",
        "Scale times h, plus the shift, each of them with the new dimension in the middle.",
    ],
    right="Two numbers a channel and a task. With scale 1 and shift 0 the base network is as it was.",
)

# ------------------------------------------------------------------------------------------- bug hunt: side by side


def feed(meta, own, sx, sy, qx):
    V, G = meta
    summary = torch.tanh(torch.cat([sx, sy], -1) @ V.mT).mean(1)
    theta = summary @ G.mT
    H = len(own[0])
    w1, b1, w2, b2 = theta[:, None].split([H, H, H, 1], -1)
    hidden = torch.relu(qx * w1 + b1)
    return (hidden * w2).sum(-1, keepdim=True) + b2


def _feed_listing(meta, own, sx, sy, qx):
    V, G = meta
    summary = torch.tanh(torch.cat([sx, sy], -1) @ V.mT).mean(1)
    theta = summary @ G.mT
    w1, b1, w2, b2 = own
    hidden = torch.relu(qx * w1 + b1)
    return (hidden * w2).sum(-1, keepdim=True) + b2, theta


def _feed(weights, after=lambda answers, theta: answers, pool=lambda h: h.mean(1), between=torch.relu):
    """A wrong repair: weights(theta (B, P), own) -> the four weights; what becomes of the answers; pooling, ReLU."""
    def feed(meta, own, sx, sy, qx):
        V, G = meta
        theta = pool(torch.tanh(torch.cat([sx, sy], -1) @ V.mT)) @ G.mT
        w1, b1, w2, b2 = weights(theta, own)
        return after((between(qx * w1 + b1) * w2).sum(-1, keepdim=True) + b2, theta)
    return feed


def _parts(theta, own):
    H = len(own[0])
    return theta[:, None].split([H, H, H, 1], -1)


def _in_another_order(theta, own):
    w1, w2, b1, b2 = _parts(theta, own)
    return w1, b1, w2, b2


def _bias_first(theta, own):
    b1, w1, w2, b2 = _parts(theta, own)
    return w1, b1, w2, b2


def _feed_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    cases = []
    for B, S, Q, E, H in ((2, 4, 3, 5, 6), (3, 2, 5, 4, 3), (3, 4, 3, 4, 5)):
        meta = [draw(E, 2).requires_grad_(), draw(3 * H + 1, E).requires_grad_()]
        own = [draw(H), draw(H), draw(H), draw(1)]
        cases.append((meta, own, draw(B, S, 1), draw(B, S, 1), draw(B, Q, 1)))
    return cases


feed = Exercise(
    name="feed",
    reference=feed,
    cases=_feed_cases,
    start=_feed_listing,
    mistakes=[
        Mistake(_feed(lambda theta, own: own),
                "There is one output now. But the answers still come from the task network's own weights, so the "
                "support set has no say: take the four weights from theta."),
        Mistake(_feed(lambda theta, own: own, after=lambda answers, theta: answers + theta.mean(1)[:, None, None]),
                "The support set moves all answers of a task up or down, and that is all: the weights of the task "
                "network are still its own. Take them from theta."),
        Mistake(_feed(lambda theta, own: [p + o for p, o in zip(_parts(theta, own), own)]),
                "The generated weights are added to the task network's own. That is fed, and people do it. But "
                "here the task network is to keep no weights of its own: leave `own` out, but for its sizes."),
        Mistake(_feed(lambda theta, own: [*_parts(theta, own)[:3], own[3]]),
                "Three of the weights come from theta now, but b2 is still the task network's own. Take all four from "
                "theta."),
        Mistake(_feed(lambda theta, own: [p[0] for p in _parts(theta, own)]),
                "The answers come from theta now, but from that of task 0, for all tasks."),
        Mistake(_feed(lambda theta, own: [p.mean(0) for p in _parts(theta, own)]),
                "The answers come from theta now, but from its mean over the tasks: then all tasks share a "
                "network again."),
        Mistake(_feed(_in_another_order),
                "The answers come from theta now. But the order of the parts is another one: it is w1, b1, w2, "
                "b2, as in `own`."),
        Mistake(_feed(_bias_first),
                "The answers come from theta now. But its first numbers are w1, and b1 follows: you have them the "
                "other way round."),
        Mistake(_feed(lambda theta, own: theta.split([len(p) for p in own], 1)),
                "The answers come from theta now. But (B, H) beside (B, Q, 1): PyTorch lines the tasks of theta up "
                "with the queries. Cut `theta[:, None]`, so that each part is (B, 1, H)."),
        Mistake(_feed(_parts, between=lambda z: z),
                "The answers come from theta now. But the ReLU is gone: leave that line as it was."),
        Mistake(_feed(_parts, pool=lambda h: h.sum(1)),
                "The answers come from theta now. But you changed the mean over the points into a sum: leave that "
                "line as it was."),
        Mistake(_feed(_parts, after=lambda answers, theta: (answers, theta)),
                "The answers are right. Return them alone: theta is no output, it is what the task network runs on."),
        Mistake(_feed(lambda theta, own: _parts(theta.detach(), own)),
                "The right answers, from theta. But no gradient gets through to V and G: something cuts the path "
                "(`.detach()`, `.data`, a new tensor made of numbers). The loss would depend on nothing of the network "
                "that writes, as in the listing."),
    ],
    probe=lambda answers, meta, *rest: slopes(answers, *meta),
    hints=[
        "Follow the arrows: from which tensors are the answers computed? Does theta come before them anywhere?",
        "`w1, b1, w2, b2` have to come from theta (B, P): cut its columns into parts of H, H, H and 1 numbers, "
        "where H is `len(own[0])`.",
        "Parts of `theta[:, None]`, (B, 1, P), fit the lines below as they are: (B, 1, H) goes with qx (B, Q, 1). "
        "`split([...], -1)` cuts. And return the answers alone.",
    ],
    right="Now the task network runs on what the other one wrote, and the loss of the one is the loss of both: the "
          "check has followed the gradient back to V and G.",
)

# ----------------------------------------------------------------------------------------------------- 5: hyper_grads


def hyper_grads(sx, sy, qx, qy, params):
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    pairs = torch.cat([sx, sy], -1)
    summary = torch.tanh(pairs @ params["V"].mT + params["c"]).mean(1)
    theta = summary @ params["G"].mT + params["g"]
    H = (theta.shape[1] - 1) // 3
    w1, b1, w2, b2 = theta[:, None].split([H, H, H, 1], -1)
    answers = (torch.relu(qx * w1 + b1) * w2).sum(-1, keepdim=True) + b2
    grads = torch.autograd.grad(F.mse_loss(answers, qy), list(params.values()))
    return {name: g.norm().item() for name, g in zip(params, grads)}


def _hyper_grads(pool=lambda h: h.mean(1), made=lambda theta: theta, on=lambda sx, sy, qx, qy: (qx, qy),
                 measure=lambda g: g.norm(), summed=lambda s: s, loss=F.mse_loss, between=None):
    """A wrong hyper_grads: one of its parts replaced."""
    def hyper_grads(sx, sy, qx, qy, params):
        params = {name: p.detach().requires_grad_() for name, p in params.items()}
        z = torch.cat([sx, sy], -1) @ params["V"].mT + params["c"]
        theta = made(summed(pool((between or torch.tanh)(z))) @ params["G"].mT + params["g"])
        H = (theta.shape[1] - 1) // 3
        x, y = on(sx, sy, qx, qy)
        answers = task_net.reference(unflatten.reference(theta, [[H, 1], [H], [1, H], [1]]), x)
        total = loss(answers, y) + 0 * sum(p.sum() for p in params.values())
        grads = torch.autograd.grad(total, list(params.values()))
        return {name: measure(g).item() for name, g in zip(params, grads)}
    return hyper_grads


def _only_theta(sx, sy, qx, qy, params):
    right = hyper_grads.reference(sx, sy, qx, qy, params)
    return {name: value for name, value in right.items() if name in ("G", "g")}


def _hyper_grads_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    cases = []
    for B, S, Q, E, H in ((3, 4, 5, 6, 7), (2, 3, 2, 4, 3)):
        params = {"V": draw(E, 2), "c": draw(E), "G": draw(3 * H + 1, E), "g": draw(3 * H + 1)}
        cases.append((draw(B, S, 1), draw(B, S, 1), draw(B, Q, 1), draw(B, Q, 1), params))
    return cases


hyper_grads = Exercise(
    name="hyper_grads",
    reference=hyper_grads,
    cases=_hyper_grads_cases,
    mistakes=[
        Mistake(_hyper_grads(made=lambda theta: theta.detach()),
                "All four norms are 0: nothing reaches the loss. Either theta is cut off (`.detach()`, `.data`, a new "
                "tensor made of its numbers), or the answers come from weights that were not generated."),
        Mistake(_hyper_grads(summed=lambda s: s.detach()),
                "G and g are right, V and c get nothing: the summary is cut off between the encoder and the "
                "generator."),
        Mistake(_hyper_grads(on=lambda sx, sy, qx, qy: (sx, sy)),
                "That is the loss on the support points: the network could learn to repeat what it was shown. Take the "
                "queries."),
        Mistake(_hyper_grads(made=lambda theta: theta[:1].expand_as(theta)),
                "All tasks are answered with the weights made for task 0."),
        Mistake(_hyper_grads(pool=lambda h: h.sum(1)),
                "The summary is a sum over the points. It should be their mean: a set with every point twice is "
                "the same set."),
        Mistake(_hyper_grads(pool=lambda h: h[:, -1]), "The summary is the last point's alone."),
        Mistake(_hyper_grads(measure=lambda g: g.square().sum()), "These are the squares of the norms: take the root."),
        Mistake(_hyper_grads(measure=lambda g: g.abs().sum()), "You add up absolute values. A norm is the root of "
                                                               "the sum of squares: `.norm()`."),
        Mistake(_hyper_grads(measure=lambda g: g.abs().mean()), "That is the mean absolute value. Asked for is "
                                                                "the norm, the root of the sum of squares: "
                                                                "`.norm()`."),
        Mistake(_hyper_grads(loss=lambda a, y: F.mse_loss(a, y, reduction="sum")),
                "The loss is summed over tasks and queries: take the mean."),
        Mistake(_hyper_grads(between=torch.relu), "The encoder's units are tanh, not ReLU (that is in the task "
                                                  "network)."),
        Mistake(_hyper_grads(between=lambda z: z), "The tanh of the encoder is missing."),
        Mistake(_only_theta, "G and g are right. V and c belong to the hypernetwork too: all four names are asked "
                             "for."),
    ],
    hints=[
        "It is your three functions in a row: pairs, their encoding, the mean; theta; the weights; the answers. Then a "
        "loss, then gradients.",
        "With all points there, the summary is `torch.tanh(pairs @ V.mT + c).mean(1)`, and theta is `summary @ "
        "G.mT + g`. From P = 3H + 1 you get H.",
        "Make the parameters require a gradient first (`p.detach().requires_grad_()`), keep them in a dict, and "
        "differentiate the loss by its values: `torch.autograd.grad(loss, list(params.values()))`.",
    ],
    right="Four numbers above 0: the loss of the task network reaches every weight of the network that made it.",
)
