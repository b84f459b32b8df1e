# SPDX-License-Identifier: Apache-2.0
"""How long BPF programs that are attached to some cgroups run, as the kernel counts it."""

import ctypes
import json
import os
import subprocess

SYS_BPF = 321  # x86-64
BPF_PROG_GET_FD_BY_ID = 13
BPF_ENABLE_STATS = 32
BPF_STATS_RUN_TIME = 0
ATTRIBUTES_BYTES = 64

LIBC = ctypes.CDLL(None, use_errno=True)


def bpf(command, value):
	"""A command whose attributes are one number; returns a descriptor."""
	attributes = ctypes.create_string_buffer(ATTRIBUTES_BYTES)
	ctypes.cast(attributes, ctypes.POINTER(ctypes.c_uint32))[0] = value
	fd = LIBC.syscall(SYS_BPF, command, attributes, ATTRIBUTES_BYTES)
	if fd < 0:
		raise OSError(ctypes.get_errno(), f"bpf command {command}")
	return fd


def listed(kind):
	done = subprocess.run(["bpftool", "-j", kind, "list"], check=True, stdin=subprocess.DEVNULL,
		stdout=subprocess.PIPE, text=True)
	return json.loads(done.stdout)


def cgroup_ids(groups):
	"""Of these directories and all below, as BPF links name them."""
	return {os.stat(path).st_ino for group in groups for path, _, _ in os.walk(group)}


class Programs:
	"""Those attached below some cgroup directories when it is made. They stay readable after they
	are detached; while it lives, the kernel counts the time of all programs on the machine, which
	takes some time of its own."""

	def __init__(self, groups):
		self.stats = bpf(BPF_ENABLE_STATS, BPF_STATS_RUN_TIME)
		places = cgroup_ids(groups)
		ids = [link["prog_id"] for link in listed("link") if link.get("cgroup_id") in places]
		names = {program["id"]: program["name"] for program in listed("prog") if "name" in program}
		self.found = [(names[program], bpf(BPF_PROG_GET_FD_BY_ID, program)) for program in ids]
		self.start = [self._now(fd) for _, fd in self.found]

	@staticmethod
	def _now(fd):
		with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as f:
			fields = dict(line.split(":", 1) for line in f)
		return int(fields["run_time_ns"]), int(fields["run_cnt"])

	def read(self):
		"""Each program since then: its name, nanoseconds and runs."""
		return [{"name": name, "run_ns": now[0] - start[0], "runs": now[1] - start[1]}
			for (name, _), start, now in zip(self.found, self.start,
				[self._now(fd) for _, fd in self.found])]
