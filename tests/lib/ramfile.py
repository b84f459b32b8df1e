#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reach into a test guest's memory through its RAM file, to see whether the guest notices.

	ramfile.py find FILE FIRST LAST		print the offset of one of these memguest pages
	ramfile.py steps FILE			print the offset of memguest's count of steps
	ramfile.py save FILE OFFSET COPY	copy that page
	ramfile.py restore FILE OFFSET COPY	put the copy back: the page is stale then
	ramfile.py tear FILE OFFSET		overwrite the page's second half
	ramfile.py zero FILE OFFSET		clear the page: it is lost then
"""

import mmap
import struct
import sys

PAGE = 4096
STEP = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def page_number(page):
	"""The number memguest gave it, or None. See tests/guest/pages.c for what it looks like."""
	words = struct.unpack("<512Q", page)
	if words[0] == 0 or (words[1] + STEP) & MASK != words[2]:
		return None
	whole = all((a + STEP) & MASK == b for a, b in zip(words[1:], words[2:]))
	return words[0] >> 32 if whole else None


def find(ram, first, last):
	for offset in range(0, len(ram), PAGE):
		number = page_number(ram[offset:offset + PAGE])
		if number is not None and first <= number <= last:
			return offset
	return sys.exit(f"ramfile: none of memguest's pages {first} to {last} is in there")


def find_steps(ram):
	"""The page that starts with the mark. One that never counted is just the program's file."""
	for offset in range(0, len(ram), PAGE):
		mark, count = ram[offset:offset + 8], ram[offset + 8:offset + 16]
		if mark == b"memsteps" and count != bytes(8):
			return offset
	return sys.exit("ramfile: no count of steps is in there")


def main(argv):
	if len(argv) < 2:
		sys.exit(__doc__)
	action, path = argv[:2]
	with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as ram:
		if action == "find":
			print(find(ram, int(argv[2]), int(argv[3])))
			return
		if action == "steps":
			print(find_steps(ram))
			return
		offset = int(argv[2])
		if action == "save":
			with open(argv[3], "wb") as copy:
				copy.write(ram[offset:offset + PAGE])
		elif action == "restore":
			with open(argv[3], "rb") as copy:
				ram[offset:offset + PAGE] = copy.read(PAGE)
		elif action == "tear":
			ram[offset + PAGE // 2:offset + PAGE] = b"\x5a" * (PAGE // 2)
		elif action == "zero":
			ram[offset:offset + PAGE] = bytes(PAGE)
		else:
			sys.exit(__doc__)


if __name__ == "__main__":
	main(sys.argv[1:])
