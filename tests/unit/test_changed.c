/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "changed.h"

#include "wherry/fdpass.h"

#define GROUP   WH_RUN_PAGES_MAX
#define GIB     (UINT64_C(1) << 30)
#define ROOM    ((uint64_t)WH_CHANGED_BYTES_MAX / 16) /* pages: a hash has 16 bytes */
#define COUNT   4u
#define FIRST_N ((struct wh_run){ .first = 0, .count = COUNT })

static const uint8_t secret[WH_CHANGED_SECRET_BYTES] = "one";
static const uint8_t another[WH_CHANGED_SECRET_BYTES] = "two";

/* A guest of @bytes in huge pages. Its file is not looked at. */
static struct wh_ram huge_ram(uint64_t bytes)
{
	wh_cleanup(wh_closep) int fd = memfd_create("ram", MFD_CLOEXEC);
	struct wh_ram ram = { 0 };

	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	assert_int_equal(wh_ram_add(&ram, "ram", bytes, fd, NULL), 0);
	ram.regions[0].page_bytes = WH_HUGE_BYTES_MAX;
	return ram;
}

/* Note @run, each page with contents that @seed tells from others. Return: how many changed. */
static uint32_t note(struct wh_changed *changed, struct wh_run run, uint8_t seed)
{
	uint8_t contents[WH_PAGE_SIZE];
	uint32_t count = 0;

	wh_changed_begin(changed, run);
	for (uint32_t i = 0; i < run.count; i++) {
		memset(contents, seed, sizeof(contents));
		count += wh_changed_note(changed, run.first + i, contents);
	}
	return count;
}

static void a_page_is_the_same_only_as_it_was_last(void **state)
{
	const struct wh_ram ram = huge_ram(GIB);
	wh_cleanup(wh_changed_freep) struct wh_changed *changed = wh_changed_new(&ram, secret);

	(void)state;
	assert_int_equal(note(changed, FIRST_N, 1), COUNT);
	assert_int_equal(note(changed, FIRST_N, 1), 0);
	assert_int_equal(note(changed, FIRST_N, 2), COUNT);
	assert_int_equal(note(changed, FIRST_N, 1), COUNT);
	assert_int_equal(note(changed, FIRST_N, 1), 0);
}

static void a_page_never_sent_has_changed_even_if_it_is_zero(void **state)
{
	const struct wh_ram ram = huge_ram(GIB);
	wh_cleanup(wh_changed_freep) struct wh_changed *changed = wh_changed_new(&ram, secret);

	(void)state;
	assert_int_equal(note(changed, FIRST_N, 0), COUNT);
	assert_int_equal(note(changed, FIRST_N, 0), 0);
}

static void pages_are_told_apart_by_one_bit(void **state)
{
	const struct wh_ram ram = huge_ram(GIB);
	wh_cleanup(wh_changed_freep) struct wh_changed *changed = wh_changed_new(&ram, secret);
	uint8_t contents[WH_PAGE_SIZE] = { 0 };

	(void)state;
	wh_changed_begin(changed, FIRST_N);
	assert_true(wh_changed_note(changed, 1, contents));
	for (size_t i = 0; i < sizeof(contents); i += 97) {
		contents[i] ^= 0x10;
		assert_true(wh_changed_note(changed, 1, contents));
		assert_false(wh_changed_note(changed, 1, contents));
	}
}

static void pages_do_not_share_what_is_known_of_them(void **state)
{
	const struct wh_ram ram = huge_ram(GIB);
	const struct wh_run run = { .first = UINT64_C(5) * GROUP, .count = GROUP };
	wh_cleanup(wh_changed_freep) struct wh_changed *changed = wh_changed_new(&ram, secret);

	(void)state;
	assert_int_equal(note(changed, FIRST_N, 1), COUNT);
	assert_int_equal(note(changed, run, 1), GROUP);
	assert_int_equal(note(changed, run, 1), 0);
	assert_int_equal(note(changed, (struct wh_run){ .first = 4, .count = 9 }, 1), 9);
}

static void the_secret_changes_no_answer(void **state)
{
	const struct wh_ram ram = huge_ram(GIB);
	wh_cleanup(wh_changed_freep) struct wh_changed *one = wh_changed_new(&ram, secret);
	wh_cleanup(wh_changed_freep) struct wh_changed *two = wh_changed_new(&ram, another);

	(void)state;
	for (uint8_t seed = 0; seed < 9; seed++) {
		assert_int_equal(note(one, FIRST_N, seed), note(two, FIRST_N, seed));
		assert_int_equal(note(one, FIRST_N, seed), note(two, FIRST_N, seed));
	}
}

/* One page of each group. Return: how many changed. */
static uint64_t note_all(struct wh_changed *changed, uint64_t groups)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < groups; i++)
		count += note(changed, (struct wh_run){ .first = i * GROUP, .count = 1 }, 1);
	return count;
}

static void a_guest_with_room_for_all_is_known_at_once(void **state)
{
	const struct wh_ram ram = huge_ram(ROOM * WH_PAGE_SIZE);
	wh_cleanup(wh_changed_freep) struct wh_changed *changed = wh_changed_new(&ram, secret);

	(void)state;
	assert_int_equal(note_all(changed, ROOM / GROUP), ROOM / GROUP);
	assert_int_equal(note_all(changed, ROOM / GROUP), 0);
}

static void in_a_larger_guest_room_is_for_what_is_sent_again(void **state)
{
	const uint64_t groups = 2 * ROOM / GROUP;
	const struct wh_ram ram = huge_ram(2 * ROOM * WH_PAGE_SIZE);
	const struct wh_run last = { .first = (groups - 1) * GROUP, .count = 7 };
	wh_cleanup(wh_changed_freep) struct wh_changed *changed = wh_changed_new(&ram, secret);

	(void)state;
	assert_int_equal(note_all(changed, groups), groups);
	/* The second time takes the room, the third time finds what it left. */
	assert_int_equal(note(changed, last, 1), 7);
	assert_int_equal(note(changed, last, 1), 0);
	assert_int_equal(note_all(changed, groups - 1), groups - 1);
	/* All but one group had room then; those that had none are sent each time. */
	assert_int_equal(note_all(changed, groups - 1), groups - ROOM / GROUP);
	assert_int_equal(note_all(changed, groups - 1), groups - ROOM / GROUP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_the_same_only_as_it_was_last),
		cmocka_unit_test(a_page_never_sent_has_changed_even_if_it_is_zero),
		cmocka_unit_test(pages_are_told_apart_by_one_bit),
		cmocka_unit_test(pages_do_not_share_what_is_known_of_them),
		cmocka_unit_test(the_secret_changes_no_answer),
		cmocka_unit_test(a_guest_with_room_for_all_is_known_at_once),
		cmocka_unit_test(in_a_larger_guest_room_is_for_what_is_sent_again),
	};

	return cmocka_run_group_tests_name("changed", tests, NULL, NULL);
}
