#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Have Wherry move guest "vm" to node b, and measure it. Used by wherry-qemu.

Prints one JSON object: what bench/meter.py counts while the guest moves, and job_s; see wherry-qemu.
Talks to wherryd as docs/api.md says.
"""

import argparse
import json
import socket
import sys
import time

from meter import Meter

# Looking costs CPU, too: often enough to be exact to 1 % in a second.
LOOK_S = 0.01


class Wherryd:
	def __init__(self, path):
		self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
		self.socket.connect(path)
		self.lines = self.socket.makefile("rw", encoding="utf-8")

	def ask(self, **request):
		self.lines.write(json.dumps(request) + "\n")
		self.lines.flush()
		answer = json.loads(self.lines.readline())
		if not answer["ok"]:
			sys.exit(f"wherry_move: {answer['error']}")
		return answer

	def look(self, migration):
		time.sleep(LOOK_S)
		job = self.ask(command="status", migration=migration)["migrations"][0]
		if job["reason"]:
			sys.exit(f"wherry_move: {job['state']}: {job['reason']}")
		return job


def move(wherryd):
	migration = wherryd.ask(command="migrate", vm="vm", to="b")["migration"]
	job = wherryd.look(migration)
	while job["moving_ns"] == 0:
		job = wherryd.look(migration)
	meter = Meter()
	before = 0
	while job["moving_ns"] != before:
		before = job["moving_ns"]
		job = wherryd.look(migration)
	measured = meter.read()
	while not job["over"]:
		job = wherryd.look(migration)
	measured["wall_s"] = round(job["moving_ns"] / 1e9, 3)
	measured["job_s"] = round(job["elapsed_ns"] / 1e9, 3)
	measured["wire_bytes"] = job["stats"]["wire_bytes"]
	return measured


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--socket", required=True, help="of the source's wherryd")
	parser.add_argument("--connections", type=int, required=True, help="for the record")
	parser.add_argument("--mem", type=int, required=True, help="MiB, for the record")
	parser.add_argument("--contents", required=True, help="for the record")
	options = parser.parse_args()
	print(json.dumps({
		"mover": "wherry",
		"mem_mib": options.mem,
		"contents": options.contents,
		"connections": options.connections,
		**move(Wherryd(options.socket)),
	}))


if __name__ == "__main__":
	main()
