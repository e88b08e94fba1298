"""One module for each scenario: a docstring, ``measure(run)``, and ``add_options(parser)`` if it has options."""

# In the order of `python -m bench all`; those that share an engine follow each other.
SCENARIOS = {
    "frames": "bench.scenarios.frames",
    "fuzz": "bench.scenarios.fuzz",
    "soak": "bench.scenarios.soak",
}
