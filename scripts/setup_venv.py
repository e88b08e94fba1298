"""The set-up step's front door: refuses a Python that vLLM does not support, in words, whatever that Python is.

Written so that Python 3.6 can still read it; ``build_venv`` does the work and need not care.
"""

import sys

OLDEST, NEWEST = (3, 11), (3, 14)


def refusal(version):
    # type: (tuple[int, int]) -> str
    """What to tell somebody who runs Python `version`, such as `(3, 9)`; nothing if it is supported."""
    if OLDEST <= version <= NEWEST:
        return ""
    return (
        "set-up failed: this is Python %d.%d and vLLM needs %d.%d to %d.%d: choose one with "
        "`make setup PYTHON=/path/to/python3.12`" % (version + OLDEST + NEWEST)
    )


def main():
    # type: () -> int
    """Set up `.venv`; returns the exit status."""
    sentence = refusal(sys.version_info[:2])
    if sentence:
        sys.stderr.write(sentence + "\n")
        return 1
    from scripts import build_venv

    return build_venv.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
