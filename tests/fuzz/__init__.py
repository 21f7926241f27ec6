"""Random and planted programs through the engine's public interface, against truths that the engine does not make."""
