"""Programs beside the package: the benchmark and the fault bench. `./run bench` and `./run faults` start them."""
