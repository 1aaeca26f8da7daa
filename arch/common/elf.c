/* SPDX-License-Identifier: Apache-2.0 */
/* ELF (System V gABI ch. 4 and 5). Program headers of both classes are brought to the 64-bit form
 * first; every later check works on that copy. */
#include "arch/common/elf.h"

#include <elf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define PHDR_MAX		 128
#define NOTE_MAX		 (64 * KIB)
#define XEN_ELFNOTE_PHYS32_ENTRY 18 /* Xen public/elfnote.h */

struct elf_file {
	int fd;
	uint64_t size;
	uint16_t machine;
	uint64_t entry;
	unsigned nphdr;
	Elf64_Phdr phdr[PHDR_MAX];
	struct err *e;
};

bool elf_is(const void *head, size_t len)
{
	return len >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG);
}

const char *elf_chip(uint16_t machine)
{
	switch (machine) {
	case EM_X86_64:
		return "x86_64";
	case EM_386:
		return "32-bit x86";
	case EM_AARCH64:
		return "arm64";
	case EM_RISCV:
		return "riscv64";
	default:
		return "another chip";
	}
}

static int bad(struct elf_file *f, const char *what)
{
	return err_set(f->e, ERR_HOST, -ENOEXEC, "--kernel: damaged ELF file: %s", what);
}

/* Reads exactly len bytes. */
static int read_at(struct elf_file *f, uint64_t off, void *buf, uint64_t len)
{
	uint64_t end, done = 0;

	if (__builtin_add_overflow(off, len, &end) || end > f->size)
		return bad(f, "truncated");
	while (done < len) {
		ssize_t n = pread(f->fd, (char *)buf + done, len - done, (off_t)(off + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(f->e, ERR_HOST, -errno, "--kernel: %s", strerror(errno));
		if (!n)
			return bad(f, "truncated");
		done += (uint64_t)n;
	}
	return 0;
}

static Elf64_Phdr widen(const Elf32_Phdr *p)
{
	return (Elf64_Phdr){
		.p_type = p->p_type,
		.p_offset = p->p_offset,
		.p_paddr = p->p_paddr,
		.p_filesz = p->p_filesz,
		.p_memsz = p->p_memsz,
		.p_align = p->p_align,
	};
}

static int read_phdrs(struct elf_file *f, uint64_t off, unsigned n, unsigned entsize, bool wide)
{
	uint8_t raw[PHDR_MAX * sizeof(Elf64_Phdr)];
	size_t want = wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	int r;

	if (!n || n > PHDR_MAX || entsize != want)
		return bad(f, "no program headers, too many, or of a wrong size");
	r = read_at(f, off, raw, n * want);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++) {
		Elf32_Phdr narrow;
		if (wide) {
			memcpy(&f->phdr[i], raw + i * want, want);
			continue;
		}
		memcpy(&narrow, raw + i * want, want);
		f->phdr[i] = widen(&narrow);
	}
	f->nphdr = n;
	return 0;
}

static int read_headers(struct elf_file *f)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr h32;
		Elf64_Ehdr h64;
	} u = {0};
	bool wide;
	int r;

	r = read_at(f, 0, &u, sizeof(u.h32));
	if (r < 0)
		return r;
	wide = u.ident[EI_CLASS] == ELFCLASS64;
	if (u.ident[EI_DATA] != ELFDATA2LSB || (!wide && u.ident[EI_CLASS] != ELFCLASS32))
		return bad(f, "neither 32-bit nor 64-bit little-endian");
	if (wide) {
		r = read_at(f, 0, &u, sizeof(u.h64));
		if (r < 0)
			return r;
		f->machine = u.h64.e_machine;
		f->entry = u.h64.e_entry;
		return read_phdrs(f, u.h64.e_phoff, u.h64.e_phnum, u.h64.e_phentsize, true);
	}
	f->machine = u.h32.e_machine;
	f->entry = u.h32.e_entry;
	return read_phdrs(f, u.h32.e_phoff, u.h32.e_phnum, u.h32.e_phentsize, false);
}

static int check_machine(struct elf_file *f, const uint16_t *machines)
{
	for (const uint16_t *m = machines; *m; m++)
		if (*m == f->machine)
			return 0;
	return err_set(f->e, ERR_HOST, -ENOEXEC,
		"--kernel: an ELF file for %s; needed is one for %s", elf_chip(f->machine),
		elf_chip(machines[0]));
}

/* In the order of the program headers; an overlap with a later one is found at the later one. */
static bool overlaps(const struct elf_file *f, unsigned i)
{
	const Elf64_Phdr *a = &f->phdr[i];

	for (unsigned j = 0; j < i; j++) {
		const Elf64_Phdr *b = &f->phdr[j];
		if (b->p_type == PT_LOAD && b->p_memsz && a->p_paddr < b->p_paddr + b->p_memsz &&
			b->p_paddr < a->p_paddr + a->p_memsz)
			return true;
	}
	return false;
}

static int load_segment(struct elf_file *f, struct guest_mem *m, unsigned i, uint64_t lowest)
{
	const Elf64_Phdr *p = &f->phdr[i];
	uint8_t *host;
	uint64_t end;
	int r;

	if (p->p_filesz > p->p_memsz || __builtin_add_overflow(p->p_paddr, p->p_memsz, &end))
		return bad(f, "a segment's sizes make no sense");
	if (overlaps(f, i))
		return bad(f, "segments overlap");
	host = guest_mem_ptr(m, p->p_paddr, p->p_memsz);
	if (p->p_paddr < lowest || !host)
		return err_set(f->e, ERR_HOST, -EINVAL,
			"--kernel: a segment for 0x%llx..0x%llx, which is not in the RAM that "
			"--memory gives (kernels go at 0x%llx and above)",
			(unsigned long long)p->p_paddr, (unsigned long long)end,
			(unsigned long long)lowest);
	r = read_at(f, p->p_offset, host, p->p_filesz);
	guest_mem_dirty(m, p->p_paddr, p->p_filesz);
	return r;
}

static int load_segments(
	struct elf_file *f, struct guest_mem *m, uint64_t lowest, struct elf_image *img)
{
	for (unsigned i = 0; i < f->nphdr; i++) {
		const Elf64_Phdr *p = &f->phdr[i];
		int r;

		if (p->p_type != PT_LOAD || !p->p_memsz)
			continue;
		r = load_segment(f, m, i, lowest);
		if (r < 0)
			return r;
		img->end = MAX(img->end, p->p_paddr + p->p_memsz);
	}
	return img->end ? 0 : bad(f, "nothing to load");
}

/* One PT_NOTE segment: { namesz, descsz, type, name, desc }, name and desc padded to 4. */
static void scan_notes(const uint8_t *n, uint64_t len, struct elf_image *img)
{
	uint64_t off = 0;

	while (len - off >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr h;
		uint64_t name, desc;

		memcpy(&h, n + off, sizeof(h));
		name = off + sizeof(h);
		desc = name + align_up(h.n_namesz, 4);
		off = desc + align_up(h.n_descsz, 4);
		if (off > len)
			return;
		if (h.n_type != XEN_ELFNOTE_PHYS32_ENTRY || h.n_namesz != 4 ||
			memcmp(n + name, "Xen", 4) || (h.n_descsz != 4 && h.n_descsz != 8))
			continue;
		img->pvh_entry = load_le(n + desc, h.n_descsz);
		img->has_pvh = true;
	}
}

static int read_notes(struct elf_file *f, struct elf_image *img)
{
	for (unsigned i = 0; i < f->nphdr && !img->has_pvh; i++) {
		const Elf64_Phdr *p = &f->phdr[i];
		cleanup_free uint8_t *n = NULL;
		int r;

		if (p->p_type != PT_NOTE || !p->p_filesz || p->p_filesz > NOTE_MAX)
			continue;
		n = malloc(p->p_filesz);
		if (!n)
			return -ENOMEM;
		r = read_at(f, p->p_offset, n, p->p_filesz);
		if (r < 0)
			return r;
		scan_notes(n, p->p_filesz, img);
	}
	return 0;
}

int elf_load(struct guest_mem *m, int fd, const uint16_t *machines, uint64_t lowest,
	struct elf_image *ret, struct err *e)
{
	struct elf_file f = {.fd = fd, .e = e};
	struct elf_image img = {0};
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(e, ERR_HOST, -errno, "--kernel: %s", strerror(errno));
	f.size = (uint64_t)st.st_size;
	r = read_headers(&f);
	if (r < 0)
		return r;
	r = check_machine(&f, machines);
	if (r < 0)
		return r;
	r = read_notes(&f, &img);
	if (r < 0)
		return r;
	if (!img.has_pvh)
		return err_set(e, ERR_HOST, -ENOEXEC,
			"--kernel: an ELF file without a PVH note; needed is a bzImage or an ELF "
			"kernel with PVH support");
	r = load_segments(&f, m, lowest, &img);
	if (r < 0)
		return r;
	img.machine = f.machine;
	img.entry = f.entry;
	*ret = img;
	return 0;
}
