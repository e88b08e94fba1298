"""Download the pinned checkpoint into the cache (``HF_HOME``), as the engine would at its first start."""

import sys

from engine.model import PINNED, fetch


def main() -> int:
    """Fetch it and print the folder that holds it; returns the exit status."""
    try:
        print(fetch(PINNED))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
