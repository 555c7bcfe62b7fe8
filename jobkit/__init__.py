"""Start the ranks of distributed programs, and let them communicate."""

__version__ = "0.1.0"
