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
)


def fastest(runs, peer):
	"""Of one scenario: pair -> the peer's run that counts, which is the one that took least time."""
	best = {}
	for run in runs:
		if run["peer"] == peer:
			known = best.get(run["pair"])
			best[run["pair"]] = run if not known or run["wall_s"] < known["wall_s"] else known
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


def row(peer, variant, runs):
	cells = [spread([run[of] for run in runs if of in run], show) for of, _, show in QUANTITIES]
	return "  ".join([f"{peer:7}", f"{variant:15}", *(f"{cell:26}" for cell in cells)]).rstrip()


def table(scenario, runs):
	"""Text: all runs of one scenario, and its ratios."""
	runs = [run for run in runs if run["scenario"] == scenario]
	lines = ["  ".join(["peer   ", f"{'variant':15}",
		*(f"{title:26}" for _, title, _ in QUANTITIES)]).rstrip()]
	for peer in sorted(names(runs, "peer"), key=lambda name: name != TO):
		mine = [run for run in runs if run["peer"] == peer]
		variants = names(mine, "variant")
		if len(variants) > 1:
			lines.append(row(peer, "fastest of pair", list(fastest(mine, peer).values())))
		lines += [row(peer, variant, [run for run in mine if run["variant"] == variant])
			for variant in sorted(variants)]
	lines.append(f"ratios to {TO}, pair by pair")
	for ratio in ratios(runs):
		title = next(title for of, title, _ in QUANTITIES if of == ratio["of"]).partition(",")[0]
		lines.append(f"{ratio['peer']:7}  {title:15}  "
			+ spread(ratio["pairs"], lambda value: f"{value:.2f}"))
	return "\n".join(lines)
