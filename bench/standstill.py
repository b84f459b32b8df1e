# SPDX-License-Identifier: Apache-2.0
"""How long a guest stands still while it moves, by one measure for all movers."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "lib"))

from qmp import Qmp  # noqa: E402 (the path is set above)

TIMEOUT_S = 30


class Standstill:
	"""From STOP at the source to RESUME at the target, as the two QEMUs date these events.

	Both are on this machine, so it is one clock. Make it before the guest is told to move, and watch
	the target as soon as its monitor is there.
	"""

	def __init__(self, source):
		self.source = Qmp(source)
		self.target = None

	def watch_target(self, target):
		self.target = Qmp(target)

	def read_ms(self):
		"""Waits for the guest to run at the target."""
		stopped = self._when(self.source, "STOP")
		resumed = self._when(self.target, "RESUME")
		return round((resumed - stopped) / 1000, 1)

	@staticmethod
	def _when(qmp, name):
		stamp = qmp.wait_event(lambda event: event["event"] == name, TIMEOUT_S)["timestamp"]
		return stamp["seconds"] * 1000000 + stamp["microseconds"]
