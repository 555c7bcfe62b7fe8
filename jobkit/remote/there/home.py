"""Where jobkit keeps what is a user's; what is sent in place of this is the module that says so."""

from __future__ import annotations

from jobkit.env.home import home

__all__ = ["home"]
