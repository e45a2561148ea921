"""Quizzes and exercises of lesson 00, What is a task?"""
import torch

from . import Exercise, Mistake, Property, Quiz

# ---------------------------------------------------------------------------------------------------- quizzes

WARM_UP = (
    Quiz("1. z has shape (25, 32) and c has shape (5, 32). What is the shape of (z[:, None] - "
         "c[None]).square().sum(-1)?", [
        ("(25, 5)", True, "(25, 1, 32) - (1, 5, 32) gives (25, 5, 32), and the sum removes the 32: the squared "
                          "distance of each of 25 points to each of 5. You will need exactly this today."),
        ("(25, 32)", False, "The None adds a dimension of size 1. Broadcasting stretches it to 5, so the 5 has to be "
                            "somewhere."),
        ("(30, 32)", False, "Broadcasting never puts rows below each other. That would be torch.cat."),
        ("an error", False, "z and c alone would not fit, but with None the shapes are (25, 1, 32) and (1, 5, 32): "
                            "aligned at the right, each pair of sizes is equal or holds a 1."),
    ]),
    Quiz("2. A network must choose among 20 classes and knows nothing: all its logits are equal. Which cross-entropy "
         "do you read?", [
        ("0.05", False, "That is the probability of the true class, 1/20. The loss is minus its logarithm."),
        ("0.69", False, "That is log 2, for two classes."),
        ("1.61", False, "That is log 5, for five classes."),
        ("3.00", True, "-log(1/20) = log 20 = 3.00."),
    ]),
    Quiz("3. A network with batch norm turns 4,880 images into vectors, batch by batch, and you keep these. Which mode "
         "must it be in?", [
        ("train()", False, "Then a vector depends on which images happened to share its batch, and the running "
                           "averages move as well."),
        ("eval()", True, "Batch norm then uses its running averages, so each image has one vector, whatever stood "
                         "beside it."),
        ("either, as long as torch.no_grad() is on", False, "no_grad() only stops the recording for gradients. Batch "
                                                            "norm does not look at it."),
    ]),
)

SHOT = Quiz("A 20-way 5-shot task with 3 queries of each class. How many labelled images does the learner get?", [
    ("5", False, "5-shot means five labelled images of each class, not five in all."),
    ("20", False, "That would be one of each class, a 20-way 1-shot task."),
    ("100", True, "Ways times shots, 20 · 5 = 100: the support set. The 60 queries have labels too, but the learner "
                  "does not see them."),
    ("160", False, "You counted the 60 queries as well. Their labels are for scoring; the learner never sees them."),
])

LOOPS = Quiz("You train ten networks, each with another step size, and keep the one with the best score. On which "
             "tasks do you "
             "take these ten scores?", [
                 ("tasks from the training scripts", False, "There the network may have learnt its letters by heart, "
                                                            "and the best score would reward that."),
                 ("tasks from the validation scripts", True, "Choosing is what meta-validation is for. The winner's "
                                                             "score is then a little too good, because it won; so a "
                                                             "last, untouched set of tasks remains."),
                 ("tasks from the test scripts", False, "Then the test has chosen, and the best of ten scores is "
                                                        "partly luck. A test that has been used for a choice is a "
                                                        "second validation set."),
             ])

COVERS = Quiz("Two papers report 92.4 ± 0.6 % and 91.5 ± 0.6 %, both on 600 tasks. What does the ± 0.6 cover?", [
    ("which tasks happened to be drawn from these letters", True,
     "And nothing else. Other test scripts, other training letters or another seed move the score too, and no interval "
     "over tasks of one trained network can show that."),
    ("which tasks were drawn, and which letters stood in the test", False,
     "All 600 tasks are drawn from one set of test letters. With other scripts in the test the score would be another "
     "one, and drawing more tasks from these cannot tell how far off."),
    ("which tasks were drawn, and training again from another seed", False,
     "One network was trained, so nothing is known about the next one. To cover that you must train several times."),
    ("the accuracy of a single task", False, "Single tasks vary far more. The interval is about the mean over all "
                                             "tasks."),
    ("the difference between the two papers", False, "Each interval is about its own mean. For the difference you "
                                                     "need both learners on the same tasks, as in section 5."),
])

# ---------------------------------------------------------------------------------------------------- 1: relabel


def relabel(support_classes, query_classes):
    order = list(dict.fromkeys(support_classes))
    label = {c: n for n, c in enumerate(order)}
    support_y = [label[c] for c in support_classes]
    query_y = [label[c] for c in query_classes]
    return support_y, query_y


def _relabel_with(queries):
    """The right labels for the support; those of the queries come from queries(support_classes, query_classes)."""
    return lambda s, q: (relabel.reference(s, q)[0], queries(s, q))


def _own_labels(classes):
    order = list(dict.fromkeys(classes))
    return [order.index(c) for c in classes]


def _relabel_cases(generator):
    cases = [([612, 40, 377], [377, 612, 40, 40]),
             ([612, 612, 40, 40, 377, 377], [377, 40, 612, 612]),
             ([5, 5, 700, 700, 31, 31, 64, 64], [64, 700, 64]),
             ([7, 3, 7, 3], [3, 7, 3])]
    for way, shot, query in ((4, 2, 7), (6, 3, 10)):
        ids = torch.randperm(1264, generator=generator)[:way]
        support = ids.repeat(shot)[torch.randperm(way * shot, generator=generator)]
        cases.append((support.tolist(), ids[torch.randint(way, (query,), generator=generator)].tolist()))
    return cases


relabel = Exercise(
    name="relabel",
    reference=relabel,
    cases=_relabel_cases,
    mistakes=[
        Mistake(_relabel_with(lambda s, q: _own_labels(q)),
                "You number the queries by themselves: the first class among the queries becomes 0, whatever it was "
                "in the support. A label is a promise between the two sets: class 377 is 2 in the support, so it is "
                "2 among the queries."),
        Mistake(_relabel_with(lambda s, q: [sorted(set(q)).index(c) for c in q]),
                "You number the queries by themselves, in sorted order. The support has already said which class is "
                "0: use its numbers."),
        Mistake(_relabel_with(lambda s, q: [sorted(set(s)).index(c) for c in q]),
                "You number by sorted class numbers, but the support's labels follow the order of first appearance. "
                "The two sets must use the same numbers: `label` has them."),
        Mistake(_relabel_with(lambda s, q: list(q)),
                "You keep the numbers that the classes have in the data set, such as 612. Within a 3-way task the "
                "labels are 0, 1 and 2."),
        Mistake(lambda s, q: (list(s), list(q)),
                "You keep the numbers that the classes have in the data set, in both sets. Within an N-way task the "
                "labels are 0..N-1."),
        Mistake(_relabel_with(lambda s, q: [s.index(c) for c in q]),
                "You return the position of the class in the support list. With one shot that is the label, by luck. "
                "With two shots the second class stands at position 2, and its label is 1."),
        Mistake(_relabel_with(lambda s, q: [{c: n for n, c in enumerate(s)}[c] for c in q]),
                "You number the places of the support list, and a class gets the last place where it stands. With one "
                "shot that is the label, by luck. With two shots the first class ends at place 1, and its label is 0."),
        Mistake(_relabel_with(lambda s, q: relabel.reference(s, q)[0]),
                "These are the support's labels again. The queries stand in an order of their own."),
        Mistake(lambda s, q: relabel.reference(s, q)[1], "You return the labels of the queries only. Return both "
                                                         "lists: support_y, query_y."),
    ],
    hints=[
        "Look at the line that makes `support_y`. What does `label` know about a class?",
        "`label[612]` is the label of class 612 in this task. Which list of classes must be looked up now?",
        "The same line as for the support, for each c in `query_classes`, with the same `label`.",
    ],
    right="Both sets use one numbering, made from the support. A class that is 0 here may be 3 in the next task.",
)

# ---------------------------------------------------------------------------------------------------- 2: draw_episode


def draw_episode(class_ids, images_per_class, way, shot, query, seed):
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(class_ids), generator=generator).tolist()
    classes = [class_ids[i] for i in order[:way]]
    support, queries = [], []
    for c in classes:
        images = torch.randperm(images_per_class, generator=generator).tolist()
        support += [(c, i) for i in images[:shot]]
        queries += [(c, i) for i in images[shot:shot + query]]
    return support, queries


def _draw_with(classes=None, images=None, seeded=lambda seed: torch.Generator().manual_seed(seed)):
    """A wrong draw_episode, by its own classes(class_ids, way, generator) or images(P, shot, query, generator)."""
    def draw_episode(class_ids, images_per_class, way, shot, query, seed):
        generator = seeded(seed)
        if classes is None:
            chosen = [class_ids[i] for i in _shuffled(len(class_ids), generator)[:way]]
        else:
            chosen = classes(class_ids, way, generator)
        support, queries = [], []
        for c in chosen:
            if images is None:
                order = _shuffled(images_per_class, generator)
                first, second = order[:shot], order[shot:shot + query]
            else:
                first, second = images(images_per_class, shot, query, generator)
            support += [(c, i) for i in first]
            queries += [(c, i) for i in second]
        return support, queries
    return draw_episode


def _shuffled(n, generator):
    return torch.randperm(n, generator=generator).tolist()


def _with_replacement(n, k, generator):
    return torch.randint(n, (k,), generator=generator).tolist()


def _classes_again(class_ids, way, generator):
    return [class_ids[i] for i in _with_replacement(len(class_ids), way, generator)]


def _few_in_all(class_ids, images_per_class, way, shot, query, seed):
    support, queries = draw_episode.reference(class_ids, images_per_class, way, shot, query, seed)
    return support[:shot], queries[:query]


def _shot_for_query(class_ids, images_per_class, way, shot, query, seed):
    return draw_episode.reference(class_ids, images_per_class, way, query, shot, seed)


def _cut(order, shot, query):
    return order[:shot], order[shot:shot + query]


def _images_again(images_per_class, shot, query, generator):
    """Two draws with repetition that do not overlap: the second takes only what the first has left."""
    first = _with_replacement(images_per_class, shot, generator)
    free = [i for i in range(images_per_class) if i not in first]
    return first, [free[i] for i in _with_replacement(len(free), query, generator)]


def _unbalanced(pairs):
    """As many pairs, as many classes, but the first class gives one more and the last one less."""
    c = pairs[0][0]
    free = [i for i in range(_PER_CLASS) if (c, i) not in pairs]
    return pairs[:-1] + [(c, free[0])]


def _other_query_classes(class_ids, images_per_class, way, shot, query, seed):
    support, _ = draw_episode.reference(class_ids, images_per_class, way, shot, query, seed)
    _, queries = draw_episode.reference(class_ids, images_per_class, way, shot, query, seed + 1000)
    return support, queries


_IDS, _PER_CLASS, _WAY, _SHOT, _QUERY = [30, 81, 212, 40, 411, 77, 900], 6, 3, 2, 3


def _episodes(fn, seed, seeds=200):
    """What ``fn`` draws from ``seed`` on: a list of (support pairs, query pairs), pairs as tuples."""
    drawn = []
    for each in range(seed, seed + seeds):
        support, queries = fn(_IDS, _PER_CLASS, _WAY, _SHOT, _QUERY, each)
        drawn.append(([tuple(p) for p in support], [tuple(p) for p in queries]))
    return drawn


def _each(holds, seeds=200):
    return lambda fn, seed: all(holds(support, queries) for support, queries in _episodes(fn, seed, seeds))


def _images(drawn):
    return {i for pairs in drawn for _, i in pairs}


def _shares(pairs):
    """How many images the classes give: a set of numbers, one number if all give the same."""
    classes = [c for c, _ in pairs]
    return {classes.count(c) for c in classes}


def _pairs_of_numbers(support, queries):
    return all(len(p) == 2 and all(isinstance(n, int) for n in p) for p in support + queries)


draw_episode = Exercise(
    name="draw_episode",
    reference=draw_episode,
    cases=[],
    mistakes=[],
    properties=[
        Property(_each(_pairs_of_numbers, 20),
                 "The answer has another form than asked for: two lists, support and queries, of pairs (class number, "
                 "image number), all of them whole numbers.",
                 wrong=(lambda *args: tuple([(c, i, 0) for c, i in part] for part in draw_episode.reference(*args)),)),
        Property(_each(lambda s, q: (len(s), len(q)) == (_WAY * _SHOT, _WAY * _QUERY)),
                 "The lists have the wrong lengths. K-shot means K examples of each class: way · shot pairs in the "
                 f"support, way · query pairs among the queries. For way {_WAY}, shot {_SHOT}, query {_QUERY} that "
                 f"makes {_WAY * _SHOT} and {_WAY * _QUERY}.",
                 wrong=(_few_in_all, _shot_for_query)),
        Property(_each(lambda s, q: {c for c, _ in s + q} <= set(_IDS)),
                 "Some of your classes are not in `class_ids`. `order` holds positions 0, 1, 2, ...; the class at a "
                 "position is class_ids[position].",
                 wrong=(_draw_with(classes=lambda ids, way, g: _shuffled(len(ids), g)[:way]),)),
        Property(_each(lambda s, q: len({c for c, _ in s}) == _WAY),
                 "In some draws one class comes twice, so the task has fewer than `way` classes and the same letter "
                 "under two labels. Draw classes without replacement: shuffle, then take the first `way`.",
                 wrong=(_draw_with(classes=_classes_again),)),
        Property(_each(lambda s, q: {c for c, _ in s} == {c for c, _ in q}),
                 "The queries show classes that the support does not, or the reverse. A query asks: which of the "
                 "classes in the support is this? Take both from the same `classes`.",
                 wrong=(_other_query_classes,)),
        Property(_each(lambda s, q: _shares(s) == {_SHOT} and _shares(q) == {_QUERY}),
                 "The totals are right, but not the share of each class: every class gives `shot` images to the "
                 "support and `query` to the queries.",
                 wrong=(lambda *args: tuple(_unbalanced(part) for part in draw_episode.reference(*args)),)),
        Property(_each(lambda s, q: all(0 <= i < _PER_CLASS for _, i in s + q)),
                 "Some image numbers do not exist: a class has the images 0 .. images_per_class - 1.",
                 wrong=(_draw_with(images=lambda p, k, n, g: _cut([i + 1 for i in _shuffled(p, g)], k, n)),)),
        Property(_each(lambda s, q: len(set(s)) == len(s) and len(set(q)) == len(q)),
                 "In some draws the same image of a class is taken twice within the support, or twice within the "
                 "queries. Draw images without replacement too.",
                 wrong=(_draw_with(images=_images_again),)),
        Property(_each(lambda s, q: not set(s) & set(q)),
                 "In some draws an image stands in the support and among the queries. Then the learner is asked about "
                 "an image whose label it was given, and even a table of pixels would score. The queries must start "
                 "where the support ended, in the same shuffled list.",
                 wrong=(_draw_with(images=lambda p, k, n, g: (_shuffled(p, g)[:k], _shuffled(p, g)[:n])),
                        _draw_with(images=lambda p, k, n, g: (lambda order: (order[:k], order[:n]))(_shuffled(p, g))))),
        Property(lambda fn, seed: _episodes(fn, seed, 20) == _episodes(fn, seed, 20),
                 "The same seed gives another task the second time. Every random draw must come from the generator "
                 "that was made with `seed`: pass generator=generator.",
                 wrong=(_draw_with(seeded=lambda seed: None),)),
        Property(lambda fn, seed: len({str(e) for e in _episodes(fn, seed, 20)}) > 15,
                 "Different seeds give the same task: the seed is ignored.",
                 wrong=(_draw_with(seeded=lambda seed: torch.Generator().manual_seed(0)),)),
        Property(lambda fn, seed: {c for s, _ in _episodes(fn, seed) for c, _ in s} == set(_IDS),
                 "Over 200 seeds, some classes never appear: you take them from a list that was not shuffled.",
                 wrong=(_draw_with(classes=lambda ids, way, g: ids[:way]),)),
        Property(lambda fn, seed: all(_images(drawn) == set(range(_PER_CLASS)) for drawn in zip(*_episodes(fn, seed))),
                 "Over 200 seeds, some images never appear in the support, or never among the queries: you take them "
                 "from a list that was not shuffled. Then the same drawers would always teach and the same ones "
                 "always ask.",
                 wrong=(_draw_with(images=lambda p, k, n, g: _cut(list(range(p)), k, n)),)),
    ],
    hints=[
        "Three times the same move: take a slice of a list that was shuffled. `order[:way]` holds `way` different "
        "positions.",
        "A position is not yet a class: the class at position i is `class_ids[i]`. And for the images, the slice "
        "[:shot] is for the support. Where does the slice for the queries begin?",
        "`classes` is a list with class_ids[i] for each i in order[:way]. `support` grows by the pairs (c, i) for i "
        "in images[:shot], and `queries` by those for i in images[shot:shot + query].",
    ],
    right="Checked over 200 seeds: the right counts, no class and no image twice, support and queries apart, and the "
          "seed decides.",
)

# ---------------------------------------------------------------------------------------------------- 3: mean_ci95


def mean_ci95(accuracies):
    mean = accuracies.mean()
    standard_error = accuracies.std() / len(accuracies) ** 0.5
    return mean, 1.96 * standard_error


def _ci_cases(generator):
    def draw(n):
        return torch.randint(0, 16, (n,), generator=generator).double() / 15

    return [(draw(10),), (draw(4),), (draw(50),), (torch.tensor([0.2, 0.6, 1.0], dtype=torch.float64),)]


mean_ci95 = Exercise(
    name="mean_ci95",
    reference=mean_ci95,
    cases=_ci_cases,
    mistakes=[
        Mistake(lambda a: (a.mean(), 1.96 * a.std()),
                "The √T is missing: this is how far single tasks stray, not how far their mean does. It would not "
                "shrink with more tasks."),
        Mistake(lambda a: (a.mean(), a.std()),
                "This is s alone, the spread of single tasks. The half-width is about their mean: divide s by √T, and "
                "take 1.96 of that."),
        Mistake(lambda a: (a.mean(), 1.96 * a.std() / len(a)),
                "You divide by T, not by √T. Your interval shrinks too fast: with 100 times the tasks the mean is 10 "
                "times surer, not 100 times."),
        Mistake(lambda a: (a.mean(), 1.96 * a.std(correction=0) / len(a) ** 0.5),
                "Almost: your s divides the sum of squares by T (correction=0, numpy's default). The formula divides "
                "by T - 1, because the mean was taken from the same numbers. At T = 600 nobody would notice; the "
                "first case has T = 10."),
        Mistake(lambda a: (a.mean(), 1.96 * a.var() / len(a) ** 0.5),
                "You used the variance s². The formula has s, its square root."),
        Mistake(lambda a: (a.mean(), 1.96 * a.var() / len(a)),
                "You used s²/T, the variance of the mean. Its square root, s/√T, is wanted."),
        Mistake(lambda a: (a.mean(), a.std() / len(a) ** 0.5),
                "This is one standard error. It covers about 68 % of cases; for 95 % it takes 1.96 of them."),
        Mistake(lambda a: (a.mean(), 2 * 1.96 * a.std() / len(a) ** 0.5),
                "This is the full width, from one end to the other. Return half of it, the part after the ±."),
        Mistake(lambda a: (100 * a.mean(), 100 * 1.96 * a.std() / len(a) ** 0.5),
                "You turned both into percent. Keep them as fractions, as the accuracies are."),
        Mistake(lambda a: (a.mean() - 1.96 * a.std() / len(a) ** 0.5, a.mean() + 1.96 * a.std() / len(a) ** 0.5),
                "These are the two ends of the interval. Return the mean and the half-width."),
        Mistake(lambda a: (a.median(), 1.96 * a.std() / len(a) ** 0.5), "You return the median, not the mean."),
        Mistake(lambda a: (a.mean(), 1.96 * a.std() / (len(a) - 1) ** 0.5),
                "The T - 1 belongs into s, and `std()` has it there already. The root is of T itself."),
        Mistake(lambda a: (a.mean(), 2 * a.std() / len(a) ** 0.5),
                "Almost: 2 is the rounded number, and the formula has 1.96."),
        Mistake(lambda a: (a.mean(), 1.96 * (a.mean() * (1 - a.mean()) / len(a)) ** 0.5),
                "This is the formula for T single answers, each right or wrong. The accuracy of a task is no such "
                "answer: it is a share, and may be anything between 0 and 1. Use the spread s of the tasks."),
        Mistake(lambda a: (1.96 * a.std() / len(a) ** 0.5, a.mean()),
                "Both numbers are right, in the wrong order: the mean comes first, then the half-width."),
    ],
    hints=[
        "Read the formula from right to left: the spread s of the tasks, divided by √T, times 1.96. What is T here?",
        "`accuracies.std()` is s (it divides by T - 1 unless told otherwise), and `len(accuracies)` is T.",
        "Return two things: `accuracies.mean()`, and 1.96 times the standard deviation divided by `len(accuracies) ** "
        "0.5`.",
    ],
    right="Mean and half-width. To halve the half-width you need four times the tasks.",
)

# ---------------------------------------------------------------------------------------------------- 4: split_groups


def split_groups(groups, n_val, n_test, seed):
    names = sorted(set(groups))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = [names[i] for i in order]
    val_groups = shuffled[:n_val]
    test_groups = shuffled[n_val:n_val + n_test]
    train_groups = shuffled[n_val + n_test:]

    def members(wanted):
        return [c for c, g in enumerate(groups) if g in wanted]

    return members(train_groups), members(val_groups), members(test_groups)


_GROUPS = [50, 50, 50, 20, 20, 20, 20, 90, 90, 30, 30, 30, 70, 70, 40, 40, 40, 60]
_N_VAL, _N_TEST = 1, 2


def _split_by_class(groups, n_val, n_test, seed):
    order = _shuffled(len(groups), torch.Generator().manual_seed(seed))
    return order[n_val + n_test:], order[:n_val], order[n_val:n_val + n_test]


def _split_shares_of_classes(groups, n_val, n_test, seed):
    names, order = len(set(groups)), _shuffled(len(groups), torch.Generator().manual_seed(seed))
    a, b = len(groups) * n_val // names, len(groups) * (n_val + n_test) // names
    return order[b:], order[:a], order[a:b]


def _split_then(change, seed_of=lambda seed: seed):
    """The right split, changed: change(train, val, test, groups)."""
    def split_groups_(groups, n_val, n_test, seed):
        return change(*split_groups.reference(groups, n_val, n_test, seed_of(seed)), groups)
    return split_groups_


def _unseeded(groups, n_val, n_test, seed):
    return split_groups.reference(groups, n_val, n_test, int(torch.randint(10 ** 6, ())))


def _splits(fn, seed, seeds=50):
    return [tuple(list(part) for part in fn(_GROUPS, _N_VAL, _N_TEST, each)) for each in range(seed, seed + seeds)]


def _every(holds, seeds=50):
    return lambda fn, seed: all(holds(*split) for split in _splits(fn, seed, seeds))


def _of(classes):
    return {_GROUPS[c] for c in classes}


def _whole(fn, groups, seed, seeds=20):
    """Each class once, and the right numbers of groups, whatever the groups are called."""
    for each in range(seed, seed + seeds):
        split = [list(part) for part in fn(list(groups), _N_VAL, _N_TEST, each)]
        counts = [len({groups[c] for c in part}) for part in split]
        if sorted(sum(split, [])) != list(range(len(groups))) or counts[1:] != [_N_VAL, _N_TEST]:
            return False
    return True


_RENUMBERED = [sorted(set(_GROUPS)).index(g) for g in _GROUPS]                  # the same groups, called 0, 1, 2, ...


def _positions_for_groups(groups, n_val, n_test, seed):
    order = _shuffled(len(set(groups)), torch.Generator().manual_seed(seed))
    parts = order[n_val + n_test:], order[:n_val], order[n_val:n_val + n_test]
    return tuple([c for c, g in enumerate(groups) if g in part] for part in parts)


def _positions_for_held_out(groups, n_val, n_test, seed):
    _, val, test = _positions_for_groups(groups, n_val, n_test, seed)
    return [c for c in range(len(groups)) if c not in val + test], val, test


def _fixed_validation(groups, n_val, n_test, seed):
    names = sorted(set(groups))
    rest = [names[n_val + i] for i in _shuffled(len(names) - n_val, torch.Generator().manual_seed(seed))]
    parts = rest[n_test:], names[:n_val], rest[:n_test]
    return tuple([c for c, g in enumerate(groups) if g in part] for part in parts)


def _each_group_reaches_each_list(fn, seed):
    return all(set().union(*map(_of, parts)) == set(_GROUPS) for parts in zip(*_splits(fn, seed, 200)))


split_groups = Exercise(
    name="split_groups",
    reference=split_groups,
    cases=[],
    mistakes=[],
    properties=[
        Property(_every(lambda *split: len(split) == 3 and all(isinstance(c, int) for part in split for c in part)),
                 "The answer has another form than asked for: three lists of class numbers, (train, val, test).",
                 wrong=(_split_then(lambda train, val, test, groups: (train, val)),)),
        Property(_every(lambda *split: all(0 <= c < len(_GROUPS) for part in split for c in part)),
                 "Your lists hold numbers that are no class numbers. The class number is the position in `groups`, "
                 "from 0 to len(groups) - 1; what stands at that position is its group.",
                 wrong=(_split_then(lambda *args: tuple([args[3][c] for c in part] for part in args[:3])),)),
        Property(_every(lambda train, val, test: not set(val) & set(test)),
                 "Validation and test share classes. What you chose by its validation score would be tested on what "
                 "it was chosen by: the test would no longer be a test.",
                 wrong=(_split_then(lambda train, val, test, groups: (train, test, test)),)),
        Property(_every(lambda train, val, test: not set(train) & set(val + test)),
                 "Some classes are in training and in validation or test as well. What is held out must be taken out "
                 "of training.",
                 wrong=(_split_then(lambda train, val, test, groups: (list(range(len(groups))), val, test)),)),
        Property(lambda fn, seed: _whole(fn, _GROUPS, seed) or not _whole(fn, _RENUMBERED, seed),
                 "You take the numbers of randperm for the groups. They are positions in the list of different groups, "
                 "which need not be called 0, 1, 2, ... Look the group up at each position.",
                 wrong=(_positions_for_groups, _positions_for_held_out)),
        Property(_every(lambda train, val, test: sorted(train + val + test) == list(range(len(_GROUPS)))),
                 "Some classes are in none of the three lists, or twice in one. Together the lists must hold each "
                 "class once.",
                 wrong=(_split_then(lambda train, val, test, groups: (train[1:], val, test)),)),
        Property(_every(lambda *split: sum(len(_of(part)) for part in split) == len(set(_GROUPS))),
                 "You shuffle classes, so a group is torn apart: some letters of an alphabet train and others test. "
                 "Alphabets share strokes and style, and some of that would leak. Shuffle the groups, then collect "
                 "the classes of each.",
                 wrong=(_split_by_class, _split_shares_of_classes)),
        Property(_every(lambda train, val, test: (len(_of(val)), len(_of(test))) == (_N_VAL, _N_TEST)),
                 "No group is torn apart, but their numbers are wrong: n_val groups for validation (the second list), "
                 "n_test groups for testing (the third list), the rest for training (the first).",
                 wrong=(_split_then(lambda train, val, test, groups: (train, test, val)),
                        _split_then(lambda train, val, test, groups: (val, train, test)))),
        Property(lambda fn, seed: _sorted(fn, seed) == _sorted(fn, seed),
                 "The same seed gives another split the second time. Shuffle with a generator made from `seed`.",
                 wrong=(_unseeded,)),
        Property(lambda fn, seed: len({str(split) for split in _sorted(fn, seed)}) > 1,
                 "Different seeds give the same split: the seed is ignored.",
                 wrong=(_split_then(lambda train, val, test, groups: (train, val, test), seed_of=lambda seed: 0),)),
        Property(_each_group_reaches_each_list,
                 "Over 200 seeds, some groups never come into one of the three lists: you take them from a list that "
                 "was not shuffled.",
                 wrong=(_fixed_validation,)),
    ],
    hints=[
        "What must be shuffled: the 1,264 letters, or the 50 scripts? First make the list of the different groups.",
        "`sorted(set(groups))` are the different groups. Shuffle them as in exercise 2, then cut: the first n_val, "
        "the next n_test, the rest.",
        "From a list of groups to its classes: `[c for c, g in enumerate(groups) if g in val_groups]`, and so for the "
        "other two. Return them in the order train, val, test.",
    ],
    right="Whole groups only, each class once, and the seed decides.",
)


def _sorted(fn, seed):
    return [tuple(sorted(part) for part in split) for split in _splits(fn, seed, 20)]


# ---------------------------------------------------------------------------------------------------- 5: nearest


def nearest(support_x, support_y, query_x):
    difference = query_x[:, :, None] - support_x[:, None]
    closest = difference.square().sum(-1).argmin(-1)
    return support_y.gather(1, closest)


def _distances(support_x, query_x):
    return (query_x[:, :, None] - support_x[:, None]).square().sum(-1)          # (B, Q, S)


def _nearest_mean(support_x, support_y, query_x):
    way = int(support_y.max()) + 1
    means = torch.stack([torch.stack([x[y == n].mean(0) for n in range(way)]) for x, y in zip(support_x, support_y)])
    return _distances(means, query_x).argmin(-1)


def _nearest_cases(generator):
    cases = []
    for tasks, labels, queries, size in ((2, [0, 0, 0, 1, 2, 2], 5, 4), (3, [0, 1, 1, 2], 3, 2), (1, [0, 1], 4, 3),
                                         (2, [0, 1], 3, 4)):
        y = torch.stack([torch.tensor(labels)[torch.randperm(len(labels), generator=generator)] for _ in range(tasks)])
        if tasks == 1:
            y = torch.tensor([[1, 0]])
        cases.append((torch.randn(tasks, len(labels), size, generator=generator, dtype=torch.float64), y,
                      torch.randn(tasks, queries, size, generator=generator, dtype=torch.float64)))
    return cases


nearest = Exercise(
    name="nearest",
    reference=nearest,
    cases=_nearest_cases,
    mistakes=[
        Mistake(lambda sx, sy, qx: sy.gather(1, _distances(sx, qx).argmax(-1)),
                "You take the farthest item. The label wanted is that of the smallest distance: argmin."),
        Mistake(lambda sx, sy, qx: _distances(sx, qx).argmin(-1),
                "You return the position of the nearest item in the support set, not its label. In class order with "
                "one shot the two are equal, but here the labels are shuffled. Look the position up in support_y."),
        Mistake(lambda sx, sy, qx: sy[0][_distances(sx[:1], qx).argmin(-1)],
                "Right for task 0, but every other task is answered from task 0's support. Each task has letters and "
                "labels of its own."),
        Mistake(lambda sx, sy, qx: sy[0][_distances(sx, qx).argmin(-1)],
                "Each task finds its own nearest item, but then you read the label from task 0's support_y. Row b of "
                "the positions belongs to row b of support_y."),
        Mistake(_nearest_mean,
                "You compare with the mean of each class: that is nearest centroid, a good rule, and another one. "
                "Here the single nearest item decides."),
        Mistake(lambda sx, sy, qx: sy.gather(1, (qx @ sx.mT).argmax(-1)),
                "You take the largest product, not the smallest distance. A long vector has large products with "
                "everything."),
        Mistake(lambda sx, sy, qx: sy.gather(1, (qx[:, :, None] - sx[:, None]).sum(-1).abs().argmin(-1)),
                "You add the differences before squaring them, so that a step to the right cancels a step down. "
                "Square each, then add."),
        Mistake(lambda sx, sy, qx: sy.gather(1, (qx[:, :, None] - sx[:, None]).sum(-1).argmin(-1)),
                "You forgot to square: differences of both signs are added up, and argmin takes the most negative "
                "sum."),
        Mistake(lambda sx, sy, qx: sy.gather(1, (qx[:, :, None] - sx[:, None]).abs().sum(-1).argmin(-1)),
                "You add up absolute differences. The distance asked for is the squared Euclidean one: square each "
                "difference, then add."),
        Mistake(lambda sx, sy, qx: sy.flatten()[_distances(sx.flatten(0, 1)[None], qx.flatten(0, 1)[None])[0]
                                                .argmin(-1)].unflatten(0, qx.shape[:2]),
                "You look for the nearest item in the support of all tasks together. A label means nothing outside its "
                "task: query b may look only at row b of support_x."),
        Mistake(lambda sx, sy, qx: sy[_distances(sx, qx).argmin(-1)],
                "The positions are right, but `support_y[positions]` takes them for numbers of tasks: an error, or "
                "whole rows of labels. Row b of the positions must pick from row b of support_y."),
        Mistake(lambda sx, sy, qx: sy[:, _distances(sx, qx).argmin(-1)],
                "The positions are right, but `support_y[:, positions]` looks all of them up in every task's labels: a "
                "table (B, B, Q). Let row b of the positions pick from row b of support_y only."),
        *(Mistake(wrong, "You search along the wrong dimension: for each support item you take the nearest query. For "
                         "each query, search over the support items, the S of (B, Q, S)." + more)
          for wrong, more in ((lambda sx, sy, qx: sy.gather(1, _distances(sx, qx).argmin(1)), ""),
                              (lambda sx, sy, qx: _distances(sx, qx).argmin(1),
                               " And return the labels of these positions."))),
        Mistake(lambda sx, sy, qx: sy.gather(1, (qx[:, :, None] - sx[:, None]).square().sum(-2).argmin(-1)),
                "You add up over the support items, so nothing is left to choose from. A distance is a sum over the "
                "numbers of a vector: the D of (B, Q, S, D), its last dimension."),
    ],
    hints=[
        "Warm-up question 1 had all distances between 25 points and 5 others in one line. Here a task dimension "
        "stands in front: which two shapes must meet so that (B, Q, S, D) comes out?",
        "`query_x[:, :, None]` is (B, Q, 1, D) and `support_x[:, None]` is (B, 1, S, D). Square the difference, sum "
        "over the last dimension, and take `argmin` over the support items: a position for each query, (B, Q). What "
        "is missing to make labels of positions?",
        "Row b of the positions picks from row b of support_y: `support_y.gather(1, positions)`. (A loop over the "
        "tasks, with support_y[b][positions[b]], does it as well.)",
    ],
    right="Each query gets the label of the item nearest to it, task by task. Any number of shots will do.",
)

# ---------------------------------------------------------------------------------------------------- bug hunt


def draw_tasks(class_count, way, tasks, seed):
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(tasks):
        classes = torch.randperm(class_count, generator=generator)[:way]
        drawn.append(classes.tolist())
    return drawn


def _reseeded(class_count, way, tasks, seed):
    drawn = []
    for _ in range(tasks):
        generator = torch.Generator().manual_seed(seed)
        classes = torch.randperm(class_count, generator=generator)[:way]
        drawn.append(classes.tolist())
    return drawn


def _tasks_with(pick, seeded=lambda seed: torch.Generator().manual_seed(seed)):
    def draw_tasks(class_count, way, tasks, seed):
        generator = seeded(seed)
        return [pick(class_count, way, t, generator) for t in range(tasks)]
    return draw_tasks


def _first(class_count, way, t, generator):
    return _shuffled(class_count, generator)[:way]


def _recycled(class_count, way, tasks, seed):
    few = draw_tasks.reference(class_count, way, 50, seed)
    return [few[t % 50] for t in range(tasks)]


_COUNT = 30


def _shifted(class_count, way, tasks, seed):
    return [_first(class_count, way, t, torch.Generator().manual_seed(seed + t)) for t in range(tasks)]


def _lists(fn, seed, tasks=200):
    return [list(task) for task in fn(_COUNT, 5, tasks, seed)]


def _sets(fn, seed):
    return {tuple(sorted(task)) for task in _lists(fn, seed)}


def _five(fn, seed):
    return [_lists(fn, each, 20) for each in range(seed, seed + 5)]


draw_tasks = Exercise(
    name="draw_tasks",
    reference=draw_tasks,
    cases=[],
    mistakes=[],
    properties=[
        Property(lambda fn, seed: all(isinstance(c, int) for task in _lists(fn, seed, 3) for c in task)
                 and [len(task) for task in _lists(fn, seed, 7)] == 7 * [5],
                 "The answer has another form than asked for: a list of `tasks` lists, each with `way` class numbers.",
                 wrong=(lambda count, way, tasks, seed: draw_tasks.reference(count, way, 1, seed),)),
        Property(lambda fn, seed: all(0 <= c < _COUNT for task in _lists(fn, seed) for c in task),
                 "Some numbers are no class numbers: they run from 0 to class_count - 1.",
                 wrong=(_tasks_with(lambda n, way, t, g: [c + 1 for c in _shuffled(n, g)[:way]]),)),
        Property(lambda fn, seed: all(len(set(task)) == 5 for task in _lists(fn, seed)),
                 "In some tasks a class comes twice. Draw without replacement, as the listing does.",
                 wrong=(_tasks_with(lambda n, way, t, g: _with_replacement(n, way, g)),)),
        Property(lambda fn, seed: len({str(sorted(task)) for task in _lists(fn, seed)}) > 1,
                 "All your tasks have the same classes still: we asked for 200 tasks, and they hold 5 classes in all. "
                 "Each round starts the generator anew from the same seed, and so it draws the same numbers.",
                 wrong=(_reseeded,)),
        Property(lambda fn, seed: {c for task in _lists(fn, seed) for c in task} == set(range(_COUNT)),
                 f"The tasks differ now, but 200 of them together do not meet all of the {_COUNT} classes. Each task "
                 "should draw from all classes.",
                 wrong=(_tasks_with(lambda n, way, t, g: _shuffled(n // 2, g)[:way]),)),
        Property(lambda fn, seed: len(_sets(fn, seed)) > 190,
                 "The tasks differ now, but they are few and come back: among 200 of them many have the same classes. "
                 "Draw anew for each task.",
                 wrong=(_recycled,)),
        Property(lambda fn, seed: _five(fn, seed) == _five(fn, seed),
                 "The tasks differ now, but the same seed does not give them again: you dropped the seed together "
                 "with the bug. Seed the generator once, before the loop.",
                 wrong=(_tasks_with(_first, seeded=lambda seed: None),)),
        Property(lambda fn, seed: len(set(map(str, _five(fn, seed)))) == 5,
                 "The tasks differ now, but every seed gives the same ones: the argument `seed` is ignored.",
                 wrong=(_tasks_with(_first, seeded=lambda seed: torch.Generator().manual_seed(0)),
                        _tasks_with(lambda n, way, t, g: _first(n, way, t, torch.Generator().manual_seed(t))))),
        Property(lambda fn, seed: len(_sets(fn, seed) & _sets(fn, seed + 1)) < 20,
                 "Two seeds in a row, such as 0 and 1, give nearly the same tasks, shifted: seed + t is the same number for "
                 "the next task of seed 0 and for this task of seed 1. Seed once, before the loop.",
                 wrong=(_shifted,)),
    ],
    hints=[
        "How many different classes are there in all the tasks together? Print a few tasks beside each other. Then ask "
        "which line could make them equal.",
        "A generator with the same seed gives the same numbers, every time. How often is the listing's generator made?",
        "Make the generator once, before the loop. Each round then goes on where the last one stopped.",
    ],
    right="Seeded once, and each round draws on: many tasks, and the same ones whenever you ask for the same seed.",
)
