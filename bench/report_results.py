# SPDX-License-Identifier: Apache-2.0
"""What bench/run measured: read, checked and grouped.

A field that is null is missing, and most may be. Fields that are not known here are passed over.
"""

import dataclasses
import json
import statistics

FORMAT = 1
# No measurement is outside, and within these all arithmetic here is safe.
NUMBER_MIN = 1e-12
NUMBER_MAX = 2**64
BITS = 64

# In this order, and the others behind them.
PEERS = {"wherry": "Wherry", "qemu": "QEMU", "qemu-postcopy": "QEMU post-copy",
	"qemu-postcopy-plain": "QEMU post-copy without preemption", "floor": "floor",
	"iperf3": "iperf3"}

DOWNTIME_PARTS = ("stop", "scan", "pages", "device", "resume")


class ResultsError(Exception):
	"""What is wrong with a results file, and where."""


def wrong(place, expected, found):
	shown = json.dumps(found)
	shown = shown if len(shown) <= 40 else shown[:40] + "..."
	return ResultsError(f"{place}: expected {expected}, found {shown}")


def text(value, place):
	if not isinstance(value, str):
		raise wrong(place, "a text", value)


def is_positive(value):
	is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
	return is_number and NUMBER_MIN <= value < NUMBER_MAX


def positive(value, place):
	if not is_positive(value):
		raise wrong(place, "a number from 1e-12 to 2^64", value)


def number(value, place):
	# True and False are equal to numbers, too.
	if not is_positive(value) and (value != 0 or value is False):
		raise wrong(place, "0 or a number from 1e-12 to 2^64", value)


def bucket(value, place):
	if not isinstance(value, list) or len(value) != 2:
		raise wrong(place, "[upper_ns, count]", value)
	positive(value[0], f"{place}[0]")
	number(value[1], f"{place}[1]")


def list_of(check):
	def checked(value, place):
		if not isinstance(value, list):
			raise wrong(place, "a list", value)
		for index, item in enumerate(value):
			check(item, f"{place}[{index}]")
	return checked


def log2_counts(value, place):
	"""Counts by powers of two: a 64-bit number has no more."""
	list_of(number)(value, place)
	if len(value) > BITS:
		raise wrong(place, f"at most {BITS} counts", value)


def inside(place, name):
	return f"{place}.{name}" if place else name


def record(required=(), **fields):
	def checked(value, place):
		if not isinstance(value, dict):
			raise wrong(place, "an object", value)
		for name in required:
			if value.get(name) is None:
				raise ResultsError(f"{inside(place, name)} is missing")
		for name, check in fields.items():
			if value.get(name) is not None:
				check(value[name], inside(place, name))
	return checked


RUN = record(
	required=("scenario", "peer"),
	scenario=text, peer=text, variant=text, pair=number, mem_mib=number, limit_bps=number,
	wall_s=number, machine_cpu_s=number, softirq_s=number, steal_s=number, wire_bytes=number,
	downtime_ms=number, vcpu_blocked_ms=number, write_bps=number, missed_zero_copy=number,
	accesses=number, worst_ns=number, p999_ns=number, p99_ns=number, stalled_ns=number,
	downtime=record(**{f"{part}_ns": number for part in DOWNTIME_PARTS}),
	samples=list_of(record(required=("t_s",), t_s=number, rate_bps=number, dirty_bps=number,
		left_bytes=number, round=number)),
	latency_ns=record(buckets=list_of(bucket)), fault_ns_log2=log2_counts,
)

RATIO = record(
	required=("scenario", "of", "peer", "pairs"),
	scenario=text, of=text, peer=text, to=text, pairs=list_of(positive), median=positive,
)

FAILED = record(
	required=("scenario", "peer", "failed", "of"),
	scenario=text, peer=text, variant=text, failed=number, of=number,
)

FAILURE = record(
	required=("scenario", "peer"),
	scenario=text, peer=text, variant=text, pair=number, reason=text,
)

RESULTS = record(
	required=("runs",),
	started=text, machine=record(memory_mib=number), versions=record(), options=record(),
	runs=list_of(RUN), ratios=list_of(RATIO), failed=list_of(FAILED), failures=list_of(FAILURE),
)


def refuse_constant(name):
	raise ValueError(f"{name} is not a number in JSON")


def read(path):
	try:
		with open(path, encoding="utf-8") as f:
			return json.load(f, parse_constant=refuse_constant)
	except json.JSONDecodeError as e:
		raise ResultsError(f"{path}:{e.lineno}:{e.colno}: not JSON: {e.msg}") from None
	except OSError as e:
		raise ResultsError(f"{path}: {e.strerror}") from None
	except UnicodeDecodeError as e:
		raise ResultsError(f"{path}: byte {e.start} is not UTF-8") from None
	except ValueError as e:
		raise ResultsError(f"{path}: {e}") from None
	except RecursionError:
		raise ResultsError(f"{path}: nested too deeply for results") from None


def load(path):
	"""The file's object. Raises ResultsError if it is not one of bench/run's."""
	results = read(path)
	if not isinstance(results, dict):
		raise wrong(path, "an object", results)
	if results.get("format") != FORMAT:
		raise wrong(f"{path}: format", str(FORMAT), results.get("format"))
	try:
		RESULTS(results, "")
	except ResultsError as e:
		raise ResultsError(f"{path}: {e}") from None
	return results


@dataclasses.dataclass
class Contender:
	"""One way of moving a guest, and its runs."""

	peer: str
	label: str
	runs: list

	def values(self, measure):
		"""(pair, value) of each run that has the value. measure: run -> value or None"""
		found = ((run["pair"], measure(run)) for run in self.runs)
		return [(pair, value) for pair, value in found if value is not None]


@dataclasses.dataclass
class Scenario:
	name: str
	contenders: list

	@property
	def runs(self):
		return [run for contender in self.contenders for run in contender.runs]


def field(name, factor=1):
	"""A measure: the run's field, in other units."""
	def measure(run):
		return None if run.get(name) is None else run[name] * factor
	return measure


def cpu_per_gib(run):
	"""A measure: seconds of all CPUs for each GiB of guest RAM."""
	if run.get("machine_cpu_s") is None or not run.get("mem_mib"):
		return None
	return run["machine_cpu_s"] / (run["mem_mib"] / 1024)


def typical(contender, has):
	"""Of the runs that have the field @has, the one whose wall time is in the middle, or None."""
	runs = [run for run in contender.runs if run.get(has) and run.get("wall_s") is not None]
	if not runs:
		return None
	middle = statistics.median_low(run["wall_s"] for run in runs)
	return next(run for run in runs if run["wall_s"] == middle)


def peer_name(peer):
	return PEERS.get(peer, peer)


def peer_rank(peer):
	return list(PEERS).index(peer) if peer in PEERS else len(PEERS)


def group(items, key):
	"""Lists of items with the same key, in the order in which the keys first come."""
	groups = {}
	for item in items:
		groups.setdefault(key(item), []).append(item)
	return groups


def contenders(runs, describe):
	"""describe: maps a field to a function that says its value, for fields that tell runs apart"""
	differ = [name for name in describe if len({run.get(name) for run in runs}) > 1]
	names = ["peer", "variant", *differ]
	groups = group(runs, lambda run: tuple(run.get(name) for name in names))
	found = []
	for (peer, variant, *others), members in groups.items():
		words = [peer_name(peer), variant or ""]
		words += [describe[name](value) for name, value in zip(differ, others)]
		numbered = [{**run, "pair": run.get("pair") or number}
			for number, run in enumerate(members, 1)]
		found.append(Contender(peer, " ".join(filter(None, words)), numbered))
	return sorted(found, key=lambda contender: peer_rank(contender.peer))


def scenarios(results, describe):
	groups = group(results["runs"], lambda run: run["scenario"])
	return [Scenario(name, contenders(runs, describe)) for name, runs in groups.items()]
