"""How the default bundle was trained, quantised, exported and measured."""
