# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 Adam, and learning the learner
#
# **The question.** When does an optimiser become a meta-learner?
#
# **You will be able to**
#
# 1. write RMSProp and Adam, equal to PyTorch's, and say what the bias correction is for;
# 2. say which valleys a rate for each knob helps in, and in which it does not;
# 3. differentiate through a step of descent, and prove by measuring that the answer is right;
# 4. multiply with a matrix of second derivatives that you never form;
# 5. learn a step size on a family of tasks, test it on tasks held out, and say when it fails;
# 6. say why a rate that was learned on short, noisy runs is too careful in long ones;
# 7. tell an optimiser from a meta-learner, by an experiment.
#
# **You need** [lesson 00](00_what_is_a_task.ipynb) and [lesson 01](01_gradient_descent.ipynb).
#
# | section | read and run | exercise |
# |---|---|---|
# | Warm-up | 3 min | |
# | 1 A rate for each knob | 7 min | 3 min |
# | 2 Adam | 7 min | 5 min |
# | 3 The lab: a race | 12 min | |
# | 4 A family of small trainings, and bug hunt 1 | 15 min | |
# | 5 Through a step | 9 min | 3 min |
# | 6 A rate is learned, and bug hunt 2 | 19 min | 5 min |
# | 7 Short runs, long runs | 7 min | |
# | 8 The whole rule is learned | 12 min | |
# | 9 Bug hunt 3 | 3 min | 5 min |
# | 10 When does an optimiser become a meta-learner? | 12 min | |
#
# About two hours: take two sittings, with the break after section 4. One open exercise (section 6, 10 min) is optional.
# The computer needs less than a minute. An exercise left open stops nothing: the cells below it then run on the
# library's version.
#
# [contents](index.ipynb) · [previous: 01 Gradient descent](01_gradient_descent.ipynb) ·
# [next: 03 Memory networks](03_memory_networks.ipynb)

# %%
import inspect
import time
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from metalearn_lite import data, evaluate, figures, optim, widgets
from metalearn_lite.check import lesson02
from metalearn_lite.episodes import EpisodeSampler
from metalearn_lite.train import meta_train

torch.set_printoptions(precision=3, sci_mode=False)
torch.set_num_threads(1)      # the tensors here are small: a second thread would only wait for the first


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# %% [markdown]
# ## Warm-up
#
# Three questions on what you have seen before. Each answer explains itself.

# %%
for question in lesson02.WARM_UP:
    display(question)


# %% [markdown]
# ## 1 A rate for each knob
#
# In lesson 01 you mixed two scans of one sheet. The scans were nearly alike, and that made a valley: steep if both
# knobs go up, flat if one goes up and the other down. There is a second way to get a valley. Let the scans show quite
# different things, but let the second be **pale**, a tenth as dark as the first. Then turning its knob hardly changes
# the loss: its curvature is a hundredth.
#
# So a valley has a condition number κ, and it has a direction. Call the angle between the first knob and the steep
# direction the **tilt**: 0 degrees for the pale scan, 45 for the two that are alike. Here are the two matrices of
# curvatures. (`torch.outer(a, b)` is the table of all products $a_i b_j$.) The best place is $w = 0$, so the gradient
# is $g = H w$. The start is one unit along each direction, as in lesson 01.

# %%
def directions(tilt):  # -> steep (2,), flat (2,): at right angles, length 1
    angle = torch.tensor(float(tilt), dtype=torch.float64).deg2rad()
    return torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])


def valley(kappa, tilt):                                         # -> H (2, 2): curvature 1 and 1 / kappa
    steep, flat = directions(tilt)
    return torch.outer(steep, steep) + torch.outer(flat, flat) / kappa


def height(w, H):  # w (..., 2) -> (...): the loss, lowest at w = 0
    return ((w @ H) * w).sum(-1) / 2


for tilt in (0, 45):
    print(f"tilt {tilt:2}   H =", valley(100, tilt).numpy().round(3).tolist(), "  gradient at the start",
          (valley(100, tilt) @ sum(directions(tilt))).numpy().round(2))


# %% [markdown]
# Look at tilt 0. Both knobs are equally far from 0. But one gradient is 1.00, and the other 0.01. With one rate for
# both, the second creeps. The cure suggests itself: **divide each gradient by its own size.** One gradient's size is
# too rough a measure (with mini-batches it is mostly noise), so keep a running average $s$ of its square, and divide
# by the root:
#
# $$s \leftarrow \rho\, s + (1 - \rho)\, g^2 \qquad\qquad w \leftarrow w - lr \cdot \frac{g}{\sqrt{s} + \epsilon}$$
#
# All of it knob by knob: $s$ has the shape of $w$. The share $\rho$ (rho) is kept at each step, 0.9 say. The tiny
# $\epsilon$ (eps) keeps a gradient that is always 0 from being divided by 0. That is **RMSProp** (root mean square;
# Hinton, Srivastava and Swersky 2012).

# %% [markdown]
# ### Exercise 1: RMSProp (two lines, 3 minutes, difficulty 1 of 3)
#
# One step. `s` starts at zero. Return the new place and the new average.

# %% tags=["exercise"]
def rmsprop(w, g, s, lr, rho, eps):
    """One step.  w, g, s: tensors of one shape; lr, rho, eps: numbers.  Returns new w, new s."""
    s = ...      # the running average of the squared gradient
    w = ...      # a step with each knob's gradient divided by its own size
    return w, s


# %%
checked_rmsprop = lesson02.rmsprop(rmsprop)


# %% [markdown]
# Now count steps until the distance from the best place is a tenth. Plain descent takes its best rate,
# $2/(\lambda_{max} + \lambda_{min})$. RMSProp always takes 0.02.

# %%
def plain_path(H, start, lr, steps):                             # -> (steps + 1, 2)
    path = [start]
    for t in range(steps):
        path.append(path[-1] - lr * H @ path[-1])
    return torch.stack(path)


def rmsprop_path(H, start, lr, steps, rho=0.9):
    w, s, path = start, torch.zeros(2, dtype=torch.float64), [start]
    for t in range(steps):
        w, s = checked_rmsprop(w, H @ w, s, lr, rho, 1e-8)
        path.append(w)
    return torch.stack(path)


guess_kappa = widgets.Predict("Tilt 0, RMSProp. With κ = 1000 instead of 1, the number of steps is ...",
                              ["a thousand times as large", "about thirty times as large", "the same"])
guess_kappa

# %%
counts = {}
for tilt in (0, 45):
    for kappa in (1, 10, 100, 1000):
        H, start = valley(kappa, tilt), sum(directions(tilt))
        for name, path in {"plain": plain_path(H, start, 2 / (1 + 1 / kappa), 3000),
                           "RMSProp": rmsprop_path(H, start, 0.02, 3000)}.items():
            near = (path.norm(dim=1) <= start.norm() / 10).nonzero()
            counts[name, kappa, tilt] = near[0].item() if len(near) else None
print("steps to a tenth        ", *[f"κ = {kappa:<6}" for kappa in (1, 10, 100, 1000)])
for tilt in (0, 45):
    for name in ("plain", "RMSProp"):
        row = [str(counts[name, kappa, tilt]) for kappa in (1, 10, 100, 1000)]
        print(f"tilt {tilt:2}   {name:14} ", *[f"{count:<10}" for count in row])
same = counts["RMSProp", 1, 0] == counts["RMSProp", 1000, 0]
guess_kappa.reveal("the same" if same else "about thirty times as large")

# %% [markdown]
# **Explain.** At tilt 0 the gradient of a knob is its curvature times its distance. The curvature stands in $g$ and
# in $\sqrt s$, and cancels. RMSProp does not even see κ. At 45 degrees it is of no use: both knobs have gradients of
# the same size, so both are divided by nearly the same number, and what is left is plain descent with another rate.
# **A rate for each knob helps where the valley runs along a knob**, where inputs have different sizes, or some are
# rarely there at all. It does not help where inputs say the same thing twice.

# %%
fig, axes = figures.new(1, 2, width=9.6, height=4)
circle = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)[:, None]
for ax, tilt in zip(axes, (0, 45)):
    steep, flat = directions(tilt)
    for r in (0.1, 0.3, 0.6, 1.0, 1.4):
        ax.plot(*(r * (circle.cos() * steep + 10 * circle.sin() * flat)).T, "-", color="#999999", linewidth=1)
    H = valley(100, tilt)
    for i, (name, path) in enumerate({"plain, rate 1.9": plain_path(H, steep + flat, 1.9, 60),
                                      "RMSProp, rate 0.05": rmsprop_path(H, steep + flat, 0.05, 60)}.items()):
        ax.plot(*path.T, **figures.look(i), markersize=4, linewidth=1, label=name)
    ax.plot(0, 0, "kx", *(steep + flat), "k*", markersize=11, markeredgewidth=1.5)
    ax.set(xlim=(-1.6, 1.6), ylim=(-0.9, 1.8), xlabel="w[0]", ylabel="w[1]", title=f"tilt {tilt}, κ = 100")
axes[0].legend(loc="lower left")
figures.show(fig, "Two valleys with lines of equal loss; the star is the start, the cross the best place. "
                  "At tilt 0 plain descent zigzags and creeps, while RMSProp walks straight to the best "
                  "place. At tilt 45 both first fall into the valley and then creep along it.")

# %% [markdown]
# A price is to be paid. Plain steps shrink as the slope gets flatter. RMSProp divides that away: near the best place
# $g$ is small and $\sqrt s$ is small, and the step stays about `lr` long. Look at knob 0 once it has arrived:

# %%
start = sum(directions(0))
for lr in (0.1, 0.01):
    path = rmsprop_path(valley(100, 0), start, lr, 400)
    print(f"rate {lr:<5} w[0] at steps 395 to 400:", *[f"{value:+.3f}" for value in path[-6:, 0]])

# %% [markdown]
# It jumps to and fro over the best place, by about `lr`, for ever. A rate is now a **length**, not a factor of the
# slope: it says how far a knob moves at a step. To come to rest, the rate itself has to fall.
#
# ## 2 Adam
#
# RMSProp divides by a running average of $g^2$. Why not also *go* along a running average of $g$, like lesson 01's
# ball? Kingma and Ba (2015) do both, with one share for each (their $v$ is section 1's $s$, not lesson
# 01's velocity):
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g \qquad\qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2$$
#
# The usual shares are $\beta_1 = 0.9$ and $\beta_2 = 0.999$. Both averages start at 0. Watch what that does, with a
# gradient that is always 1, so that every honest average is 1:

# %%
guess_bias = widgets.Predict("Step by lr · m / √v, the gradient always 1. How long is the first step?",
                             ["0.1 lr", "1 lr", "3.2 lr", "100 lr"])
guess_bias

# %%
m, v = 0.0, 0.0
for t in range(1, 1001):
    m, v = 0.9 * m + 0.1 * 1.0, 0.999 * v + 0.001 * 1.0
    if t in (1, 2, 5, 10, 100, 1000):
        print(f"step {t:4}   m {m:.3f}   v {v:.3f}   m / √v {m / v ** 0.5:.2f}      "
              f"m / (1 - 0.9^t) {m / (1 - 0.9 ** t):.2f}   v / (1 - 0.999^t) {v / (1 - 0.999 ** t):.2f}")
guess_bias.reveal("3.2 lr")


# %% [markdown]
# **Explain.** After $t$ steps $m$ holds the share $1 - \beta_1^t$ of what it should, and $v$ the share
# $1 - \beta_2^t$. The average $v$ lags far more: it needs thousands of steps. So the quotient is too large, at step
# 10 more than six times. The cure is to divide by what
# is known to be missing, the **bias correction**:
#
# $$\hat m = \frac{m}{1 - \beta_1^t} \qquad \hat v = \frac{v}{1 - \beta_2^t} \qquad\qquad
# w \leftarrow w - lr \cdot \frac{\hat m}{\sqrt{\hat v} + \epsilon}$$
#
# This is **Adam** (adaptive moments). The last two columns show that with it both averages are right from the first
# step.

# %% [markdown]
# ### Exercise 2: Adam (a whole function, 5 minutes, difficulty 2 of 3)
#
# One step. `t` is the number of this step: 1 at the first. Return the new place and the two averages. (Which ones
# does the *next* step need: those before the correction, or those after it?)

# %% tags=["exercise"]
def adam(w, g, m, v, t, lr, b1, b2, eps):
    """One step.  w, g, m, v: tensors of one shape; t = 1, 2, ...; the rest numbers.  Returns new w, m, v."""
    m = ...
    v = ...
    m_hat = ...
    v_hat = ...
    w = ...
    return w, m, v


# %%
checked_adam = lesson02.adam(adam)

# %% [markdown]
# Are both of yours the same as PyTorch's? Take ten steps side by side in the tilted valley. (PyTorch's RMSprop calls
# ρ `alpha`.)

# %%
H, start = valley(100, 45), sum(directions(45))


def ten_of_theirs(make):
    theirs = start.clone().requires_grad_()
    optimiser = make([theirs])
    for t in range(10):
        theirs.grad = H @ theirs.detach()
        optimiser.step()
    return theirs.detach()


zero = torch.zeros(2, dtype=torch.float64)
w, m, v = start, zero, zero
for t in range(1, 11):
    w, m, v = checked_adam(w, H @ w, m, v, t, 0.05, 0.9, 0.999, 1e-8)
pairs = {"Adam": (w, ten_of_theirs(lambda ws: torch.optim.Adam(ws, lr=0.05, betas=(0.9, 0.999), eps=1e-8))),
         "RMSProp": (rmsprop_path(H, start, 0.05, 10)[-1],
                     ten_of_theirs(lambda ws: torch.optim.RMSprop(ws, lr=0.05, alpha=0.9, eps=1e-8)))}
for name, (own, theirs) in pairs.items():
    print(f"{name:8} ten steps, largest difference below 1e-10:", ((own - theirs).abs().max() < 1e-10).item())


# %% [markdown]
# And the correction, seen in the valley: the length of each step, with it and without.

# %%
def adam_path(H, start, lr, b1=0.9, b2=0.999, steps=60, noise=None, correct=True):
    """-> (steps + 1, 2).  noise (steps, 2) is added to the gradients."""
    w, m, v, path = start, torch.zeros_like(start), torch.zeros_like(start), [start]
    for t in range(1, steps + 1):
        g = H @ w if noise is None else H @ w + noise[t - 1]
        w, m, v = checked_adam(w, g, m, v, t if correct else 10 ** 6, lr, b1, b2, 1e-8)
        path.append(w)
    return torch.stack(path)


for correct in (True, False):
    path = adam_path(H, start, 0.05, correct=correct)
    lengths = (path[1:] - path[:-1]).norm(dim=1)
    print(f"correction {correct!s:6} steps 1, 2, 5, 10 go:", *[f"{lengths[t]:.2f}" for t in (0, 1, 4, 9)])

# %% [markdown]
# (Without correction means: as if $t$ were a million, where $1 - \beta^t$ is 1.) Two knobs that each move by 0.05
# make a step of 0.07. With the correction that is so from the start. Without it the first steps are three to four
# times as long.
#
# One more experiment, with exact numbers. The gradient of one knob comes in a cycle: 3, -1, -1, whatever $w$ is. Its
# mean is 1/3, so downhill is to the left.

# %%
guess_cycle = widgets.Predict("Gradients 3, -1, -1, 3, -1, -1, ...; Adam, β1 = 0, β2 = 0.1. Where does w go?",
                              ["to the left, as it should", "to the right, uphill", "it stays"])
guess_cycle


# %%
def walk(b1, b2, rare, cycle, steps):  # the gradient: ``rare`` once in a cycle, else -1
    w, m, v = (torch.zeros(1, dtype=torch.float64) for _ in range(3))
    for t in range(1, steps + 1):
        g = torch.tensor([rare if t % cycle == 1 else -1.0], dtype=torch.float64)
        w, m, v = checked_adam(w, g, m, v, t, 0.01, b1, b2, 1e-8)
    print(f"betas {b1}, {b2}; {rare:4.0f} once in {cycle:4} steps, else -1: "
          f"after {steps:5} steps w = {w.item():+.2f}")


for b1, b2 in ((0.0, 0.1), (0.0, 0.999), (0.9, 0.999)):
    walk(b1, b2, 3.0, 3, 300)
walk(0.9, 0.999, 5001.0, 5000, 10000)
guess_cycle.reveal("to the right, uphill")


# %% [markdown]
# **A failure, explained.** Adam can walk the wrong way for ever. Each gradient is divided by its own size. The rare 3
# makes its own divisor large, and counts for less than two small ones. With $\beta_2 = 0.999$ the divisor remembers a
# whole cycle, and all three are divided by the same number. But that is no cure. The last row has a cycle that is
# longer than this memory too: 5001 once, then 4,999 times -1, mean 0.0004. After two such cycles Adam stands uphill
# again. Reddi, Kale and Kumar (2018) found this gap in Adam's proof: for every fixed pair with
# $\beta_1 < \sqrt{\beta_2}$ there is a problem on which Adam fails. Their remedy never lets the divisor fall.
#
# (A common form of Adam today is **AdamW**, Loshchilov and Hutter 2019: each step also shrinks every weight a little,
# and this shrinking is not divided by $\sqrt{v}$.)
#
# ## 3 The lab: a race
#
# Four racers, the same start, the same noise on their gradients, 60 steps. Two are lesson 01's: plain descent at rate
# 1.9 and the heavy ball at rate 1 with μ = 0.9. Yours are Adam and, at the same rate and with $\rho = \beta_2$,
# RMSProp. The seed draws the noise.
#
# **Target:** tilt 0, κ = 1000, no noise. Bring **Adam** to one millionth of the start's loss ($10^{-6}$, the dotted
# line) or below. Leave the tilt alone for now: the next cell asks you something first.

# %%
def ball_path(H, start, lr, mu, steps, noise):
    w, u, path = start, torch.zeros_like(start), [start]
    for t in range(steps):
        u = mu * u + H @ w + noise[t]
        w = w - lr * u
        path.append(w)
    return torch.stack(path)


def race(rate, b1, b2, kappa, tilt, noise, seed):
    H, start = valley(kappa, tilt), sum(directions(tilt))
    noisy = noise * torch.randn(60, 2, generator=seeded(seed), dtype=torch.float64)
    plain, ball = ball_path(H, start, 1.9, 0.0, 60, noisy), ball_path(H, start, 1.0, 0.9, 60, noisy)
    w, s, own = start, torch.zeros_like(start), [start]
    for t in range(60):
        w, s = checked_rmsprop(w, H @ w + noisy[t], s, rate, b2, 1e-8)
        own.append(w)
    paths = {"plain": plain, "heavy ball": ball, "RMSProp": torch.stack(own),
             "Adam": adam_path(H, start, rate, b1, b2, 60, noisy)}
    heights = {name: height(path, H) / height(start, H) for name, path in paths.items()}
    return (rate, b1, b2, kappa, tilt, noise), paths, heights


fig, (left, right) = figures.new(1, 2, width=9.6, height=4.2)
rings = [left.plot([], [], "-", color="#999999", linewidth=1)[0] for _ in range(5)]
left.plot(0, 0, "kx", markersize=11, markeredgewidth=1.5)
left.set(xlim=(-1.6, 1.6), ylim=(-1.2, 1.8), xlabel="w[0]", ylabel="w[1]")
left.set_title("grey: equal loss; × best place")
right.set(yscale="log", ylim=(1e-9, 1e2), xlabel="step", ylabel="loss, as a part of the start's")
right.set_yticks([10.0 ** k for k in range(-8, 3, 2)], [f"1e{k}" for k in range(-8, 3, 2)])
right.minorticks_off()
right.axhline(1e-6, color="black", linestyle=":")
tracks = {}
for i, name in enumerate(["plain", "heavy ball", "RMSProp", "Adam"]):
    style = {**figures.look(i), "markersize": 4, "linewidth": 1.2}
    on_curve, = right.plot(range(61), [1.0] * 61, **style, markevery=6)
    tracks[name] = left.plot([], [], **style, markevery=3)[0], on_curve
race_legend = right.legend([track for _, track in tracks.values()], list(tracks), loc="upper right")


# %%
def share(value):
    return "more than at the start" if value > 1 else f"{value:.0e}" if value > 1e-9 else "below 1e-9"


def draw_race(result):
    (rate, b1, b2, kappa, tilt, noise), paths, heights = result
    steep, flat = directions(tilt)
    for ring, r in zip(rings, (0.1, 0.3, 0.6, 1.0, 1.4)):
        ring.set_data(*(r * (circle.cos() * steep + kappa ** 0.5 * circle.sin() * flat)).T)
    for name, (on_map, on_curve) in tracks.items():
        on_map.set_data(*paths[name].clamp(-20, 20).T)
        on_curve.set_ydata(heights[name].clamp(1e-10, 1e3))
    verdict = "Target reached." if heights["Adam"][-1] <= 1e-6 else "Target not reached."
    ends = ", ".join(f"{name} {share(values[-1])}" for name, values in heights.items())
    return (f"κ = {kappa}, tilt {tilt}, noise {noise}; rate {rate}, β1 {b1}, β2 {b2}. Loss after 60 steps, "
            f"as a part of the start's: {ends}. {verdict}")


race_rates = [0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
lab = dict(rate=widgets.Slider("rate of RMSProp and Adam", race_rates, 0.3),
           b1=widgets.Slider("β1", [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95], 0.9),
           b2=widgets.Slider("β2", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999], 0.999),
           kappa=widgets.Slider("condition number κ", [1, 3, 10, 30, 100, 300, 1000], 1000),
           tilt=widgets.Slider("tilt, degrees", [0, 5, 15, 30, 45], 0),
           noise=widgets.Slider("noise on the gradients", [0.0, 0.01, 0.03, 0.1, 0.3], 0.0),
           seed=widgets.Slider("seed of the noise", [0, 1, 2, 3, 4], 0))
widgets.LiveFigure(fig, race, draw_race, **lab)

# %% [markdown]
# Reached it at tilt 0? Commit, then turn the tilt to 45, and look for any setting that reaches it there.

# %%
guess_tilt = widgets.Predict("The winning setting of tilt 0, at tilt 45. Where does Adam end?",
                             ["on target, as before", "far above the target"])
guess_tilt


# %% [markdown]
# Then two questions to settle. What does a little noise do to each of the four? And at κ = 10, who wins? The next
# cell gives the heavy ball (with μ = 0 among its settings: plain descent) and Adam a grid of settings each, and takes
# the best.

# %%
def tuned(path_of, settings, noises):  # the best setting with one draw of the noise; its end with another
    def end(setting, noise):
        return (height(path_of(*setting, noise)[-1], H) / height(start, H)).nan_to_num(9e9, 9e9).item()

    best = min(settings, key=lambda setting: end(setting, noises[0]))
    return best, end(best, noises[1])


balls = [(rate, mu) for rate in (0.1, 0.3, 0.6, 1.0, 1.5, 1.9, 2.5, 3.0, 3.4, 3.7)
         for mu in (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)]
adams = [(rate, b1) for rate in race_rates[2:] for b1 in (0.0, 0.5, 0.7, 0.9)]
for kappa, tilt, noise in ((1000, 0, 0.0), (1000, 45, 0.0), (10, 45, 0.0), (10, 45, 0.1), (1000, 0, 0.1)):
    H, start = valley(kappa, tilt), sum(directions(tilt))
    noises = noise * torch.randn(2, 60, 2, generator=seeded(0), dtype=torch.float64)
    (lr, mu), ball = tuned(lambda lr, mu, noisy: ball_path(H, start, lr, mu, 60, noisy), balls, noises)
    (rate, b1), own = tuned(lambda rate, b1, noisy: adam_path(H, start, rate, b1, 0.999, 60, noisy),
                            adams, noises)
    print(f"κ {kappa:<5} tilt {tilt:<3} noise {noise:<4}  ball {ball:.0e} (rate {lr}, μ {mu})", end="   ")
    print(f"Adam {own:.0e} (rate {rate}, β1 {b1})")
guess_tilt.reveal("far above the target")


# %% [markdown]
# **Explain.** Where the valley runs along a knob, Adam gets to the bottom although nothing told it κ. (The best
# setting found has β1 = 0: RMSProp with the correction. Where each knob's step has the right length already, a ball
# only overshoots.) And it comes to rest there, without a falling rate: with β2 = 0.999 the divisor remembers the large
# gradients of the start for hundreds of steps, so steps shrink with the slope. (Set the rate to 0.3 and β2 to 0.9:
# before step 40 RMSProp begins to jump to and fro as in section 1.) Tilted by 45 degrees Adam is in the same case as
# everybody else: no setting tried reaches the target, and the ball, well set, is ahead. At κ = 10 both arrive. With
# noise both stop at a hundredth or so of the start's loss, at smaller rates than without it, in either valley: what
# limits them is not the valley any more. (Each was set with one draw of the noise and is reported with another.)
#
# And RMSProp at tilt 0? At ρ = 0.999, without a correction, its first step is $1/\sqrt{0.001}$, about 32, rates long
# (look at the curve jump), and then it lives on that large divisor: luck with this start.
#
# So the question "is Adam better?" has no answer. "Better in which valley, with which noise, tuned how?" has one.
#
# ## 4 A family of small trainings
#
# Two knobs are good for seeing. For the rest of this lesson there is real work: **train a small network to tell five
# letters apart, in twenty steps.** That is one task. Other five letters are another task. Each begins with other
# random weights. All such tasks together are a *family*, and a family is what one can learn an optimiser on.
#
# Images are shrunk to 6 × 6. Ten drawings of each letter are for training (the support of lesson 00), ten for judging
# (the queries). The letters come from the training scripts.

# %%
def shrunk(split):                                        # 28 x 28 bytes -> 36 numbers from 0 to 1
    letters = data.glyphs().split(split)
    return letters.with_items(F.adaptive_avg_pool2d(letters.items.float() / 255, 6).flatten(2))  # (C, 20, 36)


class Jobs(NamedTuple):
    """B trainings: the data of B tasks, and the weights that each network begins with."""
    support_x: torch.Tensor                                               # (B, 50, 36)
    support_y: torch.Tensor                                               # (B, 50)
    query_x: torch.Tensor                                                 # (B, 50, 36)
    query_y: torch.Tensor                                                 # (B, 50)
    w1: torch.Tensor                                                      # (B, 36, 8)
    w2: torch.Tensor                                                      # (B, 8, 5)


def jobs(letters, batch, seed, hidden=8):                                # -> a function that draws Jobs
    generator = seeded(seed)
    sampler = EpisodeSampler(letters, way=5, shot=10, query=10, batch=batch, generator=generator)

    def draw():
        w1 = torch.randn(batch, 36, hidden, generator=generator) / 6
        w2 = torch.randn(batch, hidden, 5, generator=generator) / hidden ** 0.5
        return Jobs(*sampler(), w1, w2)
    return draw


train_letters, val_letters = shrunk("train"), shrunk("val")
job = jobs(train_letters, batch=40, seed=0)()                             # forty trainings at once
print({name: tuple(tensor.shape) for name, tensor in job._asdict().items()})
figures.images(job.support_x[:2].reshape(2, 5, 10, 6, 6)[:, :, :2].flatten(1, 2), labels=["task 0", "task 1"],
               alt="Two rows of blurred pictures, 6 by 6 pixels: five letters of a task, two drawings each.")

# %% [markdown]
# **A network as a function.** An `nn.Module` keeps its weights inside, and `optimiser.step()` overwrites them there.
# What is overwritten has no history, and this lesson needs the history. So keep the weights outside, in a dict: a
# network is then a function of *(weights, inputs)*, and a step makes a **new** dict. (For any module,
# `torch.func.functional_call(module, weights, (x,))` is such a function.)

# %%
guess_first = widgets.Predict("Five letters, random weights: before the first step the mean loss is about ...",
                              ["0.2", "0.7", "1.6", "5"])
guess_first


# %%
def first_weights(job):
    B, _, hidden = job.w1.shape
    return {"w1": job.w1, "b1": torch.zeros(B, 1, hidden), "w2": job.w2, "b2": torch.zeros(B, 1, 5)}


def net(weights, x):                                                      # x (B, n, 36) -> logits (B, n, 5)
    hidden = torch.tanh(x @ weights["w1"] + weights["b1"])  # (B, n, 8): B networks side by side
    return hidden @ weights["w2"] + weights["b2"]


def losses(weights, x, y):  # -> (B,): each network's cross-entropy
    # .mT swaps the last two axes, for cross_entropy wants the classes second; "none": one loss an image
    return F.cross_entropy(net(weights, x).mT, y, reduction="none").mean(1)


weights = first_weights(job)
print({name: tuple(w.shape) for name, w in weights.items()}, " numbers a network:",
      sum(w[0].numel() for w in weights.values()))
at_first = losses(weights, job.query_x, job.query_y)                      # (40,)
print(f"mean loss before the first step {at_first.mean():.2f}   (log 5 = 1.61)")
guess_first.reveal("1.6")


# %% [markdown]
# **An optimiser as two functions.** `init(weights)` gives the state it begins with, `update(weights, grads, state)`
# the new weights and the new state. All optimisers of the module `optim` are made so. Here is yours, in the same
# form: your `adam`, for each tensor of the dict.

# %%
class YourAdam:
    def __init__(self, lr, b1=0.9, b2=0.999, correct=True):
        self.lr, self.b1, self.b2, self.correct = lr, b1, b2, correct

    def init(self, weights):
        zero = {n: torch.zeros_like(w) for n, w in weights.items()}
        return 0, zero, zero                                              # t, m, v

    def update(self, weights, grads, state):
        t, m, v = state[0] + 1, dict(state[1]), dict(state[2])
        power, new = t if self.correct else 10 ** 6, {}
        for n, w in weights.items():
            new[n], m[n], v[n] = checked_adam(w, grads[n], m[n], v[n], power, self.lr, self.b1, self.b2, 1e-8)
        return new, (t, m, v)


# %% [markdown]
# One run: at each step the gradient of every network's training loss, and an update. At the end comes the loss on the
# *queries*; with `watch` it is written down before the first step and after each, too. The networks do not touch each
# other, so the gradient of the *sum* of their losses is each one's own.
#
# With `torch.no_grad()` around it, `train` is a plain run: each step starts from weights cut off from the past
# (`detach`), and `enable_grad` switches recording on for the one gradient. Without `no_grad` around it (section 6) the
# past must not be cut: if the rate is to be learned, the weights after step 3 depend on it through steps 1 and 2. That
# is all that `keep` asks. What `second_order` does is the subject of section 5.

# %%
def train(optimiser, job, steps=20, second_order=False, watch=False):
    """-> query losses (B,) at the end, or with ``watch`` after each step (steps + 1, B); and the weights."""
    keep = torch.is_grad_enabled()                        # will anyone differentiate through this run?
    weights = first_weights(job)
    state, curve = optimiser.init(weights), []
    for t in range(steps):
        if watch:
            curve.append(losses(weights, job.query_x, job.query_y))
        with torch.enable_grad():
            if not (keep and weights["w1"].requires_grad):
                weights = {n: w.detach().requires_grad_() for n, w in weights.items()}
            total = losses(weights, job.support_x, job.support_y).sum()
            grads = torch.autograd.grad(total, weights.values(), create_graph=second_order)
        weights, state = optimiser.update(weights, dict(zip(weights, grads)), state)
    end = losses(weights, job.query_x, job.query_y)
    return torch.stack([*curve, end]) if watch else end, weights


with torch.no_grad():
    ours, theirs = (train(optimiser, job)[0] for optimiser in (YourAdam(0.03), optim.Adam(0.03)))
print(f"mean loss after 20 steps of your Adam {ours.mean():.2f}, of the library's {theirs.mean():.2f}")

# %% [markdown]
# Now race the real work. Every optimiser gets the same grid of rates, and the same forty tasks. Two more racers take
# parts out of Adam: the correction, and the average of the gradient ($\beta_1 = 0$). The last column is what lesson 00
# asks for: the difference to Adam at its best rate, task by task.

# %%
guess_default = widgets.Predict("Adam's usual rate is 0.001. Twenty steps at it bring the loss to about ...",
                                ["0.4", "0.9", "1.2", "1.6"])
guess_default

# %%
makers = {"gradient descent": lambda lr: optim.GradientDescent(lr),
          "momentum 0.9": lambda lr: optim.SGD(lr, momentum=0.9),
          "RMSProp": lambda lr: optim.RMSProp(lr, alpha=0.9),
          "Adam": lambda lr: YourAdam(lr),
          "Adam, no correction": lambda lr: YourAdam(lr, correct=False),
          "Adam, β1 = 0": lambda lr: YourAdam(lr, b1=0.0)}
grid = [0.001 * 2 ** k for k in range(15)]  # 0.001 to 16, each twice the one before
with torch.no_grad():
    ends = {name: torch.stack([train(make(lr), job)[0].nan_to_num(9.0) for lr in grid])  # (15, 40)
            for name, make in makers.items()}
tried = {name: values.mean(1).tolist() for name, values in ends.items()}
at_best = {name: values[values.mean(1).argmin()] for name, values in ends.items()}   # (40,): a loss a task
best_rate = {name: grid[values.index(min(values))] for name, values in tried.items()}


def pm(values, digits=2):  # (T,): mean ± half of the 95 % interval
    return f"{values.mean():+.{digits}f} ± {1.96 * values.std() / len(values) ** 0.5:.{digits}f}"


for name, values in tried.items():
    good = [lr for lr, value in zip(grid, values) if value <= min(values) + 0.1]
    print(f"{name:20} best rate {best_rate[name]:<6.3f} loss {min(values):.2f}   within 0.1 of it: rates "
          f"{good[0]:.3f} to {good[-1]:.3f}   less Adam's {pm(at_best[name] - at_best['Adam'])}")
guess_default.reveal(min(guess_default.options, key=lambda option: abs(float(option) - tried["Adam"][0])))

# %%
fig, ax = figures.new(width=8, height=4)
for i, (name, values) in enumerate(tried.items()):
    ax.plot(grid, values, **figures.look(i), markersize=5, linewidth=1.4, label=name)
ax.set(xscale="log", ylim=(0, 2.2), xlabel="rate", ylabel="query loss after 20 steps")
figures.legend(ax)
figures.show(fig, "Query loss after 20 steps against the rate, for six optimisers. Each curve is a trough. "
             + "; ".join(f"{n} is lowest at {best_rate[n]:.3f}: {min(v):.2f}" for n, v in tried.items()))


# %% [markdown]
# **Observe.** Four things.
#
# - Tuned, momentum and Adam are alike, and RMSProp is a little behind. Only plain descent is far behind. Without its
#   average of the gradient ($\beta_1 = 0$) Adam is no better than RMSProp. That momentum, well set, keeps up with Adam
#   was found at a much larger scale, too (Wilson et al. 2017).
# - The best rates are far apart: the best of momentum is sixteen times that of Adam. A rate means nothing without the
#   rule that it stands in. Compare two optimisers only at the best rate of each.
# - The usual 0.001 hardly moves in twenty steps: 20 · 0.001 is a way of 0.02 for each weight. It is meant for
#   thousands.
# - Without the correction Adam is nearly as good, **at a rate four times smaller**. In a run of twenty steps all
#   steps are first steps, so the missing correction is nothing but a larger rate. In a long run that fades, and the
#   rate that was right at first is too small. The correction makes a rate mean the same at step 1 and at step 10,000.
#
# ### Bug hunt 1: Adam, by name only
#
# An article explains Adam ("it adapts the learning rate to each parameter"), and prints this under its name. It runs,
# and its loss falls. A high loss at the end would be no proof: a bad rate explains that. What can no rate explain?

# %%
def found_adam(w, g, lr):
    """Adam: adaptive moment estimation."""
    return w - lr * g


class FoundAdam(YourAdam):
    def update(self, weights, grads, state):
        return {n: found_adam(w, grads[n], self.lr) for n, w in weights.items()}, state


guess_scaled = widgets.Predict("Multiply the loss by 1000. Then the first step of the true Adam is ...",
                               ["a thousand times as long", "as long as before", "a thousandth as long"])
guess_scaled

# %%
with torch.no_grad():
    for name, make in {"Adam": YourAdam, "found": FoundAdam}.items():
        at = best_rate["Adam"]
        end = train(make(at), job)[0].mean()
        print(f"{name:6} loss after 20 steps at rate {at:.3f}: {end:.2f}", end="    ")
        for scale in (1.0, 1000.0):                                       # the same loss in other units
            two = {"w": torch.zeros(2)}
            g = {"w": scale * torch.tensor([0.3, -0.01])}
            moved = make(at).update(two, g, make(at).init(two))[0]["w"]
            print(f"first step, loss times {scale:.0f}:", moved.numpy().round(3), end="   ")
        print()
guess_scaled.reveal("as long as before")

# %%
lesson02.BY_NAME

# %% [markdown]
# ## 5 Through a step
#
# The rate was found by trying fifteen. Lesson 01 found $w$ by trying too, and then asked the slope instead. So ask:
# **what is the slope of the final loss in the rate?** For that you have to differentiate through a step. Start with
# one number, by hand.
#
# Let $L(w) = w^4 / 4$, so $g = w^3$. One step from $w = 2$ at rate 0.1: $g = 8$ and $w' = 2 - 0.1 \cdot 8 = 1.2$. The
# loss there is $L(w')$, and its slope is $w'^3 = 1.728$. Now two questions, each by the chain rule:
#
# $$\frac{d L(w')}{d\, lr} = w'^3 \cdot (-g) = 1.728 \cdot (-8) = -13.82$$
#
# $$\frac{d L(w')}{d w} = w'^3 \cdot \Big(1 - lr \cdot \frac{d g}{d w}\Big) = 1.728 \cdot (1 - 0.1 \cdot 12) = -0.35$$
#
# In the second, $dg/dw = 3 w^2 = 12$ is a *second* derivative of the loss: if the start moves, the gradient there
# changes too. Now let PyTorch do it. By default `autograd.grad` returns $g$ as plain numbers. With
# `create_graph=True` it also records how $g$ was computed, so that $g$ can be differentiated in turn.

# %%
guess_graph = widgets.Predict("The same without create_graph. What comes out as the slope in w?",
                              ["an error", "0", "-0.35", "1.73"])
guess_graph

# %%
for create_graph in (True, False):
    w = torch.tensor(2.0, requires_grad=True)
    lr = torch.tensor(0.1, requires_grad=True)
    (g,) = torch.autograd.grad(w ** 4 / 4, w, create_graph=create_graph)
    after = w - lr * g  # the step: a new tensor, made from w, lr and g
    slope_w, slope_lr = torch.autograd.grad(after ** 4 / 4, [w, lr])
    print(f"create_graph={create_graph!s:5}   slope in lr {slope_lr:.2f}   slope in w {slope_w:.2f}")
guess_graph.reveal("1.73")


# %% [markdown]
# **Explain.** No error, and the wrong sign. Without the record $g$ is a constant 8, so $dw'/dw = 1$. And the slope in
# the rate came out right in both cases: after *one* step $g$ does not depend on the rate. After two it does, since
# the second $g$ is taken at a place to which the rate has led. Remember that: **a test with one step cannot see this
# mistake.**
#
# That is what `train` above does: `second_order=True` keeps the record of every gradient.
#
# **With more knobs** $dg/dw$ is the matrix $H$ of all second derivatives, $H_{ij} = \partial g_i / \partial w_j$.
# Lesson 01 had 15,700 knobs: $H$ would have 246 million entries. But the chain rule never needs $H$, only $H$ times
# some vector $v$. And that is again a gradient. Form the *number* $g \cdot v = \sum_i g_i v_i$ with $v$ held
# constant. Its slope in $w_j$ is
#
# $$\frac{\partial}{\partial w_j} \sum_i g_i v_i = \sum_i H_{ij} v_i = (H v)_j \qquad (H_{ij} = H_{ji})$$
#
# Two gradients and no matrix: the **Hessian-vector product** (Pearlmutter 1994).

# %% [markdown]
# ### Exercise 3: the Hessian-vector product (two lines, 3 minutes, difficulty 2 of 3)
#
# For the loss of lesson 01's first exercise, $\sum (A w)^4$.

# %% tags=["exercise"]
def hvp(A, w, v):
    """H v for loss(w) = sum of (A w)^4, H its second derivatives at w.  A (n, d), w (d,), v (d,) -> (d,)"""
    w = w.clone().requires_grad_()
    loss = ((A @ w) ** 4).sum()
    (g,) = ...       # the gradient, with its record
    (Hv,) = ...      # the gradient of which number?
    return Hv


# %%
checked_hvp = lesson02.hvp(hvp)

# %% [markdown]
# Look at a case that is small enough to print. With $v = e_j$ the product is column $j$ of $H$, so three products
# give all of a 3 × 3 matrix. And a second witness: the rise of the gradient over a small run along $v$.

# %%
A = torch.randn(4, 3, generator=seeded(1), dtype=torch.float64)                                # (4, 3)
w, v = torch.tensor([[1.0, -0.5, 0.5], [1.0, 2.0, 0.0]], dtype=torch.float64)                  # (3,), (3,)
full = torch.stack([checked_hvp(A, w, e) for e in torch.eye(3, dtype=torch.float64)], dim=1)   # (3, 3)


def gradient4(w):
    return 4 * A.T @ (A @ w) ** 3


print("H =", *full.numpy().round(1).tolist(), sep="\n    ")
print("H v          ", (full @ v).numpy().round(1), "  by the product", checked_hvp(A, w, v).numpy().round(1))
print("by measuring ", ((gradient4(w + 1e-5 * v) - gradient4(w - 1e-5 * v)) / 2e-5).numpy().round(1))

# %% [markdown]
# What does it cost?

# %% tags=["nbval-ignore-output"]
A_large = torch.randn(1000, 1000, generator=seeded(0), dtype=torch.float64) / 30
w_large, v_large = torch.randn(2, 1000, generator=seeded(1), dtype=torch.float64)
checked_hvp(A_large, w_large, v_large)  # once untimed: first calls are slower
began = time.perf_counter()
for _ in range(20):
    x = w_large.clone().requires_grad_()
    torch.autograd.grad(((A_large @ x) ** 4).sum(), x)
once = (time.perf_counter() - began) / 20
began = time.perf_counter()
for _ in range(20):
    checked_hvp(A_large, w_large, v_large)
twice = (time.perf_counter() - began) / 20
print(f"1000 knobs: a gradient {1000 * once:.1f} ms, a product {1000 * twice:.1f} ms, all of H "
      f"by a thousand products about {1000 * twice:.0f} s")


# %% [markdown]
# ## 6 A rate is learned
#
# Now many steps. The final loss $L(w_T)$ depends on the rate through every one of them. Differentiate
# $w_{t+1} = w_t - lr \cdot g_t$:
#
# $$\frac{d w_{t+1}}{d\, lr} = \frac{d w_t}{d\, lr} - g_t - lr \cdot H_t\, \frac{d w_t}{d\, lr}$$
#
# The last term is a Hessian-vector product, one for each step. Autograd goes from the end back, and needs one for each
# step too, with the slope in $w_{t+1}$ in the place of $dw_t / d\,lr$. The slope $dL(w_T)/d\,lr$ is called the
# **hyper-gradient** (Bengio 2000; Maclaurin, Duvenaud and Adams 2015).

# %% [markdown]
# ### Exercise 4: the hyper-gradient (three lines, 5 minutes, difficulty 2 of 3)
#
# `steps` steps of plain descent on a squared error; then the slope of the loss **at the end** in the rate.

# %% tags=["exercise"]
def lr_hypergrad(A, b, w, lr, steps):
    """d loss(w after steps) / d lr.  A (n, d), b (n,), w (d,) the start, lr a number -> ()"""
    def loss(w):
        return ((A @ w - b) ** 2).mean() / 2

    lr = torch.tensor(lr, dtype=w.dtype, requires_grad=True)
    w = w.clone().requires_grad_()
    for t in range(steps):
        (g,) = ...
        w = ...
    (h,) = ...
    return h


# %%
checked_lr_hypergrad = lesson02.lr_hypergrad(lr_hypergrad)


# %% [markdown]
# ### Bug hunt 2: second order in name only
#
# A colleague has the same function, one word shorter. It runs, and no warning is given. You know a test that does
# not find it out (section 5). Before you run the cells, say: which two numbers would you compare, after how many steps,
# and at which rate?

# %%
def found_hypergrad(A, b, w, lr, steps):
    lr = torch.tensor(lr, dtype=w.dtype, requires_grad=True)
    w = w.clone().requires_grad_()
    for t in range(steps):
        (g,) = torch.autograd.grad(((A @ w - b) ** 2).mean() / 2, w)
        w = w - lr * g
    return torch.autograd.grad(((A @ w - b) ** 2).mean() / 2, lr)[0]


def final_loss(A, b, w, lr, steps):                                       # plain descent, nothing recorded
    for t in range(steps):
        w = w - lr * A.T @ (A @ w - b) / len(b)
    return ((A @ w - b) ** 2).mean() / 2


guess_found_h = widgets.Predict("At a rate that is too large, the true slope is positive (go back!). "
                                "What does the colleague's slope say?",
                                ["the same", "positive, but of another size", "negative (go on)"])
guess_found_h

# %%
steep, flat = directions(30)
A = 2 ** 0.5 * torch.stack([steep, flat / 10 ** 0.5])  # (2, 2): AᵀA / 2 is the valley, κ = 10
b, start = torch.zeros(2, dtype=torch.float64), steep + flat              # the best place is 0
print("rate   steps   yours       by measuring   the colleague's")
for lr, steps in ((0.5, 1), (0.5, 3), (0.5, 10), (1.9, 10), (1.95, 10)):
    measured = (final_loss(A, b, start, lr + 1e-6, steps) - final_loss(A, b, start, lr - 1e-6, steps)) / 2e-6
    yours, theirs = (f(A, b, start, lr, steps) for f in (checked_lr_hypergrad, found_hypergrad))
    print(f"{lr:<6} {steps:<7} {yours:+.4f}     {measured:+.4f}        {theirs:+.4f}")
guess_found_h.reveal("negative (go on)")


# %% [markdown]
# **Explain.** At one step all agree, as section 5 said. With more steps the colleague's slope is wrong. That is a
# nuisance at 0.5, where the sign is still right. At 1.9, close to where descent runs away (the limit is 2), the true
# slope says "go back" and the colleague's says "go on". Nothing in the colleague's program would ever tell. **The
# test that finds it: finite differences, at more than one step, and at a rate where it matters.**
#
# **A family of valleys.** A rate that suits one valley is soon found. Which one suits a *family*? In this one each
# task has its own direction, its own best place, and a largest curvature somewhere between 0.7 and 1.4. κ is 10.
# Twenty tasks are for training, a hundred others are held out.

# %%
def draw_tasks(count, seed, kappa=10, factor=1.0):
    """-> a list of (A, b, w): the loss is lesson 01's, the mean of (A w - b)² / 2, and w is the start."""
    generator, tasks = seeded(seed), []
    for _ in range(count):
        turn, u = torch.rand(2, generator=generator).tolist()
        steep, flat = directions(180 * turn)
        largest = factor * 0.7 * 2 ** u                                   # the largest curvature
        A = (2 * largest) ** 0.5 * torch.stack([steep, flat / kappa ** 0.5])
        best = torch.randn(2, generator=generator, dtype=torch.float64)
        tasks.append((A, A @ best, best + steep + flat))
    return tasks


def after(tasks, lr, steps=10):  # -> (): mean loss after plain descent
    return torch.stack([final_loss(A, b, w, lr, steps) for A, b, w in tasks]).mean()


train_tasks, held_out = draw_tasks(20, seed=0), draw_tasks(100, seed=1)


def learn_rate(hypergrad, updates=30, start=0.2):  # outer loop: your adam, on the log of the rate
    log_lr, m, v = torch.tensor(start, dtype=torch.float64).log(), torch.zeros(()), torch.zeros(())
    rates = [start]
    for t in range(1, updates + 1):
        lr = rates[-1]
        h = torch.stack([hypergrad(A, b, w, lr, 10) for A, b, w in train_tasks]).mean()
        log_lr, m, v = checked_adam(log_lr, lr * h, m, v, t, 0.2, 0.7, 0.9, 1e-8)  # short memories
        rates.append(log_lr.exp().item())
    return rates


# %% [markdown]
# Lesson 00's names fit: the meta-update is one step of Adam; what it minimises, the mean final loss, is the
# meta-objective; and the meta-knowledge is one number. Two names are new: descent on one task is the **inner loop**,
# and the loop of meta-updates around it the **outer loop**.
#
# The outer loop moves $\log lr$, so the rate stays above 0, and a step is a factor. (By the chain rule the slope in
# $\log lr$ is $lr$ times the slope in $lr$.) Beyond the limit that slope is enormous, and a long memory would hold the
# rate still for hundreds of updates: hence the small start, and the short memories 0.7 and 0.9.

# %%
rates, wrong_rates = learn_rate(checked_lr_hypergrad), learn_rate(found_hypergrad)
fine = torch.logspace(-1.5, 0.5, 81, dtype=torch.float64).tolist()        # a fine grid of rates
on_grid = [after(held_out, lr).item() for lr in fine]
learned_lr, wrong_lr = rates[-1], wrong_rates[-1]
best_lr = fine[on_grid.index(min(on_grid))]
for name, lr in {"start": 0.2, "learned": learned_lr, "learned, colleague's slope": wrong_lr,
                 "best of 81 on the held-out tasks": best_lr}.items():
    print(f"{name:34} rate {lr:.2f}   held-out loss {after(held_out, lr):.2g}")
last = torch.stack([found_hypergrad(A, b, w, wrong_lr, 10) for A, b, w in train_tasks]).mean()
print(f"the colleague's slope at the rate {wrong_lr:.2f}: {last:+.3f}")

# %%
figures.curve({"your slope": (range(31), rates), "colleague's slope": (range(31), wrong_rates)},
              "meta-update", "rate",
              alt=f"The rate over 30 meta-updates. With the true slope it climbs from 0.2 and then swings a little; it "
                  f"ends at {learned_lr:.2f}. With the colleague's it climbs to {max(wrong_rates):.2f}, is thrown "
                  f"back, and ends at {wrong_lr:.2f}.")

# %% [markdown]
# **Observe.** With the true slope the rate stays near the best one (it swings a little, for the outer rate does not
# fall), and on a hundred tasks that it has never seen the loss is close to that of the best of 81 rates tried on those
# very tasks. The colleague's rate climbs as well, over the edge, and one huge slope throws it back. Adam's divisor
# remembers that slope, and the rate hardly moves until the thirty updates are over; the loss is about twice the best.
# It has not come to rest: its slope is negative still, "go on". (Try `learn_rate(found_hypergrad, 90)[::15]`.) Note
# that it *works*. It is far better than the start, and without a second witness you would be content.
#
# **The held-out test, and where it fails.** New tasks may differ from the family. Move the sliders: κ, and a factor
# on all curvatures. **Target:** on tasks like the training tasks (κ = 10, factor 1) the learned rate is within 10 %
# of the best of the 21 rates drawn, for every seed. Then, still at κ = 10, find a factor with which it ends more than
# twice as high as that best, and one with which it runs away. What does κ do?

# %%
coarse = fine[::4]
fig, ax = figures.new(width=8, height=4)
held_curve, = ax.plot(coarse, [1.0] * len(coarse), **figures.look(0), markersize=4, label="held-out tasks")
ax.axvline(learned_lr, color=figures.COLOURS[1], linestyle="--", label="the learned rate")
ax.axvline(0.2, color="black", linestyle=":", label="the rate before")
found_best, = ax.plot([1.0], [1.0], "k*", markersize=13, label="best of the 21 rates")
ax.set(xscale="log", yscale="log", ylim=(1e-4, 30), xlabel="rate", ylabel="loss after 10 steps")
held_legend = figures.legend(ax)


def shifted(kappa, factor, seed):
    tasks = draw_tasks(20, 100 + seed, kappa, factor)
    return (kappa, factor), [after(tasks, lr).item() for lr in coarse], after(tasks, learned_lr).item(), \
        after(tasks, 0.2).item()


def draw_shifted(result):
    (kappa, factor), values, own, before = result
    held_curve.set_ydata([min(value, 1e3) for value in values])
    lowest = min(values)
    found_best.set_data([coarse[values.index(lowest)]], [lowest])
    more = own / lowest
    ending = "runs away" if own > 1 else f"ends at {own:.2g}, " + (
        f"{more:.1f} times as high as the best" if more > 1.5 else
        f"{abs(100 * more - 100):.0f} % {'above' if more > 1 else 'below'} the best")
    return (f"κ = {kappa}, curvatures times {factor}: the learned rate, {learned_lr:.2f}, {ending}. The best "
            f"of the 21 rates drawn ends at {lowest:.2g}, the rate before learning at {before:.2g}.")


widgets.LiveFigure(fig, shifted, draw_shifted,
                   kappa=widgets.Slider("κ of the new tasks", [1, 3, 10, 30, 100], 10),
                   factor=widgets.Slider("factor on all curvatures", [0.1, 0.3, 0.5, 1.0, 1.5, 2.0], 1.0),
                   seed=widgets.Slider("seed of the new tasks", [0, 1, 2], 0))

# %%
for kappa, factor in ((1, 1.0), (10, 1.0), (30, 1.0), (100, 1.0), (10, 0.3), (10, 1.5), (10, 2.0)):
    _, values, own, before = shifted(kappa, factor, 0)
    print(f"κ {kappa:<4} curvatures times {factor}: learned rate {own:9.2g}   best of 21 {min(values):.2g}   "
          f"before learning {before:.2g}")


# %% [markdown]
# **Explain.** From κ = 10 up, κ hardly matters: in ten steps nobody gets far along the flat direction, and the
# learned rate is as good as any. (At κ = 1 it ends far above the best, but both are tiny: a round valley is easy at
# any rate near it.) What it knows is how *steep* the family is. On tasks with 0.3 times the curvature it is too
# careful, and ends more than three times as high as the best. With 1.5 times the curvature it is beyond the limit of
# some tasks, and runs away: far worse than the rate before learning. **What was learned is knowledge of the family**,
# and nothing in it says so when the family changes.
#
# ### Exercise 5, optional: learn a rate (open, 10 minutes, difficulty 3 of 3)
#
# Write it from scratch: choose a rate on `train_tasks`, and report the mean final loss on `test_tasks` at that rate.
# Tasks are tuples (A, b, w), the loss and the steps those of exercise 4. Any number of knobs. Curvatures may be larger
# than above, so start with a small rate. The check asks: do the test tasks have no say? Do all training tasks count? Is
# their loss at your rate within 10 % of a grid's best?

# %% tags=["exercise"]
def meta_lr(train_tasks, test_tasks, steps):
    """-> (lr, held_out_loss): a rate chosen on train_tasks, and the mean final loss of test_tasks at it."""
    ...


# %%
checked_meta_lr = lesson02.meta_lr(meta_lr)

# %%
for factor in (1.0, 0.3):
    lr, held = checked_meta_lr(draw_tasks(3, 2, 10, factor), draw_tasks(10, 3, 10, factor), 4)
    print(f"curvatures times {factor}: rate {lr:.2f}, held-out loss {held:.4f}")


# %% [markdown]
# **On letters.** The same with section 4's family. The rate is a parameter of the optimiser now, and the course's one
# training loop, `meta_train`, moves it. (Its third argument is the meta-objective, a function of the learner and of
# what was drawn that returns one number. Left out, it is lesson 00's cross-entropy on the queries.) It draws sixteen
# new trainings at each meta-update, differentiates through all twenty steps of each, and lets Adam move $\log lr$. The
# meta-objective is the mean loss along the run, so that every step gets a say. And since a gradient costs the same for
# many numbers as for one, learn a second version too: **a rate for each of the 341 weights**. (Li et al. 2017 learn
# such rates, together with the first weights, and call it Meta-SGD.) No grid could do that.

# %% tags=["nbval-ignore-output"]
class LearnedRate(nn.Module):
    """Plain descent whose rate is learned: one for all weights or, given their shapes, one for each."""
    def __init__(self, start, shapes=None):
        super().__init__()
        log = torch.tensor(start).log()
        self.one = nn.Parameter(log.clone())
        self.each = nn.ParameterDict({n: torch.zeros(shape) for n, shape in (shapes or {}).items()})

    def init(self, weights):
        return {}

    def update(self, weights, grads, state):
        lr = {n: (self.one + log).exp() for n, log in self.each.items()} if len(self.each) else self.one.exp()
        # new w = w - lr * g; lr is one number or, by name, a tensor with a rate for each weight
        return optim.GradientDescent(lr).update(weights, grads, state)


def along_the_run(learner, job):                          # the meta-objective: the mean loss along the run
    return train(learner, job, 20, second_order=True, watch=True)[0].mean()


one_rate = LearnedRate(0.05)
history = meta_train(one_rate, jobs(train_letters, 16, seed=1), along_the_run, updates=40, lr=0.2, decay=True)
print(f"one rate: from 0.05 to {one_rate.one.exp():.2f};  best of the grid in section 4: "
      f"{best_rate['gradient descent']:.2f}")

# %%
guess_where = widgets.Predict("A rate for each weight: at which pixels will the rates be largest?",
                              ["in the middle, where most ink is", "at the sides, where little is",
                               "in the corners, where next to none is"])
guess_where

# %% tags=["nbval-ignore-output"]
shapes = {n: w.shape[1:] for n, w in first_weights(job).items()}
rate_each = LearnedRate(1.0, shapes)
history_each = meta_train(rate_each, jobs(train_letters, 16, seed=2), along_the_run, updates=60, lr=0.05)
pixels = (rate_each.one + rate_each.each["w1"]).exp().mean(1).detach()    # (36,): each pixel's mean rate
ink = job.support_x.mean((0, 1))                                          # (36,): how dark each pixel is
zone = torch.ones(6, 6)                                                   # 0 middle, 1 sides, 2 corners
zone[1:5, 1:5], zone[[0, 0, 5, 5], [0, 5, 0, 5]] = 0, 2
means = [pixels[zone.flatten() == k].mean().item() for k in range(3)]
for k, name in enumerate(("middle", "sides", "corners")):
    here = zone.flatten() == k
    print(f"{name:8} {here.sum():2} pixels   mean ink {ink[here].mean():.3f}   mean rate {means[k]:.1f}")
display(guess_where.reveal(guess_where.options[means.index(max(means))]))
fig, ax = figures.new(width=4.6, height=3.6)
bar = fig.colorbar(ax.imshow(pixels.reshape(6, 6), cmap="Greys"), label="mean learned rate")
ax.set(xticks=[], yticks=[], xlabel="6 x 6 pixels")
figures.show(fig, "The learned rate of the weights at each pixel, as a 6 by 6 picture; dark is large.")

# %% tags=["nbval-ignore-output"]
val_job = jobs(val_letters, 60, seed=3)()
compared = {"rate 0.05, before learning": optim.GradientDescent(0.05), "one learned rate": one_rate,
            "rate 1 each, before learning": optim.GradientDescent(1.0), "a learned rate each": rate_each,
            "Adam, best rate of the grid": YourAdam(best_rate["Adam"])}
with torch.no_grad():
    on_val = {name: train(learner, val_job)[0] for name, learner in compared.items()}     # (60,) each
for name, end in on_val.items():
    print(f"{name:29} loss after 20 steps, new scripts: {end.mean():.2f}   less Adam's "
          f"{pm(end - on_val['Adam, best rate of the grid'])}")

# %% [markdown]
# **Observe.** On scripts that had no part in it, the one learned rate is far better than the rate before learning,
# and a rate for each weight is better again, by far: 341 numbers, found with one gradient each time. The rates are
# larger on the sides, where there is little ink and gradients are small: the same idea as RMSProp's, but found on tasks
# and then fixed. (In the corners there is next to no ink, and next to nothing to learn a rate from.) It does not reach
# tuned Adam in twenty steps.
#
# ## 7 Short runs, long runs
#
# You differentiated through all steps that the rate would be used for. With a hundred thousand steps each meta-update
# costs a whole training, and autograd keeps all its steps in memory. (The memory can be saved: for one number by
# carrying section 6's recursion forward, for many by running the training backwards, as Maclaurin and others did. The
# time cannot.) So one learns the rate on short runs, and uses it in long ones. What does that do? Take a long valley,
# κ = 1000, thirty units from its best place, with noise on every gradient (the more, the steeper the direction). Learn
# the rate for runs of 1, 10, 30, 100 and 300 steps (this length is the **horizon**), each by its own hyper-gradient;
# then run 300 steps with each.

# %%
H, start = valley(1000, 0), 30 * directions(0)[1]        # (2, 2), (2,)


def noisy_run(lr, steps, seed=0, walks=100, sigma=0.3):  # -> (steps + 1,): the mean loss of 100 walks
    noise = sigma * torch.randn(steps, walks, 2, generator=seeded(seed), dtype=torch.float64) @ H.sqrt()
    w, heights = start.expand(walks, 2), [height(start, H)]
    for t in range(steps):
        w = w - lr * (w @ H + noise[t])  # g is a formula here: nothing to detach
        heights.append(height(w, H).mean())
    return torch.stack(heights)


guess_short = widgets.Predict("A rate that was learned for one step, compared with one for 300 steps, is ...",
                              ["larger", "about the same", "smaller"])
guess_short

# %%
learned_for = {}
for horizon in (1, 10, 30, 100, 300):
    log_lr = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)
    outer = torch.optim.Adam([log_lr], lr=0.2)
    for update in range(35):
        outer.zero_grad()
        noisy_run(log_lr.exp(), horizon, seed=update)[-1].backward()
        outer.step()
    learned_for[horizon] = log_lr.exp().item()
curves = {horizon: noisy_run(lr, 300, seed=1000) for horizon, lr in learned_for.items()}
for horizon, lr in learned_for.items():
    c = curves[horizon]
    print(f"horizon {horizon:3}: rate {lr:.3f}    loss after 1, 10, 30, 100, 300 steps:",
          *[f"{c[t]:.5f}" for t in (1, 10, 30, 100, 300)])
guess_short.reveal("smaller" if learned_for[1] < 0.8 * learned_for[300] else "larger")

# %%
figures.curve({f"horizon {h}": (range(301), curves[h]) for h in (1, 30, 100, 300)}, "step", "loss",
              alt="The loss over 300 steps at rates that were learned for 1, 30, 100 and 300 steps. "
                  + "; ".join(f"horizon {h}: ends at {curves[h][-1]:.2f}" for h in (1, 30, 100, 300)))

# %% [markdown]
# **Explain.** Each rate is best where it was learned: after one step the careful 0.01 is lowest, after 300 steps it
# has hardly moved. In a noisy valley a larger rate costs **at once**, by noise across the valley. It pays **later**,
# by the way along it. A run that ends early sees the cost and not the gain. So short horizons teach small rates. Wu,
# Ren, Liao and Grosse (2018) found this **short-horizon bias**, with this kind of valley, and then in networks. Learn a
# rate for each step so, and it falls far too early, they report. It can trouble whatever is learned on short, noisy
# runs and used in long ones. (That the rate for 10 steps comes out below that for 1 is noise of the outer loop.)
#
# ## 8 The whole rule is learned
#
# One number is learned, or 341. Why not the whole rule? Andrychowicz et al. (2016) put a small network in the place
# of the formula: gradient in, step out. The same network serves every weight, and each weight has its own memory. The
# network is an **LSTM** (long short-term memory; Hochreiter and Schmidhuber 1997), which is less strange than it
# sounds. Its memory is a number $c$, and three **gates** between 0 and 1 say how much of it to keep ($f$; added by
# Gers, Schmidhuber and Cummins 2000), how much of an offer $z$ to let in ($i$), and how much to let out ($o$):
#
# $$c \leftarrow f \cdot c + i \cdot z \qquad\qquad h = o \cdot \tanh(c)$$
#
# Compare $m \leftarrow \beta_1 m + (1 - \beta_1)\, g$. **Adam's average is such a memory with gates that stand
# still.** In an LSTM the gates and $z$ are computed from the input $x$ and the last $h$, with weights that can be
# trained. One unit, by hand ($\sigma(a) = 1/(1 + e^{-a})$ is the function that makes a number between 0 and 1):

# %%
cell = nn.LSTMCell(1, 1)                                                  # one input, one unit
# four numbers each, for i, f, z, o: only z listens to x; σ(-2.2) = 0.1 lets in, σ(2.2) = 0.9 keeps, o is open
weight_x, weight_h, bias_x, bias_h = [0.0, 0, 1, 0], [0.0, 0, 0, 0], [-2.2, 2.2, 0, 9], [0.0, 0, 0, 0]
with torch.no_grad():
    for parameter, values in zip(cell.parameters(), (weight_x, weight_h, bias_x, bias_h)):
        parameter.copy_(torch.tensor(values).view_as(parameter))
    h, c = torch.zeros(1, 1), torch.zeros(1, 1)
    m = 0.0
    for t, g in enumerate((0.3, 0.1, -0.2, 0.3), 1):
        h, c = cell(torch.tensor([[g]]), (h, c))
        m = 0.9 * m + 0.1 * g
        print(f"step {t}   gradient {g:+.1f}   LSTM's memory c {c.item():+.3f}   Adam's m {m:+.3f}")

# %% [markdown]
# With the gates fixed at 0.1 and 0.9 the two agree (up to a $\tanh$ around the input). Training may now find
# something better, or make the gates depend on what is seen. Here is the library's version, the part that counts.
# `cell` is the LSTM, `head` reads one number out of its memory, `scale` makes the step small. Gradients come in all
# sizes, so each enters as two moderate numbers: $\log|g| / 10$ and the sign, so that 0.01 becomes -0.46 and 1. (Below
# $e^{-10}$ it is -1 and $e^{10} g$.)

# %%
print(inspect.getsource(optim.LearnedOptimizer.update))
print(optim.preprocess(torch.tensor([1.0, 0.01, -0.01, 0.0])))            # (4, 2)

# %% [markdown]
# It is trained as the rates were: draw trainings, let it do them, and follow the slope of the queries' loss. Two
# things differ. The objective is the mean loss over the *second half* of the run: the end is what counts, but more
# steps get a say. And, as in the paper, the gradients that it reads count as constants (`second_order=False`): the
# history goes through the steps alone, which is cheaper. Is that not bug hunt 2's fault? It is the same approximation,
# and the slope is not exact. But it is said openly, and all that is learned, the network that computes the step and its
# memory, is differentiated in full. How far one gets with it, held-out tasks will say.

# %% tags=["nbval-ignore-output"]
learned = optim.LearnedOptimizer(hidden=20, generator=seeded(0))
print("meta-parameters:", sum(p.numel() for p in learned.parameters()))


def second_half(learner, job):  # the meta-objective: the mean loss after steps 9 to 20
    return train(learner, job, 20, watch=True)[0][9:].mean()


history = meta_train(learned, jobs(train_letters, 4, seed=4), second_half, updates=120, lr=0.01, decay=True)

# %%
guess_home = widgets.Predict("On new letters of new scripts, twenty steps: who is lower?",
                             ["Adam at its best rate", "the learned optimiser", "neither"])
guess_home

# %% tags=["nbval-ignore-output"]
racers = {"gradient descent": optim.GradientDescent(best_rate["gradient descent"]),
          "Adam": YourAdam(best_rate["Adam"]), "a learned rate each": rate_each, "learned optimiser": learned}
with torch.no_grad():
    home = {name: train(learner, val_job, watch=True)[0].mean(1) for name, learner in racers.items()}
lower = (home["learned optimiser"][-1] - home["Adam"][-1]).item()
winner = "the learned optimiser" if lower < -0.02 else "Adam at its best rate" if lower > 0.02 else "neither"
display(guess_home.reveal(winner))
for name, values in home.items():
    print(f"{name:20} loss after 5, 10, 15, 20 steps:", *[f"{values[t]:.2f}" for t in (5, 10, 15, 20)])
figures.curve({name: (range(21), values) for name, values in home.items()}, "step", "query loss, new scripts")

# %% [markdown]
# **Observe.** From random weights, in 120 meta-updates, the LSTM has found a rule that gets down faster than tuned
# Adam on letters of new scripts, and at the end comes close to it, a little above. (Look at its steps 14 to 20: it
# does not come to rest. And its objective gave weight to steps 9 to 20, Adam's rate was chosen for step 20 alone.) It
# was told nothing of averages or roots, only size and sign apart. Gradient descent is left far behind. Andrychowicz
# et al. (2016) trained much longer, and report learned rules ahead of hand-made ones on the problems they were
# trained for.
#
# **Away from home.** A network with 40 hidden units instead of 8; inverted images, ink and paper
# exchanged; a run ten times as long. Nothing is trained anew. Commit first.

# %%
guess_away = widgets.Predict("On queries after 200 steps instead of 20, the learned optimiser is ...",
                             ["about as good as Adam", "far behind Adam", "far ahead of Adam"])
guess_away

# %% tags=["nbval-ignore-output"]
wide_job = jobs(val_letters, 20, seed=3, hidden=40)()
inverse_job = val_job._replace(support_x=1 - val_job.support_x, query_x=1 - val_job.query_x)
few = Jobs(*(tensor[:20] for tensor in val_job))
print(f"{'':18} home         40 hidden    inverted     200 steps    its training loss   read right")
away = {}                                                                 # name -> four tensors, a loss a task
with torch.no_grad():
    for name, learner in racers.items():
        if name == "a learned rate each":
            continue                                                      # its rates fit one network only
        end, weights = train(learner, few, 200)
        away[name] = [*[train(learner, j)[0] for j in (val_job, wide_job, inverse_job)], end]
        fit = losses(weights, few.support_x, few.support_y).mean()
        read = (net(weights, few.query_x).argmax(2) == few.query_y).double().mean()
        print(f"{name:18}", *[f"{loss.mean():<12.2f}" for loss in away[name]], f"{fit:<19.0e} {100 * read:.0f} %")
print("learned less Adam ", *[pm(own - adams) for own, adams in zip(away["learned optimiser"], away["Adam"])])
lead = (away["Adam"][3] - away["learned optimiser"][3]).mean()
guess_away.reveal(guess_away.options[1 if lead < -0.2 else 2 if lead > 0.2 else 0])


# %% [markdown]
# **Explain.** With a network that is five times as wide, and with inverted images, everybody suffers, for all
# settings were chosen at home. But the learned rule, close to Adam at home, falls behind it by more (the last row, task
# by task). In the long run look at the last three columns together. It brings the *training* loss a hundred times lower
# than Adam does, and the queries pay for it, more in loss than in letters: it still reads 83 % of them, Adam 87. It has
# become very sure, and cross-entropy punishes who is sure and wrong. (So its 1.34 is not next to the 1.61 of blind
# guessing.) It was taught to be fast in twenty steps; when to stop was never asked. Section 7's caution was the price
# of noise. These gradients, taken on all fifty images, have none, and this rule is too bold. Adam knows nothing of the
# family. So it has nothing to lose but its rate, which is one number to set anew.
#
# And look at the first row. Plain descent, last at home, is **first** on the queries after 200 steps, in both. It is
# the slowest, so it has over-fitted least. "Better" needs its number of steps beside it.
#
# ## 9 Bug hunt 3: the meta-learner that never learns
#
# "Adam and RMSProp are popular meta-learning algorithms", says an article. "Meta-learning needs two optimisers, an
# inner and an outer one." Its listing has two. And look, it says, the loss falls:

# %%
def found_meta_step(lr, tasks, steps, outer_lr):
    """One meta-update of the rate.  tasks: a list of (A, b, w) -> the new rate"""
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


rate = 0.05
for update in range(4):
    before, later = after(train_tasks, rate, 0), after(train_tasks, rate, 10)
    print(f"meta-update {update}: loss before training {before:.2f}, after training {later:.2f}")
    rate = found_meta_step(rate, train_tasks, 10, 0.1)


# %% [markdown]
# **"The loss falls, so the graph is right."** Within each task the loss does fall: plain descent sees to that. Look
# at the rows instead. From meta-update to meta-update nothing changes. Print the rate after each, and `lr.grad`
# before `outer.step()`. (The path to `lr` is cut in two places; while one is left, nothing changes.) Then **repair
# it**: one meta-update is one step of the outer rate against the slope of the *mean* final loss of all tasks.

# %% tags=["exercise"]
def meta_step(lr, tasks, steps, outer_lr):
    """One meta-update of the rate.  tasks: a list of (A, b, w) -> the new rate"""
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


# %%
checked_meta_step = lesson02.meta_step(meta_step)

# %%
for name, function in {"found": found_meta_step, "repaired": checked_meta_step}.items():
    lr_now, seen = 0.05, []
    for update in range(30):
        lr_now = function(lr_now, train_tasks[:5], 10, 0.1)
        seen.append(lr_now)
    print(f"{name:9} rate after 1, 10, 30 meta-updates:", *[f"{seen[i]:.2f}" for i in (0, 9, 29)],
          f"   held-out loss {after(held_out, lr_now):.4f}")

# %% [markdown]
# **Explain.** In the found one `lr.grad` is None, and `outer.step()` skips such a parameter without a word. Two things
# cut the path: `lr.item()` makes a plain number, and `inner.step()` overwrites w where no history is kept.
#
# ## 10 When does an optimiser become a meta-learner?
#
# Adam has a memory, adapts a rate for each weight, and works on nearly everything. Does it *learn to learn*? Take the
# definition of Thrun and Pratt (1998): a learner learns to learn if its performance at each task improves with
# experience **and with the number of tasks**. That can be measured. On the horizontal axis goes the number of tasks
# that were seen before; on the vertical one, the loss after twenty steps of a new task.
#
# Give Adam every chance. In one run it starts afresh in each task. In another it **keeps** $m$, $v$ and $t$ from task
# to task. Beside them, the rate for each weight, meta-trained on 1, 4 or 16 tasks (three draws of them each), and the
# one of section 6, which has seen 960. All of these took sixty meta-updates.

# %%
guess_flat = widgets.Predict("Adam that keeps its averages is, on a new task, compared with Adam afresh ...",
                             ["clearly better", "about the same or a little worse", "useless"])
guess_flat


# %% tags=["nbval-ignore-output"]
def lives(optimiser, keep_state, tasks=49, count=30):
    """``count`` lives side by side, each of ``tasks`` trainings in a row -> (tasks,): mean final losses."""
    draw, state, ends = jobs(val_letters, count, seed=5), None, []
    with torch.no_grad():
        for number in range(tasks):
            job = draw()
            state = optimiser.init(first_weights(job)) if state is None or not keep_state else state
            weights = first_weights(job)
            for t in range(20):
                with torch.enable_grad():
                    weights = {n: w.detach().requires_grad_() for n, w in weights.items()}
                    total = losses(weights, job.support_x, job.support_y).sum()
                    grads = torch.autograd.grad(total, weights.values())
                weights, state = optimiser.update(weights, dict(zip(weights, grads)), state)
            ends.append(losses(weights, job.query_x, job.query_y).mean())
    return torch.stack(ends)


afresh, kept = (lives(YourAdam(best_rate["Adam"]), keep_state) for keep_state in (False, True))
print("tasks seen before:           0 to 4    5 to 19         20 to 48")
for name, ends in {"Adam, afresh": afresh, "Adam, keeps m, v, t": kept}.items():
    print(f"{name:28} {ends[:5].mean():.2f}      {ends[5:20].mean():.2f}            {ends[20:].mean():.2f}")
gain = kept[1:] - afresh[1:]                                              # (48,): the same tasks, in pairs
print(f"kept less afresh: {gain.mean():+.3f} ± {1.96 * gain.std() / 48 ** 0.5:.3f}")
guess_flat.reveal("clearly better" if gain.mean() < -0.05 else "about the same or a little worse")

# %% tags=["nbval-ignore-output"]
by_tasks = {1: [], 4: [], 16: []}
for seed, n in tqdm([(seed, n) for seed in (6, 11, 12) for n in by_tasks]):
    pool, learner = jobs(train_letters, 16, seed)(), LearnedRate(1.0, shapes)
    some = Jobs(*(tensor[:n] for tensor in pool))
    meta_train(learner, lambda: some, along_the_run, updates=60, lr=0.05, progress=False)
    with torch.no_grad():
        by_tasks[n].append(train(learner, val_job)[0].mean().item())
with torch.no_grad():
    by_tasks |= {0: [train(optim.GradientDescent(1.0), val_job)[0].mean().item()],
                 60 * 16: [train(rate_each, val_job)[0].mean().item()]}   # section 6: 16 new tasks an update
for n in sorted(by_tasks):
    print(f"rates learned on {n:3} tasks: loss on new tasks", *[f"{value:.2f}" for value in by_tasks[n]])

# %% tags=["nbval-ignore-output"]
around = {0: slice(0, 1), 1: slice(1, 3), 4: slice(3, 7), 16: slice(10, 25), 36: slice(25, 49)}
fig, ax = figures.new(width=8, height=3.8)
shown = {name: {n: ends[part].mean().item() for n, part in around.items()}
         for name, ends in (("Adam, afresh", afresh), ("Adam, keeps m, v, t", kept))}
middle_of = {n: sorted(by_tasks[n])[len(by_tasks[n]) // 2] for n in sorted(by_tasks)}
for i, (name, values) in enumerate((shown | {"a learned rate each, median": middle_of}).items()):
    ax.plot(list(values), list(values.values()), **figures.look(i), label=name)
    print(f"{name:28}", {n: round(value, 2) for n, value in values.items()})
for n, values in by_tasks.items():
    ax.plot([n] * len(values), values, ".", color=figures.COLOURS[2])
ax.set_xscale("symlog", linthresh=1)
ax.set_xticks([0, 1, 4, 16, 36, 960], ["0", "1", "4", "16", "36", "960"])
ax.set(yscale="log", ylim=(0.3, 6), xlabel="tasks seen before", ylabel="query loss of a new task")
ax.set_yticks([0.3, 0.5, 1, 2, 4], ["0.3", "0.5", "1", "2", "4"])
ax.minorticks_off()
figures.legend(ax)
figures.show(fig, "Loss on a new task after 20 steps against the number of tasks seen before. Both curves of "
                  f"Adam stay flat; that of the learned rates goes: "
                  + ", ".join(f"{n} tasks {value:.2f}" for n, value in middle_of.items()) + ".")

# %% [markdown]
# **Explain.** Adam's curve is flat, as it must be: nothing in it remembers a task. Kept averages do not help either;
# they hinder a little, since they are about weights that no longer exist. (For the first that holds by
# construction; the second is an experiment.) The learned rates get better once there are tasks enough. Compare slopes,
# not heights: Adam has momentum, these rates have none. Rates learned on one task or on four hang on the draw: three of
# the six are a little better than none, three far worse. They suit those very tasks and first weights, and are too
# bold for others. From sixteen tasks all three draws are much better than no learning, and 960 are better again. One
# task is not a distribution. From many tasks they learn what tasks have in common.
#
# So the answer, with the evidence for each part:
#
# - **Adam is not a meta-learner.** Its curve is flat. Its memory is about one run, and nothing in its rule was
#   trained.
# - **The update rule becomes one when something in it is itself trained on tasks, and judged on tasks held out**: one
#   number (section 6), one for each weight, or a network (section 8). It does not matter how. Whoever picks Adam's
#   rate by trying it on many tasks is the outer loop in person, and the pair learns to learn, one number's worth.
# - What was learned is **knowledge of a family**, and it ends where the family ends (the sliders, and section 8's
#   table).

# %%
lesson02.WHICH

# %% [markdown]
# ### What the numbers say
#
# Now the test scripts are opened, once: 600 trainings on letters of ten scripts that nothing so far has touched.
# Rates of the grid were chosen on training tasks; how long the learned optimiser trains, at which rate and on which
# objective was chosen on validation tasks, among about ten settings. The nearest centroid (lesson 00), on the same
# small images, takes no step at all.

# %% tags=["nbval-ignore-output"]
draw_test = jobs(shrunk("test"), 50, seed=27)
tests = [draw_test() for _ in range(12)]                                  # six hundred tasks
contestants = {"descent, rate 0.05 (before)": (optim.GradientDescent(0.05), 0, 0)}  # ..., numbers, trainings
contestants |= {f"{name}, grid": (make(best_rate[name]), 1, 15 * 40) for name, make in makers.items()}
contestants |= {"Adam, its usual 0.001": (YourAdam(0.001), 0, 0), "one learned rate": (one_rate, 1, 40 * 16),
                "a learned rate each": (rate_each, 341, 60 * 16),
                "learned optimiser": (learned, sum(p.numel() for p in learned.parameters()), 120 * 4)}
final_losses, hits, seconds = {}, {}, {}
with torch.no_grad():
    for name, (learner, *_) in contestants.items():
        began = time.perf_counter()
        ends = []
        for j in tests:
            end, weights = train(learner, j)
            ends.append((end, (net(weights, j.query_x).argmax(2) == j.query_y).double().mean(1)))
        final_losses[name], hits[name] = (torch.cat(part).double() for part in zip(*ends))  # (600,), (600,)
        seconds[name] = (time.perf_counter() - began) / 600

# %% tags=["nbval-ignore-output"]
nearest = []
for j in tests:
    centres = j.support_x.unflatten(1, (5, 10)).mean(2)  # (50, 5, 36): items come class by class
    nearest.append((torch.cdist(j.query_x, centres).argmin(2) == j.query_y).double().mean(1))
nearest = torch.cat(nearest)                                              # (600,)


columns = ["method", "learned numbers", "trainings to learn them", "ms a training", "query loss",
           "accuracy, %"]
rows = [["chance", 0, 0, "", "1.61", "20.0"],
        ["nearest centroid, no step", 0, 0, "", "", pm(100 * nearest, 1)[1:]]]
for name, (_, count, cost) in contestants.items():
    rows.append([name, count, cost, f"{1000 * seconds[name]:.1f}", pm(final_losses[name])[1:],
                 pm(100 * hits[name], 1)[1:]])
evaluate.Table([dict(zip(columns, row)) for row in rows],
               "Letters of ten held-out scripts, 5 of them a task, 20 steps; 600 tasks")

# %% tags=["nbval-ignore-output"]
pairs = [("Adam, grid", "gradient descent, grid"), ("Adam, grid", "momentum 0.9, grid"),
         ("Adam, grid", "Adam, no correction, grid"), ("one learned rate", "gradient descent, grid"),
         ("a learned rate each", "Adam, grid"), ("learned optimiser", "Adam, grid"),
         ("learned optimiser", "momentum 0.9, grid")]
for one, other in pairs:
    print(f"{one:19} less {other:26} loss {pm(final_losses[one] - final_losses[other]):>14}    accuracy",
          pm(100 * (hits[one] - hits[other]), 1))
print("learned optimiser less nearest centroid: accuracy", pm(100 * (hits["learned optimiser"] - nearest), 1))

# %% [markdown]
# **What to read in it.** First the baseline: the nearest centroid, without a step, reads as many letters as any of
# them, or more. These trainings were made to compare optimisers, not to read letters. Second, plain descent apart, the
# tuned hand-made rules are within five points of each other, momentum in front. Untuned Adam reads 28 %, tuned Adam 83:
# its rate is worth more than the choice among them. Third, a rate learned by its slope beats the best rate of a grid
# that doubles, and rates for each weight beat one rate. Fourth, the learned rule is about as good as tuned Adam: a
# little higher in loss, the same or a little better in accuracy. Against tuned momentum it is behind in both, and it
# needs many times the time for a step. The trainings spent on learning (third column) are about as many for a grid as
# for a slope, but each costs more if it is differentiated through. (The settings tried for the learned optimiser are
# not counted in.)
#
# The intervals cover the choice of tasks and of first weights. They do **not** cover the meta-training, which ran
# once. (The optional cell repeats the learned optimiser's on other tasks; so you can see how much it varies.) No
# published figure stands beside ours: nobody else has used these letters.

# %% tags=["nbval-ignore-output"]
# Seen on one CPU core, seed 10: test loss 0.536 ± 0.020, above Adam's by 0.044 ± 0.010
LONG = False      # True: meta-train once more, on other tasks
if LONG:
    again = optim.LearnedOptimizer(hidden=20, generator=seeded(0))
    meta_train(again, jobs(train_letters, 4, seed=10), second_half, updates=120, lr=0.01, decay=True)
    with torch.no_grad():
        ends = torch.cat([train(again, j)[0] for j in tests]).double()
    print(f"test loss {pm(ends, 3)[1:]}; above Adam's by {pm(ends - final_losses['Adam, grid'], 3)}")

# %% [markdown]
# ## Take-away
#
# 1. A rate for each knob cures valleys along a knob, not tilted ones. RMSProp and Adam divide by the gradient's own
#    size; their rate is a length.
# 2. Averages that start at zero are too small at first. Adam's correction divides by what is known to be missing.
# 3. `create_graph=True` makes a gradient that can be differentiated. Without it nothing fails but the result:
#    measure.
# 4. The hyper-gradient learns a rate, or a rate for each weight, on a family of tasks. It is as good as the family is
#    like what comes, and short, noisy runs teach caution.
# 5. An optimiser becomes a meta-learner when its rule is trained on tasks and judged on held-out ones. Adam's is not.
#
# **Closed book.** Say each answer aloud before you unfold it.
#
# 1. The gradient is always 0.01. How far does RMSProp move at a step of rate 0.1, in the long run? And Adam at the
#    first?
# 2. Two inputs: one in metres, one in millimetres. Or: two inputs that are nearly equal. Where does Adam help?
# 3. Why does the correction hardly matter after 10,000 steps?
# 4. $L = w^4/4$, $w = 1$, rate 0.1, one step. What is $dw'/dw$, and what is it without `create_graph`?
# 5. Why is a test with one inner step no test of a hyper-gradient's code?
# 6. How many gradients does $Hv$ cost, and what would $H$ cost for a million knobs?
# 7. A rate was learned on noisy runs of 10 steps. You train for 10,000. In which direction do you correct it, and why?
# 8. A paper says: "we meta-learn with Adam". Which two questions do you ask?
#
# <details><summary>Answers</summary>
#
# 1. By 0.1, and by 0.1: the size of the gradient cancels.
# 2. In the first case: the valley runs along a knob. In the second it is tilted.
# 3. $0.999^{10000}$ is 0.00005: both divisors are 1.
# 4. $1 - 0.1 \cdot 3 = 0.7$; without it 1.
# 5. After one step the gradient taken does not depend on the rate, so a forgotten `create_graph` changes nothing.
# 6. Two. A million times a million numbers.
# 7. Up. On short runs noise across the valley counts more than the way along it.
# 8. What is trained on tasks, apart from the weights? And on which held-out tasks was it judged?
#
# </details>
#
# **Further reading**
#
# - B. A. Pearlmutter (1994). Fast exact multiplication by the Hessian. *Neural Computation* 6(1), 147-160.
# - S. Hochreiter, J. Schmidhuber (1997). Long short-term memory. *Neural Computation* 9(8), 1735-1780.
# - S. Thrun, L. Pratt (1998). Learning to learn: introduction and overview. In *Learning to Learn*, Kluwer.
# - F. A. Gers, J. Schmidhuber, F. Cummins (2000). Learning to forget: continual prediction with LSTM. *Neural
#   Computation* 12(10), 2451-2471.
# - Y. Bengio (2000). Gradient-based optimization of hyperparameters. *Neural Computation* 12(8), 1889-1900.
# - G. Hinton, N. Srivastava, K. Swersky (2012). Neural networks for machine learning, lecture 6. (RMSProp; never
#   published otherwise.)
# - D. P. Kingma, J. Ba (2015). Adam: a method for stochastic optimization. *ICLR*. (Algorithm 1 is your exercise 2.)
# - D. Maclaurin, D. Duvenaud, R. P. Adams (2015). Gradient-based hyperparameter optimization through reversible
#   learning. *ICML*.
# - M. Andrychowicz et al. (2016). Learning to learn by gradient descent by gradient descent. *NIPS*. (Section 8.)
# - A. C. Wilson et al. (2017). The marginal value of adaptive gradient methods in machine learning. *NIPS*.
# - Z. Li, F. Zhou, F. Chen, H. Li (2017). Meta-SGD: learning to learn quickly for few-shot learning. *arXiv*.
# - S. J. Reddi, S. Kale, S. Kumar (2018). On the convergence of Adam and beyond. *ICLR*. (The cycle 3, -1, -1.)
# - Y. Wu, M. Ren, R. Liao, R. Grosse (2018). Understanding short-horizon bias in stochastic meta-optimization.
#   *ICLR*. (Section 7.)
# - I. Loshchilov, F. Hutter (2019). Decoupled weight decay regularization. *ICLR*. (AdamW.)
# - L. Metz et al. (2022). VeLO: training versatile learned optimizers by scaling up. *arXiv*. (What became of section
#   8.)
#
# **Next.** The learned optimiser kept a memory of gradients. The next lesson gives a network a memory of examples.
#
# [contents](index.ipynb) · [previous: 01 Gradient descent](01_gradient_descent.ipynb)
