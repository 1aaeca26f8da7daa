# SPDX-License-Identifier: Apache-2.0
"""Disks below a cloud that fill up, or do not answer, on this machine's own KVM: control and node each have a small file
system, the node's volumes another. What does not fit is told and leaves nothing behind, and all goes on when there is
room again. Needs root, to mount. Prints a line for each, as the other tests do."""
import fcntl
import http.client
import os
import signal
import subprocess
import sys

from cloud_faults import Wrong, diagnose, drop, expect, get, make, names, parts, well
from cloud_rig import Answer, Cloud, CHIP, guest

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878  # linux/fs.h


class Small(Cloud):
    def __init__(self):
        super().__init__()
        self.volumes = f'{self.folder}/node/node/volumes'
        self.mounts = []

    def mount(self):
        """Why not, or None."""
        for where, size in (('control', '24m'), ('node', '160m')):
            os.mkdir(f'{self.folder}/{where}', 0o700 if where == 'control' else 0o755)
            if why := self.mounted(['-t', 'tmpfs', '-o', f'size={size},mode=755', 'none'], f'{self.folder}/{where}'):
                return why
        os.makedirs(self.volumes, 0o700)
        disk = f'{self.folder}/disk'
        with open(disk, 'wb') as f:
            f.truncate(32 << 20)
        subprocess.run(['mkfs.ext4', '-q', '-m', '0', disk], check=True)
        return self.mounted(['-o', 'loop', disk], self.volumes)

    def mounted(self, words, where):
        done = subprocess.run(['mount', *words, where], capture_output=True, text=True)
        if done.returncode == 0:
            self.mounts.append(where)
        return ' '.join(done.stderr.split()) if done.returncode else None

    def freeze(self, on):
        fd = os.open(self.volumes, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FIFREEZE if on else FITHAW, 0)
        finally:
            os.close(fd)

    def close(self):
        for p in (self.node, self.control):
            if p and p.poll() is None:
                p.terminate()
        if self.volumes in self.mounts:
            try:
                self.freeze(False)
            except OSError:
                pass  # it was not
        for p in (self.node, self.control):
            if p:
                p.wait(30)
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for where in reversed(self.mounts):
            subprocess.run(['umount', '-l', where])
        super().close()


def fill(folder):
    """Until nothing fits any more; the file to delete."""
    path = f'{folder}/fill'
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    os.write(fd, bytes(size))
            except OSError as e:
                if e.errno != 28:
                    raise
    finally:
        os.close(fd)
    return path


def waits(c, name, *words):
    """An instance says why it is not there yet, in one line with these words."""
    o = {}

    def says():
        o.update(get(c, name)['observed'])
        return all(w in o['reason'] for w in words)
    try:
        c.until(f'{name} says so', says, 40)
    except RuntimeError as e:
        raise Wrong(f'{name}: {o} without {words}') from e
    expect(o['state'] in ('scheduled', 'preparing', 'failed') and '\n' not in o['reason'], f'{name}: {o}')


def runs(c, *all_names):
    c.until('there is room again', lambda: all(get(c, n)['observed']['state'] == 'running' for n in all_names))


# ---- the node's ----

def file_does_not_answer(c):
    """A queue holds requests and answers none."""
    c.call('POST', '/v1/volumes', {'name': 'v', 'size_mib': 8})
    make(c, 'd', image='load', disks=[{'volume': 'v'}])
    for _ in range(5):
        expect(diagnose(c, 'd')['healthy'], diagnose(c, 'd'))
    c.freeze(True)
    try:
        names(c, 'd', 'ring', 'none was answered')
    finally:
        c.freeze(False)
    well(c, 'd')


def volumes_disk_is_full(c):
    c.call('POST', '/v1/volumes', {'name': 'w', 'size_mib': 8})
    make(c, 'e', disks=[{'volume': 'w'}])
    well(c, 'e')
    path = fill(c.volumes)
    try:
        names(c, 'e', 'volume', 'full')
    finally:
        os.unlink(path)
    well(c, 'e')
    for name in 'de':
        drop(c, name)
    for name in 'vw':
        c.call('DELETE', f'/v1/volumes/{name}')


def nodes_disk_is_full(c):
    """An image, a root disk, an instance that do not fit: what runs goes on; nothing half made is left."""
    make(c, 'a')
    before = parts(c, 'a')
    with open(guest('spin'), 'rb') as f:
        kernel = f.read()
    c.call('PUT', f'/v1/images/big/upload?chip={CHIP}&part=kernel&guest=bare-metal', kernel)
    c.call('PUT', f'/v1/images/big/upload?chip={CHIP}&part=root&guest=bare-metal', os.urandom(6 << 20))
    ident = c.call('POST', '/v1/images', {'name': 'big', 'source': {'upload': True}, 'guest': 'bare-metal'})['id']
    c.until('the image', lambda: c.call('GET', f'/v1/operations/{ident}')['state'] == 'done')
    path = fill(f'{c.folder}/node')
    for name, image in (('b', 'big'), ('s', 'spin')):
        c.call('POST', '/v1/instances', {'name': name, 'image': image, 'network': None, 'memory_mib': 64})
    waits(c, 'b', 'disk', 'full', 'MiB free')
    waits(c, 's', 'disk', 'full', 'MiB free')
    names(c, 'b', 'host', 'full')
    names(c, 'a', 'volume', 'full')
    drop(c, 's')
    ids = {get(c, n)['id'] for n in 'ab'}
    left = [f for f in os.listdir(f'{c.folder}/node/node/instances') if f not in ids]
    left += [f for f in os.listdir(f'{c.folder}/node/node/blobs') if f.endswith('.new')]
    expect(not left, f'{left} is left')
    os.unlink(path)
    runs(c, 'a', 'b')
    expect(parts(c, 'a') == before, f'{before} became {parts(c, "a")}')
    well(c, 'a')
    for name in 'ab':
        drop(c, name)


def root_disk_does_not_fit(c):
    """Its image is there, its clone does not fit any more."""
    make(c, 'b', image='big')
    drop(c, 'b')
    path = fill(f'{c.folder}/node')
    with open(path, 'r+b') as f:
        f.truncate(os.path.getsize(path) - (3 << 20))
    c.call('POST', '/v1/instances', {'name': 'b', 'image': 'big', 'network': None, 'memory_mib': 64})
    waits(c, 'b', 'root disk', 'MiB free')
    names(c, 'b', 'volume', 'root disk')
    folder = f'{c.folder}/node/node/instances/{get(c, "b")["id"]}'
    c.until('nothing half made', lambda: not [f for f in os.listdir(folder) if f.startswith('root.raw.new')])
    os.unlink(path)
    runs(c, 'b')
    drop(c, 'b')


# ---- the control plane's ----

def controls_disk_is_full(c):
    """What must be kept is refused, what is known is told, what runs runs on; and then all goes on."""
    make(c, 'a')
    pid = parts(c, 'a')['vmm']
    path = fill(f'{c.folder}/control')
    refused = 0
    for i in range(400):
        try:
            c.call('POST', '/v1/volumes', {'name': f'full-{i}', 'size_mib': 1})
        except Answer as e:
            expect(e.status in (503, 507) and e.doc.get('title') and e.doc.get('detail'), f'{e.status}: {e.doc}')
            refused += 1
            if refused == 5:
                break
    expect(refused == 5, 'nothing was refused')
    expect(get(c, 'a')['observed']['state'] == 'running', get(c, 'a'))
    try:
        c.call('DELETE', '/v1/instances/a')
        raise Wrong('a delete was taken that cannot be kept')
    except Answer as e:
        expect(e.status in (503, 507), f'{e.status}: {e.doc}')
    os.unlink(path)
    c.call('POST', '/v1/volumes', {'name': 'after', 'size_mib': 1})
    expect(parts(c, 'a')['vmm'] == pid, 'the VMM ended')
    c.control.kill()
    c.control.wait()
    c.start_control()
    c.until('the node is back', c.online)
    kept = [v['name'] for v in c.every('volumes')]
    expect('after' in kept, f'{kept[-3:]} were kept')
    drop(c, 'a')


TESTS = (file_does_not_answer, volumes_disk_is_full, nodes_disk_is_full, root_disk_does_not_fit, controls_disk_is_full)


def main():
    c = Small()
    failed = 0
    try:
        why = 'needs root, to mount' if os.getuid() else c.mount()
        if why:
            for f in TESTS:
                print(f'skip {f.__name__.replace("_", " ")}: {why}')
            return 0
        c.start()
        c.image('spin', guest('spin'), 1 << 20)
        c.image('load', guest('load'))
        for f in TESTS:
            name = f.__name__.replace('_', ' ')
            if sys.argv[1:] and not any(w in name for w in sys.argv[1:]):
                continue
            try:
                f(c)
                print(f'ok {name}', flush=True)
            except (Wrong, Answer, RuntimeError, OSError, KeyError, http.client.HTTPException) as e:
                print(f'not ok {name}: {type(e).__name__}: {str(e)[:1200]}', flush=True)
                failed = 1
                break  # its file system may still be full
    finally:
        c.close()
    return failed


if __name__ == '__main__':
    sys.exit(main())
