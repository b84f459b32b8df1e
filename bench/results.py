# SPDX-License-Identifier: Apache-2.0
"""What comes out of runs: the fastest variants, ratios pair by pair, and a table for people."""

import statistics

TO = "wherry"

# A quantity, its title in the table, and how to show it.
QUANTITIES = (
	("wall_s", "wall, s", lambda value: f"{value:.3f}"),
	("machine_cpu_s", "CPU, s", lambda value: f"{value:.2f}"),
	("wire_bytes", "wire, MiB", lambda value: f"{value / (1 << 20):.1f}"),
	("downtime_ms", "downtime, ms", lambda value: f"{value:.1f}"),
	("worst_ns", "worst, ms", lambda value: f"{value / 1e6:.1f}"),
	("p999_ns", "p99.9, us", lambda value: f"{value / 1e3:.0f}"),
	("p99_ns", "p99, us", lambda value: f"{value / 1e3:.0f}"),
	("stalled_ns", "stalled, s", lambda value: f"{value / 1e9:.2f}"),
)


def fastest(runs, peer):
	"""Of one scenario: pair -> the peer's run that counts, which is the one that took least time."""
	best = {}
	for run in runs:
		if run["peer"] != peer:
			continue
		known = best.get(run["pair"])
		if not known or run["wall_s"] < known["wall_s"]:
			best[run["pair"]] = run
	return best


def quotients(theirs, ours, of):
	"""Of each pair where both have it; CPU time below a clock tick divides nothing."""
	return [round(theirs[pair][of] / ours[pair][of], 4) for pair in sorted(theirs)
		if pair in ours and of in theirs[pair] and ours[pair].get(of)]


def names(runs, key):
	"""Values of a key in the order in which they came."""
	return list(dict.fromkeys(run[key] for run in runs))


def ratios(runs):
	found = []
	for scenario in names(runs, "scenario"):
		here = [run for run in runs if run["scenario"] == scenario]
		ours = fastest(here, TO)
		for peer in names(here, "peer"):
			theirs = fastest(here, peer)
			for of, _, _ in QUANTITIES:
				pairs = quotients(theirs, ours, of) if peer != TO else []
				if pairs:
					found.append({"scenario": scenario, "of": of, "peer": peer, "to": TO,
						"pairs": pairs, "median": round(statistics.median(pairs), 4)})
	return found


def spread(values, show):
	"""The median, and in brackets the least and the most."""
	if not values:
		return ""
	return f"{show(statistics.median(values))} ({show(min(values))}..{show(max(values))})"


def measured(peer, variant, runs):
	"""A row of the table."""
	return [peer, variant, *(spread([run[of] for run in runs if of in run], show)
		for of, _, show in QUANTITIES)]


def compared(peer, found):
	"""A row of the table: a peer's ratios."""
	pairs = {ratio["of"]: ratio["pairs"] for ratio in found if ratio["peer"] == peer}
	return [f"{peer}/{TO}", "pair by pair", *(spread(pairs.get(of, []), lambda value: f"{value:.2f}")
		for of, _, _ in QUANTITIES)]


def rows(runs):
	peers = sorted(names(runs, "peer"), key=lambda name: name != TO)
	for peer in peers:
		mine = [run for run in runs if run["peer"] == peer]
		variants = sorted(names(mine, "variant"))
		for variant in variants:
			yield measured(peer, variant, [run for run in mine if run["variant"] == variant])
		if len(variants) > 1:
			yield measured(peer, "fastest", list(fastest(mine, peer).values()))
	found = ratios(runs)
	for peer in peers:
		if peer != TO:
			yield compared(peer, found)


def table(scenario, runs):
	"""Text: all runs of one scenario, and its ratios. What nobody measures has no column."""
	titles = ["peer", "variant", *(title for _, title, _ in QUANTITIES)]
	body = list(rows([run for run in runs if run["scenario"] == scenario]))
	columns = [[title, *cells] for title, *cells in zip(titles, *body) if any(cells)]
	widths = [max(map(len, column)) for column in columns]
	return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in zip(*columns))
