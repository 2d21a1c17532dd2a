"""The commands' client: finds the cluster, sends one request, reads the frames of the answer. Imports only C modules: it is instant.

Where the cluster is: PENSTOCK_DIR; else the marker (the same variable) of an ancestor process of this user or of root, which is how a step
finds the cluster it runs on although its environment was cleaned; else the registry in the home folder of the user's passwd entry, where a
file `~/.local/state/penstock/clusters/NAME` holds one line, the cluster's folder. Several live ones there are an error that lists them.
The file DIR/socket names the runtime folder, because AF_UNIX paths end at 107 bytes; `ctl.sock` in it is the controller.

Frames, numbers big-endian, a length never counts itself:
  request   u32 length | u32 json_length | json | sections, each u32 length + bytes
  reply     u32 length | u8 kind | payload

  kind  payload                                                     then
  `=`   final: the result                                           closed
  `!`   final: `number\\ttext`, or `number\\ttext\\tdetail`            closed
  `+`   a chunk of a table or of other output                       more frames
  `~`   a notice, one line for stderr                               more frames
  `*`   an event on a held connection                               more frames

Guarantees: a request with an `id` (mutating ones) may be sent again after a lost connection, because the controller answers a known id with
its first answer; so is a request that only reads, as long as nothing of its answer was handed on. Tries are spread over RETRY_FOR_S.
Assumes: texts are valid UTF-8 (raw bytes travel in sections); a text that is not raises ValueError naming its key.
"""

from __future__ import annotations

import _socket
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FINAL, ERROR, CHUNK, NOTICE, EVENT = b"=", b"!", b"+", b"~", b"*"
MAX_FRAME_BYTES = 64 << 20
"""Longest frame either way; a script has at most 4 MiB, an environment ENVIRONMENT_MAX_BYTES."""
ENVIRONMENT_MAX_BYTES = 8 << 20
"""Longest environment of a job."""
ANCESTORS_MAX = 64
"""Ancestor processes that are searched for a marker."""
SHEPHERD_TITLE = b"penstock shepherd --dir "
"""How the command line of a shepherd begins; the folder follows, then ` --node`."""
REGISTRY_MAX = 64
"""Registered clusters that are looked at."""
RETRY_FOR_S = 20.0
"""How long a lost or refused connection is tried again: longer than a controller takes to restart."""
RETRY_STEPS_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Pauses between tries; the last one repeats. Each is stretched by up to half, so that many clients do not come at once."""
REPLY_TIMEOUT_S = 120.0
"""Longest silence of the controller before the first frame of an ordinary request."""
UNREACHABLE = "Unable to contact slurm controller (connect failure)"
TIMED_OUT = "Socket timed out on send/recv operation"


class Unreachable(Exception):
    """No controller answers: `text` in Slurm's words, `detail` for the person."""

    def __init__(self, detail: str = "", text: str = UNREACHABLE) -> None:
        super().__init__(text)
        self.text = text
        self.detail = detail


class Refused(Exception):
    """The controller said no: Slurm's error number and text, and a detail (which partition, which limit), maybe empty."""

    def __init__(self, number: int, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.number = number
        self.text = text
        self.detail = detail


def find_cluster(environment: Mapping[str, str] | None = None) -> str:
    """The folder of the cluster, or Unreachable with what to do."""
    environment = os.environ if environment is None else environment
    folder = environment.get("PENSTOCK_DIR")
    if folder:
        return folder
    folder = _marker_of_an_ancestor()
    return folder or _registered()


def socket_path(folder: str) -> str:
    """The controller's socket; Unreachable when the cluster is down."""
    try:
        with open(f"{folder}/socket", "rb", 0) as file:
            runtime = os.fsdecode(file.read(4096).strip())
    except OSError:
        raise Unreachable(f"no cluster runs in {folder} (penstock up --dir {folder} starts it)") from None
    return f"{runtime}/ctl.sock"


def new_id() -> str:
    """An id for a mutating request: 128 random bits."""
    return os.urandom(16).hex()


def encode(fields: Mapping[str, object], sections: Sequence[bytes] = ()) -> bytes:
    """One request frame. Values are text, int, bool or a list of text; None is left out."""
    pieces = []
    for key, value in fields.items():
        if value is None:
            continue
        if isinstance(value, str):
            encoded = _encode_text(key, value)
        elif value is True:
            encoded = "true"
        elif value is False:
            encoded = "false"
        elif isinstance(value, int):
            encoded = str(value)
        elif isinstance(value, (list, tuple)):
            encoded = "[" + ",".join([_encode_text(key, item) for item in value]) + "]"
        else:
            raise ValueError(f"{key}: a {type(value).__name__} cannot be sent")
        pieces.append(_encode_text("key", key) + ":" + encoded)
    json = ("{" + ",".join(pieces) + "}").encode("ascii")
    parts = [len(json).to_bytes(4, "big"), json]
    for section in sections:
        parts.append(len(section).to_bytes(4, "big"))
        parts.append(section)
    length = sum(map(len, parts))
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"the request has {length} bytes, at most {MAX_FRAME_BYTES} are allowed")
    return length.to_bytes(4, "big") + b"".join(parts)


class Connection:
    """One request on its way. `read` gives (kind, payload); EOF before the final frame is a ConnectionError."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._pending = b""
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def send(self, frame: bytes) -> None:
        self._socket.sendall(frame)

    def wait_for_ever(self) -> None:
        """From now on silence is no error."""
        self._socket.settimeout(None)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> tuple[bytes, bytes]:
        """The next frame. Raises ConnectionError, or TimeoutError after the silence that was set."""
        head = self._take(5)
        length = int.from_bytes(head[:4], "big")
        if not 1 <= length <= MAX_FRAME_BYTES:
            raise ConnectionError(f"a frame of {length} bytes")
        return head[4:5], self._take(length - 1)

    def buffered(self) -> bool:
        """Whether `read` has a whole frame already, so that it does not wait."""
        pending = self._pending
        return len(pending) >= 4 and len(pending) >= 4 + int.from_bytes(pending[:4], "big")

    def _take(self, count: int) -> bytes:
        buffer = self._pending
        if len(buffer) < count:
            pieces = [buffer]
            have = len(buffer)
            while have < count:
                piece = self._socket.recv(1 << 16)
                if not piece:
                    raise ConnectionError("the controller closed the connection")
                pieces.append(piece)
                have += len(piece)
            buffer = b"".join(pieces)
        self._pending = buffer[count:]
        return buffer[:count]


def request(
    fields: Mapping[str, object],
    sections: Sequence[bytes] = (),
    *,
    on_chunk: Callable[[str], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    held: bool = False,
    folder: str | None = None,
    retry_for_s: float = RETRY_FOR_S,
) -> str:
    """Sends, hands chunks and notices on, and returns the text of the final frame.

    `held` requests (wait for a job's end) may be silent for ever and may be repeated: they only read. Raises Refused, Unreachable.
    """
    return exchange(
        encode(fields, sections), folder or find_cluster(), on_chunk=on_chunk, on_notice=on_notice, held=held, retry_for_s=retry_for_s
    )


def exchange(
    frame: bytes,
    folder: str,
    *,
    on_chunk: Callable[[str], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    held: bool = False,
    retry_for_s: float = RETRY_FOR_S,
) -> str:
    """`request` for a frame that is encoded already."""
    deadline = time.monotonic() + retry_for_s
    tries = 0
    while True:
        passed_on = connected = False
        connection: Connection | None = None
        try:
            connection = Connection(socket_path(folder), REPLY_TIMEOUT_S)
            connection.send(frame)
            connected = True
            if held:
                connection.wait_for_ever()
            while True:
                kind, payload = connection.read()
                text = payload.decode("utf-8", "surrogateescape")
                if kind == FINAL:
                    return text
                if kind == ERROR:
                    raise refused(text)
                if kind == CHUNK:
                    passed_on = True
                    if on_chunk:
                        on_chunk(text)
                elif kind == NOTICE and on_notice:
                    on_notice(text)
        except TimeoutError:
            raise Unreachable(f"no answer for {REPLY_TIMEOUT_S:.0f} s", TIMED_OUT) from None
        except PermissionError:
            raise Unreachable(f"you may not use the cluster in {folder}") from None
        except (OSError, Unreachable) as error:
            if held and connected:
                deadline, tries = time.monotonic() + retry_for_s, 0
            if passed_on or time.monotonic() >= deadline or (tries == 0 and _is_down(error, folder)):
                raise _unreachable(error, folder) from None
        finally:
            if connection:
                connection.close()
        pause = RETRY_STEPS_S[min(tries, len(RETRY_STEPS_S) - 1)]
        time.sleep(min(pause * (1 + os.getpid() % 50 / 100), max(0.0, deadline - time.monotonic())))
        tries += 1


def _encode_text(key: str, text: object) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{key}: a {type(text).__name__} cannot be sent in a list")
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    from _json import encode_basestring_ascii  # a file of its own in some builds: only for the texts that need it

    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(f"{key}: invalid UTF-8 in {text.encode('utf-8', 'backslashreplace').decode()[:80]!r}") from None
    return str(encode_basestring_ascii(text))


def refused(text: str) -> Refused:
    """The exception for the payload of an error frame."""
    number, _, rest = text.partition("\t")
    message, _, detail = rest.partition("\t")
    return Refused(int(number) if number.isdecimal() else 1, message, detail)


def _is_down(error: Exception, folder: str) -> bool:
    """Whether trying again is no use: there is no cluster, as opposed to a controller that is about to come back."""
    return isinstance(error, Unreachable) and not os.path.exists(f"{folder}/socket")


def _unreachable(error: Exception, folder: str) -> Unreachable:
    return error if isinstance(error, Unreachable) else Unreachable(f"{folder}: {error}")


def _marker_of_an_ancestor() -> str:
    """PENSTOCK_DIR of the nearest ancestor that belongs to this user or to root, "" if none has it. A shepherd says it in its title."""
    pid = os.getppid()
    me = os.getuid()
    for _ in range(ANCESTORS_MAX):
        if pid <= 0:
            break
        try:
            with open(f"/proc/{pid}/stat", "rb", 0) as file:
                stat = file.read(4096)
                owner = os.fstat(file.fileno()).st_uid
            parent = int(stat[stat.rindex(b")") + 2 :].split()[1])
            if owner in (me, 0):
                with open(f"/proc/{pid}/cmdline", "rb", 0) as file:
                    title = file.read(4096)
                if title.startswith(SHEPHERD_TITLE) and b" --node " in title:
                    return os.fsdecode(title[len(SHEPHERD_TITLE) :].rpartition(b" --node ")[0])
                with open(f"/proc/{pid}/environ", "rb", 0) as file:
                    environment = file.read(ENVIRONMENT_MAX_BYTES)
                for item in environment.split(b"\0"):
                    if item.startswith(b"PENSTOCK_DIR=") and len(item) > 13:
                        return os.fsdecode(item[13:])
        except PermissionError:
            pass
        except (OSError, ValueError):
            break
        pid = parent
    return ""


def _registered() -> str:
    """The cluster of the registry; with several, the one that lives."""
    import pwd

    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        home = os.environ.get("HOME", "/")
    registry = f"{home}/.local/state/penstock/clusters"
    try:
        names = sorted(os.listdir(registry))[:REGISTRY_MAX]
    except OSError:
        names = []
    folders = []
    for name in names:
        try:
            with open(f"{registry}/{name}", "rb", 0) as file:
                folder = os.fsdecode(file.read(4096).partition(b"\n")[0].strip())
        except OSError:
            continue
        if folder and folder not in folders:
            folders.append(folder)
    if not folders:
        raise Unreachable("there is no cluster here: `penstock up` starts one, PENSTOCK_DIR names one that runs")
    if len(folders) == 1:
        return folders[0]
    living = [folder for folder in folders if _answers(folder)]
    if len(living) == 1:
        return living[0]
    if not living:
        raise Unreachable(f"none of the clusters runs: {', '.join(folders)} (penstock up --dir starts one)")
    raise Unreachable(f"several clusters run: {', '.join(living)}; set PENSTOCK_DIR to the one that is meant", "Cluster not specified")


def _answers(folder: str) -> bool:
    try:
        Connection(socket_path(folder), 1.0).close()
    except (OSError, Unreachable):
        return False
    return True
