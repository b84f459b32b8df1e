# SPDX-License-Identifier: Apache-2.0
"""Time that passes and CPU that is used, for benchmarks."""

import os
import time

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def process_cpu(pid):
	"""Seconds of user and system time, of all threads that ever were."""
	with open(f"/proc/{pid}/stat", encoding="ascii") as f:
		fields = f.read().rpartition(")")[2].split()
	return (int(fields[11]) + int(fields[12])) * TICK_S


def machine_cpu():
	"""Seconds of all CPUs: busy, softirq and steal."""
	with open("/proc/stat", encoding="ascii") as f:
		user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
	busy = user + nice + system + irq + softirq
	return {"machine_cpu_s": busy * TICK_S, "softirq_s": softirq * TICK_S,
		"steal_s": steal * TICK_S}


def sent_bytes(pid):
	"""What has left by the migration network of the process's host: all that the sender's kernel
	handed to the interface, headers once for each packet that is not cut yet."""
	with open(f"/proc/{pid}/net/dev", encoding="ascii") as f:
		line = next(line for line in f if line.strip().startswith("mig0:"))
	return int(line.rpartition(":")[2].split()[8])


class Meter:
	"""Counts from when it is made. The processes must live until it is read.

	wall_s		seconds that passed
	NAME_cpu_s	user and system time of each process given
	machine_cpu_s	time all CPUs were busy with anything. On a quiet machine this is the fair
			one: both sides, the kernel and its threads included, nothing counted twice
	softirq_s	of it, in softirqs: network work that the kernel counts for no process where
			it accounts for interrupts separately
	steal_s		time the hypervisor below took away: much of it spoils the run
	"""

	def __init__(self, **pids):
		self.pids = pids
		self.start = self._now()

	def _now(self):
		values = {f"{name}_cpu_s": process_cpu(pid) for name, pid in self.pids.items()}
		return {**values, **machine_cpu(), "wall_s": time.monotonic()}

	def read(self):
		now = self._now()
		return {name: round(now[name] - self.start[name], 3) for name in now}
