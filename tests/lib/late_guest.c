/* SPDX-License-Identifier: Apache-2.0 */

#include "late_guest.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wherry/assert.h"
#include "wherry/limits.h"

/* Turns of a millisecond after which something will not happen any more. */
#define PATIENCE 20000

static const uint8_t zeroes[WH_PAGE_SIZE];

static uint8_t *map_file(int fd, uint32_t pages, int protection)
{
	void *at = mmap(NULL, (size_t)pages * WH_PAGE_SIZE, protection, MAP_SHARED, fd, 0);

	wh_assert(at != MAP_FAILED);
	return at;
}

static bool is_filled(const uint8_t *page, uint8_t with)
{
	return page[0] == with && memcmp(page, page + 1, WH_PAGE_SIZE - 1) == 0;
}

/* Whether @page is what it must be, with @source what the source has. */
static bool is_right(const uint8_t *page, const uint8_t *source, uint8_t wrote)
{
	if (wrote == LATE_UNTOUCHED)
		return memcmp(page, source, WH_PAGE_SIZE) == 0;
	/* Given back: it may have come before that, and after the hypervisor began to. */
	if (wrote == LATE_GIVEN_BACK)
		return memcmp(page, zeroes, WH_PAGE_SIZE) == 0 ||
		       memcmp(page, source, WH_PAGE_SIZE) == 0;
	return is_filled(page, wrote);
}

/* --- in the process --------------------------------------------------------------------------- */

struct vcpu {
	const struct late_guest *guest;
	uint8_t *ram;
	const uint8_t *source;
	uint32_t number;
	uint64_t random;
};

static uint32_t roll(struct vcpu *v, uint32_t sides)
{
	v->random = v->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(v->random >> 33) % sides;
}

static void touch(struct vcpu *v, uint32_t page)
{
	struct late_guest_control *control = v->guest->control;
	const size_t offset = (size_t)page * WH_PAGE_SIZE;
	uint8_t *wrote = &control->wrote[page];

	switch (roll(v, 16)) {
	case 0:
		*wrote = (uint8_t)(LATE_STAMP + roll(v, 200));
		memset(v->ram + offset, *wrote, WH_PAGE_SIZE);
		break;
	case 1:
		*wrote = LATE_GIVEN_BACK;
		(void)madvise(v->ram + offset, WH_PAGE_SIZE, MADV_REMOVE);
		break;
	default:
		/* Somebody else's: that only two wait for one page. */
		(void)*(volatile uint8_t *)(v->ram +
		                            (size_t)roll(v, v->guest->pages) * WH_PAGE_SIZE);
	}
	if (!is_right(v->ram + offset, v->source + offset, *wrote))
		atomic_fetch_add(&control->wrong, 1);
	atomic_fetch_add(&control->touched, 1);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	struct late_guest_control *control = v->guest->control;
	const uint32_t pages = v->guest->pages / LATE_GUEST_THREADS;
	uint32_t at = 0;

	while (!atomic_load(&control->run))
		(void)poll(NULL, 0, 1);
	while (!atomic_load(&control->end)) {
		const uint32_t n = v->guest->in_order ? at++ % pages : roll(v, pages);

		touch(v, n * LATE_GUEST_THREADS + v->number);
		if (n % 64 == 0)
			(void)poll(NULL, 0, 1);
	}
	atomic_fetch_add(&control->at_rest, 1);
	return NULL;
}

static void run(const struct late_guest *guest)
{
	struct vcpu vcpus[LATE_GUEST_THREADS];
	pthread_t thread;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t i = 0; i < LATE_GUEST_THREADS; i++) {
		vcpus[i] = (struct vcpu){
			.guest = guest,
			.ram = i == 0 ? map_file(guest->target, guest->pages,
			                         PROT_READ | PROT_WRITE)
			              : vcpus[0].ram,
			.source = i == 0 ? map_file(guest->source, guest->pages, PROT_READ)
			                 : vcpus[0].source,
			.number = i,
			.random = (uint64_t)getpid() + i,
		};
		wh_assert(pthread_create(&thread, NULL, vcpu_thread, &vcpus[i]) == 0);
	}
	if (guest->populate)
		wh_assert(madvise(vcpus[0].ram, (size_t)guest->pages * WH_PAGE_SIZE,
		                  MADV_POPULATE_WRITE) == 0);
	atomic_store(&guest->control->ready, true);
	/* The main thread is where a mover makes its calls. Ends when the test kills it. */
	for (;;)
		(void)poll(NULL, 0, 1000);
}

/* --- in the test ------------------------------------------------------------------------------ */

static size_t control_bytes(const struct late_guest *guest)
{
	return sizeof(*guest->control) + guest->pages;
}

void late_guest_start(struct late_guest *guest)
{
	void *control = mmap(NULL, control_bytes(guest), PROT_READ | PROT_WRITE,
	                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	wh_assert(control != MAP_FAILED);
	guest->control = control;
	guest->pid = fork();
	wh_assert(guest->pid >= 0);
	if (guest->pid == 0)
		run(guest);
	while (!atomic_load(&guest->control->ready)) /* ends: it has nothing else to do first */
		(void)poll(NULL, 0, 1);
}

void late_guest_run(struct late_guest *guest)
{
	atomic_store(&guest->control->run, true);
}

bool late_guest_await(const struct late_guest *guest, uint64_t more)
{
	const uint64_t until = atomic_load(&guest->control->touched) + more;

	for (int i = 0; i < PATIENCE && atomic_load(&guest->control->touched) < until; i++)
		(void)poll(NULL, 0, 1);
	return atomic_load(&guest->control->touched) >= until;
}

bool late_guest_stop(struct late_guest *guest)
{
	atomic_store(&guest->control->end, true);
	for (int i = 0; i < PATIENCE && atomic_load(&guest->control->at_rest) < LATE_GUEST_THREADS;
	     i++)
		(void)poll(NULL, 0, 1);
	return atomic_load(&guest->control->at_rest) == LATE_GUEST_THREADS;
}

uint64_t late_guest_wrong_pages(const struct late_guest *guest)
{
	const size_t bytes = (size_t)guest->pages * WH_PAGE_SIZE;
	uint8_t *source = map_file(guest->source, guest->pages, PROT_READ);
	uint8_t *target = map_file(guest->target, guest->pages, PROT_READ);
	uint64_t wrong = 0;

	for (uint32_t i = 0; i < guest->pages; i++)
		wrong += !is_right(target + (size_t)i * WH_PAGE_SIZE,
		                   source + (size_t)i * WH_PAGE_SIZE, guest->control->wrote[i]);
	(void)munmap(source, bytes);
	(void)munmap(target, bytes);
	return wrong;
}

void late_guest_done(struct late_guest *guest)
{
	if (guest->pid > 0) {
		(void)kill(guest->pid, SIGKILL);
		(void)waitpid(guest->pid, NULL, 0);
	}
	if (guest->control)
		(void)munmap(guest->control, control_bytes(guest));
	*guest = (struct late_guest){ 0 };
}
