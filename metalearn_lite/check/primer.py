"""Quizzes and exercises of the primer on PyTorch."""
from functools import partial

import torch
import torch.nn.functional as F

from . import Exercise, Mistake, Quiz

# ---------------------------------------------------------------------------------------------------- self-test

SELF_TEST = (
    Quiz("1. x has shape (6, 1, 28, 28). What is the shape of x.flatten(1)[:, None] - torch.zeros(5, 784)?", [
        ("(6, 5, 784)", True,
         "flatten(1) gives (6, 784), and None makes it (6, 1, 784). Sizes that are 1 or missing are stretched, so (6, "
         "1, 784) - (5, 784) gives (6, 5, 784)."),
        ("(6, 784)", False,
         "That is flatten(1) alone. None adds a dimension of size 1, and broadcasting stretches it to 5."),
        ("an error", False,
         "(6, 1, 784) and (5, 784) fit: aligned at the right, the sizes are equal, or one is 1 or missing."),
        ("(30, 784)", False, "Broadcasting never merges dimensions: the 6 and the 5 stay apart."),
    ]),
    Quiz("2. v is 2 and requires a gradient. What is the derivative of (v**2).detach() * v with respect to v?", [
        ("12", False, "That is the derivative of v³, 3v². detach() cuts the first factor off from v."),
        ("4", True, "detach() makes the first factor a constant, 4, and the derivative of 4v is 4."),
        ("0", False, "Only the first factor is cut off. The second one is still v itself."),
        ("an error", False,
         "An error comes if *nothing* leads back to v. Here the second factor does."),
    ]),
    Quiz("3. z has shape (5, 3), and y holds five class labels. Which is the same number as F.cross_entropy(z, y)?", [
        ("F.cross_entropy(z + 10, y)", True,
         "Softmax divides by the sum, so the common factor e^10 cancels. Only differences between logits count."),
        ("F.cross_entropy(10 * z, y)", False,
         "The differences between the logits grow tenfold, so the probabilities change."),
        ("F.cross_entropy(torch.softmax(z, dim=-1), y)", False,
         "Another number, and no error. Section 3 shows what it computes."),
        ("F.nll_loss(z, y)", False,
         "F.nll_loss wants log-probabilities, torch.log_softmax(z, dim=-1). z holds logits."),
    ]),
    Quiz("4. Which order makes a training step?", [
        ("zero_grad, the loss, backward, step", True,
         "Clear the old gradients, compute the loss, fill the gradients, move the parameters."),
        ("the loss, backward, zero_grad, step", False,
         "zero_grad throws away what backward has just computed: step finds no gradient, and nothing moves."),
        ("zero_grad, the loss, step, backward", False, "step finds no gradient yet: backward computes it too late."),
        ("zero_grad, backward, the loss, step", False, "backward starts from the loss, which must be there first."),
    ]),
    Quiz("5. Images (6, 1, 28, 28) go through nn.Conv2d(1, 64, 3, padding=1), then nn.MaxPool2d(2). Which shape?", [
        ("(6, 64, 14, 14)", True, "With padding 1 a 3x3 kernel keeps 28, and the pooling halves it."),
        ("(6, 64, 13, 13)", False, "Without padding 28 would become 26, and 13 after the pooling. Padding 1 keeps 28."),
        ("(6, 1, 14, 14)", False, "Each of the 64 kernels makes a channel of its own."),
        ("(64, 6, 14, 14)", False, "The batch dimension stays the first."),
    ]),
    Quiz("6. net holds batch norm and is trained. Now you only want its predictions. What do you call?", [
        ("net.eval(), and nothing else", False,
         "The predictions are right, but PyTorch still records every operation: wasted time and memory."),
        ("torch.no_grad(), and nothing else", False,
         "It stops the recording, and nothing else: the layers still work as in training."),
        ("both", True, "eval() changes what some layers compute, no_grad() stops the recording: two switches."),
        ("neither: a trained network is ready", False, "A network stays in train() mode until you say otherwise."),
    ]),
)

# ---------------------------------------------------------------------------------------------------- 1: softmax


def softmax(z):
    e = torch.exp(z - z.max(dim=-1, keepdim=True).values)
    return e / e.sum(dim=-1, keepdim=True)


def _exp(z):
    return torch.exp(z - z.max(dim=-1, keepdim=True).values)


def _softmax_cases(generator):
    def draw(*shape):
        return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [(torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64),), (draw(3, 3),), (draw(2, 4, 3),),
            (torch.tensor([[1000.0, 999.0, 0.0], [-1000.0, -1000.0, -1001.0]], dtype=torch.float64),)]


softmax = Exercise(
    name="softmax",
    reference=softmax,
    cases=_softmax_cases,
    mistakes=[
        Mistake(lambda z: _exp(z) / _exp(z).sum(),
                "You divide by one sum for the whole tensor, so all rows together share the probability 1. Each row "
                "needs a sum of its own: add up along the last dimension only."),
        Mistake(lambda z: _exp(z) / _exp(z).sum(dim=0, keepdim=True),
                "Your columns sum to 1, not your rows: dim=0 adds up over the images, so that they share out the "
                "probability of a class among them. The classes stand in the last dimension, dim=-1."),
        Mistake(lambda z: _exp(z) / _exp(z).sum(dim=-1),
                "You add up along the right dimension, but the sum has the shape (rows,), and broadcasting aligns it "
                "with the N of (rows, N). For 2 x 3 logits that is an error. For 3 x 3 it runs, and divides column 0 "
                "by the sum of row 0, and so on. Keep the summed dimension as a 1, so that (rows, N) meets (rows, "
                "1)."),
        Mistake(lambda z: _exp(z) / _exp(z).sum(dim=-1)[:, None],
                "Right for two dimensions. Case 3 has three, (2, 4, 3): there `[:, None]` makes (2, 1, 4) of the sums "
                "(2, 4), and they fit no more. The new 1 belongs at the end, whatever stands before it: use "
                "`keepdim=True`."),
        Mistake(lambda z: _exp(z) / _exp(z).sum(dim=1, keepdim=True),
                "Right for two dimensions, where dim=1 is the last. Case 3 has three, (2, 4, 3): there dim=1 is the "
                "4, and the classes are dim=2. Count from the end: dim=-1."),
        Mistake(lambda z: torch.softmax(z, dim=1),
                "PyTorch's own softmax is fine, but not along dim=1: in case 3, (2, 4, 3), that is not the last "
                "dimension. Count from the end: dim=-1."),
        Mistake(lambda z: _exp(z) / torch.exp(z).sum(dim=-1, keepdim=True),
                "Above the line stands e, from which the largest logit was subtracted, and below it exp(z), from "
                "which it was not. Add up e itself."),
        Mistake(lambda z: torch.exp(z) / torch.exp(z).sum(dim=-1, keepdim=True),
                "This is right for small logits, but nan in the last case: exp(1000) is infinite, and exp(-1000) is 0 "
                "for a whole row. Keep the line that subtracts the largest logit, and use its e."),
        Mistake(lambda z: torch.log_softmax(z, dim=-1),
                "These are the logarithms of the probabilities, none above 0. Return the probabilities themselves."),
        Mistake(_exp, "The largest entry of each row is 1, as in e itself. The proportions are right, but a row does "
                      "not sum to 1 yet: divide by the row's sum."),
    ],
    hints=[
        "The probabilities of a row are its e, each divided by the sum of that row's e. Along which dimension does a "
        "row of z (..., N) run?",
        "`e.sum(dim=-1)` adds up each row, and the last dimension is gone from its shape. Broadcasting aligns shapes "
        "at the right. Which shape must the divisor have, so that each row meets its own sum?",
        "The divisor must have the shape (..., 1). `sum` takes the same `keepdim=True` that `max` got in the line "
        "above.",
    ],
    right="Each row sums to 1, whatever dimensions stand before the last, and logits of 1000 do p no harm.",
)

# ---------------------------------------------------------------------------------------------------- 2: train


def train(x, y, classes, steps, lr):
    w = torch.zeros(x.shape[1], classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.SGD([w], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = F.cross_entropy(x @ w, y)
        loss.backward()
        optimiser.step()
    return w.detach()


def _train(x, y, classes, steps, lr, order="clear loss backward step", loss_of=F.cross_entropy):
    """The training loop with its lines in another order, or with another loss."""
    w = torch.zeros(x.shape[1], classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.SGD([w], lr=lr)
    loss = None

    def compute():
        nonlocal loss
        loss = loss_of(x @ w, y)

    lines = {"clear": optimiser.zero_grad, "loss": compute, "backward": lambda: loss.backward(), "step": optimiser.step}
    for _ in range(steps):
        for line in order.split():
            lines[line]()
    return w.detach()


def _train_cases(generator):
    def draw(n, d, classes):
        x = torch.randn(n, d, generator=generator, dtype=torch.float64)
        return x, torch.arange(n) % classes, classes

    return [(*draw(6, 4, 3), 4, 0.5), (*draw(5, 3, 2), 3, 0.2), (*draw(4, 2, 4), 1, 1.0)]


train = Exercise(
    name="train",
    reference=train,
    cases=_train_cases,
    mistakes=[
        Mistake(partial(_train, order="loss backward step"),
                "Your first step is right, and the later ones are not: nobody clears the old gradients, so `backward` "
                "adds each new one to the sum of all before it. Clear them at every step."),
        Mistake(partial(_train, order="loss backward clear step"),
                "Your weights never leave 0: no step finds a gradient. Either `zero_grad` comes after `backward` and "
                "before the next `step`, and throws away what was just computed, or one of the two is missing."),
        Mistake(partial(_train, order="loss step clear backward"),
                "Your `step` comes before `backward`, so each step moves by the gradient of the step before, and the "
                "first one by none."),
        Mistake(partial(_train, order="clear loss backward step step"),
                "You move twice with the same gradient. Each `step` needs a gradient of its own."),
        Mistake(partial(_train, loss_of=lambda z, y: F.cross_entropy(z.softmax(dim=-1), y)),
                "You apply softmax first, and F.cross_entropy applies it once more (trap 4). Give it the logits, x @ "
                "w."),
        Mistake(partial(_train, loss_of=partial(F.cross_entropy, reduction="sum")),
                "You add up the losses of the images, so the steps grow with their number. The exercise asks for the "
                "mean, which F.cross_entropy takes unless told otherwise."),
    ],
    hints=[
        "Four things happen at every step: the old gradients are cleared, the loss is computed, its gradient is "
        "computed, the weights move. Who does each of them: the optimiser or the loss?",
        "The optimiser clears (`zero_grad`) and moves (`step`), and the loss computes its gradient (`backward`). The "
        "loss is the cross-entropy of the logits x @ w and the labels y.",
        "`F.cross_entropy` takes logits and labels, with nothing in between. A gradient must be computed after the "
        "clearing and before the move: clear, loss, gradient, move.",
    ],
    right="Clear, loss, backward, step: the core of every training loop.",
)

# ---------------------------------------------------------------------------------------------------- 3: conv_size


def conv_size(size, kernel, stride, padding):
    return (size + 2 * padding - kernel) // stride + 1


def _conv_size_cases(generator):
    cases = [(28, 3, 1, 0), (28, 3, 1, 1), (28, 2, 2, 0), (7, 2, 2, 0), (28, 3, 2, 1), (28, 5, 1, 0), (11, 4, 3, 2)]
    sizes = torch.randint(12, 64, (4,), generator=generator).tolist()
    return cases + [(size, *others) for size, others in zip(sizes, ((3, 1, 1), (2, 2, 0), (5, 1, 2), (3, 1, 0)))]


conv_size = Exercise(
    name="conv_size",
    reference=conv_size,
    cases=_conv_size_cases,
    mistakes=[
        Mistake(lambda size, kernel, stride, padding: (size + padding - kernel) // stride + 1,
                "You count the padding once. Zeros are put on both sides: the row becomes size + 2 · padding long."),
        Mistake(lambda size, kernel, stride, padding: (size + 2 * padding - kernel) // stride,
                "One too few. The kernel's first place takes no step and gives an output too. So the number of places "
                "is the number of steps, plus one."),
        Mistake(lambda size, kernel, stride, padding: size + 2 * padding - kernel + 1,
                "Right for stride 1. With stride 2 the kernel skips every other place, and a longer stride skips "
                "more."),
        Mistake(lambda size, kernel, stride, padding: (size + 2 * padding - kernel) / stride + 1,
                "Almost, but the result must be a whole number. For size 7, kernel 2 and stride 2 you get 3.5. A "
                "kernel that sticks out at the end makes no output: round the steps down."),
        Mistake(lambda size, kernel, stride, padding: -(-(size + 2 * padding - kernel) // stride) + 1,
                "You round up. A last step that would carry the kernel past the end is not taken: round the steps "
                "down. Size 7, kernel 2, stride 2 gives 3."),
        Mistake(lambda size, kernel, stride, padding: round((size + 2 * padding - kernel) / stride) + 1,
                "You round to the nearest whole number. A last step that would carry the kernel past the end is never "
                "taken: always round the steps down."),
        Mistake(lambda size, kernel, stride, padding: (size + 2 * padding - kernel + 1) // stride,
                "You divide the number of places at stride 1 by the stride. Divide the steps first, then add the one "
                "for the first place. For size 28, kernel 3, stride 2, padding 1 the places are 0, 2, ..., 26: 14 of "
                "them."),
        Mistake(lambda size, kernel, stride, padding: (size - kernel) // stride + 1,
                "The padding is not in it: the zeros on both sides make the row longer before the kernel starts."),
    ],
    hints=[
        "Take size 6, kernel 3, stride 1, padding 0, and draw six boxes. Where can the left edge of the kernel stand? "
        "Count the places. Then do it again with stride 2.",
        "The padded row is size + 2 · padding long. The left edge may stand at 0, stride, 2 · stride and so on, but "
        "not beyond (padded length - kernel), or the right end sticks out.",
        "The number of places is the number of whole steps that fit into (padded length - kernel), plus one for the "
        "start. For whole steps use integer division, `//`.",
    ],
    right="The steps that fit, plus one for the start. The same rule holds for pooling.",
)

# ---------------------------------------------------------------------------------------------------- 4: batch_norm


def batch_norm(x, eps):
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    var = x.var(dim=(0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / torch.sqrt(var + eps)


def _normalised(x, eps, dims, correction=0):
    mean, var = x.mean(dim=dims, keepdim=True), x.var(dim=dims, keepdim=True, correction=correction)
    return (x - mean) / torch.sqrt(var + eps)


def _statistics(x, keepdim=True, correction=0):
    """Mean and variance of each channel of x (n, c, h, w)."""
    return x.mean(dim=(0, 2, 3), keepdim=keepdim), x.var(dim=(0, 2, 3), keepdim=keepdim, correction=correction)


def _by_variance(x, eps):
    mean, var = _statistics(x)
    return (x - mean) / (var + eps)


def _eps_outside(x, eps, correction=0):
    mean, var = _statistics(x, correction=correction)
    return (x - mean) / (torch.sqrt(var) + eps)


def _dimensions_lost(x, eps, correction=0):
    mean, var = _statistics(x, keepdim=False, correction=correction)
    return (x - mean) / torch.sqrt(var + eps)


_WRONG_DIMENSIONS = {
    (1, 2, 3):
        "You normalise each image by itself (that is called layer norm): every image has a mean of its own. Batch "
        "norm's mean belongs to a channel, and is taken over all images of the batch.",
    (2, 3):
        "You normalise each channel of each image by itself (that is called instance norm). The mean runs over the "
        "images of the batch as well: dimension 0 is missing.",
    (0,):
        "You give every pixel position a mean of its own. A channel's kernel is the same at every place, and so is "
        "its mean: average over height and width too.",
    (0, 1, 2, 3):
        "One mean for everything: the channels are thrown together. Each channel (dimension 1) has a mean and a "
        "variance of its own.",
    (1,):
        "You average over the channels (dimension 1), pixel by pixel. The channel is the one dimension that is not "
        "averaged over.",
}
_UNBIASED = " And `var` divides by one less than the count unless told otherwise: batch norm wants correction=0."


def _batch_norm_cases(generator):
    def draw(*shape):
        scale = 1 + torch.arange(shape[1], dtype=torch.float64)[:, None, None]  # channels differ in mean and in spread
        return scale * (torch.randn(*shape, generator=generator, dtype=torch.float64) + 1)

    return [(draw(3, 2, 4, 5), 1e-5), (draw(2, 3, 4, 3), 1e-5), (0.1 * draw(2, 3, 2, 4), 0.01)]


batch_norm = Exercise(
    name="batch_norm",
    reference=batch_norm,
    cases=_batch_norm_cases,
    mistakes=[
        Mistake(lambda x, eps: _normalised(x, eps, (0, 2, 3), correction=1),
                "Every number is a little too small: unless told otherwise, `var` and `std` divide by one less than "
                "the count (the unbiased variance). Batch norm divides by the count: correction=0."),
        *(Mistake(partial(_normalised, dims=dims), message) for dims, message in _WRONG_DIMENSIONS.items()),
        *(Mistake(partial(_normalised, dims=dims, correction=1), message + _UNBIASED)
          for dims, message in _WRONG_DIMENSIONS.items()),
        Mistake(_dimensions_lost,
                "The statistics are right, but have the shape (c,), which broadcasting aligns with the width: an "
                "error if c and w differ, and silently wrong if they are equal (case 2). Keep the averaged dimensions "
                "as 1s, so that the shape is (1, c, 1, 1)."),
        Mistake(partial(_dimensions_lost, correction=1),
                "Two things. The statistics have the shape (c,), which broadcasting aligns with the width: keep the "
                "averaged dimensions as 1s with `keepdim=True`." + _UNBIASED),
        Mistake(_by_variance,
                "You divide by the variance. Divide by its square root, the standard deviation, or the result does "
                "not have a variance of 1."),
        Mistake(_eps_outside,
                "Right up to eps: it belongs inside the root, √(variance + eps), and not outside, √variance + eps. "
                "With PyTorch's small eps you hardly see it, so one case has eps = 0.01 and a small variance."),
        Mistake(lambda x, eps: _eps_outside(x, eps, correction=1),
                "Two small things. `std` divides by one less than the count, and batch norm divides by the count: "
                "correction=0. And eps belongs inside the root, √(variance + eps)."),
        Mistake(lambda x, eps: _normalised(x, 0.0, (0, 2, 3)),
                "Right but for eps, which is missing: √(variance + eps). It keeps you from dividing by 0 where a "
                "channel is constant."),
        Mistake(lambda x, eps: x - _statistics(x)[0],
                "The means are 0 now, but the spread is as it was: divide by √(variance + eps)."),
    ],
    hints=[
        "In the small table above, each column was normalised with the mean of its rows. What is a column in (n, c, "
        "h, w)? All the numbers that one kernel made. Which dimensions do you average over, and which one stays?",
        "Average over dimensions 0, 2 and 3: `x.mean(dim=(0, 2, 3), keepdim=True)` has the shape (1, c, 1, 1), which "
        "fits x by broadcasting. The variance goes the same way. Look at how the table's was computed.",
        "`x.var(dim=..., keepdim=True, correction=0)`, with the same dimensions, divides by the count. Then subtract "
        "the mean from x, and divide by the square root of (variance + eps).",
    ],
    right="One mean and one variance a channel, over images, rows and columns: so does nn.BatchNorm2d in train() mode.",
)

# ---------------------------------------------------------------------------------------------------- bug hunt


def fit_line(x, y, steps, lr):
    features = torch.stack([x, torch.ones_like(x)], dim=1)
    w = torch.zeros(2, 1, dtype=x.dtype)
    for _ in range(steps):
        w.requires_grad_(True)
        loss = ((features @ w - y[:, None]) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, w)
        w = (w - lr * gradient).detach()
    return w.flatten()


def _listing(x, y, steps, lr):
    features = torch.stack([x, torch.ones_like(x)], dim=1)
    w = torch.zeros(2, 1, dtype=x.dtype)
    for _ in range(steps):
        w.requires_grad_(True)
        loss = ((features @ w - y) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, w)
        w = (w - lr * gradient).detach()
    return w.flatten()


def _fit_with(loss, piling_up=False):
    """The fit with another loss(prediction (n,), y (n,)), or with the gradients of earlier steps added up."""
    def fit(x, y, steps, lr):
        features = torch.stack([x, torch.ones_like(x)], dim=1)
        w, total = torch.zeros(2, dtype=x.dtype), torch.zeros(2, dtype=x.dtype)
        for _ in range(steps):
            w.requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(features @ w, y), w)
            total = total + gradient if piling_up else gradient
            w = (w - lr * total).detach()
        return w
    return fit


def _fit_line_cases(generator):
    def draw(n):
        x = torch.rand(n, generator=generator, dtype=torch.float64) * 2 - 1
        return x, 2 * x + 1 + 0.1 * torch.randn(n, generator=generator, dtype=torch.float64)

    return [(*draw(6), 20, 0.3), (*draw(9), 20, 0.3), (*draw(5), 1, 0.1)]


fit_line = Exercise(
    name="fit_line",
    reference=fit_line,
    cases=_fit_line_cases,
    start=_listing,
    mistakes=[
        Mistake(_fit_with(lambda prediction, y: ((prediction - y) ** 2).sum()),
                "The shapes agree now, but you add up the errors where the listing averages them: the gradient grows "
                "with the number of points, and so does every step. Keep the mean."),
        Mistake(_fit_with(lambda prediction, y: (prediction - y).abs().mean()),
                "The shapes agree now, but this is another loss: the absolute error instead of the squared error."),
        Mistake(_fit_with(lambda prediction, y: (prediction - y).mean() ** 2),
                "You average before you square, so that errors above and below the line cancel. Square each error "
                "first."),
        Mistake(_fit_with(lambda prediction, y: ((prediction - y) ** 2).mean(), piling_up=True),
                "The shapes agree now, but the gradients of all earlier steps pile up, as `backward` adds to .grad. "
                "Clear .grad at each step, or use autograd.grad as the listing does."),
    ],
    hints=[
        "Collect evidence: print `(features @ w - y).shape` for the eight points. How many errors should eight points "
        "have? If you have changed the line already, print the shape with your change: (n, 1) against (1, n) makes (n, "
        "n) too, and so the same answer as before.",
        "`features @ w` is (n, 1) and `y` is (n,). Aligned at the right they make (n, n): each prediction is compared "
        "with every y. The best answer to all of them at once is their mean, hence the flat line.",
        "Give both the same shape before you subtract: make y an (n, 1) with `None` in its index, or the prediction "
        "an (n,) with `flatten`.",
    ],
    right="Each prediction meets its own y and no other. The flat line was the best answer to n x n errors: the mean "
          "of y.",
)
