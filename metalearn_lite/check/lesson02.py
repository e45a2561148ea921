"""Quizzes and exercises of lesson 02, Adam and learning the learner."""
import math

import torch

from . import Exercise, Mistake, Property, Quiz

# ------------------------------------------------------------------------------------------------------ warm-up

WARM_UP = (
    Quiz("1. (Lesson 01) A valley has the curvatures 4 and 0.04. What sets the largest rate that plain descent can "
         "take?", [
             ("The 4: the rate must stay below 2 / 4 = 0.5.", True,
              "Along the steep direction each step multiplies the distance by 1 - 4 lr, and that must not leave -1 to "
              "1. The flat direction would be glad of a rate a hundred times larger. There is only one rate."),
             ("The 0.04: the rate must stay below 2 / 0.04 = 50.", False,
              "50 would be right for the flat direction alone. At that rate the steep one runs away."),
             ("Their ratio, 100.", False,
              "The condition number says how slow the best rate is. The largest rate comes from the steep direction "
              "alone."),
         ]),
    Quiz("2. (Lesson 01) The gradient is 1 at every step, and momentum is 0.9. Which value does the velocity v ← 0.9 v + "
         "g approach?", [
             ("1", False, "That would be an average: 0.9 v + 0.1 g. This ball gets the whole push each time."),
             ("10", True, "At rest v = 0.9 v + 1, so v = 1 / (1 - 0.9) = 10. Today you will also meet the average, 0.9 v "
                          "+ 0.1 g, which approaches 1."),
             ("0.9", False, "0.9 is the share that is kept. What gathers is 1 + 0.9 + 0.81 + ..., a sum of 10."),
         ]),
    Quiz("3. (Lesson 00) A learner has been meta-trained on letters of 30 scripts. What shows that it learned to learn, "
         "and not just these letters?", [
             ("Its loss on the queries of the training scripts fell.", False,
              "The queries are other drawings, but of the same letters. It may have learned the letters."),
             ("It does well on tasks made of letters from scripts that it has never met.", True,
              "Held out means held out by task. The same goes for a learned optimiser: it is judged on tasks that had "
              "no part in making it."),
             ("It needs only one example of each letter.", False,
              "The nearest neighbour on pixels needs only one as well, and has learned nothing."),
         ]),
)

# ------------------------------------------------------------------------------------------------------ 1: rmsprop


def rmsprop(w, g, s, lr, rho, eps):
    s = rho * s + (1 - rho) * g ** 2
    w = w - lr * g / (s.sqrt() + eps)
    return w, s


def _rms(average=None, step=None, keep=None):
    """A wrong rmsprop: average(s, g, rho), step(g, new, old, lr, eps), keep(new, old, g), where given."""
    def rmsprop(w, g, s, lr, rho, eps):
        new = average(s, g, rho) if average else rho * s + (1 - rho) * g ** 2
        move = step(g, new, s, lr, eps) if step else lr * g / (new.sqrt() + eps)
        return w - move, keep(new, s, g) if keep else new
    return rmsprop


def _rmsprop_in_place(w, g, s, lr, rho, eps):
    s *= rho
    s += (1 - rho) * g ** 2
    w -= lr * g / (s.sqrt() + eps)
    return w, s


def _draw(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


_CURVATURE = torch.tensor([0.01, 0.3, 1.0], dtype=torch.float64)


def _rmsprop_cases(generator):
    """One number; moments of a descent; other shapes; tiny gradients; a gradient that is zero and always was."""
    one = torch.ones(1, dtype=torch.float64)
    cases = [(one, 2 * one, 0 * one, 0.1, 0.9, 1e-8)]
    w, s = torch.tensor([2.0, -1.0, 1.5], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for t in range(10):
        if t in (0, 1, 9):
            cases.append((w, _CURVATURE * w, s, 0.05, 0.9, 1e-8))
        w, s = _rmsprop(w, _CURVATURE * w, s, 0.05, 0.9, 1e-8)
    w, g, s = _draw(generator, 3, 4, 2)
    cases.append((w, g, s.abs(), 0.1, 0.5, 1e-3))
    w, g, s = _draw(generator, 3, 5)
    return cases + [(w, 1e-6 * g, 1e-12 * s ** 2, 0.1, 0.99, 1e-8), (w, 0 * g, 0 * s, 0.1, 0.99, 1e-8)]


_rmsprop = rmsprop

rmsprop = Exercise(
    name="rmsprop",
    reference=rmsprop,
    cases=_rmsprop_cases,
    mistakes=[
        Mistake(_rms(step=lambda g, new, old, lr, eps: lr * g / (new + eps).sqrt()),
                "Right for ordinary gradients. But your eps is inside the root: √(s + eps) instead of √s + eps. With "
                "gradients of about 1e-6, as in one of the cases, s is 1e-12, and an eps of 1e-8 under the root drowns "
                "it."),
        Mistake(_rms(step=lambda g, new, old, lr, eps: lr * g / new.sqrt()),
                "Right, until a gradient is zero and always was: then you divide 0 by 0. That is what eps is for: "
                "divide by √s + eps."),
        Mistake(_rms(step=lambda g, new, old, lr, eps: lr * g / (old.sqrt() + eps)),
                "You divide by the old s, in which the gradient that you just measured has no part. (At the first step "
                "it is 0, and the step is huge.) First the new s, then the step with it."),
        Mistake(_rms(step=lambda g, new, old, lr, eps: lr * g / (new + eps)),
                "You divide by the mean of g² itself. Its root is missing: only √s has the size of a gradient."),
        Mistake(_rms(step=lambda g, new, old, lr, eps: lr * g),
                "Your s is right, but w takes a plain step: s has no part in it. Divide g by √s + eps."),
        Mistake(_rms(step=lambda g, new, old, lr, eps: g / (new.sqrt() + eps)),
                "The rate lr has no part in the step."),
        Mistake(_rms(step=lambda g, new, old, lr, eps: -lr * g / (new.sqrt() + eps)),
                "You go uphill: the step is taken against g."),
        Mistake(_rms(step=lambda g, new, old, lr, eps: lr * g / new.sqrt() + eps),
                "Brackets: eps is added to the step, where it should be added to the root: divide by (√s + eps)."),
        Mistake(_rms(step=lambda g, new, old, lr, eps: lr / (new.sqrt() + eps)),
                "The gradient itself is missing in the step: lr · g, divided by √s + eps."),
        Mistake(_rms(average=lambda s, g, rho: rho * s + g ** 2),
                "Your s gathers the whole of g² at each step. That is a sum that forgets, ten times too large for rho = "
                "0.9. An average takes the share (1 - rho) of what is new."),
        Mistake(_rms(average=lambda s, g, rho: (1 - rho) * s + rho * g ** 2),
                "The two shares are exchanged: rho, close to 1, is what is *kept* of the old s."),
        Mistake(_rms(average=lambda s, g, rho: s + g ** 2),
                "Your s only grows: all squares count the same for ever. (That is AdaGrad, Duchi et al. 2011.) RMSProp "
                "forgets: keep the share rho of the old s."),
        Mistake(_rms(average=lambda s, g, rho: rho * s + (1 - rho) * g),
                "You average g, not its square. Then pushes to both sides cancel, and a root of what is negative is no "
                "number."),
        Mistake(_rms(average=lambda s, g, rho: rho * s + (1 - rho) * (g ** 2).mean()),
                "Your s mixes all knobs: each gets the same mean square. The point is one s for each knob: g ** 2, "
                "without a sum or a mean."),
        Mistake(_rms(average=lambda s, g, rho: rho * s + (1 - rho) * (g ** 2).sum()),
                "Your s takes the length of all of g, one number for all knobs. Each knob has its own: `g ** 2`, without a "
                "norm or a sum."),
        Mistake(_rms(keep=lambda new, old, g: new.sqrt()),
                "Your w is right, but you return √s for the next step. Return s itself."),
        Mistake(_rms(keep=lambda new, old, g: old),
                "Your w is right, but you return the old s: the next step would not know of this gradient."),
        Mistake(_rmsprop_in_place,
                "Right numbers, but you changed the caller's w and s in place. Compute new tensors: `s = rho * s + ...`."),
        Mistake(lambda w, g, s, lr, rho, eps: _rmsprop(w, g, s, lr, rho, eps)[::-1],
                "Right numbers in the wrong order: return w first, then s."),
    ],
    hints=[
        "Two lines, as in the formulas above: first the new average of the squares, then the step that divides by its "
        "root.",
        "A running average keeps the share rho of the old and takes the share (1 - rho) of the new. The new thing is the "
        "square of g, knob by knob: `g ** 2`.",
        "The step: `lr * g / (...)`, and in the brackets the root of the new s (`s.sqrt()`) plus eps, outside the root.",
    ],
    right="Equal to one step of torch.optim.RMSprop. Each knob is divided by its own size, so lr is now a length: about "
          "how far each knob moves.",
)

# --------------------------------------------------------------------------------------------------------- 2: adam


def adam(w, g, m, v, t, lr, b1, b2, eps):
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g ** 2
    m_hat = m / (1 - b1 ** t)
    v_hat = v / (1 - b2 ** t)
    w = w - lr * m_hat / (v_hat.sqrt() + eps)
    return w, m, v


def _adam_but(mean=None, square=None, m_hat=None, v_hat=None, step=None, keep=None):
    """A wrong adam: the parts given replace the right ones."""
    def adam(w, g, m, v, t, lr, b1, b2, eps):
        new_m = mean(m, g, b1, b2) if mean else b1 * m + (1 - b1) * g
        new_v = square(v, g, b1, b2) if square else b2 * v + (1 - b2) * g ** 2
        a = m_hat(new_m, t, b1, b2) if m_hat else new_m / (1 - b1 ** t)
        b = v_hat(new_v, t, b1, b2) if v_hat else new_v / (1 - b2 ** t)
        move = step(a, b, lr, eps, g, m / (1 - b1 ** t)) if step else lr * a / (b.sqrt() + eps)
        return (w - move, *(keep(new_m, new_v, a, b, m, v) if keep else (new_m, new_v)))
    return adam


def _adam_in_place(w, g, m, v, t, lr, b1, b2, eps):
    m *= b1
    m += (1 - b1) * g
    v *= b2
    v += (1 - b2) * g ** 2
    w -= lr * (m / (1 - b1 ** t)) / ((v / (1 - b2 ** t)).sqrt() + eps)
    return w, m, v


def _adam_cases(generator):
    """The first step of one number; moments of a descent; other shapes and betas; tiny gradients; a zero one."""
    one = torch.ones(1, dtype=torch.float64)
    cases = [(one, 2 * one, 0 * one, 0 * one, 1, 0.1, 0.9, 0.999, 1e-8)]
    w = torch.tensor([2.0, -1.0, 1.5], dtype=torch.float64)
    m, v = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for t in range(1, 11):
        if t in (1, 2, 10):
            cases.append((w, _CURVATURE * w, m, v, t, 0.05, 0.9, 0.99, 1e-8))
        w, m, v = _adam(w, _CURVATURE * w, m, v, t, 0.05, 0.9, 0.99, 1e-8)
    w, g, m, v = _draw(generator, 4, 4, 2)
    cases.append((w, g, m, v.abs(), 3, 0.1, 0.5, 0.8, 1e-3))
    w, g, m, v = _draw(generator, 4, 5)
    cases.append((w, 1e-6 * g, 1e-6 * m, 1e-12 * v ** 2, 5, 0.1, 0.9, 0.99, 1e-8))
    return cases + [(w, 0 * g, 0 * m, 0 * v, 1, 0.1, 0.9, 0.999, 1e-8)]


_adam = adam

adam = Exercise(
    name="adam",
    reference=adam,
    cases=_adam_cases,
    mistakes=[
        Mistake(_adam_but(m_hat=lambda m, t, b1, b2: m, v_hat=lambda v, t, b1, b2: v),
                "The bias correction is missing: both averages began at zero, and the step uses them as they are. "
                "Divide m by 1 - b1^t and v by 1 - b2^t."),
        Mistake(_adam_but(v_hat=lambda v, t, b1, b2: v),
                "Only m is corrected. v began at zero as well: divide it by 1 - b2^t before the root."),
        Mistake(_adam_but(m_hat=lambda m, t, b1, b2: m),
                "Only v is corrected. m began at zero as well: divide it by 1 - b1^t."),
        Mistake(_adam_but(m_hat=lambda m, t, b1, b2: m / (1 - torch.tensor(b1, dtype=m.dtype) ** (t - 1)),
                          v_hat=lambda v, t, b1, b2: v / (1 - torch.tensor(b2, dtype=v.dtype) ** (t - 1))),
                "Your correction counts the steps from 0: at the first step it divides by 1 - b^0, which is 0. Here t is 1 "
                "at the first step."),
        Mistake(_adam_but(m_hat=lambda m, t, b1, b2: m / (1 - b1 ** (t + 1)),
                          v_hat=lambda v, t, b1, b2: v / (1 - b2 ** (t + 1))),
                "Your correction is one step ahead: t is already 1 at the first step, so the power is t itself."),
        Mistake(_adam_but(m_hat=lambda m, t, b1, b2: m / (1 - b1), v_hat=lambda v, t, b1, b2: v / (1 - b2)),
                "Right at the first step only: you divide by 1 - b at every step. The correction fades with time: the "
                "power t is missing."),
        Mistake(_adam_but(m_hat=lambda m, t, b1, b2: m / (1 - b1 * t), v_hat=lambda v, t, b1, b2: v / (1 - b2 * t)),
                "b · t where b to the power t is meant: `b1 ** t`."),
        Mistake(_adam_but(m_hat=lambda m, t, b1, b2: m * (1 - b1 ** t), v_hat=lambda v, t, b1, b2: v * (1 - b2 ** t)),
                "You multiply by 1 - b^t. The averages are too small by that factor: divide."),
        Mistake(_adam_but(m_hat=lambda m, t, b1, b2: m / (1 - b2 ** t), v_hat=lambda v, t, b1, b2: v / (1 - b1 ** t)),
                "In the correction the two shares are exchanged: m is divided by 1 - b1^t, v by 1 - b2^t. Each average "
                "has a share of its own."),
        Mistake(_adam_but(v_hat=lambda v, t, b1, b2: v / (1 - b1 ** t)),
                "v is corrected with b1. It was averaged with b2, so its factor is 1 - b2^t."),
        Mistake(_adam_but(v_hat=lambda v, t, b1, b2: v / (1 - b2 ** t) ** 2),
                "You take the root of v first and correct it then, with the whole factor. v itself is divided by 1 - "
                "b2^t, and then comes the root."),
        Mistake(_adam_but(keep=lambda m, v, a, b, old_m, old_v: (a, b)),
                "Your w is right, but you return the *corrected* averages. Then the next step corrects them once more. "
                "The correction is for this step's move only: return m and v as they were averaged."),
        Mistake(_adam_but(step=lambda a, b, lr, eps, g, old: lr * a / (b + eps).sqrt()),
                "Right for ordinary gradients. But your eps is inside the root: with gradients of about 1e-6, as in one "
                "of the cases, it drowns v̂ = 1e-12. √v̂ + eps is meant."),
        Mistake(_adam_but(step=lambda a, b, lr, eps, g, old: lr * a / b.sqrt()),
                "Right, until a gradient is zero and always was: then you divide 0 by 0. Divide by √v̂ + eps."),
        Mistake(_adam_but(step=lambda a, b, lr, eps, g, old: lr * a / (b + eps)),
                "The root is missing: divide by √v̂ + eps."),
        Mistake(_adam_but(step=lambda a, b, lr, eps, g, old: lr * a),
                "v has no part in the step: this is momentum with an average. Divide by √v̂ + eps."),
        Mistake(_adam_but(step=lambda a, b, lr, eps, g, old: lr * g / (b.sqrt() + eps)),
                "m has no part in the step: this is RMSProp with a correction. Put m̂ in the place of g."),
        Mistake(_adam_but(step=lambda a, b, lr, eps, g, old: lr * g),
                "That is plain gradient descent: neither m nor v has a part in the step. The formula lr · m̂ / (√v̂ + eps) "
                "is what makes it Adam."),
        Mistake(_adam_but(step=lambda a, b, lr, eps, g, old: -lr * a / (b.sqrt() + eps)),
                "You go uphill: the step is subtracted from w."),
        Mistake(_adam_but(step=lambda a, b, lr, eps, g, old: lr * old / (b.sqrt() + eps)),
                "You move with the old m. The gradient that you just measured has no part in the direction: first "
                "update m, then move with it."),
        Mistake(_adam_but(mean=lambda m, g, b1, b2: b1 * m + g, square=lambda v, g, b1, b2: b2 * v + g ** 2),
                "m and v are sums, not averages: they take the whole of what is new. Take the shares (1 - b1) and (1 - "
                "b2)."),
        Mistake(_adam_but(mean=lambda m, g, b1, b2: b1 * m + g),
                "m takes the whole of g, like lesson 01's ball. Here it is an average: the share (1 - b1)."),
        Mistake(_adam_but(square=lambda v, g, b1, b2: b2 * v + (1 - b2) * g),
                "v averages g. It should average its square."),
        Mistake(_adam_but(mean=lambda m, g, b1, b2: b2 * m + (1 - b2) * g,
                          square=lambda v, g, b1, b2: b1 * v + (1 - b1) * g ** 2),
                "The two betas are exchanged: b1 belongs to m, b2 to v."),
        Mistake(lambda w, g, m, v, t, lr, b1, b2, eps: _adam(w, g, m, v, t, lr, b2, b1, eps),
                "The two betas are exchanged everywhere, in the averages and in the correction: b1 belongs to m, b2 to v."),
        Mistake(_adam_but(mean=lambda m, g, b1, b2: (1 - b1) * m + b1 * g,
                          square=lambda v, g, b1, b2: (1 - b2) * v + b2 * g ** 2),
                "The shares are exchanged: b1 and b2, close to 1, are what is kept of the old averages."),
        Mistake(_adam_but(keep=lambda m, v, a, b, old_m, old_v: (old_m, old_v)),
                "Your w is right, but you return the old averages: the next step would know nothing of this one."),
        Mistake(_adam_in_place,
                "Right numbers, but you changed the caller's w, m and v in place. Compute new tensors: `m = b1 * m + "
                "...`."),
    ],
    hints=[
        "Five lines, in the order of the formulas: m, v, the corrected m̂ and v̂, and the step. `rmsprop` had two of them.",
        "m is a running average of g with b1, v one of g ** 2 with b2. Then `m_hat = m / (1 - b1 ** t)`, and v_hat in the "
        "same way.",
        "The step is your RMSProp step with m_hat in the place of g and v_hat in the place of s. Return w, m and v: the "
        "averages, not the corrected ones.",
    ],
    right="Equal to one step of torch.optim.Adam. The first step moves every knob by lr, whatever the size of its "
          "gradient.",
)

# ---------------------------------------------------------------------------------- bug hunt 1: Adam by name only

BY_NAME = Quiz("Which of the findings convicts the listing, all by itself?", [
    ("It ends higher than torch.optim.Adam.", False,
     "It does, but a bad rate or bad luck would do that as well. Which finding cannot be explained by a rate?"),
    ("Multiplying the loss by 1000 multiplied its step by 1000.", True,
     "Adam divides each gradient by its own size, so a factor cancels, whatever the rate. A step that grows with the "
     "gradient is gradient descent, whatever its name. A test like this needs no second implementation to compare "
     "with."),
    ("It has no argument for the betas.", False,
     "They could be fixed inside. Judge a function by what it does, not by its arguments."),
    ("Its loss falls from step to step.", False,
     "That is no charge at all: plain descent at a small rate falls at every step."),
])

# ---------------------------------------------------------------------------------------------------------- 3: hvp


def hvp(A, w, v):
    w = w.clone().requires_grad_()
    loss = ((A @ w) ** 4).sum()
    (g,) = torch.autograd.grad(loss, w, create_graph=True)
    (Hv,) = torch.autograd.grad(g @ v, w)
    return Hv


def _gradient4(A, w):
    return 4 * A.T @ (A @ w) ** 3


def _hessian4(A, w):
    return 12 * A.T @ ((A @ w)[:, None] ** 2 * A)


def _hvp_without_graph(A, w, v):
    w = w.clone().requires_grad_()
    (g,) = torch.autograd.grad(((A @ w) ** 4).sum(), w)
    return torch.autograd.grad(g @ v, w)[0]


def _hvp_of_a_vector(A, w, v):
    w = w.clone().requires_grad_()
    (g,) = torch.autograd.grad(((A @ w) ** 4).sum(), w, create_graph=True)
    return torch.autograd.grad(g * v, w)[0]


def _hvp_cases(generator):
    small = (torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64), torch.tensor([1.0, 0.5], dtype=torch.float64),
             torch.tensor([1.0, 0.0], dtype=torch.float64))
    cases = [(_draw(generator, n, d), _draw(generator, d), _draw(generator, d)) for n, d in ((4, 3), (3, 5))]
    return [small, *cases]


hvp = Exercise(
    name="hvp",
    reference=hvp,
    cases=_hvp_cases,
    mistakes=[
        Mistake(_hvp_without_graph,
                "Your g was taken without `create_graph=True`, so it is a row of numbers without a history, and cannot be "
                "differentiated again.", says="does not require grad"),
        Mistake(_hvp_of_a_vector,
                "You asked for the gradient of a vector. A gradient belongs to one number: add up the g[i] v[i] first, "
                "`g @ v`.", says="scalar outputs"),
        Mistake(lambda A, w, v: _gradient4(A, w),
                "That is the gradient itself: v has no part in it. Form the number g @ v, and take *its* gradient."),
        Mistake(lambda A, w, v: _gradient4(A, w) * v,
                "That is g times v, knob by knob: nothing was differentiated a second time. Take the gradient of the "
                "number g @ v."),
        Mistake(lambda A, w, v: _gradient4(A, w) @ v,
                "That is the number g @ v, the slope of the loss along v. It is the right thing to differentiate: take "
                "its gradient with respect to w."),
        Mistake(lambda A, w, v: _hessian4(A, w).sum(0),
                "You added up the rows of H: the gradient of `g.sum()`. v says how much of each row is wanted: `g @ v`."),
        Mistake(lambda A, w, v: _hessian4(A, w).diagonal() * v,
                "Only the diagonal of H has a part: you took the derivative of each g[j] with respect to its own knob. "
                "The other knobs count as well."),
        Mistake(lambda A, w, v: _hessian4(A, w).sum(0) * v,
                "You multiplied by v after the second derivative: the rows of H were added up already. Multiply before: "
                "`g @ v`, and then take the gradient."),
        Mistake(lambda A, w, v: 2 * _hessian4(A, w) @ _gradient4(A, w),
                "That is the slope of g @ g. The number to differentiate is g @ v, with v held constant."),
        Mistake(lambda A, w, v: _hessian4(A, w) @ w,
                "That is H times w. The direction to multiply with is v."),
        Mistake(lambda A, w, v: v @ _hessian4(A, w) @ v,
                "That is the number vᵀHv, the curvature along v. The exercise asks for the vector Hv."),
        Mistake(lambda A, w, v: _hessian4(A, w),
                "That is the whole of H. It works for five knobs; for a network's it would not fit into memory. Two "
                "gradients are enough for H v."),
    ],
    hints=[
        "Take the gradient g so that it keeps its history. Then make one number of g and v, and take the gradient of "
        "that number.",
        "The history is kept with `create_graph=True`. The number is `g @ v`: v is a constant, so its gradient is the sum "
        "of the gradients of the g[i], each times v[i].",
        "First `torch.autograd.grad(loss, w, ...)` with create_graph, which gives g in a tuple. Then "
        "`torch.autograd.grad(..., w)` of the number.",
    ],
    right="Equal to H v. Two gradients do it, whatever the number of knobs, and H need not be formed. (A difference of "
          "two gradients is as cheap and passes too; but its run has to be neither too long nor too short.)",
)

# ------------------------------------------------------------------------------------------------- 4: lr_hypergrad


def lr_hypergrad(A, b, w, lr, steps):
    def loss(w):
        return ((A @ w - b) ** 2).mean() / 2

    lr = torch.tensor(lr, dtype=w.dtype, requires_grad=True)
    w = w.clone().requires_grad_()
    for t in range(steps):
        (g,) = torch.autograd.grad(loss(w), w, create_graph=True)
        w = w - lr * g
    (h,) = torch.autograd.grad(loss(w), lr)
    return h


def _unrolled(A, b, w, lr, steps):
    """By formulas, without autograd: w_T, d w_T / d lr, and the gradients on the way."""
    dw, seen, n = torch.zeros_like(w), [], len(b)
    for _ in range(steps):
        g = A.T @ (A @ w - b) / n
        seen.append(g)
        dw = dw - g - lr * A.T @ (A @ dw) / n
        w = w - lr * g
    return w, dw, seen


def _slope_at(A, b, w):
    return A.T @ (A @ w - b) / len(b)


def _hyper(rule):
    """A wrong lr_hypergrad: rule(end, d end / d lr, gradients on the way, lr, gradient function)."""
    def lr_hypergrad(A, b, w, lr, steps):
        end, dw, seen = _unrolled(A, b, w, lr, steps)
        return rule(end, dw, seen, lr, lambda w: _slope_at(A, b, w))
    return lr_hypergrad


def _summed_losses(A, b, w, lr, steps):
    total = torch.zeros((), dtype=w.dtype)
    for t in range(1, steps + 1):
        end, dw, _ = _unrolled(A, b, w, lr, t)
        total = total + _slope_at(A, b, end) @ dw
    return total


def _slope_of_the_start(A, b, w, lr, steps):
    g = _slope_at(A, b, w)
    return _slope_at(A, b, w - lr * steps * g) @ (-steps * g)


def _path_cut(A, b, w, lr, steps):
    lr = torch.tensor(lr, dtype=w.dtype, requires_grad=True)
    for _ in range(steps):
        w = (w - lr * _slope_at(A, b, w)).detach().requires_grad_()
    return torch.autograd.grad(((A @ w - b) ** 2).mean() / 2, lr)[0]


def _by_differences(A, b, w, lr, steps):
    def end(lr):
        return ((A @ _unrolled(A, b, w, lr, steps)[0] - b) ** 2).mean() / 2
    return (end(lr + 1e-2) - end(lr)) / 1e-2


def _hypergrad_cases(generator):
    eye, one = torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    longer = [(_draw(generator, n, d), _draw(generator, n), _draw(generator, d), lr, steps)
              for n, d, lr, steps in ((6, 3, 0.1, 3), (4, 4, 0.3, 5))]
    return [longer[0], (eye, 0 * one, one, 0.5, 1), longer[1]]


lr_hypergrad = Exercise(
    name="lr_hypergrad",
    reference=lr_hypergrad,
    cases=_hypergrad_cases,
    mistakes=[
        Mistake(_path_cut,
                "The last loss has no path back to lr. Something cut it: `lr.item()` is a plain number, and `detach` (or a "
                "new `requires_grad_()`) forgets how w was made. Make each new w from the old w, from lr itself and from g. "
                "(`allow_unused=True` would only hide it.)", says="not have been used in the graph"),
        Mistake(_hyper(lambda end, dw, seen, lr, slope: -slope(end) @ sum(seen)),
                "Right after one step, wrong after three: your gradients on the way count as constants. But g at the "
                "second step depends on lr as well, through the place where it is taken. Keep its history: "
                "`create_graph=True`, and no detach."),
        Mistake(_hyper(lambda end, dw, seen, lr, slope: -slope(end) @ seen[-1]),
                "Right after one step, wrong after three: only the last step counts. Somewhere w loses its history at "
                "each step (`detach`, or a new `requires_grad_()`). It must run from the first w to the last. (Or did you "
                "divide by the number of steps?)"),
        Mistake(_hyper(lambda end, dw, seen, lr, slope: -(slope(end) @ dw)),
                "Right size, wrong sign."),
        Mistake(_summed_losses,
                "You differentiate the sum of the losses after each step. The exercise asks for the loss at the end "
                "alone."),
        Mistake(_slope_of_the_start,
                "Every step uses the gradient at the start. As you walk, the slope changes: take it at the w of this "
                "step."),
        Mistake(_hyper(lambda end, dw, seen, lr, slope: lr - slope(end) @ dw),
                "That is a new rate. The exercise asks for the slope of the loss in lr, nothing more."),
        Mistake(_hyper(lambda end, dw, seen, lr, slope: slope(end)),
                "That is the gradient in the last w. The question is how the loss changes with lr."),
        Mistake(_by_differences,
                "That is close, a difference of two runs, but not exact. Let autograd walk back through all the steps."),
    ],
    hints=[
        "The loop is plain descent. Two things make it differentiable: each new w is a new tensor, made from the old one "
        "and lr; and each g keeps its history.",
        "In the loop: `torch.autograd.grad(loss(w), w, create_graph=True)`, then w less lr times g, as a new tensor. After "
        "the loop: the gradient of the last loss with respect to lr.",
        "`(g,) = ...` and `(h,) = ...` take the one gradient out of its tuple. The last one is "
        "`torch.autograd.grad(loss(w), ...)`: with respect to what?",
    ],
    right="Equal to finite differences, at any number of steps. The loss at the end knows of lr through every step.",
)

# ------------------------------------------------------------------------------------ 5: meta_step, a bug hunt


def meta_step(lr, tasks, steps, outer_lr):
    lr = torch.tensor(lr, dtype=torch.float64, requires_grad=True)
    outer = torch.optim.SGD([lr], lr=outer_lr)
    total = 0.0
    for A, b, w in tasks:
        w = w.clone().requires_grad_()
        for t in range(steps):
            loss = ((A @ w - b) ** 2).mean() / 2
            (g,) = torch.autograd.grad(loss, w, create_graph=True)
            w = w - lr * g
        total = total + ((A @ w - b) ** 2).mean() / 2
    (total / len(tasks)).backward()
    outer.step()
    return lr.item()


def _meta_step_listing(lr, tasks, steps, outer_lr):
    lr = torch.tensor(lr, dtype=torch.float64, requires_grad=True)
    outer = torch.optim.SGD([lr], lr=outer_lr)
    total = 0.0
    for A, b, w in tasks:
        w = w.clone().requires_grad_()
        inner = torch.optim.SGD([w], lr=lr.item())
        for t in range(steps):
            inner.zero_grad()
            loss = ((A @ w - b) ** 2).mean() / 2
            loss.backward()
            inner.step()
        total = total + ((A @ w - b) ** 2).mean() / 2
    (total / len(tasks)).backward()
    outer.step()
    return lr.item()


def _meta_step_with(hyper, join):
    """A wrong repair: hyper(A, b, w, lr, steps) is each task's gradient, join(list of them) the update's."""
    def meta_step(lr, tasks, steps, outer_lr):
        return lr - outer_lr * float(join([hyper(A, b, w, lr, steps) for A, b, w in tasks]))
    return meta_step


def _exact(A, b, w, lr, steps):
    end, dw, _ = _unrolled(A, b, w, lr, steps)
    return _slope_at(A, b, end) @ dw


def _mean(values):
    return sum(values) / len(values)


def _detached(A, b, w, lr, steps):
    end, _, seen = _unrolled(A, b, w, lr, steps)
    return -_slope_at(A, b, end) @ sum(seen)


def _one_step(A, b, w, lr, steps):
    end, _, seen = _unrolled(A, b, w, lr, steps)
    return -_slope_at(A, b, end) @ seen[-1]


def _one_after_another(lr, tasks, steps, outer_lr):
    for A, b, w in tasks:
        lr = lr - outer_lr * float(_exact(A, b, w, lr, steps))
    return lr


def _meta_step_cases(generator):
    def task(n, d):
        return _draw(generator, n, d), _draw(generator, n), _draw(generator, d)

    return [(0.05, [task(6, 3)], 3, 0.01), (0.1, [task(6, 3), task(5, 2), task(4, 4)], 4, 0.02)]


meta_step = Exercise(
    name="meta_step",
    reference=meta_step,
    cases=_meta_step_cases,
    start=_meta_step_listing,
    mistakes=[
        Mistake(_meta_step_with(_detached, _mean),
                "Now lr gets a gradient, but not the right one: the gradients on the way count as constants. It is bug "
                "number 2 of this lesson, order one in the name of order two. `create_graph=True` keeps their history."),
        Mistake(_meta_step_with(_one_step, _mean),
                "Now lr gets a gradient, but only through the last step of each task: w loses its history at each step. "
                "Let each new w be made from the old one, without detach."),
        Mistake(_meta_step_with(_exact, sum),
                "Each task's part is right. But you step along the sum: with twice as many tasks the step would be twice "
                "as long. Divide by the number of tasks."),
        Mistake(_meta_step_with(_exact, lambda values: values[-1]),
                "Only the last task counts: the others' losses are lost. Add them up, and divide by their number."),
        Mistake(_meta_step_with(_exact, lambda values: values[-1] / len(values)),
                "Only the last task counts, and is then divided by the number of tasks: add the losses up."),
        Mistake(_meta_step_with(_exact, lambda values: -_mean(values)),
                "The rate moves uphill: the wrong sign."),
        Mistake(_one_after_another,
                "You step after each task, so that the second one is run at a new rate already. One meta-update runs all "
                "tasks at the same rate, and then takes one step."),
    ],
    hints=[
        "`print(lr.grad)` before `outer.step()`. Where does the path from the last loss back to lr end? Which two calls "
        "cut it?",
        "`lr.item()` is a plain number: no path. And `inner.step()` overwrites w in place, without a record. The inner "
        "step has to be a formula: new w from old w, lr and g.",
        "Drop `inner`. In the loop take the gradient with `torch.autograd.grad(loss, w, create_graph=True)`, and write "
        "the step as in exercise 4. The rest of the listing may stay.",
    ],
    right="Now the rate has a path from every task's last loss. The two lines that cut it were `lr.item()` and "
          "`inner.step()`.",
)

# ------------------------------------------------------------------------------------------------------ 6: meta_lr


def meta_lr(train_tasks, test_tasks, steps):
    def final(tasks, lr):
        losses = []
        for A, b, w in tasks:
            w = w.clone().requires_grad_()
            for t in range(steps):
                (g,) = torch.autograd.grad(((A @ w - b) ** 2).mean() / 2, w, create_graph=True)
                w = w - lr * g
            losses.append(((A @ w - b) ** 2).mean() / 2)
        return torch.stack(losses).mean()

    log_lr = torch.tensor(-3.0, dtype=torch.float64, requires_grad=True)
    outer = torch.optim.Adam([log_lr], lr=0.1)
    best = (float("inf"), None)
    for update in range(60):
        outer.zero_grad()
        value = final(train_tasks, log_lr.exp())
        best = min(best, (value.item(), log_lr.exp().item()))
        value.backward()
        outer.step()
    return best[1], final(test_tasks, best[1]).item()


def _final(tasks, lr, steps):
    """Mean loss after ``steps`` steps at the rate ``lr``."""
    losses = []
    for A, b, w in tasks:
        w = _unrolled(A, b, w, float(lr), steps)[0]
        losses.append(((A @ w - b) ** 2).mean().item() / 2)
    return sum(losses) / len(losses)


_GRID = torch.logspace(-3, 0, 61, dtype=torch.float64).tolist()


def _meta_lr_with(chooses=lambda train, test: train, reports=lambda train, test: test, report=_final,
                  pick=lambda lr, train, steps: lr):
    """A wrong meta_lr (by a grid): which tasks choose the rate, which are reported, and how."""
    def meta_lr(train_tasks, test_tasks, steps):
        tasks = chooses(train_tasks, test_tasks)
        best = min(_GRID, key=lambda lr: _final(tasks, lr, steps))
        lr = pick(best, train_tasks, steps)
        return lr, report(reports(train_tasks, test_tasks), lr, steps)
    return meta_lr


def _family(seed, scales):
    """Regressions of 8 points with 3 knobs; the scale of a task decides how large a rate it can take."""
    generator = torch.Generator().manual_seed(seed)
    tasks = []
    for scale in scales:
        A, w = scale * _draw(generator, 8, 3), _draw(generator, 3)
        tasks.append((A, A @ _draw(generator, 3) + 0.1 * _draw(generator, 8), w))
    return tasks


_TRAIN, _TEST, _OTHER = _family(0, (1.4, 0.7, 0.35)), _family(1, (1.0, 0.6)), _family(2, (2.8, 2.1))
_STEEPER = _family(0, (2.8, 1.4, 0.7))  # four times the curvature: the best rate is a quarter, 0.16
_STEPS = 4


def _turned(tasks, seed):
    """The same tasks in other coordinates: points and knobs are turned, and at each rate the losses stay what they are."""
    generator = torch.Generator().manual_seed(seed)
    turned = []
    for A, b, w in tasks:
        (points, _), (knobs, _) = (torch.linalg.qr(_draw(generator, n, n)) for n in A.shape)
        turned.append((points @ A @ knobs, points @ b, knobs.T @ w))
    return turned


def _two_numbers(fn, seed):
    lr, held_out = fn(_turned(_TRAIN, seed), _turned(_TEST, seed), _STEPS)
    return not (float(lr) <= 0 or float(held_out) < 0)


def _finite(fn, seed):
    return all(math.isfinite(value) for value in fn(_turned(_TRAIN, seed), _turned(_TEST, seed), _STEPS))


def _held_out_is_reported(fn, seed):
    lr, held_out = fn(_turned(_TRAIN, seed), _turned(_TEST, seed), _STEPS)
    return abs(float(held_out) - _final(_TEST, lr, _STEPS)) <= 1e-4 * (1 + abs(float(held_out)))


def _tests_have_no_say(fn, seed):
    train = _turned(_TRAIN, seed)
    rates = [float(fn(train, _turned(test, seed), _STEPS)[0]) for test in (_TEST, _OTHER)]
    return abs(rates[0] - rates[1]) < 1e-6


def _all_train_tasks_count(fn, seed):
    train, test = _turned(_TRAIN, seed), _turned(_TEST, seed)
    rates = [float(fn(tasks, test, _STEPS)[0]) for tasks in (train, train[1:] + train[:1])]
    return max(rates) <= 1.1 * min(rates)


def _near_the_best(fn, seed):
    test = _turned(_TEST, seed)
    return all(_final(tasks, fn(tasks, test, _STEPS)[0], _STEPS) <= 1.1 * min(_final(tasks, lr, _STEPS) for lr in _GRID)
               for tasks in (_turned(_TRAIN, seed), _turned(_STEEPER, seed)))


meta_lr = Exercise(
    name="meta_lr",
    reference=meta_lr,
    cases=[],
    mistakes=[],
    properties=[
        Property(_two_numbers,
                 "Expected two numbers: a rate above 0, and the mean loss on the held-out tasks.",
                 wrong=(lambda train, test, steps: (-0.1, 0.5),)),
        Property(_finite,
                 "Your rate or your loss is not a finite number: the outer steps ran away. Move the logarithm of lr, and "
                 "start with a small rate.",
                 wrong=(lambda train, test, steps: (float("nan"), float("nan")),
                        lambda train, test, steps: (1e200, _final(test, 1e200, steps)))),
        Property(_tests_have_no_say,
                 "With other test tasks your rate is another: the held-out tasks had a say in it. Then their loss is no "
                 "evidence any more. Only train_tasks may choose.",
                 wrong=(_meta_lr_with(chooses=lambda train, test: test),
                        _meta_lr_with(chooses=lambda train, test: train + test))),
        Property(_all_train_tasks_count,
                 "With the same training tasks in another order your rate is another: one task (the last? the first?) "
                 "decides alone. Average the final losses of all training tasks, and descend on that.",
                 wrong=(_meta_lr_with(chooses=lambda train, test: train[-1:]),
                        _meta_lr_with(chooses=lambda train, test: train[:1]))),
        Property(_near_the_best,
                 "On the training tasks your rate is more than 10 % worse than the best one of a grid. Print the rate and "
                 "its slope at each meta-update. Is the first slope huge, and does the rate hardly move after it? Then you "
                 "started beyond the limit of these tasks, and Adam's v remembers that slope: start smaller, at 0.05 say. If "
                 "not: more meta-updates? Is it the loss after the *last* step that you minimise? Let the outer loop move "
                 "the logarithm of lr: then lr stays above 0, and a step is a factor.",
                 wrong=(_meta_lr_with(pick=lambda lr, train, steps: 0.2 * lr),
                        lambda train, test, steps: (0.3, _final(test, 0.3, steps)), lambda train, test, steps:
                        (min(_GRID, key=lambda lr: _final(train, lr, 1)) * 0.5,
                         _final(test, min(_GRID, key=lambda lr: _final(train, lr, 1)) * 0.5, steps)))),
        Property(_held_out_is_reported,
                 "The rate is good. But the second number is not the mean loss of test_tasks after all the steps at that "
                 "rate. (The training tasks' loss? A sum? One task's alone? After another number of steps?)",
                 wrong=(_meta_lr_with(reports=lambda train, test: train),
                        _meta_lr_with(reports=lambda train, test: test[-1:]),
                        _meta_lr_with(report=lambda tasks, lr, steps: len(tasks) * _final(tasks, lr, steps)),
                        _meta_lr_with(report=lambda tasks, lr, steps: _final(tasks, lr, 0)))),
    ],
    hints=[
        "Exercise 4 for every training task, averaged, is the slope. Then descend on it, with any optimiser you like: "
        "an outer loop around the inner one.",
        "Let the outer loop move `log_lr`, with lr = exp(log_lr): a tensor with requires_grad, given to "
        "`torch.optim.Adam`. A function that returns the mean final loss of a list of tasks serves training and test.",
        "Outer loop, sixty times, from a small rate such as 0.05: zero_grad; mean final loss of train_tasks at "
        "`log_lr.exp()`, built with create_graph; backward; step. Then the same function on test_tasks, and `.item()` on "
        "both numbers.",
    ],
    right="A rate, learned on some tasks and judged on others. (For one number a grid would do as well, and the check "
          "takes it. For a rate for each weight no grid will.)",
)

# ----------------------------------------------------------------------------------------- what is a meta-learner?

WHICH = Quiz("Which of these is a meta-learner, as this lesson uses the word?", [
    ("Adam at rate 0.001 trains one large network for a month.", False,
     "One task, however long. Nothing that outlives the task gets better, and nothing is judged on a task that was held "
     "out."),
    ("A person picks Adam's rate by its loss on 20 scripts; it is then used on new scripts.", True,
     "The pair of Adam and that choice is one: something of the update rule (the rate) is fitted on a family of tasks, "
     "and is to pay on new ones. What learns is the choice. Adam itself is only what is being tuned."),
    ("RMSProp, because it adapts a rate for each weight as it goes.", False,
     "It adapts within a task, by a rule that nobody trained. On the hundredth task it starts where it started on the "
     "first."),
    ("An LSTM with random weights in the place of the update rule.", False,
     "It *could* be trained, but it was not. What counts is that the rule was fitted on tasks."),
])
