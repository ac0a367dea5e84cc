"""The journal: sealed records on flash, from the moment they are taken until a gateway holds them."""

from wayside_node.journal.journal import Journal, JournalError

__all__ = ("Journal", "JournalError")
