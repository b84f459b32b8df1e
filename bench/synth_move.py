#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run synth_move, and measure it. Used by synth.

Prints one JSON object: what bench/meter.py counts while the guest moves, its own writes included,
wire_bytes, and what synth_move says; wall_s is its moving_s.
"""

import argparse
import json
import subprocess
import sys

from meter import Meter, sent_bytes


class Bystander:
	"""A process on the source host, as long as somebody has to look at that host's network."""

	def __init__(self, host):
		self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{host}", "--", "cat"],
			stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
		# Its answer says that it is there.
		self.process.stdin.write("\n")
		self.process.stdin.flush()
		self.process.stdout.readline()

	def __enter__(self):
		return self.process.pid

	def __exit__(self, *_):
		self.process.stdin.close()
		self.process.wait()


def expect(process, word):
	if process.stdout.readline().strip() != word:
		sys.exit(f"synth_move: the guest never was {word}")


def move(options, host):
	with subprocess.Popen(options.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
			text=True) as process:
		expect(process, "ready")
		sent = sent_bytes(host)
		meter = Meter()
		process.stdin.write("\n")
		process.stdin.flush()
		expect(process, "moved")
		measured = meter.read()
		measured["wire_bytes"] = sent_bytes(host) - sent
		said = process.stdout.readline()
	if process.returncode != 0:
		sys.exit(f"synth_move: {options.command[0]}: exit status {process.returncode}")
	measured |= json.loads(said)
	measured["wall_s"] = measured.pop("moving_s")
	return measured


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--host", required=True, help="the source")
	parser.add_argument("--mem", type=int, required=True, help="MiB, for the record")
	parser.add_argument("command", nargs="+")
	options = parser.parse_args()
	with Bystander(options.host) as host:
		print(json.dumps({"mover": "wherry", "mem_mib": options.mem, **move(options, host)}))


if __name__ == "__main__":
	main()
