"""A controller made of one thread and a list of answers, for tests of the commands' side of the wire."""

import json
import shutil
import socket
import tempfile
import threading
from pathlib import Path


def frame(kind: str, text: str = "") -> bytes:
    """One reply frame."""
    payload = kind.encode() + text.encode("utf-8", "surrogateescape")
    return len(payload).to_bytes(4, "big") + payload


class Request:
    """What one connection sent: the decoded fields and the sections."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[:4], "big")
        self.fields = json.loads(data[4 : 4 + length])
        self.sections = []
        at = 4 + length
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            self.sections.append(data[at + 4 : at + 4 + size])
            at += 4 + size


class StubController:
    """Answers the n-th connection with the n-th of `answers` (the last one repeats): a list of frames, or None to hang up unread."""

    def __init__(self, *answers: list[bytes] | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ps"))
        (self.folder / "run").mkdir()
        (self.folder / "socket").write_text(f"{self.folder / 'run'}\n")
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.connections = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.folder / "run" / "ctl.sock"))
        self.listener.listen(16)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def __enter__(self) -> "StubController":
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        shutil.rmtree(self.folder)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            answer = self.answers[min(self.connections, len(self.answers) - 1)]
            self.connections += 1
            with connection:
                if answer is None:
                    continue
                data = self._receive(connection)
                if data is None:
                    continue
                self.requests.append(Request(data))
                for piece in answer:
                    connection.sendall(piece)

    @staticmethod
    def _receive(connection: socket.socket) -> bytes | None:
        head = connection.recv(4, socket.MSG_WAITALL)
        if len(head) < 4:
            return None
        return connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
