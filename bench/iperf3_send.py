#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Have iperf3 send as much as a guest has, and measure it. Used by raw-iperf3.

Prints one JSON object: what bench/meter.py counts while iperf3 runs, but wall_s is iperf3's own,
without its start and end, and wire_bytes.
"""

import argparse
import json
import os
import subprocess
import sys

from meter import Meter, sent_bytes

MIB = 1 << 20


def send(options):
	command = ["iperf3", "--client", options.address, "--port", str(options.port), "--json",
		"--bytes", str(options.mem * MIB), "--parallel", str(options.connections)]
	sent = sent_bytes(os.getpid())
	meter = Meter()
	done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True,
		text=True)
	measured = meter.read()
	if done.returncode != 0:
		sys.exit(f"iperf3_send: iperf3: exit status {done.returncode}\n{done.stdout}{done.stderr}")
	measured["wall_s"] = round(json.loads(done.stdout)["end"]["sum_received"]["seconds"], 3)
	measured["wire_bytes"] = sent_bytes(os.getpid()) - sent
	return measured


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--address", required=True, help="numeric, of the server")
	parser.add_argument("--port", type=int, required=True)
	parser.add_argument("--mem", type=int, required=True, help="MiB to send")
	parser.add_argument("--connections", type=int, required=True)
	options = parser.parse_args()
	print(json.dumps({
		"mover": "iperf3",
		"mem_mib": options.mem,
		"connections": options.connections,
		**send(options),
	}))


if __name__ == "__main__":
	main()
