/* SPDX-License-Identifier: Apache-2.0 */
/* JSON to configuration and back, with the documents that v1's clients really send. */
#include "vmm/api/v1.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"
#include "vmm/http/body.h"

static char warnings[1024];

static void warn(void *arg, const char *path)
{
	(void)arg;
	strcat(warnings, path);
	strcat(warnings, " ");
}

static const struct opts_json how = {.warn = warn};

static int read_text(const char *text, struct vm_config *c, struct err *e)
{
	json_t *o;

	warnings[0] = '\0';
	*e = (struct err){0};
	int r = http_body_json(text, strlen(text), &o, e);
	if (r < 0)
		return r;
	r = v1_config(o, &how, c, e);
	json_decref(o);
	return r;
}

static void take(const char *text, struct vm_config *c)
{
	struct err e;

	cr_assert_eq(read_text(text, c, &e), 0, "%s: %s", text, e.text);
}

static void refuse(const char *text, const char *says)
{
	struct vm_config c;
	struct err e;

	cr_expect_eq(read_text(text, &c, &e), -EINVAL, "%s", text);
	cr_expect_eq(e.kind, ERR_USAGE);
	cr_expect(strstr(e.text, says), "%s: %s", text, e.text);
}

/* virCHMonitorBuildVMJson() of libvirt 11: what a domain with a PTY console, a disk and direct
 * kernel boot becomes. */
Test(v1, what_libvirt_sends)
{
	struct vm_config c;
	struct err e = {0};

	take("{\"console\":{\"mode\":\"Pty\"},\"serial\":{\"mode\":\"Pty\"},"
	     "\"cpus\":{\"boot_vcpus\":2,\"max_vcpus\":2},\"memory\":{\"size\":1073741824},"
	     "\"payload\":{\"cmdline\":\"console=ttyS0 root=/dev/vda1\",\"kernel\":\"/boot/vmlinuz\","
	     "\"initramfs\":\"/boot/initrd\"},"
	     "\"disks\":[{\"path\":\"/images/a.img\"},{\"path\":\"/images/b.iso\",\"readonly\":true}]}",
		&c);
	cr_expect_str_eq(warnings, "");
	cr_expect(c.console.mode == CHR_PTY && c.serial.mode == CHR_PTY);
	cr_expect(c.cpus.boot == 2 && c.cpus.max == 2 && c.memory.size == GIB);
	cr_expect_str_eq(c.payload.cmdline, "console=ttyS0 root=/dev/vda1");
	cr_expect_str_eq(c.payload.kernel, "/boot/vmlinuz");
	cr_expect(c.ndisks == 2 && !c.disk[0].readonly && c.disk[1].readonly);
	cr_expect_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	vm_config_fini(&c);

	take("{\"payload\":{\"kernel\":\"/fw\"},\"console\":{\"mode\":\"Off\"},"
	     "\"serial\":{\"mode\":\"Socket\",\"socket\":\"/run/s\"}}",
		&c);
	cr_expect_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_expect_eq(c.serial.mode, CHR_SOCKET);
	cr_expect_str_eq(c.serial.path, "/run/s");
	vm_config_fini(&c);
}

/* virCHMonitorBuildNetJson(): one call for each interface, its tap beside it. */
Test(v1, what_libvirt_sends_for_an_interface)
{
	const char *text = "{\"id\":\"net_0\",\"ip\":\"10.0.0.5\",\"mask\":\"255.255.255.0\","
			   "\"mac\":\"52:54:00:ab:cd:ef\",\"num_queues\":2,\"queue_size\":512,"
			   "\"mtu\":1400}";
	struct vm_config c;
	struct err e = {0};
	json_t *o;

	warnings[0] = '\0';
	cr_assert_eq(http_body_json(text, strlen(text), &o, &e), 0);
	cr_assert_eq(v1_part(o, "net", 9, &how, &c, &e), 0, "%s", e.text);
	cr_expect_str_eq(warnings, "ip mask ");
	cr_expect(c.nnets == 1 && c.net[0].fd == 9 && c.net[0].mtu == 1400);
	cr_expect(c.net[0].queue_size == 512 && c.net[0].mac[5] == 0xef);
	cr_expect_str_eq(c.net[0].id, "net_0");
	vm_config_fini(&c);
	cr_expect_eq(v1_part(o, "net", -1, &how, &c, &e), -EINVAL);
	cr_expect(
		strstr(e.text, "net.ip: not offered; allowed is \"192.168.249.1\""), "%s", e.text);
	json_decref(o);
}

/* Kata's Go client fills what its constructors have as defaults. */
Test(v1, what_kata_sends)
{
	struct vm_config c;
	struct err e = {0};

	take("{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":4},\"memory\":{\"size\":2147483648,"
	     "\"mergeable\":false,\"hotplug_method\":\"Acpi\",\"shared\":true,\"hugepages\":false,"
	     "\"prefault\":false,\"thp\":true},\"payload\":{\"kernel\":\"/k\",\"cmdline\":\"a b\"},"
	     "\"disks\":[{\"path\":\"/kata.img\",\"readonly\":true,\"direct\":false,\"iommu\":false,"
	     "\"num_queues\":1,\"queue_size\":128,\"vhost_user\":false,\"image_type\":\"Raw\"}],"
	     "\"rng\":{\"src\":\"/dev/urandom\",\"iommu\":false},"
	     "\"serial\":{\"mode\":\"Off\",\"iommu\":false},\"console\":{\"mode\":\"Off\"},"
	     "\"vsock\":{\"cid\":3,\"socket\":\"/run/vc/clh.sock\",\"iommu\":false},"
	     "\"platform\":{\"num_pci_segments\":1},\"iommu\":false,\"watchdog\":false}",
		&c);
	cr_expect_str_eq(warnings, "");
	cr_expect(c.memory.shared && c.memory.thp && c.vsock.cid == 3);
	cr_expect_str_eq(c.vsock.socket, "/run/vc/clh.sock");
	cr_expect_eq(c.disk[0].queue_size, 128);
	cr_expect_eq(c.serial.mode, CHR_OFF);
	cr_expect_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	vm_config_fini(&c);

	refuse("{\"payload\":{},\"memory\":{\"size\":33554432,\"hotplug_size\":1073741824}}",
		"memory.hotplug_size: not offered");
	refuse("{\"platform\":{\"num_pci_segments\":2}}",
		"platform.num_pci_segments: not offered; allowed is 1");
	refuse("{\"fs\":[{\"tag\":\"kataShared\"}]}", "fs: not offered");
	refuse("{\"disks\":[{\"path\":\"a\",\"image_type\":\"Qcow2\"}]}",
		"disks[0].image_type: not offered; allowed is \"Raw\"");
}

/* cloud-hypervisor's vm_config.rs: default_serial() is Null, default_console() is Tty. */
Test(v1, defaults_are_v1s)
{
	struct vm_config c;

	take("{\"payload\":{\"kernel\":\"/k\"}}", &c);
	cr_expect(c.serial.mode == CHR_NULL && c.console.mode == CHR_TTY);
	cr_expect(c.cpus.boot == 1 && c.memory.size == 512 * MIB);
	cr_expect(!c.vsock.cid && !c.ndisks && !c.nnets);
	vm_config_fini(&c);
	take("{\"payload\":null,\"disks\":null,\"net\":[],\"vsock\":null,\"fs\":[],\"numa\":null,"
	     "\"serial\":null,\"debug_console\":{\"mode\":\"Off\",\"iobase\":233},\"balloon\":null}",
		&c);
	cr_expect_str_eq(warnings, "");
	cr_expect_eq(c.serial.mode, CHR_NULL);
	vm_config_fini(&c);
}

Test(v1, spelling_is_v1s_and_read_in_any_case)
{
	static const char *const words[] = {"Off", "Null", "Tty", "Pty", "pty", "PTY"};
	static const int modes[] = {CHR_OFF, CHR_NULL, CHR_TTY, CHR_PTY, CHR_PTY, CHR_PTY};

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		struct vm_config c;
		char text[64];

		snprintf(text, sizeof(text), "{\"console\":{\"mode\":\"%s\"}}", words[i]);
		take(text, &c);
		cr_expect_eq(c.console.mode, modes[i], "%s", words[i]);
		json_t *o = v1_config_json(&c);
		const char *shown =
			json_string_value(json_object_get(json_object_get(o, "console"), "mode"));
		cr_expect_str_eq(shown, i < 4 ? words[i] : "Pty");
		json_decref(o);
		vm_config_fini(&c);
	}
	refuse("{\"console\":{\"mode\":\"Vga\"}}",
		"console.mode: \"Vga\" is not allowed; give one of Off, Null, Tty, Pty, File, Socket");
}

Test(v1, unknown_keys_warn_and_name_their_place)
{
	struct vm_config c;

	take("{\"colour\":1,\"disks\":[{\"path\":\"a\"},{\"path\":\"b\",\"shade\":{}}],"
	     "\"cpus\":{\"boot\":3}}",
		&c);
	cr_expect_str_eq(warnings, "cpus.boot disks[1].shade colour ");
	cr_expect_eq(c.cpus.boot, 1);
	vm_config_fini(&c);
}

Test(v1, messages_name_the_place)
{
	refuse("{\"disks\":[{\"path\":\"a\"},{\"path\":\"b\",\"queue_size\":1}]}",
		"disks[1].queue_size: \"1\" is not in range; give a number between 2 and");
	refuse("{\"disks\":{}}", "disks: is of the wrong JSON type; give an array");
	refuse("{\"disks\":[1]}", "disks[0]: is of the wrong JSON type; give an object");
	refuse("{\"disks\":[{}]}", "disks[0]: give exactly one of path and fd");
	refuse("{\"cpus\":[]}", "cpus: is of the wrong JSON type; give an object");
	refuse("{\"cpus\":{\"boot_vcpus\":0}}", "cpus.boot_vcpus: \"0\" is not in range");
	refuse("{\"cpus\":{\"boot_vcpus\":\"2\"}}", "cpus.boot_vcpus: is of the wrong JSON type");
	refuse("{\"memory\":{\"size\":1}}", "memory.size: \"1\" is not in range");
	refuse("{\"net\":[{\"mac\":\"12:34\"}]}", "net[0].mac: \"12:34\" is not a MAC address");
	refuse("{\"vsock\":{\"socket\":\"/s\"}}", "vsock.cid: missing");
	refuse("{\"vsock\":{\"cid\":2,\"socket\":\"/s\"}}", "vsock.cid: \"2\" is not in range");
	refuse("{\"iommu\":true}", "iommu: not offered; allowed is false");
	refuse("{\"test_exit\":1}", "test_exit: is of the wrong JSON type");
	refuse("{\"net\":[{},{},{},{},{},{},{},{},{}]}", "net: at most 8 are allowed");
}

/* What we show is what we take. */
Test(v1, round_trip)
{
	struct vm_config c, back;
	struct err e = {0};

	take("{\"payload\":{\"kernel\":\"/k\",\"cmdline\":\"\"},\"test_exit\":true,"
	     "\"cpus\":{\"boot_vcpus\":2,\"max_vcpus\":4,"
	     "\"affinity\":[{\"vcpu\":0,\"host_cpus\":[0,2,3]},{\"vcpu\":3,\"host_cpus\":[1]}]},"
	     "\"memory\":{\"size\":\"2G\",\"numa_node\":0,\"hugepages\":true},"
	     "\"disks\":[{\"path\":\"a\",\"serial\":\"S\",\"direct\":true},{\"fd\":5,\"id\":\"x\"}],"
	     "\"net\":[{\"tap\":\"t0\",\"mtu\":1500},{\"backend\":\"passt\",\"forward\":\"-t 1\"}],"
	     "\"rng\":{\"src\":\"/dev/random\",\"transport\":\"mmio\"},"
	     "\"serial\":{\"mode\":\"File\",\"file\":\"/log\"},\"console\":{\"mode\":\"Pty\"},"
	     "\"vsock\":{\"cid\":4294967294,\"socket\":\"/s\"}}",
		&c);
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	c.console.path = strdup("/dev/pts/3");
	json_t *o = v1_config_json(&c);
	char *text = json_dumps(o, 0);
	take(text, &back);
	cr_expect_str_eq(warnings, "");
	cr_expect_str_eq(back.cpus.affinity, "[0@[0,2-3],3@[1]]");
	cr_assert_eq(vm_config_resolve(&back, &e), 0, "%s", e.text);
	cr_expect_eq(back.console.mode, CHR_PTY);
	cr_expect_null(back.console.path); /* it gets a new one */
	back.console.path = strdup("/dev/pts/3");
	json_t *again = v1_config_json(&back);
	char *text2 = json_dumps(again, 0);
	cr_expect_str_eq(text, text2);
	cr_expect(json_equal(o, again));
	free(text);
	free(text2);
	json_decref(o);
	json_decref(again);
	vm_config_fini(&c);
	vm_config_fini(&back);
}
