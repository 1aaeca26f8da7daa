/* SPDX-License-Identifier: Apache-2.0 */
/* Every mistake a user can make in a flag ends in one line that names the flag and the field. */
#include <criterion/criterion.h>
#include <string.h>
#include "vmm/base/num.h"
#include "vmm/config.h"

struct line {
	const char *flag, *text, *says;
};

static void set(struct vm_config *c, const char *flag, const char *text)
{
	struct err e = {0};

	cr_assert_eq(vm_config_flag(c, flag, text, &e), 0, "%s %s: %s", flag, text, e.text);
}

Test(config, refuses_each_bad_value_by_name)
{
	static const struct line lines[] = {
		{"--cpus", "boot=0", "--cpus boot"},
		{"--cpus", "boot=many", "--cpus boot"},
		{"--cpus", "boot=256", "--cpus boot"},
		{"--cpus", "sockets=2", "sockets"},
		{"--memory", "size=1M", "--memory size"},
		{"--memory", "size=99999T", "--memory size"},
		{"--memory", "size=12Q", "--memory size"},
		{"--memory", "size=1G,size=2G", "size"},
		{"--memory", "shared=maybe", "--memory shared"},
		{"--disk", "path=a,readonly=perhaps", "--disk readonly"},
		{"--disk", "readonly=on", "--disk"},
		{"--disk", "path=a,fd=3", "--disk"},
		{"--disk", "path=a,queue_size=0", "--disk queue_size"},
		{"--disk", "path=a,queue_size=3", "--disk queue_size: 3 is not a power of two"},
		{"--disk", "vhost_user=on", "vhost_socket"},
		{"--disk", "vhost_user=on,vhost_socket=/s,fd=4", "exactly one of vhost_socket"},
		{"--disk", "vhost_user=on,vhost_socket=/s,path=a", "back-end's to know"},
		{"--disk", "vhost_user=on,vhost_socket=/s,readonly=on", "back-end's to know"},
		{"--disk", "path=a,vhost_socket=/s", "vhost_user=on"},
		{"--net", "vhost_user=on,vhost_socket=/s,tap=t0", "--net"},
		{"--net", "vhost_user=on,vhost_socket=/s,backend=passt", "--net"},
		{"--net", "vhost_socket=/s", "vhost_user=on"},
		{"--net", "queue_size=6", "--net queue_size: 6 is not a power of two"},
		{"--cpus", "affinity=[0@[1]", "--cpus affinity"},
		{"--cpus", "affinity=0@1", "--cpus affinity"},
		{"--vsock", "socket=/s", "--vsock cid: missing"},
		{"--vsock", "cid=2,socket=/s", "--vsock cid"},
		{"--vsock", "cid=4294967295,socket=/s", "--vsock cid"},
		{"--vsock", "cid=3", "--vsock"},
		{"--vsock", "cid=3,socket=/s,fd=4", "--vsock"},
		{"--disk", "path=a,serial=012345678901234567890", "--disk serial"},
		{"--disk", "path=a,transport=isa", "--disk transport"},
		{"--disk", "path=a,pci_device_id=32", "--disk pci_device_id"},
		{"--net", "mac=12:34", "--net mac"},
		{"--net", "tap=an-interface-too-long", "--net tap"},
		{"--net", "backend=passt,tap=t0", "--net"},
		{"--net", "mtu=1", "--net mtu"},
		{"--serial", "telnet", "--serial"},
		{"--machine", "version=99", "--machine version"},
		{"--device", "toaster", "--device"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		struct vm_config c;
		struct err e = {0};
		vm_config_init(&c);
		cr_expect_eq(vm_config_flag(&c, lines[i].flag, lines[i].text, &e), -EINVAL, "%s %s",
			lines[i].flag, lines[i].text);
		cr_expect_eq(e.kind, ERR_USAGE);
		cr_expect(strstr(e.text, lines[i].says), "%s %s: \"%s\"", lines[i].flag,
			lines[i].text, e.text);
		cr_expect(!strchr(e.text, '\n'));
		vm_config_fini(&c);
	}
}

Test(config, an_unknown_flag_is_told_apart)
{
	struct vm_config c;
	struct err e = {0};

	vm_config_init(&c);
	cr_assert_eq(vm_config_flag(&c, "--colour", "blue", &e), -ENOENT);
	vm_config_fini(&c);
}

Test(config, resolves_ids_slots_and_macs)
{
	struct vm_config c;
	struct err e = {0};

	vm_config_init(&c);
	set(&c, "--kernel", "k");
	set(&c, "--disk", "path=a,pci_device_id=1");
	set(&c, "--disk", "path=b");
	set(&c, "--disk", "path=c,transport=mmio");
	set(&c, "--net", "tap=t0");
	set(&c, "--net", "tap=t1,mac=02:00:00:00:00:01");
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_expect_str_eq(c.disk[0].id, "_disk0");
	cr_expect_str_eq(c.disk[2].id, "_disk2");
	cr_expect_eq(c.disk[0].slot, 1);
	cr_expect_eq(c.disk[1].slot, 2);
	cr_expect_eq(c.disk[2].slot, -1);
	cr_expect_eq(c.net[0].slot, 3);
	cr_expect_eq(c.rng.slot, 5);
	cr_expect_eq(c.net[0].mac[0], 2);
	cr_expect_eq(c.net[1].mac[5], 1);
	cr_expect_eq(c.cpus.max, 1);
	vm_config_fini(&c);
}

Test(config, refuses_what_contradicts_itself)
{
	static const struct {
		const char *flags[6], *says;
	} cases[] = {
		{{"--disk", "path=a"}, "--kernel"},
		{{"--kernel", "k", "--disk", "path=a,id=x", "--disk", "path=b,id=x"}, "used twice"},
		{{"--kernel", "k", "--disk", "path=a,pci_device_id=3", "--net",
			 "tap=t,pci_device_id=3"},
			"slot 3 is taken"},
		{{"--kernel", "k", "--cpus", "boot=2,affinity=[2@[0]]"}, "no vCPU 2"},
		{{"--kernel", "k", "--disk", "vhost_user=on,vhost_socket=/s", "--memory",
			 "mergeable=on"},
			"--memory mergeable"},
		{{"--kernel", "k", "--console", "tty"}, "--console"},
		{{"--kernel", "k", "--serial", "file"}, "--serial"},
		{{"--kernel", "k", "--cpus", "boot=2,max=1"}, "--cpus max"},
		{{"--kernel", "k", "--cpus", "model=pentium"}, "--cpus model"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vm_config c;
		struct err e = {0};
		vm_config_init(&c);
		for (unsigned f = 0; f < 6 && cases[i].flags[f]; f += 2)
			set(&c, cases[i].flags[f], cases[i].flags[f + 1]);
		cr_expect_eq(vm_config_resolve(&c, &e), -EINVAL, "case %u", i);
		cr_expect(strstr(e.text, cases[i].says), "case %u: \"%s\"", i, e.text);
		cr_expect_eq(e.kind, ERR_USAGE);
		vm_config_fini(&c);
	}
}

Test(config, memory_is_shared_when_another_process_serves_a_device)
{
	struct vm_config c;
	struct err e = {0};

	vm_config_init(&c);
	set(&c, "--kernel", "k");
	set(&c, "--disk", "path=a");
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_expect(!c.memory.shared);
	set(&c, "--net", "vhost_user=on,vhost_socket=/s");
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_expect(c.memory.shared);
	vm_config_fini(&c);
	vm_config_init(&c);
	set(&c, "--kernel", "k");
	set(&c, "--vdpa", "path=/dev/vhost-vdpa-0");
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_expect(c.memory.shared);
	vm_config_fini(&c);
}

Test(config, a_vsock_gets_an_id_and_a_slot)
{
	struct vm_config c;
	struct err e = {0};

	vm_config_init(&c);
	set(&c, "--kernel", "k");
	set(&c, "--vsock", "cid=4294967294,socket=/s");
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_expect_eq(c.vsock.cid, 0xfffffffe);
	cr_expect_str_eq(c.vsock.id, "_vsock");
	cr_expect_eq(c.vsock.slot, 2);
	cr_expect_eq(vm_config_resolve(&c, &e), 0, "%s", e.text); /* again changes nothing */
	cr_expect_eq(c.vsock.slot, 2);
	vm_config_fini(&c);
}

Test(config, affinity)
{
	struct vm_config c;
	struct err e = {0};
	cpu_set_t cpus;

	vm_config_init(&c);
	cr_expect_eq(vm_config_affinity(&c.cpus, 0, &cpus), 0);
	set(&c, "--kernel", "k");
	set(&c, "--cpus", "boot=2,affinity=[0@[0,2-3],1@[4]]");
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_expect_eq(vm_config_affinity(&c.cpus, 0, &cpus), 1);
	cr_expect(CPU_COUNT(&cpus) == 3 && CPU_ISSET(3, &cpus));
	cr_expect_eq(vm_config_affinity(&c.cpus, 2, &cpus), 0);
	vm_config_fini(&c);
}

Test(config, a_copy_owns_what_it_has)
{
	struct vm_config c, copy;
	struct err e = {0};

	vm_config_init(&c);
	set(&c, "--kernel", "k");
	set(&c, "--disk", "path=a");
	set(&c, "--disk", "path=b");
	set(&c, "--net", "tap=t0");
	set(&c, "--serial", "file=/log");
	set(&c, "--vsock", "cid=3,socket=/s");
	set(&c, "--device", "test-exit");
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_assert_eq(vm_config_copy(&c, &copy), 0);
	cr_assert(copy.ndisks == 2 && copy.nnets == 1 && copy.test_exit);
	cr_assert_neq(copy.disk[1].path, c.disk[1].path);
	cr_assert_neq(copy.serial.path, c.serial.path);
	vm_config_fini(&c);
	cr_assert_str_eq(copy.disk[1].path, "b");
	cr_assert_str_eq(copy.serial.path, "/log");
	cr_assert_str_eq(copy.vsock.socket, "/s");
	cr_assert_str_eq(copy.payload.kernel, "k");
	vm_config_fini(&copy);
}

static int add(struct vm_config *c, const char *flag, const char *text, char id[32], struct err *e)
{
	struct vm_config more;

	*e = (struct err){0};
	vm_config_init(&more);
	set(&more, flag, text);
	int r = vm_config_add(c, &more, id, e);
	vm_config_fini(&more);
	return r;
}

Test(config, adds_one)
{
	struct vm_config c;
	struct err e = {0};
	char id[32] = "";

	vm_config_init(&c);
	set(&c, "--kernel", "k");
	set(&c, "--disk", "path=a,id=_disk1");
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_assert_eq(add(&c, "--disk", "path=b", id, &e), 0, "%s", e.text);
	cr_expect_str_eq(id, "_disk2"); /* _disk1 is taken */
	cr_expect_str_eq(c.disk[1].path, "b");
	cr_expect_eq(c.disk[1].slot, 3);
	cr_assert_eq(add(&c, "--net", "fd=7,id=net_0", id, &e), 0, "%s", e.text);
	cr_expect_str_eq(id, "net_0");
	cr_expect_eq(c.net[0].fd, 7);
	cr_expect(c.net[0].mac_given);
	cr_expect_eq(add(&c, "--disk", "path=b,id=net_0", id, &e), -EEXIST);
	cr_expect_eq(e.kind, ERR_CONFLICT);
	cr_expect_eq(add(&c, "--disk", "path=b,pci_device_id=3", id, &e), -EINVAL);
	cr_expect_eq(c.ndisks, 2);
	cr_assert_eq(add(&c, "--vsock", "cid=3,socket=/s", id, &e), 0, "%s", e.text);
	cr_expect_str_eq(id, "_vsock");
	cr_expect_eq(add(&c, "--vsock", "cid=4,socket=/t", id, &e), -EEXIST);
	cr_expect_eq(c.vsock.cid, 3);
	for (unsigned i = c.ndisks; i < CONFIG_DISKS; i++)
		cr_assert_eq(add(&c, "--disk", "path=x", id, &e), 0, "%s", e.text);
	cr_expect_eq(add(&c, "--disk", "path=x", id, &e), -EINVAL);
	cr_expect(strstr(e.text, "at most 16"), "%s", e.text);
	vm_config_fini(&c);
}

Test(config, a_given_console_mode_picks_its_path)
{
	struct vm_config c;
	struct err e = {0};

	vm_config_init(&c);
	set(&c, "--kernel", "k");
	set(&c, "--serial", "mode=pty,file=/dev/pts/7"); /* what vm.info has shown */
	set(&c, "--console", "mode=socket,socket=/s,file=/f");
	cr_assert_eq(vm_config_resolve(&c, &e), 0, "%s", e.text);
	cr_expect(c.serial.mode == CHR_PTY && !c.serial.path);
	cr_expect_eq(c.console.mode, CHR_SOCKET);
	cr_expect_str_eq(c.console.path, "/s");
	vm_config_fini(&c);
}
