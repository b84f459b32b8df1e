/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Quantity - numbers as Kubernetes' resource.Quantity writes them: 64Mi, 1.5G, 1e9.
 *
 *	number  digits, with a decimal point if wanted: 64  1.5  .5  5.  +64
 *	suffix  none, n u m k M G T P E (powers of 1000), Ki Mi Gi Ti Pi Ei (powers of 1024),
 *	        or e or E and a whole number (power of 10)
 *
 * The value is computed exactly. If it is not whole it is rounded up, as Quantity.Value() does:
 * 1500m is 2. A positive value below 1 is refused instead of becoming 1, since it is a slip (64m
 * for 64M). Values above 2^63 - 1, the largest that a Quantity can hold, are refused, too, where
 * Kubernetes silently caps some of them.
 */

#ifndef WH_QUANTITY_H
#define WH_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* Room for any formatted quantity, with the final NUL. */
#define WH_QUANTITY_TEXT_MAX 24

/**
 * wh_quantity_parse() - Read a quantity of bytes or bytes per second
 * @ret:	receives the value; untouched on failure
 * @err:	receives what is wrong and what would be right; the caller adds the place
 *
 * Return: 0, -EINVAL if @text is no quantity, -ERANGE if its value is not allowed.
 */
wh_must_check int wh_quantity_parse(uint64_t *ret, const char *text, struct wh_error *err);

/* Write @value exactly, with the suffix that makes it shortest: 64Mi, 1500k, 7. */
void wh_quantity_format(char text[WH_QUANTITY_TEXT_MAX], uint64_t value);

#endif
