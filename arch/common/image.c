/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. zlib's gzread() would pass plain files through as well, but with a copy; a kernel
 * that lies unpacked on disk is read by the kernel straight into guest memory. */
#include "arch/common/image.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define INITRD_ALIGN (64 * KIB) /* the largest page size a guest may have */
#define READ_CHUNK   (1u << 30)

static int unpack_start(struct image_file *f, struct err *e)
{
	cleanup_fd int fd = dup(f->fd);

	/* gzdopen reads from the file's offset and closes its fd. */
	if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_set(e, ERR_HOST, -errno, "%s: cannot read: %s", f->flag,
			strerrordesc_np(errno));
	f->gz = gzdopen(fd, "rb");
	if (!f->gz)
		return err_set(e, ERR_HOST, -ENOMEM, "%s: cannot unpack: out of memory", f->flag);
	steal_fd(&fd);
	gzbuffer(f->gz, 64 * KIB);
	return 0;
}

int image_open(struct image_file *f, int fd, const char *flag, struct err *e)
{
	uint8_t magic[2] = {0};
	struct stat st;

	*f = (struct image_file){.fd = fd, .flag = flag};
	if (fstat(fd, &st) < 0)
		return err_set(
			e, ERR_HOST, -errno, "%s: cannot read: %s", flag, strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_HOST, -EINVAL, "%s: not a regular file", flag);
	f->size = (uint64_t)st.st_size;
	if (pread(fd, magic, 2, 0) < 0)
		return err_set(
			e, ERR_HOST, -errno, "%s: cannot read: %s", flag, strerrordesc_np(errno));
	/* RFC 1952 §2.3.1 */
	return magic[0] == 0x1f && magic[1] == 0x8b ? unpack_start(f, e) : 0;
}

void image_close(struct image_file *f)
{
	if (f->gz)
		gzclose_r(f->gz);
	f->gz = NULL;
}

static ssize_t read_some(struct image_file *f, void *buf, size_t len, struct err *e)
{
	unsigned n = (unsigned)MIN(len, READ_CHUNK);
	ssize_t r;

	if (!f->gz) {
		do {
			r = pread(f->fd, buf, n, (off_t)f->pos);
		} while (r < 0 && errno == EINTR);
		return r < 0 ? err_set(e, ERR_HOST, -errno, "%s: cannot read: %s", f->flag,
				       strerrordesc_np(errno))
			     : r;
	}
	r = gzread(f->gz, buf, n);
	if (r < 0 || (r < (ssize_t)n && !gzeof(f->gz)))
		return err_set(
			e, ERR_HOST, -EINVAL, "%s: the gzip file is damaged or truncated", f->flag);
	return r;
}

ssize_t image_read(struct image_file *f, void *buf, size_t len, struct err *e)
{
	size_t done = 0;

	while (done < len) {
		ssize_t r = read_some(f, (uint8_t *)buf + done, len - done, e);

		if (r < 0)
			return r;
		if (!r)
			break;
		done += (size_t)r;
		f->pos += (size_t)r;
	}
	/* A truncated archive delivers what it has before gzread() fails: ask for its verdict. */
	if (f->gz && done < len) {
		int code = Z_OK;

		gzerror(f->gz, &code);
		if (code != Z_OK && code != Z_STREAM_END)
			return err_set(e, ERR_HOST, -EINVAL,
				"%s: the gzip file is damaged or truncated", f->flag);
	}
	return (ssize_t)done;
}

ssize_t image_read_rest(
	struct image_file *f, struct guest_mem *m, uint64_t gpa, uint64_t max, struct err *e)
{
	uint8_t *p = max ? guest_mem_ptr(m, gpa, max) : NULL, extra;
	ssize_t n, r;

	if (!p)
		return err_set(e, ERR_HOST, -E2BIG,
			"%s: does not fit in the guest's memory; raise --memory size=", f->flag);
	n = image_read(f, p, max, e);
	if (n < 0)
		return n;
	guest_mem_dirty(m, gpa, (uint64_t)n);
	if ((uint64_t)n < max)
		return n;
	r = image_read(f, &extra, 1, e);
	if (r > 0)
		return err_set(e, ERR_HOST, -E2BIG,
			"%s: does not fit in the guest's memory; raise --memory size=", f->flag);
	return r < 0 ? r : n;
}

int image_load_initrd(struct guest_mem *m, int fd, uint64_t floor, uint64_t ceiling,
	struct boot *boot, struct err *e)
{
	/* The guest unpacks its initramfs itself, so this is read as it lies on disk. */
	struct image_file f = {.fd = fd, .flag = "--initramfs"};
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return err_set(e, ERR_HOST, -errno, "--initramfs: cannot read: %s",
			strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_HOST, -EINVAL, "--initramfs: not a regular file");
	f.size = (uint64_t)st.st_size;
	if (!f.size)
		return err_set(e, ERR_HOST, -EINVAL, "--initramfs: the file is empty");
	if (f.size > ceiling || align_down(ceiling - f.size, INITRD_ALIGN) < floor)
		return err_set(e, ERR_HOST, -ENOSPC,
			"--initramfs: its %llu bytes do not fit in the guest's memory beside the kernel; "
			"raise --memory size=",
			(unsigned long long)f.size);
	boot->initrd = align_down(ceiling - f.size, INITRD_ALIGN);
	n = image_read_rest(&f, m, boot->initrd, f.size, e);
	if (n < 0)
		return (int)n;
	if ((uint64_t)n != f.size)
		return err_set(
			e, ERR_HOST, -EINVAL, "--initramfs: the file shrank while it was read");
	boot->initrd_size = f.size;
	return 0;
}
