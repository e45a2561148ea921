"""Quizzes and exercises of lesson 01, gradient descent."""
import torch
from torch.nn import functional as F

from . import Exercise, Mistake, Order, Property, Quiz
from .compare import difference

# ------------------------------------------------------------------------------------------------------ warm-up

WARM_UP = (
    Quiz("1. (Primer) A classifier for 20 classes gives every class the same logit. What is its cross-entropy?", [
        ("0", False, "0 needs probability 1 for the true class. Here all 20 classes share the probability equally."),
        ("0.05", False, "0.05 is the probability of each class. The loss is minus its logarithm."),
        ("3.00", True, "Each class has p = 1/20, and -log(1/20) = log 20 = 3.00. You will meet this number again "
                       "below."),
        ("20", False, "The number of classes enters through its logarithm: -log(1/20) = log 20."),
    ]),
    Quiz("2. (Primer) loss.backward() has run. You call loss.backward() once more, on the very same loss. What "
         "happens?", [
        ("It stops with an error.", True, "The record of operations is thrown away after the first backward, to "
                                          "free its memory. A loss computed anew has a new record."),
        ("The gradient doubles.", False, "That is what happens if you compute the loss anew and call backward on "
                                         "the new one: .grad adds up. On the very same loss the record is already "
                                         "gone."),
        ("Nothing: it is known already.", False, "backward never looks whether a gradient is known. It walks the "
                                                 "record, and that was thrown away after the first call."),
    ]),
    Quiz("3. (Lesson 00) You have five versions of a learner and will report one of them. What chooses, and what "
         "is reported?", [
        ("The test data do both.", False, "The best of five test scores is too good on average: luck helped to "
                                          "choose it. Choose on validation data."),
        ("Validation data choose; test data, opened once, are reported.", True,
         "The test score then had no part in the choice. This lesson does the same with drawers."),
        ("Training data choose; validation data are reported.", False, "The training score prefers whatever "
                                                                       "memorises best. Choose on data that the "
                                                                       "learner has not seen, and report on a third "
                                                                       "part."),
    ]),
)

# ------------------------------------------------------------------------------------------------- 1: numeric_grad

STRENGTH = 0.7  # of section 1's print: the learner looks for it, so it does not stand in the notebook


def numeric_grad(A, w, eps):
    def loss(w):
        return ((A @ w) ** 4).sum()

    g = torch.zeros_like(w)
    for j in range(len(w)):
        e = torch.zeros_like(w)
        e[j] = eps
        g[j] = (loss(w + e) - loss(w - e)) / (2 * eps)
    return g


def _numeric(rule, together=False):
    """A wrong numeric_grad: rule(loss, w, e, eps) gives one coordinate; ``together`` moves all coordinates at once."""
    def numeric_grad(A, w, eps):
        def loss(w):
            return ((A @ w) ** 4).sum()

        e = eps * torch.eye(len(w), dtype=w.dtype)
        e = torch.full_like(e, eps) if together else e
        return torch.stack([rule(loss, w, e[j], eps) for j in range(len(w))])
    return numeric_grad


def _central(loss, w, e, eps):
    return (loss(w + e) - loss(w - e)) / (2 * eps)


def _numeric_grad_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    small = torch.eye(2, dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64), 1e-3
    return [small, (draw(4, 3), draw(3), 1e-4), (draw(2, 5), draw(5), 1e-4)]


numeric_grad = Exercise(
    name="numeric_grad",
    reference=numeric_grad,
    cases=_numeric_grad_cases,
    mistakes=[
        Mistake(_numeric(lambda loss, w, e, eps: (loss(w + e) - loss(w)) / eps),
                "You step to one side only (the forward difference). It is close, but the bend of the curve spoils "
                "it: the error shrinks only like eps. Step to both sides, and the bend cancels."),
        Mistake(_numeric(lambda loss, w, e, eps: (loss(w) - loss(w - e)) / eps),
                "You step to one side only (the backward difference). It is close, but the bend of the curve spoils "
                "it: the error shrinks only like eps. Step to both sides, and the bend cancels."),
        Mistake(_numeric(lambda loss, w, e, eps: (loss(w + e) - loss(w - e)) / eps),
                "Twice too steep. From w - e to w + e the run is two eps, not one."),
        Mistake(_numeric(lambda loss, w, e, eps: (loss(w + e) - loss(w - e)) / 2),
                "You have the rise, but did not divide it by the whole run: from w - e to w + e that is 2 · eps."),
        Mistake(_numeric(lambda loss, w, e, eps: (loss(w + e) - loss(w - e)) / 2 * eps),
                "Brackets: `/ 2 * eps` divides by 2 and then multiplies by eps. The run is (2 * eps)."),
        Mistake(_numeric(lambda loss, w, e, eps: loss(w + e) - loss(w - e) / (2 * eps)),
                "Brackets: only the second loss is divided by the run. First the difference of the two losses, in "
                "brackets, then divide it."),
        Mistake(_numeric(lambda loss, w, e, eps: loss(w + e) - loss(w - e)),
                "That is the rise alone. A slope is rise over run: divide by the way from w - e to w + e."),
        Mistake(_numeric(lambda loss, w, e, eps: (loss(w - e) - loss(w + e)) / (2 * eps)),
                "Right size, wrong sign: the slope is (value ahead - value behind) over the run, so that uphill is "
                "positive."),
        Mistake(_numeric(_central, together=True),
                "Every coordinate got the same number: you moved all coordinates at once, by eps each. g[j] asks "
                "what coordinate j does alone. Use e, which is eps at place j and 0 elsewhere."),
    ],
    hints=[
        "A slope is rise over run. Take the loss a little ahead of w, and a little behind it. How far apart are the "
        "two places?",
        "The two places are w + e and w - e. They are 2 · eps apart. Call `loss` at both.",
        "g[j] is the difference of the two losses, the one ahead minus the one behind, divided by (2 * eps). Mind "
        "the brackets.",
    ],
    right="No derivative was needed, only the loss itself. It takes two losses for each coordinate, so it is a "
          "check, not a way to train.",
)

# ---------------------------------------------------------------------------------------------------------- 2: sgd


def sgd(w, g, lr):
    return w - lr * g


def _sgd_in_place(w, g, lr):
    w -= lr * g
    return w


def _sgd_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    small = torch.tensor([1.0], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64), 0.1
    return [small, (draw(3), draw(3), 0.5), (draw(4, 2), draw(4, 2), 0.03)]


sgd = Exercise(
    name="sgd",
    reference=sgd,
    cases=_sgd_cases,
    mistakes=[
        Mistake(lambda w, g, lr: w + lr * g,
                "You go uphill: the gradient points to where the loss grows fastest. Go against it."),
        Mistake(_sgd_in_place,
                "Right numbers, but you changed the caller's w in place: `w -= ...` overwrites the tensor itself. A "
                "path that keeps the earlier points would then hold the last one many times over. Return a new "
                "tensor."),
        Mistake(lambda w, g, lr: w - g,
                "The rate lr is not in it: you walk one whole gradient, however steep it is."),
        Mistake(lambda w, g, lr: -lr * g,
                "That is the move, not the new place. Add it to w."),
        Mistake(lambda w, g, lr: w - lr * g / g.norm(),
                "You divided by the gradient's length, so that every step is equally long. In gradient descent a "
                "step shrinks as the slope gets flatter."),
        Mistake(lambda w, g, lr: w - lr * torch.sign(g),
                "You use only the sign of the gradient. Its size counts as well: steeper means farther."),
    ],
    hints=[
        "Read the formula above as a recipe: the new w is the old w, less something. What?",
        "The something is the rate times the gradient. Write it as one expression, without `-=`.",
        "`return w - ...`, where the dots are lr times g.",
    ],
    right="One line; every optimiser of the course is a variation on it. It works for any shape, one number or a "
          "whole matrix.",
)

# --------------------------------------------------------------------------------------------- 3: the loop, in order

loop = Order(
    name="loop",
    lines={
        "A": "    w = sgd(w, g, lr)",
        "B": "for t in range(steps):",
        "C": "    g = gradient(w, x, y)",
        "D": "path = [w]",
        "E": "    path.append(w)",
        "F": "w = w0",
        "G": "    g = gradient(w0, x, y)",
    },
    right="FDBCAE",
    mistakes={
        ".*G.*": "Line G asks for the slope at the start again and again. As you walk, the slope changes: ask for it "
                 "where you are.",
        "FDBAC?E?C?": "The step (A) uses g before line C has measured it. First look where downhill is, then step.",
        "FDBCEA|FDBEC?A?C?": "You write the place down (E) before you have moved (A): the start stands in the path "
                             "twice, and the last point is lost.",
        "DF.*": "Line D puts w into the path, so w has to exist before it.",
        "F?B.*|DB.*": "Lines F and D are not indented: both run once, before the loop begins.",
        ".*C.*B.*": "Line C is indented: it belongs into the loop, below B. Outside it the slope is measured only "
                    "once.",
    },
    hints=(
        "First the two lines that run once, then the line that starts the loop, then the three that are repeated. "
        "One line is not needed.",
        "The lines that run once have no indentation: F and D (which needs the other?), then B.",
        "Inside the loop: measure the slope where you are, step, write the new place down.",
    ),
    praise="Measure the slope where you are, step, write the place down. Line G would measure it at the start for "
           "ever.",
)

# ---------------------------------------------------------------------------------------------------- 4: momentum


def momentum(w, v, g, lr, mu, nesterov):
    v = mu * v + g
    if nesterov:
        return w - lr * (g + mu * v), v
    return w - lr * v, v


def _step(velocity, move):
    """A wrong momentum: velocity(v, g, lr, mu) is the new velocity; w loses move(v, new, g, lr, mu, nesterov)."""
    def momentum(w, v, g, lr, mu, nesterov):
        new = velocity(v, g, lr, mu)
        return w - move(v, new, g, lr, mu, nesterov), new
    return momentum


def _usual(v, g, lr, mu):
    return mu * v + g


def _downhill(v, g, lr, mu):
    return mu * v - g


def _usual_move(v, new, g, lr, mu, nesterov):
    return lr * (g + mu * new) if nesterov else lr * new


def _momentum_in_place(w, v, g, lr, mu, nesterov):
    v *= mu
    v += g
    w -= lr * (g + mu * v) if nesterov else lr * v
    return w, v


def _nesterov_kept(w, v, g, lr, mu, nesterov):
    v = mu * v + g
    if nesterov:
        v = g + mu * v
    return w - lr * v, v


def _momentum_cases(generator):
    """Moments of two descents of 20 steps on a valley, with a rate that changes; then tensors of other shapes."""
    curvature = torch.tensor([0.05, 0.4, 1.0], dtype=torch.float64)
    cases = []
    for nesterov in (False, True):
        w, v = torch.tensor([2.0, -1.0, 1.5], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for t in range(20):
            lr, g = 0.8 / (1 + t), curvature * w
            if t in (0, 1, 5, 19):
                cases.append((w, v, g, lr, 0.9, nesterov))
            w, v = _momentum(w, v, g, lr, 0.9, nesterov)
    w, v, g = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    return cases + [(w, v, g, 0.1, 0.5, False), (w, v, g, 0.1, 0.5, True), (w, v, g, 0.2, 0.0, False)]


_momentum = momentum
_STALE = ("You move with the old velocity. The gradient that you just measured has no part in the step: first update "
          "v, then move with it.")

momentum = Exercise(
    name="momentum",
    reference=momentum,
    cases=_momentum_cases,
    mistakes=[
        Mistake(_step(lambda v, g, lr, mu: g, _usual_move),
                "Your velocity is the new gradient alone: the old velocity is lost at each step, and nothing is "
                "ever gathered. Keep the share mu of it."),
        Mistake(_step(lambda v, g, lr, mu: mu * v + (1 - mu) * g, _usual_move),
                "You weigh the gradient with (1 - mu), which makes v an average (`dampening` in PyTorch; Adam does "
                "it too). Then the same lr walks only (1 - mu) as far. Here the ball gets the whole push: mu · v + "
                "g."),
        Mistake(_step(lambda v, g, lr, mu: mu * v + (1 - mu) * g, lambda v, new, g, lr, mu, nesterov: lr * new),
                "You weigh the gradient with (1 - mu), which makes v an average. Then the same lr walks only (1 - mu) "
                "as far. Here the ball gets the whole push: mu · v + g. (And `nesterov` changes nothing yet.)"),
        Mistake(_step(lambda v, g, lr, mu: mu * v - lr * g,
                      lambda v, new, g, lr, mu, nesterov: lr * g - mu * new if nesterov else -new),
                "Your v is the move itself: the rate is inside it, and it points downhill (v = mu · v - lr · g, then "
                "w + v). Many courses write it so, and as long as lr stays the same the path is the same. Here v adds "
                "up gradients and nothing else: mu · v + g. The rate and the minus come when w moves."),
        Mistake(_step(lambda v, g, lr, mu: mu * v + lr * g,
                      lambda v, new, g, lr, mu, nesterov: lr * g + mu * new if nesterov else new),
                "You put the rate inside the velocity. Many papers do (Polyak's too), and as long as lr stays the "
                "same the path is the same. But when lr changes, the old pushes keep the old rate. PyTorch, and "
                "this lesson, keep v free of lr and multiply at the end."),
        Mistake(_step(lambda v, g, lr, mu: mu * v + lr * g,
                      lambda v, new, g, lr, mu, nesterov: lr * (g + mu * new) if nesterov else lr * new),
                "The rate stands in twice: in the velocity, and again in the step. Multiply by lr once, when you "
                "move."),
        Mistake(_step(_downhill, lambda v, new, g, lr, mu, nesterov: lr * (mu * new - g) if nesterov else lr * new),
                "Two signs do not go together: your v already points downhill (- g), and then you subtract it from w. "
                "Here v adds up gradients, and the minus stands in the step."),
        Mistake(_step(_downhill, lambda v, new, g, lr, mu, nesterov: -lr * (mu * new - g) if nesterov else -lr * new),
                "Your w is right, your v has the opposite sign: it points downhill. Both conventions are in use; "
                "here v adds up gradients, as in PyTorch, and the minus stands in the step."),
        Mistake(_step(_usual, lambda v, new, g, lr, mu, nesterov: -_usual_move(v, new, g, lr, mu, nesterov)),
                "You go uphill: v adds up gradients, so the step is taken against it."),
        Mistake(_step(_usual, lambda v, new, g, lr, mu, nesterov: lr * new),
                "Right without Nesterov, but the flag `nesterov` changes nothing yet. With it, you move by g + mu · "
                "v (v already the new one) instead of v."),
        Mistake(_step(_usual, lambda v, new, g, lr, mu, nesterov: lr * (g + mu * new)),
                "You always take Nesterov's step. Without the flag, move by v alone."),
        Mistake(_step(_usual, lambda v, new, g, lr, mu, nesterov: lr * mu * new if nesterov else lr * new),
                "Right without Nesterov. With it you look ahead (mu · v), but the gradient itself is missing: move "
                "by g + mu · v."),
        Mistake(_step(_usual, lambda v, new, g, lr, mu, nesterov: lr * (g + new) if nesterov else lr * new),
                "Right without Nesterov. With it, the velocity loses its friction once more: g + mu · v, not g + v."),
        Mistake(_step(_usual, lambda v, new, g, lr, mu, nesterov: lr * (g + mu * v) if nesterov else lr * v), _STALE),
        Mistake(_step(_usual, lambda v, new, g, lr, mu, nesterov: lr * v), _STALE + " (And the flag `nesterov` "
                                                                                    "changes nothing yet.)"),
        Mistake(_step(_usual, lambda v, new, g, lr, mu, nesterov: lr * (g + mu * new) if nesterov else lr * v),
                "Right with Nesterov. Without it you move with the old velocity: the gradient that you just measured "
                "has no part in the step. Move with the new one."),
        Mistake(_step(_usual, lambda v, new, g, lr, mu, nesterov: lr * g - mu * new if nesterov else lr * new),
                "Right without Nesterov. With it, brackets: w - lr * g + mu * v takes the velocity without the rate, "
                "and adds it. The whole of (g + mu · v) is multiplied by lr and subtracted."),
        Mistake(_nesterov_kept,
                "Your w is right. But with Nesterov you return g + mu · v as the velocity. That is only this step's "
                "direction: use it to move w, and return v itself."),
        Mistake(lambda w, v, g, lr, mu, nesterov: (_momentum(w, v, g, lr, mu, nesterov)[0], v),
                "Your w is right, but you return the old v: the next step would start without what this one "
                "gathered. Return the new velocity."),
        Mistake(_momentum_in_place,
                "Right numbers, but you changed the caller's w and v in place. A path that keeps the earlier points "
                "would then hold the last one many times over. Compute new tensors: `v = mu * v + ...`."),
        Mistake(lambda w, v, g, lr, mu, nesterov: _momentum(w, v, g, lr, mu, nesterov)[::-1],
                "Right numbers in the wrong order: return w first, then v."),
    ],
    hints=[
        "Two lines without Nesterov: the first makes the new velocity from the old one and the gradient; the second "
        "is `sgd` with that velocity in the place of the gradient.",
        "New velocity: mu times the old one, plus g. The rate has no part in it. Then w less lr times the new "
        "velocity.",
        "For Nesterov only the last line differs: in the place of v stands g + mu * v, with the new v. Return both, "
        "`return w, v`.",
    ],
    right="Equal to one step of torch.optim.SGD(momentum=mu, nesterov=...). With mu = 0 it is your `sgd`.",
)

# -------------------------------------------------------------------------------------------------- 5: softmax_ce


def softmax_ce(logits, y):
    n = len(y)
    rows = torch.arange(n)
    z = logits - logits.max(dim=1, keepdim=True).values
    log_p = z - z.exp().sum(dim=1, keepdim=True).log()
    loss = -log_p[rows, y].mean()
    grad = log_p.exp()
    grad[rows, y] -= 1
    return loss, grad / n


def _one_hot(logits, y):
    return F.one_hot(y, logits.shape[1]).to(logits.dtype)


def _ce(loss=None, grad=None):
    """A wrong softmax_ce: loss(log_p, t) and grad(p, t), where given, replace the right ones; t is one-hot."""
    def softmax_ce(logits, y):
        log_p, t = torch.log_softmax(logits, dim=1), _one_hot(logits, y)
        right = -(log_p * t).sum() / len(y), (log_p.exp() - t) / len(y)
        return (loss(log_p, t) if loss else right[0]), (grad(log_p.exp(), t) if grad else right[1])
    return softmax_ce


def _ce_of_batch(logits, y):
    log_p, t = torch.log_softmax(logits, dim=0), _one_hot(logits, y)
    return -(log_p * t).sum() / len(y), (log_p.exp() - t) / len(y)


def _ce_plain_exp(logits, y):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    t = _one_hot(logits, y)
    return -p[torch.arange(len(y)), y].log().mean(), (p - t) / len(y)


def _ce_plain_logsumexp(logits, y):
    log_sum = logits.exp().sum(dim=1).log()
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return (log_sum - logits[torch.arange(len(y)), y]).mean(), (p - _one_hot(logits, y)) / len(y)


def _ce_log_of_zero(logits, y):
    p = torch.softmax(logits, dim=1)
    return -p[torch.arange(len(y)), y].log().mean(), (p - _one_hot(logits, y)) / len(y)


def _ce_guarded(logits, y):
    p = torch.softmax(logits, dim=1)
    return -(p[torch.arange(len(y)), y] + 1e-12).log().mean(), (p - _one_hot(logits, y)) / len(y)


def _ce_from(log_p_of):
    """A wrong softmax_ce: log_p_of(logits) replaces the logarithm of softmax in loss and gradient."""
    def softmax_ce(logits, y):
        log_p, t = log_p_of(logits), _one_hot(logits, y)
        return -(log_p * t).sum() / len(y), (log_p.exp() - t) / len(y)
    return softmax_ce


def _row_shift(logits):
    return logits - logits.max(dim=1, keepdim=True).values


def _softmax_ce_cases(generator):
    def draw(n, classes):
        return (2 * torch.randn(n, classes, generator=generator, dtype=torch.float64),
                torch.randint(classes, (n,), generator=generator))

    return [(torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64), torch.tensor([2])),
            (torch.zeros(2, 4, dtype=torch.float64), torch.tensor([3, 1])), draw(5, 3), draw(3, 6), draw(7, 7)]


_LARGE = torch.tensor([[1000.0, 0.0, -1000.0], [-1000.0, -1001.0, -1002.0], [999.0, 1000.0, 1001.0]]).double()


_FEW = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]]).double(), torch.tensor([2, 0])


def _right(fn, logits, y):
    return difference(fn(logits, y), _softmax_ce(logits, y)) is None


def _large_logits(fn, seed):
    """Rows whose exp overflows or vanishes; the true class has a probability that is not 0 in floating point."""
    if not _right(fn, *_FEW):
        return True  # large logits are not what is wrong: the numbers of a case will be reported
    return _right(fn, _LARGE, torch.tensor([0, 1, 1]))


def _sure_and_wrong(fn, seed):
    """The true class has a probability of exp(-1000): 0 in floating point, but the loss is 1000."""
    if not _right(fn, *_FEW):
        return True
    return _right(fn, _LARGE, torch.tensor([1, 2, 0]))


_softmax_ce = softmax_ce

softmax_ce = Exercise(
    name="softmax_ce",
    reference=softmax_ce,
    cases=_softmax_ce_cases,
    mistakes=[
        Mistake(_ce(loss=lambda log_p, t: -(log_p * t).sum(), grad=lambda p, t: p - t),
                "You add up over the images where you should average: twice as many images would make every step "
                "twice as long. Divide loss and gradient by n."),
        Mistake(_ce(loss=lambda log_p, t: -(log_p * t).sum()),
                "The gradient is right, but the loss is a sum over the images: it should be their mean."),
        Mistake(_ce(grad=lambda p, t: p - t),
                "The loss is right. Its gradient is n times too large: the loss is a mean over n images, so each "
                "image's share is divided by n."),
        Mistake(_ce(grad=lambda p, t: p - t / len(p)),
                "In the gradient only the one-hot part is divided by n. Brackets: (probabilities minus one-hot) / n "
                "divides both parts."),
        Mistake(_ce(grad=lambda p, t: (p.log() - t) / len(p)),
                "The loss is right. The gradient needs the probabilities, and you took their logarithms: "
                "`log_p.exp()` first, then minus one-hot."),
        Mistake(_ce(grad=lambda p, t: p / len(p)),
                "The gradient is the probabilities alone: it would push every logit down, the true class's as well. "
                "At the true class subtract 1 (probabilities minus one-hot)."),
        Mistake(_ce(grad=lambda p, t: p),
                "The gradient is the probabilities alone. At the true class subtract 1 (probabilities minus "
                "one-hot), then divide by n."),
        Mistake(_ce(grad=lambda p, t: (t - p) / len(p)),
                "The gradient has the wrong sign: it should be negative at the true class (raising that logit "
                "lowers the loss). Probabilities minus one-hot, not the reverse."),
        Mistake(_ce(loss=lambda log_p, t: (log_p * t).sum() / len(t)),
                "The loss is negative: a logarithm of a probability is, so it takes a minus sign."),
        Mistake(_ce(loss=lambda log_p, t: -(log_p.exp() * t).sum() / len(t)),
                "The logarithm is missing: the loss of an image is -log p, not -p."),
        Mistake(_ce(loss=lambda log_p, t: -(log_p * t).mean()),
                "The gradient is right, but the loss is divided by all entries, n times N of them. Each image has one "
                "loss: divide their sum by n."),
        Mistake(_ce(loss=lambda log_p, t: -log_p[:, t.argmax(1)].mean()),
                "The gradient is right. But `[:, y]` takes the columns of all labels in every row, a table of n times "
                "n. You want one entry a row: row 0 with label y[0], row 1 with y[1], and so on."),
        Mistake(_ce(grad=lambda p, t: p / len(p) - t),
                "The loss is right. In the gradient only the probabilities are divided by n, before the 1 is "
                "subtracted. Subtract first, then divide all of it."),
        Mistake(_ce_from(lambda logits: logits - _row_shift(logits).exp().sum(1, keepdim=True).log()),
                "You shift the logits inside the sum, but not in front of it: z stands twice in log p = z - log(sum "
                "of exp z). Shift once, call the result z, and use that z in both places."),
        Mistake(_ce_from(lambda logits: _row_shift(logits) - _row_shift(logits).exp().sum().log()),
                "`sum()` without a dim adds up all rows, so that the images share one probability. Each row has a sum "
                "of its own: `dim=1, keepdim=True`."),
        Mistake(_ce_from(lambda logits: logits - logits.logsumexp((0, 1))),
                "Your softmax runs over all rows at once: the images share one probability. Each row, each image, has "
                "a largest logit and a sum of its own: `dim=1, keepdim=True`."),
        Mistake(_ce_of_batch,
                "Your softmax runs down the columns (dim=0), so that the images share one probability. Each row, "
                "each image, has probabilities of its own: dim=1."),
    ],
    properties=[
        Property(_large_logits,
                 "Right for small logits. But for logits of 1000, exp overflows to infinity, and the answer is nan "
                 "or inf (for -1000 it is 0/0). Subtract each row's largest logit first: softmax does not notice.",
                 wrong=(_ce_plain_exp, _ce_plain_logsumexp)),
        Property(_sure_and_wrong,
                 "Right, until the classifier is sure and wrong. If the true class's logit lies 1000 below another, "
                 "its p is 0 in floating point, and log 0 is not the loss (it is 1000). Never take the log of p: log "
                 "p = z - log(sum of exp z), with z the shifted logits.",
                 wrong=(_ce_log_of_zero, _ce_guarded)),
    ],
    hints=[
        "Row by row: shift the logits so that the largest is 0 (the primer's trick), call them z. Then log p = z - "
        "log(sum of exp z). No probability is needed for the loss.",
        "The loss picks one log p in each row: `log_p[torch.arange(n), y]`, then minus, then mean. The gradient "
        "starts from `log_p.exp()`, shape (n, N).",
        "`z = logits - logits.max(dim=1, keepdim=True).values`, and the sum over dim=1 with keepdim too. In the "
        "gradient subtract 1 at [torch.arange(n), y]; divide all of it by n.",
    ],
    right="Loss and gradient agree with PyTorch's, without autograd, for logits of a thousand too.",
)

# ------------------------------------------------------------------------------------------------- 6: minibatches


def minibatches(n, size, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return list(order.split(size))


def _shuffled(n, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _drawn_anew(n, size, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(n, (min(size, n - i),), generator=generator) for i in range(0, n, size)]


def _remainder_dropped(n, size, seed):
    order = _shuffled(n, seed)
    return [order[i * size:(i + 1) * size] for i in range(n // size)]


def _shuffled_anew(n, size, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(n, generator=generator)[:size] for _ in range(n // size)]


def _blocks_shuffled(n, size, seed):
    blocks = torch.arange(n).split(size)
    return [blocks[i] for i in _shuffled(len(blocks), seed)]


def _lists(batches):
    if not isinstance(batches, (list, tuple)):
        raise TypeError("the lesson takes slices of the batches, and their number")
    return [batch.tolist() if isinstance(batch, torch.Tensor) else list(batch) for batch in batches]


_SIZES = ((10, 4), (12, 3), (7, 7), (5, 8), (50, 16))


def _none_twice(fn, seed):
    epochs = [[i for batch in _lists(fn(n, size, each)) for i in batch]
              for n, size in _SIZES for each in range(seed, seed + 3)]
    return all(len(set(epoch)) == len(epoch) for epoch in epochs)


def _all_there(fn, seed):
    return all(sum(map(len, _lists(fn(n, size, each)))) >= n for n, size in _SIZES for each in range(seed, seed + 3))


def _each_once(fn, seed):
    return all(sorted(i for batch in _lists(fn(n, size, each)) for i in batch) == list(range(n))
               for n, size in _SIZES for each in range(seed, seed + 3))


def _sizes_right(fn, seed):
    return all(sorted(map(len, _lists(fn(n, size, seed)))) == [n % size] * (n % size > 0) + [size] * (n // size)
               for n, size in _SIZES)


def _new_order(fn, seed):
    return len({str(_lists(fn(50, 5, each))) for each in range(seed, seed + 20)}) > 15


def _new_company(fn, seed):
    """Who is in a batch with example 0 differs from seed to seed."""
    company = {str(sorted(next(batch for batch in _lists(fn(50, 5, each)) if 0 in batch))) for each in range(seed, seed + 20)}
    return len(company) > 10


def _repeatable(fn, seed):
    return all(_lists(fn(50, 16, each)) == _lists(fn(50, 16, each)) for each in range(seed, seed + 5))


minibatches = Exercise(
    name="minibatches",
    reference=minibatches,
    cases=[],
    mistakes=[],
    properties=[
        Property(_none_twice,
                 "Some examples come twice in an epoch: a batch is drawn without a look at the batches before it. In "
                 "one epoch each example has its turn exactly once. Shuffle all of them once, then cut.",
                 wrong=(_drawn_anew, _shuffled_anew)),
        Property(_all_there,
                 "No example comes twice, but some never come. With n = 10 and size = 4 the batches have 4, 4 and 2: "
                 "the last is allowed to be smaller, but not to be missing.",
                 wrong=(_remainder_dropped,)),
        Property(_each_once,
                 "There are n numbers, and none comes twice, but they are not the numbers from 0 to n - 1.",
                 wrong=(lambda n, size, seed: list((_shuffled(n, seed) + 1).split(size)),)),
        Property(_sizes_right,
                 "Each example comes once, but the batches have the wrong sizes: each has `size` examples, and only "
                 "one, the last, may have fewer.",
                 wrong=(lambda n, size, seed: list(_shuffled(n, seed).chunk(max(1, n // size))),
                        lambda n, size, seed: list(_shuffled(n, seed).split(min(n, max(1, size - 1)))))),
        Property(_repeatable,
                 "The same seed gives different batches: your draw reads PyTorch's global random state. Make a "
                 "generator from the seed, and hand it to the function that draws.",
                 wrong=(lambda n, size, seed: list(torch.randperm(n).split(size)),)),
        Property(_new_order,
                 "Every seed gives the same order: all epochs would see the same batches in the same order. Let the "
                 "seed decide.",
                 wrong=(lambda n, size, seed: list(_shuffled(n, 0).split(size)),
                        lambda n, size, seed: list(torch.arange(n).split(size)))),
        Property(_new_company,
                 "You shuffle the batches, but each batch always holds the same examples. Neighbours in the data are "
                 "alike (here: the same letter!), so mix the examples first, and cut afterwards.",
                 wrong=(_blocks_shuffled,)),
    ],
    hints=[
        "Think of a pack of cards: shuffle the numbers 0..n-1, then deal `size` cards at a time until none are left.",
        "`torch.randperm(n, generator=...)` shuffles 0..n-1. A generator that depends on nothing but the seed: "
        "`torch.Generator().manual_seed(seed)`.",
        "`order.split(size)` cuts a tensor into pieces of `size`, the last one shorter if need be. It returns a "
        "tuple, and that may pass for a list. (If you wrote `yield`: the lesson needs all batches at once.)",
    ],
    right="Each example once, in a new company for each seed; the last batch may be small.",
)

# ----------------------------------------------------------------------------------------------------- bug hunts

WRONG_REWARD = Quiz("Which finding convicts the loss, and not the rate or the data?", [
    ("The accuracy is low.", False, "True, but a bad rate or bad data would do that too. Which finding can only "
                                    "come from the loss itself?"),
    ("The loss falls below 0 and goes on falling.", False, "That is suspicious: nothing holds it. But some honest "
                                                           "losses have no lower end either. What does this one ask "
                                                           "of the 20 columns of w?"),
    ("All 20 columns of w changed alike.", True, "The gradient of this loss is the same for every class: nothing in "
                                                 "it says which score belongs to the label. So no letter is ever "
                                                 "told from another, whatever the images are."),
    ("The loss falls from epoch to epoch.", False, "It does, and that is the trap: descent does what the loss asks. "
                                                   "Is it the right thing to ask?"),
])

def beauty_scores():
    """Scores of the 2000 training and the 1000 validation pictures."""
    generator = torch.Generator().manual_seed(5)
    scores = 5 + torch.randn(3000, generator=generator, dtype=torch.float64)
    return scores[:2000], scores[2000:]


NOISE = Quiz("The curve for real scores and the curve for shuffled scores are alike. What follows?", [
    ("Shuffling did no harm, so the model is robust.", False, "After shuffling, a score belongs to another picture. "
                                                              "A model that reads the pictures must suffer from "
                                                              "that."),
    ("The model learned nothing about which picture has which score.", True,
     "All it learned is what survives shuffling: the mean of the scores. What is left is their variance, and no "
     "rate or network can predict it from these pictures."),
    ("The rate is too small.", False, "A better rate gets both curves down faster, to the same floor. There is "
                                      "nothing to learn in either."),
    ("More epochs would pull the curves apart.", False, "On the training pictures both would fall, by memorising. "
                                                        "On the validation pictures neither could."),
])


def epoch(w, x, y, lr, batches):
    losses = []
    for i in batches:
        w = w.detach().requires_grad_()
        loss = F.cross_entropy(x[i] @ w, y[i])
        loss.backward()
        losses.append(loss.item())
        w = w - lr * w.grad
    return w.detach(), sum(losses) / len(losses)


def _epoch_listing(w, x, y, lr, batches):
    w = w.clone().requires_grad_()
    total = 0.0
    for i in batches:
        total = total + F.cross_entropy(x[i] @ w, y[i])
        total.backward(retain_graph=True)
        with torch.no_grad():
            w -= lr * w.grad
        w.grad = None
    return w.detach(), total.item() / len(batches)


def _epoch_with(gradients, report=lambda losses: sum(losses) / len(losses)):
    """A wrong repair: gradients(all gradients so far) is what the step uses; report(losses) is what is returned."""
    def epoch(w, x, y, lr, batches):
        losses, seen = [], []
        for i in batches:
            w = w.detach().requires_grad_()
            loss = F.cross_entropy(x[i] @ w, y[i])
            seen.append(torch.autograd.grad(loss, w)[0])
            losses.append(loss.item())
            w = w - lr * gradients(seen)
        return w.detach(), report(losses)
    return epoch


def _epoch_one_step(divide):
    def epoch(w, x, y, lr, batches):
        w = w.detach().requires_grad_()
        total = sum(F.cross_entropy(x[i] @ w, y[i]) for i in batches)
        (g,) = torch.autograd.grad(total, w)
        return (w - lr * g / (len(batches) if divide else 1)).detach(), total.item() / len(batches)
    return epoch


def _epoch_with_graphs(w, x, y, lr, batches):
    w, total = w.clone().requires_grad_(), 0.0
    for i in batches:
        loss = F.cross_entropy(x[i] @ w, y[i])
        (g,) = torch.autograd.grad(loss, w)
        w = (w - lr * g).detach().requires_grad_()
        total = total + loss
    return w.detach(), total / len(batches)


def _plain_number(fn, seed):
    return not isinstance(fn(*_epoch_cases(torch.Generator().manual_seed(seed))[0])[1], torch.Tensor)


def _epoch_cases(generator):
    def draw(n, d, classes, size):
        w = 0.1 * torch.randn(d, classes, generator=generator, dtype=torch.float64)
        x = torch.randn(n, d, generator=generator, dtype=torch.float64)
        y = torch.randint(classes, (n,), generator=generator)
        return w, x, y, 0.3, list(torch.randperm(n, generator=generator).split(size))

    return [draw(12, 4, 3, 4), draw(10, 3, 5, 3)]


epoch = Exercise(
    name="epoch",
    reference=epoch,
    cases=_epoch_cases,
    start=_epoch_listing,
    mistakes=[
        Mistake(_epoch_with(sum, sum),
                "The gradients still pile up, and the losses are not averaged. Back-propagate the batch's own loss, "
                "and clear w.grad after each step."),
        Mistake(_epoch_with(lambda seen: sum(seen) / len(seen)),
                "Each step uses the mean of all gradients so far. A step of SGD uses the gradient of its own batch "
                "alone."),
        Mistake(_epoch_one_step(divide=True),
                "One step for the whole epoch: you moved backward behind the loop, so w stays put while the batches "
                "pass. That is right as full-batch descent, but here each batch takes a step of its own."),
        Mistake(_epoch_one_step(divide=False),
                "One step for the whole epoch, along the sum of all gradients: you moved backward behind the loop. "
                "Here each batch takes a step of its own, from where the last one ended."),
        Mistake(_epoch_with(lambda seen: seen[-1], report=lambda losses: losses[-1]),
                "The steps are right. But the loss you return is the last batch's alone, and that is a noisy "
                "number: return the mean over the batches."),
        Mistake(_epoch_with(lambda seen: seen[-1], report=lambda losses: losses[-1] / len(losses)),
                "The steps are right. But nothing is added up any more: you return the last batch's loss, divided by "
                "the number of batches. Step by the batch's own loss, and keep a separate total for the report."),
        Mistake(_epoch_with(lambda seen: seen[-1], report=sum),
                "The steps are right. But the loss you return is a sum: it depends on how many batches there are. "
                "Return the mean."),
    ],
    properties=[
        Property(_plain_number,
                 "Right steps and the right mean. But the mean is a tensor, not a plain number. A total that adds up "
                 "losses keeps the graphs of all batches in memory: add `loss.item()` instead.",
                 wrong=(_epoch_with_graphs,)),
    ],
    hints=[
        "Which tensor is back-propagated in the second pass of the loop: the second batch's loss, or more? And what "
        "does `retain_graph=True` keep alive?",
        "Back-propagate the loss of this batch alone. Then no graph is needed twice, and `retain_graph` can go. For "
        "the report, keep plain numbers: `loss.item()` has no graph.",
        "In the loop: `loss = F.cross_entropy(x[i] @ w, y[i])`, then `loss.backward()`, then `total = total + "
        "loss.item()`. The step and `w.grad = None` stay as they are; at the end total is already a number.",
    ],
    right="Each step uses its own batch's gradient, and the report is a plain number. (If `retain_graph=True` still "
          "stands, it can go: each graph is walked once.)",
)
