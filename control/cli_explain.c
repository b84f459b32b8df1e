/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry explain - why a VM would be migrated the way it would: what its labels are, what became of
 * each policy's selectors, and where each setting comes from. The policy that wins comes first,
 * then others that match, then those that do not.
 */

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "cli_table.h"

static void print_labels(const char *of, const json_t *labels)
{
	(void)printf("\nLabels of %s%s\n", of, json_object_size(labels) == 0 ? ": none" : "");
	wh_cli_print_labels(labels);
}

static void print_entries(const json_t *entries)
{
	static const char *const titles[] = { "", "LABEL OF", "KEY", "WANTED", "IS", NULL };
	wh_cleanup(wh_table_freep) struct wh_table *table = wh_table_new(titles);

	for (size_t i = 0; i < json_array_size(entries); i++) {
		const json_t *e = json_array_get(entries, i);
		const char *has = json_string_value(json_object_get(e, "has"));

		wh_table_put(table, "%s",
		             json_is_true(json_object_get(e, "matches")) ? "yes" : "NO");
		wh_table_put(table, "%s", wh_json_text(e, "of"));
		wh_table_put(table, "%s", wh_json_text(e, "key"));
		wh_table_put(table, "\"%s\"", wh_json_text(e, "wants"));
		if (has)
			wh_table_put(table, "\"%s\"", has);
		else
			wh_table_put(table, "not there");
	}
	if (json_array_size(entries) > 0)
		wh_table_print(table, stdout, 4);
}

/* 0 for the winner, 1 for others that match, 2 for the rest. */
static int rank_of(const json_t *policy)
{
	if (json_is_true(json_object_get(policy, "wins")))
		return 0;
	return json_is_true(json_object_get(policy, "matches")) ? 1 : 2;
}

static void print_policy(const json_t *policy)
{
	(void)printf("%s %s: %s\n", rank_of(policy) == 0 ? "*" : " ", wh_json_text(policy, "name"),
	             wh_json_text(policy, "why"));
	print_entries(json_object_get(policy, "entries"));
}

static void print_policies(const json_t *policies)
{
	(void)printf("\nPolicies%s\n", json_array_size(policies) == 0 ? ": none" : "");
	for (int rank = 0; rank <= 2; rank++)
		for (size_t i = 0; i < json_array_size(policies); i++)
			if (rank_of(json_array_get(policies, i)) == rank)
				print_policy(json_array_get(policies, i));
}

/* What one wants to know first. */
static void print_winner(const json_t *policies)
{
	for (size_t i = 0; i < json_array_size(policies); i++)
		if (rank_of(json_array_get(policies, i)) == 0) {
			(void)printf("policy %s\n",
			             wh_json_text(json_array_get(policies, i), "name"));
			return;
		}
	(void)printf("no policy: the settings of the cluster\n");
}

static void print(const json_t *answer)
{
	const char *name_space = wh_json_text(answer, "namespace");
	const char *node = wh_json_text(answer, "node");
	const char *from = wh_json_text(answer, "vm_labels_from");
	char of[128];

	(void)printf("VM %s in namespace %s, ", wh_json_text(answer, "vm"), name_space);
	if (*node)
		(void)printf("on node %s: ", node);
	else
		(void)printf("on a node that is not known: ");
	print_winner(json_object_get(answer, "policies"));
	(void)snprintf(of, sizeof(of), "namespace %s", name_space);
	print_labels(of, json_object_get(answer, "namespace_labels"));
	(void)snprintf(of, sizeof(of), "the VM%s%s", *from ? ", by its " : "",
	               !strcmp(from, "domain") ? "domain's metadata" : from);
	print_labels(of, json_object_get(answer, "vm_labels"));
	print_policies(json_object_get(answer, "policies"));
	(void)printf("\nSettings of a migration that starts now\n");
	wh_cli_print_settings(json_object_get(answer, "settings"));
}

int wh_cli_explain(struct wh_cli *cli)
{
	return wh_cli_show(cli,
	                   json_pack("{s:s, s:s, s:s*}", "command", "explain", "vm",
	                             wh_cli_operand(cli, 0), "namespace",
	                             wh_cli_option(cli, "namespace")),
	                   print);
}
