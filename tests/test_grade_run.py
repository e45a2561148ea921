"""A class is graded: rows as they come, breaks and crashes, regrading, lateness, rosters, pages, adding up.

A stand-in examiner is used, no box: a submission's points are what its `MARK = ..` says.
"""

import contextlib
import csv
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalearn_lite.__main__ import main
from metalearn_lite.check import lesson05
from metalearn_lite.grade import gradebook, pages, parts, run
from metalearn_lite.grade.marks import Result
from metalearn_lite.grade.submissions import Submission

HIDDEN = parts.Hidden("lesson05", (parts.Part(lesson05.adapt, 2), parts.Part(lesson05.adapt, 1, "no step"),
                                   parts.Part(lesson05.meta_grad, 2)), (), {})
RESULT = Result("adapt", "no step", 2, 2, "right", "Well done.", 0.25)._asdict()
FIRST = ["student", "lesson", "total", "max", "status", "seconds", "late", "notes"]


@contextlib.contextmanager
def stand_in(lesson, private):
    """Stands in for `run.in_a_box`, in a process of its own."""
    yield judge


def judge(cells):
    source = "\n".join(cells)
    if "os._exit" in source:
        os._exit(3)
    if "raise" in source:
        raise ValueError("a hidden value: 42")
    if "memory" in source:
        bytearray(2 * run.MEMORY)
    if "sleep" in source:
        time.sleep(20)
    points = int(re.search(r"MARK = (\d)", source)[1])
    won = [points >= 2, points in (1, 3, 5), points >= 4]
    return [Result(part.exercise.name, part.title, part.points, part.points * right, "right" if right else "wrong",
                   f"Says the check: `{points}`.", 0.25) for part, right in zip(HIDDEN.parts, won)]


@contextlib.contextmanager
def with_a_folder(lesson, private):
    """An examiner that has something to put away."""
    with tempfile.TemporaryDirectory(dir=private):
        yield judge


@contextlib.contextmanager
def no_box(lesson, private):
    raise RuntimeError("there is no box: install bubblewrap")
    yield


@contextlib.contextmanager
def no_processes(count, *arguments):
    yield []


def at_once(pool, queue):
    """Stands in for `run.answers`, in this process: most tests are about what happens to the answers."""
    for submission, record in queue:
        results = [result._asdict() for result in judge(submission.cells)]
        record |= {"status": "graded", "results": results, "seconds": 0.75, "problem": ""}
        yield submission, record


@pytest.fixture(autouse=True)
def hidden(tmp_path, monkeypatch):
    """The hidden file of these tests, which a test may change."""
    path = tmp_path / "hidden.py"
    path.write_text("one")
    monkeypatch.setattr(parts, "load", lambda lesson, private=None: HIDDEN)
    monkeypatch.setattr(parts, "hidden_file", lambda lesson, private=None: path)
    return path


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(run, "workers", no_processes)
    monkeypatch.setattr(run, "answers", at_once)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "in"


def hand_in(folder, student, code="MARK = 5", at=None):
    folder.mkdir(exist_ok=True)
    path = folder / f"{student}.py"
    path.write_text(f"# %%\nfrom metalearn_lite.check import lesson05\n# %%\n{code}\n", encoding="utf-8")
    if at:
        os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def grade(folder, **options):
    return run.grade("lesson05", folder, folder.parent / "out", examiner=stand_in, **options)


def table(folder):
    with open(folder.parent / "out" / "grades.csv", encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def record(folder, student):
    return json.loads((folder.parent / "out" / "results" / f"{student}.json").read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------ rows


def test_the_columns_and_a_row(quick, folder):
    hand_in(folder, "ann", "MARK = 2")
    rows = grade(folder)
    text = (folder.parent / "out" / "grades.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0].split(",") == [
        *FIRST, "adapt points", "adapt status", "adapt seconds", "meta_grad points", "meta_grad status",
        "meta_grad seconds"]
    assert text.splitlines()[1:] == ["ann,lesson05,2,5,graded,0.75,,,2,partly,0.5,0,wrong,0.25"]
    assert [row["student"] for row in rows] == ["ann"]


def test_every_submission_has_a_row_a_page_and_a_record(quick, folder):
    hand_in(folder, "bob", "MARK = 5")
    hand_in(folder, "ann", "MARK = 3")
    (folder / "cem.ipynb").write_text("{")
    (folder / "dan").mkdir()
    grade(folder)
    found = table(folder)
    assert list(found) == ["ann", "bob", "cem", "dan"]
    assert [(row["total"], row["status"]) for row in found.values()] == [
        ("3", "graded"), ("5", "graded"), ("0", "unreadable"), ("0", "missing")]
    assert found["cem"]["notes"] == "truncated: its JSON ends in the middle"
    for part, suffix in (("pages", ".html"), ("results", ".json")):
        assert sorted(p.name for p in (folder.parent / "out" / part).iterdir()) == [
            f"{name}{suffix}" for name in found]


def test_rows_are_there_as_soon_as_they_are_known(monkeypatch, folder):
    seen = []

    def watched(pool, queue):
        for submission, record_ in at_once(pool, queue):
            seen.append(list(table(folder)))
            yield submission, record_

    monkeypatch.setattr(run, "workers", no_processes)
    monkeypatch.setattr(run, "answers", watched)
    for student in ("ann", "bob", "cem"):
        hand_in(folder, student)
    (folder / "zoe.ipynb").write_text("")
    grade(folder)
    assert seen == [["zoe"], ["zoe", "ann"], ["zoe", "ann", "bob"]]


@pytest.mark.parametrize("statuses, word", [
    (("right", "right"), "right"), (("open", "open"), "open"), (("wrong", "right"), "partly"),
    (("lost", "right"), "partly"), (("lost", "wrong"), "lost"), (("open", "wrong"), "wrong")])
def test_one_word_for_an_exercise(statuses, word):
    assert gradebook.status([{"status": status} for status in statuses]) == word


@pytest.mark.parametrize("name", ["=cmd|'/c calc'!A0", "+1", "-rf", "@sum", "'=x", "'"])
def test_no_name_becomes_a_formula(quick, folder, name):
    hand_in(folder, name.replace("/", "_"))
    (row,) = table_of = list(table(folder).values()) if grade(folder) else []
    assert row["student"][0] == "'" and gradebook.unsafe(row["student"]) == name.replace("/", "_")
    assert len(table_of) == 1


@pytest.mark.parametrize("name", ["s1;=HYPERLINK(1)", "a;=1+1", "a, -1", "a|@x", "＝1+1", "a; '=x", "a;\t+1"])
def test_no_part_of_a_name_becomes_a_formula(name):
    cell = gradebook.safe(name)
    assert not any(part.strip().startswith(tuple("=+-@＝＋－＠")) for part in re.split(r"[;,|\t]", cell)), cell
    assert gradebook.unsafe(cell) == name


@given(st.text(alphabet="a;,|\t\r '=+-@＝ ", max_size=12))
def test_what_is_made_safe_can_be_taken_back(text):
    assert gradebook.unsafe(gradebook.safe(text)) == text


def test_a_new_folder_of_grades_is_the_teachers_alone(quick, folder):
    hand_in(folder, "ann")
    out = folder.parent / "out"
    grade(folder)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    out.chmod(0o750)  # if several mark, that is theirs to say
    grade(folder, resume=True)
    assert stat.S_IMODE(out.stat().st_mode) == 0o750


def test_the_box_is_told_what_must_not_be_seen_in_it(folder, monkeypatch, tmp_path):
    class Told(Exception):
        pass

    def told(count, examiner, lesson, private):
        raise Told(*examiner.keywords["secret"])

    monkeypatch.setattr(run, "workers", told)
    monkeypatch.setattr(run.sys, "platform", "linux")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roster.csv").write_text("student\nann\n")
    hand_in(folder, "ann")
    with pytest.raises(Told) as found:
        run.grade("lesson05", "in", "out", roster="roster.csv", private="mine")
    assert found.value.args == tuple(str(tmp_path / name) for name in ("in", "out", "roster.csv", "mine"))


def test_file_names_are_plain_and_no_two_students_share_one():
    names = ["ann", "Ann", "ANN", "../ann", "a/b", "a\\b", "con", "", ".", "..", "x" * 300, "x" * 299, "李雷", "李",
             "a b", "=1", "ann.lee", "a--b", "-a", ".a", "<b>"]
    names += [run.stem(name) for name in names]  # a student named like another one's file
    stems = {name: run.stem(name) for name in names}
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", stem) for stem in stems.values()), stems
    assert len({stem.lower() for stem in stems.values()}) == len(set(names))
    assert stems["ann"] == "ann" and stems["ann.lee"] == "ann.lee"


# ------------------------------------------------------------------------------------------------ again


def test_grades_are_not_written_over_by_accident(quick, folder):
    hand_in(folder, "ann")
    grade(folder)
    with pytest.raises(ValueError, match="--resume goes on"):
        grade(folder)
    with pytest.raises(ValueError, match="holds grades of lesson05"):
        run.grade("lesson04", folder, folder.parent / "out", resume=True)
    with pytest.raises(ValueError, match="among the submissions"):
        run.grade("lesson05", folder, folder / "out")


def test_resume_keeps_what_is_done_and_redoes_half_a_row(quick, folder, monkeypatch):
    for student in ("ann", "bob", "cem"):
        hand_in(folder, student, "MARK = 3")
    grade(folder)
    out = folder.parent / "out"
    whole = (out / "grades.csv").read_text()
    (out / "results" / "cem.json").unlink()  # as if killed while it wrote cem's row
    (out / "results" / ".cem.json.new").write_text('{"stud')
    (out / "grades.csv").write_text(whole[:whole.index("cem") + 8])
    judged = []
    monkeypatch.setattr(run, "answers", lambda pool, queue: judged.extend(s.student for s, _ in queue) or
                        at_once(pool, queue))
    grade(folder, resume=True)
    assert judged == ["cem"] and (out / "grades.csv").read_text() == whole


@pytest.mark.parametrize("damage", [{}, {"results": [{"exercise": "adapt"}]}, {"seconds": None},
                                    *({"results": [RESULT | odd]} for odd in ({"more": 1}, {"got": 3}, {"got": -1}))])
def test_resume_redoes_what_has_changed_failed_or_is_damaged(quick, folder, hidden, monkeypatch, damage):
    for student in ("ann", "bob", "cem", "dan"):
        hand_in(folder, student, "MARK = 3")
    grade(folder)
    out = folder.parent / "out"
    hand_in(folder, "ann", "MARK = 4")
    damaged = json.dumps(record(folder, "bob") | damage) if damage else '{"student": "bob"'
    (out / "results" / "bob.json").write_text(damaged)
    (out / "results" / "cem.json").write_text(json.dumps(record(folder, "cem") | {"status": "failed"}))
    judged = []
    monkeypatch.setattr(run, "answers", lambda pool, queue: judged.extend(s.student for s, _ in queue) or
                        at_once(pool, queue))
    grade(folder, resume=True)
    assert judged == ["ann", "bob", "cem"] and table(folder)["ann"]["total"] == "4"
    hidden.write_text("two")
    judged.clear()
    grade(folder, resume=True)
    assert judged == ["ann", "bob", "cem", "dan"]


def test_a_record_of_one_student_does_not_count_for_another(quick, folder):
    hand_in(folder, "ann", "MARK = 5")
    hand_in(folder, "bob", "MARK = 0")
    grade(folder)
    out = folder.parent / "out" / "results"
    (out / "bob.json").write_text((out / "ann.json").read_text())
    grade(folder, resume=True)
    assert [row["total"] for row in table(folder).values()] == ["5", "0"]


def test_only_grades_one_and_leaves_the_others(quick, folder, monkeypatch):
    for student in ("ann", "bob"):
        hand_in(folder, student, "MARK = 1")
    grade(folder)
    for student in ("ann", "bob"):
        hand_in(folder, student, "MARK = 5")
    grade(folder, only="bob")
    assert [row["total"] for row in table(folder).values()] == ["1", "5"]
    with pytest.raises(ValueError, match="nobody handed anything in"):
        grade(folder, only="zoe")


def test_regrade_says_whose_mark_moved(quick, folder, hidden, capsys):
    for student, points in (("ann", 1), ("bob", 5), ("cem", 0)):
        hand_in(folder, student, f"MARK = {points}")
    grade(folder)
    hidden.write_text("two")
    hand_in(folder, "ann", "MARK = 3")
    hand_in(folder, "dan", "MARK = 3")
    (folder / "bob.py").write_text("")
    capsys.readouterr()
    grade(folder, regrade=True)
    assert capsys.readouterr().out.splitlines() == ["ann: 1 -> 3 of 5", "bob: 5 -> 0 of 5", "2 marks moved, 1 did not"]


def test_a_killed_regrading_goes_on_and_still_says_all(quick, folder, hidden, monkeypatch, capsys):
    for student in ("ann", "bob"):
        hand_in(folder, student, "MARK = 1")
    grade(folder)
    hidden.write_text("two")
    monkeypatch.setattr("test_grade_run.judge", lambda cells, old=judge: old(["MARK = 3"]))

    def killed(pool, queue):
        yield next(at_once(pool, queue))
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "answers", killed)
    with pytest.raises(KeyboardInterrupt):
        grade(folder, regrade=True)
    monkeypatch.setattr(run, "answers", at_once)
    capsys.readouterr()
    grade(folder, regrade=True, resume=True)
    assert capsys.readouterr().out.splitlines() == ["ann: 1 -> 3 of 5", "bob: 1 -> 3 of 5", "2 marks moved, 0 did not"]


def test_a_later_run_keeps_the_options_of_the_first(quick, folder, monkeypatch, capsys, tmp_path):
    """Without them a private variant would be graded by the public exercises, and whoever is missing or late be lost."""
    loaded = []
    monkeypatch.setattr(parts, "load", lambda lesson, private=None: loaded.append(private) or HIDDEN)
    hand_in(folder, "ann", at=datetime(2027, 2, 1, 18, 0))
    roster = tmp_path / "roster.csv"
    roster.write_text("student\nann\nzoe\n")
    monkeypatch.chdir(tmp_path)
    grade(folder, private="mine", roster="roster.csv", due=datetime(2027, 1, 31, 18, 0))
    capsys.readouterr()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for later in (dict(regrade=True), dict(resume=True), dict(only="ann")):
        grade(folder, **later)
        found = table(folder)
        assert found["ann"]["late"] == "1 d" and found["zoe"]["status"] == "missing"
        assert loaded[-1] == str(tmp_path / "mine")
        said = capsys.readouterr().out.splitlines()
        assert said[:3] == [f"--private {tmp_path / 'mine'}, as in the run before",
                            f"--roster {roster}, as in the run before", said[2]] and said[2].startswith("--due 2027-01-31T18")
    grade(folder, regrade=True, private="other", due=datetime(2027, 3, 1))
    assert loaded[-1].endswith("other") and table(folder)["ann"]["late"] == ""
    grade(folder, resume=True)
    assert loaded[-1].endswith("other") and table(folder)["ann"]["late"] == ""  # the last one given
    (folder.parent / "out" / "options.json").write_text("[")
    with pytest.raises(ValueError, match="damaged"):
        grade(folder, resume=True)


# ------------------------------------------------------------------------------------------------ processes


@pytest.mark.slow
def test_a_process_that_ends_or_fails_costs_its_submission_alone(folder):
    for number in range(4):
        hand_in(folder, f"s{number}", f"MARK = {number}")
    hand_in(folder, "s1-ends", "import os\nos._exit(0)")
    hand_in(folder, "s2-fails", "raise SystemError")
    grade(folder, jobs=2)
    found = table(folder)
    assert {name: row["total"] for name, row in found.items()} == {
        "s0": "0", "s1": "1", "s1-ends": "", "s2": "2", "s2-fails": "", "s3": "3"}
    assert found["s1-ends"]["status"] == found["s2-fails"]["status"] == "failed"
    assert found["s1-ends"]["notes"] == "the grader failed on this one (its process ended)"
    assert "ValueError: a hidden value: 42" in found["s2-fails"]["notes"]  # for the teacher
    page = (folder.parent / "out" / "pages" / "s2-fails.html").read_text(encoding="utf-8")
    assert "the grader failed on this one" in page and "42" not in page  # for the student


@pytest.mark.slow
def test_a_judge_that_hangs_is_ended(folder, monkeypatch):
    monkeypatch.setattr(run, "LONGEST", 1.0)
    monkeypatch.setattr(run.connection, "wait", lambda pipes, timeout, wait=run.connection.wait: wait(pipes, 0.5))
    hand_in(folder, "ann", "sleep")
    grade(folder)
    assert table(folder)["ann"]["notes"] == "the grader failed on this one (it took too long)"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_what_takes_the_memory_of_the_machine_ends_one_submission(folder):
    hand_in(folder, "ann", "memory")
    hand_in(folder, "bob")
    grade(folder)
    found = table(folder)
    assert found["ann"]["notes"].startswith("the grader failed on this one (MemoryError")
    assert found["bob"]["total"] == "5"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_process_that_is_told_to_end_puts_its_box_away(tmp_path, name):
    with run.workers(1, with_a_folder, "lesson05", str(tmp_path)) as (worker,):
        assert len(list(tmp_path.iterdir())) == 1 + 1  # and the hidden file
        worker.give((Submission("ann", Path("ann.py"), ["sleep"]), {}))
        time.sleep(0.5)
        os.kill(worker.process.pid, getattr(signal, name))
        worker.process.join(10)
        assert [path.name for path in tmp_path.iterdir()] == ["hidden.py"]


@pytest.mark.slow
def test_without_a_box_nothing_is_written(folder):
    hand_in(folder, "ann")
    with pytest.raises(RuntimeError, match="install bubblewrap"):
        run.grade("lesson05", folder, folder.parent / "out", examiner=no_box)
    assert not (folder.parent / "out").exists()


KILLED = """
import sys
sys.path[:0] = sys.argv[3:]
from test_grade_run import HIDDEN, Path, grade, parts
parts.load, parts.hidden_file = lambda lesson, private: HIDDEN, lambda lesson, private: Path(sys.argv[2])
grade(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_where_it_was(folder, hidden, quick, monkeypatch):
    hand_in(folder, "ann", "MARK = 3")
    hand_in(folder, "bob", "sleep")
    here = Path(__file__).resolve().parent
    run_ = subprocess.Popen([sys.executable, "-c", KILLED, folder, hidden, here, here.parent])
    rows = folder.parent / "out" / "grades.csv"
    end = time.monotonic() + 100
    while not (rows.exists() and "ann" in rows.read_text()):
        assert run_.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    run_.kill()
    run_.wait()
    assert list(table(folder)) == ["ann"]
    hand_in(folder, "bob", "MARK = 4")
    judged = []
    monkeypatch.setattr(run, "answers", lambda pool, queue: judged.extend(s.student for s, _ in queue) or
                        at_once(pool, queue))
    grade(folder, resume=True)
    assert judged == ["bob"] and [row["total"] for row in table(folder).values()] == ["3", "4"]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_told_what_to_do(folder, monkeypatch, system):
    hand_in(folder, "ann")
    monkeypatch.setattr(run.sys, "platform", system)
    with pytest.raises(RuntimeError, match="virtual machine"):
        run.grade("lesson05", folder, folder.parent / "out")


@pytest.mark.slow
def test_a_worker_that_was_ended_while_it_waited_is_replaced(folder):
    with run.workers(1, stand_in, "lesson05", None) as pool:
        os.kill(pool[0].process.pid, signal.SIGKILL)
        pool[0].process.join()
        ann = Submission("ann", Path("ann.py"), ["MARK = 5"])
        ((_, record_),) = run.answers(pool, [(ann, {})])
        last = pool[0].process
    assert record_["status"] == "graded" and not last.is_alive()


# ------------------------------------------------------------------------------------------------ late, roster


def test_late_is_flagged_and_costs_nothing(quick, folder):
    for student, when in (("ann", datetime(2027, 1, 31, 18, 0)), ("bob", datetime(2027, 1, 31, 18, 0, 30)),
                          ("cem", datetime(2027, 2, 1, 20, 5))):
        hand_in(folder, student, at=when)
    grade(folder, due=datetime(2027, 1, 31, 18, 0))
    assert [(row["late"], row["total"]) for row in table(folder).values()] == [
        ("", "5"), ("under 1 min", "5"), ("1 d 2 h 5 min", "5")]
    assert "after the deadline: 1 d 2 h 5 min" in (folder.parent / "out" / "pages" / "cem.html").read_text()


def write_roster(folder, text):
    path = folder.parent / "roster.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_roster_adds_the_missing_flags_strangers_and_moves_deadlines(quick, folder, capsys):
    for student in ("s1", "s2", "s3"):
        hand_in(folder, student, at=datetime(2027, 1, 31, 19, 0))
    roster = write_roster(folder, "\ufeffstudent,name,email,id,due\ns1,Ann Lee,ann@example.org,17,2027-02-28T18:00\n"
                                  "s2,Bob Ray,bob@example.org,18,\ns4,Dan Poe,dan@example.org,19,\n")
    grade(folder, roster=roster, due=datetime(2027, 1, 31, 18, 0))
    found = table(folder)
    assert [(row["late"], row["status"], row["notes"]) for row in found.values()] == [
        ("", "graded", ""), ("1 h", "graded", ""), ("1 h", "graded", "not in the roster"),
        ("", "missing", "missing: nothing was handed in")]
    said = "".join(capsys.readouterr()) + "".join(
        path.read_text(encoding="utf-8") for path in (folder.parent / "out").rglob("*.*"))
    assert not re.search("Lee|Ray|Poe|example.org|17,|Ann", said)
    assert "roster" not in (folder.parent / "out" / "pages" / "s3.html").read_text()


@pytest.mark.parametrize("text, words", [
    ("name\nAnn\n", "no column `student`"), ("", "no column `student`"),
    ("student,name\ns1,Ann\ns1,Bob\n", "line 3: this student stands there twice"),
    ("student,name\n,Ann\n", "line 2: no student"), ("student,due\ns1,tomorrow\n", "line 2: 'tomorrow' is no time"),
    (b"student\n\xff\n", "not a CSV in UTF-8")])
def test_a_wrong_roster_is_told_by_its_line(quick, folder, text, words):
    hand_in(folder, "s1")
    roster = folder.parent / "roster.csv"
    roster.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(words)) as problem:
        grade(folder, roster=roster)
    assert "Ann" not in str(problem.value) and not (folder.parent / "out").exists()


# ------------------------------------------------------------------------------------------------ adding up


def write_grades(folder, lesson, rows, most=5):
    folder.mkdir()
    (folder / "grades.csv").write_text("student,lesson,total,max,status,seconds,late,notes\n" + "".join(
        f"{student},{lesson},{total},{most},{status},1,{late},\n" for student, total, status, late in rows))
    return folder


def test_merge_adds_lessons_up(tmp_path, capsys):
    four = write_grades(tmp_path / "4", "lesson04", [("s1", 3, "graded", "1 h"), ("'=s2", 1, "graded", "")], most=7)
    five = write_grades(tmp_path / "5", "lesson05", [("s1", 5, "graded", ""), ("s3", "", "failed", "")])
    (tmp_path / "roster.csv").write_text("student,name,id\ns1,+Ann,17\ns9,Zoe,99\n")
    out = tmp_path / "all.csv"
    assert main(["grade", "merge", str(four), str(five), "--out", str(out), "--roster",
                 str(tmp_path / "roster.csv")]) == 0
    assert out.read_text().splitlines() == [
        "student,total,max,lesson04,lesson04 status,lesson04 late,lesson05,lesson05 status,lesson05 late,name,id",
        "'=s2,1,12,1,graded,,0,missing,,,", "s1,8,12,3,graded,1 h,5,graded,,'+Ann,17",
        "s3,,12,0,missing,,,failed,,,", "s9,0,12,0,missing,,0,missing,,Zoe,99"]
    assert "Ann" not in "".join(capsys.readouterr())


def test_merge_refuses_what_does_not_add_up(tmp_path):
    one = write_grades(tmp_path / "1", "lesson05", [("s1", 3, "graded", "")])
    two = write_grades(tmp_path / "2", "lesson05", [("s2", 3, "graded", "")], most=6)
    with pytest.raises(ValueError, match="a second row"):
        gradebook.merge([one, one], tmp_path / "all.csv")
    with pytest.raises(ValueError, match="another `max`"):
        gradebook.merge([one, two], tmp_path / "all.csv")
    (two / "grades.csv").write_text("student,points\ns1,3\n")
    with pytest.raises(ValueError, match="not a whole grades.csv"):
        gradebook.merge([one, two], tmp_path / "all.csv")
    assert not (tmp_path / "all.csv").exists()


# ------------------------------------------------------------------------------------------------ the command


def test_the_command(quick, folder, capsys):
    hand_in(folder, "ann", at=datetime(2027, 1, 31, 19, 0))
    out = str(folder.parent / "out")
    assert main(["grade", "lesson05", str(folder), "--out", out, "--due", "2027-01-31T18:00"]) == 0
    assert capsys.readouterr().out == f"1 rows in {out}/grades.csv: 1 graded, 0 unreadable, 0 missing, 0 failed\n"
    assert table(folder)["ann"]["late"] == "1 h"
    assert "--resume goes on" in main(["grade", "lesson05", str(folder), "--out", out])
    assert main(["grade", "lesson05", str(folder), "--out", out, "--resume", "--due", "soon"]) == (
        "--due: 'soon' is no time such as 2027-01-31T18:00")
    assert "no such folder" in main(["grade", "lesson05", "nowhere", "--out", f"{out}2"])
    assert "at least 1" in main(["grade", "lesson05", str(folder), "--out", f"{out}2", "--jobs", "0"])
    with pytest.raises(SystemExit):
        main(["grade", "lesson05"])


def test_release_is_handed_on(monkeypatch, capsys):
    import metalearn_lite.grade.release as module
    asked = []
    monkeypatch.setattr(module, "release", lambda out, private=None: asked.append((out, private)) or ["a", "b"])
    assert main(["release", "class", "--private", "mine"]) == 0
    assert asked == [("class", "mine")] and capsys.readouterr().out == "2 files in class\n"


# ------------------------------------------------------------------------------------------------ pages


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page(student="ann", message="Use `x < y`.", notes=(), problem="", results=None):
    results = results if results is not None else [
        Result("adapt", "as in the lesson", 2, 2, "right", "Well done.", 0.1),
        Result("adapt", "no step", 1, 0, "lost", message, 0.1), Result("meta_grad", "all", 2, 0, "open", "Empty.", 0.1)]
    return pages.page(Submission(student, None, [], problem, notes), results, HIDDEN)


def test_a_page_says_points_status_and_words():
    text = page(notes=("2 files",))
    read = Reader(text)
    assert not read.open and text.startswith("<!DOCTYPE html>")
    for words in ("Marks for lesson 05", "ann", "2 of 5 points", "2 of 3", "no answer", "not written",
                  "no step", "Use x < y.", "2 files"):
        assert words in read.text
    assert "<code>x &lt; y</code>" in text
    tags = [tag for tag, _ in read.tags]
    assert dict(read.tags)["html"] == {"lang": "en"} and tags.count("h1") == 1 and "title" in tags
    scopes = [attributes.get("scope") for tag, attributes in read.tags if tag == "th"]
    assert scopes == ["col"] * 5 + ["rowgroup", "row", "row", "rowgroup", "row"]
    assert not {"script", "img", "link", "a", "iframe", "form"} & set(tags)
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("hostile", [
    "<script>alert(1)</script>", "]]><svg onload=alert(1)>", "</td></table><h1>5 of 5</h1>", "`<img src=x>`",
    "\"' onmouseover=x", "a\0b", "\u202etxt.exe", "\u2028", "&lt;b&gt;", "<!--", "\x1b[2J", "x" * 100_000])
def test_nothing_hostile_gets_onto_a_page(hostile):
    plain = [tag for tag, _ in Reader(page("ann", "words", ("note",), "problem")).tags if tag != "code"]
    text = page(hostile, hostile, (hostile,), hostile)
    read = Reader(text)
    assert [tag for tag, _ in read.tags if tag != "code"] == plain
    assert not re.search("[\0-\x08\x0b-\x1f\u2028\u2029\u202a-\u202e]", text) and len(text) < 20_000


def test_a_page_without_results_says_why():
    read = Reader(page(problem="truncated: its JSON ends in the middle", results=[]))
    assert "0 of 5 points" in read.text and "truncated" in read.text and "table" not in dict(read.tags)


def contrast(one, other):
    def light(colour):
        colour = colour * 2 if len(colour) == 3 else colour
        parts_ = [int(colour[i:i + 2], 16) / 255 for i in (0, 2, 4)]
        parts_ = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts_]
        return 0.2126 * parts_[0] + 0.7152 * parts_[1] + 0.0722 * parts_[2]
    a, b = sorted((light(one), light(other)))
    return (b + 0.05) / (a + 0.05)


def test_colours_can_be_read_in_light_and_dark():
    schemes = re.findall(r":root \{(.*?)\}", pages.STYLE, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colour = dict(re.findall(r"--(\w+): #(\w+)", scheme))
        for name in ("text", "right", "open", "wrong"):
            assert contrast(colour[name], colour["back"]) >= 4.5, name
        assert contrast(colour["text"], colour["soft"]) >= 4.5 and contrast(colour["line"], colour["back"]) >= 3
