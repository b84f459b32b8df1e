/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Contents - what memory under test is filled with.
 */

#ifndef WH_CONTENTS_H
#define WH_CONTENTS_H

#include <stddef.h>
#include <stdint.h>

/* Words of a small language in random order: becomes a third or less of its length. */
void fill_text(uint8_t *to, size_t len);

/* Bytes that nothing makes shorter. */
void fill_random(uint8_t *to, size_t len);

#endif
