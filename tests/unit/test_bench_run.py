#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/run and what it makes of peers that fail. Run as: test_bench_run.py SOURCE_ROOT"""

import contextlib
import importlib.machinery
import importlib.util
import io
import pathlib
import sys
import unittest
from unittest import mock

ROOT = pathlib.Path(sys.argv.pop(1)).resolve()
sys.path.insert(0, str(ROOT / "bench"))

import peers  # noqa: E402 (the path is set above)
import results  # noqa: E402
import scenarios  # noqa: E402

SCENARIO = scenarios.find("dirty-30")
MEASURED = {"wall_s": 2, "machine_cpu_s": 1}


def load(name):
	"""A program of bench/ as a module."""
	loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "bench" / name))
	module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
	loader.exec_module(module)
	return module


bench_run = load("run")


class FakePeer:
	"""Of each move, in turns, the status with which its program ends."""

	def __init__(self, name, *statuses):
		self.name = name
		self.variant = "one"
		self.statuses = list(statuses)

	def move(self):
		status = self.statuses.pop(0)
		if status:
			raise peers.PeerError(["stock"], status, "some output\nFAILED: it hangs\n")
		return MEASURED


def measure(*fakes):
	"""The record of a pair of these peers."""
	record = {"runs": [], "failures": []}
	with mock.patch.object(bench_run, "peers", lambda *_: list(fakes)), \
			contextlib.redirect_stdout(io.StringIO()):
		bench_run.measure(SCENARIO, 1, None, record)
	return record


def run(pair, peer, variant, wall_s, cpu_s):
	return {"scenario": "s", "pair": pair, "peer": peer, "variant": variant, "wall_s": wall_s,
		"machine_cpu_s": cpu_s}


RUNS = (
	run(1, "qemu", "x", 6, 1), run(1, "qemu", "y", 4, 8), run(1, "wherry", "w", 2, 2),
	run(2, "qemu", "x", 3, 9), run(2, "qemu", "y", 5, 1), run(2, "wherry", "w", 1, 0),
	run(3, "qemu", "x", 8, 6), run(3, "qemu", "y", 9, 1), run(3, "wherry", "w", 1, 1),
)


def failure(pair, variant="x"):
	return {"scenario": "s", "pair": pair, "peer": "qemu", "variant": variant, "reason": "hung"}


class Failures(unittest.TestCase):
	def test_one_of_another_peer_is_recorded_and_tried_once_more(self):
		record = measure(FakePeer("qemu", 1, 0), FakePeer("wherry", 0))

		self.assertEqual(record["failures"], [{"scenario": "dirty-30", "pair": 1, "peer": "qemu",
			"variant": "one", "reason": "FAILED: it hangs"}])
		self.assertEqual([run["peer"] for run in record["runs"]], ["qemu", "wherry"])

	def test_a_peer_that_fails_again_is_given_up_and_the_others_go_on(self):
		record = measure(FakePeer("qemu", 1, 1), FakePeer("wherry", 0))

		self.assertEqual(len(record["failures"]), 2)
		self.assertEqual([run["peer"] for run in record["runs"]], ["wherry"])

	def test_ours_end_the_run(self):
		for ours in "wherry", "floor":
			with self.assertRaises(peers.PeerError):
				measure(FakePeer(ours, 1, 0))

	def test_what_is_missing_ends_the_run(self):
		with self.assertRaises(peers.PeerError):
			measure(FakePeer("qemu", peers.SKIPPED, 0))

	def test_a_missed_moment_is_nobodys_failure_until_it_is_missed_again_and_again(self):
		for peer in "qemu", "wherry":
			record = measure(FakePeer(peer, *[peers.MISSED] * 3, 0))
			self.assertEqual((len(record["failures"]), len(record["runs"])), (3, 1))
		self.assertEqual(measure(FakePeer("qemu", *[peers.MISSED] * 4))["runs"], [])
		with self.assertRaises(peers.PeerError):
			measure(FakePeer("wherry", *[peers.MISSED] * 4))


class Ratios(unittest.TestCase):
	def test_the_fastest_variant_of_each_pair_counts(self):
		same = {"scenario": "s", "peer": "qemu", "to": "wherry"}
		self.assertEqual(results.ratios(RUNS), [
			{**same, "of": "wall_s", "pairs": [2, 3, 8], "median": 3},
			{**same, "of": "machine_cpu_s", "pairs": [4, 6], "median": 5},
		])

	def test_a_pair_in_which_a_variant_failed_for_good_has_none(self):
		left = [run for run in RUNS if (run["pair"], run["variant"]) != (2, "y")]

		self.assertEqual(results.ratios(left, [failure(2, "y")] * 2)[0]["pairs"], [2, 8])
		self.assertEqual(results.ratios(RUNS, [failure(2, "y")])[0]["pairs"], [2, 3, 8])


class Told(unittest.TestCase):
	def test_how_many_of_how_many_samples_failed(self):
		self.assertEqual(results.failed(RUNS, [failure(2), failure(3), failure(3, "z")]), [
			{"scenario": "s", "peer": "qemu", "variant": "x", "failed": 2, "of": 5},
			{"scenario": "s", "peer": "qemu", "variant": "z", "failed": 1, "of": 1},
		])

	def test_the_table_says_so_where_there_is_something_to_say(self):
		table = results.table("s", RUNS, [failure(3), failure(1, "z")])

		self.assertRegex(table, r"(?m)^qemu +x +1 of 4 +6\.000")
		self.assertRegex(table, r"(?m)^qemu +z +1 of 1$")
		self.assertNotIn("failed", results.table("s", RUNS))


if __name__ == "__main__":
	unittest.main()
