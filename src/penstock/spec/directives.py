"""The batch script: its sanity checks and its `#SBATCH` lines.

A directive starts in column 0. Lines are read up to the first that is neither blank nor a comment; a comment may be indented. Words are
separated by blanks; single or double quotes group, a backslash takes the next character literally (except a blank outside quotes, which
still ends the word); an unquoted `#` ends the line, and so does an empty word. All words of all lines form one argument list, so an
option's value may stand on the next directive. This is what sbatch does, compared with a real one line by line.

Guarantees: works on bytes of any kind; words come back as text with surrogate escapes. Failures are `ScriptError` with complete lines and
the exit status.
"""

from __future__ import annotations

MAX_SCRIPT_BYTES = 4 << 20
"""Slurm's max_script_size; a longer script is refused before it is sent."""
MAX_DIRECTIVE_WORDS = 4096
"""Most words in the directives of one script."""

BLANKS = b" \t\r\v\f"


class ScriptError(Exception):
    """The script cannot be submitted: texts without the `sbatch: error: ` prefix, and the exit status."""

    def __init__(self, texts: list[str], status: int = 1, severity: str = "error") -> None:
        super().__init__("\n".join(texts))
        self.texts = texts
        self.status = status
        self.severity = severity


def check(script: bytes) -> None:
    """Raises ScriptError for what sbatch refuses to send, in Slurm's words."""
    if not script:
        raise ScriptError(["Batch script is empty!"])
    if len(script) > MAX_SCRIPT_BYTES:
        raise ScriptError(
            [
                f"Batch script is larger than {MAX_SCRIPT_BYTES} bytes",
                "Batch job submission failed: Pathname of a file, directory or other parameter too long",
            ]
        )
    if not script.strip():
        raise ScriptError(["Batch script contains only whitespace!"])
    if script[:2] != b"#!":
        raise ScriptError(
            [
                "This does not look like a batch script.  The first",
                "line must start with #! followed by the path to an interpreter.",
                "For instance: #!/bin/sh",
            ]
        )
    if b"\0" in script:
        raise ScriptError(["The Slurm controller does not allow scripts that", "contain a NULL character '\\0'."])
    if b"\r\n" in script:
        raise ScriptError(["Batch script contains DOS line breaks (\\r\\n)", "instead of expected UNIX line breaks (\\n)."])


def extract(script: bytes, name: str = "script") -> tuple[list[str], list[str]]:
    """The words of all directives, and the lines to print on stderr about them. `name` is used in error texts."""
    words: list[str] = []
    complaints: list[str] = []
    start = number = 0
    while start < len(script):
        end = script.find(b"\n", start)
        if end < 0:
            end = len(script)
        line = script[start:end]
        start = end + 1
        number += 1
        if line.startswith((b"#SBATCH", b"#SLURM")):
            if line[2:3] == b"L":
                complaints.append("Change from #SLURM to #SBATCH in your script and verify the options are valid in sbatch")
                rest = line[6:]
            else:
                rest = line[7:]
            found = _words(rest, name, number)
            if found and found[0] in ("hetjob", "packjob"):
                raise ScriptError([f"line {number} of {name}: heterogeneous jobs are not supported by this version of Penstock"])
            words.extend(found)
            if len(words) > MAX_DIRECTIVE_WORDS:
                raise ScriptError([f"{name}: more than {MAX_DIRECTIVE_WORDS} words in #SBATCH lines"])
        elif not line.lstrip(BLANKS).startswith(b"#") and line.strip(BLANKS):
            break
    return words, complaints


def invalid(word: str) -> ScriptError:
    """The error for a word that no option took."""
    return ScriptError([f"Invalid directive found in batch script: {word}"], 255)


def _words(line: bytes, name: str, number: int) -> list[str]:
    words: list[str] = []
    line = line.lstrip(BLANKS)
    position = 0
    while position < len(line):
        begin = position
        while position < len(line) and line[position] in BLANKS:
            position += 1
        word = bytearray()
        quote = 0
        while position < len(line):
            byte = line[position]
            if not quote and byte in BLANKS:
                break
            if byte == 0x5C:  # backslash
                position += 1
                if position < len(line) and (quote or line[position] not in BLANKS):
                    word.append(line[position])
                    position += 1
                continue
            if not quote and byte == 0x23:  # an unquoted number sign: the rest is a comment
                position = len(line)
                break
            if byte == quote:
                quote = 0
            elif not quote and byte in b"\"'":
                quote = byte
            else:
                word.append(byte)
            position += 1
        if quote:
            rest = line[begin:].decode("utf-8", "surrogateescape")
            raise ScriptError([f"{name}: line {number}: Unmatched `{chr(quote)}` in [{rest}]"], severity="fatal")
        if not word:
            break
        words.append(word.decode("utf-8", "surrogateescape"))
    return words
