"""One file a kind of fault; `tests.fuzz.attack` gathers them."""
