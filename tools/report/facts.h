/* SPDX-License-Identifier: Apache-2.0 */
/* What can be learnt without running a guest: the host from /proc and /sys, KVM from its ioctls.
 * Every fact is optional: a file that is not there is a key that is not there, never an error.
 * All functions give a new JSON object (NULL only without memory). */
#ifndef REPORT_FACTS_H
#define REPORT_FACTS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* ---- host.c ---- */
json_t *host_facts(void); /* kernel, page size, memory, system, vulnerabilities */
json_t *cpu_facts(void);  /* model, fields of /proc/cpuinfo, features, caches, topology */

/* ---- kvm_info.c ---- */
/* {"device": "open"|reason, "api_version", "capabilities": {NAME: value}, "devices", "parameters",
 * "guest_cpu": chip_kvm_facts()} */
json_t *kvm_facts(void);

/* ---- kvm_caps.c ---- */
extern const unsigned kvm_caps_end;	   /* numbers are 0 … kvm_caps_end - 1 */
const char *kvm_cap_name(unsigned number); /* "IRQCHIP"; NULL: no such number */

/* ---- facts_CHIP.c: one is linked ---- */
extern const char *const chip_name;
/* Names of in-kernel devices that KVM_CREATE_DEVICE may know on this chip. */
struct kvm_device_name {
	unsigned type;
	const char *name;
};
extern const struct kvm_device_name chip_kvm_devices[]; /* ends with a NULL name */
/* A VM's type for KVM_CREATE_VM. */
unsigned long chip_vm_type(int kvm_fd);
/* Adds to cpu what this chip tells elsewhere than in /proc/cpuinfo, and names for its numbers. */
void chip_cpu_facts(json_t *cpu);
/* What KVM offers a guest's CPU: {"features": [name…], "registers": {name: "0x…"}, …}. vm_fd may be
 * -1 where no VM can be made. */
json_t *chip_kvm_facts(int kvm_fd, int vm_fd);

/* ---- host.c, shared ---- */
/* Reads a small file whole, without the spaces at its end. NULL when it cannot be read; free(). */
char *read_text(const char *path);
/* Sets key to the file's text, if there is one. */
void set_file(json_t *obj, const char *key, const char *path);
void set_text(json_t *obj, const char *key, const char *text); /* made printable; NULL: nothing */
void set_hex(json_t *obj, const char *key, uint64_t value);    /* "0x…" */
void set_int(json_t *obj, const char *key, long long value);
/* {"name": …, "value": …} pairs as an object of the files of a directory. */
json_t *dir_texts(const char *path);
/* The words of text as a sorted array without repetition. */
json_t *words(const char *text);
void sort_texts(json_t *array);

#endif
