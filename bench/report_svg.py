# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG, from numbers. Colours and fonts are the page's: see report.css.

Values are in seconds and bytes, "kind" is one of report_units. Each mark has its number in a title,
which a browser shows when the pointer is on it. Two kinds of plot: of rows (a row for each label,
the value to the right), and of lines (the value upwards).
"""

import math
import typing

import report_units as units
from report_markup import tag, text

WIDTH = 600
ROW = 30
BAR = 16
RIGHT = 108  # room for the numbers to the right of rows
LABEL_MAX = 40
CHARACTER = 6.8  # mean width of one at the labels' size

LINES_HEIGHT = 250
LINES_LEFT = 74
LINES_RIGHT = 16
LEGEND_ROW = 22
FOOT = 44  # room for numbers and title of the lower axis

LOG_TICKS = 8
LINEAR_MAX = 10  # a linear scale shows values up to so many times apart

SHAPES = ("circle", "square", "triangle", "diamond")


class Row(typing.NamedTuple):
	label: str
	style: str  # class in report.css
	values: list  # of (name of the run, value)
	median: float


class Line(typing.NamedTuple):
	label: str
	style: str
	shape: str  # one of SHAPES, or "" for a line without marks
	points: list  # of (x, y)


class Linear:
	"""A scale from 0 to a round number that is @largest or above."""

	def __init__(self, largest, start, end, steps=5, finest=0):
		rough = (largest or 1) / steps
		power = 10.0 ** math.floor(math.log10(rough))
		step = next(power * f for f in (1, 2, 5, 10) if power * f >= rough * 0.999)
		self.step = max(step, finest)
		self.count = max(1, math.ceil((largest or 1) / self.step - 1e-9))
		self.start, self.end = start, end

	def at(self, value):
		return self.start + value / (self.step * self.count) * (self.end - self.start)

	def ticks(self):
		decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
		return [(self.step * i, f"{self.step * i:,.{decimals}f}") for i in range(self.count + 1)]


class Log:
	"""A logarithmic scale. Its ends are where @least and @largest are, or a little further out."""

	def __init__(self, least, largest, start, end):
		self.low, self.high = math.log10(least), math.log10(largest)
		self.start, self.end = start, end

	def at(self, value):
		share = (math.log10(value) - self.low) / (self.high - self.low)
		return self.start + share * (self.end - self.start)

	def ticks(self, say="{:g}".format):
		"""Powers of ten, and twice and five times them where there is room."""
		within = self.multiples((1, 2, 5))
		if len(within) > LOG_TICKS:
			within = self.multiples((1,))
		every = math.ceil(len(within) / LOG_TICKS)
		return [(v, say(v)) for v in within[::every or 1]]

	def multiples(self, factors):
		"""The products of @factors and powers of ten that are on the scale."""
		powers = range(math.floor(self.low), math.ceil(self.high) + 1)
		found = [factor * 10.0**power for power in powers for factor in factors]
		return [v for v in found if self.low - 1e-9 <= math.log10(v) <= self.high + 1e-9]


def linear_or_log(least, largest, start, end):
	"""Logarithmic, and a word that says so, if the smallest values would lie on the zero line."""
	if 0 < least < largest / LINEAR_MAX:
		return Log(least / 1.5, largest * 1.5, start, end), ", logarithmic"
	return Linear(largest, start, end), ""


def svg(width, height, name, parts):
	return tag("svg", *parts, width=width, height=height, viewBox=f"0 0 {width} {height}",
		role="img", aria_label=name)


def words(x, y, string, style, anchor="start"):
	return tag("text", text(string), x=float(x), y=float(y), class_=style, text_anchor=anchor)


def line(x1, y1, x2, y2, style):
	return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=style)


def titled(string):
	return tag("title", text(string))


def path(points, style):
	d = "M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in points)
	return tag("path", d=d, class_=style)


def mark(shape, x, y, style, title=""):
	"""A mark of about 9 pixels around a point."""
	children = [titled(title)] if title else []
	if shape == "circle":
		return tag("circle", *children, cx=float(x), cy=float(y), r=4.5, class_=style)
	corners = {
		"square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
		"triangle": ((0, -5), (5, 4), (-5, 4)),
		"diamond": ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
	}[shape]
	points = " ".join(f"{x + dx:.2f},{y + dy:.2f}" for dx, dy in corners)
	return tag("polygon", *children, points=points, class_=style)


def shortened(label):
	return label if len(label) <= LABEL_MAX else label[:LABEL_MAX - 1] + "…"


def axis_title(what, unit):
	return f"{what} ({unit.name})"


class Rows:
	"""What plots of rows share: labels, the axis below, and a number at each row's end."""

	def __init__(self, labels, largest, kind, what):
		self.labels = [shortened(label) for label in labels]
		self.kind, self.what = kind, what
		self.unit = units.fitting(kind, largest)
		self.left = 12 + CHARACTER * max(map(len, self.labels))
		self.scale = Linear(largest / self.unit.size, self.left, WIDTH - RIGHT)
		self.bottom = ROW * len(labels) + 6
		self.parts = self.frame()

	def frame(self):
		for value, shown in self.scale.ticks():
			x = self.scale.at(value)
			yield line(x, 0, x, self.bottom, "grid")
			yield words(x, self.bottom + 16, shown, "tick", "middle")
		middle = (self.left + WIDTH - RIGHT) / 2
		yield words(middle, self.bottom + 36, axis_title(self.what, self.unit), "axis", "middle")
		for row, label in enumerate(self.labels):
			yield words(self.left - 8, self.y(row) + 4, label, "label", "end")

	def x(self, value):
		return self.scale.at(value / self.unit.size)

	def y(self, row):
		return ROW * row + ROW / 2 + 3

	def bar(self, row, first, last, style, title):
		"""A bar between two values."""
		x = self.x(first)
		return tag("rect", titled(title), x=x, y=float(self.y(row) - BAR / 2),
			width=self.x(last) - x, height=BAR, class_=style)

	def result(self, row, value):
		return words(WIDTH - RIGHT + 12, self.y(row) + 4, units.say(self.kind, value), "result")

	def draw(self, marks):
		return svg(WIDTH, self.bottom + FOOT, self.what, [*self.parts, *marks])


def largest_of(rows):
	return max(value for row in rows for _, value in row.values)


def bars(rows, kind, what):
	"""A bar up to each row's median, and a whisker from its least to its largest value."""
	plot = Rows([row.label for row in rows], largest_of(rows), kind, what)

	def marks():
		for index, row in enumerate(rows):
			values = [value for _, value in row.values]
			y = plot.y(index)
			spread = units.say_range(kind, min(values), max(values))
			title = f"{row.label}: median {units.say(kind, row.median)}, {spread}"
			yield plot.bar(index, 0, row.median, f"bar {row.style}", title)
			low, high = plot.x(min(values)), plot.x(max(values))
			yield line(low, y, high, y, "whisker")
			yield line(low, y - 4, low, y + 4, "whisker")
			yield line(high, y - 4, high, y + 4, "whisker")
			yield plot.result(index, row.median)
	return plot.draw(marks())


def strips(rows, kind, what):
	"""A dot for each run, and a stroke at each row's median."""
	plot = Rows([row.label for row in rows], largest_of(rows), kind, what)

	def marks():
		for index, row in enumerate(rows):
			y = plot.y(index)
			for name, value in row.values:
				yield mark("circle", plot.x(value), y, f"dot {row.style}",
					f"{row.label}, {name}: {units.say(kind, value)}")
			x = plot.x(row.median)
			yield line(x, y - 11, x, y + 11, "median")
			yield plot.result(index, row.median)
	return plot.draw(marks())


def stacks(rows, parts, kind, what):
	"""rows: (label, values), one value for each part; parts: (name, style)"""
	plot = Rows([label for label, _ in rows], max(sum(values) for _, values in rows), kind, what)

	def marks():
		for index, (label, values) in enumerate(rows):
			first = 0
			for (name, style), value in zip(parts, values):
				title = f"{label}, {name}: {units.say(kind, value)}"
				yield plot.bar(index, first, first + value, f"part {style}", title)
				first += value
			yield plot.result(index, first)
	keys = [(name, swatch(f"part {style}")) for name, style in parts]
	return legend(keys, plot.left) + plot.draw(marks())


def swatch(style):
	return tag("rect", x=0.0, y=-6.0, width=12, height=12, class_=style)


def line_swatch(item):
	parts = [path([(0, 0), (16, 0)], f"line {item.style}")]
	if item.shape:
		parts.append(mark(item.shape, 8, 0, f"dot {item.style}"))
	return "".join(parts)


def legend(keys, left):
	"""keys: (label, markup drawn around the origin); its own picture, to stand above a plot"""
	x, y = left, LEGEND_ROW / 2
	parts = []
	for label, drawn in keys:
		label = shortened(label)
		width = 40 + CHARACTER * len(label)
		if x + width > WIDTH and x > left:
			x, y = left, y + LEGEND_ROW
		parts.append(tag("g", drawn, transform=f"translate({x:.1f} {y:.1f})"))
		parts.append(words(x + 22, y + 4, label, "label"))
		x += width
	return svg(WIDTH, round(y + LEGEND_ROW / 2), "legend", parts)


class Plane:
	"""What plots of lines share: two axes, the grid and the legend."""

	def __init__(self, across, up, titles):
		self.across, self.up = across, up
		self.titles = titles

	def frame(self, across_ticks, up_ticks):
		bottom, right = LINES_HEIGHT - FOOT, WIDTH - LINES_RIGHT
		for value, shown in up_ticks:
			y = self.up.at(value)
			yield line(LINES_LEFT, y, right, y, "grid")
			yield words(LINES_LEFT - 8, y + 4, shown, "tick", "end")
		for value, shown in across_ticks:
			x = self.across.at(value)
			yield line(x, bottom, x, bottom + 4, "grid")
			yield words(x, bottom + 18, shown, "tick", "middle")
		yield words((LINES_LEFT + right) / 2, LINES_HEIGHT - 6, self.titles[0], "axis", "middle")
		yield tag("text", text(self.titles[1]), class_="axis", text_anchor="middle",
			transform=f"translate(12 {(bottom + 14) / 2:.0f}) rotate(-90)")

	def points(self, values):
		return [(self.across.at(x), self.up.at(y)) for x, y in values]


UP = (LINES_HEIGHT - FOOT, 14)
ACROSS = (LINES_LEFT, WIDTH - LINES_RIGHT)


def by_pair(lines, kind, what):
	"""A mark for each value, at its pair's number, joined by lines."""
	values = [y for item in lines for _, y in item.points]
	unit = units.fitting(kind, max(values))
	up, scaled = linear_or_log(min(values) / unit.size, max(values) / unit.size, *UP)
	pairs = max(x for item in lines for x, _ in item.points)
	# Half a pair of room at both ends.
	across = Linear(pairs + 1, *ACROSS, steps=12, finest=1)
	plane = Plane(across, up, ("pair", axis_title(what, unit) + scaled))
	ticks = [tick for tick in across.ticks() if 0 < tick[0] <= pairs]
	parts = list(plane.frame(ticks, up.ticks()))
	for item in lines:
		places = plane.points([(x, y / unit.size) for x, y in item.points])
		parts.append(path(places, f"line thin {item.style}"))
		for (pair, value), (x, y) in zip(item.points, places):
			title = f"{item.label}, pair {pair}: {units.say(kind, value)}"
			parts.append(mark(item.shape, x, y, f"dot {item.style}", title))
	keys = [(item.label, line_swatch(item)) for item in lines]
	return legend(keys, LINES_LEFT) + svg(WIDTH, LINES_HEIGHT, what, parts)


def over_time(lines, what, marks, level):
	"""Rates over seconds. marks: (seconds, text) at strokes upwards; level: a limit, 0 for none"""
	largest = max(level, max(y for item in lines for _, y in item.points))
	unit = units.fitting("rate", largest)
	# A little room above the limit, so that its stroke is not the plot's edge.
	up = Linear(largest / unit.size * 1.04, *UP)
	across = Linear(max(x for item in lines for x, _ in item.points), *ACROSS)
	plane = Plane(across, up, ("time (s)", axis_title(what, unit)))
	parts = list(plane.frame(across.ticks(), up.ticks()))
	free = 0.0
	for seconds, string in marks:
		x = across.at(seconds)
		parts.append(line(x, UP[1], x, UP[0], "round"))
		if x >= free:
			parts.append(words(x + 3, UP[1] + 8, string, "round-name"))
			free = x + 6 + CHARACTER * len(string)
	keys = [(item.label, line_swatch(item)) for item in lines]
	if level:
		limit = Line(f"limit {units.say('rate', level)}", "limit", "", [])
		y = up.at(level / unit.size)
		parts.append(path([(ACROSS[0], y), (ACROSS[1], y)], "line limit"))
		keys.append((limit.label, line_swatch(limit)))
	for item in lines:
		places = plane.points([(x, y / unit.size) for x, y in item.points])
		parts.append(path(places, f"line {item.style}"))
	return legend(keys, LINES_LEFT) + svg(WIDTH, LINES_HEIGHT, what, parts)


def shares(buckets):
	"""(lower, upper, share) of each bucket. The first one's lower end is not told: half of it."""
	total = sum(count for _, count in buckets)
	lower = buckets[0][0] / 2
	for upper, count in buckets:
		yield lower, upper, count / total
		lower = upper


def percent(share):
	return f"{share * 100:.10f}".rstrip("0").rstrip(".") + " %"


def round_time(seconds):
	# A power of ten may come out a little below itself, and would get the smaller unit.
	unit = units.fitting("time", seconds * (1 + 1e-9))
	return f"{seconds / unit.size:g} {unit.name}"


def histogram(lines, what):
	"""points: (upper end in seconds, count), ascending. Both scales are logarithmic: tails matter."""
	drawn = [(item, list(shares(item.points))) for item in lines]
	every = [step for _, found in drawn for step in found if step[2]]
	floor = min(share for _, _, share in every) / 2
	up = Log(floor, 1, *UP)
	across = Log(min(step[0] for step in every), max(step[1] for step in every), *ACROSS)
	plane = Plane(across, up, (what, "share of samples"))
	parts = list(plane.frame(across.ticks(round_time), up.ticks(percent)))
	for item, found in drawn:
		for lower, upper, share in found:
			if not share:
				continue
			title = (f"{item.label}, {units.say_range('time', lower, upper)}:"
				f" {units.digits(share * 100)} %")
			x, y = across.at(lower), up.at(share)
			parts.append(tag("rect", titled(title), x=x, y=y, width=across.at(upper) - x,
				height=UP[0] - y, class_=f"bucket {item.style}"))
	keys = [(item.label, swatch(f"bucket {item.style}")) for item in lines]
	return legend(keys, LINES_LEFT) + svg(WIDTH, LINES_HEIGHT, what, parts)


RATIO_WIDTH = 300
RATIO_HEIGHT = 40


def ratio_strip(values, median, ends, style):
	"""Dots on a logarithmic scale with a stroke at 1. ends: least and largest of all such strips"""
	low, high = min(ends[0], 0.5) / 1.15, max(ends[1], 2) * 1.15
	scale = Log(low, high, 10, RATIO_WIDTH - 10)
	parts = []
	for value, shown in scale.ticks():
		x = scale.at(value)
		parts.append(line(x, 2, x, 24, "one" if value == 1 else "grid"))
		parts.append(words(x, 37, shown, "tick", "middle"))
	for pair, value in enumerate(values, 1):
		parts.append(mark("circle", scale.at(value), 13, f"dot {style}",
			f"pair {pair}: {units.digits(value)}"))
	x = scale.at(median)
	parts.append(line(x, 3, x, 23, "median"))
	return svg(RATIO_WIDTH, RATIO_HEIGHT, "ratio of each pair", parts)
