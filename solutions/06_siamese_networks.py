# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 Siamese networks
#
# **The question.** MAML moves every weight for every new task. Can one learn **once** what "alike" means, and then
# meet new letters without moving a weight?
#
# **You will be able to**
#
# 1. write the contrastive loss, and say what each kind of pair does to the embedding;
# 2. score a verifier by its ROC curve and AUC, and choose a threshold for a purpose;
# 3. say what winning 99 of 100 comparisons means among 5 or 20 classes, and why an AUC alone does not tell it;
# 4. mine triplets, and say why random ones stop teaching;
# 5. say what episodes add to pairs, and prove that a prototypical network is a linear classifier;
# 6. judge whether a network's confidence can be believed, and let it answer "none of these";
# 7. teach a network five symbols of your own, with one drawing each.
#
# **You need** lessons [00](00_what_is_a_task.ipynb) (episodes, the nearest centroid) and
# [04](04_transfer_learning.ipynb) (embeddings, frozen and not). The optional section meets lesson 03's attention
# again.
#
# | section | read and run | exercise |
# |---|---|---|
# | Warm-up | 3 min | |
# | 1 The same or not? | 5 min | 3 min |
# | 2 An embedding moves | 5 min | |
# | 3 Verification | 7 min | 3 min |
# | 4 From two to twenty | 5 min | |
# | 5 Triplets | 7 min | 5 min |
# | 6 Episodes | 6 min | 2 min |
# | 7 A linear classifier in disguise | 4 min | 3 min |
# | 8 How sure is it? | 7 min | |
# | 9 Bug hunt | 3 min | 4 min |
# | 10 What the numbers say | 5 min | |
# | 11 Your own alphabet | 8 min | |
#
# That is 85 minutes; matching networks (5 min) are optional. The computer needs about a minute in all. An exercise
# left open stops nothing: the cells below it then run on the library's version.
#
# [contents](index.ipynb) · [previous: 05 MAML](05_maml.ipynb) ·
# [next: 07 Networks that make networks](07_networks_that_make_networks.ipynb)

# %%
import copy
import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite import data, drawpad, figures, metric, nets, pairs, transfer, widgets
from metalearn_lite.check import lesson06
from metalearn_lite.episodes import BatchSampler, Episode, EpisodeSampler
from metalearn_lite.evaluate import Table, embed_dataset, meta_test, paired_difference
from metalearn_lite.pairs import distance
from metalearn_lite.train import cross_entropy, meta_train

torch.set_printoptions(precision=2, sci_mode=False)
torch.set_num_threads(1)  # small networks: a second thread would mostly wait
LONG = False              # True: also run the optional cell that takes minutes


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# %% [markdown]
# ## Warm-up
#
# Three questions on what you have seen before. Each answer explains itself.

# %%
for question in lesson06.WARM_UP:
    display(question)

# %% [markdown]
# ## 1 The same or not?
#
# Lessons 00, 04 and 05 asked: *which* of these five letters is it? Ask something simpler: **are these two drawings of
# the same letter?** The answer is one bit. This is **verification**: is this the signature of the account's owner, is
# this the face in the passport? (Bromley et al. 1993 built the first such network for signatures.)

# %%
glyphs = data.glyphs()
train_letters, val_letters = glyphs.split("train"), glyphs.split("val")
draw_pairs = pairs.PairSampler(train_letters, 32, seeded(1))
batch = draw_pairs()
for name, tensor in batch._asdict().items():
    print(f"{name:5} {tuple(tensor.shape)}")
figures.images(torch.stack([batch.a[:8, 0], batch.b[:8, 0]]), labels=["a", "b"],
               titles=[f"same {s:.0f}" for s in batch.same[:8]],
               alt="Eight pairs of drawings, one pair a column. By turns the two are of one letter and of "
                   "two. The two of one letter come from different drawers.")

# %% [markdown]
# Every second pair is of one letter (`same` is 1), drawn by two drawers. The others are of two letters. A learner
# needs a number that is small for the first kind and large for the second. Pixels give one, as in lesson 00: the
# distance between the two images.
#
# A **Siamese network** replaces the pixels by an embedding $f_\theta$, and uses **the same** $f_\theta$ for both:
#
# $$z_1 = f_\theta(x_1) \qquad z_2 = f_\theta(x_2) \qquad d = \lVert z_1 - z_2 \rVert$$
#
# "Twins" means one network used twice, and not two networks. So an image has distance 0 from itself, and $a$ is as
# far from $b$ as $b$ from $a$, before any training. Two networks with weights of their own promise neither:

# %%
one_net, other_net = (nets.Conv4(32, generator=seeded(s)) for s in (0, 1))
with torch.no_grad():
    a, b = batch.a[:1], batch.b[:1]
    for name, f, g in (("one network, twice", one_net, one_net), ("two networks", one_net, other_net)):
        both = torch.cat([a, b])                                       # (2, 1, 28, 28)
        (fa, fb), (ga, gb) = f(both), g(both)                          # 32 numbers each
        print(f"{name:19} a to a {distance(fa, ga):.2f}   a to b {distance(fa, gb):.2f}   "
              f"b to a {distance(fb, ga):.2f}")

# %% [markdown]
# (`distance` is $\lVert z_1 - z_2 \rVert$ with one precaution: where the two coincide, the slope of the square root
# is infinite, and a gradient would be `nan`. There it gives 0 instead.)
#
# What should training ask for? The **contrastive loss** (Hadsell, Chopra, LeCun 2006) has one wish for each kind of
# pair. With $s = 1$ for one letter, $s = 0$ for two, and a **margin** $m$:
#
# $$L = \frac1n \sum_{i=1}^{n} \frac12\, s_i\, d_i^2 + \frac12\, (1 - s_i)\, \max(0,\, m - d_i)^2$$
#
# - One letter: come closer, whatever the distance.
# - Two letters: move apart, but only while nearer than $m$. Beyond the margin a pair is content, and its loss is 0.
#
# By hand, with $m = 1$: a pair of one letter at distance 0.5 costs $\frac12 \cdot 0.25 = 0.125$. A pair of two
# letters at 0.5 costs $\frac12 (1 - 0.5)^2 = 0.125$ too. A pair of two letters at 3 costs nothing.

# %%
guess_margin = widgets.Predict("Without the margin, two letters would be pushed apart for ever. And without "
                               "the pairs of two letters? A network that sends every drawing to one point, "
                               "whatever the letter, then has ...",
                               ["the smallest loss there is", "a large loss: it tells no letters apart",
                                "a loss that depends on the margin"])
guess_margin


# %% [markdown]
# ### Exercise 1: the contrastive loss (two lines, 3 minutes, difficulty 1 of 3)

# %% tags=["exercise"]
def contrastive(z1, z2, same, margin):
    """z1, z2 (n, D): embedded pairs; same (n,): 1.0 for one letter, 0.0 for two -> the mean loss, a tensor
    with one number (training needs its gradient)"""
    d = distance(z1, z2)                                               # (n,)
    # <answer>
    apart = (margin - d).clamp(min=0) ** 2                             # what two letters pay
    return (same * d ** 2 + (1 - same) * apart).mean() / 2
    # </answer>
    # <stub>
    # apart = ...                                                      # (n,): what two letters pay
    # return ...
    # </stub>


# %%
checked_contrastive = lesson06.contrastive(contrastive)


# %%
def of_one_pair(d, same):
    return checked_contrastive(torch.zeros(1, 1), torch.tensor([[d]]), torch.tensor([same]), 1.0).item()


ds = torch.linspace(0, 2, 81)
display(guess_margin.reveal("the smallest loss there is"))
figures.curve({"one letter": (ds, [of_one_pair(d, 1.0) for d in ds.tolist()]),
               "two letters": (ds, [of_one_pair(d, 0.0) for d in ds.tolist()])},
              "distance of the pair", "loss of the pair, margin 1",
              alt="The loss of a pair against its distance. For one letter it rises from 0 as a parabola. "
                  "For two letters it falls from a half at distance 0 to zero at 1, the margin, and stays 0.")

# %% [markdown]
# That is your function. The two wishes hold each other. Pulling alone is content with everything at one point: the
# loss of every pair is 0 there. (With a point for each letter it is 0, too, but nothing asks for that.) Pushing alone
# would scatter all drawings. The margin sets the scale: if all embeddings and $m$ are doubled, the loss is four times
# as large, and which pair is nearer than which stays the same.
#
# Koch et al. (2015), who made such networks known for one-shot tasks, train another way: the probability that two
# images are of one letter is $\sigma(\sum_j \alpha_j |z_{1j} - z_{2j}| + \beta)$, with learned weights $\alpha_j$,
# and the loss is its cross-entropy with $s$. There is no margin, and the output is a probability. ($\beta$ is the
# layer's bias: without it two equal images would get ½. In the library: `metric.WeightedSiamese` with
# `pairs.pair_cross_entropy`.)

# %%
lesson06.CLASS_OR_TASK

# %% [markdown]
# ## 2 An embedding moves
#
# Now train. The loop is `meta_train` as before; what is drawn are pairs, and what is minimised is your function. 32
# pairs an update are 64 images. On the way a camera is running: before some of the updates it keeps a copy of the
# network. The margin is 4 here, about the distance of two drawings in the random network; with another one the
# embedding takes another scale.

# %%
MARGIN, UPDATES = 4.0, 500
FRAMES = [0, 5, 10, 20, 40, 80, 140, 220, 320]                    # when the camera takes a picture
siamese = metric.SiameseNetwork(nets.Conv4(32, generator=seeded(0)))
film, update_number = {}, itertools.count()


def draw_and_film():
    number = next(update_number)
    if number in FRAMES:
        film[number] = copy.deepcopy(siamese.embed)
    return draw_pairs()


def on_pairs(learner, batch):                                          # the objective: your loss
    z1, z2 = learner.embed(torch.cat([batch.a, batch.b])).chunk(2)     # both halves through the one network
    return checked_contrastive(z1, z2, batch.same, MARGIN)


def settled(run):
    """-> (updates, losses) without the first ten, which would stretch the axis of a picture"""
    first = min(10, len(run.loss) // 2)
    return range(first + 1, len(run.loss) + 1), run.loss[first:]


# %%
guess_verify = widgets.Predict("After ten seconds of training: a pair of one letter and a pair of two, from "
                               "scripts never seen. How often is the pair of one letter the nearer one? "
                               "(Pixels: 63 %.)",
                               (50, 100, 1), unit="%")
guess_verify

# %% tags=["nbval-ignore-output"]
history = meta_train(siamese, draw_and_film, on_pairs, updates=UPDATES, lr=3e-3, decay=True)
film[history.updates] = copy.deepcopy(siamese.embed)
print(f"{history.updates} updates, {history.seconds:.0f} s")
figures.curve({"contrastive loss": settled(history)}, "update", "loss, margin 4", smooth=20)

# %% [markdown]
# Watch what these updates did to six letters that were **not** in the training, 10 drawings each. The embedding has
# 32 dimensions. The picture shows the two in which the *last* frame spreads most. These two stay fixed, so that a
# moving point is a moving embedding. (The cells up to the slider only draw: skip their code if you like.)

# %%
SHOWN = [val_letters.class_names.index(name) for name in (
    "Cyrillic zhe", "Cyrillic ze", "Tamil ta", "Avestan te", "Thai character so rusi", "Ol chiki ob")]
shown_x = val_letters.items[SHOWN, :10].flatten(0, 1)[:, None] / 255   # (60, 1, 28, 28)
shown_y = torch.arange(6).repeat_interleave(10)                        # (60,)
figures.images(val_letters.items[SHOWN, :10], labels=[f"letter {i}" for i in range(6)],
               alt="Six letters of five scripts, one a row, each by ten drawers.")


# %%
@torch.no_grad()
def developed(embed):
    """What a copied network makes of the 60 drawings -> (60, 32)"""
    return copy.deepcopy(embed).train()(shown_x)  # batch statistics: at first the running averages lag behind


reel = {number: developed(embed) for number, embed in film.items()}
last = reel[max(reel)]
_, _, directions = torch.linalg.svd(last - last.mean(0))               # (32, 32), that of widest spread first
plane = {number: (z - last.mean(0)) @ directions[:2].T for number, z in reel.items()}
upper = torch.triu(torch.ones(60, 60, dtype=torch.bool), 1)            # each pair of drawings once
pair_same = (shown_y[:, None] == shown_y)[upper]                       # (1770,)
pair_dist = {number: distance(z[:, None], z[None])[upper] for number, z in reel.items()}
EDGES = torch.linspace(0, 8, 33)
centres = (EDGES[:-1] + EDGES[1:]) / 2


# %%
def frame(update):
    d = pair_dist[update].clamp(max=7.99)
    shares = [torch.histogram(d[pair_same == kind], EDGES, density=True).hist for kind in (True, False)]
    return update, plane[update], shares, d[pair_same].mean(), d[~pair_same].mean()


fig_film, (ax_map, ax_hist) = figures.new(1, 2, width=10, height=4.2)
dots = [ax_map.plot([], [], **(figures.look(i) | {"linestyle": "none"}), markersize=6, label=f"letter {i}")[0]
        for i in range(6)]
reach = 1.15 * plane[max(plane)].abs().max().item() + 0.1
ax_map.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="first direction", ylabel="second direction")
film_bars = [ax_hist.step(centres, centres * 0, where="mid", color=figures.COLOURS[i], label=label,
                          linestyle=["-", "--"][i])[0]
             for i, label in enumerate(["one letter", "two letters"])]
ax_hist.axvline(MARGIN, color="black", linestyle=":")
ax_hist.set(xlim=(0, 8), ylim=(0, 1.2), xlabel="distance (dotted: the margin)", ylabel="density of pairs")
film_legend = ax_hist.legend(loc="upper right"), ax_map.legend(loc="upper right", fontsize=8)


def draw_frame(result):
    update, points_2d, shares, near, far = result
    for i, dot in enumerate(dots):
        dot.set_data(points_2d[shown_y == i, 0], points_2d[shown_y == i, 1])
    for line, share in zip(film_bars, shares):
        line.set_ydata(share.clamp(max=1.18))
    return (f"Update {update}: two drawings of one letter are {near:.2f} apart on average, two of different "
            f"letters {far:.2f}; the ratio is {far / near:.1f}.")


# %% tags=["nbval-ignore-output"]
live_film = widgets.LiveFigure(fig_film, frame, draw_frame, update=widgets.Slider("update", sorted(reel), 0))
live_film

# %% tags=["nbval-ignore-output"]
for number in sorted(reel):
    *_, of_one, of_two = frame(number)
    print(f"update {number:3}: one letter {of_one:.2f}, two {of_two:.2f}, ratio {of_two / of_one:.1f}")
kept_spread = plane[max(plane)].square().sum() / (last - last.mean(0)).square().sum()
print(f"the two directions shown hold {100 * kept_spread:.0f} % of the last frame's spread")


# %% [markdown]
# **Observe.** Move the slider with the arrow keys, from the left, or read the table. First everything comes closer,
# the letters too: the random network's distances are about as long as the margin, so little pushes, and the pairs of
# one letter pull. Then the letters part while the drawings of each stay together: the ratio grows, and on the right
# the two humps separate, though never quite. (Letters that overlap on the left may be apart in one of the 30
# dimensions that you do not see. The right side counts all 32.)
#
# **Explain.** No letter of this picture was in the training, so the network cannot have learned where these letters
# lie. What the pairs of *other* letters could teach it is what a drawer changes (slant, size, shaky strokes), to put
# *that* aside. It helps here, too.
#
# ## 3 Verification
#
# How good is it as a verifier? Embed all validation letters once, and draw 3,000 pairs from them (two letters are
# mostly of two scripts). Every threshold $t$ makes a verifier: *accept* a pair if $d < t$. It is judged by two
# numbers: the share of pairs of one letter that it accepts (it should: the **true positive rate**), and the share of
# pairs of two letters that it accepts (it should not: the **false positive rate**).
#
# As $t$ grows both grow. The curve of one against the other is the **ROC curve**. One number for the whole curve is
# the area under it, the **AUC**. It has a meaning of its own: the chance that a pair of one letter is *nearer* than a
# pair of two, with both drawn at random. A tie counts one half. 0.5 is blind guessing, 1 is perfect.
#
# An AUC of a sample has an interval, like an accuracy. Hanley and McNeil (1982) give a formula for it, which the cell
# below uses. It counts the pairs as independent. Ours share letters and drawings, so it is somewhat too short.

# %% [markdown]
# ### Exercise 2: the AUC (a few lines, 3 minutes, difficulty 2 of 3)
#
# Compare each pair of one letter with each pair of two. For example: the distances 1, 3 of two pairs of one letter,
# and 2, 3 of two pairs of two letters. Of the four comparisons, 1 < 2 and 1 < 3 are won, 3 < 2 is lost, 3 and 3 is a
# tie: 2.5 of 4.

# %% tags=["exercise"]
def auc(dist, same):
    """dist (n,): distances of n pairs; same (n,): 1.0 for one letter, 0.0 for two -> a number from 0 to 1"""
    # <answer>
    near, far = dist[same == 1], dist[same == 0]
    won = (near[:, None] < far[None, :]).double()                      # each with each
    tied = (near[:, None] == far[None, :]).double()
    return (won + tied / 2).mean()
    # </answer>
    # <stub>
    # return ...
    # </stub>


# %%
checked_auc = lesson06.auc(auc)

# %% tags=["nbval-ignore-output"]
untrained = nets.Conv4(32, generator=seeded(0))
untrained_vectors = embed_dataset(untrained, val_letters)  # 244 letters x 20 drawings x 32 numbers
vectors = {"Siamese": embed_dataset(siamese.embed, val_letters)}
dists = {}
for name, items in {"pixels": val_letters, "untrained": untrained_vectors, **vectors}.items():
    p = pairs.PairSampler(items, 3000, seeded(3))()  # the same seed, so the same 3,000 pairs
    dists[name], same = distance(p.a.flatten(1), p.b.flatten(1)), p.same
aucs = {name: float(checked_auc(d, same)) for name, d in dists.items()}


def auc_interval(value, n=1500):
    """Half of the 95 % interval of an AUC from n pairs of each kind (Hanley and McNeil 1982)"""
    q1, q2 = value / (2 - value), 2 * value ** 2 / (1 + value)
    variance = value * (1 - value) + (n - 1) * (q1 + q2 - 2 * value ** 2)
    return 1.96 * math.sqrt(max(0.0, variance)) / n


for name, value in aucs.items():
    print(f"{name:10} AUC {value:.3f} ± {auc_interval(value):.3f}")
guess_verify.reveal(round(100 * aucs["Siamese"]))


# %% [markdown]
# The curves, and the choice of a threshold. (The cell also measures the area under each: is it your `auc`?) Left: how
# the distances are spread. Right: the ROC curves, with a cross where your threshold puts you. The radio buttons say
# how many of the pairs that come to your door are of one letter: half of them, as in our 3,000, or 1 in 100. It
# reweights the same pairs.
#
# **Target 1.** Find the largest threshold that lets in at most 1 % of the pairs of two letters; the caption counts
# them. Which share of the right pairs passes? **Target 2.** Leave it there and make right pairs rare, 1 in 100. Of
# the pairs that it *accepts*, how many are right? And what does the accuracy do?

# %% tags=["nbval-ignore-output"]
def accepted(d, t):
    """The share of the pairs of one letter, and of two, that are nearer than t"""
    return tuple((d[same == s] < t).double().mean().item() for s in (1, 0))


fig_roc, (ax_dist, ax_roc) = figures.new(1, 2, width=10, height=4.0)
far_end = dists["Siamese"].max().item()
roc_bins = torch.linspace(0, far_end, 41)
roc_shares = [torch.histogram(dists["Siamese"][same == s].contiguous(), roc_bins).hist for s in (1, 0)]
roc_bars = [ax_dist.step((roc_bins[:-1] + roc_bins[1:]) / 2, h * 0, where="mid", color=figures.COLOURS[i],
                         linestyle=["-", "--"][i], label=["one letter", "two letters"][i])[0]
            for i, h in enumerate(roc_shares)]
for i, (name, d) in enumerate(dists.items()):
    grid = torch.cat([d.quantile(torch.linspace(0, 1, 120)), torch.tensor([math.inf])])
    curve = torch.tensor([accepted(d, t) for t in grid.tolist()])
    ax_roc.plot(curve[:, 1], curve[:, 0], color=figures.COLOURS[i], linestyle=figures.LINES[i], label=name)
    print(f"{name:10} area under the curve {torch.trapezoid(curve[:, 0], curve[:, 1]):.3f}")
ax_roc.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
threshold_line = ax_dist.axvline(1, color="black")
roc_point, = ax_roc.plot([], [], "kx", markersize=11, markeredgewidth=2.5)
ax_dist.set(xlim=(0, far_end), ylim=(0, 0.12), xlabel="distance (line: the threshold)",
            ylabel="share of all pairs")
ax_roc.set(xlabel="accepted, of the pairs of two letters", ylabel="accepted, of the pairs of one letter")
roc_legend = ax_dist.legend(loc="upper right"), ax_roc.legend(loc="lower right")


# %%
def verifier(threshold, mixture):
    right, wrong = accepted(dists["Siamese"], threshold)
    share = {"1 in 2": 1 / 2, "1 in 5": 1 / 5, "1 in 20": 1 / 20, "1 in 100": 1 / 100}[mixture]
    return threshold, right, wrong, share, mixture


def draw_verifier(result):
    t, right, wrong, share, mixture = result
    for line, h, part in zip(roc_bars, roc_shares, (share, 1 - share)):
        line.set_ydata((part * h / h.sum()).clamp(max=0.118))
    threshold_line.set_xdata([t, t])
    roc_point.set_data([wrong], [right])
    accuracy = share * right + (1 - share) * (1 - wrong)
    passing = share * right + (1 - share) * wrong
    pure = f"{100 * share * right / passing:.0f} % of the accepted are right" if passing else "none accepted"
    return (f"Threshold {t:.2f}: accepts {100 * right:.1f} % of the pairs of one letter, {100 * wrong:.1f} % "
            f"of the pairs of two. With {mixture} of one letter: accuracy {100 * accuracy:.1f} %, {pure}; an "
            f"eternal \"no\" would have an accuracy of {100 - 100 * share:.0f} %.")


# %% tags=["nbval-ignore-output"]
live_roc = widgets.LiveFigure(
    fig_roc, verifier, draw_verifier,
    threshold=widgets.Slider("threshold", [k / 10 for k in range(41)], 2.2),
    mixture=widgets.Choice("pairs of one letter", ["1 in 2", "1 in 5", "1 in 20", "1 in 100"]))
live_roc

# %%
lesson06.PRIOR

# %% [markdown]
# The two targets, by numbers, with the threshold at exactly 1 %:

# %% tags=["nbval-ignore-output"]
one_per_cent = dists["Siamese"][same == 0].quantile(0.01).item()
for mixture in ("1 in 2", "1 in 100"):
    t, right, wrong, share, _ = verifier(one_per_cent, mixture)
    pure = share * right / (share * right + (1 - share) * wrong)
    accuracy = share * right + (1 - share) * (1 - wrong)
    print(f"threshold {t:.2f}, {mixture:8} of one letter: accepts {100 * right:.0f} % of these; of all "
          f"accepted {100 * pure:.0f} % are right; accuracy {100 * accuracy:.1f} %")


# %% [markdown]
# **Explain.** With few right pairs most of what it accepts is wrong, although it lets in only 1 % of the wrong ones.
# And its accuracy is *below* that of an eternal "no". The ROC curve does not know the mixture; the accuracy and the
# share of right ones among the accepted (the **precision**) do. So there is no best threshold as such. There is one
# for a price of each error and a mixture. Say both, or report the curve.
#
# And a threshold has to *travel*. Choose it on some scripts for 1 % of wrong pairs, and use it on others:

# %% tags=["nbval-ignore-output"]
def part_of(items, groups):
    """The classes of some scripts only, given by their group numbers"""
    return items.subset([i for i, group in enumerate(items.groups.tolist()) if group in groups])


FIRST, SECOND = range(0, 5), range(5, 10)  # validation scripts: five to choose, five to judge
some_train = train_letters.subset(torch.randperm(len(train_letters), generator=seeded(4))[:100])
places = {"100 training letters": embed_dataset(siamese.embed, some_train),
          "validation scripts 0 to 4": part_of(vectors["Siamese"], FIRST),
          "validation scripts 5 to 9": part_of(vectors["Siamese"], SECOND)}
found = {}
for name, items in places.items():
    p = pairs.PairSampler(items, 20_000, seeded(5))()
    found[name] = distance(p.a, p.b), p.same
for name in list(places)[:2]:
    d, s = found[name]
    t = d[s == 0].quantile(0.01)                                       # lets in 1 % there
    d, s = found["validation scripts 5 to 9"]
    in_wrong, in_right = (100 * (d[s == kind] < t).double().mean() for kind in (0, 1))
    print(f"threshold {t:.2f}, for 1 % on {name}: on scripts 5 to 9 it lets in {in_wrong:.1f} % of the wrong "
          f"and {in_right:.0f} % of the right pairs")


# %% [markdown]
# Is the promise of 1 % kept? The draw of the pairs alone, 10,000 wrong ones on either side, is worth ± 0.3 points,
# and pairs that share letters make it more. In the run that you read here the threshold of the training letters
# (1.4 %) is just beyond that; the one of the validation scripts (1.2 %) is not. There are reasons to expect the
# first: the network has pushed just *those* letters apart. One network and one division of the scripts prove none.
# Choose on letters like those to come, count on new ones, and expect to be off.

# %% [markdown]
# ## 4 From two to twenty
#
# Back to tasks. A verifier classifies: compare the query with the one example of each letter, and take the nearest.

# %%
def score(rule, items, way=5, shot=1, tasks=600, seed=7):
    """Always the same tasks for the same way, shot and seed, whatever the embedding"""
    at_once = 25 if way <= 20 else 1  # tables of distances grow with the ways
    return meta_test(rule, EpisodeSampler(items, way, shot, 15, at_once, seeded(seed)), tasks)


nearest = metric.SiameseNetwork(nn.Identity())  # on vectors: the letter of the nearest example
guess_twenty = widgets.Predict("Suppose that each query is nearer to its own letter than to 99 of 100 other "
                               "letters. Among 20 letters it then finds its own in about ...",
                               (50, 100, 1), unit="%")
guess_twenty


# %% [markdown]
# Give each query a number of its own: $w$, the share of the *other* letters against which it wins, because they are
# farther from it than its own letter's example. With two letters in a task it is right with probability $w$. With $N$
# letters it has to win against $N - 1$ rivals, drawn one after the other: $w^{N-1}$. So the accuracy is the mean of
# $w^{N-1}$ over all queries.

# %% tags=["nbval-ignore-output"]
def chances(items):
    """-> (92720,): w of the 244 x 20 drawings, each with each of the 19 others as its letter's example"""
    wins = []
    for query, example in itertools.permutations(range(20), 2):
        d = torch.cdist(items[:, query], items[:, example])  # (244, 244): query i, example of letter j
        wins.append((d.diagonal()[:, None] < d).sum(1) / 243)
    return torch.cat(wins).double()


w = chances(vectors["Siamese"].items)
print(f"AUC {100 * aucs['Siamese']:.1f} ± {100 * auc_interval(aucs['Siamese']):.1f} %   "
      f"mean of w: {100 * w.mean():.1f} %")
print(f"w = 1, beats all 243: {100 * (w == 1).double().mean():.0f} % of the queries; "
      f"half have {100 * w.median():.1f} % or more, one in ten {100 * w.quantile(0.1):.1f} % or less")
rows = []
for way in (2, 5, 20, 100):
    measured = score(nearest, vectors["Siamese"], way, tasks=600 if way <= 20 else 50)
    no_repeats = torch.ones_like(w)
    for gone in range(way - 1):  # as many rivals have been drawn, and do not come again
        no_repeats *= ((243 * w - gone) / (243 - gone)).clamp(min=0)
    powers = w.mean() ** (way - 1), w.pow(way - 1).mean(), no_repeats.mean()
    heads = "letters", "measured", "(mean of w) to the power", "mean of (w to the power)", "no rival twice"
    rows.append(dict(zip(heads, [way, measured, *(f"{100 * power:.1f} %" for power in powers)])))
display(guess_twenty.reveal(round(100 * 0.99 ** 19)))
print("0.99 a comparison:", ", ".join(f"{n} letters {100 * 0.99 ** (n - 1):.0f} %" for n in (2, 5, 20, 100)))
Table(rows, "One-shot classification from verification: the power is letters - 1, the number of rivals. "
            "600 tasks, 50 of 100 letters")

# %% [markdown]
# **Explain.** "99 % verification" is a number for *one* comparison. Among 20 letters there are 19, and all must come
# out right. The 83 % of your prediction is for queries that are all alike. With the same mean and unequal queries it
# is more, never less: the power of the mean is too low. Here most drawings lose against few rivals or none, and some
# against many. Taking each query's own $w$ comes out nearly right; and right, if no letter is drawn twice, as in a
# task (the last column: at 100 letters, with 99 of only 243 others, it matters). So compare methods at the way you
# need, and never an AUC with an accuracy.
#
# The AUC and the mean of $w$ come close here, but are not the same. The AUC compares distances of pairs that have, as
# a rule, no image in common. $w$ compares two distances from *one* query: if all distances of a query are long, that
# costs the AUC, and $w$ nothing. And the table needs each query's own $w$. From an AUC or a ROC curve alone it cannot
# be computed.
#
# One more question: are these letters that were **in the training**?

# %% tags=["nbval-ignore-output"]
known = score(nearest, places["100 training letters"])
new = score(nearest, vectors["Siamese"])
print(f"5-way 1-shot: 100 letters of the training {known}   letters never seen {new}")

# %% [markdown]
# **"The new classes must be in the training."** They were not: no validation letter was. The training letters do
# better here, by two points; but they are other letters, and may be easier as well. What carries over is not the
# letters but what *may change* without making another letter.
#
# ## 5 Triplets
#
# The contrastive loss asks for absolute distances: every pair of one letter towards 0, all others beyond $m$. To
# classify you need less. Only the *order* counts: own letter nearer than the others. That is a wish about three
# images, an **anchor** $a$, a **positive** $p$ (same letter) and a **negative** $n$ (another one):
#
# $$L = \max\big(0,\; d(a, p) - d(a, n) + m\big)$$
#
# (Schroff, Kalenichenko, Philbin 2015, who square the distances and give all embeddings the length 1, so that a
# small margin makes sense; Weinberger and Saul 2009 had triplets without deep networks.) Which triplets? In a batch
# of 32 letters with 2 drawings each there are $64 \cdot 1 \cdot 62 = 3968$.

# %%
guess_active = widgets.Predict("Your Siamese network, 32 training letters: of all 3,968 triplets, how many "
                               "still have a loss above 0 with margin 0.5?", (0, 100, 1), unit="%")
guess_active

# %% tags=["nbval-ignore-output"]
draw_classes = pairs.PKSampler(train_letters, classes=32, items=2, generator=seeded(6))
batch_x, batch_y = (t[0] for t in draw_classes())                      # (64, 1, 28, 28), (64,)
with torch.no_grad():
    batch_z = siamese.embed(batch_x)                                   # (64, 32)
d = distance(batch_z[:, None], batch_z[None])                          # (64, 64)
one_letter = batch_y[:, None] == batch_y[None]
positive = d[one_letter & ~torch.eye(64, dtype=torch.bool)]  # (64,): the one other drawing of each anchor
gaps = positive[:, None] - d[~one_letter].view(64, 62) + 0.5           # (64, 62)
active = (gaps > 0).double().mean()
print(f"all triplets: {100 * active:.0f} % have a loss above 0")
guess_active.reveal(round(100 * active.item()))


# %% [markdown]
# The rest say nothing any more: their gradient is 0. So look for the triplets that hurt. **Batch-hard mining**
# (Hermans, Beyer, Leibe 2017) takes, for each drawing of a batch as anchor, the *farthest* drawing of its letter and
# the *nearest* drawing of another. It costs one table of distances, which the batch has anyway. (With two drawings of
# a letter, as here, there is but one positive: what is mined are the negatives.)
#
# ### Exercise 3: the hardest of a batch (open, 5 minutes, difficulty 3 of 3)
#
# Return both distances for each anchor. Mind the diagonal: a drawing is neither its own positive nor its own
# negative. Letters may have different numbers of drawings, at least two each.

# %% tags=["exercise"]
def batch_hard(z, y):
    """z (n, D), y (n,) -> distance to the farthest of its letter (n,), to the nearest of another letter (n,).
    Two tensors: training needs their gradient."""
    d = distance(z[:, None], z[None, :])                               # (n, n)
    # <answer>
    mine = y[:, None] == y[None, :]
    off_diagonal = ~torch.eye(len(y), dtype=torch.bool)
    farthest = d.where(mine & off_diagonal, -math.inf).max(1).values
    closest = d.where(~mine, math.inf).min(1).values
    return farthest, closest
    # </answer>
    # <stub>
    # return ..., ...
    # </stub>


# %%
checked_batch_hard = lesson06.batch_hard(batch_hard)

# %% tags=["nbval-ignore-output"]
hard_positive, hard_negative = checked_batch_hard(batch_z, batch_y)
hard = hard_positive - hard_negative + 0.5 > 0
print(f"with a loss above 0: {100 * active:.0f} % of all triplets, "
      f"{100 * hard.double().mean():.0f} % of the hardest")


# %% [markdown]
# Now a second network, trained on these. In the place of $\max(0, \cdot)$, the **hinge**, stands a softer one,
# $\ln(1 + e^{d(a,p) - d(a,n)})$, which never is quite content (the same paper's *soft margin*). The same number of
# images as for the pairs.

# %%
def on_triplets(learner, batch):
    hard_positive, hard_negative = checked_batch_hard(learner.embed(batch.x[0]), batch.y[0])
    return F.softplus(hard_positive - hard_negative).mean()            # ln(1 + exp(.))


# %% tags=["nbval-ignore-output"]
triplet = metric.SiameseNetwork(nets.Conv4(32, generator=seeded(0)))
triplet_history = meta_train(triplet, draw_classes, on_triplets, updates=UPDATES, lr=3e-3, decay=True)
vectors["triplet"] = embed_dataset(triplet.embed, val_letters)
print(f"{triplet_history.updates} updates, {triplet_history.seconds:.0f} s")
for name in ("Siamese", "triplet"):
    print(f"{name:8} 5-way 1-shot {score(nearest, vectors[name])}   "
          f"20-way {score(nearest, vectors[name], 20)}")
figures.curve({"soft margin": triplet_history.loss}, "update", "loss of the hardest (all alike: 0.69)",
              smooth=20)

# %% [markdown]
# **Explain.** The same number of images and updates, and far better. Two things have changed, though: *which* images
# are compared (32 distances in a batch of pairs; here each drawing with all others), and the loss. This run does not
# tell them apart; the optional cell of section 10 tells what the mining adds. (Under the soft margin an easy triplet
# still pulls a little. With the hinge its gradient is 0.) Look at the curve: it begins above ln 2 (the hardest
# positive is farther than the hardest negative), and ends at about a half, although with 5 ways nine answers of ten
# are right by now: each batch brings new hard cases. A loss over the hardest is no measure of success.
#
# **A failure case.** Mining for the hardest can be too hard. With eight drawings of each of 8 letters, the positive
# is the farthest of *seven* (and there are fewer other letters). For random weights the cheapest way to bring such
# pairs together is to bring everything together. If all drawings are at one point, the loss is exactly ln 2 = 0.693,
# and the gradient is 0. As many updates and images as before:

# %% tags=["nbval-ignore-output"]
collapsed = metric.SiameseNetwork(nets.Conv4(32, generator=seeded(0)))
eight = pairs.PKSampler(train_letters, classes=8, items=8, generator=seeded(6))
eight_history = meta_train(collapsed, eight, on_triplets, updates=UPDATES, lr=3e-3, decay=True)
for name, run in (("two of each letter", triplet_history), ("eight of each", eight_history)):
    print(f"{name:18} loss, every 100th update:", ", ".join(f"{loss:.2f}" for loss in run.loss[99::100]))
for name, items in (("two of each letter", vectors["triplet"]),
                    ("eight of each", embed_dataset(collapsed.embed, val_letters))):
    print(f"{name:18} two letters are {torch.pdist(items.items[:, 0]).mean():.1f} apart on average, "
          f"5-way {score(nearest, items)}")
print(f"untrained          5-way {score(nearest, untrained_vectors)}")


# %% [markdown]
# With eight of each the loss falls, from above, to about 0.70, and stays there: everything huddles in a small ball.
# By its loss this network tells nothing apart. By its answers it has learned a good deal: inside the ball the *order*
# is mostly right, and a nearest neighbour asks for nothing else. Here the scale has collapsed, not the order; still
# it is points behind the run with two of each. Schroff et al. (2015) warn of full collapses, and take *semi-hard*
# negatives against them: farther than the positive, but within the margin. (`pairs.triplet_semi_hard` in the
# library.)
#
# ## 6 Episodes
#
# A pair compares with one other drawing, a hard triplet with two. But at the end a query is compared with $N$ classes
# at once. So train *that* (Vinyals et al. 2016): draw whole tasks. A **prototypical network** (Snell, Swersky, Zemel
# 2017) is lesson 00's learner: the rule of the nearest centroid, with the embedding trained through it:
#
# $$c_k = \frac{1}{|S_k|} \sum_{(x_i, y_i) \in S_k} f_\theta(x_i) \qquad
# p_\theta(y = k \mid x) = \frac{\exp(-\lVert f_\theta(x) - c_k \rVert^2)}
# {\sum_j \exp(-\lVert f_\theta(x) - c_j \rVert^2)}$$
#
# $S_k$ is the part of the support set with label $k$. The loss is the cross-entropy of the queries. In a 20-way task
# each query pulls at its own prototype and pushes all 19 others, the near ones most: the softmax does the mining. So
# episodes add two things to pairs: all rivals of a query at once, each with a weight by its nearness; and the very
# rule, mean and squared distance, by which the network will be used. (Training with more ways than will be asked,
# here 20 and then 5, is Snell et al.'s advice, too.)
#
# A softmax over one partner and many rivals is also what trains today's large embeddings *without* labels. The
# partner is another piece of the same recording or image (InfoNCE, van den Oord et al. 2018), or the same image,
# changed at random (SimCLR, Chen et al. 2020).
#
# ### Exercise 4: prototypes (one line, 2 minutes, difficulty 1 of 3)
#
# The labels may come in any order, and the classes may have unequal shots.

# %% tags=["exercise"]
def prototypes(zs, ys, n):
    """zs (S, D): the embedded support set; ys (S,): labels 0..n-1 -> (n, D): row k is the mean of class k, a
    tensor (training needs its gradient)"""
    # <answer>
    return torch.stack([zs[ys == k].mean(dim=0) for k in range(n)])
    # </answer>
    # <stub>
    # return ...
    # </stub>


# %%
checked_prototypes = lesson06.prototypes(prototypes)


# %%
class Prototypical(nn.Module):
    """Your prototypes as a learner of B tasks: (B, S, ..), (B, S), (B, Q, ..) -> logits (B, Q, N)"""

    def __init__(self, embed):
        super().__init__()
        self.embed = embed

    def forward(self, support_x, support_y, query_x):
        way, s = int(support_y.max()) + 1, support_x.shape[1]
        # both sets of all B tasks go through the network as one batch: that is what `embed_items` does
        z = nets.embed_items(self.embed, torch.cat([support_x, query_x], 1))          # (B, S + Q, D)
        c = torch.stack([checked_prototypes(*task, way) for task in zip(z[:, :s], support_y)])  # (B, N, D)
        return -(z[:, s:, None] - c[:, None]).square().sum(-1)  # minus squared distances


# %%
guess_best = widgets.Predict("Validation scripts, 5-way 1-shot, about as many images in each training. Which "
                             "is best?",
                             ["pairs", "hard triplets", "episodes", "the last two, within two points"])
guess_best

# %% tags=["nbval-ignore-output"]
proto = Prototypical(nets.Conv4(32, generator=seeded(0)))
draw_tasks = EpisodeSampler(train_letters, way=20, shot=1, query=2, batch=1, generator=seeded(8))  # 60 images
proto_history = meta_train(proto, draw_tasks, updates=530, lr=3e-3, decay=True)
vectors["prototypical"] = embed_dataset(proto.embed, val_letters)
print(f"{proto_history.updates} updates, {proto_history.seconds:.0f} s")
figures.curve({"cross-entropy": settled(proto_history)}, "update", "loss of the queries (log 20 = 3.0)",
              smooth=20)

# %% tags=["nbval-ignore-output"]
by_mean = Prototypical(nn.Identity())                                  # on vectors
rows, one_shot = [], {}
for name, rule in (("Siamese", nearest), ("triplet", nearest), ("prototypical", by_mean)):
    one_shot[name] = score(rule, vectors[name])
    five_nearest, five_mean = score(nearest, vectors[name], 5, 5), score(by_mean, vectors[name], 5, 5)
    more = paired_difference(five_mean, five_nearest)
    print(f"{name:12} 5 examples, prototype minus nearest, the same 600 tasks: {more}")
    rows.append({"trained on": {"Siamese": "pairs", "triplet": "hard triplets"}.get(name, "episodes"),
                 "5-way 1-shot": one_shot[name], "20-way 1-shot": score(rule, vectors[name], 20),
                 "5-way 5-shot, nearest": five_nearest, "5-way 5-shot, prototype": five_mean})
gap = paired_difference(one_shot["prototypical"], one_shot["triplet"])
print(f"prototypical minus triplet, the same 600 tasks: {gap}")
display(guess_best.reveal("the last two, within two points" if abs(gap.mean) < 0.02 else
                          "episodes" if gap.mean > 0 else "hard triplets"))
Table(rows, "Validation scripts, one training each, 600 tasks of each kind")

# %% [markdown]
# **Explain.** Episodes and hard triplets both leave random pairs far behind. With five examples compare the mean with
# the nearest of them, on the same tasks, above the table: where 0 lies outside the interval, the mean is better. It
# averages the drawers out.
#
# **A failure case.** The mean of a class is a good summary if the class is *one* cloud. Make classes of two letters
# each (think of A and a), with one example of either. The mean then lies between two clouds, where nothing is.

# %% tags=["nbval-ignore-output"]
ten = EpisodeSampler(vectors["prototypical"], 10, 1, 15, 25, seeded(9))


def two_in_one():
    """Ten letters with one example each, as five classes of two letters"""
    sx, sy, qx, qy = ten()
    return Episode(sx, sy // 2, qx, qy // 2)


two_fold = {}
for name, rule in (("prototype", by_mean), ("nearest example", nearest)):
    ten.generator.manual_seed(9)
    two_fold[name] = meta_test(rule, two_in_one, 600)
    print(f"classes of two letters: {name:16} {two_fold[name]}")
print("nearest minus prototype:", paired_difference(two_fold["nearest example"], two_fold["prototype"]))


# %% [markdown]
# ## 7 A linear classifier in disguise
#
# Distances to prototypes look like something else than lesson 04's head $W z + b$. They are not. Multiply the logit
# of class $k$ out, $-\lVert z - c_k \rVert^2 = -(z - c_k)^\top (z - c_k)$: there are three terms, and one of them is
# the same for all classes. A softmax does not change if the same number is added to all logits. So that one can go,
# and what is left is linear in $z$ (Snell et al. 2017, section 2.4).
#
# ### Exercise 5: the head that nobody trained (one line, 3 minutes, difficulty 2 of 3)
#
# With paper: what stands with $z$ is a row of $W$, what stands with $c_k$ alone is an entry of $b$. (What does not
# change the softmax is free: the check compares probabilities.)

# %% tags=["exercise"]
def proto_linear(c):
    """c (N, D): prototypes -> W (N, D), b (N,): softmax(W z + b) is the prototypical network's for every z"""
    # <answer>
    return c * 2, -c.square().sum(dim=1)
    # </answer>
    # <stub>
    # return ..., ...
    # </stub>


# %%
checked_proto_linear = lesson06.proto_linear(proto_linear)

# %% [markdown]
# On paper it is
#
# $$-\lVert z - c_k \rVert^2 = -\lVert z \rVert^2 + 2\, c_k^\top z - \lVert c_k \rVert^2$$
#
# And by numbers, on a real task, in float64: your `W` and `b` in PyTorch's own linear layer, against the distances.
# The logits may differ by what is the same for all classes: $\lVert z \rVert^2$, if you took the formula as it
# stands.

# %%
sx, sy, qx, qy = (t[0] for t in EpisodeSampler(vectors["prototypical"], 5, 5, 15, 1, seeded(10))())
c, z = checked_prototypes(sx.double(), sy, 5), qx.double()             # (5, 32), (75, 32)
W, b = checked_proto_linear(c)
linear = F.linear(z, W, b)                                             # (75, 5): z W^T + b
distances = -(z[:, None] - c).square().sum(-1)                         # (75, 5)
gap = (linear.softmax(1) - distances.softmax(1)).abs().max()
print(f"largest difference of two probabilities: below 1e-10: {bool(gap < 1e-10)}")
shift = linear - distances
print("the logits differ by the same for all classes:", torch.allclose(shift, shift[:, :1].expand(75, 5)))

# %%
lesson06.LINEAR

# %% [markdown]
# So a prototypical network has all its power in $f_\theta$. For a task it makes a linear head in one pass, without a
# gradient step, by a formula instead of training. (That head is also a good *start* for training one: Triantafillou
# et al. 2020 put it into MAML, "Proto-MAML".) In the plane: three prototypes, and where the answer changes.

# %%
corners = torch.tensor([[-1.0, 0.2], [1.3, 0.9], [0.4, -1.2]])         # (3, 2)
W2, b2 = checked_proto_linear(corners)
axis = torch.linspace(-2.5, 2.5, 201)
grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)      # (201, 201, 2)
logits = grid @ W2.T + b2                                              # (201, 201, 3)
fig_regions, ax_regions = figures.new(width=5.2, height=4.2)
for k in (0, 1):  # where class k is level with the best of the others
    rest = logits[..., [j for j in range(3) if j != k]].amax(-1)
    ax_regions.contour(axis, axis, logits[..., k] - rest, [0], colors="black", linewidths=1.5)
for k in range(3):
    ax_regions.plot(*corners[k], **(figures.look(k) | {"linestyle": "none"}), markersize=12,
                    label=f"class {k}")
    for j in range(k):
        ends = torch.stack([corners[j], corners[k]])
        ax_regions.plot(*ends.T, color="#999999", linestyle=":", linewidth=1)
ax_regions.set(xlabel="first dimension", ylabel="second dimension", aspect="equal")
figures.legend(ax_regions)
figures.show(fig_regions, "Three prototypes in the plane. Three straight lines meet in one point and cut the "
                          "plane into three regions; each is half-way between two prototypes, at a right "
                          "angle to the dotted line that joins them.")


# %% [markdown]
# ## 8 How sure is it?
#
# The softmax of minus squared distances looks like probabilities. Are they? The **confidence** of an answer is the
# probability of the letter that it names: the largest of the five. A learner is **calibrated** if, of all answers that
# it gives with 80 % confidence, 80 % are right. Draw it: sort the answers by confidence into ten boxes, and plot for
# each a dot: how sure the learner was, and the share that is right. On the diagonal a number means what it says; a dot
# *under* it is too sure.
#
# The **temperature** $T$ divides the logits before the softmax: above 1 it makes every answer less sure, below 1
# more. It changes no answer (Guo et al. 2017). The **ECE**, the expected calibration error, is the mean distance from
# the diagonal, each box counting by its answers. By hand: ten answers at 90 %, of which 7 are right, are 20 points
# off. With thirty answers more at 60 %, of which 18 are right (0 points off), the ECE is
# $\frac{10}{40} \cdot 20 + \frac{30}{40} \cdot 0 = 5$ points.
#
# **Task:** for each network, find the temperature that brings the curve to the diagonal. Which network is too sure of
# itself by most?

# %%
def answers(name, groups, way=5, tasks=200):
    """5-way 1-shot tasks from some of the validation scripts -> logits (15000, 5), labels (15000,)"""
    task = EpisodeSampler(part_of(vectors[name], groups), way, 1, 15, tasks, seeded(11))()
    with torch.no_grad():
        return by_mean(*task[:3]).flatten(0, 1), task.query_y.flatten()


def reliability(logits, y, T):
    """-> share of right answers and mean confidence in ten boxes (nan: empty), their sizes, and the ECE"""
    confidence, said = (logits / T).softmax(1).max(1)
    right = (said == y).float()
    box = (confidence * 10).long().clamp(max=9)                        # 0..9
    size = torch.bincount(box, minlength=10)
    share, sure = (torch.bincount(box, v, minlength=10) / size for v in (right, confidence))
    return share, sure, size, ((share - sure).abs() * size).nansum().item() / len(y)


judged = {name: answers(name, FIRST) for name in vectors}

# %%
fig_sure, ax_sure = figures.new(width=6.2, height=4.2)
ax_sure.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1)
sure_line, = ax_sure.plot([], [], **figures.look(0), markersize=8)
ax_sure.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share of right answers")


def sureness(network, temperature):
    return network, temperature, reliability(*judged[network], temperature), judged[network]


def draw_sureness(result):
    network, T, (share, sure, size, ece), (logits, y) = result
    seen = size >= 20  # boxes with a few answers only are left out
    sure_line.set_data(sure[seen], share[seen])
    accuracy = (logits.argmax(1) == y).float().mean()
    mean = (logits / T).softmax(1).max(1).values.mean()
    return (f"{network}, temperature {T}: mean confidence {100 * mean:.1f} %, accuracy "
            f"{100 * accuracy:.1f} %, ECE {100 * ece:.1f} points, "
            f"cross-entropy {F.cross_entropy(logits / T, y):.2f}.")


# %% tags=["nbval-ignore-output"]
live_sure = widgets.LiveFigure(
    fig_sure, sureness, draw_sureness, network=widgets.Choice("network", list(judged)),
    temperature=widgets.Slider("temperature", [0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10], 1))
live_sure

# %% [markdown]
# Does a temperature travel to other scripts? Choose it where the cross-entropy is lowest on scripts 0 to 4, and use
# it on 5 to 9:

# %% tags=["nbval-ignore-output"]
TEMPERATURES = torch.logspace(-1.3, 1.3, 40).tolist()
for name in judged:
    T_best = min(TEMPERATURES, key=lambda T: F.cross_entropy(judged[name][0] / T, judged[name][1]).item())
    elsewhere = answers(name, SECOND)
    before, after = (100 * reliability(*elsewhere, T)[3] for T in (1.0, T_best))
    print(f"{name:13} temperature {T_best:.2f}   ECE on other scripts: before {before:.1f} points, "
          f"after {after:.1f}")


# %% [markdown]
# **Explain.** Each temperature above 1 says: too sure on new scripts. The prototypical network was trained with
# this very softmax over squared distances, and is nearest to 1. The triplets' soft margin is a softmax too, over
# two answers: $\ln(1 + e^{d(a,p) - d(a,n)})$ is the cross-entropy of the logits $-d(a,p)$ and $-d(a,n)$. But those
# are the hardest two, and plain distances; here they are *squared* (6 becomes 36), and the logits come out far too
# large. The pairs met no softmax at all, and are less far off: a scale may also fit by chance. One number, chosen
# on other letters, takes away a good part of the error: compare before and after. (Nobody reaches 0: the share of
# right answers in a box is a sample, and its chance error counts as distance.)
#
# **But no temperature can make it say "I do not know".** A softmax over five letters sums to 1, whatever you show: a
# sixth letter, a face, a blank sheet. For that look at the distance itself: if the squared distance to even the
# nearest prototype is above a threshold $\tau$, answer "none of these". Choose $\tau$ on tasks made for it: five
# letters with one example each, and queries of these five **and of five strangers**.

# %%
def open_tasks(groups, tasks=200):
    """-> (n, 5) squared distances to the five prototypes, (n,) the right label, or -1 for a stranger"""
    items = part_of(vectors["prototypical"], groups)
    sx, sy, qx, qy = EpisodeSampler(items, 10, 1, 5, tasks, seeded(12))()
    d2 = torch.stack([(q[:, None] - checked_prototypes(s[y < 5], y[y < 5], 5)).square().sum(-1)
                      for s, y, q in zip(sx, sy, qx)])                 # (tasks, 50, 5)
    return d2.flatten(0, 1), qy.where(qy < 5, -1).flatten()


def named(d2, tau):
    """The letter of the nearest prototype, or -1 where even its squared distance is above tau"""
    nearest_d2, letter = d2.min(1)
    return letter.where(nearest_d2 <= tau, -1)


def outcome(d2, truth, tau):
    """Per cent of: all queries, answered right; letters, named right; letters, refused; strangers, refused"""
    said, own = named(d2, tau), truth >= 0
    parts = said == truth, (said == truth)[own], (said < 0)[own], (said < 0)[~own]
    return [f"{100 * part.double().mean():.0f} %" for part in parts]


guess_none = widgets.Predict("Half of the queries are strangers. With a good threshold, how many of all "
                             "queries are answered right? (Without any: below 50 %.)", (40, 100, 1), unit="%")
guess_none

# %% [markdown]
# Which price? Two choices on scripts 0 to 4: the threshold with the most right answers, and the one that refuses one
# honest drawing in ten. Both are judged on scripts 5 to 9.

# %% tags=["nbval-ignore-output"]
d2_old, truth_old = open_tasks(FIRST)
d2_new, truth_new = open_tasks(SECOND)
nearest_old = d2_old.min(1).values
most_right = max(nearest_old.quantile(torch.linspace(0.02, 0.98, 49)).tolist(),
                 key=lambda tau: (named(d2_old, tau) == truth_old).double().mean().item())
TAU = nearest_old[truth_old >= 0].quantile(0.9).item()  # nine of ten honest drawings are nearer
heads = "threshold", "right answers", "letters named right", "letters refused", "strangers refused"
TAUS = {"none": math.inf, f"most answers right ({most_right:.1f})": most_right,
        f"one letter in ten refused ({TAU:.1f})": TAU}
rows = [dict(zip(heads, [what, *outcome(d2_new, truth_new, tau)])) for what, tau in TAUS.items()]
display(guess_none.reveal(round(100 * (named(d2_new, most_right) == truth_new).double().mean().item())))
some = slice(None, None, 7)  # every seventh: to compare all 10,000 would take half a gigabyte
open_auc = float(checked_auc(d2_new.min(1).values[some], (truth_new[some] >= 0).double()))
print(f"known letter or stranger, by the distance to the nearest prototype: AUC {open_auc:.2f} ± "
      f"{auc_interval(open_auc, len(truth_new[some]) // 2):.2f}")
Table(rows, "Five letters with one example each, and as many strangers; scripts that had no say in the "
            "threshold")


# %% [markdown]
# **Observe.** Two prices again, as in section 3: the looser threshold names more of the letters, and takes more
# strangers for one of them. "Known or strange" is verification once more, so it has a ROC curve, and your `auc` gives
# a figure without any price. For the pad of section 11, where you will mostly draw what it should know, take the
# looser one.
#
# ## 9 Bug hunt
#
# A colleague writes the drawing of pairs anew, "because the library's is too long". The first image of each pair is
# given as (letter, drawing). The function finds its partner: in the even rows one of the same letter, in the odd rows
# one of another. It runs, training on it runs, and its author is delighted with the verification.

# %%
def found_partners(a, classes, drawings, seed):
    """a (n, 2): letter and drawing number of the first of each pair -> b (n, 2): the same of its partner"""
    generator = torch.Generator().manual_seed(seed)
    b = a.clone()
    other = torch.randint(1, classes, (len(a) // 2,), generator=generator)
    b[1::2, 0] = (b[1::2, 0] + other) % classes                        # odd rows: another letter
    return b


guess_good = widgets.Predict("The AUC of an untrained network on 3,000 pairs of validation letters made this "
                             "way?", (50, 100, 5), unit="%")
guess_good


# %% [markdown]
# That is the evidence to collect first, always: what does something that knows nothing score?

# %%
def first_of_pairs(n, seed):
    generator = seeded(seed)
    return torch.stack([torch.randint(most, (n,), generator=generator) for most in (244, 20)], 1)  # (n, 2)


def auc_on(partner_function, items):
    a = first_of_pairs(3000, 13)
    b = partner_function(a, 244, 20, 14)
    kinds = (torch.arange(3000) % 2 == 0).float()
    return float(checked_auc(distance(items[a[:, 0], a[:, 1]], items[b[:, 0], b[:, 1]]), kinds))


found_auc = auc_on(found_partners, untrained_vectors.items)
print(f"untrained network, found pairs: AUC {found_auc:.2f}")
guess_good.reveal(round(100 * found_auc))

# %%
lesson06.TOO_GOOD


# %% [markdown]
# **Repair it.** The partner is another drawing, in *every* pair. Check your suspicion first: print
# `a = first_of_pairs(6, 13)` and, beside it, `found_partners(a, 244, 20, 14)`.

# %% tags=["exercise"]
def partners(a, classes, drawings, seed):
    """a (n, 2): letter and drawing number of the first of each pair -> b (n, 2): the same of its partner"""
    generator = torch.Generator().manual_seed(seed)
    b = a.clone()
    other = torch.randint(1, classes, (len(a) // 2,), generator=generator)
    b[1::2, 0] = (b[1::2, 0] + other) % classes                        # odd rows: another letter
    # <answer>
    shift = torch.randint(1, drawings, (len(a),), generator=generator)
    b[:, 1] = (a[:, 1] + shift) % drawings                             # all rows: another drawing
    # </answer>
    # <stub>
    # # your repair
    # </stub>
    return b


# %%
checked_partners = lesson06.partners(partners)

# %% tags=["nbval-ignore-output"]
for name, function in {"found": found_partners, "repaired": checked_partners}.items():
    values = [auc_on(function, items) for items in (untrained_vectors.items, vectors["Siamese"].items)]
    texts = [f"{value:.3f} ± {auc_interval(value):.3f}" for value in values]
    print(f"{name:9} untrained network {texts[0]}   Siamese network {texts[1]}")

# %% [markdown]
# **Explain.** In the found pairs "same" meant the same *image*: a pair at distance exactly 0, for any function of the
# image. A network trained on them is asked for nothing in the even rows, where every network has distance 0 already:
# nobody asks it to bring two drawers together. (The optional cell of section 10 trains one, and says what that
# costs.) The same bug hides wherever a query can be in its own support set. A baseline that knows nothing finds it in
# one line. (The repaired pairs are of the same kind as those of section 3, in another draw. A draw moves a figure by
# about its interval, and two may miss on opposite sides: the untrained network's two are no farther apart than that.)
#
# ## 10 What the numbers say
#
# Now the test scripts are opened, once. Each test image is embedded once; all rows see the same 600 tasks of a kind.

# %% tags=["nbval-ignore-output"]
test_letters = glyphs.split("test")
finals = {"chance": (metric.Chance(seeded(0)), test_letters),
          "pixels, nearest": (metric.NearestNeighbour(), test_letters),
          "untrained, nearest": (nearest, embed_dataset(untrained, test_letters)),
          "Siamese: pairs": (nearest, embed_dataset(siamese.embed, test_letters)),
          "Siamese: hard triplets": (nearest, embed_dataset(triplet.embed, test_letters)),
          "prototypical: episodes": (by_mean, embed_dataset(proto.embed, test_letters))}
trained_for = {"Siamese: pairs": history, "Siamese: hard triplets": triplet_history,
               "prototypical: episodes": proto_history}
TEST_SEED, tested, rows = 31, {}, []
for name, (rule, items) in finals.items():
    tested[name] = score(rule, items, seed=TEST_SEED)
    run = trained_for.get(name)
    count = 0 if name.startswith(("chance", "pixels")) else sum(p.numel() for p in untrained.parameters())
    rows.append([name, tested[name], score(rule, items, 5, 5, seed=TEST_SEED),
                 score(rule, items, 20, seed=TEST_SEED), f"{count:,}", f"{run.seconds:.0f}" if run else ""])
empty, large = "not quoted", "about 112,000"
rows += [["plain pretraining (lesson 04, printed there)", "about 93.5 %", "about 98 %", "-", f"{count:,}", "-"],
         ["Siamese, Omniglot (Vinyals et al. 2016)", "96.7 %", "98.4 %", "88.0 %", empty, ""],
         ["the same, fine-tuned on each task", "97.3 %", "98.4 %", "88.1 %", empty, ""],
         ["matching, Omniglot (Vinyals et al. 2016)", "98.1 %", "98.9 %", "93.8 %", large, ""],
         ["prototypical, Omniglot (Snell et al. 2017)", "98.8 %", "99.7 %", "96.0 %", large, ""]]
columns = ["method", "5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "parameters", "seconds"]
Table([dict(zip(columns, row)) for row in rows],
      "10 held-out scripts, 600 tasks of each kind, accuracy ± 95 % interval; one training run each")

# %% tags=["nbval-ignore-output"]
for one, other in (("Siamese: pairs", "pixels, nearest"), ("Siamese: hard triplets", "Siamese: pairs"),
                   ("prototypical: episodes", "Siamese: hard triplets")):
    print(f"{one} minus {other}: {paired_difference(tested[one], tested[other])}")

# %% [markdown]
# **What to read in it.** Training is worth about forty points, over the pixels and over the same network untrained,
# even with random pairs. About ten more come with the hard triplets, from the same network, updates and number of
# images. Two things changed there, which images are compared and the loss; the optional cell takes the mining apart
# from the rest. (All three have the same step size. For the pairs a margin of 2 or 8, and a step size three times as
# large or as small, were tried afterwards on the validation scripts: none makes up for the ten points.) Hard triplets
# are ahead of episodes by about a point with 5 ways and one shot, and by about three with 20, in one training each: no
# verdict yet. The intervals cover the draw of tasks, not a second training. The last four rows are another data set
# and far longer trainings, matching and prototypical networks with 64 channels; they stand there for the scale. (Both
# Siamese rows are from table 1 of Vinyals et al. In the second the weights move on every task. It is the one that
# later tables quote under the name of Koch et al. 2015, as Finn et al. 2017 do; their own paper has 92.0 % for 20 ways
# within an alphabet.) Siamese and matching are close with 5 ways and far apart with 20: section 4 again.
#
# **The rival.** Lesson 04's plain pretraining with the nearest centroid, on tasks of the same kind from these
# scripts, is level with hard triplets and episodes within about a point, and about nine points ahead of the pairs.
# But it had 1.6 times the images (800 batches of 64); the optional cell gives it as many as the others. What pairs,
# triplets and episodes have over it in any case: no class needs a row in a head, so a class with two drawings is
# enough, and new classes can be added to the training for ever.

# %%
dice, hands = seeded(23), seeded(24)


def on_random_triplets(learner, batch):
    """The control: the soft margin as before, but any drawing of another letter instead of the hardest"""
    z, y = learner.embed(batch.x[0]), batch.y[0]
    d, own = distance(z[:, None], z[None]), y[:, None] == y[None]
    positive = d.masked_fill(~own | torch.eye(len(y), dtype=torch.bool), 0).sum(1)  # the one other drawing
    lots = torch.rand(len(y), len(y), generator=dice).masked_fill(own, -1)
    negative = d.gather(1, lots.argmax(1, keepdim=True))[:, 0]
    return F.softplus(positive - negative).mean()


def draw_found():
    """32 pairs as section 9's colleague draws them"""
    sizes = train_letters.items.shape[:2]                              # letters, drawings of each
    a = torch.stack([torch.randint(most, (32,), generator=hands) for most in sizes], 1)
    b = found_partners(a, *sizes, seed=torch.randint(10 ** 6, (1,), generator=hands).item())
    images = [train_letters.items[p[:, 0], p[:, 1]][:, None] / 255 for p in (a, b)]
    return pairs.Pairs(*images, (torch.arange(32) % 2 == 0).float())


# %% tags=["nbval-ignore-output"]
def fresh():
    return nets.Conv4(32, generator=seeded(0))


if LONG:
    for name, learner, draw, objective in (
            ("pairs", metric.SiameseNetwork(fresh()),
             pairs.PairSampler(train_letters, 32, seeded(20)), on_pairs),
            ("found pairs", metric.SiameseNetwork(fresh()), draw_found, on_pairs),
            ("hard triplets", metric.SiameseNetwork(fresh()),
             pairs.PKSampler(train_letters, 32, 2, seeded(21)), on_triplets),
            ("random triplets", metric.SiameseNetwork(fresh()),
             pairs.PKSampler(train_letters, 32, 2, seeded(21)), on_random_triplets),
            ("episodes", Prototypical(fresh()), EpisodeSampler(train_letters, 20, 1, 2, 1, seeded(22)),
             cross_entropy),
            ("pretraining", transfer.Classifier(fresh(), 765, generator=seeded(0)),
             BatchSampler(train_letters, 64, seeded(25)), transfer.classification)):
        run = meta_train(learner, draw, objective, updates=1000, lr=3e-3, decay=True)
        items = embed_dataset(learner.embed, val_letters)
        print(f"{name:15} 5-way {score(nearest, items)}   20-way {score(nearest, items, 20)}   "
              f"{run.seconds:.0f} s")

# %% [markdown]
# The optional cell trains six networks for 1,000 updates each (two or three minutes on one core of a CPU, the seeds
# as written). It gave, on the validation scripts, 1-shot, 600 tasks:
#
# | trained on | 5-way | 20-way |
# |---|---|---|
# | found pairs (section 9's bug) | 58.6 ± 0.9 % | 33.8 ± 0.4 % |
# | pairs | 88.2 ± 0.7 % | 67.9 ± 0.5 % |
# | random triplets | 94.1 ± 0.5 % | 81.8 ± 0.4 % |
# | plain pretraining, all 765 letters | 94.2 ± 0.5 % | 82.5 ± 0.4 % |
# | episodes | 95.6 ± 0.4 % | 85.1 ± 0.4 % |
# | hard triplets | 96.6 ± 0.4 % | 88.9 ± 0.3 % |
#
# - **What mining is worth.** Random triplets have the same batches, loss and number of triplets as the hard ones, but
#   any rival instead of the hardest. So the mining adds two or three points with 5 ways, and seven with 20. Most of
#   the lead over pairs comes without it. From what, this table does not say: the loss asks for an order instead of
#   distances, and from 64 images it makes 64 comparisons with another letter, where pairs make 16.
# - **What the bug costs.** Thirty points with 5 ways. Training on the found pairs runs as smoothly as any.
# - **The rival again.** With as many images as the others, plain pretraining is behind episodes and hard triplets: by
#   1.4 and 2.4 points with 5 ways, by 2.6 and 6.4 with 20. That is one training each, on validation scripts.
#
# ## 11 Your own alphabet
#
# Here is the lab. Invent five symbols. Draw each **once** and keep it as the example of A to E. Then draw one of them
# again and ask. The network is the prototypical one that you trained some minutes ago; it has never seen your
# symbols, and no weight will move. First, what happens to a drawing:
#
# 1. the strokes become an image of 28 x 28 pixels, with the pen, size and place of the letters in this course;
# 2. the network embeds it, together with your examples;
# 3. **your** `prototypes` makes one point for each symbol, from one drawing or from several;
# 4. the squared distance $d^2$ to each becomes a similarity $\tau / (\tau + d^2)$, with section 8's threshold $\tau$:
#    1 for the same image, 0.5 just at the threshold. If all are below 0.5, the answer is "none of these".

# %%
SYMBOLS = ("A", "B", "C", "D", "E")
pad_network = proto.embed
pad_threshold = max(TAU, 1e-6)


@torch.no_grad()
def answer(examples, query):
    """examples: list of (image (28, 28) uint8, number of its symbol); query: an image
    -> similarities, text"""
    images = torch.stack([image for image, _ in examples] + [query])[:, None] / 255     # (S + 1, 1, 28, 28)
    z = pad_network(images)  # (S + 1, 32)
    known = sorted({symbol for _, symbol in examples})  # symbols with an example
    y = torch.tensor([known.index(symbol) for _, symbol in examples])
    d2 = (checked_prototypes(z[:-1], y, len(known)) - z[-1]).square().sum(1)  # (symbols with an example,)
    similarities = [math.nan] * len(SYMBOLS)
    for symbol, value in zip(known, (pad_threshold / (pad_threshold + d2)).tolist()):
        similarities[symbol] = value
    best = max(known, key=lambda symbol: similarities[symbol])
    return similarities, SYMBOLS[best] if similarities[best] >= 0.5 else "none of these"


# %% [markdown]
# **Target 1.** Five symbols, one example each: at least 8 of 10 questions right. (Refused too often? Set
# `pad_threshold = 1.5 * TAU` in the cell above, run it again, and see what that costs in target 3.) **Target 2.**
# Find two symbols that it confuses. Give one of them a second example, and ask again: does it mend? Which of the
# similarities moved? **Target 3.** Draw something that is none of the five. Is it refused? What is the most
# different drawing that it still takes for A, and the most similar that it refuses?
#
# Draw with the mouse, a finger or a pen. By keyboard: add a sample stroke or a sample symbol from the list (each time
# it is drawn a little differently), then keep it or ask.

# %%
pad = drawpad.DrawPad(answer, SYMBOLS)
pad

# %% [markdown]
# And by numbers, with letters instead of symbols of your own: fifteen, drawn by lot from the validation scripts 5
# to 9, which had no say in the threshold. Five of them get one example each, from new simulated hands, and are
# asked four times. Of the ten others two drawings each are shown: they should be refused. The pixels answer the
# same questions.

# %% tags=["nbval-ignore-output"]
later = part_of(val_letters, SECOND)
lot = [later.class_names[i] for i in torch.randperm(len(later), generator=seeded(16))[:15].tolist()]
drawn = {name: data.redraw(name, drawers=5, seed=17) for name in lot}  # (5, 28, 28) each, new hands
five, others = lot[:5], lot[5:]
examples = [(drawn[name][0], k) for k, name in enumerate(five)]
replies = [(answer(examples, image), image, k) for k, name in enumerate(five) for image in drawn[name][1:]]
example_x = torch.stack([image for image, _ in examples]).flatten(1) / 255            # (5, 784)
by_pixels = [(example_x - im.flatten() / 255).square().sum(1).argmin().item() == k for _, im, k in replies]
by_network = [max(range(5), key=likes.__getitem__) == k for (likes, _), _, k in replies]
print("nearest by pixels right ", sum(by_pixels), "of 20")
print("nearest by network right", sum(by_network), "of 20")
print("named right             ", sum(text == SYMBOLS[k] for (_, text), _, k in replies), "of 20")
print("refused                 ", sum(text == "none of these" for (_, text), *_ in replies), "of the same 20")
print("others refused          ", sum(answer(examples, image)[1] == "none of these"
                                      for name in others for image in drawn[name][1:3]), "of 20")
figures.images(torch.stack([image for image, _ in examples]), titles=SYMBOLS,
               alt="Five letters, drawn by lot, as 28 by 28 images, one example each.")


# %% [markdown]
# **Explain.** Your hand was not in the training, and nor were your symbols: two distances to travel at once. What it
# learned to put aside is what *simulated* drawers change. If you draw a symbol upside down, it is another symbol: no
# drawer did that. A second example moves the prototype to the middle of two of *your* drawings. It also shortens the
# distances, of your own symbol and of strange ones: the threshold, chosen for one example, is then a little loose.
# And twenty questions are few: the table of section 8, with thousands, is the figure to trust.
#
# ## Optional: matching networks (5 minutes)
#
# Vinyals et al. (2016) introduced episodes with another rule. A query attends to the support set (lesson 03's
# attention): $a_i$ is the softmax over all support items of the cosine similarities, and the answer is a mixture of
# their labels,
#
# $$p(y = k \mid x) = \sum_{i:\, y_i = k} a_i, \qquad
# a_i = \frac{e^{\cos(f_\theta(x), f_\theta(x_i))}}{\sum_j e^{\cos(f_\theta(x), f_\theta(x_j))}}$$

# %% tags=["nbval-ignore-output"]
def matching(sz, sy, qz, n):
    """sz (S, D), sy (S,), qz (Q, D) -> probabilities (Q, n)"""
    cosine = F.normalize(qz, dim=1) @ F.normalize(sz, dim=1).T         # (Q, S)
    return cosine.softmax(1) @ F.one_hot(sy, n).to(qz)                 # attention, times the labels


sx, sy, qx, qy = (t[0] for t in EpisodeSampler(vectors["prototypical"], 5, 5, 15, 1, seeded(10))())
mine = matching(sx, sy, qx, 5)
library = metric.MatchingNetwork(nn.Identity())(sx[None], sy[None], qx[None])[0].exp()      # it returns log p
print("the library's:", torch.allclose(mine, library, atol=1e-5))
print("the most certain of 75 answers:", f"{mine.max():.2f}")

# %% tags=["nbval-ignore-output"]
for shot in (1, 5):
    found_scores = {name: score(rule, vectors["prototypical"], 5, shot) for name, rule in
                    {"matching": metric.MatchingNetwork(nn.Identity()), "prototypes": by_mean}.items()}
    print(f"{shot}-shot: matching {found_scores['matching']}   prototypes {found_scores['prototypes']}")

# %% [markdown]
# With one shot it is the nearest neighbour by cosine. With five, all five have a say, the near ones hardly more than
# the far: cosines lie between -1 and 1, so this softmax is flat, and no answer can be very certain. It still gets
# most of them right, since the order counts. (The network here was trained for distances, not for cosines: no fair
# race.)
#
# The paper also embeds each item *in view of the whole support set*, with an LSTM that walks along it. A set has no
# order, but an LSTM does:

# %%
context = metric.FullContext(32, seeded(15))
with torch.no_grad():
    reversed_order = torch.arange(25).flip(0)
    one, _ = context(sx[None], qx[None])
    other, _ = context(sx[None, reversed_order], qx[None])
print("LSTM, items in reverse order: same embeddings",
      torch.allclose(one, other[:, reversed_order], atol=1e-4))
forwards = checked_prototypes(sx, sy, 5)
backwards = checked_prototypes(sx[reversed_order], sy[reversed_order], 5)
print("prototypes, items in reverse order: the same ", torch.allclose(forwards, backwards, atol=1e-5))

# %% [markdown]
# ## Take-away
#
# 1. A Siamese network is one embedding used twice. It learns what may change within a class, not the classes: new
#    ones need no training.
# 2. The AUC is about one comparison, of two pairs. Among $N$ classes a query has to win $N - 1$. Thresholds depend on
#    prices and mixture.
# 3. After some training most triplets have a loss of 0. Mining looks for the hard ones; an episode's softmax weighs
#    the near rivals most. Both were nine or ten points ahead of random pairs here; random triplets, without mining,
#    had most of that, too. With 5 ways plain pretraining is level with both, or one to two points behind.
# 4. A prototypical network is a linear classifier with weights $2 c_k$ and $-\lVert c_k \rVert^2$, written by the
#    support set. It fails where a class is not one cloud.
# 5. A softmax over known classes cannot refuse. A threshold on the distance can; choose it on other classes.
#
# **Closed book.** Say each answer aloud before you unfold it.
#
# 1. Margin 1. What does a pair of two letters at distance 0.8 pay, and which way is it moved? One at 1.2? A pair of
#    one letter at 0.8?
# 2. Distances of one letter: 1, 2. Of two letters: 2, 5, 6. What is the AUC?
# 3. A face verifier wins 999 of 1,000 comparisons. Ten thousand people are registered. Would you open a door for the
#    nearest of them?
# 4. Why can training on the hardest triplets, from random weights, get stuck at ln 2?
# 5. Prototypes (1, 0) and (0, 2). Give W and b. Which class gets the point (1, 1)?
# 6. A network is 70 % right at 95 % confidence on average. Will a temperature of 2 raise its accuracy?
# 7. You see an AUC of 0.9999. What do you compute next?
#
# <details><summary>Answers</summary>
#
# 1. ½ · 0.2² = 0.02, apart. Nothing. ½ · 0.64 = 0.32, together.
# 2. 1 beats three; 2 ties with 2 and beats 5 and 6: (3 + 2.5) / 6 = 0.92.
# 3. $0.999^{9999}$ is about 0.00005 if the comparisons were independent. They are not, so it is better than that, but
#    measure it with 10,000.
# 4. Everything was brought to one point. All distances are 0 there, every gap is 0, softplus(0) = ln 2, and a
#    distance of 0 has no direction in which to grow: the gradient is 0.
# 5. W = [[2, 0], [0, 4]], b = [-1, -4] (or the same number added to both). The logits are 1 and 0: the first class
#    (squared distances 1 and 2).
# 6. No. It changes no answer; it lowers the confidence.
# 7. The same AUC of an untrained network on the same pairs.
#
# </details>
#
# **Further reading**
#
# - J. Bromley, I. Guyon, Y. LeCun, E. Säckinger, R. Shah (1993). Signature verification using a "Siamese" time delay
#   neural network. *NIPS*.
# - R. Hadsell, S. Chopra, Y. LeCun (2006). Dimensionality reduction by learning an invariant mapping. *CVPR*. (The
#   contrastive loss.)
# - J. Hanley, B. McNeil (1982). The meaning and use of the area under a receiver operating characteristic (ROC)
#   curve. *Radiology*.
# - K. Weinberger, L. Saul (2009). Distance metric learning for large margin nearest neighbor classification. *JMLR*.
# - G. Koch, R. Zemel, R. Salakhutdinov (2015). Siamese neural networks for one-shot image recognition. *ICML Deep
#   Learning Workshop*.
# - F. Schroff, D. Kalenichenko, J. Philbin (2015). FaceNet: a unified embedding for face recognition and clustering.
#   *CVPR*. (Triplets, semi-hard.)
# - A. Hermans, L. Beyer, B. Leibe (2017). In defense of the triplet loss for person re-identification.
#   *arXiv:1703.07737*. (Batch-hard, soft margin.)
# - O. Vinyals, C. Blundell, T. Lillicrap, K. Kavukcuoglu, D. Wierstra (2016). Matching networks for one shot
#   learning. *NIPS*.
# - J. Snell, K. Swersky, R. Zemel (2017). Prototypical networks for few-shot learning. *NIPS*.
# - C. Guo, G. Pleiss, Y. Sun, K. Weinberger (2017). On calibration of modern neural networks. *ICML*.
# - A. van den Oord, Y. Li, O. Vinyals (2018). Representation learning with contrastive predictive coding.
#   *arXiv:1807.03748*. (InfoNCE.)
# - T. Chen, S. Kornblith, M. Norouzi, G. Hinton (2020). A simple framework for contrastive learning of visual
#   representations. *ICML*. (SimCLR.)
# - E. Triantafillou et al. (2020). Meta-Dataset: a dataset of datasets for learning to learn from few examples.
#   *ICLR*.
# - K. Musgrave, S. Belongie, S.-N. Lim (2020). A metric learning reality check. *ECCV*. (Under fair comparison most
#   losses are close to one another.)
#
# **Next.** Here a formula made the head of a task from its support set. Why not let a *network* make it, and more
# than the head?
#
# [contents](index.ipynb) · [previous: 05 MAML](05_maml.ipynb) ·
# [next: 07 Networks that make networks](07_networks_that_make_networks.ipynb)

# %% [markdown] tags=["teacher"]
# ## Teacher's notes
#
# **Timing.** 85 minutes for most. Sections 3 and 8 take the longest. With 60 minutes leave out the calibration half
# of section 8 (the threshold is needed for the pad) and give the bug hunt as homework. Keep 10 minutes for the pad:
# it is what they remember.
#
# **Frequent misconceptions**
#
# - *"99 % verification means 99 % among 20."* Section 4's table. Ask for the break-even: which $w$ gives 90 % among
#   20? ($0.9^{1/19}$ = 0.9945.)
# - *"The new classes must be in the training."* Section 4's last cell, and the pad.
# - *"A Siamese network is two networks."* Section 1's first experiment.
# - *"It brings similar tasks together."* The quiz after section 1.
# - *"The loss of the hardest triplets falls when all is well."* Section 5: at the end it is still at two thirds of ln
#   2, with nine of ten answers right.
# - *"A confidence of 99 % cannot be a stranger."* Section 8: the softmax sums to 1 over the five.
#
# **Exercises.** auc: most forget ties; a class that uses `roc_auc_score` hands in distances first, and gets 1 minus
# it. batch_hard: nearly all first answers have the diagonal in one of the two; loops that end in
# `torch.tensor([...])` have the right numbers and no gradient, and the check says so. proto_linear: "half of the
# right logits" is the interesting one, since every accuracy agrees.
#
# **Discussion.** Who chooses the threshold of a face verifier at a border, and with whose prices? Is a nearest
# neighbour a classifier that has learned? What would you store of a person: images, embeddings, prototypes?
#
# **Stretch.** (1) The optional cell's control, random triplets, with three seeds: what is owed to the mining? (2)
# Train with 5-way episodes: Snell et al. found that more ways in training help; do they here? (3) Learn the
# temperature in training. (4) Use section 3's two mixtures to price an error.
#
# **Evidence.** Bug hunts are a bet: one controlled study of intentional bugs found no difference in learning.
# Low-stakes retrieval questions raise later scores.
