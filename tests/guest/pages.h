/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pages - guest memory in which each page holds f(page, generation).
 *
 * The generation that each page must have is kept outside the page, in a table whose entries carry
 * a check of their own. So a page that was lost, is older than its last write, came from elsewhere,
 * or is half old and half new is told from a good one, and so is a damaged table.
 *
 * Errors: the program ends if memory is short. Threads: one.
 */

#ifndef WH_GUEST_PAGES_H
#define WH_GUEST_PAGES_H

#include <stdint.h>

#define PAGE_BYTES 4096u
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))

struct pages {
	uint64_t (*page)[PAGE_WORDS];
	uint64_t *expected; /* of each page: the check << 32 | its generation */
	uint32_t count;
	uint32_t
		slot_words; /* that a write changes: a power of two up to PAGE_WORDS, which is all */
};

enum page_state {
	PAGE_GOOD,
	PAGE_LOST,  /* all zero */
	PAGE_STALE, /* whole, but of another generation */
	PAGE_WRONG, /* whole, but another page's content */
	PAGE_TORN,  /* parts of it do not fit together */
	PAGE_TABLE, /* the table's entry is damaged: what the page must hold is unknown */
};

struct page_report {
	enum page_state state;
	uint32_t expected; /* generation */
	uint32_t found;    /* what the page says of itself */
};

/*
 * Map @count pages and their table. Nothing is written yet: the pages are untouched. A page's first
 * write is that of all of it, later ones change @touch_bytes, and 8 more at its start.
 */
void pages_init(struct pages *p, uint32_t count, uint32_t touch_bytes);

void pages_done(struct pages *p);

/* Write the page's next content: generation 1 at first, then one more each time. */
void pages_write(struct pages *p, uint32_t page);

/* Compare all of a page with what it must hold. It must have been written. */
struct page_report pages_check(const struct pages *p, uint32_t page);

/* Write what the page must hold once more, so that one fault is one error. */
void pages_repair(struct pages *p, uint32_t page, const struct page_report *report);

const char *page_state_name(enum page_state state);

#endif
