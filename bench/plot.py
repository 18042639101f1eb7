"""A chart of lines as SVG: scales linear or logarithmic, a name beside each line, the spread of each point.

SPDX-License-Identifier: MIT
"""
import math
from collections import namedtuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 80, 150, 50, 60
COLOURS = ("#2166ac", "#d95f02", "#1b7837", "#b2182b", "#6a3d9a", "#555555")
TICKS = 6
NAME_HEIGHT = 15

# A line: its points are (x, y, lowest y, highest y).
Line = namedtuple("Line", "name points")


def short(n):
    """1,500,000 as 1.5 M."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(n) >= size:
            return "%g%s" % (round(n / size, 2), letter)
    return "%g" % round(n, 6)


class Scale:
    """Values of one axis, to places from `low` to `high`."""

    def __init__(self, values, low, high, logarithmic, from_zero=False):
        self.low, self.high, self.logarithmic = low, high, logarithmic
        least, most = min(values), max(values)
        if logarithmic:
            # whole powers would leave half of the picture empty where values lie close together
            self.first, self.last = math.log10(least) - 0.05, math.log10(most) + 0.05
            if self.last - self.first < 0.5:
                self.first, self.last = self.first - 0.2, self.last + 0.2
        else:
            self.first, self.last = 0 if from_zero else least, most * 1.05 if most > 0 else 1
            if self.first == self.last:
                self.last = self.first + 1

    def place(self, value):
        at = math.log10(value) if self.logarithmic else value
        return self.low + (self.high - self.low) * (at - self.first) / (self.last - self.first)

    def ticks(self):
        if not self.logarithmic:
            span = self.last - self.first
            power = 10.0 ** math.floor(math.log10(span / TICKS))
            step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= TICKS * 1.4)
            first = math.ceil(self.first / step)
            return [n * step for n in range(first, int(self.last / step + 1e-9) + 1)]
        # 1, 2, 5 where there are few powers of ten, else powers alone
        steps = (1, 2, 5) if self.last - self.first < 3 else (1,)
        powers = range(math.floor(self.first), math.ceil(self.last) + 1)
        ticks = [step * 10.0 ** power for power in powers for step in steps]
        return [tick for tick in ticks if self.first <= math.log10(tick) <= self.last]


def text(x, y, anchor, words, **more):
    style = "".join(' %s="%s"' % (name.replace("_", "-"), value) for name, value in more.items())
    return '<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (x, y, anchor, style, escape(words))


def rule(x1, y1, x2, y2, colour):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>' % (x1, y1, x2, y2, colour)


def names_placed(lines, up):
    """Heights for the lines' names beside their last points, none over another."""
    wanted = sorted((up.place(line.points[-1][1]), number) for number, line in enumerate(lines))
    places, last = {}, TOP - NAME_HEIGHT
    for y, number in wanted:
        last = max(y, last + NAME_HEIGHT)
        places[number] = last
    return places


def chart(title, across_name, up_name, lines, across_log=False, up_log=False, across_ticks=None):
    """`across_ticks`: the places that are labelled, instead of round numbers."""
    lines = [line for line in lines if line.points]
    xs = [point[0] for line in lines for point in line.points]
    ys = [y for line in lines for point in line.points for y in point[1:]]
    across = Scale(xs, LEFT + 10, WIDTH - RIGHT - 10, across_log)
    if across_log:
        across.first, across.last = math.log10(min(xs)), math.log10(max(xs)) if max(xs) > min(xs) else math.log10(min(xs)) + 1
    else:
        across.last = max(xs) if max(xs) > min(xs) else min(xs) + 1
    up = Scale(ys, HEIGHT - BOTTOM, TOP, up_log, from_zero=True)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT),
           '<rect width="100%" height="100%" fill="white"/>', text(LEFT, 28, "start", title, font_size="14")]
    for tick in across_ticks or across.ticks():
        x = across.place(tick)
        out += [rule(x, TOP, x, HEIGHT - BOTTOM, "#e4e4e4"), text(x, HEIGHT - BOTTOM + 18, "middle", short(tick))]
    for tick in up.ticks():
        y = up.place(tick)
        out += [rule(LEFT, y, WIDTH - RIGHT, y, "#e4e4e4"), text(LEFT - 8, y + 4, "end", short(tick))]
    out += [rule(LEFT, TOP, LEFT, HEIGHT - BOTTOM, "#888"), rule(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "#888"),
            text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "middle", across_name),
            text(22, (TOP + HEIGHT - BOTTOM) / 2, "middle", up_name, transform="rotate(-90 22 %d)" % ((TOP + HEIGHT - BOTTOM) // 2))]
    places = names_placed(lines, up)
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join("%.1f,%.1f" % (across.place(x), up.place(y)) for x, y, _, _ in line.points)
        out.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>' % (colour, path))
        for x, y, low, high in line.points:
            out += [rule(across.place(x), up.place(low), across.place(x), up.place(high), colour),
                    '<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (across.place(x), up.place(y), colour)]
        out.append(text(across.place(line.points[-1][0]) + 8, places[number] + 4, "start", line.name, fill=colour))
    return "\n".join(out + ["</svg>", ""])
