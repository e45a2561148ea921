# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Contents
#
# A course on learning to learn. Each lesson is a notebook that computes everything it shows while you watch.
#
# | lesson | the question | your time | the computer's |
# |---|---|---|---|
# | [Primer: PyTorch in twenty minutes](primer_pytorch.ipynb) | Which mistakes does PyTorch let through? Starts with a self-test: skip it if you can. | 37 min | 5 s |
# | [00 What is a task?](00_what_is_a_task.ipynb) | What does it mean to learn from one example, and how would you know that it worked? | 65 min | 30 s |
# | [01 Gradient descent](01_gradient_descent.ipynb) | How does a slope become a classifier, and why does it sometimes blow up? | 70 min | 15 s |
# | [02 Adam, and learning the learner](02_adam_and_learning_the_learner.ipynb) | When does an optimiser become a meta-learner? | 75 min | 40 s |
# | [04 Transfer learning](04_transfer_learning.ipynb) | What of a trained network can you take along to classes it has never met? | 75 min | 105 s |
# | [05 MAML](05_maml.ipynb) | Can one find a start from which a single step learns a new task? | 75 min | 140 s |
#
# Lessons 03 on memory networks, 06 on Siamese networks and 07 on networks that make networks are in preparation.
#
# **Where your work is.** You are in a copy of the lessons that belongs to you: no update overwrites it.
# To start a lesson afresh, close it and run `make reset N=01` (Windows: `py start.py reset 01`) in the project's folder; your version is kept in
# `backup`. On Binder the copy is lost when the session idles: use File > Download before you leave.
#
# **How a lesson works.** Press Shift-Enter to run a cell and move on. Commit to a guess where you are asked for one. An exercise is a cell with a gap;
# the cell below it checks what you wrote, tells you what is wrong, and has three hints. An exercise left open stops nothing.
