"""Learners with a memory: what was seen is written down, and read again by its likeness to what is asked.

Three of them, `KeyValueMemory`, `MANN` and `LSTMLearner`, are functions ``learner(support_x, support_y, query_x) ->
logits``: (B, S, ...), (B, S), (B, Q, ...) -> (B, Q, N). Each is built for one of two kinds of task:

stream=False  an episode: the support set is written, then every query is answered from it on its own.
stream=True   a stream (`StreamSampler`): support and query are one sequence of T items. Item t is answered from items
              0..t and labels 0..t-1: its own label comes one step late, when it is already answered.

``embed`` maps (n, ...) to (n, D): a Conv4 for pixels, ``nn.Identity()`` for a data set of vectors. What is said of
streams holds for an embedding that takes each item alone; batch norm in train mode looks at the whole batch.

Memory read in several hops, for questions about stories, is in `stories.py`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn_lite.episodes import _at_least, check_task
from metalearn_lite.metric import by_class, unit_length
from metalearn_lite.nets import _initialise, embed_items


def _checked_way(support_x: Tensor, support_y: Tensor, query_x: Tensor, stream: bool) -> int:
    way = check_task(support_x, support_y, query_x)
    if stream and not torch.equal(support_x, query_x):
        raise ValueError("query_x: differs from support_x, expected the same sequence, since stream=True")
    return way


def accuracy_by_sight(logits: Tensor, y: Tensor, sights: tuple[int, ...] = (1, 2, 5, 10)) -> Tensor:
    """How often a class is named right when it is met for the 1st, 2nd, 5th, 10th time: the share over the classes of
    each stream, float64 (B, len(sights)), from logits (B, T, N) and labels (B, T). After Santoro et al. 2016.

    Raises ValueError where some stream shows no class that often.
    """
    one_hot = F.one_hot(y, logits.shape[-1])
    sight = (one_hot.cumsum(1) * one_hot).sum(-1)  # (B, T): the how-manieth of its class each item is, from 1
    right = logits.argmax(-1) == y
    columns = []
    for s in sights:
        count = (sight == s).sum(1)
        if not count.all():
            raise ValueError(f"sights: {s}, but stream {int((count == 0).nonzero()[0])} shows no class that often")
        columns.append((right & (sight == s)).sum(1).double() / count)
    return torch.stack(columns, 1)


class KeyValueMemory(nn.Module):
    """Writes each item as a pair, key = its embedding, value = its label; a query reads the values of keys like it.

    The read is attention: w = softmax over what was written of the likeness of query and key, and the answer is the
    mixture Σ_i w_i · label_i (Miller et al. 2016, one hop; the same form as Vinyals et al. 2016, eq. 1).
    One more slot, "nothing like it was written", has a learned likeness and holds every label equally: it is what there
    is to read at the first item of a stream. A new class's label cannot be read before it was written, so in a
    stream the first sight of a class scores *below* chance: the seen labels are the likelier answer.

    likeness  "cosine"  of the angle, times a learned sharpness
              "dot"     q·k / √D (Vaswani et al. 2017, eq. 1), times a learned sharpness

    A whole stream is one masked attention. Works at any way and any number of items.
    """

    def __init__(self, embed: nn.Module, *, stream: bool, likeness: str = "cosine"):
        super().__init__()
        if likeness not in ("cosine", "dot"):
            raise ValueError(f"likeness: {likeness!r}, expected 'cosine' or 'dot'")
        self.embed, self.stream, self.likeness = embed, stream, likeness
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(10.0 if likeness == "cosine" else 1.0)))
        self.nothing = nn.Parameter(torch.zeros(()))  # the likeness of the slot "nothing like it was written"

    def _scores(self, support_x: Tensor, query_x: Tensor) -> Tensor:
        if self.stream:
            keys = queries = embed_items(self.embed, support_x).flatten(2)
        else:
            z = embed_items(self.embed, torch.cat([support_x, query_x], 1)).flatten(2)  # one batch for the embedding
            keys, queries = z[:, : support_x.shape[1]], z[:, support_x.shape[1] :]
        if self.likeness == "cosine":
            likeness = unit_length(queries) @ unit_length(keys).mT  # (B, Q, S)
        else:
            likeness = queries @ keys.mT / math.sqrt(keys.shape[-1])
        likeness = torch.cat([likeness, self.nothing.expand(*likeness.shape[:2], 1)], -1)
        scores = self.log_sharpness.exp() * likeness  # (B, Q, S + 1)
        if self.stream:  # item t reads items before t, and the slot "nothing"
            t = torch.arange(keys.shape[1], device=keys.device)
            written = torch.cat([t[:, None] > t, torch.ones_like(t, dtype=torch.bool)[:, None]], 1)
            scores = scores.masked_fill(~written, -torch.inf)
        return scores

    def attention(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """The read weights (B, Q, S + 1): over what was written, then for "nothing like it"; each row sums to 1."""
        _checked_way(support_x, support_y, query_x, self.stream)
        return self._scores(support_x, query_x).softmax(-1)

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """Logits (B, Q, N); their softmax is the mixture of the labels by the read weights."""
        way = _checked_way(support_x, support_y, query_x, self.stream)
        scores = self._scores(support_x, query_x)
        # log Σ of the weights of each label, in the logarithm throughout: no weight is rounded to zero
        of_class = by_class(scores[..., :-1], support_y, way)  # (B, Q, N, S)
        nothing = (scores[:, :, None, -1:] - math.log(way)).expand(-1, -1, way, -1)
        return torch.cat([of_class, nothing], -1).logsumexp(-1)


def _late_labels(y: Tensor, most: int, dtype: torch.dtype) -> Tensor:
    """One-hot labels, one step late: (B, T) -> (B, T + 1, most); nothing at step 0, label t at step t + 1."""
    return F.pad(F.one_hot(y, most).to(dtype), (0, 0, 1, 0))


def _embed_at_most(learner: nn.Module, support_x: Tensor, way: int) -> Tensor:
    """The embedded support set (B, S, D) of a learner that was built for so many classes and features."""
    if way > learner.way:
        raise ValueError(f"support_y: tasks have {way} classes, expected at most way={learner.way}")
    z = embed_items(learner.embed, support_x).flatten(2)
    if z.shape[-1] != learner.features:
        raise ValueError(f"embed: gives {z.shape[-1]} features, expected features={learner.features}")
    return z


class LSTMLearner(nn.Module):
    """The baseline without a memory: an LSTM reads items and late labels, and answers (Hochreiter et al. 2001).

    features  D, what ``embed`` gives
    way       the most classes of a task: labels are written as one-hot vectors of this length. Fewer are allowed, and
              any number of items; more is a ValueError.
    hidden    units of the LSTM; 200 as Santoro et al. 2016
    """

    def __init__(self, embed: nn.Module, features: int, way: int, *, stream: bool, hidden: int = 200,
                 generator: torch.Generator):
        super().__init__()
        for name, value in dict(features=features, way=way, hidden=hidden).items():
            _at_least(name, value, 1)
        self.embed, self.features, self.way, self.stream = embed, features, way, stream
        with torch.random.fork_rng(devices=[]):
            self.lstm = nn.LSTM(features + way, hidden, batch_first=True)
            self.answer = _initialise(nn.Linear(hidden, way), generator)
        for parameter in self.lstm.parameters():  # PyTorch's own default
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden), generator=generator)

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        way = _checked_way(support_x, support_y, query_x, self.stream)
        z = _embed_at_most(self, support_x, way)
        late = _late_labels(support_y, self.way, z.dtype)
        outputs, (h, c) = self.lstm(torch.cat([z, late[:, :-1]], -1))  # (B, S, H)
        if not self.stream:  # every query goes its own way from the state after the support set
            q = query_x.shape[1]
            last = late[:, -1:].expand(-1, q, -1)
            asked = embed_items(self.embed, query_x).flatten(2)
            inputs = torch.cat([asked, last], -1).flatten(0, 1)[:, None]  # (B * Q, 1, D + way)
            h, c = (s.repeat_interleave(q, 1) for s in (h, c))
            outputs = self.lstm(inputs, (h, c))[0].unflatten(0, (-1, q))[:, :, 0]
        return self.answer(outputs)[..., :way]


class Memory(NamedTuple):
    """All that a `MANN` carries from one step to the next."""

    hidden: Tensor  # (B, H) the controller's output
    cell: Tensor  # (B, H) and its state
    rows: Tensor  # (B, slots, width) the memory itself, M_t
    read: Tensor  # (B, heads, slots) where it was read last, w^r
    value: Tensor  # (B, heads * width) and what was read there, r_t
    usage: Tensor  # (B, slots) how much each slot was read and written of late, w^u


class MANN(nn.Module):
    """A memory that writes where it was least used of late or where it has just read (Santoro et al. 2016).

    At each step an LSTM controller sees item, late label and last reading, and emits for each head a key k and a gate
    α. Then, numbered as in the paper:

        w^w_t = σ(α) w^r_{t-1} + (1 - σ(α)) w^lu_{t-1}      (7)  write to what was read last, or to the least used slot
        M_t = M_{t-1} + w^w_t k_t                           (8)  after the least used slot was set to zero
        w^r_t = softmax_i(β cos(k_t, M_t(i)))               (2, 3)
        r_t = Σ_i w^r_t(i) M_t(i)                           (4)
        w^u_t = γ w^u_{t-1} + w^r_t + w^w_t                 (5)  and w^lu_t marks its smallest slots (6)

    and the answer is linear in h_t and r_t. Where this goes beyond the paper: head number i writes to the i-th least
    used slot; each head has a learned sharpness β, as in Graves et al. 2014, eq. 5 (with β = 1 and 128 slots the
    reading is nearly uniform); α comes from the controller; and the cosine counts a row much shorter than 0.1 as
    empty, so that a trace of a key does not look like the key, and the gradient at an empty row stays small.

    On a small budget an LSTM may do as well or better: the paper's figures are of 100,000 episodes.

    features  D, what ``embed`` gives
    way       the most classes of a task: labels are written as one-hot vectors of this length. Fewer are allowed, and
              any number of items; more is a ValueError.
    slots, width, heads, hidden   the memory's rows and their length, read/write heads, the controller's units; the
                                  paper's are 128, 40, 4 and 200
    """

    GAMMA = 0.95  # γ, the decay of usage

    def __init__(self, embed: nn.Module, features: int, way: int, *, stream: bool, slots: int = 128, width: int = 40,
                 heads: int = 4, hidden: int = 200, generator: torch.Generator):
        super().__init__()
        sizes = dict(features=features, way=way, slots=slots, width=width, heads=heads, hidden=hidden)
        for name, value in sizes.items():
            _at_least(name, value, 1)
        if heads > slots:
            raise ValueError(f"heads: {heads} is more than the {slots} slots; each writes to one of its own")
        self.embed, self.features, self.way, self.stream = embed, features, way, stream
        self.slots, self.width, self.heads, self.hidden = slots, width, heads, hidden
        with torch.random.fork_rng(devices=[]):
            self.see = nn.Linear(features + way, 4 * hidden)  # the LSTM's gates: the part from outside ...
            self.recall = nn.Linear(hidden + heads * width, 4 * hidden, bias=False)  # ... and from h and r
            self.key = nn.Linear(hidden, heads * width)
            self.gate = nn.Linear(hidden, heads)
            self.answer = nn.Linear(hidden + heads * width, way)
        _initialise(self, generator)
        self.log_sharpness = nn.Parameter(torch.full((heads,), math.log(10.0)))

    def _empty(self, like: Tensor) -> Memory:
        def zeros(*shape):
            return like.new_zeros(len(like), *shape)

        return Memory(zeros(self.hidden), zeros(self.hidden), zeros(self.slots, self.width),
                      zeros(self.heads, self.slots), zeros(self.heads * self.width), zeros(self.slots))

    def _step(self, seen: Tensor, m: Memory) -> Memory:
        # the controller: an LSTM cell whose input from outside, (B, 4H), was multiplied out for all steps at once
        gates = seen + self.recall(torch.cat([m.hidden, m.value], -1))
        keep, let_in, let_out, news = gates.chunk(4, -1)
        cell = keep.sigmoid() * m.cell + let_in.sigmoid() * news.tanh()
        hidden = let_out.sigmoid() * cell.tanh()
        key = self.key(hidden).tanh().unflatten(-1, (self.heads, self.width))  # (B, heads, width)
        gate = self.gate(hidden).sigmoid()[..., None]  # (B, heads, 1)

        least = m.usage.topk(self.heads, largest=False).indices  # (B, heads)
        least_used = F.one_hot(least, self.slots).to(key)  # (B, heads, slots)
        write = gate * m.read + (1 - gate) * least_used
        rows = torch.baddbmm(m.rows * (1 - least_used.sum(1))[..., None], write.mT, key)

        length = (rows.square().sum(-1) + 0.01).sqrt()[:, None]  # (B, 1, slots); 0.01 = 0.1²: shorter rows are empty
        cosine = key @ rows.mT / (length * (key.square().sum(-1, keepdim=True) + 0.01).sqrt())
        read = (self.log_sharpness.exp()[:, None] * cosine).softmax(-1)  # (B, heads, slots)
        usage = self.GAMMA * m.usage + (read + write).detach().sum(1)  # only its order is used: no gradient
        return Memory(hidden, cell, rows, read, (read @ rows).flatten(1), usage)

    def _run(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        way = _checked_way(support_x, support_y, query_x, self.stream)
        z = _embed_at_most(self, support_x, way)
        late = _late_labels(support_y, self.way, z.dtype)
        memory, steps = self._empty(z), []
        for seen in self.see(torch.cat([z, late[:, :-1]], -1)).unbind(1):
            memory = self._step(seen, memory)
            steps.append(memory)
        if self.stream:
            outputs = torch.stack([torch.cat([m.hidden, m.value], -1) for m in steps], 1)
            return self.answer(outputs)[..., :way], torch.stack([m.read for m in steps], 1)
        # every query goes its own way from the memory after the support set, as a batch of B * Q tasks of one step
        q = query_x.shape[1]
        asked = embed_items(self.embed, query_x).flatten(2)
        seen = self.see(torch.cat([asked, late[:, -1:].expand(-1, q, -1)], -1)).flatten(0, 1)
        memory = self._step(seen, Memory(*(t.repeat_interleave(q, 0) for t in memory)))
        logits = self.answer(torch.cat([memory.hidden, memory.value], -1))[..., :way]
        return logits.unflatten(0, (-1, q)), memory.read.unflatten(0, (-1, q))

    def attention(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """The read weights of each query, (B, Q, heads, slots); over the slots they sum to one."""
        return self._run(support_x, support_y, query_x)[1]

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        return self._run(support_x, support_y, query_x)[0]
