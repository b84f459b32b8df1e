/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How a mover makes a system call in the hypervisor: it seizes a sleeping thread, lets it run one
 * `syscall` instruction found in the vdso, and puts everything back. The thread's own interrupted
 * system call then carries on, and the program never learns of it.
 */

#include "tap.h"

#ifndef __x86_64__

int main(void)
{
	tap_skip_all("x86-64");
}

#else

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLEEP_MS 1000 /* how long a sleep with a timeout lasts */
#define LATER_MS 600  /* into it, the second call is injected */
#define POLL_MS  5
#define WAIT_MS  5000

/* Shared with the sleeper. */
struct shared {
	int pipe_fds[2]; /* a byte here wakes read and ppoll */
	_Atomic uint32_t futex;
};

/* One way to sleep. */
struct sleep_case {
	const char *name;
	long number;                     /* the system call, as /proc/PID/syscall shows it */
	bool (*sleep)(struct shared *s); /* in the child: whether it ended as it should */
	void (*wake)(struct shared *s);  /* or NULL: a timeout ends it */
};

static bool sleep_in_read(struct shared *s)
{
	char byte = 0;

	return read(s->pipe_fds[0], &byte, 1) == 1 && byte == 'w';
}

static bool sleep_in_ppoll(struct shared *s)
{
	struct pollfd ready = { .fd = s->pipe_fds[0], .events = POLLIN };

	return ppoll(&ready, 1, NULL, NULL) == 1 && ready.revents == POLLIN;
}

static bool sleep_in_futex(struct shared *s)
{
	return syscall(SYS_futex, &s->futex, FUTEX_WAIT, 0, NULL, NULL, 0) == 0;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whether a wait that began at @start_ms lasted for its time, and did not begin anew. */
static bool lasted(uint64_t start_ms)
{
	uint64_t ms = now_ms() - start_ms;

	return ms >= SLEEP_MS - 1 && ms < SLEEP_MS + LATER_MS - 100;
}

static bool sleep_in_poll_timeout(struct shared *s)
{
	struct pollfd ready = { .fd = s->pipe_fds[0], .events = POLLIN };
	uint64_t start_ms = now_ms();

	return poll(&ready, 1, SLEEP_MS) == 0 && lasted(start_ms);
}

static bool sleep_in_nanosleep(struct shared *s)
{
	struct timespec time = { .tv_sec = SLEEP_MS / 1000, .tv_nsec = SLEEP_MS % 1000 * 1000000L };
	uint64_t start_ms = now_ms();

	(void)s;
	return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL) == 0 && lasted(start_ms);
}

static void wake_by_byte(struct shared *s)
{
	tap_need(write(s->pipe_fds[1], "w", 1) == 1, "write to the sleeper");
}

static void wake_by_futex(struct shared *s)
{
	atomic_store(&s->futex, 1);
	tap_need(syscall(SYS_futex, &s->futex, FUTEX_WAKE, 1, NULL, NULL, 0) == 1, "wake a futex");
}

static const struct sleep_case cases[] = {
	{ "read", SYS_read, sleep_in_read, wake_by_byte },
	{ "ppoll", SYS_ppoll, sleep_in_ppoll, wake_by_byte },
	{ "futex", SYS_futex, sleep_in_futex, wake_by_futex },
	{ "poll with a timeout", SYS_poll, sleep_in_poll_timeout, NULL },
	{ "clock_nanosleep", SYS_clock_nanosleep, sleep_in_nanosleep, NULL },
};

/* Wait until @pid sleeps in the system call @number, or in the rest of it after a restart. */
static void wait_until_asleep(pid_t pid, long number)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	for (int i = 0; i < WAIT_MS / POLL_MS; i++) {
		char line[256] = "running";
		FILE *file = fopen(path, "re");
		char *end;
		long now;

		if (!file)
			tap_skip_all("/proc/PID/syscall");
		(void)!fgets(line, sizeof(line), file);
		(void)fclose(file);
		now = strtol(line, &end, 10);
		if (end != line && (now == number || now == SYS_restart_syscall))
			return;
		(void)poll(NULL, 0, POLL_MS);
	}
	tap_need(false, "wait for the sleeper");
}

/* Where in @pid a `syscall` instruction is: the vdso always has one, and is mapped to execute. */
static uint64_t find_syscall_instruction(pid_t pid)
{
	static const unsigned char code[] = { 0x0f, 0x05 };
	unsigned char vdso[16384];
	uint64_t start = 0;
	char path[64];
	char line[512];
	ssize_t len;
	FILE *maps;
	int mem;
	void *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	tap_need(maps, path);
	while (!start && fgets(line, sizeof(line), maps)) {
		if (strstr(line, "[vdso]"))
			start = strtoull(line, NULL, 16);
	}
	(void)fclose(maps);

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	len = pread(mem, vdso, sizeof(vdso), (off_t)start);
	(void)close(mem);
	tap_need(start && len > 0, "read the vdso");
	at = memmem(vdso, (size_t)len, code, sizeof(code));
	tap_need(at, "find a syscall instruction in the vdso");
	return start + (uint64_t)((unsigned char *)at - vdso);
}

static bool stops(pid_t pid)
{
	int status = 0;

	return waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
}

/*
 * Run the system call @number, without arguments, in the stopped thread. orig_rax = -1 tells the
 * kernel that there is no interrupted call to restart: not now, but with the old registers again.
 */
static long inject(pid_t pid, long number)
{
	struct user_regs_struct saved;
	struct user_regs_struct regs;

	tap_need(ptrace(PTRACE_GETREGS, pid, NULL, &saved) == 0, "PTRACE_GETREGS");
	regs = saved;
	regs.rip = find_syscall_instruction(pid);
	regs.rax = (unsigned long)number;
	regs.orig_rax = (unsigned long)-1;
	tap_need(ptrace(PTRACE_SETREGS, pid, NULL, &regs) == 0, "PTRACE_SETREGS");
	tap_need(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && stops(pid), "single step");
	tap_need(ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0, "PTRACE_GETREGS");
	tap_need(ptrace(PTRACE_SETREGS, pid, NULL, &saved) == 0, "PTRACE_SETREGS");
	return (long)regs.rax;
}

static long inject_once(pid_t pid, long number)
{
	long result;

	tap_need(ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0, "PTRACE_SEIZE");
	tap_need(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0 && stops(pid), "PTRACE_INTERRUPT");
	result = inject(pid, number);
	tap_need(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0, "PTRACE_DETACH");
	return result;
}

static void runs_a_call_unnoticed(const struct sleep_case *c, struct shared *s)
{
	int status = -1;
	pid_t pid = fork();

	tap_need(pid >= 0, "fork");
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(!c->sleep(s));
	}

	for (int round = 0; round < 2; round++) {
		wait_until_asleep(pid, c->number);
		tap_ok(inject_once(pid, SYS_getpid) == pid, "%s: runs getpid()", c->name);
		if (round == 0 && !c->wake)
			(void)poll(NULL, 0, LATER_MS);
	}
	if (c->wake) {
		/* Not before it sleeps again, in the same call or in what restarts it. */
		wait_until_asleep(pid, c->number);
		c->wake(s);
	}
	(void)waitpid(pid, &status, 0);
	tap_ok(status == 0, "%s: carries on as if nothing had happened", c->name);
}

int main(void)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	tap_need(s != MAP_FAILED, "mmap");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tap_need(pipe(s->pipe_fds) == 0, "pipe");
		runs_a_call_unnoticed(&cases[i], s);
		(void)close(s->pipe_fds[0]);
		(void)close(s->pipe_fds[1]);
	}
	return tap_done();
}

#endif
