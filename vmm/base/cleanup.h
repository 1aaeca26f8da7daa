/* SPDX-License-Identifier: Apache-2.0 */
/* Cleanup attributes for locals: the error path of a function that owns only locals is a plain
 * `return`. Hand ownership on with steal_fd() or steal_ptr(), which leave the local empty. */
#ifndef VMM_BASE_CLEANUP_H
#define VMM_BASE_CLEANUP_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_filep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_unlockp(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}

#define CLEANUP(fn)    __attribute__((cleanup(fn)))
#define cleanup_fd     CLEANUP(cleanup_closep)
#define cleanup_free   CLEANUP(cleanup_freep)
#define cleanup_file   CLEANUP(cleanup_filep)
#define cleanup_unlock CLEANUP(cleanup_unlockp) __attribute__((unused))

/* Locks m until the end of the enclosing scope. */
#define LOCK_SCOPE(m) cleanup_unlock pthread_mutex_t *lock_scope_held_ = lock_scope_(m)

static inline pthread_mutex_t *lock_scope_(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

static inline int steal_fd(int *fd)
{
	int ret = *fd;
	*fd = -1;
	return ret;
}

#define steal_ptr(p)                                                                               \
	({                                                                                         \
		__typeof__(*(p)) steal_ret_ = *(p);                                                \
		*(p) = NULL;                                                                       \
		steal_ret_;                                                                        \
	})

#endif
