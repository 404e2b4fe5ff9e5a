/* Shifts the time of day of a program by as many seconds as the file says that CLOCK_OFFSET names. Other clocks go on
 * as they are. Built as a shared object, for LD_PRELOAD. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
	long offset = 0;
	int result = syscall(SYS_clock_gettime, clock, time);
	const char *path = getenv("CLOCK_OFFSET");
	FILE *file = clock == CLOCK_REALTIME && path ? fopen(path, "r") : NULL;

	if (file) {
		if (fscanf(file, "%ld", &offset) != 1)
			offset = 0;
		fclose(file);
	}
	time->tv_sec += offset;
	return result;
}
