"""Who may do what."""

import hmac

_OPEN = ("/health/",)  # for whoever supervises the server
_PAGE = "/status"  # the page alone, without what it shows: it asks for the token
_READING = ("GET", "HEAD", "OPTIONS")


class Access:
    """
    Asks for a bearer token (RFC 6750).

    :param token: the only one; empty if none is asked for
    :param reading: ask for it on reading, too
    """

    def __init__(self, token: str, *, reading: bool = False) -> None:
        self._token = token.encode()
        self._reading = reading

    def allows(self, method: str, path: str, authorization: str | None) -> bool:
        """
        Whether a request may pass.

        :param authorization: the header of this name
        """
        if not self._token or path == _PAGE or path.startswith(_OPEN) or (method in _READING and not self._reading):
            return True
        scheme, _, shown = (authorization or "").partition(" ")
        # In constant time: how long it takes doesn't tell how much of a guess was right.
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), self._token)
