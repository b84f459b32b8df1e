/* SPDX-License-Identifier: Apache-2.0 */

#include "throttle.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "cpu_group.h"

#include "wherry/assert.h"
#include "wherry/limits.h"

struct wh_throttle {
	struct wh_cpu_tree tree;
	size_t count;
	struct wh_cpu_group groups[];
};

static bool is_among(const pid_t *threads, size_t count, pid_t tid)
{
	for (size_t i = 0; i < count; i++)
		if (threads[i] == tid)
			return true;
	return false;
}

static int make_groups(struct wh_throttle *t, const struct wh_throttle_config *cfg,
                       struct wh_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < cfg->count; i++) {
		if (is_among(cfg->threads, i, cfg->threads[i]))
			continue;
		r = wh_cpu_group_make(&t->groups[t->count], &t->tree, cfg->id,
		                      (struct wh_cpu_thread){ cfg->pid, cfg->threads[i] }, err);
		t->count += r == 0;
	}
	return r;
}

int wh_throttle_open(struct wh_throttle **ret, const struct wh_throttle_config *cfg,
                     struct wh_error *err)
{
	struct wh_throttle *t;
	int r;

	if (cfg->count == 0 || cfg->count > WH_VCPUS_MAX)
		return wh_fail(err, -EINVAL, "it has %zu vCPUs", cfg->count);
	t = calloc(1, sizeof(*t) + cfg->count * sizeof(*t->groups));
	if (!t)
		return wh_fail(err, -ENOMEM, "no memory for the groups of its vCPUs");
	t->tree.fd = -1;
	r = wh_cpu_tree_open(&t->tree, err);
	if (r == 0)
		r = make_groups(t, cfg, err);
	if (r < 0) {
		(void)wh_throttle_close(t, NULL); /* the first failure is told */
		return r;
	}
	*ret = t;
	return 0;
}

int wh_throttle_set(struct wh_throttle *t, unsigned percent, struct wh_error *err)
{
	int failure = 0;

	/* All of them, since at 0 each counts. */
	for (size_t i = 0; i < t->count; i++) {
		int r = wh_cpu_group_slow(&t->groups[i], &t->tree, percent, failure ? NULL : err);

		failure = failure ? failure : r;
	}
	return failure;
}

int wh_throttle_close(struct wh_throttle *t, struct wh_error *err)
{
	int failure = 0;

	if (!t)
		return 0;
	for (size_t i = 0; i < t->count; i++) {
		int r = wh_cpu_group_undo(&t->groups[i], &t->tree, failure ? NULL : err);

		failure = failure ? failure : r;
	}
	wh_cpu_tree_close(&t->tree);
	free(t);
	return failure;
}

int wh_throttle_sweep(const char *id, struct wh_error *err)
{
	struct wh_cpu_tree tree;
	int r = wh_cpu_tree_open(&tree, err);

	if (r == -ENOENT)
		return 0; /* where there is none, nothing can have been made */
	if (r < 0)
		return r;
	r = wh_cpu_group_sweep(&tree, id, err);
	wh_cpu_tree_close(&tree);
	return r;
}
