"""Requests that are wrong in many ways, each made again from its number alone."""

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bench.fuzzing.junk import NAMES, VALUES, Location, blob, deep, odd_text, tree

HEADERS = {"Host": "localhost", "Content-Type": "application/json", "Connection": "close"}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "get", "")
PATHS = (
    "/", "//", "/calls", "/calls/", "/calls/none", "/calls/%00", "/calls/..%2f..", "/metrics", "/status", "*", "?",
    "/status.json", "/health/live", "/health/ready", "/health", "/%ff", "/%", "/static/../app.py", "/../etc/passwd",
    "/#", "",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """
    One request.

    :param number: makes it again, with the seed
    :param kind: what is wrong with it
    :param request: as it goes over the wire
    :param whole: whether it is HTTP from its first byte to its last, so that there has to be an answer
    :param head: whether its answer has no body
    """

    number: int
    kind: str
    request: bytes
    whole: bool = True
    head: bool = False


@dataclass(frozen=True)
class Ground:
    """
    What cases are made of.

    :param mmif: that the server captions in a moment
    :param parameters: of the app, by name, with a value that it takes
    :param locations: of files and other places that are no video
    """

    mmif: str
    parameters: Mapping[str, str]
    locations: Sequence[Location]


def case(seed: int, number: int, ground: Ground) -> Case:
    """Make one case."""
    chance = random.Random(f"{seed}:{number}")
    kind = chance.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])[0]
    return _KINDS[kind][1](number, kind, chance, ground)


def http(
    body: bytes, query: str = "", method: str = "POST", path: str = "/", headers: Sequence[tuple[str, str]] = ()
) -> bytes:
    """Write a request down; ``headers`` come after the usual ones."""
    lines = [f"{method} {path}{'?' + query if query else ''} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    lines += [f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


def _bytes(number: int, kind: str, chance: random.Random, ground: Ground) -> Case:
    """A body that is no text, or cut, or another text than it was."""
    whole = ground.mmif.encode()
    ways: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: b" \r\n\t",
        lambda: whole[: chance.randrange(len(whole))],
        lambda: whole[chance.randrange(len(whole)) :],
        lambda: _flipped(whole, chance),
        lambda: blob(chance),
        lambda: b"\xef\xbb\xbf" + whole,
        lambda: ground.mmif.encode(chance.choice(["utf-16", "utf-32", "utf-7", "cp037"])),
        lambda: whole + blob(chance),
        lambda: whole.replace(b'"', b"'"),
    ]
    body = chance.choice(ways)()
    return Case(number, kind, http(body))


def _json(number: int, kind: str, chance: random.Random, ground: Ground) -> Case:
    """JSON that is no MMIF."""
    ways: list[Callable[[], str]] = [
        lambda: json.dumps(tree(chance), ensure_ascii=chance.random() < 0.5),
        lambda: deep(chance),
        lambda: chance.choice(VALUES),
        lambda: json.dumps({"parameters": tree(chance), "mmif": json.loads(ground.mmif)}),
        lambda: json.dumps({"parameters": {"tfLabels": tree(chance)}, "mmif": tree(chance)}),
        lambda: json.dumps({"metadata": tree(chance), "documents": tree(chance), "views": tree(chance)}),
    ]
    body = chance.choice(ways)()
    return Case(number, kind, http(body.encode("utf-8", "surrogatepass")))


def _mmif(number: int, kind: str, chance: random.Random, ground: Ground) -> Case:
    """MMIF with one to four of its parts replaced, removed, doubled or swapped."""
    mmif = json.loads(ground.mmif)
    for _ in range(chance.randint(1, 4)):
        _mutate(mmif, chance)
    text = json.dumps(mmif, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.2:  # numbers and the like that json.dumps doesn't write
        text = text.replace("500", chance.choice(VALUES), 1)
    return Case(number, kind, http(text.encode("utf-8", "surrogatepass")))


def _document(number: int, kind: str, chance: random.Random, ground: Ground) -> Case:
    """A video that is none, or elsewhere."""
    mmif = json.loads(ground.mmif)
    mmif["documents"][0]["properties"]["location"] = chance.choice(ground.locations).text(chance)
    return Case(number, kind, http(json.dumps(mmif).encode("utf-8", "surrogatepass")))


def _parameters(number: int, kind: str, chance: random.Random, ground: Ground) -> Case:
    """Parameters that are unknown, wrong, odd or many; mostly few, so that one wrong one doesn't hide the others."""
    pairs = []
    for _ in range(chance.choice([1, 1, 1, 2, 3, 60])):
        known = chance.random() < 0.85
        name = chance.choice(sorted(ground.parameters)) if known else odd_text(chance)
        usual = ground.parameters.get(name, "")
        value = chance.choice([usual, odd_text(chance), chance.choice(NAMES), chance.choice(VALUES)])
        pairs.append(f"{_quoted(name, chance)}={_quoted(value, chance)}")
    query = chance.choice(["&", "&", "&", ";", "&&", "&=&"]).join(pairs)
    return Case(number, kind, http(ground.mmif.encode(), query[:60_000]))


def _headers(number: int, kind: str, chance: random.Random, ground: Ground) -> Case:
    """Headers with odd values, those that the app reads first of all."""
    names = [
        "X-Priority", "X-Timeout-Seconds", "Authorization", "Content-Type", "Accept", "Accept-Encoding",
        "Content-Encoding", "Expect", "Range", "If-Match", "Cookie", "X-Forwarded-For", "X-Request-Id", "Connection",
        "Content-Length", "Transfer-Encoding", "Host", "Upgrade", "X-" + "n" * chance.choice([1, 200, 9000]),
    ]  # fmt: skip
    odd = [(name, _header_value(chance)) for name in chance.choices(names, k=chance.choice([1, 1, 2, 150]))]
    method = "GET" if chance.random() < 0.1 else "POST"
    framing = {"content-length", "transfer-encoding", "connection", "host", "expect", "upgrade"}
    whole = not any(name.lower() in framing or "\n" in value or "\r" in value for name, value in odd)
    body = ground.mmif.encode() if method == "POST" else b""
    return Case(number, kind, http(body, "tfLabels=none", method, headers=odd), whole)


def _framing(number: int, kind: str, chance: random.Random, ground: Ground) -> Case:
    """What is HTTP only up to a point; the client then hangs up."""
    good = http(ground.mmif.encode(), "tfLabels=none")
    ways: list[Callable[[], bytes]] = [
        lambda: good[: chance.randrange(len(good))],
        lambda: _flipped(good[:200], chance) + good[200:],
        lambda: blob(chance),
        lambda: good.replace(b"HTTP/1.1", chance.choice([b"HTTP/9.9", b"HTTP/1.0", b"", b"HTTP/0.9", b"XTTP/1.1"])),
        lambda: good.replace(b"\r\n", b"\n"),
        lambda: good.replace(b"Content-Length: ", chance.choice([b"Content-Length: -", b"Content-Length: 9", b"X-"])),
        lambda: good.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nContent-Length"),
        lambda: http(_chunked(chance), headers=[("Transfer-Encoding", "chunked")]).replace(b"Content-Length", b"X"),
        lambda: good + good,
        lambda: b"\r\n" * chance.choice([1, 9000]) + good,
        lambda: b"GET /" + b"a" * chance.choice([4000, 9000, 70_000]) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    request = chance.choice(ways)()
    return Case(number, kind, request, whole=False)


def _endpoints(number: int, kind: str, chance: random.Random, ground: Ground) -> Case:
    """Other methods and addresses than there are."""
    method, path = chance.choice(METHODS), chance.choice(PATHS)
    if chance.random() < 0.2:
        path = "/" + quote(odd_text(chance)[:3000].encode("utf-8", "surrogatepass"), safe=chance.choice(["", "/?&="]))
    body = ground.mmif.encode() if method in ("POST", "PUT") else b""
    whole = bool(method and path.startswith("/") and "#" not in path and method != "get")
    return Case(number, kind, http(body, "tfLabels=none", method, path), whole, head=method == "HEAD")


_KINDS: dict[str, tuple[int, Callable[[int, str, random.Random, Ground], Case]]] = {
    "bytes": (3, _bytes),
    "json": (3, _json),
    "mmif": (6, _mmif),
    "document": (2, _document),
    "parameters": (5, _parameters),
    "headers": (3, _headers),
    "framing": (3, _framing),
    "endpoints": (2, _endpoints),
}


def _flipped(data: bytes, chance: random.Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(chance.choice([1, 1, 5, 100])):
        flipped[chance.randrange(len(flipped))] = chance.randrange(256)
    return bytes(flipped)


def _mutate(root: Any, chance: random.Random) -> None:
    """Change one place in a JSON value, deep or not."""
    place = root
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(place[key], (dict, list)) and place[key] and chance.random() < 0.85:
            place = place[key]
            continue
        break
    how = chance.choice(["replace", "replace", "remove", "double", "rename"])
    if how == "replace":
        place[key] = tree(chance)
    elif how == "remove":
        del place[key]
    elif isinstance(place, list):
        place.insert(chance.choice(keys), copy.deepcopy(place[key]))
    elif how == "double":
        place[odd_text(chance)] = place[key]
    else:
        place[chance.choice(NAMES)] = place.pop(key)


def _quoted(text: str, chance: random.Random) -> str:
    if chance.random() < 0.05:
        return chance.choice(["%ff%fe", "%", "%zz", "%00", "%u1234", "+", "%C0%AF"])
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def _header_value(chance: random.Random) -> str:
    if chance.random() < 0.5:
        return chance.choice(
            ["background", "high", "normal", "-1", "0", "1e-9", "0.01", "nan", "inf", "1e400", "1,2", "Bearer ",
             "Basic Og==", "chunked", "gzip", "100-continue", "close, keep-alive", "bytes=0-", "*/*;q=nan",
             "multipart/form-data"]
        )  # fmt: skip
    return odd_text(chance).replace("\x00", "")


def _chunked(chance: random.Random) -> bytes:
    size = chance.choice([b"5", b"fffffffffffffffff", b"-1", b"5;x=y", b"", b"zz", b"0"])
    return size + b"\r\n" + blob(chance)[:5] + b"\r\n0\r\n\r\n"
