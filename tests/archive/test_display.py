"""What a backfill says, as an operator or a log gets to see it."""

import io

from rich.console import Console, Group
from rich.text import Text

from archive.display import print_whole

SAID = "The disk is full, and where that is takes more words than a line of a terminal has. Make room, and go on."


def test_a_log_gets_sentences_in_one_piece_and_a_terminal_lines_that_fit() -> None:
    log, terminal = io.StringIO(), io.StringIO()
    print_whole(Console(file=log, width=40), Group(Text(SAID)))
    assert log.getvalue() == SAID + "\n"
    print_whole(Console(file=terminal, width=40, force_terminal=True), Group(Text(SAID)))
    assert " ".join(terminal.getvalue().split()) == SAID
    assert max(map(len, terminal.getvalue().splitlines())) <= 40
