"""Plans of `linear-probe`: the benchmark suite and the claims."""
