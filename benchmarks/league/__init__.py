"""A development league: many small problems, one default a method, and a score."""
