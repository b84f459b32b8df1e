/* SPDX-License-Identifier: Apache-2.0 */

/*
 * wherry check - whether a VM could be moved: the verdict first, then all that was looked at, those
 * that are in the way on top, and last what would get each of them out of it.
 */

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "cli_table.h"

static bool is(const json_t *check, const char *what)
{
	return json_is_true(json_object_get(check, what));
}

enum rank {
	IN_THE_WAY,
	TO_HEED,
	FINE,
	RANKS,
};

static enum rank rank_of(const json_t *check)
{
	if (!is(check, "good"))
		return IN_THE_WAY;
	return is(check, "note") ? TO_HEED : FINE;
}

static size_t count_of(const json_t *checks, enum rank rank)
{
	size_t count = 0;

	for (size_t i = 0; i < json_array_size(checks); i++)
		count += rank_of(json_array_get(checks, i)) == rank;
	return count;
}

static void print_verdict(const json_t *answer, size_t bad)
{
	const char *to = wh_json_text(answer, "to");

	(void)printf("VM %s on node %s %s be moved%s%s", wh_json_text(answer, "vm"),
	             wh_json_text(answer, "node"), bad ? "can NOT" : "can", *to ? " to node " : "",
	             to);
	if (bad)
		(void)printf(": %zu thing%s in the way", bad, bad > 1 ? "s are" : " is");
	(void)printf("\n\n");
}

static void print_checks(const json_t *checks)
{
	static const char *const titles[] = { "OK", "OF", "WHAT", "IS THE CASE", NULL };
	static const char *const marks[RANKS] = { "NO", "yes, but", "yes" };
	wh_cleanup(wh_table_freep) struct wh_table *table = wh_table_new(titles);

	for (enum rank rank = IN_THE_WAY; rank < RANKS; rank++)
		for (size_t i = 0; i < json_array_size(checks); i++) {
			const json_t *check = json_array_get(checks, i);

			if (rank_of(check) != rank)
				continue;
			wh_table_put(table, "%s", marks[rank]);
			wh_table_put(table, "%s", wh_json_text(check, "about"));
			wh_table_put(table, "%s", wh_json_text(check, "rule"));
			wh_table_put(table, "%s", wh_json_text(check, "is"));
		}
	wh_table_print(table, stdout, 0);
}

static void print_remedies(const char *vm, const json_t *checks)
{
	static const char *const titles[] = { "", "", NULL };
	wh_cleanup(wh_table_freep) struct wh_table *table = wh_table_new(titles);
	bool fixable = false;

	(void)printf("\nWhat would make each NO a yes\n");
	for (size_t i = 0; i < json_array_size(checks); i++) {
		const json_t *check = json_array_get(checks, i);

		if (is(check, "good"))
			continue;
		fixable |= is(check, "fixable");
		wh_table_put(table, "%s%s", wh_json_text(check, "rule"),
		             is(check, "fixable") ? " (*)" : "");
		wh_table_put(table, "%s", wh_json_text(check, "remedy"));
	}
	wh_table_print(table, stdout, 2);
	if (fixable)
		(void)printf(
			"\n(*) 'wherry check %s --fix-xml' prints the XML with this done. Define it "
			"with 'virsh define',\n    then shut the guest down and start it: what runs "
			"now keeps its memory as it is.\n",
			vm);
}

static int print(const json_t *answer)
{
	const json_t *checks = json_object_get(answer, "checks");
	size_t bad = count_of(checks, IN_THE_WAY);

	print_verdict(answer, bad);
	print_checks(checks);
	if (bad)
		print_remedies(wh_json_text(answer, "vm"), checks);
	return bad ? WH_EXIT_FAILED : WH_EXIT_DONE;
}

int wh_cli_check(struct wh_cli *cli)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	const char *to = wh_cli_option(cli, "to");
	const bool fix = wh_cli_option(cli, "fix-xml") != NULL;
	struct wh_error err;

	if (fix && (to || wh_cli_option(cli, "json")))
		return wh_cli_usage(cli, "--fix-xml prints XML and nothing else");
	if (wh_cli_ask(cli,
	               json_pack("{s:s, s:s, s:s*, s:s*, s:b}", "command", "check", "vm",
	                         wh_cli_operand(cli, 0), "namespace",
	                         wh_cli_option(cli, "namespace"), "to", to, "fix", fix),
	               &answer, &err) < 0)
		return wh_cli_fail(&err);
	if (fix) {
		(void)fputs(wh_json_text(answer, "xml"), stdout);
		return WH_EXIT_DONE;
	}
	if (!wh_cli_option(cli, "json"))
		return print(answer);
	(void)wh_cli_print_answer(answer);
	return is(answer, "good") ? WH_EXIT_DONE : WH_EXIT_FAILED;
}
