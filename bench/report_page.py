# SPDX-License-Identifier: Apache-2.0
"""The page: what was measured, as tables and as plots of report_svg."""

import pathlib
import statistics

import report_results as results_of
import report_svg as svg
import report_units as units
from report_markup import tag, text
from report_results import DOWNTIME_PARTS, PEERS, field

NOTHING = "–"


def limit(bps):
	return f"at most {units.say('rate', bps)}" if bps else "without limit"


# Field that may tell runs of one scenario apart -> how its value is said.
DESCRIBE = {
	"mem_mib": lambda mib: "" if mib is None else units.say("bytes", mib * 2**20),
	"limit_bps": lambda bps: "" if bps is None else limit(bps),
}

# Column of the summary -> kind, measure.
COLUMNS = {
	"wall time": ("time", field("wall_s")),
	"CPU per GiB": ("cpu", results_of.cpu_per_gib),
	"on the wire": ("bytes", field("wire_bytes")),
	"downtime": ("time", field("downtime_ms", 1e-3)),
}

# Column of the table of all runs -> kind, measure.
RUN_COLUMNS = {
	"wall time": ("time", field("wall_s")),
	"CPU": ("time", field("machine_cpu_s")),
	"in softirqs": ("time", field("softirq_s")),
	"stolen": ("time", field("steal_s")),
	"on the wire": ("bytes", field("wire_bytes")),
	"downtime": ("time", field("downtime_ms", 1e-3)),
	"waited for pages": ("time", field("vcpu_blocked_ms", 1e-3)),
	"guest wrote": ("rate", field("write_bps")),
}

RATIO_OF = {
	"wall_s": "wall time",
	"machine_cpu_s": "CPU time",
	"wire_bytes": "bytes on the wire",
	"downtime_ms": "downtime",
	"worst_ns": "the guest's worst access",
	"p999_ns": "p99.9 of its accesses",
	"p99_ns": "p99 of its accesses",
	"stalled_ns": "time that it was held up",
}


def style(peer):
	return peer if peer in PEERS else "other"


def row(*cells):
	return tag("tr", *cells)


def head(*titles, numbers=()):
	"""A table's head; @numbers are its columns of numbers, behind the others."""
	cells = [tag("th", text(title)) for title in titles]
	cells += [tag("th", text(title), class_="number") for title in numbers]
	return tag("thead", row(*cells))


def table(head_row, rows):
	return tag("div", tag("table", head_row, tag("tbody", "".join(rows))), class_="wide")


def number(kind, value):
	return tag("td", NOTHING if value is None else text(units.say(kind, value)), class_="number")


def name_of(contender):
	return tag("td", tag("span", "", class_=f"key {style(contender.peer)}"), text(contender.label))


def median_and_spread(kind, pairs):
	values = [value for _, value in pairs]
	if not values:
		return tag("td", NOTHING, class_="number")
	spread = units.say_range(kind, min(values), max(values))
	median = units.say(kind, statistics.median(values))
	return tag("td", text(median), tag("small", text(spread)), class_="number")


def rows_of(name, cells):
	"""Rows of @cells, with @name once in front of them all."""
	first, *others = cells
	front = tag("th", text(name), rowspan=1 + len(others))
	return [row(front, *first), *(row(*other) for other in others)]


def summary_cells(contender):
	spreads = [median_and_spread(kind, contender.values(measure))
		for kind, measure in COLUMNS.values()]
	return [name_of(contender), tag("td", str(len(contender.runs)), class_="number"), *spreads]


def summary(scenarios):
	rows = []
	for scenario in scenarios:
		rows += rows_of(scenario.name, map(summary_cells, scenario.contenders))
	titles = head("scenario", "by", numbers=["runs", *COLUMNS])
	note = tag("p", "Medians, and below them the least and the largest value. CPU is what all CPUs of"
		" the machine were busy with, both sides and the kernel included, for each GiB of guest"
		" RAM.", class_="note")
	return tag("h2", "Summary") + note + table(titles, rows)


def ratio_cells(ratio, ends):
	pairs = ratio["pairs"]
	median = ratio.get("median") or statistics.median(pairs)
	peer = results_of.peer_name(ratio["peer"])
	to = results_of.peer_name(ratio.get("to") or "wherry")
	return [
		tag("td", text(RATIO_OF.get(ratio["of"], ratio["of"]))),
		tag("td", tag("span", "", class_=f"key {style(ratio['peer'])}"), text(f"{peer} / {to}")),
		tag("td", tag("strong", text(units.digits(median))), class_="number"),
		tag("td", svg.ratio_strip(pairs, median, ends, style(ratio["peer"]))),
		tag("td", text(" ".join(units.digits(value) for value in pairs))),
	]


def ratios(results):
	given = [ratio for ratio in results.get("ratios") or [] if ratio["pairs"]]
	if not given:
		return ""
	every = [value for ratio in given for value in ratio["pairs"]]
	ends = min(every), max(every)
	rows = []
	for name, members in results_of.group(given, lambda ratio: ratio["scenario"]).items():
		rows += rows_of(name, [ratio_cells(ratio, ends) for ratio in members])
	note = tag("p", "Pair by pair, what the first needed divided by what the second needed: above 1,"
		" the second needed less. A dot is a pair, the thick stroke their median. The scale is"
		" logarithmic and the same in all rows.", class_="note")
	titles = head("scenario", "of", "ratio", "median", "pairs", "each pair")
	return tag("h2", "Ratios") + note + table(titles, rows)


def reasons(results, failed):
	"""Why a variant failed, pair by pair."""
	same = ("scenario", "peer", "variant")
	given = [failure for failure in results.get("failures") or []
		if all(failure.get(name) == failed.get(name) for name in same)]
	return "; ".join(f"pair {failure.get('pair')}: {failure.get('reason')}" for failure in given)


def failed_cells(results, failed):
	label = f"{results_of.peer_name(failed['peer'])} {failed.get('variant') or ''}".strip()
	count = f"{failed['failed']} of {failed['of']}"
	return [tag("td", tag("span", "", class_=f"key {style(failed['peer'])}"), text(label)),
		tag("td", text(count), class_="number"), tag("td", text(reasons(results, failed)))]


def failures(results):
	rows = []
	given = results.get("failed") or []
	for name, members in results_of.group(given, lambda failed: failed["scenario"]).items():
		rows += rows_of(name, [failed_cells(results, failed) for failed in members])
	if not rows:
		return ""
	note = tag("p", "Samples that nothing came of. Each was tried again; a pair in which that failed, too,"
		" has no ratio.", class_="note")
	return tag("h2", "Failed") + note + table(head("scenario", "by", "failed", "why"), rows)


def figure(title, note, plot):
	"""@plot is markup, or empty: then there is nothing to show."""
	if not plot:
		return ""
	return tag("figure", tag("h3", text(title)), tag("p", text(note), class_="note"), plot)


def plot_rows(scenario, measure):
	rows = []
	for contender in scenario.contenders:
		pairs = contender.values(measure)
		if pairs:
			named = [(f"pair {pair}", value) for pair, value in pairs]
			median = statistics.median(value for _, value in pairs)
			rows.append(svg.Row(contender.label, style(contender.peer), named, median))
	return rows


def wall_times(scenario):
	lines, of_peer = [], {}
	for contender in scenario.contenders:
		points = contender.values(field("wall_s"))
		if points:
			nth = of_peer.get(contender.peer, 0)
			of_peer[contender.peer] = nth + 1
			shape = svg.SHAPES[nth % len(svg.SHAPES)]
			lines.append(svg.Line(contender.label, style(contender.peer), shape, sorted(points)))
	return figure("Wall time of each pair", "A mark is a run.",
		svg.by_pair(lines, "time", "wall time") if lines else "")


def cpu(scenario):
	rows = plot_rows(scenario, results_of.cpu_per_gib)
	return figure("CPU for each GiB of guest RAM",
		"Bar: median. Whisker: least to largest. The whole machine, both sides.",
		svg.bars(rows, "cpu", "CPU time") if rows else "")


def sample_points(samples, name):
	return [(sample["t_s"], sample[name]) for sample in samples if sample.get(name) is not None]


def round_marks(run):
	"""Where each round is first seen."""
	marks, before = [], None
	for sample in run["samples"]:
		current = sample.get("round")
		if current is not None and current != before:
			marks.append((sample["t_s"], str(current) if marks else f"round {current}"))
			before = current
	return marks


def throughput(contender):
	run = results_of.typical(contender, "samples")
	if not run:
		return ""
	# What the guest dirties is measured by whole rounds: during the first there is no value.
	later = [sample for sample in run["samples"] if sample.get("round") != 1]
	lines = [
		svg.Line("sent", "rate", "", sample_points(run["samples"], "rate_bps")),
		svg.Line("dirtied by the guest", "dirty", "",
			sample_points(later, "dirty_bps")),
	]
	lines = [line for line in lines if line.points]
	if not lines:
		return ""
	plot = svg.over_time(lines, "rate", round_marks(run), run.get("limit_bps") or 0)
	return figure(f"Throughput over time: {contender.label}",
		f"Pair {run['pair']}, whose wall time is in the middle. Dotted strokes: a round begins."
		" What the guest dirties is measured by whole rounds, so from the second one on.",
		plot)


def downtime(scenario):
	rows = plot_rows(scenario, field("downtime_ms", 1e-3))
	return figure("Downtime", "A dot is a run, the stroke is the median.",
		svg.strips(rows, "time", "downtime") if rows else "")


def downtime_parts(contender):
	rows = []
	for run in contender.runs:
		if run.get("downtime"):
			given = [run["downtime"].get(f"{part}_ns") or 0 for part in DOWNTIME_PARTS]
			rows.append((f"pair {run['pair']}", [ns * 1e-9 for ns in given]))
	names = {"device": "device state"}
	parts = [(names.get(part, part), part) for part in DOWNTIME_PARTS]
	return figure(f"What the downtime is made of: {contender.label}",
		"A bar is a run. Its parts follow each other from left to right.",
		svg.stacks(rows, parts, "time", "downtime") if rows else "")


def guest_latencies(run):
	"""(upper end in nanoseconds, count) of each bucket."""
	return (run.get("latency_ns") or {}).get("buckets") or []


def fault_latencies(run):
	"""The same; the n-th of these counts is of 2^n up to 2^(n+1) nanoseconds."""
	return [(2 << n, count) for n, count in enumerate(run.get("fault_ns_log2") or [])]


def added_up(contender, buckets):
	"""The buckets of all its runs: (upper end in seconds, count), ascending. buckets: run -> them"""
	counts = {}
	for run in contender.runs:
		for upper_ns, count in buckets(run):
			counts[upper_ns] = counts.get(upper_ns, 0) + count
	return [(upper_ns * 1e-9, counts[upper_ns]) for upper_ns in sorted(counts)]


def histogram(scenario, buckets, title, what):
	lines = []
	for contender in scenario.contenders:
		points = added_up(contender, buckets)
		if any(count for _, count in points):
			lines.append(svg.Line(contender.label, style(contender.peer), "", points))
	return figure(title,
		"All runs together. Both scales are logarithmic, so that what is rare shows.",
		svg.histogram(lines, what) if lines else "")


def latencies(scenario):
	return [
		histogram(scenario, guest_latencies, "Latency inside the guest", "latency"),
		histogram(scenario, fault_latencies, "How long the guest waited for a page", "wait"),
	]


def all_runs(scenario):
	rows = []
	for contender in scenario.contenders:
		for run in contender.runs:
			numbers = [number(kind, measure(run)) for kind, measure in RUN_COLUMNS.values()]
			rows.append(row(name_of(contender), tag("td", text(run["pair"]), class_="number"),
				*numbers))
	titles = head("by", numbers=["pair", *RUN_COLUMNS])
	note = tag("p", "Stolen is CPU time that the hypervisor below took away: much of it spoils a run.",
		class_="note")
	return tag("details", tag("summary", "Every run"), note, table(titles, rows))


def common(scenario):
	"""What all runs of the scenario share, in words."""
	said = []
	for name, describe in DESCRIBE.items():
		values = {run.get(name) for run in scenario.runs}
		if len(values) == 1 and values != {None}:
			said.append(describe(values.pop()))
	return tag("p", text(", ".join(said)), class_="note") if said else ""


def section(scenario):
	figures = [wall_times(scenario), cpu(scenario), downtime(scenario), *latencies(scenario)]
	for contender in scenario.contenders:
		figures += [throughput(contender), downtime_parts(contender)]
	return tag("section", tag("h2", text(scenario.name)), common(scenario),
		tag("div", *figures, class_="figures"), all_runs(scenario))


def plain(value):
	"""A value of any kind, in words."""
	if isinstance(value, bool):
		return "yes" if value else "no"
	return ", ".join(map(plain, value)) if isinstance(value, list) else str(value)


def facts(results):
	"""Machine, versions and options, whatever there is."""
	found = [("started", results.get("started"))]
	for part in ("machine", "versions", "options"):
		found += (results.get(part) or {}).items()
	items = []
	for name, value in found:
		if name == "memory_mib" and value is not None:
			name, value = "memory", units.say("bytes", value * 2**20)
		if value is not None:
			name = name.replace("_", " ")
			items.append(tag("div", tag("dt", text(name)), tag("dd", text(plain(value)))))
	return tag("dl", *items, class_="facts") if items else ""


def page(results):
	"""The whole page, for what report_results.load() returned."""
	scenarios = results_of.scenarios(results, DESCRIBE)
	css = pathlib.Path(__file__).with_name("report.css").read_text(encoding="utf-8")
	title = "Wherry: live migration, measured"
	head_part = tag("head", tag("meta", charset="utf-8"),
		tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
		tag("title", title), tag("style", css))
	body = tag("body", tag("h1", title), facts(results), summary(scenarios), ratios(results),
		failures(results), *(section(scenario) for scenario in scenarios))
	return "<!DOCTYPE html>\n" + tag("html", head_part, body, lang="en") + "\n"
