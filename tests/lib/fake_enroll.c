/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fake enroll - dataplane/rdma_enroll.c without a thread. A job is done some looks after it was
 * posted.
 */

#include "rdma_enroll.h"

#include <stdlib.h>
#include <sys/eventfd.h>

#include "wherry/assert.h"
#include "wherry/fdpass.h"

struct wh_rdma_enroll {
	struct wh_verbs *verbs;
	struct wh_rdma_job jobs[WH_RDMA_JOBS_MAX];
	uint32_t first, count;
	uint32_t looks;
	int fd;
};

struct wh_rdma_enroll *wh_rdma_enroll_new(struct wh_verbs *verbs)
{
	struct wh_rdma_enroll *e = calloc(1, sizeof(*e));

	wh_assert(e);
	e->verbs = verbs;
	e->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return e;
}

bool wh_rdma_enroll_has_room(const struct wh_rdma_enroll *e)
{
	return e->count < WH_RDMA_JOBS_MAX;
}

void wh_rdma_enroll_post(struct wh_rdma_enroll *e, const struct wh_rdma_job *job)
{
	wh_assert(wh_rdma_enroll_has_room(e));
	e->jobs[(e->first + e->count++) % WH_RDMA_JOBS_MAX] = *job;
}

bool wh_rdma_enroll_take(struct wh_rdma_enroll *e, struct wh_rdma_job *ret)
{
	if (e->count == 0 || ++e->looks % 3 > 0)
		return false;
	*ret = e->jobs[e->first];
	e->first = (e->first + 1) % WH_RDMA_JOBS_MAX;
	e->count--;
	if (ret->expels)
		wh_verbs_expel(e->verbs, &ret->key);
	else
		ret->result =
			wh_verbs_enroll(e->verbs, ret->addr, ret->bytes, ret->rights, &ret->key);
	return true;
}

int wh_rdma_enroll_fd(const struct wh_rdma_enroll *e)
{
	return e->fd;
}

struct wh_rdma_enroll *wh_rdma_enroll_free(struct wh_rdma_enroll *e)
{
	if (!e)
		return NULL;
	for (uint32_t i = 0; i < e->count; i++)
		wh_verbs_expel(e->verbs, &e->jobs[(e->first + i) % WH_RDMA_JOBS_MAX].key);
	wh_closep(&e->fd);
	free(e);
	return NULL;
}
