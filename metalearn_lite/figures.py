"""Every picture of the lessons: one style, made without pyplot, and never without a text that says what it shows.

    fig, ax = figures.new()
    ax.plot(...); ax.set_xlabel(...); ax.set_ylabel(...)
    figures.show(fig, "loss against updates: it falls from 1.6 to 0.2")     # last line of a cell, or display(...)

The ready pictures below return a `Picture` as well. Their ``alt`` is written from the data unless one is given.
"""
import base64
import html
import io

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

# Okabe & Ito (2008), dark ones first: told apart by colour-blind readers. Always with a marker or line style as well.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00"]
LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3))]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
STYLE = {
    "font.family": "sans-serif", "font.size": 11, "axes.titlesize": 11, "axes.labelsize": 11, "legend.fontsize": 10,
    "xtick.labelsize": 10, "ytick.labelsize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": False, "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
    "text.color": "black", "axes.labelcolor": "black", "axes.edgecolor": "#333333", "lines.linewidth": 2,
    "svg.fonttype": "none", "svg.hashsalt": "metalearn_lite",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
}
PIXELS_PER_INCH = 96  # on the page; the stored picture is finer, for sharp text
_FINE = 1.5


def look(i):
    """Colour, line style and marker of the i-th series, as keywords for ``ax.plot``."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)], "marker": MARKERS[i % len(MARKERS)]}


class Picture:
    """A drawn figure: PNG bytes and the text that stands for them where they cannot be seen."""

    def __init__(self, png, alt, width):
        self.png, self.alt, self.width = png, alt, width

    def __repr__(self):
        return f"picture: {self.alt}"

    def _repr_mimebundle_(self, **kwargs):
        return {"text/plain": repr(self), "text/html": self.html()}

    def html(self):
        return (f'<figure style="margin: 0"><img alt="{html.escape(self.alt)}" width="{self.width}" '
                f'style="background: white; max-width: 100%; height: auto" '
                f'src="data:image/png;base64,{base64.b64encode(self.png).decode()}"></figure>')


def new(rows=1, cols=1, width=None, height=None):
    """(fig, axes) in the course's style; width and height in inches. One Axes, or an array of them as from subplots."""
    with rc_context(STYLE):
        fig = Figure(figsize=(width or min(5.6 * cols, 11), height or min(3.6 * rows, 11)), layout="constrained")
        FigureCanvasAgg(fig)
        axes = fig.subplots(rows, cols)
    for i, ax in enumerate(np.atleast_1d(axes).flat):
        ax.set_prop_cycle(color=COLOURS, linestyle=LINES)
    return fig, axes


def show(fig, alt):
    """The figure as it is now, as a `Picture`. ``alt`` describes the data in a sentence or two; it cannot be empty."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt: expected a text that says what the picture shows, got {alt!r}")
    file = io.BytesIO()
    with rc_context(STYLE):
        fig.savefig(file, format="png", dpi=PIXELS_PER_INCH * _FINE, metadata={"Software": None})
    return Picture(file.getvalue(), " ".join(alt.split()), round(fig.get_figwidth() * PIXELS_PER_INCH))


def svg(fig):
    """The figure as SVG text, the same bytes each time; text stays text."""
    file = io.StringIO()
    canvas, dpi = fig.canvas, fig.dpi
    try:
        with rc_context(STYLE):  # straight to the back end: savefig would draw everything twice
            FigureCanvasSVG(fig).print_svg(file, metadata={"Date": None, "Creator": None})
    finally:
        fig.set_canvas(canvas)
        fig.dpi = dpi
    return file.getvalue()


# ---- ready pictures -------------------------------------------------------------------------------------------------

def images(grid, titles=None, *, alt, labels=None):
    """Images, ink = 1 or 255, black on white: (N, H, W) in one row or (R, C, H, W), or with a channel, (N, 1, H, W).

    titles: one for each column. labels: one for each row.
    """
    grid = _array(grid)
    if grid.ndim in (4, 5) and grid.shape[-3] == 1:
        grid = grid.squeeze(-3)
    grid = grid[None] if grid.ndim == 3 else grid
    if grid.ndim != 4:
        raise ValueError(f"grid: shape {tuple(grid.shape)}, expected (N, H, W) or (rows, columns, H, W)")
    rows, cols = grid.shape[:2]
    fig, ax = new(width=max(2.0, min(0.62 * cols + 1, 10)), height=max(1.1, min(0.62 * rows + 0.6, 10)))
    mosaic(ax, grid, titles, labels)
    return show(fig, alt)


def mosaic(ax, grid, titles=None, labels=None):
    """Draw a (rows, columns, H, W) array of images on one Axes, as a sheet of white cards. Returns the AxesImage."""
    grid = _array(grid)
    rows, cols, h, w = grid.shape
    top = 255 if grid.max(initial=0) > 1 else 1
    sheet = np.full((rows * (h + 2) + 2, cols * (w + 2) + 2), 0.35)  # grey lines between the cards
    for r in range(rows):
        for c in range(cols):
            sheet[r * (h + 2) + 2:(r + 1) * (h + 2), c * (w + 2) + 2:(c + 1) * (w + 2)] = grid[r, c] / top
    artist = ax.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    ax.spines[:].set_visible(False)
    ax.set_xticks([c * (w + 2) + 1 + w / 2 for c in range(cols)] if titles else [], titles or [])
    ax.set_yticks([r * (h + 2) + 1 + h / 2 for r in range(rows)] if labels else [], labels or [])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    return artist


def episode(episode, task=0, *, most=8, alt=None):
    """One task of an episode of images: support on the left, queries on the right, a row for each label.

    At most ``most`` queries of a label are drawn.
    """
    support_x, support_y, query_x, query_y = (t[task].detach().cpu() for t in episode)
    way = int(support_y.max()) + 1
    parts = []
    for x, y, limit in ((support_x, support_y, None), (query_x, query_y, most)):
        x = x.squeeze(1) if x.ndim == 4 else x
        lists = [x[y == label][:limit] for label in range(way)]
        block = torch.zeros(way, max(map(len, lists)), *x.shape[1:])
        for label, chosen in enumerate(lists):
            block[label, :len(chosen)] = chosen
        parts.append(block)
    shot, query = len(support_y) / way, len(query_y) / way
    widths = [p.shape[1] for p in parts]
    with rc_context(STYLE):
        fig = Figure(figsize=(min(0.62 * sum(widths) + 1.6, 10), min(0.62 * way + 0.7, 10)), layout="constrained")
        FigureCanvasAgg(fig)
        left, right = fig.subplots(1, 2, width_ratios=widths)
    mosaic(left, parts[0], labels=[f"label {i}" for i in range(way)])
    mosaic(right, parts[1])
    left.set_xlabel("support", fontsize=11)
    right.set_xlabel("query", fontsize=11)
    plural = "" if shot == 1 else "s"
    return show(fig, alt or f"a {way}-way {shot:g}-shot task: {way} rows, one for each label; {shot:g} support "
                            f"image{plural} of each on the left, {query:g} to be labelled on the right"
                            + (f", of which {widths[1]} are drawn" if widths[1] < query else ""))


def curve(series, xlabel, ylabel, *, smooth=1, log=False, alt=None):
    """Named curves in one picture, each with its own colour, line and marker, and its name written beside its end.

    series: name -> values, or name -> (x, values). smooth: averages over so many values, the raw ones drawn faintly.
    """
    fig, ax = new()
    ends, said = [], []
    for i, (name, values) in enumerate(series.items()):
        x, y = values if isinstance(values, tuple) else (range(1, len(values) + 1), values)
        x, y = _array(x).astype(float), _array(y).astype(float)
        style = look(i)
        if smooth > 1 and len(y) > smooth:
            ax.plot(x, y, color=style["color"], linewidth=1, linestyle="-", alpha=0.25)
            y, x = np.convolve(y, np.ones(smooth) / smooth, "valid"), x[smooth - 1:]
        ax.plot(x, y, **style, markersize=6, markevery=max(1, len(x) // 8), label=name)
        ends.append((x[-1], y[-1], name, style["color"]))
        said.append(f"{name} from {y[0]:.3g} to {y[-1]:.3g}")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        ax.set_yscale("log")
    _name_ends(ax, ends)
    return show(fig, alt or f"{ylabel} against {xlabel}: " + "; ".join(said))


def bars(results, *, chance=None, ylabel="accuracy, %", alt=None):
    """Mean and 95 % interval of several Results (name -> Result), and a dashed line at chance (between 0 and 1)."""
    fig, ax = new(width=6.4, height=0.5 * len(results) + 1.4)
    names = list(results)
    means, halves = ([100 * getattr(r, part) for r in results.values()] for part in ("mean", "half_width"))
    rows = np.arange(len(names))[::-1]
    ax.barh(rows, means, xerr=halves, height=0.6, color="#A6CBE3", edgecolor=COLOURS[0], capsize=4, ecolor="black")
    for row, mean, half in zip(rows, means, halves):
        ax.text(mean + half, row, f"  {mean:.1f} ± {half:.1f}", va="center")
    ax.set_yticks(rows, names)
    ax.set_xlim(min(0, min(means)), max(m + h for m, h in zip(means, halves)) * 1.28)
    ax.set_xlabel(ylabel)
    if chance is not None:
        ax.axvline(100 * chance, color="black", linestyle="--", linewidth=1.5)
        ax.text(100 * chance, len(names) - 0.45, " chance", va="bottom")
    said = "; ".join(f"{n} {m:.1f} ± {h:.1f}" for n, m, h in zip(names, means, halves))
    return show(fig, alt or f"{ylabel}: {said}" + (f"; chance is {100 * chance:.1f}" if chance is not None else ""))


def histogram(values, xlabel, *, bins=20, ylabel="count", interval=None, alt=None):
    """How often which value occurs; with ``interval`` = (low, high), that stretch and its middle are marked."""
    values = _array(values).astype(float).ravel()
    fig, ax = new(height=3.0)
    ax.hist(values, bins=bins, color="#A6CBE3", edgecolor=COLOURS[0])
    ax.set(xlabel=xlabel, ylabel=ylabel)
    said = f"{xlabel}: {len(values)} values from {values.min():.3g} to {values.max():.3g}, mean {values.mean():.3g}"
    if interval is not None:
        low, high = interval
        ax.axvspan(low, high, color=COLOURS[1], alpha=0.25)
        ax.axvline((low + high) / 2, color=COLOURS[1], linestyle="--")
        said += f"; marked from {low:.3g} to {high:.3g}"
    return show(fig, alt or said)


def shrinking(per_task, *, counts=None, ylabel="accuracy, %", truth=None, alt=None):
    """Mean and 95 % interval of the first n values of ``per_task`` (between 0 and 1), for growing n."""
    values = 100 * _array(per_task).astype(float).ravel()
    counts = list(counts or [n for n in (5, 10, 20, 50, 100, 200, 300, 600, 1000, 2000, 5000) if n <= len(values)])
    means = np.array([values[:n].mean() for n in counts])
    halves = np.array([1.96 * values[:n].std(ddof=1) / np.sqrt(n) for n in counts])
    fig, ax = new()
    ax.errorbar(counts, means, yerr=halves, color=COLOURS[0], linestyle="none", marker="o", capsize=4)
    if truth is not None:
        ax.axhline(100 * truth, color=COLOURS[1], linestyle="--")
    ax.set(xscale="log", xlabel="number of tasks", ylabel=ylabel)
    ax.set_xticks(counts, [str(n) for n in counts])
    ax.minorticks_off()
    said = "; ".join(f"{n} tasks {m:.1f} ± {h:.1f}" for n, m, h in zip(counts, means, halves))
    return show(fig, alt or f"{ylabel} with its 95 % interval: {said}")


def scatter(points, labels, *, names=None, xlabel="first dimension", ylabel="second dimension", extra=None, alt=None):
    """Points (N, 2) by integer label (N,), each label with its own colour and marker.

    names: of the labels. extra: (n, 2) larger points of labels 0..n-1, such as class means.
    """
    points, labels = _array(points).astype(float), _array(labels).astype(int)
    fig, ax = new(width=5.6, height=4.4)
    kinds = sorted(set(labels.tolist()))
    for label in kinds:
        style, mine = look(label), points[labels == label]
        name = names[label] if names is not None else f"label {label}"
        ax.plot(mine[:, 0], mine[:, 1], linestyle="none", color=style["color"], marker=style["marker"], alpha=0.75,
                label=name)
        if extra is not None:
            ax.plot(*_array(extra)[label], linestyle="none", color=style["color"], marker=style["marker"],
                    markersize=14, markeredgecolor="black", markeredgewidth=2)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    legend(ax)
    return show(fig, alt or f"{len(points)} points of {len(kinds)} labels in the plane of {xlabel} and {ylabel}"
                + ("; the large points are the means" if extra is not None else ""))


def landscape(f, xlim, ylim, *, xlabel="w[0]", ylabel="w[1]", width=5.6, height=4.4):
    """(fig, ax) with the contour lines of ``f``, drawn once; lines added to ``ax`` persist and can be moved.

    f: tensor of points (..., 2) -> values (...). Lines stand at equal steps of the square root of the height.
    """
    x, y = torch.linspace(*map(float, xlim), 81), torch.linspace(*map(float, ylim), 81)
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    with torch.no_grad():
        z = f(points).double().numpy()
    fig, ax = new(width=width, height=height)
    low, high = z.min(), z.max()
    levels = low + (high - low) * np.linspace(0.03, 1, 13) ** 2
    ax.contour(x.numpy(), y.numpy(), z, levels=levels, cmap=_HEIGHTS, linewidths=1.2)
    ax.set(xlim=xlim, ylim=ylim, xlabel=xlabel, ylabel=ylabel)
    return fig, ax


def paths(f, routes, xlim, ylim, *, xlabel="w[0]", ylabel="w[1]", alt=None):
    """Named routes (T, 2) of some descent on the contour lines of ``f``, with a cross where each ends."""
    fig, ax = landscape(f, xlim, ylim, xlabel=xlabel, ylabel=ylabel)
    said = []
    for i, (name, route) in enumerate(routes.items()):
        route = torch.as_tensor(route).detach().double()
        ax.plot(route[:, 0], route[:, 1], **look(i), markersize=4, linewidth=1.5, label=name)
        ax.plot(*route[-1], color="black", marker="x", markersize=9, markeredgewidth=2)
        said.append(f"{name} ends at ({route[-1, 0]:.2f}, {route[-1, 1]:.2f}) after {len(route) - 1} steps, "
                    f"height {float(f(route[-1])):.3g}")
    ax.set(xlim=xlim, ylim=ylim)
    legend(ax)
    return show(fig, alt or "paths on contour lines: " + "; ".join(said))


def legend(ax, title=None):
    """Names of the series, to the right of the axes, where they hide no data."""
    return ax.legend(title=title, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=10)


# contour lines: dark below, pale above; never as dark as what is drawn over them
_HEIGHTS = ListedColormap([(0.35 + 0.45 * t, 0.45 + 0.38 * t, 0.55 + 0.30 * t) for t in np.linspace(0, 1, 64)])


def _array(values):
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def _name_ends(ax, ends):
    """Write each curve's name beside its end, moved apart where two would overlap."""
    if len(ends) < 2:
        return
    low, high = (ax.transData.transform((0, y))[1] for y in ax.get_ylim())
    gap = 15 * ax.figure.dpi / 72
    place = None
    for x, y, name, colour in sorted(ends, key=lambda end: end[1]):
        at = ax.transData.transform((x, y))[1]
        place = at if place is None else max(at, place + gap)
        ax.annotate(name, (x, y), xytext=(8, (place - at) * 72 / ax.figure.dpi), textcoords="offset points",
                    color=colour, va="center", annotation_clip=False)
