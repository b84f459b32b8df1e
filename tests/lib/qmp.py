#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small QMP client for tests.

	qmp.py SOCKET COMMAND [ARGUMENTS]	run one command; ARGUMENTS is a JSON object
	qmp.py --status SOCKET			print the run state, such as "running"
	qmp.py --state SOCKET			the same, and the migration capabilities that are on

Prints what QEMU returned, as JSON. Exits 1 with QEMU's reason if it refused.
"""

import json
import socket
import sys
import time


class QmpError(Exception):
	"""QEMU refused a command, hung up, or took too long."""


class Qmp:
	"""One connection to a monitor. Events are kept until somebody waits for them."""

	def __init__(self, path, timeout=10.0):
		self.deadline = time.monotonic() + timeout
		self.events = []
		self.buffer = b""
		self.timeout = timeout
		self.socket = self._connect(path)
		self._receive()  # the greeting
		self.execute("qmp_capabilities")

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.socket.close()

	def _connect(self, path):
		# A QEMU that has just been started may not listen yet.
		while True:
			s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
			try:
				s.settimeout(self.timeout)
				s.connect(path)
				return s
			except OSError as e:
				s.close()
				if time.monotonic() > self.deadline:
					raise QmpError(f"{path}: {e}") from e
				time.sleep(0.02)

	def _receive(self):
		while b"\n" not in self.buffer:
			left = self.deadline - time.monotonic()
			if left <= 0:
				raise QmpError("timed out")
			self.socket.settimeout(left)
			try:
				data = self.socket.recv(65536)
			except socket.timeout as e:
				raise QmpError("timed out") from e
			if not data:
				raise QmpError("QEMU closed the monitor")
			self.buffer += data
		line, self.buffer = self.buffer.split(b"\n", 1)
		return json.loads(line)

	def execute(self, command, arguments=None):
		"""Run a command and return its answer."""
		self.deadline = time.monotonic() + self.timeout
		request = {"execute": command, "arguments": arguments or {}}
		self.socket.sendall(json.dumps(request).encode() + b"\n")
		while True:
			message = self._receive()
			if "event" in message:
				self.events.append(message)
			elif "error" in message:
				raise QmpError(f"{command}: {message['error']['desc']}")
			elif "return" in message:
				return message["return"]

	def wait_event(self, wanted, timeout):
		"""Return the first event that wanted(event) approves of; forget those before."""
		self.deadline = time.monotonic() + timeout
		while True:
			while self.events:
				event = self.events.pop(0)
				if wanted(event):
					return event
			self.events.append(self._receive())

	def capabilities(self):
		"""The names of the migration capabilities that are on."""
		found = self.execute("query-migrate-capabilities")
		return sorted(c["capability"] for c in found if c["state"])


def main(argv):
	if len(argv) < 2:
		sys.exit(__doc__)
	try:
		if argv[0] == "--status":
			with Qmp(argv[1]) as qmp:
				print(qmp.execute("query-status")["status"])
		elif argv[0] == "--state":
			with Qmp(argv[1]) as qmp:
				print(qmp.execute("query-status")["status"], *qmp.capabilities())
		else:
			arguments = json.loads(argv[2]) if len(argv) > 2 else {}
			with Qmp(argv[0]) as qmp:
				print(json.dumps(qmp.execute(argv[1], arguments)))
	except QmpError as e:
		sys.exit(f"qmp: {e}")


if __name__ == "__main__":
	main(sys.argv[1:])
