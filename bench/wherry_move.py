#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Have Wherry move guest "vm" to node b, and measure it. Used by wherry-qemu.

Prints one JSON object: what bench/meter.py counts while the guest moves, job_s (see wherry-qemu),
wire_bytes, samples of how it went, and with --watch downtime_ms (bench/standstill.py) and downtime,
its parts as Wherry tells them; with --watch-movers mover_kib and scan_ns; with --watch-programs
programs (bench/programs.py). With --postcopy it has Wherry switch when all memory has been sent once; if
the guest was moved before, the exit status is peers.MISSED. Talks to wherryd as docs/api.md says.
"""

import argparse
import json
import socket
import sys
import time

from meter import Meter, sent_bytes
from movers import Movers
from peers import MISSED
from programs import Programs
from standstill import Standstill

# Looking costs CPU, too: often enough to be exact to 1 % in a second.
LOOK_S = 0.01

# Of what it sees, so much is enough to draw a curve.
SAMPLE_S = 0.05
DOWNTIME_PARTS = ("stop_ns", "scan_ns", "pages_ns", "device_ns", "resume_ns")


class Wherryd:
	def __init__(self, path):
		self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
		self.socket.connect(path)
		self.lines = self.socket.makefile("rw", encoding="utf-8")

	def answer(self, **request):
		self.lines.write(json.dumps(request) + "\n")
		self.lines.flush()
		return json.loads(self.lines.readline())

	def ask(self, **request):
		answer = self.answer(**request)
		if not answer["ok"]:
			sys.exit(f"wherry_move: {answer['error']}")
		return answer

	def look(self, migration):
		time.sleep(LOOK_S)
		job = self.ask(command="status", migration=migration)["migrations"][0]
		if job["reason"]:
			sys.exit(f"wherry_move: {job['state']}: {job['reason']}")
		return job


def ask_for_postcopy(wherryd, migration):
	"""It may be too late for that, which shows in the end, but there is no other reason to refuse."""
	answer = wherryd.answer(command="postcopy", migration=migration)
	if not answer["ok"] and wherryd.look(migration)["state"] == "PreCopy":
		sys.exit(f"wherry_move: {answer['error']}")


def add_sample(samples, job):
	t_s = round(job["moving_ns"] / 1e9, 3)
	if samples and t_s < samples[-1]["t_s"] + SAMPLE_S:
		return
	stats = job["stats"]
	samples.append({"t_s": t_s, "rate_bps": stats["rate_bps"], "dirty_bps": stats["dirty_bps"],
		"left_bytes": stats["left_bytes"], "round": stats["rounds"]})


def clocks(job):
	"""How long it took to move the guest, and then its memory; neither goes on once that is done."""
	return job["moving_ns"], job["postcopy_ns"]


def move(wherryd, options):
	standstill = Standstill(options.watch[0]) if options.watch else None
	migration = wherryd.ask(command="migrate", vm="vm", to="b")["migration"]
	job = wherryd.look(migration)
	while job["moving_ns"] == 0:
		job = wherryd.look(migration)
	meter = Meter()
	sent = sent_bytes(options.daemon)
	if standstill:
		standstill.watch_target(options.watch[1])
	samples = []
	movers = Movers([options.daemon, options.watch_movers]) if options.watch_movers else None
	programs = None
	if options.watch_programs:
		while job["state"] == "Preparing":  # the limit is attached just before the mover starts
			job = wherryd.look(migration)
		programs = Programs(options.watch_programs)
	before = None
	asked = not options.postcopy
	while clocks(job) != before:
		add_sample(samples, job)
		if not asked and job["stats"]["rounds"] > 1:
			ask_for_postcopy(wherryd, migration)
			asked = True
		if movers:
			movers.look()
		before = clocks(job)
		job = wherryd.look(migration)
	measured = meter.read()
	measured["wire_bytes"] = sent_bytes(options.daemon) - sent
	if programs:
		measured["programs"] = programs.read()
	while not job["over"]:
		job = wherryd.look(migration)
	if options.postcopy:
		measured["faults"] = job["stats"]["faults"]
		measured["fault_bytes"] = job["stats"]["fault_bytes"]
		measured["push_bytes"] = job["stats"]["push_bytes"]
	if options.postcopy and job["postcopy_ns"] == 0:
		print("wherry_move: the guest was moved before it could be asked for post-copy",
			file=sys.stderr)
		sys.exit(MISSED)
	measured["wall_s"] = round(sum(clocks(job)) / 1e9, 3)
	measured["job_s"] = round(job["elapsed_ns"] / 1e9, 3)
	measured["samples"] = samples
	if movers:
		measured["mover_kib"] = movers.most_kib()
		measured["scan_ns"] = job["downtime"]["scan_ns"]
	if standstill:
		measured["downtime_ms"] = standstill.read_ms()
		measured["downtime"] = {part: job["downtime"][part] for part in DOWNTIME_PARTS}
	return measured


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--socket", required=True, help="of the source's wherryd")
	parser.add_argument("--daemon", required=True, help="its pid")
	parser.add_argument("--watch", nargs=2, metavar=("SOURCE_QMP", "TARGET_QMP"),
		help="two monitors of the guest, to measure the downtime")
	parser.add_argument("--watch-movers", metavar="PID",
		help="of the destination's wherryd: see how much memory both movers have, which takes "
		"CPU time")
	parser.add_argument("--watch-programs", nargs="+", metavar="CGROUP",
		help="see how long BPF programs run that are attached below these")
	parser.add_argument("--postcopy", action="store_true", help="after one round")
	parser.add_argument("--connections", type=int, required=True, help="for the record")
	parser.add_argument("--mem", type=int, required=True, help="MiB, for the record")
	parser.add_argument("--contents", required=True, help="for the record")
	options = parser.parse_args()
	print(json.dumps({
		"mover": "wherry",
		"mem_mib": options.mem,
		"contents": options.contents,
		"connections": options.connections,
		**move(Wherryd(options.socket), options),
	}))


if __name__ == "__main__":
	main()
