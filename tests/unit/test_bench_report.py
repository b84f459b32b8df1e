#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/report. Run as: test_bench_report.py SOURCE_ROOT"""

import copy
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(sys.argv.pop(1)).resolve()
sys.path.insert(0, str(ROOT / "bench"))

import report_page  # noqa: E402 (the path is set above)
import report_svg  # noqa: E402
import report_units  # noqa: E402

MIB = 2**20
HOSTILE = "<script>alert('a&b')</script>\" \u0000\ud800"


def run(peer, pair, wall_s, **others):
	return {"scenario": "random", "peer": peer, "pair": pair, "mem_mib": 2048, "limit_bps": 0,
		"wall_s": wall_s, "machine_cpu_s": wall_s * 2, "wire_bytes": 2048 * MIB, **others}


def results():
	"""Two contenders, three pairs."""
	parts = {"stop_ns": 4e6, "scan_ns": 1e6, "pages_ns": 100e6, "device_ns": 20e6,
		"resume_ns": 75e6}
	samples = [{"t_s": t, "rate_bps": 100 * MIB, "dirty_bps": 30 * MIB, "left_bytes": 0,
		"round": 1 + t // 2} for t in range(6)]
	running = {"downtime_ms": 200, "downtime": parts, "samples": samples,
		"latency_ns": {"buckets": [[1000, 900], [2000, 90], [1000000, 10]]}}
	runs = [run("qemu", pair, wall_s, variant="multifd-4")
		for pair, wall_s in ((1, 2.71), (2, 2.83), (3, 3.95))]
	runs += [run("wherry", pair, wall_s, variant="2 connections", **running)
		for pair, wall_s in ((1, 1.61), (2, 1.52), (3, 1.43))]
	return {
		"format": 1, "started": "2024-05-06T07:08:09Z",
		"machine": {"cpus": 2, "memory_mib": 8192, "kernel": "6.12.1"},
		"versions": {"wherry": "0.1.0"}, "options": {"pairs": 3}, "runs": runs,
		"ratios": [{"scenario": "random", "of": "wall_s", "peer": "qemu", "to": "wherry",
			"pairs": [1.68, 1.86, 2.76], "median": 1.86}],
	}


def parsed(given):
	"""The page's root. That it parses says that the page is well-formed."""
	return ElementTree.fromstring(report_page.page(given).encode())


def titles(root):
	return [title.text for title in root.iter("title")]


def figure(root, heading):
	return next(f for f in root.iter("figure") if f.find("h3").text.startswith(heading))


def cells(root):
	"""The texts of each table's rows."""
	return [[["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
		for table in root.iter("table")]


def plain(string):
	return string.replace("\u00a0", " ")


class Page(unittest.TestCase):
	def test_has_every_run_in_plot_and_table(self):
		root = parsed(results())

		marks = list(map(plain, titles(figure(root, "Wall time"))))
		rows = [list(map(plain, row)) for row in cells(root)[-1]]
		for label, walls in (("QEMU multifd-4", (2.71, 2.83, 3.95)),
				("Wherry 2 connections", (1.61, 1.52, 1.43))):
			for pair, wall_s in enumerate(walls, 1):
				self.assertIn(f"{label}, pair {pair}: {wall_s} s", marks)
				self.assertIn([label, str(pair), f"{wall_s} s", f"{wall_s * 2:.2f} s"],
					[row[:4] for row in rows])
		self.assertEqual(len(rows), 1 + 6)

	def test_sums_up_by_median_and_spread(self):
		_, wherry, qemu = [list(map(plain, row)) for row in cells(parsed(results()))[0]]

		self.assertEqual(wherry, ["random", "Wherry 2 connections", "3", "1.52 s1.43 to 1.61 s",
			"1.52 s/GiB1.43 to 1.61 s/GiB", "2.00 GiB2.00 to 2.00 GiB",
			"200 ms200 to 200 ms"])
		self.assertEqual(qemu[:3], ["QEMU multifd-4", "3", "2.83 s2.71 to 3.95 s"])
		self.assertEqual(qemu[-1], "–")

	def test_shows_all_pairs_of_a_ratio(self):
		root = parsed(results())

		_, row = cells(root)[1]
		self.assertEqual([row[0], row[1], row[2], row[3]],
			["random", "wall time", "QEMU / Wherry", "1.86"])
		self.assertEqual(row[5], "1.68 1.86 2.76")
		for shown in ("pair 1: 1.68", "pair 2: 1.86", "pair 3: 2.76"):
			self.assertIn(shown, titles(root))

	def test_shows_what_failed_and_why(self):
		given = results()
		who = {"scenario": "random", "peer": "qemu", "variant": "multifd-4"}
		given["failed"] = [{**who, "failed": 2, "of": 5}]
		given["failures"] = [{**who, "pair": pair, "reason": why} for pair, why in ((1, "hung"), (3, "<&"))]

		root = parsed(given)

		self.assertIn([["scenario", "by", "failed", "why"],
			["random", "QEMU multifd-4", "2 of 5", "pair 1: hung; pair 3: <&"]], cells(root))
		self.assertNotIn("Failed", [heading.text for heading in parsed(results()).iter("h2")])

	def test_takes_the_median_of_a_ratio_from_the_file_or_from_the_pairs(self):
		for median, shown in ((1.9, "1.90"), (None, "1.86")):
			given = results()
			given["ratios"][0]["median"] = median
			self.assertEqual(cells(parsed(given))[1][1][3], shown)

	def test_shows_samples_of_the_run_of_median_wall_time(self):
		for walls, pair in (((3, 1, 2), 3), ((1, 2, 3), 2), ((2, 1, 3), 1)):
			given = results()
			for measured, wall_s in zip(given["runs"][3:], walls):
				measured["wall_s"] = wall_s
			note = figure(parsed(given), "Throughput").find("p").text
			self.assertTrue(note.startswith(f"Pair {pair},"), note)

	def test_begins_the_dirty_rate_with_the_second_round(self):
		plot = figure(parsed(results()), "Throughput")

		begin = [float(e.get("x1")) for e in plot.iter("line") if e.get("class") == "round"]
		starts = {e.get("class"): float(e.get("d").split(",")[0].lstrip("M"))
			for e in plot.findall("svg/path")}
		self.assertAlmostEqual(starts["line rate"], begin[0], delta=0.02)
		self.assertAlmostEqual(starts["line dirty"], begin[1], delta=0.02)

	def test_draws_the_limit_where_the_axis_says(self):
		given = results()
		for measured in given["runs"]:
			measured["limit_bps"] = 100 * MIB

		plot = figure(parsed(given), "Throughput")

		ticks = {e.text: float(e.get("y")) - 4 for e in plot.iter("text") if e.get("class") == "tick"}
		limit = [e for e in plot.iter("path") if e.get("class") == "line limit"][-1]
		self.assertAlmostEqual(float(limit.get("d").split(",")[-1]), ticks["100"], delta=0.02)
		self.assertIn("limit 100 MiB/s", [plain(e.text) for e in plot.iter("text")])

	def test_marks_where_rounds_begin(self):
		plot = figure(parsed(results()), "Throughput")

		marks = [e for e in plot.iter("line") if e.get("class") == "round"]
		names = [e.text for e in plot.iter("text") if e.get("class") == "round-name"]
		self.assertEqual(names, ["round 1", "2", "3"])
		places = [float(mark.get("x1")) for mark in marks]
		self.assertAlmostEqual(places[2] - places[1], places[1] - places[0], delta=0.05)

	def test_stacks_the_parts_of_the_downtime(self):
		plot = figure(parsed(results()), "What the downtime is made of")

		bars = [e for e in plot.iter("rect") if e.find("title") is not None]
		first = [float(bar.get("width")) for bar in bars[:5]]
		self.assertEqual(len(bars), 3 * 5)
		self.assertAlmostEqual(first[2] / first[3], 100 / 20, delta=0.01)
		for before, after in zip(bars[:4], bars[1:5]):
			end = float(before.get("x")) + float(before.get("width"))
			self.assertAlmostEqual(end, float(after.get("x")), delta=0.02)

	def test_adds_up_latencies_of_all_runs(self):
		given = results()
		given["runs"][3]["latency_ns"] = {"buckets": [[1000, 100], [2000, 900]]}
		given["runs"][4]["latency_ns"] = {"buckets": [[1000, 8900], [1000000, 90]]}
		given["runs"][5]["latency_ns"] = {"buckets": [[1000000, 10]]}

		plot = figure(parsed(given), "Latency")

		self.assertEqual(list(map(plain, titles(plot))), [
			"Wherry 2 connections, 500 ns to 1.00 µs: 90.0 %",
			"Wherry 2 connections, 1.00 to 2.00 µs: 9.00 %",
			"Wherry 2 connections, 2.00 µs to 1.00 ms: 1.00 %",
		])
		tops = [float(e.get("y")) for e in plot.iter("rect") if e.find("title") is not None]
		ticks = {e.text: float(e.get("y")) - 4 for e in plot.iter("text") if e.get("class") == "tick"}
		self.assertAlmostEqual(tops[2], ticks["1 %"], delta=0.02)
		self.assertAlmostEqual(tops[1] - tops[0], ticks["1 %"] - ticks["10 %"], delta=0.02)

	def test_adds_up_waits_for_pages_by_powers_of_two(self):
		given = results()
		for run in given["runs"]:
			run.pop("latency_ns", None)
		given["runs"][3]["fault_ns_log2"] = [0] * 10 + [50, 10]
		given["runs"][4]["fault_ns_log2"] = [0] * 10 + [40]

		plot = figure(parsed(given), "How long the guest waited")

		self.assertEqual(list(map(plain, titles(plot))), [
			"Wherry 2 connections, 1.02 to 2.05 µs: 90.0 %",
			"Wherry 2 connections, 2.05 to 4.10 µs: 10.0 %",
		])

	def test_shows_what_only_some_runs_have(self):
		given = results()
		given["runs"][0].update({"vcpu_blocked_ms": 580, "write_bps": 512 * MIB})

		rows = [list(map(plain, row)) for row in cells(parsed(given))[-1]]

		self.assertEqual(rows[0][-2:], ["waited for pages", "guest wrote"])
		self.assertIn(["580 ms", "512 MiB/s"], [row[-2:] for row in rows])
		self.assertIn(["–", "–"], [row[-2:] for row in rows])

	def test_tells_runs_with_other_memory_apart(self):
		given = results()
		given["runs"].append(run("qemu", 4, 9.5, variant="multifd-4", mem_mib=4096))

		labels = [row[-6] for row in cells(parsed(given))[0][1:]]

		self.assertEqual(list(map(plain, labels)), ["Wherry 2 connections 2.00 GiB",
			"QEMU multifd-4 2.00 GiB", "QEMU multifd-4 4.00 GiB"])

	def test_escapes_every_text(self):
		given = results()
		for place in (given["runs"][0], given["runs"][4], given["ratios"][0]):
			place.update({"scenario": HOSTILE, "peer": HOSTILE})
		given["runs"][4]["variant"] = HOSTILE
		given["ratios"][0].update({"of": HOSTILE, "to": HOSTILE})
		given["started"] = HOSTILE
		for part in ("machine", "versions", "options"):
			given[part] = {HOSTILE: HOSTILE, "list": [HOSTILE]}

		root = parsed(given)

		shown = HOSTILE.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
		self.assertEqual(list(root.iter("script")), [])
		self.assertIn(shown, [heading.text for heading in root.iter("h2")])
		self.assertGreaterEqual(sum(e.text == shown for e in root.iter("dd")), 4)

	def test_needs_nothing_from_elsewhere(self):
		root = parsed(results())

		for element in root.iter():
			self.assertNotIn(element.tag, ("script", "link", "img", "iframe", "object"))
			self.assertEqual({"src", "href"} & set(element.keys()), set())
		self.assertNotIn("url(", root.find("head/style").text)
		self.assertNotIn("@import", root.find("head/style").text)

	def test_does_without_what_is_optional(self):
		bare = {"format": 1, "runs": [{"scenario": "s", "peer": "wherry"}]}
		nulls = copy.deepcopy(bare)
		nulls["runs"][0].update(dict.fromkeys(("pair", "wall_s", "samples", "downtime"), None))
		nulls.update({"machine": None, "ratios": None})

		for given in (bare, nulls, {"format": 1, "runs": []}):
			self.assertEqual(list(parsed(given).iter("figure")), [])

	def test_draws_what_is_zero(self):
		given = {"format": 1, "runs": [{"scenario": "s", "peer": "new", "mem_mib": 1, "wall_s": 0,
			"machine_cpu_s": 0, "downtime_ms": 0, "downtime": {"stop_ns": 0},
			"samples": [{"t_s": 0, "rate_bps": 0}],
			"latency_ns": {"buckets": [[1, 0]]}}]}

		self.assertEqual(len(list(parsed(given).iter("figure"))), 5)


class Plots(unittest.TestCase):
	def test_bars_are_as_long_as_their_values(self):
		rows = [svg_row("a", [1, 2, 3]), svg_row("b", [5, 6, 7]), svg_row("c", [0, 0, 0])]

		drawn = ElementTree.fromstring(report_svg.bars(rows, "time", "wall time"))

		a, b, c = [float(bar.get("width")) for bar in drawn.iter("rect")]
		self.assertAlmostEqual(b / a, 6 / 2, delta=0.001)
		self.assertEqual(c, 0)

	def test_dots_are_where_the_axis_says(self):
		drawn = ElementTree.fromstring(report_svg.strips([svg_row("a", [2, 4, 8])], "time", "time"))

		ticks = {e.text: float(e.get("x")) for e in drawn.iter("text") if e.get("class") == "tick"}
		places = [float(dot.get("cx")) for dot in drawn.iter("circle")]
		for place, tick in zip(places, "248", strict=True):
			self.assertAlmostEqual(place, ticks[tick], delta=0.02)
		self.assertAlmostEqual(median_of(drawn), ticks["4"], delta=0.02)

	def test_equal_ratios_are_equally_far_apart(self):
		drawn = ElementTree.fromstring(report_svg.ratio_strip([0.5, 1, 2, 4], 2, (0.5, 40), "qemu"))

		half, one, two, four = [float(dot.get("cx")) for dot in drawn.iter("circle")]
		self.assertAlmostEqual(one - half, two - one, delta=0.03)
		self.assertAlmostEqual(two - one, four - two, delta=0.03)
		self.assertEqual(median_of(drawn), two)
		stroke = next(e for e in drawn.iter("line") if e.get("class") == "one")
		self.assertEqual(float(stroke.get("x1")), one)

	def test_values_far_apart_are_on_a_logarithmic_scale(self):
		lines = [report_svg.Line("a", "wherry", "circle", [(1, 0.05), (2, 0.5), (3, 5)])]

		drawn = ElementTree.fromstring("<div>" + report_svg.by_pair(lines, "time", "time") + "</div>")

		self.assertIn("time (s), logarithmic", [e.text for e in drawn.iter("text")])
		places = [float(e.get("cy")) for e in drawn.iter("circle") if e.find("title") is not None]
		self.assertAlmostEqual(places[0] - places[1], places[1] - places[2], delta=0.03)
		self.assertGreater(places[0] - places[1], 20)

	def test_an_axis_has_a_few_round_numbers_and_holds_the_largest(self):
		for largest in (0, 0.00123, 0.7, 1, 3, 9.99, 10, 1234567, 2**60):
			scale = report_svg.Linear(largest, 0, 100)
			values = [value for value, _ in scale.ticks()]
			self.assertEqual(values[0], 0)
			self.assertGreaterEqual(values[-1] * (1 + 1e-9), largest)
			self.assertLessEqual(largest / 2, values[-1])
			self.assertIn(len(values), range(3, 8), largest)

	def test_numbers_have_three_digits_and_a_unit(self):
		for kind, value, shown in (("time", 1.6789, "1.68 s"), ("time", 0.0473, "47.3 ms"),
				("time", 123.4, "123 s"), ("time", 0, "0 s"), ("bytes", 0, "0 B"), ("bytes", 1536, "1.50 KiB"),
				("rate", 128 * MIB, "128 MiB/s"), ("cpu", 0.0123, "0.0123 s/GiB")):
			self.assertEqual(plain(report_units.say(kind, value)), shown)


def svg_row(label, values):
	named = [(f"pair {i}", value) for i, value in enumerate(values, 1)]
	return report_svg.Row(label, "wherry", named, sorted(values)[len(values) // 2])


def median_of(drawn):
	"""Where the stroke is that marks the median."""
	return float(next(e for e in drawn.iter("line") if e.get("class") == "median").get("x1"))


class Command(unittest.TestCase):
	def setUp(self):
		directory = tempfile.TemporaryDirectory()
		self.addCleanup(directory.cleanup)
		self.results = os.path.join(directory.name, "results.json")
		self.page = os.path.join(directory.name, "page.html")

	def report(self, content):
		pathlib.Path(self.results).write_bytes(content)
		command = [sys.executable, str(ROOT / "bench" / "report"), self.results, "-o", self.page]
		return subprocess.run(command, capture_output=True, text=True, check=False)

	def refused(self, content):
		"""What the command says, behind the file's name."""
		done = self.report(content)
		self.assertEqual(done.returncode, 1, done.stderr)
		self.assertFalse(os.path.exists(self.page))
		start = f"report: {self.results}:"
		self.assertTrue(done.stderr.startswith(start), done.stderr)
		return done.stderr.removeprefix(start).strip()

	def test_writes_the_page(self):
		done = self.report(json.dumps(results()).encode())

		self.assertEqual((done.returncode, done.stderr), (0, ""))
		written = pathlib.Path(self.page).read_text(encoding="utf-8")
		self.assertEqual(written, report_page.page(results()))

	def test_refuses_another_format(self):
		for wrong in ({"format": 2, "runs": []}, {"runs": []}):
			self.assertRegex(self.refused(json.dumps(wrong).encode()),
				r"^format: expected 1, found (2|null)$")
		self.assertEqual(self.refused(b"[]"), "expected an object, found []")

	def test_refuses_broken_json_and_says_where(self):
		self.assertRegex(self.refused(b'{\n "format": 1,\n "runs": }'), "^3:10: not JSON: ")
		self.assertEqual(self.refused(b'{"format": NaN}'), "NaN is not a number in JSON")
		self.assertEqual(self.refused(b'{"a": "\xff"}'), "byte 7 is not UTF-8")

	def test_refuses_wrong_values_and_says_where(self):
		number = "0 or a number from 1e-12 to 2^64"
		for path, value, said in (
			(("runs", 1, "wall_s"), "x", f'runs[1].wall_s: expected {number}, found "x"'),
			(("runs", 1, "wall_s"), False, f"runs[1].wall_s: expected {number}, found false"),
			(("runs", 1, "wall_s"), 1e-300, f"runs[1].wall_s: expected {number}, found 1e-300"),
			(("runs", 1, "wall_s"), -1, f"runs[1].wall_s: expected {number}, found -1"),
			(("runs", 0, "peer"), None, "runs[0].peer is missing"),
			(("runs", 3, "samples", 2, "t_s"), None, "runs[3].samples[2].t_s is missing"),
			(("runs", 3, "latency_ns", "buckets", 0), [1],
				"runs[3].latency_ns.buckets[0]: expected [upper_ns, count], found [1]"),
			(("runs", 3, "fault_ns_log2"), [1] * 65,
				"runs[3].fault_ns_log2: expected at most 64 counts, found [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ..."),
			(("ratios", 0, "pairs", 1), 0,
				"ratios[0].pairs[1]: expected a number from 1e-12 to 2^64, found 0"),
			(("runs",), {}, "runs: expected a list, found {}"),
		):
			given = results()
			place = given
			for key in path[:-1]:
				place = place[key]
			place[path[-1]] = value
			self.assertEqual(self.refused(json.dumps(given).encode()), said)

	def test_says_which_file_is_missing(self):
		command = [sys.executable, str(ROOT / "bench" / "report"), self.results]
		done = subprocess.run(command, capture_output=True, text=True, check=False)

		self.assertEqual(done.returncode, 1)
		self.assertEqual(done.stderr, f"report: {self.results}: No such file or directory\n")


if __name__ == "__main__":
	unittest.main()
