"""The box is tried before it is used: with any one of its walls taken away, nothing is graded."""

import json
import os
import socket
import stat
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from metalearn_lite.check import lesson05
from metalearn_lite.grade import box, marks
from test_grade_attacks import ASKED, ATTACKS, GIVEN, HONEST, WRONG_CELL, do_without, gets_nothing
from metalearn_lite.grade.parts import Hidden, Part

pytestmark = [pytest.mark.grading, pytest.mark.timeout(120)]


@pytest.fixture(scope="module", autouse=True)
def boxes():
    """Skips, with a reason, where no box can be had."""
    try:
        with box.Box(ASKED):
            pass
    except box.Unboxed as error:
        do_without(str(error).splitlines()[0])


def without(monkeypatch, old, new):
    """The worker with a piece of its source taken out."""
    copy = box.library_copy

    def changed(folder, library):
        copy(folder, library)
        path = Path(folder, "box", "worker.py")
        source = path.read_text()
        assert old in source, f"there is no {old!r} in the worker any more"
        path.write_text(source.replace(old, new))

    monkeypatch.setattr(box, "library_copy", changed)


def open_with(command=box.bubblewrap, secret=()):
    with box.Box(ASKED, command=command, secret=secret):
        pass


HOLES = {  # what is taken out of the worker: what is taken out of, or put into, bubblewrap's command
    "the network": ('"net": 0x40000000', '"net": 0', lambda c: [a for a in c if a != "--unshare-net"]),
    "other processes": ('"pid": 0x20000000', '"pid": 0', lambda c: c),
    "capabilities": ('call("capset", header, (ctypes.c_uint32 * 6)())', "pass", lambda c: c),
    "the bounding set": ("libc.prctl(24, capability, 0, 0, 0)", "pass", lambda c: c),
    "namespaces": ('write("/proc/sys/user/max_user_namespaces", "0")', 'REFUSED.pop("unshare")', lambda c: c),
    "the environment": ("import ctypes", "import ctypes", lambda c: [a for a in c if a != "--clearenv"]),
    "files": ("import ctypes", "import ctypes", lambda c: [c[0], "--ro-bind", "/etc", "/etc", *c[1:]]),
    "a writable folder": ("import ctypes", "import ctypes", lambda c: [
        "--bind" if c[i + 2:i + 3] == ["/course"] else a for i, a in enumerate(c)]),
    "the grader's user": ("os.setresuid(NOBODY, NOBODY, NOBODY)", "pass", lambda c: c),
    "the grader's groups": ("        os.setgroups([])  # the grader's own\n", "        pass\n", lambda c: c),
    "the machine's name": ("import ctypes", "import ctypes", lambda c: [
        a for a in c if a not in ("--hostname", "box")]),
    "kernel calls": ("    refuse_calls()\n", "", lambda c: c),
    "a secret": ("import ctypes", "import ctypes", lambda c: [
        c[0], "--perms", "0755", "--dir", "/opt", "--ro-bind", __file__, "/opt/roster", *c[1:]]),
    "a pipe of the worker's": ("                os.close(tell)\n", "", lambda c: c),
}


@pytest.mark.parametrize("hole", HOLES)
def test_a_box_with_a_hole_is_not_used(hole, monkeypatch):
    if hole in ("the grader's user", "the grader's groups") and os.geteuid() != 0:
        pytest.skip("only root could be somebody else in the box")
    if hole == "a writable folder" and os.geteuid() == 0:
        pytest.skip("nobody cannot write what is root's, bound read-only or not")
    old, new, change = HOLES[hole]
    without(monkeypatch, old, new)
    monkeypatch.setenv("SECRET_OF_THE_GRADER", "42")
    groups = os.getgroups()
    try:
        if hole == "the grader's groups":
            os.setgroups([4, 6])
        with pytest.raises(box.Unboxed, match="the box leaks|could not be tried"):
            open_with(lambda course: change(box.bubblewrap(course)), secret=["/opt/roster"])
    finally:
        if hole == "the grader's groups":
            os.setgroups(groups)


def test_as_root_the_groups_of_the_grader_stay_outside():
    if os.geteuid() != 0:
        pytest.skip("only root can leave its groups")
    groups = os.getgroups()
    try:
        os.setgroups([4, 6])
        open_with()
    finally:
        os.setgroups(groups)


@pytest.mark.parametrize("folder", ["/usr/share", sys.base_prefix, sys.prefix])
def test_what_is_secret_must_not_lie_where_the_box_finds_python(folder):
    """There are no such files yet, but the grades that a run writes there would be seen."""
    with pytest.raises(box.Unboxed, match="must lie elsewhere"):
        open_with(secret=[Path(folder, "a", "class")])


def test_a_course_below_python_is_refused(monkeypatch):
    monkeypatch.setattr(box, "COURSE", Path(sys.base_prefix, "share", "metalearn_lite"))
    with pytest.raises(box.Unboxed, match="solutions lies below .* must lie elsewhere"):
        open_with()


def test_a_course_among_the_packages_is_seen(monkeypatch):
    """Python's packages may hold a second copy of the course, with its answers."""
    copy = box.library_copy

    def with_answers(folder, library):
        copy(folder, library)
        Path(folder, "metalearn_lite", "check").mkdir()
        Path(folder, "metalearn_lite", "check", "lesson05.py").touch()

    monkeypatch.setattr(box, "library_copy", with_answers)
    with pytest.raises(box.Unboxed, match="it sees /course/metalearn_lite/check"):
        open_with()


def test_without_bubblewrap_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(box.shutil, "which", lambda name: None)
    with pytest.raises(box.Unboxed, match="apt install bubblewrap"):
        open_with()


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_it_says_so(monkeypatch, system):
    monkeypatch.setattr(box.sys, "platform", system)
    with pytest.raises(box.Unboxed, match="virtual machine"):
        open_with()


def test_a_bubblewrap_that_may_not_make_namespaces_is_quoted(tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(box.Unboxed, match="uid map: Permission denied(.|\n)*apparmor_restrict_unprivileged_userns"):
        open_with(lambda course: [str(fake)])


def test_a_worker_that_is_gone_is_replaced():
    with box.Box(ASKED) as opened:
        first = opened.process.pid
        opened.process.kill()
        opened.process.wait()
        assert [result.got for result in marks.judge([HONEST], ASKED, opened)] == [2, 1]
        assert opened.process.pid != first


def test_one_exercise_that_hangs_or_ends_costs_only_itself():
    parts = (Part(lesson05.adapt, 2), Part(lesson05.reptile, 3), Part(lesson05.meta_grad, 1))
    hidden = Hidden("lesson05", parts, ("data", "nets"), GIVEN)
    reptile = """
def reptile(w, adapted, eps):
    return [p + eps * (sum(a[i] for a in adapted) / len(adapted) - p) for i, p in enumerate(w)]
"""
    with box.Box(hidden, seconds=3.0, wall=4.0) as opened:
        for bad in ("import os\ndef adapt(*a):\n    os._exit(3)", "def adapt(*a):\n    while True: pass",
                    "def adapt(*a):\n    return bytearray(2**40)"):
            began = time.monotonic()
            results = marks.judge([bad, reptile, "def meta_grad(w, tasks, lr, steps, order):\n    return ..."], hidden, opened)
            assert [(r.exercise, r.got) for r in results] == [("adapt", 0), ("reptile", 3), ("meta_grad", 0)]
            assert results[2].status == "open" and time.monotonic() - began < 15


def test_who_takes_the_processors_takes_nobodys_marks():
    """Both share one processor. By the clock, the honest one needs more than its three seconds."""
    slow = "import time\n" + HONEST.replace("    for _", "    while time.process_time() < 1.0:\n        pass\n    for _")
    ended = []
    with box.Box(ASKED, warm=False, seconds=3.0, wall=60.0) as busy, \
            box.Box(ASKED, warm=False, seconds=3.0, wall=60.0) as opened:
        for one in (busy, opened):
            for process in psutil.Process(one.process.pid).children(recursive=True):
                process.cpu_affinity([min(os.sched_getaffinity(0))])

        def attack():
            with pytest.raises(box.Lost, match="too long"), busy.run(
                    [ATTACKS["keeps fifty processes busy"]], "adapt") as channel:
                channel.ask({"args": {"list": []}, "kwargs": {"dict": []}})
            ended.append(time.monotonic())

        beside = threading.Thread(target=attack)
        beside.start()
        while len(psutil.Process(busy.process.pid).children(recursive=True)) < 20:
            assert beside.is_alive()
        began = time.monotonic()
        results = marks.judge([slow], ASKED._replace(parts=ASKED.parts[:1]), opened)
        assert [result.got for result in results] == [2], results
        beside.join()
        assert began < ended[0] < began + 40  # they did work at the same time, and the clock did not end it


def test_the_time_of_processes_that_have_ended_counts():
    short = """
import os, time
def adapt(*a):
    while True:
        if os.fork() == 0:
            while time.process_time() < 0.4:
                pass
            os._exit(0)
        os.wait()
"""
    with box.Box(ASKED, warm=False, seconds=1.0, wall=60.0) as opened:
        began = time.monotonic()
        with pytest.raises(box.Lost, match="too long"), opened.run([short], "adapt") as channel:
            channel.ask({"args": {"list": []}, "kwargs": {"dict": []}})
        assert time.monotonic() - began < 40


def test_forks_that_share_their_memory_do_not_pay_for_it_twice(monkeypatch):
    monkeypatch.setattr(box, "MEMORY", 2**30)
    pool = HONEST.replace("    for _", "    pool()\n    for _") + """
import os, time
kept = bytearray(b"x") * 2**27
def pool():
    for _ in range(16):
        if os.fork() == 0:
            time.sleep(0.6)
            os._exit(0)
    for _ in range(16):
        os.wait()
"""
    with box.Box(ASKED) as opened:
        (result,) = marks.judge([pool], ASKED._replace(parts=ASKED.parts[:1]), opened)
    assert result.got == 2, result


def test_where_the_machine_has_no_memory_left_the_grader_fails_and_nobody_gets_nothing(monkeypatch):
    with box.Box(ASKED) as opened:
        little = psutil.virtual_memory()._replace(available=psutil.virtual_memory().total // 11)
        monkeypatch.setattr(box.psutil, "virtual_memory", lambda: little)
        with pytest.raises(box.Unboxed, match="a tenth of its memory"):
            marks.judge(["def adapt(*a):\n    while True: pass"], ASKED, opened)
        monkeypatch.undo()
        monkeypatch.setattr(box, "used", lambda *arguments: 1 / 0)  # nor does it go on with its eyes shut
        with pytest.raises(box.Unboxed, match="cannot be watched"):
            marks.judge(["def adapt(*a):\n    while True: pass"], ASKED, opened)
        monkeypatch.undo()
        assert [result.got for result in marks.judge([HONEST], ASKED, opened)] == [2, 1]


def test_answers_that_lie_ready_do_not_stop_the_clock():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"".join(json.dumps({"id": k, "answer": None, "now": {}}).encode() + b"\n" for k in range(20)))
        channel = box.Channel(ours, 0.5)
        channel.begin({})
        with pytest.raises(box.Lost, match="too long"):
            for _ in range(10):
                channel.ask({"args": {"list": []}, "kwargs": {"dict": []}})
                time.sleep(0.1)


SENTINEL = 14142
TELLTALES = {  # ways in which a function can say what it was given
    "words of an error": "raise ValueError(str(steps))",
    "the name of an error": "raise type('E' + str(steps), (Exception,), {})()",
    "the shape of its answer": "return torch.zeros(0, steps)",
    "where it is no number": "return [torch.where(torch.arange(40000) == steps, torch.nan, 0.0) for p in w]",
    "the length of its answer": "return [0] * (steps % 10000)",
    "the name of a type": "return type('T' + str(steps), (), {})()",
    "the name of an argument": """import inspect
    adapt.__signature__ = inspect.Signature([inspect.Parameter(f"a{steps}", inspect.Parameter.POSITIONAL_OR_KEYWORD),
                                             *list(inspect.signature(adapt).parameters.values())[1:]])
    w[0].data += 1
    return w""",
    "the line of an error": "exec(compile(f'raise ValueError() # {steps}', '<cell 7>', 'exec'))",
}


@pytest.mark.parametrize("way", TELLTALES)
def test_what_a_hidden_case_is_given_does_not_reach_the_page(way):
    telltale = f"import torch\ndef adapt(w, x, y, lr, steps):\n    {TELLTALES[way]}"
    part = Part(lesson05.adapt, 1, "a number of steps", cases=lambda g: [
        (*arguments[:4], SENTINEL) for arguments in lesson05.adapt.cases(g)])
    reference = replace(lesson05.adapt, mistakes=(), reference=lambda w, x, y, lr, steps: w)  # so many steps take their time
    with box.Box(Hidden("lesson05", (part,), ("data", "nets"), GIVEN)) as opened:
        (result,) = marks.judge([telltale], Hidden("lesson05", (part._replace(exercise=reference),), (), GIVEN), opened)
    assert result.got == 0 and result.status in ("wrong", "lost")
    assert str(SENTINEL) not in result.message and str(SENTINEL)[1:] not in result.message
    assert result.status == "wrong", result.message  # and it was judged


def test_an_error_on_fresh_numbers_of_the_public_check_is_told_in_its_own_words():
    telltale = "def adapt(w, x, y, lr, steps):\n    raise ValueError('my own words')"
    with box.Box(ASKED) as opened:
        public, hidden = marks.judge([telltale], ASKED, opened)
    assert "ValueError: my own words" in public.message and "line 2" in public.message
    assert hidden.message == "Case 1 stopped with ValueError."


# --------------------------------------------------------------------------- mutants of the grader turn these tests red


def test_a_comparison_that_always_passes_would_be_seen(monkeypatch):
    from metalearn_lite.check import exercise

    with box.Box(ASKED) as opened:
        assert gets_nothing(marks.judge([WRONG_CELL], ASKED, opened))
        monkeypatch.setattr(exercise, "difference", lambda answer, expected, where="": None)
        assert not gets_nothing(marks.judge([WRONG_CELL], ASKED, opened))


def test_believing_the_box_would_be_seen(monkeypatch):
    """A judge that takes the box's word for the verdict gives marks to what the attacks say."""
    forged = ATTACKS["says that it is right"]
    with box.Box(ASKED) as opened:
        assert gets_nothing(marks.judge([forged], ASKED, opened))
        monkeypatch.setattr(marks, "_function", lambda part, channel: (channel.found.get("status"), ""))
        assert not gets_nothing(marks.judge([forged], ASKED, opened))
