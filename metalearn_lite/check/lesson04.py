"""Quizzes and exercises of lesson 04, transfer learning."""
import torch
from torch.nn import functional as F

from . import Exercise, Mistake, Property, Quiz

# ------------------------------------------------------------------------------------------------------ warm-up

WARM_UP = (
    Quiz("1. (Primer) A network with batch norm is in train() mode. You only call it, with no loss and no optimiser. "
         "What changes in it?", [
             ("Nothing: without an optimiser nothing moves.", False,
              "No weight moves. But in train() mode each call also writes to the running averages of batch norm."),
             ("Its running averages of mean and variance.", True,
              "They are buffers, no parameters: each call in train() mode updates them, and no optimiser is asked. "
              "You will see today what that does to a network that was meant to be frozen."),
             ("Its weights, a little.", False,
              "Weights are changed by an optimiser's step, and there is none. Something else is written, without one."),
         ]),
    Quiz("2. (Lesson 00) You compare two learners on the same 100 tasks. Why take the difference task by task?", [
        ("The mean of the differences is larger than the difference of the means.", False,
         "The two are equal. What changes is how sure you can be of it."),
        ("A hard task is hard for both, so its difficulty cancels, and the interval is narrower.", True,
         "That is the paired interval. Small gains, and there will be many today, cannot be seen without it."),
        ("So that no task is counted twice.", False,
         "Each task is counted once either way. Think of what the two scores on one task have in common."),
    ]),
    Quiz("3. (Lesson 01) A learner tries seven rates on the validation data and reports the best validation score. "
         "What is wrong?", [
             ("Nothing: the test data were not touched.", False,
              "They were not, but the reported number was itself chosen: it is the luckiest of seven."),
             ("The score was used to choose, so it is too good on average.", True,
              "Validation chooses, test reports. Today's last exercise makes a function of that sentence."),
             ("Seven rates are too few.", False,
              "More rates would make it worse: the best of many is luckier still."),
         ]),
)

# ------------------------------------------------------------------------------------------- 1: centroid_logits


def centroid_logits(zs, ys, zq, n):
    us = zs / zs.norm(dim=1, keepdim=True)
    uq = zq / zq.norm(dim=1, keepdim=True)
    c = torch.stack([us[ys == k].mean(0) for k in range(n)])
    c = c / c.norm(dim=1, keepdim=True)
    return 10 * uq @ c.T


def _centroids(means, score=None, unit_c=True):
    """A wrong centroid_logits: means(zs, us, ys, k) is one centroid; score(uq, c) the logits."""
    def centroid_logits(zs, ys, zq, n):
        us, uq = F.normalize(zs, dim=1), F.normalize(zq, dim=1)
        c = torch.stack([means(zs, us, ys, k) for k in range(n)])
        c = F.normalize(c, dim=1) if unit_c else c
        return 10 * uq @ c.T if score is None else score(uq, c)
    return centroid_logits


def _mean(zs, us, ys, k):
    return us[ys == k].mean(0)


def _sorted_assumed(zs, ys, zq, n):
    us, uq = F.normalize(zs, dim=1), F.normalize(zq, dim=1)
    return 10 * uq @ F.normalize(us.view(n, -1, us.shape[1]).mean(1), dim=1).T


def _centred_with_queries(zs, ys, zq, n):
    middle = torch.cat([zs, zq]).mean(0)
    return centroid_logits.reference(zs - middle, ys, zq - middle, n)


def _with_queries(zs, ys, zq, n):
    us, uq = F.normalize(zs, dim=1), F.normalize(zq, dim=1)
    return 10 * uq @ F.normalize(torch.stack([torch.cat([us[ys == k], uq]).mean(0) for k in range(n)]), dim=1).T


def _alone(fn, seed):
    """A query's logits do not depend on the other queries."""
    zs, ys, zq, n = _centroid_cases(torch.Generator().manual_seed(seed))[1]
    together = fn(zs, ys, zq, n)
    alone = torch.cat([fn(zs, ys, query[None], n) for query in zq])
    return bool(torch.allclose(together, alone, atol=1e-6))


def _centroid_cases(generator):
    def draw(shots, queries, d):
        n = len(shots)
        y = torch.arange(n).repeat_interleave(torch.tensor(shots))
        y = y[torch.randperm(len(y), generator=generator)]
        if bool((y.sort().values == y).all()):
            y = y.flip(0)
        zs = torch.randn(len(y), d, generator=generator, dtype=torch.float64)
        zs = zs * (1 + 4 * torch.arange(len(y), dtype=torch.float64) / len(y))[:, None]      # some are long
        return zs, y, 3 * torch.randn(queries, d, generator=generator, dtype=torch.float64), n

    small = (torch.tensor([[1.0, 0.0], [0.0, 4.0], [0.0, -2.0]], dtype=torch.float64), torch.tensor([0, 0, 1]),
             torch.tensor([[3.0, 4.0]], dtype=torch.float64), 2)
    return [small, draw([3, 3, 3], 4, 5), draw([2, 5, 1, 3], 6, 3)]


centroid_logits = Exercise(
    name="centroid_logits",
    reference=centroid_logits,
    cases=_centroid_cases,
    mistakes=[
        Mistake(_centroids(lambda zs, us, ys, k: zs[ys == k].mean(0)),
                "You averaged the vectors as they are (zs), and cut to length 1 only afterwards. A long vector then "
                "counts more than a short one. Average the vectors of length 1, us: one example, one vote."),
        Mistake(_centroids(lambda zs, us, ys, k: zs[ys == k].mean(0), unit_c=False),
                "You averaged the vectors as they are (zs). A long vector then counts more than a short one. Average "
                "the vectors of length 1, us, and cut the centroid to length 1 as well."),
        Mistake(_centroids(_mean, unit_c=False),
                "The centroid of vectors of length 1 is itself shorter than 1, and the shorter the less its examples "
                "agree. Yours is a plain product: a class with mixed examples loses for that alone. Divide c by its "
                "length too; then the product is the cosine."),
        Mistake(_centroids(_mean, lambda uq, c: -10 * uq @ c.T),
                "Right size, wrong sign. The cosine is large where two vectors point the same way, and the logit "
                "should be largest for the nearest class."),
        Mistake(_centroids(_mean, lambda uq, c: uq @ c.T),
                "These are the cosines, without the factor 10. A cosine is at most 1, and a softmax of such numbers "
                "is nearly flat."),
        Mistake(_centroids(_mean, lambda uq, c: -torch.cdist(uq, c).square()),
                "These are minus squared distances, lesson 00's rule. They rank the classes as the cosine does here, "
                "but asked for is 10 · cosine."),
        Mistake(_centroids(lambda zs, us, ys, k: us[ys == k][0]),
                "You use only the first example of each class. Average all of them."),
        Mistake(_sorted_assumed,
                "You cut the support into n equal blocks, as if it came sorted by class, with equally many examples "
                "of each. Choose the rows of class k by their labels: us[ys == k]."),
        Mistake(_with_queries,
                "Your centroids contain the queries. A centroid is the mean of the labelled support vectors alone."),
    ],
    properties=[
        Property(_alone,
                 "A query's logits change when the other queries are left out: some mean of yours runs over the "
                 "queries too. The support alone may be averaged.",
                 wrong=(_centred_with_queries,)),
    ],
    hints=[
        "Lesson 00's rule with another ruler. For each class: which rows of us belong to it, and what is their mean?",
        "`us[ys == k]` are the rows of class k; `.mean(0)` is their mean, (D,). Stack the n of them into (n, D). Then "
        "divide each by its length, as it is done for us above.",
        "The product of a unit vector with a unit vector is their cosine: uq @ c.T has the shape (Q, n). Mind the "
        "factor 10.",
    ],
    right="One example, one vote, however long its vector. With one shot the centroid is the example itself.",
)

# ------------------------------------------------------------------------------------------------ 2: trainable


def trainable(names, mode):
    block = {name: int(name.split(".")[2]) // 4 for name in names if name.startswith("embed.")}
    last = max(block.values())
    chosen = []
    for name in names:
        weight = name.endswith((".weight", ".bias"))
        if name.startswith("head.") or weight and (mode == "all" or mode == "last block" and block[name] == last):
            chosen.append(name)
    return chosen


def _chosen(wanted):
    """A wrong trainable: wanted(name, mode, block, last), with block and last None for the head."""
    def trainable(names, mode):
        block = {name: int(name.split(".")[2]) // 4 for name in names if name.startswith("embed.")}
        return [name for name in names if wanted(name, mode, block.get(name), max(block.values()))]
    return trainable


def _is_weight(name):
    return name.endswith((".weight", ".bias"))


def _is_norm(name):
    return name.startswith("embed.") and int(name.split(".")[2]) % 4 == 1


def _right(name, mode, block, last):
    return block is None or _is_weight(name) and (mode == "all" or mode == "last block" and block == last)


def _names_of(blocks, head_first=False):
    embed = []
    for b in blocks:
        embed += [f"embed.blocks.{4 * b}.weight", f"embed.blocks.{4 * b}.bias"]
        embed += [f"embed.blocks.{4 * b + 1}.{part}" for part in ("weight", "bias", "running_mean", "running_var",
                                                                  "num_batches_tracked")]
    head = ["head.weight", "head.bias"]
    return head + embed if head_first else embed + head


def _trainable_cases(generator):
    some = sorted(torch.randperm(10, generator=generator)[:5].tolist())
    return [(names, mode) for names in (_names_of(range(4)), _names_of(range(2), True), _names_of(some))
            for mode in ("head", "last block", "all")]


trainable = Exercise(
    name="trainable",
    reference=trainable,
    cases=_trainable_cases,
    mistakes=[
        Mistake(_chosen(lambda name, mode, block, last: block is None or mode == "all" or mode == "last block"
                        and block == last),
                "Your list holds running averages (running_mean, running_var, num_batches_tracked). They are buffers: "
                "no gradient reaches them, so no optimiser can train them. Only weights and biases belong here."),
        Mistake(_chosen(lambda name, mode, block, last: block is None or "running" not in name and (
            mode == "all" or mode == "last block" and block == last)),
                "You left out running_mean and running_var, but num_batches_tracked is a buffer too: a counter. Only "
                "weights and biases are trained."),
        Mistake(_chosen(lambda name, mode, block, last: _right(name, mode, block, last)
                        and (mode != "last block" or not _is_norm(name))),
                "With \"last block\" you left out the block's norm. Layer 13 belongs to block 3 as layer 12 does "
                "(13 // 4 = 3), and its weight and bias are trained with it."),
        Mistake(_chosen(lambda name, mode, block, last: _right(name, mode, block, last)
                        and (mode != "last block" or block is None or _is_norm(name))),
                "With \"last block\" you took the layer with the largest number alone. That is only the norm; the "
                "convolution before it belongs to the same block: compare the numbers of the blocks."),
        Mistake(_chosen(lambda name, mode, block, last: _right(name, mode, block, last) if mode != "last block"
                        else block is None or _is_weight(name) and block == 3),
                "You name the block's numbers, 12 and 13 or block 3. Another network has other numbers: the last block "
                "is the one with the largest."),
        Mistake(_chosen(lambda name, mode, block, last: block is not None and _right(name, mode, block, last)),
                "Your head is frozen. The head is new for each task and knows nothing: whatever else is trained, the "
                "head must be."),
        Mistake(_chosen(lambda name, mode, block, last: (mode != "last block" or block is not None)
                        and _right(name, mode, block, last)),
                "With \"last block\" your head is frozen. It is new and knows nothing: the head is trained in every "
                "mode."),
        Mistake(_chosen(lambda name, mode, block, last: (mode != "all" or block is not None)
                        and _right(name, mode, block, last)),
                "With \"all\" your head is left out. All means the embedding and the head."),
        Mistake(_chosen(lambda name, mode, block, last: _right(name, mode, block, last)
                        or _is_weight(name) and _is_norm(name)),
                "Your batch norm is left training: its weights and biases are in the list in every mode. In the modes "
                "\"head\" and \"last block\" the norms of frozen blocks are frozen with them."),
        Mistake(_chosen(lambda name, mode, block, last: _right(name, mode, block, last) and not _is_norm(name)),
                "You leave out the batch norms altogether. Where a block is trained, its norm is part of it: weight "
                "and bias of the norm are parameters like others. (Its running averages are not.)"),
        Mistake(_chosen(lambda name, mode, block, last: _right(
            name, mode, None if block is None else last - block, last)),
                "With \"last block\" you train the first block. Block 0 is next to the pixels; the last one, next to "
                "the head, has the largest number."),
        Mistake(_chosen(lambda name, mode, block, last: _is_weight(name) and (block is None or mode != "head")),
                "\"last block\" and \"all\" give the same list. In \"last block\" only the block with the largest "
                "number is trained, and the head."),
    ],
    hints=[
        "Three questions for each name: is it the head's? is it a parameter at all, or a running average? which block "
        "does it belong to?",
        "The head's names begin with \"head.\": always in the list. Parameters end in \".weight\" or \".bias\"; the "
        "averages of batch norm do not.",
        "For the others: a parameter is in the list if mode is \"all\", or if mode is \"last block\" and block[name] "
        "equals last.",
    ],
    right="The head always, the running averages never, and in between as much of the network as you dare.",
)

# ---------------------------------------------------------------------------------------------------- 3: rates


def rates(layers, lr, decay):
    top = len(layers) - 1
    return {name: lr / decay ** (top - i) for i, name in enumerate(layers)}


def _rates_cases(generator):
    blocks = ["blocks.0", "blocks.4", "blocks.8", "blocks.12", "head"]
    lr, decay = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    return [(["a", "b", "c"], 1.0, 2.0), (blocks, 0.03, 2.6), (["only"], 0.5, 10.0), (["x", "y"], 0.1, 1.0),
            (blocks[1:], 0.01 + lr, 1.5 + decay)]


rates = Exercise(
    name="rates",
    reference=rates,
    cases=_rates_cases,
    mistakes=[
        Mistake(lambda layers, lr, decay: {name: lr / decay ** i for i, name in enumerate(layers)},
                "The wrong way round: your first layer, next to the pixels, gets the largest rate. It is the most "
                "general one and should move least; the top one, `layers[-1]`, gets lr."),
        Mistake(lambda layers, lr, decay: {name: lr / decay ** (len(layers) - i) for i, name in enumerate(layers)},
                "Off by one: even your top layer is divided by decay. The top layer gets lr itself."),
        Mistake(lambda layers, lr, decay: {name: lr / decay ** (len(layers) - 1 - i) for i, name in
                                           enumerate(layers[:-1])},
                "The top layer has no rate. A layer without a rate is not trained at all."),
        Mistake(lambda layers, lr, decay: {name: lr / decay ** (len(layers) - 1 - i) for i, name in
                                           enumerate(layers) if i > 0},
                "The first layer has no rate. A layer without a rate is not trained at all."),
        Mistake(lambda layers, lr, decay: {name: lr * decay ** (len(layers) - 1 - i) for i, name in enumerate(layers)},
                "You multiply: your rates grow towards the pixels. Each layer gets decay times less than the one "
                "above it."),
        Mistake(lambda layers, lr, decay: {name: lr / (decay * (len(layers) - 1 - i) or 1) for i, name in
                                           enumerate(layers)},
                "You divide by decay times the depth. Each layer gets decay times less than the one above it, so two "
                "layers down it is decay squared."),
        Mistake(lambda layers, lr, decay: {name: lr if i == len(layers) - 1 else lr / decay for i, name in
                                           enumerate(layers)},
                "All your layers below the top have one rate. It falls by the factor decay from each layer to the "
                "next."),
        Mistake(lambda layers, lr, decay: dict.fromkeys(layers, lr),
                "All layers have the same rate; decay is not used."),
    ],
    hints=[
        "Write the rates for three layers, lr = 1 and decay = 2 on paper, from the top down. Then read them from the "
        "pixels up.",
        "The top layer is the last of the list: lr. One below it: lr / decay. Two below: lr / decay ** 2. So the "
        "exponent is the number of layers above.",
        "Above layer i of the list there are len(layers) - 1 - i layers.",
    ],
    right="The nearer to the pixels, the smaller the step. With decay = 1 all move alike; with a huge decay only the "
          "head moves: both extremes of fine-tuning are in this one number.",
)

# ----------------------------------------------------------------------------------------------- 4: early_stop


def early_stop(losses, patience):
    best = 0
    for step, loss in enumerate(losses):
        if loss < losses[best]:
            best = step
        if step - best == patience:
            return best, step
    return best, len(losses) - 1


def _stopping(better=lambda a, b: a < b, patience_of=lambda p: p, answer=lambda best, stop, losses: (best, stop)):
    def early_stop(losses, patience):
        best = 0
        for step, loss in enumerate(losses):
            if better(loss, losses[best]):
                best = step
            if step - best == patience_of(patience):
                return answer(best, step, losses)
        return answer(best, len(losses) - 1, losses)
    return early_stop


def _never_reset(losses, patience):
    best, waited = 0, 0
    for step, loss in enumerate(losses):
        if loss < losses[best]:
            best = step
        elif step > 0:
            waited += 1
        if waited == patience:
            return best, step
    return best, len(losses) - 1


def _rises_in_a_row(losses, patience):
    best, waited = 0, 0
    for step, loss in enumerate(losses):
        if loss < losses[best]:
            best = step
        waited = waited + 1 if step > 0 and loss >= losses[step - 1] else 0
        if waited == patience:
            return best, step
    return best, len(losses) - 1


def _early_stop_cases(generator):
    falling = 1 - torch.arange(12, dtype=torch.float64) / 20 + 0.3 * torch.rand(2, 12, generator=generator, dtype=torch.float64)
    return [([1.0, 0.8, 0.6, 0.7, 0.65, 0.66, 0.3, 0.2], 3), ([1.0, 0.9, 0.9, 0.9, 0.5], 2), ([3.0, 2.0, 1.0], 2),
            ([1.0, 1.1, 0.9, 1.0, 0.8, 0.9, 0.7, 1.0, 1.0, 1.0, 0.1], 2), ([1.0, 0.5, 0.9, 0.8, 0.7, 0.6, 0.55], 3),
            ([0.5, 0.6, 0.1], 1), ([2.0], 4), *[(losses, patience) for patience, losses in enumerate(falling.tolist(), 2)]]


early_stop = Exercise(
    name="early_stop",
    reference=early_stop,
    cases=_early_stop_cases,
    mistakes=[
        Mistake(_stopping(answer=lambda best, stop, losses: (stop, stop)),
                "You return the stop as the best: these weights are `patience` steps too old. Keep the step of the "
                "least loss apart."),
        Mistake(_stopping(answer=lambda best, stop, losses: (losses.index(min(losses)), stop)),
                "You look ahead: your best is the least of all losses, also of those behind the stop. Whoever has "
                "stopped never sees them."),
        Mistake(lambda losses, patience: (losses.index(min(losses)),
                                          min(losses.index(min(losses)) + patience, len(losses) - 1)),
                "You take the least of all losses first, and count `patience` from there. But training may have stopped "
                "long before that step. Walk along the losses, and forget that there are later ones."),
        Mistake(_stopping(answer=lambda best, stop, losses: (stop, best)),
                "The right two numbers, in the wrong order: first the step of the least loss, then the stop."),
        Mistake(lambda losses, patience: (losses.index(min(losses)), len(losses) - 1),
                "You never stop: all losses are looked at. Stop after `patience` steps without a new least."),
        Mistake(_stopping(patience_of=lambda p: p + 1),
                "One step too late. With the least loss at step 2 and patience 3, the steps 3, 4 and 5 bring nothing "
                "better, and 5 is the stop."),
        Mistake(_stopping(patience_of=lambda p: max(p - 1, 1)),
                "One step too early. With the least loss at step 2 and patience 3, the steps 3, 4 and 5 bring nothing "
                "better, and 5 is the stop."),
        Mistake(_stopping(better=lambda a, b: a <= b),
                "A loss that only equals the least so far is no new least. With `<=` a plateau goes on for ever."),
        Mistake(_never_reset,
                "Your count of steps without a new least is never set back to 0. A new least starts it again."),
        Mistake(_rises_in_a_row,
                "You compare each loss with the one before it. After a bad jump a loss may fall and fall, and still "
                "not be a new least: compare with the least so far."),
    ],
    hints=[
        "Walk along the losses and remember one thing: at which step the least of them so far was. How many steps "
        "ago is that?",
        "At each step: if the loss is less than losses[best], best becomes this step. Then, if step - best equals "
        "patience, return.",
        "Behind the loop: nobody ran out of patience, so the stop is the last step, len(losses) - 1.",
    ],
    right="The stop is always `patience` steps behind the best, or the end. What you keep are the weights of the best.",
)

# --------------------------------------------------------------------------------------------------- 5: select


def select(val, test):
    config = val.mean(1).argmax().item()
    scores = test[config]
    return config, scores.mean(), 1.96 * scores.std() / len(scores) ** 0.5


def _selection(config, scores=lambda val, test, c: test[c], width=lambda s: 1.96 * s.std() / len(s) ** 0.5):
    def select(val, test):
        c = config(val, test)
        s = scores(val, test, c)
        return c, s.mean(), width(s)
    return select


def _by_val(val, test):
    return val.mean(1).argmax().item()


def _select_cases(generator):
    """In each case five configurations that different rules would choose, and the right one is none of the others'.

    Nor is it the number of the easiest task, which comes out where somebody averages over the configurations.
    """
    cases = []
    for configs, tasks, more in ((5, 10, 14), (6, 12, 8)):
        first = int(torch.randint(configs, (1,), generator=generator))
        best, lucky, both, single, worst = ((first + k) % configs for k in range(5))
        val = 0.5 + 0.04 * torch.rand(configs, tasks, generator=generator, dtype=torch.float64)
        test = 0.5 + 0.04 * torch.rand(configs, more, generator=generator, dtype=torch.float64)
        val[best] += 0.2
        test[lucky] += 0.3
        val[both] += 0.1
        test[both] += 0.25
        val[single, (first - 1) % configs] = 0.99
        val[worst] -= 0.1
        cases.append((val, test))
    return cases


select = Exercise(
    name="select",
    reference=select,
    cases=_select_cases,
    mistakes=[
        Mistake(_selection(lambda val, test: test.mean(1).argmax().item()),
                "You chose by the test scores. Their best is the luckiest, and nothing is left to say how lucky. "
                "Choose by validation."),
        Mistake(_selection(_by_val, lambda val, test, c: val[c]),
                "You report the validation score of the winner. It has won because of that very score, so it is too "
                "good on average. Report its test score."),
        Mistake(_selection(_by_val, width=lambda s: 1.96 * s.std()),
                "The half-width lacks the square root of the number of tasks: yours says how far one task strays, not "
                "the mean."),
        Mistake(_selection(_by_val, width=lambda s: s.std() / len(s) ** 0.5),
                "That is the standard error. The half-width of the 95 % interval is 1.96 times as much."),
        Mistake(_selection(_by_val, width=lambda s: 1.96 * s.std(correction=0) / len(s) ** 0.5),
                "Your standard deviation divides by T. For a sample it divides by T - 1, as `.std()` does by itself."),
        Mistake(_selection(lambda val, test: val.mean(1).argmin().item()),
                "You chose the worst on validation. Accuracies: the larger the better."),
        Mistake(_selection(lambda val, test: val.max(1).values.argmax().item()),
                "You chose the configuration with the best single task. Choose by the mean over all tasks."),
        Mistake(_selection(lambda val, test: val.mean(0).argmax().item()),
                "You averaged over the configurations, which leaves one mean for each task. Average over the tasks: "
                "val.mean(1), one mean for each configuration."),
        Mistake(_selection(lambda val, test: (val.mean(1) + test.mean(1)).argmax().item()),
                "The test scores have a part in your choice. They must not: choose by validation alone."),
        Mistake(lambda val, test: (_by_val(val, test), test[_by_val(val, test)].mean(),
                                   1.96 * test[_by_val(val, test)].std() / val.shape[1] ** 0.5),
                "You divide by the root of the number of validation tasks. The interval is about the test tasks: use "
                "their number."),
    ],
    hints=[
        "Two steps that must not be mixed: first a number of a row, from val alone; then statistics of that row of "
        "test.",
        "`val.mean(1)` is one mean for each configuration; `.argmax()` the place of the largest.",
        "Of the row test[config]: mean, and 1.96 · std / √T with T = the number of test tasks (lesson 00's formula).",
    ],
    right="Validation chooses, test reports. The reported score may well be lower than the one that won: that is the "
          "luck going out of it.",
)

# ----------------------------------------------------------------------------------------- bug hunt: as_images


def as_images(rows):
    return rows.reshape(-1, 3, 32, 32) / 255


def _as_images_listing(rows):
    return rows.reshape(-1, 32, 32, 3).permute(0, 3, 1, 2) / 255


as_images = Exercise(
    name="as_images",
    reference=as_images,
    cases=lambda generator: [(torch.randint(0, 256, (n, 3072), generator=generator, dtype=torch.uint8),)
                             for n in (1, 4)],
    start=_as_images_listing,
    mistakes=[
        Mistake(lambda rows: rows.reshape(-1, 3, 32, 32).transpose(2, 3) / 255,
                "The colours are right, but rows and columns are exchanged: the pictures lie on their side. After red, "
                "green and blue the bytes come row by row, so nothing has to be turned."),
        Mistake(lambda rows: rows.reshape(-1, 3, 32, 32),
                "The order is right. But a network that was trained on values between 0 and 1 now gets values up to "
                "255: divide by 255."),
        Mistake(lambda rows: rows.reshape(-1, 3, 32, 32).flip(1) / 255,
                "Red and blue are exchanged: you turned the order of the colours round."),
        Mistake(lambda rows: rows.reshape(-1, 32, 3, 32).permute(0, 2, 1, 3) / 255,
                "Closer, but not yet: you read the bytes as 32 rows, each with its three colours. All of red comes "
                "first, 1,024 bytes of it."),
        Mistake(lambda rows: rows.reshape(-1, 32, 32, 3).permute(0, 3, 2, 1) / 255,
                "Another permute cannot mend it: the reshape before it has already dealt the bytes out wrongly. Read "
                "the text again: which index changes slowest in the file?"),
    ],
    hints=[
        "`reshape` only cuts the row of bytes into pieces. Which piece comes first in the file: one pixel's three "
        "colours, or one colour's 1,024 pixels?",
        "All of red, then all of green, then all of blue: the colour is the slowest index, so 3 stands before the two "
        "32s.",
        "Cut into (-1, 3, 32, 32). Then no `permute` is needed at all.",
    ],
    right="The colour is the slowest index in the file, so it comes first in the shape. `reshape` never moves a byte: "
          "it only believes you.",
)

# ---------------------------------------------------------------------------------------------- bug hunt: tune


def tune(z, y, old_head, way, lr, steps):
    head = torch.zeros(way, z.shape[1], dtype=z.dtype, requires_grad=True)
    optimiser = torch.optim.SGD([head], lr=lr)
    for step in range(steps):
        loss = F.cross_entropy(z @ head.T, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.detach()


def _tune_listing(z, y, old_head, way, lr, steps):
    head = old_head.clone().requires_grad_()
    optimiser = torch.optim.SGD([head], lr=lr)
    head = torch.zeros(way, z.shape[1], dtype=z.dtype, requires_grad=True)
    for step in range(steps):
        loss = F.cross_entropy(z @ head.T, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.detach()


def _tune_by_adam(z, y, old_head, way, lr, steps):
    head = torch.zeros(way, z.shape[1], dtype=z.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([head], lr=lr)
    for step in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(z @ head.T, y).backward()
        optimiser.step()
    return head.detach()


def _tune_from_random(z, y, old_head, way, lr, steps):
    start = torch.nn.Linear(z.shape[1], way, bias=False, dtype=z.dtype).weight.detach()
    return start - lr * steps * start.sign()


def _starts_at_zero(fn, seed):
    """Before any step the head is zero."""
    z, y, old_head, way, lr, _ = _tune_cases(torch.Generator().manual_seed(seed))[0]
    return bool((fn(z, y, old_head, way, lr, 0) == 0).all())


def _tuned(start=None, step=None, every=False):
    def tune(z, y, old_head, way, lr, steps):
        head = torch.zeros(way, z.shape[1], dtype=z.dtype) if start is None else start(old_head, way)
        total = torch.zeros_like(head)
        for number in range(steps):
            head = head.detach().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(z @ head.T, y), head)
            total = total + g
            head = head - lr * (total if every else g)
            if step == "once":
                break
        return head.detach()
    return tune


def _tune_cases(generator):
    cases = []
    for way, shot, d in ((2, 3, 4), (3, 2, 5)):
        y = torch.arange(way).repeat(shot)
        z = torch.randn(way * shot, d, generator=generator, dtype=torch.float64)
        cases.append((z, y, torch.randn(9, d, generator=generator, dtype=torch.float64), way, 0.5, 4))
    return cases


tune = Exercise(
    name="tune",
    reference=tune,
    cases=_tune_cases,
    start=_tune_listing,
    mistakes=[
        Mistake(_tuned(every=True),
                "Now the right head is trained, but its gradients pile up: each step walks along the sum of all "
                "gradients so far. `optimiser.zero_grad()` has to clear the head that is trained."),
        Mistake(_tuned(start=lambda old_head, way: old_head[:way].clone()),
                "Your head starts as the first rows of the old one. Those rows belong to other letters. A new head "
                "starts at zero here, as in the listing."),
        Mistake(_tuned(start=lambda old_head, way: old_head.clone()),
                "You train the old head with all its classes. The task has `way` classes: return a head of `way` rows "
                "that starts at zero."),
        Mistake(_tuned(step="once"),
                "Only one step is taken. All `steps` of them belong into the loop."),
        Mistake(_tune_by_adam,
                "Trained it is, but by Adam. Keep the listing's optimiser, SGD."),
    ],
    properties=[
        Property(_starts_at_zero,
                 "Your head does not start at zero: with steps=0 it should come back as zeros. A layer as PyTorch makes "
                 "it starts at random; here the new head starts at zero, as in the listing.",
                 wrong=(_tune_from_random,)),
    ],
    hints=[
        "Which tensor does the optimiser hold, and which one does the loss depend on? `is` tells whether two names "
        "mean one tensor.",
        "The optimiser is built before the new head exists. It holds what the name `head` meant at that moment.",
        "First make the new head, then give it to the optimiser. The old head is not needed at all.",
    ],
    right="An optimiser holds tensors, not names. Whoever replaces a layer after building the optimiser trains the "
          "layer that was thrown away.",
)

# ----------------------------------------------------------------------------------------------------- quizzes

FROZEN = Quiz("A colleague freezes a network with requires_grad_(False) on every parameter, and leaves it in train() "
              "mode while a new head learns. What is frozen?", [
                  ("Everything.", False,
                   "The printout above says otherwise: no weight moved, and yet the same image got another vector."),
                  ("The weights. Not the running averages of batch norm, and not what a batch does to its members.",
                   True,
                   "requires_grad is about gradients. The averages are no parameters: they are written in the forward "
                   "pass. And in train() mode an image's vector depends on who else is in the batch. eval() is the "
                   "other half of freezing."),
                  ("Nothing: requires_grad_(False) only saves memory.", False,
                   "The weights did stay the same: no gradient, no step. Look at what else the network holds."),
              ])

REMEDY = Quiz("A remedy against over-fitting shows a paired difference of +0.1 ± 0.6 points on 40 tasks. What do you "
              "write?", [
                  ("It helps, by 0.1 points.", False,
                   "The interval reaches from -0.5 to +0.7. The sign is not decided."),
                  ("It does nothing.", False,
                   "That is not shown either: a gain or a loss of half a point would look the same on 40 tasks."),
                  ("Here its effect is probably smaller than 0.7 points, and its sign is open.", True,
                   "An interval around 0 is a result: it bounds the mean over all tasks drawn like these, with this "
                   "network, at this setting. More tasks would narrow it."),
              ])

ERASED = Quiz("Why does the network that reads letters best tell hands apart badly?", [
    ("It was trained too briefly.", False,
     "Longer training would make it better at letters, and probably worse at hands. What was the training asked to "
     "treat alike?"),
    ("Its training rewarded giving the same vector to all hands that write one letter.", True,
     "What varies within a training class is what the network learns to ignore. Here that is the whole task. So ask "
     "of a source: does it keep what my target needs?"),
    ("Hands cannot be told apart in 28x28 pixels.", False,
     "Other learners in the same table tell them apart better, from the same pixels."),
])

SHARED = Quiz("Pretraining never saw a task, a support set or a query. Why is its embedding good at tasks?", [
    ("It has seen the letters of the test scripts.", False,
     "No: the split is by script, for both networks."),
    ("To tell 765 letters apart it had to put drawings of one letter close together, and that is what a centroid "
     "needs.", True,
     "Both trainings shape one embedding by comparing classes: one against 764 others by a learned weight for each, "
     "the other against a few by their centroids. What differs is what they are asked at the end: many fixed classes, "
     "or a few new ones."),
    ("Cross-entropy always makes few-shot learners.", False,
     "The table of section 6 shows a task at which this embedding fails. It depends on what the classes of the source "
     "are."),
])

COMPANY = Quiz("The network is left in train() mode at test time. Which finding convicts the mode, and not the network?",
               [
                   ("The accuracy changes when the same queries come in other company.", True,
                    "The weights are the same and the query is the same. Only the batch differs, and in eval() mode it "
                    "would not matter. A prediction that depends on the other queries is called transductive: it may "
                    "score higher or lower, and it answers another question."),
                   ("The accuracy is lower than before.", False,
                    "In one of the rows it may be higher. A level convicts nobody: compare the same queries in "
                    "different company."),
                   ("The loss is not finite.", False, "It is finite throughout. The evidence is in the three rows."),
               ])
