/* SPDX-License-Identifier: Apache-2.0 */

#include "early_guest.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huge_pool.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

/* Turns of a millisecond after which something will not happen any more. */
#define PATIENCE 10000

static uint32_t roll(uint64_t *random, uint32_t sides)
{
	wh_assert(sides > 0);
	*random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(*random >> 33) % sides;
}

static void fill(uint64_t *page, uint64_t value)
{
	for (size_t i = 0; i < WH_PAGE_SIZE / sizeof(*page); i++)
		page[i] = value + i;
}

static uint64_t *page_at(uint8_t *ram, uint32_t number)
{
	return (uint64_t *)(void *)(ram + (size_t)number * WH_PAGE_SIZE);
}

static void write_page(uint64_t *page, uint64_t *random)
{
	switch (roll(random, 16)) {
	case 0:
		(void)madvise(page, WH_PAGE_SIZE, MADV_REMOVE);
		break;
	case 1:
		memset(page, 0, WH_PAGE_SIZE);
		break;
	default:
		fill(page, *random);
	}
}

/* As QEMU does it: no event of a userfaultfd tells. */
static void give_back_huge(int fd, uint32_t number)
{
	(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                (off_t)(number * HUGE_PAGE_BYTES), HUGE_PAGE_BYTES);
}

/* @pages of them, all below the end. */
static void act_on(uint8_t *ram, uint32_t first, uint32_t pages, enum early_guest_act act,
                   uint64_t *random)
{
	if (act == EARLY_GUEST_GIVE_BACK)
		(void)madvise(page_at(ram, first), (size_t)pages * WH_PAGE_SIZE, MADV_REMOVE);
	for (uint32_t i = 0; act == EARLY_GUEST_WRITE && i < pages; i++)
		fill(page_at(ram, first + i), (*random)++ << 16 | 1);
}

/* Do what the test wants done. */
static void obey(uint8_t *ram, const struct early_guest *guest, uint64_t *random)
{
	struct early_guest_control *control = guest->control;
	const enum early_guest_act act = atomic_load(&control->act);

	if (act == EARLY_GUEST_NOTHING)
		return;
	for (uint32_t i = control->first; i + control->count <= guest->pages; i += control->step)
		act_on(ram, i, control->count, act, random);
	atomic_store(&control->act, EARLY_GUEST_NOTHING);
}

static void run(const struct early_guest *guest)
{
	const size_t bytes = (size_t)guest->pages * WH_PAGE_SIZE;
	uint8_t *ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, guest->fd, 0);
	struct early_guest_control *control = guest->control;
	uint64_t random = 1;
	uint32_t next = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	wh_assert(ram != MAP_FAILED && guest->pages > 0);
	for (uint32_t i = 0; guest->filled && i < guest->pages; i++)
		fill(page_at(ram, i), (uint64_t)i << 32 | 1);
	atomic_store(&control->ready, true);
	while (!atomic_load(&control->stop)) {
		obey(ram, guest, &random);
		for (uint32_t i = 0; i < atomic_load(&control->at_a_time); i++)
			if (atomic_load(&control->in_order))
				fill(page_at(ram, next++ % guest->pages), ++random << 16 | 1);
			else
				write_page(page_at(ram, roll(&random, guest->pages)), &random);
		if (guest->huge && roll(&random, 8) == 0)
			give_back_huge(guest->fd,
			               roll(&random, (uint32_t)(bytes / HUGE_PAGE_BYTES)));
		(void)poll(NULL, 0, 1);
	}
	atomic_store(&control->stopped, true);
	/* Ends when the test kills it. */
	for (;;)
		(void)pause();
}

static bool await(const _Atomic bool *flag)
{
	for (int i = 0; i < PATIENCE && !atomic_load(flag); i++)
		(void)poll(NULL, 0, 1);
	return atomic_load(flag);
}

void early_guest_start(struct early_guest *guest)
{
	void *control = mmap(NULL, sizeof(*guest->control), PROT_READ | PROT_WRITE,
	                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	wh_assert(control != MAP_FAILED);
	guest->control = control;
	atomic_store(&guest->control->at_a_time, guest->at_a_time);
	guest->pid = fork();
	wh_assert(guest->pid >= 0);
	if (guest->pid == 0)
		run(guest);
	wh_assert(await(&guest->control->ready));
}

void early_guest_pace(const struct early_guest *guest, uint32_t at_a_time, bool in_order)
{
	atomic_store(&guest->control->in_order, in_order);
	atomic_store(&guest->control->at_a_time, at_a_time);
}

bool early_guest_act(const struct early_guest *guest, enum early_guest_act act, uint32_t first,
                     uint32_t count, uint32_t step)
{
	struct early_guest_control *control = guest->control;

	wh_assert(count > 0 && count <= step);
	control->first = first;
	control->count = count;
	control->step = step;
	atomic_store(&control->act, act);
	for (int i = 0; i < PATIENCE && atomic_load(&control->act) != EARLY_GUEST_NOTHING; i++)
		(void)poll(NULL, 0, 1);
	return atomic_load(&control->act) == EARLY_GUEST_NOTHING;
}

bool early_guest_stop(const struct early_guest *guest)
{
	atomic_store(&guest->control->stop, true);
	return await(&guest->control->stopped);
}

void early_guest_done(struct early_guest *guest)
{
	if (guest->pid > 0) {
		(void)kill(guest->pid, SIGKILL);
		(void)waitpid(guest->pid, NULL, 0);
	}
	if (guest->control)
		(void)munmap(guest->control, sizeof(*guest->control));
	*guest = (struct early_guest){ .fd = -1 };
}
