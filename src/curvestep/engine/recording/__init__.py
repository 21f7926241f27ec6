"""Writing a forward pass down: the dispatch mode, what it cannot see into, and rules of users."""
