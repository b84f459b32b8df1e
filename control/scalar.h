/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Scalar - what Kubernetes takes a word without quotes for: nothing, a boolean, a number, a string.
 *
 * Its reader knows more booleans and numbers than YAML 1.2 does: yes and on, 0644, 1_000. Who
 * writes such a word may well mean a string, so what is read here into a field wants quotes; what
 * is only kept, and what is written, means what it means there.
 */

#ifndef WH_SCALAR_H
#define WH_SCALAR_H

#include <stddef.h>

#include "wherry/cleanup.h"

enum wh_scalar_type {
	WH_SCALAR_NULL,   /* nothing at all, ~, null */
	WH_SCALAR_TRUE,   /* true */
	WH_SCALAR_FALSE,  /* false */
	WH_SCALAR_YES,    /* also true: y, yes, on */
	WH_SCALAR_NO,     /* also false: n, no, off */
	WH_SCALAR_NUMBER, /* 5, -1.5, 1e9, 0x1f, 0644, 1_000, .inf */
	WH_SCALAR_STRING,
};

enum wh_scalar_type wh_scalar_type(const char *text);

/* Room for any number as JSON, with the final NUL. */
#define WH_SCALAR_NUMBER_MAX 72u

/*
 * Write the number @text as JSON does: 0x1f as 31. Return: 0; -ERANGE if it is no finite number, if
 * it is whole and does not fit into 64 bits with a sign, or if it has more than 64 characters.
 */
wh_must_check int wh_scalar_number(char ret[WH_SCALAR_NUMBER_MAX], const char *text);

#endif
