/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Random policies and labels: the resolver agrees with a plain reading of the documentation, and
 * the order in which policies are given never matters.
 *
 * Few keys and values, so that many policies match and few are alone with their score.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy.h"

#include "policy_reference.h"
#include "random.h"

#define ROUNDS       2000
#define ASKED        20
#define POLICIES_MAX 24
#define LABELS_MAX   5

static const char *const keys[] = { "A", "a", "a-b", "a/b", "ab", "b", "c" };
static const char *const values[] = { "", "v", "w" };

#define KEYS   (sizeof(keys) / sizeof(keys[0]))
#define VALUES (sizeof(values) / sizeof(values[0]))

/* Labels of constant strings. */
struct set {
	struct wh_label items[LABELS_MAX];
	struct wh_labels labels;
};

static void fill(struct set *set, uint64_t *seed, uint64_t max)
{
	const size_t wanted = random_below(seed, max + 1);

	set->labels = (struct wh_labels){ .items = set->items };
	/* Keys in their order, each with a chance that leaves about as many as wanted. */
	for (size_t i = 0; i < KEYS && set->labels.count < LABELS_MAX; i++) {
		if (random_below(seed, KEYS) >= wanted)
			continue;
		set->items[set->labels.count++] = (struct wh_label){
			.key = (char *)(uintptr_t)keys[i],
			.value = (char *)(uintptr_t)values[random_below(seed, VALUES)],
		};
	}
}

struct policies {
	struct set sets[POLICIES_MAX][2];
	struct wh_policy specs[POLICIES_MAX];
	char names[POLICIES_MAX][8];
	struct wh_named_policy named[POLICIES_MAX];
	size_t count;
};

static void make_policies(struct policies *p, uint64_t *seed)
{
	p->count = random_below(seed, POLICIES_MAX + 1);
	for (size_t i = 0; i < p->count; i++) {
		fill(&p->sets[i][0], seed, 2);
		fill(&p->sets[i][1], seed, 2);
		p->specs[i] = (struct wh_policy){
			.has_selectors = random_below(seed, 8) > 0,
			.namespace_selector = p->sets[i][0].labels,
			.vm_selector = p->sets[i][1].labels,
		};
		if (!p->specs[i].has_selectors)
			p->specs[i].namespace_selector = p->specs[i].vm_selector =
				(struct wh_labels){ 0 };
		(void)snprintf(p->names[i], sizeof(p->names[i]), "p%zu", i);
		p->named[i] = (struct wh_named_policy){ p->names[i], &p->specs[i] };
	}
}

static void shuffle(struct policies *p, uint64_t *seed)
{
	for (size_t i = p->count; i > 1; i--) {
		const size_t other = random_below(seed, i);
		const struct wh_named_policy policy = p->named[i - 1];

		p->named[i - 1] = p->named[other];
		p->named[other] = policy;
	}
}

static const char *name_of(const struct wh_named_policy *policy)
{
	return policy ? policy->name : "none";
}

/* Ask the resolver and the reference about random VMs. Return: how many had a policy. */
static unsigned int compare(struct policies *p, enum wh_compatibility compatibility, uint64_t *seed)
{
	wh_cleanup(wh_policy_set_freep) struct wh_policy_set *set = NULL;
	wh_cleanup(wh_policy_set_freep) struct wh_policy_set *shuffled = NULL;
	unsigned int found = 0;

	assert_int_equal(wh_policy_set_new(&set, p->named, p->count, compatibility), 0);
	shuffle(p, seed);
	assert_int_equal(wh_policy_set_new(&shuffled, p->named, p->count, compatibility), 0);

	for (int i = 0; i < ASKED; i++) {
		struct set name_space, vm;
		const struct wh_named_policy *right, *won, *won_too;

		fill(&name_space, seed, LABELS_MAX);
		fill(&vm, seed, LABELS_MAX);
		right = reference_resolve(p->named, p->count, compatibility, &name_space.labels,
		                          &vm.labels);
		won = wh_policy_resolve(set, &name_space.labels, &vm.labels);
		won_too = wh_policy_resolve(shuffled, &name_space.labels, &vm.labels);

		if (strcmp(name_of(won), name_of(right)) != 0 ||
		    strcmp(name_of(won_too), name_of(won)) != 0)
			fail_msg("of %zu policies %s won, in another order %s; right is %s",
			         p->count, name_of(won), name_of(won_too), name_of(right));
		found += right != NULL;
	}
	return found;
}

static void the_resolver_agrees_with_the_documentation(void **state)
{
	static struct policies policies;
	uint64_t seed = random_seed();
	unsigned int found = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		make_policies(&policies, &seed);
		found += compare(&policies, WH_COMPATIBLE_DOCS, &seed);
		found += compare(&policies, WH_COMPATIBLE_KUBEVIRT, &seed);
	}
	print_message("# %u of %d VMs had a policy\n", found, 2 * ROUNDS * ASKED);
	/* Neither outcome is rare, or nothing was looked at. */
	assert_in_range(found, ROUNDS * ASKED / 4, 2 * ROUNDS * ASKED - ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_resolver_agrees_with_the_documentation),
	};

	return cmocka_run_group_tests_name("policy_random", tests, NULL, NULL);
}
