# SPDX-License-Identifier: Apache-2.0
"""What bench/run can measure: one table. A scenario is a guest, a limit, and who moves it."""

import dataclasses

# Ways in which stock QEMU sends -> options of stock-qemu.
VARIANTS = {
	"precopy": (),
	"multifd-1": ("--channels", "1"),
	"multifd-2": ("--channels", "2"),
	"multifd-4": ("--channels", "4"),
	"multifd-8": ("--channels", "8"),
	"zero-copy-4": ("--channels", "4", "--zero-copy"),
}

# Below a limit that one connection reaches, more channels have little to win.
FEW = ("precopy", "multifd-2", "multifd-4")

LIMIT_MIB = 256

# As fast as it can.
MAX = "max"

POSTCOPY_LIMIT_MIB = 64

# What the network between the hosts carries, where nothing limits it: bench/raw-iperf3 says.
LINK_MIB = 2500


@dataclasses.dataclass(frozen=True)
class Scenario:
	name: str
	says: str  # one line, for people
	contents: str = ""  # of a guest that stands still, as stock-qemu takes them
	dirty_percent: int = 0  # or a running guest, which rewrites so much of what the limit or link carries,
	dirty_mib: int = 0  # or just so much, each second,
	pattern: str = "random"  # in this order,
	touch_bytes: int = 4096  # so much of a page each time
	postcopy: bool = False  # or all that it uses, as fast as it can, and moves by post-copy;
	hot_share: int = 0  # or a synthetic guest, which rewrites that part: a half is 2
	mem_mib: int = 4096
	limit_mib: int = 0  # a second; 0 is none
	variants: tuple = tuple(VARIANTS)  # of stock QEMU
	bounds: bool = False  # also what bounds every mover of random contents: floor and iperf3

	@property
	def synthetic(self):
		return self.hot_share > 0

	@property
	def runs(self):
		"""Whether the guest does."""
		return self.postcopy or self.dirty_percent > 0 or self.dirty_mib > 0

	def rate_mib(self, link_mib):
		"""What a running guest rewrites, a second, as running.sh takes it."""
		if self.postcopy:
			return MAX
		return self.dirty_mib or round((self.limit_mib or link_mib) * self.dirty_percent / 100)


def running(name, percent, says, limit_mib=0, **how):
	"""A guest that rewrites a quarter of its memory, so fast in percent of the limit, or of the link."""
	of = f"{LIMIT_MIB} MiB/s" if limit_mib else "the link"
	return Scenario(name, f"running, rewrites a quarter of it at {percent} % of {of}, {says}",
		dirty_percent=percent, mem_mib=1024, limit_mib=limit_mib, variants=FEW, **how)


def synthetic(name, dirty_mib, says, hot_share=1, **how):
	"""A guest without a hypervisor: larger and quicker than TCG allows, and Wherry alone moves it."""
	return Scenario(name, f"synthetic, rewrites {says} at {dirty_mib} MiB/s", dirty_mib=dirty_mib,
		hot_share=hot_share, variants=(), **how)


def postcopy(name, says, limit_mib=POSTCOPY_LIMIT_MIB, **how):
	"""A guest that no precopy could move: it measures its waits, and only post-copy is compared."""
	of = f"{limit_mib} MiB/s" if limit_mib else "no limit"
	return Scenario(name, f"running, rewrites half of it without a pause, {says}, post-copy, {of}",
		postcopy=True, mem_mib=1024, limit_mib=limit_mib, variants=(), **how)


TABLE = (
	Scenario("random", "paused, random contents: neither compresses nor repeats",
		contents="random", bounds=True),
	Scenario("zero", "paused, each page written, with zeros", contents="zero"),
	Scenario("untouched", "paused, memory never used", contents="untouched"),
	Scenario("half", "paused, 1 MiB zero and 1 MiB random in turns", contents="half"),
	Scenario("text", "paused, words: zstd -1 makes a third of it", contents="text"),
	Scenario("limited-text", "paused, words, 256 MiB/s: bytes on the wire count", contents="text",
		limit_mib=LIMIT_MIB, variants=FEW),
	running("dirty-10", 10, "page by page, scattered"),
	running("dirty-30", 30, "page by page, scattered"),
	running("dirty-30-sequential", 30, "page by page, one after the other", pattern="seq"),
	running("dirty-30-zipf", 30, "some pages often, most of them rarely", pattern="zipf"),
	running("limited-dirty-10", 10, "page by page, scattered", LIMIT_MIB),
	running("limited-dirty-30", 30, "page by page, scattered", LIMIT_MIB),
	running("limited-dirty-30-small", 30, "64 bytes of a page at a time, counted as pages", LIMIT_MIB,
		touch_bytes=64),
	postcopy("postcopy", "page by page", pattern="seq"),
	postcopy("postcopy-random", "page by page, scattered"),
	postcopy("postcopy-unlimited", "page by page", 0, pattern="seq"),
	synthetic("synth-uniform", 512, "all of its memory, scattered,"),
	synthetic("synth-sequential", 512, "all of its memory in order", pattern="seq"),
	synthetic("synth-zipf", 1024, "some pages often, most of them rarely,", pattern="zipf"),
	synthetic("synth-hot", 2048, "a 64th of its memory, scattered,", hot_share=64),
)


def find(name):
	"""The scenario of that name; ValueError says which there are."""
	for scenario in TABLE:
		if scenario.name == name:
			return scenario
	names = ", ".join(scenario.name for scenario in TABLE)
	raise ValueError(f"no scenario '{name}'; there are {names}")
