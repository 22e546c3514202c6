"""How many work at a time. Whoever only waits (for a host's turn, a pause, a retry) gives the place to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

_CREW: ContextVar[asyncio.Semaphore | None] = ContextVar("crew", default=None)


class Crew:
    """So many places for tasks that request, hold a body, decode or record; tasks that wait need none."""

    def __init__(self, size: int) -> None:
        self._places = asyncio.Semaphore(size)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place. Inside, `away` and `taken` give it up while they wait."""
        async with self._places:
            token = _CREW.set(self._places)
            try:
                yield
            finally:
                _CREW.reset(token)


@asynccontextmanager
async def away() -> AsyncIterator[None]:
    """Give up this task's place in the crew for the block, if it has one."""
    places = _CREW.get()
    if places is None:
        yield
        return
    places.release()
    try:
        yield
    finally:
        await places.acquire()


@asynccontextmanager
async def taken(lock: asyncio.Lock | asyncio.Semaphore) -> AsyncIterator[None]:
    """Hold a lock; wait for it without a place, because its holder may be waiting for one."""
    if lock.locked():
        async with away():
            await lock.acquire()
    else:
        await lock.acquire()
    try:
        yield
    finally:
        lock.release()
