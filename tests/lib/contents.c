/* SPDX-License-Identifier: Apache-2.0 */

#include "contents.h"

#include <string.h>

static uint32_t next(uint64_t *random)
{
	*random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(*random >> 32);
}

void fill_text(uint8_t *to, size_t len)
{
	static const char *const words[] = { "the ",    "guest ", "moves ",   "page ",
		                             "memory ", "while ", "it ",      "runs ",
		                             "over ",   "to ",    "another ", "host, " };
	uint64_t random = 1;

	while (len > 0) {
		const char *word = words[next(&random) % (sizeof(words) / sizeof(words[0]))];
		size_t part = strnlen(word, len);

		memcpy(to, word, part);
		to += part;
		len -= part;
	}
}

void fill_random(uint8_t *to, size_t len)
{
	uint64_t random = 2;

	while (len > 0) {
		const uint32_t value = next(&random);
		size_t part = len < sizeof(value) ? len : sizeof(value);

		memcpy(to, &value, part);
		to += part;
		len -= part;
	}
}
