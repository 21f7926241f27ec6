"""Networks of the tasks: `specs` names them with their numbers, the other modules build them with torch."""

from __future__ import annotations
