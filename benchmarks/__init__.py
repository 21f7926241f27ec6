"""The laboratory: what curvestep costs, covers and is good for, measured and written to docs/; not part of the package.

`python -m benchmarks` lists the commands. Each measures what its store lacks and writes its page from the store;
`--render` writes the page alone, `--afresh` measures everything again.
"""

from __future__ import annotations
