# SPDX-License-Identifier: Apache-2.0
"""The page with the distributions: one HTML file, plots as inline SVG."""
import html
import math

COLOURS = ("#444444", "#0b62c4", "#b3261e", "#2e7d32", "#8e44ad", "#b26a00")
WIDTH, HEIGHT = 560, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 40
TAIL = 0.97             # beyond this part of the samples a plot is cut

STYLE = """body{font:15px/1.5 sans-serif;color:#222;background:#fff;
max-width:1180px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;font-size:13px}
td,th{padding:3px 9px;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child,td.target{text-align:left}
.plots{display:flex;flex-wrap:wrap;gap:16px}
figure{margin:0}figcaption{font-weight:bold}
.ok{color:#1b6e20}.miss{color:#b3261e;font-weight:bold}
svg text{font:11px sans-serif;fill:#333}"""


def ticks(low, high):
    """Round numbers between the two, about five."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    for factor in (5, 2):
        if (high - low) / (step * factor) >= 4:
            step *= factor
            break
    tick = math.ceil(low / step) * step
    while tick <= high:
        yield tick
        tick += step


def span(columns):
    """What the x axis shows: all but the longest tails."""
    low = min(v[0] for v in columns.values())
    high = max(v[int((len(v) - 1) * TAIL)] for v in columns.values())
    room = (high - low) * 0.04 or abs(high) * 0.04 or 1
    return low - room, high + room


def axes(low, high, unit):
    """Grid, numbers and names of both axes."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in ticks(low, high):
        x = LEFT + (tick - low) / (high - low) * (right - LEFT)
        yield (f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" '
               f'stroke="#e4e4e4"/><text x="{x:.1f}" y="{bottom + 14}" '
               f'text-anchor="middle">{tick:g}</text>')
    for part in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - part * (bottom - TOP)
        yield (f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" '
               f'stroke="#e4e4e4"/><text x="{LEFT - 6}" y="{y + 4:.1f}" '
               f'text-anchor="end">{part * 100:.0f} %</text>')
    yield (f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">{unit}'
           '</text>')


def curve(values, low, high, colour):
    """The part of the samples that is at most x, as steps."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    points, y = [], bottom
    for i, v in enumerate(values):
        x = LEFT + (min(v, high) - low) / (high - low) * (right - LEFT)
        points.append(f"{x:.1f},{y:.1f}")
        y = bottom - (i + 1) / len(values) * (bottom - TOP)
        points.append(f"{x:.1f},{y:.1f}")
    return (f'<polyline points="{" ".join(points)}" fill="none" '
            f'stroke="{colour}" stroke-width="1.8"/>')


def plot(title, unit, columns):
    """Cumulative distribution of one measure."""
    low, high = span(columns)
    parts = list(axes(low, high, unit))
    x = LEFT
    for colour, (name, values) in zip(COLOURS, columns.items()):
        parts.append(curve(values, low, high, colour))
        parts.append(f'<rect x="{x}" y="{HEIGHT - 16}" width="10" height="10" '
                     f'fill="{colour}"/><text x="{x + 14}" y="{HEIGHT - 7}">'
                     f'{html.escape(name)}</text>')
        x += 30 + 7 * len(name)
    return (f"<figure><figcaption>{html.escape(title)}</figcaption>"
            f'<svg width="{WIDTH}" height="{HEIGHT}" role="img">'
            f'{"".join(parts)}</svg></figure>')


def table(head, rows):
    """The table of the terminal, with its verdicts coloured."""
    out = ["<table><tr>", *(f"<th>{html.escape(h)}</th>" for h in head),
           "</tr>"]
    for row in rows:
        *cells, target = row
        kind = "miss" if "MISS" in target else "ok"
        out += ["<tr>", *(f"<td>{html.escape(c)}</td>" for c in cells),
                f'<td class="target {kind}">{html.escape(target)}</td></tr>']
    return "".join(out) + "</table>"


def page(intro, head, rows, plots):
    """plots: (title, unit, {subject: sorted samples})"""
    return "\n".join((
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f"<title>mayfly: benchmarks</title><style>{STYLE}</style></head><body>",
        "<h1>mayfly: benchmarks</h1>",
        *(f"<p>{html.escape(text)}</p>" for text in intro),
        table(head, rows),
        "<h2>Distributions</h2>",
        "<p>How many of the runs (y) took or reached at most so much (x). "
        "The longest 3 % are cut off.</p>",
        '<div class="plots">', *(plot(*p) for p in plots), "</div>",
        "</body></html>\n"))
