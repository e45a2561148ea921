# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 Gradient descent
#
# **The question.** How does a slope become a classifier, and why does it sometimes blow up?
#
# **You will be able to**
#
# 1. measure the slope of any loss, and check a gradient with it;
# 2. say from which step size on descent runs away, and why exactly there;
# 3. explain what makes a valley, what a condition number is, and what it costs;
# 4. say what a mini-batch changes, and why a loss that rises at a step is no alarm;
# 5. write momentum, and say when it is more than a larger step size, and when it is not;
# 6. train a classifier of letters with nothing but functions you wrote, and compare methods fairly;
# 7. find bugs that raise no error, by evidence.
#
# **You need** the [primer](primer_pytorch.ipynb) and [lesson 00](00_what_is_a_task.ipynb).
#
# | section | read and run | exercise |
# |---|---|---|
# | Warm-up | 3 min | |
# | 1 One knob, and its slope | 4 min | 3 min |
# | 2 A step downhill | 2 min | 4 min |
# | 3 A step too far | 4 min | |
# | 4 Two knobs: the valley | 5 min | |
# | 5 Mini-batches and their noise | 4 min | |
# | 6 Momentum: a ball in the valley | 5 min | 4 min |
# | 7 The lab | 6 min | |
# | 8 The same code reads letters | 7 min | 8 min |
# | 9 Bug hunts | 4 min | 4 min |
# | 10 What the numbers say | 4 min | |
#
# That is a little over an hour. One more bug hunt is marked optional (4 min). The computer needs less than half a
# minute. An exercise left open stops nothing: the cells below it then run on the library's version.
#
# [contents](index.ipynb) · [previous: 00 What is a task?](00_what_is_a_task.ipynb) · [next: 02 Adam, and learning the learner](02_adam_and_learning_the_learner.ipynb)

# %%
import inspect
import time

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from metalearn_lite import data, evaluate, figures, widgets
from metalearn_lite.check import lesson01

torch.set_printoptions(precision=3, sci_mode=False)
torch.set_num_threads(1)      # the tensors of this lesson are small: a second thread would only wait for the first

# %% [markdown]
# ## Warm-up
#
# Three questions on what you have seen before. Each answer explains itself.

# %%
for question in lesson01.WARM_UP:
    display(question)

# %% [markdown]
# ## 1 One knob, and its slope
#
# A letter has been printed from a clean plate onto worn paper. You have both, pixel by pixel: $x$ is the plate, $y$
# is the print. You look for one number $w$, the **strength** of the print: $w \cdot x$ should look like $y$. (The
# true strength is a number between 0 and 1; the lesson keeps it back.) Only the 104 pixels where the plate has ink
# have anything to say, so we keep those.

# %%
letters = data.glyphs().split("train")
plate = letters.items[letters.class_names.index("Latin g"), 0].double() / 255     # (28, 28), ink is 1, in float64
ink = plate > 0                                                                   # (28, 28), True at 104 pixels
x_knob = plate[ink][:, None]                                                      # (104, 1): one column, one knob
paper = torch.randn(104, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
y_knob = lesson01.STRENGTH * x_knob[:, 0] + 0.1 * paper                           # (104,): paler, with paper's grain


def sheet(values):
    """(104,) -> (28, 28): a page with these values at the pixels that have ink."""
    page = torch.zeros(28, 28, dtype=values.dtype)
    page[ink] = values
    return page


print(x_knob.shape, y_knob.shape)
figures.images(torch.stack([plate, sheet(y_knob)]).clamp(0, 1), ["plate x", "print y"],
               alt="The letter g twice: black on the plate, paler and grainy on the print.")


# %% [markdown]
# How far off is a strength $w$? Take the difference at each pixel, square it, average it over the $n$ pixels. The
# half in front only keeps the slope tidy.
#
# $$L(w) = \frac{1}{2n} \sum_i (x_i w - y_i)^2$$
#
# In code, $w$ has one entry for each column of $x$. With one column it has one entry; later the same lines serve two.

# %%
def loss(w, x, y):                                  # w (d,), x (n, d), y (n,) -> ()
    return ((x @ w - y) ** 2).mean() / 2            # (n, d) @ (d,) - (n,) -> (n,)


for strength in (0.0, 0.5, 1.0):
    w = torch.tensor([strength], dtype=torch.float64)
    print(f"w = {strength:.1f}   loss {loss(w, x_knob, y_knob):.4f}")

# %%
guess_best = widgets.Predict("Three losses are known. At which w is the loss lowest?", (0.0, 1.5, 0.05))
guess_best

# %%
strengths = torch.linspace(-0.5, 2.0, 51, dtype=torch.float64)            # (51,)
losses = torch.stack([loss(w[None], x_knob, y_knob) for w in strengths])  # (51,)
best = strengths[losses.argmin()].item()
display(guess_best.reveal(round(best, 2)))
figures.curve({"loss": (strengths, losses)}, "w, the strength of the print", "loss",
              alt=f"The loss against w is a parabola: {losses[0]:.2f} at w = -0.5, lowest at w = {best:.2f}, "
                  f"{losses[-1]:.2f} at w = 2.")


# %% [markdown]
# A parabola. You found its lowest point by trying 51 values. With two knobs that would be $51^2$, and a small network
# has ten thousand knobs. So look for something cheaper than trying: at any $w$, ask which way is **down**.
#
# The **slope** answers. It is the rise of the loss over the run of $w$. Take the loss a little ahead of $w$ and a
# little behind it:
#
# $$\frac{\partial L}{\partial w_j} \approx \frac{L(w + \epsilon\, e_j) - L(w - \epsilon\, e_j)}{2\epsilon}$$
#
# Here $e_j$ is 1 at place $j$ and 0 elsewhere, so that only knob $j$ is moved. The slopes of all knobs together are
# the **gradient**.

# %% [markdown]
# ### Exercise 1: the slope by measuring (one line, 3 minutes, difficulty 1 of 3)
#
# This loss is not a parabola, so that you cannot guess the slope: $\sum (A w)^4$, with a matrix $A$. Complete the
# line. `eps` is a number. `e` is ready: a vector like `w`, with `eps` at place `j` and 0 at all other places.

# %% tags=["exercise"]
def numeric_grad(A, w, eps):
    """The gradient of loss(w) = sum of (A w)^4, by measuring.  A (n, d), w (d,), eps a small number -> (d,)"""
    def loss(w):
        return ((A @ w) ** 4).sum()

    g = torch.zeros_like(w)
    for j in range(len(w)):
        e = torch.zeros_like(w)
        e[j] = eps
        g[j] = ...      # rise over run, from behind w to ahead of it
    return g


# %%
checked_numeric_grad = lesson01.numeric_grad(numeric_grad)

# %% [markdown]
# How good is it? Autograd (primer, section 2) knows the true gradient. Compare, for smaller and smaller `eps`:

# %% tags=["nbval-ignore-output"]
A = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)                       # (4, 3)
w = torch.tensor([1.0, -0.5, 0.5], dtype=torch.float64, requires_grad=True)                                  # (3,)
(true_gradient,) = torch.autograd.grad(((A @ w) ** 4).sum(), w)                                              # (3,)
for eps in (1e-1, 1e-3, 1e-5, 1e-7, 1e-9, 1e-11):
    measured = checked_numeric_grad(A, w.detach(), eps)                                                      # (3,)
    print(f"eps = {eps:.0e}   error {(measured - true_gradient).abs().max():.0e}")


# %% [markdown]
# **Explain.** Steps a hundred times smaller, an error ten thousand times smaller: to both sides of $w$ the curve bends
# alike, and the bend cancels. Below 1e-5 the error grows again: the two losses agree in nearly all their digits, and
# their difference is mostly rounding. (Far worse in float32.) It costs two losses a knob. So nobody trains this way,
# but everybody **checks** gradients this way, and so will you, in later lessons.
#
# For our parabola the chain rule gives the gradient in one line. Compare formula, code, and autograd:
#
# $$g = \frac{1}{n}\, x^\top (x w - y)$$

# %%
def gradient(w, x, y):                              # w (d,), x (n, d), y (n,) -> (d,)
    return x.T @ (x @ w - y) / len(y)               # (d, n) @ (n,) -> (d,)


w = torch.zeros(1, dtype=torch.float64, requires_grad=True)                                        # (1,)
print("formula ", gradient(w.detach(), x_knob, y_knob))
print("autograd", torch.autograd.grad(loss(w, x_knob, y_knob), w)[0])


# %% [markdown]
# At $w = 0$ the slope is negative: the loss falls to the right, so $w$ should grow.
#
# ## 2 A step downhill
#
# Go against the slope, and the farther the steeper it is. The **rate** $lr$ (learning rate, step size) says how far:
#
# $$w \leftarrow w - lr \cdot g$$
#
# That is **gradient descent** (Cauchy 1847). If $g$ comes from a random part of the data, the same line is called
# **stochastic** gradient descent, SGD (section 5).

# %% [markdown]
# ### Exercise 2: one step (one line, 2 minutes, difficulty 1 of 3)
#
# Mind one thing: whoever calls your function still needs the old $w$. Return a new tensor.

# %% tags=["exercise"]
def sgd(w, g, lr):
    """One step.  w, g: tensors of one shape; lr: a number.  Returns the new w."""
    return ...


# %%
checked_sgd = lesson01.sgd(sgd)

# %% [markdown]
# ### Exercise 3: the loop (put lines in order, 2 minutes, difficulty 1 of 3)
#
# One step is not enough. These lines make a loop that takes `steps` steps from `w0` and keeps every place in `path`,
# the start included. **One line does not belong.** Give the letters in order.

# %%
lesson01.loop

# %% tags=["exercise"]
order = "..."
lesson01.loop(order)


# %% [markdown]
# The lesson's version of that loop gets its place from the end of the path, and calls *your* step. Six steps at rate
# 1, from a blank page ($w = 0$):

# %%
def descend(w0, x, y, lr, steps):
    """-> (steps + 1, d): the start and every place after it."""
    path = [w0]
    for t in range(steps):
        path.append(checked_sgd(path[-1], gradient(path[-1], x, y), lr))
    return torch.stack(path)


blank = torch.zeros(1, dtype=torch.float64)
path = descend(blank, x_knob, y_knob, lr=1.0, steps=6)                         # (7, 1)
print(path[:, 0].numpy().round(3))
prints = torch.stack([sheet(x_knob[:, 0] * w) for w in path])                  # (7, 28, 28)
figures.images(prints.clamp(0, 1), [f"step {t}" for t in range(7)],
               alt="The letter g at steps 0 to 6: a blank page at first, then darker at each step, by less and less.")

# %% [markdown]
# **Observe.** Each step is shorter than the one before, although the rate stays the same: the slope gets flatter.
# Would a larger rate be better? How large may it be?
#
# ## 3 A step too far
#
# At $w = 0$ the slope pulls $w$ to the right. A larger rate makes larger steps. At some rate, descent on this very
# loss does not come to rest any more.

# %%
guess_limit = widgets.Predict("From which rate on does descent run away on this loss? (At rate 1 it crept.)",
                              (1.0, 10.0, 0.5))
guess_limit


# %% [markdown]
# Now find it. On the left is the parabola with twelve steps, on the right the prints after 0 to 5 steps. **Your
# task:** the rate that arrives in one step; the largest rate whose steps still shrink; and what goes on between.

# %%
def knob(rate):
    return rate, descend(blank, x_knob, y_knob, rate, 12)[:, 0]       # (13,)


fig, (left, right) = figures.new(1, 2, width=9, height=3.6)
left.plot(strengths, losses, color="#999999")
steps, = left.plot([], [], **figures.look(1), markersize=5, linewidth=1)
left.set(xlim=(-0.5, 2.0), ylim=(-0.01, 0.27), xlabel="w, the strength of the print", ylabel="loss")
right.set(xticks=[], yticks=[], title="prints after 0, 1, 2 and 3, 4, 5 steps (w < 0: blank)")
right.spines[:].set_visible(False)
pages = right.imshow(torch.zeros(56, 84), cmap="gray_r", vmin=0, vmax=1)


# %%
def draw_knob(result):
    rate, path = result
    steps.set_data(path, [loss(w[None], x_knob, y_knob).item() for w in path])
    prints = [sheet(x_knob[:, 0] * w).clamp(0, 1) for w in path[:6]]  # six of (28, 28)
    pages.set_data(torch.cat([torch.cat(prints[:3], 1), torch.cat(prints[3:], 1)]))
    factor = round(((path[2] - path[1]) / (path[1] - path[0])).item(), 2) + 0.0
    way = ("runs away" if abs(factor) > 1 else "arrives at the first step" if factor == 0 else
           "comes from one side" if factor > 0 else "jumps over the lowest point each time")
    return (f"Rate {rate}: each step is {factor} times the step before, and descent {way}. "
            f"After 12 steps w = {path[-1]:.2f}.")


rates = [0.5, 1.0, 2.0, 3.0, 3.3, 4.0, 5.0, 6.0, 6.5, 6.6, 7.0, 8.0]
widgets.LiveFigure(fig, knob, draw_knob, rate=widgets.Slider("rate", rates, 1.0))

# %%
c = (x_knob ** 2).mean().item()                                       # the curvature
print(f"curvature c = {c:.3f}     1 / c = {1 / c:.2f}     2 / c = {2 / c:.2f}")
guess_limit.reveal(round(2 / c, 1))

# %% [markdown]
# **Explain.** The slope is $g = \frac{1}{n}\sum_i x_i (x_i w - y_i)$. It is a straight line in $w$, and it climbs by
# $c = \frac{1}{n}\sum_i x_i^2$ for each unit of $w$: that is the **curvature** of the loss. At the best place $w^*$
# the slope is 0, so $g = c\,(w - w^*)$. Put that into the step:
#
# $$w_{t+1} - w^* = (1 - lr \cdot c)\,(w_t - w^*)$$
#
# So each step multiplies the distance by the same factor $1 - lr \cdot c$ (and with it the length of the steps: the
# number in the caption). Descent arrives if $|1 - lr \cdot c| < 1$, that is, if $lr < 2/c$. At $lr = 1/c$ the factor
# is 0: one step. Between $1/c$ and $2/c$ it jumps over the lowest point each time, and still arrives. Beyond $2/c$
# each jump lands higher than the last. What would change it: a darker plate has a larger $c$, and needs a smaller
# rate.
#
# A rate is neither large nor small by itself. It is large or small **against the curvature**.
#
# ## 4 Two knobs: the valley
#
# Now you have *two* scans of the same sheet, nearly alike, and mix them:
# $w_0 \cdot \text{scan}_0 + w_1 \cdot \text{scan}_1$ should look like the print. Two columns in $x$, two knobs in
# $w$, the same `loss` and `gradient`. The argument `kappa` says how alike the scans are (you will see how).

# %%
steep = torch.tensor([0.5, 0.5], dtype=torch.float64).sqrt()                 # (2,): both knobs up together, length 1
flat = steep * torch.tensor([1.0, -1.0])                                     # (2,): one up, the other down, length 1


def scans(kappa, grain=0.0):
    """Two scans x (104, 2) of one sheet, the more alike the larger kappa, and a print y (104,)."""
    generator = torch.Generator().manual_seed(2)
    dirt, paper = torch.randn(2, 104, generator=generator, dtype=torch.float64)
    a = plate[ink]
    dirt = dirt - (dirt @ a) / (a @ a) * a                                   # keep what is at right angles to a ...
    dirt = dirt * a.norm() / dirt.norm()                                     # ... and as strong as a
    alike = (kappa - 1) / (kappa + 1)                                        # the cosine between the two scans
    x = torch.stack([a, alike * a + (1 - alike ** 2) ** 0.5 * dirt], dim=1)  # (104, 2)
    x = x / (x @ steep).square().mean().sqrt()                               # so that the largest curvature is 1
    return x, x @ torch.tensor([0.4, 0.2], dtype=torch.float64) + grain * paper


x_two, y_two = scans(100)
figures.images(torch.stack([sheet(x_two[:, 0]), sheet(x_two[:, 1]), sheet(y_two)]).clamp(0, 1),
               ["scan 0", "scan 1", "print"],
               alt="Three pictures of the letter g: two scans that look nearly the same, and the paler print.")

# %% [markdown]
# With two knobs the curvature depends on the direction in which you go. Turn both knobs up together (direction
# `steep`): the mixture gets darker at once. Turn one up and the other down (`flat`): the scans are nearly alike, one
# takes away what the other adds, and hardly anything changes.
#
# How much, exactly? One unit along a direction $d$ changes the mixture by $x\,d$. So the curvature along $d$ is section
# 3's $c$ with $x\,d$ in the place of $x$:
#
# $$\frac1n \sum_i (x_i \cdot d)^2 = d^\top H\, d \qquad\text{with}\qquad H = \frac1n\, x^\top x$$

# %%
H = x_two.T @ x_two / 104                                     # (2, 2): the curvature, now a matrix (the "Hessian")
print(H.numpy().round(3))
print(f"curvature along steep {steep @ H @ steep:.2f},  along flat {flat @ H @ flat:.2f}")
print(f"alike (the cosine between the scans) {torch.cosine_similarity(*x_two.T, dim=0):.2f}")
print(torch.linalg.eigvalsh(H).numpy().round(3))              # (2,): smallest and largest in any direction
print("H steep / steep", (H @ steep / steep).numpy().round(2), "   H flat / flat", (H @ flat / flat).numpy().round(2))

# %% [markdown]
# `eigvalsh` confirms it: of all directions, these two have the smallest and the largest curvature (the *eigenvalues*
# of $H$, $\lambda_{min}$ and $\lambda_{max}$). Along each of the two the loss is a parabola as in section 3.
#
# And the two do not disturb each other. With two knobs section 3's $g = c\,(w - w^*)$ reads $g = H\,(w - w^*)$: at a
# distance $d$ from the best place the gradient is $H d$. The last line shows that for $d$ = `steep` it points along
# `steep` itself, 1 times as long, and for $d$ = `flat` along `flat`, 0.01 times as long. So a step along one leaves the
# other as it is.
#
# The ratio of the two curvatures is the **condition number** $\kappa = \lambda_{max} / \lambda_{min}$. The curvature is
# in proportion 1 + `alike` along `steep` and 1 - `alike` along `flat`: scans that are 0.98 alike give $\kappa = 100$.
#
# Descent has only **one** rate for both. It starts one unit from the best place along `steep`, and one unit along
# `flat`.

# %%
guess_steps = widgets.Predict("κ = 100, and the rate is 2 / (λmax + λmin) = 1.98, at which both parts shrink equally "
                              "fast. How many steps bring the distance to a tenth?", ["12", "116", "1156"])
guess_steps

# %%
w_two = torch.tensor([0.4, 0.2], dtype=torch.float64)                          # (2,): the best place, by construction
needed = {}
for lr in (1.8, 1.9, 1.95, 2 / 1.01):
    path = descend(w_two + steep + flat, x_two, y_two, lr, steps=2000)         # (2001, 2)
    distance = (path - w_two).norm(dim=1)                                      # (2001,)
    needed[round(lr, 2)] = (distance <= distance[0] / 10).nonzero()[0].item()  # the first step that is near enough
display(guess_steps.reveal(str(needed[1.98])))
print("steps needed at each rate:", needed)

# %% [markdown]
# Now see why. The rate is limited by the steep direction, the pace is set by the flat one. **Try:** κ = 100 at rate
# 1.9, then at 2.1. Then set κ to 3, and find the rate at which a dozen steps leave less than a thousandth of both
# parts.

# %%
circle = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)[:, None]  # (200, 1)


def valley(kappa, rate):
    path = descend(w_two + steep + flat, *scans(kappa), rate, 60)            # (61, 2)
    rings = [w_two + r * (circle.cos() * steep + kappa ** 0.5 * circle.sin() * flat) for r in (0.1, 0.3, 0.6, 1.0, 1.4)]
    return kappa, rate, path, rings                                          # rings: lines of equal loss, (200, 2)


def until_out(path):
    """The path up to where it runs far out of the picture."""
    return path[(path.abs() < 20).all(1).cumprod(0).bool()]


fig, (left, right) = figures.new(1, 2, width=9.6, height=4)
levels = [left.plot([], [], "-", color="#999999", linewidth=1)[0] for _ in range(5)]
route, = left.plot([], [], **figures.look(1), markersize=4, linewidth=1)
left.plot(*w_two, "kx", *(w_two + steep + flat), "k*", markersize=11, markeredgewidth=1.5)
left.set(xlim=(-1.4, 2.8), ylim=(-1.8, 2.2), aspect="equal")
left.set(xlabel="w[0]", ylabel="w[1]", title="grey: equal loss; ★ start; × best place")
right.set(yscale="log", ylim=(5e-9, 2e3), xlabel="step", ylabel="distance from the best place")
right.set_yticks([10.0 ** k for k in range(-8, 3, 2)], [f"1e{k}" for k in range(-8, 3, 2)])
right.minorticks_off()
parts = [right.plot(range(61), [1.0] * 61, **figures.look(i), markevery=6, label=name)[0]
         for i, name in enumerate(["flat part", "steep part"])]
legend = right.legend(loc="upper left", ncols=2)


# %%
def draw_valley(result):
    kappa, rate, path, rings = result
    for line, ring in zip(levels, rings):
        line.set_data(ring[:, 0], ring[:, 1])
    route.set_data(*until_out(path).T)
    said = []
    for line, direction in zip(parts, (flat, steep)):
        part = ((path - w_two) @ direction).abs().clamp(1e-8, 1e3)  # (61,), fit for a logarithmic axis
        line.set_ydata(part)
        said.append(["under 1e-6" if p < 1e-6 else "over 100" if p > 100 else f"{p:.2g}" for p in part[[12, 60]]])
    return (f"κ = {kappa}, rate {rate}: of a distance of 1 along the valley (flat), 12 steps leave {said[0][0]} and 60 "
            f"steps {said[0][1]}; of a distance of 1 across it (steep), {said[1][0]} and {said[1][1]}.")


widgets.LiveFigure(fig, valley, draw_valley, kappa=widgets.Slider("condition number κ", [1, 3, 10, 30, 100], 100),
                   rate=widgets.Slider("rate", [0.1, 0.5, 1.0, 1.5, 1.9, 2.0, 2.1], 1.5))

# %% [markdown]
# **Explain.** Section 3 holds in each direction: a step multiplies the flat part by $1 - lr\,\lambda_{min}$ and the
# steep part by $1 - lr\,\lambda_{max}$. The second must stay between -1 and 1, so $lr < 2/\lambda_{max}$. Then the
# first is at least $1 - 2/\kappa$: nearly 1 if $\kappa$ is large. The compromise,
# $lr = 2/(\lambda_{max} + \lambda_{min})$, multiplies both by $\frac{\kappa - 1}{\kappa + 1}$ in size. For
# $\kappa = 100$ that is 0.98, and so it took you 116 steps to gain one digit. For any large $\kappa$ it takes about
# $1.15\,\kappa$ steps. No rate does better in the long run. For a given number of steps a slightly smaller one may
# (1.95 needs 100): the steep part is gone sooner.
#
# Where valleys come from: **inputs that say nearly the same thing.** Neighbouring pixels do.
#
# ## 5 Mini-batches and their noise
#
# So far each step looked at all 104 pixels. With a million examples that is too dear. Look at a few, drawn at random,
# and step: a **mini-batch**. Its gradient is a guess at the full one. First look at such guesses, 150 for each batch
# size, all taken at the same place. (This time with worn paper: `grain=0.1`.)

# %%
x_lab, y_lab = scans(100, grain=0.1)                                                 # (104, 2), (104,)
H = x_lab.T @ x_lab / 104                                                            # (2, 2)
w_best = torch.linalg.solve(H, x_lab.T @ y_lab / 104)                                # (2,): there H w - xᵀy / n = 0
w_start = w_best + steep + flat                                                      # (2,)


def guesses(size, generator):                                                        # -> (150, 2)
    batches = [torch.randperm(104, generator=generator)[:size] for _ in range(150)]  # each (size,): different pixels
    return torch.stack([gradient(w_start, x_lab[i], y_lab[i]) for i in batches])


generator = torch.Generator().manual_seed(3)
sampled = {size: guesses(size, generator) for size in (2, 8, 32)}
full = gradient(w_start, x_lab, y_lab)                                               # (2,): from all 104 pixels
fig, axes = figures.new(1, 3, width=9.6, height=3.6)
for i, (ax, (size, g)) in enumerate(zip(axes, sampled.items())):
    ax.plot(*g.T, color=figures.COLOURS[i], marker=figures.MARKERS[i], linestyle="none", markersize=4, alpha=0.6)
    ax.plot(*full, "kx", markersize=12, markeredgewidth=2.5)
    ax.set(xlim=(-0.1, 2.1), ylim=(-0.1, 2.1), xlabel="gradient[0]", title=f"batches of {size}")
axes[0].set_ylabel("gradient[1]")
figures.show(fig, "Three pictures of 150 gradients each, all taken at one place, with a cross at the full gradient. "
                  "Those of batches of 2 lie along a long band around the cross, those of 8 along a shorter one, "
                  "those of 32 close to it.")
print("full gradient     ", full.numpy().round(2))
for size, g in sampled.items():
    print(f"batches of {size:2}: mean", g.mean(0).numpy().round(2))

# %% [markdown]
# The cross is the full gradient. The guesses lie around it, and their mean is close to it: on average even a batch of
# two is right. What differs is the **spread**, the typical distance from the cross.

# %%
guess_spread = widgets.Predict("From batches of 2 to 8, four times as many pixels: the spread falls to about ...",
                               ["a sixteenth", "a quarter", "a half", "the same"])
guess_spread

# %%
for size, g in sampled.items():
    print(f"batches of {size:2}   spread {(g - full).square().sum(1).mean().sqrt():.2f}")
guess_spread.reveal("a half")

# %% [markdown]
# **Explain.** The band shrinks in both directions. A mean of $B$ random numbers scatters like $1/\sqrt{B}$: four
# times the work for half the noise. (Batches of 32 are a little better still: they see a third of all pixels, and a
# batch of all 104 has no noise at all.) That is why small batches pay: the first few pixels bring most of the
# knowledge. Robbins and Monro (1951) proved that such steps arrive if the rate shrinks over time, and not too fast.
#
# What does a descent with rough steps look like?

# %%
guess_rises = widgets.Predict("60 steps with batches of 8, rate 0.3. How many make the loss (over all pixels) larger?",
                              ["none", "1 to 5", "6 to 15", "more than 15"])
guess_rises


# %%
def left_over(path):
    """path (T, 2) -> (T,): the loss above its lowest value, as a part of what it is at the start."""
    away = path - w_best
    height = ((away @ H) * away).sum(1) / 2
    return height / height[0]


def walk(lr, size=104, seed=0, steps=60):
    """Plain descent from w_start; each step sees ``size`` pixels, drawn by ``seed``.  -> (steps + 1, 2)"""
    generator = torch.Generator().manual_seed(seed)
    path = [w_start]
    for t in range(steps):
        i = torch.randperm(104, generator=generator)[:size]       # this step's batch
        path.append(checked_sgd(path[-1], gradient(path[-1], x_lab[i], y_lab[i]), lr))
    return torch.stack(path)


rough, exact = left_over(walk(0.3, size=8)), left_over(walk(0.3))                            # (61,) each
rises = (rough[1:] > rough[:-1]).sum().item()
for name, height in {"batches of 8": rough, "all pixels": exact}.items():
    larger = (height[1:] > height[:-1]).sum()
    print(f"{name:12}  {larger:2} of 60 steps make the loss larger; it ends at {height[-1]:.3f} of the start")
guess_rises.reveal("none" if rises == 0 else "1 to 5" if rises <= 5 else "6 to 15" if rises <= 15 else "more than 15")

# %% [markdown]
# **"The loss must fall at every step."** It need not. Here it rises at a third of the steps, and the descent ends as
# low as the exact one at the same rate, for a thirteenth of the work. (The flat part alone was 0.010 of the start:
# both have gone only a part of the way along the valley.) With mini-batches, look at the trend and not at the step.
#
# ## 6 Momentum: a ball in the valley
#
# In the valley, plain descent forgets everything at each step. Look at what it forgets. The gradient's two parts
# along the path, at rate 1.9:

# %%
path = descend(w_start, x_lab, y_lab, lr=1.9, steps=8)                                     # (9, 2)
g = torch.stack([gradient(w, x_lab, y_lab) for w in path])                                 # (9, 2)
print("across the valley", (g @ steep).numpy().round(3))
print("along the valley ", (g @ flat).numpy().round(3))

# %% [markdown]
# Across the valley it changes sign at each step: left, right, left. Along the valley it says the same thing again and
# again, in a low voice. A heavy **ball** would sum that up. It has a velocity $v$. The slope only pushes it, and
# friction takes a part of the velocity at each step: the share $\mu$ (mu, the **momentum**) is kept.
#
# $$v \leftarrow \mu\, v + g \qquad\qquad w \leftarrow w - lr \cdot v$$
#
# That is the *heavy ball* of Polyak (1964). What becomes of a push that stays the same?

# %%
guess_push = widgets.Predict("μ = 0.9, and the gradient is 1 at every step. Which value does v approach?",
                             ["1", "1.9", "9", "10", "no end"])
guess_push

# %%
same, turning = 0.0, 0.0
for t in range(200):
    same = 0.9 * same + 1.0                     # the gradient always says 1
    turning = 0.9 * turning + (-1.0) ** t       # the gradient says 1, -1, 1, -1, ...
print(f"always 1: v = {same:.2f}     1, -1, 1, ...: v = {abs(turning):.2f} in size")
guess_push.reveal(f"{same:.0f}")


# %% [markdown]
# A steady push grows to $g/(1-\mu)$, ten times as much. A push that changes its sign shrinks to $g/(1+\mu)$, about
# half. So the ball is fast along the valley and calm across it, as long as there is enough friction.
#
# **Nesterov's variant** (1983) looks ahead: the gradient is taken where the ball is about to be. In the form that
# PyTorch uses, $v$ is updated as above, and then
#
# $$w \leftarrow w - lr \cdot (g + \mu\, v)$$
#
# In words: this step's push, and the way that the ball would roll at the next step. (In this form the place called $w$
# *is* the looked-ahead one.)

# %% [markdown]
# ### Exercise 4: momentum (a whole function, 4 minutes, difficulty 2 of 3)
#
# One step. It gets the place `w`, the velocity `v` and the gradient `g`, and returns the new place and the new
# velocity. Note where the rate stands in the formula: not in $v$. (The check lets the rate change from step to step,
# and compares with `torch.optim.SGD`'s rule.)

# %% tags=["exercise"]
def momentum(w, v, g, lr, mu, nesterov):
    """One step.  w, v, g: tensors of one shape; lr, mu: numbers; nesterov: True or False.  Returns new w, new v."""
    v = ...
    if nesterov:
        return ..., v
    return ..., v


# %%
checked_momentum = lesson01.momentum(momentum)


# %% [markdown]
# Now a claim that you will hear: **"Momentum is just a larger rate."** There is something in it: a steady push is
# worth $1/(1-\mu)$ as much. With $\mu = 0.8$ that is five times. So compare momentum at rate $lr$ with plain descent
# at rate $5\,lr$, in the valley, with exact gradients.

# %%
def roll(lr, mu, size=104, seed=0, nesterov=False, steps=60, falling=False):
    """The same walk as a ball: your momentum, starting at rest.  -> (steps + 1, 2)   (falling: see section 7)"""
    generator = torch.Generator().manual_seed(seed)
    w, v, path = w_start, torch.zeros_like(w_start), [w_start]
    for t in range(steps):
        i = torch.randperm(104, generator=generator)[:size]
        rate = lr * (1 - t / steps) if falling else lr
        w, v = checked_momentum(w, v, gradient(w, x_lab[i], y_lab[i]), rate, mu, nesterov)
        path.append(w)
    return torch.stack(path)


guess_same = widgets.Predict("lr = 1, half the limit. What ends lower: momentum 0.8 at rate 1, or plain at rate 5?",
                             ["momentum", "plain descent", "neither: about the same"])
guess_same

# %%
for lr in (0.02, 0.1, 1.0):
    ends = [left_over(path)[-1].item() for path in (walk(lr), roll(lr, 0.8), walk(5 * lr))]
    said = [f"{end:.1e}" if end < 1 else "runs away" for end in ends]
    print(f"plain, rate {lr:<4}: {said[0]}    momentum 0.8, rate {lr:<4}: {said[1]}    "
          f"plain, rate {5 * lr:.1f}: {said[2]}")
guess_same.reveal("momentum")

# %% [markdown]
# **Explain.** At small rates the claim is right: in the first row the last two numbers agree. At rate 1 it is wrong:
# plain descent cannot take the larger rate (the limit is $2/\lambda_{max} = 2$) and momentum gets the speed along the
# valley without the danger across it. So: momentum is a larger rate as long as the rate is far below the limit. **At
# the limit it is what a larger rate cannot be.** Keep this for section 8, where you will meet both cases.
#
# A failure, too. With $\mu = 0.99$ there is almost no friction. Count the steps at which the loss rises, add up how far
# it climbs, and ask where the ball is at the end: along the valley or across it? All with exact gradients.

# %%
for mu in (0.0, 0.8, 0.9, 0.99):
    path = roll(1.0, mu)                                                                       # (61, 2)
    height = left_over(path)                                                                   # (61,)
    climbs = (height[1:] - height[:-1]).clamp(min=0)                                           # (60,)
    across = ((path[-1] - w_best) @ steep) ** 2 / 1.01 / height[-1]                            # the steep part's share
    print(f"mu = {mu:<4}   rises at {(climbs > 0).sum():2} of 60 steps, climbs {climbs.sum():4.1f} times the start's "
          f"height   ends at {height[-1]:.1e} of the start, {100 * across:.0f} % of it across the valley")


# %% [markdown]
# **Explain.** With momentum the loss rises even when the gradient is exact: the ball swings from wall to wall. With
# 0.99 it does not rise more often, but farther, and nearly all of what is left at the end lies *across* the valley. A
# swing keeps the share $\mu$ of its height at each step, and $0.99^{60} = 0.55$, where $0.8^{60}$ is a millionth. So
# a small $\mu$ would be better, were it not for the flat part. There $lr \cdot \lambda_{min} = 0.01$, and below
# $\mu = (1 - \sqrt{0.01})^2 = 0.81$ the ball creeps along the valley. Just at the edge of creeping it is best
# (Goh 2017).
#
# ## 7 The lab: reach the bottom
#
# **Target:** the valley with κ = 100, and 60 steps. Bring the loss to **one millionth** of the start ($10^{-6}$, the
# dotted line). First try it with momentum 0. The dashed path is always plain descent at rate 1.9, the best for 60 exact
# steps, with the same batches as yours. The seed draws the batches; it changes nothing while a batch is all pixels.

# %%
def lab(rate, mu, batch, kind, seed):
    return (rate, mu, batch, kind), roll(rate, mu, batch, seed, kind == "Nesterov"), walk(1.9, batch, seed)


fig, (left, right) = figures.new(1, 2, width=9.6, height=4.2)
for r in (0.1, 0.3, 0.6, 1.0, 1.4):
    left.plot(*(w_best + r * (circle.cos() * steep + 10 * circle.sin() * flat)).T, "-", color="#999999", linewidth=1)
left.plot(*w_best, "kx", *w_start, "k*", markersize=11, markeredgewidth=1.5)
left.set(xlim=(-1.4, 2.8), ylim=(-1.8, 2.2), aspect="equal")
left.set(xlabel="w[0]", ylabel="w[1]", title="grey: equal loss; ★ start; × best place")
right.set(yscale="log", ylim=(1e-11, 1e3), xlabel="step", ylabel="loss, as a part of the start's")
right.set_yticks([10.0 ** k for k in range(-10, 3, 2)], [f"1e{k}" for k in range(-10, 3, 2)])
right.minorticks_off()
right.axhline(1e-6, color="black", linestyle=":")
lines = []
for i, name in enumerate(["plain, rate 1.9", "yours"]):
    style = {**figures.look(i), "linestyle": ["--", "-"][i], "markersize": 4, "linewidth": 1.2}
    curve, = right.plot(range(61), [1.0] * 61, **style, markevery=5, label=name)
    lines.append((left.plot([], [], **style)[0], curve))
legend = right.legend(loc="lower left")


# %%
def in_words(end):
    if end > 1e3:
        return "far more than at the start"
    return f"{end:.1e} of the start" if end > 1e-11 else "nothing that could be measured"


def draw_lab(result):
    (rate, mu, batch, kind), yours, baseline = result
    ends = []
    for path, (on_map, on_curve) in zip((baseline, yours), lines):
        on_map.set_data(*until_out(path).T)
        height = left_over(path)
        on_curve.set_ydata(height.clamp(1e-12, 1e4))
        ends.append(height[-1].item())
    verdict = "Target reached." if ends[1] <= 1e-6 else "Target not reached."
    return (f"{kind}, rate {rate}, momentum {mu}, batches of {batch}: after 60 steps the loss is {in_words(ends[1])}. "
            f"{verdict} Plain descent at rate 1.9: {in_words(ends[0])}.")


rates = [0.02, 0.1, 0.3, 0.5, 1.0, 1.5, 1.9, 2.1, 2.5, 3.0, 3.2, 3.5]
momenta = [0.0, 0.3, 0.5, 0.6, 0.67, 0.7, 0.8, 0.9, 0.95, 0.99]
widgets.LiveFigure(fig, lab, draw_lab, rate=widgets.Slider("rate", rates, 1.0),
                   mu=widgets.Slider("momentum μ", momenta, 0.0),
                   batch=widgets.Slider("batch size", [8, 32, 104], 104),
                   kind=widgets.Choice("kind of step", ["heavy ball", "Nesterov"]),
                   seed=widgets.Slider("seed of the batches", [0, 1, 2, 3, 4], 0))

# %% [markdown]
# Reached it? Do not touch the slider of the batch size yet. First commit:

# %%
guess_noisy = widgets.Predict("Your winning setting with batches of 8: where does it end, for most seeds?",
                              ["on target, as before", "far above the target, or nowhere"])
guess_noisy

# %% [markdown]
# Now move it, and try several seeds. Two questions to settle: Which slider mends what happens? And with batches of 8,
# does momentum still beat plain descent by far? The next cell has the answers for some settings.

# %%
settings = [("plain, rate 1.9", 1.9, 0.0, False), ("plain, rate 1", 1.0, 0.0, False),
            ("momentum 0.8, rate 1.9", 1.9, 0.8, False), ("momentum 0.67, rate 3.2", 3.2, 0.67, False),
            ("Nesterov 0.9, rate 1", 1.0, 0.9, True), ("momentum 0.8, rate 0.5", 0.5, 0.8, False),
            ("Nesterov 0.9, rate 0.3", 0.3, 0.9, True)]
print(f"{'':24} all pixels   batches of 8 (median of 11 seeds)")
for name, lr, mu, nesterov in settings:
    exact = left_over(roll(lr, mu, nesterov=nesterov))[-1].item()
    noisy = sorted(left_over(roll(lr, mu, 8, seed, nesterov))[-1].item() for seed in range(11))[5]
    print(f"{name:24} {exact:<12.0e}", f"{noisy:.0e}" if noisy < 1e3 else "runs away")
guess_noisy.reveal("far above the target, or nowhere")

# %% [markdown]
# **Explain.** With exact gradients, plain descent leaves a thousandth, and momentum, well set, from a millionth down to
# less than a billionth. Polyak (1964) worked out the best setting:
# $\mu = \left(\frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}\right)^2 = 0.67$ at rate
# $4/(\sqrt{\lambda_{max}} + \sqrt{\lambda_{min}})^2 = 3.3$. In the long run each step then multiplies the distance by
# $\frac{\sqrt\kappa - 1}{\sqrt\kappa + 1} = 0.82$ instead of 0.98: as if $\kappa$ were 10 instead of 100. And the rate
# is beyond plain descent's limit of 2, because the ball's limit is $2(1+\mu)/\lambda_{max}$. (Nesterov's is lower,
# $2(1+\mu)/((1+2\mu)\,\lambda_{max})$: 1.38 for $\mu = 0.8$.)
#
# With batches of 8, each gradient is wrong by chance, and a fast ball sums up the errors as well. What mends it is a
# smaller rate. But then the ball is slower along the valley too: 1e-03 for the heavy ball and 3e-04 for Nesterov's,
# against plain descent's 3e-03. Of a lead of a million a factor of three to ten is left.
#
# Robbins and Monro let the rate **shrink**. Try the simplest way: from its full size at the first step in a straight
# line down to 0 at the end, $lr_t = lr \cdot (1 - t/60)$.

# %%
guess_falling = widgets.Predict("Nesterov 0.9 at rate 1, batches of 8, ends at 2e-03. With a rate that falls to 0?",
                                ["higher", "about the same", "about ten times lower"])
guess_falling

# %%
print(f"{'':24} one rate     falling rate (batches of 8, median of 11 seeds)   falling rate, all pixels")
for name, lr, mu, nesterov in settings:
    ends = [sorted(left_over(roll(lr, mu, 8, seed, nesterov, falling=falling))[-1].item() for seed in range(11))[5]
            for falling in (False, True)]
    exact = left_over(roll(lr, mu, nesterov=nesterov, falling=True))[-1].item()
    one, falling = [f"{end:.0e}" if end < 1e3 else "runs away" for end in ends]
    print(f"{name:24} {one:12} {falling:51} {exact:.0e}")
guess_falling.reveal("about ten times lower")

# %% [markdown]
# **Explain.** While the ball is far away the slope is large and the noise matters less, so a large rate is right.
# Near the end only the noise is left, and a small rate averages it out. **Start large, end small:** 2e-04 is better
# than every setting with one rate. It is no cure for all. Where the rate was small already, a falling one only walks
# less far (plain descent at rate 1: from 3e-03 to 5e-03). And without noise there is nothing to average: the exact
# ball that ended at 5e-08 now stops at 4e-06.
#
# ## 8 The same code reads letters
#
# From two knobs to 15,700. Twenty letters, a to u (without i, which the data set does not hold), each written by 200
# new drawers. The **drawers** are split: the first 100 are for training, the next 50 for validation, the last 50 for
# the test. No drawer is in two parts. (Lesson 00 split by script, because *new letters* were to be learned there.
# Here the letters stay the same, so what has to be new is the hand that writes them.)

# %%
names = [name for name in letters.class_names if name.startswith("Latin ")][:20]
images = torch.stack([data.redraw(name, drawers=200, seed=1) for name in names])  # (20, 200, 28, 28)
print([name.removeprefix("Latin ") for name in names])
figures.images(images[:, :4].transpose(0, 1),
               alt="Twenty small letters in columns, a to u, each written by four drawers in four rows. Slant, size "
                   "and shape vary.")


# %%
def flatten(images):                                                         # (20, m, 28, 28) -> (20 m, 785), (20 m,)
    x = images.flatten(2).flatten(0, 1).double() / 255                       # (20 m, 784): one row an image
    x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)                     # (20 m, 785): and a 1, for the bias
    return x, torch.arange(20).repeat_interleave(images.shape[1])


x_train, y_train = flatten(images[:, :100])                                  # (2000, 785), (2000,)
x_val, y_val = flatten(images[:, 100:150])                                   # (1000, 785), (1000,)
x_test, y_test = flatten(images[:, 150:])                                    # opened once, in section 10

centroids = torch.stack([x_train[y_train == k].mean(0) for k in range(20)])  # (20, 785)
nearest = torch.cdist(x_val, centroids).argmin(1)                            # (1000,)
baseline = 100 * (nearest == y_val).double().mean().item()
print(f"chance 5 %, nearest centroid (lesson 00, on pixels) {baseline:.1f} % of the validation images")


# %% [markdown]
# **The classifier.** $w$ is now a matrix, one column for each letter. A column is a template: the score of letter $k$
# for image $i$ is the sum of the image's ink, each pixel times the template's value there. All scores of all images
# are one product, $x\,w$. They are the logits; softmax turns them into probabilities $p$, and the loss is the
# cross-entropy.
#
# All that descent needs is the gradient. For logits $z$ and the true labels $y$, averaged over $n$ images,
#
# $$L = -\frac{1}{n}\sum_i \log p_{i, y_i} \qquad\qquad \frac{\partial L}{\partial z_{ik}} = \frac{1}{n}\,(p_{ik} - [k = y_i])$$
#
# where $[k = y_i]$ is 1 for the true class and 0 for the others. In words: push the scores of the wrong letters down
# in proportion to their probability, and the true one's up by what it lacks.

# %% [markdown]
# ### Exercise 5: cross-entropy and its gradient (a whole function, 5 minutes, difficulty 3 of 3)
#
# Return both. No autograd is needed, but it is not forbidden. Logits may be large: a classifier that is sure and
# wrong has $p = 0$ in the computer's numbers, and $\log 0$ is not its loss. So go without $p$ there: the logarithm of
# softmax is $\log p_{ik} = z_{ik} - \log \sum_j e^{z_{ij}}$. (And mind what the primer's exercise 1 did before it
# took $e^z$.)

# %% tags=["exercise"]
def softmax_ce(logits, y):
    """Mean cross-entropy and its gradient.  logits (n, N), y (n,) integer labels -> loss (), grad (n, N)"""
    log_p = ...                                                    # (n, N): the logarithms of the probabilities
    loss = ...                                                     # ()
    grad = ...                                                     # (n, N)
    return loss, grad


# %%
checked_softmax_ce = lesson01.softmax_ce(softmax_ce)

# %% [markdown]
# From the logits to $w$ it is one more link of the chain: $z = x\,w$, so
# $\partial L / \partial w = x^\top\, \partial L / \partial z$. The form is that of section 1. Compare with autograd:

# %%
w = torch.zeros(785, 20, dtype=torch.float64, requires_grad=True)               # (785, 20)
value, G = checked_softmax_ce((x_train @ w).detach(), y_train)                  # (), (2000, 20)
by_hand = x_train.T @ G                                                         # (785, 2000) @ (2000, 20) -> (785, 20)
(by_autograd,) = torch.autograd.grad(F.cross_entropy(x_train @ w, y_train), w)  # (785, 20)
print(f"loss at the start {value:.2f} (log 20, as in the warm-up)")
print("gradients agree:", torch.allclose(by_hand, by_autograd))


# %% [markdown]
# One piece is missing. For noise it was enough to draw some pixels for each step. For training you want every image
# to have its turn: an **epoch** is one pass over all images, in random order, cut into batches.

# %% [markdown]
# ### Exercise 6: the batches of an epoch (open, 3 minutes, difficulty 3 of 3)
#
# Write it from scratch: a list of index tensors. Each of the numbers 0 to n - 1 stands in exactly one batch; each
# batch has `size` numbers, only the last may have fewer; another seed gives another order, the same seed the same.

# %% tags=["exercise"]
def minibatches(n, size, seed):
    """The batches of one epoch: a list of 1-d integer tensors."""
    ...


# %%
checked_minibatches = lesson01.minibatches(minibatches)


# %% [markdown]
# Now nothing below is anyone's but yours: batches, loss, gradient, step. First compare exact and rough steps, each
# kind at a rate that suits it. (How such rates are found comes right after.)

# %%
def accuracy(w, x, y):                                                      # in percent
    return 100 * ((x @ w).argmax(1) == y).double().mean().item()


def fit(lr, mu=0.0, size=50, seed=0, epochs=10):
    """-> w (785, 20), and the validation accuracy after each epoch."""
    w = 0.01 * torch.randn(785, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    v, curve = torch.zeros_like(w), []
    for epoch in range(epochs):
        for i in checked_minibatches(2000, size, 100 * seed + epoch):
            x = x_train[i]                                                  # (size, 785)
            value, G = checked_softmax_ce(x @ w, y_train[i])                # (), (size, 20)
            w, v = checked_momentum(w, v, x.T @ G, lr, mu, False)           # mu = 0 is plain descent
        curve.append(accuracy(w, x_val, y_val))
    return w, curve


guess_epochs = widgets.Predict("Ten epochs: 10 exact steps, or 400 rough ones with 50 images each. Which reads more?",
                               ["10 exact steps", "400 rough steps", "about the same"])
guess_epochs

# %%
w_exact, curve_exact = fit(lr=3.5, size=2000)
w_rough, curve_rough = fit(lr=0.3, size=50)
display(guess_epochs.reveal("400 rough steps" if curve_rough[-1] > curve_exact[-1] + 1 else "about the same"))
figures.curve({"10 exact steps": curve_exact, "400 rough steps": curve_rough, "nearest centroid": [baseline] * 10,
               "chance": [5.0] * 10}, "epoch", "validation accuracy, %")

# %% [markdown]
# **Observe.** In four epochs the rough steps are ahead of where the exact ones end after ten. The templates that
# came out, dark where ink speaks *for* the letter, white where it speaks against:

# %%
templates = w_rough[:784].T.unflatten(1, (28, 28))  # (20, 28, 28)
figures.images((templates / templates.abs().max() / 0.7 + 0.5).clamp(0, 1).unflatten(0, (2, 10)),
               alt="Twenty templates, grey where a pixel does not matter. Dark strokes roughly in the shape of each "
                   "letter, with white beside them where other letters have ink.")

# %% [markdown]
# Which rate is best, and does momentum help? Four methods: steps on all images or on 50, momentum 0 or 0.9. The rates
# are chosen on the **validation** drawers.

# %%
guess_rate = widgets.Predict("Batches of 50: the best rate with momentum 0.9, compared with the best one without?",
                             ["about ten times smaller", "about the same", "about ten times larger"])
guess_rate

# %%
methods = {"all images": (0.0, 2000, [1.0, 2.0, 3.0, 3.5, 4.0, 6.0, 10.0]),  # name: momentum, batch size, rates
           "all images, momentum 0.9": (0.9, 2000, [1.0, 2.0, 3.0, 3.5, 4.0, 6.0, 10.0]),
           "batches of 50": (0.0, 50, [0.1, 0.3, 1.0, 3.0, 10.0]),
           "batches of 50, momentum 0.9": (0.9, 50, [0.01, 0.03, 0.1, 0.3, 1.0])}
fig, (left, right) = figures.new(1, 2, width=9.6, height=3.8)
chosen, said = {}, ["rate: validation accuracy, %, and training loss in brackets"]
for i, (name, (mu, size, rates)) in enumerate(tqdm(methods.items())):
    fits = [fit(lr, mu, size) for lr in rates]
    scores = [curve[-1] for w, curve in fits]
    ends = [F.cross_entropy(x_train @ w, y_train).item() for w, curve in fits]
    chosen[name] = rates[scores.index(max(scores))]
    left.plot(rates, scores, **figures.look(i), label=name)
    right.plot(rates, ends, **figures.look(i))
    said += [name, "  " + "   ".join(f"{r:g}: {s:.1f} ({l:.2f})" for r, s, l in zip(rates, scores, ends))]
left.axhline(baseline, color="black", linestyle=":", label="nearest centroid", linewidth=1)
left.set(xscale="log", xlabel="rate", ylabel="validation accuracy, %")
right.set(xscale="log", xlabel="rate", ylabel="training loss")
fig.legend(loc="outside lower center", ncols=3)
ratio = chosen["batches of 50, momentum 0.9"] / chosen["batches of 50"]
display(guess_rate.reveal("about ten times smaller" if ratio < 0.4 else "about the same"))
print(*said, sep="\n")
figures.show(fig, "Validation accuracy and training loss after 10 epochs against the rate, for four methods. Each "
                  f"accuracy rises to its best rate and then falls. Best rates: {chosen}. The nearest centroid is at "
                  f"{baseline:.0f} %. With batches of 50 the training loss goes on falling beyond the best rate.")

# %% [markdown]
# **Explain.** With batches of 50, the curve with momentum is the other curve, moved to the left by a factor of ten:
# $1/(1-0.9)$. What ends these two curves on the right is neither noise nor the limit: without momentum the training
# loss is lower still at 3 and at 10 (0.18, 0.04). The templates begin to memorise the training drawers. Momentum
# memorises at a tenth of the rate: here it *is* a larger rate. With all images and ten steps nothing is memorised
# yet. There the limit hurts, and momentum lifts the best score. Both cases of section 6, on real data.
#
# Where is the limit? Section 3 tells, before the first step. At the start each letter has $p = 1/20$. The largest
# curvature of the cross-entropy, one logit up and another down, is $p$. The images' largest curvature multiplies it:

# %%
largest = torch.linalg.eigvalsh(x_train.T @ x_train / 2000)[-1].item()                 # of xᵀx / n
c = largest / 20
print(f"largest curvature {largest:.1f} / 20 = {c:.2f}, so the limit 2 / c is about {2 / c:.1f}")
print(f"with momentum 0.9 the limit is 2 (1 + 0.9) / c, about {3.8 / c:.1f}")


# %% [markdown]
# On all images plain descent was best at 3.5 and bad at 6; the ball was best at 6 and worse at 10. (Only "about": the
# curvature changes while $w$ moves.)
#
# But batches of 50 at rate 10, far beyond the limit, ended at a training loss of 0.04, lower than all others. How?
# Watch that run: the loss on all training images, and the curvature there, along the slope. It is measured as in
# section 1, but from two gradients: their rise over the run.

# %%
def full_gradient(w):
    return x_train.T @ checked_softmax_ce(x_train @ w, y_train)[1]                        # (785, 20)


batches = [i for epoch in range(10) for i in checked_minibatches(2000, 50, epoch)]        # 400 of (50,): those of `fit`
for taken in (1, 5, 20, 100, 400):
    w = 0.01 * torch.randn(785, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i in batches[:taken]:
        w = checked_sgd(w, x_train[i].T @ checked_softmax_ce(x_train[i] @ w, y_train[i])[1], 10.0)
    d = full_gradient(w) / full_gradient(w).norm()                                        # (785, 20), length 1
    c = ((full_gradient(w + 1e-3 * d) - full_gradient(w - 1e-3 * d)) * d).sum() / 2e-3    # (): the curvature along d
    print(f"after {taken:3} steps   loss {F.cross_entropy(x_train @ w, y_train):5.2f}   curvature {c:.2f}   "
          f"limit 2 / c {2 / c:4.1f}")


# %% [markdown]
# At first the rate is beyond the limit, and the loss does climb, from 3 to above 13. On a parabola it would climb
# for ever. Here it cannot: the slope in each logit is $p - [k = y]$, never more than 1 in size, however high the
# loss. And once the classifier is sure, each $p$ is near 0 or 1. Then the curvature $p\,(1 - p)$ is near 0, the limit
# moves up, and in the end the rate is below it. Ten exact steps at rate 10 are over before that.
#
# ## 9 Bug hunts
#
# Three listings that run. Nothing warns. For each: predict, collect evidence, and only then repair.
#
# ### Bug hunt 1: the loss that falls so well (4 minutes)
#
# The author reasons: "The right letter should get a high score. So multiply scores and labels, add up, and maximise
# that: minimise its negative."

# %%
def reward_loss(logits, y):                                     # logits (n, 20), y (n,)
    return -(logits * y[:, None]).mean()                        # high score times its label


guess_reward = widgets.Predict("Five epochs of SGD on this loss. Which validation accuracy do you expect, about?",
                               ["5 %", "40 %", "70 %"])
guess_reward

# %%
w_first = 0.01 * torch.randn(785, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
w = w_first
print(f"before    validation accuracy {accuracy(w, x_val, y_val):.1f} %")
for epoch in range(5):
    for i in checked_minibatches(2000, 50, epoch):
        w = w.detach().requires_grad_()
        value = reward_loss(x_train[i] @ w, y_train[i])
        (g,) = torch.autograd.grad(value, w)
        w = checked_sgd(w, g, 0.3)
    print(f"epoch {epoch}   validation accuracy {accuracy(w, x_val, y_val):.1f} %   loss {value:.0f}")
guess_reward.reveal("5 %")

# %% [markdown]
# The loss falls beautifully. The accuracy is chance, and stays exactly what it was before the first step. Before you
# answer, collect evidence: how has `w` changed?

# %%
change = (w - w_first).detach()                                 # (785, 20)
print(change[300:303, :6].numpy().round(2))                     # three pixels, the first six letters
print("all 20 columns changed alike:", torch.allclose(change, change[:, :1].expand(785, 20)))

# %%
lesson01.WRONG_REWARD

# %% [markdown]
# The label enters as a *number*: letter 19 counts nineteen times, letter 0 not at all, and each for all twenty scores
# alike. A label is a name, and must **select** a score: the `[k = y_i]` of section 8. **Repair it:** in the listing
# above, put `F.cross_entropy` in the place of `reward_loss`, and run it again. For comparison, your `fit` at the same
# rate and for the same five epochs:

# %%
w, curve = fit(lr=0.3, epochs=5)
print(f"fit: validation accuracy {curve[-1]:.1f} %")


# %% [markdown]
# ### Bug hunt 2: backward, again and again (4 minutes)
#
# The author wants the mean loss of an epoch, and so adds the losses up. PyTorch answered at the second batch:
# *"Trying to backward through the graph a second time"*, and suggested `retain_graph=True`. Since then it runs.

# %%
def found_epoch(w, x, y, lr, batches):
    """One epoch of SGD.  w (d, N), x (n, d), y (n,), batches: list of index tensors -> new w, mean loss"""
    w = w.clone().requires_grad_()
    total = 0.0
    for i in batches:
        total = total + F.cross_entropy(x[i] @ w, y[i])
        total.backward(retain_graph=True)
        with torch.no_grad():
            w -= lr * w.grad
        w.grad = None
    return w.detach(), total.item() / len(batches)


guess_used = widgets.Predict("At batch 5, which gradient does w.grad hold?",
                             ["that of batch 5", "the mean of batches 1 to 5", "the sum of batches 1 to 5"])
guess_used

# %% [markdown]
# Evidence: the same loop by hand. At each batch, compare the gradient that is used with the batch's own, and with the
# sum of all own gradients so far.

# %%
w = torch.zeros(785, 20, dtype=torch.float64, requires_grad=True)
total, summed = 0.0, 0.0
for number, i in enumerate(checked_minibatches(2000, 50, 0)[:6], 1):
    value = F.cross_entropy(x_train[i] @ w, y_train[i])
    (own,) = torch.autograd.grad(value, w, retain_graph=True)
    total, summed = total + value, summed + own
    total.backward(retain_graph=True)
    print(f"batch {number}   length of its own gradient {own.norm():.2f}, of the gradient used {w.grad.norm():.2f}; "
          f"equal to the sum of all so far: {torch.allclose(w.grad, summed)}")
    with torch.no_grad():
        w -= 1.0 * w.grad
    w.grad = None
guess_used.reveal("the sum of batches 1 to 5")

# %% [markdown]
# You know this ball: $v \leftarrow 1 \cdot v + g$. It is momentum with $\mu = 1$, no friction at all. And each batch
# costs more than the one before, because backward walks through all earlier graphs again:

# %% tags=["nbval-ignore-output"]
w = torch.zeros(785, 20, dtype=torch.float64)
for count in (10, 40):
    began = time.perf_counter()
    found_epoch(w, x_train, y_train, 1.0, checked_minibatches(2000, 50, 0)[:count])
    print(f"{count} batches: {1000 * (time.perf_counter() - began) / count:.1f} ms a batch")


# %% [markdown]
# **Repair it.** It should take one step a batch with that batch's own gradient, and return the mean of the batches'
# losses as a plain number.

# %% tags=["exercise"]
def epoch(w, x, y, lr, batches):
    """One epoch of SGD.  w (d, N), x (n, d), y (n,), batches: list of index tensors -> new w, mean loss"""
    w = w.clone().requires_grad_()
    total = 0.0
    for i in batches:
        total = total + F.cross_entropy(x[i] @ w, y[i])
        total.backward(retain_graph=True)
        with torch.no_grad():
            w -= lr * w.grad
        w.grad = None
    return w.detach(), total.item() / len(batches)


# %%
checked_epoch = lesson01.epoch(epoch)

# %%
for name, function in {"found": found_epoch, "repaired": checked_epoch}.items():
    w = torch.zeros(785, 20, dtype=torch.float64)
    for number in range(3):
        w, mean_loss = function(w.detach(), x_train, y_train, 1.0, checked_minibatches(2000, 50, number))
        score = accuracy(w, x_val, y_val)
        print(f"{name:9} epoch {number}   mean loss {mean_loss:.2f}   validation accuracy {score:.0f} %")

# %% [markdown]
# Note what the found listing did: it *learned*, to well above chance. No error says that something is wrong. But its
# mean loss rises from epoch to epoch, to above log 20 = 3.00, what blind guessing costs. An epoch's *mean* loss that
# rises is an alarm; one noisy step is not.
#
# ### Bug hunt 3, optional: it learns! (4 minutes)
#
# Each picture gets a "beauty score", and a linear model is to predict it from the pixels, by squared error. (The mean
# image is subtracted from all images: the pixels then say less of the same thing, and the largest curvature falls.) The
# author shows the training loss.

# %%
mean_image = x_train.mean(0)
mean_image[784] = 0                                                                       # the column of ones stays
centred = x_train - mean_image                                                            # (2000, 785)
print(f"largest curvature {largest:.1f}, without the mean image", end=" ")
print(f"{torch.linalg.eigvalsh(centred.T @ centred / 2000)[-1]:.1f}")
score_train, score_val = lesson01.beauty_scores()                                         # (2000,), (1000,)
print("scores of the first five pictures:", score_train[:5].numpy().round(1))


def beauty(scores):
    """-> [training losses, validation losses], mean squared errors before and after each of five epochs."""
    w, history = torch.zeros(785, dtype=torch.float64), ([], [])
    for epoch in range(6):
        for values, x, y in zip(history, (x_train, x_val), (scores, score_val)):
            values.append(f"{2 * loss(w, x - mean_image, y):.2f}")
        for i in checked_minibatches(2000, 50, epoch):
            w = checked_sgd(w, gradient(w, x_train[i] - mean_image, scores[i]), 0.05)
    return history


print("training loss:", *beauty(score_train)[0])

# %% [markdown]
# From 26 to 0.9. Before you praise it, one guess:

# %%
guess_mean = widgets.Predict("A model without eyes always answers the mean score. What is its squared error, about?",
                             ["0", "1", "5", "26"])
guess_mean

# %% [markdown]
# Now ask for the evidence that the author does not show: the validation loss; what always answering the mean would
# get; and the same training with the scores **shuffled**, so that no score belongs to its picture.

# %%
shuffled = score_train[torch.randperm(2000, generator=torch.Generator().manual_seed(6))]  # (2000,)
for name, values in zip(("training loss:  ", "validation loss:"), beauty(score_train)):
    print(name, *values)
print("shuffled scores:", *beauty(shuffled)[0], "  (training)")
blind = ((score_val - score_train.mean()) ** 2).mean().item()
print(f"always the mean:  {blind:.2f}   (validation; the variance of the scores)")
guess_mean.reveal(f"{blind:.0f}")

# %%
lesson01.NOISE

# %% [markdown]
# Now look at how the scores were made:

# %%
print(inspect.getsource(lesson01.beauty_scores))


# %% [markdown]
# Five and a random number, whatever the picture shows. **No repair exists.** The loss falls to the variance of the
# noise; on the training pictures it goes a little below, by memorising, and the validation loss does not follow. A
# loss that falls is no proof of learning. The baseline and the shuffle are.
#
# ## 10 What the numbers say
#
# Now the test drawers are opened, once. Each method trains five times at the rate that validation chose, from five
# seeds; a seed sets the first $w$ and the order of the images.

# %% tags=["nbval-ignore-output"]
def scores(w):
    """-> (50,): the accuracy on each test drawer's twenty letters, in percent."""
    return 100 * ((x_test @ w).argmax(1) == y_test).double().unflatten(0, (20, 50)).mean(0)


runs, seconds = {}, {}
for name, (mu, size, _) in tqdm(methods.items()):
    began = time.perf_counter()
    weights = [fit(chosen[name], mu, size, seed)[0] for seed in range(5)]                  # five of (785, 20)
    runs[name] = torch.stack([scores(w) for w in weights])                                 # (5, 50): seeds, drawers
    seconds[name] = (time.perf_counter() - began) / 5
print("seconds a run:", {name: round(value, 2) for name, value in seconds.items()})


# %%
def interval(values):
    """values (5,): one number a seed. Mean ± half-width of the 95 % interval."""
    return f"{values.mean():.1f} ± {2.78 * values.std() / 5 ** 0.5:.1f}"


nearest = 100 * (torch.cdist(x_test, centroids).argmin(1) == y_test).double().unflatten(0, (20, 50)).mean(0)  # (50,)
columns = ["method", "rate", "epochs", "steps", "parameters", "test accuracy, %"]
rows = [["chance", "", "", "", 0, "5.0"], ["nearest centroid", "", 1, "", 784 * 20, f"{nearest.mean():.1f}"]]
for name, (mu, size, _) in methods.items():
    rows.append([name, chosen[name], 10, 10 * 2000 // size, 785 * 20, interval(runs[name].mean(1))])
evaluate.Table([dict(zip(columns, row)) for row in rows],
               "20 letters, 50 new drawers each; five training seeds, ten epochs")


# %%
def over_drawers(values):
    """values (50,): one number a drawer. Half-width of the 95 % interval, as in lesson 00."""
    return f"{1.96 * values.std() / 50 ** 0.5:.1f}"


pairs = [("all images, momentum 0.9", "all images"), ("batches of 50, momentum 0.9", "batches of 50"),
         ("batches of 50", "all images, momentum 0.9"), ("batches of 50", "all images")]
for one, other in pairs:
    gain = runs[one] - runs[other]                                 # (5, 50): the same seeds, the same drawers, in pairs
    print(f"{one:27} over {other:24}: {interval(gain.mean(1))} (± {over_drawers(gain.mean(0))})")
gain = runs["batches of 50"] - nearest                             # (5, 50)
print(f"{'batches of 50':27} over {'nearest centroid':24}: {interval(gain.mean(1))} (± {over_drawers(gain.mean(0))})")
print("each row by itself, other drawers: ±", *[over_drawers(values.mean(0)) for values in runs.values()])

# %% [markdown]
# **How the interval is made.** Five runs give a mean and a standard deviation $s$. The 95 % interval is mean
# $\pm\ 2.78\, s/\sqrt5$. (For so few values the 1.96 of lesson 00 is too small; 2.78 is Student's factor for five.) It
# covers the first $w$ and the order of the images. It does **not** cover the choice of drawers: another 50 could move
# each row by about four points (the last line). Much of that is common to all rows: a drawer who is hard to read is
# hard for every method. So a *difference* is surer than a row. Its interval over the drawers stands in brackets: the
# gain for each drawer, then lesson 00's interval, with drawers in the place of tasks.
#
# **What to read in it.** At equal epochs rough steps beat plain exact ones (400 steps against 10), and momentum's
# gain on all images is clear, too: both survive the drawers. The lead of rough steps over exact ones *with momentum*
# does not: over the seeds it looks decided, over the drawers its interval reaches 0. With noisy steps, at the best
# rate of each, momentum's gain is within both intervals of 0; the same was found at a much larger scale (Wang et al.
# 2024). And all that optimising buys about ten points over the nearest centroid (nine here, twelve on the validation
# drawers), which needs no step at all: **look at the baseline first.** These letters and drawers have been used
# nowhere else, so there are no published figures beside them.
#
# ## Take-away
#
# 1. A gradient is the slope in each knob; it can be measured, and so checked.
# 2. Descent arrives if the rate is below 2 / curvature, and its pace is set by the condition number.
# 3. Mini-batches guess the gradient, with an error like 1/√B; a loss that rises now and then is no alarm. Start with a
#    large rate, end with a small one.
# 4. Momentum sums up what gradients agree on. At the rate's limit that is worth orders of magnitude; below it, it is
#    a larger rate.
# 5. A falling loss proves nothing. Baselines, validation data and a shuffle do.
#
# **Closed book.** Say each answer aloud before you unfold it.
#
# 1. $L(2.01) = 0.57$ and $L(1.99) = 0.53$. What is the slope at 2? Why not take only $L(2)$ and $L(2.01)$?
# 2. One knob, and the mean of $x^2$ is 0.25. From which rate on does descent run away, and which rate needs one step?
#    What does the distance do at a rate beyond the limit?
# 3. Two knobs, with curvatures 4 and 0.1. What is the condition number, what limits the rate, and about how many plain
#    steps does a digit take? What makes such a valley?
# 4. Batches of 32 instead of 8: what happens to the gradient's spread? Is a loss that rises at a step an alarm? And an
#    epoch's mean loss that rises?
# 5. When is momentum 0.9 at rate $lr$ the same as plain descent at rate $10\,lr$, and when is it better?
# 6. Two classifiers read 73.6 and 74.9 % of the same letters. Which data chose their rates, and which two intervals do
#    you ask for before you call one better?
# 7. A training loss falls from 26 to 0.9. Which checks before you believe that something was learned?
#
# <details><summary>Answers</summary>
#
# 1. (0.57 - 0.53) / 0.02 = 2. To one side only, the bend of the curve spoils it.
# 2. From 2 / 0.25 = 8 on; 1 / 0.25 = 4. It is multiplied by a factor beyond -1: each jump lands higher than the last.
# 3. 40; 2 / 4 = 0.5, from the steep direction; about 1.15 · 40 = 46. Inputs that say nearly the same thing.
# 4. It is halved (four times the images). No. Yes: that one is an alarm.
# 5. Far below the limit it is the same. Near the limit it is better: plain descent cannot take the larger rate.
# 6. Validation data, not the test data. One over training seeds, and one of the difference over drawers, in pairs.
# 7. The baseline that always answers the mean; shuffled labels; and the validation loss.
#
# </details>
#
# **Further reading**
#
# - A. Cauchy (1847). Méthode générale pour la résolution des systèmes d'équations simultanées. *Comptes rendus
#   de l'Académie des sciences* 25, 536-538. (Three pages; gradient descent is born.)
# - H. Robbins, S. Monro (1951). A stochastic approximation method. *Annals of Mathematical Statistics* 22, 400-407.
# - B. T. Polyak (1964). Some methods of speeding up the convergence of iteration methods. *USSR Computational
#   Mathematics and Mathematical Physics* 4(5), 1-17. (The heavy ball.)
# - Y. Nesterov (1983). A method for solving the convex programming problem with convergence rate O(1/k²). *Doklady
#   Akademii Nauk SSSR* 269, 543-547.
# - G. Goh (2017). Why momentum really works. *Distill*. (The valley, with sliders; the best next thing to read.)
# - L. Bottou, F. E. Curtis, J. Nocedal (2018). Optimization methods for large-scale machine learning. *SIAM Review*
#   60, 223-311.
# - R. Wang, S. Malladi, T. Wang, K. Lyu, Z. Li (2024). The marginal value of momentum for small learning rate SGD.
#   *ICLR*.
#
# **Next.** One rate for all directions is what makes valleys slow. The next lesson gives each knob a rate of its own
# (RMSProp, Adam), asks which valleys that helps in, and then lets a machine learn the rate.
#
# [contents](index.ipynb) · [previous: 00 What is a task?](00_what_is_a_task.ipynb)
