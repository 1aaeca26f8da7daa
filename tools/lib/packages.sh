# SPDX-License-Identifier: Apache-2.0
# Which Debian packages each purpose takes. Sourced after common.sh.

# Groups that tools/setup installs on this machine, in the order that --list shows them.
PV_GROUPS="build cloud web test crash net libvirt bench cross-x86_64 cross-arm64 cross-riscv64 host-x86_64 host-arm64 host-riscv64"

# group_about GROUP
group_about() {
	case $1 in
	build) echo "compile polyvisor for this machine's chip" ;;
	cloud) echo "compile and run polycloud, the control plane" ;;
	web) echo "test the web console in a real browser" ;;
	test) echo "unit tests, both compilers, formatting" ;;
	crash) echo "disassembly in crash reports" ;;
	net) echo "networks for guests on this machine" ;;
	libvirt) echo "build libvirt's ch driver, which the libvirt test drives polyvisor with" ;;
	bench) echo "measure the offload layer against others (tools/bench offload)" ;;
	cross-*) echo "compile polyvisor for ${1#cross-}" ;;
	host-*) echo "emulate a ${1#host-} host that has KVM" ;;
	esac
}

# group_packages GROUP: names, one line; nothing where this machine needs nothing for it.
group_packages() {
	local native
	native=$(native_chip)
	case $1 in
	build) echo "gcc libc6-dev meson ninja-build pkg-config libfdt-dev liburing-dev libjansson-dev zlib1g-dev libhttp-parser-dev libseccomp-dev" ;;
	cloud)
		echo -n "libmicrohttpd-dev libwslay-dev libnghttp2-dev libsqlite3-dev libgnutls28-dev libssl-dev libarchive-dev "
		echo "libcurl4-openssl-dev skopeo qemu-utils openssh-client"
		;;
	test)
		# Debian has no Criterion for riscv64; the tests run without it there.
		[ "$native" = riscv64 ] || echo -n "libcriterion-dev "
		echo "clang libclang-rt-dev clang-format python3 git strace gdb-multiarch acpica-tools iproute2 curl"
		;;
	# Debian 12 has no Chromium for riscv64; the test is skipped there.
	web) [ "$native" = riscv64 ] || echo "chromium chromium-driver fonts-dejavu-core" ;;
	crash) echo "libcapstone-dev" ;;
	net) echo "passt iproute2" ;;
	libvirt)
		# Its own build refuses every chip but these two.
		[ "$native" != riscv64 ] || return 0
		echo -n "gcc libc6-dev meson ninja-build pkg-config python3 perl gettext xz-utils xsltproc libxml2-utils "
		echo -n "libglib2.0-dev libgnutls28-dev libxml2-dev libtirpc-dev libnl-3-dev libnl-route-3-dev libudev-dev "
		echo "libpciaccess-dev libjson-c-dev libcap-ng-dev libreadline-dev libcurl4-openssl-dev iproute2 util-linux"
		;;
	bench)
		# qemu-utils for the libraries of the storage daemons.
		echo "gcc libc6-dev make pkg-config zlib1g-dev curl strace linux-perf qemu-utils"
		[ "$native" = riscv64 ] || echo "dpdk-dev"
		;;
	cross-"$native") ;;
	cross-x86_64) echo "gcc-x86-64-linux-gnu meson ninja-build pkg-config" ;;
	cross-arm64) echo "gcc-aarch64-linux-gnu meson ninja-build pkg-config" ;;
	cross-riscv64) echo "gcc-riscv64-linux-gnu meson ninja-build pkg-config" ;;
	host-x86_64) echo "qemu-system-x86 cpio kmod e2fsprogs xz-utils" ;;
	host-arm64) echo "qemu-system-arm cpio kmod e2fsprogs xz-utils" ;;
	host-riscv64) echo "qemu-system-riscv cpio kmod e2fsprogs xz-utils" ;;
	*) usage_error "unknown group '$1'; the groups are: $PV_GROUPS" ;;
	esac
}

# Sets of trixie's packages that are fetched and unpacked, never installed. set_packages SET, after
# set_chip. The C library comes with everything that the headers and static archives lean on.
set_packages() {
	case $1 in
	sysroot)
		echo "libc6-dev libc6 linux-libc-dev libcrypt-dev libfdt-dev libfdt1 liburing-dev" \
			"liburing2 libjansson-dev libjansson4 zlib1g-dev zlib1g libcapstone-dev libcapstone5" \
			"libhttp-parser-dev libhttp-parser2.9 libseccomp-dev libseccomp2" \
			"libnghttp2-dev libnghttp2-14 libssl-dev libssl3t64 libzstd-dev libzstd1"
		;;
	ld-riscv64) echo "binutils-riscv64-linux-gnu libsframe1 libjansson4 libzstd1 zlib1g libc6" ;;
	kernel) echo "$KERNEL_META" ;;
	kernel-16k) echo "linux-image-arm64-16k" ;;
	busybox) echo "busybox-static" ;;
	passt) echo "passt libc6" ;;
	vdpa)
		# vduse-blk's server, and the tool that makes a vDPA device of it
		echo "qemu-utils libfuse3-4 libzstd1 zlib1g libaio1t64 liburing2 libnettle8t64 libgmp10 libhogweed6t64" \
			"libnuma1 libglib2.0-0t64 libatomic1 libgnutls30t64 libidn2-0 libunistring5 libtasn1-6" \
			"libp11-kit0 libffi8 libpcre2-8-0 iproute2 libmnl0 libcap2 libc6"
		;;
	share) echo "virtiofsd libc6 libgcc-s1 libcap-ng0 libseccomp2" ;;
	root)
		echo "base-files base-passwd netbase hostname libc6 libgcc-s1 dash bash libtinfo6" \
			"coreutils libacl1 libattr1 libselinux1 libpcre2-8-0 libgmp10 libssl3t64 libzstd1" \
			"zlib1g libsystemd0 libcap2 sed grep busybox-static"
		;;
	cloud-root)
		# beside root: sshd with what its three programs lean on, the tools of ext4, the commonest terminals
		echo "openssh-server openssh-client libcrypt1 libwrap0 libnsl2 libtirpc3t64 libaudit1 libcap-ng0 libpam0g" \
			"libgssapi-krb5-2 libkrb5-3 libkrb5support0 libk5crypto3 libkeyutils1 libcom-err2 libwtmpdb0" \
			"libsqlite3-0 e2fsprogs libext2fs2t64 libss2 libblkid1 libuuid1 ncurses-base"
		;;
	*) die "no package set '$1'" ;;
	esac
}
