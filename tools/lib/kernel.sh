# SPDX-License-Identifier: Apache-2.0
# Debian's kernel of a chip, taken apart for the cache. Sourced after fetch.sh.
#
# One kernel serves as host and as guest. Of its thousands of modules only those below (and what they
# depend on) are kept, unpacked: an emulated CPU loads an uncompressed module several times faster.

# What a host or a guest may ask for by modprobe, by name or by device number.
PV_MODULES="kvm kvm-amd tun tap vhost_net vhost_vsock vhost_vdpa vduse vdpa bridge veth loop nbd overlay
ext4 crc32c_generic virtio_mmio virtio_blk virtio_net virtio-rng virtio_balloon virtio_mem virtio_input virtiofs
vmw_vsock_virtio_transport vsock_loopback vsock_diag virtio_vdpa virtio_scsi virtio_pmem
evdev button isofs af_packet ipv6 rtc-goldfish rtc-pl031 rtc-cmos qemu_fw_cfg 8021q br_netfilter nf_nat xt_MASQUERADE"

# kernel_unpack SET: sets KERNEL_DIR to a folder with
#   kernel   bzImage (x86_64) or Image (arm64, riscv64)
#   config   how it was configured
#   release  its `uname -r`
#   modules/lib/modules/RELEASE/  the modules kept, with modprobe's tables
kernel_unpack() {
	# shellcheck disable=SC2046
	fetch_set $(set_packages "$1")
	local deb=${DEBS[0]} dir
	KERNEL_DIR=$PV_CACHE/kernel/$CHIP-$(basename "$deb" .deb)-$(fingerprint "$PV_MODULES" v3)
	[ ! -d "$KERNEL_DIR" ] || return 0
	need "host-$CHIP" depmod modinfo xz
	lock "kernel-$CHIP"
	[ ! -d "$KERNEL_DIR" ] || { unlock "kernel-$CHIP" && return 0; }
	progress "unpacking the $CHIP kernel"
	dir=$KERNEL_DIR.part
	rm -rf "$dir"
	mkdir -p "$dir/deb"
	dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir/deb" --wildcards '*/boot/vmlinu*' '*/boot/config-*' '*/lib/modules/*'
	mv "$dir"/deb/boot/vmlinu* "$dir/kernel"
	mv "$dir"/deb/boot/config-* "$dir/config"
	keep_modules "$dir"
	rm -rf "$dir/deb"
	mv "$dir" "$KERNEL_DIR"
	unlock "kernel-$CHIP"
}

# keep_modules DIR: moves the wanted modules of DIR/deb and their dependencies to DIR/modules.
keep_modules() {
	local tree release todo=($PV_MODULES) seen=' ' name file
	tree=$(dirname "$(find "$1/deb" -type d -path '*/lib/modules/*/kernel' -prune)")
	release=${tree##*/}
	echo "$release" >"$1/release"
	mkdir -p "$1/modules/lib/modules/$release"
	cp "$tree"/modules.builtin "$tree"/modules.builtin.modinfo "$tree"/modules.order \
		"$1/modules/lib/modules/$release/" 2>/dev/null || true
	find "$tree/kernel" -name '*.ko*' >"$1/list"
	while [ ${#todo[@]} -gt 0 ]; do
		name=${todo[0]//-/_}
		todo=("${todo[@]:1}")
		[[ $seen != *" $name "* ]] || continue
		seen+="$name "
		file=$(grep -m1 -E "/${name//_/[-_]}\.ko(\.xz)?$" "$1/list") || continue # built in, or not on this chip
		mapfile -t -O ${#todo[@]} todo < <(modinfo -F depends "$file" | tr ',' '\n' | grep .)
		name=$1/modules/lib/modules/$release/$(basename "$file" .xz)
		case $file in
		*.xz) xz -dc "$file" >"$name" ;;
		*) cp "$file" "$name" ;;
		esac
		lighten "$name"
	done
	rm "$1/list"
	depmod -b "$1/modules" "$release"
}

# lighten MODULE: without its signature, whose check, and under another name its type information, whose
# reading, take an emulated CPU six times as long as the loading itself. The code is Debian's as it was.
lighten() {
	local size signature
	LC_ALL=C sed -i 's/\x00\.BTF\x00/\x00.xtf\x00/g' "$1"
	[ "$(tail -c 28 "$1" | tr -d '\0\n')" = "~Module signature appended~" ] || return 0
	# struct module_signature: 12 bytes, the last four the length of what is before, big-endian
	signature=$(tail -c 32 "$1" | head -c 4 | od -An -tu1 | awk '{ print (($1 * 256 + $2) * 256 + $3) * 256 + $4 }')
	size=$(stat -c %s "$1")
	truncate -s $((size - 28 - 12 - signature)) "$1"
}

# pack_cpio DIR FILE: what is in DIR, as root's, as one uncompressed piece of an initramfs. Pieces can
# be joined with cat.
pack_cpio() {
	(cd "$1" && find . -mindepth 1 | cpio -o -H newc -R 0:0 --quiet) >"$2.part"
	mv "$2.part" "$2"
}

# busybox_for: sets BUSYBOX to the chip's static busybox in the cache.
busybox_for() {
	# shellcheck disable=SC2046
	fetch_set $(set_packages busybox)
	BUSYBOX=$PV_CACHE/busybox/$(basename "${DEBS[0]}" .deb)
	[ ! -e "$BUSYBOX" ] || return 0
	mkdir -p "$PV_CACHE/busybox"
	dpkg-deb --fsys-tarfile "${DEBS[0]}" | tar -xO --wildcards '*bin/busybox' >"$BUSYBOX.part"
	chmod 755 "$BUSYBOX.part"
	mv "$BUSYBOX.part" "$BUSYBOX"
}
