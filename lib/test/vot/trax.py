"""TraX, the protocol between the VOT toolkit and a tracker: its messages, and the line they travel on.

A message is a line of text: ``@@TRAX:``, a word, arguments, named arguments::

    @@TRAX:frame "file:///data/sequence/00000001.jpg" "key=value"

Lines that do not begin so are no part of the conversation, and are passed over.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from dataclasses import dataclass, field
from typing import BinaryIO

from lib.utils.errors import OSTrackError

PREFIX = b"@@TRAX:"
_TOKEN = re.compile(r'\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"(?=\s|$)|([^\s"]+))')
_NAMED = re.compile(r"([A-Za-z0-9._]{1,64})=(.*)", re.DOTALL)
_CONNECT_SECONDS = 30


class TraxError(OSTrackError):
    """A TraX connection that cannot be used, or a message that breaks the protocol."""


@dataclass(frozen=True)
class Message:
    """One message: its kind (``hello``, ``initialize``, ``frame``, ``state``, ``quit``) and its arguments."""

    kind: str
    arguments: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)


def parse_message(line: bytes) -> Message:
    """Read a line that begins with ``@@TRAX:``. Bytes that are not UTF-8 stay what they were, as in file names.

    Raises TraxError: the line is no message.
    """
    kind, _, rest = os.fsdecode(line.removeprefix(PREFIX)).strip().partition(" ")
    arguments, properties, position = [], {}, 0
    while position < len(rest):
        token = _TOKEN.match(rest, position)
        if token is None:
            break
        position = token.end()
        text = _unescape(token[2] if token[1] is None else token[1])
        if named := _NAMED.fullmatch(text):
            properties[named[1]] = named[2]
        else:
            arguments.append(text)
    if not kind.isalpha() or position < len(rest):
        raise TraxError(f"this is no TraX message: {line[:120]!r}")
    return Message(kind.lower(), tuple(arguments), properties)


def format_message(message: Message) -> bytes:
    """Return the line of a message, with the line feed that ends it."""
    texts = [*message.arguments, *(f"{key}={value}" for key, value in message.properties.items())]
    return PREFIX + os.fsencode(" ".join([message.kind, *map(_quote, texts)])) + b"\n"


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], text, flags=re.DOTALL)


class Connection:
    """Messages read from one binary stream and written to another."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer

    def receive(self) -> Message:
        """Wait for the next message. Raises TraxError: the other side has gone, or sent something else."""
        try:
            for line in iter(self._reader.readline, b""):
                if line.startswith(PREFIX):
                    return parse_message(line)
        except OSError as error:
            raise TraxError(f"the TraX connection broke: {error}") from error
        raise TraxError("the VOT toolkit closed the TraX connection without saying quit; see its own messages")

    def send(self, message: Message) -> None:
        """Write a message. Raises TraxError: the other side has gone."""
        try:
            self._writer.write(format_message(message))
            self._writer.flush()
        except OSError as error:
            raise TraxError(f"the VOT toolkit closed the TraX connection: {error}") from error


def connect() -> Connection:
    """Open the connection that the toolkit prepared: the local port in ``TRAX_SOCKET``, or stdin and stdout.

    With the latter, everything else that this process prints to stdout goes to stderr from now on.

    Raises TraxError: the port is closed, or stdin is a terminal.
    """
    if port := os.environ.get("TRAX_SOCKET"):
        try:
            client = socket.create_connection(("127.0.0.1", int(port)), _CONNECT_SECONDS)
        except (OSError, ValueError, OverflowError) as error:
            raise TraxError(f"cannot connect to the VOT toolkit at TRAX_SOCKET={port}: {error}") from error
        client.settimeout(None)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Connection(client.makefile("rb"), client.makefile("wb"))
    if sys.stdin.isatty():
        raise TraxError("this program talks to the VOT toolkit, not to people: run it by 'vot test', see docs/vot.md")
    sys.stdout.flush()
    connection = Connection(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    return connection
