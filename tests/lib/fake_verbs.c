/* SPDX-License-Identifier: Apache-2.0 */

#include "fake_verbs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "random.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

#define PAIRS_MAX       WH_RDMA_PAIRS_MAX
#define KEYS_MAX        4096u
#define COMPLETIONS_MAX 8192u
#define LISTENERS_MAX   16u
#define FIRST_PORT      40000u

struct key {
	const uint8_t *addr;
	uint64_t bytes;
	uint32_t rights;
	bool enrolled;
};

/* A page that a key has, and that is no longer in the memory. */
struct ghost {
	struct ghost *next;
	uint32_t key;
	const uint8_t *addr;
	uint8_t contents[WH_PAGE_SIZE];
};

struct pair {
	struct fake_work works[WH_RDMA_DEPTH_MAX];
	uint64_t posted, performed;
	uint64_t free; /* the works before this one were seen to be complete */
	uint32_t unseen_marks;
	int fails; /* the next one does */
	bool failed;
};

struct news {
	struct wh_completion completion;
	uint64_t free; /* of the pair, once this is seen; 0: nothing */
};

struct wh_verbs {
	struct wh_verbs_config cfg;
	uint8_t token[WH_TOKEN_BYTES];
	struct wh_verbs_caps caps;
	bool armed;
	struct wh_verbs *peer;
	uint16_t port;
	int fd;
	bool cut;
	int over;
	char reason[64];

	struct pair pairs[PAIRS_MAX];
	struct news news[COMPLETIONS_MAX];
	uint32_t first, count;

	struct key keys[KEYS_MAX];
	uint64_t enrolled_bytes, enrolled_max;
	int enroll_code;
	struct ghost *ghosts; /* owned */
};

static struct wh_verbs *listeners[LISTENERS_MAX];
static struct wh_verbs *newest[2]; /* active, passive */
static uint64_t fabric_seed;
static int open_code;

/* Held by every call: both ends of a connection are touched by either. */
static pthread_mutex_t fabric = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static pthread_mutex_t *enter(void)
{
	wh_assert(pthread_mutex_lock(&fabric) == 0);
	return &fabric;
}

static void leave(pthread_mutex_t **lock)
{
	(void)pthread_mutex_unlock(*lock);
}

/* To the end of the block. */
#define in_fabric wh_cleanup(leave) __attribute__((unused)) pthread_mutex_t *lock = enter()

void fake_verbs_set_seed(uint64_t seed)
{
	fabric_seed = seed;
}

void fake_verbs_refuse_open(int code)
{
	open_code = code;
}

struct wh_verbs *fake_verbs_newest(bool passive)
{
	return newest[passive];
}

void fake_verbs_limit_enrolled(struct wh_verbs *v, uint64_t bytes, int code)
{
	v->enrolled_max = bytes;
	v->enroll_code = code;
}

/* --- completions ------------------------------------------------------------------------------ */

static void tell(struct wh_verbs *v, const struct wh_completion *c, uint64_t free_before)
{
	wh_assert(v->count < COMPLETIONS_MAX);
	v->news[(v->first + v->count++) % COMPLETIONS_MAX] =
		(struct news){ .completion = *c, .free = free_before };
}

void fake_verbs_deliver(struct wh_verbs *v, const struct wh_completion *c)
{
	in_fabric;

	tell(v, c, 0);
}

static void end_work(struct wh_verbs *v, uint32_t number, int error)
{
	static const enum wh_completion_kind kinds[] = {
		[FAKE_WRITE] = WH_COMPLETION_WRITE,
		[FAKE_READ] = WH_COMPLETION_READ,
		[FAKE_MARK] = WH_COMPLETION_MARK,
	};
	struct pair *pair = &v->pairs[number];
	const struct fake_work *work = &pair->works[pair->performed++ % WH_RDMA_DEPTH_MAX];
	const struct wh_completion c = {
		.kind = kinds[work->kind],
		.pair = number,
		.cookie = work->w.cookie,
		.error = error,
	};

	if (work->w.signalled || error)
		tell(v, &c, pair->performed);
	if (error)
		pair->failed = true;
}

static void end_connection(struct wh_verbs *v, int code, const char *why)
{
	if (v->over || v->cut)
		return;
	v->over = code;
	(void)snprintf(v->reason, sizeof(v->reason), "%s", why);
	for (uint32_t i = 0; i < v->cfg.pairs; i++) {
		while (v->pairs[i].performed < v->pairs[i].posted)
			end_work(v, i, -ECANCELED);
	}
}

void fake_verbs_remove(struct wh_verbs *v, int code)
{
	in_fabric;

	end_connection(v, code, "the test removed the device");
}

void fake_verbs_fail(struct wh_verbs *v, uint32_t pair, int error)
{
	in_fabric;

	v->pairs[pair].fails = error;
}

/* --- what the two devices do ------------------------------------------------------------------ */

static uint8_t *memory_of(struct wh_verbs *v, uint32_t key, uint64_t addr, uint32_t len,
                          uint32_t rights)
{
	const struct key *k = &v->keys[key % KEYS_MAX];
	bool inside;

	inside = k->enrolled && (k->rights & rights) == rights && addr >= (uintptr_t)k->addr &&
	         addr - (uintptr_t)k->addr <= k->bytes &&
	         len <= k->bytes - (addr - (uintptr_t)k->addr);
	return inside ? (uint8_t *)(uintptr_t)addr : NULL;
}

/* The page at @addr is about to go, or has gone already: @key keeps it. */
static void add_ghost(struct wh_verbs *v, uint32_t key, const uint8_t *addr)
{
	struct ghost *ghost = malloc(sizeof(*ghost));

	wh_assert(ghost);
	/* The oldest one counts, and is found last. */
	*ghost = (struct ghost){ .next = v->ghosts, .key = key, .addr = addr };
	memcpy(ghost->contents, addr, WH_PAGE_SIZE);
	v->ghosts = ghost;
}

void fake_verbs_detach(struct wh_verbs *v, const void *addr)
{
	in_fabric;

	for (uint32_t i = 1; i < KEYS_MAX; i++) {
		const struct key *k = &v->keys[i];

		if (k->enrolled && (const uint8_t *)addr >= k->addr &&
		    (const uint8_t *)addr < k->addr + k->bytes)
			add_ghost(v, i, addr);
	}
}

static void forget_ghosts(struct wh_verbs *v, uint32_t key)
{
	struct ghost **at = &v->ghosts;

	while (*at) {
		struct ghost *ghost = *at;

		if (ghost->key != key) {
			at = &ghost->next;
			continue;
		}
		*at = ghost->next;
		free(ghost);
	}
}

/* What a work reads of [@from, @from + @len): the pages that @key still has. */
static void take(const struct wh_verbs *v, uint32_t key, const uint8_t *from, uint32_t len,
                 uint8_t *to)
{
	memcpy(to, from, len);
	for (const struct ghost *ghost = v->ghosts; ghost; ghost = ghost->next)
		if (ghost->key == key && ghost->addr >= from &&
		    ghost->addr + WH_PAGE_SIZE <= from + len)
			memcpy(to + (ghost->addr - from), ghost->contents, WH_PAGE_SIZE);
}

/* Whether the page at @addr is no longer the one that @key has: now, or at an earlier write. */
static bool is_detached(struct wh_verbs *v, uint32_t key, const uint8_t *addr)
{
	unsigned char there = 0;

	for (const struct ghost *ghost = v->ghosts; ghost; ghost = ghost->next)
		if (ghost->key == key && ghost->addr == addr)
			return true;
	if (v->keys[key].rights & WH_VERBS_ON_DEMAND)
		return false;
	/* It was allocated when the key was made. */
	wh_assert(mincore((void *)(uintptr_t)addr, WH_PAGE_SIZE, &there) == 0);
	if (there & 1)
		return false;
	add_ghost(v, key, addr);
	return true;
}

/* What goes to a page that the memory has lost is lost, too. */
static void land(struct wh_verbs *v, uint32_t key, uint8_t *to, const uint8_t *from, uint32_t len)
{
	uint32_t part;

	for (; len > 0; to += part, from += part, len -= part) {
		const uint32_t into = (uint32_t)((uintptr_t)to % WH_PAGE_SIZE);

		part = len < WH_PAGE_SIZE - into ? len : WH_PAGE_SIZE - into;
		if (!is_detached(v, key, to - into))
			memcpy(to, from, part);
	}
}

static int copy(struct wh_verbs *v, const struct fake_work *work)
{
	static uint8_t wire[WH_RDMA_WRITE_LEN_MAX];
	const struct wh_verbs_work *w = &work->w;
	const bool reads = work->kind == FAKE_READ;
	uint8_t *local = memory_of(v, w->local_key, (uintptr_t)w->local_addr, w->len,
	                           reads ? WH_VERBS_LOCAL_WRITE : 0);
	uint8_t *remote = memory_of(v->peer, w->remote_key, w->remote_addr, w->len,
	                            reads ? WH_VERBS_REMOTE_READ : WH_VERBS_REMOTE_WRITE);

	if (!local)
		return -EFAULT;
	if (!remote) {
		end_connection(v->peer, -EIO, "the peer used a key that it may not use");
		return -EACCES;
	}
	if (reads) {
		take(v->peer, w->remote_key, remote, w->len, wire);
		land(v, w->local_key, local, wire, w->len);
	} else {
		take(v, w->local_key, local, w->len, wire);
		land(v->peer, w->remote_key, remote, wire, w->len);
	}
	return 0;
}

static void mark_peer(struct wh_verbs *v, uint32_t number, uint32_t value)
{
	const struct wh_completion c = {
		.kind = WH_COMPLETION_MARKED,
		.pair = number,
		.value = value,
	};

	wh_assert(v->peer->pairs[number].unseen_marks < v->peer->cfg.marks);
	v->peer->pairs[number].unseen_marks++;
	tell(v->peer, &c, 0);
}

bool fake_verbs_step(struct wh_verbs *v, uint32_t number)
{
	in_fabric;
	struct pair *pair = &v->pairs[number];
	const struct fake_work *work = &pair->works[pair->performed % WH_RDMA_DEPTH_MAX];
	int r = 0;

	if (pair->performed == pair->posted)
		return false;
	if (pair->failed)
		r = -ECANCELED;
	else if (pair->fails)
		r = pair->fails;
	else if (!v->peer || v->peer->cut || v->peer->over)
		r = -ETIMEDOUT;
	else if (work->kind == FAKE_MARK)
		mark_peer(v, number, work->value);
	else
		r = copy(v, work);
	end_work(v, number, r);
	return true;
}

void fake_verbs_run(struct wh_verbs *v)
{
	in_fabric;

	for (uint32_t i = 0; i < v->cfg.pairs; i++) {
		while (fake_verbs_step(v, i))
			;
	}
}

static void run_some(struct wh_verbs *v)
{
	if (!fabric_seed || !v)
		return;
	for (uint64_t steps = random_below(&fabric_seed, 4); steps > 0; steps--)
		(void)fake_verbs_step(v, (uint32_t)random_below(&fabric_seed, v->cfg.pairs));
}

/* --- the calls of verbs.h --------------------------------------------------------------------- */

static void listen_at_some_port(struct wh_verbs *v)
{
	uint32_t i = 0;

	while (i < LISTENERS_MAX && listeners[i])
		i++;
	wh_assert(i < LISTENERS_MAX);
	listeners[i] = v;
	v->port = (uint16_t)(FIRST_PORT + i);
}

int wh_verbs_open(struct wh_verbs **ret, const struct wh_verbs_config *cfg, struct wh_error *err)
{
	in_fabric;
	struct wh_verbs *v;

	wh_assert(cfg->pairs >= 1 && cfg->pairs <= PAIRS_MAX && cfg->depth <= WH_RDMA_DEPTH_MAX);
	if (open_code)
		return wh_fail(err, open_code, "the test has no device for %s", cfg->address);
	v = calloc(1, sizeof(*v));
	wh_assert(v);
	v->cfg = *cfg;
	memcpy(v->token, cfg->token, sizeof(v->token));
	v->caps = (struct wh_verbs_caps){
		.device = "fake0",
		.write_len_max = WH_RDMA_WRITE_LEN_MAX,
		.reads_max = 16,
		.enroll_max = 1ull << 40,
		.write_with_imm = true,
	};
	v->enrolled_max = UINT64_MAX;
	v->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	wh_assert(v->fd >= 0);
	if (cfg->passive)
		listen_at_some_port(v);
	newest[cfg->passive] = v;
	*ret = v;
	return 0;
}

uint16_t wh_verbs_port(const struct wh_verbs *v)
{
	return v->port;
}

static struct wh_verbs *find_listener(uint16_t port)
{
	const uint32_t i = port - FIRST_PORT;
	struct wh_verbs *v = i < LISTENERS_MAX ? listeners[i] : NULL;

	return v && !v->peer ? v : NULL;
}

int wh_verbs_advance(struct wh_verbs *v, struct wh_error *err)
{
	in_fabric;
	struct wh_verbs *peer;

	if (v->cfg.passive || v->peer)
		return v->peer ? 1 : 0;
	peer = find_listener(v->cfg.port);
	if (!peer)
		return wh_fail(err, -ECONNREFUSED, "nobody listens at port %u", v->cfg.port);
	if (memcmp(peer->token, v->token, sizeof(v->token)) != 0)
		return wh_fail(err, -EACCES, "the peer refused the token");
	wh_assert(peer->cfg.pairs == v->cfg.pairs);
	v->peer = peer;
	peer->peer = v;
	return 1;
}

const struct wh_verbs_caps *wh_verbs_caps(const struct wh_verbs *v)
{
	return &v->caps;
}

/* A device that is to write to memory has all of it allocated; what is there stays. */
static void allocate(const void *addr, uint64_t bytes)
{
	uint8_t *at = (uint8_t *)(uintptr_t)addr;

	for (uint64_t i = 0; i < bytes; i += WH_PAGE_SIZE)
		(void)__atomic_fetch_or(&at[i], 0, __ATOMIC_RELAXED);
	(void)__atomic_fetch_or(&at[bytes - 1], 0, __ATOMIC_RELAXED);
}

int wh_verbs_enroll(struct wh_verbs *v, const void *addr, uint64_t bytes, uint32_t rights,
                    struct wh_verbs_key *ret)
{
	const uint32_t written = WH_VERBS_LOCAL_WRITE | WH_VERBS_REMOTE_WRITE;
	in_fabric;
	uint32_t i = 1;
	int r = 0;

	while (i < KEYS_MAX && v->keys[i].enrolled)
		i++;
	wh_assert(i < KEYS_MAX);
	if (v->enrolled_bytes + bytes > v->enrolled_max) {
		r = v->enroll_code;
	} else {
		if ((rights & written) && !(rights & WH_VERBS_ON_DEMAND))
			allocate(addr, bytes);
		v->enrolled_bytes += bytes;
		v->keys[i] = (struct key){
			.addr = addr, .bytes = bytes, .rights = rights, .enrolled = true
		};
		*ret = (struct wh_verbs_key){ .local = i, .remote = i, .handle = &v->keys[i] };
	}
	return r;
}

static void assert_unused(const struct wh_verbs *v, uint32_t key)
{
	for (uint32_t i = 0; i < v->cfg.pairs && !v->cut; i++) {
		const struct pair *pair = &v->pairs[i];

		for (uint64_t n = pair->performed; n < pair->posted; n++) {
			const struct fake_work *work = &pair->works[n % WH_RDMA_DEPTH_MAX];

			wh_assert(work->kind == FAKE_MARK || work->w.local_key != key);
		}
	}
}

void wh_verbs_expel(struct wh_verbs *v, struct wh_verbs_key *key)
{
	in_fabric;
	struct key *k = key->handle;

	if (!k)
		return;
	assert_unused(v, key->local);
	wh_assert(k->enrolled);
	k->enrolled = false;
	forget_ghosts(v, key->local);
	v->enrolled_bytes -= k->bytes;
	*key = (struct wh_verbs_key){ 0 };
}

static int post(struct wh_verbs *v, uint32_t number, const struct fake_work *work)
{
	struct pair *pair = &v->pairs[number];

	wh_assert(number < v->cfg.pairs && !v->cut && work->w.cookie < WH_VERBS_COOKIES);
	wh_assert(pair->posted - pair->free < v->cfg.depth);
	if (v->over)
		return v->over;
	pair->works[pair->posted++ % WH_RDMA_DEPTH_MAX] = *work;
	return 0;
}

int wh_verbs_write(struct wh_verbs *v, uint32_t pair, const struct wh_verbs_work *w)
{
	in_fabric;

	wh_assert(w->len >= 1 && w->len <= v->caps.write_len_max);
	return post(v, pair, &(struct fake_work){ .kind = FAKE_WRITE, .w = *w });
}

int wh_verbs_read(struct wh_verbs *v, uint32_t pair, const struct wh_verbs_work *w)
{
	in_fabric;

	wh_assert(w->len >= 1 && w->len <= v->caps.write_len_max);
	return post(v, pair, &(struct fake_work){ .kind = FAKE_READ, .w = *w });
}

int wh_verbs_mark(struct wh_verbs *v, uint32_t pair, uint32_t value, uint64_t cookie)
{
	in_fabric;
	const struct fake_work work = {
		.kind = FAKE_MARK,
		.value = value,
		.w = { .cookie = cookie, .signalled = true },
	};

	return post(v, pair, &work);
}

static struct wh_completion take_news(struct wh_verbs *v)
{
	const struct news *news = &v->news[v->first];
	struct pair *pair = &v->pairs[news->completion.pair];

	v->first = (v->first + 1) % COMPLETIONS_MAX;
	v->count--;
	if (news->free > pair->free)
		pair->free = news->free;
	if (news->completion.kind == WH_COMPLETION_MARKED && pair->unseen_marks > 0)
		pair->unseen_marks--;
	return news->completion;
}

int wh_verbs_poll(struct wh_verbs *v, struct wh_completion *completions, uint32_t max)
{
	in_fabric;
	uint32_t n = 0;

	wh_assert(!v->cut);
	run_some(v);
	run_some(v->peer);
	while (n < max && v->count > 0)
		completions[n++] = take_news(v);
	if (n > 0)
		v->armed = false;
	return n > 0 ? (int)n : v->over;
}

const char *wh_verbs_reason(const struct wh_verbs *v)
{
	return v->reason;
}

int wh_verbs_fd(const struct wh_verbs *v)
{
	return v->fd;
}

int wh_verbs_arm(struct wh_verbs *v)
{
	in_fabric;
	const int was_armed = v->armed;

	v->armed = true;
	return was_armed;
}

void wh_verbs_cut(struct wh_verbs *v)
{
	in_fabric;

	if (v->cut)
		return;
	v->cut = true;
	v->count = 0;
	if (v->peer)
		end_connection(v->peer, -ECONNRESET, "the peer ended the connection");
}

struct wh_verbs *wh_verbs_close(struct wh_verbs *v)
{
	in_fabric;

	if (!v)
		return NULL;
	wh_verbs_cut(v);
	wh_assert(fake_verbs_keys(v) == 0);
	if (v->peer)
		v->peer->peer = NULL;
	if (v->port)
		listeners[v->port - FIRST_PORT] = NULL;
	if (newest[v->cfg.passive] == v)
		newest[v->cfg.passive] = NULL;
	(void)close(v->fd);
	free(v);
	return NULL;
}

/* --- what the test asks ----------------------------------------------------------------------- */

uint32_t fake_verbs_waiting(const struct wh_verbs *v, uint32_t pair)
{
	return (uint32_t)(v->pairs[pair].posted - v->pairs[pair].performed);
}

const struct fake_work *fake_verbs_work(const struct wh_verbs *v, uint32_t number, uint32_t nth)
{
	const struct pair *pair = &v->pairs[number];

	wh_assert(nth < fake_verbs_waiting(v, number));
	return &pair->works[(pair->performed + nth) % WH_RDMA_DEPTH_MAX];
}

uint32_t fake_verbs_keys(const struct wh_verbs *v)
{
	uint32_t keys = 0;

	for (uint32_t i = 0; i < KEYS_MAX; i++)
		keys += v->keys[i].enrolled;
	return keys;
}
