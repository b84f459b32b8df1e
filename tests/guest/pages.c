/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The first word of a page says in clear what it is: page << 32 | generation. All others are an
 * arithmetic sequence whose start is a hash of that word: every cache line depends on page and
 * generation, and a page takes one addition per word to write or check. The step is odd, so no
 * two words of a page are equal and the content looks random to a compressor.
 *
 * If a write changes a part only, the page is divided into slots of that size. Each generation
 * writes the first word and one slot, in turns, and the first generation writes all of them. So
 * each slot has a generation of its own, which follows from the page's: a page put together from
 * an old one and a newer change has a slot that is too old.
 */

#include "pages.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP        0x9e3779b97f4a7c15u
#define TABLE_SALT  0x7461626c65ull
#define FIRST_WRITE 1u

/* The finaliser of MurmurHash3: each bit of @x changes about half of the result. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdu;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53u;
	return x ^ x >> 33;
}

static uint64_t title(uint32_t page, uint32_t generation)
{
	return (uint64_t)page << 32 | generation;
}

static uint64_t table_entry(uint32_t page, uint32_t generation)
{
	return mix(title(page, generation) ^ TABLE_SALT) << 32 | generation;
}

static void *map(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("memguest: error mapping memory");
		_exit(EXIT_FAILURE);
	}
	return p;
}

void pages_init(struct pages *p, uint32_t count, uint32_t touch_bytes)
{
	p->count = count;
	p->slot_words = touch_bytes / (uint32_t)sizeof(uint64_t);
	p->page = map((uint64_t)count * PAGE_BYTES);
	p->expected = map((uint64_t)count * sizeof(*p->expected));
}

void pages_done(struct pages *p)
{
	(void)munmap(p->page, (uint64_t)p->count * PAGE_BYTES);
	(void)munmap(p->expected, (uint64_t)p->count * sizeof(*p->expected));
}

/* The last generation up to @generation that wrote @slot. */
static uint32_t slot_generation(const struct pages *p, uint32_t slot, uint32_t generation)
{
	const uint32_t slots = (uint32_t)PAGE_WORDS / p->slot_words;
	uint32_t behind = (generation - slot) % slots; /* slots: a power of two, as is 2^32 */

	return behind < generation ? generation - behind : FIRST_WRITE;
}

static void fill_slot(const struct pages *p, uint64_t *words, uint32_t slot, uint64_t first)
{
	const uint32_t from = slot * p->slot_words;
	uint64_t value = mix(first) + from * STEP;

	for (uint32_t i = from; i < from + p->slot_words; i++, value += STEP)
		words[i] = value;
}

/* All of a page. */
static void fill(const struct pages *p, uint32_t page, uint32_t generation)
{
	uint64_t *words = p->page[page];

	for (uint32_t slot = 0; slot < PAGE_WORDS / p->slot_words; slot++)
		fill_slot(p, words, slot, title(page, slot_generation(p, slot, generation)));
	words[0] = title(page, generation);
}

static bool holds(const struct pages *p, const uint64_t *words, uint32_t page, uint32_t generation)
{
	uint64_t wrong = words[0] ^ title(page, generation);

	for (uint32_t slot = 0; slot < PAGE_WORDS / p->slot_words; slot++) {
		const uint64_t first = title(page, slot_generation(p, slot, generation));
		const uint32_t end = (slot + 1) * p->slot_words;
		uint32_t i = slot > 0 ? slot * p->slot_words : 1;
		uint64_t value = mix(first) + i * STEP;

		for (; i < end; i++, value += STEP)
			wrong |= words[i] ^ value;
	}
	return wrong == 0;
}

void pages_write(struct pages *p, uint32_t page)
{
	uint32_t generation = (uint32_t)p->expected[page] + 1;
	uint32_t slot = generation % ((uint32_t)PAGE_WORDS / p->slot_words);

	if (generation == FIRST_WRITE) {
		fill(p, page, generation);
	} else {
		fill_slot(p, p->page[page], slot, title(page, generation));
		p->page[page][0] = title(page, generation);
	}
	p->expected[page] = table_entry(page, generation);
}

static enum page_state classify(const struct pages *p, const uint64_t *words, uint32_t page)
{
	uint32_t named = (uint32_t)(words[0] >> 32);
	uint64_t any = 0;

	if (holds(p, words, named, (uint32_t)words[0]))
		return named == page ? PAGE_STALE : PAGE_WRONG;
	for (uint32_t i = 0; i < PAGE_WORDS; i++)
		any |= words[i];
	return any == 0 ? PAGE_LOST : PAGE_TORN;
}

struct page_report pages_check(const struct pages *p, uint32_t page)
{
	const uint64_t *words = p->page[page];
	const uint32_t generation = (uint32_t)p->expected[page];
	struct page_report report = { PAGE_GOOD, generation, (uint32_t)words[0] };

	if (p->expected[page] != table_entry(page, generation))
		report.state = PAGE_TABLE;
	else if (!holds(p, words, page, generation))
		report.state = classify(p, words, page);
	return report;
}

void pages_repair(struct pages *p, uint32_t page, const struct page_report *report)
{
	uint32_t generation = report->state == PAGE_TABLE ? FIRST_WRITE : report->expected;

	fill(p, page, generation);
	p->expected[page] = table_entry(page, generation);
}

const char *page_state_name(enum page_state state)
{
	static const char *const names[] = {
		[PAGE_GOOD] = "good",   [PAGE_LOST] = "lost", [PAGE_STALE] = "stale",
		[PAGE_WRONG] = "wrong", [PAGE_TORN] = "torn", [PAGE_TABLE] = "table",
	};

	return names[state];
}
