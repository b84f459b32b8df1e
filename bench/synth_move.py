#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run synth_move, and measure it. Used by synth, on the source host.

Prints one JSON object: what bench/meter.py counts while the guest moves, its own writes included,
wire_bytes, and what synth_move says; wall_s is its moving_s.
"""

import argparse
import json
import os
import subprocess
import sys

from meter import Meter, sent_bytes


def expect(process, word):
	if process.stdout.readline().strip() != word:
		sys.exit(f"synth_move: the guest never was {word}")


def move(options):
	with subprocess.Popen(options.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
			text=True) as process:
		expect(process, "ready")
		sent = sent_bytes(os.getpid())
		meter = Meter()
		process.stdin.write("\n")
		process.stdin.flush()
		expect(process, "moved")
		measured = meter.read()
		measured["wire_bytes"] = sent_bytes(os.getpid()) - sent
		said = process.stdout.readline()
	if process.returncode != 0:
		sys.exit(f"synth_move: {options.command[0]}: exit status {process.returncode}")
	measured |= json.loads(said)
	measured["wall_s"] = measured.pop("moving_s")
	return measured


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--mem", type=int, required=True, help="MiB, for the record")
	parser.add_argument("command", nargs="+")
	options = parser.parse_args()
	print(json.dumps({"mover": "wherry", "mem_mib": options.mem, **move(options)}))


if __name__ == "__main__":
	main()
