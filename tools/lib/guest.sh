# SPDX-License-Identifier: Apache-2.0
# What guests boot: an initramfs, and a Debian root disk. Sourced after kernel.sh.

# The drivers of an initramfs without a disk, and what a root disk needs beside them.
PV_GUEST_MODULES="virtio_mmio virtio_blk virtio_net virtio_rng virtio_input evdev button"
PV_DISK_MODULES="$PV_GUEST_MODULES crc32c_generic ext4 vmw_vsock_virtio_transport"
PV_CLOUD_MODULES="$PV_DISK_MODULES isofs"

# guest_initramfs OUT MODULE...: an initramfs with those modules of KERNEL_DIR, and BUSYBOX.
guest_initramfs() {
	local out=$1 dir=$1.dir tree name dep file
	shift
	tree=$(echo "$KERNEL_DIR"/modules/lib/modules/*)
	rm -rf "$dir"
	mkdir -p "$dir"/{bin,dev,proc,sys,run,tmp,root,newroot,etc,lib/modules}
	cp "$BUSYBOX" "$dir/bin/busybox"
	ln -s busybox "$dir/bin/sh"
	cp "$PV_TREE/tools/guest/init" "$dir/init"
	cp "$PV_TREE/tools/guest/pv-lib" "$dir/etc/pv-lib"
	cp "$PV_TREE/tools/guest/dhcp" "$dir/etc/pv-dhcp"
	chmod 755 "$dir/init" "$dir/etc/pv-dhcp"
	: >"$dir/etc/pv-modules"
	for name; do
		# A line is "FILE.ko: DEPENDENCY.ko ...", read backwards for the order of loading; none: built in.
		for dep in $(sed -n "s/^\(${name//_/[-_]}\.ko\):/\1/p" "$tree/modules.dep" | tr ' ' '\n' | tac); do
			file=$(basename "${dep//-/_}" .ko)
			cp "$tree/$dep" "$dir/lib/modules/$file.ko"
			echo "$name $file" >>"$dir/etc/pv-modules"
		done
	done
	pack_cpio "$dir" "$out"
	rm -rf "$dir"
}

guest_key() { fingerprint "$KERNEL_DIR" "$BUSYBOX" "$(cat "$PV_TREE"/tools/guest/* "$PV_TREE/tools/lib/guest.sh")"; }

# guest_piece: sets GUEST_PIECE to the piece of a host's initramfs that has /guest/kernel and
# /guest/initramfs.
guest_piece() {
	local dir
	GUEST_PIECE=$PV_CACHE/guest/$CHIP-$(guest_key).cpio
	[ ! -e "$GUEST_PIECE" ] || return 0
	lock "guest-$CHIP"
	dir=$GUEST_PIECE.tree
	rm -rf "$dir"
	mkdir -p "$dir/guest"
	cp "$KERNEL_DIR/kernel" "$dir/guest/kernel"
	# shellcheck disable=SC2086
	guest_initramfs "$dir/guest/initramfs" $PV_GUEST_MODULES
	pack_cpio "$dir" "$GUEST_PIECE"
	rm -rf "$dir"
	unlock "guest-$CHIP"
}

# image_root DIR KIND: Debian's packages unpacked, with our init (KIND base) or what a cloud's instances
# have beside it (cloud); nothing of them is run.
image_root() {
	local deb dir=$1 name
	# shellcheck disable=SC2046
	fetch_set $(set_packages root) $([ "$2" = base ] || set_packages cloud-root)
	for name in bin sbin lib lib64; do
		mkdir -p "$dir/usr/$name"
		ln -s "usr/$name" "$dir/$name"
	done
	for deb in "${DEBS[@]}"; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir" --keep-directory-symlink \
			--exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' \
			--exclude='./usr/share/info/*' --exclude='./usr/share/lintian/*'
	done
	mkdir -p "$dir"/{dev,proc,sys,run,tmp,root,mnt,etc,var/lib/pv,usr/local/bin}
	cp "$dir/usr/share/base-passwd/passwd.master" "$dir/etc/passwd"
	cp "$dir/usr/share/base-passwd/group.master" "$dir/etc/group"
	cp -f "$dir/usr/share/base-files/profile" "$dir/etc/profile" 2>/dev/null || true
	echo "polyvisor-$CHIP" >"$dir/etc/hostname"
	echo "127.0.0.1 localhost polyvisor-$CHIP" >"$dir/etc/hosts"
	echo "/dev/vda / ext4 rw 0 1" >"$dir/etc/fstab"
	ln -s dash "$dir/usr/bin/sh" 2>/dev/null || true
	cp "$BUSYBOX" "$dir/usr/local/bin/busybox"
	# The tools that the packages above do not bring.
	for name in mount umount ip udhcpc nc setsid poweroff reboot halt ps less vi ping wget dmesg lspci modprobe top; do
		[ -e "$dir/usr/bin/$name" ] || ln -s busybox "$dir/usr/local/bin/$name"
	done
	cp "$PV_TREE/tools/guest/disk-init" "$dir/usr/sbin/init"
	cp "$PV_TREE/tools/guest/pv-lib" "$dir/etc/pv-lib"
	cp "$PV_TREE/tools/guest/dhcp" "$dir/etc/pv-dhcp"
	chmod 755 "$dir/usr/sbin/init" "$dir/etc/pv-dhcp"
	[ "$2" = base ] || cloud_root "$dir"
}

# cloud_root DIR: makes of such a root folder one whose init follows NoCloud; see tools/guest/cloud-init.
cloud_root() {
	local name dir=$1 guest=$PV_TREE/tools/guest
	mkdir -p "$dir"/{home/debian,var/log,var/lib/cloud,etc/ssh}
	echo "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin" >>"$dir/etc/passwd"
	echo "debian:*:1000:1000:Debian:/home/debian:/bin/bash" >>"$dir/etc/passwd"
	echo "debian:*:1000:" >>"$dir/etc/group"
	echo debian >"$dir/etc/hostname"
	cp "$dir"/etc/skel/.[a-z]* "$dir/home/debian/" 2>/dev/null || true
	cp "$guest/sshd_config" "$dir/etc/ssh/sshd_config"
	cp "$guest/profile" "$dir/etc/profile"
	cp "$guest/cloud-init" "$dir/usr/sbin/init"
	cp "$guest/cloud-files" "$dir/etc/pv-cloud-files"
	cp "$guest/cloud-config.awk" "$dir/etc/pv-cloud-config"
	for name in poweroff reboot halt shutdown; do
		rm -f "$dir/usr/local/bin/$name"
		cp "$guest/cloud-down" "$dir/usr/sbin/$name"
		chmod 755 "$dir/usr/sbin/$name"
	done
	for name in awk dd od usleep gunzip tar find xargs clear which free uptime killall pgrep diff hexdump dnsdomainname netstat nslookup telnet time watch xxd; do
		[ -e "$dir/usr/bin/$name" ] || ln -sf busybox "$dir/usr/local/bin/$name"
	done
	rm -rf "$dir"/usr/lib/systemd "$dir"/usr/share/bash-completion "$dir"/usr/lib/*/gconv "$dir"/etc/init.d "$dir/etc/ssh/moduli"
	chmod 755 "$dir/usr/sbin/init"
}

# image_base MB [KIND]: sets IMAGE_DIR to a folder of the cache with disk.raw, kernel, initramfs.
image_base() {
	local dir kind=${2:-base} modules=$PV_DISK_MODULES
	IMAGE_DIR=$PV_CACHE/image/$CHIP-$1-${2:+$2-}$(guest_key)
	[ ! -d "$IMAGE_DIR" ] || return 0
	need "host-$CHIP" mke2fs cpio
	lock "image-$CHIP"
	progress "making a Debian disk for $CHIP"
	dir=$IMAGE_DIR.part
	rm -rf "$dir"
	mkdir -p "$dir"
	image_root "$dir/root" "$kind"
	# A user's own files become root's in the disk.
	local as=()
	[ "$(id -u)" = 0 ] || as=(unshare -r)
	${as[@]+"${as[@]}"} mke2fs -q -t ext4 -L polyvisor -m 0 -O ^metadata_csum_seed,^orphan_file -E lazy_itable_init=1,lazy_journal_init=1 \
		-d "$dir/root" "$dir/disk.raw" "$1M" >"$dir.log" 2>&1 ||
		die "cannot make a disk of $1 MiB: $(tail -n1 "$dir.log")"
	rm -rf "$dir/root" "$dir.log"
	cp "$KERNEL_DIR/kernel" "$dir/kernel"
	[ "$kind" = base ] || modules=$PV_CLOUD_MODULES
	# shellcheck disable=SC2086
	guest_initramfs "$dir/initramfs" $modules
	mv "$dir" "$IMAGE_DIR"
	unlock "image-$CHIP"
}
