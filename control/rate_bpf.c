/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rate - loads the programs of bpf/token_bucket.bpf.c and turns their knobs.
 *
 * The bucket is the programs' .bss, a map that libbpf maps into this process: what is read and
 * written here is the very memory that packets are charged to.
 *
 * Nothing is loaded until there is a limit, or somebody else is to charge the bucket. If that is from the start, sockets learn of it when
 * they connect. If it comes later, the sockets that exist are armed by a walk over all TCP
 * sockets of this network namespace (the "arm" program), which older kernels cannot do; so that
 * program is loaded only then. The order is: attach with limit 0, arm, set the limit.
 *
 * A limit once loaded stays loaded until close. Taking the programs away would leave each
 * connection at its last pace for ever, and movers hold copies of the links.
 */

#include "rate_bpf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "wherry/assert.h"
#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"

#include "token_bucket.h"
#include "token_bucket.skel.h"

/* Connections learn a new limit with their next packet; this is ample for all of them. */
#define GRACE_NS (20 * WH_NSEC_PER_MSEC)

struct wh_rate_bpf {
	int cgroup_fd;
	struct token_bucket *programs; /* NULL until there is a limit, or a bucket to share */
};

static struct token_bucket *programs_destroy(struct token_bucket *programs)
{
	token_bucket__destroy(programs);
	return NULL;
}

WH_DEFINE_CLEANUP(struct token_bucket, programs_destroy)

/* Failures come back as errors with words; libbpf's own lines on stderr are left out. */
static int say_nothing(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level;
	(void)fmt;
	(void)args;
	return 0;
}

static int attach(struct token_bucket *programs, int cgroup_fd, struct wh_error *err)
{
	const struct {
		const struct bpf_program *program;
		struct bpf_link **link;
	} table[WH_RATE_LINKS] = {
		{ programs->progs.keep_pace, &programs->links.keep_pace },
		{ programs->progs.charge, &programs->links.charge },
		{ programs->progs.pace, &programs->links.pace },
	};

	for (size_t i = 0; i < WH_RATE_LINKS; i++) {
		*table[i].link = bpf_program__attach_cgroup(table[i].program, cgroup_fd);
		if (!*table[i].link)
			return wh_fail(err, -errno, "cannot attach '%s' to the cgroup: %s",
			               bpf_program__name(table[i].program), strerror(errno));
	}
	return 0;
}

/* Reading the iterator to its end runs "arm" on every TCP socket of this network namespace. */
static int run_arm(struct token_bucket *programs)
{
	wh_cleanup(wh_closep) int fd = -1;
	char nothing[64];
	ssize_t n;

	programs->links.arm = bpf_program__attach_iter(programs->progs.arm, NULL);
	if (!programs->links.arm)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(programs->links.arm));
	if (fd < 0)
		return fd;
	do
		n = read(fd, nothing, sizeof(nothing));
	while (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)));
	if (n < 0)
		return -errno;

	(void)bpf_link__destroy(programs->links.arm); /* it only closes a descriptor */
	programs->links.arm = NULL;
	return 0;
}

static int arm_open_sockets(struct token_bucket *programs, struct wh_error *err)
{
	int r = run_arm(programs);

	if (r < 0)
		return wh_fail(err, r, "cannot walk over the open sockets: %s", strerror(-r));
	if (programs->bss->bucket.unarmed > 0)
		return wh_fail(err, -EOPNOTSUPP,
		               "this kernel cannot limit connections that are already open "
		               "(it takes Linux 6.12): set the limit before the migration starts");
	return 0;
}

/* Load the programs and attach them with limit 0. */
static int load(struct wh_rate_bpf *rate, bool sockets_open, struct wh_error *err)
{
	wh_cleanup(programs_destroyp) struct token_bucket *programs = NULL;
	struct stat st;
	int r;

	if (fstat(rate->cgroup_fd, &st) < 0)
		return wh_fail(err, -errno, "cannot look at the cgroup: %s", strerror(errno));

	(void)libbpf_set_print(say_nothing);
	programs = token_bucket__open();
	if (!programs)
		return wh_fail(err, -errno, "cannot open the programs: %s", strerror(errno));
	programs->rodata->cgroup_id = st.st_ino;
	r = bpf_program__set_autoload(programs->progs.arm, sockets_open);
	wh_assert(r == 0);

	r = token_bucket__load(programs);
	if (r < 0)
		return wh_fail(err, r, "the kernel refuses the programs: %s", strerror(-r));
	r = attach(programs, rate->cgroup_fd, err);
	if (r < 0)
		return r;
	if (sockets_open) {
		r = arm_open_sockets(programs, err);
		if (r < 0)
			return r;
	}
	rate->programs = wh_steal(programs);
	return 0;
}

/* Price and grace come first: whoever sees the new limit sees them, too. */
static void store_limit(struct wh_bucket *bucket, uint64_t limit_bps)
{
	uint64_t grace_end_ns = wh_now_ns(&wh_clock_monotonic) + GRACE_NS;

	if (limit_bps > 0) {
		uint64_t price = (WH_NSEC_PER_SEC << WH_BUCKET_SHIFT) / limit_bps;

		__atomic_store_n(&bucket->grace_end_ns, grace_end_ns, __ATOMIC_RELEASE);
		__atomic_store_n(&bucket->ns_per_byte, price, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&bucket->limit_bps, limit_bps, __ATOMIC_RELEASE);
}

static int apply(struct wh_rate_bpf *rate, uint64_t limit_bps, bool sockets_open,
                 struct wh_error *err)
{
	int r;

	if (limit_bps > 0 && limit_bps < WH_RATE_MIN_BPS)
		return wh_fail(err, -ERANGE, "the least limit is %llu bytes/s, not %llu",
		               WH_RATE_MIN_BPS, (unsigned long long)limit_bps);
	if (limit_bps > WH_RATE_MAX_BPS)
		limit_bps = WH_RATE_MAX_BPS;

	if (!rate->programs) {
		if (limit_bps == 0)
			return 0;
		r = load(rate, sockets_open, err);
		if (r < 0)
			return r;
	}
	wh_assert(rate->programs);
	store_limit(&rate->programs->bss->bucket, limit_bps);
	return 0;
}

int wh_rate_bpf_open(struct wh_rate_bpf **ret, int cgroup_fd, uint64_t limit_bps,
                     struct wh_error *err)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = calloc(1, sizeof(*rate));
	int r;

	if (!rate)
		return wh_fail(err, -ENOMEM, "no memory for a bandwidth limit");
	rate->cgroup_fd = fcntl(cgroup_fd, F_DUPFD_CLOEXEC, 0);
	if (rate->cgroup_fd < 0)
		return wh_fail(err, -errno, "cannot keep the cgroup: %s", strerror(errno));

	r = apply(rate, limit_bps, false, err);
	if (r < 0)
		return wh_context(err, r, "cannot limit the bandwidth");

	*ret = wh_steal(rate);
	return 0;
}

struct wh_rate_bpf *wh_rate_bpf_close(struct wh_rate_bpf *rate)
{
	if (!rate)
		return NULL;

	rate->programs = programs_destroy(rate->programs);
	wh_closep(&rate->cgroup_fd);
	free(rate);
	return NULL;
}

int wh_rate_bpf_set(struct wh_rate_bpf *rate, uint64_t limit_bps, struct wh_error *err)
{
	int r = apply(rate, limit_bps, true, err);

	if (r < 0)
		return wh_context(err, r, "cannot change the bandwidth limit");
	return 0;
}

int wh_rate_bpf_share(struct wh_rate_bpf *rate, int *ret, struct wh_error *err)
{
	int r = rate->programs ? 0 : load(rate, false, err);

	if (r < 0)
		return wh_context(err, r, "cannot make the limit's bucket");
	wh_assert(rate->programs);
	/* The bucket is all there is in .bss: libbpf makes that map one that can be mapped. */
	wh_assert((const void *)&rate->programs->bss->bucket == rate->programs->bss);
	*ret = bpf_map__fd(rate->programs->maps.bss);
	return 0;
}

static uint64_t word(const __u64 *field)
{
	return __atomic_load_n(field, __ATOMIC_RELAXED);
}

void wh_rate_bpf_stats(const struct wh_rate_bpf *rate, struct wh_rate_stats *ret)
{
	const uint64_t now_ns = wh_now_ns(&wh_clock_monotonic);
	const struct wh_bucket *bucket;
	uint64_t paid_ns;

	*ret = (struct wh_rate_stats){ 0 };
	if (!rate->programs)
		return;

	bucket = &rate->programs->bss->bucket;
	paid_ns = word(&bucket->clock_ns);
	*ret = (struct wh_rate_stats){
		.limit_bps = word(&bucket->limit_bps),
		.charged_bytes = word(&bucket->charged_bytes),
		.urgent_bytes = word(&bucket->urgent_bytes),
		.dropped_packets = word(&bucket->dropped_packets),
		.dropped_bytes = word(&bucket->dropped_bytes),
		.waits = word(&bucket->waits),
		.debt_ns = paid_ns > now_ns ? paid_ns - now_ns : 0,
	};
}

size_t wh_rate_bpf_links(const struct wh_rate_bpf *rate, int fds[WH_RATE_LINKS])
{
	if (!rate->programs)
		return 0;

	fds[0] = bpf_link__fd(rate->programs->links.charge);
	fds[1] = bpf_link__fd(rate->programs->links.pace);
	fds[2] = bpf_link__fd(rate->programs->links.keep_pace);
	return WH_RATE_LINKS;
}
