"""A backfill over running endpoints: files go to servers, and what servers do wrong stays out of the archive."""

import email.utils
import json
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from archive.answer import ErrorView, Json, NotAnAnswer, OtherModel, count, new_views, read_answer, warnings_of
from archive.files import FilesInFlight, Room
from archive.inputs import Job
from archive.plan import Pass
from archive.records import Result
from archive.run import Live
from archive.work import Captioned, FileFailed, Progress, Stopped, do

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 10.0
_SEND_SECONDS = 120.0  # without a byte of the input going through
_GREETING_SECONDS = 30.0
_LONGEST_BACKOFF_SECONDS = 60.0
# What this app says of the file it was sent. Of anything else, whoever stands before a server may be the author.
_ABOUT_THE_FILE = (400, 409, 413)
# Kinds of errors that say something of the server, and nothing of the file.
_NOT_THE_FILES = ("EngineDied", "EngineUnavailable", "EngineStartError", "EngineError", "DiskFull")


class ServerError(RuntimeError):
    """The servers that are named can't be used. Seen by the operator, before anything starts."""


@dataclass(frozen=True)
class Patience:
    """
    What a backfill puts up with.

    :param tries: how often a file is sent before it is given up
    :param answer_seconds: for one answer
    :param silence_seconds: of trouble without a usable answer of any server, after which the backfill stops
    :param backoff_seconds: before the first further try, doubled for each one after it
    """

    tries: int = 5
    answer_seconds: float = 3600.0
    silence_seconds: float = 1800.0
    backoff_seconds: float = 1.0


class _Trouble(Exception):
    """
    A server gave no usable answer.

    :param blames_file: the file may be what it was about
    :param retry_after: s, as the server asked
    """

    def __init__(self, said: str, *, blames_file: bool, retry_after: float | None = None) -> None:
        super().__init__(said)
        self.blames_file = blames_file
        self.retry_after = retry_after


class Server:
    """One endpoint; changed by :class:`Servers` alone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.known = False  # that it is this app, with the model of the others
        self.in_flight = 0
        self.troubles = 0  # in a row
        self.resting_until = 0.0  # by time.monotonic()
        self.said = ""  # in its last trouble


class Servers:
    """Whose turn it is. Thread-safe."""

    def __init__(self, urls: Sequence[str], patience: Patience) -> None:
        self.all = [Server(url) for url in dict.fromkeys(urls)]
        self._patience = patience
        self._changed = threading.Condition()
        self._troubled: float | None = None  # by time.monotonic(): since when there was trouble and no usable answer
        self._stopping = False

    def take(self, preferred: Server | None = None) -> Server:
        """
        Wait for a server that is not resting, and count one call more on it: the preferred, or the one with the fewest.

        :raises Stopped: if none has given a usable answer for too long, none ever will, or none is there while the
            backfill is to end
        """
        with self._changed:
            while True:
                now = time.monotonic()
                troubled = now if self._troubled is None else self._troubled
                if now - troubled > self._patience.silence_seconds and not self._at_work():
                    raise Stopped(f"No server has given a usable answer for too long. {self.complaints()}")
                awake = [server for server in self.all if server.resting_until <= now]
                if awake:
                    server = preferred if preferred in awake else min(awake, key=lambda server: server.in_flight)
                    assert server is not None
                    server.in_flight += 1
                    return server
                next_ = min(server.resting_until for server in self.all)
                if self._stopping or next_ == math.inf:
                    raise Stopped(f"No server is there to caption. {self.complaints()}")
                self._changed.wait(min(next_ - now, _LONGEST_BACKOFF_SECONDS))

    def leave(self, server: Server, trouble: _Trouble | None = None) -> None:
        """Count one call less on a server; after trouble, let it rest, and say again what it is before the next one."""
        with self._changed:
            server.in_flight -= 1
            if trouble is None:
                server.troubles, server.said = 0, ""
                self._troubled = None
            else:
                self._troubled = self._troubled or time.monotonic()
                # It may come back as another one. And while it is away, to ask it costs no file a try.
                server.known = False
                self._rest(server, trouble)
            self._changed.notify_all()

    def stop_waiting(self) -> None:
        """Let those who wait for a server give up."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def complaints(self) -> str:
        """Say what was wrong with each server."""
        return " ".join(f"{server.url}: {server.said}." for server in self.all if server.said)

    def _at_work(self) -> bool:
        """Whether a server has something to answer, and has not shown yet that it can't."""
        return any(server.in_flight and not server.troubles for server in self.all)

    def _rest(self, server: Server, trouble: _Trouble) -> None:
        server.said = str(trouble)
        backoff = min(self._patience.backoff_seconds * 2.0**server.troubles, _LONGEST_BACKOFF_SECONDS)
        server.troubles += 1
        seconds = backoff * random.uniform(0.5, 1.0) if trouble.retry_after is None else trouble.retry_after
        server.resting_until = max(server.resting_until, time.monotonic() + seconds)
        logger.warning("%s: %s; nothing is sent there for %.1f s.", server.url, trouble, seconds)


class RemoteCaptioner:
    """
    Captions through endpoints of this app. Thread-safe; to be closed.

    :param urls: of the endpoints
    :param app: the app's identifier without its version
    :param token: sent as a bearer token; empty for none
    :raises ServerError: if an address can't be one
    """

    def __init__(self, urls: Sequence[str], passes: Sequence[Pass], app: str, patience: Patience, token: str) -> None:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ServerError(f"{url} is not the address of a server; write it as http://host:port.")
        self.servers = Servers([url.rstrip("/") for url in urls], patience)
        self.model = ""
        self._passes = passes
        self._app = app
        self._patience = patience
        self._knowing = threading.Lock()
        timeout = httpx.Timeout(patience.answer_seconds, connect=_CONNECT_SECONDS, write=_SEND_SECONDS, pool=None)
        headers = {"X-Priority": "background"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx.Client(timeout=timeout, headers=headers, limits=httpx.Limits(max_connections=None))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def greet(self) -> None:
        """
        Ask every server what it is.

        :raises ServerError: if none answers, or one is not this app or runs another model than the others
        """
        for server in self.servers.all:
            try:
                self._get_to_know(server)
            except _Trouble as trouble:
                server.said = str(trouble)
        if not self.model:
            raise ServerError(f"No server answers. {self.servers.complaints()}")

    def caption(self, mmif: str, progress: Progress) -> Captioned:
        """See :class:`archive.work.Captioner`."""
        given = _parsed(mmif)
        now, failures = given, list[tuple[str, str]]()
        server: Server | None = None
        progress(0, len(self._passes))
        for number, asked in enumerate(self._passes, start=1):
            try:
                made, server = self._ask(now, asked, server)
            except ErrorView as error:
                kind, _, said = str(error).partition(": ")
                if kind != "CaptioningFailed":
                    raise FileFailed("mmif", f'Pass "{asked.name}": {error}') from error
                failures.append((asked.name, said))
                made = error.as_warning()
            for view in new_views(now, made):
                view["metadata"] = {"pass": asked.name} | view["metadata"]  # first, as where the app marks it itself
            now = made
            progress(number, len(self._passes))
        views = new_views(given, now)
        counts = count(views, now)
        if failures and not counts.captions:
            raise FileFailed("captions", " ".join(f'Pass "{name}": {said}' for name, said in failures))
        pretty = any(asked.refined.get("pretty") for asked in self._passes)
        text = json.dumps(now, indent=2 if pretty else None)
        return Captioned(text, counts, tuple(warnings_of(views)), server.url if server else "")

    def _ask(self, given: Json, asked: Pass, preferred: Server | None) -> tuple[Json, Server]:
        """
        Send a MMIF for one pass until a server has answered it.

        :raises ErrorView: if the answer is that it can't be captioned
        :raises FileFailed: if none gave a usable answer
        :raises Stopped: see :meth:`Servers.take`
        """
        body = json.dumps({"parameters": asked.parameters, "mmif": given}).encode()
        left = self._patience.tries
        while True:
            server = self.servers.take(preferred)
            try:
                self._get_to_know(server)
                answer = self._post(server, given, body)
            except _Trouble as trouble:
                self.servers.leave(server, trouble)
                left -= trouble.blames_file
                if not left:
                    said = f"no usable answer after {self._patience.tries} tries; at last {server.url}: {trouble}."
                    raise FileFailed("server", f'Pass "{asked.name}": {said}') from trouble
            except ServerError as error:  # it was not there to be asked at the start, or is another one by now
                logger.error("%s Nothing is sent there.", error)
                said = str(error).removesuffix(".")
                self.servers.leave(server, _Trouble(said, blames_file=False, retry_after=math.inf))
            except BaseException:
                self.servers.leave(server)
                raise
            else:
                self.servers.leave(server)
                return answer, server

    def _post(self, server: Server, given: Json, body: bytes) -> Json:
        try:
            response = self._client.post(server.url + "/", content=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Trouble(f"can't be reached ({_said(error)})", blames_file=False) from error
        except httpx.HTTPError as error:
            raise _Trouble(f"ended without an answer ({_said(error)})", blames_file=True) from error
        status = response.status_code
        if status in (429, 503):
            raise _Trouble(f"answered {status}", blames_file=False, retry_after=_retry_after(response))
        if status == 500 and response.text.startswith("Invalid input data"):
            raise FileFailed("mmif", response.text.partition("\n\n")[2] or response.text)
        if status in (401, 403):
            raise Stopped(f"{server.url} refused it with {status}; see CAPTIONER_SERVER_TOKEN. {_short(response.text)}")
        if status in _ABOUT_THE_FILE:
            raise FileFailed("server", f"{server.url} refused it with {status}: {_short(response.text)}")
        try:
            made = read_answer(given, response.text, self._app, self.model)
        except OtherModel as error:
            raise self._other_model(server, str(error)) from error
        except NotAnAnswer as error:
            raise _Trouble(f"answered {status} with no usable MMIF: {error}", blames_file=True) from error
        except ErrorView as error:
            if str(error).startswith(_NOT_THE_FILES):
                raise _Trouble(f"answered {status}: {_short(str(error))}", blames_file=True) from error
            raise
        if status != 200:
            raise _Trouble(f"answered {status} with a MMIF that has no error", blames_file=True)
        return made

    def _get_to_know(self, server: Server) -> None:
        """
        Make sure of what a server is before it is sent anything.

        :raises _Trouble: if it can't be asked now
        :raises ServerError: if it is not this app, or runs another model than the others
        """
        if server.known:
            return
        identifier, model = _introduced(self._client, server.url)
        if not identifier.startswith(self._app):
            raise ServerError(f"{server.url} is not this app, but {identifier}.")
        with self._knowing:
            self.model = self.model or model
            if model != self.model:
                raise self._other_model(server, model)
            server.known = True

    def _other_model(self, server: Server, model: str) -> ServerError:
        return ServerError(f"{server.url} runs {model}, not {self.model}; one archive is captioned by one model.")


def _introduced(client: httpx.Client, url: str) -> tuple[str, str]:
    """Return the identifier of the app at ``url``, and its model."""
    try:
        response = client.get(url + "/", timeout=_GREETING_SECONDS)
    except httpx.HTTPError as error:
        raise _Trouble(f"can't be reached ({_said(error)})", blames_file=False) from error
    if response.status_code != 200:
        wait = _retry_after(response)
        raise _Trouble(f"answered {response.status_code} when asked what it is", blames_file=False, retry_after=wait)
    try:
        metadata: dict[str, Any] = response.json()
        ((id_, revision),) = metadata["analyzer_versions"].items()
        return str(metadata["identifier"]), f"{id_}@{revision}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Trouble("did not say what it is; it may be no CLAMS app", blames_file=False) from error


def _parsed(mmif: str) -> Json:
    try:
        parsed = json.loads(mmif)
    except ValueError as error:
        raise FileFailed("mmif", f"This is not JSON, so it is not MMIF: {error}.") from error
    if not isinstance(parsed, dict) or not isinstance(parsed.get("views"), list):
        raise FileFailed("mmif", "This is JSON, but not MMIF: it has no list of views.")
    return parsed


def _retry_after(response: httpx.Response) -> float | None:
    """Read the header, in either of its forms, as seconds."""
    value = response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _said(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:300] + " ..."


class RemoteRunner:
    """
    Captions through servers. See :class:`archive.run.Runner`.

    :param files: how many calls may be in flight over all servers
    :param parameters: digest of what is asked, for the ledger
    """

    def __init__(self, captioner: RemoteCaptioner, files: int, parameters: str) -> None:
        self._captioner = captioner
        self._parameters = parameters
        self._capacity = files
        self._captions = 0
        self._files = FilesInFlight(Room(files=files), self._do)

    def results(self, jobs: Iterable[Job], on_begin: Callable[[Job], None]) -> Iterator[Result]:
        """See :meth:`archive.run.Runner.results`."""
        for result in self._files.results(jobs, on_begin):
            self._captions += result.counts.captions
            yield result

    def stop(self) -> None:
        """See :meth:`archive.run.Runner.stop`."""
        self._files.stop()
        self._captioner.servers.stop_waiting()

    def live(self) -> Live:
        """See :meth:`archive.run.Runner.live`."""
        count = self._files.count
        return Live(self._captions, self._captions, in_flight=count, capacity=self._capacity, files=count)

    def _do(self, job: Job, progress: Progress) -> Result:
        return do(job, self._captioner, self._parameters, progress)
