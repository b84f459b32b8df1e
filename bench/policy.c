/* SPDX-License-Identifier: Apache-2.0 */

/*
 * policy [POLICIES [VMS]] - what it costs to load policies and to find the one of each VM
 *
 * 10000 policies and 100000 VMs, if nothing is said. Policies have one to four entries; one label is
 * shared by half of them, others by a few. What is printed:
 *
 *	documents	reading them from one file of many documents
 *	list		the same policies in one List, with the metadata that "oc get" prints
 *	set		making the index from them
 *	resolve		finding the policy of every VM, and for each
 *	scan		looking at all policies instead, for some of the VMs; it finds the same, or this
 *			program fails
 *	memory		the most this process ever had, and what policies and index hold
 *
 * docs/benchmarks.md tells how to compare; the ratio of scan to resolve is of one run.
 */

#include <inttypes.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "object.h"
#include "policy.h"

#include "policy_reference.h"
#include "random.h"

#include "wherry/clock.h"

#define NAMESPACES 100u
#define LABELS     5u
#define TEXT_MAX   32u
#define SCANNED    200u

static int fail(const char *why)
{
	(void)fprintf(stderr, "policy: %s\n", why);
	exit(1);
}

/* Writing policies. */

static const char *const environments[] = { "production", "test", "development", "staging" };
static const char *const tiers[] = { "gold", "silver", "bronze" };

static void write_selectors(FILE *out, uint64_t *seed, const char *indent, uint64_t teams)
{
	const bool shared = random_below(seed, 2);

	(void)fprintf(out, "%sselectors:\n", indent);
	if (random_below(seed, 2))
		(void)fprintf(out, "%s  namespaceSelector:\n%s    unit: \"%" PRIu64 "\"\n", indent,
		              indent, random_below(seed, NAMESPACES / 2));
	(void)fprintf(out, "%s  virtualMachineInstanceSelector:\n", indent);
	(void)fprintf(out, "%s    example.com/team: t%" PRIu64 "\n", indent,
	              random_below(seed, teams));
	if (shared)
		(void)fprintf(out, "%s    kubevirt.io/environment: production\n", indent);
	if (random_below(seed, 2))
		(void)fprintf(out, "%s    tier: %s\n", indent, tiers[random_below(seed, 3)]);
}

static void write_policy(FILE *out, uint64_t *seed, bool in_list, size_t number, uint64_t teams)
{
	const char *indent = in_list ? "  " : "";

	(void)fprintf(out, "%sapiVersion: migrations.kubevirt.io/v1alpha1\n",
	              in_list ? "- " : "---\n");
	(void)fprintf(out, "%skind: MigrationPolicy\n%smetadata:\n%s  name: p%zu\n", indent, indent,
	              indent, number);
	if (in_list)
		(void)fprintf(
			out,
			"    annotations:\n"
			"      kubectl.kubernetes.io/last-applied-configuration: |\n"
			"        {\"apiVersion\":\"migrations.kubevirt.io/v1alpha1\",\"kind\":"
			"\"MigrationPolicy\",\"metadata\":{\"annotations\":{},\"name\":\"p%zu\"}}\n"
			"    creationTimestamp: \"2026-03-02T09:14:51Z\"\n"
			"    generation: 3\n    resourceVersion: \"%zu\"\n"
			"    uid: 0d1f7a52-6f0b-4a1e-9a43-%012zx\n",
			number, number + 48000, number);
	(void)fprintf(out, "%sspec:\n%s  bandwidthPerMigration: %" PRIu64 "Mi\n", indent, indent,
	              1 + random_below(seed, 1024));
	if (random_below(seed, 2))
		(void)fprintf(out, "%s  allowPostCopy: true\n", indent);
	write_selectors(out, seed, in_list ? "    " : "  ", teams);
	if (in_list)
		(void)fprintf(out, "  status: {}\n");
}

/* The same policies each time, in the way that @in_list says. */
static char *write_policies(size_t count, bool in_list, uint64_t seed, size_t *ret_len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_len);

	if (!out)
		exit(fail("out of memory"));
	if (in_list)
		(void)fprintf(out, "apiVersion: v1\nkind: List\nitems:\n");
	for (size_t i = 0; i < count; i++)
		write_policy(out, &seed, in_list, i, count / 2 + 1);
	if (fclose(out) != 0)
		(void)fail("out of memory");
	return text;
}

/* Labels of namespaces and VMs. */

struct labelled {
	struct wh_label items[LABELS];
	char values[LABELS][TEXT_MAX];
	struct wh_labels labels;
};

static void add(struct labelled *l, const char *key, const char *fmt, ...) wh_printf(3, 4);

static void add(struct labelled *l, const char *key, const char *fmt, ...)
{
	const size_t i = l->labels.count++;
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(l->values[i], TEXT_MAX, fmt, args);
	va_end(args);
	l->labels.items = l->items;
	l->items[i] = (struct wh_label){ (char *)(uintptr_t)key, l->values[i] };
}

/* Keys come sorted, as labels want them. */
static void label_vm(struct labelled *vm, uint64_t *seed, uint64_t teams)
{
	add(vm, "app", "a%" PRIu64, random_below(seed, 1000));
	add(vm, "example.com/team", "t%" PRIu64, random_below(seed, teams));
	add(vm, "kubevirt.io/environment", "%s", environments[random_below(seed, 4)]);
	add(vm, "tier", "%s", tiers[random_below(seed, 3)]);
}

struct guests {
	struct labelled *namespaces;
	struct labelled *vms;
	const struct wh_named_policy **won;
	size_t count;
};

static struct guests new_guests(size_t count, uint64_t teams, uint64_t seed)
{
	struct guests g = {
		.namespaces = calloc(NAMESPACES, sizeof(*g.namespaces)),
		.vms = calloc(count, sizeof(*g.vms)),
		.won = calloc(count, sizeof(struct wh_named_policy *)),
		.count = count,
	};

	if (!g.namespaces || !g.vms || !g.won)
		(void)fail("out of memory");
	for (size_t i = 0; i < NAMESPACES; i++) {
		add(&g.namespaces[i], "kubernetes.io/metadata.name", "n%zu", i);
		add(&g.namespaces[i], "unit", "%zu", i / 2);
	}
	for (size_t i = 0; i < count; i++)
		label_vm(&g.vms[i], &seed, teams);
	return g;
}

/* Measuring. */

static double seconds_since(uint64_t start_ns)
{
	return (double)(wh_now_ns(&wh_clock_monotonic) - start_ns) / (double)WH_NSEC_PER_SEC;
}

static double mib(size_t bytes)
{
	return (double)bytes / (1 << 20);
}

static struct wh_objects load(const char *what, const char *text, size_t len)
{
	struct wh_objects objects = { 0 };
	struct wh_error err = { 0 };
	const uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);

	if (wh_objects_parse(&objects, what, text, len, &err) < 0)
		(void)fail(err.text);
	(void)printf("%-12s %8.3f s    %zu policies of %.1f MiB\n", what, seconds_since(start_ns),
	             objects.count, mib(len));
	return objects;
}

static struct wh_policy_set *make_set(const struct wh_named_policy *named, size_t count)
{
	const uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);
	struct wh_policy_set *set = NULL;

	if (wh_policy_set_new(&set, named, count, WH_COMPATIBLE_DOCS) < 0)
		(void)fail("out of memory");
	(void)printf("%-12s %8.3f s\n", "set", seconds_since(start_ns));
	return set;
}

/* Return: seconds for one VM. */
static double resolve(const struct wh_policy_set *set, struct guests *g)
{
	const uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);
	size_t found = 0;
	double took_s;

	for (size_t i = 0; i < g->count; i++) {
		g->won[i] = wh_policy_resolve(set, &g->namespaces[i % NAMESPACES].labels,
		                              &g->vms[i].labels);
		found += g->won[i] != NULL;
	}
	took_s = seconds_since(start_ns);
	(void)printf("%-12s %8.3f s    %.2f us each; %zu of %zu VMs have a policy\n", "resolve",
	             took_s, took_s * 1e6 / (double)g->count, found, g->count);
	return took_s / (double)g->count;
}

/* Return: seconds for one VM. */
static double scan(const struct wh_named_policy *named, size_t count, const struct guests *g)
{
	const size_t scanned = g->count < SCANNED ? g->count : SCANNED;
	const uint64_t start_ns = wh_now_ns(&wh_clock_monotonic);
	double took_s;

	for (size_t i = 0; i < scanned; i++) {
		const struct wh_named_policy *right =
			reference_resolve(named, count, WH_COMPATIBLE_DOCS,
		                          &g->namespaces[i % NAMESPACES].labels, &g->vms[i].labels);
		const struct wh_named_policy *won = g->won[i];

		if (!won != !right || (won && strcmp(won->name, right->name) != 0))
			(void)fail("the index and a scan of all policies disagree");
	}
	took_s = seconds_since(start_ns);
	(void)printf("%-12s %8.3f s    %.2f us each, for %zu VMs\n", "scan", took_s,
	             took_s * 1e6 / (double)scanned, scanned);
	return took_s / (double)scanned;
}

static size_t parse_count(const char *text)
{
	char *end;
	const unsigned long count = strtoul(text, &end, 10);

	if (*end || count == 0 || count > 10000000) {
		(void)fprintf(stderr, "usage: policy [POLICIES [VMS]]\n");
		exit(2);
	}
	return count;
}

static struct wh_named_policy *name_all(const struct wh_objects *objects)
{
	struct wh_named_policy *named = calloc(objects->count, sizeof(*named));

	if (!named)
		exit(fail("out of memory"));
	for (size_t i = 0; i < objects->count; i++)
		named[i] = (struct wh_named_policy){ objects->items[i].name,
			                             &objects->items[i].policy };
	return named;
}

int main(int argc, char **argv)
{
	const size_t policies = argc > 1 ? parse_count(argv[1]) : 10000;
	const size_t vms = argc > 2 ? parse_count(argv[2]) : 100000;
	uint64_t seed = random_seed();
	size_t len = 0;
	char *text = write_policies(policies, true, seed, &len);
	struct wh_objects objects = load("list", text, len);
	struct wh_named_policy *named;
	struct wh_policy_set *set;
	struct guests guests;
	struct rusage usage;
	double index_s, scan_s;

	wh_objects_done(&objects);
	free(text);
	text = write_policies(policies, false, seed, &len);
	objects = load("documents", text, len);
	free(text);
	named = name_all(&objects);
	set = make_set(named, objects.count);
	guests = new_guests(vms, policies / 2 + 1, seed ^ UINT64_C(0x5555));

	index_s = resolve(set, &guests);
	scan_s = scan(named, objects.count, &guests);
	(void)getrusage(RUSAGE_SELF, &usage); /* cannot fail */
	(void)printf("%-12s %8.1f MiB  at most; %.1f MiB in use at the end\n", "memory",
	             (double)usage.ru_maxrss / 1024,
	             mib(mallinfo2().uordblks + mallinfo2().hblkhd));
	(void)printf("scan / resolve = %.0f\n", scan_s / index_s);

	(void)wh_policy_set_free(set);
	free(named);
	wh_objects_done(&objects);
	free(guests.namespaces);
	free(guests.vms);
	free(guests.won);
	return 0;
}
