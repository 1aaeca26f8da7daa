# SPDX-License-Identifier: Apache-2.0
"""A small HTTP client for one instance's socket, and the process behind it, for tests and benchmarks.

It sends bytes as they are given, also wrong ones, with file descriptors if asked; http.client would
correct them. Replies are read by their Content-Length; streams byte by byte.
"""
import array
import glob
import json
import os
import re
import signal
import socket
import subprocess
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
V1 = '/api/v1/'
GROWTH = 3072  # KiB of RSS that a group of checks may leave: heap that malloc keeps below HTTP_CROWD clients


class Hung(Exception):
    """No whole reply in time."""


class Closed(Exception):
    """The connection ended without a whole reply."""


def native_chip():
    return {'x86_64': 'x86_64', 'aarch64': 'arm64', 'riscv64': 'riscv64'}[os.uname().machine]


def guest(chip, name):
    """A bare-metal guest of a chip, wherever tools/build put it."""
    found = glob.glob(f'{TREE}/build/{chip}/root/usr/**/guest-tests/{name}', recursive=True)
    return found[0] if found else None


class Client:
    """One connection."""

    def __init__(self, path, timeout=20):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.left = b''

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data, fds=()):
        if fds:
            self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])
        else:
            self.sock.sendall(data)

    def more(self):
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            raise Hung(f'no whole reply, only {self.left[:200]!r}') from None
        except ConnectionResetError:
            data = b''
        if not data:
            raise Closed(f'closed after {self.left[:200]!r}')
        self.left += data

    def reply(self, method='GET'):
        """(status, headers, body) of the next reply; 100 Continue is passed over."""
        while True:
            while b'\r\n\r\n' not in self.left:
                self.more()
            head, _, self.left = self.left.partition(b'\r\n\r\n')
            lines = head.decode('latin-1').split('\r\n')
            m = re.match(r'HTTP/1\.1 (\d{3}) ', lines[0])
            if not m:
                raise Closed(f'not a reply: {lines[0]!r}')
            if m[1] != '100':
                break
        status = int(m[1])
        headers = {k.strip().lower(): v.strip() for k, _, v in (l.partition(':') for l in lines[1:])}
        length = int(headers.get('content-length', 0))
        if status == 204 or method == 'HEAD' or 'text/event-stream' in headers.get('content-type', ''):
            length = 0
        while len(self.left) < length:
            self.more()
        body, self.left = self.left[:length], self.left[length:]
        return status, headers, body

    def call(self, method, path, body=None, fds=(), extra=''):
        """A whole request: body is None, bytes, or anything that becomes JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        head = f'{method} {path} HTTP/1.1\r\nHost: localhost\r\n{extra}'
        if data is not None:
            head += f'Content-Type: application/json\r\nContent-Length: {len(data)}\r\n'
        try:
            self.send(head.encode('utf-8', 'surrogateescape') + b'\r\n' + (data or b''), fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answered before it had read all
        return self.reply(method)


def error_line(body):
    """The one line of an error reply; None where it is not one."""
    try:
        lines = json.loads(body)
    except ValueError:
        return None
    if isinstance(lines, list) and len(lines) == 1 and isinstance(lines[0], str) and lines[0] and \
            '\n' not in lines[0]:
        return lines[0]
    return None


class Vmm:
    """A polyvisor process with a socket."""

    def __init__(self, binary, folder, name='vmm', args=(), wrap=(), wait=True, **popen):
        self.path = os.path.join(folder, name + '.sock')
        self.log = os.path.join(folder, name + '.log')
        with open(self.log, 'ab') as log:
            popen.setdefault('stdout', log)
            popen.setdefault('stderr', log)
            popen.setdefault('stdin', subprocess.DEVNULL)
            self.ram = 64 << 20  # of the guest, for what is not its
            self.process = subprocess.Popen([*wrap, binary, '--api-socket', f'path={self.path}',
                                             *args], **popen)
        self.pid = self.process.pid
        if wait:
            self.ready()

    def ready(self, seconds=15):
        end = time.time() + seconds
        while True:
            try:
                if self.call('GET', 'vmm.ping')[0] == 200:
                    return
            except (OSError, Closed):
                pass
            if time.time() > end or self.process.poll() is not None:
                raise Hung(f'the VMM does not answer: {self.said()}')
            time.sleep(0.02)

    def said(self):
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return f.read()[-600:]

    def client(self, timeout=20):
        return Client(self.path, timeout)

    def call(self, method, what, body=None, **kw):
        """On a connection of its own; `what` is a v1 name, or a path from the root."""
        with self.client() as c:
            return c.call(method, what if what.startswith('/') else V1 + what, body, **kw)

    def do(self, what, body=None):
        """A PUT that must succeed."""
        status, _, text = self.call('PUT', what, body)
        if status not in (200, 204):
            raise Closed(f'{what}: {status} {text[:300]!r}')

    def openapi(self):
        if not hasattr(self, 'document'):
            self.document = json.loads(self.call('GET', '/openapi.json')[2])
        return self.document

    def info(self):
        return json.loads(self.call('GET', 'vm.info')[2])

    def fds(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def threads(self):
        return len(os.listdir(f'/proc/{self.pid}/task'))

    def rss(self, ram_bytes):
        """RSS in KiB of everything but the guest's RAM."""
        total = size = 0
        with open(f'/proc/{self.pid}/smaps', encoding='utf-8') as f:
            for line in f:
                m = re.match(r'^([0-9a-f]+)-([0-9a-f]+) ', line)
                if m:
                    size = int(m[2], 16) - int(m[1], 16)
                elif line.startswith('Rss:') and size < ram_bytes:
                    total += int(line.split()[1])
        return total

    def ticks(self, prefix=''):
        """CPU time in clock ticks of the threads whose name begins so."""
        total = 0
        for task in os.listdir(f'/proc/{self.pid}/task'):
            try:
                with open(f'/proc/{self.pid}/task/{task}/stat', encoding='utf-8') as f:
                    name, _, rest = f.read().rpartition(')')
            except OSError:
                continue
            if name.partition('(')[2].startswith(prefix):
                total += sum(int(w) for w in rest.split()[11:13])
        return total

    def end(self, sig=signal.SIGTERM, seconds=15):
        """Ends it; its exit status, None if it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


# ---- checks ----

class Wrong(Exception):
    """What a check found."""


def expect(what, reply, *statuses, word=None):
    """The reply has one of the statuses, and an error is one line (with the word)."""
    status, _, body = reply
    if status not in statuses:
        raise Wrong(f'{what}: {status}, not {" or ".join(map(str, statuses))}: {body[:200]!r}')
    if status >= 400:
        line = error_line(body)
        if line is None:
            raise Wrong(f'{what}: {status} without one line that says why: {body[:200]!r}')
        if word and word not in line:
            raise Wrong(f'{what}: {line!r} does not name {word}')


def until(condition, what, seconds=10):
    end = time.time() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, Closed, Hung):
            pass
        if time.time() > end:
            raise Wrong(f'not within {seconds} s: {what}')
        time.sleep(0.05)


class Unharmed:
    """Around a group: what a process has, before and after."""

    def __init__(self, vmm, runs=True):
        self.vmm, self.runs = vmm, runs

    def __enter__(self):
        before = None
        while before != self.vmm.fds():  # the last client's end may be on its way
            before = self.vmm.fds()
            time.sleep(0.1)
        self.fds, self.threads = self.vmm.fds(), self.vmm.threads()
        self.rss = self.vmm.rss(self.vmm.ram)

    def __exit__(self, kind, *_):
        if kind:
            return
        end = time.time() + 5
        while (self.vmm.fds(), self.vmm.threads()) != (self.fds, self.threads):
            if time.time() > end:
                raise Wrong(f'{self.fds} descriptors became {self.vmm.fds()}, {self.threads} threads '
                            f'{self.vmm.threads()}')
            time.sleep(0.05)
        rss = self.vmm.rss(self.vmm.ram)
        if rss > self.rss + GROWTH:
            raise Wrong(f'grew from {self.rss} to {rss} KiB')
        expect('vmm.ping afterwards', self.vmm.call('GET', 'vmm.ping'), 200)
        if self.runs:
            before = self.vmm.ticks('vcpu')
            while self.vmm.ticks('vcpu') <= before:
                if time.time() > end + 5:
                    raise Wrong('the guest does not run on')
                time.sleep(0.05)
