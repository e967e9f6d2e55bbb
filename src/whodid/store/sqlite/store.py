"""The embedded store as others see it: ``Store``'s promises, kept by one writing thread and a few reading ones."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import apsw
import zstandard

from whodid.errors import WhodidError
from whodid.proofs import Run
from whodid.records import Event, Kind
from whodid.store.base import (
    UNBOUNDED,
    Account,
    Credential,
    Entry,
    Finding,
    Found,
    Head,
    Kept,
    KeptCheckpoint,
    Numbered,
    Prepared,
    Progress,
    Query,
    Question,
    Receipt,
    Result,
    Search,
    Standing,
    Submission,
    Summary,
    Token,
    User,
    WitnessState,
)
from whodid.store.sqlite import check, identity, search_rebuild, training, tree
from whodid.store.sqlite.compression import newest_dictionary
from whodid.store.sqlite.connection import ServerLock, make_file
from whodid.store.sqlite.reader import Reader
from whodid.store.sqlite.schema import prepare_file, refuse_foreign
from whodid.store.sqlite.sealer import Sealed, SealedSubmission, Sealer
from whodid.store.sqlite.time_keys import first_key
from whodid.store.sqlite.writer import Writer
from whodid.store.sqlite.writer_process import WriterProcess

_P = ParamSpec("_P")
_T = TypeVar("_T")
_A = TypeVar("_A")

log = logging.getLogger(__name__)

READERS = 4
"""How many threads read at the same time what takes a moment."""

SEARCHERS = 4
"""How many threads search and count: that may take seconds, and nothing else waits for them."""


class SqliteStore:
    """Keeps everything in one SQLite file. See ``whodid.store.base.Store`` for what it promises."""

    apart = False

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        exclusive: bool = False,
        random_bytes: Callable[[int], bytes] = os.urandom,
        vfs: str | None = None,
    ) -> None:
        """Open the store at ``path``, bringing its schema up to date.

        ``create`` makes it if it is not there; ``exclusive`` is for the one server of a store (commands may work
        beside it). ``vfs`` names a SQLite VFS other than the system's. Raises ``StoreUnusable``.
        """
        if create:
            make_file(path)
        refuse_foreign(path, vfs=vfs)  # before anything is put beside the file
        self.path = path
        self._vfs = vfs
        self._lock = ServerLock(path) if exclusive else None
        try:
            self._open(random_bytes, exclusive=exclusive)
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise

    def _open(self, random_bytes: Callable[[int], bytes], *, exclusive: bool) -> None:
        path, vfs = self.path, self._vfs
        prepare_file(path, vfs=vfs, lock=self._lock)
        self._writer = Writer(path, vfs=vfs)
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="whodid-writer")
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="whodid-reader")
        self._searching = ThreadPoolExecutor(SEARCHERS, thread_name_prefix="whodid-searcher")
        self._readers: list[Reader] = []
        self._mine = threading.local()
        self._training: asyncio.Task[None] | None = None
        reader = Reader(path, vfs=vfs)
        self._sealer = Sealer(random_bytes, *reader.run(newest_dictionary))
        self._entries, at_last = reader.run(training.state)
        reader.close()
        self._train_at = training.next_training(at_last)
        self._process = WriterProcess(path) if exclusive and vfs is None else None
        if self._process is not None:
            self._process.start()

    async def append(self, batch: Sequence[Submission | Prepared]) -> list[Result]:
        sealed = [self._sealed(submission) for submission in batch]
        if self._process is None:
            results = await self._write(self._writer.append, sealed)
        else:
            results = await self._process.append(sealed)
        self._entries += sum(len(result.seqs) for result in results if isinstance(result, Receipt))
        if self._entries >= self._train_at and self._training is None:
            self._training = asyncio.create_task(self._train())
        return results

    def prepare(self, submission: Submission) -> Prepared:
        return Prepared(self._sealer.seal(submission))

    def _sealed(self, submission: Submission | Prepared) -> SealedSubmission:
        if isinstance(submission, Submission):
            return self._sealer.seal(submission)
        assert isinstance(submission.work, SealedSubmission)
        return submission.work

    async def probe(self) -> None:
        if self._process is None:
            await self._write(self._writer.probe)
        else:
            await self._process.probe()

    async def add_account(self, name: str, created_ms: int, first: Event) -> Account:
        def seal(account_no: int) -> list[Sealed]:
            return self._sealer.seal_events(account_no, [first])

        return await self._write(self._writer.add_account, name, created_ms, seal)

    async def accounts(self) -> list[Account]:
        return await self._read(identity.accounts)

    async def account(self, name: str) -> Account | None:
        return await self._read(identity.account, name)

    async def identity_version(self, account_no: int) -> int | None:
        return await self._read(identity.identity_version, account_no)

    async def credential(self, digest: bytes) -> Credential | None:
        return await self._read(identity.credential, digest)

    async def users(self, account_no: int) -> list[User]:
        return await self._read(identity.users, account_no)

    async def user(self, account_no: int, *, email: str) -> User | None:
        return await self._read(identity.user, account_no, email)

    async def addresses(self, account_no: int) -> dict[str, str]:
        return await self._read(identity.addresses, account_no)

    async def tokens(self, account_no: int) -> list[Token]:
        return await self._read(identity.tokens, account_no)

    async def newest(self, query: Query) -> list[bytes]:
        return await self._in_searcher(Reader.newest, query)

    async def search(self, search: Search) -> Found:
        return await self._in_searcher(Reader.search, search)

    async def summarize(self, question: Question) -> Summary:
        return await self._in_searcher(Reader.summarize, question)

    async def log(self, account_no: int, first: int, limit: int, most_bytes: int = UNBOUNDED) -> list[Numbered]:
        return await self._in_reader(Reader.log, account_no, first, limit, most_bytes)

    async def heads(self, account_nos: Sequence[int]) -> dict[int, Head]:
        return await self._in_reader(Reader.heads, account_nos)

    async def entries(self, account_no: int, first: int = 0) -> AsyncIterator[list[Entry]]:
        while chunk := await self._in_reader(Reader.entries, account_no, first):
            yield chunk
            first = chunk[-1].seq + 1

    async def window(
        self, account_no: int, since_ms: int, until_ms: int, kind: Kind | None
    ) -> AsyncIterator[list[Entry]]:
        after = first_key(since_ms)
        while chunk := await self._in_reader(Reader.window, account_no, after, until_ms, kind):
            yield [entry for _, entry in chunk]
            after = chunk[-1][0] + 1

    async def entry(self, account_no: int, record_id: str) -> Entry | None:
        return await self._in_reader(Reader.entry, account_no, record_id)

    async def numbers(self, account_no: int, since_ms: int, until_ms: int) -> tuple[int, int] | None:
        return await self._in_reader(Reader.numbers, account_no, since_ms, until_ms)

    async def commitments(self, account_no: int, first: int, count: int) -> list[bytes]:
        return await self._read(tree.commitments, account_no, first, count)

    async def hashes(self, account_no: int, runs: Sequence[Run]) -> dict[Run, list[bytes]]:
        return await self._read(tree.hashes, account_no, runs)

    async def keep(self, kept: Sequence[Kept]) -> None:
        if self._process is None:
            await self._write(self._writer.keep, kept)
        else:
            await self._process.keep(list(kept))

    async def checkpoint(self, account_no: int, standing: Standing) -> KeptCheckpoint | None:
        return await self._read(tree.checkpoint, account_no, standing)

    async def witness_states(self) -> list[WitnessState]:
        return await self._read(tree.witness_states)

    # A SQLite store has one server, which need not agree with others.

    async def signing_key(self) -> bytes | None:
        return None

    async def settle_signing_key(self, public_key: bytes, retired: Sequence[bytes]) -> bytes:  # noqa: ARG002
        return public_key

    async def lease(self, work: str, holder: bytes, seconds: float) -> bool:  # noqa: ARG002
        return True

    def watch(self, changed: Callable[[int | None], None]) -> None:
        pass

    async def check(self, progress: Progress) -> list[Finding]:
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._check, progress)

    def _check(self, progress: Progress) -> list[Finding]:
        # Through a connection of its own: where one has searched before, and others have appended since, SQLite's own
        # check goes by what it remembers of the search index, and finds damage that is not there (seen in 3.54.1).
        reader = Reader(self.path, vfs=self._vfs)
        try:
            return reader.run(check.check, progress)
        finally:
            reader.close()

    async def rebuild_search(self, progress: Progress) -> int:
        return await self._write(self._rebuild_search, progress)

    def _rebuild_search(self, progress: Progress) -> int:
        with self._writer.use() as file:
            return search_rebuild.rebuild(file.connection, progress)

    async def _train(self) -> None:
        """Train a dictionary from what is stored by now, and compress with it if it is worth it."""
        try:
            entries, at_last = await self._read(training.state)
            if entries >= training.next_training(at_last):
                dictionary = await self._read(training.train)
                if dictionary is not None:
                    version = await self._write(self._writer.add_dictionary, entries, dictionary)
                    self._sealer.learn(version, dictionary)
            self._entries, self._train_at = entries, training.next_training(entries)
        except (WhodidError, zstandard.ZstdError, MemoryError):
            log.warning("no dictionary could be trained; it is tried again when the store has grown", exc_info=True)
            self._train_at = 2 * self._entries
        finally:
            self._training = None

    async def close(self) -> None:
        if self._training is not None:
            await asyncio.wait([self._training])
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._close_readers)
        if self._process is not None:
            await self._process.close()
        await loop.run_in_executor(None, self._close_writer)

    def _close_readers(self) -> None:
        """Before the writers: the last connection to close empties the write-ahead log, and must be one of them."""
        self._reading.shutdown()
        self._searching.shutdown()
        for reader in self._readers:
            reader.close()

    def _close_writer(self) -> None:
        self._writing.submit(self._writer.close).result()
        self._writing.shutdown()
        if self._lock is not None:
            self._lock.release()

    async def _write(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, lambda: work(*args, **kwargs))

    async def _read(
        self, work: Callable[Concatenate[apsw.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        return await self._in_reader(lambda reader: reader.run(work, *args, **kwargs))

    async def _in_reader(self, work: Callable[Concatenate[Reader, _P], _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await asyncio.get_running_loop().run_in_executor(
            self._reading, lambda: work(self._reader(), *args, **kwargs)
        )

    async def _in_searcher(self, work: Callable[[Reader, _A], _T], asked: _A) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._searching, lambda: work(self._reader(), asked))

    def _reader(self) -> Reader:
        reader: Reader | None = getattr(self._mine, "reader", None)
        if reader is None:
            reader = self._mine.reader = Reader(self.path, vfs=self._vfs)
            self._readers.append(reader)
        return reader
