"""Right answers to the primer's exercises, written differently from the library's."""
import math

import torch
import torch.nn.functional as F


def softmax(z):
    return torch.softmax(z, dim=-1)


def softmax_2(z):
    e = torch.exp(z - z.max(dim=-1, keepdim=True).values)
    return e / e.sum(-1)[..., None]


def softmax_3(z):
    return (z - z.logsumexp(-1, keepdim=True)).exp()


def softmax_4(z):
    rows = []
    for row in z.reshape(-1, z.shape[-1]):
        e = torch.exp(row - row.max())
        rows.append(e / e.sum())
    return torch.stack(rows).reshape(z.shape)


def train(x, y, classes, steps, lr):
    net = torch.nn.Linear(x.shape[1], classes, bias=False, dtype=x.dtype)
    torch.nn.init.zeros_(net.weight)
    optimiser = torch.optim.SGD(net.parameters(), lr=lr)
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y)
        net.zero_grad()
        loss.backward()
        optimiser.step()
    return net.weight.detach().T


def train_2(x, y, classes, steps, lr):
    w = torch.zeros(x.shape[1], classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.SGD([w], lr=lr)
    for _ in range(steps):
        F.cross_entropy(x @ w, y).backward()
        optimiser.step()
        optimiser.zero_grad()
    return w.detach()


def train_3(x, y, classes, steps, lr):
    w = torch.zeros(x.shape[1], classes, dtype=x.dtype)
    for _ in range(steps):
        w.requires_grad_(True)
        (g,) = torch.autograd.grad(F.nll_loss((x @ w).log_softmax(-1), y), w)
        w = (w - lr * g).detach()
    return w


def train_4(x, y, classes, steps, lr):
    w = torch.zeros(x.shape[1], classes, dtype=x.dtype)
    for _ in range(steps):
        w = w - lr * x.T @ (torch.softmax(x @ w, dim=-1) - F.one_hot(y, classes)) / len(x)
    return w


def conv_size(size, kernel, stride, padding):
    return math.floor((size + 2 * padding - kernel) / stride + 1)


def conv_size_2(size, kernel, stride, padding):
    return -(-(size + 2 * padding - kernel + 1) // stride)


def conv_size_3(size, kernel, stride, padding):
    return len(range(0, size + 2 * padding - kernel + 1, stride))


def conv_size_4(size, kernel, stride, padding):
    return F.conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, kernel), stride=stride, padding=padding).shape[-1]


def batch_norm(x, eps):
    return F.batch_norm(x, None, None, training=True, eps=eps)


def batch_norm_2(x, eps):
    centred = x - x.mean((0, 2, 3))[:, None, None]
    return centred * (centred.square().mean((0, 2, 3), keepdim=True) + eps).rsqrt()


def batch_norm_3(x, eps):
    n, c, h, w = x.shape
    columns = x.permute(0, 2, 3, 1).reshape(-1, c)
    columns = (columns - columns.mean(0)) / (columns.var(0, unbiased=False) + eps) ** 0.5
    return columns.reshape(n, h, w, c).permute(0, 3, 1, 2)


def batch_norm_4(x, eps):
    out = torch.empty_like(x)
    for c in range(x.shape[1]):
        channel = x[:, c]
        out[:, c] = (channel - channel.mean()) / torch.sqrt(channel.var(correction=0) + eps)
    return out


def fit_line(x, y, steps, lr):
    features = torch.stack([x, torch.ones_like(x)], dim=1)
    w = torch.zeros(2, 1, dtype=x.dtype)
    for _ in range(steps):
        w.requires_grad_(True)
        loss = (((features @ w).flatten() - y) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, w)
        w = (w - lr * gradient).detach()
    return w.flatten()


def fit_line_2(x, y, steps, lr):
    features = torch.stack([x, torch.ones_like(x)], dim=1)
    w = torch.zeros(2, dtype=x.dtype, requires_grad=True)
    for _ in range(steps):
        w.grad = None
        F.mse_loss(features @ w, y).backward()
        with torch.no_grad():
            w -= lr * w.grad
    return w


def fit_line_3(x, y, steps, lr):
    features = torch.stack([x, torch.ones_like(x)], dim=1)
    w = torch.zeros(2, 1, dtype=x.dtype)
    for _ in range(steps):
        w.requires_grad_(True)
        loss = ((features @ w - y).diagonal() ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, w)
        w = (w - lr * gradient).detach()
    return w.flatten()


def fit_line_4(x, y, steps, lr):
    slope = intercept = torch.zeros((), dtype=x.dtype)
    for _ in range(steps):
        error = slope * x + intercept - y
        slope, intercept = slope - lr * 2 * (error * x).mean(), intercept - lr * 2 * error.mean()
    return torch.stack([slope, intercept])


ALTERNATIVES = {
    "softmax": [softmax, softmax_2, softmax_3, softmax_4],
    "train": [train, train_2, train_3, train_4],
    "conv_size": [conv_size, conv_size_2, conv_size_3, conv_size_4],
    "batch_norm": [batch_norm, batch_norm_2, batch_norm_3, batch_norm_4],
    "fit_line": [fit_line, fit_line_2, fit_line_3, fit_line_4],
}
