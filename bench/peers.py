# SPDX-License-Identifier: Apache-2.0
"""Who is measured. Each peer is a program beside this file; its last line of output is JSON."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

from scenarios import VARIANTS

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
SKIPPED = 77
MISSED = 75  # the guest was moved before it could be asked for post-copy: chance, whoever moves it

# Those that are ours. That another one fails or hangs is not for us to mend, and ends nothing.
OURS = ("wherry", "floor")

# How often a peer may move the guest in a pair, until it does.
TRIES = 2
TRIES_IF_MISSED = 4

# What is kept of a peer's JSON, where it has it.
FIELDS = ("mem_mib", "wall_s", "machine_cpu_s", "softirq_s", "steal_s", "wire_bytes", "downtime_ms",
	"downtime", "samples", "guest_checks", "guest_errors", "missed_zero_copy", "vcpu_blocked_ms",
	"write_bps", "fault_ns_log2", "accesses", "worst_ns", "p99_ns", "p999_ns", "stalled_ns",
	"latency_ns")


class PeerError(Exception):
	"""A peer's program ended badly, with that status and that as the last line of what it said."""

	def __init__(self, command, status, said):
		super().__init__(f"{' '.join(command)}: exit status {status}\n{said}")
		self.status = status
		self.reason = (said.strip().splitlines() or ["no reason given"])[-1]

	def is_fatal(self, peer, tried):
		"""Whether everything ends with it, of a peer that has been tried so often."""
		if self.status == SKIPPED:
			return True
		return peer in OURS and (self.status != MISSED or self.is_last(tried))

	def is_last(self, tried):
		"""Whether the peer is not to be tried again."""
		return tried >= (TRIES_IF_MISSED if self.status == MISSED else TRIES)


@dataclasses.dataclass(frozen=True)
class Peer:
	name: str
	variant: str
	command: tuple

	def move(self):
		"""One run: what it measured, by FIELDS."""
		found = json.loads(run(self.command).splitlines()[-1])
		return {field: found[field] for field in FIELDS if field in found}


def run(command):
	"""The program's output. However this ends, the program has cleaned up after itself by then."""
	# A group of its own: one signal ends whatever the program waits for as well.
	with subprocess.Popen([os.path.join(HERE, command[0]), *command[1:]], text=True,
			stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
			start_new_session=True) as child:
		try:
			output, complaints = child.communicate()
		except BaseException:
			os.killpg(child.pid, signal.SIGTERM)
			child.wait()
			raise
	if child.returncode != 0:
		raise PeerError(command, child.returncode, output + complaints)
	sys.stderr.write(complaints)
	return output


def floor(options, common):
	connections = str(options.connections)
	return Peer("floor", f"{connections} connections",
		("floor", "--connections", connections, *common))


def iperf3(options, network):
	connections = str(options.connections)
	return Peer("iperf3", f"{connections} connections",
		("raw-iperf3", "--connections", connections, *network))


def synthetic_peers(scenario, options, common):
	"""Those of a guest that no QEMU runs; the floor moves random contents that nobody rewrites."""
	connections = str(options.connections)
	mem_mib = options.mem or scenario.mem_mib
	yield Peer("wherry", f"{connections} connections", ("synth", "--connections", connections,
		"--dirty", str(scenario.dirty_mib), "--pattern", scenario.pattern,
		"--hot", str(mem_mib // scenario.hot_share), *common))
	yield floor(options, common)


def runs(scenario, options):
	"""Options of a guest that does."""
	return ("--dirty", str(scenario.rate_mib(options.link)), "--pattern", scenario.pattern,
		"--touch", str(scenario.touch_bytes))


def peers(scenario, options):
	"""All peers of a scenario, in the order of its first pair."""
	network = ("--mem", str(options.mem or scenario.mem_mib))
	network += ("--congestion", options.congestion) if options.congestion else ()
	common = ("--build", options.build, *network)
	common += ("--huge",) if options.huge else ("--hugetlb",) if options.hugetlb else ()
	if scenario.synthetic:
		return list(synthetic_peers(scenario, options, common))
	guest = ("--limit", str(scenario.limit_mib), *common)
	guest += runs(scenario, options) if scenario.runs else ("--contents", scenario.contents)
	connections = str(options.connections)

	found = [Peer("qemu", variant, ("stock-qemu", *VARIANTS[variant], *guest))
		for variant in scenario.variants if variant in (options.variants or scenario.variants)]
	if scenario.runs:
		found.append(Peer("qemu-postcopy", "preempt", ("stock-qemu", "--postcopy", "preempt", *guest)))
	if scenario.postcopy:
		found.append(Peer("qemu-postcopy-plain", "no preempt",
			("stock-qemu", "--postcopy", "plain", *guest)))
		guest += ("--postcopy",)
	found.append(Peer("wherry", f"{connections} connections",
		("wherry-qemu", "--connections", connections, *guest)))
	if scenario.bounds:
		found.append(floor(options, common))
		if shutil.which("iperf3"):
			found.append(iperf3(options, network))
	return found
