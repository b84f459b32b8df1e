/* SPDX-License-Identifier: Apache-2.0 */

#include "kind.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "name.h"

#include "wherry/assert.h"

static const struct wh_kind_info kinds[WH_KINDS] = {
	[WH_KIND_HYPERCONVERGED] = { "HyperConverged", "hyperconvergeds", "hyperconverged", "hco",
	                             true },
	[WH_KIND_KUBEVIRT] = { "KubeVirt", "kubevirts", "kubevirt", "kv", true },
	[WH_KIND_POLICY] = { "MigrationPolicy", "migrationpolicies", "migrationpolicy", NULL,
	                     false },
	[WH_KIND_NAMESPACE] = { "Namespace", "namespaces", "namespace", "ns", false },
	[WH_KIND_VM] = { "VirtualMachine", "virtualmachines", "virtualmachine", "vm", true },
	[WH_KIND_VMI] = { "VirtualMachineInstance", "virtualmachineinstances",
	                  "virtualmachineinstance", "vmi", true },
	[WH_KIND_MIGRATION] = { "VirtualMachineInstanceMigration",
	                        "virtualmachineinstancemigrations",
	                        "virtualmachineinstancemigration", "vmim", true },
};

const struct wh_kind_info *wh_kind_info(enum wh_kind kind)
{
	wh_assert(kind < WH_KINDS);
	return &kinds[kind];
}

int wh_kind_parse(enum wh_kind *ret, const char *text, struct wh_error *err)
{
	struct wh_nearest nearest = { 0 };
	char lower[64];

	(void)snprintf(lower, sizeof(lower), "%s", text); /* no name is as long as that */
	for (char *c = lower; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	nearest.wrong = lower;

	for (unsigned int i = 0; i < WH_KINDS; i++) {
		const char *const names[] = { kinds[i].singular, kinds[i].plural, kinds[i].brief };

		for (size_t j = 0; j < sizeof(names) / sizeof(names[0]) && names[j]; j++) {
			if (!strcmp(lower, names[j])) {
				*ret = (enum wh_kind)i;
				return 0;
			}
			wh_nearest_offer(&nearest, names[j]);
		}
	}
	return wh_fail(err, -EINVAL, "unknown kind '%.40s'; the nearest known kind is '%s'", text,
	               nearest.best);
}
