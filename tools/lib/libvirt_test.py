# SPDX-License-Identifier: Apache-2.0
"""usage: libvirt_test.py LIBVIRT-HOME POLYVISOR CHIP      (run by tools/lib/libvirt, in namespaces of its own)

A private libvirtd with the ch driver runs polyvisor as <emulator>; plain virsh is the user. After each
step: the state as virsh reports it. At the end of each machine: no process, no tap, no socket, no file.
Guests are bare-metal ones, so that this works wherever /dev/kvm runs anything at all.
"""
import ctypes
import glob
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HOME, BINARY, CHIP = sys.argv[1:4]
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DIR = tempfile.mkdtemp(prefix='polyvisor-libvirt-')
# As root it is the system's libvirtd, else the user's own session.
SYSTEM = os.geteuid() == 0
URI = 'ch:///system' if SYSTEM else 'ch:///session'
RUN = os.path.join(HOME, 'run/libvirt/ch' if SYSTEM else 'run/libvirt/ch/run')
LOGS = os.path.join(HOME, 'var/log/libvirt/ch' if SYSTEM else 'var/libvirt/ch/log')
NAME = 'pv-test'
LOG_FILES = [os.path.join(LOGS, NAME + '.log'), os.path.join(DIR, 'libvirtd.log')]
VERSION = 'cloud-hypervisor v'
FAILED = []
PR_SET_CHILD_SUBREAPER = 36


class Wrong(Exception):
    """What a step found wrong."""


def say(status, name, why=''):
    print(f'{status} {name}' + (f': {why}' if why else ''), flush=True)
    if status == 'not ok':
        FAILED.append(name)


def guest(name):
    found = glob.glob(f'{TREE}/build/{CHIP}/root/usr/**/guest-tests/{name}', recursive=True)
    if not found:
        raise Wrong(f'no guest-test {name} is built')
    return found[0]


def domain(kernel, extra=''):
    arch = {'x86_64': 'x86_64', 'arm64': 'aarch64'}[CHIP]
    return f"""<domain type='kvm'>
  <name>{NAME}</name>
  <uuid>5c9e2f1a-7d1b-4a57-9b83-0f6f4f3d2c11</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu>2</vcpu>
  <os><type arch='{arch}'>hvm</type><kernel>{kernel}</kernel><cmdline>quiet</cmdline></os>
  <devices>
    <emulator>{BINARY}</emulator>
    <serial type='pty'/>
    {extra}
  </devices>
</domain>
"""


def with_all():
    """Both consoles, a disk and a tap."""
    disk = os.path.join(DIR, 'disk.raw')
    with open(disk, 'wb') as f:
        f.truncate(16 << 20)
    return f"""<console type='pty'><target type='virtio'/></console>
    <disk type='file' device='disk'><driver name='ch' type='raw'/><source file='{disk}'/>
      <target dev='vda' bus='virtio'/></disk>
    <interface type='ethernet'><mac address='52:54:00:01:02:03'/><model type='virtio'/></interface>"""


# ---- the client ----

def virsh(*args, fails=False):
    p = subprocess.run([f'{HOME}/usr/bin/virsh', '-q', '-c', URI, *args], text=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=60, errors='replace')
    if fails != (p.returncode != 0):
        raise Wrong(f'virsh {" ".join(args)} ended with {p.returncode}: {p.stdout.strip()}')
    return p.stdout.strip()


def state(want):
    got = virsh('domstate', NAME)
    if got != want:
        raise Wrong(f'virsh says {got!r}, not {want!r}')


def until(what, condition, seconds=15):
    end = time.time() + seconds
    while not condition():
        if time.time() > end:
            raise Wrong(f'not within {seconds} s: {what}')
        time.sleep(0.05)


def define(xml):
    path = os.path.join(DIR, 'domain.xml')
    with open(path, 'w', encoding='utf-8') as f:
        f.write(xml)
    virsh('define', path)


# ---- what is there ----

def processes():
    """Our programs that run here; what has ended but was not reaped counts too."""
    found = []
    for stat in glob.glob('/proc/[0-9]*/stat'):
        try:
            with open(stat, encoding='utf-8') as f:
                if f'({os.path.basename(BINARY)[:15]})' in f.read():
                    found.append(int(stat.split('/')[2]))
        except OSError:
            pass
    return found


def the_process():
    pids = processes()
    if len(pids) != 1:
        raise Wrong(f'{len(pids)} processes of the VMM, not one')
    return pids[0]


def taps():
    return [n for n in os.listdir('/sys/class/net') if n != 'lo']


def files():
    """Socket, FIFO, pid file; the NAME.xml that it writes itself, 11.3.0 never removes."""
    return sorted(f for f in os.listdir(RUN) if f != NAME + '.xml') if os.path.isdir(RUN) else []


def nothing_left():
    state('shut off')
    until(f'the VMM gone (there are {processes()})', lambda: not processes())
    until(f'the tap gone (there are {taps()})', lambda: not taps())
    until(f'socket and FIFO gone (there are {files()})', lambda: not files())
    # What 11.3.0 still reads of an ended VMM's events (it looks once a second) may stop the next one.
    until('its reader of events gone', lambda: 'ch-evt-' not in ' '.join(threads_of_libvirtd()))


def threads_of_libvirtd():
    names = []
    for comm in glob.glob(f'/proc/{LIBVIRTD.pid}/task/*/comm'):
        try:
            with open(comm, encoding='utf-8') as f:
                names.append(f.read().strip())
        except OSError:
            pass
    return names


def vcpu_ticks(pid):
    """CPU time of each vCPU thread, as libvirt finds it: by the thread's name."""
    ticks = {}
    for task in glob.glob(f'/proc/{pid}/task/*'):
        with open(f'{task}/comm', encoding='utf-8') as f:
            name = f.read().strip()
        if name.startswith('vcpu'):
            ticks[name] = cpu_time(f'{task}/stat')
    return ticks


def cpu_time(stat):
    with open(stat, encoding='utf-8') as f:
        words = f.read().rpartition(')')[2].split()
    return int(words[11]) + int(words[12])


def runs(pid):
    """The process's time counts vCPUs of earlier boots, too."""
    before = cpu_time(f'/proc/{pid}/stat')
    until('the guest runs', lambda: cpu_time(f'/proc/{pid}/stat') > before + 5)


def stands(pid):
    before = vcpu_ticks(pid)
    time.sleep(0.5)
    if vcpu_ticks(pid) != before:
        raise Wrong(f'the guest goes on: {before} became {vcpu_ticks(pid)}')


def fds(pid):
    names = []
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try:
            names.append(os.readlink(f'/proc/{pid}/fd/{fd}'))
        except OSError:
            pass
    return sorted(names)


def fewest_fds(pid):
    """Over half a second, in which a guest that resets itself is between two boots now and then."""
    end, least = time.time() + 0.5, 1 << 20
    while time.time() < end:
        least = min(least, len(fds(pid)))
    return least


# ---- steps: each is a test; they build on each other ----

def probe():
    said = virsh('version')
    m = re.search(r'Running hypervisor: CH (\S+)', said)
    line = subprocess.run([os.path.join(DIR, 'bin/cloud-hypervisor'), '--version'], text=True,
                          capture_output=True).stdout
    if not m or not line.startswith(f'{VERSION}{m[1]}'):
        raise Wrong(f'virsh version says {said!r}, the program {line!r}')


def capabilities():
    said = virsh('capabilities')
    if "<domain type='kvm'" not in said:
        raise Wrong(f'no kvm domain in {said[-300:]!r}')


def define_and_list():
    define(domain(guest('spin'), with_all()))
    state('shut off')
    if NAME not in virsh('list', '--all', '--name').split():
        raise Wrong('not in the list')


def start():
    virsh('start', NAME)
    state('running')
    if NAME not in virsh('list', '--name').split():
        raise Wrong('not in the list of running ones')
    pid = the_process()
    with open(f'/proc/{pid}/cmdline', encoding='utf-8') as f:
        argv = f.read().split('\0')
    if '--api-socket' not in argv or '--event-monitor' not in argv:
        raise Wrong(f'started as {argv}')
    runs(pid)


def dominfo():
    said = virsh('dominfo', NAME)
    for line in (r'State:\s+running', r'CPU\(s\):\s+2', r'Max memory:\s+131072 KiB'):
        if not re.search(line, said):
            raise Wrong(f'no {line} in {said!r}')


def vcpus():
    said = virsh('vcpuinfo', NAME)
    if len(re.findall(r'^VCPU:', said, re.M)) != 2 or 'CPU time' not in said:
        raise Wrong(f'vcpuinfo says {said!r}')
    virsh('vcpupin', NAME, '0', '0')
    pid = the_process()
    for task in glob.glob(f'/proc/{pid}/task/*'):
        with open(f'{task}/comm', encoding='utf-8') as f:
            if f.read().strip() == 'vcpu0':
                allowed = os.sched_getaffinity(int(os.path.basename(task)))
                if allowed != {0}:
                    raise Wrong(f'vcpu0 may run on {allowed} after vcpupin 0 0')


def disk_and_tap():
    pid = the_process()
    open_files = fds(pid)
    if os.path.join(DIR, 'disk.raw') not in open_files:
        raise Wrong(f'the disk is not open: {open_files}')
    if open_files.count('/dev/net/tun') != 1:
        raise Wrong(f'not one tap is open: {open_files}')
    m = re.search(r"<target dev='(\w+)'/>\s*<model", virsh('dumpxml', NAME))
    if not m or taps() != [m[1]]:
        raise Wrong(f'dumpxml names {m and m[1]}, there is {taps()}')
    with open(f'/sys/class/net/{m[1]}/carrier', encoding='utf-8') as f:
        if f.read().strip() != '1':
            raise Wrong('the tap has no carrier')


def console():
    path = virsh('ttyconsole', NAME)
    if not re.fullmatch(r'/dev/pts/\d+', path) or path == serial():
        raise Wrong(f'ttyconsole says {path!r}, the serial port is {serial()}')


def serial():
    xml = virsh('dumpxml', NAME)
    m = re.search(r"<serial type='pty'>\s*<source path='(/dev/pts/\d+)'/>", xml)
    if not m or not os.path.exists(m[1]):
        raise Wrong(f'no terminal of the serial port in {xml}')
    return m[1]


def serial_talks():
    """What a guest says after a reboot comes out of the same terminal."""
    fd = os.open(serial(), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        virsh('reboot', NAME)
        said, end = b'', time.time() + 15
        while b'spinning' not in said:
            if not select.select([fd], [], [], max(0, end - time.time()))[0]:
                raise Wrong(f'the serial port says {said!r}')
            said += os.read(fd, 4096)
    finally:
        os.close(fd)
    state('running')


def suspend():
    virsh('suspend', NAME)
    state('paused')
    stands(the_process())


def resume():
    virsh('resume', NAME)
    state('running')
    runs(the_process())


def reboot():
    pid, before, path = the_process(), fds(the_process()), serial()
    for _ in range(3):
        virsh('reboot', NAME)
        state('running')
    runs(pid)
    if the_process() != pid or serial() != path:
        raise Wrong(f'another process or console: {the_process()}, {serial()}')
    until('as many descriptors as before', lambda: len(fds(pid)) == len(before), 5)


def reboot_paused():
    virsh('suspend', NAME)
    virsh('reboot', NAME)
    state('running')
    runs(the_process())


def not_offered():
    """libvirt suspends, asks for a snapshot, and shows the answer in its log; the machine stays."""
    virsh('save', NAME, os.path.join(DIR, 'saved'), fails=True)
    said = tail(LOG_FILES[1])
    if 'vm.snapshot: not offered' not in said:
        raise Wrong(f'does not name what is not offered: {said[-300:]!r}')
    if virsh('domstate', NAME) == 'paused':
        virsh('resume', NAME)
    runs(the_process())


def shutdown():
    virsh('shutdown', NAME)
    until('shut off', lambda: virsh('domstate', NAME) == 'shut off')
    nothing_left()


def destroy():
    virsh('start', NAME)
    runs(the_process())
    virsh('destroy', NAME)
    nothing_left()


def destroy_paused():
    virsh('start', NAME)
    virsh('suspend', NAME)
    virsh('destroy', NAME)
    nothing_left()


def many():
    for _ in range(5):
        virsh('start', NAME)
        virsh('destroy', NAME)
        nothing_left()


def transient():
    virsh('undefine', NAME)
    if virsh('list', '--all', '--name').strip():
        raise Wrong('still in the list after undefine')
    path = os.path.join(DIR, 'domain.xml')
    virsh('create', path)
    state('running')
    runs(the_process())
    virsh('destroy', NAME)
    if virsh('list', '--all', '--name').strip():
        raise Wrong('still in the list')
    until('the VMM gone', lambda: not processes())


def poweroff_by_guest():
    """It switches itself off half a second after its start; events tell libvirt."""
    define(domain(guest('rtc')))
    virsh('start', NAME)
    until('shut off', lambda: virsh('domstate', NAME) == 'shut off')
    nothing_left()


def reset_by_guest():
    """It resets itself as fast as it can, an event each time, and libvirt looks each time."""
    define(domain(guest('reset-loop'), with_all()))
    virsh('start', NAME)
    pid = the_process()
    least = [fewest_fds(pid) for _ in range(4)]
    state('running')
    if the_process() != pid or least[-1] > least[0] + 2:
        raise Wrong(f'descriptors become more: {least}')
    # libvirtd 11.3.0 crashes when it destroys a domain while its other thread looks after an event of it.
    virsh('suspend', NAME)
    time.sleep(1)
    virsh('destroy', NAME)
    nothing_left()


def bridged():
    subprocess.run(['ip', 'link', 'add', 'pvbr0', 'type', 'bridge'], check=True)
    try:
        define(domain(guest('spin'), "<interface type='bridge'><source bridge='pvbr0'/>"
                      "<model type='virtio'/></interface>" * 2))
        virsh('start', NAME)
        pid = the_process()
        if fds(pid).count('/dev/net/tun') != 2 or len(os.listdir('/sys/class/net/pvbr0/brif')) != 2:
            raise Wrong(f'not two taps in the bridge: {taps()}')
        virsh('destroy', NAME)
    finally:
        subprocess.run(['ip', 'link', 'del', 'pvbr0'], check=True)
    nothing_left()


def other_settings():
    """An address and an MTU for an interface that libvirt made, a socket for the serial port."""
    sock = os.path.join(DIR, 'serial')
    define(domain(guest('spin'), "<interface type='ethernet'><model type='virtio'/><mtu size='1400'/>"
                  "<ip address='192.0.2.2' prefix='24'/></interface>").replace(
                      "<serial type='pty'/>", f"<serial type='unix'><source mode='bind' path='{sock}'/></serial>"))
    virsh('start', NAME)
    runs(the_process())
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(15)
        s.connect(sock)
        virsh('reboot', NAME)
        said = b''
        while b'spinning' not in said:
            said += s.recv(4096) or b'spinning not, it is closed'
        if b'closed' in said:
            raise Wrong(f'the serial port says {said!r}')
    virsh('shutdown', NAME)
    nothing_left()
    if os.path.exists(sock):
        raise Wrong('the socket of the serial port is still there')


def queues():
    """More queues than are offered are refused, not cut down."""
    define(domain(guest('spin'), "<interface type='ethernet'><model type='virtio'/><driver queues='2'/></interface>"))
    virsh('start', NAME, fails=True)
    if 'one pair of queues' not in tail(LOG_FILES[1]):
        raise Wrong(f'does not say what is offered: {tail(LOG_FILES[1])[-300:]!r}')
    nothing_left()


def no_kernel():
    define(domain(os.path.join(DIR, 'no-such-kernel'), with_all()))
    virsh('start', NAME, fails=True)
    nothing_left()
    virsh('undefine', NAME)


def outlives_libvirtd():
    """libvirtd dies, and with it the reader of the events: the guest runs on, and still resets."""
    define(domain(guest('reset-loop'), with_all()))
    virsh('start', NAME)
    pid = the_process()
    LIBVIRTD.kill()
    LIBVIRTD.wait()
    time.sleep(1)
    runs(pid)
    os.kill(pid, signal.SIGTERM)
    until(f'the VMM gone (there are {processes()})', lambda: not processes())
    until(f'the tap gone (there are {taps()})', lambda: not taps())


STEPS = [
    ('version, by the probe', probe), ('capabilities', capabilities), ('define, list', define_and_list),
    ('start', start), ('dominfo', dominfo), ('vcpuinfo, vcpupin', vcpus),
    ('a disk, and a tap by descriptor', disk_and_tap), ('ttyconsole, serial port', console),
    ('suspend', suspend), ('resume', resume), ('reboot', reboot), ('reboot of a paused one', reboot_paused),
    ('the serial port after a reboot', serial_talks), ('save is refused by name', not_offered),
    ('shutdown', shutdown), ('destroy', destroy), ('destroy of a paused one', destroy_paused),
    ('start and destroy, five times', many), ('undefine, create', transient),
    ('a guest that switches itself off', poweroff_by_guest), ('a guest that resets itself', reset_by_guest),
    ('two taps in a bridge', bridged), ('address, MTU, serial socket', other_settings),
    ('two queue pairs', queues), ('start without a kernel', no_kernel),
    ('the death of libvirtd', outlives_libvirtd),
]


def tail(path, start=0):
    """What was written there since, without what the driver says about calls that it does not have."""
    try:
        with open(path, encoding='utf-8', errors='replace') as f:
            f.seek(start)
            return ''.join(l for l in f if 'not supported by the connection driver' not in l)[-2500:]
    except OSError:
        return ''


def sizes():
    return [os.path.getsize(path) if os.path.exists(path) else 0 for path in LOG_FILES]


def clean():
    """Whatever a failed step left, so that the next ones can be judged."""
    subprocess.run([f'{HOME}/usr/bin/virsh', '-q', '-c', URI, 'destroy', NAME], timeout=60,
                   capture_output=True)
    for pid in processes():
        try:
            os.kill(pid, 9)
        except OSError:
            pass


def daemon():
    os.makedirs(os.path.join(DIR, 'bin'))
    os.makedirs(LOGS)
    os.symlink(BINARY, os.path.join(DIR, 'bin/cloud-hypervisor'))  # what the driver's probe looks for
    os.environ.update(PATH=os.path.join(DIR, 'bin') + ':' + os.environ['PATH'], LC_ALL='C',
                      LD_LIBRARY_PATH=f'{HOME}/usr/lib', HOME=DIR, XDG_CONFIG_HOME=DIR,
                      XDG_RUNTIME_DIR=f'{HOME}/run', XDG_CACHE_HOME=f'{HOME}/var', LIBVIRT_AUTOSTART='0',
                      DBUS_SYSTEM_BUS_ADDRESS='unix:path=/nonexistent')
    # libvirt 11.3.0 makes the VMM a daemon and then ends it only if it is its parent: here it is.
    reaper = ctypes.CDLL(None).prctl
    p = subprocess.Popen([f'{HOME}/usr/sbin/libvirtd'], stdin=subprocess.DEVNULL,
                         stdout=open(LOG_FILES[1], 'w', encoding='utf-8'),
                         stderr=subprocess.STDOUT, env=dict(os.environ, LIBVIRT_LOG_OUTPUTS='3:stderr'),
                         preexec_fn=lambda: reaper(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    end = time.time() + 30
    sock = f'{HOME}/run/libvirt/libvirt-sock'  # before it is there, virsh would start another one
    while not os.path.exists(sock) or subprocess.run([f'{HOME}/usr/bin/virsh', '-c', URI, 'uri'],
                                                     timeout=60, capture_output=True).returncode:
        if time.time() > end or p.poll() is not None:
            say('not ok', 'libvirtd', 'does not answer: ' + tail(LOG_FILES[1]))
            break
        time.sleep(0.1)
    return p


def main():
    for name, step in [] if FAILED else STEPS:
        if step == bridged and not SYSTEM:
            say('skip', name, 'needs root: a session cannot put taps into a bridge')
            continue
        before = sizes()
        try:
            step()
            say('ok', name)
        except (Wrong, OSError, subprocess.SubprocessError) as e:
            say('not ok', name, str(e))
            print(*map(tail, LOG_FILES, before), sep='\n', file=sys.stderr, flush=True)
            if step not in (dominfo, vcpus, disk_and_tap, console):
                clean()
    return 1 if FAILED else 0


try:
    LIBVIRTD = daemon()
    code = main()
finally:
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(code)
