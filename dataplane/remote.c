/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A thread that PTRACE_INTERRUPT stops is on its way back to user space. Its registers are
 * saved, then for each call replaced: the call's number and arguments, and as program counter a
 * "syscall" instruction that every process has in its vdso. One single step runs it. Arguments in
 * memory go below the red zone of the thread's stack, which nobody uses.
 *
 * When the saved registers come back, orig_rax among them, the kernel sees a system call that
 * was interrupted and restarts it.
 *
 * Our own death in between would ruin the process. The one that comes when our parent dies is put
 * off until the registers are back.
 */

#include "remote.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wherry/assert.h"

#if defined(__x86_64__)

/* Below the stack pointer: the ABI's red zone, then our arguments. */
#define RED_ZONE 128u

/* The vdso has two pages; this is more than it will grow to. */
#define VDSO_MAX (64u * 1024u)

static const uint8_t SYSCALL_INSN[] = { 0x0f, 0x05 };

struct wh_remote {
	pid_t pid;
	struct user_regs_struct saved;
	uint64_t syscall_addr;
	uint64_t scratch;
	uint64_t late_signals; /* set of signals to send again, bit = number */
	bool stopped;
	pid_t parent;     /* ours */
	int death_signal; /* sent to us when it ends; 0 for none */
};

static void outlive_parent(struct wh_remote *remote)
{
	remote->parent = getppid();
	if (prctl(PR_GET_PDEATHSIG, &remote->death_signal) < 0)
		remote->death_signal = 0;
	(void)prctl(PR_SET_PDEATHSIG, 0);
}

static void follow_parent(const struct wh_remote *remote)
{
	(void)prctl(PR_SET_PDEATHSIG, remote->death_signal);
	if (remote->death_signal && getppid() != remote->parent)
		(void)raise(remote->death_signal);
}

static int read_memory(pid_t pid, uint64_t addr, void *to, size_t len)
{
	struct iovec local = { .iov_base = to, .iov_len = len };
	struct iovec there = { .iov_base = (void *)(uintptr_t)addr, .iov_len = len };
	ssize_t n = process_vm_readv(pid, &local, 1, &there, 1, 0);

	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EFAULT;
}

static int write_memory(pid_t pid, uint64_t addr, const void *from, size_t len)
{
	struct iovec local = { .iov_base = (void *)(uintptr_t)from, .iov_len = len };
	struct iovec there = { .iov_base = (void *)(uintptr_t)addr, .iov_len = len };
	ssize_t n = process_vm_writev(pid, &local, 1, &there, 1, 0);

	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EFAULT;
}

/* The address range of the process's vdso. Return: 0 or -errno. */
static int find_vdso(pid_t pid, uint64_t *start, uint64_t *end)
{
	char path[32];
	char *line = NULL;
	size_t room = 0;
	int r = -ENOENT;
	FILE *maps;

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return -errno;
	while (r < 0 && getline(&line, &room, maps) >= 0)
		/* The kernel's numbers. NOLINTNEXTLINE(cert-err34-c) */
		if (strstr(line, "[vdso]") && sscanf(line, "%" SCNx64 "-%" SCNx64, start, end) == 2)
			r = 0;
	free(line);
	(void)fclose(maps); /* only read */
	return r;
}

static int find_syscall(struct wh_remote *remote)
{
	uint8_t code[VDSO_MAX];
	uint64_t start = 0, end = 0;
	const uint8_t *at;
	int r;

	r = find_vdso(remote->pid, &start, &end);
	if (r < 0)
		return r;
	if (end - start > sizeof(code))
		return -E2BIG;
	r = read_memory(remote->pid, start, code, end - start);
	if (r < 0)
		return r;
	at = memmem(code, end - start, SYSCALL_INSN, sizeof(SYSCALL_INSN));
	if (!at)
		return -ENOENT;
	remote->syscall_addr = start + (uint64_t)(at - code);
	return 0;
}

/* Wait for the thread's next stop. Return: its wait status, or -errno. */
static int wait_stop(struct wh_remote *remote)
{
	int status;
	pid_t got;

	do
		got = waitpid(remote->pid, &status, __WALL);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	if (!WIFSTOPPED(status))
		return -ESRCH; /* it has ended */
	return status;
}

/* A signal that stopped the thread on its way to us is sent again at the end. */
static void keep_signal(struct wh_remote *remote, int status)
{
	int sig = WSTOPSIG(status);

	if (status >> 16 == 0 && sig != SIGTRAP && sig < 64)
		remote->late_signals |= UINT64_C(1) << sig;
}

static int stop(struct wh_remote *remote)
{
	int status;

	if (ptrace(PTRACE_SEIZE, remote->pid, NULL, NULL) < 0)
		return -errno;
	remote->stopped = true; /* from here on close must let go */
	if (ptrace(PTRACE_INTERRUPT, remote->pid, NULL, NULL) < 0)
		return -errno;
	status = wait_stop(remote);
	if (status < 0)
		return status;
	keep_signal(remote, status);
	if (ptrace(PTRACE_GETREGS, remote->pid, NULL, &remote->saved) < 0)
		return -errno;
	remote->scratch = (remote->saved.rsp - RED_ZONE - WH_REMOTE_ARG_MAX) & ~UINT64_C(15);
	return 0;
}

int wh_remote_open(struct wh_remote **ret, pid_t pid, struct wh_error *err)
{
	wh_cleanup(wh_remote_closep) struct wh_remote *remote = calloc(1, sizeof(*remote));
	int r;

	if (!remote)
		return wh_fail(err, -ENOMEM, "out of memory");
	remote->pid = pid;
	outlive_parent(remote);
	r = find_syscall(remote);
	if (r < 0)
		return wh_fail(err, r, "no system call instruction found in process %d: %s",
		               (int)pid, strerror(-r));
	r = stop(remote);
	if (r < 0)
		return wh_fail(err, r, "cannot stop process %d: %s", (int)pid, strerror(-r));
	*ret = wh_steal(remote);
	return 0;
}

struct wh_remote *wh_remote_close(struct wh_remote *remote)
{
	if (!remote)
		return NULL;
	if (remote->stopped) {
		/* These fail only if the process is gone, and then there is nothing to undo. */
		if (remote->saved.rsp)
			(void)ptrace(PTRACE_SETREGS, remote->pid, NULL, &remote->saved);
		(void)ptrace(PTRACE_DETACH, remote->pid, NULL, NULL);
		for (int sig = 1; sig < 64; sig++)
			if (remote->late_signals & (UINT64_C(1) << sig))
				(void)syscall(SYS_tgkill, remote->pid, remote->pid, sig);
	}
	follow_parent(remote);
	free(remote);
	return NULL;
}

/* Step over the one instruction at syscall_addr. */
static int step(struct wh_remote *remote, struct user_regs_struct *regs)
{
	const uint64_t after = remote->syscall_addr + sizeof(SYSCALL_INSN);

	/* This ends: the step is taken or the process ends; signals are few and finite. */
	do {
		int status;

		if (ptrace(PTRACE_SINGLESTEP, remote->pid, NULL, NULL) < 0)
			return -errno;
		status = wait_stop(remote);
		if (status < 0)
			return status;
		keep_signal(remote, status);
		if (ptrace(PTRACE_GETREGS, remote->pid, NULL, regs) < 0)
			return -errno;
	} while (regs->rip != after);
	return 0;
}

long wh_remote_call(struct wh_remote *remote, long number, uint64_t arg0, uint64_t arg1,
                    uint64_t arg2)
{
	struct user_regs_struct regs = remote->saved;
	int r;

	regs.rip = remote->syscall_addr;
	regs.rax = (uint64_t)number;
	regs.orig_rax = ~UINT64_C(0); /* no system call is being restarted */
	regs.rdi = arg0;
	regs.rsi = arg1;
	regs.rdx = arg2;
	if (ptrace(PTRACE_SETREGS, remote->pid, NULL, &regs) < 0)
		return -errno;
	r = step(remote, &regs);
	return r < 0 ? r : (long)regs.rax;
}

long wh_remote_ioctl(struct wh_remote *remote, int fd, unsigned long request, void *arg, size_t len)
{
	long result;
	int r;

	wh_assert(len <= WH_REMOTE_ARG_MAX);
	r = write_memory(remote->pid, remote->scratch, arg, len);
	if (r < 0)
		return r;
	result = wh_remote_call(remote, SYS_ioctl, (uint64_t)fd, request, remote->scratch);
	r = read_memory(remote->pid, remote->scratch, arg, len);
	return r < 0 ? r : result;
}

#else

int wh_remote_open(struct wh_remote **ret, pid_t pid, struct wh_error *err)
{
	(void)ret;
	return wh_fail(err, -EOPNOTSUPP, "cannot attach to process %d: only x86-64 is supported",
	               (int)pid);
}

struct wh_remote *wh_remote_close(struct wh_remote *remote)
{
	wh_assert(!remote); /* none was ever opened */
	return NULL;
}

long wh_remote_call(struct wh_remote *remote, long number, uint64_t arg0, uint64_t arg1,
                    uint64_t arg2)
{
	(void)remote, (void)number, (void)arg0, (void)arg1, (void)arg2;
	return -EOPNOTSUPP;
}

long wh_remote_ioctl(struct wh_remote *remote, int fd, unsigned long request, void *arg, size_t len)
{
	(void)remote, (void)fd, (void)request, (void)arg, (void)len;
	return -EOPNOTSUPP;
}

#endif
