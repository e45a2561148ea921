"""Quizzes and exercises of lesson 06, Siamese networks."""
import torch

from metalearn_lite.pairs import distance

from . import Exercise, Mistake, Property, Quiz, slopes

# ------------------------------------------------------------------------------------------------------ warm-up

WARM_UP = (
    Quiz("1. (Lesson 00) A 5-way 1-shot task, answered by the nearest centroid. What is the centroid of a class?", [
        ("the one example of the class, embedded", True, "The mean of one vector is that vector. So with one shot the "
                                                         "nearest centroid is the nearest neighbour."),
        ("the mean of the five examples of the task", False, "That would be one point for all classes. Each class has a "
                                                             "centroid of its own."),
        ("the mean of the queries of the class", False, "Nobody knows which queries belong to a class: that is the "
                                                        "question."),
    ]),
    Quiz("2. (Lesson 04) A pretrained, frozen embedding with the nearest centroid meets five new letters. Which weights "
         "are trained on them?", [
        ("those of a new head", False, "A linear probe has a new head. The centroid rule has no weights at all."),
        ("none", True, "The centroids are computed, not trained. All that was learned, was learned before: keep this in "
                       "mind today."),
        ("those of the last layer", False, "Frozen means frozen. Fine-tuning would move them."),
    ]),
    Quiz("3. (Lesson 05) You want to embed an image today and compare it with a query that comes next week. Which batch "
         "norm do you need?", [
        ("the statistics of the batch at hand", False, "Then today's vector depends on the images that happened to be "
                                                       "beside it, and next week's on others."),
        ("running averages, in `eval()`", True, "Each image then has one vector, whatever its company. All networks of "
                                                "this lesson use them."),
        ("either: an embedding is an embedding", False, "Lesson 05's queries lost tens of points when they were "
                                                        "normalised in other company."),
    ]),
)

CLASS_OR_TASK = Quiz("An article says: \"A Siamese network brings similar tasks close together.\" What does it bring "
                     "close together?", [
    ("drawings of the same class", True, "Look at what enters the loss: two images, and whether they are of one class. "
                                         "No task occurs in it anywhere."),
    ("similar tasks", False, "Which line of the loss sees a task? It gets two images, and one bit about them."),
    ("letters of the same script", False, "Two letters of one script are a pair of two classes: they are pushed apart "
                                          "like any other two."),
])

PRIOR = Quiz("A door compares each visitor with one portrait. Of 1,000 visitors one is the person on it. The door accepts "
             "99 % of the right and 1 % of the wrong visitors. It opens. How likely is it the right one?", [
    ("99 %", False, "That is how often it opens for the right one. Count the others whom it lets in: 1 % of 999."),
    ("about 50 %", False, "That would be so with about one wrong visitor let in for each right one. Here 1 % of 999 are "
                          "about ten."),
    ("about 9 %", True, "About 1 right visitor and about 10 wrong ones pass. The rate of errors was measured on as many "
                        "right as wrong pairs; the world has another mixture."),
])

LINEAR = Quiz("Two prototypes in the plane. Where are the points to which a prototypical network gives both classes the "
              "same probability?", [
    ("on a circle around one of them", False, "On a circle the distance to one prototype is the same. Here the two "
                                              "distances have to be equal to each other."),
    ("on a straight line", True, "The squared length of z is in both distances and cancels. What is left is linear in z: "
                                 "the line half-way between the two."),
    ("it depends on the network", False, "The network decides where the points lie. Between the points and the answer "
                                         "stand only the distances."),
])

TOO_GOOD = Quiz("An untrained network reaches an AUC of 1.00 on the found pairs. What follows?", [
    ("Random weights are a good embedding for letters.", False, "On the lesson's pairs the same network was far below. "
                                                                "Only the pairs have changed."),
    ("The pairs can be told apart without knowing letters.", True,
     "Any function gives an image the same vector twice. So the distance of these pairs of one class is exactly 0."),
    ("The AUC is computed wrongly.", False, "It is the function that passed its check. It reports faithfully that the "
                                            "pairs are separated."),
])


# ----------------------------------------------------------------- what training needs of the functions below: a slope

CUT = "`.item()`, `.tolist()`, `float(...)`, `torch.tensor([...])`, `.detach()` and `no_grad` leave plain numbers"


# -------------------------------------------------------------------------------------------------- 1: contrastive


def contrastive(z1, z2, same, margin):
    d = distance(z1, z2)
    together = d ** 2
    apart = (margin - d).clamp(min=0) ** 2
    return (same * together + (1 - same) * apart).mean() / 2


def _contrastive(together=lambda d: d ** 2, apart=lambda d, m: (m - d).clamp(min=0) ** 2, of=lambda s: s,
                 end=lambda t: t.mean() / 2):
    """A wrong contrastive: one of its parts replaced."""
    def contrastive(z1, z2, same, margin):
        d = distance(z1, z2)
        return end(of(same) * together(d) + (1 - of(same)) * apart(d, margin))
    return contrastive


def _contrastive_each_kind(z1, z2, same, margin):
    d = distance(z1, z2)
    return ((d ** 2)[same == 1].mean() + ((margin - d).clamp(min=0) ** 2)[same == 0].mean()) / 2


def _contrastive_cases(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    cases = []
    for n, features, margin in ((6, 2, 1.5), (9, 3, 2.0), (8, 5, 0.7)):
        z1 = draw(n, features)
        step = draw(n, features)
        lengths = torch.linspace(0.1, 2.6, n, dtype=torch.float64)[torch.randperm(n, generator=generator)]
        same = (torch.arange(n) % 2 == 0).to(torch.float64)[torch.randperm(n, generator=generator)]
        same[lengths.argmin()], same[lengths.argmax()] = 0.0, 0.0  # a pair of two classes within the margin, one beyond
        z2 = z1 + step / step.norm(dim=1, keepdim=True) * lengths[:, None]
        cases.append((z1.requires_grad_(), z2.detach().requires_grad_(), same, margin))
    return cases


contrastive = Exercise(
    name="contrastive",
    reference=contrastive,
    cases=_contrastive_cases,
    mistakes=[
        Mistake(_contrastive(of=lambda s: 1 - s),
                "The two kinds of pairs are exchanged: you push drawings of one letter apart and pull two letters "
                "together. `same` is 1 for a pair of one letter."),
        Mistake(_contrastive(apart=lambda d, m: (m - d) ** 2),
                "Without the `clamp` a pair that is farther apart than the margin is pulled back to it. It is far "
                "enough: its loss should be 0."),
        Mistake(_contrastive(apart=lambda d, m: (m - d ** 2).clamp(min=0)),
                "You compare the margin with the squared distance, and square nothing after. The margin is a distance: "
                "first margin - d, then the clamp, then the square."),
        Mistake(_contrastive(apart=lambda d, m: (m - d ** 2).clamp(min=0) ** 2),
                "The margin is compared with the squared distance. It is a distance: margin - d."),
        Mistake(_contrastive(apart=lambda d, m: (m ** 2 - d ** 2).clamp(min=0)),
                "max(0, m² - d²) is another loss than max(0, m - d)². First the difference, then the square."),
        Mistake(_contrastive(apart=lambda d, m: (m - d).clamp(min=0)),
                "The pairs of two letters lack their square: max(0, margin - d)²."),
        Mistake(_contrastive(together=lambda d: d, apart=lambda d, m: (m - d).clamp(min=0)),
                "The squares are missing, in both parts."),
        Mistake(_contrastive(together=lambda d: d), "The pairs of one letter lack their square: d²."),
        Mistake(_contrastive(end=lambda t: t.mean()), "The factor ½ is missing."),
        Mistake(_contrastive(end=lambda t: t.sum() / 2),
                "You add up over the pairs: take their mean, or twice as many pairs would make twice as long a step."),
        Mistake(_contrastive(end=lambda t: t / 2),
                "That is the loss of each pair. One number is asked for: their mean."),
        Mistake(_contrastive(apart=lambda d, m: (d - m).clamp(min=0) ** 2),
                "Your loss of two letters grows when they are farther apart than the margin. They should be pushed when "
                "they are nearer than it: margin - d."),
        Mistake(_contrastive(apart=lambda d, m: (1 - d).clamp(min=0) ** 2),
                "You compare the distance with 1. The margin is an argument, and here it is another number."),
        Mistake(_contrastive(apart=lambda d, m: torch.zeros_like(d)),
                "Only the pairs of one letter pay. So everything may go to one point: the pairs of two letters lack their "
                "part, with (1 - same)."),
        Mistake(_contrastive(together=lambda d: torch.zeros_like(d)),
                "Only the pairs of two letters pay. The pairs of one letter lack their part, same times d²."),
        Mistake(_contrastive_each_kind, "You average each kind apart: the formula divides by all n pairs."),
        Mistake(_contrastive(end=lambda t: t.mean().detach() / 2),
                f"Right number, but no gradient leads back from it to z1 and z2: {CUT}. This is the loss that trains the "
                "network: return the tensor."),
    ],
    probe=lambda answer, z1, z2, same, margin: slopes(answer, z1, z2),
    hints=[
        "Two losses, one for each kind of pair. `same` is 1 or 0, so `same * ...` keeps one kind and `(1 - same) * ...` "
        "the other.",
        "max(0, t) of a tensor t is `t.clamp(min=0)`. Square it after the clamp.",
        "`apart` is the square of `(margin - d).clamp(min=0)`. At the end the mean over the n pairs, times one half.",
    ],
    right="One letter: nearer, always. Two letters: apart, but only up to the margin.",
)

# ---------------------------------------------------------------------------------------------------------- 2: auc


def auc(dist, same):
    one, two = dist[same == 1], dist[same == 0]  # pairs of one letter, pairs of two
    nearer = (one[:, None] < two[None, :]).double()
    equal = (one[:, None] == two[None, :]).double()
    return (nearer + equal / 2).mean()


def _auc(count):
    """A wrong auc: count(one (P, 1), two (1, N)) -> what each comparison counts."""
    def auc(dist, same):
        return count(dist[same == 1][:, None], dist[same == 0][None, :]).double().mean()
    return auc


def _auc_half(dist, same):
    middle = dist.median()
    return ((dist < middle).double() == same).double().mean()


def _auc_best(dist, same):
    return torch.stack([((dist <= t).double() == same).double().mean() for t in dist]).max()


def _auc_cases(generator):
    cases = []
    for n, ties in ((8, False), (15, True), (24, True)):
        same = (torch.rand(n, generator=generator) < 0.4).to(torch.float64)
        same[:2] = torch.tensor([1.0, 0.0])
        dist = torch.rand(n, generator=generator, dtype=torch.float64) + 0.4 * (1 - same)
        if ties:
            dist = (dist * 6).round() / 6
            dist[:2] = 0.5  # at least one tie between the two kinds
        cases.append((dist, same))
    return cases


auc = Exercise(
    name="auc",
    reference=auc,
    cases=_auc_cases,
    mistakes=[
        Mistake(_auc(lambda one, two: (one > two) + (one == two) / 2),
                "You have 1 minus the AUC. A small distance speaks for one letter: count where the pair of one letter "
                "is the nearer one."),
        Mistake(_auc(lambda one, two: one < two),
                "Right without ties. Where the two distances are equal the pair counts one half, not 0."),
        Mistake(_auc(lambda one, two: one <= two),
                "Right without ties. Where the two distances are equal the pair counts one half, not 1."),
        Mistake(_auc_half,
                "That is the accuracy at one threshold, the median. The AUC has no threshold: it compares each pair of one "
                "letter with each pair of two."),
        Mistake(_auc_best,
                "That is the accuracy at the best threshold. The AUC has no threshold: it compares each pair of one letter "
                "with each pair of two."),
    ],
    hints=[
        "`dist[same == 1]` are the distances of the pairs of one letter, (P,), and `dist[same == 0]` the others, (N,).",
        "Compare each with each: `one[:, None] < two[None, :]` is a (P, N) table of truth values; `.double()` makes 1 and "
        "0 of them.",
        "A tie counts one half: add `(one[:, None] == two[None, :]).double() / 2`, and take the mean of the table.",
    ],
    right="The chance that a pair of one letter is nearer than a pair of two. No threshold occurs in it.",
)

# --------------------------------------------------------------------------------------------------- 3: batch_hard


def batch_hard(z, y):
    d = distance(z[:, None], z[None, :])
    one = y[:, None] == y[None, :]
    itself = torch.eye(len(y), dtype=torch.bool)
    positive = d.masked_fill(~one | itself, -torch.inf).max(1).values
    negative = d.masked_fill(one, torch.inf).min(1).values
    return positive, negative


def _hard(positive=None, negative=None, squared=False, after=lambda p, n: (p, n)):
    """A wrong batch_hard: positive(d, one, itself) or negative(d, one, itself) replaced."""
    def batch_hard(z, y):
        d = distance(z[:, None], z[None, :])
        d = d ** 2 if squared else d
        one, itself = y[:, None] == y[None, :], torch.eye(len(y), dtype=torch.bool)
        p = positive(d, one, itself) if positive else d.masked_fill(~one | itself, -torch.inf).max(1).values
        n = negative(d, one, itself) if negative else d.masked_fill(one, torch.inf).min(1).values
        return after(p, n)
    return batch_hard


def _batch_hard_root(z, y):
    d = (z[:, None] - z[None, :]).pow(2).sum(-1).sqrt()
    one, itself = y[:, None] == y[None, :], torch.eye(len(y), dtype=torch.bool)
    return d.masked_fill(~one | itself, -torch.inf).max(1).values, d.masked_fill(one, torch.inf).min(1).values


def _both_slopes(answer, z, y):
    return [slope for part in answer for slope in slopes(part, z)]


def _average(d, mask):
    return (d * mask).sum(1) / mask.sum(1)


def _batch_hard_cases(generator):
    cases = []
    for counts, features in (((2, 3, 2), 2), ((3, 2, 4, 3), 3), ((4, 4), 5)):
        y = torch.tensor([label for label, n in enumerate(counts) for _ in range(n)])
        y = y[torch.randperm(len(y), generator=generator)]
        centre = torch.randn(len(counts), features, generator=generator, dtype=torch.float64)
        z = centre[y] + 0.6 * torch.randn(len(y), features, generator=generator, dtype=torch.float64)
        cases.append((z.requires_grad_(), y))
    return cases


batch_hard = Exercise(
    name="batch_hard",
    reference=batch_hard,
    cases=_batch_hard_cases,
    mistakes=[
        Mistake(_hard(positive=lambda d, one, itself: d.masked_fill(~one | itself, torch.inf).min(1).values),
                "Your positive is the nearest of the same letter: the easiest. The hardest is the farthest."),
        Mistake(_hard(positive=lambda d, one, itself: d.masked_fill(~one, torch.inf).min(1).values),
                "Your positive is the item itself, at distance 0. The hardest positive is the farthest other drawing of "
                "its letter."),
        Mistake(_hard(positive=lambda d, one, itself: d.max(1).values),
                "Your positive is the farthest item of any letter. It has to be of the item's own."),
        Mistake(_hard(negative=lambda d, one, itself: d.masked_fill(itself, torch.inf).min(1).values),
                "Your negative is the nearest other item, and may be of the same letter. A negative is of another one."),
        Mistake(_hard(negative=lambda d, one, itself: d.min(1).values),
                "Your negative is the item itself, at distance 0: the smallest number of each row stands on the diagonal. "
                "A negative is of another letter."),
        Mistake(_hard(negative=lambda d, one, itself: d.masked_fill(one, -torch.inf).max(1).values),
                "Your negative is the farthest of the other letters: the easiest. The hardest is the nearest."),
        Mistake(_hard(positive=lambda d, one, itself: d.masked_fill(~one | itself, torch.inf).min(1).values,
                      negative=lambda d, one, itself: d.masked_fill(one, -torch.inf).max(1).values),
                "Both are the easiest: the nearest of the same letter, the farthest of the others. Hard is the reverse."),
        Mistake(_hard(after=lambda p, n: (n, p)), "Right numbers in the wrong order: first the positive, then the negative."),
        Mistake(_hard(squared=True), "Right items, but the distances are squared."),
        Mistake(_hard(positive=lambda d, one, itself: _average(d, one & ~itself),
                      negative=lambda d, one, itself: _average(d, ~one)),
                "You average over all positives and all negatives. Take the hardest of each."),
        Mistake(_hard(after=lambda p, n: (p.detach(), n.detach())),
                f"Right numbers, but no gradient leads back from them to z: {CUT}. These distances train the network: keep "
                "them tensors (`torch.stack` makes one of a list of tensors)."),
        Mistake(_hard(after=lambda p, n: (p.detach(), n)),
                f"The gradient of the positives is cut: {CUT}. Only the negatives would train the network."),
        Mistake(_hard(after=lambda p, n: (p, n.detach())),
                f"The gradient of the negatives is cut: {CUT}. Only the positives would train the network."),
        Mistake(_batch_hard_root,
                "Right numbers, but their gradient is nan: on the diagonal the distance is 0, and the slope of a square "
                "root at 0 is infinite. Use `d`, made by `distance`, which takes care of it."),
    ],
    probe=_both_slopes,
    hints=[
        "Two tables of truth values with the shape of `d`: `y[:, None] == y[None, :]` says which two are of one letter, "
        "`torch.eye(len(y), dtype=torch.bool)` which are the same item.",
        "To leave entries out of a maximum, write minus infinity there first: `d.masked_fill(mask, -torch.inf)` writes "
        "where the mask is True. Out of a minimum: plus infinity.",
        "Positive: leave out other letters and the item itself, then `.max(1).values`. Negative: leave out the own "
        "letter, then `.min(1).values`.",
    ],
    right="For each drawing, the worst that its own batch has to offer.",
)

# --------------------------------------------------------------------------------------------------- 4: prototypes


def prototypes(zs, ys, n):
    return torch.stack([zs[ys == k].mean(0) for k in range(n)])


def _prototypes(rule):
    """A wrong prototypes: rule(zs, ys, k, n) makes the one of class k."""
    def prototypes(zs, ys, n):
        return torch.stack([rule(zs, ys, k, n) for k in range(n)])
    return prototypes


def _prototypes_sorted(zs, ys, n):
    return zs.reshape(n, -1, zs.shape[1]).mean(1)


def _prototypes_interleaved(zs, ys, n):
    return zs.reshape(-1, n, zs.shape[1]).mean(0)


def _prototypes_unit(zs, ys, n):
    c = torch.stack([zs[ys == k].mean(0) for k in range(n)])
    return c / c.norm(dim=1, keepdim=True)


def _prototypes_first(zs, ys, n):
    return torch.stack([zs[ys == k].mean(0) for k in dict.fromkeys(ys.tolist())])


def _prototypes_cases(generator):
    cases = []
    for counts, features in (((3, 3), 4), ((2, 4, 3), 5), ((4, 1, 2, 5), 3)):
        y = torch.tensor([label for label, n in enumerate(counts) for _ in range(n)])
        while True:
            y = y[torch.randperm(len(y), generator=generator)]
            if y[0] != 0 and (y[:-1] > y[1:]).any():  # not sorted, and class 0 does not come first
                break
        z = torch.randn(len(y), features, generator=generator, dtype=torch.float64)
        cases.append((z.requires_grad_(), y, len(counts)))
    return cases


prototypes = Exercise(
    name="prototypes",
    reference=prototypes,
    cases=_prototypes_cases,
    mistakes=[
        Mistake(_prototypes_sorted,
                "You cut zs into n blocks and average each: that assumes that the examples come sorted by class, and as "
                "many of each. Ask `ys` who belongs to whom."),
        Mistake(_prototypes_interleaved,
                "You take every n-th example: that assumes a fixed order of the classes. Ask `ys` who belongs to whom."),
        Mistake(_prototypes(lambda zs, ys, k, n: zs[ys == k].sum(0)),
                "That is the sum of a class's examples. With one shot it is the same; with more, a class with many "
                "examples runs away. Take the mean."),
        Mistake(_prototypes(lambda zs, ys, k, n: zs[ys == k].sum(0) / (len(zs) / n)),
                "You divide by the same number for all classes. They may have unequal shots: divide by the class's own."),
        Mistake(_prototypes(lambda zs, ys, k, n: zs[ys == k].sum(0) / len(zs)),
                "You divide by the number of all examples. Divide by that of the class."),
        Mistake(_prototypes(lambda zs, ys, k, n: zs[ys == k][0]),
                "You keep the first example of each class and forget the others."),
        Mistake(_prototypes(lambda zs, ys, k, n: zs.mean(0)), "The labels are not used: all classes get the mean of all."),
        Mistake(_prototypes_unit, "Right, then cut to length 1. The prototype is the plain mean."),
        Mistake(_prototypes_first,
                "Right means in another order: row k has to be class k, not the k-th class that turns up in ys."),
        Mistake(_prototypes(lambda zs, ys, k, n: zs[ys == k].mean(0).detach()),
                f"Right means, but no gradient leads back from them to zs: {CUT}. The network is trained through its "
                "prototypes: keep them tensors (`torch.stack` makes one of a list of tensors)."),
    ],
    probe=lambda answer, zs, ys, n: slopes(answer, zs),
    hints=[
        "`zs[ys == k]` are the examples of class k. What is their mean, over the examples and not over the features?",
        "`.mean(0)` averages over the first dimension. Do it for each k in `range(n)`.",
        "`torch.stack` makes a tensor (n, D) of a list of n vectors (D,).",
    ],
    right="One point for each class: from here on the task is a matter of distances.",
)

# ------------------------------------------------------------------------------------------------- 5: proto_linear


def proto_linear(c):
    return 2 * c, -(c ** 2).sum(1)


def _two(answer):
    """(W, b) of an answer, or (None, None) where it is not two tensors."""
    if isinstance(answer, (tuple, list)) and len(answer) == 2 and all(torch.is_tensor(t) for t in answer):
        return answer
    return None, None


def _has_form(fn, seed):
    c = _corners(seed)[0]
    W, b = _two(fn(c))
    return W is not None and W.shape == c.shape and b.shape == c.shape[:1]


def _b_has_no_features(fn, seed):
    c = _corners(seed)[0]
    W, b = _two(fn(c))
    return b is None or b.shape != c.shape


def _w_has_a_row_for_each_class(fn, seed):
    c = _corners(seed)[0]
    W, b = _two(fn(c))
    return W is None or W.shape != c.T.shape


def _corners(seed):
    """Three sets of prototypes (n, d), with n and d unequal."""
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(n, d, generator=generator, dtype=torch.float64)
            for n, d, scale in ((5, 4, 1), (2, 3, 0.7), (3, 7, 0.5))]


def _probabilities(fn, seed):
    """What the head makes of 20 points, for each set of prototypes: unlike W and b, this has one right answer only."""
    generator, found = torch.Generator().manual_seed(seed + 1), []
    for c in _corners(seed):
        z = 0.5 * torch.randn(20, c.shape[1], generator=generator, dtype=torch.float64)
        W, b = fn(c)
        found.append((z @ W.to(z.dtype).T + b.to(z.dtype)).softmax(1))
    return found


def _alike(fn, rule, seed):
    pairs = zip(_probabilities(fn, seed), _probabilities(rule, seed))
    return all(torch.allclose(p, q, rtol=0, atol=1e-5) for p, q in pairs)


def _never(rule, message):
    """A Property: its probabilities are not those of a known mistake."""
    return Property(lambda fn, seed: not _alike(fn, rule, seed), message, wrong=(rule,))


proto_linear = Exercise(
    name="proto_linear",
    reference=proto_linear,
    cases=[],  # many W and b are right: what does not change a softmax is free
    mistakes=[],
    properties=[
        Property(_b_has_no_features,
                 "Your b has a number for each feature. ‖c‖² is a sum over them: one number for each class.",
                 wrong=(lambda c: (2 * c, -(c ** 2)),)),
        Property(_w_has_a_row_for_each_class,
                 "W is the wrong way round: a row for each class, as in `nn.Linear`, so that W z gives a logit for each.",
                 wrong=(lambda c: (2 * c.T, -(c ** 2).sum(1)),)),
        Property(_has_form,
                 "Two tensors are asked for: W with the shape of c, (N, D), and b with one number for each class, (N,).",
                 wrong=(lambda c: (2 * c, -(c ** 2).sum(1, keepdim=True)),)),
        _never(lambda c: (2 * c, torch.zeros_like(c[:, 0])),
               "Without -‖c‖² a class whose prototype lies far from the origin wins too often."),
        _never(lambda c: (c, -(c ** 2).sum(1)),
               "The factor 2 is missing: in ‖z - c‖² stands 2 c·z."),
        _never(lambda c: (c, -(c ** 2).sum(1) / 2),
               "These logits are half of the right ones. The winner is the same, so a test of accuracies would pass; but "
               "the probabilities are flatter."),
        _never(lambda c: (2 * c, -c.norm(dim=1)),
               "The bias has the length of c. It takes its square, ‖c‖²."),
        _never(lambda c: (2 * c, (c ** 2).sum(1)),
               "The sign of the bias: the logit is minus the squared distance, so ‖c‖² comes with a minus."),
        _never(lambda c: (-2 * c, (c ** 2).sum(1)),
               "You have the squared distance itself. The logit is minus that: turn both signs."),
        _never(lambda c: (-2 * c, -(c ** 2).sum(1)),
               "The sign of W: minus times minus. The logit -‖z - c‖² holds +2 c·z."),
        _never(lambda c: (2 * c, -(c ** 2).mean(1)),
               "Your bias is a mean over the features. ‖c‖² is their sum."),
        Property(lambda fn, seed: _alike(fn, proto_linear.reference, seed),
                 "softmax(W z + b) is not the prototypical network's for points z drawn at random. Multiply the square "
                 "out once more: what stands with z, and what stands with c alone?",
                 wrong=(lambda c: (3 * c, -(c ** 2).sum(1)),)),
    ],
    hints=[
        "Write out -‖z - c‖² = -(z - c)·(z - c), three terms. Which one is the same for all classes?",
        "-‖z‖² is the same for all classes and drops out of the softmax. What is left: a term with c·z, and one with c "
        "alone.",
        "W holds what multiplies z, a row for each class; b holds the rest, one number for each class: `(c ** 2).sum(1)` "
        "gives the ‖c‖².",
    ],
    right="A linear layer whose weights nobody trained: the support set wrote them.",
)

# ---------------------------------------------------------------------------------------------- bug hunt: partners


def partners(a, classes, drawings, seed):
    generator = torch.Generator().manual_seed(seed)
    b = a.clone()
    b[1::2, 0] = (b[1::2, 0] + torch.randint(1, classes, (len(a) // 2,), generator=generator)) % classes
    b[:, 1] = (b[:, 1] + torch.randint(1, drawings, (len(a),), generator=generator)) % drawings
    return b


def _partners_listing(a, classes, drawings, seed):
    generator = torch.Generator().manual_seed(seed)
    b = a.clone()
    b[1::2, 0] = (b[1::2, 0] + torch.randint(1, classes, (len(a) // 2,), generator=generator)) % classes
    return b


def _partners(drawing, other=lambda g, k, classes, c: (c + torch.randint(1, classes, (k,), generator=g)) % classes):
    """A wrong repair: drawing(generator, n, drawings, old) gives the new drawings, other(...) the other classes."""
    def partners(a, classes, drawings, seed):
        generator, b = torch.Generator().manual_seed(seed), a.clone()
        b[1::2, 0] = other(generator, len(a) // 2, classes, a[1::2, 0])
        b[:, 1] = drawing(generator, len(a), drawings, a[:, 1])
        return b
    return partners


def _another(generator, n, drawings, old):
    return (old + torch.randint(1, drawings, (n,), generator=generator)) % drawings


def _only(rows):
    def partners(a, classes, drawings, seed):
        generator, b = torch.Generator().manual_seed(seed), a.clone()
        b[1::2, 0] = (b[1::2, 0] + torch.randint(1, classes, (len(a) // 2,), generator=generator)) % classes
        b[rows, 1] = _another(generator, len(a[rows]), drawings, a[rows, 1])
        return b
    return partners


def _partners_all_other(a, classes, drawings, seed):
    generator, b = torch.Generator().manual_seed(seed), a.clone()
    b[:, 0] = (b[:, 0] + torch.randint(1, classes, (len(a),), generator=generator)) % classes
    b[:, 1] = _another(generator, len(a), drawings, a[:, 1])
    return b


def _partners_in_place(a, classes, drawings, seed):
    generator = torch.Generator().manual_seed(seed)
    a[1::2, 0] = (a[1::2, 0] + torch.randint(1, classes, (len(a) // 2,), generator=generator)) % classes
    a[:, 1] = _another(generator, len(a), drawings, a[:, 1])
    return a


def _partners_by_classes(most):
    """A wrong repair: the listing's line for the classes, copied for the drawings; most(classes, drawings) is mended."""
    def partners(a, classes, drawings, seed):
        generator, b = torch.Generator().manual_seed(seed), a.clone()
        b[1::2, 0] = (b[1::2, 0] + torch.randint(1, classes, (len(a) // 2,), generator=generator)) % classes
        b[:, 1] = (b[:, 1] + torch.randint(1, most(classes, drawings), (len(a),), generator=generator)) % classes
        return b
    return partners


def _firsts(n, classes, drawings, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(classes, (n,), generator=g), torch.randint(drawings, (n,), generator=g)], 1)


def _never_itself(fn, seed):
    a = _firsts(400, 5, 4, seed)
    b = fn(a, 5, 4, seed + 1)
    return bool((b[0::2, 0] == a[0::2, 0]).all()) and bool((b[0::2, 1] != a[0::2, 1]).all())


def _never_the_same_hand(fn, seed):
    a = _firsts(400, 5, 4, seed)
    return bool((fn(a, 5, 4, seed + 1)[1::2, 1] != a[1::2, 1]).all())


def _any_in_odd_rows(generator, n, drawings, old):
    found = _another(generator, n, drawings, old)
    found[1::2] = torch.randint(drawings, (n // 2,), generator=generator)
    return found


def _seed_decides(fn, seed):
    a = _firsts(400, 5, 4, seed)
    return torch.equal(fn(a, 5, 4, seed + 1), fn(a, 5, 4, seed + 1))


def _never_one_class(fn, seed):
    a = _firsts(400, 5, 4, seed)
    return bool((fn(a, 5, 4, seed + 1)[1::2, 0] != a[1::2, 0]).all())


def _all_exist(fn, seed):
    b = fn(_firsts(400, 5, 4, seed), 5, 4, seed + 1)
    return bool((b >= 0).all() and (b < torch.tensor([5, 4])).all())


def _every_partner(fn, seed):
    a = _firsts(800, 5, 4, seed)
    b = fn(a, 5, 4, seed + 1)
    steps = {((y - x) % 4).item() for x, y in zip(a[:, 1], b[:, 1])}
    jumps = {((y - x) % 5).item() for x, y in zip(a[1::2, 0], b[1::2, 0])}
    other = fn(a, 5, 4, seed + 2)
    return steps >= {1, 2, 3} and jumps == {1, 2, 3, 4} and not torch.equal(b, other)


partners = Exercise(
    name="partners",
    reference=partners,
    cases=[(_firsts(n, 2, 2, seed), 2, 2, seed) for n, seed in ((8, 0), (12, 1), (20, 2))],  # two of each: one answer
    start=_partners_listing,
    mistakes=[
        Mistake(_only(slice(0, None, 2)),
                "The pairs of one letter are mended. But a pair of two letters still gets the same drawing number, so "
                "always the same hand: then \"another hand\" means \"one letter\". Draw anew for all pairs."),
        Mistake(_only(slice(1, None, 2)),
                "You changed the drawing in the pairs of two letters. The fault is in the pairs of one letter: there the "
                "partner is the very same image."),
        Mistake(_partners_all_other,
                "Now all pairs are of two letters. The rows 0, 2, 4, .. keep the class."),
        Mistake(_partners(lambda g, n, drawings, old: old + torch.randint(1, drawings, (n,), generator=g)),
                "Some drawing numbers are `drawings` or more, and there is no such drawing: take the remainder after "
                "division by `drawings`."),
        Mistake(_partners_in_place, "Right pairs, but `a` is changed in place: then a and b are the same. Work on a clone."),
    ],
    properties=[
        Property(_never_itself,
                 "Some images are still their own partner: a drawing drawn from all numbers may be the same again. Add 1 to "
                 "drawings - 1 to the old number, and take the remainder.",
                 wrong=(_partners(lambda g, n, drawings, old: torch.randint(drawings, (n,), generator=g)),)),
        Property(_never_the_same_hand,
                 "In the even rows the partner never has the same drawing number, in the odd rows it may: then \"the same "
                 "hand\" means \"two letters\". Draw the drawings of all rows in the same way.",
                 wrong=(_partners(_any_in_odd_rows),)),
        Property(_never_one_class,
                 "Some pairs in the odd rows are of one class: a class drawn from all numbers may be the same again.",
                 wrong=(_partners(_another, other=lambda g, k, n, c: torch.randint(n, (k,), generator=g)),)),
        Property(_all_exist,
                 "Some of your partners do not exist: a class is below `classes`, a drawing below `drawings`. Take the "
                 "remainder after division by the number that belongs to the column.",
                 wrong=(_partners_by_classes(lambda classes, drawings: drawings),
                        _partners_by_classes(lambda classes, drawings: classes))),
        Property(_every_partner,
                 "Every other drawing should come as a partner at some time, by chance. Yours come by a fixed rule.",
                 wrong=(_partners(lambda g, n, drawings, old: (old + 1) % drawings),)),
        Property(_seed_decides,
                 "The same seed gives other partners each time: draw with `generator=generator`, or nobody can repeat "
                 "your run.",
                 wrong=(_partners(lambda g, n, drawings, old: (old + torch.randint(1, drawings, (n,))) % drawings),)),
    ],
    hints=[
        "Column 0 of `a` and `b` is the class, column 1 the drawing. Which column of `b` does the listing never touch?",
        "The listing shows how to get another class: add a random number from 1 to classes - 1, and take the remainder "
        "after division by classes. Do the same with the drawings, in all rows.",
        "`torch.randint(1, drawings, (len(a),), generator=generator)` draws a number from 1 to drawings - 1 for each row. "
        "Add it to `b[:, 1]`, then `% drawings`.",
    ],
    right="Another drawing in every pair: now only the letter tells the two kinds apart.",
)
