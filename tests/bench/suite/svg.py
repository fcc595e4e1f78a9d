"""Small plots as SVG text: bars side by side, and lines with both axes logarithmic."""

import math
from html import escape

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 74, 16, 66, 46
COLOURS = ("#3b6ea8", "#e08b3a", "#5a9a68", "#a8516e", "#7a6bb0", "#8a8a8a")
FONT = 'font-family="sans-serif" font-size="12"'


class Canvas:
    def __init__(self, title, unit, names):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}" {FONT}>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        ]
        self.text(LEFT, 22, title, size=15, colour="#111111")
        self.text(LEFT - 8, TOP - 10, unit, anchor="end")
        x = LEFT
        for name, colour in zip(names, COLOURS):
            self.parts.append(f'<rect x="{x}" y="34" width="11" height="11" fill="{colour}"/>')
            self.text(x + 16, 44, name)
            x += 30 + 7 * len(name)

    def text(self, x, y, words, anchor="start", size=12, colour="#444444"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
                          f'font-size="{size}" fill="{colour}">{escape(words)}</text>')

    def grid(self, y, words):
        self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                          'stroke="#dddddd"/>')
        self.text(LEFT - 8, y + 4, words, anchor="end")

    def done(self):
        return "\n".join([*self.parts, "</svg>", ""])


def number(value):
    return f"{value:g}" if value < 1000 else f"{value:,.0f}"


def steps(most):
    """Round marks from 0 to at least `most`, four or five of them."""
    step = 10 ** math.floor(math.log10(most / 4))
    step *= next(times for times in (1, 2, 2.5, 5, 10) if step * times * 5 >= most)
    return [step * i for i in range(math.ceil(most / step) + 1)]


def decades(values):
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0 ** power for power in range(low, max(high, low + 1) + 1)]


def bars(title, unit, categories, series, logarithmic=False):
    """`series`: {name: [a value for each category]}."""
    canvas = Canvas(title, unit, list(series) if len(series) > 1 else [])
    values = [value for line in series.values() for value in line]
    marks = decades(values) if logarithmic else steps(max(values))
    height = HEIGHT - TOP - BOTTOM
    floor = HEIGHT - BOTTOM

    def y_of(value):
        if logarithmic:
            return floor - height * math.log10(value / marks[0]) / math.log10(marks[-1] / marks[0])
        return floor - height * max(value, 0) / marks[-1]

    for mark in marks:
        canvas.grid(y_of(mark), number(mark))
    room = (WIDTH - LEFT - RIGHT) / len(categories)
    width = min(room * 0.8 / len(series), 70)
    for at, category in enumerate(categories):
        middle = LEFT + room * (at + 0.5)
        canvas.text(middle, floor + 20, category, anchor="middle")
        for index, line in enumerate(series.values()):
            x = middle + width * (index - len(series) / 2)
            y = y_of(line[at])
            canvas.parts.append(
                f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{width - 2:.1f}" '
                f'height="{floor - y:.1f}" fill="{COLOURS[index]}"/>')
            label = number(float(f"{line[at]:.3g}"))
            canvas.text(x + width / 2, y - 4, label, anchor="middle", size=10)
    return canvas.done()


def lines(title, unit, x_title, xs, series):
    """Both axes logarithmic. `series`: {name: [a value for each x]}."""
    canvas = Canvas(title, unit, list(series))
    marks = decades([value for line in series.values() for value in line])
    floor, height = HEIGHT - BOTTOM, HEIGHT - TOP - BOTTOM
    width = WIDTH - LEFT - RIGHT - 40

    def place(x, y):
        return (LEFT + 20 + width * math.log(x / xs[0]) / math.log(xs[-1] / xs[0]),
                floor - height * math.log(y / marks[0]) / math.log(marks[-1] / marks[0]))

    for mark in marks:
        canvas.grid(place(xs[0], mark)[1], number(mark))
    for x in xs:
        canvas.text(place(x, marks[0])[0], floor + 18, number(x), anchor="middle")
    canvas.text(LEFT + width / 2, floor + 36, x_title, anchor="middle")
    for colour, line in zip(COLOURS, series.values()):
        points = [place(x, y) for x, y in zip(xs, line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        canvas.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                            'stroke-width="2"/>')
        canvas.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
                         for x, y in points]
    return canvas.done()
