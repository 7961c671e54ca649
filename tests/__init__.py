"""A package, so that a stray top-level "tests" elsewhere on the path never wins."""
