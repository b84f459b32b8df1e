/* SPDX-License-Identifier: Apache-2.0 */

/* Remove tree - what a test that has a directory of its own leaves there. */

#ifndef TEST_REMOVE_TREE_H
#define TEST_REMOVE_TREE_H

#include <ftw.h>
#include <stdio.h>

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

/* Remove @dir with all that is in it. Return: 0 if that was done. */
static inline int remove_tree(const char *dir)
{
	return nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
