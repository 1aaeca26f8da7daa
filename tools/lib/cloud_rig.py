# SPDX-License-Identifier: Apache-2.0
"""A cloud of this machine's own for soaks and benchmarks: polycloud control and polycloud node as two processes, in a
temporary folder, on loopback, and calls of its REST API."""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHIP = {'x86_64': 'x86_64', 'aarch64': 'arm64', 'riscv64': 'riscv64'}[os.uname().machine]


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost', timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer(Exception):
    """A problem document where something else was expected."""

    def __init__(self, status, doc):
        super().__init__(f'{status}: {doc.get("detail") or doc.get("title") or doc}')
        self.status, self.doc = status, doc


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def guest(name):
    path = f'{TREE}/build/{CHIP}/root/usr/share/polyvisor/guest-tests/{name}'
    if not os.path.exists(path):
        sys.exit(f'no guest-test {name}; run tools/build first')
    return path


class Cloud:
    """Control and node, each of which may be killed and started again."""

    def __init__(self, polycloud=f'{TREE}/build/cloud/polycloud', programs=f'{TREE}/build/{CHIP}'):
        self.polycloud, self.programs = polycloud, programs
        if not os.path.exists(polycloud):
            sys.exit('no build/cloud; run tools/build cloud first')
        self.folder = tempfile.mkdtemp(prefix='polyvisor-cloud-')
        os.chmod(self.folder, 0o755)
        self.socket = f'{self.folder}/control.sock'
        self.port = free_port()
        self.control = self.node = self.kept = None

    def spawn(self, name, *args):
        env = dict(os.environ, PATH=f'{self.programs}:{os.environ["PATH"]}')
        with open(f'{self.folder}/{name}.log', 'ab') as log:
            return subprocess.Popen([self.polycloud, *args], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

    def start_control(self):
        self.kept = None
        self.control = self.spawn('control', 'control', '--data', f'{self.folder}/control', '--socket', self.socket,
                                  '--listen', f'127.0.0.1:{self.port}')
        self.until('the control plane', lambda: self.call('GET', '/v1/version'))

    def start_node(self):
        token = f'{self.folder}/token'
        if not os.path.exists(token):
            doc = self.call('POST', '/v1/tokens', {'name': 'node', 'role': 'node', 'host': 'here'})
            with open(token, 'w', opener=lambda p, f: os.open(p, f, 0o600)) as f:
                json.dump({'url': f'https://127.0.0.1:{self.port}', 'token': doc['token'], 'fingerprint': doc['fingerprint']}, f)
        self.node = self.spawn('node', 'node', '--name', 'here', '--control', f'https://127.0.0.1:{self.port}',
                               '--token-file', token, '--data', f'{self.folder}/node')

    def online(self):
        return self.call('GET', '/v1/hosts/here')['state'] == 'online'

    def start(self):
        self.start_control()
        self.start_node()
        self.until('the node', self.online)

    def call(self, method, path, body=None, key=None):
        """An answer's document; a status from 400 raises Answer. One connection is kept."""
        headers = {'Content-Type': 'application/json', 'Idempotency-Key': key or uuid.uuid4().hex} if method == 'POST' else {}
        data = body if isinstance(body, bytes) else json.dumps(body) if body is not None else None
        self.kept = self.kept or Unix(self.socket)
        try:
            self.kept.request(method, path, data, headers)
            reply = self.kept.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException):
            self.kept = None
            raise
        doc = json.loads(text) if text else {}
        if reply.status >= 400:
            raise Answer(reply.status, doc)
        return doc

    def every(self, kind):
        items, page = [], ''
        while True:
            doc = self.call('GET', f'/v1/{kind}?limit=500{page}')
            items += doc['items']
            if not doc.get('next'):
                return items
            page = f'&page={doc["next"]}'

    def image(self, name, kernel, root_bytes=0):
        with open(kernel, 'rb') as f:
            self.call('PUT', f'/v1/images/{name}/upload?chip={CHIP}&part=kernel&guest=bare-metal', f.read())
        if root_bytes:
            self.call('PUT', f'/v1/images/{name}/upload?chip={CHIP}&part=root&guest=bare-metal', bytes(root_bytes))
        operation = self.call('POST', '/v1/images', {'name': name, 'source': {'upload': True}, 'guest': 'bare-metal'})['id']
        self.until(f'the image {name}', lambda: self.call('GET', f'/v1/operations/{operation}')['state'] == 'done')

    def until(self, what, true, seconds=90):
        end = time.monotonic() + seconds
        last = ''
        while time.monotonic() < end:
            try:
                if true():
                    return
            except (OSError, http.client.HTTPException, Answer) as e:
                last = f' ({e})'
            for name, p in (('control', self.control), ('node', self.node)):
                if p and p.poll() is not None and p.returncode > 0:
                    raise RuntimeError(f'{name} ended with status {p.returncode}: {self.tail(name)}')
            time.sleep(0.05)
        raise RuntimeError(f'{what}: not within {seconds} s{last}; control: {self.tail("control")}; node: {self.tail("node")}')

    def tail(self, name):
        try:
            with open(f'{self.folder}/{name}.log', errors='replace') as f:
                return (f.read().strip().splitlines() or [''])[-1][-300:]
        except OSError:
            return ''

    def processes(self):
        """pid -> command line of all that lives below this cloud's folder, but for control and node."""
        found, own = {}, {p.pid for p in (self.control, self.node) if p}
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                line = open(f'/proc/{pid}/cmdline', 'rb').read().replace(b'\0', b' ').decode(errors='replace')
            except OSError:
                continue
            if self.folder in line and int(pid) not in own and int(pid) != os.getpid():
                found[int(pid)] = line
        return found

    def inventory(self):
        """All that an instance could leave behind: processes, sockets, files, taps, cgroups, locks."""
        files = []
        for base in (f'{self.folder}/node',):
            for at, folders, names in os.walk(base):
                files += [os.path.relpath(f'{at}/{n}', self.folder) for n in names + folders]
        inodes = {os.stat(f'{self.folder}/{f}').st_ino for f in files if os.path.exists(f'{self.folder}/{f}')}
        locks = [x for x in open('/proc/locks') if int(x.split()[5].rsplit(':', 1)[1]) in inodes] if inodes else []
        groups = []
        for base in ('/sys/fs/cgroup', '/sys/fs/cgroup/unified'):
            for at, folders, _ in os.walk(f'{base}/polycloud') if os.path.isdir(f'{base}/polycloud') else ():
                groups += folders
        return {'processes': len(self.processes()), 'files': sorted(f for f in files if '/blobs' not in f and not f.endswith('.log')),
                'taps': sorted(n for n in os.listdir('/sys/class/net') if n.startswith(('pv', 'tap'))),
                'cgroups': sorted(groups), 'locks': len(locks)}

    def close(self):
        for p in (self.node, self.control):
            if p and p.poll() is None:
                p.terminate()
                p.wait(30)
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.folder, ignore_errors=True)
