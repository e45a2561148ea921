"""python -m metalearn_lite doctor: is everything here that the lessons need? The exit status is 0 if it is.

For teachers: grade, grade merge and release; ``python -m metalearn_lite grade --help`` says more, docs/teaching.md
most.
"""

import argparse
import sys


def parser():
    whole = argparse.ArgumentParser(prog="python -m metalearn_lite")
    commands = whole.add_subparsers(dest="command", required=True, metavar="doctor | grade | grade merge | release")
    commands.add_parser("doctor", help="is everything here that the lessons need?")

    grade = commands.add_parser("grade", help="grade the submissions of a class; `grade merge` adds lessons up")
    grade.add_argument("lesson", metavar="LESSON", help="such as lesson05 or primer")
    grade.add_argument("submissions", metavar="SUBMISSIONS", help="folder or zip: one file, folder or zip a student")
    grade.add_argument("--out", metavar="DIR", required=True, help="for grades.csv, pages/ and results/")
    grade.add_argument("--jobs", metavar="N", type=int, default=1, help="submissions at once (1)")
    grade.add_argument("--resume", action="store_true", help="keep what is graded already")
    grade.add_argument("--only", metavar="NAME", help="grade this student alone")
    grade.add_argument("--regrade", action="store_true", help="grade all again, and say whose mark moved")
    grade.add_argument("--private", metavar="DIR", help="your own folder with hidden/LESSON.py")
    grade.add_argument("--roster", metavar="CSV", help="columns: student, and optionally name, email, id, due")
    grade.add_argument("--due", metavar="ISO-TIME", default="", help="such as 2027-01-31T18:00; later ones are flagged")

    merge = commands.add_parser("merge", prog="python -m metalearn_lite grade merge")
    merge.add_argument("folders", metavar="DIR", nargs="+", help="what `grade --out` made")
    merge.add_argument("--out", metavar="FILE", required=True, help="CSV to write")
    merge.add_argument("--roster", metavar="CSV", help="its columns come last")

    release = commands.add_parser("release", help="make the folder that you hand to a class: lessons, no answers")
    release.add_argument("out", metavar="OUT", help="a folder that is empty or not there yet")
    release.add_argument("--private", metavar="DIR", help="your own folder with solutions/")
    return whole


def grade(options):
    from metalearn_lite.grade import gradebook, run

    if options.jobs < 1:
        raise ValueError(f"--jobs {options.jobs}: expected at least 1")
    rows = run.grade(options.lesson, options.submissions, options.out, jobs=options.jobs, resume=options.resume,
                     only=options.only, regrade=options.regrade, private=options.private, roster=options.roster,
                     due=gradebook.moment(options.due, "--due"))
    count = {word: sum(row["status"] == word for row in rows) for word in ("graded", "unreadable", "missing", "failed")}
    print(f"{len(rows)} rows in {options.out}/grades.csv: " + ", ".join(f"{n} {word}" for word, n in count.items()))
    return 1 if count["failed"] else 0


def main(arguments):
    if arguments[:2] == ["grade", "merge"]:
        arguments = arguments[1:]
    options = parser().parse_args(arguments)
    if options.command == "doctor":
        from metalearn_lite import doctor

        return 0 if doctor.report() else 1
    try:
        if options.command == "grade":
            return grade(options)
        if options.command == "merge":
            from metalearn_lite.grade import gradebook

            print(f"{len(gradebook.merge(options.folders, options.out, options.roster))} rows in {options.out}")
        else:
            from metalearn_lite.grade.release import release

            print(f"{len(release(options.out, options.private))} files in {options.out}")
        return 0
    except (ValueError, OSError, RuntimeError) as problem:
        return str(problem)
    except ModuleNotFoundError as problem:
        if not str(problem.name).startswith("metalearn_lite.grade"):
            raise
        return "this is a class's release: marks are made, and releases too, in the teacher's clone of the course"
    except KeyboardInterrupt:
        return "stopped" + (": --resume goes on from here" if options.command == "grade" else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
