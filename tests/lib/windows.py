#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare what meter has seen with a limit.

	windows.py FILE LIMIT FROM_NS TO_NS		a whole migration; the times are its precopy
	windows.py FILE LIMIT FROM_NS TO_NS step	a stretch between two changes of the limit

FILE is meter's --out, LIMIT is in bytes per second; 0 means at least UNLIMITED. The mean is that
between the times; of a whole migration also the worst second, beginning at any window of FILE.

Prints both as parts of the limit. Exits 0 if all is well; 4 if too much came through, which
nothing excuses; 3 if too little did, for which want of CPU may be the reason.
"""

import sys

OVER, UNDER = 4, 3
MOST, LEAST = 1.02, 0.97
WINDOW_MS = 10
UNLIMITED = 563 << 20  # beyond what the largest limit tested, 512Mi, lets through


def worst_second(windows):
	counts = dict(windows)
	first, last = windows[0][0], windows[-1][0]
	sliding = worst = 0
	for ms in range(first, last + 1, WINDOW_MS):
		sliding += counts.get(ms, 0) - counts.get(ms - 1000, 0)
		worst = max(worst, sliding)
	return worst


def mean(windows, from_ns, to_ns):
	first, last = -(-from_ns // 1000000), to_ns // 1000000 - WINDOW_MS
	inside = [count for ms, count in windows if first <= ms <= last]
	if not inside:
		sys.exit("no window is between those times")
	return sum(inside) * 1000 / (len(inside) * WINDOW_MS)


def main(path, limit, times, step):
	with open(path, encoding="ascii") as f:
		windows = [tuple(map(int, line.split())) for line in f]
	got = mean(windows, *times)
	if limit == 0:
		print(f"mean {got / 2**20:.0f} MiB/s")
		return 0 if got > UNLIMITED else UNDER
	worst = got if step else worst_second(windows)
	print(f"mean {got / limit:.3f}" + ("" if step else f"  worst second {worst / limit:.3f}"))
	if worst > MOST * limit:
		return OVER
	return 0 if got >= LEAST * limit else UNDER


if __name__ == "__main__":
	sys.exit(main(sys.argv[1], int(sys.argv[2]), map(int, sys.argv[3:5]), sys.argv[5:] == ["step"]))
