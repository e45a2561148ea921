"""Grade a class: grades.csv (see `gradebook`), a page for each student, and what a later run goes on from.

    OUT/grades.csv             one row a student, written as it goes, sorted at the end
    OUT/pages/STUDENT.html     for the student
    OUT/results/STUDENT.json   the record that --resume, --only and --regrade read
    OUT/options.json           --private, --roster and --due: a later run takes from here what it is not given

A record: student, lesson, status, problem, notes, late, seconds, results (dicts of marks.Result), the hashes of the
submission and of the hidden file, and, of a regrading, the total before.
"""

import contextlib
import functools
import hashlib
import json
import multiprocessing
import re
import signal
import sys
import time
from collections import deque
from multiprocessing import connection
from pathlib import Path

import torch
from tqdm import tqdm

from . import box, gradebook, marks, pages, parts, submissions
from .files import legible
from .submissions import Submission

MEMORY = 4 * 2**30  # bytes for the data of a process that judges: what is too large ends one submission, no more
LONGEST = 1800.0  # seconds for one submission: far more than the box allows, in case the grader itself hangs
FAILED = "the grader failed on this one"
PROCESSES = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
if sys.platform == "linux":
    PROCESSES.set_forkserver_preload([__name__])  # torch is imported once for all of them


def grade(lesson, folder, out, jobs=1, resume=False, only=None, regrade=False, private=None, roster=None, due=None,
          examiner=None):
    """Grade the submissions in ``folder`` into the folder ``out`` -> rows of grades.csv (dicts), sorted by student.

    jobs:      processes, each with a box of its own
    resume:    keep what is graded already, if neither the submission nor the hidden file has changed since
    only:      grade this student alone, again if need be; the other rows stay as they are
    regrade:   grade all again, and print whose mark moved
    private:   a teacher's folder, whose hidden/LESSON.py goes before the public one
    roster:    path of a CSV
    due:       datetime; without a time zone, that of this machine
    examiner:  f(lesson, private), a context that gives judge(cells) in each process; None: `in_a_box`
    Raises ValueError or FileNotFoundError for what the teacher gave, and RuntimeError if there is no box, before
    anything is written.
    """
    if examiner is None and sys.platform != "linux":
        raise box.Unboxed(box.HOW_TO)
    out = Path(out)
    options = {"private": private and str(Path(private).resolve()), "roster": roster and str(Path(roster).resolve()),
               "due": due and due.isoformat()} | remembered(out, private=private, roster=roster, due=due)
    private, roster, due = options["private"], options["roster"], gradebook.moment(options["due"] or "", "due")
    hidden = parts.load(lesson, private)
    if out.resolve().is_relative_to(Path(folder).resolve()):
        raise ValueError(f"{out} lies among the submissions: choose another folder")
    listed = gradebook.read_roster(roster) if roster else {}
    found = {s.student: s for s in submissions.find(folder, lesson, hidden.exercises)}
    for student in sorted(set(listed) - set(found)):
        found[student] = Submission(student, None, None, "missing: nothing was handed in")
    only = only and legible(only).strip()
    if only and only not in found:
        raise ValueError(f"{only!r}: nobody handed anything in under this name")
    old = read_records(out / "results", lesson)
    if (old or (out / "grades.csv").exists()) and not (resume or regrade or only):
        raise ValueError(f"{out} holds grades: --resume goes on, --regrade grades again; or choose another folder")
    version = hashlib.sha256(parts.hidden_file(lesson, private).read_bytes()).hexdigest()

    records, settled, queue = ({s: r for s, r in old.items() if s != only} if only else {}), [], []
    for submission in [found[only]] if only else found.values():
        record = begin(submission, lesson, version, old.get(submission.student), resume, regrade)
        record |= {"late": gradebook.late(submission, listed, due), "notes": list(submission.notes)}
        if listed and submission.student not in listed:
            record["notes"].append("not in the roster")
        (settled if record["status"] else queue).append((submission, record))

    names = gradebook.columns(hidden)
    secret = [str(Path(path).resolve()) for path in (folder, out, roster, private) if path]
    examiner = examiner or functools.partial(in_a_box, secret=secret)
    with workers(min(jobs, len(queue)), examiner, lesson, private) as pool:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)  # a new one is the teacher's alone
        gradebook.write_whole(out / "options.json", json.dumps(options, indent=1))
        for submission, record in settled:
            save(out, submission, record, hidden)
            records[submission.student] = record
        rows = [gradebook.row(record, hidden) for record in records.values()]
        gradebook.write_whole(out / "grades.csv", gradebook.lines(rows, names))
        with open(out / "grades.csv", "a", encoding="utf-8", newline="") as file:
            for submission, record in tqdm(answers(pool, queue), total=len(queue), desc=lesson, disable=None):
                save(out, submission, record, hidden)
                records[submission.student] = record
                file.write(gradebook.lines([gradebook.row(record, hidden)], names, header=False))
                file.flush()
    rows = [gradebook.row(records[student], hidden) for student in sorted(records)]
    gradebook.write_whole(out / "grades.csv", gradebook.lines(rows, names))
    if regrade:
        print_moves([records[student] for student in ([only] if only else sorted(records))], rows[0]["max"])
    stale = sum(record["hidden"] != version for record in records.values())
    if stale:
        print(f"{stale} rows come from another version of the hidden file: --regrade")
    return rows


def remembered(out, **given):
    """The options of the run before that are not given now, {name: text}: another deadline, or the public exercises in
    the place of private ones, would change marks in silence."""
    try:
        before = json.loads((out / "options.json").read_text(encoding="utf-8"))
        found = {name: before[name] for name in given if before.get(name) and given[name] is None}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError):
        raise ValueError(f"{out / 'options.json'} is damaged: delete it, and give --private, --roster and --due again") from None
    for name, value in found.items():
        print(f"--{name} {value}, as in the run before")
    return found


def begin(submission, lesson, version, before, resume, regrade):
    """The record of a submission before it is judged; without a status if it has to be.

    before:  the record of an earlier run, or None
    """
    record = {"student": submission.student, "lesson": lesson, "status": "", "problem": submission.problem,
              "seconds": 0.0, "results": [], "submission": hash_of(submission), "hidden": version, "before": None}
    if before and regrade:
        record["before"] = gradebook.total(before)
    if submission.problem:
        return record | {"status": "missing" if submission.problem.startswith("missing") else "unreadable"}
    same = before and all(before[key] == record[key] for key in ("submission", "hidden"))
    return before if resume and same and before["status"] == "graded" else record


def print_moves(records, most):
    """Whose mark is another than before; those that had none before are left out."""
    totals = [(record["student"], record["before"], gradebook.total(record)) for record in records]
    moved = [(student, before, now) for student, before, now in totals if before not in (None, now)]
    for student, before, now in moved:
        print(f"{student}: {before} -> {'not graded' if now is None else now} of {most}")
    print(f"{len(moved)} marks moved, {sum(before is not None and before == now for _, before, now in totals)} did not")


# ------------------------------------------------------------------------------------------------ records


def hash_of(submission):
    """Of all that is judged."""
    return hashlib.sha256(json.dumps([submission.cells, submission.problem]).encode()).hexdigest()


def stem(student):
    """A file name for a student: the name itself if it is plain, else made of it and a hash. No two students share one,
    not even where A and a are the same."""
    if len(student) <= 60 and re.fullmatch(r"[a-z0-9_]+([.-][a-z0-9_]+)*", student):
        if not re.search(r"-[0-9a-f]{20}$", student):
            return student
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", student)[:40].strip("-") or "student"
    return f"{readable}-{hashlib.sha256(student.encode()).hexdigest()[:20]}"


def save(out, submission, record, hidden):
    """Write a student's page, then the record."""
    name = stem(submission.student)
    if record["late"]:
        submission = submission._replace(notes=(*submission.notes, f"after the deadline: {record['late']}"))
    if record["status"] == "failed":  # the reason may hold more than a student should read
        submission = submission._replace(problem=FAILED)
    results = [marks.Result(**result) for result in record["results"]]
    gradebook.write_whole(out / "pages" / f"{name}.html", pages.page(submission, results, hidden))
    gradebook.write_whole(out / "results" / f"{name}.json", json.dumps(record, indent=1))


def read_records(folder, lesson):
    """{student: record} of an earlier run; what is damaged is left out, and so graded again.

    Raises ValueError if they are of another lesson.
    """
    records = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            gradebook.total(record), record["hidden"], record["submission"], record["before"]
            record["problem"], record["late"], record["notes"]
            results = [marks.Result(**result) for result in record["results"]]
            if record["seconds"] < 0 or not all(0 <= result.got <= result.points for result in results):
                continue
            student, of = record["student"], record["lesson"]
        except (ValueError, KeyError, TypeError):
            continue
        if of != lesson:
            raise ValueError(f"{folder.parent} holds grades of {of}: choose another folder for {lesson}")
        if path.stem == stem(student):
            records[student] = record
    return records


# ------------------------------------------------------------------------------------------------ processes


@contextlib.contextmanager
def in_a_box(lesson, private, secret=()):
    """A box for many submissions -> judge(cells). ``secret``: paths that must not be seen in it."""
    hidden = parts.load(lesson, private)
    with box.Box(hidden, secret=secret) as opened:
        yield lambda cells: marks.judge(cells, hidden, opened)


def work(pipe, examiner, lesson, private):
    """What a process does: open a box, say so, judge what comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)  # it closes the box, and no check takes it for an answer
    if sys.platform == "linux":
        import resource

        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY if most < 0 else min(MEMORY, most), most))
    torch.set_num_threads(1)
    started = False
    try:
        with examiner(lesson, private) as judge:
            pipe.send("")
            started = True
            while (cells := pipe.recv()) is not None:
                begin = time.monotonic()
                results = [result._asdict() for result in judge(cells)]
                pipe.send((results, time.monotonic() - begin, ""))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):  # the parent is gone, or wants no more
        pass
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        pipe.send(([], 0.0, legible(words)[:300]) if started else str(error) or words)


class Worker:
    """A process that judges, and what it is judging."""

    def __init__(self, *arguments):
        self.arguments, self.task, self.since = arguments, None, 0.0
        self.pipe, theirs = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=work, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def wait_until_open(self):
        """Raises RuntimeError, with the box's words, if there is no box."""
        try:
            problem = self.pipe.recv()
        except (EOFError, OSError):
            problem = "the process that grades ended before it began"
        if problem:
            raise RuntimeError(problem)

    def give(self, task):
        try:
            self.pipe.send(task[0].cells)
        except OSError:  # it ended while it had nothing to do
            self.renew()
            self.pipe.send(task[0].cells)
        self.task, self.since = task, time.monotonic()

    def answer(self):
        """(results, seconds, problem); a process that ends is a problem of its task alone."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            return [], time.monotonic() - self.since, "its process ended"

    def renew(self):
        self.stop()
        self.__init__(*self.arguments)
        self.wait_until_open()

    def stop(self):
        if self.task:
            self.process.terminate()
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(20)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


@contextlib.contextmanager
def workers(count, *arguments):
    """``count`` Workers that are ready; they end with the context."""
    pool = []
    try:
        for _ in range(count):
            pool.append(Worker(*arguments))
        for worker in pool:
            worker.wait_until_open()
        yield pool
    finally:
        for worker in pool:
            worker.stop()


def answers(pool, queue):
    """Have the tasks (submission, record) judged -> they come back one by one, each record complete."""
    waiting = deque(queue)
    while waiting or any(worker.task for worker in pool):
        for worker in pool:
            if waiting and not worker.task:
                worker.give(waiting.popleft())
        ready = connection.wait([worker.pipe for worker in pool if worker.task], timeout=10)
        for worker in pool:
            if not worker.task or worker.pipe not in ready and time.monotonic() - worker.since < LONGEST:
                continue
            submission, record = worker.task
            results, seconds, problem = worker.answer() if worker.pipe in ready else ([], LONGEST, "it took too long")
            if problem:
                worker.renew()
            worker.task = None
            record |= {"status": "failed" if problem else "graded", "results": results, "seconds": seconds,
                       "problem": f"{FAILED} ({problem})" if problem else ""}
            yield submission, record
