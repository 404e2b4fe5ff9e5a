/*
 * Runs a program under the system-call limits of a systemd unit.
 *
 *     confine LIMITS PROGRAM [ARGUMENT...]
 *
 * LIMITS is a file of lines "syscall NAME" and "family NUMBER". Everything else
 * fails with EPERM. The rest follows systemd 252, src/shared/seccomp-util.c:
 * MemoryDenyWriteExecute= (seccomp_memory_deny_write_execute), RestrictNamespaces=
 * (seccomp_restrict_namespaces) and RestrictAddressFamilies=
 * (seccomp_restrict_address_families).
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static scmp_filter_ctx filter;

static void check(int result, const char *what)
{
	if (result < 0)
		errx(125, "%s: %s", what, strerror(-result));
}

static void allow(const char *name)
{
	const unsigned long namespaces = CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET |
		CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS;
	int number = seccomp_syscall_resolve_name(name);

	/* systemd too passes over what another architecture or a newer kernel has. */
	if (number == __NR_SCMP_ERROR)
		return;
	if (!strcmp(name, "socket") || !strcmp(name, "unshare") || !strcmp(name, "setns"))
		return;
	if (!strcmp(name, "clone3")) {
		/* Its flags are out of a filter's sight. */
		check(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0), name);
	} else if (!strcmp(name, "clone")) {
		check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces, 0)), name);
	} else if (!strcmp(name, "mmap")) {
		check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE, 0)), name);
		check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE | PROT_EXEC, PROT_WRITE)), name);
	} else if (!strcmp(name, "mprotect")) {
		check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)), name);
	} else {
		check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0), name);
	}
}

int main(int argc, char **argv)
{
	char kind[16], value[64];
	FILE *limits;

	if (argc < 3)
		errx(125, "usage: confine LIMITS PROGRAM [ARGUMENT...]");
	limits = fopen(argv[1], "re");
	if (!limits)
		err(125, "%s", argv[1]);
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		errx(125, "seccomp_init");
	while (fscanf(limits, "%15s %63s", kind, value) == 2) {
		if (!strcmp(kind, "syscall"))
			allow(value);
		else if (!strcmp(kind, "family"))
			check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				SCMP_A0(SCMP_CMP_EQ, strtoul(value, NULL, 10))), value);
		else
			errx(125, "%s: %s?", argv[1], kind);
	}
	fclose(limits);
	check(seccomp_load(filter), "seccomp_load");
	execv(argv[2], argv + 2);
	err(126, "%s", argv[2]);
}
