"""What a command raises where its user, not its author, has something to put right."""


class Failure(Exception):
    """The command could not do it: shown in one line, exit code 1. Say what is wrong and what would help."""


class Misuse(Exception):
    """The command was asked for something that makes no sense: shown in one line, exit code 2."""
