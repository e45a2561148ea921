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
# On this page: [the map of the course](#The-map-of-the-course) · [how a lesson works](#How-a-lesson-works) ·
# [your progress](#Your-progress) · [what serves which objective](#What-serves-which-objective) ·
# [closing self-test](#Closing-self-test) · [glossary](#Glossary)
#
# ## The map of the course
#
# From top to bottom is the whole way. **Builds on** names the lessons that you need before. **Your time** is a first
# time through with all exercises that are not optional. **Optional** comes on top: sections, exercises and bug hunts
# that are marked so. **The computer's** is all of a lesson's training on two processor cores.
#
# | lesson | the question | builds on | your time | optional | the computer's |
# |---|---|---|---|---|---|
# | [Primer: PyTorch in twenty minutes](primer_pytorch.ipynb) | Which mistakes does PyTorch let through? Starts with a self-test: skip it if you can. | nothing | 37 min | 0 min | 5 s |
# | [00 What is a task?](00_what_is_a_task.ipynb) | What does it mean to learn from one example, and how would you know that it worked? | primer | 65 min | 5 min | 30 s |
# | [01 Gradient descent](01_gradient_descent.ipynb) | How does a slope become a classifier, and why does it sometimes blow up? | primer, 00 | 70 min | 4 min | 15 s |
# | [02 Adam, and learning the learner](02_adam_and_learning_the_learner.ipynb) | When does an optimiser become a meta-learner? | 00, 01 | 125 min | 10 min | 50 s |
# | [03 Memory networks](03_memory_networks.ipynb) | Can a network learn a new name in one look, without a single change of its weights? | primer, 00, 01 | 87 min | 12 min | 60 s |
# | [04 Transfer learning](04_transfer_learning.ipynb) | What of a trained network can you take along to classes it has never met? | primer, 00, 01 | 117 min | 0 min | 90 s |
# | [05 MAML](05_maml.ipynb) | Can one find a start from which a single step learns a new task? | 00, 01, 02, 04 | 100 min | 30 min | 90 s |
# | [06 Siamese networks](06_siamese_networks.ipynb) | Can one learn once what "alike" means, and then meet new letters without moving a weight? | 00, 04 | 85 min | 5 min | 60 s |
# | [07 Networks that make networks](07_networks_that_make_networks.ipynb) | Can a network look at five examples and write down the weights that solve the task? | 00, 04, 05 | 72 min | 17 min | 80 s |
#
# Lesson 04 ends with an optional section that needs a download of 700 MB, which the times leave out.
#
# ## How a lesson works
#
# Press Shift-Enter to run a cell and move on. Commit to a guess where you are asked for one. An exercise is a cell with
# a gap; the cell below it checks what you wrote, tells you what is wrong, and has three hints. An exercise left open
# stops nothing.
#
# **Where your work is.** You are in a copy of the lessons that belongs to you: no update overwrites it.
# To start a lesson afresh, close it and run `make reset N=01` (Windows: `py start.py reset 01`) in the project's
# folder; your version is kept in `backup`. On Binder the copy is lost when the session idles: use File > Download
# before you leave.
#
# ## Your progress
#
# Run the next cell to see what you have done. Each check of an exercise and each answer to a quiz adds a line to the
# file `progress.jsonl` beside this notebook: the name of the exercise or quiz, right or wrong, and the day. Whatever
# was right once stays right. Your name is not in it, your code is not in it, and it never leaves this computer. On
# Binder nothing is recorded.

# %%
from metalearn_lite.check import index, progress

progress.show()

# %% [markdown]
# The record is yours. To keep a copy, or to start afresh, take away the `#` before the line that you want, and run the
# cell.

# %%
# progress.export("my-progress.json")    # writes a summary beside this notebook
# progress.delete()                      # forgets everything that was recorded

# %% [markdown]
# ## What serves which objective
#
# Each lesson begins with what you will be able to do. Here every exercise and every quiz stands beside the objective
# that it serves, with your result. Run the cell, and unfold a lesson.

# %%
index.show()

# %% [markdown]
# ## Closing self-test
#
# When you have taken the lessons, answer these without looking anything up. Each choice explains itself, and a wrong
# one names the section to read again.

# %%
for question in index.SELF_TEST:
    display(question)

# %% [markdown]
# ## Glossary
#
# Each term in a sentence or two, as the field uses it, with the section where you meet it first or best.
#
# ### A
#
# - **Adam**: An optimiser that steps by an average of past gradients, divided by the root of an average of their
#   squares, both corrected for having started at zero.
#   [Lesson 02, section 2](02_adam_and_learning_the_learner.ipynb#2-Adam).
# - **adaptation**: Whatever a learner computes from a task's support set before it answers that task's queries:
#   gradient steps, class means, a memory. [Lesson 05, section 2](05_maml.ipynb#2-The-inner-loop).
# - **ANIL**: Almost no inner loop: MAML whose inner steps change the head only, while the embedding stays as
#   meta-trained. [Lesson 05, optional part](05_maml.ipynb#Optional:-three-relatives-%2814-minutes%29).
# - **attention**: A read that compares a query with all keys, turns the similarities into weights by a softmax,
#   and returns the weighted mean of the values.
#   [Lesson 03, section 1](03_memory_networks.ipynb#1-A-soft-look-up).
# - **AUC**: The area under the ROC curve: the probability that a random positive pair gets a higher score than a
#   random negative one. 0.5 is chance.
#   [Lesson 06, section 3](06_siamese_networks.ipynb#3-Verification).
#
# ### B
#
# - **batch norm**: A layer that subtracts the mean and divides by the standard deviation of each channel. In
#   `train()` mode both come from the batch, in `eval()` mode from running averages.
#   [Primer, section 6](primer_pytorch.ipynb#6-Batch-norm:-train-and-eval).
#
# ### C
#
# - **condition number**: The largest curvature of a loss divided by the smallest. It sets the pace of gradient
#   descent. [Lesson 01, section 4](01_gradient_descent.ipynb#4-Two-knobs:-the-valley).
# - **confidence interval**: An interval made by a rule that covers the true value in a stated share of
#   repetitions, here 95 %. For a mean over T independent tasks it is about the mean ± 1.96 s/√T.
#   [Lesson 00, section 4](00_what_is_a_task.ipynb#4-How-sure-is-a-score%3F).
# - **contrastive loss**: A loss on pairs: it pulls the embeddings of alike items together, and pushes others
#   apart up to a margin.
#   [Lesson 06, section 1](06_siamese_networks.ipynb#1-The-same-or-not%3F).
# - **cross-entropy**: The mean of minus the logarithm of the probability that a classifier gives to the true
#   class. [Primer, section 3](primer_pytorch.ipynb#3-Softmax-and-cross-entropy).
# - **curvature**: The second derivative of the loss in a direction: how fast its slope changes.
#   [Lesson 01, section 3](01_gradient_descent.ipynb#3-A-step-too-far).
#
# ### E
#
# - **embedding**: A map from an input, such as an image, to a vector; also that vector. Distances between vectors
#   are meant to say what is alike. [Lesson 00, section 2](00_what_is_a_task.ipynb#2-Near-means-alike).
# - **episode**: One task as it is drawn for training or testing: a support set and queries of the same classes.
#   [Lesson 00, section 1](00_what_is_a_task.ipynb#1-A-task).
#
# ### F
#
# - **few-shot learning**: Learning to solve a new task from a few labelled examples.
#   [Lesson 00, section 1](00_what_is_a_task.ipynb#1-A-task).
# - **FiLM**: Feature-wise linear modulation: each channel is multiplied by one number and shifted by another,
#   both computed from a further input.
#   [Lesson 07, section 6](07_networks_that_make_networks.ipynb#6-A-base-network-with-a-learned-module).
# - **fine-tuning**: Training a pretrained network further, all of it or a part, on the data of the new task.
#   [Lesson 04, section 3](04_transfer_learning.ipynb#3-Fine-tuning).
# - **first-order MAML**: MAML whose meta-gradient counts the inner gradients as constants, and so leaves out
#   second derivatives. [Lesson 05, section 4](05_maml.ipynb#4-The-gradient-through-the-step).
# - **freezing**: Leaving a part of a network exactly as it is while the rest is trained: weights, running
#   averages and dropout included. [Lesson 04, section 2](04_transfer_learning.ipynb#2-What-%22frozen%22-means).
#
# ### H
#
# - **head**: The last layer or layers of a network, which turn an embedding into predictions for one set of
#   classes. [Lesson 04, section 1](04_transfer_learning.ipynb#1-A-network-that-reads-765-letters).
# - **Hessian**: The matrix of a function's second derivatives.
#   [Lesson 02, section 5](02_adam_and_learning_the_learner.ipynb#5-Through-a-step).
# - **Hessian-vector product**: The Hessian times a vector, computed from two gradients without forming the
#   matrix. [Lesson 02, section 5](02_adam_and_learning_the_learner.ipynb#5-Through-a-step).
# - **hyper-gradient**: The derivative of the loss after training by a hyperparameter of the training, such as its
#   step size. [Lesson 02, section 6](02_adam_and_learning_the_learner.ipynb#6-A-rate-is-learned).
# - **hypernetwork**: A network whose output is used as the weights of another network.
#   [Lesson 07, section 3](07_networks_that_make_networks.ipynb#3-One-writes,-the-other-answers).
#
# ### I
#
# - **inner loop**: The learning within one task: from the start to adapted weights, on the support set.
#   [Lesson 05, section 2](05_maml.ipynb#2-The-inner-loop).
#
# ### K
#
# - **key-value memory**: A list of pairs. To read, a query is compared with the keys, and the values are averaged
#   by similarity.
#   [Lesson 03, section 5](03_memory_networks.ipynb#5-A-memory-over-the-stream).
#
# ### L
#
# - **leak**: Information about the test data that reaches training or the choice of a method, and makes the score
#   too good. [Lesson 00, section 5](00_what_is_a_task.ipynb#5-The-leak).
# - **learned optimiser**: An update rule with parameters of its own, which are trained on a family of tasks.
#   [Lesson 02, section 8](02_adam_and_learning_the_learner.ipynb#8-The-whole-rule-is-learned).
# - **linear probe**: A linear classifier fitted to the outputs of a frozen network.
#   [Lesson 04, section 2](04_transfer_learning.ipynb#2-What-%22frozen%22-means).
# - **logit**: The number that a classifier gives a class before the softmax: any real number, and larger means
#   more likely. [Primer, section 3](primer_pytorch.ipynb#3-Softmax-and-cross-entropy).
#
# ### M
#
# - **MAML**: Model-agnostic meta-learning: it learns initial weights from which one or a few gradient steps on a
#   new task's support set do well on its queries. [Lesson 05, section 3](05_maml.ipynb#3-The-outer-loop).
# - **MANN**: Memory-augmented neural network: a recurrent controller that writes to and reads from an external
#   memory.
#   [Lesson 03, optional part](03_memory_networks.ipynb#Optional:-a-memory-that-chooses-where-to-write-%2812-minutes%29).
# - **matching network**: A learner whose prediction for a query is the mean of the support labels, weighted by
#   attention in the embedding.
#   [Lesson 06, optional part](06_siamese_networks.ipynb#Optional:-matching-networks-%285-minutes%29).
# - **meta-knowledge**: What meta-training keeps and carries from task to task, such as an embedding, a start or a
#   step size. [Lesson 00, section 3](00_what_is_a_task.ipynb#3-Three-loops).
# - **meta-learning**: Learning to learn: training on many tasks so that learning a new task of the same kind
#   becomes better or faster. [Lesson 00, section 3](00_what_is_a_task.ipynb#3-Three-loops).
# - **meta-objective**: What meta-training minimises: the expected loss on the queries after the learner has seen
#   the support set. [Lesson 00, section 3](00_what_is_a_task.ipynb#3-Three-loops).
# - **Meta-SGD**: MAML that also learns a step size for each parameter.
#   [Lesson 05, optional part](05_maml.ipynb#Optional:-three-relatives-%2814-minutes%29).
# - **meta-testing**: The evaluation on tasks of held-out classes, looked at once when everything has been chosen.
#   [Lesson 00, section 3](00_what_is_a_task.ipynb#3-Three-loops).
# - **meta-training**: The loop that draws tasks and changes the meta-knowledge. One such change is a meta-update.
#   [Lesson 00, section 3](00_what_is_a_task.ipynb#3-Three-loops).
# - **meta-validation**: The evaluation on tasks of classes that are neither for training nor for testing, by
#   which settings are chosen. [Lesson 00, section 3](00_what_is_a_task.ipynb#3-Three-loops).
# - **momentum**: Stepping by a decaying sum of past gradients instead of the last one.
#   [Lesson 01, section 6](01_gradient_descent.ipynb#6-Momentum:-a-ball-in-the-valley).
#
# ### N
#
# - **nearest centroid**: The rule that gives a query the class whose mean embedding is nearest.
#   [Lesson 00, section 2](00_what_is_a_task.ipynb#2-Near-means-alike).
# - **negative transfer**: Pretraining on a source that makes the result on the target worse than without it.
#   [Lesson 04, section 6](04_transfer_learning.ipynb#6-Negative-transfer).
#
# ### O
#
# - **outer loop**: The loop over tasks that changes the meta-knowledge by the loss on the queries after
#   adaptation. [Lesson 05, section 3](05_maml.ipynb#3-The-outer-loop).
#
# ### P
#
# - **paired difference**: The mean over tasks of the difference of two methods on the same task. Its interval is
#   narrower, because the difficulty that both share cancels.
#   [Lesson 00, section 5](00_what_is_a_task.ipynb#5-The-leak).
# - **pretraining**: Training on plenty of data of a source before the few examples of the target are seen.
#   [Lesson 04, section 1](04_transfer_learning.ipynb#1-A-network-that-reads-765-letters).
# - **prototypical network**: A learner that represents each class by the mean embedding of its support examples,
#   and scores a query by minus its squared distance to each.
#   [Lesson 00, section 2](00_what_is_a_task.ipynb#2-Near-means-alike).
#
# ### Q
#
# - **query**: An item of a task that the learner is to predict. Its label serves for the loss and the score only.
#   [Lesson 00, section 1](00_what_is_a_task.ipynb#1-A-task).
#
# ### R
#
# - **Reptile**: A first-order method that moves the start a part of the way to the weights that several steps on
#   a task lead to. [Lesson 05, optional part](05_maml.ipynb#Optional:-three-relatives-%2814-minutes%29).
# - **RMSProp**: An optimiser that divides each gradient by the root of a running average of its square.
#   [Lesson 02, section 1](02_adam_and_learning_the_learner.ipynb#1-A-rate-for-each-knob).
#
# ### S
#
# - **second order**: Said of a meta-gradient that differentiates through the inner gradients, and so contains
#   second derivatives. [Lesson 05, section 4](05_maml.ipynb#4-The-gradient-through-the-step).
# - **short-horizon bias**: The fault of what was learned on short, noisy runs, such as a step size: it is too
#   careful for long ones. [Lesson 02, section 7](02_adam_and_learning_the_learner.ipynb#7-Short-runs,-long-runs).
# - **shot**: The number of labelled examples of each class in a task's support set.
#   [Lesson 00, section 1](00_what_is_a_task.ipynb#1-A-task).
# - **Siamese network**: Two copies of one network with shared weights that embed the two items of a pair, so that
#   the pair can be compared.
#   [Lesson 06, section 1](06_siamese_networks.ipynb#1-The-same-or-not%3F).
# - **support set**: The labelled examples of a task. [Lesson 00, section 1](00_what_is_a_task.ipynb#1-A-task).
#
# ### T
#
# - **task**: A problem to be learned, with data of its own: in this course a few classes to be told apart, or a
#   curve to be fitted. [Lesson 00, section 1](00_what_is_a_task.ipynb#1-A-task).
# - **transductive**: Said of a learner that uses a task's queries together, without labels, when it predicts any
#   one of them. [Lesson 05, section 9](05_maml.ipynb#9-Batch-norm-hears-the-neighbours).
# - **transfer learning**: Using what was learned on one problem to learn another.
#   [Lesson 04, section 1](04_transfer_learning.ipynb#1-A-network-that-reads-765-letters).
# - **triplet loss**: A loss on an anchor, a positive and a negative item: the positive is to be nearer to the
#   anchor, by a margin.
#   [Lesson 06, section 5](06_siamese_networks.ipynb#5-Triplets).
#
# ### V
#
# - **verification**: Deciding whether two items are of the same class, by a threshold on their distance.
#   [Lesson 06, section 3](06_siamese_networks.ipynb#3-Verification).
#
# ### W
#
# - **way**: The number of classes in a task. [Lesson 00, section 1](00_what_is_a_task.ipynb#1-A-task).
