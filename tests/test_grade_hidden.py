"""The hidden parts of each lesson: fair to every right answer, unforgiving to wrong ones that the lesson lets pass.

``ALMOST`` holds, for each hidden part, functions that pass the lesson's own check and fail that part: they are why the
part is there. grading/corpus_partial.py hands some of them in.
"""

import ast
import importlib
import importlib.util
import inspect
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from metalearn_lite.check import Order, all_exercises
from metalearn_lite.grade.parts import load

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import lessons  # noqa: E402

pytestmark = pytest.mark.mutants

HIDDEN = {path.stem: load(path.stem) for path in sorted((ROOT / "solutions" / "hidden").glob("*.py"))}
MODULES = {name: importlib.import_module(f"metalearn_lite.check.{name}") for name in HIDDEN}
every_lesson = pytest.mark.parametrize("name", HIDDEN)
SEEDS = (1, 20, 301)


def status(part, answer, seed):
    order = isinstance(part.exercise, Order)
    return (part.asked().verdict(answer) if order else part.asked().verdict(answer, seed)).status


def seeds(part):
    """One seed is enough for what draws nothing."""
    return SEEDS if callable(part.asked().cases) or part.asked().properties else SEEDS[:1]


def functions(name):
    """The parts of a lesson that ask for a function."""
    return [part for part in HIDDEN[name].parts if not isinstance(part.exercise, Order)]


def is_own(name, part):
    """Whether a part is the lesson's own check, on fresh numbers."""
    return part.exercise is getattr(MODULES[name], part.exercise.name) and part.cases is None


# ------------------------------------------------------------------------- what every hidden file must be like


@every_lesson
def test_every_exercise_has_its_points(name):
    hidden = HIDDEN[name]
    exercises = {e.name: e for e in all_exercises(MODULES[name])}
    assert set(hidden.exercises) == set(exercises)
    assert 10 <= sum(hidden.exercises.values()) <= 20
    assert all(part.points in (1, 2, 3, 4) for part in hidden.parts)
    order = [part.exercise.name for part in hidden.parts]
    assert order == sorted(order, key=order.index), "the parts of one exercise stand together"
    for exercise in exercises.values():
        own, *others = [part for part in hidden.parts if part.exercise.name == exercise.name]
        assert own.exercise is exercise and own.cases is None, "the lesson's own check comes first"
        assert len({part.title for part in (own, *others)}) == 1 + len(others)
        assert all(not is_own(name, part) and part.title[0].islower() for part in others)
        assert sum(part.points for part in others) <= own.points, "most points are for what the lesson asks"


@every_lesson
def test_hidden_numbers_are_drawn_afresh(name):
    for part in HIDDEN[name].parts:
        if part.cases is not None:
            first, again, other = (str(part.cases(torch.Generator().manual_seed(seed))) for seed in (1, 1, 2))
            assert first == again != other, part


@every_lesson
def test_no_part_asks_what_a_submission_could_know_by_heart(name):
    """Each part, the lesson's own check included, calls the function on arguments that another seed does not give."""
    for part in functions(name):
        asked = []
        for seed in (1, 700_001):
            calls = set()

            def watched(*args):
                calls.add(str(args))
                return part.exercise.reference(*args)

            assert part.asked().verdict(watched, seed).status == "right"
            asked.append(calls)
        assert asked[0] - asked[1] and asked[1] - asked[0], (part.exercise.name, part.title)


@every_lesson
def test_the_reference_is_right(name):
    for part in functions(name):
        for seed in seeds(part):
            verdict = part.asked().verdict(part.exercise.reference, seed)
            assert verdict.status == "right", (part.exercise.name, part.title, verdict)


@every_lesson
def test_hidden_cases_are_no_errors(name):
    """A case at which the reference itself stops would pass whoever stops as well; nan would hide what is compared."""
    for part in functions(name):
        for seed in SEEDS if part.cases else ():
            for arguments in part.cases(torch.Generator().manual_seed(seed)):
                assert "nan" not in str(part.exercise.reference(*arguments)), (part.exercise.name, part.title)


def alternatives(name, exercise):
    spec = importlib.util.spec_from_file_location(f"other_{name}", ROOT / "tests" / "alternatives" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return [f for key, f in vars(found).items() if callable(f) and re.fullmatch(rf"{exercise}(_\d+)?", key)]


@every_lesson
def test_a_differently_written_right_answer_is_right(name):
    for part in functions(name):
        found = alternatives(name, part.exercise.name)
        assert found
        for function in found:
            for seed in seeds(part):
                verdict = part.asked().verdict(function, seed)
                assert verdict.status == "right", (function.__name__, part.title, verdict)


@every_lesson
def test_a_known_mistake_costs_points(name):
    parts = functions(name)
    for exercise in (e for e in all_exercises(MODULES[name]) if not isinstance(e, Order)):
        wrong = [m.wrong for m in exercise.mistakes] + [w for p in exercise.properties for w in p.wrong]
        for number, function in enumerate(wrong):
            asked = [part for part in parts if part.exercise.name == exercise.name]
            assert any(status(part, function, SEEDS[0]) == "wrong" for part in asked), (exercise.name, number)


@every_lesson
def test_a_wrong_order_gets_nothing(name):
    for part in HIDDEN[name].parts:
        if isinstance(part.exercise, Order):
            rights = {part.exercise.right} if isinstance(part.exercise.right, str) else part.exercise.right
            assert all(status(part, order, 0) == "right" for order in rights)
            assert status(part, "".join(part.exercise.lines), 0) == "wrong"


# ---------------------------------------------------------------------------------- what a lesson's stub gets


def cells(name):
    script = next((ROOT / "solutions").glob(f"{name.removeprefix('lesson')}_*.py"))
    return [cell for cell in lessons.read_script(script).cells if cell.cell_type == "code"]


def exercise_cell(name, exercise):
    found = [cell.source for cell in cells(name) if "exercise" in lessons.tags(cell)
             and re.search(rf"^def {exercise}\(", cell.source, re.MULTILINE)]
    assert len(found) == 1
    return found[0]


@every_lesson
def test_the_lessons_stub_gets_no_point_and_its_answer_all(name, tmp_path):
    given = {f.__name__: f for offered in HIDDEN[name].given.values() for f in offered}
    for part in functions(name):
        source = exercise_cell(name, part.exercise.name)
        for text, wanted in ((lessons.strip_answers(source), ("open", "wrong")), (source, ("right",))):
            path = tmp_path / f"{part.exercise.name}_{wanted[0]}.py"
            path.write_text(text, encoding="utf-8")
            space = dict(torch=torch, F=F, nn=torch.nn, math=math) | given
            exec(compile(text, str(path), "exec"), space)
            assert status(part, space[part.exercise.name], SEEDS[0]) in wanted, (part.exercise.name, part.title)


# ---------------------------------------------------------------------------------------- what is in the box

ANSWERS = {  # names in the library that answer an exercise of the lesson, besides the exercises' own names
    "primer": (),
    "lesson00": ("with_random_splits", "EpisodeSampler", "half_width", "NearestNeighbour"),
    "lesson01": ("GradientDescent", "SGD"),
    "lesson02": ("RMSProp", "Adam", "_adam", "inner_loop"),
    "lesson03": ("KeyValueMemory", "MANN", "_late_labels", "accuracy_by_sight", "MatchingNetwork"),
    "lesson04": ("NearestCentroid", "cosine_logits", "discriminative_rates", "FineTune", "half_width", "inner_loop"),
    "lesson05": ("inner_loop", "adapt", "MAML", "anil", "meta_sgd", "LearnedRates", "FineTune", "HyperNetwork"),
    "lesson06": ("contrastive_loss", "_auc", "semi_hard", "PairSampler", "PrototypicalNetwork"),
    "lesson07": ("HyperNetwork", "mean_of_pairs", "FiLMNetwork", "stacked_call", "_stacked"),
}
NEVER = {"check", "doctor", "drawpad", "figures", "grade", "reproduce", "stories", "widgets"}


def defined(module, nodes=ast.walk):
    """The names of all functions and classes, methods included, of a module of the library, or of a package's."""
    path = ROOT / "metalearn_lite" / module
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return {node.name for file in files for node in nodes(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


@every_lesson
def test_the_box_holds_no_answer(name):
    hidden = HIDDEN[name]
    assert not set(hidden.library) & NEVER and len(set(hidden.library)) == len(hidden.library)
    everything = set().union(*(defined(path.stem) for path in (ROOT / "metalearn_lite").glob("*.py")), defined("data"))
    assert set(ANSWERS[name]) <= everything, "a name that has gone from the library"
    for module in hidden.library:
        assert not defined(module) & set(ANSWERS[name]), module
        assert not defined(module, ast.iter_child_nodes) & set(hidden.exercises), module


LONE = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        root, _, rest = name.partition(".")
        if root == "metalearn_lite" and rest and rest.split(".")[0] not in allowed:
            raise ImportError(f"{name} is not in the box")
sys.meta_path.insert(0, Absent())
for line in sys.stdin.read().splitlines():
    lesson, *allowed = line.split()
    for module in allowed:
        for name in [name for name in sys.modules if name.split(".")[0] == "metalearn_lite"]:
            del sys.modules[name]
        importlib.import_module(f"metalearn_lite.{module}")
    print(lesson)
"""


def test_the_box_can_import_what_it_holds():
    lines = "\n".join(" ".join((name, *hidden.library)) for name, hidden in HIDDEN.items())
    found = subprocess.run([sys.executable, "-c", LONE], input=lines, capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.split() == list(HIDDEN), found.stderr


@every_lesson
def test_what_is_given_needs_nothing_but_torch(name):
    for module, offered in HIDDEN[name].given.items():
        assert module.split(".")[0] not in HIDDEN[name].library
        space = {"torch": torch, "F": F}
        for function in offered:
            exec(inspect.getsource(function), space)  # as the box does it
        real = importlib.import_module(f"metalearn_lite.{module}")
        generator = torch.Generator().manual_seed(0)
        for function in offered:
            assert set(function.__code__.co_names) & set(dir(real)) <= {"F", "torch", *(f.__name__ for f in offered)}
            x = [torch.randn(4, 2, generator=generator) for _ in range(3)]
            arguments = {"distance": x[:2], "predict": ([x[0].T, x[1][0, 0]], x[1]),
                         "mse": ([x[0].T, x[1][0, 0]], x[1], x[2][:, :1].expand(4, 4))}[function.__name__]
            assert torch.equal(space[function.__name__](*arguments), getattr(real, function.__name__)(*arguments))


@every_lesson
def test_what_a_lesson_lends_its_exercises_is_in_the_box(name):
    """Each name that an exercise's cell takes from the course is offered, or is the check that it is handed to."""
    imported = {}
    for cell in cells(name):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.ImportFrom) and node.module.startswith("metalearn_lite"):
                for alias in node.names:
                    place = f"{node.module}.{alias.name}".removeprefix("metalearn_lite.")
                    imported[alias.asname or alias.name] = place
    offered = {f"{module}.{f.__name__}" for module, found in HIDDEN[name].given.items() for f in found}
    for cell in cells(name):
        if "exercise" in lessons.tags(cell):
            used = {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}
            for place in (imported[word] for word in used & set(imported)):
                assert place in offered or place.split(".")[0] in HIDDEN[name].library or place == f"check.{name}"


# --------------------------------------------------------- almost right: why each of the hidden parts is there


def softmax_of_two_shapes(z):
    e = torch.exp(z - z.max(dim=-1, keepdim=True).values)
    return e / (e.sum(1, keepdim=True) if z.dim() == 2 else e.sum(2, keepdim=True))


def train_by_one_hot(x, y, classes, steps, lr):
    w = torch.zeros(x.shape[1], classes, dtype=x.dtype)
    for _ in range(steps):
        w = w - lr * x.T @ (torch.softmax(x @ w, -1) - F.one_hot(y)) / len(x)
    return w


def train_once_at_least(x, y, classes, steps, lr):
    w = torch.zeros(x.shape[1], classes, dtype=x.dtype)
    while True:
        w.requires_grad_(True)
        (g,) = torch.autograd.grad(F.cross_entropy(x @ w, y), w)
        w, steps = (w - lr * g).detach(), steps - 1
        if steps <= 0:
            return w


def conv_size_in_two_terms(size, kernel, stride, padding):
    return (size - kernel) // stride + 1 + 2 * padding // stride


def batch_norm_squeezed(x, eps):
    x = x.squeeze()
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / (var + eps).sqrt()


def fit_line_until_it_rests(x, y, steps, lr):
    features, w = torch.stack([x, torch.ones_like(x)], 1), torch.zeros(2, dtype=x.dtype)
    for _ in range(steps):
        g = 2 * features.T @ (features @ w - y) / len(x)
        if g.abs().max() < 1e-3:
            break
        w = w - lr * g
    return w


def relabel_one_after_another(support_classes, query_classes):
    order = list(dict.fromkeys(support_classes))
    support_y, query_y = [order.index(c) for c in support_classes], list(query_classes)
    for n, c in enumerate(order):
        query_y = [n if label == c else label for label in query_y]
    return support_y, query_y


def draw_episode_from_query_on(class_ids, images_per_class, way, shot, query, seed):
    generator = torch.Generator().manual_seed(seed)
    classes = [class_ids[i] for i in torch.randperm(len(class_ids), generator=generator).tolist()[:way]]
    support, queries = [], []
    for c in classes:
        images = torch.randperm(images_per_class, generator=generator).tolist()
        support += [(c, i) for i in images[:shot]]
        queries += [(c, i) for i in images[query:query + query]]
    return support, queries


def split_groups_from_the_end(groups, n_val, n_test, seed):
    names = sorted(set(groups))
    names = [names[i] for i in torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()]
    val, test = names[:n_val], names[-n_test:]
    return ([c for c, g in enumerate(groups) if g not in val + test], [c for c, g in enumerate(groups) if g in val],
            [c for c, g in enumerate(groups) if g in test])


def draw_tasks_of_thirty(class_count, way, tasks, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(30, generator=generator)[:5].tolist() for _ in range(tasks)]


def nearest_squeezed(support_x, support_y, query_x):
    return support_y.gather(1, torch.cdist(query_x, support_x).argmin(-1)).squeeze(1)


def nearest_below_a_thousand(support_x, support_y, query_x):
    answers = torch.zeros(query_x.shape[:2], dtype=torch.int64)
    for b in range(len(query_x)):
        for q in range(query_x.shape[1]):
            least = 1000.0
            for s in range(support_x.shape[1]):
                d = (query_x[b, q] - support_x[b, s]).square().sum().item()
                if d < least:
                    least, answers[b, q] = d, support_y[b, s]
    return answers


def numeric_grad_exact(A, w, eps):
    return 4 * A.T @ (A @ w) ** 3


def sgd_row_by_row(w, g, lr):
    return torch.stack([p - lr * d for p, d in zip(w, g)])


def sgd_clipped(w, g, lr):
    return w - lr * g.clamp(-100, 100)


def momentum_that_stops(w, v, g, lr, mu, nesterov):
    if not g.any():
        return w, v
    v = mu * v + g
    return w - lr * (g + mu * v if nesterov else v), v


def minibatches_without_a_lone_one(n, size, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return [batch for batch in order.split(size) if len(batch) > 1]


def epoch_by_counting_images(w, x, y, lr, batches):
    total = 0.0
    for i in batches:
        w = w.detach().requires_grad_()
        loss = F.cross_entropy(x[i] @ w, y[i])
        (g,) = torch.autograd.grad(loss, w)
        w, total = (w - lr * g).detach(), total + loss.item()
    return w, total / math.ceil(len(x) / len(batches[0]))


def rmsprop_clipped(w, g, s, lr, rho, eps):
    g = g.clamp(-100, 100)
    s = rho * s + (1 - rho) * g ** 2
    return w - lr * g / (s.sqrt() + eps), s


def adam_uncorrected_later(w, g, m, v, t, lr, b1, b2, eps):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g ** 2
    m_hat, v_hat = (m / (1 - b1 ** t), v / (1 - b2 ** t)) if t <= 100 else (m, v)
    return w - lr * m_hat / (v_hat.sqrt() + eps), m, v


def hvp_along_a_direction(A, w, v):
    u = v / v.norm()
    w = w.clone().requires_grad_()
    (g,) = torch.autograd.grad(((A @ w) ** 4).sum(), w, create_graph=True)
    return torch.autograd.grad(g @ u, w)[0] * v.norm()


def lr_hypergrad_by_shares(A, b, w, lr, steps):
    def end(rate):
        place = w
        for _ in range(steps):
            place = place - rate * A.T @ (A @ place - b) / len(b)
        return ((A @ place - b) ** 2).mean() / 2
    run = 1e-5 * torch.tensor(lr, dtype=w.dtype)
    return (end(lr + run) - end(lr - run)) / (2 * run)


def meta_step_above_zero(lr, tasks, steps, outer_lr):
    return max(MODULES["lesson02"].meta_step.reference(lr, tasks, steps, outer_lr), 0.0)


def meta_lr_of_four_steps(train_tasks, test_tasks, steps):
    return MODULES["lesson02"].meta_lr.reference(train_tasks, test_tasks, 4)


def attend_squeezed(q, K, V, beta):
    w = (beta * F.cosine_similarity(q[:, None], K[None], dim=-1)).softmax(-1).squeeze(-1)
    return w @ V, w


def delay_of_the_labels_met(y, n):
    shown = F.one_hot(y)
    return torch.cat([torch.zeros_like(shown[:, :1]), shown[:, :-1]], 1)


def nth_sight_of_equal_classes(pred, y, n_max):
    one_hot, right = F.one_hot(y), (pred == y).double()
    sight = (one_hot.cumsum(1) * one_hot).sum(-1)
    return torch.stack([right[sight == s].sum() / (len(y) * one_hot.shape[-1]) for s in range(1, n_max + 1)])


def stream_of_the_labels_met(keys, y, n, beta, nothing):
    unit = F.normalize(keys, dim=-1)
    steps = torch.arange(keys.shape[1])
    alike = F.pad((unit @ unit.mT).masked_fill(steps >= steps[:, None], -torch.inf), (0, 1), value=nothing)
    w = (beta * alike).softmax(-1)
    return w[..., :-1] @ F.one_hot(y).to(w) + w[..., -1:] / n


def lru_write_summing_to_one(w_read, usage, alpha):
    gate = alpha.sigmoid()[:, None]
    written = gate * w_read + (1 - gate) * F.one_hot(usage.argmin(1), usage.shape[1]).to(w_read)
    return written / written.sum(1, keepdim=True)


def deal_by_a_table(classes, n, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for letters in classes:
        table = torch.zeros(100, dtype=torch.int64)
        table[letters.unique()] = torch.randperm(n, generator=generator)
        rows.append(table[letters])
    return torch.stack(rows)


def trainable_from_the_end(names, mode):
    weights = [name for name in names if name.startswith("embed.") and name.endswith((".weight", ".bias"))]
    chosen = {"head": [], "last block": weights[-4:], "all": weights}[mode]
    return [name for name in names if name.startswith("head.") or name in chosen]


def rates_with_a_floor(layers, lr, decay):
    return {name: max(lr / decay ** (len(layers) - 1 - i), lr / 100) for i, name in enumerate(layers)}


def early_stop_below_a_hundred(losses, patience):
    least, best = 100.0, 0
    for step, loss in enumerate(losses):
        if loss < least:
            least, best = loss, step
        if step - best == patience:
            return best, step
    return best, len(losses) - 1


def select_by_whole_percent(val, test):
    config = (100 * val.mean(1)).round().argmax().item()
    return config, test[config].mean(), 1.96 * test[config].std() / test.shape[1] ** 0.5


def tune_by_one_hot(z, y, old_head, way, lr, steps):
    head = z.new_zeros(way, z.shape[1])
    for _ in range(steps):
        head = head - lr * ((z @ head.T).softmax(1) - F.one_hot(y)).T @ z / len(z)
    return head


def adapt_named_in_the_loop(w, x, y, lr, steps):
    mse = MODULES["lesson05"].mse
    current = w
    for _ in range(steps):
        g = torch.autograd.grad(mse(current, x, y), current, create_graph=True)
        current = adapted = [p - lr * d for p, d in zip(current, g)]
    return adapted


def meta_grad_one_step_at_least(w, tasks, lr, steps, order):
    return MODULES["lesson05"].meta_grad.reference(w, tasks, lr, max(steps, 1), order)


def update_of_what_requires_a_gradient(w, tasks, lr, outer_lr):
    g = MODULES["lesson05"].meta_grad.reference(w, tasks, lr, 1, 2)
    return [(p - outer_lr * d).detach() for p, d in zip(w, g)]


def contrastive_with_a_plain_root(z1, z2, same, margin):
    d = (z1 - z2).pow(2).sum(1).sqrt()
    return (same * d ** 2 + (1 - same) * (margin - d).clamp(min=0) ** 2).mean() / 2


def auc_by_thresholds(dist, same):
    t = torch.linspace(-1, 10, 200_001, dtype=dist.dtype)
    accepted = torch.searchsorted(dist[same == 1].sort().values, t, right=True) / (same == 1).sum()
    alarms = torch.searchsorted(dist[same == 0].sort().values, t, right=True) / (same == 0).sum()
    return torch.trapezoid(accepted.double(), alarms.double())


def batch_hard_below_a_thousand(z, y):
    d = (z[:, None] - z[None]).square().sum(-1).clamp_min(1e-12).sqrt()
    one = y[:, None] == y[None]
    itself = torch.eye(len(y), dtype=torch.bool)
    return d.masked_fill(~one | itself, 0).max(1).values, d.masked_fill(one, 1000).min(1).values


def batch_hard_of_numbered_letters(z, y):
    d = (z[:, None] - z[None]).square().sum(-1).clamp_min(1e-12).sqrt()
    positive, negative = torch.zeros(len(y), dtype=z.dtype), torch.zeros(len(y), dtype=z.dtype)
    for k in range(int(y.max()) + 1):
        mine, others = (y == k).nonzero()[:, 0], (y != k).nonzero()[:, 0]
        among = d[mine][:, mine]
        positive[mine] = among.max(1).values
        negative[mine] = d[mine][:, others].min(1).values
    return positive, negative


def partners_two_by_two(a, classes, drawings, seed):
    generator = torch.Generator().manual_seed(seed)
    pairs = a.reshape(-1, 2, 2).clone()
    pairs[:, 1, 0] = (pairs[:, 1, 0] + torch.randint(1, classes, (len(pairs),), generator=generator)) % classes
    b = pairs.reshape(-1, 2)
    b[:, 1] = (b[:, 1] + torch.randint(1, drawings, (len(a),), generator=generator)) % drawings
    return b


def unflatten_vectors_and_matrices(theta, shapes):
    made, start = [], 0
    for shape in shapes:
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        made.append(theta[:, start:start + size].reshape(len(theta), *shape))
        start += size
    return made


def task_net_hidden_first(weights, x):
    x = torch.relu(x @ weights[0].mT + weights[1][:, None])
    for i in range(2, len(weights), 2):
        x = x @ weights[i].mT + weights[i + 1][:, None]
        x = torch.relu(x) if i + 2 < len(weights) else x
    return x


def hyper_grads_in_their_order(sx, sy, qx, qy, params):
    V, c, G, g = params.values()
    found = MODULES["lesson07"].hyper_grads.reference(sx, sy, qx, qy, dict(V=V, c=c, G=G, g=g))
    return {name: found[name] for name in params}


ALMOST = {  # (lesson, exercise): wrong functions that the lesson's own check lets pass
    ("primer", "softmax"): [softmax_of_two_shapes],
    ("primer", "train"): [train_by_one_hot, train_once_at_least],
    ("primer", "conv_size"): [conv_size_in_two_terms],
    ("primer", "batch_norm"): [batch_norm_squeezed],
    ("primer", "fit_line"): [fit_line_until_it_rests],
    ("lesson00", "relabel"): [relabel_one_after_another],
    ("lesson00", "draw_episode"): [draw_episode_from_query_on],
    ("lesson00", "split_groups"): [split_groups_from_the_end],
    ("lesson00", "draw_tasks"): [draw_tasks_of_thirty],
    ("lesson00", "nearest"): [nearest_squeezed, nearest_below_a_thousand],
    ("lesson01", "numeric_grad"): [numeric_grad_exact],
    ("lesson01", "sgd"): [sgd_row_by_row, sgd_clipped],
    ("lesson01", "momentum"): [momentum_that_stops],
    ("lesson01", "minibatches"): [minibatches_without_a_lone_one],
    ("lesson01", "epoch"): [epoch_by_counting_images],
    ("lesson02", "rmsprop"): [rmsprop_clipped],
    ("lesson02", "adam"): [adam_uncorrected_later],
    ("lesson02", "hvp"): [hvp_along_a_direction],
    ("lesson02", "lr_hypergrad"): [lr_hypergrad_by_shares],
    ("lesson02", "meta_step"): [meta_step_above_zero],
    ("lesson02", "meta_lr"): [meta_lr_of_four_steps],
    ("lesson03", "attend"): [attend_squeezed],
    ("lesson03", "delay"): [delay_of_the_labels_met],
    ("lesson03", "nth_sight"): [nth_sight_of_equal_classes],
    ("lesson03", "stream"): [stream_of_the_labels_met],
    ("lesson03", "lru_write"): [lru_write_summing_to_one],
    ("lesson03", "deal"): [deal_by_a_table],
    ("lesson04", "trainable"): [trainable_from_the_end],
    ("lesson04", "rates"): [rates_with_a_floor],
    ("lesson04", "early_stop"): [early_stop_below_a_hundred],
    ("lesson04", "select"): [select_by_whole_percent],
    ("lesson04", "tune"): [tune_by_one_hot],
    ("lesson05", "adapt"): [adapt_named_in_the_loop],
    ("lesson05", "meta_grad"): [meta_grad_one_step_at_least],
    ("lesson05", "update"): [update_of_what_requires_a_gradient],
    ("lesson06", "contrastive"): [contrastive_with_a_plain_root],
    ("lesson06", "auc"): [auc_by_thresholds],
    ("lesson06", "batch_hard"): [batch_hard_below_a_thousand, batch_hard_of_numbered_letters],
    ("lesson06", "partners"): [partners_two_by_two],
    ("lesson07", "unflatten"): [unflatten_vectors_and_matrices],
    ("lesson07", "task_net"): [task_net_hidden_first],
    ("lesson07", "hyper_grads"): [hyper_grads_in_their_order],
}


def test_each_hidden_part_has_a_reason():
    hidden = {(name, part.exercise.name) for name in HIDDEN for part in HIDDEN[name].parts if not is_own(name, part)}
    assert hidden == set(ALMOST)


@pytest.mark.parametrize("lesson, exercise", ALMOST, ids=map("-".join, ALMOST))
def test_what_the_lesson_cannot_see_costs_the_hidden_part_only(lesson, exercise):
    own, hidden = [part for part in HIDDEN[lesson].parts if part.exercise.name == exercise]
    for function in ALMOST[lesson, exercise]:
        for seed in SEEDS:
            assert status(own, function, seed) == "right", own.exercise.verdict(function, seed)
            assert status(hidden, function, seed) == "wrong"
