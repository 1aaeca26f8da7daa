/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/fd_arg.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int ask(const char *text, int access, struct err *e)
{
	*e = (struct err){0};
	return fd_arg("--kernel", text, access, e);
}

Test(fd_arg, duplicates_what_is_open)
{
	char text[32];
	struct err e;
	int pipe_fd[2];

	cr_assert_eq(pipe(pipe_fd), 0);
	snprintf(text, sizeof(text), "fd=%d", pipe_fd[0]);
	int fd = ask(text, O_RDONLY, &e);
	cr_assert_geq(fd, 3, "%s", e.text);
	cr_expect_neq(fd, pipe_fd[0]);
	cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_expect_eq(fcntl(pipe_fd[0], F_GETFD), FD_CLOEXEC); /* nor for children */
	close(fd);
	cr_expect_eq(ask(text, O_WRONLY, &e), -EINVAL);
	cr_expect(strstr(e.text, "--kernel") && strstr(e.text, "writing"), "%s", e.text);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	cr_expect_eq(ask(text, O_RDONLY, &e), -EBADF);
	cr_expect(strstr(e.text, text), "%s", e.text);
}

Test(fd_arg, tells_paths_from_descriptors)
{
	static const char *const wrong[] = {"fd=", "fd=x", "fd=-1", "fd=99999999999", "fd=1x"};
	struct err e;

	cr_expect_eq(ask("vmlinuz", O_RDONLY, &e), -ENOENT);
	cr_expect_eq(e.kind, ERR_NONE);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		cr_expect_eq(ask(wrong[i], O_RDONLY, &e), -EINVAL, "%s", wrong[i]);
		cr_expect_eq(e.kind, ERR_USAGE);
	}
}

Test(fd_arg, a_closed_descriptor_names_flag_and_id)
{
	struct err e = {0};

	cr_expect_eq(fd_duplicate("--disk", "_disk0", 9999, &e), -EBADF);
	cr_expect(strstr(e.text, "--disk _disk0") && strstr(e.text, "9999"), "%s", e.text);
}
