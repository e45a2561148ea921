"""Right answers to the exercises of lesson 05, written differently from the library's."""
import torch
from torch.func import grad
from torch.nn import functional as F

from metalearn_lite.check.lesson05 import mse, predict


def adapt(w, x, y, lr, steps):
    fast = list(w)
    for _ in range(steps):
        loss = (predict(fast, x) - y).square().mean()
        slopes = torch.autograd.grad(loss, fast, create_graph=True)
        fast = [torch.sub(p, s, alpha=lr) for p, s in zip(fast, slopes)]
    return fast


def adapt_2(w, x, y, lr, steps):
    if steps == 0:
        return tuple(w)
    slopes = grad(lambda p: F.mse_loss(predict(p, x), y))(list(w))
    return adapt_2([p - lr * s for p, s in zip(w, slopes)], x, y, lr, steps - 1)


def meta_grad(w, tasks, lr, steps, order):
    sums = [torch.zeros_like(p) for p in w]
    for support_x, support_y, query_x, query_y in tasks:
        fast = list(w)
        for _ in range(steps):
            slopes = torch.autograd.grad(mse(fast, support_x, support_y), fast, create_graph=True)
            if order == 1:
                slopes = [s.detach() for s in slopes]
            fast = [p - lr * s for p, s in zip(fast, slopes)]
        for total, g in zip(sums, torch.autograd.grad(mse(fast, query_x, query_y), w)):
            total += g
    return [total / len(tasks) for total in sums]


def meta_grad_2(w, tasks, lr, steps, order):
    def loss(w):
        losses = []
        for sx, sy, qx, qy in tasks:
            fast = w
            for _ in range(steps):
                slopes = grad(mse)(fast, sx, sy)
                fast = [p - lr * (s if order == 2 else s.detach()) for p, s in zip(fast, slopes)]
            losses.append(mse(fast, qx, qy))
        return torch.stack(losses).mean()

    return tuple(grad(loss)(list(w)))


def reptile(w, adapted, eps):
    return [torch.lerp(p, torch.stack(thetas).mean(0), eps) for p, thetas in zip(w, zip(*adapted))]


def reptile_2(w, adapted, eps):
    new = [(1 - eps) * p for p in w]
    for theta in adapted:
        new = [n + eps / len(adapted) * t for n, t in zip(new, theta)]
    return tuple(new)


def metasgd_grad(w, alpha, tasks):
    def loss(both):
        w, alpha = both
        losses = []
        for sx, sy, qx, qy in tasks:
            theta = [p - a * d for p, a, d in zip(w, alpha, grad(mse)(w, sx, sy))]
            losses.append(mse(theta, qx, qy))
        return sum(losses) / len(losses)

    return grad(loss)((list(w), list(alpha)))


def metasgd_grad_2(w, alpha, tasks):
    for sx, sy, qx, qy in tasks:
        slopes = torch.autograd.grad(mse(w, sx, sy), w, create_graph=True)
        theta = [torch.addcmul(p, a, d, value=-1) for p, a, d in zip(w, alpha, slopes)]
        (mse(theta, qx, qy) / len(tasks)).backward()
    return [p.grad for p in w], [a.grad for a in alpha]


def update(w, tasks, lr, outer_lr):
    w = [p.detach().clone().requires_grad_() for p in w]
    outer = torch.optim.SGD(w, lr=outer_lr)
    total = 0
    for sx, sy, qx, qy in tasks:
        g = torch.autograd.grad(mse(w, sx, sy), w, create_graph=True)
        theta = [p - lr * d for p, d in zip(w, g)]
        total = total + mse(theta, qx, qy) / len(tasks)
    total.backward()
    outer.step()
    return [p.detach() for p in w]


def update_2(w, tasks, lr, outer_lr):
    g = meta_grad_2(w, tasks, lr, 1, 2)
    return [p - outer_lr * d for p, d in zip(w, g)]


ALTERNATIVES = {
    "adapt": [adapt, adapt_2],
    "meta_grad": [meta_grad, meta_grad_2],
    "reptile": [reptile, reptile_2],
    "metasgd_grad": [metasgd_grad, metasgd_grad_2],
    "update": [update, update_2],
}
