"""Right answers to the exercises of lesson 01, written differently from the library's."""
import random

import torch
from torch.nn import functional as F


def numeric_grad(A, w, eps):
    shifts = eps * torch.eye(len(w), dtype=w.dtype)
    ahead = ((w + shifts) @ A.T).pow(4).sum(1)
    behind = ((w - shifts) @ A.T).pow(4).sum(1)
    return 0.5 * (ahead - behind) / eps


def numeric_grad_2(A, w, eps):
    w, slopes = w.clone(), []
    for j in range(w.numel()):
        values = []
        for shift in (eps, -2 * eps):
            w[j] += shift
            values.append((A @ w).square().square().sum().item())
        w[j] += eps
        slopes.append((values[0] - values[1]) / (2 * eps))
    return torch.tensor(slopes, dtype=w.dtype)


def sgd(w, g, lr):
    return torch.add(w, g, alpha=-lr)


def sgd_2(w, g, lr):
    w = w.clone()
    w -= lr * g
    return w


def momentum(w, v, g, lr, mu, nesterov):
    v = g + v * mu
    direction = torch.add(g, v, alpha=mu) if nesterov else v
    return torch.sub(w, direction, alpha=lr), v


def momentum_2(w, v, g, lr, mu, nesterov):
    new_w, new_v = w.clone(), v.clone()
    new_v.mul_(mu).add_(g)
    new_w.sub_(lr * new_v if not nesterov else lr * g + lr * mu * new_v)
    return [new_w, new_v]


def softmax_ce(logits, y):
    logits = logits.clone().requires_grad_()
    loss = F.cross_entropy(logits, y)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


def softmax_ce_2(logits, y):
    losses, grads = [], []
    for row, label in zip(logits, y.tolist()):
        log_sum = torch.logsumexp(row, 0)
        losses.append(log_sum - row[label])
        target = torch.zeros_like(row)
        target[label] = 1
        grads.append(((row - log_sum).exp() - target) / len(y))
    return sum(losses).item() / len(y), torch.stack(grads)


def minibatches(n, size, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1000 + seed))
    return [order[start:start + size] for start in range(0, n, size)]


def minibatches_2(n, size, seed):
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return [order[start:start + size] for start in range(0, n, size)]


def minibatches_3(n, size, seed):
    order = torch.rand(n, generator=torch.Generator().manual_seed(seed)).argsort()
    return order.split(size)


def epoch(w, x, y, lr, batches):
    w = w.clone().requires_grad_()
    total = 0.0
    for i in batches:
        loss = F.cross_entropy(x[i] @ w, y[i])
        loss.backward()
        total = total + loss.item()
        with torch.no_grad():
            w -= lr * w.grad
        w.grad = None
    return w.detach(), total / len(batches)


def epoch_2(w, x, y, lr, batches):
    total = 0.0
    for i in batches:
        p = torch.softmax(x[i] @ w, dim=1)
        total -= p[torch.arange(len(i)), y[i]].log().mean().item()
        w = w - lr * x[i].T @ (p - F.one_hot(y[i], w.shape[1])) / len(i)
    return w, total / len(batches)


ALTERNATIVES = {
    "numeric_grad": [numeric_grad, numeric_grad_2],
    "sgd": [sgd, sgd_2],
    "momentum": [momentum, momentum_2],
    "softmax_ce": [softmax_ce, softmax_ce_2],
    "minibatches": [minibatches, minibatches_2, minibatches_3],
    "epoch": [epoch, epoch_2],
}
