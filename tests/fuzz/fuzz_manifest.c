/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Manifests under libFuzzer: whatever somebody applies.
 *
 * Beyond not crashing: what is refused is refused with its place and changes nothing, and what is
 * accepted reads as the same objects from their JSON and from their YAML. Policies and labels of
 * one file are asked about each other, as they would be in a cluster.
 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object.h"
#include "policy.h"

#include "policy_reference.h"

#include "wherry/assert.h"

#define POLICIES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refusal(const struct wh_objects *objects, const struct wh_error *err)
{
	unsigned int line = 0, column = 0;
	int end = 0;

	wh_assert(objects->ignored == 77 && !objects->items && objects->count == 0);
	wh_assert(sscanf(err->text, "f:%u:%u: %n", &line, &column, &end) == 2);
	wh_assert(end > 0 && line > 0 && column > 0 && err->text[end]);
	for (const char *c = err->text; *c; c++)
		wh_assert(*c >= ' ' && *c <= '~');
}

static void check_same(const struct wh_object *object, const char *text)
{
	struct wh_objects again = { 0 };

	wh_assert(wh_objects_parse(&again, "f", text, strlen(text), NULL) == 0);
	wh_assert(again.count == 1 && again.items[0].kind == object->kind);
	wh_assert(strcmp(again.items[0].name, object->name) == 0);
	wh_assert(strcmp(again.items[0].name_space, object->name_space) == 0);
	wh_assert(strcmp(again.items[0].json, object->json) == 0);
	wh_objects_done(&again);
}

static void check_object(const struct wh_object *object)
{
	char *yaml = wh_object_yaml(object->json);

	wh_assert(yaml && strlen(object->name) > 0);
	check_same(object, object->json);
	check_same(object, yaml);
	free(yaml);
}

static void check_winner(const struct wh_named_policy *named, size_t count,
                         const struct wh_objects *objects, enum wh_compatibility compatibility)
{
	struct wh_policy_set *set = NULL;

	wh_assert(wh_policy_set_new(&set, named, count, compatibility) == 0);
	for (size_t i = 0; i < objects->count; i++) {
		const struct wh_labels *vm = &objects->items[i].labels;
		const struct wh_labels *name_space = &objects->items[0].labels;
		const struct wh_named_policy *won = wh_policy_resolve(set, name_space, vm);
		const struct wh_named_policy *right =
			reference_resolve(named, count, compatibility, name_space, vm);

		wh_assert(!won == !right);
		wh_assert(!won || strcmp(won->name, right->name) == 0);
	}
	(void)wh_policy_set_free(set);
}

static void check_policies(const struct wh_objects *objects)
{
	struct wh_named_policy named[POLICIES_MAX];
	size_t count = 0;

	for (size_t i = 0; i < objects->count && count < POLICIES_MAX; i++) {
		const struct wh_object *object = &objects->items[i];

		if (object->kind == WH_KIND_POLICY)
			named[count++] = (struct wh_named_policy){ object->name, &object->policy };
	}
	check_winner(named, count, objects, WH_COMPATIBLE_DOCS);
	check_winner(named, count, objects, WH_COMPATIBLE_KUBEVIRT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wh_objects objects = { .ignored = 77 };
	struct wh_error err = { 0 };
	int r;

	r = wh_objects_parse(&objects, "f", data, size, &err);
	wh_assert(r == 0 || r == -EINVAL);
	if (r < 0) {
		check_refusal(&objects, &err);
		return 0;
	}
	for (size_t i = 0; i < objects.count; i++)
		check_object(&objects.items[i]);
	check_policies(&objects);
	wh_objects_done(&objects);
	return 0;
}
