# SPDX-License-Identifier: Apache-2.0
"""Numbers for people: a unit that fits, and three digits."""

import math
import typing


class Unit(typing.NamedTuple):
	name: str
	size: float


BINARY = [Unit("TiB", 2**40), Unit("GiB", 2**30), Unit("MiB", 2**20), Unit("KiB", 2**10),
	Unit("B", 1)]

# Kind of value -> its units, from large to small. Values are in seconds and bytes.
KINDS = {
	"time": [Unit("s", 1), Unit("ms", 1e-3), Unit("µs", 1e-6), Unit("ns", 1e-9)],
	"bytes": BINARY,
	"rate": [Unit(f"{name}/s", size) for name, size in BINARY],
	"cpu": [Unit("s/GiB", 1)],
}


def fitting(kind, value):
	"""The largest unit of which @value is at least one; for 0, the one without a prefix."""
	least = value or 1
	return next((unit for unit in KINDS[kind] if least >= unit.size), KINDS[kind][-1])


def digits(value):
	"""Three digits that matter, or more in front of the point: 1,234 and 16.8 and 0.0412."""
	if value == 0:
		return "0"
	decimals = 2 - math.floor(math.log10(value))
	return f"{value:,.{min(max(decimals, 0), 9)}f}"


def say(kind, value):
	unit = fitting(kind, value)
	return f"{digits(value / unit.size)}\u00a0{unit.name}"


def say_range(kind, low, high):
	if fitting(kind, low) != fitting(kind, high):
		return f"{say(kind, low)} to {say(kind, high)}"
	return f"{digits(low / fitting(kind, low).size)} to {say(kind, high)}"
