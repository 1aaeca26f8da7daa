# SPDX-License-Identifier: Apache-2.0
# Inside a chip host, after guest-suite.sh: Debian guests whose devices the host's kernel serves, by
# vhost-net, or by vDPA with a process behind it (VDUSE).

# mirror: takes what comes to port 7778, gives it back on port 7779.
mirror() {
	[ -p /tmp/never ] || mkfifo /tmp/never # netcat ends the connection when its input ends
	while :; do
		nc -l -p 7778 0<>/tmp/never >/tmp/mirrored 2>/dev/null
		nc -l -p 7779 </tmp/mirrored >/dev/null 2>&1
	done
}

# vhost_tap NAME FLAG...: as tap, with 2 MiB each way.
vhost_tap() {
	local mirror
	mirror &
	mirror=$!
	TESTS=net,traffic tap "$@"
	kill $mirror 2>/dev/null
	killall nc 2>/dev/null
	grep -q "test traffic ok" $LOG || bad "$1" "the log lacks 'test traffic ok'"
}

# pauser: stops the guest and lets it go on, every second, counted.
pauser() {
	: >/tmp/pauses
	while sleep 1; do
		polyctl vm pause >/dev/null 2>&1 && polyctl vm resume >/dev/null 2>&1 && echo >>/tmp/pauses
	done
}

# paused NAME COMMAND...: with a pauser at work.
paused() {
	local name=$1 pauser
	shift
	pauser &
	pauser=$!
	"$@"
	kill $pauser
	[ -s /tmp/pauses ] || bad "$name" "was never paused"
}

suite_vhost_net() {
	local name="vhost-net over PCI, two pairs of queues: DHCP, pings, 2 MiB each way, paused now and then"
	modprobe vhost_net 2>/dev/null
	[ -d /sys/module/vhost_net ] || { echo "skip vhost-net: no module vhost_net in this host" && return; }
	paused "$name" vhost_tap "$name" --cpus boot=2 --net tap=pvtap0,vhost=on,num_queues=4 \
		--api-socket path=$POLYVISOR_SOCKET
	vhost_tap "vhost-net over MMIO: DHCP, pings, 2 MiB each way" --net tap=pvtap0,vhost=on,transport=mmio
	mv /dev/vhost-net /dev/vhost-net-away
	refused "bad input: vhost=on without /dev/vhost-net" 1 "vhost_net" --kernel /guest/kernel --net tap=pvtap0,vhost=on
	: >/dev/vhost-net
	refused "bad input: /dev/vhost-net is not vhost" 1 "/dev/vhost-net" --kernel /guest/kernel --net tap=pvtap0,vhost=on
	rm /dev/vhost-net
	mv /dev/vhost-net-away /dev/vhost-net
}

# server: the host's disk as the VDUSE device vduse0; again whenever it ends.
server() {
	while :; do
		qemu-storage-daemon --blockdev driver=host_device,node-name=disk,filename=/dev/vda \
			--export type=vduse-blk,id=vduse0,node-name=disk,name=vduse0,writable=on </dev/null >/tmp/vduse.log 2>&1
	done
}

# vduse: that device as /dev/vhost-vdpa-0.
vduse() {
	local i=0
	modprobe -a vduse vhost_vdpa
	server &
	until [ -e /dev/vduse/vduse0 ] || [ $i = 100 ]; do usleep 100000; i=$((i + 1)); done
	vdpa dev add name vduse0 mgmtdev vduse
	until [ -c /dev/vhost-vdpa-0 ] || [ $i = 200 ]; do usleep 100000; i=$((i + 1)); done
}

# reboots NAME FLAG...: the second boot finds what the first has written.
reboots() {
	local name=$1 pid
	shift
	rm -f $LOG
	vm "$ROOT pv.test=verify,write,verify pv.exit=reboot" "$@" &
	pid=$!
	if wait_for "test verify ok" 3 200; then ok "$name"; else bad "$name" "no second boot that verifies"; fi
	killall -TERM polyvisor
	wait $pid
}

# bereft NAME FLAG...: the process behind the device is killed while the guest writes, and another takes over.
bereft() {
	local name=$1
	shift
	(wait_for "guest ready" 1 200 && killall -9 qemu-storage-daemon && echo >/tmp/killed) &
	power "$name" "$ROOT pv.test=write,verify,write,verify" test.write.ok test.verify.ok -- "$@"
	[ -e /tmp/killed ] || bad "$name" "nothing was killed"
}

suite_vdpa() {
	local name="vdpa: boots and reboots from a VDUSE disk over PCI, paused now and then"
	modprobe vduse 2>/dev/null
	[ -d /sys/module/vduse ] || { echo "skip vdpa: this host's kernel has no VDUSE" && return; }
	vduse
	[ -c /dev/vhost-vdpa-0 ] || { bad vdpa "no /dev/vhost-vdpa-0: $(cat /tmp/vduse.log)" && return; }
	paused "$name" reboots "$name" --vdpa path=/dev/vhost-vdpa-0 --api-socket path=$POLYVISOR_SOCKET
	bereft "vdpa: a VDUSE disk over MMIO, whose process is killed" --vdpa path=/dev/vhost-vdpa-0,transport=mmio
	refused "bad input: a vDPA device that is none" 1 "--vdpa" --kernel /guest/kernel --vdpa path=/dev/null
	refused "bad input: no such vDPA device" 1 "vhost_vdpa" --kernel /guest/kernel --vdpa path=/dev/vhost-vdpa-9
}
