"""The attack corpus: every mark is 0, nothing is left behind, and the next student's marks are what they should be."""

import os
import socket
import sys
import threading
from pathlib import Path

import psutil
import pytest

from metalearn_lite.check import lesson05
from metalearn_lite.grade import box, marks
from metalearn_lite.grade.parts import Hidden, Part

sys.path.insert(0, str(Path(__file__).parent / "grading"))
from corpus_attacks import ATTACKS, CAUGHT, ON_THE_MACHINE  # noqa: E402, F401
from corpus_attacks import WRONG as WRONG_CELL  # noqa: E402

pytestmark = [pytest.mark.grading, pytest.mark.timeout(120)]
SECONDS = 4.0
GIVEN = {"check.lesson05": [lesson05.mse, lesson05.predict]}
ASKED = Hidden("lesson05", (Part(lesson05.adapt, 2), Part(lesson05.adapt, 1, "three steps", cases=lambda g: [
    arguments[:4] + (3,) for arguments in lesson05.adapt.cases(g)])), ("data", "nets"), GIVEN)
HONEST = """
import torch
from metalearn_lite.check.lesson05 import mse
def adapt(w, x, y, lr, steps):
    for _ in range(steps):
        w = [p - lr * g for p, g in zip(w, torch.autograd.grad(mse(w, x, y), w, create_graph=True))]
    return w
"""


def do_without(reason):
    """Where there is no box a user is told why; on the machine that guards the project it must be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and with CI set these tests must run")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def opened():
    try:
        with box.Box(ASKED, seconds=SECONDS, wall=2 * SECONDS) as found:
            yield found
    except box.Unboxed as error:
        do_without(str(error).splitlines()[0])


@pytest.fixture(scope="module")
def listener():
    """A server on this machine, and the names of those who called."""
    calls, server, hidden = [], socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    port = server.getsockname()[1]
    hidden.bind(f"\0grader-{port}")
    hidden.listen()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", port))

    def serve(wait):
        while True:
            try:
                wait()
            except OSError:
                return
            calls.append("somebody")

    for wait in (server.accept, hidden.accept, lambda: datagrams.recv(10)):
        threading.Thread(target=serve, args=(wait,), daemon=True).start()
    with socket.create_connection(("127.0.0.1", port)):
        pass
    while not calls:  # the server does hear
        pass
    calls.clear()
    yield port, calls
    for each in (server, hidden, datagrams):
        each.close()


@pytest.fixture
def watched(tmp_path, monkeypatch, opened):
    """A file that must stay as it is, and a look at this machine's folders and processes before and after."""
    monkeypatch.setenv("SECRET_OF_THE_GRADER", "42")
    monkeypatch.setattr(box, "MEMORY", 2**30)  # sooner, and kinder to the machine
    canary = tmp_path / "canary"
    canary.write_text("whole")
    root = Path(__file__).resolve().parent.parent
    folders = [Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path.home(), root, root / "metalearn_lite", Path.cwd()]

    def look():
        files = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
        return {path for path in files if path.name in ("left_behind", "sitecustomize.py", "torch.py", "grades.csv")}

    before = look()
    yield canary
    assert canary.read_text() == "whole"
    assert look() == before
    alive = psutil.Process(opened.process.pid).children(recursive=True)
    assert len(alive) <= 2, f"still there: {alive}"  # bubblewrap, and the warm process


def test_the_honest_answer_gets_the_marks(opened):
    assert [result.got for result in marks.judge([HONEST], ASKED, opened)] == [2, 1]


def gets_nothing(results):
    return [(result.exercise, result.got) for result in results] == [("adapt", 0), ("adapt", 0)]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_nothing_and_leaves_nothing(name, opened, watched, listener):
    port, calls = listener
    source = ATTACKS[name].replace("LISTENER", str(port)).replace("CANARY", str(watched))
    results = marks.judge([source], ASKED, opened)
    assert gets_nothing(results), results
    assert all(result.status in ("wrong", "open", "lost") and len(result.message) < 2000 for result in results)
    assert not any("42" == result.message for result in results)
    assert CAUGHT.get(name, "") in results[0].message
    assert calls == []
    assert [result.got for result in marks.judge([HONEST], ASKED, opened)] == [2, 1]  # the next student


def test_there_are_enough():
    assert len(ATTACKS) >= 50
