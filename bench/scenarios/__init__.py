"""One module for each scenario: a docstring, ``measure(run)``, and ``add_options(parser)`` if it has options."""

# In the order of `python -m bench all`; those that share an engine follow each other.
SCENARIOS = {
    "frames": "bench.scenarios.frames",
    "stages": "bench.scenarios.stages",
    "reprompt": "bench.scenarios.reprompt",
    "backfill": "bench.scenarios.backfill",
    "resolution": "bench.scenarios.resolution",
    "throughput": "bench.scenarios.throughput",
    "structure": "bench.scenarios.structure",
    "latency": "bench.scenarios.latency",
    "interactive": "bench.scenarios.interactive",
    "memory": "bench.scenarios.memory",
    "faults": "bench.scenarios.faults",
    "startup": "bench.scenarios.startup",
    "fuzz": "bench.scenarios.fuzz",
    "soak": "bench.scenarios.soak",
}

# What is asked by name, and is no part of `all`: it searches or reckons for an operator.
TOOLS = {
    "tune": "bench.scenarios.tune",
    "capacity": "bench.scenarios.capacity",
}
