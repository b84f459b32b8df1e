/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The first word of a page says in clear what it is: page << 32 | generation. All others are an
 * arithmetic sequence whose start is a hash of that word: every cache line depends on page and
 * generation, and a page takes one addition per word to write or check. The step is odd, so no
 * two words of a page are equal and the content looks random to a compressor.
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

void pages_init(struct pages *p, uint32_t count)
{
	p->count = count;
	p->page = map((uint64_t)count * PAGE_BYTES);
	p->expected = map((uint64_t)count * sizeof(*p->expected));
}

static void fill(uint64_t *words, uint64_t first)
{
	uint64_t value = mix(first);

	words[0] = first;
	for (uint32_t i = 1; i < PAGE_WORDS; i++)
		words[i] = value += STEP;
}

static bool holds(const uint64_t *words, uint64_t first)
{
	uint64_t value = mix(first);
	uint64_t wrong = words[0] ^ first;

	for (uint32_t i = 1; i < PAGE_WORDS; i++)
		wrong |= words[i] ^ (value += STEP);
	return wrong == 0;
}

void pages_write(struct pages *p, uint32_t page)
{
	uint32_t generation = (uint32_t)p->expected[page] + 1;

	fill(p->page[page], title(page, generation));
	p->expected[page] = table_entry(page, generation);
}

static enum page_state classify(const uint64_t *words, uint32_t page)
{
	uint64_t any = 0;

	if (holds(words, words[0]))
		return words[0] >> 32 == page ? PAGE_STALE : PAGE_WRONG;
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
	else if (!holds(words, title(page, generation)))
		report.state = classify(words, page);
	return report;
}

void pages_repair(struct pages *p, uint32_t page, const struct page_report *report)
{
	uint32_t generation = report->state == PAGE_TABLE ? FIRST_WRITE : report->expected;

	fill(p->page[page], title(page, generation));
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
