"""What tells a learner whether an exercise is right, and if not, why not. One module a lesson holds its exercises.

    checked_sgd = lesson01.sgd(sgd)     # displays the verdict; the lesson goes on with what comes back

A lesson's module holds Exercises (a function to write), Orders (lines to put in order) and Quizzes, each in a variable
of its own name.
"""
from ..widgets import Quiz
from .exercise import Exercise, Mistake, Property, slopes
from .order import Order
from .report import Verdict

__all__ = ["Exercise", "Mistake", "Order", "Property", "Quiz", "Verdict", "all_exercises", "all_quizzes",
           "slopes"]


def all_exercises(module):
    """The Exercises and Orders of a lesson's module, in the order they were written."""
    return [value for value in vars(module).values() if isinstance(value, (Exercise, Order))]


def all_quizzes(module):
    """The Quizzes of a lesson's module, lists and tuples of them included, in the order they were written."""
    found = []
    for value in vars(module).values():
        found += [v for v in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(v, Quiz)]
    return found
