# SPDX-License-Identifier: Apache-2.0
"""Where figures come from: the machine, and the versions of what was measured."""

import os
import re
import shutil
import subprocess
import time

from meter import Meter

HERE = os.path.dirname(os.path.abspath(__file__))
SYSTEM_CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"


def read(path):
	with open(path, encoding="utf-8") as f:
		return f.read().strip()


def value_in(path, key):
	"""The first value of a key in a file such as /proc/cpuinfo; "" if it has none."""
	found = re.search(rf"^{key}\s*:\s*(.*)$", read(path), re.MULTILINE)
	return found[1] if found else ""


def first_line(*command):
	"""Of what a program prints; "" if it fails."""
	done = subprocess.run(command, check=False, capture_output=True, text=True)
	return done.stdout.partition("\n")[0] if done.returncode == 0 else ""


def busy_share():
	"""How busy all CPUs are with something else, of 1, over a second."""
	meter = Meter()
	time.sleep(1)
	seen = meter.read()
	return round(seen["machine_cpu_s"] / seen["wall_s"] / os.cpu_count(), 2)


def describe(congestion):
	"""The machine; congestion is the hosts', "" for the machine's own."""
	return {
		"busy_before": busy_share(),
		"cpus": os.cpu_count(),
		"memory_mib": int(value_in("/proc/meminfo", "MemTotal").split()[0]) // 1024,
		"kernel": os.uname().release,
		"cpu_model": value_in("/proc/cpuinfo", "model name"),
		"congestion": congestion or read(SYSTEM_CONGESTION),
	}


def versions():
	"""Of the peers; "" for what is not here. Fetches QEMU 10.0 unless it is there already."""
	cache = os.environ.get("GUEST_CACHE", "/var/cache/wherry-tests")
	fetch = os.path.join(HERE, "..", "tests", "lib", "fetch-qemu")
	fetched = subprocess.run([fetch, os.path.join(cache, "qemu")], check=False,
		stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
	return {
		# safe.directory: a clone may belong to somebody else than root.
		"wherry": first_line("git", "-c", "safe.directory=*", "-C", HERE, "describe", "--always",
			"--dirty"),
		"qemu": "" if fetched.returncode else read(os.path.join(cache, "qemu", "version")),
		"iperf3": first_line("iperf3", "--version") if shutil.which("iperf3") else "",
	}
