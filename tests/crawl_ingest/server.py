"""A small HTTP server on loopback that sends exactly the bytes a test wants, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def reply(body: bytes = b"", status: int = 200, **headers: str) -> bytes:
    """Return a complete HTTP response; underscores in header names become hyphens."""
    lines = [f"HTTP/1.1 {status} Anything"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def say(*pieces: bytes, pause: float = 0.0, forever: bool = False, abort: bool = False) -> Answer:
    """Return an answer that writes the pieces with pauses, repeats the last one for ever, or resets at the end."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        while forever:
            writer.write(pieces[-1])
            await writer.drain()
            await asyncio.sleep(pause)
        if abort:
            writer.transport.abort()

    return answer


@dataclass
class RawServer:
    """`answers` maps `host/path` to one answer or to a list of them, of which the last is repeated.

    `services` maps `host/path` without the question mark and what follows to a function of the parameters.
    """

    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    services: dict[str, Callable[[dict[str, str]], Answer]] = field(default_factory=dict)
    default: Answer = field(default_factory=lambda: say(reply(b"body")))
    asked: Counter[str] = field(default_factory=Counter)
    times: dict[str, list[float]] = field(default_factory=dict)
    running: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    heads: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def resolve(self) -> str:
        """The line for the environment variable PIPELINE_RESOLVE."""
        return f"*.test=127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                path = head.split(" ", 2)[1]
                host = next(line[6:] for line in head.split("\r\n") if line.lower().startswith("host: "))
                await self._answer(host.split(":")[0], path, writer)
                if writer.transport.is_closing():
                    break
        writer.close()

    async def _answer(self, host: str, path: str, writer: asyncio.StreamWriter) -> None:
        key = host + path
        self.asked[key] += 1
        self.times.setdefault(host, []).append(time.monotonic())
        self.running[host] += 1
        self.most[host] = max(self.most[host], self.running[host])
        try:
            answer = self.answers.get(key)
            if isinstance(answer, list):
                answer = answer[min(self.asked[key], len(answer)) - 1]
            bare, _, parameters = key.partition("?")
            if answer is None and bare in self.services:
                answer = self.services[bare](dict(parse_qsl(parameters)))
            if answer is None:
                answer = say(reply(status=404)) if path == "/robots.txt" else self.default
            await answer(writer)
            await writer.drain()
        finally:
            self.running[host] -= 1


@contextmanager
def serving() -> Iterator[RawServer]:
    """Run a RawServer in a thread, on an ephemeral port of 127.0.0.1."""
    server, loop, ready = RawServer(), asyncio.new_event_loop(), threading.Event()

    async def start() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=256)
        server.port = listening.sockets[0].getsockname()[1]

    async def end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        # Only a loop that runs for ever can be stopped.
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.run_until_complete(end())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
