/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Policy reference - docs/semantics.md section 2 word by word: looks at all policies, and knows
 * nothing of how control/policy.c finds the winner.
 */

#ifndef POLICY_REFERENCE_H
#define POLICY_REFERENCE_H

#include "policy.h"

/* The winner among @count policies; NULL if none matches. */
const struct wh_named_policy *reference_resolve(const struct wh_named_policy *policies,
                                                size_t count, enum wh_compatibility compatibility,
                                                const struct wh_labels *name_space,
                                                const struct wh_labels *vm);

#endif
