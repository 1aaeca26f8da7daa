# SPDX-License-Identifier: Apache-2.0
"""usage: image_test.py POLYCLOUD

Images of a control plane without hosts: made of uploads, raw and qcow2; copied out and in by skopeo with not a byte
changed; and layouts that are wrong, which must end in one line and leave nothing. Prints "ok NAME", "not ok NAME: WHY".
"""
import copy
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cloud_api import Client, Wrong  # noqa: E402
from cloud_rig import Cloud  # noqa: E402

CHIPS = {'x86_64': 'amd64', 'arm64': 'arm64', 'riscv64': 'riscv64'}
MIB = 1 << 20
FAILED = []


def expect(right, what):
    if not right:
        raise Wrong(str(what)[:600])


def run(*argv):
    p = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    expect(p.returncode == 0, f'{" ".join(argv)}: {p.stderr or p.stdout}')
    return p.stdout


def disk(chip):
    """8 MiB with holes and with what differs from chip to chip."""
    return (chip.encode() * 9000 + bytes(3 * MIB) + bytes(range(256)) * 2000).ljust(8 * MIB, b'\0')


class Images:
    def __init__(self, polycloud):
        self.cloud = Cloud(polycloud, os.path.dirname(polycloud))
        self.cloud.start_control()
        self.api = Client(self.cloud.socket)
        self.data = f'{self.cloud.folder}/control'
        self.layout = f'{self.data}/images'
        self.tmp = f'{self.cloud.folder}/tmp'
        os.mkdir(self.tmp)

    def end(self):
        self.cloud.control.send_signal(signal.SIGTERM)
        expect(self.cloud.control.wait(20) == 0, f'polycloud ended with {self.cloud.control.returncode}')
        shutil.rmtree(self.cloud.folder)

    def finished(self, operation):
        for _ in range(1200):
            doc = self.api.get(f'/v1/operations/{operation["id"]}').doc
            if doc['state'] != 'running':
                return doc
            time.sleep(0.05)
        raise Wrong(f'an import takes longer than a minute: {doc}')

    def make(self, name, **source):
        return self.finished(self.api.post('/v1/images', {'name': name, 'source': source}, 202).doc)

    def made(self, name, **source):
        doc = self.make(name, **source)
        expect(doc['state'] == 'done', doc)
        return self.api.get(f'/v1/images/{name}').doc

    def refused(self, text, name='bad', **source):
        before = self.inventory()
        doc = self.make(name, **source)
        expect(doc['state'] == 'failed' and text in doc['error'] and '\n' not in doc['error'], f'wanted "{text}": {doc}')
        self.api.get(f'/v1/images/{name}', 404)
        for _ in range(100):
            if self.inventory() == before:
                return
            time.sleep(0.05)
        raise Wrong(f'left behind: {self.inventory() ^ before}')

    def inventory(self):
        return {os.path.join(d, f) for top in ('images', 'unpacked', 'uploads')
                for d, folders, files in os.walk(f'{self.data}/{top}') for f in files + folders}

    def upload(self, name, chip, part, body, *statuses, more=''):
        return self.api.put(f'/v1/images/{name}/upload?chip={chip}&part={part}{more}', body, *statuses).doc

    def small(self, name):
        for chip in CHIPS:
            self.upload(name, chip, 'root', disk(chip))
            self.upload(name, chip, 'kernel', b'kernel of ' + chip.encode())
            self.upload(name, chip, 'initramfs', b'initramfs')
        return self.made(name, upload=True)


# ---- what is right ----

def uploads(t):
    """three chips are uploaded and become one image"""
    doc = t.small('small')
    expect([p['chip'] for p in doc['platforms']] == list(CHIPS), doc)
    expect(all(p['root']['size'] == 8 * MIB and p['root']['packed'] < MIB for p in doc['platforms']), doc)
    index = json.load(open(f'{t.layout}/index.json', encoding='utf-8'))['manifests'][0]
    expect(index['annotations']['org.opencontainers.image.ref.name'] == 'small' and index['digest'] == doc['digest'], index)
    expect(json.load(open(f'{t.layout}/oci-layout', encoding='utf-8')) == {'imageLayoutVersion': '1.0.0'}, 'oci-layout')
    for p in doc['platforms']:
        folder = f'{t.data}/unpacked/{p["digest"].replace(":", "-")}'
        for part in ('root', 'kernel', 'initramfs'):
            with open(f'{folder}/{part}', 'rb') as f:
                expect('sha256:' + hashlib.sha256(f.read()).hexdigest() == p[part]['digest'], part)
    expect(t.api.get('/v1/images/small:latest').doc['id'] == doc['id'], 'small:latest is small')
    expect(os.listdir(f'{t.data}/uploads') == [], 'what was uploaded is still there')
    again = t.small('small')
    expect((again['id'], again['digest']) == (doc['id'], doc['digest']), 'the same uploads make the same image')


def qcow2(t):
    """qcow2 is converted: the same disk has the same digest"""
    raw, q = f'{t.tmp}/disk.raw', f'{t.tmp}/disk.qcow2'
    with open(raw, 'wb') as f:
        f.write(disk('arm64'))
    for flags in ((), ('-c',), ('-o', 'compat=0.10')):
        run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', *flags, raw, q)
        with open(q, 'rb') as f:
            t.upload('converted', 'arm64', 'root', f.read())
        t.upload('converted', 'arm64', 'kernel', b'kernel of arm64')
        doc = t.made('converted', upload=True)
        small = t.api.get('/v1/images/small').doc
        expect(doc['platforms'][0]['root'] == small['platforms'][1]['root'], f'{flags}: {doc}')
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', raw, '-F', 'raw', q)
    with open(q, 'rb') as f:
        t.upload('bad', 'arm64', 'root', f.read())
    t.upload('bad', 'arm64', 'kernel', b'k')
    doc = t.make('bad', upload=True)
    expect(doc['error'] == 'qcow2: a backing file is not allowed', doc)


def one_chip_more(t):
    """a chip uploaded later joins those that a name has"""
    t.upload('more', 'x86_64', 'kernel', b'one')
    expect([p['chip'] for p in t.made('more', upload=True)['platforms']] == ['x86_64'], 'one')
    t.upload('more', 'aarch64', 'kernel', b'two')
    expect({p['chip'] for p in t.made('more', upload=True)['platforms']} == {'x86_64', 'arm64'}, 'two')


def skopeo_out(t):
    """skopeo copies it out with all chips, unchanged"""
    doc = t.api.get('/v1/images/small').doc
    out = f'{t.tmp}/out'
    run('skopeo', '--insecure-policy', 'copy', '-q', '--all', f'oci:{t.layout}:small', f'oci:{out}:small')
    index = json.load(open(f'{out}/index.json', encoding='utf-8'))['manifests'][0]
    expect(index['digest'] == doc['digest'], index)
    raw = json.loads(run('skopeo', 'inspect', '--raw', f'oci:{out}:small'))
    expect([m['platform']['architecture'] for m in raw['manifests']] == list(CHIPS.values()), raw)
    shown = json.loads(run('skopeo', '--override-arch', 'riscv64', 'inspect', f'oci:{t.layout}:small'))
    expect(shown['Architecture'] == 'riscv64' and shown['Os'] == 'linux', shown)


def skopeo_in(t):
    """what skopeo copied is imported, whole or of one chip, and is the same image"""
    doc = t.api.get('/v1/images/small').doc
    back = t.made('back:v2', oci=f'{t.tmp}/out:small')
    expect(back['digest'] == doc['digest'] and back['platforms'] == doc['platforms'], back)
    one = f'{t.tmp}/one'
    run('skopeo', '--insecure-policy', '--override-arch', 'arm64', 'copy', '-q', f'oci:{t.layout}:small', f'oci:{one}:x')
    single = t.made('single', oci=one)
    expect(single['platforms'] == [doc['platforms'][1]], single)
    run('skopeo', '--insecure-policy', 'copy', '-q', '--all', f'oci:{t.tmp}/out:small', f'oci:{t.layout}:direct')
    expect(t.made('direct', oci=f'{t.layout}:direct')['digest'] == doc['digest'], 'put into the layout itself')


# ---- what is wrong ----

class Layout:
    """A copy of what skopeo made, to be spoilt."""

    def __init__(self, t):
        self.path = f'{t.tmp}/spoilt'
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(f'{t.tmp}/out', self.path)
        self.top = json.load(open(f'{self.path}/index.json', encoding='utf-8'))
        self.index = self.load(self.top['manifests'][0])
        self.manifest = self.load(self.index['manifests'][0])

    def blob(self, digest):
        return f'{self.path}/blobs/sha256/{digest[7:]}'

    def load(self, descriptor):
        with open(self.blob(descriptor['digest']), encoding='utf-8') as f:
            return json.load(f)

    def put(self, data, media):
        digest = 'sha256:' + hashlib.sha256(data).hexdigest()
        with open(self.blob(digest), 'wb') as f:
            f.write(data)
        return {'mediaType': media, 'digest': digest, 'size': len(data)}

    def write(self):
        """The index and what leads to it anew, after a change."""
        m = self.put(json.dumps(self.manifest).encode(), self.index['manifests'][0]['mediaType'])
        self.index['manifests'][0].update(m)
        self.top['manifests'][0].update(self.put(json.dumps(self.index).encode(), self.top['manifests'][0]['mediaType']))
        with open(f'{self.path}/index.json', 'w', encoding='utf-8') as f:
            json.dump(self.top, f)
        return f'{self.path}:small'

    def layer(self, entries, media='application/vnd.oci.image.layer.v1.tar'):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode='w') as tar:
            for name, more in entries:
                info = tarfile.TarInfo(name)
                data = more if isinstance(more, bytes) else b''
                info.size = len(data)
                if isinstance(more, dict):
                    for k, v in more.items():
                        setattr(info, k, v)
                tar.addfile(info, io.BytesIO(data))
        self.manifest['layers'] = [self.put(out.getvalue(), media)]
        return self.write()


def wrong_bytes(t):
    """a wrong digest, a truncated layer, a missing one"""
    for spoil, text in ((lambda f: (f.seek(100), f.write(b'\xff\xfe')), 'wrong digest'),
                        (lambda f: f.truncate(50), 'truncated'), (None, 'does not have it')):
        l = Layout(t)
        path = l.blob(l.manifest['layers'][0]['digest'])
        if spoil:
            with open(path, 'r+b') as f:
                spoil(f)
        else:
            os.unlink(path)
        t.refused(text, oci=l.write())
        l = Layout(t)
        path = l.blob(l.index['manifests'][1]['digest'])
        if spoil:
            with open(path, 'r+b') as f:
                spoil(f)
            t.refused(text, oci=f'{l.path}:small')


def truncated_inside(t):
    """a layer with the right digest whose archive ends too soon"""
    l = Layout(t)
    with open(l.blob(l.manifest['layers'][0]['digest']), 'rb') as f:
        data = f.read()
    l.manifest['layers'][0] = l.put(data[:len(data) // 2], l.manifest['layers'][0]['mediaType'])
    t.refused('truncated or damaged', oci=l.write())


def wrong_words(t):
    """an unknown chip, another system, media types, twice the same chip, no kernel"""
    def change(text, fn):
        l = Layout(t)
        fn(l)
        t.refused(text, oci=l.write())

    change("unknown chip 'vax'; allowed: amd64, arm64, riscv64",
           lambda l: l.index['manifests'][0]['platform'].update(architecture='vax'))
    change("platform.os 'plan9'", lambda l: l.index['manifests'][0]['platform'].update(os='plan9'))
    change('the index says riscv64, the configuration says amd64',
           lambda l: l.index['manifests'][0]['platform'].update(architecture='riscv64'))
    change('twice', lambda l: l.index['manifests'].append(copy.deepcopy(l.index['manifests'][1])))
    change('1 to 16 manifests', lambda l: l.index.update(manifests=[l.index['manifests'][1]] * 17))
    change('1 to 16 layers', lambda l: l.manifest.update(layers=l.manifest['layers'][:1] * 17))
    change('media type', lambda l: l.manifest['layers'][0].update(mediaType='text/html'))
    change('no layer holds boot/kernel', lambda l: l.manifest['layers'].pop(1))
    change("has no reference 'small'", lambda l: l.top['manifests'][0].update(annotations={}))
    change('digest', lambda l: l.manifest['layers'][0].update(digest='sha256:../../../../../../etc/passwd'))
    change('digest', lambda l: l.manifest['config'].update(digest='md5:00'))
    change('size', lambda l: l.manifest['layers'][0].pop('size'))
    l = Layout(t)
    with open(f'{l.path}/oci-layout', 'w', encoding='utf-8') as f:
        f.write('{"imageLayoutVersion":"9"}')
    t.refused('no OCI image layout of version 1', oci=f'{l.path}:small')
    t.refused('No such file', oci='/nowhere:at-all')


def traversal(t):
    """paths that lead out of a layer, links, devices: refused, and nothing outside is touched"""
    kernel = ('boot/kernel', b'k')
    for entry, text in ((('../../../../tmp/polyvisor-was-here', b'x'), 'layer holds'), (('/etc/passwd', b'x'), 'layer holds'),
                        (('disk/../../x', b'x'), 'layer holds'),
                        (('disk/root.raw', {'type': tarfile.SYMTYPE, 'linkname': '/etc/passwd'}), 'not a plain file'),
                        (('disk/root.raw', {'type': tarfile.LNKTYPE, 'linkname': 'boot/kernel'}), 'not a plain file'),
                        (('disk/root.raw', {'type': tarfile.CHRTYPE}), 'not a plain file'),
                        (kernel, 'twice'), (('disk/root.raw', b''), 'not allowed')):
        t.refused(text, oci=Layout(t).layer([kernel, entry]))
    l = Layout(t)
    os.rename(f'{l.path}/index.json', f'{t.tmp}/index.json')
    os.symlink('/etc/passwd', f'{l.path}/index.json')
    t.refused('index.json', oci=f'{l.path}:small')
    l = Layout(t)
    l.top['manifests'][0]['annotations'] = {'org.opencontainers.image.ref.name': '../../../etc/small'}
    l.write()
    expect(t.made('named', oci=f'{l.path}:../../../etc/small')['name'] == 'named', 'a reference names no file')
    expect(not os.path.exists('/tmp/polyvisor-was-here'), 'a file outside was made')


def folders(t):
    """a folder on the server; folders that hold something else"""
    top = f'{t.tmp}/folder'
    os.makedirs(f'{top}/riscv64')
    t.refused('an image needs a kernel', dir=top)
    with open(f'{top}/riscv64/kernel', 'wb') as f:
        f.write(b'k' * 5000)
    expect(t.made('dir', dir=top)['platforms'][0]['kernel']['size'] == 5000, 'dir')
    os.mkdir(f'{top}/vax')
    t.refused("unknown chip 'vax'", dir=top)


def bad_requests(t):
    """requests that are refused at once"""
    for body, field in (({'name': 'x'}, 'source'), ({'name': 'x', 'source': {}}, 'source'),
                        ({'name': 'x', 'source': {'oci': 'images'}}, 'source.oci'),
                        ({'name': 'x', 'source': {'oci': '/a', 'dir': '/b'}}, 'source'),
                        ({'name': '../x', 'source': {'dir': '/b'}}, 'name'), ({'name': 'X', 'source': {'dir': '/b'}}, 'name'),
                        ({'name': 'a:b:c', 'source': {'dir': '/b'}}, 'name')):
        reply = t.api.post('/v1/images', body, 400, 422)
        expect(field in json.dumps(reply.doc), reply)
    t.api.post('/v1/images', {'name': 'nothing', 'source': {'upload': True}}, 409)
    for path in ('x/upload?chip=vax&part=kernel', 'x/upload?chip=arm64&part=spleen', 'x/upload', '..%2fx/upload?chip=arm64&part=kernel',
                 'x/upload?chip=arm64&part=kernel&digest=sha256:0'):
        t.api.put(f'/v1/images/{path}', b'x', 400, 404, 422)
    t.upload('x', 'arm64', 'kernel', b'', 422)
    t.upload('x', 'arm64', 'kernel', b'x', 422, more='&digest=sha256:' + '0' * 64)
    t.upload('x', 'arm64', 'kernel', b'x', 200, more='&digest=sha256:' + hashlib.sha256(b'x').hexdigest())
    # A client that goes away in the middle leaves no part.
    s = t.api.plain()
    s.sendall(b'PUT /v1/images/gone/upload?chip=arm64&part=kernel HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nabc')
    s.close()
    for _ in range(100):
        left = [f for _, _, files in os.walk(f'{t.data}/uploads/default@gone') for f in files]
        if not left:
            break
        time.sleep(0.05)
    expect(not left, left)


def deletes(t):
    """deleting the last name of an image deletes its blobs"""
    for doc in t.api.get('/v1/images').doc['items']:
        t.api.delete(f'/v1/images/{doc["id"]}', 204)
    for _ in range(100):
        left = os.listdir(f'{t.layout}/blobs/sha256') + os.listdir(f'{t.data}/unpacked')
        if not left:
            break
        time.sleep(0.05)
    expect(not left, left)
    t.api.delete('/v1/images/small', 404)


def main():
    t = Images(os.path.abspath(sys.argv[1]))
    missing = [p for p in ('skopeo', 'qemu-img') if not shutil.which(p)]
    for f in (uploads, qcow2, one_chip_more, skopeo_out, skopeo_in, wrong_bytes, truncated_inside, wrong_words, traversal, folders,
              bad_requests, deletes):
        name = f'images: {f.__doc__}'
        if missing and f not in (uploads, one_chip_more, folders, bad_requests):
            print(f'skip {name}: no {" and no ".join(missing)} here; tools/setup cloud', flush=True)
            continue
        try:
            f(t)
            print(f'ok {name}', flush=True)
        except Exception as e:  # pylint: disable=broad-except
            FAILED.append(name)
            print(f'not ok {name}: {e}', flush=True)
            if not isinstance(e, Wrong):
                traceback.print_exc()
    t.end()
    sys.exit(1 if FAILED else 0)


if __name__ == '__main__':
    main()
