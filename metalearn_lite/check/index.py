"""What the contents page shows: the closing self-test, and which objective each exercise and quiz serves.

To add a lesson: its entry in SERVES, and its row in the map of solutions/index.py.
"""
import html
import json
import re
from pathlib import Path
from typing import NamedTuple

from ..widgets import Quiz, inline
from . import progress

# The objective (its number in the lesson's first cell) that each exercise and each quiz serves. A warm-up question
# serves an objective of an earlier lesson: "primer 3" or "00 1".
SERVES = {
    "primer": {
        "fit_line": 1, "softmax": 3, "train": 4, "conv_size": 5, "batch_norm": 6,
        "SELF_TEST 1": 1, "SELF_TEST 2": 2, "SELF_TEST 3": 3, "SELF_TEST 4": 4, "SELF_TEST 5": 5, "SELF_TEST 6": 6},
    "lesson00": {
        "relabel": 1, "draw_episode": 1, "draw_tasks": 3, "mean_ci95": 4, "split_groups": 5, "nearest": 2,
        "SHOT": 1, "LOOPS": 3, "COVERS": 4,
        "WARM_UP 1": "primer 1", "WARM_UP 2": "primer 3", "WARM_UP 3": "primer 6"},
    "lesson01": {
        "numeric_grad": 1, "sgd": 6, "loop": 6, "momentum": 5, "softmax_ce": 6, "minibatches": 4, "epoch": 7,
        "WRONG_REWARD": 7, "NOISE": 7,
        "WARM_UP 1": "primer 3", "WARM_UP 2": "primer 2", "WARM_UP 3": "00 3"},
    "lesson02": {
        "rmsprop": 1, "adam": 1, "hvp": 4, "lr_hypergrad": 3, "meta_lr": 5, "meta_step": 3,
        "BY_NAME": 1, "WHICH": 7,
        "WARM_UP 1": "01 2", "WARM_UP 2": "01 5", "WARM_UP 3": "00 3"},
    "lesson03": {
        "attend": 1, "hops": 3, "delay": 4, "nth_sight": 4, "stream": 5, "lru_write": 5, "deal": 7,
        "READING": 2, "STEP_LATE": 4, "FIRST_SIGHT": 5, "BOUND": 7,
        "WARM_UP 1": "00 1", "WARM_UP 2": "00 2", "WARM_UP 3": "primer 3"},
    "lesson04": {
        "centroid_logits": 1, "trainable": 2, "rates": 3, "early_stop": 4, "select": 6, "as_images": 7, "tune": 7,
        "FROZEN": 2, "REMEDY": 4, "ERASED": 5, "SHARED": 6, "COMPANY": 7,
        "WARM_UP 1": "primer 6", "WARM_UP 2": "00 4", "WARM_UP 3": "00 3"},
    "lesson05": {
        "adapt": 1, "loop": 1, "meta_grad": 2, "update": 3, "reptile": 1, "metasgd_grad": 2,
        "START": 6, "ALONE": 5, "COPY": 3, "NAME_ONLY": 3, "VMAPPED": 3,
        "WARM_UP 1": "00 1", "WARM_UP 2": "01 1", "WARM_UP 3": "02 3"},
    "lesson06": {
        "contrastive": 1, "auc": 2, "batch_hard": 4, "prototypes": 5, "proto_linear": 5, "partners": 2,
        "CLASS_OR_TASK": 1, "PRIOR": 2, "LINEAR": 5, "TOO_GOOD": 2,
        "WARM_UP 1": "00 2", "WARM_UP 2": "04 1", "WARM_UP 3": "05 5"},
    "lesson07": {
        "unflatten": 1, "task_net": 1, "encode_set": 2, "film": 6, "feed": 3, "hyper_grads": 3,
        "DUPLICATED": 2, "EVERYWHERE": 5, "SIDE": 3,
        "WARM_UP 1": "05 1", "WARM_UP 2": "00 4", "WARM_UP 3": "04 2"},
}


def _there(lesson):
    return (Path(__file__).parent / f"lesson{lesson}.py").exists()


class Question(NamedTuple):
    """A question of the self-test, with the lesson ("00") and the section (its number) to reread."""

    lesson: str
    section: int | None
    quiz: Quiz


def _ask(lesson, section, question, choices):
    again = f" Reread lesson {lesson}" + (f", section {section}." if section else ".")
    return Question(lesson, section, Quiz(question, [(text, right, why if right else why + again)
                                                     for text, right, why in choices]))


QUESTIONS = [question for question in (
    _ask("00", 5, "Method A scores 91.0 ± 0.5 % and method B 91.6 ± 0.5 %, on the same 600 tasks. You want to know "
                  "which of the two trained networks is better. What do you look at?", [
        ("whether the two intervals overlap", False,
         "Overlapping intervals can hide a clear difference: both contain the same hard and easy tasks."),
        ("the interval of the difference, taken task by task", True,
         "Hard tasks are hard for both. In the difference that cancels, and the interval becomes narrower."),
        ("the means over 10,000 more tasks for each, drawn separately", False,
         "That narrows the intervals at a price, and still adds the luck of two draws."),
        ("nothing more: the higher mean decides", False,
         "A mean without an interval does not say how much of it is luck.")]),
    _ask("00", 5, "A few-shot data set is divided by image: of each class, 80 % of the images are for meta-training, "
                  "the rest for meta-testing. What does the test score tell you?", [
        ("how well the learner does on classes that are new to it", False,
         "There are no new classes in it: each was seen in meta-training."),
        ("how well it does on new images of old classes", True,
         "So it can be high without any learning from few examples. Whole classes, better whole groups, have to be "
         "held out."),
        ("the same as with a split by class, with more noise", False,
         "The split decides what the score means. No number of tasks changes that.")]),
    _ask("01", 4, "The loss is a bowl with curvatures 10 and 0.1. Plain gradient descent needs about a hundred steps "
                  "for each digit. Why not take a larger step size?", [
        ("it would run away along the steep direction", True,
         "The limit is 2 / 10, set by the largest curvature. The flat direction has to live with it: the condition "
         "number is 100."),
        ("it would run away along the flat direction", False,
         "There the limit would be 2 / 0.1 = 20. The flat direction is the slow one."),
        ("it would stop in a local minimum", False, "A bowl has one minimum."),
        ("a larger step size makes the gradient noisy", False, "Noise comes from mini-batches. There are none here.")]),
    _ask("01", 9, "A training loss has fallen from 26 to 0.9. Which check says most about whether the network learned "
                  "anything from the images?", [
        ("ten times as many updates of the same training", False,
         "A loss also falls by learning the mean, or the training set by heart."),
        ("the same training with shuffled labels", True, "If that curve looks alike, the images had no part in it."),
        ("a smaller step size", False, "It changes how the loss falls, and not what a fall means."),
        ("the loss of the last batch alone", False, "One batch shows the same quantity with more noise.")]),
    _ask("02", 6, "You differentiate a loss after three steps of descent by the step size, and forget "
                  "`create_graph=True` in the inner `torch.autograd.grad`. What happens?", [
        ("PyTorch raises an error, because the graph is gone", False,
         "The step `w - lr * g` still depends on `lr`: there is a path, so there is no error."),
        ("the result is zero", False,
         "The direct path through `lr * g` is still there. Lost is how the later gradients depend on `lr`."),
        ("you get another number than the slope, and no warning", True,
         "The gradients count as constants. Only a comparison with a measured slope shows it."),
        ("the result is right, only slower", False,
         "That graph is what carries the second derivatives. Without it they are missing.")]),
    _ask("02", 10, "Which of these is a meta-learner?", [
        ("Adam with its usual settings, however well they work", False,
         "Its rule was written by people, and nothing in it was trained on tasks."),
        ("Adam that keeps its averages from one task to the next", False,
         "It carries numbers over, but nothing has trained them to be useful on a new task."),
        ("a network with very many parameters", False, "Size does not make a network learn how to learn."),
        ("step sizes trained on many tasks and judged on others", True,
         "What learns was itself learned on a family of tasks, and is tested on tasks that it never met.")]),
    _ask("04", 2, "You freeze a pretrained network with `requires_grad_(False)` on all parameters, and leave it in "
                  "`train()` mode. What in it still changes while a new head is trained?", [
        ("nothing", False, "Running averages are not parameters, and `requires_grad` does not touch them."),
        ("the weights of its convolutions, slowly", False, "They have no gradient, so no optimiser moves them."),
        ("the running averages of batch norm", True,
         "Each forward pass in `train()` mode updates them. Frozen also means `eval()`."),
        ("the weights of its last layer only", False, "These do not move either: they have no gradient.")]),
    _ask("04", 6, "A network was trained to tell letters apart, whoever wrote them. Frozen, it is bad at telling the "
                  "writers apart. Why?", [
        ("there were too few writers in the training data", False,
         "More writers would not bring back what the embedding leaves out."),
        ("it was rewarded for ignoring what differs between writers", True,
         "What varied within the training classes is what it learned to drop. On such a target, transfer is negative."),
        ("it was trained on the letters for too few updates", False,
         "Longer training on letters drops the writer more thoroughly."),
        ("a linear head cannot tell writers apart, whatever it is given", False,
         "It can, if the numbers that it is given still hold the writer.")]),
    _ask("05", 3, "In MAML's outer loop: which loss is taken, and at which weights?", [
        ("the queries' loss at the adapted weights", True,
         "Its gradient is then taken by the start, through the inner steps."),
        ("the support loss at the adapted weights", False,
         "That would reward fitting the examples, not what comes of it on queries."),
        ("the queries' loss at the start", False, "Then the inner steps would play no part: that is joint training."),
        ("the support loss at the start", False, "That is what the inner loop goes down on.")]),
    _ask("05", 8, "When may you leave out MAML's second order with little harm?", [
        ("always: papers report nearly the same accuracy", False,
         "They report it for their inner rates. At a large rate first order can even point uphill."),
        ("if there is more than one inner step", False, "More steps mean more factors that first order leaves out."),
        ("if the network is large", False, "Then memory may force you to. That does not make it harmless."),
        ("if inner rate times curvature is small", True,
         "Each inner step multiplies by 1 - rate · curvature, and then this is nearly 1.")]),
    _ask("03", 4, "A memory network sees a stream of images of five new classes, and each image's label one step "
                     "later. What do you expect the first time that it sees a class?", [
        ("little better than a guess", True,
         "Nobody has told it the label yet. At best it can leave out labels that are taken."),
        ("the same accuracy as the second time", False,
         "Only after the first time is the label written beside the image."),
        ("nearly 100 %, because a memory does not forget", False,
         "There is nothing about this class in the memory yet."),
        ("0 %, because the class was not in the training", False,
         "No class of the stream was. It can still hit a label by chance.")]),
    _ask("06", 4, "A Siamese network is right on 99 % of pairs when it says whether they show the same letter. "
                     "What follows for 20-way 1-shot classification?", [
        ("99 % there, too", False,
         "One query is compared with 20 letters, and one wrong letter that comes out nearer is enough to fail."),
        ("99 % divided by 20, because there are 20 classes", False,
         "Errors add up over rivals, but the accuracy is not divided among the classes."),
        ("nothing, because pairs have no classes", False, "Both rest on the same distances, so there is a relation."),
        ("probably less, because each query has 19 rivals", True,
         "Verification is one decision. Classification has to win against 19 rivals at once.")]),
    _ask("06", 7, "A prototypical network uses the squared Euclidean distance. What kind of classifier is it in "
                     "its embedding?", [
        ("one with circles around the prototypes as boundaries", False,
         "The square of the query is the same in all logits, and cancels."),
        ("one that keeps every example", False, "It keeps the means only. Nearest neighbour keeps the examples."),
        ("a linear one", True, "The boundary of two classes lies where two distances are equal: a hyperplane."),
        ("a network with one more hidden layer", False, "No weights are added to the embedding.")]),
    _ask("07", 8, "A hypernetwork is to make the weights of a task network, and the loss falls. What shows that it "
                     "really does?", [
        ("the falling loss, because both are trained together", False,
         "A task network with weights of its own can lower the loss alone."),
        ("gradients of its parameters that match measured slopes", True,
         "If what it makes were not used, its gradients would be zero or None."),
        ("the number of its parameters", False, "Parameters that feed nothing count, too."),
        ("an output of the right shape", False, "A right shape can be made and thrown away.")]),
) if _there(question.lesson)]

SELF_TEST = [question.quiz for question in QUESTIONS]


# ------------------------------------------------------------------------------------- read from the lessons


def title(lesson, folder="."):
    """The title of a lesson's notebook in ``folder``, or the lesson's name where there is none to be read."""
    if lesson == "index":
        return "Self-test on this page"
    return (re.findall(r"^# (.+)$", first_cell(lesson, folder), re.MULTILINE) or [lesson])[0]


def objectives(lesson, folder="."):
    """number -> text of the objectives in the first cell of a lesson's notebook."""
    listed = re.search(r"You will be able to\*\*\n(.*?)\n\n\*\*", first_cell(lesson, folder), re.DOTALL)
    found = re.findall(r"(\d+)\. (.*?)[.;]?(?=\n\d+\. |$)", listed[1].strip() if listed else "", re.DOTALL)
    return {int(number): " ".join(text.split()) for number, text in found}


def first_cell(lesson, folder="."):
    """The text of the first cell of a lesson's notebook, "" where there is none to be read."""
    found = Path(folder).glob(f"{lesson.removeprefix('lesson')}_*.ipynb")
    try:
        path = min(found, key=lambda path: len(path.name))  # "...-Copy1.ipynb" is longer
        return "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def show():
    """Each lesson's objectives with the exercises and quizzes that serve them, and which are done. Ends a cell."""
    records, text, markup = progress.read(), [], ""
    for lesson, places in SERVES.items():
        items = progress.items(progress.modules()[lesson])
        ticks = {name: progress.tick(records.get(f"{lesson}.{name}")) for name in places}
        wanted = objectives(lesson)
        rows = [(f"{number}. {words}", [name for name in places if places[name] == number])
                for number, words in wanted.items()]
        text.append(title(lesson))
        body = ""
        for words, names in rows:
            text.append(f"  {words}: " + ("; ".join(f"{label(name, items[name])} ({ticks[name]})" for name in names)
                                          or "your own predictions and measurements"))
            body += _row(words, [f"{ticks[name]}: {inline(label(name, items[name]))}" for name in names]
                         or ["your own predictions and measurements"])
        early = {name: place for name, place in places.items() if isinstance(place, str)}
        if early:
            words = "Warm-up, on objectives of earlier lessons"
            text.append(f"  {words}: " + "; ".join(f"{place} ({ticks[name]})" for name, place in early.items()))
            body += _row(words, [f"{ticks[name]}: objective {place.split()[1]} of "
                                 f"{'the primer' if place.startswith('primer') else 'lesson ' + place.split()[0]}"
                                 for name, place in early.items()])
        done = sum(tick == progress.tick({"status": "right"}) for tick in ticks.values())
        markup += (f"<details><summary>{html.escape(title(lesson))}: {done} of {len(ticks)} right</summary><table>"
                   '<thead><tr><th scope="col" style="text-align: left">you will be able to</th>'
                   '<th scope="col" style="text-align: left">serves it</th></tr></thead>'
                   f"<tbody>{body}</tbody></table></details>")
    return progress.Shown("\n".join(text), markup)


def label(name, item):
    """What a learner reads of an exercise or a quiz: "exercise `sgd`", "quiz: Which finding convicts the loss ...".

    A question's number, and the lesson it recalls, stand before it: both are left out.
    """
    if not isinstance(item, Quiz):
        return f"exercise `{name}`"
    question = re.sub(r"^\d+\. (\(.*?\) )?", "", item.question)
    return f"quiz: {question if len(question) <= 70 else question[:66].rsplit(' ', 1)[0] + ' ...'}".replace("`", "")


def _row(words, served):
    return (f'<tr><th scope="row" style="text-align: left; font-weight: normal">{inline(words.replace("*", ""))}</th>'
            f'<td style="text-align: left">{"<br>".join(served)}</td></tr>')
