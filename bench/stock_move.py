#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Have one QEMU migrate its guest to another, and measure it. Used by stock-qemu.

Prints one JSON object: what bench/meter.py counts from "migrate" until both sides say that it is
completed, ram_bytes and zero_pages as QEMU reports them, wire_bytes, and with --watch downtime_ms
(bench/standstill.py). With --zero-copy missed_zero_copy, as QEMU counts it: how often the kernel had
copied all that was sent nevertheless, which it does where the receiver is on the same machine. With
--postcopy vcpu_blocked_ms, how long the guest's only vCPU waited for pages; "preempt" sends these over
a connection of their own. If the guest was moved before it could be asked for post-copy, the exit status
is peers.MISSED.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "lib"))

from meter import Meter, sent_bytes  # noqa: E402 (the path is set above)
from peers import MISSED  # noqa: E402
from qmp import Qmp, QmpError  # noqa: E402
from standstill import Standstill  # noqa: E402

PORT = 4444
MIB = 1 << 20
UNLIMITED_BPS = 1 << 40

# Nobody waits for a migration that hangs or gets nowhere longer than a slow start takes, and four times
# what all of the memory does at the lowest limit of a scenario, 64 MiB/s.
START_S = 60
MIB_PER_S = 16

# After these nothing happens any more.
ENDS = ("completed", "failed", "cancelled")


# Capabilities that come with an option, at both ends.
CAPABILITIES = {
	"channels": ("multifd",),
	"zero_copy": ("zero-copy-send",),
	"postcopy": ("postcopy-ram", "postcopy-blocktime"),
	"preempt": ("postcopy-preempt",),
}


def parameters(options):
	bandwidth = options.limit * MIB or UNLIMITED_BPS
	found = {"max-bandwidth": bandwidth}
	if options.channels:
		found["multifd-channels"] = options.channels
	if options.postcopy:
		# 1 ms: so that no pass makes post-copy needless. QEMU looks for no more passes at 0.
		found |= {"max-postcopy-bandwidth": bandwidth, "downtime-limit": 1}
	return found


class MissedError(Exception):
	"""The guest was moved before it could be asked for post-copy."""


def configure(qmp, options):
	on = ["events", *(name for option, names in CAPABILITIES.items() if getattr(options, option)
		for name in names)]
	capabilities = [{"capability": name, "state": True} for name in on]
	qmp.execute("migrate-set-capabilities", {"capabilities": capabilities})
	qmp.execute("migrate-set-parameters", parameters(options))


def wait_for(qmp, what, reached, timeout_s):
	"""Until reached(name, data) of an event. Returns what the event said the migration is, if it did."""
	def told(event):
		name, data = event["event"], event.get("data", {})
		return reached(name, data) or (name == "MIGRATION" and data["status"] in ENDS)

	try:
		status = qmp.wait_event(told, timeout_s)["data"].get("status")
	except QmpError as e:
		raise QmpError(f"waiting for '{what}', for {timeout_s} s at most: {e}") from e
	if status == "failed":
		info = qmp.execute("query-migrate")
		reason = info.get("error-desc", "QEMU gives no reason")
		raise QmpError(f"migration failed: {reason}")
	return status


def wait_status(qmp, wanted, timeout_s):
	"""Until the migration is that. Returns whether it is, and not at an end without having been it."""
	return wanted == wait_for(qmp, wanted,
		lambda name, data: name == "MIGRATION" and data["status"] == wanted, timeout_s)


def wait_completed(qmp, timeout_s):
	if not wait_status(qmp, "completed", timeout_s):
		raise QmpError("migration cancelled")


def switch_to_postcopy(source, timeout_s):
	"""When all memory has been sent once, which is when the second pass begins.

	To ask when all is over is no error for QEMU, and changes nothing.
	"""
	wait_for(source, "second pass",
		lambda name, data: name == "MIGRATION_PASS" and data["pass"] == 2, timeout_s)
	source.execute("migrate-start-postcopy")
	if not wait_status(source, "postcopy-active", timeout_s):
		raise MissedError("the guest was moved before it could be asked for post-copy")


def move(options):
	timeout_s = START_S + options.mem // MIB_PER_S
	with Qmp(options.source[0]) as source, Qmp(options.target[0]) as target:
		for qmp in (source, target):
			configure(qmp, options)
		uri = f"tcp:{options.address}:{PORT}"
		target.execute("migrate-incoming", {"uri": uri})
		standstill = Standstill(options.watch[0]) if options.watch else None
		if standstill:
			standstill.watch_target(options.watch[1])

		sent = sent_bytes(options.source[1])
		meter = Meter(source=options.source[1], target=options.target[1])
		source.execute("migrate", {"uri": uri})
		if options.postcopy:
			switch_to_postcopy(source, timeout_s)
		wait_completed(source, timeout_s)
		wait_completed(target, timeout_s)
		measured = meter.read()
		measured["wire_bytes"] = sent_bytes(options.source[1]) - sent

		info = source.execute("query-migrate")
		arrived = target.execute("query-migrate")
	measured["ram_bytes"] = info["ram"]["transferred"]
	measured["zero_pages"] = info["ram"]["duplicate"]
	if options.zero_copy:
		measured["missed_zero_copy"] = info["ram"]["dirty-sync-missed-zero-copy"]
	if options.postcopy:
		measured["vcpu_blocked_ms"] = arrived["postcopy-blocktime"]
	if standstill:
		measured["downtime_ms"] = standstill.read_ms()
	return measured


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--source", nargs=2, required=True, metavar=("QMP", "PID"))
	parser.add_argument("--target", nargs=2, required=True, metavar=("QMP", "PID"))
	parser.add_argument("--address", required=True, help="numeric, of the target")
	parser.add_argument("--channels", type=int, default=0, help="0 is without multifd")
	parser.add_argument("--zero-copy", action="store_true", help="by zero-copy-send")
	parser.add_argument("--postcopy", choices=("plain", "preempt"), help="after one pass")
	parser.add_argument("--limit", type=int, default=0, help="MiB a second; 0 is none")
	parser.add_argument("--watch", nargs=2, metavar=("SOURCE_QMP", "TARGET_QMP"),
		help="two more monitors, to measure the downtime")
	parser.add_argument("--mem", type=int, required=True, help="MiB")
	parser.add_argument("--contents", required=True, help="for the record")
	options = parser.parse_args()
	options.preempt = options.postcopy == "preempt"

	record = {
		"mover": "qemu",
		"mem_mib": options.mem,
		"contents": options.contents,
		"channels": options.channels,
	}
	try:
		print(json.dumps({**record, **move(options)}))
	except QmpError as e:
		sys.exit(f"stock_move: {e}")
	except MissedError as e:
		print(f"stock_move: {e}", file=sys.stderr)
		sys.exit(MISSED)


if __name__ == "__main__":
	main()
