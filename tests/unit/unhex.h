/* SPDX-License-Identifier: Apache-2.0 */

/* Unhex - bytes from how golden.h writes them. */

#ifndef WH_UNHEX_H
#define WH_UNHEX_H

#include <stdint.h>

static inline uint8_t unhex_nibble(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Return: how many bytes @hex says. Blanks are for the reader. */
static inline uint32_t unhex(uint8_t *to, const char *hex)
{
	uint32_t len = 0;

	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		to[len++] = (uint8_t)(unhex_nibble(hex[0]) << 4 | unhex_nibble(hex[1]));
		hex++;
	}
	return len;
}

#endif
