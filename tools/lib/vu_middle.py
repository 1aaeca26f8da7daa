# SPDX-License-Identifier: Apache-2.0
"""Somebody between a vhost-user front-end and its back-end, who passes messages and descriptors on,
hides features, or misbehaves towards the front-end.

    pass      all is passed on
    hang      nothing is, and nothing is read
    silence   everything is read, nothing passed on
    lie       what the back-end says arrives changed
    flood     the front-end gets answers to what it did not ask, without end
"""
import os
import select
import socket
import struct
import threading
import time

GET_FEATURES, GET_PROTOCOL_FEATURES = 1, 15
HEADER = struct.Struct('<III')


class Middle:
    def __init__(self, path, back_end):
        self.path, self.back_end = path, back_end
        self.mode, self.hidden, self.stop = 'pass', {}, False
        self.pairs = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop = True
        self.thread.join()
        self.listener.close()
        os.unlink(self.path)
        for pair in self.pairs:
            self.close(*pair)

    def be(self, mode):
        """Those who were lied to, or were not heard, have no use for the old connection."""
        was, self.mode = self.mode, mode
        if was != 'pass' and mode == 'pass':
            for pair in self.pairs:
                self.close(*pair)
            self.pairs = []

    def hide(self, feature, bit):
        self.hidden = {GET_FEATURES if feature else GET_PROTOCOL_FEATURES: bit}

    @staticmethod
    def close(*sockets):
        for s in sockets:
            try:
                s.close()
            except OSError:
                pass

    def run(self):
        while not self.stop:
            pairs = list(self.pairs)
            busy = [] if self.mode == 'hang' else [s for pair in pairs for s in pair]
            try:
                ready = select.select([self.listener, *busy], [], [], 0.02)[0]
            except (OSError, ValueError):
                continue
            if self.listener in ready:
                self.accept()
            for front, back in pairs:
                try:
                    self.serve(front, back, ready)
                except OSError:
                    self.close(front, back)
                    if (front, back) in self.pairs:
                        self.pairs.remove((front, back))

    def accept(self):
        front, back = self.listener.accept()[0], socket.socket(socket.AF_UNIX)
        try:
            back.connect(self.back_end)
        except OSError:
            self.close(front, back)
            return
        front.setblocking(False)
        self.pairs.append((front, back))

    def serve(self, front, back, ready):
        if self.mode == 'flood':
            try:
                for _ in range(64):
                    front.send(HEADER.pack(GET_FEATURES, 5, 8) + bytes(8))
            except BlockingIOError:
                pass
        if front in ready:
            self.forward(front, back, False)
        if back in ready:
            self.forward(back, front, True)

    def forward(self, source, to, answer):
        data, fds, _, _ = socket.recv_fds(source, 65536, 64)
        if not data:
            raise ConnectionResetError
        if self.mode != 'silence':
            if answer:
                data = self.changed(data)
            to.setblocking(True)
            socket.send_fds(to, [data], fds)
        for fd in fds:
            os.close(fd)

    def changed(self, data):
        out, at = b'', 0
        while at + HEADER.size <= len(data):
            request, flags, size = HEADER.unpack_from(data, at)
            body = data[at + HEADER.size:at + HEADER.size + size]
            if request in self.hidden and size == 8:
                body = struct.pack('<Q', struct.unpack('<Q', body)[0] & ~(1 << self.hidden[request]))
            if self.mode == 'lie':
                body = bytes(b ^ 0xff for b in body)
                request ^= int(time.time() * 1000) & 1  # at times the wrong message, too
            out += HEADER.pack(request, flags, size) + body
            at += HEADER.size + size
        return out + data[at:]
