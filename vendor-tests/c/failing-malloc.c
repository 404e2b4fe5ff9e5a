/*
 * An allocator that fails once, to be preloaded (LD_PRELOAD).
 *
 *     FAIL_AT=n     the n-th allocation of the process fails, and no other
 *     COUNT_TO=path how many there were is written there at the end
 *
 * Those of other programs that the process starts are counted anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_long count, fail_at;

__attribute__((constructor)) static void begin(void)
{
	const char *text = getenv("FAIL_AT");

	/* What the loader and the C library took before is not counted. */
	atomic_store(&count, 0);
	atomic_store(&fail_at, text ? atol(text) : 0);
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("COUNT_TO");
	char text[32];
	int file, length;

	if (!path)
		return;
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (file < 0)
		return;
	length = snprintf(text, sizeof(text), "%ld\n", atomic_load(&count));
	if (write(file, text, length) != length)
		abort();
	close(file);
}

static int fails(void)
{
	long number = atomic_fetch_add(&count, 1) + 1;

	if (number != atomic_load(&fail_at))
		return 0;
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
	return fails() ? NULL : __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
	return fails() ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **new, size_t alignment, size_t size)
{
	*new = memalign(alignment, size);
	return *new ? 0 : ENOMEM;
}
