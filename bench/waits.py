#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""waits.py CONSOLE - what the guest at the end of its move says about its waits, as JSON members.

It prints a line for each pass through its memory, of this pass and the one before (waits.h). That with
most of the time stalled is the one in which it touched each page for the first time: it ends with the
first pass that is wholly at the destination.
"""

import json
import re
import sys

LINE = re.compile(r"^memguest: waits pass=\d+ accesses=(\d+) worst_ns=(\d+) p99_ns=(\d+) p999_ns=(\d+) "
	r"stalled_ns=(\d+) below_ns((?: \d+:\d+)+)$")
NAMES = ("accesses", "worst_ns", "p99_ns", "p999_ns", "stalled_ns")


def waits(match):
	found = dict(zip(NAMES, map(int, match.groups())))
	pairs = (pair.split(":") for pair in match.groups()[-1].split())
	found["latency_ns"] = {"buckets": [[int(below), int(count)] for below, count in pairs]}
	return found


def main():
	with open(sys.argv[1], encoding="ascii", errors="replace") as f:
		whole = f.read().replace("\r", "").split("\n")[:-1]  # the last one may be on its way
	lines = [line for line in map(LINE.match, whole) if line]
	if not lines:
		sys.exit("waits: the guest says nothing about its waits")
	print(json.dumps(max(map(waits, lines), key=lambda found: found["stalled_ns"]))[1:-1])


if __name__ == "__main__":
	main()
