# SPDX-License-Identifier: Apache-2.0
"""How much memory the movers of a migration have, page tables included, the guest's excluded."""

import os

OURS = ("RssAnon", "VmPTE")


def status(pid):
	with open(f"/proc/{pid}/status", encoding="ascii") as f:
		return dict(line.split(":", 1) for line in f)


def running(daemons):
	"""Pids of the movers that these daemons have started."""
	for pid in filter(str.isdigit, os.listdir("/proc")):
		try:
			fields = status(pid)
			if fields["Name"].strip() == "wherry-mover" and fields["PPid"].strip() in daemons:
				yield pid
		except OSError:
			pass  # it has ended


def memory_kib(pid):
	fields = status(pid)
	return sum(int(fields[name].split()[0]) for name in OURS)


class Movers:
	"""The two movers of a migration, and the most memory that each was seen with."""

	def __init__(self, daemons):
		self.daemons = daemons
		self.most = {}

	def look(self):
		if len(self.most) < 2:
			self.most = {pid: self.most.get(pid, 0) for pid in running(self.daemons)}
		for pid, most in self.most.items():
			try:
				self.most[pid] = max(most, memory_kib(pid))
			except (OSError, KeyError):
				pass  # it has ended

	def most_kib(self):
		return sorted(self.most.values())
