"""Quizzes and exercises of lesson 03, memory networks."""
import torch
from torch.nn import functional as F

from . import Exercise, Mistake, Order, Property, Quiz

# ------------------------------------------------------------------------------------------------------ warm-up

WARM_UP = (
    Quiz("1. (Lesson 00) In one task the letter ban has the label 3. Which label has it in the next task that it "
         "appears in?", [
        ("3 again: it is the same letter.", False, "Labels are dealt anew in each task. A network that remembers which "
                                                   "letter has which label gains nothing."),
        ("any of the labels, with equal chance", True, "So its label must be read from the support set of that very "
                                                       "task. Today's networks have to keep it somewhere."),
        ("none: a letter appears in one task only", False, "Tasks are drawn from the same letters again and again. "
                                                           "Only their labels change."),
    ]),
    Quiz("2. (Lesson 00) How does a nearest neighbour answer a query?", [
        ("It compares the query with each support item and copies the label of the most alike.", True,
         "A look-up: the items are what it looks among, the labels are what it brings back. Today it becomes soft, so "
         "that gradients pass through."),
        ("It averages each class and takes the nearest mean.", False, "That is the nearest centroid: one mean a class. "
                                                                      "The nearest neighbour keeps every item."),
        ("It takes a few gradient steps on the support set.", False, "It takes none. It only compares."),
    ]),
    Quiz("3. (Primer) `torch.tensor([2.0, 1.0, 0.0]).softmax(0)` is about 0.67, 0.24, 0.09. What does "
         "`torch.tensor([20.0, 10.0, 0.0]).softmax(0)` give?", [
        ("the same: the order is the same", False, "Softmax looks at differences. They are ten times as large now."),
        ("nearly 1, 0, 0", True, "Multiply all scores by a large number, and softmax picks the largest: a soft choice "
                                 "becomes a hard one. You will turn this knob today."),
        ("ten times as much: 6.7, 2.4, 0.9", False, "The outputs of softmax always sum to one."),
    ]),
)

READING = Quiz("After the two letters were written and a new drawing of each was read, which tensors had changed?", [
    ("The memory, by the writing. The weights never.", True,
     "Writing puts rows into a tensor that belongs to this task. Reading changes nothing at all. The weights of the "
     "network move in training only, by a gradient."),
    ("The memory and the weights: it has learned something, after all.", False,
     "It has learned two letters, but not by its weights: they are equal to the last bit, as printed above."),
    ("The memory, by the reading.", False, "Reading is a weighted mean of what is there. Compare the rows before and "
                                           "after: they are equal."),
])

FIRST_SIGHT = Quiz("A memory recognises every letter without fail. Now it meets a letter for the first time. So far "
                   "it has "
                   "been shown the labels 0, 1 and 4, and it brings back what it reads. What will it answer?", [
    ("One of the five labels by chance: it is right in 20 % of all cases.", False,
     "It can only bring back what was written, and this letter's label was not. So whatever it reads is wrong."),
    ("0, 1 or 4: wrong every time.", True,
     "What it can read belongs to other letters. Only the very first item, with nothing to read, is a guess at 20 %. "
     "One of five first sights: 4 % in all."),
    ("2 or 3: right in half of the cases.", False,
     "That would be clever: labels in use are ruled out. But it is not what a weighted mean of written labels can "
     "say."),
])

STEP_LATE = Quiz("Why does the label come one step late, and not together with its item?", [
    ("Because labels take time to look up.", False, "They are all known before. It is a rule of the game: what would a "
                                                    "learner have to learn if the label came along with the item?"),
    ("Together with it, the answer could be copied from the input.", True,
     "Then the loss would fall to zero without any memory. One step late, an item has to be answered first; its label "
     "is of use at later sights only."),
    ("So that the first sight can be answered as well.", False, "The first sight cannot be answered, late or not. "
                                                                "Unless the label leaks."),
])

BOUND = Quiz("On the letters that it trained with, the colleague's network names even first sights. On new scripts it "
             "is near chance at every sight. What has it learned?", [
    ("To bind: item and label, met in this stream.", False, "Binding would work on new scripts as well, from the "
                                                            "second sight on. And it could not name a first sight."),
    ("Which letter has which label. It is in the weights.", True,
     "Each letter had the same label in all streams. So nothing needed to be remembered within a stream, and the "
     "network did not learn to. Labels dealt anew are what makes a memory worth having."),
    ("Nothing: it was not trained long enough.", False, "Then it would not name first sights on its training letters."),
])

# ---------------------------------------------------------------------------------------------------- 1: attend


def attend(q, K, V, beta):
    cosine = F.normalize(q, dim=-1) @ F.normalize(K, dim=-1).mT
    w = (beta * cosine).softmax(-1)
    return w @ V, w


def _attend(likeness=lambda q, K: F.normalize(q, dim=-1) @ F.normalize(K, dim=-1).mT,
            weigh=lambda s, beta: (beta * s).softmax(-1), answer=lambda w, K, V: (w @ V, w)):
    """A wrong attend: one of its three parts replaced."""
    def attend(q, K, V, beta):
        return answer(weigh(likeness(q, K), beta), K, V)
    return attend


def _attend_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [(draw(3, 4), draw(5, 4), draw(5, 2), 3.0), (draw(1, 2), draw(6, 2), draw(6, 3), 10.0),
            (2 * draw(4, 3), 3 * draw(2, 3), draw(2, 5), 0.5)]


attend = Exercise(
    name="attend",
    reference=attend,
    cases=_attend_cases,
    mistakes=[
        Mistake(_attend(weigh=lambda s, beta: (beta * s).softmax(0)),
                "Softmax runs over the queries: the weights of one key sum to one. Each query shares its attention "
                "among "
                "the keys, so each row of `w` has to sum to one: softmax over the last dimension."),
        Mistake(_attend(weigh=lambda s, beta: (beta * s).exp()),
                "The weights are not normalised: the rows of `w` do not sum to one. Softmax divides each exponential "
                "by "
                "the row's sum."),
        Mistake(_attend(weigh=lambda s, beta: beta * s),
                "The softmax is missing: `w` is the likeness itself, with negative weights among them."),
        Mistake(_attend(likeness=lambda q, K: q @ K.mT),
                "You compare by the plain dot product. Then a long key wins whatever its direction. The cosine "
                "divides by "
                "both lengths: normalise q and K first."),
        Mistake(_attend(likeness=lambda q, K: F.normalize(q, dim=-1) @ K.mT),
                "The queries have length 1, the keys do not: a long key still wins. Normalise K as well."),
        Mistake(_attend(likeness=lambda q, K: q @ F.normalize(K, dim=-1).mT),
                "The keys have length 1, the queries do not: a long query then reads more sharply than a short one. "
                "Normalise q as well."),
        Mistake(_attend(weigh=lambda s, beta: s.softmax(-1)),
                "The sharpness `beta` is left out: it multiplies the likeness before the softmax."),
        Mistake(_attend(weigh=lambda s, beta: beta * s.softmax(-1)),
                "`beta` multiplies after the softmax, so the weights sum to beta. It belongs inside, where it widens "
                "the "
                "differences."),
        Mistake(_attend(weigh=lambda s, beta: (s / beta).softmax(-1)),
                "You divide by `beta`: the larger it is, the more even your weights. Multiply, so that a large beta "
                "reads "
                "sharply."),
        Mistake(_attend(answer=lambda w, K, V: (w @ K, w)),
                "You bring back a mixture of the keys. Keys are for comparing; what is brought back are the values V."),
        Mistake(_attend(answer=lambda w, K, V: (w, w @ V)),
                "The two are exchanged: first what was read, then the weights."),
        Mistake(_attend(weigh=lambda s, beta: F.one_hot(s.argmax(-1), s.shape[-1]).to(s)),
                "You take the most alike key alone. That is a hard look-up; no gradient could pass through the choice. "
                "Use softmax."),
    ],
    hints=[
        "Three steps: how alike is each query to each key? How is a query's attention shared out? What is brought "
        "back?",
        "`F.normalize(q, dim=-1)` has rows of length 1, and for such rows the dot product is the cosine. All pairs at "
        "once: (Q, D) @ (D, S), so K has to be transposed with `.mT`.",
        "`w` is the softmax over the last dimension of beta times the likeness, and what is read is `w @ V`.",
    ],
    right="A look-up through which gradients pass: to the query, the keys and the values.",
)

# ------------------------------------------------------------------------------------------------ 2: hops, in order

hops = Order(
    name="hops",
    lines={
        "A": "    u = u + o",
        "B": "answer = argmax(words @ u)",
        "C": "for k in range(hops):",
        "D": "    o = p @ c[k]",
        "E": "    u = o",
        "F": "u = embed(question)",
        "G": "    p = softmax(m[k] @ u)",
    },
    right="FCGDAB",
    mistakes={
        ".*E.*": "Line E throws the question away: after the first hop nobody knows any more what was asked. What "
                 "was found "
                 "is added to the question.",
        "[^F].*": "Before anything is read there has to be a question: u begins as the embedded question.",
        ".*D.*G.*": "Line D mixes the memories by the weights p, so line G has to make p first.",
        ".*A.*D.*|.*A.*G.*": "Line A adds what this hop has found, o. So the hop has to find it first.",
        ".*B.*[ADG].*": "Line B answers. That comes last, after all hops, and it is not indented.",
        ".*[ADG].*C.*": "The indented lines belong inside the loop, so line C has to stand before them.",
    },
    hints=(
        "One line makes the question, one begins the loop, one answers after the loop. Three lines are inside it.",
        "Inside: compare the question with the memories, bring back a mixture, put it to the question.",
        "Six lines are needed. Of the two lines that make a new u inside the loop, choose the one that keeps the "
        "question.",
    ),
    praise="Each hop is one attention, and what it finds becomes part of the next hop's question. Line E would "
           "forget what "
           "was asked.",
)

# ---------------------------------------------------------------------------------------------------- 3: delay


def delay(y, n):
    shown = F.one_hot(y, n)
    return torch.cat([torch.zeros_like(shown[:, :1]), shown[:, :-1]], 1)


def _delay(change):
    """A wrong delay: change(one-hot labels (B, T, n)) -> (B, T, n)."""
    def delay(y, n):
        return change(F.one_hot(y, n))
    return delay


def _nothing(shown, steps=1):
    return torch.zeros_like(shown[:, :steps])


def _delay_cases(generator):
    def draw(streams, steps, n):
        return torch.randint(n, (streams, steps), generator=generator)

    short = torch.tensor([[2, 0, 1, 1]])
    return [(short, 3), (draw(2, 7, 5), 5), (draw(4, 5, 3), 3)]


delay = Exercise(
    name="delay",
    reference=delay,
    cases=_delay_cases,
    mistakes=[
        Mistake(_delay(lambda s: s),
                "Nothing is delayed: each item comes with its own label, which could simply be copied. Step t has to "
                "show "
                "the label of item t - 1."),
        Mistake(_delay(lambda s: s.roll(1, 1)),
                "Right at every step but the first. There `roll` brings in the last label of the stream, from the "
                "future. "
                "At step 0 there is no label yet: all zeros."),
        Mistake(_delay(lambda s: s.roll(1, 0)),
                "You shift along the streams: each stream gets another stream's labels. Steps are dimension 1."),
        Mistake(_delay(lambda s: torch.cat([torch.zeros_like(s[:1]), s[:-1]], 0)),
                "You shift along the streams, and the first stream gets zeros. Steps are dimension 1."),
        Mistake(_delay(lambda s: torch.cat([s[:, 1:], _nothing(s)], 1)),
                "You shift the wrong way: step t shows the label of item t + 1, one step early."),
        Mistake(_delay(lambda s: torch.cat([_nothing(s, 2), s[:, :-2]], 1)),
                "Your labels come two steps late. Step t shows the label of item t - 1."),
        Mistake(_delay(lambda s: torch.cat([_nothing(s), s], 1)),
                "One step too many: the last label would come after the last item, where nothing is asked any more. "
                "Leave it out, so that there are T steps."),
        Mistake(_delay(lambda s: s[:, :-1]),
                "One step is missing: at step 0 there is no label, but the step itself is there. Put a row of zeros "
                "first."),
        Mistake(lambda y, n: F.one_hot(F.pad(y[:, :-1], (1, 0)), n),
                "Step 0 shows label 0. That is a label like any other! Before the first label there is none: all "
                "zeros."),
    ],
    hints=[
        "`F.one_hot(y, n)` has the shape (B, T, n). Which steps of it are shown, and where do they move to?",
        "The last step's label is never shown: `[:, :-1]` leaves it out. And before the first one stands a step of "
        "zeros.",
        "`torch.cat([zeros, shown[:, :-1]], 1)` with zeros of the shape (B, 1, n). `torch.zeros_like(shown[:, :1])` "
        "is such.",
    ],
    right="Step 0 shows nothing, step t shows the label of item t - 1, and the last label is never shown.",
)

# ------------------------------------------------------------------------------------------------- 4: nth_sight


def nth_sight(pred, y, n_max):
    one_hot = F.one_hot(y)
    sight = (one_hot.cumsum(1) * one_hot).sum(-1)
    right = (pred == y).double()
    return torch.stack([right[sight == s].mean() for s in range(1, n_max + 1)])


def _sights(y):
    one_hot = F.one_hot(y)
    return (one_hot.cumsum(1) * one_hot).sum(-1)


def _nth(count=lambda pred, y: _sights(y), score=lambda right, at: right[at].mean(), first=1,
         chosen=lambda sight, s: sight == s):
    """A wrong nth_sight: how sights are counted, how they are scored, which comes first, or which are chosen."""
    def nth_sight(pred, y, n_max):
        sight, right = count(pred, y), (pred == y).double()
        return torch.stack([score(right, chosen(sight, s)) for s in range(first, first + n_max)])
    return nth_sight


def _over_all_streams(pred, y):
    return _sights(y.flatten()[None])[0].view_as(y)


def _across_streams(pred, y):
    one_hot = F.one_hot(y)
    return (one_hot.cumsum(0) * one_hot).sum(-1)


def _of_the_named_class(pred, y):
    return F.one_hot(y, int(max(y.max(), pred.max())) + 1).cumsum(1).gather(2, pred[..., None])[..., 0]


def _only_right_ones(pred, y):
    one_hot = F.one_hot(y)
    return ((one_hot * (pred == y)[..., None]).cumsum(1) * one_hot).sum(-1)


def _after_right_ones(pred, y):
    return _only_right_ones(pred, y) - (pred == y).long() + 1


def _from_the_end(pred, y):
    return _sights(y.flip(1)).flip(1)


def _nth_cases(generator):
    cases = []
    for streams, n, sights, n_max in ((1, 2, 4, 3), (3, 4, 5, 3), (6, 3, 6, 4)):
        order = torch.rand(streams, n * sights, generator=generator).argsort(1)
        y = order % n
        lucky = torch.rand(y.shape, generator=generator) < (0.3 + 0.6 * torch.arange(n * sights) / (n * sights))
        wrong = (y + 1 + torch.randint(n - 1, y.shape, generator=generator)) % n
        pred = torch.where(lucky, y, wrong)
        pred[:, 0], pred[:, 1] = y[:, 0], (y[:, 1] + 1) % n
        cases.append((pred, y, n_max))
    return cases


nth_sight = Exercise(
    name="nth_sight",
    reference=nth_sight,
    cases=_nth_cases,
    mistakes=[
        Mistake(lambda pred, y, n_max: (pred == y).double().mean(0)[:n_max],
                "You score by the time step. But at step 5 one class may be met for the third time and another for the "
                "first. Count, in each stream, how often this item's own class has been met."),
        Mistake(_nth(first=2), "Off by one: what you call the first sight is the second. The count of an item's class, "
                               "this item included, is 1 at the first sight."),
        Mistake(_nth(first=0), "Off by one: your first entry is for sight 0, which does not exist. The count has to "
                               "include "
                               "the item itself."),
        Mistake(lambda pred, y, n_max: _nth()(pred, y, n_max - 1),
                "The last sight is missing: `range(1, n_max)` ends at n_max - 1. It has to be `range(1, n_max + 1)`."),
        Mistake(_nth(count=_across_streams),
                "You count from stream to stream at the same step. The count runs along the steps of a stream: "
                "dimension 1."),
        Mistake(_nth(count=_over_all_streams),
                "Only the first stream has early sights for you: the count runs on from one stream to the next, or "
                "the others are left out. Each stream starts afresh: its classes are others, even if they bear the "
                "same labels. Count along dimension 1."),
        Mistake(_nth(count=lambda pred, y: _sights(pred)),
                "You count how often the answer was given. What counts is how often the item's true class was met: "
                "y."),
        Mistake(_nth(count=_of_the_named_class),
                "You look up the count of the class that was *named*. Where the answer is wrong, that is another "
                "class. Which sight an item is depends on its own class, y."),
        Mistake(_nth(count=_only_right_ones),
                "You count only the sights that were named right. A sight counts whether it was named right or not: "
                "count with y alone, and look at pred afterwards."),
        Mistake(_nth(count=_after_right_ones),
                "You count only the earlier sights that were named right. A sight counts whether it was named right or "
                "not: count with y alone, and look at pred afterwards."),
        Mistake(_nth(chosen=lambda sight, s: sight <= s),
                "Your s-th entry averages all sights up to the s-th. It is about the s-th sight alone: `sight == s`."),
        Mistake(_nth(chosen=lambda sight, s: sight >= s),
                "Your s-th entry averages the s-th sight and all later ones. It is about the s-th alone: "
                "`sight == s`."),
        Mistake(_nth(count=_from_the_end), "You count from the end of the stream: your first sight is the last."),
        Mistake(_nth(score=lambda right, at: (right * at).mean()),
                "You divide by the number of all items. Divide by the number of items that are an s-th sight."),
        Mistake(_nth(score=lambda right, at: (right * at).sum() / len(right)),
                "You divide by the number of streams. But each stream has an s-th sight of every class: divide by the "
                "number of items that are an s-th sight."),
        Mistake(_nth(score=lambda right, at: 100 * right[at].mean()),
                "Those are percent. A share is between 0 and 1; the lesson multiplies by 100 where it prints."),
        Mistake(_nth(score=lambda right, at: (right * at).sum()),
                "That is how many were right, not their share: divide by the number of items that are an s-th sight."),
        Mistake(_nth(score=lambda right, at: 1 - right[at].mean()), "That is the share of wrong answers."),
    ],
    hints=[
        "First find, for each item, which sight of its class it is, in its stream. Then average `pred == y` over "
        "the "
        "items with 1, over those with 2, and so on.",
        "`F.one_hot(y).cumsum(1)` counts all classes along the stream: (B, T, n). Of each item you need the count of "
        "its "
        "own class.",
        "Multiply that by `F.one_hot(y)` and sum over the last dimension: (B, T). With it, `right[sight == "
        "s].mean()` for "
        "s = 1 .. n_max.",
    ],
    right="By sight, not by time: a curve of how fast a class is learned.",
)

# ---------------------------------------------------------------------------------------------------- 5: stream


def stream(keys, y, n, beta, nothing):
    k = F.normalize(keys, dim=-1)
    likeness = k @ k.mT
    t = torch.arange(keys.shape[1])
    likeness = likeness.masked_fill(t[:, None] <= t, -torch.inf)
    empty = torch.full_like(likeness[..., :1], nothing)
    w = (beta * torch.cat([likeness, empty], -1)).softmax(-1)
    return w[..., :-1] @ F.one_hot(y, n).to(w) + w[..., -1:] / n


def _stream(written=lambda i, t: i < t, unit=lambda keys: F.normalize(keys, dim=-1), values=F.one_hot,
            scores=lambda likeness, nothing, beta: beta * torch.cat(
                [likeness, torch.full_like(likeness[..., :1], nothing)], -1),
            mix=lambda w, V, n: w[..., :-1] @ V + w[..., -1:] / n):
    """A wrong stream: one of its parts replaced."""
    def stream(keys, y, n, beta, nothing):
        k, t = unit(keys), torch.arange(keys.shape[1])
        likeness = (k @ k.mT).masked_fill(~written(t, t[:, None]), -torch.inf)
        return mix(scores(likeness, nothing, beta).softmax(-1), values(y, n).to(keys), n)
    return stream


def _stream_shared(keys, y, n, beta, nothing):
    """What one stream has written is still there in the next."""
    rows = []
    seen_k, seen_v = keys[0, :0], keys.new_zeros(0, n)
    for b in range(len(keys)):
        for t in range(keys.shape[1]):
            likeness = F.normalize(seen_k, dim=-1) @ F.normalize(keys[b, t], dim=-1)
            w = (beta * torch.cat([likeness, likeness.new_tensor([nothing])])).softmax(-1)
            rows.append(w[:-1] @ seen_v + w[-1] / n)
            seen_k = torch.cat([seen_k, keys[b, t][None]])
            seen_v = torch.cat([seen_v, F.one_hot(y[b, t], n).to(seen_v)[None]])
    return torch.stack(rows).view(*y.shape, n)


def _stream_without_empty(keys, y, n, beta, nothing):
    k, t = F.normalize(keys, dim=-1), torch.arange(keys.shape[1])
    w = (beta * (k @ k.mT).masked_fill(t[:, None] <= t, -torch.inf)).softmax(-1)
    p = w @ F.one_hot(y, n).to(w)
    return torch.cat([torch.full_like(p[:, :1], 1 / n), p[:, 1:]], 1)


def _stream_masked_by_zero(keys, y, n, beta, nothing):
    """What is not written yet has the likeness 0, and so a share."""
    k = F.normalize(keys, dim=-1)
    likeness = (k @ k.mT).tril(-1)
    w = (beta * torch.cat([likeness, torch.full_like(likeness[..., :1], nothing)], -1)).softmax(-1)
    return w[..., :-1] @ F.one_hot(y, n).to(w) + w[..., -1:] / n


def _stream_masked_late(keys, y, n, beta, nothing):
    """The softmax shares out among all items; what is not written yet loses its share afterwards."""
    k = F.normalize(keys, dim=-1)
    likeness = k @ k.mT
    w = (beta * torch.cat([likeness, torch.full_like(likeness[..., :1], nothing)], -1)).softmax(-1)
    return w[..., :-1].tril(-1) @ F.one_hot(y, n).to(w) + w[..., -1:] / n


def _stream_long_queries(keys, y, n, beta, nothing):
    """The keys that are read have length 1, the item that asks has not."""
    k, t = F.normalize(keys, dim=-1), torch.arange(keys.shape[1])
    likeness = (keys @ k.mT).masked_fill(t[:, None] <= t, -torch.inf)
    w = (beta * torch.cat([likeness, torch.full_like(likeness[..., :1], nothing)], -1)).softmax(-1)
    return w[..., :-1] @ F.one_hot(y, n).to(w) + w[..., -1:] / n


def _stream_cases(generator):
    cases = []
    sizes = ((1, 4, 2, 2, 5.0, 0.2), (3, 9, 4, 3, 8.0, -0.3), (2, 12, 5, 4, 12.0, 0.5))
    for streams, steps, d, n, beta, nothing in sizes:
        keys = torch.randn(streams, steps, d, generator=generator, dtype=torch.float64)
        keys = keys * (0.5 + 2 * torch.rand(streams, steps, 1, generator=generator, dtype=torch.float64))
        cases.append((keys, torch.randint(n, (streams, steps), generator=generator), n, beta, nothing))
    return cases


stream = Exercise(
    name="stream",
    reference=stream,
    cases=_stream_cases,
    mistakes=[
        Mistake(_stream(written=lambda i, t: i <= t),
                "Item t reads itself, and with it its own label: that is the answer, leaked. It may read the items "
                "before "
                "it, 0 to t - 1."),
        Mistake(_stream(written=lambda i, t: i >= 0),
                "Every item reads the whole stream, its own label and the future included. Item t may read the items "
                "0 to "
                "t - 1."),
        Mistake(_stream(written=lambda i, t: i != t),
                "Item t leaves itself out, but reads the items after it: their labels come later. Only the items 0 "
                "to t - 1 "
                "are written."),
        Mistake(_stream(written=lambda i, t: i > t),
                "The mask is the wrong way round: item t reads the items after it."),
        Mistake(_stream(written=lambda i, t: i < t - 1),
                "You wait one step too long. The label of item t - 1 comes with item t, so it is written when item t "
                "is "
                "answered."),
        Mistake(_stream_masked_by_zero,
                "Items that are not written yet have the likeness 0, and after the softmax a likeness of 0 still has a "
                "share: their labels are read. Give them -torch.inf before the softmax, or leave them out."),
        Mistake(_stream_masked_late,
                "Your rows do not sum to one: what is not written yet was set to 0 after the softmax had given it a "
                "share. Give it the likeness -torch.inf before the softmax."),
        Mistake(_stream_shared,
                "The memory is not cleared between streams: the second stream reads what the first has written, "
                "under labels "
                "that mean other letters. Each stream starts with an empty memory."),
        Mistake(_stream_without_empty,
                "The slot \"nothing like it\" is missing: your weights are shared among the written items alone, so "
                "even a "
                "letter that is like none of them is answered with confidence."),
        Mistake(_stream(mix=lambda w, V, n: w[..., :-1] @ V),
                "The weight of the slot \"nothing like it\" is lost: your rows do not sum to one. It holds every label "
                "equally, 1/n each."),
        Mistake(_stream(mix=lambda w, V, n: w[..., :-1] @ V + w[..., -1:]),
                "The slot \"nothing like it\" gives its whole weight to each of the n labels, so your rows sum to "
                "more than "
                "one. It holds every label equally, 1/n each."),
        Mistake(_stream(scores=lambda likeness, nothing, beta: torch.cat(
                    [beta * likeness, torch.full_like(likeness[..., :1], nothing)], -1)),
                "`nothing` is a likeness like the others: it has to be multiplied by beta as well."),
        Mistake(_stream(scores=lambda likeness, nothing, beta: beta * F.pad(likeness, (0, 1))),
                "The slot \"nothing like it\" has the likeness 0 in yours. Its likeness is the argument `nothing`."),
        Mistake(_stream(scores=lambda likeness, nothing, beta: torch.cat(
                    [likeness, torch.full_like(likeness[..., :1], nothing)], -1)),
                "The sharpness `beta` is left out. It multiplies every likeness before the softmax."),
        Mistake(_stream(unit=lambda keys: keys),
                "You compare by the plain dot product: a long key wins whatever its direction. Normalise the keys "
                "first."),
        Mistake(_stream(unit=F.normalize),
                "`F.normalize(keys)` without `dim` runs along dimension 1, which is the steps here. A key is the last "
                "dimension: `dim=-1`."),
        Mistake(_stream_long_queries,
                "The items that are read have length 1, the one that asks has not: it is a key like the others, so "
                "normalise it as well."),
        Mistake(_stream(values=lambda y, n: delay.reference(y, n)),
                "You write item i with the label of item i - 1, as `delay` does. A label comes one step late, but it "
                "belongs to the item before: the value of key i is y[i], and the mask makes it late."),
        Mistake(_stream(values=lambda y, n: F.one_hot(F.pad(y[:, :-1], (1, 0)), n)),
                "You delay twice: the mask already hides what is not written yet, and your labels are late as well. "
                "Key i "
                "belongs to label y[i]; both are written when step i + 1 begins."),
    ],
    hints=[
        "It is `attend`, with each item as the query and the items before it as keys. Write it as a loop over t "
        "first, with "
        "torch.cat for the extra slot, or mask a (B, T, T) table.",
        "For the table: `likeness.masked_fill(mask, -torch.inf)` where the mask is true for i >= t; after softmax "
        "these "
        "weights are 0. The extra slot is one more column, filled with `nothing`.",
        "Split the weights again: `w[..., :-1] @ F.one_hot(y, n).to(w)` is what was read from items, and to it comes "
        "`w[..., -1:] / n`.",
    ],
    right="Nothing is known at step 0, and each label counts from the step after its item on.",
)

# ------------------------------------------------------------------------------------------------- 6: lru_write


def lru_write(w_read, usage, alpha):
    gate = alpha.sigmoid()[:, None]
    least_used = F.one_hot(usage.argmin(-1), usage.shape[-1]).to(w_read)
    return gate * w_read + (1 - gate) * least_used


def _lru(gate=torch.sigmoid, where=lambda w, usage: usage.argmin(-1), mix=lambda g, w, lu: g * w + (1 - g) * lu):
    """A wrong lru_write: another gate, another place, or mixed otherwise."""
    def lru_write(w_read, usage, alpha):
        place = F.one_hot(where(w_read, usage), usage.shape[-1]).to(w_read)
        return mix(gate(alpha)[:, None], w_read, place)
    return lru_write


def _lru_ties(w_read, usage, alpha):
    """Every slot of the least usage is marked, not one."""
    gate = alpha.sigmoid()[:, None]
    return gate * w_read + (1 - gate) * (usage == usage.amin(1, keepdim=True)).to(w_read)


def _lru_writes_once(fn, seed):
    """Where all usage is the same, what is written still sums to one."""
    like = torch.zeros(2, 4, dtype=torch.float64)
    w = torch.rand(2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(1)
    return bool((fn(w, like, like[:, 0]).sum(1) - 1).abs().max() < 1e-6)


def _lru_cases(generator):
    cases = []
    for streams, slots in ((1, 4), (3, 5), (4, 7)):
        w = torch.randn(streams, slots, generator=generator, dtype=torch.float64).softmax(-1)
        usage = 3 * torch.rand(streams, slots, generator=generator, dtype=torch.float64)
        usage[0, 0], usage[0, 1] = 9.0, -1.0 + usage[0].min()  # most, least: neither is where it was read
        w[0] = w[0].sort().values.roll(3)
        cases.append((w, usage, 2 * torch.randn(streams, generator=generator, dtype=torch.float64) + 0.3))
    return cases


lru_write = Exercise(
    name="lru_write",
    reference=lru_write,
    cases=_lru_cases,
    mistakes=[
        Mistake(_lru(mix=lambda g, w, lu: g * lu + (1 - g) * w),
                "The gate is swapped. A large alpha (gate near 1) writes where it was read, a small one to the least "
                "used "
                "slot."),
        Mistake(_lru(gate=lambda alpha: alpha),
                "alpha is any number, also negative or above 1. The sigmoid makes a share between 0 and 1 of it."),
        Mistake(_lru(where=lambda w, usage: usage.argmax(-1)),
                "You overwrite the slot that was used most: what is needed often would be lost first."),
        Mistake(_lru(where=lambda w, usage: w.argmin(-1)),
                "You take the slot that was read least just now. `usage` counts over a longer time: what was needed "
                "a few "
                "steps ago may be needed again."),
        Mistake(_lru(where=lambda w, usage: w.argmax(-1)),
                "You write to the slot that was read most, in both halves. One half goes to the least used slot."),
        Mistake(_lru(mix=lambda g, w, lu: w + lu),
                "Without the gate it writes to both places at full strength. The gate shares one writing between the "
                "two."),
        Mistake(_lru(mix=lambda g, w, lu: lu), "You always write to the least used slot: nothing is ever updated in "
                                               "place."),
        Mistake(_lru(mix=lambda g, w, lu: g * w + lu),
                "The second half has no gate: its share is 1 minus the gate, so that both shares sum to one."),
    ],
    properties=[
        Property(_lru_writes_once,
                 "With a tie (at step 0 all usage is 0) you mark several slots as the least used. Mark one: `argmin` "
                 "picks one.",
                 wrong=(_lru_ties,)),
    ],
    hints=[
        "Two places to write to, and a gate that shares between them. Which function turns any number into a share?",
        "`F.one_hot(usage.argmin(-1), slots)` marks the least used slot of each stream: (B, slots). `alpha` has the "
        "shape "
        "(B,), so it needs another dimension: `[:, None]`.",
        "gate times `w_read` plus (1 - gate) times the mark, where the gate is `alpha.sigmoid()[:, None]`.",
    ],
    right="One writing, shared between where it was just read and the slot that will be missed least.",
)

# ----------------------------------------------------------------------------------------------- 7, bug hunt: deal


def deal(classes, n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.empty_like(classes)
    for b, letters in enumerate(classes):
        label_of = torch.randperm(n, generator=generator)
        labels[b] = label_of[torch.searchsorted(letters.unique(), letters)]
    return labels


_N = 4


def _streams(seed, streams=60, choose=None):
    """Class numbers (streams, 12): 4 of 40 letters, 3 times each, shuffled. Some are the same modulo 4."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(streams):
        letters = torch.randperm(40, generator=generator)[:_N] if choose is None else torch.tensor(choose)
        rows.append(letters.repeat(3)[torch.randperm(3 * _N, generator=generator)])
    return torch.stack(rows)


def _rank(letters):
    return torch.searchsorted(letters.unique(), letters)


def _by_stream(rule):
    """A wrong deal: rule(letters (T,), n, generator) -> labels (T,) of one stream."""
    def deal(classes, n, seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.stack([rule(letters, n, generator) for letters in classes])
    return deal


def _first_come(letters, n, generator):
    order = list(dict.fromkeys(letters.tolist()))
    return torch.tensor([order.index(c) for c in letters.tolist()])


def _one_deal(classes, n, seed):
    label_of = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return torch.stack([label_of[_rank(letters)] for letters in classes])


def _turned(letters, n, generator):
    return (_rank(letters) + torch.randint(n, (), generator=generator)) % n


def _unseeded(classes, n, seed):
    return torch.stack([torch.randperm(n)[_rank(letters)] for letters in classes])


def _whole(labels):
    return (isinstance(labels, torch.Tensor) and labels.shape == (60, 3 * _N) and not labels.is_floating_point()
            and bool(((labels >= 0) & (labels < _N)).all()))


def _consistent(classes, labels):
    """In each stream, one letter has one label."""
    return all(len(set(zip(c, l))) == len(set(c)) for c, l in zip(classes.tolist(), labels.tolist()))


def _spread(labels):
    """Each label a fair share of the time."""
    return all(0.1 < (labels == label).double().mean() < 0.4 for label in range(_N))


_SAME = [3, 8, 21, 34]


def _shuffled(fn, seed):
    """The same letters are dealt labels in more than half of the 24 possible orders."""
    found = set()
    for i in range(20):
        classes = _streams(seed + i, 10, _SAME)
        for letters, labels in zip(classes, fn(classes, _N, seed + i)):
            found.add(tuple(labels[letters == c][0].item() for c in _SAME))
    return len(found) > 12


deal = Exercise(
    name="deal",
    reference=deal,
    cases=[],
    mistakes=[],
    properties=[
        Property(lambda fn, seed: _whole(fn(_streams(seed), _N, seed)),
                 "The answer has another form than asked for: whole numbers from 0 to n - 1, in a tensor with the "
                 "shape of "
                 "`classes`.",
                 wrong=(lambda classes, n, seed: deal.reference(classes, n, seed) + 1,
                        lambda classes, n, seed: classes.clone())),
        Property(lambda fn, seed: _consistent(_streams(seed), fn(_streams(seed), _N, seed)),
                 "Within one stream a letter has several labels. Then nothing can be learned from its earlier "
                 "sights. Deal "
                 "one label to each letter of the stream, not to each item.",
                 wrong=(_by_stream(lambda letters, n, g: torch.randint(n, letters.shape, generator=g)),)),
        Property(lambda fn, seed: all(len(set(row)) == _N for row in fn(_streams(seed), _N, seed).tolist()),
                 "In some streams two letters share a label, and another label is missing. The check draws any n "
                 "letters: 3 and 8, say, leave the same rest when divided by 5, so `% n` would give both one label. "
                 "Number the letters of each stream 0 to n - 1, then shuffle.",
                 wrong=(lambda classes, n, seed: classes % n,
                        _by_stream(lambda letters, n, g: torch.randint(n, (n,), generator=g)[_rank(letters)]))),
        Property(lambda fn, seed: fn(_streams(seed), _N, seed)[:, 0].unique().numel() > 1,
                 "The first letter of every stream has the same label. You number the letters in the order in which "
                 "they "
                 "appear: then even a first sight can be named, for a new letter always gets the next number.",
                 wrong=(_by_stream(_first_come),)),
        Property(lambda fn, seed: len({str(fn(_streams(seed), _N, seed + i).tolist()) for i in range(20)}) > 10,
                 "Different seeds deal the same labels. In every stream, a letter's label follows from its class "
                 "number "
                 "(the smallest number gets 0, say), and a network can learn that by heart. Shuffle.",
                 wrong=(_by_stream(lambda letters, n, g: _rank(letters)),)),
        Property(lambda fn, seed: len({str(fn(_streams(seed), _N, seed).tolist()) for _ in range(2)}) == 1,
                 "The same seed deals other labels the second time. Shuffle with the generator that was made from "
                 "`seed`.",
                 wrong=(_unseeded,)),
        Property(lambda fn, seed: _spread(torch.stack([row[c == 8][0] for c, row in zip(
                     _streams(seed, 240, _SAME), fn(_streams(seed, 240, _SAME), _N, seed))])),
                 "Within one call, a letter has the same label in all streams. Shuffle for each stream anew.",
                 wrong=(_one_deal,)),
        Property(_shuffled,
                 "Your labels only turn round: in each stream they follow the order of the class numbers, from some "
                 "start on (or in a few fixed orders). Whoever has seen one label then knows the others, even at first "
                 "sights. Shuffle: `torch.randperm`.",
                 wrong=(_by_stream(_turned),
                        _by_stream(lambda letters, n, g: torch.where(torch.rand((), generator=g) < 0.5, 1, -1)
                                   * _turned(letters, n, g) % n))),
    ],
    hints=[
        "The label may depend on the stream, and within it on the letter. It must not follow from the class number. "
        "What do "
        "you have to shuffle, and how often?",
        "Take the streams one by one: `for letters in classes:`. `names, place = letters.unique(return_inverse=True)` "
        "numbers the letters of one stream; `torch.randperm(n, generator=generator)` has a label for each number.",
        "`label_of[place]` with `label_of = torch.randperm(n, generator=generator)` are the labels of one stream; "
        "`torch.stack` makes one tensor of all streams'.",
    ],
    right="Same letter, same label within a stream; dealt anew in the next. Now only a memory helps.",
)
