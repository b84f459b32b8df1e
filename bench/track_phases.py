#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure how fast a guest writes while nobody, Wherry or QEMU tracks it. Used by track-guest.

Prints a JSON list with one object for each pair: a phase's name, and what was measured in it:

	writes_per_s	pages that the guest wrote
	rounds		of precopy that the time covers, all of them whole; 0 if nobody tracks
	wall_s		the time covered
	vcpu_cpu_s	CPU time of the guest's vCPU, page faults and dirty logging included
	sender_cpu_s	CPU time of the hypervisor's other threads, and of Wherry's mover at the source
	machine_cpu_s	CPU time of all there is, the destination included; see meter.py
	steal_s		see meter.py
"""

import argparse
import glob
import json
import os
import re
import subprocess
import sys
import time

from meter import Meter
from stock_move import PORT
from wherry_move import Wherryd

from qmp import Qmp, QmpError  # stock_move set the path

# Looking costs CPU, too, and the end of the last round is looked for while the clock runs.
LOOK_S = 0.02
SETTLE_S = 1
TIMEOUT_S = 120
ADDRESS = "10.77.0.2"


def wait_until(done, what):
	deadline = time.monotonic() + TIMEOUT_S
	while not done():
		if time.monotonic() > deadline:
			sys.exit(f"track_phases: {what}: not within {TIMEOUT_S} s")
		time.sleep(LOOK_S)


class Guest:
	"""The guest at the source: its hypervisor, and what it says on its console."""

	LINE = re.compile(r"^memguest: checks=.* writes=(\d+)\r?\n", re.MULTILINE)

	def __init__(self, directory):
		with open(os.path.join(directory, "vm.pid"), encoding="ascii") as f:
			self.pid = int(f.read())
		self.qmp = Qmp(os.path.join(directory, "vm.test.qmp"))
		self.vcpu = self.qmp.execute("query-cpus-fast")[0]["thread-id"]
		self.console = os.path.join(directory, "vm.console")

	def next_writes(self):
		"""How many pages it has written, as soon as it says so once more."""
		with open(self.console, encoding="ascii", errors="replace") as f:
			f.seek(0, os.SEEK_END)
			said = ""
			deadline = time.monotonic() + TIMEOUT_S
			while not (found := self.LINE.search(said)):
				if time.monotonic() > deadline:
					sys.exit("track_phases: the guest is silent")
				time.sleep(LOOK_S)
				said += f.read()
		return int(found[1])


class Nobody:
	"""The guest is left alone."""

	sender = {}

	def start(self):
		pass

	def rounds(self):
		return 0

	def cancel(self):
		pass


class Wherry:
	"""A migration by Wherry that is cancelled."""

	def __init__(self, options):
		self.wherryd = Wherryd(options.wherryd)
		self.group = options.group
		self.target = options.target
		self.migration = None

	def start(self):
		self.migration = self.wherryd.ask(command="migrate", vm="vm", to="b")["migration"]

	def _job(self):
		return self.wherryd.ask(command="status", migration=self.migration)["migrations"][0]

	def rounds(self):
		job = self._job()
		if job["over"] or job["state"] not in ("Pending", "Preparing", "PreCopy"):
			sys.exit(f"track_phases: Wherry is at {job['state']}: {job['reason']}")
		return job["stats"]["rounds"]

	@property
	def sender(self):
		[procs] = glob.glob(f"{self.group}/*/cgroup.procs")
		with open(procs, encoding="ascii") as f:
			return {"mover": int(f.read())}

	def cancel(self):
		self.wherryd.ask(command="cancel", migration=self.migration)
		wait_until(lambda: self._job()["over"], "Wherry cancels")
		if self._job()["outcome"] != "cancelled":
			sys.exit(f"track_phases: Wherry did not cancel: {self._job()['reason']}")
		wait_until(lambda: not any(os.path.exists(f"{self.target}/vm.{kind}")
			for kind in ("ram", "qmp")), "Wherry's target goes away")


class Stock:
	"""A migration by QEMU itself that is cancelled. Nothing of it is switched on: one connection,
	no auto-converge."""

	sender = {}

	def __init__(self, options, qmp):
		self.options = options
		self.qmp = qmp
		self.target = None

	def start(self):
		# If this program fails, the target goes with its host.
		with open(f"{self.options.target}/vm.log", "w", encoding="ascii") as log:
			self.target = subprocess.Popen(self.options.incoming, stdin=subprocess.DEVNULL,
				stdout=log, stderr=log)
		uri = f"tcp:{ADDRESS}:{PORT}"
		with Qmp(f"{self.options.target}/vm.qmp") as target:
			target.execute("migrate-incoming", {"uri": uri})
		self.qmp.execute("migrate-set-parameters", {
			"max-bandwidth": self.options.bandwidth << 20, "downtime-limit": 1})
		self.qmp.execute("migrate", {"uri": uri})

	def _info(self):
		return self.qmp.execute("query-migrate")

	def rounds(self):
		info = self._info()
		if info["status"] not in ("setup", "active"):
			reason = info.get("error-desc", "no reason given")
			sys.exit(f"track_phases: QEMU is at {info['status']}: {reason}")
		return info.get("ram", {}).get("dirty-sync-count", 0)

	def cancel(self):
		self.qmp.execute("migrate_cancel")
		wait_until(lambda: self._info()["status"] == "cancelled", "QEMU cancels")
		self.target.terminate()
		self.target.wait(TIMEOUT_S)
		for path in glob.glob(f"{self.options.target}/vm.*"):
			os.remove(path)


def measure(guest, tracker, seconds):
	"""From the start of the second round until one starts after that many seconds."""
	tracked = not isinstance(tracker, Nobody)
	if tracked:
		wait_until(lambda: tracker.rounds() > 1, "the first round ends")
	first = tracker.rounds()
	before = guest.next_writes()
	meter = Meter(vcpu=f"{guest.pid}/task/{guest.vcpu}", hypervisor=guest.pid, **tracker.sender)
	time.sleep(seconds)
	last = tracker.rounds()
	if tracked:
		wait_until(lambda: tracker.rounds() > last, "a round ends")
		last = tracker.rounds()
	writes = guest.next_writes() - before
	measured = meter.read()
	sender = measured.pop("hypervisor_cpu_s") - measured["vcpu_cpu_s"] + measured.pop("mover_cpu_s", 0)
	return {"writes_per_s": round(writes / measured["wall_s"]), "rounds": last - first,
		"sender_cpu_s": round(sender, 3), **measured}


def phase(guest, tracker, seconds):
	time.sleep(SETTLE_S)
	tracker.start()
	measured = measure(guest, tracker, seconds)
	tracker.cancel()
	if guest.qmp.execute("query-status")["status"] != "running":
		sys.exit("track_phases: the guest does not run on")
	return measured


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--pairs", type=int, required=True)
	parser.add_argument("--seconds", type=float, required=True)
	parser.add_argument("--bandwidth", type=int, required=True, help="MiB/s, of QEMU's migration")
	parser.add_argument("--source", required=True, help="directory of the guest's files")
	parser.add_argument("--target", required=True, help="the same at the destination")
	parser.add_argument("--wherryd", required=True, help="socket of the source's wherryd")
	parser.add_argument("--group", required=True, help="cgroup directory of the source's wherryd")
	parser.add_argument("incoming", nargs="+", help="command that starts QEMU's target")
	options = parser.parse_args()

	try:
		guest = Guest(options.source)
		trackers = {"untracked": Nobody(), "wherry": Wherry(options),
			"qemu": Stock(options, guest.qmp)}
		pairs = []
		for number in range(options.pairs):
			# Each begins in turn: what the machine does meanwhile hits all.
			names = list(trackers)
			begin = number % len(names)
			order = names[begin:] + names[:begin]
			pairs.append({name: phase(guest, trackers[name], options.seconds) for name in order})
	except QmpError as e:
		sys.exit(f"track_phases: {e}")
	print(json.dumps(pairs))


if __name__ == "__main__":
	main()
