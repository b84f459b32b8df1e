/* SPDX-License-Identifier: Apache-2.0 */

/* Program - where the other programs of this installation are. */

#ifndef WH_PROGRAM_H
#define WH_PROGRAM_H

#include "wherry/cleanup.h"
#include "wherry/error.h"

/*
 * The path of @name, from malloc(): beside the program that runs, as in a build tree, or else in the libexec
 * directory, whether it is there or not. Return: 0 or -errno.
 */
wh_must_check int wh_program_find(char **ret, const char *name, struct wh_error *err);

#endif
