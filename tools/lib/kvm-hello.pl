# SPDX-License-Identifier: Apache-2.0
# The first guest, before anything is installed: perl is on every Debian, a compiler is not.
#
# Makes a VM of one page and runs 16-bit code in it: it says a line on port 0x3f8, then counts down and
# says how long an instruction took. Where KVM has no hardware under it and emulates kernel-mode code,
# that is some hundred nanoseconds instead of one, and Linux will not run. Prints two lines:
#   VERDICT none|denied|broken|bare-metal|linux
#   what was seen, for people
# x86-64 only; on another chip the verdict is left to polyvisor --probe-kvm, when that is built.
use strict;
use warnings;

use constant {
	SYS_mmap => 9, SYS_clock_gettime => 228,
	KVM_GET_API_VERSION => 0xAE00, KVM_CREATE_VM => 0xAE01, KVM_GET_VCPU_MMAP_SIZE => 0xAE04,
	KVM_CREATE_VCPU => 0xAE41, KVM_SET_USER_MEMORY_REGION => 0x4020AE46, KVM_SET_TSS_ADDR => 0xAE47,
	KVM_RUN => 0xAE80, KVM_SET_REGS => 0x4090AE82, KVM_GET_SREGS => 0x8138AE83,
	KVM_SET_SREGS => 0x4138AE84, KVM_EXIT_IO => 2, COUNT => 20000, SLOW_NS => 50,
};

sub verdict { print "$_[0]\n$_[1]\n"; exit 0 }
sub handle { open(my $f, '+<&=', $_[0]) or verdict('broken', "/dev/kvm: $!"); return $f }
sub now { my $t = "\0" x 16; syscall(SYS_clock_gettime, 1, $t); my ($s, $n) = unpack 'qq', $t; return $s + $n / 1e9 }

my $kvm;
if (!sysopen($kvm, '/dev/kvm', 2)) {
	verdict('none', 'there is no /dev/kvm') unless -e '/dev/kvm';
	verdict('denied', "/dev/kvm: $!; be root, or join its group: sudo adduser \$USER kvm") if $!{EACCES} || $!{EPERM};
	verdict('none', "/dev/kvm: $!");
}
verdict('later', '/dev/kvm is there; what it can run shows when polyvisor is built') unless `uname -m` eq "x86_64\n";

# ask HANDLE REQUEST ARGUMENT: the ioctl's number, or the end. KVM writes into the caller's ARGUMENT.
sub ask {
	my $r = ioctl($_[0], $_[1], $_[2]) or verdict('broken', "/dev/kvm cannot run guests: $!");
	return $r eq '0 but true' ? 0 : $r;
}

my $vm = handle(ask($kvm, KVM_CREATE_VM, 0));
ioctl($vm, KVM_SET_TSS_ADDR, 0xfffbd000);

# mov dx,0x3f8; say the line; mov ecx,COUNT; 1: dec ecx; jnz 1b; out dx,al; hlt
my $line = 'hello from a guest';
my $code = "\xba\xf8\x03" . join('', map { "\xb0$_\xee" } split //, $line)
	. "\x66\xb9" . pack('V', COUNT) . "\xb0\x0a\xee\x66\x49\x75\xfc\xee\xf4";
my $ram = "\0" x 12288;
substr($ram, 0, 1) = "\0"; # its own copy from here on, so it stays where it is
my $at = unpack('Q', pack('p', $ram));
my $skip = -$at & 4095;
substr($ram, $skip, length $code) = $code;
ask($vm, KVM_SET_USER_MEMORY_REGION, pack('LLQQQ', 0, 0, 0x1000, 4096, $at + $skip));

my $size = ask($kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
my $fd = ask($vm, KVM_CREATE_VCPU, 0);
my $cpu = handle($fd);
my $run = syscall(SYS_mmap, 0, $size, 3, 1, $fd, 0);
verdict('broken', "/dev/kvm: mmap: $!") if $run == -1;

my $sregs = "\0" x 312;
ask($cpu, KVM_GET_SREGS, $sregs);
substr($sregs, 0, 8) = pack('Q', 0);   # cs: base 0
substr($sregs, 12, 2) = pack('S', 0);  # and selector 0
ask($cpu, KVM_SET_SREGS, $sregs);
ask($cpu, KVM_SET_REGS, pack('Q18', (0) x 16, 0x1000, 2));

local $SIG{ALRM} = sub { verdict('broken', '/dev/kvm: a guest did not get on') };
alarm 5;
my ($said, $start) = ('', 0);
for my $exit (0 .. length($line) + 1) {
	ioctl($cpu, KVM_RUN, 0) or verdict('broken', "/dev/kvm cannot run guests: $!");
	my $why = unpack('L', substr(unpack('P12', pack('Q', $run)), 8));
	verdict('broken', "/dev/kvm cannot run guests: exit $why") if $why != KVM_EXIT_IO;
	# kvm_run: exit_reason at 8, io at 32: direction, size, port, count, data_offset at 40
	my $io = unpack('P48', pack('Q', $run));
	$said .= unpack('P1', pack('Q', $run + unpack('Q', substr($io, 40, 8)))) if $exit < length $line;
	$start = now() if $exit == length $line;
}
my $ns = (now() - $start) * 1e9 / (2 * COUNT);
verdict('broken', "/dev/kvm: a guest said '$said'") if $said ne $line;
verdict('bare-metal', sprintf("a guest said '%s'; but an instruction takes %.0f ns: KVM emulates each, so Linux cannot run here", $said, $ns)) if $ns > SLOW_NS;
verdict('linux', sprintf("a guest said '%s'; an instruction takes %.1f ns, as on the machine itself", $said, $ns));
