# SPDX-License-Identifier: Apache-2.0
"""usage: offload_test.py POLYVISOR CHIP [outage]

Devices outside the VMM, when things go wrong: sockets that are none, back-ends that lack something,
lie, flood or hang, disks and taps that go away, front-ends that are killed, an outage of 70 seconds.
polyvisor-offload is taken from beside POLYVISOR. Prints "ok NAME", "not ok NAME: WHY", "skip NAME:
WHY". Those with a guest are skipped where /dev/kvm gives none. The outage is a run of its own, which
takes long and does little.
"""
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import rest
import vu_middle
from rest import Closed, Hung, Wrong, expect, until

BINARY, CHIP = sys.argv[1:3]
ONLY_OUTAGE = sys.argv[3:] == ['outage']
OFFLOAD = os.path.join(os.path.dirname(BINARY), 'polyvisor-offload')
DIR = tempfile.mkdtemp(prefix='polyvisor-offload-')
HAVE_KVM = subprocess.run([BINARY, '--probe-kvm'], capture_output=True).returncode == 0
LOAD, SPIN = rest.guest(CHIP, 'load'), rest.guest(CHIP, 'spin')
OUTAGE = 70  # seconds: longer than a minute, after which others give a disk up for good
FAILED = []
RUNNING = []  # objects with a process of their own, ended after each test, however that went


def die_with_us():
    """In a child before exec: an interrupted test leaves nothing behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def say(status, name, why=''):
    print(f'{status} {name}' + (f': {" ".join(why.split())}' if why else ''), flush=True)
    if status == 'not ok':
        FAILED.append(name)


def path(name):
    return os.path.join(DIR, name)


def disk(name, size=1 << 20):
    with open(path(name), 'wb') as f:
        f.truncate(size)
    return path(name)


class Offload:
    """polyvisor-offload with one disk, or what `device` says."""

    def __init__(self, name, device=None, wait=True):
        self.socket = path(name + '.vu')
        self.log = path(name + '.offload.log')
        self.device = device or f'virtio-blk,path={disk(name + ".disk")}'
        self.start(wait)
        RUNNING.append(self)

    def start(self, wait=True):
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen([OFFLOAD, '--device', self.device, '--socket', self.socket],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_us)
        if wait:
            until(self.listens, f'listens: {self.said()}')

    def listens(self):
        if self.process.poll() is not None:
            raise Wrong(f'polyvisor-offload ended: {self.said()}')
        with open('/proc/net/unix', encoding='utf-8') as f:
            return any(line.split()[-1] == self.socket and line.split()[3] == '00010000' for line in f)

    def said(self):
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return f.read()[-400:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.terminate()
        return self.process.wait(20)

    def has(self):
        """Descriptors and mappings of guests' memory; and RSS in KiB."""
        pid = self.process.pid
        with open(f'/proc/{pid}/maps', encoding='utf-8') as f:
            maps = sum('memfd:' in line for line in f)
        with open(f'/proc/{pid}/status', encoding='utf-8') as f:
            rss = next(int(line.split()[1]) for line in f if line.startswith('VmRSS:'))
        return (len(os.listdir(f'/proc/{pid}/fd')), maps), rss

    def ticks(self):
        with open(f'/proc/{self.process.pid}/stat', encoding='utf-8') as f:
            return sum(int(w) for w in f.read().rpartition(')')[2].split()[11:13])


def process(name):
    v = rest.Vmm(BINARY, DIR, name, args=['-v'], preexec_fn=die_with_us)
    RUNNING.append(v)
    return v


def vmm(name, kernel, vu, cmdline=''):
    """A machine with one offloaded disk, whose console is name.out."""
    v = process(name)
    v.do('vm.create', {'payload': {'kernel': kernel, 'cmdline': f'transport=pci {cmdline}'},
                       'memory': {'size': 64 << 20, 'shared': True},
                       'serial': {'mode': 'File', 'file': path(name + '.out')},
                       'disks': [{'vhost_user': True, 'vhost_socket': vu}]})
    v.do('vm.boot')
    return v


def progress(name):
    """How many requests the guest says it has done."""
    try:
        with open(path(name + '.out'), encoding='utf-8', errors='replace') as f:
            text = f.read()
    except FileNotFoundError:
        return 0
    if 'FAIL' in text:
        raise Wrong(f'the guest says {text[-200:]!r}')
    return max([0, *map(int, re.findall(r'^load (\d+)\r?\n', text, re.M))])


def goes_on(name, seconds=30):
    before = progress(name)
    until(lambda: progress(name) > before, 'the guest does I/O', seconds)


# ---- bad input: one line, and nothing left behind ----

def one_line(program, args, status, *words, seconds=30):
    before = sorted(os.listdir(DIR))
    try:
        p = subprocess.run([program, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Wrong(f'does not end within {seconds} s') from None
    lines = p.stderr.strip().splitlines()
    if p.returncode != status:
        raise Wrong(f'status {p.returncode}, not {status}: {p.stderr!r}')
    if len(lines) != 1:
        raise Wrong(f'not one line: {lines}')
    for w in words:
        if w not in lines[0]:
            raise Wrong(f'{w!r} is not in {lines[0]!r}')
    if sorted(os.listdir(DIR)) != before:
        raise Wrong(f'left behind: {set(os.listdir(DIR)) ^ set(before)}')


def refused_by_vmm(vu, *words):
    one_line(BINARY, ['--kernel', SPIN, '--memory', 'size=64M', '--serial', 'null', '--disk',
                      f'vhost_user=on,vhost_socket={vu}'], 1, *words)


def listener(name, serve):
    """A socket at DIR/name on which each connection is served by a thread."""
    s = socket.socket(socket.AF_UNIX)
    s.bind(path(name))
    s.listen(8)

    def accept():
        while True:
            try:
                c = s.accept()[0]
            except OSError:
                return
            threading.Thread(target=serve, args=(c,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return s


def missing():
    """a socket that is not there"""
    refused_by_vmm(path('none'), '--disk', path('none'), 'no such socket')


def plain_file():
    """a regular file for a socket"""
    refused_by_vmm(disk('file'), '--disk', path('file'), 'not a socket')
    one_line(OFFLOAD, ['--device', f'virtio-blk,path={disk("d")}', '--socket', path('file')], 1,
             'socket', path('file'))


def stale():
    """a stale socket file"""
    s = socket.socket(socket.AF_UNIX)
    s.bind(path('stale.vu'))
    s.close()
    refused_by_vmm(path('stale.vu'), '--disk', 'nobody listens')
    o = Offload('stale')  # takes its place
    if o.end() != 0 or os.path.exists(o.socket):
        raise Wrong('the socket was left behind')


def http():
    """a foreign socket: an HTTP server"""
    def serve(c):
        c.recv(4096)
        c.sendall(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')
    with listener('http', serve):
        refused_by_vmm(path('http'), '--disk', path('http'), 'not vhost-user')
    os.unlink(path('http'))


def silent():
    """a foreign socket: one that says nothing"""
    with listener('silent', lambda c: time.sleep(60)):
        refused_by_vmm(path('silent'), '--disk', path('silent'), 'answer')
    os.unlink(path('silent'))


def closes():
    """a foreign socket: one that closes"""
    with listener('closes', lambda c: c.close()):
        refused_by_vmm(path('closes'), '--disk', path('closes'))
    os.unlink(path('closes'))


def lacks():
    """a back-end that lacks a needed feature"""
    o = Offload('lacks')
    for feature, bit, word in ((True, 32, 'VIRTIO_F_VERSION_1'), (False, 9, 'CONFIG'),
                               (True, 30, 'CONFIG')):
        with vu_middle.Middle(path('middle'), o.socket) as m:
            m.hide(feature, bit)
            refused_by_vmm(path('middle'), '--disk', word)
    o.end()


def short_disk():
    """a disk shorter than a sector"""
    one_line(OFFLOAD, ['--device', f'virtio-blk,path={disk("short", 511)}', '--socket', path('s')], 1,
             '--device', '511 bytes', 'sector')
    one_line(OFFLOAD, ['--device', f'virtio-blk,path={disk("empty", 0)}', '--socket', path('s')], 1,
             '--device', 'empty')


def used_twice():
    """a socket used twice"""
    d = disk('twice')
    one_line(OFFLOAD, ['--device', f'virtio-blk,path={d}', '--socket', path('t'),
                       '--device', 'virtio-blk,backend=null,size=1M', '--socket', path('t')], 2,
             '--socket', path('t'))
    o = Offload('first')
    vu = f'vhost_user=on,vhost_socket={o.socket}'
    one_line(BINARY, ['--kernel', SPIN, '--disk', vu, '--disk', vu], 1, '--disk', o.socket)
    one_line(OFFLOAD, ['--device', 'virtio-blk,backend=null,size=1M', '--socket', o.socket], 1,
             'socket', o.socket)
    with socket.socket(socket.AF_UNIX) as front:
        front.connect(o.socket)
        time.sleep(0.2)
        refused_by_vmm(o.socket, '--disk', o.socket)
    o.end()


def locked():
    """a disk that another process has"""
    o = Offload('locked')
    one_line(OFFLOAD, ['--device', o.device, '--socket', path('l')], 1, '--device', 'locked by')
    o.end()


def tap_vanishes():
    """a tap that vanishes: the process stays, and rests"""
    if os.geteuid():
        return 'making a tap needs root'
    o = Offload('tap', 'virtio-net,tap=pvgone0')
    v = None
    if HAVE_KVM:
        v = process('tap')
        v.do('vm.create', {'payload': {'kernel': LOAD, 'cmdline': 'transport=pci'},
                           'memory': {'size': 64 << 20, 'shared': True},
                           'serial': {'mode': 'File', 'file': path('tap.out')},
                           'net': [{'vhost_user': True, 'vhost_socket': o.socket}]})
        v.do('vm.boot')
        goes_on('tap')
    subprocess.run(['ip', 'link', 'del', 'pvgone0'], check=True, capture_output=True)
    if v:
        goes_on('tap')
        expect('vm.info', v.call('GET', 'vm.info'), 200)
        v.end()
    time.sleep(0.3)
    before = o.ticks()
    time.sleep(1)
    if o.process.poll() is not None or o.ticks() > before + 10:
        raise Wrong(f'status {o.process.poll()}, {o.ticks() - before} ticks in a second: {o.said()}')
    o.end()
    return None


# ---- with a guest ----

def front_end_killed():
    """the front-end is killed, five times: the back-end listens again, and keeps nothing"""
    o = Offload('killed')
    first = None
    for i in range(6):
        v = vmm(f'killed{i}', LOAD, o.socket)
        goes_on(f'killed{i}')
        v.process.kill()
        v.process.wait()
        until(lambda: o.has()[0][1] == 0, f'memory of the front-end is given back: {o.has()}')
        now = o.has()
        first = first or now
        until(lambda: o.has()[0] == first[0], f'{first[0]} became {o.has()[0]} (descriptors, maps)')
        if now[1] > first[1] + 1024:
            raise Wrong(f'grew from {first[1]} to {now[1]} KiB')
    o.end()


def answers(v, name, vu_returns):
    """Everything that is asked of the VMM is answered while its disk's back-end is of no use; then the
    guest goes on."""
    def quick(method, what, *statuses):
        start = time.time()
        expect(what, v.call(method, what), *statuses)
        if time.time() - start > 15:
            raise Wrong(f'{what} took {time.time() - start:.0f} s')
    quick('GET', 'vm.info', 200)
    quick('GET', 'vm.counters', 200)
    quick('PUT', 'vm.pause', 204, 200)
    quick('GET', 'vm.info', 200)
    quick('PUT', 'vm.resume', 204, 200)
    vu_returns()
    goes_on(name, 60)


def trouble(mode):
    """Between the VMM and its back-end stands somebody who is up to `mode`."""
    name = 'mode-' + mode
    o = Offload(name)
    with vu_middle.Middle(path(name), o.socket) as m:
        v = vmm(name, LOAD, path(name))
        try:
            goes_on(name)
            m.be(mode)
            time.sleep(0.5)
            answers(v, name, lambda: m.be('pass'))
            m.be(mode)
            expect('vm.reboot', v.call('PUT', 'vm.reboot'), 204, 200)
            expect('vm.info', v.call('GET', 'vm.info'), 200)
            expect('vm.shutdown', v.call('PUT', 'vm.shutdown'), 204, 200)
            expect('vmm.shutdown', v.call('PUT', 'vmm.shutdown'), 204, 200)
            if v.process.wait(20) != 0:
                raise Wrong(f'status {v.process.returncode}')
        finally:
            v.end()
            o.kill()


def frozen():
    """the back-end is stopped by SIGSTOP: everything is answered, and the guest goes on"""
    o = Offload('frozen')
    v = vmm('frozen', LOAD, o.socket)
    try:
        goes_on('frozen')
        o.process.send_signal(signal.SIGSTOP)
        answers(v, 'frozen', lambda: o.process.send_signal(signal.SIGCONT))
        o.process.send_signal(signal.SIGSTOP)
        expect('vm.shutdown', v.call('PUT', 'vm.shutdown'), 204, 200)
        expect('vmm.shutdown', v.call('PUT', 'vmm.shutdown'), 204, 200)
        if v.process.wait(20) != 0:
            raise Wrong(f'status {v.process.returncode}')
    finally:
        v.end()
        o.process.send_signal(signal.SIGCONT)
        o.kill()


def stalled(v, name):
    """The guest does nothing, and its VMM is well."""
    before = progress(name)
    for _ in range(OUTAGE):
        time.sleep(1)
        expect('vm.info', v.call('GET', 'vm.info'), 200)
    if progress(name) > before + 64:
        raise Wrong('the guest did I/O without a back-end')


def outage():
    """an outage of 70 seconds stalls the guest, which then goes on"""
    o = Offload('outage')
    v = vmm('outage', LOAD, o.socket)
    try:
        goes_on('outage')
        o.kill()
        time.sleep(1.5)  # what had completed may still be said
        stalled(v, 'outage')
        o.start()
        goes_on('outage', 30)
    finally:
        v.end()
        o.kill()


# ---- all of them ----

ALONE = [short_disk, locked]
WITH_VMM = [missing, plain_file, stale, http, silent, closes, lacks, used_twice, tap_vanishes]
WITH_GUEST = [front_end_killed, frozen]
MODES = {'hang': 'a back-end that hangs', 'lie': 'a back-end that lies',
         'flood': 'a back-end that floods', 'silence': 'a back-end that hears and says nothing'}


def check(name, run, *args):
    try:
        why = run(*args)
        say('skip' if why else 'ok', name, why or '')
    except (Wrong, Hung, Closed, OSError, subprocess.SubprocessError) as e:
        say('not ok', name, f'{type(e).__name__}: {e}')
    finally:
        for x in RUNNING:
            x.process.kill()
            x.process.wait()
        RUNNING.clear()


def main():
    if ONLY_OUTAGE and HAVE_KVM:
        check(outage.__doc__, outage)
    elif ONLY_OUTAGE:
        say('skip', outage.__doc__, '/dev/kvm runs no guest here')
    if ONLY_OUTAGE:
        return
    for f in ALONE + WITH_VMM:
        check(f.__doc__, f)
    guests = [(f.__doc__, f) for f in WITH_GUEST] + [(name, trouble, mode) for mode, name in MODES.items()]
    for name, *run in guests:
        if HAVE_KVM:
            check(name, *run)
        else:
            say('skip', name, '/dev/kvm runs no guest here')


try:
    main()
finally:
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(1 if FAILED else 0)
