/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fake fill - a destination's memory in which pages may be missing, and a guest that waits for
 * them: what dataplane/uffd.c and a hypervisor do, in one thread and without a kernel's help.
 */

#ifndef WH_FAKE_FILL_H
#define WH_FAKE_FILL_H

#include <stdbool.h>
#include <stdint.h>

#include "fill.h"
#include "pageset.h"
#include "ram.h"

#define FAKE_VCPUS  8u
#define FAKE_EVENTS 256u

struct wh_missing;

struct fake_event {
	bool removed;
	uint64_t page;
};

struct fake_vcpu {
	bool waits;
	uint64_t page;
};

struct fake_fill {
	struct wh_fill fill;
	const struct wh_ram *ram;   /* borrowed; its descriptors can be written */
	struct wh_pageset *present; /* owned */
	struct fake_event events[FAKE_EVENTS];
	uint32_t event_count;
	struct fake_vcpu vcpus[FAKE_VCPUS];
	bool kept;        /* all of it: what is present is what the guest has seen */
	bool busy;        /* nothing can be filled until an event is taken */
	uint32_t copies;  /* pages filled with contents */
	uint64_t touches; /* pages that the guest used */
};

/* All that is not a hole in @ram is present. */
void fake_fill_init(struct fake_fill *fake, const struct wh_ram *ram);

/* All of it is kept, and the guest has seen what is not @missing. */
void fake_fill_keep(struct fake_fill *fake, const struct wh_missing *missing);

/* Nothing is registered any more: nobody waits, what is not there is zero, removals happen. */
void fake_fill_release(struct fake_fill *fake);

void fake_fill_done(struct fake_fill *fake);

/* Vcpu @number, which does not wait, touches @page. Return: whether it is there; else it waits. */
bool fake_fill_touch(struct fake_fill *fake, uint32_t number, uint64_t page);

/* The guest gives @page back, as soon as that is taken note of. */
void fake_fill_remove(struct fake_fill *fake, uint64_t page);

#endif
