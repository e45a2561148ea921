# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Primer: PyTorch in twenty minutes
#
# **The question.** PyTorch stops with an error at most mistakes. Five common ones it lets through in silence. Which
# are they, and how do you see them coming?
#
# **You will be able to**
#
# 1. say the shape of a tensor after indexing, `flatten` and broadcasting, before you run the line;
# 2. take a gradient with `backward` and with `torch.autograd.grad`, and say what stands in `.grad` after two calls;
# 3. compute softmax and cross-entropy by hand, for one row of logits and for a batch;
# 4. read a small `nn.Module`, and write the four lines that train it;
# 5. compute the size of a convolution's output, and follow an image through a network;
# 6. say what batch norm averages over, and why a prediction can differ between `train()` and `eval()`.
#
# **It builds on** Python, a little numpy, and the chain rule for derivatives. No earlier lesson.
#
# | section | read and run | exercise |
# |---|---|---|
# | Self-test | 2 min | |
# | 1 Tensors and shapes | 4 min | |
# | 2 Gradients | 3 min | |
# | 3 Softmax and cross-entropy | 2 min | 2 min |
# | 4 A small module | 3 min | 3 min |
# | 5 Convolution, with the lab | 4 min | 2 min |
# | 6 Batch norm: train and eval | 4 min | 3 min |
# | 7 Bug hunt, and what to take away | 2 min | 3 min |
#
# About twenty minutes to read and run after the self-test, and 13 more for the exercises. An exercise left open stops
# nothing: the cells below it then run on the library's version. Press Shift-Enter to run a cell and move on. The first
# cell may take ten seconds: it loads PyTorch.
#
# [Contents](index.ipynb) · previous: none, this is the start · next: [00 What is a task?](00_what_is_a_task.ipynb)

# %%
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite import data, figures, nets, widgets
from metalearn_lite.check import primer

torch.set_printoptions(precision=3, sci_mode=False)      # print three decimals

# %% [markdown]
# ## Self-test: skip this lesson if you can answer these six
#
# All six right, without guessing? Go on to [lesson 00](00_what_is_a_task.ipynb). If one is wrong, read the section
# with its number. (To start in the middle, click into the section, then choose *Run > Run All Above Selected Cell*.)
# Each choice has its explanation, and nothing is sent anywhere.

# %%
for question in primer.SELF_TEST:
    display(question)

# %% [markdown]
# ## 1 Tensors and shapes
#
# A **tensor** is a table of numbers with any number of dimensions. Its **shape** lists their sizes. Here is one with
# four: images of letters. Their shapes come from fonts. A program redrew each one as twenty people would, each with a
# hand of their own: twenty simulated **drawers**. `split("train")` is the part for training, 765 letters of 30
# scripts.

# %%
letters = data.glyphs().split("train")
print(letters.items.shape)        # (letter, drawer, height, width)
print(letters.items.dtype)        # one byte a pixel: 0 is paper, 255 is ink
print(letters.class_names[:5])

# %% [markdown]
# So `letters.items[0, 3]` is the letter *a* by drawer 3: a picture of shape (28, 28). Networks want floating-point
# numbers.

# %%
abc = letters.items[:3, :4].float() / 255      # (3, 4, 28, 28): a, b, c by drawers 0 to 3; ink is now 1
figures.images(abc, titles=["drawer 0", "drawer 1", "drawer 2", "drawer 3"], labels=["a", "b", "c"],
               alt="A table of letters: a row each for a, b and c, a column each for four simulated drawers.")

# %% [markdown]
# Dimension 0, the letters, runs down the picture, and dimension 1, the drawers, runs across it.
#
# **Indexing with tensors** picks many entries at once. Entry $[i, j]$ of the result below is
# `items[letter[i, 0], drawer[i, j]]`.

# %%
letter = torch.tensor([[0], [1], [2]])                    # (3, 1): a, b, c
drawer = torch.tensor([[5, 6], [9, 9], [0, 19]])          # (3, 2): two drawers for each letter
picked = letters.items[letter, drawer].float() / 255      # (3, 2, 28, 28)
print(picked.shape)
print(abc[torch.tensor([True, False, True])].shape)       # a mask of truth values keeps the a and the c

# %% [markdown]
# **The batch dimension.** A network takes a *batch*: the first dimension counts the images, and each image goes
# through the same computation. Images come as (image, channel, height, width), and a grey picture has one channel.
# `flatten` merges neighbouring dimensions, `unflatten` takes them apart again, and `None` in an index adds a
# dimension of size 1. None of them changes a number.

# %%
batch = picked.flatten(0, 1)[:, None]        # (3, 2, 28, 28) -> (6, 28, 28) -> (6, 1, 28, 28)
vectors = batch.flatten(1)                   # (6, 784): dimension 1 and all after it in one
per_letter = vectors.unflatten(0, (3, 2))    # (3, 2, 784): letters and drawers apart again
print(batch.shape, vectors.shape, per_letter.shape, sep="\n")

# %% [markdown]
# Commit to a guess before you go on.

# %%
guess_view = widgets.Predict("You write batch[0] = 0, which blanks the first image. What is vectors[0].sum() then?",
                             ["0: vectors changed too", "what it was before"])
guess_view

# %%
batch[0] = 0
print(vectors[0].sum(), picked[0, 0].sum())
guess_view.reveal(guess_view.options[int(vectors[0].sum() > 0)])

# %% [markdown]
# **Silent trap 1.** `unflatten`, `None` and slices such as `abc[:2]` return a **view**: another shape for the same
# memory. Write into one, and you have written into all. `flatten` returns a view too, where it can. Where it cannot, it
# returns a copy, and does not say so. So never count on either: `.clone()` makes a copy for sure. (Arithmetic makes new
# numbers, and so does indexing with tensors: `letters.items` is unharmed.)
#
# When can `flatten` not? When the numbers do not follow each other in memory. Here `abc[:, :2]` skips two drawers of
# each letter:

# %%
part = abc[:, :2].flatten(0, 1)      # (3, 4, 28, 28) -> (3, 2, 28, 28) -> (6, 28, 28): drawers 0 and 1 of each letter
part[0] = 0
print(f"ink in part[0]: {part[0].sum():.0f}, in abc[0, 0]: {abc[0, 0].sum():.0f}")

# %% [markdown]
# **Broadcasting** is what happened to `letter` above: its shape (3, 1) was stretched to the (3, 2) of `drawer`.

# %%
guess_shape = widgets.Predict("a has shape (3, 1), b has shape (2,). What is the shape of a - b?",
                              ["an error", "(3,)", "(3, 1)", "(3, 2)"])
guess_shape

# %%
a = torch.tensor([[10.0], [20.0], [30.0]])      # (3, 1)
b = torch.tensor([1.0, 2.0])                    # (2,)
print(a - b)                                    # which shape?
guess_shape.reveal(str(tuple((a - b).shape)))

# %% [markdown]
# The rule: write the two shapes below each other, **aligned at the right**. Two sizes fit if they are equal, or if
# one of them is 1 or missing. That one is repeated. Anything else is an error.
#
# ```
# a        (3, 1)
# b           (2,)
# a - b    (3, 2)
# ```
#
# With `None` you put the 1 where you want it. Here are all squared distances between three points and two centres,
# without a loop. (`dim` is numpy's `axis`: the dimension to add up along. -1 is the last.)

# %%
points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])    # (3, 2): three points in the plane
centres = torch.tensor([[0.0, 0.0], [3.0, 0.0]])               # (2, 2): two centres
apart = points[:, None] - centres[None]                        # (3, 1, 2) - (1, 2, 2) -> (3, 2, 2)
print((apart ** 2).sum(dim=-1))                                # (3, 2): [i, j] is |point i - centre j|²

# %% [markdown]
# **Silent trap 2.** Broadcasting never asks whether you meant it. If two shapes fit by accident, you get a table that
# nobody wanted, and no error.

# %% [markdown]
# ## 2 Gradients
#
# Take one number $w$ and a loss $L(w) = (2w - 10)^2$. By the chain rule $dL/dw = 2\,(2w - 10) \cdot 2$. At $w = 3$
# that is $-16$. PyTorch records every operation on a tensor with `requires_grad=True`, and `backward` walks the
# record back from the loss. The loss must be a single number.

# %%
w = torch.tensor(3.0, requires_grad=True)      # (): a single number
loss = (2 * w - 10) ** 2                       # (): 16
loss.backward()
print(w.grad)                                  # (): dL/dw

# %%
guess_grad = widgets.Predict("You compute the same loss at the same w again, and call backward() again. "
                             "What is w.grad then?", ["-16", "-32", "0", "an error"])
guess_grad

# %%
loss = (2 * w - 10) ** 2
loss.backward()
print(w.grad)
guess_grad.reveal(f"{w.grad:.0f}")

# %% [markdown]
# **Silent trap 3.** `backward` **adds** to `.grad`. That is useful when a loss comes in pieces. In any other case
# clear the old gradient first, with `w.grad = None` or an optimiser's `zero_grad()`. (The loss had to be computed anew:
# `backward` uses up the record, and a second call on the same loss is an error.)
#
# `torch.autograd.grad` returns the gradient instead, and leaves `.grad` alone. A gradient has the shape of its tensor,
# and `grad(loss, [a, b])` returns one for each, in that order:

# %%
loss = (2 * w - 10) ** 2
(g,) = torch.autograd.grad(loss, w)      # a tuple, even for one tensor
print(g, w.grad)                         # the gradient; and .grad, which still holds the old sum

# %% [markdown]
# There are two ways *not* to record. `torch.no_grad()` switches recording off for a block. Use it whenever you only
# predict, and for the update of $w$: outside such a block PyTorch refuses `w -= ...`. Nor would `w = w - 0.1 * g` do.
# That is a *result*, and `.grad` is filled only for **leaves**, the tensors that you made yourself.

# %%
with torch.no_grad():
    w -= 0.1 * g                         # 3 - 0.1 · (-16) = 4.6: one step against the slope
print(w)

# %% [markdown]
# `detach()` returns the same numbers without their history. To the derivative they are constants. At $v = 3$:

# %%
v = torch.tensor(3.0, requires_grad=True)
(with_history,) = torch.autograd.grad(v ** 2 * v, v)              # d(v³)/dv = 3v² = 27
(detached,) = torch.autograd.grad((v ** 2).detach() * v, v)       # d(9v)/dv = 9: the first factor is just 9
print(with_history, detached)

# %% [markdown]
# ## 3 Softmax and cross-entropy
#
# A classifier gives each class a number, its **logit**. Any real number will do. **Softmax** turns logits into
# probabilities: $p_c = e^{z_c} / \sum_k e^{z_k}$.

# %%
z = torch.tensor([2.0, 1.0, 0.0])      # (3,): the logits of three classes
e = torch.exp(z)                       # (3,)
p = e / e.sum()                        # (3,)
print(e, p, p.sum(), sep="\n")

# %% [markdown]
# **Cross-entropy** looks only at the probability of the true class $y$: the loss is $-\log p_y$, with the natural
# logarithm. It is near 0 if the network is sure and right. Here $p_0 = 0.665$, so if class 0 is the true one, the
# loss is $-\log 0.665 = 0.41$.

# %%
guess_loss = widgets.Predict("What is the loss if class 2 is the true one, the class with p = 0.09?", (0, 10, 0.1))
guess_loss

# %%
loss = -torch.log(p[2])                # ()
guess_loss.reveal(round(loss.item(), 1))     # .item() keeps the number and drops the record


# %% [markdown]
# ### Exercise 1: softmax of a batch (one line, 2 minutes, difficulty 1 of 3)
#
# Now `z` has the shape (..., N): any number of rows, with N logits in each. Each **row** becomes probabilities of its
# own. One precaution is already there. `torch.exp(1000)` overflows to infinity, so the row's largest logit is
# subtracted first, which divides numerator and denominator by the same number. (`max` returns values and positions,
# so `.values` takes the former; `keepdim=True` leaves a 1 in the place of the dimension that was searched.) Complete
# the last line.

# %% tags=["exercise"]
def softmax(z):
    """Logits (..., N) -> probabilities (..., N); each row sums to 1."""
    e = torch.exp(z - z.max(dim=-1, keepdim=True).values)      # (..., N) - (..., 1) -> (..., N)
    # <answer>
    return e / e.sum(dim=-1, keepdim=True)
    # </answer>
    # <stub>
    # return ...      # e divided by what? Mind the shape of the divisor.
    # </stub>


# %%
checked_softmax = primer.softmax(softmax)

# %% [markdown]
# With it, the loss of a batch: take the true class's probability in each row, then $-\log$, then the average over the
# rows. `F.cross_entropy` does it all in one call, **from logits and integer labels**.

# %%
z = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])      # (2, 3): the logits of two images
y = torch.tensor([2, 1])                                  # (2,): their true classes
p = checked_softmax(z)                                    # (2, 3)
true_p = p[torch.arange(2), y]                            # (2,): p[0, 2] and p[1, 1]
print(f"by hand              {-torch.log(true_p).mean():.3f}")
print(f"from logits          {F.cross_entropy(z, y):.3f}")
print(f"from probabilities   {F.cross_entropy(p, y):.3f}")

sure = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])   # (2, 3): all probability on the true classes
print(f"from perfect ones    {F.cross_entropy(sure, y):.3f}")


# %% [markdown]
# **Silent trap 4.** The last two lines are wrong without a word: `F.cross_entropy` took the probabilities for logits
# and applied softmax a second time. Even perfect probabilities then get a loss of 0.551 where 0 is due. So let a
# network end with its logits, and call softmax only to *show* probabilities. (Logits are safer too. From the logits
# (1000, 0) with true class 1, the loss by hand is infinite, since $p_1$ is rounded to 0. `F.cross_entropy` never forms
# $p$ and gives 1000.)

# %% [markdown]
# ## 4 A small module
#
# An `nn.Module` keeps **parameters**, the tensors to be trained, and says in `forward` what it does with a batch.
# `nn.Parameter` puts a tensor on the module's list. A module stored as an attribute puts its parameters on the list
# too. A plain tensor stays off it, and is never trained. This module is a **linear layer**: a weight for each pixel
# and class. (PyTorch's own is `nn.Linear`.)

# %%
class LinearClassifier(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()                                            # first: sets up the (still empty) list
        self.weight = nn.Parameter(torch.zeros(inputs, classes))      # (784, 5)
        self.bias = nn.Parameter(torch.zeros(classes))                # (5,)

    def forward(self, images):                                        # (n, 1, 28, 28)
        return images.flatten(1) @ self.weight + self.bias            # (n, 784) @ (784, 5) + (5,) -> (n, 5)


net = LinearClassifier(784, 5)
print([(name, tuple(parameter.shape)) for name, parameter in net.named_parameters()])

# %% [markdown]
# The job: tell the letters *a* to *e* apart. The first ten drawers are for training, the other ten for the test.

# %%
five = letters.items[:5].float() / 255                # (5, 20, 28, 28)
train_x = five[:, :10].flatten(0, 1)[:, None]         # (50, 1, 28, 28)
test_x = five[:, 10:].flatten(0, 1)[:, None]          # (50, 1, 28, 28)
labels = torch.arange(5).repeat_interleave(10)        # (50,): ten 0s, ten 1s, ..., for either set

guess_start = widgets.Predict("All weights are 0. What is the cross-entropy before the first step?",
                              ["0", "0.20", "1.61", "5"])
guess_start

# %% [markdown]
# `torch.optim.SGD` moves each parameter against its gradient, by `lr` (the learning rate) times the gradient. These
# four lines are the core of every training loop. (The first optimiser of a session takes a few seconds to load.)

# %%
optimiser = torch.optim.SGD(net.parameters(), lr=0.2)
losses = []
for step in range(50):
    optimiser.zero_grad()                             # clear the old gradients (trap 3)
    loss = F.cross_entropy(net(train_x), labels)      # net(...) calls forward: (50, 5) logits, then ()
    loss.backward()                                   # fill .grad of every parameter
    optimiser.step()                                  # parameter -= lr · .grad
    losses.append(loss.item())
print(f"loss at the start {losses[0]:.2f}, at the end {losses[-1]:.2f}")
guess_start.reveal(f"{losses[0]:.2f}")


# %% [markdown]
# Zero weights make five equal logits, so each class gets $p = 1/5$, and $-\log(1/5) = 1.61$. With N classes and small
# starting weights, a first loss far from $\log N$ is an alarm. (Zeros are harmless only because there is one layer. A
# hidden layer, one with another behind it, would get the gradient 0 if all started at 0, and never learn. So
# `nn.Linear` starts with small random weights.)

# %% [markdown]
# ### Exercise 2: the training loop (four lines, 3 minutes, difficulty 2 of 3)
#
# Now without a module: the weights `w` are a plain tensor that requires gradients, the logits are `x @ w`, and the
# optimiser is given a list of what it may move. Write the four lines, from memory if you can.

# %% tags=["exercise"]
def train(x, y, classes, steps, lr):
    """Images x (n, d), labels y (n,) -> weights (d, classes), after `steps` SGD steps on the mean cross-entropy."""
    w = torch.zeros(x.shape[1], classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.SGD([w], lr=lr)
    for _ in range(steps):
        # <answer>
        optimiser.zero_grad()
        loss = F.cross_entropy(x @ w, y)      # (n, d) @ (d, classes) -> (n, classes), then ()
        loss.backward()
        optimiser.step()
        # </answer>
        # <stub>
        # ...      # four lines
        # </stub>
    return w.detach()


# %%
checked_train = primer.train(train)


# %% [markdown]
# Now the test, on 50 images by drawers that the network has never seen. Guessing gives 20 %. A stronger baseline needs
# no training: take the letter whose mean image is nearest.

# %%
def percent(logits, y):      # (n, classes), (n,): how often the largest logit stands at the true class
    return 100 * (logits.argmax(dim=1) == y).float().mean().item()


with torch.no_grad():
    print(f"network       training drawers {percent(net(train_x), labels):.0f} %, "
          f"new drawers {percent(net(test_x), labels):.0f} %")
means = train_x.flatten(1).unflatten(0, (5, 10)).mean(dim=1)       # (5, 784): the mean image of each letter
apart = test_x.flatten(1)[:, None] - means                         # (50, 1, 784) - (5, 784) -> (50, 5, 784)
print(f"nearest mean  new drawers {percent(-(apart ** 2).sum(dim=-1), labels):.0f} %")

# %% [markdown]
# How far can you trust that? Split the twenty drawers in ten other ways, by chance, and run your function on each. A
# `torch.Generator` is a source of random numbers: the same seed gives the same numbers.

# %%
scores, rivals = [], []
for seed in range(10):
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))        # (20,): the drawers, shuffled
    x, t = (five[:, half].flatten(0, 1).flatten(1) for half in order.split(10))      # (50, 784) each: train, test
    scores.append(percent(t @ checked_train(x, labels, 5, 50, 0.2), labels))
    means = x.unflatten(0, (5, 10)).mean(dim=1)                                      # (5, 784)
    rivals.append(percent(-((t[:, None] - means) ** 2).sum(dim=-1), labels))         # the nearest mean, same split
for name, found in (("network     ", scores), ("nearest mean", rivals)):
    print(f"{name}  new drawers, ten splits: mean {sum(found) / 10:.0f} %, from {min(found):.0f} to {max(found):.0f} %")
print(f"the network is ahead in {sum(s > r for s, r in zip(scores, rivals))} of the 10")

# %% [markdown]
# The first split was a lucky one, for both. Never believe one split of 50 images, and compare two methods on the same
# splits.

# %% [markdown]
# ## 5 Convolution
#
# A linear layer has a weight for each pixel, and must learn the same stroke anew at each place. A **convolution**
# slides one small **kernel** over the image and asks the same question everywhere (LeCun et al. 1989). This is the
# image, a Hebrew letter (final mem):

# %%
box_letter = letters.class_names.index("Hebrew final mem")
boxes = letters.items[box_letter].float() / 255            # (20, 28, 28): one letter, 20 drawers
figures.images(boxes[:1], alt="A letter that looks like a box: two flat strokes and two upright ones.")

# %% [markdown]
# At each place: multiply a patch of the image by the kernel, entry by entry, and add up. This kernel is positive in
# its middle column and negative left and right of it. The patch lies on the box's left stroke. (In mathematics a
# convolution flips the kernel first. Networks do not.) `F.conv2d` wants kernels as (out, in, height, width).
# `kernel[None, None]` makes it one output from one input channel.

# %%
kernel = torch.tensor([[-1.0, 2.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, 2.0, -1.0]])      # (3, 3)
patch = boxes[0, 11:14, 5:8]                               # (3, 3): rows 11 to 13, columns 5 to 7
print(patch)
print(f"by hand  {(patch * kernel).sum():.2f}")

out = F.conv2d(boxes[:1, None], kernel[None, None])        # (1, 1, 28, 28), (1, 1, 3, 3) -> (1, 1, 26, 26)
print(f"F.conv2d {out[0, 0, 11, 5]:.2f}   at row 11, column 5 of its map {tuple(out.shape)}")

# %%
guess_flat = widgets.Predict("What does the same kernel answer on the box's upper stroke, which is flat?",
                             ["about 5", "about 0", "about -5"])
guess_flat

# %%
print(boxes[0, 5:8, 12:15])                                # (3, 3): a patch on the upper stroke
guess_flat.reveal(f"about {out[0, 0, 5, 12]:.0f}")


# %% [markdown]
# On a flat stroke the columns of a patch are alike, and $-1 + 2 - 1 = 0$ cancels them. The kernel asks one question:
# *is there an upright line here?*

# %% [markdown]
# A layer `nn.Conv2d(1, 64, 3, padding=1)` takes 1 channel and holds 64 kernels of 3x3, whose entries are parameters.
# It returns 64 such maps, one a channel. With more input channels, each kernel has a 3x3 table **for every one of
# them**: all products are added up, plus one bias a kernel. **Padding** $p$ first puts $p$ rows and columns of zeros
# on each side. **Stride** $s$ moves the kernel $s$ pixels at a time.

# %% [markdown]
# ### Exercise 3: how large is the output? (one expression, 2 minutes, difficulty 2 of 3)
#
# Above, a kernel of 3 without padding made 26 out of 28. Find the rule. Think of one row: how long is it after
# padding, and at how many places can the kernel start so that it still fits inside?

# %% tags=["exercise"]
def conv_size(size, kernel, stride, padding):
    """How many outputs a convolution makes along a row of `size` pixels; all arguments and the result are ints."""
    # <answer>
    return (size + 2 * padding - kernel) // stride + 1
    # </answer>
    # <stub>
    # return ...
    # </stub>


# %%
checked_conv_size = primer.conv_size(conv_size)

# %% [markdown]
# **Max-pooling** moves a window over each channel and keeps the largest value. Its size follows the same rule.
# (`nn.MaxPool2d(2)`: the stride is the window, unless said otherwise.) **Conv4**, a standard network for small images
# (Vinyals et al. 2016; the name came later), has four blocks: a 3x3 convolution with padding 1, a 2x2 max-pooling, and
# a ReLU, which sets negative numbers to 0. (In the paper the ReLU stands before the pooling. The result is the same,
# and ours touches a quarter of the numbers. Batch norm, the topic of section 6, is left out here.) Your rule beside
# the real thing:

# %%
conv4 = nets.Conv4(width=64, norm=None, generator=torch.Generator().manual_seed(0))
maps, size = train_x[:6], 28                        # (6, 1, 28, 28)
for layer in conv4.blocks:
    maps = layer(maps)
    if isinstance(layer, nn.MaxPool2d):
        size = checked_conv_size(checked_conv_size(size, 3, 1, 1), 2, 2, 0)
        print(f"rule {size:2}    Conv4 {tuple(maps.shape)}")
print("flattened  ", tuple(maps.flatten(1).shape))
print("kernels    ", tuple(conv4.blocks[0].weight.shape), tuple(conv4.blocks[3].weight.shape))     # blocks 1 and 2

# %% [markdown]
# From 7 to 3 a row and a column are dropped: windows of two cannot fill seven. At the end, $64 \cdot 1 \cdot 1$
# numbers describe an image. A linear layer behind it must take exactly these 64, so compute the flattened size.

# %% [markdown]
# ### The lab: read a kernel
#
# **Target:** a map of exactly **14 × 14** that answers to the box's **two flat strokes** and not to its upright ones.
# Three kernels are on offer. Read their numbers in the next cell, and decide which one it must be *before* you try
# it. Work out stride and padding with your rule. The drawer has a slider of its own: does your answer hold for the
# other simulated hands? Try 13 and 18.

# %%
KERNELS = {
    "A": torch.tensor([[-1.0, 2.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, 2.0, -1.0]]),
    "B": torch.full((3, 3), 1 / 9),
    "C": torch.tensor([[-1.0, -1.0, -1.0], [2.0, 2.0, 2.0], [-1.0, -1.0, -1.0]]),
}


def respond(kernel, stride, padding, drawer):
    image, k = boxes[drawer][None, None], KERNELS[kernel][None, None]      # (1, 1, 28, 28), (1, 1, 3, 3)
    out = F.conv2d(image, k, stride=stride, padding=padding)               # (1, 1, size, size)
    return kernel, stride, padding, drawer, out[0, 0].clamp(min=0)         # a negative answer counts as none


# %% [markdown]
# `respond` does the work. The next two cells only draw. Run them without reading.

# %%
fig, (left, middle, right) = figures.new(1, 3, width=9, height=3.5)
left.set(title="letter, 28 × 28 pixels")
middle.set(title="kernel, 3 × 3", xlim=(-0.5, 2.5), ylim=(2.5, -0.5), aspect="equal")
right.set(title="map, dark: strong answer", xlabel="size")
for ax in (left, middle, right):
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
ink = left.imshow(boxes[0], cmap="gray_r", vmin=0, vmax=1)
answer = right.imshow(boxes[0], cmap="gray_r", vmin=0, vmax=1, extent=(0, 28, 28, 0))
numbers = [[middle.text(j, i, "", ha="center", va="center", fontsize=14) for j in range(3)] for i in range(3)]


# %%
def draw(result):
    kernel, stride, padding, drawer, out = result
    ink.set_data(boxes[drawer])
    for i in range(3):
        for j in range(3):
            numbers[i][j].set_text(f"{KERNELS[kernel][i, j]:.2g}")
    full = KERNELS[kernel].clamp(min=0).sum()      # (): the strongest answer that this kernel can give
    answer.set_data(out / full)
    right.set_xlabel(f"{len(out)} × {len(out)} pixels")
    reached = "the target size" if len(out) == 14 else "not the target size"
    return (f"Kernel {kernel}, stride {stride}, padding {padding}, drawer {drawer}: a map of {len(out)} × {len(out)} "
            f"pixels, {reached} (the rule says {checked_conv_size(28, 3, stride, padding)}). "
            f"{int((out > full / 2).sum())} of them give more than half of the strongest answer possible.")


widgets.LiveFigure(fig, respond, draw, kernel=widgets.Choice("kernel", ["A", "B", "C"]),
                   stride=widgets.Slider("stride", [1, 2, 3]), padding=widgets.Slider("padding", [0, 1, 2]),
                   drawer=widgets.Slider("drawer", list(range(20)), 7))

# %% [markdown]
# **What to see.** A kernel answers where the image looks like the kernel: *A* where ink has paper left and right of it,
# *C* where it has paper above and below. *B* averages, so it blurs. Stride 2 asks at every other row and column only,
# and a thin stroke can fall between two questions. With some drawers, 3, 10 and 18 among them, the lower one all but
# vanishes, and 18 is the neatest of all. Drawer 13's strokes slope, so *C* answers in pieces. A network is not given
# its kernels. It learns them, by the gradient, like any parameter.

# %% [markdown]
# ## 6 Batch norm: train and eval
#
# **Batch norm** (Ioffe and Szegedy 2015) keeps the numbers inside a network on a common scale. For each feature
# (here, each column) it takes the mean $\mu$ and the variance $\sigma^2$ **over the batch**, and returns
# $\gamma\,(x - \mu)/\sqrt{\sigma^2 + \epsilon} + \beta$. The parameters $\gamma$ and $\beta$ are learned and start at
# 1 and 0. The small $\epsilon$ (`eps` in code) keeps a constant feature from dividing by 0.

# %%
table = torch.tensor([[0.0, 10.0], [0.0, 30.0], [4.0, 10.0], [4.0, 30.0]])      # (4, 2): four examples, two features
mean = table.mean(dim=0)                                       # (2,): 2 and 20
var = table.var(dim=0, correction=0)                           # (2,): 4 and 100; correction=0 divides by 4, not by 3
print((table - mean) / torch.sqrt(var + 1e-5))                 # (4, 2) - (2,) -> (4, 2)

norm = nn.BatchNorm1d(2)                                       # two features; a new module is in train() mode
print(norm(table).detach())                                    # (4, 2)


# %% [markdown]
# ### Exercise 4: batch norm for images (a whole function, 3 minutes, difficulty 3 of 3)
#
# After a convolution, `x` has the shape (n, c, h, w). All numbers of a channel come from one kernel: at every place,
# in every image. So each **channel** is a feature, with one mean and one variance. Leave out $\gamma$ and $\beta$.

# %% tags=["exercise"]
def batch_norm(x, eps):
    """(n, c, h, w) -> (n, c, h, w), normalised as nn.BatchNorm2d does in train() mode."""
    # <answer>
    mean = x.mean(dim=(0, 2, 3), keepdim=True)                     # (1, c, 1, 1)
    var = x.var(dim=(0, 2, 3), keepdim=True, correction=0)         # (1, c, 1, 1)
    return (x - mean) / torch.sqrt(var + eps)
    # </answer>
    # <stub>
    # mean = ...      # `dim` may also be a tuple of dimensions
    # var = ...
    # return ...
    # </stub>


# %%
checked_batch_norm = primer.batch_norm(batch_norm)

# %%
maps = conv4.blocks[0](train_x[:6]).detach().double()                  # (6, 64, 28, 28): after the first convolution
theirs = nn.BatchNorm2d(64, dtype=torch.float64)(maps).detach()        # float64: 16 digits, so rounding hides nothing
apart = (checked_batch_norm(maps, 1e-5) - theirs).abs().max()          # ()
print(f"largest difference from nn.BatchNorm2d: {apart:.5f}")

# %% [markdown]
# Now the second mode. In `train()` mode the layer also keeps **running averages** of the means and variances it has
# seen, which start at 0 and 1. At each batch, running = 0.9 · running + 0.1 · batch. In `eval()` mode it normalises
# with these averages and takes nothing from the batch.
#
# One oddity: into the running variance goes the batch's variance with `correction=1`. So after one batch, column 0
# holds $0.9 \cdot 1 + 0.1 \cdot 16/3 = 1.433$. To normalise, `train()` mode uses `correction=0`, as above.

# %%
print(norm.running_mean, norm.running_var)      # (2,) each, after one batch: the table

# %%
guess_mode = widgets.Predict("You change the last row of the table, and nothing else. "
                             "In which mode does the output of the first row change?",
                             ["in neither", "in train() mode only", "in eval() mode only", "in both"])
guess_mode

# %%
other = table.clone()
other[3] = torch.tensor([40.0, 30.0])      # [4, 30] before; the other three examples stay
moved = []
for mode in ("train", "eval"):
    norm.train(mode == "train")            # train(False) is eval()
    with torch.no_grad():
        first, again = norm(table)[0], norm(other)[0]      # (2,) each: the output of the first row
    print(f"{mode:5}", first, again, "  running mean", norm.running_mean)
    moved.append(not torch.equal(first, again))
guess_mode.reveal(guess_mode.options[moved[0] + 2 * moved[1]])

# %% [markdown]
# Only the first number of the row moved: you changed only that feature, and each feature has its own mean and
# variance. (The eval numbers are not -1: they come from the running averages. These started at 0 and 1, have seen just
# three batches, and one of the three was the changed table.)
#
# **Silent trap 5.** In `train()` mode a prediction depends on who else is in the batch. And each pass forward moves
# the running averages, under `no_grad` too: compare the running mean with the one printed before.
#
# `eval` and `no_grad` are two switches for two things, and `net.eval()` sets every layer inside `net`. To predict,
# you want both.
#
# | | `train()` | `eval()` |
# |---|---|---|
# | batch norm normalises with | this batch | the running averages |
# | the running averages | move | stay |
# | dropout, if there is any, sets numbers to 0 | at random | never |
# | operations are recorded for gradients | yes, unless under `no_grad` | yes, unless under `no_grad` |
#
# How much does it matter? `nn.Sequential` sends a batch through its layers in turn. `nn.Flatten()` does what
# `flatten(1)` did, and `nn.Linear` draws its first weights from PyTorch's global source of random numbers, so that
# one gets the seed here.

# %%
torch.manual_seed(4)
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 5))
optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
for step in range(100):
    optimiser.zero_grad()
    loss = F.cross_entropy(net(train_x), labels)
    loss.backward()
    optimiser.step()

# %%
guess_sorted = widgets.Predict("It is tested on the new drawers, ten images at a time, in train() mode. The images "
                               "are sorted: ten a's, then ten b's, and so on. How many are right?",
                               ["about 80 %", "about 60 %", "about 40 %", "about 20 %"])
guess_sorted

# %%
by_letter = torch.arange(50).split(10)                                    # five batches: ten a's, ten b's, ...
mixed = torch.arange(50).unflatten(0, (5, 10)).T.flatten().split(10)      # five batches: two of each letter in each
for mode in ("eval", "train"):                                            # eval first: train moves the averages
    net.train(mode == "train")
    for name, batches in (("mixed", mixed), ("sorted", by_letter)):
        with torch.no_grad():
            logits = torch.cat([net(test_x[batch]) for batch in batches])      # (50, 5)
        score = percent(logits, labels[torch.cat(batches)])
        print(f"{mode:5} mode, {name:6} batches: {score:.0f} %")
guess_sorted.reveal(f"about {round(score, -1):.0f} %")


# %% [markdown]
# Ten *a*s have in common what makes them *a*s, and that is what batch norm subtracts. The network is left with the
# drawers' differences, and guesses. With mixed batches you would have noticed nothing.

# %% [markdown]
# ## 7 Bug hunt: the flat line (3 minutes)
#
# Eight points lie exactly on the line $y = 2x + 1$. This listing fits a line by steps against the gradient of the
# squared error, and it runs without a warning. (`w.requires_grad_(True)` switches recording on for `w`.)

# %%
def fit_by_steps(x, y, steps, lr):
    features = torch.stack([x, torch.ones_like(x)], dim=1)
    w = torch.zeros(2, 1, dtype=x.dtype)
    for _ in range(steps):
        w.requires_grad_(True)
        loss = ((features @ w - y) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, w)
        w = (w - lr * gradient).detach()
    return w.flatten()


x = torch.linspace(-1, 1, 8)
y = 2 * x + 1
for steps in (10, 100, 1000):
    line = fit_by_steps(x, y, steps, lr=0.3)      # (2,): slope and intercept
    print(f"{steps:4} steps: mean squared error {((line[0] * x + line[1] - y) ** 2).mean():.2f}")


# %%
def draw_line(line, alt):
    fig, ax = figures.new(width=5.2, height=3)
    ax.plot(x, y, linestyle="none", marker="o", label="points")
    ax.plot(x, line[0] * x + line[1], linestyle="--", label="fitted line")
    ax.set(xlabel="x", ylabel="y")
    figures.legend(ax)
    return figures.show(fig, alt)


draw_line(line, "Eight points on a line that rises from -1 to 3, and the fitted line, which is flat at 1.")

# %% [markdown]
# The fitted line is flat, at the mean of the points, and more steps do not help. Find the cause **by evidence** before
# you repair anything. The next cell holds the listing's first step: look at every quantity once.

# %%
features = torch.stack([x, torch.ones_like(x)], dim=1)
w = torch.zeros(2, 1, requires_grad=True)
loss = ((features @ w - y) ** 2).mean()
(gradient,) = torch.autograd.grad(loss, w)
# print what you want to see

# %% [markdown]
# Now repair it. Changing one line is enough.

# %% tags=["exercise"]
def fit_line(x, y, steps, lr):
    """Points x (n,), y (n,) -> slope and intercept (2,), by gradient descent on the mean squared error."""
    features = torch.stack([x, torch.ones_like(x)], dim=1)
    w = torch.zeros(2, 1, dtype=x.dtype)
    for _ in range(steps):
        w.requires_grad_(True)
        # <answer>
        loss = ((features @ w - y[:, None]) ** 2).mean()      # (n, 2) @ (2, 1) - (n, 1) -> (n, 1), then ()
        # </answer>
        # <stub>
        # loss = ((features @ w - y) ** 2).mean()
        # </stub>
        (gradient,) = torch.autograd.grad(loss, w)
        w = (w - lr * gradient).detach()
    return w.flatten()


# %%
checked_fit_line = primer.fit_line(fit_line)

# %%
repaired = checked_fit_line(x, y, steps=100, lr=0.3)
print(f"slope {repaired[0]:.2f}, intercept {repaired[1]:.2f}")      # 2 and 1 are right
draw_line(repaired, "The same eight points, and the fitted line, which now runs through all of them.")

# %% [markdown]
# Two habits prevent it: a shape in a comment on every line, as in this lesson, and
# `assert prediction.shape == target.shape` where two things must meet.

# %% [markdown]
# ## Take-away
#
# - Shapes align at the right. Sizes 1 and missing are stretched, whether you meant it or not.
# - `backward` adds to `.grad`, so clear it at each step. `autograd.grad` returns the gradient instead.
# - Cross-entropy is $-\log p_y$ after softmax, and `F.cross_entropy` takes **logits**.
# - The size of a convolution's output is computed: the steps that fit, plus one. Conv4: 28 → 14 → 7 → 3 → 1.
# - `eval()` makes batch norm use its running averages, `no_grad()` stops recording. To predict, use both.

# %% [markdown]
# ### Closed book
#
# Say each answer aloud, then unfold the answers.
#
# 1. `a` has the shape (4, 1, 7), `b` has (3, 1). What is the shape of `a + b`?
# 2. Name the four lines of a training step, in order. If the first is left out, what does the tenth step use as its
#    gradient?
# 3. A network gives equal logits to 20 classes. Which cross-entropy do you read?
# 4. What are the parameters of a module, and how does the optimiser get to know them?
# 5. A row of 32, kernel 5, stride 2, padding 2. How many outputs?
# 6. A colleague predicts one image at a time, in `train()` mode, under `no_grad`. Name three things that can go
#    wrong.
#
# <details><summary>Unfold the answers</summary>
#
# 1. (4, 3, 7).
# 2. `zero_grad`, the loss, `backward`, `step`. The sum of ten gradients.
# 3. $-\log(1/20) = 3.00$.
# 4. The tensors wrapped in `nn.Parameter`, its layers' included. It is given `net.parameters()`.
# 5. $\lfloor (32 + 4 - 5)/2 \rfloor + 1 = 16$.
# 6. Each image is normalised by itself alone, not by the averages of training (with `BatchNorm1d` one example is an
#    error). Every call moves the running averages. And dropout, which `eval()` switches off, is still on.
#
# </details>

# %% [markdown]
# **Further reading**
#
# - Gradients: Baydin, Pearlmutter, Radul and Siskind 2018, *Automatic differentiation in machine learning: a survey*,
#   JMLR 18(153).
# - PyTorch: Paszke et al. 2019, *PyTorch: an imperative style, high-performance deep learning library*, NeurIPS.
# - Convolution: LeCun et al. 1989, *Backpropagation applied to handwritten zip code recognition*, Neural Computation
#   1(4); Dumoulin and Visin 2016, *A guide to convolution arithmetic for deep learning*, arXiv:1603.07285.
# - Batch norm: Ioffe and Szegedy 2015, *Batch normalization: accelerating deep network training by reducing internal
#   covariate shift*, ICML. Why it helps is disputed: Santurkar et al. 2018, *How does batch normalization help
#   optimization?*, NeurIPS.
# - Conv4: Vinyals et al. 2016, *Matching networks for one shot learning*, NeurIPS.
#
# Next: [00 What is a task?](00_what_is_a_task.ipynb)

# %% [markdown] tags=["teacher"]
# ## Teacher's notes
#
# **Timing.** 37 minutes with all exercises, 24 without. Hand out the self-test a day before: whoever has all six
# skips the lesson, and most others need sections 5 and 6 only. If time is short, leave out the lab and the ten splits,
# never trap 2 and the bug hunt.
#
# **Frequent misconceptions.** "Broadcasting raises an error unless the shapes are equal." "`backward` replaces
# `.grad`." "`no_grad` is `eval`." "`train()` trains." "Cross-entropy needs probabilities." "Batch norm normalises
# each image." "A new module is ready to predict." (It is in `train()` mode.)
#
# **Details left out on purpose.** What `F.conv2d` computes mathematicians call cross-correlation. Exercise 4 is
# compared in float64 because PyTorch's own float32 result is off by up to 2e-4 (measured, with one thread): a
# convolution may lay its maps out channels last. The demonstration of trap 5 uses one seed; over twenty seeds `eval()`
# gives 77 % on average, `train()` 79 % with mixed batches and 21 % with sorted ones. So mixed batches even help a
# little: the batch tells about the new drawers.
#
# **To discuss.** 1. Which of the five traps could a library turn into an error, and what would break? (`F.mse_loss`
# warns at trap 2.) 2. When do you *want* gradients to add up? (A batch too large for the memory.) 3. At test time, is
# it fair that batch norm sees the other test images?
#
# **Stretch.** Write the derivative of the cross-entropy with respect to the logits by hand ($p$ minus the one-hot
# label, over the number of rows) and compare it with `autograd.grad`. Build a kernel that answers to the box's upper
# left corner only. Train `LinearClassifier` on probabilities (trap 4) and draw both loss curves.
