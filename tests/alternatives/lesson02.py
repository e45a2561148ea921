"""Right answers to the exercises of lesson 02, written differently from the library's."""
import torch


def rmsprop(w, g, s, lr, rho, eps):
    s = torch.lerp(g.square(), s, rho)
    return torch.addcdiv(w, g, s.sqrt() + eps, value=-lr), s


def rmsprop_2(w, g, s, lr, rho, eps):
    parameter = w.clone().requires_grad_()
    optimiser = torch.optim.RMSprop([parameter], lr=lr, alpha=rho, eps=eps)
    parameter.grad = torch.zeros_like(w)
    optimiser.state[parameter] = {"step": torch.tensor(0.0), "square_avg": s.clone()}
    parameter.grad = g.clone()
    optimiser.step()
    return [parameter.detach(), optimiser.state[parameter]["square_avg"]]


def adam(w, g, m, v, t, lr, b1, b2, eps):
    m, v = m + (1 - b1) * (g - m), v + (1 - b2) * (g * g - v)
    return w - lr / (1 - b1 ** t) * m / (torch.sqrt(v / (1 - b2 ** t)) + eps), m, v


def adam_2(w, g, m, v, t, lr, b1, b2, eps):
    parameter = w.clone().requires_grad_()
    optimiser = torch.optim.Adam([parameter], lr=lr, betas=(b1, b2), eps=eps)
    optimiser.state[parameter] = {"step": torch.tensor(float(t - 1)), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
    parameter.grad = g.clone()
    optimiser.step()
    state = optimiser.state[parameter]
    return parameter.detach(), state["exp_avg"], state["exp_avg_sq"]


def hvp(A, w, v):
    return 12 * A.T @ ((A @ w) ** 2 * (A @ v))


def hvp_2(A, w, v):
    def gradient(w):
        return 4 * A.T @ (A @ w) ** 3
    return torch.func.jvp(gradient, (w,), (v,))[1]


def lr_hypergrad(A, b, w, lr, steps):
    place, moved = w, torch.zeros_like(w)
    for _ in range(steps):
        g, Hm = A.T @ (A @ place - b) / len(b), A.T @ (A @ moved) / len(b)
        place, moved = place - lr * g, moved - g - lr * Hm
    return (A.T @ (A @ place - b) / len(b)) @ moved


def lr_hypergrad_2(A, b, w, lr, steps):
    def end(lr):
        place = w
        for _ in range(steps):
            place = place - lr * torch.func.grad(lambda p: ((A @ p - b) ** 2).mean() / 2)(place)
        return ((A @ place - b) ** 2).mean() / 2
    return torch.func.grad(end)(torch.tensor(lr, dtype=w.dtype)).item()


def meta_step(lr, tasks, steps, outer_lr):
    return lr - outer_lr * sum(lr_hypergrad(A, b, w, lr, steps).item() for A, b, w in tasks) / len(tasks)


def meta_step_2(lr, tasks, steps, outer_lr):
    rate = torch.tensor(lr, dtype=torch.float64, requires_grad=True)
    ends = []
    for A, b, w in tasks:
        for _ in range(steps):
            w = w - rate * A.T @ (A @ w - b) / len(b)
        ends.append(((A @ w - b) ** 2).mean() / 2)
    return (rate - outer_lr * torch.autograd.grad(torch.stack(ends).mean(), rate)[0]).detach()


def _mean_end(tasks, lr, steps):
    ends = []
    for A, b, w in tasks:
        for _ in range(steps):
            w = w - lr * A.T @ (A @ w - b) / len(b)
        ends.append(((A @ w - b) ** 2).mean().item() / 2)
    return sum(ends) / len(ends)


def meta_lr(train_tasks, test_tasks, steps):
    grid = [0.001 * 1.1 ** k for k in range(80)]
    lr = min(grid, key=lambda lr: _mean_end(train_tasks, lr, steps))
    return lr, _mean_end(test_tasks, lr, steps)


def meta_lr_2(train_tasks, test_tasks, steps):
    log_lr = -4.0
    for k in range(60):
        lr = torch.tensor(log_lr).exp().item()
        h = sum(lr_hypergrad(A, b, w, lr, steps).item() for A, b, w in train_tasks)
        log_lr += (0.3 if k < 30 else 0.3 * 0.85 ** (k - 29)) * (1 if h < 0 else -1)
    lr = torch.tensor(log_lr).exp()
    return [lr, torch.tensor(_mean_end(test_tasks, lr.item(), steps))]


def meta_lr_3(train_tasks, test_tasks, steps):
    """The outer loop of the lesson's section 6: thirty updates from 0.2."""
    log_lr, m, v = torch.tensor(0.2, dtype=torch.float64).log(), torch.zeros(()), torch.zeros(())
    for t in range(1, 31):
        lr = log_lr.exp().item()
        h = sum(lr_hypergrad(A, b, w, lr, steps) for A, b, w in train_tasks) / len(train_tasks)
        log_lr, m, v = adam(log_lr, lr * h, m, v, t, 0.2, 0.7, 0.9, 1e-8)
    lr = log_lr.exp().item()
    return lr, _mean_end(test_tasks, lr, steps)


ALTERNATIVES = {
    "rmsprop": [rmsprop, rmsprop_2],
    "adam": [adam, adam_2],
    "hvp": [hvp, hvp_2],
    "lr_hypergrad": [lr_hypergrad, lr_hypergrad_2],
    "meta_step": [meta_step, meta_step_2],
    "meta_lr": [meta_lr, meta_lr_2, meta_lr_3],
}
