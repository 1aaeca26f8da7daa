# SPDX-License-Identifier: Apache-2.0
"""A client of polycloud's API for tests: whole answers with their headers, over the unix socket or TLS with a token;
WebSocket and raw streams; server-sent events. It sends what it is told to, also what is wrong."""
import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import struct
import time
import uuid


class Wrong(Exception):
    """What a check found."""


class Reply:
    def __init__(self, status, headers, raw):
        self.status, self.headers, self.raw = status, headers, raw
        try:
            self.doc = json.loads(raw) if raw else {}
        except ValueError:
            self.doc = {}

    def __str__(self):
        return f'{self.status} {self.raw[:300]!r}'


class Client:
    """Somebody who calls: by a unix socket, or (host, port) with a token. The fingerprint is checked when given."""

    def __init__(self, where, token=None, fingerprint=None, timeout=30):
        self.where, self.token, self.fingerprint, self.timeout = where, token, fingerprint, timeout

    def plain(self):
        """A connected socket, through TLS where that is between."""
        if isinstance(self.where, str):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(self.timeout)
            s.connect(self.where)
            return s
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        s = context.wrap_socket(socket.create_connection(self.where, self.timeout))
        got = hashlib.sha256(s.getpeercert(True)).hexdigest()
        if self.fingerprint and got != self.fingerprint:
            s.close()
            raise Wrong(f'the certificate has the fingerprint {got}, not {self.fingerprint}')
        return s

    def headers(self, more=None):
        return {**({'Authorization': f'Bearer {self.token}'} if self.token else {}), **(more or {})}

    def ask(self, method, path, body=None, headers=None):
        """Any answer. body: bytes as they are, None, or anything that becomes JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection('localhost', timeout=self.timeout)
        connection.sock = self.plain()
        try:
            send = {'Content-Type': 'application/json'} if data is not None else {}
            try:
                connection.request(method, path, data, {**send, **self.headers(headers)})
            except (BrokenPipeError, ConnectionResetError):
                pass  # answered before all was sent
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def get(self, path, *statuses, **kw):
        return self.expect('GET', path, None, *(statuses or (200,)), **kw)

    def post(self, path, body=None, *statuses, headers=None):
        return self.expect('POST', path, body, *(statuses or (200, 201, 202, 204)),
                           headers={'Idempotency-Key': uuid.uuid4().hex, **(headers or {})})

    def put(self, path, body, *statuses, **kw):
        return self.expect('PUT', path, body, *(statuses or (200, 201, 202, 204)), **kw)

    def patch(self, path, body, *statuses, **kw):
        return self.expect('PATCH', path, body, *(statuses or (200,)), **kw)

    def delete(self, path, *statuses, **kw):
        return self.expect('DELETE', path, None, *(statuses or (200, 202, 204)), **kw)

    def expect(self, method, path, body, *statuses, headers=None):
        """An answer with one of the statuses, and if it is a refusal, a problem document (RFC 9457)."""
        reply = self.ask(method, path, body, headers)
        what = f'{method} {path} {"" if body is None or isinstance(body, bytes) else json.dumps(body)[:300]}'
        if reply.status not in statuses:
            raise Wrong(f'{what}: {reply}, not {" or ".join(map(str, statuses))}')
        if reply.status >= 400:
            problem(what, reply)
        return reply

    # ---- streams ----

    def upgrade(self, path, protocol, more=''):
        """(socket, status, headers in lower case, bytes behind them)."""
        s = self.plain()
        token = f'Authorization: Bearer {self.token}\r\n' if self.token else ''
        s.sendall(f'GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n'
                  f'{token}{more}\r\n'.encode())
        head = b''
        while b'\r\n\r\n' not in head:
            data = s.recv(65536)
            if not data:
                raise Wrong(f'{path}: closed after {head!r}')
            head += data
        head, _, left = head.partition(b'\r\n\r\n')
        lines = head.decode('latin-1').split('\r\n')
        return s, int(lines[0].split()[1]), {k.strip().lower(): v.strip() for k, _, v in
                                             (line.partition(':') for line in lines[1:])}, left

    def raw(self, path):
        """A raw stream as (socket, first bytes)."""
        s, status, _, left = self.upgrade(path, 'polycloud-stream')
        if status != 101:
            s.close()
            raise Wrong(f'{path}: raw upgrade answered {status}: {left[:200]!r}')
        return s, left

    def websocket(self, path):
        return WebSocket(self, path)

    def events(self, path='/v1/events', last=None, seconds=10):
        """Yields (id, document) of server-sent events until seconds pass without one."""
        s = self.plain()
        s.settimeout(seconds)
        last = f'Last-Event-ID: {last}\r\n' if last is not None else ''
        token = f'Authorization: Bearer {self.token}\r\n' if self.token else ''
        s.sendall(f'GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{token}{last}\r\n'.encode())
        try:
            yield from read_events(s)
        except socket.timeout:
            return
        finally:
            s.close()


def read_events(s):
    f = s.makefile('rb')
    status = f.readline().split()
    chunked = False
    while (line := f.readline().strip()):
        chunked |= line.lower() == b'transfer-encoding: chunked'
    if status[1:2] != [b'200']:
        raise Wrong(f'events: {status}')
    text, ident, data = b'', None, []
    while True:
        if chunked:
            size = f.readline()
            if not size or int(size, 16) == 0:
                return
            text += f.read(int(size, 16))
            f.readline()
        else:
            more = f.readline()
            if not more:
                return
            text += more
        while b'\n' in text:
            line, _, text = text.partition(b'\n')
            line = line.rstrip(b'\r').decode()
            if line.startswith('id:'):
                ident = line[3:].strip()
            elif line.startswith('data:'):
                data.append(line[5:].strip())
            elif not line and data:
                yield ident, json.loads('\n'.join(data))
                data = []


class WebSocket:
    """RFC 6455, the client's end, binary messages."""

    def __init__(self, client, path):
        key = base64.b64encode(os.urandom(16)).decode()
        more = f'Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n'
        self.sock, status, headers, self.left = client.upgrade(path, 'websocket', more)
        if status != 101:
            raise Wrong(f'{path}: WebSocket answered {status}: {self.left[:200]!r}')
        want = base64.b64encode(hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest())
        if headers.get('sec-websocket-accept') != want.decode():
            raise Wrong(f'{path}: wrong Sec-WebSocket-Accept: {headers}')

    def send(self, payload, opcode=2, mask=True):
        head = bytes([0x80 | opcode])
        n = len(payload)
        bit = 0x80 if mask else 0
        head += bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack('>H', n)
        if mask:
            m = os.urandom(4)
            head += m
            payload = bytes(b ^ m[i % 4] for i, b in enumerate(payload))
        self.sock.sendall(head + payload)

    def take(self, n):
        while len(self.left) < n:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.left += data
        got, self.left = self.left[:n], self.left[n:]
        return got

    def frame(self):
        """(opcode, payload), or (None, b'') at the end."""
        head = self.take(2)
        if head is None:
            return None, b''
        n = head[1] & 0x7f
        if n == 126:
            n = struct.unpack('>H', self.take(2))[0]
        elif n == 127:
            n = struct.unpack('>Q', self.take(8))[0]
        if head[1] & 0x80:
            raise Wrong('the server masks its frames')
        return head[0] & 15, self.take(n) or b''

    def read_until(self, word, seconds=20):
        """All that came until word is in it."""
        seen, end = b'', time.monotonic() + seconds
        while word not in seen:
            self.sock.settimeout(max(0.1, end - time.monotonic()))
            opcode, payload = self.frame()
            if opcode is None or opcode == 8:
                raise Wrong(f'closed before {word!r}: {seen[-200:]!r}')
            seen += payload if opcode in (0, 1, 2) else b''
        return seen

    def close(self):
        self.sock.close()


def problem(what, reply):
    """That a refusal is a problem document in one line, with the request's id."""
    if reply.headers.get('content-type', '').split(';')[0] != 'application/problem+json':
        raise Wrong(f'{what}: {reply.status} without a problem document: {reply}')
    doc = reply.doc
    for key in ('title', 'detail', 'request_id'):
        if not isinstance(doc.get(key), str) or not doc[key] or '\n' in doc[key]:
            raise Wrong(f'{what}: its problem document has no {key}: {doc}')
    if doc.get('status') != reply.status:
        raise Wrong(f'{what}: status {reply.status} and {doc.get("status")} differ')
    return doc


def until(what, true, seconds=30):
    """Looks until it is true, and gives what it was."""
    end, last = time.monotonic() + seconds, ''
    while time.monotonic() < end:
        try:
            if (got := true()):
                return got
        except (OSError, http.client.HTTPException, Wrong) as e:
            last = f' ({e})'
        time.sleep(0.05)
    raise Wrong(f'not within {seconds} s: {what}{last}')
