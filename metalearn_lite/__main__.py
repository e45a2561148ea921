"""python -m metalearn_lite doctor: is everything here that the lessons need? The exit status is 0 if it is."""

import sys

if __name__ == "__main__":
    if sys.argv[1:] != ["doctor"]:
        sys.exit("usage: python -m metalearn_lite doctor")
    from metalearn_lite import doctor

    sys.exit(0 if doctor.report() else 1)
