#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run both sides of floor_move, and measure them. Used by floor.

Prints one JSON object: what bench/meter.py counts from the first connection until every byte is in
place.
"""

import argparse
import json
import subprocess
import sys

from meter import Meter

ADDRESS = "10.77.0.2"
PORT = "4445"


def start(options, side, host, path):
	return subprocess.Popen(
		["nsenter", f"--net=/run/netns/{host}", "--", options.program, side, path,
			ADDRESS, PORT, str(options.connections), getattr(options, side),
			str(options.poll), str(options.spin)],
		stdout=subprocess.PIPE, text=True)


def expect(process, word):
	if process.stdout.readline().strip() != word:
		sys.exit(f"floor_move: the receiver never was {word}")


def move(options):
	receiver = start(options, "receive", *options.to)
	expect(receiver, "ready")
	meter = Meter()
	sender = start(options, "send", *options.source)
	if sender.wait():
		receiver.kill()
		sys.exit("floor_move: the sender failed")
	expect(receiver, "done")
	measured = meter.read()
	receiver.wait()
	return measured


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--program", required=True)
	parser.add_argument("--from", dest="source", nargs=2, required=True, metavar=("HOST", "FILE"))
	parser.add_argument("--to", nargs=2, required=True, metavar=("HOST", "FILE"))
	parser.add_argument("--send", required=True,
		choices=("best", "sendfile", "copy", "splice", "fixed", "chain"))
	parser.add_argument("--receive", required=True,
		choices=("best", "fill", "write", "map", "ring", "sqpoll", "fixed", "fixed-write"))
	parser.add_argument("--poll", type=int, required=True, help="us")
	parser.add_argument("--spin", type=int, required=True, help="us")
	parser.add_argument("--connections", type=int, required=True)
	parser.add_argument("--mem", type=int, required=True, help="MiB, for the record")
	options = parser.parse_args()
	print(json.dumps({
		"mover": "floor",
		"mem_mib": options.mem,
		"contents": "random",
		"connections": options.connections,
		"send": options.send,
		"receive": options.receive,
		"poll_us": options.poll,
		"spin_us": options.spin,
		**move(options),
	}))


if __name__ == "__main__":
	main()
