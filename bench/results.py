# SPDX-License-Identifier: Apache-2.0
"""What comes out of runs: the fastest variants, ratios pair by pair, and a table for people.

Runs are what was measured, failures the samples that nothing came of: both are dictionaries that say
which scenario, pair, peer and variant.
"""

import statistics

TO = "wherry"

# A quantity, its title in the table, and how to show it.
QUANTITIES = (
	("wall_s", "wall, s", lambda value: f"{value:.3f}"),
	("machine_cpu_s", "CPU, s", lambda value: f"{value:.2f}"),
	("wire_bytes", "wire, MiB", lambda value: f"{value / (1 << 20):.1f}"),
	("downtime_ms", "downtime, ms", lambda value: f"{value:.1f}"),
	("gap_ms", "gap, ms", lambda value: f"{value:.1f}"),
	("handover_ms", "hand-over, ms", lambda value: f"{value:.1f}"),
	("worst_ns", "worst, ms", lambda value: f"{value / 1e6:.1f}"),
	("p999_ns", "p99.9, us", lambda value: f"{value / 1e3:.0f}"),
	("p99_ns", "p99, us", lambda value: f"{value / 1e3:.0f}"),
	("stalled_ns", "stalled, s", lambda value: f"{value / 1e9:.2f}"),
)


def names(samples, key):
	"""Values of a key in the order in which they came."""
	return list(dict.fromkeys(sample[key] for sample in samples))


def having(samples, **wanted):
	return [sample for sample in samples if all(sample[key] == wanted[key] for key in wanted)]


def failed(runs, failures):
	"""Of each variant that has failed: how often, and of how many samples."""
	found = []
	for failure in failures:
		who = {key: failure[key] for key in ("scenario", "peer", "variant")}
		bad, good = having(failures, **who), having(runs, **who)
		if failure is bad[0]:
			found.append({**who, "failed": len(bad), "of": len(bad) + len(good)})
	return found


def lost(runs, failures):
	"""Of one peer in a scenario: pairs in which a variant has failed and did not move the guest later.

	Who knows how fast it would have been: such a pair has no fastest variant.
	"""
	return {failure["pair"] for failure in failures
		if not having(runs, pair=failure["pair"], variant=failure["variant"])}


def fastest(runs, failures, peer):
	"""Of one scenario: pair -> the peer's run that counts, which is the one that took least time."""
	mine = having(runs, peer=peer)
	left_out = lost(mine, having(failures, peer=peer))
	best = {}
	for run in mine:
		known = best.get(run["pair"])
		if run["pair"] not in left_out and (not known or run["wall_s"] < known["wall_s"]):
			best[run["pair"]] = run
	return best


def quotients(theirs, ours, of):
	"""Of each pair where both have it; CPU time below a clock tick divides nothing."""
	return [round(theirs[pair][of] / ours[pair][of], 4) for pair in sorted(theirs)
		if pair in ours and of in theirs[pair] and ours[pair].get(of)]


def ratios(runs, failures=()):
	found = []
	for scenario in names(runs, "scenario"):
		here = having(runs, scenario=scenario), having(failures, scenario=scenario)
		ours = fastest(*here, TO)
		for peer in names(here[0], "peer"):
			theirs = fastest(*here, peer)
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


def measured(peer, variant, runs, failures=()):
	"""A row of the table."""
	fails = f"{len(failures)} of {len(failures) + len(runs)}" if failures else ""
	return [peer, variant, fails, *(spread([run[of] for run in runs if of in run], show)
		for of, _, show in QUANTITIES)]


def compared(peer, found):
	"""A row of the table: a peer's ratios."""
	pairs = {ratio["of"]: ratio["pairs"] for ratio in found if ratio["peer"] == peer}
	return [f"{peer}/{TO}", "pair by pair", "",
		*(spread(pairs.get(of, []), lambda value: f"{value:.2f}") for of, _, _ in QUANTITIES)]


def rows(runs, failures):
	samples = [*runs, *failures]
	peers = sorted(names(samples, "peer"), key=lambda name: name != TO)
	for peer in peers:
		variants = sorted(names(having(samples, peer=peer), "variant"))
		for variant in variants:
			who = {"peer": peer, "variant": variant}
			yield measured(peer, variant, having(runs, **who), having(failures, **who))
		if len(variants) > 1:
			yield measured(peer, "fastest", list(fastest(runs, failures, peer).values()))
	found = ratios(runs, failures)
	for peer in peers:
		if peer != TO:
			yield compared(peer, found)


def table(scenario, runs, failures=()):
	"""Text: all runs of one scenario, and its ratios. What nobody measures has no column."""
	titles = ["peer", "variant", "failed", *(title for _, title, _ in QUANTITIES)]
	body = list(rows(having(runs, scenario=scenario), having(failures, scenario=scenario)))
	columns = [[title, *cells] for title, *cells in zip(titles, *body) if any(cells)]
	widths = [max(map(len, column)) for column in columns]
	return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in zip(*columns))
