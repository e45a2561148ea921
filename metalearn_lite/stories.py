"""Questions about short stories, and the end-to-end memory network that answers them by reading a story several times.

`WhereIs` draws the stories, `EndToEndMemory` is ``(story, question) -> logits``, `question_loss` is the objective for
`meta_train`. Words are numbers, sentences are three words long.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn_lite.episodes import _at_least, fingerprint


class Questions(NamedTuple):
    """A batch of B stories of S sentences, each with one question and its one-word answer. Words are numbers."""

    story: Tensor  # int64 (B, S, words)
    question: Tensor  # int64 (B, words)
    answer: Tensor  # int64 (B,)


class WhereIs:
    """Draws `Questions` like those of the bAbI tasks 1 and 2 (Weston et al. 2015).

    facts=1  "mary went kitchen", "john went garden", .. "where mary?": the last sentence with mary says it.
    facts=2  "mary went kitchen", "mary took milk", .. "where milk?": one sentence says who took it last, another where
             that person went last. There are no drops (bAbI has them): what was taken goes along with its last taker.

    The story opens with one move of each person, so each question has an answer; then every sentence is drawn: with
    facts=1 a move, with facts=2 a move or a taking with equal chance (the first of them a taking).

    sentences  S, at least the number of people + 1 with facts=2, the number of people with facts=1
    """

    PEOPLE = ("mary", "john", "sandra", "daniel")
    PLACES = ("kitchen", "garden", "office", "bedroom", "hallway", "bathroom")
    THINGS = ("milk", "apple", "football")
    WORDS = (*PEOPLE, *PLACES, *THINGS, "went", "took", "where")

    def __init__(self, facts: int, sentences: int, batch: int, generator: torch.Generator, device=None):
        if facts not in (1, 2):
            raise ValueError(f"facts: {facts!r}, expected 1 or 2")
        _at_least("sentences", sentences, len(self.PEOPLE) + facts - 1)
        _at_least("batch", batch, 1)
        self.facts, self.sentences, self.batch, self.generator, self.device = facts, sentences, batch, generator, device

    def fingerprint(self) -> str:
        """Names the questions that the next draws will give, as `EpisodeSampler.fingerprint`."""
        return fingerprint(self.generator, "where is", self.facts, self.sentences, self.batch)

    def __call__(self) -> Questions:
        size, people, places = (self.batch, self.sentences), len(self.PEOPLE), len(self.PLACES)

        def draw(below, shape):
            return torch.randint(below, shape, generator=self.generator)

        who = draw(people, size)
        who[:, :people] = torch.rand(self.batch, people, generator=self.generator).argsort(1)
        where = draw(places, size)
        thing = draw(len(self.THINGS), size)
        taking = draw(2, size).bool() if self.facts == 2 else torch.zeros(size, dtype=torch.bool)
        taking[:, :people] = False
        taking[:, people : people + self.facts - 1] = True
        went, took = self.WORDS.index("went"), self.WORDS.index("took")
        story = torch.stack([who, torch.where(taking, took, went),
                             torch.where(taking, people + places + thing, people + where)], -1)  # (B, S, 3)

        def last(true):  # the last sentence of which something is true: (B, S) -> (B, 1)
            return (true * torch.arange(1, self.sentences + 1)).argmax(1, keepdim=True)

        if self.facts == 1:
            asked = person = draw(people, (self.batch, 1))
        else:
            asked_at = torch.where(taking, torch.rand(size, generator=self.generator), -1.0).argmax(1, keepdim=True)
            asked = thing.gather(1, asked_at)  # one of the things that were taken
            person = who.gather(1, last(taking & (thing == asked)))
            asked = asked + people + places
        answer = people + where.gather(1, last(~taking & (who == person)))[:, 0]
        question = torch.cat([torch.full_like(asked, self.WORDS.index("where")), asked], 1)
        return Questions(*(t.to(self.device) for t in (story, question, answer)))

    def say(self, words: Tensor) -> str:
        """A sentence, a question or an answer in words."""
        return " ".join(self.WORDS[i] for i in words.flatten().tolist())


def question_loss(learner: nn.Module, questions: Questions) -> Tensor:
    """Mean cross-entropy of the answers: an objective for `meta_train`."""
    return F.cross_entropy(learner(questions.story, questions.question), questions.answer)


class EndToEndMemory(nn.Module):
    """Reads a story several times; what one reading finds is part of the next one's question (Sukhbaatar et al. 2015).

    Sentences x_i (i counts from the story's end) and question q are bags of words; hop k is, with u_1 = A_1 q,

        m_i = A_k x_i + T_k(i)      c_i = C_k x_i + T_{k+1}(i)      memory in, memory out        (sections 2.1, 4.1)
        p = softmax_i(u_k · m_i)    o = Σ_i p_i c_i                 addressing, reading          (eq. 1, 2)
        u_{k+1} = u_k + o                                           the next question            (eq. 4)

    and the answer's logits are C_K^T u_{K+1}. Weights are tied the adjacent way: A_{k+1} = C_k, so K hops hold K + 1
    tables of words and of times. Words' order within a sentence is not encoded: these stories do not need it.

    words      size of the vocabulary
    sentences  the longest story; shorter ones are allowed, longer ones are a ValueError
    """

    def __init__(self, words: int, sentences: int, *, hops: int, width: int = 20, generator: torch.Generator):
        super().__init__()
        for name, value in dict(words=words, sentences=sentences, hops=hops, width=width).items():
            _at_least(name, value, 1)
        self.hops = hops
        # N(0, 0.4²). From the paper's N(0, 0.1²) all sentences look alike at first, and here two facts were never put
        # together. The paper meets poor minima in another way: it begins without the softmax ("linear start").
        self.word = nn.Parameter(0.4 * torch.randn(hops + 1, words, width, generator=generator))
        self.time = nn.Parameter(0.4 * torch.randn(hops + 1, sentences, width, generator=generator))

    def _run(self, story: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        if story.ndim != 3 or question.ndim != 2 or len(story) != len(question):
            raise ValueError(f"story, question: shapes are {tuple(story.shape)} and {tuple(question.shape)}, "
                             "expected (B, sentences, words) and (B, words)")
        (_, words, _), (_, most, _) = self.word.shape, self.time.shape
        if not 1 <= story.shape[1] <= most:
            raise ValueError(f"story: has {story.shape[1]} sentences, expected 1 to {most}")
        for name, ids in dict(story=story, question=question).items():
            if ids.numel() == 0 or int(ids.min()) < 0 or int(ids.max()) >= words:
                raise ValueError(f"{name}: expected words between 0 and {words - 1}, none missing")
        ago = torch.arange(story.shape[1] - 1, -1, -1, device=story.device)  # 0 for the last sentence
        bags = self.word[:, story].sum(3) + self.time[:, None, ago]  # (K + 1, B, S, width)
        u = self.word[0][question].sum(1)  # (B, width)
        weights = []
        for memory_in, memory_out in zip(bags[:-1], bags[1:]):
            p = (memory_in @ u[..., None]).softmax(1)  # (B, S, 1)
            u = u + (p * memory_out).sum(1)
            weights.append(p[..., 0])
        return u @ self.word[-1].mT, torch.stack(weights, 1)

    def attention(self, story: Tensor, question: Tensor) -> Tensor:
        """How much each hop looks at each sentence, (B, hops, S); over the sentences it sums to one."""
        return self._run(story, question)[1]

    def forward(self, story: Tensor, question: Tensor) -> Tensor:
        """Logits over the vocabulary, (B, words), from story (B, S, words a sentence) and question (B, words)."""
        return self._run(story, question)[0]
