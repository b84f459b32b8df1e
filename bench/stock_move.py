#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Have one QEMU migrate its guest to another, and measure it. Used by stock-qemu.

Prints one JSON object: what bench/meter.py counts from "migrate" until both sides say that it is
completed, ram_bytes and zero_pages as QEMU reports them, wire_bytes, and with --watch downtime_ms
(bench/standstill.py).
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "lib"))

from meter import Meter, sent_bytes  # noqa: E402 (the path is set above)
from qmp import Qmp, QmpError  # noqa: E402
from standstill import Standstill  # noqa: E402

PORT = 4444
TIMEOUT_S = 300
MIB = 1 << 20
UNLIMITED_BPS = 1 << 40


def configure(qmp, options):
	channels = options.channels
	on = ["events"] + (["multifd"] if channels else [])
	capabilities = [{"capability": name, "state": True} for name in on]
	qmp.execute("migrate-set-capabilities", {"capabilities": capabilities})
	parameters = {"max-bandwidth": options.limit * MIB or UNLIMITED_BPS}
	if channels:
		parameters["multifd-channels"] = channels
	qmp.execute("migrate-set-parameters", parameters)


def wait_completed(qmp):
	def ended(event):
		status = event.get("data", {}).get("status")
		return event["event"] == "MIGRATION" and status in ("completed", "failed")

	if qmp.wait_event(ended, TIMEOUT_S)["data"]["status"] == "failed":
		info = qmp.execute("query-migrate")
		reason = info.get("error-desc", "QEMU gives no reason")
		raise QmpError(f"migration failed: {reason}")


def move(options):
	with Qmp(options.source[0]) as source, Qmp(options.target[0]) as target:
		for qmp in (source, target):
			configure(qmp, options)
		uri = f"tcp:{options.address}:{PORT}"
		target.execute("migrate-incoming", {"uri": uri})
		standstill = Standstill(*options.watch) if options.watch else None

		sent = sent_bytes(options.source[1])
		meter = Meter(source=options.source[1], target=options.target[1])
		source.execute("migrate", {"uri": uri})
		wait_completed(source)
		wait_completed(target)
		measured = meter.read()
		measured["wire_bytes"] = sent_bytes(options.source[1]) - sent

		info = source.execute("query-migrate")
	measured["ram_bytes"] = info["ram"]["transferred"]
	measured["zero_pages"] = info["ram"]["duplicate"]
	if standstill:
		measured["downtime_ms"] = standstill.read_ms()
	return measured


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--source", nargs=2, required=True, metavar=("QMP", "PID"))
	parser.add_argument("--target", nargs=2, required=True, metavar=("QMP", "PID"))
	parser.add_argument("--address", required=True, help="numeric, of the target")
	parser.add_argument("--channels", type=int, default=0, help="0 is without multifd")
	parser.add_argument("--limit", type=int, default=0, help="MiB a second; 0 is none")
	parser.add_argument("--watch", nargs=2, metavar=("SOURCE_QMP", "TARGET_QMP"),
		help="two more monitors, to measure the downtime")
	parser.add_argument("--mem", type=int, required=True, help="MiB, for the record")
	parser.add_argument("--contents", required=True, help="for the record")
	options = parser.parse_args()

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


if __name__ == "__main__":
	main()
