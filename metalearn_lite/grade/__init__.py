"""Marks for a class. ``python -m metalearn_lite grade lesson05 submissions/ --out grades/``; see docs/teaching.md.

A student's code runs in a box (`box`, bubblewrap) and only answers (`worker`). A trusted process outside draws fresh
inputs, has the reference answer too, and compares, with the words of the student's own checks (`marks`). Between the two
goes plain JSON of which every field is validated (`wire`). Nothing that a student hands in decides about a mark.
"""
