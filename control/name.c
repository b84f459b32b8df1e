/* SPDX-License-Identifier: Apache-2.0 */

#include "name.h"

#include <stdint.h>
#include <string.h>

#include "wherry/limits.h"

bool wh_name_valid(const char *name)
{
	const size_t len = strlen(name);

	return len > 0 && len < WH_NAME_MAX && name[0] != '-' && name[len - 1] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

bool wh_subdomain_valid(const char *name)
{
	const size_t len = strlen(name);

	/* Each label begins and ends with a letter or a digit, so beside '.' there is no '-'. */
	return len > 0 && len < WH_OBJECT_NAME_MAX && !strchr("-.", name[0]) &&
	       !strchr("-.", name[len - 1]) && !strstr(name, "..") && !strstr(name, ".-") &&
	       !strstr(name, "-.") && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len;
}

static size_t smallest(size_t a, size_t b, size_t c)
{
	const size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/*
 * Levenshtein's distance, row by row: row[j] is the distance of the first i letters of @a to the
 * first j letters of @b. Letters beyond WH_NAME_MAX do not count.
 */
static size_t distance(const char *a, const char *b)
{
	const size_t a_len = strnlen(a, WH_NAME_MAX);
	const size_t b_len = strnlen(b, WH_NAME_MAX);
	size_t row[WH_NAME_MAX + 1];

	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = smallest(replaced, row[j] + 1, row[j - 1] + 1);
		}
	}
	return row[b_len];
}

void wh_nearest_offer(struct wh_nearest *nearest, const char *known)
{
	const size_t to_known = distance(nearest->wrong, known);

	if (nearest->best && nearest->distance <= to_known)
		return;
	nearest->best = known;
	nearest->distance = to_known;
}
