"""What the sources claim of their methods, run again here: each claim leaves a store from which its verdict is read."""

from __future__ import annotations
