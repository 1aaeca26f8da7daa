# SPDX-License-Identifier: Apache-2.0
# The parts of tools/fleet. Sourced after common.sh; uses its `data`, `memory` and `port`.
#
# Every background process has a file NAME.pid in $data, which holds its process group; one that is alive
# is left alone, so that `up` after `up` only adds what is missing.

POLYCLOUD=$PV_TREE/build/cloud/polycloud
POLYCTL=$PV_TREE/build/cloud/polyctl

# alive NAME: whether the process that NAME.pid names is one that was started here.
alive() {
	local pid
	pid=$(cat "$data/$1.pid" 2>/dev/null) || return 1
	grep -qsz -- "$data" "/proc/$pid/cmdline"
}

# background NAME COMMAND...: a process group of its own that outlives this shell.
background() {
	local name=$1
	shift
	setsid "$@" </dev/null >"$data/$name.log" 2>&1 &
	echo $! >"$data/$name.pid"
}

# until_true SECONDS WHAT NAME COMMAND...: waits with progress; says what NAME's log ends with when it dies.
until_true() {
	local limit=$1 what=$2 name=$3 ticks=0
	shift 3
	until "$@" >/dev/null 2>&1; do
		alive "$name" || die "$what: $name has ended: $(tail -n1 "$data/$name.log")"
		[ $ticks -lt $((limit * 5)) ] || die "$what: not within $limit s; see $data/$name.log"
		ticks=$((ticks + 1))
		[ $((ticks % 25)) != 0 ] || progress "$what"
		sleep 0.2
	done
}

ctl() { POLYCLOUD_SOCKET=$data/polycloud.sock "$POLYCTL" "$@"; }

fleet_control() {
	[ -x "$POLYCLOUD" ] && [ -x "$POLYCTL" ] || "$PV_TREE/tools/build" cloud
	mkdir -p "$data"
	echo "$PV_TREE" >"$data/tree" # whose it is: quickstart --down ends only its own
	alive control || background control "$POLYCLOUD" control --data "$data/control" \
		--socket "$data/polycloud.sock" --listen "127.0.0.1:$port"
	until_true 60 "waiting for the control plane" control ctl version
}

# host_name CHIP: names of objects have no underscore.
host_name() { echo "${1/_/-}-host"; }

# fleet_host CHIP: a token for it, and the emulated host that runs the node agent. passt pivots away from
# its root folder, which an initramfs cannot be: a mount over it can.
fleet_host() {
	local name share=$data/$1
	name=$(host_name "$1")
	set_chip "$1"
	! alive "$name" || return 0
	[ -x "$PV_TREE/build/$1/polycloud" ] || "$PV_TREE/tools/build" "$1"
	mkdir -p "$share"
	[ -s "$share/token" ] || ctl token create "node-$name" --role node --host "$name" --file "$share/token" >/dev/null
	[ -d "$data/passt-$1" ] || debian_root "$data/passt-$1" passt 'passt*'
	progress "starting an emulated $1 host"
	background "$name" "$PV_TREE/tools/chip-host" "$1" --net --smp 2 --memory "$memory" --share "$share" \
		--add "$data/passt-$1" --env "FLEET=$data" -- sh -c '
		grep -q nobody /etc/passwd || echo "nobody:x:65534:65534:nobody:/:/bin/false" >>/etc/passwd
		grep -q nogroup /etc/group || echo "nogroup:x:65534:" >>/etc/group
		mkdir -p /own /var/lib/polycloud
		while sleep 0.2; do
			[ -e /share/todo ] || continue
			mv /share/todo /share/doing
			sh /share/doing >/share/said 2>&1
			mv /share/doing /share/done
		done &
		exec unshare -m sh -c "mount --rbind / /own && cd /own && mount --move . / && exec chroot . \"\$@\"" sh \
			polycloud node --name '"$name"' --control https://10.0.2.2:'"$port"' --token-file /share/token --data /var/lib/polycloud'
}

online() { [ "$(ctl host get "$1" --json | sed -n 's/.*"state": *"\([a-z]*\)".*/\1/p' | head -n1)" = online ]; }
fleet_joined() { until_true 240 "waiting for the $1 host to join" "$(host_name "$1")" online "$(host_name "$1")"; }

# ---- demo

# shown COMMAND...: as one types it, then what it says; the time it took at the end.
shown() {
	local from=$SECONDS
	say "\$ polyctl $*"
	ctl "$@" >&2 || true
	say "  ($((SECONDS - from)) s)"
}

instance_name() { echo "debian-${1/_/-}"; }

# fleet_key: instances let in who has DATA/key; those that exist keep what they were made with.
fleet_key() {
	command -v ssh-keygen >/dev/null || die "ssh-keygen is missing; install it with: tools/setup cloud"
	[ -s "$data/key" ] || ssh-keygen -q -t ed25519 -N '' -C fleet -f "$data/key"
	ctl key get fleet >/dev/null 2>&1 || ctl key create fleet "$data/key.pub" >/dev/null
}

# fleet_instance CHIP: the image for it, when the image has not that chip yet, and an instance.
fleet_instance() {
	ctl image get debian --json 2>/dev/null | grep -q "\"chip\": *\"$1\"" || ctl image build debian --chip "$1" >/dev/null
	ctl instance get "$(instance_name "$1")" >/dev/null 2>&1 ||
		ctl instance create "$(instance_name "$1")" --image debian --chip "$1" --key fleet >/dev/null
}

# fleet_proof CHIP: waits until it answers, then shows how fast it does.
fleet_proof() {
	local name
	name=$(instance_name "$1")
	progress "waiting for $name"
	ctl ssh --identity "$data/key" "$name" true || die "$name does not answer; polyctl diagnose $name"
	shown ssh --identity "$data/key" "$name" uname -m
}

# What the guest does while its disk's process is killed: copies, which must all be equal when read from the disk again.
WRITES='cd /root && dd if=/dev/urandom of=proof.0 bs=64k count=64 2>/dev/null && for i in 1 2 3 4 5 6 7 8; do
cp proof.0 proof.$i && sync || exit 1; done; echo 3 >/proc/sys/vm/drop_caches
echo "$(sha256sum proof.* | cut -c1-64 | sort -u | wc -l) checksum of $(ls proof.* | wc -l) files, $(dmesg | grep -c "I/O error") I/O errors"; rm proof.*'

# of_disks FIELD NAME: a number that is observed of the process that serves the instance's disks.
of_disks() { ctl instance get "$2" --json | tr -d ' \n' | sed -n "s/.*\"id\":\"disks\",[^}]*\"$1\":\([0-9]*\).*/\1/p"; }

# fleet_kill CHIP: SIGKILL of that process under verified writes.
fleet_kill() {
	local name pid
	name=$(instance_name "$1")
	pid=$(of_disks pid "$name")
	[ -n "$pid" ] || die "$name has no offload process"
	ctl ssh --identity "$data/key" "$name" "$WRITES" >"$data/proof" 2>&1 &
	sleep 1
	say "\$ tools/fleet sh $1 'kill -KILL $pid'     # it serves the disk that $name is writing"
	fleet_sh "$1" "kill -KILL $pid"
	wait $! || die "the guest's writes failed: $(tail -n1 "$data/proof")"
	say "stalled for $(of_disks stalled_ms "$name") ms; $(tail -n1 "$data/proof")"
	grep -q '^1 checksum of 9 files, 0 I/O errors' "$data/proof" || die "the guest's disk is not what it wrote"
}

# What nobody has, with the scheduler's word on every host; that nothing fits is its status.
fleet_why_not() { shown schedule --image debian --chip riscv64 --feature sve; }

fleet_next() {
	say ""
	say "console   https://127.0.0.1:$port/#token=$(ctl token create "console-$(date +%s)" --role admin --once | tail -n1)"
	say "          (once; its certificate is its own)"
	say "try       export POLYCLOUD_SOCKET=$data/polycloud.sock PATH=\$PATH:${POLYCTL%/*}"
	say "          polyctl instance list"
	say "          polyctl console $(instance_name "${chips[0]}")"
	say "          polyctl events -f"
	say "end       tools/fleet down"
}

# fleet_sh CHIP COMMAND: in its emulated host, as root; what it prints.
fleet_sh() {
	local share=$data/$1
	rm -f "$share/done"
	echo "$2" >"$share/todo.new"
	mv "$share/todo.new" "$share/todo"
	until_true 60 "waiting for the $1 host" "$(host_name "$1")" test -e "$share/done"
	cat "$share/said"
}

fleet_down() {
	local file pid
	for file in "$data"/*.pid; do
		[ -e "$file" ] || continue
		pid=$(cat "$file")
		if alive "$(basename "$file" .pid)"; then kill -- "-$pid" 2>/dev/null || true; fi
		while [ -d "/proc/$pid" ] && grep -qsz -- "$data" "/proc/$pid/cmdline"; do sleep 0.1; done
		rm "$file"
	done
	rm -rf "$data"
	progress "the fleet is gone"
}

fleet_status() {
	alive control || die "no fleet runs in $data (tools/fleet up)"
	ctl host list
	ctl instance list
}
