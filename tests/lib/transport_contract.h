/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Transport contract - what include/wherry/transport.h promises, as tests of a struct link_pair. Every
 * transport passes all of them, in each way that it may work in.
 */

#ifndef WH_TRANSPORT_CONTRACT_H
#define WH_TRANSPORT_CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CONTRACT_CASES 12u

/* A way to work in. */
struct contract_way {
	const char *name;
	CMFixtureFunction setup; /* *@state is @argument, and then a struct link_pair */
	CMFixtureFunction teardown;
	void *argument;
};

/* Put the CONTRACT_CASES tests of @way into @tests, each with its name in it. */
void add_contract(struct CMUnitTest *tests, const struct contract_way *way);

/* One of them, which says most of contents that are compressed. */
void a_frame_arrives_after_every_write_before_it(void **state);

#endif
