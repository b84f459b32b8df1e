#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Have Wherry move guest "vm" to node b, and measure it. Used by wherry-qemu.

Prints one JSON object; see wherry-qemu for what its fields mean.
"""

import argparse
import json
import subprocess
import sys

from meter import Meter


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("--connections", type=int, required=True, help="for the record")
	parser.add_argument("--mem", type=int, required=True, help="MiB, for the record")
	parser.add_argument("--contents", required=True, help="for the record")
	parser.add_argument("wherry", nargs="+", help="command that runs the CLI at the source")
	options = parser.parse_args()

	meter = Meter()
	moved = subprocess.run([*options.wherry, "migrate", "vm", "--to", "b"], check=False,
		stdout=subprocess.PIPE, text=True)
	measured = meter.read()
	if moved.returncode != 0:
		sys.exit(f"wherry_move: wherry migrate failed with {moved.returncode}")
	status = subprocess.run([*options.wherry, "status", "--json"], check=True,
		stdout=subprocess.PIPE, text=True)
	job = json.loads(status.stdout)[0]  # there was one migration
	measured["job_s"] = measured["wall_s"]
	measured["wall_s"] = round(job["moving_ns"] / 1e9, 3)
	print(json.dumps({
		"mover": "wherry",
		"mem_mib": options.mem,
		"contents": options.contents,
		"connections": options.connections,
		**measured,
		"wire_bytes": job["stats"]["wire_bytes"],
	}))


if __name__ == "__main__":
	main()
