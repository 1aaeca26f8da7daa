# SPDX-License-Identifier: Apache-2.0
# Inside a chip host, by busybox sh: boots Debian guests with polyvisor and says how each went.
# $SUITE names the part. /guest has a kernel, an initramfs and a disk (tools/image).

LOG=/tmp/guest.log
BASE="console=ttyS0 quiet panic=-1"
ROOT="$BASE root=/dev/vda"

ok() { echo "ok $1"; }
bad() {
	echo "not ok $1: $2"
	[ ! -s $LOG ] || tail -n 12 $LOG | sed 's/^/    | /'
}

# vm CMDLINE FLAG...: in the foreground, log in $LOG; its status.
vm() {
	local cmdline=$1
	shift
	timeout 240 polyvisor --kernel /guest/kernel --initramfs /guest/initramfs --memory size=256M \
		--serial file=$LOG --crash-report /tmp/crash.json --cmdline "$cmdline" "$@" </dev/null 2>/tmp/said
}

# has NAME PATTERN...: every pattern is in the log.
has() {
	local name=$1 p
	shift
	for p; do
		grep -q "$p" $LOG || { bad "$name" "the log lacks '$p'" && return 1; }
	done
}

# wait_for PATTERN COUNT SECONDS
wait_for() {
	local i=0 n
	while n=$(grep -c "$1" $LOG 2>/dev/null) && [ "$n" -lt "$2" ] || [ "${n:-0}" = 0 ]; do
		[ $i -lt "$3" ] || return 1
		sleep 1
		i=$((i + 1))
	done
}

# power NAME CMDLINE PATTERNS -- FLAGS: boots, expects the patterns and status 0.
power() {
	local name=$1 cmdline=$2 patterns='' status=0 p
	shift 2
	while [ "$1" != -- ]; do
		patterns="$patterns $1"
		shift
	done
	shift
	rm -f $LOG
	vm "$cmdline pv.exit=poweroff" "$@" || status=$?
	[ $status = 0 ] || { bad "$name" "polyvisor ended with $status: $(tail -n 1 /tmp/said)" && return; }
	for p in $patterns; do
		has "$name" "$p" || return
	done
	ok "$name"
}

suite_boot() {
	power "boots with 1 vCPU from ext4 over PCI" "$ROOT pv.test=write,verify" \
		cpus=1 test.write.ok test.verify.ok -- --disk path=/dev/vda
	power "boots with 4 vCPUs from ext4 over PCI" "$ROOT pv.test=verify,write,verify" \
		cpus=4 test.verify.ok test.write.ok -- --cpus boot=4 --disk path=/dev/vda
	power "boots with 4 vCPUs from ext4 over MMIO, packed rings" "$ROOT pv.test=verify,write,verify" \
		cpus=4 test.verify.ok test.write.ok -- --cpus boot=4 --machine packed=on \
		--disk path=/dev/vda,transport=mmio --rng src=/dev/urandom,transport=mmio
	power "boots without a disk" "$BASE" "guest.ready" -- --console null
}

# refused NAME STATUS WORD FLAG...: polyvisor ends at once with that status and one line that has the word.
refused() {
	local name=$1 want=$2 word=$3 status=0
	shift 3
	timeout 60 polyvisor --serial null "$@" </dev/null 2>/tmp/said || status=$?
	if [ $status = "$want" ] && [ "$(wc -l </tmp/said)" = 1 ] && grep -q -e "^polyvisor: .*$word" /tmp/said; then
		ok "$name"
	else
		rm -f $LOG
		bad "$name" "status $status, said $(cat /tmp/said)"
	fi
}

# Bad input that only a host of this chip, with its KVM, can tell. tools/lib/cli_test.py has the rest.
suite_bad() {
	local kernel="--kernel /guest/kernel"
	head -c 40000 /guest/kernel >/tmp/cut
	echo hello >/tmp/text
	: >/tmp/empty
	truncate -s 512M /tmp/large
	refused "bad input: kernel truncated" 1 "--kernel" --kernel /tmp/cut
	refused "bad input: not a kernel" 1 "--kernel" --kernel /tmp/text
	refused "bad input: initramfs too large" 1 "--initramfs" $kernel --initramfs /tmp/large --memory size=256M
	refused "bad input: memory beyond the chip's addresses" 2 "--memory size" $kernel --memory size=8000T
	refused "bad input: disk missing" 1 "--disk" $kernel --disk path=/nowhere
	refused "bad input: disk a directory" 1 "--disk" $kernel --disk path=/tmp
	refused "bad input: disk empty" 1 "--disk" $kernel --disk path=/tmp/empty
	refused "bad input: the same disk twice" 1 "--disk" $kernel --disk path=/dev/vda --disk path=/dev/vda
	refused "bad input: tap that is no tap" 1 "--net" $kernel --net tap=lo
	refused "bad input: more vCPUs than polyvisor can" 2 "--cpus boot" $kernel --cpus boot=256
	mv /dev/kvm /dev/kvm-away
	refused "bad input: /dev/kvm missing" 1 "/dev/kvm" $kernel
	: >/dev/kvm
	refused "bad input: /dev/kvm is not KVM" 1 "/dev/kvm" $kernel
	rm /dev/kvm
	mv /dev/kvm-away /dev/kvm
}

# A guest that verifies, writes and reboots for ever: the second round must find the first one's data.
suite_end() {
	local pid name="reads back after a reboot"
	rm -f $LOG
	rm -f /tmp/status
	(vm "$ROOT pv.test=write pv.exit=poweroff" --disk path=/dev/vda) || bad "$name" "write failed"
	rm -f $LOG
	polyvisor --kernel /guest/kernel --initramfs /guest/initramfs --memory size=256M --serial file=$LOG \
		--cmdline "$ROOT pv.test=verify,write pv.exit=reboot" --disk path=/dev/vda \
		--crash-report /tmp/crash.json </dev/null &
	pid=$!
	if wait_for "test verify ok" 3 200; then
		ok "$name"
	else
		bad "$name" "no third boot that verifies"
		kill -QUIT $pid
		wait $pid
		polyvisor-crash /tmp/crash.json | head -n 40 | sed 's/^/    | /'
		return
	fi

	name="a second instance cannot write the same disk"
	if polyvisor --kernel /guest/kernel --serial null --disk path=/dev/vda </dev/null 2>/tmp/said; then
		bad "$name" "it started"
	elif grep -q -- '--disk' /tmp/said && grep -q 'lock\|in use' /tmp/said; then
		ok "$name"
	else
		bad "$name" "$(cat /tmp/said)"
	fi

	name="killed, and the disk is free again"
	kill -9 $pid
	wait $pid 2>/dev/null
	power "$name" "$ROOT pv.test=verify" guest.ready -- --disk path=/dev/vda

	name="a kernel panic ends in a reboot or stays, and SIGTERM ends it"
	rm -f $LOG
	polyvisor --kernel /guest/kernel --initramfs /guest/initramfs --memory size=256M --serial file=$LOG \
		--cmdline "console=ttyS0 panic=0 pv.exit=panic" --crash-report /tmp/crash.json </dev/null &
	pid=$!
	wait_for "Kernel panic" 1 120 || bad "$name" "no panic"
	kill -TERM $pid
	wait $pid
	[ $? = 143 ] && ok "$name" || bad "$name" "status $?"

	name="SIGQUIT on a hung guest writes a crash report"
	rm -f $LOG /tmp/crash.json
	polyvisor --kernel /guest/kernel --initramfs /guest/initramfs --memory size=256M --serial file=$LOG \
		--cmdline "$BASE pv.exit=hang" --crash-report /tmp/crash.json </dev/null 2>/dev/null &
	pid=$!
	wait_for "guest ready" 1 120 || bad "$name" "no boot"
	kill -QUIT $pid
	wait $pid
	if [ $? = 3 ] && grep -q '"pc"' /tmp/crash.json && polyvisor-crash /tmp/crash.json >/tmp/rendered; then
		ok "$name"
	else
		bad "$name" "status or report"
	fi
}

# peer: answers the guest's line with one of ours; not before it has come, or a slow guest hangs up instead of sending.
peer() {
	while :; do
		nc -l -p 7777 -e sh -c 'read -r line && echo "$line" >>/tmp/heard && echo pong' 2>/dev/null
	done
}

# judge NAME STATUS: a guest that ended with that status has had an address and an answer, and we its line.
judge() {
	if [ "$2" != 0 ]; then
		bad "$1" "polyvisor ended with $2"
	elif has "$1" "test net ok"; then
		if ! grep -q "ping" /tmp/heard; then
			bad "$1" "heard '$(cat /tmp/heard)' from the guest"
		else
			ok "$1"
		fi
	fi
}

# tap NAME FLAG...: the network device of the VMM's making, with a DHCP server on it. TESTS: instead of net.
tap() {
	local name=$1 pid dhcp peer i=0 status=0
	shift
	rm -f $LOG /tmp/heard
	vm "$ROOT pv.test=${TESTS:-net} pv.exit=poweroff" --disk path=/dev/vda "$@" &
	pid=$!
	# An emulated host on a busy machine takes its time.
	while [ ! -e /sys/class/net/pvtap0 ] && [ $i -lt 600 ]; do usleep 100000; i=$((i + 1)); done
	ip addr add 192.168.77.1/24 dev pvtap0
	ip link set pvtap0 up
	cat >/tmp/udhcpd.conf <<-END
		interface pvtap0
		start 192.168.77.10
		end 192.168.77.20
		lease_file /tmp/leases
		opt router 192.168.77.1
		opt subnet 255.255.255.0
	END
	touch /tmp/leases
	udhcpd -f /tmp/udhcpd.conf >/dev/null 2>&1 &
	dhcp=$!
	peer &
	peer=$!
	wait $pid || status=$?
	kill $dhcp $peer 2>/dev/null
	killall nc 2>/dev/null
	if [ -e /sys/class/net/pvtap0 ]; then bad "$name" "left its tap behind"; else judge "$name" $status; fi
}

# User-mode networking: what the guest sends to its gateway arrives at this host's own 127.0.0.1.
passt() {
	local name=$1 peer status=0
	shift
	[ -e /usr/bin/passt ] || { echo "skip $name: no passt in this host" && return; }
	rm -f $LOG /tmp/heard
	# passt takes its addresses from an interface of the host that is up and has a default route,
	# becomes nobody, and pivots away from its root, which cannot be the initramfs: a mount over it is.
	ip link add up0 type veth 2>/dev/null
	for i in up0 $(cd /sys/class/net && echo veth*); do ip link set $i up; done
	ip addr add 10.9.8.7/24 dev up0
	ip route add default via 10.9.8.1
	grep -q nobody /etc/passwd || echo 'nobody:x:65534:65534:nobody:/:/bin/false' >>/etc/passwd
	grep -q nogroup /etc/group || echo 'nogroup:x:65534:' >>/etc/group
	mkdir -p /own
	peer &
	peer=$!
	timeout 240 unshare -m sh -c \
		'mount --rbind / /own && cd /own && mount --move . / && exec chroot . "$@"' sh \
		polyvisor --kernel /guest/kernel --initramfs /guest/initramfs \
		--memory size=256M --serial file=$LOG --cmdline "$ROOT pv.test=net pv.exit=poweroff" \
		--disk path=/dev/vda --net backend=passt "$@" </dev/null || status=$?
	kill $peer 2>/dev/null
	killall nc 2>/dev/null
	sleep 1
	if [ -n "$(pidof passt passt.avx2)" ]; then bad "$name" "left passt behind"; else judge "$name" $status; fi
}

suite_net() {
	tap "network over PCI: DHCP and data" --net tap=pvtap0
	tap "network over MMIO: DHCP and data, packed rings" --machine packed=on --net tap=pvtap0,transport=mmio
	passt "network without privileges: DHCP and data through passt"
}

# vsock NAME OPTIONS: data between the guest and this host, begun by either, and what is refused.
vsock() {
	local name=$1 host pid status=0 i
	rm -f $LOG /tmp/vsock /tmp/tried
	dd if=/usr/bin/vsock-echo of=/tmp/vsock-disk bs=512 conv=sync 2>/dev/null
	vsock-echo serve unix:/tmp/vsock_1234 >/dev/null &
	host=$!
	vm "$ROOT pv.test=vsock pv.exit=poweroff" --disk path=/dev/vda --disk path=/tmp/vsock-disk,readonly=on \
		--vsock "cid=3,socket=/tmp/vsock$2" &
	pid=$!
	if wait_for "vsock-echo: listens" 1 200; then
		vsock-echo refused unix:/tmp/vsock:53 2>>/tmp/tried || status=1
		for i in 1 2; do vsock-echo try unix:/tmp/vsock:52 1048576 >/dev/null 2>>/tmp/tried || status=1; done
	fi
	wait $pid || status=2
	kill $host
	rm -f /tmp/vsock_1234
	if [ $status != 0 ]; then
		bad "$name" "status $status: $(cat /tmp/said /tmp/tried 2>/dev/null | tr '\n' ' ')"
	elif [ -e /tmp/vsock ]; then
		bad "$name" "left its socket behind"
	elif has "$name" "test vsock ok"; then
		ok "$name"
	fi
}

suite_vsock() {
	vsock "vsock over PCI: 1 MiB each way, begun by either side" ""
	vsock "vsock over MMIO: 1 MiB each way, begun by either side" ,transport=mmio
}

# Another kind of host: the essentials.
suite_other() {
	power "other host: boots with 4 vCPUs from ext4 over PCI" "$ROOT pv.test=write,verify" \
		cpus=4 test.write.ok test.verify.ok -- --cpus boot=4 --disk path=/dev/vda
	power "other host: boots from ext4 over MMIO" "$ROOT pv.test=verify" \
		test.verify.ok -- --disk path=/dev/vda,transport=mmio --rng src=/dev/urandom,transport=mmio
}
